# The parameters go in and come out with one type: their structure stays. Floats among them come back as NumPy
# floats, which are floats, too.

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, SupportsIndex, TypeAlias, TypeVar, type_check_only

import numpy as np
from numpy.typing import NDArray

__all__ = ["LBFGS", "SGD", "Adam", "Interrupted", "OptimizeResult", "RMSProp", "minimize"]

_P = TypeVar("_P")
_Schedule: TypeAlias = Callable[[Any], Any]
_Seed: TypeAlias = (
    int | Sequence[int] | np.random.SeedSequence | np.random.BitGenerator | np.random.Generator | None
)

# An optimiser of one's own.
@type_check_only
class _Optimizer(Protocol):
    def init(self, params: Any, /) -> Any: ...
    def update(self, params: Any, gradient: Any, state: Any, /) -> tuple[Any, Any]: ...

class SGDState(NamedTuple):
    steps: Any
    velocity: Any

class RMSPropState(NamedTuple):
    steps: Any
    square: Any

class AdamState(NamedTuple):
    steps: Any
    mean: Any
    square: Any
    power1: Any
    power2: Any

class LBFGSState(NamedTuple):
    value: Any
    gradient: Any
    moves: tuple[Any, ...]
    changes: tuple[Any, ...]
    message: str

@dataclass(frozen=True)
class SGD:
    step_size: float | _Schedule
    momentum: float = ...
    nesterov: bool = ...
    def __post_init__(self) -> None: ...
    def init(self, params: object) -> SGDState: ...
    def update(self, params: _P, gradient: object, state: SGDState) -> tuple[_P, SGDState]: ...

@dataclass(frozen=True)
class RMSProp:
    step_size: float | _Schedule = ...
    decay: float = ...
    eps: float = ...
    def __post_init__(self) -> None: ...
    def init(self, params: object) -> RMSPropState: ...
    def update(self, params: _P, gradient: object, state: RMSPropState) -> tuple[_P, RMSPropState]: ...

@dataclass(frozen=True)
class Adam:
    step_size: float | _Schedule = ...
    b1: float = ...
    b2: float = ...
    eps: float = ...
    def __post_init__(self) -> None: ...
    def init(self, params: object) -> AdamState: ...
    def update(self, params: _P, gradient: object, state: AdamState) -> tuple[_P, AdamState]: ...

@dataclass(frozen=True)
class LBFGS:
    memory: int = ...
    gradient_tolerance: float = ...
    max_evaluations: int = ...
    decrease: float = ...
    curvature: float = ...
    def __post_init__(self) -> None: ...
    def init(self, params: object) -> LBFGSState: ...
    def search(
        self, value_and_gradient: Callable[[_P], tuple[Any, Any]], params: _P, state: LBFGSState
    ) -> tuple[float, _P, LBFGSState]: ...

@dataclass(frozen=True, eq=False)
class OptimizeResult(Generic[_P]):
    params: _P
    losses: NDArray[np.float64]
    state: Any
    steps: int
    message: str

class Interrupted(KeyboardInterrupt):
    result: OptimizeResult[Any]
    def __init__(self, result: OptimizeResult[Any]) -> None: ...

def minimize(
    loss: Callable[..., Any],
    params: _P,
    *,
    optimizer: _Optimizer | LBFGS,
    steps: SupportsIndex,
    data: Sequence[Any] = (),
    batch: SupportsIndex | None = None,
    seed: _Seed = None,
    callback: Callable[[int, _P, float], object] | None = None,
    every: SupportsIndex = 100,
    progress: bool = False,
    state: Any = None,
) -> OptimizeResult[_P]: ...
