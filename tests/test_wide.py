"""Loops of our own: NumPy's bits in arithmetic, its sums in matrix products, for all shapes and layouts."""

import ctypes
import itertools
import mmap
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

import autograd_c.numpy as anp
from autograd_c import _core, compile, grad

# Around the sizes of a vector, a tile, and the blocks that are copied.
SHAPES = [
    (1, 5, 4),
    (5, 1, 4),
    (2, 2, 1),
    (3, 3, 3),
    (8, 8, 8),
    (9, 25, 10),
    (7, 17, 9),
    (16, 24, 16),
    (17, 49, 33),
    (97, 25, 193),
    (100, 100, 100),
    (96, 96, 192),
    (30, 1600, 200),
    (97, 100, 193),
    (97, 600, 193),
    (5, 1600, 200),
    (3, 2, 400),
]
LAYOUTS = ["rows", "columns", "steps", "reversed", "broadcast"]


OPERATIONS = [
    anp.add,
    anp.subtract,
    anp.multiply,
    anp.divide,
    anp.square,
    anp.negative,
    anp.reciprocal,
]
SPECIAL = [0.0, -0.0, 1.0, -3.0, np.inf, -np.inf, np.nan, 5e-324, 1e308, 1e-45, 3e38]


def laid_out(a, layout):
    """The same numbers in another layout (those of the first row in every row for "broadcast")."""
    if layout == "columns":
        return np.asfortranarray(a)
    if layout == "steps":
        return np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3]
    if layout == "reversed":
        return np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1]
    if layout == "broadcast":
        return np.broadcast_to(a[:1], a.shape)
    return np.ascontiguousarray(a)


def close(result, a, b):
    """Whether the sums are as exact as any order of additions makes them."""
    exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
    scale = np.abs(a).astype(float) @ np.abs(b).astype(float)
    return (np.abs(result - exact) <= 2 * a.shape[1] * np.finfo(a.dtype).eps * scale).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_products_of_all_layouts(shape, dtype):
    m, n, k = shape
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    for one, other in itertools.product(LAYOUTS, LAYOUTS):
        a, b = laid_out(x, one), laid_out(y, other)
        for out in (np.full((m, n), np.nan, dtype), np.full((n, m), np.nan, dtype).T):
            _core.own_product(a, b, out)
            assert close(out, a, b), (one, other)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nothing_is_written_beside_the_result(dtype):
    rng = np.random.default_rng(2)
    for m, n in itertools.product(range(2, 20), range(2, 60, 3)):
        a, b = rng.standard_normal((m, 3)).astype(dtype), rng.standard_normal((3, n)).astype(dtype)
        room = np.full((m + 2, n + 40), 7, dtype)
        _core.own_product(a, b, room[1 : m + 1, 20 : n + 20])
        assert close(room[1 : m + 1, 20 : n + 20], a, b)
        room[1 : m + 1, 20 : n + 20] = 7
        assert (room == 7).all()


@pytest.mark.parametrize("n", [2, 3, 13])
def test_columns_beside_the_last_raise_no_flags(n):
    """The lanes behind the last column hold no zeros: zero times infinity is invalid."""
    if not _core.wide_loops():
        pytest.skip("no loops of our own here; NumPy's products do raise flags on some processors")
    a, b = np.full((9, 3), np.inf), np.ones((3, n))
    product = compile(lambda a, b: a @ b)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those products do on some processors
        product(a, b), product(a, b)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            assert (product(a, b) == np.inf).all()


def before_a_wall(a):
    """A copy of an array, behind whose last item the process may not read."""
    page = mmap.PAGESIZE
    pages = -(-a.nbytes // page)
    memory = mmap.mmap(-1, (pages + 1) * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(start + pages * page), page, 0) == 0
    copy = np.frombuffer(memory, a.dtype, a.size, pages * page - a.nbytes).reshape(a.shape)
    copy[...] = a
    return copy


@pytest.mark.skipif(sys.platform != "linux", reason="takes mprotect")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nothing_is_read_behind_an_array(dtype):
    rng = np.random.default_rng(10)
    for m, n in itertools.product((2, 3, 5, 9), (2, 3, 5, 7, 9, 13, 31)):
        a, b = rng.standard_normal((m, 7)).astype(dtype), rng.standard_normal((7, n)).astype(dtype)
        out = before_a_wall(np.zeros((m, n), dtype))
        _core.own_product(before_a_wall(a), before_a_wall(b), out)
        assert close(out, a, b)
        _core.own_product(before_a_wall(a.T.copy()).T, before_a_wall(b.T.copy()).T, out)
        assert close(out, a, b)
    quotient, square = compile(lambda a, b: a / b), compile(lambda a: a * a)
    for n in range(2, 20):
        a, b = before_a_wall(np.ones(n, dtype)), before_a_wall(np.full(n, 2, dtype))
        for _ in range(3):
            assert (quotient(a, b) == 0.5).all()
            assert (square(b) == 4).all()


def test_infinities_of_both_signs_warn_as_in_numpy():
    product = compile(lambda a, b: a @ b)
    ones = np.ones((9, 4))
    product(ones, ones.T)
    product(ones, ones.T)
    a = ones.copy()
    a[3, :2] = np.inf, -np.inf
    with pytest.warns(RuntimeWarning, match="invalid value"):
        result = product(a, ones.T)
    assert np.isnan(result[3]).all()
    assert (np.delete(result, 3, axis=0) == 4).all()


def test_a_matrix_times_its_transpose_is_symmetric():
    x = np.random.default_rng(3).standard_normal((50, 70))
    product = compile(lambda x: x @ x.T)
    for _ in range(3):
        result = product(x)
        assert (result == result.T).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_stacks(dtype):
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((3, 2, 5, 6)).astype(dtype), rng.standard_normal((6, 7)).astype(dtype)
    product = compile(anp.matmul)
    for _ in range(3):
        result = product(a, b)
        assert all(close(r, x, b) for r, x in zip(result.reshape(-1, 5, 7), a.reshape(-1, 5, 6), strict=True))


def test_gradient_of_a_large_product():
    rng = np.random.default_rng(5)
    a, b, g = (rng.standard_normal(shape) for shape in ((130, 70), (70, 90), (130, 90)))
    by_a, by_b = grad(lambda a, b: anp.sum(g * (a @ b)), (0, 1))(a, b)
    assert close(by_a, g, b.T)
    assert close(by_b, a.T, g)


def test_what_does_not_fit_is_refused():
    with pytest.raises(TypeError, match="float64 or float32 that fit"):
        _core.own_product(np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 3)))


def several_sums(np, a, b, c):
    """Sums of products that are used once, used again, results themselves, the same one, and sums of sums."""
    once = a @ b + b @ c + a @ c
    kept = a @ b
    again = kept + c @ b
    twice = b @ b
    both = (c @ c + b @ a) + (a @ a.T + b @ b.T)
    return once, kept, again, twice + twice, np.tanh(both), np.dot(a, b) + np.dot(b, c)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [2, 9, 30, 250])
def test_products_that_are_added_up(n, dtype):
    rng = np.random.default_rng(7)
    operands = (rng.standard_normal((3, n, n)) / n).astype(dtype)
    replayed = compile(lambda a, b, c: several_sums(anp, a, b, c))
    expected = several_sums(np, *operands.astype(np.longdouble))
    for _ in range(3):
        for result, exact in zip(replayed(*operands), expected, strict=True):
            np.testing.assert_allclose(result, exact, rtol=0, atol=8 * np.finfo(dtype).eps)


def test_a_weight_of_many_steps_gets_one_sum():
    """Cotangents of a matrix that every step uses are added up where the products are computed."""

    def network(w, xs):
        h = anp.zeros((4, 6), like=w)
        for x in xs:
            h = anp.tanh(x @ w[:3] + h @ w[3:])
        return anp.sum(h)

    rng = np.random.default_rng(8)
    w, xs = rng.standard_normal((9, 6)), rng.standard_normal((5, 4, 3))
    slope = compile(grad(network))
    for _ in range(3):
        np.testing.assert_allclose(slope(w, xs), grad(network)(w, xs), rtol=1e-12)
    assert ("matmul_add" in str(slope.explain())) == bool(_core.wide_loops())


def test_a_factor_of_several_products_is_laid_out_once():
    """A transposed matrix that several products read by rows, and others as it is."""

    def fun(a, w, b):
        one = a @ w.T
        return one, (one + b) @ w.T, w.T @ a, w.T + 1.0, w.T[1]

    rng = np.random.default_rng(9)
    a, w, b = rng.standard_normal((3, 11, 11))
    replayed = compile(fun)
    for _ in range(4):
        for result, expected in zip(replayed(a, w, b), fun(a, w, b), strict=True):
            np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)
        w += 1.0


def test_a_setting_switches_these_loops_off():
    setting = os.environ.get("AUTOGRAD_C_WIDE")
    assert _core.wide_loops() in {"0": [""], "avx2": ["", "avx2"]}.get(setting, ["", "avx2", "avx512"])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.__name__)
def test_arithmetic_has_the_bits_of_numpy(operation, dtype):
    """Of every pair of special values, and in lengths around a vector's, the operands vectors or numbers."""
    rng = np.random.default_rng(6)
    replayed = compile(lambda *operands: operation(*operands))
    with np.errstate(all="ignore"):
        special = np.array(SPECIAL).astype(dtype)
        pairs = np.array(list(itertools.product(special, special))).T
        cases = [pairs, *(rng.standard_normal((2, n)).astype(dtype) for n in (1, 7, 8, 9, 15, 16, 17, 100))]
        for pair in cases:
            for operands in (pair, (pair[0], pair[1][:1]), (pair[0][:1], pair[1])):
                operands = operands[: operation.nin]
                expected = getattr(np, operation.__name__)(*operands)
                for _ in range(3):
                    result = replayed(*operands)
                    assert result.dtype == expected.dtype
                    assert np.array_equal(result, expected, equal_nan=True)
                    assert (np.signbit(result) == np.signbit(expected))[~np.isnan(expected)].all()


@pytest.mark.parametrize("n", [3, 8, 13])
def test_only_items_of_the_array_warn(n):
    quotient, product = compile(lambda a, b: a / b), compile(lambda a, b: a * b)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            quotient(np.ones(n), np.ones(n))
            product(np.ones(n), np.array([np.inf]))
    zero = np.ones(n)
    zero[-1] = 0
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        assert quotient(np.ones(n), zero)[-1] == np.inf


@pytest.mark.parametrize("setting", ["0", "avx2"])
def test_without_these_loops(setting):
    """The environment can switch them off, so that NumPy's do all, or leave those by AVX2."""
    if os.environ.get("AUTOGRAD_C_WIDE") is not None or (
        setting == "avx2" and _core.wide_loops() != "avx512"
    ):
        pytest.skip("these are the loops of this process")
    tests = [
        __file__,
        "-k",
        "not without" if setting == "avx2" else "stacks or added_up or weight or warn or switches",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        env={**os.environ, "AUTOGRAD_C_WIDE": setting},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
