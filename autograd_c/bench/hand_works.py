"""Works with the gradient written by hand: NumPy as a careful user arranges it, the value included.

They show what NumPy itself can do: less time takes fusing, or doing without NumPy's calls.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy
import scipy.linalg

from .workloads import Workload

__all__ = ["elementwise", "prepare"]


def elementwise(x: numpy.ndarray) -> numpy.ndarray:
    """Return the gradient of the elementwise work, forward pass included."""
    squares = x**2
    tanh, decay = numpy.tanh(x), numpy.exp(-squares)
    value = numpy.sum(tanh * decay + numpy.log1p(squares))
    assert numpy.isfinite(value)
    along_squares = 1.0 / (1.0 + squares) - tanh * decay
    return (1.0 - tanh**2) * decay + 2.0 * x * along_squares


def rosenbrock(x):
    bend, rest = x[1:] - x[:-1] ** 2, 1.0 - x[:-1]
    value = numpy.sum(100.0 * bend**2 + rest**2)
    assert numpy.isfinite(value)
    along = numpy.zeros_like(x)
    along[1:] = 200.0 * bend
    along[:-1] -= 400.0 * bend * x[:-1] + 2.0 * rest
    return along


def mlp(layers, inputs, targets):
    entering = [inputs]
    for weights, bias in layers[:-1]:
        entering.append(numpy.tanh(entering[-1] @ weights + bias))
    weights, bias = layers[-1]
    error = entering[-1] @ weights + bias - targets
    value = numpy.mean(error**2)
    assert numpy.isfinite(value)
    along = error * (2.0 / error.size)
    gradient = []
    for (weights, _), hidden in zip(reversed(layers), reversed(entering), strict=True):
        gradient.append((hidden.T @ along, along.sum(axis=0)))
        if hidden is not inputs:
            along = (along @ weights.T) * (1.0 - hidden**2)
    return gradient[::-1]


def logistic_regression(weights, inputs, targets):
    logits = inputs @ weights
    value = numpy.sum(numpy.logaddexp(0.0, logits) - targets * logits)
    assert numpy.isfinite(value)
    return (0.5 * (numpy.tanh(0.5 * logits) + 1.0) - targets) @ inputs


def gaussian_process(log_parameters, distances, targets):
    """The inverse of the covariance from its factor, half of it, since all is symmetric."""
    variance, precision, noise = numpy.exp(log_parameters)
    kernel = variance * numpy.exp(-0.5 * precision * distances)
    size = len(targets)
    covariance = kernel + noise * numpy.eye(size)
    factor = scipy.linalg.cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
    alpha = scipy.linalg.cho_solve((factor, True), targets, check_finite=False)
    value = 0.5 * (targets @ alpha) + numpy.sum(numpy.log(numpy.diag(factor)))
    assert numpy.isfinite(value)
    inverse, _ = scipy.linalg.lapack.dpotri(factor, lower=True, overwrite_c=True)
    on_diagonal = numpy.diag(inverse).copy()
    twice_upper = 2.0 * inverse.T  # in C order, as the kernel is
    twice_upper[numpy.diag_indices(size)] = on_diagonal
    weighted = (twice_upper - alpha[:, None] * alpha) * kernel
    along_variance = 0.5 * numpy.sum(weighted)
    along_precision = -0.25 * precision * numpy.vdot(weighted, distances)
    return numpy.array([along_variance, along_precision, 0.5 * noise * numpy.sum(on_diagonal - alpha**2)])


PROGRAMS = {
    "elementwise": elementwise,
    "rosenbrock": rosenbrock,
    "mlp": mlp,
    "logistic_regression": logistic_regression,
    "logistic_regression_stable": logistic_regression,
    "gaussian_process": gaussian_process,
    "gaussian_process_triangular": gaussian_process,
}


def prepare(workload: Workload) -> Callable[[], Any] | None:
    """Return a program that computes the work's gradient, or None for a work that is not written by hand."""
    program = PROGRAMS.get(workload.fun.__name__)
    if program is None or workload.derivative != "gradient":
        return None
    return functools.partial(program, *workload.make_inputs())
