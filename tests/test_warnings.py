"""Floating-point errors and exceptions of replays are those of eager mode, also where a value that no result
needs would have raised them.

A program runs on from the processor's flags: what eager mode reports must be among them. More is allowed at
extraordinary values, where it costs a call of the plain function, but not at ordinary ones.
"""

import warnings

import numpy as onp
import pytest
import test_random_programs
from test_primitives import Call, unit_cotangent
from test_replay import DIFFERENTIABLE, by_row, flat, outcome_of, packed, rebuilt, record

import autograd_c.numpy as np
from autograd_c import _core, compile, grad, value_and_grad
from autograd_c.extend import defvjp, primitive
from autograd_c.operators import make_vjp

BITS = {"divide by zero": 1, "overflow": 2, "underflow": 4, "invalid value": 8}
REPORTED = 1 | 2 | 8  # by default
INVALID = BITS["invalid value"]

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.0, 3.0, -0.3, 1e-320, -1e-200, 1e80, -1e155, 1e200, 1e308, -1e308]
SPECIAL += [89.0, -89.0, 710.0, -720.0, 1100.0, onp.inf, -onp.inf, onp.nan]

# LAPACK may run on and on where a matrix holds infinities or NaN.
OF_MATRICES = [0.0, 1.0, -1.0, 0.5, 1e-200, 1e15]

# Rows where a replay stays silent though eager mode reports an error (or, `nancumsum`, the other way round).
# All but the last make their calls in another way than eager mode makes them.
SCANS = "running products are computed one by one, without the products that only lead to others"
SOLVERS = "errors in a triangular solution are LAPACK's own, and substitution meets others"
ORDER = "the terms are added up, or multiplied, in another order"
LOWERED = "eager mode calls SciPy's function, a replay does the calls that it is made of"
SORTING = "NumPy's sort of an array with NaN, which the gradient does not need, may raise a flag"
SILENT = {
    **dict.fromkeys(("recurrence", "products_before", "cumprod", "cumulative_prod", "nancumprod"), SCANS),
    **dict.fromkeys(("multiply.accumulate", "logaddexp.accumulate", "logaddexp2.accumulate"), SCANS),
    **dict.fromkeys(("solve_triangular", "solve"), SOLVERS),
    **dict.fromkeys(("einsum", "convolve", "polymul", "nancumsum", "logaddexp.reduce"), ORDER),
    **dict.fromkeys(("logsumexp", "softmax", "log_softmax"), LOWERED),
    "sort": SORTING,
}


def reporting(call):
    """The result of a call, or the exception that it raised, and the flags that NumPy reports."""
    raised = [0]

    def note(kind, flag):
        raised[0] |= BITS[kind]

    before = onp.seterrcall(note)
    try:
        with onp.errstate(all="call"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return outcome_of(call), raised[0]
    finally:
        onp.seterrcall(before)


def eagerly(fun, leaves):
    """The flags that eager mode reports; or the exception that it raises."""
    result, raised = reporting(lambda: fun(packed(leaves)))
    return result if isinstance(result, Exception) else raised


def replayed(program, leaves):
    """The flags of a run; the exception that it raises; None where the plain function takes over."""
    result, raised = reporting(lambda: _core.run_with_flags(program, packed(leaves)))
    if isinstance(result, Exception):
        return result
    return result[1] | raised if isinstance(result[0], list) else None


def special(leaves, rng, numbers=SPECIAL):
    """The same leaves with extraordinary numbers in some or all places."""
    spoiled = []
    for x in leaves:
        a = onp.array(x)
        if a.dtype.kind == "f":
            with onp.errstate(over="ignore", under="ignore"):
                chosen = rng.choice(numbers, a.shape).astype(a.dtype)
            share = rng.choice([0.2, 0.6, 1.0])
            a = onp.where(rng.random(a.shape) < share, chosen, a)
        spoiled.append(a if isinstance(x, onp.ndarray) else type(x)(a))
    return spoiled


def products_warn():
    """Whether NumPy's own products call infinities invalid: there are processors for which BLAS does."""
    return bool(reporting(lambda: onp.full((9, 3), onp.inf) @ onp.ones((3, 3)))[1] & INVALID)


def invalid_for_nothing(fun, point):
    """Whether "invalid" may be that of such a product: there is no NaN in the result."""
    with onp.errstate(all="ignore"):
        values = onp.concatenate([onp.ravel(x) for x in flat(fun(packed(point)))])
    return products_warn() and not onp.isnan(values).any()


def seen_in(leaves):
    """All flags; without that of inf - inf where a NaN may come between: sums are in another order."""
    values = onp.concatenate([onp.ravel(x) for x in leaves])
    return 7 if onp.isnan(values).any() and onp.isinf(values).any() else 15


def misses(fun, leaves, points):
    """What eager mode reports at some points and a replay does not; false alarms at the leaves themselves."""
    recording = record(fun, leaves)
    if recording.escapes:
        return [], 0
    program = _core.ReplayProgram(recording)
    found = []
    for point in points:
        expected, got = eagerly(fun, point), replayed(program, point)
        if got is None:
            continue
        if isinstance(expected, Exception) or isinstance(got, Exception):
            if type(expected) is not type(got):
                found.append((expected, got, point))
        elif expected & ~got & seen_in(point) == INVALID and invalid_for_nothing(fun, point):
            continue
        elif expected & ~got & seen_in(point):
            found.append((expected, got, point))
    false = replayed(program, leaves)
    if false is None or isinstance(false, Exception):
        return found, 0
    return found, false & ~eagerly(fun, leaves) & REPORTED


def gradients(row, dtype=float):
    """The derivative of each of a row's sample calls, without the value."""
    for sample in row.samples(dtype):
        call = Call(row.handler, sample)
        if not call.leaves or not all(isinstance(x, (onp.ndarray, float)) for x in call.leaves):
            continue
        with onp.errstate(all="ignore"):
            value = outcome_of(lambda call=call: make_vjp(call)(call.leaves)[1])
        if isinstance(value, Exception):
            continue
        cotangent = flat(unit_cotangent(value, onp.random.default_rng(0)))

        def slope(leaves, call=call, value=value, cotangent=cotangent):
            return make_vjp(call)(tuple(leaves))[0](rebuilt(value, iter(cotangent)))

        yield slope, list(call.leaves)


def check_row(row, dtype):
    rng = onp.random.default_rng(1)
    numbers = OF_MATRICES if "linalg" in (getattr(row.fun, "__module__", None) or "") else SPECIAL
    found, false = [], 0
    for slope, leaves in gradients(row, dtype):
        if isinstance(eagerly(slope, leaves), Exception):
            continue
        more, also = misses(slope, leaves, [special(leaves, rng, numbers) for _ in range(25)])
        found += more
        false |= also
    return found, false


@by_row(DIFFERENTIABLE)
@pytest.mark.parametrize("dtype", [float, onp.float32], ids=["float64", "float32"])
def test_every_row(row, dtype):
    found, false = check_row(row, dtype)
    if row.name in SILENT:
        pytest.skip(SILENT[row.name])
    assert not false
    assert not found, f"{len(found)}, the first: {found[0]}"


# ---------------------------------------------------------------- values that no result needs


def total(x):
    return np.sum(np.log(x))


def unused(x):
    np.sqrt(x)
    return np.sum(x)


def likelihood(x):
    mean, scale = np.mean(x), np.std(x)
    return np.sum(-0.5 * ((x - mean) / scale) ** 2 - np.log(scale))


def chain(x):
    value = 0.0
    for i in range(4):
        value = value + x[i] ** 3 * np.log(x[i] + 0.5)
    return value


CHAINS = {
    "log": total,
    "unused": unused,
    "likelihood": likelihood,
    "scalars": chain,
    "log1p of a square": lambda x: np.sum(np.log1p(x**2)),
    "log1p of a difference": lambda x: np.sum(np.log1p(x**2 - 0.9)),
    "squares": lambda x: np.mean((x - 1.0) ** 2),
    "fourth powers": lambda x: np.sum((x * x) ** 2) + np.sum(x**5),
    "fractions of powers": lambda x: np.sum(x**1.5) + np.sum(np.abs(x) ** -2.5),
    "quotients": lambda x: np.sum(x / x[::-1]) + np.sum(1.0 / (1.0 + x)),
    "remainders": lambda x: np.sum(np.remainder(x, x[::-1])),
    "waves": lambda x: np.sum(np.sin(x) * 2.0) + np.sum(np.cos(3.0 * x)),
    "hyperbolic": lambda x: np.sum(np.sinh(x)) + np.sum(3.0 * np.cosh(x)),
    "arcs": lambda x: np.sum(np.arcsin(x)) + np.sum(np.arctanh(x) - np.arccosh(x + 2.0)),
    "products": lambda x: np.sum(np.outer(x, x) @ x),
    "differences of logarithms": lambda x: np.sum(np.log(x) - np.log(x[::-1])),
    "logarithms in proportion": lambda x: np.sum(x * np.log(x)) - np.log(np.sum(x)),
    "a maximum": lambda x: np.max(x) + np.log(np.sum(np.exp(x - np.max(x)))),
    "complex": lambda x: np.sum(np.abs(np.log(x + 0.0j)) ** 2),
    "comparisons behind": lambda x: np.sum(np.where(x > 0.0, np.log(x), 2.0 * x)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains(name):
    slope = grad(CHAINS[name])
    rng = onp.random.default_rng(2)
    good = [rng.uniform(0.1, 0.9, 6)]
    found, false = misses(lambda xs: slope(xs[0]), good, [special(good, rng) for _ in range(300)])
    assert not false
    assert not found, f"{len(found)}, the first: {found[0]}"


def test_gradients_of_random_programs():
    rng = onp.random.default_rng(3)
    for seed in range(150):
        random_program = test_random_programs.Program(seed)
        leaves = [float(x) if isinstance(x, float) else onp.asarray(x) for x in random_program.inputs]

        def slope(xs, random_program=random_program):
            return grad(lambda ys: random_program(np, ys))(list(xs))

        found, false = misses(slope, leaves, [special(leaves, rng) for _ in range(6)])
        assert not false, seed
        assert not found, f"{seed}: {found[0]}"


# ---------------------------------------------------------------- what users see


def settled(fun, *args):
    """A compiled function that replays at arguments like these."""
    compiled = compile(fun)
    for _ in range(4):
        compiled(*args)
    return compiled


def replayed_calls(compiled):
    return sum(row["runs"] for row in compiled.programs)


def test_a_warning_of_what_the_gradient_does_not_need():
    slope = settled(grad(total), onp.array([1.0, 2.0]))
    with pytest.warns(RuntimeWarning, match="invalid value encountered in log") as seen:
        assert list(slope(onp.array([-1.0, 2.0]))) == [-1.0, 0.5]
    assert len(seen) == 1
    with onp.errstate(invalid="raise"), pytest.raises(FloatingPointError, match="log"):
        slope(onp.array([-1.0, 2.0]))
    of_number = settled(grad(np.log), 2.0)
    with pytest.warns(RuntimeWarning, match="invalid value encountered in log"):
        of_number(-2.0)


def test_what_is_ignored_stays_replayed():
    compiled = settled(grad(total), onp.array([1.0, 2.0]))

    def replays(*numbers):
        before = replayed_calls(compiled)
        compiled(onp.array(numbers))
        return replayed_calls(compiled) > before

    with onp.errstate(divide="ignore"):
        assert replays(0.0, 2.0)
    with onp.errstate(all="ignore"):
        assert replays(-1.0, onp.inf)
    assert replays(onp.nan, 2.0)
    assert replays(1e-70, 1e70)
    # No check looks for underflow: the plain function says whether there is any.
    with onp.errstate(under="warn"):
        assert not replays(1.0, 2.0)
    assert replays(1.0, 2.0)


def test_exceptions_of_what_no_result_needs():
    def factor(x):
        np.linalg.cholesky(x)
        return np.sum(x)

    slope = settled(grad(factor), onp.eye(3))
    with pytest.raises(onp.linalg.LinAlgError):
        slope(-onp.eye(3))


def test_exceptions_of_users_primitives():
    @primitive
    def positive(x):
        if onp.any(x < 0):
            raise ValueError("a negative weight")
        return x * 1.0

    defvjp(positive, lambda ans, x: lambda g: g)
    slope = settled(grad(lambda x: np.sum(positive(x))), onp.ones(3))
    with pytest.raises(ValueError, match="a negative weight"):
        slope(-onp.ones(3))


def test_values_are_those_of_the_plain_function_with_checks_in_the_program():
    x = onp.random.default_rng(0).uniform(0.1, 0.9, 5000)
    for fun in CHAINS.values():
        slope = settled(grad(fun), x[:40])
        onp.testing.assert_allclose(slope(x[40:80]), grad(fun)(x[40:80]), rtol=1e-12)
    value, slope = settled(value_and_grad(total), x)(x)
    onp.testing.assert_allclose(slope, 1.0 / x, rtol=1e-15)
