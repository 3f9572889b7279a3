"""The rules: one place per primitive that says all there is to know of it, one file per family."""

from . import support  # noqa: I001
from . import elementwise, indexing, products, reductions, shape

__all__ = ["elementwise", "indexing", "products", "reductions", "shape", "support"]
