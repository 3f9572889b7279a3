"""Derivatives of ordinary NumPy code, with a compiled Wengert tape.

>>> import autograd_c.numpy as np
>>> from autograd_c import grad
>>> float(grad(np.tanh)(0.5)) == 1 - float(np.tanh(0.5)) ** 2
True
"""

from importlib import import_module
from typing import TYPE_CHECKING

from . import numpy  # noqa: F401  (fills the registry of rules)
from .debugging import debug
from .operators import (
    checkpoint,
    deriv,
    elementwise_grad,
    grad,
    grad_and_aux,
    grad_named,
    hessian,
    hessian_tensor_product,
    hessian_vector_product,
    holomorphic_grad,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    make_ggnvp,
    make_hvp,
    make_jvp,
    make_jvp_reversemode,
    make_vjp,
    multigrad_dict,
    stop_gradient,
    tensor_jacobian_product,
    value_and_grad,
    vector_jacobian_product,
    vjp,
)
from .replay import ReplayWarning, compile

__all__ = [
    "ReplayWarning",
    "checkpoint",
    "compile",
    "debug",
    "deriv",
    "elementwise_grad",
    "grad",
    "grad_and_aux",
    "grad_named",
    "hessian",
    "hessian_tensor_product",
    "hessian_vector_product",
    "holomorphic_grad",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jvp",
    "make_ggnvp",
    "make_hvp",
    "make_jvp",
    "make_jvp_reversemode",
    "make_vjp",
    "multigrad_dict",
    "optim",
    "sparse",
    "sparse_hessian",
    "sparse_jacobian",
    "stop_gradient",
    "tensor_jacobian_product",
    "value_and_grad",
    "vector_jacobian_product",
    "vjp",
]

if TYPE_CHECKING:
    from . import optim, sparse
    from .sparse import sparse_hessian, sparse_jacobian
else:
    # Imported when they are asked for: not everybody needs scipy.sparse.
    _LATER = {"sparse_hessian": "sparse", "sparse_jacobian": "sparse"}

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module(f".{_LATER.get(name, name)}", __name__)
        return globals().setdefault(name, getattr(module, name) if name in _LATER else module)

    def __dir__():
        return sorted({*globals(), *__all__})
