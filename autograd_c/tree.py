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

from . import _core
from ._core import Box, Structure, hooks, is_box

__all__ = [
    "Structure",
    "UntraceableLeaf",
    "argument_leaf",
    "describe",
    "flatten",
    "gather",
    "locate",
    "map_leaves",
    "name_of",
    "result_leaf",
    "unflatten",
]


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


def name_of(fun):
    """Name a function for titles and error messages."""
    return getattr(fun, "__name__", type(fun).__name__)


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


class Misfit(ValueError):
    """A cotangent or tangent of another shape than the value that it was given for."""

    def __init__(self, shape, expected):
        self.told = f"of shape {shape} was given for a value of shape {expected}"
        super().__init__(f"a cotangent or tangent {self.told}")


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


# ---------------------------------------------------------------- taking apart, putting together


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
        Structures can be compared.

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
    return _core.flatten(tree, is_leaf, is_leaf is not is_box)


def unflatten(structure, leaves, constants=True):
    """Put a container together: the inverse of `flatten`.

    Parameters
    ----------
    structure : Structure
    leaves : iterable
    constants : bool, optional
        False puts None in the place of every constant, as a gradient has it.

    Raises
    ------
    ValueError
        When the number of leaves is not that of the structure.

    Examples
    --------
    >>> leaves, structure = flatten([1.0, "name"])
    >>> unflatten(structure, leaves), unflatten(structure, leaves, constants=False)
    ([1.0, 'name'], [1.0, None])
    """
    return _core.unflatten(structure, leaves, constants)


def _emptied(mapping):
    """An empty dict of the same type, with what a subclass adds (e.g. a default factory)."""
    empty = copy.copy(mapping)
    empty.clear()
    return empty


def _rebuilt(structure, items):
    """A container whose type is a subclass of list, tuple or dict."""
    if structure.keys is None:
        return container_of(structure.type, items)
    container = copy.copy(structure.value)
    container.update(zip(structure.keys, items, strict=True))
    return container


def container_of(kind, items):
    """A list or tuple, or a subclass of these, from its items."""
    return getattr(kind, "_make", kind)(items)


hooks["argument_leaf"] = argument_leaf
hooks["emptied"] = _emptied
hooks["rebuilt"] = _rebuilt


def gather(structure, tree):
    """Return the leaves of a container that must have the given structure.

    Whatever is in the place of a constant is passed over, and the order of keys does not matter.

    Raises
    ------
    ValueError
        Where the structures differ; it names the first difference.

    Examples
    --------
    >>> _, structure = flatten({"a": 1.0, "b": (2.0, 3.0)})
    >>> gather(structure, {"b": (20.0, 30.0), "a": 10.0})
    [10.0, 20.0, 30.0]
    """
    leaves = []
    _gather(structure, tree, leaves, "")
    return leaves


def _gather(structure, tree, leaves, path):
    if structure.is_leaf:
        if tree is None or isinstance(tree, (list, tuple, dict)):
            raise ValueError(f"expected a number or an array{_at(path)}, got {describe(tree)}")
        leaves.append(tree)
    elif not structure.is_constant:
        for key, child, item in zip(*_pairs(structure, tree, path), strict=True):
            _gather(child, item, leaves, f"{path}[{key!r}]")


def _pairs(structure, tree, path):
    """Keys, structures and items of a container, which must be of the same kind as the structure's."""
    kind, children, keys = structure.type, structure.children, structure.keys
    if keys is not None:
        if not isinstance(tree, dict) or tree.keys() != set(keys):
            got = f"the keys {list(tree)}" if isinstance(tree, dict) else describe(tree)
            raise ValueError(f"expected a {kind.__name__} with the keys {keys}{_at(path)}, got {got}")
        return keys, children, [tree[key] for key in keys]
    if type(tree) is not kind or len(tree) != len(children):
        got = describe(tree) + (f" of {len(tree)}" if isinstance(tree, (list, tuple)) else "")
        raise ValueError(f"expected a {kind.__name__} of {len(children)}{_at(path)}, got {got}")
    return range(len(children)), children, tree


def _at(path):
    return f" at {path}" if path else ""


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
