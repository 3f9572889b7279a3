"""Functions of single entries that NumPy does not have as ufuncs, and comparisons.

* ``clip`` shares a tie with a bound equally, as ``maximum`` and ``minimum`` do;
* ``nan_to_num`` gives 0 to the entries that it replaces;
* ``sinc`` is a power series near 0, so that all its derivatives are right there;
* ``angle`` of a real number is constant.
"""

import math

import numpy as np

import autograd_c.numpy as anp

from ..extend import (
    Primitive,
    call,
    chosen,
    composite,
    constant,
    elementwise,
    notrace_primitive,
    primitive_of,
    rule,
)
from .reductions import no_out

# --- clip -----------------------------------------------------------------------------------------


def _share(ans, x, other, another):
    """1 where `x` is the result, equal shares where others are too."""
    a, b = other == ans, another == ans
    ties = anp.where(a, anp.where(b, 1.0 / 3.0, 0.5), anp.where(b, 0.5, 1.0))
    return chosen(x == ans, ties, 0.0)


_clip = elementwise(
    Primitive(np._core.umath.clip),
    lambda ans, x, low, high: _share(ans, x, low, high),
    lambda ans, x, low, high: _share(ans, low, x, high),
    lambda ans, x, low, high: _share(ans, high, x, low),
    domain=((-2.0, 2.0), (-1.0, -0.5), (0.5, 1.0)),
)


@composite(
    np.clip,
    examples=(
        lambda x: call(x(3, 4), -0.5, 0.7),
        lambda x: call(x(3, 4), x(4) - 2.0, x(3, 1) + 2.0),
        lambda x: call(x(3, 4), None, 0.5),
        lambda x: call(x(3, 4), min=-0.5),
        lambda x: call(x(3, 4), min=-0.5, max=x(4) * 0.1),
        lambda x: call(x(3)),
    ),
)
def clip(a, a_min=np._NoValue, a_max=np._NoValue, out=None, *, min=np._NoValue, max=np._NoValue, dtype=None):
    no_out("clip", out)
    if (a_min is np._NoValue) != (a_max is np._NoValue):
        raise TypeError("clip: a_min and a_max go together; one may be None, or use min= or max=")
    low, high = _bound(a_min, min, "min"), _bound(a_max, max, "max")
    if dtype is not None:
        a = anp.astype(anp.asarray(a), dtype)
    if low is None:
        return anp.positive(a) if high is None else anp.minimum(a, high)
    return anp.maximum(a, low) if high is None else _clip(a, low, high)


def _bound(old, new, name):
    if old is np._NoValue:
        return None if new is np._NoValue else new
    if new is not np._NoValue:
        raise ValueError(f"clip: give {name} once, by position or as {name}=")
    return old


# --- NaN and infinity -----------------------------------------------------------------------------


def _finite(g, _ans, x, copy=True, nan=0.0, posinf=None, neginf=None):
    if x.dtype.kind != "c":
        return anp.where(anp.isfinite(x), g, 0.0)
    return anp.where(anp.isfinite(anp.real(x)), anp.real(g), 0.0) + 1j * anp.where(
        anp.isfinite(anp.imag(x)), anp.imag(g), 0.0
    )


def _holed(x, *shape):
    out = np.array(x(*shape))
    out.flat[:3] = np.nan, np.inf, -np.inf
    return out


rule(
    np.nan_to_num,
    (_finite,),
    (_finite,),
    examples=(
        lambda x: call(_holed(x, 2, 3), True, 1.0, 2.0, -2.0),
        lambda x: call(_holed(x, 5), nan=1.0, posinf=2.0, neginf=3.0),
    ),
)


@composite(np.real_if_close, examples=(lambda x: call(x(3)), lambda x: call(x(3) * 2.0 + x(3))))
def real_if_close(a, tol=100):
    a = anp.asarray(a)
    if a.dtype.kind != "c":
        return a
    if tol > 1:
        tol = np.finfo(a.dtype).eps * tol
    return anp.real(a) if anp.all(anp.absolute(anp.imag(a)) < tol) else a


# --- special functions in NumPy's main namespace --------------------------------------------------

NEAR = 0.25
# sinc'(x) = sum over k of (-1)^k 2k pi^(2k) x^(2k-1) / (2k+1)!; in x**2, highest power first.
SERIES = [(-1.0) ** k * 2 * k * math.pi ** (2 * k) / math.factorial(2 * k + 1) for k in range(10, 0, -1)]


def _sinc_partial(ans, x):
    near = anp.absolute(x) < NEAR
    inside = anp.where(near, x, 0.0)
    outside = anp.where(near, 1.0, x)
    square = inside * inside
    total = SERIES[0]
    for c in SERIES[1:]:
        total = total * square + c
    return anp.where(near, total * inside, (anp.cos(math.pi * outside) - ans) / outside)


elementwise(np.sinc, _sinc_partial)


def _i1(x):
    import scipy.special  # here, since few need it

    i1 = primitive_of(scipy.special.i1)
    if getattr(x, "dtype", None) == np.longdouble:  # which SciPy does not have
        return anp.astype(i1(anp.astype(x, float)), np.longdouble)
    return i1(x)


elementwise(np.i0, lambda ans, x: _i1(x))


@notrace_primitive
def _phase(x, deg):
    return np.angle(x, deg)


@composite(np.angle, examples=(lambda x: call(x(3) + 1j * x(3)), lambda x: call(x(3), deg=True)))
def angle(z, deg=False):
    z = anp.asarray(z)
    if z.dtype.kind != "c":
        return _phase(z, deg)
    a = anp.arctan2(anp.imag(z), anp.real(z))
    return a * (180 / math.pi) if deg else a


# --- no derivative --------------------------------------------------------------------------------

constant(
    np.round, np.around, np.fix, np.isclose, np.allclose, np.array_equal, np.array_equiv,
    np.iscomplex, np.isreal, np.isneginf, np.isposinf,
)  # fmt: skip
