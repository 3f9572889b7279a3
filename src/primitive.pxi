# Primitives: one callable object for each differentiable function, and the one dispatch.
#
#   no box among the arguments      straight through to NumPy
#   boxes                           the innermost trace (highest level) unwraps its boxes, the primitive
#                                   is called again on what is left, and the trace records the result

cdef enum RuleKind:
    NO_RULE             # a box is refused, with the message in `advice`
    CONSTANT            # no derivative: the result is a constant of the trace
    ELEMENTWISE         # a row of partials
    CALL                # vjps and jvps that take (g, ans, *args, **kwargs)
    MAKER               # vjps as closures: vjp(ans, *args, **kwargs)(g)

cdef enum:
    MAX_CODES = 4       # d, f, D, F

cdef struct PlannedLoops:
    # What programs have in the place of a loop: nothing that clears flags.
    LoopRef exact, fast         # `fast` with `fastmath`
    bint own                    # whether that is one of `functions.h`

cdef struct TypedLoops:
    char codes[MAX_INPUTS]      # of the operands, and zero
    char out                    # of the result; zero if there is no loop for these operands
    PlannedLoops loops


cdef inline int code_index(char code) noexcept nogil:
    if code == b"d":
        return 0
    if code == b"f":
        return 1
    if code == b"D":
        return 2
    return 3


@cython.final
cdef class Primitive:
    """A function that the traces know: it computes, and it carries its derivative.

    Made by the functions of `autograd_c.extend`. Called with plain arguments it is the function itself;
    with a box among them it computes the value and records the call.
    """
    cdef vectorcallfunc vectorcall
    cdef readonly object fun
    cdef readonly str name
    cdef dict __dict__
    cdef object __weakref__
    cdef readonly int nin
    cdef public bint view           # NumPy answers with a view of the first argument where it can
    cdef int rule
    cdef int kernel
    cdef bint prepared
    cdef bint ours                  # of this package, which the planner may know by its name
    cdef bint permanent             # registered, so that it is never freed
    cdef long long held_by          # number of the tape that was the last to make sure of it
    cdef bint is_ufunc
    cdef bint takes_bool
    cdef str bool_args              # type pattern of an elementwise rule's arguments: "?" or " "
    cdef tuple partials             # of ELEMENTWISE: callables (ans, *args), numbers, or None
    cdef tuple complex_partials     # instead of `partials` for complex arguments; or None
    cdef list recordings            # for each argument: (code, result) of cotangent * partial
    cdef list scalar_partials       # for each argument: Program of the partial over doubles, or None
    cdef dict contributions         # (argument, code) -> Program or None
    cdef list fast                  # the same for float64, by argument
    cdef ScalarRule scalar_rules[2]     # of those, borrowed; nothing for an argument without derivative
    cdef ScalarRule choices[2]      # cotangent times partial, if a 0 may leave the cotangent out
    cdef bint scalar_ok
    cdef bint chooses               # a partial over doubles may leave the cotangent out
    cdef public bint inlined        # a recording holds what the function does, not the call
    cdef public object lowering     # calls that a recording for replay holds in the place of this one
    cdef bint facts_known           # what the planner knows of it: see `find_facts`
    cdef bint scalar_known          # what the scalar interpreter does: see `find_scalar`
    cdef int scalar_code            # the operation, or -1
    cdef LoopRef scalar_loop
    cdef PlannedLoops planned_scalar
    cdef TypedLoops *typed          # those that programs have asked for: see `typed_loops`
    cdef int ntyped
    cdef int naming
    cdef int effect, curve          # what errors it may report: see `domains.pxi`
    cdef bint splits
    cdef bint libm_power            # the C library's power of two float64 scalars, or the square
    cdef LoopRef loops[MAX_CODES]
    cdef unsigned int used[MAX_INPUTS]      # by argument: what its contribution reads
    cdef tuple vjps, jvps
    cdef dict makers                # argument -> vjp maker, of MAKER
    cdef object maker_all           # one maker for all arguments
    cdef object jvp_all
    cdef int out_at                 # position of the parameter `out`; -1 for none, -2 for not known yet
    cdef bint rule_for_all          # the rules take the argument's number first
    cdef list vjp_needs             # by rule: what it reads, bit 0 the result, bit k + 1 argument k
    cdef str advice

    def __cinit__(self):
        self.vectorcall = <vectorcallfunc>primitive_vectorcall

    def __dealloc__(self):
        PyMem_Free(self.typed)

    def __init__(self, fun, str name=None):
        self.fun = fun
        self.name = name or getattr(fun, "__name__", "function")
        self.__name__ = self.name
        self.__qualname__ = self.name
        self.__doc__ = getattr(fun, "__doc__", None)
        self.__module__ = getattr(fun, "__module__", None)
        self.__wrapped__ = fun
        self.is_ufunc = isinstance(fun, np_ufunc)
        self.ours = "rules_complete" not in hooks
        self.nin = fun.nin if self.is_ufunc else 0
        self.rule = NO_RULE
        self.out_at = -2
        self.makers = {}

    def __repr__(self):
        return "<primitive %s>" % self.name

    @classmethod
    def __class_getitem__(cls, item):
        return GenericAlias(cls, item)      # for annotations: the stubs declare a generic type

    def __get__(self, instance, owner):
        return self if instance is None else MethodType(self, instance)

    def __getattr__(self, attribute):
        # `np.add.reduce`, `np.add.nin` and the other attributes of the function itself.
        handler = hooks["ufunc_attribute"](self, attribute) if self.is_ufunc else None
        return handler if handler is not None else getattr(self.fun, attribute)

    def __reduce__(self):
        return hooks["reduce_primitive"](self)

    # --- rules -----------------------------------------------------------------------------

    def keep(self):
        """Makes the primitive live for ever, as the registry's do: tapes need not count references to it."""
        if not self.permanent:
            self.permanent = True
            Py_INCREF(self)

    def set_constant(self):
        """The function is piecewise constant: its result carries no derivative."""
        self.rule = CONSTANT
        self.scalar_ok = False

    def set_refused(self, str advice):
        """The function takes no box; `advice` ends the error's sentence."""
        self.rule = NO_RULE
        self.scalar_ok = False
        self.advice = advice

    def set_elementwise(self, int nin, partials, complex_partials=None, str types=None):
        """A row of partials makes the function an elementwise primitive."""
        if nin > MAX_INPUTS - 2:
            raise ValueError(
                "%s: an elementwise primitive takes at most %d arguments" % (self.name, MAX_INPUTS - 2))
        if len(partials) != nin:
            raise ValueError("%s: %d partials for %d arguments" % (self.name, len(partials), nin))
        if self.partials is not None and nin != self.nin:
            raise ValueError(
                "%s has partials for %d arguments already; tapes rely on that number" % (self.name, self.nin))
        if types is not None and len(types) != nin:
            raise ValueError("%s: %d types for %d arguments" % (self.name, len(types), nin))
        self.nin = nin
        self.partials = tuple(partials)
        self.complex_partials = tuple(complex_partials) if complex_partials is not None else None
        self.bool_args = types or " " * nin
        self.takes_bool = "?" in self.bool_args
        self.rule = ELEMENTWISE
        self.prepared = self.scalar_ok = False

    def set_rules(self, vjps, jvps, bint for_all, needs):
        """Rules that take ``(g, ans, *args, **kwargs)``, one for each argument or one for all."""
        self.vjps = tuple(vjps)
        self.jvps = tuple(jvps)
        self.rule_for_all = for_all
        self.vjp_needs = list(needs)
        self.rule = CALL
        self.scalar_ok = False

    def set_maker(self, argnum, maker):
        """A vjp maker in HIPS's form for one argument, or for all with `argnum` None."""
        self.rule = MAKER
        self.scalar_ok = False
        if argnum is None:
            self.maker_all = maker
        else:
            self.maker_all = None       # the last definition counts
            self.makers[argnum] = maker

    def set_jvp(self, argnum, jvp):
        """A forward rule in HIPS's form: ``jvp(g, ans, *args, **kwargs)``."""
        if self.rule == NO_RULE:
            self.rule = MAKER
        if argnum is None:
            self.jvp_all = jvp
        else:
            self.jvp_all = None
            jvps = list(self.jvps or ())
            jvps += [None] * (argnum + 1 - len(jvps))
            jvps[argnum] = jvp
            self.jvps = tuple(jvps)

    @property
    def kind(self):
        """How the derivative is defined: "none", "constant", "elementwise", "call" or "maker"."""
        return ("none", "constant", "elementwise", "call", "maker")[self.rule]

    @property
    def rules(self):
        """The partials of an elementwise primitive, the vjps of any other."""
        return self.partials if self.rule == ELEMENTWISE else self.vjps

    cdef object vjp_of(self, int arg):
        cdef object rule = None
        if self.rule_for_all:
            return self.vjps[0]
        if arg < len(self.vjps):
            rule = self.vjps[arg]
        if rule is None:
            raise TypeError("%s has no derivative with respect to argument %d; pass a plain value there, "
                            "for instance stop_gradient(x)" % (self.name, arg))
        return rule

    # --- programs --------------------------------------------------------------------------

    cdef LoopRef find_loop(self, bytes codes, char *out) except *:
        """The inner loop for these argument types, for use inside a program."""
        cdef LoopRef ref
        ref.fn = NULL
        ref.data = NULL
        if self.is_ufunc:
            # The loop of a generalised ufunc wants the sizes of its core axes too.
            if not (<PyUFuncObject *><PyObject *>self.fun).core_enabled:
                return find_loop(self.fun, codes, out)
            return ref
        if self is P_WHERE and len(codes) == 3 and codes[0] == b"?"[0] and codes[1] == codes[2]:
            out[0] = codes[1]
            if codes[1] == b"d"[0] or codes[1] == b"F"[0]:
                ref.fn = <Loop>select_8
            elif codes[1] == b"f"[0]:
                ref.fn = <Loop>select_4
            elif codes[1] == b"D"[0]:
                ref.fn = <Loop>select_16
        return ref

    cdef const TypedLoops *typed_loops(self, const char *codes) except NULL:
        """The loops of programs for these argument types; to be read at once, since the table may move."""
        cdef TypedLoops found
        cdef TypedLoops *more
        cdef LoopRef loop
        cdef int k
        for k in range(self.ntyped):
            if strcmp(self.typed[k].codes, codes) == 0:
                return &self.typed[k]
        memset(&found, 0, sizeof(TypedLoops))
        strcpy(found.codes, codes)
        loop = self.find_loop(codes, &found.out)
        if loop.fn == NULL:
            found.out = 0
        found.loops = planned_loops(self, loop, fast_loop(self, codes[0], loop), codes)
        more = <TypedLoops *>PyMem_Realloc(self.typed, (self.ntyped + 1) * sizeof(TypedLoops))
        if more == NULL:
            raise MemoryError()
        self.typed = more
        self.typed[self.ntyped] = found
        self.ntyped += 1
        return &self.typed[self.ntyped - 1]

    cdef inline bint scalar_ready(self) except -1:
        if not self.prepared:
            self.prepare()
        return self.scalar_ok

    cdef int prepare(self) except -1:
        """Records the partials of an elementwise rule and lowers them for float64."""
        # Recording runs Python, which can fail or let another thread in: everything is made first and
        # entered at the end, so that a primitive is prepared wholly or not at all.
        cdef int k
        cdef char out
        cdef bytes codes
        cdef Program program
        cdef LoopRef loops[MAX_CODES]
        cdef list recordings = [], partials = [], fast = []
        cdef bint scalar_ok
        if self.rule != ELEMENTWISE:
            self.prepared = True
            return 0
        for k in range(MAX_CODES):
            codes = self.codes_of(b"dfDF"[k])
            loops[k] = self.find_loop(codes, &out)
            if loops[k].fn != NULL and out != b"dfDF"[k]:
                loops[k].fn = NULL
        if not self.scalar_known:
            find_scalar(self)
        scalar_ok = loops[0].fn != NULL and self.nin <= 2 and self.scalar_code >= 0
        for k in range(self.nin):
            recording = hooks["record_partial"](self, self.partials[k],
                                                self.complex_partials[k] if self.complex_partials else None)
            recordings.append(recording)
            partials.append(None)
            fast.append(None)
            if recording is None:
                continue
            partials[k] = self.lower(recording[0], b"d")
            fast[k] = self.lower(recording[1], b"d")
            program = <Program>partials[k]
            if program is None or program.rule.ins == NULL:
                scalar_ok = False
        for k in range(self.nin):
            self.used[k] = 0xffff if recordings[k] is None else recordings[k][2]
            if k < 2:
                memset(&self.scalar_rules[k], 0, sizeof(ScalarRule))
                memset(&self.choices[k], 0, sizeof(ScalarRule))
                if not scalar_ok or partials[k] is None:
                    continue
                self.scalar_rules[k] = (<Program>partials[k]).rule
                if recordings[k][3] and fast[k] is not None:
                    self.choices[k] = (<Program>fast[k]).rule
                    self.chooses = True
        for k in range(MAX_CODES):
            self.loops[k] = loops[k]
        self.libm_power = self.ours and self.name in ("scalar_power", "scalar_square")
        self.recordings = recordings
        self.scalar_partials = partials
        self.fast = fast
        self.contributions = {(k, <char>b"d"): fast[k] for k in range(self.nin)}
        self.scalar_ok = scalar_ok
        self.prepared = True
        return 0

    cdef bytes codes_of(self, char code):
        return bytes([b"?"[0] if c == "?" else code for c in self.bool_args])

    cdef object lower(self, recording, char code):
        """A program of inputs (cotangent, result, arguments), or None where the machine has no loop."""
        try:
            codes = bytes([code, code]) + self.codes_of(code)
            return compile_program(recording[0], self.nin + 2, recording[1], codes)
        except NoProgram:
            return None

    cdef Program contribution_program(self, int k, char code):
        cdef object key = (k, code), program = None
        if key not in self.contributions:
            if self.recordings[k] is not None and not (code in b"DF" and self.complex_partials is not None):
                program = self.lower(self.recordings[k][1], code)
            self.contributions[key] = program
        return <Program>self.contributions[key]


# --- functions made of primitives ----------------------------------------------------------

@cython.final
cdef class Composite:
    """A function made of primitives, which stands for NumPy's where a box is among the arguments."""
    cdef vectorcallfunc vectorcall
    cdef readonly object fun, python
    cdef readonly str name
    cdef readonly tuple examples
    cdef readonly bint joins        # the first argument is an iterable of parts
    cdef dict __dict__
    cdef object __weakref__

    def __cinit__(self):
        self.vectorcall = <vectorcallfunc>composite_vectorcall

    def __init__(self, fun, python, examples=(), joins=False):
        update_wrapper(self, fun)
        self.name = fun.__name__
        self.examples = tuple(examples)
        self.fun = fun
        self.python = python
        self.joins = joins

    def __get__(self, instance, owner):
        return self if instance is None else MethodType(self, instance)

    def __repr__(self):
        return "<composite %s>" % self.name

    def __reduce__(self):
        return hooks["reduce_composite"](self)


cdef object composite_vectorcall(object callable_, PyObject *const *args, size_t nargsf, PyObject *kwnames):
    cdef Composite c = <Composite>callable_
    cdef Py_ssize_t i, given = PyVectorcall_NARGS(nargsf), total = given
    if kwnames != NULL:
        total += PyTuple_GET_SIZE(<object>kwnames)
    if c.joins and given > 0 and only_iterable(<object>args[0]):
        rest = [<object>args[i] for i in range(1, total)]
        names = <tuple>kwnames if kwnames != NULL else ()
        return c(tuple(<object>args[0]), *rest[:given - 1], **dict(zip(names, rest[given - 1:])))
    for i in range(total):
        if holds_box(<object>args[i]):
            refuse_masked(args, total)
            return PyObject_Vectorcall(c.python, args, nargsf, kwnames)
    return PyObject_Vectorcall(c.fun, args, nargsf, kwnames)


cdef inline bint only_iterable(object v) except -1:
    """A generator or a view of a dict, which NumPy refuses and HIPS/autograd takes."""
    return type(v) is not list and type(v) is not tuple and not PySequence_Check(v) and hasattr(v, "__iter__")


cdef int refuse_masked(PyObject *const *args, Py_ssize_t n) except -1:
    """Masked arrays and matrices among the arguments, which would be taken for arrays."""
    cdef Py_ssize_t i
    for i in range(n):
        look_for_masked(<object>args[i])
    return 0


cdef int look_for_masked(object v) except -1:
    if cnp.PyArray_Check(v):
        if not cnp.PyArray_CheckExact(v):
            hooks["plain_array"](v)
    elif type(v) is list or type(v) is tuple:
        Py_EnterRecursiveCall(" in a list or tuple that holds itself, or is nested too deep")
        try:
            for item in v:
                look_for_masked(item)
        finally:
            Py_LeaveRecursiveCall()
    return 0


# --- the call ------------------------------------------------------------------------------

cdef object primitive_vectorcall(object callable_, PyObject *const *args, size_t nargsf, PyObject *kwnames):
    cdef Primitive p = <Primitive>callable_
    cdef Py_ssize_t n = PyVectorcall_NARGS(nargsf)
    cdef Box b
    if n == 1 and kwnames == NULL and p.scalar_ok and type(<object>args[0]) is Box:
        b = <Box>args[0]
        if b.kind == SCALAR and p.nin == 1:
            if b.trace.mode == RECORD and b.trace.replay:
                return record_scalars(p, b.trace, b, None, b.d, 0.0, False, False)
            if b.trace.mode != RECORD:
                return scalar_call(p, b.trace, b, None, b.d, 0.0, False, False)
    return call_primitive(p, args, n, kwnames)


cdef inline bint may_hold_box(PyObject *a) noexcept:
    return type(<object>a) is list or type(<object>a) is tuple


cdef object call_primitive(Primitive p, PyObject *const *args, Py_ssize_t n, PyObject *kwnames):
    cdef Trace top = None, t
    cdef Py_ssize_t i, total = n
    cdef bint nested = False
    cdef object out
    if kwnames != NULL:
        total += PyTuple_GET_SIZE(<object>kwnames)
    for i in range(total):
        if type(<object>args[i]) is Box:
            t = (<Box>args[i]).trace
            if top is None or t.level > top.level:
                top = t
        elif may_hold_box(args[i]):
            nested = True
    if top is None and nested:
        for i in range(total):
            if may_hold_box(args[i]) and holds_box(<object>args[i]):
                return call_general(p, args, n, kwnames)
    if top is None:
        return PyObject_Vectorcall(p.fun, args, n, kwnames)
    if kwnames == NULL and not nested:
        if not top.open:
            raise_outlived()
        if top.mode == RECORD:
            if p.rule == ELEMENTWISE and n == p.nin:
                return record_direct(p, top, args, n)
        elif p.rule == ELEMENTWISE and n == p.nin:
            return call_elementwise(p, top, args, n)
        if p.kernel != NO_KERNEL and top.mode == REVERSE:
            out = kernel_call(p, top, args, n)
            if out is not None:
                return out
    return call_general(p, args, n, kwnames)


cdef object call_general(Primitive p, PyObject *const *args, Py_ssize_t n, PyObject *kwnames):
    """Any call with a box: keywords, `out=`, boxes inside lists, rules for whole arrays."""
    cdef Trace top = None
    cdef Py_ssize_t i
    cdef list plain = [<object>args[i] for i in range(n)]
    cdef dict kwargs = {}
    cdef object packed, v
    cdef bint odd = p.is_ufunc and n != p.nin
    for v in plain:
        if type(v) is list or type(v) is tuple:
            look_for_masked(v)
        odd = odd or type(v) is list or type(v) is tuple and holds_box(v)
    if kwnames != NULL:
        for i in range(PyTuple_GET_SIZE(<object>kwnames)):
            v = <object>args[n + i]
            kwargs[<object>PyTuple_GET_ITEM(<object>kwnames, i)] = v
            odd = odd or holds_box(v)
        odd = odd or p.is_ufunc or "out" in kwargs
    if odd:
        packed = hooks["normalize"](p, plain, kwargs)
        if packed is None:          # no box after all
            return p.fun(*plain, **kwargs)
        if packed[0] is not None:   # handled: out=, where=, ...
            return packed[0][0]
        plain = packed[1]
        kwargs = packed[2]
    for v in plain:
        if type(v) is Box and (top is None or (<Box>v).trace.level > top.level):
            top = (<Box>v).trace
    if top is None:
        return p.fun(*plain, **kwargs)
    if not top.open:
        raise_outlived()
    return call_traced(p, top, plain, kwargs)


cdef object call_traced(Primitive p, Trace top, list args, dict kwargs):
    """Unwraps the innermost trace's boxes, calls again, and has the trace record the result."""
    cdef list values
    cdef list traced = [], slots = []       # as they are before the call, which may run Python
    cdef Py_ssize_t i, n = len(args)
    cdef object v, ans
    cdef tuple packed
    cdef Box b
    if p.inlined and top.mode == RECORD:
        return p.fun(*args, **kwargs)
    if p.lowering is not None and top.mode == RECORD and top.replay and p not in top.kept:
        ans = p.lowering(*args, **kwargs)
        if ans is not NotImplemented:
            return ans
    if p.rule == NO_RULE and top.mode == RECORD and top.replay:
        pass        # nothing differentiates it: a call like any other
    elif p.rule == NO_RULE:
        raise TypeError("%s cannot be differentiated: %s" % (
            p.name, p.advice or "give it a derivative by defvjp and defjvp of autograd_c.extend"))
    values = [None] * n
    for i in range(n):
        v = args[i]
        if type(v) is Box and (<Box>v).trace is top:
            b = current(<Box>v)
            # A rule may ask any value for shape and dtype; only ufuncs tell a Python float from a float64.
            v = float64(b.d) if b.kind == SCALAR and not p.is_ufunc else box_value(b)
            traced.append(i)
            slots.append(b.slot)
        elif cnp.PyArray_Check(v) and not cnp.PyArray_CheckExact(v):
            v = hooks["plain_array"](v)
        values[i] = v
    if p.rule == ELEMENTWISE and (kwargs or n != p.nin) and not (p is P_WHERE and n == 1):
        raise TypeError("%s takes %d arguments, by position, as its partials do" % (p.name, p.nin))
    if p.rule == CALL and n > 2:
        refuse_out(p, args)
    if p.rule == ELEMENTWISE and top.mode != RECORD and n == p.nin:
        packed = tuple(args)
        return call_elementwise(p, top, (<PyTupleObject *>packed).ob_item, n)
    ans = plain_value(p, values, kwargs) if top.mode == RECORD else p(*values, **kwargs)
    if top.mode == RECORD:
        ans = record_node(p, top, args, kwargs, ans)
        if type(ans) is not Box:
            return ans
        b = <Box>ans
    elif p.rule == CONSTANT or p is P_WHERE and n == 1:       # np.where(condition) is nonzero
        return ans
    elif top.mode == REVERSE:
        b = record_call(p, top, args, values, kwargs, traced, slots, ans)
    else:
        b = push_forward(p, top, args, values, kwargs, traced, ans)
    if p.view and len(traced) == 1 and traced[0] == 0 and shares(box_value(b), box_value(<Box>args[0])):
        look_at(b, <Box>args[0], taken_again(p, args, kwargs))
    return b


cdef int refuse_out(Primitive p, list args) except -1:
    """An `out` by position would be filled, and its derivative lost."""
    if p.out_at == -2:
        p.out_at = hooks["out_position"](p.fun)
    if 0 <= p.out_at < len(args) and args[p.out_at] is not None:
        raise TypeError("%s: pass out= by keyword, or use the result" % p.name)
    return 0
