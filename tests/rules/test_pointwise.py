"""Functions of single entries: bounds, NaN, sinc near zero, angles."""

import mpmath
import numpy
import pytest

import autograd_c.numpy as np
from autograd_c import elementwise_grad, grad, jvp
from autograd_c.test_util import check_grads

POINTS = numpy.array([-2.0, -1.0, -0.5, 1.0, 3.0])


# ---------------------------------------------------------------- clip


def test_clip_shares_ties_with_the_bounds():
    expected = [0.0, 0.5, 1.0, 0.5, 0.0]
    for clipped in (
        lambda x: np.clip(x, -1.0, 1.0),
        lambda x: np.clip(x, min=-1.0, max=1.0),
        lambda x: np.clip(np.clip(x, -1.0, None), None, 1.0),
        lambda x: np.minimum(np.maximum(x, -1.0), 1.0),
        lambda x: numpy.clip(x, -1.0, 1.0),
    ):
        numpy.testing.assert_array_equal(elementwise_grad(clipped)(POINTS), expected)
        numpy.testing.assert_array_equal(jvp(clipped, (POINTS,), (numpy.ones(5),))[1], expected)


def test_the_shares_of_clip_add_up_to_one():
    ones = numpy.ones(7)
    x = numpy.array([-2.0, -1.0, 0.0, 1.0, 2.0, -1.0, 5.0])
    low = numpy.array([-1.0, -1.0, -1.0, -1.0, -1.0, -1.0, 2.0])
    high = numpy.array([1.0, 1.0, 1.0, 1.0, 1.0, -1.0, 2.0])
    total = jvp(np.clip, (x, low, high), (ones, ones, ones))[1]
    numpy.testing.assert_array_equal(total, ones)


def test_clip_of_bounds_that_are_traced():
    check_grads(lambda p: np.clip(POINTS + 0.1, p[0], p[1]))((-0.7, numpy.linspace(0.5, 0.9, 5)))
    check_grads(lambda p: np.clip(POINTS + 0.1, None, p))(0.9)
    check_grads(lambda p: np.clip(POINTS + 0.1, min=p))(0.4)


def test_clip_keeps_signed_zeros_and_dtype():
    x = numpy.array([-0.0, 0.0, numpy.nan], numpy.float32)
    value, tangent = jvp(lambda x: np.clip(x, 0.0, 1.0), (x,), (x,))
    assert value.tobytes() == numpy.clip(x, 0.0, 1.0).tobytes()
    assert value.dtype == tangent.dtype == numpy.float32


def test_clip_refuses_what_it_cannot_do():
    with pytest.raises(TypeError, match="clip: out="):
        grad(lambda x: np.sum(np.clip(x, 0.0, 1.0, out=numpy.zeros(5))))(POINTS)
    with pytest.raises(TypeError, match="a_max"):
        grad(lambda x: np.sum(np.clip(x, 0.0)))(POINTS)
    with pytest.raises(ValueError, match="min"):
        grad(lambda x: np.sum(np.clip(x, 0.0, 1.0, min=0.5)))(POINTS)


# ---------------------------------------------------------------- NaN and infinity


def test_nan_to_num():
    x = numpy.array([1.0, numpy.nan, numpy.inf, -numpy.inf])
    numpy.testing.assert_array_equal(grad(lambda x: np.sum(np.nan_to_num(x)))(x), [1.0, 0.0, 0.0, 0.0])
    z = numpy.array([1.0 + 2j, complex(numpy.nan, 3.0), complex(4.0, numpy.inf)])
    tangent = jvp(np.nan_to_num, (z,), (numpy.full(3, 5.0 + 7j),))[1]
    numpy.testing.assert_array_equal(tangent, [5 + 7j, 7j, 5])


def test_real_if_close():
    z = numpy.array([1.0 + 1e-17j, 2.0])
    value, tangent = jvp(np.real_if_close, (z,), (z,))
    assert value.dtype == tangent.dtype == float
    numpy.testing.assert_array_equal(tangent, [1.0, 2.0])
    assert jvp(np.real_if_close, (z + 1j,), (z,))[1].dtype == complex
    assert jvp(np.real_if_close, (z + 1e-3j,), (z,))[0].dtype == complex
    assert jvp(lambda z: np.real_if_close(z, tol=1e14), (z + 1e-3j,), (z,))[0].dtype == float


# ---------------------------------------------------------------- sinc and i0


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_derivatives_of_sinc_near_zero(order):
    fun = np.sinc
    for _ in range(order):
        fun = elementwise_grad(fun)
    x = numpy.array([0.0, 1e-20, 1e-9, 1e-4, -0.01, 0.1, 0.2499, 0.25, 0.2501, -0.7, 1.0, 3.3])
    with mpmath.workdps(60):
        expected = [float(mpmath.diff(mpmath.sincpi, mpmath.mpf(v), order)) for v in x]
    numpy.testing.assert_allclose(fun(x), expected, rtol=1e-12, atol=1e-13 * numpy.pi**order)
    numpy.testing.assert_allclose([fun(v) for v in x], expected, rtol=1e-12, atol=1e-13 * numpy.pi**order)


def test_sinc_at_zero():
    assert grad(np.sinc)(0.0) == 0.0
    numpy.testing.assert_allclose(grad(grad(np.sinc))(0.0), -(numpy.pi**2) / 3, rtol=1e-15)
    assert grad(np.sinc)(numpy.float32(0.1)).dtype == numpy.float32


# ---------------------------------------------------------------- angle


def test_angle():
    z = numpy.array([1 + 1j, -2 + 0.5j, -1j])
    value, tangent = jvp(np.angle, (z,), (1j * z,))
    numpy.testing.assert_array_equal(value, numpy.angle(z))
    numpy.testing.assert_allclose(tangent, numpy.ones(3), rtol=1e-15)
    numpy.testing.assert_allclose(jvp(lambda z: np.angle(z, deg=True), (z,), (1j * z,))[1], 180 / numpy.pi)


def test_angle_of_real_numbers_is_constant():
    x = numpy.array([-1.0, 0.0, 2.0])
    numpy.testing.assert_array_equal(grad(lambda x: np.sum(x * np.angle(x)))(x), numpy.angle(x))


def test_angle_as_hips():
    hips = pytest.importorskip("autograd")
    import autograd.numpy as hips_numpy

    z = numpy.array([1 + 1j, -2 + 0.5j, -1j])
    numpy.testing.assert_allclose(
        grad(lambda z: np.sum(np.angle(z) ** 2))(z),
        hips.grad(lambda z: hips_numpy.sum(hips_numpy.angle(z) ** 2))(z),
        rtol=1e-14,
    )
