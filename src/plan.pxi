# The planner: from a recording to a program of the replay machine.
#
#   simplify     one pass over the nodes: what is another value under a second name is replaced by it, equal
#                calls become one, what no result needs is dropped; all of it keeps every bit
#   classify     how each node is done: scalar, group (elementwise or a reduction), view, product, ..., Python
#   schedule     units in an order that respects the operands: scalars and single steps as soon as possible,
#                elementwise nodes as late as possible, so that as many as can be share a group
#   lay out      which part of the arena each value has, and when another one may have it
#   emit         the machine's tables

# --- memory --------------------------------------------------------------------------------------------

@cython.final
cdef class Buffer:
    """A stretch of memory: a part of the arena, or behind a base pointer of its own."""
    cdef int base               # 0: the arena
    cdef bint pinned            # read or written by scalar instructions: must stay in the arena
    cdef Py_ssize_t offset, nbytes
    cdef int first, last        # units between which it is in use
    cdef object sample


cdef Buffer new_buffer(Py_ssize_t nbytes):
    cdef Buffer b = Buffer.__new__(Buffer)
    b.nbytes = nbytes
    b.first = INT_MAX
    b.last = -1
    return b


@cython.final
cdef class Spot:
    """An array in a buffer."""
    cdef Buffer buffer
    cdef Py_ssize_t offset, size
    cdef tuple shape, strides
    cdef cnp.dtype dtype
    cdef char code              # 0 for a dtype that the loops do not know
    cdef int width
    cdef bint contiguous

    cdef inline Place at(self) noexcept:
        cdef Place p
        p.base = self.buffer.base
        p.offset = self.offset + (self.buffer.offset if p.base == 0 else 0)
        return p

    cdef cnp.ndarray fresh(self):
        """A new array for a result."""
        cdef cnp.npy_intp dims[64]
        cdef int i, ndim = <int>PyTuple_GET_SIZE(self.shape)
        for i in range(ndim):
            dims[i] = <object>PyTuple_GET_ITEM(self.shape, i)
        return new_array(ndim, dims, self.dtype.type_num, self.width)

    cdef cnp.ndarray array(self, Frame f, int writeable=0):
        """The array as NumPy sees it in a run."""
        cdef Place p = self.at()
        return self.view_of(f.bases[p.base] + p.offset, f.owners[p.base], writeable)

    cdef cnp.ndarray view_of(self, char *data, object owner, int writeable):
        cdef cnp.npy_intp dims[64]
        cdef cnp.npy_intp strides[64]
        cdef int i, ndim = <int>PyTuple_GET_SIZE(self.shape)
        cdef cnp.ndarray a
        for i in range(ndim):
            dims[i] = <object>PyTuple_GET_ITEM(self.shape, i)
            strides[i] = <object>PyTuple_GET_ITEM(self.strides, i)
        Py_INCREF(self.dtype)           # NewFromDescr takes a reference
        a = PyArray_NewFromDescr(cnp.ndarray, self.dtype, ndim, dims, strides, data,
                                 cnp.NPY_ARRAY_ALIGNED | writeable, <object>NULL)
        cnp.set_array_base(a, owner)
        return a

    cdef cnp.ndarray sample(self):
        """An array of the same layout with its own memory, of which NumPy may take views while planning."""
        cdef Buffer b = self.buffer
        if b.sample is None:
            b.sample = np_empty(max(b.nbytes, 1), np_uint8)
        return self.view_of(<char *>cnp.PyArray_DATA(<cnp.ndarray>b.sample) + self.offset, b.sample, 0)


cdef char code_of(object dtype) except? 1:
    """The type code of a dtype that the compiled loops know, else 0."""
    cdef int number = (<cnp.dtype>dtype).type_num
    if not dtype.isnative:
        return 0
    return b"?" if number == cnp.NPY_BOOL else type_code(number)


cdef Spot new_spot(Buffer buffer, Py_ssize_t offset, tuple shape, tuple strides, object dtype):
    cdef Spot s = Spot.__new__(Spot)
    cdef Py_ssize_t step, i
    s.buffer = buffer
    s.offset = offset
    s.shape = shape
    s.strides = strides
    s.dtype = dtype
    s.code = code_of(dtype)
    s.width = dtype.itemsize
    s.size = math_prod(shape)
    step = s.width
    s.contiguous = True
    for i in range(len(shape) - 1, -1, -1):
        if shape[i] != 1 and strides[i] != step:
            s.contiguous = False
        step *= shape[i]
    return s


cdef tuple packed_strides(tuple shape, Py_ssize_t width):
    cdef list strides = []
    cdef Py_ssize_t n
    for n in reversed(shape):
        strides.append(width)
        width *= max(n, 1)
    strides.reverse()
    return tuple(strides)


cdef tuple strides_tuple(cnp.ndarray a):
    cdef int i
    return tuple([cnp.PyArray_STRIDES(a)[i] for i in range(cnp.PyArray_NDIM(a))])


cdef Spot packed_spot(tuple shape, object dtype):
    """An array of its own, in C order."""
    cdef Py_ssize_t width = dtype.itemsize
    return new_spot(new_buffer(math_prod(shape) * width), 0, shape, packed_strides(shape, width), dtype)


cdef Spot spot_of_view(Spot base, cnp.ndarray view, cnp.ndarray sample):
    """Where a view that NumPy took of a sample lies; None if it is no view."""
    cdef Py_ssize_t offset = <char *>cnp.PyArray_DATA(view) - <char *>cnp.PyArray_DATA(sample)
    if cnp.PyArray_SIZE(view) and owner(<PyObject *>view) != owner(<PyObject *>sample):
        return None
    return new_spot(base.buffer, base.offset + offset, shape_tuple(view), strides_tuple(view), view.dtype)


# --- simplify -----------------------------------------------------------------------------------------------

cdef inline object resolved(object a):
    while type(a) is Node and (<Node>a).same is not None:
        a = (<Node>a).same
    return a


cdef bint uniform(object a, double *value) except -1:
    """Whether a constant is one real number, or an array of one number throughout that nobody can change."""
    if type(a) is float or type(a) is np_float64 or type(a) is int and -2**53 < a < 2**53:
        value[0] = a
        return True
    if type(a) is np_float32:
        value[0] = a
        return True
    if cnp.PyArray_CheckExact(a) and cnp.PyArray_SIZE(<cnp.ndarray>a) > 0 and not a.flags.writeable \
            and a.dtype.kind == "f" and not any(a.strides) and not changeable(a):
        value[0] = a.flat[0]
        return True
    return False


cdef bint changeable(object view) except -1:
    """Whether somebody else has the memory that a read-only view looks at."""
    cdef object base = view.base
    while base is not None:
        # Ours is one reference, the view's another.
        if not cnp.PyArray_Check(base) or base.flags.writeable and Py_REFCNT(base) > 2:
            return True
        base = base.base
    return False


cdef bint alike_nodes(Node n, object a) except -1:
    """Whether an operand has the shape and dtype of a node."""
    if type(a) is not Node or (<Node>a).meta is None:
        return False
    return (<Node>a).meta.shape == n.meta.shape and (<Node>a).meta.dtype == n.meta.dtype \
        and (<Node>a).weak == n.weak and (<Node>a).array0 == n.array0


cdef object another_name(Node n):
    """The operand whose value the node has, bit for bit; None if it computes something."""
    cdef double value = 0.0
    cdef Primitive p = n.prim
    cdef object first = n.args[0] if n.args else None
    if not p.ours:
        return None
    if p is P_MUL and len(n.args) == 2:
        if uniform(first, &value) and value == 1.0 and alike_nodes(n, n.args[1]):
            return n.args[1]
        if uniform(n.args[1], &value) and value == 1.0 and alike_nodes(n, first):
            return first
    elif p is P_DIV and uniform(n.args[1], &value) and value == 1.0 and alike_nodes(n, first):
        return first
    elif p is P_NEG and type(first) is Node and (<Node>first).prim is P_NEG and alike_nodes(n, first):
        return (<Node>first).args[0] if alike_nodes(n, (<Node>first).args[0]) else None
    elif p.name in SAME_VALUE and alike_nodes(n, first):
        return first
    elif p.name == "conjugate" and n.meta.dtype.kind != "c" and alike_nodes(n, first):
        return first
    elif p.name == "constant_like" and len(n.args) == 2 and cnp.PyArray_CheckExact(n.args[1]):
        return n.args[1]
    return None


# Functions that return the value of their first argument where shape and dtype stay the same.
cdef frozenset SAME_VALUE = frozenset(("positive", "reshape", "broadcast_to", "astype", "copy", "squeeze"))


cdef object operand_key(object a):
    cdef double d
    cdef long long bits
    if type(a) is Node:
        return (<Node>a).number
    if type(a) is float or type(a) is np_float64:
        d = a
        memcpy(&bits, &d, 8)
        return (type(a), bits)
    if type(a) is int or type(a) is str or a is None or type(a) is bool:
        return (type(a), a)
    if type(a) is slice:
        return (slice, operand_key(a.start), operand_key(a.stop), operand_key(a.step))
    if type(a) is tuple:
        return tuple([operand_key(v) for v in a])
    return (type(a), id(a))


cdef object node_key(Node n):
    cdef list key = [id(n.prim), n.weak, n.array0]
    for a in n.args:
        key.append(operand_key(a))
    if n.kwargs is not None:
        for name in sorted(n.kwargs):
            key.append(name)
            key.append(operand_key(n.kwargs[name]))
    return tuple(key)


cdef list simplified(Recording r, bint fastmath):
    """The nodes that the program needs, each value once, in order and numbered again."""
    cdef list nodes = [], live = []
    cdef dict seen = {}, guarded = {}
    cdef Node n
    cdef object a, same
    cdef bint changed
    if fastmath:
        count_uses(r)
    for n in r.nodes:
        changed = False
        for a in n.args:
            if type(a) is Node and (<Node>a).same is not None:
                changed = True
                break
        if changed:
            n.args = tuple([resolved(a) for a in n.args])
        if n.kind == GUARD_NODE:
            if type(n.args[0]) is not Node or (<Node>n.args[0]).number in guarded:
                continue
            guarded[(<Node>n.args[0]).number] = n
        elif n.kind == CALL_NODE:
            if fastmath and n.meta is not None:
                relax(nodes, seen, n)
            same = another_name(n) if n.meta is not None else None
            if same is None and n.prim is not P_ZEROS:
                key = node_key(n)
                same = seen.get(key)
                if same is None:
                    seen[key] = n
            if same is not None:
                n.same = same
                continue
            if n.meta is not None:
                split_node(nodes, n)
        numbered(nodes, n)
    r.results = [resolved(a) for a in r.results]
    r.updates = [(i, resolved(a)) for i, a in r.updates]
    for a in r.results:
        want(a)
    for _, a in r.updates:
        want(a)
    for n in reversed(nodes):
        if n.wanted or n.kind != CALL_NODE:
            n.wanted = True
            for a in n.args:
                want(a)
    for n in nodes:
        if n.wanted:
            numbered(live, n)
    return live


cdef inline void want(object a) noexcept:
    if type(a) is Node:
        (<Node>a).wanted = True


cdef int split_node(list nodes, Node n) except -1:
    """Calls that are made of others which the machine has."""
    if n.kwargs is not None and (n.prim is P_MEAN or n.prim.name in REDUCTIONS):
        drop_defaults(n)
    if n.prim is P_MEAN:
        return split_mean(nodes, n)
    if n.prim.ours and n.prim.name in REDUCTIONS:
        return split_reduction(nodes, n)
    if n.prim is hooks["cross3"]:
        return split_cross(nodes, n)
    if n.prim is hooks["count_true"]:
        return split_count(nodes, n)
    if n.prim.ours and (n.prim.name == "tril" or n.prim.name == "triu"):
        return split_triangle(n)
    if n.prim is hooks["scatter"] and is_basic(n.args[1]) and n.meta.shape:
        n.args = (numbered(nodes, zeros_node(n.meta)), n.args[0], n.args[1])
        n.prim = <Primitive>hooks["setitem"]
    return 0


cdef int drop_defaults(Node n) except -1:
    """Keywords of a reduction that change nothing."""
    cdef dict kwargs = {}
    for name, value in n.kwargs.items():
        if name == "where" and value is True or value is None and name in ("out", "dtype") \
                or name == "keepdims" and (value is False or value is np_novalue) \
                or name == "initial" and value is np_novalue:
            continue
        kwargs[name] = value
    n.kwargs = kwargs if kwargs else None
    return 0


cdef bint reduces_axes(Node n) except -1:
    """Whether a reduction is one of a node over axes, and nothing else is asked for."""
    return type(n.args[0]) is Node and len(n.args) <= 2 \
        and (n.kwargs is None or n.kwargs.keys() <= {"axis", "keepdims"})


cdef int split_mean(list nodes, Node n) except -1:
    """A mean as NumPy computes it: a sum, divided by the number of items."""
    cdef Node x, total
    if not reduces_axes(n):
        return 0
    x = <Node>n.args[0]
    if x.meta.dtype.char not in "df" or n.meta.dtype != x.meta.dtype or not x.meta.size or not n.meta.size:
        return 0
    total = new_node(CALL_NODE, P_SUM, n.args, n.kwargs, n.meta)
    split_reduction(nodes, total)
    numbered(nodes, total)
    n.prim = P_DIV
    n.args = (total, float(x.meta.size // n.meta.size))
    n.kwargs = None
    return 0


# --- classify -----------------------------------------------------------------------------------------------

cdef enum Category:
    K_INPUT
    K_SCALAR        # an instruction of the scalar interpreter
    K_PICK          # an item of a float64 array, as a scalar
    K_ADD_ITEM      # adds a scalar to an item of a float64 array
    K_ITEMS         # an array from scalars
    K_GUARD
    K_VIEW          # nothing to do
    K_ELEMENTWISE   # joins a group
    K_REDUCTION     # joins a group over its argument
    K_UPDATE        # joins a group: changes a part of an array
    K_ZEROS
    K_PRODUCT
    K_JOIN          # an array from arrays, by copies
    K_ROUTINE       # linear algebra
    K_MOVE          # items to other places
    K_PYTHON

cdef dict REDUCTIONS = {"sum": np.add, "max": np.maximum, "min": np.minimum, "amax": np.maximum,
                        "amin": np.minimum, "prod": np.multiply}


cdef inline bint joins_group(Node n) noexcept:
    return n.category == K_ELEMENTWISE or n.category == K_REDUCTION or n.category == K_UPDATE


cdef char operand_code(object a, bint *weak) except? 1:
    """Type code of an operand, 0 if the loops do not know it; `weak` for Python's numbers."""
    weak[0] = False
    if type(a) is Node:
        weak[0] = (<Node>a).weak
        return code_of((<Node>a).meta.dtype) if (<Node>a).meta is not None else 0
    if type(a) is bool:
        return b"?"
    if type(a) is float or type(a) is int:
        weak[0] = True
        return b"d"
    if type(a) is complex:
        weak[0] = True
        return b"D"
    if cnp.PyArray_CheckExact(a):
        return code_of(a.dtype) if cnp.PyArray_ISALIGNED(<cnp.ndarray>a) else 0
    if isinstance(a, np_generic):
        return code_of(a.dtype)
    return 0


cdef bint can_cast(char have, char need) noexcept:
    return have == need or cast_loop(have, need) != NULL


cdef Loop cast_loop(char have, char need) noexcept:
    if have == b"f" and need == b"d":
        return <Loop>cast_f_d
    if have == b"d" and need == b"f":
        return <Loop>cast_d_f
    if have == b"d" and need == b"D":
        return <Loop>cast_d_D
    if have == b"?" and need == b"d":
        return <Loop>cast_b_d
    if have == b"d" and need == b"?":
        return <Loop>cast_d_b
    return NULL


cdef bint plan_elementwise(Node n) except -1:
    """Finds the inner loop of an elementwise call: `n.loop` for operands of type codes `n.codes`."""
    cdef Primitive p = n.prim
    cdef Py_ssize_t i, count = len(n.args)
    cdef bint weak = False
    cdef char out = 0, code, need, result = code_of(n.meta.dtype)
    cdef list have = [], loose = []
    cdef object codes
    if n.kwargs is not None or count == 0 or count > 4 or result == 0:
        return False
    if not p.is_ufunc and p is not P_WHERE:
        return False
    for i in range(count):
        code = operand_code(n.args[i], &weak)
        if code == 0:
            return False
        have.append(code)
        loose.append(weak)
    # Python's numbers take the type of the others, or of the result.
    need = result
    if result == b"?":
        need = 0
        for i in range(count):
            if not loose[i] and have[i] != b"?"[0] and have[i] != need:
                if need:
                    return False
                need = have[i]
        if need == 0:
            need = b"d"
    for attempt in range(2):
        codes = bytes([have[i] if have[i] == b"?"[0] else need if loose[i] or attempt else have[i]
                       for i in range(count)])
        n.loop = p.find_loop(codes, &out)
        if n.loop.fn == NULL or out != result:
            continue
        for i in range(count):
            if not can_cast(have[i], codes[i]) and not (loose[i] and type(n.args[i]) is not Node):
                return False
        n.codes = codes
        return True
    return False


cdef inline bint is_scalar_operand(object a) except -1:
    cdef double value
    if type(a) is Node:
        return (<Node>a).scalar
    if type(a) is float:
        return True
    if type(a) is bool or type(a) is np_bool:
        return True
    return not cnp.PyArray_Check(a) and uniform(a, &value)


cdef bint plan_scalar(Node n) except -1:
    """Whether the scalar interpreter does it: a float64 or a truth value from such."""
    cdef Primitive p = n.prim
    cdef int op
    cdef Py_ssize_t count = PyTuple_GET_SIZE(n.args)
    if n.kwargs is not None or PyTuple_GET_SIZE(n.meta.shape) or count == 0 or count > 3:
        return False
    if not p.is_ufunc and p is not P_WHERE and not (p.ours and p.name in SCALAR_CODES):
        return False
    for a in n.args:
        if not is_scalar_operand(a):
            return False
    if not p.scalar_known:
        find_scalar(p)
    op = p.scalar_code
    if op < 0 or (n.meta is not META_FLOAT64 and n.meta.dtype != DTYPE_FLOAT64
                  and not (n.meta.dtype == np_bool and S_LT <= op <= S_NOT)):
        return False
    if op == S_CALL1 or op == S_CALL2:
        if count != p.nin:
            return False
        n.loop = p.scalar_loop
    elif op == S_SELECT and (count != 3 or not is_truth(n.args[0])):
        return False
    elif S_AND <= op <= S_NOT and not all([is_truth(a) for a in n.args]):
        return False
    n.op = op
    return True


cdef bint is_truth(object a) except -1:
    if type(a) is Node:
        return (<Node>a).meta.dtype == np_bool
    return type(a) is bool or type(a) is np_bool


cdef Spot const_spot(ReplayProgram program, dict bases, cnp.ndarray a):
    """An array constant: behind a base pointer of its own, read where it lies."""
    cdef Buffer b
    cdef object key = id(a)
    if key not in bases:
        program.constants.append(a)
        b = new_buffer(0)
        b.base = <int>(program.size + len(program.constants))
        b.sample = a
        bases[key] = new_spot(b, 0, shape_tuple(a), strides_tuple(a), a.dtype)
    return bases[key]


cdef bint plan_view(Node n, Spot base) except -1:
    """Takes the view that NumPy would take, of a sample; False where NumPy makes a copy."""
    cdef cnp.ndarray sample = base.sample()
    view = n.prim.fun(sample, *n.args[1:], **(n.kwargs or {}))
    if not cnp.PyArray_CheckExact(view):
        return False
    n.spot = spot_of_view(base, view, sample)
    return n.spot is not None


cdef frozenset VIEWS = frozenset(("broadcast_to", "diag", "getitem", "real"))


@cython.final
cdef class PythonStep:
    """A step that runs in Python: a call, a guard on something else than a truth value, or a check."""
    cdef Node node
    cdef list operands          # Spot, Node (of an object), or a constant
    cdef list addresses         # of scalars: register address, else -1
    cdef int guard              # number of the guard, or -1
    cdef int object_number      # where an object goes, or -1
    cdef Spot out
    cdef Py_ssize_t address     # where a scalar result goes, or -1

    cdef object operand(self, Frame f, Py_ssize_t i):
        cdef object o = self.operands[i]
        cdef Py_ssize_t address = self.addresses[i]
        cdef cnp.ndarray a
        cdef bint weak
        if type(o) is Spot:
            a = (<Spot>o).array(f)
            return a if (<Spot>o).shape or (<Node>self.node.args[i]).array0 else a[()]
        if type(o) is not Node:
            return o
        if address >= 0:
            # As when it was recorded: only ufuncs tell a Python float from a float64.
            weak = (<Node>o).weak and self.node.prim is not None and self.node.prim.is_ufunc
            return scalar_object((<double *>f.arena.data)[address], <Node>o, weak)
        return f.objects[(<Node>o).object_number]

    cdef int run(self, Frame f) except -2:
        """Does the step; returns -1, or the number of the guard that failed."""
        cdef Node n = self.node
        cdef list args = [self.operand(f, i) for i in range(len(self.operands))]
        cdef object value
        if n.kind == GUARD_NODE:
            return -1 if bool(args[0]) == n.outcome else self.guard
        value = n.prim.fun(*args, **(n.kwargs or {}))
        if n.kind == CHECK_NODE:
            return -1 if type(value) is type(n.outcome) and value == n.outcome else self.guard
        if self.object_number >= 0:
            f.objects[self.object_number] = [owned(item) for item in value]
            return -1
        if getattr(value, "shape", ()) != n.meta.shape \
                or getattr(value, "dtype", DTYPE_FLOAT64) != n.meta.dtype:
            raise ReplayMismatch("%s returned another shape or dtype than when it was recorded" % n.prim.name)
        if self.address >= 0:
            (<double *>f.arena.data)[self.address] = value
        else:
            self.out.array(f, cnp.NPY_ARRAY_WRITEABLE)[...] = value
        return -1


cdef object owned(object a):
    """An item of a result; a copy of a view, whose memory the program may use for something else."""
    return a.copy() if cnp.PyArray_Check(a) and a.base is not None else a


cdef object scalar_object(double d, Node n, bint weak):
    """The value of a register as eager mode has it."""
    if n.array0:
        return np_array(d)
    if n.meta.dtype == np_bool:
        return np_bool(d != 0.0)
    return d if weak else float64(d)


class ReplayMismatch(Exception):
    """A step of a replay gave a value of another shape or type: the function must run by itself."""


# --- the planner --------------------------------------------------------------------------------------------

cdef enum:
    GROUP_LIMIT = 400       # nodes in a group


@cython.final
cdef class Planner:
    cdef ReplayProgram program
    cdef Recording recording
    cdef list nodes
    cdef dict bases             # of array constants, by id
    cdef list units             # lists of nodes
    cdef int *first_edge        # by node: its first edge to a consumer, or -1
    cdef int *edge_to           # by edge: the consumer's number
    cdef int *edge_next         # by edge: the next one of the same node, or -1
    cdef int *heap              # numbers of nodes that can be done, the smallest first
    cdef int nready, nedges
    cdef dict pending           # group shape -> heap of numbers
    cdef list returned          # the results as recorded, before equal values became one
    cdef list late              # nodes that depend on seeds, while there are others
    cdef Py_ssize_t body_unit   # the first unit that depends on seeds
    cdef bint in_body
    cdef dict guard_numbers     # by id of a node
    cdef unsigned int scalar_base
    cdef list free_registers
    cdef unsigned int nregisters
    cdef dict constant_registers

    def __dealloc__(self):
        PyMem_Free(self.first_edge)
        PyMem_Free(self.edge_to)
        PyMem_Free(self.edge_next)
        PyMem_Free(self.heap)

    # --- classify ---------------------------------------------------------------------------

    cdef Spot spot_of(self, object a):
        """Where an array operand lies; a place of its own, if it has none yet."""
        cdef Node n
        if type(a) is not Node:
            return const_spot(self.program, self.bases, <cnp.ndarray?>a)
        n = <Node>a
        if n.spot is None:
            n.spot = packed_spot(n.meta.shape, n.meta.dtype)
        return n.spot

    cdef int classify(self, Node n) except -1:
        cdef object first = n.args[0] if n.args else None
        n.category = K_PYTHON
        if n.kind == INPUT_NODE:
            n.category = K_INPUT
            n.scalar = not n.meta.shape and n.meta.dtype == DTYPE_FLOAT64
            return 0
        if n.kind == GUARD_NODE:
            n.category = K_GUARD
            return 0
        if n.kind != CALL_NODE or n.meta is None:
            return 0
        n.scalar = n.meta is META_FLOAT64 or not n.meta.shape and n.meta.dtype == DTYPE_FLOAT64
        if plan_scalar(n):
            n.category = K_SCALAR
            n.scalar = True
        elif n.prim is P_ZEROS and n.meta.shape:
            n.category = K_ZEROS
        elif n.prim is P_GETITEM and type(first) is Node and self.plan_pick(n, <Node>first):
            n.category = K_PICK
        elif plan_elementwise(n):
            n.category = K_ELEMENTWISE
            n.shape = n.meta.shape
        elif not n.prim.ours:
            return 0
        elif plan_cast(n):
            n.category = K_ELEMENTWISE
            n.shape = n.meta.shape
        elif type(first) is Node and (<Node>first).meta is not None and n.meta.shape and n.meta.size \
                and (n.prim.view or n.prim.name in VIEWS) and self.no_nodes(n.args[1:]) \
                and not (<Node>first).scalar and (n.prim is not P_GETITEM or is_basic(n.args[1])) \
                and plan_view(n, self.spot_of(first)):
            n.category = K_VIEW
        elif n.prim.name in REDUCTIONS and self.plan_reduction(n):
            n.category = K_REDUCTION
        elif self.plan_update(n):
            pass
        elif (n.prim is P_MATMUL or n.prim is P_DOT) and self.plan_product(n):
            n.category = K_PRODUCT
        elif n.prim.name == "array" and self.plan_items(n) or plan_spread(n):
            n.category = K_ITEMS
        elif n.prim.name in ("concatenate", "stack") and self.plan_join(n):
            n.category = K_JOIN
        elif plan_routine(self, n):
            n.category = K_ROUTINE
        elif plan_move(self, n):
            n.category = K_MOVE
        return 0

    cdef bint no_nodes(self, args) except -1:
        for a in args:
            if type(a) is Node:
                return False
        return True

    cdef bint plan_pick(self, Node n, Node x) except -1:
        """One item of a float64 array by a fixed index."""
        cdef Spot s
        if not n.scalar or x.meta is None or x.meta.dtype != DTYPE_FLOAT64 or not x.meta.shape:
            return False
        s = self.spot_of(x)
        item = s.sample()[n.args[1] if type(n.args[1]) is tuple else (n.args[1],)]
        if type(item) is not np_float64:
            return False
        return plan_item(n, s, n.args[1])

    cdef bint plan_update(self, Node n) except -1:
        """``x[index] = value`` and ``x[index] += g`` by basic indexing."""
        cdef Node x
        cdef Spot s
        cdef cnp.ndarray sample
        cdef char out = 0, code
        cdef bint weak = False, adds = n.prim.name == "index_add"
        if not adds and n.prim.name != "setitem" or len(n.args) != 3 or n.kwargs is not None:
            return False
        value, index = n.args[1], n.args[2]
        if type(n.args[0]) is not Node or not is_basic(index):
            return False
        x = <Node>n.args[0]
        if x.meta.shape != n.meta.shape or x.meta.dtype != n.meta.dtype or not n.meta.shape:
            return False
        code = code_of(n.meta.dtype)
        if code == 0 or code == b"?":
            return False
        take_over(self, n, x)
        s = self.spot_of(n)
        sample = s.sample()
        part = sample[index]
        if adds and type(part) is np_float64 and n.meta.dtype == DTYPE_FLOAT64 and is_scalar_operand(value):
            if not n.in_place or not plan_item(n, s, index):
                return False
            n.category = K_ADD_ITEM
            s.buffer.pinned = True
            return True
        if not cnp.PyArray_CheckExact(part):
            part = sample[(*index, ...) if type(index) is tuple else (index, ...)]
        n.part = spot_of_view(s, part, sample)
        if n.part is None:
            return False
        have = operand_code(value, &weak)
        if not can_cast(have, code) and not (weak and type(value) is not Node):
            return False
        n.loop = (P_ADD if adds else P_POS).find_loop(bytes([code, code] if adds else [code]), &out)
        if n.loop.fn == NULL or out != code:
            return False
        n.codes = bytes([code])
        n.shape = n.part.shape
        n.category = K_UPDATE
        return True

    cdef bint plan_reduction(self, Node n) except -1:
        """A reduction over all, the first or the last axes of a float array."""
        cdef Node x
        cdef char code, out = 0
        if not reduces_axes(n):
            return False
        x = <Node>n.args[0]
        code = code_of(x.meta.dtype)
        if code == 0 or code == b"?" or n.meta.dtype != x.meta.dtype or not x.meta.shape or not x.meta.size:
            return False
        if x.scalar:
            return False
        axis = n.args[1] if len(n.args) > 1 else n.kwargs.get("axis") if n.kwargs is not None else None
        ndim = len(x.meta.shape)
        if axis is None:
            axes = set(range(ndim))
        elif type(axis) is int:
            axes = {axis % ndim}
        elif type(axis) is tuple:
            axes = {a % ndim for a in axis}
        else:
            return False
        long_axes = [i for i in range(ndim) if x.meta.shape[i] != 1]
        reduced = [i in axes for i in long_axes]
        kept = [x.meta.shape[i] for i in long_axes if i not in axes]
        if all(reduced):
            n.op = REDUCE_ALL
            n.inner = 1
        elif reduced == sorted(reduced, reverse=True):
            n.op = REDUCE_LEADING
            n.inner = math_prod(kept)
            if n.inner == x.meta.size:
                return False
        elif reduced == sorted(reduced):
            n.op = REDUCE_TRAILING
            n.inner = x.meta.size // math_prod(kept)
            if n.inner == 1:
                return False
        elif not plan_middle(n, x.meta.shape, axes):
            return False
        ufunc = REDUCTIONS[n.prim.name]
        n.loop = find_loop(ufunc, bytes([code, code]), &out)
        if n.loop.fn == NULL or out != code:
            return False
        n.codes = bytes([code])
        n.seeded = ufunc is np_maximum or ufunc is np_minimum
        n.initial = 1.0 if ufunc is np_multiply else 0.0
        n.shape = x.meta.shape
        return True

    cdef bint plan_product(self, Node n) except -1:
        """A product of vectors and matrices of one float type, or of stacks of matrices (`matmul` only)."""
        cdef char code = code_of(n.meta.dtype)
        cdef bint weak = False
        cdef int ndim = 0
        cdef tuple batch
        if n.kwargs is not None or len(n.args) != 2 or (code != b"d" and code != b"f") or not n.meta.size:
            return False
        for a in n.args:
            if type(a) is not Node and not cnp.PyArray_CheckExact(a) or operand_code(a, &weak) != code:
                return False
            meta = (<Node>a).meta if type(a) is Node else meta_of(a)
            if not meta.shape or not meta.size:
                return False
            ndim = max(ndim, <int>len(meta.shape))
        if ndim <= 2:
            return True
        if n.prim is not P_MATMUL:
            return False
        batch = n.meta.shape[:ndim - 2]
        return batch_stride(self.spot_of(n.args[0]), batch) >= 0 \
            and batch_stride(self.spot_of(n.args[1]), batch) >= 0

    cdef bint plan_items(self, Node n) except -1:
        """An array of one axis from scalars."""
        if n.meta.dtype != DTYPE_FLOAT64 or len(n.meta.shape) != 1 or n.kwargs is not None or len(n.args) < 2:
            return False
        if n.meta.shape[0] != len(n.args) - 1:
            return False
        for a in n.args[1:]:
            if not is_scalar_operand(a):
                return False
        self.spot_of(n).buffer.pinned = True
        return True

    cdef bint plan_join(self, Node n) except -1:
        """Arrays beside one another: every part is copied to its place."""
        if n.kwargs is not None or type(n.args[0]) is not int:
            return False
        for a in n.args[1:]:
            if type(a) is Node:
                if (<Node>a).meta is None or (<Node>a).meta.dtype != n.meta.dtype or (<Node>a).scalar:
                    return False
            elif not cnp.PyArray_CheckExact(a) or a.dtype != n.meta.dtype:
                return False
        return bool(n.meta.size)

    # --- schedule ---------------------------------------------------------------------------

    cdef int connect(self) except -1:
        """The edges from nodes to their consumers."""
        cdef Py_ssize_t n = len(self.nodes), nedges = 0
        cdef int i
        cdef Node node
        cdef object a
        cdef Node guard = None, late_guard = None, after
        for node in self.nodes:
            nedges += len(node.args) + 1
        if nedges > INT_MAX - 1:
            raise OverflowError("a program of more than 2**31 operands")
        self.first_edge = <int *>PyMem_Malloc((n + 1) * sizeof(int))
        self.heap = <int *>PyMem_Malloc((n + 1) * sizeof(int))
        self.edge_to = <int *>PyMem_Malloc((nedges + 1) * sizeof(int))
        self.edge_next = <int *>PyMem_Malloc((nedges + 1) * sizeof(int))
        if self.first_edge == NULL or self.heap == NULL or self.edge_to == NULL or self.edge_next == NULL:
            raise MemoryError("a program of %d nodes" % n)
        for i in range(<int>n):
            self.first_edge[i] = -1
        for node in self.nodes:
            node.waiting = 0
            for a in node.args:
                if type(a) is Node:
                    self.add_edge(<Node>a, node)
            # Guards keep their order, and nothing that may raise, in Python or a routine, runs before a guard
            # that would have led elsewhere.
            if node.category == K_PYTHON or node.category == K_ROUTINE or node.category == K_GUARD:
                after = late_guard if node.late else guard
                if after is not None:
                    self.add_edge(after, node)
                if node.kind >= GUARD_NODE and node.late:
                    late_guard = node
                elif node.kind >= GUARD_NODE:
                    guard = node
        return 0

    cdef inline void add_edge(self, Node source, Node to) noexcept:
        self.edge_to[self.nedges] = to.number
        self.edge_next[self.nedges] = self.first_edge[source.number]
        self.first_edge[source.number] = self.nedges
        self.nedges += 1
        to.waiting += 1

    cdef inline Node node_at(self, int number):
        return <Node>PyList_GET_ITEM(self.nodes, number)

    cdef void push_ready(self, int number) noexcept:
        cdef int i = self.nready, up
        self.nready += 1
        while i > 0:
            up = (i - 1) >> 1
            if self.heap[up] <= number:
                break
            self.heap[i] = self.heap[up]
            i = up
        self.heap[i] = number

    cdef int pop_ready(self) noexcept:
        cdef int top = self.heap[0], last, i = 0, child
        self.nready -= 1
        last = self.heap[self.nready]
        while True:
            child = 2 * i + 1
            if child >= self.nready:
                break
            if child + 1 < self.nready and self.heap[child + 1] < self.heap[child]:
                child += 1
            if self.heap[child] >= last:
                break
            self.heap[i] = self.heap[child]
            i = child
        self.heap[i] = last
        return top

    cdef int schedule(self) except -1:
        cdef Node n
        self.connect()
        self.units = []
        self.pending = {}
        self.late = []
        for n in self.nodes:
            if n.waiting == 0:
                self.route(n)
        self.do_ready()
        self.body_unit = len(self.units)
        self.in_body = True
        for n in self.late:
            self.route(n)
        if self.late:
            self.units.append([])       # scalars of the body do not join those before it
            self.do_ready()
        return 0

    cdef int do_ready(self) except -1:
        while self.nready or self.pending:
            if self.nready:
                self.do_single(self.node_at(self.pop_ready()))
            else:
                self.do_group(min(self.pending, key=self.first_pending))
        return 0

    def first_pending(self, key):
        return self.pending[key][0]

    cdef int route(self, Node n) except -1:
        if n.late and not self.in_body:
            self.late.append(n)
            return 0
        if joins_group(n):
            if n.shape not in self.pending:
                self.pending[n.shape] = []
            heappush(self.pending[n.shape], n.number)
        else:
            self.push_ready(n.number)
        return 0

    cdef int do_single(self, Node n) except -1:
        cdef Node c
        cdef int edge
        cdef list last
        cdef bint scalar = n.category == K_SCALAR or n.category == K_PICK or n.category == K_ADD_ITEM \
            or n.category == K_ITEMS or n.category == K_GUARD
        if n.category == K_VIEW or n.category == K_INPUT:
            n.step = <int>len(self.units)
        else:
            last = <list>self.units[len(self.units) - 1] if self.units else None
            if not scalar or not last or not (<Node>last[0]).in_scalars:
                last = []
                self.units.append(last)
            n.in_scalars = scalar
            last.append(n)
            n.step = <int>len(self.units) - 1
        edge = self.first_edge[n.number]
        while edge >= 0:
            c = self.node_at(self.edge_to[edge])
            edge = self.edge_next[edge]
            c.waiting -= 1
            if c.waiting == 0:
                self.route(c)
        return 0

    cdef int do_group(self, tuple shape) except -1:
        """All elementwise nodes of that shape that can be done now, in one group."""
        cdef list heap = self.pending.pop(shape), group = [], after = []
        cdef Node n, c
        cdef int edge, unit = <int>len(self.units)
        self.units.append(group)
        while heap and len(group) < GROUP_LIMIT:
            n = <Node>self.nodes[heappop(heap)]
            n.step = unit
            group.append(n)
            edge = self.first_edge[n.number]
            while edge >= 0:
                c = self.node_at(self.edge_to[edge])
                edge = self.edge_next[edge]
                c.waiting -= 1
                if n.category != K_ELEMENTWISE or c.category == K_UPDATE and c.args[0] is n:
                    c.barrier = unit + 1
                if c.waiting == 0:
                    if c.barrier != unit + 1 and c.shape == shape and c.late == n.late and joins_group(c):
                        heappush(heap, c.number)
                    else:
                        after.append(c)
        if heap:
            self.pending[shape] = heap
        for c in after:
            self.route(c)
        return 0

    # --- lay out ----------------------------------------------------------------------------

    cdef bint leaves_group(self, Node n) except -1:
        """Whether the result of a group's node is needed behind the group."""
        cdef int edge = self.first_edge[n.number]
        if n.kept:
            return True
        while edge >= 0:
            if self.node_at(self.edge_to[edge]).step != n.step:
                return True
            edge = self.edge_next[edge]
        return False

    cdef int lay_out(self) except -1:
        """Lifetimes of buffers, then offsets in the arena: the first gap that is large enough."""
        cdef Node n
        cdef Buffer b
        cdef object a
        cdef dict begin = {}, end = {}
        cdef list gaps = []
        cdef Py_ssize_t top = 0
        cdef int u
        for n in self.nodes:
            if n.category == K_ELEMENTWISE and not n.scalar:
                n.stored = self.leaves_group(n)
                if not n.stored:
                    n.spot = None
        for n in self.nodes:
            if n.meta is not None and n.kind == CALL_NODE and not n.scalar and n.category != K_VIEW \
                    and (n.category != K_ELEMENTWISE or n.stored):
                self.spot_of(n)
            if n.spot is not None and n.category != K_INPUT:
                self.use(n.spot.buffer, n.step, n.kept)
            for a in n.args:
                if type(a) is Node and (<Node>a).spot is not None:
                    # What the body reads of the steps before it must still be there when it runs again.
                    self.use((<Node>a).spot.buffer, n.step, n.kept and n.category == K_PICK
                             or n.late and not (<Node>a).late)
                    if n.category == K_PICK:
                        n.spot = (<Node>a).spot
        self.bind_outputs()
        for n in self.nodes:
            if n.spot is None or n.spot.buffer.base != 0 or n.spot.buffer.last < 0:
                continue
            b = n.spot.buffer
            if b.offset == 0:
                b.offset = -1
                begin.setdefault(b.first, []).append(b)
                end.setdefault(b.last, []).append(b)
        for u in range(len(self.units) + 1):
            for b in begin.get(u, ()):
                b.offset = take_gap(gaps, b.nbytes)
                if b.offset < 0:
                    b.offset = top
                    top += padded(b.nbytes)
            for b in end.get(u, ()):
                give_gap(gaps, b.offset, padded(b.nbytes))
        self.scalar_base = <unsigned int>(top // 8)
        return 0

    cdef int use(self, Buffer b, int unit, bint kept) except -1:
        b.first = min(b.first, unit)
        b.last = max(b.last, INT_MAX if kept else unit)
        return 0

    cdef int bind_outputs(self) except -1:
        """Results that have a buffer of their own are written straight to a fresh array."""
        cdef Node n
        cdef object a
        cdef Result r
        cdef dict seen = {}
        cdef Py_ssize_t i
        cdef list kept = []
        for i in range(len(self.recording.results)):
            a = self.recording.results[i]
            returned = self.returned[i]
            r = Result.__new__(Result)
            r.index = 0
            kept.append(r)
            # The same object is one result; what was found to have the same value is another array.
            if id(returned) in seen:
                r.kind = RESULT_SAME
                r.index = seen[id(returned)]
                continue
            seen[id(returned)] = i
            if type(a) is not Node:
                r.kind = RESULT_CONSTANT
                r.value = a
                continue
            n = r.node = <Node>a
            if n.category == K_INPUT and returned is n:
                r.kind = RESULT_INPUT
                r.index = n.number
            elif n.meta is None:
                r.kind = RESULT_OBJECT
            elif n.scalar:
                r.kind = RESULT_SCALAR
            elif n.meta.shape and n.category != K_VIEW and n.spot.contiguous and not n.spot.buffer.pinned \
                    and n.spot.buffer.base == 0 and n.spot.offset == 0 and type_code(n.spot.dtype.type_num):
                r.kind = RESULT_OUTPUT
                r.index = <int>(1 + self.program.size + len(self.program.constants)) + self.program.noutputs
                r.spot = n.spot
                n.spot.buffer.base = r.index
                self.program.noutputs += 1
            else:
                r.kind = RESULT_COPY
                r.spot = n.spot
        self.program.results = kept
        return 0


cdef Py_ssize_t batch_stride(Spot s, tuple batch) except -2:
    """Bytes from one matrix of a stack to the next: 0 for one matrix for all; -1 where no number will do."""
    cdef Py_ssize_t i, n = max(len(s.shape) - 2, 0)
    cdef tuple shape = s.shape[:n], strides = s.strides[:n]
    if math_prod(shape) == 1:
        return 0
    if shape != batch:
        return -1
    for i in range(len(shape) - 1):
        if strides[i] != strides[i + 1] * shape[i + 1]:
            return -1
    return strides[len(strides) - 1] if strides[len(strides) - 1] >= 0 else -1


cdef inline Py_ssize_t padded(Py_ssize_t nbytes) noexcept:
    return (nbytes + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


cdef Py_ssize_t take_gap(list gaps, Py_ssize_t nbytes) except -2:
    """The offset of the smallest gap that is large enough, which it takes; -1 if there is none."""
    cdef Py_ssize_t i, best = -1, size = 0, need = padded(nbytes)
    for i in range(len(gaps)):
        if gaps[i][1] >= need and (best < 0 or gaps[i][1] < size):
            best = i
            size = gaps[i][1]
    if best < 0:
        return -1
    offset, size = gaps[best]
    if size == need:
        del gaps[best]
    else:
        gaps[best] = (offset + need, size - need)
    return offset


cdef int give_gap(list gaps, Py_ssize_t offset, Py_ssize_t size) except -1:
    """Enters a gap, joined with its neighbours."""
    cdef Py_ssize_t i = bisect(gaps, (offset, size))
    if i < len(gaps) and gaps[i][0] == offset + size:
        size += gaps[i][1]
        del gaps[i]
    if i > 0 and gaps[i - 1][0] + gaps[i - 1][1] == offset:
        offset, size = gaps[i - 1][0], gaps[i - 1][1] + size
        i -= 1
        del gaps[i]
    gaps.insert(i, (offset, size))
    return 0


cdef bint plan_item(Node n, Spot s, object index) except -1:
    """The byte offset of an item in its buffer."""
    cdef object i
    cdef Py_ssize_t k, axis = 0, offset = s.offset
    parts = index if type(index) is tuple else (index,)
    if len(parts) != len(s.shape):
        return False
    for i in parts:
        if type(i) is not int:
            return False
        k = i
        if k < 0:
            k += s.shape[axis]
        offset += k * <Py_ssize_t>s.strides[axis]
        axis += 1
    n.item = offset
    return True
