# More of what the replay machine can do than elementwise work and plain products.
#
# The planner (`plan.pxi`) asks here for nodes that it does not know, and the emitter (`emit.pxi`) for what to
# do for them.

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


# --- linear algebra ---------------------------------------------------------------------------------------

cdef enum RoutineKind:
    CHOLESKY, CHOLESKY_ADJOINT, TRIANGULAR, SOLVE, INVERSE, INV_LOOP, DET_LOOP, SLOGDET_LOOP

cdef dict ROUTINE_KINDS = {
    "cholesky": CHOLESKY, "cholesky_adjoint": CHOLESKY_ADJOINT, "triangular": TRIANGULAR, "solve": SOLVE,
    "inverse": INVERSE, "inv": INV_LOOP, "det": DET_LOOP, "slogdet": SLOGDET_LOOP,
}
cdef VmRoutine[8] ROUTINES = [
    cholesky_routine, adjoint_routine, triangular_routine, solve_routine, inverse_routine, loop_routine,
    loop_routine, loop_routine,
]
cdef object np_umath_linalg = np.linalg._umath_linalg
cdef dict LINALG_LOOPS = {
    SOLVE: np_umath_linalg.solve, INVERSE: np_umath_linalg.inv, INV_LOOP: np_umath_linalg.inv,
    DET_LOOP: np_umath_linalg.det, SLOGDET_LOOP: np_umath_linalg.slogdet,
}


cdef int routine_kind(Node n, int *flags) except -2:
    """Which routine does a call, by what the rules say of it; -1 if there is none."""
    cdef object known = hooks["routines"].get(n.prim), found
    if known is None:
        return -1
    found = known(*n.args, **(n.kwargs or {}))
    if found is None:
        return -1
    flags[0] = found[1]
    return ROUTINE_KINDS[found[0]]


cdef inline bint takes_two(int kind) noexcept:
    return kind == TRIANGULAR or kind == SOLVE or kind == CHOLESKY_ADJOINT


cdef tuple shape_of_operand(object a):
    if type(a) is Node:
        return (<Node>a).meta.shape if (<Node>a).meta is not None else ()
    return shape_tuple(<cnp.ndarray>a) if cnp.PyArray_CheckExact(a) else ()


cdef tuple routine_batch(Node n, int kind):
    """The shape of the stack: the result's, without the axes of a matrix, vector, pair or number."""
    cdef Py_ssize_t further = 2
    if kind == DET_LOOP:
        further = 0
    elif kind == SLOGDET_LOOP or takes_two(kind) and len(shape_of_operand(n.args[1])) == 1:
        further = 1
    return n.meta.shape[:len(n.meta.shape) - further]


cdef bint plan_routine(Planner e, Node n) except -1:
    """A call of linear algebra on real matrices that `linalg.pxi` has a routine for."""
    cdef int flags = 0, kind = routine_kind(n, &flags)
    cdef char code = code_of(n.meta.dtype)
    cdef tuple batch
    cdef bint weak = False
    cdef object a
    if kind < 0 or not n.meta.size or (code != b"d" and code != b"f"):
        return False
    for a in n.args[:2 if takes_two(kind) else 1]:
        if not shape_of_operand(a) or operand_code(a, &weak) != code:
            return False
    batch = routine_batch(n, kind)
    if not is_routine_matrix(e.spot_of(n.args[0]), batch):
        return False
    if takes_two(kind) and not is_right_side(e.spot_of(n.args[1]), batch):
        return False
    if kind == CHOLESKY_ADJOINT and not (e.spot_of(n.args[0]).contiguous
                                         and shape_of_operand(n.args[0]) == shape_of_operand(n.args[1])):
        return False
    load_blas()
    return True


cdef bint is_routine_matrix(Spot s, tuple batch) except -1:
    """Square matrices, in C order or transposed; there may be something between their rows."""
    cdef Py_ssize_t n, row, col, ndim = len(s.shape)
    if ndim < 2 or s.shape[ndim - 1] != s.shape[ndim - 2]:
        return False
    n = s.shape[ndim - 1]
    row = s.strides[ndim - 2]
    col = s.strides[ndim - 1]
    return n <= 46340 and batch_stride(s, batch) >= 0 \
        and (n == 1 or col == s.width and row >= n * col or row == s.width and col >= n * row)


cdef bint is_right_side(Spot s, tuple batch) except -1:
    return s.size <= INT_MAX and (len(s.shape) == 1 or batch_stride(s, batch) >= 0)


cdef int emit_routine(Planner e, Node n) except -1:
    cdef int flags = 0, kind = routine_kind(n, &flags)
    cdef Spot a = e.spot_of(n.args[0])
    cdef Py_ssize_t order = a.shape[len(a.shape) - 1]
    cdef tuple batch = routine_batch(n, kind)
    cdef Routine *r = e.program.add_routine(ROUTINES[kind], python_step(e, n))
    cdef LoopCall *c = &r.call
    cdef LoopRef loop
    cdef Spot b = e.spot_of(n.args[1]) if takes_two(kind) else None
    if kind in LINALG_LOOPS:
        loop = loop_of_type(LINALG_LOOPS[kind], a.code)
        c.loop.fn = <VmLoop>loop.fn
        c.loop.data = loop.data
    c.args[0] = a.at()
    c.nargs = 3 if b is not None else 2
    if b is not None:
        c.args[1] = b.at()
    c.args[c.nargs - 1] = register_place(n.address) if n.scalar else n.spot.at()
    c.dims[0] = math_prod(batch)
    c.dims[1] = order
    c.dims[2] = 1
    c.dims[3] = a.width
    c.dims[4] = flags
    c.steps[0] = batch_stride(a, batch)
    c.steps[1] = a.strides[len(a.shape) - 2]
    c.steps[2] = a.strides[len(a.shape) - 1]
    if kind == SOLVE and flags & TRANSPOSED:
        c.steps[1], c.steps[2] = c.steps[2], c.steps[1]
    if kind >= INV_LOOP:
        steps_of_loop(c, kind, order, a.width)
    else:
        steps_in_items(c, b, batch, order, a.width)
    r.cost = 0.1 * c.dims[0] * order * order * (order + c.dims[2])
    return 0


cdef int steps_in_items(LoopCall *c, Spot b, tuple batch, Py_ssize_t order, int width) except -1:
    """The dims and steps of the routines."""
    cdef Py_ssize_t i, ndim
    if order == 1:
        c.steps[1] = c.steps[2] = width
    if b is not None:
        ndim = len(b.shape)
        if ndim > 1:
            c.dims[2] = b.shape[ndim - 1]
            c.steps[3] = batch_stride(b, batch)
            c.steps[4] = b.strides[ndim - 2]
            c.steps[5] = b.strides[ndim - 1]
        else:
            c.steps[4] = b.strides[0]
            c.steps[5] = width
    for i in range(6):
        c.steps[i] //= width
    return 0


cdef int steps_of_loop(LoopCall *c, int kind, Py_ssize_t order, int width) except -1:
    """The arguments and steps of the loops of `numpy.linalg`: in bytes, those of the stacks first."""
    cdef cnp.npy_intp row = c.steps[1], col = c.steps[2]
    if kind == SLOGDET_LOOP:        # sign and logarithm side by side
        c.nargs = 3
        c.args[2] = c.args[1]
        c.args[2].offset += width
        c.steps[1] = c.steps[2] = 2 * width
    else:
        c.steps[1] = order * order * width if kind == INV_LOOP else width
    c.steps[c.nargs] = row
    c.steps[c.nargs + 1] = col
    if kind == INV_LOOP:
        c.steps[c.nargs + 2] = order * width
        c.steps[c.nargs + 3] = width
    return 0
