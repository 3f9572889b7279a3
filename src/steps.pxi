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


# --- cross products ---------------------------------------------------------------------------------------

cdef int split_cross(list nodes, Node n) except -1:
    """The products and differences by which NumPy computes stacks of cross products."""
    cdef list a, b, parts = []
    cdef Node left, right
    cdef int i, j, k
    cdef Meta meta = Meta(n.meta.shape[:len(n.meta.shape) - 1], n.meta.dtype)
    if len(n.args) != 2 or not meta.shape or not n.meta.size:
        return 0
    for x in n.args:
        if type(x) is not Node or (<Node>x).meta.dtype != n.meta.dtype:
            return 0
    for name, axis in (n.kwargs or {}).items():
        if axis != -1:
            return 0
    a = components(nodes, <Node>n.args[0])
    b = components(nodes, <Node>n.args[1])
    for i in range(3):
        j = (i + 1) % 3
        k = (i + 2) % 3
        left = numbered(nodes, new_node(CALL_NODE, P_MUL, (a[j], b[k]), None, meta))
        right = numbered(nodes, new_node(CALL_NODE, P_MUL, (a[k], b[j]), None, meta))
        parts.append(numbered(nodes, new_node(CALL_NODE, P_SUB, (left, right), None, meta)))
    n.prim = <Primitive>hooks["stack"]
    n.args = (-1, *parts)
    n.kwargs = None
    return 0


cdef list components(list nodes, Node x):
    """The three items along the last axis; of a single vector as arrays, too."""
    cdef tuple shape = x.meta.shape[:len(x.meta.shape) - 1]
    cdef Meta meta = Meta(shape or (1,), x.meta.dtype)
    cdef list parts = []
    for i in range(3):
        index = (Ellipsis, i) if shape else (slice(i, i + 1),)
        parts.append(numbered(nodes, new_node(CALL_NODE, P_GETITEM, (x, index), None, meta)))
    return parts


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
    r.quiet = True
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


# --- items moved about ------------------------------------------------------------------------------------
#
# What a function does that only moves items is found out by giving it their places: indexing by constant
# arrays, `roll`, `tile` and the like. The answer is a map: for each item of the result, where it comes from.
# Adding and writing to items that constant arrays name go by maps, too.

cdef enum:
    LONGEST_MAP = 1 << 22       # items

cdef enum MoveMode:
    MOVE_SET, MOVE_ADD

cdef frozenset MOVES = frozenset((
    "getitem", "take", "roll", "tile", "repeat", "reshape", "diagonal", "flip", "rot90",
))


cdef object places_of(Spot s):
    """Where the items of an array are: bytes from the first one."""
    cdef object places = np.zeros(s.shape, np_int64)
    cdef int i, ndim = <int>len(s.shape)
    for i in range(ndim):
        along = np.arange(s.shape[i], dtype=np_int64) * s.strides[i]
        places = places + along.reshape((-1,) + (1,) * (ndim - 1 - i))
    return places


cdef bint is_movable(Planner e, object a, Node n) except -1:
    """Whether an operand is an array of the dtype of a node, and not too long for a map."""
    cdef bint weak = False
    if not shape_of_operand(a) or type(a) is Node and (<Node>a).scalar:
        return False
    dtype = (<Node>a).meta.dtype if type(a) is Node else a.dtype
    return dtype == n.meta.dtype and operand_code(a, &weak) != 0 and e.spot_of(a).size <= LONGEST_MAP


cdef bint plan_gather(Planner e, Node n) except -1:
    cdef object taken
    if n.prim.name not in MOVES or not n.meta.shape or not n.meta.size or n.meta.size > LONGEST_MAP \
            or not is_movable(e, n.args[0], n) or holds_nodes(n.args[1:]):
        return False
    if n.prim is P_RESHAPE and n.kwargs is None and len(n.args) == 2:
        return True         # by a copy
    taken = n.prim.fun(places_of(e.spot_of(n.args[0])), *n.args[1:], **(n.kwargs or {}))
    if not cnp.PyArray_CheckExact(taken) or taken.dtype != np_int64 or shape_tuple(taken) != n.meta.shape:
        return False
    n.args = (n.args[0], np.ascontiguousarray(taken))
    n.kwargs = None
    e.spot_of(n.args[1])
    return True


cdef bint holds_nodes(object args) except -1:
    for a in args:
        if type(a) is Node or type(a) is tuple and holds_nodes(a):
            return True
    return False


cdef bint plan_scatter(Planner e, Node n) except -1:
    """Writing or adding to what constant arrays of indices name, in zeros or in an array."""
    cdef bint fresh = n.prim is hooks["scatter"], weak = False
    cdef object value, index, to, source
    if n.kwargs is not None or not fresh and n.prim is not hooks["index_add"] \
            and n.prim is not hooks["setitem"]:
        return False
    value, index = (n.args[0], n.args[1]) if fresh else (n.args[1], n.args[2])
    if not n.meta.shape or not n.meta.size or n.meta.dtype.char not in "fdFD" or holds_nodes((index,)) \
            or not fresh and not is_movable(e, n.args[0], n):
        return False
    if is_scalar_operand(value) and (type(value) is not Node or n.meta.dtype == DTYPE_FLOAT64):
        source = np.zeros((), np_int64)
    elif is_movable(e, value, n):
        source = places_of(e.spot_of(value))
    else:
        return False
    if n.meta.size > LONGEST_MAP:
        return False
    to = np_asarray(places_of(packed_spot(n.meta.shape, n.meta.dtype))[index])
    if to.size > LONGEST_MAP:
        return False
    source = source.reshape(source.shape[max(source.ndim - to.ndim, 0):])
    source = np.array(np.broadcast_to(source, to.shape), order="C")
    adds = n.prim is hooks["index_add"] \
        or fresh and not (hooks["names_once"](index) or len(n.args) > 3 and n.args[3])
    n.op = MOVE_ADD if adds else MOVE_SET
    if not fresh:
        take_over(e, n, n.args[0])
    n.args = ((None if fresh else n.args[0]), value, np.ascontiguousarray(to), source)
    e.spot_of(n.args[2])
    e.spot_of(n.args[3])
    return True


cdef int take_over(Planner e, Node n, object a) except -1:
    """An update happens in place where nobody else reads the old value."""
    cdef Node x
    if type(a) is not Node:
        return 0
    x = <Node>a
    if x.uses == 1 and not x.kept and x.late == n.late and e.spot_of(x).buffer.base == 0 \
            and x.category != K_VIEW and x.category != K_INPUT and x.spot.contiguous:
        n.spot = x.spot
        n.in_place = True
    return 0


cdef bint plan_move(Planner e, Node n) except -1:
    return plan_gather(e, n) or plan_scatter(e, n)


cdef int emit_move(Planner e, Node n) except -1:
    cdef Spot x
    if n.prim is P_RESHAPE and len(n.args) == 2 and not cnp.PyArray_Check(n.args[1]):
        x = e.spot_of(n.args[0])
        strides = packed_strides(x.shape, x.width)
        emit_copy(e, x, new_spot(n.spot.buffer, n.spot.offset, x.shape, strides, x.dtype))
    elif len(n.args) == 2:
        emit_gather(e, n)
    else:
        emit_scatter(e, n)
    release_operands(e, n)
    return 0


cdef int emit_gather(Planner e, Node n) except -1:
    cdef Routine *r = e.program.add_routine(gather_routine, -1)
    r.call.nargs = 3
    r.call.args[0] = e.spot_of(n.args[0]).at()
    r.call.args[1] = e.spot_of(n.args[1]).at()
    r.call.args[2] = n.spot.at()
    r.call.dims[0] = n.spot.size
    r.call.dims[1] = n.spot.width
    r.cost = 2.0 * n.spot.size
    return 0


cdef int emit_scatter(Planner e, Node n) except -1:
    cdef Spot to = e.spot_of(n.args[2])
    cdef Routine *r
    if n.args[0] is None:
        e.program.add_clear(n.spot.at(), n.spot.size * n.spot.width)
    elif not n.in_place:
        emit_copy(e, e.spot_of(n.args[0]), n.spot)
    r = e.program.add_routine(scatter_routine, -1)
    r.call.nargs = 4
    if type(n.args[1]) is Node and (<Node>n.args[1]).scalar:
        r.call.args[0] = register_place((<Node>n.args[1]).address)
    elif is_scalar_operand(n.args[1]):
        r.call.args[0] = register_place(constant_register(e, n.spot.code, n.args[1]))
    else:
        r.call.args[0] = e.spot_of(n.args[1]).at()
    r.call.args[1] = e.spot_of(n.args[3]).at()
    r.call.args[2] = to.at()
    r.call.args[3] = n.spot.at()
    r.call.dims[0] = to.size
    r.call.dims[1] = n.spot.width
    r.call.dims[2] = n.op == MOVE_ADD
    r.call.dims[3] = n.spot.code == b"f" or n.spot.code == b"F"
    r.cost = 2.0 * to.size
    return 0


cdef int gather_routine(const LoopCall *c, char **args) noexcept nogil:
    cdef Py_ssize_t i, n = c.dims[0]
    cdef const cnp.int64_t *places = <const cnp.int64_t *>args[1]
    if c.dims[1] == 8:
        for i in range(n):
            (<double *>args[2])[i] = (<double *>(args[0] + places[i]))[0]
    else:
        for i in range(n):
            memcpy(args[2] + i * c.dims[1], args[0] + places[i], c.dims[1])
    return 0


cdef void add_items(real *x, const char *value, const cnp.int64_t *source, const cnp.int64_t *to,
                    Py_ssize_t n, int parts) noexcept nogil:
    """One after the other, as an item may be named twice; complex items have two parts."""
    cdef Py_ssize_t i
    cdef int k
    for i in range(n):
        for k in range(parts):
            (<real *>(<char *>x + to[i]))[k] += (<const real *>(value + source[i]))[k]


cdef int scatter_routine(const LoopCall *c, char **args) noexcept nogil:
    cdef const cnp.int64_t *source = <const cnp.int64_t *>args[1]
    cdef const cnp.int64_t *to = <const cnp.int64_t *>args[2]
    cdef Py_ssize_t i, n = c.dims[0], width = c.dims[1]
    if not c.dims[2]:
        for i in range(n):
            memcpy(args[3] + to[i], args[0] + source[i], width)
    elif c.dims[3]:
        add_items(<float *>args[3], args[0], source, to, n, <int>(width // 4))
    else:
        add_items(<double *>args[3], args[0], source, to, n, <int>(width // 8))
    return 0
