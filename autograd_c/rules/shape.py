"""Shape, joining and creation: what moves items about without computing."""

import numpy as np

import autograd_c.numpy as anp

from .._core import any_box, install, is_box, link_view
from ..extend import call, composite, rule


class Take:
    """How a view is taken from the array that it looks at, and how an update of it is put back."""

    def __init__(self, take, put):
        self.take = take
        self.put = put

    def __call__(self, base):
        return self.take(base)


rule(
    np.reshape,
    (lambda g, _ans, _x, *_args, **_kwargs: _unreshape(g, _x, *_args, **_kwargs),),
    ("same",),
    examples=(lambda x: call(x(4, 3), (2, 6)), lambda x: call(x(4, 3), -1), lambda x: call(x(4, 3), 12, order="F")),
)


def _unreshape(g, x, shape=None, order="C", **kwargs):
    return anp.reshape(g, x.shape, order=order)


rule(
    np.broadcast_to,
    (lambda g, _ans, _x, shape, subok=False: g, None),
    ("same", None),
    examples=(lambda x: call(x(3, 1), (2, 3, 4)),),
)


def _untranspose(g, x, axes=None):
    return anp.transpose(g, None if axes is None else np.argsort([a % x.ndim for a in axes]))


rule(
    np.transpose,
    (lambda g, _ans, _x, axes=None: _untranspose(g, _x, axes), None),
    ("same", None),
    examples=(lambda x: call(x(2, 3, 4)), lambda x: call(x(2, 3, 4), (1, 2, 0)), lambda x: call(x(2, 3, 4), axes=(-1, 0, 1))),
)


def _astype(x, dtype):
    return x.astype(dtype) if isinstance(x, np.ndarray) else np.dtype(dtype).type(x)


_cast = rule(_astype, (lambda g, _ans, _x, dtype: g, None), ("same", None), name="astype")


@composite(np.astype, examples=(lambda x: call(x(3), float),))
def astype(x, dtype, /, *, copy=True, device=None):
    if np.dtype(dtype).kind not in "fc":
        return anp.stop_gradient_value(x).astype(dtype)
    return _cast(x, np.dtype(dtype))


rule(np.real, (lambda g, _ans, _x: g,), (lambda t, ans, x: anp.real(t),), examples=(lambda x: call(x(3)),))
rule(
    np.imag,
    (lambda g, _ans, _x: -1j * g if _x.dtype.kind == "c" else 0.0 * g,),
    (lambda t, ans, x: anp.imag(t),),
    examples=(lambda x: call(x(3)),),
)
rule(np.conjugate, (lambda g, _ans, _x: anp.conjugate(g),), ("same",), examples=(lambda x: call(x(3)),))


# --- joining and creation -------------------------------------------------------------------------


def _stack_flat(*items):
    return np.array(items)


stack_scalars = rule(
    _stack_flat,
    lambda argnum, g, _ans, *_items: g[argnum],
    lambda argnum, t, ans, *items: anp.scatter_one(t, argnum, ans),
    name="array",
)


def _array(x, dtype):
    if is_box(x):
        return x
    if isinstance(x, (list, tuple)) and any_box((x,), None):
        items = [_array(item, dtype) for item in x]
        if all(item.shape == () if hasattr(item, "shape") else np.ndim(item) == 0 for item in items):
            return stack_scalars(*items)
        return anp.stack(items)
    return np.array(x, dtype=dtype)


@composite(np.array, examples=(lambda x: call([x(3), x(3)]), lambda x: call([x(), x(), x()])))
def array(x, dtype=None, *, copy=True, order="K", subok=False, ndmin=0, ndmax=0, like=None):
    out = _array(x, dtype)
    if out is x:
        out = anp.positive(x)
    if dtype is not None and out.dtype != dtype:
        out = anp.astype(out, dtype)
    while out.ndim < ndmin:
        out = out[None]
    return out
