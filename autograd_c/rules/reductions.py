"""Reductions and statistics.

Where a function has a kink or a singular point:

* ``max`` and ``min`` share a tie equally among the entries that attain it (``initial=`` counts as one);
* ``std`` has derivative 0 where all entries are equal;
* ``prod`` multiplies the other entries, so entries that are zero are no special case;
* the ``nan`` functions give 0 to the entries that they skip.
"""

import warnings
from math import prod as product

import numpy as np

import autograd_c.numpy as anp

from .._core import hooks
from ..extend import call, composite, notrace_primitive, rule
from .cumulative import products_before, valid, without_nan
from .support import lowered

# --- axes -----------------------------------------------------------------------------------------


def axes_of(axis, ndim):
    """The reduced axes as a tuple of non-negative numbers."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in axis) if isinstance(axis, tuple) else (axis % ndim,)


def expanded(g, x, axis, keepdims):
    """A reduced value with its axes of length one back, so that it broadcasts against the argument."""
    if axis is None or not x.ndim or (keepdims and keepdims is not np._NoValue):
        return g
    shape = list(x.shape)
    for a in axes_of(axis, x.ndim):
        shape[a] = 1
    return anp.reshape(g, tuple(shape))


def lanes(x, axis):
    """The array with the reduced axes joined to one, the last."""
    if axis is None:
        return anp.reshape(x, (x.size,))
    axes = axes_of(axis, x.ndim)
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    if axes != (x.ndim - 1,):
        x = anp.transpose(x, kept + axes)
    return x if len(axes) == 1 else anp.reshape(x, x.shape[: len(kept)] + (product(x.shape[len(kept) :]),))


def unlanes(y, x, axis):
    """The inverse of `lanes`: an array of lanes in the shape of `x`."""
    if axis is None:
        return anp.reshape(y, x.shape)
    axes = axes_of(axis, x.ndim)
    order = tuple(a for a in range(x.ndim) if a not in axes) + axes
    y = anp.reshape(y, tuple(x.shape[a] for a in order))
    return y if order == tuple(range(x.ndim)) else anp.transpose(y, tuple(np.argsort(order)))


def _count(x, axis, where=True):
    """How many entries are reduced to one: a number, or with a mask an array of the argument's dtype."""
    if where is True:
        return x.size if axis is None else product(x.shape[a] for a in axes_of(axis, x.ndim))
    return anp.sum(anp.broadcast_to(where, x.shape), axis=axis, dtype=real_dtype(x.dtype), keepdims=True)


def real_dtype(dtype):
    """The dtype of the real part."""
    return dtype.type(0).real.dtype


def _masked(c, where):
    return c if where is True else anp.where(where, c, 0.0)


# --- sum and mean ---------------------------------------------------------------------------------


def _sum_vjp(g, _ans, _x, axis=None, dtype=None, out=None, keepdims=False, initial=0, where=True):
    return _masked(expanded(g, _x, axis, keepdims), where)


def _sum_jvp(t, ans, x, axis=None, dtype=None, out=None, keepdims=False, initial=0, where=True):
    return anp.sum(t, axis=axis, dtype=dtype, keepdims=_keep(keepdims), where=where)


def _keep(keepdims):
    return False if keepdims is np._NoValue else keepdims


def _initial(g, _ans, _x, *_args, **_kwargs):
    return g


rule(
    np.sum,
    (_sum_vjp, None, None, None, None, _initial),
    (_sum_jvp, None, None, None, None, _initial),
    examples=(
        lambda x: call(x(3, 4)),
        lambda x: call(x(3, 4), axis=1),
        lambda x: call(x(3, 4), 0),
        lambda x: call(x(2, 3, 4), axis=(0, -1), keepdims=True),
        lambda x: call(x(3, 4), axis=1, initial=x(), where=np.arange(4) != 1),
        lambda x: call(x()),
    ),
)


def _mean_vjp(g, _ans, _x, axis=None, dtype=None, out=None, keepdims=False, where=True):
    g = expanded(g, _x, axis, keepdims)
    n = _count(_x, axis, where)
    return g / max(n, 1) if where is True else anp.where(where, g / anp.maximum(n, 1), 0.0)


rule(
    np.mean,
    (_mean_vjp,),
    ("same",),
    examples=(
        lambda x: call(x(3, 4)),
        lambda x: call(x(3, 4), axis=1),
        lambda x: call(x(2, 3, 4), axis=(0, -1), keepdims=True),
        lambda x: call(x(3, 4), axis=0, where=np.arange(12).reshape(3, 4) % 3 != 1),
        lambda x: call(x()),
    ),
)

# --- variance -------------------------------------------------------------------------------------


def _deviation(x, axis, where=True, mean=np._NoValue, correction=None):
    if mean is np._NoValue:
        mean = anp.mean(x, axis=axis, keepdims=True, where=where)
    return _masked(x - mean, where)


def _freedom(x, axis, ddof, where=True, mean=None, correction=np._NoValue):
    n = _count(x, axis, where) - (ddof if correction is np._NoValue else correction)
    return max(n, 0) if where is True else anp.maximum(n, 0)


# `more` is where, mean and correction.
def _var_vjp(g, _ans, x, axis=None, dtype=None, out=None, ddof=0, keepdims=False, **more):
    d = _deviation(x, axis, **more)
    d = anp.conjugate(d) if x.dtype.kind == "c" else d
    return 2.0 * expanded(g, x, axis, keepdims) / _freedom(x, axis, ddof, **more) * d


def _var_jvp(t, ans, x, axis=None, dtype=None, out=None, ddof=0, keepdims=False, **more):
    d = _deviation(x, axis, **more)
    part = anp.real(anp.conjugate(d) * t) if x.dtype.kind == "c" else d * t
    return anp.sum(2.0 / _freedom(x, axis, ddof, **more) * part, axis=axis, keepdims=_keep(keepdims))


def _nonzero(ans):
    return anp.where(ans == 0.0, 1.0, ans)


def _std_vjp(g, ans, x, *args, **kwargs):
    return _var_vjp(0.5 * g / _nonzero(ans), None, x, *args, **kwargs)


def _std_jvp(t, ans, x, *args, **kwargs):
    return 0.5 * _var_jvp(t, ans, x, *args, **kwargs) / _nonzero(ans)


_SPREAD = (
    lambda x: call(x(3, 4)),
    lambda x: call(x(3, 4), axis=1, ddof=1),
    lambda x: call(x(2, 3, 4), axis=(0, -1), keepdims=True),
    lambda x: call(x(3, 4), axis=0, correction=0.5),
    lambda x: call(x(4, 3), axis=0, where=np.arange(4)[:, None] != [1, 2, 4]),
)
rule(np.var, (_var_vjp,), (_var_jvp,), examples=_SPREAD)
rule(np.std, (_std_vjp,), (_std_jvp,), examples=_SPREAD)


@lowered(np.var)
def _var_as_sums(x, axis=None, dtype=None, out=None, ddof=0, keepdims=False, **more):
    """As NumPy computes it, of real numbers."""
    if dtype is not None or more.get("where", True) is not True or x.dtype.char not in "fd" or not x.size:
        return NotImplemented
    freedom = _freedom(x, axis, ddof, **more)
    deviation = _deviation(x, axis, **more)
    total = anp.sum(deviation * deviation, axis=axis, keepdims=_keep(keepdims))
    return total / float(freedom) if freedom else NotImplemented


@lowered(np.std)
def _std_as_root(x, *args, **kwargs):
    variance = _var_as_sums(x, *args, **kwargs)
    return variance if variance is NotImplemented else anp.sqrt(variance)


# --- product --------------------------------------------------------------------------------------


def _others(x, axis):
    """The product of all other entries of the lane, for each entry."""
    x = lanes(x, axis)
    before = products_before(x, x.ndim - 1)
    after = products_before(x[..., ::-1], x.ndim - 1)[..., ::-1]
    return before * after


def _prod_partial(x, axis, initial, where):
    if where is not True:
        x = anp.where(where, x, 1.0)
    out = unlanes(_others(x, axis), x, axis)
    return _masked(out if initial is np._NoValue else out * initial, where)


def _prod_vjp(g, _ans, x, axis=None, dtype=None, out=None, keepdims=False, initial=np._NoValue, where=True):
    return expanded(g, x, axis, keepdims) * _prod_partial(x, axis, initial, where)


def _prod_jvp(t, ans, x, axis=None, dtype=None, out=None, keepdims=False, initial=np._NoValue, where=True):
    return anp.sum(t * _prod_partial(x, axis, initial, where), axis=axis, keepdims=_keep(keepdims))


def _prod_initial(g, _ans, x, axis=None, dtype=None, out=None, keepdims=False, _initial=None, where=True):
    return g * anp.prod(x, axis=axis, keepdims=_keep(keepdims), where=where)


rule(
    np.prod,
    (_prod_vjp, None, None, None, None, _prod_initial),
    (_prod_jvp, None, None, None, None, _prod_initial),
    examples=(
        lambda x: call(x(2, 3)),
        lambda x: call(x(3, 4), axis=1),
        lambda x: call(x(3, 2), 0),
        lambda x: call(x(2, 3, 2), axis=(0, -1), keepdims=True),
        lambda x: call(x(3, 4), axis=1, initial=x(), where=np.arange(4) != 1),
        lambda x: call(x(3, 4) * (np.arange(4) != 1), axis=1),
        lambda x: call(x(3, 4) * (np.arange(4) % 2), axis=1),
        lambda x: call(x()),
    ),
)

# --- greatest and least ---------------------------------------------------------------------------


@notrace_primitive
def count_true(hit, axis, keepdims, dtype):
    """How many truth values are true, as floats."""
    return np.count_nonzero(hit, axis=axis, keepdims=keepdims) * dtype.type(1)


hooks["count_true"] = count_true


def winners(x, ans, axis=None, keepdims=False, initial=None, where=True):
    """Which entries are the result, and how many are to each of them, in its shape."""
    hit = x == expanded(ans, x, axis, keepdims)
    if where is not True:
        hit = anp.logical_and(hit, where)
    count = count_true(hit, axis, _keep(keepdims), real_dtype(x.dtype))
    if initial is not None and initial is not np._NoValue:
        count = count + (ans == initial)
    return hit, anp.maximum(count, 1.0)


# What of the (co)tangent an entry does not get is left out, not multiplied by 0: it may be infinite.


def max_vjp(g, ans, x, axis=None, out=None, keepdims=False, initial=None, where=True):
    hit, count = winners(x, ans, axis, keepdims, initial, where)
    return anp.where(hit, expanded(g / count, x, axis, keepdims), 0.0)


def max_jvp(t, ans, x, axis=None, out=None, keepdims=False, initial=None, where=True):
    hit, count = winners(x, ans, axis, keepdims, initial, where)
    return anp.sum(anp.where(hit, t, 0.0), axis=axis, keepdims=_keep(keepdims)) / count


for _fun in (np.max, np.amax, np.min, np.amin, np.nanmax, np.nanmin):
    rule(
        _fun,
        (max_vjp,),
        (max_jvp,),
        examples=(
            lambda x: call(x(3, 4)),
            lambda x: call(x(3, 4), axis=1),
            lambda x: call(x(3, 4), 0),
            lambda x: call(x(2, 3, 4), axis=(0, -1), keepdims=True),
            lambda x: call(x(3, 4), axis=1, initial=0.25, where=np.arange(4) != 1),
            lambda x: call(x()),
        ),
    )


@composite(
    np.ptp, examples=(lambda x: call(x(3, 4)), lambda x: call(x(2, 3, 4), axis=(0, -1), keepdims=True))
)
def ptp(a, axis=None, out=None, keepdims=False):
    no_out("ptp", out)
    keepdims = _keep(keepdims)
    return anp.subtract(anp.max(a, axis=axis, keepdims=keepdims), anp.min(a, axis=axis, keepdims=keepdims))


def no_out(name, out):
    """Refuses ``out=`` where a function is made of others."""
    if out is not None:
        raise TypeError(f"{name}: out= is not supported with a traced value; drop out= and use the result")


# --- ignoring NaN ---------------------------------------------------------------------------------


def _nansum_vjp(g, _ans, x, axis=None, dtype=None, out=None, keepdims=False, initial=0, where=True):
    return _sum_vjp(g, None, x, axis, keepdims=keepdims, where=valid(x, where))


def _nansum_jvp(t, ans, x, axis=None, dtype=None, out=None, keepdims=False, initial=0, where=True):
    return _sum_jvp(t, None, x, axis, dtype, keepdims=keepdims, where=valid(x, where))


def _nanmean_vjp(g, _ans, x, axis=None, dtype=None, out=None, keepdims=False, where=True):
    return _mean_vjp(g, None, x, axis, keepdims=keepdims, where=valid(x, where))


def _nanmean_jvp(t, ans, x, axis=None, dtype=None, out=None, keepdims=False, where=True):
    where = valid(x, where)
    total = anp.sum(t, axis=axis, keepdims=True, where=where) / anp.maximum(_count(x, axis, where), 1)
    return anp.reshape(total, ans.shape)


def _skipping(base, value):
    """A rule of the function that sees all entries, for the one that skips NaN."""

    def skipping(g, ans, x, *args, where=True, **kwargs):
        return base(g, ans, without_nan(x, value), *args, where=valid(x, where), **kwargs)

    return skipping


def with_gaps(x, *shape):
    """An example array with some NaN, at least two valid entries in each lane of the last axes."""
    out = np.array(x(*shape))
    out[..., 1::4, 0] = np.nan
    return out


_SKIPPING = (
    lambda x: call(with_gaps(x, 3, 4)),
    lambda x: call(with_gaps(x, 3, 4), axis=1),
    lambda x: call(with_gaps(x, 2, 3, 4), axis=(0, -1), keepdims=True),
    lambda x: call(with_gaps(x, 3, 4), axis=1, where=np.arange(4) != 2),
    lambda x: call(x(3, 4), axis=0),
)
rule(np.nansum, (_nansum_vjp,), (_nansum_jvp,), examples=_SKIPPING)
rule(np.nanmean, (_nanmean_vjp,), (_nanmean_jvp,), examples=_SKIPPING)
rule(np.nanprod, (_skipping(_prod_vjp, 1.0),), (_skipping(_prod_jvp, 1.0),), examples=_SKIPPING)
rule(np.nanvar, (_skipping(_var_vjp, 0.0),), (_skipping(_var_jvp, 0.0),), examples=_SKIPPING)
rule(np.nanstd, (_skipping(_std_vjp, 0.0),), (_skipping(_std_jvp, 0.0),), examples=_SKIPPING)

# --- weighted means and covariances ---------------------------------------------------------------


def _weights(a, weights, axis):
    """The weights in a shape that broadcasts against the array."""
    if weights.shape == a.shape:
        return weights
    if axis is None:
        raise TypeError("average: axis must be given where the shapes of a and weights differ")
    axes = axes_of(axis, a.ndim)
    if weights.shape != tuple(a.shape[k] for k in axes):
        raise ValueError(f"average: weights {weights.shape} do not fit axis {axis} of an array {a.shape}")
    weights = anp.transpose(weights, tuple(np.argsort(axes)))
    return anp.reshape(weights, tuple(n if k in axes else 1 for k, n in enumerate(a.shape)))


@composite(
    np.average,
    examples=(
        lambda x: call(x(3, 4), axis=0),
        lambda x: call(x(3, 4), axis=1, weights=np.arange(1.0, 5.0)),
        lambda x: call(x(3, 4), axis=1, weights=x(4) ** 2 + 0.5, keepdims=True),
        lambda x: call(x(3, 4), weights=x(3, 4) ** 2 + 0.5),
    ),
)
def average(a, axis=None, weights=None, returned=False, *, keepdims=False):
    a = anp.asarray(a)
    keepdims = _keep(keepdims)
    axis = tuple(axis) if isinstance(axis, list) else axis
    if weights is None:
        mean = anp.mean(a, axis=axis, keepdims=keepdims)
        total = mean.dtype.type(a.size / mean.size) if returned else None
    else:
        weights = _weights(a, anp.asarray(weights), axis)
        dtype = np.result_type(a.dtype, weights.dtype, *(() if a.dtype.kind in "fc" else ("f8",)))
        total = anp.sum(weights, axis=axis, dtype=dtype, keepdims=keepdims)
        if anp.any(total == 0.0):
            raise ZeroDivisionError("average: the weights sum to zero")
        mean = anp.sum(anp.multiply(a, weights, dtype=dtype), axis=axis, keepdims=keepdims) / total
    if not returned:
        return mean
    return mean, total if total.shape == mean.shape else anp.broadcast_to(total, mean.shape)


def _rows(x, rowvar, dtype, name):
    if x.ndim > 2:
        raise ValueError(f"{name} takes arrays of at most two dimensions, not {x.ndim}")
    if x.dtype != dtype:
        x = anp.astype(x, dtype)
    if x.ndim < 2:
        return anp.reshape(x, (1, x.size))
    return x if rowvar else anp.transpose(x)


def _observation_weights(fweights, aweights, n):
    for name, w in (("fweights", fweights), ("aweights", aweights)):
        if w is None:
            continue
        if w.shape != (n,):
            raise RuntimeError(f"cov: {name} of shape {w.shape} for {n} observations")
        if anp.any(w < 0):
            raise ValueError(f"cov: {name} cannot be negative")
    if fweights is None or aweights is None:
        return aweights if fweights is None else fweights
    return fweights * aweights


@composite(
    np.cov,
    examples=(
        lambda x: call(x(3, 5)),
        lambda x: call(x(5)),
        lambda x: call(x(5), x(5)),
        lambda x: call(x(5, 3), x(5, 2), rowvar=False),
        lambda x: call(x(3, 5), bias=True),
        lambda x: call(x(3, 5), ddof=0, fweights=np.array([1, 2, 1, 3, 1])),
        lambda x: call(x(3, 5), aweights=abs(x(5)) + 0.5, fweights=np.array([1, 2, 1, 3, 1])),
    ),
)
def cov(m, y=None, rowvar=True, bias=False, ddof=None, fweights=None, aweights=None, *, dtype=None):
    if ddof is not None and ddof != int(ddof):
        raise ValueError(f"cov: ddof must be an integer, not {ddof!r}")
    m = anp.asarray(m)
    y = None if y is None else anp.asarray(y)
    if dtype is None:
        dtype = np.result_type(m.dtype, np.float64, *(() if y is None else (y.dtype,)))
    x = _rows(m, rowvar, np.dtype(dtype), "cov")
    if not x.shape[0]:
        return np.zeros((0, 0))
    if y is not None:
        x = anp.concatenate((x, _rows(y, rowvar or y.shape[0] == 1, np.dtype(dtype), "cov")), axis=0)
    ddof = (0 if bias else 1) if ddof is None else ddof
    if fweights is not None:
        fweights = np.asarray(fweights, float)
        if np.any(fweights != np.round(fweights)):
            raise TypeError("cov: fweights must be whole numbers")
    if aweights is not None:
        aweights = anp.astype(anp.asarray(aweights), float)
    w = _observation_weights(fweights, aweights, x.shape[1])
    mean, total = anp.average(x, axis=1, weights=w, returned=True)
    freedom = _freedom_left(x.shape[1], w, aweights, total[0], ddof)
    x = x - mean[:, None]
    other = anp.transpose(x if w is None else x * w)
    c = anp.dot(x, anp.conjugate(other) if other.dtype.kind == "c" else other)
    return anp.squeeze(_same_dtype(c * anp.true_divide(1, freedom), c))


def _freedom_left(n, w, aweights, total, ddof):
    if w is None:
        freedom = n - ddof
    elif ddof == 0:
        freedom = total
    elif aweights is None:
        freedom = total - ddof
    else:
        freedom = total - ddof * anp.sum(w * aweights) / total
    if freedom <= 0:
        warnings.warn("Degrees of freedom <= 0 for slice", RuntimeWarning, stacklevel=4)
        return 0.0
    return freedom


def _same_dtype(x, like):
    return x if x.dtype == like.dtype else anp.astype(x, like.dtype)


@composite(
    np.corrcoef,
    examples=(
        lambda x: call(x(3, 5)),
        lambda x: call(x(5), x(5)),
        lambda x: call(x(5, 3), rowvar=False),
    ),
)
def corrcoef(x, y=None, rowvar=True, *, dtype=None):
    c = anp.cov(x, y, rowvar, dtype=dtype)
    if c.ndim == 0:
        return c / c
    deviation = anp.sqrt(anp.real(anp.diag(c)))
    c = c / deviation[:, None]
    c = c / deviation[None, :]
    if c.dtype.kind != "c":
        return anp.clip(c, -1, 1)
    return anp.clip(anp.real(c), -1, 1) + 1j * anp.clip(anp.imag(c), -1, 1)
