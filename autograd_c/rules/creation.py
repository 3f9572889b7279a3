"""Making arrays: from traced values, like traced arrays, and ranges with traced ends; types and copies.

``np.zeros(n, like=x)``, ``np.zeros_like(x)`` and their kind return, for a traced `x`, a traced array whose
derivative is zero: it can be filled by assignment, ``y[i] = traced``, which a plain array refuses.
"""

import numpy as np

import autograd_c.numpy as anp

from .._core import (
    Meta,
    Primitive,
    any_box,
    hooks,
    is_box,
    likes,
    link_view,
    registry,
    stack_scalars,
    stand_in,
    value_of,
)
from ..extend import call, composite, defjvp_argnums, defvjp_argnums, rule
from .shape import available
from .support import hook

# --- constants of a trace -------------------------------------------------------------------------

_constant_like = rule(
    lambda x, value: value,
    (lambda g, _ans, _x, _value: None, lambda g, _ans, _x, _value: g),
    (lambda t, ans, x, value: np.zeros(ans.shape, ans.dtype), lambda t, ans, x, value: t),
    name="constant_like",
)


@hook
def constant_like(x, value):
    """A value as one of the trace of `x`, by which it has derivative zero; integers stay plain."""
    return _constant_like(x, value) if value.dtype.kind in "fc" else value


def _fill_like(name):
    fun = getattr(np, name)
    # What `empty_like` leaves open has to be the same at each call, or a recording is not confirmed.
    make = np.zeros_like if name == "empty_like" else fun

    @composite(
        fun,
        examples=(lambda x: call(x(2, 3)), lambda x: call(x(3), shape=(2, 2)))
        if name != "empty_like"
        else (),
    )
    def like(a, /, dtype=None, order="K", subok=True, shape=None, *, device=None):
        a = anp.asarray(a)
        return constant_like(a, make(stand_in(a), dtype, order, False, shape))

    return like


zeros_like, ones_like, empty_like = map(_fill_like, ("zeros_like", "ones_like", "empty_like"))


@composite(
    np.full_like,
    examples=(lambda x: call(x(2, 3), x()), lambda x: call(x(2, 3), x(3)), lambda x: call(x(2), 1.5)),
)
def full_like(a, fill_value, dtype=None, order="K", subok=True, shape=None, *, device=None):
    model = np.empty_like(stand_in(a), dtype, order, False, shape)
    if any_box((fill_value,), None):
        return full(model.shape, fill_value, model.dtype)
    model[...] = fill_value
    return constant_like(a, model)


@composite(
    np.full, examples=(lambda x: call((2, 3), x()), lambda x: call(3, x(3)), lambda x: call((2, 2), x(2)))
)
def full(shape, fill_value, dtype=None, order="C", *, device=None, like=None):
    if not any_box((fill_value,), None):
        return constant_like(like, np.full(shape, fill_value, dtype, order))
    fill_value = array(fill_value, dtype, copy=None)
    if not is_box(fill_value):
        return np.full(shape, fill_value, dtype, order)
    return anp.copy(anp.broadcast_to(fill_value, shape), order)


def _made_like(fun):
    """What `np.zeros(n, like=x)` calls: NumPy has taken `like` out of the arguments."""
    make = registry.get(fun, fun)

    def handler(like, *args, **kwargs):
        made = make(*args, **kwargs)
        return made if is_box(made) else constant_like(like, made)

    return handler


# --- array ----------------------------------------------------------------------------------------


def _from_items(dtype, *items):
    return np.array(items, dtype)


# An array of one axis from scalars, traced and plain.
from_items = hooks["from_items"] = Primitive(_from_items, "array")


def _items_maker(argnums, ans, args, kwargs):
    return lambda g: [g[k - 1] for k in argnums]


def _items_tangent(argnums, ts, ans, args, kwargs):
    tangents = [0.0] * (len(args) - 1)
    for k, t in zip(argnums, ts, strict=True):
        tangents[k - 1] = t
    return from_items(ans.dtype, *tangents)


defvjp_argnums(from_items, _items_maker)
defjvp_argnums(from_items, _items_tangent)


def _items(x):
    """Shape and items of nested lists of scalars; None where an array of one axis or more is among them."""
    if not any(isinstance(v, (list, tuple)) for v in x):
        # Most lists are flat: their items are boxes of scalars and numbers.
        for v in x:
            if v.__class__ is not float and (v.shape if hasattr(v, "shape") else np.shape(v)):
                return None
        return (len(x),), x
    rows = [_items(v) if isinstance(v, (list, tuple)) else None for v in x]
    if None in rows:
        return None
    shapes = {shape for shape, _ in rows}
    if len(shapes) > 1:
        raise ValueError("setting an array element with a sequence: the nested lists differ in length")
    return (len(x), *shapes.pop()), [item for _, row in rows for item in row]


def _from_list(x, dtype):
    """An array from lists with a box among them."""
    flat = _items(x)
    if flat is None:
        return anp.stack(
            [_from_list(v, dtype) if isinstance(v, (list, tuple)) else anp.asarray(v) for v in x]
        )
    shape, items = flat
    if dtype is not None and dtype.kind not in "fc":
        if dtype.kind == "O":
            raise TypeError("array: an object array cannot hold traced values; use a list")
        return np.array([value_of(v) for v in items], dtype).reshape(shape)
    made = stack_scalars(items) if dtype is None else None
    if made is None:
        made = from_items(dtype, *items)
    return made if len(shape) == 1 else anp.reshape(made, shape)


@composite(
    np.array,
    examples=(
        lambda x: call([x(3), x(3)]),
        lambda x: call([x(), x(), 1.0]),
        lambda x: call([[x(), 2.0], [x(), x()]]),
        lambda x: call(([x(2), [x(), x()]],), ndmin=4),
        lambda x: call(x(2, 3)),
        lambda x: call(x(2), ndmin=2),
    ),
)
def array(object, dtype=None, *, copy=True, order="K", subok=False, ndmin=0, like=None, **kwargs):
    if object.__class__ is list and dtype is None and not ndmin:
        out = stack_scalars(object)
        if out is not None:
            return out
    if is_box(object):
        out = _copied(object, dtype, copy, order)
    elif any_box((object,), None):
        if not isinstance(object, (list, tuple)):
            raise TypeError(f"array: a {type(object).__name__} with traced values in it; pass a list")
        out = _from_list(object, dtype if dtype is None else np.dtype(dtype))
        if dtype is not None and out.dtype != dtype:
            out = anp.astype(out, dtype)
    else:
        return constant_like(
            like, np.array(object, dtype, copy=copy, order=order, subok=subok, ndmin=ndmin, **kwargs)
        )
    return out if out.ndim >= ndmin else anp.reshape(out, (1,) * (ndmin - out.ndim) + out.shape)


def _copied(x, dtype, copy, order):
    if dtype is not None and x.dtype != dtype:
        if copy is False:
            raise ValueError("Unable to avoid copy while creating an array as requested.")
        return anp.astype(x, dtype)
    return anp.copy(x, order) if copy else x


@composite(np.asarray, examples=(lambda x: call(x(2, 3)), lambda x: call([x(), x()])))
def asarray(a, dtype=None, order=None, *, device=None, copy=None, like=None):
    if is_box(a) and dtype is None and order is None and not copy:
        return a
    out = array(a, dtype, copy=copy, like=like)
    return out if order in (None, "K", "A") or not is_box(out) else _ordered(out, order)


@composite(np.asanyarray, examples=(lambda x: call(x(2, 3)), lambda x: call([x(), x()])))
def asanyarray(a, dtype=None, order=None, *, device=None, copy=None, like=None):
    return asarray(a, dtype, order, copy=copy, like=like)


@composite(np.asarray_chkfinite, examples=(lambda x: call(x(2, 3)),))
def asarray_chkfinite(a, dtype=None, order=None):
    out = asarray(a, dtype, order)
    if not anp.all(anp.isfinite(out)):
        raise ValueError("array must not contain infs or NaNs")
    return out


def _ordered(x, order):
    """In the memory order asked for; the box itself where it is so already."""
    plain = stand_in(x)
    if not isinstance(plain, np.ndarray):
        return x
    if order == "F":
        return x if plain.flags.f_contiguous else anp.copy(x, "F")
    return x if plain.flags.c_contiguous else anp.copy(x, "C")


@composite(np.ascontiguousarray, examples=(lambda x: call(x(2, 3).T), lambda x: call(x())))
def ascontiguousarray(a, dtype=None, *, like=None):
    return anp.atleast_1d(asarray(a, dtype, "C", like=like))


@composite(np.asfortranarray, examples=(lambda x: call(x(2, 3)),))
def asfortranarray(a, dtype=None, *, like=None):
    return asarray(a, dtype, "F", like=like)


@composite(np.require, examples=(lambda x: call(x(2, 3), None, ["F"]),))
def require(a, dtype=None, requirements=None, *, like=None):
    names = {str(r).upper()[0] for r in requirements or ()}
    if {"C", "F"} <= names:
        raise ValueError('Cannot specify both "C" and "F" order')
    out = asarray(a, dtype, "F" if "F" in names else "C" if "C" in names else None, like=like)
    return anp.copy(out) if names & {"W", "O"} and is_box(out) else out


rule(
    np.copy,
    (lambda g, _ans, _a, order="K", subok=False: g, None, None),
    ("same", None, None),
    examples=(lambda x: call(x(2, 3)), lambda x: call(x(2, 3), "F"), lambda x: call(x())),
)


@composite(
    np.fromfunction,
    examples=(lambda x: (lambda c: call(lambda i, j, c: c * i + j, (2, 3), c=c))(x()),),
)
def fromfunction(function, shape, *, dtype=float, like=None, **kwargs):
    return function(*np.indices(shape, dtype=dtype), **kwargs)


for _name in (
    "zeros ones empty eye identity arange tri full array asarray asanyarray ascontiguousarray asfortranarray "
    "require fromfunction fromiter frombuffer fromstring fromfile loadtxt genfromtxt"
).split():
    likes[getattr(np, _name)] = _made_like(getattr(np, _name))


# --- ranges ---------------------------------------------------------------------------------------


def _fractions(ans, num, endpoint, axis):
    """How far along its range each item of the result is, shaped to go with it."""
    real = np.zeros((), ans.dtype).real.dtype
    t = np.linspace(0.0, 1.0, num, endpoint, dtype=real)
    axis %= len(ans.shape)
    return t.reshape((1,) * axis + (-1,) + (1,) * (len(ans.shape) - axis - 1))


def _of_end(t, ans, axis):
    """The tangent of an end, shaped to go with the result."""
    axis %= len(ans.shape)
    return anp.expand_dims(anp.broadcast_to(t, ans.shape[:axis] + ans.shape[axis + 1 :]), axis)


def _end(v):
    """A list as an array; Python's own numbers stay weak."""
    return anp.array(v) if isinstance(v, (list, tuple)) else v


_linspace = rule(
    lambda start, stop, num, endpoint, axis: np.linspace(start, stop, num, endpoint, axis=axis),
    (
        lambda g, _ans, _start, _stop, num, endpoint, axis: anp.sum(
            g * (1 - _fractions(_ans, num, endpoint, axis)), axis
        ),
        lambda g, _ans, _start, _stop, num, endpoint, axis: anp.sum(
            g * _fractions(_ans, num, endpoint, axis), axis
        ),
    ),
    (
        lambda t, ans, start, stop, num, endpoint, axis: (
            _of_end(t, ans, axis) * (1 - _fractions(ans, num, endpoint, axis))
        ),
        lambda t, ans, start, stop, num, endpoint, axis: (
            _of_end(t, ans, axis) * _fractions(ans, num, endpoint, axis)
        ),
    ),
    name="linspace",
)


@composite(
    np.linspace,
    examples=(
        lambda x: call(x(), x(), 5),
        lambda x: call(x(2), x(3, 1), num=4, endpoint=False, axis=-1),
        lambda x: call(x(2), x(2), 3, retstep=True),
        lambda x: call(x(), x(), 1),
    ),
)
def linspace(start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0, *, device=None):
    if dtype is not None and np.dtype(dtype).kind not in "fc":
        return np.linspace(value_of(start), value_of(stop), num, endpoint, retstep, dtype, axis)
    out = _linspace(_end(start), _end(stop), num, endpoint, axis)
    out = out if dtype is None else anp.astype(out, dtype)
    if not retstep:
        return out
    parts = num - 1 if endpoint else num
    return out, (_end(stop) * 1.0 - _end(start) * 1.0) / parts if parts > 0 else np.nan


@composite(
    np.logspace,
    examples=(
        lambda x: call(x(), x(), 4),
        lambda x: call(x(2), x(2), 3, base=3.0),
        lambda x: call(0.5, x(), 3, False, 2.0),
    ),
)
def logspace(start, stop, num=50, endpoint=True, base=10.0, dtype=None, axis=0):
    if not isinstance(base, (float, int)) and anp.ndim(base):
        ndim = max(anp.ndim(start), anp.ndim(stop), anp.ndim(base))
        start, stop, base = (anp.array(a, copy=None, ndmin=ndim) for a in (start, stop, base))
        base = anp.expand_dims(base, axis)
    out = anp.power(base, linspace(start, stop, num, endpoint, axis=axis))
    return out if dtype is None else anp.astype(out, dtype)


_geomspace = rule(
    lambda start, stop, num, endpoint, axis: np.geomspace(start, stop, num, endpoint, axis=axis),
    (
        lambda g, ans, start, _stop, num, endpoint, axis: (
            anp.sum(g * ans * (1 - _fractions(ans, num, endpoint, axis)), axis) / start
        ),
        lambda g, ans, _start, stop, num, endpoint, axis: (
            anp.sum(g * ans * _fractions(ans, num, endpoint, axis), axis) / stop
        ),
    ),
    (
        lambda t, ans, start, stop, num, endpoint, axis: (
            _of_end(t / start, ans, axis) * ans * (1 - _fractions(ans, num, endpoint, axis))
        ),
        lambda t, ans, start, stop, num, endpoint, axis: (
            _of_end(t / stop, ans, axis) * ans * _fractions(ans, num, endpoint, axis)
        ),
    ),
    name="geomspace",
)


@composite(
    np.geomspace,
    examples=(
        lambda x: call(1.5 + 0.2 * x(), 4 + x(), 5),
        lambda x: call(1.5 + 0.2 * x(2), 4 + x(3, 1), 3, False, axis=1),
    ),
)
def geomspace(start, stop, num=50, endpoint=True, dtype=None, axis=0):
    out = _geomspace(_end(start), _end(stop), num, endpoint, axis)
    return out if dtype is None else anp.astype(out, dtype)


def _step_cotangent(g, dtype):
    return anp.sum(g * np.arange(g.shape[0], dtype=np.zeros((), dtype).real.dtype))


# The number of items is a constant where the ends are traced: `stop` has derivative zero.
_arange = rule(
    lambda start, stop, step, dtype: np.arange(start, stop, step, dtype),
    (
        lambda g, _ans, _start, _stop, _step, _dtype: anp.sum(g),
        lambda g, _ans, _start, _stop, _step, _dtype: None,
        lambda g, _ans, _start, _stop, _step, _dtype: _step_cotangent(g, _ans.dtype),
    ),
    (
        lambda t, ans, start, stop, step, dtype: anp.broadcast_to(t, ans.shape),
        lambda t, ans, start, stop, step, dtype: np.zeros(ans.shape, ans.dtype),
        lambda t, ans, start, stop, step, dtype: t * np.arange(ans.shape[0], dtype=ans.dtype),
    ),
    name="arange",
)


@composite(
    np.arange,
    examples=(
        lambda x: call(0.05 * x().real, 3.5),
        lambda x: call(0.05 * x().real, 3.5, 0.7 + 0.01 * x().real),
        lambda x: call(3.5 + 0.1 * x().real),
    ),
)
def arange(start, stop=None, step=None, dtype=None, *, device=None, like=None):
    start, stop = (0, start) if stop is None else (start, stop)
    step = 1 if step is None else step
    if not any_box((start, stop, step), None):
        return constant_like(like, np.arange(start, stop, step, dtype))
    if dtype is not None and np.dtype(dtype).kind not in "fc":
        return np.arange(value_of(start), value_of(stop), value_of(step), dtype)
    return _arange(start, stop, step, dtype)


def _powers(v, n, increasing):
    """The derivative of a Vandermonde matrix by the point of each row, from the matrix itself."""
    if not n:
        return v
    zero = np.zeros((v.shape[0], 1), v.dtype)
    degree = np.arange(1, n, dtype=np.zeros((), v.dtype).real.dtype)
    if increasing:
        return anp.concatenate([zero, v[:, :-1] * degree], 1)
    return anp.concatenate([v[:, 1:] * degree[::-1], zero], 1)


rule(
    np.vander,
    (
        lambda g, ans, _x, N=None, increasing=False: anp.sum(g * _powers(ans, ans.shape[1], increasing), 1),
        None,
        None,
    ),
    (
        lambda t, ans, x, N=None, increasing=False: (
            anp.expand_dims(t, 1) * _powers(ans, ans.shape[1], increasing)
        ),
        None,
        None,
    ),
    examples=(
        lambda x: call(x(3)),
        lambda x: call(x(3), 5, True),
        lambda x: call(x(2), N=1),
        lambda x: call(x(2), 4),
    ),
)


# --- types ----------------------------------------------------------------------------------------


def _astype(x, dtype):
    return x.astype(dtype) if isinstance(x, (np.ndarray, np.generic)) else np.dtype(dtype).type(x)


_cast = rule(_astype, (lambda g, _ans, _x, dtype: g, None), ("same", None), name="astype")

# To integers and truth values: piecewise constant.
_to_whole = Primitive(lambda x, dtype: _astype(x, dtype), "astype")
_to_whole.set_constant()


def astype(x, dtype, /, *, copy=True, device=None):
    dtype = np.dtype(dtype)
    if dtype.kind not in "fc":
        return _to_whole(x, dtype)
    return x if not copy and x.dtype == dtype else _cast(x, dtype)


anp.astype = astype
for _fun in available("astype"):
    astype = composite(
        _fun,
        examples=(
            lambda x: call(x(3), np.promote_types(x.dtype, float)),
            lambda x: call(x(3), np.complex128),
        ),
    )(astype)


class _Part:
    """The real or imaginary part as a view: how it is taken again, and put back after an update."""

    def __init__(self, take, put):
        self.take = take
        self.put = put

    def __call__(self, x):
        return self.take(x)


_real = rule(np.real, (lambda g, _ans, _val: g,), (lambda t, ans, val: anp.real(t),))
_imag = rule(
    np.imag,
    (lambda g, _ans, _val: -1j * g,),
    (lambda t, ans, val: anp.imag(t),),
)
_REAL = _Part(_real, lambda x, part: part + 1j * _imag(x))
_IMAG = _Part(_imag, lambda x, part: _real(x) + 1j * part)


@composite(np.real, examples=(lambda x: call(x(3)), lambda x: call(x())))
def real(val):
    val = anp.asarray(val)
    if val.dtype.kind != "c":
        return val
    return link_view(_real(val), val, _REAL) if val.ndim else _real(val)


@composite(np.imag, examples=(lambda x: call(x(3)), lambda x: call(x())))
def imag(val):
    val = anp.asarray(val)
    if val.dtype.kind != "c":
        return constant_like(val, np.zeros(val.shape, val.dtype)[()])
    return link_view(_imag(val), val, _IMAG) if val.ndim else _imag(val)


rule(
    np.conjugate,
    (lambda g, _ans, _x: anp.conjugate(g),),
    ("same",),
    examples=(lambda x: call(x(3)), lambda x: call(x())),
)


# --- what can be asked of a traced array ----------------------------------------------------------


def _asked(fun, answer):
    composite(fun)(answer)


_asked(np.shape, lambda a: anp.asarray(a).shape)
_asked(np.ndim, lambda a: anp.asarray(a).ndim)
_asked(np.size, lambda a, axis=None: np.size(np.empty(anp.asarray(a).shape, bool), axis))
_asked(np.iscomplexobj, lambda x: anp.asarray(x).dtype.kind == "c")
_asked(np.isrealobj, lambda x: anp.asarray(x).dtype.kind != "c")
_asked(np.isfortran, lambda a: np.isfortran(stand_in(a)))
_asked(np.result_type, lambda *args: np.result_type(*map(stand_in, args)))
_asked(np.can_cast, lambda from_, to, casting="safe": np.can_cast(from_.dtype, to, casting))
_asked(np.common_type, lambda *args: np.common_type(*[np.empty(0, a.dtype) for a in args]))
_asked(np.min_scalar_type, lambda a, /: np.min_scalar_type(value_of(a)))
_asked(np.array_str, lambda a, *args, **kwargs: np.array_str(np.asarray(value_of(a)), *args, **kwargs))
_asked(np.array_repr, lambda a, *args, **kwargs: np.array_repr(np.asarray(value_of(a)), *args, **kwargs))
_asked(np.array2string, lambda a, *args, **kwargs: np.array2string(np.asarray(value_of(a)), *args, **kwargs))

__all__ = ["Meta", "constant_like", "from_items"]
