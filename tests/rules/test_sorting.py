"""Sorting, order statistics, searching and counting: ties, kinds, methods, constants and errors."""

import numpy
import pytest

import autograd_c.numpy as np
from autograd_c import grad, jacobian, jvp, vjp
from autograd_c.test_util import check_grads

METHODS = (
    "inverted_cdf averaged_inverted_cdf closest_observation interpolated_inverted_cdf hazen weibull linear "
    "median_unbiased normal_unbiased lower higher midpoint nearest"
).split()


def draw(*shape, seed=0):
    return numpy.random.default_rng(seed).permutation(numpy.prod(shape)).reshape(shape) * 0.37 - 1.0


def is_rearrangement(got, g):
    return sorted(numpy.ravel(got)) == sorted(numpy.ravel(g))


# ---------------------------------------------------------------- sorting


@pytest.mark.parametrize("axis", [None, 0, 1, -2])
@pytest.mark.parametrize("kind", [None, "stable", "heapsort"])
def test_sort_moves_cotangents_with_their_entries(axis, kind):
    x = draw(5, 4)
    y, pull = vjp(lambda x: np.sort(x, axis=axis, kind=kind), x)
    (got,) = pull(numpy.exp(y))
    numpy.testing.assert_array_equal(got, numpy.exp(x))
    numpy.testing.assert_array_equal(
        jvp(lambda x: np.sort(x, axis=axis, kind=kind), (x,), (numpy.exp(x),))[1], numpy.exp(y)
    )


@pytest.mark.parametrize("kth", [0, 3, -1, (1, 4)])
@pytest.mark.parametrize("shape, axis", [((9,), -1), ((3, 40), 1), ((9, 4), 0), ((3, 5), None)])
def test_partition_moves_cotangents_with_their_entries(kth, shape, axis):
    x = draw(*shape)
    y, pull = vjp(lambda x: np.partition(x, kth, axis=axis), x)
    numpy.testing.assert_array_equal(pull(numpy.exp(y))[0], numpy.exp(x))
    numpy.testing.assert_array_equal(
        jvp(lambda x: np.partition(x, kth, axis=axis), (x,), (numpy.exp(x),))[1], numpy.exp(y)
    )


@pytest.mark.parametrize("name", ["sort", "partition"])
def test_equal_entries_keep_all_cotangents(name):
    x = numpy.array([[1.0, 0.0, 1.0, -0.0, numpy.nan, 1.0], [2.0] * 6])
    g = numpy.arange(12.0).reshape(2, 6)
    args = (2,) if name == "partition" else ()
    (got,) = vjp(lambda x: getattr(np, name)(x, *args), x)[1](g)
    for a, b in zip(got, g, strict=True):
        assert is_rearrangement(a, b)


def test_a_stable_sort_tells_equal_entries_apart_by_their_order():
    (got,) = vjp(lambda x: np.sort(x, stable=True), numpy.array([1.0, 0.0, 1.0, 0.0]))[1](numpy.arange(4.0))
    numpy.testing.assert_array_equal(got, [2.0, 0.0, 3.0, 1.0])


def test_sort_as_hips():
    hips = pytest.importorskip("autograd")
    import autograd.numpy as hips_numpy

    x, w = draw(7), numpy.arange(7.0)
    for name, args in (("sort", ()), ("partition", (3,))):
        ours = grad(lambda x, name=name, args=args: np.sum(np.exp(getattr(np, name)(x, *args))))(x)
        theirs = hips.grad(
            lambda x, name=name, args=args: hips_numpy.sum(
                hips_numpy.exp(getattr(hips_numpy, name)(x, *args))
            )
        )(x)
        numpy.testing.assert_allclose(ours, theirs, rtol=1e-15)
    numpy.testing.assert_array_equal(grad(lambda x: np.sort(x) @ w)(x), numpy.argsort(numpy.argsort(x)))


def test_sort_complex():
    z = numpy.array([1 + 2j, 0 + 3j, 1 - 1j])
    value, tangent = jvp(np.sort_complex, (z,), (numpy.array([1.0 + 0j, 2.0, 3.0]),))
    numpy.testing.assert_array_equal(value, numpy.sort_complex(z))
    numpy.testing.assert_array_equal(tangent, [2.0, 3.0, 1.0])
    assert jvp(np.sort_complex, (z.real,), (z.real,))[0].dtype == complex


# ---------------------------------------------------------------- quantiles


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["quantile", "nanquantile"])
def test_every_method(method, name):
    x = draw(3, 7)
    for q in (0.0, 0.07, 0.31, 0.5, 0.93, 1.0):
        check_grads(lambda x, q=q: getattr(np, name)(x, q, axis=1, method=method), order=1)(x)


@pytest.mark.parametrize("method", METHODS)
def test_the_derivative_by_q(method):
    x = draw(3, 9)
    for q in (0.013, 0.317, 0.553, 0.987):
        check_grads(lambda q: np.quantile(x, q, axis=1, method=method), order=1)(q)
        check_grads(lambda q: np.nanpercentile(x, q, axis=1, method=method), order=1)(q * 100.0)
    check_grads(lambda q: np.quantile(x, q, axis=0), order=1)(numpy.array([[0.11, 0.77], [0.4, 0.32]]))


def test_mixed_second_derivative_of_quantile():
    x = numpy.array([3.0, 1.0, 2.0, 5.0])
    for q, low, high in ((0.4, 2, 0), (1 / 3, 2, 0)):
        mixed = jacobian(grad(np.quantile), argnum=1)(x, q)
        expected = numpy.zeros(4)
        expected[low], expected[high] = -3.0, 3.0
        numpy.testing.assert_allclose(mixed, expected)
        other = grad(lambda x, q=q: grad(np.quantile, argnum=1)(x, q))(x)
        numpy.testing.assert_allclose(other, expected)


@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_median_of_odd_and_even_numbers(n):
    x = draw(n)
    order = numpy.argsort(x)
    expected = numpy.zeros(n)
    expected[order[(n - 1) // 2]] += 0.5
    expected[order[n // 2]] += 0.5
    numpy.testing.assert_array_equal(grad(np.median)(x), expected)
    numpy.testing.assert_array_equal(grad(np.nanmedian)(x), expected)


def test_nan_quantiles_count_the_valid_entries_of_each_lane():
    x = draw(4, 6)
    x[1, 2] = x[2, 0] = x[2, 5] = numpy.nan
    x[3] = numpy.nan
    for fun in (lambda x: np.nanmedian(x, axis=1), lambda x: np.nanquantile(x, 0.3, axis=1)):
        with pytest.warns(RuntimeWarning, match="All-NaN"):
            got = vjp(fun, x)[1](numpy.ones(4))[0]
        assert not got[3].any()
        for row, g in zip(x[:3], got[:3], strict=True):
            keep = ~numpy.isnan(row)
            assert not g[~keep].any()
            (alone,) = vjp(fun, row[None, keep])[1](numpy.ones(1))
            numpy.testing.assert_allclose(g[keep], alone[0], rtol=1e-12)


def test_ties_in_a_median_add_up_to_one():
    g = grad(np.median)(numpy.array([1.0, 2.0, 2.0, 2.0, 3.0]))
    assert g.sum() == 1.0
    assert g[0] == g[4] == 0.0


def test_quantile_of_a_large_number_of_places():
    x, q = draw(50), numpy.linspace(0, 1, 23)
    check_grads(lambda x: np.quantile(x, q))(x)
    check_grads(lambda x: np.percentile(x, 100 * q, axis=0))(draw(9, 2))


def test_weighted_quantile():
    x, w = draw(3, 8), numpy.abs(draw(3, 8, seed=1)) + 0.1
    for weights, axis in ((w, 1), (w, None), (w[0], 1), (w[:, 0], 0)):
        options = {"axis": axis, "weights": weights, "method": "inverted_cdf"}
        check_grads(lambda x, options=options: np.quantile(x, [0.2, 0.7], **options))(x)


def test_nanquantile_of_two_axes_and_a_matrix_of_q_is_refused():
    with pytest.raises(TypeError, match="nanquantile.*pass q in one"):
        grad(lambda x: np.sum(np.nanquantile(x, [[0.1, 0.2]], axis=(0, 1))))(draw(2, 3, 4))


def test_float32_medians_stay_float32():
    x = draw(3, 4).astype(numpy.float32)
    assert grad(np.median)(x).dtype == numpy.float32
    assert jvp(lambda x: np.percentile(x, 30.0, axis=0), (x,), (x,))[1].dtype == numpy.float32


# ---------------------------------------------------------------- unique


def test_unique_gives_to_the_first_of_equal_entries():
    x = numpy.array([2.0, 1.0, 2.0, 3.0, 1.0])
    values, pull = vjp(np.unique, x)
    numpy.testing.assert_array_equal(values, [1.0, 2.0, 3.0])
    numpy.testing.assert_array_equal(pull(numpy.array([10.0, 20.0, 30.0]))[0], [20.0, 10.0, 0.0, 30.0, 0.0])


def test_unique_returns_what_numpy_does():
    x = numpy.array([[2.0, 1.0], [0.0, 3.0], [2.0, 1.0]])
    seen = {}

    def f(x):
        for axis in (None, 0, 1):
            seen[axis] = np.unique(x, True, True, True, axis=axis)
        for name in ("unique_all", "unique_counts", "unique_inverse"):
            seen[name] = getattr(np, name)(x)
        return np.sum(seen[None][0] ** 2) + np.sum(seen["unique_all"].values) + np.sum(np.unique_values(x))

    numpy.testing.assert_array_equal(grad(f)(x), [[6.0, 4.0], [2.0, 8.0], [0.0, 0.0]])
    for axis in (None, 0, 1):
        for got, expected in zip(
            seen[axis][1:], numpy.unique(x, True, True, True, axis=axis)[1:], strict=True
        ):
            numpy.testing.assert_array_equal(got, expected)
    for name in ("unique_all", "unique_counts", "unique_inverse"):
        expected = getattr(numpy, name)(x)
        assert type(seen[name]) is type(expected)
        numpy.testing.assert_array_equal(seen[name][1], expected[1])


# ---------------------------------------------------------------- constants


CONSTANTS = {
    "argsort": (), "argpartition": (2,), "searchsorted": (0.5,), "digitize": (numpy.array([-1.0, 0.5]),),
    "argmax": (), "argmin": (), "nanargmax": (), "nanargmin": (), "nonzero": (), "flatnonzero": (),
    "argwhere": (),
    "count_nonzero": (), "any": (), "all": (), "round": (1,), "around": (1,), "fix": (), "isclose": (0.37,),
    "allclose": (1.0,), "array_equal": (1.0,), "array_equiv": (1.0,), "iscomplex": (), "isreal": (),
    "isneginf": (), "isposinf": (),
}  # fmt: skip


@pytest.mark.parametrize("name", CONSTANTS)
def test_piecewise_constant_functions_return_plain_values(name):
    x, args = draw(6), CONSTANTS[name]
    seen = []

    def f(x):
        seen.append(getattr(np, name)(x, *args))
        seen.append(getattr(numpy, name)(x, *args))
        return np.sum(x * x)

    numpy.testing.assert_array_equal(grad(f)(x), 2 * x)
    numpy.testing.assert_array_equal(grad(grad(lambda x: f(x * numpy.ones(6))))(0.5), 12.0)
    for got in seen[:2]:
        numpy.testing.assert_array_equal(got, getattr(numpy, name)(x, *args))
        assert type(got) is type(getattr(numpy, name)(x, *args))


def test_lexsort_of_traced_keys():
    x, y = numpy.array([1.0, 1.0, 0.0]), numpy.array([3.0, 2.0, 1.0])
    seen = []
    grad(lambda x: (seen.append(np.lexsort((y, x))), np.sum(x))[1])(x)
    numpy.testing.assert_array_equal(seen[0], numpy.lexsort((y, x)))


# ---------------------------------------------------------------- histograms


def test_bincount_of_traced_weights():
    places = numpy.array([0, 2, 2, 1])
    got = grad(lambda w: np.bincount(places, weights=w, minlength=5) @ numpy.arange(1.0, 6.0))(numpy.ones(4))
    numpy.testing.assert_array_equal(got, [1.0, 3.0, 3.0, 2.0])
    with pytest.raises(TypeError):
        grad(lambda x: np.sum(np.bincount(x)))(numpy.ones(4))


@pytest.mark.parametrize("bins", [4, [-1.0, 0.1, 0.9, 2.0]])
@pytest.mark.parametrize("density", [False, True])
def test_histogram(bins, density):
    x, w = numpy.random.default_rng(0).standard_normal(9), numpy.arange(1.0, 10.0)
    heights, edges = jvp(lambda x: np.histogram(x, bins, density=density), (x,), (x,))[0]
    for got, expected in zip((heights, edges), numpy.histogram(x, bins, density=density), strict=True):
        numpy.testing.assert_array_equal(got, expected)
    check_grads(lambda w: np.histogram(x, bins, weights=w, density=density)[0])(w)
    # Away from the entries, where a height would jump.
    check_grads(lambda edges: np.histogram(x, edges, weights=w, density=density))(edges + 0.01)
    check_grads(lambda x: np.histogram(x, bins, weights=w)[1])(x)
    if isinstance(bins, int):
        check_grads(lambda x: np.histogram(x, bins, density=density))(x)


def test_histograms_of_more_dimensions_are_refused():
    x = draw(5)
    with pytest.raises(TypeError, match="histogram2d.*stop_gradient"):
        grad(lambda x: np.sum(np.histogram2d(x, x)[0]))(x)
    with pytest.raises(TypeError, match="histogramdd.*stop_gradient"):
        grad(lambda x: np.sum(np.histogramdd(x)[0]))(x)
