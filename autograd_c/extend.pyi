from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar, overload

import numpy as np

from ._core import Box, Meta, Primitive
from .vspace import VSpace, vspace

__all__ = [
    "Box",
    "Meta",
    "Primitive",
    "VSpace",
    "call",
    "chosen",
    "composite",
    "constant",
    "def_linear",
    "defjvp",
    "defjvp_argnum",
    "defjvp_argnums",
    "defvjp",
    "defvjp_argnum",
    "defvjp_argnums",
    "elementwise",
    "notrace_primitive",
    "primitive",
    "refuse",
    "rule",
    "vspace",
]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Fun: TypeAlias = Callable[..., Any]
_Partial: TypeAlias = Callable[..., Any] | complex | None
_Interval: TypeAlias = tuple[float, float]
_AnyPrimitive: TypeAlias = Primitive[..., Any]
_Examples: TypeAlias = Iterable[Callable[[Any], tuple[tuple[Any, ...], dict[str, Any]]]]

# --- rows ---------------------------------------------------------------------------------------

@overload
def elementwise(
    fun: np.ufunc,
    *partials: _Partial,
    complex_partials: Sequence[_Partial] | None = None,
    types: str | None = None,
    name: str | None = None,
    domain: _Interval | Sequence[_Interval] | None = None,
) -> _AnyPrimitive: ...
@overload
def elementwise(
    fun: Callable[_P, _R],
    *partials: _Partial,
    complex_partials: Sequence[_Partial] | None = None,
    types: str | None = None,
    name: str | None = None,
    domain: _Interval | Sequence[_Interval] | None = None,
) -> Primitive[_P, _R]: ...
def chosen(condition: Any, x: Any, y: Any) -> Any: ...
def call(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]: ...
def rule(
    fun: Callable[_P, _R],
    vjp: _Fun | Sequence[_Fun | None],
    jvp: _Fun | Literal["same"] | Sequence[_Fun | Literal["same"] | None],
    name: str | None = None,
    examples: _Examples = (),
) -> Primitive[_P, _R]: ...
def constant(*funs: _Fun) -> None: ...
def refuse(advice: str, *funs: _Fun) -> None: ...
def composite(
    *funs: _Fun, examples: _Examples = (), in_place: bool = False, joins: bool = False
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...

# --- HIPS/autograd's way ------------------------------------------------------------------------

# All makers and rules get what the primitive was called with; `argnums` names the traced arguments.
_Vjp: TypeAlias = Callable[[Any], Any]

def primitive(fun: Callable[_P, _R]) -> Primitive[_P, _R]: ...
def notrace_primitive(fun: Callable[_P, _R]) -> Primitive[_P, _R]: ...
def defvjp(
    fun: _AnyPrimitive, *makers: Callable[..., _Vjp] | None, argnums: Sequence[int] | None = None
) -> None: ...
def defvjp_argnum(
    fun: _AnyPrimitive, maker: Callable[[int, Any, tuple[Any, ...], dict[str, Any]], _Vjp]
) -> None: ...
def defvjp_argnums(
    fun: _AnyPrimitive,
    maker: Callable[[Sequence[int], Any, tuple[Any, ...], dict[str, Any]], Callable[[Any], Sequence[Any]]],
) -> None: ...
def defjvp(
    fun: _AnyPrimitive, *jvps: _Fun | Literal["same"] | None, argnums: Sequence[int] | None = None
) -> None: ...
def defjvp_argnum(
    fun: _AnyPrimitive, jvp: Callable[[int, Any, Any, tuple[Any, ...], dict[str, Any]], Any]
) -> None: ...
def defjvp_argnums(
    fun: _AnyPrimitive,
    jvp: Callable[[Sequence[int], Sequence[Any], Any, tuple[Any, ...], dict[str, Any]], Any],
) -> None: ...
def def_linear(fun: _AnyPrimitive) -> None: ...
