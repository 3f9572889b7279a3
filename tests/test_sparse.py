"""Sparse Jacobians and Hessians: the same numbers as the dense ones, few groups, structures kept."""

import pickle
import threading

import numpy as onp
import pytest
import scipy.sparse
from test_random_programs import Program, vector_and_number

import autograd_c.numpy as np
from autograd_c import checkpoint, grad, hessian, jacobian, sparse, stop_gradient
from autograd_c.extend import Primitive, defjvp, defvjp, primitive
from autograd_c.registry import primitives
from autograd_c.rules.indexing import setitem
from autograd_c.rules.sorting import gathered, placed
from autograd_c.sparse import hessian_sparsity, jacobian_sparsity, sparse_hessian, sparse_jacobian

RNG = onp.random.default_rng(11)


def draw(*shape):
    return RNG.uniform(0.5, 1.5, shape)


def assert_same(found, dense, rtol=1e-12):
    """A sparse array has the values of a dense derivative, whose axes are made two."""
    assert isinstance(found, scipy.sparse.csr_array)
    assert found.has_canonical_format
    onp.testing.assert_allclose(found.toarray(), onp.reshape(dense, found.shape), rtol=rtol, atol=1e-12)


def groups(derivative, *args):
    """How many directional derivatives a call takes."""
    derivative(*args)
    (structure,) = derivative._structures.values()
    return len(structure.plan.seeds)


# ---------------------------------------------------------------- functions


def tridiagonal(x):
    padded = np.concatenate([[0.0], x, [0.0]])
    return padded[:-2] * padded[1:-1] - 2 * padded[1:-1] ** 2 + np.sin(padded[2:])


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_loop(x):
    total = 0.0
    for i in range(len(x) - 1):
        total = total + 100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2
    return total


def arrow(x):
    return np.sum(x**3) + x[0] * np.sum(x[1:] ** 2)


def laplacian(u):
    p = np.pad(u, 1)
    return 4 * u - p[:-2, 1:-1] - p[2:, 1:-1] - p[1:-1, :-2] - p[1:-1, 2:]


def diffusion(u):
    """A nonlinear equation on a grid, by slices of unequal shapes."""
    east = (1 + u[:, 1:] ** 2 + u[:, :-1] ** 2) * (u[:, 1:] - u[:, :-1])
    south = np.exp(u[1:]) - np.exp(u[:-1])
    return np.concatenate([np.ravel(np.diff(east, axis=1)), np.ravel(np.diff(south, axis=0))])


def in_place(x):
    y = np.zeros(5) * x
    y[1:] += x[1:]
    y[::2] *= x[1] * 3
    return y**2


CAMERAS, POINTS = RNG.integers(0, 4, 40), RNG.integers(0, 10, 40)


def reprojection(parameters, cameras, points):
    camera = parameters[:24].reshape(4, 6)[cameras]
    point = parameters[24:].reshape(10, 3)[points]
    moved = point + np.cross(camera[:, :3], point) + camera[:, 3:]
    return moved[:, :2] / (moved[:, 2:] + 10)


A = draw(6, 4)

JACOBIANS = [
    (tridiagonal, (100,)),
    (laplacian, (7, 6)),
    (diffusion, (5, 4)),
    (in_place, (5,)),
    (lambda x: A @ x, (4,)),
    (lambda x: A @ x**2, (4, 3)),
    (lambda x: x @ x.mT, (4, 3)),
    (lambda x: np.einsum("bij,bjk->bik", x, x), (5, 2, 2)),
    (lambda x: np.einsum("iij->j", x), (3, 3, 4)),
    (lambda x: np.tensordot(x, A, (0, 0)), (6, 2)),
    (lambda x: np.outer(x, x[:2]), (5,)),
    (lambda x: np.sum(x**2, axis=1), (4, 6)),
    (lambda x: np.mean(x, axis=(0, 2), keepdims=True) * x, (3, 4, 2)),
    (lambda x: np.max(x, axis=0), (4, 3)),
    (lambda x: np.cumsum(x, axis=1), (3, 5)),
    (lambda x: np.sum(x), (7,)),
    (lambda x: np.concatenate([x[3:], x[:2] * x[1:3], [1.0]]), (6,)),
    (lambda x: np.stack([x, x[::-1]], axis=1), (4,)),
    (lambda x: np.array([[x[0] * x[1], 2.0], [x[3], x[0]]]), (4,)),
    (lambda x: np.where(x > 1, x**2, x[::-1]), (8,)),
    (lambda x: np.where(x > 1, 1.0, 0.0) * x[0], (4,)),
    (lambda x: np.maximum(x[1:], x[:-1]), (6,)),
    (lambda x: np.sort(x, axis=1), (3, 4)),
    (lambda x: x[[3, 3, 0]] * x[onp.array([True, False, True, True])], (4,)),
    (lambda x: np.convolve(x, [1.0, -2.0, 1.0], "same"), (9,)),
    (lambda x: np.repeat(x, [1, 0, 2]) + np.tile(x[:1], 3), (3,)),
    (lambda x: np.linalg.solve(x[:18].reshape(2, 3, 3) + 5 * np.eye(3), x[18:].reshape(2, 3, 1)), (24,)),
    (lambda x: np.linalg.inv(x + 3 * np.eye(3))[:, 0], (2, 3, 3)),
    (lambda x: np.diag(x) + np.tril(np.outer(x, x)), (4,)),
    (lambda x: np.interp(x, np.linspace(0.0, 2.0, 5), np.arange(5.0) ** 2), (4,)),
    (lambda x: np.trapezoid(x, axis=0), (4, 3)),
    (lambda x: x * stop_gradient(x[::-1]), (5,)),
    (lambda x: np.floor(x) + np.sign(x) * x, (4,)),
    (lambda x: np.broadcast_to(x, (3, 4)).T * x[0], (4,)),
]


@pytest.mark.parametrize("number", range(len(JACOBIANS)))
def test_jacobian_equals_the_dense_one(number):
    f, shape = JACOBIANS[number]
    derivative = sparse_jacobian(f)
    for _ in range(2):
        x = draw(*shape)
        assert_same(derivative(x), jacobian(f)(x))
    assert len(derivative._structures) == 1


HESSIANS = [
    (rosenbrock, (100,)),
    (rosenbrock_loop, (12,)),
    (arrow, (20,)),
    (lambda x: np.sum(laplacian(x) ** 2), (5, 6)),
    (lambda x: np.sum(np.sqrt(1 + np.diff(x, axis=0) ** 2)) + np.sum(x**4), (4, 5)),
    (lambda x: np.sum(reprojection(x, CAMERAS, POINTS) ** 2), (54,)),
    (lambda x: np.prod(x[:3]) + np.prod(x[3:]), (7,)),
    (lambda x: np.sum(np.log(np.sum(np.exp(x), axis=1))), (4, 3)),
    (lambda x: np.max(x**2) + np.sum(np.where(x > 1, x**3, x)), (6,)),
    (lambda x: np.sum(x[[0, 0, 1, 3]] ** 3), (5,)),
    (lambda x: x @ (A @ A.T) @ x, (6,)),
    (lambda x: np.linalg.det(x.reshape(2, 2, 2))[0] * x[7], (8,)),
    (lambda x: np.sum(np.cumsum(x) ** 2), (5,)),
    (lambda x: np.sum(np.sort(x) ** 3), (5,)),
    (lambda x: x[0] * x[1] * x[2], (4,)),
    (lambda x: np.sum(in_place(x)), (5,)),
]


@pytest.mark.parametrize("number", range(len(HESSIANS)))
def test_hessian_equals_the_dense_one(number):
    f, shape = HESSIANS[number]
    derivative = sparse_hessian(f)
    for _ in range(2):
        x = draw(*shape)
        found = derivative(x)
        assert_same(found, hessian(f)(x), rtol=1e-10)
        assert (found != found.T).nnz == 0
    assert len(derivative._structures) == 1


def test_bundle_adjustment():
    """Each residual has the six numbers of a camera and the three of a point."""
    f = sparse_jacobian(reprojection)
    x = draw(54)
    found = f(x, CAMERAS, POINTS)
    assert_same(found, jacobian(reprojection)(x, CAMERAS, POINTS))
    assert onp.diff(found.indptr).max() <= 9
    assert groups(f, x, CAMERAS, POINTS) < 30


def registered_calls():
    """Every sample call of every rule with floats, as (row, number of the argument, arguments, keywords)."""
    for row in primitives():
        if row.differentiable:
            for args, kwargs in row.samples():
                for k, arg in enumerate(args):
                    if isinstance(arg, (float, onp.ndarray)) and onp.asarray(arg).dtype == float:
                        yield row, k, args, kwargs


def test_no_rule_misses_an_entry():
    """Whatever pattern a rule has, the Jacobians of its sample calls are inside of it."""
    seen = 0
    for row, k, args, kwargs in registered_calls():

        def f(*args, row=row, kwargs=kwargs):
            return row.handler(*args, **kwargs)

        try:
            dense = jacobian(f, k)(*args)
            pattern = jacobian_sparsity(f, k)(*args)
        except (TypeError, ValueError, IndexError):
            continue  # no derivative by that argument, or a function that looks at values
        if isinstance(dense, onp.ndarray):
            outside = onp.where(pattern.toarray(), 0.0, dense.reshape(pattern.shape))
            assert not outside.any(), (row, k, kwargs)
            seen += 1
    assert seen > 1200


@pytest.mark.parametrize("seed", range(0, 1000, 10))
def test_random_programs(seed):
    """Programs drawn for the tape: control flow may depend on the first input, so the last one is taken."""
    program = Program(seed)
    k = len(program.inputs) - 1
    f, total = vector_and_number(program)

    if k == 0 and any(step.name == "branch" for step in program.steps):
        with pytest.raises(TypeError, match="looks at values"):
            sparse_jacobian(f, k)(*program.inputs)
        return
    assert_same(sparse_jacobian(f, k)(*program.inputs), jacobian(f, k)(*program.inputs), rtol=1e-10)
    dense = hessian(total, k)(*program.inputs)
    found = sparse_hessian(total, k)(*program.inputs).toarray()
    scale = max(1.0, onp.abs(dense).max())
    onp.testing.assert_allclose(found, dense.reshape(found.shape), rtol=0, atol=1e-10 * scale)


def test_entries_that_are_overwritten_are_gone():
    pattern = jacobian_sparsity(lambda x: setitem(x, x[3:], slice(1, 3)))(draw(4))
    assert (pattern.toarray() == onp.eye(4)[[0, 3, 3, 3]]).all()


@pytest.mark.parametrize("select", [gathered, lambda x, order, axis: placed(x, order, axis, 4)])
def test_a_selection_by_values_may_be_any(select):
    def f(x):
        return select(x, np.argsort(x), -1)

    assert jacobian_sparsity(f)(draw(4)).nnz == 16
    derivative = sparse_jacobian(f)
    for x in (onp.array([1.0, 2.0, 3.0, 4.0]), onp.array([3.0, 1.0, 4.0, 2.0])):
        assert_same(derivative(x), jacobian(f)(x))


def test_rules_are_of_primitives():
    assert [key for key in sparse.RULES if not isinstance(key, Primitive)] == []


# ---------------------------------------------------------------- patterns and groups


def test_exact_patterns():
    n = 6
    band = abs(onp.subtract.outer(range(n), range(n))) <= 1
    assert (jacobian_sparsity(tridiagonal)(draw(n)).toarray() == band).all()
    assert (hessian_sparsity(rosenbrock)(draw(n)).toarray() == band).all()
    assert (jacobian_sparsity(np.cumsum)(draw(n)).toarray() == onp.tri(n)).all()
    assert (hessian_sparsity(lambda x: np.sum(A @ x))(draw(4)).toarray() == 0).all()
    for product in (lambda x: A @ x, lambda x: np.dot(A, x), lambda x: np.einsum("ij,jk", A, x)):
        matrix = jacobian_sparsity(product)(draw(4, 2))
        assert (matrix.toarray() == onp.kron(onp.ones((6, 4)), onp.eye(2))).all()


def test_a_pattern_does_not_warn():
    """The values on the way are nobody's business."""
    assert jacobian_sparsity(lambda x: np.log(x) / x)(onp.zeros(3)).nnz == 3


def test_what_only_one_side_of_a_hessian_may_have_is_zero():
    """The rule-less primitive fills rows of the gradient's pattern, but not the columns."""

    @primitive
    def doubled(x):
        return 2 * x

    defvjp(doubled, lambda ans, x: lambda g: 2 * g)
    defjvp(doubled, lambda g, ans, x: 2 * g)

    def f(x):
        return np.sum(x[:2] * doubled(x)[3:5])

    x = draw(6)
    pattern = hessian_sparsity(f)(x)
    assert (pattern != pattern.T).nnz == 0 and pattern.nnz < 12
    assert_same(sparse_hessian(f)(x), hessian(f)(x))


@pytest.mark.parametrize(
    ("f", "shape", "expected"),
    [
        (tridiagonal, (100,), 3),
        (lambda x: x**2, (50,), 1),
        (lambda x: np.sum(x.reshape(5, 10), axis=1), (50,), 1),
        (lambda x: np.concatenate([x**2, [np.sum(x)]]), (50,), 2),
        (lambda x: x[0] * x, (50,), 2),
        (lambda x: A @ x, (4,), 4),
        (lambda x: np.sin(x[2:]) * x[:-2] + x[1:-1], (40,), 3),
        (laplacian, (12, 12), 7),
    ],
)
def test_groups_of_known_jacobians(f, shape, expected):
    assert groups(sparse_jacobian(f), draw(*shape)) == expected


@pytest.mark.parametrize(
    ("f", "shape", "expected"),
    [
        (rosenbrock, (100,), 3),
        (arrow, (100,), 2),
        (lambda x: arrow(x[::-1]), (100,), 2),
        (lambda x: np.sum(x**3), (50,), 1),
        (lambda x: np.sum(laplacian(x) * x**2), (8, 8), 5),
        (lambda x: np.sum(x[1:, 1:] * x[:-1, :-1] * x[1:, :-1] * x[:-1, 1:]), (12, 12), 9),
        (lambda x: np.sum(x) ** 2, (6,), 6),
    ],
)
def test_groups_of_known_hessians(f, shape, expected):
    assert groups(sparse_hessian(f), draw(*shape)) == expected


def test_the_direction_with_fewer_groups_is_taken():
    """One dense row costs one cotangent for it, one dense column one tangent."""
    tall, wide = sparse_jacobian(lambda x: x[0] * x), sparse_jacobian(lambda x: [x[1:], np.sum(x)])
    assert groups(tall, draw(9)) == groups(wide, draw(9)) == 2
    assert next(iter(tall._structures.values())).plan.forward
    assert not next(iter(wide._structures.values())).plan.forward


def test_a_second_order_saves_groups():
    """Greedy colouring in two orders is never worse than in the first, and often better."""
    savings = []
    for seed in range(50):
        mask = onp.random.default_rng(seed).random((12, 16)) < 0.2
        columns = sparse._given_pattern("", mask).transposed()
        first = sparse._greedy(sparse._lists(columns), 12, range(16)).max()
        savings.append(first - sparse._disjoint_groups(columns, 0).max())
    assert min(savings) == 0 and sum(savings) >= 5


def random_symmetric(n, seed):
    rng = onp.random.default_rng(seed)
    half = rng.random((n, n)) < rng.uniform(0.02, 0.4)
    return half | half.T


@pytest.mark.parametrize("seed", range(30))
def test_every_entry_is_read_without_another(seed):
    """Compressing a random matrix by the seeds and reading it gives it back, whatever its pattern."""
    rng = onp.random.default_rng(seed)
    symmetric = random_symmetric(24, seed)
    general = rng.random((18, 24)) < rng.uniform(0.02, 0.4)
    for mask, is_symmetric in ((symmetric, True), (general, False)):
        values = onp.where(mask, rng.integers(1, 1000, mask.shape), 0)
        values = onp.maximum(values, values.T) if is_symmetric else values
        structure = sparse._Structure(sparse._given_pattern("", mask), is_symmetric)
        forward, seeds, seed_of, place_of = structure.plan
        compressed = seeds @ (values.T if forward else values)
        found = sparse._as_csr(structure.pattern, compressed[seed_of, place_of])
        assert (found.toarray() == values).all()


@pytest.mark.parametrize("f", [rosenbrock, arrow, lambda x: np.sum(laplacian(x.reshape(10, -1)) ** 3)])
def test_structure_grows_linearly(f, monkeypatch):
    """Ten times the size: ten times the entries that are handled on the way, and no more groups."""
    handled, from_codes = [], sparse._from_codes

    def counted(codes, size, inputs):
        handled.append(codes.size)
        return from_codes(codes, size, inputs)

    monkeypatch.setattr(sparse, "_from_codes", counted)

    def figures(n):
        handled.clear()
        derivative = sparse_hessian(f)
        count = groups(derivative, draw(n))
        return count, sum(handled)

    (few, entries), (many, ten_times) = figures(200), figures(2000)
    assert many <= few + 1
    assert ten_times < 12 * entries


# ---------------------------------------------------------------- shapes, dtypes, containers


def test_empty_patterns_and_empty_arrays():
    constant = sparse_jacobian(lambda x: np.floor(x)[:2])(draw(3))
    assert constant.shape == (2, 3) and constant.nnz == 0 and constant.dtype == float
    assert sparse_jacobian(lambda x: 4.0)(draw(3)).shape == (1, 3)
    assert sparse_jacobian(lambda x: x[:0])(draw(3)).shape == (0, 3)
    assert sparse_jacobian(lambda x: x**2)(onp.zeros(0)).shape == (0, 0)
    assert sparse_jacobian(lambda x: np.ones(2) * np.sum(x))(onp.zeros(0)).shape == (2, 0)
    assert sparse_hessian(lambda x: np.sum(x))(draw(3)).nnz == 0
    assert sparse_hessian(lambda x: np.sum(x**2))(onp.zeros((0, 3))).shape == (0, 0)


def test_scalars():
    assert_same(sparse_jacobian(np.sin)(0.5), onp.cos(0.5))
    assert_same(sparse_hessian(lambda x: x**3)(2.0), 12.0)
    assert_same(sparse_jacobian(lambda t: t * np.arange(3.0))(2.0), [0.0, 1.0, 2.0])


def test_float32():
    x = draw(8).astype(onp.float32)
    for found, dense in (
        (sparse_jacobian(tridiagonal)(x), jacobian(tridiagonal)(x)),
        (sparse_hessian(rosenbrock)(x), hessian(rosenbrock)(x)),
    ):
        assert found.dtype == onp.float32
        assert_same(found, dense, rtol=1e-6)


@pytest.mark.parametrize(
    ("f", "complex_argument"),
    [
        (lambda z: z[1:] * z[:-1] + np.exp(z[1:]), True),
        (lambda x: x[1:] * (2 + 1j) + 1j * x[:-1] ** 2, False),
        (lambda z: np.abs(z[1:]) ** 2 + np.real(z[:-1]), True),
        (lambda z: z[0] * z, True),
        (lambda x: (1 + 1j * x) * x[0], False),
        (lambda z: np.imag(z) * np.real(z[0]), True),
    ],
)
def test_complex_numbers_as_in_the_dense_jacobian(f, complex_argument):
    x = draw(5) + 1j * draw(5) if complex_argument else draw(5)
    dense = jacobian(f)(x)
    found = sparse_jacobian(f)(x)
    assert found.dtype == complex
    assert_same(found, dense)


def test_a_complex_hessian_is_refused():
    with pytest.raises(TypeError, match="sparse_hessian of .* argument is complex"):
        sparse_hessian(lambda z: np.sum(np.abs(z) ** 2))(draw(3) + 1j)


def test_containers_are_taken_in_order():
    def f(tree, scale):
        return {"a": tree["w"][1:] * tree["b"], "c": scale * tree["w"]}

    def flat(x, scale):
        out = f({"w": x[:3], "b": x[3]}, scale)
        return np.concatenate([out["a"], out["c"]])

    x = draw(4)
    found = sparse_jacobian(f)({"w": x[:3], "b": x[3]}, 2.0)
    assert_same(found, jacobian(flat)(x, 2.0))


def test_several_arguments_and_keywords():
    def f(x, y, *, power):
        return np.concatenate([x**power * y[0], y[1:]])

    x, y = draw(3), draw(2)
    by_both = sparse_jacobian(f, (0, 1))(x, y, power=3)
    assert_same(by_both, onp.hstack([jacobian(f, 0)(x, y, power=3), jacobian(f, 1)(x, y, power=3)]))
    assert_same(sparse_jacobian(f, -1)(x, y, power=3), jacobian(f, 1)(x, y, power=3))
    energy = sparse_hessian(lambda x, y: np.sum(x * y**2), 1)(x, draw(3))
    assert_same(energy, onp.diag(2 * x))


def test_fortran_order_and_views():
    x = onp.asfortranarray(draw(4, 5))
    for view in (x, x[::-1, 1:], x.T):
        assert_same(sparse_jacobian(laplacian)(view), jacobian(laplacian)(view))


# ---------------------------------------------------------------- what structures are kept for


def counting(f):
    def counted(*args, **kwargs):
        counted.calls += 1
        return f(*args, **kwargs)

    counted.calls = 0
    return counted


def test_a_structure_is_found_once_a_shape():
    f = counting(tridiagonal)
    derivative = sparse_jacobian(f)
    derivative(draw(5))
    first, f.calls = f.calls, 0
    derivative(draw(5))
    assert f.calls == 1 < first
    derivative(draw(6))
    derivative(draw(5).astype(onp.float32))
    assert len(derivative._structures) == 3


def test_values_of_floats_do_not_ask_for_a_new_structure():
    derivative = sparse_jacobian(lambda x, t, past: t * x**2 + past)
    for t in (0.0, 1.0, 2.0):
        x = draw(4)
        assert_same(derivative(x, t, draw(4)), onp.diag(2 * t * x))
    assert len(derivative._structures) == 1


def test_values_of_integers_do():
    derivative = sparse_jacobian(lambda x, index, name: x[index] if name == "picked" else x)
    x, index = draw(4), onp.array([3, 0])
    assert (derivative(x, index, "picked").toarray() == onp.eye(4)[index]).all()
    index[0] = 1
    assert (derivative(x, index, "picked").toarray() == onp.eye(4)[index]).all()
    assert (derivative(x, index, "all").toarray() == onp.eye(4)).all()


def test_another_argument_may_steer():
    """Where control flow depends on a float that is not differentiated, its values have structures."""

    def f(x, t):
        return x**2 if t > 1 else x[::-1] ** 2

    derivative = sparse_jacobian(f)
    for t in (2.0, 0.5, 2.0):
        x = draw(3)
        assert_same(derivative(x, t), jacobian(f)(x, t))
    assert len(derivative._structures) == 2


def test_the_number_of_structures_is_bounded():
    derivative = sparse_jacobian(lambda x, n: x[:n])
    for n in range(sparse.KEPT + 10):
        assert derivative(draw(2), n).shape == (min(n, 2), 2)
    assert len(derivative._structures) == sparse.KEPT


def test_a_result_may_be_changed():
    derivative = sparse_jacobian(lambda x: x[::-1] * 0.0 + x)
    first = derivative(draw(3))
    first.data[:] = 0.0
    first.eliminate_zeros()
    assert derivative(draw(3)).nnz == 5
    pattern = jacobian_sparsity(lambda x: x**2)(draw(3))
    pattern.indices[:] = 0
    assert (derivative(draw(3)).diagonal()[[0, 2]] == 1).all()


# ---------------------------------------------------------------- manners


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x**2 if x[0] > 0 else x,
        lambda x: x[x > 1],
        lambda x: x[: int(x[0])],
    ],
)
def test_a_function_that_looks_at_values_is_refused(f):
    with pytest.raises(TypeError, match=r"looks at values of its argument.*np\.where.*sparsity="):
        sparse_jacobian(f)(draw(3))
    with pytest.raises(TypeError, match="looks at values of its argument"):
        jacobian_sparsity(f)(draw(3))


def test_a_given_pattern_allows_it():
    def f(x):
        return x**2 if x[0] > 0 else -x

    derivative = sparse_jacobian(f, sparsity=onp.eye(3))
    for sign in (1, -1):
        x = sign * draw(3)
        assert_same(derivative(x), jacobian(f)(x))
    x, energy = draw(3), lambda x: np.sum(f(x) ** 2)
    assert_same(sparse_hessian(energy, sparsity=scipy.sparse.eye_array(3))(x), hessian(energy)(x))


def test_a_given_pattern_must_fit():
    with pytest.raises(ValueError, match="sparsity has 4 columns, the argument the size 3"):
        sparse_jacobian(np.sin, sparsity=onp.eye(4))(draw(3))
    with pytest.raises(ValueError, match="pattern has 2 rows, but the result has the size 3"):
        sparse_jacobian(np.sin, sparsity=onp.ones((2, 3)))(draw(3))
    with pytest.raises(ValueError, match="pattern has 4 rows, but the result has the size 3"):
        sparse_jacobian(np.sin, sparsity=onp.eye(4)[:, :3])(draw(3))
    with pytest.raises(ValueError, match="sparsity must have two axes"):
        sparse_jacobian(np.sin, sparsity=onp.ones(3))


def test_errors_of_the_function_are_its_own():
    def f(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        sparse_jacobian(f)(draw(2))


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="sparse_jacobian of sin .*pass floats"):
        sparse_jacobian(np.sin)(onp.arange(3))
    with pytest.raises(TypeError, match="there is no argument 1"):
        sparse_jacobian(np.sin, 1)(draw(3))
    with pytest.raises(TypeError, match="must be one real number"):
        sparse_hessian(np.sin)(draw(3))


def test_no_derivative_of_a_sparse_array():
    with pytest.raises(TypeError, match="take jacobian or hessian"):
        grad(lambda x: sparse_jacobian(np.sin)(x).sum())(draw(3))


def test_a_primitive_without_rule_counts_as_dense():
    @primitive
    def doubled(x):
        return 2 * x

    defvjp(doubled, lambda ans, x: lambda g: 2 * g)
    derivative = sparse_jacobian(lambda x: doubled(x[1:]))
    x = draw(4)
    assert_same(derivative(x), 2 * onp.eye(4)[1:])
    assert derivative(x).nnz == 9


def test_checkpoint_is_looked_into():
    inner = checkpoint(lambda x: np.sin(x[1:]) * x[:-1])

    def f(x):
        return inner(inner(x))

    x = draw(8)
    derivative = sparse_jacobian(f)
    assert_same(derivative(x), jacobian(f)(x))
    assert derivative(x).nnz == 18
    assert_same(sparse_hessian(lambda x: np.sum(f(x)))(x), hessian(lambda x: np.sum(f(x)))(x))


def test_pickling():
    derivative = sparse_jacobian(tridiagonal)
    x = draw(4)
    expected = derivative(x).toarray()
    copy = pickle.loads(pickle.dumps(derivative))
    assert not copy._structures
    assert (copy(x).toarray() == expected).all()


def test_threads():
    derivative, wrong = sparse_hessian(rosenbrock), []
    x = draw(30)
    expected = hessian(rosenbrock)(x)

    def work():
        for _ in range(5):
            if not onp.allclose(derivative(x).toarray(), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_seeds_are_evaluated_in_both_directions():
    x, seeds = draw(5), RNG.normal(size=(3, 5))
    dense = jacobian(tridiagonal)(x)
    onp.testing.assert_allclose(sparse.evaluate_seeds(tridiagonal, (x,), 0, seeds, True), seeds @ dense.T)
    onp.testing.assert_allclose(sparse.evaluate_seeds(tridiagonal, (x,), 0, seeds, False), seeds @ dense)
