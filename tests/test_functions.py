"""Elementary functions by vectors (`fastmath`): errors against mpmath, special values, flags, layouts."""

import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path

import mpmath
import numpy as np
import pytest
import scipy.special

import autograd_c.numpy as anp
from autograd_c import _core, compile, grad
from autograd_c.scipy import special

SOURCES = Path(__file__).parent.parent / "src"

#: The largest error in units of the last place, for both dtypes.
FUNCTIONS = {
    "exp": 1.0,
    "exp2": 1.0,
    "expm1": 1.25,
    "log": 1.0,
    "log2": 1.0,
    "log10": 1.0,
    "log1p": 1.0,
    "sin": 1.0,
    "cos": 1.0,
    "sinh": 1.5,
    "cosh": 1.0,
    "tanh": 1.1,
    "expit": 1.0,
    "log_expit": 2.0,
    "logaddexp": 2.0,
}
DTYPES = [np.float64, np.float32]
EXACT = {
    "exp2": lambda x: mpmath.mpf(2) ** x,
    "log2": lambda x: mpmath.log(x, 2),
    "expit": lambda x: 1 / (1 + mpmath.exp(-x)),
    "log_expit": lambda x: -mpmath.log1p(mpmath.exp(-x)),
    "logaddexp": lambda x, y: max(x, y) + mpmath.log1p(mpmath.exp(-abs(x - y))),
}


def ours(name):
    """The primitive."""
    return getattr(special, name) if name.endswith("expit") else getattr(anp, name)


def plain(name):
    return getattr(scipy.special, name) if name.endswith("expit") else getattr(np, name)


def nin(name):
    return 2 if name == "logaddexp" else 1


def computed(name, *operands):
    """By the loop of vectors, or NumPy's where there is none."""
    out = np.empty_like(operands[0])
    _core.call_fast_loop(ours(name), out, *operands)
    return out


def replayed(fun, *args, **options):
    compiled = compile(fun, **options)
    for _ in range(3):
        result = compiled(*args)
    return result, compiled


def inputs(name, dtype, rng, n):
    """Operands all over the domain, more of them where functions are steep, short or put together."""

    def spread(low, high):
        return rng.choice([-1.0, 1.0], n) * 10.0 ** rng.uniform(low, high, n)

    limit = 708.0 if dtype is np.float64 else 87.0
    if name in ("sin", "cos"):
        quarters = np.concatenate([rng.integers(0, 40, n), rng.integers(0, 10000, n)])
        with mpmath.workdps(40):
            near = np.array([float(int(k) * mpmath.pi / 2) for k in quarters])
        parts = [
            rng.uniform(-1e4, 1e4, n),
            rng.uniform(-9, 9, 3 * n),
            spread(-30, 0),
            near,
            near * (1 + 1e-8),
        ]
        parts += [rng.uniform(-3e7, 3e7, n)]
    elif name == "log1p":
        parts = [10.0 ** rng.uniform(-37, 37, n), -rng.uniform(0, 1, n), 10.0 ** rng.uniform(-7, 0, n) - 1]
        parts += [rng.uniform(-0.5, 1, 3 * n), spread(-37, -1)]
        parts = [part[part.astype(dtype) > -1] for part in parts]
    elif name in ("log", "log2", "log10"):
        # Normal numbers: a vector with any other is computed by NumPy, with NumPy's error.
        parts = [10.0 ** rng.uniform(-37.9, 38, n), 1 + spread(-7, -1), rng.uniform(0.5, 2, 3 * n)]
    elif name == "logaddexp":
        x = np.concatenate(
            [rng.uniform(-50, 50, n), rng.uniform(-2, 2, n), np.zeros(n), rng.uniform(-600, 600, n)]
        )
        y = np.concatenate(
            [rng.uniform(-50, 50, n), rng.uniform(-2, 2, n), rng.uniform(-30, 30, n), rng.uniform(-9, 9, n)]
        )
        return [x.astype(dtype), y.astype(dtype)]
    else:
        parts = [rng.uniform(-limit, limit, n), rng.uniform(-1, 1, n), rng.uniform(-3, 3, n), spread(-30, 0)]
        parts += [
            rng.uniform(-20, 20, n),
            *(rng.choice([-1, 1], n) * rng.uniform(a, a + 0.06, n) for a in (0.32, 1.02)),
        ]
        if name == "exp":
            parts += [rng.uniform(-limit * 1.07, -limit, n)]  # subnormal results
    return [np.concatenate(parts).astype(dtype)]


def error(result, exact, dtype, scale):
    """In units of the last place of the exact value, or of `scale` if that is larger."""
    info = np.finfo(dtype)
    exponent = max(int(mpmath.frexp(max(abs(exact), scale))[1]) - 1, info.minexp)
    return abs(mpmath.mpf(float(result)) - exact) / mpmath.ldexp(1, exponent - info.nmant)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors(name, dtype):
    if not _core.own_functions():
        pytest.skip("NumPy's loops")
    operands = inputs(name, dtype, np.random.default_rng(1), 150)
    result = computed(name, *operands)
    with mpmath.workprec(160):
        exact = EXACT.get(name) or getattr(mpmath, name)
        for y, *xs in zip(result, *operands, strict=True):
            # What is added cancels in sums of logarithms.
            scale = max(abs(mpmath.mpf(float(x))) for x in xs) if nin(name) == 2 else mpmath.mpf(0)
            value = exact(*(mpmath.mpf(float(x)) for x in xs))
            assert error(y, value, dtype, scale) <= FUNCTIONS[name], xs


SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    np.inf,
    -np.inf,
    np.nan,
    5e-324,
    -5e-324,
    1e-310,
    2.3e-308,
    1e-45,
    -1e-45,
    1e-39,
]
SPECIAL += [1.2e-38, 1e-300, -1e-300, 700.0, -700.0, 709.5, -709.5, 746.0, -746.0, 88.5, -88.5, 104.0, -104.0]
SPECIAL += [1e5, -1e5, 3e38, -3e38, 1e300, -1e300, 1.7e308, -1.7e308, -2.0, 1e-5, 2.0, 20.0, -20.0, 1e22]
SPECIAL += [1024.0, -1075.0, 1e4]


def same(result, expected, dtype):
    """Zeros, infinities and NaN exactly, and the rest to four units of the last place."""
    unusual = ~np.isfinite(expected) | (expected == 0)
    assert np.array_equal(result[unusual], expected[unusual], equal_nan=True)
    assert (np.signbit(result) == np.signbit(expected))[~np.isnan(expected)].all()
    info = np.finfo(dtype)
    np.testing.assert_allclose(
        result[~unusual], expected[~unusual], rtol=4 * info.eps, atol=2 * float(info.smallest_subnormal)
    )


def numpys(name, *operands):
    """NumPy's results, and the flags that it reports."""
    flags = []
    with np.errstate(all="call", call=lambda _, flag: flags.append(flag)):
        return plain(name)(*operands), flags[-1] if flags else 0


UNDERFLOW = 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values_and_their_flags(name, dtype):
    """Alone and between common numbers, at any place of a vector. Underflow is left to the formula."""
    with np.errstate(over="ignore"):
        special = np.array(SPECIAL).astype(dtype)
    for value in special:
        for length, place in ((1, 0), (4, 1), (8, 7), (19, 16), (19, 18)):
            x = np.linspace(0.5, 1.5, length).astype(dtype)
            x[place] = value
            for operands in ([[x]], [[x, x[::-1].copy()], [x, x.copy()]])[nin(name) - 1]:
                out = np.empty_like(x)
                flags = _core.call_fast_loop(ours(name), out, *operands)
                expected, expected_flags = numpys(name, *operands)
                same(out, expected, dtype)
                if _core.own_functions():
                    assert flags & ~UNDERFLOW == expected_flags & ~UNDERFLOW, (value, length, place)
    if nin(name) == 2:
        pairs = np.array([(x, y) for x in special for y in special], dtype).T.copy()
        same(computed(name, *pairs), numpys(name, *pairs)[0], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_overflow_and_underflow_of_exp(dtype):
    if not _core.own_functions():
        pytest.skip("NumPy's loops")
    largest, smallest = (709.7, -745.1) if dtype is np.float64 else (88.7, -103.9)
    out, x = np.empty(3, dtype), np.array([0.0, largest, smallest], dtype)
    assert _core.call_fast_loop(anp.exp, out, x) == UNDERFLOW
    assert np.isfinite(out).all() and (out > 0).all()
    for beyond, flag in (
        (1.01 * largest, 2),
        (1.01 * smallest, UNDERFLOW),
        (np.inf, 0),
        (-np.inf, 0),
        (np.nan, 0),
    ):
        x[1:] = 1.0, beyond
        assert _core.call_fast_loop(anp.exp, out, x) == flag
        assert np.array_equal(out[2], numpys("exp", x[2])[0], equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_lengths_and_places(name, dtype):
    """Each item's result depends on that item alone, and nothing is written beside."""
    rng = np.random.default_rng(3)
    operands = [rng.uniform(0.1, 3.0, 64).astype(dtype) for _ in range(nin(name))]
    whole = computed(name, *operands)
    np.testing.assert_allclose(whole, plain(name)(*operands), rtol=4 * np.finfo(dtype).eps)
    for length in range(41):
        for start in range(9):
            part = slice(start, start + length)
            room = np.full(64, 7, dtype)
            _core.call_fast_loop(ours(name), room[part], *(x[part] for x in operands))
            assert room[part].tobytes() == whole[part].tobytes()
            room[part] = 7
            assert (room == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_layouts(name, dtype):
    rng = np.random.default_rng(4)
    operands = [rng.uniform(0.1, 3.0, 42).astype(dtype) for _ in range(nin(name))]
    tolerance = {"rtol": 4 * np.finfo(dtype).eps}
    for layout in (slice(None, None, 2), slice(None, None, -1), slice(5, 1, -1)):
        views = [x[layout] for x in operands]
        for out in (np.empty(views[0].shape, dtype), np.empty((*views[0].shape, 3), dtype)[:, 1]):
            _core.call_fast_loop(ours(name), out, *views)
            np.testing.assert_allclose(out, plain(name)(*views), **tolerance)
    for length in (1, 3, 8, 17, 42):
        for place in range(nin(name)):  # in the place of an operand
            copies = [x[:length].copy() for x in operands]
            expected = computed(name, *copies)
            _core.call_fast_loop(ours(name), copies[place], *copies)
            assert copies[place].tobytes() == expected.tobytes()
    if nin(name) == 2:  # one number for all
        for step in (1, -1):
            views = [operands[0], np.broadcast_to(operands[1][:1], 42)][::step]
            out = np.empty(42, dtype)
            _core.call_fast_loop(ours(name), out, *views)
            np.testing.assert_allclose(out, plain(name)(*views), **tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_replays(name, dtype):
    """With `fastmath` by these loops and to rounding; else by NumPy's, with its bits."""
    rng = np.random.default_rng(5)
    operands = [rng.uniform(0.1, 3.0, (7, 5)).astype(dtype) for _ in range(nin(name))]
    expected = plain(name)(*operands)
    fast, compiled = replayed(lambda *xs: ours(name)(*xs), *operands, fastmath=True)
    assert fast.dtype == dtype
    np.testing.assert_allclose(fast, expected, rtol=4 * np.finfo(dtype).eps)
    used = _core.own_functions()
    assert (f"for {used}: {name}\n" in compiled.explain()) == bool(used)
    exact, compiled = replayed(lambda *xs: ours(name)(*xs), *operands)
    assert exact.tobytes() == expected.tobytes() and "for AVX" not in compiled.explain()
    # strided operands are gathered, one number serves for all
    views = [x.T[::2] for x in operands[:1]] + [x[:1, :1] for x in operands[1:]]
    fast, _ = replayed(lambda *xs: ours(name)(*xs), *views, fastmath=True)
    np.testing.assert_allclose(fast, plain(name)(*views), rtol=4 * np.finfo(dtype).eps)


def test_complex_numbers_stay():
    z = np.linspace(0.1, 1.0, 12) * (1 + 0.5j)
    for name in ("exp", "tanh", "log1p"):
        fast, compiled = replayed(lambda z, name=name: ours(name)(z), z, fastmath=True)
        assert fast.tobytes() == plain(name)(z).tobytes() and "for AVX" not in compiled.explain()


def test_numbers():
    """One at a time, tanh alone is faster by vectors."""

    def fun(x):
        return np.exp(np.sin(x)) * np.tanh(x)

    fast, compiled = replayed(fun, 0.7, fastmath=True)
    assert fast == pytest.approx(fun(0.7), rel=1e-15)
    assert f"for {_core.own_functions() or 'none'}: tanh\n" in compiled.explain() or not _core.own_functions()
    for x in (0.0, -0.0, np.inf, -np.inf, np.nan, -3.0):
        with np.errstate(all="ignore"):
            assert compiled(x) == pytest.approx(fun(x), rel=1e-15, nan_ok=True)


def test_gradients():
    def fun(x):
        return np.sum(np.tanh(x) * np.exp(-(x**2)) + np.log1p(x**2) + special.expit(np.cos(x)))

    for dtype in DTYPES:
        x = np.random.default_rng(6).standard_normal(1003).astype(dtype)
        slope, _ = replayed(grad(fun), x, fastmath=True)
        assert slope.dtype == dtype
        np.testing.assert_allclose(slope, grad(fun)(x), rtol=0, atol=16 * np.finfo(dtype).eps)


def test_threads():
    x = np.random.default_rng(7).standard_normal(100_003)
    one, _ = replayed(lambda x: np.tanh(x) * np.exp(x), x, fastmath=True)
    two, _ = replayed(lambda x: np.tanh(x) * np.exp(x), x, fastmath=True, num_threads=2)
    assert one.tobytes() == two.tobytes()


def test_errors_are_reported_as_numpy_does():
    f = replayed(lambda x: np.log(x) + np.exp(x), np.ones(9), fastmath=True)[1]
    x = np.ones(9)
    for value, message in ((0.0, "divide by zero"), (-1.0, "invalid value"), (1000.0, "overflow")):
        x[4] = value
        with pytest.warns(RuntimeWarning, match=message):
            f(x)
        with np.errstate(all="raise"), pytest.raises(FloatingPointError, match=message):
            f(x)
    x[4] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(f(x)[4])


def test_powers_have_exact_logarithms():
    if not _core.own_functions():
        pytest.skip("no loops of our own here; NumPy's log10 of float32 is not exact with AVX-512")
    for dtype, tens in ((np.float64, 22), (np.float32, 10)):
        exponents = np.arange(-120, 120)
        assert (computed("log2", np.ldexp(1.0, exponents).astype(dtype)) == exponents).all()
        assert (computed("exp2", exponents.astype(dtype)) == np.ldexp(1.0, exponents)).all()
        exact = np.array([10.0**k for k in range(tens + 1)], dtype)
        assert (computed("log10", exact) == np.arange(tens + 1)).all()


def test_a_setting_switches_these_loops_off():
    assert not (_core.own_functions() and os.environ.get("AUTOGRAD_C_WIDE") == "0")


def test_without_these_loops():
    """All of this file once more, with NumPy's loops."""
    if os.environ.get("AUTOGRAD_C_WIDE") == "0":
        pytest.skip("this is that run")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    environment = os.environ | {"AUTOGRAD_C_WIDE": "0"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_coefficients_are_those_of_their_script():
    path = SOURCES / "coefficients.py"
    if not path.exists():
        pytest.skip("only in the repository")
    spec = importlib.util.spec_from_file_location("coefficients", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.header() == (SOURCES / "coefficients.h").read_text()
