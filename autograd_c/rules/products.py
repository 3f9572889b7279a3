"""Products of vectors, matrices and tensors.

All of them are linear in each factor (or conjugate-linear, for the first factor of ``vdot``, ``vecdot`` and
``vecmat``), so that a tangent goes through the product itself and each cotangent is again a product. The core
sums a cotangent over the axes along which its argument was broadcast.
"""

import functools
import math
import string

import numpy as np

import autograd_c.numpy as anp

from .._core import Meta, hooks, stand_in
from ..extend import call, composite, rule
from .support import as_array, lowered, unbroadcast

ndarray = np.ndarray


def _mul2(x, y):
    """The product of two matrices; the method is the shortest way to BLAS for plain ones."""
    return x.dot(y) if type(x) is ndarray and type(y) is ndarray else matmul(x, y)


def _rows(x):
    """All axes but the last in one."""
    return x if x.ndim == 2 else anp.reshape(x, (-1, x.shape[-1]))


# --- matrices and vectors -------------------------------------------------------------------------


def _matmul_left(g, _ans, _x, y):
    _x, y = as_array(_x), as_array(y)
    if y.ndim == 2:
        return _mul2(g, y.T) if _x.ndim == 2 else matmul(y, g) if _x.ndim == 1 else matmul(g, y.T)
    if y.ndim == 1:
        return g * y if _x.ndim == 1 else g[..., None] * y
    return matmul(y, g[..., None])[..., 0] if _x.ndim == 1 else matmul(g, y.mT)


def _matmul_right(g, _ans, x, _y):
    x, _y = as_array(x), as_array(_y)
    if _y.ndim == 2:
        # One large product also where the first factor is a stack of matrices that share the second.
        return x[:, None] * g if x.ndim == 1 else _mul2(_rows(x).T, _rows(g))
    if _y.ndim == 1:
        return g * x if x.ndim == 1 else matmul(anp.reshape(g, -1), _rows(x))
    return x[:, None] * g[..., None, :] if x.ndim == 1 else matmul(x.mT, g)


def _in_place_of(x, axes):
    """Shape and dtype of an array with some of its axes moved to the end."""
    moved = np.moveaxis(np.broadcast_to(np.zeros((), x.dtype), x.shape), axes, range(-len(axes), 0))
    return Meta(moved.shape, moved.dtype)


def _with_axes(vjp, left, g, x, y, axis=-1, axes=None, keepdims=False):
    """A cotangent of a product whose `axis` or `axes` say where its vectors and matrices are."""
    x, y = as_array(x), as_array(y)
    axes = [a if isinstance(a, tuple) else (a,) for a in (((axis,), (axis,), ()) if axes is None else axes)]
    if keepdims:
        g = anp.squeeze(g, axis=axes[2] if len(axes) > 2 and axes[2] else axes[0])
    elif len(axes) > 2 and axes[2]:
        g = anp.moveaxis(g, axes[2], range(-len(axes[2]), 0))
    at = axes[0] if left else axes[1]
    own = _in_place_of(x if left else y, at)
    if left:
        c = vjp(g, None, own, anp.moveaxis(y, axes[1], range(-len(axes[1]), 0)))
    else:
        c = vjp(g, None, anp.moveaxis(x, axes[0], range(-len(axes[0]), 0)), own)
    return anp.moveaxis(unbroadcast(c, c.shape, own.shape), range(-len(at), 0), at)


def _product_rule(fun, left, right, examples):
    """A row for one of NumPy's products that broadcast, with their keywords `axis`, `axes` and `keepdims`."""

    def vjp_left(g, _ans, _x, y, **where):
        return _with_axes(left, True, g, _x, y, **where) if where else left(g, _ans, _x, y)

    def vjp_right(g, _ans, x, _y, **where):
        return _with_axes(right, False, g, x, _y, **where) if where else right(g, _ans, x, _y)

    return rule(fun, (vjp_left, vjp_right), ("same", "same"), examples=examples)


matmul = _product_rule(
    np.matmul,
    _matmul_left,
    _matmul_right,
    examples=(
        lambda x: call(x(3, 4), x(4, 2)),
        lambda x: call(x(4), x(4, 2)),
        lambda x: call(x(3, 4), x(4)),
        lambda x: call(x(4), x(4)),
        lambda x: call(x(5, 3, 4), x(4, 2)),
        lambda x: call(x(3, 4), x(5, 4, 2)),
        lambda x: call(x(2, 1, 3, 4), x(5, 4, 2)),
        lambda x: call(x(4), x(5, 4, 2)),
        lambda x: call(x(5, 3, 4), x(4)),
        lambda x: call(x(3, 0), x(0, 2)),
        lambda x: call(x(3, 4), x(2, 3, 5), axes=[(1, 0), (1, 2), (0, 2)]),
    ),
)


def _dot_left(g, _ans, _x, y):
    _x, y = as_array(_x), as_array(y)
    if _x.ndim == 2 and y.ndim == 2:
        return _mul2(g, y.T)
    if not _x.ndim or not y.ndim:
        return g * y
    if y.ndim <= 2:
        return _matmul_left(g, _ans, _x, y)
    return _tensordot_left(g, _ans, _x, y, (-1, -2))


def _dot_right(g, _ans, x, _y):
    x, _y = as_array(x), as_array(_y)
    if x.ndim == 2 and _y.ndim == 2:
        return _mul2(x.T, g)
    if not x.ndim or not _y.ndim:
        return g * x
    if _y.ndim <= 2:
        return _matmul_right(g, _ans, x, _y)
    return _tensordot_right(g, _ans, x, _y, (-1, -2))


dot = rule(
    np.dot,
    (_dot_left, _dot_right),
    ("same", "same"),
    examples=(
        lambda x: call(x(3, 4), x(4, 2)),
        lambda x: call(x(4), x(4, 2)),
        lambda x: call(x(3, 4), x(4)),
        lambda x: call(x(4), x(4)),
        lambda x: call(x(), x(4, 2)),
        lambda x: call(x(3, 4), x()),
        lambda x: call(x(2, 3, 4), x(4, 2)),
        lambda x: call(x(2, 3), x(4, 3, 2)),
        lambda x: call(x(3), x(4, 3, 2)),
        lambda x: call(x(2, 3, 4), x(4)),
    ),
)


@lowered(dot)
def _dot_as_matmul(x, y):
    x, y = as_array(x), as_array(y)
    if not x.ndim or not y.ndim:
        return x * y
    if y.ndim > 2:
        return anp.tensordot(x, y, (-1, -2))
    return matmul(x, y) if x.ndim > 2 else NotImplemented


def _inner_left(g, _ans, _x, y):
    _x, y = as_array(_x), as_array(y)
    if not _x.ndim or not y.ndim:
        return g * y
    if y.ndim == 1:
        return g * y if _x.ndim == 1 else g[..., None] * y
    return anp.tensordot(g, y, y.ndim - 1)


def _inner_right(g, _ans, x, _y):
    x, _y = as_array(x), as_array(_y)
    if not x.ndim or not _y.ndim:
        return g * x
    if x.ndim == 1:
        return g * x if _y.ndim == 1 else g[..., None] * x
    k = x.ndim - 1
    return anp.tensordot(g, x, (range(k), range(k)))


rule(
    np.inner,
    (_inner_left, _inner_right),
    ("same", "same"),
    examples=(
        lambda x: call(x(4), x(4)),
        lambda x: call(x(3, 4), x(4)),
        lambda x: call(x(4), x(3, 4)),
        lambda x: call(x(2, 3, 4), x(5, 4)),
        lambda x: call(x(), x(4)),
        lambda x: call(x(3, 2), x()),
    ),
)


@lowered(np.inner)
def _inner_as_matmul(x, y):
    x, y = as_array(x), as_array(y)
    if not x.ndim or not y.ndim:
        return x * y
    if y.ndim == 1:
        return matmul(x, y)
    return matmul(y, x) if x.ndim == 1 else anp.tensordot(x, y, (-1, -1))


rule(
    np.outer,
    (
        lambda g, _ans, _x, y: anp.reshape(dot(g, anp.reshape(y, -1)), as_array(_x).shape),
        lambda g, _ans, x, _y: anp.reshape(dot(anp.reshape(x, -1), g), as_array(_y).shape),
    ),
    ("same", "same"),
    examples=(
        lambda x: call(x(3), x(4)),
        lambda x: call(x(2, 3), x(4)),
        lambda x: call(x(), x(2, 2)),
    ),
)


@lowered(np.outer)
def _outer_as_product(x, y):
    return anp.reshape(x, (-1, 1)) * anp.reshape(y, (1, -1))


# --- with the conjugate of the first factor -------------------------------------------------------

rule(
    np.vdot,
    (
        lambda g, _ans, _x, y: anp.conj(anp.reshape(g * as_array(y), as_array(_x).shape)),
        lambda g, _ans, x, _y: anp.reshape(g * anp.conj(x), as_array(_y).shape),
    ),
    ("same", "same"),
    examples=(
        lambda x: call(x(4), x(4)),
        lambda x: call(x(2, 3), x(3, 2)),
        lambda x: call(x(2, 3), x(6)),
    ),
)


@lowered(np.vdot)
def _vdot_as_matmul(x, y):
    return matmul(anp.conj(anp.reshape(x, -1)), anp.reshape(y, -1))


def _to_last(x, axis):
    return x if axis == -1 else anp.moveaxis(x, axis, -1)


def _from_last(c, axis, ndim):
    """Puts the last axis back where an argument of `ndim` axes has it; `c` may have more axes in front."""
    return c if axis == -1 else anp.moveaxis(c, -1, axis % ndim + c.ndim - ndim)


_product_rule(
    np.vecdot,
    lambda g, _ans, _x, y: anp.conj(g[..., None] * as_array(y)),
    lambda g, _ans, x, _y: g[..., None] * anp.conj(x),
    examples=(
        lambda x: call(x(4), x(4)),
        lambda x: call(x(3, 4), x(4)),
        lambda x: call(x(4), x(2, 3, 4)),
        lambda x: call(x(3, 1, 4), x(2, 4)),
        lambda x: call(x(4, 3), x(2, 4, 3), axis=-2),
        lambda x: call(x(4, 3), x(4, 1), axis=0),
        lambda x: call(x(4, 3), x(4, 3), axis=0, keepdims=True),
        lambda x: call(x(4, 3), x(3, 4), axes=[0, 1, ()]),
    ),
)


@lowered(np.vecdot)
def _vecdot_as_sum(x, y, axis=-1, keepdims=False, **where):
    x, y = as_array(x), as_array(y)
    if where or axis >= 0 and x.ndim != y.ndim:
        return NotImplemented
    if x.ndim == y.ndim == 1 and not keepdims:
        return _vdot_as_matmul(x, y)
    return anp.sum(anp.conj(x) * y, axis=axis, keepdims=keepdims)


def _matvec_right(g, _ans, x, _y):
    x = as_array(x)
    if as_array(_y).ndim == 1:
        return matmul(anp.reshape(g, -1), _rows(x))
    return matmul(x.mT, g[..., None])[..., 0]


# NumPy has these two since 2.2.
if hasattr(np, "matvec"):
    _product_rule(
        np.matvec,
        lambda g, _ans, _x, y: g[..., :, None] * as_array(y)[..., None, :],
        _matvec_right,
        examples=(
            lambda x: call(x(3, 4), x(4)),
            lambda x: call(x(5, 3, 4), x(4)),
            lambda x: call(x(3, 4), x(5, 4)),
            lambda x: call(x(2, 1, 3, 4), x(5, 4)),
            lambda x: call(x(4, 3), x(4, 5), axes=[(1, 0), (0,), (1,)]),
        ),
    )
    _product_rule(
        np.vecmat,
        lambda g, _ans, _x, y: anp.conj(matmul(y, g[..., None])[..., 0]),
        lambda g, _ans, x, _y: anp.conj(x)[..., :, None] * g[..., None, :],
        examples=(
            lambda x: call(x(3), x(3, 4)),
            lambda x: call(x(3), x(5, 3, 4)),
            lambda x: call(x(5, 3), x(3, 4)),
            lambda x: call(x(2, 1, 3), x(5, 3, 4)),
            lambda x: call(x(3, 5), x(4, 3), axes=[(0,), (1, 0), (0,)]),
        ),
    )

    @lowered(np.matvec)
    def _matvec_as_matmul(x, y, **where):
        return NotImplemented if where else matmul(x, as_array(y)[..., None])[..., 0]

    @lowered(np.vecmat)
    def _vecmat_as_matmul(x, y, **where):
        return NotImplemented if where else matmul(anp.conj(as_array(x))[..., None, :], y)[..., 0, :]


# --- tensors --------------------------------------------------------------------------------------


def _contracted(axes, nx, ny):
    """The axes that ``tensordot`` sums over and those that it leaves, of both factors."""
    if isinstance(axes, (int, np.integer)):
        xs, ys = range(nx - axes, nx), range(axes)
    else:
        xs, ys = ([a] if isinstance(a, (int, np.integer)) else a for a in axes)
    xs, ys = [int(a) % nx for a in xs], [int(a) % ny for a in ys]
    return xs, [i for i in range(nx) if i not in xs], ys, [i for i in range(ny) if i not in ys]


def _arranged(x, order):
    return x if order == sorted(order) else anp.transpose(x, order)


def _permuted(c, order):
    """``transpose`` undone: axis ``order[i]`` of the result is axis `i` of `c`."""
    return c if order == sorted(order) else anp.transpose(c, [int(i) for i in np.argsort(order)])


def _tensordot_left(g, _ans, _x, y, axes=2):
    y = as_array(y)
    xs, x_free, ys, y_free = _contracted(axes, as_array(_x).ndim, y.ndim)
    c = anp.tensordot(g, y, (range(len(x_free), g.ndim), y_free))
    # What is left of y are its contracted axes in rising order.
    return _permuted(c, x_free + [xs[ys.index(a)] for a in sorted(ys)])


def _tensordot_right(g, _ans, x, _y, axes=2):
    x = as_array(x)
    xs, x_free, ys, y_free = _contracted(axes, x.ndim, as_array(_y).ndim)
    c = anp.tensordot(x, g, (x_free, range(len(x_free))))
    return _permuted(c, [ys[xs.index(a)] for a in sorted(xs)] + y_free)


rule(
    np.tensordot,
    (_tensordot_left, _tensordot_right, None),
    ("same", "same", None),
    examples=(
        lambda x: call(x(2, 3, 4), x(3, 4, 5)),
        lambda x: call(x(2, 3), x(4, 5), axes=0),
        lambda x: call(x(2, 3), x(3, 4), axes=1),
        lambda x: call(x(2, 3, 4), x(4, 5, 2), axes=([0, 2], [2, 0])),
        lambda x: call(x(2, 3, 4), x(4, 3, 2), axes=((-1, 1), (0, -2))),
        lambda x: call(x(2, 3), x(4, 2), axes=(0, 1)),
        lambda x: call(x(2, 3), x(2, 3)),
    ),
)


@lowered(np.tensordot)
def _tensordot_as_matmul(x, y, axes=2):
    """The summed axes last in one factor, first in the other, and all others in one."""
    x, y = as_array(x), as_array(y)
    if not x.size or not y.size:
        return NotImplemented
    xs, x_free, ys, y_free = _contracted(axes, x.ndim, y.ndim)
    if [x.shape[i] for i in xs] != [y.shape[i] for i in ys]:
        return NotImplemented
    shape = (*[x.shape[i] for i in x_free], *[y.shape[i] for i in y_free])
    inner = math.prod(x.shape[i] for i in xs)
    x = anp.reshape(_arranged(x, [*x_free, *xs]), (-1, inner))
    y = anp.reshape(_arranged(y, [*ys, *y_free]), (inner, -1))
    return anp.reshape(dot(x, y), shape)


@composite(
    np.kron,
    examples=(
        lambda x: call(x(3), x(4)),
        lambda x: call(x(2, 3), x(3, 2)),
        lambda x: call(x(2, 2, 3), x(2)),
        lambda x: call(x(2), x(2, 2)),
        lambda x: call(x(), x(3)),
    ),
)
def kron(a, b):
    """Each axis of `a` in front of the same axis of `b`, then the two made one."""
    a, b = as_array(a), as_array(b)
    if not a.ndim or not b.ndim:
        return anp.multiply(a, b)
    n = max(a.ndim, b.ndim)
    a_shape = (1,) * (n - a.ndim) + a.shape
    b_shape = (1,) * (n - b.ndim) + b.shape
    spread = anp.reshape(a, [k for size in a_shape for k in (size, 1)])
    product = spread * anp.reshape(b, [k for size in b_shape for k in (1, size)])
    return anp.reshape(product, [k * m for k, m in zip(a_shape, b_shape, strict=True)])


# --- cross ----------------------------------------------------------------------------------------


def _cross3(a, b, axisa=-1, axisb=-1, axisc=-1):
    return np.cross(a, b, axisa, axisb, axisc)


def _cross_left(g, _ans, _a, b, axisa=-1, axisb=-1, axisc=-1):
    return _from_last(cross3(_to_last(b, axisb), _to_last(g, axisc)), axisa, _a.ndim)


def _cross_right(g, _ans, a, _b, axisa=-1, axisb=-1, axisc=-1):
    return _from_last(cross3(_to_last(g, axisc), _to_last(a, axisa)), axisb, _b.ndim)


cross3 = hooks["cross3"] = rule(
    _cross3,
    (_cross_left, _cross_right),
    ("same", "same"),
    name="cross",
)


@composite(
    np.cross,
    examples=(
        lambda x: call(x(3), x(3)),
        lambda x: call(x(4, 3), x(3)),
        lambda x: call(x(2, 1, 3), x(4, 3)),
        lambda x: call(x(3, 4), x(4, 3), axisa=0),
        lambda x: call(x(3, 4), x(3, 4), axis=0),
        lambda x: call(x(4, 3), x(4, 3), axisc=0),
    ),
)
def _cross(a, b, axisa=-1, axisb=-1, axisc=-1, axis=None):
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = as_array(a), as_array(b)
    sizes = {x.shape[k] if x.ndim else 0 for x, k in ((a, axisa), (b, axisb))}
    if sizes == {3}:
        return cross3(a, b, axisa=axisa, axisb=axisb, axisc=axisc)
    if sizes <= {2, 3}:
        raise TypeError(
            "cross has a derivative for vectors of three components; for two write a[0] * b[1] - a[1] * b[0]"
        )
    raise ValueError("cross: the vectors must have three components")


@composite(
    np.linalg.cross, examples=(lambda x: call(x(4, 3), x(3)), lambda x: call(x(3, 2), x(3, 2), axis=0))
)
def _linalg_cross(x1, x2, /, *, axis=-1):
    return _cross(x1, x2, axis=axis)


# --- einsum ---------------------------------------------------------------------------------------
#
# The cotangent of an operand is an einsum of the result's cotangent with the other operands, over the
# operand's own labels. Labels are single letters once a call is normalised, with letters of their own for
# the axes behind "...".


@functools.lru_cache(maxsize=1024)
def _labels(subscripts, ndims):
    """The labels of each operand and of the result, with the ellipsis spelled out."""
    subscripts = subscripts.replace(" ", "")
    inputs, arrow, output = subscripts.partition("->")
    inputs = inputs.split(",")
    spare = [c for c in string.ascii_letters if c not in subscripts]
    widths = [n - len(s.replace("...", "")) if "..." in s else 0 for s, n in zip(inputs, ndims, strict=True)]
    dots = "".join(spare[: max(widths, default=0)])
    inputs = tuple(s.replace("...", dots[len(dots) - w :]) for s, w in zip(inputs, widths, strict=True))
    if arrow:
        return inputs, output.replace("...", dots)
    every = "".join(inputs)
    return inputs, dots + "".join(sorted(c for c in set(every) - set(dots) if every.count(c) == 1))


@functools.lru_cache(maxsize=1024)
def _adjoint_plan(subscripts, ndims, argnum):
    """How the cotangent of an operand is computed.

    Returns the subscripts of the einsum, the axes of the operand that the einsum lacks (labels that no one
    else has: the cotangent is the same all along), and for each repeated label the axis whose identity
    matrix joins the einsum.
    """
    inputs, output = _labels(subscripts, ndims)
    own = inputs[argnum]
    others = inputs[:argnum] + inputs[argnum + 1 :]
    spare = (c for c in string.ascii_letters if c not in "".join(inputs) + output)
    target, diagonal = [], []
    for axis, label in enumerate(own):
        if label in target:
            diagonal.append((axis, label + next(spare)))
            label = diagonal[-1][1][1]
        target.append(label)
    known = set(output).union(*others, *(pair for _, pair in diagonal))
    missing = tuple(i for i, label in enumerate(target) if label not in known)
    operands = [output, *others, *(pair for _, pair in diagonal)]
    result = "".join(label for label in target if label in known)
    return ",".join(operands) + "->" + result, missing, tuple(axis for axis, _ in diagonal)


def _einsum_adjoint(argnum, g, own, others, subscripts, ndims, optimize):
    plan, missing, diagonal = _adjoint_plan(subscripts, ndims, argnum)
    eyes = [np.eye(own.shape[axis], dtype=own.dtype) for axis in diagonal]
    c = _einsum_any(plan, g, *others, *eyes, optimize=optimize)
    return anp.expand_dims(c, missing) if missing else c


def _einsum_any(subscripts, *operands, **kwargs):
    """An einsum of operands that may be traced, with the rule that keeps least."""
    if len(operands) < 3:
        return (_einsum1, _einsum2)[len(operands) - 1](subscripts, *operands, **kwargs)
    return _einsum(subscripts, *operands, **kwargs)


def _c_einsum(subscripts, *operands, **kwargs):
    return np.einsum(subscripts, *operands, **kwargs)


def _vjp1(g, _ans, subscripts, _x, optimize=False, **kwargs):
    return _einsum_adjoint(0, g, _x, (), subscripts, (_x.ndim,), optimize is not False)


def _vjp2_left(g, _ans, subscripts, _x, y, optimize=False, **kwargs):
    return _einsum_adjoint(0, g, _x, (y,), subscripts, (_x.ndim, y.ndim), optimize is not False)


def _vjp2_right(g, _ans, subscripts, x, _y, optimize=False, **kwargs):
    return _einsum_adjoint(1, g, _y, (x,), subscripts, (x.ndim, _y.ndim), optimize is not False)


def _vjp_many(argnum, g, _ans, subscripts, *operands, optimize=False, **kwargs):
    k = argnum - 1
    ndims = tuple(x.ndim if hasattr(x, "ndim") else np.ndim(x) for x in operands)
    others = operands[:k] + operands[k + 1 :]
    return _einsum_adjoint(k, g, operands[k], others, subscripts, ndims, optimize is not False)


# A recording for replay holds the products of two operands that an einsum consists of, one after the other.


def _einsum_lowered(subscripts, *operands, optimize=False, **kwargs):
    operands = [as_array(x) for x in operands]
    if kwargs or not all(x.size for x in operands):
        return NotImplemented
    inputs, output = _labels(subscripts, tuple([x.ndim for x in operands]))
    pairs = [
        _summed_alone(s, x, _others(inputs, k) + output)
        for k, (s, x) in enumerate(zip(inputs, operands, strict=True))
    ]
    for places in _path(inputs, output, operands, optimize):
        taken = [pairs.pop(k) for k in sorted(places, reverse=True)][::-1]
        while len(taken) > 1:
            wanted = output + "".join(s for s, _ in pairs + taken[2:])
            taken[:2] = [_pair(*taken[0], *taken[1], wanted)]
        pairs += taken
    return _ordered(*pairs[0], output)


def _others(inputs, k):
    return "".join(inputs[:k] + inputs[k + 1 :])


def _path(inputs, output, operands, optimize):
    """Which operands are multiplied, as `numpy.einsum_path` says."""
    if len(operands) < 3:
        return [tuple(range(len(operands)))]
    shapes = [np.broadcast_to(0.0, x.shape) for x in operands]
    how = "greedy" if optimize in (False, True) else optimize
    return np.einsum_path(",".join(inputs) + "->" + output, *shapes, optimize=how)[0][1:]


def _summed_alone(labels, x, others):
    """An operand without repeated labels, summed over those that nothing else has."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first, second = [k for k, other in enumerate(labels) if other == label][:2]
            x = anp.diagonal(x, 0, first, second)
            labels = labels[:first] + labels[first + 1 : second] + labels[second + 1 :] + label
    alone = tuple([k for k, label in enumerate(labels) if label not in others])
    kept = "".join(label for label in labels if label in others)
    return kept, anp.sum(x, axis=alone) if alone else x


def _pair(left, x, right, y, wanted):
    """The product of two operands, summed over the labels that are no longer wanted."""
    sizes = dict(zip(left, x.shape, strict=True))
    sizes |= {c: max(n, sizes.get(c, 1)) for c, n in zip(right, y.shape, strict=True)}
    both = [c for c in left if c in right]
    batch = "".join(c for c in both if c in wanted)
    inner = "".join(c for c in both if c not in wanted)
    rows = "".join(c for c in left if c not in right)
    columns = "".join(c for c in right if c not in left)
    result = batch + rows + columns
    if not inner:
        return result, _spread(left, x, batch + rows, columns) * _spread(right, y, result, "")
    x = _grouped(left, x, (batch, rows, inner), sizes)
    y = _grouped(right, y, (batch, inner, columns), sizes)
    if not batch:
        x, y = x[0] if rows else x[0, 0], y[0] if columns else y[0, :, 0]
    elif not rows and not columns:
        return result, anp.reshape(anp.sum(x[:, 0] * y[:, :, 0], axis=-1), [sizes[c] for c in batch])
    product = matmul(x, y)
    return result, anp.reshape(product, [sizes[c] for c in result]) if result else product


def _spread(labels, x, order, behind):
    """An operand with its axes in some order, length 1 where it has none of that label."""
    sizes = dict(zip(labels, x.shape, strict=True))
    x = _arranged(x, [labels.index(c) for c in order if c in labels])
    return anp.reshape(x, [*[sizes.get(c, 1) for c in order], *[1] * len(behind)])


def _grouped(labels, x, groups, sizes):
    """An operand with three axes, one for each group of labels."""
    order = "".join(groups)
    x = _arranged(x, [labels.index(c) for c in order])
    shape = tuple([sizes[c] for c in order])
    if x.shape != shape:
        x = anp.broadcast_to(x, shape)
    return anp.reshape(x, [math.prod(sizes[c] for c in group) for group in groups])


def _ordered(labels, x, output):
    return _arranged(x, [labels.index(c) for c in output])


def _private(fun):
    """A function of its own for a further primitive of the same name."""
    return lambda *args, **kwargs: fun(*args, **kwargs)


_einsum1 = rule(_private(_c_einsum), (None, _vjp1), (None, "same"), name="einsum")
_einsum2 = rule(_private(_c_einsum), (None, _vjp2_left, _vjp2_right), (None, "same", "same"), name="einsum")
_einsum = rule(_private(_c_einsum), _vjp_many, "same", name="einsum")
lowered(_einsum1, _einsum2, _einsum)(_einsum_lowered)


def _interleaved(args):
    """``einsum(x, [0, 1], y, [1], [0])`` with its labels as letters."""
    operands, lists = list(args[:-1:2]), list(args[1::2])
    output = args[-1] if len(args) % 2 else None
    numbers = sorted({k for s in [*lists, output or []] for k in s if k is not Ellipsis})
    letter = dict(zip(numbers, string.ascii_letters, strict=False))
    letter[Ellipsis] = "..."
    spelled = ",".join("".join(letter[k] for k in s) for s in lists)
    if output is not None:
        spelled += "->" + "".join(letter[k] for k in output)
    return spelled, operands


@composite(
    np.einsum,
    examples=(
        lambda x: call("ij,jk->ik", x(3, 4), x(4, 2)),
        lambda x: call("ij,jk", x(3, 4), x(4, 2)),
        lambda x: call("ij,jk,kl->il", x(3, 4), x(4, 2), x(2, 3), optimize=True),
        lambda x: call("ij->ji", x(3, 4)),
        lambda x: call("ii->i", x(3, 3)),
        lambda x: call("ii", x(3, 3)),
        lambda x: call("iji->j", x(3, 2, 3)),
        lambda x: call("ij->", x(3, 4)),
        lambda x: call("ij,k->k", x(3, 4), x(2)),
        lambda x: call("...ij,...jk->...ik", x(2, 3, 4), x(4, 2)),
        lambda x: call("i...,i...->...", x(3, 2), x(3, 1)),
        lambda x: call("i...,j...", x(3, 2), x(2, 2)),
        lambda x: call("ij,ij->ij", x(3, 1), x(1, 4)),
        lambda x: call("ij,ij->", x(3, 1), x(3, 4)),
        lambda x: call("i,i,i->", x(3), x(3), x(3)),
        lambda x: call(x(3, 4), [0, 1], x(4, 2), [1, 2], [0, 2]),
        lambda x: call(x(3, 4), [7, 3], x(4), [3]),
        lambda x: call(x(2, 3, 4), [Ellipsis, 1], [1, Ellipsis]),
        lambda x: call("bij,bjk,bk->bi", x(2, 3, 4), x(2, 4, 2), x(2, 2), optimize="greedy"),
        lambda x: call("ij, jk -> ki", x(3, 4), x(4, 2), optimize=["einsum_path", (0, 1)]),
    ),
)
def einsum(*operands, out=None, optimize=False, **kwargs):
    """The primitive for the number of operands, with the labels as one string."""
    if out is not None:
        raise TypeError("einsum: out= cannot hold a traced value; drop it and use the result")
    if isinstance(operands[0], str):
        subscripts, operands = operands[0], operands[1:]
    else:
        subscripts, operands = _interleaved(operands)
    if optimize is not False:
        kwargs["optimize"] = optimize
    return _einsum_any(subscripts, *map(as_array, operands), **kwargs)


@composite(np.einsum_path)
def einsum_path(*operands, **kwargs):
    """Depends on shapes only, so that traced operands stand for their values."""
    return np.einsum_path(*map(stand_in, operands), **kwargs)


# --- numpy.linalg's ---------------------------------------------------------------------------------


@composite(np.linalg.outer, examples=(lambda x: call(x(3), x(4)),))
def _linalg_outer(x1, x2, /):
    x1, x2 = as_array(x1), as_array(x2)
    if x1.ndim != 1 or x2.ndim != 1:
        raise ValueError(f"linalg.outer: the factors must be vectors, not of {x1.ndim} and {x2.ndim} axes")
    return anp.outer(x1, x2)


@composite(np.linalg.matmul, examples=(lambda x: call(x(2, 3, 4), x(4, 2)),))
def _linalg_matmul(x1, x2, /):
    return matmul(x1, x2)


@composite(
    np.linalg.tensordot,
    examples=(lambda x: call(x(2, 3, 4), x(3, 4, 5)), lambda x: call(x(2, 3), x(3), axes=1)),
)
def _linalg_tensordot(x1, x2, /, *, axes=2):
    return anp.tensordot(x1, x2, axes=axes)


@composite(
    np.linalg.vecdot, examples=(lambda x: call(x(3, 4), x(4)), lambda x: call(x(4, 3), x(4, 3), axis=-2))
)
def _linalg_vecdot(x1, x2, /, *, axis=-1):
    return anp.vecdot(x1, x2, axis=axis)


def _chain_order(sizes):
    """Where to split each run of matrices: matrix i has shape ``(sizes[i], sizes[i + 1])``.

    Dynamic programming over the runs by length (Cormen, Leiserson, Rivest and Stein, Introduction to
    Algorithms, section 15.2).
    """
    n = len(sizes) - 1
    cost = {(i, i): 0 for i in range(n)}
    split = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            ends = sizes[i] * sizes[j + 1]
            costs = [cost[i, k] + cost[k + 1, j] + ends * sizes[k + 1] for k in range(i, j)]
            cost[i, j] = min(costs)
            split[i, j] = i + costs.index(cost[i, j])
    return split


def _multiply_chain(arrays, split, i, j):
    if i == j:
        return arrays[i]
    k = split[i, j]
    return dot(_multiply_chain(arrays, split, i, k), _multiply_chain(arrays, split, k + 1, j))


def _order_of(sizes):
    if len(sizes) == 4:
        # Of two orders that cost the same NumPy takes the right one first for three matrices.
        a, b, c, d = sizes
        left_first = a * c * (b + d) < b * d * (a + c)
        return {(0, 2): 1, (0, 1): 0} if left_first else {(0, 2): 0, (1, 2): 1}
    return _chain_order(sizes)


@composite(
    np.linalg.multi_dot,
    examples=(
        lambda x: call([x(3, 4), x(4, 2)]),
        lambda x: call([x(3, 4), x(4, 2), x(2, 5)]),
        lambda x: call([x(4), x(4, 2), x(2, 5), x(5)]),
        lambda x: call([x(3, 4), x(4, 2), x(2, 5), x(5, 3), x(3)]),
    ),
)
def multi_dot(arrays, *, out=None):
    """The products in the order that costs least, as NumPy takes them."""
    if out is not None:
        raise TypeError("multi_dot: out= cannot hold a traced value; drop it and use the result")
    arrays = [as_array(a) for a in arrays]
    if len(arrays) < 2:
        raise ValueError("multi_dot: two arrays or more are needed")
    if len(arrays) == 2:
        return dot(arrays[0], arrays[1])
    first, last = arrays[0].ndim, arrays[-1].ndim
    arrays[0] = anp.atleast_2d(arrays[0])
    if last == 1:
        arrays[-1] = anp.reshape(arrays[-1], (-1, 1))
    sizes = [a.shape[0] for a in arrays] + [arrays[-1].shape[1]]
    result = _multiply_chain(arrays, _order_of(sizes), 0, len(arrays) - 1)
    if first == 1 and last == 1:
        return result[0, 0]
    return anp.reshape(result, -1) if first == 1 or last == 1 else result
