"""`fastmath=True`: cheaper formulas, equal to rounding; without it nothing changes."""

import numpy as onp
import pytest
from test_random_programs import Program

import autograd_c.numpy as np
from autograd_c import compile, explain, grad, jacobian, value_and_grad

X = onp.linspace(0.3, 2.0, 24).reshape(6, 4)
S = onp.linspace(1.1, 1.9, 6).reshape(6, 1)


def replayed(fun, *args, **options):
    compiled = compile(fun, **options)
    for _ in range(3):
        result = compiled(*args)
    return result, compiled


def calls(compiled):
    """The names of what a program computes."""
    (signature,) = compiled.policy.signatures.values()
    units = explain.units_of(signature.versions[0].branches[0].notes.recording)
    return sorted(node.prim.name for unit in units for node in unit.nodes)


def close(a, b, dtype=float):
    assert a.dtype == b.dtype and a.shape == b.shape
    onp.testing.assert_allclose(a, b, rtol=8 * onp.finfo(dtype).eps)


CASES = {
    "constant": (lambda x, s: x / 3.0, ["multiply"]),
    "NumPy constant": (lambda x, s: x / onp.float64(3.0), ["multiply"]),
    "column": (lambda x, s: x / s, ["divide", "multiply"]),
    "column twice": (lambda x, s: x / s + np.sin(x) / s, ["add", "divide", "multiply", "multiply", "sin"]),
    "scalar": (lambda x, s: x / np.sum(s), ["divide", "multiply", "sum"]),
    "reciprocal": (lambda x, s: x * (1.0 / (x + 1.0)), ["add", "divide"]),
    "np.reciprocal": (lambda x, s: np.reciprocal(x) * (x + s), ["add", "divide"]),
    "cube": (lambda x, s: x**3, ["multiply", "square"]),
    "fourth": (lambda x, s: x**4.0, ["square", "square"]),
    "cube and square": (lambda x, s: x**3 + x**2, ["add", "multiply", "square"]),
}


@pytest.mark.parametrize("name", CASES)
def test_arrays(name):
    fun, wanted = CASES[name]
    fast, compiled = replayed(fun, X, S, fastmath=True)
    close(fast, fun(X, S))
    assert calls(compiled) == wanted
    exact, plain = replayed(fun, X, S)
    assert exact.tobytes() == fun(X, S).tobytes() and calls(plain) != wanted


UNCHANGED = {
    "same size": (lambda x, s: x / (x + 1.0), ["add", "divide"]),
    "tiny constant": (lambda x, s: x / 1e-305, ["divide"]),
    "reciprocal needed twice": (
        lambda x, s: [[x * part, part] for part in [1.0 / (x + 1.0)]],
        ["add", "divide", "multiply"],
    ),
    "fifth": (lambda x, s: x**5, ["power"]),
    "root": (lambda x, s: np.power(x, 0.5), ["power"]),
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_would_not_gain_or_not_be_safe_stays(name):
    fun, wanted = UNCHANGED[name]
    assert calls(replayed(fun, X, S, fastmath=True)[1]) == wanted


def test_scalars():
    def fun(x):
        return x**2 / 7.0 + x**3 * (1.0 / (x + 2.0))

    fast, compiled = replayed(fun, 1.7, fastmath=True)
    assert fast == pytest.approx(fun(1.7), rel=1e-15)
    assert not {"scalar_power", "scalar_square"} & set(calls(compiled))
    assert replayed(fun, 1.7)[0] == fun(1.7)


def test_float32():
    x = X.astype(onp.float32)
    for fun in (lambda x: x / 3.0, lambda x: x**3, lambda x: x / np.sum(x), lambda x: x / x[0, 0]):
        close(replayed(fun, x, fastmath=True)[0], fun(x), onp.float32)
    # Not by a reciprocal of float32, nor by one that float32 does not hold.
    s = S.astype(onp.float32)
    assert calls(replayed(lambda x, s: x / s, X, s, fastmath=True)[1]) == ["divide"]
    assert calls(replayed(lambda x: x / 1e38, x, fastmath=True)[1]) == ["divide"]


def test_complex_and_integers_stay():
    z = X * (1 + 0.5j)
    assert replayed(lambda z: z / 3.0, z, fastmath=True)[0].tobytes() == (z / 3.0).tobytes()
    n = onp.arange(1, 5)
    assert replayed(lambda n: n / 3.0, n, fastmath=True)[0].tobytes() == (n / 3.0).tobytes()


def test_zeros_infinities_and_nan():
    x = onp.array([0.0, -0.0, onp.inf, -onp.inf, onp.nan, 1e200])
    with onp.errstate(all="ignore"):
        for fun in (
            lambda x: x / 3.0,
            lambda x: x**3,
            lambda x: x**4,
            lambda x: x * (1.0 / x),
            lambda x: x / x[0],
        ):
            onp.testing.assert_array_equal(onp.isnan(replayed(fun, x, fastmath=True)[0]), onp.isnan(fun(x)))
    with onp.errstate(over="ignore"):
        assert replayed(lambda x: x**3, onp.array([-onp.inf, 1e200]), fastmath=True)[0].tolist() == [
            -onp.inf,
            onp.inf,
        ]
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        f = replayed(lambda x: x / np.sum(x), onp.ones(3), fastmath=True)[1]
        assert f(onp.array([3.0, -1.0, -2.0])).tolist() == [onp.inf, -onp.inf, -onp.inf]


def test_gradients_and_jacobians():
    def fun(x):
        y = np.exp(x - np.max(x))
        return np.sum((y / np.sum(y)) ** 3)

    x = X[0]
    slope = grad(fun)(x)  # its items are differences: rounding is that of the largest terms
    onp.testing.assert_allclose(replayed(grad(fun), x, fastmath=True)[0], slope, rtol=0, atol=1e-16)

    def curve(x):
        return np.sin(x) / np.sum(x) + x**3

    f = compile(curve, fastmath=True)
    for _ in range(3):
        close(jacobian(f)(x), jacobian(curve)(x))


@pytest.mark.parametrize("start", range(0, 300, 50))
def test_random_programs(start):
    """Value and gradient of programs with powers and quotients."""
    for seed in range(start, start + 50):
        program = Program(seed)

        def fun(inputs, program=program):
            values = list(inputs)
            for step in program.steps:
                values.append(step.run(np, values))
            return sum(np.sum(value / 3.0 + value**3 / (1.0 + np.sum(value**4))) for value in values[-3:])

        plain, compiled = value_and_grad(fun), compile(value_and_grad(fun), fastmath=True)
        value, slopes = plain(program.inputs)
        for _ in range(3):
            fast, fast_slopes = compiled(program.inputs)
        scale = max(1.0, abs(value), *(abs(onp.asarray(slope)).max(initial=0.0) for slope in slopes))
        assert abs(fast - value) <= 1e-12 * scale
        for slope, fast_slope in zip(slopes, fast_slopes, strict=True):
            onp.testing.assert_allclose(fast_slope, slope, rtol=0, atol=1e-11 * scale)
