"""NumPy's ufuncs, one row each: the function and its partial derivatives by (ans, *args).

Where a function has a kink or a singular point, a choice is made. It holds in both modes, for scalars and
arrays, and for higher orders it is differentiated like any other value:

===========================  ===========================================================================
``abs``, ``fabs``, ``sign``  0 at 0, to every order; for complex arguments too
``hypot``, ``arctan2``       0 at (0, 0), to every order
``copysign(x, y)``           0 in `x` at 0, and 0 in `y`
``maximum`` and its kind     a tie is shared equally
``sqrt``, ``cbrt``, ``log``  infinity at 0, the limit, with NumPy's warning of a division by zero
``arcsin`` and its kind      infinity at the ends of the domain, likewise
``x ** y`` in `x`            ``y * x ** (y - 1)``, with 0 at ``0 ** 0``; so 0 for ``x ** 0``, and 2 for the
                             second derivative of ``x ** 2`` at 0; `x` may be negative where NumPy's may
``x ** y`` in `y`            ``log(x) * x ** y``; at x = 0 its limit, 0 for y > 0 and minus infinity for
                             y < 0, and 0 at ``0 ** 0``; NaN for x < 0, where no power lies between the
                             integer ones
``remainder``, ``fmod``      1 in `x` and minus the quotient, which is constant, in `y`; at the jumps too
``heaviside(x, h)``          0 in `x`, and 1 in `h` at x = 0
``logaddexp``                the share of each argument; infinite ones share as in ``maximum``
``modf``, ``frexp``          of the fraction and the mantissa; integral part and exponent are constant
``where``                    0 in the condition
===========================  ===========================================================================

What a function chose not to take (the lesser argument of ``maximum``, the other branch of ``where``, what
``clip`` replaced) adds nothing to a derivative, also where the cotangent is infinite or NaN. Any other
partial that happens to be 0, that of ``abs`` at 0 for instance, makes NaN of infinity, as a product does.

Complex arguments: the rows are the complex derivatives (no conjugation), continued along the branch cuts in
the direction that the sign of zero tells, as NumPy's functions are. ``abs`` and ``sign`` are not holomorphic
and have rules of their own.
"""

import math

import numpy as np

import autograd_c.numpy as anp

from .._core import Primitive, hooks, registry
from ..extend import call, chosen, composite, constant, elementwise, notrace_primitive, refuse, rule

LOG2, LOG10 = math.log(2.0), math.log(10.0)
DEGREE = math.pi / 180.0
INFINITY = math.inf

# --- arithmetic -----------------------------------------------------------------------------------

elementwise(np.add, 1.0, 1.0)
elementwise(np.subtract, 1.0, -1.0)
elementwise(np.multiply, lambda ans, x, y: y, lambda ans, x, y: x)
elementwise(
    np.divide, lambda ans, x, y: 1.0 / y, lambda ans, x, y: -ans / y, domain=((-2.0, 2.0), (0.5, 2.0))
)
elementwise(np.negative, -1.0)
elementwise(np.positive, 1.0)
elementwise(np.reciprocal, lambda ans, x: -ans * ans, domain=(0.5, 2.0))
elementwise(np.square, lambda ans, x: 2.0 * x)
elementwise(np.sqrt, lambda ans, x: 0.5 / ans, domain=(0.5, 2.0))
elementwise(np.cbrt, lambda ans, x: 1.0 / (3.0 * ans * ans), domain=(0.5, 2.0))


def _in_base(power):
    """The partial in `x`: the exponent of ``0 ** (0 - 1)`` becomes 0, and the factor `y` does the rest."""
    return lambda ans, x, y: y * power(x, anp.where(anp.logical_and(x == 0.0, y == 0.0), 0.0, y - 1.0))


def _in_exponent(ans, x, y):
    """The partial in `y`: at x = 0 the logarithm is left out where the power vanishes."""
    return anp.log(anp.where(anp.logical_and(x == 0.0, y >= 0.0), 1.0, x)) * ans


elementwise(np.power, _in_base(anp.power), _in_exponent, domain=((0.5, 2.0), (-2.0, 2.0)))


# What `**` is between two float64 scalars: the C library's power, not NumPy's loop.
def _scalar_power(x, y):
    if isinstance(x, float) and isinstance(y, (float, int)):
        return np.float64(x) ** y
    dtype = np.result_type(x, y)
    x, y = np.broadcast_arrays(np.asarray(x, dtype), np.asarray(y, dtype))
    items = [a**b for a, b in zip(x.flat, y.flat, strict=True)]
    return np.array(items, dtype).reshape(x.shape)[()]


scalar_power = hooks["scalar_power"] = elementwise(
    _scalar_power, *registry[np.power].rules, name="scalar_power", domain=((0.5, 2.0), (-2.0, 2.0))
)
scalar_square = hooks["scalar_square"] = elementwise(
    lambda x: _scalar_power(x, 2), *registry[np.square].rules, name="scalar_square"
)
elementwise(np.float_power, _in_base(anp.float_power), _in_exponent, domain=((0.5, 2.0), (-2.0, 2.0)))
# In the tests' domain the quotient is 5 throughout: not 0, and no jump.
elementwise(np.remainder, 1.0, lambda ans, x, y: -anp.floor_divide(x, y), domain=((5.1, 5.4), (1.0, 1.01)))
elementwise(np.fmod, 1.0, lambda ans, x, y: anp.rint((ans - x) / y), domain=((5.1, 5.4), (1.0, 1.01)))


@composite(np.divmod, examples=(lambda x: call(x.within(5.1, 5.4, 2, 3), x.within(1.0, 1.01, 3)),))
def divmod_(x, y):
    """Quotient and remainder, of which the quotient is constant."""
    return anp.floor_divide(x, y), anp.remainder(x, y)


# A division by infinity makes 0 of all derivatives at the origin, and of no other.
def _over(x, length):
    return x / anp.where(length == 0.0, INFINITY, length)


elementwise(
    np.absolute,
    lambda ans, x: anp.sign(x),
    complex_partials=(lambda ans, x: _over(anp.conjugate(x), ans),),
)
elementwise(np.fabs, lambda ans, x: anp.sign(x))
elementwise(
    np.hypot,
    lambda ans, x, y: _over(x, ans),
    lambda ans, x, y: _over(y, ans),
    domain=((0.5, 2.0), (0.5, 2.0)),
)

# --- exponentials and logarithms ------------------------------------------------------------------

elementwise(np.exp, lambda ans, x: ans)
elementwise(np.exp2, lambda ans, x: LOG2 * ans)
elementwise(np.expm1, lambda ans, x: ans + 1.0)
elementwise(np.log, lambda ans, x: 1.0 / x, domain=(0.5, 2.0))
elementwise(np.log2, lambda ans, x: 1.0 / (LOG2 * x), domain=(0.5, 2.0))
elementwise(np.log10, lambda ans, x: 1.0 / (LOG10 * x), domain=(0.5, 2.0))
elementwise(np.log1p, lambda ans, x: 1.0 / (1.0 + x), domain=(-0.5, 2.0))


def _share(exp, half):
    """The share of `x` in the sum of two exponentials, ``exp(x - ans)``; `half` is the exponent of 1/2.

    Infinities must not be subtracted from each other, so where the result is infinite, the exponent of the
    share is written down.
    """

    def share(ans, x, y):
        infinite = anp.isinf(ans)
        exponent = anp.where(x == y, half, anp.where(x == ans, 0.0, -INFINITY))
        return exp(anp.where(infinite, exponent, x) - anp.where(infinite, 0.0, ans))

    return share


def _swapped(partial):
    """The same for the other argument of a symmetric function."""
    return lambda ans, x, y: partial(ans, y, x)


for _fun, _exp, _half in ((np.logaddexp, anp.exp, -LOG2), (np.logaddexp2, anp.exp2, -1.0)):
    elementwise(_fun, _share(_exp, _half), _swapped(_share(_exp, _half)))

# --- circular and hyperbolic functions ------------------------------------------------------------

elementwise(np.sin, lambda ans, x: anp.cos(x))
elementwise(np.cos, lambda ans, x: -anp.sin(x))
elementwise(np.tan, lambda ans, x: 1.0 + ans * ans, domain=(-1.0, 1.0))


def _circle(x):
    """``sqrt(1 - x * x)``, with no digits lost near its zeros."""
    return anp.sqrt((1.0 - x) * (1.0 + x))


def _complex_circle(x):
    """The same continued along the cuts of arcsin.

    Adding a number to a complex one loses the sign of a zero imaginary part; subtracting it keeps the sign.
    """
    return anp.sqrt(-((x - 1.0) * (x - -1.0)))


elementwise(
    np.arcsin,
    lambda ans, x: 1.0 / _circle(x),
    complex_partials=(lambda ans, x: 1.0 / _complex_circle(x),),
    domain=(-0.8, 0.8),
)
elementwise(
    np.arccos,
    lambda ans, x: -1.0 / _circle(x),
    complex_partials=(lambda ans, x: -1.0 / _complex_circle(x),),
    domain=(-0.8, 0.8),
)
elementwise(np.arctan, lambda ans, x: 1.0 / (1.0 + x * x))


def _over_square(x, y, z):
    """``z / (x * x + y * y)``, 0 at the origin."""
    return _over(z, x * x + y * y)


elementwise(
    np.arctan2,
    lambda ans, y, x: _over_square(x, y, x),
    lambda ans, y, x: _over_square(x, y, -y),
    domain=((0.5, 2.0), (-2.0, 2.0)),
)
elementwise(np.sinh, lambda ans, x: anp.cosh(x))
elementwise(np.cosh, lambda ans, x: anp.sinh(x))
elementwise(np.tanh, lambda ans, x: 1.0 - ans * ans)
elementwise(np.arcsinh, lambda ans, x: 1.0 / anp.sqrt(x * x - -1.0))
# One root for each factor: the root of the product has another branch cut.
elementwise(np.arccosh, lambda ans, x: 1.0 / (anp.sqrt(x - 1.0) * anp.sqrt(x - -1.0)), domain=(1.5, 3.0))
elementwise(np.arctanh, lambda ans, x: 1.0 / ((1.0 - x) * (1.0 + x)), domain=(-0.8, 0.8))
elementwise(np.degrees, 1.0 / DEGREE)
elementwise(np.rad2deg, 1.0 / DEGREE)
elementwise(np.radians, DEGREE)
elementwise(np.deg2rad, DEGREE)

# --- choice ---------------------------------------------------------------------------------------


def _winner(ans, x, y):
    """1 where `x` is the result, 1/2 where both are."""
    return chosen(x == y, 0.5, chosen(x == ans, 1.0, 0.0))


for _fun in (np.maximum, np.minimum, np.fmax, np.fmin):
    elementwise(_fun, _winner, _swapped(_winner))
elementwise(
    np.where,
    0.0,
    lambda ans, c, x, y: chosen(c, 1.0, 0.0),
    lambda ans, c, x, y: chosen(c, 0.0, 1.0),
    types="?  ",
)
elementwise(np.copysign, lambda ans, x, y: anp.sign(x) * anp.sign(ans), 0.0, domain=((-2.0, 2.0), (0.5, 2.0)))
elementwise(np.heaviside, 0.0, lambda ans, x, y: chosen(x == 0.0, 1.0, 0.0))

# --- parts of a number ----------------------------------------------------------------------------

elementwise(np.nextafter, 1.0, 0.0)
rule(
    np.ldexp,
    (lambda g, _ans, _x, n: anp.ldexp(g, n), None),
    ("same", None),
    examples=(lambda x: call(x(2, 3), np.array([-1, 0, 5])), lambda x: call(x(), np.arange(4))),
)


def _fraction(x):
    return np.modf(x)[0]


def _mantissa(x):
    return np.frexp(x)[0]


@notrace_primitive
def _binary_exponent(x):
    return np.frexp(x)[1]


@notrace_primitive
def _binary_scale(x):
    return np.ldexp(np.asarray(x).dtype.type(1), -np.frexp(x)[1])


fraction = elementwise(_fraction, 1.0, name="modf", domain=(0.1, 0.9))
mantissa = elementwise(_mantissa, lambda ans, x: _binary_scale(x), name="frexp", domain=(1.1, 1.9))


@composite(np.modf, examples=(lambda x: call(x.within(1.1, 1.9, 2, 3)),))
def modf(x):
    """Fractional and integral part, of which the integral part is constant."""
    return fraction(x), anp.trunc(x)


@composite(np.frexp, examples=(lambda x: call(x.within(1.1, 1.9, 2, 3)),))
def frexp(x):
    """Mantissa and binary exponent, of which the exponent is constant."""
    return mantissa(x), _binary_exponent(x)


# --- sign, which for complex numbers is z / abs(z) ------------------------------------------------

_real_sign = Primitive(np.sign)
_real_sign.set_constant()


def _unit_vjp(g, ans, x):
    """Cotangents pair as ``Re(g dx)``, and ``d ans = (dx - ans Re(conj(ans) dx)) / abs(x)``."""
    return _over(g - anp.real(g * ans) * anp.conjugate(ans), anp.absolute(x))


def _unit_jvp(t, ans, x):
    return _over(t - ans * anp.real(anp.conjugate(ans) * t), anp.absolute(x))


_complex_sign = rule(Primitive(np.sign), (_unit_vjp,), (_unit_jvp,))


@composite(np.sign, examples=(lambda x: call(x(2, 3)),))
def sign(x, **kwargs):
    """Constant for real arguments."""
    return _complex_sign(x, **kwargs) if x.dtype.kind == "c" else _real_sign(x, **kwargs)


# --- no derivative --------------------------------------------------------------------------------

constant(
    np.floor, np.ceil, np.trunc, np.rint, np.floor_divide, np.signbit, np.spacing,
    np.isfinite, np.isinf, np.isnan, np.isnat,
    np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal,
    np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
)  # fmt: skip
refuse(
    "it works on integers; take the indices or counts from stop_gradient(x) first",
    np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert, np.left_shift, np.right_shift, np.gcd, np.lcm,
    np.bitwise_count,
)  # fmt: skip
