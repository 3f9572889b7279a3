from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = ["Unit", "describe_program", "draw", "units_of", "work_of"]

class Unit(NamedTuple):
    kind: str
    nodes: list[Any]
    shape: tuple[int, ...] | None
    late: bool
    reads: dict[int, Any]
    writes: list[Any]

def units_of(recording: Any) -> list[Unit]: ...
def describe_program(program: Any, recording: Any, later: str | None = None) -> list[str]: ...
def work_of(program: Any, recording: Any, rows: int = 1) -> tuple[int, int, Counter[str]]: ...
def draw(programs: Sequence[tuple[str, Any]]) -> str: ...
