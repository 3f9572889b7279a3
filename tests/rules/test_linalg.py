"""Linear algebra: singular points, conventions, sizes and options that the examples do not show."""

import autograd
import autograd.numpy as hips
import numpy as np
import pytest
import scipy.linalg

import autograd_c.numpy as anp
import autograd_c.scipy.linalg as slinalg
from autograd_c import grad, jacobian, make_jvp, make_vjp
from autograd_c.rules import linalg as rules
from autograd_c.test_util import check_grads

rng = np.random.default_rng(0)
A = rng.normal(size=(4, 4)) + 3 * np.eye(4)
TALL = rng.normal(size=(5, 3))
B, V = rng.normal(size=(4, 2)), rng.normal(size=4)
STACK = rng.normal(size=(2, 3, 3)) + 3 * np.eye(3)


def definite(n, seed=0, dtype=float):
    a = np.random.default_rng(seed).normal(size=(n, n)).astype(dtype)
    if a.dtype.kind == "c":
        a = a + 1j * np.random.default_rng(seed + 1).normal(size=(n, n))
    return a @ a.conj().T + n * np.eye(n)


def hermitian_part(a):
    return 0.5 * (a + anp.conj(anp.swapaxes(a, -1, -2)))


def draw_complex(*shape):
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


SAME_AS_HIPS = {
    "inv": (lambda np, x: np.linalg.inv(x), A),
    "inv of a stack": (lambda np, x: np.linalg.inv(x), STACK),
    "pinv": (lambda np, x: np.linalg.pinv(x), TALL),
    "solve": (lambda np, x: np.linalg.solve(x, V), A),
    "solve a stack": (lambda np, x: np.linalg.solve(STACK, x), rng.normal(size=(2, 3, 2))),
    "det": (lambda np, x: np.linalg.det(x), STACK),
    "slogdet": (lambda np, x: np.linalg.slogdet(x)[1], STACK),
    "cholesky": (lambda np, x: np.linalg.cholesky(x), definite(4)),
    "eigh": (lambda np, x: np.linalg.eigh(x)[1] ** 2 * np.linalg.eigh(x)[0], definite(4)),
    "eigh of the upper triangle": (lambda np, x: np.linalg.eigh(x, "U")[0], definite(4)),
    "svd": (lambda np, x: np.linalg.svd(x, full_matrices=False)[0] ** 2, TALL),
    "singular values": (lambda np, x: np.linalg.svd(x, compute_uv=False), TALL),
    "norm": (lambda np, x: np.linalg.norm(x), A),
    "norm of rows": (lambda np, x: np.linalg.norm(x, axis=1), A),
    "norm of order 3": (lambda np, x: np.linalg.norm(x, 3, axis=0), A),
    "nuclear norm": (lambda np, x: np.linalg.norm(x, "nuc"), TALL),
}


@pytest.mark.parametrize("name", SAME_AS_HIPS)
def test_gradients_are_those_of_hips(name):
    function, x = SAME_AS_HIPS[name]
    ours = grad(lambda x: anp.sum(anp.sin(function(anp, x))))(x)
    theirs = autograd.grad(lambda x: hips.sum(hips.sin(function(hips, x))))(x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


# ---------------------------------------------------------------- norms


@pytest.mark.parametrize("ord", [None, 2, 1, 3, 0.5, 1.5, np.inf])
def test_norms_of_zero_have_gradient_zero(ord):
    x = np.zeros(3)
    np.testing.assert_array_equal(grad(lambda x: np.linalg.norm(x, ord))(x), x)
    np.testing.assert_array_equal(make_jvp(lambda x: np.linalg.norm(x, ord))(x)(np.ones(3))[1], 0.0)
    rows = np.array([[0.0, 0.0], [3.0, 4.0]])
    got = grad(lambda x: anp.sum(np.linalg.norm(x, axis=1)))(rows)
    np.testing.assert_allclose(got, [[0.0, 0.0], [0.6, 0.8]])


@pytest.mark.parametrize("ord", [None, "fro", "nuc", 2, -2, 1, np.inf])
def test_matrix_norms_of_zero_are_finite(ord):
    assert np.isfinite(grad(lambda x: np.linalg.norm(x, ord))(np.zeros((2, 3)))).all()


def test_second_order_of_the_norm_of_zero():
    np.testing.assert_array_equal(jacobian(grad(np.linalg.norm))(np.zeros(2)), np.zeros((2, 2)))
    check_grads(np.linalg.norm, order=3)(V)


def test_a_zero_item_within_a_norm():
    for p in (3, 1.5):
        slope = grad(lambda x: np.linalg.norm(x, p))(np.array([0.0, 2.0]))  # noqa: B023
        np.testing.assert_allclose(slope, [0.0, 1.0])


def test_norms_keep_float32():
    for ord in (None, 1, 3, np.inf):
        x = V.astype(np.float32)
        assert grad(lambda x: anp.linalg.norm(x, ord))(x).dtype == np.float32  # noqa: B023


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((A, "fro", 1), "for matrices"),
        ((A, 3), "not a norm of matrices"),
        ((A, None, (0, 0)), "the same"),
        ((STACK, 2), "not 3"),
    ],
)
def test_norms_that_do_not_exist(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_vjp(lambda x: np.linalg.norm(x, *arguments[1:]))(arguments[0])


# ---------------------------------------------------------------- Cholesky


@pytest.mark.parametrize("n", [1, 3, 47, 48, 49, 97, 150])
def test_the_blocked_adjoint_is_the_formula(n):
    factor, g = np.linalg.cholesky(definite(n)), rng.normal(size=(n, n))
    blocks = rules._cholesky_adjoint_plain(factor, g)
    np.testing.assert_allclose(blocks, rules._cholesky_adjoint_formula(factor, g), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(blocks, blocks.T, atol=1e-15)
    # Nothing comes from cotangents above the diagonal, nor from the layout.
    np.testing.assert_allclose(rules._cholesky_adjoint_plain(np.asfortranarray(factor), np.tril(g)), blocks)


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("upper", [False, True])
def test_cholesky_along_symmetric_directions(dtype, upper):
    check_grads(lambda a: anp.linalg.cholesky(hermitian_part(a), upper=upper))(definite(4, dtype=dtype))


def test_cholesky_of_stacks_and_of_several_blocks():
    check_grads(lambda a: np.linalg.cholesky(hermitian_part(a)))(np.stack([definite(3), definite(3, 1)]))
    check_grads(lambda a: np.linalg.cholesky(hermitian_part(a)), modes=["rev"])(definite(50))
    assert grad(lambda a: anp.sum(np.linalg.cholesky(a)))(np.zeros((0, 0))).shape == (0, 0)


def test_cholesky_has_a_symmetric_gradient_of_its_dtype():
    for dtype in (np.float32, np.float64):
        g = grad(lambda a: anp.sum(np.linalg.cholesky(a)))(definite(5).astype(dtype))
        assert g.dtype == dtype
        np.testing.assert_allclose(g, g.T, atol=1e-6 if dtype == np.float32 else 1e-15)


def test_a_log_likelihood():
    points = rng.normal(size=(60, 2))
    distances = np.sum((points[:, None] - points) ** 2, axis=-1)
    y = np.sin(points[:, 0])

    def likelihood(parameters):
        k = anp.exp(-distances * parameters[0]) + parameters[1] * np.eye(60)
        factor = anp.linalg.cholesky(k)
        white = slinalg.solve_triangular(factor, y, lower=True)
        return 0.5 * anp.dot(white, white) + anp.sum(anp.log(anp.diag(factor)))

    def directly(parameters):
        k = anp.exp(-distances * parameters[0]) + parameters[1] * np.eye(60)
        return 0.5 * anp.dot(y, anp.linalg.solve(k, y)) + 0.5 * anp.linalg.slogdet(k)[1]

    point = np.array([0.7, 0.3])
    check_grads(likelihood)(point)
    np.testing.assert_allclose(grad(likelihood)(point), grad(directly)(point), rtol=1e-9)


# ---------------------------------------------------------------- systems


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("trans", [0, 1, 2, "N", "T", "C"])
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("unit_diagonal", [False, True])
def test_solve_triangular(dtype, trans, lower, unit_diagonal):
    a, b = (A, B) if dtype is float else (A + 1j * draw_complex(4, 4), draw_complex(4, 2))
    options = {"trans": trans, "lower": lower, "unit_diagonal": unit_diagonal}
    for right in (b, b[:, 0]):
        check_grads(lambda a, b: slinalg.solve_triangular(a, b, **options), argnum=(0, 1))(a, right)
        value = make_vjp(lambda a: slinalg.solve_triangular(a, right, **options))(a)[1]  # noqa: B023
        np.testing.assert_array_equal(value, scipy.linalg.solve_triangular(a, right, **options))


def test_solve_triangular_reads_one_triangle():
    c = grad(lambda a: anp.sum(slinalg.solve_triangular(a, V, lower=True)))(A)
    np.testing.assert_array_equal(c, np.tril(c))
    c = grad(lambda a: anp.sum(slinalg.solve_triangular(a, V, unit_diagonal=True)))(A)
    np.testing.assert_array_equal(c, np.triu(c, 1))


def test_singular_matrices_raise():
    singular = np.ones((3, 3))
    for function in (np.linalg.inv, lambda a: np.linalg.slogdet(a)[1], lambda a: np.linalg.solve(a, a)):
        with pytest.raises(np.linalg.LinAlgError):
            make_vjp(function)(singular)[0](np.ones((3, 3)) if function is np.linalg.inv else np.float64(1.0))
    triangular = np.diag([1.0, 0.0, 2.0])
    with pytest.raises(np.linalg.LinAlgError, match="item 1 is 0"):
        rules.triangular(triangular, np.ones((3, 1)))


@pytest.mark.parametrize(
    "make", [np.tril, np.triu, lambda a: a, np.asfortranarray, lambda a: a[::-1, ::-1].T]
)
def test_solve_takes_triangular_matrices_as_any_other(make):
    a = make(A)
    for right in (V, B):
        v = np.linalg.solve(a.T, np.ones_like(right))
        x = np.linalg.solve(a, right)
        expected = -np.outer(v, x) if right.ndim == 1 else -v @ x.T
        got = grad(lambda a: anp.sum(anp.linalg.solve(a, right)))(a)  # noqa: B023
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-13)
        check_grads(lambda a, b: np.linalg.solve(a, b), argnum=(0, 1))(a, right)


def test_solve_broadcasts():
    check_grads(lambda a, b: np.linalg.solve(a, b), argnum=(0, 1))(STACK, V[:3])
    check_grads(lambda a, b: np.linalg.solve(a, b), argnum=(0, 1))(STACK[0], rng.normal(size=(2, 3, 1)))
    check_grads(lambda b: anp.linalg.solve(A.tolist(), b))(V)


# ---------------------------------------------------------------- determinants


def test_det_of_singular_matrices():
    rank_two = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [5.0, 7.0, 9.0]])
    minors = [[np.linalg.det(np.delete(np.delete(rank_two, i, 0), j, 1)) for j in range(3)] for i in range(3)]
    signs = np.array([[1, -1, 1], [-1, 1, -1], [1, -1, 1]])
    np.testing.assert_allclose(grad(np.linalg.det)(rank_two), signs * minors, atol=1e-12)
    np.testing.assert_allclose(grad(np.linalg.det)(np.ones((3, 3))), np.zeros((3, 3)), atol=1e-12)
    np.testing.assert_array_equal(grad(np.linalg.det)(np.zeros((1, 1))), [[1.0]])
    exactly = np.diag([2.0, 0.0, 3.0])
    np.testing.assert_allclose(grad(np.linalg.det)(exactly), np.diag([0.0, 6.0, 0.0]), atol=1e-12)


def test_slogdet_of_definite_and_indefinite_matrices():
    for a in (definite(4), A, A + A.T, -definite(3), definite(4).astype(np.float32)):
        got = grad(lambda a: np.linalg.slogdet(a)[1])(a)
        assert got.dtype == a.dtype
        np.testing.assert_allclose(got, np.linalg.inv(a).T, rtol=1e-4 if a.dtype == np.float32 else 1e-10)
    result = make_vjp(lambda a: np.linalg.slogdet(a).logabsdet)(A)[1]
    assert result == np.linalg.slogdet(A).logabsdet
    assert grad(lambda a: np.linalg.slogdet(a).sign)(A).any() == np.False_


# ---------------------------------------------------------------- eigenvalues


def test_eigenvalues_that_coincide():
    np.testing.assert_allclose(grad(lambda a: anp.sum(np.linalg.eigh(a)[0] ** 2))(np.eye(3)), 2 * np.eye(3))
    np.testing.assert_allclose(grad(lambda a: anp.sum(np.linalg.eigvalsh(a) ** 2))(np.eye(3)), 2 * np.eye(3))
    assert np.isfinite(grad(lambda a: anp.sum(np.linalg.eigh(a)[1]))(np.eye(3))).all()


def test_eigh_reads_one_triangle():
    lower = grad(lambda a: anp.sum(np.linalg.eigh(a)[0] ** 3))(definite(3))
    np.testing.assert_array_equal(lower, np.tril(lower))
    upper = grad(lambda a: anp.sum(np.linalg.eigvalsh(a, "U") ** 3))(definite(3))
    np.testing.assert_allclose(upper, lower.T)
    result = make_vjp(lambda a: np.linalg.eigh(a).eigenvectors)(definite(3))[1]
    np.testing.assert_array_equal(result, np.linalg.eigh(definite(3)).eigenvectors)


def test_eig_of_real_and_complex_spectra():
    rotation = np.array([[1.0, -2.0], [0.5, 1.5]])
    for a in (rotation, np.array([[2.0, 1.0], [0.3, -1.0]]), draw_complex(3, 3)):

        def square(a):
            w, v = np.linalg.eig(a)
            return anp.matmul(v * w**2, np.linalg.inv(v))

        got = make_jvp(square)(a)(np.eye(len(a)))[1]
        np.testing.assert_allclose(got, 2 * a, atol=1e-12)
        check_grads(np.linalg.eigvals)(a)


# ---------------------------------------------------------------- singular values, QR


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4), (2, 3, 2)])
@pytest.mark.parametrize("dtype", [float, complex])
def test_projectors_of_the_full_svd(shape, dtype):
    a = rng.normal(size=shape) if dtype is float else draw_complex(*shape)

    def projectors(a):
        u, s, vh = np.linalg.svd(a)
        u, vh = u[..., :, 1:], vh[..., 1:, :]
        return anp.matmul(u, anp.conj(u).mT), anp.sum(s**3), anp.matmul(anp.conj(vh).mT, vh)

    check_grads(projectors)(a)


def test_singular_values_that_are_zero_or_coincide():
    np.testing.assert_allclose(
        grad(lambda a: anp.sum(np.linalg.svd(a)[1] ** 2))(np.eye(2, 3)), 2 * np.eye(2, 3)
    )
    assert np.isfinite(grad(lambda a: anp.sum(np.linalg.svd(a)[0]))(np.ones((3, 2)))).all()
    assert np.isfinite(grad(lambda a: anp.sum(np.linalg.svdvals(a)))(np.zeros((3, 2)))).all()


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda a: np.linalg.svd(a, hermitian=True), "use eigh"),
        (lambda a: np.linalg.qr(a, "complete"), "mode='reduced'"),
        (lambda a: np.linalg.qr(a, "raw"), "mode='reduced'"),
        (lambda a: np.linalg.lstsq(a, V), "pinv"),
    ],
)
def test_refused_with_advice(function, message):
    with pytest.raises(TypeError, match=message):
        make_vjp(function)(TALL)


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4)])
def test_qr(shape):
    a = rng.normal(size=shape)
    check_grads(lambda a: np.linalg.qr(a), order=2)(a)
    check_grads(lambda a: np.linalg.qr(a))(a + 1j * rng.normal(size=shape))
    if shape[0] <= shape[1]:
        check_grads(lambda a: np.linalg.qr(a, mode="complete").Q)(a)


# ---------------------------------------------------------------- the rest


def test_rank_is_a_constant():
    assert make_vjp(lambda a: np.linalg.matrix_rank(a) * anp.sum(a))(TALL)[1] == 3 * np.sum(TALL)


def test_float32_and_lists():
    a = A.astype(np.float32)
    functions = (
        np.linalg.inv,
        np.linalg.pinv,
        np.linalg.det,
        np.linalg.svd,
        np.linalg.eig,
        np.linalg.qr,
        np.linalg.cond,
    )
    for function in functions:
        pullback, value = make_vjp(lambda a: anp.sum(anp.abs(anp.ravel(_first(function(a))))))(a)  # noqa: B023
        assert value.dtype == np.float32 and pullback(np.float32(1.0)).dtype == np.float32
    np.testing.assert_allclose(grad(lambda x: anp.linalg.det([[x, 1.0], [2.0, x]]))(3.0), 6.0)


def _first(result):
    return result[0] if isinstance(result, tuple) else result


def test_matrix_power_of_zero_and_of_negative_exponents():
    np.testing.assert_array_equal(grad(lambda a: anp.sum(np.linalg.matrix_power(a, 0)))(A), np.zeros((4, 4)))
    for n in (-3, -1, 4, 5, 11):
        check_grads(lambda a: np.linalg.matrix_power(a, n), order=1)(A / 3)  # noqa: B023
        value = make_vjp(lambda a: np.linalg.matrix_power(a, n))(A)[1]  # noqa: B023
        np.testing.assert_array_equal(value, np.linalg.matrix_power(A, n))


def test_tensor_systems():
    with pytest.raises(ValueError, match="ind"):
        make_vjp(lambda a: np.linalg.tensorinv(a, ind=0))(A)
