"""reduce, accumulate, reduceat, outer and at, through plain NumPy and through our namespace."""

import numpy
import pytest

import autograd_c.numpy as np
from autograd_c import grad, jacobian, jvp
from autograd_c.test_util import check_grads


def draw(*shape, seed=0):
    return numpy.random.default_rng(seed).standard_normal(shape)


REDUCED = ["add", "multiply", "maximum", "minimum", "fmax", "fmin", "logaddexp", "logaddexp2"]


@pytest.mark.parametrize("module", [np, numpy], ids=["ours", "plain"])
@pytest.mark.parametrize("name", REDUCED)
def test_reduce_and_accumulate(module, name):
    x, ufunc = draw(4, 3), getattr(module, name)
    plain = getattr(numpy, name)
    for kwargs in ({}, {"axis": 1}, {"axis": None}, {"axis": (0, 1), "keepdims": True}):
        assert_same(
            jvp(lambda x, kwargs=kwargs: ufunc.reduce(x, **kwargs), (x,), (x,))[0], plain.reduce(x, **kwargs)
        )
        check_grads(lambda x, kwargs=kwargs: ufunc.reduce(x, **kwargs))(x)
    for kwargs in ({}, {"axis": 1}, {"axis": -2}):
        assert_same(
            jvp(lambda x, kwargs=kwargs: ufunc.accumulate(x, **kwargs), (x,), (x,))[0],
            plain.accumulate(x, **kwargs),
        )
        check_grads(lambda x, kwargs=kwargs: ufunc.accumulate(x, **kwargs))(x)


def assert_same(got, expected):
    assert numpy.asarray(got).tobytes() == numpy.asarray(expected).tobytes()


def test_plain_arguments_go_straight_to_numpy():
    x = draw(3)
    for name in ("add", "maximum"):
        ours, plain = getattr(np, name), getattr(numpy, name)
        assert_same(ours.reduce(x), plain.reduce(x))
        assert_same(ours.accumulate(x), plain.accumulate(x))
        assert_same(ours.outer(x, x), plain.outer(x, x))
        assert_same(ours.reduceat(x, [0, 2]), plain.reduceat(x, [0, 2]))
        y, z = x.copy(), x.copy()
        ours.at(y, [0, 0], 1.0)
        plain.at(z, [0, 0], 1.0)
        assert_same(y, z)


# ---------------------------------------------------------------- kinks and infinities


def test_a_running_maximum_gives_a_tie_to_the_first():
    x = numpy.array([1.0, 3.0, 2.0, 3.0, 4.0, 4.0])
    g = grad(lambda x: np.maximum.accumulate(x) @ numpy.arange(1.0, 7.0))(x)
    numpy.testing.assert_array_equal(g, [1.0, 9.0, 0.0, 0.0, 11.0, 0.0])
    g = grad(lambda x: np.minimum.accumulate(x) @ numpy.arange(1.0, 7.0))(x)
    numpy.testing.assert_array_equal(g, [21.0, 0.0, 0.0, 0.0, 0.0, 0.0])


def test_running_extremes_and_nan():
    x = numpy.array([numpy.nan, 1.0, 0.0, 2.0])
    numpy.testing.assert_array_equal(
        grad(lambda x: np.fmax.accumulate(x)[1:] @ numpy.array([1.0, 2.0, 4.0]))(x), [0.0, 3.0, 0.0, 4.0]
    )
    g = grad(lambda x: np.sum(np.maximum.accumulate(x[::-1])[:3]))(x)
    numpy.testing.assert_array_equal(g, [0.0, 0.0, 0.0, 3.0])


def test_logaddexp_of_minus_infinity():
    x = numpy.array([-numpy.inf, 0.0, -numpy.inf, 1.0])
    numpy.testing.assert_allclose(
        grad(np.logaddexp.reduce)(x), [0, 1 / (1 + numpy.e), 0, numpy.e / (1 + numpy.e)], rtol=1e-15
    )
    numpy.testing.assert_array_equal(grad(np.logaddexp.reduce)(numpy.full(3, -numpy.inf)), numpy.zeros(3))
    got = jacobian(np.logaddexp.accumulate)(x)
    s = 1 / (1 + numpy.e)
    numpy.testing.assert_allclose(
        got, [[0] * 4, [0, 1, 0, 0], [0, 1, 0, 0], [0, s, 0, 1 - s]], rtol=1e-15, atol=0
    )


def test_multiply_with_zeros():
    x = numpy.array([2.0, 0.0, 3.0, 0.0])
    check_grads(np.multiply.reduce, order=3)(x)
    check_grads(np.multiply.accumulate, order=3)(x)


# ---------------------------------------------------------------- reduceat


@pytest.mark.parametrize("indices", [[0], [3], [0, 2, 4], [4, 2, 0], [1, 1, 1], [0, 4, 1, 5, 2, 6]])
def test_reduceat(indices):
    for module in (np, numpy):
        x = draw(7)
        value = jvp(lambda x, module=module: module.add.reduceat(x, indices), (x,), (x,))[0]
        assert_same(value, numpy.add.reduceat(x, indices))
        check_grads(lambda x, module=module: module.add.reduceat(x, indices))(x)
        check_grads(lambda x, module=module: module.add.reduceat(x, indices, axis=1))(draw(2, 7))


# ---------------------------------------------------------------- outer


@pytest.mark.parametrize("module", [np, numpy], ids=["ours", "plain"])
@pytest.mark.parametrize(
    "name", ["add", "subtract", "multiply", "divide", "arctan2", "maximum", "logaddexp", "hypot"]
)
def test_outer(module, name):
    for a, b in (
        (draw(3), draw(2, 4, seed=1)),
        (draw(2, 2), draw(3, seed=1)),
        (1.5, draw(3)),
        (draw(3), 1.5),
    ):
        outer = getattr(module, name).outer
        value = jvp(outer, (a, b), (a, b))[0]
        assert_same(value, getattr(numpy, name).outer(a, b))
        check_grads(lambda p, outer=outer: outer(*p))((a, b))


def test_outer_comparison_is_constant():
    x = draw(3)
    g = grad(lambda x: np.sum(np.where(np.less.outer(x, x), x, 0.0)))(x)
    numpy.testing.assert_array_equal(g, (x[:, None] < x).sum(axis=0))


# ---------------------------------------------------------------- at


@pytest.mark.parametrize("module", [np, numpy], ids=["ours", "plain"])
@pytest.mark.parametrize("name", ["add", "subtract"])
def test_at_updates_a_traced_array(module, name):
    x, b = draw(4, 2), draw(2, seed=1)

    def f(p):
        y = p[0] * 1.0
        getattr(module, name).at(y, [0, 2, 0], p[1])
        return y

    expected = x.copy()
    getattr(numpy, name).at(expected, [0, 2, 0], b)
    numpy.testing.assert_allclose(jvp(f, ((x, b),), ((x, b),))[0], expected, rtol=1e-15)
    check_grads(f)((x, b))


def test_at_of_a_plain_array_is_refused():
    for module in (np, numpy):
        with pytest.raises(TypeError, match=r"add\.at: a plain array.*np\.zeros\(n, like=b\)"):
            grad(lambda b, module=module: module.add.at(numpy.zeros(3), [0, 0], b))(1.0)


# ---------------------------------------------------------------- refusals


def test_other_methods_are_refused():
    x = draw(4)
    for module in (np, numpy):
        with pytest.raises(TypeError, match=r"hypot\.reduce.*autograd_c\.numpy"):
            grad(lambda x, module=module: module.hypot.reduce(x))(x)
        with pytest.raises(TypeError, match=r"multiply\.reduceat"):
            grad(lambda x, module=module: np.sum(module.multiply.reduceat(x, [0, 2])))(x)
        with pytest.raises(TypeError, match=r"multiply\.at"):
            grad(lambda x, module=module: module.multiply.at(x, [0, 2], 2.0))(x)
    with pytest.raises(TypeError, match=r"add\.reduce: out="):
        grad(lambda x: np.add.reduce(x, out=numpy.zeros(())))(x)
    with pytest.raises(TypeError, match="initial"):
        grad(lambda t: np.add.reduce(x, initial=t))(1.0)


def test_logical_reductions_are_constant():
    x = draw(4)
    g = grad(lambda x: np.sum(x) * np.logical_and.reduce(x) * numpy.logical_or.reduce(x))(x)
    numpy.testing.assert_array_equal(g, numpy.ones(4))
