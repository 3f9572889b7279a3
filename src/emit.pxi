# Emitting: a laid-out plan becomes the tables of the replay machine, unit by unit.

cdef enum:
    SCRATCH_BYTES = 32768       # for the scratch blocks of a group: they stay in the first-level cache
    LONGEST_BLOCK = 2048


cdef extern from "Python.h":
    int PyGC_Enable() noexcept
    int PyGC_Disable() noexcept


cdef int plan_recording(ReplayProgram program, Recording r, frozenset seeds) except -1:
    """Plans a recording, which is done once. What depends on the inputs `seeds` is done last."""
    # Many objects are made, and none of them can be garbage yet.
    cdef bint collects = PyGC_Disable()
    try:
        return plan_nodes(program, r, seeds)
    finally:
        if collects:
            PyGC_Enable()


cdef int plan_nodes(ReplayProgram program, Recording r, frozenset seeds) except -1:
    cdef Planner e = planned_units(program, r, seeds)
    cdef int k
    for k in range(e.n):
        if e.w[k].category == K_INPUT and e.w[k].scalar:
            e.w[k].address = <unsigned int>new_register(e)
            program.inputs[k] = e.w[k].address
    program.reserve_scalars(e.n)
    for k in range(e.nunits):
        e.in_body = k >= e.body_unit
        if k == e.body_unit:
            program.body = program.plan.nsteps
            # The step before is closed: the body begins with one of its own.
            program.split = True
        emit_unit(e, k)
    if e.body_unit >= e.nunits:
        program.body = program.plan.nsteps
    finish(e)
    release_nodes(program, e)
    return 0


cdef int release_nodes(ReplayProgram program, Planner e) except -1:
    """Python steps and results keep their nodes, and steps those of their operands, but not all of them."""
    cdef PythonStep step
    cdef Node n
    cdef list kept = []
    cdef Py_ssize_t i
    for step in program.python:
        kept.append(step.node.operands)
    for n in e.nodes:
        n.w = NULL
        n.code = None
        n.operands = None
    for i in range(PyList_GET_SIZE(kept)):
        (<PythonStep>program.python[i]).node.operands = kept[i]
    return 0


cdef Planner planned_units(ReplayProgram program, Recording r, frozenset seeds):
    """A plan up to the layout: what is done in which order, and where the values are."""
    cdef Planner e = Planner.__new__(Planner)
    cdef Record *record
    cdef int i, k, o
    if r.escapes:
        raise ValueError("a function from which values escape cannot be replayed: %s, at %s" % r.escapes[0])
    if r.forgotten:
        raise ValueError("this recording was let go, as it was too long to be kept")
    e.program = program
    e.recording = r
    e.bases = {}
    e.nodes = []
    e.constant_registers = {}
    e.p_index_add = hooks["index_add"]
    program.size = r.size
    program.inputs = <Py_ssize_t *>PyMem_Malloc((r.size + 1) * sizeof(Py_ssize_t))
    if program.inputs == NULL:
        raise MemoryError("inputs of a program")
    program.metas = []
    for k in range(<int>r.size):
        program.inputs[k] = -1
        program.metas.append(<Meta>r.code.records[k].meta)
    e.draft = drafted(r, program.fastmath)
    program.domains = e.draft.domains
    program.hides = fp_of_npy(UNDERFLOWS) if e.draft.hides else 0
    e.code = e.draft.code
    e.w = e.draft.w
    e.n = <int>e.code.n
    for o in e.draft.results:
        keep_node(e, o)
    for _, o in e.draft.updates:
        keep_node(e, o)
    for k in range(e.n):
        record = &e.code.records[k]
        for i in range(record.count):
            o = e.code.operands[record.first + i]
            if o >= 0:
                e.w[o].uses += 1
            elif cnp.PyArray_CheckExact(e.code.constant_at(o)):
                const_spot(program, e.bases, <cnp.ndarray>e.code.constant_at(o))
    if seeds:
        mark_late(e, seeds)
    for k in range(e.n):
        e.classify(k)
    e.schedule()
    e.lay_out()
    r.planned = True
    r.fastmath = program.fastmath
    r.seeds = seeds
    return e


cdef int mark_late(Planner e, frozenset seeds) except -1:
    """Marks what depends on a seed, and zeros that only such values are added to, in place: each run of the
    body needs new ones."""
    cdef Record *r
    cdef Work *w
    cdef dict late_uses = {}
    cdef int i, k, o
    for k in range(e.n):
        r = &e.code.records[k]
        w = &e.w[k]
        w.late = r.kind == INPUT_NODE and k in seeds
        for i in range(r.count):
            o = e.code.operands[r.first + i]
            w.late = w.late or o >= 0 and e.w[o].late
        for i in range(r.count):
            o = e.code.operands[r.first + i]
            if w.late and o >= 0 and e.code.records[o].prim == <PyObject *>P_ZEROS:
                late_uses[o] = late_uses.get(o, 0) + 1
    for o, uses in late_uses.items():
        e.w[o].late = not e.w[o].kept and e.w[o].uses == uses
    return 0


cdef inline void keep_node(Planner e, int operand) noexcept:
    if operand >= 0:
        e.w[operand].kept = True


cdef int input_spot(Node n) except -1:
    n.spot = packed_spot(n.meta.shape, n.meta.dtype)
    n.spot.buffer.base = 1 + n.number
    return 0


cdef int finish(Planner e) except -1:
    """Where the results are, and how large everything is."""
    cdef ReplayProgram p = e.program
    cdef Result r
    cdef Node n
    cdef Py_ssize_t i
    cdef int operand
    for i in range(len(p.results)):
        r = <Result>p.results[i]
        r.late = r.node is not None and r.node.w.late
        if r.kind == RESULT_SCALAR:
            r.index = <int>r.node.w.address
        elif r.kind == RESULT_OBJECT:
            r.index = r.node.object_number
        elif r.kind == RESULT_COPY and r.node.spot is None:
            raise SystemError("a result of a replay has no place")
    for i, operand in e.draft.updates:
        n = e.node(operand) if operand >= 0 else None
        if n is None or n.spot is None and not n.w.scalar:
            raise ValueError("an argument was changed in place to a value that a replay does not compute")
        p.updates.append((i, None, n.w.address) if n.w.scalar else (i, n.spot, 0))
    for i in range(e.n):
        p.late_guards = p.late_guards or e.w[i].late and e.code.records[i].kind >= GUARD_NODE
    p.nbases = <int>(1 + p.size + len(p.constants)) + p.noutputs
    for r in p.results:
        p.collects = p.collects or r.kind != RESULT_OUTPUT
        p.owned = p.owned or r.kind != RESULT_OUTPUT and r.kind != RESULT_SCALAR
    p.collects = p.collects or bool(p.updates)
    p.owned = p.owned or bool(p.python) or bool(p.updates)
    p.arena_bytes = (<Py_ssize_t>e.scalar_base + e.nregisters) * 8
    if p.arena_bytes // 8 > UINT_MAX:
        raise OverflowError("a replay of more than 32 GiB")
    p.primitives = primitives_of(e.code)
    p.trim_scalars()
    vm_prepare(&p.plan)
    p.nnodes = e.n
    p.nrecorded = e.recording.code.n
    p.nlooks = e.draft.nguards
    return 0


cdef set primitives_of(Code code):
    """The primitives of a program that may go away: their loops must live as long as it does."""
    cdef set found = set()
    cdef PyObject *recent[16]
    cdef PyObject *p
    cdef Py_ssize_t i, place
    memset(recent, 0, sizeof(recent))
    for i in range(code.n):
        p = code.records[i].prim
        place = (<size_t>p >> 5) & 15
        if p != NULL and recent[place] != p:
            recent[place] = p
            if not (<Primitive>p).permanent:
                found.add(<Primitive>p)
    return found


cdef list names_in_python(ReplayProgram p):
    """The calls that run in Python in any case; those of routines do only where they fail."""
    cdef list names = []
    cdef Node n
    cdef int k
    for k in range(p.plan.nsteps):
        if p.plan.steps[k].kind == STEP_PYTHON:
            n = (<PythonStep>p.python[p.plan.steps[k].index]).node
            names.append(n.prim.name if n.prim is not None else "bool")
    return names


# --- registers ------------------------------------------------------------------------------------------

cdef Py_ssize_t new_register(Planner e) except -1:
    if e.nfree:
        e.nfree -= 1
        return e.free_registers[e.nfree]
    e.nregisters += 1
    return <Py_ssize_t>e.scalar_base + e.nregisters - 1


cdef int release_operands(Planner e, int number) except -1:
    """One use of each operand is over; the register of a scalar is free after the last."""
    cdef Record *r = &e.code.records[number]
    cdef Work *w
    cdef int k, o
    for k in range(r.count):
        o = e.code.operands[r.first + k]
        if o < 0:
            continue
        w = &e.w[o]
        w.uses -= 1
        # The body may run again: what it reads of the steps before stays.
        if w.uses or not w.scalar or w.kept or w.in_place or e.in_body and not w.late \
                or e.code.records[o].kind != CALL_NODE:
            continue
        e.free_registers = <unsigned int *>table_for(e.free_registers, e.nfree + 1, &e.nfree_capacity,
                                                     sizeof(unsigned int))
        e.free_registers[e.nfree] = w.address
        e.nfree += 1
    return 0


cdef Py_ssize_t constant_register(Planner e, char code, object value) except -1:
    """The register of a constant of that type code; complex ones take two."""
    cdef double room[2]
    cdef bytes data
    cdef Py_ssize_t address
    cdef PyObject *found
    store_constant(room, code, value)
    data = (<char *>room)[:16 if code == b"D" else 8]
    key = (code, data)
    found = PyDict_GetItemWithError(e.constant_registers, key)
    if found != NULL:
        return <object>found
    e.nregisters += 1
    address = <Py_ssize_t>e.scalar_base + e.nregisters - 1
    if code == b"D":
        e.nregisters += 1
    e.constant_registers[key] = address
    e.program.registers.append((address, data))
    return address


cdef inline Py_ssize_t scalar_address(Planner e, int operand) except -1:
    """The register of a scalar operand."""
    cdef Constant *c
    if operand >= 0:
        return e.w[operand].address
    c = e.constant(operand)
    if c.register < 0:
        c.register = constant_register(e, b"d", c.value)
    return c.register


cdef Place register_place(Py_ssize_t address) noexcept:
    cdef Place p
    p.base = 0
    p.offset = address * 8
    return p


# --- units ------------------------------------------------------------------------------------------------

cdef int emit_unit(Planner e, int unit) except -1:
    cdef int i, number, category
    cdef Node n
    if joins_group(&e.w[e.order[e.unit_start[unit]]]):
        return emit_group(e, unit)
    for i in range(e.unit_start[unit], e.unit_start[unit + 1]):
        number = e.order[i]
        category = e.w[number].category
        if category == K_SCALAR:
            emit_scalar(e, number)
        elif category == K_PICK:
            emit_pick(e, number)
        elif category == K_ADD_ITEM:
            emit_add_item(e, number)
        elif category == K_GUARD:
            emit_guard(e, number)
        else:
            emit_single(e, e.full(number))
    return 0


cdef int emit_single(Planner e, Node n) except -1:
    """A step of its own that works on arrays."""
    if n.w.category == K_ITEMS:
        emit_items(e, n)
    elif n.w.category == K_ZEROS:
        e.program.add_clear(n.spot.at(), n.spot.buffer.nbytes)
    elif n.w.category == K_PRODUCT:
        emit_product(e, n)
    elif n.w.category == K_JOIN:
        emit_join(e, n)
    elif n.w.category == K_ROUTINE:
        emit_routine(e, n)
    elif n.w.category == K_SCAN:
        emit_scan(e, n)
    elif n.w.category == K_MOVE:
        emit_move(e, n)
    else:
        emit_python(e, n)
    return 0


cdef object LIBM_SINES = None      # whether NumPy's sine and cosine of one number are the C library's


cdef bint sines_are_libms() except -1:
    """Whether NumPy's loops give for one number, bit for bit, what the C library's `sincos` gives."""
    global LIBM_SINES
    cdef LoopRef sine, cosine
    cdef double x, value, s, c
    cdef char *args[2]
    cdef cnp.npy_intp steps[2]
    cdef cnp.npy_intp one = 1
    cdef int i
    if LIBM_SINES is None:
        LIBM_SINES = True
        sine = loop_of(np_sin, "d")
        cosine = loop_of(np_cos, "d")
        args[0] = <char *>&x
        args[1] = <char *>&value
        steps[0] = steps[1] = 8
        x = 1e-9
        for i in range(3000):
            x = -x * 1.01713
            libm_sincos(x, &s, &c)
            sine.fn(args, &one, steps, sine.data)
            if value != s:
                LIBM_SINES = False
            cosine.fn(args, &one, steps, cosine.data)
            if value != c:
                LIBM_SINES = False
    return LIBM_SINES


cdef int emit_pair(Planner e, int number, int other, Py_ssize_t a) except -1:
    """Sine and cosine by one instruction, in the place of the first of them."""
    cdef int sine = number, cosine = other
    if (<Primitive>e.code.records[number].prim).fun is not np_sin:
        sine = other
        cosine = number
    e.w[sine].address = <unsigned int>new_register(e)
    e.w[cosine].address = <unsigned int>new_register(e)
    e.w[other].paired = True
    e.program.add_scalar(S_SINCOS, 0, <unsigned int>a, e.w[cosine].address, e.w[sine].address)
    return release_operands(e, number)


cdef int emit_scalar(Planner e, int number) except -1:
    cdef Record *r = &e.code.records[number]
    cdef Work *w = &e.w[number]
    cdef const int *operands = &e.code.operands[r.first]
    cdef Py_ssize_t a = scalar_address(e, operands[0]), b = 0, c
    cdef int op = w.op
    if w.paired:
        return release_operands(e, number)
    if w.domain != NULL:
        e.program.add_scalar(S_CALL1, w.k, <unsigned int>a, 0, <unsigned int>a)
        return release_operands(e, number)
    if w.pair >= 0:
        return emit_pair(e, number, w.pair, a)
    if op == S_SELECT:
        b = scalar_address(e, operands[1])
        c = scalar_address(e, operands[2])
        release_operands(e, number)
        w.address = <unsigned int>new_register(e)
        e.program.add_scalar(op, 0, <unsigned int>a, <unsigned int>b, w.address)
        e.program.add_scalar(S_NONE, 0, <unsigned int>c, 0, 0)
        return 0
    if r.count == 2:
        b = scalar_address(e, operands[1])
    elif op == S_POW:
        b = constant_register(e, b"d", 2.0)
    release_operands(e, number)
    w.address = <unsigned int>new_register(e)
    e.program.add_scalar(op, w.k if op == S_CALL1 or op == S_CALL2 else 0, <unsigned int>a, <unsigned int>b,
                         w.address)
    return 0


cdef int emit_pick(Planner e, int number) except -1:
    """An item of an array in the arena is an operand where it lies; any other is loaded."""
    cdef Work *w = &e.w[number]
    cdef Buffer b = e.node(w.home).spot.buffer
    if b.base == 0:
        w.address = <unsigned int>((b.offset + w.item) // 8)
        w.in_place = True
        return 0
    w.address = <unsigned int>new_register(e)
    if b.base > 65535:
        raise OverflowError("a program with more than 65535 inputs and constants")
    e.program.add_scalar(S_LOAD, b.base, <unsigned int>(w.item // 8), 0, w.address)
    return 0


cdef int emit_add_item(Planner e, int number) except -1:
    cdef Work *w = &e.w[number]
    cdef unsigned int at = <unsigned int>((e.node(w.home).spot.buffer.offset + w.item) // 8)
    e.program.add_scalar(S_ADD, 0, at, <unsigned int>scalar_address(e, e.operand(number, 1)), at)
    return release_operands(e, number)


cdef int emit_items(Planner e, Node n) except -1:
    cdef Py_ssize_t i, first = n.spot.buffer.offset // 8
    cdef int operand
    for i in range(len(n.operands) - 1):
        a = n.operands[i + 1]
        operand = (<Node>a).number if type(a) is Node else e.draft.constant(a)
        e.program.add_scalar(S_MOVE, 0, <unsigned int>scalar_address(e, operand), 0,
                             <unsigned int>(first + i))
    return release_operands(e, n.number)


cdef int emit_guard(Planner e, int number) except -1:
    cdef int x = e.operand(number, 0)
    cdef Work *w = &e.w[number]
    cdef Spot s = e.place(x)
    cdef bint outcome = (<tuple>e.code.extras[e.code.records[number].extra])[1]
    if e.w[x].scalar:
        e.program.add_scalar(S_GUARD, 0, e.w[x].address, 1 if outcome else 0, <unsigned int>w.k)
    elif s is not None and s.code == b"?" and s.size == 1:
        e.program.add_truth_guard(s.at(), outcome, w.k)
    else:
        return emit_python(e, e.full(number))
    return release_operands(e, number)


cdef int emit_copy(Planner e, Spot source, Spot to) except -1:
    """Copies one array to another of the same shape."""
    cdef int i, ndim = <int>len(source.shape)
    cdef Copy *c = e.program.add_copy(ndim)
    c.source = source.at()
    c.to = to.at()
    c.width = source.width
    for i in range(ndim):
        c.shape[i] = source.shape[i]
        c.from_strides[i] = source.strides[i]
        c.to_strides[i] = to.strides[i]
    return 0


cdef int emit_join(Planner e, Node n) except -1:
    """The parts side by side along an axis that they have (concatenate) or that is new (stack)."""
    cdef int axis = n.operands[0], ndim = <int>len(n.meta.shape)
    cdef Py_ssize_t offset = n.spot.offset, step
    cdef Spot part
    cdef bint stacked = n.prim.name == "stack"
    cdef tuple strides
    if axis < 0:
        axis += ndim
    step = n.spot.strides[axis]
    for a in n.operands[1:]:
        part = e.spot_of(a)
        strides = n.spot.strides[:axis] + n.spot.strides[axis + 1:] if stacked else n.spot.strides
        if part.size:
            emit_copy(e, part, new_spot(n.spot.buffer, offset, part.shape, strides, n.spot.dtype))
        offset += step * (1 if stacked else <Py_ssize_t>part.shape[axis])
    release_operands(e, n.number)
    return 0


cdef int emit_product(Planner e, Node n) except -1:
    cdef Spot a = e.spot_of(n.operands[0]), b = e.spot_of(n.operands[1])
    cdef LoopCall *c
    cdef bint adds = n.prim is P_MATMUL_ADD
    cdef LoopRef loop = adding_product(a.code) if adds else product_loop(type_number(a.code))
    cdef cnp.npy_intp width = a.width
    cdef int na = <int>len(a.shape), nb = <int>len(b.shape)
    cdef cnp.npy_intp m = a.shape[na - 2] if na > 1 else 1, k = a.shape[na - 1]
    cdef cnp.npy_intp p = b.shape[nb - 1] if nb > 1 else 1
    cdef tuple batch = n.meta.shape[:max(na, nb) - 2] if max(na, nb) > 2 else ()
    if adds and not n.w.in_place:
        emit_copy(e, e.spot_of(n.operands[2]), n.spot)
    c = e.program.add_call()
    c.loop.fn = <VmLoop>loop.fn
    c.loop.data = loop.data
    c.nargs = 3
    c.args[0] = a.at()
    c.args[1] = b.at()
    if n.w.scalar:
        release_operands(e, n.number)
        n.w.address = <unsigned int>new_register(e)
        c.args[2] = register_place(n.w.address)
    else:
        c.args[2] = n.spot.at()
        release_operands(e, n.number)
    c.dims[0] = size_of(batch)
    c.dims[1] = m
    c.dims[2] = k
    c.dims[3] = p
    if batch:
        c.steps[0] = batch_stride(a, batch)
        c.steps[1] = batch_stride(b, batch)
        c.steps[2] = m * p * width
    c.steps[3] = a.strides[na - 2] if na > 1 else k * width
    c.steps[4] = a.strides[na - 1]
    c.steps[5] = b.strides[nb - 2] if nb > 1 else b.strides[0]
    c.steps[6] = b.strides[nb - 1] if nb > 1 else width
    c.steps[7] = p * width
    c.steps[8] = width
    return 0


cdef int emit_python(Planner e, Node n) except -1:
    return e.program.add_step(STEP_PYTHON, python_step(e, n), 0)


cdef int python_step(Planner e, Node n) except -1:
    """The number of a step that does a node in Python."""
    cdef PythonStep s = PythonStep.__new__(PythonStep)
    cdef Node x
    s.node = n
    s.guard = n.w.k if n.kind >= GUARD_NODE else -1
    s.object_number = s.address = -1
    s.operands = []
    s.addresses = []
    for a in n.operands:
        s.addresses.append(-1)
        if type(a) is not Node:
            s.operands.append(a)
            continue
        x = <Node>a
        if x.w.scalar:
            s.addresses[len(s.addresses) - 1] = x.w.address
            s.operands.append(x)
        else:
            s.operands.append(x if x.meta is None else x.spot)
    release_operands(e, n.number)
    if n.kind == CALL_NODE and n.meta is None:
        s.object_number = n.object_number = e.program.nobjects
        e.program.nobjects += 1
    elif n.kind == CALL_NODE and n.w.scalar:
        s.address = n.w.address = <unsigned int>new_register(e)
    elif n.kind == CALL_NODE:
        s.out = n.spot
    e.program.python.append(s)
    return <int>len(e.program.python) - 1


# --- groups -------------------------------------------------------------------------------------------------

cdef bint same_long_axes(tuple a, tuple b) except -1:
    """Whether two shapes differ in axes of length one only."""
    cdef Py_ssize_t i = 0, j = 0, m = PyTuple_GET_SIZE(a), n = PyTuple_GET_SIZE(b)
    if a is b:
        return True
    while True:
        while i < m and <object>PyTuple_GET_ITEM(a, i) == 1:
            i += 1
        while j < n and <object>PyTuple_GET_ITEM(b, j) == 1:
            j += 1
        if i == m or j == n:
            return i == m and j == n
        if <object>PyTuple_GET_ITEM(a, i) != <object>PyTuple_GET_ITEM(b, j):
            return False
        i += 1
        j += 1


cdef struct TypedRegister:
    int operand, register
    char code


@cython.final
cdef class GroupBuilder:
    """Instructions and registers of one group; scratch blocks are given out at the end."""
    cdef Planner e
    cdef tuple shape
    cdef Group *g
    cdef int capacity[5]
    cdef TypedRegister *typed   # of constants, and of nodes that are cast
    cdef int ntyped
    cdef list nodes             # whose registers are known

    def __dealloc__(self):
        PyMem_Free(self.typed)

    cdef int register(self, int kind, int width, Place at) except -1:
        cdef Register *r
        cdef Group *g = self.g
        g.regs = <Register *>room_for(g.regs, g.nreg, &self.capacity[0], sizeof(Register))
        r = &g.regs[g.nreg]
        memset(r, 0, sizeof(Register))
        r.kind = kind
        r.width = width
        r.block = -1
        r.at = at
        g.nreg += 1
        return g.nreg - 1

    cdef int scratch(self, int width) except -1:
        cdef Place nowhere
        nowhere.base = 0
        nowhere.offset = 0
        return self.register(R_SCRATCH, width, nowhere)

    cdef GroupIns *instruction(self, int op) except NULL:
        cdef Group *g = self.g
        g.ins = <GroupIns *>room_for(g.ins, g.nins, &self.capacity[1], sizeof(GroupIns))
        memset(&g.ins[g.nins], 0, sizeof(GroupIns))
        g.ins[g.nins].op = op
        g.nins += 1
        return &g.ins[g.nins - 1]

    cdef int loop(self, LoopRef loop, const int *operands, int count, int out) except -1:
        cdef GroupIns *i = self.instruction(G_LOOP)
        cdef int k
        i.loop.fn = <VmLoop>loop.fn
        i.loop.data = loop.data
        i.nin = count
        for k in range(count):
            i.r[k] = operands[k]
        i.out = out
        return 0

    cdef int strided(self, int op, int register, Spot s) except -1:
        """Copies a block from or to strided memory, broadcast to the group's shape."""
        cdef Group *g = self.g
        cdef Strided *t
        cdef int i, ndim = <int>len(self.shape), missing = ndim - <int>len(s.shape)
        cdef GroupIns *ins
        g.strided = <Strided *>room_for(g.strided, g.nstrided, &self.capacity[2], sizeof(Strided))
        t = &g.strided[g.nstrided]
        memset(t, 0, sizeof(Strided))
        g.nstrided += 1
        t.reg = register
        t.ndim = ndim
        t.at = s.at()
        t.shape = <cnp.npy_intp *>PyMem_Malloc(max(ndim, 1) * sizeof(cnp.npy_intp))
        t.strides = <cnp.npy_intp *>PyMem_Malloc(max(ndim, 1) * sizeof(cnp.npy_intp))
        if t.shape == NULL or t.strides == NULL:
            raise MemoryError("a group")
        for i in range(ndim):
            t.shape[i] = self.shape[i]
            t.strides[i] = 0
            if i >= missing and s.shape[i - missing] != 1:
                t.strides[i] = s.strides[i - missing]
        ins = self.instruction(op)
        ins.out = g.nstrided - 1
        return 0

    cdef bint streams(self, Spot s) except -1:
        """Whether the items lie one after the other, one for each item of the group."""
        return s.contiguous and same_long_axes(s.shape, self.shape)

    cdef int memory(self, Spot s) except -1:
        """The register of an array that is there before the group runs."""
        cdef int r
        if s.size == 1:
            return self.register(R_SCALAR, s.width, s.at())
        if self.streams(s):
            return self.register(R_STREAM, s.width, s.at())
        r = self.scratch(s.width)
        self.strided(G_GATHER, r, s)
        return r

    cdef int operand(self, Node n, int k, char need) except -1:
        """The register that has an operand of a node as that type code."""
        cdef int operand = self.e.operand(n.number, k), found, i
        cdef char have
        cdef Node x
        if operand >= 0:
            x = self.e.node(operand)
            found = self.node_register(x)
            have = b"d" if x.w.scalar else code_of(x.meta.dtype)
            if have == need:
                return found
        for i in range(self.ntyped):
            if self.typed[i].operand == operand and self.typed[i].code == need:
                return self.typed[i].register
        found = self.cast(found, have, need) if operand >= 0 else self.constant_register(operand, need)
        self.typed = <TypedRegister *>room_for(self.typed, self.ntyped, &self.capacity[4],
                                               sizeof(TypedRegister))
        self.typed[self.ntyped].operand = operand
        self.typed[self.ntyped].code = need
        self.typed[self.ntyped].register = found
        self.ntyped += 1
        return found

    cdef int constant_register(self, int operand, char need) except -1:
        cdef Constant *c = self.e.constant(operand)
        cdef object a = self.e.code.constant_at(operand)
        cdef Py_ssize_t address
        if cnp.PyArray_Check(a) and not c.uniform:
            return self.cast(self.memory(self.e.spot_of(a)), c.code, need)
        if need == b"d" and c.uniform:
            address = scalar_address(self.e, operand)
        else:
            address = constant_register(self.e, need, c.value if cnp.PyArray_Check(a) else a)
        return self.register(R_SCALAR, item_size(need), register_place(address))

    cdef int node_register(self, Node n) except -1:
        if n.group_register < 0:
            self.nodes.append(n)
            if n.w.scalar:
                n.group_register = self.register(R_SCALAR, 8, register_place(n.w.address))
            else:
                n.group_register = self.memory(self.e.spot_of(n))
        return n.group_register

    cdef int cast(self, int register, char have, char need) except -1:
        """The register that has the values of another one as that type code."""
        cdef LoopRef loop
        cdef int cast
        if have == need:
            return register
        loop.fn = cast_loop(have, need)
        loop.data = NULL
        if loop.fn == NULL:
            raise SystemError("no cast from %c to %c" % (have, need))
        cast = self.scratch(item_size(need))
        self.loop(loop, &register, 1, cast)
        return cast

    cdef int elementwise(self, Node n) except -1:
        cdef int operands[4]
        cdef int i, out, count = <int>strlen(n.codes)
        for i in range(count):
            operands[i] = self.operand(n, i, n.codes[i])
        if n.w.domain != NULL:
            return self.loop(n.loop, operands, count, operands[0])
        if n.w.scalar:
            n.w.address = <unsigned int>new_register(self.e)
            out = self.register(R_STREAM, 8, register_place(n.w.address))
        elif n.w.stored:
            out = self.register(R_STREAM, n.spot.width, n.spot.at())
        else:
            out = self.scratch(<int>(<cnp.dtype>n.meta.dtype).itemsize)
        self.loop(n.loop, operands, count, out)
        n.group_register = out
        self.nodes.append(n)
        return 0

    cdef int update(self, Node n) except -1:
        cdef int value = self.operand(n, 1, n.codes[0]), target
        cdef int operands[2]
        cdef bint adds = n.prim.name == "index_add", streams = self.streams(n.part)
        if streams:
            target = self.register(R_STREAM, n.part.width, n.part.at())
        else:
            target = self.scratch(n.part.width)
            if adds:
                self.strided(G_GATHER, target, n.part)
        operands[0] = target
        operands[1] = value
        if adds:
            self.loop(n.loop, operands, 2, target)
        else:
            self.loop(n.loop, &value, 1, target)
        if not streams:
            self.strided(G_SCATTER, target, n.part)
        return 0

    cdef int reduction(self, Node n) except -1:
        cdef Group *g = self.g
        cdef Reduction *r
        cdef GroupIns *i
        cdef int source = self.operand(n, 0, n.codes[0])
        g.reductions = <Reduction *>room_for(g.reductions, g.nreductions, &self.capacity[3],
                                             sizeof(Reduction))
        r = &g.reductions[g.nreductions]
        memset(r, 0, sizeof(Reduction))
        g.nreductions += 1
        r.kind = n.w.op
        r.seeded = n.w.seeded
        r.reg = source
        r.loop.fn = <VmLoop>n.loop.fn
        r.loop.data = n.loop.data
        r.inner = n.inner
        r.stack = reduced_stack(n)
        r.adds = n.codes[0] == b"d" and not n.w.seeded and n.initial == 0.0
        r.width = item_size(n.codes[0])
        store_constant(r.initial, n.codes[0], n.initial)
        if n.w.scalar:
            n.w.address = <unsigned int>new_register(self.e)
            r.out = register_place(n.w.address)
        else:
            r.out = n.spot.at()
        i = self.instruction(G_REDUCE)
        i.out = g.nreductions - 1
        return 0

    # --- scratch blocks ---------------------------------------------------------------------

    cdef int give_blocks(self) except -1:
        """Scratch blocks for the registers, shared by those whose values are not needed at the same time."""
        cdef Group *g = self.g
        cdef GroupIns *i
        cdef Register *r
        cdef int k, j, reg, nscratch = 0
        cdef int *last = <int *>PyMem_Malloc((g.nreg + 1) * sizeof(int))    # by register: who reads it last
        cdef Blocks free
        free.widths = <int *>PyMem_Calloc(g.nreg + 1, sizeof(int))          # by block: 0 while in use
        free.used = 0
        if last == NULL or free.widths == NULL:
            PyMem_Free(last)
            PyMem_Free(free.widths)
            raise MemoryError("a group")
        for k in range(g.nins):
            for j in range(count_read(&g.ins[k])):
                last[register_read(g, &g.ins[k], j)] = k
        for k in range(g.nins):
            i = &g.ins[k]
            for j in range(count_read(i)):
                reg = register_read(g, i, j)
                r = &g.regs[reg]
                if r.kind == R_SCRATCH and r.block >= 0 and last[reg] == k:
                    free.widths[r.block] = r.width
            reg = register_written(g, i)
            if reg < 0 or g.regs[reg].kind != R_SCRATCH or g.regs[reg].block >= 0:
                continue
            r = &g.regs[reg]
            r.block = take_block(&free, r.width)
            g.width = max(g.width, r.width)
        nscratch = free.used
        PyMem_Free(last)
        PyMem_Free(free.widths)
        g.nscratch = nscratch
        g.block = g.n
        if nscratch:
            g.block = SCRATCH_BYTES // (nscratch * g.width)
        elif g.nins == 1:
            return 0
        g.block = min(g.n, max(64, min(g.block, LONGEST_BLOCK) & ~7))
        return 0


cdef struct Blocks:
    int *widths         # by block: the size of its items while it is free, else 0
    int used            # blocks so far


cdef int take_block(Blocks *b, int width) noexcept:
    """A block that is free again, if the item sizes agree; or a new one."""
    cdef int k
    for k in range(b.used):
        if b.widths[k] == width:
            b.widths[k] = 0
            return k
    b.used += 1
    return b.used - 1


cdef inline int count_read(const GroupIns *i) noexcept:
    """How many registers an instruction reads."""
    if i.op == G_LOOP:
        return i.nin
    return 1 if i.op == G_SCATTER or i.op == G_REDUCE else 0


cdef inline int register_read(const Group *g, const GroupIns *i, int k) noexcept:
    if i.op == G_LOOP:
        return i.r[k]
    return g.strided[i.out].reg if i.op == G_SCATTER else g.reductions[i.out].reg


cdef inline int register_written(const Group *g, const GroupIns *i) noexcept:
    if i.op == G_LOOP:
        return i.out
    return g.strided[i.out].reg if i.op == G_GATHER else -1


cdef bint emit_lone_check(Planner e, Node n) except -1:
    """A check of a short array that shares no loop with other work needs no group."""
    cdef Spot s = e.spot_of(e.full(n.number).operands[0])
    cdef LoopCall *c
    if not s.contiguous or s.size > LONGEST_BLOCK:
        return False
    c = e.program.add_call()
    c.loop = n.loop
    c.nargs = 1
    c.args[0] = s.at()
    c.dims[0] = s.size
    c.steps[0] = s.width
    release_operands(e, n.number)
    return True


cdef int emit_group(Planner e, int unit) except -1:
    cdef GroupBuilder b = GroupBuilder.__new__(GroupBuilder)
    cdef Node n
    cdef list nodes = []
    cdef int i
    for i in range(e.unit_start[unit], e.unit_start[unit + 1]):
        nodes.append(e.node(e.order[i]))
    if len(nodes) == 1 and (<Node>nodes[0]).w.domain != NULL and emit_lone_check(e, <Node>nodes[0]):
        return 0
    for n in nodes:
        if n.w.category == K_UPDATE and not n.w.in_place:
            emit_copy(e, e.spot_of(n.operands[0]), n.spot)
    b.e = e
    b.shape = (<Node>nodes[0]).shape
    b.nodes = []
    b.g = e.program.add_group(size_of(b.shape))
    for n in nodes:
        if n.w.category == K_ELEMENTWISE:
            b.elementwise(n)
        elif n.w.category == K_UPDATE:
            b.update(n)
        else:
            b.reduction(n)
    for n in b.nodes:
        n.group_register = -1
    for n in nodes:
        release_operands(e, n.number)
    b.give_blocks()
    return 0
