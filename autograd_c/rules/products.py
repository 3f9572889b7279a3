"""Products of vectors, matrices and tensors."""

import numpy as np

import autograd_c.numpy as anp

from ..extend import call, rule


def _swap(x):
    return anp.swapaxes(x, -1, -2)


def _matmul_left(g, x, y):
    if y.ndim == 1:
        return anp.expand_dims(g, -1) * y if x.ndim > 1 else g * y
    if x.ndim == 1:
        return anp.matmul(y, anp.expand_dims(g, -1))[..., 0]
    return anp.matmul(g, _swap(y))


def _matmul_right(g, x, y):
    if x.ndim == 1:
        return g * x if y.ndim == 1 else anp.expand_dims(x, -1) * anp.expand_dims(g, -2)
    if y.ndim == 1:
        return anp.matmul(_swap(x), anp.expand_dims(g, -1))[..., 0]
    return anp.matmul(_swap(x), g)


rule(
    np.matmul,
    (lambda g, _ans, _x, y: _matmul_left(g, _x, y), lambda g, _ans, x, _y: _matmul_right(g, x, _y)),
    ("same", "same"),
    examples=(
        lambda x: call(x(3, 4), x(4, 2)),
        lambda x: call(x(4), x(4, 2)),
        lambda x: call(x(3, 4), x(4)),
        lambda x: call(x(4), x(4)),
        lambda x: call(x(5, 3, 4), x(4, 2)),
        lambda x: call(x(2, 1, 3, 4), x(5, 4, 2)),
        lambda x: call(x(4), x(5, 4, 2)),
        lambda x: call(x(5, 3, 4), x(4)),
    ),
)


def _swapaxes(g, x, a, b):
    return anp.swapaxes(g, a, b)


rule(
    np.swapaxes,
    (lambda g, _ans, _x, axis1, axis2: anp.swapaxes(g, axis1, axis2), None, None),
    ("same", None, None),
    examples=(lambda x: call(x(2, 3, 4), 0, 2),),
)
rule(
    np.expand_dims,
    (lambda g, _ans, _x, axis: anp.reshape(g, _x.shape), None),
    ("same", None),
    examples=(lambda x: call(x(2, 3), 1), lambda x: call(x(2, 3), (0, -1))),
)
