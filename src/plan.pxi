# The planner: from a recording to a program of the replay machine.
#
#   simplify     one pass over the recording that leaves what the program needs: see `simplify.pxi`
#   classify     how each node is done: scalar, group (elementwise or a reduction), view, product, ..., Python
#   schedule     units in an order that respects the operands: scalars and single steps as soon as possible,
#                elementwise nodes as late as possible, so that as many as can be share a group
#   lay out      which part of the arena each value has, and when another one may have it
#   emit         the machine's tables

# --- memory --------------------------------------------------------------------------------------------

@cython.final
@cython.no_gc           # nothing in it leads back to it
@cython.freelist(64)
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
@cython.no_gc
@cython.freelist(64)
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
    if not cnp.PyArray_ISNBO((<cnp.dtype>dtype).byteorder):
        return 0
    return b"?" if number == cnp.NPY_BOOL else type_code(number)


cdef inline bint is_double(Meta meta) noexcept:
    """Whether the dtype is float64 in the machine's byte order."""
    return <PyObject *>meta.dtype == <PyObject *>DTYPE_FLOAT64 or is_native_double(<cnp.dtype>meta.dtype)


cdef inline bint is_native_double(cnp.dtype dtype) noexcept:
    return dtype.type_num == cnp.NPY_DOUBLE and cnp.PyArray_ISNBO(dtype.byteorder)


cdef Spot new_spot(Buffer buffer, Py_ssize_t offset, tuple shape, tuple strides, object dtype):
    cdef Spot s = Spot.__new__(Spot)
    cdef Py_ssize_t step, i, n, stride
    s.buffer = buffer
    s.offset = offset
    s.shape = shape
    s.strides = strides
    s.dtype = dtype
    s.code = code_of(dtype)
    s.width = <int>s.dtype.itemsize
    s.size = size_of(shape)
    step = s.width
    s.contiguous = True
    for i in range(PyTuple_GET_SIZE(shape) - 1, -1, -1):
        n = <object>PyTuple_GET_ITEM(shape, i)
        stride = <object>PyTuple_GET_ITEM(strides, i)
        if n != 1 and stride != step:
            s.contiguous = False
        step *= n
    return s


cdef inline Py_ssize_t size_of(tuple shape) except -1:
    """The number of items."""
    cdef Py_ssize_t i, size = 1
    for i in range(PyTuple_GET_SIZE(shape)):
        size *= <Py_ssize_t>(<object>PyTuple_GET_ITEM(shape, i))
    return size


cdef inline bint same_axes(tuple a, tuple b) except -1:
    cdef Py_ssize_t i, n = PyTuple_GET_SIZE(a)
    if a is b:
        return True
    if n != PyTuple_GET_SIZE(b):
        return False
    for i in range(n):
        if PyTuple_GET_ITEM(a, i) != PyTuple_GET_ITEM(b, i):   # small numbers are the same objects
            return a == b
    return True


cdef inline Py_ssize_t size_of_array(Meta meta) except -1:
    """The number of items of an array; 0 for a scalar."""
    return size_of(meta.shape) if PyTuple_GET_SIZE(meta.shape) else 0


cdef tuple packed_strides(tuple shape, Py_ssize_t width):
    cdef Py_ssize_t i, k = PyTuple_GET_SIZE(shape)
    cdef tuple strides = PyTuple_New(k)
    cdef object step
    for i in range(k - 1, -1, -1):
        step = width
        Py_INCREF(step)
        PyTuple_SET_ITEM(strides, i, step)
        width *= max(<Py_ssize_t>(<object>PyTuple_GET_ITEM(shape, i)), 1)
    return strides


cdef Spot packed_spot(tuple shape, object dtype):
    """An array of its own, in C order."""
    cdef Py_ssize_t width = (<cnp.dtype>dtype).itemsize
    return new_spot(new_buffer(size_of(shape) * width), 0, shape, packed_strides(shape, width), dtype)


cdef Spot spot_of_view(Spot base, cnp.ndarray view, cnp.ndarray sample):
    """Where a view that NumPy took of a sample lies; None if it is no view."""
    cdef Py_ssize_t offset = <char *>cnp.PyArray_DATA(view) - <char *>cnp.PyArray_DATA(sample)
    if cnp.PyArray_SIZE(view) and owner(<PyObject *>view) != owner(<PyObject *>sample):
        return None
    return new_spot(base.buffer, base.offset + offset, shape_tuple(view), strides_tuple(view), view.dtype)


cdef extern from "Python.h":
    int PySlice_Unpack(object slice, Py_ssize_t *start, Py_ssize_t *stop, Py_ssize_t *step) except -1
    Py_ssize_t PySlice_AdjustIndices(Py_ssize_t length, Py_ssize_t *start, Py_ssize_t *stop,
                                     Py_ssize_t step) noexcept


cdef inline bint is_end(PyObject *o) noexcept:
    """An int or None, as in most slices."""
    return o == <PyObject *>None or type(<object>o) is int


cdef Spot sliced_spot(Spot base, object index):
    """Where the items lie that one slice picks along the first axis; None for what NumPy has to say."""
    cdef Py_ssize_t start, stop, step, n, stride
    cdef PySliceObject *s = <PySliceObject *>index
    if type(index) is not slice or PyTuple_GET_SIZE(base.shape) == 0 or not is_end(s.start) \
            or not is_end(s.stop) or not is_end(s.step):
        return None
    PySlice_Unpack(index, &start, &stop, &step)
    n = PySlice_AdjustIndices(base.shape[0], &start, &stop, step)
    if n <= 0:
        return None
    stride = base.strides[0]
    return new_spot(base.buffer, base.offset + start * stride, with_first(base.shape, n),
                    with_first(base.strides, stride * step), base.dtype)


cdef tuple with_first(tuple axes, object first):
    """The tuple with another first item."""
    cdef Py_ssize_t i, n = PyTuple_GET_SIZE(axes)
    cdef tuple out = PyTuple_New(n)
    Py_INCREF(first)
    PyTuple_SET_ITEM(out, 0, first)
    for i in range(1, n):
        Py_INCREF(<object>PyTuple_GET_ITEM(axes, i))
        PyTuple_SET_ITEM(out, i, <object>PyTuple_GET_ITEM(axes, i))
    return out


# Work on scalars, of which there may be millions, is planned by numbers alone; nodes as objects are made for
# what works on arrays.

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
    K_SCAN          # running sums and their kind
    K_MOVE          # items to other places
    K_PYTHON


cdef inline bint joins_group(const Work *w) noexcept:
    return w.category == K_ELEMENTWISE or w.category == K_REDUCTION or w.category == K_UPDATE


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
        if not cnp.PyArray_ISALIGNED(<cnp.ndarray>a):
            return 0
        return code_of(<object>cnp.PyArray_DESCR(<cnp.ndarray>a))
    if type(a) is np_float64:
        return b"d"
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


cdef inline LoopRef chosen_loop(const PlannedLoops *loops, bint fastmath) noexcept:
    return loops.fast if fastmath else loops.exact


cdef inline void set_codes(Node n, char code, int count) noexcept:
    """All operands have one type."""
    memset(n.codes, code, count)
    n.codes[count] = 0


cdef inline int need_facts(Primitive p) except -1:
    return 0 if p.facts_known else find_facts(p)


cdef char shared_code(const char *have, const bint *weak, Py_ssize_t count) noexcept:
    """What the operands of a comparison are compared as: Python's numbers take the type of the others.

    0 where these are of different types.
    """
    cdef Py_ssize_t i
    cdef char need = 0
    for i in range(count):
        if not weak[i] and have[i] != b"?" and have[i] != need:
            if need:
                return 0
            need = have[i]
    return need if need else <char>b"d"


cdef int find_facts(Primitive p) except -1:
    """What the planner wants to know of a primitive."""
    if not p.scalar_known:
        find_scalar(p)
    p.naming = NAMING.get(p.name, NAMES_NOTHING)
    p.splits = p.ours and p.name in SPLITS
    find_effect(p)
    p.facts_known = True
    return 0


cdef Spot const_spot(ReplayProgram program, dict bases, cnp.ndarray a):
    """An array constant: behind a base pointer of its own, read where it lies."""
    cdef Buffer b
    cdef Spot s
    cdef object key = PyLong_FromVoidPtr(<PyObject *>a)
    cdef PyObject *found = PyDict_GetItemWithError(bases, key)
    if found != NULL:
        return <Spot>found
    program.constants.append(a)
    b = new_buffer(0)
    b.base = <int>(program.size + len(program.constants))
    b.sample = a
    bases[key] = s = new_spot(b, 0, shape_tuple(a), strides_tuple(a), a.descr)
    return s


cdef bint plan_view(Node n, Spot base) except -1:
    """Takes the view that NumPy would take, of a sample; False where NumPy makes a copy."""
    cdef cnp.ndarray sample
    if n.prim.fun is np_transpose and PyTuple_GET_SIZE(n.operands) == 1 and n.kwargs is None:
        n.spot = new_spot(base.buffer, base.offset, base.shape[::-1], base.strides[::-1], base.dtype)
        return True
    if n.prim is P_GETITEM and n.kwargs is None:
        n.spot = sliced_spot(base, n.operands[1])
        if n.spot is not None:
            return True
    sample = base.sample()
    view = n.prim.fun(sample, *n.operands[1:], **(n.kwargs or {}))
    if not cnp.PyArray_CheckExact(view):
        return False
    n.spot = spot_of_view(base, view, sample)
    return n.spot is not None


cdef frozenset VIEWS = frozenset(("broadcast_to", "diag", "getitem", "real"))


cdef bint reduces_axes(Node n) except -1:
    """Whether a reduction is one of a node over axes, and nothing else is asked for."""
    return type(n.operands[0]) is Node and len(n.operands) <= 2 and only_axes(n.kwargs)


cdef bint mark_axes(object axis, int ndim, bint *reduced) except -1:
    """Marks the axes that an `axis` names; False where it is none."""
    cdef int i
    for i in range(ndim):
        reduced[i] = axis is None
    if type(axis) is int:
        reduced[<int>(axis % ndim)] = True
    elif type(axis) is tuple:
        for one in axis:
            reduced[<int>(one % ndim)] = True
    else:
        return axis is None
    return True


cdef bint plan_axes(Node n, tuple shape, const bint *reduced) except -1:
    """How a reduction runs: `n.w.op`, and `n.inner`, the items of each stretch that it adds or keeps."""
    cdef Py_ssize_t i, size, kept = 1, total = 1
    cdef bint some_kept = False, some_reduced = False, first = True, last = True
    for i in range(PyTuple_GET_SIZE(shape)):
        size = <object>PyTuple_GET_ITEM(shape, i)
        if size == 1:
            continue
        total *= size
        if reduced[i]:
            some_reduced = True
            first = first and not some_kept
        else:
            kept *= size
            some_kept = True
            last = last and not some_reduced
    if not some_kept:
        n.w.op = REDUCE_ALL
        n.inner = 1
    elif first:
        n.w.op = REDUCE_LEADING
        n.inner = kept
        return some_reduced
    elif last:
        n.w.op = REDUCE_TRAILING
        n.inner = total // kept
    else:
        return plan_middle(n, shape, [i for i in range(PyTuple_GET_SIZE(shape)) if reduced[i]])
    return True


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
            return a if (<Spot>o).shape or (<Node>self.node.operands[i]).array0 else a[()]
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
cdef class Waiting:
    """Numbers of nodes that can be done, the smallest first."""
    cdef int *heap
    cdef int size
    cdef Py_ssize_t capacity

    def __dealloc__(self):
        table_free(self.heap)

    cdef inline int push(self, int number) except -1:
        cdef int i = self.size, up
        if self.size >= self.capacity:
            self.heap = <int *>table_for(self.heap, self.size + 1, &self.capacity, sizeof(int))
        self.size += 1
        while i > 0:
            up = (i - 1) >> 1
            if self.heap[up] <= number:
                break
            self.heap[i] = self.heap[up]
            i = up
        self.heap[i] = number
        return 0

    cdef inline int pop(self) noexcept:
        cdef int top = self.heap[0], last, i = 0, child
        self.size -= 1
        last = self.heap[self.size]
        while True:
            child = 2 * i + 1
            if child >= self.size:
                break
            if child + 1 < self.size and self.heap[child + 1] < self.heap[child]:
                child += 1
            if self.heap[child] >= last:
                break
            self.heap[i] = self.heap[child]
            i = child
        self.heap[i] = last
        return top


@cython.final
cdef class Planner:
    cdef ReplayProgram program
    cdef Recording recording
    cdef Draft draft
    cdef Code code              # the draft's
    cdef Work *w                # the draft's, by node
    cdef list nodes             # those that are objects
    cdef int n                  # number of nodes
    cdef dict bases             # of array constants, by id
    cdef int *order             # nodes in the order of execution, but for inputs and views
    cdef int *unit_start        # by unit: its first place in that order
    cdef int norder, nunits
    cdef bint unit_closed       # the next node begins a unit
    cdef bint reorders          # whether the order of the recording is not the one to run in
    cdef int *first_edge        # by node: the first of its edges; they end where the next node's begin
    cdef int *edge_to           # by edge: the consumer's number
    cdef Waiting ready          # nodes that can be done
    cdef int *pairs             # by node: one more than the number of its sine or cosine, or 0
    cdef dict pending           # group shape -> Waiting
    cdef int *late              # nodes that depend on seeds, while there are others
    cdef int nlate
    cdef int body_unit          # the first unit that depends on seeds
    cdef bint in_body
    cdef unsigned int scalar_base
    cdef unsigned int *free_registers
    cdef Py_ssize_t nfree, nfree_capacity
    cdef unsigned int nregisters
    cdef dict constant_registers
    cdef Primitive p_index_add

    def __dealloc__(self):
        table_free(self.order)
        table_free(self.unit_start)
        table_free(self.first_edge)
        table_free(self.edge_to)
        table_free(self.pairs)
        table_free(self.late)
        table_free(self.free_registers)

    # --- nodes ------------------------------------------------------------------------------

    cdef inline Node node(self, int number):
        """A node as an object."""
        return <Node>self.w[number].node if self.w[number].node != NULL else self.new_node(number)

    cdef Node new_node(self, int number):
        cdef Work *w = &self.w[number]
        cdef Node n = self.code.new_node(number)
        self.nodes.append(n)
        w.node = <PyObject *>n
        n.w = w
        if w.home >= 0:
            n.spot = self.node(w.home).spot
        return n

    cdef Node full(self, int number):
        """A node as an object that knows its operands."""
        cdef Node n = self.node(number)
        cdef Record *r
        cdef tuple operands
        cdef object value
        cdef int k, o
        if n.operands is None:
            r = &self.code.records[number]
            operands = PyTuple_New(r.count)
            for k in range(r.count):
                o = self.code.operands[r.first + k]
                value = self.node(o) if o >= 0 else self.code.constant_at(o)
                Py_INCREF(value)
                PyTuple_SET_ITEM(operands, k, value)
            n.operands = operands
        return n

    cdef inline int operand(self, int number, int k) noexcept:
        return self.code.operands[self.code.records[number].first + k]

    cdef inline Constant *constant(self, int operand) noexcept:
        return &self.draft.constants[-1 - operand]

    cdef inline bint is_scalar(self, int operand) noexcept:
        """Whether the scalar interpreter takes an operand."""
        return self.w[operand].scalar if operand >= 0 else self.constant(operand).scalar

    cdef inline bint is_truth(self, int operand) noexcept:
        return self.w[operand].truth if operand >= 0 else self.constant(operand).truth

    cdef bint is_scalar_value(self, object a) except -1:
        """The same for an operand as an object."""
        cdef double value
        if type(a) is Node:
            return (<Node>a).w.scalar
        if type(a) is bool or type(a) is np_bool:
            return True
        return not cnp.PyArray_Check(a) and uniform(a, &value)

    cdef Spot spot_of(self, object a):
        """Where an array operand lies; a place of its own, if it has none yet."""
        cdef Node n
        if type(a) is not Node:
            return const_spot(self.program, self.bases, <cnp.ndarray?>a)
        n = <Node>a
        if n.spot is None:
            n.spot = packed_spot(n.meta.shape, n.meta.dtype)
        return n.spot

    cdef Spot spot_at(self, int number):
        """The same for a node that may share the place of another one."""
        cdef int home = self.w[number].home
        return self.spot_of(self.node(home if home >= 0 else number))

    # --- classify ---------------------------------------------------------------------------

    cdef int classify(self, int number) except -1:
        cdef Record *r = &self.code.records[number]
        cdef Work *w = &self.w[number]
        cdef Meta meta
        w.category = K_PYTHON
        if r.kind == GUARD_NODE:
            w.category = K_GUARD
        if r.meta == NULL:
            return 0
        meta = <Meta>r.meta
        w.scalar = meta is META_FLOAT64 or is_double(meta) and PyTuple_GET_SIZE(meta.shape) == 0
        w.truth = not w.scalar and (<cnp.dtype>meta.dtype).type_num == cnp.NPY_BOOL
        if r.kind == INPUT_NODE:
            w.category = K_INPUT
            if not w.scalar:
                input_spot(self.node(number))
        elif w.domain != NULL:
            self.plan_check(number)
        elif r.kind == CALL_NODE:
            if self.plan_scalar(r, w):
                w.category = K_SCALAR
                w.scalar = True
                if w.op == S_CALL1:
                    self.find_pair(number)
            elif w.scalar and self.plan_pick(r, w):
                w.category = K_PICK
            elif r.prim == <PyObject *>self.p_index_add and self.plan_add_item(r, w):
                w.category = K_ADD_ITEM
            elif not self.plan_elementwise(number):
                self.classify_array(self.full(number))
        self.reorders = self.reorders or w.late or joins_group(w)
        return 0

    cdef bint plan_elementwise(self, int number) except -1:
        """Finds the inner loop of an elementwise call, and the types of its operands."""
        cdef Record *r = &self.code.records[number]
        cdef Primitive p = <Primitive>r.prim
        cdef char need, result = code_of((<Meta>r.meta).dtype)
        cdef char have[4]
        cdef char codes[5]
        cdef bint weak[4]
        cdef const TypedLoops *found
        cdef PlannedLoops loops
        cdef int i, attempt, count = r.count
        cdef Node n
        if r.extra >= 0 or count == 0 or count > 4 or result == 0 or not p.is_ufunc and p is not P_WHERE:
            return False
        for i in range(count):
            have[i] = self.code_of_operand(self.operand(number, i), &weak[i])
            if have[i] == 0:
                return False
        need = shared_code(have, weak, count) if result == b"?" else result
        if need == 0:
            return False
        for attempt in range(2):
            for i in range(count):
                codes[i] = need if have[i] != b"?" and (weak[i] or attempt) else have[i]
            codes[count] = 0
            found = p.typed_loops(codes)
            if found.out != result:
                continue
            for i in range(count):
                if not can_cast(have[i], codes[i]) and not (weak[i] and self.operand(number, i) < 0):
                    return False
            loops = found.loops
            n = self.node(number)
            strcpy(n.codes, codes)
            n.loop = chosen_loop(&loops, self.program.fastmath)
            n.own_loop = self.program.fastmath and loops.own
            n.shape = n.meta.shape
            self.w[number].category = K_ELEMENTWISE
            return True
        return False

    cdef inline char code_of_operand(self, int operand, bint *weak) except? 1:
        """Type code of an operand, 0 if the loops do not know it; `weak` for Python's numbers."""
        cdef Record *r
        if operand < 0:
            weak[0] = self.constant(operand).weak
            return self.constant(operand).code
        r = &self.code.records[operand]
        weak[0] = r.weak
        return code_of((<Meta>r.meta).dtype) if r.meta != NULL else 0

    cdef int plan_check(self, int number) except -1:
        """A check is a loop that reads its operand and writes nothing."""
        cdef Work *w = &self.w[number]
        cdef LoopRef loop
        cdef Node n
        loop.data = w.domain
        loop.fn = <Loop>domain_check_d
        if w.scalar and self.is_scalar(self.operand(number, 0)):
            w.category = K_SCALAR
            w.op = S_CALL1
            w.k = self.program.loop_number(loop)
            return 0
        n = self.node(number)
        set_codes(n, code_of(n.meta.dtype), 1)
        if n.codes[0] == b"f":
            loop.fn = <Loop>domain_check_f
        n.loop = loop
        n.shape = n.meta.shape
        w.category = K_ELEMENTWISE
        return 0

    cdef int find_pair(self, int number) except -1:
        """Whether there is the cosine of the same scalar for a sine, or the other way round."""
        cdef object fun = (<Primitive>self.code.records[number].prim).fun
        cdef int x = self.operand(number, 0), other
        if fun is not np_sin and fun is not np_cos or x < 0 or not sines_are_libms():
            return 0
        if self.pairs == NULL:
            self.pairs = <int *>table_calloc(self.n, sizeof(int))
            if self.pairs == NULL:
                raise MemoryError("a program of %d nodes" % self.n)
        other = self.pairs[x] - 1
        if other < 0:
            self.pairs[x] = number + 1
        elif (<Primitive>self.code.records[other].prim).fun is not fun and self.w[other].pair < 0 \
                and self.w[other].late == self.w[number].late:
            self.w[other].pair = number
            self.w[number].pair = other
        return 0

    cdef int classify_array(self, Node n) except -1:
        cdef object first = n.operands[0] if n.operands else None
        if n.prim is P_ZEROS and n.meta.shape:
            n.w.category = K_ZEROS
        elif not n.prim.ours:
            return 0
        elif plan_cast(n):
            n.w.category = K_ELEMENTWISE
            n.shape = n.meta.shape
        elif type(first) is Node and (<Node>first).meta is not None and size_of_array(n.meta) \
                and (n.prim.view or n.prim.name in VIEWS) and self.no_nodes(n.operands[1:]) \
                and not (<Node>first).w.scalar and (n.prim is not P_GETITEM or is_basic(n.operands[1])) \
                and plan_view(n, self.spot_of(first)):
            n.w.category = K_VIEW
            if n.w.laid_out and n.spot.strides[len(n.spot.strides) - 1] != n.spot.width:
                n.w.category = K_MOVE
                n.w.op = MOVE_VIEW
                n.part = n.spot
                n.spot = None
        elif n.prim.name in REDUCTIONS and self.plan_reduction(n):
            n.w.category = K_REDUCTION
        elif self.plan_update(n):
            n.w.category = K_UPDATE
        elif (n.prim is P_MATMUL or n.prim is P_DOT or n.prim is P_MATMUL_ADD) and self.plan_product(n):
            n.w.category = K_PRODUCT
        elif n.prim.name == "array" and self.plan_items(n) or plan_spread(n):
            n.w.category = K_ITEMS
        elif n.prim.name in ("concatenate", "stack") and self.plan_join(n):
            n.w.category = K_JOIN
        elif plan_routine(self, n):
            n.w.category = K_ROUTINE
        elif plan_scan(self, n):
            n.w.category = K_SCAN
        elif plan_move(self, n):
            n.w.category = K_MOVE
        return 0

    cdef bint plan_scalar(self, Record *r, Work *w) except -1:
        """Whether the scalar interpreter does it: a float64 or a truth value from such."""
        cdef Primitive p = <Primitive>r.prim
        cdef int k, op = p.scalar_code
        cdef const int *operands = &self.code.operands[r.first]
        if op < 0 or r.count == 0 or r.count > 3 or r.extra >= 0:
            return False
        if not w.scalar and not (w.truth and S_LT <= op <= S_NOT and not (<Meta>r.meta).shape):
            return False
        for k in range(r.count):
            if not self.is_scalar(operands[k]):
                return False
        if op == S_CALL1 or op == S_CALL2:
            if r.count != p.nin:
                return False
            w.k = self.program.loop_number(chosen_loop(&p.planned_scalar, self.program.fastmath))
        elif op == S_SELECT and (r.count != 3 or not self.is_truth(operands[0])):
            return False
        elif S_AND <= op <= S_NOT:
            for k in range(r.count):
                if not self.is_truth(operands[k]):
                    return False
        w.op = op
        return True

    cdef bint plan_pick(self, Record *r, Work *w) except -1:
        """One item of a float64 array by a fixed index, or the only one that it has."""
        cdef int x = self.code.operands[r.first] if r.count else -1
        cdef Meta meta
        cdef object index
        if x < 0 or self.code.records[x].meta == NULL:
            return False
        meta = <Meta>self.code.records[x].meta
        if not is_double(meta) or not meta.shape:
            return False
        if r.prim == <PyObject *>P_GETITEM:
            if self.code.operands[r.first + 1] >= 0:
                return False
            index = self.code.constant_at(self.code.operands[r.first + 1])
        elif (<Primitive>r.prim).name in ("reshape", "squeeze") and (<Primitive>r.prim).ours:
            index = (0,) * len(meta.shape)
        else:
            return False
        if not item_offset(self.spot_at(x), index, &w.item):
            return False
        w.home = self.w[x].home if self.w[x].home >= 0 else x
        return True

    cdef bint plan_add_item(self, Record *r, Work *w) except -1:
        """``x[index] += scalar`` for one item of a float64 array that nobody else reads."""
        cdef const int *operands = &self.code.operands[r.first]
        cdef int x = operands[0]
        cdef Spot s
        if x < 0 or operands[2] >= 0 or r.extra >= 0 or not self.is_scalar(operands[1]) \
                or not is_double(<Meta>r.meta) or not same_meta(r.meta, self.code.records[x].meta) \
                or not self.may_overwrite(x, w):
            return False
        s = self.spot_at(x)
        if not item_offset(s, self.code.constant_at(operands[2]), &w.item):
            return False
        s.buffer.pinned = True
        w.in_place = True
        w.home = self.w[x].home if self.w[x].home >= 0 else x
        return True

    cdef bint may_overwrite(self, int x, const Work *w) except -1:
        """Whether a step may put its result in the place of an array: nobody else reads the old value."""
        cdef const Work *old = &self.w[x]
        cdef Spot s
        if old.uses != 1 or old.kept or old.late != w.late or old.scalar or old.category == K_VIEW \
                or old.category == K_INPUT:
            return False
        s = self.spot_at(x)
        return s.buffer.base == 0 and s.contiguous

    cdef bint no_nodes(self, args) except -1:
        for a in args:
            if type(a) is Node:
                return False
        return True

    cdef bint plan_update(self, Node n) except -1:
        """``x[index] = value`` and ``x[index] += g`` by basic indexing."""
        cdef Node x
        cdef Spot s
        cdef cnp.ndarray sample
        cdef char code
        cdef const TypedLoops *found
        cdef bint weak = False, adds = n.prim.name == "index_add"
        if not adds and n.prim.name != "setitem" or len(n.operands) != 3 or n.kwargs is not None:
            return False
        value, index = n.operands[1], n.operands[2]
        if type(n.operands[0]) is not Node or not is_basic(index):
            return False
        x = <Node>n.operands[0]
        if x.meta.shape != n.meta.shape or x.meta.dtype != n.meta.dtype or not n.meta.shape:
            return False
        code = code_of(n.meta.dtype)
        if code == 0 or code == b"?":
            return False
        take_over(self, n, x)
        s = self.spot_of(n)
        n.part = sliced_spot(s, index)
        if n.part is None:
            sample = s.sample()
            part = sample[index]
            if not cnp.PyArray_CheckExact(part):
                part = sample[(*index, ...) if type(index) is tuple else (index, ...)]
            n.part = spot_of_view(s, part, sample)
        if n.part is None:
            return False
        have = operand_code(value, &weak)
        if not can_cast(have, code) and not (weak and type(value) is not Node):
            return False
        set_codes(n, code, 2 if adds else 1)
        found = (P_ADD if adds else P_POS).typed_loops(n.codes)
        if found.out != code:
            return False
        n.loop = found.loops.exact
        n.shape = n.part.shape
        return True

    cdef bint plan_reduction(self, Node n) except -1:
        """A reduction over all, the first, the last or neighbouring axes of a float array."""
        cdef Node x
        cdef char code, out = 0
        cdef bint reduced[64]
        if not reduces_axes(n):
            return False
        x = <Node>n.operands[0]
        code = code_of(x.meta.dtype)
        if code == 0 or code == b"?" or n.meta.dtype != x.meta.dtype or not size_of_array(x.meta):
            return False
        if x.w.scalar:
            return False
        axis = n.operands[1] if len(n.operands) > 1 else (n.kwargs or {}).get("axis")
        if not mark_axes(axis, <int>PyTuple_GET_SIZE(x.meta.shape), reduced) \
                or not plan_axes(n, x.meta.shape, reduced):
            return False
        ufunc = REDUCTIONS[n.prim.name]
        set_codes(n, code, 2)
        n.loop = find_loop(ufunc, n.codes, &out)
        if n.loop.fn == NULL or out != code:
            return False
        n.loop = kept_loop(n.loop, n.codes)
        n.w.seeded = ufunc is np_maximum or ufunc is np_minimum
        n.initial = 1.0 if ufunc is np_multiply else 0.0
        n.shape = x.meta.shape
        return True

    cdef bint plan_product(self, Node n) except -1:
        """A product of vectors and matrices of one float type, or of stacks of matrices (`matmul` only).

        The third operand, if there is one, is what the product is added to.
        """
        cdef char code = code_of(n.meta.dtype)
        cdef bint weak = False
        cdef int ndim = 0
        cdef tuple batch
        cdef Meta meta
        if n.kwargs is not None or (code != b"d" and code != b"f") or size_of(n.meta.shape) == 0 \
                or len(n.operands) != (3 if n.prim is P_MATMUL_ADD else 2):
            return False
        for a in n.operands:
            if type(a) is not Node and not cnp.PyArray_CheckExact(a) or operand_code(a, &weak) != code:
                return False
            meta = (<Node>a).meta if type(a) is Node else meta_of(a)
            if not size_of_array(meta):
                return False
            ndim = max(ndim, <int>len(meta.shape))
        if n.prim is P_MATMUL_ADD:
            take_over(self, n, n.operands[2])
        if ndim <= 2:
            return True
        if n.prim is not P_MATMUL:
            return False
        batch = n.meta.shape[:ndim - 2]
        return batch_stride(self.spot_of(n.operands[0]), batch) >= 0 \
            and batch_stride(self.spot_of(n.operands[1]), batch) >= 0

    cdef bint plan_items(self, Node n) except -1:
        """An array of one axis from scalars."""
        if not is_double(n.meta) or len(n.meta.shape) != 1 or n.kwargs is not None:
            return False
        if len(n.operands) < 2 or n.meta.shape[0] != len(n.operands) - 1:
            return False
        for a in n.operands[1:]:
            if not self.is_scalar_value(a):
                return False
        self.spot_of(n).buffer.pinned = True
        return True

    cdef bint plan_join(self, Node n) except -1:
        """Arrays beside one another: every part is copied to its place."""
        if n.kwargs is not None or type(n.operands[0]) is not int:
            return False
        for a in n.operands[1:]:
            if type(a) is Node:
                if (<Node>a).meta is None or (<Node>a).meta.dtype != n.meta.dtype or (<Node>a).w.scalar:
                    return False
            elif not cnp.PyArray_CheckExact(a) or a.dtype != n.meta.dtype:
                return False
        return size_of(n.meta.shape) > 0

    # --- schedule ---------------------------------------------------------------------------

    cdef int connect(self) except -1:
        """The edges from nodes to their consumers."""
        cdef Py_ssize_t n = self.n, nedges = self.code.noperands + self.n
        cdef int i, k, o, after, guard = -1, late_guard = -1, edge = 0
        cdef int *guarded
        cdef Record *r
        cdef Work *w
        if nedges > INT_MAX - 1:
            raise OverflowError("a program of more than 2**31 operands")
        self.late = <int *>table_malloc((n + 1) * sizeof(int))
        guarded = <int *>table_malloc((n + 1) * sizeof(int))
        self.first_edge = <int *>table_calloc(n + 2, sizeof(int))
        self.edge_to = <int *>table_malloc((nedges + 1) * sizeof(int))
        if self.first_edge == NULL or guarded == NULL or self.edge_to == NULL or self.late == NULL:
            table_free(guarded)
            raise MemoryError("a program of %d nodes" % n)
        # First how many edges each node has, then where they begin, then the edges.
        for i in range(self.n):
            r = &self.code.records[i]
            w = &self.w[i]
            w.waiting = 0
            for k in range(r.count):
                o = self.code.operands[r.first + k]
                if o >= 0:
                    self.first_edge[o] += 1
                    w.waiting += 1
            # Guards keep their order, and nothing that may raise, in Python or a routine, runs before a guard
            # that would have led elsewhere.
            guarded[i] = -1
            if w.category == K_PYTHON or w.category == K_ROUTINE or w.category == K_GUARD:
                after = late_guard if w.late else guard
                if after >= 0:
                    guarded[i] = after
                    self.first_edge[after] += 1
                    w.waiting += 1
                if r.kind >= GUARD_NODE and w.late:
                    late_guard = i
                elif r.kind >= GUARD_NODE:
                    guard = i
        for i in range(self.n + 1):
            k = self.first_edge[i]
            self.first_edge[i] = edge + k       # its end, from where it is filled downwards
            edge += k
        for i in range(self.n - 1, -1, -1):
            r = &self.code.records[i]
            if guarded[i] >= 0:
                self.add_edge(guarded[i], i)
            for k in range(r.count):
                o = self.code.operands[r.first + k]
                if o >= 0:
                    self.add_edge(o, i)
        table_free(guarded)
        return 0

    cdef inline void add_edge(self, int source, int to) noexcept:
        self.first_edge[source] -= 1
        self.edge_to[self.first_edge[source]] = to

    cdef int schedule(self) except -1:
        cdef int i
        self.order = <int *>table_malloc((self.n + 1) * sizeof(int))
        self.unit_start = <int *>table_malloc((self.n + 2) * sizeof(int))
        if self.order == NULL or self.unit_start == NULL:
            raise MemoryError("a program of %d nodes" % self.n)
        self.unit_closed = True
        if not self.reorders:
            for i in range(self.n):
                self.place_single(i)
            self.body_unit = self.nunits
            self.unit_start[self.nunits] = self.norder
            return 0
        self.connect()
        self.ready = Waiting.__new__(Waiting)
        self.pending = {}
        for i in range(self.n):
            if self.w[i].waiting == 0:
                self.route(i)
        self.do_ready()
        self.body_unit = self.nunits
        self.in_body = True
        self.unit_closed = True     # scalars of the body do not join those before it
        for i in range(self.nlate):
            self.route(self.late[i])
        self.do_ready()
        self.unit_start[self.nunits] = self.norder
        return 0

    cdef int do_ready(self) except -1:
        cdef Waiting waiting
        cdef tuple first
        cdef int number
        while self.ready.size or self.pending:
            if self.ready.size:
                self.do_single(self.ready.pop())
                continue
            number = INT_MAX
            for shape, waiting in self.pending.items():
                if waiting.heap[0] < number:
                    number = waiting.heap[0]
                    first = <tuple>shape
            self.do_group(first)
        return 0

    cdef int route(self, int number) except -1:
        cdef Work *w = &self.w[number]
        cdef tuple shape
        cdef PyObject *found
        cdef Waiting waiting
        if w.late and not self.in_body:
            self.late[self.nlate] = number
            self.nlate += 1
        elif joins_group(w):
            shape = self.node(number).shape
            found = PyDict_GetItemWithError(self.pending, shape)
            if found != NULL:
                (<Waiting>found).push(number)
            else:
                waiting = Waiting.__new__(Waiting)
                self.pending[shape] = waiting
                waiting.push(number)
        else:
            self.ready.push(number)
        return 0

    cdef inline void begin_unit(self) noexcept:
        self.unit_start[self.nunits] = self.norder
        self.nunits += 1

    cdef inline void enter(self, int number) noexcept:
        """Makes a node the next one of the last unit."""
        self.order[self.norder] = number
        self.norder += 1
        self.w[number].step = self.nunits - 1

    cdef inline void place_single(self, int number) noexcept:
        """Gives a node that joins no group its place in the order."""
        cdef Work *w = &self.w[number]
        cdef bint scalar = w.category == K_SCALAR or w.category == K_PICK or w.category == K_ADD_ITEM \
            or w.category == K_ITEMS or w.category == K_GUARD
        if w.category == K_VIEW or w.category == K_INPUT:
            w.step = self.nunits
            return
        if not scalar or self.unit_closed:
            self.begin_unit()
        self.unit_closed = not scalar
        self.enter(number)

    cdef int do_single(self, int number) except -1:
        cdef int edge, c
        self.place_single(number)
        for edge in range(self.first_edge[number], self.first_edge[number + 1]):
            c = self.edge_to[edge]
            self.w[c].waiting -= 1
            if self.w[c].waiting == 0:
                self.route(c)
        return 0

    cdef int do_group(self, tuple shape) except -1:
        """All elementwise nodes of that shape that can be done now, in one group."""
        cdef Waiting heap = self.pending.pop(shape)
        cdef list after = []
        cdef Work *w
        cdef Work *v
        cdef int edge, unit = self.nunits, number, c, size = 0
        self.begin_unit()
        self.unit_closed = True
        while heap.size and size < GROUP_LIMIT:
            number = heap.pop()
            w = &self.w[number]
            self.enter(number)
            size += 1
            for edge in range(self.first_edge[number], self.first_edge[number + 1]):
                c = self.edge_to[edge]
                v = &self.w[c]
                v.waiting -= 1
                if w.category != K_ELEMENTWISE or v.category == K_UPDATE and self.operand(c, 0) == number:
                    v.barrier = unit + 1
                if v.waiting == 0:
                    if v.barrier != unit + 1 and v.late == w.late and joins_group(v) \
                            and same_axes(self.node(c).shape, shape):
                        heap.push(c)
                    else:
                        after.append(c)
        if heap.size:
            self.pending[shape] = heap
        for c in after:
            self.route(c)
        return 0

    # --- lay out ----------------------------------------------------------------------------

    cdef bint leaves_group(self, int number) noexcept:
        """Whether the result of a group's node is needed behind the group."""
        cdef int edge
        if self.w[number].kept:
            return True
        for edge in range(self.first_edge[number], self.first_edge[number + 1]):
            if self.w[self.edge_to[edge]].step != self.w[number].step:
                return True
        return False

    cdef int lay_out(self) except -1:
        """Lifetimes of buffers, then offsets in the arena: the first gap that is large enough."""
        cdef Work *w
        cdef Node n
        cdef Buffer b
        cdef list buffers = []
        cdef int i
        for i in range(self.n):
            w = &self.w[i]
            if w.category == K_ELEMENTWISE and not w.scalar:
                w.stored = self.leaves_group(i)
                if not w.stored:
                    self.node(i).spot = None
        for i in range(self.n):
            self.use_places(i)
        self.bind_outputs()
        for n in self.nodes:
            if n.spot is None or n.spot.buffer.base != 0 or n.spot.buffer.last < 0:
                continue
            b = n.spot.buffer
            if b.offset == 0:
                b.offset = -1
                buffers.append(b)
        self.scalar_base = <unsigned int>(self.give_offsets(buffers) // 8)
        return 0

    cdef Py_ssize_t give_offsets(self, list buffers) except -1:
        """Gives each buffer a stretch of the arena for as long as it is in use; the size of the arena."""
        cdef Py_ssize_t top = 0
        cdef int i, u, n = <int>len(buffers), nunits = self.nunits + 1
        cdef Buffer b
        cdef Gaps gaps
        # By unit: the first buffer that comes into use there, and the first that leaves; each names the next.
        cdef int *begin = <int *>table_malloc(2 * (nunits + n) * sizeof(int))
        cdef int *end = begin + nunits
        cdef int *next_begin = end + nunits
        cdef int *next_end = next_begin + n
        gaps.at = <Gap *>table_malloc((n + 1) * sizeof(Gap))
        gaps.n = 0
        if begin == NULL or gaps.at == NULL:
            table_free(begin)
            table_free(gaps.at)
            raise MemoryError("a program of %d buffers" % n)
        memset(begin, 0xff, 2 * nunits * sizeof(int))       # -1: none
        for i in range(n - 1, -1, -1):
            b = <Buffer>PyList_GET_ITEM(buffers, i)
            next_begin[i] = begin[b.first]
            begin[b.first] = i
            if b.last < nunits:
                next_end[i] = end[b.last]
                end[b.last] = i
        for u in range(nunits):
            i = begin[u]
            while i >= 0:
                b = <Buffer>PyList_GET_ITEM(buffers, i)
                b.offset = take_gap(&gaps, padded(b.nbytes))
                if b.offset < 0:
                    b.offset = top
                    top += padded(b.nbytes)
                i = next_begin[i]
            i = end[u]
            while i >= 0:
                b = <Buffer>PyList_GET_ITEM(buffers, i)
                give_gap(&gaps, b.offset, padded(b.nbytes))
                i = next_end[i]
        table_free(begin)
        table_free(gaps.at)
        return top

    cdef int use_places(self, int number) except -1:
        """Notes when a node uses the place of its value and those of its operands."""
        cdef Record *r = &self.code.records[number]
        cdef Work *w = &self.w[number]
        cdef int k, o
        cdef Spot s
        if r.meta != NULL and r.kind == CALL_NODE and not w.scalar and w.category != K_VIEW \
                and w.category != K_ADD_ITEM and (w.category != K_ELEMENTWISE or w.stored):
            self.spot_of(self.node(number))
        if w.category != K_INPUT and w.category != K_PICK and self.has_place(number):
            s = self.place(number)
            if s is not None:
                self.use(s.buffer, w.step, w.kept)
        for k in range(r.count):
            o = self.code.operands[r.first + k]
            if o < 0 or not self.has_place(o):
                continue
            s = self.place(o)
            if s is not None:
                # What the body reads of the steps before it must still be there when it runs again.
                self.use(s.buffer, w.step, w.kept and w.category == K_PICK or w.late and not self.w[o].late)
        return 0

    cdef inline bint has_place(self, int number) noexcept:
        """Whether a node has a value that may lie in memory, and not in a register."""
        cdef Work *w = &self.w[number]
        return w.home >= 0 or not w.scalar and self.code.records[number].meta != NULL

    cdef inline Spot place(self, int number):
        """Where the value of a node lies; None for one that has no place, or a register."""
        cdef int home = self.w[number].home
        return self.node(home if home >= 0 else number).spot if self.has_place(number) else None

    cdef int use(self, Buffer b, int unit, bint kept) except -1:
        b.first = min(b.first, unit)
        b.last = max(b.last, INT_MAX if kept else unit)
        return 0

    cdef int bind_outputs(self) except -1:
        """Results that have a buffer of their own are written straight to a fresh array."""
        cdef Node n
        cdef Result r
        cdef dict seen = {}
        cdef int i, operand, returned
        cdef list kept = []
        for i in range(len(self.draft.results)):
            operand = self.draft.results[i]
            returned = self.recording.outs[i]
            r = Result.__new__(Result)
            r.index = 0
            kept.append(r)
            # The same object is one result; what was found to have the same value is another array.
            key = returned if returned >= 0 else (id(self.recording.code.constant_at(returned)),)
            if key in seen:
                r.kind = RESULT_SAME
                r.index = seen[key]
                continue
            seen[key] = i
            if operand < 0:
                r.kind = RESULT_CONSTANT
                r.value = self.code.constant_at(operand)
                continue
            n = r.node = self.node(operand)
            if n.w.category == K_INPUT and returned == operand:
                r.kind = RESULT_INPUT
                r.index = operand
            elif n.meta is None:
                r.kind = RESULT_OBJECT
            elif n.w.scalar:
                r.kind = RESULT_SCALAR
            elif n.meta.shape and n.w.category != K_VIEW and n.spot.contiguous and not n.spot.buffer.pinned \
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
    if size_of(shape) == 1:
        return 0
    if shape != batch:
        return -1
    for i in range(len(shape) - 1):
        if strides[i] != strides[i + 1] * shape[i + 1]:
            return -1
    return strides[len(strides) - 1] if strides[len(strides) - 1] >= 0 else -1


cdef inline Py_ssize_t padded(Py_ssize_t nbytes) noexcept:
    return (nbytes + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


cdef struct Gap:
    Py_ssize_t offset, size

cdef struct Gaps:
    Gap *at             # by offset; no two of them touch
    Py_ssize_t n


cdef Py_ssize_t take_gap(Gaps *gaps, Py_ssize_t need) noexcept:
    """The offset of the smallest gap that is large enough, which it takes; -1 if there is none."""
    cdef Py_ssize_t i, best = -1, offset
    for i in range(gaps.n):
        if gaps.at[i].size >= need and (best < 0 or gaps.at[i].size < gaps.at[best].size):
            best = i
    if best < 0:
        return -1
    offset = gaps.at[best].offset
    gaps.at[best].offset += need
    gaps.at[best].size -= need
    if gaps.at[best].size == 0:
        drop_gap(gaps, best)
    return offset


cdef void drop_gap(Gaps *gaps, Py_ssize_t i) noexcept:
    gaps.n -= 1
    memmove(&gaps.at[i], &gaps.at[i + 1], (gaps.n - i) * sizeof(Gap))


cdef void give_gap(Gaps *gaps, Py_ssize_t offset, Py_ssize_t size) noexcept:
    """Enters a gap, joined with its neighbours."""
    cdef Py_ssize_t i = gaps.n
    while i > 0 and gaps.at[i - 1].offset > offset:
        i -= 1
    if i > 0 and gaps.at[i - 1].offset + gaps.at[i - 1].size == offset:
        i -= 1
        gaps.at[i].size += size
    else:
        memmove(&gaps.at[i + 1], &gaps.at[i], (gaps.n - i) * sizeof(Gap))
        gaps.at[i].offset = offset
        gaps.at[i].size = size
        gaps.n += 1
    if i + 1 < gaps.n and gaps.at[i].offset + gaps.at[i].size == gaps.at[i + 1].offset:
        gaps.at[i].size += gaps.at[i + 1].size
        drop_gap(gaps, i + 1)


cdef bint item_offset(Spot s, object index, Py_ssize_t *offset) except -1:
    """Finds the byte offset of the item that an index picks in its buffer; False if it picks none."""
    cdef object i
    cdef Py_ssize_t k, axis = 0, at = s.offset
    cdef tuple parts = index if type(index) is tuple else (index,)
    if PyTuple_GET_SIZE(parts) != PyTuple_GET_SIZE(s.shape):
        return False
    for i in parts:
        if type(i) is not int:
            return False
        k = i
        if k < 0:
            k += <Py_ssize_t>s.shape[axis]
        at += k * <Py_ssize_t>s.strides[axis]
        axis += 1
    offset[0] = at
    return True
