"""How a function gets its derivative: what the rules of this package use, and what users use for their own.

An elementwise function is one row: the function and its partial derivatives. From the row come the
reverse and forward rules, the path for scalars, the compiled loop over arrays, what has to be kept between
the two passes, and the rule for higher orders:

>>> import numpy
>>> import autograd_c.numpy as np
>>> from autograd_c import grad
>>> from autograd_c.extend import elementwise
>>> softplus = elementwise(lambda x: numpy.logaddexp(0.0, x), lambda ans, x: 1 / (1 + np.exp(-x)))
>>> float(grad(softplus)(0.0))
0.5

Any other function is a row of rules that take the cotangent (or tangent), the result and the arguments.
HIPS/autograd's `primitive`, `defvjp` and `defjvp` work as they do there.
"""

import functools
import inspect
import pickle
from types import BuiltinFunctionType, FunctionType
from weakref import WeakValueDictionary

import numpy as np

from ._core import Box, Composite, Meta, Primitive, hooks, registry
from .tree import name_of
from .vspace import VSpace, vspace

__all__ = [
    "Box",
    "Meta",
    "Primitive",
    "VSpace",
    "call",
    "chosen",
    "composite",
    "constant",
    "def_linear",
    "defjvp",
    "defjvp_argnum",
    "defjvp_argnums",
    "defvjp",
    "defvjp_argnum",
    "defvjp_argnums",
    "elementwise",
    "notrace_primitive",
    "primitive",
    "refuse",
    "rule",
    "vspace",
]


# Callables that find us by NumPy's protocols; and packages whose functions ours stand for.
DISPATCHED = (np.ufunc, type(np.sum))
FUNCTIONS = (FunctionType, BuiltinFunctionType)
SHARED_PACKAGES = ("numpy", "scipy", "autograd_c", "_operator")

# What stands for users' own functions: no call of such a function is looked up, so nothing needs these but
# whoever holds them, and pickles.
_own = WeakValueDictionary()


def primitive_of(fun, name=None):
    """The primitive that stands for `fun`, made if there is none, registered if calls of `fun` come here."""
    if isinstance(fun, Primitive):
        return fun
    found = handler_of(fun)
    if not isinstance(found, Primitive):
        found = Primitive(fun, name)
        if _is_shared(fun):
            registry[fun] = found
            found.keep()
        else:
            _own[fun] = found
    return found


def handler_of(fun):
    """The primitive or composite that stands for `fun`, or None."""
    found = registry.get(fun)
    return _own.get(fun) if found is None else found


def existing(fun):
    """The same for pickles, where there must be one."""
    # By a function: the registry's own method would pickle the whole registry.
    found = handler_of(fun)
    if found is None:
        raise pickle.UnpicklingError(f"no primitive has been made of {fun!r} here")
    return found


def _is_shared(fun):
    """Whether NumPy's dispatch, or a namespace of this package, looks for what stands for a function."""
    if isinstance(fun, DISPATCHED) or isinstance(getattr(fun, "__self__", None), np.ufunc):
        return True
    # A class's instances, such as np.vectorize(f), have its module, but are their owner's.
    module = getattr(fun, "__module__", None) if isinstance(fun, FUNCTIONS) else None
    return (module or "").partition(".")[0] in SHARED_PACKAGES


# --- rows ---------------------------------------------------------------------------------------


def elementwise(fun, *partials, complex_partials=None, types=None, name=None, domain=None):
    """Makes an elementwise function differentiable from its partial derivatives.

    Parameters
    ----------
    fun : callable
        A ufunc, or a function of arrays that works element by element. A ufunc, and NumPy's and SciPy's
        functions, are registered for good: calls of them on a traced value come here. What stands for a
        function of your own is freed with the last reference to it.
    *partials : callable, number or None
        One for each argument: ``partial(ans, *args)`` built from functions of `autograd_c.numpy`, which is
        recorded once, so it may not branch on its arguments (use ``np.where``); a number where the partial is
        constant; None where there is no derivative. Only the arguments (and the result) that a partial reads
        are kept between the forward and the reverse pass.
    complex_partials : sequence, optional
        To be used instead where an argument is complex. For a real result the partial ``p`` must satisfy
        ``d ans = Re(p dx)``.
    types : str, optional
        One character an argument, "?" for an argument that is boolean, a blank for any other.
    name : str, optional
        What errors call it; `fun.__name__` by default.
    domain : tuple of float, or sequence of tuple, optional
        Interval (one, or one an argument) from which tests and benchmarks draw arguments; (-2, 2) by default.

    Returns
    -------
    Primitive
        Differentiable to any order in both modes. Without a traced argument it just calls `fun`.

    Examples
    --------
    >>> import numpy
    >>> import autograd_c.numpy as np
    >>> from autograd_c import elementwise_grad
    >>> cube = elementwise(lambda x: x * x * x, lambda ans, x: 3 * x * x, name="cube")
    >>> elementwise_grad(cube)(numpy.array([1.0, 2.0]))
    array([ 3., 12.])
    """
    p = primitive_of(fun, name)
    p.set_elementwise(len(partials), partials, complex_partials, types)
    domain = (-2.0, 2.0) if domain is None else domain
    p.domain = tuple(domain) if isinstance(domain[0], tuple) else (domain,) * len(partials)
    return p


class Choice:
    """What `chosen` returns: the partial, or the cotangent times the partial, as functions of arrays."""

    def __init__(self, condition, x, y):
        self.condition = condition
        self.x = x
        self.y = y

    def value(self):
        return registry[np.where](self.condition, value_of_partial(self.x), value_of_partial(self.y))

    def times(self, g):
        x, y = (times_number(g, v) if type(v) in (int, float) else times(g, v) for v in (self.x, self.y))
        return registry[np.where](self.condition, x, y)


def chosen(condition, x, y):
    """In a partial, `x` where the condition holds and `y` elsewhere, one of which is usually 0.

    The value is that of ``np.where(condition, x, y)``. But the cotangent (or tangent) is chosen and not
    multiplied: where the partial is a 0 that was written down, an infinite or undefined cotangent adds
    nothing, while by ``np.where`` infinity times 0 would be NaN.

    Parameters
    ----------
    condition : array of bool
    x, y : number, array, or another choice

    Examples
    --------
    >>> import numpy
    >>> import autograd_c.numpy as np
    >>> from autograd_c import grad
    >>> relu = elementwise(lambda x: numpy.maximum(x, 0.0), lambda ans, x: chosen(x > 0.0, 1.0, 0.0))
    >>> with numpy.errstate(divide="ignore"):  # the square root's partial is infinite at 0
    ...     grad(lambda x: np.sum(np.sqrt(relu(x))))(numpy.array([-1.0, 4.0]))
    array([0.  , 0.25])
    """
    return Choice(condition, x, y)


def times(g, partial):
    """A cotangent times what a partial returned."""
    return partial.times(g) if isinstance(partial, Choice) else g * partial


def times_number(g, number):
    """A cotangent times a number that the row has in the place of a partial, or a choice of one."""
    if number == 0:
        return 0.0
    return g if number == 1 else -g if number == -1 else g * number


def value_of_partial(partial):
    """What a partial returned, as an array or number."""
    return partial.value() if isinstance(partial, Choice) else partial


def call(*args, **kwargs):
    """The arguments of one example call, see `rule`."""
    return args, kwargs


def rule(fun, vjp, jvp, name=None, examples=()):
    """Makes a function differentiable from rules for whole arrays.

    Parameters
    ----------
    fun : callable
        Called with plain arguments. A NumPy function is registered, so that calls of it on a box come here.
    vjp : tuple of callable or None, or callable
        One for each positional argument: ``vjp(g, ans, *args, **kwargs)`` returns that argument's cotangent.
        It need not care about broadcasting or dtype: what it returns is summed to the argument's shape, or
        broadcast to it, made real where the argument is, and cast. A single callable serves all arguments and
        takes the argument's number first: ``vjp(argnum, g, ans, *args, **kwargs)``. A parameter whose name
        starts with an underscore is not kept between the passes: the rule receives its `Meta`, which has
        ``shape``, ``dtype``, ``ndim`` and ``size`` only.
    jvp : tuple of callable, "same" or None; or callable, or "same"
        ``jvp(t, ans, *args, **kwargs)`` for each argument, or one that takes the number first. "same" stands
        for a function that is linear in the argument: its tangent is the function of the tangent.
    examples : sequence of callable
        Calls from which tests and benchmarks are made: ``lambda x: call(x(3, 4), axis=0)``, where
        ``x(*shape)`` is an array of random numbers of the dtype being tested.

    Returns
    -------
    Primitive
    """
    for_all = callable(vjp)
    vjps = (vjp,) if for_all else tuple(vjp)
    jvps = (jvp,) * (1 if for_all else len(vjps)) if callable(jvp) or jvp == "same" else tuple(jvp)
    for k, (v, j) in enumerate(zip(vjps, jvps, strict=True)):
        if (v is None) != (j is None):
            raise ValueError(f"{name or name_of(fun)}: argument {k} has a rule for one mode only")
    p = primitive_of(fun, name)
    p.set_rules(vjps, jvps, for_all, [_needs(v, for_all) for v in vjps])
    p.examples = tuple(examples)
    return p


def _needs(vjp, for_all):
    """What a vjp rule reads, as bits: bit 0 the result, bit k + 1 argument k, all bits for `*args`."""
    if vjp is None:
        return 0
    code = vjp.__code__
    names = code.co_varnames[2 if for_all else 1 : code.co_argcount]
    bits = sum(1 << i for i, name in enumerate(names) if not name.startswith("_"))
    if code.co_flags & inspect.CO_VARARGS:
        rest = code.co_varnames[code.co_argcount + code.co_kwonlyargcount]
        if not rest.startswith("_"):
            bits |= (2**64 - 1) >> len(names) << len(names)
    return bits


def constant(*funs):
    """Declares functions piecewise constant: their result carries no derivative."""
    for fun in funs:
        primitive_of(fun).set_constant()


def refuse(advice, *funs):
    """Declares that functions take no traced value; `advice` says what to use instead."""
    for fun in funs:
        primitive_of(fun).set_refused(advice)


hooks["reduce_composite"] = lambda c: (existing, (c.fun,))


def composite(*funs, examples=(), in_place=False, joins=False):
    """Registers the decorated function, written in terms of primitives, for calls of `funs` on traced values.

    Calls without one go to NumPy's own function. For `examples` see `rule`. `in_place` says that the function
    writes into its first argument and returns nothing, `joins` that its first argument may be any iterable.
    """

    def register(python):
        for fun in funs:
            made = Composite(fun, python, examples, joins)
            made.in_place = in_place
            (registry if _is_shared(fun) else _own)[fun] = made
        return made

    return register


# --- HIPS/autograd's way ------------------------------------------------------------------------


def primitive(fun):
    """A primitive of a Python function that is not to be traced; `defvjp` and `defjvp` give it derivatives.

    Examples
    --------
    >>> import numpy
    >>> from autograd_c import grad
    >>> @primitive
    ... def logsumexp(x):
    ...     top = numpy.max(x)
    ...     return top + numpy.log(numpy.sum(numpy.exp(x - top)))
    >>> defvjp(logsumexp, lambda ans, x: lambda g: g * numpy.exp(x - ans))
    >>> grad(logsumexp)(numpy.zeros(4))
    array([0.25, 0.25, 0.25, 0.25])
    """
    return Primitive(fun)


def notrace_primitive(fun):
    """A function that sees plain values only, and whose result carries no derivative."""
    p = Primitive(fun)
    p.set_constant()
    return p


def defvjp(fun, *makers, argnums=None):
    """Gives a primitive its vjp makers: ``maker(ans, *args, **kwargs)`` returns ``vjp(g)``.

    Parameters
    ----------
    fun : Primitive
    *makers : callable or None
        For the arguments in order, or for those that `argnums` names. None says that the cotangent is zero.
    argnums : sequence of int, optional
    """
    _require_primitive(fun, "defvjp")
    for argnum, maker in zip(argnums if argnums is not None else range(len(makers)), makers, strict=False):
        fun.set_maker(argnum, maker if maker is not None else _zero_maker)


def _zero_maker(ans, *args, **kwargs):
    return lambda g: np.float64(0.0)


def defvjp_argnum(fun, maker):
    """One vjp maker for all arguments: ``maker(argnum, ans, args, kwargs)`` returns ``vjp(g)``."""
    _require_primitive(fun, "defvjp_argnum")

    def makers(argnums, ans, args, kwargs):
        vjps = [maker(argnum, ans, args, kwargs) for argnum in argnums]
        return lambda g: tuple(vjp(g) for vjp in vjps)

    fun.set_maker(None, makers)


def defvjp_argnums(fun, maker):
    """One vjp maker for all traced arguments at once.

    ``maker(argnums, ans, args, kwargs)`` returns ``vjp(g)``, whose result is a tuple.
    """
    _require_primitive(fun, "defvjp_argnums")
    fun.set_maker(None, maker)


def defjvp(fun, *jvps, argnums=None):
    """Gives a primitive its forward rules: ``jvp(g, ans, *args, **kwargs)``, or "same" if it is linear."""
    _require_primitive(fun, "defjvp")
    for argnum, jvp in zip(argnums if argnums is not None else range(len(jvps)), jvps, strict=False):
        fun.set_jvp(argnum, jvp if jvp is not None else _zero_jvp)


def _zero_jvp(g, ans, *args, **kwargs):
    return np.float64(0.0)


def defjvp_argnum(fun, jvp):
    """One forward rule for all arguments: ``jvp(argnum, g, ans, args, kwargs)``."""
    _require_primitive(fun, "defjvp_argnum")

    def total(argnums, gs, ans, args, kwargs):
        parts = [jvp(argnum, g, ans, args, kwargs) for argnum, g in zip(argnums, gs, strict=True)]
        return functools.reduce(lambda a, b: a + b, parts)

    fun.set_jvp(None, total)


def defjvp_argnums(fun, jvp):
    """One forward rule for all traced arguments at once: ``jvp(argnums, gs, ans, args, kwargs)``."""
    _require_primitive(fun, "defjvp_argnums")
    fun.set_jvp(None, jvp)


def def_linear(fun):
    """Declares a primitive linear in each of its arguments: its forward rules follow."""
    _require_primitive(fun, "def_linear")

    def jvp(argnum, g, ans, args, kwargs):
        return fun(*args[:argnum], g, *args[argnum + 1 :], **kwargs)

    defjvp_argnum(fun, jvp)


def _require_primitive(fun, name):
    if not isinstance(fun, Primitive):
        raise TypeError(f"{name} takes a function made by @primitive, not {fun!r}")
