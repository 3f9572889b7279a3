# The types are SciPy's own where the package scipy-stubs is installed, and Any where it is not.

from typing import Any

from scipy.special import *  # type: ignore[import-untyped, unused-ignore]

def __getattr__(name: str) -> Any: ...
