"""``scipy.special``, differentiable where a rule exists.

Examples
--------
>>> import autograd_c.numpy as np
>>> from autograd_c import grad
>>> from autograd_c.scipy.special import logsumexp
>>> grad(logsumexp)(np.zeros(4))
array([0.25, 0.25, 0.25, 0.25])
"""

import scipy.special as _special

from .. import numpy as _numpy  # noqa: F401  (fills the registry)
from .._core import registry as _registry

__all__ = list(_special.__all__)

for _name in __all__:
    _value = getattr(_special, _name)
    globals()[_name] = _registry.get(_value, _value) if callable(_value) else _value


def __getattr__(name):
    """What SciPy has besides its public names, for instance its submodules."""
    return getattr(_special, name)
