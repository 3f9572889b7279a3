# The results are `scipy.sparse.csr_array`: Any, since SciPy comes without types.

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, SupportsIndex, TypeAlias, overload

from .operators import Derived, _ArrayLike

__all__ = ["hessian_sparsity", "jacobian_sparsity", "sparse_hessian", "sparse_jacobian"]

_P = ParamSpec("_P")
_Argnums: TypeAlias = SupportsIndex | tuple[SupportsIndex, ...] | list[SupportsIndex]

# A function that takes anything array-like has a derivative that does, see operators.pyi.
@overload
def sparse_jacobian(
    f: Callable[Concatenate[_ArrayLike, _P], Any], argnum: _Argnums = 0, *, sparsity: Any = None
) -> Derived[Concatenate[Any, _P], Any]: ...
@overload
def sparse_jacobian(
    f: Callable[_P, Any], argnum: _Argnums = 0, *, sparsity: Any = None
) -> Derived[_P, Any]: ...
@overload
def sparse_hessian(
    f: Callable[Concatenate[_ArrayLike, _P], Any], argnum: _Argnums = 0, *, sparsity: Any = None
) -> Derived[Concatenate[Any, _P], Any]: ...
@overload
def sparse_hessian(
    f: Callable[_P, Any], argnum: _Argnums = 0, *, sparsity: Any = None
) -> Derived[_P, Any]: ...
@overload
def jacobian_sparsity(
    f: Callable[Concatenate[_ArrayLike, _P], Any], argnum: _Argnums = 0
) -> Derived[Concatenate[Any, _P], Any]: ...
@overload
def jacobian_sparsity(f: Callable[_P, Any], argnum: _Argnums = 0) -> Derived[_P, Any]: ...
@overload
def hessian_sparsity(
    f: Callable[Concatenate[_ArrayLike, _P], Any], argnum: _Argnums = 0
) -> Derived[Concatenate[Any, _P], Any]: ...
@overload
def hessian_sparsity(f: Callable[_P, Any], argnum: _Argnums = 0) -> Derived[_P, Any]: ...
