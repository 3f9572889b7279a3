"""Sums and slopes along an axis: convolution, interpolation, integration, polynomials.

At a knot ``interp`` takes the slope of the piece on its right (on its left at the last knot), and outside
the knots its derivative by `x` is 0. ``unwrap`` adds multiples of the period, which are constants.
"""

import numpy as np

import autograd_c.numpy as anp

from .._core import is_box, stand_in, value_of
from ..extend import call, composite, refuse, rule
from .linalg import by_formula
from .support import as_array

# --- convolution ----------------------------------------------------------------------------------
#
# Every mode is a part of the full convolution ``full[k] = sum_i a[i] v[k - i]``: the cotangent is padded
# with zeros to the full length, and one more sum gives that of either factor.


def _full_cotangent(g, n, m, mode, correlate=False):
    """Zeros around the cotangent of a convolution of `n` with `m` items."""
    mode = {0: "valid", 1: "same", 2: "full"}.get(mode, mode)
    if mode == "full":
        return g
    short = min(n, m)
    # A correlation with a longer second factor is turned round by NumPy, and "same" counts from the other
    # end.
    start = short - 1 if mode == "valid" else short // 2 if correlate and m > n else (short - 1) // 2
    zeros = np.zeros(n + m - 1, g.dtype)
    return anp.concatenate([zeros[:start], g, zeros[start + g.size :]])


def _factor_cotangent(full, other):
    """``c[i] = sum_k full[k] other[k - i]``."""
    return anp.correlate(full, anp.conj(other), "valid")


def _convolve_left(g, _ans, _a, v, mode="full"):
    v = anp.reshape(v, -1)
    return _factor_cotangent(_full_cotangent(g, as_array(_a).size, v.size, mode), v)


def _convolve_right(g, _ans, a, _v, mode="full"):
    a = anp.reshape(a, -1)
    return _factor_cotangent(_full_cotangent(g, a.size, as_array(_v).size, mode), a)


rule(
    np.convolve,
    (_convolve_left, _convolve_right),
    ("same", "same"),
    examples=(
        lambda x: call(x(5), x(3)),
        lambda x: call(x(3), x(4), "same"),
        lambda x: call(x(5), x(2), mode="valid"),
        lambda x: call(x(2), x(5), mode="valid"),
        lambda x: call(x(4), x(1), "same"),
    ),
)


def _correlate_left(g, _ans, _a, v, mode="valid"):
    v = anp.reshape(v, -1)
    full = _full_cotangent(g, as_array(_a).size, v.size, mode, True)
    return _factor_cotangent(full, anp.conj(v)[::-1])


def _correlate_right(g, _ans, a, _v, mode="valid"):
    a = anp.reshape(a, -1)
    full = _full_cotangent(g, a.size, as_array(_v).size, mode, True)
    return anp.conj(_factor_cotangent(full, a))[::-1]


rule(
    np.correlate,
    (_correlate_left, _correlate_right),
    ("same", "same"),
    examples=(
        lambda x: call(x(5), x(3)),
        lambda x: call(x(2), x(5)),
        lambda x: call(x(5), x(4), "same"),
        lambda x: call(x(4), x(5), "same"),
        lambda x: call(x(3), x(4), mode="full"),
    ),
)


# --- interpolation --------------------------------------------------------------------------------


def _interp_formula(x, xp, fp, left, right):
    """What ``interp`` computes, of differentiable functions; recordings see how pieces are found."""
    x, xp, fp = as_array(x), as_array(xp), as_array(fp)
    if len(xp) == 1:
        inner = fp[0] + 0.0 * x
    else:
        k = anp.clip(anp.searchsorted(xp, x, side="right") - 1, 0, len(xp) - 2)
        start, step, value = anp.take(xp, k), anp.take(anp.diff(xp), k), anp.take(fp, k)
        width = anp.where(step == 0.0, 1.0, 0.0) + step
        inner = value + (anp.take(fp, k + 1) - value) * ((x - start) / width)
    low = anp.where(x < xp[0], fp[0] if left is None else left, inner)
    return anp.where(x > xp[-1], fp[-1] if right is None else right, low)


def _double(x):
    """In double precision, in which ``interp`` computes."""
    x = as_array(x)
    wanted = np.complex128 if x.dtype.kind == "c" else np.float64
    return x if x.dtype == wanted else anp.astype(x, wanted)


def _interp_plain(x, xp, fp, left, right):
    return np.interp(x, xp, fp, left, right)


_interp = by_formula(_interp_plain, _interp_formula, "interp")


@composite(
    np.interp,
    examples=(
        lambda x: call(x(4).real, np.linspace(-1.5, 1.5, 5), x(5)),
        lambda x: call(x().real, np.linspace(-1.5, 1.5, 5), x(5)),
        lambda x: call(np.array([-3.0, 0.2, 3.0]), np.linspace(-1.5, 1.5, 5), x(5), left=-1.0, right=2.0),
        lambda x: call(np.linspace(-3.0, 3.0, 7), np.sort(x(5).real), x(5)),
        lambda x: call(np.linspace(-2.9, 3.1, 7), np.linspace(0.05, 2.0, 5), x(5), period=2.5),
    ),
)
def _(x, xp, fp, left=None, right=None, period=None):
    if period is None:
        return _interp(x, xp, fp, left, right)
    if period == 0:
        raise ValueError("interp: the period must not be 0")
    period = abs(period)
    x, xp, fp = _double(x) % period, _double(xp) % period, _double(fp)
    order = np.argsort(value_of(xp))
    xp, fp = xp[order], fp[order]
    xp = anp.concatenate([xp[-1:] - period, xp, xp[:1] + period])
    return _interp(x, xp, anp.concatenate([fp[-1:], fp, fp[:1]]), None, None)


# --- integration and slopes -----------------------------------------------------------------------


def _slice(ndim, axis, *limits):
    """The index that takes a slice of one axis."""
    index = [slice(None)] * ndim
    index[axis] = slice(*limits)
    return tuple(index)


def _along(x, ndim, axis):
    """A vector laid along one axis of an array."""
    shape = [1] * ndim
    shape[axis] = -1
    return anp.reshape(x, shape)


@composite(
    np.trapezoid,
    examples=(
        lambda x: call(x(5)),
        lambda x: call(x(3, 5), dx=0.5),
        lambda x: call(x(3, 5), x(5)),
        lambda x: call(x(5, 3), x(5), axis=0),
        lambda x: call(x(3, 5), x(3, 5), axis=1),
    ),
)
def _(y, x=None, dx=1.0, axis=-1):
    y = as_array(y)
    if x is not None:
        x = as_array(x)
        at = -1 if x.ndim == 1 else axis
        dx = x[_slice(x.ndim, at, 1, None)] - x[_slice(x.ndim, at, None, -1)]
        dx = _along(dx, y.ndim, axis) if x.ndim == 1 else dx
    ends = y[_slice(y.ndim, axis, 1, None)] + y[_slice(y.ndim, axis, None, -1)]
    return anp.sum(dx * ends / 2.0, axis=axis)


def _spacings(f, axes, spacing):
    """For each axis the distance of two points, or the distances of neighbours."""
    if not spacing:
        return [1.0] * len(axes)
    if len(spacing) == 1 and np.ndim(stand_in(spacing[0])) == 0:
        return spacing * len(axes)
    if len(spacing) != len(axes):
        raise TypeError(f"gradient: {len(spacing)} spacings for {len(axes)} axes")
    steps = []
    for points, axis in zip(spacing, axes, strict=True):
        plain = np.asarray(stand_in(points))
        if plain.ndim == 0:
            steps.append(points)
            continue
        if plain.shape != (f.shape[axis],):
            raise ValueError(f"gradient: coordinates of shape {plain.shape} for {f.shape[axis]} points")
        points = as_array(points) if plain.dtype.kind in "fc" else anp.astype(anp.asarray(points), float)
        widths = points[1:] - points[:-1]
        even = not is_box(points) and bool(np.all(widths == widths[0]))
        steps.append(widths[0] if even else widths)
    return steps


def _slope_inside(f, axis, h):
    """The second-order slope at all points but the two ends."""
    before, here, after = (f[_slice(f.ndim, axis, a, b)] for a, b in ((None, -2), (1, -1), (2, None)))
    if np.ndim(stand_in(h)) == 0:
        return (after - before) / (2.0 * h)
    h1, h2 = (_along(part, f.ndim, axis) for part in (h[:-1], h[1:]))
    a, b, c = -h2 / (h1 * (h1 + h2)), (h2 - h1) / (h1 * h2), h1 / (h2 * (h1 + h2))
    return a * before + b * here + c * after


def _slope_at_end(f, axis, h, order, last):
    """The one-sided slope at the first or the last point, by two or three points."""
    start = f.shape[axis] - order - 1 if last else 0
    points = [f[_slice(f.ndim, axis, k, k + 1)] for k in range(start, start + order + 1)]
    even = np.ndim(stand_in(h)) == 0
    if order == 1:
        return (points[1] - points[0]) / (h if even else h[-1 if last else 0])
    if even:
        weights = (0.5 / h, -2.0 / h, 1.5 / h) if last else (-1.5 / h, 2.0 / h, -0.5 / h)
    elif last:
        h1, h2 = h[-2], h[-1]
        weights = h2 / (h1 * (h1 + h2)), -(h2 + h1) / (h1 * h2), (2.0 * h2 + h1) / (h2 * (h1 + h2))
    else:
        h1, h2 = h[0], h[1]
        weights = -(2.0 * h1 + h2) / (h1 * (h1 + h2)), (h1 + h2) / (h1 * h2), -h1 / (h2 * (h1 + h2))
    a, b, c = weights
    return a * points[0] + b * points[1] + c * points[2]


@composite(
    np.gradient,
    examples=(
        lambda x: call(x(5)),
        lambda x: call(x(5), 0.5),
        lambda x: call(x(5), np.array([0.0, 0.5, 1.5, 2.0, 4.0])),
        lambda x: call(x(5), x()),
        lambda x: call(x(4), np.sort(x(4).real)),
        lambda x: call(x(3, 4)),
        lambda x: call(x(3, 4), 0.5, np.array([0.0, 1.0, 3.0, 4.0]), edge_order=2),
        lambda x: call(x(3, 4), axis=0, edge_order=2),
        lambda x: call(x(3, 4, 2), axis=(1, 0)),
    ),
)
def _(f, *varargs, axis=None, edge_order=1):
    f = as_array(f)
    axes = range(f.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(a % f.ndim for a in axes)
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: edge_order must be 1 or 2, not {edge_order}")
    slopes = []
    for a, h in zip(axes, _spacings(f, axes, varargs), strict=True):
        if f.shape[a] < edge_order + 1:
            raise ValueError(
                f"gradient: axis {a} needs {edge_order + 1} points or more for edge_order={edge_order}"
            )
        ends = [_slope_at_end(f, a, h, edge_order, last) for last in (False, True)]
        slope = anp.concatenate([ends[0], _slope_inside(f, a, h), ends[1]], axis=a)
        slopes.append(slope if slope.dtype == f.dtype else anp.astype(slope, f.dtype))
    return slopes[0] if len(slopes) == 1 else tuple(slopes)


rule(
    np.unwrap,
    (lambda g, _ans, _p, *_options, **_named: g,),
    (lambda t, ans, p, *options, **named: t,),
    examples=(
        lambda x: call(x(6)),
        lambda x: call(3 * x(3, 5), axis=0),
        lambda x: call(x(5), discont=1.0, period=2.0),
    ),
)


# --- polynomials: coefficients from the highest power down ------------------------------------------


def _coefficients(p):
    return as_array(p.coeffs if isinstance(p, np.poly1d) else p)


@composite(
    np.polyval,
    examples=(
        lambda x: call(x(4), x(3)),
        lambda x: call(x(4), x()),
        lambda x: call(np.array([1.0, 2.0, 3.0]), x(2, 2)),
        lambda x: call(x(1), x(3)),
    ),
)
def _(p, x):
    """Horner's scheme."""
    p, x = _coefficients(p), as_array(x)
    y = np.zeros(x.shape, x.dtype)
    for coefficient in p:
        y = y * x + coefficient
    return y


def _aligned(p, q):
    """Two lists of coefficients, zeros in front of the shorter."""
    p, q = anp.atleast_1d(_coefficients(p)), anp.atleast_1d(_coefficients(q))
    n = max(len(p), len(q))
    return (a if len(a) == n else anp.concatenate([np.zeros(n - len(a), a.dtype), a]) for a in (p, q))


@composite(np.polyadd, examples=(lambda x: call(x(3), x(5)), lambda x: call(x(4), x(4))))
def _(a1, a2):
    p, q = _aligned(a1, a2)
    return p + q


@composite(np.polysub, examples=(lambda x: call(x(3), x(5)), lambda x: call(x(5), x(2))))
def _(a1, a2):
    p, q = _aligned(a1, a2)
    return p - q


@composite(np.polymul, examples=(lambda x: call(x(3), x(5)), lambda x: call(x(4), x(1))))
def _(a1, a2):
    return anp.convolve(anp.atleast_1d(_coefficients(a1)), anp.atleast_1d(_coefficients(a2)))


@composite(
    np.polydiv, examples=(lambda x: call(x(5), np.array([2.0, 0.5])), lambda x: call(x(2), x(3) + 3.0))
)
def _(u, v):
    """Long division."""
    u, v = anp.atleast_1d(_coefficients(u)) + 0.0, anp.atleast_1d(_coefficients(v)) + 0.0
    n, scale, quotient, rest = len(v), 1.0 / v[0], [], u
    for k in range(len(u) - n + 1):
        d = scale * rest[0]
        quotient.append(d)
        head = rest[:n] - d * v
        rest = anp.concatenate([head[1:], rest[n:]]) if k < len(u) - n else anp.concatenate([head, rest[n:]])
    first = 0
    while first < len(rest) - 1 and anp.allclose(rest[first], 0, rtol=1e-14):
        first += 1
    zero = 0.0 * (u[:1] + v[:1])
    return (anp.stack(quotient) if quotient else zero), rest[first:]


@composite(np.polyder, examples=(lambda x: call(x(5)), lambda x: call(x(5), 2), lambda x: call(x(3), 0)))
def _(p, m=1):
    if m < 0:
        raise ValueError(f"polyder: the order must not be negative, not {m}; see polyint")
    p = _coefficients(p)
    for _ in range(m):
        p = p[:-1] * np.arange(len(p) - 1, 0, -1)
    return +p


@composite(
    np.polyint,
    examples=(
        lambda x: call(x(4)),
        lambda x: call(x(4), 2, k=[1.0, 2.0]),
        lambda x: call(x(3), 2, 3.0),
    ),
)
def _(p, m=1, k=None):
    if m < 0:
        raise ValueError(f"polyint: the order must not be negative, not {m}; see polyder")
    k = anp.atleast_1d(as_array(np.zeros(m) if k is None else k))
    if len(k) < m and len(k) != 1:
        raise ValueError(f"polyint: k must be a number or hold {m} constants, not {len(k)}")
    p = _coefficients(p)
    for i in range(m):
        constant = k[:1] if len(k) == 1 else k[i : i + 1]
        p = anp.concatenate([p / np.arange(len(p), 0, -1), constant])
    return +p


@composite(np.poly, examples=(lambda x: call(x(3)),))
def _(seq_of_zeros):
    """The product of ``x - zero``."""
    zeros = anp.atleast_1d(as_array(seq_of_zeros))
    if zeros.ndim != 1:
        raise TypeError("poly: of a matrix there is no derivative here; pass np.linalg.eigvals(a)")
    p = np.ones(1, zeros.dtype)
    for zero in zeros:
        p = anp.convolve(p, anp.stack([0.0 * zero + 1.0, -zero]))
    return p


refuse("take the eigenvalues of the companion matrix with np.linalg.eigvals", np.roots)
refuse("solve the normal equations of np.vander(x, deg + 1) with np.linalg.solve", np.polyfit)
