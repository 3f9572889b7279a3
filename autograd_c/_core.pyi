# What is public of the compiled core, as names of `autograd_c.extend` and `autograd_c.tree`.

import builtins
from collections.abc import Callable, Iterable
from typing import (
    Any,
    ClassVar,
    Concatenate,
    Generic,
    Never,
    ParamSpec,
    Self,
    TypeVar,
    final,
    overload,
)

import numpy as np

_P = ParamSpec("_P")
_Q = ParamSpec("_Q")
_R = TypeVar("_R")
_R_co = TypeVar("_R_co", covariant=True)
_Self = TypeVar("_Self")

# At run time a box is no ndarray. It is typed as one because it comes where a function says that it takes an
# ndarray, with the same attributes, methods and operators.
@final
class Box(np.ndarray[tuple[Any, ...], np.dtype[Any]]):
    def __init__(self, *args: Never) -> None: ...
    def __hash__(self) -> int: ...  # type: ignore[override]

@final
class Meta:
    def __init__(self, shape: Iterable[int], dtype: np.typing.DTypeLike) -> None: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def size(self) -> int: ...
    def __len__(self) -> int: ...

@final
class Primitive(Generic[_P, _R_co]):
    __name__: str
    __qualname__: str
    def __init__(self, fun: Callable[_P, _R_co], name: str | None = None) -> None: ...
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co: ...
    @overload
    def __get__(self, instance: None, owner: type | None = None, /) -> Self: ...
    @overload
    def __get__(
        self: Primitive[Concatenate[_Self, _Q], _R], instance: _Self, owner: type | None = None, /
    ) -> Callable[_Q, _R]: ...
    def __getattr__(self, attribute: str, /) -> Any: ...
    @property
    def fun(self) -> Callable[_P, _R_co]: ...
    @property
    def name(self) -> str: ...
    @property
    def nin(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def rules(self) -> tuple[Any, ...] | None: ...

@final
class Structure:
    def __init__(self, *args: Never) -> None: ...
    @property
    def type(self) -> builtins.type[list[Any] | tuple[Any, ...] | dict[Any, Any]] | None: ...
    @property
    def children(self) -> list[Structure]: ...
    @property
    def keys(self) -> list[Any] | None: ...
    @property
    def value(self) -> Any: ...
    @property
    def size(self) -> int: ...
    @property
    def is_leaf(self) -> bool: ...
    @property
    def is_constant(self) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]
