"""Joining arrays, and taking them apart.

One primitive joins, one stacks; the others are arrangements of them. A vjp serves all parts at once.
"""

import operator

import numpy as np

import autograd_c.numpy as anp

from .._core import Primitive, any_box, hooks, is_box, stand_in, value_of
from ..extend import call, composite, defjvp_argnums, defvjp_argnums
from .indexing import normalize_axis
from .shape import available
from .support import update


def joint(fun, name, cotangents, tangent):
    """A primitive of many parts: ``fun(setting, *parts)`` is linear in the parts.

    ``cotangents(g, numbers, setting, shapes)`` returns the cotangents of the parts with those numbers, and
    ``tangent(setting, ans, tangents)`` joins the tangents, None for a part that has none.
    """
    p = Primitive(fun, name)

    def maker(argnums, ans, args, kwargs):
        setting, shapes = args[0], [a.shape for a in args[1:]]
        numbers = [k - 1 for k in argnums]
        return lambda g: cotangents(g, numbers, setting, shapes)

    def jvp(argnums, ts, ans, args, kwargs):
        tangents = [None] * (len(args) - 1)
        for k, t in zip(argnums, ts, strict=True):
            tangents[k - 1] = t
        return tangent(args, ans, tangents)

    defvjp_argnums(p, maker)
    defjvp_argnums(p, jvp)
    return p


def _zeros_for(tangents, args, dtype):
    """Zero tangents for the parts that have none."""
    return [
        np.zeros(np.shape(stand_in(a)), dtype) if t is None else t
        for t, a in zip(tangents, args[1:], strict=True)
    ]


def _finish(name, result, dtype, casting, out):
    """``dtype=``, ``casting=`` and ``out=`` of the joining functions."""
    if dtype is not None:
        if not np.can_cast(result.dtype, dtype, casting):
            raise TypeError(
                f"{name}: cannot cast {result.dtype} to {np.dtype(dtype)} according to the rule {casting!r}"
            )
        result = anp.astype(result, dtype)
    if out is None:
        return result
    if not is_box(out):
        raise TypeError(
            f"{name}: out= is a plain array, which cannot hold a traced value; drop out= and use the result"
        )
    return update(out, result)


# --- concatenate ----------------------------------------------------------------------------------


def _concatenate_cotangents(g, numbers, axis, shapes):
    axis %= len(shapes[0])
    ends = np.cumsum([s[axis] for s in shapes]).tolist()
    lead = (slice(None),) * axis
    return [g[(*lead, slice(ends[k] - shapes[k][axis], ends[k]))] for k in numbers]


_concatenate = joint(
    lambda axis, *arrays: np.concatenate(arrays, axis),
    "concatenate",
    _concatenate_cotangents,
    lambda args, ans, tangents: _concatenate(args[0], *_zeros_for(tangents, args, ans.dtype)),
)


@composite(
    np.concatenate,
    examples=(
        lambda x: call((x(2, 3), x(1, 3))),
        lambda x: call([x(2, 1), x(2, 3), x(2, 2)], axis=-1),
        lambda x: call([x(2, 2), x(3)], axis=None),
        lambda x: call(x(2, 3, 2)),
    ),
    joins=True,
)
def concatenate(arrays, /, axis=0, out=None, *, dtype=None, casting="same_kind"):
    arrays = list(map(anp.asarray, arrays))
    if not arrays:
        raise ValueError("need at least one array to concatenate")
    if axis is None:
        arrays, axis = [anp.ravel(a) for a in arrays], 0
    return _finish("concatenate", _concatenate(operator.index(axis), *arrays), dtype, casting, out)


# --- stack ----------------------------------------------------------------------------------------


def _stack_cotangents(g, numbers, axis, shapes):
    g = g if axis == 0 else anp.moveaxis(g, axis, 0)
    return [g[k] for k in numbers]


_stack = hooks["stack"] = joint(
    lambda axis, *arrays: np.stack(arrays, axis),
    "stack",
    _stack_cotangents,
    lambda args, ans, tangents: _stack(args[0], *_zeros_for(tangents, args, ans.dtype)),
)


@composite(
    np.stack,
    examples=(
        lambda x: call([x(2, 3), x(2, 3)]),
        lambda x: call((x(2, 3), x(2, 3), x(2, 3)), axis=-1),
        lambda x: call([x(), x()]),
        lambda x: call(x(2, 3), 1),
    ),
    joins=True,
)
def stack(arrays, axis=0, out=None, *, dtype=None, casting="same_kind"):
    arrays = list(map(anp.asarray, arrays))
    if not arrays:
        raise ValueError("need at least one array to stack")
    return _finish("stack", _stack(operator.index(axis), *arrays), dtype, casting, out)


@composite(
    np.hstack,
    examples=(lambda x: call((x(2), x(3))), lambda x: call((x(2, 1), x(2, 3))), lambda x: call([x(), x()])),
    joins=True,
)
def hstack(tup, *, dtype=None, casting="same_kind"):
    arrays = [anp.atleast_1d(a) for a in tup]
    return concatenate(arrays, 0 if arrays and arrays[0].ndim == 1 else 1, dtype=dtype, casting=casting)


@composite(
    np.vstack,
    examples=(lambda x: call((x(3), x(3))), lambda x: call((x(2, 3), x(3))), lambda x: call([x(), x()])),
    joins=True,
)
def vstack(tup, *, dtype=None, casting="same_kind"):
    return concatenate([anp.atleast_2d(a) for a in tup], 0, dtype=dtype, casting=casting)


for _fun in available("row_stack"):
    composite(_fun)(vstack)


@composite(np.dstack, examples=(lambda x: call((x(2, 3), x(2, 3))), lambda x: call([x(2), x(2)])), joins=True)
def dstack(tup):
    return concatenate([anp.atleast_3d(a) for a in tup], 2)


@composite(
    np.column_stack, examples=(lambda x: call((x(2), x(2, 3))), lambda x: call([x(2), x(2)])), joins=True
)
def column_stack(tup):
    arrays = [anp.asarray(a) for a in tup]
    return concatenate([a if a.ndim >= 2 else anp.reshape(a, (a.size, 1)) for a in arrays], 1)


def _block_depth(arrays):
    if not isinstance(arrays, list):
        return 0
    if not arrays:
        raise ValueError("List at arrays cannot be empty")
    depths = {_block_depth(a) for a in arrays}
    if len(depths) > 1:
        raise ValueError(f"List depths are mismatched: {sorted(depths)}")
    return depths.pop() + 1


def _block_parts(arrays):
    return [part for a in arrays for part in _block_parts(a)] if isinstance(arrays, list) else [arrays]


@composite(
    np.block,
    examples=(
        lambda x: call([[x(2, 2), x(2, 3)], [x(1, 5)]]),
        lambda x: call([x(2), x(), x(3)]),
        lambda x: call([[[x(1, 2)], [x(2, 2)]]]),
        lambda x: call(x(2)),
    ),
)
def block(arrays):
    depth = _block_depth(arrays)
    ndim = max(depth, *(np.ndim(a) for a in _block_parts(arrays)), 0)

    def join(part, level):
        if level == depth:
            part = anp.asarray(part)
            return anp.reshape(part, (1,) * (ndim - part.ndim) + part.shape)
        return concatenate([join(p, level + 1) for p in part], ndim - depth + level)

    out = join(arrays, 0)
    return anp.copy(out) if depth == 0 else out


@composite(
    np.append,
    examples=(
        lambda x: call(x(2, 3), x(2)),
        lambda x: call(x(2, 3), x(1, 3), axis=0),
        lambda x: call(x(3), x()),
    ),
)
def append(arr, values, axis=None):
    return concatenate((arr, values), axis)


@composite(
    np.insert,
    examples=(
        lambda x: call(x(4), 1, x()),
        lambda x: call(x(3, 2), 1, x(3), axis=1),
        lambda x: call(x(3, 2), [0, 2, 2], x(3, 2), axis=0),
        lambda x: call(x(3, 2), [1], x(2, 1), axis=0),
        lambda x: call(x(2, 3), slice(0, 4, 2), x(2)),
        lambda x: call(x(2, 3), -1, x(2, 3), axis=0),
    ),
)
def insert(arr, obj, values, axis=None):
    arr, values = anp.asarray(arr), anp.asarray(values)
    if axis is None:
        arr, axis = anp.ravel(arr), 0
    axis = normalize_axis(axis, arr.ndim)
    values = values if values.dtype == arr.dtype else anp.astype(values, arr.dtype)
    n = arr.shape[axis]
    # Where everything goes, NumPy says by inserting numbers into numbers.
    at = np.arange(*obj.indices(n)) if isinstance(obj, slice) else np.asarray(value_of(obj))
    at = np.flatnonzero(at) if at.dtype == bool else at.astype(np.intp) if at.size == 0 else at
    if at.size == 1:
        values = anp.reshape(values, (1,) * (arr.ndim - values.ndim) + values.shape)
        values = anp.moveaxis(values, 0, axis) if at.ndim == 0 else values
    count = values.shape[axis] if at.size == 1 else at.size
    order = np.insert(np.arange(n), at, np.arange(n, n + count))
    values = anp.broadcast_to(values, (*arr.shape[:axis], count, *arr.shape[axis + 1 :]))
    return anp.take(concatenate((arr, values), axis), order, axis)


@composite(
    np.delete,
    examples=(
        lambda x: call(x(2, 3), 1),
        lambda x: call(x(2, 3), [0, -1], axis=1),
        lambda x: call(x(4, 2), slice(None, None, 2), 0),
    ),
)
def delete(arr, obj, axis=None):
    arr = anp.asarray(arr)
    if axis is None:
        arr, axis = anp.ravel(arr), 0
    kept = np.delete(np.arange(arr.shape[axis]), value_of(obj))
    return anp.take(arr, kept, axis)


# --- taking apart ---------------------------------------------------------------------------------


@composite(
    np.array_split,
    examples=(
        lambda x: call(x(5, 2), 3),
        lambda x: call(x(2, 5), [1, 3, 9], axis=1),
        lambda x: call(x(5), np.array([2])),
    ),
)
def array_split(ary, indices_or_sections, axis=0):
    ary = anp.asarray(ary)
    axis = normalize_axis(axis, ary.ndim)
    n = ary.shape[axis]
    if np.ndim(indices_or_sections):
        cuts = [0, *(operator.index(i) for i in indices_or_sections), n]
    else:
        count = operator.index(indices_or_sections)
        if count <= 0:
            raise ValueError("number sections must be larger than 0.")
        size, longer = divmod(n, count)
        cuts = [k * size + min(k, longer) for k in range(count + 1)]
    lead = (slice(None),) * axis
    return [ary[(*lead, slice(a, b))] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]


@composite(np.split, examples=(lambda x: call(x(6, 2), 3), lambda x: call(x(2, 5), [1, 3], axis=1)))
def split(ary, indices_or_sections, axis=0):
    if not np.ndim(indices_or_sections) and anp.shape(ary)[axis] % indices_or_sections:
        raise ValueError("array split does not result in an equal division")
    return array_split(ary, indices_or_sections, axis)


@composite(np.hsplit, examples=(lambda x: call(x(2, 4), 2), lambda x: call(x(4), [1])))
def hsplit(ary, indices_or_sections):
    if anp.ndim(ary) == 0:
        raise ValueError("hsplit only works on arrays of 1 or more dimensions")
    return split(ary, indices_or_sections, 1 if anp.ndim(ary) > 1 else 0)


@composite(np.vsplit, examples=(lambda x: call(x(4, 2), 2),))
def vsplit(ary, indices_or_sections):
    if anp.ndim(ary) < 2:
        raise ValueError("vsplit only works on arrays of 2 or more dimensions")
    return split(ary, indices_or_sections, 0)


@composite(np.dsplit, examples=(lambda x: call(x(2, 1, 4), 2),))
def dsplit(ary, indices_or_sections):
    if anp.ndim(ary) < 3:
        raise ValueError("dsplit only works on arrays of 3 or more dimensions")
    return split(ary, indices_or_sections, 2)


def _unstack(x, /, *, axis=0):
    if x.ndim == 0:
        raise ValueError("Input array must be at least 1-d.")
    return tuple(anp.moveaxis(x, axis, 0))


for _fun in available("unstack"):
    composite(_fun, examples=(lambda x: call(x(2, 3)), lambda x: call(x(2, 3), axis=-1)))(_unstack)


# --- joining by an index --------------------------------------------------------------------------


class JoinByIndex:
    """``np.r_`` and ``np.c_``: NumPy arranges the positions of all items, then these are picked."""

    def __init__(self, plain, name):
        self.plain = plain
        self.name = name

    def __len__(self):
        return 0

    def __repr__(self):
        return f"<np.{self.name}>"

    def __getitem__(self, key):
        items = key if isinstance(key, tuple) else (key,)
        if not any_box(items, None):
            return self.plain[key]
        if isinstance(items[0], str) and items[0] in ("r", "c"):
            raise TypeError(f"{self.name}: no matrix of traced values; drop the directive {items[0]!r}")
        items = [anp.array(item) if isinstance(item, list) else item for item in items]
        dtype = self.plain[tuple(stand_in(item) for item in items)].dtype
        parts, places = [np.zeros(0, dtype)], []
        start = 0
        for item in items:
            if isinstance(item, str):
                places.append(item)
                continue
            part = np.r_[item] if isinstance(item, slice) else anp.asarray(item)
            parts.append(anp.ravel(part))
            places.append(np.arange(start, start + part.size).reshape(part.shape))
            start += part.size
        return anp.astype(anp.concatenate(parts)[self.plain[tuple(places)]], dtype)


r_ = JoinByIndex(np.r_, "r_")
c_ = JoinByIndex(np.c_, "c_")
