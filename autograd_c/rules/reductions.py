"""Reductions and statistics."""

import numpy as np

import autograd_c.numpy as anp

from ..extend import call, rule


def expanded(g, x, axis, keepdims):
    """A reduced value with its axes of length one back, so that it broadcasts against the argument."""
    if keepdims is True or axis is None or not x.ndim:
        return g if keepdims is True or not x.ndim else anp.reshape(g, (1,) * x.ndim)
    axes = {a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,))}
    return anp.reshape(g, tuple(1 if i in axes else n for i, n in enumerate(x.shape)))


rule(
    np.sum,
    (lambda g, _ans, _x, axis=None, dtype=None, out=None, keepdims=False: expanded(g, _x, axis, keepdims),),
    ("same",),
    examples=(lambda x: call(x(3, 4)), lambda x: call(x(3, 4), axis=1), lambda x: call(x(2, 3, 4), axis=(0, -1), keepdims=True)),
)
