# Runs: consecutive elementwise entries over long arrays, swept together block by block.
#
# Entry by entry, the sweep of a long array reads and writes whole arrays between the processor and memory
# for every entry. In a run the adjoints of the entries themselves exist only for one block at a time, in
# scratch that stays in the cache; what is read are the residuals, what is written the adjoints of the
# parents outside the run. The programs are those of `contribute_into`; what they do not cover ends the run.

cdef enum:
    LONG_ARRAY = 8192   # items from which a run is worth planning
    RUN_SPAN = 64       # slots that a run may reach over
    RUN_ENTRIES = 24
    RUN_STEPS = 96
    RUN_BLOCK = 1024    # items

cdef struct Source:
    # Where a block is read.
    char *line
    cnp.npy_intp step
    bint moves          # a whole array, of which the block is a part, and not scratch or a number
    bint own            # scratch that may be added to

cdef struct RunStep:
    # One contribution for a block: a program, its inputs and where the result goes.
    PyObject *program
    Source input[MAX_INPUTS]
    double number[MAX_INPUTS]
    char *out
    bint out_moves
    bint add

cdef struct Plan:
    RunStep *steps
    double *blocks
    int nsteps
    int nblocks
    Py_ssize_t top              # the slots from `top` down to `low`, exclusive, are the run's
    Py_ssize_t low
    Source source[RUN_SPAN]     # each slot's adjoint as far as it has been computed; by distance from `top`


cdef bint long_double_array(object v) noexcept:
    """A float64 array that a run can read: in C order, or one item stretched to a shape."""
    cdef cnp.ndarray a
    cdef int i
    if not plain_array(v) or cnp.PyArray_TYPE(<cnp.ndarray>v) != cnp.NPY_DOUBLE:
        return False
    a = <cnp.ndarray>v
    if cnp.PyArray_SIZE(a) < LONG_ARRAY:
        return False
    if cnp.PyArray_IS_C_CONTIGUOUS(a):
        return True
    for i in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_STRIDES(a)[i] != 0:
            return False
    return True


cdef bint joins_run(Tape t, Py_ssize_t slot, Adjoint *adjoints, object shape) except -1:
    """Whether the machine can do all contributions of an entry over arrays of that shape."""
    cdef Entry *e = &t.entries[slot]
    cdef Primitive p
    cdef Program program
    cdef Adjoint *to
    cdef Parent parent
    cdef object v
    cdef int j, k, saved = 0
    if e.kind != ELEMENTWISE_ENTRY or e.flags & (FIT0 | FIT1 | MANY | DOUBLE):
        return False
    to = &adjoints[slot]
    if to.o != NULL and (to.o == MARK or not long_double_array(<object>to.o)
                         or not alike(<object>to.o, shape)):
        return False
    p = <Primitive>e.prim
    for j in range(parent_count(e)):
        parent = parent_at(t, e, j)
        program = <Program>PyList_GET_ITEM(p.fast, parent.arg)
        if program is None or is_double_slot(t, parent.slot):
            return False
        for k in range(1, program.nin):
            if program.used >> k & 1 and (program.input_code[k] != b"d" or not e.saved >> (k - 1) & 1):
                return False
        to = &adjoints[parent.slot]
        if to.o != NULL and (to.o == MARK or not plain_array(<object>to.o) or not alike(<object>to.o, shape)):
            return False
    for j in range(p.nin + 1):
        if e.saved >> j & 1:
            v = <object>t.residual(e, saved)
            saved += 1
            if type(v) is float or type(v) is np_float64 or type(v) is int:
                continue
            if not (long_double_array(v) and alike(v, shape)):
                return False
    return True


cdef Py_ssize_t sweep_run(Tape t, Py_ssize_t top, Adjoint *adjoints) except -2:
    """Sweeps a run that begins at a slot; the slot below it, or `top` itself where there is none."""
    cdef Plan plan
    cdef bint reached[RUN_SPAN]         # by a contribution from inside the run; by distance from `top`
    cdef Py_ssize_t entries[RUN_ENTRIES]
    cdef Py_ssize_t slot = top
    cdef int count = 0, j
    cdef Parent parent
    cdef object shape = <object>adjoints[top].o
    if not long_double_array(shape):
        return top
    for j in range(RUN_SPAN):
        reached[j] = False
        plan.source[j].line = NULL
    while slot >= 0 and top - slot < RUN_SPAN and count < RUN_ENTRIES:
        if adjoints[slot].o != NULL or reached[top - slot]:
            if not joins_run(t, slot, adjoints, shape):
                break
            entries[count] = slot
            count += 1
            for j in range(parent_count(&t.entries[slot])):
                parent = parent_at(t, &t.entries[slot], j)
                if top - parent.slot < RUN_SPAN:
                    reached[top - parent.slot] = True
        slot -= 1
    if count < 2:
        return top
    plan.top = top
    plan.low = slot
    plan.nsteps = plan.nblocks = 0
    plan.steps = <RunStep *>PyMem_Malloc(RUN_STEPS * sizeof(RunStep))
    plan.blocks = <double *>PyMem_Malloc(count * RUN_BLOCK * sizeof(double))
    try:
        if plan.steps == NULL or plan.blocks == NULL:
            raise MemoryError("sweep")
        for j in range(count):
            plan_entry(&plan, t, entries[j], adjoints, shape)
        run_steps(plan.steps, plan.nsteps, cnp.PyArray_SIZE(<cnp.ndarray>shape))
    finally:
        PyMem_Free(plan.steps)
        PyMem_Free(plan.blocks)
    for j in range(count):
        drop_adjoint(&adjoints[entries[j]])
    return slot


cdef int plan_entry(Plan *plan, Tape t, Py_ssize_t slot, Adjoint *adjoints, object shape) except -1:
    """The steps of one entry: its cotangent times its partials, to the block or array of each parent."""
    cdef Entry *e = &t.entries[slot]
    cdef Primitive p = <Primitive>e.prim
    cdef RunStep *s
    cdef Adjoint *to
    cdef Parent parent
    cdef Source g = plan.source[plan.top - slot]
    cdef Source *target
    cdef object v
    cdef int j, k, saved
    if g.line == NULL:
        read_array(&g, <object>adjoints[slot].o)
    for j in range(parent_count(e)):
        parent = parent_at(t, e, j)
        to = &adjoints[parent.slot]
        target = NULL
        if parent.slot > plan.low:
            target = &plan.source[plan.top - parent.slot]
            if target.line == NULL and to.o != NULL:
                # What entries above the run have contributed.
                read_array(target, <object>to.o)
            if target.line == NULL and passed_on(
                    t, e, <Program>PyList_GET_ITEM(p.fast, parent.arg), &g, target):
                continue
            if target.line != NULL and not target.own:
                s = next_step(plan, <PyObject *>COPY_DOUBLE)
                s.input[0] = target[0]
                new_block(plan, target)
                s.out = target.line
        s = next_step(plan, PyList_GET_ITEM(p.fast, parent.arg))
        s.input[0] = g
        saved = 0
        for k in range(p.nin + 1):
            if not e.saved >> k & 1:
                continue
            v = <object>t.residual(e, saved)
            saved += 1
            if cnp.PyArray_CheckExact(v):
                read_array(&s.input[k + 1], v)
            else:
                s.number[k + 1] = v
                s.input[k + 1].line = <char *>&s.number[k + 1]
        if target != NULL:
            s.add = target.line != NULL
            if target.line == NULL:
                new_block(plan, target)
            s.out = target.line
            continue
        s.add = to.o != NULL
        if to.o == NULL:
            put_adjoint(to, empty_like(<cnp.ndarray>shape))
        elif not OWNED_ARRAY(to.o):
            put_adjoint(to, np_array(<object>to.o, order="C"))
        s.out = <char *>cnp.PyArray_DATA(<cnp.ndarray>to.o)
        s.out_moves = True
    return 0


cdef bint passed_on(Tape t, Entry *e, Program program, Source *g, Source *target) noexcept:
    """Whether there is nothing to compute: the contribution is the cotangent, or a residual times 1."""
    cdef ScalarIns product
    cdef int k, factor, saved = 0
    cdef object v
    if program.passes_input(0):
        target[0] = g[0]
        target.own = False
        return True
    if program.rule.stop - program.rule.ins != 1 or g.step != 0 or (<double *>g.line)[0] != 1.0:
        return False
    product = program.rule.ins[0]
    factor = product.a + product.b
    if product.op != S_MUL or product.a != 0 and product.b != 0 or not 0 < factor < program.nin:
        return False
    for k in range(factor - 1):
        saved += e.saved >> k & 1
    v = <object>t.residual(e, saved)
    if not cnp.PyArray_CheckExact(v):
        return False
    read_array(target, v)
    return True


cdef RunStep *next_step(Plan *plan, PyObject *program) noexcept:
    cdef RunStep *s = &plan.steps[plan.nsteps]
    cdef int k
    plan.nsteps += 1
    s.program = program
    s.out_moves = False
    s.add = False
    for k in range(MAX_INPUTS):
        s.input[k].line = NULL
        s.input[k].step = 0
        s.input[k].moves = False
    return s


cdef void new_block(Plan *plan, Source *target) noexcept:
    """Scratch of its own for the adjoint of an entry of the run."""
    target.line = <char *>(plan.blocks + plan.nblocks * RUN_BLOCK)
    target.step = 8
    target.moves = False
    target.own = True
    plan.nblocks += 1


cdef inline void read_array(Source *to, object v) noexcept:
    to.line = <char *>cnp.PyArray_DATA(<cnp.ndarray>v)
    to.step = 8 if cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>v) else 0
    to.moves = True
    to.own = False


cdef void run_steps(RunStep *steps, int nsteps, cnp.npy_intp n) noexcept:
    cdef char *at[VM_RULE_REGISTERS]
    cdef cnp.npy_intp step[VM_RULE_REGISTERS]
    cdef RunStep *s
    cdef Program p
    cdef cnp.npy_intp start = 0, m
    cdef int i, k
    while start < n:
        m = min(<cnp.npy_intp>RUN_BLOCK, n - start)
        for i in range(nsteps):
            s = &steps[i]
            p = <Program>s.program
            for k in range(p.nin):
                at[k] = s.input[k].line
                step[k] = s.input[k].step
                if s.input[k].moves:
                    at[k] += start * step[k]
            at[p.nin] = s.out + (start * 8 if s.out_moves else 0)
            step[p.nin] = 8
            vm_run_rule(&p.groups[s.add], &p.constants, at, step, m)
        start += m
