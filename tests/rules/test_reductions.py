"""Reductions and statistics: kinks, zeros, NaN, edges and errors; what the table's examples cannot say."""

import warnings

import numpy
import pytest

import autograd_c.numpy as np
from autograd_c import elementwise_grad, grad, hessian, jacobian, jvp
from autograd_c.test_util import check_grads


def total(fun, *args, **kwargs):
    """A function whose gradient tells the entries' cotangents apart."""

    def f(x):
        out = fun(x, *args, **kwargs)
        return np.sum(out * numpy.arange(1.0, 1.0 + out.size).reshape(out.shape))

    return f


def draw(*shape, seed=0):
    return numpy.random.default_rng(seed).standard_normal(shape)


# ---------------------------------------------------------------- products with zeros


@pytest.mark.parametrize("zeros", [(), (1,), (0, 3), (0, 1, 2, 3)])
def test_prod_with_zeros(zeros):
    x = numpy.array([2.0, 3.0, -1.5, 0.5])
    x[list(zeros)] = 0.0
    expected = [numpy.prod(numpy.delete(x, i)) for i in range(4)]
    numpy.testing.assert_allclose(grad(np.prod)(x), expected, rtol=1e-15, atol=0)
    second = [[0.0 if i == j else numpy.prod(numpy.delete(x, [i, j])) for j in range(4)] for i in range(4)]
    numpy.testing.assert_allclose(hessian(np.prod)(x), second, rtol=1e-14, atol=0)
    numpy.testing.assert_allclose(jvp(np.prod, (x,), (numpy.ones(4),))[1], sum(expected), rtol=1e-15)


def test_prod_of_zeros_to_third_order():
    x = numpy.zeros(3)
    third = jacobian(hessian(np.prod))(x)
    expected = numpy.zeros((3, 3, 3))
    for i, j, k in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        expected[i, j, k] = 1.0
    numpy.testing.assert_array_equal(third, expected)


def test_prod_with_zeros_along_axes():
    x = draw(2, 3, 4)
    x[0, 1, 2] = x[1, 0, 0] = x[1, 2, 3] = 0.0
    for axis in (None, 0, -1, (0, 2), (2, 0), (0, 1, 2)):
        check_grads(total(np.prod, axis=axis), order=2)(x)


# ---------------------------------------------------------------- ties, points without a derivative


@pytest.mark.parametrize("name", ["max", "amax", "nanmax"])
def test_ties_share_equally(name):
    x = numpy.array([[1.0, 3.0, 3.0], [2.0, 0.0, 2.0]])
    fun = getattr(np, name)
    numpy.testing.assert_array_equal(grad(fun)(x), [[0, 0.5, 0.5], [0, 0, 0]])
    numpy.testing.assert_array_equal(
        grad(lambda x: np.sum(fun(x, axis=1)))(x), [[0, 0.5, 0.5], [0.5, 0, 0.5]]
    )
    numpy.testing.assert_array_equal(jvp(fun, (x,), (numpy.arange(6.0).reshape(2, 3),))[1], 1.5)


def test_ties_of_min_share_as_hips_does():
    hips = pytest.importorskip("autograd")
    import autograd.numpy as hips_numpy

    x = numpy.array([[1.0, 0.0, 0.0, 0.0], [2.0, 5.0, 2.0, 3.0]])
    for axis in (None, 0, 1):
        ours = grad(lambda x, axis=axis: np.sum(np.min(x, axis=axis)))(x)
        theirs = hips.grad(lambda x, axis=axis: hips_numpy.sum(hips_numpy.min(x, axis=axis)))(x)
        numpy.testing.assert_array_equal(ours, theirs)


def test_initial_takes_part_in_a_tie():
    x = numpy.array([1.0, 2.0])
    numpy.testing.assert_array_equal(grad(lambda x: np.max(x, initial=2.0))(x), [0.0, 0.5])
    numpy.testing.assert_array_equal(grad(lambda x: np.max(x, initial=5.0))(x), [0.0, 0.0])


def test_max_of_nan_gives_no_nan():
    x = numpy.array([1.0, numpy.nan, 2.0])
    numpy.testing.assert_array_equal(grad(np.max)(x), [0.0, 0.0, 0.0])
    numpy.testing.assert_array_equal(grad(np.nanmax)(x), [0.0, 0.0, 1.0])
    numpy.testing.assert_array_equal(grad(np.nanmin)(x), [1.0, 0.0, 0.0])


def test_std_of_equal_entries_has_derivative_zero():
    x = numpy.full((2, 3), 1.5)
    numpy.testing.assert_array_equal(grad(np.std)(x), numpy.zeros((2, 3)))
    numpy.testing.assert_array_equal(grad(lambda x: np.sum(np.nanstd(x, axis=1)))(x), numpy.zeros((2, 3)))
    assert jvp(np.std, (x,), (draw(2, 3),))[1] == 0.0


# ---------------------------------------------------------------- NaN


@pytest.mark.parametrize("name", ["nansum", "nanmean", "nanvar", "nanstd", "nanprod", "nanmax", "nanmin"])
def test_nan_functions_see_the_other_entries_only(name):
    x = draw(3, 5)
    holes = numpy.zeros((3, 5), bool)
    holes[0, 1] = holes[2, 3] = holes[2, 4] = True
    with_holes = numpy.where(holes, numpy.nan, x)
    got = grad(lambda x: np.sum(getattr(np, name)(x, axis=1)))(with_holes)
    assert not got[holes].any()
    for row, hole, g in zip(x, holes, got, strict=True):
        plain = grad(getattr(np, name[3:]))(row[~hole])
        numpy.testing.assert_allclose(g[~hole], plain, rtol=1e-14, atol=1e-15)


def test_an_empty_slice_warns_as_in_numpy():
    x = numpy.array([[1.0, 2.0], [numpy.nan, numpy.nan]])
    with pytest.warns(RuntimeWarning, match="Mean of empty slice"):
        g = grad(lambda x: np.nansum(np.nanmean(x, axis=1)))(x)
    numpy.testing.assert_array_equal(g, [[0.5, 0.5], [0.0, 0.0]])


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    "name", ["sum", "mean", "var", "std", "prod", "max", "min", "ptp", "average", "median"]
)
@pytest.mark.parametrize("axis", [None, 0, -2, (0, 2), (-1, 0), ()])
@pytest.mark.parametrize("keepdims", [False, True])
def test_axes(name, axis, keepdims):
    x = draw(2, 3, 4) + 3.0 * numpy.arange(24.0).reshape(2, 3, 4) % 7
    if axis == () and name in ("ptp", "average", "median"):
        pytest.skip(f"numpy.{name} takes no empty axis")
    fun = total(getattr(np, name), axis=axis, keepdims=keepdims)
    if axis == () and name == "std":
        numpy.testing.assert_array_equal(grad(fun)(x), numpy.zeros(x.shape))
        return
    check_grads(fun, order=1)(x)


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "var"])
@pytest.mark.parametrize("shape, axis", [((0,), None), ((3, 0), 1), ((0, 3), 1), ((3, 0), 0)])
def test_empty_arrays(name, shape, axis):
    x = numpy.zeros(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        g = elementwise_grad(lambda x: getattr(np, name)(x, axis=axis))(x)
    assert g.shape == shape


def test_python_and_numpy_numbers():
    for name in ("sum", "mean", "prod", "max", "min"):
        assert grad(getattr(np, name))(2.0) == 1.0
    assert grad(np.var)(2.0) == 0.0


def test_dtype_of_the_sum():
    x = numpy.ones(3, numpy.float32)
    value = jvp(lambda x: np.sum(x, dtype=float), (x,), (x,))
    assert value[0].dtype == value[1].dtype == float
    assert grad(lambda x: np.sum(x, dtype=float))(x).dtype == numpy.float32
    assert grad(lambda x: np.mean(x, dtype=float))(x).dtype == numpy.float32


def test_the_mean_that_was_computed_before():
    x = draw(3, 4)
    mean = x.mean(axis=1, keepdims=True)
    numpy.testing.assert_allclose(
        grad(lambda x: np.sum(np.var(x, axis=1, mean=mean)))(x), grad(lambda x: np.sum(np.var(x, axis=1)))(x)
    )
    with pytest.raises(TypeError, match="var.*mean"):
        grad(lambda x: np.var(x, mean=np.mean(x, keepdims=True)))(x)


def test_plain_numpy_functions_and_keywords():
    x = draw(4, 3)
    for name in ("sum", "mean", "var", "std", "prod", "max", "min", "ptp", "nansum", "nanmean", "average"):
        plain = grad(lambda x, name=name: numpy.sum(getattr(numpy, name)(a=x, axis=0)))(x)
        ours = grad(lambda x, name=name: np.sum(getattr(np, name)(x, 0)))(x)
        numpy.testing.assert_array_equal(plain, ours)


def test_out_is_refused_with_a_cure():
    x = draw(3)
    for name in ("sum", "mean", "max", "ptp", "var", "prod"):
        with pytest.raises(TypeError, match=f"{name}: out=.*use the result"):
            grad(lambda x, name=name: getattr(np, name)(x, out=numpy.zeros(())))(x)


# ---------------------------------------------------------------- weights and covariances


def test_average_returns_the_weights_sum():
    x, w = draw(3, 4), numpy.arange(1.0, 5.0)
    mean, sums = jvp(lambda w: np.average(x, axis=1, weights=w, returned=True), (w,), (numpy.ones(4),))[0]
    numpy.testing.assert_array_equal(mean, numpy.average(x, axis=1, weights=w))
    numpy.testing.assert_array_equal(sums, [10.0, 10.0, 10.0])
    check_grads(lambda xw: np.average(xw[0], axis=(0, 1), weights=xw[1]))((x, w * numpy.ones((3, 1))))


def test_average_of_wrong_weights():
    x = draw(3, 4)
    with pytest.raises(ZeroDivisionError, match="average"):
        grad(lambda w: np.average(x, weights=w))(numpy.zeros((3, 4)))
    with pytest.raises(TypeError, match="axis"):
        grad(lambda w: np.average(x, weights=w))(numpy.ones(4))
    with pytest.raises(ValueError, match="average"):
        grad(lambda w: np.average(x, axis=0, weights=w))(numpy.ones(4))


def test_cov_of_too_few_observations_warns():
    with pytest.warns(RuntimeWarning, match="Degrees of freedom"), numpy.errstate(all="ignore"):
        value = jvp(np.cov, (draw(2, 1),), (draw(2, 1),))[0]
    assert not numpy.isfinite(value).any()


def test_cov_refuses_bad_arguments():
    x = draw(3, 4)
    with pytest.raises(ValueError, match="ddof"):
        grad(lambda x: np.sum(np.cov(x, ddof=0.5)))(x)
    with pytest.raises(TypeError, match="fweights"):
        grad(lambda x: np.sum(np.cov(x, fweights=[0.5, 1, 1, 1])))(x)
    with pytest.raises(RuntimeError, match="aweights"):
        grad(lambda x: np.sum(np.cov(x, aweights=[1.0, 1.0])))(x)
    with pytest.raises(ValueError, match="negative"):
        grad(lambda x: np.sum(np.cov(x, aweights=[1.0, 1.0, 1.0, -1.0])))(x)
    with pytest.raises(ValueError, match="dimensions"):
        grad(lambda x: np.sum(np.cov(x)))(draw(2, 2, 2))


def test_corrcoef_has_ones_on_the_diagonal_that_do_not_move():
    g = jacobian(np.corrcoef)(draw(3, 6))
    numpy.testing.assert_allclose(g[numpy.arange(3), numpy.arange(3)], 0.0, atol=1e-15)


def test_covariance_of_float32_in_float32():
    x = draw(3, 6).astype(numpy.float32)
    value = jvp(lambda x: np.cov(x, dtype=numpy.float32), (x,), (x,))[0]
    assert value.dtype == numpy.float32
    numpy.testing.assert_array_equal(value, numpy.cov(x, dtype=numpy.float32))


# ---------------------------------------------------------------- HIPS


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "var", "std", "max", "min"])
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
def test_as_hips(name, axis):
    hips = pytest.importorskip("autograd")
    import autograd.numpy as hips_numpy

    x = draw(3, 4) + 0.1j * draw(3, 4, seed=1) if name in ("sum", "mean", "prod") else draw(3, 4)
    if name in ("max", "min") and isinstance(axis, tuple):
        pytest.skip("HIPS reduces over one axis at a time here")
    ours = grad(lambda x: np.real(np.sum(getattr(np, name)(x, axis=axis) ** 2)))(x)
    theirs = hips.grad(
        lambda x: hips_numpy.real(hips_numpy.sum(getattr(hips_numpy, name)(x, axis=axis) ** 2))
    )(x)
    numpy.testing.assert_allclose(ours, theirs, rtol=1e-13)
