"""Special functions: slopes against mpmath where they are hard, singular points, agreement with HIPS."""

import autograd
import autograd.scipy.special as hips
import mpmath
import numpy as np
import pytest
import scipy.special as sc

import autograd_c.numpy as anp
import autograd_c.scipy.special as special
from autograd_c import elementwise_grad, grad, holomorphic_grad, jacobian, make_jvp, make_vjp
from autograd_c.test_util import check_grads

rng = np.random.default_rng(0)
X = np.linspace(0.3, 2.7, 7)

ONE_ARGUMENT = "psi digamma gamma gammaln rgamma j0 j1 y0 y1 i0 i1 erf erfc expit".split()


@pytest.mark.parametrize("name", ONE_ARGUMENT)
def test_slopes_are_those_of_hips(name):
    ours, theirs = getattr(special, name), getattr(hips, name)
    np.testing.assert_allclose(elementwise_grad(ours)(X), autograd.elementwise_grad(theirs)(X), rtol=1e-12)


@pytest.mark.parametrize("name", "erfinv erfcinv logit".split())
def test_slopes_within_the_unit_interval_are_those_of_hips(name):
    ours, theirs = getattr(special, name), getattr(hips, name)
    np.testing.assert_allclose(
        elementwise_grad(ours)(X / 3), autograd.elementwise_grad(theirs)(X / 3), rtol=1e-12
    )


@pytest.mark.parametrize("name", "polygamma jn yn iv ive gammainc gammaincc".split())
def test_slopes_by_the_second_argument_are_those_of_hips(name):
    ours, theirs = getattr(special, name), getattr(hips, name)
    for first in (1, 2):
        got = elementwise_grad(lambda x: ours(first, x))(X)  # noqa: B023
        np.testing.assert_allclose(got, autograd.elementwise_grad(lambda x: theirs(first, x))(X), rtol=1e-10)  # noqa: B023


@pytest.mark.parametrize("name", ["beta", "betaln"])
def test_beta_is_that_of_hips(name):
    for argnum in (0, 1):
        ours = elementwise_grad(getattr(special, name), argnum)(X, X[::-1].copy())
        theirs = autograd.elementwise_grad(getattr(hips, name), argnum)(X, X[::-1].copy())
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


# ---------------------------------------------------------------- against mpmath


def normal_distribution(x):
    return mpmath.erfc(-x / mpmath.sqrt(2)) / 2


HARD = {
    "log_ndtr": (
        special.log_ndtr,
        lambda x: mpmath.log(normal_distribution(x)),
        [-100.0, -30.0, -1.0, 0.0, 5.0, 9.0],
    ),
    "ndtr": (special.ndtr, normal_distribution, [-30.0, -3.0, 0.1, 8.0]),
    "erfcx": (special.erfcx, lambda x: mpmath.exp(x * x) * mpmath.erfc(x), [-2.0, 0.0, 1.0, 3.0]),
    "dawsn": (
        special.dawsn,
        lambda x: mpmath.sqrt(mpmath.pi) / 2 * mpmath.exp(-x * x) * mpmath.erfi(x),
        [0.0, 0.9, 2.0],
    ),
    "log_expit": (
        special.log_expit,
        lambda x: -mpmath.log1p(mpmath.exp(-x)),
        [-10.0, -1.0, 0.0, 40.0, 200.0],
    ),
    "psi": (special.psi, mpmath.digamma, [-3.3, -0.4, 0.01, 1.0, 1e6]),
    "gammaln": (special.gammaln, lambda x: mpmath.log(abs(mpmath.gamma(x))), [-2.6, 1e-5, 1.4616, 50.0]),
    "rgamma": (special.rgamma, mpmath.rgamma, [-4.0, -3.0, -1.0, -0.5, 0.0, 2.0, 30.0]),
    "betainc": (
        lambda x: special.betainc(0.4, 12.0, x),
        lambda x: mpmath.betainc(0.4, 12, 0, x, regularized=True),
        [1e-6, 0.2, 0.9],
    ),
    "gammainc": (
        lambda x: special.gammainc(30.0, x),
        lambda x: mpmath.gammainc(30, 0, x, regularized=True),
        [1.0, 25.0, 60.0],
    ),
    "jv": (lambda x: special.jv(0.5, x), lambda x: mpmath.besselj(0.5, x), [0.1, 5.0, 40.0]),
    "yv": (lambda x: special.yv(2.5, x), lambda x: mpmath.bessely(2.5, x), [0.5, 5.0]),
    "kv": (lambda x: special.kv(1.5, x), lambda x: mpmath.besselk(1.5, x), [0.01, 5.0, 60.0]),
    "ive": (
        lambda x: special.ive(1.5, x),
        lambda x: mpmath.besseli(1.5, x) * mpmath.exp(-abs(x)),
        [0.2, 30.0],
    ),
    "polygamma": (lambda x: special.polygamma(2, x), lambda x: mpmath.polygamma(2, x), [0.05, 3.0, 100.0]),
    "multigammaln": (
        lambda x: special.multigammaln(x, 3),
        lambda a: sum(mpmath.loggamma(a - mpmath.mpf(j) / 2) for j in range(3)),
        [1.1, 20.0],
    ),
    "entr": (special.entr, lambda x: -x * mpmath.log(x), [1e-8, 0.5, 4.0]),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("order", [1, 2])
def test_slopes_against_mpmath(name, order):
    ours, exact, points = HARD[name]
    derivative = ours
    for _ in range(order):
        derivative = grad(derivative)
    if name == "rgamma" and order == 2:
        points = [x for x in points if x > 0]  # at the poles of gamma the limit is that of the slope
    with mpmath.workdps(60):
        expected = [float(mpmath.diff(exact, x, order)) for x in points]
    np.testing.assert_allclose([derivative(x) for x in points], expected, rtol=2e-9)


@pytest.mark.parametrize("name", ["psi", "gamma", "loggamma", "rgamma"])
def test_complex_gamma_functions(name):
    exact = {"psi": mpmath.digamma}.get(name) or getattr(mpmath, name)
    for z in (1.3 + 0.4j, -2.4 + 1.0j, 12.0 - 30.0j):
        for order in (1, 2):
            derivative = getattr(special, name)
            for _ in range(order):
                derivative = holomorphic_grad(derivative)
            with mpmath.workdps(40):
                expected = complex(mpmath.diff(exact, z, order))
            np.testing.assert_allclose(derivative(z), expected, rtol=1e-9)


# ---------------------------------------------------------------- singular points


def test_zero_times_a_logarithm():
    for function, edge in ((special.xlogy, 0.0), (special.xlog1py, -1.0)):
        assert grad(function, 0)(0.0, edge) == 0.0
        assert grad(function, 1)(0.0, edge) == 0.0
        assert grad(grad(function, 1), 0)(0.0, edge + 2.0) == 0.5
    for function in (special.rel_entr, special.kl_div):
        assert np.isfinite(grad(function, 1)(0.0, 0.0))
        with np.errstate(divide="ignore"):  # the slope by x is infinite there
            assert grad(grad(function, 1), 0)(0.0, 2.0) == -0.5
    with np.errstate(divide="ignore"):
        assert grad(special.entr)(0.0) == np.inf


def test_incomplete_functions_at_the_ends():
    assert grad(special.gammainc, 1)(1.0, 0.0) == 1.0
    assert grad(special.gammainc, 1)(2.0, 0.0) == 0.0
    assert grad(special.betainc, 2)(1.0, 1.0, 0.0) == pytest.approx(1.0)
    assert grad(special.betainc, 2)(1.0, 3.0, 1.0) == 0.0


def test_bessel_functions_at_zero():
    for name, slope in (("j1", 0.5), ("i1", 0.5), ("j0", 0.0), ("i0", 0.0)):
        assert grad(getattr(special, name))(0.0) == slope


def test_parameters_without_a_derivative_say_so():
    for call in (
        lambda a: special.gammainc(a, 1.0),
        lambda v: special.jv(v, 1.0),
        lambda a: special.betainc(a, 1.0, 0.5),
    ):
        with pytest.raises(TypeError, match="argument 0"):
            grad(call)(2.0)


# ---------------------------------------------------------------- sums of exponentials


def test_logsumexp_of_infinities():
    x = np.array([0.0, -np.inf, 1.0])
    weights = np.exp(x - sc.logsumexp(x))
    np.testing.assert_allclose(grad(special.logsumexp)(x), weights)
    np.testing.assert_allclose(make_jvp(special.logsumexp)(x)(np.ones(3))[1], 1.0)
    np.testing.assert_array_equal(grad(special.logsumexp)(np.full(3, -np.inf)), np.zeros(3))
    assert np.isfinite(jacobian(grad(special.logsumexp))(x)).all()
    large = np.array([1e5, -1e5, 1e5])
    np.testing.assert_allclose(grad(special.logsumexp)(large), [0.5, 0.0, 0.5])


def test_logsumexp_with_factors():
    x, b = np.array([1.0, 800.0, 2.0]), np.array([2.0, 0.0, 1.0])
    shares = np.array([2.0 * np.exp(1.0), 0.0, np.exp(2.0)]) / (2.0 * np.exp(1.0) + np.exp(2.0))
    np.testing.assert_allclose(grad(lambda x: special.logsumexp(x, b=b))(x), shares)
    check_grads(lambda x, b: special.logsumexp(x, b=b, axis=0, keepdims=True), argnum=(0, 1))(
        X, X[::-1].copy()
    )
    check_grads(lambda x, b: special.logsumexp(x, b=b, return_sign=True), argnum=(0, 1))(
        X[:3], np.array([1.0, -3.0, 0.5])
    )
    log, sign = make_vjp(lambda x: special.logsumexp(x, b=np.array([1.0, -3.0, 0.5]), return_sign=True))(
        X[:3]
    )[1]
    assert (log, sign) == sc.logsumexp(X[:3], b=np.array([1.0, -3.0, 0.5]), return_sign=True)
    with pytest.raises(TypeError, match="return_sign"):
        make_vjp(lambda z: special.logsumexp(z, return_sign=True))(X + 1j)


def test_softmax_of_large_numbers():
    x = np.array([1000.0, 0.0, 999.0])
    p = sc.softmax(x)
    np.testing.assert_allclose(jacobian(special.softmax)(x), np.diag(p) - np.outer(p, p), atol=1e-15)
    np.testing.assert_allclose(jacobian(special.log_softmax)(x), np.eye(3) - p, atol=1e-15)


# ---------------------------------------------------------------- how they are called


def test_scipys_own_ufuncs_take_traced_values():
    for name in ("erf", "gammaln", "expit", "xlogy"):
        ours, plain = getattr(special, name), getattr(sc, name)
        arguments = (X, X)[: plain.nin]
        got = grad(lambda x: anp.sum(plain(*(x,) * plain.nin)))(X)  # noqa: B023
        np.testing.assert_array_equal(got, grad(lambda x: anp.sum(ours(*(x,) * plain.nin)))(X))  # noqa: B023
        np.testing.assert_array_equal(ours(*arguments), plain(*arguments))


def test_ufuncs_without_a_rule_refuse():
    with pytest.raises(TypeError, match="no derivative here"):
        grad(sc.kolmogorov)(0.5)


def test_float32_stays():
    x = X.astype(np.float32)
    for name in ("expit", "gammaln", "psi", "erf", "log_ndtr", "logsumexp", "softmax", "i0", "ndtr"):
        assert grad(lambda x: anp.sum(getattr(special, name)(x)))(x).dtype == np.float32  # noqa: B023
