"""The differential operators: values, conventions, errors and manners."""

import collections
import copy
import inspect
import pickle
import typing

import numpy as onp
import pytest

import autograd_c
import autograd_c.numpy as np
from autograd_c import (
    checkpoint,
    deriv,
    elementwise_grad,
    grad,
    grad_and_aux,
    grad_named,
    hessian,
    hessian_tensor_product,
    hessian_vector_product,
    holomorphic_grad,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    make_ggnvp,
    make_hvp,
    make_jvp,
    make_jvp_reversemode,
    make_vjp,
    multigrad_dict,
    stop_gradient,
    tensor_jacobian_product,
    value_and_grad,
    vector_jacobian_product,
    vjp,
)
from autograd_c.test_util import check_equivalent, check_grads


class Point(typing.NamedTuple):
    x: object
    y: object


VECTOR = onp.array([0.3, -0.7, 1.2])
OTHER = onp.array([1.0, 2.0, -3.0])
MATRIX = onp.array([[0.3, -0.7, 1.2], [2.0, 0.1, -0.4]])
Z = onp.array([0.3 + 0.4j, -0.7 + 0.1j])


def loss(x):
    """Sum of sines."""
    return np.sum(np.sin(x) * x)


def loss_slope(x):
    return onp.cos(x) * x + onp.sin(x)


def loss_curvature(x):
    return 2 * onp.cos(x) - onp.sin(x) * x


def bilinear(x, y, scale=1.0):
    return scale * np.sum(x * y)


# ---------------------------------------------------------------- grad


def test_grad_of_a_number():
    for x in (0.5, onp.float64(0.5)):
        slope = grad(loss)(x)
        assert isinstance(slope, onp.float64)
        assert slope == pytest.approx(loss_slope(0.5), rel=1e-15)


@pytest.mark.parametrize("x", [VECTOR, MATRIX, onp.array(0.5), onp.ones((0, 3)), MATRIX.T], ids=str)
def test_grad_of_an_array(x):
    slope = grad(loss)(x)
    assert slope.shape == x.shape
    onp.testing.assert_allclose(slope, loss_slope(x), rtol=1e-15)


@pytest.mark.parametrize("dtype", [onp.float16, onp.float32, onp.longdouble, onp.complex64])
def test_grad_keeps_the_dtype(dtype):
    assert grad(lambda x: np.sum(np.real(x * x)))(VECTOR.astype(dtype)).dtype == dtype
    assert grad(lambda x: np.real(x * x))(dtype(0.5)).dtype == dtype
    value, slope = value_and_grad(lambda x: np.real(x * x))(dtype(0.5))
    assert slope.dtype == dtype
    assert value.dtype == onp.real(dtype(0)).dtype


def test_value_and_grad():
    value, slope = value_and_grad(loss)(VECTOR)
    assert value == loss(VECTOR)
    onp.testing.assert_array_equal(slope, grad(loss)(VECTOR))
    for fun in (loss, lambda x: x * x, lambda x: 3.0):
        assert isinstance(value_and_grad(fun)(0.5)[0], onp.float64)
        assert isinstance(value_and_grad(lambda p, fun=fun: fun(p[0]))([0.5])[0], onp.float64)


@pytest.mark.parametrize("operator", [grad, value_and_grad])
def test_a_result_of_size_one_is_a_scalar(operator):
    result = operator(lambda x: np.sum(x**2, keepdims=True))(VECTOR)
    slope = result if operator is grad else result[1]
    onp.testing.assert_allclose(slope, 2 * VECTOR)


def test_argnum():
    x, y = VECTOR, OTHER
    onp.testing.assert_array_equal(grad(bilinear)(x, y), y)
    onp.testing.assert_array_equal(grad(bilinear, 1)(x, y), x)
    onp.testing.assert_array_equal(grad(bilinear, -1)(x, y), x)
    onp.testing.assert_array_equal(grad(bilinear, onp.int64(1))(x, y, scale=2.0), 2 * x)
    for argnum in ((0, 1), [0, 1]):
        result = grad(bilinear, argnum)(x, y)
        assert type(result) is tuple
        check_equivalent(result, (y, x))
    check_equivalent(grad(bilinear, (1, 0))(x, y, 3.0), (3 * x, 3 * y))
    value, slopes = value_and_grad(bilinear, (1,))(x, y)
    assert value == onp.sum(x * y)
    check_equivalent(slopes, (x,))


def test_a_result_that_does_not_depend_on_the_argument_has_gradient_zero():
    onp.testing.assert_array_equal(grad(lambda x: 3.0)(VECTOR), onp.zeros(3))
    assert grad(lambda x: 3)(2.0) == 0.0
    assert grad(lambda x: np.sum(x > 0))(VECTOR).tolist() == [0.0, 0.0, 0.0]
    check_equivalent(grad(lambda p: p["a"] ** 2)({"a": 3.0, "b": VECTOR}), {"a": 6.0, "b": onp.zeros(3)})


def test_gradients_are_new_arrays():
    x, y = VECTOR.copy(), OTHER.copy()
    first, second = grad(bilinear, (0, 1))(x, y)
    first[:] = 0.0
    onp.testing.assert_array_equal(y, OTHER)
    onp.testing.assert_array_equal(second, VECTOR)
    same = grad(lambda pair: np.sum(pair[0] + pair[1]))([x, x])
    same[0][:] = 7.0
    onp.testing.assert_array_equal(same[1], onp.ones(3))


def test_the_cotangent_is_not_aliased():
    cotangent = onp.ones(3)
    pullback, _ = make_vjp(lambda x: x + 0.0)(VECTOR)
    pullback(cotangent)[:] = 5.0
    assert cotangent.tolist() == [1.0, 1.0, 1.0]
    pullback, _ = make_vjp(lambda x: x)(VECTOR)
    pullback(cotangent)[:] = 5.0
    assert cotangent.tolist() == [1.0, 1.0, 1.0]


def test_complex_convention():
    # df/dx - i df/dy of |z|^2
    onp.testing.assert_allclose(grad(lambda z: np.sum(np.abs(z) ** 2))(Z), 2 * onp.conj(Z))
    onp.testing.assert_allclose(grad(lambda z: np.sum(np.imag(z)))(Z), [-1j, -1j])


@pytest.mark.parametrize("n", range(1, 11))
def test_ten_levels_deep(n):
    fun, expected = np.exp, onp.exp(0.3)
    for _ in range(n):
        fun = grad(fun)
    assert fun(0.3) == pytest.approx(expected, rel=1e-13)


def test_forward_and_reverse_nest_in_any_order():
    def forward(fun):
        return lambda x: jvp(fun, (x,), (1.0,))[1]

    expected = -onp.cos(0.3)
    for first in (grad, forward, deriv):
        for second in (grad, forward, deriv):
            for third in (grad, forward, deriv):
                assert third(second(first(np.sin)))(0.3) == pytest.approx(expected, rel=1e-14)


def test_levels_are_not_confused():
    # d/dx (x * d/dy (x + y)) = 1: a perturbation of y must not be taken for one of x.
    assert grad(lambda x: x * grad(lambda y: x + y)(1.0))(1.0) == 1.0
    assert deriv(lambda x: x * deriv(lambda y: x + y)(1.0))(1.0) == 1.0
    assert grad(lambda x: x * deriv(lambda y: x * y)(2.0))(3.0) == 6.0
    assert deriv(lambda x: x * grad(lambda y: x * y)(2.0))(3.0) == 6.0


# ---------------------------------------------------------------- containers


def weights():
    return {
        "layers": [(MATRIX.copy(), VECTOR[:2].copy()), (onp.ones((1, 2)), 0.5)],
        "point": Point(0.25, [1.5]),
        "mask": onp.array([True, False]),
        "name": "net",
        "nothing": None,
        "flag": True,
    }


def network(w, x):
    for matrix, offset in w["layers"]:
        x = np.tanh(np.dot(matrix, x) + offset)
    return np.sum(x) * w["point"].x + w["point"].y[0] ** 2 * (2.0 if w["flag"] else 1.0)


def test_gradients_have_the_structure_of_the_argument():
    slopes = grad(network)(weights(), VECTOR)
    assert list(slopes) == list(weights())
    assert type(slopes["layers"]) is list
    assert type(slopes["layers"][0]) is tuple
    assert type(slopes["point"]) is Point
    assert slopes["layers"][0][0].shape == (2, 3)
    assert slopes["point"].y[0] == 6.0
    assert slopes["name"] is slopes["nothing"] is slopes["flag"] is slopes["mask"] is None
    assert grad(lambda p: p[0] ** 2)([3.0, onp.array([True])]) == [6.0, None]


def test_gradients_of_containers_are_right():
    check_grads(network)(weights(), VECTOR)
    check_grads(network, (0, 1))(weights(), VECTOR)


def test_containers_of_one_type_inside_keep_their_type():
    ordered = collections.OrderedDict([("b", 2.0), ("a", 3.0)])
    slopes = grad(lambda p: p["a"] * p["b"])(ordered)
    assert type(slopes) is collections.OrderedDict
    assert list(slopes.items()) == [("b", 3.0), ("a", 2.0)]


def test_the_function_sees_plain_containers():
    def fun(p):
        assert type(p) is dict
        assert isinstance(p["t"], tuple)
        return sum(p["t"]) * p["x"] + sum(value * value for value in p["list"])

    check_equivalent(
        grad(fun)({"t": (1.0, 2.0), "x": 3.0, "list": [4.0]}), {"t": (3.0, 3.0), "x": 3.0, "list": [8.0]}
    )


def test_empty_containers():
    assert grad(lambda p: 1.0)([]) == []
    assert grad(lambda p: p[0] ** 2)([3.0, {}, ()]) == [6.0, {}, ()]


def test_reaching_an_element_does_not_cost_the_length_of_the_list():
    n = 20_000
    slopes = grad(lambda xs: sum(x * x for x in xs))([0.5] * n)
    assert slopes == [1.0] * n


def test_results_in_containers():
    value, pullback = vjp(lambda x, y: {"sum": x + y, "rest": (x * y, "text", None)}, VECTOR, 2.0)
    assert value["rest"][1:] == ("text", None)
    slope_x, slope_y = pullback({"sum": OTHER, "rest": (VECTOR, "ignored", None)})
    onp.testing.assert_allclose(slope_x, OTHER + 2.0 * VECTOR)
    assert slope_y == pytest.approx(onp.sum(OTHER) + onp.sum(VECTOR**2))
    value, tangent = jvp(
        lambda p: [p["a"], (p["a"] * p["b"], "text")], ({"a": 2.0, "b": 3.0},), ({"a": 1.0, "b": 0.5},)
    )
    check_equivalent(tangent, [1.0, (4.0, None)])


def test_decompositions_return_named_tuples():
    check_grads(lambda x: np.linalg.slogdet(x), order=1)(onp.eye(3) + 0.1)


# ---------------------------------------------------------------- other gradients


def test_grad_and_aux():
    slope, aux = grad_and_aux(lambda x: (np.sum(x**2), {"half": x / 2, "note": "text", "n": 3}))(VECTOR)
    onp.testing.assert_allclose(slope, 2 * VECTOR)
    assert type(aux["half"]) is onp.ndarray
    onp.testing.assert_allclose(aux["half"], VECTOR / 2)
    assert (aux["note"], aux["n"]) == ("text", 3)


def test_grad_and_aux_of_several_arguments():
    slopes, aux = grad_and_aux(lambda x, y: (np.sum(x * y), x), (0, 1))(VECTOR, OTHER)
    check_equivalent(slopes, (OTHER, VECTOR))
    onp.testing.assert_array_equal(aux, VECTOR)


@pytest.mark.parametrize("result", [1.0, (1.0,), (1.0, 2.0, 3.0), None])
def test_grad_and_aux_needs_a_pair(result):
    with pytest.raises(TypeError, match="must be a pair"):
        grad_and_aux(lambda x: result)(1.0)


def test_grad_named():
    onp.testing.assert_array_equal(grad_named(bilinear, "y")(VECTOR, OTHER), VECTOR)
    with pytest.raises(ValueError, match="bilinear has no positional argument 'z'; it has x, y, scale"):
        grad_named(bilinear, "z")


def test_multigrad_dict():
    def fun(x, y, *rest, scale=2.0, **options):
        return scale * np.sum(x * y) + rest[0] * rest[1] + options["extra"] ** 2

    slopes = multigrad_dict(fun)(VECTOR, OTHER, 3.0, 4.0, extra=5.0)
    assert list(slopes) == ["x", "y", "rest", "scale", "options"]
    check_equivalent(
        slopes,
        {
            "x": 2 * OTHER,
            "y": 2 * VECTOR,
            "rest": (4.0, 3.0),
            "scale": onp.sum(VECTOR * OTHER),
            "options": {"extra": 10.0},
        },
    )


def test_multigrad_dict_fills_in_defaults():
    check_equivalent(multigrad_dict(bilinear)(2.0, y=3.0), {"x": 3.0, "y": 2.0, "scale": 6.0})


def test_elementwise_grad():
    onp.testing.assert_allclose(elementwise_grad(np.sin)(MATRIX), onp.cos(MATRIX))
    onp.testing.assert_allclose(elementwise_grad(elementwise_grad(np.sin))(MATRIX), -onp.sin(MATRIX))
    onp.testing.assert_allclose(elementwise_grad(lambda x, y: x * y, 1)(VECTOR, OTHER), VECTOR)
    # In general, the sum of the rows of the Jacobian
    onp.testing.assert_allclose(elementwise_grad(lambda x: np.dot(MATRIX, x))(VECTOR), MATRIX.sum(0))
    check_equivalent(elementwise_grad(lambda x: (x**2, [x]))(3.0), 7.0)


def test_elementwise_grad_refuses_complex_results():
    with pytest.raises(TypeError, match="result must be real"):
        elementwise_grad(np.exp)(Z)


def test_holomorphic_grad():
    for z in (0.3 + 0.4j, onp.complex128(-1j)):
        assert holomorphic_grad(np.exp)(z) == pytest.approx(onp.exp(z), rel=1e-15)
        assert holomorphic_grad(lambda z: z**3)(z) == pytest.approx(3 * z**2)
    onp.testing.assert_allclose(holomorphic_grad(lambda z: np.sum(z**3))(Z), 3 * Z**2)


def test_holomorphic_grad_warns_of_real_arguments():
    with pytest.warns(UserWarning, match="not complex"):
        assert holomorphic_grad(lambda z: z**2)(3.0) == 6.0


def test_deriv():
    assert deriv(np.sin)(0.3) == pytest.approx(onp.cos(0.3))
    onp.testing.assert_allclose(deriv(lambda t: VECTOR * t**2)(3.0), 6 * VECTOR)
    check_equivalent(deriv(lambda t: {"a": t**2, "b": VECTOR * t})(3.0), {"a": 6.0, "b": VECTOR})
    # In general, the sum of the columns of the Jacobian
    onp.testing.assert_allclose(deriv(lambda x: np.dot(MATRIX, x))(VECTOR), MATRIX.sum(1))


# ---------------------------------------------------------------- tangents and cotangents


def test_make_vjp():
    pullback, value = make_vjp(lambda x, a: np.dot(a, x))(VECTOR, MATRIX)
    onp.testing.assert_array_equal(value, MATRIX @ VECTOR)
    for cotangent in onp.eye(2):
        for _ in range(2):
            onp.testing.assert_allclose(pullback(cotangent), MATRIX.T @ cotangent)


def test_a_pullback_can_be_called_many_times_even_in_another_trace():
    pullback, _ = make_vjp(lambda x: np.sin(x) * x)(VECTOR)
    first = pullback(OTHER)
    slope = jacobian(lambda g: pullback(g))(OTHER)
    onp.testing.assert_allclose(slope, onp.diag(loss_slope(VECTOR)))
    onp.testing.assert_array_equal(pullback(OTHER), first)


def test_cotangents_are_cast():
    pullback, _ = make_vjp(lambda x: x * 2)(VECTOR.astype(onp.float32))
    slope = pullback(onp.array([1, 2, 3]))
    assert slope.dtype == onp.float32
    assert slope.tolist() == [2.0, 4.0, 6.0]
    assert make_vjp(np.sin)(0.0)[0](1) == 1.0


@pytest.mark.parametrize(
    "cotangent, error, message",
    [
        (1.0, ValueError, r"cotangent .*shape \(\) .*shape \(3,\)"),
        (onp.ones(2), ValueError, r"cotangent .*shape \(2,\) .*shape \(3,\)"),
        (onp.ones(3) * 1j, TypeError, "complex cotangent .*real"),
        (
            [1.0, 1.0, 1.0],
            ValueError,
            "make_vjp of sin.*cotangent does not fit: expected a number or an array, got a list",
        ),
        (None, ValueError, "make_vjp of sin.*got None"),
    ],
)
def test_cotangents_that_do_not_fit_are_refused(cotangent, error, message):
    pullback, _ = make_vjp(np.sin)(VECTOR)
    with pytest.raises(error, match=message):
        pullback(cotangent)


def test_vjp():
    value, pullback = vjp(bilinear, VECTOR, OTHER)
    assert value == onp.sum(VECTOR * OTHER)
    check_equivalent(pullback(2.0), (2 * OTHER, 2 * VECTOR))
    _, pullback = vjp(np.sin, 0.3)
    check_equivalent(pullback(1.0), (onp.cos(0.3),))


def test_make_jvp():
    value, tangent = make_jvp(lambda x, a: np.dot(a, x))(VECTOR, MATRIX)(OTHER)
    onp.testing.assert_array_equal(value, MATRIX @ VECTOR)
    onp.testing.assert_allclose(tangent, MATRIX @ OTHER)
    assert make_jvp(lambda x: 3.0)(VECTOR)(OTHER) == (3.0, 0.0)


def test_jvp():
    value, tangent = jvp(bilinear, (VECTOR, OTHER), (OTHER, VECTOR))
    assert value == onp.sum(VECTOR * OTHER)
    assert tangent == pytest.approx(onp.sum(OTHER**2) + onp.sum(VECTOR**2))
    value, tangent = jvp(np.exp, [Z], [Z])
    onp.testing.assert_allclose(tangent, onp.exp(Z) * Z)


@pytest.mark.parametrize(
    "primals, tangents, error, message",
    [
        (VECTOR, (VECTOR,), TypeError, r"of loss: primals must be a tuple of arguments, e\.g\. \(x,\)"),
        ((VECTOR,), VECTOR, TypeError, "of loss: tangents must be a tuple"),
        ((VECTOR,), (VECTOR, VECTOR), ValueError, "of loss.*expected a tuple of 1, got a tuple of 2"),
        ((VECTOR,), (onp.ones(2),), ValueError, r"tangent .*shape \(2,\) .*shape \(3,\)"),
        ((VECTOR,), (VECTOR * 1j,), TypeError, "complex .*tangent .*real"),
    ],
)
@pytest.mark.parametrize("operator", [jvp, hvp])
def test_tangents_that_do_not_fit_are_refused(operator, primals, tangents, error, message):
    with pytest.raises(error, match=message):
        operator(loss, primals, tangents)


def test_float32_tangents():
    x = VECTOR.astype(onp.float32)
    value, tangent = jvp(np.sin, (x,), (OTHER,))
    assert value.dtype == tangent.dtype == onp.float32


def test_make_jvp_reversemode():
    push = make_jvp_reversemode(lambda x, a: np.tanh(np.dot(a, x)))(VECTOR, MATRIX)
    for tangent in onp.eye(3):
        onp.testing.assert_allclose(
            push(tangent), make_jvp(lambda x: np.tanh(np.dot(MATRIX, x)))(VECTOR)(tangent)[1]
        )
    push = make_jvp_reversemode(lambda p: {"out": p[0] * p[1]})([VECTOR, 2.0])
    check_equivalent(push([OTHER, 1.0]), {"out": 2.0 * OTHER + VECTOR})


# ---------------------------------------------------------------- Jacobians and Hessians


@pytest.mark.parametrize("operator", [jacobian, jacrev, jacfwd])
class TestJacobian:
    def test_shape_is_that_of_the_result_then_that_of_the_argument(self, operator):
        result = operator(lambda x: np.sin(x)[:, :, None] * onp.arange(4.0))(MATRIX)
        assert result.shape == (2, 3, 4, 2, 3)

    def test_values(self, operator):
        onp.testing.assert_allclose(operator(lambda x: np.dot(MATRIX, x))(VECTOR), MATRIX)
        result = operator(lambda x: np.outer(x, VECTOR))(OTHER)
        assert result.shape == (3, 3, 3)
        onp.testing.assert_allclose(result, onp.einsum("ik,j->ijk", onp.eye(3), VECTOR))

    def test_scalars(self, operator):
        assert operator(np.sin)(0.3) == pytest.approx(onp.cos(0.3))
        onp.testing.assert_allclose(operator(loss)(MATRIX), loss_slope(MATRIX))
        onp.testing.assert_allclose(operator(lambda t: VECTOR * t)(0.3), VECTOR)

    def test_shapes_with_ones_and_zeros(self, operator):
        assert operator(lambda x: x[:, None])(onp.ones(1)).shape == (1, 1, 1)
        assert operator(lambda x: x[:0])(VECTOR).shape == (0, 3)
        assert operator(lambda x: np.sum(x) * VECTOR)(onp.ones((0, 2))).shape == (3, 0, 2)

    def test_containers(self, operator):
        def fun(p):
            return {"out": p["a"] * p["b"], "sum": np.sum(p["a"]), "text": "no number"}

        result = operator(fun)({"a": VECTOR, "b": 2.0, "name": "no number"})
        check_equivalent(
            result,
            {
                "out": {"a": 2.0 * onp.eye(3), "b": VECTOR, "name": None},
                "sum": {"a": onp.ones(3), "b": 0.0, "name": None},
                "text": None,
            },
        )

    def test_several_arguments(self, operator):
        by_x, by_y = operator(lambda x, y: x * y, (0, 1))(VECTOR, OTHER)
        onp.testing.assert_allclose(by_x, onp.diag(OTHER))
        onp.testing.assert_allclose(by_y, onp.diag(VECTOR))

    def test_holomorphic(self, operator):
        onp.testing.assert_allclose(operator(np.exp)(Z), onp.diag(onp.exp(Z)))

    def test_complex_result_of_a_real_argument(self, operator):
        onp.testing.assert_allclose(
            operator(lambda x: np.exp(1j * x))(VECTOR), onp.diag(1j * onp.exp(1j * VECTOR))
        )

    def test_real_result_of_a_complex_argument(self, operator):
        onp.testing.assert_allclose(operator(lambda z: np.abs(z) ** 2)(Z), onp.diag(2 * onp.conj(Z)))

    def test_real_and_complex_mixed(self, operator):
        result = operator(lambda p: [p[0] * p[1], np.real(p[1])])((2.0, 0.5 + 0.25j))
        check_equivalent(result, [(0.5 + 0.25j, 2.0 + 0j), (0.0, 1.0 + 0j)])

    def test_float32(self, operator):
        assert operator(np.sin)(VECTOR.astype(onp.float32)).dtype == onp.float32

    def test_is_differentiable(self, operator):
        check_grads(operator(lambda x: np.sin(x) * x[0]), order=1)(VECTOR)


def test_hessian():
    onp.testing.assert_allclose(hessian(loss)(VECTOR), onp.diag(loss_curvature(VECTOR)))
    assert hessian(loss)(0.3) == pytest.approx(loss_curvature(0.3))
    assert hessian(loss)(MATRIX).shape == (2, 3, 2, 3)
    assert hessian(lambda x: np.dot(MATRIX, x**2))(VECTOR).shape == (2, 3, 3)


def test_hessian_of_containers():
    result = hessian(lambda p: p["a"] ** 2 * p["b"])({"a": 2.0, "b": 3.0})
    check_equivalent(result, {"a": {"a": 6.0, "b": 4.0}, "b": {"a": 4.0, "b": 0.0}})


def quartic(x):
    return np.sum(x**4) + np.sum(x) ** 2 * x[0]


def test_hessian_products_agree_with_the_hessian():
    expected = hessian(quartic)(VECTOR) @ OTHER
    product, slope = make_hvp(quartic)(VECTOR)
    onp.testing.assert_allclose(slope, grad(quartic)(VECTOR))
    for _ in range(2):
        onp.testing.assert_allclose(product(OTHER), expected)
    onp.testing.assert_allclose(hessian_vector_product(quartic)(VECTOR, OTHER), expected)
    onp.testing.assert_allclose(hvp(quartic, (VECTOR,), (OTHER,)), expected)


def test_hessian_tensor_product():
    x, tensor = onp.ones((2, 3)) * 0.3, MATRIX
    expected = onp.tensordot(hessian(loss)(x), tensor, 2)
    onp.testing.assert_allclose(hessian_tensor_product(loss)(x, tensor), expected)
    onp.testing.assert_allclose(
        hessian_tensor_product(lambda a, x: a * loss(x), 1)(2.0, x, tensor), 2 * expected
    )


def test_hvp_of_several_arguments():
    def fun(x, y):
        return np.sum(x**2) * y

    check_equivalent(
        hvp(fun, (VECTOR, 2.0), (OTHER, 0.5)),
        (4.0 * OTHER + VECTOR, 2 * onp.dot(VECTOR, OTHER)),
    )


def test_tensor_jacobian_product():
    def fun(x):
        return np.sin(np.outer(x[:2], x))

    full = jacobian(fun)(VECTOR)
    for tensor in (MATRIX, VECTOR[:2], 2.0):
        expected = onp.tensordot(tensor, full, onp.ndim(tensor))
        onp.testing.assert_allclose(vector_jacobian_product(fun)(VECTOR, tensor), expected)
    onp.testing.assert_allclose(
        tensor_jacobian_product(lambda a, x: a * fun(x), argnum=1)(3.0, VECTOR, MATRIX),
        3 * onp.tensordot(MATRIX, full, 2),
    )


def test_products_need_their_tensor():
    with pytest.raises(TypeError, match="hessian_tensor_product of loss.* last positional argument"):
        hessian_tensor_product(loss)()


def test_make_ggnvp():
    def residual(x):
        return np.tanh(np.dot(MATRIX, x)) * x[0]

    full = jacobian(residual)(VECTOR)
    onp.testing.assert_allclose(make_ggnvp(residual)(VECTOR)(OTHER), full.T @ full @ OTHER)

    def outer(y):
        return np.sum(y**4)

    curvature = hessian(outer)(residual(VECTOR))
    product = make_ggnvp(lambda a, x: residual(x), outer, f_argnum=1)(0.0, VECTOR)
    for _ in range(2):
        onp.testing.assert_allclose(product(OTHER), full.T @ curvature @ full @ OTHER)


# ---------------------------------------------------------------- stop_gradient and checkpoint


def test_stop_gradient():
    assert grad(lambda x: x * stop_gradient(x))(3.0) == 3.0
    assert grad(grad(lambda x: x**2 * stop_gradient(x)))(3.0) == 6.0
    assert jvp(lambda x: x * stop_gradient(x), (3.0,), (1.0,)) == (9.0, 3.0)
    assert grad(lambda x: x * stop_gradient({"a": [x, "text", None]})["a"][0])(3.0) == 3.0
    assert stop_gradient({"a": (1, "text", None)}) == {"a": (1, "text", None)}
    onp.testing.assert_array_equal(stop_gradient(VECTOR), VECTOR)


def layer(x, w):
    return np.tanh(np.dot(w, x))


def test_checkpoint_gives_the_same_derivatives():
    square = onp.eye(3) + 0.1

    def plain(x, w):
        return np.sum(layer(layer(x, w), w) ** 2)

    def saved(x, w):
        return np.sum(checkpoint(layer)(checkpoint(layer)(x, w), w) ** 2)

    assert saved(VECTOR, square) == plain(VECTOR, square)
    check_equivalent(grad(saved, (0, 1))(VECTOR, square), grad(plain, (0, 1))(VECTOR, square))
    check_equivalent(hessian(saved)(VECTOR, square), hessian(plain)(VECTOR, square))
    check_equivalent(jacfwd(saved)(VECTOR, square), grad(plain)(VECTOR, square))
    check_grads(saved, (0, 1))(VECTOR, square)


def test_checkpoint_of_containers():
    @checkpoint
    def block(p, shift=0.0):
        return {"out": p["w"] * p["x"] + shift, "rest": [np.sum(p["w"]), "text", p["n"]]}

    def fun(p):
        result = block(p, shift=p["x"] ** 2)
        assert result["rest"][1:] == ["text", 3]
        return np.sum(result["out"]) * result["rest"][0]

    def fun_of(w, x):
        return fun({"w": w, "x": x, "n": 3})

    check_grads(fun_of, (0, 1))(VECTOR, 2.0)


def test_checkpoint_keeps_the_dtypes_of_its_results():
    block = checkpoint(lambda x, z: (x * 2, z * 2, x * z))

    def fun(x, z):
        single, complexes, product = block(x, z)
        assert single.dtype == onp.float32
        assert complexes.dtype == onp.complex128
        return np.sum(single) + np.sum(np.real(complexes)) + np.sum(np.abs(product))

    slope, slope_z = grad(fun, (0, 1))(VECTOR[:2].astype(onp.float32), Z)
    assert (slope.dtype, slope_z.dtype) == (onp.float32, onp.complex128)


def test_checkpoint_runs_again_in_the_reverse_sweep():
    runs = []

    @checkpoint
    def block(x):
        runs.append(x)
        return np.sin(x)

    pullback, _ = make_vjp(block)(0.3)
    assert len(runs) == 1
    assert pullback(1.0) == pytest.approx(onp.cos(0.3))
    assert len(runs) == 2


def test_checkpoint_looks_like_the_function():
    block = checkpoint(loss)
    assert (block.__name__, block.__doc__, block.__wrapped__) == ("loss", "Sum of sines.", loss)
    assert block(VECTOR) == loss(VECTOR)
    assert pickle.loads(pickle.dumps(block))(VECTOR) == loss(VECTOR)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "operator", [grad, value_and_grad, elementwise_grad, jacobian, jacfwd, hessian, make_vjp, deriv]
)
class TestArguments:
    def test_integers_are_refused(self, operator):
        name = operator.__name__
        with pytest.raises(
            TypeError, match=rf"{name} of loss .*the int 3 .*pass a float instead, e\.g\. 3\.0"
        ):
            operator(loss)(3)
        with pytest.raises(TypeError, match=rf"{name} of loss .*int64 and shape \(3,\) .*x\.astype\(float\)"):
            operator(loss)(onp.arange(3))

    def test_integers_inside_containers_are_refused_with_their_place(self, operator):
        with pytest.raises(TypeError, match=r"the int 3 .*at \['w'\]\[1\] of the argument"):
            operator(lambda p: p["w"][0])({"w": [1.0, 3]})
        with pytest.raises(TypeError, match=r"int64 .*x.astype\(float\) \(it is at \[1\] of the argument\)"):
            operator(lambda p: p[0])([1.0, onp.arange(3)])

    @pytest.mark.parametrize("x", [None, "text", True, len])
    def test_what_is_no_number_is_refused(self, operator, x):
        with pytest.raises(TypeError, match="cannot be differentiated: pass a float, an array of floats"):
            operator(lambda x: 1.0)(x)

    def test_missing_arguments_are_named(self, operator):
        with pytest.raises(TypeError, match="of bilinear .*there is no argument 2.* 1 positional argument;"):
            operator(bilinear, 2)(VECTOR)
        with pytest.raises(
            TypeError, match="there is no argument 0.* 0 positional arguments; pass it by pos"
        ):
            operator(bilinear)(x=VECTOR, y=OTHER)

    @pytest.mark.parametrize("argnum", ["x", 1.0, None, (0, "x")])
    def test_a_bad_argnum_is_refused(self, operator, argnum):
        with pytest.raises(TypeError, match=f"{operator.__name__}: argnum must be an int or a sequence"):
            operator(bilinear, argnum)

    def test_the_same_argument_twice_is_refused(self, operator):
        with pytest.raises(ValueError, match="the same argument is named twice"):
            operator(bilinear, (0, -2))(VECTOR, OTHER)

    def test_what_is_no_function_is_refused(self, operator):
        with pytest.raises(TypeError, match=f"{operator.__name__} needs a function, got the float 3.0"):
            operator(3.0)


@pytest.mark.parametrize("operator", [grad, value_and_grad])
@pytest.mark.parametrize("x", [VECTOR, {"a": VECTOR}, (VECTOR,)], ids=["array", "dict", "tuple"])
class TestResults:
    @staticmethod
    def of_leaf(fun):
        """A function of an array or of a container that holds one."""
        return lambda x: fun(x["a"] if isinstance(x, dict) else x[0] if isinstance(x, tuple) else x)

    def test_arrays_are_refused(self, operator, x):
        with pytest.raises(TypeError, match=r"one real number.*shape \(3,\).*jacobian or elementwise_grad"):
            operator(self.of_leaf(np.sin))(x)

    def test_complex_numbers_are_refused(self, operator, x):
        with pytest.raises(TypeError, match="one real number.*holomorphic_grad"):
            operator(self.of_leaf(lambda a: 1j * np.sum(a)))(x)

    @pytest.mark.parametrize("result, shown", [(None, "None"), ("text", "the str"), ((1.0, 2.0), "a tuple")])
    def test_what_is_no_number_is_refused(self, operator, x, result, shown):
        with pytest.raises(TypeError, match=f"one real number, got {shown}"):
            operator(lambda x: result)(x)

    def test_the_function_is_named(self, operator, x):
        def my_function(x):
            return onp.ones(3)

        with pytest.raises(TypeError, match=f"{operator.__name__} of my_function"):
            operator(my_function)(x)


def test_arrays_of_objects_are_refused_as_results():
    with pytest.raises(TypeError, match="autograd_c.numpy.array"):
        jacobian(lambda x: onp.array([x, None], dtype=object))(1.0)
    with pytest.raises(TypeError, match="jacobian of <lambda>.*in the result.*autograd_c.numpy.array"):
        jacobian(lambda x: onp.array([1.0, None], dtype=object))(1.0)


def test_an_exception_inside_leaves_nothing_behind():
    def broken(x):
        raise RuntimeError("inside")

    for operator in (grad, jacobian, jacfwd, hessian, elementwise_grad):
        with pytest.raises(RuntimeError, match="inside"):
            operator(lambda x: broken(x) + loss(x))(VECTOR)
        onp.testing.assert_allclose(grad(loss)(VECTOR), loss_slope(VECTOR))


# ---------------------------------------------------------------- manners

UNARY = [
    grad,
    value_and_grad,
    grad_and_aux,
    elementwise_grad,
    holomorphic_grad,
    make_vjp,
    make_jvp,
    make_jvp_reversemode,
    deriv,
    jacobian,
    jacfwd,
    hessian,
    make_hvp,
    hessian_tensor_product,
    tensor_jacobian_product,
    make_ggnvp,
    multigrad_dict,
]


@pytest.mark.parametrize("operator", UNARY, ids=lambda operator: operator.__name__)
class TestManners:
    def test_names_and_documentation(self, operator):
        made = operator(loss)
        assert made.__name__.startswith(f"{operator.__name__}_of_loss")
        assert operator.__name__ in repr(made)
        assert "loss" in made.__doc__
        assert made.__wrapped__ is loss
        assert made.__module__ == __name__
        assert inspect.signature(made) == inspect.signature(loss)

    def test_pickles_and_copies(self, operator):
        for again in (
            pickle.loads(pickle.dumps(operator(loss))),
            copy.deepcopy(operator(loss)),
            copy.copy(operator(loss)),
        ):
            assert again.__wrapped__ is loss
            assert again.__name__ == operator(loss).__name__

    def test_is_documented_with_an_example(self, operator):
        assert ">>>" in operator.__doc__


@pytest.mark.parametrize("operator", [grad, elementwise_grad, jacobian, jacfwd, hessian, multigrad_dict])
def test_pickled_operators_compute_the_same(operator):
    check_equivalent(pickle.loads(pickle.dumps(operator(loss)))(VECTOR), operator(loss)(VECTOR))


def test_made_functions_can_be_methods():
    class Model:
        scale = 3.0

        @grad
        def slope_of_self(self, x):
            return self.scale * np.sum(x**2)

        def value(self, x):
            return self.scale * np.sum(x**2)

        slope = grad(value, 1)

    onp.testing.assert_allclose(Model().slope(VECTOR), 6 * VECTOR)
    assert Model.slope.__name__ == "grad_of_value_wrt_argnum_1"
    with pytest.raises(TypeError, match="a Model cannot be differentiated"):
        Model().slope_of_self(VECTOR)


def test_every_operator_is_public():
    for name in autograd_c.operators.__all__:
        assert getattr(autograd_c, name) is getattr(autograd_c.operators, name)
        assert inspect.getdoc(getattr(autograd_c, name))


def test_cotangents_and_tangents_of_another_shape_name_the_function():
    def scaled(x):
        return 2.0 * x

    x, wrong = np.ones(3), np.ones(2)
    with pytest.raises(ValueError, match=r"make_vjp of scaled .*: a cotangent of shape \(2,\) .* \(3,\)"):
        make_vjp(scaled)(x)[0](wrong)
    with pytest.raises(ValueError, match=r"jvp of scaled.*: a tangent of shape \(2,\) .* \(3,\)"):
        jvp(scaled, (x,), (wrong,))
    with pytest.raises(ValueError, match=r"make_jvp of scaled.*: a tangent of shape \(2,\) .* \(3,\)"):
        make_jvp(scaled)(x)(wrong)
