"""Running sums and products with zeros and NaN, and differences with ends."""

import numpy
import pytest

import autograd_c.numpy as np
from autograd_c import grad, hessian, jacobian, jvp
from autograd_c.rules.cumulative import recurrence
from autograd_c.test_util import check_grads


def draw(*shape, seed=0):
    return numpy.random.default_rng(seed).standard_normal(shape)


def cumprod_jacobian(x):
    """By the definition: row k, column i is the product of x[j] over j <= k without i."""
    n = len(x)
    return numpy.array(
        [[numpy.prod(numpy.delete(x[: k + 1], i)) if i <= k else 0.0 for i in range(n)] for k in range(n)]
    )


@pytest.mark.parametrize("zeros", [(), (0,), (2,), (1, 3), (0, 1, 2, 3, 4)])
def test_cumprod_with_zeros(zeros):
    x = numpy.array([2.0, 3.0, -1.5, 0.5, 0.25])
    x[list(zeros)] = 0.0
    expected = cumprod_jacobian(x)
    numpy.testing.assert_allclose(jacobian(np.cumprod)(x), expected, rtol=1e-14, atol=0)
    columns = [jvp(np.cumprod, (x,), (unit,))[1] for unit in numpy.eye(5)]
    numpy.testing.assert_allclose(numpy.transpose(columns), expected, rtol=1e-14, atol=0)
    check_grads(lambda x: np.cumprod(x) @ numpy.arange(1.0, 6.0), order=3)(x)


def test_second_derivative_of_cumprod_with_zeros():
    x = numpy.array([0.0, 2.0, 0.0, 3.0])
    got = hessian(lambda x: np.sum(np.cumprod(x)))(x)
    # x0 + x0 x1 + x0 x1 x2 + x0 x1 x2 x3
    x0, x1, x2, x3 = x
    expected = numpy.array(
        [
            [0.0, 1 + x2 + x2 * x3, x1 + x1 * x3, x1 * x2],
            [0.0, 0.0, x0 + x0 * x3, x0 * x2],
            [0.0, 0.0, 0.0, x0 * x1],
            [0.0, 0.0, 0.0, 0.0],
        ]
    )
    numpy.testing.assert_array_equal(got, expected + expected.T)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 33])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_recurrence_as_a_loop(n, reverse):
    g, x = draw(n, 3), draw(n, 3, seed=1)
    expected = numpy.zeros((n, 3))
    for k in range(n - 1, -1, -1) if reverse else range(n):
        expected[k] = g[k]
        if reverse and k + 1 < n:
            expected[k] += x[k + 1] * expected[k + 1]
        if not reverse and k:
            expected[k] += x[k] * expected[k - 1]
    numpy.testing.assert_allclose(recurrence(g, x, 0, reverse), expected, rtol=1e-12, atol=1e-13)
    assert recurrence(g.astype("f4"), x.astype("f4"), 0, reverse).dtype == numpy.float32


@pytest.mark.parametrize(
    "name", ["cumsum", "cumprod", "nancumsum", "nancumprod", "cumulative_sum", "cumulative_prod"]
)
def test_empty_lanes(name):
    for shape, axis in (((0,), 0), ((3, 0), 1), ((0, 3), 1)):
        g = grad(lambda x, axis=axis: np.sum(getattr(np, name)(x, axis=axis)))(numpy.zeros(shape))
        assert g.shape == shape


@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
def test_initial_and_negative_axis(name):
    fun = getattr(np, name)
    check_grads(lambda x: fun(x, axis=-1, include_initial=True) * draw(2, 5), order=2)(draw(2, 4))
    check_grads(lambda x: fun(x, axis=-2, include_initial=True) * draw(3, 4), order=2)(draw(2, 4))
    assert grad(lambda x: np.sum(fun(x, axis=0, include_initial=True)))(numpy.zeros((0, 2))).shape == (0, 2)


def test_nan_does_not_spread():
    x = numpy.array([1.0, numpy.nan, 2.0, 3.0])
    numpy.testing.assert_array_equal(grad(lambda x: np.nancumsum(x)[-1])(x), [1.0, 0.0, 1.0, 1.0])
    numpy.testing.assert_array_equal(grad(lambda x: np.nancumprod(x)[-1])(x), [6.0, 0.0, 3.0, 2.0])


def test_cumsum_as_hips():
    hips = pytest.importorskip("autograd")
    import autograd.numpy as hips_numpy

    x = draw(3, 4)
    for axis in (None, 0, 1):
        ours = grad(lambda x, axis=axis: np.sum(np.cumsum(x, axis=axis) ** 2))(x)
        theirs = hips.grad(lambda x, axis=axis: hips_numpy.sum(hips_numpy.cumsum(x, axis=axis) ** 2))(x)
        numpy.testing.assert_allclose(ours, theirs, rtol=1e-13)


# ---------------------------------------------------------------- differences


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 6])
@pytest.mark.parametrize("axis", [0, -1])
def test_diff_of_any_order(n, axis):
    x = draw(4, 5)
    identity = numpy.eye(20).reshape(20, 4, 5)
    expected = numpy.stack([numpy.diff(unit, n, axis) for unit in identity], axis=-1).reshape(-1, 20)
    got = jacobian(lambda x: np.diff(x, n, axis))(x).reshape(-1, 20)
    numpy.testing.assert_array_equal(got, expected)


def test_diff_of_traced_ends():
    x = draw(3, 4)
    for ends in ((x[:, :2], 1.5), (2.0, x), (x[:, 1:2], x[:, :1])):
        value = jvp(lambda a, b: np.diff(x, 2, prepend=a, append=b), ends, ends)[0]
        numpy.testing.assert_array_equal(value, numpy.diff(x, 2, prepend=ends[0], append=ends[1]))
        check_grads(lambda p: np.diff(x, 2, prepend=p[0], append=p[1]))(ends)


def test_ediff1d():
    x = draw(2, 3)
    check_grads(lambda p: np.ediff1d(p[0], to_begin=p[1], to_end=p[2]))((x, x[0], 2.0))
    assert grad(lambda x: np.sum(np.ediff1d(x)))(numpy.ones(1)).tolist() == [0.0]
    with pytest.raises(TypeError, match="to_end"):
        grad(lambda x: np.sum(np.ediff1d(x, to_end=1j)))(x)


def test_plain_numpy_functions():
    x = draw(3, 4)
    for name in ("cumsum", "cumprod", "diff", "nancumsum", "nancumprod"):
        plain = grad(lambda x, name=name: numpy.sum(getattr(numpy, name)(x, axis=0) ** 2))(x)
        ours = grad(lambda x, name=name: np.sum(getattr(np, name)(x, axis=0) ** 2))(x)
        numpy.testing.assert_array_equal(plain, ours)
