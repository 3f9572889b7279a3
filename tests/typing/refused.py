"""Mistakes that the types must find: mypy in strict mode reports each ignore that hides nothing."""

from typing import Any, TypeAlias

import autograd_c.numpy as np
from autograd_c import grad, hvp, jvp, make_jvp, value_and_grad, vjp
from autograd_c.extend import Box, defvjp, elementwise, primitive
from autograd_c.test_util import check_grads

Array: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[np.float64]]


def loss(x: Array, y: Array, scale: float = 1.0) -> np.float64:
    """A function of two arrays."""
    return np.sum(np.tanh(x) * y) * scale


def square(x: float) -> float:
    """A function of a number."""
    return x * x


def mistakes(x: Array) -> None:
    """One mistake a line; never called."""
    grad(3.0)  # type: ignore[call-overload]
    grad(loss, "x")  # type: ignore[call-overload]
    grad(loss, (0.0, 1.0))  # type: ignore[arg-type]
    grad(loss)(x)  # type: ignore[call-arg]
    grad(loss)("x", x)  # type: ignore[arg-type]
    grad(loss)(x=x, y=x)  # type: ignore[call-arg]
    grad(loss)(x, x, factor=2.0)  # type: ignore[call-arg]
    len(grad(loss, (0, 1))(x, x).shape)  # type: ignore[attr-defined]
    abs(value_and_grad(square)(1.0))  # type: ignore[arg-type]
    jvp(loss, (x,), (x,))  # type: ignore[arg-type]
    jvp(square, 1.0, 1.0)  # type: ignore[call-overload]
    make_jvp(square)(1.0)("up")  # type: ignore[arg-type]
    vjp(loss, x)  # type: ignore[arg-type]
    hvp(square, (1.0,), 1.0)  # type: ignore[call-overload]
    check_grads(square, modes=["forward"])  # type: ignore[list-item]
    defvjp(square, lambda ans, x: lambda g: g)  # type: ignore[arg-type]
    elementwise(square, "partial")  # type: ignore[call-overload]
    primitive(square)("x")  # type: ignore[arg-type]
    Box(1.0)  # type: ignore[arg-type]
