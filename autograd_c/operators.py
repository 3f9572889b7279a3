"""The differential operators: from a function to its derivatives.

Most operators take a function and return another of the same arguments. The returned
object (`Derived`) remembers the function, which of the arguments to differentiate and
the *rule* of the operator. A rule is a plain function ``rule(title, fun, x)`` of a
function of one argument and the point ``x``, which may be any container. All rules come
down to two calls of the compiled core: `trace_reverse`, which gives the value and a
pullback, and `trace_forward`, which gives the value and its tangent.

``title`` names the operator and the function in error messages.
"""

import functools
import inspect
import operator
import types
import warnings

import numpy as np

from . import numpy as anp
from ._core import Compiled, grad_hot, hooks, is_box, trace_forward, trace_reverse
from .extend import defjvp_argnums, defvjp_argnums, notrace_primitive, primitive
from .prepared import Prepared, Unprepared
from .replay import Accumulated, Parts, Rows
from .tree import (
    Misfit,
    UntraceableLeaf,
    describe,
    flatten,
    gather,
    locate,
    map_leaves,
    name_of,
    result_leaf,
    unflatten,
)

__all__ = [
    "checkpoint",
    "deriv",
    "elementwise_grad",
    "grad",
    "grad_and_aux",
    "grad_named",
    "hessian",
    "hessian_tensor_product",
    "hessian_vector_product",
    "holomorphic_grad",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jvp",
    "make_ggnvp",
    "make_hvp",
    "make_jvp",
    "make_jvp_reversemode",
    "make_vjp",
    "multigrad_dict",
    "stop_gradient",
    "tensor_jacobian_product",
    "value_and_grad",
    "vector_jacobian_product",
    "vjp",
]


# ---------------------------------------------------------------- functions made by operators


class _Wrapper:
    """A callable made of a function: it has its name and documentation, pickles when the
    function does, and binds as a method when it stands in a class.

    Made of a compiled function it is compiled itself: compiling and differentiating commute. Operators of one
    compiled function with the same options give one object, which is replayed wherever it was made.
    """

    def __new__(cls, *args, **kwargs):
        for place, arg in enumerate(args):
            if type(arg) is Compiled:
                return cls._of_compiled(args[:place], arg, args[place + 1 :], kwargs)
        return super().__new__(cls)

    @classmethod
    def _of_compiled(cls, before, fun, after, kwargs):
        options = (cls, before, after, tuple(kwargs.items()))
        made_of = fun.made_of
        return _made_once(fun, options, lambda: cls(*before, fun.fun, *after, **kwargs).compiled(made_of))

    def __init__(self, made_by, fun, name, doc):
        if not callable(fun):
            raise TypeError(f"{made_by} needs a function, got {describe(fun)}")
        self.__wrapped__ = fun
        self.__name__ = name
        self.__qualname__ = name
        self.__module__ = getattr(fun, "__module__", None)
        self.__doc__ = doc

    def compiled(self, made_of):
        """Compile it: `made_of` compiles functions with the options that were asked for."""
        return made_of(self)

    def __get__(self, instance, owner=None):
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self):
        return f"<{self.__name__}>"


class Derived(_Wrapper):
    """What an operator makes of a function; call it with the function's arguments."""

    __class_getitem__ = classmethod(types.GenericAlias)  # for annotations: the stubs declare a generic type

    def __init__(self, rule, name, fun, argnum=0, options=()):
        self._rule = rule
        self._argnum = _check_argnum(name, argnum)
        self._options = options
        self._title = f"{name} of {name_of(fun)} with respect to argument {self._argnum}"
        about = getattr(fun, "__doc__", None) or ""
        text = f"The {self._title}; it takes the arguments of {name_of(fun)}.\n\n{about}"
        super().__init__(name, fun, f"{name}_of_{name_of(fun)}_wrt_argnum_{self._argnum}", text)

    def __call__(self, *args, **kwargs):
        return self._rule(self._title, *self._bind(args, kwargs), *self._options)

    def _bind(self, args, kwargs):
        """Return the function as a function of the chosen arguments alone, and those."""
        fun, at = self.__wrapped__, self._positions(args)
        if isinstance(at, int):
            before, after = args[:at], args[at + 1 :]
            return lambda x: fun(*before, x, *after, **kwargs), args[at]

        def fun_of_tuple(chosen):
            full = list(args)
            for position, value in zip(at, chosen, strict=True):
                full[position] = value
            return fun(*full, **kwargs)

        return fun_of_tuple, tuple(args[position] for position in at)

    def _positions(self, args):
        """Where the chosen arguments are: `argnum` counted from the front, and checked."""
        if isinstance(self._argnum, int):
            return self._position(self._argnum, args)
        positions = tuple(self._position(argnum, args) for argnum in self._argnum)
        _require_distinct(self._title, positions)
        return positions

    def _position(self, argnum, args):
        if -len(args) <= argnum < len(args):
            return argnum % len(args)
        raise TypeError(
            f"{self._title}: there is no argument {argnum}, since {name_of(self.__wrapped__)} was called "
            f"with {len(args)} positional argument{'' if len(args) == 1 else 's'}; pass it by position"
        )


class _Gradient(Derived):
    """`grad` and `value_and_grad`, which the compiled core does as a whole."""

    def __init__(self, name, fun, argnum, want_value):
        super().__init__(_grad, name, fun, argnum)
        self._want_value = want_value

    def __call__(self, *args, **kwargs):
        try:
            result = grad_hot(self.__wrapped__, args, kwargs, self._argnum, self._want_value)
            if result is NotImplemented:
                return grad_hot(self.__wrapped__, args, kwargs, self._positions(args), self._want_value)
            return result
        except UntraceableLeaf as error:
            raise _untraceable(self._title, self._bind(args, kwargs)[1], error) from None
        except _NoGradient as error:
            raise TypeError(f"{self._title}: {error}") from None


class _WithTensor(Derived):
    """An operator whose functions take one more positional argument, the last: a tensor."""

    def __call__(self, *args, **kwargs):
        if not args:
            raise TypeError(f"{self._title}: the last positional argument must be the tensor")
        return self._rule(self._title, *self._bind(args[:-1], kwargs), args[-1])


class _Matrix(Derived):
    """An operator whose functions return a matrix of derivatives: `by` says by which products it is made."""

    def __init__(self, rule, name, fun, argnum, by):
        super().__init__(rule, name, fun, argnum)
        self._by = by

    def compiled(self, made_of):
        return _MatrixCompiled(self, made_of)


class _MatrixCompiled(Parts, _Wrapper):
    """The same of a compiled function: accumulated, or by seeds where that is declined."""

    def __init__(self, derived, made_of):
        super().__init__(derived.__name__, derived, derived.__name__, derived.__doc__)
        self._made_of = made_of
        fun, argnum, by = derived.__wrapped__, derived._argnum, derived._by
        self._accumulated = made_of(
            Accumulated(
                grad(fun, argnum) if by == "hessian" else fun,
                argnum,
                fun,
                lambda *args, **kwargs: self.by_seeds(*args, **kwargs),
                "Dense",
                min if by == "rows" else lambda m, n: n,
            )
        )

    def __call__(self, *args, **kwargs):
        return self._accumulated(*args, **kwargs)

    @functools.cached_property
    def by_seeds(self):
        """The other way, made when it is needed."""
        return _BySeeds(self.__wrapped__, self._made_of)

    @property
    def parts(self):
        """The compiled functions that do the work."""
        return self._accumulated, *(self.by_seeds.parts if "by_seeds" in self.__dict__ else ())

    def clear(self):
        """Forget all programs; the next calls record again."""
        super().clear()
        self.__dict__.pop("by_seeds", None)


class _BySeeds:
    """A matrix of derivatives as one replay of products with the units of a space.

    A few rows or columns are recorded as a whole, so that what they share is computed once and the zeros of
    their seeds are known. Many are one program, run for each seed. That takes a real array and a real result;
    anything else is recorded as a whole.
    """

    # Up to so many seeds are recorded as a whole.
    FEW = 128

    def __init__(self, derived, made_of):
        fun, argnum = derived.__wrapped__, derived._argnum
        self._by = derived._by
        self._argnum = argnum
        self._fun = fun
        self._whole = made_of(derived)
        self._whole_forward = made_of(_Matrix(_jacfwd, "jacfwd", fun, argnum, "columns"))
        self._pull = made_of(Rows(cotangent_of(fun, argnum), fun))
        self._push = made_of(Rows(tangent_of(fun, argnum), fun))
        self._push_gradient = made_of(Rows(tangent_of(grad(fun, argnum), argnum), fun))
        self.parts = self._whole, self._whole_forward, self._pull, self._push, self._push_gradient
        self._metas = {}
        self._units = {}

    def __call__(self, *args, **kwargs):
        out = None if kwargs else self._result_meta(args)
        if out is None:
            return self._whole(*args, **kwargs)
        x, shape = args[self._argnum], out.shape
        if (
            self._by == "rows"
            and min(x.size, out.size) <= self.FEW
            or self._by != "rows"
            and x.size <= self.FEW
        ):
            forward = self._by == "rows" and x.size < out.size
            return (self._whole_forward if forward else self._whole)(*args)
        try:
            if self._by == "hessian":
                return self._push_gradient(*args, self._seeds(x)).reshape(x.shape * 2)
            if self._by == "columns" or x.size < out.size:
                rows = self._push(*args, self._seeds(x)).reshape(x.size, -1)
                return np.ascontiguousarray(rows.T).reshape(shape + x.shape)
            return self._pull(*args, self._seeds(out)).reshape(shape + x.shape)
        except ValueError:
            return self._whole(*args)  # a result of another shape than for the arguments seen before

    def _result_meta(self, args):
        """A sample of the result for arguments of these shapes; None where it is no matter of real arrays."""
        if not isinstance(self._argnum, int) or not -len(args) <= self._argnum < len(args):
            return None
        x = args[self._argnum]
        if type(x) is not np.ndarray or x.dtype.kind != "f" or not x.size:
            return None
        key = tuple([(a.shape, a.dtype) if type(a) is np.ndarray else _static_key(a) for a in args])
        if None in key:
            return None
        if key not in self._metas:
            out = np.asarray(self._fun(*_kept(args)))
            fits = out.dtype == x.dtype and out.size and (self._by != "hessian" or not out.shape)
            self._metas[key] = np.zeros_like(out) if fits else None
        return self._metas[key]

    def _seeds(self, like):
        """The units of the space of an array, one behind the other."""
        key = like.shape, like.dtype
        if key not in self._units:
            self._units[key] = np.eye(like.size, dtype=like.dtype).reshape((like.size, *like.shape))
        return self._units[key]


def _static_key(value):
    """What tells arguments apart that are no arrays; None for one that may hold a traced value."""
    if isinstance(value, (float, np.inexact)):
        return type(value)
    return (type(value), value) if isinstance(value, (int, str, bool, type(None))) else None


def cotangent_of(fun, argnum):
    """The function of the arguments and a cotangent that returns the cotangent of the chosen argument."""
    return lambda *args: make_vjp(fun, argnum)(*args[:-1])[0](args[-1])


def tangent_of(fun, argnum):
    """The function of the arguments and a tangent of the chosen one that returns the result's tangent."""
    return lambda *args: make_jvp(fun, argnum)(*args[:-1])(args[-1])[1]


class _Preparing(Derived):
    """An operator whose functions return a linear function, alone or with a value behind it."""

    def compiled(self, made_of):
        return _PreparingCompiled(self, made_of)


class _PreparingCompiled(Parts, _Wrapper):
    """The same of a compiled function: one program, its second part for each call of the linear function."""

    def __init__(self, derived, made_of):
        super().__init__(derived.__name__, derived, derived.__name__, derived.__doc__)
        self._prepared = Prepared(self._prepare, derived)
        self.parts = (made_of(self._prepared),)

    def _prepare(self, *args, **kwargs):
        made = self.__wrapped__(*args, **kwargs)
        return (made[1:], made[0], True) if isinstance(made, tuple) else ((), made, False)

    def __call__(self, *args, **kwargs):
        args, kwargs = _kept((args, kwargs))
        result = self.parts[0](*args, **kwargs)
        if type(result) is Unprepared:
            value, linear, has_value = self._prepare(*args, **kwargs)
            if result.key is not None:
                linear = self._prepared.noting(result.key, linear)
        else:
            *leaves, linear = result
            linear.arguments = args, kwargs
            value, has_value = linear.value(leaves), linear.program.about
        return (linear, *_kept(value)) if has_value else linear


def _kept(values):
    """Values as they are now, whatever becomes of their arrays."""
    return map_leaves(
        lambda value: value.copy() if isinstance(value, np.ndarray) else value,
        values,
        lambda value: isinstance(value, np.ndarray),
    )


def _compiled_once(name, like, fun):
    """A function made of a compiled one and compiled like it, once for all calls."""
    fun.__name__ = f"{name} of {name_of(like)}"
    return like.made_once(name, lambda: like.made_of(fun))


def _made_once(compiled, options, make):
    """What an operator makes of a compiled function, once for the same options."""
    key = _key_of(options)
    try:
        hash(key)
    except TypeError:
        return make()
    return compiled.made_once(key, make)


def _key_of(option):
    """An option as a key: 0 and False are two."""
    if isinstance(option, (tuple, list)):
        return (type(option), *map(_key_of, option))
    return type(option), option


def _check_argnum(name, argnum):
    several = isinstance(argnum, (tuple, list))
    try:
        argnums = tuple(operator.index(index) for index in (argnum if several else [argnum]))
    except TypeError:
        cure = "; grad_named takes a name" if isinstance(argnum, str) else ""
        raise TypeError(
            f"{name}: argnum must be an int or a sequence of ints, got {describe(argnum)}{cure}"
        ) from None
    _require_distinct(name, argnums)
    return argnums if several else argnums[0]


def _require_distinct(title, argnums):
    if len(set(argnums)) < len(argnums):
        raise ValueError(f"{title}: the same argument is named twice")


# ---------------------------------------------------------------- reverse and forward, on containers


def _take_apart(title, x):
    """Leaves and structure of the point of differentiation."""
    try:
        leaves, structure = flatten(x)
        if structure.is_constant:
            _refuse_constant(x)
    except UntraceableLeaf as error:
        raise _untraceable(title, x, error) from None
    return leaves, structure


def _refuse_constant(x):
    raise UntraceableLeaf(x, "pass a float, an array of floats or a container of them")


def _untraceable(title, x, error):
    place = locate(x, error.value)
    return TypeError(f"{title}: {error}{place and f' (it is at {place} of the argument)'}")


hooks["refuse_constant"] = _refuse_constant


class _OnLeaves:
    """A function of a container as a function from leaves to leaves, for the core.

    `structure` is the structure of the last result.
    """

    __slots__ = ("title", "fun", "argument", "structure")

    def __init__(self, title, fun, argument):
        self.title = title
        self.fun = fun
        self.argument = argument

    def __call__(self, boxes):
        result = self.fun(unflatten(self.argument, boxes))
        try:
            leaves, self.structure = flatten(result, result_leaf)
        except UntraceableLeaf as error:
            raise TypeError(f"{self.title}: in the result, {error}") from None
        return leaves


class _Linear:
    """A linear map between containers: `run` takes leaves and gives leaves, `domain` is a
    list of leaves that have the shapes and dtypes of its argument.
    """

    __slots__ = ("title", "what", "run", "domain", "domain_structure", "result_structure")

    def __init__(self, title, what, run, domain, domain_structure, result_structure):
        self.title = title
        self.what = what
        self.run = run
        self.domain = domain
        self.domain_structure = domain_structure
        self.result_structure = result_structure

    def __call__(self, vector):
        return self.on_leaves(_gather(self.title, self.what, vector, self.domain_structure))

    def on_leaves(self, leaves):
        try:
            results = self.run(leaves)
        except Misfit as error:
            raise ValueError(f"{self.title}: a {self.what} {error.told}") from None
        return unflatten(self.result_structure, results, constants=False)


def _reverse(title, fun, x):
    """Return the value of a function at `x` and its pullback."""
    leaves, structure = _take_apart(title, x)
    call = _OnLeaves(title, fun, structure)
    outs, sweep = trace_reverse(call, leaves)
    pullback = _Linear(title, "cotangent", sweep, outs, call.structure, structure)
    return _results(call.structure, outs), pullback


def _forward(title, fun, x, tangent):
    """Return the value of a function at `x` and its tangent."""
    leaves, structure = _take_apart(title, x)
    call = _OnLeaves(title, fun, structure)
    try:
        outs, out_tangents = trace_forward(call, leaves, _gather(title, "tangent", tangent, structure))
    except Misfit as error:
        raise ValueError(f"{title}: a tangent {error.told}") from None
    return _results(call.structure, outs), unflatten(call.structure, out_tangents, constants=False)


def _gather(title, what, vector, structure):
    """The leaves of a tangent or a cotangent; the core checks and casts each of them."""
    try:
        return gather(structure, vector)
    except ValueError as error:
        raise ValueError(f"{title}: the {what} does not fit: {error}") from None


def _results(structure, leaves):
    """A result as users get it: its floats are NumPy's."""
    return unflatten(structure, [np.float64(leaf) if type(leaf) is float else leaf for leaf in leaves])


def _shape(leaf):
    return leaf.shape if hasattr(leaf, "shape") else ()


def _dtype(leaf):
    """The dtype of the derivatives at a leaf: its own, or float64 for integers and bools."""
    dtype = leaf.dtype if hasattr(leaf, "dtype") else np.dtype(type(leaf))
    return dtype if dtype.kind in "fc" else np.dtype(float)


def _is_complex(leaf):
    return _dtype(leaf).kind == "c"


def _ones(leaf):
    return np.ones(_shape(leaf), _dtype(leaf))[()]


def _zeros(leaf):
    return np.zeros(_shape(leaf), _dtype(leaf))[()]


def _basis(leaf):
    """The unit vectors of a leaf's shape, in order."""
    for index in np.ndindex(_shape(leaf)):
        unit = np.zeros(_shape(leaf), _dtype(leaf))
        unit[index] = 1
        yield unit[()]


# ---------------------------------------------------------------- gradients


def grad(fun, argnum=0):
    """Return a function that computes the gradient of a function with a real scalar result.

    Parameters
    ----------
    fun : callable
        Its result is one real number (a float, or an array of size one).
    argnum : int or sequence of int, optional
        Which positional argument to differentiate. With a sequence the gradient is a
        tuple, one gradient for each. An argument may be a float, a complex number, an
        array of those, or any nesting of lists, tuples, named tuples and dicts of them.

    Returns
    -------
    callable
        It takes the arguments of `fun` and returns the gradient, in the structure, shapes
        and dtypes of the argument; None stands in the place of what has no derivative
        (None, strings, bools). A result that does not depend on the argument has the
        gradient zero. For complex ``z = x + iy`` it is ``df/dx - i df/dy``.

    Raises
    ------
    TypeError
        When called: the argument is missing or holds integers, or the result is not one
        real number.

    See Also
    --------
    value_and_grad, elementwise_grad, jacobian, holomorphic_grad

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c import grad
    >>> float(grad(np.sin)(0.0))
    1.0
    >>> grad(lambda x, y: np.sum(x * y), (0, 1))(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    (array([3., 4.]), array([1., 2.]))
    """
    return _Gradient("grad", fun, argnum, False)


def value_and_grad(fun, argnum=0):
    """Return a function that computes both the value and the gradient, as `grad` does.

    Suits ``scipy.optimize.minimize(..., jac=True)``.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c import value_and_grad
    >>> value, gradient = value_and_grad(lambda x: np.sum(x**2))(np.array([1.0, 2.0]))
    >>> float(value), gradient
    (5.0, array([2., 4.]))
    """
    return _Gradient("value_and_grad", fun, argnum, True)


def _grad(title, fun, x):
    try:
        return grad_hot(fun, (x,), None, 0, False)
    except UntraceableLeaf as error:
        raise _untraceable(title, x, error) from None
    except _NoGradient as error:
        raise TypeError(f"{title}: {error}") from None


class _NoGradient(TypeError):
    """A result that is not one real number."""


def _unit_cotangent(value, meta=None):
    """The cotangent 1 of a result, which must be one real number."""
    if not result_leaf(value):
        raise _NoGradient(f"the result must be one real number, got {describe(value)}")
    if np.prod(_shape(value)) != 1:
        cure = "take jacobian or elementwise_grad, or sum the result"
        raise _NoGradient(f"the result must be one real number, got {describe(value)}; {cure}")
    if _is_complex(value):
        raise _NoGradient(
            f"the result must be one real number, got {describe(value)}; take holomorphic_grad of a "
            "holomorphic function, or the gradient of its real part, its imaginary part or its modulus"
        )
    return _ones(value)


def _independent(value):
    """A result that does not depend on the argument must be one real number all the same."""
    _unit_cotangent(value)
    return value


def _one(title, value):
    try:
        return _unit_cotangent(value)
    except _NoGradient as error:
        raise TypeError(f"{title}: {error}") from None


hooks["unit_cotangent"] = _unit_cotangent
hooks["scalar_result"] = _independent


def grad_and_aux(fun, argnum=0):
    """Return a function that computes a gradient and hands on a second result.

    Parameters
    ----------
    fun : callable
        Returns a pair: one real number, and anything else (e.g. statistics to log).
    argnum : int or sequence of int, optional

    Returns
    -------
    callable
        It returns the gradient of the first result, and the second as it is.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c import grad_and_aux
    >>> gradient, aux = grad_and_aux(lambda x: (x**2, {"half": x / 2}))(3.0)
    >>> float(gradient), float(aux["half"])
    (6.0, 1.5)
    """
    return Derived(_grad_and_aux, "grad_and_aux", fun, argnum)


def _grad_and_aux(title, fun, x):
    result, pullback = _reverse(title, fun, x)
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise TypeError(f"{title}: the result must be a pair (value, aux), got {describe(result)}")
    value, aux = result
    return pullback.on_leaves([_one(title, value)] + [_zeros(leaf) for leaf in pullback.domain[1:]]), aux


def grad_named(fun, argname):
    """Return the gradient function of a positional argument that is named, not counted.

    Raises
    ------
    ValueError
        When `fun` has no positional argument of that name.

    Examples
    --------
    >>> from autograd_c import grad_named
    >>> def area(width, height):
    ...     return width * height
    >>> float(grad_named(area, "height")(2.0, 5.0))
    2.0
    """
    names = [
        parameter.name
        for parameter in inspect.signature(fun).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if argname not in names:
        raise ValueError(
            f"grad_named: {name_of(fun)} has no positional argument {argname!r}; it has {', '.join(names)}"
        )
    return grad(fun, names.index(argname))


class _AllGradients(_Wrapper):
    """Made by `multigrad_dict`."""

    def __init__(self, fun):
        text = f"The gradients of {name_of(fun)} with respect to all of its arguments, in a dict."
        super().__init__("multigrad_dict", fun, f"multigrad_dict_of_{name_of(fun)}", text)

    def __call__(self, *args, **kwargs):
        fun = self.__wrapped__
        bound = inspect.signature(fun).bind(*args, **kwargs)
        bound.apply_defaults()

        def fun_of_dict(arguments):
            again = inspect.BoundArguments(bound.signature, arguments)
            return fun(*again.args, **again.kwargs)

        return _grad(self.__name__, fun_of_dict, dict(bound.arguments))


def multigrad_dict(fun):
    """Return a function that computes the gradients of all arguments at once.

    Returns
    -------
    callable
        It takes the arguments of `fun` (defaults may be left out) and returns a dict from
        the name of each to its gradient. Further positional arguments (``*args``) have a
        tuple of gradients, further keyword arguments (``**kwargs``) a dict of them.

    Examples
    --------
    >>> from autograd_c import multigrad_dict
    >>> def line(x, slope=2.0, offset=1.0):
    ...     return slope * x + offset
    >>> {name: float(g) for name, g in multigrad_dict(line)(3.0).items()}
    {'x': 2.0, 'slope': 3.0, 'offset': 1.0}
    """
    return _AllGradients(fun)


def elementwise_grad(fun, argnum=0):
    """Return a function that computes the gradient of the sum of a function's results.

    For a function that works on each element by itself, this is the derivative at each
    element, all in one sweep. In general it is the sum of the rows of the Jacobian.

    Raises
    ------
    TypeError
        When called: the result is complex.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c import elementwise_grad
    >>> elementwise_grad(lambda x: x**3)(np.array([1.0, 2.0]))
    array([ 3., 12.])
    """
    return Derived(_elementwise_grad, "elementwise_grad", fun, argnum)


def _elementwise_grad(title, fun, x):
    _, pullback = _reverse(title, fun, x)
    if any(_is_complex(out) for out in pullback.domain):
        raise TypeError(f"{title}: the result must be real; take holomorphic_grad or jacobian")
    return pullback.on_leaves([_ones(out) for out in pullback.domain])


def holomorphic_grad(fun, argnum=0):
    """Return a function that computes the complex derivative of a holomorphic function.

    Parameters
    ----------
    fun : callable
        A holomorphic function with a scalar result. That it is holomorphic isn't checked.
    argnum : int or sequence of int, optional
        A complex argument; a real one is differentiated with a warning, and gives the
        derivative of the real part of the result.

    Examples
    --------
    >>> from autograd_c import holomorphic_grad
    >>> complex(holomorphic_grad(lambda z: z**2)(1.0 + 2.0j))
    (2+4j)
    """
    return Derived(_holomorphic_grad, "holomorphic_grad", fun, argnum)


def _holomorphic_grad(title, fun, x):
    if not all(_is_complex(leaf) for leaf in flatten(x)[0]):
        warnings.warn(f"{title}: the argument is not complex", stacklevel=3)
    value, pullback = _reverse(title, fun, x)
    if not result_leaf(value) or np.prod(_shape(value)) != 1:
        raise TypeError(f"{title}: the result must be one number, got {describe(value)}; take jacobian")
    return pullback.on_leaves([_ones(value)])


# ---------------------------------------------------------------- tangents and cotangents


def make_vjp(fun, argnum=0):
    """Return a function that computes the pullback of a function at a point.

    Returns
    -------
    callable
        It takes the arguments of `fun` and returns ``(pullback, value)``. The pullback
        takes a cotangent (of the structure, shapes and dtypes of the value) and returns
        that of the argument; it may be called many times, without running `fun` again.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c import make_vjp
    >>> pullback, value = make_vjp(lambda x: 2.0 * x)(np.array([1.0, 2.0]))
    >>> pullback(np.array([1.0, 10.0]))
    array([ 2., 20.])
    """
    return _Preparing(_make_vjp, "make_vjp", fun, argnum)


def _make_vjp(title, fun, x):
    value, pullback = _reverse(title, fun, x)
    return pullback, value


def vjp(fun, *primals):
    """Return the value of a function and its pullback with respect to all arguments.

    Parameters
    ----------
    fun : callable
    *primals
        The arguments of `fun`.

    Returns
    -------
    value
        The result of `fun`.
    pullback : callable
        Takes a cotangent of the value, and returns a tuple: the cotangent of each argument.

    Examples
    --------
    >>> from autograd_c import vjp
    >>> value, pullback = vjp(lambda x, y: x * y, 2.0, 3.0)
    >>> float(value), [float(g) for g in pullback(1.0)]
    (6.0, [3.0, 2.0])
    """
    if type(fun) is Compiled:
        return _vjp_of_compiled(fun, primals)
    return _reverse(f"vjp of {name_of(fun)}", lambda arguments: fun(*arguments), primals)


def _vjp_of_compiled(fun, primals):
    """The pullback of the function of all arguments, made as `make_vjp` makes one."""
    pullback, value = fun.made_once("vjp", lambda: _vjp_once(fun))(primals)
    return value, pullback


def _vjp_once(fun):
    plain = fun.fun

    def of_tuple(primals):
        return plain(*primals)

    of_tuple.__name__ = name_of(plain)
    derived = _Preparing(_make_vjp, "vjp", of_tuple)
    derived._title = f"vjp of {name_of(plain)}"
    return derived.compiled(fun.made_of)


def make_jvp(fun, argnum=0):
    """Return a function that computes the directional derivative of a function at a point.

    Returns
    -------
    callable
        It takes the arguments of `fun` and returns a function of a tangent (of the
        structure, shapes and dtypes of the argument), which runs `fun` and returns
        ``(value, tangent of the value)``.

    Examples
    --------
    >>> from autograd_c import make_jvp
    >>> value, tangent = make_jvp(lambda x: x**2)(3.0)(1.0)
    >>> float(value), float(tangent)
    (9.0, 6.0)
    """
    return _Preparing(_make_jvp, "make_jvp", fun, argnum)


def _make_jvp(title, fun, x):
    return lambda tangent: _forward(title, fun, x, tangent)


def jvp(fun, primals, tangents):
    """Return the value of a function and its directional derivative, in forward mode.

    Parameters
    ----------
    fun : callable
    primals : tuple
        The arguments of `fun`.
    tangents : tuple
        A tangent for each argument, of its structure, shapes and dtypes.

    Returns
    -------
    value, tangent
        Both of the structure of the result.

    Examples
    --------
    >>> from autograd_c import jvp
    >>> value, tangent = jvp(lambda x, y: x * y, (2.0, 3.0), (1.0, 0.5))
    >>> float(value), float(tangent)
    (6.0, 4.0)
    """
    title = f"jvp of {name_of(fun)}"
    primals, tangents = _tuples(title, primals, tangents)
    if type(fun) is Compiled:
        plain = fun.fun
        return _compiled_once("jvp", fun, lambda *pair: jvp(plain, *pair))(primals, tangents)
    return _forward(title, lambda arguments: fun(*arguments), primals, tangents)


def _tuples(title, primals, tangents):
    for name, value in (("primals", primals), ("tangents", tangents)):
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"{title}: {name} must be a tuple of arguments, e.g. (x,), got {describe(value)}")
    return tuple(primals), tuple(tangents)


def make_jvp_reversemode(fun, argnum=0):
    """Return a function that computes directional derivatives by reverse mode alone.

    The pullback is linear in its cotangent, so its own pullback is the directional
    derivative (J. Townsend, "A new trick for calculating Jacobian vector products",
    2017). `fun` runs once, however many tangents follow.

    Returns
    -------
    callable
        It takes the arguments of `fun` and returns a function from a tangent of the
        argument to the tangent of the value.

    Examples
    --------
    >>> from autograd_c import make_jvp_reversemode
    >>> float(make_jvp_reversemode(lambda x: x**2)(3.0)(1.0))
    6.0
    """
    return _Preparing(_make_jvp_reversemode, "make_jvp_reversemode", fun, argnum)


def _make_jvp_reversemode(title, fun, x):
    return _transpose(x, _reverse(title, fun, x)[1])


def _transpose(x, pullback):
    """The directional derivative at `x` that belongs to a pullback."""
    zeros = [_zeros(out) for out in pullback.domain]
    _, transposed = trace_reverse(pullback.run, zeros)
    leaves, structure = flatten(x)
    return _Linear(pullback.title, "tangent", transposed, leaves, structure, pullback.domain_structure)


def deriv(fun, argnum=0):
    """Return a function that computes the derivative with respect to a scalar argument.

    It runs in forward mode, so the result may have any size. For an argument that is an
    array or a container it is the sum of the columns of the Jacobian.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c import deriv
    >>> deriv(lambda t: np.array([1.0, 2.0]) * t**2)(3.0)
    array([ 6., 12.])
    """
    return Derived(_deriv, "deriv", fun, argnum)


def _deriv(title, fun, x):
    leaves, structure = _take_apart(title, x)
    ones = unflatten(structure, [_ones(leaf) for leaf in leaves])
    return _forward(title, fun, x, ones)[1]


# ---------------------------------------------------------------- Jacobians and Hessians


def jacobian(fun, argnum=0):
    """Return a function that computes the Jacobian, in reverse mode: one sweep per result.

    Parameters
    ----------
    fun : callable
        Its result has any shape.
    argnum : int or sequence of int, optional

    Returns
    -------
    callable
        For an argument of shape ``(in1, ...)`` and a result of shape ``(out1, ...)`` it
        returns an array of shape ``(out1, ..., in1, ...)``. Where either is a container,
        so is the Jacobian: the structure of the result outside, that of the argument inside.
        For a real argument and a complex result it is ``du/dx + i dv/dx``; for a complex
        argument and a real result, ``df/dx - i df/dy``; where both are complex the
        function must be holomorphic.

    See Also
    --------
    jacfwd : the same in forward mode, for more results than arguments.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c import jacobian
    >>> jacobian(lambda x: np.array([[1.0, 2.0], [3.0, 4.0]]) @ x)(np.array([1.0, 1.0]))
    array([[1., 2.],
           [3., 4.]])
    """
    return _Matrix(_jacobian, "jacobian", fun, argnum, "rows")


jacrev = jacobian


def _jacobian(title, fun, x):
    _, pullback = _reverse(title, fun, x)
    leaves, structure = _take_apart(title, x)
    blocks = []
    for at, out in enumerate(pullback.domain):
        rows = [_row(pullback, at, unit, leaves) for unit in _basis(out)]
        columns = [_assemble([row[k] for row in rows], 0, out, leaf) for k, leaf in enumerate(leaves)]
        blocks.append(unflatten(structure, columns, constants=False))
    return unflatten(pullback.domain_structure, blocks, constants=False)


def _row(pullback, at, unit, leaves):
    """The derivatives of one element of the result number `at`, one for each leaf."""
    seeds = [_zeros(out) for out in pullback.domain]
    seeds[at] = unit
    row = pullback.run(seeds)
    if _is_complex(unit) and not all(map(_is_complex, leaves)):
        # A cotangent of 1 pulls back the real part, one of -i the imaginary part.
        seeds[at] = -1j * unit
        imaginary = pullback.run(seeds)
        row = [
            r if _is_complex(leaf) else r + 1j * i for leaf, r, i in zip(leaves, row, imaginary, strict=True)
        ]
    return row


def _assemble(parts, axis, out, leaf):
    """Stack the rows (axis 0) or the columns (axis -1) of one block of a Jacobian."""
    shape = _shape(out) + _shape(leaf)
    if not parts:
        return np.zeros(shape, np.result_type(_dtype(out), _dtype(leaf)))
    if len(parts) == 1 and _shape(parts[0]) == shape:
        return parts[0]
    return anp.reshape(anp.stack(parts, axis=axis), shape)


def jacfwd(fun, argnum=0):
    """Return a function that computes the Jacobian in forward mode.

    It runs `fun` once for each element of the argument; shapes and the complex
    conventions are those of `jacobian`.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c import jacfwd
    >>> jacfwd(lambda t: np.array([1.0, 2.0, 3.0]) * t**2)(3.0)
    array([ 6., 12., 18.])
    """
    return _Matrix(_jacfwd, "jacfwd", fun, argnum, "columns")


def _jacfwd(title, fun, x):
    leaves, structure = _take_apart(title, x)
    call = _OnLeaves(title, fun, structure)
    zeros = [_zeros(leaf) for leaf in leaves]

    def push(at, unit):
        return trace_forward(call, leaves, zeros[:at] + [unit] + zeros[at + 1 :])

    outs, _ = trace_forward(call, leaves, zeros)  # shapes of the result, though nothing may follow
    columns = [[_column(push, at, unit) for unit in _basis(leaf)] for at, leaf in enumerate(leaves)]
    blocks = []
    for k, out in enumerate(outs):
        parts = [
            _assemble([column[k] for column in columns[at]], -1, out, leaf) for at, leaf in enumerate(leaves)
        ]
        blocks.append(unflatten(structure, parts, constants=False))
    return unflatten(call.structure, blocks, constants=False)


def _column(push, at, unit):
    """The derivatives of all results with respect to one element of the leaf number `at`."""
    outs, column = push(at, unit)
    if _is_complex(unit) and not all(map(_is_complex, outs)):
        _, rotated = push(at, 1j * unit)
        column = [
            t if _is_complex(out) else t - 1j * r for out, t, r in zip(outs, column, rotated, strict=True)
        ]
    return column


def hessian(fun, argnum=0):
    """Return a function that computes the exact Hessian: the Jacobian of the Jacobian.

    For an argument of shape ``(in1, ...)`` and a scalar result it has the shape
    ``(in1, ..., in1, ...)``.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c import hessian
    >>> hessian(lambda x: x[0] ** 2 * x[1])(np.array([2.0, 3.0]))
    array([[6., 4.],
           [4., 0.]])
    """
    return _Matrix(_hessian, "hessian", fun, argnum, "hessian")


def _hessian(title, fun, x):
    return _jacobian(title, lambda x: _jacobian(title, fun, x), x)


def make_hvp(fun, argnum=0):
    """Return a function that prepares Hessian-vector products at a point.

    Returns
    -------
    callable
        It takes the arguments of `fun` and returns ``(product, gradient)``, where
        ``product(v)`` is the Hessian times ``v``, without running `fun` again.

    See Also
    --------
    hvp : one product, in less memory.

    Examples
    --------
    >>> from autograd_c import make_hvp
    >>> product, gradient = make_hvp(lambda x: x**3)(2.0)
    >>> float(product(1.0)), float(gradient)
    (12.0, 12.0)
    """
    return _Preparing(_make_hvp, "make_hvp", fun, argnum)


def _make_hvp(title, fun, x):
    return _make_vjp(title, lambda x: _grad(title, fun, x), x)


def hessian_tensor_product(fun, argnum=0):
    """Return a function that computes the product of the Hessian and a tensor.

    Returns
    -------
    callable
        It takes the arguments of `fun` and then a tensor, of the structure, shapes and
        dtypes of the argument, and returns the Hessian contracted with it: the forward
        derivative, in its direction, of the gradient.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c import hessian_tensor_product
    >>> hessian_tensor_product(lambda x: x[0] ** 2 * x[1])(np.array([2.0, 3.0]), np.array([1.0, 0.0]))
    array([6., 4.])
    """
    return _WithTensor(_hessian_tensor_product, "hessian_tensor_product", fun, argnum)


hessian_vector_product = hessian_tensor_product


def _hessian_tensor_product(title, fun, x, tensor):
    return _forward(title, lambda x: _grad(title, fun, x), x, tensor)[1]


def hvp(fun, primals, tangents):
    """Return the product of the Hessian of a function and a tangent.

    Parameters
    ----------
    fun : callable
        Its result is one real number.
    primals, tangents : tuple
        The arguments of `fun`, and a tangent for each.

    Returns
    -------
    product
        For one argument, the product; for several, a tuple with one for each, the
        Hessian being that of all arguments together.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c import hvp
    >>> hvp(lambda x: x[0] ** 2 * x[1], (np.array([2.0, 3.0]),), (np.array([1.0, 0.0]),))
    array([6., 4.])
    """
    title = f"hvp of {name_of(fun)}"
    primals, tangents = _tuples(title, primals, tangents)
    if type(fun) is Compiled:
        plain = fun.fun
        return _compiled_once("hvp", fun, lambda *pair: hvp(plain, *pair))(primals, tangents)
    product = _hessian_tensor_product(title, lambda arguments: fun(*arguments), primals, tangents)
    return product[0] if len(product) == 1 else product


def tensor_jacobian_product(fun, argnum=0):
    """Return a function that computes the product of a tensor and the Jacobian.

    Returns
    -------
    callable
        It takes the arguments of `fun` and then a tensor, whose axes are contracted with the
        first axes of the result of `fun`. For a tensor of the shape of the result, the
        product has the shape of the argument.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c import tensor_jacobian_product
    >>> product = tensor_jacobian_product(lambda x: np.array([[1.0, 2.0], [3.0, 4.0]]) @ x)
    >>> product(np.array([1.0, 1.0]), np.array([1.0, 10.0]))
    array([31., 42.])
    """
    return _WithTensor(_tensor_jacobian_product, "tensor_jacobian_product", fun, argnum)


vector_jacobian_product = tensor_jacobian_product


def _tensor_jacobian_product(title, fun, x, tensor):
    return _jacobian(title, lambda x: anp.tensordot(tensor, fun(x), axes=anp.ndim(tensor)), x)


def _half_square(y):
    return 0.5 * anp.sum(y**2)


def make_ggnvp(f, g=_half_square, f_argnum=0):
    """Return a function that prepares generalised Gauss-Newton products at a point.

    For a loss ``g(f(x))`` the generalised Gauss-Newton matrix is ``J.T @ H @ J``, with the
    Jacobian ``J`` of ``f`` at ``x`` and the Hessian ``H`` of ``g`` at ``f(x)``
    (N. Schraudolph, "Fast curvature matrix-vector products", 2002).

    Parameters
    ----------
    f : callable
    g : callable, optional
        Its result is one real number; half the sum of squares when left out.
    f_argnum : int or sequence of int, optional

    Returns
    -------
    callable
        It takes the arguments of `f` and returns a function from a tangent of the argument
        to the product.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c import make_ggnvp
    >>> product = make_ggnvp(lambda x: np.array([[1.0, 2.0], [3.0, 4.0]]) @ x)(np.array([1.0, 1.0]))
    >>> product(np.array([1.0, 0.0]))
    array([10., 14.])
    """
    return _Preparing(_make_ggnvp, "make_ggnvp", f, f_argnum, (g,))


def _make_ggnvp(title, f, x, g):
    value, pullback = _reverse(title, f, x)
    pushforward = _transpose(x, pullback)
    curvature, _ = _make_hvp(title, g, value)
    return lambda tangent: pullback(curvature(pushforward(tangent)))


# ---------------------------------------------------------------- what is kept, what is cut


@notrace_primitive
def _cut(x):
    return x


def stop_gradient(x):
    """Return a value as a constant: no derivative passes through it.

    Parameters
    ----------
    x : object
        A number, an array or any container of them; other objects pass unchanged.

    Examples
    --------
    >>> from autograd_c import grad, stop_gradient
    >>> float(grad(lambda x: x * stop_gradient(x))(3.0))
    3.0
    """
    return map_leaves(_cut, x, is_box)


class _Checkpointed(_Wrapper):
    """Made by `checkpoint`."""

    def __init__(self, fun):
        super().__init__("checkpoint", fun, name_of(fun), getattr(fun, "__doc__", None))

    def __call__(self, *args, **kwargs):
        boxes, structure = flatten((args, kwargs), is_box)
        if not boxes:
            return self.__wrapped__(*args, **kwargs)
        call = _Packed(self.__wrapped__, structure)
        return call.unpack(_run_packed(call, *boxes))


class _Packed:
    """A function from leaves to one array, which holds all leaves of its result in a row.

    One array is what a primitive returns. `layout` remembers what the first run put into it.
    """

    def __init__(self, fun, structure):
        self.fun = fun
        self.structure = structure
        self.layout = None

    def __call__(self, leaves):
        args, kwargs = unflatten(self.structure, leaves)
        outs, structure = flatten(self.fun(*args, **kwargs), _float_leaf)
        if self.layout is None:
            self.layout = structure, [(_shape(out), _dtype(out)) for out in outs]
        if structure.is_leaf:
            return outs[0]
        return anp.concatenate([anp.ravel(out) for out in outs]) if outs else np.zeros(0)

    def unpack(self, packed):
        structure, spaces = self.layout
        if structure.is_leaf:
            return packed
        outs, start = [], 0
        for shape, dtype in spaces:
            stop = start + int(np.prod(shape))
            outs.append(_as_dtype(anp.reshape(packed[start:stop], shape), dtype))
            start = stop
        return unflatten(structure, outs)


def _float_leaf(value):
    return result_leaf(value) and (is_box(value) or np.asarray(value).dtype.kind in "fc")


def _as_dtype(x, dtype):
    """Undo what joining arrays of several dtypes did to one of them."""
    if x.dtype == dtype:
        return x
    return (x if dtype.kind == "c" else anp.real(x)).astype(dtype)


@primitive
def _run_packed(call, *leaves):
    return call(leaves)


# A program plans its memory by itself: there the function is one with what is around it.
_run_packed.inlined = True


def _of_boxes(args, argnums):
    """A packed call as a function of those of its leaves that are differentiated."""
    call, leaves = args[0], list(args[1:])

    def run(boxes):
        for argnum, box in zip(argnums, boxes, strict=True):
            leaves[argnum - 1] = box
        return [call(leaves)]

    return run, [args[argnum] for argnum in argnums]


def _rerun_vjp(argnums, ans, args, kwargs):
    def pullback(cotangent):
        _, sweep = trace_reverse(*_of_boxes(args, argnums))
        return tuple(sweep([cotangent]))

    return pullback


def _rerun_jvp(argnums, tangents, ans, args, kwargs):
    _, (tangent,) = trace_forward(*_of_boxes(args, argnums), list(tangents))
    return tangent


defvjp_argnums(_run_packed, _rerun_vjp)
defjvp_argnums(_run_packed, _rerun_jvp)


def checkpoint(fun):
    """Return a function that keeps nothing for the reverse sweep and runs again instead.

    What `fun` computes on the way is dropped when it returns, and computed again when the
    reverse sweep comes by: memory is traded for time (T. Chen et al., "Training deep nets
    with sublinear memory cost", arXiv:1604.06174).

    Parameters
    ----------
    fun : callable
        Any function of numbers, arrays and containers that gives the same result when it
        runs again.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c import checkpoint, grad
    >>> layer = checkpoint(lambda x: np.tanh(np.sin(x) ** 2))
    >>> float(grad(lambda x: layer(layer(x)))(0.0))
    0.0
    """
    return _Checkpointed(fun)
