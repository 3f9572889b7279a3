"""NumPy's ufuncs, one row each: the function and its partial derivatives by (ans, *args).

Where a function has a kink or a singular point, the row says what is taken there:

* ``abs``, ``sign`` and the ramp functions take 0 at their kink, ``maximum`` and ``minimum`` share a tie equally;
* ``x ** 0`` has derivative 0 in `x` and ``0 ** y`` has derivative 0 in `y` (for y > 0), their limits;
* ``hypot`` and ``sqrt``: 0 at ``hypot(0, 0)`` (a subgradient), infinity at ``sqrt(0)`` (the limit).
"""

import numpy as np

import autograd_c.numpy as anp

from ..extend import constant, elementwise, refuse

LOG2, LOG10 = np.log(2.0), np.log(10.0)
DEGREE = np.pi / 180.0

# --- arithmetic -----------------------------------------------------------------------------------

elementwise(np.add, 1.0, 1.0)
elementwise(np.subtract, 1.0, -1.0)
elementwise(np.multiply, lambda ans, x, y: y, lambda ans, x, y: x)
elementwise(np.divide, lambda ans, x, y: 1.0 / y, lambda ans, x, y: -ans / y, domain=((-2.0, 2.0), (0.5, 2.0)))
elementwise(np.negative, -1.0)
elementwise(np.positive, 1.0)
elementwise(np.reciprocal, lambda ans, x: -ans * ans, domain=(0.5, 2.0))
elementwise(np.square, lambda ans, x: 2.0 * x)
elementwise(np.sqrt, lambda ans, x: 0.5 / ans, domain=(0.5, 2.0))
elementwise(np.cbrt, lambda ans, x: 1.0 / (3.0 * ans * ans), domain=(0.5, 2.0))
elementwise(
    np.power,
    lambda ans, x, y: anp.where(y == 0.0, 0.0, y * x ** anp.where(y == 0.0, 1.0, y - 1.0)),
    lambda ans, x, y: anp.where(x == 0.0, 0.0, anp.log(anp.where(x == 0.0, 1.0, x)) * ans),
    domain=((0.5, 2.0), (-2.0, 2.0)),
)
elementwise(
    np.float_power,
    lambda ans, x, y: anp.where(y == 0.0, 0.0, y * x ** anp.where(y == 0.0, 1.0, y - 1.0)),
    lambda ans, x, y: anp.where(x == 0.0, 0.0, anp.log(anp.where(x == 0.0, 1.0, x)) * ans),
    domain=((0.5, 2.0), (-2.0, 2.0)),
)
elementwise(np.remainder, 1.0, lambda ans, x, y: -anp.floor(x / y), domain=((0.1, 0.9), (1.0, 2.0)))
elementwise(np.fmod, 1.0, lambda ans, x, y: -anp.trunc(x / y), domain=((0.1, 0.9), (1.0, 2.0)))
elementwise(
    np.absolute,
    lambda ans, x: anp.sign(x),
    complex_partials=(lambda ans, x: anp.conj(x) / anp.where(ans == 0.0, 1.0, ans),),
)
elementwise(np.fabs, lambda ans, x: anp.sign(x))

# --- exponentials and logarithms ------------------------------------------------------------------

elementwise(np.exp, lambda ans, x: ans)
elementwise(np.exp2, lambda ans, x: LOG2 * ans)
elementwise(np.expm1, lambda ans, x: ans + 1.0)
elementwise(np.log, lambda ans, x: 1.0 / x, domain=(0.5, 2.0))
elementwise(np.log2, lambda ans, x: 1.0 / (LOG2 * x), domain=(0.5, 2.0))
elementwise(np.log10, lambda ans, x: 1.0 / (LOG10 * x), domain=(0.5, 2.0))
elementwise(np.log1p, lambda ans, x: 1.0 / (1.0 + x), domain=(-0.5, 2.0))
# exp(x - ans) is NaN where both are infinite with the same sign; there the derivative is that of the larger one.
elementwise(
    np.logaddexp,
    lambda ans, x, y: anp.exp(x - anp.where(anp.isinf(ans), 0.0, ans)),
    lambda ans, x, y: anp.exp(y - anp.where(anp.isinf(ans), 0.0, ans)),
)
elementwise(
    np.logaddexp2,
    lambda ans, x, y: anp.exp2(x - anp.where(anp.isinf(ans), 0.0, ans)),
    lambda ans, x, y: anp.exp2(y - anp.where(anp.isinf(ans), 0.0, ans)),
)

# --- circular and hyperbolic functions ------------------------------------------------------------

elementwise(np.sin, lambda ans, x: anp.cos(x))
elementwise(np.cos, lambda ans, x: -anp.sin(x))
elementwise(np.tan, lambda ans, x: 1.0 + ans * ans, domain=(-1.0, 1.0))
elementwise(np.arcsin, lambda ans, x: 1.0 / anp.sqrt(1.0 - x * x), domain=(-0.8, 0.8))
elementwise(np.arccos, lambda ans, x: -1.0 / anp.sqrt(1.0 - x * x), domain=(-0.8, 0.8))
elementwise(np.arctan, lambda ans, x: 1.0 / (1.0 + x * x))
elementwise(
    np.arctan2,
    lambda ans, y, x: x / (x * x + y * y),
    lambda ans, y, x: -y / (x * x + y * y),
    domain=((0.5, 2.0), (0.5, 2.0)),
)
elementwise(np.sinh, lambda ans, x: anp.cosh(x))
elementwise(np.cosh, lambda ans, x: anp.sinh(x))
elementwise(np.tanh, lambda ans, x: 1.0 - ans * ans)
elementwise(np.arcsinh, lambda ans, x: 1.0 / anp.sqrt(1.0 + x * x))
elementwise(np.arccosh, lambda ans, x: 1.0 / (anp.sqrt(x - 1.0) * anp.sqrt(x + 1.0)), domain=(1.5, 3.0))
elementwise(np.arctanh, lambda ans, x: 1.0 / (1.0 - x * x), domain=(-0.8, 0.8))
elementwise(
    np.hypot,
    lambda ans, x, y: x / anp.where(ans == 0.0, 1.0, ans),
    lambda ans, x, y: y / anp.where(ans == 0.0, 1.0, ans),
    domain=((0.5, 2.0), (0.5, 2.0)),
)
elementwise(np.degrees, 1.0 / DEGREE)
elementwise(np.rad2deg, 1.0 / DEGREE)
elementwise(np.radians, DEGREE)
elementwise(np.deg2rad, DEGREE)

# --- choice ---------------------------------------------------------------------------------------


def _chosen(ans, x, y):
    """1 where `x` is the result, 1/2 where both are."""
    return anp.where(x == y, 0.5, anp.where(x == ans, 1.0, 0.0))


def _other(ans, x, y):
    return _chosen(ans, y, x)


elementwise(np.maximum, _chosen, _other)
elementwise(np.minimum, _chosen, _other)
elementwise(np.fmax, _chosen, _other)
elementwise(np.fmin, _chosen, _other)
elementwise(
    np.where,
    None,
    lambda ans, c, x, y: anp.where(c, 1.0, 0.0),
    lambda ans, c, x, y: anp.where(c, 0.0, 1.0),
    types="?  ",
)
elementwise(np.copysign, lambda ans, x, y: anp.sign(x) * anp.sign(ans), 0.0)
elementwise(np.heaviside, 0.0, lambda ans, x, y: anp.where(x == 0.0, 1.0, 0.0))
elementwise(np.ldexp, lambda ans, x, n: anp.exp2(n), None)
elementwise(np.nextafter, 1.0, 0.0)

# --- no derivative --------------------------------------------------------------------------------

constant(
    np.sign, np.floor, np.ceil, np.trunc, np.rint, np.floor_divide, np.signbit, np.spacing,
    np.isfinite, np.isinf, np.isnan, np.isnat,
    np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal,
    np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
)  # fmt: skip
refuse(
    "it works on integers; take the indices or counts from stop_gradient(x) first",
    np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert, np.left_shift, np.right_shift, np.gcd, np.lcm,
    np.bitwise_count,
)  # fmt: skip
