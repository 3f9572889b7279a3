"""The rules: one place per primitive says all there is to know of it, one file per family."""

from . import support  # noqa: I001
from . import elementwise, indexing, shape, joining, creation
from . import products, reductions
from . import linalg
from . import cumulative, pointwise, sorting, ufunc_methods

from . import methods  # what a Box's methods are is looked up once all functions are there

__all__ = ["creation", "elementwise", "indexing", "joining", "methods", "products", "reductions", "shape", "support"]
