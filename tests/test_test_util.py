"""The checks of derivatives find what is wrong, and pass what is right."""

import warnings

import numpy as onp
import pytest

import autograd_c.numpy as np
from autograd_c.extend import defjvp, defvjp, primitive
from autograd_c.test_util import check_equivalent, check_grads, check_jvp, check_vjp, combo_check

VECTOR = onp.array([0.3, -0.7, 1.2])
MATRIX = onp.array([[0.3, -0.7, 1.2], [2.0, 0.1, -0.4]])

RIGHT = [
    (np.sin, 0.5),
    (lambda x: x**3 * np.exp(x), VECTOR),
    (lambda x: np.sum(np.tanh(x) ** 2, axis=0), MATRIX),
    (lambda x: np.dot(x, x.T), MATRIX),
    (lambda z: z**2 * np.exp(1j * z), VECTOR + 0.5j),
    (lambda z: np.real(z) ** 2 * np.imag(z), 0.4 - 0.3j),
    (lambda x: np.exp(1j * x), VECTOR),
    (lambda p: p["a"] * np.sin(p["b"][0]), {"a": VECTOR, "b": (2.0, None)}),
    (lambda p: {"sum": p[0] + p[1], "rest": [p[0] * p[1], "name"]}, [VECTOR, 0.5]),
]


@pytest.mark.parametrize("fun, x", RIGHT)
@pytest.mark.parametrize("modes", [["fwd"], ["rev"], ["fwd", "rev"]])
def test_right_derivatives_pass(fun, x, modes):
    check_grads(fun, modes=modes, order=2)(x)


def test_third_order():
    check_grads(lambda x: np.sin(x) * np.exp(x), order=3)(VECTOR)


@pytest.mark.parametrize("dtype", [onp.float32, onp.complex64])
def test_single_precision(dtype):
    check_grads(lambda x: np.sin(x) * x, order=2)(VECTOR.astype(dtype))


def test_several_arguments():
    check_grads(lambda x, y, power: (x * y) ** power, argnum=(0, 1))(VECTOR, MATRIX, 3)
    check_grads(lambda x, y, power: (x * y) ** power, argnum=1)(VECTOR, MATRIX, power=3)


def wrong(factor=1.0, jvp_factor=1.0, curvature=1.0):
    """A cube whose rules are off by factors."""

    @primitive
    def cube(x):
        return x**3

    @primitive
    def square(x):
        return x**2

    defvjp(square, lambda ans, x: lambda g: curvature * 2 * x * g)
    defjvp(square, lambda g, ans, x: curvature * 2 * x * g)
    defvjp(cube, lambda ans, x: lambda g: factor * 3 * square(x) * g)
    defjvp(cube, lambda g, ans, x: jvp_factor * 3 * square(x) * g)
    return cube


def test_the_right_cube_passes():
    check_grads(wrong(), order=3)(VECTOR)


@pytest.mark.parametrize("factor", [1 + 1e-6, 1 - 1e-6, -1.0, 0.0, float("nan")])
def test_a_wrong_vjp_fails(factor):
    with pytest.raises(AssertionError, match="check_grads of cube .* derivative is off by"):
        check_grads(wrong(factor), modes=["rev"], order=1)(VECTOR)
    with pytest.raises(AssertionError, match="check_vjp of cube"):
        check_vjp(wrong(factor), VECTOR)


@pytest.mark.parametrize("factor", [1 + 1e-6, 1 - 1e-6, -1.0, 0.0, float("nan")])
def test_a_wrong_jvp_fails(factor):
    fun = wrong(jvp_factor=factor)
    with pytest.raises(AssertionError, match="derivative is off by"):
        check_grads(fun, modes=["fwd"], order=1)(VECTOR)
    with pytest.raises(AssertionError, match="check_jvp of cube"):
        check_jvp(fun, VECTOR)
    check_grads(fun, modes=["rev"], order=1)(VECTOR)


def test_a_wrong_second_derivative_fails_at_order_two_only():
    fun = wrong(curvature=1.01)
    check_grads(fun, order=1)(VECTOR)
    for mode in ("fwd", "rev"):
        with pytest.raises(AssertionError, match=f"{mode} derivative in check_grads of cube"):
            check_grads(fun, modes=[mode], order=2)(VECTOR)


def test_one_wrong_element_among_many_fails():
    @primitive
    def double(x):
        return 2 * x

    factors = onp.full(100, 2.0)
    factors[17] = 2.001
    defvjp(double, lambda ans, x: lambda g: factors * g)
    defjvp(double, lambda g, ans, x: factors * g)
    with pytest.raises(AssertionError, match="off by"):
        check_vjp(double, onp.ones(100))
    with pytest.raises(AssertionError, match="off by"):
        check_jvp(double, onp.ones(100))


def test_a_wrong_shape_of_a_tangent_fails():
    @primitive
    def double(x):
        return 2 * x

    defjvp(double, lambda g, ans, x: onp.ones((2, 3)))
    with pytest.raises((AssertionError, ValueError)):
        check_jvp(double, VECTOR)


def test_a_conjugated_derivative_fails():
    @primitive
    def square(z):
        return z**2

    defvjp(square, lambda ans, z: lambda g: g * 2 * onp.conj(z))
    with pytest.raises(AssertionError, match="off by"):
        check_vjp(square, 0.5 + 0.5j)


def test_tolerances_can_be_set():
    check_vjp(wrong(1 + 1e-6), VECTOR, rtol=1e-5)
    check_grads(wrong(1 + 1e-6), modes=["rev"], order=1, atol=1e-4)(VECTOR)


def test_failures_do_not_depend_on_numpys_random_state():
    onp.random.seed(1)
    state = onp.random.get_state()[1].copy()
    check_grads(np.sin)(0.5)
    assert (onp.random.get_state()[1] == state).all()


@pytest.mark.parametrize("modes", [["forward"], ["fwd", "reverse"], []])
def test_unknown_modes_are_refused(modes):
    with pytest.raises(ValueError, match="modes must be taken from"):
        check_grads(np.sin, modes=modes)


def test_order_zero_is_refused():
    with pytest.raises(ValueError, match="order must be at least 1"):
        check_grads(np.sin, order=0)


def test_integers_are_refused():
    with pytest.raises(TypeError, match="pass a float instead"):
        check_grads(np.sin)(1)


EQUIVALENT = [
    (1.0, 1.0),
    (VECTOR, VECTOR + 1e-12),
    ({"a": [VECTOR, 1j]}, {"a": [VECTOR, 1j + 1e-12]}),
    (onp.float32(1), onp.float32(1 + 1e-6)),
]


@pytest.mark.parametrize("x, y", EQUIVALENT)
def test_equivalent(x, y):
    check_equivalent(x, y)


@pytest.mark.parametrize(
    "x, y, message",
    [
        (1.0, 1.0001, "off by"),
        (VECTOR, VECTOR[:2], "should be an array of float64 and shape \\(3,\\)"),
        (VECTOR, VECTOR.astype(onp.float32), "float32"),
        (VECTOR, VECTOR + 0j, "complex128"),
        ([1.0], (1.0,), "wrong structure"),
        ({"a": 1.0}, {"b": 1.0}, "wrong structure"),
        (1.0, float("nan"), "off by nan"),
    ],
)
def test_not_equivalent(x, y, message):
    with pytest.raises(AssertionError, match=message):
        check_equivalent(x, y)


def test_combo_check_runs_every_combination():
    seen = []

    def fun(x, y, scale=1.0, shift=0.0):
        seen.append((float(onp.sum(np.shape(x))), scale, shift))
        return scale * np.sum(x * y) + shift

    combo_check(fun, (0, 1), modes=["rev"], order=1)(
        [VECTOR, MATRIX], [0.5, VECTOR], scale=[1.0, 2.0], shift=[0.0, 3.0]
    )
    assert {call[0] for call in seen} == {3.0, 5.0}
    assert {call[1:] for call in seen} == {(1.0, 0.0), (1.0, 3.0), (2.0, 0.0), (2.0, 3.0)}


def test_combo_check_finds_the_one_that_is_wrong():
    cube = wrong(1.01)
    with pytest.raises(AssertionError, match="off by"):
        combo_check(lambda x, which: cube(x) if which else x**3, modes=["rev"], order=1)(
            [VECTOR], [False, True]
        )


def test_no_warnings_come_from_the_checks():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_grads(lambda z: np.real(z) * np.sum(np.abs(VECTOR) * z))(0.5 + 0.1j)
