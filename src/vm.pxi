# The driver of replays: the tables of a program for the machine, and a run with its Python steps.

cdef extern from "loops.h":
    void libm_sincos(double x, double *s, double *c) noexcept nogil
    void cast_f_d(char **args, const cnp.npy_intp *dims, const cnp.npy_intp *steps, void *data) noexcept nogil
    void cast_d_f(char **args, const cnp.npy_intp *dims, const cnp.npy_intp *steps, void *data) noexcept nogil
    void cast_d_D(char **args, const cnp.npy_intp *dims, const cnp.npy_intp *steps, void *data) noexcept nogil
    void cast_b_d(char **args, const cnp.npy_intp *dims, const cnp.npy_intp *steps, void *data) noexcept nogil
    void cast_d_b(char **args, const cnp.npy_intp *dims, const cnp.npy_intp *steps, void *data) noexcept nogil

cdef enum:
    ALIGNMENT = 64
    LONG_PROGRAM = 20000        # nanoseconds: worth giving the GIL away
    # Nanoseconds after which a run looks for signals, with and without the GIL; with it, other threads wait.
    # With the GIL held: longer than Python's switch interval of 5 ms, after which a waiting thread asks for
    # it. A release before that would be taken back before the other thread has woken up.
    HELD_SLICE = 12000000
    FREE_SLICE = 30000000


@cython.final
cdef class Memory:
    """A block of aligned memory that arrays may look at."""
    cdef char *data
    cdef void *block

    def __dealloc__(self):
        PyMem_Free(self.block)


cdef Memory new_memory(Py_ssize_t nbytes):
    cdef Memory m = Memory.__new__(Memory)
    m.block = PyMem_Malloc(nbytes + ALIGNMENT)
    if m.block == NULL:
        raise MemoryError("%d bytes for a replay" % nbytes)
    m.data = <char *>((<size_t>m.block + ALIGNMENT - 1) & ~<size_t>(ALIGNMENT - 1))
    return m


@cython.final
cdef class Frame:
    """What one run of a program has for itself: arena, scratch, base pointers, objects of Python steps."""
    cdef Memory arena, scratch
    cdef Run run                # how far it has come
    cdef char **bases
    cdef list owners            # by base: the object that keeps the memory alive
    cdef list objects           # results of Python steps that are no arrays
    cdef list scalars           # arrays of scalar inputs
    cdef int raised             # floating-point flags from before the last Python step

    def __dealloc__(self):
        PyMem_Free(self.bases)


cdef bint can_hold(cnp.ndarray a, Spot spot) except -1:
    """Whether an array is as a program writes a result."""
    return cnp.PyArray_CHKFLAGS(a, cnp.NPY_ARRAY_CARRAY) and cnp.PyArray_ISNOTSWAPPED(a) \
        and cnp.PyArray_TYPE(a) == spot.dtype.type_num and shape_tuple(a) == spot.shape


cdef enum ResultKind:
    RESULT_OUTPUT       # a fresh array, which the program filled
    RESULT_SCALAR       # a register
    RESULT_INPUT        # an argument itself
    RESULT_CONSTANT
    RESULT_COPY         # a copy of some memory of the program
    RESULT_OBJECT       # what a Python step returned
    RESULT_SAME         # the same object as an earlier result


@cython.final
cdef class Result:
    """Where a result of the function is when the steps are done."""
    cdef int kind
    cdef bint late              # depends on seeds
    cdef int index              # output, input, object or earlier result; register address of a scalar
    cdef Node node              # what it is the value of, unless a constant
    cdef object value
    cdef Spot spot


@cython.final
cdef class ReplayProgram:
    """A recording as a program for the replay machine.

    It is immutable once planned: each run has a `Frame` of its own, so that any number of threads may run it.
    """
    cdef VmPlan plan
    cdef int capacity[9]
    cdef int nscalars, ncalls, ngroups, nloops, nroutines, ncopies, nclears, nguards
    cdef readonly Py_ssize_t size       # number of inputs
    cdef readonly Py_ssize_t arena_bytes
    cdef int nbases
    cdef bint fastmath          # formulas may change the last bits
    cdef bint split             # while building: the next scalar instruction begins a step
    cdef int body               # the first step that depends on a seed
    cdef bint late_guards       # some guards depend on a seed
    cdef list metas             # by input: shape and dtype
    cdef Py_ssize_t *inputs     # by input: the register address of a scalar, or -1
    cdef list constants         # arrays, by base from `size` + 1 on
    cdef int noutputs           # results with a base of their own, behind those
    cdef bint owned             # somebody asks for the owners of bases
    cdef bint collects          # some results are no arrays that the program writes itself
    cdef list results           # Result
    cdef list registers         # (address, bytes) of constant registers
    cdef list python            # by Python step: PythonStep
    cdef int nobjects
    cdef list frames            # unused ones
    cdef public double slice    # nanoseconds of a run after which it looks for signals
    cdef int nnodes, nlooks     # of the program; guards and checks of the recording
    cdef Py_ssize_t nrecorded
    cdef list updates           # (input, its place or None, its register)
    cdef set primitives         # those whose loops it calls that may go away
    cdef Domains domains        # of its checks
    cdef readonly int interpreted   # runs until its scalar instructions get machine code; 0: no more
    cdef Py_ssize_t translated  # instructions that have it
    cdef Py_ssize_t running     # runs that have begun and not ended
    cdef int hides              # flags that calls it does without might have raised: underflow

    def __cinit__(self):
        self.frames = []
        self.python = []
        self.constants = []
        self.results = []
        self.registers = []
        self.updates = []

    def __init__(self, Recording recording, seeds=frozenset(), int threads=1, bint fastmath=False):
        """Plans a recording; inputs whose numbers are in `seeds` may be varied by `run_seeds`.

        Large elementwise work is shared by at most so many threads.
        """
        self.fastmath = fastmath
        self.plan.threads = threads
        plan_recording(self, recording, frozenset(seeds))
        self.slice = FREE_SLICE if self.plan.cost > LONG_PROGRAM else HELD_SLICE
        self.interpreted = native_runs if self.nscalars >= native_least else 0

    @property
    def summary(self):
        """How much there is of what, by name; and the names of what is left to Python."""
        cdef int k
        return {
            "inputs": self.size, "nodes": self.nnodes, "recorded": self.nrecorded, "scalars": self.nscalars,
            "groups": self.ngroups, "grouped": sum([self.plan.groups[k].nins for k in range(self.ngroups)]),
            "calls": self.nloops, "copies": self.ncopies, "clears": self.nclears,
            "python": names_in_python(self), "routines": self.nroutines,
            "arena": self.arena_bytes, "guards": self.nlooks, "steps": self.plan.nsteps,
            "translated": self.translated,
        }

    def __dealloc__(self):
        cdef int i, j
        native_free(&self.plan)
        for i in range(self.ngroups):
            for j in range(self.plan.groups[i].nstrided):
                PyMem_Free(self.plan.groups[i].strided[j].shape)
                PyMem_Free(self.plan.groups[i].strided[j].strides)
            PyMem_Free(self.plan.groups[i].regs)
            PyMem_Free(self.plan.groups[i].ins)
            PyMem_Free(self.plan.groups[i].strided)
            PyMem_Free(self.plan.groups[i].reductions)
        for i in range(self.ncopies):
            PyMem_Free(self.plan.copies[i].shape)
            PyMem_Free(self.plan.copies[i].from_strides)
            PyMem_Free(self.plan.copies[i].to_strides)
        PyMem_Free(self.inputs)
        PyMem_Free(self.plan.steps)
        PyMem_Free(self.plan.scalars)
        PyMem_Free(self.plan.calls)
        PyMem_Free(self.plan.groups)
        PyMem_Free(self.plan.loops)
        PyMem_Free(self.plan.routines)
        PyMem_Free(self.plan.copies)
        PyMem_Free(self.plan.clears)
        PyMem_Free(self.plan.guards)

    # --- building ---------------------------------------------------------------------------

    cdef int add_step(self, int kind, int index, int stop) except -1:
        self.plan.steps = <Step *>room_for(self.plan.steps, self.plan.nsteps, &self.capacity[0], sizeof(Step))
        self.plan.steps[self.plan.nsteps].kind = kind
        self.plan.steps[self.plan.nsteps].index = index
        self.plan.steps[self.plan.nsteps].stop = stop
        self.plan.nsteps += 1
        return 0

    cdef ScalarIns *add_scalar(self, int op, int k, unsigned int a, unsigned int b,
                               unsigned int out) except NULL:
        """One more scalar instruction, in the step that the last one belongs to if nothing came between."""
        cdef ScalarIns *i
        cdef Step *last = NULL
        if self.plan.nsteps:
            last = &self.plan.steps[self.plan.nsteps - 1]
        self.plan.scalars = <ScalarIns *>room_for(self.plan.scalars, self.nscalars, &self.capacity[1],
                                                  sizeof(ScalarIns))
        i = &self.plan.scalars[self.nscalars]
        i.op = op
        i.k = k
        i.a = a
        i.b = b
        i.out = out
        self.nscalars += 1
        if last == NULL or last.kind != STEP_SCALARS or self.split:
            self.split = False
            self.add_step(STEP_SCALARS, self.nscalars - 1, self.nscalars)
        else:
            last.stop = self.nscalars
        return i

    cdef int reserve_scalars(self, int n) except -1:
        """Room for so many scalar instructions."""
        self.plan.scalars = <ScalarIns *>PyMem_Malloc((n + 1) * sizeof(ScalarIns))
        if self.plan.scalars == NULL:
            raise MemoryError("a program of %d instructions" % n)
        self.capacity[1] = n + 1
        return 0

    cdef int trim_scalars(self) except -1:
        """Gives back the room that was not needed."""
        cdef void *trimmed = PyMem_Realloc(self.plan.scalars, (self.nscalars + 1) * sizeof(ScalarIns))
        if trimmed != NULL:
            self.plan.scalars = <ScalarIns *>trimmed
            self.capacity[1] = self.nscalars + 1
        return 0

    cdef int loop_number(self, LoopRef loop) except -1:
        """The number of a loop in the table of scalar calls."""
        cdef int k
        for k in range(self.ncalls):
            if self.plan.calls[k].fn == loop.fn and self.plan.calls[k].data == loop.data:
                return k
        if self.ncalls > 65535:
            raise OverflowError("a program calls at most 65536 different scalar functions")
        self.plan.calls = <VmCall *>room_for(self.plan.calls, self.ncalls, &self.capacity[2], sizeof(VmCall))
        self.plan.calls[self.ncalls] = loop
        self.ncalls += 1
        return self.ncalls - 1

    cdef Group *add_group(self, cnp.npy_intp n) except NULL:
        cdef Group *g
        self.plan.groups = <Group *>room_for(self.plan.groups, self.ngroups, &self.capacity[3], sizeof(Group))
        g = &self.plan.groups[self.ngroups]
        memset(g, 0, sizeof(Group))
        g.n = n
        self.ngroups += 1
        self.add_step(STEP_GROUP, self.ngroups - 1, 0)
        return g

    cdef LoopCall *add_call(self) except NULL:
        self.plan.loops = <LoopCall *>room_for(self.plan.loops, self.nloops, &self.capacity[4],
                                               sizeof(LoopCall))
        memset(&self.plan.loops[self.nloops], 0, sizeof(LoopCall))
        self.nloops += 1
        self.add_step(STEP_CALL, self.nloops - 1, 0)
        return &self.plan.loops[self.nloops - 1]

    cdef Routine *add_routine(self, VmRoutine fn, int python) except NULL:
        """A routine, and the number of the step in Python for where it fails."""
        cdef Routine *r
        self.plan.routines = <Routine *>room_for(self.plan.routines, self.nroutines, &self.capacity[8],
                                                 sizeof(Routine))
        r = &self.plan.routines[self.nroutines]
        memset(r, 0, sizeof(Routine))
        r.fn = fn
        r.python = python
        self.nroutines += 1
        self.add_step(STEP_ROUTINE, self.nroutines - 1, 0)
        return r

    cdef Copy *add_copy(self, int ndim) except NULL:
        cdef Copy *c
        cdef size_t bytes = max(ndim, 1) * sizeof(cnp.npy_intp)
        self.plan.copies = <Copy *>room_for(self.plan.copies, self.ncopies, &self.capacity[5], sizeof(Copy))
        c = &self.plan.copies[self.ncopies]
        memset(c, 0, sizeof(Copy))
        self.ncopies += 1
        c.ndim = ndim
        c.shape = <cnp.npy_intp *>PyMem_Malloc(bytes)
        c.from_strides = <cnp.npy_intp *>PyMem_Malloc(bytes)
        c.to_strides = <cnp.npy_intp *>PyMem_Malloc(bytes)
        if c.shape == NULL or c.from_strides == NULL or c.to_strides == NULL:
            raise MemoryError("a copy")
        self.add_step(STEP_COPY, self.ncopies - 1, 0)
        return c

    cdef int add_clear(self, Place at, Py_ssize_t nbytes) except -1:
        self.plan.clears = <Clear *>room_for(self.plan.clears, self.nclears, &self.capacity[6], sizeof(Clear))
        self.plan.clears[self.nclears].at = at
        self.plan.clears[self.nclears].bytes = nbytes
        self.nclears += 1
        return self.add_step(STEP_CLEAR, self.nclears - 1, 0)

    cdef int add_truth_guard(self, Place at, bint outcome, int guard) except -1:
        """A guard on a truth value of one byte."""
        self.plan.guards = <TruthGuard *>room_for(self.plan.guards, self.nguards, &self.capacity[7],
                                                  sizeof(TruthGuard))
        self.plan.guards[self.nguards].at = at
        self.plan.guards[self.nguards].guard = guard
        self.plan.guards[self.nguards].expected = outcome
        self.nguards += 1
        return self.add_step(STEP_GUARD, self.nguards - 1, 0)

    # --- running ------------------------------------------------------------------------------

    def translate(self):
        """Gives scalar instructions machine code; returns how many have it, 0 where that cannot be."""
        self.interpreted = 0
        if self.translated == 0:
            self.translated = native_translate(&self.plan, self.nscalars, native_shortest)
            if self.translated == self.nscalars and self.running == 0:
                PyMem_Free(self.plan.scalars)   # nobody reads them any more
                self.plan.scalars = NULL
        return self.translated

    def run(self, list leaves):
        """The results for these inputs, or the number of the guard that failed."""
        cdef int flags = 0
        cdef tuple packed = tuple(leaves)
        if len(packed) != self.size:
            raise ValueError("%d inputs for a program of %d" % (len(packed), self.size))
        for leaf, meta in zip(leaves, self.metas):
            self.check_input(leaf, meta)
        return self.run_leaves((<PyTupleObject *>packed).ob_item, len(packed), &flags)

    cdef int check_input(self, object leaf, Meta meta) except -1:
        cdef Meta given = meta_of(leaf)
        if given.shape != meta.shape or given.dtype != meta.dtype:
            raise ValueError("an input of shape %s and dtype %s, recorded with shape %s and dtype %s"
                             % (given.shape, given.dtype, meta.shape, meta.dtype))
        if cnp.PyArray_Check(leaf) \
                and not (leaf.flags.c_contiguous and leaf.flags.aligned and leaf.dtype.isnative):
            raise ValueError("an input that is not C-contiguous, aligned and of native byte order")
        return 0

    cdef Frame take_frame(self):
        cdef Frame f
        cdef Py_ssize_t i
        if self.frames:
            f = <Frame>self.frames.pop()
            f.raised = 0
            return f
        f = Frame.__new__(Frame)
        f.arena = new_memory(self.arena_bytes)
        f.scratch = new_memory(self.plan.scratch_bytes)
        f.bases = <char **>PyMem_Calloc(self.nbases, sizeof(char *))
        if f.bases == NULL:
            raise MemoryError("bases of a replay")
        f.bases[0] = f.arena.data
        f.owners = [None] * self.nbases
        f.owners[0] = f.arena
        for i in range(len(self.constants)):
            f.bases[1 + self.size + i] = <char *>cnp.PyArray_DATA(<cnp.ndarray>self.constants[i])
            f.owners[1 + self.size + i] = self.constants[i]
        f.objects = [None] * self.nobjects
        f.scalars = []
        for address, data in self.registers:
            memcpy(f.arena.data + <Py_ssize_t>address * 8, <const char *><bytes>data, len(<bytes>data))
        return f

    cdef object run_leaves(self, PyObject **leaves, Py_ssize_t n, int *flags, list targets=None):
        """A run: a list of results, or the number of the guard that failed; `flags`: of floating point.

        By result, `targets` holds arrays to which the program may write, if they are as it writes them.
        """
        cdef Frame f = self.take_frame()
        cdef Py_ssize_t i
        cdef int guard
        cdef list out
        try:
            for i in range(n):
                self.set_input(f, i, leaves[i])
            out = self.fresh_outputs(f) if targets is None else self.targeted_outputs(f, targets)
            fp_clear()
            guard = self.run_steps(f, 0, self.plan.nsteps)
            flags[0] = fp_flags() | f.raised
            flags[0] |= self.hidden()
            if guard >= 0:
                return guard
            if self.collects:
                self.collect(f, out)
            return out
        finally:
            self.give_back(f)

    cdef list fresh_outputs(self, Frame f):
        """The list of results, in which those that the program writes itself are fresh arrays."""
        cdef list out = PyList_New(PyList_GET_SIZE(self.results))
        cdef Py_ssize_t i
        cdef Result r
        cdef object a
        for i in range(PyList_GET_SIZE(out)):
            r = <Result>PyList_GET_ITEM(self.results, i)
            a = None
            if r.kind == RESULT_OUTPUT:
                a = self.fresh_output(f, r)
            Py_INCREF(a)
            PyList_SET_ITEM(out, i, a)
        return out

    cdef list targeted_outputs(self, Frame f, list targets):
        """The same with arrays of the caller's where they fit."""
        cdef Py_ssize_t i
        cdef Result r
        cdef list out = [None] * PyList_GET_SIZE(self.results)
        for i in range(PyList_GET_SIZE(out)):
            r = <Result>self.results[i]
            if r.kind != RESULT_OUTPUT:
                continue
            if i < len(targets) and targets[i] is not None and can_hold(<cnp.ndarray>targets[i], r.spot):
                out[i] = targets[i]
                self.set_base(f, r.index, out[i])
            else:
                out[i] = self.fresh_output(f, r)
        return out

    cdef inline object fresh_output(self, Frame f, Result r):
        """A fresh array, which the program fills."""
        cdef object a = r.spot.fresh()
        self.set_base(f, r.index, a)
        return a

    cdef inline int set_base(self, Frame f, Py_ssize_t base, object a) except -1:
        """Points a base at an array that the caller keeps alive; Python steps and views need its owner."""
        f.bases[base] = <char *>cnp.PyArray_DATA(<cnp.ndarray>a)
        if self.owned:
            f.owners[base] = a
        return 0

    cdef inline int set_input(self, Frame f, Py_ssize_t i, PyObject *leaf) except -1:
        cdef Py_ssize_t at = self.inputs[i]
        cdef object a
        if cnp.PyArray_Check(<object>leaf):
            if at >= 0:
                (<double *>f.arena.data)[at] = (<double *>cnp.PyArray_DATA(<cnp.ndarray>leaf))[0]
            return self.set_base(f, 1 + i, <object>leaf)
        if at >= 0:
            (<double *>f.arena.data)[at] = <object>leaf
            return 0
        # A scalar of another type: its bytes are read like those of an array.
        a = np_asarray(<object>leaf)
        f.scalars.append(a)
        return self.set_base(f, 1 + i, a)

    cdef int run_steps(self, Frame f, int start, int stop) except -2:
        """Runs some steps; returns -1, or the number of the guard that failed."""
        if self.interpreted:
            self.interpreted -= 1
            if self.interpreted == 0:
                self.translate()
        self.running += 1
        try:
            return self.run_steps_now(f, start, stop)
        finally:
            self.running -= 1

    cdef int run_steps_now(self, Frame f, int start, int stop) except -2:
        cdef int stopped, where = 0
        f.run.done = 0
        f.run.slice = self.slice
        f.run.spent += 500      # for what is done around a run
        while True:
            if self.plan.cost > LONG_PROGRAM:
                with nogil:
                    stopped = vm_run(&self.plan, f.bases, f.scratch.data, &f.run, start, stop, &where)
            else:
                stopped = vm_run(&self.plan, f.bases, f.scratch.data, &f.run, start, stop, &where)
            if stopped == VM_DONE:
                return -1
            if stopped == VM_GUARD:
                return where
            start = where
            # NumPy's functions, which handlers of signals may call, too, clear the flags and report theirs.
            f.raised |= fp_flags()
            if stopped == VM_PYTHON:
                where = self.plan.steps[start].index
                if self.plan.steps[start].kind == STEP_ROUTINE:
                    where = self.plan.routines[where].python
                where = (<PythonStep>self.python[where]).run(f)
                if where >= 0:
                    fp_clear()
                    return where
                start += 1
            if stopped == VM_PAUSE or vm_is_late(&f.run):
                self.look_around(f)
            fp_clear()

    cdef inline int hidden(self) except -1:
        """What calls that the program does without might have raised, as far as somebody wants to know."""
        return self.hides if self.hides and reports_underflow() else 0

    cdef int look_around(self, Frame f) except -1:
        """Between two slices of a long run: other threads, and handlers of signals, which may raise."""
        if self.plan.cost <= LONG_PROGRAM:
            with nogil:
                pass
        PyErr_CheckSignals()
        vm_resume(&f.run)
        return 0

    # --- in two parts -----------------------------------------------------------------------

    def divides(self, Py_ssize_t count):
        """Whether that many results, the first ones, and the way through the guards depend on no seed."""
        cdef Py_ssize_t i
        for i in range(count):
            if (<Result>self.results[i]).late:
                return False
        return not self.late_guards and not self.updates

    cdef int start(self, Started s, list leaves, Py_ssize_t count, int *flags) except -2:
        """Runs what does not depend on the seeds; returns -1, or the number of the guard that failed.

        Parameters
        ----------
        s : Started
            An empty one, which becomes this run.
        leaves : list
            The inputs but for the seeds, which are the last inputs. Nobody may change them after.
        count : int
            The number of results, the first ones, that are to be had at once; see `divides`.
        flags : pointer
            Receives the floating-point flags that were raised.
        """
        cdef Frame f = self.take_frame()
        cdef Py_ssize_t i
        cdef int guard
        cdef Result r
        s.replay = self
        s.leaves = leaves
        s.count = count
        s.out = [None] * PyList_GET_SIZE(self.results)
        try:
            for i in range(PyList_GET_SIZE(leaves)):
                self.set_input(f, i, PyList_GET_ITEM(leaves, i))
            for i in range(PyList_GET_SIZE(self.results)):
                r = <Result>self.results[i]
                if r.kind == RESULT_OUTPUT and not r.late:
                    s.out[i] = self.fresh_output(f, r)
            fp_clear()
            guard = self.run_steps(f, 0, self.body)
            flags[0] = fp_flags() | f.raised
            flags[0] |= self.hidden()
            if guard >= 0:
                return guard
            for i in range(count):
                r = <Result>self.results[i]
                if r.kind != RESULT_OUTPUT:
                    s.out[i] = self.collected(f, r, s.out)
            s.frame = f
            return -1
        finally:
            if s.frame is None:
                self.give_back(f)

    cdef int finish(self, Frame f, list seeds, Py_ssize_t count, list out) except -1:
        """Runs what depends on the seeds, and fills in the results from `count` on."""
        cdef Py_ssize_t i, first = self.size - PyList_GET_SIZE(seeds), scalars = len(f.scalars)
        cdef Result r
        f.raised = 0
        for i in range(PyList_GET_SIZE(seeds)):
            self.set_input(f, first + i, PyList_GET_ITEM(seeds, i))
        for i in range(count, PyList_GET_SIZE(self.results)):
            r = <Result>self.results[i]
            if r.kind == RESULT_OUTPUT:
                out[i] = self.fresh_output(f, r) if r.late else out[i].copy()
        try:
            fp_clear()
            if self.run_steps(f, self.body, self.plan.nsteps) >= 0:
                raise SystemError("a guard behind the start of a replay")
            if fp_flags() | f.raised:
                give_errors("gradient", fp_flags() | f.raised)
            for i in range(count, PyList_GET_SIZE(self.results)):
                r = <Result>self.results[i]
                if r.kind != RESULT_OUTPUT:
                    out[i] = self.collected(f, r, out)
        finally:
            del f.scalars[scalars:]
        return 0

    # --- many runs at once ------------------------------------------------------------------

    def run_seeds(self, list leaves, dict seeds, list flags=None):
        """Runs the program once for each row of the seeds; what does not depend on them is computed once.

        Parameters
        ----------
        leaves : list
            The inputs; those of the seeds are ignored.
        seeds : dict
            By input number: a C-contiguous array of the input's dtype with one more axis, the first.
        flags : list, optional
            Receives the floating-point flags that were raised, as NumPy numbers them.

        Returns
        -------
        list or int
            The results, each with one more axis; or the number of the guard that failed.
        """
        cdef Frame f = self.take_frame()
        cdef Py_ssize_t i, k, n = 0
        cdef list rows, stacked = None, kept = []
        cdef int guard, raised
        cdef object leaf
        try:
            for i in range(len(leaves)):
                leaf = leaves[i]
                if i in seeds:
                    n = len(seeds[i])
                    leaf = seeds[i][0] if n else leaf
                kept.append(leaf)
                self.set_input(f, i, <PyObject *>leaf)
            rows = self.fresh_outputs(f)
            fp_clear()
            guard = self.run_steps(f, 0, self.body)
            if guard >= 0:
                return guard
            for k in range(n):
                if k == 1 and not self.owned and not self.collects:
                    guard = self.run_rows(f, seeds, stacked, n)
                    if guard >= 0:
                        return guard
                    break
                for i in seeds:
                    kept[i] = leaf = seeds[i][k]
                    self.set_input(f, i, <PyObject *>leaf)
                if stacked is not None:
                    self.aim_outputs(f, stacked, rows, k)
                guard = self.run_steps(f, self.body, self.plan.nsteps)
                if guard >= 0:
                    return guard
                self.collect(f, rows)
                if stacked is None:
                    stacked = []
                    for row in rows:
                        stacked.append(np_empty((n, *np_shape(row)), np_asarray(row).dtype))
                for i in range(len(rows)):
                    # Rows that the program wrote to their place already are not copied.
                    if k == 0 or (<Result>self.results[i]).kind != RESULT_OUTPUT:
                        stacked[i][k] = rows[i]
            if flags is not None:
                raised = fp_flags() | f.raised
                flags.append(fp_to_npy(raised | self.hidden()))
            return stacked if stacked is not None else []
        finally:
            self.give_back(f)

    cdef int run_rows(self, Frame f, dict seeds, list stacked, Py_ssize_t n) except -2:
        """All rows of the seeds but the first, where the program itself writes all results: pointers move."""
        cdef Py_ssize_t i, j, k
        cdef int guard
        cdef cnp.ndarray a
        cdef Result r
        for k in range(1, n):
            for i in seeds:
                a = <cnp.ndarray>seeds[i]
                f.bases[1 + i] = <char *>cnp.PyArray_DATA(a) + k * cnp.PyArray_STRIDES(a)[0]
                if self.inputs[i] >= 0:
                    (<double *>f.arena.data)[self.inputs[i]] = (<double *>f.bases[1 + i])[0]
            for j in range(PyList_GET_SIZE(self.results)):
                a = <cnp.ndarray>PyList_GET_ITEM(stacked, j)
                r = <Result>PyList_GET_ITEM(self.results, j)
                f.bases[r.index] = <char *>cnp.PyArray_DATA(a) + k * cnp.PyArray_STRIDES(a)[0]
            guard = self.run_steps(f, self.body, self.plan.nsteps)
            if guard >= 0:
                return guard
        return -1

    cdef int aim_outputs(self, Frame f, list stacked, list rows, Py_ssize_t k) except -1:
        """Results that the program writes itself go to row `k` of their stacks."""
        cdef Py_ssize_t i
        cdef Result r
        for i in range(PyList_GET_SIZE(self.results)):
            r = <Result>self.results[i]
            if r.kind == RESULT_OUTPUT:
                rows[i] = stacked[i][k]
                self.set_base(f, r.index, rows[i])
        return 0

    def run_loop(self, list leaves, Py_ssize_t n, list carry, slices=(), traces=()):
        """Runs the program `n` times, some results becoming inputs of the next run.

        Parameters
        ----------
        leaves : list
            The inputs of the first run. They are not changed.
        n : int
            The number of runs.
        carry : list of (int, int)
            Numbers of an input and of the result, of the same shape and dtype, that it becomes.
        slices : list of (int, ndarray, ndarray)
            An input that in run `k` is as many rows of an array as it has, from row
            ``starts[k % len(starts)]`` on: the input's number, the C-contiguous array, and `starts`, an int64
            array.
        traces : list of int
            Numbers of results, float64 scalars, whose values in all runs are returned.

        Returns
        -------
        done : int
            Runs that were done: less than `n` where a guard failed in the next one.
        leaves : list
            The inputs of the next run.
        traced : list of ndarray
            Of length `done`.
        """
        cdef Frame f = self.take_frame()
        cdef Py_ssize_t i, j, k = 0
        cdef list current = list(leaves), traced = [np_empty(n) for _ in traces], out
        cdef list objects = self.objects_of(carry)
        cdef object leaf
        cdef int guard = -1, raised = 0
        cdef cnp.ndarray array, starts
        cdef Result r
        for i, array, starts in slices:
            if starts.dtype != np_int64 or not array.flags.c_contiguous:
                raise TypeError("run_loop: starts must be int64 and the sliced array C-contiguous")
        try:
            for i, j in carry:
                if cnp.PyArray_Check(current[i]):
                    current[i] = np_array(current[i], order="C")
            for i in range(len(leaves)):
                leaf = current[i]
                self.set_input(f, i, <PyObject *>leaf)
            out = self.fresh_outputs(f)
            fp_clear()
            while k < n:
                for i, array, starts in slices:
                    j = (<long long *>cnp.PyArray_DATA(starts))[k % cnp.PyArray_SIZE(starts)]
                    f.bases[1 + i] = <char *>cnp.PyArray_DATA(array) + j * cnp.PyArray_STRIDES(array)[0]
                guard = self.run_steps(f, 0, self.plan.nsteps)
                if guard >= 0:
                    break
                for i in range(len(traced)):
                    r = <Result>self.results[<Py_ssize_t>traces[i]]
                    (<double *>cnp.PyArray_DATA(<cnp.ndarray>traced[i]))[k] = self.traced_value(f, r)
                self.carry_on(f, carry, objects, current, out)
                k += 1
            if guard >= 0:
                traced = [t[:k] for t in traced]
            for i, j in carry:
                if not cnp.PyArray_Check(current[i]) and self.inputs[i] >= 0:
                    current[i] = (<double *>f.arena.data)[self.inputs[i]]
                    if type(leaves[i]) is not float:
                        current[i] = float64(current[i])
            raised = fp_flags() | f.raised
        finally:
            self.give_back(f)
        if raised:
            give_errors("replay", raised)
        return k, current, traced

    cdef double traced_value(self, Frame f, Result r) except? -1.0:
        """The value of a float64 scalar among the results."""
        if r.kind == RESULT_SAME:
            return self.traced_value(f, <Result>self.results[r.index])
        if r.kind == RESULT_SCALAR:
            return (<double *>f.arena.data)[r.index]
        if r.kind == RESULT_INPUT and self.inputs[r.index] >= 0:
            return (<double *>f.arena.data)[self.inputs[r.index]]
        if r.kind == RESULT_CONSTANT:
            return r.value
        raise TypeError("run_loop: a traced result must be a float64 scalar")

    cdef list objects_of(self, list carry):
        """The items of a carry that pass through an object: results with no register or array."""
        cdef Py_ssize_t i, j, k
        cdef Result r
        cdef list taken = []
        for i, j in carry:
            r = <Result>self.results[j]
            if r.kind == RESULT_OUTPUT:
                continue
            if r.kind == RESULT_SCALAR and self.inputs[i] >= 0:
                for k in range(self.size):
                    if self.inputs[k] == r.index:       # the value of an input, which may change before
                        break
                else:
                    continue
            taken.append((i, j))
        return taken

    cdef int carry_on(self, Frame f, list carry, list objects, list current, list out) except -1:
        """Results become inputs: arrays change places with the inputs, so that nothing is copied."""
        cdef Py_ssize_t i, j
        cdef Result r
        cdef object new
        cdef list taken = None
        if objects:
            # Taken before any input changes: such a result may be an input, or share the array of another.
            self.collect(f, out)
            taken = [np_array(out[j], order="C") if cnp.PyArray_Check(out[j]) else out[j] for _, j in objects]
        for i, j in carry:
            r = <Result>self.results[j]
            if r.kind == RESULT_OUTPUT:
                new = out[j]
                out[j] = current[i]
                self.set_base(f, r.index, out[j])
                current[i] = new
                self.set_input(f, i, <PyObject *>new)
            elif r.kind == RESULT_SCALAR and self.inputs[i] >= 0:
                (<double *>f.arena.data)[self.inputs[i]] = (<double *>f.arena.data)[r.index]
                if self.owned:
                    f.owners[1 + i] = None      # no longer what was passed in
        if objects:
            for (i, _), new in zip(objects, taken):
                current[i] = new
                self.set_input(f, i, <PyObject *>new)
        return 0

    cdef int give_back(self, Frame f) except -1:
        """Keeps the frame for the next run, without the arrays of this one."""
        cdef Py_ssize_t i
        if self.owned:
            for i in range(1, self.nbases):
                if i <= self.size or i >= self.nbases - self.noutputs:
                    f.owners[i] = None
            for i in range(self.nobjects):
                f.objects[i] = None
        if f.scalars:
            f.scalars.clear()
        self.frames.append(f)
        return 0

    cdef int collect(self, Frame f, list out) except -1:
        """Fills in the results that the program did not write to an array of their own."""
        cdef Py_ssize_t i
        cdef Result r
        for i in range(PyList_GET_SIZE(self.results)):
            r = <Result>PyList_GET_ITEM(self.results, i)
            if r.kind != RESULT_OUTPUT:
                out[i] = self.collected(f, r, out)
        if self.updates:
            self.write_updates(f)
        return 0

    cdef object collected(self, Frame f, Result r, list out):
        """A result that the program did not write to an array of its own."""
        cdef object value
        if r.kind == RESULT_SCALAR:
            return scalar_object((<double *>f.arena.data)[r.index], r.node, r.node.weak)
        if r.kind == RESULT_INPUT:
            return self.input_itself(f, r)
        if r.kind == RESULT_SAME:
            return out[r.index]
        if r.kind == RESULT_OBJECT:
            return f.objects[r.index]
        if r.kind == RESULT_CONSTANT:
            return r.value.copy() if cnp.PyArray_Check(r.value) else r.value
        value = r.spot.array(f).copy()
        return value if r.spot.shape or r.node.array0 else value[()]

    cdef object input_itself(self, Frame f, Result r):
        """An argument as a result: the same array, or a scalar of its type."""
        cdef object a = f.owners[1 + r.index]
        if a is None:
            return scalar_object((<double *>f.arena.data)[self.inputs[r.index]], r.node, r.node.weak)
        return a if r.node.meta.shape or r.node.array0 else a[()]

    cdef int write_updates(self, Frame f) except -1:
        """Changes arguments as the function did, all values being taken before the first is changed."""
        cdef list values = []
        cdef Spot spot
        cdef Py_ssize_t address
        for _, spot, address in self.updates:
            values.append((<double *>f.arena.data)[address] if spot is None else spot.array(f))
        if len(values) > 1:
            values = [v.copy() if cnp.PyArray_Check(v) else v for v in values]
        for (i, _, _), value in zip(self.updates, values):
            f.owners[1 + i][...] = value
        return 0


@cython.no_gc_clear     # so that `__dealloc__` still has what it refers to
cdef class Started:
    """A run of a program up to what depends on the seeds, which can be finished any number of times.

    `out` has the results that do not depend on the seeds, `count` of which, the first ones, are the value.
    """
    cdef ReplayProgram replay
    cdef Frame frame            # None while a thread is at work in it
    cdef readonly list leaves
    cdef list out
    cdef Py_ssize_t count

    def __dealloc__(self):
        if self.frame is not None:
            self.replay.give_back(self.frame)

    cdef list finished(self, list seeds):
        """The other results, for seeds of the shapes and dtypes that were recorded."""
        cdef Frame f = self.frame
        cdef list out
        cdef int flags = 0
        if f is None:
            again = Started.__new__(Started)
            if self.replay.start(again, self.leaves, self.count, &flags) >= 0:
                raise RuntimeError("an array that a compiled function reads was changed in place between two "
                                   "uses of its derivative")
            return (<Started>again).finished(seeds)
        out = list(self.out)
        self.frame = None
        try:
            self.replay.finish(f, seeds, self.count, out)
        finally:
            self.frame = f
        return out[self.count:]

    cdef list seeds_of(self, list vectors):
        """Plain values as seeds, None being zero; None where they are not as they were recorded."""
        cdef Py_ssize_t i, first = self.replay.size - PyList_GET_SIZE(vectors)
        cdef list seeds = []
        cdef Meta meta
        cdef object a
        for i in range(PyList_GET_SIZE(vectors)):
            meta = <Meta>self.replay.metas[first + i]
            a = vectors[i]
            if a is None:
                a = hooks["zeros"](meta)
            elif cnp.PyArray_CheckExact(a):
                if not meta.shape or shape_tuple(<cnp.ndarray>a) != meta.shape or a.dtype is not meta.dtype:
                    return None
                if not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>a):
                    a = cnp.PyArray_NewCopy(<cnp.ndarray>a, cnp.NPY_CORDER)
            elif type(a) is not np_float64 or meta is not META_FLOAT64:
                if not isinstance(a, np_generic) or meta.shape or a.dtype is not meta.dtype:
                    return None
            seeds.append(a)
        return seeds
