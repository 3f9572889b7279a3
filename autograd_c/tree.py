"""Containers: nested lists, tuples, named tuples and dicts of numbers and arrays.

The compiled core knows numbers and arrays only. A container that goes into or comes
out of a differentiated function is taken apart here into its *leaves*, a flat list in
the order of iteration, and a *structure*, which puts such a list together again::

    {"w": array, "b": [1.0, None]}
        leaves:     [array, 1.0]
        structure:  Dict("w": LEAF, "b": Sequence(LEAF, Constant(None)))

The traced function then receives ordinary containers with boxes in the places of the
leaves, so that reaching an element costs what it costs in plain Python.

What is a leaf, a constant or an error:

==============================================  ============  =====================
value                                           in arguments  in results
==============================================  ============  =====================
float, complex, NumPy's own, arrays of them     leaf          leaf
box                                             leaf          leaf
int, NumPy integers, integer arrays             TypeError     leaf (derivative zero)
bool, arrays of bool                            constant      leaf (derivative zero)
object and structured arrays                    TypeError     TypeError
None, str, functions and any other object       constant      constant
==============================================  ============  =====================

A constant is handed on as it is, and its gradient is None. An integer is refused
because it is nearly always a float written without its point, and a quiet gradient of
zero would be wrong. Subclasses of list, tuple and dict keep their type.
"""

import copy

import numpy as np

from ._core import Box

_FLOATS = (float, np.float16, np.float32, np.float64, np.longdouble)
_COMPLEXES = (complex, np.complex64, np.complex128, np.clongdouble)
_NUMBERS = frozenset(_FLOATS + _COMPLEXES)


class UntraceableLeaf(TypeError):
    """A value in an argument or a result that cannot be differentiated.

    Attributes
    ----------
    value : object
        The value itself.
    cure : str
        What to do about it.
    """

    def __init__(self, value, cure):
        super().__init__(f"{describe(value)} cannot be differentiated: {cure}")
        self.value = value
        self.cure = cure


def describe(value):
    """Name a value for an error message.

    Examples
    --------
    >>> describe(3), describe([1.0]), describe(np.zeros((2, 3), dtype=int))
    ('the int 3', 'a list', 'an array of int64 and shape (2, 3)')
    """
    if isinstance(value, (np.ndarray, Box)):
        return f"an array of {value.dtype} and shape {value.shape}"
    if value is None or isinstance(value, (bool, int, float, complex, str, np.generic)):
        text = repr(value) if not isinstance(value, np.generic) else str(value)
        return text if value is None else f"the {type(value).__name__} {text[:40]}"
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


# ---------------------------------------------------------------- what is a leaf


def argument_leaf(value):
    """Tell whether a value in an argument is a leaf (True) or a constant (False).

    Raises
    ------
    UntraceableLeaf
        For integers, and for arrays of objects or records.
    """
    if isinstance(value, (Box, float, complex, np.inexact)):
        return True
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "iu":
            raise UntraceableLeaf(value, "pass floats instead, e.g. x.astype(float)")
        return _numeric(value) and value.dtype.kind != "b"
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        raise UntraceableLeaf(value, f"pass a float instead, e.g. {int(value)}.0")
    return False


def result_leaf(value):
    """Tell whether a value in a result is a leaf (True) or a constant (False).

    Raises
    ------
    UntraceableLeaf
        For arrays of objects or records.
    """
    if isinstance(value, np.ndarray):
        return _numeric(value)
    return isinstance(value, (Box, float, complex, int, np.number, np.bool_))


def _numeric(array):
    if array.dtype.kind in "OV":
        raise UntraceableLeaf(array, "make it an array of floats, e.g. by autograd_c.numpy.array")
    return array.dtype.kind in "fciub"


# ---------------------------------------------------------------- structures


class Structure:
    """How a container is built from its leaves; compare with ``==``."""

    __slots__ = ()

    def build(self, leaves, constants=True):
        """Put the container together from an iterator over its leaves.

        With ``constants=False`` every constant becomes None: the shape of a gradient.
        """
        raise NotImplementedError

    def gather(self, tree, leaves, path=""):
        """Append to `leaves` the leaves of another container of this structure.

        Whatever `tree` holds in the place of a constant is passed over.

        Raises
        ------
        ValueError
            When `tree` has another structure; it names the first difference.
        """
        raise NotImplementedError

    def __ne__(self, other):
        return not self == other

    __hash__ = None


class _Leaf(Structure):
    __slots__ = ()

    def build(self, leaves, constants=True):
        return next(leaves)

    def gather(self, tree, leaves, path=""):
        if tree is None or isinstance(tree, (list, tuple, dict)):
            raise ValueError(f"expected a number or an array{_at(path)}, got {describe(tree)}")
        leaves.append(tree)

    def __eq__(self, other):
        return type(other) is _Leaf

    def __repr__(self):
        return "LEAF"


LEAF = _Leaf()


class Constant(Structure):
    """An object that is handed on unchanged; all constants have the same structure."""

    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value

    def build(self, leaves, constants=True):
        """Return the constant, or None."""
        return self.value if constants else None

    def gather(self, tree, leaves, path=""):
        """Pass over whatever is there."""

    def __eq__(self, other):
        return type(other) is Constant

    def __repr__(self):
        return f"Constant({self.value!r})"


class Sequence(Structure):
    """A list or a tuple, named or not."""

    __slots__ = ("kind", "children")

    def __init__(self, kind, children):
        self.kind = kind
        self.children = children

    def build(self, leaves, constants=True):
        """Build a sequence of the same type."""
        items = [next(leaves) if child is LEAF else child.build(leaves, constants) for child in self.children]
        if self.kind is list:
            return items
        make = getattr(self.kind, "_make", self.kind)
        return make(items)

    def gather(self, tree, leaves, path=""):
        """Append the leaves of a sequence of the same type and length."""
        if type(tree) is not self.kind or len(tree) != len(self.children):
            got = describe(tree) + (f" of {len(tree)}" if isinstance(tree, (list, tuple)) else "")
            raise ValueError(f"expected a {self.kind.__name__} of {len(self.children)}{_at(path)}, got {got}")
        for index, (child, item) in enumerate(zip(self.children, tree, strict=True)):
            child.gather(item, leaves, f"{path}[{index}]")

    def __eq__(self, other):
        return type(other) is Sequence and self.kind is other.kind and self.children == other.children

    def __repr__(self):
        return f"{self.kind.__name__}({', '.join(map(repr, self.children))})"


class Dict(Structure):
    """A dict: the order of the keys is kept, and does not count in a comparison."""

    __slots__ = ("empty", "children")

    def __init__(self, empty, children):
        self.empty = empty
        self.children = children

    def build(self, leaves, constants=True):
        """Build a dict of the same type, its keys in the same order."""
        items = {key: child.build(leaves, constants) for key, child in self.children.items()}
        if type(self.empty) is dict:
            return items
        container = copy.copy(self.empty)
        container.update(items)
        return container

    def gather(self, tree, leaves, path=""):
        """Append the leaves of a dict with the same keys, in the order of this one."""
        if not isinstance(tree, dict) or tree.keys() != self.children.keys():
            got = f"the keys {list(tree)}" if isinstance(tree, dict) else describe(tree)
            raise ValueError(f"expected a dict with the keys {list(self.children)}{_at(path)}, got {got}")
        for key, child in self.children.items():
            child.gather(tree[key], leaves, f"{path}[{key!r}]")

    def __eq__(self, other):
        return (
            type(other) is Dict and type(self.empty) is type(other.empty) and self.children == other.children
        )

    def __repr__(self):
        return f"{type(self.empty).__name__}({self.children!r})"


def _at(path):
    return f" at {path}" if path else ""


# ---------------------------------------------------------------- taking apart


def flatten(tree, is_leaf=argument_leaf):
    """Take a container apart.

    Parameters
    ----------
    tree : object
        Any nesting of lists, tuples and dicts; a single leaf is a container of itself.
    is_leaf : callable, optional
        Says of a value that is no container whether it is a leaf; else it is a constant.

    Returns
    -------
    leaves : list
    structure : Structure

    Raises
    ------
    UntraceableLeaf
        When `is_leaf` refuses a value.

    Examples
    --------
    >>> leaves, structure = flatten({"w": 1.0, "rest": [2.0, (None, 3.0)]})
    >>> leaves
    [1.0, 2.0, 3.0]
    >>> unflatten(structure, [10.0, 20.0, 30.0])
    {'w': 10.0, 'rest': [20.0, (None, 30.0)]}
    """
    leaves = []
    return leaves, _flatten(tree, leaves, is_leaf)


def _flatten(tree, leaves, is_leaf):
    kind = type(tree)
    if kind in _NUMBERS:
        leaves.append(tree)
        return LEAF
    if isinstance(tree, (list, tuple)):
        return Sequence(kind, [_flatten(item, leaves, is_leaf) for item in tree])
    if isinstance(tree, dict):
        return Dict(_emptied(tree), {key: _flatten(item, leaves, is_leaf) for key, item in tree.items()})
    if is_leaf(tree):
        leaves.append(tree)
        return LEAF
    return Constant(tree)


def _emptied(mapping):
    """An empty dict of the same type, with what a subclass adds (e.g. a default factory)."""
    if type(mapping) is dict:
        return {}
    empty = copy.copy(mapping)
    empty.clear()
    return empty


def unflatten(structure, leaves, constants=True):
    """Put a container together: the inverse of `flatten`.

    Parameters
    ----------
    structure : Structure
    leaves : iterable
    constants : bool, optional
        False puts None in the place of every constant, as a gradient has it.

    Examples
    --------
    >>> leaves, structure = flatten([1.0, "name"])
    >>> unflatten(structure, leaves), unflatten(structure, leaves, constants=False)
    ([1.0, 'name'], [1.0, None])
    """
    return structure.build(iter(leaves), constants)


def gather(structure, tree):
    """Return the leaves of a container that must have the given structure.

    Raises
    ------
    ValueError
        Where the structures differ.

    Examples
    --------
    >>> _, structure = flatten({"a": 1.0, "b": (2.0, 3.0)})
    >>> gather(structure, {"b": (20.0, 30.0), "a": 10.0})
    [10.0, 20.0, 30.0]
    """
    leaves = []
    structure.gather(tree, leaves)
    return leaves


def map_leaves(fun, tree, is_leaf=result_leaf):
    """Apply a function to every leaf of a container.

    Examples
    --------
    >>> map_leaves(lambda x: 2 * x, {"a": 1.0, "b": [2.0, "name"]})
    {'a': 2.0, 'b': [4.0, 'name']}
    """
    leaves, structure = flatten(tree, is_leaf)
    return unflatten(structure, [fun(leaf) for leaf in leaves])


def locate(tree, value):
    """Return where in a container a value is, as it would be indexed; '' when it isn't.

    Examples
    --------
    >>> locate({"w": [1.0, 7]}, 7)
    "['w'][1]"
    """
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, (list, tuple)):
        items = enumerate(tree)
    else:
        return ""
    for key, item in items:
        if item is value:
            return f"[{key!r}]"
        inner = locate(item, value)
        if inner:
            return f"[{key!r}]{inner}"
    return ""
