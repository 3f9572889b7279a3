"""What a gradient is measured for: this package, and the libraries that a user may have beside it.

A contender is one column of the table. It prepares a work once, outside the measurement, and returns a
program without arguments that computes the gradient anew at every call.
"""

import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy

from . import jax_works, torch_works
from .workloads import Workload

__all__ = ["CONTENDERS", "DEFAULT_PEERS", "OURS", "Contender", "installed", "leaves"]

OURS = "autograd_c"


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
    return [numpy.asarray(tree)]


def drop_in(package: str) -> Callable[[Workload], Callable[[], Any]]:
    """Prepare works for a package with NumPy's namespace inside it and ``grad`` at its top."""

    def prepare(workload):
        grad = importlib.import_module(package).grad
        return functools.partial(grad(workload.bind(package), workload.argnum), *workload.make_inputs())

    return prepare


def torch_eager(workload):
    return torch_works.prepare(importlib.import_module("torch"), workload)


def torch_compiled(workload):
    return torch_works.prepare(importlib.import_module("torch"), workload, compiled=True)


def jax_compiled(workload):
    return jax_works.prepare(importlib.import_module("jax"), workload)


CONTENDERS: dict[str, Contender] = {
    OURS: Contender("autograd_c", OURS, drop_in(OURS)),
    "hips": Contender("HIPS", "autograd", drop_in("autograd")),
    "torch": Contender("PyTorch", "torch", torch_eager),
    "torch-compile": Contender("torch.compile", "torch", torch_compiled),
    "jax": Contender("JAX jit", "jax", jax_compiled),
}

#: ``torch.compile`` needs a C++ compiler and minutes, so it runs only when it is asked for.
DEFAULT_PEERS = ("hips", "torch", "jax")


def installed(keys: Iterable[str]) -> list[str]:
    """Return those of `keys` whose library is installed, in the table's order, without importing any."""
    wanted = set(keys)
    return [
        key
        for key, contender in CONTENDERS.items()
        if key in wanted and importlib.util.find_spec(contender.module)
    ]
