from collections.abc import Callable, Sequence
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar

from .operators import Derived

__all__ = ["check_equivalent", "check_grads", "check_jvp", "check_vjp", "combo_check"]

_P = ParamSpec("_P")
_X = TypeVar("_X")
_Mode: TypeAlias = Literal["fwd", "rev"]

def check_grads(
    fun: Callable[_P, Any],
    argnum: int | tuple[int, ...] | list[int] = 0,
    modes: Sequence[_Mode] = ("fwd", "rev"),
    order: int = 2,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
) -> Derived[_P, None]: ...
def check_jvp(
    fun: Callable[[_X], Any], x: _X, rtol: float | None = None, atol: float | None = None, seed: int = 0
) -> None: ...
def check_vjp(
    fun: Callable[[_X], Any], x: _X, rtol: float | None = None, atol: float | None = None, seed: int = 0
) -> None: ...
def check_equivalent(x: Any, y: Any, rtol: float | None = None, atol: float | None = None) -> None: ...
def combo_check(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., None]: ...
