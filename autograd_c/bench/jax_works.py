"""The works under ``jax.jit``: of ``jax.grad``, ``jax.hessian`` and so on.

JAX runs the NumPy programs as they are, unrolled; where that would compile for minutes, the loop is a
``lax.scan``, as its users write it. JAX is an argument, as PyTorch is in `torch_works`.
"""

import functools
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from .workloads import ADAM, Workload

__all__ = ["prepare"]

# ---- loops: `jax`, then the arguments of their NumPy namesakes --------------------------------------------


def recurrent(jax, parameters, sequence, target):
    kernel, recurrence, bias = parameters

    def step(hidden, entering):
        return jax.numpy.tanh(entering @ kernel + hidden @ recurrence + bias), None

    hidden, _ = jax.lax.scan(step, jax.numpy.zeros_like(target), sequence)
    return jax.numpy.mean((hidden - target) ** 2)


def lstm(jax, parameters, sequence, target):
    kernel, recurrence, bias = parameters
    sigmoid, tanh = jax.nn.sigmoid, jax.numpy.tanh

    def step(state, entering):
        hidden, cell = state
        gates = entering @ kernel + hidden @ recurrence + bias
        enter, forget, candidate, leave = jax.numpy.split(gates, 4, axis=1)
        cell = sigmoid(forget) * cell + sigmoid(enter) * tanh(candidate)
        return (sigmoid(leave) * tanh(cell), cell), None

    nothing = jax.numpy.zeros_like(target)
    (hidden, _), _ = jax.lax.scan(step, (nothing, nothing), sequence)
    return jax.numpy.mean((hidden - target) ** 2)


def pendulum_rk4(jax, damping, steps):
    def slope(angle, speed):
        return speed, -damping * speed - jax.numpy.sin(angle)

    angle, speed = runge_kutta(jax, slope, (1.2, 0.0), 0.05, steps)
    return angle**2 + speed**2


def lorenz_rk4(jax, parameters, start, steps):
    sigma, rho, beta = parameters

    def slope(x, y, z):
        return sigma * (y - x), x * (rho - z) - y, x * y - beta * z

    return sum(part**2 for part in runge_kutta(jax, slope, tuple(start), 0.01, steps))


def runge_kutta(jax, slope, start, dt, steps):
    """Integrate a tuple of scalars, which XLA runs several times faster than a short vector."""

    def moved(state, distance, along):
        return tuple(part + distance * direction for part, direction in zip(state, along, strict=True))

    def step(state, _):
        k1 = slope(*state)
        k2 = slope(*moved(state, 0.5 * dt, k1))
        k3 = slope(*moved(state, 0.5 * dt, k2))
        k4 = slope(*moved(state, dt, k3))
        mean = tuple((a + 2.0 * b + 2.0 * c + d) / 6.0 for a, b, c, d in zip(k1, k2, k3, k4, strict=True))
        return moved(state, dt, mean), None

    return jax.lax.scan(step, start, length=steps)[0]


LOOPS = {"recurrent": recurrent, "lstm": lstm, "pendulum_rk4": pendulum_rk4, "lorenz_rk4": lorenz_rk4}

# ---- preparation ------------------------------------------------------------------------------------------


def prepare(jax: ModuleType, workload: Workload) -> Callable[[], Any] | None:
    """Return a program that computes the work's derivative with JAX, compiled.

    Inputs are on the device beforehand, and a call lasts until its result is there. It runs in the thread
    that calls it: waiting for another one costs more than short programs take.

    Parameters
    ----------
    jax : module
        JAX; switched to double precision.
    workload : Workload
        The work.

    Returns
    -------
    callable or None
        A program without arguments; None for a derivative that JAX does not have.
    """
    if workload.derivative not in DERIVATIVES:
        return None
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    loop = LOOPS.get(workload.fun.__name__)
    program = functools.partial(loop, jax) if loop else workload.on(*map(drop_in, workload.modules))
    inputs = workload.make_inputs()
    counts = tuple(position for position, value in enumerate(inputs) if isinstance(value, int))
    compiled = jax.jit(DERIVATIVES[workload.derivative](jax, program, workload), static_argnums=counts)
    arguments = [value if isinstance(value, int) else jax.device_put(value) for value in inputs]
    return lambda: jax.block_until_ready(compiled(*arguments))


# ---- derivatives: `jax`, the program and the work ---------------------------------------------------------


def gradient(jax, program, workload):
    return jax.grad(program, argnums=workload.argnum)


def hessian(jax, program, workload):
    return jax.hessian(program, argnums=workload.argnum)


def jacobian(jax, program, workload):
    return jax.jacfwd(program, argnums=workload.argnum)


def blocks(jax, program, workload):
    """Return the Jacobians of single observations, row by row: two rows are for reverse mode."""
    each = jax.vmap(jax.jacrev(program), out_axes=1)
    return lambda *inputs: tuple(each(*inputs))


def adam(jax, program, workload):
    """Return all steps as one ``lax.scan``."""
    slope, each = jax.grad(program), jax.tree.map
    rate, decay, square_decay = ADAM["step_size"], ADAM["b1"], ADAM["b2"]

    def run(parameters, *rest):
        def step(carry, number):
            parameters, mean, square = carry
            along = slope(parameters, *rest)
            mean = each(lambda m, g: decay * m + (1.0 - decay) * g, mean, along)
            square = each(lambda s, g: square_decay * s + (1.0 - square_decay) * (g * g), square, along)
            first, second = 1.0 - decay**number, 1.0 - square_decay**number
            parameters = each(
                lambda x, m, s: x - rate * (m / first) / (jax.numpy.sqrt(s / second) + ADAM["eps"]),
                parameters,
                mean,
                square,
            )
            return (parameters, mean, square), None

        nothing = each(jax.numpy.zeros_like, parameters)
        numbers = jax.numpy.arange(1.0, workload.passes + 1.0)
        return jax.lax.scan(step, (parameters, nothing, nothing), numbers)[0][0]

    return run


DERIVATIVES = {
    "gradient": gradient,
    "hessian": hessian,
    "jacobian": jacobian,
    "blocks": blocks,
    "adam": adam,
}


def drop_in(module):
    return importlib.import_module(f"jax.{module}")
