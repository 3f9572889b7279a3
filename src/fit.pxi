# Bringing what a rule returns to a shape and dtype: cotangents to those of the argument (sums over broadcast
# axes), tangents to those of the result. Here are the usual cases of float64; `hooks["fit"]` has them all.

cdef inline object fit_to(object c, Meta m):
    """Unbroadcasts a cotangent to the shape of `m`; real part and cast where the dtype asks for it."""
    cdef cnp.ndarray a
    if cnp.PyArray_CheckExact(c):
        a = <cnp.ndarray>c
        if <PyObject *>cnp.PyArray_DESCR(a) == <PyObject *>m.dtype and same_as_tuple(a, m.shape):
            return c
        if cnp.PyArray_TYPE(a) == cnp.NPY_DOUBLE and cnp.PyArray_ISBEHAVED_RO(a) \
                and cnp.PyArray_IS_C_CONTIGUOUS(a):
            if m is META_FLOAT64:
                return float64(add_all(a))
            if <PyObject *>cnp.PyArray_DESCR(a) == <PyObject *>m.dtype and ends_with(a, m.shape):
                return add_rows(a, m)
        if <PyObject *>cnp.PyArray_DESCR(a) == <PyObject *>m.dtype and stretches(a, m.shape):
            return stretched(a, m.shape)
    elif type(c) is np_float64 and m is META_FLOAT64:
        return c
    elif type(c) is Box and (<Box>c).trace.mode == RECORD:
        return fit_recorded(<Box>c, m)
    return hooks["fit"](c, m)


cdef object fit_recorded(Box c, Meta m):
    """The same for a value of a recording, by calls that are recorded."""
    cdef Meta have = box_meta(c)
    cdef Py_ssize_t extra = PyTuple_GET_SIZE(have.shape) - PyTuple_GET_SIZE(m.shape)
    if same_meta(<PyObject *>have, <PyObject *>m):
        return c
    if extra > 0 and have.dtype is m.dtype and have.shape[extra:] == m.shape:
        return recorded_rows(c, m, tuple(range(extra)))
    return hooks["fit"](c, m)


cdef bint stretches(cnp.ndarray a, tuple shape) except -1:
    """Whether an array broadcasts to a shape: what a reduction's rule returns, with axes of length one."""
    cdef int i, n = cnp.PyArray_NDIM(a), k = <int>PyTuple_GET_SIZE(shape)
    if n > k:
        return False
    for i in range(n):
        if cnp.PyArray_DIMS(a)[i] != 1 and cnp.PyArray_DIMS(a)[i] != <Py_ssize_t>(
                <object>PyTuple_GET_ITEM(shape, k - n + i)):
            return False
    return True


cdef object stretched(cnp.ndarray a, tuple shape):
    """The array broadcast to that shape: a read-only view."""
    cdef cnp.npy_intp dims[64]
    cdef cnp.npy_intp strides[64]
    cdef int i, n = cnp.PyArray_NDIM(a), k = <int>PyTuple_GET_SIZE(shape)
    cdef cnp.ndarray out
    for i in range(k):
        dims[i] = <object>PyTuple_GET_ITEM(shape, i)
        strides[i] = 0
        if i >= k - n and cnp.PyArray_DIMS(a)[i - (k - n)] != 1:
            strides[i] = cnp.PyArray_STRIDES(a)[i - (k - n)]
    Py_INCREF(<object>cnp.PyArray_DESCR(a))     # NewFromDescr takes a reference
    out = PyArray_NewFromDescr(cnp.ndarray, <cnp.dtype><object>cnp.PyArray_DESCR(a), k, dims, strides,
                               cnp.PyArray_DATA(a), cnp.PyArray_FLAGS(a) & cnp.NPY_ARRAY_ALIGNED,
                               <object>NULL)
    cnp.set_array_base(out, a)
    return out


cdef double add_all(cnp.ndarray a) noexcept:
    """The sum of a C-ordered float64 array, by NumPy's pairwise loop."""
    cdef double total = -0.0
    cdef char *args[3]
    cdef cnp.npy_intp steps[3]
    args[0] = args[2] = <char *>&total
    args[1] = <char *>cnp.PyArray_DATA(a)
    steps[0] = steps[2] = 0
    steps[1] = 8
    run_loop(ADD_DOUBLE, args, steps, cnp.PyArray_SIZE(a))
    return total


cdef bint ends_with(cnp.ndarray a, tuple shape) except -1:
    """Whether a shape is the end of the array's: the usual case of broadcasting, a row added to a matrix."""
    cdef int i, n = cnp.PyArray_NDIM(a), k = <int>PyTuple_GET_SIZE(shape)
    if k >= n or k == 0 or cnp.PyArray_SIZE(a) == 0:
        return False
    for i in range(k):
        if cnp.PyArray_DIMS(a)[n - k + i] != <Py_ssize_t>(<object>PyTuple_GET_ITEM(shape, i)):
            return False
    return True


cdef object add_rows(cnp.ndarray a, Meta m):
    """The sum over the leading axes of a C-ordered float64 array, row after row as NumPy adds them."""
    cdef cnp.ndarray out = zeros_like_meta(m)
    cdef char *args[3]
    cdef cnp.npy_intp steps[3]
    cdef cnp.npy_intp row = cnp.PyArray_SIZE(out), i
    args[0] = args[2] = <char *>cnp.PyArray_DATA(out)
    steps[0] = steps[1] = steps[2] = 8
    for i in range(cnp.PyArray_SIZE(a) // row):
        args[1] = <char *>cnp.PyArray_DATA(a) + i * row * 8
        run_loop(ADD_DOUBLE, args, steps, row)
    return out


cdef inline bint same_as_tuple(cnp.ndarray a, tuple shape) except -1:
    cdef int i, n = cnp.PyArray_NDIM(a)
    if n != PyTuple_GET_SIZE(shape):
        return False
    for i in range(n):
        if cnp.PyArray_DIMS(a)[i] != <Py_ssize_t>(<object>PyTuple_GET_ITEM(shape, i)):
            return False
    return True


cdef inline object fit_up(object c, Meta m):
    """Brings a tangent to the shape and dtype of the result."""
    if cnp.PyArray_CheckExact(c) and <PyObject *>cnp.PyArray_DESCR(<cnp.ndarray>c) == <PyObject *>m.dtype \
            and same_as_tuple(<cnp.ndarray>c, m.shape):
        return c
    if type(c) is np_float64 and not m.shape and m.dtype == np_float64:
        return c
    return hooks["fit_up"](c, m)
