# What `fastmath` allows: another formula for the same real number, which may differ in the last bits.
#
#   x / 3.0          x * (1 / 3.0)
#   x / s            x * (1 / s), one reciprocal where s is smaller than x
#   x * (1 / y)      x / y, where nothing else needs 1 / y
#   x ** 3           x * (x * x); the exponents 2 and 4 likewise
#
# Sums are not reordered. Where 1 / s overflows (s is subnormal) or is not exact, so is the product.


cdef int count_uses(Recording r) except -1:
    """How often each value is needed, for now in `waiting`."""
    cdef Node n
    for n in r.nodes:
        n.waiting = 0
        for a in n.args:
            if type(a) is Node:
                (<Node>a).waiting += 1
    for a in r.results:
        if type(a) is Node:
            (<Node>a).waiting += 1
    return 0


cdef int relax(list nodes, dict seen, Node n) except -1:
    """Gives a node a cheaper formula; what that needs besides goes before it."""
    cdef Primitive p = n.prim
    cdef Py_ssize_t count = PyTuple_GET_SIZE(n.args)
    if n.kwargs is not None or count == 0 or count > 2:
        return 0
    if p is P_MUL:
        if is_reciprocal(n.args[1]) and has_digits(n):
            multiply_by_reciprocal(n, n.args[0], <Node>n.args[1])
        if n.prim is P_MUL and is_reciprocal(n.args[0]) and has_digits(n):
            multiply_by_reciprocal(n, n.args[1], <Node>n.args[0])
    elif p is P_DIV:
        if type(n.args[0]) is Node and has_digits(n):
            divide_by_product(nodes, seen, n)
    elif p is P_POW or p.name == "scalar_power" or p.name == "scalar_square":
        if has_digits(n) and alike_nodes(n, n.args[0]):
            multiply_for_power(nodes, seen, n)
    return 0


cdef inline bint has_digits(Node n) except -1:
    return n.meta is META_FLOAT64 or n.meta.dtype.char in "fd"


cdef inline bint is_reciprocal(object a) noexcept:
    """Whether an operand may be a reciprocal that nothing else needs."""
    return type(a) is Node and (<Node>a).waiting == 1 \
        and ((<Node>a).prim is P_DIV or (<Node>a).prim is P_RECIPROCAL)


cdef int divide_by_product(list nodes, dict seen, Node n) except -1:
    cdef double value = 0.0
    cdef object y = n.args[1]
    if type(y) is Node:
        divide_by_smaller(nodes, seen, n)
    elif not cnp.PyArray_Check(y) and uniform(y, &value) and same_dtype(n, n.args[0]) \
            and invertible(n, value):
        n.prim = P_MUL
        n.args = (n.args[0], 1.0 / value if type(y) is int else type(y)(1.0) / y)
    return 0


cdef int multiply_for_power(list nodes, dict seen, Node n) except -1:
    cdef double power = 2.0
    cdef object x = n.args[0], square
    if len(n.args) == 2 and not uniform(n.args[1], &power):
        return 0
    if power == 2.0:
        n.prim = P_SQUARE
        n.args = (x,)
    elif power == 3.0 or power == 4.0:
        square = shared_node(nodes, seen, P_SQUARE, (x,), <Node>x)
        n.prim = P_MUL if power == 3.0 else P_SQUARE
        n.args = (x, square) if power == 3.0 else (square,)
    return 0


cdef bint invertible(Node n, double value) except -1:
    """Whether a constant and its reciprocal are normal numbers of the node's dtype."""
    return 1e-300 < fabs(value) < 1e300 and (n.meta is META_FLOAT64 or n.meta.dtype.itemsize == 8
                                             or 1e-37 < fabs(value) < 1e37)


cdef bint same_dtype(Node n, object a) except -1:
    """Whether an operand has the dtype of a node, whatever its shape."""
    return type(a) is Node and (<Node>a).meta is not None and (<Node>a).meta.dtype == n.meta.dtype


cdef int divide_by_smaller(list nodes, dict seen, Node n) except -1:
    """x / s as x * (1 / s) where that saves divisions."""
    cdef Node s = <Node>n.args[1]
    if not same_dtype(n, n.args[0]) or s.meta is None or s.meta.dtype.char not in "fd":
        return 0
    # A reciprocal of lower precision would lose more than the last bits.
    if s.meta.dtype.itemsize < n.meta.dtype.itemsize or s.meta.size * 2 > n.meta.size:
        return 0
    n.args = (n.args[0], shared_node(nodes, seen, P_DIV, (1.0, s), s))
    n.prim = P_MUL
    return 0


cdef int multiply_by_reciprocal(Node n, object x, Node inverse) except -1:
    """x * (1 / y) as x / y."""
    cdef double one = 0.0
    cdef object y = inverse.args[len(inverse.args) - 1]
    if inverse.kwargs is not None or inverse.meta is None or inverse.meta.size != n.meta.size:
        return 0
    if inverse.prim is P_DIV and not (uniform(inverse.args[0], &one) and one == 1.0):
        return 0
    if alike_nodes(inverse, y) and (type(x) is not Node or same_dtype(n, x)):
        n.prim = P_DIV
        n.args = (x, y)
    return 0


cdef Node shared_node(list nodes, dict seen, Primitive p, tuple args, Node like):
    """A call whose result looks like another node; the one that there is already if it was made before."""
    cdef Node n = new_node(CALL_NODE, p, args, None, like.meta)
    n.weak = like.weak
    n.array0 = like.array0
    n.waiting = 2       # not to be taken apart again
    key = node_key(n)
    if key in seen:
        return seen[key]
    seen[key] = n
    return numbered(nodes, n)
