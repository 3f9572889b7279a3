# The machine: a flat program of inner loops over registers.
#
#   registers   0 .. nin-1     inputs (of a rule: cotangent, result, arguments)
#               nin ..         constants
#               ..             temporaries, held in L1-sized scratch blocks
#
# An elementwise rule is recorded once as such a program. It runs in two ways, from the same
# instructions: over arrays, block by block, through NumPy's loops; and over doubles, where
# the basic arithmetic is a `switch` and everything else is a loop of length one.

cdef enum:
    MAX_REGISTERS = 64
    MAX_INPUTS = 8
    SCRATCH_DOUBLES = 4096

cdef enum Op:
    OP_LOOP
    OP_ADD
    OP_SUB
    OP_MUL
    OP_DIV
    OP_NEG
    OP_ABS
    OP_SQRT
    OP_SQUARE
    OP_RECIPROCAL
    OP_LT
    OP_LE
    OP_GT
    OP_GE
    OP_EQ
    OP_NE
    OP_AND
    OP_OR
    OP_NOT
    OP_SELECT

cdef dict SCALAR_OPS = {
    "add": OP_ADD, "subtract": OP_SUB, "multiply": OP_MUL, "divide": OP_DIV, "negative": OP_NEG,
    "absolute": OP_ABS, "sqrt": OP_SQRT, "square": OP_SQUARE, "reciprocal": OP_RECIPROCAL,
    "less": OP_LT, "less_equal": OP_LE, "greater": OP_GT, "greater_equal": OP_GE, "equal": OP_EQ,
    "not_equal": OP_NE, "logical_and": OP_AND, "logical_or": OP_OR, "logical_not": OP_NOT,
    "where": OP_SELECT,
}

cdef struct Instruction:
    Loop fn
    void *data
    int op
    int nin
    int r[4]        # argument registers
    int out


cdef class Program:
    """A straight-line elementwise program for one dtype.

    Built from a recording by `compile_program`; immutable afterwards, so that any number of
    threads may run it.
    """
    cdef int nin, nreg, nins, ntemp
    cdef int temp_width         # bytes an item of a scratch block takes
    cdef int result             # the register that holds the result
    cdef unsigned int used      # which inputs are read, one bit each
    cdef bint scalar            # can also run over doubles
    cdef char code              # dtype of the result
    cdef int input_code[MAX_INPUTS]
    cdef Instruction *ins
    cdef double (*constant)[2]  # two doubles an item: room for a complex number
    cdef int *place             # of a register: index of its constant, or of its scratch block
    cdef int *width             # of a register: item size
    cdef LoopRef add            # accumulates the result into an adjoint

    def __cinit__(self):
        self.ins = NULL
        self.constant = NULL
        self.place = NULL
        self.width = NULL

    def __dealloc__(self):
        PyMem_Free(self.ins)
        PyMem_Free(self.constant)
        PyMem_Free(self.place)
        PyMem_Free(self.width)

    cdef inline bint passes_input(self, int register) noexcept:
        """Whether the result is just that input, so that nothing has to be computed."""
        return self.nins == 0 and self.result == register


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
    cdef int ncode = len(code), i, j, nconst = 0
    cdef LoopRef ref
    cdef char out_code, wide
    cdef list operands, slot_register = [], types = [], constants = []
    cdef bytes codes
    cdef Primitive prim
    wide = b"D" if b"D" in inputs else b"d"
    if b"f" in inputs or b"F" in inputs:
        wide = b"F" if b"F" in inputs else b"f"
        if b"d" in inputs or b"D" in inputs:
            raise NoProgram("mixed precision")
    if nin > MAX_INPUTS or nin + 3 * ncode + 4 > MAX_REGISTERS:
        raise NoProgram("too long")
    # Constants first, so that registers can be numbered before the instructions are lowered.
    registers = []
    for prim_, args in list(code) + [(None, (result,))]:
        row = []
        for a in args:
            if type(a) is tuple:
                row.append(a)
            elif isinstance(a, (bool, np_bool)):
                constants.append((b"?", a))
                row.append(("const", len(constants) - 1))
            elif isinstance(a, (int, float)):
                constants.append((bytes([wide]), a))
                row.append(("const", len(constants) - 1))
            elif isinstance(a, (complex, np_complexfloating)) and wide in b"DF":
                constants.append((bytes([wide]), a))
                row.append(("const", len(constants) - 1))
            else:
                raise NoProgram("constant %r" % (a,))
        registers.append(row)
    nconst = len(constants)
    p.nin = nin
    p.nreg = nin + nconst + ncode
    if p.nreg > MAX_REGISTERS:
        raise NoProgram("too many registers")
    p.ins = <Instruction *>PyMem_Malloc(max(ncode, 1) * sizeof(Instruction))
    p.constant = <double (*)[2]>PyMem_Malloc(max(nconst, 1) * 2 * sizeof(double))
    p.place = <int *>PyMem_Malloc(max(p.nreg, 1) * sizeof(int))
    p.width = <int *>PyMem_Malloc(max(p.nreg, 1) * sizeof(int))
    if p.ins == NULL or p.constant == NULL or p.place == NULL or p.width == NULL:
        raise MemoryError("program of %d instructions" % ncode)
    types = [bytes([c]) for c in inputs] + [c for c, _ in constants]
    for i in range(nin):
        p.input_code[i] = inputs[i]
    for i in range(nconst):
        store_constant(&p.constant[i][0], (<bytes>constants[i][0])[0], constants[i][1])
    p.scalar = inputs == b"d" * nin
    last_use = {}
    for i in range(ncode + 1):
        for tag, k in registers[i]:
            last_use[(tag, k)] = i
    free = []
    p.nins = ncode
    p.temp_width = 8
    for i in range(ncode):
        prim = code[i][0]
        args = registers[i]
        p.ins[i].nin = len(args)
        if len(args) > 4:
            raise NoProgram("too many arguments")
        for j in range(len(args)):
            tag, k = args[j]
            p.ins[i].r[j] = nin + k if tag == "const" else (k if k < nin else nconst + k)
            if tag == "slot" and k < nin:
                p.used |= 1 << <int>k
        codes = b"".join([types[p.ins[i].r[j]] for j in range(len(args))])
        out_code = 0
        ref = prim.find_loop(codes, &out_code)
        if ref.fn == NULL:
            raise NoProgram("%s has no loop for %s" % (prim.name, codes.decode()))
        p.ins[i].fn = ref.fn
        p.ins[i].data = ref.data
        p.ins[i].op = SCALAR_OPS.get(prim.name, OP_LOOP)
        if p.ins[i].op == OP_LOOP and codes + bytes([out_code]) != b"d" * (len(args) + 1):
            p.scalar = False
        p.ins[i].out = nin + nconst + i
        types.append(bytes([out_code]))
        p.temp_width = max(p.temp_width, item_size(out_code))
        # Blocks of operands that end here may be written over: NumPy's loops allow an exact overlap,
        # provided that the item sizes agree.
        for tag, k in set(args):
            if tag == "slot" and k >= nin and last_use[(tag, k)] == i:
                free.append((item_size(types[nconst + k][0]), p.place[nconst + k]))
        place = -1
        for size, block in free:
            if size == item_size(out_code):
                place = block
                free.remove((size, block))
                break
        if place < 0:
            place = p.ntemp
            p.ntemp += 1
        p.place[nin + nconst + i] = place
    for i in range(nconst):
        p.place[nin + i] = i
    for i in range(p.nreg):
        p.width[i] = item_size((<bytes>types[i])[0])
    tag, k = registers[ncode][0]
    p.result = nin + k if tag == "const" else (k if k < nin else nconst + k)
    if tag == "slot" and k < nin:
        p.used |= 1 << <int>k
    p.code = (<bytes>types[p.result])[0]
    if p.code == b"?":
        raise NoProgram("the result is not a number")
    p.add = P_ADD.find_loop(bytes([p.code, p.code]), &out_code)
    return p


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


cdef double run_scalar(Program p, const double *inputs) noexcept nogil:
    """The program over doubles; `p.scalar` must hold. Truth values are 0.0 and 1.0 here."""
    cdef double r[MAX_REGISTERS]
    cdef char *args[5]
    cdef cnp.npy_intp one = 1
    cdef cnp.npy_intp steps[5]
    cdef Instruction *t
    cdef int i, j, nconst = p.nreg - p.nin - p.nins
    if p.nins == 0:
        return inputs[p.result] if p.result < p.nin else p.constant[p.result - p.nin][0]
    for i in range(p.nin):
        r[i] = inputs[i]
    for i in range(nconst):
        r[p.nin + i] = p.constant[i][0]
    for i in range(p.nins):
        t = &p.ins[i]
        if t.op == OP_MUL:
            r[t.out] = r[t.r[0]] * r[t.r[1]]
        elif t.op == OP_ADD:
            r[t.out] = r[t.r[0]] + r[t.r[1]]
        elif t.op == OP_SUB:
            r[t.out] = r[t.r[0]] - r[t.r[1]]
        elif t.op == OP_DIV:
            r[t.out] = r[t.r[0]] / r[t.r[1]]
        elif t.op == OP_NEG:
            r[t.out] = -r[t.r[0]]
        elif t.op == OP_ABS:
            r[t.out] = fabs(r[t.r[0]])
        elif t.op == OP_SQRT:
            r[t.out] = sqrt(r[t.r[0]])
        elif t.op == OP_SQUARE:
            r[t.out] = r[t.r[0]] * r[t.r[0]]
        elif t.op == OP_RECIPROCAL:
            r[t.out] = 1.0 / r[t.r[0]]
        elif t.op == OP_LT:
            r[t.out] = r[t.r[0]] < r[t.r[1]]
        elif t.op == OP_LE:
            r[t.out] = r[t.r[0]] <= r[t.r[1]]
        elif t.op == OP_GT:
            r[t.out] = r[t.r[0]] > r[t.r[1]]
        elif t.op == OP_GE:
            r[t.out] = r[t.r[0]] >= r[t.r[1]]
        elif t.op == OP_EQ:
            r[t.out] = r[t.r[0]] == r[t.r[1]]
        elif t.op == OP_NE:
            r[t.out] = r[t.r[0]] != r[t.r[1]]
        elif t.op == OP_AND:
            r[t.out] = r[t.r[0]] != 0.0 and r[t.r[1]] != 0.0
        elif t.op == OP_OR:
            r[t.out] = r[t.r[0]] != 0.0 or r[t.r[1]] != 0.0
        elif t.op == OP_NOT:
            r[t.out] = r[t.r[0]] == 0.0
        elif t.op == OP_SELECT:
            r[t.out] = r[t.r[1]] if r[t.r[0]] != 0.0 else r[t.r[2]]
        else:
            for j in range(t.nin):
                args[j] = <char *>&r[t.r[j]]
                steps[j] = 8
            args[t.nin] = <char *>&r[t.out]
            steps[t.nin] = 8
            t.fn(args, &one, steps, t.data)
    return r[p.result]


cdef void run_line(Program p, char **inputs, const cnp.npy_intp *steps, char *out, cnp.npy_intp out_step,
                   cnp.npy_intp n, bint accumulate) noexcept nogil:
    """The program along one line of `n` items, block by block; `accumulate` adds to `out`."""
    cdef double scratch[SCRATCH_DOUBLES]
    cdef char *base[MAX_REGISTERS]
    cdef cnp.npy_intp step[MAX_REGISTERS]
    cdef char *args[5]
    cdef cnp.npy_intp arg_steps[5]
    cdef cnp.npy_intp m, start = 0, block = n
    cdef int i, j, first_temp = p.nreg - p.nins
    cdef Instruction *t
    if p.ntemp > 0:
        block = (SCRATCH_DOUBLES * 8 // p.temp_width) // p.ntemp
        block &= ~7
    for i in range(p.nin):
        if p.used >> i & 1:
            base[i] = inputs[i]
            step[i] = steps[i]
        else:
            base[i] = NULL
            step[i] = 0
    for i in range(p.nin, first_temp):
        base[i] = <char *>&p.constant[i - p.nin][0]
        step[i] = 0
    if n < block:
        block = n
    for i in range(first_temp, p.nreg):
        base[i] = <char *>scratch + p.place[i] * block * p.temp_width
        step[i] = p.width[i]
    if p.nins > 0 and not accumulate:
        base[p.result] = out
        step[p.result] = out_step
    while start < n:
        m = n - start
        if m > block:
            m = block
        for i in range(p.nins):
            t = &p.ins[i]
            for j in range(t.nin):
                args[j] = base[t.r[j]]
                arg_steps[j] = step[t.r[j]]
            args[t.nin] = base[t.out]
            arg_steps[t.nin] = step[t.out]
            t.fn(args, &m, arg_steps, t.data)
        if accumulate:
            args[0] = out
            args[1] = base[p.result]
            args[2] = out
            arg_steps[0] = out_step
            arg_steps[1] = step[p.result]
            arg_steps[2] = out_step
            p.add.fn(args, &m, arg_steps, p.add.data)
        elif p.nins == 0:
            vm_copy_line(out, out_step, base[p.result], step[p.result], m, p.width[p.result])
        elif p.result >= first_temp:
            base[p.result] += m * out_step
        for i in range(p.nin):
            base[i] += m * step[i]
        out += m * out_step
        start += m


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
    cdef int ndim = cnp.PyArray_NDIM(out), i, j, dims = 0
    cdef cnp.npy_intp *shape = cnp.PyArray_DIMS(out)
    cdef cnp.npy_intp n = cnp.PyArray_SIZE(out)
    cdef cnp.npy_intp width = cnp.PyArray_ITEMSIZE(out)
    cdef char *line[MAX_INPUTS + 1]
    cdef cnp.npy_intp steps[MAX_INPUTS + 1]
    cdef cnp.npy_intp size[64]
    cdef cnp.npy_intp index[64]
    cdef cnp.npy_intp walk[MAX_INPUTS + 1][64]
    cdef bint flat = cnp.PyArray_IS_C_CONTIGUOUS(out), merge
    cdef Operand *o
    if n == 0:
        return 0
    for i in range(p.nin):
        if not p.used >> i & 1:
            continue
        o = &inputs[i]
        line[i] = o.data
        if o.ndim == 0:
            steps[i] = 0
        elif o.contiguous and same_shape(o, ndim, shape):
            steps[i] = width if p.input_code[i] == p.code else item_size(p.input_code[i])
        else:
            flat = False
            break
    if flat:
        if n * (p.nins + 1) > 32768:
            with nogil:
                run_line(p, line, steps, <char *>cnp.PyArray_DATA(out), width, n, accumulate)
        else:
            run_line(p, line, steps, <char *>cnp.PyArray_DATA(out), width, n, accumulate)
        return 0
    # The general walk: strides of every operand in the shape of the result, neighbouring axes merged.
    for i in range(ndim):
        if shape[i] == 1:
            continue
        size[dims] = shape[i]
        for j in range(p.nin):
            walk[j][dims] = 0
            if p.used >> j & 1:
                o = &inputs[j]
                if i >= ndim - o.ndim and o.shape[i - (ndim - o.ndim)] != 1:
                    walk[j][dims] = o.strides[i - (ndim - o.ndim)]
        walk[p.nin][dims] = cnp.PyArray_STRIDES(out)[i]
        merge = dims > 0
        if merge:
            for j in range(p.nin + 1):
                if walk[j][dims - 1] != walk[j][dims] * size[dims]:
                    merge = False
                    break
        if merge:
            size[dims - 1] *= size[dims]
            for j in range(p.nin + 1):
                walk[j][dims - 1] = walk[j][dims]
        else:
            dims += 1
    if dims == 0:
        size[0] = 1
        for j in range(p.nin + 1):
            walk[j][0] = 0
        dims = 1
    for j in range(p.nin):
        line[j] = inputs[j].data if p.used >> j & 1 else NULL
    line[p.nin] = <char *>cnp.PyArray_DATA(out)
    with nogil:
        for j in range(p.nin + 1):
            steps[j] = walk[j][dims - 1]
        for i in range(dims):
            index[i] = 0
        while True:
            run_line(p, line, steps, line[p.nin], steps[p.nin], size[dims - 1], accumulate)
            i = dims - 2
            while i >= 0:
                index[i] += 1
                for j in range(p.nin + 1):
                    line[j] += walk[j][i]
                if index[i] < size[i]:
                    break
                for j in range(p.nin + 1):
                    line[j] -= walk[j][i] * size[i]
                index[i] = 0
                i -= 1
            if i < 0:
                break
    return 0
