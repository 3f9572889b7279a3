"""Recordings as tables: what they hold and share, what long ones let go of, scalars in reverse traces."""

import sys

import numpy as onp
import pytest
from test_replay import check, compare, near, normal, record

import autograd_c.numpy as np
from autograd_c import _core, compile, grad, jvp, value_and_grad

# ---------------------------------------------------------------- what a recording holds


def test_nodes_refer_to_one_another():
    recording = record(lambda x: [x[0] * np.sin(x[1]) + 2.5], [2.0, 3.0])
    assert recording.size == 2 and len(recording) == len(recording.nodes)
    assert [node.number for node in recording.inputs] == [0, 1]
    sine, product, total = recording.nodes[2:]
    assert sine.args == (recording.nodes[1],) and product.args == (recording.nodes[0], sine)
    assert total.args == (product, 2.5) and recording.results == [total]


def test_constants_and_shapes():
    table = onp.arange(3.0)
    recording = record(lambda x: np.sum(x[0] * table, axis=0) * 2.5, [normal(4, 3)])
    assert any(value is table for value in recording.constants)
    assert 2.5 in [value for value in recording.constants if type(value) is float]
    assert recording.shapes == {(4, 3), (3,)}


def test_a_literal_is_one_constant_however_often_it_is_used():
    def f(x):
        y = x[0]
        for _ in range(50):
            y = y * 1.01
        return y

    assert record(f, [1.0]).constants == [1.01]


@pytest.mark.parametrize("count", [1, 8, 9, 300])
def test_calls_of_many_operands(count):
    compare(lambda x: np.stack([v * 2.0 for v in x]), *map(float, range(count)))


def test_a_call_on_a_view_that_is_out_of_date():
    """Catching up adds calls of its own, before the call that asked for the value."""

    def f(x):
        y = x[0] * 1.0
        view = y[1:]
        y[2] = 5.0 * x[1]
        return np.stack([view, view * view])

    compare(f, normal(4), 1.5)
    compare(lambda x: grad(lambda a: np.sum(f([a, x[1]])))(x[0]), normal(4), 1.5)


def test_a_recording_may_be_planned_again():
    recording = record(lambda x: grad(lambda a: np.sum(a / 3.0 + np.exp(a)))(x[0]), [normal(6)])
    point = normal(6, seed=1)
    plain, relaxed, again = (
        _core.ReplayProgram(recording, fastmath=fastmath) for fastmath in (False, True, False)
    )
    expected = plain.run([point])[0]
    onp.testing.assert_array_equal(again.run([point])[0], expected)
    onp.testing.assert_allclose(relaxed.run([point])[0], expected, rtol=1e-14)
    assert plain.summary == again.summary


def test_same_as():
    def f(x, shift, axis=0):
        return np.sum(x[0] * shift, axis=axis) + x[1]

    leaves = [normal(2, 3), 1.5]
    first = record(lambda x: f(x, 2.5), leaves)
    assert first.same_as(record(lambda x: f(x, 2.5), leaves))
    assert first.same_as(record(lambda x: f(x, 5.0 / 2.0), leaves))
    assert not first.same_as(record(lambda x: f(x, 2.25), leaves))
    assert not first.same_as(record(lambda x: f(x, 2.5, 1)[:1], leaves))
    assert not first.same_as(record(lambda x: f(x, 2.5) * x[1], leaves))
    assert not first.same_as(record(lambda x: f([x[0], x[0][0, 0]], 2.5), leaves))


def test_a_long_recording_lets_go_of_all_but_inputs_results_and_guards():
    def f(x):
        y = x[0]
        for _ in range(60_000):
            y = y * 0.5 + 1.0
        return y if y > 0 else -y

    recording = record(f, [1.0])
    program = _core.ReplayProgram(recording)
    recording.forget()
    assert len(recording) == 3 and recording.forgotten
    (guard,) = recording.guards
    assert guard.outcome is True and "test_recording.py" in guard.line
    (result,) = recording.results
    assert result.meta.shape == () and result.args == ()
    assert program.run([3.0]) == [f([3.0])]
    with pytest.raises(ValueError, match="let go"):
        _core.ReplayProgram(recording)


def test_what_is_told_of_a_long_program(tmp_path):
    def f(x):
        y = x
        for _ in range(60_000):
            y = y * 0.5 + 1.0
        return y if y > 0 else -y

    compiled = compile(f)
    for _ in range(3):
        compiled(1.0)
    told = compiled.explain(svg=tmp_path / "long.svg")
    assert "120,00" in told and "scalar instructions" in told
    assert "guard: True" in told and "not kept" in told
    assert (tmp_path / "long.svg").exists()
    assert 120_000 <= compiled.cost()["flops"] <= 120_003


def test_a_short_recording_stays():
    recording = record(lambda x: x[0] * 2.0, [1.0])
    program = _core.ReplayProgram(recording)
    recording.forget()
    assert len(recording) == 2 and program.run([4.0]) == [8.0]


# ---------------------------------------------------------------- what the draft makes of it


def test_equal_calls_become_one():
    replay = compare(lambda x: np.sin(x[0]) * 2.0 + np.sin(x[0]) * 2.0, 0.7)
    assert replay.summary["nodes"] == 4  # the input, sine, product and sum


def test_equal_constants_are_shared_and_unequal_ones_are_not():
    compare(lambda x: [x[0] * 2.0, x[0] * onp.float64(2.0), x[0] * 2, x[0] * 0.0, x[0] * -0.0], 1.5)
    compare(lambda x: [x[0] + onp.full(3, 2.0), x[0] + onp.full(3, 3.0)], normal(3))


def test_equal_means_and_sums_share_a_sum():
    replay = compare(lambda x: np.mean(x[0], axis=0) + np.sum(x[0], axis=0), normal(5, 4))
    assert replay.summary["grouped"] == 3  # the sum, the quotient, and what adds them


# ---------------------------------------------------------------- scalars in reverse traces

SCALARS = {
    "operators": lambda x, y: (x * y - 2.0 / y) * (1 - x) + 3 * y - x / 4 + -x,
    "powers": lambda x, y: x**2 + y**3 + abs(x) ** y + abs(y) ** 0.5 + 2.0**x,
    "functions": lambda x, y: np.sin(x) * np.exp(-(y**2)) + np.log1p(x * x) - np.arctan2(x, y),
    "numpy scalars": lambda x, y: x * onp.float64(1.5) + onp.float64(-1.0) * y + onp.int64(3) * x,
    "partials of one": lambda x, y: x * 1.0 + y * 1 - x * -1.0 + +x,
    "a constant cotangent": lambda x, y: 2.0 * (x + y) - 0.5 * (x - y),
    "choices": lambda x, y: np.where(x > y, x * y, x / y) + np.maximum(x, y) * np.abs(x),
    "branches": lambda x, y: x * y if x > y else np.cos(x) * y,
    "shared": lambda x, y: (lambda s: s * s + s * x)(np.tanh(x * y)),
    "large integers": lambda x, y: x * 2**60 + y * (2**53 + 1),
}


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("weak", [True, False])
def test_gradients_of_scalars(name, weak):
    kind = float if weak else onp.float64
    compare(lambda x: value_and_grad(lambda p: SCALARS[name](*p))((x[0], x[1])), kind(0.7), kind(1.3))
    compare(lambda x: grad(lambda a: SCALARS[name](a, x[1]))(x[0]), kind(0.7), kind(1.3))


@pytest.mark.parametrize("name", SCALARS)
def test_second_derivatives_of_scalars(name):
    compare(lambda x: grad(grad(lambda a: SCALARS[name](a, x[1])))(x[0]), 0.7, 1.3, tolerance=1e-13)


@pytest.mark.parametrize("name", SCALARS)
def test_gradients_of_items(name):
    """Items of an array are scalars, and the adjoint of the array is added to in place."""

    def f(a):
        return sum(SCALARS[name](a[i], a[i + 1]) for i in range(len(a) - 1))

    leaves = [onp.array([0.7, 1.3, 0.4, 2.1])]
    rng = onp.random.default_rng(1)
    replay = check(lambda x: grad(f)(x[0]), leaves, near(leaves, rng, 0.05))
    assert replay.summary["python"] == [] or name in ("choices", "large integers")


def test_items_by_negative_and_repeated_indices():
    compare(lambda x: grad(lambda a: a[-1] * a[0] + a[0] ** 2 * a[-1] + a[1])(x[0]), normal(4))
    compare(lambda x: grad(lambda a: a[0, -1] * a[1, 0] + a[0][1])(x[0]), normal(2, 3))


def test_float32_scalars_take_the_general_way():
    compare(lambda x: grad(lambda a: a * a * 2.0 + np.sin(a))(x[0]), onp.float32(0.7), tolerance=1e-6)


def test_a_warning_in_a_scalar_call():
    f = value_and_grad(lambda a: np.log(a) * 2.0)
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        recording = record(lambda x: f(x[0]), [0.0])
    with onp.errstate(all="ignore"):
        got = _core.ReplayProgram(recording).run([2.0])
    assert got == list(f(2.0))


# ---------------------------------------------------------------- matrices in reverse traces

W, V = onp.linspace(-1.0, 1.0, 12).reshape(3, 4), onp.linspace(0.5, 1.5, 3)

MATRICES = {
    "both": lambda x, y: x @ y,
    "left": lambda x, y: x @ W.T,
    "right": lambda x, y: W @ (x[:, :3].T @ x)[:, :2].repeat(2, 1).T,
    "dot": lambda x, y: np.dot(x, y) + x.dot(W.T),
    "twice": lambda x, y: (x @ y) @ (x @ y).T,
    "itself": lambda x, y: x @ x.T,
    "transposed and strided": lambda x, y: x[::2].T @ y.T[:, ::2].T[:2],
    "a vector": lambda x, y: (x @ W.T) @ V + (V @ W) @ y @ V,
    "vectors": lambda x, y: x[0] @ y[:, 1] * (V @ y[0]),
    "stacks": lambda x, y: np.stack([x, x]) @ y,
    "a computed scalar": lambda x, y: (
        np.dot(W, np.sum(x)) + np.dot(y[1, 1], W) + np.dot(x, x[0, 0] * y[0, 0])
    ),
    "dot of a 0-d array": lambda x, y: (
        np.dot(np.reshape(x[0, 0] * y[2, 1], ()), W.T) + np.dot(y, np.array(0.5))
    ),
    "a bias": lambda x, y: np.tanh(x @ y + x[:3, 0]) @ W + x[0],
    "a scalar and a column": lambda x, y: (x @ y) * y[0, 0] + x[:, :1],
    "sums": lambda x, y: np.sum(x) * x + np.log(np.sum(y * y)) + np.mean(y),
    "nothing inside": lambda x, y: x[:, :0] @ y[:0] + x[:, :3],
    "updated": lambda x, y: (lambda z: (z.__setitem__(0, x[1]), z @ y)[1])(x * 1.0),
}


@pytest.mark.parametrize("dtype", [float, onp.float32])
@pytest.mark.parametrize("name", MATRICES)
def test_gradients_of_matrices(name, dtype):
    x, y = normal(3, 4).astype(dtype), normal(4, 3).astype(dtype)

    def f(x, y):
        return np.sum(np.sin(MATRICES[name](x, y)))

    tolerance = 1e-13 if dtype is float else 2e-5
    compare(lambda x: value_and_grad(lambda p: f(*p))((x[0], x[1])), x, y, tolerance=tolerance)
    compare(lambda x: grad(lambda a: f(a, x[1]))(x[0]), x, y, tolerance=tolerance)
    compare(lambda x: grad(lambda b: f(onp.asarray(W[:3]), b))(x[1]), x, y, tolerance=tolerance)
    compare(lambda x: jvp(lambda a: f(a, x[1]), (x[0],), (x[0],)), x, y, tolerance=tolerance)


@pytest.mark.parametrize("scalar", [2.0, onp.float64(2.0), onp.array(2.0)], ids=["float", "float64", "0-d"])
@pytest.mark.parametrize("swapped", [False, True])
def test_products_with_a_scalar_argument(scalar, swapped):
    """`dot` multiplies by it: its cotangent is a number, whatever shapes the factors have."""

    def f(s):
        product = np.dot(s, W[:, :3]) if swapped else np.dot(W[:, :3], s)
        return np.sum(product * onp.eye(3) * s)

    compare(lambda x: grad(f)(x[0]), scalar, tolerance=1e-13)
    gradient = compile(grad(f))
    for _ in range(3):
        assert onp.shape(gradient(scalar)) == () and gradient(scalar) == pytest.approx(float(grad(f)(scalar)))


def layers(x, y):
    return np.sum(np.tanh(x @ y + y[0]))


def test_what_the_gradient_of_a_product_records():
    """The calls that its rule in Python makes, and none of that rule's frames."""
    called = []

    def watch(frame, event, _):
        if event == "call":
            called.append(frame.f_code.co_filename.rsplit("/")[-1])

    f = grad(lambda p: layers(*p))
    sys.setprofile(watch)
    try:
        recording = record(lambda x: f((x[0], x[1])), [normal(3, 4), normal(4, 3)])
    finally:
        sys.setprofile(None)
    assert "operators.py" in called and "products.py" not in called
    names = [node.prim.name for node in recording.nodes if node.prim is not None]
    assert names[:5] == ["matmul", "getitem", "add", "tanh", "sum"]
    of_tanh, of_rows = ["multiply", "subtract", "multiply"], ["sum", "zeros", "index_add"]
    of_product = ["transpose", "matmul", "transpose", "matmul", "add"]
    assert sorted(names[5:]) == sorted(of_tanh + of_rows + of_product)
