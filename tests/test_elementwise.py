"""The values that the rows of ufuncs choose at kinks, singular points and branch cuts."""

import copy
import gc
import math
import pickle
import warnings
import weakref

import mpmath
import numpy as np
import pytest

import autograd_c.numpy as anp
from autograd_c.extend import chosen, elementwise
from autograd_c.operators import elementwise_grad, grad, jvp, make_jvp, make_vjp, value_and_grad
from autograd_c.registry import primitives

INF, NAN = math.inf, math.nan


def partials(fun, *args):
    """All first derivatives at one point, the same in reverse and forward mode, for numbers and arrays."""
    found = []
    for k, x in enumerate(args):

        def of_one(t, k=k):
            return fun(*args[:k], t, *args[k + 1 :])

        def of_many(t, k=k):
            return fun(*[np.full(3, a) for a in args[:k]], t, *[np.full(3, a) for a in args[k + 1 :]])

        with np.errstate(all="ignore"):
            one = grad(of_one)(float(x))
            ways = [
                grad(of_one)(np.float64(x)),
                make_jvp(of_one)(float(x))(1.0)[1],
                *elementwise_grad(of_many)(np.full(3, float(x))),
                *make_jvp(of_many)(np.full(3, float(x)))(np.ones(3))[1],
            ]
        np.testing.assert_array_equal(ways, one)
        found.append(float(one))
    return found


def derivatives(fun, x, order):
    """The derivatives of order one up to `order` at a point, in reverse mode and in forward mode."""
    found = []
    reverse = forward = fun
    with np.errstate(all="ignore"):
        for _ in range(order):
            reverse = grad(reverse)
            forward = tangent_of(forward)
            found.append(float(reverse(x)))
            np.testing.assert_array_equal(forward(x), found[-1])
            many = elementwise_power(fun, len(found))
            np.testing.assert_array_equal(many(np.full(3, x)), np.full(3, found[-1]))
    return found


def tangent_of(fun):
    return lambda x: jvp(fun, (x,), (1.0,))[1]


def elementwise_power(fun, order):
    for _ in range(order):
        fun = elementwise_grad(fun)
    return fun


# ---------------------------------------------------------------- powers


@pytest.mark.parametrize(
    "x, y, in_x, in_y",
    [
        (0.0, 2.0, 0.0, 0.0),
        (0.0, 1.0, 1.0, 0.0),
        (0.0, 0.5, INF, 0.0),
        (0.0, 0.0, 0.0, 0.0),
        (-0.0, 3.0, 0.0, 0.0),
        (0.0, -1.0, -INF, -INF),
        (3.0, 0.0, 0.0, math.log(3.0)),
        (INF, 0.0, 0.0, INF),
        (-2.0, 3.0, 12.0, NAN),
        (-2.0, 0.0, -0.0, NAN),
        (2.0, -1.0, -0.25, math.log(2.0) / 2.0),
    ],
)
@pytest.mark.parametrize("power", [anp.power, anp.float_power, lambda x, y: x**y])
def test_first_derivatives_of_power(power, x, y, in_x, in_y):
    np.testing.assert_allclose(partials(power, x, y), [in_x, in_y], rtol=1e-15)


@pytest.mark.parametrize(
    "exponent, expected",
    [
        (2, [0.0, 2.0, 0.0]),
        (2.0, [0.0, 2.0, 0.0]),
        (3, [0.0, 0.0, 6.0, 0.0]),
        (4.0, [0.0, 0.0, 0.0, 24.0]),
        (1, [1.0, 0.0]),
        (0, [0.0, 0.0]),
        (1.5, [0.0, INF]),
        (2.5, [0.0, 0.0, INF]),
    ],
)
def test_higher_derivatives_of_powers_at_zero(exponent, expected):
    assert derivatives(lambda x: x**exponent, 0.0, len(expected)) == expected
    assert derivatives(lambda x: anp.power(x, exponent), 0.0, len(expected)) == expected


@pytest.mark.parametrize("x", [0.5, 2.0])
def test_mixed_derivatives_of_power(x):
    """In x and then in y at y = 0 too, where the derivative in x alone vanishes."""
    for y in (0.0, 1.0, -1.5):
        in_x_then_y = grad(lambda v, x=x: grad(lambda u: anp.power(u, v))(x))(y)
        in_y_then_x = grad(lambda u, y=y: grad(lambda v: anp.power(u, v))(y))(x)
        expected = x ** (y - 1.0) * (1.0 + y * math.log(x))
        np.testing.assert_allclose([in_x_then_y, in_y_then_x], expected, rtol=1e-14)


def test_negative_base_and_integer_exponent_array():
    x, n = np.array([-2.0, -1.0, 3.0]), np.array([3, 2, 0])
    np.testing.assert_array_equal(elementwise_grad(lambda t: t**n)(x), [12.0, -2.0, 0.0])


def test_narrow_exponents_keep_the_precision():
    """NumPy computes float32 ** int8 in float32, and so is the gradient."""
    x, n = np.array([1.5, 2.0], np.float32), np.array([2, 3], np.int8)
    g = elementwise_grad(lambda t: t**n)(x)
    assert g.dtype == np.float32
    np.testing.assert_allclose(g, [3.0, 12.0])


# ---------------------------------------------------------------- kinks and singular points


@pytest.mark.parametrize(
    "fun, args, expected",
    [
        (anp.absolute, (0.0,), [0.0]),
        (anp.absolute, (-0.0,), [0.0]),
        (anp.fabs, (0.0,), [0.0]),
        (anp.sign, (0.0,), [0.0]),
        (anp.sqrt, (0.0,), [INF]),
        (anp.cbrt, (0.0,), [INF]),
        (anp.cbrt, (-8.0,), [1.0 / 12.0]),
        (anp.log, (0.0,), [INF]),
        (anp.log1p, (-1.0,), [INF]),
        (anp.arcsin, (1.0,), [INF]),
        (anp.arcsin, (-1.0,), [INF]),
        (anp.arccos, (1.0,), [-INF]),
        (anp.arccosh, (1.0,), [INF]),
        (anp.arctanh, (1.0,), [INF]),
        (anp.arctanh, (-1.0,), [INF]),
        (anp.hypot, (0.0, 0.0), [0.0, 0.0]),
        (anp.hypot, (0.0, 2.0), [0.0, 1.0]),
        (anp.hypot, (-3.0, 4.0), [-0.6, 0.8]),
        (anp.arctan2, (0.0, 0.0), [0.0, 0.0]),
        (anp.arctan2, (0.0, -2.0), [-0.5, 0.0]),
        (anp.arctan2, (-1.0, 0.0), [0.0, 1.0]),
        (anp.maximum, (1.0, 1.0), [0.5, 0.5]),
        (anp.minimum, (1.0, 1.0), [0.5, 0.5]),
        (anp.maximum, (1.0, 2.0), [0.0, 1.0]),
        (anp.minimum, (1.0, 2.0), [1.0, 0.0]),
        (anp.maximum, (INF, INF), [0.5, 0.5]),
        (anp.fmax, (NAN, 2.0), [0.0, 1.0]),
        (anp.fmin, (1.0, NAN), [1.0, 0.0]),
        (anp.copysign, (0.0, -1.0), [0.0, 0.0]),
        (anp.copysign, (2.0, -1.0), [-1.0, 0.0]),
        (anp.copysign, (-2.0, -1.0), [1.0, 0.0]),
        (anp.copysign, (-2.0, 1.0), [-1.0, 0.0]),
        (anp.copysign, (2.0, -0.0), [-1.0, 0.0]),
        (anp.heaviside, (0.0, 0.5), [0.0, 1.0]),
        (anp.heaviside, (1.0, 0.5), [0.0, 0.0]),
        (anp.remainder, (7.5, 2.0), [1.0, -3.0]),
        (anp.remainder, (-7.5, 2.0), [1.0, 4.0]),
        (anp.remainder, (7.5, -2.0), [1.0, 4.0]),
        (anp.fmod, (7.5, 2.0), [1.0, -3.0]),
        (anp.fmod, (-7.5, 2.0), [1.0, 3.0]),
        (anp.fmod, (7.5, -2.0), [1.0, 3.0]),
        # The quotient 1 / 0.1 rounds to 10, but the remainder belongs to the quotient 9.
        (anp.remainder, (1.0, 0.1), [1.0, -9.0]),
        (anp.fmod, (1.0, 0.1), [1.0, -9.0]),
        (anp.logaddexp, (1.0, 1.0), [0.5, 0.5]),
        (anp.logaddexp, (-INF, 1.0), [0.0, 1.0]),
        (anp.logaddexp, (INF, 1.0), [1.0, 0.0]),
        (anp.logaddexp, (INF, -INF), [1.0, 0.0]),
        (anp.logaddexp, (INF, INF), [0.5, 0.5]),
        (anp.logaddexp, (-INF, -INF), [0.5, 0.5]),
        (anp.logaddexp, (1000.0, -1000.0), [1.0, 0.0]),
        (anp.logaddexp2, (-INF, -INF), [0.5, 0.5]),
        (anp.logaddexp2, (INF, 1.0), [1.0, 0.0]),
        (lambda x: anp.modf(x)[0], (-2.5,), [1.0]),
        (lambda x: anp.frexp(x)[0], (6.0,), [0.125]),
        (lambda x: anp.frexp(x)[0], (0.0,), [1.0]),
        (lambda x: anp.ldexp(x, 3), (0.5,), [8.0]),
        (lambda x, y: anp.where(True, x, y), (1.0, 2.0), [1.0, 0.0]),
        (anp.divide, (1.0, INF), [0.0, -0.0]),
        (anp.exp, (-INF,), [0.0]),
        (anp.tanh, (INF,), [0.0]),
    ],
)
def test_chosen_values(fun, args, expected):
    np.testing.assert_allclose(partials(fun, *args), expected, rtol=1e-15)


@pytest.mark.parametrize(
    "fun, expected",
    [
        (anp.absolute, [0.0, 0.0, 0.0]),
        (lambda x: anp.hypot(x, 0.0), [0.0, 0.0, 0.0]),
        (lambda x: anp.hypot(x, x), [0.0, 0.0, 0.0]),
        (lambda x: anp.arctan2(x, 0.0 * x), [0.0, 0.0, 0.0]),
        (lambda x: anp.maximum(x, 0.0), [0.5, 0.0]),
        (lambda x: anp.maximum(x * x, x), [0.5, 1.0]),
        (lambda x: anp.copysign(x, -1.0), [0.0, 0.0]),
        (lambda x: anp.logaddexp(x, 0.0), [0.5, 0.25, 0.0, -0.125]),
        (lambda x: anp.logaddexp(x, x), [1.0, 0.0]),
        (lambda x: anp.sqrt(x * x + 1.0), [0.0, 1.0, 0.0, -3.0]),
    ],
)
def test_higher_derivatives_at_zero(fun, expected):
    np.testing.assert_allclose(derivatives(fun, 0.0, len(expected)), expected, rtol=1e-15, atol=0)


def test_no_warning_where_nothing_is_singular():
    """The way around a singular point does not step on it."""
    with np.errstate(all="raise"):
        for x, y in ((0.0, 0.0), (0.0, 2.0), (3.0, 0.0)):
            grad(lambda t, y=y: anp.power(t, y))(x)
            grad(lambda t, x=x: anp.power(x, t))(y)
            grad(lambda t, y=y: anp.hypot(t, y))(x)
            grad(lambda t, y=y: anp.arctan2(t, y))(x)
        for x, y in ((INF, INF), (-INF, -INF), (INF, 0.0), (-INF, 0.0), (700.0, 0.0)):
            grad(lambda t, y=y: anp.logaddexp(t, y))(x)
            elementwise_grad(lambda t, y=y: anp.logaddexp(t, y))(np.full(2, x))


def test_near_the_ends_of_the_domain():
    """No digits are lost in 1 - x * x."""
    x = 1.0 - 1e-12
    with mpmath.workdps(40):
        exact = 1 / mpmath.sqrt(1 - mpmath.mpf(x) ** 2)
        np.testing.assert_allclose(grad(anp.arcsin)(x), float(exact), rtol=1e-15)
        np.testing.assert_allclose(grad(anp.arccos)(x), -float(exact), rtol=1e-15)
        np.testing.assert_allclose(grad(anp.arctanh)(x), float(exact**2), rtol=1e-15)


# What is left out adds nothing, whatever the cotangent: function, argument, derivative for a cotangent of 1.
LEFT_OUT = [
    (lambda x: anp.maximum(x, 1.0), [0.0, 1.0, 2.0], [0.0, 0.5, 1.0]),
    (lambda x: anp.minimum(1.0, x), [0.0, 1.0, 2.0], [1.0, 0.5, 0.0]),
    (lambda x: anp.fmax(x, 1.0), [0.0, NAN, 2.0], [0.0, 0.0, 1.0]),
    (lambda x: anp.fmin(x, 1.0), [0.0, NAN, 2.0], [1.0, 0.0, 0.0]),
    (lambda x: anp.maximum(x, -x * 3.0), [-1.0, 1.0, 2.0], [-3.0, 1.0, 1.0]),
    (lambda x: anp.where(x > 1.0, x, 0.0), [0.0, 1.0, 2.0], [0.0, 0.0, 1.0]),
    (lambda x: anp.where(x > 1.0, 2.0 * x, 3.0 * x), [0.0, 1.0, 2.0], [3.0, 3.0, 2.0]),
    (lambda x: anp.clip(x, 0.0, 1.0), [-1.0, 0.5, 1.0], [0.0, 1.0, 0.5]),
    (lambda x: anp.copysign(1.0, x), [-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]),
    (lambda x: anp.heaviside(1.0, x), [-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]),
    (lambda x: anp.heaviside(0.0, x), [-1.0, 0.0, 1.0], [1.0, 1.0, 1.0]),
    (relu := elementwise(lambda x: np.maximum(x, 0.0), lambda ans, x: chosen(x > 0.0, 1.0, 0.0)),
     [-1.0, 0.0, 1.0], [0.0, 0.0, 1.0]),
    (lambda x: relu(x - 1.0) + relu(1.0 - x), [0.0, 1.0, 2.0], [-1.0, 0.0, 1.0]),
]  # fmt: skip


@pytest.mark.parametrize("fun, x, expected", LEFT_OUT)
@pytest.mark.parametrize("c", [INF, -INF, NAN, 1.0])
@pytest.mark.parametrize("dtype", [float, np.float32, np.longdouble])
def test_what_is_left_out_adds_nothing_to_an_infinite_cotangent(fun, x, expected, c, dtype):
    """Over numbers and arrays, in both modes, and where the derivative is differentiated again."""
    x, c = np.array(x, dtype), dtype(c)
    expected = np.array([d * float(c) if d else 0.0 for d in expected])
    with np.errstate(all="raise"):
        pullback, _ = make_vjp(fun)(x)
        cs = np.full(3, c)
        ways = [pullback(cs), pullback(cs), make_jvp(fun)(x)(cs)[1]]
        ways.append(np.array([make_vjp(fun)(v)[0](c) for v in x]))
        ways.append(np.array([make_jvp(fun)(v)(c)[1] for v in x]))
        # Inside another trace the rules run through primitives.
        ways.append(make_jvp(lambda c: make_vjp(fun)(x)[0](c))(cs)(cs)[1])
        ways.append(np.array([make_jvp(lambda c, v=v: make_vjp(fun)(v)[0](c))(c)(c)[1] for v in x]))
    for way in ways:
        assert way.dtype == dtype
        np.testing.assert_array_equal(way, expected)


def test_where_passes_over_an_infinite_derivative():
    """The derivative of the root is infinite at 0, which the cotangent of the other items must not meet."""
    with np.errstate(divide="ignore"):
        x = np.array([-1.0, 4.0])
        np.testing.assert_array_equal(
            elementwise_grad(lambda x: anp.sqrt(anp.maximum(x, 0.0)))(x), [0.0, 0.25]
        )
        assert grad(lambda x: anp.sqrt(anp.maximum(x, 0.0)))(-1.0) == 0.0
        assert grad(lambda x: anp.sqrt(anp.max(anp.array([x, 0.0]))))(-1.0) == 0.0
        x = np.array([[0.0, -1.0], [3.0, 4.0]])
        g = elementwise_grad(lambda x: anp.sqrt(anp.max(x, axis=1)))(x)
        np.testing.assert_array_equal(g, [[INF, 0.0], [0.0, 0.25]])


def test_a_choice_between_numbers_is_a_number():
    """``np.where`` of numbers is an array without axes, a derivative is a number."""
    for dtype in (np.float64, np.float32, np.longdouble):
        for fun in (lambda x: anp.maximum(x * x, x), lambda x: anp.clip(x, 0.0, 1.0) * x):
            kinds = {type(v) for v in jvp(grad(fun), (dtype(0.5),), (dtype(1.0),))}
            kinds |= {type(v) for v in value_and_grad(grad(fun))(dtype(0.5))}
            kinds.add(type(jvp(fun, (dtype(0.5),), (dtype(1.0),))[1]))
            assert kinds == {dtype}


def test_a_product_with_zero_is_not_a_choice():
    """Infinity times a 0 that was computed stays NaN, as everywhere in NumPy."""
    with np.errstate(invalid="ignore"):
        for x in (0.0, np.zeros(2)):
            for fun in (anp.square, anp.absolute, lambda x: x * x):
                c = INF * np.ones_like(x)
                assert np.all(np.isnan(make_vjp(fun)(x)[0](c)))
                assert np.all(np.isnan(make_jvp(fun)(x)(c)[1]))


# ---------------------------------------------------------------- complex numbers

HOLOMORPHIC = """
    negative positive reciprocal square sqrt exp exp2 expm1 log log2 log10 log1p sin cos tan arcsin arccos
    arctan sinh cosh tanh arcsinh arccosh arctanh
""".split()
# Both sides of every cut: the sign of zero tells which.
POINTS = [
    complex(re, im)
    for re in (-2.0, -0.5, 0.5, 2.0)
    for im in (-2.0, -0.5, -0.0, 0.0, 0.5, 2.0)
] + [complex(re, im) for re in (-0.0, 0.0) for im in (-2.0, -0.5, 0.5, 2.0)]  # fmt: skip


@pytest.mark.parametrize("name", HOLOMORPHIC)
def test_complex_derivative_on_both_sides_of_the_cuts(name):
    """The derivative is the limit of differences taken on the side that the sign of zero tells."""
    fun, plain = getattr(anp, name), getattr(np, name)
    for z in POINTS:
        pullback, value = make_vjp(fun)(np.complex128(z))
        got = pullback(np.complex128(1.0))
        assert value == plain(np.complex128(z)) or np.isnan(value)
        np.testing.assert_allclose(make_jvp(fun)(np.complex128(z))(1.0 + 0j)[1], got, rtol=1e-15)
        np.testing.assert_allclose(elementwise_vjp(fun, np.full(3, z)), np.full(3, got), rtol=1e-14)
        np.testing.assert_allclose(got, one_sided(plain, z), rtol=2e-6, err_msg=f"at {z!r}")


def elementwise_vjp(fun, z):
    return make_vjp(fun)(z)[0](np.ones_like(z))


def one_sided(fun, z):
    """Richardson's extrapolation of differences, staying on the side of the cut that z is on."""
    h = 1e-4
    # A step along the cut keeps the side: a real step at a signed zero imaginary part, an imaginary one else.
    if z.imag == 0.0:
        ends = [complex(z.real + s * h, z.imag) for s in (1, -1, 2, -2)]
        step = h
    else:
        ends = [complex(z.real, z.imag + s * h) for s in (1, -1, 2, -2)]
        step = 1j * h
    a, b, c, d = (fun(np.complex128(end)) for end in ends)
    return (8 * (a - b) - (c - d)) / (12 * step)


def test_complex_modulus_and_direction():
    z = np.array([3.0 - 4.0j, -1.0 + 0.0j, 0.0j])
    with np.errstate(all="raise"):
        got = make_vjp(anp.absolute)(z)[0](np.ones(3))
        np.testing.assert_allclose(got, [0.6 + 0.8j, -1.0, 0.0])  # du/dx - i du/dy
        tangent = make_jvp(anp.sign)(z)(np.array([1.0, 1.0, 1.0]) + 0j)[1]
    # The unit vector turns: z/|z| moves by i z Im(dz/z)/|z|.
    turn = 1j * (z[0] / abs(z[0])) * (1.0 / z[0]).imag
    np.testing.assert_allclose(tangent, [turn, 0.0, 0.0], atol=1e-16)


def test_second_derivative_of_the_complex_modulus():
    def along(t):
        return anp.absolute((1.0 + 2.0j) + t * (0.5 - 1.0j))

    t = 0.3
    x, y, u, v = 1.0 + 0.5 * t, 2.0 - t, 0.5, -1.0
    length = math.hypot(x, y)
    expected = (u * u + v * v) / length - (x * u + y * v) ** 2 / length**3
    np.testing.assert_allclose(grad(grad(along))(t), expected, rtol=1e-14)
    assert grad(grad(lambda t: anp.absolute(t * (0.5 - 1.0j))))(0.0) == 0.0


@pytest.mark.parametrize("y", [0.5, 2.0, -1.5, 0.5 + 1.0j])
def test_complex_power(y):
    z = np.complex128(0.8 - 0.6j)
    in_z, in_y = make_vjp(lambda p: anp.power(*p))((z, np.complex128(y)))[0](np.complex128(1.0))
    np.testing.assert_allclose(in_z, y * z ** (y - 1.0), rtol=1e-14)
    np.testing.assert_allclose(in_y, np.log(z) * z**y, rtol=1e-14)


# ---------------------------------------------------------------- dtypes and users' own rows


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble])
def test_constants_do_not_widen(dtype):
    """Rows use Python numbers, which take the precision of the array."""
    x = np.array([0.5, 0.75], dtype)
    for name in "exp2 log2 log10 degrees radians cbrt arctan logaddexp2 maximum where power hypot".split():
        fun = getattr(anp, name)
        if name == "where":
            gs = [elementwise_grad(lambda t: anp.where(x > 0.6, t, 2.0 * t))(x)]
        elif np.__dict__[name].nin == 1:
            gs = [elementwise_grad(fun)(x)]
        else:
            gs = [elementwise_grad(fun, k)(x, x[::-1]) for k in (0, 1)]
        assert all(g.dtype == dtype for g in gs), name


def test_a_users_row():
    """One line makes an elementwise primitive, of any number of arguments and to any order."""
    fma = elementwise(
        lambda x, y, z: x * y + z, lambda ans, x, y, z: y, lambda ans, x, y, z: x, 1.0, name="fma"
    )
    x, y, z = np.array([1.0, 2.0]), np.array([[3.0], [4.0]]), 5.0
    gx, gy, gz = make_vjp(lambda p: fma(*p))((x, y, z))[0](np.ones((2, 2)))
    np.testing.assert_array_equal(gx, [7.0, 7.0])
    np.testing.assert_array_equal(gy, [[3.0], [3.0]])
    assert gz == 4.0
    np.testing.assert_array_equal(elementwise_grad(elementwise_grad(lambda t: fma(t, t, 1.0)))(x), [2.0, 2.0])


def _double(x):
    return x * 2.0


def test_a_users_primitive_dies_with_its_last_reference():
    def make():
        p = elementwise(lambda x: x * 2.0, lambda ans, x: 2.0 + 0.0 * x)
        assert grad(p)(1.0) == 2.0
        return p

    refs = [weakref.ref(make()) for _ in range(1000)]
    gc.collect()
    assert not any(ref() for ref in refs)


def test_a_tape_holds_the_primitives_that_nobody_else_does():
    """Two in turn, so that each is met again after the other."""

    def f(x):
        p = elementwise(lambda x: x * 3.0, lambda ans, x: 3.0 + 0.0 * ans)
        q = elementwise(lambda x: x * 5.0, lambda ans, x: 5.0 + 0.0 * ans)
        refs.extend([weakref.ref(p), weakref.ref(q)])
        return q(p(q(p(x))))

    for x in (1.0, np.ones(3)):
        refs = []
        pullback, _ = make_vjp(f)(x)
        gc.collect()
        np.testing.assert_array_equal(pullback(x), 225.0 * x)
        np.testing.assert_array_equal(pullback(x), 225.0 * x)
        del pullback
        gc.collect()
        assert not any(ref() for ref in refs)


def test_a_users_ufunc_comes_here_when_it_is_called():
    """As long as the ufunc, whoever keeps what `elementwise` returned."""
    triple = np.frompyfunc(lambda x: x * 3.0, 1, 1)
    elementwise(triple, 3.0)
    gc.collect()
    assert grad(triple)(1.0) == 3.0
    assert grad(lambda x: anp.sum(triple(x)))(np.ones(2)).tolist() == [3.0, 3.0]


def test_a_users_primitive_pickles_by_its_function():
    double = elementwise(_double, 2.0)
    assert elementwise(_double, 2.0) is double
    assert pickle.loads(pickle.dumps(double)) is double
    assert copy.deepcopy(double) is double
    data = pickle.dumps(double)
    del double
    gc.collect()
    with pytest.raises(pickle.UnpicklingError, match="_double"):
        pickle.loads(data)


def test_an_error_in_a_users_partial_shows_each_time():
    def broken(ans, x):
        raise ValueError("no such partial")

    bad = elementwise(lambda x: x * 2.0, broken, name="bad")
    for _ in range(2):
        with pytest.raises(ValueError, match="no such partial"):
            grad(bad)(1.0)
        with pytest.raises(ValueError, match="no such partial"):
            make_jvp(bad)(np.ones(3))(np.ones(3))


def test_no_derivative_with_respect_to_an_argument():
    scaled = elementwise(lambda x, n: x * n, lambda ans, x, n: n, None, name="scaled")
    assert grad(scaled)(2.0, 3.0) == 3.0
    for x in (2.0, np.ones(3)):
        with pytest.raises(TypeError, match=r"scaled .* with respect to argument 1.*stop_gradient"):
            grad(lambda n, x=x: anp.sum(scaled(x, n)))(2.0)


UNARY = [
    row
    for row in primitives()
    if row.kind == "elementwise" and row.handler.nin == 1 and row.fun is getattr(np, row.name, None)
]


@pytest.mark.parametrize("dtype", [float, np.float32])
@pytest.mark.parametrize("row", UNARY, ids=lambda row: row.name)
def test_extreme_arguments_warn_as_in_numpy(row, dtype):
    """Some of NumPy's loops raise flags of another unit of the processor than its arithmetic does."""
    for number in (0.0, -2.5, 1e30, -1e30, np.inf, np.nan):
        x = np.full(20, number, dtype)
        assert warnings_of(lambda x=x: make_vjp(row.handler)(x)) == warnings_of(lambda x=x: row.fun(x)), (
            number
        )


def warnings_of(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return {str(warning.message) for warning in caught}
