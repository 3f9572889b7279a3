"""The works that every figure in this project is measured on.

A work is an ordinary NumPy program that takes its array namespace as first argument: plain
`numpy` gives the forward pass that every ratio is relative to, `autograd_c.numpy` the traced one.
Inputs are drawn once from a fixed seed, so that every library differentiates the same numbers.
Most works are measured by their gradient; `Workload.derivative` says what the others ask for.
"""

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy

__all__ = ["ADAM", "COMPILED", "DERIVATIVES", "EAGER", "WORKLOADS", "Target", "Workload", "select"]

#: Modes that have targets: recorded anew at every call, and compiled, that is replayed after the first calls.
EAGER, COMPILED = "eager", "compiled"

#: What is asked of a work: the gradient, a matrix (dense, or as a sparse array), the Jacobian of each column
#: of the result by the row of the argument that it belongs to, or many steps of Adam.
DERIVATIVES = ("gradient", "hessian", "jacobian", "sparse_jacobian", "blocks", "adam")

#: The options of ``"adam"``, named as by `autograd_c.optim.Adam`.
ADAM = {"step_size": 0.001, "b1": 0.9, "b2": 0.999, "eps": 1e-8}


@dataclass(frozen=True)
class Target:
    """Ratio to NumPy's forward pass that a derivative must reach, and the one it aims for.

    Without a number for `must` it is the ratio of the fastest peer that was measured beside it.
    """

    must: float | None = None
    aim: float | None = None


@dataclass(frozen=True)
class Workload:
    """One work: the program, its inputs, and how fast its gradient has to be.

    Attributes
    ----------
    name : str
        Unique, in snake case, the size last where there are several.
    fun : callable
        ``fun(*modules, *inputs)`` with a real scalar result, or an array for ``"jacobian"`` and the like.
    make_inputs : callable
        Draws the inputs: floats, float64 arrays, or lists and tuples of them.
    argnum : int
        Which of the inputs the gradient is taken with respect to.
    modules : tuple of str
        The modules that `fun` takes first, named as below ``autograd_c``.
    targets : mapping of str to Target
        Keyed by mode; a work without a target is measured all the same.
    title : str
        What it is, in Markdown, for tables in the documentation.
    derivative : str
        What is measured, of `DERIVATIVES`.
    passes : int
        Forward passes that the ratio is relative to: the steps of ``"adam"``, one for the others.
    large : bool
        Whether it is measured only when asked for, by its name or by ``--large``.
    """

    name: str
    fun: Callable[..., Any]
    make_inputs: Callable[[], tuple]
    argnum: int = 0
    modules: tuple[str, ...] = ("numpy",)
    targets: Mapping[str, Target] = field(default_factory=dict)
    title: str = ""
    derivative: str = "gradient"
    passes: int = 1
    large: bool = False

    def forward(self) -> Callable[..., Any]:
        """Return the program on plain NumPy and SciPy."""
        return functools.partial(self.fun, *map(importlib.import_module, self.modules))

    def bind(self, package: str) -> Callable[..., Any]:
        """Return the program on `package`'s drop-in modules, such as ``autograd_c.numpy``."""
        return self.on(*(importlib.import_module(f"{package}.{module}") for module in self.modules))

    def on(self, *modules: ModuleType) -> Callable[..., Any]:
        """Return the program on these modules, in the order of `modules`."""
        return functools.partial(self.fun, *modules)


def draw(seed=0):
    """Return the generator that a work's inputs come from."""
    return numpy.random.default_rng(seed)


# ---- scalars and short vectors: all overhead -----------------------------------------------------


#: What one step of the scalar chain records: ``sin``, two products and a sum.
ENTRIES_PER_STEP = 4


def scalar_chain(np, x, steps):
    for _ in range(steps):
        x = np.sin(x) * 1.01 + 0.3 * x
    return x


def rosenbrock(np, x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def rosenbrock_loop(np, x):
    total = 0.0
    for i in range(len(x) - 1):
        total = total + 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return total


def elementwise(np, x):
    return np.sum(np.tanh(x) * np.exp(-(x**2)) + np.log1p(x**2))


def vector_inputs(size):
    return lambda: (draw().normal(size=size),)


# ---- networks and regression ----------------------------------------------------------------------


def mlp(np, layers, inputs, targets):
    hidden = inputs
    for weights, bias in layers[:-1]:
        hidden = np.tanh(hidden @ weights + bias)
    weights, bias = layers[-1]
    return np.mean((hidden @ weights + bias - targets) ** 2)


def mlp_inputs(width, batch, depth=4):
    def make():
        rng = draw()
        layers = [
            (rng.normal(size=(width, width)) / width**0.5, 0.1 * rng.normal(size=width)) for _ in range(depth)
        ]
        return layers, rng.normal(size=(batch, width)), rng.normal(size=(batch, width))

    return make


def logistic_regression(np, weights, inputs, targets):
    """Negative log-likelihood of 0/1 targets, the sigmoid by tanh so that it cannot overflow."""
    chance = 0.5 * (np.tanh(0.5 * (inputs @ weights)) + 1.0)
    return -np.sum(np.log(chance * targets + (1.0 - chance) * (1.0 - targets)))


def logistic_regression_stable(np, weights, inputs, targets):
    """The same likelihood from the logits, exact for any size of them."""
    logits = inputs @ weights
    return np.sum(np.logaddexp(0.0, logits) - targets * logits)


def regression_inputs(samples, features):
    def make():
        rng = draw()
        inputs = rng.normal(size=(samples, features))
        return 0.3 * rng.normal(size=features), inputs, (rng.random(samples) < 0.5).astype(float)

    return make


def recurrent(np, parameters, sequence, target):
    """Elman network: ``sequence`` is (steps, batch, features); the loss is on the last state."""
    kernel, recurrence, bias = parameters
    hidden = np.zeros((sequence.shape[1], recurrence.shape[0]))
    for step in range(len(sequence)):
        hidden = np.tanh(sequence[step] @ kernel + hidden @ recurrence + bias)
    return np.mean((hidden - target) ** 2)


def lstm(np, parameters, sequence, target):
    """Long short-term memory; gates in the order input, forget, candidate, output."""
    kernel, recurrence, bias = parameters
    units = recurrence.shape[0]
    hidden = cell = np.zeros((sequence.shape[1], units))
    for step in range(len(sequence)):
        gates = sequence[step] @ kernel + hidden @ recurrence + bias
        enter = 0.5 * (np.tanh(0.5 * gates[:, :units]) + 1.0)
        forget = 0.5 * (np.tanh(0.5 * gates[:, units : 2 * units]) + 1.0)
        candidate = np.tanh(gates[:, 2 * units : 3 * units])
        leave = 0.5 * (np.tanh(0.5 * gates[:, 3 * units :]) + 1.0)
        cell = forget * cell + enter * candidate
        hidden = leave * np.tanh(cell)
    return np.mean((hidden - target) ** 2)


def sequence_inputs(gates, steps=50, batch=8, features=16, units=32):
    def make():
        rng = draw()
        width = gates * units
        parameters = (
            rng.normal(size=(features, width)) / features**0.5,
            rng.normal(size=(units, width)) / units**0.5,
            0.1 * rng.normal(size=width),
        )
        return parameters, rng.normal(size=(steps, batch, features)), rng.normal(size=(batch, units))

    return make


# ---- integrators written as Python loops ----------------------------------------------------------


def pendulum_rk4(np, damping, steps):
    """Damped pendulum in Python scalars: four evaluations a step, everything 0-d."""
    dt = 0.05

    def slope(angle, speed):
        return speed, -damping * speed - np.sin(angle)

    angle, speed = 1.2, 0.0
    for _ in range(steps):
        a1, s1 = slope(angle, speed)
        a2, s2 = slope(angle + 0.5 * dt * a1, speed + 0.5 * dt * s1)
        a3, s3 = slope(angle + 0.5 * dt * a2, speed + 0.5 * dt * s2)
        a4, s4 = slope(angle + dt * a3, speed + dt * s3)
        angle = angle + dt / 6.0 * (a1 + 2.0 * a2 + 2.0 * a3 + a4)
        speed = speed + dt / 6.0 * (s1 + 2.0 * s2 + 2.0 * s3 + s4)
    return angle**2 + speed**2


def lorenz_rk4(np, parameters, start, steps):
    """Lorenz's system as a 3-vector: indexing, and an array built of traced scalars."""
    dt = 0.01
    sigma, rho, beta = parameters[0], parameters[1], parameters[2]

    def slope(s):
        return np.array([sigma * (s[1] - s[0]), s[0] * (rho - s[2]) - s[1], s[0] * s[1] - beta * s[2]])

    state = start
    for _ in range(steps):
        k1 = slope(state)
        k2 = slope(state + 0.5 * dt * k1)
        k3 = slope(state + 0.5 * dt * k2)
        k4 = slope(state + dt * k3)
        state = state + dt / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
    return np.sum(state**2)


# ---- likelihoods ----------------------------------------------------------------------------------


def gaussian_mixture(np, parameters, points):
    """Log-likelihood of a mixture with full covariances, each by a factor of its inverse.

    The factor of component k is ``tril(lower[k], -1) + diag(exp(log_diagonal[k]))``.
    """
    logits, means, log_diagonal, lower = parameters
    factors = np.tril(lower, -1) + np.exp(log_diagonal)[:, :, None] * np.eye(points.shape[1])
    whitened = (points - means[:, None, :]) @ np.swapaxes(factors, 1, 2)
    scores = (logits + np.sum(log_diagonal, axis=1))[:, None] - 0.5 * np.sum(whitened**2, axis=2)
    return np.sum(log_sum_exp(np, scores)) - len(points) * log_sum_exp(np, logits)


def log_sum_exp(np, scores):
    largest = np.max(scores, axis=0)
    return largest + np.log(np.sum(np.exp(scores - largest), axis=0))


def mixture_inputs(samples=1000, dimension=10, components=25):
    def make():
        rng = draw()
        parameters = (
            rng.normal(size=components),
            rng.normal(size=(components, dimension)),
            0.1 * rng.normal(size=(components, dimension)),
            0.1 * rng.normal(size=(components, dimension, dimension)),
        )
        return parameters, rng.normal(size=(samples, dimension))

    return make


def covariance(np, log_parameters, distances):
    """Squared-exponential kernel plus noise, from squared distances."""
    variance, precision, noise = (
        np.exp(log_parameters[0]),
        np.exp(log_parameters[1]),
        np.exp(log_parameters[2]),
    )
    return variance * np.exp(-0.5 * precision * distances) + noise * np.eye(len(distances))


def gaussian_process(np, log_parameters, distances, targets):
    """Negative log marginal likelihood, without its constant."""
    factor = np.linalg.cholesky(covariance(np, log_parameters, distances))
    whitened = np.linalg.solve(factor, targets)
    return 0.5 * np.sum(whitened**2) + np.sum(np.log(np.diag(factor)))


def gaussian_process_triangular(np, linalg, log_parameters, distances, targets):
    """The same likelihood with the triangular solve that its factor deserves."""
    factor = np.linalg.cholesky(covariance(np, log_parameters, distances))
    whitened = linalg.solve_triangular(factor, targets, lower=True)
    return 0.5 * np.sum(whitened**2) + np.sum(np.log(np.diag(factor)))


def process_inputs(size, dimension=3):
    def make():
        rng = draw()
        points = rng.normal(size=(size, dimension))
        distances = numpy.sum((points[:, None] - points[None]) ** 2, axis=2)
        return numpy.array([0.1, 0.2, -1.0]), distances, rng.normal(size=size)

    return make


# ---- matrices of derivatives ----------------------------------------------------------------------


def bundle_adjustment(np, parameters, features):
    """Weighted errors of reprojection, (2, observations), by the formulation of ADBench.

    Each row of `parameters` holds the camera (rotation, centre, focal length, principal point, two
    coefficients of radial distortion), the point and the weight of one observation; `features` holds where it
    was seen. The rotation is about a vector whose length is the angle, by Rodrigues' formula.
    """
    rotation, centre = parameters[..., 0:3], parameters[..., 3:6]
    focal, principal = parameters[..., 6], (parameters[..., 7], parameters[..., 8])
    k1, k2 = parameters[..., 9], parameters[..., 10]
    point, weight = parameters[..., 11:14], parameters[..., 14]

    angle = np.sqrt(np.sum(rotation**2, axis=-1))[..., None]
    axis, arm = rotation / angle, point - centre
    along = np.sum(axis * arm, axis=-1)[..., None] * (1.0 - np.cos(angle))
    seen = arm * np.cos(angle) + np.cross(axis, arm) * np.sin(angle) + axis * along

    u, v = seen[..., 0] / seen[..., 2], seen[..., 1] / seen[..., 2]
    square = u**2 + v**2
    scale = focal * (1.0 + k1 * square + k2 * square**2)
    return np.stack(
        [
            weight * (scale * u + principal[0] - features[..., 0]),
            weight * (scale * v + principal[1] - features[..., 1]),
        ]
    )


def bundle_inputs(observations):
    def make():
        rng = draw()
        parameters = rng.normal(size=(observations, 15))
        parameters[:, 13] += 10.0  # in front of the camera
        return parameters, rng.normal(size=(observations, 2))

    return make


def repulsion(np, x):
    """Energy of charges on a line, softened; each pair interacts, so its Hessian is dense."""
    distances = x[:, None] - x[None, :]
    return 0.5 * np.sum(1.0 / np.sqrt(1.0 + distances**2))


def tridiagonal(np, x):
    """Broyden's tridiagonal function, whose Jacobian is a band."""
    inner = (3.0 - 2.0 * x) * x + 1.0
    return np.concatenate(
        [inner[:1] - 2.0 * x[1:2], inner[1:-1] - x[:-2] - 2.0 * x[2:], inner[-1:] - x[-2:-1]]
    )


# ---- the table ------------------------------------------------------------------------------------


def targets(eager=None, compiled=None):
    """Return the targets of both modes from pairs (must, aim), or from the former alone."""
    pairs = {EAGER: eager, COMPILED: compiled}
    return {
        mode: Target(*pair) if isinstance(pair, tuple) else Target(pair)
        for mode, pair in pairs.items()
        if pair is not None
    }


#: Compiled, it has to be as fast as the fastest of the others.
BEST_PEER = {COMPILED: Target()}

ELEMENTWISE = "`sum(tanh(x)*exp(-x**2) + log1p(x**2))`"

ELEMENTWISE_TARGETS = {
    10: targets((2.0, 1.0), (0.12, 0.07)),
    1000: targets((2.0, 1.3), (0.6, 0.4)),
    100_000: targets((1.6, 1.2), (0.9, 0.5)),
    10_000_000: targets(None, (0.6, 0.4)),
}


def elementwise_work(size):
    """Return the elementwise work of one size; those without a target for gradients are for plots."""
    goals = ELEMENTWISE_TARGETS.get(size, {})
    return Workload(
        f"elementwise_{size}",
        elementwise,
        vector_inputs(size),
        targets=goals,
        title=f"{ELEMENTWISE}, n = {size:,}" if size >= 10_000 else f"{ELEMENTWISE}, n = {size}",
        large=EAGER not in goals,
    )


WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload(
            "scalar_chain",
            scalar_chain,
            lambda: (0.5, 100),
            targets=targets((1.0, 0.6), (0.13, 0.08)),
            title="scalar chain `x = sin(x)*1.01 + 0.3*x`, 100 steps, Python float",
        ),
        Workload(
            "rosenbrock",
            rosenbrock,
            vector_inputs(100),
            targets=targets((2.0, 1.2), (0.35, 0.20)),
            title="Rosenbrock, vectorised, 100",
        ),
        Workload(
            "rosenbrock_loop",
            rosenbrock_loop,
            vector_inputs(100),
            targets=targets((2.0, 1.0), (0.06, 0.03)),
            title="Rosenbrock, Python loop over `x[i]`, 100",
        ),
        Workload(
            "mlp_16",
            mlp,
            mlp_inputs(16, 8),
            targets=targets((2.5, 1.8), (1.0, 0.5)),
            title="MLP of 4 layers, width 16, batch 8, tanh",
        ),
        Workload(
            "mlp_256",
            mlp,
            mlp_inputs(256, 256),
            targets=targets((2.5, 2.3), (2.4, 2.2)),
            title="MLP of 4 layers, width 256, batch 256, tanh",
        ),
        Workload(
            "logistic_regression",
            logistic_regression,
            regression_inputs(1000, 20),
            targets=targets((1.5, 1.1), (0.9, 0.6)),
            title="logistic regression, 1000 x 20",
        ),
        *(elementwise_work(size) for size in (10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000)),
        Workload(
            "logistic_regression_stable",
            logistic_regression_stable,
            regression_inputs(1000, 20),
            title="logistic regression by `logaddexp`, 1000 x 20",
        ),
        Workload(
            "recurrent",
            recurrent,
            sequence_inputs(1),
            title="recurrent network, Python loop of 50 steps, 32 units, batch 8",
        ),
        Workload(
            "lstm",
            lstm,
            sequence_inputs(4),
            targets=BEST_PEER,
            title="LSTM, Python loop of 50 steps, 32 units, batch 8",
        ),
        Workload(
            "pendulum_rk4",
            pendulum_rk4,
            lambda: (0.1, 100),
            title="Runge-Kutta, 100 steps on two scalars (pendulum)",
        ),
        Workload(
            "pendulum_rk4_1000",
            pendulum_rk4,
            lambda: (0.1, 1000),
            targets=BEST_PEER,
            title="Runge-Kutta, 1000 steps on two scalars (pendulum)",
            large=True,
        ),
        Workload(
            "lorenz_rk4",
            lorenz_rk4,
            lambda: (numpy.array([10.0, 28.0, 8.0 / 3.0]), numpy.ones(3), 50),
            title="Runge-Kutta, 50 steps on a 3-vector made by `np.array([...])` (Lorenz)",
        ),
        Workload(
            "gaussian_mixture",
            gaussian_mixture,
            mixture_inputs(),
            targets=BEST_PEER,
            title="Gaussian mixture, 1000 points, 10 dimensions, 25 components",
        ),
        Workload(
            "gaussian_process",
            gaussian_process,
            process_inputs(200),
            targets=targets(2.7) | BEST_PEER,
            title="Gaussian process, n = 200, `cholesky` and `solve`",
        ),
        Workload(
            "gaussian_process_triangular",
            gaussian_process_triangular,
            process_inputs(200),
            modules=("numpy", "scipy.linalg"),
            targets=BEST_PEER,
            title="Gaussian process, n = 200, `cholesky` and `solve_triangular`",
        ),
        Workload(
            "bundle_adjustment",
            bundle_adjustment,
            bundle_inputs(1000),
            targets=BEST_PEER,
            title="bundle adjustment, Jacobians of 1000 observations, each 2 x 15",
            derivative="blocks",
            large=True,
        ),
        Workload(
            "hessian_dense",
            repulsion,
            vector_inputs(50),
            targets=BEST_PEER,
            title="Hessian of the energy of 50 charges, vectorised over pairs",
            derivative="hessian",
            large=True,
        ),
        Workload(
            "hessian_rosenbrock_loop",
            rosenbrock_loop,
            vector_inputs(50),
            targets=BEST_PEER,
            title="Hessian of Rosenbrock's function, Python loop over `x[i]`, 50",
            derivative="hessian",
            large=True,
        ),
        Workload(
            "jacobian_banded",
            tridiagonal,
            vector_inputs(100),
            targets=BEST_PEER,
            title="Jacobian of Broyden's tridiagonal function, 100 x 100, dense",
            derivative="jacobian",
            large=True,
        ),
        Workload(
            "jacobian_banded_sparse",
            tridiagonal,
            vector_inputs(100),
            targets=BEST_PEER,
            title="Jacobian of Broyden's tridiagonal function, 100 x 100, as a sparse array",
            derivative="sparse_jacobian",
            large=True,
        ),
        Workload(
            "adam_mlp_16",
            mlp,
            mlp_inputs(16, 8),
            targets=targets(None, (1.0, 0.6)),
            title="10,000 steps of Adam on the MLP of width 16, to as many forward passes",
            derivative="adam",
            passes=10_000,
            large=True,
        ),
    )
}


def select(pattern: str | None = None, large: bool = False) -> list[Workload]:
    """Return the works of that name, or whose name contains `pattern`, in the table's order.

    None selects all, the large ones only if `large` says so.

    Examples
    --------
    >>> [workload.name for workload in select("mlp")]
    ['mlp_16', 'mlp_256', 'adam_mlp_16']
    >>> [workload.name for workload in select("mlp_16")]
    ['mlp_16']
    """
    if pattern in WORKLOADS:
        return [WORKLOADS[pattern]]
    if pattern is None:
        return [workload for workload in WORKLOADS.values() if large or not workload.large]
    return [workload for name, workload in WORKLOADS.items() if pattern in name]
