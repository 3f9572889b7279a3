# What a compiled function does with a call for which it has no program: the way of nearly every one.
#
#   Policy.call       the call taken apart; a version of the environment that holds; the recording
#   Policy.judge      whether the recording may be kept; whether another one has to confirm it
#   Policy.add        the program
#
# What happens once in a while, and all that is said to people, is in `autograd_c.replay`: its subclasses of
# `Policy`, `Recorded` and `Call`.

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident() noexcept

cdef enum:
    MOST_VERSIONS = 4       # of a signature: programs for former states of the environment


class TracedArgument(Exception):
    """A box is among the arguments: the call belongs to an outer trace."""


class Unrecorded(Exception):
    """A call is not recorded: the plain function does it."""


class Unreplayable(Unrecorded):
    """The function cannot be replayed; the message says why and what to do."""


class OtherVectors(Unrecorded):
    """A linear function takes other vectors than the last one did."""


cdef class Recorded:
    """One recorded call: the recording, the structure of the result and how it is finished.

    Attributes
    ----------
    environment : Environment
    statics : list
        The static arguments.
    outs : list
        The leaves of the result; None when the program is there.
    recording : Recording
    structure : Structure
        Of the result.
    updates : list of int
        The leaves that the function changed in place.
    finish : list of tuple or None
        How the results are finished; see `autograd_c.replay`. None: as the program returns them.
    source : Recording or None
        The recording that this one was made from.
    form : callable or None
        What makes the matrix of the program's result.
    program : object
        A program that is there already, or None.
    """
    cdef readonly Environment environment
    cdef readonly list statics
    cdef public list outs, updates
    cdef public Recording recording
    cdef public Structure structure
    cdef public object source, form, program, finish

    def __init__(self, fun, Call call, Environment environment, policy, version):
        self.begin(call, environment)
        self.record(fun, call, call.normal_leaves())

    def begin(self, Call call, Environment environment):
        """What each recording begins with."""
        self.environment = environment
        self.statics = call.statics
        self.updates = []

    cpdef list apart(self, list leaves):
        """The leaves, as copies where some share memory.

        Each leaf is traced by itself: an update of one is not seen in the other.
        """
        if not shares_any(leaves, self.environment.arrays):
            return leaves
        return [leaf.copy() if cnp.PyArray_Check(leaf) else leaf for leaf in leaves]

    cpdef int take_finish(self, list leaves) except -1:
        """Notes how the results are finished, if they are not as the program returns them."""
        if not self.recording.has_own_results(self.outs, leaves):
            self.finish = self.finish_of(leaves)
        return 0

    def record(self, fun, Call call, list leaves):
        """Runs a function with these leaves under a recording trace."""
        leaves = self.apart(leaves)
        outs, recording, structure = record_result(fun, call, leaves, self.check_result)
        self.outs = outs
        self.recording = recording
        self.structure = structure
        if self.recording.changed:
            self.updates = [leaf for leaf, _ in self.recording.changed]
            self.write_back(call.leaves, leaves)
        self.take_finish(leaves)

    cpdef object result(self, list leaves):
        """What the recorded call itself returns."""
        return unflatten(self.structure,
                         self.outs if self.finish is None else self.finished(self.outs, leaves))


cdef class Policy:
    """What a compiled function does with calls for which it has no program.

    Attributes
    ----------
    fun : callable
        The function as it was given.
    name : str
        Its name, for messages.
    of : callable
        The user's function that it is made of.
    in_parts, in_rows : bool
        Its programs are made in two parts (`autograd_c.prepared`), or run once for each row of an argument.
    of_call, of_recording : type
        Classes of its calls and recordings.
    has_statics : bool
        Some arguments are static; `is_static` tells which.
    max_programs : int
    num_threads : int
    fastmath : bool
    signatures : dict
        By key.
    """
    cdef readonly object fun, name, of, of_call, of_recording
    cdef readonly dict signatures
    cdef readonly bint in_parts, in_rows, has_statics, fastmath
    cdef readonly Py_ssize_t max_programs
    cdef readonly int num_threads
    cdef object reference           # to the compiled function, which owns this object
    cdef unsigned long recorder     # the thread that is recording, or 0

    def __init__(self, compiled, fun, *, of, name, of_call, of_recording, in_parts=False, in_rows=False,
                 has_statics=False, max_programs, num_threads, fastmath):
        self.reference = PyWeakref_NewRef(compiled, None)
        self.fun = fun
        self.of = of
        self.name = name
        self.of_call = of_call
        self.of_recording = of_recording
        self.in_parts = in_parts
        self.in_rows = in_rows
        self.has_statics = has_statics
        self.max_programs = max_programs
        self.num_threads = num_threads
        self.fastmath = fastmath
        self.signatures = {}

    @property
    def compiled(self):
        """The compiled function."""
        return self.reference()

    def clear(self):
        """Forgets all programs."""
        self.signatures = {}

    def is_recording(self):
        """Whether this thread is recording the function."""
        return self.recorder != 0 and self.recorder == PyThread_get_thread_ident()

    # --- calls --------------------------------------------------------------------------------

    def call(self, tuple args, dict kwargs, Signature tried=None):
        """A call that the compiled core has no program for."""
        cdef Signature signature
        cdef Call call
        if self.is_recording():
            return PyObject_Call(self.fun, args, kwargs)
        try:
            call = self.of_call(self.name, args, kwargs, self.is_static if self.has_statics else None)
            signature = self.signature_of(call)
        except TracedArgument:
            return self.call_inside(args, kwargs)
        if signature is None or signature.eager:
            return PyObject_Call(self.fun, args, kwargs)
        if signature is not tried and signature.versions:
            result = signature.replay(self.reference(), call.normal_leaves())
            if result is RUN_EAGERLY:
                return PyObject_Call(self.fun, args, kwargs)
            if result is not MISSED:
                return result
        if signature.full:      # the recordings that wait for another are not worth it
            return PyObject_Call(self.fun, args, kwargs)
        if self.in_parts and not self.has_vectors(call):
            return self.unprepared(call)
        return self.record(signature, call)

    cdef Signature signature_of(self, Call call):
        cdef Compiled compiled = self.reference()
        cdef Signature signature
        if compiled is None:
            raise ReferenceError("the compiled function %s is no more" % self.name)
        signature = compiled.signature_among(self.signatures, call, self.max_programs)
        if signature is None:
            self.too_many_signatures()
        return signature

    cdef object record(self, Signature signature, Call call):
        """Records a call; its result."""
        if self.recorder:       # another thread records
            return PyObject_Call(self.fun, call.args, call.kwargs)
        self.recorder = PyThread_get_thread_ident()
        try:
            return self.recorded(signature, call)
        except OtherVectors:
            return self.unprepared(call)
        except Unrecorded as reason:
            self.take_note(signature, reason)
        finally:
            self.recorder = 0
        return PyObject_Call(self.fun, call.args, call.kwargs)

    cdef object recorded(self, Signature signature, Call call):
        cdef Version version = self.version_of(signature, call)
        cdef Environment environment = version.environment
        cdef list copies = environment.copies()
        cdef object state = environment.random_state(), result
        cdef Recorded recorded
        try:
            recorded = self.of_recording(self.fun, call, environment, self, version)
        except Unrecorded:
            raise
        except Exception as error:
            return self.failed(signature, call, error)
        if self.in_parts or self.in_rows:
            result = self.result_of(recorded, version, call)
        else:
            result = recorded.result(call.leaves)
        try:
            self.judge(signature, version, recorded, copies,
                       state is not None and environment.random_state() != state)
        except Unreplayable as reason:
            self.give_up(signature, str(reason))
        return result

    cdef Version version_of(self, Signature signature, Call call):
        """The version of the environment that holds now, made if it is new."""
        cdef Version version = signature.valid()
        if version is None:
            if signature.versions:
                self.changed(signature, signature.versions[0])
            version = signature.take(Environment(self.of, call.given), MOST_VERSIONS)
        return version

    # --- recordings ---------------------------------------------------------------------------

    cdef int judge(self, Signature signature, Version version, Recorded recorded, list copies,
                   bint has_drawn) except -1:
        """Decides what becomes of a recording."""
        if recorded.recording.escapes:
            self.escaped(recorded)
        elif has_drawn:
            self.drawn(signature)
        elif version.changed() >= 0:
            self.changed(signature, version)
        elif copies and not self.hold(version.environment, copies):
            self.changed(signature, version, "an array that it reads from outside")
        else:
            self.keep(signature, version, recorded, copies)
        return 0

    cdef int keep(self, Signature signature, Version version, Recorded recorded, list copies) except -1:
        """Makes the program, if need be once another recording has confirmed this one."""
        cdef tuple outcomes = outcomes_of(recorded.recording)
        cdef tuple waiting = version.pending.get(outcomes)
        if not recorded.environment.known and (waiting is None or not recorded.same_as(waiting[0])):
            self.wait(signature, version, recorded, copies, outcomes)
            return 0
        if waiting is not None:
            del version.pending[outcomes]
        if PyList_GET_SIZE(version.branches) < self.max_programs:
            self.add(version, recorded, outcomes)
        else:
            signature.full = True
            self.too_many_branches(signature, recorded)
        return 0

    cdef int add(self, Version version, Recorded recorded, tuple outcomes) except -1:
        cdef object program = recorded.program, finish = None
        cdef Recording recording = recorded.recording
        # Before the planner adds constants of its own.
        cdef list arrays = self.watched(version, recorded) if recorded.environment.arrays else None
        if program is None:
            program = self.rows_of(recording) if self.in_rows else self.program_of(recording)
        if arrays:
            version.extend(arrays)
        if recorded.finish is not None and not self.in_parts:
            finish = recorded.finished
        version.enter(program, outcomes, recorded.structure, finish, PyList_GET_SIZE(recorded.updates) > 0,
                      recorded)
        recorded.outs = None
        recording.forget()
        if recorded.source is not None:
            recorded.source.forget()
        return 0

    cpdef object program_of(self, Recording recording, seeds=frozenset()):
        """The program that replays a recording, whose inputs `seeds` may be varied alone."""
        return ReplayProgram(recording, seeds, self.num_threads, self.fastmath)
