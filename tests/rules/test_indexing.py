"""Indexing and selection: what examples cannot say."""

import numpy
import pytest

import autograd_c.numpy as np
from autograd_c.operators import grad, hessian, make_jvp, make_vjp
from autograd_c.test_util import check_grads

X = numpy.arange(24.0).reshape(2, 3, 4) / 7 - 1.5

INDICES = [
    0, -1, (1, 2), (1, 2, 3), (-1, 0, -2), slice(None), slice(1, None), slice(None, None, -1), Ellipsis, (),
    None, (None, 1, ..., None), (..., 2), (0, ..., slice(None, None, 2)), (slice(0, 0), 1), (slice(5, 9),),
    [0, 1, 0],
    ([0, 1], [2, 2]), ([0, 1], slice(None), [3, 0]), (slice(None), [2, 0, 2]), (..., [[0, 1], [1, 1]]),
    ([[0], [1]], [0, 2]), (0, [1, 1], None), numpy.array([1, 0]), numpy.array(1), numpy.int64(1),
    (numpy.intp(1), slice(None)), X > 0, numpy.array([True, False]), (0, X[0] > 0), numpy.zeros(2, bool),
    (slice(None), numpy.array([True, False, True])), numpy.array([], int), [], True, False, (True, 1),
    (numpy.array([False, True]), 2), (0, (1, 2)), (slice(None), (0, 0), ...),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_index(index):
    expected = X[index]
    value = make_vjp(lambda x: x[index])(X)[1]
    assert numpy.array_equal(value, expected) and numpy.shape(value) == expected.shape
    g = numpy.cos(numpy.arange(expected.size)).reshape(expected.shape)
    scattered = numpy.zeros_like(X)
    numpy.add.at(scattered, index, g)
    pulled = make_vjp(lambda x: x[index])(X)[0](g if expected.shape else g[()])
    numpy.testing.assert_allclose(pulled, scattered, rtol=1e-15)
    assert numpy.array_equal(make_jvp(lambda x: x[index])(X)(scattered)[1], scattered[index])
    numpy.testing.assert_allclose(grad(lambda x: grad(lambda y: np.sum(y[index] ** 3))(x).sum())(X),
                                  6 * X * _counts(index), rtol=1e-12)  # fmt: skip


def _counts(index):
    counts = numpy.zeros_like(X)
    numpy.add.at(counts, index, 1.0)
    return counts


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_assignment_by_index(index):
    plain = X.copy()
    target = numpy.shape(plain[index])
    values = numpy.sin(numpy.arange(plain[index].size)).reshape(target)

    def f(x, v):
        y = x * 1.0
        y[index] = v * v
        return y

    value = make_vjp(f, 0)(X, values)[1]
    assert numpy.array_equal(value, f(X, values))
    if values.size:
        check_grads(f, modes=["rev", "fwd"], order=2)(X, values)


def test_out_of_range_and_wrong_type():
    for index in (2, (0, 3), [0, 5], numpy.zeros(3, bool)):
        with pytest.raises(IndexError):
            grad(lambda x, i=index: np.sum(x[i]))(X)
    with pytest.raises(IndexError):
        grad(lambda x: np.sum(x["a"]))(X)
    with pytest.raises(IndexError, match="traced float"):
        grad(lambda x: np.sum(x[x > 0][x[0, 0, 0]]))(X)
    with pytest.raises(TypeError):
        grad(lambda x: np.sum(x[: x[0, 0, 0]]))(X)


def test_structured_results_of_take():
    f = lambda x: np.take(x, numpy.array([[0, 2], [1, 1]]), axis=-1)  # noqa: E731
    assert make_vjp(f)(X)[1].shape == (2, 3, 2, 2)
    with pytest.raises(TypeError, match="take: the indices must be integers"):
        grad(lambda x: np.sum(np.take(x, [0.5])))(X)
    with pytest.raises(TypeError, match="out="):
        grad(lambda x: np.sum(np.take(x, [0], out=numpy.zeros(1))))(X)
    with pytest.raises(numpy.exceptions.AxisError):
        grad(lambda x: np.sum(np.take(x, [0], axis=3)))(X)
    assert make_vjp(lambda x: np.take(x, []))(X)[1].shape == (0,)


def test_methods_of_numpy_dispatch_here():
    assert numpy.array_equal(grad(lambda x: numpy.take(x, [0, 0, 3]).sum())(X).ravel()[:4], [2, 0, 0, 1])
    assert numpy.array_equal(grad(lambda x: numpy.extract(X > 1, x).sum())(X), X > 1)
    assert numpy.array_equal(
        grad(lambda x: numpy.compress([False, True], x, axis=0).sum())(X)[0], numpy.zeros((3, 4))
    )


def test_select():
    x = numpy.array([0.5, 1.5, 2.5])

    def f(x):
        return np.select([x < 1, x < 2], [x * x, 3 * x], default=x[0])

    assert numpy.array_equal(make_vjp(f)(x)[1], [0.25, 4.5, 0.5])
    numpy.testing.assert_allclose(grad(lambda x: np.sum(f(x)))(x), [2.0, 3.0, 0.0])
    assert make_vjp(lambda x: np.select([x < 1], [x]))(x.astype(numpy.float32))[1].dtype == numpy.float32
    assert make_vjp(lambda x: np.select([x < 1], [x], 1.0))(x.astype(numpy.float32))[1].dtype == numpy.float32
    with pytest.raises(ValueError, match="same length"):
        f2 = lambda x: np.sum(np.select([x < 1], [x, x]))  # noqa: E731
        grad(f2)(x)
    with pytest.raises(TypeError, match="boolean"):
        grad(lambda x: np.sum(np.select([numpy.ones(3)], [x])))(x)


def test_piecewise():
    x = numpy.array([-1.0, 0.5, 2.0])

    def f(np, x):
        return np.piecewise(x, [x < 0, x > 1], [lambda v: v * v, lambda v, k=1: k * v**3, 7.0])

    assert numpy.array_equal(make_vjp(lambda x: f(np, x))(x)[1], f(numpy, x))
    numpy.testing.assert_allclose(grad(lambda x: np.sum(f(np, x)))(x), [-2.0, 0.0, 12.0])
    check_grads(lambda x: f(np, x), modes=["rev", "fwd"], order=2)(x)
    assert numpy.array_equal(
        make_vjp(lambda x: np.piecewise(x, x < 0, [lambda v: -v, lambda v: v]))(x)[1], abs(x)
    )
    with pytest.raises(ValueError, match="functions are expected"):
        grad(lambda x: np.sum(np.piecewise(x, [x < 0], [1, 2, 3])))(x)


def test_apply_along_axis_matches_numpy():
    for axis in (0, 1, -1):
        for fun in (lambda v: v[:2], lambda v: (v * v).sum(), lambda v: v[:, None] * v[None, :2]):
            got = make_vjp(lambda x, fun=fun, axis=axis: np.apply_along_axis(fun, axis, x))(X)[1]
            expected = numpy.apply_along_axis(fun, axis, X)
            assert got.shape == expected.shape and numpy.array_equal(got, expected)
    with pytest.raises(ValueError, match="dimensions are 0"):
        grad(lambda x: np.sum(np.apply_along_axis(np.sum, 0, x[:, :0])))(X)


def test_choose_broadcasts_and_clips():
    a = numpy.array([[0, 1], [7, -3]])
    f = lambda np, x: np.choose(a, [x[0, 0, :2], x[1, 0, 0]], mode="clip")  # noqa: E731
    assert numpy.array_equal(make_vjp(lambda x: f(np, x))(X)[1], f(numpy, X))
    with pytest.raises((ValueError, IndexError)):
        grad(lambda x: np.sum(np.choose(a, [x[0, 0, :2], x[1, 0, 0]])))(X)


def test_indices_from_a_traced_array():
    m = X[:, :2, 0]
    for name in ("diag_indices_from", "tril_indices_from", "triu_indices_from"):
        f = lambda np, x, name=name: x[getattr(np, name)(x)]  # noqa: E731
        assert numpy.array_equal(make_vjp(lambda x, f=f: f(np, x))(m)[1], f(numpy, m))
    assert numpy.array_equal(make_vjp(lambda x: x[np.ix_([0, 1], [1])])(m)[1], m[[0, 1]][:, [1]])


def test_iterables_are_refused_with_the_cure():
    with pytest.raises(TypeError, match=r"np\.array\(list"):
        grad(lambda x: np.sum(np.fromiter([x[0, 0, 0], 1.0], float)))(X)


def test_reading_items_costs_no_dense_cotangent():
    """A loop over items: the hessian of a chain is right, and zero where it should be."""
    f = lambda x: sum((x[i + 1] - x[i] ** 2) ** 2 for i in range(5))  # noqa: E731
    x = numpy.linspace(0.1, 0.9, 6)
    h = hessian(f)(x)
    expected = numpy.zeros((6, 6))
    for i in range(5):
        expected[i, i] += 12 * x[i] ** 2 - 4 * x[i + 1]
        expected[i + 1, i + 1] += 2
        expected[i, i + 1] -= 4 * x[i]
        expected[i + 1, i] -= 4 * x[i]
    numpy.testing.assert_allclose(h, expected, atol=1e-12)
