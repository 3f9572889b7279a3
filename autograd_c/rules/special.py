"""Special functions: one row for each of SciPy's ufuncs, and rules for those of its functions that are none.

Derivatives: Abramowitz and Stegun, Handbook of Mathematical Functions, chapters 5, 6, 7, 9 and 26. Orders
of Bessel functions and the shape parameters of the incomplete gamma and beta functions have none here.

What is taken at singular points:

* ``xlogy(0, 0)``, ``xlog1py(0, -1)``, ``rel_entr(0, 0)`` and ``kl_div(0, 0)`` have derivative 0 by their
  second argument; by the first, the two of them that are logarithms there have 0 as well;
* ``entr``, ``rel_entr`` and ``kl_div`` have the limit, an infinity, by an `x` of 0;
* ``logsumexp`` has weight 0 for items of -inf, also where all items are, and where the factor `b` is 0;
* ``rgamma`` has its limit at the poles of ``gamma``.
"""

import math

import numpy as np
import scipy.special as sc
from scipy.special import _ufuncs

import autograd_c.numpy as anp

from ..extend import call, chosen, composite, constant, elementwise, rule
from .support import as_array, lowered

ROOT_PI = math.sqrt(math.pi)
ROOT_2 = math.sqrt(2.0)
ROOT_2_PI = math.sqrt(2.0 * math.pi)
LOG_10 = math.log(10.0)
LOG_2 = math.log(2.0)
DEGREE = math.pi / 180.0
POSITIVE = (0.3, 3.0)
UNIT = (0.1, 0.9)


def _all(*conditions):
    """Where all of the conditions hold."""
    both = conditions[0]
    for condition in conditions[1:]:
        both = anp.logical_and(both, condition)
    return both


# --- logistic functions ---------------------------------------------------------------------------

expit = elementwise(sc.expit, lambda ans, x: ans * (1.0 - ans))
elementwise(sc.logit, lambda ans, x: 1.0 / (x * (1.0 - x)), domain=UNIT)
elementwise(sc.log_expit, lambda ans, x: expit(-x))

# --- error functions and the normal distribution --------------------------------------------------

elementwise(sc.erf, lambda ans, x: (2.0 / ROOT_PI) * anp.exp(-(x * x)))
elementwise(sc.erfc, lambda ans, x: (-2.0 / ROOT_PI) * anp.exp(-(x * x)))
erfcx = elementwise(sc.erfcx, lambda ans, x: 2.0 * x * ans - 2.0 / ROOT_PI)
elementwise(sc.erfi, lambda ans, x: (2.0 / ROOT_PI) * anp.exp(x * x))
elementwise(sc.dawsn, lambda ans, x: 1.0 - 2.0 * x * ans)
elementwise(sc.erfinv, lambda ans, x: (0.5 * ROOT_PI) * anp.exp(ans * ans), domain=(-0.9, 0.9))
elementwise(sc.erfcinv, lambda ans, x: (-0.5 * ROOT_PI) * anp.exp(ans * ans), domain=(0.1, 1.9))
elementwise(sc.ndtr, lambda ans, x: anp.exp(-0.5 * (x * x)) / ROOT_2_PI)
# The density over the distribution function, without a quotient of two numbers that underflow.
elementwise(sc.log_ndtr, lambda ans, x: (2.0 / ROOT_2_PI) / erfcx(-x / ROOT_2))
elementwise(sc.ndtri, lambda ans, x: ROOT_2_PI * anp.exp(0.5 * (ans * ans)), domain=UNIT)
elementwise(sc.ndtri_exp, lambda ans, x: (0.5 * ROOT_2_PI) * erfcx(-ans / ROOT_2), domain=(-3.0, -0.2))

# --- gamma and beta -------------------------------------------------------------------------------

# Hurwitz's zeta function by its second argument: psi's derivatives, as a ufunc.
zeta = elementwise(
    _ufuncs._zeta, None, lambda ans, s, q: -s * zeta(s + 1.0, q), name="zeta", domain=((1.5, 3.0), POSITIVE)
)


def _zeta_plain(s, q):
    """Hurwitz's zeta function of complex `q`: a sum and Euler and Maclaurin's remainder (A&S 23.1.30)."""
    q = np.asarray(q)
    # Each sum is as long as its argument is far from 10 on the left; NaN beyond -1000.
    q = np.where(q.real < -1000.0, np.nan, q).astype(q.dtype)
    length = np.ceil(np.nan_to_num(10.0 - q.real, nan=0.0)).clip(0.0)
    total = np.zeros(np.broadcast_shapes(np.shape(s), q.shape), np.result_type(q.dtype, np.float64))
    for k in range(int(length.max(initial=0.0))):
        total = total + np.where(k < length, (q + k) ** -s, 0.0)
    q = q + length
    total = total + q ** (1.0 - s) / (s - 1.0) + 0.5 * q**-s
    term = s * q ** (-s - 1.0)
    for k, bernoulli in enumerate(sc.bernoulli(16)[2::2], start=1):
        total = total + bernoulli / math.factorial(2 * k) * term
        term = term * (s + 2 * k - 1) * (s + 2 * k) / (q * q)
    return total.astype(q.dtype)[()]


zeta_complex = rule(
    _zeta_plain,
    (None, lambda g, _ans, s, q: g * (-s * zeta_complex(s + 1.0, q))),
    (None, lambda t, ans, s, q: t * (-s * zeta_complex(s + 1.0, q))),
    name="zeta",
    examples=(lambda x: call(2.0, x(4) + 1.0), lambda x: call(3.0, x(4) + 3.0)),
)
for fun in dict.fromkeys((sc.psi, sc.digamma)):
    psi = elementwise(
        fun,
        lambda ans, x: zeta(2.0, x),
        complex_partials=(lambda ans, x: zeta_complex(2.0, x),),
        domain=POSITIVE,
    )
gammaln = elementwise(sc.gammaln, lambda ans, x: psi(x), domain=POSITIVE)
elementwise(sc.loggamma, lambda ans, x: psi(x), domain=POSITIVE)
gamma = elementwise(sc.gamma, lambda ans, x: ans * psi(x), domain=POSITIVE)


def _rgamma_slope(ans, x):
    """At the poles of gamma, -n, the limit ``(-1)^n n!``."""
    pole = _all(ans == 0.0, x < 1.0)
    limit = anp.cos(math.pi * x) * gamma(anp.where(pole, 1.0 - x, 1.0))
    return anp.where(pole, limit, -ans * psi(anp.where(pole, 1.0, x)))


elementwise(
    sc.rgamma,
    _rgamma_slope,
    complex_partials=(lambda ans, x: -ans * psi(x),),
    domain=POSITIVE,
)
elementwise(
    sc.beta,
    lambda ans, a, b: ans * (psi(a) - psi(a + b)),
    lambda ans, a, b: ans * (psi(b) - psi(a + b)),
    domain=POSITIVE,
)
betaln = elementwise(
    sc.betaln,
    lambda ans, a, b: psi(a) - psi(a + b),
    lambda ans, a, b: psi(b) - psi(a + b),
    domain=POSITIVE,
)
elementwise(
    sc.poch,
    lambda ans, z, m: ans * (psi(z + m) - psi(z)),
    lambda ans, z, m: ans * psi(z + m),
    domain=POSITIVE,
)


def _gamma_density(a, x):
    return anp.exp(xlogy(a - 1.0, x) - x - gammaln(a))


def _beta_density(a, b, x):
    return anp.exp(xlogy(a - 1.0, x) + xlog1py(b - 1.0, -x) - betaln(a, b))


elementwise(sc.gammainc, None, lambda ans, a, x: _gamma_density(a, x), domain=(POSITIVE, POSITIVE))
elementwise(sc.gammaincc, None, lambda ans, a, x: -_gamma_density(a, x), domain=(POSITIVE, POSITIVE))
elementwise(sc.gammaincinv, None, lambda ans, a, y: 1.0 / _gamma_density(a, ans), domain=(POSITIVE, UNIT))
elementwise(sc.gammainccinv, None, lambda ans, a, y: -1.0 / _gamma_density(a, ans), domain=(POSITIVE, UNIT))
elementwise(
    sc.betainc, None, None, lambda ans, a, b, x: _beta_density(a, b, x), domain=(POSITIVE, POSITIVE, UNIT)
)
elementwise(
    sc.betaincc, None, None, lambda ans, a, b, x: -_beta_density(a, b, x), domain=(POSITIVE, POSITIVE, UNIT)
)
elementwise(
    sc.betaincinv, None, None, lambda ans, a, b, y: 1.0 / _beta_density(a, b, ans),
    domain=(POSITIVE, POSITIVE, UNIT),
)  # fmt: skip
polygamma = rule(
    sc.polygamma,
    (None, lambda g, _ans, n, x: g * polygamma(np.asarray(n) + 1, x)),
    (None, lambda t, ans, n, x: t * polygamma(np.asarray(n) + 1, x)),
    examples=(
        lambda x: call(1, abs(x(4)) + 0.5),
        lambda x: call(np.array([0, 2, 3]), abs(x(3)) + 0.5),
    ),
)
rule(
    sc.multigammaln,
    (lambda g, _ans, a, d: g * _psi_sum(as_array(a), d), None),
    (lambda t, ans, a, d: t * _psi_sum(as_array(a), d), None),
    examples=(lambda x: call(abs(x(3)) + 2.0, 3),),
)


def _psi_sum(a, d):
    return anp.sum(psi(a[..., None] - 0.5 * np.arange(d)), axis=-1)


constant(sc.gammasgn)

# --- entropy --------------------------------------------------------------------------------------


def _ratio(x, y, both_zero):
    """``x / y``, 0 for 0 / 0."""
    return anp.where(both_zero, 0.0, x) / anp.where(both_zero, 1.0, y)


xlogy = elementwise(
    sc.xlogy,
    lambda ans, x, y: anp.log(anp.where(_all(x == 0.0, y == 0.0), 1.0, y)),
    lambda ans, x, y: _ratio(x, y, _all(x == 0.0, y == 0.0)),
    domain=((-2.0, 2.0), POSITIVE),
)
xlog1py = elementwise(
    sc.xlog1py,
    lambda ans, x, y: anp.log1p(anp.where(_all(x == 0.0, y == -1.0), 0.0, y)),
    lambda ans, x, y: _ratio(x, 1.0 + y, _all(x == 0.0, y == -1.0)),
    domain=((-2.0, 2.0), (-0.7, 2.0)),
)
elementwise(sc.entr, lambda ans, x: -1.0 - anp.log(x), domain=POSITIVE)
elementwise(
    sc.rel_entr,
    lambda ans, x, y: anp.log(x / y) + 1.0,
    lambda ans, x, y: -_ratio(x, y, _all(x == 0.0, y == 0.0)),
    domain=POSITIVE,
)
elementwise(
    sc.kl_div,
    lambda ans, x, y: anp.log(x / y),
    lambda ans, x, y: 1.0 - _ratio(x, y, _all(x == 0.0, y == 0.0)),
    domain=POSITIVE,
)
elementwise(
    sc.huber,
    lambda ans, delta, r: chosen(anp.abs(r) <= delta, 0.0, anp.abs(r) - delta),
    lambda ans, delta, r: anp.where(anp.abs(r) <= delta, r, delta * anp.sign(r)),
    domain=(POSITIVE, (-2.0, 2.0)),
)
elementwise(
    sc.pseudo_huber,
    lambda ans, delta, r: 2.0 * ans / delta - r * r / anp.hypot(delta, r),
    lambda ans, delta, r: delta * r / anp.hypot(delta, r),
    domain=(POSITIVE, (-2.0, 2.0)),
)

# --- Bessel functions -----------------------------------------------------------------------------

jv = elementwise(
    sc.jv, None, lambda ans, v, x: 0.5 * (jv(v - 1.0, x) - jv(v + 1.0, x)), domain=((0.2, 2.0), POSITIVE)
)
yv = elementwise(
    sc.yv, None, lambda ans, v, x: 0.5 * (yv(v - 1.0, x) - yv(v + 1.0, x)), domain=((0.2, 2.0), POSITIVE)
)
iv = elementwise(
    sc.iv, None, lambda ans, v, x: 0.5 * (iv(v - 1.0, x) + iv(v + 1.0, x)), domain=((0.2, 2.0), POSITIVE)
)
kv = elementwise(
    sc.kv, None, lambda ans, v, x: -0.5 * (kv(v - 1.0, x) + kv(v + 1.0, x)), domain=((0.2, 2.0), POSITIVE)
)
# Scaled by exp(-|x|) and exp(x); of complex x only the real functions have a derivative.
ive = elementwise(
    sc.ive,
    None,
    lambda ans, v, x: 0.5 * (ive(v - 1.0, x) + ive(v + 1.0, x)) - anp.sign(x) * ans,
    domain=((0.2, 2.0), POSITIVE),
)
kve = elementwise(
    sc.kve,
    None,
    lambda ans, v, x: ans - 0.5 * (kve(v - 1.0, x) + kve(v + 1.0, x)),
    domain=((0.2, 2.0), POSITIVE),
)
j1 = elementwise(sc.j1, lambda ans, x: 0.5 * (j0(x) - jv(2.0, x)))
j0 = elementwise(sc.j0, lambda ans, x: -j1(x))
y1 = elementwise(sc.y1, lambda ans, x: 0.5 * (y0(x) - yv(2.0, x)), domain=POSITIVE)
y0 = elementwise(sc.y0, lambda ans, x: -y1(x), domain=POSITIVE)
i1 = elementwise(sc.i1, lambda ans, x: 0.5 * (i0(x) + iv(2.0, x)))
i0 = elementwise(sc.i0, lambda ans, x: i1(x))
k1 = elementwise(sc.k1, lambda ans, x: -0.5 * (k0(x) + kv(2.0, x)), domain=POSITIVE)
k0 = elementwise(sc.k0, lambda ans, x: -k1(x), domain=POSITIVE)
i1e = elementwise(sc.i1e, lambda ans, x: 0.5 * (i0e(x) + ive(2.0, x)) - anp.sign(x) * ans)
i0e = elementwise(sc.i0e, lambda ans, x: i1e(x) - anp.sign(x) * ans)
k1e = elementwise(sc.k1e, lambda ans, x: ans - 0.5 * (k0e(x) + kve(2.0, x)), domain=POSITIVE)
k0e = elementwise(sc.k0e, lambda ans, x: ans - k1e(x), domain=POSITIVE)


def _integer_order(fun, general, sign):
    """The Bessel functions that take whole orders only."""

    def slope(n, x):
        return 0.5 * (sign * general(np.asarray(n) - 1.0, x) - general(np.asarray(n) + 1.0, x))

    rule(
        fun,
        (None, lambda g, _ans, n, x: g * slope(n, x)),
        (None, lambda t, ans, n, x: t * slope(n, x)),
        examples=(lambda x: call(2, abs(x(4)) + 0.5), lambda x: call(np.array([0, 1, 3]), abs(x(3)) + 0.5)),
    )


_integer_order(sc.yn, yv, 1.0)
_integer_order(sc.kn, kv, -1.0)

# --- SciPy's own copies of elementary functions ---------------------------------------------------

elementwise(sc.exp2, lambda ans, x: LOG_2 * ans)
elementwise(sc.exp10, lambda ans, x: LOG_10 * ans)
elementwise(sc.expm1, lambda ans, x: ans + 1.0)
elementwise(sc.log1p, lambda ans, x: 1.0 / (1.0 + x), domain=(-0.5, 2.0))
elementwise(sc.cbrt, lambda ans, x: 1.0 / (3.0 * ans * ans), domain=(0.5, 2.0))
elementwise(sc.cosm1, lambda ans, x: -anp.sin(x))
sindg = elementwise(sc.sindg, lambda ans, x: DEGREE * cosdg(x))
cosdg = elementwise(sc.cosdg, lambda ans, x: -DEGREE * sindg(x))
elementwise(sc.tandg, lambda ans, x: DEGREE * (1.0 + ans * ans))
elementwise(sc.expi, lambda ans, x: anp.exp(x) / x, domain=POSITIVE)
elementwise(sc.exp1, lambda ans, x: -anp.exp(-x) / x, domain=POSITIVE)
constant(sc.round)

# --- sums of exponentials -------------------------------------------------------------------------


def _expanded(g, x, axis, keepdims):
    """A reduced value with its axes of length one back."""
    return g if keepdims or axis is None else anp.expand_dims(g, axis)


def _finite(x):
    return anp.where(anp.isinf(x), 0.0, x)


def _weights(a, ans, axis, keepdims):
    """``exp(a - ans)``, the share of each item; 0 for items of -inf."""
    return anp.exp(a - _expanded(_finite(ans), a, axis, keepdims))


_lse = rule(
    lambda a, axis=None, keepdims=False: sc.logsumexp(a, axis=axis, keepdims=keepdims),
    (
        lambda g, ans, a, axis=None, keepdims=False: (
            _expanded(g, a, axis, keepdims) * _weights(a, ans, axis, keepdims)
        ),
    ),
    (
        lambda t, ans, a, axis=None, keepdims=False: anp.sum(
            t * _weights(a, ans, axis, keepdims), axis=axis, keepdims=keepdims
        ),
    ),
    name="logsumexp",
)


@lowered(_lse)
def _lse_as_sums(a, axis=None, keepdims=False):
    """As SciPy computes it: the largest items apart, so that what they are added to is not lost."""
    if a.dtype.char not in "fd" or not a.size:
        return NotImplemented
    largest = anp.max(a, axis=axis, keepdims=True)
    at_most = a == largest
    count = anp.sum(anp.where(at_most, 1.0, 0.0).astype(a.dtype), axis=axis, keepdims=True)
    rest = anp.where(at_most, 0.0, anp.exp(a - anp.where(anp.isfinite(largest), largest, 0.0)))
    rest = anp.sum(rest, axis=axis, keepdims=True) / count
    result = anp.log1p(rest) + anp.log(count) + largest
    return result if keepdims else anp.sum(result, axis=axis)


def _factor_weights(a, b, ans, axis, keepdims):
    """The shares without their factors; items whose factor is 0 cannot overflow."""
    level = _expanded(_finite(ans), a, axis, keepdims)
    return anp.exp(anp.where(b == 0.0, level, a) - level)


def _factors_vjp_a(g, ans, a, b, axis, keepdims):
    return _expanded(g, a, axis, keepdims) * (b * _factor_weights(a, b, ans, axis, keepdims))


def _factors_vjp_b(g, ans, a, b, axis, keepdims):
    return _expanded(g, a, axis, keepdims) * _factor_weights(a, b, ans, axis, keepdims)


def _factors_jvp_a(t, ans, a, b, axis, keepdims):
    return anp.sum(t * (b * _factor_weights(a, b, ans, axis, keepdims)), axis=axis, keepdims=keepdims)


def _factors_jvp_b(t, ans, a, b, axis, keepdims):
    return anp.sum(t * _factor_weights(a, b, ans, axis, keepdims), axis=axis, keepdims=keepdims)


_lse_factors = rule(
    lambda a, b, axis, keepdims: sc.logsumexp(a, axis=axis, b=b, keepdims=keepdims),
    (_factors_vjp_a, _factors_vjp_b, None, None),
    (_factors_jvp_a, _factors_jvp_b, None, None),
    name="logsumexp",
)


# The logarithm of the absolute value, and the sign, side by side.


def _signed_plain(a, b, axis, keepdims):
    return np.stack(sc.logsumexp(a, axis=axis, b=b, keepdims=keepdims, return_sign=True))


def _signed_vjp_a(g, ans, a, b, axis, keepdims):
    return _factors_vjp_a(g[0] * ans[1], ans[0], a, b, axis, keepdims)


def _signed_vjp_b(g, ans, a, b, axis, keepdims):
    return _factors_vjp_b(g[0] * ans[1], ans[0], a, b, axis, keepdims)


def _signed_jvp_a(t, ans, a, b, axis, keepdims):
    total = ans[1] * _factors_jvp_a(t, ans[0], a, b, axis, keepdims)
    return anp.stack([total, 0.0 * total])


def _signed_jvp_b(t, ans, a, b, axis, keepdims):
    total = ans[1] * _factors_jvp_b(t, ans[0], a, b, axis, keepdims)
    return anp.stack([total, 0.0 * total])


_lse_signed = rule(
    _signed_plain,
    (_signed_vjp_a, _signed_vjp_b, None, None),
    (_signed_jvp_a, _signed_jvp_b, None, None),
    name="logsumexp",
)


@composite(
    sc.logsumexp,
    examples=(
        lambda x: call(x(4)),
        lambda x: call(x(3, 4)),
        lambda x: call(x(3, 4), axis=1),
        lambda x: call(x(2, 3, 4), axis=(0, -1), keepdims=True),
        lambda x: call(x(3, 4), 0, abs(x(3, 4)) + 0.1),
        lambda x: call(x(3, 4), axis=1, b=abs(x(4)) + 0.1, keepdims=True),
        lambda x: call(x(3, 4).real, b=np.array([1.0, -2.0, 1.5, -1.0]), axis=1, return_sign=True),
        lambda x: call(x(4).real, return_sign=True),
    ),
)
def _(a, axis=None, b=None, keepdims=False, return_sign=False):
    a = as_array(a)
    if b is None and not return_sign:
        return _lse(a, axis=axis, keepdims=keepdims)
    b = np.ones((), a.dtype) if b is None else as_array(b)
    if not return_sign:
        return _lse_factors(a, b, axis, keepdims)
    if a.dtype.kind == "c" or b.dtype.kind == "c":
        raise TypeError("logsumexp: with return_sign=True it has a derivative for real arguments only")
    both = _lse_signed(a, b, axis, keepdims)
    return both[0], both[1]


def _softmax_jvp(t, ans, x, axis=None):
    return ans * (t - anp.sum(ans * t, axis=axis, keepdims=True))


rule(
    sc.softmax,
    (lambda g, ans, _x, axis=None: _softmax_jvp(g, ans, None, axis), None),
    (_softmax_jvp, None),
    examples=(lambda x: call(x(4)), lambda x: call(x(3, 4), axis=1), lambda x: call(x(2, 3, 2), axis=(0, 2))),
)


@lowered(sc.softmax)
def _softmax_as_sums(x, axis=None):
    if x.dtype.char not in "fd" or not x.size:
        return NotImplemented
    shares = anp.exp(x - anp.max(x, axis=axis, keepdims=True))
    return shares / anp.sum(shares, axis=axis, keepdims=True)


rule(
    sc.log_softmax,
    (lambda g, ans, _x, axis=None: g - anp.exp(ans) * anp.sum(g, axis=axis, keepdims=True), None),
    (lambda t, ans, x, axis=None: t - anp.sum(anp.exp(ans) * t, axis=axis, keepdims=True), None),
    examples=(lambda x: call(x(4)), lambda x: call(x(3, 4), axis=-1)),
)


@lowered(sc.log_softmax)
def _log_softmax_as_sums(x, axis=None):
    if x.dtype.char not in "fd" or not x.size:
        return NotImplemented
    largest = anp.max(x, axis=axis, keepdims=True)
    below = x - anp.where(anp.isfinite(largest), largest, 0.0)
    return below - anp.log(anp.sum(anp.exp(below), axis=axis, keepdims=True))
