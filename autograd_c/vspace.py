"""The vector space that a value lives in: zeros, ones, basis and inner product of floats and arrays."""

import numpy as np

from ._core import stand_in

__all__ = ["VSpace", "vspace"]


class VSpace:
    """The space of arrays of one shape and dtype.

    Parameters
    ----------
    value : array_like or Box
        An element of the space.
    """

    def __init__(self, value):
        value = np.asarray(stand_in(value))
        self.shape = value.shape
        self.dtype = value.dtype

    @property
    def ndim(self):
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self):
        """Real dimension of the space: a complex number counts twice."""
        return int(np.prod(self.shape, dtype=int)) * (2 if self.iscomplex else 1)

    @property
    def iscomplex(self):
        """Whether the space is complex."""
        return self.dtype.kind == "c"

    def zeros(self):
        """The zero vector."""
        return np.zeros(self.shape, self.dtype)

    def ones(self):
        """The vector of ones."""
        return np.ones(self.shape, self.dtype)

    def randn(self):
        """A vector of standard normal draws from NumPy's global generator."""
        x = np.random.standard_normal(self.shape)
        if self.iscomplex:
            x = x + 1j * np.random.standard_normal(self.shape)
        return np.asarray(x).astype(self.dtype)

    def standard_basis(self):
        """The basis vectors, one after the other; real before imaginary unit for each entry."""
        for index in np.ndindex(*self.shape):
            for unit in (1.0, 1.0j) if self.iscomplex else (1.0,):
                vector = self.zeros()
                vector[index] = unit
                yield vector

    def inner_prod(self, x, y):
        """The real inner product."""
        product = np.vdot(x, y)
        return np.real(product)

    def add(self, x, y):
        """The sum."""
        return x + y

    def scalar_mul(self, x, a):
        """The multiple."""
        return x * a

    def covector(self, x):
        """The covector of a vector: its conjugate."""
        return np.conj(x)

    def __eq__(self, other):
        return type(self) is type(other) and self.shape == other.shape and self.dtype == other.dtype

    def __hash__(self):
        return hash((self.shape, self.dtype))

    def __repr__(self):
        return f"VSpace(shape={self.shape}, dtype={self.dtype.name})"


def vspace(value):
    """The vector space of a float, an array or a box."""
    space = VSpace(value)
    if space.dtype.kind not in "fc":
        raise TypeError(f"there is no vector space of {type(value).__name__} values; pass floats")
    return space
