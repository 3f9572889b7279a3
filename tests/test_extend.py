"""Users' own primitives, in HIPS/autograd's way. Those defined by partials are in test_elementwise.py."""

import math

import numpy
import pytest

import autograd_c.numpy as np
from autograd_c import grad, hessian, jvp, make_vjp
from autograd_c.extend import (
    VSpace,
    def_linear,
    defjvp,
    defjvp_argnum,
    defjvp_argnums,
    defvjp,
    defvjp_argnum,
    defvjp_argnums,
    notrace_primitive,
    primitive,
    rule,
    vspace,
)
from autograd_c.test_util import check_grads

X = numpy.array([0.3, -0.7, 1.2])


def product():
    """A fresh primitive of two arguments that has no rules yet."""

    @primitive
    def times(x, y):
        """Says what it does."""
        return x * y

    return times


# --- rules for each argument ----------------------------------------------------------------------


def test_vjp_and_jvp_with_keyword_arguments():
    @primitive
    def logsumexp(x, k=1.0):
        return numpy.log(numpy.sum(numpy.exp(k * x))) / k

    defvjp(logsumexp, lambda ans, x, k=1.0: lambda g: g * np.exp(k * x - k * ans))
    defjvp(logsumexp, lambda t, ans, x, k=1.0: np.sum(t * np.exp(k * x - k * ans)))
    check_grads(logsumexp, order=3)(X)
    check_grads(lambda x: logsumexp(x, k=2.5), order=2)(X)


def test_without_a_rule_the_error_says_how_to_give_one():
    with pytest.raises(TypeError, match=r"times cannot be differentiated: .*defvjp"):
        grad(product())(1.0, 2.0)


def test_a_primitive_keeps_name_and_documentation():
    times = product()
    assert (times.__name__, times.__doc__) == ("times", "Says what it does.")
    assert times(2, 3) == 6


def test_argnums_name_the_arguments_that_makers_belong_to():
    times = primitive(lambda name, x, y: x * y)
    defvjp(
        times,
        lambda ans, name, x, y: lambda g: g * y,
        lambda ans, name, x, y: lambda g: g * x,
        argnums=(1, 2),
    )
    assert grad(times, (1, 2))("any", 2.0, 3.0) == (3.0, 2.0)


def test_none_is_a_derivative_of_zero():
    joined = primitive(lambda x, y: numpy.concatenate([x, y, y]))
    defvjp(joined, lambda ans, x, y: lambda g: g[:2], None)
    defjvp(joined, lambda t, ans, x, y: np.concatenate([t, np.zeros(6)]), None)

    def f(x, y):
        return np.sum(joined(x, y) * math.inf)

    by_x, by_y = grad(f, (0, 1))(numpy.ones(2), numpy.ones(3))
    assert numpy.array_equal(by_x, [math.inf, math.inf])
    assert numpy.array_equal(by_y, numpy.zeros(3))
    tangent = jvp(lambda y: joined(y[:2], y), (numpy.full(3, math.inf),), (numpy.ones(3),))[1]
    assert numpy.array_equal(tangent, [1.0, 1.0, 0, 0, 0, 0, 0, 0])
    assert numpy.array_equal(jvp(joined, (numpy.ones(2), X), (numpy.zeros(2), X))[1], numpy.zeros(8))


def test_a_vjp_may_return_a_number_for_an_array():
    total = primitive(lambda x: numpy.sum(x))
    defvjp(total, lambda ans, x: lambda g: 2.0)
    assert numpy.array_equal(grad(total)(X), [2.0, 2.0, 2.0])


def test_a_primitive_of_containers():
    total = primitive(lambda xs, y: sum(xs) * y)
    defvjp(total, lambda ans, xs, y: lambda g: [g * y for _ in xs], lambda ans, xs, y: lambda g: g * sum(xs))
    assert grad(total, (0, 1))([1.0, 2.0], 5.0) == ([5.0, 5.0], 3.0)
    assert numpy.array_equal(grad(lambda x: total([x[0], x[1]], x[2]))(X), [X[2], X[2], X[0] + X[1]])


def test_a_primitive_with_several_results():
    both = primitive(lambda x: (2 * x, x * x))
    defvjp(both, lambda ans, x: lambda g: 2 * g[0] + 2 * x * g[1])
    assert grad(lambda x: both(x)[0] * both(x)[1])(3.0) == 6 * 9.0


def test_a_primitive_as_a_method():
    class Scale:
        @primitive
        def by_two(self, x):
            return 2 * x

    defvjp(Scale.by_two, None, lambda ans, self, x: lambda g: 2 * g)
    assert grad(lambda x: Scale().by_two(x))(3.0) == 2.0


# --- one rule for several arguments ---------------------------------------------------------------


def by_argnum(times):
    defvjp_argnum(times, lambda argnum, ans, args, kwargs: lambda g: g * args[1 - argnum])
    defjvp_argnum(times, lambda argnum, t, ans, args, kwargs: t * args[1 - argnum])


def by_argnums(times):
    defvjp_argnums(
        times, lambda argnums, ans, args, kwargs: lambda g: tuple(g * args[1 - k] for k in argnums)
    )
    defjvp_argnums(
        times,
        lambda argnums, ts, ans, args, kwargs: sum(t * args[1 - k] for k, t in zip(argnums, ts, strict=True)),
    )


def linear_in_each(times):
    defvjp(times, lambda ans, x, y: lambda g: g * y, lambda ans, x, y: lambda g: g * x)
    def_linear(times)


@pytest.mark.parametrize("define", [by_argnum, by_argnums, linear_in_each])
def test_rules_for_all_arguments(define):
    times = product()
    define(times)
    check_grads(times, (0, 1), order=2)(X, X[::-1].copy())
    check_grads(times, 0, order=2)(X, 2.0)
    check_grads(lambda x: times(x, x), order=3)(1.5)


def test_notrace_primitive_is_a_constant_of_the_trace():
    seen = []
    rounded = notrace_primitive(lambda x: seen.append(type(x)) or numpy.round(x))
    assert grad(lambda x: x * rounded(x))(2.6) == 3.0
    assert hessian(lambda x: np.sum(x * rounded(x)))(X).any() == numpy.False_
    assert set(seen) <= {float, numpy.float64, numpy.ndarray}


# --- errors ---------------------------------------------------------------------------------------


def test_what_is_missing_is_named():
    times = product()
    defvjp(times, lambda ans, x, y: lambda g: g * y)
    assert grad(times)(2.0, 3.0) == 3.0
    with pytest.raises(TypeError, match=r"times has no vjp with respect to argument 1.*defvjp"):
        grad(times, 1)(2.0, 3.0)
    with pytest.raises(TypeError, match=r"times has no forward rule.*defjvp"):
        jvp(times, (2.0, 3.0), (1.0, 1.0))


@pytest.mark.parametrize("define", [defvjp, defjvp, defvjp_argnum, defjvp_argnums])
def test_rules_belong_to_primitives(define):
    with pytest.raises(TypeError, match=f"{define.__name__} takes a function made by @primitive"):
        define(math.sin, lambda *args: None)


def test_an_argument_has_rules_for_both_modes_or_none():
    with pytest.raises(ValueError, match="argument 1 has a rule for one mode only"):
        rule(lambda x, y: x * y, (lambda g, ans, x, y: g * y,) * 2, (lambda t, ans, x, y: t * y, None))


# --- vector spaces --------------------------------------------------------------------------------


def test_vector_spaces():
    real, complex_ = vspace(X), vspace(numpy.ones((2, 1), numpy.complex64))
    assert (real.shape, real.ndim, real.size, real.dtype) == ((3,), 1, 3, numpy.float64)
    assert (complex_.shape, complex_.ndim, complex_.size, complex_.iscomplex) == ((2, 1), 2, 4, True)
    assert real == VSpace([1.0, 2.0, 3.0]) and hash(real) == hash(vspace(X)) and real != complex_
    for space in (real, complex_, vspace(1.5)):
        for vector in (space.zeros(), space.ones(), space.randn(), *space.standard_basis()):
            assert vspace(vector) == space
        basis = list(space.standard_basis())
        products = [[space.inner_prod(a, b) for b in basis] for a in basis]
        assert numpy.array_equal(products, numpy.eye(space.size))
    assert numpy.array_equal(complex_.covector(numpy.array([[1j], [2]])), [[-1j], [2]])
    assert numpy.array_equal(real.add(X, real.scalar_mul(X, 2.0)), X + 2.0 * X)


def test_a_traced_value_has_the_space_of_its_value():
    seen = []
    make_vjp(lambda x: seen.append(vspace(x)) or x)(X)
    assert seen == [vspace(X)]


@pytest.mark.parametrize("value", [3, {"a": X}, "text"])
def test_what_is_no_array_of_floats_has_no_vector_space(value):
    with pytest.raises(TypeError, match=f"no vector space of {type(value).__name__} values; pass floats"):
        vspace(value)
