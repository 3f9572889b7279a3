"""NumPy's main namespace, differentiable: ``import autograd_c.numpy as np``.

Every public name of NumPy is here. Functions that have a rule are the primitives (or functions made of
primitives) that `autograd_c.rules` registers for them; everything else is NumPy's own object.
"""

from importlib import import_module as _import_module

import numpy as _np

from .._core import registry as _registry


def __getattr__(name):
    """A name that no rule module has asked for yet."""
    value = getattr(_np, name)
    found = _registry.get(value) if callable(value) and not isinstance(value, type) else None
    found = value if found is None else found
    globals()[name] = found
    return found


def __dir__():
    return sorted(set(dir(_np)) | set(globals()))


from .. import rules as _rules  # noqa: E402  (fills the registry, and uses this module while it does)

# What NumPy has loaded by now; its modules that load on demand stay so, through `__getattr__`.
for _name in list(vars(_np)):
    if not _name.startswith("_"):
        __getattr__(_name)

# NumPy's submodules that have a differentiable counterpart here.
for _name in ("linalg", "fft", "random"):
    globals()[_name] = _import_module(f"{__name__}.{_name}")

# Joined by indexing, so no functions that the registry could hold.
r_, c_ = _rules.joining.r_, _rules.joining.c_
