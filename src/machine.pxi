# The machine (`vm.h`) as Cython sees it, and the programs of elementwise rules for it.
#
# A rule is recorded once. What it computes becomes a program, of which the machine runs two forms:
#
#   doubles     scalar instructions over a file of doubles
#   arrays      a group: NumPy's inner loops over blocks that stay in the first-level cache
#
# Registers are numbered alike in both: inputs (cotangent, result, arguments), the place of the program's
# result in arrays, then constants and intermediate values.

cdef enum:
    MAX_INPUTS = 8
    RELEASED = 32768    # items times instructions from which on an array program gives the GIL away

cdef extern from "vm.h":
    ctypedef struct Place:
        cnp.npy_intp offset
        int base
    enum ScalarOp:
        S_MOVE, S_ADD, S_SUB, S_MUL, S_DIV, S_NEG, S_ABS, S_SQRT, S_SQUARE, S_RECIPROCAL, S_POW
        S_LT, S_LE, S_GT, S_GE, S_EQ, S_NE, S_AND, S_OR, S_NOT
        S_SELECT, S_CALL1, S_CALL2, S_SINCOS, S_LOAD, S_GUARD, S_NONE
    ctypedef struct ScalarIns:
        unsigned short op, k
        unsigned int a, b, out
    ctypedef Loop VmLoop
    ctypedef LoopRef VmCall
    enum RegisterKind:
        R_SCRATCH, R_STREAM, R_SCALAR
    ctypedef struct ScalarRule:
        ScalarIns *ins
        ScalarIns *stop
        VmCall *calls
        double *numbers
        int *number_at
        int nnumbers, result
    ctypedef struct Register:
        int kind, width, block
        Place at
        cnp.npy_intp step, advance
    ctypedef struct Strided:
        int reg, ndim
        Place at
        cnp.npy_intp *shape
        cnp.npy_intp *strides
    enum ReduceKind:
        REDUCE_ALL, REDUCE_LEADING, REDUCE_MIDDLE, REDUCE_TRAILING
    ctypedef struct Reduction:
        int kind, seeded, adds, reg
        VmCall loop
        cnp.npy_intp inner, stack
        Place out
        int width
        double initial[2]
    enum GroupOp:
        G_LOOP, G_GATHER, G_SCATTER, G_REDUCE
    ctypedef struct GroupIns:
        int op, nin
        int r[4]
        int out
        VmCall loop
    ctypedef struct Group:
        cnp.npy_intp n, block
        int nreg, nins, nscratch, width
        Register *regs
        GroupIns *ins
        Strided *strided
        Reduction *reductions
        int nstrided, nreductions
    enum:
        MAX_CALL_ARGS
    ctypedef struct LoopCall:
        VmCall loop
        int nargs
        Place args[8]
        cnp.npy_intp dims[8]
        cnp.npy_intp steps[24]
    ctypedef int (*VmRoutine)(const LoopCall *call, char **args) noexcept nogil
    ctypedef struct Routine:
        VmRoutine fn
        LoopCall call
        int python, quiet
        double cost
    ctypedef struct Copy:
        Place source "from"
        Place to
        int width, ndim
        cnp.npy_intp *shape
        cnp.npy_intp *from_strides
        cnp.npy_intp *to_strides
    ctypedef struct Clear:
        Place at
        cnp.npy_intp bytes
    ctypedef struct TruthGuard:
        Place at
        int guard
        char expected
    enum StepKind:
        STEP_SCALARS, STEP_GROUP, STEP_CALL, STEP_ROUTINE, STEP_COPY, STEP_CLEAR, STEP_GUARD, STEP_PYTHON
    ctypedef struct Step:
        int kind, index, stop
    ctypedef struct VmPlan "Plan":
        Step *steps
        ScalarIns *scalars
        VmCall *calls
        Group *groups
        LoopCall *loops
        Routine *routines
        Copy *copies
        Clear *clears
        TruthGuard *guards
        int nsteps, threads
        cnp.npy_intp scratch_bytes
        double cost
    ctypedef struct Run:
        cnp.npy_intp done
        double spent, since, slice
    enum VmStop:
        VM_DONE, VM_GUARD, VM_PYTHON, VM_PAUSE
    enum:
        VM_RULE_REGISTERS, VM_RULE_BYTES
    void vm_prepare(VmPlan *plan) noexcept nogil
    void vm_prepare_scalars(ScalarIns *first, const ScalarIns *stop) noexcept nogil
    void vm_prepare_registers(Group *g) noexcept nogil
    int vm_merge_axes(int ndim, cnp.npy_intp *shape, cnp.npy_intp *strides,
                      cnp.npy_intp *other) noexcept nogil
    double vm_scalar_rule(const ScalarRule *r, double *x) noexcept nogil
    double vm_compute(int op, const VmCall *call, double a, double b) noexcept nogil
    void vm_run_rule(const Group *g, char **bases, char **at, cnp.npy_intp *step,
                     cnp.npy_intp n) noexcept nogil
    int vm_run(const VmPlan *plan, char **bases, char *scratch, Run *run, int first, int last,
               int *where) noexcept nogil
    void vm_resume(Run *run) noexcept nogil
    bint vm_is_late(const Run *run) noexcept nogil


# What the scalar interpreter has an operation for; other float64 functions are calls of their loops.
cdef dict SCALAR_CODES = {
    "add": S_ADD, "subtract": S_SUB, "multiply": S_MUL, "divide": S_DIV, "negative": S_NEG,
    "absolute": S_ABS, "sqrt": S_SQRT, "square": S_SQUARE, "reciprocal": S_RECIPROCAL,
    "less": S_LT, "less_equal": S_LE, "greater": S_GT, "greater_equal": S_GE, "equal": S_EQ,
    "not_equal": S_NE, "logical_and": S_AND, "logical_or": S_OR, "logical_not": S_NOT,
    "where": S_SELECT, "scalar_power": S_POW, "scalar_square": S_POW, "positive": S_MOVE,
}


cdef int find_scalar(Primitive p) except -1:
    """What the scalar interpreter does for a primitive: an operation of its own, or the float64 loop."""
    cdef char out = 0
    p.scalar_code = SCALAR_CODES.get(p.name, -1) if p.ours else -1
    if p.scalar_code < 0 and p.is_ufunc and 0 < p.nin <= 2:
        p.scalar_loop = p.find_loop(b"d" * p.nin, &out)
        if p.scalar_loop.fn != NULL and out == b"d":
            p.scalar_code = S_CALL1 if p.nin == 1 else S_CALL2
    p.scalar_known = True
    return 0


# --- programs ------------------------------------------------------------------------------------------

cdef class Program:
    """A straight-line elementwise program for one combination of dtypes.

    Built from a recording by `compile_program`; immutable afterwards, so that any number of threads may run
    it.
    """
    cdef int nin
    cdef int result             # the register of what it computes: an input, a constant, or intermediate
    cdef unsigned int used      # which inputs are read, one bit each
    cdef char code              # dtype of the result
    cdef int input_code[MAX_INPUTS]
    cdef ScalarRule rule        # over doubles, where all is
    cdef Group groups[2]        # over arrays: one writes the result, one adds it to what is there
    cdef char *constants        # of the groups, 16 bytes each: room for a complex number

    def __dealloc__(self):
        cdef int k
        for k in range(2):
            PyMem_Free(self.groups[k].regs)
            PyMem_Free(self.groups[k].ins)
        PyMem_Free(self.rule.ins)
        PyMem_Free(self.rule.calls)
        PyMem_Free(self.rule.numbers)
        PyMem_Free(self.rule.number_at)
        PyMem_Free(self.constants)

    cdef inline bint passes_input(self, int register) noexcept:
        """Whether the result is just that input, so that nothing has to be computed."""
        return self.result == register


cdef class NoProgram(Exception):
    """A recording that the machine cannot run for this dtype: the rule then runs through primitives."""


cdef Program compile_program(list code, int nin, object result, bytes inputs):
    """Lowers a recording to a program for one combination of input type codes.

    Parameters
    ----------
    code : list of (Primitive, operands)
        Operands are ``("slot", i)``, with inputs first and one slot for each instruction, or a constant.
    nin : int
        Number of inputs.
    result : operand
        What the program computes.
    inputs : bytes
        Type codes of the inputs.

    Raises
    ------
    NoProgram
        Where a primitive has no loop for these types or is not elementwise.
    """
    cdef Program p = Program()
    cdef Lowering lowering = Lowering.__new__(Lowering)
    cdef int i
    if nin > MAX_INPUTS:
        raise NoProgram("too many inputs")
    lowering.begin(nin, inputs)
    for prim, operands in code:
        lowering.instruction(<Primitive>prim, operands)
    p.nin = nin
    p.result = lowering.operand(result)
    p.used = lowering.used
    p.code = lowering.types[p.result]
    if p.code == b"?":
        raise NoProgram("the result is not a number")
    if len(lowering.types) > VM_RULE_REGISTERS:
        raise NoProgram("too long")
    for i in range(nin):
        p.input_code[i] = inputs[i]
    if inputs == b"d" * nin and lowering.is_of_doubles():
        lowering.lower_scalars(&p.rule, p.result)
    lowering.lower_constants(p)
    lowering.lower_group(p, False)
    lowering.lower_group(p, True)
    return p


@cython.final
cdef class Lowering:
    """A recording with types and registers, and what is made of it."""
    cdef int nin
    cdef char wide              # the type of constants
    cdef unsigned int used
    cdef list types             # by register: type code
    cdef list values            # by register: of a constant, its value; None for any other
    cdef list slots             # by slot of the recording: its register
    cdef list rows              # by instruction: (primitive, operand registers, their type codes, register)

    cdef int begin(self, int nin, bytes inputs) except -1:
        self.nin = nin
        self.wide = b"D" if b"D" in inputs else b"d"
        if b"f" in inputs or b"F" in inputs:
            self.wide = b"F" if b"F" in inputs else b"f"
            if b"d" in inputs or b"D" in inputs:
                raise NoProgram("mixed precision")
        self.types = list(inputs) + [0]
        self.values = [None] * (nin + 1)
        self.slots = list(range(nin))
        self.rows = []
        return 0

    cdef int register(self, char code, object value) except -1:
        self.types.append(code)
        self.values.append(value)
        return <int>len(self.types) - 1

    cdef int operand(self, object a) except -1:
        if type(a) is tuple:
            if a[1] < self.nin:
                self.used |= 1u << <int>a[1]
            return self.slots[a[1]]
        if isinstance(a, (bool, np_bool)):
            return self.register(b"?", a)
        if isinstance(a, (int, float)) or isinstance(a, (complex, np_complexfloating)) and self.wide in b"DF":
            return self.register(self.wide, a)
        raise NoProgram("constant %r" % (a,))

    cdef int instruction(self, Primitive prim, operands) except -1:
        cdef list registers = [self.operand(a) for a in operands]
        cdef bytes codes = bytes([self.types[r] for r in registers])
        cdef char out = 0
        if len(registers) > 4:
            raise NoProgram("too many arguments")
        if prim.find_loop(codes, &out).fn == NULL:
            raise NoProgram("%s has no loop for %s" % (prim.name, codes.decode()))
        self.slots.append(self.register(out, None))
        self.rows.append((prim, registers, codes, self.slots[len(self.slots) - 1]))
        return 0

    # --- doubles ----------------------------------------------------------------------------

    cdef bint is_of_doubles(self) except -1:
        """Whether the scalar interpreter can do all of it."""
        cdef Primitive prim
        for prim, registers, codes, out in self.rows:
            if not prim.scalar_known:
                find_scalar(prim)
            if prim.scalar_code < 0 or not S_LT <= prim.scalar_code <= S_SELECT \
                    and codes + bytes([self.types[out]]) != b"d" * (len(codes) + 1):
                return False
        return True

    cdef int lower_scalars(self, ScalarRule *rule, int result) except -1:
        cdef int k, n = <int>len(self.rows)
        rule.ins = rule.stop = <ScalarIns *>PyMem_Calloc(2 * n + 1, sizeof(ScalarIns))
        rule.calls = <VmCall *>PyMem_Calloc(n + 1, sizeof(VmCall))
        rule.numbers = <double *>PyMem_Calloc(len(self.values), sizeof(double))
        rule.number_at = <int *>PyMem_Calloc(len(self.values), sizeof(int))
        if rule.ins == NULL or rule.calls == NULL or rule.numbers == NULL or rule.number_at == NULL:
            raise MemoryError("program of %d instructions" % n)
        rule.result = result
        for k in range(n):
            self.lower_scalar(rule, <tuple>self.rows[k], k)
        for k in range(<int>len(self.values)):
            if self.values[k] is not None:
                rule.numbers[rule.nnumbers] = self.values[k]
                rule.number_at[rule.nnumbers] = k
                rule.nnumbers += 1
        vm_prepare_scalars(rule.ins, rule.stop)
        return 0

    cdef int lower_scalar(self, ScalarRule *rule, tuple row, int k) except -1:
        cdef Primitive prim = <Primitive>row[0]
        cdef list r = row[1]
        cdef ScalarIns *i = rule.stop
        i.op = prim.scalar_code
        i.k = k
        i.a = r[0]
        i.b = r[1] if len(r) > 1 else 0
        i.out = row[3]
        rule.calls[k] = prim.scalar_loop
        rule.stop += 1
        if i.op == S_SELECT:
            rule.stop.op = S_NONE
            rule.stop.a = r[2]
            rule.stop += 1
        return 0

    # --- arrays -----------------------------------------------------------------------------

    cdef int lower_constants(self, Program p) except -1:
        cdef int k
        p.constants = <char *>PyMem_Calloc(len(self.values), 16)
        if p.constants == NULL:
            raise MemoryError("program of %d registers" % len(self.values))
        for k in range(<int>len(self.values)):
            if self.values[k] is not None:
                store_constant(<double *>(p.constants + 16 * k), self.types[k], self.values[k])
        return 0

    cdef int lower_group(self, Program p, bint adds) except -1:
        cdef GroupBuilder b = GroupBuilder.__new__(GroupBuilder)
        cdef Place at
        cdef char out = 0
        cdef bytes code = bytes([p.code])
        cdef int k, j, kind, count
        cdef int operands[4]
        cdef list registers
        b.g = &p.groups[adds]
        b.g.n = PY_SSIZE_T_MAX
        self.types[self.nin] = p.code
        at.base = 0
        for k in range(<int>len(self.types)):
            at.offset = 16 * k
            kind = R_STREAM if k <= self.nin else R_SCRATCH if self.values[k] is None else R_SCALAR
            b.register(kind, item_size(self.types[k]), at)
        for prim, registers, codes, k in self.rows:
            count = <int>len(registers)
            for j in range(count):
                operands[j] = registers[j]
            b.loop((<Primitive>prim).find_loop(codes, &out), operands, count, k)
        operands[0] = self.nin
        operands[1] = p.result
        if adds:
            b.loop(P_ADD.find_loop(2 * code, &out), operands, 2, self.nin)
        elif b.g.nins > 0 and b.g.ins[b.g.nins - 1].out == p.result:
            b.g.ins[b.g.nins - 1].out = self.nin
        else:
            b.loop(P_POS.find_loop(code, &out), &operands[1], 1, self.nin)
        b.give_blocks()
        # Without one where the last instruction has written elsewhere.
        b.g.regs[p.result].block = max(b.g.regs[p.result].block, 0)
        vm_prepare_registers(b.g)
        if b.g.nscratch * b.g.width * b.g.block > VM_RULE_BYTES:
            raise NoProgram("too many intermediate values")
        return 0


cdef int store_constant(double *to, char code, object value) except -1:
    to[0] = 0.0
    to[1] = 0.0
    if code == b"d":
        to[0] = value
    elif code == b"f":
        (<float *>to)[0] = value
    elif code == b"D":
        to[0] = value.real
        to[1] = value.imag
    elif code == b"F":
        (<float *>to)[0] = value.real
        (<float *>to)[1] = value.imag
    else:
        (<unsigned char *>to)[0] = 1 if value else 0
    return 0


cdef void *room_for(void *table, int count, int *capacity, size_t item) except NULL:
    """The table with room for one more item."""
    cdef int more
    cdef void *new
    if count < capacity[0]:
        return table
    more = capacity[0] * 2 + 8
    new = PyMem_Realloc(table, more * item)
    if new == NULL:
        raise MemoryError("a program of %d instructions" % count)
    capacity[0] = more
    return new


# --- runs ----------------------------------------------------------------------------------------------

cdef struct Operand:
    char *data
    int ndim                    # 0 for a scalar
    cnp.npy_intp *shape
    cnp.npy_intp *strides
    bint contiguous


cdef inline void operand_of_array(Operand *o, cnp.ndarray a) noexcept:
    o.data = <char *>cnp.PyArray_DATA(a)
    o.ndim = cnp.PyArray_NDIM(a)
    o.shape = cnp.PyArray_DIMS(a)
    o.strides = cnp.PyArray_STRIDES(a)
    o.contiguous = cnp.PyArray_IS_C_CONTIGUOUS(a)


cdef inline void operand_of_scalar(Operand *o, void *data) noexcept:
    o.data = <char *>data
    o.ndim = 0
    o.shape = NULL
    o.strides = NULL
    o.contiguous = True


cdef inline bint same_shape(const Operand *a, int ndim, const cnp.npy_intp *shape) noexcept nogil:
    cdef int i
    if a.ndim != ndim:
        return False
    for i in range(ndim):
        if a.shape[i] != shape[i]:
            return False
    return True


cdef int run_array(Program p, Operand *inputs, cnp.ndarray out, bint accumulate) except -1:
    """The program over arrays of any strides, broadcast against the shape of `out`."""
    cdef Group *g = &p.groups[accumulate]
    cdef char *at[VM_RULE_REGISTERS]
    cdef cnp.npy_intp step[VM_RULE_REGISTERS]
    cdef cnp.npy_intp n = cnp.PyArray_SIZE(out)
    cdef Operand to
    cdef unsigned int strided = 0
    cdef int i
    if n == 0:
        return 0
    operand_of_array(&to, out)
    for i in range(p.nin):
        at[i] = NULL
        step[i] = 0
        if p.used >> i & 1:
            strided |= find_line(&inputs[i], &to, &at[i], &step[i], g.regs[i].width) << i
    strided |= find_line(&to, &to, &at[p.nin], &step[p.nin], g.regs[p.nin].width) << p.nin
    if n * g.nins > RELEASED:
        with nogil:
            run_operands(p, g, inputs, &to, at, step, strided, n)
    else:
        run_operands(p, g, inputs, &to, at, step, strided, n)
    return 0


cdef inline void run_operands(Program p, const Group *g, Operand *inputs, Operand *out, char **at,
                              cnp.npy_intp *step, unsigned int strided, cnp.npy_intp n) noexcept nogil:
    if strided:
        run_strided(p, g, inputs, out, at, step, strided, n)
    else:
        vm_run_rule(g, &p.constants, at, step, n)


cdef inline unsigned int find_line(const Operand *o, const Operand *to, char **at, cnp.npy_intp *step,
                                   int width) noexcept:
    """The line of an operand that is broadcast to the shape of `to`; 1 where the items are not on one."""
    cdef int i
    cdef cnp.npy_intp stride, items = 1
    at[0] = o.data
    step[0] = width if o.ndim else 0
    for i in range(to.ndim - 1 if o.ndim else -1, -1, -1):
        if to.shape[i] == 1:
            continue
        stride = stride_along(o, to, i)
        if items == 1:
            step[0] = stride
        elif stride != step[0] * items:
            return 1
        items *= to.shape[i]
    return 0


cdef inline cnp.npy_intp stride_along(const Operand *o, const Operand *to, int axis) noexcept nogil:
    """Of an operand, along an axis of the shape to which it is broadcast."""
    cdef int own = axis - (to.ndim - o.ndim)
    return o.strides[own] if own >= 0 and o.shape[own] != 1 else 0


cdef struct Walk:
    # A group with operands that are on no line: blocks of them are copied to scratch and back.
    Group g
    GroupIns ins[VM_RULE_REGISTERS + MAX_INPUTS + 2]
    Register regs[VM_RULE_REGISTERS]
    Strided strided[MAX_INPUTS + 1]
    cnp.npy_intp shape[MAX_INPUTS + 1][64]
    cnp.npy_intp strides[MAX_INPUTS + 1][64]
    char *bases[MAX_INPUTS + 2]


cdef void run_strided(Program p, const Group *g, Operand *inputs, Operand *out, char **at,
                      cnp.npy_intp *step, unsigned int strided, cnp.npy_intp n) noexcept nogil:
    cdef Walk w
    cdef bint scatters = strided >> p.nin, accumulates = g == &p.groups[1]
    cdef int i
    memcpy(w.regs, g.regs, g.nreg * sizeof(Register))
    w.g = g[0]
    w.g.ins = w.ins
    w.g.regs = w.regs
    w.g.strided = w.strided
    w.g.nins = 0
    w.bases[0] = p.constants
    for i in range(p.nin):
        if strided >> i & 1:
            add_strided(&w, i, &inputs[i], out)
            add_block_copy(&w, G_GATHER)
    if scatters:
        add_strided(&w, p.nin, out, out)
        if accumulates:
            add_block_copy(&w, G_GATHER)
    memcpy(&w.ins[w.g.nins], g.ins, g.nins * sizeof(GroupIns))
    w.g.nins += g.nins
    if scatters:
        add_block_copy(&w, G_SCATTER)
    w.g.block = min(<cnp.npy_intp>LONGEST_BLOCK, VM_RULE_BYTES // (w.g.nscratch * w.g.width) & ~7)
    vm_run_rule(&w.g, w.bases, at, step, n)


cdef void add_strided(Walk *w, int register, const Operand *o, const Operand *out) noexcept nogil:
    """A scratch block for an operand."""
    cdef int i
    cdef Strided *s = &w.strided[w.g.nstrided]
    cdef Register *r = &w.regs[register]
    for i in range(out.ndim):
        w.shape[register][i] = out.shape[i]
        w.strides[register][i] = stride_along(o, out, i)
    w.g.nstrided += 1
    s.reg = register
    s.at.base = w.g.nstrided
    s.at.offset = 0
    s.shape = w.shape[register]
    s.strides = w.strides[register]
    s.ndim = vm_merge_axes(out.ndim, s.shape, s.strides, NULL)
    w.bases[s.at.base] = o.data
    r.kind = R_SCRATCH
    r.block = w.g.nscratch
    r.step = r.width
    r.advance = 0
    w.g.nscratch += 1
    w.g.width = max(w.g.width, r.width)


cdef void add_block_copy(Walk *w, int op) noexcept nogil:
    """An instruction that fills the last block, or empties it."""
    w.ins[w.g.nins].op = op
    w.ins[w.g.nins].out = w.g.nstrided - 1
    w.g.nins += 1
