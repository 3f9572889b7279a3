"""The works as a PyTorch user writes them: native operations, losses and recurrent layers.

PyTorch is an argument here, as the array namespace is in the works themselves, so that this module can be
read and checked where PyTorch is not installed.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy

from .workloads import Workload

__all__ = ["prepare"]

# ---- programs: `torch`, then the arguments of their NumPy namesakes --------------------------------------


def scalar_chain(torch, x, steps):
    for _ in range(steps):
        x = torch.sin(x) * 1.01 + 0.3 * x
    return x


def rosenbrock(torch, x):
    return torch.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def rosenbrock_loop(torch, x):
    total = 0.0
    for i in range(len(x) - 1):
        total = total + 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return total


def elementwise(torch, x):
    return torch.sum(torch.tanh(x) * torch.exp(-(x**2)) + torch.log1p(x**2))


def mlp(torch, layers, inputs, targets):
    hidden = inputs
    for weights, bias in layers[:-1]:
        hidden = torch.tanh(torch.addmm(bias, hidden, weights))
    weights, bias = layers[-1]
    return torch.nn.functional.mse_loss(torch.addmm(bias, hidden, weights), targets)


def logistic_regression(torch, weights, inputs, targets):
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    return loss(inputs @ weights, targets, reduction="sum")


def pendulum_rk4(torch, damping, steps):
    dt = 0.05

    def slope(angle, speed):
        return speed, -damping * speed - torch.sin(angle)

    angle, speed = torch.tensor(1.2, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    for _ in range(steps):
        a1, s1 = slope(angle, speed)
        a2, s2 = slope(angle + 0.5 * dt * a1, speed + 0.5 * dt * s1)
        a3, s3 = slope(angle + 0.5 * dt * a2, speed + 0.5 * dt * s2)
        a4, s4 = slope(angle + dt * a3, speed + dt * s3)
        angle = angle + dt / 6.0 * (a1 + 2.0 * a2 + 2.0 * a3 + a4)
        speed = speed + dt / 6.0 * (s1 + 2.0 * s2 + 2.0 * s3 + s4)
    return angle**2 + speed**2


def lorenz_rk4(torch, parameters, start, steps):
    dt = 0.01
    sigma, rho, beta = parameters

    def slope(s):
        x, y, z = s.unbind()
        return torch.stack([sigma * (y - x), x * (rho - z) - y, x * y - beta * z])

    state = start
    for _ in range(steps):
        k1 = slope(state)
        k2 = slope(state + 0.5 * dt * k1)
        k3 = slope(state + 0.5 * dt * k2)
        k4 = slope(state + dt * k3)
        state = state + dt / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
    return torch.sum(state**2)


def gaussian_mixture(torch, parameters, points):
    logits, means, log_diagonal, lower = parameters
    factors = torch.tril(lower, -1) + torch.diag_embed(torch.exp(log_diagonal))
    whitened = torch.matmul(points - means[:, None, :], factors.mT)
    scores = (logits + log_diagonal.sum(1))[:, None] - 0.5 * whitened.square().sum(2)
    return torch.logsumexp(scores, 0).sum() - len(points) * torch.logsumexp(logits, 0)


def gaussian_process(torch, log_parameters, distances, targets):
    variance, precision, noise = torch.exp(log_parameters)
    identity = torch.eye(len(distances), dtype=torch.float64)
    kernel = variance * torch.exp(-0.5 * precision * distances) + noise * identity
    factor = torch.linalg.cholesky(kernel)
    whitened = torch.linalg.solve_triangular(factor, targets[:, None], upper=False)
    return 0.5 * whitened.square().sum() + factor.diagonal().log().sum()


PROGRAMS = {
    "scalar_chain": scalar_chain,
    "rosenbrock": rosenbrock,
    "rosenbrock_loop": rosenbrock_loop,
    "elementwise": elementwise,
    "mlp": mlp,
    "logistic_regression": logistic_regression,
    "logistic_regression_stable": logistic_regression,
    "pendulum_rk4": pendulum_rk4,
    "lorenz_rk4": lorenz_rk4,
    "gaussian_mixture": gaussian_mixture,
    "gaussian_process": gaussian_process,
    "gaussian_process_triangular": gaussian_process,
}

# ---- recurrent networks: PyTorch has whole layers of them, gates in the same order -----------------------

LAYERS = {"recurrent": "RNN", "lstm": "LSTM"}


def prepare_layer(torch, kind, inputs, compiled):
    """Prepare a recurrent work on PyTorch's own layer, with the work's weights in it."""
    (kernel, recurrence, bias), sequence, target = inputs
    layer = getattr(torch.nn, kind)(kernel.shape[0], recurrence.shape[0], dtype=torch.float64)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.tensor(kernel.T))
        layer.weight_hh_l0.copy_(torch.tensor(recurrence.T))
        layer.bias_ih_l0.copy_(torch.tensor(bias))
        layer.bias_hh_l0.zero_()
    layer.bias_hh_l0.requires_grad_(False)  # the work has one bias, the layer two
    sequence, target = torch.tensor(sequence), torch.tensor(target)
    parameters = (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0)
    run = torch.compile(layer) if compiled else layer

    def gradient():
        loss = torch.nn.functional.mse_loss(run(sequence)[0][-1], target)
        along_kernel, along_recurrence, along_bias = torch.autograd.grad(loss, parameters)
        return along_kernel.T, along_recurrence.T, along_bias

    return gradient


# ---- preparation ------------------------------------------------------------------------------------------


def prepare(torch: ModuleType, workload: Workload, compiled: bool = False) -> Callable[[], Any] | None:
    """Return a program that computes the work's gradient with PyTorch.

    Parameters
    ----------
    torch : module
        PyTorch.
    workload : Workload
        The work.
    compiled : bool
        Whether the forward pass goes through ``torch.compile``.

    Returns
    -------
    callable or None
        A program without arguments; None for a work that is not written for PyTorch.
    """
    if workload.derivative != "gradient":
        return None
    torch.set_num_threads(1)
    name = workload.fun.__name__
    if name in LAYERS:
        return prepare_layer(torch, LAYERS[name], workload.make_inputs(), compiled)
    if name not in PROGRAMS:
        return None
    arguments, parameters = [], []
    for position, value in enumerate(workload.make_inputs()):
        wanted = position == workload.argnum
        arguments.append(tensors(torch, value, wanted, parameters if wanted else []))
    program = functools.partial(PROGRAMS[name], torch)
    return functools.partial(
        gradient, torch, torch.compile(program) if compiled else program, arguments, parameters
    )


def gradient(torch, program, arguments, parameters):
    return torch.autograd.grad(program(*arguments), parameters)


def tensors(torch, tree, requires_grad, found):
    """Return the inputs as tensors in the same lists and tuples, collecting them in `found`."""
    if isinstance(tree, (list, tuple)):
        return type(tree)(tensors(torch, branch, requires_grad, found) for branch in tree)
    if not isinstance(tree, (float, numpy.ndarray)):
        return tree
    tensor = torch.tensor(tree, dtype=torch.float64, requires_grad=requires_grad)
    found.append(tensor)
    return tensor
