from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar, overload

from ._core import Compiled

__all__ = ["Compiled", "ReplayWarning", "compile"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

class ReplayWarning(UserWarning): ...

@overload
def compile(
    fun: Callable[_P, _R],
    *,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    max_programs: int = 64,
    fastmath: bool = False,
    num_threads: int = 1,
) -> Compiled[_P, _R]: ...
@overload
def compile(
    fun: None = None,
    *,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    max_programs: int = 64,
    fastmath: bool = False,
    num_threads: int = 1,
) -> Callable[[Callable[_P, _R]], Compiled[_P, _R]]: ...
