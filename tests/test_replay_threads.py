"""Replays on several threads, and long replays that are interrupted.

Large elementwise work is split among `num_threads` threads by items: elementwise results must be those of one
thread, bit for bit, and sums the same at every call. A long replay looks for signals between its pieces.
"""

import _thread
import os
import signal
import subprocess
import sys
import threading
import time

import numpy
import pytest

import autograd_c.numpy as np
from autograd_c import compile, grad, value_and_grad
from autograd_c._core import ReplayProgram, record_call_of

THREADS = [2, 3, 5]
LARGE = 150_001  # neither a multiple of blocks nor of threads


def replayed(fun, *args, **options):
    """A compiled function that has its program for these arguments."""
    compiled = compile(fun, **options)
    for _ in range(3):
        compiled(*args)
    assert len(compiled.programs) == 1
    return compiled


def values(*shape):
    return numpy.random.default_rng(0).normal(size=shape)


# ---------------------------------------------------------------- results


ELEMENTWISE = {
    "arithmetic": lambda x: (x * 2.0 + 1.0) * x - x / (x * x + 1.0),
    "functions": lambda x: np.tanh(x) * np.exp(-(x**2)) + np.log1p(x**2),
    "one": lambda x: np.sin(x),
    "choice": lambda x: np.where(x > 0, x * x, -x) + np.maximum(x, 0.5),
    "shifted": lambda x: (x[1:] - x[:-1]) * x[1:] + np.cos(x[:-1]),
    "stretched": lambda x: x[::3] * 2.0 + np.sin(x[::3]),
    "row": lambda x: np.reshape(x[:150_000], (300, 500)) * x[:500] + np.exp(x[:500]),
    "column": lambda x: np.reshape(x[:150_000], (300, 500)) * np.reshape(x[:300], (300, 1)) + 1.0,
    "transposed": lambda x: np.reshape(x[:150_000], (300, 500)).T * 2.0 + np.reshape(x[:150_000], (500, 300)),
    "joined": lambda x: np.concatenate([x, x[::-1], x]) * 3.0,
}


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_results_do_not_depend_on_threads(name, threads):
    fun, x = ELEMENTWISE[name], values(LARGE)
    one = replayed(fun, x)
    several = replayed(fun, x, num_threads=threads)
    numpy.testing.assert_array_equal(several(x), one(x))
    x = x[::-1].copy()
    numpy.testing.assert_array_equal(several(x), fun(x))


REDUCED = {
    "all": (lambda x: np.sum(x * x + np.sin(x)), (LARGE,)),
    "two": (lambda x: np.sum(x * x) * np.max(x - 1.0) + np.prod(1.0 + 1e-6 * x), (LARGE,)),
    "alone": (lambda x: np.sum(x), (LARGE,)),
    "leading": (lambda x: np.sum(x * x, axis=0), (3001, 70)),
    "leading, long rows": (lambda x: np.sum(x * x, axis=0), (23, 7001)),
    "leading, too few rows": (lambda x: np.sum(x * x, axis=0), (3, 70_001)),
    "leading, alone": (lambda x: np.sum(x, axis=0), (3001, 70)),
    "trailing": (lambda x: np.sum(x * x, axis=1), (3001, 70)),
    "trailing, short rows": (lambda x: np.sum(x * x, axis=1), (70_001, 3)),
    "trailing, few rows": (lambda x: np.sum(x * x, axis=1), (3, 70_001)),
    "trailing, rows of eight and more": (lambda x: np.sum(x * x, axis=1), (9_001, 13)),
    "middle": (lambda x: np.sum(x * x, axis=1), (21, 101, 91)),
    "middle, short rows": (lambda x: (np.sum(x * x, axis=1), np.max(x * x, axis=1)), (25, 1001, 10)),
    "both": (lambda x: (np.sum(x * x, axis=0), np.sum(np.sin(x), axis=1)), (401, 503)),
    "three axes": (lambda x: (np.sum(x * x, axis=(1, 2)), np.sum(x * x, axis=2)), (21, 101, 91)),
}


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("name", REDUCED)
def test_sums_agree_to_rounding_and_are_the_same_each_time(name, threads):
    fun, shape = REDUCED[name]
    x = values(*shape)
    one, several = replayed(fun, x), replayed(fun, x, num_threads=threads)
    for a, b, c in zip(flat(several(x)), flat(several(x)), flat(one(x)), strict=True):
        numpy.testing.assert_array_equal(a, b)
        numpy.testing.assert_allclose(a, c, rtol=1e-13, atol=1e-10)


def flat(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_extremes_do_not_depend_on_threads(axis, threads, dtype):
    x = values(911, 307).astype(dtype)
    several = replayed(lambda x: np.max(x * -2, axis=axis), x, num_threads=threads)
    numpy.testing.assert_array_equal(several(x), numpy.max(x * -2, axis=axis))
    assert several(x).dtype == dtype


def test_gradients_on_threads():
    x = values(LARGE)

    def loss(x):
        return np.sum(ELEMENTWISE["functions"](x)) + np.mean(x[::2] ** 2)

    numpy.testing.assert_array_equal(replayed(grad(loss), x, num_threads=2)(x), replayed(grad(loss), x)(x))


def test_warnings_come_from_all_threads():
    """The flags that the last items raise, which another thread computes, reach the caller."""
    x = numpy.ones(LARGE)
    compiled = replayed(lambda x: np.log(x) * 2.0 + 1.0, x, num_threads=4)
    for place in (0, LARGE // 2, LARGE - 1):
        bad = x.copy()
        bad[place] = 0.0
        with pytest.warns(RuntimeWarning, match="divide by zero"):
            compiled(bad)
    with numpy.errstate(all="raise"):
        compiled(x)


# ---------------------------------------------------------------- many calls at once


def in_threads(work, count=4):
    """Runs work(0), work(1), ... at once, and raises what any of them raises."""
    errors = []

    def guarded(number):
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("num_threads", [1, 2])
def test_one_function_called_by_many_threads(num_threads):
    """Each call has arena and results of its own, whether it gets the pool or finds it busy."""
    x = values(40_000)
    compiled = replayed(
        value_and_grad(lambda x: np.sum(ELEMENTWISE["functions"](x))), x, num_threads=num_threads
    )
    expected = [compiled(x + number) for number in range(4)]

    def work(number):
        for _ in range(40):
            value, gradient = compiled(x + number)
            assert value == expected[number][0]
            numpy.testing.assert_array_equal(gradient, expected[number][1])

    in_threads(work)


def test_different_functions_share_the_pool():
    functions = [replayed(fun, values(LARGE), num_threads=3) for fun in ELEMENTWISE.values()]

    def work(number):
        x = values(LARGE) * (1.0 + number)
        for fun, compiled in zip(ELEMENTWISE.values(), functions, strict=True):
            numpy.testing.assert_array_equal(compiled(x), fun(x))

    in_threads(work)


FORKED = """
import os, sys, threading
import numpy
import autograd_c.numpy as np
from autograd_c import compile

x = numpy.linspace(0.0, 1.0, 300_000)
compiled = compile(lambda x: np.sin(x) * x + 1.0, num_threads=3)
for _ in range(4):
    expected = compiled(x)
busy = True
def work():
    while busy:
        compiled(x)
other = threading.Thread(target=work)
other.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        same = all(numpy.array_equal(compiled(x), expected) for _ in range(3))
        os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
busy = False
other.join()
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_process_has_a_pool_of_its_own():
    """Forked while another thread uses the pool: the child does not wait for threads that it has not."""
    out = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True, timeout=120
    )
    assert out.stdout == "done\n", out.stderr


# ---------------------------------------------------------------- interrupts


class Interrupted(Exception):
    pass


def assert_interrupted(work):
    """A signal is handled long before `work` is done; on a busy machine, in one of several attempts."""
    whole = min(seconds(work) for _ in range(3))
    # At the end of the work it would be 3 / 4.
    assert any(interrupted(work, whole / 4) < whole / 2 for _ in range(6))


def seconds(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def interrupted(work, after):
    """Seconds from a signal, `after` seconds from now, to its handler, which interrupts `work`."""
    handled = []

    def handler(number, frame):
        handled.append(time.perf_counter())
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    begin = time.perf_counter()
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        with pytest.raises(Interrupted):
            work()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return handled[0] - begin - after


needs_alarm = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signal.setitimer")


def slow(x):
    for _ in range(25):
        x = np.sin(x) + np.arctan2(x, 2.0)
    return x


def slow_sum(x):
    return np.sum(slow(x), axis=0)


@needs_alarm
@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("fun", [slow, slow_sum])
def test_a_large_group_is_interrupted(fun, num_threads):
    x = values(1_000_000)
    compiled = replayed(fun, x, num_threads=num_threads)
    expected = compiled(x)
    assert_interrupted(lambda: compiled(x))
    numpy.testing.assert_array_equal(compiled(x), expected)


HALTING = {
    "group": (lambda x: np.sin(x) * x + 1.0, (1_500_001,)),
    "all": (lambda x: np.sum(x * x), (1_500_001,)),
    "alone": (lambda x: np.sum(x), (1_500_001,)),
    "leading": (lambda x: np.sum(x * x, axis=0), (3001, 500)),
    "trailing": (lambda x: np.sum(x * x, axis=1), (3001, 500)),
    "long rows": (lambda x: np.sum(x * x, axis=1), (3, 500_001)),
    "gathered": (lambda x: x.T * 2.0 + np.reshape(x, x.T.shape), (1001, 1501)),
    "copy": (lambda x: np.concatenate([x.T, x.T]), (1001, 1501)),
    "long rows of a copy": (lambda x: np.concatenate([x[:, ::2], x[:, ::2]]), (3, 1_000_001)),
    "line": (lambda x: np.concatenate([x[::-1], x]), (1_500_001,)),
}


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("name", HALTING)
def test_a_run_that_stops_at_every_look_gives_the_same(name, num_threads):
    fun, shape = HALTING[name]
    x = values(*shape)
    outs, recording = record_call_of(lambda boxes: [fun(boxes[0])], [x])
    del outs
    program = ReplayProgram(recording, (), num_threads)
    (expected,) = program.run([x])
    program.slice = 0.0
    numpy.testing.assert_array_equal(program.run([x])[0], expected)
    numpy.testing.assert_allclose(expected, fun(x), rtol=1e-12)


@needs_alarm
def test_a_long_program_is_interrupted():
    x = values(400, 400)

    def long(x):
        for _ in range(100):
            x = np.matmul(x, np.tanh(x))
            x = x / np.max(x)
        return x

    compiled = replayed(long, x)
    expected = compiled(x)
    assert_interrupted(lambda: compiled(x))
    numpy.testing.assert_array_equal(compiled(x), expected)


@needs_alarm
def test_python_inside_a_program_is_interrupted():
    """Steps that are left to Python, none of them long."""
    x = values(60, 60) + 9.0 * numpy.eye(60)

    def long(x):
        for _ in range(50):
            x = np.linalg.pinv(x) + 0.01 * x.T
        return x

    compiled = replayed(long, x)
    expected = compiled(x)
    assert_interrupted(lambda: compiled(x))
    numpy.testing.assert_array_equal(compiled(x), expected)


def loop_program():
    """A program of one scalar step and its inputs, for runs in a loop."""
    compiled = replayed(lambda x, w: (x * w + 0.25, x), 0.5, 0.5)
    (signature,) = compiled.policy.signatures.values()
    return signature.versions[0].branches[0].program


@needs_alarm
def test_a_loop_of_runs_is_interrupted():
    program = loop_program()
    leaves = [0.5, 0.5]
    assert_interrupted(lambda: program.run_loop(leaves, 20_000_000, [(0, 0)]))
    done, after, _ = program.run_loop(leaves, 3, [(0, 0)])
    assert done == 3 and after[0] == 0.5
    assert leaves == [0.5, 0.5]


def test_a_loop_of_short_runs_lets_other_threads_work():
    program = loop_program()
    ticks = []
    running = True

    def tick():
        while running:
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        for _ in range(6):
            begin = time.perf_counter()
            program.run_loop([0.5, 0.5], 10_000_000, [(0, 0)])
            end = time.perf_counter()
            # Others that wait for the interpreter come before and behind a run that does not let them in.
            if sum(begin + 0.01 < at < end - 0.01 for at in ticks):
                break
        else:
            pytest.fail("no other thread ran during six loops")
    finally:
        running = False
        thread.join()


@needs_alarm
def test_many_seeds_are_interrupted():
    x = values(50)
    outs, recording = record_call_of(lambda boxes: [np.sum(np.sin(boxes[0] * boxes[1]))], [x, x])
    del outs
    program = ReplayProgram(recording, [1])
    seeds = values(100_000, 50)
    (expected,) = program.run_seeds([x, x], {1: seeds})
    assert_interrupted(lambda: program.run_seeds([x, x], {1: seeds}))
    numpy.testing.assert_array_equal(program.run_seeds([x, x], {1: seeds})[0], expected)


def test_interrupt_main_reaches_a_replay():
    x = values(1_000_000)
    compiled = replayed(slow, x)
    begin = time.perf_counter()
    expected = compiled(x)
    whole = time.perf_counter() - begin
    taken = []
    for _ in range(6):
        timer = threading.Timer(whole / 4, _thread.interrupt_main)
        begin = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            compiled(x)
            timer.join()
            time.sleep(1.0)
        taken.append(time.perf_counter() - begin)
    assert min(taken) < whole * 3 / 4
    numpy.testing.assert_array_equal(compiled(x), expected)


@needs_alarm
def test_a_handler_may_replay_the_same_function():
    """The interrupted run goes on with what it had."""
    x = values(500_000)
    compiled = replayed(slow, x, num_threads=2)
    expected, inner = compiled(x), []
    before = signal.signal(signal.SIGALRM, lambda number, frame: inner.append(compiled(x + 1.0)))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        result = compiled(x)
        while not inner:
            result = compiled(x)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    numpy.testing.assert_array_equal(result, expected)
    numpy.testing.assert_array_equal(inner[0], compiled(x + 1.0))
