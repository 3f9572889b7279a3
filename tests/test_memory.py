"""What is kept, for how long, and what the garbage collector sees."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import autograd_c.numpy as anp
from autograd_c.extend import defvjp, elementwise, primitive
from autograd_c.operators import elementwise_grad, grad, jvp, make_vjp, value_and_grad
from autograd_c.replay import compile

N = 50_000  # items of the arrays whose memory is counted: 400 kB
BYTES = 8 * N


def peak_of(fun):
    """The most memory that a call takes at once, in bytes beyond what it starts with."""
    fun()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        fun()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def growth_of(fun, rounds):
    """The memory that many calls leave behind."""
    for _ in range(3):
        fun()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(rounds):
            fun()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


class Stop(Exception):
    """Raised by the tests' functions."""


def failing(x):
    anp.sum(anp.sin(x) * x)
    raise Stop


def fails():
    with pytest.raises(Stop):
        grad(failing)(np.ones(1000))


@primitive
def plain(x):
    return x * 2.0


A, X = np.linspace(0.1, 1.0, 10_000).reshape(100, 100), np.linspace(0.1, 1.0, 100)
ROUNDS = {
    "numbers": lambda: grad(lambda x: anp.sin(x) * x + x**3)(0.5),
    "arrays": lambda: grad(lambda x: anp.sum(anp.tanh(x) * anp.exp(-x) / (1.0 + x * x)))(X),
    "products": lambda: grad(lambda a: anp.sum(anp.tanh(a @ X)))(A),
    "indexing": lambda: grad(lambda x: anp.sum(x[::2] * x[1::2]) + x[0] * x[-1])(X),
    "in place": lambda: grad(lambda x: anp.sum(filled(x)))(X),
    "forward": lambda: jvp(lambda x: anp.sum(anp.sin(x) * x), (X,), (X,)),
    "second order": lambda: elementwise_grad(elementwise_grad(anp.tanh))(X),
    "pullback": lambda: make_vjp(lambda x: anp.sin(x) * x)(X)[0](X),
    "containers": lambda: grad(lambda p: anp.sum(p["a"] * p["b"][0]))({"a": X, "b": [X, 1.0]}),
    "exceptions": fails,
    "user's row": lambda: grad(lambda x: anp.sum(elementwise(np.sin, lambda ans, x: anp.cos(x))(x)))(X),
}


def filled(x):
    y = x * 2.0
    y[1:3] = x[0]
    y += 1.0
    v = y[2:]
    v *= 3.0
    return y


@pytest.mark.parametrize("name", ROUNDS)
def test_nothing_is_left_behind(name):
    """Two hundred gradients more leave no more behind: less than one number each."""
    assert growth_of(ROUNDS[name], 300) - growth_of(ROUNDS[name], 100) < 200 * 8


@pytest.mark.parametrize("name", ROUNDS)
def test_no_garbage_for_the_collector(name):
    """Everything is freed by reference counts, as soon as a gradient returns."""
    ROUNDS[name]()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            ROUNDS[name]()
        found = gc.collect()
    finally:
        gc.enable()
    assert found < 20


def entries(n):
    def fun(x):
        for _ in range(n):
            x = anp.sin(x) * 1.01 + x
        return x

    return fun


@pytest.mark.parametrize("x", [0.5, np.full(3, 0.5)], ids=["numbers", "arrays"])
def test_the_collector_does_not_see_entries(x):
    """While a tape with many entries is alive, the collector tracks a few objects more, not thousands."""

    def fun(x, n):
        x = entries(n)(x)
        counts.append(len(gc.get_objects()))
        return anp.sum(x)

    counts = []
    for n in (1, 5000):
        gc.collect()
        make_vjp(lambda x, n=n: fun(x, n))(x)
    assert counts[1] - counts[0] < 100


def test_memory_of_an_entry():
    """At most 96 bytes an entry of numbers, beside what the sweep needs for its adjoint."""
    n = 100_000
    pullbacks = []
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        pullbacks.append(make_vjp(entries(n))(0.5)[0])
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert kept < 96 * 3 * n
    assert abs(pullbacks[0](1.0)) < np.inf


def chain(x, n):
    """`n` steps of three entries: `x` times 0.99999 each."""
    for _ in range(n):
        x = 0.5 * x + 0.49999 * x
    return x


@pytest.mark.parametrize("make", [lambda fun: fun, compile], ids=["eager", "compiled"])
def test_tables_grow_and_go(make):
    """From a handful of entries to millions of bytes of tables, which nothing of is left."""
    gradient = make(grad(chain))
    for n in (1, 100, 3000, 30_000, 100_000):
        assert gradient(1.0, n) == pytest.approx(0.99999**n, rel=1e-9)
    del gradient
    gc.collect()
    assert growth_of(lambda: make(grad(chain))(1.0, 30_000), 3) < 100_000


# ---------------------------------------------------------------- what is kept


def alive_after(fun, x):
    """Which intermediate arrays, named by the function itself, are alive once the forward pass has ended."""
    watched = {}

    def watch(name, box):
        watched[name] = weakref.ref(box._value)
        return box

    pullback, _ = make_vjp(lambda t: fun(t, watch))(x)
    return {name for name, ref in watched.items() if ref() is not None}, pullback


@pytest.mark.parametrize(
    "fun, kept",
    [
        (lambda x, w: w("b", anp.tanh(w("a", x + 0.0))) + 0.0, {"b"}),
        (lambda x, w: w("b", anp.exp(w("a", x + 0.0))) + 0.0, {"b"}),
        (lambda x, w: w("b", anp.sqrt(w("a", x + 0.0))) + 0.0, {"b"}),
        (lambda x, w: w("b", anp.sin(w("a", x + 0.0))) + 0.0, {"a"}),
        (lambda x, w: w("b", anp.log(w("a", x + 0.0))) + 0.0, {"a"}),
        (lambda x, w: w("b", w("a", x + 0.0) + 1.0) * 2.0, set()),
        (lambda x, w: w("b", -w("a", x + 0.0)) - 2.0, set()),
        (lambda x, w: w("c", w("a", x + 0.0) * w("b", x * 2.0)) + 0.0, {"a", "b"}),
        (lambda x, w: w("c", w("a", x + 0.0) * 3.0) + 0.0, set()),
        (lambda x, w: w("c", w("a", x + 0.0) / 3.0) + 0.0, set()),
        (lambda x, w: w("b", anp.sum(w("a", x + 0.0).reshape(2, -1), axis=0)) + 0.0, set()),
        (lambda x, w: w("b", w("a", x + 0.0)[::2] * 1.0) + 0.0, set()),
        (lambda x, w: w("b", anp.where(x._value > 0, w("a", x + 0.0), 1.0)) + 0.0, set()),
        (lambda x, w: w("b", anp.concatenate([w("a", x + 0.0), x])) + 0.0, set()),
        (lambda x, w: w("b", w("a", x + 0.0).reshape(2, 3).T + 0.0) + 0.0, set()),
        (lambda x, w: w("b", np.ones((4, 6)) @ w("a", x + 0.0)) + 0.0, set()),
        (lambda x, w: w("b", anp.mean(w("a", x + 0.0).reshape(2, 3), axis=1)) + 0.0, set()),
        (lambda x, w: w("b", anp.cumsum(w("a", x + 0.0))) + 0.0, set()),
    ],
)
def test_only_what_the_rules_need_is_kept(fun, kept):
    """``tanh`` keeps its result only, a sum keeps nothing."""
    alive, pullback = alive_after(fun, np.linspace(0.5, 1.0, 6))
    assert alive == kept
    del pullback


def test_the_pullback_frees_all():
    alive, pullback = alive_after(lambda x, w: w("b", anp.tanh(w("a", x + 0.0))) + 0.0, np.ones(6))
    refs = []
    pull, _ = make_vjp(lambda t: keep_ref(anp.tanh(t), refs) + 0.0)(np.ones(6))
    assert refs[0]() is not None
    del pull
    assert refs[0]() is None


def keep_ref(box, refs):
    refs.append(weakref.ref(box._value))
    return box


def test_residuals_are_released_during_the_last_sweep():
    """When the sweep reaches the first entry, the residuals of all later ones are gone."""
    refs, seen = [], []

    def at_first(ans, x):
        return lambda g: (seen.append(sum(ref() is not None for ref in refs)), g)[1]

    first = primitive(lambda x: x * 1.0)
    defvjp(first, at_first)

    def fun(x):
        y = first(x)
        for _ in range(10):
            y = keep_ref(anp.tanh(y), refs)
        return anp.sum(y)

    grad(fun)(np.ones(6))
    assert seen == [0]
    value_and_grad(fun)(np.ones(6))
    assert seen == [0, 0]


def test_peak_of_a_long_chain():
    """The forward pass keeps one result a step; the sweep adds a few arrays to that, not a second set."""
    steps = 20
    x = np.linspace(0.1, 1.0, N)

    def fun(x):
        for _ in range(steps):
            x = anp.tanh(x)
        return anp.sum(x)

    assert peak_of(lambda: grad(fun)(x)) < (steps + 4) * BYTES


def test_peak_of_elementwise_work():
    """`sum(tanh(x) * exp(-x**2) + log1p(x**2))` against the same gradient written by hand."""
    x = np.linspace(-2.0, 2.0, N)

    def fun(x):
        return anp.sum(anp.tanh(x) * anp.exp(-(x**2)) + anp.log1p(x**2))

    def by_hand():
        t, s = np.tanh(x), x**2
        e = np.exp(-s)
        value = np.sum(t * e + np.log1p(s))
        g = (1.0 - t * t) * e
        g -= 2.0 * x * (t * e)
        g += 2.0 * x / (1.0 + s)
        return value, g

    assert peak_of(lambda: grad(fun)(x)) <= 1.1 * max(peak_of(by_hand), 7 * BYTES)


# ---------------------------------------------------------------- cycles


def test_a_cycle_through_a_tape_is_collected():
    """A closure that a rule keeps may refer to the pullback, and so to its own tape."""
    cell = {"array": np.ones(6)}
    ref = weakref.ref(cell["array"])
    marked = primitive(lambda x: x * 2.0)
    defvjp(marked, lambda ans, x, cell=cell: lambda g: 2.0 * g if cell else g)
    cell["pullback"], _ = make_vjp(lambda x, marked=marked: anp.sum(marked(x)))(np.ones(3))
    assert ref() is not None
    del cell, marked
    gc.collect()
    assert ref() is None


def test_a_cycle_through_a_residual_is_collected():
    """The tape keeps an argument that refers to the pullback."""

    class Holder:
        pass

    holder = Holder()
    ref = weakref.ref(holder)
    scaled = primitive(lambda x, holder: x * 2.0)
    defvjp(scaled, lambda ans, x, holder: lambda g: 2.0 * g if holder else g)
    holder.pullback, _ = make_vjp(lambda x: anp.sum(scaled(x, holder)))(np.ones(3))  # noqa: F821
    del holder
    gc.collect()
    assert ref() is None


def test_a_box_in_a_cycle_does_not_keep_the_tape():
    """Boxes are not seen by the collector, so a closed trace has let go of its tape."""
    refs = []

    class Node:
        pass

    def fun(x):
        node = Node()
        node.me, node.box = node, anp.tanh(x)
        refs.append(weakref.ref(node))
        refs.append(weakref.ref(anp.sin(x)._value))
        return anp.sum(node.box)

    grad(fun)(np.ones(6))
    gc.collect()
    assert all(ref() is None for ref in refs)
