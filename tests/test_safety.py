"""Programs that once read freed or foreign memory: now the right value, or an error of a type."""

import gc
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import autograd_c.numpy as anp
from autograd_c import grad, jvp, make_vjp
from autograd_c.extend import Box, defvjp, defvjp_argnums, elementwise, primitive

PATIENCE = 60  # seconds until a thread that waits for another gives up: reached by a bug only
SIZES = [3, 20_000]  # the core works on long arrays in pieces
OUTLIVED = "after the function that received it had returned"


def differences(f, x, step=1e-6):
    """The gradient of a real function of one array by central differences."""
    x = np.array(x, dtype=float)
    slopes = np.empty_like(x)
    for i in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[i] += step
        below[i] -= step
        slopes[i] = (f(above) - f(below)) / (2 * step)
    return slopes


def in_thread(fun):
    """What `fun` returns, or raises, in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(fun).result(PATIENCE)


# Updates in place ------------------------------------------------------------------------------


def twice_updated(x):
    x += 1
    x *= 2
    return x * x


def with_two_names(x):
    y = x
    x += 1
    y *= 3
    return x * y


@pytest.mark.parametrize("f", [twice_updated, with_two_names])
def test_an_array_without_axes_is_updated_in_place(f):
    x = np.array(3.0)
    factor = {twice_updated: 4.0, with_two_names: 9.0}[f]  # f is factor * (x + 1) ** 2
    assert f(x.copy()) == factor * 16.0
    np.testing.assert_allclose(grad(f)(x), factor * 8.0)
    np.testing.assert_allclose(jvp(f, (x,), (np.array(1.0),)), (factor * 16.0, factor * 8.0))
    assert x == 3.0


def test_an_array_without_axes_is_updated_in_nested_traces():
    np.testing.assert_allclose(grad(grad(twice_updated))(np.array(3.0)), 8.0)
    np.testing.assert_allclose(jvp(grad(twice_updated), (np.array(3.0),), (np.array(1.0),))[1], 8.0)


@pytest.mark.parametrize("size", SIZES)
def test_an_error_handler_updates_the_operand(size):
    # The square of the first item underflows; NumPy then calls the handler, which updates y.
    calls = []

    def f(x):
        y = x * 2.0
        del x

        def handler(kind, flag):
            nonlocal y
            calls.append(kind)
            y += 1.0
            np.full(size, 7.0)  # takes the memory that was given back, if any was

        with np.errstate(under="call", call=handler):
            squares = anp.square(y)
        assert len(calls) == 1
        return anp.sum(squares) + anp.sum(y)

    x = np.linspace(0.5, 1.5, size)
    x[0] = 1e-200
    np.testing.assert_allclose(grad(f)(x), 8 * x + 2)
    assert calls == ["underflow"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("run", [lambda fun: fun(), in_thread], ids=["itself", "thread"])
def test_a_function_updates_the_box_it_was_called_with(size, run):
    def update():
        nonlocal y
        if y is not None:
            y += 1.0
            np.full(size, 7.0)

    def fun(x):
        run(update)
        return np.sin(x)

    sine = elementwise(fun, lambda ans, x: anp.cos(x))
    y = None

    def f(x):
        nonlocal y
        y = x * 2.0
        del x
        before = sine(y)
        after, y = y, None
        return anp.sum(before) + anp.sum(after * after)

    x = np.linspace(0.1, 1.0, size)
    np.testing.assert_allclose(grad(f)(x), 2 * np.cos(2 * x) + 4 * (2 * x + 1))


# What rules return -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 4])
@pytest.mark.parametrize("x", [2.0, np.ones(3)], ids=["number", "array"])
def test_a_joint_vjp_returns_another_number_of_cotangents(count, x):
    @primitive
    def triple(a, b, c):
        return a * b * c

    defvjp_argnums(triple, lambda argnums, ans, args, kwargs: lambda g: (g,) * count)
    with pytest.raises(ValueError, match=f"vjp of triple returned {count} cotangents for 3 "):
        grad(lambda x: anp.sum(triple(x, x + 1, x + 2)))(x)


@pytest.mark.parametrize("x", [2.0, np.ones(3)], ids=["number", "array"])
def test_a_vjp_returns_none(x):
    @primitive
    def same(x):
        return x * 1.0

    defvjp(same, lambda ans, x: lambda g: None)
    with pytest.raises(TypeError, match="vjp of same returned None for argument 0"):
        grad(lambda x: anp.sum(anp.sin(same(x)) * x))(x)


def test_a_primitive_is_redefined_while_a_tape_is_alive():
    def product(a, b):
        return a * b

    def f(x):
        return anp.sum(times(x, 2 * x))

    x = np.array([1.0, 2.0, 3.0])
    times = elementwise(product, lambda ans, a, b: b, lambda ans, a, b: a)
    pullback, _ = make_vjp(f)(x)
    with pytest.raises(ValueError, match="product has partials for 2 arguments already"):
        elementwise(product, lambda ans, a: 1.0)
    np.testing.assert_allclose(pullback(1.0), 4 * x)


def test_a_vjp_is_redefined_while_a_tape_is_alive():
    @primitive
    def line(a, b):
        return 2 * a + 3 * b

    def f(x):
        return line(anp.sin(x), x)

    defvjp(line, lambda ans, a, b: lambda g: 2 * g, lambda ans, a, b: lambda g: 3 * g)
    pullback, _ = make_vjp(f)(0.5)
    for scale in 10, 100:
        if scale == 10:
            defvjp(line, lambda ans, a, b: lambda g: 20 * g)
            defvjp(line, lambda ans, a, b: lambda g: 30 * g, argnums=(1,))
        else:
            defvjp_argnums(line, lambda argnums, ans, args, kwargs: lambda g: (200 * g, 300 * g))
        # A tape keeps the rules it was recorded with.
        np.testing.assert_allclose(pullback(1.0), 2 * np.cos(0.5) + 3)
        np.testing.assert_allclose(grad(f)(0.5), scale * (2 * np.cos(0.5) + 3))


# Containers ------------------------------------------------------------------------------------

CHANGES = {
    "longer": lambda xs: xs.extend([1.0] * 2000),
    "shorter": lambda xs: xs.pop(),
    "empty": lambda xs: xs.clear(),
    "another shape": lambda xs: xs.__setitem__(0, np.ones((4, 5))),
    "a container": lambda xs: xs.__setitem__(0, [1.0, 2.0]),
    "itself": lambda xs: xs.__setitem__(0, xs),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_function_changes_the_list_that_was_its_argument(change):
    xs = [3.0, np.array([1.0, 2.0])]

    def f(p):
        y = anp.sum(p[0] * p[1])
        change(xs)
        return y

    number, array = grad(f)(xs)
    np.testing.assert_allclose(number, 1.0 + 2.0)
    np.testing.assert_allclose(array, [3.0, 3.0])


def test_the_function_changes_the_dict_that_was_its_argument():
    xs = {"a": 3.0, "b": np.array([1.0, 2.0])}

    def f(p):
        y = anp.sum(p["a"] * p["b"])
        xs.clear()
        xs.update({str(i): np.ones(i) for i in range(500)})
        return y

    gradient = grad(f)(xs)
    assert list(gradient) == ["a", "b"]
    np.testing.assert_allclose(gradient["a"], 1.0 + 2.0)
    np.testing.assert_allclose(gradient["b"], [3.0, 3.0])


def wrapped(value, depth):
    for _ in range(depth):
        value = [value]
    return value


def holding_itself():
    outer = [1.0]
    outer.append(outer)
    return outer


ENDLESS = {"itself": holding_itself, "deep": lambda: wrapped(1.0, 100_000)}
USES = {
    "argument": lambda endless: grad(lambda p: 1.0)(endless),
    "dict": lambda endless: grad(lambda p: 1.0)({"a": endless}),
    "result": lambda endless: make_vjp(lambda x: endless)(3.0),
    "plain call": lambda endless: anp.sum(endless),
    "traced call": lambda endless: grad(lambda x: anp.sum([x, endless]))(1.0),
    "array": lambda endless: grad(lambda x: anp.array([x, endless]))(1.0),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("make", ENDLESS.values(), ids=ENDLESS)
def test_containers_without_an_end(make, use):
    with pytest.raises(RecursionError):
        use(make())


def test_a_container_of_many_levels():
    def f(p):
        while isinstance(p, list):
            p = p[0]
        return p * p

    gradient = grad(f)(wrapped(3.0, 900))
    depth = 0
    while isinstance(gradient, list):
        (gradient,) = gradient
        depth += 1
    assert depth == 900
    assert gradient == 6.0


# Chains of views -------------------------------------------------------------------------------

STEPS = {
    "indexing": lambda y: y[:],
    "function": lambda y: anp.reshape(y, (2,)),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_an_update_is_seen_through_a_long_chain_of_views(step):
    def f(x):
        first = last = x * 1.0
        for _ in range(30_000):
            last = step(last)
        first *= x
        return anp.sum(last**2)

    x = np.array([2.0, 3.0])
    np.testing.assert_allclose(grad(f)(x), 4 * x**3)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_chain_of_views_is_updated_at_its_end(step):
    def f(x, length):
        first = last = x * 1.0
        for _ in range(length):
            last = step(last)
        last *= x
        return anp.sum(first**2)

    x = np.array([2.0, 3.0])
    np.testing.assert_allclose(grad(f)(x, 50), 4 * x**3)
    with pytest.raises(RecursionError):
        grad(f)(x, 30_000)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("mode", ["reverse", "forward", "nested"])
def test_a_long_chain_of_views_is_freed(step, mode):
    kept = []

    def f(x):
        y = x
        for _ in range(30_000):
            y = step(y)
        kept.append(y)
        return anp.sum(y * x)

    x = np.array([2.0, 3.0])
    freed = weakref.ref(x)
    if mode == "reverse":
        got = grad(f)(x)
    elif mode == "forward":
        got = jvp(f, (x,), (np.array([1.0, 0.0]),))[1]
    else:
        got = grad(lambda x: anp.sum(grad(f)(x)))(x)
    np.testing.assert_allclose(got, {"reverse": 2 * x, "forward": 2 * x[0], "nested": [2.0, 2.0]}[mode])
    # The trace is closed: the last view alone holds the chain, the chain holds the array.
    with pytest.raises(RuntimeError, match=OUTLIVED):
        anp.sum(kept[0])
    del x
    gc.collect()
    assert freed() is not None
    kept.clear()
    gc.collect()
    assert freed() is None


# Recording between entries ---------------------------------------------------------------------


def every_kind(x, between=lambda: None):
    """Entries of many kinds, with parents and residuals of different numbers."""
    y = x
    for i in range(40):
        between()
        y = anp.sin(y[::-1]) + x[i % 3]
        between()
        y = anp.dot(np.eye(3), y) + anp.mean(y)
        between()
        y = anp.concatenate([y[:1], y[1:]]) * 0.5
    return anp.sum(y)


def test_finalisers_record_on_the_tape():
    box = None
    recorded = 0

    class Recording:
        def __init__(self):
            self.me = self  # so that the cyclic collector calls __del__, wherever it happens to run

        def __del__(self):
            nonlocal recorded
            if box is not None:
                for _ in range(40):
                    anp.sin(box) + box[0] * box[0:2][1]
                recorded += 1

    def f(x):
        nonlocal box
        box = x
        try:
            return every_kind(x, Recording)
        finally:
            box = None

    x = np.array([0.3, 0.5, 0.8])
    thresholds = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        got = [grad(f)(x) for _ in range(2)]
    finally:
        gc.set_threshold(*thresholds)
    assert recorded > 100
    np.testing.assert_allclose(got, [differences(every_kind, x)] * 2, rtol=1e-7)


def test_threads_record_on_one_tape():
    def f(x):
        with ThreadPoolExecutor(3) as pool:
            parts = [pool.submit(every_kind, x * (i + 1.0)) for i in range(3)]
            return every_kind(x) + sum(part.result(PATIENCE) for part in parts)

    def plain(x):
        return every_kind(x) + sum(every_kind(x * (i + 1.0)) for i in range(3))

    x = np.array([0.3, 0.5, 0.8])
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        got = [grad(f)(x) for _ in range(3)]
    finally:
        sys.setswitchinterval(interval)
    np.testing.assert_allclose(got, [differences(plain, x)] * 3, rtol=1e-7)


@pytest.mark.parametrize("when", ["swept", "closed"])
@pytest.mark.parametrize("kind", ["elementwise", "general"])
def test_a_trace_is_closed_while_another_thread_records(kind, when):
    entered, goes_on = threading.Event(), threading.Event()

    def waiting(x):
        entered.set()
        assert goes_on.wait(PATIENCE)
        return x * 3.0

    if kind == "elementwise":
        slow = elementwise(waiting, lambda ans, x: 3.0)
    else:
        slow = primitive(waiting)
        defvjp(slow, lambda ans, x: lambda g: 3.0 * g)

    def finish_the_other():
        goes_on.set()
        with pytest.raises(RuntimeError, match=OUTLIVED):
            other.result(PATIENCE)

    @primitive
    def same(x):
        return x * 1.0

    def cotangent(g):
        if when == "swept":
            finish_the_other()
        return g

    defvjp(same, lambda ans, x: cotangent)
    with ThreadPoolExecutor(1) as pool:

        def f(x):
            nonlocal other
            other = pool.submit(lambda: anp.sum(slow(x)))
            assert entered.wait(PATIENCE)
            return anp.sum(same(anp.sin(x)) * x)

        other = None
        x = np.array([0.3, 0.5, 0.8])
        try:
            got = grad(f)(x)
        finally:
            goes_on.set()
        finish_the_other()
    np.testing.assert_allclose(got, np.sin(x) + x * np.cos(x))


# Residuals that change between the passes --------------------------------------------------------


@pytest.mark.parametrize("shape", [(300, 400), (2, 3)], ids=["reshaped", "smaller"])
@pytest.mark.parametrize("name", ["sine", "squares", "product", "matrix", "other matrix"])
def test_an_array_changes_shape_between_the_passes(name, shape):
    x = np.ones((400, 300))
    matrix = np.ones((300, 2))
    programs = {
        "sine": (anp.sin, x),
        "squares": (lambda v: v * v, x),
        "product": (lambda v: v * x, x * 2.0),
        "matrix": (lambda v: v @ matrix + anp.sum(v * v), x),
        "other matrix": (lambda v: x @ v, matrix),
    }
    f, at = programs[name]
    pullback, value = make_vjp(f)(at)
    g = np.ones(value.shape)
    if name == "product":  # only x, a factor that is not traced, is kept
        del programs, f, at
    x.resize(shape, refcheck=False)
    with pytest.raises(ValueError, match="shape"):
        pullback(g)


# Boxes, indices and keywords -------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: Box.__new__(Box), Box], ids=["new", "call"])
def test_boxes_are_not_made_by_hand(make):
    with pytest.raises(TypeError, match="not by hand"):
        make()


INDICES = [
    ((0, 1),),
    ((0, 1), (1, 0)),
    (((0, 1), (1, 1)),),
    ((2, 2, 0), slice(None)),
    (slice(None), (1, 1, 0)),
    ([0, 0],),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_a_tuple_inside_an_index_is_a_list_of_indices(index):
    x = np.arange(1.0, 7.0).reshape(3, 2)
    np.testing.assert_array_equal(make_vjp(lambda x: x[index])(x)[1], x[index])
    want = np.zeros((3, 2))
    np.add.at(want, index, 2 * x[index])
    np.testing.assert_allclose(grad(lambda x: anp.sum(x[index] ** 2))(x), want)


def test_an_index_of_tuples_without_an_end():
    index = 0
    for _ in range(100_000):
        index = (index,)
    with pytest.raises((ValueError, RecursionError)):
        grad(lambda x: x[index])(np.ones(3))


AXES = [
    [(1, 0), (0, 1), (0, 1)],
    [(0, 1), (1, 0), (1, 0)],
    [(1, 0), (1, 0), (0, 1)],
]


@pytest.mark.parametrize("axes", AXES, ids=str)
def test_matmul_along_given_axes(axes):
    rng = np.random.default_rng(0)
    a, b, weights = rng.standard_normal((3, 3, 3))

    def f(a, b):
        return anp.sum(weights * anp.matmul(a, b, axes=axes))

    of_a, of_b = grad(f, argnum=(0, 1))(a, b)
    np.testing.assert_allclose(of_a, differences(lambda a: f(a, b), a), rtol=1e-7)
    np.testing.assert_allclose(of_b, differences(lambda b: f(a, b), b), rtol=1e-7)


# Many arguments --------------------------------------------------------------------------------

MANY = 300
EDGES = [0, 61, 62, 63, 64, 254, 255, 256, 299]  # around the sizes of bit fields and of bytes


def test_more_traced_arguments_than_a_byte_counts():
    xs = [np.array([i + 1.0, -i]) for i in range(MANY)]
    gradients = grad(lambda xs: anp.sum(anp.concatenate(xs) ** 2))(xs)
    assert len(gradients) == MANY
    for gradient, x in zip(gradients, xs, strict=True):
        np.testing.assert_allclose(gradient, 2 * x)


@pytest.mark.parametrize("place", EDGES)
def test_the_number_of_a_traced_argument(place):
    weights = np.arange(1.0, MANY + 1)

    def f(x):
        parts = [np.ones(1)] * MANY
        parts[place] = x
        return anp.sum(weights * anp.concatenate(parts) ** 3)

    x = np.array([2.0])
    np.testing.assert_allclose(grad(f)(x), 3 * weights[place] * x**2)


def test_a_primitive_of_many_arguments():
    @primitive
    def weighted(*xs):
        return sum((i + 1) * x for i, x in enumerate(xs))

    defvjp(weighted, *[lambda ans, *xs, weight=i + 1: lambda g: weight * g for i in range(MANY)])
    weights = np.arange(1.0, MANY + 1)
    np.testing.assert_allclose(grad(lambda xs: weighted(*xs))([0.5] * MANY), weights)
    for place in EDGES:

        def f(x, place=place):
            return weighted(*[1.0] * place, x, *[1.0] * (MANY - 1 - place))

        np.testing.assert_allclose(grad(f)(0.5), weights[place])


# Memory that runs out -----------------------------------------------------------------------------

STARVED = """
import _testcapi
import numpy as np
import autograd_c.numpy as anp
from autograd_c import grad, jvp

X, A = np.linspace(0.1, 1.0, 5), np.linspace(0.1, 1.0, 9).reshape(3, 3)

def chain(x):
    for _ in range(5):
        x = anp.sin(x) * 1.01 + anp.maximum(x, 0.0)
    return x

def assigned(x):
    y = x * 2.0
    y[1:3] = x[0]
    v = y[2:]
    v *= 3.0
    return y[0] * y[3]

CALLS = [
    lambda: grad(chain)(0.5),
    lambda: jvp(chain, (0.5,), (1.0,)),
    lambda: grad(lambda x: (anp.tanh(x) * anp.exp(-x) / (1.0 + x * x))[2])(X),
    lambda: jvp(lambda x: anp.where(x > 0.3, anp.sin(x), 0.0) * x, (X,), (X,)),
    lambda: grad(lambda a: (anp.tanh(a @ X[:3]) @ a)[1])(A),
    lambda: grad(lambda x: (x[::2] * x[::2])[1] + x[0] * x[-1] + x[np.array([0, 0, 1])][1])(X),
    lambda: grad(assigned)(X),
    lambda: grad(lambda p: (p["a"] * p["b"][0])[0] + p["c"][0][0])({"a": X, "b": [X, 1.0], "c": ((2.0,),)}),
]
for call in CALLS:
    expected = str(call())
    call()
    for n in range(1, 500):
        try:
            _testcapi.set_nomemory(n)
            try:
                call()
            finally:
                _testcapi.remove_mem_hooks()
            break
        except MemoryError:
            assert str(call()) == expected
    assert 10 < n < 499, n
print("all survived")
"""


def test_memory_that_runs_out_is_an_error_and_leaves_no_trace():
    """Allocation after allocation in turn is the first of those that fail, in a process of its own."""
    pytest.importorskip("_testcapi")
    done = subprocess.run([sys.executable, "-c", STARVED], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "all survived", done.stderr[-2000:]
