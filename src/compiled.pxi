# Compiled functions: how a call finds its program without Python.
#
#   Compiled          a function made by `compile`
#     Signature       what the arguments look like: structure, shapes, dtypes, static values
#       Version       what the function reads besides its arguments, as it was when recorded
#         Branch      a program, one for each way through the function's guards
#
# This is the way of a call that has been seen before. What it does not know it hands to the policy
# (`policy.pxi`), which records.

cdef extern from "Python.h":
    PyObject *PyDict_GetItemWithError(object, object) except? NULL
    bint PyDict_Next(object, Py_ssize_t *, PyObject **, PyObject **) noexcept
    Py_ssize_t PyDict_GET_SIZE "PyDict_Size" (object) except -1
    PyObject *PyCell_GET(object) noexcept
    PyObject *_PyType_Lookup(PyTypeObject *, object) noexcept

cdef extern from "string.h":
    int memcmp(const void *, const void *, size_t) noexcept nogil

# --- what the arguments look like --------------------------------------------------------------------------

cdef enum LookKind:
    LOOK_ARRAY          # an ndarray: type number, shape, whether contiguous
    LOOK_EXACT          # a scalar leaf of exactly this type
    LOOK_STATIC         # this value
    LOOK_LIST
    LOOK_TUPLE
    LOOK_DICT
    LOOK_NONE           # only Python can tell

cdef struct Look:
    LookKind kind
    bint contiguous
    int number
    Py_ssize_t size             # axes of an array, items of a container
    PyObject *what              # type, value or tuple of keys; the signature's key holds it
    cnp.npy_intp *dims

cdef enum:
    FEW = 24            # leaves of most calls; more are allocated
    MADE = 64           # functions made of one compiled function that are kept

# Instead of a result: no program fits; this call is to be run eagerly.
MISS = type("Miss", (), {"__slots__": (), "__repr__": lambda self: "MISS"})()
EAGERLY = type("Eagerly", (), {"__slots__": (), "__repr__": lambda self: "EAGERLY"})()
cdef object MISSED = MISS, RUN_EAGERLY = EAGERLY


cdef inline bint same_number(object a, object b) except -1:
    """Whether two objects are one, or the same plain value: of one type and equal, floats to the bit."""
    cdef double x, y
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if PyFloat_Check(a):
        x = PyFloat_AS_DOUBLE(a)
        y = PyFloat_AS_DOUBLE(b)
        return memcmp(&x, &y, sizeof(double)) == 0
    return type(a) in (int, str, bool, bytes) and a == b


@cython.final
cdef class Signature:
    """What the arguments of a call look like, and the versions that were recorded for it.

    Parameters
    ----------
    key : tuple
        Number of positional arguments, keyword names, and the looks of all values in order: ``("array",
        number, shape, contiguous)``, ``("leaf", type)``, ``("static", type, value)``, ``("list" or "tuple",
        type, size)``, ``("dict", type, keys)`` or ``("other", ...)`` for what only Python can recognise.
    size : int
        The number of leaves.
    """
    cdef readonly tuple key
    cdef readonly Py_ssize_t size
    cdef public bint eager              # not to be recorded, or no more
    cdef readonly list versions         # the last used first
    # The policy's notes.
    cdef public Py_ssize_t changes      # recordings because the environment had changed
    cdef public Py_ssize_t draws        # recordings during which random numbers were drawn
    cdef public tuple failed            # branch and number of the guard that failed last
    cdef public bint full               # no more branches are recorded
    cdef public str reason              # why it runs eagerly
    cdef Py_ssize_t nargs, total, looks_size
    cdef tuple names
    cdef Look *looks
    cdef bint strided

    def __cinit__(self, tuple key, Py_ssize_t size):
        cdef Py_ssize_t i, j
        cdef Look *k
        cdef tuple looks
        self.key = key
        self.size = size
        self.versions = []
        self.nargs, self.names, looks = key
        self.total = self.nargs + len(self.names)
        self.looks_size = len(looks)
        self.looks = <Look *>PyMem_Calloc(self.looks_size + 1, sizeof(Look))
        if self.looks == NULL:
            raise MemoryError()
        for i in range(self.looks_size):
            self.fill(&self.looks[i], looks[i])

    cpdef Version valid(self):
        """The version that holds now; None without."""
        cdef Version version
        for version in self.versions:
            if version.changed() < 0:
                return version
        return None

    cdef Version take(self, environment, Py_ssize_t most):
        """A version for an environment, tried first from now on; of all versions the last `most` are kept."""
        cdef Version version = Version(environment)
        self.versions.insert(0, version)
        if PyList_GET_SIZE(self.versions) > most:
            del self.versions[most:]
        return version

    cdef int fill(self, Look *k, tuple look) except -1:
        cdef str kind = look[0]
        cdef Py_ssize_t j
        cdef object what = None
        if kind == "array":
            k.kind = LOOK_ARRAY
            k.number = look[1]
            k.contiguous = look[3]
            k.size = len(look[2])
            k.dims = <cnp.npy_intp *>PyMem_Malloc((k.size + 1) * sizeof(cnp.npy_intp))
            if k.dims == NULL:
                raise MemoryError()
            for j in range(k.size):
                k.dims[j] = look[2][j]
            self.strided = self.strided or not k.contiguous
        elif kind == "leaf":
            k.kind = LOOK_EXACT
            what = look[1]
        elif kind == "static":
            k.kind = LOOK_STATIC
            what = look[2]
        elif kind == "list" or kind == "tuple":
            k.kind = LOOK_LIST if kind == "list" else LOOK_TUPLE
            what = look[1]
            k.size = look[2]
        elif kind == "dict" and look[1] is dict:
            k.kind = LOOK_DICT
            what = look[2]
            k.size = len(look[2])
        else:
            k.kind = LOOK_NONE
        k.what = <PyObject *>what
        return 0

    def __dealloc__(self):
        cdef Py_ssize_t i
        if self.looks != NULL:
            for i in range(self.looks_size):
                PyMem_Free(self.looks[i].dims)
            PyMem_Free(self.looks)

    cdef bint matches(self, PyObject *const *args, Py_ssize_t n, PyObject *names, PyObject **leaves,
                      bint boxes=False) except -1:
        """Whether the arguments look like this; fills in the leaves, borrowed.

        With `boxes`, a box of a derivative looks like its value.
        """
        cdef Py_ssize_t i, at = 0, leaf = 0
        if n != self.nargs:
            return False
        if names != NULL:
            if <PyObject *>self.names != names and self.names != <object>names:
                return False
        elif self.total != n:
            return False
        for i in range(self.total):
            if not self.looks_like(args[i], &at, leaves, &leaf, boxes):
                return False
        return True

    cdef bint looks_like(self, PyObject *p, Py_ssize_t *at, PyObject **leaves, Py_ssize_t *leaf,
                         bint boxes) except -1:
        cdef Look *k = &self.looks[at[0]]
        cdef Py_ssize_t i, place = 0
        cdef PyObject *key
        cdef PyObject *value
        cdef object v = <object>p
        at[0] += 1
        if boxes and type(v) is Box:
            if not looks_like_box(k, <Box>v):
                return False
            leaves[leaf[0]] = p
            leaf[0] += 1
            return True
        if k.kind == LOOK_ARRAY:
            if not cnp.PyArray_CheckExact(v) or not looks_like_array(k, <cnp.ndarray>v):
                return False
            leaves[leaf[0]] = p
            leaf[0] += 1
            return True
        if k.kind == LOOK_EXACT:
            if type(v) is not <object>k.what:
                return False
            leaves[leaf[0]] = p
            leaf[0] += 1
            return True
        if k.kind == LOOK_STATIC:
            if p == k.what:
                return True
            return same_static(v, <object>k.what)
        if k.kind == LOOK_TUPLE:
            if type(v) is not <object>k.what or PyTuple_GET_SIZE(v) != k.size:
                return False
            for i in range(k.size):
                if not self.looks_like(PyTuple_GET_ITEM(v, i), at, leaves, leaf, boxes):
                    return False
            return True
        if k.kind == LOOK_LIST:
            if type(v) is not <object>k.what:
                return False
            for i in range(k.size):
                if PyList_GET_SIZE(v) != k.size \
                        or not self.looks_like(PyList_GET_ITEM(v, i), at, leaves, leaf, boxes):
                    return False
            return PyList_GET_SIZE(v) == k.size
        if k.kind == LOOK_DICT:
            if type(v) is not dict or PyDict_GET_SIZE(v) != k.size:
                return False
            i = 0
            while PyDict_Next(v, &place, &key, &value):
                if i == k.size or not same_key(key, PyTuple_GET_ITEM(<object>k.what, i)):
                    return False
                if not self.looks_like(value, at, leaves, leaf, boxes):
                    return False
                i += 1
            return i == k.size
        return False

    def replay(self, Compiled function not None, list leaves):
        """Runs a program on the leaves of a call; MISS when none fits, EAGERLY when the function must run."""
        cdef PyObject *few[FEW]
        cdef PyObject **given = few
        cdef Py_ssize_t i
        cdef list plain
        if self.size > FEW:
            given = <PyObject **>PyMem_Malloc(self.size * sizeof(PyObject *))
            if given == NULL:
                raise MemoryError()
        plain = list(leaves)        # holds them
        try:
            for i in range(self.size):
                given[i] = PyList_GET_ITEM(plain, i)
            return replay_signature(function, self, given, None)
        finally:
            if given != few:
                PyMem_Free(given)


cpdef bint take_looks(tuple args, dict kwargs, list looks, list leaves) except -1:
    """Appends what arguments look like that are arrays, numbers or containers of them, and their leaves.

    `looks` are those of a signature. False where something else is met, after which the ends of the lists are
    to be dropped: `autograd_c.replay` knows more sorts of values.
    """
    return append_looks_of_items(args, looks, leaves) \
        and (not kwargs or append_looks_of_items(kwargs.values(), looks, leaves))


cdef bint append_looks(object v, list looks, list leaves) except -1:
    cdef int number
    if cnp.PyArray_CheckExact(v):
        number = cnp.PyArray_TYPE(<cnp.ndarray>v)
        if number > cnp.NPY_CLONGDOUBLE or not cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray>v):
            return False
        looks.append(("array", number, shape_tuple(v), bool(cnp.PyArray_CHKFLAGS(
            <cnp.ndarray>v, cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_ALIGNED))))
    elif type(v) is float or type(v) is np_float64:
        looks.append(("leaf", type(v)))
    elif type(v) is list or type(v) is tuple:
        looks.append(("list" if type(v) is list else "tuple", type(v), len(v)))
        return append_looks_of_items(v, looks, leaves)
    elif type(v) is dict:
        looks.append(("dict", dict, tuple(v)))
        return append_looks_of_items(v.values(), looks, leaves)
    else:
        return False
    leaves.append(v)
    return True


cdef bint append_looks_of_items(object items, list looks, list leaves) except -1:
    Py_EnterRecursiveCall(" in a list or tuple that holds itself, or is nested too deep")
    try:
        for item in items:
            if not append_looks(item, looks, leaves):
                return False
        return True
    finally:
        Py_LeaveRecursiveCall()


cdef bint same_static(object a, object b) except -1:
    """Whether two static values are of one type and equal, also inside of tuples.

    What holds a box equals nothing: its hash is that of the box, not of the number in it.
    """
    cdef Py_ssize_t i
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if PyFloat_Check(a):
        return same_number(a, b)
    if type(a) is not tuple:
        return a == b and hash(a) == hash(b)
    if PyTuple_GET_SIZE(a) != PyTuple_GET_SIZE(b):
        return False
    for i in range(PyTuple_GET_SIZE(a)):
        if not same_static(<object>PyTuple_GET_ITEM(a, i), <object>PyTuple_GET_ITEM(b, i)):
            return False
    return True


cdef bint looks_like_box(Look *k, Box b) except -1:
    """Whether the value of a box, of a derivative, looks like that."""
    if b.trace.mode == RECORD:
        return False
    if k.kind == LOOK_ARRAY:
        return current(b).kind != SCALAR and cnp.PyArray_CheckExact(<object>b.v) \
            and looks_like_array(k, <cnp.ndarray>b.v)
    if k.kind != LOOK_EXACT:
        return False
    if b.kind == SCALAR:
        return <object>k.what is (float if b.weak else np_float64)
    return type(<object>current(b).v) is <object>k.what


cdef inline bint same_key(PyObject *a, PyObject *b) except -1:
    return a == b or type(<object>a) is type(<object>b) and <object>a == <object>b


cdef inline bint looks_like_array(Look *k, cnp.ndarray a) noexcept:
    cdef Py_ssize_t i
    cdef cnp.npy_intp *dims
    if cnp.PyArray_TYPE(a) != k.number or cnp.PyArray_NDIM(a) != k.size or not cnp.PyArray_ISNOTSWAPPED(a):
        return False
    dims = cnp.PyArray_DIMS(a)
    for i in range(k.size):
        if dims[i] != k.dims[i]:
            return False
    return k.contiguous == cnp.PyArray_CHKFLAGS(a, cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_ALIGNED)


# --- what the function reads besides its arguments ---------------------------------------------------------

cdef enum ReadKind:
    READ_CELL           # where.cell_contents is what
    READ_ITEM           # where[name] is what, where a dict
    READ_ABSENT         # where has no item name
    READ_TYPE           # type where: name is looked up as what
    READ_SLOT           # where.name is what
    READ_PLACE          # where[number] is what, where a list
    READ_SIZE           # where, a list, has `number` items
    READ_COUNT          # where, a dict, has `number` items
    READ_SET            # where, a set, has the items of what, a tuple, in that order
    READ_ARRAY          # where, an array, has the memory and shape that it had: `copy` is a view of it
    READ_BYTES          # where, an array, holds the bytes of `copy`

cdef struct Read:
    ReadKind kind
    Py_ssize_t number
    PyObject *where
    PyObject *name
    PyObject *what

cdef dict READ_KINDS = {
    "cell": READ_CELL, "item": READ_ITEM, "absent": READ_ABSENT, "type": READ_TYPE, "slot": READ_SLOT,
    "place": READ_PLACE, "size": READ_SIZE, "count": READ_COUNT, "set": READ_SET,
    "array": READ_ARRAY, "bytes": READ_BYTES,
}


@cython.final
cdef class Version:
    """The environment of a function at one time, and the programs that are valid in it.

    Parameters
    ----------
    environment : Environment
        Its `reads` must be as they were: (kind, where, name, number, what); see ReadKind.
    """
    cdef readonly list reads
    cdef readonly list branches         # the last used first
    cdef readonly object environment
    cdef readonly dict pending          # recordings that wait for another to confirm them, by outcomes
    cdef dict paths                     # from the way so far and an outcome to a number
    cdef Read *checks
    cdef Py_ssize_t size
    cdef readonly Py_ssize_t runs       # replayed calls

    def __cinit__(self, environment):
        self.environment = environment
        self.reads = []
        self.branches = []
        self.paths = {}
        self.pending = {}
        self.extend(environment.reads)

    def __dealloc__(self):
        PyMem_Free(self.checks)

    cpdef int extend(self, list reads) except -1:
        """More that must be as it was."""
        cdef Py_ssize_t i
        cdef Read *r
        cdef list held = self.reads + reads
        cdef Read *checks = <Read *>PyMem_Realloc(self.checks, (len(held) + 1) * sizeof(Read))
        if checks == NULL:
            raise MemoryError()
        self.checks = checks
        for i in range(self.size, len(held)):
            r = &checks[i]
            kind, where, name, number, what = held[i]
            r.kind = READ_KINDS[kind]
            r.number = number
            r.where = <PyObject *>where
            r.name = <PyObject *>name
            r.what = <PyObject *>what
        self.reads = held
        self.size = len(held)
        return 0

    def holds(self):
        """Whether all is as it was."""
        return self.changed() < 0

    cpdef Py_ssize_t changed(self) except -2:
        """The number of the first read that would give something else; -1 if there is none."""
        cdef Py_ssize_t i
        for i in range(self.size):
            if not still_reads(&self.checks[i]):
                return i
        return -1

    def other(self, Branch branch, Py_ssize_t guard, list tried):
        """The next branch to try after a guard has failed; None when there is none."""
        return self.other_branch(branch, guard, tried)

    cdef Branch other_branch(self, Branch branch, Py_ssize_t guard, list tried):
        """A branch that goes the same way up to a guard and another way there."""
        cdef Branch other
        for other in self.branches:
            if other.guards > guard and other.path[guard] == branch.path[guard] \
                    and other.path[guard + 1] != branch.path[guard + 1] and other not in tried:
                return other
        return None

    cdef list path(self, tuple outcomes):
        """Numbers for the ways through guards of these outcomes: see `Branch`."""
        cdef object way = 0
        cdef list path = [way]
        for outcome in outcomes:
            way = self.paths.setdefault((way, outcome), len(self.paths))
            path.append(way)
        return path

    cdef int enter(self, program, tuple outcomes, Structure structure, finish, bint careful,
                   notes) except -1:
        """A program for these outcomes of guards, tried first from now on; for the rest see `Branch`."""
        cdef Branch branch = Branch(program, self.path(outcomes), structure, finish, careful)
        branch.notes = notes
        self.branches.insert(0, branch)
        return 0


cdef tuple outcomes_of(Recording recording):
    """The outcomes of the guards of a recording, as a key."""
    return tuple([(type(node.outcome), node.outcome) for node in recording.guards])


cdef bint still_reads(Read *r) except -1:
    cdef PyObject *found = NULL
    cdef object where = <object>r.where
    if r.kind == READ_CELL:
        found = PyCell_GET(where)
    elif r.kind == READ_ITEM or r.kind == READ_ABSENT:
        found = PyDict_GetItemWithError(where, <object>r.name)
        if r.kind == READ_ABSENT:
            return found == NULL
    elif r.kind == READ_TYPE:
        return _PyType_Lookup(<PyTypeObject *>where, <object>r.name) == r.what
    elif r.kind == READ_SLOT:
        return same_number(getattr(where, <object>r.name, MISSED), <object>r.what)
    elif r.kind == READ_SIZE:
        return PyList_GET_SIZE(where) == r.number
    elif r.kind == READ_COUNT:
        return PyDict_GET_SIZE(where) == r.number
    elif r.kind == READ_SET:
        return same_items(where, <tuple><object>r.what)
    elif r.kind == READ_PLACE:
        if r.number >= PyList_GET_SIZE(where):
            return False
        found = PyList_GET_ITEM(where, r.number)
    elif r.kind == READ_ARRAY:
        return same_place(<cnp.ndarray>where, <cnp.ndarray><object>r.what)
    else:
        return same_bytes(<cnp.ndarray>where, <cnp.ndarray><object>r.what)
    return found == r.what or found != NULL and same_number(<object>found, <object>r.what)


cdef bint same_items(object items, tuple what) except -1:
    """Whether a set still has these items, and goes through them in this order."""
    cdef Py_ssize_t i = 0
    if len(items) != len(what):
        return False
    for item in items:
        if not same_number(item, what[i]):
            return False
        i += 1
    return True


cdef inline bint same_place(cnp.ndarray a, cnp.ndarray b) noexcept:
    cdef int i
    if cnp.PyArray_DATA(a) != cnp.PyArray_DATA(b) or cnp.PyArray_NDIM(a) != cnp.PyArray_NDIM(b) \
            or cnp.PyArray_TYPE(a) != cnp.PyArray_TYPE(b):
        return False
    for i in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_DIMS(a)[i] != cnp.PyArray_DIMS(b)[i] \
                or cnp.PyArray_STRIDES(a)[i] != cnp.PyArray_STRIDES(b)[i]:
            return False
    return True


cdef struct Span:
    char *start
    char *end


cdef Span span_of(cnp.ndarray a) noexcept:
    """The memory that an array may reach."""
    cdef Span s
    cdef int i
    cdef Py_ssize_t reach
    s.start = s.end = <char *>cnp.PyArray_DATA(a)
    for i in range(cnp.PyArray_NDIM(a)):
        reach = (cnp.PyArray_DIMS(a)[i] - 1) * cnp.PyArray_STRIDES(a)[i]
        if reach < 0:
            s.start += reach
        else:
            s.end += reach
    s.end += cnp.PyArray_ITEMSIZE(a)
    return s


cdef int compare_spans(const void *a, const void *b) noexcept nogil:
    cdef char *x = (<const Span *>a).start
    cdef char *y = (<const Span *>b).start
    return (x > y) - (x < y)


cdef bint overlap(list leaves) except -1:
    """Whether two arrays among some values may share memory."""
    cdef Py_ssize_t i, n = 0
    cdef bint found = False
    cdef Span *spans = <Span *>PyMem_Malloc((len(leaves) + 1) * sizeof(Span))
    if spans == NULL:
        raise MemoryError("a call of %d arguments" % len(leaves))
    for v in leaves:
        if cnp.PyArray_Check(v) and cnp.PyArray_SIZE(<cnp.ndarray>v):
            spans[n] = span_of(<cnp.ndarray>v)
            n += 1
    qsort(spans, n, sizeof(Span), compare_spans)
    for i in range(1, n):
        found = found or spans[i - 1].end > spans[i].start
    PyMem_Free(spans)
    return found


cpdef bint shares_any(list leaves, list arrays) except -1:
    """Whether an array among some values may share memory with another one, or with one of other arrays."""
    if len(leaves) > 1 and overlap(leaves):
        return True
    for leaf in leaves:
        if cnp.PyArray_Check(leaf) and shares_memory(leaf, arrays):
            return True
    return False


cdef bint same_bytes(cnp.ndarray a, cnp.ndarray copy) except -1:
    """Whether an array still holds the bytes of a contiguous copy of it."""
    if cnp.PyArray_NBYTES(a) != cnp.PyArray_NBYTES(copy):
        return False
    if not cnp.PyArray_IS_C_CONTIGUOUS(a):
        a = cnp.PyArray_NewCopy(a, cnp.NPY_CORDER)
    return memcmp(cnp.PyArray_DATA(a), cnp.PyArray_DATA(copy), cnp.PyArray_NBYTES(a)) == 0


# --- programs -----------------------------------------------------------------------------------------------

@cython.final
cdef class Branch:
    """A program and what becomes of its results.

    Parameters
    ----------
    program : object
        Has ``run(leaves)``, which returns the results, or the number of the guard that failed.
    path : sequence of int
        A number for each way through the first 0, 1, ... guards: of two programs, equal as long as their
        guards have the same outcomes.
    structure : Structure
        Of the result.
    finish : callable or None
        Takes the program's results and the leaves, and returns the leaves of the result.
    careful : bool
        The function changes an argument in place: the policy runs it.
    """
    cdef readonly object program, finish
    cdef readonly Structure structure
    cdef public object notes            # the policy's
    cdef readonly bint careful
    cdef Py_ssize_t guards
    cdef int *path
    cdef bint single

    def __cinit__(self, program, path, Structure structure, finish, bint careful):
        cdef Py_ssize_t i
        self.program = program
        self.structure = structure
        self.finish = finish
        self.careful = careful
        self.single = structure.kind == LEAF_VALUE and finish is None
        self.guards = len(path) - 1
        self.path = <int *>PyMem_Malloc(len(path) * sizeof(int))
        if self.path == NULL:
            raise MemoryError()
        for i in range(len(path)):
            self.path[i] = path[i]

    def __dealloc__(self):
        PyMem_Free(self.path)

    def result(self, list outs, list leaves):
        """The function's result from the program's."""
        if self.finish is not None:
            outs = self.finish(outs, leaves)
        return whole(self.structure, outs, True)


cdef list leaf_list(PyObject **leaves, Py_ssize_t n):
    cdef list out = []
    cdef Py_ssize_t i
    for i in range(n):
        out.append(<object>leaves[i])
    return out


cdef object run_program(object program, PyObject **leaves, Py_ssize_t n, int *flags, list targets=None):
    """The results of a program, in arrays of the caller's where they are given; or the guard that failed.

    `flags` are of floating point, as NumPy numbers them.
    """
    try:
        if type(program) is ReplayProgram:
            outs = (<ReplayProgram>program).run_leaves(leaves, n, flags, targets)
        elif type(program) is PreparedProgram:
            outs = (<PreparedProgram>program).run_leaves(leaves, n, flags)
        else:
            outs = program.run(leaf_list(leaves, n))
            flags[0] = program.flags
            return outs
    except ReplayMismatch:
        return RUN_EAGERLY
    if flags[0]:
        flags[0] = fp_to_npy(flags[0])
    return outs


def run_with_flags(program, list leaves):
    """What a program returns, and the floating-point flags that it raised, as NumPy numbers them."""
    cdef tuple packed = tuple(leaves)
    cdef int flags = 0
    cdef object outs = run_program(program, (<PyTupleObject *>packed).ob_item, len(packed), &flags)
    return outs, flags


@cython.final
cdef class Targets:
    """Arrays of the caller's for the results of one call."""
    cdef Structure structure
    cdef list leaves

    cdef list usable(self, Version version, Structure structure, PyObject **leaves, Py_ssize_t n):
        """By result: an array that a program may write to while it runs, or None.

        Such an array shares no memory with what the function reads, as far as that is known, or with another.
        """
        cdef list others, targets = []
        cdef Py_ssize_t i
        cdef object target
        if not in_one_order(self.structure, structure):
            return None
        others = leaf_list(leaves, n)
        for i in range(version.size):
            if version.checks[i].kind == READ_ARRAY:
                others.append(<object>version.checks[i].where)
        for target in self.leaves:
            if cnp.PyArray_CheckExact(target) and not shares_memory(target, others):
                targets.append(target)
            else:
                targets.append(None)
            others.append(target)
        return targets


cdef bint in_one_order(Structure a, Structure b) except -1:
    """Whether two structures are equal and have their leaves in the same order."""
    cdef Py_ssize_t i
    if a.kind != b.kind or a.type is not b.type or a.keys != b.keys or len(a.children) != len(b.children):
        return False
    for i in range(len(a.children)):
        if not in_one_order(<Structure>a.children[i], <Structure>b.children[i]):
            return False
    return True


cdef bint shares_memory(object array, list others) except -1:
    for other in others:
        if cnp.PyArray_Check(other) and np_may_share_memory(array, other):
            return True
    return False


cdef object replay_signature(Compiled c, Signature s, PyObject **leaves, Targets into):
    """Runs the program that holds for these leaves; MISS when there is none."""
    return replay_strided(c, s, leaves, into) if s.strided else replay_valid(c, s, leaves, leaves, into)


cdef object replay_strided(Compiled c, Signature s, PyObject **leaves, Targets into):
    """The same where some array is not contiguous: the program is run on copies."""
    cdef list plain = []
    cdef Py_ssize_t i
    cdef object v
    cdef PyObject **given = <PyObject **>PyMem_Malloc((s.size + 1) * sizeof(PyObject *))
    if given == NULL:
        raise MemoryError()
    try:
        for i in range(s.size):
            v = <object>leaves[i]
            if cnp.PyArray_CheckExact(v) and not cnp.PyArray_CHKFLAGS(
                    <cnp.ndarray>v, cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_ALIGNED):
                v = cnp.PyArray_NewCopy(<cnp.ndarray>v, cnp.NPY_CORDER)
            plain.append(v)
            given[i] = <PyObject *>v
        return replay_valid(c, s, given, leaves, into)
    finally:
        PyMem_Free(given)


cdef object replay_valid(Compiled c, Signature s, PyObject **given, PyObject **leaves, Targets into):
    """Runs a program of the version that holds now on `given`; `leaves` are the caller's own objects."""
    cdef Version version = s.valid()
    return MISSED if version is None else replay_version(c, s, version, given, leaves, into)


cdef object replay_version(Compiled c, Signature s, Version version, PyObject **given, PyObject **leaves,
                           Targets into):
    """Tries branch after branch."""
    cdef Branch branch
    cdef list tried = None, targets = None
    cdef object outs
    cdef int flags = 0
    cdef Py_ssize_t guard
    if PyList_GET_SIZE(version.branches) == 0:
        return MISSED
    branch = <Branch>PyList_GET_ITEM(version.branches, 0)
    while True:
        if branch.careful:
            return c.policy.run_careful(s, version, leaf_list(leaves, s.size))
        if into is not None:
            targets = into.usable(version, branch.structure, leaves, s.size)
        outs = run_program(branch.program, given, s.size, &flags, targets)
        if type(outs) is list:
            break
        if outs is RUN_EAGERLY:
            return outs
        guard = outs
        tried = [branch] if tried is None else tried + [branch]
        branch = version.other_branch(branch, guard, tried)
        if branch is None:
            s.failed = (tried[len(tried) - 1], guard)
            return MISSED
    if flags and c.policy.reports(flags):
        return RUN_EAGERLY
    version.runs += 1
    if tried is not None:
        version.branches.remove(branch)
        version.branches.insert(0, branch)
    if branch.single:
        return <object>PyList_GET_ITEM(outs, 0)
    if branch.finish is None:
        return whole(branch.structure, <list>outs, True)
    return branch.result(outs, leaf_list(leaves, s.size))


# --- the function -------------------------------------------------------------------------------------------

@cython.final
cdef class Compiled:
    """A function that is recorded at its first calls and replayed after: made by `compile`.

    Attributes
    ----------
    options : dict
        Those of `compile`.
    """
    cdef vectorcallfunc vectorcall
    cdef readonly object fun
    cdef readonly dict options
    cdef readonly object policy         # what it does with a call that has not been seen
    cdef list signatures                # those that can be told without Python, the last used first
    cdef readonly dict made             # see `made_once`
    cdef list insides                   # calls with boxes that have been seen, the last used first
    cdef dict __dict__
    cdef object __weakref__

    def __cinit__(self):
        self.vectorcall = <vectorcallfunc>compiled_vectorcall
        self.signatures = []
        self.made = {}
        self.insides = []

    def __init__(self, fun, dict options):
        if not callable(fun):
            raise TypeError("compile needs a function, got %s" % hooks["describe"](fun))
        self.fun = fun
        self.options = options
        self.policy = hooks["compile_policy"](self, fun, **options)
        update_wrapper(self, fun)

    def __get__(self, instance, owner):
        return self if instance is None else MethodType(self, instance)

    def __repr__(self):
        return "<compiled %s>" % getattr(self.fun, "__name__", type(self.fun).__name__)

    def __reduce__(self):
        return self.policy.reduce(self)

    def made_of(self, fun):
        """Another function, compiled with the same options."""
        return Compiled(fun, self.options)

    def made_once(self, key, make):
        """What was made of this function under that key before; the first time, what `make()` returns."""
        cdef object found = self.made.get(key)
        if found is None:
            found = self.made.setdefault(key, make())   # another thread's, where that was faster
            if len(self.made) > MADE:
                self.made.pop(next(iter(self.made)), None)
        return found

    def into(self, out, /, *args, **kwargs):
        """Calls the function and writes its results into arrays of the caller's.

        A replay writes them there at once, without arrays of its own. After an error their contents are
        undefined, as NumPy's are.

        Parameters
        ----------
        out : ndarray, or a container of them
            Of the structure of the result. An array in it takes the result in its place, and must have its
            shape and dtype; with None in its place, a result is returned as always. Arrays may be strided,
            and share memory with arguments.
        *args, **kwargs
            Those of the function.

        Returns
        -------
        object
            The result, with the arrays of `out` in their places.

        Raises
        ------
        ValueError
            When the result has another structure or shape, or an array is read-only.
        TypeError
            When the result has another dtype, or is traced.

        Examples
        --------
        >>> import numpy
        >>> from autograd_c import compile
        >>> double = compile(lambda x: 2.0 * x)
        >>> room = numpy.empty(3)
        >>> double.into(room, numpy.arange(3.0)) is room
        True
        >>> room
        array([0., 2., 4.])
        """
        cdef Targets into = Targets.__new__(Targets)
        cdef tuple given = args + tuple(kwargs.values()), names = tuple(kwargs)
        cdef PyObject *kwnames = <PyObject *>names if names else NULL
        into.leaves = []
        into.structure = take_apart(out, into.leaves, is_anything, False)
        result = call_compiled(self, (<PyTupleObject *>given).ob_item, len(args), kwnames, into)
        return out if result is out else hooks["written_into"](self, out, result)

    cdef Signature signature_among(self, dict signatures, Call call, Py_ssize_t most):
        """The signature of a call among the policy's, which calls are compared with from now on if it is new.

        None where it would be one too many.
        """
        cdef PyObject *found = PyDict_GetItemWithError(signatures, call.key)
        cdef Signature made
        if found != NULL:
            return <object>found
        if PyDict_GET_SIZE(signatures) >= most:
            return None
        made = Signature(call.key, PyList_GET_SIZE(call.leaves))
        kept = signatures.setdefault(made.key, made)    # another thread's, where that was faster
        if kept is made:
            self.signatures = [made] + self.signatures
        return kept

    def clear(self):
        """Forgets all programs, those of what operators made of it too; the next calls record again."""
        self.signatures = []
        self.insides = []
        self.policy.clear()
        for made in list(self.made.values()):
            made.clear()

    @property
    def programs(self):
        """What was recorded: a list of dicts, one a program."""
        return self.policy.programs()

    def explain(self, svg=None):
        """What was recorded, as text: programs step by step, guards, memory, and what is left to Python.

        Parameters
        ----------
        svg : str or path, optional
            A file to which a picture of the programs is written.
        """
        return self.policy.explain(svg)

    def cost(self):
        """The work of one replay for each kind of arguments, counted from shapes.

        Returns
        -------
        dict
            "flops": one for each item of an elementwise instruction or a reduction, 2mnk for a product.
            "bytes": what steps read and write outside themselves. "unknown": how many steps of which names
            run in Python, whose flops are not among those counted.
        """
        return self.policy.cost()


def is_anything(value):
    return True


cdef object compiled_vectorcall(object callable_, PyObject *const *args, size_t nargsf, PyObject *kwnames):
    return call_compiled(<Compiled>callable_, args, PyVectorcall_NARGS(nargsf), kwnames, None)


cdef object call_compiled(Compiled c, PyObject *const *args, Py_ssize_t n, PyObject *kwnames, Targets into):
    cdef Signature s
    cdef Py_ssize_t i, k
    cdef PyObject *few[FEW]
    cdef PyObject **leaves
    cdef list signatures = c.signatures
    cdef object out = MISSED
    for k in range(PyList_GET_SIZE(signatures)):
        s = <Signature>PyList_GET_ITEM(signatures, k)
        leaves = few
        if s.size > FEW:
            leaves = <PyObject **>PyMem_Malloc(s.size * sizeof(PyObject *))
            if leaves == NULL:
                raise MemoryError()
        try:
            if not s.matches(args, n, kwnames, leaves):
                continue
            if k > 0:
                c.signatures = [s] + [other for other in signatures if other is not s]
            if s.eager:
                return PyObject_Vectorcall(c.fun, args, n, kwnames)
            for i in range(s.size):
                Py_INCREF(<object>leaves[i])
            try:
                out = replay_signature(c, s, leaves, into)
            finally:
                for i in range(s.size):
                    Py_DECREF(<object>leaves[i])
        finally:
            if leaves != few:
                PyMem_Free(leaves)
        if out is RUN_EAGERLY:
            return PyObject_Vectorcall(c.fun, args, n, kwnames)
        if out is not MISSED:
            return out
        return call_policy(c, args, n, kwnames, s)
    if into is None:
        out = call_inside(c, args, n, kwnames)
        if out is not MISSED:
            return out
    return call_policy(c, args, n, kwnames, None)


cdef object call_policy(Compiled c, PyObject *const *args, Py_ssize_t n, PyObject *kwnames, Signature s):
    """A call without a program."""
    cdef tuple given = tuple([<object>args[i] for i in range(n)])
    cdef dict kwargs = {}
    cdef Py_ssize_t i
    if kwnames != NULL:
        for i in range(PyTuple_GET_SIZE(<object>kwnames)):
            kwargs[<object>PyTuple_GET_ITEM(<object>kwnames, i)] = <object>args[n + i]
    if s is None and any_box(given, kwargs):
        return c.policy.call_inside(given, kwargs)
    return c.policy.call(given, kwargs, s)


cdef Compiled any_compiled = Compiled.__new__(Compiled)
offer_vectorcall(Compiled, <char *>&any_compiled.vectorcall - <char *><PyObject *>any_compiled)
any_compiled = None
