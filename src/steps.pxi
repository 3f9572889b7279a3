# More of what the replay machine can do than elementwise work and plain products.
#
# The draft (`simplify.pxi`) asks here how to split a call, the planner (`plan.pxi`) what to do for nodes that
# it does not know.

# --- calls made of others -------------------------------------------------------------------------------

cdef frozenset SPLITS = frozenset((*REDUCTIONS, "mean", "count_true", "tril", "triu", "scatter"))


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
    if x is None or len(operands) > 2 or len(operands) == 2 and operands[1] >= 0 or not only_axes(kwargs):
        return NO_OPERAND
    axis = d.code.constant_at(operands[1]) if len(operands) > 1 else (kwargs or {}).get("axis")
    if x.dtype != meta.dtype or x.dtype.char not in "fdFD" or not x.size \
            or not meta.shape or axis is not None and type(axis) is not int and type(axis) is not tuple:
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
    if x is None or len(operands) > 2 or not only_axes(kwargs) or x.dtype.char not in "df" \
            or meta.dtype != x.dtype or not x.size or not meta.size:
        return NO_OPERAND
    total = reduction(d, P_SUM, operands, kwargs, meta)
    return d.last_call(P_DIV, [total, d.constant(float(x.size // meta.size))], None)


cdef bint plan_middle(Node n, tuple shape, object axes) except -1:
    """A reduction over neighbouring axes with others on both sides."""
    cdef list runs = reduced_runs(shape, tuple(axes))
    if len(runs) != 1:
        return False
    n.w.op = REDUCE_MIDDLE
    n.inner = math_prod(shape[runs[0][len(runs[0]) - 1] + 1:])
    return True


cdef Py_ssize_t reduced_stack(Node n) except -1:
    """Items of an array that is reduced over its middle axes of which each result sees a part."""
    return (<Node>n.operands[0]).meta.size * n.inner // n.meta.size


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


# --- arrays of one number -------------------------------------------------------------------------------

cdef frozenset SPREADS = frozenset(("reshape", "expand_dims", "broadcast_to"))


cdef bint plan_spread(Node n) except -1:
    """A scalar as an array: one item in the arena, of which the array's strides make as many as there are."""
    cdef Buffer b
    if n.prim.name not in SPREADS or not n.meta.shape or not n.meta.size:
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
    n.loop = p.find_loop(bytes([code]), &out)
    if n.loop.fn == NULL or out != code or not can_cast(code_of((<Node>n.operands[0]).meta.dtype), code):
        return False
    n.codes = bytes([code])
    n.operands = n.operands[:1]
    return True
