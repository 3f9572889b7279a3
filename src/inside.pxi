# Compiled functions inside of derivatives.
#
#   PreparedProgram   a program in two parts: a value, and a linear function of vectors that come later
#     Linear          one run of it, of which the second part may be run any number of times
#   Inside            what calls with boxes look like that were replayed before
#
# A call with boxes is one entry of their tape (`PROGRAM_ENTRY`), or a value with a tangent. This is the way
# of a call that has been seen before; `autograd_c.prepared` has the others.

@cython.final
cdef class PreparedProgram:
    """The program of a recorded `Prepared`, of `autograd_c.prepared`.

    Parameters
    ----------
    program : ReplayProgram
        The vector is its last inputs, the value its first results.
    recorded : replay._RecordedParts
    version : Version
        The environment in which it was recorded.
    fun : Prepared
    """
    cdef readonly ReplayProgram program
    cdef readonly object fun, version, vectors, about
    cdef readonly tuple structures
    cdef readonly Structure structure   # of the function's result
    cdef readonly tuple reached         # which of its leaves depend on boxes
    cdef readonly Py_ssize_t count
    cdef list finish
    cdef Primitive primitive

    def __init__(self, ReplayProgram program, recorded, version, fun):
        self.program = program
        self.fun = fun
        self.version = version
        self.vectors = recorded.vectors
        self.about = recorded.about
        self.structures = recorded.structures
        self.count = recorded.structures[0].size
        self.finish = recorded.finish
        self.structure, self.reached = fun.result_of(recorded)
        self.primitive = fun.primitive

    cdef object run_leaves(self, PyObject **leaves, Py_ssize_t n, int *flags):
        """The leaves of the value and the linear function; or the number of the guard that failed."""
        cdef Linear linear = Linear.__new__(Linear)
        cdef int guard = self.program.start(linear, leaf_list(leaves, n), self.count, flags)
        cdef list out
        if guard >= 0:
            return guard
        linear.program = self
        out = self.finished(linear.out[:self.count], 0)
        out.append(linear)
        return out

    cdef list finished(self, list outs, Py_ssize_t start):
        """Results from number `start` on, as the function returns them: none shares memory with another."""
        cdef Py_ssize_t i
        if self.finish is not None:
            for i in range(PyList_GET_SIZE(outs)):
                kind, what = self.finish[start + i]
                if kind == "constant":
                    outs[i] = what
                elif kind != "fresh" and kind != "view" and cnp.PyArray_Check(outs[i]):
                    outs[i] = outs[i].copy()
        return outs


@cython.final
@cython.no_gc_clear
cdef class Linear(Started):
    """A linear function, of which all that does not depend on its argument has been computed.

    `arguments` are those of the function that prepared it, where it was told them; else `signature` and
    `leaves` say what they were.
    """
    cdef readonly PreparedProgram program
    cdef public object arguments
    cdef readonly Signature signature

    def __call__(self, vector):
        """The value for a vector."""
        leaves = self.program.vectors.leaves_of(vector)
        if leaves is None:
            # A box, or something else that was not recorded.
            return self.program.fun.again(self, vector)
        return whole(self.program.structures[1], self.images(leaves), True)

    def value(self, list leaves):
        """The value of the function that prepared it, from its leaves."""
        return whole(self.program.structures[0], leaves, True)

    cdef list images(self, list seeds):
        """The leaves of the result, from those of the argument."""
        return self.program.finished(self.finished(seeds), self.program.count)

    cdef list pulled(self, list adjoints):
        """Cotangents of a function's arguments from those of its results, None being zero."""
        cdef list seeds = self.seeds_of(adjoints)
        if seeds is not None:
            return self.images(seeds)
        return self(self.program.fun.given(self.program.vectors, adjoints))


# --- entries of a tape, values with tangents ---------------------------------------------------------------

cdef object enter_results(Trace t, list boxes, list results, Linear linear):
    """The result of a call inside of a reverse trace: one entry of the tape, and one for each of several."""
    cdef PreparedProgram program = linear.program
    cdef Py_ssize_t i, n = PyTuple_GET_SIZE(program.reached), place
    cdef int whole_slot
    cdef Box b
    if n == 0:
        return whole(program.structure, results, True)
    whole_slot = enter_program(t.recording(), boxes, linear, n)
    for i in range(n):
        place = program.reached[i]
        b = new_object(t, enter_part(t, whole_slot, i, n), results[place])
        if b.kind == SCALAR:
            t.tape.entries[b.slot].flags |= DOUBLE
        results[place] = b
    return whole(program.structure, results, True)


cdef int enter_program(Tape tape, list boxes, Linear linear, Py_ssize_t results) except -1:
    """The entry of a call; returns its slot."""
    cdef Py_ssize_t i, n = PyList_GET_SIZE(boxes)
    cdef list metas = []
    cdef Entry *e
    cdef Parent few[FEW]
    cdef Parent *parents = few
    if n > FEW:
        parents = <Parent *>PyMem_Malloc(n * sizeof(Parent))
    if parents == NULL:
        raise MemoryError(linear.program.primitive.name)
    try:
        for i in range(n):
            metas.append(box_meta(<Box>PyList_GET_ITEM(boxes, i)))
            parents[i].arg = <int>i
            parents[i].slot = (<Box>PyList_GET_ITEM(boxes, i)).slot
        e = tape.push(linear.program.primitive, PROGRAM_ENTRY)
        e.s0 = <double>results
        set_parents(tape, e, parents, <int>n)
        tape.keep(e, linear)
        for i in range(n):
            tape.keep(e, <object>PyList_GET_ITEM(metas, i))
    finally:
        if parents != few:
            PyMem_Free(parents)
    return <int>tape.n - 1


cdef int enter_part(Trace t, int whole_slot, Py_ssize_t i, Py_ssize_t n) except -1:
    """The slot of result `i` of `n`: the call's own, where it is the only one."""
    cdef Tape tape = t.recording()
    cdef Entry *e
    if n == 1:
        return whole_slot
    e = tape.push(<Primitive>tape.entries[whole_slot].prim, PART_ENTRY)
    e.p0 = whole_slot
    e.s0 = <double>i
    e.s1 = <double>n
    return <int>tape.n - 1


cdef int visit_part(Entry *e, Adjoint *a, Adjoint *whole) except -1:
    """The adjoint of a call with several results is the list of theirs, None for those that have none."""
    if whole.o == NULL:
        put_adjoint(whole, [None] * <Py_ssize_t>e.s1)
    (<list>whole.o)[<Py_ssize_t>e.s0] = adjoint_object(a)
    return 0


cdef int visit_program(Tape t, Entry *e, Adjoint *a, Adjoint *adjoints) except -1:
    cdef int j
    cdef Parent parent
    cdef object g = adjoint_object(a)
    cdef list cotangents = (<Linear>t.residual(e, 0)).pulled([g] if e.s0 == 1.0 else <list>g)
    for j in range(parent_count(e)):
        parent = parent_at(t, e, j)
        g = fit_to(cotangents[j], <Meta>t.residual(e, 1 + j))
        cotangents[j] = None        # so that the adjoint is the only one to have it
        accumulate(&adjoints[parent.slot], is_double_slot(t, parent.slot), g)
    return 0


cdef object push_results(Trace t, list tangents, Linear linear):
    """The result of a call inside of a forward trace; MISS where the tangents are not as recorded."""
    cdef PreparedProgram program = linear.program
    cdef list seeds = linear.seeds_of(tangents), images
    cdef Py_ssize_t i, place, size = program.structure.size
    cdef Box b
    if seeds is None:
        return MISSED
    images = linear.images(seeds)
    for i in range(PyTuple_GET_SIZE(program.reached)):
        place = program.reached[i]
        b = new_object(t, 0, images[place])
        set_tangent(b, fit_up(images[size + i], box_meta(b)))
        images[place] = b
    return whole(program.structure, images[:size], True)


def enter_call(list boxes, list results, Linear linear):
    """Enters a call on the tape of its boxes, which are of one reverse trace; returns its result."""
    return enter_results((<Box>boxes[0]).trace, boxes, results, linear)


def push_call(list boxes, list tangents, Linear linear):
    """The result of a call in the forward trace of its boxes; MISS where the tangents are not as recorded."""
    return push_results((<Box>boxes[0]).trace, tangents, linear)


# --- calls that have been seen before ----------------------------------------------------------------------

@cython.final
cdef class Inside:
    """What calls with boxes look like that were replayed before."""
    cdef Compiled made          # of a `Prepared`
    cdef Signature signature    # one of its signatures
    cdef bytes traced           # by leaf: whether it is a box
    cdef int mode               # of the boxes' trace

    cdef bint is_like(self, Inside other) except -1:
        return self.signature is other.signature and self.traced == other.traced and self.mode == other.mode

    cdef object replay(self, Compiled c, PyObject *const *args, Py_ssize_t n, PyObject *kwnames):
        """Replays a call that looks like this; else MISS."""
        cdef list boxes = [], tangents = [], outs, leaves
        cdef tuple values
        cdef Trace t
        cdef Linear linear
        leaves = matching_leaves(self.signature, args, n, kwnames)
        t = self.gather(leaves, boxes, tangents) if leaves is not None else None
        if t is None:
            return MISSED
        if self.signature.eager:
            return PyObject_Vectorcall(c.fun, args, n, kwnames)
        values = tuple(leaves)
        out = replay_signature(self.made, self.signature, (<PyTupleObject *>values).ob_item, None)
        if out is MISSED:
            return out
        if out is RUN_EAGERLY:
            return PyObject_Vectorcall(c.fun, args, n, kwnames)
        outs = <list>out
        linear = outs.pop()
        linear.signature = self.signature
        if t.mode == FORWARD:
            return push_results(t, tangents, linear)
        return enter_results(t, boxes, outs, linear)

    cdef Trace gather(self, list leaves, list boxes, list tangents):
        """The trace of the boxes, if they are where they were and it is of the same mode."""
        cdef Trace t
        cdef Py_ssize_t i
        cdef const char *traced = self.traced
        for i in range(PyList_GET_SIZE(leaves)):
            if (type(<object>PyList_GET_ITEM(leaves, i)) is Box) != traced[i]:
                return None
        t = take_boxes(leaves, boxes, tangents)
        return t if t is not None and t.mode == self.mode else None


cdef object call_inside(Compiled c, PyObject *const *args, Py_ssize_t n, PyObject *kwnames):
    """A call with boxes that looks like one that was replayed before; MISS where there is none."""
    cdef list insides = c.insides
    cdef Inside inside
    cdef Py_ssize_t k
    for k in range(PyList_GET_SIZE(insides)):
        inside = <Inside>PyList_GET_ITEM(insides, k)
        out = inside.replay(c, args, n, kwnames)
        if out is not MISSED:
            if k > 0:
                c.insides = [inside] + [other for other in insides if other is not inside]
            return out
    return MISSED


def enter_inside(Compiled c, Compiled made, tuple args, dict kwargs):
    """After a call with boxes was replayed by a program of `made`: calls like it are compared with it."""
    cdef Inside inside
    cdef Signature s
    cdef tuple given = args + tuple(kwargs.values()), names = tuple(kwargs)
    cdef PyObject *kwnames = <PyObject *>names if names else NULL
    cdef list leaves
    for s in made.signatures:
        leaves = matching_leaves(s, (<PyTupleObject *>given).ob_item, len(args), kwnames)
        if leaves is not None:
            inside = Inside.__new__(Inside)
            inside.made = made
            inside.signature = s
            inside.traced = bytes([type(leaf) is Box for leaf in leaves])
            inside.mode = (<Box>next(leaf for leaf in leaves if type(leaf) is Box)).trace.mode
            c.insides = [inside] + [other for other in c.insides[:MADE] if not inside.is_like(other)]
            return


cdef list matching_leaves(Signature s, PyObject *const *args, Py_ssize_t n, PyObject *kwnames):
    """The leaves of arguments, boxes among them, that match a signature; else None."""
    cdef PyObject *few[FEW]
    cdef PyObject **leaves = few
    if s.size > FEW:
        leaves = <PyObject **>PyMem_Malloc(s.size * sizeof(PyObject *))
        if leaves == NULL:
            raise MemoryError()
    try:
        return leaf_list(leaves, s.size) if s.matches(args, n, kwnames, leaves, True) else None
    finally:
        if leaves != few:
            PyMem_Free(leaves)
