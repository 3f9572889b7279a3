"""Sorting, order statistics, searching and counting.

Sorting moves entries, and derivatives move with them; equal entries are told apart as ``np.argsort`` does.
The median and the quantiles are weighted sums of sorted entries. What returns positions or counts is
piecewise constant.
"""

import warnings

import numpy as np

import autograd_c.numpy as anp

from .._core import is_box, value_of
from ..extend import Meta, call, composite, constant, notrace_primitive, refuse, rule
from .reductions import lanes, max_jvp, max_vjp, real_dtype, unlanes, with_gaps

# --- orders ---------------------------------------------------------------------------------------


def _gathered(x, order, axis):
    return x[order] if x.ndim == 1 else np.take_along_axis(x, order, axis)


def _placed(x, order, axis, n):
    """The inverse: lanes of `n` entries, zero where no entry is placed."""
    shape = list(x.shape)
    shape[axis] = n
    out = np.empty(shape, x.dtype) if n == x.shape[axis] else np.zeros(shape, x.dtype)
    if x.ndim == 1:
        out[order] = x
    else:
        np.put_along_axis(out, order, x, axis)
    return out


# No entry is taken or placed twice, so that each is the transpose of the other.
gathered = rule(
    _gathered,
    (lambda g, _ans, _x, order, axis: placed(g, order, axis, _x.shape[axis]), None, None),
    ("same", None, None),
    name="gathered",
)
placed = rule(
    _placed,
    (lambda g, _ans, _x, order, axis, n: gathered(g, order, axis), None, None, None),
    ("same", None, None, None),
    name="placed",
)


def _ranks(x, axis):
    order = np.argsort(x, axis)
    return _placed(
        np.broadcast_to(_column(order.shape[axis], axis, order.ndim), order.shape),
        order,
        axis,
        order.shape[axis],
    )


def _column(n, axis, ndim):
    shape = [1] * ndim
    shape[axis] = n
    return np.arange(n).reshape(shape)


@notrace_primitive
def _sorting(x, axis, kind, stable):
    return np.argsort(x, axis, kind, stable=stable)


@notrace_primitive
def _matching(x, ans, axis):
    """An order that makes `ans` of `x`, where `ans` is some rearrangement of it."""
    return _gathered(np.argsort(x, axis), _ranks(ans, axis), axis)


def _line(x, axis):
    return (anp.reshape(x, (x.size,)), 0) if axis is None else (x, axis)


# --- sorting --------------------------------------------------------------------------------------


def _sort_vjp(g, _ans, x, axis=-1, kind=None, order=None, stable=None):
    line, axis = _line(x, axis)
    return anp.reshape(placed(g, _sorting(line, axis, kind, stable), axis, line.shape[axis]), x.shape)


def _sort_jvp(t, ans, x, axis=-1, kind=None, order=None, stable=None):
    line, k = _line(x, axis)
    return gathered(_line(t, axis)[0], _sorting(line, k, kind, stable), k)


def _partition_vjp(g, ans, x, kth, axis=-1, kind="introselect", order=None):
    line, axis = _line(x, axis)
    return anp.reshape(placed(g, _matching(line, ans, axis), axis, line.shape[axis]), x.shape)


def _partition_jvp(t, ans, x, kth, axis=-1, kind="introselect", order=None):
    line, k = _line(x, axis)
    return gathered(_line(t, axis)[0], _matching(line, ans, k), k)


rule(
    np.sort,
    (_sort_vjp,),
    (_sort_jvp,),
    examples=(
        lambda x: call(x(5)),
        lambda x: call(x(3, 4)),
        lambda x: call(x(3, 4), axis=0),
        lambda x: call(x(3, 4), axis=None),
        lambda x: call(x(2, 3, 4), axis=-2, stable=True),
        lambda x: call(x(2, 5), kind="heapsort"),
    ),
)
rule(
    np.partition,
    (_partition_vjp, None),
    (_partition_jvp, None),
    examples=(
        # Such that there is one right answer: what kind of partition comes out depends on the dtype.
        lambda x: call(x(7), (1, 3, 5)),
        lambda x: call(x(3, 6), (1, 3, 5), axis=1),
        lambda x: call(x(3, 2), 1, axis=0),
        lambda x: call(x(1, 3), 1, axis=None),
    ),
)


@composite(np.sort_complex, examples=(lambda x: call(x(5)),))
def sort_complex(a):
    a = anp.sort(anp.asarray(a))
    return a if a.dtype.kind == "c" else anp.astype(a, np.clongdouble if a.dtype.char == "g" else complex)


# --- quantiles ------------------------------------------------------------------------------------
# A quantile has a place v in its sorted lane, and the value there is interpolated: entry k has the weight
# max(0, 1 - |v - k|). By the linear method v is (n - 1) q; by the others NumPy says where it is, for v is the
# quantile of the ranks 0, 1, 2, ...

# What is added to the number of entries to give the speed of v with q (Hyndman and Fan, 1996).
SLOPES = {
    "linear": -1.0, "weibull": 1.0, "hazen": 0.0, "interpolated_inverted_cdf": 0.0,
    "median_unbiased": 1.0 / 3.0, "normal_unbiased": 0.25,
}  # fmt: skip
WHOLE = (np.quantile, np.percentile)


def _places(fun, q, x, method, weights):
    """Where the quantiles are in sorted lanes: shape (quantiles,), or (..., quantiles) where lanes differ."""
    if weights is None and fun in WHOLE and method == "linear":
        q = np.ravel(np.asarray(q, real_dtype(x.dtype)))
        return (x.shape[-1] - 1) * (q / 100 if fun is np.percentile else q)
    if weights is None and fun in WHOLE:
        return np.ravel(fun(np.arange(x.shape[-1], dtype=real_dtype(x.dtype)), q, method=method))
    ranks = _ranks(x, x.ndim - 1).astype(real_dtype(x.dtype))
    ranks[np.isnan(x)] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        v = fun(ranks, q, axis=-1, method=method, weights=weights)
    return np.moveaxis(np.reshape(v, (np.size(q), *x.shape[:-1])), 0, -1)


def _place_weights(q, fun, x, method, weights):
    v = _places(fun, q, x, method, weights)[..., None]
    return np.fmax(0, 1 - np.abs(v - np.arange(x.shape[-1], dtype=v.dtype)))


@notrace_primitive
def _slopes(q, fun, x, method, weights):
    """The derivative of the weights by q: minus and plus the speed of v, at the two neighbours of v."""
    n = x.shape[-1]
    v = _places(fun, q, x, method, weights)[..., None]
    count = n if fun in WHOLE else np.sum(~np.isnan(x), axis=-1)[..., None, None]
    if method not in SLOPES or weights is not None:
        return np.zeros((*v.shape[:-1], n), v.dtype)
    speed = (count + SLOPES[method]) / (100.0 if fun in (np.percentile, np.nanpercentile) else 1.0)
    moves = count > 1 if method == "linear" else (v > 0) & (v < count - 1)
    low = np.clip(np.floor(v), 0, np.maximum(count - 2, 0))
    k = np.arange(n)
    return np.where(moves, speed * ((k == low + 1) * 1.0 - (k == low)), 0.0).astype(v.dtype)


def _by_quantile(y, q):
    """What belongs to each weight of a quantile, summed to the shape of `q`."""
    return anp.reshape(anp.sum(y, axis=tuple(range(y.ndim - 1))), np.shape(q))


place_weights = rule(
    _place_weights,
    (
        lambda g, _ans, q, fun, x, method, weights: _by_quantile(
            anp.sum(g * _slopes(q, fun, x, method, weights), axis=-1), q
        ),
        None,
        lambda g, _ans, q, fun, _x, method, weights: np.zeros(_x.shape, _x.dtype),
        None,
        None,
    ),
    (
        lambda t, ans, q, fun, x, method, weights: (
            anp.reshape(t, (t.size, 1)) * _slopes(q, fun, x, method, weights)
        ),
        None,
        lambda t, ans, q, fun, x, method, weights: np.zeros(ans.shape, ans.dtype),
        None,
        None,
    ),
    name="quantile weights",
)


@notrace_primitive
def _used(weights, neighbours):
    """The places in the sorted lanes that have a weight, and those that it may move to."""
    used = np.any(weights, axis=tuple(range(weights.ndim - 1)))
    if neighbours:
        used[1:] |= used[:-1]
    return np.flatnonzero(used)


@notrace_primitive
def _order_at(x, used):
    """Where in its lane the entry is that belongs to each of these places."""
    many = len(used) > 4
    order = np.argsort(x, axis=-1) if many else np.argpartition(x, used, axis=-1)
    return order[..., used]


def _lanes_of(x, q, axis, fun, weights):
    """The lanes, what the places depend on, and the weights of the entries in lanes of their own."""
    if isinstance(axis, tuple) and np.ndim(q) > 1 and fun not in WHOLE:
        # NumPy 2.4 mixes up the axes of the result here.
        raise TypeError(
            f"{fun.__name__}: a tuple as axis does not go with q of {np.ndim(q)} dimensions; pass q in one"
        )
    y = lanes(x, axis)
    if weights is not None:
        weights = np.asarray(weights)
        same = weights.shape == x.shape
        weights = lanes(weights, axis) if same else np.broadcast_to(weights.reshape(-1), y.shape)
    return y, Meta(y.shape, y.dtype) if weights is None and fun in WHOLE else y, weights


def _split(g, q, kept):
    """A cotangent of quantiles with the quantiles last."""
    m = np.size(q)
    if m == 1:
        return anp.reshape(g, (*kept, 1))
    return anp.moveaxis(anp.reshape(g, (m, *kept)), 0, -1)


def _joined(r, q, shape):
    """The inverse of `_split`, in the shape of the result."""
    return anp.reshape(r if np.size(q) == 1 else anp.moveaxis(r, -1, 0), shape)


def _weighted(w, y):
    """The weighted sums of sorted lanes, one for each quantile."""
    if w.ndim == 2:
        return anp.matmul(y, anp.transpose(w))
    return anp.matmul(w, y[..., None])[..., 0]


def _spread(w, g):
    """The transpose of `_weighted`."""
    if w.ndim == 2:
        return g * w[0] if w.shape[0] == 1 else anp.matmul(g, w)
    return anp.matmul(g[..., None, :], w)[..., 0, :]


# `more` and `options` are the other arguments of NumPy's function.
def _quantile_rules(fun):
    """Rules of a quantile function: for its argument and for q."""

    def parts(
        x, q, axis=None, out=None, overwrite_input=False, method="linear", keepdims=False, weights=None
    ):
        y, places_of, weights = _lanes_of(x, q, axis, fun, weights)
        return axis, y, (q, fun, places_of, method, weights)

    def taken(y, q, place):
        """The weights that are not zero, and where in their lanes the entries are."""
        w = place_weights(*place)
        used = _used(w, is_box(q))
        return w[..., used], _order_at(y, used)

    def vjp(g, _ans, x, q, *more, **options):
        axis, y, place = parts(x, q, *more, **options)
        if not x.size:
            return np.zeros(x.shape, x.dtype)
        w, order = taken(y, q, place)
        return unlanes(placed(_spread(w, _split(g, q, y.shape[:-1])), order, -1, y.shape[-1]), x, axis)

    def jvp(t, ans, x, q, *more, **options):
        axis, y, place = parts(x, q, *more, **options)
        if not x.size:
            return np.zeros(ans.shape, ans.dtype)
        w, order = taken(y, q, place)
        return _joined(_weighted(w, gathered(lanes(t, axis), order, -1)), q, ans.shape)

    def by_q(x, q, more, options):
        """The derivative of each quantile by its q, quantiles last."""
        _, y, place = parts(x, q, *more, **options)
        y = gathered(y, _sorting(y, -1, None, None), -1)
        return _weighted(_slopes(*place), anp.where(anp.isnan(y), 0.0, y))

    def q_vjp(g, _ans, x, q, *more, **options):
        r = by_q(x, q, more, options)
        return _by_quantile(_split(g, q, r.shape[:-1]) * r, q)

    def q_jvp(t, ans, x, q, *more, **options):
        return _joined(anp.reshape(t, -1) * by_q(x, q, more, options), q, ans.shape)

    return (vjp, q_vjp), (jvp, q_jvp)


def _median_rules(fun):
    (quantile_vjp, _), (quantile_jvp, _) = _quantile_rules(fun)

    def vjp(g, _ans, x, axis=None, out=None, overwrite_input=False, keepdims=False):
        return quantile_vjp(g, None, x, 0.5, axis)

    def jvp(t, ans, x, axis=None, out=None, overwrite_input=False, keepdims=False):
        return quantile_jvp(t, ans, x, 0.5, axis)

    return (vjp,), (jvp,)


_MEDIANS = (
    lambda x: call(x(5)),
    lambda x: call(x(4)),
    lambda x: call(x(3, 4)),
    lambda x: call(x(3, 4), axis=1),
    lambda x: call(x(5, 2), 0),
    lambda x: call(x(2, 3, 4), axis=(0, -1), keepdims=True),
)
_NAN_MEDIANS = (
    lambda x: call(with_gaps(x, 3, 4)),
    lambda x: call(with_gaps(x, 3, 4), axis=0),
    lambda x: call(with_gaps(x, 3, 4), axis=1, keepdims=True),
)
rule(np.median, *_median_rules(np.quantile), examples=_MEDIANS)
rule(np.nanmedian, *_median_rules(np.nanquantile), examples=_MEDIANS + _NAN_MEDIANS)

for _fun in (np.quantile, np.percentile, np.nanquantile, np.nanpercentile):
    _q = 100.0 if _fun in (np.percentile, np.nanpercentile) else 1.0
    rule(
        _fun,
        *_quantile_rules(_fun),
        examples=(
            lambda x, q=_q: call(x(6), 0.3 * q),
            lambda x, q=_q: call(x(3, 4), 0.3 * q, axis=1),
            lambda x, q=_q: call(x(3, 4), [0.1 * q, 0.6 * q], axis=0, keepdims=True),
            lambda x, q=_q: call(x(2, 3, 4), [[0.1 * q, 0.6 * q], [0.0, q]], axis=1),
            lambda x, q=_q: call(x(2, 3, 4), 0.6 * q, axis=(0, 2)),
            lambda x, q=_q: call(x(3, 4), (abs(x()) * 0.1 + 0.4) * q, axis=1),
            lambda x, q=_q: call(x(3, 4), (abs(x(2)) * 0.1 + 0.4) * q, axis=1, method="hazen"),
            lambda x, q=_q: call(x(3, 6), 0.4 * q, axis=1, method="weibull"),
            lambda x, q=_q: call(x(3, 6), 0.43 * q, axis=1, method="lower"),
            lambda x, q=_q: call(
                x(3, 4), 0.43 * q, axis=1, method="inverted_cdf", weights=np.arange(12).reshape(3, 4)
            ),
        ),
    )

# --- searching and counting -----------------------------------------------------------------------


@composite(
    np.unique,
    examples=(lambda x: call(x(5)), lambda x: call(x(2, 2)), lambda x: call(x(4, 2), axis=0)),
)
def unique(
    ar,
    return_index=False,
    return_inverse=False,
    return_counts=False,
    axis=None,
    *,
    equal_nan=True,
    sorted=True,
):
    ar = anp.asarray(ar)
    _, index, *rest = np.unique(
        value_of(ar), True, return_inverse, return_counts, axis, equal_nan=equal_nan, sorted=sorted
    )
    values = anp.take(anp.reshape(ar, -1) if axis is None else ar, index, axis=axis or 0)
    out = (values, *((index,) if return_index else ()), *rest)
    return out if len(out) > 1 else values


def _unique_like(fun, x):
    """NumPy's own result for the plain array, and the traced values in the order in which they are there."""
    plain = np.asarray(value_of(x))
    found = fun(plain)
    values = found if isinstance(found, np.ndarray) else found.values
    _, first = np.unique(plain, return_index=True, equal_nan=False)
    place = first[_ranks(values, 0)]
    return found, anp.reshape(anp.asarray(x), -1)[place]


@composite(np.unique_values, examples=(lambda x: call(x(1)),))
def unique_values(x):
    return _unique_like(np.unique_values, x)[1]


def _unique_tuple(fun):
    @composite(fun)
    def unique_tuple(x):
        found, values = _unique_like(fun, x)
        return found._replace(values=values)


for _fun in (np.unique_all, np.unique_counts, np.unique_inverse):
    _unique_tuple(_fun)

constant(
    np.argsort, np.argpartition, np.lexsort, np.searchsorted, np.digitize,
    np.argmax, np.argmin, np.nanargmax, np.nanargmin, np.nonzero, np.flatnonzero, np.argwhere,
    np.count_nonzero, np.any, np.all,
)  # fmt: skip

# --- histograms -----------------------------------------------------------------------------------


def _bincount_vjp(g, _ans, x, _weights=None, minlength=0):
    return g[np.asarray(x)]


rule(
    np.bincount,
    (None, _bincount_vjp),
    (None, "same"),
    examples=(
        lambda x: call(np.array([0, 2, 2, 5]), x(4)),
        lambda x: call(np.array([1, 1]), x(2), minlength=4),
    ),
)


def _edge_shares(x, bins, range, weights, ans):
    """The part of the least and of the greatest entry in each edge; None where the edges are given."""
    if range is not None or not isinstance(bins, str) and np.ndim(bins):
        return None
    top = np.linspace(0.0, 1.0, ans.shape[0])
    return 1.0 - top, top


def _edges_vjp(g, _ans, x, bins=10, range=None, weights=None):
    shares = _edge_shares(x, bins, range, weights, _ans)
    if shares is None or not x.size:
        return np.zeros(x.shape, x.dtype)
    low, high = (anp.sum(g * share) for share in shares)
    return max_vjp(low, anp.min(x), x) + max_vjp(high, anp.max(x), x)


def _edges_jvp(t, ans, x, bins=10, range=None, weights=None):
    shares = _edge_shares(x, bins, range, weights, ans)
    if shares is None or not x.size:
        return np.zeros(ans.shape, ans.dtype)
    low, high = max_jvp(t, anp.min(x), x), max_jvp(t, anp.max(x), x)
    return low * shares[0] + high * shares[1]


rule(
    np.histogram_bin_edges,
    (_edges_vjp,),
    (_edges_jvp,),
    examples=(
        lambda x: call(x(8), 4),
        lambda x: call(x(8), bins="sturges"),
        lambda x: call(x(8), 4, range=(-2.0, 2.0)),
    ),
)


def _heights(weights, a, bins, range):
    return np.histogram(a, bins, range, weights=weights)[0]


def _heights_vjp(g, _ans, _weights, a, bins, range):
    edges = np.histogram_bin_edges(a, bins, range)
    place = np.searchsorted(edges, np.ravel(a), side="right") - 1
    place[np.ravel(a) == edges[-1]] = len(edges) - 2
    inside = (place >= 0) & (place < len(edges) - 1)
    return anp.reshape(anp.where(inside, g[np.where(inside, place, 0)], 0.0), _weights.shape)


heights = rule(_heights, (_heights_vjp, None, None, None), ("same", None, None, None), name="histogram")


@composite(
    np.histogram,
    examples=(
        lambda x: call(np.array([0.1, 0.4, 0.5, 0.9]), 3, weights=x(4)),
        lambda x: call(np.array([0.1, 0.4, 0.5, 0.9]), [0.0, 0.45, 1.0], density=True, weights=x(4) + 3.0),
    ),
)
def histogram(a, bins=10, range=None, density=None, weights=None):
    a = anp.asarray(a)
    plain = np.asarray(value_of(a))
    edges = bins if is_box(bins) else anp.histogram_bin_edges(a, bins, range)
    bins = value_of(bins)
    if weights is None:
        n = np.histogram(plain, bins, range)[0]
    else:
        n = heights(anp.asarray(weights), plain, bins, range)
    if not density:
        return n, edges
    return n / anp.diff(edges) / anp.sum(n), edges


refuse(
    "counts are piecewise constant; take them of stop_gradient(x), or for traced weights use np.bincount",
    np.histogram2d,
    np.histogramdd,
)
