"""The attributes and methods of an ndarray, on traced values.

A method is the function of the same name with the array in front; what writes in place gives the box a new
value; what would hand out memory, or a number without its derivative, is refused with the way to write it
instead.
"""

import math

import numpy as np

import autograd_c.numpy as anp

from .._core import install, rebind, stand_in, value_of
from .creation import imag, real

# --- methods that are functions -------------------------------------------------------------------


for _name in (
    "all any argmax argmin argpartition argsort choose clip conj conjugate cumprod cumsum diagonal dot max "
    "mean min nonzero prod ptp repeat round searchsorted squeeze std sum swapaxes take trace var"
).split():
    install(_name, getattr(anp, _name))


def method(fun):
    """Gives `Box` the method of that name."""
    install(fun.__name__, fun)
    return fun


def is_array(x):
    """Whether NumPy would have an array here, not a scalar."""
    return isinstance(stand_in(x), np.ndarray)


@method
def astype(self, dtype, order="K", casting="unsafe", subok=True, copy=True):
    if not np.can_cast(self.dtype, dtype, casting):
        raise TypeError(
            f"Cannot cast array from {self.dtype!r} to {np.dtype(dtype)!r} according to the rule {casting!r}"
        )
    return anp.astype(self, dtype, copy=copy)


@method
def put(self, indices, values, mode="raise"):
    anp.put(self, indices, values, mode)


@method
def reshape(self, *shape, order="C", copy=None):
    kwargs = {} if copy is None else {"copy": copy}
    return anp.reshape(self, shape[0] if len(shape) == 1 else shape, order=order, **kwargs)


@method
def transpose(self, *axes):
    if not axes or axes == (None,):
        return anp.transpose(self)
    return anp.transpose(self, axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes)


@method
def compress(self, condition, axis=None, out=None):
    return anp.compress(condition, self, axis, out)


@method
def ravel(self, order="C"):
    return anp.reshape(self, -1) if order == "C" else anp.ravel(self, order)


@method
def flatten(self, order="C"):
    return anp.copy(ravel(self, order))


@method
def copy(self, order="C"):
    return anp.copy(self, order) if is_array(self) else anp.positive(self)


@method
def tolist(self):
    """Nested lists; the items are traced."""
    return [tolist(row) for row in self] if self.ndim else self[()]


@method
def to_device(self, device, /, *, stream=None):
    if device != "cpu":
        raise ValueError(f"Unsupported device: {device}. Only 'cpu' is accepted.")
    return self


@method
def view(self, dtype=None, type=None):
    if dtype in (None, np.ndarray) or dtype == self.dtype:
        return self[...]
    raise TypeError(
        "view: the bytes of a traced value as another type have no derivative; use x.astype(dtype)"
    )


@method
def __array_namespace__(self, *, api_version=None):
    return anp


# --- methods that write in place ------------------------------------------------------------------


@method
def fill(self, value):
    self[...] = value


@method
def sort(self, axis=-1, kind=None, order=None, *, stable=None):
    rebind(self, anp.sort(self, axis=axis, kind=kind, order=order))


@method
def partition(self, kth, axis=-1, kind="introselect", order=None):
    rebind(self, anp.partition(self, kth, axis=axis, kind=kind, order=order))


# --- properties -----------------------------------------------------------------------------------


def _set_real(self, value):
    self[...] = value if self.dtype.kind != "c" else value + 1j * imag(self)


def _set_imag(self, value):
    if self.dtype.kind != "c":
        raise TypeError("array does not have imaginary part to set")
    self[...] = real(self) + 1j * anp.asarray(value)


class Flat:
    """The items of a traced array one after the other, what ``x.flat`` is."""

    def __init__(self, base):
        self.base = base

    def __len__(self):
        return self.base.size

    def __iter__(self):
        return iter(anp.ravel(self.base))

    def __getitem__(self, index):
        return anp.copy(anp.ravel(self.base))[index]

    def __setitem__(self, index, value):
        flat = np.arange(self.base.size)[index]
        count = np.size(flat)
        value = anp.asarray(value)
        if value.ndim and value.size != count:
            value = anp.resize(value, count)
        self.base[np.unravel_index(flat, self.base.shape)] = (
            value if value.ndim == 0 else anp.reshape(value, np.shape(flat))
        )

    def copy(self):
        return flatten(self.base)


def _set_flat(self, value):
    Flat(self)[:] = value


install("T", property(anp.transpose))
install("mT", property(anp.matrix_transpose))
install("real", property(real, _set_real))
install("imag", property(imag, _set_imag))
install("flat", property(Flat, _set_flat))
install("device", property(lambda self: "cpu"))
install("strides", property(lambda self: np.asarray(stand_in(self)).strides))
install("flags", property(lambda self: np.asarray(stand_in(self)).flags))


# --- numbers without a derivative -----------------------------------------------------------------


def _rounded(name, fun):
    """``math.floor(x)`` and its kind: integers, so the derivative is zero and may be dropped."""

    def rounded(self, *args):
        return fun(np.asarray(value_of(self)).item(), *args)

    rounded.__name__ = name
    return method(rounded)


_rounded("__round__", round)
_rounded("__trunc__", int)
_rounded("__floor__", math.floor)
_rounded("__ceil__", math.ceil)


# --- what is refused ------------------------------------------------------------------------------


def _refuse_method(name, instead):
    def refused(self, *args, **kwargs):
        raise TypeError(f"{name}() of a traced value would cut the derivative here without a word; {instead}")

    refused.__name__ = name
    install(name, refused)


def _refuse_attribute(name, instead):
    def refused(self):
        raise AttributeError(f"a traced value has no attribute {name!r}: {instead}")

    install(name, property(refused))


_CONSTANT = "use stop_gradient(x) first if a constant is meant"
_refuse_method("item", f"use x[()] or x[i], which keep it; {_CONSTANT}")
for _name in ("tobytes", "tofile", "dump", "dumps", "getfield", "byteswap", "__dlpack__"):
    _refuse_method(_name, _CONSTANT)
_refuse_method("setfield", "use x[...] = value or np.where")
_refuse_method("setflags", "a traced value is never written to: there is nothing to protect")
_refuse_method("resize", "use np.resize(x, shape), which returns a new array")
for _name in ("data", "ctypes", "base"):
    _refuse_attribute(_name, f"its memory is not to be had; {_CONSTANT}")
