# Containers: lists, tuples and dicts as a list of leaves and a structure that puts it together again.
# What is a leaf, and everything about subclasses of those types (named tuples among them), is decided
# in autograd_c.tree.

cdef enum StructureKind:
    LEAF_VALUE
    CONSTANT_VALUE
    LIST
    TUPLE
    DICT
    SUBCLASS


@cython.final
cdef class Structure:
    """How a value is put together from its leaves; compare with ``==``.

    Attributes
    ----------
    type : type or None
        The container's type; None for a leaf and for a constant.
    children : list of Structure
        Of a list, a tuple or a dict.
    keys : list or None
        Of a dict, in its order, which does not count in a comparison.
    value : object
        The constant; or, of a subclass of dict, an empty one.
    size : int
        The number of leaves.
    """
    cdef StructureKind kind
    cdef readonly Py_ssize_t size
    cdef readonly type type
    cdef readonly list children, keys
    cdef readonly object value

    def __init__(self):
        raise TypeError("a Structure is made by flatten, not by hand")

    @property
    def is_leaf(self):
        return self.kind == LEAF_VALUE

    @property
    def is_constant(self):
        return self.kind == CONSTANT_VALUE

    def __eq__(self, other):
        cdef Structure a = self, b
        if type(other) is not Structure:
            return NotImplemented
        b = <Structure>other
        if a.kind != b.kind or a.type is not b.type:
            return False
        if a.keys is None:
            return a.children == b.children
        return dict(zip(a.keys, a.children)) == dict(zip(b.keys, b.children))

    __hash__ = None

    def __repr__(self):
        if self.kind == LEAF_VALUE:
            return "LEAF"
        if self.kind == CONSTANT_VALUE:
            return "Constant(%r)" % (self.value,)
        items = [repr(child) for child in self.children]
        if self.keys is not None:
            items = ["%r: %s" % pair for pair in zip(self.keys, items)]
        return "%s(%s)" % (self.type.__name__, ", ".join(items))


cdef Structure new_structure(StructureKind kind, type t, list keys, object value):
    cdef Structure s = Structure.__new__(Structure)
    s.kind = kind
    s.size = 1 if kind == LEAF_VALUE else 0
    s.type = t
    s.keys = keys
    s.children = []
    s.value = value
    return s


cdef Structure THE_LEAF = new_structure(LEAF_VALUE, None, None, None)


cdef int DEEPEST = 1000


cdef inline bint is_float_leaf(object v):
    """The values that are leaves in arguments and in results alike, told apart without a call."""
    cdef int dtype
    if type(v) is Box or type(v) is float or type(v) is np_float64:
        return True
    if not cnp.PyArray_CheckExact(v):
        return False
    dtype = cnp.PyArray_TYPE(<cnp.ndarray>v)
    return dtype in (cnp.NPY_DOUBLE, cnp.NPY_FLOAT, cnp.NPY_CDOUBLE, cnp.NPY_CFLOAT)


cdef Structure take_apart(object tree, list leaves, object is_leaf, bint floats, int depth=0):
    """Appends the leaves of a value and returns its structure."""
    cdef Structure s, child
    cdef StructureKind kind
    if floats and is_float_leaf(tree):
        leaves.append(tree)
        return THE_LEAF
    if isinstance(tree, (list, tuple)):
        kind = LIST if type(tree) is list else TUPLE if type(tree) is tuple else SUBCLASS
        s = new_structure(kind, type(tree), None, None)
        items = tree
    elif isinstance(tree, dict):
        kind = DICT if type(tree) is dict else SUBCLASS
        s = new_structure(kind, type(tree), list(tree), hooks["emptied"](tree) if kind == SUBCLASS else None)
        items = tree.values()
    elif is_leaf(tree):
        leaves.append(tree)
        return THE_LEAF
    else:
        return new_structure(CONSTANT_VALUE, None, None, tree)
    if depth == DEEPEST:
        raise RecursionError("a container holds itself, or is nested more than %d deep" % DEEPEST)
    for item in items:
        child = take_apart(item, leaves, is_leaf, floats, depth + 1)
        s.children.append(child)
        s.size += child.size
    return s


cdef object put_together(Structure s, list leaves, Py_ssize_t *at, bint constants):
    """The value of that structure with the leaves from `at` on; without constants, None in their places."""
    cdef Structure child
    cdef list items
    if s.kind == LEAF_VALUE:
        at[0] += 1
        return leaves[at[0] - 1]
    if s.kind == CONSTANT_VALUE:
        return s.value if constants else None
    items = []
    for child in s.children:
        items.append(put_together(child, leaves, at, constants))
    if s.kind == LIST:
        return items
    if s.kind == TUPLE:
        return tuple(items)
    if s.kind == DICT:
        return dict(zip(s.keys, items))
    return hooks["rebuilt"](s, items)


cdef object whole(Structure s, list leaves, bint constants):
    cdef Py_ssize_t at = 0
    return put_together(s, leaves, &at, constants)


def flatten(tree, is_leaf, bint floats=True):
    """Leaves and structure of a value; with `floats`, those and arrays of them are leaves unasked."""
    cdef list leaves = []
    return leaves, take_apart(tree, leaves, is_leaf, floats)


cpdef object unflatten(Structure structure, leaves, bint constants=True):
    """The value of a structure that has the given leaves."""
    cdef list given = list(leaves)
    if len(given) != structure.size:
        raise ValueError("%d leaves for a structure of %d" % (len(given), structure.size))
    return whole(structure, given, constants)
