"""Running sums and products, and differences.

A running product is differentiated by a linear recurrence, without a division: zeros are no special case.
"""

import numpy as np

import autograd_c.numpy as anp

from ..extend import Meta, Primitive, call, composite, rule
from .indexing import scatter
from .support import lowered

# --- along one axis -------------------------------------------------------------------------------


def along(axis, ndim, index):
    """An index that takes `index` along one axis and everything along the others."""
    return (slice(None),) * (axis % ndim) + (index,)


BACKWARDS = slice(None, None, -1)


def _flat(x, axis):
    """NumPy's way with ``axis=None``: the array in one dimension, and its axis."""
    return (x, axis) if axis is not None and x.ndim else (anp.reshape(x, (x.size,)), 0)


def _shifted(y, axis, by):
    """The entries one place on along the axis (or back, for -1), with a zero where nothing came."""
    source, target = (slice(None, -1), slice(1, None)) if by > 0 else (slice(1, None), slice(None, -1))
    return scatter(y[along(axis, y.ndim, source)], along(axis, y.ndim, target), Meta(y.shape, y.dtype))


def valid(x, where=True):
    """The mask of the entries that the ``nan`` functions see."""
    mask = anp.logical_not(anp.isnan(x))
    return mask if where is True else anp.logical_and(mask, where)


def without_nan(x, value):
    """The array with `value` for NaN."""
    return anp.where(anp.isnan(x), value, x)


# --- sums -----------------------------------------------------------------------------------------


def _cumsum_vjp(g, _ans, _x, axis=None, dtype=None, out=None):
    axis = 0 if axis is None else axis
    back = along(axis, g.ndim, BACKWARDS)
    return anp.reshape(anp.cumsum(g[back], axis=axis)[back], _x.shape)


def _nancumsum_vjp(g, _ans, x, axis=None, dtype=None, out=None):
    return anp.where(valid(x), _cumsum_vjp(g, None, x, axis), 0.0)


def _nancumsum_jvp(t, ans, x, axis=None, dtype=None, out=None):
    return anp.cumsum(anp.where(valid(x), t, 0.0), axis=axis, dtype=dtype)


def _without_initial(g, axis, include_initial):
    return g[along(0 if axis is None else axis, g.ndim, slice(1, None))] if include_initial else g


def _cumulative_sum_vjp(g, _ans, _x, axis=None, dtype=None, out=None, include_initial=False):
    return _cumsum_vjp(_without_initial(g, axis, include_initial), None, _x, 0 if axis is None else axis)


_EXAMPLES = (
    lambda x: call(x(5)),
    lambda x: call(x(3, 4)),
    lambda x: call(x(3, 4), axis=1),
    lambda x: call(x(2, 3, 4), 1),
    lambda x: call(x(3, 4), axis=-2),
    lambda x: call(x()),
)
_INITIAL = (
    lambda x: call(x(5)),
    lambda x: call(x(3, 4), axis=1),
    lambda x: call(x(3, 4), axis=0, include_initial=True),
    lambda x: call(x(5), include_initial=True),
)
rule(np.cumsum, (_cumsum_vjp,), ("same",), examples=_EXAMPLES)
rule(np.cumulative_sum, (_cumulative_sum_vjp,), ("same",), examples=_INITIAL)


def _gaps(x, *shape):
    out = np.array(x(*shape))
    out[..., 1] = np.nan
    return out


_NAN = (lambda x: call(_gaps(x, 5)), lambda x: call(_gaps(x, 3, 4)), lambda x: call(_gaps(x, 3, 4), axis=1))
rule(np.nancumsum, (_nancumsum_vjp,), (_nancumsum_jvp,), examples=_NAN)


@lowered(np.cumsum)
def _cumsum_along(x, axis=None, dtype=None, out=None):
    return _running(anp.cumsum, x, axis, dtype)


def _running(fun, x, axis, dtype):
    """A running sum or product with its axis; it stays as it is where it has one, or another dtype."""
    x = anp.asarray(x)
    if dtype is not None or x.ndim == 1 or axis is not None and x.ndim:
        return NotImplemented
    return fun(anp.reshape(x, -1), axis=0)


@lowered(np.cumulative_sum)
def _cumulative_sum_as_cumsum(x, axis=None, dtype=None, out=None, include_initial=False):
    return _with_initial(anp.cumsum, 0.0, x, axis, dtype, include_initial)


def _with_initial(fun, initial, x, axis, dtype, include_initial):
    if dtype is not None or axis is None and x.ndim > 1:
        return NotImplemented
    total = fun(x, axis=0 if axis is None else axis)
    if not include_initial:
        return total
    shape = list(total.shape)
    shape[0 if axis is None else axis] = 1
    return anp.concatenate([np.full(shape, initial, total.dtype), total], axis=0 if axis is None else axis)


@lowered(np.nancumsum)
def _nancumsum_as_cumsum(x, axis=None, dtype=None, out=None):
    return anp.cumsum(without_nan(x, 0.0), axis=axis, dtype=dtype)


# --- products -------------------------------------------------------------------------------------


def _recurrence(g, x, axis, reverse):
    """``s[k] = g[k] + x[k] * s[k-1]``, or in reverse ``s[k] = g[k] + x[k+1] * s[k+1]``.

    By doubling (Hillis and Steele, 1986): with each step an entry takes in twice as many of those before it.
    """
    dtype = np.result_type(g, x)
    out = np.array(g, dtype)
    s = np.moveaxis(out, axis, 0)
    x = np.moveaxis(x, axis, 0)
    factor = np.zeros(x.shape, dtype)
    if reverse:
        s = s[::-1]
        factor[1:] = x[:0:-1]
    else:
        factor[1:] = x[1:]
    step = 1
    while step < len(s):
        s[step:] += factor[step:] * s[:-step]
        factor[step:] = factor[step:] * factor[:-step]
        step *= 2
    return out


def _recurrence_factor(g, ans, _g, x, axis, reverse):
    other = recurrence(g, x, axis, not reverse)
    return ans * _shifted(other, axis, 1) if reverse else other * _shifted(ans, axis, 1)


def _recurrence_factor_jvp(t, ans, g, x, axis, reverse):
    into = _shifted(t * ans, axis, -1) if reverse else t * _shifted(ans, axis, 1)
    return recurrence(into, x, axis, reverse)


recurrence = rule(
    _recurrence,
    (
        lambda g, _ans, _g, x, axis, reverse: recurrence(g, x, axis, not reverse),
        _recurrence_factor,
        None,
        None,
    ),
    ("same", _recurrence_factor_jvp, None, None),
    name="recurrence",
    examples=(
        lambda x: call(x(5), x(5), 0, True),
        lambda x: call(x(5), x(5), 0, False),
        lambda x: call(x(3, 4), x(3, 4), 1, True),
        lambda x: call(x(4, 2), x(4, 2), 0, False),
    ),
)


def _products_before(x, axis):
    """For each entry, the product of those before it along the axis."""
    out = np.ones(x.shape, x.dtype)
    if x.shape[axis] > 1:
        first, rest = (along(axis, x.ndim, part) for part in (slice(None, -1), slice(1, None)))
        np.multiply.accumulate(x[first], axis, out=out[rest])
    return out


products_before = rule(
    _products_before,
    (lambda g, ans, x, axis: ans * recurrence(_shifted(g, axis, -1), x, axis, True), None),
    (lambda t, ans, x, axis: _shifted(recurrence(t * ans, x, axis, False), axis, 1), None),
    name="products_before",
    examples=(lambda x: call(x(5), 0), lambda x: call(x(2, 5) * [1, 0, 1, 0, 1], 1), lambda x: call(x(1), 0)),
)


@lowered(products_before)
def _products_before_as_cumprod(x, axis):
    n = x.shape[axis]
    if n < 2:
        return NotImplemented
    return _with_initial(anp.cumprod, 1.0, x[along(axis, x.ndim, slice(n - 1))], axis, None, True)


def _cumprod_vjp(g, _ans, x, axis=None, dtype=None, out=None):
    flat, axis = _flat(x, axis)
    return anp.reshape(products_before(flat, axis) * recurrence(g, flat, axis, True), x.shape)


def _cumprod_jvp(t, ans, x, axis=None, dtype=None, out=None):
    x, k = _flat(x, axis)
    t, k = _flat(t, axis)
    return recurrence(t * products_before(x, k), x, k, False)


def _nancumprod_vjp(g, _ans, x, axis=None, dtype=None, out=None):
    return anp.where(valid(x), _cumprod_vjp(g, None, without_nan(x, 1.0), axis), 0.0)


def _nancumprod_jvp(t, ans, x, axis=None, dtype=None, out=None):
    return _cumprod_jvp(anp.where(valid(x), t, 0.0), None, without_nan(x, 1.0), axis)


def _cumulative_prod_vjp(g, _ans, x, axis=None, dtype=None, out=None, include_initial=False):
    return _cumprod_vjp(_without_initial(g, axis, include_initial), None, x, axis)


def _cumulative_prod_jvp(t, ans, x, axis=None, dtype=None, out=None, include_initial=False):
    t = _cumprod_jvp(t, None, x, axis)
    if not include_initial:
        return t
    return scatter(t, along(0 if axis is None else axis, t.ndim, slice(1, None)), Meta(ans.shape, ans.dtype))


_ZEROS = (lambda x: call(x(6) * [1, 1, 0, 1, 1, 1]), lambda x: call(x(2, 5) * [1, 0, 1, 0, 1], axis=1))
rule(np.cumprod, (_cumprod_vjp,), (_cumprod_jvp,), examples=_EXAMPLES + _ZEROS)
rule(np.cumulative_prod, (_cumulative_prod_vjp,), (_cumulative_prod_jvp,), examples=_INITIAL + _ZEROS)
rule(np.nancumprod, (_nancumprod_vjp,), (_nancumprod_jvp,), examples=_NAN)


@lowered(np.cumprod)
def _cumprod_along(x, axis=None, dtype=None, out=None):
    return _running(anp.cumprod, x, axis, dtype)


@lowered(np.cumulative_prod)
def _cumulative_prod_as_cumprod(x, axis=None, dtype=None, out=None, include_initial=False):
    return _with_initial(anp.cumprod, 1.0, x, axis, dtype, include_initial)


@lowered(np.nancumprod)
def _nancumprod_as_cumprod(x, axis=None, dtype=None, out=None):
    return anp.cumprod(without_nan(x, 1.0), axis=axis, dtype=dtype)


# --- differences ----------------------------------------------------------------------------------


def _diff_vjp(g, _ans, _x, n=1, axis=-1):
    # The transpose of a difference is the negative difference of the sequence with a zero at either end.
    size = g.shape[axis]
    if not size:
        return np.zeros(_x.shape, _x.dtype)
    shape = list(g.shape)
    shape[axis] += 2 * n
    g = difference(scatter(g, along(axis, g.ndim, slice(n, n + size)), Meta(shape, g.dtype)), n, axis)
    return -g if n % 2 else g


difference = rule(Primitive(np.diff), (_diff_vjp, None, None), ("same", None, None))


@composite(
    np.diff,
    examples=(
        lambda x: call(x(5)),
        lambda x: call(x(3, 4), 1, 0),
        lambda x: call(x(3, 5), n=3),
        lambda x: call(x(3, 4), n=2, axis=0, prepend=1.5, append=x(2, 4)),
        lambda x: call(x(2), n=3),
        lambda x: call(x(4), n=0),
    ),
)
def diff(a, n=1, axis=-1, prepend=np._NoValue, append=np._NoValue):
    a = anp.asarray(a)
    ends = [prepend, append]
    if n and any(end is not np._NoValue for end in ends):
        before, after = (_end(end, a, axis) for end in ends)
        a = anp.concatenate([*before, a, *after], axis=axis)
    return difference(a, n, axis)


def _end(end, a, axis):
    """What `prepend` or `append` puts there: nothing, an array, or a number as a slice of length one."""
    if end is np._NoValue:
        return ()
    end = anp.asarray(end)
    if end.ndim:
        return (end,)
    shape = list(a.shape)
    shape[axis] = 1
    return (anp.broadcast_to(end, tuple(shape)),)


@composite(
    np.ediff1d,
    examples=(lambda x: call(x(2, 3)), lambda x: call(x(5), to_end=x(2), to_begin=-9.0)),
)
def ediff1d(ary, to_end=None, to_begin=None):
    ary = anp.reshape(anp.asarray(ary), -1)
    parts = [difference(ary, 1, -1)]
    if to_begin is not None:
        parts.insert(0, _ravelled(to_begin, ary.dtype, "to_begin"))
    if to_end is not None:
        parts.append(_ravelled(to_end, ary.dtype, "to_end"))
    return anp.concatenate(parts) if len(parts) > 1 else parts[0]


def _ravelled(x, dtype, name):
    x = anp.reshape(anp.asarray(x), -1)
    if not np.can_cast(x.dtype, dtype, "same_kind"):
        raise TypeError(f"ediff1d: {name} of dtype {x.dtype} does not fit an array of {dtype}")
    return x if x.dtype == dtype else anp.astype(x, dtype)
