# More of what the replay machine can do than elementwise work and plain products.
#
# The draft (`simplify.pxi`) asks here how to split a call, the planner (`plan.pxi`) what to do for nodes that
# it does not know.

# --- calls made of others -------------------------------------------------------------------------------

cdef frozenset SPLITS = frozenset((*REDUCTIONS, "mean", "count_true", "tril", "triu", "scatter", "cross"))


cdef int split_call(Draft d) except? -1:
    """What stands for the call that a draft looks at, made of calls that the machine has; else NO_OPERAND."""
    cdef Primitive p = <Primitive>d.now.prim
    cdef Meta meta = <Meta>d.now.meta
    cdef dict kwargs = d.code.keywords(&d.now)
    cdef list operands = [d.args[k] for k in range(d.now.count)]
    if kwargs is not None and (p is P_MEAN or p.name in REDUCTIONS):
        kwargs = without_defaults(kwargs)
        d.now.extra = d.extra_of(kwargs)
    if p is P_MEAN:
        return split_mean(d, operands, kwargs, meta)
    if p.name in REDUCTIONS:
        return split_reduction(d, p, operands, kwargs, meta)
    if p.name == "count_true":
        return split_count(d, operands, meta)
    if p.name == "scatter":
        return split_scatter(d, operands, meta)
    if p.name == "cross":
        return split_cross(d, operands, kwargs, meta)
    return split_triangle(d, p, operands, kwargs, meta)


cdef dict without_defaults(dict given):
    """Keywords of a reduction without those that change nothing."""
    cdef dict kwargs = {}
    for name, value in given.items():
        if name == "where" and value is True or value is None and name in ("axis", "out", "dtype") \
                or name == "keepdims" and (value is False or value is np_novalue) \
                or name == "initial" and value is np_novalue:
            continue
        kwargs[name] = value
    return kwargs if kwargs else None


cdef int split_scatter(Draft d, list operands, Meta meta) except? -1:
    """Zeros of which a part is set."""
    cdef object key = (operands[0], operands[1])
    if operands[1] >= 0 or not is_basic(d.code.constant_at(operands[1])) or not meta.shape:
        return NO_OPERAND
    if key not in d.scattered:
        zeros = d.new_zeros(meta)
        d.scattered[key] = d.call(hooks["setitem"], [zeros, operands[0], operands[1]], None, meta)
    return d.scattered[key]


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


cdef int split_reduction(Draft d, Primitive p, list operands, dict kwargs, Meta meta) except? -1:
    """A reduction over axes that are no neighbours becomes several, the last axes first.

    Over axes of length 1 it leaves the items as they are, but that a sum begins at 0.
    """
    cdef Meta x = d.meta_of(operands[0])
    cdef list runs, run
    if x is None or not meta.shape or len(operands) > 2 or len(operands) == 2 and operands[1] >= 0 \
            or not only_axes(kwargs):
        return NO_OPERAND
    axis = d.code.constant_at(operands[1]) if len(operands) > 1 else (kwargs or {}).get("axis")
    if x.dtype != meta.dtype or not is_inexact(<cnp.dtype>x.dtype) or not size_of(x.shape) \
            or axis is not None and type(axis) is not int and type(axis) is not tuple:
        return NO_OPERAND
    runs = reduced_runs(x.shape, axis)
    if not runs:
        if p.name == "sum":
            operands = [d.call(P_ADD, [operands[0], d.constant(0.0)], None, x)]
        return d.last_call(P_RESHAPE, [operands[0], d.constant(meta.shape)], None)
    if len(runs) == 1:
        return NO_OPERAND
    while len(runs) > 1:
        run = runs.pop()
        x = Meta([1 if i in run else k for i, k in enumerate(x.shape)], meta.dtype)
        operands = [d.call(p, operands[:1], {"axis": tuple(run), "keepdims": True}, x), *operands[1:]]
    return d.call(p, operands, kwargs, meta)


cdef int reduction(Draft d, Primitive p, list operands, dict kwargs, Meta meta) except? -1:
    """The number of a reduction, split where it has to be."""
    cdef int number = split_reduction(d, p, operands, kwargs, meta)
    return number if number != NO_OPERAND else d.call(p, operands, kwargs, meta)


cdef int split_mean(Draft d, list operands, dict kwargs, Meta meta) except? -1:
    """A mean as NumPy computes it: a sum, divided by the number of items."""
    cdef Meta x = d.meta_of(operands[0])
    if x is None or len(operands) > 2 or not only_axes(kwargs) or not is_real(<cnp.dtype>x.dtype) \
            or meta.dtype != x.dtype or not x.size or not meta.size:
        return NO_OPERAND
    total = reduction(d, P_SUM, operands, kwargs, meta)
    return d.last_call(P_DIV, [total, d.constant(float(x.size // meta.size))], None)


cdef bint plan_middle(Node n, tuple shape, list axes) except -1:
    """A reduction over neighbouring axes with others on both sides."""
    cdef list runs = reduced_runs(shape, tuple(axes))
    if len(runs) != 1:
        return False
    n.w.op = REDUCE_MIDDLE
    n.inner = size_of(shape[runs[0][len(runs[0]) - 1] + 1:])
    return True


cdef Py_ssize_t reduced_stack(Node n) except -1:
    """Items of an array that is reduced over its middle axes of which each result sees a part."""
    return size_of((<Node>n.operands[0]).meta.shape) * n.inner // size_of(n.meta.shape)


cdef int split_count(Draft d, list operands, Meta meta) except? -1:
    """The number of true values is the sum of as many ones."""
    cdef Meta x = d.meta_of(operands[0]), of_ones
    if x is None or x.dtype != np_bool or not x.size or operands[1] >= 0 or operands[2] >= 0:
        return NO_OPERAND
    of_ones = Meta(x.shape, meta.dtype)
    ones = d.call(P_WHERE, [operands[0], d.constant(of_ones.dtype.type(1)), d.constant(0.0)], None, of_ones)
    kwargs = {"axis": d.code.constant_at(operands[1]), "keepdims": d.code.constant_at(operands[2])}
    return reduction(d, P_SUM, [ones], without_defaults(kwargs), meta)


# --- triangles ------------------------------------------------------------------------------------------

cdef int split_triangle(Draft d, Primitive p, list operands, dict kwargs, Meta meta) except? -1:
    """``tril`` and ``triu`` choose between an array and zeros, as NumPy does it."""
    cdef Meta x = d.meta_of(operands[0])
    cdef int ndim
    if x is None or len(x.shape) < 2 or x.dtype != meta.dtype or len(operands) > 1 and operands[1] >= 0:
        return NO_OPERAND
    k = d.code.constant_at(operands[1]) if len(operands) > 1 else (kwargs or {}).get("k", 0)
    if type(k) is not int:
        return NO_OPERAND
    ndim = <int>len(x.shape)
    mask = hooks["triangle"](x.shape[ndim - 2], x.shape[ndim - 1], k, p.name == "triu")
    return d.last_call(P_WHERE, [d.constant(mask), operands[0], d.constant(0.0)], None)


# --- cross products ---------------------------------------------------------------------------------------

cdef int split_cross(Draft d, list operands, dict kwargs, Meta meta) except? -1:
    """The products and differences by which NumPy computes stacks of cross products."""
    cdef list a, b, parts = [d.constant(-1)]
    cdef int i, j, k, left, right
    cdef Meta of_parts = Meta(meta.shape[:len(meta.shape) - 1], meta.dtype), x
    if len(operands) != 2 or not of_parts.shape or not meta.size:
        return NO_OPERAND
    for o in operands:
        x = d.meta_of(o)
        if x is None or x.dtype != meta.dtype:
            return NO_OPERAND
    for axis in (kwargs or {}).values():
        if axis != -1:
            return NO_OPERAND
    a = components(d, operands[0])
    b = components(d, operands[1])
    for i in range(3):
        j = (i + 1) % 3
        k = (i + 2) % 3
        left = d.call(P_MUL, [a[j], b[k]], None, of_parts)
        right = d.call(P_MUL, [a[k], b[j]], None, of_parts)
        parts.append(d.call(P_SUB, [left, right], None, of_parts))
    return d.last_call(hooks["stack"], parts, None)


cdef list components(Draft d, int x):
    """The three items along the last axis; of a single vector as arrays, too."""
    cdef Meta meta = d.meta_of(x)
    cdef tuple shape = meta.shape[:len(meta.shape) - 1]
    cdef Meta of_part = Meta(shape or (1,), meta.dtype)
    cdef list parts = []
    for i in range(3):
        index = (Ellipsis, i) if shape else (slice(i, i + 1),)
        parts.append(d.call(P_GETITEM, [x, d.constant(index)], None, of_part))
    return parts


# --- arrays of one number -------------------------------------------------------------------------------

cdef frozenset SPREADS = frozenset(("reshape", "expand_dims", "broadcast_to", "getitem"))


cdef bint plan_spread(Node n) except -1:
    """A scalar as an array: one item in the arena, of which the array's strides make as many as there are."""
    cdef Buffer b
    if n.prim.name not in SPREADS or not size_of_array(n.meta):
        return False
    if n.meta.dtype != DTYPE_FLOAT64 or type(n.operands[0]) is not Node or not (<Node>n.operands[0]).w.scalar:
        return False
    b = new_buffer(8)
    b.pinned = True
    n.spot = new_spot(b, 0, n.meta.shape, (0,) * len(n.meta.shape), DTYPE_FLOAT64)
    n.operands = (None, n.operands[0])
    return True


# --- other dtypes ---------------------------------------------------------------------------------------

cdef bint plan_cast(Node n) except -1:
    """``astype`` between the types that the loops know: the positive of the operand, which is cast."""
    cdef Primitive p = P_POS
    cdef char code = code_of(n.meta.dtype), out = 0
    if n.prim.name != "astype" or type(n.operands[0]) is not Node or n.kwargs is not None or code == 0:
        return False
    set_codes(n, code, 1)
    n.loop = p.find_loop(n.codes, &out)
    if n.loop.fn == NULL or out != code or not can_cast(code_of((<Node>n.operands[0]).meta.dtype), code):
        return False
    n.operands = n.operands[:1]
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
    found = known(*n.operands, **(n.kwargs or {}))
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
    elif kind == SLOGDET_LOOP or takes_two(kind) and len(shape_of_operand(n.operands[1])) == 1:
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
    for a in n.operands[:2 if takes_two(kind) else 1]:
        if not shape_of_operand(a) or operand_code(a, &weak) != code:
            return False
    batch = routine_batch(n, kind)
    if not is_routine_matrix(e.spot_of(n.operands[0]), batch):
        return False
    if takes_two(kind) and not is_right_side(e.spot_of(n.operands[1]), batch):
        return False
    if kind == CHOLESKY_ADJOINT and not (e.spot_of(n.operands[0]).contiguous
                                         and shape_of_operand(n.operands[0])
                                         == shape_of_operand(n.operands[1])):
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
    cdef Spot a = e.spot_of(n.operands[0])
    cdef Py_ssize_t order = a.shape[len(a.shape) - 1]
    cdef tuple batch = routine_batch(n, kind)
    cdef Routine *r = e.program.add_routine(ROUTINES[kind], python_step(e, n))
    cdef LoopCall *c = &r.call
    cdef LoopRef loop
    cdef Spot b = e.spot_of(n.operands[1]) if takes_two(kind) else None
    if kind in LINALG_LOOPS:
        loop = loop_of_type(LINALG_LOOPS[kind], a.code)
        c.loop.fn = <VmLoop>loop.fn
        c.loop.data = loop.data
    c.args[0] = a.at()
    c.nargs = 3 if b is not None else 2
    if b is not None:
        c.args[1] = b.at()
    c.args[c.nargs - 1] = register_place(n.w.address) if n.w.scalar else n.spot.at()
    c.dims[0] = size_of(batch)
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
    r.quiet = kind != DET_LOOP and kind != SLOGDET_LOOP      # as NumPy has it
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
    MOVE_SET, MOVE_ADD,
    MOVE_VIEW       # a view whose rows shall be contiguous

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
    if not shape_of_operand(a) or type(a) is Node and (<Node>a).w.scalar:
        return False
    dtype = (<Node>a).meta.dtype if type(a) is Node else a.dtype
    return dtype == n.meta.dtype and operand_code(a, &weak) != 0 and e.spot_of(a).size <= LONGEST_MAP


cdef bint plan_gather(Planner e, Node n) except -1:
    cdef object taken
    if n.prim.name not in MOVES or not size_of_array(n.meta) or n.meta.size > LONGEST_MAP \
            or not is_movable(e, n.operands[0], n) or holds_nodes(n.operands[1:]):
        return False
    if n.prim is P_RESHAPE and n.kwargs is None and len(n.operands) == 2:
        return True         # by a copy
    taken = n.prim.fun(places_of(e.spot_of(n.operands[0])), *n.operands[1:], **(n.kwargs or {}))
    if not cnp.PyArray_CheckExact(taken) or taken.dtype != np_int64 or shape_tuple(taken) != n.meta.shape:
        return False
    n.operands = (n.operands[0], np.ascontiguousarray(taken))
    n.kwargs = None
    e.spot_of(n.operands[1])
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
    value, index = (n.operands[0], n.operands[1]) if fresh else (n.operands[1], n.operands[2])
    if not size_of_array(n.meta) or not is_inexact(<cnp.dtype>n.meta.dtype) or holds_nodes((index,)) \
            or not fresh and not is_movable(e, n.operands[0], n):
        return False
    if e.is_scalar_value(value) and (type(value) is not Node or n.meta.dtype == DTYPE_FLOAT64):
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
        or fresh and not (hooks["names_once"](index) or len(n.operands) > 3 and n.operands[3])
    n.w.op = MOVE_ADD if adds else MOVE_SET
    if not fresh:
        take_over(e, n, n.operands[0])
    n.operands = ((None if fresh else n.operands[0]), value, np.ascontiguousarray(to), source)
    e.spot_of(n.operands[2])
    e.spot_of(n.operands[3])
    return True


cdef int take_over(Planner e, Node n, object a) except -1:
    """An update happens in place where nobody else reads the old value."""
    if type(a) is Node and e.may_overwrite((<Node>a).number, n.w):
        n.spot = (<Node>a).spot
        n.w.in_place = True
    return 0


cdef bint plan_move(Planner e, Node n) except -1:
    return plan_gather(e, n) or plan_scatter(e, n)


cdef int emit_move(Planner e, Node n) except -1:
    cdef Spot x
    if n.w.op == MOVE_VIEW:
        emit_copy(e, n.part, n.spot)
    elif n.prim is P_RESHAPE and len(n.operands) == 2 and not cnp.PyArray_Check(n.operands[1]):
        x = e.spot_of(n.operands[0])
        strides = packed_strides(x.shape, x.width)
        emit_copy(e, x, new_spot(n.spot.buffer, n.spot.offset, x.shape, strides, x.dtype))
    elif len(n.operands) == 2:
        emit_gather(e, n)
    else:
        emit_scatter(e, n)
    release_operands(e, n.number)
    return 0


cdef int emit_gather(Planner e, Node n) except -1:
    cdef Routine *r = e.program.add_routine(gather_routine, -1)
    r.call.nargs = 3
    r.call.args[0] = e.spot_of(n.operands[0]).at()
    r.call.args[1] = e.spot_of(n.operands[1]).at()
    r.call.args[2] = n.spot.at()
    r.call.dims[0] = n.spot.size
    r.call.dims[1] = n.spot.width
    r.cost = 2.0 * n.spot.size
    return 0


cdef int emit_scatter(Planner e, Node n) except -1:
    cdef Spot to = e.spot_of(n.operands[2])
    cdef Routine *r
    if n.operands[0] is None:
        e.program.add_clear(n.spot.at(), n.spot.size * n.spot.width)
    elif not n.w.in_place:
        emit_copy(e, e.spot_of(n.operands[0]), n.spot)
    r = e.program.add_routine(scatter_routine, -1)
    r.call.nargs = 4
    if type(n.operands[1]) is Node and (<Node>n.operands[1]).w.scalar:
        r.call.args[0] = register_place((<Node>n.operands[1]).w.address)
    elif e.is_scalar_value(n.operands[1]):
        r.call.args[0] = register_place(constant_register(e, n.spot.code, n.operands[1]))
    else:
        r.call.args[0] = e.spot_of(n.operands[1]).at()
    r.call.args[1] = e.spot_of(n.operands[3]).at()
    r.call.args[2] = to.at()
    r.call.args[3] = n.spot.at()
    r.call.dims[0] = to.size
    r.call.dims[1] = n.spot.width
    r.call.dims[2] = n.w.op == MOVE_ADD
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
