"""A small, slow tape in plain Python, written to be obviously right; the compiled one is compared with it.

It has NumPy's names for what random programs use, for numbers and arrays of float64. A `Var` is a value with
its place on a tape; an entry of the tape is a list of (place of an input, its shape, pullback).
"""

import numpy as np


class Var:
    """A value on a tape. NumPy leaves operations with it to its own operators."""

    __array_ufunc__ = None

    def __init__(self, value, tape, inputs=()):
        self.value, self.tape, self.place, self.shape = value, tape, len(tape), np.shape(value)
        tape.append(inputs)

    def __getitem__(self, index):
        def pullback(g):
            full = np.zeros(self.shape)
            np.add.at(full, index, g)
            return full

        return record(self.value[index], (self, pullback))

    def __gt__(self, other):
        return self.value > value_of(other)


def value_of(x):
    return x.value if isinstance(x, Var) else x


def record(value, *inputs):
    """Enter a result with its (input, pullback) pairs, or return it plain when no input is on a tape."""
    traced = [(x, pullback) for x, pullback in inputs if isinstance(x, Var)]
    if not traced:
        return value
    return Var(value, traced[0][0].tape, [(x.place, x.shape, pullback) for x, pullback in traced])


def unbroadcast(g, shape):
    """Sum a cotangent over the axes along which its value was repeated."""
    g = np.asarray(g)
    while g.ndim > len(shape):
        g = g.sum(axis=0)
    for axis, size in enumerate(shape):
        if size == 1:
            g = g.sum(axis=axis, keepdims=True)
    return g


def value_and_grad(fun, xs):
    """Value and gradients of a function of a list."""
    tape = []
    out = fun([Var(x, tape) for x in xs])
    adjoints = {out.place: 1.0} if isinstance(out, Var) else {}
    for place in reversed(range(len(tape))):
        for source, shape, pullback in tape[place] if place in adjoints else ():
            adjoints[source] = adjoints.get(source, 0.0) + unbroadcast(pullback(adjoints[place]), shape)
    return value_of(out), [np.broadcast_to(adjoints.get(k, 0.0), np.shape(x)) for k, x in enumerate(xs)]


def share(mine, other):
    """The part of a cotangent that the greater of two receives, or either where they are equal."""
    return np.where(mine == other, 0.5, (mine > other) * 1.0)


# Elementwise: one partial for each argument, from the result and the arguments.
PARTIALS = {
    "negative": [lambda y, a: -1.0],
    "sin": [lambda y, a: np.cos(a)],
    "cos": [lambda y, a: -np.sin(a)],
    "exp": [lambda y, a: np.exp(a)],
    "log": [lambda y, a: 1 / a],
    "sqrt": [lambda y, a: 0.5 * a**-0.5],
    "tanh": [lambda y, a: np.cosh(a) ** -2.0],
    "arctan": [lambda y, a: 1 / (1 + a * a)],
    "absolute": [lambda y, a: np.sign(a)],
    "add": [lambda y, a, b: 1.0, lambda y, a, b: 1.0],
    "subtract": [lambda y, a, b: 1.0, lambda y, a, b: -1.0],
    "multiply": [lambda y, a, b: b, lambda y, a, b: a],
    "divide": [lambda y, a, b: 1 / b, lambda y, a, b: -a / b**2],
    "power": [lambda y, a, b: b * a ** (b - 1.0), lambda y, a, b: y * np.log(np.where(a > 0, a, 1.0))],
    "maximum": [lambda y, a, b: share(a, b), lambda y, a, b: share(b, a)],
    "where": [lambda y, m, a, b: 0.0, lambda y, m, a, b: m * 1.0, lambda y, m, a, b: 1.0 - m],
}


def elementwise(name, partials):
    def fun(*args):
        values = [value_of(x) for x in args]
        y = getattr(np, name)(*values)
        rules = [lambda g, partial=partial: g * partial(y, *values) for partial in partials]
        return record(y, *zip(args, rules, strict=True))

    return fun


def matmul(a, b):
    left, right = np.asarray(value_of(a)), np.asarray(value_of(b))
    rows, columns = np.atleast_2d(left), right if right.ndim == 2 else right[:, None]
    matrix = (rows.shape[0], columns.shape[1])
    return record(
        left @ right,
        (a, lambda g: np.reshape(np.reshape(g, matrix) @ columns.T, left.shape)),
        (b, lambda g: np.reshape(rows.T @ np.reshape(g, matrix), right.shape)),
    )


def sum(x, axis=None):
    rows = () if axis is None else axis
    return record(np.sum(value_of(x), axis), (x, lambda g: np.expand_dims(g, rows) + np.zeros(x.shape)))


def mean(x, axis=None):
    return sum(x, axis) / (np.size(value_of(x)) / np.size(np.sum(value_of(x), axis)))


def max(x, axis=None):
    chosen = value_of(x) == np.max(value_of(x), axis, keepdims=True)
    weights, rows = chosen / np.sum(chosen, axis, keepdims=True), () if axis is None else axis
    return record(np.max(value_of(x), axis), (x, lambda g: weights * np.expand_dims(g, rows)))


def reshape(x, shape):
    return record(np.reshape(value_of(x), shape), (x, lambda g: np.reshape(g, x.shape)))


def transpose(x):
    return record(np.transpose(value_of(x)), (x, np.transpose))


def concatenate(xs, axis=0):
    ends = np.cumsum([np.shape(value_of(x))[axis] for x in xs])
    pairs = [(x, lambda g, k=k: np.split(g, ends[:-1], axis)[k]) for k, x in enumerate(xs)]
    return record(np.concatenate([value_of(x) for x in xs], axis), *pairs)


globals().update({name: elementwise(name, partials) for name, partials in PARTIALS.items()})
OPERATORS = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power"}
for short, name in [*OPERATORS.items(), ("matmul", "matmul")]:
    setattr(Var, f"__{short}__", globals()[name])
    setattr(Var, f"__r{short}__", lambda a, b, name=name: globals()[name](b, a))
