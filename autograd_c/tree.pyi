from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ._core import Structure

__all__ = [
    "Structure",
    "UntraceableLeaf",
    "argument_leaf",
    "describe",
    "flatten",
    "gather",
    "locate",
    "map_leaves",
    "name_of",
    "result_leaf",
    "unflatten",
]

_Tree = TypeVar("_Tree")

class UntraceableLeaf(TypeError):
    value: object
    cure: str
    def __init__(self, value: object, cure: str) -> None: ...

def name_of(fun: object) -> str: ...
def describe(value: object) -> str: ...
def argument_leaf(value: object) -> bool: ...
def result_leaf(value: object) -> bool: ...
def flatten(tree: object, is_leaf: Callable[[Any], bool] = ...) -> tuple[list[Any], Structure]: ...
def unflatten(structure: Structure, leaves: Iterable[Any], constants: bool = True) -> Any: ...
def gather(structure: Structure, tree: object) -> list[Any]: ...
def map_leaves(fun: Callable[[Any], Any], tree: _Tree, is_leaf: Callable[[Any], bool] = ...) -> _Tree: ...
def locate(tree: object, value: object) -> str: ...
