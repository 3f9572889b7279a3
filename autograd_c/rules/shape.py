"""Shape: functions that move items about, or repeat them, without computing.

What such a function does to the argument it does to a tangent as well; a cotangent goes the way back. Rules
see the shape of the argument only. Functions that NumPy answers with a view declare it (`view`), so that an
update in place of either box is seen in the other.
"""

import numpy as np

import autograd_c.numpy as anp

from .._core import Meta, hooks, is_box, stand_in, value_of
from ..extend import call, composite, rule
from .indexing import normalize_axis, scatter
from .support import lowered


def view(primitive):
    """Declares that NumPy's function returns a view where it can."""
    primitive.view = True
    return primitive


def available(*names):
    """Those of these functions that this version of NumPy has."""
    return [getattr(np, name) for name in names if hasattr(np, name)]


def _plain_order(name, order):
    if order not in ("C", "F"):
        raise TypeError(f"{name}: order={order!r} depends on the memory layout; pass order='C' or 'F'")
    return order


# --- one shape for another ------------------------------------------------------------------------


def _unreshape(g, x, shape=None, order="C", *, copy=None):
    return anp.reshape(g, x.shape, order=_plain_order("reshape", order))


def _reshape_tangent(t, ans, x, shape=None, order="C", *, copy=None):
    return anp.reshape(t, ans.shape, order=_plain_order("reshape", order))


view(
    rule(
        np.reshape,
        (lambda g, _ans, _x, *_shape, **_kwargs: _unreshape(g, _x, *_shape, **_kwargs), None),
        (_reshape_tangent, None),
        examples=(
            lambda x: call(x(4, 3), (2, 6)),
            lambda x: call(x(4, 3), -1),
            lambda x: call(x(4, 3), 12, order="F"),
            lambda x: call(x(2, 3, 2), (3, 4), "F"),
            lambda x: call(x(), (1, 1)),
        ),
    )
)


@composite(
    np.ravel,
    examples=(lambda x: call(x(2, 3)), lambda x: call(x(2, 3), order="F")),
)
def ravel(a, order="C"):
    a = anp.asarray(a)
    if order in ("A", "K"):
        a, order = _in_memory_order(a, order)
    return anp.reshape(a, (a.size,), order=order)


def _in_memory_order(a, order):
    """The array and the order that "A" or "K" stand for with it."""
    plain = np.asarray(stand_in(a))
    if plain.flags.c_contiguous:
        return a, "C"
    if plain.flags.f_contiguous:
        return a, "F"
    if order == "A":
        return a, "C"
    axes = sorted(range(plain.ndim), key=lambda k: -abs(plain.strides[k]))
    return anp.transpose(a, axes), "C"


view(
    rule(
        np.expand_dims,
        (lambda g, _ans, _x, axis: anp.reshape(g, _x.shape), None),
        ("same", None),
        examples=(lambda x: call(x(2, 3), 1), lambda x: call(x(2, 3), (0, -1)), lambda x: call(x(), 0)),
    )
)
view(
    rule(
        np.squeeze,
        (lambda g, _ans, _x, axis=None: anp.reshape(g, _x.shape), None),
        (lambda t, ans, x, axis=None: anp.reshape(t, ans.shape), None),
        examples=(
            lambda x: call(x(1, 3, 1)),
            lambda x: call(x(1, 3, 1), axis=-1),
            lambda x: call(x(1, 3, 1), (0, 2)),
        ),
    )
)


def _at_least(ndim, shape):
    """An array with at least that many axes; `shape` gives the new one."""

    def one(x):
        x = anp.asarray(x)
        return x if x.ndim >= ndim else anp.reshape(x, shape(*x.shape))

    def many(*arys):
        return one(arys[0]) if len(arys) == 1 else tuple(map(one, arys))

    return many


composite(np.atleast_1d, examples=(lambda x: call(x()), lambda x: call(x(3))))(_at_least(1, lambda: (1,)))
composite(np.atleast_2d, examples=(lambda x: call(x()), lambda x: call(x(3))))(
    _at_least(2, lambda *n: (1, *(n or (1,))))
)
composite(
    np.atleast_3d,
    examples=(lambda x: call(x()), lambda x: call(x(3)), lambda x: call(x(2, 3))),
)(_at_least(3, lambda *n: (n if len(n) == 2 else (1, *(n or (1,)))) + (1,)))


# --- axes -----------------------------------------------------------------------------------------


def _untranspose(g, x, axes):
    if axes is None:
        return anp.transpose(g)
    back = [0] * len(axes)
    for i, a in enumerate(axes):
        back[a] = i
    return anp.transpose(g, back)


view(
    rule(
        np.transpose,
        (lambda g, _ans, _x, axes=None: _untranspose(g, _x, axes), None),
        ("same", None),
        examples=(
            lambda x: call(x(2, 3, 4)),
            lambda x: call(x(2, 3, 4), (1, 2, 0)),
            lambda x: call(x(2, 3, 4), axes=(-1, 0, 1)),
        ),
    )
)
view(
    rule(
        np.matrix_transpose,
        (lambda g, _ans, _x: anp.matrix_transpose(g),),
        ("same",),
        examples=(lambda x: call(x(2, 3, 4)),),
    )
)
view(
    rule(
        np.swapaxes,
        (lambda g, _ans, _x, axis1, axis2: anp.swapaxes(g, axis1, axis2), None, None),
        ("same", None, None),
        examples=(lambda x: call(x(2, 3, 4), 0, 2), lambda x: call(x(2, 3, 4), axis1=-1, axis2=1)),
    )
)
view(
    rule(
        np.moveaxis,
        (lambda g, _ans, _x, source, destination: anp.moveaxis(g, destination, source), None, None),
        ("same", None, None),
        examples=(lambda x: call(x(2, 3, 4), 0, -1), lambda x: call(x(2, 3, 4), (0, 1), (2, 0))),
    )
)


def _unrollaxis(g, x, axis, start=0):
    axis, start = axis % g.ndim, start + g.ndim * (start < 0)
    return anp.moveaxis(g, start - (axis < start), axis)


view(
    rule(
        np.rollaxis,
        (lambda g, _ans, _x, axis, start=0: _unrollaxis(g, _x, axis, start), None, None),
        ("same", None, None),
        examples=(
            lambda x: call(x(2, 3, 4), 2),
            lambda x: call(x(2, 3, 4), 0, 3),
            lambda x: call(x(2, 3, 4), 1, start=-1),
        ),
    )
)


# --- broadcasting ---------------------------------------------------------------------------------

view(
    rule(
        np.broadcast_to,
        (lambda g, _ans, _x, shape, subok=False: g, None),
        ("same", None),
        examples=(lambda x: call(x(3, 1), (2, 3, 4)), lambda x: call(x(), (2, 3)), lambda x: call(x(3), 3)),
    )
)


@composite(
    np.broadcast_arrays, examples=(lambda x: call(x(3, 1), x(4)), lambda x: call(x(), x(2), subok=True))
)
def broadcast_arrays(*args, subok=False):
    args = [anp.asarray(a) for a in args]
    shape = np.broadcast_shapes(*[a.shape for a in args])
    return tuple(a if a.shape == shape else anp.broadcast_to(a, shape) for a in args)


@composite(
    np.meshgrid,
    examples=(lambda x: call(x(2), x(3)), lambda x: call(x(2), x(3), x(4), indexing="ij", sparse=True)),
)
def meshgrid(*xi, copy=True, sparse=False, indexing="xy"):
    if indexing not in ("xy", "ij"):
        raise ValueError("Valid values for `indexing` are 'xy' and 'ij'.")
    places = list(range(len(xi)))
    if indexing == "xy" and len(xi) > 1:
        places[:2] = 1, 0
    out = [
        anp.reshape(x, (1,) * k + (-1,) + (1,) * (len(xi) - k - 1)) for x, k in zip(xi, places, strict=True)
    ]
    if not sparse:
        out = broadcast_arrays(*out)
    return tuple(anp.copy(x) for x in out) if copy else tuple(out)


# --- order along an axis --------------------------------------------------------------------------

view(
    rule(
        np.flip,
        (lambda g, _ans, _x, axis=None: anp.flip(g, axis), None),
        ("same", None),
        examples=(
            lambda x: call(x(2, 3)),
            lambda x: call(x(2, 3), 1),
            lambda x: call(x(2, 3, 2), axis=(0, -1)),
        ),
    )
)
view(rule(np.fliplr, (lambda g, _ans, _x: anp.fliplr(g),), ("same",), examples=(lambda x: call(x(2, 3)),)))
view(rule(np.flipud, (lambda g, _ans, _x: anp.flipud(g),), ("same",), examples=(lambda x: call(x(2, 3)),)))
view(
    rule(
        np.rot90,
        (lambda g, _ans, _x, k=1, axes=(0, 1): anp.rot90(g, -k, axes), None, None),
        ("same", None, None),
        examples=(
            lambda x: call(x(2, 3)),
            lambda x: call(x(2, 3), 2),
            lambda x: call(x(2, 3, 4), k=-1, axes=(2, 0)),
        ),
    )
)
rule(
    np.roll,
    (lambda g, _ans, _x, shift, axis=None: anp.roll(g, np.negative(shift), axis), None, None),
    ("same", None, None),
    examples=(
        lambda x: call(x(2, 3), 2),
        lambda x: call(x(2, 3), -1, axis=1),
        lambda x: call(x(2, 3, 4), (1, -2), axis=(0, 2)),
    ),
)


# --- repetition -----------------------------------------------------------------------------------


def _untile(g, x, reps):
    reps = (reps,) if np.ndim(reps) == 0 else tuple(reps)
    shape = (1,) * (len(reps) - x.ndim) + x.shape
    reps = (1,) * (len(shape) - len(reps)) + reps
    pairs = [int(n) for pair in zip(reps, shape, strict=True) for n in pair]
    return anp.reshape(anp.sum(anp.reshape(g, pairs), axis=tuple(range(0, len(pairs), 2))), x.shape)


rule(
    np.tile,
    (lambda g, _ans, _A, reps: _untile(g, _A, reps), None),
    ("same", None),
    examples=(
        lambda x: call(x(2, 3), 2),
        lambda x: call(x(2, 3), (2, 1, 2)),
        lambda x: call(x(2, 3, 2), (2, 1)),
        lambda x: call(x(), 3),
    ),
)


def _unrepeat(g, x, repeats, axis=None):
    shape = (x.size,) if axis is None else x.shape
    axis = 0 if axis is None else normalize_axis(axis, x.ndim)
    if np.size(repeats) == 1:
        split = (*shape[:axis], shape[axis], int(np.reshape(repeats, ())), *shape[axis + 1 :])
        return anp.reshape(anp.sum(anp.reshape(g, split), axis=axis + 1), x.shape)
    index = (slice(None),) * axis + (np.repeat(np.arange(shape[axis]), repeats),)
    return anp.reshape(scatter(g, index, Meta(shape, x.dtype)), x.shape)


rule(
    np.repeat,
    (lambda g, _ans, _a, repeats, axis=None: _unrepeat(g, _a, repeats, axis), None, None),
    ("same", None, None),
    examples=(
        lambda x: call(x(2, 3), 2),
        lambda x: call(x(2, 3), 2, axis=1),
        lambda x: call(x(2, 3), [1, 0, 2], axis=-1),
        lambda x: call(x(2, 2), np.array([0, 3, 1, 1])),
        lambda x: call(x(), 3),
    ),
)


@composite(
    np.resize,
    examples=(lambda x: call(x(2, 3), (4, 2)), lambda x: call(x(3), 2), lambda x: call(x(2, 2), (3, 3))),
)
def resize(a, new_shape):
    shape = (new_shape,) if isinstance(new_shape, (int, np.integer)) else tuple(new_shape)
    if any(n < 0 for n in shape):
        raise ValueError("all elements of `new_shape` must be non-negative")
    flat = anp.ravel(a)
    size = int(np.prod(shape))
    if not flat.size or not size:
        return anp.zeros_like(flat, shape=shape)
    return anp.reshape(anp.tile(flat, -(-size // flat.size))[:size], shape)


# --- padding --------------------------------------------------------------------------------------
#
# A padded array is x, and before and after it along each axis combinations of the items along that axis. The
# vjp takes the axes one after the other, the last one first, and returns the cotangents of the borders to the
# items.

_PICKING = ("edge", "reflect", "symmetric", "wrap")
_NOT_LINEAR = ("maximum", "minimum", "median")


def _pad_widths(pad_width, ndim):
    """The widths (before, after) of each axis."""
    if isinstance(pad_width, dict):
        widths = [(0, 0)] * ndim
        for axis, width in pad_width.items():
            widths[axis] = tuple(np.broadcast_to(width, 2).tolist())
        return widths
    return np.broadcast_to(np.asarray(pad_width), (ndim, 2)).tolist()


def _part(axis, start, stop):
    return (slice(None),) * axis + (slice(start, stop),)


def _along(weights, axis, ndim):
    return weights.reshape((1,) * axis + (-1,) + (1,) * (ndim - axis - 1))


def _border_weights(side, k, ndim, n, width, mode, kwargs):
    """A border of "linear_ramp" or "mean" is ``outer(of_border, of_items)`` times the items of its axis."""
    of_items = np.zeros(n)
    if mode == "linear_ramp":
        ramp = np.pad(np.ones(1), width, mode="linear_ramp")
        of_items[0 if side == 0 else n - 1] = 1.0
        return (ramp[:width] if side == 0 else ramp[width + 1 :]), of_items
    length = kwargs.get("stat_length")
    length = n if length is None else min(n, int(np.broadcast_to(np.asarray(length), (ndim, 2))[k, side]))
    of_items[slice(0, length) if side == 0 else slice(n - length, n)] = 1.0 / length
    return np.ones(width), of_items


def _unpad_axis(g, axis, n, before, after, mode, kwargs):
    middle = g[_part(axis, before, before + n)]
    borders = g[_part(axis, None, before)], g[_part(axis, before + n, None)]
    if mode in ("constant", "empty"):
        return middle
    if mode in _PICKING and kwargs.get("reflect_type", "even") == "even":
        source = np.pad(np.arange(n), (before, after), mode=mode)
        for border, picked in zip(borders, (source[:before], source[before + n :]), strict=True):
            if picked.size:
                middle = middle + scatter(
                    border, (slice(None),) * axis + (picked,), Meta(middle.shape, middle.dtype)
                )
        return middle
    if mode in _PICKING:
        matrix = np.pad(np.eye(n), ((before, after), (0, 0)), mode=mode, **kwargs)
        matrix = matrix.astype(np.zeros((), g.dtype).real.dtype)
        return anp.moveaxis(anp.tensordot(g, matrix, ((axis,), (0,))), -1, axis)
    for side, (border, width) in enumerate(zip(borders, (before, after), strict=True)):
        if width:
            of_border, of_items = (
                _along(w.astype(np.zeros((), g.dtype).real.dtype), axis, g.ndim)
                for w in _border_weights(side, axis, g.ndim, n, width, mode, kwargs)
            )
            middle = middle + of_items * anp.sum(border * of_border, axis=axis, keepdims=True)
    return middle


def _unpad(g, x, pad_width, mode="constant", **kwargs):
    widths = _pad_widths(pad_width, x.ndim)
    for axis in reversed(range(x.ndim)):
        g = _unpad_axis(g, axis, x.shape[axis], *widths[axis], mode, kwargs)
    return g


def _pad_tangent(t, ans, x, pad_width, mode="constant", **kwargs):
    kwargs = {k: v for k, v in kwargs.items() if k not in ("constant_values", "end_values")}
    return anp.pad(t, pad_width, "constant" if mode == "empty" else mode, **kwargs)


_pad = rule(
    np.pad,
    (
        lambda g, _ans, _x, pad_width, mode="constant", **kwargs: _unpad(g, _x, pad_width, mode, **kwargs),
        None,
        None,
    ),
    (_pad_tangent, None, None),
)


@composite(
    np.pad,
    examples=(
        lambda x: call(x(2, 3), 2),
        lambda x: call(x(2, 3), ((1, 0), (2, 3)), constant_values=1.5),
        lambda x: call(x(2, 3), ((1, 0), (2, 3)), "edge"),
        lambda x: call(x(3, 4), 2, mode="reflect"),
        lambda x: call(x(3, 4), (1, 5), mode="reflect", reflect_type="odd"),
        lambda x: call(x(3, 4), (4, 5), mode="symmetric"),
        lambda x: call(x(3, 4), 2, mode="symmetric", reflect_type="odd"),
        lambda x: call(x(2, 3), (3, 4), mode="wrap"),
        lambda x: call(x(2, 3), 2, mode="linear_ramp", end_values=0.5),
        lambda x: call(x(3, 4), 2, mode="mean"),
        lambda x: call(x(3, 4), ((1, 2), (0, 3)), mode="mean", stat_length=2),
        lambda x: call(x(3, 4), ((1, 2), (0, 3)), mode="mean", stat_length=((1, 2), (3, 9))),
    ),
)
def pad(array, pad_width, mode="constant", **kwargs):
    if any(is_box(v) for v in kwargs.values()):
        raise TypeError(
            "pad has no derivative with respect to constant_values or end_values; use np.concatenate"
        )
    if callable(mode) or mode in _NOT_LINEAR:
        raise TypeError(f"pad: mode {mode!r} has no derivative; pad with np.concatenate and np.{_cure(mode)}")
    return _pad(anp.asarray(array), value_of(pad_width), mode, **kwargs)


def _cure(mode):
    return {"maximum": "max", "minimum": "min", "median": "median"}.get(mode, "stack")


@composite(
    np.trim_zeros,
    examples=(lambda x: call(x(6)), lambda x: call(x(2, 3), "f")),
)
def trim_zeros(filt, trim="fb", **kwargs):
    filt = anp.asarray(filt)
    if trim.lower() not in ("fb", "bf", "f", "b"):
        raise ValueError(f"unexpected character(s) in `trim`: {trim!r}")
    axes = kwargs.get("axis")
    axes = range(filt.ndim) if axes is None else [normalize_axis(a, filt.ndim) for a in np.atleast_1d(axes)]
    index = [slice(None)] * filt.ndim
    for axis, found in enumerate(np.nonzero(value_of(filt))):
        if axis in axes:
            start = int(found.min()) if found.size and "f" in trim.lower() else None
            stop = int(found.max()) + 1 if found.size and "b" in trim.lower() else None
            index[axis] = slice(start, stop) if found.size else slice(0, 0)
    return filt[tuple(index)] if len(axes) else filt


# --- diagonals and triangles ----------------------------------------------------------------------


def _from_diagonal(g, x, offset, axis1, axis2):
    """Puts the items of a diagonal into zeros of the shape of `x`."""
    axis1, axis2 = normalize_axis(axis1, x.ndim), normalize_axis(axis2, x.ndim)
    rest = tuple(n for k, n in enumerate(x.shape) if k not in (axis1, axis2))
    i = np.arange(g.shape[-1]) + max(-offset, 0)
    j = np.arange(g.shape[-1]) + max(offset, 0)
    out = scatter(g, (Ellipsis, i, j), Meta((*rest, x.shape[axis1], x.shape[axis2]), x.dtype), True)
    return anp.moveaxis(out, (-2, -1), (axis1, axis2))


def _undiag(g, x, k):
    return anp.diagonal(g, k) if x.ndim == 1 else _from_diagonal(g, x, k, 0, 1)


rule(
    np.diag,
    (lambda g, _ans, _v, k=0: _undiag(g, _v, k), None),
    ("same", None),
    examples=(
        lambda x: call(x(3)),
        lambda x: call(x(3), -1),
        lambda x: call(x(3, 4), 1),
        lambda x: call(x(3, 4), k=-1),
    ),
)


@lowered(np.diag)
def _diag_as_diagonal(v, k=0):
    if v.ndim == 2:
        return anp.positive(anp.diagonal(v, k))
    n = v.size + abs(k)
    start = k if k > 0 else -k * n
    flat = scatter(v, slice(start, start + v.size * (n + 1), n + 1), Meta((n * n,), v.dtype))
    return anp.reshape(flat, (n, n)) if v.size else NotImplemented


view(
    rule(
        np.diagonal,
        (
            lambda g, _ans, _a, offset=0, axis1=0, axis2=1: _from_diagonal(g, _a, offset, axis1, axis2),
            None,
            None,
            None,
        ),
        ("same", None, None, None),
        examples=(
            lambda x: call(x(3, 4)),
            lambda x: call(x(3, 4), offset=2),
            lambda x: call(x(2, 3, 4), -1, 2, 0),
            lambda x: call(x(2, 3, 3), axis1=-2, axis2=-1),
        ),
    )
)


def _untrace(g, x, offset=0, axis1=0, axis2=1, dtype=None, out=None):
    n1, n2 = x.shape[axis1], x.shape[axis2]
    length = max(min(n1 + min(offset, 0), n2 - max(offset, 0)), 0)
    g = anp.broadcast_to(anp.expand_dims(g, -1), (*g.shape, length))
    return _from_diagonal(g, x, offset, axis1, axis2)


rule(
    np.trace,
    (lambda g, _ans, _a, *_args, **_kwargs: _untrace(g, _a, *_args, **_kwargs),),
    ("same",),
    examples=(
        lambda x: call(x(3, 4)),
        lambda x: call(x(3, 4), -1),
        lambda x: call(x(2, 3, 4), offset=1, axis1=-1, axis2=0),
        lambda x: call(x(2, 2), 5),
    ),
)


@lowered(np.trace)
def _trace_as_sum(x, offset=0, axis1=0, axis2=1, dtype=None, out=None):
    return anp.sum(anp.diagonal(x, offset, axis1, axis2), axis=-1, dtype=dtype)


@composite(np.diagflat, examples=(lambda x: call(x(2, 2)), lambda x: call(x(3), 1)))
def diagflat(v, k=0):
    return anp.diag(anp.ravel(v), k)


def _triangle(rows, columns, k, upper):
    """Which items ``tril`` or ``triu`` keeps."""
    below = np.tri(rows, columns, k - upper, dtype=bool)
    return ~below if upper else below


hooks["triangle"] = _triangle

rule(
    np.tril,
    (lambda g, _ans, _m, k=0: anp.tril(g, k), None),
    ("same", None),
    examples=(lambda x: call(x(3, 4)), lambda x: call(x(2, 3, 3), -1), lambda x: call(x(3), k=1)),
)
rule(
    np.triu,
    (lambda g, _ans, _m, k=0: anp.triu(g, k), None),
    ("same", None),
    examples=(lambda x: call(x(3, 4)), lambda x: call(x(2, 3, 3), -1), lambda x: call(x(3), k=1)),
)
