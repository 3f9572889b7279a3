"""The compiled tape against the reference tape, on 1,000 random programs.

A program is a list of steps, each a function of earlier values: numbers and arrays of several shapes, used
any number of times. It is drawn while it runs on plain NumPy, so that every step stays inside its domain and
away from overflow.
"""

import operator

import numpy as onp
import pytest
import reference_tape

import autograd_c.numpy as np
from autograd_c import hvp, jvp, value_and_grad

PROGRAMS = 1000
SHAPES = [(), (3,), (4,), (2, 3), (3, 2), (1, 3), (2, 1), (3, 3)]
INDICES = [
    0,
    -1,
    slice(None, None, -1),
    slice(1, None),
    (slice(None), 0),
    (Ellipsis, None),
    (0, -1),
    [0, 0, -1],
    (onp.array([0, 1]), onp.array([1, 1])),
    None,
]


class Step:
    """One step: the name of a function, its operands (places of earlier values or constants) and the rest."""

    def __init__(self, name, operands, *rest, as_operator=False):
        self.name = name
        self.operands = operands
        self.rest = rest
        self.as_operator = as_operator

    def run(self, namespace, values):
        args = [values[place] if isinstance(place, int) else place.value for place in self.operands]
        if self.name == "getitem":
            return args[0][self.rest[0]]
        if self.name == "concatenate":
            return namespace.concatenate(args, *self.rest)
        if self.name == "branch":
            return args[0] if values[0] > self.rest[0] else args[1]
        fun = getattr(operator, self.as_operator) if self.as_operator else getattr(namespace, self.name)
        return fun(*args, *self.rest)


class Constant:
    def __init__(self, value):
        self.value = value


UNARY = {
    "negative": lambda x: True,
    "sin": lambda x: True,
    "cos": lambda x: True,
    "tanh": lambda x: True,
    "arctan": lambda x: True,
    "exp": lambda x: onp.max(x) < 3,
    "log": lambda x: onp.min(x) > 0.1,
    "sqrt": lambda x: onp.min(x) > 0.1,
    "absolute": lambda x: onp.min(onp.abs(x)) > 1e-3,
}
BINARY = {
    "add": ("add", lambda x, y: True),
    "subtract": ("sub", lambda x, y: True),
    "multiply": ("mul", lambda x, y: True),
    "divide": ("truediv", lambda x, y: onp.min(onp.abs(y)) > 0.2),
    "power": ("pow", lambda x, y: onp.min(x) > 0.2 and onp.max(onp.abs(y)) < 3),
    "maximum": (None, lambda x, y: True),
    "matmul": ("matmul", lambda x, y: 0 < onp.ndim(x) < 3 and 0 < onp.ndim(y) < 3),
}


def draw_input(rng):
    shape = SHAPES[rng.integers(len(SHAPES))]
    value = rng.uniform(-2.0, 2.0, shape)
    return float(value) if shape == () and rng.random() < 0.7 else value


def draw_operand(rng, values):
    """The place of an earlier value, recent ones more often, or now and then a constant."""
    if rng.random() < 0.15:
        return Constant([2, 0.5, -1.5, rng.uniform(0.5, 2.0, 3), onp.float64(1.25)][rng.integers(5)])
    return int(len(values) - 1 - min(rng.geometric(0.25) - 1, len(values) - 1))


def draw_step(rng, values):
    place = draw_operand(rng, values)
    while isinstance(place, Constant):
        place = draw_operand(rng, values)
    x = values[place]
    ndim = onp.ndim(x)
    kind = rng.choice(["unary", "binary", "binary", "reduce", "shape", "index", "where", "join", "branch"])
    if kind == "unary":
        name = rng.choice(list(UNARY))
        return Step(name, [place]) if UNARY[name](x) else None
    if kind == "binary":
        name = rng.choice(list(BINARY))
        symbol, inside = BINARY[name]
        operands = [place, draw_operand(rng, values)]
        if rng.random() < 0.5:
            operands.reverse()
        numbers = [values[o] if isinstance(o, int) else o.value for o in operands]
        as_operator = symbol is not None and rng.random() < 0.6 and symbol
        return Step(name, operands, as_operator=as_operator) if inside(*numbers) else None
    if kind == "reduce" and ndim:
        axis = [None, *range(-1, ndim)][rng.integers(ndim + 2)]
        return Step(rng.choice(["sum", "mean", "max"]), [place], axis)
    if kind == "shape" and ndim:
        name = rng.choice(["transpose", "reshape"])
        return Step(name, [place], *([(-1,) if ndim > 1 else (-1, 1)] if name == "reshape" else []))
    if kind == "index" and ndim:
        return Step("getitem", [place], INDICES[rng.integers(len(INDICES))])
    if kind == "where":
        mask = Constant(rng.random(onp.shape(x)) < 0.5 if rng.random() < 0.7 else rng.random(3) < 0.5)
        return Step("where", [mask, place, draw_operand(rng, values)])
    if kind == "join" and ndim:
        return Step("concatenate", [place, draw_operand(rng, values), place], int(rng.integers(ndim)))
    if kind == "branch" and onp.ndim(values[0]) == 0:
        return Step("branch", [place, draw_operand(rng, values)], float(rng.uniform(-2, 2)))
    return None


class Program:
    """Steps, inputs and the weights of the values that make up the result."""

    def __init__(self, seed):
        rng = onp.random.default_rng(seed)
        self.inputs = [draw_input(rng) for _ in range(rng.integers(1, 5))]
        self.steps = []
        values = list(self.inputs)
        while len(self.steps) < 5 + seed % 16:
            step = draw_step(rng, values)
            value = None if step is None else run_if_valid(step, values)
            if value is not None:
                self.steps.append(step)
                values.append(value)
        self.weights = [rng.uniform(0.5, 1.5, onp.shape(value)) for value in values[-3:]]
        self.directions = [rng.uniform(-1.0, 1.0, onp.shape(x)) for x in self.inputs]
        self.value = self(onp, self.inputs)

    def __call__(self, namespace, inputs):
        values = list(inputs)
        for step in self.steps:
            values.append(step.run(namespace, values))
        total = 0.0
        for weight, value in zip(self.weights, values[-3:], strict=True):
            total = total + namespace.sum(weight * value)
        return total


def vector_and_number(program):
    """Functions of the program's inputs: its last three values as a vector, and a sum over these."""

    def vector(*inputs):
        values = list(inputs)
        for step in program.steps:
            values.append(step.run(np, values))
        return np.concatenate([np.ravel(value) for value in values[-3:]])

    def number(*inputs):
        return np.sum(np.sin(vector(*inputs)))

    return vector, number


def run_if_valid(step, values):
    """The value of a step, or None when NumPy refuses it or it is too large."""
    try:
        value = step.run(onp, values)
    except (ValueError, IndexError, TypeError):
        return None
    fits = 0 < onp.size(value) <= 64 and onp.ndim(value) <= 3 and onp.max(onp.abs(value)) < 100
    return value if fits else None


def assert_close(got, expected, rtol):
    """Within a relative error of the largest element of all gradients."""
    scale = max(1.0, *(onp.max(onp.abs(e)) for e in expected))
    for g, e in zip(got, expected, strict=True):
        assert onp.shape(g) == onp.shape(e)
        onp.testing.assert_allclose(g, e, rtol=0, atol=rtol * scale)


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_value_and_gradient(seed):
    program = Program(seed)
    expected_value, expected = reference_tape.value_and_grad(
        lambda xs: program(reference_tape, xs), program.inputs
    )
    value, slopes = value_and_grad(lambda xs: program(np, xs))(program.inputs)
    assert value == program.value
    assert value == pytest.approx(expected_value, rel=1e-12)
    assert_close(slopes, expected, 1e-11)

    value, tangent = jvp(lambda xs: program(np, xs), (program.inputs,), (program.directions,))
    assert value == program.value
    along = sum(onp.sum(g * d) for g, d in zip(expected, program.directions, strict=True))
    assert_close([tangent], [along], 1e-11 * max(1.0, *(onp.max(onp.abs(e)) for e in expected)))


@pytest.mark.parametrize("seed", range(0, PROGRAMS, 10))
def test_second_derivatives(seed):
    program = Program(seed)

    def slopes_at(step):
        moved = [x + step * d for x, d in zip(program.inputs, program.directions, strict=True)]
        return reference_tape.value_and_grad(lambda xs: program(reference_tape, xs), moved)[1]

    h = 1e-5
    expected = [(a - b) / (2 * h) for a, b in zip(slopes_at(h), slopes_at(-h), strict=True)]
    product = hvp(lambda xs: program(np, xs), (program.inputs,), (program.directions,))
    assert_close(product, expected, 1e-6)


def test_programs_use_everything():
    """A generator that silently stops drawing some kind of step would test less than it says."""
    programs = [Program(seed) for seed in range(0, PROGRAMS, 5)]
    names = {step.name for program in programs for step in program.steps}
    assert names == {*UNARY, *BINARY, "sum", "mean", "max", "transpose", "reshape"} | {
        "getitem",
        "where",
        "concatenate",
        "branch",
    }
    assert {onp.shape(x) for program in programs for x in program.inputs} == set(SHAPES)
    depends = [
        any(
            onp.any(g)
            for g in reference_tape.value_and_grad(lambda xs, p=p: p(reference_tape, xs), p.inputs)[1]
        )
        for p in programs
    ]
    assert onp.mean(depends) > 0.95
