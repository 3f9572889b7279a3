"""Making arrays: what examples cannot say."""

import numpy
import pytest

import autograd_c.numpy as np
from autograd_c._core import is_box
from autograd_c.operators import grad, hessian, make_jvp, make_vjp
from autograd_c.test_util import check_grads

X = numpy.array([0.3, -1.2, 0.8])


def value_of(f, x=X):
    return make_vjp(f)(x)[1]


# --- array ----------------------------------------------------------------------------------------

LISTS = {
    "scalars": lambda np, x: np.array([x[0] * 2, x[1] + 1, 3.0]),
    "tuple": lambda np, x: np.array((x[0], 1, x[2])),
    "nested": lambda np, x: np.array([[x[0], 0.0], [x[1], x[2]], (1, x[0])]),
    "deep": lambda np, x: np.array([[[x[0]], [x[1]]]]),
    "arrays": lambda np, x: np.array([x, x * x, numpy.ones(3)]),
    "arrays and lists": lambda np, x: np.array([x, [x[0], 1.0, 2]]),
    "0-d arrays": lambda np, x: np.array([np.sum(x), numpy.array(2.0), np.reshape(x[0], ())]),
    "rows": lambda np, x: np.array([[x, x], [x, X]]),
    "ndmin": lambda np, x: np.array([x[0], x[1]], ndmin=3),
    "dtype": lambda np, x: np.array([x[0], 2], dtype=numpy.float64),
    "asarray": lambda np, x: np.asarray([x[0], x[2]]),
    "asanyarray": lambda np, x: np.asanyarray([[x[0], x[2]]]),
    "long": lambda np, x: np.array([x[i % 3] * i for i in range(300)]),
    "one": lambda np, x: np.array([x[1]]),
    "functions of lists": lambda np, x: np.sum([x[0], x[1]]) * np.sqrt([x[0], 2.0]),
}


@pytest.mark.parametrize("name", LISTS)
def test_array_of_traced_values(name):
    f = LISTS[name]
    expected = f(numpy, X)
    for value in (value_of(lambda x: f(np, x)), make_jvp(lambda x: f(np, x))(X)(X)[0]):
        assert (
            numpy.array_equal(value, expected)
            and value.dtype == expected.dtype
            and value.shape == expected.shape
        )
    check_grads(lambda x: f(np, x), modes=["rev", "fwd"], order=2)(X)


def test_array_types():
    single = X.astype(numpy.float32)
    assert value_of(lambda x: np.array([x[0], x[1]]), single).dtype == numpy.float32
    assert value_of(lambda x: np.array([x[0], numpy.float32(1)]), single).dtype == numpy.float32
    assert value_of(lambda x: np.array([x[0], 1.0]), single).dtype == numpy.array([single[0], 1.0]).dtype
    assert grad(lambda x: np.sum(np.array([x[0], x[1]])))(single).dtype == numpy.float32
    assert value_of(lambda x: np.array([x[0], 1j])).dtype == complex
    assert value_of(lambda x: np.array([x[0], x[1]], dtype=numpy.float32)).dtype == numpy.float32
    assert value_of(lambda x: np.array(x, dtype=complex)).dtype == complex
    pullback, value = make_vjp(lambda x: np.array([x[0], 1j * x[1]]))(X)
    assert numpy.array_equal(pullback(numpy.array([1 + 1j, 2 + 3j])), [1.0, -3.0, 0.0])


def test_whole_number_arrays_are_constants():
    def f(x):
        index = np.array([x[0], 2.9], dtype=int)
        assert type(index) is numpy.ndarray and index.tolist() == [0, 2]
        return np.sum(x[index])

    assert numpy.array_equal(grad(f)(X), [1, 0, 1])


def test_array_errors():
    with pytest.raises(ValueError, match="differ in length"):
        grad(lambda x: np.sum(np.array([[x[0]], [x[1], x[2]]])))(X)
    with pytest.raises(ValueError, match="shape"):
        grad(lambda x: np.sum(np.array([x, x[:2]])))(X)
    with pytest.raises(TypeError, match="object array"):
        grad(lambda x: np.array([x[0]], dtype=object)[0])(X)
    with pytest.raises(ValueError, match="avoid copy"):
        grad(lambda x: np.sum(np.array(x, dtype=numpy.float32, copy=False)))(X)


def test_copies_and_aliases():
    def f(x):
        y = x * 1.0
        assert np.asarray(y) is y and np.asanyarray(y) is y and np.array(y, copy=None) is y
        assert np.asarray(y, dtype=float) is y and np.asarray(y, order="C") is y
        z = np.array(y)
        w = y.copy()
        z[0] = 0.0
        w[1] = 0.0
        assert is_box(z) and z is not y
        return np.sum(y * z * w)

    numpy.testing.assert_allclose(grad(f)(X), [0.0, 0.0, 3 * X[2] ** 2])


def test_nested_traces_make_arrays():
    f = lambda x: np.sum(np.array([x[0] * x[1], x[1] ** 2, 1.0]) ** 2)  # noqa: E731
    x, y, _ = X
    expected = numpy.zeros((3, 3))
    expected[:2, :2] = [[2 * y * y, 4 * x * y], [4 * x * y, 2 * x * x + 12 * y * y]]
    numpy.testing.assert_allclose(hessian(f)(X), expected)

    def mixed(x):
        return grad(lambda t: np.sum(np.array([t * x[0], x[1], 2.0, t]) ** 2))(x[2])

    numpy.testing.assert_allclose(grad(mixed)(X), [4 * X[0] * X[2], 0.0, 2 * X[0] ** 2 + 2])


def test_memory_order_is_numpys():
    x = numpy.arange(6.0).reshape(2, 3)
    for f in (
        lambda np, x: np.asfortranarray(x),
        lambda np, x: np.ascontiguousarray(x.T),
        lambda np, x: np.asarray(x, order="F"),
        lambda np, x: np.array(x, order="F"),
        lambda np, x: np.copy(x, order="F"),
        lambda np, x: x.copy("F"),
        lambda np, x: np.require(x, requirements=["F", "O", "W"]),
        lambda np, x: np.require(x, numpy.float32),
    ):
        expected, value = f(numpy, x), value_of(lambda x, f=f: f(np, x), x)
        assert (value.flags.c_contiguous, value.flags.f_contiguous) == (
            expected.flags.c_contiguous, expected.flags.f_contiguous,
        )  # fmt: skip
        assert numpy.array_equal(value, expected) and value.dtype == expected.dtype
    assert value_of(lambda x: np.ascontiguousarray(x[0])).shape == (1,)
    with pytest.raises(ValueError, match="both"):
        grad(lambda x: np.sum(np.require(x, None, ["C", "F"])))(x)


def test_finite_arrays_only():
    assert numpy.array_equal(grad(lambda x: np.sum(np.asarray_chkfinite(x)))(X), numpy.ones(3))
    with pytest.raises(ValueError, match="infs or NaNs"):
        grad(lambda x: np.sum(np.asarray_chkfinite(x)))(numpy.array([1.0, numpy.inf]))


# --- like a traced array --------------------------------------------------------------------------


def test_like_functions_are_traced_with_zero_derivative():
    def f(x):
        for make in (np.zeros_like, np.ones_like, np.empty_like, lambda x: np.full_like(x, 2.0)):
            assert is_box(make(x)) and make(x).shape == x.shape
        assert type(np.zeros_like(x, dtype=int)) is numpy.ndarray
        assert np.ones_like(x, shape=(2, 2)).shape == (2, 2)
        assert np.ones_like(x, dtype=numpy.float32).dtype == numpy.float32
        return np.sum(np.ones_like(x) * x + np.ones_like(x))

    assert numpy.array_equal(grad(f)(X), numpy.ones(3))
    assert numpy.array_equal(make_jvp(np.ones_like)(X)(X)[1], numpy.zeros(3))
    assert numpy.array_equal(grad(lambda x: grad(f)(x).sum())(X), numpy.zeros(3))


def test_full():
    for f in (
        lambda np, x: np.full((2, 3), x),
        lambda np, x: np.full(3, x[0]),
        lambda np, x: np.full((2, 1), x[1], dtype=numpy.float32),
        lambda np, x: np.full_like(x, x[0]),
        lambda np, x: np.full_like(X, x),
        lambda np, x: np.full_like(X, x[0], shape=(2, 2)),
        lambda np, x: np.full(2, [x[0], x[1]]) if np is not numpy else numpy.full(2, x[:2]),
    ):
        expected, value = f(numpy, X), value_of(lambda x, f=f: f(np, x))
        assert numpy.array_equal(value, expected) and value.dtype == expected.dtype

    def filled(x):
        y = np.full(3, x[0])
        y[1] = x[1]
        return y

    check_grads(filled, modes=["rev", "fwd"], order=2)(X)


# --- ranges ---------------------------------------------------------------------------------------


def test_linspace_every_way():
    for f in (
        lambda np, x: np.linspace(x[0], x[1], 5),
        lambda np, x: np.linspace(x[0], 2.0),
        lambda np, x: np.linspace(0, x[1], 4, endpoint=False),
        lambda np, x: np.linspace(x, 2 * x, 4, axis=-1),
        lambda np, x: np.linspace(x, x[:, None], 3, axis=1),
        lambda np, x: np.linspace(x[0], x[1], 0),
        lambda np, x: np.linspace(x[0], x[1], 1),
        lambda np, x: np.linspace(x[0], x[1], 3, dtype=numpy.float32),
        lambda np, x: np.linspace(start=x[0], stop=x[1], num=3),
        lambda np, x: np.linspace(stop=x[0], start=1.0, num=3),
    ):
        expected, value = f(numpy, X), value_of(lambda x, f=f: f(np, x))
        assert numpy.array_equal(value, expected) and value.dtype == expected.dtype
        if expected.dtype == float:
            check_grads(lambda x, f=f: f(np, x), modes=["rev", "fwd"], order=1)(X)
    assert type(value_of(lambda x: [np.linspace(x[0], 9.0, 3, dtype=int), x][0])) is numpy.ndarray

    def step(x):
        values, step = np.linspace(x[0], x[1], 4, retstep=True)
        return np.sum(values) * step

    assert value_of(step) == pytest.approx(2 * (X[0] + X[1]) * (X[1] - X[0]) / 3)
    check_grads(step, modes=["rev", "fwd"], order=2)(X)


def test_arange_every_way():
    x = numpy.array([0.3, 2.9, 0.7])
    for f in (
        lambda np, x: np.arange(x[1]),
        lambda np, x: np.arange(x[0], x[1]),
        lambda np, x: np.arange(x[0], x[1], x[2]),
        lambda np, x: np.arange(0, x[1], x[2]),
        lambda np, x: np.arange(x[0], 5.0, 2),
        lambda np, x: np.arange(x[0], x[1], dtype=numpy.float32),
    ):
        expected, value = f(numpy, x), value_of(lambda x, f=f: f(np, x), x)
        assert numpy.array_equal(value, expected) and value.dtype == expected.dtype
        if expected.dtype == float:
            check_grads(lambda x, f=f: f(np, x), modes=["rev", "fwd"], order=1)(x)
    assert numpy.array_equal(grad(lambda x: np.sum(np.arange(x[0], x[1], x[2]) ** 2))(x),
                             grad(lambda x: np.sum((x[0] + numpy.arange(4) * x[2]) ** 2))(x))  # fmt: skip


def test_geomspace_and_logspace_ends():
    x = numpy.array([0.5, 8.0])
    assert numpy.array_equal(value_of(lambda x: np.geomspace(x[0], x[1], 5), x), numpy.geomspace(0.5, 8.0, 5))
    g = make_vjp(lambda x: np.geomspace(x[0], x[1], 5))(x)[0]
    numpy.testing.assert_allclose(g(numpy.array([1.0, 0, 0, 0, 0])), [1.0, 0.0], atol=1e-15)
    numpy.testing.assert_allclose(g(numpy.array([0, 0, 0, 0, 1.0])), [0.0, 1.0], atol=1e-15)
    check_grads(lambda x: np.geomspace(-x[0], -x[1], 4), modes=["rev", "fwd"], order=2)(x)
    check_grads(lambda x: np.logspace(x[0], 1.0, 4, base=x[1]), modes=["rev", "fwd"], order=2)(x)
    assert numpy.array_equal(
        value_of(lambda x: np.logspace(x, 2 * x, 3, base=[[2.0], [3.0]], axis=-1), x),
        numpy.logspace(x, 2 * x, 3, base=[[2.0], [3.0]], axis=-1),
    )


def test_vander_to_second_order():
    for n, increasing in ((None, False), (5, True), (1, False), (0, False), (2, True)):
        f = lambda x, n=n, i=increasing: np.vander(x, n, i)  # noqa: E731
        assert numpy.array_equal(value_of(f), numpy.vander(X, n, increasing))
        if n != 0:
            check_grads(f, modes=["rev", "fwd"], order=2)(X)


# --- types ----------------------------------------------------------------------------------------


def test_astype():
    assert value_of(lambda x: np.astype(x, numpy.float32)).dtype == numpy.float32
    assert grad(lambda x: np.sum(x.astype(numpy.float32)))(X).dtype == float
    assert type(value_of(lambda x: [x.astype(int), x][0])) is numpy.ndarray
    assert value_of(lambda x: [x.astype(bool), x][0]).dtype == bool
    with pytest.raises(TypeError, match="Cannot cast"):
        grad(lambda x: np.sum(x.astype(numpy.float32, casting="safe")))(X)

    def f(x):
        y = x * 1.0
        assert y.astype(float, copy=False) is y and y.astype(float) is not y
        return np.sum(y.astype(float) * y)

    numpy.testing.assert_allclose(grad(f)(X), 2 * X)


def test_real_and_imag_of_real_arrays():
    def f(x):
        y = x * 1.0
        assert np.real(y) is y
        assert numpy.array_equal(np.imag(y) + 0.0 == 0.0, [True] * 3)
        return np.sum(np.real(y) ** 2 + np.imag(y))

    numpy.testing.assert_allclose(grad(f)(X), 2 * X)


def test_complex_parts_follow_the_convention():
    """Of a real function the gradient is du/dx - i du/dy."""
    z = numpy.array([1.0 + 2.0j, -0.5j])
    assert numpy.array_equal(grad(lambda z: np.sum(np.real(z)))(z), [1, 1])
    assert numpy.array_equal(grad(lambda z: np.sum(np.imag(z)))(z), [-1j, -1j])
    numpy.testing.assert_allclose(grad(lambda z: np.real(np.sum(np.conj(z) * z)))(z), 2 * numpy.conj(z))


def test_fromfunction():
    f = lambda np, x: np.fromfunction(lambda i, j, scale: scale * i + j, (2, 3), scale=x[0])  # noqa: E731
    assert numpy.array_equal(value_of(lambda x: f(np, x)), f(numpy, X))
    assert numpy.array_equal(grad(lambda x: np.sum(f(np, x)))(X), [3, 0, 0])


@pytest.mark.parametrize(
    "make",
    [
        lambda x: numpy.array([x[0], 2 * x[1]], like=x),
        lambda x: numpy.asarray(x, like=x)[:2] * [1, 2],
        lambda x: numpy.ascontiguousarray([x[0], 2 * x[1]], like=x),
        lambda x: numpy.full(1, x[0] + 2 * x[1], like=x),
        lambda x: numpy.require([x[0], 2 * x[1]], like=x),
    ],
    ids=["array", "asarray", "ascontiguousarray", "full", "require"],
)
def test_plain_numpy_with_like_takes_traced_values(make):
    assert numpy.array_equal(grad(lambda x: np.sum(make(x)))(numpy.ones(3)), [1.0, 2.0, 0.0])
