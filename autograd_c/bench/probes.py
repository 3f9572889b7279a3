"""Measurements that need a process of their own, since a peak of memory is never forgotten."""

import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

from .timing import measure
from .workloads import WORKLOADS, draw, elementwise, scalar_chain

__all__ = ["PROBES", "chain", "elementwise_by_hand", "elementwise_peak", "fresh", "peak_bytes", "unsettled"]

#: What one step of the scalar chain records: ``sin``, two products and a sum.
ENTRIES_PER_STEP = 4


def fresh(name: str, *arguments: Any) -> Any:
    """Return a probe's result, computed in a fresh process.

    Parameters
    ----------
    name : str
        A key of `PROBES`.
    *arguments
        Its arguments, numbers and strings.

    Raises
    ------
    subprocess.CalledProcessError
        When that process fails; what went wrong is on standard error.
    """
    command = [sys.executable, "-c", f"import {__name__} as probes; probes.answer()", name]
    return json.loads(subprocess.check_output([*command, *map(json.dumps, arguments)], text=True))


def answer():
    """Print the result of the probe that the command line names."""
    print(json.dumps(PROBES[sys.argv[1]](*map(json.loads, sys.argv[2:]))))


# ---- peaks ------------------------------------------------------------------------------------------------

STATUS = Path("/proc/self/status")


def peak_bytes(call: Callable[[], Any]) -> int:
    """Return the memory that `call` needs at its fullest, in bytes, beyond the process's peak before it.

    On Linux that is resident memory; elsewhere it is what Python and NumPy allocate, which leaves out the
    compiled core's own.

    Parameters
    ----------
    call : callable
        A program without arguments.
    """
    if not STATUS.exists():
        return traced_peak(call)
    before = most_resident()
    call()
    return most_resident() - before


def most_resident():
    """Return the largest resident set of this process; `getrusage` would start from its parent's."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def traced_peak(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# ---- probes -----------------------------------------------------------------------------------------------


def chain(entries: int, repeats: int = 3) -> dict[str, float]:
    """Return the fastest time and the peak memory of the gradient of a long scalar chain.

    Parameters
    ----------
    entries : int
        Entries on the tape, rounded down to whole steps.
    repeats : int
        Gradients to take the fastest of; the peak is the first one's.
    """
    import autograd_c.numpy
    from autograd_c import grad

    gradient = grad(lambda x, steps: scalar_chain(autograd_c.numpy, x, steps))
    steps = entries // ENTRIES_PER_STEP
    gradient(0.5, 10)  # loads what only a first gradient needs
    peak = peak_bytes(lambda: gradient(0.5, steps))
    return {
        "entries": steps * ENTRIES_PER_STEP,
        "peak_bytes": peak,
        "seconds": min(seconds(lambda: gradient(0.5, steps)) for _ in range(repeats)),
    }


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def elementwise_peak(how: str, size: int) -> int:
    """Return the peak memory of the elementwise work's gradient, in bytes, beside its input.

    Parameters
    ----------
    how : {"by_hand", "traced"}
        Written out in NumPy, or by `autograd_c.grad`.
    size : int
        Elements of the input.
    """
    import autograd_c.numpy
    from autograd_c import grad

    ways = {"by_hand": elementwise_by_hand, "traced": grad(lambda x: elementwise(autograd_c.numpy, x))}
    x = draw().normal(size=size)
    ways[how](x[:10])
    return peak_bytes(lambda: ways[how](x))


def elementwise_by_hand(x: numpy.ndarray) -> numpy.ndarray:
    """Return the gradient of the elementwise work as a careful user writes it, forward pass included."""
    squares = x**2
    tanh, decay = numpy.tanh(x), numpy.exp(-squares)
    value = numpy.sum(tanh * decay + numpy.log1p(squares))
    assert numpy.isfinite(value)
    along_squares = 1.0 / (1.0 + squares) - tanh * decay
    return (1.0 - tanh**2) * decay + 2.0 * x * along_squares


def unsettled(name: str, seconds: float) -> dict[str, float]:
    """Return the times of a work's forward pass and gradient in a process that has freed no large array.

    Parameters
    ----------
    name : str
        The work, of `autograd_c.bench.workloads.WORKLOADS`.
    seconds : float
        How long to measure.
    """
    from autograd_c import grad

    workload = WORKLOADS[name]
    inputs, forward = workload.make_inputs(), workload.forward()
    gradient = grad(workload.bind("autograd_c"), workload.argnum)
    calls = {"forward": lambda: forward(*inputs), "gradient": lambda: gradient(*inputs)}
    return measure(calls, seconds=seconds, settled=False)


PROBES: dict[str, Callable[..., Any]] = {
    "chain": chain,
    "elementwise_peak": elementwise_peak,
    "unsettled": unsettled,
}
