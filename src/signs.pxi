# Changes of sign that other calls can do on the way. Each of these has the same bits and flags:
#
#   a + (-b)         a - b               a - (-b)         a + b
#   a + (-b) * c     a - b * c           a - (-b) * c     a + b * c      where nothing else needs the product
#   (-a) * 3.0       a * (-3.0)          (-a) * (-b)      a * b          quotients likewise
#
# But for the sign of a NaN, which means nothing. Reverse passes are full of them: the partial of a difference
# by its second term is -1, that of exp(-x) is negative.


cdef int absorb_signs(Draft d) except -1:
    """Gives the call that a draft looks at another form, if an operand is something with its sign changed."""
    cdef PyObject *p = d.now.prim
    if d.now.count != 2 or d.now.extra >= 0 or not has_digits(&d.now):
        return 0
    if p == <PyObject *>P_ADD or p == <PyObject *>P_SUB:
        absorb_in_sum(d)
    elif p == <PyObject *>P_MUL or p == <PyObject *>P_DIV:
        absorb_in_product(d)
    return 0


cdef int absorb_in_sum(Draft d) except -1:
    cdef bint adds = d.now.prim == <PyObject *>P_ADD
    cdef int other = without_sign(d, d.args[1])
    if other >= 0:
        d.w[d.args[1]].replaced = True
        d.set_call(P_SUB if adds else P_ADD, d.args[0], other)
    elif adds:
        other = without_sign(d, d.args[0])
        if other >= 0:
            d.w[d.args[0]].replaced = True
            d.set_call(P_SUB, d.args[1], other)
    return 0


cdef int absorb_in_product(Draft d) except -1:
    cdef int a = changed_sign(d, d.args[0]), b = changed_sign(d, d.args[1])
    if a >= 0 and b >= 0:
        d.set_call(<Primitive>d.now.prim, a, b)
    elif a >= 0 and is_number(d, d.args[1]):
        d.set_call(<Primitive>d.now.prim, a, opposite(d, d.args[1]))
    elif b >= 0 and is_number(d, d.args[0]):
        d.set_call(<Primitive>d.now.prim, opposite(d, d.args[0]), b)
    return 0


cdef int changed_sign(Draft d, int operand) except -2:
    """What an operand is but for its sign, which is all that it changes; -1 for other operands."""
    cdef Record *r
    cdef int inner
    if operand < 0:
        return -1
    r = d.record(operand)
    if r.prim != <PyObject *>P_NEG or r.extra >= 0 or not has_digits(r):
        return -1
    inner = d.code.operands[r.first]
    return inner if d.alike(r, inner) else -1


cdef int without_sign(Draft d, int operand) except -2:
    """The same for an operand of a sum, which may be a product with such a factor, too."""
    cdef int inner = changed_sign(d, operand), factor, k
    cdef int args[2]
    cdef Record *r
    if inner >= 0 or operand < 0:
        return inner
    r = d.record(operand)
    if r.prim != <PyObject *>P_MUL or r.count != 2 or r.extra >= 0 or d.w[operand].waiting != 1:
        return -1
    args[0] = d.code.operands[r.first]
    args[1] = d.code.operands[r.first + 1]
    for k in range(2):
        factor = changed_sign(d, args[k])
        if factor >= 0:
            args[k] = factor
            return d.call_like(P_MUL, operand, args[0], args[1])
    return -1


cdef inline bint has_digits(const Record *r) noexcept:
    """Whether a value is of float64 or float32."""
    return r.meta != NULL and is_real(<cnp.dtype>(<Meta>r.meta).dtype)


cdef bint is_number(Draft d, int operand) except -1:
    """Whether an operand is a constant that has an opposite of its type."""
    cdef object v
    if operand >= 0:
        return False
    v = d.code.constant_at(operand)
    return type(v) is float or type(v) is np_float64 or type(v) is np_float32


cdef int opposite(Draft d, int operand) except 0:
    return d.constant(-d.code.constant_at(operand))
