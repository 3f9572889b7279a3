"""A user's program in types: it must pass mypy in strict mode, and run.

`assert_type` is what mypy must infer; at run time it does nothing, so that values are asserted beside it.
"""

from typing import Any, NamedTuple, TypeAlias, assert_type

import autograd_c.numpy as np
from autograd_c import (
    checkpoint,
    compile,
    deriv,
    elementwise_grad,
    grad,
    grad_and_aux,
    grad_named,
    hessian,
    hessian_vector_product,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    make_ggnvp,
    make_hvp,
    make_jvp,
    make_vjp,
    multigrad_dict,
    stop_gradient,
    tensor_jacobian_product,
    value_and_grad,
    vjp,
)
from autograd_c.debugging import debug
from autograd_c.extend import Box, Primitive, VSpace, defjvp, defvjp, elementwise, primitive, vspace
from autograd_c.numpy.linalg import norm
from autograd_c.operators import Derived
from autograd_c.registry import Row, primitives
from autograd_c.scipy.special import expit, logsumexp
from autograd_c.test_util import check_grads

Array: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[np.float64]]
AnyArray: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[Any]]


class Layer(NamedTuple):
    """Parameters of one layer."""

    weights: Array
    bias: float


def loss(x: Array, y: Array, scale: float = 1.0) -> np.float64:
    """A function of two arrays."""
    return np.sum(np.tanh(x) * y) * scale


def square(x: float) -> float:
    """A function of a number."""
    return x * x


def predict(layer: Layer, x: Array) -> Array:
    """A function of a container."""
    return layer.weights * x + layer.bias


def fit(layer: Layer, x: Array) -> np.float64:
    """A scalar function of a container."""
    return np.sum(predict(layer, x) ** 2)


x: Array = np.linspace(0.1, 1.0, 3)
y: Array = np.ones(3)


def compiled() -> None:
    """What operators make of a compiled function is compiled, and has its methods."""
    f = compile(loss)
    assert_type(grad(f)(x, y, scale=2.0), Any)
    assert_type(value_and_grad(f)(x, y), tuple[np.float64, Any])
    assert_type(elementwise_grad(f, 1)(x, y), Any)
    assert_type(grad(f).explain(), str)
    assert_type(value_and_grad(f).cost(), dict[str, Any])
    assert_type(f.into(None, x, y), np.float64)
    assert_type(make_vjp(f).programs, list[dict[str, Any]])
    assert_type(jacobian(f).clear(), None)
    assert_type(hessian(f).explain(), str)
    assert_type(deriv(compile(square))(2.0), float)


def gradients() -> None:
    """A gradient has the type of its argument; the other arguments keep their names and defaults."""
    assert_type(grad(loss)(x, y), Array)
    assert_type(grad(loss)(x, y=y, scale=2.0), Array)
    assert_type(grad(loss, 1)(x, y), Array)
    assert_type(grad(loss, (0, 1))(x, y), tuple[Array, Array])
    assert_type(grad(loss, 2)(x, y, 1.0), Any)
    assert_type(grad(loss, [0, 1])(x, y), tuple[Any, ...])
    assert_type(grad(square)(3.0), float)
    assert_type(grad(grad(square))(3.0), float)
    assert_type(grad(fit)(Layer(x, 0.5), x), Layer)
    assert_type(value_and_grad(loss)(x, y), tuple[np.float64, Array])
    assert_type(value_and_grad(fit, (0, 1))(Layer(x, 0.5), x), tuple[np.float64, tuple[Layer, Array]])
    assert_type(grad_named(loss, "y")(x, y), Any)
    assert_type(multigrad_dict(square)(3.0), dict[str, Any])
    assert_type(elementwise_grad(np.tanh)(x), Any)
    assert grad(fit)(Layer(x, 0.5), x).weights.shape == (3,)
    assert grad(square)(3.0) == 6.0


def auxiliary(x: Array) -> tuple[np.float64, dict[str, int]]:
    """A scalar and statistics."""
    return np.sum(x), {"size": x.size}


def products() -> None:
    """Tangents have the type of the argument, values that of the result."""
    assert_type(grad_and_aux(auxiliary)(x), tuple[Array, dict[str, int]])
    assert_type(jvp(loss, (x, y), (x, y)), tuple[np.float64, np.float64])
    assert_type(jvp(predict, (Layer(x, 0.5), x), (Layer(x, 0.5), x)), tuple[Array, Array])
    assert_type(make_jvp(square)(3.0)(1.0), tuple[float, float])
    value, pullback = vjp(loss, x, y)
    assert_type(value, np.float64)
    by_x, by_y = pullback(1.0)
    assert by_x.shape == by_y.shape == (3,)
    pull, value = make_vjp(loss)(x, y)
    assert_type(pull(1.0), Array)
    assert_type(hvp(square, (3.0,), (1.0,)), float)
    first, second = hvp(loss, (x, y), (x, y))
    assert first.shape == second.shape
    product, gradient = make_hvp(square)(3.0)
    assert_type(product(gradient), float)
    assert_type(make_ggnvp(predict)(Layer(x, 0.5), x)(Layer(x, 0.5)), Layer)
    assert_type(hessian_vector_product(loss_of_x)(x, x), Array)
    assert_type(tensor_jacobian_product(double)(x, y), AnyArray)


def loss_of_x(x: Array) -> np.float64:
    """A function of one array."""
    return loss(x, y)


def double(x: Array) -> Array:
    """An array from an array."""
    return x * 2.0


def derivatives() -> None:
    """Jacobians of arrays are arrays; what NumPy's own functions give is Any."""
    assert_type(jacobian(double)(x), AnyArray)
    assert_type(jacrev(double)(x), AnyArray)
    assert_type(jacfwd(double)(x), AnyArray)
    assert_type(hessian(loss)(x, y), AnyArray)
    assert_type(jacobian(np.cumsum)(x), Any)
    assert_type(deriv(square)(3.0), float)
    assert_type(grad(lambda x: np.sum(x**2))(x), Any)
    assert_type(grad(lambda x, y: np.sum(x**2 * y), (0, 1))(x, y), Any)
    assert_type(grad(norm)(x), Any)
    assert hessian(loss)(x, y).shape == (3, 3)
    assert norm(elementwise_grad(expit)(x) - expit(x) * expit(-x)) < 1e-12
    assert norm(grad(logsumexp)(x) - grad(log_sum_exp)(x)) < 1e-12


class Model:
    """Operators bind as methods do."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def cost(self, x: Array) -> np.float64:
        """A method to differentiate."""
        return np.sum(x) * self.rate

    slope = grad(cost, 1)

    def step(self, x: Array) -> Array:
        """A step of gradient descent."""
        return x - self.rate * grad(self.cost)(x)


@primitive
def log_sum_exp(x: Array) -> np.float64:
    """A user's primitive keeps its signature."""
    top = np.max(x)
    result: np.float64 = top + np.log(np.sum(np.exp(x - top)))
    return result


defvjp(log_sum_exp, lambda ans, x: lambda g: g * np.exp(x - ans))
defjvp(log_sum_exp, lambda g, ans, x: np.sum(g * np.exp(x - ans)))


def cube_of(x: Array) -> Array:
    """An elementwise function."""
    return x**3


def extensions() -> None:
    """What `autograd_c.extend` and the other modules give."""
    cube = elementwise(cube_of, lambda ans, x: 3 * x**2)
    assert_type(cube(x), Array)
    assert_type(grad(log_sum_exp)(x), Array)
    assert_type(log_sum_exp(x), np.float64)
    kept: Primitive[[Array], np.float64] = log_sum_exp
    assert kept.name == "log_sum_exp"
    assert_type(checkpoint(double)(x), Array)
    assert_type(stop_gradient(Layer(x, 0.5)), Layer)
    assert_type(vspace(x), VSpace)
    assert_type(primitives(), list[Row])
    assert_type(check_grads(log_sum_exp)(x), None)
    assert_type(Model(0.1).slope(x), Array)
    named: Derived[[Array], Array] = grad(loss_of_x)
    assert named.__name__.startswith("grad")


@debug()
def watched(x: Array) -> Array:
    """Debug mode as a decorator."""
    with debug(False):
        return grad(loss_of_x)(x)


def described(x: Array) -> str:
    """A box has the attributes of an array."""
    return f"traced, {x.shape}" if isinstance(x, Box) else f"plain, {x.shape}"


if __name__ == "__main__":
    compiled()
    gradients()
    products()
    derivatives()
    extensions()
    assert_type(watched(x), Array)
    assert described(x) == "plain, (3,)"
    print("done")
