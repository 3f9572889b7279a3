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


@cython.final
@cython.no_gc
@cython.freelist(4096)
cdef class Node:
    """One step of a recording, and the value that it stands for.

    Like boxes, nodes are not seen by the cyclic collector one by one: there may be millions.
    """
    cdef readonly int kind
    cdef readonly int number        # in the recording
    cdef readonly bint weak         # a Python float: takes part in promotion as one
    cdef bint array0                # an array without axes, not a scalar
    cdef readonly Primitive prim
    cdef readonly tuple args        # nodes of the same recording, or constants
    cdef readonly dict kwargs       # or None
    cdef readonly Meta meta         # shape and dtype of the value
    cdef readonly object outcome
    cdef readonly str line          # of a guard or check, where the value was looked at
    # The planner's own: see plan.pxi.
    cdef object same                # the node or constant that stands for this one, or None
    cdef bint wanted, kept, scalar, stored, in_place, in_scalars, seeded, late, paired
    cdef int category, op, uses, waiting, barrier, step, object_number, group_register
    cdef Py_ssize_t address, item, inner
    cdef double initial
    cdef LoopRef loop
    cdef bytes codes
    cdef tuple shape                # of a group's node: the shape that the group runs over
    cdef Spot spot, part

    def __repr__(self):
        kind = ("input", "call", "guard", "check")[self.kind]
        return "<%s %d %s>" % (kind, self.number, self.prim.name if self.prim is not None else "")


cdef Node new_node(int kind, Primitive p, tuple args, dict kwargs, Meta meta):
    cdef Node n = Node.__new__(Node)
    n.group_register = -1
    n.kind = kind
    n.prim = p
    n.args = args
    n.kwargs = kwargs if kwargs else None
    n.meta = meta
    return n


cdef inline Node numbered(list nodes, Node n):
    """The node, as the last one of a list."""
    n.number = <int>PyList_GET_SIZE(nodes)
    nodes.append(n)
    return n


cdef Node add_node(Trace t, int kind, Primitive p, tuple args, dict kwargs, Meta meta):
    return numbered(t.code, new_node(kind, p, args, kwargs, meta))


cdef Node zeros_node(Meta meta):
    return new_node(CALL_NODE, P_ZEROS, (), {"shape": meta.shape, "dtype": meta.dtype}, meta)


cdef inline object operand_of(Trace t, object v):
    """The node of a traced value of this recording, any other value as it is."""
    if type(v) is Box and (<Box>v).trace is t:
        return <Node>PyList_GET_ITEM(t.code, current(<Box>v).slot)
    return v


cdef Box node_box(Trace t, Node n, object value):
    cdef Box b = new_object(t, n.number, value)
    n.weak = b.weak
    n.array0 = cnp.PyArray_Check(value) and cnp.PyArray_NDIM(<cnp.ndarray>value) == 0
    return b


cdef Box input_box(Trace t, object value):
    cdef Node n
    if cnp.PyArray_Check(value) and not cnp.PyArray_CheckExact(value):
        value = hooks["plain_array"](value)
    return node_box(t, add_node(t, INPUT_NODE, None, (), None, meta_of(value)), value)


# --- what a recording trace does with a call --------------------------------------------------------

cdef object record_node(Primitive p, Trace t, list args, dict kwargs, object ans):
    """Enters a call that has been computed; returns the result as the trace's."""
    cdef tuple operands
    cdef Node n
    cdef Py_ssize_t i
    if type(ans) is Box:
        note_escape(t, "a traced value of a derivative outside the function")
    operands = PyTuple_New(len(args))
    for i in range(len(args)):
        a = operand_of(t, args[i])
        Py_INCREF(a)
        PyTuple_SET_ITEM(operands, i, a)
    if cnp.PyArray_CheckExact(ans) or isinstance(ans, np_generic) or PyFloat_Check(ans) or type(ans) is Box:
        n = add_node(t, CALL_NODE, p, operands, kwargs, meta_of(ans))
        return node_box(t, n, ans)
    if cnp.PyArray_Check(ans):
        return record_node(p, t, args, kwargs, hooks["plain_array"](ans))
    if type(ans) is complex:
        return record_node(p, t, args, kwargs, np_complex128(ans))
    if isinstance(ans, (tuple, list)) and ans:
        return record_items(p, t, operands, kwargs, ans)
    n = add_node(t, CHECK_NODE, p, operands, kwargs, None)
    n.outcome = ans
    if not isinstance(ans, (bool, int, str, tuple, np_dtype, type(None))):
        note_escape(t, "the result of %s, a %s," % (p.name, type(ans).__name__))
    return ans


cdef object record_items(Primitive p, Trace t, tuple operands, dict kwargs, object ans):
    """A call with several results: each item is a node of its own."""
    cdef Node whole = add_node(t, CALL_NODE, p, operands, kwargs, None), n
    cdef list items = []
    cdef Py_ssize_t i
    for i in range(len(ans)):
        item = ans[i]
        if cnp.PyArray_CheckExact(item) or isinstance(item, np_generic) or PyFloat_Check(item):
            n = add_node(t, CALL_NODE, P_ITEM, (whole, i), None, meta_of(item))
            items.append(node_box(t, n, item))
        else:
            n = add_node(t, CHECK_NODE, P_ITEM, (whole, i), None, None)
            n.outcome = item
            items.append(item)
    if type(ans) is tuple or type(ans) is list:
        return type(ans)(items)
    return type(ans)(*items)


cdef object record_scalars(Primitive p, Trace t, object x, object y, double a, double b, bint weak,
                           bint libm_power):
    """An arithmetic operator on float64 scalars of a recording, as `scalar_call` computes it."""
    cdef double given[2]
    cdef double value
    cdef tuple operands
    cdef Node n
    if not t.open:
        raise_outlived()
    given[0] = a
    given[1] = b
    value = scalar_result(p, given, libm_power)
    if y is None:
        operands = (operand_of(t, x),)
    else:
        # A float stays the object that it is: the planner knows a literal by it.
        operands = (operand_of(t, x if type(x) is Box or type(x) is float else a),
                    operand_of(t, y if type(y) is Box or type(y) is float else b))
    n = add_node(t, CALL_NODE, p, operands, None, META_FLOAT64)
    n.weak = weak
    return new_scalar(t, n.number, value, weak)


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
    """A call of a registered primitive with positional arguments: boxes of the trace and plain values."""
    cdef list given, values
    cdef Py_ssize_t i
    cdef object v, ans
    cdef double a = 0.0, b = 0.0
    if t.replay and n == p.nin and n <= 2 and p.scalar_ready() and float_of(<object>args[0], t, &a) \
            and (n == 1 or float_of(<object>args[1], t, &b)):
        return record_scalars(p, t, <object>args[0], <object>args[1] if n == 2 else None, a, b, False, False)
    given = []
    values = []
    for i in range(n):
        v = <object>args[i]
        given.append(v)
        if type(v) is Box and (<Box>v).trace is t:
            v = box_value(current(<Box>v))
            if not p.is_ufunc and type(v) is float:
                v = np_float64(v)
        elif cnp.PyArray_Check(v) and not cnp.PyArray_CheckExact(v):
            v = hooks["plain_array"](v)
        values.append(v)
    ans = p(*values)
    return record_node(p, t, given, None, ans)


cdef object record_item(Box x, object index):
    """``x[index]`` of a plain array by basic indexing."""
    cdef Trace t = x.trace
    cdef object base = <object>x.v, value = PyObject_GetItem(base, index)
    cdef Box out
    if not cnp.PyArray_CheckExact(value) and not isinstance(value, np_generic):
        return hooks["getitem"](x, index)
    out = node_box(t, add_node(t, CALL_NODE, P_GETITEM, (operand_of(t, x), index), None, meta_of(value)),
                   value)
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
    cdef Node n
    cdef object target
    if to.o == NULL:
        target = zeros_like_meta(meta)
        put_adjoint(to, node_box(t, numbered(t.code, zeros_node(meta)), target))
        target = None
    if recorded_by(<object>to.o) is not t or Py_REFCNT(<object>to.o) != 1 or not OWNED_ARRAY((<Box>to.o).v) \
            or not is_basic(index):
        return put_adjoint(to, hooks["index_add"](<object>to.o, g, index))
    b = <Box>to.o
    target = <object>b.v
    n = add_node(t, CALL_NODE, <Primitive>hooks["index_add"], (operand_of(t, b), operand_of(t, g), index),
                 None, box_meta(b))
    target[index] += box_value(current(<Box>g)) if type(g) is Box else g
    b.slot = n.number
    return 0


# --- what leaves the trace ------------------------------------------------------------------------------

cdef object looked_at(Box b, int kind, Primitive p, object look):
    """What a look at a traced value finds: a guard or check, of the line where it happens."""
    cdef Trace t = b.trace
    cdef Node n
    cdef object outcome
    if not t.replay:
        raise_looked_at()
    if not t.open:
        raise_outlived()
    outcome = look(box_value(current(b)))
    n = add_node(t, kind, p, (operand_of(t, b),), None, None)
    n.outcome = outcome
    n.line = hooks["current_line"]()
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
    cdef list boxes = [], code = []
    cdef Node n
    try:
        for v in samples:
            boxes.append(input_box(t, v))
        out = fun(*boxes)
        result = tagged(operand_of(t, out))
        for n in t.code[len(samples):]:
            code.append((n.prim, tuple([tagged(a) for a in n.args]), n.kwargs or {}))
    finally:
        t.close()
    return code, result


cdef tuple tagged(object operand):
    return ("slot", (<Node>operand).number) if type(operand) is Node else ("const", operand)


@cython.final
cdef class Recording:
    """A call of a function as a straight-line program, valid for the shapes and dtypes of its inputs.

    Attributes
    ----------
    nodes : list of Node
        Inputs first, then calls and guards in the order of execution.
    size : int
        The number of inputs.
    results : list
        Nodes, or constants, that the function returned.
    updates : list of (int, Node)
        Inputs that the function changed in place, and their last value.
    escapes : list of (str, str)
        What took a value out of the trace, and the line; not empty for a function that cannot be replayed.
    """
    cdef readonly list nodes, results, updates, escapes
    cdef readonly Py_ssize_t size
    cdef bint planned

    @property
    def guards(self):
        """The guards and checks, in the order of execution."""
        cdef Node n
        return [n for n in self.nodes if n.kind >= GUARD_NODE]

    def forget(self):
        """Lets go of the nodes of a long recording, but for inputs and guards, once it has a program."""
        cdef Node n
        if len(self.nodes) < LONG_RECORDING:
            return
        for n in self.nodes:
            n.args = ()
        self.nodes = [n for n in self.nodes if n.kind == INPUT_NODE or n.kind >= GUARD_NODE]

    def same_as(self, Recording other):
        """Whether another recording of the function is the same program: same calls, constants and results.

        Constants that differ mean that the function depends on something that the trace does not see, such as
        random numbers.
        """
        cdef Node a, b
        cdef Py_ssize_t i
        if len(self.nodes) != len(other.nodes) or len(self.results) != len(other.results):
            return False
        for i in range(len(self.nodes)):
            a = <Node>self.nodes[i]
            b = <Node>other.nodes[i]
            if a.kind != b.kind or a.prim is not b.prim or len(a.args) != len(b.args):
                return False
            if not same_operands(a.args, b.args) or not same_constant(a.kwargs, b.kwargs):
                return False
            if not same_constant(a.outcome, b.outcome):
                return False
            if a.meta is not None and (a.meta.shape != b.meta.shape or a.meta.dtype != b.meta.dtype):
                return False
        return same_operands(self.results, other.results)


cdef bint same_operands(object a, object b) except -1:
    for x, y in zip(a, b):
        if type(x) is Node and type(y) is Node:
            if (<Node>x).number != (<Node>y).number:
                return False
        elif not same_constant(x, y):
            return False
    return True


cdef bint same_constant(object a, object b) except -1:
    """Whether two constants are the same object, the same memory, or of the same type with the same bits."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if type(a) is float or type(a) is int or type(a) is str:
        return a == b and (a != 0 or str(a) == str(b)) or a != a and b != b
    return hooks["same_constant"](a, b)


def record_call_of(fun, list leaves):
    """Records ``fun(boxes)`` with the values of one call.

    Parameters
    ----------
    fun : callable
        Takes the list of boxed leaves and returns a list of results.
    leaves : list
        Floats, NumPy scalars and arrays.

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
    try:
        for v in leaves:
            boxes.append(input_box(t, v))
        r.results = []
        for out in fun(list(boxes)):
            if type(out) is Box and (<Box>out).trace is not t:
                refuse_outlived(out)
            r.results.append(operand_of(t, out))
            if type(out) is Box and (<Box>out).trace is t:
                out = box_value(current(<Box>out))
            outs.append(out)
        r.updates = []
        for i in range(len(boxes)):
            b = current(<Box>boxes[i])
            if b.slot != i:
                r.updates.append((i, <Node>t.code[b.slot]))
                write_back(leaves[i], b)
    finally:
        t.close()
        r.nodes = t.code
        r.escapes = t.escapes
        r.size = len(leaves)
        t.code = None
    return outs, r


cdef int write_back(object leaf, Box b) except -1:
    """What the function did to its argument in place happens to the caller's array."""
    if cnp.PyArray_Check(leaf):
        leaf[...] = box_value(b)
    return 0
