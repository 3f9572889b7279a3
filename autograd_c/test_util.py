"""Checks of derivatives against finite differences, for tests of your own functions.

`check_grads` compares what forward and reverse mode compute with central differences of
the function's values along a random direction. For derivatives of higher order it checks
the derivatives' own functions in the same way.

The numerical derivative is the five-point stencil without its middle (Abramowitz and
Stegun, 25.3.6), whose error falls with the fourth power of the step::

    f'(0) = (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12 h

With the machine precision ``eps`` of the coarsest dtype that takes part, the step is
``h = eps ** (1/4)``, so that truncation is of the order of ``eps`` and the rounding of
the values is magnified to ``eps ** (3/4)``. The tolerance is ``eps ** (1/2)`` relative to
the derivative (or to one, where it is smaller), plus 20 times that rounding. For float64
these are 1.5e-8 and 4e-11; for float32, 3.5e-4 and 1.3e-4. Keep the point some steps
(1.2e-4 for float64, 0.02 for float32) away from kinks and from the edge of the domain.
"""

import itertools

import numpy as np

from .operators import Derived, make_jvp, make_vjp
from .tree import argument_leaf, describe, flatten, gather, name_of, result_leaf, unflatten

__all__ = ["check_equivalent", "check_grads", "check_jvp", "check_vjp", "combo_check"]

MODES = ("fwd", "rev")


def check_grads(fun, argnum=0, modes=MODES, order=2, *, rtol=None, atol=None, seed=0):
    """Return a function that checks the derivatives of a function at a point.

    Parameters
    ----------
    fun : callable
        Its arguments and result may be numbers, arrays or containers, real or complex.
    argnum : int or sequence of int, optional
        Which positional argument to differentiate.
    modes : sequence of {"fwd", "rev"}, optional
        Forward mode, reverse mode or both; for higher orders, every nesting of them.
    order : int, optional
        The highest order of the derivatives to check.
    rtol, atol : float, optional
        The tolerances, relative to the largest element of the derivative and absolute.
        When left out they follow from the dtypes, see the head of this module.
    seed : int, optional
        Seeds the random directions.

    Returns
    -------
    callable
        It takes the arguments of `fun`, returns None, and raises AssertionError when a
        derivative differs from the numerical one, or has another structure, shape or dtype
        than it should.

    Raises
    ------
    ValueError
        For an unknown mode, or an order below one.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c.test_util import check_grads
    >>> check_grads(np.sin)(0.5)
    >>> check_grads(lambda p: p["a"] * np.exp(p["b"]), modes=["rev"], order=3)({"a": 2.0, "b": 0.5})
    """
    unknown = set(modes) - set(MODES)
    if unknown or not modes:
        raise ValueError(f"check_grads: modes must be taken from {MODES}, got {modes!r}")
    if order < 1:
        raise ValueError(f"check_grads: order must be at least 1, got {order}")
    return Derived(_check_grads, "check_grads", fun, argnum, ((tuple(modes), order, rtol, atol, seed),))


def _check_grads(title, fun, x, settings):
    modes, order, rtol, atol, seed = settings
    check = _Check(title, rtol, atol, np.random.default_rng(seed))
    for mode in modes:
        CHECKS[mode](check, fun, x)
        if order > 1:
            derivative, point = DERIVATIVES[mode](fun, x, check.rng)
            inner = (modes, order - 1, rtol, atol, int(check.rng.integers(2**32)))
            _check_grads(f"{mode} derivative in {title}", derivative, point, inner)


def check_jvp(fun, x, rtol=None, atol=None, seed=0):
    """Check forward mode, to first order, for a function of one argument.

    Raises
    ------
    AssertionError
        When the derivative differs from the numerical one.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c.test_util import check_jvp
    >>> check_jvp(np.tanh, np.array([0.1, 0.2]))
    """
    _check_jvp(_Check(f"check_jvp of {name_of(fun)}", rtol, atol, np.random.default_rng(seed)), fun, x)


def check_vjp(fun, x, rtol=None, atol=None, seed=0):
    """Check reverse mode, to first order, for a function of one argument.

    Raises
    ------
    AssertionError
        When the derivative differs from the numerical one.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c.test_util import check_vjp
    >>> check_vjp(np.tanh, np.array([0.1, 0.2]))
    """
    _check_vjp(_Check(f"check_vjp of {name_of(fun)}", rtol, atol, np.random.default_rng(seed)), fun, x)


def check_equivalent(x, y, rtol=None, atol=None):
    """Check that two values have the same structure, shapes and dtypes and are close.

    Raises
    ------
    AssertionError
        When they differ; it names the place and the largest difference.

    Examples
    --------
    >>> from autograd_c.test_util import check_equivalent
    >>> check_equivalent({"a": 1.0}, {"a": 1.0 + 1e-12})
    """
    check = _Check("check_equivalent", rtol, atol, None)
    check.same_space("the second value", y, x)
    check.close(y, x, _epsilon(x, y), 0.0)


def combo_check(fun, *args, **kwargs):
    """Return a function that runs `check_grads` on every combination of arguments.

    Parameters
    ----------
    fun : callable
    *args, **kwargs
        Further arguments of `check_grads`.

    Returns
    -------
    callable
        It takes, in the place of each argument of `fun`, a list of values to try.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c.test_util import combo_check
    >>> combo_check(np.sum, modes=["rev"], order=1)([np.ones((2, 3)), np.ones((3, 1))], axis=[0, 1, None])
    """
    check = check_grads(fun, *args, **kwargs)

    def check_all(*choices, **named_choices):
        for values in itertools.product(*choices, *named_choices.values()):
            positional, named = values[: len(choices)], values[len(choices) :]
            check(*positional, **dict(zip(named_choices, named, strict=True)))

    return check_all


# ---------------------------------------------------------------- one check


class _Check:
    """Tolerances, random directions and the title of error messages."""

    def __init__(self, title, rtol, atol, rng):
        self.title = title
        self.rtol = rtol
        self.atol = atol
        self.rng = rng

    def same_space(self, what, value, like):
        """Both have the same structure, and each leaf the same shape and dtype."""
        expected, structure = flatten(like, result_leaf)
        try:
            got = gather(structure, value)
        except ValueError as error:
            raise AssertionError(f"{self.title}: {what} has the wrong structure: {error}") from None
        for leaf, model in zip(got, expected, strict=True):
            if np.shape(leaf) != np.shape(model) or _derivative_dtype(leaf) != _derivative_dtype(model):
                raise AssertionError(
                    f"{self.title}: {what} should be {_space(model)}, but it is {_space(leaf)}"
                )

    def close(self, got, expected, eps, noise):
        """Each leaf is within the tolerance; `noise` is the rounding error of the numerical side."""
        expected, structure = flatten(expected, result_leaf)
        for leaf, model in zip(gather(structure, got), expected, strict=True):
            scale = max(1.0, _largest(model))
            bound = noise + (np.sqrt(eps) if self.rtol is None else self.rtol) * scale
            bound = bound if self.atol is None else max(bound, self.atol)
            error = _largest(np.asarray(leaf) - np.asarray(model))
            if not error <= bound:
                raise AssertionError(
                    f"{self.title}: the derivative is off by {error:.3g}, allowed is {bound:.3g}\n"
                    f"expected: {model}\ngot:      {leaf}"
                )


def _check_jvp(check, fun, x):
    tangent = _random_like(x, check.rng, argument_leaf)
    value, got = make_jvp(fun)(x)(tangent)
    check.same_space("the tangent", got, _derivative_of(value, result_leaf))
    expected, eps, noise = _numerical_jvp(fun, x, tangent)
    check.close(got, expected, eps, noise)


def _check_vjp(check, fun, x):
    tangent = _random_like(x, check.rng, argument_leaf)
    pullback, value = make_vjp(fun)(x)
    cotangent = _random_like(value, check.rng, result_leaf)
    pulled = pullback(cotangent)
    check.same_space("the gradient", pulled, _derivative_of(x, argument_leaf))
    expected, eps, noise = _numerical_jvp(fun, x, tangent)
    terms = _pairing(cotangent, expected)
    # Both sides are sums; the rounding of a sum is that of its terms, however small it is itself.
    size = sum((np.abs(term).sum() for term in terms), 1.0)
    weight = sum((np.abs(leaf).sum() for leaf in _numbers(cotangent)), 0.0)
    got, wanted = _total(_pairing(pulled, tangent)), _total(terms)
    check.close(got / size, wanted / size, eps, noise * weight / size)


CHECKS = {"fwd": _check_jvp, "rev": _check_vjp}


def _fwd_derivative(fun, x, rng):
    return (lambda point: make_jvp(fun)(point[0])(point[1])[1]), (x, _random_like(x, rng, argument_leaf))


def _rev_derivative(fun, x, rng):
    cotangent = _random_like(fun(x), rng, result_leaf)
    return (lambda point: make_vjp(fun)(point[0])[0](point[1])), (x, cotangent)


DERIVATIVES = {"fwd": _fwd_derivative, "rev": _rev_derivative}


# ---------------------------------------------------------------- numbers


def _numerical_jvp(fun, x, tangent):
    """Return the derivative along a tangent, the machine precision and the rounding error."""
    value = fun(x)
    eps = _epsilon(x, value)
    step = eps**0.25
    _, structure = flatten(value, result_leaf)
    far, near = (
        [
            _difference(a, b)
            for a, b in zip(_values(fun, x, tangent, h), _values(fun, x, tangent, -h), strict=True)
        ]
        for h in (2 * step, step)
    )
    leaves = [(8 * n - f) / (12 * step) for n, f in zip(near, far, strict=True)]
    size = max([_largest(leaf) for leaf in _numbers(value)], default=0.0)
    return unflatten(structure, leaves), eps, 20 * eps**0.75 * size


def _values(fun, x, tangent, step):
    leaves, structure = flatten(x, argument_leaf)
    moved = [
        _moved(leaf, step, direction)
        for leaf, direction in zip(leaves, gather(structure, tangent), strict=True)
    ]
    return flatten(fun(unflatten(structure, moved)), result_leaf)[0]


def _moved(leaf, step, direction):
    """A leaf some steps away: of the same type, or an array where it is one."""
    if isinstance(leaf, (float, complex)) and not isinstance(leaf, np.generic):
        return type(leaf)(leaf + step * direction)
    moved = (leaf + step * direction).astype(leaf.dtype)
    return np.asarray(moved) if isinstance(leaf, np.ndarray) else moved


def _difference(a, b):
    return np.asarray(a).astype(_wide(a)) - np.asarray(b).astype(_wide(b))


def _wide(leaf):
    """The differences themselves are formed in at least double precision."""
    return np.result_type(_derivative_dtype(leaf), np.float64)


def _random_like(tree, rng, is_leaf):
    """A random vector of the space of derivatives of an argument or a result."""
    leaves, structure = flatten(tree, is_leaf)
    return unflatten(structure, [_random_leaf(leaf, rng) for leaf in leaves], constants=False)


def _random_leaf(leaf, rng):
    shape, dtype = np.shape(leaf), _derivative_dtype(leaf)
    draw = rng.standard_normal(shape)
    if dtype.kind == "c":
        draw = draw + 1j * rng.standard_normal(shape)
    draw = np.asarray(draw).astype(dtype)
    return draw if isinstance(leaf, np.ndarray) else draw[()]


def _pairing(cotangent, tangent):
    """The terms of the product of a cotangent and a tangent, leaf by leaf."""
    return [
        np.real(np.asarray(c) * np.asarray(t))
        for c, t in zip(_numbers(cotangent), _numbers(tangent), strict=True)
    ]


def _numbers(tree):
    return [np.asarray(leaf) for leaf in flatten(tree, result_leaf)[0]]


def _total(terms):
    return float(sum((term.sum() for term in terms), 0.0))


def _largest(leaf):
    return float(np.max(np.abs(leaf), initial=0.0))


def _epsilon(*trees):
    """The machine precision of the coarsest dtype among all leaves, and at least float64's."""
    eps = [np.finfo(_derivative_dtype(leaf)).eps for tree in trees for leaf in flatten(tree, result_leaf)[0]]
    return float(max(eps, default=0.0)) or float(np.finfo(float).eps)


def _derivative_dtype(leaf):
    """The dtype of the derivatives of a value; float64 where it is an integer or a bool."""
    dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
    return dtype if dtype.kind in "fc" else np.dtype(float)


def _derivative_of(tree, is_leaf):
    """The structure of a derivative: that of the value, with None for what has none."""
    leaves, structure = flatten(tree, is_leaf)
    return unflatten(structure, leaves, constants=False)


def _space(leaf):
    return describe(leaf if hasattr(leaf, "dtype") and np.ndim(leaf) else np.asarray(leaf))
