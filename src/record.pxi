# Recording: a function as a straight-line list of primitive calls.
#
#   nodes     [0] INPUT    an argument
#             [1] CALL     primitive, operands (nodes or constants), keywords
#             [2] GUARD    the program holds only where the truth of the operand is `outcome`
#              ...         in the order of execution
#
# Rules are recorded once for all values (`record`), and then a value may not be looked at. A function that is
# compiled for replay is recorded with the values of a call (`record_call_of`): what looks at one leaves a
# guard, and what takes one out of the trace an escape, after which the function cannot be replayed.

cdef enum:
    LONG_RECORDING = 100000     # nodes: what `explain` can still tell of


cdef enum NodeKind:
    INPUT_NODE
    CALL_NODE
    GUARD_NODE          # bool(operand) is `outcome`
    CHECK_NODE          # a call whose plain result (a Python bool, int, string, ...) equals `outcome`


# The number of an operand: that of an earlier record, or -1 - k for the constant k.
cdef enum:
    NO_OPERAND = -2147483648

cdef struct Record:
    PyObject *prim      # owned; NULL for inputs and guards
    PyObject *meta      # owned: shape and dtype of the value; NULL if it has none
    int first, count    # its operands
    int extra           # its place among the extras, or -1
    unsigned char kind
    unsigned char weak          # a Python float: takes part in promotion as one
    unsigned char array0        # an array without axes, not a scalar


cdef void *table_for(void *table, Py_ssize_t count, Py_ssize_t *capacity, size_t item) except NULL:
    """The table with room for so many items."""
    cdef Py_ssize_t more
    cdef void *new
    if count <= capacity[0] and table != NULL:
        return table
    if count > INT_MAX - 1:
        raise OverflowError("a recording of more than 2**31 operands")
    more = max(count, capacity[0] * 2, 32)
    new = table_realloc(table, more * item)
    if new == NULL:
        raise MemoryError("a recording of %d steps" % count)
    capacity[0] = more
    return new


@cython.final
cdef class Code:
    """A straight-line program: records in the order of execution, their operands, and constants.

    There may be millions of records, so they are no Python objects; `node` gives one as such.
    """
    cdef Record *records
    cdef int *operands
    cdef Py_ssize_t n, noperands
    cdef Py_ssize_t capacity[2]
    cdef list constants
    cdef list extras            # (keywords or None, outcome, line of a guard or check)
    cdef dict views             # number -> Node, as far as somebody asked; or None
    cdef list given             # NumPy's numbers that the function itself, not a rule, computed with
    # Constants found again: the same literal in a loop is one constant. The list keeps them alive.
    cdef PyObject *recent[64]
    cdef int recent_operand[64]

    def __cinit__(self):
        self.constants = []
        self.extras = []
        self.given = []

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.n):
            Py_XDECREF(self.records[i].prim)
            Py_XDECREF(self.records[i].meta)
        table_free(self.records)
        table_free(self.operands)

    cdef inline int constant(self, object v) except? -1:
        """The operand that stands for a constant."""
        cdef size_t place = (<size_t><PyObject *>v >> 4) & 63
        if self.recent[place] == <PyObject *>v:
            return self.recent_operand[place]
        if not PyFloat_CheckExact(v) and isinstance(v, np_generic):
            self.note_given(v)
        self.constants.append(v)
        self.recent[place] = <PyObject *>v
        self.recent_operand[place] = -<int>PyList_GET_SIZE(self.constants)
        return self.recent_operand[place]

    cdef int note_given(self, object number) except -1:
        """Notes a number of NumPy's, which may be an item of an array that plain NumPy looked up."""
        if not in_sweep():
            self.given.append(number)
        return 0

    cdef inline object constant_at(self, int operand):
        return <object>PyList_GET_ITEM(self.constants, -1 - operand)

    cdef inline int add(self, int kind, Primitive p, Meta meta, const int *operands,
                        Py_ssize_t count) except -1:
        """One more record; its number."""
        cdef Record r
        r.prim = <PyObject *>p if p is not None else NULL
        r.meta = <PyObject *>meta if meta is not None else NULL
        r.kind = <unsigned char>kind
        r.weak = r.array0 = False
        return self.add_like(&r, operands, count)

    cdef int reserve(self, Py_ssize_t n, Py_ssize_t noperands) except -1:
        self.records = <Record *>table_for(self.records, n, &self.capacity[0], sizeof(Record))
        self.operands = <int *>table_for(self.operands, noperands, &self.capacity[1], sizeof(int))
        return 0

    cdef inline int add_like(self, const Record *r, const int *operands, Py_ssize_t count) except -1:
        """One more record that is like that one but for its operands and extra; its number."""
        cdef Record *new
        cdef int *to
        cdef Py_ssize_t i
        if self.n >= self.capacity[0] or self.noperands + count > self.capacity[1]:
            self.reserve(self.n + 1, self.noperands + count)
        new = &self.records[self.n]
        new[0] = r[0]
        Py_XINCREF(r.prim)
        Py_XINCREF(r.meta)
        new.extra = -1
        new.first = <int>self.noperands
        new.count = <int>count
        to = &self.operands[self.noperands]
        for i in range(count):
            to[i] = operands[i]
        self.noperands += count
        self.n += 1
        return <int>self.n - 1

    cdef int set_operands(self, Py_ssize_t number, const int *operands, Py_ssize_t count) except -1:
        """Gives a record other operands; those that it had are left in the table."""
        cdef Record *r = &self.records[number]
        cdef Py_ssize_t i
        if self.noperands + count > self.capacity[1]:
            self.reserve(self.n, self.noperands + count)
            r = &self.records[number]
        r.first = <int>self.noperands
        r.count = <int>count
        for i in range(count):
            self.operands[self.noperands + i] = operands[i]
        self.noperands += count
        return 0

    cdef int add_extra(self, tuple extra) except -1:
        """The place of one more extra."""
        self.extras.append(extra)
        return <int>PyList_GET_SIZE(self.extras) - 1

    cdef int set_extra(self, Py_ssize_t number, dict kwargs, object outcome, object line) except -1:
        self.records[number].extra = self.add_extra((kwargs if kwargs else None, outcome, line))
        return 0

    cdef inline dict keywords(self, const Record *r):
        """The keywords of a call; None without."""
        if r.extra < 0:
            return None
        return <dict>(<tuple>PyList_GET_ITEM(self.extras, r.extra))[0]

    cdef int add_zeros(self, Meta meta) except -1:
        cdef int number = self.add(CALL_NODE, P_ZEROS, meta, NULL, 0)
        self.set_extra(number, {"shape": meta.shape, "dtype": meta.dtype}, None, None)
        return number

    cdef Node node(self, Py_ssize_t number):
        """A record as an object."""
        if self.views is None:
            self.views = {}
        found = self.views.get(number)
        if found is None:
            found = self.views[number] = self.new_node(number)
        return <Node>found

    cdef Node new_node(self, Py_ssize_t number):
        cdef Record *r = &self.records[number]
        cdef Node n = Node.__new__(Node)
        n.code = self
        n.number = <int>number
        n.kind = r.kind
        n.weak = r.weak
        n.array0 = r.array0
        if r.prim != NULL:
            n.prim = <Primitive>r.prim
        if r.meta != NULL:
            n.meta = <Meta>r.meta
        if r.extra >= 0:
            n.kwargs, n.outcome, n.line = self.extras[r.extra]
        n.group_register = -1
        return n

    cdef inline object value(self, int operand):
        """An operand as an object: a node or a constant."""
        return self.node(operand) if operand >= 0 else self.constant_at(operand)


@cython.final
@cython.freelist(64)
cdef class Node:
    """One step of a recording or of a planned program as an object, and the value that it stands for."""
    cdef Code code
    cdef readonly int number        # in the program
    cdef readonly int kind
    cdef readonly bint weak, array0
    cdef readonly Primitive prim
    cdef readonly dict kwargs       # or None
    cdef readonly Meta meta         # shape and dtype of the value
    cdef readonly object outcome
    cdef readonly str line          # of a guard or check, where the value was looked at
    cdef tuple operands             # once somebody asked
    # The planner's own: see plan.pxi.
    cdef Work *w
    cdef int object_number, group_register
    cdef Py_ssize_t inner
    cdef double initial
    cdef LoopRef loop
    cdef readonly bint own_loop     # whether that is one of `functions.h`
    cdef char codes[MAX_INPUTS]     # types of the operands, and zero
    cdef tuple shape                # of a group's node: the shape that the group runs over
    cdef Spot spot, part

    @property
    def args(self):
        """Nodes of the same program, and constants."""
        return operands_of(self)

    def __repr__(self):
        kind = ("input", "call", "guard", "check")[self.kind]
        return "<%s %d %s>" % (kind, self.number, self.prim.name if self.prim is not None else "")


cdef tuple operands_of(Node n):
    cdef Record *r
    cdef Py_ssize_t i
    if n.operands is None:
        r = &n.code.records[n.number]
        n.operands = tuple([n.code.value(n.code.operands[r.first + i]) for i in range(r.count)])
    return n.operands


cdef inline int operand_of(Trace t, object v) except? -1:
    """The operand that stands for a value of this recording, or for a constant."""
    if type(v) is Box and (<Box>v).trace is t:
        return current(<Box>v).slot
    return t.code.constant(v)


cdef int add_call(Trace t, int kind, Primitive p, object args, dict kwargs, Meta meta) except -1:
    """Enters a call with values of the recording and constants as operands."""
    cdef Py_ssize_t i, count = len(args)
    cdef int few[8]
    cdef int *operands = few
    cdef int number
    # Views that catch up with an update add calls of their own: that comes before.
    for a in args:
        if type(a) is Box and (<Box>a).trace is t:
            current(<Box>a)
    if count > 8:
        operands = <int *>PyMem_Malloc(count * sizeof(int))
        if operands == NULL:
            raise MemoryError("a call of %d operands" % count)
    try:
        for i in range(count):
            operands[i] = operand_of(t, args[i])
        number = t.code.add(kind, p, meta, operands, count)
        if kwargs:
            t.code.set_extra(number, kwargs, None, None)
        return number
    finally:
        if operands != few:
            PyMem_Free(operands)


cdef Box node_box(Trace t, int number, object value):
    cdef Box b = new_object(t, number, value)
    cdef Record *r = &t.code.records[number]
    if cnp.PyArray_Check(value) and not cnp.PyArray_ISNUMBER(<cnp.ndarray>value) \
            and not cnp.PyArray_ISBOOL(<cnp.ndarray>value) and t.replay and r.prim != NULL:
        refuse_objects(t, <Primitive>r.prim, value.dtype)
        r = &t.code.records[number]
    r.weak = b.weak
    r.array0 = cnp.PyArray_Check(value) and cnp.PyArray_NDIM(<cnp.ndarray>value) == 0
    if b.kind == OBJECT:
        share_field(&b.meta, r.meta)
    return b


cdef int refuse_objects(Trace t, Primitive p, object dtype) except -1:
    """References cannot lie in the memory of a program."""
    if dtype.kind not in "SUmM":
        note_escape(t, "the result of %s, an array of dtype %s," % (p.name, dtype))
    return 0


cdef Box input_box(Trace t, object value):
    if cnp.PyArray_Check(value) and not cnp.PyArray_CheckExact(value):
        value = hooks["plain_array"](value)
    return node_box(t, t.code.add(INPUT_NODE, None, meta_of(value), NULL, 0), value)


# --- what a recording trace does with a call --------------------------------------------------------

cdef object record_node(Primitive p, Trace t, list args, dict kwargs, object ans):
    """Enters a call that has been computed; returns the result as the trace's."""
    cdef int number
    if type(ans) is Box:
        note_escape(t, "a traced value of a derivative outside the function")
    if cnp.PyArray_CheckExact(ans) or isinstance(ans, np_generic) or PyFloat_Check(ans) or type(ans) is Box:
        return node_box(t, add_call(t, CALL_NODE, p, args, kwargs, meta_of(ans)), ans)
    if cnp.PyArray_Check(ans):
        return record_node(p, t, args, kwargs, hooks["plain_array"](ans))
    if type(ans) is complex:
        return record_node(p, t, args, kwargs, np_complex128(ans))
    if isinstance(ans, (tuple, list)) and ans:
        return record_items(p, t, args, kwargs, ans)
    number = add_call(t, CHECK_NODE, p, args, None, None)
    t.code.set_extra(number, kwargs, ans, None)
    if not isinstance(ans, (bool, int, str, tuple, np_dtype, type(None))):
        note_escape(t, "the result of %s, a %s," % (p.name, type(ans).__name__))
    return ans


cdef object record_items(Primitive p, Trace t, list args, dict kwargs, object ans):
    """A call with several results: each item is a record of its own."""
    cdef int number
    cdef int operands[2]
    cdef list items = []
    cdef Py_ssize_t i
    operands[0] = add_call(t, CALL_NODE, p, args, kwargs, None)
    for i in range(len(ans)):
        item = ans[i]
        operands[1] = t.code.constant(i)
        if cnp.PyArray_CheckExact(item) or isinstance(item, np_generic) or PyFloat_Check(item):
            items.append(node_box(t, t.code.add(CALL_NODE, P_ITEM, meta_of(item), operands, 2), item))
        else:
            number = t.code.add(CHECK_NODE, P_ITEM, None, operands, 2)
            t.code.set_extra(number, None, item, None)
            items.append(item)
    if type(ans) is tuple or type(ans) is list:
        return type(ans)(items)
    return type(ans)(*items)


cdef object record_scalars(Primitive p, Trace t, object x, object y, double a, double b, bint weak,
                           bint libm_power):
    """An arithmetic operator on float64 scalars of a recording, as `scalar_call` computes it."""
    cdef double given[2]
    cdef double value
    cdef int operands[2]
    cdef int number
    if not t.open:
        raise_outlived()
    given[0] = a
    given[1] = b
    value = scalar_result(p, given, libm_power)
    if type(x) is np_float64:
        t.code.note_given(x)
    if type(y) is np_float64:
        t.code.note_given(y)
    # A float stays the object that it is: the planner knows a literal by it.
    operands[0] = operand_of(t, x if type(x) is Box or type(x) is float else a)
    if y is not None:
        operands[1] = operand_of(t, y if type(y) is Box or type(y) is float else b)
    number = t.code.add(CALL_NODE, p, META_FLOAT64, operands, 1 if y is None else 2)
    t.code.records[number].weak = weak
    return new_scalar(t, number, value, weak)


cdef inline bint float_of(object v, Trace t, double *to) noexcept:
    """The double behind a float or a float64 scalar, plain or of this recording."""
    if type(v) is Box:
        to[0] = (<Box>v).d
        return (<Box>v).kind == SCALAR and (<Box>v).trace is t
    if type(v) is float or type(v) is np_float64:
        to[0] = PyFloat_AS_DOUBLE(v)
        return True
    return False


cdef object record_direct(Primitive p, Trace t, PyObject *const *args, Py_ssize_t n):
    """A call of an elementwise primitive with its positional arguments."""
    # Owned: the call may run Python, which may update a box or let go of it.
    cdef PyObject *values[MAX_INPUTS]
    cdef int operands[MAX_INPUTS]
    cdef Py_ssize_t i, held = 0
    cdef object v, ans
    cdef Meta meta = None
    cdef double a = 0.0, b = 0.0
    if t.replay and n <= 2 and p.scalar_ready() and float_of(<object>args[0], t, &a) \
            and (n == 1 or float_of(<object>args[1], t, &b)):
        return record_scalars(p, t, <object>args[0], <object>args[1] if n == 2 else None, a, b, False, False)
    try:
        for i in range(n):
            v = <object>args[i]
            if type(v) is Box and (<Box>v).trace is t:
                v = box_value(current(<Box>v))
                if not p.is_ufunc and type(v) is float:
                    v = np_float64(v)
            elif cnp.PyArray_Check(v) and not cnp.PyArray_CheckExact(v):
                v = hooks["plain_array"](v)
            Py_INCREF(v)
            values[i] = <PyObject *>v
            held += 1
        # Views that catch up with an update have added calls of their own by now.
        for i in range(n):
            operands[i] = operand_of(t, <object>args[i])
        # What prepares a primitive is recorded, too, and may call the primitive itself.
        ans = direct_loop(p, values, n) if p.prepared else None
        if ans is None:
            ans = PyObject_Vectorcall(p, values, n, NULL)
        if not cnp.PyArray_CheckExact(ans):
            return record_node(p, t, [<object>args[i] for i in range(n)], None, ans)
        for i in range(n):
            if type(<object>args[i]) is Box and alike(<object>values[i], ans) \
                    and (<cnp.ndarray>values[i]).descr is (<cnp.ndarray>ans).descr:
                meta = box_meta(<Box>args[i])
                break
        else:
            meta = meta_of(ans)
        return node_box(t, t.code.add(CALL_NODE, p, meta, operands, n), ans)
    finally:
        for i in range(held):
            Py_DECREF(<object>values[i])


cdef object record_item(Box x, object index):
    """``x[index]`` of a plain array by basic indexing."""
    cdef Trace t = x.trace
    cdef object base = <object>x.v, value = PyObject_GetItem(base, index)
    cdef Box out
    if not cnp.PyArray_CheckExact(value) and not isinstance(value, np_generic):
        return hooks["getitem"](x, index)
    out = node_box(t, add_call(t, CALL_NODE, P_GETITEM, (x, index), None, meta_of(value)), value)
    if shares(value, base):
        look_at(out, x, index)
    return out


cdef inline Trace recorded_by(object v):
    """The recording that a value belongs to, if any."""
    if type(v) is Box and (<Box>v).trace.mode == RECORD:
        return (<Box>v).trace
    return None


cdef int recorded_index(Trace t, Adjoint *to, object g, object index, Meta meta) except -1:
    """Adds the cotangent of indexed items to an adjoint, one or both of them values of a recording.

    An array that only the adjoint holds is added to in place: it costs what the items cost.
    """
    cdef Box b
    cdef object target
    cdef int number
    cdef Py_ssize_t i
    if to.o == NULL:
        target = zeros_like_meta(meta)
        put_adjoint(to, node_box(t, t.code.add_zeros(meta), target))
        target = None
    if recorded_by(<object>to.o) is not t or not OWNED_OBJECT(to.o) \
            or not OWNED_ARRAY((<Box>to.o).v) or not is_basic(index):
        return put_adjoint(to, hooks["index_add"](<object>to.o, g, index))
    b = <Box>to.o
    target = <object>b.v
    number = add_call(t, CALL_NODE, <Primitive>hooks["index_add"], (b, g, index), None, box_meta(b))
    if type(index) is int and type(g) is Box and (<Box>g).kind == SCALAR \
            and cnp.PyArray_TYPE(<cnp.ndarray>target) == cnp.NPY_DOUBLE \
            and cnp.PyArray_NDIM(<cnp.ndarray>target) == 1:
        i = index
        if i < 0:
            i += cnp.PyArray_DIMS(<cnp.ndarray>target)[0]
        (<double *>cnp.PyArray_GETPTR1(<cnp.ndarray>target, i))[0] += (<Box>g).d
    else:
        add_at(target, index, box_value(current(<Box>g)) if type(g) is Box else g)
    b.slot = number
    return 0


# --- what leaves the trace ------------------------------------------------------------------------------

cdef object looked_at(Box b, int kind, Primitive p, object look):
    """What a look at a traced value finds: a guard or check, of the line where it happens."""
    cdef Trace t = b.trace
    cdef object outcome
    if not t.replay:
        raise_looked_at()
    if not t.open:
        raise_outlived()
    outcome = look(box_value(current(b)))
    t.code.set_extra(add_call(t, kind, p, (b,), None, None), None, outcome, hooks["current_line"]())
    return outcome


cdef bint recorded_truth(Box b) except -1:
    return looked_at(b, GUARD_NODE, None, bool)


cdef object recorded_int(Box b, Primitive p):
    """``int(x)`` or an index."""
    return looked_at(b, CHECK_NODE, p, p.fun)


cdef int note_escape(Trace t, str what) except -1:
    """A value left the trace in a way that no guard covers: the recording cannot be replayed."""
    if not t.replay:
        raise_looked_at()
    t.escapes.append((what, hooks["current_line"]()))
    return 0


cdef object escaped(Box b, str what):
    """The plain value inside a box of a recording, handed to code that the trace does not see."""
    note_escape(b.trace, what)
    return innermost(box_value(current(b)))


# --- recordings ---------------------------------------------------------------------------------------------

def record(fun, list samples):
    """Records ``fun(*boxes)`` for all values: nothing in it may look at one.

    Returns the code, a list of ``(primitive, operands, keywords)`` whose operands are ``("slot", i)``
    or ``("const", value)``, and the operand of the result. Slots count the samples first.
    """
    cdef Trace t = open_trace(RECORD)
    cdef Code recorded = t.code
    cdef list boxes = [], code = []
    cdef Record *r
    cdef Py_ssize_t i, k
    try:
        for v in samples:
            boxes.append(input_box(t, v))
        out = fun(*boxes)
        result = tagged(recorded, operand_of(t, out))
        for i in range(len(samples), recorded.n):
            r = &recorded.records[i]
            operands = tuple([tagged(recorded, recorded.operands[r.first + k]) for k in range(r.count)])
            code.append((<Primitive>r.prim, operands, recorded.keywords(r) or {}))
    finally:
        t.close()
    return code, result


cdef tuple tagged(Code code, int operand):
    return ("slot", operand) if operand >= 0 else ("const", code.constant_at(operand))


@cython.final
cdef class Recording:
    """A call of a function as a straight-line program, valid for the shapes and dtypes of its inputs.

    It never changes; each program is planned from it anew.

    Attributes
    ----------
    size : int
        The number of inputs.
    escapes : list of (str, str)
        What took a value out of the trace, and the line; not empty for a function that cannot be replayed.
    """
    cdef Code code
    cdef readonly list outs     # operands that the function returned; less than 0: constants
    cdef readonly list changed  # (input, operand): inputs changed in place, and their last value
    cdef readonly list escapes
    cdef readonly Py_ssize_t size
    cdef readonly bint planned, forgotten, fastmath
    cdef readonly frozenset seeds       # of the last program

    def __len__(self):
        return self.code.n

    @property
    def nodes(self):
        """Inputs first, then calls and guards in the order of execution."""
        cdef Py_ssize_t i
        return [self.code.node(i) for i in range(self.code.n)]

    @property
    def inputs(self):
        """The nodes of the inputs."""
        cdef Py_ssize_t i
        return [self.code.node(i) for i in range(self.size)]

    @property
    def results(self):
        """Nodes, or constants, that the function returned."""
        cdef int operand
        return [self.code.value(operand) for operand in self.outs]

    cpdef bint has_own_results(self, list results, list leaves) except -1:
        """Whether all results are computed by calls, and each is a value, or an array, of its own.

        Parameters
        ----------
        results, leaves : list
            Those of the call that was recorded.
        """
        cdef int operand
        cdef Py_ssize_t arrays = 0
        cdef set owners
        if self.changed:
            return False
        for operand in self.outs:
            if operand < self.size:
                return False
        if PyList_GET_SIZE(results) == 1:
            return not cnp.PyArray_Check(results[0]) or not is_owned_by(results[0], leaves)
        owners = set()
        for v in results:
            if cnp.PyArray_Check(v):
                arrays += 1
                owners.add(<size_t>owner(<PyObject *>v))
        for v in leaves:
            if cnp.PyArray_Check(v) and <size_t>owner(<PyObject *>v) in owners:
                return False
        return len(owners) == arrays and len(set(self.outs)) == len(self.outs)

    @property
    def updates(self):
        """Inputs that the function changed in place: pairs of a number and the node of the last value."""
        cdef int operand
        return [(i, self.code.value(operand)) for i, operand in self.changed]

    @property
    def guards(self):
        """The guards and checks, in the order of execution."""
        cdef Py_ssize_t i
        return [self.code.node(i) for i in range(self.code.n) if self.code.records[i].kind >= GUARD_NODE]

    @property
    def constants(self):
        """The constants among operands, keywords and results."""
        cdef list found = list(self.code.constants)
        for kwargs, _, _ in self.code.extras:
            if kwargs is not None:
                found.extend(kwargs.values())
        return found

    @property
    def given(self):
        """NumPy's numbers that the function itself, not a rule, computed with."""
        return self.code.given

    @property
    def shapes(self):
        """The shapes of all values, as a set."""
        cdef Py_ssize_t i
        cdef set found = set()
        cdef PyObject *last = NULL
        for i in range(self.code.n):
            if self.code.records[i].meta != last and self.code.records[i].meta != NULL:
                last = self.code.records[i].meta
                found.add((<Meta>last).shape)
        return found

    def forget(self):
        """Lets go of a long recording, but for inputs, results and guards, once it has a program."""
        cdef Code kept, code = self.code
        cdef Record *r
        cdef Py_ssize_t i
        cdef int number, operand
        cdef dict moved = {}
        cdef set results
        if code.n < LONG_RECORDING:
            return
        results = set(self.outs) | {operand for _, operand in self.changed}
        kept = Code.__new__(Code)
        for i in range(code.n):
            r = &code.records[i]
            if r.kind == CALL_NODE and i not in results:
                continue
            number = kept.add_like(r, NULL, 0)
            if r.extra >= 0:
                kept.records[number].extra = kept.add_extra(code.extras[r.extra])
            moved[i] = number
        for operand in results:
            if operand < 0:
                moved[operand] = kept.constant(code.constant_at(operand))
        self.code = kept
        self.outs = [moved[operand] for operand in self.outs]
        self.changed = [(i, moved[operand]) for i, operand in self.changed]
        self.forgotten = True

    def same_as(self, Recording other):
        """Whether another recording of the function is the same program: same calls, constants and results.

        Constants that differ mean that the function depends on something that the trace does not see, such as
        random numbers.
        """
        cdef Comparison c = Comparison.__new__(Comparison)
        cdef Py_ssize_t i
        c.a = self.code
        c.b = other.code
        c.known = [0] * len(c.a.constants)
        if c.a.n != c.b.n or c.a.noperands != c.b.noperands or len(self.outs) != len(other.outs):
            return False
        for i in range(c.a.n):
            if not c.same_records(&c.a.records[i], &c.b.records[i]):
                return False
        for i in range(len(self.outs)):
            if not c.same_operands(self.outs[i], other.outs[i]):
                return False
        return True


cdef bint is_owned_by(object array, list leaves) noexcept:
    """Whether the memory of an array is that of a leaf."""
    cdef PyObject *own = owner(<PyObject *>array)
    for v in leaves:
        if cnp.PyArray_Check(v) and owner(<PyObject *>v) == own:
            return True
    return False


@cython.final
cdef class Comparison:
    """Two programs side by side."""
    cdef Code a, b
    cdef list known         # by constant of `a`: the operand of `b` that was found to be the same, or 0
    cdef PyObject *metas[2]         # of the last two values that were found to look the same

    cdef bint same_operands(self, int x, int y) except -1:
        if x >= 0 or y >= 0:
            return x == y
        if <int>self.known[-1 - x] == y:
            return True
        if not same_constant(self.a.constant_at(x), self.b.constant_at(y)):
            return False
        self.known[-1 - x] = y
        return True

    cdef bint same_records(self, Record *x, Record *y) except -1:
        cdef int k
        if x.kind != y.kind or x.prim != y.prim or x.count != y.count or (x.extra < 0) != (y.extra < 0):
            return False
        for k in range(x.count):
            if not self.same_operands(self.a.operands[x.first + k], self.b.operands[y.first + k]):
                return False
        if x.extra >= 0:
            for v, w in zip((<tuple>self.a.extras[x.extra])[:2], (<tuple>self.b.extras[y.extra])[:2]):
                if not same_constant(v, w):
                    return False
        if x.meta == y.meta or x.meta == self.metas[0] and y.meta == self.metas[1]:
            return True
        self.metas[0] = x.meta
        self.metas[1] = y.meta
        return same_meta(x.meta, y.meta)


cdef bint same_constant(object a, object b) except -1:
    """Whether two constants are the same object, the same memory, or of the same type with the same bits."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if type(a) is float or type(a) is int or type(a) is str:
        return a == b and (a != 0 or str(a) == str(b)) or a != a and b != b
    if type(a) is np_float64:
        return same_number(a, b)
    if isinstance(a, (tuple, list)):
        return same_constants(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and same_constants(list(a.values()), [b[key] for key in a])
    if cnp.PyArray_CheckExact(a) and same_array(<cnp.ndarray>a, <cnp.ndarray>b):
        return True
    return hooks["same_constant"](a, b)


cdef bint same_constants(object a, object b) except -1:
    if len(a) != len(b):
        return False
    for v, w in zip(a, b):
        if not same_constant(v, w):
            return False
    return True


cdef bint same_array(cnp.ndarray a, cnp.ndarray b) except -1:
    """Whether two arrays of numbers, of one dtype object, are the same memory or hold the same bytes."""
    if cnp.PyArray_DESCR(a) != cnp.PyArray_DESCR(b) or cnp.PyArray_TYPE(a) > cnp.NPY_CLONGDOUBLE:
        return False
    if same_place(a, b):
        return True
    if cnp.PyArray_NDIM(a) != cnp.PyArray_NDIM(b) or not cnp.PyArray_CompareLists(
            cnp.PyArray_DIMS(a), cnp.PyArray_DIMS(b), cnp.PyArray_NDIM(a)):
        return False
    if is_stretched(a) and is_stretched(b):
        return memcmp(cnp.PyArray_DATA(a), cnp.PyArray_DATA(b), cnp.PyArray_ITEMSIZE(a)) == 0
    return cnp.PyArray_IS_C_CONTIGUOUS(a) and cnp.PyArray_IS_C_CONTIGUOUS(b) and same_bytes(a, b)


cdef Code NO_CODE = Code.__new__(Code)


cpdef tuple record_call_of(fun, list leaves, kept=frozenset()):
    """Records ``fun(boxes)`` with the values of one call.

    Parameters
    ----------
    fun : callable
        Takes the list of boxed leaves and returns a list of results.
    leaves : list
        Floats, NumPy scalars and arrays.
    kept : set of Primitive, optional
        Those whose calls are recorded as they are, and not as others.

    Returns
    -------
    outs : list
        The results: this call's.
    recording : Recording
    """
    cdef Trace t = open_trace(RECORD)
    cdef Recording r = Recording.__new__(Recording)
    cdef list boxes = [], outs = []
    cdef Box b
    cdef Py_ssize_t i
    t.replay = True
    t.escapes = []
    t.kept = kept
    r.code = t.code
    r.outs = []
    r.changed = []
    try:
        for v in leaves:
            boxes.append(input_box(t, v))
        for out in fun(list(boxes)):
            if type(out) is Box and (<Box>out).trace is not t:
                refuse_outlived(out)
            r.outs.append(operand_of(t, out))
            if type(out) is Box and (<Box>out).trace is t:
                out = box_value(current(<Box>out))
            outs.append(out)
        for i in range(len(boxes)):
            b = current(<Box>boxes[i])
            if b.slot != i:
                r.changed.append((i, b.slot))
                write_back(leaves[i], b)
    finally:
        t.close()
        r.escapes = t.escapes
        r.size = len(leaves)
        t.code = NO_CODE    # values that outlive the recording, which they must not, do not keep it
    return outs, r


cdef int write_back(object leaf, Box b) except -1:
    """What the function did to its argument in place happens to the caller's array."""
    if cnp.PyArray_Check(leaf):
        leaf[...] = box_value(b)
    return 0
