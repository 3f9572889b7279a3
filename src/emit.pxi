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
    cdef Planner e = Planner.__new__(Planner)
    cdef Node n
    cdef object a
    cdef int k = 0
    if r.escapes:
        raise ValueError("a function from which values escape cannot be replayed: %s, at %s" % r.escapes[0])
    if r.planned:
        raise ValueError("this recording has a program already")
    r.planned = True
    e.program = program
    e.recording = r
    program.size = r.size
    e.bases = {}
    e.guard_numbers = {}
    e.free_registers = []
    e.constant_registers = {}
    for n in r.nodes:
        if n.kind >= GUARD_NODE:
            e.guard_numbers[id(n)] = k
            k += 1
    program.inputs = <Py_ssize_t *>PyMem_Malloc((r.size + 1) * sizeof(Py_ssize_t))
    if program.inputs == NULL:
        raise MemoryError("inputs of a program")
    for k in range(<int>r.size):
        program.inputs[k] = -1
    k = 0
    program.metas = [(<Node>n).meta for n in r.nodes[:r.size]]
    e.returned = r.results
    e.nodes = simplified(r, program.fastmath)
    for a in r.results:
        keep_node(a)
    for _, a in r.updates:
        keep_node(a)
    for n in e.nodes:
        for a in n.args:
            if type(a) is Node:
                (<Node>a).uses += 1
            elif cnp.PyArray_CheckExact(a):
                const_spot(program, e.bases, <cnp.ndarray>a)
    if seeds:
        mark_late(e.nodes, seeds)
    for n in e.nodes:
        e.classify(n)
        if n.category == K_INPUT and not n.scalar:
            input_spot(n)
    e.schedule()
    e.lay_out()
    emit_inputs(e)
    for k in range(len(e.units)):
        e.in_body = k >= e.body_unit
        if k == e.body_unit:
            program.body = program.plan.nsteps
            # The step before is closed: the body begins with one of its own.
            program.split = True
        emit_unit(e, <list>e.units[k])
    if e.body_unit >= len(e.units):
        program.body = program.plan.nsteps
    finish(e)
    return 0


cdef int mark_late(list nodes, frozenset seeds) except -1:
    """Marks what depends on a seed, and zeros that only such values are added to, in place: each run of the
    body needs new ones."""
    cdef Node n
    cdef dict late_uses = {}
    for n in nodes:
        n.late = n.kind == INPUT_NODE and n.number in seeds
        for a in n.args:
            n.late = n.late or type(a) is Node and (<Node>a).late
        for a in n.args:
            if n.late and type(a) is Node and (<Node>a).prim is P_ZEROS:
                late_uses[a] = late_uses.get(a, 0) + 1
    for n, uses in late_uses.items():
        n.late = not n.kept and n.uses == uses
    return 0


cdef inline void keep_node(object a) noexcept:
    if type(a) is Node:
        (<Node>a).kept = True


cdef int input_spot(Node n) except -1:
    n.spot = packed_spot(n.meta.shape, n.meta.dtype)
    n.spot.buffer.base = 1 + n.number
    return 0


cdef int emit_inputs(Planner e) except -1:
    cdef Node n
    for n in e.nodes:
        if n.category == K_INPUT and n.scalar:
            n.address = new_register(e)
            e.program.inputs[n.number] = n.address
    return 0


cdef int finish(Planner e) except -1:
    """Where the results are, and how large everything is."""
    cdef ReplayProgram p = e.program
    cdef Result r
    cdef object a
    cdef Py_ssize_t i
    for i in range(len(p.results)):
        r = <Result>p.results[i]
        a = e.recording.results[i]
        if r.kind == RESULT_SCALAR:
            r.index = <int>(<Node>a).address
        elif r.kind == RESULT_OBJECT:
            r.index = (<Node>a).object_number
        elif r.kind == RESULT_COPY and (<Node>a).spot is None:
            raise SystemError("a result of a replay has no place")
    for i, a in e.recording.updates:
        if type(a) is not Node or (<Node>a).spot is None and not (<Node>a).scalar:
            raise ValueError("an argument was changed in place to a value that a replay does not compute")
        p.updates.append((i, a))
    p.nbases = <int>(1 + p.size + len(p.constants)) + p.noutputs
    for r in p.results:
        p.collects = p.collects or r.kind != RESULT_OUTPUT
        p.owned = p.owned or r.kind != RESULT_OUTPUT and r.kind != RESULT_SCALAR
    p.collects = p.collects or bool(p.updates)
    p.owned = p.owned or bool(p.python) or bool(p.updates)
    p.arena_bytes = (<Py_ssize_t>e.scalar_base + e.nregisters) * 8
    if p.arena_bytes // 8 > UINT_MAX:
        raise OverflowError("a replay of more than 32 GiB")
    p.primitives = set([(<Node>n).prim for n in e.nodes])
    vm_prepare(&p.plan)
    p.summary = {
        "inputs": p.size, "nodes": len(e.nodes), "recorded": len(e.recording.nodes), "scalars": p.nscalars,
        "groups": p.ngroups, "grouped": sum([p.plan.groups[k].nins for k in range(p.ngroups)]),
        "calls": p.nloops, "copies": p.ncopies, "clears": p.nclears,
        "python": names_in_python(p), "routines": p.nroutines,
        "arena": p.arena_bytes, "guards": len(e.guard_numbers), "steps": p.plan.nsteps,
    }
    return 0


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
    if e.free_registers:
        return e.free_registers.pop()
    e.nregisters += 1
    return <Py_ssize_t>e.scalar_base + e.nregisters - 1


cdef int release(Planner e, object a) except -1:
    """One use of an operand is over; the register of a scalar is free after the last."""
    cdef Node n
    if type(a) is not Node:
        return 0
    n = <Node>a
    n.uses -= 1
    # The body may run again: what it reads of the steps before stays.
    if e.in_body and not n.late:
        return 0
    if n.uses == 0 and n.scalar and not n.kept and not n.in_place and n.kind == CALL_NODE:
        e.free_registers.append(n.address)
    return 0


cdef int release_operands(Planner e, Node n) except -1:
    for a in n.args:
        release(e, a)
    return 0


cdef Py_ssize_t constant_register(Planner e, char code, object value) except -1:
    """The register of a constant of that type code; complex ones take two."""
    cdef double room[2]
    cdef bytes data
    cdef Py_ssize_t address
    store_constant(room, code, value)
    data = (<char *>room)[:16 if code == b"D" else 8]
    key = (code, data)
    if key not in e.constant_registers:
        e.nregisters += 1
        address = <Py_ssize_t>e.scalar_base + e.nregisters - 1
        if code == b"D":
            e.nregisters += 1
        e.constant_registers[key] = address
        e.program.registers.append((address, data))
    return e.constant_registers[key]


cdef Py_ssize_t scalar_address(Planner e, object a) except -1:
    """The register of a scalar operand."""
    cdef double value = 0.0
    if type(a) is Node:
        return (<Node>a).address
    if type(a) is bool or type(a) is np_bool:
        value = 1.0 if a else 0.0
    else:
        uniform(a, &value)
    return constant_register(e, b"d", value)


cdef Place register_place(Py_ssize_t address) noexcept:
    cdef Place p
    p.base = 0
    p.offset = address * 8
    return p


# --- units ------------------------------------------------------------------------------------------------

cdef int emit_unit(Planner e, list unit) except -1:
    cdef Node n
    if not unit:
        return 0
    if joins_group(<Node>unit[0]):
        return emit_group(e, unit)
    for n in unit:
        if n.category == K_SCALAR:
            emit_scalar(e, n)
        elif n.category == K_PICK:
            emit_pick(e, n)
        elif n.category == K_ADD_ITEM:
            emit_add_item(e, n)
        elif n.category == K_ITEMS:
            emit_items(e, n)
        elif n.category == K_GUARD:
            emit_guard(e, n)
        elif n.category == K_ZEROS:
            e.program.add_clear(n.spot.at(), n.spot.buffer.nbytes)
        elif n.category == K_PRODUCT:
            emit_product(e, n)
        elif n.category == K_JOIN:
            emit_join(e, n)
        elif n.category == K_ROUTINE:
            emit_routine(e, n)
        elif n.category == K_MOVE:
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


cdef Node other_of_pair(Planner e, Node n):
    """The cosine of the same scalar for a sine, or the other way round; None if nobody asks for it."""
    cdef Node x, other
    cdef object fun = np_cos if n.prim.fun is np_sin else np_sin
    cdef int edge
    if type(n.args[0]) is not Node or not sines_are_libms():
        return None
    x = <Node>n.args[0]
    edge = e.first_edge[x.number]
    while edge >= 0:
        other = e.node_at(e.edge_to[edge])
        if other.category == K_SCALAR and other.prim.fun is fun and other.late == n.late:
            return other
        edge = e.edge_next[edge]
    return None


cdef int emit_pair(Planner e, Node n, Node other, Py_ssize_t a) except -1:
    """Sine and cosine by one instruction, in the place of the first of them."""
    cdef Node sine = n if n.prim.fun is np_sin else other, cosine = other if sine is n else n
    sine.address = new_register(e)
    cosine.address = new_register(e)
    other.paired = True
    e.program.add_scalar(S_SINCOS, 0, <unsigned int>a, <unsigned int>cosine.address,
                         <unsigned int>sine.address)
    return release_operands(e, n)


cdef int emit_scalar(Planner e, Node n) except -1:
    cdef Py_ssize_t a = scalar_address(e, n.args[0]), b = 0, c
    cdef int k = 0, op = n.op
    cdef Node other
    if n.paired:
        return release_operands(e, n)
    if op == S_CALL1 and (n.prim.fun is np_sin or n.prim.fun is np_cos):
        other = other_of_pair(e, n)
        if other is not None:
            return emit_pair(e, n, other, a)
    if op == S_SELECT:
        b = scalar_address(e, n.args[1])
        c = scalar_address(e, n.args[2])
        release_operands(e, n)
        n.address = new_register(e)
        e.program.add_scalar(op, 0, <unsigned int>a, <unsigned int>b, <unsigned int>n.address)
        e.program.add_scalar(S_NONE, 0, <unsigned int>c, 0, 0)
        return 0
    if len(n.args) == 2:
        b = scalar_address(e, n.args[1])
    elif op == S_POW:
        b = constant_register(e, b"d", 2.0)
    if op == S_CALL1 or op == S_CALL2:
        k = e.program.loop_number(n.loop)
    release_operands(e, n)
    n.address = new_register(e)
    e.program.add_scalar(op, k, <unsigned int>a, <unsigned int>b, <unsigned int>n.address)
    return 0


cdef int emit_pick(Planner e, Node n) except -1:
    """An item of an array in the arena is an operand where it lies; any other is loaded."""
    cdef Buffer b = n.spot.buffer
    if b.base == 0:
        n.address = (b.offset + n.item) // 8
        n.in_place = True
        return 0
    n.spot = None
    n.address = new_register(e)
    if b.base > 65535:
        raise OverflowError("a program with more than 65535 inputs and constants")
    e.program.add_scalar(S_LOAD, b.base, <unsigned int>(n.item // 8), 0, <unsigned int>n.address)
    return 0


cdef int emit_add_item(Planner e, Node n) except -1:
    cdef unsigned int at = <unsigned int>((n.spot.buffer.offset + n.item) // 8)
    e.program.add_scalar(S_ADD, 0, at, <unsigned int>scalar_address(e, n.args[1]), at)
    release_operands(e, n)
    return 0


cdef int emit_items(Planner e, Node n) except -1:
    cdef Py_ssize_t i, first = n.spot.buffer.offset // 8
    for i in range(len(n.args) - 1):
        e.program.add_scalar(S_MOVE, 0, <unsigned int>scalar_address(e, n.args[i + 1]), 0,
                             <unsigned int>(first + i))
    release_operands(e, n)
    return 0


cdef int emit_guard(Planner e, Node n) except -1:
    cdef Node x = <Node>n.args[0]
    cdef int number = e.guard_numbers[id(n)]
    if x.scalar:
        e.program.add_scalar(S_GUARD, 0, <unsigned int>x.address, 1 if n.outcome else 0, <unsigned int>number)
    elif x.spot is not None and x.spot.code == b"?" and x.spot.size == 1:
        e.program.add_truth_guard(x.spot.at(), n.outcome, number)
    else:
        return emit_python(e, n)
    release_operands(e, n)
    return 0


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
    cdef int axis = n.args[0], ndim = <int>len(n.meta.shape)
    cdef Py_ssize_t offset = n.spot.offset, step
    cdef Spot part
    cdef bint stacked = n.prim.name == "stack"
    cdef tuple strides
    if axis < 0:
        axis += ndim
    step = n.spot.strides[axis]
    for a in n.args[1:]:
        part = e.spot_of(a)
        strides = n.spot.strides[:axis] + n.spot.strides[axis + 1:] if stacked else n.spot.strides
        if part.size:
            emit_copy(e, part, new_spot(n.spot.buffer, offset, part.shape, strides, n.spot.dtype))
        offset += step * (1 if stacked else <Py_ssize_t>part.shape[axis])
    release_operands(e, n)
    return 0


cdef int emit_product(Planner e, Node n) except -1:
    """By NumPy's own loop of `matmul`, which hands it to BLAS."""
    cdef Spot a = e.spot_of(n.args[0]), b = e.spot_of(n.args[1])
    cdef LoopCall *c = e.program.add_call()
    cdef LoopRef loop = MATMUL_DOUBLE if a.code == b"d" else MATMUL_FLOAT
    cdef cnp.npy_intp width = a.width
    cdef int na = <int>len(a.shape), nb = <int>len(b.shape)
    cdef cnp.npy_intp m = a.shape[na - 2] if na > 1 else 1, k = a.shape[na - 1]
    cdef cnp.npy_intp p = b.shape[nb - 1] if nb > 1 else 1
    cdef tuple batch = n.meta.shape[:max(na, nb) - 2] if max(na, nb) > 2 else ()
    c.loop.fn = <VmLoop>loop.fn
    c.loop.data = loop.data
    c.nargs = 3
    c.args[0] = a.at()
    c.args[1] = b.at()
    if n.scalar:
        release_operands(e, n)
        n.address = new_register(e)
        c.args[2] = register_place(n.address)
    else:
        c.args[2] = n.spot.at()
        release_operands(e, n)
    c.dims[0] = math_prod(batch)
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
    s.guard = e.guard_numbers.get(id(n), -1)
    s.object_number = s.address = -1
    s.operands = []
    s.addresses = []
    for a in n.args:
        s.addresses.append(-1)
        if type(a) is not Node:
            s.operands.append(a)
            continue
        x = <Node>a
        if x.scalar:
            s.addresses[len(s.addresses) - 1] = x.address
            s.operands.append(x)
        else:
            s.operands.append(x if x.meta is None else x.spot)
    release_operands(e, n)
    if n.kind == CALL_NODE and n.meta is None:
        s.object_number = n.object_number = e.program.nobjects
        e.program.nobjects += 1
    elif n.kind == CALL_NODE and n.scalar:
        s.address = n.address = new_register(e)
    elif n.kind == CALL_NODE:
        s.out = n.spot
    e.program.python.append(s)
    return <int>len(e.program.python) - 1


# --- groups -------------------------------------------------------------------------------------------------

@cython.final
cdef class GroupBuilder:
    """Instructions and registers of one group; scratch blocks are given out at the end."""
    cdef Planner e
    cdef tuple shape
    cdef Group *g
    cdef int capacity[4]
    cdef dict registers         # (operand, type code) -> register number

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

    cdef int loop(self, LoopRef loop, list operands, int out) except -1:
        cdef GroupIns *i = self.instruction(G_LOOP)
        cdef int k
        i.loop.fn = <VmLoop>loop.fn
        i.loop.data = loop.data
        i.nin = <int>len(operands)
        for k in range(i.nin):
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
        return s.contiguous \
            and tuple([k for k in s.shape if k != 1]) == tuple([k for k in self.shape if k != 1])

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

    cdef int operand(self, object a, char need) except -1:
        """The register that has an operand as that type code."""
        cdef object key = (operand_key(a), need)
        cdef char have
        cdef bint weak = False
        cdef double value = 0.0
        cdef int r, cast
        cdef LoopRef loop
        if key in self.registers:
            return self.registers[key]
        if type(a) is not Node and (not cnp.PyArray_Check(a) or uniform(a, &value)):
            if cnp.PyArray_Check(a):
                a = value
            r = self.register(R_SCALAR, item_size(need), register_place(constant_register(self.e, need, a)))
            self.registers[key] = r
            return r
        have = operand_code(a, &weak)
        if type(a) is Node and (<Node>a).scalar:
            have = b"d"
            if (<Node>a).group_register >= 0:
                r = (<Node>a).group_register
            else:
                r = self.register(R_SCALAR, 8, register_place((<Node>a).address))
        elif type(a) is Node and (<Node>a).group_register >= 0:
            r = (<Node>a).group_register
        else:
            r = self.memory(self.e.spot_of(a))
        if have != need:
            cast = self.scratch(item_size(need))
            loop.fn = cast_loop(have, need)
            loop.data = NULL
            if loop.fn == NULL:
                raise SystemError("no cast from %c to %c" % (have, need))
            self.loop(loop, [r], cast)
            r = cast
        self.registers[key] = r
        return r

    cdef int elementwise(self, Node n) except -1:
        cdef list operands = []
        cdef Py_ssize_t i
        cdef int out
        for i in range(len(n.args)):
            operands.append(self.operand(n.args[i], n.codes[i]))
        if n.scalar:
            n.address = new_register(self.e)
            out = self.register(R_STREAM, 8, register_place(n.address))
        elif n.stored:
            out = self.register(R_STREAM, n.spot.width, n.spot.at())
        else:
            out = self.scratch(n.meta.dtype.itemsize)
        self.loop(n.loop, operands, out)
        n.group_register = out
        return 0

    cdef int update(self, Node n) except -1:
        cdef int target, value = self.operand(n.args[1], n.codes[0])
        cdef bint adds = n.prim.name == "index_add", streams = self.streams(n.part)
        if streams:
            target = self.register(R_STREAM, n.part.width, n.part.at())
        else:
            target = self.scratch(n.part.width)
            if adds:
                self.strided(G_GATHER, target, n.part)
        self.loop(n.loop, [target, value] if adds else [value], target)
        if not streams:
            self.strided(G_SCATTER, target, n.part)
        return 0

    cdef int reduction(self, Node n) except -1:
        cdef Group *g = self.g
        cdef Reduction *r
        cdef GroupIns *i
        cdef int source = self.operand(n.args[0], n.codes[0])
        g.reductions = <Reduction *>room_for(g.reductions, g.nreductions, &self.capacity[3],
                                             sizeof(Reduction))
        r = &g.reductions[g.nreductions]
        memset(r, 0, sizeof(Reduction))
        g.nreductions += 1
        r.kind = n.op
        r.seeded = n.seeded
        r.reg = source
        r.loop.fn = <VmLoop>n.loop.fn
        r.loop.data = n.loop.data
        r.inner = n.inner
        r.stack = reduced_stack(n)
        r.adds = n.codes == b"d" and not n.seeded and n.initial == 0.0
        r.width = item_size(n.codes[0])
        store_constant(r.initial, n.codes[0], n.initial)
        if n.scalar:
            n.address = new_register(self.e)
            r.out = register_place(n.address)
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
        cdef list last = [-1] * g.nreg, free = []
        for k in range(g.nins):
            for reg in registers_read(g, &g.ins[k]):
                last[reg] = k
        for k in range(g.nins):
            i = &g.ins[k]
            for reg in set(registers_read(g, i)):
                r = &g.regs[reg]
                if r.kind == R_SCRATCH and last[reg] == k:
                    free.append((r.width, r.block))
            reg = register_written(g, i)
            if reg < 0 or g.regs[reg].kind != R_SCRATCH or g.regs[reg].block >= 0:
                continue
            r = &g.regs[reg]
            # A block that ends here may be written over if the item sizes agree.
            for j in range(len(free)):
                if free[j][0] == r.width:
                    r.block = free[j][1]
                    del free[j]
                    break
            if r.block < 0:
                r.block = nscratch
                nscratch += 1
            g.width = max(g.width, r.width)
        g.nscratch = nscratch
        g.block = g.n
        if nscratch:
            g.block = SCRATCH_BYTES // (nscratch * g.width)
        elif g.nins == 1:
            return 0
        g.block = min(g.n, max(64, min(g.block, LONGEST_BLOCK) & ~7))
        return 0


cdef list registers_read(Group *g, GroupIns *i):
    if i.op == G_LOOP:
        return [i.r[k] for k in range(i.nin)]
    if i.op == G_SCATTER:
        return [g.strided[i.out].reg]
    if i.op == G_REDUCE:
        return [g.reductions[i.out].reg]
    return []


cdef int register_written(Group *g, GroupIns *i) noexcept:
    if i.op == G_LOOP:
        return i.out
    if i.op == G_GATHER:
        return g.strided[i.out].reg
    return -1


cdef int emit_group(Planner e, list nodes) except -1:
    cdef GroupBuilder b = GroupBuilder.__new__(GroupBuilder)
    cdef Node n
    for n in nodes:
        if n.category == K_UPDATE and not n.in_place:
            emit_copy(e, e.spot_of(n.args[0]), n.spot)
    b.e = e
    b.shape = (<Node>nodes[0]).shape
    b.registers = {}
    b.g = e.program.add_group(math_prod(b.shape))
    for n in nodes:
        if n.category == K_ELEMENTWISE:
            b.elementwise(n)
        elif n.category == K_UPDATE:
            b.update(n)
        else:
            b.reduction(n)
    for n in nodes:
        n.group_register = -1
        release_operands(e, n)
    b.give_blocks()
    return 0
