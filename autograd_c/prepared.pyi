# How compiled functions are replayed as parts of others; what users meet of it is what the operators return.

from collections.abc import Callable
from typing import Any

__all__ = [
    "Inlined",
    "Inside",
    "Prepared",
    "Unprepared",
    "Vectors",
    "call_inside",
    "is_leaf",
]

class Inlined(Exception): ...

class Unprepared:
    key: tuple[Any, ...] | None
    def __init__(self, key: tuple[Any, ...] | None = None) -> None: ...

class Prepared:
    prepare: Callable[..., tuple[Any, Callable[[Any], Any], Any]]
    of: Callable[..., Any]
    vectors: dict[tuple[Any, ...], Vectors]
    primitive: Any
    title: str
    later: str
    def __init__(
        self, prepare: Callable[..., tuple[Any, Callable[[Any], Any], Any]], of: Callable[..., Any]
    ) -> None: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Unprepared: ...
    def note(self, key: tuple[Any, ...], vector: Any) -> None: ...
    def noting(self, key: tuple[Any, ...], linear: Callable[[Any], Any]) -> Callable[[Any], Any]: ...
    def seen(self, recorded: Any) -> int: ...
    def result_of(self, recorded: Any) -> tuple[Any, tuple[int, ...]]: ...
    def again(self, linear: Any, vector: Any) -> Any: ...
    def given(self, vectors: Vectors, cotangents: list[Any]) -> list[Any]: ...

class Inside(Prepared):
    places: tuple[int, ...]
    mode: str
    def __init__(self, of: Callable[..., Any], places: tuple[int, ...]) -> None: ...

class Vectors:
    structure: Any
    looks: list[Any]
    are_known: bool
    def __init__(self, vector: Any) -> None: ...
    def zeros(self) -> list[Any]: ...
    def leaves_of(self, vector: Any) -> list[Any] | None: ...

def call_inside(compiled: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...
def is_leaf(value: Any) -> bool: ...
