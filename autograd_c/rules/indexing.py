"""Indexing in all its forms, selection by index or mask, and updates in place.

An update ``y[i] = v`` of a traced array records a new value, and the box `y` moves on to it: arrays that the
tape needs are never written to. Where an index names an item twice, the last assignment counts, as in NumPy,
and only its value gets a cotangent. A view (basic indexing, `reshape`, transposes, ...) knows the box that it
looks at; an update of either is seen in the other.
"""

import operator

import numpy as np

import autograd_c.numpy as anp

from .._core import Meta, is_box, link_view, rebind, recorded, registry, stand_in, value_of
from ..extend import call, composite, constant, refuse, rule
from .support import hook, hooks

# --- indices --------------------------------------------------------------------------------------


@hook
def freeze_index(index, traced=False):
    """An index as it is now: arrays in it copied, lists made arrays, traced floats refused.

    Traced integers and truth values, which only a recording for replay has, stay what they are if `traced`.
    """
    if isinstance(index, tuple):
        return tuple([_frozen(i, traced) for i in index])
    return _frozen(index, traced)


def _frozen(index, traced):
    """One part of an index; a tuple inside of one is a list of indices."""
    if is_box(index):
        if index.dtype.kind not in "iub":
            raise IndexError(
                "a traced float cannot be an index; convert it, for instance int(x) or x.round().astype(int)"
            )
        # A recording for all values may not look at them, nor at how many a mask selects.
        return index if traced and recorded(index) else value_of(index)
    if isinstance(index, np.ndarray):
        return index.copy() if index.ndim or index.dtype == bool else int(index)
    if isinstance(index, (list, tuple)):
        return np.array(index, dtype=None if index else int)
    if isinstance(index, np.integer):
        return int(index)
    return index


def is_basic(index):
    """Whether an index selects a view."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(i is None or i is Ellipsis or type(i) in (int, slice) for i in parts)


@hook
def names_once(index):
    """Whether no item can be named twice: everything but arrays of integers."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(not isinstance(i, np.ndarray) or i.dtype == bool for i in parts)


def _last_named(index, shape):
    """Which of the items that an index names are not named again later; None for all."""
    if names_once(index):
        return None
    owner = np.empty(shape, np.intp)
    numbers = np.arange(owner[index].size).reshape(owner[index].shape)
    owner[index] = numbers
    last = owner[index] == numbers
    return None if last.all() else last


# --- reading --------------------------------------------------------------------------------------

getitem = registry[operator.getitem]


@hook
def read_item(x, index):
    """``x[index]`` wherever the core has no short way: forward, nested and recording traces."""
    if not is_basic(index):
        return item_at(x, freeze_index(index, traced=True))
    out = getitem(x, index)
    return link_view(out, x, index) if is_box(out) and out.ndim else out


hooks["getitem"] = read_item


def item_at(x, index):
    """``x[index]`` for an index that may have traced integers in it, whatever `x` is."""
    parts = index if isinstance(index, tuple) else (index,)
    traced = [i for i in parts if is_box(i)]
    for mask in traced:
        if mask.dtype == bool:
            int(anp.count_nonzero(mask))  # the shape of the result depends on it: a guard
    if traced:
        return _item_by(x, tuple([_Hole if is_box(i) else i for i in parts]), *traced)
    return getitem(x, index)


class _Hole:
    """Stands for a traced part of an index."""


def _filled(template, traced):
    parts = iter(traced)
    return tuple([next(parts) if i is _Hole else i for i in template])


def _item_by_cotangent(argnum, g, _ans, _x, template, *traced):
    return _scatter_by(g, template, Meta(_x.shape, _x.dtype), *traced)


def _scatter_by_cotangent(argnum, g, _ans, _g, template, meta, *traced):
    return _item_by(g, template, *traced)


# Indexing and its opposite by integers that are results of the program themselves (`argsort` and its kind),
# which only a recording has.
_item_by = rule(
    lambda x, template, *traced: x[_filled(template, traced)], _item_by_cotangent, "same", name="item_by"
)
_scatter_by = rule(
    lambda g, template, meta, *traced: _scatter(g, _filled(template, traced), meta),
    _scatter_by_cotangent,
    "same",
    name="scatter_by",
)


def _scatter(g, index, meta, once=False):
    dtype = g.dtype if isinstance(g, (np.ndarray, np.generic)) else np.dtype(type(g))
    out = np.zeros(meta.shape, np.result_type(meta.dtype, dtype) if dtype.kind == "c" else meta.dtype)
    if once or names_once(index):
        out[index] = g
    else:
        np.add.at(out, index, g)
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
# The opposite of indexing: an array of zeros but for the items that the index names, to which `g` is added.
# `once` says that an array of integers names none twice.
scatter = hooks["scatter"] = rule(
    _scatter,
    (lambda g, _ans, _g, index, _meta, once=False: getitem(g, index), None, None, None),
    ("same", None, None, None),
    name="scatter",
    examples=(
        lambda x: call(x(2, 3), slice(1, 3), Meta((4, 3), float)),
        lambda x: call(x(3), (np.array([0, 2, 0]), 1), Meta((4, 3), float)),
    ),
)


def _index_add(x, g, index):
    out = np.array(x)
    if names_once(index):
        out[index] += g
    else:
        np.add.at(out, index, g)
    return out


# How a recording adds the cotangents of indexed items: in place where nothing else needs `x`.
index_add = hooks["index_add"] = rule(
    _index_add,
    (lambda g, _ans, _x, _g, index: g, lambda g, _ans, _x, _g, index: getitem(g, index), None),
    (
        lambda t, ans, x, g, index: t,
        lambda t, ans, x, g, index: scatter(t, index, Meta(ans.shape, ans.dtype)),
        None,
    ),
    name="index_add",
    examples=(
        lambda x: call(x(4, 3), x(3), 1),
        lambda x: call(x(4), x(3), np.array([1, 3, 1])),
    ),
)


# --- writing --------------------------------------------------------------------------------------


def _setitem(x, value, index):
    out = np.array(x)
    out[index] = value
    return out


def _value_cotangent(g, index):
    last = _last_named(index, g.shape)
    g = getitem(g, index)
    return g if last is None else anp.where(last, g, 0.0)


setitem = hooks["setitem"] = rule(
    _setitem,
    (
        lambda g, _ans, _x, _value, index: setitem(g, 0.0, index),
        lambda g, _ans, _x, _value, index: _value_cotangent(g, index),
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
        lambda x: call(x(4, 3), x(1, 3), np.array([True, False, True, True])),
        lambda x: call(x(4), x(3), np.array([1, 3, 1])),
    ),
)


@hook
def set_at(x, index, value):
    """The value that ``x[index] = value`` gives `x`."""
    plain = stand_in(x)
    if not isinstance(plain, np.ndarray):
        raise TypeError(f"a traced {type(plain).__name__} does not support item assignment")
    if isinstance(value, (list, tuple)):
        value = anp.array(value)
    dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
    if dtype.kind == "c" and x.dtype.kind != "c":
        raise TypeError(
            "a complex value cannot be put into a real array in place; make the array complex first"
        )
    if _is_mask(index, x) and np.shape(stand_in(value)) == ():
        new = anp.where(index, value, x)
        if new.dtype == x.dtype:
            return new
    # The rule has to know which items are named twice; a tuple is no operand that a recording sees.
    once = is_box(index) and (index.dtype == bool or index.shape == ())
    return setitem(x, value, freeze_index(index, traced=once))


def _is_mask(index, x):
    """Truth values for all items that a recording for replay sees: what it selects is not to be looked at."""
    return is_box(index) and recorded(index) and index.dtype == bool and index.shape == x.shape != ()


@hook
def write_through(view, base, take):
    """An updated view writes to the array that it is a view of."""
    if not callable(take):
        new = setitem(base, view, take)
    elif hasattr(take, "put"):
        new = take.put(base, view)
    else:
        new = setitem(base, view, _positions(take, base))
    rebind(base, new)


def _positions(take, base):
    """The index of the items that a view of `base` looks at."""
    numbers = np.empty_like(stand_in(base), dtype=np.intp, subok=False)
    numbers[...] = np.arange(numbers.size).reshape(numbers.shape)
    seen = take(numbers)
    if seen.size > numbers.size:
        raise ValueError("assignment destination is read-only: it is broadcast; copy it before the update")
    return np.unravel_index(seen, numbers.shape)


# --- selection by index or mask -------------------------------------------------------------------


def within(name, indices, n, mode):
    """Indices along an axis of length `n` as `take` and `choose` read them."""
    if is_box(indices) and indices.dtype.kind in "iu" and mode == "raise":
        return indices
    indices = np.asarray(value_of(indices))
    if indices.size and indices.dtype.kind not in "iub":
        raise TypeError(f"{name}: the indices must be integers, not {indices.dtype}")
    indices = indices.astype(np.intp, copy=False)
    return indices if mode == "raise" else np.take(np.arange(n), indices, mode=mode)


def _no_out(name, out):
    if out is not None:
        raise TypeError(f"{name}: out= is not supported for a traced value; drop out= and use the result")


@composite(
    np.take,
    examples=(
        lambda x: call(x(4, 3), [0, 2, 2]),
        lambda x: call(x(4, 3), np.array([[0, 2], [1, 1]]), axis=1),
        lambda x: call(x(4, 3), -1, axis=0),
        lambda x: call(x(4, 3), [5, -7], axis=0, mode="wrap"),
    ),
)
def take(a, indices, axis=None, out=None, mode="raise"):
    _no_out("take", out)
    a = anp.asarray(a)
    if axis is None:
        a, axis = anp.ravel(a), 0
    axis = normalize_axis(axis, a.ndim)
    return item_at(a, (slice(None),) * axis + (within("take", indices, a.shape[axis], mode),))


def normalize_axis(axis, ndim):
    """A negative axis counted from the end, as NumPy does."""
    axis = operator.index(axis)
    if not -ndim <= axis < ndim:
        raise np.exceptions.AxisError(axis, ndim)
    return axis % ndim


def _along(arr, indices, axis):
    """The index that `take_along_axis` stands for."""
    axis = normalize_axis(axis, arr.ndim)
    indices = indices if is_box(indices) else np.asarray(indices)
    if indices.ndim != arr.ndim:
        raise ValueError("`indices` and `arr` must have the same number of dimensions")
    if indices.dtype.kind not in "iu":
        raise IndexError("`indices` must be an integer array")
    ones = (1,) * arr.ndim
    return tuple(
        indices if d == axis else np.arange(n).reshape(ones[:d] + (-1,) + ones[d + 1 :])
        for d, n in enumerate(arr.shape)
    )


@composite(
    np.take_along_axis,
    examples=(
        lambda x: call(x(2, 3), np.array([[0, 0], [2, 1]]), axis=1),
        lambda x: call(x(2, 3), np.array([[0, 1, 1]]), axis=0),
        lambda x: call(x(2, 3), np.array([4, 0, 4]), axis=None),
    ),
)
def take_along_axis(arr, indices, axis=-1):
    arr = anp.asarray(arr)
    if axis is None:
        arr, axis = anp.ravel(arr), 0
    return item_at(arr, _along(arr, indices, axis))


@composite(
    np.choose,
    examples=(
        lambda x: call(np.array([0, 1, 1]), [x(3), x(3)]),
        lambda x: call(np.array([[0], [5]]), [x(3), x()], mode="clip"),
    ),
)
def choose(a, choices, out=None, mode="raise"):
    _no_out("choose", out)
    choices = [anp.asarray(c) for c in choices]
    a = within("choose", a, len(choices), mode)
    shape = np.broadcast_shapes(a.shape, *[c.shape for c in choices])
    stacked = anp.stack([anp.broadcast_to(c, shape) for c in choices])
    return stacked[(np.broadcast_to(a, shape), *np.indices(shape, sparse=True))]


@composite(
    np.compress,
    examples=(
        lambda x: call([True, False, True], x(4, 3), axis=0),
        lambda x: call([False, True, True], x(2, 3)),
    ),
)
def compress(condition, a, axis=None, out=None):
    return take(a, np.flatnonzero(value_of(condition)), axis, out)


@composite(np.extract, examples=(lambda x: call(np.array([[True, False], [True, True]]), x(2, 2)),))
def extract(condition, arr):
    return anp.ravel(arr)[np.flatnonzero(value_of(condition))]


@composite(
    np.select,
    examples=(
        lambda x: call([np.array([True, False, True]), np.array([True, True, False])], [x(3), x(3)], x()),
        lambda x: call([np.array([[True], [False]])], [x(3)]),
    ),
)
def select(condlist, choicelist, default=0):
    if len(condlist) != len(choicelist):
        raise ValueError("list of cases must be same length as list of conditions")
    if not len(condlist):
        raise ValueError("select with an empty condition list is not possible")
    conditions = [anp.asarray(c) for c in condlist]
    if any(c.dtype != bool for c in conditions):
        raise TypeError("select: conditions should be boolean arrays")
    dtype = np.result_type(*[_for_promotion(c) for c in (*choicelist, default)])
    out = default
    for condition, choice in zip(conditions[::-1], choicelist[::-1], strict=True):
        out = anp.where(condition, choice, out)
    return out if out.dtype == dtype else anp.astype(out, dtype)


def _for_promotion(v):
    """A value as `result_type` is to see it: Python's own numbers are weak."""
    v = stand_in(v)
    return v if type(v) in (int, float, complex) else np.asarray(v)


@composite(
    np.piecewise,
    examples=(
        lambda x: call(
            x(5), [np.array([True, False, True, False, False])], [lambda v: v * v, lambda v: 3.0 * v]
        ),
    ),
)
def piecewise(x, condlist, funclist, *args, **kw):
    x = anp.asarray(x)
    conditions = value_of(condlist)
    if np.isscalar(conditions) or (
        not isinstance(conditions[0], (list, np.ndarray)) and not is_box(conditions[0]) and x.ndim != 0
    ):
        conditions = [conditions]
    conditions = [np.asarray(value_of(c), dtype=bool) for c in conditions]
    if len(funclist) == len(conditions) + 1:
        conditions.append(~np.any(conditions, axis=0))
    elif len(funclist) != len(conditions):
        n = len(conditions)
        raise ValueError(f"with {n} condition(s), either {n} or {n + 1} functions are expected")
    y = anp.zeros_like(x)
    for condition, fun in zip(conditions, funclist, strict=True):
        part = fun
        if callable(fun):
            part = x[condition]
            if not part.size:
                continue
            part = fun(part, *args, **kw)
        y = setitem(y, part, condition)
    return y


@composite(
    np.apply_along_axis,
    examples=(
        lambda x: call(lambda v: anp.sum(v * v), 0, x(2, 3)),
        lambda x: call(lambda v: v[:2] * v[-1], 1, x(2, 3)),
    ),
)
def apply_along_axis(func1d, axis, arr, *args, **kwargs):
    arr = anp.asarray(arr)
    axis = normalize_axis(axis, arr.ndim)
    lines = anp.moveaxis(arr, axis, -1)
    lead = lines.shape[:-1]
    if 0 in lead:
        raise ValueError("Cannot apply_along_axis when any iteration dimensions are 0")
    results = [anp.asarray(func1d(lines[i], *args, **kwargs)) for i in np.ndindex(*lead)]
    inner = results[0].ndim
    out = anp.reshape(anp.stack(results), lead + results[0].shape)
    return anp.moveaxis(out, range(len(lead), out.ndim), range(axis, axis + inner))


@composite(np.apply_over_axes, examples=(lambda x: call(anp.sum, x(2, 3, 4), [0, -1]),))
def apply_over_axes(func, a, axes):
    out = anp.asarray(a)
    for axis in np.atleast_1d(axes):
        axis = normalize_axis(axis, out.ndim)
        result = func(out, axis)
        result = result if result.ndim == out.ndim else anp.expand_dims(result, axis)
        if result.ndim != out.ndim:
            raise ValueError("function is not returning an array of the correct shape")
        out = result
    return out


# --- NumPy's functions that write into their argument ---------------------------------------------


def _destination(name, a, rewrite):
    """Refuses to put a traced value into a plain array."""
    if not is_box(a):
        raise TypeError(
            f"{name}: the destination is a plain array, which cannot hold a traced value; {rewrite}, "
            "or make the destination traced, for instance np.zeros(n, like=x)"
        )


def _repeated(values, size):
    """Values cycled to a given number, as NumPy's `put` does."""
    values = anp.ravel(anp.asarray(values))
    return values if values.size == size else anp.resize(values, size)


@composite(
    np.put,
    examples=(
        lambda x: call(x(3, 4), [0, 5, -1], x(3)),
        lambda x: call(x(3, 4), [1, 14, 2, 7], x(2), mode="wrap"),
        lambda x: call(x(4), 2, x()),
    ),
    in_place=True,
)
def put(a, ind, v, mode="raise"):
    _destination("put", a, "use np.where or build the array with np.stack or np.concatenate")
    flat = np.ravel(np.take(np.arange(a.size), value_of(ind), mode=mode))
    if flat.size:
        a[np.unravel_index(flat, a.shape)] = _repeated(v, flat.size)


@composite(
    np.put_along_axis,
    examples=(
        lambda x: call(x(3, 4), np.array([[1], [0], [3]]), x(3, 1), 1),
        lambda x: call(x(3, 4), np.array([[2, 0, 1, 1]]), x(), 0),
        lambda x: call(x(2, 3), np.array([5, 0]), x(2), None),
    ),
    in_place=True,
)
def put_along_axis(arr, indices, values, axis):
    _destination("put_along_axis", arr, "use np.where or build the array with np.stack or np.concatenate")
    if axis is None:
        arr[np.unravel_index(np.arange(arr.size)[value_of(indices)], arr.shape)] = values
    else:
        arr[_along(arr, indices, axis)] = values


@composite(
    np.place,
    examples=(
        lambda x: call(x(3, 4), np.arange(12).reshape(3, 4) % 3 == 0, x(4)),
        lambda x: call(x(5), np.arange(5) != 2, x(3)),
    ),
    in_place=True,
)
def place(arr, mask, vals):
    _destination("place", arr, "use np.where(mask, vals, arr)")
    mask = np.asarray(value_of(mask), dtype=bool).reshape(arr.shape)
    if mask.any():
        arr[mask] = _repeated(vals, np.count_nonzero(mask))


@composite(
    np.putmask,
    examples=(
        lambda x: call(x(3, 4), np.arange(12).reshape(3, 4) % 3 == 0, x(3, 4)),
        lambda x: call(x(5), np.arange(5) != 2, x(2)),
    ),
    in_place=True,
)
def putmask(a, mask, values):
    _destination("putmask", a, "use np.where(mask, values, a)")
    mask = np.asarray(value_of(mask), dtype=bool).reshape(a.shape)
    a[mask] = anp.reshape(_repeated(values, a.size), a.shape)[mask]


@composite(
    np.copyto,
    examples=(
        lambda x: call(x(3, 4), x(4)),
        lambda x: call(x(3, 4), x(3, 1), where=np.arange(4) != 1),
        lambda x: call(x(3), x(), casting="no"),
    ),
    in_place=True,
)
def copyto(dst, src, casting="same_kind", where=True):
    _destination("copyto", dst, "use the source itself, np.where(where, src, dst) or np.full_like")
    src = anp.asarray(src)
    if not np.can_cast(src.dtype, dst.dtype, casting):
        raise TypeError(
            f"Cannot cast array data from {src.dtype!r} to {dst.dtype!r} according to the rule {casting!r}"
        )
    dst[...] = src if where is True else anp.where(where, src, dst)


@composite(
    np.fill_diagonal,
    examples=(
        lambda x: call(x(3, 4), x()),
        lambda x: call(x(7, 3), x(2), wrap=True),
        lambda x: call(x(3, 3, 3), x(3)),
    ),
    in_place=True,
)
def fill_diagonal(a, val, wrap=False):
    _destination("fill_diagonal", a, "use np.where(np.eye(n, dtype=bool), val, a)")
    if a.ndim < 2:
        raise ValueError("array must be at least 2-d")
    end = None
    if a.ndim == 2:
        step = a.shape[1] + 1
        end = None if wrap else a.shape[1] * a.shape[1]
    else:
        if len(set(a.shape)) > 1:
            raise ValueError("All dimensions of input must be of equal length")
        step = 1 + sum(a.shape[0] ** k for k in range(1, a.ndim))
    flat = np.arange(a.size)[:end:step]
    a[np.unravel_index(flat, a.shape)] = _repeated(val, flat.size)


# --- indices from a traced array ------------------------------------------------------------------


@composite(np.diag_indices_from)
def diag_indices_from(arr):
    return np.diag_indices_from(stand_in(arr))


@composite(np.tril_indices_from)
def tril_indices_from(arr, k=0):
    return np.tril_indices_from(stand_in(arr), k)


@composite(np.triu_indices_from)
def triu_indices_from(arr, k=0):
    return np.triu_indices_from(stand_in(arr), k)


constant(np.ix_)
refuse("use np.array(list(values))", np.fromiter)
