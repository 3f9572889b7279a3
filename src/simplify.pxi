# From a recording to a draft of the program: one pass over the records. What is another value under a second
# name is replaced by it, equal calls become one, calls are split into what the machine has (`steps.pxi`), and
# what no result needs is dropped. All of it keeps every bit, but for what `fastmath` allows.

cdef extern from "Python.h":
    ctypedef struct PySliceObject:
        PyObject *start
        PyObject *stop
        PyObject *step

cdef struct Work:
    # What the planner knows of a step of the program.
    int uses            # how often its value is an operand
    int waiting         # operands that are not computed yet
    int barrier         # one more than the unit that it may not join
    int step            # the unit that does it
    int home            # whose place its value is in, if not its own: a number, else -1
    int k               # of a guard: its number; of a call by the scalar interpreter: that of the loop
    int pair            # of a sine: the cosine of the same number, and the other way round; else -1
    unsigned int address        # of a scalar: its register
    Domain *domain              # of a check: what it compares with; else NULL
    PyObject *node              # the step as an object, if the planner has asked for it; borrowed
    Py_ssize_t item             # of an item: where it lies in its buffer, in bytes
    unsigned char category, op
    unsigned char replaced      # another formula stands in the place of what needed it
    unsigned char wanted, kept, scalar, truth, stored, in_place, seeded, late, paired
    unsigned char laid_out      # of a view: whether it is worth a copy whose rows are contiguous

cdef struct Constant:
    bint scalar         # a number that the scalar interpreter takes
    bint truth          # a truth value
    bint uniform        # one real number, or an array of one number throughout that nobody can change
    bint weak           # a number of Python's
    char code           # its type, or 0
    double value
    Py_ssize_t register         # of the scalar interpreter, or -1 as long as it has none

cdef enum Naming:
    NAMES_NOTHING
    NAMES_FIRST         # the value of the first argument, where shape and dtype stay the same
    NAMES_REAL          # the same for real arguments
    NAMES_CONSTANT      # the second argument

cdef dict NAMING = {
    "positive": NAMES_FIRST, "reshape": NAMES_FIRST, "broadcast_to": NAMES_FIRST, "astype": NAMES_FIRST,
    "copy": NAMES_FIRST, "squeeze": NAMES_FIRST, "conjugate": NAMES_REAL, "constant_like": NAMES_CONSTANT,
}
cdef dict REDUCTIONS = {"sum": np.add, "max": np.maximum, "min": np.minimum, "amax": np.maximum,
                        "amin": np.minimum, "prod": np.multiply}


cdef bint uniform(object a, double *value) except -1:
    """Whether a constant is one real number, or an array of one number throughout that nobody can change."""
    if type(a) is float or type(a) is np_float64:
        value[0] = PyFloat_AS_DOUBLE(a)
        return True
    if type(a) is int:
        value[0] = exact_double(a)
        return fabs(value[0]) < 2.0**53
    if type(a) is np_float32:
        value[0] = a
        return True
    if cnp.PyArray_CheckExact(a) and is_stretched(<cnp.ndarray>a) and cnp.PyArray_ISFLOAT(<cnp.ndarray>a) \
            and not changeable(<cnp.ndarray>a):
        value[0] = cnp.PyArray_GETITEM(<cnp.ndarray>a, cnp.PyArray_DATA(<cnp.ndarray>a))
        return True
    return False


cdef inline double exact_double(object number) noexcept:
    """An int as a double, infinite where it is too large."""
    cdef double d = PyLong_AsDouble(number)
    if d == -1.0 and PyErr_Occurred():
        PyErr_Clear()
        return INFINITY
    return d


cdef inline bint is_real(cnp.dtype dtype) noexcept:
    """Whether a dtype is float64 or float32, in whatever byte order."""
    return dtype.type_num == cnp.NPY_DOUBLE or dtype.type_num == cnp.NPY_FLOAT


cdef inline bint is_inexact(cnp.dtype dtype) noexcept:
    """The same with complex numbers of these."""
    return is_real(dtype) or dtype.type_num == cnp.NPY_CDOUBLE or dtype.type_num == cnp.NPY_CFLOAT


cdef bint is_stretched(cnp.ndarray a) noexcept:
    """Whether an array is a read-only view of one item."""
    cdef int i
    if cnp.PyArray_ISWRITEABLE(a) or cnp.PyArray_SIZE(a) == 0:
        return False
    for i in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_STRIDES(a)[i] != 0:
            return False
    return True


cdef bint changeable(cnp.ndarray view) noexcept:
    """Whether somebody else has the memory that a read-only view looks at."""
    cdef PyObject *base = cnp.PyArray_BASE(view)
    while base != NULL:
        # One reference is the view's.
        if not cnp.PyArray_Check(<object>base) \
                or cnp.PyArray_ISWRITEABLE(<cnp.ndarray>base) and Py_REFCNT(<object>base) > 1:
            return True
        base = cnp.PyArray_BASE(<cnp.ndarray>base)
    return False


cdef bint same_literal(object a, object b) except -1:
    """Whether two constants have the same key, without making keys."""
    cdef double x, y
    cdef Py_ssize_t i
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if type(a) is float or type(a) is np_float64:
        x = PyFloat_AS_DOUBLE(a)
        y = PyFloat_AS_DOUBLE(b)
        return memcmp(&x, &y, 8) == 0
    if type(a) is int or type(a) is str:
        return a == b
    if type(a) is slice:
        return same_slices(<PySliceObject *>a, <PySliceObject *>b)
    if type(a) is tuple:
        if PyTuple_GET_SIZE(a) != PyTuple_GET_SIZE(b):
            return False
        for i in range(PyTuple_GET_SIZE(a)):
            if not same_literal(<object>PyTuple_GET_ITEM(a, i), <object>PyTuple_GET_ITEM(b, i)):
                return False
        return True
    return False


cdef bint same_slices(PySliceObject *a, PySliceObject *b) except -1:
    return same_literal(<object>a.start, <object>b.start) and same_literal(<object>a.stop, <object>b.stop) \
        and same_literal(<object>a.step, <object>b.step)


cdef object operand_key(object a):
    cdef double d
    cdef long long bits
    if type(a) is float or type(a) is np_float64:
        d = PyFloat_AS_DOUBLE(a)
        memcpy(&bits, &d, 8)
        return (type(a), bits)
    if type(a) is int:      # no other key is a number
        return a
    if type(a) is str or a is None or type(a) is bool:
        return (type(a), a)
    if type(a) is slice:
        return (slice, operand_key(a.start), operand_key(a.stop), operand_key(a.step))
    if type(a) is tuple:
        return tuple([operand_key(v) for v in a])
    return (type(a), id(a))


cdef inline bint same_meta(PyObject *a, PyObject *b) except -1:
    """Whether two values have the same shape and dtype; not so where one of them has none."""
    if a == b:
        return a != NULL
    if a == NULL or b == NULL:
        return False
    return (<Meta>a).shape == (<Meta>b).shape \
        and ((<Meta>a).dtype is (<Meta>b).dtype or (<Meta>a).dtype == (<Meta>b).dtype)


cdef inline size_t mixed(size_t h, size_t more) noexcept:
    h = (h ^ more) * <size_t>0x9E3779B97F4A7C15
    return h ^ h >> 29


cdef unsigned int hash_of(const Record *r, const int *args) noexcept:
    cdef size_t h = mixed(<size_t>r.prim, <size_t>(r.extra * 4 + r.weak * 2 + r.array0))
    cdef int k
    for k in range(r.count):
        h = mixed(h, <unsigned int>args[k])
    return <unsigned int>(h >> 32)


# The table of calls. A call is looked for among the eight slots of its newest operand first: programs use
# what they have just computed, so that the table is walked through in about one direction, however large
# it is. Where these are taken it is looked for by its hash.
cdef enum:
    LINE = 8            # slots that lie in one line of the cache

cdef struct Slot:
    int call            # number + 1, or 0
    unsigned int hash


cdef enum:
    FEW_CONSTANTS = 16


@cython.final
cdef class Draft:
    """The program of a recording while it is planned: code, and what is known of its steps and constants."""
    cdef Recording recording
    cdef bint fastmath, has_products
    cdef bint hides             # what was dropped may underflow
    cdef Domains domains        # of checks
    cdef Code code
    cdef Work *w
    cdef Constant *constants
    cdef Py_ssize_t capacity[3]
    cdef list results, updates  # operands; (input, operand)
    cdef int nguards            # guards and checks of the recording
    cdef int *same              # by number in the recording: the operand that stands for it
    cdef int *constant_of       # by constant of the recording: the draft's, or 0
    cdef int *needed            # by number in the recording: how often
    cdef dict keys              # of constants, where there are many: key -> operand
    cdef dict keywords          # key -> place among the extras
    cdef Slot *table            # of calls, by hash
    cdef Py_ssize_t table_size, ncalls
    cdef dict scattered         # operands -> number
    # The call that is looked at: `now` has its operands in `args`.
    cdef Record now
    cdef int *args
    cdef int now_needed

    def __dealloc__(self):
        table_free(self.w)
        table_free(self.constants)
        self.let_go()

    cdef void let_go(self) noexcept:
        """Frees what only the pass needs."""
        table_free(self.same)
        table_free(self.constant_of)
        table_free(self.needed)
        table_free(self.table)
        table_free(self.args)
        self.same = self.constant_of = self.needed = self.args = NULL
        self.table = NULL

    # --- operands ---------------------------------------------------------------------------

    cdef int constant(self, object v) except 0:
        """The operand of a constant: one for all that are equal."""
        cdef Constant *c
        cdef list constants = self.code.constants
        cdef Py_ssize_t n = PyList_GET_SIZE(constants), i
        cdef object key, found
        if n <= FEW_CONSTANTS:
            for i in range(n):
                if same_literal(<object>PyList_GET_ITEM(constants, i), v):
                    return <int>(-1 - i)
        if n == FEW_CONSTANTS:
            self.keys = {operand_key(constants[i]): -1 - i for i in range(n)}
        if n >= FEW_CONSTANTS:
            key = operand_key(v)
            found = self.keys.get(key)
            if found is not None:
                return found
            self.keys[key] = -1 - n
        self.constants = <Constant *>table_for(self.constants, n + 1, &self.capacity[1], sizeof(Constant))
        c = &self.constants[n]
        c.register = -1
        c.value = 0.0
        c.uniform = uniform(v, &c.value)
        c.truth = type(v) is bool or type(v) is np_bool
        if c.truth:
            c.value = 1.0 if v else 0.0
        c.scalar = c.truth or c.uniform and not cnp.PyArray_Check(v)
        c.code = operand_code(v, &c.weak)
        constants.append(v)
        return -1 - <int>n

    cdef inline int operand(self, int of_recording) except? -1:
        """What an operand of the recording is in the draft."""
        if of_recording >= 0:
            return self.same[of_recording]
        if self.constant_of[-1 - of_recording] == 0:
            self.constant_of[-1 - of_recording] = self.constant(self.recording.code.constant_at(of_recording))
        return self.constant_of[-1 - of_recording]

    cdef inline Record *record(self, int number) noexcept:
        return &self.code.records[number]

    cdef inline bint is_one(self, int operand) noexcept:
        if operand >= 0:
            return False
        return self.constants[-1 - operand].uniform and self.constants[-1 - operand].value == 1.0

    cdef bint alike(self, const Record *r, int operand) except -1:
        """Whether an operand has the shape, dtype and kind of a value."""
        cdef Record *o
        if operand < 0:
            return False
        o = self.record(operand)
        return o.weak == r.weak and o.array0 == r.array0 and same_meta(o.meta, r.meta)

    cdef int extra_of(self, dict kwargs) except -2:
        """The place of keywords among the extras, one for all that are equal."""
        cdef list key
        if not kwargs:
            return -1
        key = []
        for name in sorted(kwargs):
            key.append(name)
            key.append(operand_key(kwargs[name]))
        packed = tuple(key)
        if packed not in self.keywords:
            self.keywords[packed] = self.code.add_extra((kwargs, None, None))
        return self.keywords[packed]

    # --- records ----------------------------------------------------------------------------

    cdef int enter(self, const Record *r, const int *args) except -1:
        """One more record like that one; its number."""
        cdef int number = self.code.add_like(r, args, r.count)
        cdef Work *w
        if r.kind == CALL_NODE:
            need_facts(<Primitive>r.prim)       # the draft itself may be the first to call it
            self.has_products = self.has_products or r.prim == <PyObject *>P_MATMUL \
                or r.prim == <PyObject *>P_DOT
        self.code.records[number].extra = r.extra
        if number >= self.capacity[0]:
            self.w = <Work *>table_for(self.w, number + 1, &self.capacity[0], sizeof(Work))
        w = &self.w[number]
        memset(w, 0, sizeof(Work))
        w.home = w.pair = -1
        w.waiting = self.now_needed
        return number

    cdef int shared(self, const Record *r, const int *args) except -1:
        """The number of a call: of the one that there is already if it was made before."""
        cdef unsigned int h = hash_of(r, args)
        cdef Slot *slot
        if self.ncalls * 2 >= self.table_size:
            self.enlarge()
        slot = self.slot_of(r, args, h)
        if slot.call == 0:
            slot.call = self.enter(r, args) + 1
            slot.hash = h
            self.ncalls += 1
        return slot.call - 1

    cdef Slot *slot_of(self, const Record *r, const int *args, unsigned int h) noexcept:
        """The slot that holds a call, or the empty one where it belongs."""
        cdef size_t mask = <size_t>(self.table_size - 1), place
        cdef Slot *slot
        cdef int k, newest = -1
        for k in range(r.count):
            newest = max(newest, args[k])
        slot = &self.table[<size_t>newest * 2 & mask & ~<size_t>(LINE - 1)]
        for k in range(LINE if newest >= 0 else 0):
            if slot.call == 0 or slot.hash == h and self.is_call(slot.call - 1, r, args):
                return slot
            slot += 1
        place = h & mask
        while self.table[place].call:
            if self.table[place].hash == h and self.is_call(self.table[place].call - 1, r, args):
                break
            place = place + 1 & mask
        return &self.table[place]

    cdef bint is_call(self, int number, const Record *r, const int *args) noexcept:
        cdef Record *o = self.record(number)
        if o.prim != r.prim or o.extra != r.extra or o.count != r.count or o.weak != r.weak \
                or o.array0 != r.array0:
            return False
        return memcmp(&self.code.operands[o.first], args, r.count * sizeof(int)) == 0

    cdef int enlarge(self) except -1:
        cdef Py_ssize_t size = 64, old_size = self.table_size, i
        cdef Slot *table
        cdef Slot *old = self.table
        cdef Record *r
        while size < self.recording.code.n * 2 or size <= self.table_size:
            size *= 2
        table = <Slot *>table_calloc(size, sizeof(Slot))
        if table == NULL:
            raise MemoryError("a program of %d calls" % self.ncalls)
        self.table = table
        self.table_size = size
        for i in range(old_size):
            if old[i].call:
                r = self.record(old[i].call - 1)
                self.slot_of(r, &self.code.operands[r.first], old[i].hash)[0] = old[i]
        table_free(old)
        return 0

    cdef Meta meta_of(self, int operand):
        """Shape and dtype of a node; None for constants and for what has none."""
        if operand < 0 or self.record(operand).meta == NULL:
            return None
        return <Meta>self.record(operand).meta

    cdef int call(self, Primitive p, list operands, dict kwargs, Meta meta) except -1:
        """The number of another call, which is made if it is not there yet."""
        cdef Record r
        memset(&r, 0, sizeof(Record))
        r.meta = <PyObject *>meta
        return self.made(&r, p, operands, kwargs)

    cdef int last_call(self, Primitive p, list operands, dict kwargs) except -1:
        """The same for the one whose value is that of the call that is looked at."""
        cdef Record r = self.now
        return self.made(&r, p, operands, kwargs)

    cdef int made(self, Record *r, Primitive p, list operands, dict kwargs) except -1:
        cdef int args[4]
        cdef int k
        if len(operands) > 4:
            raise SystemError("a split call has at most 4 operands")
        r.kind = CALL_NODE
        r.prim = <PyObject *>p
        r.extra = self.extra_of(kwargs)
        r.count = <int>len(operands)
        for k in range(r.count):
            args[k] = operands[k]
        return self.shared(r, args)

    cdef int new_zeros(self, Meta meta) except -1:
        """The number of new zeros, which nothing else has."""
        cdef Record r
        memset(&r, 0, sizeof(Record))
        r.kind = CALL_NODE
        r.prim = <PyObject *>P_ZEROS
        r.meta = <PyObject *>meta
        r.extra = self.code.add_extra(({"shape": meta.shape, "dtype": meta.dtype}, None, None))
        return self.enter(&r, NULL)

    cdef int call_like(self, Primitive p, int like, int a, int b) except -1:
        """A call of one operand, or of two, whose result looks like that of another; NO_OPERAND for none."""
        cdef Record r = self.record(like)[0]
        cdef int args[2]
        cdef int needed = self.now_needed, number
        args[0] = a
        args[1] = b
        r.kind = CALL_NODE
        r.prim = <PyObject *>p
        r.extra = -1
        r.count = 1 if b == NO_OPERAND else 2
        self.now_needed = 2     # not to be taken apart again
        number = self.shared(&r, args)
        self.now_needed = needed
        return number

    cdef inline void set_call(self, Primitive p, int a, int b) noexcept:
        """Gives the call that is looked at another formula."""
        self.now.prim = <PyObject *>p
        self.now.extra = -1
        self.args[0] = a
        self.args[1] = b
        self.now.count = 1 if b == NO_OPERAND else 2

    # --- the pass ---------------------------------------------------------------------------

    cdef int simplify(self) except -1:
        cdef Code old = self.recording.code
        cdef Record *r
        cdef Py_ssize_t i, k, most = 2, products = 0
        cdef set guarded = set()
        cdef dict batches = None
        for i in range(old.n):
            most = max(most, old.records[i].count)
            products += is_plain_product(&old.records[i])
        if products >= FEW_ROWS:
            batches = find_batches(old)
        self.args = <int *>table_malloc(most * sizeof(int))
        self.same = <int *>table_malloc((old.n + 1) * sizeof(int))
        self.constant_of = <int *>table_calloc(len(old.constants) + 1, sizeof(int))
        if self.args == NULL or self.same == NULL or self.constant_of == NULL:
            raise MemoryError("a program of %d steps" % old.n)
        # Most drafts are no longer than their recording.
        self.code.reserve(old.n, old.noperands)
        self.w = <Work *>table_for(self.w, old.n, &self.capacity[0], sizeof(Work))
        self.count_needs()
        for i in range(old.n):
            r = &old.records[i]
            self.now = r[0]
            for k in range(r.count):
                self.args[k] = self.operand(old.operands[r.first + k])
            self.now_needed = self.needed[i]
            if r.kind == CALL_NODE:
                if r.prim == <PyObject *>P_ZEROS:       # nothing shares them
                    self.now.extra = self.code.add_extra(old.extras[r.extra])
                elif r.extra >= 0:
                    self.now.extra = self.extra_of(old.keywords(r))
                if batches and i in batches:
                    self.same[i] = batched(self, <Batch>batches[i], <int>i)
                else:
                    self.same[i] = self.simplified()
                continue
            # Truth values that are known, or are guarded already, need no guard.
            if r.kind == GUARD_NODE and (self.args[0] < 0 or self.args[0] in guarded):
                self.nguards += 1
                continue
            if r.kind == GUARD_NODE:
                guarded.add(self.args[0])
            if r.extra >= 0:
                self.now.extra = self.code.add_extra(old.extras[r.extra])
            self.same[i] = self.enter(&self.now, self.args)
            if r.kind >= GUARD_NODE:
                self.w[self.same[i]].k = self.nguards
                self.nguards += 1
        self.results = [self.operand(o) for o in self.recording.outs]
        self.updates = [(j, self.operand(o)) for j, o in self.recording.changed]
        return self.drop_unwanted()

    cdef int simplified(self) except? -1:
        """The operand that stands for the call."""
        cdef Primitive p
        cdef int name
        if self.now.meta == NULL:
            return self.shared(&self.now, self.args)
        if self.fastmath:
            relax(self)
        absorb_signs(self)
        p = <Primitive>self.now.prim
        need_facts(p)
        name = self.another_name(p)
        if name != NO_OPERAND:
            return name
        if p is P_ZEROS:
            return self.enter(&self.now, self.args)
        if p is P_TRANSPOSE:
            name = turned_product(self)
            if name != NO_OPERAND:
                return name
        if p.splits:
            name = split_call(self)
            if name != NO_OPERAND:
                return name
        return self.shared(&self.now, self.args)

    cdef int another_name(self, Primitive p) except? -1:
        """The operand whose value the call has, bit for bit; NO_OPERAND if it computes something."""
        cdef int first = self.args[0] if self.now.count else NO_OPERAND, inner
        cdef Record *r
        if not p.ours or self.now.count == 0:
            return NO_OPERAND
        if p is P_MUL and self.now.count == 2:
            if self.is_one(first) and self.alike(&self.now, self.args[1]):
                return self.args[1]
            if self.is_one(self.args[1]) and self.alike(&self.now, first):
                return first
        elif p is P_DIV and self.now.count == 2:
            if self.is_one(self.args[1]) and self.alike(&self.now, first):
                return first
        elif p is P_NEG and first >= 0:
            r = self.record(first)
            if r.prim == <PyObject *>P_NEG and self.alike(&self.now, first):
                inner = self.code.operands[r.first]
                return inner if self.alike(&self.now, inner) else NO_OPERAND
        elif p.naming == NAMES_FIRST or p.naming == NAMES_REAL \
                and not cnp.PyTypeNum_ISCOMPLEX((<cnp.dtype>(<Meta>self.now.meta).dtype).type_num):
            if self.alike(&self.now, first):
                return first
        elif p.naming == NAMES_CONSTANT and self.now.count == 2 and self.args[1] < 0:
            if cnp.PyArray_CheckExact(self.code.constant_at(self.args[1])):
                return self.args[1]
        return NO_OPERAND

    cdef int count_needs(self) except -1:
        """How often each value of the recording is needed."""
        cdef Code old = self.recording.code
        cdef Py_ssize_t i
        cdef int operand
        self.needed = <int *>table_calloc(old.n + 1, sizeof(int))
        if self.needed == NULL:
            raise MemoryError("a program of %d steps" % old.n)
        for i in range(old.noperands):
            if old.operands[i] >= 0:
                self.needed[old.operands[i]] += 1
        for operand in self.recording.outs:
            if operand >= 0:
                self.needed[operand] += 1
        return 0

    # --- what is needed ---------------------------------------------------------------------

    cdef int mark_wanted(self) except -1:
        cdef int operand
        for operand in self.results:
            self.want(operand)
        for _, operand in self.updates:
            self.want(operand)
        return self.mark_operands()

    cdef int mark_operands(self) noexcept:
        """Marks what guards, checks and marked calls are made from."""
        cdef Record *records = self.code.records
        cdef int *operands = self.code.operands
        cdef Work *w = self.w
        cdef Py_ssize_t i
        cdef int k
        for i in range(self.code.n - 1, -1, -1):
            if w[i].wanted or records[i].kind != CALL_NODE:
                w[i].wanted = True
                for k in range(records[i].first, records[i].first + records[i].count):
                    if operands[k] >= 0:
                        w[operands[k]].wanted = True
        return 0

    cdef int drop_unwanted(self) except -1:
        """Drops what no result, guard or check needs; the others move up and are numbered again."""
        cdef Record *records
        cdef int *operands
        cdef Work *w
        cdef Py_ssize_t i, n
        cdef int k, kept = 0
        cdef Record *r
        cdef int *moved
        self.mark_wanted()
        check_dropped(self)
        n = self.code.n
        w = self.w
        if self.has_products:
            self.join_products()        # may move the tables
            self.lay_out_factors()
        records = self.code.records
        operands = self.code.operands
        moved = <int *>table_malloc((n + 1) * sizeof(int))
        if moved == NULL:
            raise MemoryError("a program of %d steps" % n)
        for i in range(n):
            r = &records[i]
            moved[i] = kept
            if not w[i].wanted:
                Py_XDECREF(r.prim)
                Py_XDECREF(r.meta)
                continue
            for k in range(r.first, r.first + r.count):
                if operands[k] >= 0:
                    operands[k] = moved[operands[k]]
            if kept != i:
                records[kept] = r[0]
                w[kept] = w[i]
            kept += 1
        self.code.n = kept
        self.results = [moved[<int>o] if o >= 0 else o for o in self.results]
        self.updates = [(j, moved[<int>o] if o >= 0 else o) for j, o in self.updates]
        table_free(moved)
        return 0

    cdef int join_products(self) except -1:
        """Lets a product that is only added to another one be added where that one is computed."""
        cdef Code code = self.code
        cdef int *uses = <int *>table_calloc(code.n, sizeof(int))
        cdef Py_ssize_t i, k
        cdef int operand, x, y
        cdef Record *r
        if uses == NULL:
            raise MemoryError("a program of %d steps" % code.n)
        try:
            for i in range(code.n):
                r = &code.records[i]
                for k in range(r.count if self.w[i].wanted else 0):
                    operand = code.operands[r.first + k]
                    if operand >= 0:
                        uses[operand] += 1
            for operand in self.results:
                if operand >= 0:
                    uses[operand] += 2
            for _, operand in self.updates:
                if operand >= 0:
                    uses[operand] += 2
            for i in range(code.n):
                r = &code.records[i]
                if not self.w[i].wanted or r.prim != <PyObject *>P_ADD or r.count != 2 or r.extra >= 0:
                    continue
                x, y = code.operands[r.first], code.operands[r.first + 1]
                if x >= 0 and y >= 0 and uses[x] == uses[y] == 1 and self.is_product(x, r.meta) \
                        and self.is_product(y, r.meta):
                    self.join_product(i, x, y)
        finally:
            table_free(uses)
        return 0

    cdef int lay_out_factors(self) except -1:
        """Marks right factors of several products: of a view, each of them would make a copy."""
        cdef Record *r
        cdef Py_ssize_t i
        cdef int factor
        cdef set seen = set()
        for i in range(self.code.n):
            r = self.record(<int>i)
            if not self.w[i].wanted or not self.is_product(<int>i, r.meta) or not self.adds_up(<int>i):
                continue
            factor = self.code.operands[r.first + 1]
            if factor >= 0:
                self.w[factor].laid_out = factor in seen
                seen.add(factor)
        return 0

    cdef bint is_product(self, int number, PyObject *meta) except -1:
        """Whether a value is a product of matrices, or a sum of such that are added up in place."""
        cdef Record *r = self.record(number)
        if r.prim == <PyObject *>P_MATMUL_ADD:
            return same_meta(r.meta, meta)
        return is_plain_product(r) and same_meta(r.meta, meta)

    cdef int join_product(self, Py_ssize_t number, int x, int y) except -1:
        """Makes a sum of two products the second one, added to the first."""
        cdef Record *r
        cdef int operands[3]
        cdef int product = y if self.record(y).count == 2 else x
        if self.record(product).count != 2 or not self.adds_up(product):
            return 0
        r = self.record(product)
        operands[0] = self.code.operands[r.first]
        operands[1] = self.code.operands[r.first + 1]
        operands[2] = x if product == y else y
        self.code.set_operands(number, operands, 3)
        r = self.record(<int>number)
        Py_DECREF(<object>r.prim)
        Py_INCREF(P_MATMUL_ADD)
        r.prim = <PyObject *>P_MATMUL_ADD
        self.w[product].wanted = False
        return 0

    cdef bint adds_up(self, int number) except -1:
        """Whether a product is of matrices and done by the machine itself, which can add it up."""
        cdef cnp.npy_intp dims[4]
        cdef Record *r = self.record(number)
        cdef Meta meta = <Meta>r.meta
        cdef char code = code_of(meta.dtype)
        cdef object a = self.looks(self.code.operands[r.first])
        cdef object b = self.looks(self.code.operands[r.first + 1])
        if code != b"d" and code != b"f" or len(meta.shape) != 2 or a is None or b is None \
                or len(a.shape) != 2 or len(b.shape) != 2 or not a.dtype == b.dtype == meta.dtype:
            return False
        dims[0] = 1
        dims[1] = meta.shape[0]
        dims[2] = a.shape[1]
        dims[3] = meta.shape[1]
        return product_suits(dims)

    cdef object looks(self, int operand):
        """What has the shape and dtype of an operand: a Meta, or an array; None without."""
        cdef object value
        if operand >= 0:
            return self.meta_of(operand)
        value = self.code.constant_at(operand)
        return value if cnp.PyArray_CheckExact(value) else None

    cdef inline void want(self, int operand) noexcept:
        if operand >= 0:
            self.w[operand].wanted = True


cdef bint only_axes(dict kwargs) except -1:
    if kwargs is not None:
        for name in kwargs:
            if name != "axis" and name != "keepdims":
                return False
    return True


cdef Draft drafted(Recording r, bint fastmath):
    cdef Draft d = Draft.__new__(Draft)
    d.recording = r
    d.fastmath = fastmath
    d.code = Code.__new__(Code)
    d.keywords = {}
    d.scattered = {}
    d.simplify()
    d.let_go()
    return d
