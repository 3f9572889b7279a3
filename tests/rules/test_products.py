"""Products: forms and operands that the examples of the rules do not show; agreement with HIPS/autograd."""

import itertools

import autograd
import autograd.numpy as hips
import numpy as np
import pytest

import autograd_c.numpy as anp
from autograd_c import grad, jacobian, make_vjp
from autograd_c.test_util import check_grads

rng = np.random.default_rng(0)
A, B, C = rng.normal(size=(3, 4)), rng.normal(size=(4, 5)), rng.normal(size=(2, 3, 4))
V, W = rng.normal(size=3), rng.normal(size=4)
Z = A + 1j * rng.normal(size=(3, 4))

SAME_AS_HIPS = {
    "matmul": lambda np, x: np.matmul(x, B),
    "matmul of a stack": lambda np, x: np.matmul(x[None] * C, B),
    "dot": lambda np, x: np.dot(x, B),
    "dot of tensors": lambda np, x: np.dot(C, x.T),
    "dot with vector": lambda np, x: np.dot(V, x),
    "dot with number": lambda np, x: np.dot(2.0, x),
    "inner": lambda np, x: np.inner(x, C),
    "outer": lambda np, x: np.outer(x[0], V),
    "tensordot": lambda np, x: np.tensordot(x, C, axes=([1, 0], [2, 1])),
    "kron": lambda np, x: np.kron(x, x),
    "einsum": lambda np, x: np.einsum("ij,jk,kl->il", x, B, B.T),
    "einsum with sum": lambda np, x: np.einsum("ij,kj->k", x, A),
    "einsum with ellipsis": lambda np, x: np.einsum("...ij,...kj", C, x),
    "cross": lambda np, x: np.cross(x.T, V),
}


@pytest.mark.parametrize("name", SAME_AS_HIPS)
def test_gradients_are_those_of_hips(name):
    function = SAME_AS_HIPS[name]
    ours = grad(lambda x: anp.sum(anp.sin(function(anp, x))))(A)
    theirs = autograd.grad(lambda x: hips.sum(hips.sin(function(hips, x))))(A)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "product",
    [
        lambda np, x: np.sum(np.matmul(np.conj(x), Z.T)),
        lambda np, x: np.einsum("ij,ij", x, Z),
    ],
)
def test_complex_gradients_are_those_of_hips(product):
    def magnitude(np):
        return lambda x: np.real(np.conj(product(np, x)) * product(np, x))

    np.testing.assert_allclose(grad(magnitude(anp))(Z), autograd.grad(magnitude(hips))(Z), rtol=1e-12)


def test_the_first_factor_is_conjugated():
    z, w = Z[0], Z[1]
    expected = jacobian(lambda x: anp.sum(anp.real(anp.conj(x) * w)))(z)
    for product in (np.vdot, np.vecdot):
        np.testing.assert_allclose(jacobian(lambda x: anp.real(product(x, w)))(z), expected)  # noqa: B023
    check_grads(np.vecmat, argnum=(0, 1))(z, np.outer(w, V))
    check_grads(np.matvec, argnum=(0, 1))(np.outer(V, w), z)


def test_numpys_own_functions_and_the_methods_of_a_box():
    expected = grad(lambda x: anp.sum(anp.dot(x, B) ** 2))(A)
    for product in (
        lambda x: x.dot(B),
        lambda x: np.dot(x, B),
        lambda x: x @ B,
        lambda x: np.einsum("ij,jk", x, B),
    ):
        np.testing.assert_allclose(grad(lambda x: (product(x) ** 2).sum())(A), expected)  # noqa: B023
    np.testing.assert_allclose(
        grad(lambda x: ((A @ x) ** 2).sum())(B), grad(lambda x: (np.linalg.multi_dot([A, x]) ** 2).sum())(B)
    )


@pytest.mark.parametrize("product", [np.dot, np.inner, np.outer, np.vdot, np.matmul, np.vecdot, np.kron])
def test_lists_are_operands(product):
    weights = [1.0, -2.0, 3.0]
    cotangent = np.ones(product(V, weights).shape)
    for function in (lambda x: product(x, weights), lambda x: product(weights, x)):
        ours = make_vjp(function)(V)[0](cotangent)
        array = make_vjp(lambda x: function(x) + 0.0 * x.sum())(V)[0](cotangent)  # noqa: B023
        np.testing.assert_array_equal(ours, array)
    ours = getattr(anp, product.__name__)
    check_grads(lambda x: ours([x[0], 2.0, x[1] * x[2]], weights))(V)


def test_numbers_are_operands():
    for product in (np.dot, np.inner, np.outer, np.kron):
        check_grads(lambda x, y: product(x, y), argnum=(0, 1))(1.5, V)  # noqa: B023
        check_grads(lambda x, y: product(x, y), argnum=(0, 1))(A, -0.5)  # noqa: B023


def test_einsum_of_repeated_and_broadcast_labels():
    square = rng.normal(size=(3, 3))
    np.testing.assert_array_equal(grad(lambda x: anp.einsum("ii", x))(square), np.eye(3))
    np.testing.assert_array_equal(
        jacobian(lambda x: anp.einsum("ii->i", x))(square)[1], np.diag([0.0, 1.0, 0.0])
    )
    cube = rng.normal(size=(3, 3, 3))
    check_grads(lambda x: anp.einsum("iii->i", x))(cube)
    check_grads(lambda x, y: anp.einsum("iij,i,jk->k", x, y, square), argnum=(0, 1))(cube, V)
    check_grads(lambda x, y: anp.einsum("ij,ij->j", x, y), argnum=(0, 1))(A[:, :1], A)
    check_grads(lambda x, y: anp.einsum("...i,...->...", x, y), argnum=(0, 1))(C, rng.normal(size=3))


@pytest.mark.parametrize("optimize", [False, True, "optimal", ["einsum_path", (1, 2), (0, 1)]])
def test_einsum_optimize(optimize):
    check_grads(
        lambda x: anp.einsum("ij,jk,lk->il", x, B, rng.normal(size=(2, 5)) * 0 + 1, optimize=optimize)
    )(A)


def test_einsum_keywords():
    assert anp.einsum_path("ij,jk", A, B)[0] == np.einsum_path("ij,jk", A, B)[0]
    paths = []

    def function(x):
        paths.append(np.einsum_path("ij,jk,kl", x, B, B.T)[0])
        return anp.einsum("ij->", x, dtype=np.float64)

    grad(function)(A)
    assert paths[0] == np.einsum_path("ij,jk,kl", A, B, B.T)[0]
    with pytest.raises(TypeError, match="einsum: out="):
        grad(lambda x: anp.einsum("ij->", x, out=np.zeros(())))(A)


def test_multi_dot_takes_numpys_order():
    for trial in range(20):
        sizes = np.random.default_rng(trial).integers(1, 8, size=trial % 4 + 3)
        chain = [rng.normal(size=pair) for pair in itertools.pairwise(sizes)]
        value = make_vjp(lambda x: np.linalg.multi_dot([x, *chain[1:]]))(chain[0])[1]  # noqa: B023
        np.testing.assert_array_equal(value, np.linalg.multi_dot(chain))
    with pytest.raises(ValueError, match="two arrays"):
        grad(lambda x: np.linalg.multi_dot([x]))(A)


def test_matrix_products_without_items():
    assert grad(lambda x: anp.sum(anp.matmul(x, np.zeros((0, 3)))))(np.zeros((2, 0))).shape == (2, 0)
    np.testing.assert_array_equal(grad(lambda x: anp.sum(x @ np.zeros((4, 0))))(A), np.zeros((3, 4)))
    np.testing.assert_array_equal(grad(lambda x: anp.sum(anp.tensordot(x, np.zeros((4, 0)), 1)))(A), 0 * A)


def test_products_along_given_axes():
    square = rng.normal(size=(3, 3))
    for x in (A[:, :3].copy(), square):
        check_grads(lambda x: anp.matmul(x, square, axes=[(1, 0), (0, 1), (1, 0)]))(x)
        check_grads(lambda y: anp.matmul(square, y, axes=[(0, 1), (1, 0), (0, 1)]))(x)
    check_grads(lambda x, y: anp.vecdot(x, y, axis=0, keepdims=True), argnum=(0, 1))(
        C, rng.normal(size=(2, 1, 4))
    )


def test_cross_of_two_components_is_refused():
    with pytest.raises(TypeError, match=r"a\[0\] \* b\[1\]"):
        grad(lambda x: np.cross(x, x))(V[:2])
    with pytest.raises(ValueError, match="three components"):
        grad(lambda x: np.cross(x, x))(W)


def test_linalg_products():
    check_grads(lambda x: anp.linalg.tensordot(x, B, axes=1))(A)
    check_grads(lambda x: np.linalg.vecdot(x, A, axis=0))(A)
    with pytest.raises(ValueError, match=r"linalg\.outer"):
        grad(lambda x: anp.sum(np.linalg.outer(x, V)))(A)
