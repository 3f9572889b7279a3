"""What a function reads besides its arguments, for the replay of compiled functions.

A program that was recorded is valid as long as the function would read the same. `Environment` walks from
a function through closure cells, globals, default arguments, bound objects and the functions that it calls,
and lists every place where it found something, with what it found. Before each replay the compiled core looks
at all those places again (`reads`): they must hold the identical objects, or equal numbers.

Of an array the place counts, not what is in it: programs read arrays where they are. Where a recording holds
something that may have been *computed* from an array, the array's bytes are compared as well (see
`autograd_c.replay`).

What is not walked: the standard library, NumPy, SciPy and other installed packages, attributes that the code
does not name, and the inside of objects that keep their state in C. Where all of that is known to depend on
nothing else (`autograd_c.known`), so does the function.
"""

import builtins
import functools
import os
import random
import sys
import types

import numpy as np

from ._core import Compiled, Primitive
from .known import (
    LOOKING_AT_TYPES,
    is_known_class,
    is_known_code,
    is_known_function,
    is_known_module,
    is_known_name,
    is_known_object,
    is_known_type,
    is_number_type,
)

__all__ = ["Environment", "owner", "same_bytes"]

_NUMBERS = (bool, int, float, complex, np.generic)
_CLOSED = {"numpy", "scipy", "autograd_c", "builtins", "autograd"} | set(sys.stdlib_module_names) - {
    "__main__"
}
# Parts of this package that use it as its users do.
_PROGRAMS = ("autograd_c.bench", "autograd_c.demo")
# Functions of a class that nothing known runs: numbers do not come from texts of objects.
_ASIDE = ("__annotate__", "__annotate_func__", "__repr__", "__reduce__", "__getstate__", "__setstate__")
# Methods of a class that calls on its instances do not run, unless they make other instances.
_OF_OTHERS = ("__init__", "__new__", "__del__", *_ASIDE)
# What a class has besides its methods, and runs nothing.
_DATA = {str, int, tuple, dict, frozenset, type(None), types.GetSetDescriptorType}
# By these the order of a dict can change, or what a set gives next, while all its items stay.
_REORDERING = frozenset(["pop", "popitem", "clear", "delitem"])
# Attributes of an object that NumPy looks for.
_FOR_NUMPY = frozenset(["__array__", "__array_interface__", "__array_struct__", "__buffer__"])
# Deeper nesting is not followed.
_DEEPEST = 12


def owner(array):
    """The array at the end of the chain of bases: arrays of one owner share memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def same_bytes(a, b):
    """Tell whether two arrays are of one shape and dtype and hold the same bits; of objects they do not."""
    alike = a.shape == b.shape and a.dtype == b.dtype and not a.dtype.hasobject
    return alike and a.tobytes() == b.tobytes()


@functools.cache
def _is_installed(top):
    """Whether a top-level module comes from a folder of installed packages."""
    path = getattr(sys.modules.get(top), "__file__", None) or ""
    return any(part in ("site-packages", "dist-packages") for part in path.split(os.sep))


# What was read of the code objects met so far, by identity: they compare by all that is in them.
_READ = {}
_MOST_READ = 4096


def _facts_of(code):
    """What a code object and those inside it have: names that they use, in order, numbers written in them.

    And whether all of them are known to reach out by known names only.
    """
    read = _READ.get(id(code))
    if read is None:
        if len(_READ) >= _MOST_READ:
            _READ.clear()
        read = _READ[id(code)] = (*_read_code(code), code)  # which keeps its id
    return read[:3]


def _read_code(code):
    names, literals, known = set(code.co_names), set(), is_known_code(code)
    pending = list(code.co_consts)
    while pending:
        item = pending.pop()
        if isinstance(item, types.CodeType):
            inner_names, inner_literals, inner_known = _facts_of(item)
            names.update(inner_names)
            literals |= inner_literals
            known = known and inner_known
        elif isinstance(item, (tuple, frozenset)):
            pending.extend(item)
        elif isinstance(item, (int, float, complex)):
            literals.add(item)
    return tuple(sorted(names)), frozenset(literals), known


@functools.lru_cache(maxsize=4096)
def _is_closed(module, root):
    """Whether code of this module is a library's, for a function of the module `root`."""
    if module is None or module == root:
        return module is None
    top = module.partition(".")[0]
    if top in _CLOSED:
        return not module.startswith(_PROGRAMS)
    return _is_installed(top) and top != (root or "").partition(".")[0]


class Environment:
    """The environment of a function at this moment.

    Parameters
    ----------
    fun : callable
    values : iterable
        Further objects that calls depend on: static arguments, classes and keys of containers.

    Attributes
    ----------
    reads : list of tuple
        For `_core.Version`: ``(kind, where, name, number, what)``.
    labels : list of str
        What each of `reads` is, for messages.
    arrays : list of (str, ndarray)
    owners : dict
        From the id of the owner of each array's memory to the array.
    numbers : set
        Numbers found, and those written in the code.
    scalars : dict
        From the id of each NumPy number found to the number.
    objects : dict
        From the id of each object found to the object.
    generators : list
        Sources of random numbers.
    known : bool
        Whether the function can depend on nothing but its arguments and what `reads` lists.
    """

    def __init__(self, fun, values=()):
        self._root = getattr(fun, "__module__", None)
        if self._root == "builtins":  # functools.wraps
            self._root = None
        self.names = set()
        self.numbers = set()
        self.scalars = {}
        while True:
            # An attribute counts when some code names it, and code is found on the way.
            self._asked = None
            self.reads, self.labels, self.arrays, self.generators = [], [], [], []
            self.objects = {}
            self._classes = set()
            self._holds_order = False
            self.known = True
            self._visit(fun, getattr(fun, "__name__", "the function"), 0)
            for value in values:
                self._visit(value, "a static argument", 0)
            if self._asked is None or self._asked == len(self.names):
                break
        self._require(not self._holds_order or _REORDERING.isdisjoint(self.names))
        self.owners = {id(owner(array)): array for _, array in self.arrays}

    def random_state(self):
        """The states of the sources of random numbers that the function names or holds."""
        states = [_state_of(generator) for generator in self.generators]
        if "random" in self.names:
            states += [repr(np.random.get_state(legacy=False)), random.getstate()]
        return states

    def _names_so_far(self):
        """The names that are known; where others are found later, all is walked again."""
        if self._asked is None:
            self._asked = len(self.names)
        return self.names

    # ------------------------------------------------------------ places

    def _read(self, kind, where, name, number, what, label):
        self.reads.append((kind, where, name, number, what))
        self.labels.append(label)

    def _item(self, mapping, name, label, depth):
        self._read("item", mapping, name, 0, mapping[name], label)
        self._visit(mapping[name], label, depth)

    # ------------------------------------------------------------ walking

    def _visit(self, value, label, depth):
        visit = _visit_of(type(value))
        if visit is _IGNORED:
            return
        if visit is Environment._number:
            return self._number(value)
        if id(value) in self.objects:
            return
        if depth > _DEEPEST:
            self.known = False
            return
        self.objects[id(value)] = value
        if visit is not None:
            return visit(self, value, label, depth + 1)
        if hasattr(value, "__wrapped__"):  # functools.cache, a decorator's object, ...
            self._visit(value.__wrapped__, label, depth + 1)
        self._object(value, label, depth + 1)

    def _number(self, number):
        self.numbers.add(number)
        if isinstance(number, np.generic):
            self._require(is_number_type(type(number)))
            self.scalars[id(number)] = number
        else:
            self._require(type(number) in _NUMBERS)

    def _require(self, known):
        """Notes whether something is known."""
        self.known = self.known and known

    def _array(self, array, label, depth):
        self._require(type(array) is np.ndarray and not array.dtype.hasobject)
        self._read("array", array, None, 0, array.view(np.ndarray), label)
        if not array.dtype.hasobject:
            self.arrays.append((label, array))

    def _list(self, items, label, depth):
        self._require(type(items) is list)
        self._read("size", items, None, len(items), None, label)
        for place, item in enumerate(items):
            self._read("place", items, None, place, item, f"{label}[{place}]")
            self._visit(item, f"{label}[{place}]", depth)

    def _tuple(self, items, label, depth):
        self._require(type(items) is tuple)
        for place, item in enumerate(items):
            self._visit(item, f"{label}[{place}]", depth)

    def _set(self, items, label, depth):
        self._require(type(items) in (set, frozenset))
        self._holds_order = True
        items_now = tuple(items)
        self._read("set", items, None, 0, items_now, label)
        self._tuple(items_now, label, depth)

    def _dict(self, mapping, label, depth):
        self._require(type(mapping) is dict and "where" not in mapping)  # a keyword for a ufunc
        self._read("count", mapping, None, len(mapping), None, label)
        self._holds_order = self._holds_order or len(mapping) > 1
        for key in list(mapping):
            if type(key) is not str:
                self._visit(key, label, depth)
            self._item(mapping, key, f"{label}[{key!r}]", depth)

    def _named(self, own, label, depth):
        """The attributes of an object that code names, as far as they are its own."""
        for name in sorted(self._names_so_far() & own.keys()):
            self._item(own, name, f"{label}.{name}", depth)

    def _code(self, code):
        names, literals, known = _facts_of(code)
        self._require(known)
        self.names.update(names)
        self.numbers |= literals
        return names

    def _function(self, fun, label, depth):
        # functools.wraps takes over the module of what is wrapped.
        if self._closed(fun.__module__) and self._closed(fun.__globals__.get("__name__")):
            self._require(is_known_function(fun))
            # One of ours, for example a function that an operator made: it may hold users' functions.
            if fun.__closure__ is None or (fun.__module__ or "").partition(".")[0] != "autograd_c":
                return
            names = ()
        else:
            names = self._code(fun.__code__)
            if fun.__builtins__ is not _BUILTINS:
                self._require(not fun.__builtins__)  # as those of named tuples
        for name in names:
            if name in fun.__globals__:
                self._item(fun.__globals__, name, name, depth)
        for name, cell in zip(fun.__code__.co_freevars, fun.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not bound yet
                self._require(False)
                continue
            self._read("cell", cell, None, 0, value, name)
            self._visit(value, name, depth)
        for name, defaults in (("__defaults__", fun.__defaults__), ("__kwdefaults__", fun.__kwdefaults__)):
            if defaults:
                self._read("slot", fun, name, 0, defaults, f"the defaults of {label}")
                self._visit(defaults, f"the defaults of {label}", depth)
        if own := fun.__dict__:
            self._named(own, label, depth)
            self._visit(own.get("__wrapped__"), label, depth)

    def _method(self, method, label, depth):
        self._visit(method.__func__, label, depth)
        self._visit(method.__self__, "self", depth)

    def _builtin(self, function, label, depth):
        bound_to = function.__self__
        if bound_to is None or isinstance(bound_to, types.ModuleType):
            self._require(is_known_function(function))
        elif isinstance(bound_to, type):  # tuple.__new__ of a named tuple
            self._require(is_known_type(bound_to))
        else:
            self._require(is_known_name(function.__name__))
            self._visit(bound_to, label, depth)

    def _partial(self, partial, label, depth):
        self._require(type(partial) is functools.partial)
        self._visit(partial.func, label, depth)
        self._tuple(partial.args, f"{label}.args", depth)
        self._dict(partial.keywords, f"{label}.keywords", depth)
        self._named(partial.__dict__, label, depth)

    def _compiled(self, fun, label, depth):
        self._visit(fun.fun, label, depth)
        self._named(fun.__dict__, label, depth)

    def _module(self, module, label, depth):
        if self._closed(module.__name__):
            self._require(is_known_module(module))
        else:
            self._require(type(module) is types.ModuleType and "__getattr__" not in vars(module))
            self._named(vars(module), label, depth)

    def _class(self, cls, label, depth, without=_ASIDE):
        names = self._names_so_far()
        if self._closed(cls.__module__):
            looked_at = cls is not np.ndarray or not LOOKING_AT_TYPES.isdisjoint(names)
            self._require(looked_at and is_known_type(cls))
            if cls is type:  # by another name
                self.names.add("type")
        else:
            self._require(is_known_class(cls, lambda module: not self._closed(module)))
        for base in cls.__mro__[:-1]:
            if not self._closed(base.__module__):
                for name, value in list(vars(base).items()):
                    if name in names or name[:2] == "__" and name not in without:
                        self._of_class(cls, name, value, f"{label}.{name}", depth)

    def _of_class(self, cls, name, value, label, depth):
        kind = type(value)
        if kind is property:
            value = value.fget
        elif kind is classmethod:  # it may make instances
            value = value.__func__
            self._visit(cls, cls.__name__, depth)
        elif kind is staticmethod:
            value = value.__func__
        if name in self.names or kind not in _DATA:
            found = _lookup(cls, name)
            if found is not None:
                self._read("type", cls, name, 0, found, label)
            self._visit(value, label, depth)

    def _object(self, value, label, depth):
        cls = type(value)
        own = getattr(value, "__dict__", None)
        has_own = isinstance(own, dict)
        own = own if has_own else {}
        if self._closed(cls.__module__) and cls.__module__ != "types":
            # An operator's function, or an object of a library: what it holds is looked at, its code not.
            self._require(is_known_object(value))
            for name in list(own):
                if name[0] != "_" or name in ("__wrapped__", "_options") or name in self._names_so_far():
                    self._item(own, name, f"{label}.{name}", depth)
            return
        self._require(_FOR_NUMPY.isdisjoint(own))
        names = self._names_so_far()
        if cls not in self._classes:
            self._classes.add(cls)
            self._class(cls, cls.__name__, depth, _ASIDE if "type" in names else _OF_OTHERS)
        makes_up = hasattr(cls, "__getattr__")
        for name in sorted(names):
            if name in own:
                self._item(own, name, f"{label}.{name}", depth)
                continue
            found = _lookup(cls, name)
            if isinstance(found, types.MemberDescriptorType) and hasattr(value, name):
                self._read("slot", value, name, 0, getattr(value, name), f"{label}.{name}")
                self._visit(getattr(value, name), f"{label}.{name}", depth)
            elif has_own and (found is not None or makes_up):
                self._read("absent", own, name, 0, None, f"{label}.{name}")

    def _slice(self, item, label, depth):
        self._tuple((item.start, item.stop, item.step), label, depth)

    def _generator(self, generator, label, depth):
        self._require(False)
        self.generators.append(generator)

    def _primitive(self, primitive, label, depth):
        self._require(is_known_function(primitive))

    def _closed(self, module):
        """Whether code of this module is taken as it is: it belongs to a library."""
        return _is_closed(module, self._root)


_BUILTINS = vars(builtins)


def _lookup(cls, name):
    for base in cls.__mro__:
        if name in vars(base):
            return vars(base)[name]
    return None


def _state_of(generator):
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return repr(generator.get_state())
    return repr(generator.bit_generator.state)


# In the place of a method: nothing of such values may change.
_IGNORED = object()
_TEXTS = (str, bytes, np.str_, np.bytes_)
_VISITS = [
    ((*_TEXTS, type(None)), _IGNORED),
    (_NUMBERS, Environment._number),
    (np.ndarray, Environment._array),
    (list, Environment._list),
    (tuple, Environment._tuple),
    ((set, frozenset), Environment._set),
    (slice, Environment._slice),
    (dict, Environment._dict),
    (types.FunctionType, Environment._function),
    (types.MethodType, Environment._method),
    (types.BuiltinFunctionType, Environment._builtin),
    (functools.partial, Environment._partial),
    (Compiled, Environment._compiled),
    (Primitive, Environment._primitive),
    (types.ModuleType, Environment._module),
    (type, Environment._class),
    ((np.random.Generator, np.random.RandomState, random.Random), Environment._generator),
]


@functools.lru_cache(maxsize=1024)
def _visit_of(kind):
    """The method that visits values of a type; None for other objects than those known."""
    if issubclass(kind, np.void) or issubclass(kind, (str, bytes)) and kind not in _TEXTS:
        return None  # what it holds may change, or it is a class of a user's
    return next((visit for base, visit in _VISITS if issubclass(kind, base)), None)
