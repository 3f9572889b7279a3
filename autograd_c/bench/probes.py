"""Measurements that need a process of their own, for its memory or its state."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from . import hand_works, replay_probes
from .memory import peak_bytes
from .timing import measure
from .workloads import ENTRIES_PER_STEP, WORKLOADS, draw, elementwise, scalar_chain

__all__ = ["PROBES", "chain", "elementwise_peak", "fresh", "unsettled"]


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

    ways = {"by_hand": hand_works.elementwise, "traced": grad(lambda x: elementwise(autograd_c.numpy, x))}
    x = draw().normal(size=size)
    ways[how](x[:10])
    return peak_bytes(lambda: ways[how](x))


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
    **replay_probes.PROBES,
}
