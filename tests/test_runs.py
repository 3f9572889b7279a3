"""Runs: consecutive elementwise entries over long arrays are swept block by block, and agree with short ones.

An elementwise program on a long array must give what it gives on each piece of the array: pieces are short
enough to be swept entry by entry, so the two ways of the sweep are compared.
"""

import numpy
import pytest

import autograd_c.numpy as np
from autograd_c import grad, make_vjp
from autograd_c.extend import elementwise

LENGTH = 20_011  # not a multiple of the block, and longer than `LONG_ARRAY`
PIECE = 4_000


def chain(x, y):
    return np.tanh(x) * np.exp(-(x**2)) + np.log1p(x**2) * y


def shared(x, y):
    s = x * y + x
    return s * (x - y) / y + s


def choices(x, y):
    return np.where(x > 0, x * y, -x) * np.maximum(x, y)


def passed_on(x, y):
    return np.negative(np.negative(x + y)) + (x + y) * 2.0


def many_entries(x, y):
    for _ in range(40):
        x = np.sin(x) + 0.5 * y
    return x


PROGRAMS = [chain, shared, choices, passed_on, many_entries]


def inputs(shape=(LENGTH,)):
    rng = numpy.random.default_rng(0)
    return rng.normal(size=shape), rng.normal(size=shape) + 3.0


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_long_array_is_swept_like_its_pieces(program, weighted):
    arguments = inputs()
    weights = numpy.cos(numpy.arange(LENGTH)) if weighted else numpy.ones(LENGTH)
    pullback, _ = make_vjp(program, argnum=(0, 1))(*arguments)
    long = pullback(weights)
    for again, first in zip(pullback(weights), long, strict=True):
        numpy.testing.assert_array_equal(again, first)
    for start in range(0, LENGTH, PIECE):
        part = slice(start, start + PIECE)
        short = make_vjp(program, argnum=(0, 1))(*(a[part] for a in arguments))[0](weights[part])
        for a, b in zip(long, short, strict=True):
            numpy.testing.assert_allclose(a[part], b, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_stretched_cotangent_and_other_entries_around_a_run(program):
    arguments = inputs((100, 200))

    def total(x, y):
        inner = program(x, y)
        return np.sum(inner[1:] * 2.0) + np.mean(inner) + np.sum(x * np.sum(inner, axis=0))

    def by_rows(x, y):
        inner = [program(a, b) for a, b in zip(x, y, strict=True)]
        columns = sum(inner)
        return (
            sum(2.0 * np.sum(row) for row in inner[1:])
            + sum(np.sum(row) for row in inner) / x.size
            + sum(np.sum(row * columns) for row in x)
        )

    for k in (0, 1):
        expected = grad(by_rows, k)(*arguments)
        numpy.testing.assert_allclose(grad(total, k)(*arguments), expected, rtol=1e-9, atol=1e-9)


def test_the_cotangent_that_was_passed_in_is_not_written_to():
    x, y = inputs()
    weights = numpy.ones(LENGTH)
    pullback, _ = make_vjp(lambda x: np.exp(x) * y)(x)
    pullback(weights)
    numpy.testing.assert_array_equal(weights, 1.0)


def test_elementwise_primitives_take_as_many_arguments_as_they_have_partials():
    scaled = elementwise(lambda x, k=2.0: k * x, lambda ans, x: 2.0, name="scaled")
    with pytest.raises(TypeError, match="scaled takes 1 arguments"):
        grad(lambda x: scaled(x, 3.0))(1.0)


@pytest.mark.parametrize(
    "call", [lambda x, out: np.cumsum(x, 0, None, out), lambda x, out: np.sum(x, 0, None, out)]
)
def test_out_by_position_is_refused(call):
    out = numpy.zeros(3)
    with pytest.raises(TypeError, match="out= by keyword"):
        grad(lambda x: np.sum(call(x, out)))(numpy.ones(3))
