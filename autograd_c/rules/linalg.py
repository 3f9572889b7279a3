"""Linear algebra: ``numpy.linalg`` and the first of ``scipy.linalg``, on stacks of matrices.

Formulas: M. B. Giles, An extended collection of matrix derivative results for forward and reverse mode
algorithmic differentiation (2008); I. Murray, Differentiation of the Cholesky decomposition
(arXiv:1602.07527); J. Townsend, Differentiating the singular value decomposition (2016), and Z.-Q. Wan and
S.-X. Zhang (arXiv:1909.02659) for complex matrices; G. H. Golub and V. Pereyra, SIAM J. Numer. Anal. 10
(1973) 413 for the pseudo-inverse.

The rules of the factorisations are written for the ordinary inner product ``<G, dX> = Re tr(G^H dX)``; the
cotangents of this package are the conjugates of such `G`, so that they are conjugated on the way in and out
(which costs nothing for real matrices).

What is taken where there is more than one choice:

* ``cholesky`` has a symmetric (Hermitian) cotangent, as if it read both triangles; ``eigh`` and
  ``eigvalsh`` have one in the triangle that they read;
* a norm has gradient 0 at 0;
* between equal eigenvalues or singular values, and through a singular value that is 0, nothing flows from the
  vectors: what is a function of the values alone has its gradient there, what is one of the vectors has none;
* complex eigenvectors and singular vectors keep the phase that LAPACK gives them, with one component real;
* ``det`` has its gradient at singular matrices too (the cofactors); ``slogdet``, ``inv`` and ``solve``
  raise there.

Functions with several results are primitives whose results lie side by side in one array; `_packed` and
`_unpacked` convert.
"""

import math

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

import autograd_c.numpy as anp

from .._core import Primitive, cholesky_adjoint, hooks, trace_forward, trace_reverse
from ..extend import call, composite, constant, refuse, rule
from .products import matmul
from .support import as_array, lowered

LinAlgError = np.linalg.LinAlgError


def _h(x):
    """Conjugate transpose."""
    return x.mT if x.dtype.kind == "f" else anp.conj(x.mT)


def _conj(x):
    return x if x.dtype.kind == "f" else anp.conj(x)


def _real(x):
    return x if x.dtype.kind == "f" else anp.real(x)


def _diagonal(x):
    """The diagonals of a stack of matrices."""
    i = np.arange(min(x.shape[-2:]))
    return x[..., i, i]


def _eye(x):
    """The identity of the size and precision of the last axis of `x`."""
    return np.eye(x.shape[-1], dtype=x.real.dtype if isinstance(x, np.ndarray) else x.dtype)


def _inverse_or_zero(x):
    """``1 / x`` where that is finite, otherwise 0."""
    zero = x == 0.0
    return anp.where(zero, 0.0, 1.0 / anp.where(zero, 1.0, x))


def _gaps(x):
    """``F[i, j] = 1 / (x[j] - x[i])``, 0 for equal ones."""
    return _inverse_or_zero(x[..., None, :] - x[..., :, None])


def _lower(n, k=0):
    """Where a matrix of order `n` has its lower triangle."""
    return np.tri(n, k=k, dtype=bool)


def _packed(parts, batch):
    """Several results in one array: their items side by side on the last axis."""
    return anp.concatenate([p.reshape((*batch, -1)) for p in parts], axis=-1)


def _unpacked(flat, shapes):
    """The parts of `flat`, each a stack of that shape."""
    parts, start = [], 0
    for shape in shapes:
        stop = start + math.prod(shape)
        parts.append(flat[..., start:stop].reshape(flat.shape[:-1] + shape))
        start = stop
    return parts


def by_formula(fun, formula, name):
    """A primitive that computes a formula of differentiable functions in a faster way.

    Its derivatives are those of the formula, traced when they are asked for.
    """

    def with_argument(args, k):
        return lambda boxes: [formula(*args[:k], boxes[0], *args[k + 1 :])]

    def vjp(argnum, g, _ans, *args):
        _, pullback = trace_reverse(with_argument(args, argnum), [args[argnum]])
        return pullback([g])[0]

    def jvp(argnum, t, ans, *args):
        _, tangents = trace_forward(with_argument(args, argnum), [args[argnum]], [t])
        return tangents[0]

    return rule(fun, vjp, jvp, name=name)


# --- triangular systems ---------------------------------------------------------------------------

TRTRS = {"f": lapack.strtrs, "d": lapack.dtrtrs, "F": lapack.ctrtrs, "D": lapack.ztrtrs}
# Below this order a stack is solved faster by NumPy's loop over LU factorisations.
SMALL = 32


def _solve_triangular_plain(a, b, lower=False, trans=0, unit_diagonal=False):
    """Solves ``op(a) x = b`` for one matrix or a stack; `trans` as in SciPy, `b` a stack of matrices."""
    dtype = np.result_type(a, b)
    if dtype.char not in TRTRS:
        # LAPACK has two precisions: half is done in single, long double in double.
        dtype = np.dtype("D" if dtype.kind == "c" else "f" if dtype.itemsize == 2 else "d")
    a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
    if a.ndim == 2 and b.ndim == 2:
        return _trtrs(a, b, lower, trans, unit_diagonal)
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if a.shape[-1] < SMALL:
        mask = _lower(a.shape[-1]) if lower else _lower(a.shape[-1]).T
        a = np.where(mask, a, 0.0)
        if unit_diagonal:
            a = np.where(np.eye(a.shape[-1], dtype=bool), 1.0, a)
        return np.linalg.solve(a.mT if trans == 1 else a.conj().mT if trans == 2 else a, b)
    out = np.empty(batch + b.shape[-2:], dtype)
    a, b = np.broadcast_to(a, batch + a.shape[-2:]), np.broadcast_to(b, out.shape)
    for i in np.ndindex(batch):
        out[i] = _trtrs(a[i], b[i], lower, trans, unit_diagonal)
    return out


def _trtrs(a, b, lower, trans, unit_diagonal):
    if not b.size:
        return np.zeros(b.shape, b.dtype)
    if trans == 2 and a.dtype.kind == "f":
        trans = 1
    if trans != 2 and a.flags.c_contiguous:
        # LAPACK counts columns first: it is given the transpose, without a copy.
        a, lower, trans = a.T, not lower, 1 - trans
    x, info = TRTRS[a.dtype.char](a, b, lower=lower, trans=trans, unitdiag=unit_diagonal)
    if info > 0:
        raise LinAlgError(f"solve_triangular: the matrix is singular, its diagonal item {info - 1} is 0")
    return x


def _trans_number(trans):
    return {"N": 0, "T": 1, "C": 2, "H": 2}.get(trans, trans)


def _column(x, vector):
    return x[..., None] if vector else x


def _flat(x, vector):
    return x[..., 0] if vector else x


def _transposed_solve(a, g, lower, trans, unit_diagonal):
    """``op(a)^-T g``, for the cotangents. The conjugate transpose has the conjugate for its transpose."""
    if trans == 2:
        return _conj(triangular(a, _conj(g), lower=lower, trans=0, unit_diagonal=unit_diagonal))
    return triangular(a, g, lower=lower, trans=1 - trans, unit_diagonal=unit_diagonal)


def _triangle_of(c, lower, unit_diagonal):
    n = c.shape[-1]
    mask = _lower(n, -int(unit_diagonal)) if lower else _lower(n, -int(unit_diagonal)).T
    return anp.where(mask, c, 0.0)


def _triangular_vjp_a(g, ans, a, _b, lower=False, trans=0, unit_diagonal=False):
    v = _transposed_solve(a, g, lower, trans, unit_diagonal)
    c = v * ans.mT if ans.shape[-1] == 1 else matmul(v, ans.mT)
    c = c if trans == 0 else c.mT if trans == 1 else _conj(c.mT)
    return -_triangle_of(c, lower, unit_diagonal)


def _triangular_vjp_b(g, _ans, a, _b, lower=False, trans=0, unit_diagonal=False):
    return _transposed_solve(a, g, lower, trans, unit_diagonal)


def _triangular_jvp_a(t, ans, a, b, lower=False, trans=0, unit_diagonal=False):
    t = _triangle_of(t, lower, unit_diagonal)
    t = t if trans == 0 else t.mT if trans == 1 else _conj(t.mT)
    return -triangular(a, matmul(t, ans), lower=lower, trans=trans, unit_diagonal=unit_diagonal)


# The triangular solve that the rules use: `b` is a matrix or a stack of matrices.
triangular = rule(
    _solve_triangular_plain,
    (_triangular_vjp_a, _triangular_vjp_b),
    (_triangular_jvp_a, "same"),
    name="solve_triangular",
    examples=(
        lambda x: call(x(3, 3) + 4 * np.eye(3), x(3, 2)),
        lambda x: call(x(3, 3) + 4 * np.eye(3), x(3, 2), lower=True, trans=1),
        lambda x: call(x(3, 3) + 4 * np.eye(3), x(3, 2), lower=True, trans=2),
        lambda x: call(0.3 * x(3, 3), x(3, 2), unit_diagonal=True),
        lambda x: call(x(2, 3, 3) + 4 * np.eye(3), x(3, 2), lower=True),
        lambda x: call(0.3 * x(2, 3, 3), x(2, 3, 1), trans=1, unit_diagonal=True),
        lambda x: call(0.05 * x(2, 33, 33) + np.eye(33), x(33, 1)),
    ),
)


def _scipy_vjp_a(g, ans, a, _b, trans=0, lower=False, unit_diagonal=False, **_options):
    vector = as_array(_b).ndim == 1
    g, ans = _column(g, vector), _column(ans, vector)
    return _triangular_vjp_a(g, ans, as_array(a), None, lower, _trans_number(trans), unit_diagonal)


def _scipy_vjp_b(g, _ans, a, _b, trans=0, lower=False, unit_diagonal=False, **_options):
    vector = as_array(_b).ndim == 1
    c = _transposed_solve(as_array(a), _column(g, vector), lower, _trans_number(trans), unit_diagonal)
    return _flat(c, vector)


def _scipy_jvp_a(t, ans, a, b, trans=0, lower=False, unit_diagonal=False, **_options):
    vector = as_array(b).ndim == 1
    c = _triangular_jvp_a(
        t, _column(ans, vector), as_array(a), None, lower, _trans_number(trans), unit_diagonal
    )
    return _flat(c, vector)


solve_triangular = rule(
    scipy.linalg.solve_triangular,
    (_scipy_vjp_a, _scipy_vjp_b),
    (_scipy_jvp_a, "same"),
    examples=(
        lambda x: call(x(3, 3) + 4 * np.eye(3), x(3)),
        lambda x: call(x(3, 3) + 4 * np.eye(3), x(3), lower=True),
        lambda x: call(x(3, 3) + 4 * np.eye(3), x(3, 2), trans=1),
        lambda x: call(x(3, 3) + 4 * np.eye(3), x(3), lower=True, trans="C"),
        lambda x: call(0.3 * x(3, 3), x(3, 2), lower=True, trans="T", unit_diagonal=True),
        lambda x: call(x(3, 3) + 4 * np.eye(3), x(3), check_finite=False),
    ),
)


# --- general systems ------------------------------------------------------------------------------


def _solve_transposed_plain(a, b):
    """``a^-T b``, by substitution where `a` is triangular, as factors are."""
    if a.ndim == 2 and b.ndim == 2 and a.size and a.dtype == b.dtype and a.dtype.char in TRTRS:
        below, above = scipy.linalg.bandwidth(a)
        if not below or not above:
            return _trtrs(a, b, not above, 1, False)
    return np.linalg.solve(a.mT, b)


solve_transposed = rule(
    _solve_transposed_plain,
    (
        lambda g, ans, a, _b: -matmul(ans, solve(a, g).mT),
        lambda g, _ans, a, _b: solve(a, g),
    ),
    (lambda t, ans, a, b: -solve_transposed(a, matmul(t.mT, ans)), "same"),
    name="solve",
)


def _solve_vjp_b(g, _ans, a, _b):
    vector = as_array(_b).ndim == 1
    return _flat(solve_transposed(as_array(a), _column(g, vector)), vector)


def _solve_vjp_a(g, ans, a, _b):
    vector = as_array(_b).ndim == 1
    v = solve_transposed(as_array(a), _column(g, vector))
    return -v * ans[..., None, :] if vector else matmul(-v, ans.mT)


def _solve_jvp_a(t, ans, a, b):
    vector = as_array(b).ndim == 1
    return -_flat(solve(a, matmul(t, _column(ans, vector))), vector)


solve = rule(
    np.linalg.solve,
    (_solve_vjp_a, _solve_vjp_b),
    (_solve_jvp_a, "same"),
    examples=(
        lambda x: call(x(3, 3) + 4 * np.eye(3), x(3)),
        lambda x: call(x(3, 3) + 4 * np.eye(3), x(3, 2)),
        lambda x: call(x(2, 3, 3) + 4 * np.eye(3), x(3)),
        lambda x: call(x(2, 3, 3) + 4 * np.eye(3), x(2, 3, 2)),
        lambda x: call(x(3, 3) + 4 * np.eye(3), x(2, 3, 2)),
        lambda x: call(np.tril(x(3, 3)) + 4 * np.eye(3), x(3)),
    ),
)


def _inv_vjp(g, ans, _a):
    return matmul(matmul(-ans.mT, g), ans.mT)


def _inv_jvp(t, ans, a):
    return matmul(matmul(-ans, t), ans)


inv = rule(
    np.linalg.inv,
    (_inv_vjp,),
    (_inv_jvp,),
    examples=(
        lambda x: call(x(3, 3) + 4 * np.eye(3)),
        lambda x: call(x(2, 3, 3) + 4 * np.eye(3)),
    ),
)


def _pinv_vjp(g, ans, a, *_options, **_named):
    p, g = ans, _conj(g)
    left, right = _eye(a.mT) - matmul(a, p), _eye(a) - matmul(p, a)
    c = matmul(matmul(left, _h(g)), matmul(p, _h(p))) + matmul(matmul(_h(p), p), matmul(_h(g), right))
    return _conj(c - matmul(_h(p), matmul(g, _h(p))))


def _pinv_jvp(t, ans, a, *_options, **_named):
    p = ans
    left, right = _eye(a.mT) - matmul(a, p), _eye(a) - matmul(p, a)
    c = matmul(matmul(p, _h(p)), matmul(_h(t), left)) + matmul(matmul(right, _h(t)), matmul(_h(p), p))
    return c - matmul(p, matmul(t, p))


pinv = rule(
    np.linalg.pinv,
    (_pinv_vjp,),
    (_pinv_jvp,),
    examples=(
        lambda x: call(x(4, 3)),
        lambda x: call(x(3, 4)),
        lambda x: call(x(2, 3, 3) + 3 * np.eye(3), rcond=1e-10),
    ),
)


# --- determinants ---------------------------------------------------------------------------------


def _cofactor_plain(a):
    """``det(a) a^-T``, and its limit where `a` is singular."""
    try:
        return np.linalg.det(a)[..., None, None] * np.linalg.inv(a).mT
    except LinAlgError:
        u, s, vh = np.linalg.svd(a)
        # The product of all singular values but one.
        rest = np.where(np.eye(s.shape[-1], dtype=bool), 1.0, s[..., None, :]).prod(axis=-1)
        scale = (np.linalg.det(u) * np.linalg.det(vh))[..., None]
        return np.matmul(u.conj() * (scale * rest.astype(s.dtype))[..., None, :], vh.conj())


_cofactor = by_formula(_cofactor_plain, lambda a: det(a)[..., None, None] * inv(a).mT, "det")
det = rule(
    np.linalg.det,
    (lambda g, _ans, a: g[..., None, None] * _cofactor(as_array(a)),),
    (lambda t, ans, a: anp.sum(t * _cofactor(as_array(a)), axis=(-2, -1)),),
    examples=(
        lambda x: call(x(3, 3)),
        lambda x: call(x(2, 3, 3)),
        lambda x: call(x(1, 1)),
    ),
)


def _slogdet_plain(a):
    sign, logabsdet = np.linalg.slogdet(a)
    return np.stack([sign, logabsdet.astype(sign.dtype)], axis=-1)


POTRF = {"f": (lapack.spotrf, lapack.spotri), "d": (lapack.dpotrf, lapack.dpotri)}


def _inverse_plain(a):
    """The inverse, in half the time for a positive definite matrix, as those of log-likelihoods are."""
    if a.ndim == 2 and a.dtype.char in POTRF and (a == a.T).all():
        factorise, invert = POTRF[a.dtype.char]
        factor, info = factorise(a, lower=1)
        if info == 0:
            half, info = invert(factor, lower=1, overwrite_c=1)
            return np.where(_lower(len(a)), half, half.T)
    return np.linalg.inv(a)


_inverse = rule(_inverse_plain, (_inv_vjp,), (_inv_jvp,), name="inv")


def _slogdet_vjp(g, ans, a):
    if ans.dtype.kind == "f":
        return g[..., 1, None, None] * _inverse(a).mT
    # d log|det| = Re z and d sign = i sign Im z, where z = tr(a^-1 da).
    weight = anp.real(g[..., 1]) + 1j * anp.imag(g[..., 0] * ans[..., 0])
    return weight[..., None, None] * inv(a).mT


def _slogdet_jvp(t, ans, a):
    z = anp.sum(t * inv(a).mT, axis=(-2, -1))
    if ans.dtype.kind == "f":
        return anp.stack([0.0 * z, z], axis=-1)
    return anp.stack([1j * ans[..., 0] * anp.imag(z), anp.real(z) + 0j], axis=-1)


_slogdet = rule(_slogdet_plain, (_slogdet_vjp,), (_slogdet_jvp,), name="slogdet")
SlogdetResult = type(np.linalg.slogdet(np.eye(1)))


@composite(np.linalg.slogdet, examples=(lambda x: call(x(3, 3)), lambda x: call(x(2, 3, 3))))
def _(a):
    both = _slogdet(as_array(a))
    sign, logabsdet = both if both.ndim == 1 else (both[..., 0], both[..., 1])
    return SlogdetResult(sign, _real(logabsdet))


# --- Cholesky -------------------------------------------------------------------------------------


def _cholesky_adjoint_plain(factor, g):
    """The cotangent of ``factor @ factor^H`` from that of the lower factor."""
    if factor.ndim == 2 and factor.dtype == g.dtype and factor.dtype.char in "fd":
        return cholesky_adjoint(np.ascontiguousarray(factor), np.ascontiguousarray(g))
    return _cholesky_adjoint_formula(factor, g)


def _cholesky_adjoint_formula(factor, g):
    p = matmul(_h(factor), _conj(g))
    n = factor.shape[-1]
    p = anp.where(_lower(n, -1), p, 0.0) + 0.5 * anp.where(np.eye(n, dtype=bool), p, 0.0)
    # Both sides by substitution from the left: L^-H P L^-1 = (L^-H (L^-H P)^H)^H.
    x = triangular(factor, _h(triangular(factor, p, lower=True, trans=2)), lower=True, trans=2)
    return _conj(0.5 * (x + _h(x)))


_cholesky_adjoint = by_formula(_cholesky_adjoint_plain, _cholesky_adjoint_formula, "cholesky")


def _cholesky_vjp(g, ans, _a, *, upper=False):
    return _cholesky_adjoint(_h(ans), _h(g)) if upper else _cholesky_adjoint(ans, g)


def _cholesky_jvp(t, ans, a, *, upper=False):
    factor = _h(ans) if upper else ans
    x = triangular(factor, 0.5 * (t + _h(t)), lower=True)
    x = _h(triangular(factor, _h(x), lower=True))
    n = factor.shape[-1]
    x = anp.where(_lower(n, -1), x, 0.0) + 0.5 * anp.where(np.eye(n, dtype=bool), x, 0.0)
    x = matmul(factor, x)
    return _h(x) if upper else x


cholesky = rule(
    np.linalg.cholesky,
    (_cholesky_vjp,),
    (_cholesky_jvp,),
    examples=(
        lambda x: call(_definite(x(3, 3))),
        lambda x: call(_definite(x(2, 3, 3)), upper=True),
    ),
)
# Tests must perturb the argument along symmetric (Hermitian) directions.
cholesky.hermitian = True


def _definite(a):
    square = a @ a.conj().mT  # which BLAS rounds on either side of the diagonal in its own way
    return (square + square.conj().mT) / 2 + np.eye(a.shape[-1], dtype=a.real.dtype)


# --- the phase of complex vectors ------------------------------------------------------------------
#
# LAPACK makes one component of each complex eigenvector or singular vector real. `mask` says which; the
# derivatives of the formulas, in which the phase is free, are turned so that this component stays real.


def _phase_rate(v, dv, mask):
    """By how much the vectors in the columns of `v` have to be turned back."""
    top = mask & (v != 0.0)
    return anp.imag(anp.sum(anp.where(top, dv / anp.where(top, v, 1.0), 0.0), axis=-2))[..., None, :]


def _phase_rate_adjoint(v, rate, mask):
    """The cotangent of `dv` from that of `_phase_rate`."""
    top = mask & (v != 0.0)
    return anp.where(top, 1j * rate / anp.conj(anp.where(top, v, 1.0)), 0.0)


def _along(v, gv):
    """``v^H gv`` for each vector."""
    return anp.sum(_conj(v) * gv, axis=-2)[..., None, :]


def _row(n, k):
    return (np.arange(n) == k % n)[:, None]


# --- eigenvalues ----------------------------------------------------------------------------------


def _from_triangle(t, uplo):
    """The Hermitian matrix that a function sees which reads one triangle."""
    n = t.shape[-1]
    mask = _lower(n, -1) if uplo.upper() == "L" else _lower(n, -1).T
    half = anp.where(mask, t, 0.0)
    return half + _h(half) + anp.where(np.eye(n, dtype=bool), _real(t), 0.0)


def _to_triangle(c, uplo):
    """The adjoint of `_from_triangle`."""
    n = c.shape[-1]
    mask = _lower(n, -1) if uplo.upper() == "L" else _lower(n, -1).T
    return anp.where(mask, c + _h(c), 0.0) + anp.where(np.eye(n, dtype=bool), _real(c), 0.0)


def _eigh_shapes(a):
    n = a.shape[-1]
    return (n,), (n, n)


def _eigh_plain(a, uplo):
    w, v = np.linalg.eigh(a, uplo)
    return _packed((w.astype(v.dtype), v), a.shape[:-2])


def _real_row(n, uplo):
    """The component that LAPACK makes real follows from the triangle that it reads."""
    return _row(n, 0 if uplo.upper() == "L" else -1)


def _eigh_vjp(g, ans, _a, uplo):
    n = _a.shape[-1]
    w, v = _unpacked(ans, _eigh_shapes(_a))
    gw, gv = map(_conj, _unpacked(g, _eigh_shapes(_a)))
    if v.dtype.kind == "c":
        gv = gv - _phase_rate_adjoint(v, anp.imag(_along(v, gv)), _real_row(n, uplo))
    inner = _gaps(_real(w)) * matmul(_h(v), gv)
    inner = inner + anp.where(np.eye(n, dtype=bool), _real(gw)[..., None, :], 0.0)
    return _to_triangle(_conj(matmul(v, matmul(inner, _h(v)))), uplo)


def _eigh_jvp(t, ans, a, uplo):
    w, v = _unpacked(ans, _eigh_shapes(a))
    m = matmul(_h(v), matmul(_from_triangle(t, uplo), v))
    dv = matmul(v, _gaps(_real(w)) * m)
    if v.dtype.kind == "c":
        dv = dv - v * (1j * _phase_rate(v, dv, _real_row(a.shape[-1], uplo)))
    return _packed((_diagonal(m), dv), a.shape[:-2])


_eigh = rule(_eigh_plain, (_eigh_vjp, None), (_eigh_jvp, None), name="eigh")
EighResult = type(np.linalg.eigh(np.eye(1)))


def _symmetric(a):
    return a + a.conj().mT


@composite(
    np.linalg.eigh,
    examples=(
        lambda x: call(_symmetric(x(3, 3))),
        lambda x: call(_symmetric(x(2, 3, 3)), UPLO="U"),
    ),
)
def eigh(a, UPLO="L"):
    """Eigenvalues and vectors of Hermitian matrices."""
    a = as_array(a)
    w, v = _unpacked(_eigh(a, UPLO), _eigh_shapes(a))
    return EighResult(_real(w), v)


def _eigvalsh_vjp(g, _ans, a, UPLO="L"):
    _, v = eigh(a, UPLO)
    return _to_triangle(matmul(_conj(v) * g[..., None, :], v.mT), UPLO)


def _eigvalsh_jvp(t, ans, a, UPLO="L"):
    _, v = eigh(a, UPLO)
    return _real(anp.sum(_conj(v) * matmul(_from_triangle(t, UPLO), v), axis=-2))


rule(
    np.linalg.eigvalsh,
    (_eigvalsh_vjp,),
    (_eigvalsh_jvp,),
    examples=(
        lambda x: call(_symmetric(x(3, 3))),
        lambda x: call(_symmetric(x(2, 3, 3)), UPLO="U"),
    ),
)


def _eig_plain(a):
    w, v = np.linalg.eig(a)
    return _packed((w, v), a.shape[:-2])


def _largest(v):
    """Where each vector has its largest component, which LAPACK makes real."""
    return np.arange(v.shape[-2])[:, None] == anp.argmax(anp.abs(v), axis=-2)[..., None, :]


def _eig_vjp(g, ans, _a):
    w, v = _unpacked(ans, _eigh_shapes(_a))
    gw, gv = map(_conj, _unpacked(g, _eigh_shapes(_a)))
    # The vectors keep length one.
    along = _along(v, gv)
    gv = gv - v * _real(along)
    if v.dtype.kind == "c":
        gv = gv - _phase_rate_adjoint(v, anp.imag(along), _largest(v))
    inner = _conj(_gaps(w)) * matmul(_h(v), gv)
    inner = inner + anp.where(np.eye(_a.shape[-1], dtype=bool), gw[..., None, :], 0.0)
    return _conj(matmul(solve(_h(v), inner), _h(v)))


def _eig_jvp(t, ans, a):
    w, v = _unpacked(ans, _eigh_shapes(a))
    m = solve(v, matmul(t, v))
    dv = matmul(v, _gaps(w) * m)
    turn = _real(_along(v, dv))
    if v.dtype.kind == "c":
        turn = turn + 1j * _phase_rate(v, dv, _largest(v))
    return _packed((_diagonal(m), dv - v * turn), a.shape[:-2])


_eig = rule(_eig_plain, (_eig_vjp,), (_eig_jvp,), name="eig")
EigResult = type(np.linalg.eig(np.eye(1)))


@composite(np.linalg.eig, examples=(lambda x: call(x(3, 3)), lambda x: call(x(2, 3, 3))))
def eig(a):
    """Eigenvalues and vectors of square matrices."""
    a = as_array(a)
    return EigResult(*_unpacked(_eig(a), _eigh_shapes(a)))


def _eigvals_vjp(g, _ans, a):
    _, v = eig(a)
    return matmul(solve(v.mT, anp.where(np.eye(a.shape[-1], dtype=bool), g[..., None, :], 0.0)), v.mT)


def _eigvals_jvp(t, ans, a):
    _, v = eig(a)
    return _diagonal(solve(v, matmul(t, v)))


rule(
    np.linalg.eigvals,
    (_eigvals_vjp,),
    (_eigvals_jvp,),
    examples=(lambda x: call(x(3, 3)), lambda x: call(x(2, 3, 3))),
)


# --- singular values ------------------------------------------------------------------------------


def _svd_shapes(a, full):
    m, n = a.shape[-2:]
    k = min(m, n)
    return (m, m if full else k), (k,), (n if full else k, n)


def _svd_plain(a, full):
    u, s, vh = np.linalg.svd(a, full_matrices=full)
    return _packed((u, s.astype(u.dtype), vh), a.shape[:-2])


def _split(x, k):
    return x[..., :k], x[..., k:]


def _svd_vjp(g, ans, _a, full):
    shapes = _svd_shapes(_a, full)
    k = shapes[1][0]
    u, s, vh = _unpacked(ans, shapes)
    gu, gs, gvh = map(_conj, _unpacked(g, shapes))
    s = _real(s)
    (u, u2), (gu, gu2) = _split(u, k), _split(gu, k)
    (v, v2), (gv, gv2) = _split(_h(vh), k), _split(_h(gvh), k)
    if u.dtype.kind == "c":
        rate = anp.imag(_along(u, gu) + _along(v, gv))
        if _a.shape[-2] >= _a.shape[-1]:
            gv = gv - _phase_rate_adjoint(v, rate, _row(_a.shape[-1], 0))
        else:
            gu = gu - _phase_rate_adjoint(u, rate, _row(_a.shape[-2], 0))
    gaps, inverse = _gaps(s * s), _inverse_or_zero(s)
    uu, vv = matmul(_h(u), gu), matmul(_h(v), gv)
    inner = (gaps * (uu - _h(uu))) * s[..., None, :] + s[..., :, None] * (gaps * (vv - _h(vv)))
    diagonal = _real(gs)
    if u.dtype.kind == "c":
        diagonal = diagonal + 1j * anp.imag(_diagonal(uu)) * inverse
    inner = inner + anp.where(np.eye(k, dtype=bool), diagonal[..., None, :], 0.0)
    c = matmul(matmul(u, inner), _h(v))
    if _a.shape[-2] > k:
        beyond = matmul(u2, matmul(_h(u2), gu) - matmul(_h(gu2), u)) if full else gu - matmul(u, uu)
        c = c + matmul(beyond * inverse[..., None, :], _h(v))
    if _a.shape[-1] > k:
        beyond = matmul(v2, matmul(_h(v2), gv) - matmul(_h(gv2), v)) if full else gv - matmul(v, vv)
        c = c + matmul(u, _h(beyond * inverse[..., None, :]))
    return _conj(c)


def _svd_jvp(t, ans, a, full):
    shapes = _svd_shapes(a, full)
    k = shapes[1][0]
    u, s, vh = _unpacked(ans, shapes)
    s = _real(s)
    (u, u2), (v, v2) = _split(u, k), _split(_h(vh), k)
    gaps, inverse = _gaps(s * s), _inverse_or_zero(s)[..., None, :]
    m = matmul(_h(u), matmul(t, v))
    ms, sm = m * s[..., None, :], s[..., :, None] * m
    turn = gaps * (ms + _h(ms))
    if u.dtype.kind == "c":
        turn = turn + anp.where(np.eye(k, dtype=bool), 1j * anp.imag(m) * inverse, 0.0)
    du, dv = matmul(u, turn), matmul(v, gaps * (sm + _h(sm)))
    if a.shape[-2] > k:
        du = du + (matmul(t, v) - matmul(u, m)) * inverse
    if a.shape[-1] > k:
        dv = dv + (matmul(_h(t), u) - matmul(v, _h(m))) * inverse
    if u.dtype.kind == "c":
        tall = a.shape[-2] >= a.shape[-1]
        real, moved = (v, dv) if tall else (u, du)
        rate = 1j * _phase_rate(real, moved, _row(real.shape[-2], 0))
        du, dv = du - u * rate, dv - v * rate
    if full:
        # The vectors beyond turn with the others, and not among themselves.
        du = anp.concatenate([du, -matmul(u, matmul(_h(du), u2))], axis=-1)
        dv = anp.concatenate([dv, -matmul(v, matmul(_h(dv), v2))], axis=-1)
    return _packed((du, _real(_diagonal(m)) + 0.0 * _diagonal(m), _h(dv)), a.shape[:-2])


_svd = rule(_svd_plain, (_svd_vjp, None), (_svd_jvp, None), name="svd")
SVDResult = type(np.linalg.svd(np.eye(1)))


@composite(
    np.linalg.svd,
    examples=(
        lambda x: call(x(3, 3)),
        lambda x: call(x(4, 3), full_matrices=False),
        lambda x: call(x(2, 3, 4), full_matrices=False),
        lambda x: call(x(3, 4), compute_uv=False),
    ),
)
def svd(a, full_matrices=True, compute_uv=True, hermitian=False):
    """Singular values and vectors."""
    if hermitian:
        raise TypeError("svd: hermitian=True has no derivative here; use eigh, or leave it out")
    a = as_array(a)
    if not compute_uv:
        return svdvals(a)
    u, s, vh = _unpacked(_svd(a, bool(full_matrices)), _svd_shapes(a, full_matrices))
    return SVDResult(u, _real(s), vh)


def _svdvals_plain(a):
    return np.linalg.svd(a, compute_uv=False)


def _svdvals_vjp(g, _ans, a):
    u, _, vh = svd(a, full_matrices=False)
    return matmul(_conj(u) * g[..., None, :], _conj(vh))


def _svdvals_jvp(t, ans, a):
    u, _, vh = svd(a, full_matrices=False)
    return _real(anp.sum(_conj(u) * matmul(t, _h(vh)), axis=-2))


svdvals = rule(_svdvals_plain, (_svdvals_vjp,), (_svdvals_jvp,), name="svdvals")


@composite(np.linalg.svdvals, examples=(lambda x: call(x(3, 4)), lambda x: call(x(2, 3, 3))))
def _(x, /):
    return svdvals(as_array(x))


# --- QR -------------------------------------------------------------------------------------------


def _qr_shapes(a):
    m, n = a.shape[-2:]
    k = min(m, n)
    return (m, k), (k, n)


def _qr_plain(a):
    return _packed(np.linalg.qr(a), a.shape[:-2])


def _skew_of(x):
    """The skew-Hermitian matrix with the strictly lower triangle of `x`, and its imaginary diagonal."""
    n = x.shape[-1]
    low = anp.where(_lower(n, -1), x, 0.0)
    skew = low - _h(low)
    if x.dtype.kind == "c":
        skew = skew + anp.where(np.eye(n, dtype=bool), 1j * anp.imag(x), 0.0)
    return skew


def _over(x, r):
    """``x r^-1`` for upper triangular `r`."""
    return triangular(r, x.mT, trans=1).mT


def _qr_vjp(g, ans, _a):
    q, r = _unpacked(ans, _qr_shapes(_a))
    gq, gr = map(_conj, _unpacked(g, _qr_shapes(_a)))
    k = q.shape[-1]
    (r, r2), (gr, gr2) = _split(r, k), _split(gr, k)
    if r2.shape[-1]:
        gq = gq + matmul(q, matmul(r2, _h(gr2)))
    qq, rr = matmul(_h(q), gq), matmul(gr, _h(r))
    # The adjoint of `_skew_of` is `_skew_of` of the skew part.
    inner = rr + anp.where(_lower(k, -1), (qq - rr) - _h(qq - rr), 0.0)
    if q.dtype.kind == "c":
        inner = inner + anp.where(np.eye(k, dtype=bool), 1j * anp.imag(qq - rr), 0.0)
    c = matmul(q, inner - qq) + gq
    c = _h(triangular(r, _h(c)))
    if r2.shape[-1]:
        c = anp.concatenate([c, matmul(q, gr2)], axis=-1)
    return _conj(c)


def _qr_jvp(t, ans, a):
    q, r = _unpacked(ans, _qr_shapes(a))
    k = q.shape[-1]
    (r, r2), (t, t2) = _split(r, k), _split(t, k)
    step = _over(t, r)
    x = matmul(_h(q), step)
    turn = _skew_of(x)
    dq = matmul(q, turn) + step - matmul(q, x)
    dr = matmul(x - turn, r)
    if r2.shape[-1]:
        dr = anp.concatenate([dr, matmul(_h(dq), matmul(q, r2)) + matmul(_h(q), t2)], axis=-1)
    return _packed((dq, dr), a.shape[:-2])


_qr = rule(_qr_plain, (_qr_vjp,), (_qr_jvp,), name="qr")
QRResult = type(np.linalg.qr(np.eye(1)))


@composite(
    np.linalg.qr,
    examples=(
        lambda x: call(x(4, 3)),
        lambda x: call(x(3, 4)),
        lambda x: call(x(2, 3, 3)),
        lambda x: call(x(4, 3), mode="r"),
    ),
)
def qr(a, mode="reduced"):
    """An orthonormal and an upper triangular factor."""
    a = as_array(a)
    if mode not in ("reduced", "r") and not (mode == "complete" and a.shape[-2] <= a.shape[-1]):
        raise TypeError(f"qr: mode={mode!r} has no derivative for this shape; use mode='reduced'")
    q, r = _unpacked(_qr(a), _qr_shapes(a))
    return r if mode == "r" else QRResult(q, r)


# --- norms ----------------------------------------------------------------------------------------


def _expanded(g, x, axis, keepdims):
    """A reduced value with its axes of length one back."""
    if keepdims or axis is None:
        return g
    return anp.expand_dims(g, axis)


def _over_norm(x, ans):
    """``x / ans``, 0 where `ans` is 0 (and there to second order too)."""
    zero = ans == 0.0
    return x * (anp.where(zero, 0.0, 1.0) / anp.where(zero, 1.0, ans))


def _norm2_vjp(g, ans, x, axis=None, keepdims=False):
    return _conj(_over_norm(x, _expanded(ans, x, axis, keepdims))) * _expanded(g, x, axis, keepdims)


def _norm2_jvp(t, ans, x, axis=None, keepdims=False):
    total = anp.sum(_real(_conj(x) * t), axis=axis, keepdims=keepdims)
    return _over_norm(total, ans)


# The square root of the sum of squares; of all items, along an axis, or over two axes.
_norm2 = rule(
    lambda x, axis=None, keepdims=False: np.linalg.norm(x, axis=axis, keepdims=keepdims),
    (_norm2_vjp,),
    (_norm2_jvp,),
    name="norm",
)


@lowered(_norm2)
def _norm2_as_root(x, axis=None, keepdims=False):
    squares = _real(_conj(x) * x) if x.dtype.kind == "c" else x * x
    return anp.sqrt(anp.sum(squares, axis=axis, keepdims=keepdims)) if x.size else NotImplemented


def _normp_scale(x, ans, p):
    """The derivative by ``|x|``: ``(|x| / ans) ** (p - 1)``, 0 at 0."""
    ratio = _over_norm(anp.abs(x), ans)
    zero = ratio == 0.0
    return anp.where(zero, 0.0, anp.where(zero, 1.0, ratio) ** (p - 1))


def _phase(x):
    return anp.sign(x) if x.dtype.kind == "f" else _over_norm(x, anp.abs(x))


def _normp_vjp(g, ans, x, ord, axis, keepdims):
    slope = _normp_scale(x, _expanded(ans, x, axis, keepdims), ord) * _conj(_phase(x))
    return slope * _expanded(g, x, axis, keepdims)


def _normp_jvp(t, ans, x, ord, axis, keepdims):
    slope = _normp_scale(x, _expanded(ans, x, axis, keepdims), ord)
    return anp.sum(slope * _real(_conj(_phase(x)) * t), axis=axis, keepdims=keepdims)


_normp = rule(
    lambda x, ord, axis, keepdims: np.linalg.norm(x, ord, axis, keepdims),
    (_normp_vjp, None, None, None),
    (_normp_jvp, None, None, None),
    name="norm",
)


@lowered(_normp)
def _normp_as_sum(x, ord, axis, keepdims):
    if ord not in (1, np.inf, -np.inf) or not x.size:
        return NotImplemented
    reduce = {1: anp.sum, np.inf: anp.max, -np.inf: anp.min}[ord]
    return reduce(anp.abs(x), axis=axis, keepdims=keepdims)


_count_norm = Primitive(lambda x, axis, keepdims: np.linalg.norm(x, 0, axis, keepdims), "norm")
_count_norm.set_constant()


def _inexact(x):
    """As NumPy's norms take an array: integers and truth values, which recordings have, as floats."""
    return x if x.dtype.kind in "fc" else x.astype(float)


def _vector_norm(x, ord, axis, keepdims):
    x = _inexact(x)
    if isinstance(ord, str):
        raise ValueError(f"norm: ord={ord!r} is for matrices, not for vectors")
    if ord is None or ord == 2:
        return _norm2(x, axis=axis, keepdims=keepdims)
    if ord == np.inf:
        return anp.max(anp.abs(x), axis=axis, keepdims=keepdims, initial=0)
    if ord == -np.inf:
        return anp.min(anp.abs(x), axis=axis, keepdims=keepdims)
    if ord == 1:
        return anp.sum(anp.abs(x), axis=axis, keepdims=keepdims)
    if ord == 0:
        return _count_norm(x, axis, keepdims)
    return _normp(x, ord, axis, keepdims)


def _matrix_norm(x, ord, axis, keepdims):
    x = _inexact(x)
    row, column = (a % x.ndim for a in axis)
    if row == column:
        raise ValueError("norm: the two axes are the same")
    if ord in (None, "fro", "f"):
        return _norm2(x, axis=axis, keepdims=keepdims)
    if ord in (1, -1, np.inf, -np.inf):
        first, second = (row, column) if abs(ord) == 1 else (column, row)
        sums = anp.sum(anp.abs(x), axis=first)
        second -= second > first
        result = anp.max(sums, axis=second, initial=0) if ord > 0 else anp.min(sums, axis=second)
    elif ord in (2, -2, "nuc"):
        s = svdvals(anp.moveaxis(x, (row, column), (-2, -1)))
        result = (
            anp.sum(s, axis=-1) if ord == "nuc" else anp.max(s, axis=-1) if ord == 2 else anp.min(s, axis=-1)
        )
    else:
        raise ValueError(f"norm: ord={ord!r} is not a norm of matrices")
    return anp.expand_dims(result, (row, column)) if keepdims else result


@composite(
    np.linalg.norm,
    examples=(
        lambda x: call(x(4)),
        lambda x: call(x(3, 4)),
        lambda x: call(x(2, 3, 4)),
        lambda x: call(x(3, 4), axis=0),
        lambda x: call(x(3, 4), axis=-1, keepdims=True),
        lambda x: call(x(2, 3, 4), axis=(0, 2)),
        lambda x: call(x(4), 1),
        lambda x: call(x(3, 4), np.inf, 1),
        lambda x: call(x(3, 4), -np.inf, 1),
        lambda x: call(x(3, 4), ord=3, axis=0),
        lambda x: call(x(3, 4), ord=0.5, axis=1, keepdims=True),
        lambda x: call(x(3, 4), "fro"),
        lambda x: call(x(3, 4), "nuc"),
        lambda x: call(x(3, 4), 2),
        lambda x: call(x(3, 4), -2),
        lambda x: call(x(3, 4), 1),
        lambda x: call(x(2, 3, 4), -1, axis=(2, 1)),
        lambda x: call(x(2, 3, 4), np.inf, axis=(0, 1), keepdims=True),
        lambda x: call(x(3, 4), -np.inf),
    ),
)
def norm(x, ord=None, axis=None, keepdims=False):
    """Norms of vectors and matrices."""
    x = as_array(x)
    if axis is None:
        if ord is None or (ord in ("f", "fro") and x.ndim == 2) or (ord == 2 and x.ndim == 1):
            return _norm2(x, axis=None, keepdims=keepdims)
        axis = tuple(range(x.ndim))
    axis = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    if len(axis) == 1:
        return _vector_norm(x, ord, axis[0], keepdims)
    if len(axis) == 2:
        return _matrix_norm(x, ord, axis, keepdims)
    raise ValueError(f"norm: give one axis for vectors or two for matrices, not {len(axis)}")


@composite(
    np.linalg.matrix_norm,
    examples=(lambda x: call(x(2, 3, 4)), lambda x: call(x(3, 3), ord="nuc", keepdims=True)),
)
def _(x, /, *, keepdims=False, ord="fro"):
    return norm(x, ord, (-2, -1), keepdims)


@composite(
    np.linalg.vector_norm,
    examples=(
        lambda x: call(x(2, 3)),
        lambda x: call(x(2, 3, 4), axis=1, keepdims=True),
        lambda x: call(x(2, 3, 4), axis=(2, 0), ord=1),
        lambda x: call(x(2, 3), keepdims=True, ord=3),
    ),
)
def _(x, /, *, axis=None, keepdims=False, ord=2):
    x = as_array(x)
    if axis is not None and not isinstance(axis, tuple):
        return _vector_norm(x, ord, axis, keepdims)
    axes = tuple(range(x.ndim)) if axis is None else tuple(a % x.ndim for a in axis)
    rest = tuple(i for i in range(x.ndim) if i not in axes)
    flat = anp.transpose(x, axes + rest).reshape((-1, *(x.shape[i] for i in rest)))
    result = _vector_norm(flat, ord, 0, False)
    return anp.expand_dims(result, axes) if keepdims else result


@composite(
    np.linalg.cond,
    examples=(
        lambda x: call(x(3, 3)),
        lambda x: call(x(2, 4, 3), -2),
        lambda x: call(x(3, 3), 1),
        lambda x: call(x(3, 3), "fro"),
    ),
)
def _(x, p=None):
    x = as_array(x)
    if p is None or p in (2, -2):
        s = svdvals(x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return norm(x, p, (-2, -1)) * norm(inv(x), p, (-2, -1))


# --- made of these --------------------------------------------------------------------------------


@composite(
    np.linalg.matrix_power,
    examples=(
        lambda x: call(x(3, 3), 0),
        lambda x: call(x(3, 3), 1),
        lambda x: call(x(2, 3, 3), 3),
        lambda x: call(x(3, 3), 7),
        lambda x: call(x(3, 3) + 4 * np.eye(3), -2),
    ),
)
def matrix_power(a, n):
    """Repeated squaring, in the order in which NumPy multiplies."""
    a = as_array(a)
    if n == 0:
        return a * 0.0 + np.eye(a.shape[-1], dtype=a.dtype)
    if n < 0:
        a, n = inv(a), -n
    if n <= 3:
        return (lambda: +a, lambda: matmul(a, a), lambda: matmul(matmul(a, a), a))[n - 1]()
    result = None
    while n:
        if n & 1:
            result = a if result is None else matmul(result, a)
        n >>= 1
        if n:
            a = matmul(a, a)
    return result


@composite(
    np.linalg.tensorinv,
    examples=(
        lambda x: call(x(2, 3, 6) + np.eye(6).reshape(2, 3, 6) * 4),
        lambda x: call(x(4, 4) + 4 * np.eye(4), ind=1),
    ),
)
def _(a, ind=2):
    a = as_array(a)
    if ind <= 0:
        raise ValueError(f"tensorinv: ind must be positive, not {ind}")
    n = math.prod(a.shape[ind:])
    return inv(a.reshape((n, -1))).reshape(a.shape[ind:] + a.shape[:ind])


@composite(
    np.linalg.tensorsolve,
    examples=(
        lambda x: call(x(2, 3, 6) + np.eye(6).reshape(2, 3, 6) * 4, x(2, 3)),
        lambda x: call(x(2, 6, 3) + np.eye(6).reshape(2, 3, 6).swapaxes(1, 2) * 4, x(2, 3), axes=(1,)),
    ),
)
def _(a, b, axes=None):
    a, b = as_array(a), as_array(b)
    if axes is not None:
        order = list(range(a.ndim))
        for k in axes:
            order.remove(k)
            order.append(k)
        a = anp.transpose(a, order)
    shape = a.shape[-(a.ndim - b.ndim) :]
    n = math.prod(shape)
    return solve(a.reshape((n, n)), b.reshape(-1)).reshape(shape)


@composite(np.linalg.trace, examples=(lambda x: call(x(2, 3, 4)), lambda x: call(x(3, 4), offset=1)))
def _(x, /, *, offset=0, dtype=None):
    return anp.trace(x, offset=offset, axis1=-2, axis2=-1, dtype=dtype)


@composite(np.linalg.diagonal, examples=(lambda x: call(x(2, 3, 4)), lambda x: call(x(3, 4), offset=-1)))
def _(x, /, *, offset=0):
    return anp.diagonal(x, offset=offset, axis1=-2, axis2=-1)


@composite(np.linalg.matrix_transpose, examples=(lambda x: call(x(2, 3, 4)),))
def _(x, /):
    return as_array(x).mT


constant(np.linalg.matrix_rank)
refuse("write the solution as np.linalg.pinv(a) @ b, or solve the normal equations", np.linalg.lstsq)


# --- in a replay ----------------------------------------------------------------------------------
#
# The routine of the core that does a call of a primitive on real matrices, and its flags; None without.
# none. Where one fails, the primitive itself is called.

LOWER, TRANSPOSED, UNIT_DIAGONAL, CHECK_FINITE = 1, 2, 4, 8


def _triangular_routine(a, b, lower=False, trans=0, unit_diagonal=False):
    return "triangular", LOWER * bool(lower) | TRANSPOSED * bool(trans) | UNIT_DIAGONAL * bool(unit_diagonal)


def _scipy_triangular_routine(
    a, b, trans=0, lower=False, unit_diagonal=False, overwrite_b=False, check_finite=True
):
    if len(getattr(a, "meta", a).shape) != 2 or overwrite_b:
        return None
    name, flags = _triangular_routine(a, b, lower, _trans_number(trans), unit_diagonal)
    return name, flags | CHECK_FINITE * bool(check_finite)


hooks["routines"] = {
    cholesky: lambda a, *, upper=False: None if upper else ("cholesky", 0),
    _cholesky_adjoint: lambda factor, g: ("cholesky_adjoint", 0),
    triangular: _triangular_routine,
    solve_triangular: _scipy_triangular_routine,
    solve: lambda a, b: ("solve", 0),
    solve_transposed: lambda a, b: ("solve", TRANSPOSED),
    inv: lambda a: ("inv", 0),
    _inverse: lambda a: ("inverse", 0),
    det: lambda a: ("det", 0),
    _slogdet: lambda a: ("slogdet", 0),
}
