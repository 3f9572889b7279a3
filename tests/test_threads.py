"""Threads, asyncio tasks and generators that interleave never see each other's traces."""

import asyncio
import sys
import threading

import numpy as np
import pytest

import autograd_c.numpy as anp
from autograd_c.operators import elementwise_grad, grad, jvp, make_vjp

THREADS, TASKS, ROUNDS = 16, 100, 8


def work(seed):
    """Functions of every kind of entry, with the point at which to differentiate."""
    rng = np.random.default_rng(seed)
    a, x = rng.standard_normal((4, 4)), rng.standard_normal(4)
    shared = anp.tanh  # primitives are shared by all threads

    def f(x):
        y = anp.dot(a, x)
        y[1] = y[0] * x[2]
        y += x[::-1]
        return anp.sum(shared(y) * anp.exp(-x)) + anp.sum(anp.where(y > 0.0, y, x[0]))

    def number(t):
        for _ in range(seed % 7 + 2):
            t = anp.sin(t) * 1.01 + 0.3 * t
        return t

    return f, x, number, float(x[0])


def gradients(seed, between=lambda: None):
    """First and second derivatives in both modes; `between` runs in the middle of the traces."""
    f, x, number, t = work(seed)

    def paused(fun):
        def run(x):
            between()
            y = fun(x)
            between()
            return y

        return run

    f, number = paused(f), paused(number)
    return [
        grad(f)(x),
        grad(number)(t),
        grad(grad(number))(t),
        jvp(grad(number), (t,), (1.0,))[1],
        grad(lambda x: anp.sum(grad(f)(x) * x))(x),
        elementwise_grad(number)(x),
    ]


def same(got, expected):
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def frequent_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def run_threads(target):
    """Starts all threads at once and raises the first error of any."""
    errors, barrier = [], threading.Barrier(THREADS)

    def guarded(k):
        try:
            barrier.wait()
            target(k)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(k,)) for k in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_threads(frequent_switches):
    """16 threads at once; every gradient is the one that was computed alone."""
    expected = [gradients(k) for k in range(THREADS)]

    def target(k):
        for _ in range(ROUNDS):
            same(gradients(k, between=lambda: threading.Event().wait(1e-5)), expected[k])

    run_threads(target)


def test_large_arrays_in_threads(frequent_switches):
    """Loops over many items run without the GIL."""
    x = np.linspace(-2.0, 2.0, 50_000)
    fun = grad(lambda t: anp.sum(anp.tanh(t) * anp.exp(-(t**2)) + anp.log1p(t**2)))
    expected = fun(x)

    def target(k):
        for _ in range(3):
            same([fun(x)], [expected])

    run_threads(target)


def test_first_use_in_threads(frequent_switches):
    """A primitive is prepared on its first call, which may come from all threads together."""
    from autograd_c.extend import elementwise

    for n in range(10):
        fresh = elementwise(
            lambda x, n=n: np.cosh(x) * (n + 1.0), lambda ans, x, n=n: anp.sinh(x) * (n + 1.0), name="fresh"
        )
        x = np.linspace(0.0, 1.0, 5)
        run_threads(lambda k, p=fresh, n=n, x=x: same([elementwise_grad(p)(x)], [np.sinh(x) * (n + 1.0)]))


def test_one_pullback_in_many_threads(frequent_switches):
    """A tape is not changed by a sweep that can be repeated."""
    f, x, _, _ = work(3)
    pullback, value = make_vjp(f)(x)
    expected = pullback(1.0)
    run_threads(lambda k: [same([pullback(float(j))], [expected * j]) for j in (0, 1, 2, 4)])


def test_tasks():
    """100 asyncio tasks that keep tapes over their awaits, between each other and beside threads."""
    expected = [gradients(k) for k in range(TASKS)]
    swept = [make_vjp(work(k)[0])(work(k)[1])[0](1.0) for k in range(TASKS)]

    async def task(k):
        f, x, number, t = work(k)
        pullback, value = make_vjp(f)(x)
        await asyncio.sleep(0)
        in_thread = asyncio.create_task(asyncio.to_thread(gradients, k))
        second = make_vjp(grad(number))(t)[0]
        await asyncio.sleep(0.001 * (k % 5))
        got = pullback(value / value)
        await asyncio.sleep(0)
        same([second(1.0)], [expected[k][2]])
        same(await in_thread, expected[k])
        return got

    async def everything():
        return await asyncio.gather(*(task(k) for k in range(TASKS)))

    same(asyncio.run(everything()), swept)


def pieces(x):
    """A computation that pauses after each step."""
    for _ in range(5):
        x = anp.sin(x) * 1.1 + x * x
        yield x


def last(x):
    for _ in range(5):
        x = anp.sin(x) * 1.1 + x * x
    return x


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_generators_that_interleave(mode):
    """The steps of two generators alternate, each with the boxes of a trace of its own."""
    derivative = grad if mode == "reverse" else lambda f: lambda x: jvp(f, (x,), (1.0,))[1]

    def interleaved(x):
        outer = pieces(x)

        def inner(z):
            pairs = list(zip(outer, pieces(z), strict=True))
            return pairs[-1][0] * pairs[-1][1]

        return derivative(inner)(x * 0.5)

    def plain(x):
        return derivative(lambda z: last(x) * last(z))(x * 0.5)

    assert derivative(interleaved)(0.3) == derivative(plain)(0.3)


def test_many_generators():
    """100 generators of one trace, advanced in turn."""

    def f(x):
        running = [pieces(x * (0.01 * k)) for k in range(TASKS)]
        for _ in range(5):
            values = [next(generator) for generator in running]
        return sum(values[1:], values[0])

    def one_after_the_other(x):
        values = [last(x * (0.01 * k)) for k in range(TASKS)]
        return sum(values[1:], values[0])

    np.testing.assert_allclose(grad(f)(0.2), grad(one_after_the_other)(0.2), rtol=1e-14)


def test_a_generator_that_outlives_its_trace():
    kept = []

    def f(x):
        kept.append(pieces(x))
        return next(kept[0])

    grad(f)(0.5)
    with pytest.raises(RuntimeError, match="returned"):
        next(kept[0])


def test_a_box_of_another_threads_open_trace():
    """It is a traced value of that trace, and its derivative is right there."""

    def f(x):
        out = []
        thread = threading.Thread(target=lambda: out.append(grad(lambda y: anp.sin(y) * x * x)(2.0) + x))
        thread.start()
        thread.join()
        return out[0]

    # x is an outer trace's box inside the other thread: cos(2) x^2 + x.
    np.testing.assert_allclose(grad(f)(3.0), np.cos(2.0) * 6.0 + 1.0, rtol=1e-15)
