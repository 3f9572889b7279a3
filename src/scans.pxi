# Running sums, products and their kind: each item of the result is made of the one before it along an axis.

cdef frozenset SCANS = frozenset(("cumsum", "cumprod", "recurrence"))
cdef object np_accumulators = type(np_add.accumulate)


cdef object scanned(Node n):
    """The binary ufunc of a running sum or product, the name of a recurrence; None for another call."""
    cdef object fun = n.prim.fun
    if n.prim.name in SCANS:
        return np_add if fun is np.cumsum else np_multiply if fun is np.cumprod else n.prim.name
    if type(fun) is np_accumulators and fun.__name__ == "accumulate":
        return fun.__self__
    return None


cdef int axis_of_scan(Node n) except? -2:
    """The axis that a running sum runs along; -1 where that is not known, or there are other options."""
    cdef int ndim = <int>len(n.meta.shape)
    cdef dict kwargs = {name: value for name, value in (n.kwargs or {}).items()
                        if value is not None or name not in ("dtype", "out")}
    cdef list rest = list(n.operands[1:])
    cdef object axis
    if n.prim.name == "recurrence":
        rest = rest[1:2]
    elif len(rest) > 1:
        return -1
    axis = rest[0] if rest else kwargs.pop("axis", None if n.prim.name in SCANS else 0)
    if kwargs or (axis is None and ndim != 1):
        return -1
    axis = 0 if axis is None else axis
    return axis % ndim if type(axis) is int else -1


cdef list scanned_operands(Node n):
    return list(n.operands[:2 if n.prim.name == "recurrence" else 1])


cdef bint plan_scan(Planner e, Node n) except -1:
    """Running sums, products and recurrences of floats along an axis."""
    cdef object what = scanned(n), a
    cdef bint weak = False
    if what is None or not n.meta.shape or not n.meta.size or n.meta.dtype.char not in "fd" \
            or axis_of_scan(n) < 0:
        return False
    for a in scanned_operands(n):
        if operand_code(a, &weak) != code_of(n.meta.dtype) or shape_of_operand(a) != n.meta.shape:
            return False
    return len(lines_of_scan(e, n)) <= 3


cdef list lines_of_scan(Planner e, Node n):
    """The axes beside the scanned one, as few as will do: of each its size and the steps of all arrays."""
    cdef int k, axis = axis_of_scan(n)
    cdef list found = [], steps, spots = [e.spot_of(a) for a in scanned_operands(n)]
    cdef Spot out = packed_spot(n.meta.shape, n.meta.dtype), s
    spots.insert(1, out)
    for k in range(len(out.shape)):
        if k == axis or out.shape[k] == 1:
            continue
        steps = [s.strides[k] for s in spots]
        if found and found[len(found) - 1][1] == [step * out.shape[k] for step in steps]:
            found[len(found) - 1] = (found[len(found) - 1][0] * out.shape[k], steps)
        else:
            found.append((out.shape[k], steps))
    return found


cdef int emit_scan(Planner e, Node n) except -1:
    cdef object what = scanned(n)
    cdef int axis = axis_of_scan(n), k, j
    cdef list lines = lines_of_scan(e, n), spots = [e.spot_of(a) for a in scanned_operands(n)]
    cdef Spot s = spots[0]
    cdef Routine *r = e.program.add_routine(scan_routine, -1)
    cdef LoopCall *c = &r.call
    cdef LoopRef loop
    spots.insert(1, n.spot)
    c.nargs = <int>len(spots)
    while len(lines) < 3:
        lines.insert(0, (1, [0] * c.nargs))
    for k in range(3):
        c.dims[k] = lines[k][0]
    c.dims[3] = s.shape[axis]
    c.dims[4] = s.width
    for j in range(c.nargs):
        s = spots[j]
        c.args[j] = s.at()
        for k in range(3):
            c.steps[4 * j + k] = lines[k][1][j]
        c.steps[4 * j + 3] = s.strides[axis]
    if what == "recurrence":
        r.fn = recurrence_float if s.width == 4 else recurrence_double
        c.dims[5] = bool(n.operands[3])
    else:
        loop = loop_of_type(what, s.code)
        c.loop.fn = <VmLoop>loop.fn
        c.loop.data = loop.data
    r.cost = 20.0 * c.dims[0] * c.dims[1] + 2.0 * n.meta.size
    return 0


cdef int scan_routine(const LoopCall *c, char **args) noexcept nogil:
    """As NumPy accumulates: the loop over the items before, those of the argument, and those to come."""
    cdef cnp.npy_intp i, j
    for i in range(c.dims[0]):
        for j in range(c.dims[1]):
            scan_lines(c, args[0] + i * c.steps[0] + j * c.steps[1],
                       args[1] + i * c.steps[4] + j * c.steps[5])
    return 0


cdef void scan_lines(const LoopCall *c, char *x, char *out) noexcept nogil:
    """Lines beside one another: one by one, or item by item of all, as it takes fewer calls of the loop."""
    cdef cnp.npy_intp k, lines = c.dims[2], n = c.dims[3], width = c.dims[4], count
    cdef bint each = lines < n
    cdef cnp.npy_intp beside = 3 if each else 2      # what a call of the loop goes along
    cdef cnp.npy_intp other = 5 - beside
    cdef cnp.npy_intp steps[3]
    cdef char *three[3]
    for k in range(lines):
        memcpy(out + k * c.steps[6], x + k * c.steps[2], width)
    count = n - 1 if each else lines
    steps[0] = steps[2] = c.steps[4 + beside]
    steps[1] = c.steps[beside]
    for k in range((lines if each else n - 1) if n > 1 else 0):
        three[0] = out + k * c.steps[4 + other]
        three[1] = x + k * c.steps[other] + c.steps[3]
        three[2] = three[0] + c.steps[7]
        c.loop.fn(three, &count, steps, c.loop.data)


cdef void recur(const LoopCall *c, real *g, real *out, real *x) noexcept nogil:
    """``out[k] = g[k] + x[k] * out[k - 1]``, or ``out[k] = g[k] + x[k + 1] * out[k + 1]``."""
    cdef cnp.npy_intp k, n = c.dims[3], dg = c.steps[3], to = c.steps[7], dx = c.steps[11]
    cdef real last
    if c.dims[5]:
        g = <real *>(<char *>g + (n - 1) * dg)
        out = <real *>(<char *>out + (n - 1) * to)
        x = <real *>(<char *>x + n * dx)
        dg, to, dx = -dg, -to, -dx
    last = g[0]
    out[0] = last
    for k in range(1, n):
        g = <real *>(<char *>g + dg)
        out = <real *>(<char *>out + to)
        x = <real *>(<char *>x + dx)
        last = g[0] + x[0] * last
        out[0] = last


cdef void recur_all(const LoopCall *c, char **args, real *kind) noexcept nogil:
    cdef cnp.npy_intp i, j, k
    for i in range(c.dims[0]):
        for j in range(c.dims[1]):
            for k in range(c.dims[2]):
                recur(c, <real *>(args[0] + i * c.steps[0] + j * c.steps[1] + k * c.steps[2]),
                      <real *>(args[1] + i * c.steps[4] + j * c.steps[5] + k * c.steps[6]),
                      <real *>(args[2] + i * c.steps[8] + j * c.steps[9] + k * c.steps[10]))


cdef int recurrence_double(const LoopCall *c, char **args) noexcept nogil:
    recur_all[double](c, args, NULL)
    return 0


cdef int recurrence_float(const LoopCall *c, char **args) noexcept nogil:
    recur_all[float](c, args, NULL)
    return 0
