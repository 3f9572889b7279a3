"""Products with vectors in replays: of rows with one matrix, and transposed outer products."""

import numpy as np
import pytest

import autograd_c.numpy as anp
from autograd_c import compile, grad, hessian, jvp

KINDS = {
    "row @ w": lambda w, x: x @ w,
    "w.T @ row": lambda w, x: w.T @ x,
    "dot(row, w)": lambda w, x: anp.dot(x, w),
    "dot(w.T, row)": lambda w, x: anp.dot(w.T, x),
    "row @ (2 w)": lambda w, x: x @ (2.0 * w),
}


def steps(kind, places):
    def fun(w, u, rows):
        h = anp.zeros(u.shape[0], rows.dtype)
        for t in places:
            h = anp.tanh(KINDS[kind](w, rows[t]) + h @ u)
        return anp.sum(h**2)

    return fun


def drawn(dtype=np.float64, n=7):
    rng = np.random.default_rng(3)
    return tuple(rng.standard_normal(shape).astype(dtype) for shape in [(3, 4), (4, 4), (n, 3)])


def products(function):
    """How many products with vectors or matrices a replay does."""
    return sum("matmul" in line or "dot" in line for line in function.explain().splitlines())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "places",
    [
        range(7),
        range(6, -1, -1),
        [2, 3, 4, 5],
        [-4, -2, -3, -1],
        [0, 1, 2, 3, 3, 2],
        [0, 1, 2, 4, 5, 6],
        [0, 1],
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", KINDS)
def test_recurrences(kind, places, dtype):
    fun, args = steps(kind, places), drawn(dtype)
    close = {"rtol": 1e-12, "atol": 1e-13} if dtype is np.float64 else {"rtol": 2e-5, "atol": 1e-5}
    for derived in (fun, grad(fun, (0, 1, 2)), lambda *args: jvp(fun, args, args)):
        function = compile(derived)
        for k in range(3):
            given = tuple((1.0 + 0.1 * k) * arg for arg in args)
            for result, expected in zip(
                np.atleast_1d(function(*given)) if derived is fun else function(*given),
                np.atleast_1d(derived(*given)) if derived is fun else derived(*given),
                strict=True,
            ):
                assert np.asarray(result).dtype == np.asarray(expected).dtype
                np.testing.assert_allclose(result, expected, **close)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "row @ (2 w)"])
def test_rows_share_one_product(kind):
    function = compile(steps(kind, range(7)))
    function(*drawn())
    assert products(function) == 1 + 7


@pytest.mark.parametrize(
    "fun",
    [
        lambda w, u, rows: sum(anp.sum(rows[t] @ w) for t in (0, 1, 3, 4)),  # a row is left out
        lambda w, u, rows: sum(anp.sum(rows[t] @ w) for t in range(3)),  # too few
        lambda w, u, rows: sum(anp.sum((rows[t] + 1.0) @ w) for t in range(7)),  # no rows of the argument
        lambda w, u, rows: sum(anp.sum(rows[t : t + 1] @ w) for t in range(7)),  # matrices
    ],
)
def test_others_are_left_alone(fun):
    function, args = compile(fun), drawn()
    for _ in range(3):
        np.testing.assert_allclose(function(*args), fun(*args), rtol=1e-13)
    assert products(function) >= 3


def test_rows_that_were_changed_in_place():
    def fun(w, u, rows):
        total = 0.0
        for t in range(7):
            total = total + anp.sum(rows[t] @ w)
            rows[6] = rows[t] * 2.0
        return total

    function = compile(fun)
    for _ in range(3):
        given, mine = drawn(), drawn()
        assert function(*given) == pytest.approx(fun(*mine), rel=1e-13)
        np.testing.assert_array_equal(given[2], mine[2])


def test_matrices_of_derivatives():
    w, u, rows = drawn()
    fun = steps("row @ w", range(7))

    def of_weights(w):
        return fun(w.reshape(3, 4), u, rows)

    expected = hessian(of_weights)(w.ravel())
    function = hessian(compile(of_weights))
    for _ in range(3):
        np.testing.assert_allclose(function(w.ravel()), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("rows", [1, 4])
def test_transposed_outer_products(rows, columns):
    """Of vectors, rows and columns: the same bits."""
    x, y = np.arange(1.0, rows + 1), np.arange(2.0, columns + 2)
    functions = [
        lambda x, y: (x[:, None] * y).T + 1.0,
        lambda x, y: (y * x[:, None]).T + 1.0,
        lambda x, y: (x[:, None] * y[None, :]).T + 1.0,
        lambda x, y: anp.transpose(x[:, None] * x[:, None]) + 1.0,
        lambda x, y: anp.transpose(x * x) + 1.0,
        lambda x, y: (x[None, :] * x).T + 1.0,
    ]
    for fun in functions:
        function = compile(fun)
        for _ in range(3):
            result, expected = function(x, y), fun(x, y)
            assert result.shape == expected.shape
            np.testing.assert_array_equal(result, expected)


def test_an_outer_product_that_is_read_twice():
    function = compile(lambda x, y: (lambda outer: (outer.T, outer + 1.0))(x[:, None] * y))
    x, y = np.arange(3.0), np.arange(4.0)
    for _ in range(3):
        turned, other = function(x, y)
        np.testing.assert_array_equal(turned, np.outer(y, x))
        np.testing.assert_array_equal(other, np.outer(x, y) + 1.0)


def test_overflow_in_a_transposed_outer_product_warns():
    fun = lambda x, y: (x[:, None] * y).T * 2.0  # noqa: E731
    function = compile(fun)
    function(np.ones(2), np.ones(3))
    function(np.ones(2), np.ones(3))
    with pytest.warns(RuntimeWarning, match="overflow"):
        function(np.full(2, 1e200), np.full(3, 1e200))
