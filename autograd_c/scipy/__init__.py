"""SciPy's namespaces, differentiable: ``import autograd_c.scipy.special as special``.

Every public name of SciPy's module is there; functions that have a rule are replaced by their primitives.
SciPy's ufuncs (``scipy.special.erf`` and most of that module) accept traced values also when they are
called by their own name; its other functions do not speak NumPy's protocols, so that a traced value has to
go to the ones in here.
"""

from . import linalg, special

__all__ = ["linalg", "special"]
