"""``numpy.linalg``, differentiable. Plain ``numpy.linalg`` functions accept traced values as well."""

import numpy.linalg as _linalg

from .._core import registry as _registry

__all__ = list(_linalg.__all__)

for _name in __all__:
    _value = getattr(_linalg, _name)
    globals()[_name] = _registry.get(_value, _value)
