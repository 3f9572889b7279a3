"""The machine that runs elementwise rules: one program, over numbers and over arrays of any layout."""

from functools import partial

import numpy as np
import pytest

import autograd_c.numpy as anp
from autograd_c import _core, compile
from autograd_c.extend import elementwise
from autograd_c.operators import elementwise_grad, grad, make_jvp, make_vjp


def test_a_rule_is_recorded_once():
    """A partial is Python only when it is recorded; arrays of any layout run the program."""
    calls = []

    def partial(ans, x):
        calls.append(type(x))
        return anp.cos(x)

    sine = elementwise(lambda x: np.sin(x), partial, name="sine")
    elementwise_grad(sine)(np.ones(3))
    first = len(calls)
    assert first > 0
    for x in (np.ones(3), np.ones((2, 3))[:, ::2], np.ones(3, np.float32), np.ones((4, 4)).T):
        elementwise_grad(sine)(x)
        make_jvp(sine)(x)(x)
    assert len(calls) == first


def chain(k):
    """A partial with `k` instructions, of which several live at once."""

    def partial(ans, x):
        values = [x]
        for i in range(k):
            values.append(values[-1] * 0.5 + (values[i // 2] if i % 3 else 1.0))
        return values[-1]

    return partial


def chain_on_arrays(k, x):
    values = [x]
    for i in range(k):
        values.append(values[-1] * 0.5 + (values[i // 2] if i % 3 else 1.0))
    return values[-1]


@pytest.mark.parametrize("k", [1, 2, 5, 10, 15, 40])
@pytest.mark.parametrize("n", [1, 7, 64, 511, 4097, 20_000])
def test_programs_of_any_length(k, n):
    """Long programs, and more items than a block holds: the result is the expression's, bit for bit."""
    x = np.linspace(-1.0, 1.0, n)
    fun = elementwise(lambda x: np.sin(x), chain(k), name="chain")
    expected = chain_on_arrays(k, x)
    np.testing.assert_array_equal(elementwise_grad(fun)(x), expected)
    np.testing.assert_array_equal(make_jvp(fun)(x)(np.ones(n))[1], expected)
    assert grad(fun)(float(x[0])) == expected[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_long_programs_over_operands_of_any_layout(k, dtype):
    """Operands that are gathered take scratch blocks beside those of the program, of any item size."""
    x = np.linspace(-1.0, 1.0, 130 * 70).reshape(130, 70).astype(dtype)
    fun = elementwise(lambda x: np.sin(x), chain(k), name="chain")
    expected = chain_on_arrays(k, x)
    for name, xs in layouts(x):
        pullback, _ = make_vjp(fun)(xs)
        np.testing.assert_array_equal(pullback(np.ones_like(x)), expected, err_msg=name)


def layouts(x):
    """The same values in memory in many ways."""
    yield "plain", x.copy()
    yield "fortran", np.asfortranarray(x)
    yield "transposed", np.ascontiguousarray(x.T).T
    yield "backwards", x[..., ::-1].copy()[..., ::-1]
    yield "upside down", x[::-1].copy()[::-1]
    room = np.zeros((*x.shape[:-1], 3 * x.shape[-1]), x.dtype)
    room[..., ::3] = x
    yield "strided", room[..., ::3]
    outer = np.zeros((x.shape[0] + 2, *x.shape[1:]), x.dtype)
    outer[1:-1] = x
    yield "part", outer[1:-1]


SHAPES = [(5,), (1,), (3, 4), (1, 4), (3, 1), (2, 3, 4), (2, 1, 4), (130, 70), (2, 3, 4, 5), (3, 1, 1, 2)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_operands_of_any_layout(shape):
    """Residuals, cotangents and adjoints of different layouts meet in one loop."""
    x = np.random.default_rng(0).uniform(0.5, 1.5, shape)
    g = np.random.default_rng(1).uniform(0.5, 1.5, shape)
    expected = g * np.cos(x) + g * (2.0 * x)
    for name, xs in layouts(x):
        for other, gs in layouts(g):
            pullback, _ = make_vjp(lambda t: anp.sin(t) + anp.square(t))(xs)
            np.testing.assert_allclose(pullback(gs), expected, rtol=1e-15, err_msg=f"{name}, {other}")


@pytest.mark.parametrize(
    "shape, other",
    [
        ((3, 4), (4,)),
        ((3, 4), (3, 1)),
        ((3, 4), ()),
        ((2, 3, 4), (3, 1)),
        ((2, 3, 4), (1, 1, 1)),
        ((5,), (1,)),
        ((130, 70), (70,)),
        ((130, 70), (130, 1)),
        ((3, 1100, 4), (1100, 1)),
    ],
    ids=str,
)
def test_operands_that_are_broadcast(shape, other):
    """The cotangent of a broadcast argument is summed over the axes along which it was repeated."""
    rng = np.random.default_rng(0)
    x, y, g = rng.standard_normal(shape), rng.standard_normal(other), rng.standard_normal(shape)
    y = y[()] if other == () else y
    pullback, _ = make_vjp(lambda p: p[0] * p[1])((x, y))
    gx, gy = pullback(g)
    np.testing.assert_allclose(gx, g * y, rtol=1e-15)
    lead = tuple(range(len(shape) - len(other)))
    total = (g * x).sum(axis=lead)
    kept = tuple(i for i, n in enumerate(other) if n == 1 and total.shape[i] != 1)
    np.testing.assert_allclose(gy, total.sum(axis=kept, keepdims=True), rtol=1e-13, atol=1e-13)


def test_adjoints_with_many_contributions():
    """An array that is used many times collects its cotangents in place, and only its own."""
    x = np.linspace(0.1, 1.0, 6)

    def fun(x):
        y = x * 2.0
        return anp.sum(anp.sin(y) + anp.cos(y) * y + y + y * y - y / 3.0 + anp.where(x._value > 0.5, y, 0.0))

    y = 2.0 * x
    expected = 2.0 * (
        np.cos(y) + np.cos(y) - np.sin(y) * y + 1.0 + 2.0 * y - 1.0 / 3.0 + np.where(x > 0.5, 1.0, 0.0)
    )
    np.testing.assert_allclose(grad(fun)(x), expected, rtol=1e-14)


@pytest.mark.parametrize("shape", [(6, 5), (90, 101), (3, 40, 61)], ids=str)
def test_parts_of_an_adjoint(shape):
    """Contributions to strided parts of an adjoint are added where they belong, and nowhere else."""
    x = np.random.default_rng(0).standard_normal(shape)
    got = grad(lambda x: anp.sum(x[..., 1:] * x[..., :-1]) + anp.sum(x[..., ::2] * 3.0))(x)
    expected = np.zeros(shape)
    expected[..., 1:] += x[..., :-1]
    expected[..., :-1] += x[..., 1:]
    expected[..., ::2] += 3.0
    np.testing.assert_allclose(got, expected, rtol=1e-15, atol=1e-15)


def test_a_shared_cotangent_is_not_written_to():
    """``y + z`` hands one cotangent to both; what one of them collects later must not reach the other."""

    def fun(x):
        a, b = anp.sin(x[0]), anp.cos(x[1])
        return anp.sum((a + b) + a * 3.0 + (a + b) * 0.0 + b * 5.0)

    x = np.linspace(0.1, 1.0, 8).reshape(2, 4)
    expected = np.stack([4.0 * np.cos(x[0]), -6.0 * np.sin(x[1])])
    np.testing.assert_allclose(grad(fun)(x), expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64, np.complex128, np.float16, np.longdouble])
def test_other_dtypes(dtype):
    """Loops where NumPy has them, the primitives elsewhere: the same to rounding, in the same dtype."""
    x = np.linspace(0.25, 0.75, 9).astype(dtype)
    if x.dtype.kind == "c":
        x = x + np.asarray(0.25j, dtype)
    fun = lambda t: anp.tanh(t) * anp.exp(-t) + anp.log1p(t * t) / (2.0 + t)  # noqa: E731
    wide = x.astype(np.complex128 if x.dtype.kind == "c" else float)
    got = make_vjp(fun)(x)[0](np.ones_like(x))
    expected = make_vjp(fun)(wide)[0](np.ones_like(wide))
    assert got.dtype == dtype
    np.testing.assert_allclose(got, expected, rtol=50 * max(np.finfo(dtype).eps, 1e-16))


def test_mixed_dtypes():
    """float32 beside float64 gives float64, and each gradient comes back in its argument's dtype."""
    x, y = np.linspace(0.5, 1.0, 5, dtype=np.float32), np.linspace(1.0, 2.0, 5)
    z = y * (1.0 + 1.0j)
    value, pullback = None, None
    for other in (y, z):
        pullback, value = make_vjp(lambda p: anp.power(p[0], p[1]) * p[1])((x, other))
        assert value.dtype == np.result_type(x, other)
        gx, gy = pullback(np.ones_like(value))
        assert gx.dtype == np.float32 and gy.dtype == other.dtype


def test_numbers_of_all_kinds_beside_arrays():
    """Python numbers are weak, NumPy's scalars are not: as in NumPy."""
    x = np.ones(3, np.float32)
    for c in (2, 2.0, np.float32(2.0), np.float64(2.0), True, np.int64(2), np.array(2.0)):
        pullback, value = make_vjp(lambda t, c=c: t * c)(x)
        assert value.dtype == (x * c).dtype
        g = pullback(np.ones_like(value))
        assert g.dtype == np.float32
        np.testing.assert_array_equal(g, np.full(3, float(c)))


@pytest.mark.parametrize("number", [1e300, -1e39, 1e-300, float("inf"), float("nan"), 0.0])
def test_numbers_that_float32_cannot_hold(number):
    """What NumPy makes of a large Python number beside a float32 array, the traced call makes too."""
    x = np.array([1.0, 2.0], np.float32)
    with np.errstate(all="ignore"):
        expected = x * number
        pullback, value = make_vjp(lambda t: t * number)(x)
        np.testing.assert_array_equal(value, expected)
        np.testing.assert_array_equal(pullback(np.ones(2, np.float32)), np.full(2, np.float32(number)))


def test_recordings():
    """`record` returns straight-line code: primitives, operands by slot or value."""
    code, result = _core.record(lambda x, y: anp.sin(x * 2.0) + y, [np.float64(1.0), np.float64(2.0)])
    assert [instruction[0].name for instruction in code] == ["multiply", "sin", "add"]
    assert [instruction[1] for instruction in code] == [
        (("slot", 0), ("const", 2.0)),
        (("slot", 2),),
        (("slot", 3), ("slot", 1)),
    ]
    assert result == ("slot", 4)
    code, result = _core.record(lambda x: 3.0, [np.float64(1.0)])
    assert code == [] and result == ("const", 3.0)


def test_a_partial_may_not_branch():
    """Rules are recorded once, so one that looks at the value is refused rather than frozen."""
    bad = elementwise(lambda x: np.abs(x), lambda ans, x: 1.0 if x > 0 else -1.0, name="bad")
    with pytest.raises(TypeError, match=r"np\.where"):
        grad(bad)(-1.0)


def straight_line(xp, seed, length, x, y):
    """Sums, differences, products and sines of what came just before, and of what came long ago."""
    rng = np.random.default_rng(seed)
    values = [x, y, 0.3]
    for _ in range(length):
        a, b = (
            values[-rng.integers(1, 4) if rng.random() < 0.8 else rng.integers(len(values))] for _ in "ab"
        )
        operation = rng.integers(8)
        if operation == 0:
            values.append(0.5 * xp.sin(a) - 0.25 * xp.cos(a))
        elif operation < 4:
            values.append(a * b)
        else:
            values.append(0.5 * a + 0.5 * b if operation < 6 else 0.5 * a - b * 0.5)
    return sum(values)


@pytest.mark.parametrize("seed", range(30))
def test_programs_of_scalars_keep_every_bit(seed):
    """However the interpreter joins neighbours and keeps results in registers."""
    length = 5 + 7 * seed
    fun = partial(straight_line, anp, seed, length)
    replayed, slope = compile(fun), compile(grad(fun))
    for x in (0.5, 0.6, -0.9):
        for y in (0.9, 0.2):
            assert replayed(x, y) == straight_line(np, seed, length, x, y)
            assert slope(x, y) == grad(fun)(x, y)
