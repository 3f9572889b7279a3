"""Optimisers against plain NumPy and HIPS/autograd, and the loop that runs them."""

import builtins
import os
import signal
import threading
from typing import NamedTuple

import numpy
import pytest

import autograd_c.numpy as np
from autograd_c import _core, compile, grad, optim, value_and_grad
from autograd_c.optim import LBFGS, SGD, Adam, Interrupted, RMSProp, minimize

FIRST_ORDER = {
    "sgd": SGD(0.05),
    "momentum": SGD(0.02, 0.9),
    "nesterov": SGD(0.02, 0.9, nesterov=True),
    "rmsprop": RMSProp(0.02),
    "adam": Adam(0.05),
    "schedule": Adam(lambda step: 0.1 / (1.0 + 0.02 * step)),
}
ONES = numpy.ones(3)
CENTRE = numpy.array([1.0, -2.0, 0.5])
SCALES = numpy.array([1.0, 3.0, 10.0])


def quadratic(x):
    return np.sum(SCALES * (x - CENTRE) ** 2)


def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def logistic(params, rows, signs):
    scores = rows @ params["weights"] + params["bias"]
    return np.mean(np.logaddexp(0.0, -signs * scores)) + 0.01 * np.sum(params["weights"] ** 2)


def labelled(count=120, width=4, seed=0):
    rng = numpy.random.default_rng(seed)
    rows = rng.normal(size=(count, width))
    signs = numpy.where(rows @ rng.normal(size=width) + 0.3 + 0.5 * rng.normal(size=count) > 0, 1.0, -1.0)
    return rows, signs


START = {"weights": numpy.zeros(4), "bias": 0.0}


# ---------------------------------------------------------------- the loop in a program


@pytest.fixture(params=["python", "program"])
def way(request):
    """Both ways of running steps: makes of a loss what `minimize` is given."""
    return {"python": lambda loss: loss, "program": compile}[request.param]


@pytest.fixture
def programs(monkeypatch):
    """Counts the steps that programs have run."""

    class Counter:
        steps = calls = 0
        replay = staticmethod(optim._replay)

        def __call__(self, *arguments):
            carry, count = self.replay(*arguments)
            self.calls += 1
            self.steps += count
            return carry, count

    counter = Counter()
    monkeypatch.setattr(optim, "_replay", counter)
    return counter


def both(programs, loss, **arguments):
    """The results of both ways."""
    first = minimize(loss, **arguments)
    assert programs.calls == 0
    return first, minimize(compile(loss), **arguments)


def leaves_of(tree):
    return optim.flatten(tree)[0]


def assert_same(one, other, tolerance=1e-12):
    assert one.steps == other.steps
    numpy.testing.assert_allclose(one.losses, other.losses, rtol=tolerance)
    for part in ("params", "state"):
        first, second = leaves_of(getattr(one, part)), leaves_of(getattr(other, part))
        for a, b in zip(first, second, strict=True):
            assert type(a) is type(b) and numpy.asarray(a).dtype == numpy.asarray(b).dtype
            numpy.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", FIRST_ORDER)
@pytest.mark.parametrize("batch", [None, 25])
def test_both_ways_agree(programs, name, batch):
    arguments = {"data": labelled(), "batch": batch, "seed": 3, "optimizer": FIRST_ORDER[name], "steps": 60}
    one, other = both(programs, loss=logistic, params=START, **arguments)
    assert_same(one, other)
    assert programs.steps == 58  # two were recorded


def test_a_guard_that_fails_goes_on_in_its_branch(programs):
    def loss(x, target):
        return np.sum(np.abs(x - target)) if np.sum(x) > 0.3 else 2.0 * np.sum((x - target) ** 2)

    one, other = both(
        programs,
        loss,
        params=numpy.array([1.0, 1.0]),
        data=(numpy.array([-0.5, 0.79]),),
        optimizer=SGD(0.01),
        steps=300,
    )
    assert_same(one, other)
    assert programs.steps == 296  # two branches, each recorded twice


def test_a_step_that_changes_a_type_waits_until_it_is_settled(programs):
    class Widening:
        def init(self, params):
            return 0.0

        def update(self, params, gradient, state):
            return params - numpy.float64(0.1) * gradient, np.sqrt(state + 1.0)

    one, other = both(programs, quadratic, params=CENTRE.astype("f"), optimizer=Widening(), steps=10)
    assert_same(one, other)
    assert one.params.dtype == numpy.float64
    assert programs.steps == 7  # one step in float32, two were recorded


def test_what_the_loss_reads_may_change_between_chunks(programs):
    """A number that the loss reads is looked at again at each chunk; an array at each step."""
    scale, centre = 1.0, numpy.zeros(2)

    def loss(x):
        return scale * np.sum((x - centre) ** 2)

    def callback(step, params, value):
        nonlocal scale
        scale *= 1.5
        centre[:] += 1.0

    def run(loss):
        nonlocal scale
        scale, centre[:] = 1.0, 0.0
        arguments = {"optimizer": SGD(0.01), "steps": 40, "every": 8, "callback": callback}
        return minimize(loss, numpy.ones(2), **arguments)

    assert_same(run(loss), run(compile(loss)))
    assert programs.steps == 30  # two of each chunk were recorded


@pytest.mark.parametrize("loss", [lambda x: x, lambda x: 3.0, lambda x: x * 0.0])
def test_losses_that_are_hardly_computed(programs, loss):
    class Walk:
        def init(self, params):
            return None

        def update(self, params, gradient, state):
            return params - 0.5, state

    one, other = both(programs, loss, params=2.0, optimizer=Walk(), steps=6)
    assert_same(one, other)
    assert programs.steps == 4


def test_a_state_of_former_parameters(programs):
    """Results of a step that are its inputs, in another place."""

    class Remembering:
        def init(self, params):
            return params, [params, params]

        def update(self, params, gradient, state):
            one, (two, three) = state
            return params - 0.1 * gradient + 0.01 * three, (two, [params, one])

    for start in (CENTRE + 1.0, 2.0):
        programs.calls = programs.steps = 0
        one, other = both(programs, quadratic, params=start, optimizer=Remembering(), steps=12)
        assert_same(one, other)
        assert programs.steps == 10


@pytest.mark.parametrize("batch", [None, 5])
def test_a_loss_that_changes_its_arguments(programs, batch):
    """In place. Where the mini-batch is changed, steps are replayed one by one, for the next to see it."""

    def loss(x, rows):
        x[0] = 2.0 * x[0]
        if batch:
            rows += 0.01
        return np.sum((x - rows) ** 2)

    def data():
        return (numpy.linspace(0.0, 1.0, 20).reshape(10, 2),)

    arguments = {"batch": batch, "seed": 0, "optimizer": SGD(0.01), "steps": 8}
    one = minimize(loss, ONES[:2], data=data(), **arguments)
    other = minimize(compile(loss), ONES[:2], data=data(), **arguments)
    assert_same(one, other)
    assert programs.steps == (0 if batch else 6)


def test_labels_as_indices_in_mini_batches(programs):
    rng = numpy.random.default_rng(0)
    labels = numpy.arange(60) % 3
    rows = numpy.eye(3)[labels] + 0.1 * rng.normal(size=(60, 3))

    def loss(weights, rows, labels):
        scores = rows @ weights
        return np.mean(np.log(np.sum(np.exp(scores), axis=1)) - scores[np.arange(len(labels)), labels])

    one, other = both(
        programs,
        loss,
        params=numpy.zeros((3, 3)),
        data=(rows, labels),
        batch=20,
        seed=0,
        optimizer=Adam(0.1),
        steps=60,
    )
    assert_same(one, other)
    assert programs.steps == 58
    assert numpy.argmax(rows @ other.params, axis=1).tolist() == labels.tolist()


def test_options_of_a_compiled_loss_are_kept(monkeypatch):
    seen = []
    monkeypatch.setattr(
        optim, "compile", lambda fun, **options: seen.append(options) or compile(fun, **options)
    )
    loss = compile(logistic, static_argnums=1, max_programs=7)
    minimize(loss, START, data=labelled(), optimizer=Adam(), steps=3)
    assert seen[-1]["max_programs"] == 7
    assert not any(name.startswith("static") for name in seen[-1])


# ---------------------------------------------------------------- formulas


def rows_by_hand(gradient, x, steps, move):
    """Parameters after each step of plain NumPy; `move` gets the gradient and the number of the step."""
    path = []
    for step in range(1, steps + 1):
        x = x - move(gradient(x), step)
        path.append(x)
    return path


def sgd_by_hand(rate, momentum, nesterov):
    velocity = numpy.zeros(3)

    def move(g, _):
        nonlocal velocity
        velocity = momentum * velocity + g
        return rate * (g + momentum * velocity if nesterov else velocity)

    return move


def rmsprop_by_hand(rate, decay, eps):
    square = numpy.zeros(3)

    def move(g, _):
        nonlocal square
        square = decay * square + (1 - decay) * g**2
        return rate * g / (numpy.sqrt(square) + eps)

    return move


def adam_by_hand(rate, b1, b2, eps):
    m = s = numpy.zeros(3)

    def move(g, t):
        nonlocal m, s
        m = b1 * m + (1 - b1) * g
        s = b2 * s + (1 - b2) * g**2
        step_size = rate(t - 1) if callable(rate) else rate
        return step_size * (m / (1 - b1**t)) / (numpy.sqrt(s / (1 - b2**t)) + eps)

    return move


def halving(step):
    return 0.1 * 0.5 ** (step / 10)


@pytest.mark.parametrize(
    "optimizer, move",
    [
        (SGD(0.01), lambda: sgd_by_hand(0.01, 0.0, False)),
        (SGD(0.01, 0.8), lambda: sgd_by_hand(0.01, 0.8, False)),
        (SGD(0.01, 0.8, nesterov=True), lambda: sgd_by_hand(0.01, 0.8, True)),
        (RMSProp(0.03, 0.8, 1e-6), lambda: rmsprop_by_hand(0.03, 0.8, 1e-6)),
        (Adam(), lambda: adam_by_hand(0.001, 0.9, 0.999, 1e-8)),
        (Adam(0.1, 0.7, 0.95, 1e-3), lambda: adam_by_hand(0.1, 0.7, 0.95, 1e-3)),
        (Adam(halving), lambda: adam_by_hand(halving, 0.9, 0.999, 1e-8)),
    ],
)
def test_formulas(way, optimizer, move):
    start = numpy.array([0.3, 0.1, -0.2])
    expected = rows_by_hand(lambda x: 2 * SCALES * (x - CENTRE), start, 50, move())
    seen = []
    result = minimize(
        way(quadratic),
        start,
        optimizer=optimizer,
        steps=50,
        every=1,
        callback=lambda step, params, loss: seen.append(params),
    )
    numpy.testing.assert_allclose(seen, expected, rtol=1e-11, atol=1e-15)
    numpy.testing.assert_allclose(
        result.losses, [numpy.sum(SCALES * (x - CENTRE) ** 2) for x in [start, *expected[:-1]]], rtol=1e-11
    )


def test_hips_optimisers():
    """The same path as the optimisers of HIPS/autograd, with the differences that the documentation names."""
    peer = pytest.importorskip("autograd.misc.optimizers")
    start = numpy.array([0.3, 0.1, -0.2])
    slope = grad(quadratic)

    def objective(x, _step):
        return slope(x)

    def ours(optimizer, state=None):
        return minimize(quadratic, start, optimizer=optimizer, steps=70, state=state).params

    numpy.testing.assert_allclose(
        ours(Adam(0.02)), peer.adam(objective, start, num_iters=70, step_size=0.02), rtol=1e-11
    )
    numpy.testing.assert_allclose(
        ours(SGD(0.1 * (1 - 0.7), 0.7)),
        peer.sgd(objective, start, num_iters=70, step_size=0.1, mass=0.7),
        rtol=1e-11,
    )
    optimizer = RMSProp(0.05)
    ones = optimizer.init(start)._replace(square=numpy.ones(3))
    numpy.testing.assert_allclose(
        ours(optimizer, ones), peer.rmsprop(objective, start, num_iters=70, step_size=0.05), rtol=1e-11
    )


def test_a_loop_of_ones_own():
    """As HIPS programs are written: a gradient by `grad`, and an update for each step."""
    rows, signs = labelled()
    optimizer, params = Adam(0.05), START
    state = optimizer.init(params)
    slope = grad(lambda params, step: logistic(params, rows[step % 5 :: 5], signs[step % 5 :: 5]))
    before = logistic(params, rows, signs)
    for step in range(100):
        params, state = optimizer.update(params, slope(params, step), state)
    assert logistic(params, rows, signs) < 0.6 * before
    assert float(state.steps) == 100.0
    assert START["bias"] == 0.0 and not START["weights"].any()


def test_a_recorded_update_stays_in_float32():
    optimizer, x = Adam(0.1), numpy.ones(3, dtype="f")

    def update(boxes):
        x, state = optimizer.update(boxes[0], boxes[1], optimizer.init(boxes[0]))
        return [x, state.mean, state.square]

    outs, recording = _core.record_call_of(update, [x, x])
    assert not recording.escapes and not recording.guards
    assert [out.dtype for out in outs] == [numpy.float32] * 3


# ---------------------------------------------------------------- convergence


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_quadratic(way, name):
    result = minimize(way(quadratic), numpy.zeros(3), optimizer=FIRST_ORDER[name], steps=600)
    numpy.testing.assert_allclose(result.params, CENTRE, atol=0.02)
    assert result.losses.shape == (600,)
    assert result.losses[0] == quadratic(numpy.zeros(3))
    assert result.losses[-1] < 1e-2


def test_rosenbrock_by_adam(way):
    result = minimize(way(rosenbrock), numpy.array([-1.0, 1.5]), optimizer=Adam(0.05), steps=3000)
    numpy.testing.assert_allclose(result.params, 1.0, atol=1e-3)


@pytest.mark.parametrize("batch", [None, 30])
def test_logistic_regression(way, batch):
    rows, signs = labelled()
    best = minimize(way(logistic), START, data=(rows, signs), optimizer=LBFGS(), steps=100)
    result = minimize(
        way(logistic), START, data=(rows, signs), batch=batch, seed=0, optimizer=Adam(0.03), steps=600
    )
    assert best.message == "the gradient is within the tolerance"
    slope = grad(logistic)(best.params, rows, signs)
    assert abs(slope["bias"]) < 1e-8 and numpy.max(numpy.abs(slope["weights"])) < 1e-8
    lowest, reached = logistic(best.params, rows, signs), logistic(result.params, rows, signs)
    assert lowest - 1e-12 < reached < lowest + (1e-6 if batch is None else 5e-3)


# ---------------------------------------------------------------- L-BFGS


@pytest.mark.parametrize("count", [2, 10, 100])
def test_rosenbrock_by_lbfgs(count):
    scipy_optimize = pytest.importorskip("scipy.optimize")
    start = numpy.tile([-1.2, 1.0], count // 2)
    evaluations = []

    def loss(x):
        evaluations.append(1)
        return rosenbrock(x)

    result = minimize(loss, start, optimizer=LBFGS(), steps=1000)
    numpy.testing.assert_allclose(result.params, 1.0, atol=1e-8)
    assert result.steps == len(result.losses) < 1000
    assert numpy.all(numpy.diff(result.losses) < 0)
    peer = scipy_optimize.minimize(
        value_and_grad(rosenbrock), start, jac=True, method="L-BFGS-B", options={"ftol": 0, "gtol": 1e-8}
    )
    assert len(evaluations) < 1.5 * peer.nfev


def test_lbfgs_fulfils_the_wolfe_conditions():
    optimizer = LBFGS(decrease=1e-3, curvature=0.5)
    value_and_gradient = value_and_grad(rosenbrock)
    x, state = numpy.array([-1.2, 1.0, 0.3]), optimizer.init(numpy.zeros(3))
    for _ in range(20):
        before, slope = value_and_gradient(x)
        value, new, state = optimizer.search(value_and_gradient, x, state)
        after, new_slope = value_and_gradient(new)
        move = new - x
        assert value == before
        assert (state.value, state.gradient.tolist()) == (after, new_slope.tolist())
        assert after <= before + 1e-3 * (move @ slope) * (1 - 1e-12)
        assert abs(move @ new_slope) <= 0.5 * abs(move @ slope) * (1 + 1e-12)
        x = new


def test_lbfgs_direction_is_that_of_the_dense_inverse():
    """The two-loop recursion against the BFGS update of a matrix, formula (6.17) of Nocedal and Wright."""
    rng = numpy.random.default_rng(1)
    root = rng.normal(size=(5, 5))
    hessian = root @ root.T + numpy.eye(5)
    moves = [rng.normal(size=5) for _ in range(4)]
    changes = [hessian @ move for move in moves]
    inverse = numpy.eye(5) * (moves[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
    for s, y in zip(moves, changes, strict=True):
        left = numpy.eye(5) - numpy.outer(s, y) / (y @ s)
        inverse = left @ inverse @ left.T + numpy.outer(s, s) / (y @ s)
    g = rng.normal(size=5)
    numpy.testing.assert_allclose(optim._product_with_inverse(g, moves, changes), inverse @ g, rtol=1e-10)


def test_lbfgs_passes_over_what_is_not_finite():
    """A first trial beyond the domain of the loss is taken back."""

    def loss(x):
        return np.sum(x) - np.sum(np.log(x)) + np.exp(np.sum(x * 100.0) - 300.0)

    result = minimize(loss, numpy.array([1e-6, 0.9]), optimizer=LBFGS(), steps=200)
    assert result.message == "the gradient is within the tolerance"
    numpy.testing.assert_allclose(result.params, [1.0, 1.0], rtol=1e-6)


def test_lbfgs_says_when_it_cannot_go_on():
    def wrong(x):
        return np.sum(x) - 2.0 * optim.stop_gradient(np.sum(x))  # the gradient points the wrong way

    result = minimize(wrong, numpy.ones(2), optimizer=LBFGS(), steps=10)
    assert result.message == "the line search found no lower point"
    assert result.steps == 0 and result.params.tolist() == [1.0, 1.0]
    at_the_end = minimize(quadratic, CENTRE, optimizer=LBFGS(), steps=10)
    assert at_the_end.steps == 0 and at_the_end.message == "the gradient is within the tolerance"


def test_lbfgs_on_float32_containers():
    start = {"x": numpy.zeros(3, dtype="f"), "y": numpy.float32(2.0), "name": "kept"}
    result = minimize(
        lambda p: quadratic(p["x"]) + (p["y"] - 1.0) ** 2,
        start,
        optimizer=LBFGS(gradient_tolerance=1e-3),
        steps=100,
    )
    assert result.params["x"].dtype == result.params["y"].dtype == numpy.float32
    assert result.params["name"] == "kept"
    numpy.testing.assert_allclose(result.params["x"], CENTRE, rtol=1e-4)
    numpy.testing.assert_allclose(result.params["y"], 1.0, rtol=1e-4)


def test_lbfgs_of_a_compiled_loss():
    """The search is the same; to rounding, since sums may be taken in another order."""
    start = {"x": numpy.tile([-1.2, 1.0], 3), "on": numpy.array([True, False])}

    def loss(params, weight):
        return weight * rosenbrock(params["x"][:: 1 if params["on"][0] else -1])

    one = minimize(loss, start, data=(2.0,), optimizer=LBFGS(), steps=15)
    other = minimize(compile(loss), start, data=(2.0,), optimizer=LBFGS(), steps=15)
    numpy.testing.assert_allclose(one.losses, other.losses, rtol=1e-6)


def test_lbfgs_goes_on_from_a_state(way):
    start = numpy.array([-1.2, 1.0])
    whole = minimize(way(rosenbrock), start, optimizer=LBFGS(), steps=12)
    first = minimize(way(rosenbrock), start, optimizer=LBFGS(), steps=5)
    second = minimize(way(rosenbrock), first.params, optimizer=LBFGS(), steps=7, state=first.state)
    assert [*first.losses, *second.losses] == whole.losses.tolist()
    assert second.params.tolist() == whole.params.tolist()


# ---------------------------------------------------------------- parameters


class Layer(NamedTuple):
    weights: numpy.ndarray
    bias: float


def test_containers(way):
    mask = numpy.array([True, False, True])
    start = {
        "layers": [Layer(numpy.ones((2, 3)), 0.5), Layer(numpy.ones((3, 1)), 0.5)],
        "name": "kept",
        "none": None,
        "mask": mask,
        "flag": True,
    }

    def loss(params):
        value = 0.0
        for weights, bias in params["layers"]:
            value = value + np.sum((weights - 2.0) ** 2) + (bias + 1.0) ** 2
        return value * (1.0 if params["flag"] and params["mask"][0] else np.nan)

    for optimizer in (*FIRST_ORDER.values(), LBFGS()):
        result = minimize(way(loss), start, optimizer=optimizer, steps=300)
        params = result.params
        assert type(params["layers"][0]) is Layer and params["name"] == "kept" and params["none"] is None
        assert params["flag"] is True and params["mask"] is mask
        numpy.testing.assert_allclose(params["layers"][0].weights, 2.0, atol=0.05)
        numpy.testing.assert_allclose(params["layers"][1].bias, -1.0, atol=0.05)
    assert start["layers"][0].weights.tolist() == [[1.0] * 3] * 2
    assert start["layers"][0].bias == 0.5


@pytest.mark.parametrize("name", FIRST_ORDER)
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_dtypes_stay(way, name, dtype):
    check_dtypes(way, name, dtype)


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_long_double_stays(name):
    check_dtypes(lambda loss: loss, name, "g")


def check_dtypes(way, name, dtype):
    start = {"x": numpy.zeros(3, dtype), "y": numpy.zeros((), dtype)[()]}
    result = minimize(
        way(lambda p: quadratic(p["x"]) + (p["y"] - 1.0) ** 2), start, optimizer=FIRST_ORDER[name], steps=20
    )
    assert result.losses.dtype == numpy.float64
    for tree in (result.params, *(part for part in result.state if isinstance(part, dict))):
        assert tree["x"].dtype == tree["y"].dtype == numpy.dtype(dtype)


def test_a_float32_step_is_computed_in_float32():
    """The bits of a float32 update: nothing passes through float64."""
    one = numpy.float32(1.0)
    start = numpy.array([0.3, 0.1, -0.2], dtype="f")
    result = minimize(quadratic, start, optimizer=Adam(0.1), steps=3)
    x, m, s = start, start * 0, start * 0
    slope = grad(quadratic)
    for t in range(1, 4):
        g = slope(x)
        m = numpy.float32(0.9) * m + numpy.float32(1 - 0.9) * g
        s = numpy.float32(0.999) * s + numpy.float32(1 - 0.999) * (g * g)
        rate, scale = numpy.float32(0.1 / (1 - 0.9**t)), numpy.float32(one / (1 - 0.999**t))
        x = x - rate * m / (numpy.sqrt(scale * s) + numpy.float32(1e-8))
    numpy.testing.assert_allclose(result.params, x, rtol=3e-7)
    assert result.params.dtype == x.dtype == numpy.float32


def test_a_schedule_may_be_wider_than_the_parameters(way):
    optimizer = SGD(lambda step: numpy.float64(0.01) * np.exp(-step))
    result = minimize(way(quadratic), numpy.zeros(3, "f"), optimizer=optimizer, steps=10)
    assert result.params.dtype == numpy.float32


def test_odd_arrays_become_plain_ones(way):
    transposed = numpy.zeros((3, 2)).T
    swapped = numpy.zeros(3, dtype=">f8")
    for start in (transposed, swapped, numpy.array(0.0), 0.0):
        result = minimize(way(lambda x: np.sum((x - 1.0) ** 2)), start, optimizer=Adam(0.1), steps=200)
        numpy.testing.assert_allclose(result.params, 1.0, atol=1e-2)
        assert numpy.shape(result.params) == numpy.shape(start)
        assert result.params.dtype.isnative
        assert not numpy.any(start)


def test_the_start_is_not_shared_with_the_result():
    start = numpy.zeros(3)
    result = minimize(quadratic, start, optimizer=Adam(), steps=0)
    assert result.steps == 0 and result.losses.shape == (0,)
    assert result.params.tolist() == [0.0] * 3 and not numpy.shares_memory(result.params, start)


def test_derivative_through_the_steps(way):
    """The loop is ordinary code: what it returns can be differentiated with respect to what went in."""

    def reached(target, optimizer):
        loss = way(lambda x: (x - target) ** 2)
        return minimize(loss, 0.5 * target, optimizer=optimizer, steps=5).params

    # x - target shrinks by 1 - 2 * 0.1 in each step
    assert abs(grad(reached)(3.0, SGD(0.1)) - (1.0 - 0.5 * 0.8**5)) < 1e-12
    for optimizer in (Adam(0.1), SGD(0.1, 0.5, nesterov=True), RMSProp(0.1)):
        numeric = (reached(3.0 + 1e-5, optimizer) - reached(3.0 - 1e-5, optimizer)) / 2e-5
        assert abs(grad(reached)(3.0, optimizer) - numeric) < 1e-6


# ---------------------------------------------------------------- mini-batches


def seen_batches(steps, batch, seed, count=10):
    seen = []

    def loss(x, numbers, rows):
        assert numpy.array_equal(rows[:, 0], 10.0 * numbers)
        seen.append(numbers)  # a view: it must keep its rows
        return np.sum((x - numbers) ** 2)

    numbers = numpy.arange(float(count))
    rows = numpy.stack([10.0 * numbers, numbers], axis=1)
    minimize(loss, 0.0, data=(numbers, rows), batch=batch, seed=seed, optimizer=SGD(0.01), steps=steps)
    return [part.tolist() for part in seen]


def test_an_epoch_holds_every_row_once():
    seen = seen_batches(steps=15, batch=2, seed=0)
    assert [len(part) for part in seen] == [2] * 15
    epochs = [sum(seen[k : k + 5], []) for k in (0, 5, 10)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert epochs[0] != epochs[1] != epochs[2]


def test_rows_that_are_left_over_take_turns():
    seen = seen_batches(steps=12, batch=4, seed=0)
    left = [set(range(10)) - {*seen[k], *seen[k + 1]} for k in range(0, 12, 2)]
    assert all(len(rest) == 2 for rest in left)
    assert len(set(map(frozenset, left))) > 1


def test_seeds():
    assert seen_batches(7, 3, seed=1) == seen_batches(7, 3, seed=1)
    assert seen_batches(7, 3, seed=1) != seen_batches(7, 3, seed=2)
    assert seen_batches(7, 3, seed=None) != seen_batches(7, 3, seed=None)
    assert seen_batches(7, 3, seed=numpy.random.default_rng(1)) == seen_batches(7, 3, seed=1)


def test_data_may_be_shuffled_in_place_of_the_last_epoch(monkeypatch):
    """The copy of the data is made once, where nothing refers to it any more."""
    buffers = set()
    take = numpy.take

    def noted(array, order, axis, out, mode):
        buffers.add(out.ctypes.data)
        return take(array, order, axis=axis, out=out, mode=mode)

    monkeypatch.setattr(numpy, "take", noted)
    rows, signs = labelled()
    minimize(logistic, START, data=(rows, signs), batch=40, optimizer=SGD(0.1), steps=30)
    assert len(buffers) == 2


def test_data_of_any_kind(way):
    """Without mini-batches the data are whatever the loss takes; with them, arrays of any numbers."""
    labels = numpy.array([0, 2, 1, 0, 2])
    rows = numpy.eye(3)[labels] + 0.1

    def loss(weights, rows, labels, options=None):
        scores = rows @ weights
        one_hot = labels[:, None] == numpy.arange(3)
        return -np.mean(np.sum(scores * one_hot, axis=1) - np.log(np.sum(np.exp(scores), axis=1)))

    whole = minimize(
        way(loss), numpy.zeros((3, 3)), data=(rows, labels, {"any": "thing"}), optimizer=SGD(0.5), steps=100
    )
    parts = minimize(
        way(loss), numpy.zeros((3, 3)), data=(rows, labels), batch=2, seed=0, optimizer=SGD(0.5), steps=100
    )
    assert whole.losses[-1] < 0.4 * whole.losses[0]
    assert numpy.argmax(rows @ parts.params, axis=1).tolist() == labels.tolist()


# ---------------------------------------------------------------- chunks


def test_callback(way):
    seen = []
    result = minimize(
        way(quadratic),
        numpy.zeros(3),
        optimizer=Adam(0.1),
        steps=25,
        every=10,
        callback=lambda step, params, loss: seen.append((step, params.copy(), loss)),
    )
    assert [step for step, _, _ in seen] == [10, 20]
    assert [loss for _, _, loss in seen] == [result.losses[9], result.losses[19]]
    ten = minimize(way(quadratic), numpy.zeros(3), optimizer=Adam(0.1), steps=10)
    numpy.testing.assert_allclose(seen[0][1], ten.params, rtol=1e-12)
    assert result.steps == 25 and result.message == "all steps have been taken"


def test_callback_may_end_it(way):
    def callback(step, params, loss):
        if loss < 1.0:
            raise StopIteration

    result = minimize(
        way(quadratic), numpy.zeros(3), optimizer=Adam(0.1), steps=10_000, every=5, callback=callback
    )
    assert result.message == "the callback has ended it"
    assert result.steps % 5 == 0 and len(result.losses) == result.steps < 200
    assert result.losses[-1] < 1.0 <= result.losses[-6]
    exact = minimize(way(quadratic), numpy.zeros(3), optimizer=Adam(0.1), steps=result.steps)
    numpy.testing.assert_allclose(result.params, exact.params, rtol=1e-12)


def test_stop_iteration_of_the_loss_is_an_error():
    def loss(x):
        raise StopIteration

    with pytest.raises(StopIteration):
        minimize(loss, 0.0, optimizer=Adam(), steps=3)


def test_callback_of_a_search():
    seen = []
    result = minimize(
        rosenbrock,
        numpy.zeros(4),
        optimizer=LBFGS(),
        steps=200,
        every=7,
        callback=lambda step, params, loss: seen.append((step, loss)),
    )
    assert [step for step, _ in seen] == list(range(7, result.steps + 1, 7))
    assert [loss for _, loss in seen] == result.losses[6::7].tolist()


@pytest.mark.parametrize("batch", [None, 40])
def test_going_on_from_a_result(way, batch):
    data = labelled()
    arguments = {"data": data, "optimizer": Adam(0.05)}
    whole = minimize(way(logistic), START, steps=30, **arguments)
    first = minimize(way(logistic), START, steps=12, **arguments)
    second = minimize(way(logistic), first.params, steps=18, state=first.state, **arguments)
    numpy.testing.assert_allclose([*first.losses, *second.losses], whole.losses, rtol=1e-12)
    numpy.testing.assert_allclose(second.params["weights"], whole.params["weights"], rtol=1e-10)
    assert float(second.state.steps) == 30.0


@pytest.mark.parametrize("optimizer", [Adam(0.1), LBFGS()])
def test_interrupt(optimizer):
    """Ctrl-C in the middle of a chunk: what the last chunk had reached is in the exception."""
    calls = 0

    def loss(x):
        nonlocal calls
        calls += 1
        if calls == 25:
            signal.raise_signal(signal.SIGINT)
        return rosenbrock(x)

    with pytest.raises(KeyboardInterrupt) as caught:
        minimize(loss, numpy.array([-1.2, 1.0]), optimizer=optimizer, steps=100, every=10)
    assert type(caught.value) is Interrupted
    result = caught.value.result
    assert result.message == "interrupted"
    assert result.steps == 20 if isinstance(optimizer, Adam) else 5 < result.steps < 25
    again = minimize(rosenbrock, numpy.array([-1.2, 1.0]), optimizer=optimizer, steps=result.steps)
    assert again.params.tolist() == result.params.tolist()
    assert again.losses.tolist() == result.losses.tolist()


def test_interrupt_of_a_program():
    """Ctrl-C arrives while steps run without Python."""
    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(Interrupted) as caught:
            minimize(compile(quadratic), ONES, optimizer=Adam(0.1), steps=10**7, every=10**6)
    finally:
        timer.join()
    result = caught.value.result
    assert result.steps < 10**7 and result.steps % 10**6 == 0
    assert len(result.losses) == result.steps


def test_interrupt_during_an_epoch():
    calls = 0

    def loss(x, rows):
        nonlocal calls
        calls += 1
        if calls == 18:
            signal.raise_signal(signal.SIGINT)
        return np.sum((x - rows) ** 2)

    arguments = {"data": (numpy.arange(10.0),), "batch": 2, "seed": 0, "optimizer": SGD(0.01)}
    with pytest.raises(Interrupted) as caught:
        minimize(loss, 0.0, steps=100, **arguments)
    result = caught.value.result
    assert result.steps == 15  # three epochs
    assert minimize(loss, 0.0, steps=15, **arguments).params == result.params


def test_progress(capsys):
    pytest.importorskip("tqdm")
    minimize(quadratic, numpy.zeros(3), optimizer=Adam(0.1), steps=20, every=10, progress=True)
    shown = capsys.readouterr().err
    assert "20/20" in shown and "loss" in shown
    minimize(quadratic, numpy.zeros(3), optimizer=Adam(0.1), steps=20, every=10)
    assert capsys.readouterr().err == ""


def test_progress_without_tqdm(monkeypatch):
    load = builtins.__import__

    def without(name, *rest):
        if name == "tqdm":
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"progress=True needs tqdm; install it \(pip install tqdm\)"):
        minimize(quadratic, numpy.zeros(3), optimizer=Adam(), steps=1, progress=True)


# ---------------------------------------------------------------- messages


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: SGD(-1.0), ValueError, "SGD: step_size must be at least 0 and finite, got the float -1.0"),
        (lambda: SGD(float("nan")), ValueError, "SGD: step_size must be at least 0"),
        (lambda: SGD("0.1"), TypeError, "SGD: step_size must be a number, got the str '0.1'"),
        (lambda: SGD(0.1, 1.0), ValueError, "SGD: momentum must be at least 0 and less than 1"),
        (lambda: SGD(0.1, nesterov=True), ValueError, "SGD: momentum must be positive with nesterov=True"),
        (lambda: Adam(b1=1.0), ValueError, "Adam: b1 must be at least 0 and less than 1, got the float 1.0"),
        (lambda: Adam(b2=-0.1), ValueError, "Adam: b2 must be"),
        (lambda: Adam(eps=None), TypeError, "Adam: eps must be a number, got None"),
        (lambda: RMSProp(decay=2), ValueError, "RMSProp: decay must be .*, got the int 2"),
        (lambda: LBFGS(memory=0), ValueError, "LBFGS: memory must be a positive int, got the int 0"),
        (lambda: LBFGS(decrease=0.95), ValueError, "LBFGS: decrease must be between 0 and curvature"),
    ],
)
def test_options_are_checked(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"optimizer": Adam}, TypeError, r"must be an object, got the class Adam; write Adam\(...\)"),
        ({"optimizer": "adam"}, TypeError, "optimizer must have init and update, .* got the str 'adam'"),
        ({"steps": 1.5}, TypeError, "steps must be an int, got the float 1.5"),
        ({"steps": -1}, ValueError, "steps must be at least 0, got -1"),
        ({"every": 0}, ValueError, "every must be at least 1, got 0"),
        ({"callback": 3}, TypeError, "callback must be a function, got the int 3"),
        ({"data": numpy.ones(3)}, TypeError, r"must be a tuple such as \(x, y\) or \(x,\), got an array"),
        ({"batch": 2}, ValueError, "batch needs data"),
        ({"batch": 0, "data": (ONES,)}, ValueError, "batch must be at least 1, got 0"),
        ({"batch": 4, "data": (ONES,)}, ValueError, "batch is 4, but the data have only 3 rows"),
        ({"batch": 2, "data": (ONES, numpy.ones(4))}, ValueError, r"number of rows, got \[3, 4\]"),
        ({"batch": 2, "data": (ONES, 1.0)}, TypeError, r"data\[1\] must be an array .* with rows"),
        ({"batch": 2, "data": (["a", "b"],)}, TypeError, r"data\[0\] must be an array .*, got a list"),
        ({"batch": 2, "data": (ONES,), "optimizer": LBFGS()}, ValueError, "LBFGS cannot use mini-batches"),
        ({"params": {"a": None}}, ValueError, "the parameters, a dict, hold no float and no array of floats"),
        ({"params": 3}, TypeError, "the int 3 cannot be differentiated: pass a float instead"),
        ({"params": {"z": 1j}}, TypeError, r"the complex 1j cannot be .* imaginary part \(\['z'\]\)"),
        ({"params": numpy.ma.masked_array([1.0])}, TypeError, "mask"),
        ({"loss": lambda x: x * ONES}, TypeError, "the result must be one real number"),
    ],
)
def test_arguments_are_checked(changes, error, message):
    arguments = {"loss": np.sum, "params": 1.0, "optimizer": Adam(), "steps": 2, **changes}
    with pytest.raises(error, match=message):
        minimize(**arguments)


def test_optimisers_are_immutable_and_comparable():
    optimizer = Adam(0.1)
    with pytest.raises(AttributeError):
        optimizer.step_size = 0.2
    assert optimizer == Adam(numpy.float64(0.1)) != Adam(0.2)
    assert hash(optimizer) == hash(Adam(0.1))
    assert type(Adam(numpy.float64(0.1)).step_size) is float


def test_an_optimiser_of_ones_own_is_checked():
    class Growing:
        def init(self, params):
            return []

        def update(self, params, gradient, state):
            return params, [*state, 1.0]

    class Counting(Growing):
        def init(self, params):
            return 0

    with pytest.raises(ValueError, match="Growing.update changed the structure of the state"):
        minimize(quadratic, numpy.zeros(3), optimizer=Growing(), steps=2)
    with pytest.raises(TypeError, match="the state of Counting: the int 0 .* pass a float instead, e.g. 0.0"):
        minimize(quadratic, numpy.zeros(3), optimizer=Counting(), steps=2)


def test_a_gradient_of_another_structure_is_refused():
    optimizer, params = Adam(), {"a": 1.0, "b": 2.0}
    with pytest.raises(ValueError, match=r"expected a dict with the keys \['a', 'b'\], got the keys \['a'\]"):
        optimizer.update(params, {"a": 1.0}, optimizer.init(params))
