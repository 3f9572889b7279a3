"""The core's promises: nesting, traces that end cleanly, boxes that never lie, aliasing, warnings, types."""

import contextlib
import copy
import math
import pickle
import typing
import warnings
from fractions import Fraction

import mpmath
import numpy as np
import pytest

import autograd_c.numpy as anp
from autograd_c import _core
from autograd_c.operators import (
    elementwise_grad,
    grad,
    jacobian,
    jvp,
    make_jvp,
    make_vjp,
    stop_gradient,
    value_and_grad,
)

# ---------------------------------------------------------------- nesting


def tangent(fun):
    """The derivative of a function of one number, in forward mode."""
    return lambda x: jvp(fun, (x,), (1.0,))[1]


def many(fun):
    """The derivative of an elementwise function, in reverse mode through an array."""
    return lambda x: elementwise_grad(fun)(x)


OPERATORS = {"reverse": (grad,), "forward": (tangent,), "mixed": (grad, tangent), "mixed2": (tangent, grad)}
SMOOTH = {
    "tanh": (anp.tanh, mpmath.tanh),
    "exp": (lambda x: anp.exp(-x / 2.0), lambda x: mpmath.exp(-x / 2)),
    "polynomial": (lambda x: 3.0 * x**12 - x**4 + x / 7.0, lambda x: 3 * x**12 - x**4 + x / 7),
    "quotient": (lambda x: 1.0 / (1.0 + x * x), lambda x: 1 / (1 + x * x)),
}


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("mode", OPERATORS)
def test_levels_deep(name, mode):
    """All derivatives up to the tenth order (eighth, where both modes alternate), right to rounding."""
    fun, exact = SMOOTH[name]
    operators = OPERATORS[mode]
    with mpmath.workdps(40):
        for order in range(1, 11 if len(operators) == 1 else 9):
            fun = operators[order % len(operators)](fun)
            want = float(mpmath.diff(exact, mpmath.mpf("0.3"), order))
            np.testing.assert_allclose(fun(0.3), want, rtol=1e-12 * 2.0**order, err_msg=f"order {order}")


def test_levels_deep_on_arrays():
    """The same through the loops over arrays, to the sixth order."""
    x = np.linspace(-1.0, 1.0, 5)
    fun = anp.tanh
    with mpmath.workdps(40):
        for order in range(1, 7):
            fun = many(fun)
            want = [float(mpmath.diff(mpmath.tanh, mpmath.mpf(float(t)), order)) for t in x]
            np.testing.assert_allclose(fun(x), want, rtol=1e-12 * 2.0**order, atol=1e-13)


def test_an_inner_derivative_is_constant_for_the_inner_trace_alone():
    """The classic confusion of perturbations: d/dx (x * d/dy (x + y)) = 1."""
    for outer in (grad, tangent):
        for inner in (grad, tangent):
            assert outer(lambda x, d=inner: x * d(lambda y: x + y)(1.0))(1.0) == 1.0
            assert outer(lambda x, d=inner: x * d(lambda y: x * y)(x))(3.0) == 6.0


def test_closures_over_several_levels():
    """x, y and z belong to three traces at once."""

    def f(x):
        return grad(lambda y: grad(lambda z: x * anp.sin(y * z) * z)(x))(x)

    def exact(x):
        g = lambda y, z: x * mpmath.sin(y * z) * z  # noqa: E731
        return mpmath.diff(g, (x, x), (1, 1))

    np.testing.assert_allclose(f(0.7), float(exact(mpmath.mpf(0.7))), rtol=1e-13)

    def total(x):
        g = lambda u, y, z: u * mpmath.sin(y * z) * z  # noqa: E731
        return sum(mpmath.diff(g, (x, x, x), n) for n in ((1, 1, 1), (0, 2, 1), (0, 1, 2)))

    np.testing.assert_allclose(grad(f)(0.7), float(total(mpmath.mpf(0.7))), rtol=1e-12)
    np.testing.assert_allclose(tangent(f)(0.7), float(total(mpmath.mpf(0.7))), rtol=1e-12)


def test_hessian_by_all_four_ways():
    def f(x):
        return anp.sum(anp.sin(x[:-1] * x[1:]) ** 2) + anp.exp(x[0])

    x = np.linspace(0.2, 1.0, 4)
    seeds = np.eye(4)
    ways = [
        jacobian(grad(f))(x),
        np.stack([make_jvp(grad(f))(x)(s)[1] for s in seeds]),
        np.stack([grad(lambda t, s=s: jvp(f, (t,), (s,))[1])(x) for s in seeds]),
        np.array([[jvp(lambda t, s=s: jvp(f, (t,), (s,))[1], (x,), (u,))[1] for s in seeds] for u in seeds]),
    ]
    for way in ways[1:]:
        np.testing.assert_allclose(way, ways[0], rtol=1e-12, atol=1e-14)


# ---------------------------------------------------------------- the end of a trace


class Stop(Exception):
    """Raised by the tests' functions."""


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt, SystemExit, RecursionError])
def test_an_exception_in_a_trace_leaves_nothing_behind(error):
    kept = []

    def fail(x):
        kept.append(anp.sin(x) * 2.0)
        raise error

    def nested(x):
        with pytest.raises(error):
            grad(fail)(x)
        return x * anp.cos(x)

    for operate in (grad, tangent, lambda f: grad(grad(f)), lambda f: tangent(grad(f))):
        with pytest.raises(error):
            operate(fail)(1.0)
        with pytest.raises(RuntimeError, match="returned"):
            kept[-1] + 1.0
    assert grad(nested)(0.5) == math.cos(0.5) - 0.5 * math.sin(0.5)


def test_an_exception_in_the_reverse_pass():
    """The sweep stops, and a pullback can be called again."""
    from autograd_c.extend import defvjp, primitive

    fail = [True]

    @primitive
    def twice(x):
        return 2.0 * x

    def vjp(g):
        if fail[0]:
            raise Stop
        return 2.0 * g

    defvjp(twice, lambda ans, x: vjp)
    x = np.ones(3)
    with pytest.raises(Stop):
        grad(lambda t: anp.sum(anp.sin(twice(anp.cos(t)))))(x)
    pullback, _ = make_vjp(lambda t: anp.sum(twice(t)))(x)
    with pytest.raises(Stop):
        pullback(1.0)
    fail[0] = False
    np.testing.assert_array_equal(pullback(1.0), 2.0 * x)


def test_a_long_sweep_can_be_interrupted():
    """A signal between the passes arrives in the middle of the sweep."""
    import signal

    def f(x):
        for _ in range(20_000):
            x = anp.sin(x)
        signal.setitimer(signal.ITIMER_REAL, 1e-5)
        return x

    def on_alarm(number, frame):
        raise Stop

    pullback = None
    before = signal.signal(signal.SIGALRM, on_alarm)
    try:
        with pytest.raises(Stop):
            pullback, _ = make_vjp(lambda x: f(x))(1.0)
            while True:
                pullback(1.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert grad(anp.sin)(0.0) == 1.0


USES = {
    "arithmetic": lambda box: box + 1.0,
    "reflected": lambda box: 2.0 * box,
    "function": anp.sin,
    "numpy's function": np.sin,
    "sum": anp.sum,
    "indexing": lambda box: box[0],
    "update": lambda box: box.__setitem__(0, 1.0),
    "in place": lambda box: box.__iadd__(1.0),
    "comparison": lambda box: box < 1.0,
    "list": lambda box: anp.array([1.0, box[0]]),
    "power": lambda box: box**2,
    "matmul": lambda box: box @ box,
    "reshape": lambda box: anp.reshape(box, (1, -1)),
    "method": lambda box: box.sum(),
    "inner trace": lambda box: grad(lambda x: anp.sum(x * box))(np.ones(3)),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("operate", [grad, lambda f: lambda x: make_jvp(f)(x)(x)], ids=["reverse", "forward"])
def test_a_box_that_outlives_its_trace_raises(use, operate):
    kept = []

    def leak(x):
        kept.append(x * 1.0)
        return anp.sum(x)

    operate(leak)(np.ones(3))
    with pytest.raises(RuntimeError, match=r"returned.*stop_gradient\(x\)"):
        USES[use](kept[0])
    assert "outlived" in repr(kept[0])


@pytest.mark.parametrize(
    "use", ["arithmetic", "reflected", "function", "numpy's function", "power", "comparison"]
)
def test_a_number_that_outlives_its_trace_raises(use):
    kept = []
    grad(lambda x: kept.append(x * 1.0) or x)(1.0)
    with pytest.raises(RuntimeError, match="returned"):
        USES[use](kept[0])


def test_a_box_of_an_inner_trace_in_the_outer_one():
    """Kept from the inner trace, used while the outer one is still open."""

    def f(x):
        kept = []
        grad(lambda y: kept.append(y * x) or y * x)(2.0)
        with pytest.raises(RuntimeError, match="returned"):
            kept[0] * 1.0
        return x * 3.0

    assert grad(f)(1.0) == 3.0


# ---------------------------------------------------------------- pickles and copies


def cube(x):
    return x * x * x


def test_what_pickles():
    for fun in (anp.sin, anp.sum, anp.add, anp.matmul, anp.divmod, anp.array):
        assert pickle.loads(pickle.dumps(fun)) is fun
        assert copy.copy(fun) is fun and copy.deepcopy(fun) is fun
    again = pickle.loads(pickle.dumps(grad(cube)))
    assert again(2.0) == 12.0
    assert pickle.loads(pickle.dumps(grad(grad(cube))))(2.0) == 12.0
    assert pickle.loads(pickle.dumps(grad(anp.tanh)))(0.0) == 1.0


def test_types_for_annotations():
    """What the stubs declare generic takes brackets when the program runs, too."""
    for kind in (type(anp.sin), type(grad(cube))):
        assert typing.get_origin(kind[[float], float]) is kind


def test_what_does_not_pickle():
    def f(x):
        for box in (x, x * 2.0, anp.sum(x)):
            with pytest.raises(TypeError, match="traced value cannot be pickled"):
                pickle.dumps(box)
        return anp.sum(x)

    grad(f)(np.ones(3))
    grad(lambda x: f(anp.stack([x, x])))(1.0)
    pullback, _ = make_vjp(anp.sin)(1.0)
    with pytest.raises((TypeError, AttributeError)):
        pickle.dumps(pullback)
    outs, core_pullback = _core.trace_reverse(lambda boxes: [anp.sin(boxes[0])], [1.0])
    with pytest.raises(TypeError, match="pullback cannot be pickled"):
        pickle.dumps(core_pullback)


def test_copies_of_boxes_are_other_values():
    def f(x):
        y, z = copy.copy(x), copy.deepcopy(x)
        y *= 2.0
        return anp.sum(x * z) + anp.sum(y)

    np.testing.assert_array_equal(grad(f)(np.array([1.0, 2.0])), [4.0, 6.0])


# ---------------------------------------------------------------- aliasing

PASSING = {
    "identity": lambda x: x,
    "positive": lambda x: +x,
    "add": lambda x: x + x,
    "both": lambda x: (x, x),
    "reshape": lambda x: anp.reshape(x, (2, 2)),
    "view": lambda x: x[:],
    "transpose": lambda x: x.T,
    "broadcast": lambda x: anp.broadcast_to(x, (3, 4)),
    "stack": lambda x: anp.stack([x, x]),
    "where": lambda x: anp.where(np.ones(4, bool), x, 0.0),
    "real": lambda x: anp.real(x),
    "subtract": lambda x: x - np.zeros(4),
}


def arrays_of(tree):
    return [a for item in tree for a in arrays_of(item)] if isinstance(tree, (tuple, list)) else [tree]


@pytest.mark.parametrize("name", PASSING)
def test_gradients_alias_nothing(name):
    """Nor the cotangent, the inputs, each other, or what an earlier call of the pullback returned."""
    x, y = np.arange(4.0), np.arange(4.0) + 1.0

    def fun(pair):
        return PASSING[name](pair[0]), PASSING[name](pair[1])

    pullback, value = make_vjp(fun)((x, y))
    cotangent = tuple(
        type(v)(np.ones_like(a) for a in v) if type(v) is tuple else np.ones_like(v) for v in value
    )
    one = cotangent[0]
    first, second = pullback((one, one)), pullback((one, one))
    everything = [x, y, *arrays_of(one), *arrays_of(first), *arrays_of(second)]
    for i, a in enumerate(everything):
        for b in everything[:i]:
            assert a is b or not np.shares_memory(a, b)
        assert a.flags.writeable and a.flags.owndata or i < 2
    for g in arrays_of(first):
        g += 100.0
    np.testing.assert_array_equal(pullback((one, one)), second)


@pytest.mark.parametrize("name", PASSING)
def test_tangents_alias_nothing(name):
    x, t = np.arange(4.0), np.ones(4)
    value, out = make_jvp(PASSING[name])(x)(t)
    for a in arrays_of(out):
        assert not np.shares_memory(a, t) and not np.shares_memory(a, x) and a.flags.writeable


def test_the_gradient_of_grad_aliases_nothing():
    x, c = np.arange(3.0), np.ones(3)
    for g in (grad(anp.sum)(x), grad(lambda t: anp.sum(t * c))(x), grad(lambda t: anp.dot(t, c))(x)):
        g += 1.0
    np.testing.assert_array_equal(c, 1.0)
    np.testing.assert_array_equal(x, np.arange(3.0))


def test_a_pullback_can_be_called_again():
    x = np.linspace(0.1, 1.0, 5)
    pullback, value = make_vjp(lambda t: anp.tanh(t) * anp.sum(t**2))(x)
    first = pullback(np.ones(5))
    np.testing.assert_array_equal(pullback(np.ones(5)), first)
    np.testing.assert_allclose(pullback(2.0 * np.ones(5)), 2.0 * first, rtol=1e-15)
    # Under an outer trace too, where it is linear in the cotangent.
    np.testing.assert_allclose(jacobian(pullback)(np.ones(5)) @ np.ones(5), first, rtol=1e-14)


# ---------------------------------------------------------------- floating-point warnings


@contextlib.contextmanager
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


SINGULAR = {
    "divide": (lambda x: anp.divide(1.0, x), 0.0, "divide"),
    "log": (anp.log, 0.0, "divide"),
    "invalid": (anp.log, -1.0, "invalid"),
    "overflow": (anp.exp, 1000.0, "over"),
    "underflow": (anp.exp, -800.0, "under"),
}
# Fine forward, singular in reverse.
REVERSE = {
    "sqrt": (anp.sqrt, 0.0, "divide"),
    "cbrt": (anp.cbrt, 0.0, "divide"),
    "arcsin": (anp.arcsin, 1.0, "divide"),
    "square": (lambda x: x * x * 1e300, 1e5, "over"),
}
SHAPES = {"number": lambda x: x, "array": lambda x: np.full(3, x), "stride": lambda x: np.full(6, x)[::2]}


def total(fun):
    return lambda x: anp.sum(fun(x))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", [*SINGULAR, *REVERSE])
def test_errstate(name, shape):
    """np.errstate rules the forward and the reverse pass, as it rules NumPy."""
    fun, x, kind = (SINGULAR | REVERSE)[name]
    x = SHAPES[shape](x)
    for operate in (grad(total(fun)), lambda x: make_jvp(fun)(x)(np.ones_like(x))):
        with np.errstate(all="ignore"), no_warning():
            operate(x)
        with np.errstate(all="ignore", **{kind: "raise"}), pytest.raises(FloatingPointError):
            operate(x)
        with np.errstate(all="ignore", **{kind: "warn"}), pytest.warns(RuntimeWarning):
            operate(x)
        calls = []
        with np.errstate(all="ignore", **{kind: "call"}, call=lambda *args, calls=calls: calls.append(args)):
            operate(x)
        assert calls


@pytest.mark.parametrize("name", SINGULAR)
def test_warnings_name_the_function(name):
    fun, x, kind = SINGULAR[name]
    with np.errstate(all="ignore", **{kind: "warn"}):
        for y in (x, np.full(3, x)):
            with pytest.warns(RuntimeWarning) as plain:
                fun(np.asarray(y)[()])
            with pytest.warns(RuntimeWarning) as traced:
                make_vjp(fun)(y)
            assert str(plain[0].message) in [str(w.message) for w in traced]


def test_no_flag_from_before_is_reported():
    """Flags that other code left behind belong to no gradient."""
    with np.errstate(all="ignore"):
        np.exp(1000.0)
        np.array([1e308]) * 10.0
    with np.errstate(all="raise"):
        assert grad(lambda x: x * 2.0 + anp.sin(x))(0.0) == 3.0
        np.testing.assert_array_equal(elementwise_grad(anp.sin)(np.zeros(3)), 1.0)


def test_an_error_state_that_raises_leaves_no_state():
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        grad(lambda x: anp.log(x) + x)(0.0)
    with np.errstate(all="raise"):
        assert grad(lambda x: anp.log(x) + x)(1.0) == 2.0


# ---------------------------------------------------------------- conversions


def inside(use, x):
    """The result of a function of the box."""
    out = []
    grad(lambda box: out.append(use(box)) or anp.sum(box))(x)
    return out[0]


@pytest.mark.parametrize("convert", [float, math.sin, math.exp, complex, np.float64])
def test_conversions_that_would_cut_the_derivative(convert):
    for x in (1.5, np.array(1.5), np.array([1.5])):
        with pytest.raises(TypeError, match=r"stop_gradient\(x\)"):
            inside(convert, x)


def test_bool_and_int_are_what_the_value_says():
    assert inside(bool, 1.5) is True and inside(bool, 0.0) is False
    assert inside(bool, np.array([2.0])) is True
    assert inside(int, 2.7) == 2
    with pytest.raises(ValueError, match="ambiguous"):
        inside(bool, np.ones(2))
    with pytest.raises(ValueError, match="ambiguous"):
        inside(lambda x: 1.0 if x > 0.0 else 2.0, np.ones(2))
    with pytest.raises(TypeError, match="len"):
        inside(len, 1.5)
    with pytest.raises(TypeError):
        inside(lambda x: [1, 2, 3][x], 1.0)
    assert inside(lambda x: list(range(5))[int(x)], 3.2) == 3


def test_text_of_a_box():
    assert inside(lambda x: f"{x:.3f}", 1.5) == "1.500"
    assert inside(str, 1.5) == "1.5"
    assert inside(repr, np.ones(2)) == "Box(array([1., 1.]))"


def test_control_flow_on_values():
    def f(x):
        while x < 100.0:
            x = x * x if x > 1.5 else x + 1.0
        return x

    for x, expected in ((2.0, 8 * 2.0**7), (0.75, 16 * 1.75**15)):
        np.testing.assert_allclose(grad(f)(x), expected, rtol=1e-14)


# ---------------------------------------------------------------- arguments of other types


@pytest.mark.parametrize("x", [3, True, np.int64(3), np.arange(3), np.array([True]), np.uint8(1)])
def test_integers_are_refused(x):
    for operate in (
        grad(lambda t: anp.sum(t * 1.0)),
        lambda t: make_jvp(anp.sin)(t)(1.0),
        value_and_grad(anp.sum),
    ):
        with pytest.raises(TypeError, match="float"):
            operate(x)


@pytest.mark.parametrize(
    "x",
    ["abc", object(), b"x", np.array(["a"]), np.array([object()]), np.zeros(2, "datetime64[s]")],
    ids=repr,
)
def test_what_is_no_number_is_refused(x):
    with pytest.raises(TypeError):
        grad(lambda t: anp.sum(t))(x)


def test_structured_arrays_are_refused():
    with pytest.raises(TypeError, match="cannot be differentiated"):
        grad(lambda t: anp.sum(t["a"]))(np.zeros(2, [("a", float), ("b", float)]))


def test_masked_arrays_are_refused():
    with pytest.raises(TypeError, match=r"masked.*filled"):
        grad(lambda t: anp.sum(t))(np.ma.array([1.0, 2.0], mask=[True, False]))


@pytest.mark.parametrize("x", [2.0, np.float32(2.0), np.array([1.0, 2.0])])
def test_fractions_are_operands(x):
    half = Fraction(1, 2)
    for fun, slope in [
        (lambda t: t * half, 0.5),
        (lambda t: half * t, 0.5),
        (lambda t: half - t, -1.0),
        (lambda t: t / half, 2.0),
        (lambda t: anp.multiply(t, half), 0.5),
        (lambda t: anp.maximum(t * t, half), 2.0 * x),
    ]:
        for got in (make_vjp(fun)(x)[0](np.ones_like(x)), jvp(fun, (x,), (np.ones_like(x),))[1]):
            np.testing.assert_array_equal(got, slope * np.ones_like(x))
            assert got.dtype == np.asarray(x).dtype
    assert grad(lambda t: half**t)(1.0) == 0.5 * math.log(0.5)


MASKED = np.ma.array([1.0, 2.0], mask=[True, False])


@pytest.mark.parametrize(
    "call",
    [
        lambda m: lambda t: m.concatenate([t, MASKED]),
        lambda m: lambda t: m.concatenate([t * 2.0, [0.0], MASKED]),
        lambda m: lambda t: m.stack((t, MASKED)),
        lambda m: lambda t: m.vstack([[t, t], [t, MASKED]]),
        lambda m: lambda t: m.block([[t, MASKED]]),
        lambda m: lambda t: m.hstack([MASKED, t]),
        lambda m: lambda t: m.array([t, MASKED]),
        lambda m: lambda t: m.where(t > 0.0, t, MASKED),
        lambda m: lambda t: m.select([t > 0.0], [t], MASKED),
        lambda m: lambda t: m.select([t > 0.0], [MASKED], t),
        lambda m: lambda t: m.average(t, weights=MASKED),
        lambda m: lambda t: m.clip(t, 0.0, MASKED),
        lambda m: lambda t: m.einsum("i,i", t, MASKED),
        lambda m: lambda t: m.dot(t, MASKED),
        lambda m: lambda t: m.matmul(t, [[MASKED], [MASKED]]),
        lambda m: lambda t: m.add(t, [MASKED]),
        lambda m: lambda t: m.append(t, MASKED),
        lambda m: lambda t: m.insert(t, 0, MASKED),
        lambda m: lambda t: m.interp(t, [0.0, 1.0], MASKED),
        lambda m: lambda t: m.linspace(t, MASKED, 3),
        lambda m: lambda t: m.polyval(MASKED, t),
        lambda m: lambda t: m.full(2, t) * MASKED,
        lambda m: lambda t: m.convolve(t, MASKED),
        lambda m: lambda t: m.outer(t, MASKED),
        lambda m: lambda t: m.tensordot(t, MASKED, 1),
        lambda m: lambda t: t * MASKED,
        lambda m: lambda t: t @ MASKED,
        lambda m: lambda t: assigned(t, MASKED),
    ],
)
@pytest.mark.parametrize("module", [anp, np])
def test_masked_arrays_beside_a_traced_value_are_refused(call, module):
    """As an argument, and inside lists: the mask would be lost without a word."""
    # Plain NumPy shows us no traced value inside a list of lists: there its conversion is what is refused.
    with pytest.raises(TypeError, match=r"masked" if module is anp else r"masked|into a plain array"):
        grad(lambda t: anp.sum(call(module)(t)))(np.ones(2))


def assigned(t, value):
    t = t * 1.0
    t[:] = value
    return t


class Tagged(np.ndarray):
    """A user's subclass."""


def test_subclasses_are_treated_as_arrays():
    x = np.array([1.0, 2.0]).view(Tagged)
    g = grad(lambda t: anp.sum(t * t))(x)
    assert type(g) is np.ndarray
    np.testing.assert_array_equal(g, [2.0, 4.0])
    # As a constant beside a box, too.
    g = grad(lambda t: anp.sum(t * x))(np.ones(2))
    assert type(g) is np.ndarray
    np.testing.assert_array_equal(g, [1.0, 2.0])


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_means_something_else():
    """``*`` of a matrix is the matrix product, so a matrix is not quietly taken for an array."""
    x = np.matrix([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(TypeError, match="matrix"):
        grad(lambda t: anp.sum(t * t))(x)


def test_complex_results():
    with pytest.raises(TypeError, match="complex.*holomorphic_grad"):
        grad(lambda x: x * 1j)(1.0)
    g = grad(lambda z: anp.real(z * z))(1.0 + 2.0j)
    assert g == 2.0 + 4.0j and type(g) is np.complex128  # du/dx - i du/dy of x^2 - y^2


def test_results_of_other_types():
    for fun in (lambda x: "text", lambda x: None, lambda x: (x, x), lambda x: x):
        with pytest.raises(TypeError, match="grad"):
            grad(fun)(np.ones(3))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_the_gradient_has_the_dtype_of_the_argument(dtype):
    for x in (np.ones(3, dtype), np.dtype(dtype).type(1.0), np.ones((), dtype)):
        g = grad(lambda t: anp.sum(anp.sin(t) * np.ones(3) + 1.0 / t))(x)
        assert g.dtype == dtype and np.shape(g) == np.shape(x)


def test_python_floats_give_numpy_floats():
    assert type(grad(anp.sin)(1.0)) is np.float64
    value, g = value_and_grad(lambda x: x * 2.0)(1.0)
    assert isinstance(value, float) and type(g) is np.float64


def test_stop_gradient():
    assert grad(lambda x: x * stop_gradient(x))(3.0) == 3.0
    np.testing.assert_array_equal(grad(lambda x: anp.sum(x * stop_gradient(x)))(np.ones(3)), 1.0)
    assert inside(lambda x: type(stop_gradient(x)), np.ones(3)) is np.ndarray
    # Of the derivative of an outer trace nothing is left either.
    assert grad(lambda x: grad(lambda y: y * stop_gradient(x * y))(x))(3.0) == 0.0


# ---------------------------------------------------------------- length


def test_a_million_entries_without_recursion():
    """Recorded, swept and freed in loops: a chain of a million entries of each kind."""

    def numbers(x):
        for _ in range(500_000):
            x = anp.sin(x) + 1.0
        return x

    def arrays(x):
        for _ in range(100_000):
            x = x + 1e-6
        return anp.sum(x)

    def closures(x):
        for _ in range(50_000):
            x = anp.reshape(x, (3, 1) if x.ndim == 1 else (3,))
        return anp.sum(x)

    assert abs(grad(numbers)(0.5)) <= 1.0
    np.testing.assert_array_equal(grad(arrays)(np.ones(3)), 1.0)
    np.testing.assert_array_equal(grad(closures)(np.ones(3)), 1.0)
    pullback, _ = make_vjp(numbers)(0.5)
    del pullback
