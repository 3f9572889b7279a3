"""Jacobians by accumulation: the numbers of eager ones, without what is structurally zero."""

import copy
import itertools

import numpy as onp
import pytest
from test_random_programs import Program, vector_and_number
from test_sparse import HESSIANS, JACOBIANS, assert_same, draw, registered_calls, rosenbrock_loop

import autograd_c.numpy as np
from autograd_c import accumulation, compile, grad, hessian, jacobian
from autograd_c.accumulation import RULES
from autograd_c.extend import Primitive
from autograd_c.scipy import special
from autograd_c.sparse import sparse_hessian, sparse_jacobian

CALLS = 4  # two that record, two that replay


def check(operator, plain, f, points, rtol=1e-11, argnum=0):
    """Compare a derivative of the compiled function with the eager one; how it was computed."""
    made = operator(compile(f), argnum)
    for args in points:
        expected, found = plain(f, argnum)(*args), made(*args)
        if plain is operator:
            assert found.shape == expected.shape and found.dtype == expected.dtype
            scale = max(1.0, onp.abs(expected).max(initial=0.0))
            onp.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-12 * scale)
        else:
            assert_same(found, expected, rtol=rtol)
    (program,) = made._accumulated.programs
    return program["reason"]


def is_accumulated(f, *points, operator=jacobian, plain=None):
    return check(operator, plain or operator, f, [(x,) for x in points] * CALLS) is None


# ---------------------------------------------------------------- against eager mode

# Numbers of test_sparse's examples that have a primitive without a rule, and are done by seeds.
DECLINED = {22, 24, 29}
DECLINED_HESSIANS = {5, 6, 11, 13}


@pytest.mark.parametrize("operator", [jacobian, sparse_jacobian])
@pytest.mark.parametrize("number", sorted(set(range(len(JACOBIANS))) - {29}))
def test_jacobians(number, operator):
    f, shape = JACOBIANS[number]
    points = [(draw(*shape),) for _ in range(CALLS)]
    assert (check(operator, jacobian, f, points) is None) == (number not in DECLINED)


EMPTY = [
    lambda x: np.prod(x[:, :0], axis=1) + x[0, 0] ** 2,
    lambda x: np.sum(x[:0] ** 2, axis=0) * x[0],
    lambda x: np.concatenate([x[:, :0], np.sin(x)], axis=1),
    lambda x: x.T[:, :0] @ x[:0],
    lambda x: np.sum(np.where(x[:0] > 0.0, x[:0], 1.0)) * np.max(x),
]


@pytest.mark.parametrize("operator", [jacobian, sparse_jacobian])
@pytest.mark.parametrize("f", EMPTY)
def test_arrays_without_items(f, operator):
    assert is_accumulated(
        lambda x: np.ravel(f(x.reshape(1, 3))), draw(3), draw(3), operator=operator, plain=jacobian
    )


@pytest.mark.parametrize("operator", [hessian, sparse_hessian])
@pytest.mark.parametrize("number", range(len(HESSIANS)))
def test_hessians(number, operator):
    f, shape = HESSIANS[number]
    points = [(draw(*shape),) for _ in range(CALLS)]
    reason = check(operator, hessian, f, points, rtol=1e-9)
    assert (reason is None) == (number not in DECLINED_HESSIANS)


@pytest.mark.filterwarnings("ignore::autograd_c.replay.ReplayWarning")
def test_sample_calls_of_all_rules():
    accumulated = 0
    for row, k, args, kwargs in registered_calls():

        def f(x, row=row, k=k, args=args, kwargs=kwargs):
            return row.handler(*args[:k], x, *args[k + 1 :], **kwargs)

        try:
            expected = jacobian(f)(args[k])
        except (TypeError, ValueError, IndexError):
            continue  # no derivative by that argument
        if isinstance(expected, onp.ndarray):
            accumulated += check(jacobian, jacobian, f, [(args[k],)] * 2) is None
    assert accumulated > 750


@pytest.mark.parametrize("seed", range(0, 1000, 25))
def test_random_programs(seed):
    program = Program(seed)
    k = len(program.inputs) - 1
    f, total = vector_and_number(program)

    check(jacobian, jacobian, f, [program.inputs] * 3, argnum=k, rtol=1e-10)
    check(hessian, hessian, total, [program.inputs] * 3, argnum=k, rtol=1e-8)


def test_rules_are_of_primitives():
    assert [key for key in RULES if not isinstance(key, Primitive)] == []


# ---------------------------------------------------------------- kinds of matrices

W = onp.random.default_rng(5).normal(size=(4, 3))
V = onp.random.default_rng(6).normal(size=(2, 4))


@pytest.mark.parametrize(
    "f, x",
    [
        (lambda x: np.tanh(V @ np.tanh(W @ x)), draw(3)),
        (lambda x: np.tanh(np.tanh(x @ W.T) @ V.T), draw(5, 3)),
        (lambda w: np.tanh(V @ np.tanh(w @ W.T)), draw(4, 3)),
        (lambda x: x @ x, draw(6)),
        (lambda x: x * (x @ x), draw(6)),
        (lambda x: x.T @ W.T[:, :2] @ x[:2], draw(3, 3)),
        (lambda x: np.dot(x, W) @ np.ones(3), draw(2, 4)),
        (lambda x: np.sum(x), draw(9)),
        (lambda x: np.array([np.sum(x), x[0], 3.0]), draw(4)),
        (lambda x: np.mean(x, axis=0) - np.mean(x), draw(4, 3)),
        (lambda x: np.ones((3, 2)) * x, draw(1)),
        (lambda x: x.reshape(2, 3).T.ravel() ** 2, draw(6)),
        (lambda x: np.sum(x[:, None] * x[None, :], axis=(0, 1)) + x[1], draw(5)),
        (lambda x: np.sum(x[:, None, None] * W[None], axis=1)[:, ::-1], draw(5)),
        (lambda x: np.concatenate([x[:0], x, x[2:] * 0.0]), draw(4)),
        (lambda x: x[3:1], draw(6)),
        (lambda x: np.diff(x[:, None] * x, n=2, axis=0), draw(4)),
        (lambda x: np.pad(x * x[0], ((1, 0), (2, 3)), constant_values=5.0), draw(3, 2)),
        (lambda x: np.pad(x**2, 2, mode="reflect"), draw(5)),
        (lambda x: np.outer(x[:2], np.sum(x) * x), draw(3, 2)),
        (lambda x: np.inner(x, x[::-1]) * np.vecdot(x, x) * x, draw(4)),
        (grad(lambda x: np.sum(x[[0, 2, 0, 1, 0]] ** 3 * x[[1, 1, 2, 2, 0]])), draw(3)),
        (grad(lambda x: np.sum(x[:, [0, 0, 1]] ** 3)), draw(2, 3)),
    ],
)
def test_shapes_and_axes(f, x):
    accumulated = is_accumulated(f, x, x + 0.5)
    assert accumulated or not f(x).size
    check(sparse_jacobian, jacobian, f, [(x,)] * CALLS)


def test_rows_and_columns_without_entries():
    def f(x):
        return np.concatenate([np.zeros(2), x[1:3] ** 2, x[:1] * 0.0 + 1.0])

    assert is_accumulated(f, draw(5))
    made = sparse_jacobian(compile(f))
    for _ in range(CALLS):
        found = made(draw(5))
    assert found.shape == (5, 5) and found.nnz == 2


def test_entries_that_meet_are_added():
    def f(x):
        y = np.zeros(4, like=x)
        for i in (0, 2, 0, 1):
            y[i] += x[i] * x[1]
        y[1:] += x[:3]
        return y + x[::-1]

    assert is_accumulated(f, draw(4), draw(4) - 2.0)
    assert is_accumulated(lambda x: x[[0, 0, 1]] * x[[1, 0, 0]], draw(2))
    assert is_accumulated(lambda x: (x[:, None] + x[None, :]) ** 2, draw(3))


def test_single_precision_stays():
    def f(x):
        return np.sin(x[1:]) * x[:-1] * 2.0 + x[0]

    assert is_accumulated(f, draw(6).astype("f"))
    check(jacobian, jacobian, lambda x: x * onp.float64(2.0), [(draw(3).astype("f"),)] * CALLS)


def test_complex_numbers_are_left_to_seeds():
    assert not is_accumulated(lambda x: np.exp(1j * x), draw(3))
    assert not is_accumulated(lambda x: np.abs(np.exp(1j * x) + x), draw(3))


def test_shapes_have_programs_of_their_own():
    made = jacobian(compile(lambda x: x[1:] * x[:-1]))
    for n in (3, 7, 3, 5, 7) * CALLS:
        x = draw(n)
        onp.testing.assert_allclose(made(x), jacobian(lambda x: x[1:] * x[:-1])(x))
    assert len(made.programs) == 3


LINE = draw(6)


@pytest.mark.parametrize(
    "f, args, options",
    [
        (lambda x: x * x[::-1], (LINE[::2],), {}),
        (lambda x: x * x[::-1], (LINE.astype(">f8"),), {}),
        (lambda x: x * x[::-1], (LINE.astype("e"),), {}),
        (lambda x: x * x[::-1], (onp.asfortranarray(LINE.reshape(2, 3)),), {}),
        (lambda x, k: x**k, (LINE, 3), {}),
        (lambda x, k: x**k, (LINE, 3), {"static_argnames": "k"}),
        (lambda x, d: x * d["a"][0] + d["b"], (LINE, {"a": [LINE[::-1].copy(), 2.0], "b": 1.5}), {}),
        (lambda x: x / x[::-1], (LINE,), {"fastmath": True}),
        (lambda x: np.sin(x) * x[::-1], (onp.linspace(0.1, 1.0, 500),), {"num_threads": 2}),
        (lambda x: jacobian(lambda y: y * x)(x).sum(0), (LINE,), {}),
        (lambda x: x, (LINE,), {}),
        (lambda x: 0.0 * x, (LINE,), {}),
        (lambda x: np.linalg.norm(x[1:] - x[:-1]) * x, (LINE,), {}),
        (lambda x: np.log(np.sum(np.exp(x))) - np.max(x * x) * x, (LINE,), {}),
    ],
)
def test_arguments_and_options(f, args, options):
    made = jacobian(compile(f, **options))
    for _ in range(CALLS):
        found, expected = made(*args), jacobian(f)(*args)
        assert type(found) is type(expected) and found.dtype == expected.dtype
        onp.testing.assert_allclose(found, expected, rtol=1e-3 if found.dtype == "e" else 1e-12)
    assert made._accumulated.programs[0]["reason"] is None


@pytest.mark.parametrize("x", [2.0, onp.array(2.0), [1.0, 2.0], (onp.ones(2), 1.0)])
def test_other_arguments_are_left_to_seeds(x):
    def f(x):
        first = x if isinstance(x, float) or getattr(x, "shape", None) == () else x[0]
        return first * first * onp.ones(2)

    made = jacobian(compile(f))
    for _ in range(CALLS):
        found, expected = made(x), jacobian(f)(x)
        assert type(found) is type(expected)
        for a, b in zip(found, expected, strict=True):
            onp.testing.assert_array_equal(a, b)


def test_other_arguments_of_hessians():
    made = hessian(compile(lambda x: x * x))
    for _ in range(CALLS):
        assert type(made(onp.array(2.0))) is type(hessian(lambda x: x * x)(onp.array(2.0)))


# ---------------------------------------------------------------- what the pattern depends on


def steered(x):
    return x[1:] * x[:-1] if x[0] > 1.0 else x[:-1] ** 2 + x[3]


@pytest.mark.parametrize("operator", [jacobian, sparse_jacobian])
def test_each_branch_has_its_pattern(operator):
    points = [(draw(4) + shift,) for shift in (-1.0, 1.0, 0.0)]
    assert check(operator, jacobian, steered, points * (2 * CALLS)) is None


def test_a_loop_that_ends_by_values():
    def f(x):
        y = x
        while y[0] < 10.0:
            y = y * y[::-1] + 1.0
        return y

    assert is_accumulated(f, draw(3), draw(3) + 1.0, draw(3) + 2.0)


def test_the_number_of_branches_is_bounded():
    made = jacobian(compile(steered, max_programs=1))
    with pytest.warns(UserWarning, match=r"such as that at .*test_accumulation.py:\d+, have led to 1"):
        for _ in range(CALLS):
            for shift in (-1.0, 1.0):
                made(draw(4) + shift)


@pytest.mark.parametrize("operator", [jacobian, sparse_jacobian, hessian])
def test_a_global_that_is_bound_again(operator):
    offset = 1

    def f(x):
        y = x[offset:] * x[: len(x) - offset]
        return np.sum(y) if operator is hessian else y

    plain = hessian if operator is hessian else jacobian
    made = operator(compile(f))
    for offset in [1] * CALLS + [2] * CALLS + [1]:  # noqa: B007 - the function reads it
        x = draw(5)
        found = made(x)
        found = found.toarray() if operator is sparse_jacobian else found
        onp.testing.assert_allclose(found, plain(f)(x))


@pytest.mark.parametrize("operator", [jacobian, sparse_jacobian])
def test_arrays_of_the_environment_are_read(operator):
    """Updates in place are seen: of factors, which may be 1 or multiply each other, of masks and indices."""
    w, mask, index = onp.ones(3), onp.ones(3, bool), onp.array([0, 1, 2])
    functions = [
        lambda x: x * w * w,
        lambda x: x / w + w,
        lambda x: np.where(mask, x, 0.0),
        lambda x: x[index],
        lambda x: np.concatenate([x * w, x[:1]]) * 2.0,
        lambda x: np.diag(w) @ x,
    ]
    for f in functions:
        w[:], mask[:], index[:] = 1.0, True, [0, 1, 2]
        made = operator(compile(f))
        for k in range(3 * CALLS):
            if k == CALLS:
                w[1], mask[2], index[0] = 3.0, False, 2
            x = draw(3)
            found = made(x)
            found = found if isinstance(found, onp.ndarray) else found.toarray()
            onp.testing.assert_allclose(found, jacobian(f)(x))


def test_random_numbers_are_no_constants():
    made = jacobian(compile(lambda x: x[onp.random.permutation(3)]))
    with pytest.warns(UserWarning, match="random numbers"):
        for _ in range(2 * CALLS):
            found = made(draw(3))
            assert (found.sum(0) == 1.0).all() and (found.sum(1) == 1.0).all()


def test_a_counter_is_no_constant():
    """Two recordings whose matrices have the same entries in other places are not the same."""
    calls = itertools.count()

    def f(x):
        return np.roll(x, next(calls))

    with pytest.warns(UserWarning, match="different constants"):
        made = sparse_jacobian(compile(f))
        made(draw(3))
        made(draw(3))
    made = jacobian(compile(f))
    with pytest.warns(UserWarning, match="different constants"):
        for _ in range(3 * CALLS):
            found = made(draw(3))
            last = next(copy.copy(calls)) - 1
            assert (found == onp.roll(onp.eye(3), last, axis=0)).all()


# ---------------------------------------------------------------- results


def test_results_are_the_callers():
    """Also where the Jacobian is an argument, or an array of the environment."""
    w = draw(3)
    for f, args in [
        (lambda x, y: np.sum(x * y), (draw(3), draw(3))),
        (lambda x, y: x @ y[1:], (draw(3), draw(4))),
        (lambda x, y: np.sum(x * w), (draw(3), draw(3))),
        (lambda x, y: x * 2.0, (draw(3), draw(3))),
    ]:
        for operator in (jacobian, sparse_jacobian):
            made = operator(compile(f))
            expected = jacobian(f)(*args).copy()
            for _ in range(CALLS):
                found = made(*args)
                data = found if operator is jacobian else found.data
                assert not any(onp.shares_memory(data, a) for a in (*args, w))
                onp.testing.assert_allclose(
                    data.ravel() if operator is jacobian else found.toarray().ravel(), expected.ravel()
                )
                data[...] = -1.0


def test_index_arrays_are_the_results_own():
    made = sparse_jacobian(compile(lambda x: x[1:] * x[:-1]))
    x = draw(5)
    for _ in range(CALLS):
        found = made(x)
        assert found.has_canonical_format and found.has_sorted_indices
        assert_same(found, jacobian(lambda x: x[1:] * x[:-1])(x))
        found.indices[:] = 0
        found.indptr[:] = 0


def test_hessians_are_symmetric():
    made = sparse_hessian(compile(lambda x: np.sum(np.exp(x[1:] * x[:-1]) / x[1:])))
    for _ in range(CALLS):
        found = made(draw(9))
        assert (found != found.T).nnz == 0 and found.nnz == 25


def test_an_update_of_an_argument_happens_once():
    def f(x, y):
        y += 1.0
        return x * y

    made, x, y = jacobian(compile(f)), draw(3), draw(3)
    start = y.copy()
    for k in range(CALLS):
        made(x, y)
        onp.testing.assert_allclose(y, start + k + 1)


def test_errors_are_those_of_the_function():
    made = jacobian(compile(lambda x: x + np.ones(len(x) + 1)))
    for _ in range(CALLS):
        with pytest.raises(ValueError, match="broadcast"):
            made(draw(3))
    with pytest.raises(TypeError, match="real"):
        sparse_hessian(compile(lambda x: x * 2.0))(draw(3))


def test_nesting():
    """A Jacobian inside of another derivative is that of the plain function."""
    made = compile(jacobian(lambda x: x**3))
    for _ in range(CALLS):
        x = draw(3)
        onp.testing.assert_allclose(grad(lambda x: np.sum(made(x)))(x), 6.0 * x)
        rows = jacobian(compile(lambda x: np.sum(made(x), axis=1)))
        onp.testing.assert_allclose(rows(x), onp.diag(6.0 * x))


# ---------------------------------------------------------------- what it costs


def test_the_second_recording_of_the_function_is_enough(monkeypatch):
    """The Jacobian is recorded at the first call; the second one confirms it and is a replay already."""
    walks = []
    walk = accumulation.accumulated
    monkeypatch.setattr(accumulation, "accumulated", lambda *args: walks.append(0) or walk(*args))
    made = jacobian(compile(lambda x: np.sin(x) * x[::-1]))
    for _ in range(CALLS):
        x = draw(4)
        onp.testing.assert_allclose(made(x), jacobian(lambda x: np.sin(x) * x[::-1])(x))
    assert len(walks) == 1


def test_the_second_call_warns_as_any_other():
    made = jacobian(compile(lambda x: np.sqrt(x)))
    made(onp.ones(1))
    for _ in range(CALLS):
        with pytest.warns(RuntimeWarning, match="divide by zero"):
            assert made(onp.zeros(1)) == onp.inf
    assert made(onp.ones(1)) == 0.5


def test_zeros_are_not_computed():
    """The Hessian of a loop over 40 items takes a few scalar instructions an item, and no step in Python."""
    made = hessian(compile(rosenbrock_loop))
    for _ in range(CALLS):
        made(draw(40))
    assert made.cost()["flops"] < 25 * 40
    assert "Python" not in made.explain()


def test_pairs_are_computed_once():
    """50 charges: 2500 pairs, each of whose second derivatives is computed once and not for 50 seeds."""

    def energy(x):
        return np.sum(1.0 / np.sqrt(1.0 + (x[:, None] - x[None, :]) ** 2))

    made = hessian(compile(energy))
    for _ in range(CALLS):
        made(draw(50))
    assert made.cost()["flops"] < 60 * 2500
    assert "Python" not in made.explain()


def test_seeds_are_taken_for_few_results_of_many_scalars():
    """The last of a chain of scalars depends on all inputs: one sweep is linear, accumulation is not."""

    def chain(x):
        y = x[0]
        for i in range(1, len(x)):
            y = np.sin(y) * x[i]
        return np.array([y, y * x[2]])

    made = jacobian(compile(chain))
    for _ in range(CALLS):
        made(draw(40))
    assert "(the seeds take less)" in made._accumulated.programs[0]["reason"]


def test_seeds_are_taken_where_they_are_cheaper():
    """One result of many layers: a gradient, which takes one sweep."""
    layers = [onp.eye(30) + 0.01 * draw(30, 30) for _ in range(6)]

    def f(x):
        for w in layers:
            x = np.tanh(w @ x)
        return np.sum(x)

    made = jacobian(compile(f))
    for _ in range(CALLS):
        made(draw(30))
    assert "(the seeds take less)" in made._accumulated.programs[0]["reason"]


# ---------------------------------------------------------------- functions of all items along an axis

C = onp.linspace(-1.0, 1.0, 36).reshape(4, 3, 3) + 3.0 * onp.eye(3)
ALONG = {
    "stack on the left": (lambda x: (x**2) @ C, (4, 2, 3)),
    "stack on the right": (lambda x: C @ np.sin(x), (4, 3, 2)),
    "one matrix on the left": (lambda x: x @ C, (2, 3)),
    "one matrix on the right": (lambda x: C @ (1.0 - x), (3, 2)),
    "both": (lambda x: x @ (x.mT * 2.0), (4, 2, 3)),
    "one after the other": (lambda x: C @ (C @ x), (4, 3, 1)),
    "rows that depend on the same": (lambda x: (C * x[0]) @ C, (3,)),
    "with new axes": (lambda x: np.einsum("bij,kj->bki", x, C[0]), (2, 2, 3)),
    "einsum of three": (lambda x: np.einsum("ij,jk,ik->i", x, C[0], x), (2, 3)),
    "cumsum": (lambda x: np.cumsum(x**2), (5,)),
    "cumsum along the first axis": (lambda x: np.cumsum(x, axis=0) * x, (3, 4)),
    "cumsum of all": (lambda x: np.cumsum(x * 2.0), (2, 3)),
    "cumsum twice": (lambda x: np.cumsum(np.cumsum(x)[::-1]), (4,)),
    "cumsum of what is dense": (lambda x: np.cumsum(C[0] @ x), (3,)),
    "cumulative_sum": (lambda x: np.cumulative_sum(x, include_initial=True), (3,)),
    "inv": (lambda x: np.linalg.inv(x + C[0]), (3, 3)),
    "inv of a stack": (lambda x: np.linalg.inv(x + C), (4, 3, 3)),
    "inv of what is dense": (lambda x: np.linalg.inv(C[0] * (x @ x) + np.outer(x, x)), (3,)),
    "solve, matrix": (lambda x: np.linalg.solve(x + C[0], C[1]), (3, 3)),
    "solve, vector": (lambda x: np.linalg.solve(x + C[0], C[1, 0]), (3, 3)),
    "solve for a vector": (lambda x: np.linalg.solve(C[0], x**2), (3,)),
    "solve for a matrix": (lambda x: np.linalg.solve(C[0], x), (3, 2)),
    "solve, both": (lambda x: np.linalg.solve(x + C[0], x), (3, 3)),
    "solve, stacks": (lambda x: np.linalg.solve(C + x[:, :, :1], x), (4, 3, 2)),
    "det": (lambda x: np.linalg.det(x + C) * x[0, 0, 0], (4, 3, 3)),
    "parts with gaps": (lambda x: np.cumsum(np.concatenate([x, np.ones(2), x[:1] * x[1:2]])), (3,)),
}


@pytest.mark.parametrize("name", ALONG)
def test_functions_of_all_items_along_an_axis(name):
    f, shape = ALONG[name]
    points = [(draw(*shape) - 0.5,) for _ in range(CALLS)]
    assert check(jacobian, jacobian, f, points) is None
    assert check(sparse_jacobian, jacobian, f, points) is None


def test_items_without_a_derivative_bring_nothing():
    """What stands in their place may be anything, infinite too."""

    def f(x):
        y = np.log(x)
        y = np.where(onp.arange(3) == 1, 2.0, y)
        return np.cumsum(y)

    x = onp.array([1.0, 0.0, 2.0])
    with onp.errstate(all="ignore"):
        made = jacobian(compile(f))
        for _ in range(CALLS):
            onp.testing.assert_allclose(made(x), [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.5]])


def test_reductions_with_a_rule_of_their_own_are_not_taken_apart():
    """Each item of a logsumexp has one partial: no more work than items."""
    f = compile(lambda x: special.logsumexp(x, axis=1) + np.var(x, axis=1))
    made = jacobian(f)
    x = draw(3, 50)
    for _ in range(CALLS):
        onp.testing.assert_allclose(made(x), jacobian(f.fun)(x), rtol=1e-11, atol=1e-14)
    assert made._accumulated.programs[0]["reason"] is None
    assert made._accumulated.cost()["flops"] < 40 * x.size
