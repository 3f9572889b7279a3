# Indexing and updates in place. An index records what the reverse sweep needs to scatter; an update
# gives the box a newer slot, and views and the arrays that they look at keep each other up to date.

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
    if t.mode == RECORD and cnp.PyArray_CheckExact(<object>x.v) and is_basic(index):
        return record_item(x, index)
    if t.mode == REVERSE and recorded_by(<object>x.v) is not None and (<Box>x.v).kind == OBJECT \
            and is_basic(index):
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
    if not cnp.PyArray_CheckExact(value) and not isinstance(value, np_generic) and type(value) is not Box:
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
    if not cnp.PyArray_CheckExact(view):
        return False
    return owner(<PyObject *>view) == owner(<PyObject *>base)


cdef PyObject *owner(PyObject *a) noexcept:
    """What is at the end of the chain of bases: an array, or what has the memory of one, such as a file."""
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
    if not holds_array(fresh) or box_meta(fresh).shape != box_meta(x).shape \
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
    cdef object target
    cdef bint own
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
    # From here on the array is ours as well: another thread may update the box while NumPy copies.
    own = OWNED_ARRAY(x.v)
    target = <object>x.v
    if not own:
        target = np_array(target)
    PyObject_SetItem(target, index, value)
    set_field(&x.v, target)
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
    cdef bint weak = True
    for v in items:
        if type(v) is Box:
            if (<Box>v).kind != SCALAR:
                return stack_traced_recorded(items)
            if (t is not None and t is not (<Box>v).trace) or (<Box>v).tan != NULL:
                return None
            t = (<Box>v).trace
        elif not PyFloat_Check(v) and type(v) is not int:
            return None
    if t is None:
        return None
    if t.mode == RECORD:
        return stack_recorded(items)
    if not t.open:
        raise_outlived()
    n = len(items)
    out = cnp.PyArray_SimpleNew(1, &n, cnp.NPY_DOUBLE)
    for i in range(n):
        if not scalar_number(items[i], &(<double *>cnp.PyArray_DATA(out))[i], &weak):
            return None
    return array_entry(t, items, out) if t.mode == REVERSE else array_tangent(t, items, out)


cdef object stack_traced_recorded(list items):
    """The same where a reverse trace has scalars of a recording; the array is recorded."""
    cdef Trace t = None
    cdef list inner = []
    cdef object v, value
    for v in items:
        if type(v) is Box:
            if (<Box>v).kind != OBJECT or (<Box>v).view != NULL or t is not None and t is not (<Box>v).trace:
                return None
            t = (<Box>v).trace
            v = <object>(<Box>v).v
        inner.append(v)
    if t.mode != REVERSE or not t.open:
        return None
    value = stack_recorded(inner)
    return array_entry(t, items, value) if value is not None else None


cdef object stack_recorded(list items):
    """The array of float64 scalars of one recording for replay, and of numbers; None for anything else."""
    cdef Trace t = None
    cdef cnp.npy_intp n = PyList_GET_SIZE(items)
    cdef cnp.ndarray out = cnp.PyArray_SimpleNew(1, &n, cnp.NPY_DOUBLE)
    cdef double *to = <double *>cnp.PyArray_DATA(out)
    cdef bint weak = True
    cdef Py_ssize_t i
    cdef object v
    for i in range(n):
        v = <object>PyList_GET_ITEM(items, i)
        if type(v) is Box:
            if recording_of(v) is None or (<Box>v).view != NULL or t is not None and t is not (<Box>v).trace:
                return None
            t = (<Box>v).trace
            to[i] = (<Box>v).d
        elif not PyFloat_Check(v) and type(v) is not int or not scalar_number(v, &to[i], &weak):
            return None
    if t is None:
        return None
    i = add_call(t, CALL_NODE, <Primitive>hooks["from_items"], [None] + items, None, meta_of(out))
    return node_box(t, <int>i, out)


cdef Box array_entry(Trace t, list items, object value):
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
