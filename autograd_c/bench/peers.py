"""What a derivative is measured for: this package, and the libraries that a user may have beside it.

A contender is one column of the table. It prepares a work once, outside the measurement, and returns a
program without arguments that computes the derivative anew at every call.
"""

import functools
import importlib
import importlib.util
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy

from . import casadi_works, hand_works, jax_works, torch_works
from .workloads import ADAM, Workload

__all__ = [
    "CONTENDERS",
    "DEFAULT_PEERS",
    "FAST",
    "OURS",
    "OWN",
    "REPLAYED",
    "Contender",
    "compiled",
    "derivative",
    "installed",
    "leaves",
    "programs",
    "until_machine_code",
]

#: The package's columns: recorded anew at every call, compiled, and compiled with ``fastmath=True``.
OURS = "autograd_c"
REPLAYED = "compiled"
FAST = "fastmath"
OWN = (OURS, REPLAYED, FAST)


@dataclass(frozen=True)
class Contender:
    """One way to compute a gradient: its column's title and how to prepare it for a work.

    Attributes
    ----------
    title : str
        Heads the column.
    module : str
        What has to be importable.
    prepare : callable
        ``prepare(workload)`` returns a program that computes the gradient, or None where the
        library has no sensible form of the work.
    """

    title: str
    module: str
    prepare: Callable[[Workload], Callable[[], Any] | None]


def leaves(tree: Any) -> list[numpy.ndarray]:
    """Return the arrays and numbers of a gradient, whatever library it comes from, in order.

    Examples
    --------
    >>> leaves(([1.0, 2.0], (3.0,)))
    [array(1.), array(2.), array(3.)]
    """
    if isinstance(tree, (list, tuple)):
        return [leaf for branch in tree for leaf in leaves(branch)]
    return [numpy.asarray(tree.toarray() if hasattr(tree, "toarray") else tree)]


# ---- packages with NumPy's namespace inside and `grad` at the top -----------------------------------------


def derivative(package: ModuleType, workload: Workload) -> Callable[..., Any] | None:
    """Return the function of the work's inputs that `package` makes of the work, or None where it cannot.

    Parameters
    ----------
    package : module
        ``autograd_c``, or HIPS's ``autograd``.
    workload : Workload
        The work.
    """
    make = {
        "gradient": gradient,
        "hessian": lambda *_: package.hessian,
        "jacobian": lambda *_: package.jacobian,
        "sparse_jacobian": sparse_jacobian,
        "blocks": blocks,
        "adam": adam,
    }[workload.derivative](package, workload)
    return make and make(workload.bind(package.__name__))


def gradient(package, workload):
    return lambda fun: package.grad(fun, workload.argnum)


def sparse_jacobian(package, workload):
    """Only this package has it."""
    if importlib.util.find_spec(f"{package.__name__}.sparse"):
        return importlib.import_module(f"{package.__name__}.sparse").sparse_jacobian
    return None


def blocks(package, workload):
    """Pull one cotangent back for each row of the result, with all columns at once.

    A column of the result depends on no more than one row of the argument, so that every pullback holds a row
    of every Jacobian.
    """

    def make(fun):
        def jacobians(x, *rest):
            pullback, value = package.make_vjp(lambda x: fun(x, *rest))(x)
            rows = numpy.eye(value.shape[0])
            return [pullback(row[:, None] * numpy.ones(value.shape[1])) for row in rows]

        return jacobians

    return make


def adam(package, workload):
    """Return the loop that a user writes: a gradient, and the update of every array, step by step."""
    rate, decay, square_decay, eps = ADAM.values()

    def updated(x, g, mean, square, step):
        mean *= decay
        mean += (1.0 - decay) * g
        square *= square_decay
        square += (1.0 - square_decay) * (g * g)
        scale = numpy.sqrt(square / (1.0 - square_decay**step)) + eps
        return x - rate * (mean / (1.0 - decay**step)) / scale

    def make(fun):
        slope = package.grad(fun)

        def run(layers, *rest):
            states = [[(numpy.zeros_like(x), numpy.zeros_like(x)) for x in layer] for layer in layers]
            for step in range(1, workload.passes + 1):
                layers = [
                    tuple(
                        updated(x, g, *state, step) for x, g, state in zip(layer, along, these, strict=True)
                    )
                    for layer, along, these in zip(layers, slope(layers, *rest), states, strict=True)
                ]
            return layers

        return run

    return make


def drop_in(package: str) -> Callable[[Workload], Callable[[], Any] | None]:
    """Prepare works for a package by its name."""

    def prepare(workload):
        function = derivative(importlib.import_module(package), workload)
        return function and functools.partial(function, *workload.make_inputs())

    return prepare


# ---- compiled: recorded at the first calls ----------------------------------------------------------------


def compiled(workload: Workload, fastmath: bool = False) -> Callable[..., Any]:
    """Return the compiled function of the work's inputs, which nothing has called yet.

    Parameters
    ----------
    workload : Workload
        The work.
    fastmath : bool, optional
        The option of `autograd_c.compile`.
    """
    import autograd_c
    from autograd_c.replay import compile

    if workload.derivative == "adam":
        return minimizer(workload, fastmath)
    if workload.derivative == "sparse_jacobian":  # what it computes by is compiled, its result is not
        return sparse_jacobian(autograd_c, workload)(compile(workload.bind("autograd_c"), fastmath=fastmath))
    return compile(derivative(autograd_c, workload), fastmath=fastmath)


def minimizer(workload, fastmath):
    """Return all steps by `autograd_c.optim.minimize`; recording them is a part of every call."""
    from autograd_c.optim import Adam, minimize
    from autograd_c.replay import compile

    loss = compile(workload.bind("autograd_c"), fastmath=fastmath)

    def run(parameters, *data):
        return minimize(loss, parameters, optimizer=Adam(**ADAM), steps=workload.passes, data=data).params

    return run


def replayed(workload, fastmath=False):
    """Record first; a function that is not replayed is a failure, not a slow figure."""
    function, inputs = compiled(workload, fastmath), workload.make_inputs()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            function(*inputs)
        for _ in range(until_machine_code(function)):
            function(*inputs)
    return functools.partial(function, *inputs)


def programs(function: Any) -> list[Any]:
    """Return the programs of a compiled function, of all signatures and branches.

    Parameters
    ----------
    function : callable
        Compiled, or an operator's that is made of compiled parts; anything else has none.
    """
    from autograd_c.replay import Compiled

    parts = [function, *getattr(function, "__dict__", {}).values()]
    found = [
        branch.program
        for part in parts
        if isinstance(part, Compiled)
        for signature in part.policy.signatures.values()
        for version in signature.versions
        for branch in version.branches
    ]
    return [getattr(program, "program", program) for program in found]  # one for many seeds is wrapped


def until_machine_code(function: Any) -> int:
    """Return how many calls of a compiled function are interpreted before it has machine code."""
    return max((program.interpreted for program in programs(function)), default=0)


# ---- others -----------------------------------------------------------------------------------------------


def torch_eager(workload):
    return torch_works.prepare(importlib.import_module("torch"), workload)


def torch_compiled(workload):
    return torch_works.prepare(importlib.import_module("torch"), workload, compiled=True)


def jax_compiled(workload):
    return jax_works.prepare(importlib.import_module("jax"), workload)


def casadi_machine(workload):
    return casadi_works.prepare(importlib.import_module("casadi"), workload)


CONTENDERS: dict[str, Contender] = {
    OURS: Contender("autograd_c", OURS, drop_in(OURS)),
    REPLAYED: Contender("compiled", OURS, replayed),
    FAST: Contender("fastmath", OURS, functools.partial(replayed, fastmath=True)),
    "hand": Contender("by hand", "numpy", hand_works.prepare),
    "hips": Contender("HIPS", "autograd", drop_in("autograd")),
    "torch": Contender("PyTorch", "torch", torch_eager),
    "torch-compile": Contender("torch.compile", "torch", torch_compiled),
    "jax": Contender("JAX jit", "jax", jax_compiled),
    "casadi": Contender("CasADi VM", "casadi", casadi_machine),
}

#: ``torch.compile`` needs a C++ compiler and minutes, so it runs only when it is asked for.
DEFAULT_PEERS = ("hand", "hips", "torch", "jax", "casadi")


def installed(keys: Iterable[str]) -> list[str]:
    """Return those of `keys` whose library is installed, in the table's order, without importing any."""
    wanted = set(keys)
    return [
        key
        for key, contender in CONTENDERS.items()
        if key in wanted and importlib.util.find_spec(contender.module)
    ]
