"""What the package costs beside the ratios: calls, the import, memory, and how the costs grow.

Each has a name and yields a sentence, which is printed under the table, and the figures behind it.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from . import probes
from .timing import measure
from .workloads import draw

__all__ = ["OVERHEADS", "Settings", "call_overheads", "import_costs"]

MEGA = 1e6


@dataclass(frozen=True)
class Settings:
    """How thorough to be.

    Attributes
    ----------
    seconds : float
        For each primitive that is called.
    processes : int
        Fresh ones, for the import.
    entries : int
        Of the longest tape.
    elements : int
        Of the largest array.
    """

    seconds: float = 0.5
    processes: int = 7
    entries: int = 10**6
    elements: int = 10**7


# ---- calls without a box ----------------------------------------------------------------------------------

REPEATS = 100


def call_overheads(namespace: Any, seconds: float) -> dict[str, float]:
    """Return what a call with no box in it costs over NumPy's own call, in nanoseconds.

    Parameters
    ----------
    namespace : module
        ``autograd_c.numpy``, or another stand-in for NumPy.
    seconds : float
        How long to measure each primitive.
    """
    vector, square = draw().normal(size=10), draw().normal(size=(4, 4))
    arguments = {
        "sin": (vector,),
        "add": (vector, vector),
        "where": (vector > 0, vector, vector),
        "sum": (vector,),
        "reshape": (vector, (2, 5)),
        "matmul": (square, square),
    }
    return {
        name: added_nanoseconds(getattr(numpy, name), getattr(namespace, name), values, seconds)
        for name, values in arguments.items()
    }


def added_nanoseconds(plain, wrapped, values, seconds):
    best = measure({"plain": repeated(plain, values), "wrapped": repeated(wrapped, values)}, seconds=seconds)
    return (best["wrapped"] - best["plain"]) / REPEATS * 1e9


def repeated(function, values):
    """Return a program of many calls in a row, so that the call of the program itself does not count."""

    def run():
        for _ in range(REPEATS):
            function(*values)

    return run


# ---- the import -------------------------------------------------------------------------------------------

IMPORTS = """
import time
start = time.perf_counter()
import numpy, scipy.linalg
middle = time.perf_counter()
import {package}, {package}.numpy
print(middle - start, time.perf_counter() - middle)
"""


def import_costs(package: str = "autograd_c", processes: int = 7) -> tuple[float, float]:
    """Return the seconds to import NumPy and ``scipy.linalg``, and those that `package` adds.

    Parameters
    ----------
    package : str
        The package, imported together with its ``numpy`` module.
    processes : int
        Fresh processes to take the minimum of, after one that compiles what has no byte code yet.
    """
    runs = [import_once(package) for _ in range(1 + processes)]
    base, added = zip(*runs[1:], strict=True)
    return min(base), min(added)


def import_once(package):
    """Return the seconds of both imports in a fresh process, whatever the environment says of byte code."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", IMPORTS.format(package=package)]
    return [float(word) for word in subprocess.check_output(command, env=environment, text=True).split()]


# ---- what the table prints --------------------------------------------------------------------------------


def calls(settings):
    import autograd_c.numpy

    added = call_overheads(autograd_c.numpy, settings.seconds)
    listed = ", ".join(f"{name} {nanoseconds:+.0f}" for name, nanoseconds in added.items())
    return f"call without a box, over NumPy's, in ns (at most 60): {listed}", added


def imports(settings):
    base, added = import_costs(processes=settings.processes)
    sentence = (
        f"import: {added * 1e3:.0f} ms (at most 60) after {base * 1e3:.0f} ms for numpy and scipy.linalg"
    )
    return sentence, {"numpy_and_scipy_seconds": base, "added_seconds": added}


def memory(settings):
    measured = probes.fresh("chain", settings.entries)
    each = measured["peak_bytes"] / measured["entries"]
    return f"memory per entry of a scalar chain: {each:.0f} bytes (at most 96)", measured


def peak(settings):
    size = settings.elements
    by_hand = probes.fresh("elementwise_peak", "by_hand", size)
    ours = probes.fresh("elementwise_peak", "traced", size)
    sentence = (
        f"peak of elementwise n = {size:.0e}: {ours / MEGA:.0f} MB, by hand {by_hand / MEGA:.0f} MB, "
        f"ratio {ours / by_hand:.2f} (at most 1.1)"
    )
    return sentence, {"size": size, "bytes": ours, "by_hand_bytes": by_hand}


def growth(settings):
    lengths = [10**power for power in range(4, len(str(settings.entries)))]
    runs = [probes.fresh("chain", entries) for entries in lengths]
    listed = ", ".join(f"{run['entries']:.0e}: {run['seconds'] / run['entries'] * 1e9:.0f}" for run in runs)
    return f"gradient of a scalar chain, in ns per entry, by entries: {listed}", runs


def unsettled(settings):
    name = "elementwise_100000"
    figures = probes.fresh("unsettled", name, settings.seconds)
    ratio = figures["gradient"] / figures["forward"]
    sentence = (
        f"{name} where no large array was freed before: "
        f"NumPy's forward pass {figures['forward'] * 1e6:.0f} us, ratio {ratio:.2f}"
    )
    return sentence, {"work": name, "forward_seconds": figures["forward"], "ratio": ratio}


# ---- replays ----------------------------------------------------------------------------------------------


def replay_call(settings):
    taken = probes.fresh("replay_call", settings.seconds)
    return f"replayed call, one array in and one out: {taken * 1e6:.2f} us (at most 0.7)", taken


def instructions(settings):
    costs = probes.fresh("instructions", settings.seconds)
    array, scalar = costs["array"] * 1e9, costs["scalar"] * 1e9
    return (
        f"replayed instruction with its arithmetic: {array:.1f} ns for eight numbers (at most 12 beside it), "
        f"{scalar:.1f} ns for one (at most 3 beside it)"
    ), costs


def recording(settings):
    lengths = [10**power for power in range(3, 7) if 10**power <= settings.entries]
    runs = [probes.fresh("recording", entries, 3) for entries in lengths]
    listed = ", ".join(
        f"{run['nodes']:.0e}: {run['seconds'] / run['nodes'] * 1e9:.0f} "
        f"({run['seconds'] / run['eager_seconds']:.0f})"
        for run in runs
    )
    sentence = f"recording, in ns per node (and in eager gradients, at most 10), by nodes: {listed}"
    return sentence, runs


def replay_memory(settings):
    figures, parts = {}, []
    for work, size in (("elementwise", settings.elements), ("chain", min(settings.entries, 10**6))):
        eager, replay = (probes.fresh("replay_peak", work, how, size) for how in ("eager", "replay"))
        figures[work] = {"size": size, "eager_bytes": eager, "replay_bytes": replay}
        parts.append(
            f"{work} {replay / MEGA:.0f} MB, eager {eager / MEGA:.0f} MB, ratio {replay / eager:.2f}"
        )
    return f"peak of a replay (ratio at most 1): {'; '.join(parts)}", figures


def threads(settings):
    name = "elementwise_100000"
    gain = probes.fresh("two_threads", name, settings.seconds)
    return f"{name}, replayed by two threads: {gain:.2f} times the calls of one (at least 1.8)", {
        "work": name,
        "gain": gain,
    }


#: What `autograd-c bench` measures after the works, by the names that ``--only`` selects from.
OVERHEADS: dict[str, Callable[[Settings], tuple[str, Any]]] = {
    "calls": calls,
    "import": imports,
    "memory": memory,
    "peak": peak,
    "growth": growth,
    "unsettled": unsettled,
    "replay_call": replay_call,
    "instructions": instructions,
    "recording": recording,
    "replay_memory": replay_memory,
    "threads": threads,
}
