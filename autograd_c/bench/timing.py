"""Ratios that survive a noisy machine.

Frequency, caches and neighbours change from second to second, so two programs timed one after the
other are not comparable. Here they take turns: a round times each once, and each keeps its fastest
round. Noise only ever adds time, so the minima converge on what the programs cost. The heap is settled
first, and a turn begins with a call that is not timed, so that neither the order of the works nor the
number of programs matters.
"""

import contextlib
import gc
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy

__all__ = ["ONE_THREAD", "measure", "one_core", "one_thread_asked", "quiet_collector", "ratios"]

#: What asks the libraries below NumPy, PyTorch and JAX for one thread; read when they are loaded.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}

#: One folder for each thread of this process, on Linux.
TASKS = Path("/proc/self/task")

#: The larger the block, the more glibc keeps from then on; it learns nothing from blocks of more than 32 MiB.
SETTLING_BYTES = 30 * 2**20

#: A program that takes as long as so many turns cannot be an interrupted short one.
LONG_TURNS = 100

Call = Callable[[], Any]


def one_thread_asked() -> bool:
    """Tell whether this process was started with one thread for the numerical libraries."""
    return os.environ.get("OMP_NUM_THREADS") == "1"


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keep the threads of this process on one core, where the system can.

    Some libraries have threads of their own whatever they are asked for; XLA, below JAX, takes two for large
    matrices and arrays. Threads that are started meanwhile stay on that core.
    """
    if not hasattr(os, "sched_setaffinity") or not TASKS.exists():
        yield
        return
    cores = os.sched_getaffinity(0)
    move_threads({max(cores)})
    try:
        yield
    finally:
        move_threads(cores)


def move_threads(cores):
    for task in TASKS.iterdir():
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.sched_setaffinity(int(task.name), cores)


def measure(
    calls: Mapping[str, Call],
    *,
    seconds: float = 1.0,
    min_rounds: int = 5,
    slice_seconds: float = 1e-3,
    settled: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Return the fastest time of one call of each program, in seconds.

    Parameters
    ----------
    calls : mapping of str to callable
        Programs without arguments. Each is called once beforehand, unmeasured.
    seconds : float
        Keep adding rounds until this much time has passed.
    min_rounds : int
        Rounds to run even when they take longer than `seconds`.
    slice_seconds : float
        A program is repeated in a turn until the turn lasts about this long.
    settled : bool
        Whether to settle the heap first, see `settle_heap`.
    clock : callable
        Seconds from any origin, monotonic.

    Warns
    -----
    RuntimeWarning
        When ``OMP_NUM_THREADS`` is not 1, since threads make the ratios meaningless.

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # in case the documentation is tested with many threads
    ...     best = measure({"small": lambda: sum(range(9)), "large": lambda: sum(range(9999))}, seconds=0)
    >>> best["small"] < best["large"]
    True
    """
    if not one_thread_asked():
        message = "OMP_NUM_THREADS is not 1: ratios are comparable on one thread only"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    if settled:
        settle_heap()
    with quiet_collector():
        turns = {name: repetitions(call, slice_seconds, clock) for name, call in calls.items()}
        best = dict.fromkeys(calls, math.inf)
        deadline = clock() + seconds
        rounds = 0
        while rounds < min_rounds or clock() < deadline:
            for name, call in calls.items():
                call()  # refills the caches, which the program before has taken
                best[name] = min(best[name], turn(call, turns[name], clock) / turns[name])
            rounds += 1
    return best


def ratios(best: Mapping[str, float], reference: str) -> dict[str, float]:
    """Return every time but `reference`'s as a multiple of it.

    Examples
    --------
    >>> ratios({"forward": 2.0, "ours": 3.0, "peer": 8.0}, "forward")
    {'ours': 1.5, 'peer': 4.0}
    """
    return {name: value / best[reference] for name, value in best.items() if name != reference}


def turn(call: Call, count: int, clock: Callable[[], float]) -> float:
    """Return the seconds that `count` calls take together."""
    start = clock()
    for _ in repeat(None, count):
        call()
    return clock() - start


def repetitions(call: Call, slice_seconds: float, clock: Callable[[], float]) -> int:
    """Return how many calls fill a turn, after a first one that pays for compilation and caches.

    Each length is tried three times: where the only try was interrupted, all turns would be so short that
    they measure caches which the other programs have filled. A program that takes far longer than a turn
    is not tried again.
    """
    call()
    if turn(call, 1, clock) > LONG_TURNS * slice_seconds:
        return 1
    count = 1
    while (taken := min(turn(call, count, clock) for _ in range(3))) < slice_seconds / 2:
        count *= 2
    return max(1, round(count * slice_seconds / taken))


def settle_heap() -> None:
    """Bring the C library's heap to the state that it has in a process that has been at work for a while.

    At first glibc returns the memory of large arrays to the system whenever they are freed, and every pass
    over new arrays pays for it by page faults, several times the arithmetic. It stops as soon as one block
    of some MiB has been freed, so without this the figures would depend on what ran before. It takes
    NumPy's side: the gradients of this package reuse their memory either way.
    """
    block = numpy.empty(SETTLING_BYTES, dtype=numpy.uint8)
    del block


@contextlib.contextmanager
def quiet_collector() -> Iterator[None]:
    """Leave the cyclic collector on, as users have it, but free of what the imports left behind.

    Collections triggered by a tape are part of its cost; going through the hundred thousand objects
    of a peer that happens to be installed is not.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
