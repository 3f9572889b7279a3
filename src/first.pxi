# Calls that are recorded: what the policy (`policy.pxi`) needs of nearly every one.
#
#   Call          the arguments taken apart
#   record_result the recording of a function called with them
#
# Arrays and numbers, and ordinary containers of them, are all that most calls have and return. The policy's
# subclass of `Call` knows more sorts of values.

cdef class Call:
    """The arguments of one call, taken apart.

    Parameters
    ----------
    name : object
        The function's, for messages.
    args : tuple
    kwargs : dict
    is_static : callable or None
        Tells by place and number of the positional arguments, or by name, what is static as a whole; None
        where nothing is.

    Attributes
    ----------
    key : tuple
        See `Signature`.
    looks : list
        That of the key.
    leaves : list
        The caller's own objects.
    statics : list
    """
    cdef readonly object name
    cdef readonly tuple args, key
    cdef readonly dict kwargs
    cdef readonly object is_static
    cdef readonly list looks, leaves, statics
    cdef bint usual

    def __init__(self, name, tuple args, dict kwargs, is_static=None):
        self.name = name
        self.args = args
        self.kwargs = kwargs
        self.is_static = is_static
        self.looks, self.leaves, self.statics = [], [], []
        self.usual = is_static is None and take_looks(args, kwargs, self.looks, self.leaves)
        if not self.usual:
            self.looks, self.leaves = [], []
            self.take_apart()
        self.key = (PyTuple_GET_SIZE(args), tuple(kwargs), tuple(self.looks))

    @property
    def given(self):
        """What comes besides leaves: static values, and of containers users' classes and keys."""
        cdef list given = list(self.statics)
        cdef tuple look
        if PyList_GET_SIZE(self.leaves) == PyList_GET_SIZE(self.looks):
            return given
        for look in self.looks:
            if look[0] not in ("list", "tuple", "dict"):
                continue
            if look[1] not in (list, tuple, dict):
                given.append(look[1])
            if look[0] == "dict":
                given.extend([key for key in look[2] if type(key) is not str])
        return given

    cdef inline bint flat(self) noexcept:
        """Whether each argument is a leaf."""
        return PyList_GET_SIZE(self.leaves) == PyList_GET_SIZE(self.looks) == PyTuple_GET_SIZE(self.args)

    def normal_leaves(self):
        """The leaves as recordings and programs take them."""
        return list(self.leaves) if self.usual else [hooks["normal_leaf"](leaf) for leaf in self.leaves]

    def rebuilt(self, list leaves):
        """The arguments with other leaves."""
        if self.flat():
            return tuple(leaves), {}
        if not self.usual:
            return self.refilled(leaves)
        # What is no container is a leaf.
        return whole(take_apart((self.args, self.kwargs), [], is_anything, True), leaves, True)


@cython.final
cdef class OfLeaves:
    """A function of boxed leaves that calls the user's with the arguments that they belong to."""
    cdef object fun, check
    cdef Call call
    cdef Structure structure

    def __call__(self, list boxes):
        cdef tuple args
        cdef dict kwargs
        args, kwargs = self.call.rebuilt(boxes)
        leaves, self.structure = taken_apart(PyObject_Call(self.fun, args, kwargs), self.check)
        return leaves


cpdef tuple taken_apart(result, check):
    """Leaves and structure of a function's result; `check` is called with each leaf that may be no number."""
    cdef list leaves = []
    cdef Structure structure = take_apart(result, leaves, is_anything, True)
    for leaf in leaves:
        if not is_float_leaf(leaf):
            check(leaf)
    return leaves, structure


cdef tuple record_result(fun, Call call, list leaves, check):
    """Records a call: `record_call_of`, with the structure of the result."""
    cdef OfLeaves t = OfLeaves.__new__(OfLeaves)
    t.fun = fun
    t.call = call
    t.check = check
    outs, recording = record_call_of(t, leaves)
    return outs, recording, t.structure
