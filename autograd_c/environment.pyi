from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["Environment", "owner", "same_bytes"]

class Environment:
    names: set[str]
    numbers: set[Any]
    reads: list[tuple[Any, ...]]
    labels: list[str]
    arrays: list[tuple[str, np.ndarray[Any, Any]]]
    owners: dict[int, np.ndarray[Any, Any]]
    objects: dict[int, Any]
    generators: list[Any]
    known: bool
    def __init__(self, fun: object, values: Iterable[object] = ()) -> None: ...
    def random_state(self) -> object: ...

def owner(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]: ...
def same_bytes(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool: ...
