# Elementwise primitives in a trace: float64 scalars as C doubles, arrays through NumPy's inner loops, and
# the contributions of both (cotangent or tangent times partial) by the machine. What neither covers goes
# through the primitives.

# --- scalars -----------------------------------------------------------------------------------

cdef inline double scalar_partial(const ScalarRule *rule, double *inputs) noexcept:
    return vm_scalar_rule(rule, inputs) if rule.ins != NULL else NAN


cdef inline double scalar_value(Primitive p, const double *x, bint libm_power) noexcept nogil:
    return vm_compute(S_POW if libm_power else p.scalar_code, &p.scalar_loop, x[0], x[1])


cdef inline double scalar_result(Primitive p, const double *x, bint libm_power) except? -1.0:
    """The value, with NumPy's floating-point warnings."""
    cdef double value = scalar_value(p, x, libm_power)
    if unusual(value):
        fp_clear()
        value = scalar_value(p, x, libm_power)
        if fp_flags():
            give_errors(p.name, fp_flags())
    return value


cdef object scalar_call(Primitive p, Trace t, Box bx, Box by, double a, double b, bint weak,
                        bint libm_power):
    """One primitive on float64 scalars: the value and the partials, all as C doubles.

    With `libm_power` the value is the C library's ``pow(a, b)``, as it is for `**` between NumPy scalars;
    `p` gives the partials.
    """
    cdef double inputs[VM_RULE_REGISTERS]   # cotangent, result, arguments; room for what a rule computes
    cdef double s0 = 1.0, s1 = 1.0      # of an argument that is not traced: no special case
    if not t.open:
        raise_outlived()
    inputs[0] = 1.0
    inputs[2] = a
    inputs[3] = b
    inputs[1] = scalar_result(p, &inputs[2], libm_power)
    if bx is not None:
        s0 = scalar_partial(&p.scalar_rules[0], inputs)
    if by is not None:
        s1 = scalar_partial(&p.scalar_rules[1], inputs)
    if s0 - s0 != 0.0 or s1 - s1 != 0.0:
        note_infinite(p, t, bx, by, inputs)
    if p.chooses and (s0 == 0.0 or s1 == 0.0):
        return record_chosen(p, t, bx, by, s0, s1, inputs, weak)
    return record_scalar(p, t, bx, by, s0, s1, inputs[1], weak)


cdef inline object record_scalar(Primitive p, Trace t, Box bx, Box by, double s0, double s1, double ans,
                                 bint weak):
    """The result as a box, with its entry or tangent; None stands for an argument that adds nothing to it."""
    cdef Entry *e
    cdef Box out
    cdef Tape tape
    if t.mode == REVERSE:
        tape = t.recording()
        e = tape.push(p, SCALAR_ENTRY)
        out = new_scalar(t, <int>tape.n - 1, ans, weak)
        e.flags = DOUBLE
        if bx is None and by is None:
            e.kind = LEAF
        elif bx is None:
            e.p0 = by.slot
            e.s0 = s1
        else:
            e.p0 = bx.slot
            e.s0 = s0
            if by is not None:
                e.p1 = by.slot
                e.s1 = s1
        return out
    out = new_scalar(t, 0, ans, weak)
    if (bx is None or bx.tan == NULL) and (by is None or by.tan == NULL):
        if bx is not None:
            out.dt = s0 * bx.dt
        if by is not None:
            out.dt += s1 * by.dt
    else:
        set_field(&out.tan, scalar_tangent(bx, s0, by, s1))
    return out


cdef object record_chosen(Primitive p, Trace t, Box bx, Box by, double s0, double s1, double *inputs,
                          bint weak):
    """The same for a primitive that may choose, and has a partial that is 0."""
    return record_scalar(p, t, None if left_out(&p.choices[0], s0, inputs) else bx,
                         None if left_out(&p.choices[1], s1, inputs) else by, s0, s1, inputs[1], weak)


cdef bint left_out(const ScalarRule *rule, double partial, double *inputs) noexcept:
    """Whether a partial is 0 because it was chosen to be: then even an infinite cotangent adds nothing."""
    cdef double c
    if partial != 0.0 or rule.ins == NULL:
        return False
    inputs[0] = INFINITY
    c = vm_scalar_rule(rule, inputs)
    inputs[0] = 1.0
    return c == 0.0


cdef int note_infinite(Primitive p, Trace t, Box bx, Box by, double *inputs) except -1:
    """Reports an argument without derivative, and the flags that infinite or undefined partials raised.

    In a reverse trace the flags wait on the tape for the sweep.
    """
    cdef Tape tape
    if bx is not None and PyTuple_GET_ITEM(p.partials, 0) == <PyObject *>None:
        no_partial(p, 0)
    if by is not None and PyTuple_GET_ITEM(p.partials, 1) == <PyObject *>None:
        no_partial(p, 1)
    fp_clear()
    if bx is not None:
        scalar_partial(&p.scalar_rules[0], inputs)
    if by is not None:
        scalar_partial(&p.scalar_rules[1], inputs)
    if fp_flags() and t.mode == REVERSE:
        tape = t.recording()
        if debugging:
            note_flags(tape, fp_flags())
        else:
            tape.flags |= fp_flags()
        fp_clear()
    elif fp_flags():
        give_errors(p.name, fp_flags())
    return 0


cdef object scalar_tangent(Box bx, double s0, Box by, double s1):
    """The tangent where it belongs to an outer trace."""
    if bx is None:
        return P_MUL(tangent_of(by), s1)
    if by is None:
        return P_MUL(tangent_of(bx), s0)
    return P_ADD(P_MUL(tangent_of(bx), s0), P_MUL(tangent_of(by), s1))


cdef object no_partial(Primitive p, int k):
    raise TypeError("%s has no derivative with respect to argument %d; pass a plain value there, "
                    "for instance stop_gradient(x)" % (p.name, k))


# --- arrays ------------------------------------------------------------------------------------

cdef object call_elementwise(Primitive p, Trace top, PyObject *const *args, Py_ssize_t n):
    """An elementwise primitive in a reverse or forward trace, positional arguments only."""
    # The arguments unwrapped: owned, since the call may run Python, which may update a box or let go of it.
    cdef PyObject *values[MAX_INPUTS]
    cdef Parent parents[MAX_INPUTS]
    cdef Py_ssize_t i, held = 0
    cdef int count = 0
    cdef object v, ans
    cdef bint scalars, nested = False
    cdef Box b, bx = None, by = None
    cdef double x[2]
    x[0] = x[1] = 0.0
    if not p.prepared:
        p.prepare()
    scalars = p.scalar_ok
    for i in range(n):
        v = <object>args[i]
        if type(v) is Box and (<Box>v).trace is top:
            b = current(<Box>v)
            if b.kind == OBJECT:
                scalars = False
                nested = nested or type(<object>b.v) is Box
            elif scalars:
                x[i] = b.d
                if i == 0:
                    bx = b
                else:
                    by = b
        elif scalars:
            if PyFloat_Check(v):
                x[i] = PyFloat_AS_DOUBLE(v)
            else:
                scalars = False
    if scalars:
        return scalar_call(p, top, bx, by, x[0], x[1], False, False)
    if nested and top.mode == REVERSE:
        ans = call_recorded(p, top, args, n, False)
        if ans is not None:
            return ans
    try:
        for i in range(n):
            v = <object>args[i]
            if type(v) is Box and (<Box>v).trace is top:
                b = current(<Box>v)
                v = box_value(b)
                parents[count].slot = b.slot
                parents[count].arg = <int>i
                count += 1
            elif cnp.PyArray_Check(v) and not cnp.PyArray_CheckExact(v):
                v = hooks["plain_array"](v)
            elif type(v) is FRACTION:       # of which NumPy would make an array of objects
                v = float(v)
            Py_INCREF(v)
            values[i] = <PyObject *>v
            held += 1
        ans = record_inside(p, values, n) if nested else direct_loop(p, values, n)
        if ans is None:
            ans = PyObject_Vectorcall(p, values, n, NULL)
        return record_elementwise(p, top, args, values, n, ans, parents, count)
    finally:
        for i in range(held):
            Py_DECREF(<object>values[i])


cdef inline bint plain_array(object v) noexcept:
    return cnp.PyArray_CheckExact(v) and cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>v)


cdef object direct_loop(Primitive p, PyObject **values, Py_ssize_t n):
    """The ufunc's own inner loop, where that is all NumPy would run; None where NumPy has to decide."""
    cdef cnp.ndarray first = None, out
    cdef char code = 0
    cdef Py_ssize_t i
    cdef object v
    cdef double room[MAX_INPUTS]
    cdef char *args[MAX_INPUTS + 1]
    cdef cnp.npy_intp steps[MAX_INPUTS + 1]
    cdef cnp.npy_intp size
    cdef LoopRef loop
    cdef Operand o
    if p.takes_bool:
        return None
    for i in range(n):
        v = <object>values[i]
        if first is None and plain_array(v) and not is_stretched(<cnp.ndarray>v):
            first = <cnp.ndarray>v
            code = type_code(cnp.PyArray_TYPE(first))
            if code == 0 or not cnp.PyArray_IS_C_CONTIGUOUS(first) or cnp.PyArray_NDIM(first) == 0:
                return None
    if first is None:
        return None
    loop = p.loops[code_index(code)]
    if loop.fn == NULL:
        return None
    size = cnp.PyArray_ITEMSIZE(first)
    for i in range(n):
        v = <object>values[i]
        if v is first:
            args[i] = <char *>cnp.PyArray_DATA(first)
            steps[i] = size
        elif plain_array(v):
            if cnp.PyArray_TYPE(<cnp.ndarray>v) != cnp.PyArray_TYPE(first):
                return None
            operand_of_array(&o, <cnp.ndarray>v)
            if not same_shape(&o, cnp.PyArray_NDIM(first), cnp.PyArray_DIMS(first)):
                return None
            if not o.contiguous and not is_stretched(<cnp.ndarray>v):
                return None
            args[i] = o.data
            steps[i] = size if o.contiguous else 0
        elif scalar_operand(v, code, &room[i]):
            args[i] = <char *>&room[i]
            steps[i] = 0
        else:
            return None
    out = new_array(cnp.PyArray_NDIM(first), cnp.PyArray_DIMS(first), cnp.PyArray_TYPE(first), size)
    args[n] = <char *>cnp.PyArray_DATA(out)
    steps[n] = size
    run_loop(loop, args, steps, cnp.PyArray_SIZE(first))
    if fp_flags():
        fp_clear()
        run_loop(loop, args, steps, cnp.PyArray_SIZE(first))
        if fp_flags():
            give_errors(p.name, fp_flags())
    return out


cdef inline void run_loop(LoopRef loop, char **args, cnp.npy_intp *steps, cnp.npy_intp n) noexcept:
    if n > 16384:
        with nogil:
            loop.fn(args, &n, steps, loop.data)
    else:
        loop.fn(args, &n, steps, loop.data)


cdef bint scalar_operand(object v, char code, double *to) except -1:
    """Stores a Python or NumPy scalar as an operand of that type code, where promotion allows it."""
    cdef double d
    if type(v) is float:
        d = PyFloat_AS_DOUBLE(v)
    elif type(v) is np_float64 and code == b"d":
        d = PyFloat_AS_DOUBLE(v)
    elif type(v) is np_float32 and code == b"f":
        (<float *>to)[0] = (<PyFloatScalarObject *><PyObject *>v).obval
        return True
    elif type(v) is int:
        d = PyLong_AsDouble(v)
        if d == -1.0 and PyErr_Occurred():
            PyErr_Clear()
            return False
    else:
        return False
    if code == b"d":
        to[0] = d
        return True
    if code == b"f" and fabs(d) < 1e30 and (d == 0.0 or fabs(d) > 1e-30):
        (<float *>to)[0] = <float>d
        return True
    return False


cdef inline bint alike(object a, object b) noexcept:
    """Two plain arrays of one shape and type."""
    cdef Operand o
    if not (cnp.PyArray_CheckExact(a) and cnp.PyArray_CheckExact(b)):
        return False
    if cnp.PyArray_TYPE(<cnp.ndarray>a) != cnp.PyArray_TYPE(<cnp.ndarray>b):
        return False
    operand_of_array(&o, <cnp.ndarray>a)
    return same_shape(&o, cnp.PyArray_NDIM(<cnp.ndarray>b), cnp.PyArray_DIMS(<cnp.ndarray>b))


cdef inline bint boxes_alike(object a, object b) noexcept:
    """Two boxes that are known to have one shape and type."""
    return type(a) is Box and type(b) is Box and (<Box>a).meta != NULL and (<Box>a).meta == (<Box>b).meta


cdef inline Meta parent_meta(Box parent, int slot, object value):
    """Shape and dtype of an argument; of the value it had, if the box has been updated since."""
    return box_meta(parent) if parent.slot == slot else meta_of(value)


cdef object record_elementwise(Primitive p, Trace t, PyObject *const *args, PyObject **values, Py_ssize_t n,
                               object ans, Parent *parents, int count):
    cdef int j
    cdef Py_ssize_t k
    cdef bint fit[MAX_INPUTS]
    cdef unsigned int saved = 0
    cdef Entry *e
    cdef Tape tape
    cdef Box out
    cdef Meta ans_meta = None, m
    cdef list metas = None
    for j in range(count):
        k = parents[j].arg
        if PyTuple_GET_ITEM(p.partials, k) == <PyObject *>None:
            no_partial(p, <int>k)
        fit[j] = False
        if count > 2 or not alike(<object>values[k], ans) and not boxes_alike(<object>values[k], ans):
            if ans_meta is None:
                ans_meta = meta_of(ans)
                metas = [None] * count
            m = parent_meta(<Box>args[k], parents[j].slot, <object>values[k])
            fit[j] = count > 2 or m is not ans_meta \
                and (m.shape != ans_meta.shape or m.dtype != ans_meta.dtype)
            metas[j] = m
        saved |= p.used[k] >> 1
    if t.mode == FORWARD:
        return push_forward_elementwise(p, t, args, values, n, ans, parents, count)
    tape = t.recording()
    e = tape.push(p, ELEMENTWISE_ENTRY)
    out = new_object(t, <int>tape.n - 1, ans)
    if ans_meta is not None:
        set_field(&out.meta, ans_meta)
    if out.kind == SCALAR:
        e.flags |= DOUBLE
    set_parents(tape, e, parents, count)
    e.saved = saved & ((1 << (n + 1)) - 1)
    if e.saved & 1:
        tape.keep(e, ans)
    for k in range(n):
        if e.saved >> (k + 1) & 1:
            tape.keep(e, <object>values[k])
    for j in range(count):
        if fit[j]:
            if j == 0:
                e.flags |= FIT0
            elif j == 1:
                e.flags |= FIT1
            tape.keep(e, metas[j])
    return noted(tape, out)


cdef int set_parents(Tape tape, Entry *e, Parent *parents, int count) except -1:
    """Parents in the entry itself; in `more` if there are many, or an argument number takes over a byte."""
    cdef int k
    if count > 2 or parents[0].arg > 255 or parents[count - 1].arg > 255:
        e.flags |= MANY
        e.p0 = <int>tape.nmore
        e.p1 = count
        for k in range(count):
            tape.push_parent(parents[k].slot, parents[k].arg)
        return 0
    e.p0 = parents[0].slot
    e.a0 = parents[0].arg
    if count == 2:
        e.p1 = parents[1].slot
        e.a1 = parents[1].arg
    return 0


cdef bint numeric_operands(Program program, PyObject **values, char code, double *room,
                           Operand *operands) noexcept:
    """Lays out cotangent, result and arguments for the machine; False if it cannot take them."""
    cdef int i
    cdef object v
    cdef char have
    for i in range(program.nin):
        if not program.used >> i & 1:
            continue
        if values[i] == NULL:
            return False
        v = <object>values[i]
        if plain_array(v):
            have = type_code(cnp.PyArray_TYPE(<cnp.ndarray>v))
            if cnp.PyArray_TYPE(<cnp.ndarray>v) == cnp.NPY_BOOL:
                have = b"?"
            if have != program.input_code[i]:
                return False
            operand_of_array(&operands[i], <cnp.ndarray>v)
        else:
            if program.input_code[i] != code or not scalar_operand_quiet(v, code, &room[i]):
                return False
            operand_of_scalar(&operands[i], &room[i])
    return True


cdef inline bint scalar_operand_quiet(object v, char code, double *to) noexcept:
    if type(v) is not float and type(v) is not np_float64 and type(v) is not int \
            and type(v) is not np_float32:
        return False
    try:
        return scalar_operand(v, code, to)
    except:  # noqa: E722
        return False


cdef bint contribute_into(Primitive p, int k, PyObject **values, object g, Adjoint *to, bint ours) except -1:
    """Computes a contribution straight into the parent's adjoint; False if that way is not open.

    The parent has the shape and dtype of the result, so of the cotangent. The first contribution may be
    written over a cotangent that is `ours`: that nobody else holds or needs.
    """
    cdef char code
    cdef Program program
    cdef double room[MAX_INPUTS]
    cdef Operand operands[MAX_INPUTS]
    cdef cnp.ndarray out
    if not plain_array(g) or cnp.PyArray_NDIM(<cnp.ndarray>g) == 0:
        return False
    code = type_code(cnp.PyArray_TYPE(<cnp.ndarray>g))
    if code == b"d":
        program = <Program>PyList_GET_ITEM(p.fast, k)
    elif code == 0:
        return False
    else:
        program = p.contribution_program(k, code)
    if program is None or to.o == MARK or (to.o != NULL and not cnp.PyArray_CheckExact(<object>to.o)):
        return False
    if program.passes_input(0):
        accumulate(to, False, g)
        return True
    if not numeric_operands(program, values, code, room, operands) \
            or not fits_shape(program, operands, <cnp.ndarray>g):
        return False
    if to.o != NULL and OWNED_ARRAY(to.o) and alike(<object>to.o, g):
        run_array(program, operands, <cnp.ndarray>to.o, True)
        return True
    out = <cnp.ndarray>g if ours and to.o == NULL else empty_like(<cnp.ndarray>g)
    run_array(program, operands, out, False)
    accumulate(to, False, out)
    return True


cdef object contribution(Primitive p, int k, PyObject **values, object g):
    """Cotangent (or tangent) times the partial by argument `k`, which broadcasts to the result's shape."""
    cdef Program program
    cdef char code
    cdef double room[MAX_INPUTS]
    cdef Operand operands[MAX_INPUTS]
    cdef cnp.ndarray out
    cdef object ans, c
    cdef list args
    cdef int i
    if plain_array(g) and cnp.PyArray_NDIM(<cnp.ndarray>g) > 0:
        code = type_code(cnp.PyArray_TYPE(<cnp.ndarray>g))
        if code == b"d" and p.prepared:
            program = <Program>PyList_GET_ITEM(p.fast, k)
        else:
            program = p.contribution_program(k, code) if code else None
        if program is not None:
            if program.passes_input(0):
                return g
            if numeric_operands(program, values, code, room, operands) \
                    and fits_shape(program, operands, <cnp.ndarray>g):
                out = empty_like(<cnp.ndarray>g)
                run_array(program, operands, out, False)
                return out
    if type(g) is np_float64 or type(g) is Box and (<Box>g).kind == SCALAR:
        c = scalar_contribution(p, k, values, g)
    else:
        c = array_contribution(p, k, values, g)
    if c is not None:
        return c
    if type(g) is Box and (<Box>g).trace.mode == RECORD or recorded_values(values, p.nin):
        c = recorded_contribution(p, k, values, g)
        if c is not None:
            return c
    # Through the primitives: any dtype, boxes of outer traces, complex functions that are not holomorphic.
    ans = <object>values[1] if values[1] != NULL else None
    args = [<object>values[i + 2] if values[i + 2] != NULL else None for i in range(p.nin)]
    complex_partial = p.complex_partials[k] if p.complex_partials else None
    return hooks["contribute"](g, ans, args, p.partials[k], complex_partial)


cdef bint recorded_values(PyObject **values, int nin) noexcept:
    cdef int i
    for i in range(1, nin + 2):
        if values[i] != NULL and type(<object>values[i]) is Box \
                and (<Box><object>values[i]).trace.mode == RECORD:
            return True
    return False


cdef object recorded_contribution(Primitive p, int k, PyObject **values, object g):
    """The contribution by calls of the rule's own recording: a replay then computes what the machine would.

    None where the machine would not do it either.
    """
    cdef list inputs = [g]
    cdef object ans, v, partial
    cdef tuple recording
    cdef int i
    cdef Meta meta = meta_of(g)
    cdef bint scalars = meta is META_FLOAT64
    if not p.prepared:
        p.prepare()
    for i in range(1, p.nin + 2):
        v = <object>values[i] if values[i] != NULL else None
        if type(v) is Box and (<Box>v).trace.mode != RECORD:
            return None
        inputs.append(v)
        # A tangent may be a scalar where the values are not.
        scalars = scalars and (v is None or not meta_of(v).shape)
        if v is None:
            continue
        if p.complex_partials is not None and meta_of(v).dtype.kind == "c":
            return None
        if p.used[k] >> i & 1 and not machine_operand(v, meta):
            return None
    if not meta.shape and not scalars:
        return None
    recording = p.recordings[k]
    if recording is None or type_code((<cnp.dtype>meta.dtype).type_num) == 0:
        return None
    if type(recording[1][1]) is not tuple:      # the constant 0, which has no shape
        return None
    if scalars and p.scalar_ok and not recording[3]:
        # Between scalars the partial is a double first, by which the cotangent is multiplied.
        partial = play(recording[0], inputs, None)
        if type(partial) is Box or cnp.PyArray_Check(partial):      # a tangent of a scalar, beside an array
            return P_MUL(g, partial)
        return g if partial == 1 else P_NEG(g) if partial == -1 else P_MUL(g, <double>partial)
    partial = play(recording[1], inputs, meta.dtype)
    # `where` makes an array of scalars, any other primitive scalars.
    return P_MUL(partial, 1.0) if recording[3] and not meta_of(partial).shape else partial


cdef bint machine_operand(object v, Meta g) except -1:
    """Whether the machine takes a value beside such a cotangent: see `numeric_operands` and `fits_shape`."""
    cdef Meta meta = meta_of(v)
    cdef int number = (<cnp.dtype>meta.dtype).type_num
    if meta.shape and meta.dtype is g.dtype and same_axes(meta.shape, g.shape):
        return True
    if not meta.shape:
        return g.dtype.kind == "f" and (meta.dtype == g.dtype or weak_number(v))
    if number != (<cnp.dtype>g.dtype).type_num and number != cnp.NPY_BOOL:
        return False
    return len(meta.shape) <= len(g.shape) \
        and all([m in (1, n) for m, n in zip(reversed(meta.shape), reversed(g.shape))])


cdef object play(tuple recording, list slots, object dtype):
    """Runs a recording through the primitives; constants of `where` in that dtype.

    The values are appended to `slots`, which holds the inputs.
    """
    cdef list steps = recording[0]
    cdef Primitive p
    cdef tuple step, operands, args
    cdef object o
    cdef Py_ssize_t i, n, place
    for step in steps:
        p = <Primitive>PyTuple_GET_ITEM(step, 0)
        operands = <tuple>PyTuple_GET_ITEM(step, 1)
        n = PyTuple_GET_SIZE(operands)
        args = PyTuple_New(n)
        for i in range(n):
            o = <object>PyTuple_GET_ITEM(operands, i)
            if type(o) is tuple:
                place = <object>PyTuple_GET_ITEM(o, 1)
                o = <object>PyList_GET_ITEM(slots, place)
            elif p is P_WHERE and dtype is not None:
                o = dtype.type(o)
            Py_INCREF(o)
            PyTuple_SET_ITEM(args, i, o)
        slots.append(call_primitive(p, (<PyTupleObject *>args).ob_item, n, NULL))
    o = recording[1]
    return slots[o[1]] if type(o) is tuple else o


cdef bint fits_shape(Program program, Operand *operands, cnp.ndarray g) noexcept:
    """Whether every operand broadcasts to the shape of `g`.

    Not so in forward mode, nor in reverse where an array that was kept has been given another shape since.
    """
    cdef int i, j, missing, ndim = cnp.PyArray_NDIM(g)
    for i in range(program.nin):
        if not program.used >> i & 1:
            continue
        missing = ndim - operands[i].ndim
        if missing < 0:
            return False
        for j in range(operands[i].ndim):
            if operands[i].shape[j] != 1 and operands[i].shape[j] != cnp.PyArray_DIMS(g)[missing + j]:
                return False
    return True


cdef object push_forward_elementwise(Primitive p, Trace t, PyObject *const *args, PyObject **values,
                                     Py_ssize_t n, object ans, Parent *parents, int count):
    cdef PyObject *operands[MAX_INPUTS]
    cdef int j
    cdef Py_ssize_t k
    cdef object tangent, total = None, g
    cdef Box out
    operands[1] = <PyObject *>ans
    for k in range(n):
        operands[k + 2] = values[k]
    for j in range(count):
        g = tangent_of(<Box>args[parents[j].arg])
        operands[0] = <PyObject *>g
        fp_clear()
        tangent = contribution(p, parents[j].arg, operands, g)
        if fp_flags():
            give_errors(p.name, fp_flags())
        total = tangent if total is None else P_ADD(total, tangent)
    out = new_object(t, 0, ans)
    set_tangent(out, fit_up(total, box_meta(out)))
    return out
