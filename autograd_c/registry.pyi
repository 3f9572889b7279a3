from collections.abc import Callable
from typing import Any, Literal

from numpy.typing import DTypeLike

__all__ = ["Row", "primitives"]

class Row:
    name: str
    fun: Callable[..., Any]
    handler: Callable[..., Any]
    kind: Literal["elementwise", "call", "maker", "composite", "constant", "none"]
    def __init__(self, fun: Callable[..., Any], handler: Any) -> None: ...
    @property
    def differentiable(self) -> bool: ...
    def samples(
        self, dtype: DTypeLike = ..., seed: int = 0
    ) -> list[tuple[tuple[Any, ...], dict[str, Any]]]: ...

def primitives() -> list[Row]: ...
