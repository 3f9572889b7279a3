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


cdef inline int code_index(char code) noexcept nogil:
    if code == b"d":
        return 0
    if code == b"f":
        return 1
    if code == b"D":
        return 2
    return 3


cdef struct QuickPartial:
    # A partial over doubles in the form that costs least: an input or constant, one loop, or a program.
    PyObject *program       # borrowed; NULL for an argument without derivative
    int input               # the register that already holds the value, or -1
    double value            # the value, where it is constant
    Loop loop               # the only instruction, if that is a loop of one argument
    void *data
    int loop_input


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
    cdef bint permanent             # registered, so that it is never freed
    cdef bint is_ufunc
    cdef bint takes_bool
    cdef str bool_args              # type pattern of an elementwise rule's arguments: "?" or " "
    cdef tuple partials             # of ELEMENTWISE: callables (ans, *args), numbers, or None
    cdef tuple complex_partials     # instead of `partials` for complex arguments; or None
    cdef list recordings            # for each argument: (code, result) of cotangent * partial
    cdef list scalar_partials       # for each argument: Program of the partial over doubles, or None
    cdef dict contributions         # (argument, code) -> Program or None
    cdef list fast                  # the same for float64, by argument
    cdef QuickPartial quick[2]
    cdef bint scalar_ok
    cdef int op                     # what a scalar call computes without a loop
    cdef LoopRef loops[MAX_CODES]
    cdef unsigned int used[MAX_INPUTS]      # by argument: what its contribution reads
    cdef tuple vjps, jvps
    cdef dict makers                # argument -> vjp maker, of MAKER
    cdef object maker_all           # one maker for all arguments
    cdef object jvp_all
    cdef bint rule_for_all          # the rules take the argument's number first
    cdef list vjp_needs             # by rule: what it reads, bit 0 the result, bit k + 1 argument k
    cdef str advice

    def __cinit__(self):
        self.vectorcall = <vectorcallfunc>primitive_vectorcall

    def __init__(self, fun, str name=None):
        self.fun = fun
        self.name = name or getattr(fun, "__name__", "function")
        self.__name__ = self.name
        self.__qualname__ = self.name
        self.__doc__ = getattr(fun, "__doc__", None)
        self.__module__ = getattr(fun, "__module__", None)
        self.__wrapped__ = fun
        self.is_ufunc = isinstance(fun, np_ufunc)
        self.nin = fun.nin if self.is_ufunc else 0
        self.rule = NO_RULE
        self.makers = {}

    def __repr__(self):
        return "<primitive %s>" % self.name

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
            self.makers[argnum] = maker

    def set_jvp(self, argnum, jvp):
        """A forward rule in HIPS's form: ``jvp(g, ans, *args, **kwargs)``."""
        if self.rule == NO_RULE:
            self.rule = MAKER
        if argnum is None:
            self.jvp_all = jvp
        else:
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
        scalar_ok = loops[0].fn != NULL and self.nin <= 2
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
            if program is None or not program.scalar:
                scalar_ok = False
        for k in range(self.nin):
            self.used[k] = 0xffff if recordings[k] is None else recordings[k][2]
            if k < 2:
                self.quick[k] = quick_partial(partials[k] if scalar_ok else None)
        for k in range(MAX_CODES):
            self.loops[k] = loops[k]
        self.op = SCALAR_OPS.get(self.name, OP_LOOP)
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
    cdef dict __dict__
    cdef object __weakref__

    def __cinit__(self):
        self.vectorcall = <vectorcallfunc>composite_vectorcall

    def __init__(self, fun, python, examples=()):
        update_wrapper(self, fun)
        self.name = fun.__name__
        self.examples = tuple(examples)
        self.fun = fun
        self.python = python

    def __get__(self, instance, owner):
        return self if instance is None else MethodType(self, instance)

    def __repr__(self):
        return "<composite %s>" % self.name

    def __reduce__(self):
        return hooks["reduce_composite"](self)


cdef object composite_vectorcall(object callable_, PyObject *const *args, size_t nargsf, PyObject *kwnames):
    cdef Composite c = <Composite>callable_
    cdef Py_ssize_t i, total = PyVectorcall_NARGS(nargsf)
    if kwnames != NULL:
        total += PyTuple_GET_SIZE(<object>kwnames)
    for i in range(total):
        if holds_box(<object>args[i]):
            return PyObject_Vectorcall(c.python, args, nargsf, kwnames)
    return PyObject_Vectorcall(c.fun, args, nargsf, kwnames)


# --- the call ------------------------------------------------------------------------------

cdef object primitive_vectorcall(object callable_, PyObject *const *args, size_t nargsf, PyObject *kwnames):
    cdef Primitive p = <Primitive>callable_
    cdef Py_ssize_t n = PyVectorcall_NARGS(nargsf)
    cdef Box b
    if n == 1 and kwnames == NULL and p.scalar_ok and type(<object>args[0]) is Box:
        b = <Box>args[0]
        if b.kind == SCALAR and p.nin == 1 and b.trace.mode != RECORD:
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
        if p.rule == ELEMENTWISE and n == p.nin and top.mode != RECORD:
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
    if p.rule == NO_RULE:
        raise TypeError("%s cannot be differentiated%s" % (p.name, ": " + p.advice if p.advice else ""))
    values = [None] * n
    for i in range(n):
        v = args[i]
        if type(v) is Box and (<Box>v).trace is top:
            b = current(<Box>v)
            # A rule may ask any value for shape and dtype; only ufuncs tell a Python float from a float64.
            v = float64(b.d) if b.kind == SCALAR and not p.is_ufunc else box_value(b)
            traced.append(i)
            slots.append(b.slot)
        values[i] = v
    if p.rule == ELEMENTWISE and not kwargs and top.mode != RECORD and n == p.nin:
        packed = tuple(args)
        return call_elementwise(p, top, (<PyTupleObject *>packed).ob_item, n)
    ans = p(*values, **kwargs)
    if top.mode == RECORD:
        return record_code(p, top, args, kwargs, ans)
    if p.rule == CONSTANT or p.rule == ELEMENTWISE and n != p.nin:      # np.where(condition) is nonzero
        return ans
    if top.mode == REVERSE:
        b = record_call(p, top, args, values, kwargs, traced, slots, ans)
    else:
        b = push_forward(p, top, args, values, kwargs, traced, ans)
    if p.view and len(traced) == 1 and traced[0] == 0 and shares(ans, box_value(<Box>args[0])):
        look_at(b, <Box>args[0], taken_again(p, args, kwargs))
    return b


cdef object record_code(Primitive p, Trace t, list args, dict kwargs, object ans):
    cdef Box b
    t.code.append((p, tuple([operand_of(t, a) for a in args]), kwargs, ans))
    b = new_object(t, <int>len(t.code) - 1, ans)
    return b


# --- scalars ---------------------------------------------------------------------------------

cdef QuickPartial quick_partial(object program):
    cdef QuickPartial q
    cdef Program p
    q.program = NULL
    q.input = -1
    q.value = NAN
    q.loop = NULL
    q.data = NULL
    q.loop_input = 0
    if program is None:
        return q
    p = <Program>program
    q.program = <PyObject *>p
    if p.nins == 0 and p.result < p.nin:
        q.input = p.result
    elif p.nins == 0:
        q.program = NULL
        q.value = p.constant[p.result - p.nin][0]
    elif p.nins == 1 and p.ins[0].op == OP_LOOP and p.ins[0].nin == 1 and p.ins[0].r[0] < p.nin:
        q.loop = p.ins[0].fn
        q.data = p.ins[0].data
        q.loop_input = p.ins[0].r[0]
    return q


cdef inline double scalar_partial(QuickPartial *q, double *inputs) noexcept:
    cdef char *args[2]
    cdef cnp.npy_intp steps[2]
    cdef cnp.npy_intp one = 1
    cdef double out
    if q.input >= 0:
        return inputs[q.input]
    if q.program == NULL:
        return q.value
    if q.loop != NULL:
        args[0] = <char *>&inputs[q.loop_input]
        args[1] = <char *>&out
        steps[0] = steps[1] = 8
        q.loop(args, &one, steps, q.data)
        return out
    return run_scalar(<Program>q.program, inputs)


cdef inline double scalar_value(Primitive p, const double *x) noexcept nogil:
    cdef char *args[3]
    cdef cnp.npy_intp steps[3]
    cdef cnp.npy_intp one = 1
    cdef double out
    cdef int i
    if p.op == OP_MUL:
        return x[0] * x[1]
    if p.op == OP_ADD:
        return x[0] + x[1]
    if p.op == OP_SUB:
        return x[0] - x[1]
    if p.op == OP_DIV:
        return x[0] / x[1]
    if p.op == OP_NEG:
        return -x[0]
    for i in range(p.nin):
        args[i] = <char *>&x[i]
        steps[i] = 8
    args[p.nin] = <char *>&out
    steps[p.nin] = 8
    p.loops[0].fn(args, &one, steps, p.loops[0].data)
    return out


cdef object scalar_call(Primitive p, Trace t, Box bx, Box by, double a, double b, bint weak,
                        bint libm_power):
    """One primitive on float64 scalars: the value and the partials, all as C doubles.

    With `libm_power` the value is the C library's ``pow(a, b)``, as it is for `**` between NumPy scalars;
    `p` gives the partials.
    """
    cdef double inputs[4]       # cotangent, result, arguments: the layout of every rule's program
    cdef double s0 = 0.0, s1 = 0.0
    cdef Entry *e
    cdef Box out
    cdef Tape tape
    if not t.open:
        raise_outlived()
    inputs[0] = 1.0
    inputs[2] = a
    inputs[3] = b
    inputs[1] = pow(a, b) if libm_power else scalar_value(p, &inputs[2])
    if unusual(inputs[1]):
        fp_clear()
        inputs[1] = pow(a, b) if libm_power else scalar_value(p, &inputs[2])
        if fp_flags():
            give_errors(p.name, fp_flags())
    if bx is not None:
        s0 = scalar_partial(&p.quick[0], inputs)
    if by is not None:
        s1 = scalar_partial(&p.quick[1], inputs)
    if s0 - s0 != 0.0 or s1 - s1 != 0.0:
        note_infinite(p, t, bx, by, inputs)
    if t.mode == REVERSE:
        tape = t.recording()
        e = tape.push(p, SCALAR_ENTRY)
        out = new_scalar(t, <int>tape.n - 1, inputs[1], weak)
        e.flags = DOUBLE
        if bx is None:
            e.p0 = by.slot
            e.s0 = s1
        else:
            e.p0 = bx.slot
            e.s0 = s0
            if by is not None:
                e.p1 = by.slot
                e.s1 = s1
        return out
    out = new_scalar(t, 0, inputs[1], weak)
    if (bx is None or bx.tan == NULL) and (by is None or by.tan == NULL):
        if bx is not None:
            out.dt = s0 * bx.dt
        if by is not None:
            out.dt += s1 * by.dt
    else:
        set_field(&out.tan, scalar_tangent(bx, s0, by, s1))
    return out


cdef int note_infinite(Primitive p, Trace t, Box bx, Box by, double *inputs) except -1:
    """Reports an argument without derivative, and the flags that infinite or undefined partials raised.

    In a reverse trace the flags wait on the tape for the sweep.
    """
    cdef Tape tape
    if bx is not None and PyTuple_GET_ITEM(p.partials, 0) == <PyObject *>None:
        no_partial(p, 0)
    if by is not None and PyTuple_GET_ITEM(p.partials, 1) == <PyObject *>None:
        no_partial(p, 1)
    fp_clear()
    if bx is not None:
        scalar_partial(&p.quick[0], inputs)
    if by is not None:
        scalar_partial(&p.quick[1], inputs)
    if fp_flags() and t.mode == REVERSE:
        tape = t.recording()
        if debugging:
            note_flags(tape, fp_flags())
        else:
            tape.flags |= fp_flags()
        fp_clear()
    elif fp_flags():
        give_errors(p.name, fp_flags())
    return 0


cdef object scalar_tangent(Box bx, double s0, Box by, double s1):
    """The tangent where it belongs to an outer trace."""
    if bx is None:
        return P_MUL(tangent_of(by), s1)
    if by is None:
        return P_MUL(tangent_of(bx), s0)
    return P_ADD(P_MUL(tangent_of(bx), s0), P_MUL(tangent_of(by), s1))


cdef object no_partial(Primitive p, int k):
    raise TypeError("%s has no derivative with respect to argument %d; pass a plain value there, "
                    "for instance stop_gradient(x)" % (p.name, k))


# --- elementwise on arrays ---------------------------------------------------------------------

cdef object call_elementwise(Primitive p, Trace top, PyObject *const *args, Py_ssize_t n):
    """An elementwise primitive in a reverse or forward trace, positional arguments only."""
    # The arguments unwrapped: owned, since the call may run Python, which may update a box or let go of it.
    cdef PyObject *values[MAX_INPUTS]
    cdef Parent parents[MAX_INPUTS]
    cdef Py_ssize_t i, held = 0
    cdef int count = 0
    cdef object v, ans
    cdef bint scalars
    cdef Box b, bx = None, by = None
    cdef double x[2]
    x[0] = x[1] = 0.0
    if not p.prepared:
        p.prepare()
    scalars = p.scalar_ok
    for i in range(n):
        v = <object>args[i]
        if type(v) is Box and (<Box>v).trace is top:
            b = current(<Box>v)
            if b.kind == OBJECT:
                scalars = False
            elif scalars:
                x[i] = b.d
                if i == 0:
                    bx = b
                else:
                    by = b
        elif scalars:
            if PyFloat_Check(v):
                x[i] = PyFloat_AS_DOUBLE(v)
            else:
                scalars = False
    if scalars:
        return scalar_call(p, top, bx, by, x[0], x[1], False, False)
    try:
        for i in range(n):
            v = <object>args[i]
            if type(v) is Box and (<Box>v).trace is top:
                b = current(<Box>v)
                v = box_value(b)
                parents[count].slot = b.slot
                parents[count].arg = <int>i
                count += 1
            Py_INCREF(v)
            values[i] = <PyObject *>v
            held += 1
        ans = direct_loop(p, values, n)
        if ans is None:
            ans = PyObject_Vectorcall(p, values, n, NULL)
        return record_elementwise(p, top, args, values, n, ans, parents, count)
    finally:
        for i in range(held):
            Py_DECREF(<object>values[i])


cdef inline bint plain_array(object v) noexcept:
    return cnp.PyArray_CheckExact(v) and cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>v)


cdef object direct_loop(Primitive p, PyObject **values, Py_ssize_t n):
    """The ufunc's own inner loop, where that is all NumPy would run; None where NumPy has to decide."""
    cdef cnp.ndarray first = None, out
    cdef char code = 0
    cdef Py_ssize_t i
    cdef object v
    cdef double room[MAX_INPUTS]
    cdef char *args[MAX_INPUTS + 1]
    cdef cnp.npy_intp steps[MAX_INPUTS + 1]
    cdef cnp.npy_intp size
    cdef LoopRef loop
    cdef Operand o
    if p.takes_bool:
        return None
    for i in range(n):
        v = <object>values[i]
        if not plain_array(v):
            continue
        if first is None:
            first = <cnp.ndarray>v
            code = type_code(cnp.PyArray_TYPE(first))
            if code == 0 or not cnp.PyArray_IS_C_CONTIGUOUS(first) or cnp.PyArray_NDIM(first) == 0:
                return None
    if first is None:
        return None
    loop = p.loops[code_index(code)]
    if loop.fn == NULL:
        return None
    size = cnp.PyArray_ITEMSIZE(first)
    for i in range(n):
        v = <object>values[i]
        if v is first:
            args[i] = <char *>cnp.PyArray_DATA(first)
            steps[i] = size
        elif plain_array(v):
            if cnp.PyArray_TYPE(<cnp.ndarray>v) != cnp.PyArray_TYPE(first):
                return None
            operand_of_array(&o, <cnp.ndarray>v)
            if not o.contiguous or not same_shape(&o, cnp.PyArray_NDIM(first), cnp.PyArray_DIMS(first)):
                return None
            args[i] = o.data
            steps[i] = size
        elif scalar_operand(v, code, &room[i]):
            args[i] = <char *>&room[i]
            steps[i] = 0
        else:
            return None
    out = new_array(cnp.PyArray_NDIM(first), cnp.PyArray_DIMS(first), cnp.PyArray_TYPE(first), size)
    args[n] = <char *>cnp.PyArray_DATA(out)
    steps[n] = size
    run_loop(loop, args, steps, cnp.PyArray_SIZE(first))
    if fp_flags():
        fp_clear()
        run_loop(loop, args, steps, cnp.PyArray_SIZE(first))
        if fp_flags():
            give_errors(p.name, fp_flags())
    return out


cdef inline void run_loop(LoopRef loop, char **args, cnp.npy_intp *steps, cnp.npy_intp n) noexcept:
    if n > 16384:
        with nogil:
            loop.fn(args, &n, steps, loop.data)
    else:
        loop.fn(args, &n, steps, loop.data)


cdef bint scalar_operand(object v, char code, double *to) except -1:
    """Stores a Python or NumPy scalar as an operand of that type code, where promotion allows it."""
    cdef double d
    if type(v) is float:
        d = PyFloat_AS_DOUBLE(v)
    elif type(v) is np_float64 and code == b"d":
        d = PyFloat_AS_DOUBLE(v)
    elif type(v) is np_float32 and code == b"f":
        (<float *>to)[0] = (<PyFloatScalarObject *><PyObject *>v).obval
        return True
    elif type(v) is int:
        d = PyLong_AsDouble(v)
        if d == -1.0 and PyErr_Occurred():
            PyErr_Clear()
            return False
    else:
        return False
    if code == b"d":
        to[0] = d
        return True
    if code == b"f" and fabs(d) < 1e30 and (d == 0.0 or fabs(d) > 1e-30):
        (<float *>to)[0] = <float>d
        return True
    return False


cdef inline bint alike(object a, object b) noexcept:
    """Two plain arrays of one shape and type."""
    cdef Operand o
    if not (cnp.PyArray_CheckExact(a) and cnp.PyArray_CheckExact(b)):
        return False
    if cnp.PyArray_TYPE(<cnp.ndarray>a) != cnp.PyArray_TYPE(<cnp.ndarray>b):
        return False
    operand_of_array(&o, <cnp.ndarray>a)
    return same_shape(&o, cnp.PyArray_NDIM(<cnp.ndarray>b), cnp.PyArray_DIMS(<cnp.ndarray>b))


cdef inline Meta parent_meta(Box parent, int slot, object value):
    """Shape and dtype of an argument; of the value it had, if the box has been updated since."""
    return box_meta(parent) if parent.slot == slot else meta_of(value)


cdef object record_elementwise(Primitive p, Trace t, PyObject *const *args, PyObject **values, Py_ssize_t n,
                               object ans, Parent *parents, int count):
    cdef int j
    cdef Py_ssize_t k
    cdef bint fit[MAX_INPUTS]
    cdef unsigned int saved = 0
    cdef Entry *e
    cdef Tape tape
    cdef Box out
    cdef Meta ans_meta = None, m
    cdef list metas = None
    for j in range(count):
        k = parents[j].arg
        if PyTuple_GET_ITEM(p.partials, k) == <PyObject *>None:
            no_partial(p, <int>k)
        fit[j] = False
        if count > 2 or not alike(<object>values[k], ans):
            if ans_meta is None:
                ans_meta = meta_of(ans)
                metas = [None] * count
            m = parent_meta(<Box>args[k], parents[j].slot, <object>values[k])
            fit[j] = count > 2 or m.shape != ans_meta.shape or m.dtype != ans_meta.dtype
            metas[j] = m
        saved |= p.used[k] >> 1
    if t.mode == FORWARD:
        return push_forward_elementwise(p, t, args, values, n, ans, parents, count)
    tape = t.recording()
    e = tape.push(p, ELEMENTWISE_ENTRY)
    out = new_object(t, <int>tape.n - 1, ans)
    if ans_meta is not None:
        set_field(&out.meta, ans_meta)
    if out.kind == SCALAR:
        e.flags |= DOUBLE
    set_parents(tape, e, parents, count)
    e.saved = saved & ((1 << (n + 1)) - 1)
    if e.saved & 1:
        tape.keep(e, ans)
    for k in range(n):
        if e.saved >> (k + 1) & 1:
            tape.keep(e, <object>values[k])
    for j in range(count):
        if fit[j]:
            if j == 0:
                e.flags |= FIT0
            elif j == 1:
                e.flags |= FIT1
            tape.keep(e, metas[j])
    return noted(tape, out)


cdef int set_parents(Tape tape, Entry *e, Parent *parents, int count) except -1:
    cdef int k
    if count > 2:
        e.flags |= MANY
        e.p0 = <int>tape.nmore
        e.p1 = count
        for k in range(count):
            tape.push_parent(parents[k].slot, parents[k].arg)
        return 0
    e.p0 = parents[0].slot
    e.a0 = parents[0].arg
    if count == 2:
        e.p1 = parents[1].slot
        e.a1 = parents[1].arg
    return 0


cdef bint numeric_operands(Program program, PyObject **values, char code, double *room,
                           Operand *operands) noexcept:
    """Lays out cotangent, result and arguments for the machine; False if it cannot take them."""
    cdef int i
    cdef object v
    cdef char have
    for i in range(program.nin):
        if not program.used >> i & 1:
            continue
        if values[i] == NULL:
            return False
        v = <object>values[i]
        if plain_array(v):
            have = type_code(cnp.PyArray_TYPE(<cnp.ndarray>v))
            if cnp.PyArray_TYPE(<cnp.ndarray>v) == cnp.NPY_BOOL:
                have = b"?"
            if have != program.input_code[i]:
                return False
            operand_of_array(&operands[i], <cnp.ndarray>v)
        else:
            if program.input_code[i] != code or not scalar_operand_quiet(v, code, &room[i]):
                return False
            operand_of_scalar(&operands[i], &room[i])
    return True


cdef inline bint scalar_operand_quiet(object v, char code, double *to) noexcept:
    if type(v) is not float and type(v) is not np_float64 and type(v) is not int \
            and type(v) is not np_float32:
        return False
    try:
        return scalar_operand(v, code, to)
    except:  # noqa: E722
        return False


cdef bint contribute_into(Primitive p, int k, PyObject **values, object g, Adjoint *to) except -1:
    """Computes a contribution straight into the parent's adjoint; False if that way is not open.

    The parent has the shape and dtype of the result, so of the cotangent.
    """
    cdef char code
    cdef Program program
    cdef double room[MAX_INPUTS]
    cdef Operand operands[MAX_INPUTS]
    cdef cnp.ndarray out
    if not plain_array(g) or cnp.PyArray_NDIM(<cnp.ndarray>g) == 0:
        return False
    code = type_code(cnp.PyArray_TYPE(<cnp.ndarray>g))
    if code == b"d":
        program = <Program>PyList_GET_ITEM(p.fast, k)
    elif code == 0:
        return False
    else:
        program = p.contribution_program(k, code)
    if program is None or to.o == MARK or (to.o != NULL and not cnp.PyArray_CheckExact(<object>to.o)):
        return False
    if program.passes_input(0):
        accumulate(to, False, g)
        return True
    if not numeric_operands(program, values, code, room, operands) \
            or not fits_shape(program, operands, <cnp.ndarray>g):
        return False
    if to.o != NULL and OWNED_ARRAY(to.o) and alike(<object>to.o, g):
        run_array(program, operands, <cnp.ndarray>to.o, True)
        return True
    out = empty_like(<cnp.ndarray>g)
    run_array(program, operands, out, False)
    accumulate(to, False, out)
    return True


cdef object contribution(Primitive p, int k, PyObject **values, object g):
    """Cotangent (or tangent) times the partial by argument `k`, which broadcasts to the result's shape."""
    cdef Program program
    cdef char code
    cdef double room[MAX_INPUTS]
    cdef Operand operands[MAX_INPUTS]
    cdef cnp.ndarray out
    cdef object ans, c
    cdef list args
    cdef int i
    if plain_array(g) and cnp.PyArray_NDIM(<cnp.ndarray>g) > 0:
        code = type_code(cnp.PyArray_TYPE(<cnp.ndarray>g))
        program = p.contribution_program(k, code) if code else None
        if program is not None:
            if program.passes_input(0):
                return g
            if numeric_operands(program, values, code, room, operands) \
                    and fits_shape(program, operands, <cnp.ndarray>g):
                out = empty_like(<cnp.ndarray>g)
                run_array(program, operands, out, False)
                return out
    # Through the primitives: any dtype, boxes of outer traces, complex functions that are not holomorphic.
    ans = <object>values[1] if values[1] != NULL else None
    args = [<object>values[i + 2] if values[i + 2] != NULL else None for i in range(p.nin)]
    complex_partial = p.complex_partials[k] if p.complex_partials else None
    return hooks["contribute"](g, ans, args, p.partials[k], complex_partial)


cdef bint fits_shape(Program program, Operand *operands, cnp.ndarray g) noexcept:
    """Whether every operand broadcasts to the shape of `g`.

    Not so in forward mode, nor in reverse where an array that was kept has been given another shape since.
    """
    cdef int i, j, missing, ndim = cnp.PyArray_NDIM(g)
    for i in range(program.nin):
        if not program.used >> i & 1:
            continue
        missing = ndim - operands[i].ndim
        if missing < 0:
            return False
        for j in range(operands[i].ndim):
            if operands[i].shape[j] != 1 and operands[i].shape[j] != cnp.PyArray_DIMS(g)[missing + j]:
                return False
    return True


cdef object push_forward_elementwise(Primitive p, Trace t, PyObject *const *args, PyObject **values,
                                     Py_ssize_t n, object ans, Parent *parents, int count):
    cdef PyObject *operands[MAX_INPUTS]
    cdef int j
    cdef Py_ssize_t k
    cdef object tangent, total = None, g
    cdef Box out
    operands[1] = <PyObject *>ans
    for k in range(n):
        operands[k + 2] = values[k]
    for j in range(count):
        g = tangent_of(<Box>args[parents[j].arg])
        operands[0] = <PyObject *>g
        fp_clear()
        tangent = contribution(p, parents[j].arg, operands, g)
        if fp_flags():
            give_errors(p.name, fp_flags())
        total = tangent if total is None else P_ADD(total, tangent)
    out = new_object(t, 0, ans)
    set_tangent(out, fit_up(total, box_meta(out)))
    return out


# --- rules for whole arrays --------------------------------------------------------------------

cdef object record_call(Primitive p, Trace t, list args, list values, dict kwargs, list traced, list slots,
                        object ans):
    cdef Tape tape
    cdef Entry *e
    cdef Box out
    cdef Py_ssize_t i, n = len(args)
    cdef Parent *parents
    cdef unsigned long long need = 0
    cdef Py_ssize_t count = len(traced), k
    cdef Parent room[8]
    cdef object v
    if p.rule == MAKER:
        return record_maker(p, t, args, values, kwargs, traced, slots, ans)
    for k in range(count):
        i = traced[k]
        p.vjp_of(<int>i)
        need |= <unsigned long long>p.vjp_needs[0 if p.rule_for_all else i]
    for i in range(n):
        # Traced arguments and arrays that no rule reads leave their shape and dtype only.
        if i < 62 and need >> (i + 1) & 1 or i >= 62 and need >> 63:
            continue
        v = args[i]
        if type(v) is Box:
            values[i] = box_meta(<Box>v)
        elif cnp.PyArray_Check(v):
            values[i] = meta_of(v)
    parents = &room[0]
    if count > 8:
        parents = <Parent *>PyMem_Malloc(count * sizeof(Parent))
    if parents == NULL:
        raise MemoryError(p.name)
    try:
        for k in range(count):
            i = traced[k]
            parents[k].arg = <int>i
            parents[k].slot = slots[k]
        v = ans if need & 1 else meta_of(ans)
        tape = t.recording()
        e = tape.push(p, CALL_ENTRY)
        out = new_object(t, <int>tape.n - 1, ans)
        if out.kind == SCALAR:
            e.flags |= DOUBLE
        elif not need & 1:
            set_field(&out.meta, v)
        set_call_parents(tape, e, parents, <int>count)
        tape.keep(e, v)
        for i in range(n):
            tape.keep(e, values[i])
        tape.keep(e, kwargs if kwargs else None)
    finally:
        if parents != &room[0]:
            PyMem_Free(parents)
    return noted(tape, out)


cdef int set_call_parents(Tape tape, Entry *e, Parent *parents, int count) except -1:
    """Like `set_parents`; argument numbers beyond a byte go to `more` as well."""
    cdef int k
    cdef bint wide = count > 2
    for k in range(count):
        wide = wide or parents[k].arg > 255
    if not wide:
        return set_parents(tape, e, parents, count)
    e.flags |= MANY
    e.p0 = <int>tape.nmore
    e.p1 = count
    for k in range(count):
        tape.push_parent(parents[k].slot, parents[k].arg)
    return 0


cdef object record_maker(Primitive p, Trace t, list args, list values, dict kwargs, list traced, list slots,
                         object ans):
    cdef Tape tape
    cdef Entry *e
    cdef Box out
    cdef list keep = []
    cdef Parent *parents
    cdef Py_ssize_t i
    cdef bint joint = p.maker_all is not None
    if joint:
        keep.append(p.maker_all(tuple(traced), ans, tuple(values), kwargs))
        for i in traced:
            keep.append(box_meta(<Box>args[i]))
    else:
        for i in traced:
            maker = p.makers.get(i)
            if maker is None:
                raise TypeError("%s has no vjp with respect to argument %d; define one with "
                                "autograd_c.extend.defvjp, or pass a plain value there" % (p.name, i))
            keep.append(maker(ans, *values, **kwargs))
            keep.append(box_meta(<Box>args[i]))
    parents = <Parent *>PyMem_Malloc(len(traced) * sizeof(Parent))
    if parents == NULL:
        raise MemoryError(p.name)
    try:
        for i in range(len(traced)):
            parents[i].arg = traced[i]
            parents[i].slot = slots[i]
        tape = t.recording()
        e = tape.push(p, MAKER_ENTRY)
        out = new_object(t, <int>tape.n - 1, ans)
        e.flags |= (DOUBLE if out.kind == SCALAR else 0) | (JOINT if joint else 0)
        set_call_parents(tape, e, parents, <int>len(traced))
        for v in keep:
            tape.keep(e, v)
    finally:
        PyMem_Free(parents)
    return out


cdef object push_forward(Primitive p, Trace t, list args, list values, dict kwargs, list traced, object ans):
    cdef object total = None, tangent, rule
    cdef Box out
    cdef Py_ssize_t i
    if p.jvp_all is not None:
        tangents = [tangent_of(<Box>args[i]) for i in traced]
        total = p.jvp_all(tuple(traced), tangents, ans, tuple(values), kwargs)
    else:
        for i in traced:
            rule = None
            if p.rule_for_all:
                rule = p.jvps[0]
            elif p.jvps is not None and i < len(p.jvps):
                rule = p.jvps[i]
            if rule is None:
                raise TypeError("%s has no forward rule with respect to argument %d; define one with "
                                "autograd_c.extend.defjvp, or use reverse mode" % (p.name, i))
            tangent = tangent_of(<Box>args[i])
            if rule == "same":
                shifted = list(values)
                shifted[i] = tangent
                tangent = p(*shifted, **kwargs)
            elif p.rule_for_all:
                tangent = rule(i, tangent, ans, *values, **kwargs)
            else:
                tangent = rule(tangent, ans, *values, **kwargs)
            total = tangent if total is None else P_ADD(total, tangent)
    out = new_object(t, 0, ans)
    set_tangent(out, fit_up(total, box_meta(out)))
    return out


# --- bringing a contribution to a shape and dtype ------------------------------------------------

cdef inline object fit_to(object c, Meta m):
    """Unbroadcasts a cotangent to the shape of `m`; real part and cast where the dtype asks for it."""
    cdef cnp.ndarray a
    if cnp.PyArray_CheckExact(c):
        a = <cnp.ndarray>c
        if <PyObject *>cnp.PyArray_DESCR(a) == <PyObject *>m.dtype and same_as_tuple(a, m.shape):
            return c
        if cnp.PyArray_TYPE(a) == cnp.NPY_DOUBLE and cnp.PyArray_ISBEHAVED_RO(a) \
                and cnp.PyArray_IS_C_CONTIGUOUS(a):
            if m is META_FLOAT64:
                return float64(add_all(a))
            if <PyObject *>cnp.PyArray_DESCR(a) == <PyObject *>m.dtype and ends_with(a, m.shape):
                return add_rows(a, m)
        if <PyObject *>cnp.PyArray_DESCR(a) == <PyObject *>m.dtype and stretches(a, m.shape):
            return stretched(a, m.shape)
    elif type(c) is np_float64 and m is META_FLOAT64:
        return c
    return hooks["fit"](c, m)


cdef bint stretches(cnp.ndarray a, tuple shape) except -1:
    """Whether an array broadcasts to a shape: what a reduction's rule returns, with axes of length one."""
    cdef int i, n = cnp.PyArray_NDIM(a), k = <int>PyTuple_GET_SIZE(shape)
    if n > k:
        return False
    for i in range(n):
        if cnp.PyArray_DIMS(a)[i] != 1 and cnp.PyArray_DIMS(a)[i] != <Py_ssize_t>(
                <object>PyTuple_GET_ITEM(shape, k - n + i)):
            return False
    return True


cdef object stretched(cnp.ndarray a, tuple shape):
    """The array broadcast to that shape: a read-only view."""
    cdef cnp.npy_intp dims[64]
    cdef cnp.npy_intp strides[64]
    cdef int i, n = cnp.PyArray_NDIM(a), k = <int>PyTuple_GET_SIZE(shape)
    cdef cnp.ndarray out
    for i in range(k):
        dims[i] = <object>PyTuple_GET_ITEM(shape, i)
        strides[i] = 0
        if i >= k - n and cnp.PyArray_DIMS(a)[i - (k - n)] != 1:
            strides[i] = cnp.PyArray_STRIDES(a)[i - (k - n)]
    Py_INCREF(<object>cnp.PyArray_DESCR(a))     # NewFromDescr takes a reference
    out = PyArray_NewFromDescr(cnp.ndarray, <cnp.dtype><object>cnp.PyArray_DESCR(a), k, dims, strides,
                               cnp.PyArray_DATA(a), cnp.PyArray_FLAGS(a) & cnp.NPY_ARRAY_ALIGNED, <object>NULL)
    cnp.set_array_base(out, a)
    return out


cdef double add_all(cnp.ndarray a) noexcept:
    """The sum of a C-ordered float64 array, by NumPy's pairwise loop."""
    cdef double total = -0.0
    cdef char *args[3]
    cdef cnp.npy_intp steps[3]
    args[0] = args[2] = <char *>&total
    args[1] = <char *>cnp.PyArray_DATA(a)
    steps[0] = steps[2] = 0
    steps[1] = 8
    run_loop(ADD_DOUBLE, args, steps, cnp.PyArray_SIZE(a))
    return total


cdef bint ends_with(cnp.ndarray a, tuple shape) except -1:
    """Whether a shape is the end of the array's: the usual case of broadcasting, a row added to a matrix."""
    cdef int i, n = cnp.PyArray_NDIM(a), k = <int>PyTuple_GET_SIZE(shape)
    if k >= n or k == 0 or cnp.PyArray_SIZE(a) == 0:
        return False
    for i in range(k):
        if cnp.PyArray_DIMS(a)[n - k + i] != <Py_ssize_t>(<object>PyTuple_GET_ITEM(shape, i)):
            return False
    return True


cdef object add_rows(cnp.ndarray a, Meta m):
    """The sum over the leading axes of a C-ordered float64 array, row after row as NumPy adds them."""
    cdef cnp.ndarray out = zeros_like_meta(m)
    cdef char *args[3]
    cdef cnp.npy_intp steps[3]
    cdef cnp.npy_intp row = cnp.PyArray_SIZE(out), i
    args[0] = args[2] = <char *>cnp.PyArray_DATA(out)
    steps[0] = steps[1] = steps[2] = 8
    for i in range(cnp.PyArray_SIZE(a) // row):
        args[1] = <char *>cnp.PyArray_DATA(a) + i * row * 8
        run_loop(ADD_DOUBLE, args, steps, row)
    return out


cdef inline bint same_as_tuple(cnp.ndarray a, tuple shape) except -1:
    cdef int i, n = cnp.PyArray_NDIM(a)
    if n != PyTuple_GET_SIZE(shape):
        return False
    for i in range(n):
        if cnp.PyArray_DIMS(a)[i] != <Py_ssize_t>(<object>PyTuple_GET_ITEM(shape, i)):
            return False
    return True


cdef inline object fit_up(object c, Meta m):
    """Brings a tangent to the shape and dtype of the result."""
    if cnp.PyArray_CheckExact(c) and <PyObject *>cnp.PyArray_DESCR(<cnp.ndarray>c) == <PyObject *>m.dtype \
            and same_as_tuple(<cnp.ndarray>c, m.shape):
        return c
    if type(c) is np_float64 and not m.shape and m.dtype == np_float64:
        return c
    return hooks["fit_up"](c, m)


# --- indexing and updates in place ---------------------------------------------------------------

cdef object get_item(Box x, object index):
    cdef cnp.ndarray a
    cdef Py_ssize_t i, n
    cdef Trace t = x.trace
    cdef Tape tape
    cdef Entry *e
    cdef Box out
    if not t.open:
        raise_outlived()
    if x.kind == SCALAR:
        return hooks["getitem"](x, index)
    current(x)
    if t.mode == REVERSE and cnp.PyArray_CheckExact(<object>x.v):
        a = <cnp.ndarray>x.v
        if type(index) is int and cnp.PyArray_NDIM(a) == 1 and cnp.PyArray_TYPE(a) == cnp.NPY_DOUBLE \
                and cnp.PyArray_ISBEHAVED_RO(a):
            n = cnp.PyArray_DIMS(a)[0]
            i = index
            if i < 0:
                i += n
            if 0 <= i < n:
                return pick(x, i, (<double *>cnp.PyArray_GETPTR1(a, i))[0])
        return record_index(x, index)
    return hooks["getitem"](x, index)


cdef object pick(Box x, Py_ssize_t flat, double value):
    """One item of a float64 array as a scalar box."""
    cdef Meta meta = box_meta(x)
    cdef Tape tape = x.trace.recording()
    cdef Entry *e = tape.push(P_GETITEM, PICK_ENTRY)
    cdef Box out = new_scalar(x.trace, <int>tape.n - 1, value, False)
    e.flags = DOUBLE
    e.p0 = x.slot
    e.s0 = <double>flat
    tape.keep(e, meta)
    return out


cdef object record_index(Box x, object index):
    """Any other index of a plain array in a reverse trace."""
    cdef Trace t = x.trace
    cdef Tape tape
    cdef Box out
    cdef Entry *e
    cdef Meta meta
    cdef int slot
    cdef object value, base
    if type(index) is not slice and type(index) is not int:
        index = hooks["freeze_index"](index)
    meta = box_meta(x)
    slot = x.slot
    base = <object>x.v
    value = PyObject_GetItem(base, index)
    if not cnp.PyArray_CheckExact(value) and not isinstance(value, np_generic):
        return hooks["getitem"](x, index)
    tape = t.recording()
    e = tape.push(P_GETITEM, INDEX_ENTRY)
    out = new_object(t, <int>tape.n - 1, value)
    e.p0 = slot
    if out.kind == SCALAR:
        e.flags = DOUBLE
    tape.keep(e, meta)
    tape.keep(e, index)
    if shares(value, base):
        look_at(out, x, index)
    return out


cdef bint is_basic(object index) noexcept:
    """Whether an index selects a view (integers, slices, None, Ellipsis) and so no item twice."""
    if type(index) is tuple:
        for item in <tuple>index:
            # A tuple inside a tuple stands for an array of integers.
            if type(item) is tuple or not is_basic(item):
                return False
        return True
    return type(index) is slice or type(index) is int or index is None or index is Ellipsis


cdef bint shares(object view, object base) noexcept:
    """Whether a value is a view of another one, so that an update of one is seen in the other.

    An array that does not own its memory may still be a view of a copy: it is the owner that counts.
    """
    if type(view) is Box:
        return view is base or is_view(<Box>view)
    if not cnp.PyArray_CheckExact(view) or cnp.PyArray_NDIM(<cnp.ndarray>view) == 0:
        return False
    return owner(<PyObject *>view) == owner(<PyObject *>base)


cdef PyObject *owner(PyObject *a) noexcept:
    """The array at the end of the chain of bases."""
    while cnp.PyArray_Check(<object>a) and cnp.PyArray_BASE(<cnp.ndarray><object>a) != NULL:
        a = cnp.PyArray_BASE(<cnp.ndarray><object>a)
    return a


@cython.final
cdef class TakenAgain:
    """How a primitive's view of its first argument is taken again: the primitive and its other arguments."""
    cdef Primitive p
    cdef tuple rest
    cdef dict kwargs

    def __call__(self, base):
        return self.p(base, *self.rest, **self.kwargs)


cdef TakenAgain taken_again(Primitive p, list args, dict kwargs):
    cdef TakenAgain t = TakenAgain.__new__(TakenAgain)
    t.p = p
    t.rest = tuple(args[1:])
    t.kwargs = kwargs
    return t


cdef int catch_up(Box b) except -1:
    """A view whose base was updated in place is taken again, after the views that it looks through."""
    cdef list stale = []
    cdef View view
    cdef Box fresh
    while True:
        view = <View>b.view
        if view.seen == view.family.version or view.base is None:
            break
        stale.append(b)
        b = view.base
    while stale:
        b = <Box>stale.pop()
        view = <View>b.view
        if view.base.trace is not b.trace:
            raise TypeError("a view of an array was used after a value of an inner derivative had been put "
                            "into the array; take the view again")
        fresh = <Box?>(view.take(view.base) if callable(view.take) else get_item(view.base, view.take))
        take_value(b, fresh)
        view.seen = view.family.version
    return 0


cdef int take_value(Box x, Box fresh) except -1:
    """All that makes up a value: the kind says which of the fields hold it."""
    x.slot = fresh.slot
    x.kind = fresh.kind
    x.weak = fresh.weak
    x.d = fresh.d
    x.dt = fresh.dt
    share_field(&x.meta, fresh.meta)
    share_field(&x.v, fresh.v)
    share_field(&x.tan, fresh.tan)
    return 0


cdef object update(Box x, object new):
    """`x` takes the value of `new` in place, as the augmented assignments of an ndarray do."""
    cdef Box fresh
    if new is NotImplemented:
        return new
    if not holds_array(x):
        return new
    current(x)
    if type(new) is not Box or (<Box>new).trace.level < x.trace.level:
        return hooks["update"](x, new)
    fresh = <Box>new
    if fresh.kind == SCALAR or box_meta(fresh).shape != box_meta(x).shape \
            or box_meta(fresh).dtype != box_meta(x).dtype:
        fresh = <Box>hooks["cast_update"](fresh, box_meta(x))
    adopt(x, fresh)
    return x


cdef inline bint holds_array(Box x) noexcept:
    """Whether the value is an array, which changes in place, and not a scalar, which does not."""
    while x.kind == OBJECT and type(<object>x.v) is Box:
        x = <Box>x.v
    return x.kind == OBJECT and cnp.PyArray_Check(<object>x.v)


cdef int adopt(Box x, Box fresh) except -1:
    """Rebinds a box to a newer slot; what it is a view of sees the update too.

    A value of an inner trace takes the box with it: it is of no use after that trace.
    """
    cdef View view
    cdef object base
    x.trace = fresh.trace
    take_value(x, fresh)
    if x.view != NULL:
        view = <View>x.view
        if view.base is None:
            view.family.version += 1
        else:
            hooks["write_through"](x, view.base, view.take)
            # In memory it is a part of the base as before: whether `reshape` of it is a view depends on that.
            base = box_value(view.base)
            set_field(&x.v, view.take(base) if callable(view.take) else base[view.take])
        view.seen = view.family.version
    return 0


cdef int set_item(Box x, object index, object value) except -1:
    """`x[index] = value`: a new value for the box, and a new slot."""
    cdef Box fresh
    if not x.trace.open:
        raise_outlived()
    current(x)
    if not in_place_already(x, index, value) and not set_basic(x, index, value):
        adopt(x, <Box?>hooks["set_at"](x, index, value))
    return 0


cdef bint set_basic(Box x, object index, object value) except -1:
    """``x[index] = value`` by basic indexing of a plain array in a reverse trace.

    False where the rule must do it. An array that nobody else holds, no view and no residual, is written to;
    any other is copied first.
    """
    cdef Box b = None
    cdef Entry *e
    cdef Trace t = x.trace
    cdef Tape tape
    cdef Meta meta = None
    cdef int slot = -1
    cdef object fresh
    if x.trace.mode != REVERSE or x.kind == SCALAR or is_view(x) or not cnp.PyArray_CheckExact(<object>x.v):
        return False
    if not is_basic(index):
        return False
    if type(value) is Box:
        b = current(<Box>value)
        if b.trace is not x.trace:
            return False
        value = box_value(b)
        meta = box_meta(b)
        slot = b.slot
    if not goes_into(value, cnp.PyArray_TYPE(<cnp.ndarray>x.v)):
        return False
    if OWNED_ARRAY(x.v):
        PyObject_SetItem(<object>x.v, index, value)
    else:
        fresh = np_array(<object>x.v)
        PyObject_SetItem(fresh, index, value)
        set_field(&x.v, fresh)
    # A warning of NumPy's may have run Python.
    if x.trace is not t:
        raise_outlived()
    tape = t.recording()
    e = tape.push(P_SETITEM, SET_ENTRY)
    e.p0 = x.slot
    x.slot = <int>tape.n - 1
    if x.view != NULL:
        (<View>x.view).family.version += 1
        (<View>x.view).seen = (<View>x.view).family.version
    tape.keep(e, index)
    if b is not None:
        e.p1 = slot
        tape.keep(e, meta)
    return True


cdef inline bint goes_into(object value, int typenum) noexcept:
    """A plain number or array of floats that an array of that type takes without losing an imaginary part."""
    if PyFloat_Check(value) or type(value) is int:
        return True
    if not cnp.PyArray_CheckExact(value) or type_code(cnp.PyArray_TYPE(<cnp.ndarray>value)) == 0:
        return False
    if cnp.PyTypeNum_ISCOMPLEX(typenum):
        return True
    return not cnp.PyTypeNum_ISCOMPLEX(cnp.PyArray_TYPE(<cnp.ndarray>value))


cdef bint in_place_already(Box x, object index, object value) except -1:
    """Whether this is the last step of ``x[index] += v``, whose view has written to `x` already."""
    cdef View view
    if type(value) is not Box or not is_view(<Box>value) or not is_basic(index):
        return False
    view = <View>(<Box>value).view
    if view.base is not x or view.seen != view.family.version or callable(view.take):
        return False
    return view.take == index


def rebind(Box x, Box new):
    """Gives a box the value of another one of the same trace: `out=` and updates in place."""
    if new.trace.level < x.trace.level:
        raise TypeError("an array of an inner derivative cannot take the value of an outer one in place; "
                        "use the result instead")
    adopt(x, new)
    return x


def link_view(Box view, Box base, take):
    """Declares `view` a view of `base` that `take(base)` makes again, for reshape, transpose and the like."""
    if view.trace is base.trace and view.kind == OBJECT:
        look_at(view, base, take)
    return view


def stack_scalars(given):
    """An array of one axis from float64 scalars of one trace; None where that is not what the items are."""
    cdef list items = list(given)       # a sequence of the user's own might change while it is read
    cdef Trace t = None
    cdef cnp.npy_intp n
    cdef Py_ssize_t i
    cdef object v
    cdef cnp.ndarray out
    cdef bint weak
    for v in items:
        if type(v) is Box:
            if (<Box>v).kind != SCALAR or (t is not None and t is not (<Box>v).trace) or (<Box>v).tan != NULL:
                return None
            t = (<Box>v).trace
        elif not PyFloat_Check(v) and type(v) is not int:
            return None
    if t is None or t.mode == RECORD:
        return None
    if not t.open:
        raise_outlived()
    n = len(items)
    out = cnp.PyArray_SimpleNew(1, &n, cnp.NPY_DOUBLE)
    for i in range(n):
        if not scalar_number(items[i], &(<double *>cnp.PyArray_DATA(out))[i], &weak):
            return None
    return array_entry(t, items, out) if t.mode == REVERSE else array_tangent(t, items, out)


cdef Box array_entry(Trace t, list items, cnp.ndarray value):
    cdef Tape tape = t.recording()
    cdef Box out
    cdef Entry *e
    cdef int i = 0, start = <int>tape.nmore
    cdef object v
    for v in items:
        if type(v) is Box:
            tape.push_parent((<Box>v).slot, i)
        i += 1
    # Whoever records while a debug hook runs in `push` appends behind these.
    i = <int>tape.nmore - start
    e = tape.push(P_ARRAY, ARRAY_ENTRY)
    out = new_object(t, <int>tape.n - 1, value)
    e.flags = MANY
    e.p0 = start
    e.p1 = i
    return out


cdef Box array_tangent(Trace t, list items, cnp.ndarray value):
    cdef Box out = new_object(t, 0, value)
    cdef cnp.npy_intp n = cnp.PyArray_SIZE(value)
    cdef cnp.ndarray tangent = cnp.PyArray_SimpleNew(1, &n, cnp.NPY_DOUBLE)
    cdef Py_ssize_t i
    for i in range(n):
        v = items[i]
        (<double *>cnp.PyArray_DATA(tangent))[i] = (<Box>v).dt if type(v) is Box else 0.0
    set_tangent(out, tangent)
    return out
