"""Methods of ufuncs: ``np.add.reduce``, ``np.maximum.accumulate``, ``np.multiply.outer`` and their kind.

``outer`` works for every ufunc of two arguments. The running extremes give a tie to its first entry;
``np.add.at`` and ``np.subtract.at`` update a traced array in place. All other methods refuse a traced value.
"""

import numpy as np

import autograd_c.numpy as anp

from .._core import is_box, registry
from ..extend import Meta, call, notrace_primitive, rule
from . import cumulative, reductions
from .indexing import freeze_index, scatter
from .reductions import expanded
from .support import METHODS, update

NOTHING = np._NoValue


def _method(ufunc, name, vjp, jvp, examples, arguments=1):
    """Registers the rule of a method, which then is a primitive of its own."""
    rest = (None,) * (arguments - 1)
    METHODS[ufunc, name] = rule(
        getattr(ufunc, name), (vjp, *rest), (jvp, *rest), name=f"{ufunc.__name__}.{name}", examples=examples
    )


# --- reduce ---------------------------------------------------------------------------------------
# The functions np.sum, np.prod, ... reduce all axes by default, the methods only the first one.

_REDUCED = (
    lambda x: call(x(4)),
    lambda x: call(x(3, 4)),
    lambda x: call(x(3, 4), 1),
    lambda x: call(x(3, 4), axis=None),
    lambda x: call(x(2, 3, 4), axis=(0, 2), keepdims=True),
    lambda x: call(x(3, 4), axis=1, initial=0.5, where=np.arange(4) != 2),
)


def _sum_vjp(g, _ans, _x, axis=0, dtype=None, out=None, keepdims=False, initial=0, where=True):
    return reductions._sum_vjp(g, None, _x, axis, keepdims=keepdims, where=where)


def _sum_jvp(t, ans, x, axis=0, dtype=None, out=None, keepdims=False, initial=0, where=True):
    return anp.sum(t, axis=axis, keepdims=keepdims, where=where)


def _prod_vjp(g, _ans, x, axis=0, dtype=None, out=None, keepdims=False, initial=NOTHING, where=True):
    return reductions._prod_vjp(g, None, x, axis, keepdims=keepdims, initial=initial, where=where)


def _prod_jvp(t, ans, x, axis=0, dtype=None, out=None, keepdims=False, initial=NOTHING, where=True):
    return reductions._prod_jvp(t, None, x, axis, keepdims=keepdims, initial=initial, where=where)


def _max_vjp(g, ans, x, axis=0, dtype=None, out=None, keepdims=False, initial=None, where=True):
    return reductions.max_vjp(g, ans, x, axis, keepdims=keepdims, initial=initial, where=where)


def _max_jvp(t, ans, x, axis=0, dtype=None, out=None, keepdims=False, initial=None, where=True):
    return reductions.max_jvp(t, ans, x, axis, keepdims=keepdims, initial=initial, where=where)


_method(np.add, "reduce", _sum_vjp, _sum_jvp, _REDUCED)
_method(np.multiply, "reduce", _prod_vjp, _prod_jvp, _REDUCED)
for _ufunc in (np.maximum, np.minimum, np.fmax, np.fmin):
    _method(_ufunc, "reduce", _max_vjp, _max_jvp, _REDUCED)


def _log_share(exp, ans, x, axis, keepdims, where):
    """What of the sum of exponentials each entry makes up."""
    ans = expanded(ans, x, axis, keepdims)
    share = exp(x - anp.where(anp.isinf(ans), 0.0, ans))
    return share if where is True else anp.where(where, share, 0.0)


def _logaddexp_rules(exp):
    def vjp(g, ans, x, axis=0, dtype=None, out=None, keepdims=False, initial=None, where=True):
        return expanded(g, x, axis, keepdims) * _log_share(exp, ans, x, axis, keepdims, where)

    def jvp(t, ans, x, axis=0, dtype=None, out=None, keepdims=False, initial=None, where=True):
        return anp.sum(t * _log_share(exp, ans, x, axis, keepdims, where), axis=axis, keepdims=keepdims)

    return vjp, jvp


# Late look-up: the namespace is still being filled while rules are defined.
_method(np.logaddexp, "reduce", *_logaddexp_rules(lambda x: anp.exp(x)), _REDUCED)
_method(np.logaddexp2, "reduce", *_logaddexp_rules(lambda x: anp.exp2(x)), _REDUCED)

# --- accumulate -----------------------------------------------------------------------------------

_RUNNING = (
    lambda x: call(x(6)),
    lambda x: call(x(5, 2)),
    lambda x: call(x(2, 5), 1),
    lambda x: call(x(2, 5, 3), axis=-2),
)


def _cumsum_vjp(g, _ans, _x, axis=0, dtype=None, out=None):
    return cumulative._cumsum_vjp(g, None, _x, axis)


def _cumprod_vjp(g, _ans, x, axis=0, dtype=None, out=None):
    return cumulative._cumprod_vjp(g, None, x, axis)


def _cumprod_jvp(t, ans, x, axis=0, dtype=None, out=None):
    return cumulative._cumprod_jvp(t, None, x, axis)


_method(np.add, "accumulate", _cumsum_vjp, "same", _RUNNING)
_method(np.multiply, "accumulate", _cumprod_vjp, _cumprod_jvp, _RUNNING)


@notrace_primitive
def _holders(ans, axis):
    """Where each running extreme was first attained: flat indices."""
    places = np.arange(ans.size).reshape(ans.shape)
    before = ans[cumulative.along(axis, ans.ndim, slice(None, -1))]
    after = ans[cumulative.along(axis, ans.ndim, slice(1, None))]
    same = (before == after) | (np.isnan(before) & np.isnan(after))
    holders = np.moveaxis(places.copy(), axis, 0)
    holders[1:][np.moveaxis(same, axis, 0)] = -1
    return np.moveaxis(np.maximum.accumulate(holders, axis=0), 0, axis)


def _running_vjp(g, ans, _x, axis=0, dtype=None, out=None):
    holders = anp.reshape(_holders(ans, axis), -1)
    return anp.reshape(scatter(anp.reshape(g, -1), holders, Meta((ans.size,), g.dtype)), ans.shape)


def _running_jvp(t, ans, x, axis=0, dtype=None, out=None):
    return anp.reshape(t, -1)[_holders(ans, axis)]


for _ufunc in (np.maximum, np.minimum, np.fmax, np.fmin):
    _method(_ufunc, "accumulate", _running_vjp, _running_jvp, _RUNNING)


def _log_running(exp):
    def weights(ans, x, axis):
        """Share of each entry in its own running sum, and share of each running sum in the next one."""
        finite = anp.where(anp.isinf(ans), 0.0, ans)
        first = cumulative.along(axis, ans.ndim, slice(None, -1))
        rest = cumulative.along(axis, ans.ndim, slice(1, None))
        carried = exp(ans[first] - finite[rest])
        return exp(x - finite), scatter(carried, rest, Meta(ans.shape, ans.dtype))

    def vjp(g, ans, x, axis=0, dtype=None, out=None):
        own, carried = weights(ans, x, axis)
        return own * cumulative.recurrence(g, carried, axis, True)

    def jvp(t, ans, x, axis=0, dtype=None, out=None):
        own, carried = weights(ans, x, axis)
        return cumulative.recurrence(t * own, carried, axis, False)

    return vjp, jvp


_method(np.logaddexp, "accumulate", *_log_running(lambda x: anp.exp(x)), _RUNNING)
_method(np.logaddexp2, "accumulate", *_log_running(lambda x: anp.exp2(x)), _RUNNING)

# --- reduceat -------------------------------------------------------------------------------------


def _segments(indices, n):
    """Which entry goes into which sum: (number of the sum, place of the entry) for all of them."""
    start = np.asarray(indices)
    end = np.append(start[1:], n)
    length = np.where(end > start, end - start, 1)
    which = np.repeat(np.arange(len(start)), length)
    offset = np.arange(len(which)) - np.repeat(np.cumsum(length) - length, length)
    return which, start[which] + offset


def _reduceat_vjp(g, _ans, _x, indices, axis=0, dtype=None, out=None):
    which, place = _segments(indices, _x.shape[axis])
    taken = g[cumulative.along(axis, g.ndim, which)]
    return scatter(taken, cumulative.along(axis, g.ndim, place), Meta(_x.shape, g.dtype))


_method(
    np.add,
    "reduceat",
    _reduceat_vjp,
    "same",
    (
        lambda x: call(x(8), [0, 4, 1, 5, 2, 6, 3, 7]),
        lambda x: call(x(3, 6), np.array([1, 4]), axis=1),
    ),
    arguments=2,
)

# --- outer and at ---------------------------------------------------------------------------------


def _outer_of(p):
    def outer(a, b, /, **kwargs):
        a, b = anp.asarray(a), anp.asarray(b)
        return p(anp.reshape(a, a.shape + (1,) * b.ndim), b, **kwargs)

    return outer


METHODS[None, "outer"] = _outer_of


def _at(ufunc):
    def at(a, indices, b):
        if not is_box(a):
            raise TypeError(
                f"{ufunc.__name__}.at: a plain array cannot hold a traced value; make it with "
                "np.zeros(n, like=b), or add to the result instead of in place"
            )
        index = freeze_index(indices)
        b = anp.asarray(b)
        shape = np.broadcast_to(0.0, a.shape)[index].shape
        change = scatter(anp.broadcast_to(b, shape), index, Meta(a.shape, a.dtype))
        update(a, registry[ufunc](a, change))

    return at


METHODS[np.add, "at"] = _at(np.add)
METHODS[np.subtract, "at"] = _at(np.subtract)
