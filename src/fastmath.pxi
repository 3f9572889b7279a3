# What `fastmath` allows: another formula for the same real number, which may differ in the last bits.
#
#   x / 3.0          x * (1 / 3.0)
#   x / s            x * (1 / s), one reciprocal where s is smaller than x
#   x * (1 / y)      x / y, where nothing else needs 1 / y
#   x ** 3           x * (x * x); the exponents 2 and 4 likewise
#
# Sums are not reordered. Where 1 / s overflows (s is subnormal) or is not exact, so is the product.
#
# And another way to the same formula: exp, log, tanh, sin and their kin by the loops of `functions.h`.


cdef LoopRef fast_loop(Primitive p, char code, LoopRef loop) except *:
    """The loop of `functions.h` in the place of a primitive's for doubles or floats, or that one itself."""
    return function_loop(PyUnicode_AsUTF8(p.name), code, loop) if p.ours and p.is_ufunc else loop


cdef LoopRef fast_scalar_loop(Primitive p) except *:
    """The same for one number at a time, where the C library is ahead of vectors in all but this function:
    NumPy's tanh takes as long for one as for eight."""
    return fast_loop(p, b"d", p.scalar_loop) if p.ours and p.name == "tanh" else p.scalar_loop


def own_functions():
    """The instructions of the processor for which the loops of `functions.h` are used, "" if they are not."""
    return functions_used.decode()


def call_fast_loop(Primitive p not None, cnp.ndarray out not None, *operands):
    """For tests: calls the loop that `fastmath` has for an elementwise function over arrays of one dimension.

    Returns
    -------
    int
        The floating-point flags that it raises, as NumPy's bits.
    """
    cdef char code = type_code(cnp.PyArray_TYPE(out)), found = 0
    cdef LoopRef loop = p.find_loop(bytes([code]) * len(operands), &found)
    cdef char *args[4]
    cdef cnp.npy_intp steps[4]
    cdef cnp.npy_intp n = cnp.PyArray_SIZE(out)
    cdef int k, flags
    cdef object a
    if loop.fn == NULL or found != code or not 0 < len(operands) < 4:
        raise TypeError("call_fast_loop: %s has no loop for these operands" % p.name)
    for k, a in enumerate([*operands, out]):
        if not cnp.PyArray_Check(a) or a.dtype != out.dtype or a.shape != (n,):
            raise TypeError("call_fast_loop: the arrays must have one dimension, of one size, and one dtype")
        args[k] = <char *>cnp.PyArray_DATA(<cnp.ndarray>a)
        steps[k] = cnp.PyArray_STRIDE(<cnp.ndarray>a, 0)
    loop = fast_loop(p, code, loop)
    fp_clear()
    loop.fn(args, &n, steps, loop.data)
    flags = fp_to_npy(fp_flags())
    fp_clear()
    return flags


cdef int relax(Draft d) except -1:
    """Gives the call that a draft looks at a cheaper formula; what that needs besides goes before it."""
    cdef Primitive p = <Primitive>d.now.prim
    if d.now.extra >= 0 or d.now.count == 0 or d.now.count > 2:
        return 0
    if p is P_MUL:
        if is_reciprocal(d, d.args[1]) and has_digits(&d.now):
            multiply_by_reciprocal(d, d.args[0], d.args[1])
        if d.now.prim == <PyObject *>P_MUL and is_reciprocal(d, d.args[0]) and has_digits(&d.now):
            multiply_by_reciprocal(d, d.args[1], d.args[0])
    elif p is P_DIV:
        if d.args[0] >= 0 and has_digits(&d.now):
            divide_by_product(d)
    elif p is P_POW or p.name == "scalar_power" or p.name == "scalar_square":
        if has_digits(&d.now) and d.alike(&d.now, d.args[0]):
            multiply_for_power(d)
    return 0


cdef inline Meta now_meta(Draft d):
    return <Meta>d.now.meta


cdef inline bint is_reciprocal(Draft d, int a) noexcept:
    """Whether an operand may be a reciprocal that nothing else needs."""
    return a >= 0 and d.w[a].waiting == 1 \
        and (d.record(a).prim == <PyObject *>P_DIV or d.record(a).prim == <PyObject *>P_RECIPROCAL)


cdef int divide_by_product(Draft d) except -1:
    cdef int operand = d.args[1]
    cdef double value
    cdef object y
    if operand >= 0:
        return divide_by_smaller(d, operand)
    y = d.code.constant_at(operand)
    value = d.constants[-1 - operand].value
    if d.constants[-1 - operand].uniform and not cnp.PyArray_Check(y) and same_dtype(d, d.args[0]) \
            and invertible(d, value):
        d.set_call(P_MUL, d.args[0], d.constant(1.0 / value if type(y) is int else type(y)(1.0) / y))
    return 0


cdef int multiply_for_power(Draft d) except -1:
    cdef double power = 2.0
    cdef int x = d.args[0], square
    if d.now.count == 2:
        if d.args[1] >= 0 or not d.constants[-1 - d.args[1]].uniform:
            return 0
        power = d.constants[-1 - d.args[1]].value
    if power == 2.0:
        d.set_call(P_SQUARE, x, NO_OPERAND)
    elif power == 3.0 or power == 4.0:
        square = d.call_like(P_SQUARE, x, x, NO_OPERAND)
        if power == 3.0:
            d.set_call(P_MUL, x, square)
        else:
            d.set_call(P_SQUARE, square, NO_OPERAND)
    return 0


cdef bint invertible(Draft d, double value) except -1:
    """Whether a constant and its reciprocal are normal numbers of the call's dtype."""
    return 1e-300 < fabs(value) < 1e300 and (now_meta(d) is META_FLOAT64 or now_meta(d).dtype.itemsize == 8
                                             or 1e-37 < fabs(value) < 1e37)


cdef bint same_dtype(Draft d, int a) except -1:
    """Whether an operand has the dtype of the call, whatever its shape."""
    return a >= 0 and d.record(a).meta != NULL and (<Meta>d.record(a).meta).dtype == now_meta(d).dtype


cdef int divide_by_smaller(Draft d, int s) except -1:
    """x / s as x * (1 / s) where that saves divisions."""
    cdef Meta meta
    if not same_dtype(d, d.args[0]) or d.record(s).meta == NULL:
        return 0
    meta = <Meta>d.record(s).meta
    # A reciprocal of lower precision would lose more than the last bits.
    if not is_real(<cnp.dtype>meta.dtype) or meta.dtype.itemsize < now_meta(d).dtype.itemsize \
            or meta.size * 2 > now_meta(d).size:
        return 0
    d.set_call(P_MUL, d.args[0], d.call_like(P_DIV, s, d.constant(1.0), s))
    return 0


cdef int multiply_by_reciprocal(Draft d, int x, int inverse) except -1:
    """x * (1 / y) as x / y."""
    cdef Record *r = d.record(inverse)
    cdef int y = d.code.operands[r.first + r.count - 1]
    if r.extra >= 0 or r.meta == NULL or (<Meta>r.meta).size != now_meta(d).size:
        return 0
    if r.prim == <PyObject *>P_DIV and not d.is_one(d.code.operands[r.first]):
        return 0
    if d.alike(r, y) and (x < 0 or same_dtype(d, x)):
        d.w[inverse].replaced = True
        d.set_call(P_DIV, x, y)
    return 0
