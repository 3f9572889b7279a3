"""Programs of the replay machine against eager mode.

A function is recorded at one point and its program is run at others: results, their types, what happens to
the arguments and what is raised must be those of the function itself. Where a guard fails, the function must
really take another way there, and that guard must be the first to differ.
"""

import gc
import threading
import tracemalloc

import numpy as onp
import pytest
import test_random_programs
from test_primitives import Call, unit_cotangent

import autograd_c.numpy as np
from autograd_c import _core, checkpoint, grad, hessian, hvp, jvp, value_and_grad
from autograd_c.extend import defvjp, elementwise, primitive
from autograd_c.operators import make_jvp, make_vjp
from autograd_c.registry import primitives

ROWS = [row for row in primitives() if row.kind != "none"]
DIFFERENTIABLE = [row for row in ROWS if row.differentiable and row.samples()]


# ---------------------------------------------------------------- recording, running, comparing


def flat(tree):
    if isinstance(tree, (list, tuple)):
        return [leaf for item in tree for leaf in flat(item)]
    if isinstance(tree, dict):
        return flat(list(tree.values()))
    return [tree]


def packed(leaves):
    """Copies in C order, as programs take them."""
    return [onp.array(x, order="C") if isinstance(x, onp.ndarray) else x for x in leaves]


def record(fun, leaves):
    return _core.record_call_of(lambda boxes: flat(fun(boxes)), packed(leaves))[1]


def program(fun, leaves):
    recording = record(fun, leaves)
    assert recording.escapes == []
    return _core.ReplayProgram(recording)


def way(recording):
    """What depends on values in a recording: outcomes of guards, shapes and dtypes."""
    metas = [(n.meta.shape, n.meta.dtype) for n in recording.nodes if n.meta is not None]
    return [guard.outcome for guard in recording.guards], metas


def precision(leaves):
    """The eps of the coarsest of the leaves."""
    dtypes = [onp.asarray(x).dtype for x in leaves]
    return max(onp.finfo(d if d.char in "efFdD" else float).eps for d in dtypes if d.kind in "fc")


def same(got, expected, tolerance, what):
    """Type, dtype, shape and value; every bit where the tolerance is 0."""
    assert len(got) == len(expected)
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        place = f"{what}, number {i}"
        assert type(a) is type(b), place
        a, b = onp.asarray(a), onp.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype), place
        if tolerance == 0 or a.dtype.kind not in "fc":
            onp.testing.assert_array_equal(a, b, place)
        else:
            scale = max(1.0, onp.max(onp.abs(b[onp.isfinite(b)]), initial=0.0))
            onp.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale, err_msg=place)


def outcome_of(call):
    """The result of a call, or the exception that it raised."""
    try:
        return call()
    except Exception as error:
        return error


def check(fun, *points, tolerance=0.0):
    """Records at the first point; compares program and function there, at the others, and there again."""
    recording = record(fun, points[0])
    assert recording.escapes == []
    recorded_way = way(recording)
    replay = _core.ReplayProgram(recording)
    for point in (*points, points[0]):
        mine, theirs = packed(point), packed(point)
        got = outcome_of(lambda mine=mine: replay.run(mine))
        expected = outcome_of(lambda theirs=theirs: flat(fun(theirs)))
        if isinstance(got, int):
            check_guard(got, fun, point, recorded_way)
        elif isinstance(got, _core.ReplayMismatch):
            there = outcome_of(lambda point=point: way(record(fun, point)))
            assert isinstance(there, Exception) or there[1] != recorded_way[1]
        elif isinstance(expected, Exception):
            assert type(got) is type(expected)
        elif isinstance(got, Exception):
            raise got
        else:
            same(got, expected, tolerance, "results")
            same(mine, theirs, tolerance, "arguments")
    return replay


def check_guard(number, fun, point, recorded_way):
    """The guard that failed is the first whose outcome is another one, if eager mode gets there."""
    recording = outcome_of(lambda: record(fun, point))
    if isinstance(recording, Exception):
        return
    pairs = zip(way(recording)[0], recorded_way[0], strict=False)
    assert number == next(i for i, (a, b) in enumerate(pairs) if a != b)


def near(leaves, rng, step=0.3):
    """Another point."""
    moved = []
    for x in leaves:
        if onp.asarray(x).dtype.kind in "fc":
            y = x + step * rng.standard_normal(onp.shape(x))
            moved.append(onp.array(y, x.dtype) if isinstance(x, onp.ndarray) else type(x)(y))
        else:
            moved.append(x)
    return moved


def compare(fun, *leaves, tolerance=0.0, others=3):
    rng = onp.random.default_rng(0)
    return check(fun, list(leaves), *[near(leaves, rng) for _ in range(others)], tolerance=tolerance)


def normal(*shape, seed=0):
    return onp.random.default_rng([seed, *shape]).standard_normal(shape)


# ---------------------------------------------------------------- every row

# What these do depends on values in a way that no guard covers, mostly by the shape of a result: they are
# left to eager mode.
ESCAPE = {"histogram", "interp", "setdiff1d", "setxor1d", "trim_zeros", "union1d", "unique", "unique_values"}
# Of these, calls where an index, a mask or a weight is traced; `getitem` and `scatter` meet traced indices
# in the operator only.
TRACED_INDEX = {
    *("choose", "cov", "extract", "piecewise", "place", "put_along_axis", "putmask"),
    *("getitem", "scatter"),
}


def is_float(value):
    return type(value) in (onp.ndarray, onp.float64) and value.dtype.kind in "fc" and value.dtype.isnative


def is_any(value):
    return is_float(value) or type(value) is onp.ndarray and value.dtype.kind in "iub"


def leaves_of(tree, wanted):
    if isinstance(tree, (list, tuple)):
        return [leaf for item in tree for leaf in leaves_of(item, wanted)]
    if isinstance(tree, dict):
        return leaves_of(list(tree.values()), wanted)
    return [tree] if wanted(tree) else []


def with_leaves(tree, leaves, wanted):
    if isinstance(tree, (list, tuple)):
        return type(tree)([with_leaves(item, leaves, wanted) for item in tree])
    if isinstance(tree, dict):
        return {key: with_leaves(item, leaves, wanted) for key, item in tree.items()}
    return next(leaves) if wanted(tree) else tree


def kinds(leaves):
    return [(onp.shape(x), onp.asarray(x).dtype) for x in leaves]


def two_points(a, b):
    """Two lists of leaves, the second in place of the first only where a program would take it."""
    return [list(a), list(b) if kinds(a) == kinds(b) else list(a)]


def accepted(function, leaves):
    """Whether NumPy, or the rule, takes these values at all."""
    if not all(isinstance(x, (onp.ndarray, float)) for x in leaves):
        return False
    try:
        function(packed(leaves))
    except (TypeError, ValueError, Warning, onp.linalg.LinAlgError):
        return False
    return True


def value_cases(row, dtype, wanted):
    """The row's sample calls as functions of their arrays, with two points each."""
    for sample, other in zip(row.samples(dtype), row.samples(dtype, seed=1), strict=True):

        def value(leaves, sample=sample):
            args, kwargs = with_leaves(sample, iter(leaves), wanted)
            return row.handler(*args, **kwargs)

        yield value, two_points(leaves_of(sample, wanted), leaves_of(other, wanted))


def rebuilt(value, parts):
    """Cotangents in the structure of a result."""
    if not isinstance(value, (list, tuple)):
        return next(parts)
    items = [rebuilt(item, parts) for item in value]
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def calls_of(row, dtype):
    """The row's sample calls that NumPy takes, each with the leaves of another one."""
    for sample, other in zip(row.samples(dtype), row.samples(dtype, seed=1), strict=True):
        if accepted(lambda _, sample=sample: row.fun(*sample[0], **sample[1]), []):
            yield Call(row.handler, sample), Call(row.handler, other).leaves


def reverse_cases(row, dtype):
    for call, at in calls_of(row, dtype):
        n = len(call.leaves)
        value = make_vjp(call)(call.leaves)[1]
        rng = onp.random.default_rng(0)
        cotangents = [flat(unit_cotangent(value, rng)) for _ in range(2)]

        def reverse(leaves, call=call, n=n, value=value):
            pullback, result = make_vjp(call)(tuple(leaves[:n]))
            return [pullback(rebuilt(value, iter(leaves[n:]))), result]

        yield reverse, two_points([*call.leaves, *cotangents[0]], [*at, *cotangents[1]])


def forward_cases(row, dtype):
    for call, at in calls_of(row, dtype):
        n = len(call.leaves)
        if kinds(call.leaves) != kinds(at):
            at = call.leaves

        def forward(leaves, call=call, n=n):
            return make_jvp(call)(tuple(leaves[:n]))(tuple(leaves[n:]))

        yield forward, two_points([*call.leaves, *at], [*at, *call.leaves])


def check_row(row, cases, tolerance):
    """Each case by replay, or as an escape."""
    escapes = False
    for function, points in cases:
        if not points[0] or not accepted(function, points[0]):
            continue
        if record(function, points[0]).escapes:
            escapes = True
        else:
            check(function, *points, tolerance=tolerance and tolerance * precision(points[0]))
    return escapes


def by_row(rows):
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


@pytest.fixture(autouse=True)
def quiet():
    with onp.errstate(all="ignore"):
        yield


@by_row(ROWS)
def test_values(row):
    tolerance = 0.0 if row.kind in ("elementwise", "constant") else 64.0
    assert not check_row(row, value_cases(row, float, is_float), tolerance) or row.name in ESCAPE


def test_what_escapes():
    """A list that is too long would hide what is tested no more."""
    rows = [row for row in ROWS if row.name in ESCAPE]
    assert {row.name for row in rows if check_row(row, value_cases(row, float, is_float), 64.0)} == ESCAPE


@by_row(ROWS)
def test_values_of_other_dtypes(row):
    if row.name in ESCAPE:
        pytest.skip("left to eager mode")
    tolerance = 0.0 if row.kind in ("elementwise", "constant") else 64.0
    for dtype in ("float32", "complex64", "longdouble"):
        assert not check_row(row, value_cases(row, dtype, is_float), tolerance)
    if row.kind in ("elementwise", "constant"):
        assert not check_row(row, value_cases(row, "float16", is_float), tolerance)


@by_row(ROWS)
def test_integers_and_truth_values_among_the_leaves(row):
    if row.name not in TRACED_INDEX | ESCAPE:
        cases = [case for case in value_cases(row, float, is_any) if not all(map(is_float, case[1][0]))]
        assert not check_row(row, cases, 64.0)


@by_row(DIFFERENTIABLE)
def test_reverse_mode(row):
    # Cotangents of stretched arguments are sums.
    tolerance = 8.0 if row.kind == "elementwise" else 512.0
    assert not check_row(row, reverse_cases(row, float), tolerance) or row.name in ESCAPE


@by_row(DIFFERENTIABLE)
def test_forward_mode(row):
    tolerance = 8.0 if row.kind == "elementwise" else 512.0
    assert not check_row(row, forward_cases(row, float), tolerance) or row.name in ESCAPE


@by_row([row for row in DIFFERENTIABLE if row.kind == "elementwise"])
def test_derivatives_of_rows_without_stretching_are_the_same_bits(row):
    """A rule is recorded as the machine runs it."""
    whole = [len({onp.shape(a) for a in args}) == 1 for args, _ in row.samples()]
    for cases in (reverse_cases, forward_cases):
        for (function, points), alike in zip(cases(row, float), whole, strict=True):
            if alike:
                check(function, *points)


@by_row(DIFFERENTIABLE)
def test_derivatives_in_other_dtypes(row):
    if row.name in ESCAPE:
        pytest.skip("left to eager mode")
    for dtype in ("float32", "complex128"):
        assert not check_row(row, list(reverse_cases(row, dtype))[:2], 512.0)


@by_row([row for row in DIFFERENTIABLE if row.name not in ESCAPE])
def test_second_derivatives(row):
    """Forward over reverse, of the first sample call."""
    function, points = next(reverse_cases(row, float))
    n, size = len(Call(row.handler, row.samples()[0]).leaves), len(points[0])

    def along(leaves):
        rest, at, direction = leaves[n:size], tuple(leaves[:n]), tuple(leaves[size:])
        return make_jvp(lambda x: function([*x, *rest])[0])(at)(direction)

    points = [[*point, *point[:n]] for point in points]
    if not record(along, points[0]).escapes:
        check(along, *points, tolerance=4096 * precision(points[0]))


# ---------------------------------------------------------------- random programs


def points_of(random_program, seed):
    rng = onp.random.default_rng(seed)
    start = [x if x.shape else x for x in map(onp.asarray, random_program.inputs)]
    start = [
        float(x) if isinstance(y, float) else x for x, y in zip(start, random_program.inputs, strict=True)
    ]
    return [start, *(near(start, rng, step) for step in (0.1, 0.5, 1.0))]


def slopes_of(random_program):
    return lambda xs: value_and_grad(lambda ys: random_program(np, ys))(list(xs))


@pytest.mark.parametrize("start", range(0, test_random_programs.PROGRAMS, 50))
def test_random_programs_with_branches(start):
    for seed in range(start, start + 50):
        random_program = test_random_programs.Program(seed)
        check(slopes_of(random_program), *points_of(random_program, seed), tolerance=1e-12)


def test_random_programs_take_other_branches():
    """A test of the tests: some programs have guards, which sometimes fail."""
    failed = 0
    for seed in range(0, 100):
        random_program = test_random_programs.Program(seed)
        points = points_of(random_program, seed)
        replay = program(slopes_of(random_program), points[0])
        failed += any(isinstance(outcome_of(lambda p=p, r=replay: r.run(packed(p))), int) for p in points)
    assert failed >= 3


@pytest.mark.parametrize("start", range(0, 100, 20))
def test_hessian_products_of_random_programs(start):
    for seed in range(start, start + 20):
        random_program = test_random_programs.Program(seed)

        def product(xs, random_program=random_program):
            return hvp(lambda ys: random_program(np, ys), (list(xs),), (random_program.directions,))

        check(product, *points_of(random_program, seed)[:2], tolerance=1e-9)


# ---------------------------------------------------------------- results


def test_types_of_results():
    compare(lambda x: [x[0], x[0] * 1.0, x[0] + 1, np.sin(x[0]), +x[0]], 0.7)
    compare(lambda x: [x[0], x[0] * 2, np.sin(x[0]), np.sum(x[0]), x[0].reshape(1)], onp.array(1.5))
    compare(
        lambda x: [x[0] > 0, np.any(x[0] > 0), np.argmax(x[0]), x[0][0] > x[0][1], x[0] == x[0]], normal(4)
    )
    compare(lambda x: [3.0, onp.float64(2), onp.arange(3), 1, None, "text", x[0] * 0 + 1], normal(3))
    compare(lambda x: [grad(lambda y: np.reshape(y, (1,))[0] * 3.0)(x[0]), np.imag(x[0])], onp.float64(0.5))
    compare(lambda x: jvp(np.imag, (x[0],), (x[0],)), onp.float64(0.5))


def test_a_result_twice_is_one_object_and_an_equal_one_another():
    def function(xs):
        y = np.sin(xs[0])
        return [y, y, np.sin(xs[0]), xs[0], xs[0], xs[0].copy(), 1.0 * xs[0]]

    replay = compare(function, normal(3))
    x = normal(3)
    out = replay.run([x])
    assert out[0] is out[1] and out[0] is not out[2]
    assert out[3] is x and out[4] is x
    assert out[5] is not x and out[6] is not x and out[5] is not out[6]


def views_and_values(xs):
    x, z = xs
    y = np.sin(x) * 2.0
    parts = [y, y[1:], y[::-1], y.reshape(5, 1), y * 2, np.sum(y), x[1:], x.T, x.copy(), z.T, z[::2, ::-1]]
    return [
        *parts,
        onp.ones(3),
        np.zeros_like(x),
        np.concatenate([y, x]),
        np.broadcast_to(y, (2, 5)),
        np.cumsum(y),
    ]


def test_results_are_fresh():
    """They share no memory with the arguments, the arena or one another."""
    points = [[normal(5, seed=k), normal(3, 4, seed=k)] for k in range(3)]
    replay = check(views_and_values, *points, tolerance=1e-14)
    first = replay.run(points[0])
    copies = [onp.array(r) for r in first]
    second = replay.run(points[1])
    for r, copy in zip(first, copies, strict=True):
        onp.testing.assert_array_equal(r, copy)
    arrays = [r for r in (*first, *second) if isinstance(r, onp.ndarray)]
    assert all(r.flags.owndata and r.flags.writeable for r in arrays)
    everything = [*arrays, *points[0], *points[1]]
    for i, a in enumerate(arrays):
        assert not any(onp.shares_memory(a, b) for b in everything[i + 1 :])


def test_many_results():
    compare(lambda xs: [xs[0] * k if k % 3 else np.sum(xs[0][k % 5 :]) + k for k in range(300)], normal(5))


# ---------------------------------------------------------------- updates in place


def test_updates_of_intermediates():
    def function(xs):
        x, s = xs
        y = x.copy()
        y[1:] += 2 * x[:-1]
        y[0] = 3.0
        part = y[1:3]
        part *= 2
        part[0] = s
        z = np.zeros_like(x)
        view = z[1:]
        back = view[::-1]
        back[0] = 1.5 * x[0]
        back[1] += x[2]
        before = z * 1.0
        z[...] = z + 1
        return [y, part, np.sum(y), z, view, back, before]

    compare(function, normal(5), 0.7, tolerance=1e-14)
    compare(
        lambda xs: grad(lambda t: sum(np.sum(v * v) for v in function([t, xs[1]])))(xs[0]),
        normal(5),
        0.7,
        tolerance=1e-13,
    )


def test_two_views_of_one_array():
    def function(xs):
        y = xs[0] * 2
        top, left = y[0], y[:, 0]
        top += 1.0
        left *= 3.0
        y[1:, 1:] = y[:-1, :-1]
        return [y, top, left, np.sum(y, axis=0)]

    compare(function, normal(4, 4))


def test_updates_of_arguments():
    def shift(xs):
        xs[0][1:] = 2 * xs[0][:-1]
        xs[0][0] += 1.0
        return [np.sum(xs[0])]

    def swap(xs):
        kept = xs[0].copy()
        xs[0][:] = xs[1]
        xs[1][:] = kept
        return [xs[0] - xs[1]]

    def turn(xs):
        kept = xs[0].copy()
        xs[0][:], xs[1][:], xs[2][:] = xs[1], xs[2], kept
        return []

    def scalar(xs):
        xs[0][...] = xs[0] * 2 + xs[1]
        return [xs[0] * 1.0]

    compare(shift, normal(5), tolerance=1e-14)
    compare(swap, normal(4), normal(4, seed=1))
    compare(turn, normal(4), normal(4, seed=1), normal(4, seed=2))
    compare(scalar, onp.array(2.0), 0.5)


def test_nothing_is_updated_where_a_guard_fails():
    def function(xs):
        xs[0][0] = 5.0
        return [xs[0] * 2] if xs[0][1] > 0 else [xs[0]]

    replay = program(function, [onp.ones(3)])
    x = -onp.ones(3)
    assert replay.run([x]) == 0
    onp.testing.assert_array_equal(x, -onp.ones(3))


# ---------------------------------------------------------------- layouts, shapes, dtypes


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0, 2)])
def test_no_items(shape):
    def function(xs):
        x = xs[0]
        sums = [np.sum(x), np.sum(x, axis=0), np.prod(x), np.sum(np.sin(x), axis=-1)]
        return [np.sin(x) * 2, *sums, x[...], np.concatenate([x, x]), grad(lambda y: np.sum(y * y))(x)]

    compare(function, onp.zeros(shape))


def test_broadcast_operands():
    def function(xs):
        row, matrix, column, scalar = xs
        sums = [
            row + matrix,
            matrix - column,
            row * column,
            column / 2 + row,
            scalar * matrix,
            matrix + scalar * row,
        ]
        return [*sums, row[None, :, None] + matrix[0], np.sum(row * column), np.sum(row * column, axis=0)]

    compare(function, normal(4), normal(3, 4), normal(3, 1), 0.5, tolerance=1e-14)


def test_strided_operands():
    def function(xs):
        a, b = xs
        views = [a.T, b, a[::-1].T, b[:, ::-1], np.swapaxes(a, 0, 1)[::1]]
        out = [np.sin(u) * v + 1 for u in views for v in views]
        return [*out, np.sum(a.T * b), (a.T + b)[::2], np.max(a.T[:, ::2] * b[:, :2], axis=1)]

    compare(function, normal(4, 3), normal(3, 4), tolerance=1e-14)


@pytest.mark.parametrize("n", [63, 64, 65, 127, 129, 1023, 1024, 1025, 2047, 2048, 2049, 4097, 65537])
def test_around_the_ends_of_blocks(n):
    def function(xs):
        x, rows, columns = xs
        return [
            np.sin(x) * x + 1,
            x[::-1] * x + x,
            x > 0,
            np.sum(x * x),
            np.max(x * 2),
            np.mean(x[1:]),
            rows + x,
            np.sum(rows * x, axis=0),
            np.sum(rows[:, ::-1] * x, axis=1),
            np.sum(columns * x[:, None], axis=0),
            np.max(columns * 2.0, axis=1),
        ]

    compare(function, normal(n), normal(2, n), normal(n, 3), tolerance=1e-13, others=1)


AXES = [None, 0, 1, 2, -1, -3, (0, 1), (1, 2), (0, 2), (0, -1), (), (0, 1, 2)]


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod"])
def test_axes_of_reductions(name):
    reduce = getattr(np, name)

    def function(xs):
        values = [*xs, np.sin(xs[0]), xs[0][:, ::2], xs[0].T]
        return [reduce(x, axis=a, keepdims=k) for x in values for a in AXES for k in (False, True)]

    compare(function, normal(3, 4, 5), normal(1, 4, 1), normal(2, 1, 3), tolerance=1e-14, others=1)


def test_other_arguments_of_reductions():
    mask = normal(3, 4) > 0

    def function(xs):
        x = xs[0]
        plain = [np.sum(x, dtype=onp.float32), np.sum(x, where=mask), np.sum(x, axis=0, initial=2.0)]
        traced = [np.sum(x, where=x > 0), np.mean(x, where=x < 1), np.any(x > 1, axis=0), np.all(x < 9)]
        return [*plain, *traced, np.std(x), np.var(x, axis=0), grad(lambda y: np.sum(y * y, where=y > 0))(x)]

    compare(function, normal(3, 4), tolerance=1e-6)


def test_products():
    def function(xs):
        a, b, c = xs
        vectors = [a[1] @ b[:, 1], a[0] @ b, a @ b[:, 0], np.dot(a[:, 0], a[:, 1]), np.dot(a[0][::-1], b)]
        matrices = [a @ b, b.T @ a.T, a[::2] @ b[:, ::2], np.dot(a, b), np.broadcast_to(a[:1], (4, 3)) @ b]
        stacks = [np.matmul(c, b), c @ c.transpose(0, 2, 1), np.dot(a, 2.0), np.einsum("ij,jk->ik", a, b)]
        return [*vectors, *matrices, *stacks, grad(lambda t: np.sum((t @ b) ** 2))(a)]

    compare(function, normal(4, 3), normal(3, 5), normal(2, 4, 3), tolerance=1e-13)


def test_products_over_no_terms():
    compare(
        lambda xs: [xs[0] @ xs[1], xs[0][0] @ xs[1], xs[0] @ xs[1][:, 0]],
        onp.zeros((3, 0)),
        onp.zeros((0, 2)),
    )


def test_joining():
    def function(xs):
        a, b, s = xs
        out = [
            np.concatenate([a.T, b]),
            np.concatenate([a, a[:, ::-1]], axis=1),
            np.concatenate([a, b], axis=None),
        ]
        stacks = [np.stack([a[:, 0], a[:, 1]], axis=k) for k in (0, 1, -1, -2)]
        return [
            *out,
            *stacks,
            np.hstack([a, a]),
            np.array([a[0, 0], 2.0, s]),
            np.stack([s, s * 2]),
            np.vstack([b, b]),
        ]

    compare(function, normal(4, 3), normal(2, 4), 0.5)


def test_choices():
    def function(xs):
        x, s = xs
        y = np.where(x > s, x, s)
        masks = [(x > 0) & (x < 1), ~(x > 0) | (s > 0), (x > 0) ^ (x > 1), np.logical_or(x > 0.5, s < 0)]
        return [
            y,
            np.where(s > 0.2, x, 0.0),
            np.where(s > 0, s, 2.0),
            *masks,
            (x > 0) * 2.0,
            np.maximum(x, s),
            np.clip(x, -0.5, s),
            (x > 0).astype(float),
            x.astype(int),
            np.where(x > 0, 1, 2),
        ]

    compare(function, normal(6), 0.4)


@pytest.mark.parametrize("dtype", ["float32", "complex128", "complex64", "float16", "longdouble"])
def test_dtypes(dtype):
    def function(xs):
        x, s = xs
        out = [
            x * 2.5 + 1,
            x * s,
            2 - x,
            x * onp.float64(2.0),
            x * onp.float32(0.1),
            x * onp.int64(3),
            x * True,
            x**2,
        ]
        more = [
            np.sum(x * x),
            np.mean(x, axis=0),
            x.T @ x,
            np.abs(x),
            np.exp(x) * 3,
            x.conj() * x,
            x.real + s,
        ]
        return [*out, *more, grad(lambda y: np.sum(np.abs(np.sin(y) * s + y * y) ** 2))(x)]

    x = (
        normal(3, 4).astype(dtype) + (1j * normal(3, 4)).astype(dtype)
        if "c" in dtype
        else normal(3, 4).astype(dtype)
    )
    compare(function, x.astype(dtype), 0.7, tolerance=64 * precision([x]))


def test_scalars_of_other_dtypes():
    compare(
        lambda xs: [xs[0] * 2, xs[0] + xs[1], np.sin(xs[0]), xs[0]], onp.float32(0.5), onp.complex128(1 + 2j)
    )


def test_integer_constants():
    whole = onp.arange(12).reshape(3, 4)
    compare(
        lambda xs: [xs[0] * whole, xs[0] + whole[0], np.where(whole > 3, xs[0], 0.0), xs[0] ** whole],
        normal(3, 4),
    )


def test_integer_inputs():
    def function(xs):
        i, mask, x = xs
        return [
            i * 2,
            i & 3,
            i << 1,
            i + x,
            i // 2,
            np.sum(i),
            x * mask,
            ~mask,
            mask & (i > 2),
            np.where(mask, x, i),
            -i,
        ]

    i = onp.arange(5)
    check(function, [i, i > 2, normal(5)], [i * 3, i < 2, normal(5, seed=1)])


def test_indexing_with_arrays_and_masks():
    def function(xs):
        x = xs[0]
        fixed = [x[[0, 2]], x[whole > 5], x[onp.array([1, 0]), onp.array([0, 0])], x[:, [1]], x[onp.int64(1)]]
        return [*fixed, x[1, onp.int64(2)], x[..., 0], x[0, ...], x[None, 1], x[-1, -2], x[(...,)]]

    whole = onp.arange(12).reshape(3, 4)
    compare(function, normal(3, 4))
    compare(
        lambda xs: grad(lambda x: sum(np.sum(v * v) for v in function([x])))(xs[0]),
        normal(3, 4),
        tolerance=1e-14,
    )


def test_special_values():
    x = onp.array([0.0, -0.0, onp.inf, -onp.inf, onp.nan, 1e308, 5e-324])

    def function(xs):
        x, s = xs
        rows = [
            x * 0.0,
            x * 1.0,
            -np.negative(x),
            x / 0.0,
            np.sqrt(x),
            x > 0,
            x == x,
            np.sum(x),
            np.max(x),
            np.maximum(x, 0.0),
        ]
        return [
            *rows,
            s * x,
            s - s,
            s / s,
            s > s,
            np.abs(s),
            x[1] * 1.0,
            grad(lambda t: np.sum(np.abs(t) * t))(x),
        ]

    for s in (onp.inf, onp.nan, -0.0):
        replay = check(function, [onp.ones(7), onp.float64(1.0)], [x, onp.float64(s)])
        assert onp.signbit(replay.run([x, onp.float64(s)])[1][1])


# ---------------------------------------------------------------- scalars


def test_scalar_arithmetic():
    def function(xs):
        a, b, x = xs
        out = [
            a + b,
            a - 2,
            3 * b,
            a / b,
            -a,
            abs(a),
            a**2,
            a**3,
            a**0.5,
            a**b,
            2.0**a,
            a // b,
            a % b,
            a > b,
            a == b,
        ]
        more = [
            np.maximum(a, b),
            np.where(a > b, a, b),
            np.hypot(a, b),
            np.sqrt(a),
            np.square(b),
            np.exp(a),
            np.sign(b),
        ]
        return [*out, *more, x[0] * a, x[1] + x[2], np.logical_and(a > 0, b > 0), a if a > 0.5 else b]

    compare(function, 1.7, onp.float64(0.6), normal(3), others=8)


def test_a_long_chain_takes_linear_time():
    def function(xs):
        x = xs[0]
        for _ in range(25000):
            x = np.sin(x) * 1.01 + 0.3 * x
        return x

    replay = program(function, [0.5])
    assert replay.summary["scalars"] == 100_000
    assert replay.run([0.3]) == [function([0.3])]


def test_loops_over_items():
    def rosenbrock(x):
        return sum(100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(len(x) - 1))

    compare(lambda xs: value_and_grad(rosenbrock)(xs[0]), normal(20), tolerance=1e-14)
    compare(lambda xs: hessian(rosenbrock)(xs[0]), normal(6), tolerance=1e-12)


# ---------------------------------------------------------------- guards


def test_branches():
    def function(xs):
        x, s = xs
        if np.sum(x) > 0:
            x = x * 2
        if x[0] > 0.3:
            x = np.sin(x)
        while s < 2:
            s = s * 1.5
        return [x, s, int(np.floor(s * 3)) * x]

    compare(function, normal(5), 0.7, others=30)


def test_guards_fail_in_their_order_and_before_python_steps():
    """The first guard waits for a sum, the second could be tested at once; the step behind them raises."""

    def function(xs):
        x, s = xs
        if np.sum(np.sin(x) * x) > 1.0:
            return [x]
        if s > 0:
            return [s]
        return [np.linalg.cholesky(np.array([[1.0, s], [s, x[0]]]))]

    replay = program(function, [onp.array([0.2, 0.1]), -0.1])
    assert replay.run([onp.array([2.0, 2.0]), -0.1]) == 0
    assert replay.run([onp.array([2.0, 2.0]), 1.0]) == 0
    assert replay.run([onp.array([0.2, 0.1]), 1.0]) == 1
    assert replay.run([onp.array([-2.0, -2.0]), -3.0]) == 0
    with pytest.raises(onp.linalg.LinAlgError):
        replay.run([onp.array([0.1, 0.1]), -3.0])
    same(
        replay.run([onp.array([0.3, 0.1]), -0.2]), function([onp.array([0.3, 0.1]), -0.2]), 0, "after errors"
    )


# ---------------------------------------------------------------- what the program reads besides its inputs


def test_arrays_of_the_closure_are_read_at_each_run():
    w, base = normal(5), onp.array(2.0)
    spread = onp.broadcast_to(base, (5,))

    def function(xs):
        x = xs[0]
        return [
            x * w + spread * x,
            w[1:] * x[1:],
            np.where(w > 100, 0.0, x),
            x @ w,
            x[0] * w[:1],
            np.cumsum(x * w),
        ]

    replay = compare(function, normal(5), tolerance=1e-14)
    w[:] = normal(5, seed=1)
    base[...] = 3.0
    same(replay.run([normal(5)]), function([normal(5)]), 1e-14, "after an update")


def test_memory_that_a_view_looks_at_may_change():
    """A read-only view with strides of zero looks like a constant, but is none if its base is reachable."""
    base = onp.array(2.0)
    spread = onp.broadcast_to(base, (5,))
    replay = program(lambda xs: [xs[0] * spread], [normal(5)])
    base[...] = 3.0
    same(replay.run([onp.ones(5)]), [onp.full(5, 3.0)], 0, "after an update")


# ---------------------------------------------------------------- Python steps


def test_numpy_functions_without_a_native_instruction():
    def function(xs):
        x = xs[0]
        rows = [
            np.sort(x),
            np.cumsum(x, axis=1),
            np.argsort(x),
            np.argmax(x),
            np.median(x),
            np.prod(x, axis=1),
        ]
        square = x @ x.T + np.eye(3)
        return [
            *rows,
            np.linalg.inv(square),
            *np.linalg.eigh(square),
            np.linalg.det(square),
            np.linalg.slogdet(square),
            np.linalg.solve(square, x),
            np.linalg.norm(x),
            np.percentile(x, 30.0),
        ]

    compare(function, normal(3, 4), tolerance=1e-12)


def test_user_primitives():
    running = primitive(lambda x: onp.cumsum(x))
    defvjp(running, lambda ans, x: lambda g: np.flip(np.cumsum(np.flip(g))))
    several = primitive(lambda x: (x, x[::-1], x + 1))
    row = elementwise(lambda x: onp.tanh(x) * 2, lambda ans, x: 2 - ans * ans / 2)

    def function(xs):
        x, s = xs
        out = [np.sum(part) * part * 2 for part in several(np.sin(x) * 2)]
        slope = grad(lambda y: np.sum(running(y * 2) * np.sin(y)))(x)
        return [*out, np.cos(x), slope, grad(lambda y: np.sum(row(y) * y))(x), row(s)]

    compare(function, normal(5), 0.4, tolerance=1e-13)


def test_functions_that_eager_mode_knows_without_a_derivative():
    def function(xs):
        x = xs[0]
        return [
            np.polyfit(onp.arange(5.0), x, 1),
            np.histogram2d(x, x)[0],
            np.add.at is None,
            np.logical_or.reduce(x > 0),
        ]

    compare(function, normal(5), tolerance=1e-13)


def test_names_of_users_primitives_mean_nothing():
    """The planner knows the package's own primitives by name."""
    names = (
        "positive",
        "sum",
        "reshape",
        "conjugate",
        "stack",
        "real",
        "where",
        "array",
        "scalar_square",
        "copy",
    )

    def function(xs):
        return [primitive(made[name])(xs[0]) for name in names]

    def make(name):
        def fun(x):
            return 3.0 * x

        fun.__name__ = name
        return fun

    made = {name: make(name) for name in names}
    same(program(function, [normal(4)]).run([onp.ones(4)]), [onp.full(4, 3.0)] * len(names), 0, "triples")


def test_python_numbers_stay_weak():
    """A Python float takes the dtype of the array that it meets, after arithmetic and in derivatives too."""
    single = normal(4).astype("float32")

    def function(xs):
        a = xs[0]
        return [
            single * a,
            single * (a * 2),
            single * a**2,
            single * -a,
            single * (a**0.5 + 1),
            *value_and_grad(lambda t: np.sum(single * (t * 2 - 1) ** 2 * -t))(a),
        ]

    replay = compare(function, 0.7, tolerance=1e-6)
    assert replay.run([0.5])[2].dtype == onp.float32


def test_traced_indices():
    def function(xs):
        x, i = xs
        order = np.argsort(x)
        return [
            x[i],
            x[order],
            x[order[1:3]],
            np.take(x, i),
            x[np.argmax(x)],
            grad(lambda y: np.sum(y[i] ** 2))(x),
            grad(lambda y: np.sum(np.median(y) * y[np.argsort(y)][:2]))(x),
        ]

    i = onp.array([0, 2, 2])
    check(function, [normal(5), i], [normal(5, seed=1), i[::-1]], [normal(5, seed=2), i + 1], tolerance=1e-14)


def test_checkpoint():
    compare(
        lambda xs: grad(lambda x: np.sum(checkpoint(lambda y: np.sin(y) * y)(x) ** 2))(xs[0]),
        normal(5),
        tolerance=1e-14,
    )


def test_a_step_that_raises_leaves_the_program_usable():
    @primitive
    def positive(x):
        if onp.any(x < 0):
            raise ArithmeticError("negative")
        return x + 1

    replay = program(lambda xs: [positive(xs[0] * 2) * 3], [onp.ones(3)])
    for _ in range(3):
        with pytest.raises(ArithmeticError, match="negative"):
            replay.run([-onp.ones(3)])
        same(replay.run([onp.ones(3)]), [onp.full(3, 9.0)], 0, "after an error")


def test_a_step_of_another_shape_is_a_mismatch():
    replay = program(lambda xs: [np.arange(0.0, xs[0], 1.0)], [3.0])
    with pytest.raises(_core.ReplayMismatch, match="arange"):
        replay.run([5.0])
    same(replay.run([2.5]), [onp.arange(3.0)], 0, "after a mismatch")


# ---------------------------------------------------------------- running


def test_inputs_are_checked():
    replay = program(lambda xs: [xs[0] * xs[1]], [onp.ones(3), 2.0])
    for wrong in (
        [onp.ones(3)],
        [onp.ones(4), 2.0],
        [onp.ones(3, "f"), 2.0],
        [onp.ones(6)[::2], 2.0],
        [onp.ones(3), onp.float32(2.0)],
        [2.0, onp.ones(3)],
        [onp.ones(3, ">f8"), 2.0],
    ):
        with pytest.raises(ValueError, match="input"):
            replay.run(wrong)


def test_a_recording_with_an_escape_has_no_program():
    with pytest.raises(ValueError, match=r"float\(\) of a traced value"):
        _core.ReplayProgram(record(lambda xs: [float(xs[0]) * 2], [1.0]))


def test_two_threads_run_one_program():
    def function(xs):
        y = np.tanh(xs[0] @ xs[1])
        return [y, np.sum(y), np.cumsum(y), grad(lambda t: np.sum(np.sin(t) ** 2))(xs[0])]

    points = [[normal(6, 6, seed=k), normal(6, 6, seed=k + 1)] for k in range(2)]
    replay = program(function, points[0])
    expected = [replay.run(point) for point in points]
    errors = []

    def work(k):
        try:
            for _ in range(1000):
                same(replay.run(points[k]), expected[k], 0, f"thread {k}")
        except BaseException as error:  # also an assertion's
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_memory_does_not_grow():
    replay = program(lambda xs: [np.sin(xs[0]) * 2, np.sum(xs[0]), np.cumsum(xs[0]), xs[0][1:]], [normal(50)])
    x = normal(50)
    tracemalloc.start()
    # Caches fill up in the first runs.
    for _ in range(100):
        replay.run([x])

    def growth():
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5_000):
            replay.run([x])
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before

    # What a run loses it loses in every round; other threads and caches allocate now and then.
    grown = min(growth() for _ in range(3))
    tracemalloc.stop()
    assert grown < 5000
