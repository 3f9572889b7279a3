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
from ._core import EAGERLY, Meta, Primitive, hooks, is_box, trace_forward, trace_reverse
from .tree import name_of, result_leaf

__all__ = [
    "Inlined",
    "Linear",
    "Prepared",
    "PreparedProgram",
    "Unprepared",
    "Vectors",
    "call_inside",
    "is_leaf",
]


class Inlined(Exception):
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

    def __init__(self, prepare, of):
        self.prepare = prepare
        self.of = of
        self.__wrapped__ = of
        self.__name__ = name_of(of)
        self.__module__ = getattr(of, "__module__", None)
        self.vectors = {}

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


# ---------------------------------------------------------------- programs


class PreparedProgram:
    """The program of a recorded `Prepared`.

    Parameters
    ----------
    recorded : replay._RecordedParts
    version : Version
        The environment in which it was recorded.
    fun : Prepared
    program : ReplayProgram
        The vector is its last inputs, the value its first results.
    """

    def __init__(self, recorded, version, fun, program):
        self.program = program
        self.fun = fun
        self.version = version
        self.vectors = recorded.vectors
        self.about = recorded.about
        self.structures = recorded.structures
        self.count = recorded.structures[0].size
        self._finish = recorded.finish
        self.flags = 0

    def run(self, leaves):
        """The leaves of the value and the linear function; or the number of the guard that failed."""
        flags = []
        try:
            started = self.program.start(leaves, self.count, flags)
        except _core.ReplayMismatch:
            return EAGERLY
        self.flags = flags[0]
        if isinstance(started, int):
            return started
        return [*self.finished(started.results, 0), Linear(self, started)]

    def finished(self, outs, start):
        """Results from number `start` on, as the function returns them."""
        if self._finish is None:
            return outs
        kinds = self._finish[start : start + len(outs)]
        return [_finished(kind, what, out) for out, (kind, what) in zip(outs, kinds, strict=True)]


def _finished(kind, what, out):
    """A result that shares no memory with arguments and other results."""
    if kind == "constant":
        return what
    if kind == "fresh" or kind == "view" or not isinstance(out, np.ndarray):
        return out
    return out.copy()


class Linear:
    """A linear function, of which all that does not depend on its argument has been computed.

    `arguments` are those of the function that prepared it.
    """

    __slots__ = ("program", "arguments", "_started")

    def __init__(self, program, started):
        self.program = program
        self._started = started
        self.arguments = None

    def __call__(self, vector):
        """The value for a vector."""
        leaves = self.program.vectors.leaves_of(vector)
        if leaves is None:
            return self._again(vector)
        return _core.unflatten(self.program.structures[1], self.images(leaves))

    def value(self, leaves):
        """The value of the function that prepared it, from its leaves."""
        return _core.unflatten(self.program.structures[0], leaves)

    def images(self, leaves):
        """The leaves of the result, from those of the argument."""
        return self.program.finished(self._started.finish(leaves), self.program.count)

    def pull(self, cotangents):
        """The same for the tape: of a list of cotangents, None being zero, a list of cotangents."""
        images = self._started.pull(cotangents)
        if images is not None:
            return self.program.finished(images, self.program.count)
        looks = self.program.vectors.looks
        return self([_given(c, look) for c, look in zip(cotangents, looks, strict=True)])

    def _again(self, vector):
        """For boxes, and whatever else was not recorded: prepared again, in Python."""
        program = self.program
        if not program.version.holds():
            raise RuntimeError(
                f"{program.fun.__name__}: what the function reads from outside has changed since its "
                "derivative was prepared, and the derivative is asked for something that was not recorded (a "
                "traced value, or a vector of another type or shape); pass what changes as an argument"
            )
        args, kwargs = self.arguments
        return program.fun.prepare(*args, **kwargs)[1](vector)


def _given(cotangent, look):
    """An adjoint as the user's vectors are: a scalar is no array without axes."""
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
    inside = _pushed if tangents is not None else _pulled
    return inside(compiled, places, boxes, _core.unflatten(structure, values), tangents, (args, kwargs))


def _pulled(compiled, places, boxes, plain, tangents, given):
    """In a reverse trace."""
    result, prepared = _prepared(_Pulled, compiled, places, plain)
    if type(result) is Unprepared:
        out = compiled.fun(*given[0], **given[1])
        if result.key is not None:
            leaves = _core.flatten(out, _is_any)[0]
            prepared.note(result.key, [_zero(leaf) for leaf in leaves if _is_of(leaf, boxes)])
        return out
    linear = result.pop()
    linear.arguments = plain
    reached = linear.program.about
    if reached:
        entered = _core.enter_call(
            prepared.primitive, boxes, [result[place] for place in reached], linear.pull
        )
        for place, box in zip(reached, entered, strict=True):
            result[place] = box
    return linear.value(result)


def _pushed(compiled, places, boxes, plain, tangents, given):
    """In a forward trace."""
    result, prepared = _prepared(_Pushed, compiled, places, plain)
    if type(result) is not Unprepared:
        (linear,) = result
        linear.arguments = plain
        leaves = linear.program.vectors.leaves_of(tangents)
        if leaves is not None:
            return _with_tangents(linear, boxes[0], linear.images(leaves))
    elif result.key is not None:
        prepared.note(result.key, tangents)
    return compiled.fun(*given[0], **given[1])


def _with_tangents(linear, box, images):
    structure, reached = linear.program.about.result
    results = images[: structure.size]
    for place, tangent in zip(reached, images[structure.size :], strict=True):
        results[place] = _core.with_tangent(box, results[place], tangent)
    return _core.unflatten(structure, results)


def _prepared(kind, compiled, places, plain):
    made = compiled.made_once((kind, places), lambda: _made(compiled, kind(compiled.fun, places)))
    return made(*plain[0], **plain[1]), made.fun


def _made(compiled, prepared):
    made = compiled.made_of(prepared)
    made.policy.warned = compiled.policy.warned  # one warning for all that is made of a function
    return made


class _Inside(Prepared):
    """A function as a function of some of the leaves of its arguments."""

    def __init__(self, of, places):
        super().__init__(self._prepare, of)
        self.places = places
        self.primitive = Primitive(of, self.__name__)

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


class _Pulled(_Inside):
    """Its value, and its pullback from cotangents of the results that the chosen leaves reach."""

    def _prepare(self, *args, **kwargs):
        call, leaves, told = self._on_leaves(args, kwargs)
        outs, sweep = trace_reverse(call, leaves)
        return _core.unflatten(told.result[0], told.values(outs)), sweep, told.result[1]

    def seen(self, recorded):
        return recorded.structures[0].size


class _Pushed(_Inside):
    """No value at once; then, from tangents of the chosen leaves, results and tangents of what they reach."""

    def _prepare(self, *args, **kwargs):
        call, leaves, told = self._on_leaves(args, kwargs)

        def push(tangents):
            outs, out_tangents = trace_forward(call, leaves, tangents)
            return [*told.values(outs), *out_tangents]

        return (), push, told

    def seen(self, recorded):
        return recorded.about.result[0].size


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
