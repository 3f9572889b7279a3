"""What a replay costs: calls, instructions, recording and memory, and what threads gain."""

import gc
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy

from .memory import peak_beyond, peak_bytes, resident
from .timing import measure, settle_heap, turn
from .workloads import ENTRIES_PER_STEP, WORKLOADS, draw, elementwise, scalar_chain

__all__ = ["PROBES", "instruction_costs", "recording", "replay_call", "replay_peak", "two_threads"]

# ---- calls and instructions -------------------------------------------------------------------------------


def recorded(fun: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """Return `fun` compiled, and recorded for arguments like these."""
    from autograd_c.replay import compile

    function = compile(fun)
    for _ in range(3):
        function(*arguments)
    return function


def replay_call(seconds: float) -> float:
    """Return the seconds of a replayed call, one short array in and one out, an instruction between.

    Parameters
    ----------
    seconds : float
        How long to measure.
    """
    x = draw().normal(size=8)
    function = recorded(lambda x: x + 1.0, x)
    return measure({"call": lambda: function(x)}, seconds=seconds)["call"]


def polynomial(x, a, b, steps):
    """Two instructions a step, with operands that are not known when it is recorded."""
    for _ in range(steps):
        x = x * a + b
    return x


def instruction_costs(seconds: float, short: int = 100, long: int = 1100) -> dict[str, float]:
    """Return the seconds of one more instruction: the slope between two lengths of a program.

    Its arithmetic is a product or a sum that waits for the one before: some 1.5 ns for numbers.

    Parameters
    ----------
    seconds : float
        How long to measure.
    short, long : int
        Steps of both programs, with two instructions each.

    Returns
    -------
    dict
        ``scalar`` for Python floats, ``array`` for arrays of eight numbers.
    """
    inputs = {
        "scalar": (0.5, 0.999, 0.001),
        "array": tuple(numpy.full(8, value) for value in (0.5, 0.999, 0.001)),
    }
    calls = {
        (kind, steps): bound_program(arguments, steps)
        for kind, arguments in inputs.items()
        for steps in (short, long)
    }
    best = measure(calls, seconds=seconds)
    return {kind: (best[kind, long] - best[kind, short]) / (2 * (long - short)) for kind in inputs}


def bound_program(arguments, steps):
    function = recorded(polynomial, *arguments, steps)
    return lambda: function(*arguments, steps)


# ---- recording --------------------------------------------------------------------------------------------


def recording(entries: int, repeats: int = 3) -> dict[str, float]:
    """Return what recording the gradient of a long scalar chain takes, and one eager gradient.

    Parameters
    ----------
    entries : int
        Entries on the eager tape, rounded down to whole steps.
    repeats : int
        Recordings and gradients to take the fastest of.

    Returns
    -------
    dict
        ``nodes`` of the recorded program, the ``seconds`` of the first two calls of a compiled function,
        and the ``eager_seconds`` of one gradient.
    """
    from autograd_c.replay import compile

    from .peers import programs

    gradient = gradient_of(scalar_chain)
    steps = entries // ENTRIES_PER_STEP
    recorded(gradient, 0.5, 10)  # loads what only a first recording needs
    times = []
    for _ in range(repeats):
        function = compile(gradient)
        times.append(turn(lambda function=function: function(0.5, steps), 2, time.perf_counter))
    (program,) = programs(function)
    eager = min(turn(lambda: gradient(0.5, steps), 1, time.perf_counter) for _ in range(repeats))
    return {"nodes": program.summary["recorded"], "seconds": min(times), "eager_seconds": eager}


# ---- memory -----------------------------------------------------------------------------------------------


def replay_peak(work: str, how: str, size: int) -> int:
    """Return the peak memory of a gradient in bytes, beside its input.

    Parameters
    ----------
    work : {"elementwise", "chain"}
        The elementwise work, or a scalar chain.
    how : {"eager", "replay"}
        With ``"replay"`` it is the peak of calls after those that record, with all that the compiled
        function keeps between them, and of making machine code on the way.
    size : int
        Elements of the input, or entries of the eager tape.
    """
    from .peers import until_machine_code

    fun, make_inputs = PEAK_WORKS[work]
    gradient = gradient_of(fun)
    small, inputs = make_inputs(100), make_inputs(size)
    recorded(gradient, *small)  # loads what only a first recording needs
    if how == "eager":
        return peak_bytes(lambda: gradient(*inputs))
    gc.collect()
    base = resident()
    function = recorded(gradient, *inputs)
    gc.collect()
    calls = 1 + until_machine_code(function)
    return peak_beyond(base, lambda: turn(lambda: function(*inputs), calls, time.perf_counter))


def gradient_of(fun):
    import autograd_c.numpy
    from autograd_c import grad

    return grad(lambda *inputs: fun(autograd_c.numpy, *inputs))


PEAK_WORKS = {
    "elementwise": (elementwise, lambda size: (draw().normal(size=size),)),
    "chain": (scalar_chain, lambda size: (0.5, size // ENTRIES_PER_STEP)),
}

# ---- threads ----------------------------------------------------------------------------------------------


def two_threads(name: str, seconds: float) -> float:
    """Return how many times the calls of one thread two threads make in the same time.

    Parameters
    ----------
    name : str
        The work whose compiled gradient both threads call, of `autograd_c.bench.workloads.WORKLOADS`.
    seconds : float
        How long to measure.
    """
    workload = WORKLOADS[name]
    function = recorded(gradient_of(workload.fun), *workload.make_inputs())
    inputs = [workload.make_inputs() for _ in range(2)]
    settle_heap()
    taken = turn(lambda: function(*inputs[0]), 10, time.perf_counter) / 10
    count = max(1, round(0.05 / taken))

    def calls(inputs):
        turn(lambda: function(*inputs), count, time.perf_counter)

    best = {1: math.inf, 2: math.inf}
    deadline = time.perf_counter() + seconds
    with ThreadPoolExecutor(2) as pool:
        while math.isinf(best[2]) or time.perf_counter() < deadline:
            for threads in best:
                start = time.perf_counter()
                list(pool.map(calls, inputs[:threads]))
                best[threads] = min(best[threads], time.perf_counter() - start)
    return 2 * best[1] / best[2]


PROBES: dict[str, Callable[..., Any]] = {
    "replay_call": replay_call,
    "instructions": instruction_costs,
    "recording": recording,
    "replay_peak": replay_peak,
    "two_threads": two_threads,
}
