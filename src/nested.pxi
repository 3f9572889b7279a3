# Reverse traces of recorded values.
#
# `compile(grad(f))` records what a reverse trace does: its boxes are boxes around those of the recording. For
# float64 scalars, of which there may be millions, for contributions between arrays of one shape, and for
# products of matrices and sums these are the short ways. They record what the general ways
# (`call_elementwise`, `recorded_contribution`, `call_general`, the rules) would.

cdef enum:
    MOST_SLOTS = 32     # inputs and steps of a rule

cdef struct Traced:
    double value
    int operand         # of the recording; NO_OPERAND for a number that is not traced
    PyObject *number    # such a number, if it is an object; borrowed


cdef inline Trace replayed_trace(object v):
    """The open recording for replay that traces a value; None for other values."""
    if type(v) is Box and (<Box>v).trace.replay and (<Box>v).trace.open:
        return (<Box>v).trace
    return None


cdef inline Trace recording_of(object v):
    """The recording for replay that traces a float64 scalar, and nothing else does; None for other values."""
    return replayed_trace(v) if type(v) is Box and (<Box>v).kind == SCALAR else None


cdef inline bint take_traced(object v, Trace t, Traced *to) except -1:
    """Looks at a float64 scalar of that recording, or a number; False for anything else."""
    if type(v) is Box:
        to.operand = (<Box>v).slot
        to.value = (<Box>v).d
        return (<Box>v).kind == SCALAR and (<Box>v).trace is t and (<Box>v).view == NULL
    to.operand = NO_OPERAND
    to.number = NULL
    if type(v) is float:
        to.number = <PyObject *>v
        to.value = PyFloat_AS_DOUBLE(v)
        return True
    if type(v) is np_float64:
        to.value = PyFloat_AS_DOUBLE(v)
        return True
    if type(v) is int and -2**53 < v < 2**53:
        to.number = <PyObject *>v
        to.value = <object>v
        return True
    return False


cdef inline int operand_for(Trace t, const Traced *x) except? -1:
    if x.operand != NO_OPERAND:
        return x.operand
    return t.code.constant(<object>x.number if x.number != NULL else x.value)


cdef int record_step(Trace t, Primitive p, const Traced *x, Py_ssize_t n, Traced *out) except -1:
    """A primitive of scalars: a record if one of them is traced, else just a number."""
    cdef double given[2]
    cdef int operands[2]
    cdef Py_ssize_t i
    cdef bint traced = False
    given[1] = 2.0      # of a square by the C library
    for i in range(n):
        given[i] = x[i].value
        traced = traced or x[i].operand != NO_OPERAND
    out.value = scalar_result(p, given, p.libm_power)
    out.operand = NO_OPERAND
    out.number = NULL
    if traced:
        for i in range(n):
            operands[i] = operand_for(t, &x[i])
        out.operand = t.code.add(CALL_NODE, p, META_FLOAT64, operands, n)
    return 0


cdef inline bint takes_scalars(Primitive p, Py_ssize_t n) except -1:
    return p.rule == ELEMENTWISE and p.nin == n and n <= 2 and (p.scalar_ready() or p.libm_power)


cdef object call_recorded(Primitive p, Trace top, PyObject *const *args, Py_ssize_t n, bint weak):
    """An elementwise call in a reverse trace whose values are recorded scalars; None if they are not."""
    cdef Trace t = None
    cdef Traced x[2]
    cdef Traced ans
    cdef Parent parents[2]
    cdef int count = 0
    cdef unsigned int saved = 0
    cdef Py_ssize_t i
    cdef object v, first = None, second = None      # owned: a warning runs Python, which may update a box
    cdef Box b, inner, out
    cdef Tape tape
    cdef Entry *e
    if not takes_scalars(p, n):
        return None
    for i in range(n):
        v = <object>args[i]
        if type(v) is Box and (<Box>v).trace is top:
            b = <Box>v
            if b.kind != OBJECT or b.view != NULL or PyTuple_GET_ITEM(p.partials, i) == <PyObject *>None:
                return None
            v = <object>b.v
            parents[count].slot = b.slot
            parents[count].arg = <int>i
            count += 1
            saved |= p.used[i] >> 1
        if i == 0:
            first = v
        else:
            second = v
        if t is None:
            t = recording_of(v)
    if t is None or not take_traced(first, t, &x[0]) or n == 2 and not take_traced(second, t, &x[1]):
        return None
    if type(first) is np_float64:
        t.code.note_given(first)
    if type(second) is np_float64:
        t.code.note_given(second)
    tape = top.recording()
    record_step(t, p, x, n, &ans)
    t.code.records[ans.operand].weak = weak
    inner = new_scalar(t, ans.operand, ans.value, weak)
    e = tape.push(p, ELEMENTWISE_ENTRY)
    out = new_object(top, <int>tape.n - 1, inner)
    set_parents(tape, e, parents, count)
    e.saved = saved & ((1 << (n + 1)) - 1)
    if e.saved & 1:
        tape.keep(e, inner)
    if e.saved >> 1 & 1:
        tape.keep(e, first)
    if e.saved >> 2 & 1:
        tape.keep(e, second)
    return noted(tape, out)


cdef object record_inside(Primitive p, PyObject **values, Py_ssize_t n):
    """The elementwise call of a reverse trace's values, if one recording traces all that are traced."""
    cdef Trace t = None
    cdef Py_ssize_t i
    for i in range(n):
        if type(<object>values[i]) is Box:
            if t is None:
                t = replayed_trace(<object>values[i])
            if (<Box>values[i]).trace is not t:
                return None
        elif may_hold_box(values[i]):
            return None
    return None if t is None else record_direct(p, t, values, n)


cdef object recorded_operator(Primitive p, object x, object y):
    """An operator in a reverse trace whose values are recorded scalars; None if they are not."""
    cdef PyObject *args[2]
    cdef Trace top = None
    if type(x) is Box and (<Box>x).kind == OBJECT:
        top = (<Box>x).trace
    if type(y) is Box and (<Box>y).kind == OBJECT and (top is None or (<Box>y).trace.level > top.level):
        top = (<Box>y).trace
    if top is None or top.mode != REVERSE or not top.open:
        return None
    args[0] = <PyObject *>x
    args[1] = <PyObject *>y
    return call_recorded(p, top, args, 2, weak_number(x) and weak_number(y))


cdef object scalar_contribution(Primitive p, int k, PyObject **values, object g):
    """The contribution to the adjoint of a recorded scalar; None if it is not one.

    As `recorded_contribution` has it: between scalars the partial is a double first, by which the cotangent
    is multiplied.
    """
    cdef Trace t = recording_of(g)
    cdef Traced slots[MOST_SLOTS]
    cdef Traced x[2]
    cdef Traced ans
    cdef tuple recording, code, step
    cdef PyObject *o
    cdef Py_ssize_t i, j, n, count, nslots = p.nin + 2
    if not p.prepared:
        p.prepare()
    if not (p.scalar_ok or p.libm_power) or PyList_GET_ITEM(p.recordings, k) == <PyObject *>None:
        return None
    recording = <tuple>PyList_GET_ITEM(p.recordings, k)
    if recording[3]:
        return None
    for i in range(1, p.nin + 2):
        if t is None and values[i] != NULL:
            t = recording_of(<object>values[i])
    code = <tuple>PyTuple_GET_ITEM(recording, 0)
    n = PyList_GET_SIZE(<object>PyTuple_GET_ITEM(code, 0))
    if nslots + n > MOST_SLOTS or not take_traced(g, t, &slots[0]):
        return None
    for i in range(1, p.nin + 2):
        slots[i].operand = NO_OPERAND
        slots[i].number = NULL
        slots[i].value = 0.0        # nothing reads a value that was not saved
        if values[i] != NULL and not take_traced(<object>values[i], t, &slots[i]):
            return None
    for i in range(n):
        step = <tuple>PyList_GET_ITEM(<object>PyTuple_GET_ITEM(code, 0), i)
        if not takes_scalars(<Primitive>PyTuple_GET_ITEM(step, 0),
                             PyTuple_GET_SIZE(<object>PyTuple_GET_ITEM(step, 1))):
            return None
    for i in range(n):
        step = <tuple>PyList_GET_ITEM(<object>PyTuple_GET_ITEM(code, 0), i)
        count = PyTuple_GET_SIZE(<object>PyTuple_GET_ITEM(step, 1))
        for j in range(count):
            o = PyTuple_GET_ITEM(<object>PyTuple_GET_ITEM(step, 1), j)
            if not take_operand(<object>o, slots, &x[j]):
                return None
        record_step(t, <Primitive>PyTuple_GET_ITEM(step, 0), x, count, &slots[nslots])
        nslots += 1
    if not take_operand(<object>PyTuple_GET_ITEM(code, 1), slots, &x[1]):
        return None
    x[0] = slots[0]
    if x[1].operand == NO_OPERAND and x[1].value == 1.0:
        return g
    if x[1].operand == NO_OPERAND and x[1].value == -1.0:
        takes_scalars(P_NEG, 1)     # prepared by it
        record_step(t, P_NEG, x, 1, &ans)
    else:
        takes_scalars(P_MUL, 2)
        record_step(t, P_MUL, x, 2, &ans)
    if ans.operand == NO_OPERAND:
        return float64(ans.value)
    return new_scalar(t, ans.operand, ans.value, False)


cdef inline bint take_operand(object o, const Traced *slots, Traced *to) except -1:
    """An operand of a rule's recording: a slot, or a constant."""
    cdef Py_ssize_t slot
    if type(o) is tuple:
        slot = <object>PyTuple_GET_ITEM(o, 1)
        to[0] = slots[slot]
        return True
    to.operand = NO_OPERAND
    to.number = <PyObject *>o if type(o) is float or type(o) is int else NULL
    if type(o) is not float and type(o) is not int and type(o) is not np_float64:
        return False
    to.value = o
    return True


cdef object array_contribution(Primitive p, int k, PyObject **values, object g):
    """The contribution to the adjoint of a recorded array; None where it is not this simple.

    The machine computes its value, as in eager mode, and the steps of the rule are recorded.
    """
    cdef Trace t = None
    cdef Meta meta = None
    cdef PyObject *plain[MAX_INPUTS]
    cdef int slots[MOST_SLOTS]
    cdef double room[MAX_INPUTS]
    cdef Operand operands[MAX_INPUTS]
    cdef int args[4]
    cdef Program program
    cdef tuple recording, step
    cdef list steps
    cdef object v, o, result
    cdef cnp.ndarray out
    cdef unsigned int arrays = 1            # by slot: what has the shape and dtype of the cotangent
    cdef Py_ssize_t i, j, n, count, place, nslots = p.nin + 2
    cdef bint is_array
    cdef char code
    for i in range(p.nin + 2):
        v = <object>values[i] if values[i] != NULL else None
        slots[i] = NO_OPERAND
        plain[i] = values[i]
        if type(v) is Box:
            if t is None:
                t = replayed_trace(v)
            if (<Box>v).trace is not t or (<Box>v).kind != OBJECT or (<Box>v).view != NULL:
                return None
            slots[i] = (<Box>v).slot
            plain[i] = (<Box>v).v
    if t is None or not plain_array(<object>plain[0]) or cnp.PyArray_NDIM(<cnp.ndarray>plain[0]) == 0:
        return None
    code = type_code(cnp.PyArray_TYPE(<cnp.ndarray>plain[0]))
    if code != b"d" and code != b"f":
        return None
    if not p.prepared:
        p.prepare()
    program = <Program>PyList_GET_ITEM(p.fast, k) if code == b"d" else p.contribution_program(k, code)
    if program is None:
        return None
    if program.passes_input(0):
        return g
    recording = <tuple>PyTuple_GET_ITEM(<object>PyList_GET_ITEM(p.recordings, k), 1)
    steps = <list>PyTuple_GET_ITEM(recording, 0)
    result = <object>PyTuple_GET_ITEM(recording, 1)
    n = PyList_GET_SIZE(steps)
    if n == 0 or nslots + n > MOST_SLOTS or type(result) is not tuple:
        return None
    for i in range(p.nin + 2):
        if plain[i] == NULL or not program.used >> i & 1:
            continue
        v = <object>plain[i]
        if cnp.PyArray_Check(v):
            if not alike(v, <object>plain[0]):
                return None
            arrays |= 1 << i
            if meta is None and slots[i] != NO_OPERAND:
                meta = box_meta(<Box>values[i])
        elif type(v) is not float and type(v) is not int:
            return None
    if meta is None:
        return None
    for i in range(n):
        step = <tuple>PyList_GET_ITEM(steps, i)
        if not takes_arrays(step, code):
            return None
        is_array = False
        for o in <tuple>PyTuple_GET_ITEM(step, 1):
            if type(o) is tuple:
                place = <object>PyTuple_GET_ITEM(<tuple>o, 1)
                is_array = is_array or arrays >> place & 1
            elif type(o) is not float and type(o) is not int:
                return None
        if not is_array:
            return None
        arrays |= 1 << (nslots + i)
    if not numeric_operands(program, plain, code, room, operands):
        return None
    out = empty_like(<cnp.ndarray>plain[0])
    run_array(program, operands, out, False)
    if fp_flags():
        fp_clear()
        run_array(program, operands, out, False)
        if fp_flags():
            give_errors(p.name, fp_flags())
    for i in range(p.nin + 2):
        if program.used >> i & 1 and slots[i] == NO_OPERAND:
            slots[i] = t.code.constant(<object>values[i])
    for i in range(n):
        step = <tuple>PyList_GET_ITEM(steps, i)
        count = PyTuple_GET_SIZE(<object>PyTuple_GET_ITEM(step, 1))
        for j in range(count):
            o = <object>PyTuple_GET_ITEM(<object>PyTuple_GET_ITEM(step, 1), j)
            if type(o) is tuple:
                place = <object>PyTuple_GET_ITEM(<tuple>o, 1)
                args[j] = slots[place]
            else:
                args[j] = t.code.constant(o)
        slots[nslots + i] = t.code.add(CALL_NODE, <Primitive>PyTuple_GET_ITEM(step, 0), meta, args, count)
    place = <object>PyTuple_GET_ITEM(<tuple>result, 1)
    return node_box(t, slots[place], out)


cdef bint takes_arrays(tuple step, char code) except -1:
    """Whether a step of a rule gives an array of its operands' dtype."""
    cdef Primitive p = <Primitive>PyTuple_GET_ITEM(step, 0)
    cdef Py_ssize_t count = PyTuple_GET_SIZE(<object>PyTuple_GET_ITEM(step, 1))
    if p.rule != ELEMENTWISE or p.nin != count or count > 4 or p.takes_bool:
        return False
    if not p.prepared:
        p.prepare()
    return p.loops[code_index(code)].fn != NULL


# --- products and sums -----------------------------------------------------------------------------------

cdef inline object plain_of(object v, Trace t):
    """The object in a box of that recording, and what is no box as it is; None for other boxes."""
    if type(v) is not Box:
        return v
    if (<Box>v).trace is not t or (<Box>v).kind != OBJECT:
        return None
    return <object>current(<Box>v).v


cdef object record_plain(Trace t, Primitive p, tuple args, dict kwargs, Meta meta, object value):
    """The value of a call, as the recording's."""
    return node_box(t, add_call(t, CALL_NODE, p, args, kwargs, meta), value)


cdef object recorded_product(object a, object b):
    """`matmul` of vectors and matrices, one or both of them of a recording; None for anything else."""
    cdef Trace t = replayed_trace(a)
    cdef object ans
    if t is None:
        t = replayed_trace(b)
    if t is None:
        return None
    ans = product_value(P_MATMUL, plain_of(a, t), plain_of(b, t))
    return None if ans is None else record_plain(t, P_MATMUL, (a, b), None, meta_of(ans), ans)


cdef bint visit_recorded_product(Tape tape, Entry *e, object g, Adjoint *adjoints) except -1:
    """`visit_product` for matrices some of which are of a recording."""
    cdef object a, b, c, other
    cdef Trace t = replayed_trace(g)
    cdef Matrix mg, m
    cdef Parent parent
    cdef int j, number = -1
    if e.nref != 4 or e.flags & MANY or <PyObject *>tape.residual(e, 3) != <PyObject *>None:
        return False
    a = <object>tape.residual(e, 1)
    b = <object>tape.residual(e, 2)
    if t is None:
        t = replayed_trace(a)
    if t is None:
        t = replayed_trace(b)
    if t is None or not is_matrix(plain_of(g, t), &mg, &number) or product_loop(number).fn == NULL:
        return False
    for j in range(parent_count(e)):
        parent = parent_at(tape, e, j)
        if not is_matrix(plain_of(b if parent.arg == 0 else a, t), &m, &number) \
                or not looks_like_matrix(meta_of(a if parent.arg == 0 else b), number):
            return False
        # An array that was kept may have been given another shape since.
        if m.columns != mg.columns if parent.arg == 0 else m.rows != mg.rows:
            return False
    for j in range(parent_count(e)):
        parent = parent_at(tape, e, j)
        other = transposed_of(b if parent.arg == 0 else a, t)
        c = product_of(t, g, other) if parent.arg == 0 else product_of(t, other, g)
        accumulate(&adjoints[parent.slot], False, c)
    return True


cdef bint is_matrix(object v, Matrix *m, int *number) except -1:
    """Whether it is a matrix, of that type number where there is one."""
    if not cnp.PyArray_CheckExact(v) or cnp.PyArray_NDIM(<cnp.ndarray>v) != 2 or not as_matrix(v, True, m):
        return False
    if number[0] < 0:
        number[0] = cnp.PyArray_TYPE(<cnp.ndarray>v)
    return number[0] == cnp.PyArray_TYPE(<cnp.ndarray>v)


cdef inline bint looks_like_matrix(Meta meta, int number) noexcept:
    return PyTuple_GET_SIZE(meta.shape) == 2 and isinstance(meta.dtype, np_dtype) \
        and (<cnp.dtype>meta.dtype).type_num == number


cdef object transposed_of(object v, Trace t):
    cdef object view = cnp.PyArray_Transpose(<cnp.ndarray>plain_of(v, t), NULL)
    return record_plain(t, P_TRANSPOSE, (v,), None, meta_of(view), view) if type(v) is Box else view


cdef object product_of(Trace t, object x, object y):
    """A product of matrices in a sweep, as the recording's."""
    cdef Matrix a, b
    cdef int number = cnp.PyArray_TYPE(<cnp.ndarray>plain_of(x, t))
    cdef cnp.ndarray out
    as_matrix(plain_of(x, t), True, &a)
    as_matrix(plain_of(y, t), True, &b)
    out = swept_product(product_loop(number), a, b, 2, number, True)
    return record_plain(t, P_MATMUL, (x, y), None, meta_of(out), out)


cdef object recorded_sum(Primitive p, Trace top, Box x):
    """`sum` of all items of an array of a recording, in a reverse trace; None for anything else."""
    cdef Trace t = replayed_trace(<object>x.v)
    cdef object inner = <object>x.v, a = plain_of(inner, t), ans
    cdef int slot = x.slot
    cdef Meta meta
    cdef Tape tape
    cdef Entry *e
    if t is None or not is_summed(a):
        return None
    meta = box_meta(x)
    ans = record_plain(t, p, (inner,), None, META_FLOAT64, float64(sum_or_mean(p, <cnp.ndarray>a)))
    tape = top.recording()
    e = push_kernel(tape, p, META_FLOAT64, meta, None)
    e.p0 = slot
    return noted(tape, new_object(top, <int>tape.n - 1, ans))


cdef object recorded_rows(Box c, Meta m, tuple axes):
    """The sum of an array of a recording over its leading axes."""
    cdef object a = plain_of(c, replayed_trace(c)), ans
    if cnp.PyArray_CheckExact(a) and is_double(m) and plain_array(a) \
            and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>a) and ends_with(<cnp.ndarray>a, m.shape):
        ans = add_rows(<cnp.ndarray>a, m)
        return record_plain(c.trace, P_SUM, (c,), {"axis": axes}, m, ans)
    return PyObject_Call(P_SUM, (c,), {"axis": axes})
