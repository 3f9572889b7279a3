"""The rules: one place per primitive says all there is to know of it, one file per family."""

from . import support  # noqa: I001
from . import elementwise, indexing, shape, joining, creation
from . import products, reductions
from . import linalg, calculus, special
from . import cumulative, pointwise, sorting, ufunc_methods

from . import constants
from . import methods  # what a Box's methods are is looked up once all functions are there
from .._core import hooks

hooks["rules_complete"] = True  # primitives that are made from now on are users'

__all__ = [
    "calculus",
    "constants",
    "creation",
    "cumulative",
    "elementwise",
    "indexing",
    "joining",
    "linalg",
    "methods",
    "pointwise",
    "products",
    "reductions",
    "shape",
    "sorting",
    "special",
    "support",
    "ufunc_methods",
]
