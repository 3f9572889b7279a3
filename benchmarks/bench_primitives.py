"""Every primitive that has a derivative, on its own sample call: without a box, reverse and forward."""

import functools

import numpy

from autograd_c import jvp, make_vjp
from autograd_c.registry import primitives


def named_rows():
    """The differentiable rows by name; where two functions share one, the later gets a number."""
    rows = {}
    for row in primitives():
        if row.differentiable and row.samples():
            same = sum(other.split("-")[0] == row.name for other in rows)
            rows[f"{row.name}-{same + 1}" if same else row.name] = row
    return rows


ROWS = named_rows()


def ones_like(tree):
    """Cotangents or tangents for a result or argument, in the same lists and tuples."""
    if hasattr(tree, "_fields"):
        return type(tree)(*map(ones_like, tree))
    if isinstance(tree, (list, tuple)):
        return type(tree)(map(ones_like, tree))
    return numpy.ones_like(tree)


def is_float(tree):
    if isinstance(tree, (list, tuple)):
        return any(map(is_float, tree))
    return isinstance(tree, (numpy.ndarray, numpy.generic)) and tree.dtype.kind in "fc"


def varied(row, args, kwargs):
    """The position or name of the argument that is differentiated: the first float one with a derivative."""
    without = {i for i, rule in enumerate(getattr(row.handler, "rules", None) or ()) if rule is None}
    places = (*enumerate(args), *kwargs.items())
    return next(place for place, value in places if is_float(value) and place not in without)


class Primitives:
    params = list(ROWS)
    param_names = ("primitive",)

    def setup(self, name):
        row = ROWS[name]
        self.function = row.handler
        self.args, self.kwargs = row.samples()[-1]
        place = varied(row, self.args, self.kwargs)
        self.primal = self.kwargs[place] if place in self.kwargs else self.args[place]
        self.of_one = functools.partial(self.call_with, place)
        self.cotangent = ones_like(self.of_one(self.primal))
        self.tangent = ones_like(self.primal)

    def call_with(self, place, x):
        if place in self.kwargs:
            return self.function(*self.args, **self.kwargs | {place: x})
        return self.function(*self.args[:place], x, *self.args[place + 1 :], **self.kwargs)

    def time_call(self, name):
        self.function(*self.args, **self.kwargs)

    def time_vjp(self, name):
        pullback, _ = make_vjp(self.of_one)(self.primal)
        pullback(self.cotangent)

    def time_jvp(self, name):
        jvp(self.of_one, (self.primal,), (self.tangent,))
