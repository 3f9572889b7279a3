# Box: the value being traced.
#
#   trace   which derivative this box belongs to; boxes of an inner trace hold boxes of outer ones
#   slot    its place on the trace's tape
#   d       the value, where it is a float64 scalar and no outer trace has a part in it (kind SCALAR)
#   v       the value otherwise: an ndarray, a NumPy scalar, a box of an outer trace
#   dt, tan the tangent in a forward trace, in the same two forms
#
# Boxes are not tracked by the cyclic collector: a closed trace has let go of its tape, so
# that no cycle can pass through a box and a tape.

cdef enum ValueKind:
    SCALAR
    OBJECT


@cython.final
@cython.freelist(1024)
cdef class Meta:
    """Shape and dtype of a value that no rule needs: what a rule sees in its place."""
    cdef readonly tuple shape
    cdef readonly object dtype

    def __init__(self, shape, dtype):
        self.shape = tuple(shape)
        self.dtype = np_dtype(dtype)

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def size(self):
        return math_prod(self.shape)

    def __len__(self):
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __repr__(self):
        return "Meta(shape=%r, dtype=%r)" % (self.shape, self.dtype.name)


cdef inline Meta new_meta(tuple shape, object dtype):
    cdef Meta m = Meta.__new__(Meta)
    m.shape = shape
    m.dtype = dtype
    return m


cdef Meta META_FLOAT64 = Meta((), np_float64)


cdef inline tuple shape_tuple(cnp.ndarray a):
    return tuple_of(cnp.PyArray_DIMS(a), cnp.PyArray_NDIM(a))


cdef inline tuple strides_tuple(cnp.ndarray a):
    return tuple_of(cnp.PyArray_STRIDES(a), cnp.PyArray_NDIM(a))


cdef tuple tuple_of(const cnp.npy_intp *numbers, int n):
    cdef int i
    cdef tuple out = PyTuple_New(n)
    cdef object item
    for i in range(n):
        item = numbers[i]
        Py_INCREF(item)
        PyTuple_SET_ITEM(out, i, item)
    return out


cdef Meta meta_of(object v):
    """Shape and dtype of any value that can be traced."""
    if type(v) is Box:
        return box_meta(<Box>v)
    if type(v) is Meta:
        return v
    if cnp.PyArray_CheckExact(v):
        return new_meta(shape_tuple(<cnp.ndarray>v), (<cnp.ndarray>v).descr)
    if PyFloat_Check(v) or type(v) is int:
        return META_FLOAT64
    if hasattr(v, "shape") and hasattr(v, "dtype"):
        return new_meta(tuple(v.shape), v.dtype)
    a = np_asarray(v)
    return new_meta(a.shape, a.dtype)


cdef inline Meta box_meta(Box b):
    cdef object v
    cdef Meta meta
    if b.kind == SCALAR:
        return META_FLOAT64
    if b.meta != NULL:
        return <Meta>b.meta
    v = <object>b.v     # a reference of our own: asking a user's object for its shape runs Python
    meta = meta_of(v)
    if <PyObject *>v == b.v:
        set_field(&b.meta, meta)
    return meta


cdef inline void set_field(PyObject **field, object new) noexcept:
    """Replaces what a field holds; None empties it."""
    cdef PyObject *old = field[0]
    if new is None:
        field[0] = NULL
    else:
        Py_INCREF(new)
        field[0] = <PyObject *>new
    if old != NULL:
        Py_DECREF(<object>old)


cdef inline void share_field(PyObject **field, PyObject *new) noexcept:
    set_field(field, <object>new if new != NULL else None)


@cython.final
@cython.freelist(256)
cdef class Family:
    """What an array and all its views share: the number of updates in place so far."""
    cdef Py_ssize_t version


@cython.final
@cython.freelist(256)
@cython.trashcan(True)          # views of views may make a long chain
cdef class View:
    """What a view looks at, and how it is taken again after an update; the array itself has a family only."""
    cdef Family family
    cdef Py_ssize_t seen        # the family's version when the value was taken
    cdef Box base               # None for the array itself
    cdef object take            # an index, or a function of the base


cdef int look_at(Box view, Box base, object take) except -1:
    """Declares a box a view of another one."""
    cdef View v = View.__new__(View), of_base
    if base.view == NULL:
        of_base = View.__new__(View)
        of_base.family = Family.__new__(Family)
        set_field(&base.view, of_base)
    v.family = (<View>base.view).family
    v.seen = v.family.version
    v.base = base
    v.take = take
    set_field(&view.view, v)
    return 0


cdef inline bint is_view(Box b) noexcept:
    return b.view != NULL and (<View>b.view).base is not None


@cython.final
@cython.no_gc
@cython.freelist(4096)
cdef class Box:
    """A traced value: what the arguments of a differentiated function are while it runs.

    It has the attributes, methods, operators and indexing of an ndarray, and NumPy's functions
    accept it. Boxes are made by the operators (`grad`, `jvp`, ...), never by hand, and are
    of no use after the function that received them has returned.
    """
    # References that most boxes do not have are plain pointers, NULL rather than None: a scalar box is
    # made and freed without touching a reference count but its trace's.
    cdef Trace trace
    cdef int slot
    cdef short kind
    cdef bint weak              # came from a Python float: takes part in promotion as one
    cdef double d
    cdef PyObject *v
    cdef double dt
    cdef PyObject *tan
    cdef PyObject *meta         # a Meta, made when first asked for
    cdef PyObject *view         # a View, where this box looks at another one or is looked at

    def __init__(self, *args, **kwargs):
        raise TypeError("a Box is made by grad, jvp and the other operators, not by hand")

    # --- numbers ---------------------------------------------------------------------------
    # With c_api_binop_methods one slot serves both orders of the operands.

    def __add__(x, y):
        return binary(P_ADD, x, y)

    def __sub__(x, y):
        return binary(P_SUB, x, y)

    def __mul__(x, y):
        return binary(P_MUL, x, y)

    def __truediv__(x, y):
        return binary(P_DIV, x, y)

    def __mod__(x, y):
        return binary(P_MOD, x, y)

    def __floordiv__(x, y):
        return binary(P_FLOORDIV, x, y)

    def __divmod__(x, y):
        return binary(P_FLOORDIV, x, y), binary(P_MOD, x, y)

    def __pow__(x, y, modulo):
        if modulo is not None:
            raise TypeError("pow() with a modulus has no derivative; use np.mod(x ** y, m)")
        return power(x, y)

    def __matmul__(x, y):
        if not supports_operand(x) or not supports_operand(y):
            return NotImplemented
        return P_MATMUL(x, y)

    # Whole numbers and truth values have no derivative, but a recording computes with them.

    def __and__(x, y):
        return binary_of_integers(P_AND, x, y)

    def __or__(x, y):
        return binary_of_integers(P_OR, x, y)

    def __xor__(x, y):
        return binary_of_integers(P_XOR, x, y)

    def __lshift__(x, y):
        return binary_of_integers(P_LEFT, x, y)

    def __rshift__(x, y):
        return binary_of_integers(P_RIGHT, x, y)

    def __invert__(self):
        return P_INVERT(self)

    def __neg__(self):
        return unary(P_NEG, self)

    def __pos__(self):
        return unary(P_POS, self)

    def __abs__(self):
        return unary(P_ABS, self)

    def __iadd__(self, y):
        return update(self, binary(P_ADD, self, y))

    def __isub__(self, y):
        return update(self, binary(P_SUB, self, y))

    def __imul__(self, y):
        return update(self, binary(P_MUL, self, y))

    def __itruediv__(self, y):
        return update(self, binary(P_DIV, self, y))

    def __imod__(self, y):
        return update(self, binary(P_MOD, self, y))

    def __ifloordiv__(self, y):
        return update(self, binary(P_FLOORDIV, self, y))

    def __ipow__(self, y):
        return update(self, power(self, y))

    def __imatmul__(self, y):
        return update(self, P_MATMUL(self, y))

    def __iand__(self, y):
        return update(self, binary_of_integers(P_AND, self, y))

    def __ior__(self, y):
        return update(self, binary_of_integers(P_OR, self, y))

    def __ixor__(self, y):
        return update(self, binary_of_integers(P_XOR, self, y))

    def __ilshift__(self, y):
        return update(self, binary_of_integers(P_LEFT, self, y))

    def __irshift__(self, y):
        return update(self, binary_of_integers(P_RIGHT, self, y))

    # --- comparisons and truth -------------------------------------------------------------

    def __lt__(self, y):
        return compare(P_LT, self, y)

    def __le__(self, y):
        return compare(P_LE, self, y)

    def __gt__(self, y):
        return compare(P_GT, self, y)

    def __ge__(self, y):
        return compare(P_GE, self, y)

    def __eq__(self, y):
        return compare(P_EQ, self, y)

    def __ne__(self, y):
        return compare(P_NE, self, y)

    def __hash__(self):
        if self.trace.replay and self.trace.open:
            return hash(escaped(self, "the hash of a traced value, for a set or as a key of a dict,"))
        return <Py_hash_t><Py_ssize_t><PyObject *>self >> 4

    def __bool__(self):
        if self.trace.mode == RECORD:
            return recorded_truth(self)
        if self.kind == SCALAR:
            return self.d != 0.0
        return bool(box_value(current(self)))

    def __index__(self):
        if self.trace.mode == RECORD:
            return recorded_int(self, P_INDEX)
        return operator_index(box_value(current(self)))

    def __int__(self):
        if self.trace.mode == RECORD:
            return recorded_int(self, P_INT)
        if self.kind == SCALAR:
            return int(self.d)
        return int(box_value(current(self)))

    def __float__(self):
        if self.trace.mode == RECORD:
            return float(escaped(self, "float() of a traced value"))
        raise TypeError(
            "float() of a traced value would cut the derivative here without a word (math.sin(x), "
            "np.asarray(x, float) and a[i] = x for a plain array a call it). Use the function of "
            "autograd_c.numpy instead of math's, np.stack, np.where or np.zeros(n, like=x) instead of "
            "filling a plain array, or stop_gradient(x) if a constant is meant")

    def __complex__(self):
        if self.trace.mode == RECORD:
            return complex(escaped(self, "complex() of a traced value"))
        raise TypeError("complex() of a traced value would cut the derivative here without a word; "
                        "multiply by 1j or use stop_gradient(x) if a constant is meant")

    # --- indexing --------------------------------------------------------------------------

    def __getitem__(self, index):
        return get_item(self, index)

    def __setitem__(self, index, value):
        set_item(self, index, value)

    def __len__(self):
        if self.kind == SCALAR:
            raise TypeError("len() of unsized object")
        return len(box_value(current(self)))

    def __iter__(self):
        cdef Py_ssize_t n
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        n = len(self)
        return iter(items_of(self, n))

    def __reversed__(self):
        return reversed(items_of(self, len(self)))

    def __contains__(self, item):
        return bool(compare(P_EQ, self, item).any())

    # --- protocols -------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc, str method, *inputs, **kwargs):
        cdef object handler
        if method == "__call__":
            handler = registry.get(ufunc)
            if handler is not None and not (kwargs and "out" in kwargs):
                return handler(*inputs, **kwargs) if kwargs else PyObject_CallObject(handler, inputs)
        return hooks["ufunc_method"](ufunc, method, inputs, kwargs)

    def __array_function__(self, func, types, args, kwargs):
        cdef object handler = likes.get(func)
        if handler is not None:
            # Only called for `like=`, which NumPy has taken out of the arguments: `self` is what it was.
            return handler(self, *args, **kwargs)
        handler = registry.get(func)
        if handler is None:
            return hooks["unknown_function"](func, args, kwargs)
        return handler(*args, **kwargs)

    def __array__(self, dtype=None, copy=None):
        if self.trace.mode == RECORD:
            return np_array(escaped(self, "a traced value made a plain array"), dtype=dtype, copy=copy)
        raise TypeError(
            "turning a traced value into a plain array would cut the derivative here without a word "
            "(np.asarray(x), np.array([x, y]) and a[:] = x for a plain array a do it). Use "
            "autograd_c.numpy.array or asarray, which keep it; autograd_c.scipy for SciPy's functions; "
            "np.stack, np.where or np.zeros(n, like=x) instead of filling a plain array; or "
            "stop_gradient(x) if a constant is meant")

    def __reduce_ex__(self, protocol):
        raise TypeError("a traced value cannot be pickled; return it from the differentiated function, "
                        "or pickle stop_gradient(x)")

    def __copy__(self):
        return P_POS(self)

    def __deepcopy__(self, memo):
        return P_POS(self)

    # --- attributes ------------------------------------------------------------------------

    @property
    def shape(self):
        return () if self.kind == SCALAR else box_meta(current(self)).shape

    @property
    def dtype(self):
        return box_meta(current(self)).dtype

    @property
    def ndim(self):
        return 0 if self.kind == SCALAR else len(box_meta(current(self)).shape)

    @property
    def size(self):
        return 1 if self.kind == SCALAR else math_prod(box_meta(current(self)).shape)

    @property
    def itemsize(self):
        return self.dtype.itemsize

    @property
    def nbytes(self):
        return self.size * self.dtype.itemsize

    @property
    def _value(self):
        """The value one level further out: a plain value, or the box of an outer trace."""
        return box_value(current(self))

    @property
    def _level(self):
        return self.trace.level

    def __repr__(self):
        if not self.trace.open:
            return "<Box that outlived its trace>"
        return "Box(%r)" % (box_value(self),)

    def __str__(self):
        return str(innermost(self))

    def __format__(self, spec):
        return format(innermost(self), spec)


cdef (void (*)(PyObject *) noexcept) dealloc_rest = NULL


cdef void dealloc_box(PyObject *o) noexcept:
    """Lets go of the plain pointers.

    In place of `__dealloc__`, around which Cython saves the pending exception.
    """
    Py_XDECREF((<Box>o).v)
    Py_XDECREF((<Box>o).tan)
    Py_XDECREF((<Box>o).meta)
    Py_XDECREF((<Box>o).view)
    dealloc_rest(o)


cdef list items_of(Box b, Py_ssize_t n):
    cdef list items = []
    cdef Py_ssize_t i
    for i in range(n):
        items.append(get_item(b, i))
    return items


cdef inline object box_value(Box b):
    if b.kind == SCALAR:
        return b.d if b.weak else float64(b.d)
    return <object>b.v


cdef inline Box current(Box b):
    """The box itself, after a view has caught up with updates of the array that it looks at."""
    if b.view != NULL and (<View>b.view).seen != (<View>b.view).family.version:
        catch_up(b)
    return b


cdef object innermost(object v):
    """The plain value inside a box, whatever the number of traces around it."""
    while type(v) is Box:
        if (<Box>v).trace.mode == RECORD:
            return escaped(<Box>v, "the value of a traced array")
        v = box_value(current(<Box>v))
    return v


cdef inline Box new_scalar(Trace t, int slot, double d, bint weak):
    cdef Box b = Box.__new__(Box)
    b.trace = t
    b.slot = slot
    b.kind = SCALAR
    b.weak = weak
    b.d = d
    return b


cdef inline Box new_object(Trace t, int slot, object v):
    cdef Box b = Box.__new__(Box)
    b.trace = t
    b.slot = slot
    if type(v) is np_float64:
        b.kind = SCALAR
        b.d = PyFloat_AS_DOUBLE(v)
    elif type(v) is float:
        b.kind = SCALAR
        b.weak = True
        b.d = PyFloat_AS_DOUBLE(v)
    else:
        b.kind = OBJECT
        Py_INCREF(v)
        b.v = <PyObject *>v
    return b


cdef inline bint supports_operand(object y):
    """Whether an operator takes this operand; if not, Python asks the other one."""
    cdef object t
    if type(y) is Box or PyFloat_Check(y) or PyLong_Check(y) or cnp.PyArray_Check(y) or PyComplex_Check(y):
        return True
    if isinstance(y, np_generic) or type(y) is list or type(y) is tuple or type(y) is FRACTION:
        return True
    t = type(y)
    if hasattr(t, "__array_ufunc__") or hasattr(t, "__array_priority__"):
        return False
    return hasattr(t, "__array__")


cdef object binary(Primitive p, object x, object y):
    """An arithmetic operator: scalars on the short way, everything else through the primitive."""
    cdef Box bx = None, by = None
    cdef Trace t = None
    cdef double a, b
    cdef bint weak = True
    cdef object out
    if not scalar_pair(x, y, &a, &b, &weak):
        out = recorded_operator(p, x, y)
        return out if out is not None else binary_general(p, x, y)
    if type(x) is Box:
        bx = <Box>x
        t = bx.trace
    if type(y) is Box:
        by = <Box>y
        if t is None:
            t = by.trace
    if t.mode == RECORD and not t.replay or not p.scalar_ready():
        return binary_general(p, x, y)
    if t.mode == RECORD:
        return record_scalars(p, t, x, y, a, b, weak, False)
    return scalar_call(p, t, bx, by, a, b, weak, False)


cdef inline bint scalar_number(object x, double *a, bint *weak) except -1:
    """The double behind a float64 scalar, boxed or not; `weak` stays up for Python's own numbers."""
    if type(x) is Box:
        if (<Box>x).kind != SCALAR:
            return False
        a[0] = (<Box>x).d
        weak[0] = weak[0] and (<Box>x).weak
        return True
    if PyFloat_Check(x):
        a[0] = PyFloat_AS_DOUBLE(x)
        weak[0] = weak[0] and type(x) is float
        return True
    if type(x) is int:
        a[0] = PyLong_AsDouble(x)
        if a[0] == -1.0 and PyErr_Occurred():
            PyErr_Clear()
            return False
        return True
    return False


cdef inline bint scalar_pair(object x, object y, double *a, double *b, bint *weak) except -1:
    """Whether an operator works on float64 scalars, of one trace at most."""
    if not scalar_number(x, a, weak) or not scalar_number(y, b, weak):
        return False
    return type(x) is not Box or type(y) is not Box or (<Box>x).trace is (<Box>y).trace


cdef object binary_general(Primitive p, object x, object y):
    cdef PyObject *args[2]
    if not supports_operand(x) or not supports_operand(y):
        return NotImplemented
    args[0] = <PyObject *>x
    args[1] = <PyObject *>y
    return weak_as(call_primitive(p, args, 2, <PyObject *>NULL), x, y)


cdef object weak_as(object out, object x, object y):
    """The result of an operator; of two Python numbers, in a recording, it is one as well."""
    cdef Box b
    cdef object v = out
    while type(v) is Box and (<Box>v).kind == OBJECT:
        v = <object>(<Box>v).v
    if type(v) is not Box or (<Box>v).trace.mode != RECORD or not weak_number(x) or not weak_number(y):
        return out
    b = <Box>v
    b.weak = True
    if b.slot < b.trace.code.n:
        b.trace.code.records[b.slot].weak = True
    return out


cdef bint weak_number(object v) noexcept:
    while type(v) is Box and (<Box>v).kind == OBJECT:
        v = <object>(<Box>v).v
    return (<Box>v).weak if type(v) is Box else type(v) is float or type(v) is int


cdef object unary(Primitive p, Box x):
    cdef PyObject *args[1]
    if x.kind == SCALAR and (x.trace.mode != RECORD or x.trace.replay) and p.scalar_ready():
        if x.trace.mode == RECORD:
            return record_scalars(p, x.trace, x, None, x.d, 0.0, x.weak, False)
        return scalar_call(p, x.trace, x, None, x.d, 0.0, x.weak, False)
    args[0] = <PyObject *>x
    return weak_as(call_primitive(p, args, 1, <PyObject *>NULL), x, x)


cdef object power(object x, object y):
    """`x ** y`, with NumPy's own shortcuts for an array and a Python number."""
    if recorded_scalar(x) and recorded_scalar(y):
        # As between plain scalars: by the C library.
        if (type(y) is float or type(y) is int) and y == 2:
            return weak_as((<Primitive>hooks["scalar_square"])(x), x, y)
        return weak_as((<Primitive>hooks["scalar_power"])(x, y), x, y)
    if type(x) is Box and (<Box>x).kind == OBJECT and (type(y) is float or type(y) is int):
        if y == 2:
            return unary(P_SQUARE, <Box>x)
        if y == 1:
            return unary(P_POS, <Box>x)
        if y == 0.5:
            return unary(P_SQRT, <Box>x)
        if y == -1:
            return unary(P_RECIPROCAL, <Box>x)
    return scalar_power(x, y)


cdef inline bint recorded_scalar(object x) noexcept:
    """A number, or a float64 scalar of a recording for replay, in a reverse trace or not."""
    cdef Box b
    if type(x) is not Box:
        return PyFloat_Check(x) or type(x) is int
    b = <Box>x
    if b.kind == OBJECT and type(<object>b.v) is Box:
        b = <Box>b.v
    return b.kind == SCALAR and b.trace.mode == RECORD and b.trace.replay


cdef object scalar_power(object x, object y):
    """`x ** y` where NumPy computes it by the C library: both are float64 scalars."""
    cdef Box bx = None, by = None
    cdef Trace t = None
    cdef double a, b
    cdef bint weak = True
    if not scalar_pair(x, y, &a, &b, &weak):
        return binary_general(P_POW, x, y)
    if type(x) is Box:
        bx = <Box>x
        t = bx.trace
    if type(y) is Box:
        by = <Box>y
        if t is None:
            t = by.trace
    if t.mode == RECORD or not P_POW.scalar_ready() or not P_SQUARE.scalar_ready():
        return binary_general(P_POW, x, y)
    if by is None and b == 2.0:
        return scalar_call(P_SQUARE, t, bx, None, a, b, weak, True)
    return scalar_call(P_POW, t, bx, by, a, b, weak, True)


cdef object binary_of_integers(Primitive p, object x, object y):
    if not supports_operand(x) or not supports_operand(y):
        return NotImplemented
    return p(x, y)


cdef object compare(Primitive p, object x, object y):
    if not supports_operand(y):
        return NotImplemented
    return p(x, y)
