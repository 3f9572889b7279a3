# What a function reads besides its arguments: a walk through all that it can reach.
#
# The walk goes from a function through closure cells, globals, default arguments, bound objects and the
# functions that it calls, and lists every place where it found something, with what it found: the reads of a
# `Version`. What is known of libraries it asks `autograd_c.known` and `autograd_c.environment`, by `hooks`.

from functools import partial as functools_partial
from random import Random
from types import BuiltinFunctionType, FunctionType, GetSetDescriptorType, MemberDescriptorType, \
    ModuleType
import builtins

cdef extern from "Python.h":
    ctypedef struct PyFunctionObject:
        PyObject *func_globals
        PyObject *func_builtins
        PyObject *func_code
        PyObject *func_defaults
        PyObject *func_kwdefaults
        PyObject *func_closure
        PyObject *func_dict
        PyObject *func_module
    object PyLong_FromVoidPtr(void *)
    PyObject *PyMethod_GET_FUNCTION(object) noexcept
    PyObject *PyMethod_GET_SELF(object) noexcept

cdef enum Sort:
    SORT_FIXED              # nothing of it may change
    SORT_NUMBER
    SORT_OTHER_NUMBER       # of a class that is not known
    SORT_ARRAY
    SORT_LIST
    SORT_TUPLE
    SORT_SET
    SORT_SLICE
    SORT_DICT
    SORT_FUNCTION
    SORT_METHOD
    SORT_BUILTIN
    SORT_PARTIAL
    SORT_COMPILED
    SORT_PRIMITIVE
    SORT_MODULE
    SORT_CLASS
    SORT_GENERATOR
    SORT_OBJECT             # any other

cdef enum:
    MOST_DEPTH = 12         # deeper nesting is not followed
    MOST_REMEMBERED = 4096  # types, code objects, modules

cdef tuple TEXTS = (str, bytes, np.str_, np.bytes_)
cdef tuple SORT_OF_BASE = (
    ((*TEXTS, type(None)), SORT_FIXED),
    ((bool, int, float, complex, np.generic), SORT_NUMBER),
    (np.ndarray, SORT_ARRAY),
    (list, SORT_LIST),
    (tuple, SORT_TUPLE),
    ((set, frozenset), SORT_SET),
    (slice, SORT_SLICE),
    (dict, SORT_DICT),
    (FunctionType, SORT_FUNCTION),
    (MethodType, SORT_METHOD),
    (BuiltinFunctionType, SORT_BUILTIN),
    (functools_partial, SORT_PARTIAL),
    (Compiled, SORT_COMPILED),
    (Primitive, SORT_PRIMITIVE),
    (ModuleType, SORT_MODULE),
    (type, SORT_CLASS),
    ((np.random.Generator, np.random.RandomState, Random), SORT_GENERATOR),
)
cdef dict SORT_OF_TYPE = {}
# What was read of the code objects met so far, by identity: they compare by all that is in them.
cdef dict FACTS_OF_CODE = {}
# Whether code of a module is taken as it is, by that module, for functions of another one.
cdef dict CLOSED_MODULES = {}
cdef dict UNCHANGING = {}          # by type
cdef dict PYTHON_BUILTINS = vars(builtins)

# Functions of a class that nothing known runs: numbers do not come from texts of objects.
cdef frozenset ASIDE = frozenset([
    "__annotate__", "__annotate_func__", "__repr__", "__reduce__", "__getstate__", "__setstate__",
])
# Methods of a class that calls on its instances do not run, unless they make other instances.
cdef frozenset OF_OTHERS = ASIDE | {"__init__", "__new__", "__del__"}
# What a class has besides its methods, and runs nothing.
cdef frozenset DATA_OF_CLASS = frozenset([str, int, tuple, dict, frozenset, type(None), GetSetDescriptorType])
# By these the order of a dict can change, or what a set gives next, while all its items stay.
cdef frozenset REORDERING = frozenset(["pop", "popitem", "clear", "delitem"])
# Attributes of an object that NumPy looks for.
cdef frozenset FOR_NUMPY = frozenset(["__array__", "__array_interface__", "__array_struct__", "__buffer__"])
# Attributes of what an operator made that lead to what it was made of.
cdef frozenset HELD_BY_OPERATORS = frozenset(["__wrapped__", "_options"])


cdef inline bint is_private(str name) except -1:
    return len(name) > 0 and name[0] == u"_"


def owning_array(array):
    """The last array in the chain of bases: arrays that have the same one share memory."""
    cdef PyObject *base
    while cnp.PyArray_Check(array):
        base = cnp.PyArray_BASE(<cnp.ndarray>array)
        if base == NULL or not cnp.PyArray_Check(<object>base):
            break
        array = <object>base
    return array


@cython.final
cdef class Environment:
    """The environment of a function at this moment.

    Parameters
    ----------
    fun : callable
    values : iterable
        Further objects that calls depend on: static arguments, classes and keys of containers.

    Attributes
    ----------
    reads : list of tuple
        For `Version`: ``(kind, where, name, number, what)``.
    labels : list of str
        What each of `reads` is, for messages.
    arrays : list of ndarray
    owners : dict
        From the id of the owner of each array's memory to the array.
    names : set of str
        The names in the code that was found.
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
    cdef readonly list reads, arrays, generators
    cdef readonly dict owners, scalars, objects
    cdef readonly set names, numbers
    cdef readonly bint known
    cdef list places                # labels of the reads: see `text_of`
    cdef set classes                # of objects
    cdef dict closed                # of CLOSED_MODULES
    cdef object root                # the module of the function
    cdef Py_ssize_t asked           # names that were known when they were first looked at; or -1
    cdef bint holds_order

    def __cinit__(self, fun, values=()):
        cdef object label = getattr(fun, "__name__", None)
        self.root = getattr(fun, "__module__", None)
        if not isinstance(self.root, str) or self.root == "builtins":  # functools.wraps
            self.root = None
        self.closed = closed_modules(self.root)
        self.names = set()
        self.numbers = set()
        self.scalars = {}
        while True:
            # An attribute counts when some code names it, and code is found on the way.
            self.asked = -1
            self.reads, self.places, self.arrays, self.generators = [], [], [], []
            self.objects = {}
            self.classes = set()
            self.holds_order = False
            self.known = True
            self.visit(fun, label if type(label) is str else "the function", 0)
            for value in values:
                self.visit(value, "a static argument", 0)
            if self.asked < 0 or self.asked == len(self.names):
                break
        self.require(not self.holds_order or REORDERING.isdisjoint(self.names))
        self.owners = {}
        for array in self.arrays:
            self.owners[id_of(owning_array(array))] = array

    @property
    def labels(self):
        return [text_of(label) for label in self.places]

    def copies(self):
        """Copies of the arrays as they are now."""
        return [array.copy() for array in self.arrays]

    def random_state(self):
        """The states of the sources of random numbers that the function names or holds; None without any."""
        if not self.generators and "random" not in self.names:
            return None
        return hooks["random_state"](self.generators, "random" in self.names)

    cdef set names_so_far(self):
        """The names that are known; where others are found later, all is walked again."""
        if self.asked < 0:
            self.asked = len(self.names)
        return self.names

    cdef int require(self, bint known) except -1:
        """Notes whether something is known."""
        self.known = self.known and known
        return 0

    cdef bint is_closed(self, object module) except -1:
        """Whether code of this module is taken as it is: it belongs to a library."""
        cdef PyObject *found
        if not isinstance(module, str):
            return module is None
        found = PyDict_GetItemWithError(self.closed, module)
        if found != NULL:
            return <object>found is True
        make_room(self.closed)
        closed = bool(hooks["is_closed"](module, self.root))
        self.closed[module] = closed
        return closed

    # --- places

    cdef int read(self, str kind, object where, object name, Py_ssize_t number, object what,
                  object label) except -1:
        self.reads.append((kind, where, name, number, what))
        self.places.append(label)
        return 0

    cdef int item(self, object mapping, object name, object label, int depth) except -1:
        cdef object value = mapping[name]
        self.read("item", mapping, name, 0, value, label)
        return self.visit(value, label, depth)

    cdef int named(self, object own, object label, int depth) except -1:
        """The attributes of an object that code names, as far as they are its own."""
        cdef list found = []
        for name in self.names_so_far():
            if name in own:
                found.append(name)
        found.sort()
        for name in found:
            self.item(own, name, ("%s.%s", label, name), depth)
        return 0

    # --- walking

    cdef int visit(self, object value, object label, int depth) except -1:
        cdef Sort sort = sort_of(type(value))
        cdef object key
        if sort == SORT_FIXED:
            return 0
        if sort == SORT_NUMBER or sort == SORT_OTHER_NUMBER:
            return self.visit_number(value, sort)
        key = id_of(value)
        if key in self.objects:
            return 0
        if depth > MOST_DEPTH:
            return self.require(False)
        self.objects[key] = value
        depth += 1
        if sort == SORT_FUNCTION:
            return self.visit_function(value, label, depth)
        if sort == SORT_MODULE:
            return self.visit_module(value, label, depth)
        if sort == SORT_TUPLE:
            return self.visit_tuple(value, label, depth)
        if sort == SORT_LIST:
            return self.visit_list(value, label, depth)
        if sort == SORT_DICT:
            return self.visit_dict(value, label, depth)
        if sort == SORT_ARRAY:
            return self.visit_array(value, label)
        if sort == SORT_PARTIAL:
            return self.visit_partial(value, label, depth)
        if sort == SORT_PRIMITIVE:
            return self.require(hooks["is_known_function"](value))
        if sort == SORT_METHOD:
            self.visit(<object>PyMethod_GET_FUNCTION(value), label, depth)
            return self.visit(<object>PyMethod_GET_SELF(value), "self", depth)
        if sort == SORT_BUILTIN:
            return self.visit_builtin(value, label, depth)
        if sort == SORT_COMPILED:
            self.visit((<Compiled>value).fun, label, depth)
            return self.named(value.__dict__, label, depth)
        if sort == SORT_CLASS:
            return self.visit_class(value, label, depth, ASIDE)
        if sort == SORT_SET:
            return self.visit_set(value, label, depth)
        if sort == SORT_SLICE:
            return self.visit_tuple((value.start, value.stop, value.step), label, depth)
        if sort == SORT_GENERATOR:
            self.generators.append(value)
            return self.require(False)
        self.visit(getattr(value, "__wrapped__", None), label, depth)  # functools.cache, a decorator's object
        return self.visit_object(value, label, depth)

    cdef int visit_number(self, object number, Sort sort) except -1:
        self.numbers.add(number)
        if isinstance(number, np_generic):
            self.scalars[id_of(number)] = number
        return self.require(sort == SORT_NUMBER)

    cdef int visit_array(self, object array, object label) except -1:
        cdef bint holds_objects = array.dtype.hasobject
        self.require(cnp.PyArray_CheckExact(array) and not holds_objects)
        self.read("array", array, None, 0, array.view(np.ndarray), label)
        if not holds_objects:
            self.arrays.append(array)
        return 0

    cdef int visit_list(self, object items, object label, int depth) except -1:
        cdef Py_ssize_t place = 0
        cdef object of_item
        self.require(type(items) is list)
        self.read("size", items, None, len(items), None, label)
        for item in items:
            of_item = ("%s[%d]", label, place)
            self.read("place", items, None, place, item, of_item)
            self.visit(item, of_item, depth)
            place += 1
        return 0

    cdef int visit_tuple(self, object items, object label, int depth) except -1:
        cdef Py_ssize_t place = 0
        self.require(type(items) is tuple)
        for item in items:
            self.visit(item, ("%s[%d]", label, place), depth)
            place += 1
        return 0

    cdef int visit_set(self, object items, object label, int depth) except -1:
        cdef object items_now = tuple(items)
        self.require(type(items) is set or type(items) is frozenset)
        self.holds_order = True
        self.read("set", items, None, 0, items_now, label)
        return self.visit_tuple(items_now, label, depth)

    cdef int visit_dict(self, object mapping, object label, int depth) except -1:
        self.require(type(mapping) is dict and "where" not in mapping)  # a keyword for a ufunc
        self.read("count", mapping, None, len(mapping), None, label)
        self.holds_order = self.holds_order or len(mapping) > 1
        for key in list(mapping):
            if type(key) is not str:
                self.visit(key, label, depth)
            self.item(mapping, key, ("%s[%r]", label, key), depth)
        return 0

    cdef int visit_function(self, object fun, object label, int depth) except -1:
        cdef PyFunctionObject *f = <PyFunctionObject *>fun
        cdef object own_globals = <object>f.func_globals
        cdef object module = None if f.func_module == NULL else <object>f.func_module
        cdef object code = <object>f.func_code
        cdef tuple names = ()
        # functools.wraps takes over the module of what is wrapped.
        if self.is_closed(module) and self.is_closed(own_globals.get("__name__")):
            self.require(hooks["is_known_function"](fun))
            # One of ours, for example a function that an operator made: it may hold users' functions.
            if f.func_closure == NULL or module is None or module.partition(".")[0] != "autograd_c":
                return 0
        else:
            names = self.names_of(code)
            if f.func_builtins != <PyObject *>PYTHON_BUILTINS:
                self.require(not <object>f.func_builtins)  # as those of named tuples
        for name in names:
            if name in own_globals:
                self.item(own_globals, name, name, depth)
        if f.func_closure != NULL:
            self.visit_cells(code.co_freevars, <tuple><object>f.func_closure, depth)
        if f.func_defaults != NULL:
            self.visit_defaults(fun, "__defaults__", label, depth)
        if f.func_kwdefaults != NULL:
            self.visit_defaults(fun, "__kwdefaults__", label, depth)
        if f.func_dict != NULL:
            own = <object>f.func_dict
            self.named(own, label, depth)
            self.visit(own.get("__wrapped__"), label, depth)
        return 0

    cdef tuple names_of(self, object code):
        cdef tuple names
        names, literals, known = facts_of(code)
        self.require(known)
        self.names.update(names)
        self.numbers.update(literals)
        return names

    cdef int visit_cells(self, tuple names, tuple closure, int depth) except -1:
        cdef PyObject *found
        cdef Py_ssize_t i
        for i in range(min(len(names), len(closure))):
            found = PyCell_GET(closure[i])
            if found == NULL:  # not bound yet
                self.require(False)
                continue
            value = <object>found
            self.read("cell", closure[i], None, 0, value, names[i])
            self.visit(value, names[i], depth)
        return 0

    cdef int visit_defaults(self, object fun, str name, object label, int depth) except -1:
        cdef object values = getattr(fun, name), of_values
        if not values:
            return 0
        of_values = ("the defaults of %s", label)
        self.read("slot", fun, name, 0, values, of_values)
        return self.visit(values, of_values, depth)

    cdef int visit_builtin(self, object function, object label, int depth) except -1:
        cdef object bound_to = function.__self__
        if bound_to is None or isinstance(bound_to, ModuleType):
            return self.require(hooks["is_known_function"](function))
        if isinstance(bound_to, type):  # tuple.__new__ of a named tuple
            return self.require(hooks["is_known_type"](bound_to))
        self.require(hooks["is_known_name"](function.__name__))
        return self.visit(bound_to, label, depth)

    cdef int visit_partial(self, object partial, object label, int depth) except -1:
        self.require(type(partial) is functools_partial)
        self.visit(partial.func, label, depth)
        self.visit_tuple(partial.args, ("%s.args", label), depth)
        self.visit_dict(partial.keywords, ("%s.keywords", label), depth)
        return self.named(partial.__dict__, label, depth)

    cdef int visit_module(self, object module, object label, int depth) except -1:
        cdef dict own
        cdef object name = module.__name__
        if self.is_closed(name):
            return self.require(name in <frozenset>hooks["known_modules"])
        own = module.__dict__
        self.require(type(module) is ModuleType and "__getattr__" not in own)
        return self.named(own, label, depth)

    cdef int visit_class(self, object cls, object label, int depth, frozenset without) except -1:
        cdef set names = self.names_so_far()
        cdef list walked = []
        for base in cls.__mro__:
            if base is not object and not self.is_closed(base.__module__):
                walked.append(base)
        if self.is_closed(cls.__module__):
            self.require(hooks["is_known_type"](cls, names))
            if cls is type:  # by another name
                names.add("type")
        else:
            self.require(hooks["is_known_class"](cls, walked))
        for base in walked:
            for name, value in list(base.__dict__.items()):
                if name in names or name.startswith("__") and name not in without:
                    self.of_class(cls, name, value, ("%s.%s", label, name), depth)
        return 0

    cdef int of_class(self, object cls, str name, object value, object label, int depth) except -1:
        cdef object kind = type(value)
        cdef PyObject *place
        if kind is property:
            value = value.fget
        elif kind is classmethod:  # it may make instances
            value = value.__func__
            self.visit(cls, cls.__name__, depth)
        elif kind is staticmethod:
            value = value.__func__
        if name not in self.names and kind in DATA_OF_CLASS:
            return 0
        place = _PyType_Lookup(<PyTypeObject *>cls, name)
        if place != NULL:
            found = <object>place
            self.read("type", cls, name, 0, found, label)
        return self.visit(value, label, depth)

    cdef int visit_object(self, object value, object label, int depth) except -1:
        cdef object cls = type(value)
        cdef object own = getattr(value, "__dict__", None), module = cls.__module__
        cdef bint has_own = isinstance(own, dict)
        cdef set names
        if not has_own:
            own = {}
        if self.is_closed(module) and module != "types":
            return self.visit_object_of_library(value, own, label, depth)
        self.require(FOR_NUMPY.isdisjoint(own))
        names = self.names_so_far()
        if cls not in self.classes:
            self.classes.add(cls)
            self.visit_class(cls, cls.__name__, depth, ASIDE if "type" in names else OF_OTHERS)
        return self.attributes(value, own, has_own, label, depth)

    cdef int visit_object_of_library(self, object value, object own, object label, int depth) except -1:
        """An operator's function, or another object of a library: what it holds counts, its code not."""
        if isinstance(value, np_ufunc):
            self.require(hooks["is_known_function"](value))
        else:
            self.require(is_unchanging(type(value)))
        for name in list(own):
            if type(name) is not str or not is_private(name) or name in HELD_BY_OPERATORS \
                    or name in self.names_so_far():
                self.item(own, name, ("%s.%s", label, name), depth)
        return 0

    cdef int attributes(self, object value, object own, bint has_own, object label, int depth) except -1:
        """The attributes of a user's object that code names."""
        cdef object cls = type(value)
        cdef bint makes_up = hasattr(cls, "__getattr__")
        cdef PyObject *found
        cdef object of_name
        for name in sorted(self.names):
            of_name = ("%s.%s", label, name)
            if name in own:
                self.item(own, name, of_name, depth)
                continue
            found = _PyType_Lookup(<PyTypeObject *>cls, name)
            if found != NULL and type(<object>found) is MemberDescriptorType and hasattr(value, name):
                member = getattr(value, name)
                self.read("slot", value, name, 0, member, of_name)
                self.visit(member, of_name, depth)
            elif has_own and (found != NULL or makes_up):
                self.read("absent", own, name, 0, None, of_name)
        return 0


cdef inline object id_of(object value):
    return PyLong_FromVoidPtr(<PyObject *>value)


cdef int make_room(dict remembered) except -1:
    if len(remembered) >= MOST_REMEMBERED:
        remembered.clear()
    return 0


cdef object text_of(object label):
    """The text of a label: (form, label of the whole, part) becomes text when somebody asks."""
    if type(label) is not tuple:
        return label
    return label[0] % (text_of(label[1]), *label[2:])


cdef Sort sort_of(type kind) except? SORT_FIXED:
    cdef PyObject *found = PyDict_GetItemWithError(SORT_OF_TYPE, kind)
    if found != NULL:
        return <Sort><int><object>found
    cdef Sort sort = find_sort(kind)
    make_room(SORT_OF_TYPE)
    SORT_OF_TYPE[kind] = <int>sort
    return sort


cdef Sort find_sort(type kind) except? SORT_FIXED:
    if issubclass(kind, np.void) or issubclass(kind, (str, bytes)) and kind not in TEXTS:
        return SORT_OBJECT  # what it holds may change, or it is a class of a user's
    for base, sort in SORT_OF_BASE:
        if issubclass(kind, base):
            if sort == SORT_NUMBER and not is_plain_number(kind):
                return SORT_OTHER_NUMBER
            return sort
    return SORT_OBJECT


cdef bint is_plain_number(type kind) except -1:
    return kind in (bool, int, float, complex) or hooks["is_number_type"](kind)


cdef bint is_unchanging(type kind) except -1:
    """Whether objects of a library's type never change, as `autograd_c.known` has it."""
    cdef PyObject *found = PyDict_GetItemWithError(UNCHANGING, kind)
    if found != NULL:
        return <object>found is True
    known = bool(hooks["is_unchanging"](kind))
    make_room(UNCHANGING)
    UNCHANGING[kind] = known
    return known


cdef dict closed_modules(object root):
    cdef PyObject *found = PyDict_GetItemWithError(CLOSED_MODULES, root)
    if found != NULL:
        return <dict>found
    make_room(CLOSED_MODULES)
    return CLOSED_MODULES.setdefault(root, {})


cdef tuple facts_of(object code):
    """What a code object and those inside it have: names that they use, in order, numbers written in them.

    And whether all of them are known to reach out by known names only.
    """
    cdef object key = id_of(code)
    cdef PyObject *found = PyDict_GetItemWithError(FACTS_OF_CODE, key)
    cdef tuple facts
    if found != NULL:
        return (<tuple>found)[0]
    facts = hooks["read_code"](code)
    make_room(FACTS_OF_CODE)
    FACTS_OF_CODE[key] = facts, code    # which keeps its id
    return facts
