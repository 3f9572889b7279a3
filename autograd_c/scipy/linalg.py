"""``scipy.linalg``, differentiable where a rule exists.

Examples
--------
>>> import autograd_c.numpy as np
>>> from autograd_c import grad
>>> from autograd_c.scipy.linalg import solve_triangular
>>> a = np.array([[2.0, 0.0], [1.0, 4.0]])
>>> grad(lambda b: np.sum(solve_triangular(a, b, lower=True)))(np.ones(2))
array([0.375, 0.25 ])
"""

import scipy.linalg as _linalg

from .. import numpy as _numpy  # noqa: F401  (fills the registry)
from .._core import registry as _registry

__all__ = list(_linalg.__all__)

for _name in __all__:
    _value = getattr(_linalg, _name)
    globals()[_name] = _registry.get(_value, _value) if callable(_value) else _value


def __getattr__(name):
    """What SciPy has besides its public names, for instance its submodules."""
    return getattr(_linalg, name)
