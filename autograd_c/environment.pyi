from collections.abc import Iterable
from typing import Any, Self, final

import numpy as np

__all__ = ["Environment", "owning_array", "same_bytes"]

@final
class Environment:
    names: set[str]
    numbers: set[Any]
    reads: list[tuple[Any, ...]]
    labels: list[str]
    arrays: list[np.ndarray[Any, Any]]
    owners: dict[int, np.ndarray[Any, Any]]
    scalars: dict[int, Any]
    objects: dict[int, Any]
    generators: list[Any]
    known: bool
    def __new__(cls, fun: object, values: Iterable[object] = ()) -> Self: ...
    def copies(self) -> list[np.ndarray[Any, Any]]: ...
    def random_state(self) -> object: ...

def owning_array(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]: ...
def same_bytes(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool: ...
