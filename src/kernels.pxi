# Kernels: compiled ways of the few structural primitives that gradient loops are made of.
#
# A kernel records the same entry as the primitive's rule in Python would (see `record_call`) and the
# sweep asks it first; it declines whatever it does not cover (dtypes, layouts, boxes of outer traces other
# than recordings: see `nested.pxi`), and the rule runs instead. The tests compare the two.

cdef enum Kernel:
    NO_KERNEL
    KERNEL_SUM          # of all items
    KERNEL_MEAN
    KERNEL_MATMUL       # of vectors and matrices
    KERNEL_DOT


cdef object kernel_call(Primitive p, Trace t, PyObject *const *args, Py_ssize_t n):
    """The primitive on these arguments in a reverse trace, or None where the rule must do it."""
    if p.kernel == KERNEL_SUM or p.kernel == KERNEL_MEAN:
        if n == 1:
            return kernel_sum(p, t, <Box>args[0])
    elif n == 2:
        return kernel_product(p, t, <object>args[0], <object>args[1])
    return None


cdef bint kernel_visit(Tape t, Entry *e, object g, Adjoint *adjoints) except -1:
    """The contributions of a kernel's entry; False where the rule must give them."""
    cdef int kernel = (<Primitive>e.prim).kernel
    if kernel == KERNEL_SUM or kernel == KERNEL_MEAN:
        return visit_sum(t, e, g, adjoints)
    return visit_product(t, e, g, adjoints) or visit_recorded_product(t, e, g, adjoints)


cdef Entry *push_kernel(Tape tape, Primitive p, object ans, object a, object b) except NULL:
    """An entry with the residuals of a rule: result, arguments, no keywords."""
    cdef Entry *e = tape.push(p, CALL_ENTRY)
    tape.keep(e, ans)
    tape.keep(e, a)
    if b is not None:
        tape.keep(e, b)
    tape.keep(e, None)
    return e


cdef inline Box noted(Tape tape, Box out):
    """The result of a kernel or rule, whose entry is complete."""
    if debugging:
        note_residuals(tape, out.slot)
    return out


# --- sum and mean of all items -------------------------------------------------------------------

cdef object kernel_sum(Primitive p, Trace t, Box x):
    cdef cnp.ndarray a
    cdef double total
    cdef int slot
    cdef Meta meta
    cdef Tape tape
    cdef Box out
    cdef Entry *e
    current(x)
    if x.kind == SCALAR:
        return None
    if not is_summed(<object>x.v):
        return recorded_sum(p, t, x) if p.kernel == KERNEL_SUM else None
    meta = box_meta(x)
    slot = x.slot
    a = <cnp.ndarray>x.v        # held: a warning runs Python, which may update the box
    total = sum_or_mean(p, a)
    tape = t.recording()
    e = push_kernel(tape, p, META_FLOAT64, meta, None)
    e.flags = DOUBLE
    e.p0 = slot
    out = new_scalar(t, <int>tape.n - 1, total, False)
    return out


cdef bint is_summed(object v) noexcept:
    """Whether `sum_or_mean` takes it: a float64 array in C order that is not empty."""
    return plain_array(v) and cnp.PyArray_TYPE(<cnp.ndarray>v) == cnp.NPY_DOUBLE \
        and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>v) and cnp.PyArray_SIZE(<cnp.ndarray>v) > 0


cdef double sum_or_mean(Primitive p, cnp.ndarray a) except? -1.0:
    cdef double total = add_all(a)
    if unusual(total):
        fp_clear()
        total = add_all(a)
        if fp_flags():
            give_errors("reduce", fp_flags())
    return total / cnp.PyArray_SIZE(a) if p.kernel == KERNEL_MEAN else total


cdef object plain_value(Primitive p, list values, dict kwargs):
    """The value of a call that is recorded, without NumPy's wrappers in Python for what is met most."""
    cdef object x = values[0] if PyList_GET_SIZE(values) == 1 else None
    if p.kernel == KERNEL_MATMUL and not kwargs and PyList_GET_SIZE(values) == 2:
        ans = product_value(p, values[0], values[1])
        return p(*values) if ans is None else ans
    if not cnp.PyArray_CheckExact(x):
        return p(*values, **kwargs)
    if not kwargs:
        if (p.kernel == KERNEL_SUM or p.kernel == KERNEL_MEAN) and is_summed(x):
            return float64(sum_or_mean(p, <cnp.ndarray>x))
        if p.fun is np_transpose:
            return cnp.PyArray_Transpose(<cnp.ndarray>x, NULL)
    elif p.kernel == KERNEL_SUM and len(kwargs) == 1 and "axis" in kwargs:
        return np_add.reduce(x, kwargs["axis"])
    return p(*values, **kwargs)


cdef bint visit_sum(Tape t, Entry *e, object g, Adjoint *adjoints) except -1:
    cdef Adjoint *to = &adjoints[e.p0]
    cdef object c
    cdef double d
    cdef Meta meta
    if type(g) is not np_float64 or e.nref != 3 or <PyObject *>t.residual(e, 2) != <PyObject *>None:
        return False
    if type(<object>t.residual(e, 0)) is not Meta or type(<object>t.residual(e, 1)) is not Meta:
        return False
    meta = <Meta>t.residual(e, 1)
    if meta.dtype is not DTYPE_FLOAT64:
        return False
    d = PyFloat_AS_DOUBLE(g)
    if (<Primitive>e.prim).kernel == KERNEL_MEAN:
        d /= meta.size
    if is_double_slot(t, e.p0):
        add_double(to, d)
    else:
        accumulate(to, False, spread(d, meta.shape))
    return True


cdef object spread(double d, tuple shape):
    """A read-only array of that shape, all items one double in memory."""
    cdef cnp.ndarray one = cnp.PyArray_SimpleNew(0, NULL, cnp.NPY_DOUBLE)
    (<double *>cnp.PyArray_DATA(one))[0] = d
    return stretched(one, shape)


# --- products of vectors and matrices --------------------------------------------------------------

cdef bint as_matrix(object v, bint row, Matrix *m) noexcept:
    """A vector (as a row or a column) or matrix; False for anything else."""
    cdef cnp.ndarray a
    if not plain_array(v):
        return False
    a = <cnp.ndarray>v
    m.data = <char *>cnp.PyArray_DATA(a)
    if cnp.PyArray_NDIM(a) == 2:
        m.rows = cnp.PyArray_DIMS(a)[0]
        m.columns = cnp.PyArray_DIMS(a)[1]
        m.row_step = cnp.PyArray_STRIDES(a)[0]
        m.column_step = cnp.PyArray_STRIDES(a)[1]
        return True
    if cnp.PyArray_NDIM(a) != 1:
        return False
    m.rows = 1 if row else cnp.PyArray_DIMS(a)[0]
    m.columns = cnp.PyArray_DIMS(a)[0] if row else 1
    m.row_step = 0 if row else cnp.PyArray_STRIDES(a)[0]
    m.column_step = cnp.PyArray_STRIDES(a)[0] if row else 0
    return True


cdef void multiply(LoopRef loop, Matrix a, Matrix b, Matrix out) noexcept:
    """`out = a @ b` by a loop of `matmul`."""
    cdef char *args[3]
    cdef cnp.npy_intp dims[4]
    cdef cnp.npy_intp steps[9]
    args[0] = a.data
    args[1] = b.data
    args[2] = out.data
    dims[0] = 1
    dims[1] = a.rows
    dims[2] = a.columns
    dims[3] = b.columns
    steps[0] = steps[1] = steps[2] = 0
    # NumPy passes stride 0 for an axis of length one.
    steps[3] = a.row_step if a.rows != 1 else 0
    steps[4] = a.column_step if a.columns != 1 else 0
    steps[5] = b.row_step if b.rows != 1 else 0
    steps[6] = b.column_step if b.columns != 1 else 0
    steps[7] = out.row_step if out.rows != 1 else 0
    steps[8] = out.column_step if out.columns != 1 else 0
    if a.rows * a.columns * b.columns > 65536:
        with nogil:
            loop.fn(args, dims, steps, loop.data)
    else:
        loop.fn(args, dims, steps, loop.data)


cdef object product_value(Primitive p, object a, object b):
    """A product of vectors and matrices as NumPy has it; None where that is left to NumPy."""
    cdef Matrix ma, mb, mo
    cdef LoopRef loop
    cdef cnp.npy_intp dims[2]
    cdef int ndim = 0, number
    cdef object ans
    if not as_matrix(a, True, &ma) or not as_matrix(b, False, &mb) or ma.columns != mb.rows:
        return None
    number = cnp.PyArray_TYPE(<cnp.ndarray>a)
    loop = MATMUL_FLOAT if number == cnp.NPY_FLOAT else MATMUL_DOUBLE
    if product_loop(number).fn == NULL or cnp.PyArray_TYPE(<cnp.ndarray>b) != number or ma.columns == 0:
        return None
    if cnp.PyArray_NDIM(<cnp.ndarray>a) == 2:
        dims[ndim] = ma.rows
        ndim += 1
    if cnp.PyArray_NDIM(<cnp.ndarray>b) == 2:
        dims[ndim] = mb.columns
        ndim += 1
    if ndim == 0 or p.kernel == KERNEL_DOT:
        return P_MATMUL.fun(a, b) if p.kernel == KERNEL_MATMUL else cnp.PyArray_MatrixProduct(a, b)
    ans = new_array(ndim, dims, number, cnp.PyArray_ITEMSIZE(<cnp.ndarray>a))
    as_matrix(ans, cnp.PyArray_NDIM(<cnp.ndarray>a) == 1, &mo)
    multiply(loop, ma, mb, mo)
    if fp_flags():
        fp_clear()
        multiply(loop, ma, mb, mo)
        if fp_flags():
            give_errors("matmul", fp_flags())
    return ans


cdef object kernel_product(Primitive p, Trace t, object x, object y):
    cdef object a = x, b = y, ans
    cdef Box bx = None, by = None, out
    cdef int slot0 = -1, slot1 = -1
    cdef Entry *e
    cdef Tape tape
    cdef Meta ans_meta
    if type(x) is Box and (<Box>x).trace is t:
        bx = current(<Box>x)
        if bx.kind == SCALAR:
            return None
        a = <object>bx.v
        slot0 = bx.slot
    if type(y) is Box and (<Box>y).trace is t:
        by = current(<Box>y)
        if by.kind == SCALAR:
            return None
        b = <object>by.v
        slot1 = by.slot
    ans = product_value(p, a, b)
    if ans is None and p.kernel == KERNEL_MATMUL:
        ans = recorded_product(a, b)
    if ans is None:
        return None
    ans_meta = meta_of(ans)
    if by is None:
        a = meta_of(a)
    if bx is None:
        b = meta_of(b)
    tape = t.recording()
    e = push_kernel(tape, p, ans_meta, a, b)
    out = new_object(t, <int>tape.n - 1, ans)
    if out.kind == SCALAR:
        e.flags = DOUBLE
    else:
        set_field(&out.meta, ans_meta)
    if bx is not None:
        e.p0 = slot0
        e.a0 = 0
        if by is not None:
            e.p1 = slot1
            e.a1 = 1
    else:
        e.p0 = slot1
        e.a0 = 1
    return noted(tape, out)


cdef inline LoopRef product_loop(int number) noexcept:
    """The loop for products whose last bits are ours to choose: adjoints, and all of a replay."""
    cdef LoopRef none
    if number == cnp.NPY_DOUBLE:
        return PRODUCT_DOUBLE
    if number == cnp.NPY_FLOAT:
        return PRODUCT_FLOAT
    none.fn = NULL
    none.data = NULL
    return none


def wide_loops():
    """For tests: the instruction set of the loops of `wide.h`, "" where NumPy's are used."""
    return {AVX2: "avx2", AVX512: "avx512"}.get(wide, "")


def own_product(cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray out not None):
    """For tests: `out = a @ b` by the loop of adjoints and replays."""
    cdef Matrix ma, mb, mo
    cdef LoopRef loop = product_loop(cnp.PyArray_TYPE(out))
    if loop.fn == NULL or not (a.dtype == b.dtype == out.dtype) or not (a.ndim == b.ndim == out.ndim == 2) \
            or not as_matrix(a, True, &ma) or not as_matrix(b, False, &mb) or not as_matrix(out, False, &mo) \
            or (ma.rows, ma.columns, mb.columns) != (mo.rows, mb.rows, mo.columns):
        raise TypeError("own_product: a, b and out must be matrices of float64 or float32 that fit together")
    multiply(loop, ma, mb, mo)


cdef bint visit_product(Tape t, Entry *e, object g, Adjoint *adjoints) except -1:
    """Cotangents of a product: ``g @ y.T`` and ``x.T @ g``, vectors as matrices of one row or column."""
    cdef object a, b
    cdef Meta ma, mb
    cdef Matrix left, right, mg
    cdef cnp.npy_intp one[1]
    cdef double room
    cdef int j, number
    cdef Parent parent
    cdef LoopRef loop
    if e.nref != 4 or e.flags & MANY or <PyObject *>t.residual(e, 3) != <PyObject *>None:
        return False
    a = <object>t.residual(e, 1)
    b = <object>t.residual(e, 2)
    if operand_ndim(a) == 0 or operand_ndim(b) == 0:
        return False
    if type(g) is np_float64:
        room = PyFloat_AS_DOUBLE(g)
        mg.data = <char *>&room
        mg.rows = mg.columns = 1
        mg.row_step = mg.column_step = 0
        number = cnp.NPY_DOUBLE
    elif plain_array(g) and cnp.PyArray_NDIM(<cnp.ndarray>g) > 0:
        # A vector result is a row where the left operand was one.
        if not as_matrix(g, operand_ndim(a) == 1, &mg):
            return False
        number = cnp.PyArray_TYPE(<cnp.ndarray>g)
    else:
        return False
    loop = product_loop(number)
    if loop.fn == NULL:
        return False
    for j in range(parent_count(e)):
        parent = parent_at(t, e, j)
        if not product_fits(a if parent.arg == 0 else b, number) or not as_matrix(
                b if parent.arg == 0 else a, parent.arg == 1, &left) or cnp.PyArray_TYPE(
                <cnp.ndarray>(b if parent.arg == 0 else a)) != number:
            return False
        # An array that was kept may have been given another shape since.
        if parent.arg == 0 and (left.columns != mg.columns or not of_shape(a, mg.rows, left.rows)):
            return False
        if parent.arg == 1 and (left.rows != mg.rows or not of_shape(b, left.columns, mg.columns)):
            return False
    for j in range(parent_count(e)):
        parent = parent_at(t, e, j)
        if parent.arg == 0:
            as_matrix(b, False, &right)
            add_product(&adjoints[parent.slot], loop, mg, transposed(right), a, number, True)
        else:
            as_matrix(a, True, &left)
            add_product(&adjoints[parent.slot], loop, transposed(left), mg, b, number, False)
    return True


cdef inline int operand_ndim(object v) noexcept:
    """Axes of an operand that was kept, or of its Meta; 0 for what the kernel does not know."""
    if cnp.PyArray_CheckExact(v):
        return cnp.PyArray_NDIM(<cnp.ndarray>v)
    return <int>PyTuple_GET_SIZE((<Meta>v).shape) if type(v) is Meta else 0


cdef bint of_shape(object v, cnp.npy_intp rows, cnp.npy_intp columns) except -1:
    """Whether an operand, kept or as a Meta, is a matrix of that shape, or a vector of that many items."""
    cdef tuple shape
    if cnp.PyArray_CheckExact(v):
        if cnp.PyArray_NDIM(<cnp.ndarray>v) == 1:
            return cnp.PyArray_DIMS(<cnp.ndarray>v)[0] == rows * columns
        return cnp.PyArray_DIMS(<cnp.ndarray>v)[0] == rows and cnp.PyArray_DIMS(<cnp.ndarray>v)[1] == columns
    shape = (<Meta>v).shape
    if PyTuple_GET_SIZE(shape) == 1:
        return <Py_ssize_t>shape[0] == rows * columns
    return <Py_ssize_t>shape[0] == rows and <Py_ssize_t>shape[1] == columns


cdef bint product_fits(object v, int number) except -1:
    """Whether an operand's cotangent is a vector or matrix of that type."""
    if cnp.PyArray_CheckExact(v):
        return 1 <= cnp.PyArray_NDIM(<cnp.ndarray>v) <= 2 and cnp.PyArray_TYPE(<cnp.ndarray>v) == number
    if type(v) is not Meta or not isinstance((<Meta>v).dtype, np_dtype):
        return False
    return 1 <= PyTuple_GET_SIZE((<Meta>v).shape) <= 2 and (<cnp.dtype>(<Meta>v).dtype).num == number


cdef int add_product(Adjoint *to, LoopRef loop, Matrix left, Matrix right, object like, int number,
                     bint row) except -1:
    return accumulate(to, False, swept_product(loop, left, right, operand_ndim(like), number, row))


cdef cnp.ndarray swept_product(LoopRef loop, Matrix left, Matrix right, int ndim, int number, bint row):
    """A product in a sweep, as an array of so many axes; a vector is a `row` or a column."""
    cdef cnp.npy_intp dims[2]
    cdef Matrix m
    cdef cnp.ndarray out
    dims[0] = left.rows
    dims[1] = right.columns
    if ndim == 1:
        dims[0] = left.rows * right.columns
    out = new_array(ndim, dims, number, 8 if number == cnp.NPY_DOUBLE else 4)
    as_matrix(out, row, &m)
    if left.columns == 0:
        out.fill(0)
    else:
        multiply(loop, left, right, m)
    return out
