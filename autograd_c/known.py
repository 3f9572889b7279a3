"""What gives the same whenever it is given the same: functions, types and names that a recording relies on.

A compiled function is recorded once where all that it can reach is either Python code that
`autograd_c.environment` walks, or stands in the lists below. It may depend on nothing then but its arguments
and the places that are compared before each replay. Whatever is not listed may be a clock, a counter or a
file: such functions are recorded twice, and both recordings compared (see `autograd_c.replay`).

The lists name what is known; what they do not name costs a second recording, and nothing else.
"""

import abc
import builtins
import dis
import functools
import importlib
import inspect
import types

import numpy as np

from ._core import Composite, Primitive, hooks, registry

__all__ = [
    "is_known_class",
    "is_known_code",
    "is_known_function",
    "is_known_name",
    "is_known_type",
    "is_number_type",
    "is_unchanging",
]

# Functions and types of Python whose results depend on their arguments alone. What finds attributes by
# computed names, asks whether they are there, or tells objects apart by their addresses, is not here.
_BUILTINS = set(
    """
    abs all any bool bytes callable complex dict divmod enumerate filter float frozenset int isinstance
    issubclass iter len list map max min next pow print range reversed round set slice sorted str sum tuple
    type zip Ellipsis False None NotImplemented True __debug__
    """.split()
) | {
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type)
    and issubclass(value, BaseException)
    and not issubclass(value, (NameError, AttributeError))
}

# Modules whose attributes are looked at one by one, and modules all of whose functions are known.
_MODULES = ["numpy", "scipy", "autograd_c", "autograd_c.numpy", "autograd_c.scipy"]
_MATHEMATICS = """
    math cmath operator itertools numpy.linalg numpy.fft scipy.linalg scipy.special autograd_c.numpy.linalg
    autograd_c.numpy.fft autograd_c.scipy.linalg autograd_c.scipy.special
""".split()
# Parts of this package that keep state, draw random numbers or read files.
_STATEFUL = ("bench", "cli", "debugging", "demo", "optim", "test_util")

# Modules about whose names `is_known_name` decides.
_KNOWN_MODULES = frozenset({"builtins", "scipy.fft", *_MODULES, *_MATHEMATICS})

# NumPy's functions that have no rule and compute nothing but what their arguments say.
_PLAIN = """
    bartlett base_repr binary_repr blackman broadcast_shapes diag_indices eye hamming hanning identity indices
    isdtype issubdtype iterable kaiser mask_indices mintypecode ones packbits promote_types ravel_multi_index
    tri tril_indices triu_indices typename unpackbits unravel_index zeros
""".split()
_PLAIN_TYPES = {np.ndarray, np.finfo, np.iinfo, np.errstate, np.ndindex, types.SimpleNamespace}
# New memory and files hold anything, addresses differ, np.datetime64("now") is a clock; what finds attributes
# by computed names, or leads to objects that nobody walks; and random numbers in scipy.linalg.
_UNKNOWN = set(
    """
    empty empty_like memmap ctypes tofile dump dumps datetime64 attrgetter methodcaller format_map
    metadata gi_frame cr_frame ag_frame tb_frame clarkson_woodruff_transform fractional_matrix_power
    interpolative logm
    """.split()
)
# np.array("now", dtype="datetime64[s]"), np.pad(x, 1, mode="empty")
_UNKNOWN_TEXTS = ("now", "today", "empty")

_FIELD = type(inspect.FullArgSpec.args)  # of a named tuple
_CONSTANTS = (int, float, complex, str, tuple, type(None), np.generic)
_IMMUTABLE = (np.dtype, range, type(Ellipsis), type(NotImplemented), _FIELD)


def _opcodes(*names):
    return frozenset(dis.opmap[name] for name in names if name in dis.opmap)


# What code may change besides its own variables, what brings in other modules, and what reads attributes
# that are not among the names of the code. An item that is deleted and set again changes the order of a dict.
_REACHING_OUT = _opcodes(
    "STORE_ATTR",
    "DELETE_ATTR",
    "STORE_GLOBAL",
    "DELETE_GLOBAL",
    "STORE_NAME",
    "DELETE_NAME",
    "DELETE_SUBSCR",
    "IMPORT_NAME",
    "IMPORT_FROM",
    "LOAD_BUILD_CLASS",
    "MATCH_CLASS",
)
# A function that names one of these looks at types, and makes no array of new memory with `np.ndarray`.
_LOOKING_AT_TYPES = frozenset(["isinstance", "issubclass", "type"])


def is_known_code(code):
    """Whether a code object, without those inside it, reaches out by known names only.

    Parameters
    ----------
    code : CodeType
    """
    return (
        _REACHING_OUT.isdisjoint(code.co_code[::2])
        and all(map(is_known_name, code.co_names))
        and ("ndarray" not in code.co_names or not _LOOKING_AT_TYPES.isdisjoint(code.co_names))
        and all(map(_is_known_constant, code.co_consts))
    )


def _is_known_constant(value):
    """Whether a constant of code does not ask for what is unknown.

    A ufunc leaves new memory as it is `where` nothing is computed, unless it is told where to write.
    """
    if isinstance(value, tuple):  # the names of keyword arguments, for example
        return ("where" not in value or "out" in value) and not any(text in value for text in _UNKNOWN_TEXTS)
    return not isinstance(value, str) or value != "where" and value not in _UNKNOWN_TEXTS


@functools.cache
def is_known_name(name):
    """Whether a global or attribute of this name is known wherever code may find it in a library.

    Names that a module of the user's binds lead to objects that are looked at themselves.
    """
    if name in _UNKNOWN or name.startswith("__"):
        return False
    if hasattr(builtins, name) and name not in _BUILTINS:
        return False
    return all(_is_known_in(module, name) for module in _modules())


def _is_known_in(module, name):
    if name in vars(module):
        return _is_known_value(vars(module)[name])
    # What a module says it has, and loads when somebody asks, is another module.
    return name not in dir(module) or f"{module.__name__}.{name}" in _KNOWN_MODULES


@functools.cache
def _modules():
    return [importlib.import_module(name) for name in _MODULES + _MATHEMATICS]


def _is_known_value(value):
    """Whether what a library's module has under a name is known."""
    if isinstance(value, types.ModuleType):
        return value.__name__ in _KNOWN_MODULES
    if not callable(value):  # np.r_ and its kin are objects
        module = type(value).__module__
        return isinstance(value, _CONSTANTS) or _is_ours(module) or module.startswith("numpy.lib")
    if id(value) in _plain_callables():
        return True
    return is_known_type(value) if isinstance(value, type) else is_known_function(value)


@functools.cache
def _plain_callables():
    """Of the lists above, by identity."""
    found = [getattr(np, name) for name in _PLAIN]
    for module in map(importlib.import_module, _MATHEMATICS):
        found += [value for name, value in vars(module).items() if callable(value) and name not in _UNKNOWN]
    return {id(value): value for value in found}


def is_known_type(cls, names=_LOOKING_AT_TYPES):
    """Whether instances that are made of a library's type depend on nothing but the arguments.

    Parameters
    ----------
    cls : type
    names : set of str, optional
        Those of the code that has the type.
    """
    if cls.__name__ in _UNKNOWN or cls is np.ndarray and _LOOKING_AT_TYPES.isdisjoint(names):
        return False
    if cls.__module__ == "builtins":
        return _is_builtin(cls) or cls is object
    return (
        cls in _PLAIN_TYPES
        or issubclass(cls, np.dtype)
        or is_number_type(cls)
        or _is_ours(cls.__module__)
        or cls.__module__ in ("itertools", "operator")
    )


def is_number_type(cls):
    """Whether a type is one of NumPy's own for single numbers, which nobody can change."""
    return issubclass(cls, np.generic) and cls.__module__ == "numpy" and not issubclass(cls, np.void)


def _is_builtin(value):
    """Whether a function or type is the one of Python that it is called."""
    return value.__name__ in _BUILTINS and vars(builtins).get(value.__name__) is value


def is_known_function(fun):
    """Whether a function of a library's gives the same for the same arguments."""
    if isinstance(fun, (Primitive, Composite)):
        made, fun = fun, fun.fun
        if registry.get(fun) is not made and not _is_ours(getattr(fun, "__module__", None)):
            return False  # a user's, with rules of its own
    name, module = getattr(fun, "__name__", None), getattr(fun, "__module__", None) or ""
    if isinstance(fun, types.FunctionType):  # functools.wraps takes over the module as well
        module = fun.__globals__.get("__name__") or ""
    if module == "builtins":
        return _is_builtin(fun)
    if name in _UNKNOWN:
        return False
    if isinstance(fun, np.ufunc):  # users make some of their own
        return vars(np).get(name) is fun or fun in registry or id(fun) in _plain_callables()
    return (
        id(fun) in _plain_callables()
        or _is_ours(module)
        or module == "collections"  # methods of named tuples
        or module.partition(".")[0] in ("numpy", "scipy")
        and fun in registry
    )


@functools.lru_cache(maxsize=4096)
def _is_ours(module):
    top, _, rest = (module or "").partition(".")
    return top == "autograd_c" and rest.partition(".")[0] not in _STATEFUL


def is_unchanging(cls):
    """Whether objects of a library's type never change; not for functions, ufuncs, types and modules."""
    return issubclass(cls, _IMMUTABLE) or _is_ours(cls.__module__)


# Classes that other classes of the user's may be derived from, or be instances of.
_PLAIN_BASES = (object, tuple, list, dict, abc.ABC, Exception)
_PLAIN_METACLASSES = (type, abc.ABCMeta)


def is_known_class(cls, walked):
    """Whether a class of the user's takes nothing over from a class that is neither walked nor known.

    Parameters
    ----------
    cls : type
    walked : list of type
        Those of its bases whose code is looked at.
    """
    return type(cls) in _PLAIN_METACLASSES and all(
        base in _PLAIN_BASES or base in walked for base in cls.__mro__
    )


for asked_by_the_walk in (
    is_known_class,
    is_known_function,
    is_known_name,
    is_known_type,
    is_number_type,
    is_unchanging,
):
    hooks[asked_by_the_walk.__name__] = asked_by_the_walk
hooks["known_modules"] = _KNOWN_MODULES
