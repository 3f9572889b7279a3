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
    cdef double value = 0.0
    cdef object x, y
    if n.kwargs is not None or not n.args or n.meta.dtype.char not in "fd":
        return 0
    if type(n.args[0]) is not Node and n.prim is not P_MUL:
        return 0
    x = n.args[0]
    if n.prim.name == "scalar_square" and alike_nodes(n, x):
        n.prim = P_SQUARE
    elif len(n.args) != 2:
        return 0
    elif n.prim is P_DIV:
        y = n.args[1]
        if type(y) is Node:
            divide_by_smaller(nodes, seen, n)
        elif not cnp.PyArray_Check(y) and uniform(y, &value) and same_dtype(n, x) and invertible(n, value):
            n.prim = P_MUL
            n.args = (x, 1.0 / value if type(y) is int else type(y)(1.0) / y)
    elif n.prim is P_MUL:
        if not multiply_by_reciprocal(n, n.args[0], n.args[1]):
            multiply_by_reciprocal(n, n.args[1], n.args[0])
    elif (n.prim is P_POW or n.prim.name == "scalar_power") and alike_nodes(n, x) \
            and uniform(n.args[1], &value) and (value == 2.0 or value == 3.0 or value == 4.0):
        if value == 2.0:
            n.prim = P_SQUARE
            n.args = (x,)
            return 0
        y = shared_node(nodes, seen, P_SQUARE, (x,), <Node>x)
        n.prim = P_MUL if value == 3.0 else P_SQUARE
        n.args = (x, y) if value == 3.0 else (y,)
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


cdef bint multiply_by_reciprocal(Node n, object x, object m) except -1:
    """x * (1 / y) as x / y."""
    cdef Node inverse
    cdef double one = 0.0
    cdef object y
    if type(m) is not Node or (<Node>m).kind != CALL_NODE or (<Node>m).meta is None:
        return False
    inverse = <Node>m
    if inverse.waiting != 1 or inverse.kwargs is not None or inverse.meta.size != n.meta.size:
        return False
    if inverse.prim is P_DIV and len(inverse.args) == 2 and uniform(inverse.args[0], &one) and one == 1.0:
        y = inverse.args[1]
    elif inverse.prim is P_RECIPROCAL:
        y = inverse.args[0]
    else:
        return False
    if not alike_nodes(inverse, y) or type(x) is Node and not same_dtype(n, x):
        return False
    n.prim = P_DIV
    n.args = (x, y)
    return True


cdef Node shared_node(list nodes, dict seen, Primitive p, tuple args, Node like):
    """A call whose result looks like another node; the one that there is already if it was made before."""
    cdef Node n = Node.__new__(Node)
    n.group_register = -1
    n.kind = CALL_NODE
    n.prim = p
    n.args = args
    n.meta = like.meta
    n.weak = like.weak
    n.array0 = like.array0
    n.waiting = 2       # not to be taken apart again
    key = node_key(n)
    if key in seen:
        return seen[key]
    seen[key] = n
    n.number = <int>len(nodes)
    nodes.append(n)
    return n
