from typing import Any

import numpy as np

__all__ = ["Csr", "Dense", "SymmetricCsr"]

class Dense:
    shape: tuple[int, ...]
    data: Any
    def __init__(self, walk: Any) -> None: ...
    def __call__(self, data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]: ...

class Csr:
    symmetric: bool
    data: Any
    def __init__(self, walk: Any) -> None: ...
    def __call__(self, data: np.ndarray[Any, Any]) -> Any: ...

class SymmetricCsr(Csr): ...
