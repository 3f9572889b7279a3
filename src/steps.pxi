# More of what the replay machine can do than elementwise work and plain products.
#
# The planner (`plan.pxi`) asks here for nodes that it does not know, and the emitter (`emit.pxi`) for what to do
# for them.

# --- reductions over any axes ---------------------------------------------------------------------------

cdef list reduced_runs(tuple shape, object axis):
    """The reduced axes in runs of neighbours; axes of length 1 separate nothing."""
    cdef list runs = []
    cdef bint joined = False
    cdef int i, ndim = <int>len(shape)
    axes = range(ndim) if axis is None else [a % ndim for a in (axis if type(axis) is tuple else (axis,))]
    for i in range(ndim):
        if shape[i] == 1:
            continue
        if i not in axes:
            joined = False
        elif joined:
            (<list>runs[len(runs) - 1]).append(i)
        else:
            runs.append([i])
            joined = True
    return runs


cdef int split_reduction(list nodes, Node n) except -1:
    """A reduction over axes that are no neighbours becomes several, the last axes first.

    Over axes of length 1 it leaves the items as they are, but that a sum begins at 0.
    """
    cdef Node x
    cdef list runs
    if not reduces_axes(n):
        return 0
    x = <Node>n.args[0]
    axis = n.args[1] if len(n.args) > 1 else n.kwargs.get("axis") if n.kwargs is not None else None
    if x.meta.dtype != n.meta.dtype or x.meta.dtype.char not in "fdFD" or not x.meta.size \
            or not n.meta.shape or axis is not None and type(axis) is not int and type(axis) is not tuple:
        return 0
    runs = reduced_runs(x.meta.shape, axis)
    if not runs:
        if n.prim.name == "sum":
            x = numbered(nodes, new_node(CALL_NODE, P_ADD, (x, 0.0), None, x.meta))
        n.prim = P_RESHAPE
        n.args = (x, n.meta.shape)
        n.kwargs = None
        return 0
    while len(runs) > 1:
        run = runs.pop()
        shape = tuple([1 if i in run else k for i, k in enumerate(x.meta.shape)])
        x = numbered(nodes, new_node(CALL_NODE, n.prim, (x,), {"axis": tuple(run), "keepdims": True},
                                     Meta(shape, n.meta.dtype)))
    n.args = (x, *n.args[1:])
    return 0


cdef bint plan_middle(Node n, tuple shape, object axes) except -1:
    """A reduction over neighbouring axes with others on both sides."""
    cdef list runs = reduced_runs(shape, tuple(axes))
    if len(runs) != 1:
        return False
    n.op = REDUCE_MIDDLE
    n.inner = math_prod(shape[runs[0][len(runs[0]) - 1] + 1:])
    return True


cdef Py_ssize_t reduced_stack(Node n) except -1:
    """Items of an array that is reduced over its middle axes of which each result sees a part."""
    return (<Node>n.args[0]).meta.size * n.inner // n.meta.size


cdef int split_count(list nodes, Node n) except -1:
    """The number of true values is the sum of as many ones."""
    cdef Node x, ones
    if type(n.args[0]) is not Node:
        return 0
    x = <Node>n.args[0]
    if x.meta.dtype != np_bool or not x.meta.size:
        return 0
    meta = Meta(x.meta.shape, n.meta.dtype)
    ones = new_node(CALL_NODE, P_WHERE, (x, meta.dtype.type(1), 0.0), None, meta)
    n.prim = P_SUM
    n.kwargs = {"axis": n.args[1], "keepdims": n.args[2]}
    n.args = (numbered(nodes, ones),)
    drop_defaults(n)
    return split_reduction(nodes, n)


# --- triangles ------------------------------------------------------------------------------------------

cdef int split_triangle(Node n) except -1:
    """``tril`` and ``triu`` choose between an array and zeros, as NumPy does it."""
    cdef Node x
    cdef int ndim
    cdef object k = n.args[1] if len(n.args) > 1 else (n.kwargs or {}).get("k", 0)
    if type(n.args[0]) is not Node or type(k) is not int:
        return 0
    x = <Node>n.args[0]
    if len(x.meta.shape) < 2 or x.meta.dtype != n.meta.dtype:
        return 0
    ndim = <int>len(x.meta.shape)
    mask = hooks["triangle"](x.meta.shape[ndim - 2], x.meta.shape[ndim - 1], k, n.prim.name == "triu")
    n.prim = P_WHERE
    n.args = (mask, x, 0.0)
    n.kwargs = None
    return 0


# --- arrays of one number -------------------------------------------------------------------------------

cdef frozenset SPREADS = frozenset(("reshape", "expand_dims", "broadcast_to"))


cdef bint plan_spread(Node n) except -1:
    """A scalar as an array: one item in the arena, of which the array's strides make as many as there are."""
    cdef Buffer b
    if n.prim.name not in SPREADS or not n.meta.shape or not n.meta.size:
        return False
    if n.meta.dtype != DTYPE_FLOAT64 or type(n.args[0]) is not Node or not (<Node>n.args[0]).scalar:
        return False
    b = new_buffer(8)
    b.pinned = True
    n.spot = new_spot(b, 0, n.meta.shape, (0,) * len(n.meta.shape), DTYPE_FLOAT64)
    n.args = (None, n.args[0])
    return True


# --- other dtypes ---------------------------------------------------------------------------------------

cdef bint plan_cast(Node n) except -1:
    """``astype`` between the types that the loops know: the positive of the operand, which is cast."""
    cdef Primitive p = P_POS
    cdef char code = code_of(n.meta.dtype), out = 0
    if n.prim.name != "astype" or type(n.args[0]) is not Node or n.kwargs is not None or code == 0:
        return False
    n.loop = p.find_loop(bytes([code]), &out)
    if n.loop.fn == NULL or out != code or not can_cast(code_of((<Node>n.args[0]).meta.dtype), code):
        return False
    n.codes = bytes([code])
    n.args = n.args[:1]
    return True
