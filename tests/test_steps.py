"""Steps of replays that once ran in Python: they give what eager mode gives, and need no Python any more."""

import os
import subprocess
import sys

import numpy as onp
import pytest
from test_replay import check, compare, normal, outcome_of, program

import autograd_c.numpy as np
from autograd_c import compile, grad, jvp
from autograd_c.operators import make_jvp, make_vjp
from autograd_c.rules import cumulative
from autograd_c.scipy import linalg, special


@pytest.fixture(autouse=True)
def quiet():
    with onp.errstate(all="ignore"):
        yield


def native(fun, *leaves, tolerance=0.0):
    """Compares a program with the function, here and there, and finds nothing in it that runs in Python."""
    replay = compare(fun, *leaves, tolerance=tolerance)
    assert replay.summary["python"] == []


def derivatives(fun):
    """The value of a function of one array, its vjp and its jvp."""

    def both(xs):
        x, t, g = xs
        pullback, value = make_vjp(fun)(x)
        return [value, pullback(g), make_jvp(fun)(x)(t)]

    return both


# ---------------------------------------------------------------- reductions


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("inner", [1, 2, 7, 8, 9, 10, 16, 23, 63, 64, 65, 129])
@pytest.mark.parametrize("rows", [1, 3, 4, 5, 400])
def test_short_rows(inner, rows, dtype):
    def function(xs):
        x = xs[0]
        sums = [np.sum(x * x, axis=a) for a in (0, 1, 2, (0, 1), (1, 2))]
        return [*sums, np.sum(x, axis=1), np.prod(np.cos(x), axis=1), np.sum(x, axis=1, keepdims=True)]

    x = normal(2, rows, inner).astype(dtype)
    native(function, x, tolerance=1e-5 if dtype == "float32" else 1e-13)


def test_sums_of_short_rows_are_those_of_numpy():
    x = normal(8, 4, 43)  # no more than a block
    for n in range(1, 44):
        y = x[:, :, :n].copy()
        native(lambda xs: [np.sum(xs[0] * 2, axis=-1), np.sum(xs[0] * 2, axis=1), np.sum(xs[0], axis=1)], y)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod"])
def test_reductions_over_any_axes(name):
    reduce = getattr(np, name)
    axes = [1, 2, (1, 2), (0, 2), (1, 3), (0, 3), (0, 2, 4), (1, 2, 4), (0, 1, 3), (-2, 1)]

    def function(xs):
        x = np.exp(0.1 * xs[0])
        return [reduce(x, axis=a, keepdims=k) for a in axes for k in (False, True)]

    native(function, normal(2, 3, 4, 1, 5), tolerance=1e-14)
    native(function, normal(3, 1, 2, 5, 2).astype("f"), tolerance=1e-6)


def test_extremes_share_their_cotangent_among_ties():
    x = onp.array([[1.0, 3.0, 3.0, -1.0], [2.0, 2.0, 2.0, 2.0], [onp.nan, 1.0, 0.0, 5.0]])

    def function(xs):
        x = xs[0]
        every = [None, 0, 1, (0, 1)]
        pairs = [(a, m) for a in every for m in (np.max, np.min)]
        slopes = [grad(lambda y, a=a, m=m: np.sum(m(y, axis=a) ** 2))(x) for a, m in pairs]
        tangents = [jvp(lambda y, a=a: np.max(y, axis=a), (x,), (np.cos(x),))[1] for a in every]
        return [*slopes, *tangents, grad(lambda y: np.ptp(y[:2]))(x)]

    native(function, x, tolerance=1e-15)
    native(function, onp.round(normal(3, 4)).astype("f"), tolerance=1e-6)


def test_an_infinite_cotangent_reaches_the_extreme_alone():
    slope = grad(lambda x: np.sqrt(np.max(x) - 2.0))
    onp.testing.assert_array_equal(slope(onp.array([1.0, 2.0, 0.0])), [0.0, onp.inf, 0.0])


# ---------------------------------------------------------------- broadcasting


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex64", "complex128"])
@pytest.mark.parametrize("n", [1, 2, 3, 10, 127, 128, 129])
@pytest.mark.parametrize("rows", [1, 2, 33, 700])
def test_short_lines_are_stretched(n, rows, dtype):
    def function(xs):
        x, middle, last, first, column = xs
        parts = [middle[:, None] + x, last[..., None] * x, first - x, column * x]
        return [*parts, middle[:, None, ::-1] * x, x[:, ::-1] * x, np.swapaxes(x, 0, 2) * 2]

    arrays = [normal(3, rows, n), normal(3, n), normal(3, rows), normal(rows, n), normal(3, 1, 1)]
    native(function, *[a.astype(dtype) for a in arrays])


def test_scalars_as_arrays():
    def function(xs):
        a, x = xs
        one = np.reshape(np.sin(a), (1,))
        spread = np.broadcast_to(np.cos(a), (3, 4))
        copied = np.array(spread * 1.0)
        copied[0, 1] = 7.0
        return [one, one + x, np.expand_dims(a * 2, 0), spread, spread * x, copied, spread.T[::2], one @ one]

    native(function, 0.5, normal(3, 4))


def test_a_copy_of_a_stretched_scalar_is_updated():
    def function(xs):
        y = np.copy(np.broadcast_to(np.sin(xs[0]), (3,)))
        y[1] = 2.0
        y[2] += xs[0]
        return [y, y[0]]

    compare(function, 0.5)


# ---------------------------------------------------------------- triangles


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("k", [0, -1, 2, 9, -9])
def test_triangles(k, dtype):
    x, t, g = (normal(2, 4, 3, seed=i).astype(dtype) for i in range(3))
    for fun in (np.tril, np.triu):
        native(derivatives(lambda x, fun=fun: fun(np.sin(x), k)), x, t, g)
        native(lambda xs, fun=fun: [fun(xs[0] / 0.0, k), fun(xs[0])], x)


# ---------------------------------------------------------------- linear algebra


def definite(x):
    return x @ np.swapaxes(x, -1, -2) + x.shape[-1] * onp.eye(x.shape[-1], dtype=x.dtype)


ALGEBRA = {
    "cholesky": lambda a, b: np.linalg.cholesky(definite(a)),
    "cholesky of a transposed one": lambda a, b: np.linalg.cholesky(np.swapaxes(definite(a), -1, -2)),
    "solve": lambda a, b: np.linalg.solve(definite(a), b),
    "solve, transposed": lambda a, b: np.linalg.solve(np.swapaxes(definite(a), -1, -2), b),
    "solve, by a factor": lambda a, b: np.linalg.solve(np.linalg.cholesky(definite(a)), b),
    "solve, by a transposed factor": lambda a, b: np.linalg.solve(
        np.swapaxes(np.linalg.cholesky(definite(a)), -1, -2), b
    ),
    "inv": lambda a, b: np.linalg.inv(definite(a)) @ b,
    "det": lambda a, b: np.linalg.det(a + 3 * onp.eye(a.shape[-1], dtype=a.dtype)),
    "slogdet": lambda a, b: np.linalg.slogdet(definite(a))[1] + np.linalg.slogdet(a)[0],
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("order", [1, 2, 7, 39, 41, 100])
@pytest.mark.parametrize("name", ALGEBRA)
def test_linear_algebra(name, order, dtype):
    fun = ALGEBRA[name]

    def function(xs):
        a, b, g = xs
        value = fun(a, b)
        if order > 40:
            return [value]
        return [value, grad(lambda a, b: np.sum(np.tanh(fun(a, b)) * g), (0, 1))(a, b)]

    matrix = normal(order, order) / order**0.5
    replay = None
    for b in (normal(order), normal(order, 3), normal(3, order).T):
        leaves = [x.astype(dtype) for x in (matrix, b, normal(1))]
        replay = compare(function, *leaves, tolerance=3e-3 if dtype == "float32" else 1e-9)
        assert not {"cholesky", "solve", "inv", "slogdet"} & set(replay.summary["python"])
        assert replay.summary["routines"] > 0


def test_stacks_of_matrices():
    def function(xs):
        a, b = xs
        values = [fun(a, b) for name, fun in ALGEBRA.items()]
        one = [fun(a[0], b) for fun in ALGEBRA.values()] + [np.linalg.solve(definite(a), b[0, :, 0])]
        return [*values, *one, np.linalg.solve(definite(a[:1]), b), np.linalg.solve(definite(a[::2]), b[::2])]

    native(function, normal(3, 5, 5), normal(3, 5, 2), tolerance=1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("trans", [0, 1, "T"])
@pytest.mark.parametrize("unit", [False, True])
def test_triangular_systems(lower, trans, unit, dtype):
    options = {"lower": lower, "trans": trans, "unit_diagonal": unit}

    def function(xs):
        a, b, c = xs
        values = [
            linalg.solve_triangular(m, v, **options) for m in (a, a.T, a * 1.0) for v in (b, c, b[:, ::2])
        ]
        loss = lambda a, b: np.sum(np.sin(linalg.solve_triangular(a, b, **options)))  # noqa: E731
        return [*values, grad(loss, (0, 1))(a, b)]

    a = 0.3 * normal(6, 6) + 3 * onp.eye(6)
    leaves = [x.astype(dtype) for x in (a, normal(6, 4), normal(6))]
    native(function, *leaves, tolerance=1e-5 if dtype == "float32" else 1e-13)


def test_errors_of_linear_algebra():
    """A routine that fails leaves it to NumPy and SciPy to say so; check() compares the exceptions."""
    definite_one, other = onp.array([[2.0, 0.5], [0.5, 1.0]]), onp.array([[1.0, 2.0], [2.0, 1.0]])
    singular, missing = onp.array([[1.0, 2.0], [2.0, 4.0]]), onp.array([[1.0, onp.nan], [onp.nan, 1.0]])
    b = onp.array([1.0, 2.0])
    for fun in (
        lambda xs: [np.linalg.cholesky(xs[0])],
        lambda xs: [np.linalg.solve(xs[0], xs[1])],
        lambda xs: [np.linalg.solve(np.tril(xs[0] - 1.0), xs[1])],
        lambda xs: [np.linalg.inv(xs[0])],
        lambda xs: [np.linalg.det(xs[0]), np.linalg.slogdet(xs[0])],
        lambda xs: [grad(lambda a: np.linalg.slogdet(a)[1])(xs[0])],
        lambda xs: [linalg.solve_triangular(xs[0] - 0.0, xs[1], lower=True)],
        lambda xs: [linalg.solve_triangular(xs[0] * 0.0, xs[1], lower=True)],
    ):
        points = [[m.copy(), b] for m in (definite_one, other, singular, missing, 0 * b * b[:, None])]
        if isinstance(outcome_of(lambda fun=fun, points=points: fun(points[0])), Exception):
            continue
        check(fun, *points, tolerance=1e-12)


def test_guards_come_before_routines_that_raise():
    def function(xs):
        a = xs[0]
        if a[0, 0] > 0:
            return [np.linalg.cholesky(a)]
        return [a]

    replay = program(function, [onp.eye(2)])
    assert replay.run([-onp.eye(2)]) == 0


def test_flags_of_routines_are_dropped():
    """LAPACK may raise floating-point flags where NumPy reports nothing, and those of others stay."""
    a = onp.array([[1e-300, 0.0], [0.0, 1.0]])
    solved = compile(lambda a, b: np.linalg.solve(a, b))
    logs = compile(lambda a: np.log(np.sum(a) - 1.0) + np.sum(np.linalg.inv(a)))
    with onp.errstate(all="raise"):
        for _ in range(4):
            assert solved(a, onp.array([1e300, 1.0]))[0] == onp.inf
            with pytest.raises(FloatingPointError):
                logs(onp.eye(2) / 2)


# ---------------------------------------------------------------- items moved about

PLACES = {
    "integers": onp.array([2, 0, 2, 3, 3]),
    "negative": onp.array([[-1, 0], [1, -4]]),
    "two axes": (onp.array([0, 3, 3, 1]), onp.array([2, 2, 2, 0])),
    "with a slice": (slice(None, None, -2), onp.array([0, 1, 1])),
    "with a number": (onp.array([0, 2, 0]), 1),
    "with a new axis": (Ellipsis, None, onp.array([1, 1])),
    "mask": onp.arange(12).reshape(4, 3) % 3 == 1,
    "mask of rows": onp.array([True, False, True, True]),
}
MOVED = {
    **{f"index: {name}": (lambda x, i=i: x[i]) for name, i in PLACES.items()},
    "take": lambda x: np.take(x, onp.array([3, 0, 0]), axis=0),
    "roll": lambda x: np.roll(x, 2),
    "roll along an axis": lambda x: np.roll(x, -1, axis=1),
    "tile": lambda x: np.tile(x, (2, 1, 3)),
    "repeat": lambda x: np.repeat(x, 3, axis=1),
    "repeat differently": lambda x: np.repeat(x, onp.array([2, 0, 1, 1]), axis=0),
    "reshape": lambda x: np.reshape(x.T, (2, 6)),
    "reshape, F": lambda x: np.reshape(x, (6, 2), order="F"),
    "ravel": lambda x: np.ravel(x.T[::2]),
    "diag": lambda x: np.diag(x, -1),
    "diagonal": lambda x: np.diagonal(x[:, ::-1]),
}


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128", "complex64"])
@pytest.mark.parametrize("name", MOVED)
def test_items_are_moved(name, dtype):
    move = MOVED[name]
    # Copies of an item give a sum.
    tolerance = 1e-6 if name == "tile" else 0.0
    x, t = (normal(4, 3, seed=i).astype(dtype) for i in range(2))
    g = normal(*onp.shape(move(x))).astype(dtype)
    native(derivatives(lambda x: move(np.sin(x)) * 2), x, t, g, tolerance=tolerance)
    native(derivatives(lambda x: move(x)), x, t, g, tolerance=tolerance)
    native(derivatives(lambda x: move(x.T.reshape(3, 4).T)), x, t, g, tolerance=tolerance)


@pytest.mark.parametrize("name", PLACES)
def test_items_are_written(name):
    index = PLACES[name]
    values = normal(*onp.zeros((4, 3))[index].shape)

    def function(xs):
        x, v, a = xs
        y = np.sin(x)
        y[index] = v
        z = np.array(x)
        z[index] = a
        z[index] = 2.0
        w = x * 1.0
        w[index] = np.cos(v)
        u = x * 1.0
        u[onp.array([0, 2])] = x[1] * 2.0
        return [y, z, w, u, y * x, grad(lambda x, v: np.sum(put(x, v, index) ** 2), (0, 1))(x, v)]

    native(function, normal(4, 3), values, 0.5)


def put(x, v, index):
    y = np.sin(x)
    y[index] = v * 2
    return y


def test_cotangents_of_items_named_twice_are_added_in_order():
    index = onp.array([1, 0, 1, 1, 2, 1])

    def function(xs):
        x, g = xs
        slope = grad(lambda x: np.sum(x[index] * g))
        return [slope(x), grad(lambda x: np.sum(x[index] ** 2))(x)]

    native(function, normal(4), normal(6) * 1e8)


def test_floating_point_errors_of_added_items_are_seen():
    index = onp.array([0, 0])
    slope = compile(grad(lambda x, g: np.sum(x[index] * g)))
    for _ in range(4):
        slope(onp.ones(2), onp.ones(2))
    with onp.errstate(all="raise"), pytest.raises(FloatingPointError):
        slope(onp.ones(2), onp.array([1.7e308, 1.7e308]))


# ---------------------------------------------------------------- cross products


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
def test_cross_products(dtype):
    def function(xs):
        a, b, c = xs
        values = [np.cross(a, b), np.cross(b, a[0]), np.cross(c, a), np.cross(a[:, ::-1], b.T[:3].T * 2)]
        return [*values, grad(lambda a, b: np.real(np.sum(np.cross(a, b) * a * np.sin(b))), (0, 1))(a, b)]

    native(function, *[normal(*s).astype(dtype) for s in ((4, 3), (4, 3), (2, 1, 3))])


# ---------------------------------------------------------------- dtypes


def test_casts():
    def function(xs):
        x, y, a = xs
        up, down, wide = np.astype(y, float), np.astype(x * 2, onp.float32), np.astype(x, complex)
        scalars = [np.astype(np.sum(y), float), np.astype(np.sum(x), onp.float32), np.astype(a, onp.float32)]
        truth = np.astype(x > 0, float)
        return [up, down, wide, *scalars, truth, np.astype(x[::2, 1:], onp.float32)]

    native(function, normal(3, 4), normal(3, 4).astype("f"), onp.float64(0.25), tolerance=1e-6)


def test_gradients_of_single_precision():
    def function(xs):
        x, w = xs
        loss = grad(lambda w: np.mean(np.tanh(x @ w) ** 2) + 0.1 * np.sum(w * w))
        return [loss(w), grad(lambda x: np.sum(np.mean(x, axis=0) ** 2) + np.max(x))(x)]

    native(function, normal(5, 3).astype("f"), normal(3).astype("f"), tolerance=1e-6)


# ---------------------------------------------------------------- the first program of a process

FIRST = """
import os
import numpy as onp
import autograd_c.numpy as np
from autograd_c import compile, grad

x = onp.arange(1.0, 7.0).reshape(2, 3)
programs = {
    "mean": (np.mean, {}),
    "mean along an axis": (lambda x: np.mean(x, axis=1), {}),
    "gradient of a mean": (grad(np.mean), {}),
    "count": (lambda x: np.count_nonzero(x > 2.0), {}),
    "tril": (np.tril, {}),
    "diagonal": (lambda x: np.diag(x[0]), {}),
    "cross": (lambda x: np.cross(x[0], x[1]), {}),
    "reciprocal": (lambda x: x / 3.0, {"fastmath": True}),
    "reciprocal of a scalar": (lambda x: x[0, 1] / 3.0, {"fastmath": True}),
    "power": (lambda x: x[0, 1] ** 4, {"fastmath": True}),
}
for name, (fun, options) in programs.items():
    child = os.fork()
    if not child:
        compiled = compile(fun, **options)
        results = [compiled(x) for _ in range(4)]
        os._exit(not all(onp.allclose(result, fun(x), rtol=1e-14) for result in results))
    print(name, os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_nothing_has_to_be_used_before():
    """The planner itself calls primitives, and may be the first to do so."""
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 10 and [line for line in lines if not line.endswith(" 0")] == []


# ---------------------------------------------------------------- calls that are recorded as others

EINSUMS = [
    "ij,jk->ik", "ij,jk->ki", "ij,kj->ik", "ji,jk", "ij,j->i", "i,ij->j", "ij,ij->", "ij,ij->i", "ij,ij->ij",
    "ij,jk->", "ij,kl->ikjl", "i,j->ij", "i,i->", "ij,k->k", "ij->ji", "ij->j", "ij->", "ii->i", "ii",
    "iji->j", "iij,j->i", "bij,bjk->bik", "bij,bj->bi", "bij,jk->bik", "bij,bij->b", "bij,bkj->ikb",
    "bij,bij->ij", "ij,jk,kl->il", "i,i,i->", "ij,j,ij->i", "bij,bjk,bk->bi",
    "...ij,...jk->...ik", "i...,i...->...",
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("subscripts", EINSUMS)
def test_einsum(subscripts, dtype):
    sizes = dict(zip("ijklb", (3, 4, 5, 2, 6), strict=True))
    shapes = [
        tuple(sizes[c] for c in labels.replace("...", "b"))
        for labels in subscripts.partition("->")[0].split(",")
    ]
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    for k, shape in enumerate(shapes):
        others = [normal(*s, seed=i).astype(dtype) for i, s in enumerate(shapes)]

        def function(x, k=k, others=others):
            operands = [*others[:k], np.sin(x), *others[k + 1 :]]
            return np.einsum(subscripts, *operands) * 2

        x, t = (normal(*shape, seed=i).astype(dtype) for i in (7, 8))
        g = onp.array(normal(*onp.shape(function(x))).astype(dtype))[()]
        if onp.shape(g) or dtype == "float64":  # a float32 number is a step in Python
            native(derivatives(function), x, t, g, tolerance=tolerance)


def test_einsum_broadcasts_axes_of_length_one():
    x, y = normal(3, 1), normal(1, 4)
    for subscripts in ("ij,ij->ij", "ij,ij->", "ij,ij->i", "ij,kj->ik"):
        native(lambda xs, s=subscripts: [np.einsum(s, xs[0], xs[1])], x, y, tolerance=1e-13)


def test_einsum_takes_the_path_that_is_asked_for():
    arrays = [normal(3, 4), normal(4, 5), normal(5, 2)]
    for optimize in (True, "greedy", "optimal", ["einsum_path", (1, 2), (0, 1)]):
        native(lambda xs, o=optimize: [np.einsum("ij,jk,kl", *xs, optimize=o)], *arrays, tolerance=1e-13)


def test_einsum_of_one_operand_is_a_view():
    def function(xs):
        x = xs[0] * 1.0
        for k, subscripts in enumerate(("ij->ji", "ij->ij", "ii->i")):
            y = np.einsum(subscripts, x)
            y[k] = 7.0 + k
        return [x * 2.0, y]

    native(function, normal(3, 3))


LOWERED = {
    "tensordot": lambda x: np.tensordot(x, np.sin(x), axes=([0, 2], [0, 2])),
    "tensordot, all": lambda x: np.tensordot(x, np.sin(x), 3) * 2.0,
    "tensordot, none": lambda x: np.tensordot(x, x[0, 0], 0),
    "dot": lambda x: np.dot(x, np.swapaxes(x, 1, 2)),
    "inner": lambda x: np.inner(x, np.sin(x[0])),
    "inner of vectors": lambda x: np.inner(x[0, 0], x[1, 2]),
    "outer": lambda x: np.outer(x, x[0]),
    "vdot": lambda x: np.vdot(x, np.sin(x)),
    "vecdot": lambda x: np.vecdot(x, x[0] * 2),
    "vecdot along an axis": lambda x: np.vecdot(x, np.cos(x), axis=1),
    "kron": lambda x: np.kron(x[0], x[1]),
    "trace": lambda x: np.trace(x, 1, 1, 2),
    "diag of a vector": lambda x: np.diag(x[0, 0], 2) @ np.diag(x[1, 0], -2),
    "var": lambda x: np.var(x, axis=(0, 2)) + np.var(x),
    "std": lambda x: np.std(x, axis=1, ddof=1, keepdims=True),
    "norm": lambda x: np.linalg.norm(x) + np.linalg.norm(x, axis=1) + np.linalg.norm(x[0], "fro"),
    "norms": lambda x: np.linalg.norm(x, 1, axis=-1) + np.linalg.norm(x, 1, axis=2),
    "softmax": lambda x: special.softmax(x, axis=-1) * x,
    "log_softmax": lambda x: special.log_softmax(x, axis=(0, 1)),
    "logsumexp": lambda x: special.logsumexp(x, axis=1) + special.logsumexp(x),
    "clip": lambda x: np.clip(x, -0.5, 0.7) + np.clip(x, x[0], x[0] + 1.0),
    "cumsum": lambda x: np.cumsum(x, axis=1) + np.cumsum(x, -1)[:, ::-1],
    "cumsum of all": lambda x: np.cumsum(x.T),
    "cumprod": lambda x: np.cumprod(x, axis=0) + np.cumprod(x, axis=2),
    "cumulative_sum": lambda x: np.cumulative_sum(x, axis=1, include_initial=True),
    "cumulative_prod": lambda x: np.cumulative_prod(x, axis=2, include_initial=True),
    "prod": lambda x: np.prod(x, axis=1),
    "accumulate": lambda x: np.add.accumulate(x, 1) * np.multiply.accumulate(x),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", LOWERED)
def test_calls_that_are_made_of_others(name, dtype):
    fun = LOWERED[name]
    x, t = (normal(2, 3, 4, seed=i).astype(dtype) for i in range(2))
    g = onp.asarray(normal(*onp.shape(fun(x)))).astype(dtype)[()]
    if onp.shape(g) or dtype == "float64":
        both = derivatives(fun)
        if dtype == "float32":  # numbers of it are steps in Python
            compare(both, x, t, g, tolerance=1e-5)
        else:
            native(both, x, t, g, tolerance=1e-12)


WHOLE = {
    "einsum": lambda x: np.einsum("...i,...i->...", x, x),
    "einsum of one": lambda x: np.einsum("ij->i", x),
    "vdot": lambda x: np.vdot(x, x),
    "vecdot": lambda x: np.vecdot(x, x),
    "nancumsum": lambda x: np.nancumsum(x, axis=0),
    "nancumprod": lambda x: np.nancumprod(x, axis=1),
    "norm": lambda x: np.linalg.norm(x),
    "norm of rows": lambda x: np.linalg.norm(x, axis=1),
    "sums of columns": lambda x: np.linalg.norm(x, 1, axis=0),
    "largest of columns": lambda x: np.linalg.norm(x, onp.inf, axis=0),
    "smallest of columns": lambda x: np.linalg.norm(x, -onp.inf, axis=0),
    "largest sum": lambda x: np.linalg.norm(x, onp.inf),
}


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64"])
@pytest.mark.parametrize("name", WHOLE)
def test_calls_of_integers_stay_as_they_are(name, dtype):
    """No sum in a wider type, no square that wraps around."""
    fun, made = WHOLE[name], compile(WHOLE[name])
    x = (onp.arange(6).reshape(2, 3) * (10**10 if dtype == "int64" else 19)).astype(dtype)
    for _ in range(4):
        got, expected = made(x), fun(x)
        assert type(got) is type(expected) and got.dtype == expected.dtype
        onp.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("fun", [np.cumulative_sum, np.cumulative_prod])
def test_running_sums_of_matrices_need_an_axis(fun):
    made = compile(lambda x: fun(x, include_initial=True))
    for _ in range(3):
        with pytest.raises(ValueError, match="axis"):
            made(normal(2, 3))


def test_sums_of_exponentials_of_infinities():
    inf = onp.inf
    x = onp.array(
        [[1.0, 2.0, 2.0], [-inf, 3.0, 0.0], [-inf, -inf, -inf], [inf, 1.0, inf], [0.0, -40.0, -50.0]]
    )
    for axis in (0, 1, None):
        both = derivatives(lambda x, axis=axis: special.logsumexp(x, axis=axis))
        for rows in (x, x[:2], x[2:3], x[4:]):
            g = onp.asarray(normal(*onp.shape(special.logsumexp(rows, axis=axis))))[()]
            ones = onp.ones_like(rows)
            check(
                both,
                [ones, ones, g],
                [rows, onp.nan_to_num(rows, posinf=2.0, neginf=3.0), g],
                tolerance=1e-14,
            )


@pytest.mark.parametrize("shape", [(1,), (2,), (9,), (300,), (4, 5), (1, 5), (5, 1), (2, 3, 4), (3, 40, 2)])
def test_running_sums_are_numpys(shape):
    """To the bit, for every axis and layout."""

    def function(xs):
        x = np.sin(xs[0])
        parts = []
        for axis in range(x.ndim):
            for y in (x, x[::-1], x[..., ::-1], x.T.copy().T):
                parts += [np.cumsum(y, axis), np.cumprod(y, axis=axis), np.maximum.accumulate(y, axis=axis)]
                parts += [np.logaddexp.accumulate(y, axis)]
        return parts

    native(function, normal(*shape))
    native(function, normal(*shape).astype("float32"))


def test_recurrences():
    def function(xs):
        g, x = xs
        return [
            cumulative.recurrence(np.sin(a), np.cos(b), axis, reverse)
            for axis in (0, 1, 2)
            for reverse in (False, True)
            for a, b in ((g, x), (g[::-1], x[:, ::-1]), (x, x))
        ]

    native(function, normal(2, 5, 3), normal(2, 5, 3, seed=1), tolerance=1e-13)
    native(function, normal(1, 1, 4), normal(1, 1, 4, seed=1), tolerance=1e-13)


def test_running_products_report_overflow():
    f = compile(lambda x: np.cumprod(x))
    for _ in range(4):
        f(onp.ones(3))
    with onp.errstate(over="raise"):
        for size in (1.0, 2.0, 1e200):
            expected = outcome_of(lambda size=size: f.fun(onp.full(3, size)))
            ours = outcome_of(lambda size=size: f(onp.full(3, size)))
            assert type(ours) is type(expected)
