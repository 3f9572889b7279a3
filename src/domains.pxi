# Floating-point errors of calls that a draft leaves out because no result needs their values, such as the
# logarithm in the gradient of one. Eager mode computes them and reports the errors, so a replay must notice
# where there would be some; the plain function is run then. Few calls need anything for that:
#
#   nothing       log1p(x * x), the sum of the terms in a likelihood: by the ranges of values that follow from
#                 the calls alone, no flag can be raised
#   a check       log(x): the items of x that are not positive are given to NumPy's loop, and nothing else
#   a bound       sum(r ** 2): nothing is raised where all |r| are at most 1e75, which is far beyond ordinary
#                 data; others raise flags that may be false, which costs an eager call. The bound is that of
#                 the values the program has anyway, or of the inputs (1e30), whichever are fewer
#   the call      is computed after all: what is not known here, and what may raise an exception
#
# That a value underflows is ignored by default. No check looks for it: while `np.errstate` has it reported,
# the plain function is run (`ReplayProgram.hides`).

cdef extern from "domains.h":
    ctypedef struct Domain:
        double lo, hi, least, most, second
        VmCall loop
        int absolute, takes_two, raises
    void keeping_flags(char **args, const cnp.npy_intp *dims, const cnp.npy_intp *steps,
                       void *data) noexcept nogil
    void fp_raise(int raw) noexcept nogil
    int fp_of_npy(int flags) noexcept nogil
    void domain_check_d(char **args, const cnp.npy_intp *dims, const cnp.npy_intp *steps,
                        void *data) noexcept nogil
    void domain_check_f(char **args, const cnp.npy_intp *dims, const cnp.npy_intp *steps,
                        void *data) noexcept nogil


def _check(x):
    """Of a replay: looks for items of which a call that was left out would have reported an error."""
    return x


cdef Primitive P_CHECK = Primitive(_check, "check")
P_CHECK.keep()

# As NumPy numbers the flags.
cdef enum:
    DIVIDES = 1
    OVERFLOWS = 2
    UNDERFLOWS = 4
    IS_INVALID = 8
    ANY_ERROR = 11
    UNKNOWN_ERROR = 64      # it must be computed

# --- what is known of primitives ------------------------------------------------------------------------

cdef enum Effect:
    E_UNKNOWN       # must be computed: it may raise exceptions, or nobody looked at it
    E_HARMLESS      # raises nothing; of its values nothing is said
    E_MOVE          # some of the operands' items
    E_UNIT          # between -1 and 1
    E_SMALL         # between -4 and 4
    E_NEGATIVE
    E_ABSOLUTE
    E_SHRINK        # no further from 0 than the larger of the operand and 1
    E_CAST
    E_ADD
    E_SUBTRACT
    E_MULTIPLY
    E_DIVIDE
    E_MODULO
    E_RECIPROCAL
    E_SQUARE
    E_SCALE         # products with a constant between 0 and 60
    E_HYPOT
    E_SUM
    E_PROD
    E_PRODUCT       # of matrices and vectors
    E_POWER
    E_CURVE         # a function of one operand that `CURVES` knows

cdef dict EFFECTS = {name: effect for effect, names in (
    (E_HARMLESS, "less less_equal greater greater_equal equal not_equal signbit isfinite isinf isnan "
                 "logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor invert "
                 "argsort argpartition argmax argmin searchsorted digitize count_nonzero "
                 "any all isneginf isposinf count_true zeros"),
    (E_MOVE, "getitem item reshape item_by expand_dims squeeze transpose matrix_transpose swapaxes moveaxis "
             "rollaxis broadcast_to flip fliplr flipud rot90 roll tile repeat diagonal constant_like "
             "copy conjugate real setitem concatenate stack array take gathered sort partition where "
             "maximum minimum fmax fmin max min amax amin maximum.reduce minimum.reduce fmax.reduce "
             "fmin.reduce maximum.accumulate minimum.accumulate fmax.accumulate fmin.accumulate positive"),
    (E_UNIT, "tanh sign"),
    (E_SMALL, "arctan arctan2"),
    (E_NEGATIVE, "negative"),
    (E_ABSOLUTE, "absolute fabs"),
    (E_SHRINK, "cbrt arcsinh floor ceil trunc rint tril triu diag placed copysign"),
    (E_CAST, "astype"),
    (E_ADD, "add"),
    (E_SUBTRACT, "subtract"),
    (E_MULTIPLY, "multiply outer"),
    (E_DIVIDE, "divide"),
    (E_MODULO, "remainder fmod floor_divide"),
    (E_RECIPROCAL, "reciprocal"),
    (E_SQUARE, "square scalar_square"),
    (E_SCALE, "degrees rad2deg radians deg2rad"),
    (E_HYPOT, "hypot"),
    (E_SUM, "sum mean trace cumsum cumulative_sum add.reduce add.accumulate"),
    (E_PROD, "prod cumprod cumulative_prod multiply.reduce multiply.accumulate"),
    (E_PRODUCT, "matmul dot inner vdot vecdot matvec vecmat"),
    (E_POWER, "power scalar_power float_power"),
) for name in names.split()}

cdef enum CurveShape:
    C_LOG, C_LOG1P, C_ROOT, C_ARC, C_ARCCOSH, C_ARCTANH, C_WAVE, C_TAN, C_EXP, C_EXPM1, C_SINH

cdef struct Curve:
    double lo[2]        # between which it raises nothing, for float64 and float32
    double hi[2]
    double most[2]      # the largest |x| for which the result is no danger to what is made of it
    int shape
    int raises          # what it may raise elsewhere
    int endless         # infinities that raise nothing: 1 for the negative one, 2 for the positive

cdef enum:
    NCURVES = 20

cdef Curve CURVES[NCURVES]
cdef dict CURVE_NUMBERS = {}


cdef int add_curve(str name, int shape, int raises, int endless, tuple lo, tuple hi,
                   tuple most=(1e75, 1e15)) except -1:
    cdef int number = <int>len(CURVE_NUMBERS)
    cdef int k
    for k in range(2):
        CURVES[number].lo[k] = lo[k]
        CURVES[number].hi[k] = hi[k]
        CURVES[number].most[k] = most[k]
    CURVES[number].shape = shape
    CURVES[number].raises = raises
    CURVES[number].endless = endless
    CURVE_NUMBERS[name] = number
    return 0


cdef int add_curves() except -1:
    cdef tuple endless = (INFINITY, INFINITY), least = (5e-324, 1.5e-45)
    cdef tuple before_one = (1.0 - 2.0**-53, 1.0 - 2.0**-24), steep = (300.0, 30.0)
    for name in ("log", "log2", "log10"):
        add_curve(name, C_LOG, DIVIDES | IS_INVALID, 2, least, endless)
    add_curve("log1p", C_LOG1P, DIVIDES | IS_INVALID, 2, (-before_one[0], -before_one[1]), endless)
    add_curve("sqrt", C_ROOT, IS_INVALID, 2, (0.0, 0.0), endless)
    for name in ("arcsin", "arccos"):
        add_curve(name, C_ARC, IS_INVALID, 0, (-1.0, -1.0), (1.0, 1.0), (1.0, 1.0))
    add_curve("arccosh", C_ARCCOSH, IS_INVALID, 2, (1.0, 1.0), endless)
    add_curve("arctanh", C_ARCTANH, DIVIDES | IS_INVALID, 0, (-before_one[0], -before_one[1]), before_one,
              before_one)
    for name in ("sin", "cos"):
        add_curve(name, C_WAVE, IS_INVALID, 0, (-1.7e308, -3.4e38), (1.7e308, 3.4e38))
    add_curve("tan", C_TAN, IS_INVALID, 0, (-1.7e308, -3.4e38), (1.7e308, 3.4e38))
    add_curve("exp", C_EXP, OVERFLOWS, 3, (-INFINITY, -INFINITY), (709.0, 88.0), steep)
    add_curve("exp2", C_EXP, OVERFLOWS, 3, (-INFINITY, -INFINITY), (1023.0, 127.0), steep)
    add_curve("expm1", C_EXPM1, OVERFLOWS, 3, (-INFINITY, -INFINITY), (709.0, 88.0), steep)
    for name in ("sinh", "cosh"):
        add_curve(name, C_SINH, OVERFLOWS, 3, (-709.0, -88.0), (709.0, 88.0), steep)
    return 0


add_curves()


cdef int find_effect(Primitive p) except -1:
    if p.scalar_code == S_CALL1 or p.scalar_code == S_CALL2:
        p.planned_scalar = planned_loops(p, p.scalar_loop, fast_scalar_loop(p), b"d" * p.nin)
    p.effect = E_UNKNOWN
    if not p.ours:
        return 0
    if p.is_ufunc and p.fun not in numpy_ufuncs:
        p.effect = E_HARMLESS       # those of scipy.special clear the flags that they raise
    elif p.is_ufunc and p.name in CURVE_NUMBERS:
        p.effect = E_CURVE
        p.curve = CURVE_NUMBERS[p.name]
    else:
        p.effect = EFFECTS.get(p.name, E_UNKNOWN)
    return 0


# --- ranges ---------------------------------------------------------------------------------------------

cdef struct Range:
    # Of a value, NaN apart: its finite items are between `lo` and `hi`.
    double lo, hi
    int endless         # infinities that may be among its items: 1 the negative one, 2 the positive


cdef inline Range range_between(double lo, double hi, int endless) noexcept:
    cdef Range r
    r.lo = lo
    r.hi = hi
    r.endless = endless
    return r


cdef inline Range unknown_range() noexcept:
    return range_between(-1.7e308, 1.7e308, 3)


cdef inline double largest(Range r) noexcept:
    return max(fabs(r.lo), fabs(r.hi))


cdef inline bint has_zero(Range r) noexcept:
    return r.lo <= 0.0 <= r.hi


cdef inline Range within(Range r, double most) noexcept:
    """The part of a range that is no further from 0 than `most`."""
    return range_between(min(max(r.lo, -most), most), max(min(r.hi, most), -most), 0)


cdef inline bint includes(Range a, Range b) noexcept:
    """Whether the first range includes the second one."""
    return a.lo <= b.lo and b.hi <= a.hi and not b.endless & ~a.endless


cdef inline Range meeting(Range a, Range b) noexcept:
    return range_between(max(a.lo, b.lo), min(a.hi, b.hi), a.endless & b.endless)


cdef inline Range joined_ranges(Range a, Range b) noexcept:
    return range_between(min(a.lo, b.lo), max(a.hi, b.hi), a.endless | b.endless)


cdef inline Range mirrored(Range r) noexcept:
    return range_between(-r.hi, -r.lo, (r.endless & 1) << 1 | r.endless >> 1)


cdef inline int settled(Range *r, double most) noexcept:
    """Cuts a range at the largest number of its type; what that says of an overflow."""
    cdef int raises = 0
    if r.hi > most:
        raises = OVERFLOWS
        r.endless |= 2
    if r.lo < -most:
        raises = OVERFLOWS
        r.endless |= 1
    r.lo = min(max(r.lo, -most), most)
    r.hi = max(min(r.hi, most), -most)
    return raises


cdef int add_ranges(Range a, Range b, Range *out) noexcept:
    out[0] = range_between(a.lo + b.lo, a.hi + b.hi, a.endless | b.endless)
    return IS_INVALID if a.endless & 1 and b.endless & 2 or a.endless & 2 and b.endless & 1 else 0


cdef int multiply_ranges(Range a, Range b, Range *out) noexcept:
    cdef double p = a.lo * b.lo, q = a.lo * b.hi, r = a.hi * b.lo, s = a.hi * b.hi
    out[0] = range_between(min(min(p, q), min(r, s)), max(max(p, q), max(r, s)), 0)
    if a.endless or b.endless:
        out.endless = 3 if a.endless & 1 or b.endless & 1 or a.lo < 0.0 or b.lo < 0.0 else 2
    return IS_INVALID if a.endless and has_zero(b) or b.endless and has_zero(a) else 0


cdef int divide_ranges(Range a, Range b, Range *out) noexcept:
    cdef Range inverse
    cdef int raises = 0
    if has_zero(b):
        out[0] = unknown_range()
        return ANY_ERROR
    inverse = range_between(1.0 / b.hi, 1.0 / b.lo, 0)
    if b.endless:
        inverse = joined_ranges(inverse, range_between(0.0, 0.0, 0))
        raises = IS_INVALID if a.endless else 0
    multiply_ranges(a, inverse, out)
    return raises


cdef int add_up_range(Range x, double n, Range *out) noexcept:
    out[0] = range_between(min(x.lo, 0.0) * n, max(x.hi, 0.0) * n, x.endless)
    return IS_INVALID if x.endless == 3 else 0


cdef int multiply_up_range(Range x, double n, Range *out) noexcept:
    cdef double most = max(largest(x), 1.0), exponent = log(most) * n
    most = exp(exponent) if exponent < 700.0 else INFINITY
    out[0] = range_between(-most, most, 3 if x.endless else 0)
    return IS_INVALID if x.endless else 0


cdef int curve_range(const Curve *c, int k, Range x, Range *out) noexcept:
    """The range of a curve; what it may raise. `k` is 0 for float64 and 1 for float32."""
    cdef double bound
    cdef int above = x.endless & 2
    if c.shape == C_LOG:
        out[0] = range_between(0.0 if x.lo >= 1.0 else -1100.0, 1100.0, above | (1 if x.lo <= 0.0 else 0))
    elif c.shape == C_LOG1P:
        out[0] = range_between(0.0 if x.lo >= 0.0 else -1100.0, 1100.0, above | (1 if x.lo <= -1.0 else 0))
    elif c.shape == C_ROOT:
        out[0] = range_between(0.0, sqrt(max(x.hi, 0.0)) * 1.001, above)
    elif c.shape == C_ARCCOSH:
        out[0] = range_between(0.0, 1100.0, above)
    elif c.shape == C_ARCTANH:
        out[0] = range_between(-20.0, 20.0, (1 if x.lo <= -1.0 else 0) | (2 if x.hi >= 1.0 else 0))
    elif c.shape == C_WAVE:
        out[0] = range_between(-1.0, 1.0, 0)
    elif c.shape == C_ARC:
        out[0] = range_between(-4.0, 4.0, 0)
    elif c.shape == C_TAN:
        out[0] = range_between(-1e17, 1e17, 0)
    else:
        bound = largest(x) if c.shape == C_SINH else x.hi
        bound = 1.001 * exp(bound) + 1.0 if bound < 700.0 else INFINITY
        if c.shape == C_SINH:
            out[0] = range_between(-bound, bound, 3 if x.endless else 0)
        else:
            out[0] = range_between(0.0 if c.shape == C_EXP else -1.0, bound, above)
    return 0 if c.lo[k] <= x.lo and x.hi <= c.hi[k] and not x.endless & ~c.endless else c.raises


cdef int combined(int effect, double n, bint single, const Range *x, const Range *y, Range *out) noexcept:
    """The range of a call by those of its operands; what it may raise.

    `n` is the number of terms, of a power the exponent, of a curve its number.
    """
    cdef int raises
    if effect == E_ADD:
        return add_ranges(x[0], y[0], out)
    elif effect == E_SUBTRACT:
        return add_ranges(x[0], mirrored(y[0]), out)
    elif effect == E_MULTIPLY:
        return multiply_ranges(x[0], y[0], out)
    elif effect == E_DIVIDE:
        return divide_ranges(x[0], y[0], out)
    elif effect == E_RECIPROCAL:
        return divide_ranges(range_between(1.0, 1.0, 0), x[0], out)
    elif effect == E_SUM:
        return add_up_range(x[0], n, out)
    elif effect == E_PROD:
        return multiply_up_range(x[0], n, out)
    elif effect == E_CURVE:
        return curve_range(&CURVES[<int>n], single, x[0], out)
    elif effect == E_POWER:
        return power_range(x[0], n, out)
    elif effect == E_MODULO:
        raises = divide_ranges(x[0], y[0], out)
        out[0] = joined_ranges(out[0], range_between(-largest(y[0]), largest(y[0]), y.endless))
        return raises | (IS_INVALID if x.endless else 0)
    elif effect == E_PRODUCT:
        n *= largest(x[0]) * largest(y[0])
        out[0] = range_between(-n, n, 3 if x.endless or y.endless else 0)
        return IS_INVALID if x.endless or y.endless else 0
    elif effect == E_CAST:
        out[0] = x[0]
    elif effect == E_NEGATIVE:
        out[0] = mirrored(x[0])
    elif effect == E_ABSOLUTE:
        out[0] = range_between(0.0, largest(x[0]), 2 if x.endless else 0)
    elif effect == E_SQUARE:
        out[0] = range_between(0.0, largest(x[0]) * largest(x[0]), 2 if x.endless else 0)
    elif effect == E_SCALE:
        out[0] = range_between(min(60.0 * x.lo, 0.0), max(60.0 * x.hi, 0.0), x.endless)
    elif effect == E_HYPOT:
        out[0] = range_between(0.0, largest(x[0]) + largest(y[0]), 2 if x.endless or y.endless else 0)
    else:
        out[0] = unknown_range()
        return UNKNOWN_ERROR
    return 0


cdef int power_range(Range x, double power, Range *out) noexcept:
    cdef Domain domain
    cdef double most = 0.0
    cdef int raises = power_domain(power, &domain, &most)
    out[0] = unknown_range()
    if x.lo >= domain.lo or domain.absolute and power > 0.0 and x.lo >= -domain.hi:
        if x.hi <= domain.hi and not x.endless:
            out[0] = range_between(-1e300, 1e300, 0)
            if largest(x) <= most and (domain.least == 0.0 or x.lo >= domain.least):
                out[0] = range_between(-1e150, 1e150, 0)
            return 0
    return raises


cdef int power_domain(double power, Domain *d, double *most) noexcept:
    """Where a power raises nothing: the bounds of a check; `most` and `least` of it, for what others do.

    Returns what it may raise elsewhere.
    """
    cdef bint whole = power == floor(power)
    d.absolute = whole
    d.least = 0.0
    if power == 0.0:
        d.lo = 0.0
        d.hi = most[0] = INFINITY
        return 0
    d.hi = exp(min(690.0 / fabs(power), 700.0))
    most[0] = exp(min(345.0 / fabs(power), 172.0))
    d.lo = 0.0
    if power < 0.0:
        d.lo = 1.0 / d.hi
        d.least = 1.0 / most[0]
    return (OVERFLOWS if fabs(power) > 1.0 or power < 0.0 else 0) | (DIVIDES if power < 0.0 else 0) \
        | (0 if whole else IS_INVALID)


# --- what is done about calls that are left out -----------------------------------------------------------

cdef enum Fate:
    F_LEFT_OUT      # nothing: by what the calls before it are, it raises nothing
    F_BOUNDED       # the values that it comes from are compared with a bound
    F_CHECKED       # its operand is compared with its domain
    F_NONZERO       # the same for its second operand, by which it divides
    F_COMPUTED

# Three views of the values that the program has anyway: they are bounded; nothing is assumed of them; the
# inputs and constants that they come from are bounded. What is asked for are those from one to another.
cdef enum:
    W_BOUNDED, W_OPEN, W_INPUTS

cdef enum:
    LOOKBACK = 4         # steps from a value to those that it comes from
    CUT = 100            # more steps than that: there were others


@cython.final
cdef class Domains:
    """The domains that a program's checks compare with: equal ones are one."""
    cdef Domain **items
    cdef Py_ssize_t n, capacity
    cdef Domain *last           # that was asked for
    cdef dict places            # bytes of a domain -> its number
    cdef list owners            # primitives whose loops they call

    def __cinit__(self):
        self.places = {}
        self.owners = []

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.n):
            PyMem_Free(self.items[i])
        table_free(self.items)

    cdef Domain *same_as(self, const Domain *d) except NULL:
        cdef bytes key
        cdef Domain *new
        if self.last != NULL and memcmp(self.last, d, sizeof(Domain)) == 0:
            return self.last
        key = (<const char *>d)[:sizeof(Domain)]
        if key not in self.places:
            self.items = <Domain **>table_for(self.items, self.n + 1, &self.capacity, sizeof(Domain *))
            new = <Domain *>PyMem_Malloc(sizeof(Domain))
            if new == NULL:
                raise MemoryError("a check of a program")
            new[0] = d[0]
            self.items[self.n] = new
            self.places[key] = self.n
            self.n += 1
        self.last = self.items[<Py_ssize_t>self.places[key]]
        return self.last


cdef struct Dropped:
    # A call that no result needs.
    int number
    int raises              # what it may raise if nothing is assumed
    int needed              # while bounds are collected: what others may raise that it leads to
    unsigned char fate, by_inputs
    Range ranges[3]         # by world

cdef struct Seen:
    # The range of a value that the program has, for requests that look back from `least` to `most` steps.
    Range open, inputs      # in W_OPEN, for fewer steps, too; in W_INPUTS
    int next                # the next one of the same value, plus one; 0 behind the last
    unsigned char least, most
    unsigned char reach     # the steps that it took, CUT if there were others
    unsigned char has_inputs
    unsigned char looked    # as many steps back, the inputs are bounded already
    unsigned char required  # for what

cdef enum BoundList:
    B_OTHERS        # what the inputs cannot bound
    B_VALUES        # what they can: by values that the program has
    B_INPUTS        # and by the inputs
    B_NONZERO       # what must not be 0

cdef struct Bound:
    # Of the items of a value: the largest |x|.
    double most
    int operand
    int raises              # what else may be raised; 0 once a check has it
    int next                # that of the same value in another list, plus one; 0 behind the last
    int which               # its list


@cython.final
cdef class Leftovers:
    """The calls that a draft leaves out, in their order, and what is done in their place."""
    cdef Draft d
    cdef Record *records        # the draft's, which move when a check is added
    cdef int *operands
    cdef Dropped *calls
    # By number in the draft: the place among the calls, plus one; of what is needed, that of the first of
    # `seen`, plus one, with a minus; 0 for none.
    cdef int *place
    cdef int n, nconstants
    cdef int reach              # how far the ranges of the call that is judged look back
    cdef Seen *seen
    cdef Bound *bounds          # in the order in which they were found
    cdef int *first_bound       # by operand, constants first: its place there, plus one; 0 for none
    cdef Py_ssize_t nseen, nbounds
    cdef Py_ssize_t capacity[2]
    cdef int chosen             # of the lists: that whose values are compared
    cdef Primitive owner        # of the loop that was last looked for
    cdef LoopRef loop
    cdef char code, loop_gives  # the types of its operands and result

    def __dealloc__(self):
        table_free(self.first_bound)
        table_free(self.bounds)
        table_free(self.seen)
        table_free(self.calls)
        table_free(self.place)

    cdef bint find(self) except -1:
        """Whether some call that is left out might raise anything."""
        cdef Draft d = self.d
        cdef Dropped *c
        cdef Py_ssize_t i
        cdef int n = 0
        cdef bint any_effect = False
        for i in range(d.code.n):
            n += not d.w[i].wanted
        if n == 0:
            return False
        self.find_tables()
        self.nconstants = <int>PyList_GET_SIZE(d.code.constants)
        self.calls = <Dropped *>table_malloc(n * sizeof(Dropped))
        self.place = <int *>table_calloc(d.code.n, sizeof(int))
        if self.calls == NULL or self.place == NULL:
            raise MemoryError("a program of %d steps" % d.code.n)
        for i in range(d.code.n):
            if not d.w[i].wanted:
                any_effect = any_effect or effect_of(&self.records[i]) != E_HARMLESS
                c = &self.calls[self.n]
                c.number = <int>i
                c.raises = c.needed = 0
                c.fate = F_LEFT_OUT
                c.by_inputs = False
                self.n += 1
                self.place[i] = self.n
        return any_effect

    cdef inline void find_tables(self) noexcept:
        self.records = self.d.code.records
        self.operands = self.d.code.operands

    # --- ranges -----------------------------------------------------------------------------

    cdef const Range *range_of(self, int operand, int first, int last, int depth, Range *room) except NULL:
        """The ranges of an operand by world; `room` is where they are if it is none of the calls."""
        cdef Record *r
        cdef Range known
        if operand < 0:
            return self.range_of_constant(operand, first, last, room)
        if self.place[operand] > 0:
            return self.calls[self.place[operand] - 1].ranges
        r = &self.records[operand]
        known = unknown_range() if r.meta == NULL else range_of_type(<cnp.dtype>(<Meta>r.meta).dtype)
        room[W_OPEN] = room[W_INPUTS] = known
        if r.kind == CALL_NODE and r.meta != NULL:
            if depth > 0:
                self.look_back(operand, last, depth, room)
            else:
                self.reach = CUT
        elif last == W_INPUTS and r.kind == INPUT_NODE:
            room[W_INPUTS] = within_bound(known, r.meta, W_INPUTS)
        if first == W_BOUNDED:
            room[W_BOUNDED] = meeting(within_bound(known, r.meta, W_BOUNDED), room[W_OPEN])
        return room

    cdef int look_back(self, int number, int last, int depth, Range *room) except -1:
        """The ranges of a call that the program has, by what it comes from; `room` has those of its type."""
        cdef int reach = self.reach
        cdef Seen *s = self.seen_of(number, last, depth)
        cdef Range ranges[3]
        cdef int raises[3]
        if s == NULL:
            self.reach = 0
            self.judge(number, W_OPEN, last, depth - 1, ranges, raises)
            s = self.see(number)
            s.open = meeting(room[W_OPEN], ranges[W_OPEN])
            s.has_inputs = last == W_INPUTS
            s.inputs = meeting(room[W_INPUTS], ranges[W_INPUTS]) if last == W_INPUTS else room[W_INPUTS]
            s.reach = <unsigned char>min(self.reach + 1, <int>CUT)
            s.least = s.reach if s.reach < CUT else <unsigned char>depth
            s.most = LOOKBACK if s.reach < CUT else <unsigned char>depth
        self.reach = max(reach, <int>s.reach)
        room[W_OPEN] = s.open
        room[W_INPUTS] = s.inputs
        return 0

    cdef inline Seen *seen_of(self, int number, int last, int depth) noexcept:
        """What is remembered for such a request; NULL for nothing."""
        cdef int k = -self.place[number]
        cdef Seen *s
        while k > 0:
            s = &self.seen[k - 1]
            # By the inputs no deeper than asked for: `require` looks for as many steps, too.
            if depth <= s.most and (last != W_INPUTS or s.has_inputs and s.least <= depth):
                return s
            k = s.next
        return NULL

    cdef Seen *see(self, int number) except NULL:
        """A new entry for the range of a value."""
        cdef Seen *s
        if self.nseen == self.capacity[0]:
            self.seen = <Seen *>table_for(self.seen, max(self.nseen + 1, self.n), &self.capacity[0],
                                          sizeof(Seen))
        s = &self.seen[self.nseen]
        s.next = -self.place[number]
        s.looked = s.required = 0
        self.nseen += 1
        self.place[number] = -<int>self.nseen
        return s

    cdef const Range *range_of_constant(self, int operand, int first, int last, Range *room) except NULL:
        cdef Constant *c = &self.d.constants[-1 - operand]
        cdef object value
        cdef Range known
        cdef double bound
        cdef int world
        if c.uniform or c.truth:
            if c.value - c.value == 0.0:
                known = range_between(c.value, c.value, 0)
            else:
                known = range_between(0.0, 0.0, 0 if c.value != c.value else 1 if c.value < 0.0 else 2)
            room[W_BOUNDED] = room[W_OPEN] = room[W_INPUTS] = known
            return room
        value = self.d.code.constant_at(operand)
        if isinstance(value, np_generic):
            value = np_asarray(value)
        if not cnp.PyArray_Check(value):
            known = range_between(-1e19, 1e19, 0) if type(value) is int else range_between(0.0, 0.0, 0)
            room[W_BOUNDED] = room[W_OPEN] = room[W_INPUTS] = known
            return room
        known = range_of_type((<cnp.ndarray>value).descr)
        for world in range(first, last + 1):
            bound = self.bound_at(operand, world)
            room[world] = within(known, bound) if bound else known
        return room

    cdef int judge(self, int number, int first, int last, int depth, Range *out, int *raises) except -1:
        """What a call may raise in the worlds from the first to the last, and the ranges of its value."""
        cdef Record *r = &self.records[number]
        cdef int effect = effect_of(r)
        cdef cnp.dtype dtype
        if r.meta == NULL:
            return same_in_all(out, raises, first, last, unknown_range(),
                               0 if effect == E_HARMLESS else UNKNOWN_ERROR)
        dtype = <cnp.dtype>(<Meta>r.meta).dtype
        if effect == E_UNKNOWN or effect == E_MOVE and self.has_traced_index(r):
            return same_in_all(out, raises, first, last, unknown_range(), UNKNOWN_ERROR)
        if effect == E_HARMLESS:
            return same_in_all(out, raises, first, last, range_of_type(dtype), 0)
        if largest_of(dtype) == 0.0 or self.is_complex(r):
            if is_harmless_for(effect, dtype.kind):
                return same_in_all(out, raises, first, last, range_of_type(dtype), 0)
            return same_in_all(out, raises, first, last, unknown_range(), UNKNOWN_ERROR)
        if effect == E_UNIT:
            return same_in_all(out, raises, first, last, range_between(-1.0, 1.0, 0), 0)
        if effect == E_SMALL:
            return same_in_all(out, raises, first, last, range_between(-4.0, 4.0, 0), 0)
        if effect == E_MOVE or effect == E_SHRINK:
            same_in_all(out, raises, first, last, range_between(0.0, 0.0, 0), 0)
            return self.range_of_items(r, effect == E_SHRINK, first, last, depth, out)
        return self.judge_arithmetic(r, effect, first, last, depth, out, raises)

    cdef int judge_arithmetic(self, const Record *r, int effect, int first, int last, int depth,
                              Range *out, int *raises) except -1:
        cdef Range rooms[2][3]
        cdef const Range *x = self.range_of(self.operands[r.first], first, last, depth, rooms[0])
        cdef const Range *y = x
        cdef double n = 1.0, most = largest_of(<cnp.dtype>(<Meta>r.meta).dtype)
        cdef bint known = True
        cdef int world
        if effect == E_SUM or effect == E_PROD:
            n = self.terms(r)
            known = n >= 0.0
        elif effect == E_POWER:
            known = not is_single(r) and self.constant_power(r, &n)
        elif effect == E_CURVE:
            n = (<Primitive>r.prim).curve
        elif is_binary(effect):
            known = r.count == 2 and r.extra < 0
            if known:
                y = self.range_of(self.operands[r.first + 1], first, last, depth, rooms[1])
            if effect == E_PRODUCT:
                n = self.terms_of_product(r)
        if not known:
            return same_in_all(out, raises, first, last, unknown_range(), UNKNOWN_ERROR)
        for world in range(first, last + 1):
            raises[world] = combined(effect, n, is_single(r), &x[world], &y[world], &out[world])
            raises[world] |= settled(&out[world], most)
        return 0

    cdef bint constant_power(self, const Record *r, double *power) noexcept:
        cdef int operand
        if r.count == 1:
            power[0] = 2.0
            return True
        operand = self.operands[r.first + 1] if r.count == 2 and r.extra < 0 else 0
        if operand >= 0 or not self.d.constants[-1 - operand].uniform:
            return False
        power[0] = self.d.constants[-1 - operand].value
        return power[0] - power[0] == 0.0

    cdef inline PyObject *meta_at(self, const Record *r, int k) noexcept:
        """Shape and dtype of an operand; NULL for constants and for what has none."""
        cdef int operand = self.operands[r.first + k]
        return self.records[operand].meta if operand >= 0 else NULL

    cdef bint has_traced_index(self, const Record *r) except -1:
        """Whether places come from a value, which may name items that are not there."""
        cdef PyObject *meta
        cdef char kind
        cdef int k
        for k in range(1, r.count):
            meta = self.meta_at(r, k)
            if meta != NULL and meta != r.meta:
                kind = kind_of(meta)
                if (kind == b"i" or kind == b"u") and (<Meta>meta).dtype != (<Meta>r.meta).dtype:
                    return True
        return False

    cdef inline bint is_complex(self, const Record *r) noexcept:
        """Whether a call whose value is real has operands that are not."""
        cdef PyObject *meta
        cdef int k
        for k in range(r.count):
            meta = self.meta_at(r, k)
            if meta != r.meta and meta != NULL and kind_of(meta) == b"c":
                return True
        return False

    cdef int range_of_items(self, const Record *r, bint shrinks, int first, int last, int depth,
                            Range *out) except -1:
        """Of everything among the operands that may be an item of the result, or that next to 0."""
        cdef Range room[3]
        cdef const Range *x
        cdef int k, operand, world
        cdef bint joins = False
        cdef PyObject *meta
        for k in range(r.count):
            operand = self.operands[r.first + k]
            if operand >= 0:
                meta = self.records[operand].meta
                if meta == NULL:
                    for world in range(first, last + 1):
                        out[world] = unknown_range()
                    return 0
                if kind_of(meta) != b"f":
                    continue
            elif not self.d.constants[-1 - operand].uniform \
                    and not cnp.PyArray_Check(self.d.code.constant_at(operand)):
                continue
            x = self.range_of(operand, first, last, depth, room)
            for world in range(first, last + 1):
                out[world] = joined_ranges(out[world], x[world]) if joins else x[world]
            joins = True
        for world in range(first, last + 1 if shrinks else 0):
            out[world] = joined_ranges(out[world], joined_ranges(mirrored(out[world]),
                                                                 range_between(-1.0, 1.0, 0)))
        return 0

    cdef double terms(self, const Record *r) except? -2.0:
        """How many items a reduction adds or multiplies at most; -1 where that is not known."""
        cdef PyObject *meta = self.meta_at(r, 0)
        if meta == NULL or r.extra >= 0 and not only_axes(without_defaults(self.d.code.keywords(r))):
            return -1.0
        return max(<double>size_of((<Meta>meta).shape), 1.0)

    cdef double terms_of_product(self, const Record *r) except? -2.0:
        cdef PyObject *meta = self.meta_at(r, 0)
        cdef object value
        cdef Py_ssize_t n = 1, ndim
        if meta != NULL:
            ndim = PyTuple_GET_SIZE((<Meta>meta).shape)
            n = (<Meta>meta).shape[ndim - 1] if ndim else 1
        elif self.operands[r.first] < 0:
            value = self.d.code.constant_at(self.operands[r.first])
            if cnp.PyArray_CheckExact(value) and cnp.PyArray_NDIM(<cnp.ndarray>value):
                n = cnp.PyArray_DIMS(<cnp.ndarray>value)[cnp.PyArray_NDIM(<cnp.ndarray>value) - 1]
        return max(<double>n, 1.0)

    # --- fates ------------------------------------------------------------------------------

    cdef bint may_raise(self) except -1:
        """Whether some call may raise anything if nothing is assumed of the values before it."""
        cdef Dropped *c
        cdef int raises[3]
        cdef int i
        for i in range(self.n):
            c = &self.calls[i]
            if self.d.w[c.number].replaced:
                c.ranges[W_OPEN] = unknown_range()
                continue
            self.judge(c.number, W_OPEN, W_OPEN, LOOKBACK, c.ranges, raises)
            if raises[W_OPEN]:
                return True
            self.may_underflow(effect_of(&self.records[c.number]))
        return False

    cdef inline int may_underflow(self, int effect) noexcept:
        self.d.hides = self.d.hides or not (effect == E_HARMLESS or effect == E_MOVE
                                            or effect == E_NEGATIVE or effect == E_ABSOLUTE)
        return 0

    cdef int decide(self) except -1:
        cdef Dropped *c
        cdef int i
        for i in range(self.n):
            c = &self.calls[i]
            if self.d.w[c.number].replaced:
                c.ranges[W_BOUNDED] = c.ranges[W_OPEN] = c.ranges[W_INPUTS] = unknown_range()
            else:
                self.decide_one(c)
        return 0

    cdef int decide_one(self, Dropped *c) except -1:
        cdef Record *r = &self.records[c.number]
        cdef int effect = effect_of(r)
        cdef int raises[3]
        self.judge(c.number, W_BOUNDED, W_INPUTS, LOOKBACK, c.ranges, raises)
        c.raises = raises[W_OPEN]
        if c.raises & UNKNOWN_ERROR:
            return self.compute(c)
        self.may_underflow(effect)
        if c.raises == 0:
            return 0
        if (effect == E_CURVE or effect == E_POWER) and self.has_domain(r) \
                and (raises[W_BOUNDED] or not self.is_dropped(r, 0)):
            self.check(c, r)
        elif raises[W_BOUNDED] == 0:
            c.fate = F_BOUNDED
            c.by_inputs = raises[W_INPUTS] == 0
        elif (effect == E_DIVIDE or effect == E_MODULO or effect == E_RECIPROCAL) \
                and self.bound_at(self.operands[r.first + r.count - 1], W_BOUNDED) != 0.0 \
                and not self.is_dropped(r, r.count - 1):
            c.fate = F_NONZERO
            self.divided(c, r, effect)
        else:
            self.compute(c)
        return 0

    cdef int compute(self, Dropped *c) except -1:
        """It is computed after all; to others it is a value that the program has anyway."""
        c.fate = F_COMPUTED
        c.ranges[W_INPUTS] = unknown_range()
        c.ranges[W_BOUNDED] = within_bound(c.ranges[W_OPEN], self.records[c.number].meta, W_BOUNDED)
        return 0

    cdef int check(self, Dropped *c, const Record *r) except -1:
        """Its operand will be compared with its domain."""
        cdef const Curve *curve = &CURVES[(<Primitive>r.prim).curve]
        cdef int k = is_single(r)
        cdef Range room[3]
        cdef const Range *x
        c.fate = F_CHECKED
        c.ranges[W_INPUTS] = unknown_range()
        if effect_of(r) == E_CURVE:
            x = self.range_of(self.operands[r.first], W_BOUNDED, W_OPEN, LOOKBACK, room)
            curve_range(curve, k, within(x[W_BOUNDED], curve.most[k]), &c.ranges[W_BOUNDED])
        else:
            c.ranges[W_BOUNDED] = range_between(-1e150, 1e150, 0)
        return 0

    cdef int divided(self, Dropped *c, const Record *r, int effect) except -1:
        """Its second operand will be compared with 0."""
        cdef double bound = self.bound_at(c.number, W_BOUNDED), most = 1.0
        cdef Range room[3]
        cdef const Range *x
        if effect != E_RECIPROCAL:
            x = self.range_of(self.operands[r.first], W_BOUNDED, W_OPEN, LOOKBACK, room)
            if x[W_BOUNDED].endless:
                return self.compute(c)
            most = largest(x[W_BOUNDED])
        if effect == E_MODULO:
            most += 1.0
        c.ranges[W_INPUTS] = unknown_range()
        c.ranges[W_BOUNDED] = range_between(-most * bound, most * bound, 0)
        if settled(&c.ranges[W_BOUNDED], largest_of(<cnp.dtype>(<Meta>r.meta).dtype)):
            self.compute(c)
        return 0

    cdef bint has_domain(self, const Record *r) except -1:
        """Whether the operand of a call can be compared with its domain."""
        cdef double power
        cdef PyObject *x = self.meta_at(r, 0)
        if x == NULL or r.extra >= 0 or self.bound_at(self.operands[r.first], W_BOUNDED) == 0.0:
            return False
        if x != r.meta and (<Meta>x).dtype != (<Meta>r.meta).dtype:
            return False
        if effect_of(r) == E_CURVE:
            return r.count == 1
        return (x == r.meta or (<Meta>x).shape == (<Meta>r.meta).shape) and not is_single(r) \
            and self.constant_power(r, &power)

    cdef double bound_at(self, int operand, int world) noexcept:
        """What the items of a value are compared with; 0 where they cannot be."""
        cdef object value
        if operand >= 0:
            if self.records[operand].meta == NULL:
                return 0.0
            return bound_of(<cnp.dtype>(<Meta>self.records[operand].meta).dtype, world)
        value = self.d.code.constant_at(operand)
        if not cnp.PyArray_CheckExact(value) or self.d.constants[-1 - operand].code == 0:   # or not aligned
            return 0.0
        return bound_of((<cnp.ndarray>value).descr, world)

    cdef inline bint is_dropped(self, const Record *r, int k) noexcept:
        cdef int operand = self.operands[r.first + k]
        return operand >= 0 and self.place[operand] > 0 \
            and self.calls[self.place[operand] - 1].fate != F_COMPUTED

    # --- bounds -----------------------------------------------------------------------------

    cdef int collect_bounds(self) except -1:
        """Finds what has to be bounded: values that the program has, or the inputs if that is less."""
        cdef double cost
        cdef Py_ssize_t i
        self.collect(False, W_BOUNDED, B_OTHERS)
        self.collect(True, W_BOUNDED, B_VALUES)
        self.chosen = B_VALUES
        cost = self.cost_of(B_VALUES)
        if cost > 0.0:
            self.collect(True, W_INPUTS, B_INPUTS)
            self.chosen = B_VALUES if cost <= self.cost_of(B_INPUTS) else B_INPUTS
        for i in range(self.nbounds):
            if self.bounds[i].which == B_OTHERS:
                self.bind(self.chosen, self.bounds[i].operand, self.bounds[i].most, self.bounds[i].raises)
        return 0

    cdef double cost_of(self, int which) except -1.0:
        """Of comparing the values of a list with a bound: roughly items of an array."""
        cdef double cost = 0.0
        cdef Py_ssize_t i
        cdef int operand
        cdef object value
        for i in range(self.nbounds):
            if self.bounds[i].which != which:
                continue
            cost += 8.0
            operand = self.bounds[i].operand
            if operand >= 0:
                cost += size_of_array(<Meta>self.records[operand].meta)
            else:
                value = self.d.code.constant_at(operand)
                cost += cnp.PyArray_SIZE(value) if cnp.PyArray_NDIM(<cnp.ndarray>value) else 0
        return cost

    cdef Bound *bound_in(self, int which, int operand) noexcept:
        """The bound of a value in a list; NULL if it has none."""
        cdef int k = self.first_bound[self.nconstants + operand] if self.first_bound != NULL else 0
        while k:
            if self.bounds[k - 1].which == which:
                return &self.bounds[k - 1]
            k = self.bounds[k - 1].next
        return NULL

    cdef int bind(self, int which, int operand, double most, int raises) except -1:
        cdef Bound *b = self.bound_in(which, operand)
        if b != NULL:
            b.most = min(b.most, most)
            b.raises |= raises
            return 0
        if self.first_bound == NULL:
            self.first_bound = <int *>table_calloc(self.nconstants + self.d.code.n, sizeof(int))
            if self.first_bound == NULL:
                raise MemoryError("a program of %d steps" % self.d.code.n)
        self.bounds = <Bound *>table_for(self.bounds, self.nbounds + 1, &self.capacity[1], sizeof(Bound))
        b = &self.bounds[self.nbounds]
        b.which = which
        b.operand = operand
        b.most = most
        b.raises = raises
        b.next = self.first_bound[self.nconstants + operand]
        self.nbounds += 1
        self.first_bound[self.nconstants + operand] = <int>self.nbounds
        return 0

    cdef int collect(self, bint by_inputs, int world, int which) except -1:
        """From the calls that are bounded, those that the inputs can bound or the others, to what must be."""
        cdef Dropped *c
        cdef Record *r
        cdef const int *operands
        cdef int i, k, raises
        for i in range(self.n - 1, -1, -1):
            c = &self.calls[i]
            raises = c.needed
            c.needed = 0
            if c.fate == F_BOUNDED and <bint>c.by_inputs == by_inputs \
                    or c.fate == F_NONZERO and not by_inputs:
                raises |= c.raises
            if raises == 0:
                continue
            r = &self.records[c.number]
            if c.fate == F_COMPUTED:
                self.require_value(c.number, W_BOUNDED, raises, which)
            elif c.fate == F_CHECKED:
                self.bind(which, self.operands[r.first], most_of(self, r), raises)
            elif not is_bounded(effect_of(r)):
                operands = &self.operands[r.first]
                for k in range(r.count):
                    if c.fate == F_NONZERO and k == r.count - 1:
                        self.bind(B_NONZERO, operands[k], INFINITY, raises)
                    else:
                        self.require(operands[k], world, raises, LOOKBACK, which)
        return 0

    cdef int require(self, int operand, int world, int raises, int depth, int which) except -1:
        """An operand has to be bounded in a world."""
        cdef Record *r
        cdef Dropped *c
        cdef Seen *s
        cdef int k
        if operand >= 0 and self.place[operand] > 0:
            c = &self.calls[self.place[operand] - 1]
            if not includes(c.ranges[world], c.ranges[W_OPEN]):
                c.needed |= raises
            return 0
        if operand < 0 or world == W_BOUNDED or self.records[operand].kind != CALL_NODE:
            return self.require_value(operand, world, raises, which)
        r = &self.records[operand]
        if depth == 0 or is_bounded(effect_of(r)):
            return 0
        s = self.seen_of(operand, world, depth)
        if s != NULL:
            if depth <= s.looked and not raises & ~s.required:
                return 0
            s.required = <unsigned char>(raises | (s.required if depth == s.looked else 0))
            s.looked = <unsigned char>depth
        for k in range(r.count):
            self.require(self.operands[r.first + k], world, raises, depth - 1, which)
        return 0

    cdef int require_value(self, int operand, int world, int raises, int which) except -1:
        """A value that the program has is compared with its bound, unless it cannot be larger."""
        cdef double bound = self.bound_at(operand, world)
        cdef const Bound *b
        cdef Range room[3]
        cdef const Range *known
        if bound == 0.0:
            return 0
        b = self.bound_in(which, operand)
        if b != NULL and b.most <= bound and not raises & ~b.raises:
            return 0
        known = self.range_of(operand, W_OPEN, W_OPEN, LOOKBACK, room)
        if known[W_OPEN].endless or largest(known[W_OPEN]) > bound:
            self.bind(which, operand, bound, raises)
        return 0

    # --- checks -----------------------------------------------------------------------------

    cdef int add_checks(self) except -1:
        cdef Domain domain
        cdef Dropped *c
        cdef Record *r
        cdef Bound *b
        cdef int i, operand
        cdef bint again = False
        for i in range(self.n):
            c = &self.calls[i]
            if c.fate != F_CHECKED and c.fate != F_COMPUTED:
                continue
            r = &self.records[c.number]
            if c.fate == F_CHECKED and self.set_loop(r, &domain):
                operand = self.operands[r.first]
                b = self.bound_in(self.chosen, operand)
                if b != NULL and b.raises:
                    domain.most = min(domain.most, b.most)
                    domain.raises |= b.raises
                    b.raises = 0
                self.add_check(operand, &domain)
                again = again or not self.d.w[operand].wanted
            else:
                self.d.w[c.number].wanted = again = True
        for i in range(<int>self.nbounds):
            b = &self.bounds[i]
            if b.which == self.chosen and b.raises:
                open_domain(&domain)
                domain.most = b.most
                domain.raises = b.raises
                self.add_check(b.operand, &domain)
                again = again or b.operand >= 0 and not self.d.w[b.operand].wanted
        for i in range(<int>self.nbounds):
            b = &self.bounds[i]
            if b.which == B_NONZERO:
                open_domain(&domain)
                domain.most = self.bound_at(b.operand, W_BOUNDED)
                domain.least = 1.0 / domain.most
                domain.raises = b.raises
                self.add_check(b.operand, &domain)
        if again:
            self.d.mark_operands()
        return 0

    cdef bint set_loop(self, const Record *r, Domain *domain) except -1:
        """The domain of a call and NumPy's loop, which is run for what is not in it."""
        cdef Primitive p = <Primitive>r.prim
        cdef char code = code_of((<Meta>r.meta).dtype)
        cdef int k = is_single(r)
        cdef double most = 0.0
        open_domain(domain)
        if p.effect == E_CURVE:
            domain.lo = CURVES[p.curve].lo[k]
            domain.hi = CURVES[p.curve].hi[k]
        else:
            self.constant_power(r, &domain.second)
            power_domain(domain.second, domain, &most)
            domain.least = 0.0
            domain.takes_two = True
            p = P_POW
        if p is not self.owner or code != self.code:
            self.owner = p
            self.code = code
            self.loop = p.find_loop(bytes([code]) * p.nin, &self.loop_gives)
            self.domains().owners.append(p)
        domain.loop = self.loop
        return self.loop.fn != NULL and self.loop_gives == code

    cdef inline Domains domains(self):
        """Those of the program, which has none before its first check."""
        if self.d.domains is None:
            self.d.domains = Domains()
        return self.d.domains

    cdef int add_check(self, int operand, Domain *domain) except -1:
        cdef Record r
        cdef Meta meta
        cdef int number
        memset(&r, 0, sizeof(Record))
        meta = self.d.meta_of(operand) if operand >= 0 else meta_of(self.d.code.constant_at(operand))
        r.kind = CALL_NODE
        r.prim = <PyObject *>P_CHECK
        r.meta = <PyObject *>meta
        r.extra = -1
        r.count = 1
        number = self.d.enter(&r, &operand)
        self.find_tables()
        self.d.w[number].wanted = True
        self.d.w[number].domain = self.domains().same_as(domain)
        return 0


cdef void open_domain(Domain *d) noexcept:
    memset(d, 0, sizeof(Domain))
    d.lo = -INFINITY
    d.hi = d.most = INFINITY


cdef inline int effect_of(const Record *r) except -1:
    if r.prim == NULL:
        return E_UNKNOWN
    need_facts(<Primitive>r.prim)
    return (<Primitive>r.prim).effect


cdef inline bint is_bounded(int effect) noexcept:
    """Whether the values of a call are bounded, or of no interest, whatever its operands are."""
    return effect == E_HARMLESS or effect == E_UNIT or effect == E_SMALL


cdef inline bint is_binary(int effect) noexcept:
    """Whether a call takes two operands, both of which say what it raises."""
    return effect == E_ADD or effect == E_SUBTRACT or effect == E_MULTIPLY or effect == E_DIVIDE \
        or effect == E_MODULO or effect == E_HYPOT or effect == E_PRODUCT


cdef inline bint is_harmless_for(int effect, char kind) noexcept:
    """Whether a call raises nothing on integers, truth values or complex numbers."""
    if effect == E_MOVE or kind == b"b":
        return True
    return (kind == b"i" or kind == b"u") and (
        effect == E_ADD or effect == E_SUBTRACT or effect == E_MULTIPLY or effect == E_NEGATIVE
        or effect == E_ABSOLUTE or effect == E_SQUARE or effect == E_SUM or effect == E_PROD
        or effect == E_PRODUCT or effect == E_UNIT or effect == E_SHRINK)


cdef inline int same_in_all(Range *out, int *raises, int first, int last, Range known, int error) noexcept:
    cdef int world
    for world in range(first, last + 1):
        out[world] = known
        raises[world] = error
    return 0


cdef inline Range within_bound(Range r, PyObject *meta, int world) noexcept:
    """The part of a range that a value is compared with in a world; all of it where it cannot be."""
    cdef double bound = bound_of(<cnp.dtype>(<Meta>meta).dtype, world) if meta != NULL else 0.0
    return within(r, bound) if bound else r


cdef inline char kind_of(PyObject *meta) noexcept:
    return (<cnp.dtype>(<Meta>meta).dtype).kind


cdef inline bint is_single(const Record *r) noexcept:
    """Whether the value is of float32."""
    return (<cnp.dtype>(<Meta>r.meta).dtype).type_num == cnp.NPY_FLOAT


cdef inline double largest_of(cnp.dtype dtype) noexcept:
    """Somewhat less than the largest number of a type; 0 for those of which nothing is known here."""
    if not cnp.PyArray_ISNBO(dtype.byteorder):
        return 0.0
    return 1.7e308 if dtype.type_num == cnp.NPY_DOUBLE else 3.4e38 if dtype.type_num == cnp.NPY_FLOAT else 0.0


cdef inline double bound_of(cnp.dtype dtype, int world) noexcept:
    """What items are compared with to know that others, which are made of them, are harmless; 0 for none."""
    cdef double most = largest_of(dtype)
    if most == 0.0 or world == W_OPEN or world == W_INPUTS and most < 1e300:
        return 0.0
    return 1e30 if world == W_INPUTS else 1e75 if most > 1e300 else 1e15


cdef Range range_of_type(cnp.dtype dtype) noexcept:
    if dtype.type_num == cnp.NPY_DOUBLE:
        return unknown_range()
    if dtype.kind == b"b":
        return range_between(0.0, 1.0, 0)
    if dtype.kind == b"i" or dtype.kind == b"u":
        return range_between(-2e19, 2e19, 0)
    if dtype.type_num == cnp.NPY_FLOAT:
        return range_between(-3.4e38, 3.4e38, 3)
    return unknown_range()


cdef double most_of(Leftovers o, const Record *r) except -1.0:
    """The largest |x| for which the value of a call that is checked is no danger to others."""
    cdef Domain domain
    cdef double power = 0.0, most = 0.0
    if effect_of(r) == E_CURVE:
        return CURVES[(<Primitive>r.prim).curve].most[is_single(r)]
    o.constant_power(r, &power)
    power_domain(power, &domain, &most)
    return most


cdef int check_dropped(Draft d) except -1:
    """Lets a draft notice errors of what it drops."""
    cdef Leftovers o = Leftovers.__new__(Leftovers)
    o.d = d
    if not o.find() or not o.may_raise():
        return 0
    o.decide()
    o.collect_bounds()
    return o.add_checks()


# --- loops that clear the flags -------------------------------------------------------------------------

cdef dict CLEARING = {}         # (function, data) of a loop -> whether it clears flags that it did not raise


cdef bint clears_flags(LoopRef loop, bytes codes) except -1:
    """Whether a loop leaves no flags behind, as NumPy's comparisons do: it is run on ones with a flag up."""
    cdef char room[5][256]
    cdef char *args[5]
    cdef cnp.npy_intp steps[5]
    cdef cnp.npy_intp n
    cdef int i, k, raw = fp_of_npy(DIVIDES), count = <int>len(codes)
    key = (<size_t>loop.fn, <size_t>loop.data)
    if key in CLEARING:
        return CLEARING[key]
    memset(room, 0, sizeof(room))
    for k in range(count + 1):
        args[k] = room[k]
        steps[k] = item_size(codes[k]) if k < count else 16
        for i in range(16 if k < count else 0):
            put_one(room[k] + i * steps[k], codes[k])
    CLEARING[key] = False
    for n in (1, 16):
        fp_clear()
        fp_raise(raw)
        loop.fn(args, &n, steps, loop.data)
        if not fp_flags() & raw:
            CLEARING[key] = True
    fp_clear()
    return CLEARING[key]


cdef void put_one(char *item, char code) noexcept:
    if code == b"d" or code == b"D":
        (<double *>item)[0] = 1.0
    elif code == b"f" or code == b"F":
        (<float *>item)[0] = 1.0
    else:
        item[0] = 1


cdef dict KEEPING = {}          # (function, data) of a loop that clears flags -> the address of its LoopRef


cdef LoopRef kept_loop(LoopRef loop, bytes codes) except *:
    """A loop behind which the flags of all loops before it are still up."""
    return keeping_loop(loop) if loop.fn != NULL and clears_flags(loop, codes) else loop


cdef PlannedLoops planned_loops(Primitive p, LoopRef loop, LoopRef fast, bytes codes) except *:
    """What programs have in the place of a primitive's loop."""
    cdef PlannedLoops found
    cdef bint clears = loop.fn != NULL and clears_flags(loop, codes)
    found.own = fast.fn != loop.fn
    found.exact = keeping_loop(loop) if clears else loop
    found.fast = keeping_loop(fast) if clears else fast     # ours leaves some items to the other
    return found


cdef LoopRef keeping_loop(LoopRef loop) except *:
    cdef LoopRef kept
    cdef LoopRef *place
    cdef tuple key = (<size_t>loop.fn, <size_t>loop.data)
    if key not in KEEPING:
        place = <LoopRef *>PyMem_Malloc(sizeof(LoopRef))    # programs use it as long as they like
        if place == NULL:
            raise MemoryError()
        place[0] = loop
        KEEPING[key] = <size_t>place
    kept.fn = <Loop>keeping_flags
    kept.data = <void *><size_t>KEEPING[key]
    return kept


# --- underflow --------------------------------------------------------------------------------------------

cdef extern from "Python.h":
    int PyContextVar_Get(object var, PyObject *default, PyObject **value) except -1

cdef object extobj = getattr(np._core.umath, "_extobj_contextvar", None)
cdef object silent_extobj = None        # the last settings of NumPy that ignored underflow


cdef bint reports_underflow() except -1:
    """Whether `np.errstate` says that underflow is reported. Settings never change: new ones are others."""
    global silent_extobj
    cdef PyObject *now = NULL
    if extobj is not None:
        PyContextVar_Get(extobj, NULL, &now)
        Py_XDECREF(now)         # the context has it, too
        if now != NULL and now == <PyObject *>silent_extobj:
            return False
    if np.geterr()["under"] != "ignore":
        return True
    if now != NULL:
        silent_extobj = <object>now
    return False
