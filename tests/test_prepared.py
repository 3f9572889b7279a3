"""Compiled functions as parts of differentiated ones, and pullbacks: programs in two parts.

What is replayed must not be told from the plain function: values, derivatives, updates, warnings, errors.
"""

import dataclasses
import functools
import gc
import threading
import typing
import warnings

import numpy as onp
import pytest
from test_compile import counted

import autograd_c as ag
import autograd_c.numpy as np
from autograd_c import ReplayWarning, compile, grad, jvp, value_and_grad, vjp
from autograd_c.extend import defvjp, primitive

X = onp.array([0.3, -0.7, 1.1])
V = onp.array([0.5, 2.0, -1.0])
CALLS = 5  # the first is eager, two are recorded


def same(a, b):
    """Whether two results are of one type, structure and value; sums agree to rounding."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (onp.ndarray, onp.inexact)):
        precision = 64 * onp.finfo(a.dtype).eps
        alike = a.dtype == b.dtype and a.shape == b.shape
        return alike and onp.allclose(a, b, rtol=precision, atol=precision, equal_nan=True)
    return a == b


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def copied(args):
    return ag.tree.map_leaves(lambda x: x.copy() if isinstance(x, onp.ndarray) else x, args, _float)


def check(outer, inner, *args, runs=3, **options):
    """With a compiled `inner` `outer` is what it is with the plain one; Python runs it `runs` times."""
    for operator in (value_and_grad, forward):
        compiled, ran = counted(inner, **options)
        for step in (0.0, 0.25, -0.5, 1.0, 0.0):
            at = ag.tree.map_leaves(lambda x, step=step: x + step, args, lambda v: not isinstance(v, int))
            expected = operator(functools.partial(outer, inner))(*copied(at))
            assert same(operator(functools.partial(outer, compiled))(*copied(at)), expected)
        assert runs is None or ran() == runs, operator


def forward(fun):
    """The directional derivative with respect to the first argument."""
    return lambda x, *rest: jvp(
        lambda x: fun(x, *rest), (x,), (ag.tree.map_leaves(onp.ones_like, x, _float),)
    )


def _float(value):
    return isinstance(value, (float, onp.inexact, onp.ndarray))


# --- one entry of the tape --------------------------------------------------------------------------


def test_a_part_of_a_function():
    check(lambda g, x: np.sum(g(x) * g(2.0 * x)), lambda x: np.sin(x) * np.exp(-x * x), X, runs=3)


def test_elementwise_parts_give_the_bits_of_eager_mode():
    g = compile(lambda x: np.sin(x) * np.exp(-x * x) + np.tanh(x) / (1.0 + x * x))
    for k in range(2 * CALLS):
        x = X * 1.37**k
        ours, plain = (vjp(lambda x, f=f: 3.0 * f(x), x) for f in (g, g.fun))
        assert same_bits(ours[0], plain[0]) and same_bits(ours[1](V)[0], plain[1](V)[0])
        ours, plain = (jvp(lambda x, f=f: 3.0 * f(x), (x,), (V,)) for f in (g, g.fun))
        assert all(map(same_bits, ours, plain))


def test_numbers():
    check(lambda g, x: g(x) * g(x + 1.0), lambda x: np.sin(x) * x, onp.float64(0.5))
    check(lambda g, x: g(x) * 2.0, lambda x: np.exp(x) / 3.0, onp.float32(0.5))
    check(lambda g, x: np.sum(g(x)), lambda x: np.sin(x).astype("f4") * 2, X.astype("f4"))


def test_complex_values():
    check(lambda g, x: np.sum(np.abs(g(x))), lambda x: np.exp(1j * x) + x, X, runs=3)
    check(lambda g, x: np.real(np.sum(g(x * 1j))), lambda z: z * z * np.conj(z), X, runs=3)


@pytest.mark.parametrize(
    "use",
    [
        lambda out: np.sum(out[0]) + np.sum(out[1]["b"]),
        lambda out: np.sum(out[0]),
        lambda out: out[1]["b"],
        lambda out: np.sum(out[0] * out[0]) * out[1]["b"],
        lambda out: 2.0 * np.sum(out[3]),
    ],
    ids=["both", "first", "second", "twice", "constant"],
)
def test_several_results(use):
    weights = onp.arange(3.0)

    def inner(x):
        return np.sin(x), {"b": np.sum(np.cos(x)), "n": 3, "name": "g", "none": None}, x.shape, weights

    check(lambda g, x: use(g(x)) + np.sum(x), inner, X)


def test_results_have_their_types():
    g = compile(lambda x: (np.sin(x), 3, "name", None, np.ones(2), x > 0.0, [np.sum(x)]))

    def outer(x):
        out = g(x)
        types.append([type(item).__name__ for item in out])
        return np.sum(out[0]) + out[6][0]

    types = []
    for _ in range(CALLS):
        grad(outer)(X)
    assert all(kinds == types[0] for kinds in types), types


def test_some_arguments_are_traced():
    def inner(x, y, scale=1.0, *, shift):
        return {"out": np.tanh(x @ y) * scale + shift[0]}

    weights = onp.linspace(-1.0, 1.0, 6).reshape(3, 2)
    check(lambda g, x: np.sum(g(x, weights, shift=[1.0])["out"]), inner, X, runs=3)
    check(lambda g, x: np.sum(g(X, weights, x, shift=[1.0])["out"]), inner, 2.0, runs=3)
    check(lambda g, x: np.sum(g(X, weights, shift=[x])["out"]), inner, 2.0, runs=3)
    check(lambda g, x: np.sum(g(x, weights, x[0], shift=(x[1], x))["out"]), inner, X, runs=3)
    check(lambda g, x: np.sum(g(x[::2], weights[::2], shift=[x[1]])["out"]), inner, X, runs=3)


def test_containers_and_layers():
    layer = onp.linspace(-1.0, 1.0, 9).reshape(3, 3)
    params = [{"w": layer, "b": X}, {"w": layer.T, "b": V}]

    def inner(x, p):
        return np.tanh(x @ p["w"] + p["b"])

    def outer(g, params):
        y = X
        for p in params:
            y = g(y, p)
        return np.sum(y**2)

    compiled, ran = counted(inner)
    for _ in range(CALLS):
        ours, plain = (grad(functools.partial(outer, f))(params) for f in (compiled, inner))
        for a, b in zip(ours, plain, strict=True):
            assert onp.allclose(a["w"], b["w"], rtol=1e-13) and onp.allclose(a["b"], b["b"], rtol=1e-13)
    assert ran() == 6  # where y is plain, and where it is traced


def test_static_arguments():
    check(lambda g, x: np.sum(g(x, 3) + g(x, 2)), lambda x, n: x**n * n, X, runs=6)
    check(lambda g, x: np.sum(g(x, (2.0, "a"))), lambda x, how: x * how[0], X, static_argnums=(-1,), runs=3)
    check(lambda g, x: np.sum(g(x, (x[0], 2.0))), lambda x, y: x * y[0] * y[1], X, static_argnums=1, runs=5)


def test_empty_strided_and_read_only_arrays():
    check(lambda g, x: np.sum(g(x)) + 1.0, lambda x: np.sin(x), onp.zeros(0))
    grid = onp.arange(12.0).reshape(3, 4)
    check(lambda g, x: np.sum(g(x.T)[1:]), lambda x: np.exp(-x) * x[0], grid)
    g = compile(lambda x: np.sin(x) * x)
    fixed = X.copy()
    fixed.flags.writeable = False
    for x in (fixed, grid[:, 1], grid[::-1, 2]) * CALLS:
        assert same(grad(lambda x: np.sum(g(x)))(x), grad(lambda x: np.sum(g.fun(x)))(x))


def test_zeros_that_are_filled():
    def inner(x):
        y = np.zeros(4, like=x)
        y[1:] = np.sin(x)
        y[0] += x[0]
        return y * y

    check(lambda g, x: np.sum(g(x)), inner, X)


# --- calls that have been seen before ---------------------------------------------------------------


class Row(typing.NamedTuple):
    left: object
    right: object


@dataclasses.dataclass(frozen=True)
class Scale:
    by: object


SEEN = {
    "array": lambda g, x: np.sum(g(x)),
    "number": lambda g, x: g(x[0]) * g(np.sum(x), scale=2.0),
    "beside plain ones": lambda g, x: np.sum(g(V, scale=x) + g(x, scale=V)),
    "strided": lambda g, x: np.sum(g(onp.arange(6.0)[::2], scale=x)),
    "containers": lambda g, x: np.sum(g([x, {"a": (x[0], 2.0)}])[0]),
    "named": lambda g, x: np.sum(g(Row(x, 2.0)).left),
    "static": lambda g, x: np.sum(g(x, scale=Scale(3.0)) + g(x, scale=Scale(2.0))),
    "many": lambda g, x: np.sum(g([x + k for k in range(40)])[39]),
}


def scaled(x, scale=1.0):
    if isinstance(x, (list, tuple)):
        items = [scaled(item, scale) for item in x]
        return type(x)(*items) if isinstance(x, Row) else type(x)(items)
    if isinstance(x, dict):
        return {name: scaled(item, scale) for name, item in x.items()}
    return np.sin(x) * (scale.by if isinstance(scale, Scale) else scale)


@pytest.mark.parametrize("operator", [value_and_grad, forward])
@pytest.mark.parametrize("use", SEEN.values(), ids=SEEN.keys())
def test_the_core_knows_what_has_been_seen(use, operator, monkeypatch):
    """A call like one that was replayed before is replayed without the policy."""
    g = compile(scaled)
    ours, plain = (operator(functools.partial(use, f)) for f in (g, scaled))
    for _ in range(CALLS):
        ours(X)
    monkeypatch.delattr(type(g.policy), "call_inside")
    for k in range(3):
        assert same(ours(X + k), plain(X + k))
    g.clear()
    with pytest.raises(AttributeError, match="call_inside"):
        ours(X)


@pytest.mark.parametrize("use", SEEN.values(), ids=SEEN.keys())
def test_what_has_been_seen_meets_a_traced_cotangent(use):
    """The arguments are put together again from their leaves."""
    g = compile(scaled)

    def outer(f, t):
        return np.sum(grad(lambda x: use(f, x) * t[0])(X) * t)

    for _ in range(CALLS):
        assert onp.allclose(grad(functools.partial(outer, g))(V), grad(functools.partial(outer, scaled))(V))


def test_the_last_of_several_kinds_of_calls():
    g = compile(scaled)
    for _ in range(CALLS):
        for use in SEEN.values():
            for operator in (value_and_grad, forward):
                ours, plain = (operator(functools.partial(use, f)) for f in (g, scaled))
                assert same(ours(X), plain(X))


def test_boxes_are_no_static_values():
    """They equal the number that they have, but they are not that number."""
    calls = [
        (lambda x, s: np.sum(x * s[0]) * s[1], lambda a: (a, 2.0), {"static_argnums": 1}),
        (lambda x, s: np.sum(x * s.by), Scale, {}),
        (lambda x, s: np.sum(x * s.by[0]), lambda a: Scale((a, 1)), {}),
    ]
    for fun, static, options in calls:
        f = compile(fun, **options)
        for _ in range(CALLS):
            f(X, static(0.5))
            for operator in (grad, ag.deriv):
                slope = operator(lambda a, f=f, static=static: f(X, static(a)))(0.5)
                assert same(slope, operator(lambda a, f=fun, static=static: f(X, static(a)))(0.5))
                assert slope != 0.0


# --- branches, environment --------------------------------------------------------------------------


def test_branches():
    def inner(x):
        return np.sin(x) if x[0] > 0.0 else np.cos(x) * x

    g, ran = counted(inner)
    for _ in range(CALLS):
        for x in (X, -X):
            assert same(grad(lambda x: np.sum(g(x)))(x), grad(lambda x: np.sum(inner(x)))(x))
    assert ran() == 5


def test_results_of_several_shapes():
    def inner(x):
        return np.sin(x) if x[0] > 0.0 else np.cos(x[1:])

    g, ran = counted(inner)
    for x in (X, -X, -X, X, X, -X, X, -X, -X, X, X, X, -X):
        assert same(grad(lambda x: np.sum(g(x)))(x), grad(lambda x: np.sum(inner(x)))(x))


def test_what_is_read_from_outside():
    factor, weights = 2.0, onp.ones(3)

    def inner(x):
        return np.sin(x * factor) * weights

    g, ran = counted(inner)
    for step in range(12):
        if step % 4 == 0:
            factor += 1.0
        weights[0] = step
        assert same(grad(lambda x: np.sum(g(x)))(X), grad(lambda x: np.sum(inner(x)))(X))
    assert ran() < 12


def test_what_changes_between_the_passes():
    factor = 1.0

    def inner(x):
        return np.sin(x * factor)

    def outer(g, x):
        nonlocal factor
        for number in (1.0, 2.0, 3.0):
            factor = number
            x = g(x)
        return np.sum(x)

    check(outer, inner, X, runs=None)


def test_escapes_warn_once():
    g, ran = counted(lambda x: x + 0.0 * onp.random.standard_normal())
    with pytest.warns(ReplayWarning, match="draws random numbers") as caught:
        for _ in range(CALLS + 3):
            assert same(grad(lambda x: np.sum(g(x)))(X), onp.ones(3))
    assert len(caught) == 1

    g = compile(lambda x: x * float(ag.stop_gradient(x)[0]))
    with pytest.warns(ReplayWarning, match="left the trace") as caught:
        for _ in range(CALLS):
            assert same(grad(lambda x: np.sum(g(x)))(X), onp.full(3, X[0]))
    assert len(caught) == 1


# --- updates in place -------------------------------------------------------------------------------


def test_arguments_that_are_changed():
    def inner(x):
        x[0] = x[1] * 2.0
        x *= 2.0
        return np.sum(x)

    def outer(g, x):
        y = np.sin(x)
        total = g(y)
        return total * np.sum(y)

    check(outer, inner, X, runs=None)


def test_plain_arguments_that_are_changed():
    def inner(x, log):
        log += 1.0
        return x * log[0]

    g = compile(inner)
    for step in range(1, 8):
        log, plain = onp.full(3, float(step)), onp.full(3, float(step))
        assert same(
            grad(lambda x, log=log: np.sum(g(x, log)))(X), grad(lambda x, p=plain: np.sum(inner(x, p)))(X)
        )
        assert same(log, plain)


@pytest.mark.parametrize(
    "inner",
    [
        lambda x: x,
        lambda x: x[1:],
        lambda x: (x * 2.0, x),
        lambda x: [x.reshape(3, 1)[:, 0]],
        lambda x: (lambda y: (y, y))(x * 2.0),
        lambda x: (lambda y: (y, y[:2]))(x * 2.0),
    ],
    ids=["itself", "part", "beside", "reshaped", "twice", "view of a result"],
)
def test_results_that_share_memory(inner):
    def outer(g, x):
        y = np.sin(x)
        out = g(y)
        for item in out if isinstance(out, (tuple, list)) else [out]:
            item *= 3.0
            item[0] = 5.0 * x[0]
        rest = sum(np.sum(item) for item in out) if isinstance(out, (tuple, list)) else np.sum(out)
        return np.sum(y) + rest

    check(outer, inner, X, runs=None)


def test_what_is_changed_after_the_call():
    def outer(g, x):
        y = np.sin(x)
        z = g(y)
        y[0] = 7.0
        y *= 2.0
        first = np.sum(z)
        z[1] = y[1]
        z *= 3.0
        return first * np.sum(z) + np.sum(y)

    check(outer, lambda y: np.tanh(y) * y, X)


# --- derivatives of derivatives ---------------------------------------------------------------------


def wave(x):
    return np.sin(x) * x[0] + np.exp(-x * x)


def of(g):
    return lambda x: np.sum(g(x) ** 2)


HIGHER = {
    "hessian": lambda f: ag.hessian(f)(X),
    "hvp": lambda f: ag.hvp(f, (X,), (V,)),
    "grad of grad": lambda f: grad(lambda x: np.sum(grad(f)(x) ** 2))(X),
    "grad of jvp": lambda f: grad(lambda x: jvp(f, (x,), (V,))[1])(X),
    "jvp of jvp": lambda f: jvp(lambda x: jvp(f, (x,), (V,))[1], (X,), (V,)),
    "jvp by reverse mode": lambda f: ag.make_jvp_reversemode(f)(X)(V),
    "third": lambda f: grad(lambda x: ag.hvp(f, (x,), (V,))[0])(X),
    "jacobian": lambda f: ag.jacobian(f)(X),
    "checkpoint": lambda f: grad(ag.checkpoint(f))(X),
    "compile": lambda f: compile(grad(f))(X),
}


@pytest.mark.parametrize("name", HIGHER)
def test_higher_orders(name):
    compiled = compile(wave)
    for _ in range(CALLS):
        ours, plain = HIGHER[name](of(compiled)), HIGHER[name](of(wave))
        for a, b in zip(onp.atleast_1d(ours), onp.atleast_1d(plain), strict=True):
            assert onp.allclose(a, b, rtol=1e-12, atol=1e-14)


def test_a_cotangent_that_is_traced_by_an_outer_derivative():
    """The point is plain, what comes back on the tape is not."""
    g = compile(wave)

    def outer(f, x):
        return np.sum(grad(lambda y: np.sum(f(y) * x))(X) ** 2)

    for _ in range(CALLS):
        for operator in (grad, ag.deriv):
            ours, plain = (operator(functools.partial(outer, f))(V) for f in (g, wave))
            assert onp.allclose(ours, plain, rtol=1e-12)


def test_the_environment_changes_before_a_traced_cotangent():
    factor = 2.0

    @compile
    def g(x):
        return np.sin(x) * factor

    for _ in range(CALLS):
        value, pullback = vjp(g, X)
        pullback(V)
    factor = 3.0
    assert same(pullback(V), (2.0 * V * onp.cos(X),))
    with pytest.raises(RuntimeError, match="vjp_of_g_.*: what the function reads from outside has changed"):
        grad(lambda v: np.sum(pullback(v)[0]))(V)


def test_inside_of_a_compiled_function():
    g, ran = counted(wave)
    f = compile(lambda x: np.sum(g(x) ** 2))
    for _ in range(4):
        assert onp.allclose(grad(f)(X), grad(of(wave))(X), rtol=1e-13)
    assert ran() == 2 and not g.programs


def test_closures_over_traced_values():
    def outer(x):
        g = compile(lambda y: y * x)
        return sum(np.sum(g(x + k)) for k in range(5))

    assert onp.allclose(grad(outer)(X), 10.0 * X + 10.0)


# --- errors, warnings -------------------------------------------------------------------------------


def test_errors_are_the_functions_own():
    def inner(x):
        if x[0] < 0.0:
            raise KeyError("negative")
        return x * 2.0

    g, ran = counted(inner)
    outer = grad(lambda x: np.sum(g(x)))
    for _ in range(CALLS):
        with pytest.raises(KeyError, match="negative"):
            outer(-X)
        assert same(outer(X), onp.full(3, 2.0))


def told(fun, *args):
    """The warnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fun(*args)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("inner", [lambda x: np.log(x), lambda x: np.sqrt(x) * 2.0], ids=["log", "sqrt"])
def test_floating_point_errors(inner):
    g = compile(inner)
    for operator in (grad, forward):
        outer, plain = operator(lambda x: np.sum(g(x))), operator(lambda x: np.sum(inner(x)))
        for _ in range(CALLS):
            outer(X + 2.0)
        assert len(told(outer, X - X)) == len(told(plain, X - X)) > 0
        with onp.errstate(all="raise"), pytest.raises(FloatingPointError):
            outer(X - X)
        with onp.errstate(all="ignore"):
            assert told(outer, X - X) == []


def test_rules_that_look_at_cotangents():
    @primitive
    def clipped(x):
        return onp.clip(x, -1.0, 1.0)

    defvjp(clipped, lambda ans, x: lambda g: g * 2.0 if np.sum(g) > 0.0 else g * 3.0)
    g = compile(lambda x: clipped(x) * x)
    for sign in (1.0, -1.0) * CALLS:
        ours, plain = (grad(lambda x, f=f, sign=sign: sign * np.sum(f(x)))(X) for f in (g, g.fun))
        assert same(ours, plain)


def test_users_primitives_are_steps():
    @primitive
    def cube(x):
        return x**3

    defvjp(cube, lambda ans, x: lambda g: g * 3.0 * x**2)
    g, ran = counted(lambda x: cube(np.sin(x)) * 2.0)
    for x in (X, X + 1.0, X - 1.0, X, V):
        assert same(grad(lambda x: np.sum(g(x)))(x), grad(lambda x: np.sum(g.fun(x)))(x))
    assert ran() == 3 + CALLS


def test_debug_mode():
    g = compile(wave)
    with ag.debug():
        for _ in range(CALLS):
            assert onp.allclose(grad(of(g))(X), grad(of(wave))(X), rtol=1e-13)


# --- pullbacks ---------------------------------------------------------------------------------------


def test_pullbacks_are_called_again():
    f, ran = counted(lambda x, d: (wave(x), {"s": np.sum(d["a"] * x)}))
    plain = f.fun
    for _ in range(CALLS):
        value, pullback = vjp(f, X, {"a": V})
        expected, plain_pullback = vjp(plain.__wrapped__, X, {"a": V})
        assert same(value, expected)
        for k in range(3):
            cotangent = V * k, {"s": 2.0 - k}
            for a, b in zip(pullback(cotangent)[:1], plain_pullback(cotangent)[:1], strict=True):
                assert onp.allclose(a, b, rtol=1e-13)
            assert onp.allclose(pullback(cotangent)[1]["a"], plain_pullback(cotangent)[1]["a"])
    assert ran() == 3


def test_a_pullback_belongs_to_its_point_and_its_value():
    f, ran = counted(lambda x: np.tanh(x * x))
    for _ in range(CALLS):
        x = X.copy()
        value, pullback = vjp(f, x)
        (expected,) = vjp(f.fun.__wrapped__, X)[1](V)
        x += 1.0
        value *= 0.0
        assert same(pullback(V)[0], expected)
    assert ran() == 3


def test_pullbacks_refuse_what_does_not_fit():
    f = compile(wave)
    for _ in range(CALLS):
        value, pullback = vjp(f, X)
        with pytest.raises(ValueError, match=r"vjp of wave: a cotangent .*\(2,\)"):
            pullback(V[:2])
        with pytest.raises(ValueError, match="vjp of wave: the cotangent does not fit"):
            pullback([V])
        assert onp.allclose(pullback(V.astype("f4"))[0], vjp(wave, X)[1](V)[0])
        assert pullback(V.astype("f4"))[0].dtype == "f8"


PREPARING = {
    "make_vjp": (ag.make_vjp, wave, lambda made: [made[0](V), made[0](2 * V), made[1]]),
    "make_jvp": (ag.make_jvp, wave, lambda made: [made(V), made(X)]),
    "make_jvp_reversemode": (ag.make_jvp_reversemode, wave, lambda made: [made(V), made(X)]),
    "make_hvp": (ag.make_hvp, of(wave), lambda made: [made[0](V), made[0](X), made[1]]),
    "make_ggnvp": (ag.make_ggnvp, wave, lambda made: [made(V), made(X)]),
}


@pytest.mark.parametrize("name", PREPARING)
def test_linear_functions(name):
    operator, fun, use = PREPARING[name]
    f, ran = counted(fun)
    for x in (X, X + 1.0, X, V, X):
        for ours, plain in zip(use(operator(f)(x)), use(operator(fun)(x)), strict=True):
            assert onp.allclose(ours, plain, rtol=1e-12, atol=1e-13)
    before = ran()
    use(operator(f)(X))
    assert ran() == before


def test_one_pullback_in_several_threads():
    f = compile(lambda x: np.sin(x) @ np.outer(x, x))
    x = onp.linspace(0.0, 1.0, 200)
    for _ in range(CALLS):
        value, pullback = vjp(f, x)
        pullback(x)
    expected, wrong = [pullback(x * k)[0] for k in range(8)], []

    def work():
        for k in list(range(8)) * 20:
            if not onp.allclose(pullback(x * k)[0], expected[k], rtol=1e-13):
                wrong.append(k)

    run_threads(work)
    assert not wrong


def test_threads_share_the_function():
    g = compile(wave)
    expected, wrong = [grad(of(wave))(X + k) for k in range(5)], []

    def work():
        for k in list(range(5)) * 20:
            if not onp.allclose(grad(of(g))(X + k), expected[k], rtol=1e-12):
                wrong.append(k)

    run_threads(work)
    assert not wrong


def run_threads(work):
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_nothing_stays_behind():
    """What a call inside of a derivative keeps goes with the tape."""
    g, x = compile(lambda x: np.sin(x) * x), onp.ones(100_000)
    pullbacks = [vjp(lambda x: g(x) * 2.0, x)[1] for _ in range(CALLS)]
    del pullbacks
    gc.collect()
    frames = [program["runs"] for program in g.programs]
    assert frames == []  # its own programs are those of plain calls
    assert g.explain()
