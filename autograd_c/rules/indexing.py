"""Indexing in all its forms, and updates in place."""

import operator

import numpy as np

import autograd_c.numpy as anp

from .._core import is_box, rebind, registry, value_of
from ..extend import call, rule
from .support import hook, hooks

getitem = registry[operator.getitem]
hooks["getitem"] = getitem


@hook
def freeze_index(index):
    """An index as it is now: arrays in it copied, lists made arrays, traced values refused."""
    if isinstance(index, tuple):
        return tuple(freeze_index(i) if not isinstance(i, slice) else i for i in index)
    if is_box(index):
        plain = value_of(index)
        if np.asarray(plain).dtype.kind == "f":
            raise IndexError("a traced float cannot be an index; convert it, for instance int(x) or np.round(x).astype(int)")
        return plain
    if isinstance(index, np.ndarray):
        return index.copy() if index.ndim or index.dtype == bool else int(index)
    if isinstance(index, list):
        return np.array(index, dtype=None if index else int)
    if isinstance(index, np.integer):
        return int(index)
    return index


def is_basic(index):
    """Whether an index selects a view, so that no item appears twice."""
    if isinstance(index, tuple):
        return all(map(is_basic, index))
    return index is None or index is Ellipsis or type(index) in (int, slice)


def _scatter(g, index, meta):
    out = np.zeros(meta.shape, meta.dtype if np.asarray(g).dtype.kind != "c" else np.result_type(meta.dtype, g))
    if is_basic(index):
        out[index] = g
    else:
        np.add.at(out, index, g)
    return out


def _setitem(x, value, index):
    out = np.array(x)
    out[index] = value
    return out


rule(
    operator.getitem,
    (lambda g, _ans, _x, index: scatter(g, index, _x), None),
    ("same", None),
    name="getitem",
    examples=(
        lambda x: call(x(4, 3), 1),
        lambda x: call(x(4, 3), (2, 1)),
        lambda x: call(x(4, 3), (slice(None, None, -2), None, 1)),
        lambda x: call(x(4, 3), (np.array([0, 2, 0]), np.array([1, 1, 1]))),
        lambda x: call(x(3, 2), np.array([[True, False], [False, True], [True, True]])),
        lambda x: call(x(4, 3), (Ellipsis, np.array([0, 0]))),
    ),
)
scatter = hooks["scatter"] = rule(
    _scatter,
    (lambda g, _ans, _g, index, _meta: getitem(g, index), None, None),
    ("same", None, None),
    name="scatter",
)
setitem = rule(
    _setitem,
    (
        lambda g, _ans, _x, _value, index: setitem(g, 0.0, index),
        lambda g, _ans, _x, _value, index: getitem(g, index),
        None,
    ),
    (
        lambda t, ans, x, value, index: setitem(t, 0.0, index),
        lambda t, ans, x, value, index: setitem(np.zeros(ans.shape, ans.dtype), t, index),
        None,
    ),
    name="setitem",
    examples=(
        lambda x: call(x(4, 3), x(3), 1),
        lambda x: call(x(4, 3), x(2, 3), slice(1, 3)),
        lambda x: call(x(4, 3), x(), (1, 2)),
    ),
)


@hook
def set_at(x, index, value):
    """The value that ``x[index] = value`` gives `x`."""
    index = freeze_index(index)
    if isinstance(value, (list, tuple)):
        value = anp.array(value)
    dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
    if dtype.kind == "c" and x.dtype.kind != "c":
        raise TypeError("a complex value cannot be put into a real array in place; make the array complex first")
    return setitem(x, value, index)


@hook
def write_through(x, base, take):
    """An updated view writes to the array that it is a view of."""
    if callable(take):
        put = take.put
        rebind(base, put(base, x))
    else:
        rebind(base, setitem(base, x, take))
