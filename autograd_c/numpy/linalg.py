"""``numpy.linalg``, differentiable. Plain ``numpy.linalg`` functions accept traced values as well."""

import numpy.linalg as _linalg

from .._core import registry as _registry

for _name in dir(_linalg):
    if not _name.startswith("_"):
        _value = getattr(_linalg, _name)
        globals()[_name] = _registry.get(_value, _value) if callable(_value) else _value

__all__ = list(_linalg.__all__)
