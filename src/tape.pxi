# The tape: a Wengert list.
#
#   entries   [0] LEAF        the differentiated argument
#             [1] SCALAR      p0, p1: slots of the parents;  s0, s1: partial derivatives
#             [2] ELEMENTWISE p0, p1;  res: where its residuals begin in `refs`
#             [3] CALL        p0, p1, or p0 = start and p1 = count in `more` when there are many
#              ...            in the order of execution, so a slot is a topological order already
#   refs      residuals of all entries, one after the other, in one Python list: the only thing
#             about entries that the cyclic collector sees
#   more      (slot, argument number) pairs of entries with more than two traced arguments
#
# The reverse sweep walks the entries backwards once. An adjoint is a double (`o == MARK`) for a
# float64 scalar, an object otherwise, and NULL until a contribution arrives.

cdef enum EntryKind:
    LEAF                # no parents: an argument, or a value that no argument reaches
    SCALAR_ENTRY        # partials as doubles
    ELEMENTWISE_ENTRY   # a row of partials: residuals are [result][arguments...][shapes to fit]
    CALL_ENTRY          # rules for whole arrays: residuals are result, arguments..., keywords
    PICK_ENTRY          # one item of an array: s0 holds the flat index, the residual is the array's Meta
    INDEX_ENTRY         # indexing: residuals are the index and the array's Meta
    MAKER_ENTRY         # rules as closures (extend.defvjp): one residual for each parent
    ARRAY_ENTRY         # an array of one axis from scalars: all parents in `more`, no residuals
    SET_ENTRY           # x[index] = value by basic indexing: residuals are the index and the value's Meta
    PROGRAM_ENTRY       # a compiled function: residuals are a Linear and the parents' Metas; s0 results
    PART_ENTRY          # a result, number s0 of s1, of the compiled function with several that is its parent

cdef enum EntryFlag:
    FIT0 = 1            # the first parent's contribution must be brought to its shape and dtype
    FIT1 = 2
    DOUBLE = 4          # the result is a float64 scalar: its adjoint is a double
    MANY = 8            # more than two parents, in `more`
    JOINT = 16          # MAKER_ENTRY: one closure returns the contributions of all parents

cdef struct Entry:
    PyObject *prim          # borrowed: it lives for ever, or the tape's `prims` has it
    double s0
    double s1
    int p0
    int p1
    unsigned int res
    unsigned int nref
    unsigned char a0        # argument numbers of the parents
    unsigned char a1
    unsigned char kind
    unsigned char flags
    unsigned char saved     # ELEMENTWISE_ENTRY: bit 0 the result, bit k + 1 argument k

cdef struct Adjoint:
    double d
    PyObject *o             # NULL: none yet; MARK: `d` holds it; else an owned object

cdef extern from "loops.h":
    PyObject *MARK          # an address no object has
    bint OWNED_ARRAY(PyObject *a) noexcept
    bint OWNED_OBJECT(PyObject *o) noexcept
    void sweep_begins() noexcept
    void sweep_ends() noexcept
    bint in_sweep() noexcept

cdef struct Parent:
    int slot
    int arg


# The entries of the last short tape, kept for the next one.
cdef enum:
    SPARE_ENTRIES = 512
cdef Entry *spare_entries = NULL
cdef long long last_tape = 0


@cython.final
cdef class Tape:
    """The entries of one reverse trace."""
    cdef Entry *entries
    cdef Py_ssize_t n, capacity
    cdef Py_ssize_t limit       # where `push` asks for room: the capacity; `n` once the tape is sealed
    cdef bint sealed
    cdef Parent *more
    cdef Py_ssize_t nmore, more_capacity
    cdef list refs
    cdef list prims             # primitives that nothing else may hold
    cdef long long number       # unlike that of any other tape
    cdef list lines             # debug mode: where each entry was recorded
    cdef dict sums              # debug mode: check sums of residual arrays
    cdef int flags              # floating-point flags raised by partials while recording
    cdef list raised            # debug mode: the same as (slot, flags)

    def __cinit__(self):
        global spare_entries, last_tape
        last_tape += 1
        self.number = last_tape
        self.capacity = self.limit = SPARE_ENTRIES
        self.entries = spare_entries
        spare_entries = NULL
        if self.entries == NULL:
            self.entries = <Entry *>table_malloc(self.capacity * sizeof(Entry))
        if self.entries == NULL:
            raise MemoryError("tape")
        self.refs = []

    def __dealloc__(self):
        global spare_entries
        if spare_entries == NULL and self.capacity == SPARE_ENTRIES:
            spare_entries = self.entries
        else:
            table_free(self.entries)
        PyMem_Free(self.more)

    def __reduce_ex__(self, protocol):
        raise TypeError("a tape cannot be pickled; pickle the function and record it again")

    cdef int grow(self) except -1:
        cdef Py_ssize_t more = self.capacity if self.capacity < 65536 else self.capacity // 2
        cdef Py_ssize_t capacity = self.capacity + more
        cdef Entry *entries
        if self.sealed:
            raise_outlived()
        if self.n >= INT_MAX:
            raise OverflowError("a tape holds at most 2**31 - 1 entries")
        # Slots are ints: the last capacity is the largest int.
        if capacity > INT_MAX:
            capacity = INT_MAX
        entries = <Entry *>table_realloc(self.entries, capacity * sizeof(Entry))
        if entries == NULL:
            raise MemoryError("tape of %d entries" % capacity)
        self.entries = entries
        self.capacity = self.limit = capacity
        return 0

    cdef void seal(self) noexcept:
        """No entry is added from now on: sweeps keep pointers to entries, and arrays as long as the tape."""
        self.limit = self.n
        self.sealed = True

    cdef inline Entry *push(self, Primitive p, int kind) except NULL:
        """A new last entry.

        Until it is filled and its residuals are kept nothing may run that could run Python (a call, a new
        container or Meta: the cyclic collector calls finalisers), which might record on this tape as well, or
        let another thread do so: the entry would move, its residuals would be torn apart.
        """
        cdef Entry *e
        if debugging:
            note_line(self)
        # A new list may run the collector: room is looked for after it.
        if not p.permanent:
            self.hold(p)
        if self.n == self.limit:
            self.grow()
        e = &self.entries[self.n]
        e.prim = <PyObject *>p
        e.p0 = -1
        e.p1 = -1
        e.a0 = 0
        e.a1 = 0
        e.res = 0
        e.nref = 0
        e.kind = kind
        e.flags = 0
        e.saved = 0
        self.n += 1
        return e

    cdef int hold(self, Primitive p) except -1:
        """Keeps a primitive that may go away, such as one that was made inside a function, alive."""
        if p.held_by != self.number:
            if self.prims is None:
                self.prims = []
            self.prims.append(p)
            p.held_by = self.number
        return 0

    cdef int push_parent(self, int slot, int arg) except -1:
        cdef Py_ssize_t capacity
        cdef Parent *more
        if self.nmore == self.more_capacity:
            if self.nmore > INT_MAX // 4:
                raise OverflowError("a tape holds at most 2**29 parents of calls with many arguments")
            capacity = self.more_capacity * 2 + 16
            more = <Parent *>PyMem_Realloc(self.more, capacity * sizeof(Parent))
            if more == NULL:
                raise MemoryError("tape")
            self.more = more
            self.more_capacity = capacity
        self.more[self.nmore].slot = slot
        self.more[self.nmore].arg = arg
        self.nmore += 1
        return 0

    cdef inline int keep(self, Entry *e, object residual) except -1:
        """Appends a residual to the entry that was pushed last."""
        if e.nref == 0:
            if PyList_GET_SIZE(self.refs) > UINT_MAX:
                raise OverflowError("a tape holds at most 2**32 residuals")
            e.res = <unsigned int>PyList_GET_SIZE(self.refs)
        PyList_Append(self.refs, residual)
        e.nref += 1
        return 0

    cdef inline PyObject *residual(self, Entry *e, int j) noexcept:
        """Borrowed."""
        return PyList_GET_ITEM(self.refs, <Py_ssize_t>e.res + j)

    cdef int release(self, Entry *e) except -1:
        """Lets go of an entry's residuals, for a sweep that nobody can repeat."""
        cdef unsigned int j
        cdef PyObject *old
        for j in range(e.nref):
            old = PyList_GET_ITEM(self.refs, <Py_ssize_t>e.res + j)
            Py_INCREF(None)
            PyList_SET_ITEM(self.refs, <Py_ssize_t>e.res + j, None)
            Py_DECREF(<object>old)
        return 0
