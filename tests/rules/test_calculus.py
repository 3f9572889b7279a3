"""Convolution, interpolation, slopes and polynomials: kinks, edges, and what the examples do not show."""

import autograd
import autograd.numpy as hips
import numpy as np
import pytest

import autograd_c.numpy as anp
from autograd_c import elementwise_grad, grad, jacobian, make_vjp
from autograd_c.test_util import check_grads

rng = np.random.default_rng(0)
X = rng.normal(size=6)


@pytest.mark.parametrize("product", [np.convolve, np.correlate])
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_every_length_and_mode(product, mode):
    for n in range(1, 6):
        for m in range(1, 6):
            a, v = X[:n], rng.normal(size=m)
            left = np.array([product(e, v, mode) for e in np.eye(n)]).T
            right = np.array([product(a, e, mode) for e in np.eye(m)]).T
            np.testing.assert_allclose(jacobian(lambda a: product(a, v, mode))(a), left, atol=1e-14)  # noqa: B023
            np.testing.assert_allclose(jacobian(lambda v: product(a, v, mode))(v), right, atol=1e-14)  # noqa: B023


def test_interp_at_and_beyond_the_knots():
    knots, values = np.array([0.0, 1.0, 3.0]), np.array([1.0, 3.0, 2.0])
    x = np.array([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0])
    slopes = elementwise_grad(lambda x: anp.interp(x, knots, values))(x)
    np.testing.assert_array_equal(slopes, [0.0, 2.0, 2.0, -0.5, -0.5, -0.5, 0.0])
    ends = jacobian(lambda fp: anp.interp(np.array([-1.0, 4.0]), knots, fp))(values)
    np.testing.assert_array_equal(ends, [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    given = jacobian(lambda fp: anp.interp(np.array([-1.0, 4.0]), knots, fp, left=0.0, right=9.0))(values)
    np.testing.assert_array_equal(given, np.zeros((2, 3)))
    assert grad(lambda end: anp.interp(-1.0, knots, values, end))(5.0) == 1.0


def test_interp_by_knots_and_with_equal_knots():
    check_grads(lambda xp: anp.interp(np.array([0.3, 1.7, 2.9]), xp, X[:4]))(np.array([0.0, 1.0, 2.0, 3.5]))
    check_grads(lambda fp: anp.interp(np.array([0.3, 1.7]), [0.0, 1.0, 1.0, 2.0], fp))(X[:4])
    np.testing.assert_array_equal(
        jacobian(lambda fp: anp.interp(np.array([0.0, 2.0]), [1.0], fp))(X[:1]), np.ones((2, 1))
    )
    with pytest.raises(ValueError, match="period"):
        grad(lambda x: anp.interp(x, [0.0, 1.0], [0.0, 1.0], period=0))(0.5)


def test_trapezoid_and_gradient_by_their_spacing():
    x = np.array([0.0, 0.7, 1.1, 2.0, 2.2, 3.0])
    check_grads(lambda y, x: anp.trapezoid(y, x), argnum=(0, 1))(X, x)
    check_grads(lambda y, d: anp.trapezoid(y, dx=d), argnum=(0, 1))(X, 0.3)
    for order in (1, 2):
        check_grads(lambda f, x: anp.gradient(f, x, edge_order=order), argnum=(0, 1))(X, x)  # noqa: B023
        check_grads(lambda f, h: anp.gradient(f, h, edge_order=order), argnum=(0, 1))(X, 0.3)  # noqa: B023
    integers = make_vjp(lambda f: anp.gradient(f, np.array([0, 1, 3, 4, 6, 7])))(X)[1]
    np.testing.assert_array_equal(integers, np.gradient(X, np.array([0, 1, 3, 4, 6, 7])))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((0.1, 0.2), "2 spacings"),
        ((np.arange(3.0),), "coordinates"),
    ],
)
def test_gradient_refuses_wrong_spacings(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make_vjp(lambda f: anp.gradient(f, *arguments))(X)
    with pytest.raises(ValueError, match="edge_order"):
        make_vjp(lambda f: anp.gradient(f, edge_order=3))(X)
    with pytest.raises(ValueError, match="3 points"):
        make_vjp(lambda f: anp.gradient(f, edge_order=2))(X[:2])


def test_gradient_is_that_of_hips():
    f = rng.normal(size=(4, 5))
    for axis in (0, 1):
        ours = grad(lambda f: anp.sum(anp.sin(anp.gradient(f, axis=axis))))(f)  # noqa: B023
        theirs = autograd.grad(lambda f: hips.sum(hips.sin(hips.gradient(f, axis=axis))))(f)  # noqa: B023
        np.testing.assert_allclose(ours, theirs, atol=1e-14)


def test_unwrap_adds_constants():
    phase = np.array([0.1, 3.0, -3.0, -0.5, 2.9])
    np.testing.assert_array_equal(jacobian(np.unwrap)(phase), np.eye(5))


def test_polynomials():
    p, q = X[:4], np.array([1.5, -0.5, 2.0])
    check_grads(lambda q: anp.polydiv(p, q), argnum=0)(q)
    check_grads(lambda p: anp.polyval(p, 1.3))(p)
    check_grads(lambda x: anp.polyval(np.poly1d(p), x))(0.7)
    check_grads(lambda k: anp.polyint(p, 2, k))(X[:2])
    np.testing.assert_allclose(
        jacobian(lambda r: anp.poly(r))(np.array([2.0, 3.0])), [[0, 0], [-1, -1], [3, 2]]
    )
    for function, name in ((np.polyder, "polyder"), (np.polyint, "polyint")):
        with pytest.raises(ValueError, match=name):
            make_vjp(lambda p: function(p, -1))(p)  # noqa: B023


@pytest.mark.parametrize("function", [np.roots, lambda y: np.polyfit(np.arange(6.0), y, 2)])
def test_refused_with_advice(function):
    with pytest.raises(TypeError, match="np.linalg"):
        make_vjp(function)(X)
