"""The table of everything that has a rule: what tests, benchmarks and documentation are made from.

Nobody lists primitives by hand. A rule is written once in `autograd_c.rules`; from its row come here a name,
a kind and sample calls, and from these one test of every property and one benchmark for each primitive.
"""

import math

import numpy as np

from . import numpy as _namespace  # noqa: F401  (fills the registry)
from ._core import Primitive, is_box, registry

__all__ = ["Row", "primitives"]

# Shapes of the arguments in the sample calls of an elementwise function, by the number of arguments.
SHAPES = {
    1: (((),), ((5,),), ((2, 3),)),
    2: (((), ()), ((5,), (5,)), ((3, 1), (4,)), ((), (5,)), ((2, 3), ())),
    3: (((5,), (5,), (5,)), ((3, 1), (4,), ()), ((2, 1), (2, 3), (3,))),
}

# Two numbers of one sample call, and a number and zero, are this far apart (less in large arrays): a finite
# difference never steps over a tie or over the kink of abs.
GAP = 0.008


class Row:
    """One function that has a rule.

    Attributes
    ----------
    name : str
    fun : callable
        The plain function, NumPy's for instance; for one that writes into its first argument, such as
        ``np.put``, a function that returns an updated copy of that argument. The same goes for `handler`.
    handler : Primitive or callable
        What stands in for it where a traced value is among the arguments.
    kind : {"elementwise", "call", "maker", "composite", "constant", "none"}
        How the derivative is defined; "none" refuses traced values, "constant" has no derivative.
    """

    def __init__(self, fun, handler):
        self.fun = fun
        self.handler = handler
        self._examples = getattr(handler, "examples", ())
        if getattr(handler, "in_place", False):
            self.fun, self.handler = _updated(fun), _updated(handler)
        self.name = handler.name
        self.kind = handler.kind if isinstance(handler, Primitive) else "composite"

    def __repr__(self):
        return f"<row {self.name}: {self.kind}>"

    @property
    def differentiable(self):
        """Whether a derivative flows through the function."""
        return self.kind not in ("constant", "none")

    def samples(self, dtype=float, seed=0):
        """Sample calls, which the function and its rule must both take.

        Parameters
        ----------
        dtype : dtype, optional
            Of the floating-point arguments.
        seed : int, optional

        Returns
        -------
        list of (tuple, dict)
            Positional and keyword arguments. Empty where the row has no examples.
        """
        if self.kind == "elementwise" or (self.kind == "constant" and isinstance(self.fun, np.ufunc)):
            return self._elementwise_samples(dtype, seed)
        return [example(Draw(dtype, seed, i)) for i, example in enumerate(self._examples)]

    def _elementwise_samples(self, dtype, seed):
        n = self.handler.nin
        domain = getattr(self.handler, "domain", ((-2.0, 2.0),) * n)
        calls = []
        for i, shapes in enumerate(SHAPES[n]):
            draw = Draw(dtype, seed, i)
            args = [draw.within(*interval, *shape) for interval, shape in zip(domain, shapes, strict=True)]
            if self.fun is np.where:
                args[0] = args[0].real > 0
            calls.append((tuple(args), {}))
        return calls


def _updated(fun):
    """A function that writes into its first argument, as one that returns what it writes."""

    def call(destination, *args, **kwargs):
        traced = next((v for v in (destination, *args, *kwargs.values()) if is_box(v)), None)
        out = np.array(destination) if traced is None else np.array(destination, like=traced)
        fun(out, *args, **kwargs)
        return out

    return call


class Draw:
    """Random arrays of one dtype for one sample call: ``draw(3, 4)`` has shape (3, 4)."""

    def __init__(self, dtype, *seed):
        self.dtype = np.dtype(dtype)
        self.rng = np.random.default_rng(seed)
        self.taken = [0.0]

    def __call__(self, *shape):
        return self.within(-2.0, 2.0, *shape)

    def within(self, low, high, *shape):
        """An array of distinct numbers; complex ones keep near the domain by small imaginary parts."""
        values = [self._distinct(low, high) for _ in range(math.prod(shape))]
        out = np.array(values).reshape(shape)
        if self.dtype.kind == "c":
            out = out + 1j * self.rng.uniform(-0.5, 0.5, shape)
        out = out.astype(self.dtype)
        return out if shape else out[()]

    def _distinct(self, low, high):
        gap = min(GAP, (high - low) / 50) * 50 / (50 + len(self.taken))
        while True:
            value = self.rng.uniform(low, high)
            if all(abs(value - other) > gap for other in self.taken):
                self.taken.append(value)
                return value


def primitives():
    """All functions that have a rule.

    Returns
    -------
    list of Row
        In the order in which the rules were defined.

    Examples
    --------
    >>> rows = {row.fun: row for row in primitives()}
    >>> rows[np.tanh].kind
    'elementwise'
    >>> [args[0].shape for args, kwargs in rows[np.tanh].samples()]
    [(), (5,), (2, 3)]
    """
    return [Row(fun, handler) for fun, handler in registry.items()]
