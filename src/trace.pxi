# Traces: who is differentiating. A trace has a level, unique and rising, so that of two traces
# alive the inner one has the higher level whatever the thread; there is no stack to restore.

cdef enum TraceMode:
    REVERSE
    FORWARD
    RECORD

cdef long long last_level = 0


@cython.final
cdef class Trace:
    """One differentiation (or recording) in progress."""
    cdef readonly long long level
    cdef int mode
    cdef bint open
    cdef Tape tape          # of a reverse trace, while it is open
    cdef Code code          # of a recording
    cdef bint replay        # a recording of one call, with guards; not of a rule, for all values
    cdef list escapes       # of such a recording: what left the trace, and where
    cdef object kept        # of such a recording: primitives that are not lowered

    cdef inline int close(self) except -1:
        self.open = False
        if self.tape is not None:
            self.tape.seal()
        self.tape = None
        return 0

    cdef inline Tape recording(self):
        """The tape. Another thread may have closed the trace since it was found open."""
        if self.tape is None:
            raise_outlived()
        return self.tape


cdef Trace open_trace(int mode):
    global last_level
    cdef Trace t = Trace.__new__(Trace)
    last_level += 1
    t.level = last_level
    t.mode = mode
    t.open = True
    if mode == REVERSE:
        t.tape = Tape.__new__(Tape)
    elif mode == RECORD:
        t.code = Code.__new__(Code)
    return t


cdef int raise_outlived() except -1:
    raise RuntimeError(
        "a traced value was used after the function that received it had returned: it was kept in a global, "
        "an attribute, a closure or a generator. Return it from the differentiated function instead, or keep "
        "stop_gradient(x). A function under checkpoint takes traced values as arguments, not by its closure")


cdef int raise_looked_at() except -1:
    raise TypeError(
        "a partial is recorded once for all values, so it may not look at one: use np.where instead of if")


cdef inline int refuse_outlived(object out) except -1:
    """A result that is a box of another trace must at least be alive."""
    if type(out) is Box and not (<Box>out).trace.open:
        raise_outlived()
    return 0


cdef Box leaf_box(Trace t, object value, object tangent):
    """Boxes an argument: slot 0, 1, ... of a reverse trace, a value with a tangent in a forward one."""
    cdef Entry *e
    cdef Box b
    cdef Meta meta = None
    cdef Tape tape
    if cnp.PyArray_Check(value) and not cnp.PyArray_CheckExact(value):
        value = hooks["plain_array"](value)
    if cnp.PyArray_CheckExact(value) and not cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray>value):
        value = value.astype(value.dtype.newbyteorder("="))
    b = new_object(t, 0, value)
    if b.kind == OBJECT:
        meta = box_meta(b)
        if meta.dtype.kind not in "fc":
            raise TypeError("no derivative with respect to a value of dtype %s; pass floats" % meta.dtype)
    if t.mode == REVERSE:
        tape = t.recording()
        e = tape.push(P_LEAF, LEAF)
        b.slot = <int>tape.n - 1
        if b.kind == SCALAR:
            e.flags = DOUBLE
        else:
            tape.keep(e, meta)
    else:
        set_tangent(b, tangent)
    return b


cdef list leaf_boxes(Trace t, list leaves):
    # Not a comprehension: the code that Cython makes of one releases an item twice when memory runs out.
    cdef list boxes = []
    cdef object v
    for v in leaves:
        boxes.append(leaf_box(t, v, None))
    return boxes


cdef int set_tangent(Box b, object tangent) except -1:
    if b.kind == SCALAR and type(tangent) is not Box:
        b.dt = tangent
    else:
        set_field(&b.tan, tangent)
    return 0


cdef inline object tangent_of(Box b):
    if b.tan != NULL:
        return <object>b.tan
    if b.kind == SCALAR:
        return float64(b.dt)
    return np_zeros(box_meta(b).shape, box_meta(b).dtype)


cdef object finished(object a, Meta meta):
    """An adjoint as users get it: of the leaf's dtype and shape, and never shared with anything."""
    if type(a) is Box or meta is META_FLOAT64:
        return scalar_if(a, meta)
    if cnp.PyArray_CheckExact(a) and Py_REFCNT(a) == 1 and cnp.PyArray_CHKFLAGS(
            <cnp.ndarray>a, cnp.NPY_ARRAY_OWNDATA | cnp.NPY_ARRAY_CARRAY):
        return a
    return hooks["finished"](a, meta)


cdef object scalar_if(object a, Meta meta):
    """An array without axes as a scalar, where it belongs to a float64 scalar."""
    if meta is not META_FLOAT64:
        return a
    if type(a) is Box:
        return P_POS(a) if holds_array(<Box>a) else a
    return float64(a)


cdef object leaf_gradient(Tape t, Adjoint *adjoints, int slot):
    cdef Entry *e = &t.entries[slot]
    cdef Adjoint *a = &adjoints[slot]
    cdef Meta meta
    cdef object g
    if e.flags & DOUBLE:
        if a.o == NULL:
            return float64(0.0)
        if a.o == MARK:
            return float64(a.d)
        return <object>a.o
    meta = <Meta>t.residual(e, 0)
    if a.o == NULL:
        return hooks["zeros"](meta)
    g = adjoint_object(a)
    drop_adjoint(a)
    return finished(g, meta)


cdef Adjoint *new_adjoints(Tape t) except NULL:
    cdef Adjoint *adjoints = <Adjoint *>table_calloc(t.n, sizeof(Adjoint))
    if adjoints == NULL:
        raise MemoryError("adjoints of %d entries" % t.n)
    return adjoints


cdef void free_adjoints(Tape t, Adjoint *adjoints) noexcept:
    cdef Py_ssize_t i
    for i in range(t.n):
        drop_adjoint(&adjoints[i])
    table_free(adjoints)


cdef int run_sweep(Tape t, Adjoint *adjoints, bint last) except -1:
    """A sweep, with NumPy's floating-point warnings for what its direct loops met."""
    cdef int raised
    fp_clear()
    sweep_begins()
    try:
        sweep(t, adjoints, last)
    finally:
        sweep_ends()
    raised = fp_flags()
    if t.raised is not None:
        report_partials(t)
    if raised | t.flags:
        give_errors("gradient", raised | t.flags)
    return 0


@cython.final
cdef class Pullback:
    """The linear map from cotangents of the results to cotangents of the arguments."""
    cdef Tape tape
    cdef list leaves            # slots
    cdef list outs              # (slot, Meta), or (-1, Meta) for a result that no argument reaches

    def __call__(self, list cotangents):
        cdef Adjoint *adjoints
        cdef Tape t = self.tape
        cdef int slot
        if len(cotangents) != len(self.outs):
            raise ValueError("%d cotangents for %d results" % (len(cotangents), len(self.outs)))
        seeds = []
        for c, (_, meta) in zip(cotangents, self.outs):
            seeds.append(hooks["seed"](c, meta))
        adjoints = new_adjoints(t)
        try:
            for (slot, meta), c in zip(self.outs, seeds):
                if slot >= 0:
                    accumulate(&adjoints[slot], is_double_slot(t, slot), c)
            del seeds, c
            run_sweep(t, adjoints, False)
            gradients = []
            for slot in self.leaves:
                gradients.append(leaf_gradient(t, adjoints, slot))
            return gradients
        finally:
            free_adjoints(t, adjoints)

    def __reduce_ex__(self, protocol):
        raise TypeError("a pullback cannot be pickled, since its tape cannot; pickle the function instead")


def trace_reverse(call, list leaves):
    """Runs ``call(boxes)`` under a reverse trace.

    Parameters
    ----------
    call : callable
        Takes the list of boxed leaves and returns a list of results.
    leaves : list
        Floats, NumPy scalars, float or complex arrays, or boxes of outer traces.

    Returns
    -------
    outs : list
        The results, unboxed by one level.
    pullback : Pullback
        Maps a list of cotangents, one a result, to the list of cotangents of the leaves.
    """
    cdef Trace t = open_trace(REVERSE)
    cdef Tape tape = t.tape
    cdef Pullback pull
    cdef list boxes, outs = []
    cdef Box b
    try:
        boxes = leaf_boxes(t, leaves)
        pull = Pullback.__new__(Pullback)
        pull.tape = tape
        pull.leaves = []
        for b in boxes:
            pull.leaves.append(b.slot)
        pull.outs = []
        for out in call(boxes):
            if type(out) is Box and (<Box>out).trace is t:
                b = current(<Box>out)
                pull.outs.append((b.slot, box_meta(b)))
                outs.append(box_value(b))
            else:
                refuse_outlived(out)
                pull.outs.append((-1, meta_of(out)))
                outs.append(out)
    finally:
        t.close()
    return outs, pull


def trace_forward(call, list leaves, list tangents):
    """Runs ``call(boxes)`` under a forward trace; returns the results and their tangents."""
    cdef Trace t = open_trace(FORWARD)
    cdef list boxes, outs = [], out_tangents = []
    cdef Box b
    if len(leaves) != len(tangents):
        raise ValueError("%d tangents for %d primals" % (len(tangents), len(leaves)))
    try:
        boxes = []
        for v, s in zip(leaves, tangents):
            boxes.append(leaf_box(t, v, hooks["seed"](s, meta_of(v))))
        for out in call(boxes):
            if type(out) is Box and (<Box>out).trace is t:
                b = current(<Box>out)
                outs.append(box_value(b))
                out_tangents.append(hooks["finished"](scalar_if(tangent_of(b), box_meta(b)), box_meta(b)))
            else:
                refuse_outlived(out)
                outs.append(out)
                out_tangents.append(hooks["zeros"](meta_of(out)))
    finally:
        t.close()
    return outs, out_tangents


cdef object as_float64(object value):
    """A value as users get it: a Python float, traced by a recording or not, becomes a float64."""
    if type(value) is Box and (<Box>value).kind == SCALAR and (<Box>value).weak and (<Box>value).trace.replay:
        return P_POS(value)
    return float64(value) if type(value) is float else value


def grad_hot(fun, tuple args, kwargs, argnum, bint want_value):
    """Gradient of a scalar function with respect to one argument, or several if `argnum` is a tuple.

    An argument is a number, an array or a container. Returns `NotImplemented` for an `argnum` that is not
    the number of an argument.
    """
    cdef Trace t
    cdef Tape tape
    cdef Box b
    cdef Structure structure
    cdef list leaves = [], boxes
    cdef object x, y, value = None, g
    cdef tuple full
    cdef Adjoint *adjoints
    cdef Py_ssize_t i
    x = chosen(args, argnum)
    if x is NotImplemented:
        return x
    structure = take_apart(x, leaves, hooks["argument_leaf"], True)
    if structure.kind == CONSTANT_VALUE:
        hooks["refuse_constant"](x)
    t = open_trace(REVERSE)
    tape = t.tape
    try:
        boxes = leaf_boxes(t, leaves)
        full = substituted(args, argnum, whole(structure, boxes, True))
        y = PyObject_Call(fun, full, kwargs) if kwargs else PyObject_CallObject(fun, full)
    finally:
        t.close()
    i = len(boxes)
    boxes = leaves = None
    full = None
    x = None
    adjoints = new_adjoints(tape)
    try:
        if type(y) is Box and (<Box>y).trace is t:
            b = current(<Box>y)
            if b.kind == SCALAR:
                adjoints[b.slot].o = MARK
                adjoints[b.slot].d = 1.0
            elif box_meta(b) is META_FLOAT64:       # an outer trace's
                put_adjoint(&adjoints[b.slot], float64(1.0))
            else:
                put_adjoint(&adjoints[b.slot], hooks["unit_cotangent"](<object>b.v, box_meta(b)))
            if want_value:
                value = box_value(b)
            b = y = None
            run_sweep(tape, adjoints, True)
        else:
            refuse_outlived(y)
            value = hooks["scalar_result"](y)
        gradients = []
        for k in range(i):
            gradients.append(leaf_gradient(tape, adjoints, <int>k))
        g = whole(structure, gradients, False)
    finally:
        free_adjoints(tape, adjoints)
    if not want_value:
        return g
    return as_float64(value), g


# --- calls that bring their derivative along ----------------------------------------------------------------

def unboxed(list leaves):
    """Plain values of leaves, some of which are boxes of one trace, the only one that takes part.

    Returns
    -------
    values : list
        Of all leaves.
    boxes : list
        The boxes among them.
    tangents : list or None
        Of the boxes, where the trace is a forward one.

    None where a recording or several traces take part, or no box is there.
    """
    cdef list values = list(leaves), boxes = [], tangents = []
    cdef Trace t = take_boxes(values, boxes, tangents)
    if t is None:
        return None
    return values, boxes, tangents if t.mode == FORWARD else None


cdef Trace take_boxes(list leaves, list boxes, list tangents):
    """The one trace of the boxes, which give their places among the leaves to their values; else None."""
    cdef Trace t = None
    cdef Py_ssize_t i
    cdef object v
    for i in range(PyList_GET_SIZE(leaves)):
        v = <object>PyList_GET_ITEM(leaves, i)
        if type(v) is not Box:
            continue
        if t is None:
            t = (<Box>v).trace
        if t is not (<Box>v).trace or t.mode == RECORD:
            return None
        if not t.open:
            raise_outlived()
        boxes.append(current(<Box>v))
        if t.mode == FORWARD:
            tangents.append(tangent_of(<Box>v))
            if type(tangents[len(tangents) - 1]) is Box:
                return None
        v = box_value(<Box>v)
        if type(v) is Box:
            return None
        leaves[i] = v
    return t


cdef object chosen(tuple args, object argnum):
    """The argument of that number, or a tuple of them; NotImplemented when there is none."""
    cdef Py_ssize_t k, n = len(args)
    if type(argnum) is tuple:
        for k in argnum:
            if not 0 <= k < n:
                return NotImplemented
        return tuple([args[k] for k in argnum])
    k = argnum
    return args[k] if 0 <= k < n else NotImplemented


cdef tuple substituted(tuple args, object argnum, object x):
    """The arguments with others in the places of those that were chosen."""
    cdef Py_ssize_t i, n = len(args), k = -1
    cdef tuple full
    cdef object item
    if type(argnum) is tuple:
        items = list(args)
        for place, item in zip(argnum, x):
            items[place] = item
        return tuple(items)
    k = argnum
    full = PyTuple_New(n)
    for i in range(n):
        item = x if i == k else args[i]
        Py_INCREF(item)
        PyTuple_SET_ITEM(full, i, item)
    return full
