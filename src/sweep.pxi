# The reverse sweep: adjoints, one loop backwards over the tape, and what each kind of entry adds to the
# adjoints of its parents.

# --- adjoints --------------------------------------------------------------------------------

cdef object adjoint_object(Adjoint *a):
    if a.o == MARK:
        return float64(a.d)
    return <object>a.o


cdef inline int add_double(Adjoint *a, double c) except -1:
    if a.o == MARK:
        a.d += c
    elif a.o == NULL:
        a.o = MARK
        a.d = c
    else:
        put_adjoint(a, P_ADD(<object>a.o, float64(c)))
    return 0


cdef inline int put_adjoint(Adjoint *a, object c) except -1:
    """Replaces what the slot holds."""
    cdef PyObject *old = a.o
    Py_INCREF(c)
    a.o = <PyObject *>c
    if old != NULL and old != MARK:
        Py_DECREF(<object>old)
    return 0


cdef int accumulate(Adjoint *a, bint is_double, object c) except -1:
    """Adds a contribution, already of the slot's shape and dtype."""
    if is_double and type(c) is not Box:
        return add_double(a, c)
    if a.o == NULL:
        return put_adjoint(a, c)
    if a.o != MARK and cnp.PyArray_CheckExact(c) and OWNED_ARRAY(a.o):
        if not add_in_place(<object>a.o, c):
            np_add(<object>a.o, c, <object>a.o)
        return 0
    return put_adjoint(a, P_ADD(adjoint_object(a), c))


cdef inline void drop_adjoint(Adjoint *a) noexcept:
    cdef PyObject *old = a.o
    a.o = NULL
    if old != NULL and old != MARK:
        Py_DECREF(<object>old)


# --- the reverse sweep -----------------------------------------------------------------------

cdef int sweep(Tape t, Adjoint *adjoints, bint last) except -1:
    """Propagates adjoints from the end of the tape to its leaves.

    `last` says that nobody can call again: residuals are released as the sweep passes them.
    """
    cdef Py_ssize_t i = t.n, low
    cdef Entry *e = NULL
    cdef Adjoint *a = NULL
    try:
        while i > 0:
            i -= 1
            if not i & 4095:
                PyErr_CheckSignals()
            a = &adjoints[i]
            e = &t.entries[i]
            if a.o != NULL and e.kind != LEAF:
                if e.kind == SCALAR_ENTRY and a.o == MARK:
                    add_double(&adjoints[e.p0], a.d * e.s0)
                    if e.p1 >= 0:
                        add_double(&adjoints[e.p1], a.d * e.s1)
                    continue
                if e.kind == ELEMENTWISE_ENTRY and not debugging and a.o != MARK:
                    low = sweep_run(t, i, adjoints)
                    if low != i:
                        if last:
                            release_entries(t, low + 1, i + 1)
                        i = low + 1
                        continue
                if debugging:
                    visit_debugging(t, i, a, adjoints)
                else:
                    visit(t, e, a, adjoints)
                drop_adjoint(a)
            if last and e.nref and e.kind != LEAF:
                t.release(e)
    except Exception as error:
        if a != NULL and a.o != NULL:
            error.add_note("in the reverse pass of %s%s" % ((<Primitive>e.prim).name, recorded_at(t, i)))
        raise
    return 0


cdef int release_entries(Tape t, Py_ssize_t start, Py_ssize_t stop) except -1:
    cdef Py_ssize_t i
    for i in range(start, stop):
        if t.entries[i].nref and t.entries[i].kind != LEAF:
            t.release(&t.entries[i])
    return 0


cdef int visit(Tape t, Entry *e, Adjoint *a, Adjoint *adjoints) except -1:
    """Adds the contributions of one entry to the adjoints of its parents."""
    if e.kind == ELEMENTWISE_ENTRY:
        return visit_elementwise(t, e, a, adjoints)
    if e.kind == CALL_ENTRY:
        return visit_call(t, e, a, adjoints)
    if e.kind == PICK_ENTRY or e.kind == INDEX_ENTRY:
        return visit_index(t, e, a, adjoints)
    if e.kind == MAKER_ENTRY:
        return visit_maker(t, e, a, adjoints)
    if e.kind == SET_ENTRY:
        return visit_set(t, e, a, adjoints)
    if e.kind == ARRAY_ENTRY:
        return visit_array(t, e, <object>a.o, adjoints)
    if e.kind == PROGRAM_ENTRY:
        return visit_program(t, e, a, adjoints)
    if e.kind == PART_ENTRY:
        return visit_part(e, a, &adjoints[e.p0])
    # A scalar entry whose cotangent belongs to an outer trace.
    accumulate(&adjoints[e.p0], True, P_MUL(<object>a.o, float64(e.s0)))
    if e.p1 >= 0:
        accumulate(&adjoints[e.p1], True, P_MUL(<object>a.o, float64(e.s1)))
    return 0


cdef inline int parent_count(Entry *e) noexcept:
    if e.flags & MANY:
        return e.p1
    return 1 if e.p1 < 0 else 2


cdef inline Parent parent_at(Tape t, Entry *e, int j) noexcept:
    cdef Parent p
    if e.flags & MANY:
        return t.more[e.p0 + j]
    p.slot = e.p1 if j else e.p0
    p.arg = e.a1 if j else e.a0
    return p


cdef inline bint is_double_slot(Tape t, int slot) noexcept:
    return t.entries[slot].flags & DOUBLE


cdef int visit_elementwise(Tape t, Entry *e, Adjoint *a, Adjoint *adjoints) except -1:
    cdef Primitive p = <Primitive>e.prim
    cdef PyObject *values[MAX_INPUTS]       # cotangent, result, arguments; NULL where nothing was saved
    cdef int j, next_ref = 0, count = parent_count(e)
    cdef Parent parent
    cdef Adjoint *to
    cdef bint ours = count == 1 and a.o != MARK and OWNED_ARRAY(a.o)     # of no use after this entry
    cdef object g = adjoint_object(a), c
    cdef bint fit
    values[0] = <PyObject *>g
    for j in range(p.nin + 1):
        values[j + 1] = NULL
        if e.saved >> j & 1:
            values[j + 1] = t.residual(e, next_ref)
            next_ref += 1
    for j in range(count):
        parent = parent_at(t, e, j)
        to = &adjoints[parent.slot]
        fit = e.flags & MANY or e.flags & (FIT1 if j else FIT0)
        if not fit and contribute_into(p, parent.arg, values, g, to, ours):
            continue
        c = contribution(p, parent.arg, values, g)
        if fit:
            c = fit_to(c, <Meta>t.residual(e, next_ref))
            next_ref += 1
        accumulate(to, is_double_slot(t, parent.slot), c)
    return 0


cdef int visit_call(Tape t, Entry *e, Adjoint *a, Adjoint *adjoints) except -1:
    cdef Primitive p = <Primitive>e.prim
    cdef int j, k, n = e.nref - 2
    cdef Parent parent
    cdef object g = adjoint_object(a), c, kwargs, argument
    if p.kernel != NO_KERNEL and kernel_visit(t, e, g, adjoints):
        return 0
    kwargs = <object>t.residual(e, e.nref - 1)
    for j in range(parent_count(e)):
        parent = parent_at(t, e, j)
        argument = <object>t.residual(e, parent.arg + 1)
        c = call_rule(p.vjps, p, parent.arg, g, t, e, n, kwargs)
        if c is None:
            continue
        accumulate(&adjoints[parent.slot], is_double_slot(t, parent.slot), fit_to(c, meta_of(argument)))
    return 0


cdef object call_rule(tuple rules, Primitive p, int arg, object g, Tape t, Entry *e, int n, object kwargs):
    """rule(g, ans, *args, **kwargs), or rule(argnum, g, ans, *args, **kwargs) for a rule of all arguments."""
    cdef object rule = p.vjp_of(arg)
    cdef bint joint = p.rule_for_all
    cdef tuple packed = PyTuple_New(n + 2 + joint)
    cdef object item
    cdef int j
    if joint:
        item = arg
        Py_INCREF(item)
        PyTuple_SET_ITEM(packed, 0, item)
    Py_INCREF(g)
    PyTuple_SET_ITEM(packed, joint, g)
    for j in range(n + 1):
        item = <object>t.residual(e, j)
        Py_INCREF(item)
        PyTuple_SET_ITEM(packed, j + 1 + joint, item)
    return PyObject_Call(rule, packed, kwargs) if kwargs is not None else PyObject_CallObject(rule, packed)


cdef int visit_maker(Tape t, Entry *e, Adjoint *a, Adjoint *adjoints) except -1:
    cdef int j, count = parent_count(e)
    cdef Parent parent
    cdef object g = adjoint_object(a), c, all_of_them = None
    if e.flags & JOINT:
        c = (<object>t.residual(e, 0))(g)
        if not isinstance(c, (tuple, list)):
            raise TypeError("the vjp of %s must return a tuple, a cotangent for each traced argument, not %s"
                            % ((<Primitive>e.prim).name, type(c).__name__))
        all_of_them = tuple(c)
        if len(<tuple>all_of_them) != count:
            raise ValueError("the vjp of %s returned %d cotangents for %d traced arguments" % (
                (<Primitive>e.prim).name, len(<tuple>all_of_them), count))
    for j in range(count):
        parent = parent_at(t, e, j)
        c = all_of_them[j] if e.flags & JOINT else (<object>t.residual(e, 2 * j))(g)
        if c is None:
            raise_no_cotangent(e, parent.arg)
        c = fit_to(c, <Meta>t.residual(e, 1 + j if e.flags & JOINT else 2 * j + 1))
        accumulate(&adjoints[parent.slot], is_double_slot(t, parent.slot), c)
    return 0


cdef int visit_set(Tape t, Entry *e, Adjoint *a, Adjoint *adjoints) except -1:
    """The value gets the cotangent of the items that it was put into, the array that of all others.

    The adjoint is handed on: it costs what the items cost, not what the array costs.
    """
    cdef bint own = a.o != MARK and OWNED_ARRAY(a.o)
    cdef object g = adjoint_object(a), c, index = <object>t.residual(e, 0)
    if not cnp.PyArray_CheckExact(g):
        if e.p1 >= 0:
            c = fit_to(hooks["getitem"](g, index) if type(g) is Box else g, <Meta>t.residual(e, 1))
            accumulate(&adjoints[e.p1], is_double_slot(t, e.p1), c)
        return accumulate(&adjoints[e.p0], False, hooks["setitem"](g, 0.0, index))
    if e.p1 >= 0:
        c = PyObject_GetItem(g, index)
        if cnp.PyArray_CheckExact(c):
            c = np_array(c)
        accumulate(&adjoints[e.p1], is_double_slot(t, e.p1), fit_to(c, <Meta>t.residual(e, 1)))
    drop_adjoint(a)
    if not own:
        g = np_array(g)
    PyObject_SetItem(g, index, 0)
    return accumulate(&adjoints[e.p0], False, g)


cdef int raise_no_cotangent(Entry *e, int arg) except -1:
    raise TypeError("the vjp of %s returned None for argument %d; return the cotangent, or zeros"
                    % ((<Primitive>e.prim).name, arg))


cdef int visit_array(Tape t, Entry *e, object g, Adjoint *adjoints) except -1:
    cdef int j
    cdef Parent parent
    cdef cnp.ndarray a
    if cnp.PyArray_CheckExact(g) and cnp.PyArray_TYPE(<cnp.ndarray>g) == cnp.NPY_DOUBLE \
            and cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>g):
        a = <cnp.ndarray>g
        for j in range(e.p1):
            parent = t.more[e.p0 + j]
            add_double(&adjoints[parent.slot],
                       (<double *>(<char *>cnp.PyArray_DATA(a) + parent.arg * cnp.PyArray_STRIDES(a)[0]))[0])
        return 0
    for j in range(e.p1):
        parent = t.more[e.p0 + j]
        accumulate(&adjoints[parent.slot], True, g[parent.arg])
    return 0


cdef int visit_index(Tape t, Entry *e, Adjoint *a, Adjoint *adjoints) except -1:
    """Indexing scatters into the parent's adjoint: it costs what the indexed part costs."""
    cdef Adjoint *to = &adjoints[e.p0]
    cdef object g = adjoint_object(a), index
    cdef Meta meta = <Meta>t.residual(e, 0)
    cdef cnp.ndarray target
    cdef bint pick = e.kind == PICK_ENTRY
    cdef Trace of
    if not pick:
        index = <object>t.residual(e, 1)
    if type(g) is Box or (to.o != NULL and type(<object>to.o) is Box):
        if pick:
            index = unravel(<Py_ssize_t>e.s0, meta)
        of = recorded_by(g)
        if of is None and to.o != NULL and to.o != MARK:
            of = recorded_by(<object>to.o)
        if of is not None and (to.o == NULL or to.o != MARK):
            return recorded_index(of, to, g, index, meta)
        return accumulate(to, False, hooks["scatter"](g, index, meta))
    if to.o == NULL:
        put_adjoint(to, zeros_like_meta(meta))
    elif not OWNED_ARRAY(to.o):
        put_adjoint(to, np_array(<object>to.o, meta.dtype, order="C"))
    target = <cnp.ndarray>to.o
    if pick:
        # The adjoint of a picked item is a double, the target a C-ordered float64 array.
        if cnp.PyArray_TYPE(target) != cnp.NPY_DOUBLE or e.s0 >= cnp.PyArray_SIZE(target):
            raise SystemError("the adjoint of an indexed array has lost its shape")
        (<double *>cnp.PyArray_DATA(target))[<Py_ssize_t>e.s0] += <double>g
        return 0
    if is_basic(index):
        return add_at(target, index, g)
    np_add.at(target, index, g)
    return 0


cdef int add_at(object to, object index, object c) except -1:
    """`to[index] += c` by basic indexing."""
    cdef object view = PyObject_GetItem(to, index)
    if not cnp.PyArray_CheckExact(view):
        to[index] = view + c
    elif not add_in_place(view, c):
        np_add(view, c, view)
    return 0


cdef bint add_in_place(object to, object c) except -1:
    """`to += c` by the machine; False where it has no loop for that."""
    cdef Operand operand[1]
    cdef Program copy
    if not plain_array(c) or not plain_array(to):
        return False
    if not alike(c, to):
        return False
    copy = copy_program(cnp.PyArray_TYPE(<cnp.ndarray>c))
    if copy is None:
        return False
    operand_of_array(operand, <cnp.ndarray>c)
    run_array(copy, operand, <cnp.ndarray>to, True)
    return True


cdef inline Program copy_program(int number):
    """The program without instructions, whose result is its input."""
    if number == cnp.NPY_DOUBLE:
        return COPY_DOUBLE
    return <Program>COPY.get(type_code(number))


cdef object zeros_like_meta(Meta meta):
    cdef cnp.npy_intp dims[64]
    cdef int i, ndim = <int>PyTuple_GET_SIZE(meta.shape)
    if meta.dtype is not DTYPE_FLOAT64:
        return np_zeros(meta.shape, meta.dtype)
    for i in range(ndim):
        dims[i] = <object>PyTuple_GET_ITEM(meta.shape, i)
    return cnp.PyArray_ZEROS(ndim, dims, cnp.NPY_DOUBLE, 0)


cdef tuple unravel(Py_ssize_t flat, Meta meta):
    return tuple([int(i) for i in np_unravel_index(flat, meta.shape)])
