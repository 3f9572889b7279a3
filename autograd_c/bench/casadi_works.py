"""The works that suit CasADi, by its virtual machine, as its users write them.

CasADi is for programs of scalars: SX graphs, or MX ones where a work has long vectors. A derivative becomes
an expression of its own, by colouring where it is a matrix, and a ``Function``. That is called through its
buffers, the fastest way there is: CasADi's conversion of NumPy arrays takes longer than a short program.
CasADi is an argument, as PyTorch is in `torch_works`.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy

from .workloads import Workload

__all__ = ["prepare"]

# ---- programs: `casadi`, then the arguments of their NumPy namesakes --------------------------------------


def scalar_chain(casadi, x, steps):
    for _ in range(steps):
        x = casadi.sin(x) * 1.01 + 0.3 * x
    return x


def rosenbrock(casadi, x):
    return casadi.sum1(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def elementwise(casadi, x):
    return casadi.sum1(casadi.tanh(x) * casadi.exp(-(x**2)) + casadi.log1p(x**2))


def pendulum_rk4(casadi, damping, steps):
    def slope(angle, speed):
        return speed, -damping * speed - casadi.sin(angle)

    angle, speed = runge_kutta(slope, [1.2, 0.0], 0.05, steps)
    return angle**2 + speed**2


def lorenz_rk4(casadi, parameters, start, steps):
    sigma, rho, beta = casadi.vertsplit(parameters)

    def slope(x, y, z):
        return sigma * (y - x), x * (rho - z) - y, x * y - beta * z

    return sum(part**2 for part in runge_kutta(slope, list(start), 0.01, steps))


def runge_kutta(slope, state, dt, steps):
    def moved(distance, along):
        return [part + distance * direction for part, direction in zip(state, along, strict=True)]

    for _ in range(steps):
        k1 = slope(*state)
        k2 = slope(*moved(0.5 * dt, k1))
        k3 = slope(*moved(0.5 * dt, k2))
        k4 = slope(*moved(dt, k3))
        state = moved(dt / 6.0, [a + 2.0 * (b + c) + d for a, b, c, d in zip(k1, k2, k3, k4, strict=True)])
    return state


def repulsion(casadi, x):
    """Sum over pairs: CasADi has no use for an array of all distances, each of them twice."""
    size = x.shape[0]
    pairs = [1.0 / casadi.sqrt(1.0 + (x[i] - x[k]) ** 2) for i in range(size) for k in range(i)]
    return sum(pairs, 0.5 * size)


def tridiagonal(casadi, x):
    inner = (3.0 - 2.0 * x) * x + 1.0
    return casadi.vertcat(inner[0] - 2.0 * x[1], inner[1:-1] - x[:-2] - 2.0 * x[2:], inner[-1] - x[-2])


#: The Python loop of Rosenbrock's function makes the same graph of scalars as the vectorised form.
PROGRAMS = {
    "scalar_chain": scalar_chain,
    "rosenbrock": rosenbrock,
    "rosenbrock_loop": rosenbrock,
    "elementwise": elementwise,
    "pendulum_rk4": pendulum_rk4,
    "lorenz_rk4": lorenz_rk4,
    "repulsion": repulsion,
    "tridiagonal": tridiagonal,
}

# ---- preparation ------------------------------------------------------------------------------------------

#: From here on a graph with a node for each item takes too long to make.
LONG = 5000


def prepare(casadi: ModuleType, workload: Workload) -> Callable[[], Any] | None:
    """Return a program that computes the work's derivative with CasADi.

    Parameters
    ----------
    casadi : module
        CasADi.
    workload : Workload
        The work.

    Returns
    -------
    callable or None
        A program without arguments, which fills the same array at every call; None for a work that is not
        written for CasADi.
    """
    program = PROGRAMS.get(workload.fun.__name__)
    derive = DERIVATIVES.get(workload.derivative)
    if program is None or derive is None:
        return None
    inputs = list(workload.make_inputs())
    primal = numpy.atleast_1d(numpy.asarray(inputs[workload.argnum], dtype=float))
    symbols = casadi.MX if primal.size >= LONG else casadi.SX
    x = inputs[workload.argnum] = symbols.sym("x", primal.size)
    derived = derive(casadi, program(casadi, *inputs), x)
    function = casadi.Function("derivative", [x], [derived])
    shape = numpy.shape(workload.make_inputs()[workload.argnum])
    if workload.derivative == "sparse_jacobian":
        return sparse_call(function, primal, derived)
    return dense_call(function, primal, derived.shape if workload.derivative != "gradient" else shape)


def dense_call(function, primal, shape):
    out = numpy.zeros(shape, order="F")
    trigger = bound(function, primal, out.reshape(-1, order="F"))

    def call():
        trigger()
        return out

    return call


def sparse_call(function, primal, derived):
    """Return a program with a result as CasADi's users take it over: its columns compressed."""
    from scipy.sparse import csc_array

    starts, rows = (numpy.array(part, dtype=numpy.int32) for part in derived.sparsity().get_ccs())
    out = numpy.zeros(derived.nnz())
    trigger = bound(function, primal, out)

    def call():
        trigger()
        return csc_array((out, rows, starts), shape=derived.shape)

    return call


def bound(function, primal, out):
    """Return a program that evaluates a function from one array into another, without any copy."""
    buffer, trigger = function.buffer()
    buffer.set_arg(0, memoryview(primal))
    buffer.set_res(0, memoryview(out))

    def run(alive=(buffer, primal, out)):  # CasADi keeps addresses only
        trigger()

    return run


def gradient(casadi, result, x):
    return casadi.densify(casadi.gradient(result, x))


def hessian(casadi, result, x):
    return casadi.densify(casadi.hessian(result, x)[0])


def jacobian(casadi, result, x):
    return casadi.densify(casadi.jacobian(result, x))


def sparse_jacobian(casadi, result, x):
    return casadi.jacobian(result, x)


DERIVATIVES = {
    "gradient": gradient,
    "hessian": hessian,
    "jacobian": jacobian,
    "sparse_jacobian": sparse_jacobian,
}
