"""Programs in two parts: a value first, then a linear function that can be called any number of times.

What a pullback needs besides its cotangent was computed on the way to the value. `Prepared` is a function
that returns such a pair, the value and a linear function. Compiled, it is recorded as one program of its
arguments and a vector. A call runs what does not depend on the vector; the linear function that it returns
runs the rest.

So `make_vjp(compile(f))` is replayed. So are compiled functions that are called with boxes of one derivative,
as a part of a larger function: the forward pass when they are called, the reverse pass when the sweep comes
by, one entry of the tape. For anything else (boxes of several traces, recordings, functions that change what
they were given in place, or return it) the function runs as it is, on the boxes.
"""

import numpy as np

from . import _core
from ._core import MISS, Meta, Primitive, Unrecorded, hooks, is_box, trace_forward, trace_reverse
from .tree import container_of, name_of, result_leaf

__all__ = [
    "Inlined",
    "Inside",
    "Prepared",
    "Unprepared",
    "Vectors",
    "call_inside",
    "is_leaf",
]


class Inlined(Unrecorded):
    """Only the plain function will do, and there is nothing to warn of."""


class Unprepared:
    """In the place of a value and a linear function: the plain function is to be called.

    Parameters
    ----------
    key : tuple, optional
        Of the signature, where `Prepared.note` should be told what the vectors look like.
    """

    def __init__(self, key=None):
        self.key = key


class Prepared:
    """A function of which the policy makes programs in two parts.

    Parameters
    ----------
    prepare : callable
        It takes the arguments and returns a value, a linear function, and what a replay is to know of them
        besides (an object that can be compared).
    of : callable
        The user's function that it is made of.
    """

    later = "for each vector:"  # how `explain` calls what depends on it

    def __init__(self, prepare, of):
        self.prepare = prepare
        self.of = of
        self.__wrapped__ = of
        self.__name__ = name_of(of)
        self.__module__ = getattr(of, "__module__", None)
        self.vectors = {}
        self.primitive = None  # of the entries on a tape
        self.title = self.__name__

    def __call__(self, *args, **kwargs):
        """Where there is no replay."""
        return Unprepared()

    def __getstate__(self):
        return self.__dict__ | {"vectors": {}}

    def note(self, key, vector):
        """Remember what the vectors look like for arguments of a signature."""
        vectors = Vectors(vector)
        if vectors.are_known:
            self.vectors[key] = vectors

    def seen(self, recorded):
        """How many of a recording's results, the first ones, a caller could tell from copies of them."""
        return 0

    def noting(self, key, linear):
        """The linear function; the first vector that it is called with is told to `note`."""

        def noted(vector):
            self.note(key, vector)
            return linear(vector)

        return noted

    def result_of(self, recorded):
        """The structure of the function's result, and which of its leaves depend on boxes."""
        return recorded.structures[0], ()

    def again(self, linear, vector):
        """Call a linear function with boxes, or with whatever else was not recorded: prepared in Python."""
        if not linear.program.version.holds():
            raise RuntimeError(
                f"{self.__name__}: what the function reads from outside has changed since its "
                "derivative was prepared, and the derivative is asked for something that was not recorded (a "
                "traced value, or a vector of another type or shape); pass what changes as an argument"
            )
        args, kwargs = linear.arguments or _arguments_of(linear.signature.key, linear.leaves)
        return self.prepare(*args, **kwargs)[1](vector)

    def given(self, vectors, cotangents):
        """Adjoints as the user's vectors are: a scalar is no array without axes; None is zero."""
        return [_given(c, look) for c, look in zip(cotangents, vectors.looks, strict=True)]


def _arguments_of(key, leaves):
    """Arguments and keywords, from the key of a signature and the leaves."""
    count, names, looks = key
    looks, leaves = iter(looks), iter(leaves)
    values = [_argument_of(looks, leaves) for _ in range(count + len(names))]
    return values[:count], dict(zip(names, values[count:], strict=True))


def _argument_of(looks, leaves):
    kind, what, *rest = next(looks)
    if kind == "static":
        return rest[0]
    if kind == "dict":
        return {name: _argument_of(looks, leaves) for name in rest[0]}
    if kind in ("list", "tuple"):
        return container_of(what, [_argument_of(looks, leaves) for _ in range(rest[0])])
    return next(leaves)


class Vectors:
    """What the arguments of a linear function look like."""

    def __init__(self, vector):
        leaves, self.structure = _core.flatten(vector, result_leaf)
        self.looks = [_look(leaf) for leaf in leaves]
        self.are_known = all(look is not None for look in self.looks)

    def zeros(self):
        """The leaves of one such vector."""
        zeros = [np.zeros(shape, dtype) for _, shape, dtype in self.looks]
        return [
            zero if kind is np.ndarray else kind(zero[()])
            for zero, (kind, *_) in zip(zeros, self.looks, strict=True)
        ]

    def leaves_of(self, vector):
        """The leaves of a vector; None where it looks different."""
        leaves, structure = _core.flatten(vector, result_leaf)
        if structure != self.structure or [_look(leaf) for leaf in leaves] != self.looks:
            return None
        return [np.require(leaf, requirements="CA") if type(leaf) is np.ndarray else leaf for leaf in leaves]


def _look(leaf):
    """Type, shape and dtype of a plain number or array of floats in the machine's byte order; else None."""
    kind = type(leaf)
    if kind is float or kind is complex:
        return kind, (), np.dtype(kind)
    if (kind is np.ndarray or isinstance(leaf, np.inexact)) and leaf.dtype.char in "fdFD":
        return (kind, leaf.shape, leaf.dtype) if leaf.dtype.isnative else None
    return None


def _given(cotangent, look):
    _, shape, dtype = look
    if cotangent is None:
        return np.zeros(shape, dtype)[()]
    return cotangent if shape or is_box(cotangent) else cotangent[()]


# ---------------------------------------------------------------- inside of derivatives


def call_inside(compiled, args, kwargs):
    """Call a compiled function with boxes: one entry of their trace, where that will do."""
    policy = compiled.policy
    leaves, structure = _core.flatten((args, kwargs), is_leaf)
    found = _core.unboxed(leaves)
    if found is None or policy.has_traced_static(args, kwargs):
        return policy.fun(*args, **kwargs)
    values, boxes, tangents = found
    places = tuple([place for place, leaf in enumerate(leaves) if is_box(leaf)])
    kind = _Pulled if tangents is None else _Pushed
    plain = _core.unflatten(structure, values)
    made = compiled.made_once((kind, places), lambda: _made(compiled, kind(compiled.fun, places)))
    result = made(*plain[0], **plain[1])
    if type(result) is Unprepared:
        out = compiled.fun(*args, **kwargs)
        if result.key is not None:
            made.fun.note_of(result.key, out, boxes, tangents)
        return out
    *leaves, linear = result
    linear.arguments = plain
    if tangents is None:
        out = _core.enter_call(boxes, leaves, linear)
    else:
        out = _core.push_call(boxes, tangents, linear)
    if out is MISS:
        return compiled.fun(*args, **kwargs)
    _core.enter_inside(compiled, made, args, kwargs)
    return out


def _made(compiled, prepared):
    made = compiled.made_of(prepared)
    made.policy.warned = compiled.policy.warned  # one warning for all that is made of a function
    return made


class Inside(Prepared):
    """A function as a function of some of the leaves of its arguments.

    `mode` is the name of the derivatives that it is called inside of.
    """

    def __init__(self, of, places):
        super().__init__(self._prepare, of)
        self.places = places
        self.primitive = Primitive(of, self.__name__)
        leaves = f"lea{'f' if len(places) == 1 else 'ves'} {', '.join(map(str, places))}"
        self.title = f"{self.__name__} inside of {self.mode} derivatives, {leaves} of its arguments traced"

    def _on_leaves(self, args, kwargs):
        """The function of lists of boxes, and their values. What it returned last is in `told`."""
        leaves, structure = _core.flatten((args, kwargs), is_leaf)
        told = _Told()

        def call(boxes):
            before = [box._value for box in boxes]
            for place, box in zip(self.places, boxes, strict=True):
                leaves[place] = box
            args, kwargs = _core.unflatten(structure, leaves)
            result = self.of(*args, **kwargs)
            pairs = zip(boxes, before, strict=True)
            if any(_is_array(value) and box._value is not value for box, value in pairs):
                raise Inlined("it changes an argument in place")
            return told.take(result, boxes)

        return call, [leaves[place] for place in self.places], told


class _Told:
    """The result of a function of boxes: leaves, structure, and the places of boxes among them."""

    def take(self, result, boxes):
        self.leaves, structure = _core.flatten(result, _is_any)
        reached = tuple([place for place, leaf in enumerate(self.leaves) if _is_of(leaf, boxes)])
        self.result = structure, reached
        return [self.leaves[place] for place in reached]

    def values(self, outs):
        """The leaves with plain values in place of boxes."""
        leaves, self.leaves = self.leaves, None
        for place, out in zip(self.result[1], outs, strict=True):
            leaves[place] = out
        return leaves

    def __eq__(self, other):
        return self.result == other.result

    __hash__ = None


class _Pulled(Inside):
    """Its value, and its pullback from cotangents of the results that the chosen leaves reach."""

    mode = "reverse"

    def _prepare(self, *args, **kwargs):
        call, leaves, told = self._on_leaves(args, kwargs)
        outs, sweep = trace_reverse(call, leaves)
        return _core.unflatten(told.result[0], told.values(outs)), sweep, told.result[1]

    def seen(self, recorded):
        return recorded.structures[0].size

    def result_of(self, recorded):
        return recorded.structures[0], recorded.about

    def note_of(self, key, out, boxes, tangents):
        leaves = _core.flatten(out, _is_any)[0]
        self.note(key, [_zero(leaf) for leaf in leaves if _is_of(leaf, boxes)])


class _Pushed(Inside):
    """No value at once; then, from tangents of the chosen leaves, results and tangents of what they reach."""

    mode = "forward"

    def _prepare(self, *args, **kwargs):
        call, leaves, told = self._on_leaves(args, kwargs)

        def push(tangents):
            outs, out_tangents = trace_forward(call, leaves, tangents)
            return [*told.values(outs), *out_tangents]

        return (), push, told

    def seen(self, recorded):
        return recorded.about.result[0].size

    def result_of(self, recorded):
        return recorded.about.result

    def note_of(self, key, out, boxes, tangents):
        self.note(key, tangents)


def is_leaf(value):
    """Whether a value in an argument is one that a recording varies: a float or an array."""
    return type(value) in (float, complex) or isinstance(value, (np.inexact, np.ndarray))


def _is_any(value):
    return True


def _is_array(value):
    return isinstance(value, np.ndarray) or is_box(value)


def _is_of(leaf, boxes):
    """Whether a leaf of a result belongs to the trace of some boxes."""
    return is_box(leaf) and leaf._level == boxes[0]._level


def _zero(box):
    return hooks["zeros"](Meta(box.shape, box.dtype))
