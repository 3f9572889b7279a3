# A gradient has the type of the argument that it belongs to, and the tangent of a result has the type of the
# result. So most operators are typed by three overloads, of which the first that fits counts:
#
#   1. a function that takes anything array-like, as NumPy's own do, has a derivative that does;
#   2. with respect to argument 0, the default, the gradient has its type;
#   3. with respect to any other argument it is Any.
#
# `grad`, `value_and_grad` and `elementwise_grad` know argument 1, the pair (0, 1) and other sequences too.
# Cotangents are Any: the core takes a float for a float64, and casts.
#
# Before these stands an overload for compiled functions, whose derivatives are compiled. A compiled function
# is callable as any other, but what comes of it has more methods: hence the overlap. Its gradients are Any.

from collections.abc import Callable
from os import PathLike
from typing import (
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Self,
    SupportsIndex,
    TypeAlias,
    TypeVar,
    TypeVarTuple,
    overload,
    type_check_only,
)

import numpy as np
from numpy.typing import NDArray

from ._core import Compiled

__all__ = [
    "checkpoint",
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
    "stop_gradient",
    "tensor_jacobian_product",
    "value_and_grad",
    "vector_jacobian_product",
    "vjp",
]

_P = ParamSpec("_P")  # the arguments that stay as they are
_Q = ParamSpec("_Q")
_X = TypeVar("_X")  # an argument that is differentiated
_Y = TypeVar("_Y")  # another argument
_R = TypeVar("_R")  # the result
_R_co = TypeVar("_R_co", covariant=True)
_Aux = TypeVar("_Aux")
_Self = TypeVar("_Self")
_Args = TypeVarTuple("_Args")
_Fun = TypeVar("_Fun", bound=Callable[..., Any])
_Array = TypeVar("_Array", bound=NDArray[Any])

_Numbers: TypeAlias = NDArray[Any] | complex | np.number[Any]
_Argnums: TypeAlias = tuple[SupportsIndex, ...] | list[SupportsIndex]

# Only a function of anything array-like takes an argument that is no more than this.
@type_check_only
class _ArrayLike:
    def __array__(self) -> NDArray[np.float64]: ...

class Derived(Generic[_P, _R_co]):
    __name__: str
    __qualname__: str
    __wrapped__: Callable[..., Any]
    def __init__(
        self,
        rule: Callable[..., _R_co],
        name: str,
        fun: Callable[_P, Any],
        argnum: SupportsIndex | _Argnums = 0,
        options: tuple[Any, ...] = (),
    ) -> None: ...
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co: ...
    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: Derived[Concatenate[_Self, _Q], _R], instance: _Self, owner: type | None = None
    ) -> Callable[_Q, _R]: ...

# What an operator makes of a compiled function where that takes several programs.
@type_check_only
class _Replayed(Generic[_P, _R_co]):
    __name__: str
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co: ...
    @property
    def programs(self) -> list[dict[str, Any]]: ...
    def clear(self) -> None: ...
    def cost(self) -> dict[str, Any]: ...
    def explain(self, svg: str | PathLike[str] | None = None) -> str: ...

# ---------------------------------------------------------------- gradients

@overload
def grad(  # type: ignore[overload-overlap]
    fun: Compiled[_P, _R], argnum: SupportsIndex | _Argnums = 0
) -> Compiled[_P, Any]: ...
@overload
def grad(
    fun: Callable[Concatenate[_ArrayLike, _P], Any], argnum: Literal[0] = 0
) -> Derived[Concatenate[Any, _P], Any]: ...
@overload
def grad(
    fun: Callable[Concatenate[_X, _P], Any], argnum: Literal[0] = 0
) -> Derived[Concatenate[_X, _P], _X]: ...
@overload
def grad(
    fun: Callable[Concatenate[_Y, _X, _P], Any], argnum: Literal[1]
) -> Derived[Concatenate[_Y, _X, _P], _X]: ...
@overload
def grad(
    fun: Callable[Concatenate[_X, _Y, _P], Any], argnum: tuple[Literal[0], Literal[1]]
) -> Derived[Concatenate[_X, _Y, _P], tuple[_X, _Y]]: ...
@overload
def grad(fun: Callable[_P, Any], argnum: SupportsIndex) -> Derived[_P, Any]: ...
@overload
def grad(fun: Callable[_P, Any], argnum: _Argnums) -> Derived[_P, tuple[Any, ...]]: ...
@overload
def value_and_grad(  # type: ignore[overload-overlap]
    fun: Compiled[_P, _R], argnum: SupportsIndex | _Argnums = 0
) -> Compiled[_P, tuple[_R, Any]]: ...
@overload
def value_and_grad(
    fun: Callable[Concatenate[_ArrayLike, _P], _R], argnum: Literal[0] = 0
) -> Derived[Concatenate[Any, _P], tuple[_R, Any]]: ...
@overload
def value_and_grad(
    fun: Callable[Concatenate[_X, _P], _R], argnum: Literal[0] = 0
) -> Derived[Concatenate[_X, _P], tuple[_R, _X]]: ...
@overload
def value_and_grad(
    fun: Callable[Concatenate[_Y, _X, _P], _R], argnum: Literal[1]
) -> Derived[Concatenate[_Y, _X, _P], tuple[_R, _X]]: ...
@overload
def value_and_grad(
    fun: Callable[Concatenate[_X, _Y, _P], _R], argnum: tuple[Literal[0], Literal[1]]
) -> Derived[Concatenate[_X, _Y, _P], tuple[_R, tuple[_X, _Y]]]: ...
@overload
def value_and_grad(fun: Callable[_P, _R], argnum: SupportsIndex) -> Derived[_P, tuple[_R, Any]]: ...
@overload
def value_and_grad(fun: Callable[_P, _R], argnum: _Argnums) -> Derived[_P, tuple[_R, tuple[Any, ...]]]: ...
@overload
def grad_and_aux(  # type: ignore[overload-overlap]
    fun: Compiled[_P, tuple[Any, _Aux]], argnum: SupportsIndex | _Argnums = 0
) -> Compiled[_P, tuple[Any, _Aux]]: ...
@overload
def grad_and_aux(
    fun: Callable[Concatenate[_ArrayLike, _P], tuple[Any, _Aux]], argnum: Literal[0] = 0
) -> Derived[Concatenate[Any, _P], tuple[Any, _Aux]]: ...
@overload
def grad_and_aux(
    fun: Callable[Concatenate[_X, _P], tuple[Any, _Aux]], argnum: Literal[0] = 0
) -> Derived[Concatenate[_X, _P], tuple[_X, _Aux]]: ...
@overload
def grad_and_aux(
    fun: Callable[_P, tuple[Any, _Aux]], argnum: SupportsIndex | _Argnums
) -> Derived[_P, tuple[Any, _Aux]]: ...
def grad_named(fun: Callable[_P, Any], argname: str) -> Derived[_P, Any]: ...
def multigrad_dict(fun: Callable[_P, Any]) -> Callable[_P, dict[str, Any]]: ...
@overload
def elementwise_grad(  # type: ignore[overload-overlap]
    fun: Compiled[_P, _R], argnum: SupportsIndex | _Argnums = 0
) -> Compiled[_P, Any]: ...
@overload
def elementwise_grad(
    fun: Callable[Concatenate[_ArrayLike, _P], Any], argnum: Literal[0] = 0
) -> Derived[Concatenate[Any, _P], Any]: ...
@overload
def elementwise_grad(
    fun: Callable[Concatenate[_X, _P], Any], argnum: Literal[0] = 0
) -> Derived[Concatenate[_X, _P], _X]: ...
@overload
def elementwise_grad(
    fun: Callable[Concatenate[_Y, _X, _P], Any], argnum: Literal[1]
) -> Derived[Concatenate[_Y, _X, _P], _X]: ...
@overload
def elementwise_grad(
    fun: Callable[Concatenate[_X, _Y, _P], Any], argnum: tuple[Literal[0], Literal[1]]
) -> Derived[Concatenate[_X, _Y, _P], tuple[_X, _Y]]: ...
@overload
def elementwise_grad(fun: Callable[_P, Any], argnum: SupportsIndex) -> Derived[_P, Any]: ...
@overload
def elementwise_grad(fun: Callable[_P, Any], argnum: _Argnums) -> Derived[_P, tuple[Any, ...]]: ...
@overload
def holomorphic_grad(  # type: ignore[overload-overlap]
    fun: Compiled[_P, Any], argnum: SupportsIndex | _Argnums = 0
) -> Compiled[_P, Any]: ...
@overload
def holomorphic_grad(
    fun: Callable[Concatenate[_ArrayLike, _P], Any], argnum: Literal[0] = 0
) -> Derived[Concatenate[Any, _P], Any]: ...
@overload
def holomorphic_grad(
    fun: Callable[Concatenate[_X, _P], Any], argnum: Literal[0] = 0
) -> Derived[Concatenate[_X, _P], _X]: ...
@overload
def holomorphic_grad(fun: Callable[_P, Any], argnum: SupportsIndex | _Argnums) -> Derived[_P, Any]: ...

# ---------------------------------------------------------------- tangents and cotangents

@overload
def make_vjp(  # type: ignore[overload-overlap]
    fun: Compiled[_P, _R], argnum: SupportsIndex | _Argnums = 0
) -> _Replayed[_P, tuple[Callable[[Any], Any], _R]]: ...
@overload
def make_vjp(
    fun: Callable[Concatenate[_ArrayLike, _P], _R], argnum: Literal[0] = 0
) -> Derived[Concatenate[Any, _P], tuple[Callable[[Any], Any], _R]]: ...
@overload
def make_vjp(
    fun: Callable[Concatenate[_X, _P], _R], argnum: Literal[0] = 0
) -> Derived[Concatenate[_X, _P], tuple[Callable[[Any], _X], _R]]: ...
@overload
def make_vjp(
    fun: Callable[_P, _R], argnum: SupportsIndex | _Argnums
) -> Derived[_P, tuple[Callable[[Any], Any], _R]]: ...
def vjp(fun: Callable[[*_Args], _R], *primals: *_Args) -> tuple[_R, Callable[[Any], tuple[*_Args]]]: ...
@overload
def make_jvp(  # type: ignore[overload-overlap]
    fun: Compiled[_P, _R], argnum: SupportsIndex | _Argnums = 0
) -> _Replayed[_P, Callable[[Any], tuple[_R, _R]]]: ...
@overload
def make_jvp(
    fun: Callable[Concatenate[_ArrayLike, _P], _R], argnum: Literal[0] = 0
) -> Derived[Concatenate[Any, _P], Callable[[Any], tuple[_R, _R]]]: ...
@overload
def make_jvp(
    fun: Callable[Concatenate[_X, _P], _R], argnum: Literal[0] = 0
) -> Derived[Concatenate[_X, _P], Callable[[_X], tuple[_R, _R]]]: ...
@overload
def make_jvp(
    fun: Callable[_P, _R], argnum: SupportsIndex | _Argnums
) -> Derived[_P, Callable[[Any], tuple[_R, _R]]]: ...
@overload
def jvp(fun: Callable[[*_Args], _R], primals: tuple[*_Args], tangents: tuple[*_Args]) -> tuple[_R, _R]: ...
@overload
def jvp(fun: Callable[..., _R], primals: list[Any], tangents: list[Any]) -> tuple[_R, _R]: ...
@overload
def make_jvp_reversemode(  # type: ignore[overload-overlap]
    fun: Compiled[_P, _R], argnum: SupportsIndex | _Argnums = 0
) -> _Replayed[_P, Callable[[Any], _R]]: ...
@overload
def make_jvp_reversemode(
    fun: Callable[Concatenate[_ArrayLike, _P], _R], argnum: Literal[0] = 0
) -> Derived[Concatenate[Any, _P], Callable[[Any], _R]]: ...
@overload
def make_jvp_reversemode(
    fun: Callable[Concatenate[_X, _P], _R], argnum: Literal[0] = 0
) -> Derived[Concatenate[_X, _P], Callable[[_X], _R]]: ...
@overload
def make_jvp_reversemode(
    fun: Callable[_P, _R], argnum: SupportsIndex | _Argnums
) -> Derived[_P, Callable[[Any], _R]]: ...
@overload
def deriv(  # type: ignore[overload-overlap]
    fun: Compiled[_P, _R], argnum: SupportsIndex | _Argnums = 0
) -> Compiled[_P, _R]: ...
@overload
def deriv(
    fun: Callable[Concatenate[_ArrayLike, _P], Any], argnum: SupportsIndex | _Argnums = 0
) -> Derived[Concatenate[Any, _P], Any]: ...
@overload
def deriv(fun: Callable[_P, _R], argnum: SupportsIndex | _Argnums = 0) -> Derived[_P, _R]: ...

# ---------------------------------------------------------------- Jacobians and Hessians

@overload
def jacobian(  # type: ignore[overload-overlap]
    fun: Compiled[_P, Any], argnum: SupportsIndex | _Argnums = 0
) -> _Replayed[_P, Any]: ...
@overload
def jacobian(
    fun: Callable[Concatenate[_ArrayLike, _P], Any], argnum: SupportsIndex | _Argnums = 0
) -> Derived[Concatenate[Any, _P], Any]: ...
@overload
def jacobian(
    fun: Callable[Concatenate[_Array, _P], _Numbers], argnum: Literal[0] = 0
) -> Derived[Concatenate[_Array, _P], NDArray[Any]]: ...
@overload
def jacobian(fun: Callable[_P, Any], argnum: SupportsIndex | _Argnums = 0) -> Derived[_P, Any]: ...

jacrev = jacobian

@overload
def jacfwd(  # type: ignore[overload-overlap]
    fun: Compiled[_P, Any], argnum: SupportsIndex | _Argnums = 0
) -> _Replayed[_P, Any]: ...
@overload
def jacfwd(
    fun: Callable[Concatenate[_ArrayLike, _P], Any], argnum: SupportsIndex | _Argnums = 0
) -> Derived[Concatenate[Any, _P], Any]: ...
@overload
def jacfwd(
    fun: Callable[Concatenate[_Array, _P], _Numbers], argnum: Literal[0] = 0
) -> Derived[Concatenate[_Array, _P], NDArray[Any]]: ...
@overload
def jacfwd(fun: Callable[_P, Any], argnum: SupportsIndex | _Argnums = 0) -> Derived[_P, Any]: ...
@overload
def hessian(  # type: ignore[overload-overlap]
    fun: Compiled[_P, Any], argnum: SupportsIndex | _Argnums = 0
) -> _Replayed[_P, Any]: ...
@overload
def hessian(
    fun: Callable[Concatenate[_ArrayLike, _P], Any], argnum: SupportsIndex | _Argnums = 0
) -> Derived[Concatenate[Any, _P], Any]: ...
@overload
def hessian(
    fun: Callable[Concatenate[_Array, _P], Any], argnum: Literal[0] = 0
) -> Derived[Concatenate[_Array, _P], NDArray[Any]]: ...
@overload
def hessian(fun: Callable[_P, Any], argnum: SupportsIndex | _Argnums = 0) -> Derived[_P, Any]: ...
@overload
def make_hvp(  # type: ignore[overload-overlap]
    fun: Compiled[_P, Any], argnum: SupportsIndex | _Argnums = 0
) -> _Replayed[_P, tuple[Callable[[Any], Any], Any]]: ...
@overload
def make_hvp(
    fun: Callable[Concatenate[_ArrayLike, _P], Any], argnum: Literal[0] = 0
) -> Derived[Concatenate[Any, _P], tuple[Callable[[Any], Any], Any]]: ...
@overload
def make_hvp(
    fun: Callable[Concatenate[_X, _P], Any], argnum: Literal[0] = 0
) -> Derived[Concatenate[_X, _P], tuple[Callable[[_X], _X], _X]]: ...
@overload
def make_hvp(
    fun: Callable[_P, Any], argnum: SupportsIndex | _Argnums
) -> Derived[_P, tuple[Callable[[Any], Any], Any]]: ...
@overload
def hvp(fun: Callable[[_X], Any], primals: tuple[_X], tangents: tuple[_X]) -> _X: ...
@overload
def hvp(
    fun: Callable[[_X, _Y, *_Args], Any],
    primals: tuple[_X, _Y, *_Args],
    tangents: tuple[_X, _Y, *_Args],
) -> tuple[_X, _Y, *_Args]: ...
@overload
def hvp(fun: Callable[..., Any], primals: list[Any], tangents: list[Any]) -> Any: ...

# The tensor comes after the arguments of the function, where only a fixed number of them can be typed.
@overload
def hessian_tensor_product(fun: Callable[[_X], Any], argnum: Literal[0] = 0) -> Derived[[_X, _X], _X]: ...
@overload
def hessian_tensor_product(
    fun: Callable[[_X, _Y], Any], argnum: Literal[0] = 0
) -> Derived[[_X, _Y, _X], _X]: ...
@overload
def hessian_tensor_product(
    fun: Callable[..., Any], argnum: SupportsIndex | _Argnums = 0
) -> Derived[..., Any]: ...

hessian_vector_product = hessian_tensor_product

@overload
def tensor_jacobian_product(
    fun: Callable[[_Array], _Numbers], argnum: Literal[0] = 0
) -> Derived[[_Array, Any], NDArray[Any]]: ...
@overload
def tensor_jacobian_product(
    fun: Callable[[_Array, _Y], _Numbers], argnum: Literal[0] = 0
) -> Derived[[_Array, _Y, Any], NDArray[Any]]: ...
@overload
def tensor_jacobian_product(
    fun: Callable[..., Any], argnum: SupportsIndex | _Argnums = 0
) -> Derived[..., Any]: ...

vector_jacobian_product = tensor_jacobian_product

@overload
def make_ggnvp(
    f: Callable[Concatenate[_ArrayLike, _P], _R], g: Callable[[_R], Any] = ..., f_argnum: Literal[0] = 0
) -> Derived[Concatenate[Any, _P], Callable[[Any], Any]]: ...
@overload
def make_ggnvp(
    f: Callable[Concatenate[_X, _P], _R], g: Callable[[_R], Any] = ..., f_argnum: Literal[0] = 0
) -> Derived[Concatenate[_X, _P], Callable[[_X], _X]]: ...
@overload
def make_ggnvp(
    f: Callable[_P, _R], g: Callable[[_R], Any] = ..., f_argnum: SupportsIndex | _Argnums = 0
) -> Derived[_P, Callable[[Any], Any]]: ...

# ---------------------------------------------------------------- what is kept, what is cut

def stop_gradient(x: _X) -> _X: ...
def checkpoint(fun: _Fun) -> _Fun: ...
