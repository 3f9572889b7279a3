"""Compiled functions: recorded at their first calls, replayed without Python after.

`compile` makes a `Compiled`. Calls that were seen before find their program in the compiled core
(`src/compiled.pxi`). The policy decides about all others: its usual way is compiled, too (`src/policy.pxi`),
the rest is here. For each *signature* (structure, shapes and dtypes of the arguments, values of the static
ones)::

    call 1   run the function under a recording trace; its result is this call's. Where all that the function
             can reach is known (`autograd_c.known`), make the program
    call 2   replay; or the same as call 1 again, and where both recordings are the same, make the program
    call 3   replay

Two recordings, since what a recording takes for a constant may be a random number or a counter: constants
that differ show it, and the function is called as it is from then on, with one `ReplayWarning`. So is one
that takes a value out of the trace. A guard that fails during a replay leads to another program of the
signature, or to a recording of that *branch*, once or twice as before.

A recording is tied to a *version* of the environment (`autograd_c.environment`). Arrays of the environment
are read where they are, so updates in place are seen. But a number or an array that plain NumPy computed from
them inside the function is a constant of the program. Where a recording holds constants that may come from an
array, copies of all arrays of the environment are kept, and their bytes compared before each replay (about
0.03 ms for 1 MB); an array that is not an operand of the program is compared always.
"""

import collections
import inspect
import itertools
import sys
import types
import warnings

import numpy as np

from . import _core
from ._core import (
    EAGERLY,
    MISS,
    Compiled,
    OtherVectors,
    Policy,
    PreparedProgram,
    Recorded,
    TracedArgument,
    Unrecorded,
    Unreplayable,
    hooks,
    is_box,
    record_call_of,
)
from .environment import owning_array, same_bytes
from .prepared import Inlined, Inside, Prepared, Unprepared, call_inside
from .prepared import is_leaf as _is_leaf
from .tree import Misfit, describe, gather, name_of

__all__ = ["Compiled", "ReplayWarning", "compile"]

# What the compiled core calls a box of an outer derivative in a recording.
_TRACED_OUTSIDE = "a traced value of a derivative outside the function"
# Recordings for changes of the environment before it counts as changing with every call.
_CHANGES = 8


class ReplayWarning(UserWarning):
    """A compiled function cannot be replayed, and runs at the speed of the plain function."""


def compile(
    fun=None, *, static_argnums=(), static_argnames=(), max_programs=64, fastmath=False, num_threads=1
):
    """Return a function that is recorded at its first calls and replayed, without Python, after.

    Also a decorator, with or without options. Operators take a compiled function and return a compiled one:
    ``grad(compile(f))`` is ``compile(grad(f))``.

    Parameters
    ----------
    fun : callable
        It takes and returns numbers, arrays and nestings of lists, tuples, named tuples and dicts of them.
        Integers, bools, strings, None, functions and other hashable objects among the arguments are static:
        each value has programs of its own.
    static_argnums, static_argnames : int or str, or a sequence of them, optional
        Positional and keyword arguments that are static as a whole.
    max_programs : int, optional
        Signatures of the function, and branches of a signature, that are recorded. Calls beyond it
        run as they are, with one warning.
    fastmath : bool, optional
        Allow cheaper formulas that change the last bits: products with a reciprocal for divisions by
        constants and by smaller arrays, ``x / y`` for ``x * (1 / y)``, products for the powers 2, 3 and 4,
        and elementary functions (exp, log, tanh, sin, ...) by vector code on processors with AVX2 or AVX-512.
    num_threads : int, optional
        Threads that share elementwise work on large arrays, sums over them and copies. Sums depend on their
        number in the last bits, and on nothing else. Without POSIX threads (Windows) that is all it changes.

    Returns
    -------
    Compiled
        With the methods ``clear()``, ``explain()`` and ``cost()``.

    Raises
    ------
    ValueError
        When `fun` has no argument of a number or name that is said to be static.

    Warns
    -----
    ReplayWarning
        Once, when the function cannot be replayed; the message names the line and the cure.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c import compile, grad
    >>> @compile
    ... def length(x):
    ...     return np.sqrt(np.sum(x**2))
    >>> for _ in range(3):
    ...     gradient = grad(length)(np.array([3.0, 4.0]))
    >>> gradient
    array([0.6, 0.8])
    """
    options = {
        "static_argnums": _several(static_argnums, int, "static_argnums"),
        "static_argnames": _several(static_argnames, str, "static_argnames"),
        "max_programs": max_programs,
        "fastmath": bool(fastmath),
        "num_threads": num_threads,
    }
    for name in ("max_programs", "num_threads"):
        if not isinstance(options[name], int) or options[name] < 1:
            raise ValueError(f"compile: {name} must be a positive int, got {describe(options[name])}")
    if fun is None:
        return lambda fun: _compiled(fun, options)
    return _compiled(fun, options)


def _compiled(fun, options):
    _check_static(fun, **{name: options[name] for name in ("static_argnums", "static_argnames")})
    # An operator's function may have a better way than being recorded as a whole: Jacobians have.
    if hasattr(fun, "compiled"):
        return fun.compiled(lambda fun: Compiled(fun, options))
    return Compiled(plain(fun), options)


def _check_static(fun, static_argnums, static_argnames):
    """Refuses static arguments that the function cannot have, where its signature is known."""
    if not static_argnums and not static_argnames:
        return
    try:
        parameters = inspect.signature(fun).parameters.values()
    except (TypeError, ValueError):
        return
    kinds = {p.kind for p in parameters}
    names = [p.name for p in parameters]
    count = sum(p.kind <= p.POSITIONAL_OR_KEYWORD for p in parameters)
    for number in static_argnums:
        if not -count <= number < count and inspect.Parameter.VAR_POSITIONAL not in kinds:
            raise ValueError(
                f"compile: static_argnums: {name_of(fun)} has {count} positional arguments, none is {number}"
            )
    for name in static_argnames:
        if name not in names and inspect.Parameter.VAR_KEYWORD not in kinds:
            has = ", ".join(names)
            raise ValueError(
                f"compile: static_argnames: {name_of(fun)} has no argument {name!r}; it has {has}"
            )


def plain(fun):
    """The function that a compiled function was made of; any other as it is."""
    return fun.fun if type(fun) is Compiled else fun


def _several(value, kind, name):
    values = (value,) if isinstance(value, (int, str)) else tuple(value)
    if not all(isinstance(item, kind) for item in values):
        raise TypeError(f"compile: {name} must hold {kind.__name__}s, got {describe(value)}")
    return values


def _recreated(fun, options):
    """What a pickled compiled function is made of on arrival."""
    return Compiled(fun, options)


class Rows:
    """A function of a seed, as a function of many: of each row of its last argument.

    Compiled, what does not depend on the seed is computed once for all rows.

    Parameters
    ----------
    fun : callable
        ``fun(*args, seed)`` returns one array or number.
    of : callable
        The user's function that it is made of.
    """

    def __init__(self, fun, of):
        self.fun = fun
        self.of = of
        self.__name__ = name_of(of)
        self.__module__ = getattr(of, "__module__", None)

    def __call__(self, *args):
        return np.stack([self.fun(*args[:-1], seed) for seed in args[-1]])


class Declined(Unrecorded):
    """A matrix is not accumulated; the message says why. It is computed by seeds."""


class Accumulated:
    """A function whose result is the Jacobian of another one.

    It is not recorded as it is: see `autograd_c.accumulation`.

    Parameters
    ----------
    fun : callable
        Its result is one array or number.
    argnum : int
        The argument to differentiate.
    of : callable
        The user's function that it is made of.
    seeded : callable
        The same matrix by seeds, where this way is declined.
    form : str
        What the result is: a class of `autograd_c.matrices`.
    seeds : callable
        How many runs of the function the seeds take, by the sizes of result and argument.
    """

    def __init__(self, fun, argnum, of, seeded, form, seeds=min):
        self.fun = fun
        self.argnum = argnum
        self.of = self.__wrapped__ = of
        self.seeded = seeded
        self.form = form
        self.seeds = seeds
        self.__name__ = name_of(of)
        self.__module__ = getattr(of, "__module__", None)

    def __call__(self, *args, **kwargs):
        return self.seeded(*args, **kwargs)

    def source(self, call, leaves):
        """The function's own recording for one call, and the number of the leaf to differentiate."""
        from . import accumulation  # it needs all rules, which need this module

        if not isinstance(self.argnum, int) or not -len(call.args) <= self.argnum < len(call.args):
            raise Declined("the argument is none, or several")
        x = call.args[self.argnum]
        if type(x) is not np.ndarray or x.dtype.kind != "f" or not x.size or not x.ndim:
            raise Declined("the argument is no array of floats")

        def value_of(boxes):
            args, kwargs = call.rebuilt(boxes)
            x = args[self.argnum]
            return next(k for k, box in enumerate(boxes) if box is x), self.fun(*args, **kwargs)

        return accumulation.source_of(value_of, leaves)

    def expanded(self, source, place, leaves, owners):
        """What `accumulation.accumulated` returns."""
        from . import accumulation, matrices

        form = getattr(matrices, self.form)
        return accumulation.accumulated(source, place, leaves, form, self.seeds, owners)


class _RowsProgram:
    """The program of a function of a seed, run once for each row of the last leaf."""

    def __init__(self, recording, policy):
        self.seed = recording.size - 1
        self.program = policy.program_of(recording, (self.seed,))
        self.flags = 0

    def run(self, leaves):
        flags = []
        outs = self.program.run_seeds(leaves, {self.seed: leaves[self.seed]}, flags)
        self.flags = flags[0] if flags else 0
        return outs


# ---------------------------------------------------------------- signatures


class _Aliased(Unrecorded):
    """An update in place of an argument is seen in another array that the function reads: run it as it is."""


class _Call(_core.Call):
    """The arguments of one call, taken apart: those that the compiled core does not know, too."""

    __slots__ = ()

    def take_apart(self):
        for place, value in itertools.chain(enumerate(self.args), self.kwargs.items()):
            self._argument(place, value)

    def _argument(self, place, value):
        if self.is_static is not None and self.is_static(place, len(self.args)):
            return self._static(value, f"argument {place!r}")
        looks, leaves = len(self.looks), len(self.leaves)
        if not _core.take_looks((value,), {}, self.looks, self.leaves):
            del self.looks[looks:], self.leaves[leaves:]
            self._look(value, f"argument {place!r}")

    def _look(self, value, label):
        kind = type(value)
        if kind is np.ndarray:
            self._array(value, label)
        elif kind is float or kind is complex or isinstance(value, np.inexact):
            self.looks.append(("leaf", kind))
            self.leaves.append(value)
        elif isinstance(value, (list, tuple)):
            self.looks.append(("list" if isinstance(value, list) else "tuple", kind, len(value)))
            for place, item in enumerate(value):
                self._look(item, f"{label}[{place}]")
        elif isinstance(value, dict):
            self.looks.append(("dict", kind, tuple(value)))
            for key, item in value.items():
                self._look(item, f"{label}[{key!r}]")
        elif is_box(value):
            raise TracedArgument
        elif isinstance(value, np.ndarray):
            hooks["plain_array"](value)  # refuses masked arrays and matrices
            self.looks.append(("other", value.dtype.str, value.shape, kind))
            self.leaves.append(value)
        else:
            self._static(value, label)

    def _array(self, array, label):
        if array.dtype.kind not in "fciub":
            raise TypeError(
                f"{self.name}: {label} is {describe(array)}; arrays must hold numbers. Let the function "
                "read it from its closure"
            )
        contiguous = array.flags.c_contiguous and array.flags.aligned
        if array.dtype.isnative:
            self.looks.append(("array", array.dtype.num, array.shape, contiguous))
        else:
            self.looks.append(("other", array.dtype.str, array.shape, contiguous))
        self.leaves.append(array)

    def _static(self, value, label):
        try:
            hash(value)
        except TypeError:
            raise TypeError(
                f"{self.name}: {label} is {describe(value)}, neither a number, an array or a container of "
                "them nor hashable. Make it hashable (static_argnums and static_argnames name such "
                "arguments), or let the function read it from its closure"
            ) from None
        self.looks.append(("static", type(value), value, _told_apart(value)))
        if _holds_box(value):
            raise TracedArgument
        self.statics.append(value)

    def refilled(self, leaves):
        """The arguments with other leaves."""
        leaves = iter(leaves)
        args = tuple([self._refilled(place, value, leaves) for place, value in enumerate(self.args)])
        return args, {name: self._refilled(name, value, leaves) for name, value in self.kwargs.items()}

    def _refilled(self, place, value, leaves):
        if type(value) is np.ndarray:
            return next(leaves)
        if self.is_static is not None and self.is_static(place, len(self.args)):
            return value
        _, structure = _core.flatten(value, _is_leaf)
        return _core.unflatten(structure, [next(leaves) for _ in range(structure.size)])


def _told_apart(value):
    """What tells a static value from equal ones: numbers of another type or sign have their own programs."""
    if isinstance(value, (float, complex)):
        return repr(value)
    if isinstance(value, tuple):
        return tuple([(type(item), _told_apart(item)) for item in value])
    return None


def _holds_box(value, seen=()):
    """Whether a box is among what a static value is compared by."""
    if is_box(value):
        return True
    if isinstance(value, (tuple, frozenset)):
        items = value
    elif type(value).__eq__ is object.__eq__ or any(value is other for other in seen):
        return False
    else:
        seen = (*seen, value)
        names = {*getattr(value, "__dict__", ()), *getattr(value, "__dataclass_fields__", ())}
        items = [getattr(value, name, None) for name in names]
    return any(_holds_box(item, seen) for item in items)


def _is_any(value):
    """Whether a value in a result is a leaf."""
    return True


# ---------------------------------------------------------------- recordings


# What a result may be besides numbers, arrays and containers: it cannot hold a traced value.
_PLAIN = (bool, int, str, bytes, type, np.dtype, types.BuiltinFunctionType, types.ModuleType, type(None))


class _Recorded(Recorded):
    """One recorded call.

    `finish` is None, or has an entry for each result, ``(kind, what)``:

    ==========  ==================================================================================
    "fresh"     as the program returns it
    "argument"  the caller's object: the number of the leaf
    "same"      the object of an earlier result: its number
    "view"      a view of an argument or an earlier result: its entry and the calls that lead to it
    "constant"  an object that does not depend on the arguments
    "copy"      the same for an array that the function makes anew at each call
    "form"      what a callable makes of the program's result
    ==========  ==================================================================================
    """

    __slots__ = ()

    def check_result(self, leaf):
        if isinstance(leaf, (np.generic, float, complex, *_PLAIN)) or id(leaf) in self.environment.objects:
            return
        if isinstance(leaf, np.ndarray) and not leaf.dtype.hasobject:
            return
        if any(leaf is value for value in self.statics):
            return
        raise Unreplayable(
            f"it returns {describe(leaf)}, which may hold traced values; return numbers, arrays, lists, "
            "tuples and dicts"
        )

    def write_back(self, given, leaves):
        """Updates in place of leaves that were copied before."""
        if _core.shares_any(given, self.environment.arrays):
            raise _Aliased
        for leaf in self.updates:
            if given[leaf] is not leaves[leaf]:
                given[leaf][...] = leaves[leaf]

    def finish_of(self, leaves):
        """How the results are finished."""
        recording = self.recording
        owners = {id(owning_array(leaf)) for leaf in leaves if isinstance(leaf, np.ndarray)}
        nodes = {place: ("argument", place) for place in range(recording.size)}
        nodes |= {number: ("argument", place) for place, number in recording.changed}
        finish = []
        for place, (number, out) in enumerate(zip(recording.outs, self.outs, strict=True)):
            if number < 0:
                finish.append(("copy" if self._is_made(out) else "constant", out))
            elif number in nodes:
                finish.append(nodes[number])
            else:
                finish.append(("fresh", None))
                if isinstance(out, np.ndarray):
                    if id(owning_array(out)) in owners:
                        finish[-1] = _view(recording.results[place], nodes) or ("fresh", None)
                    owners.add(id(owning_array(out)))
                nodes[number] = ("same", place)
        return None if all(kind == "fresh" for kind, _ in finish) else finish

    def _is_made(self, value):
        return isinstance(value, np.ndarray) and id(owning_array(value)) not in self.environment.owners

    def finished(self, outs, leaves):
        """The leaves of the result, from those of the program and of the call, where some are not fresh."""
        results = []
        for (kind, what), out in zip(self.finish, outs, strict=True):
            if kind == "form":
                results.append(what(out))
            else:
                results.append(out if kind == "fresh" else _finished(kind, what, leaves, results))
        return results

    def same_as(self, other):
        if self.source is not None:  # from which all else follows
            return self.source.same_as(other.source)
        return (
            self.structure == other.structure
            and self.recording.same_as(other.recording)
            and self.updates == other.updates
        )

    def difference(self, other):
        """Why another recording, which is not the same, is not."""
        mine, others = (call.source or call.recording for call in (self, other))
        if mine.shapes != others.shapes:
            return (
                "sizes of arrays depend on values (np.nonzero, np.unique); x[mask] leaves a guard, and "
                "np.where(mask, x, y) keeps the size"
            )
        return (
            "two calls met different constants (random numbers, the time, a counter, a file?); pass "
            "what varies as an argument"
        )

    @property
    def guards(self):
        """The guards, with the lines where the function looks at values."""
        return (self.source or self.recording).guards


class _RecordedRows(_Recorded):
    """A recorded call of a `Rows`: of its function, with the first row."""

    __slots__ = ()

    def __init__(self, fun, call, environment, policy, version):
        self.begin(call, environment)
        leaves = call.normal_leaves()
        leaves[-1] = np.array(leaves[-1][0])
        self.record(fun.fun, call, leaves)
        self.finish = None  # rows are copied into the result
        if self.updates:
            raise Unreplayable("it changes an argument in place, for each of many seeds; copy it before")


class _RecordedMatrix(_Recorded):
    """A recorded call of an `Accumulated`: two recordings.

    The second is that of an earlier call, if this one's source is the same.
    """

    __slots__ = ()

    def __init__(self, fun, call, environment, policy, version):
        self.begin(call, environment)
        leaves = self.apart(call.normal_leaves())
        self.source, place = fun.source(call, leaves)
        self.outs, earlier = policy.confirmed(version, self.source, leaves)
        if earlier is not None:
            self.recording, self.form, self.program = earlier.recording, earlier.form, earlier.program
        else:
            made = fun.expanded(self.source, place, leaves, environment.owners)
            self.outs, self.recording, self.form = made
        _, self.structure = _core.flatten(self.outs[0], _is_any)
        self.finish = [("form", self.form)]


class _RecordedParts(_Recorded):
    """A recorded call of a `Prepared`: the leaves of its value, then those of the linear function's result.

    Arguments are traced as copies: where the function changes one, it is not recorded.

    Attributes
    ----------
    vectors : Vectors
    about : object
        What the function told besides.
    structures : tuple of Structure
        Of the value, and of what the linear function returns.
    """

    __slots__ = ("about", "structures", "vectors")

    def __init__(self, fun, call, environment, policy, version):
        self.begin(call, environment)
        self.vectors = fun.vectors[call.key]
        leaves = [leaf.copy() if isinstance(leaf, np.ndarray) else leaf for leaf in call.normal_leaves()]

        def both(boxes):
            args, kwargs = call.rebuilt(boxes[: len(leaves)])
            value, linear, self.about = fun.prepare(*args, **kwargs)
            outs, of_value = _core.taken_apart(value, self.check_result)
            vector = _core.unflatten(self.vectors.structure, boxes[len(leaves) :])
            try:
                image = linear(vector)
            except (ValueError, Misfit) as error:
                raise OtherVectors from error
            images, of_image = _core.taken_apart(image, self.check_result)
            self.structures = of_value, of_image
            return outs + images

        given = leaves + self.vectors.zeros()
        with np.errstate(all="ignore"):  # it runs once more, as a program, and that counts
            self.outs, self.recording = record_call_of(both, given)
        self.updates = self.recording.updates
        self.take_finish(given)
        seen = (self.finish or [])[: fun.seen(self)]
        if self.updates or any(kind in ("argument", "view", "same") for kind, _ in seen):
            raise Inlined("it changes or returns an argument, or one result twice")
        # The program's results: the leaves of the value, and the linear function.
        self.structure = _core.flatten([0.0] * (self.structures[0].size + 1), _is_leaf)[1]

    def same_as(self, other):
        return super().same_as(other) and self.structures == other.structures and self.about == other.about

    def planned(self, version, policy):
        """Make the program."""
        seeds = range(self.recording.size - len(self.vectors.looks), self.recording.size)
        program = policy.program_of(self.recording, tuple(seeds))
        if not program.divides(self.structures[0].size):
            raise Inlined("its value depends on what comes later")
        self.program = PreparedProgram(program, self, version, policy.fun)


def _finished(kind, what, leaves, results):
    if kind == "argument":
        return leaves[what]
    if kind == "same":
        return results[what]
    if kind == "copy":
        return what.copy()
    if kind == "view":
        (kind, base), calls = what
        value = _finished(kind, base, leaves, results)
        for prim, rest, kwargs in calls:
            value = prim(value, *rest, **kwargs)
        return value
    return what


def _view(node, nodes):
    """How a node's value is taken as a view of another one that is at hand; None where it is none."""
    calls = []
    while node.number not in nodes:
        if node.prim is None or not node.args or not hasattr(node.args[0], "kind"):
            return None
        if any(hasattr(arg, "kind") for arg in node.args[1:]):
            return None
        calls.append((node.prim, node.args[1:], node.kwargs or {}))
        node = node.args[0]
    return "view", (nodes[node.number], calls[::-1])


def _normal(leaf):
    """A leaf as recordings and programs take it: an ordinary array in the machine's byte order."""
    if isinstance(leaf, np.ndarray):
        if type(leaf) is not np.ndarray:
            leaf = hooks["plain_array"](leaf)
        if not leaf.dtype.isnative:
            leaf = leaf.astype(leaf.dtype.newbyteorder("="))
    return leaf


def _contiguous(leaf):
    return np.require(leaf, requirements=("C", "A")) if isinstance(leaf, np.ndarray) else leaf


# ---------------------------------------------------------------- constants of recordings


def _constants(recording):
    """The constants among operands and keywords, taken out of their containers."""
    pending = recording.constants
    while pending:
        value = pending.pop()
        if isinstance(value, (list, tuple)):
            pending.extend(value)
        elif isinstance(value, slice):
            pending += [value.start, value.stop, value.step]
        elif not hasattr(value, "kind") or isinstance(value, (np.ndarray, np.generic)):
            yield value


def _sizes(recording, arrays):
    """Numbers that shapes give rise to."""
    sizes = set(range(5))
    for shape in recording.shapes | {array.shape for array in arrays}:
        sizes.update(shape)
        sizes.add(int(np.prod(shape)))
    return sizes


def _watched(recorded):
    """The arrays of the environment whose bytes must stay as they are for a recording to be valid."""
    environment, recordings = recorded.environment, [recorded.recording]
    if recorded.source is not None:
        recordings.append(recorded.source)
    sizes = set().union(*(_sizes(recording, environment.arrays) for recording in recordings))
    largest = max(sizes)
    read, computed, filled = set(), False, False
    for value in itertools.chain(*map(_constants, recordings)):
        if isinstance(value, np.ndarray):
            at = id(owning_array(value))
            if at in environment.owners:
                read.add(at)
            else:
                filled = filled or _is_filled(value)
                computed = computed or not _is_uniform(value, environment.numbers, sizes, largest)
        elif isinstance(value, (int, float, complex, np.number)):
            computed = computed or not _is_explained(value, environment.numbers, sizes, largest)
    # A number of NumPy's that the function computed with is no literal, whatever its value: `x * w[0]`.
    for recording in recordings:
        computed = computed or any(id(number) not in environment.scalars for number in recording.given)
    # Arrays with one value throughout come from rules, or from such an array of the environment.
    return [
        array
        for array in environment.arrays
        if computed or id(owning_array(array)) not in read or filled and _is_filled(array)
    ]


def _is_filled(array):
    """Whether an array has one value throughout."""
    return array.size > 0 and bool((array == array.flat[0]).all())


def _is_uniform(array, *explanation):
    """Whether an array has one value throughout, as rules make them, and that is explained."""
    if array.size == 0:
        return True
    return _is_filled(array) and _is_explained(array.flat[0].item(), *explanation)


def _is_explained(value, numbers, sizes, largest):
    """Whether a number is in the code or the environment, or comes from a shape."""
    if isinstance(value, (int, np.integer)):
        return abs(int(value)) <= largest or value in numbers
    if value in numbers or -value in numbers or abs(value) in sizes or value in (0.5, -0.5):
        return True
    return value != 0 and np.isfinite(value) and any(size and value == 1.0 / size for size in sizes)


# ---------------------------------------------------------------- the policy


class _Policy(Policy):
    """What a compiled function does once in a while with calls for which it has no program."""

    def __init__(
        self, compiled, fun, *, static_argnums, static_argnames, max_programs, fastmath, num_threads
    ):
        kind = type(fun)
        in_parts = isinstance(fun, Prepared)
        super().__init__(
            compiled,
            fun,
            of=fun.of if in_parts or kind in (Rows, Accumulated) else fun,
            name=name_of(fun),
            of_call=_Call,
            of_recording=_RecordedParts if in_parts else _RECORDED.get(kind, _Recorded),
            in_parts=in_parts,
            in_rows=kind is Rows,
            has_statics=bool(static_argnums or static_argnames),
            max_programs=max_programs,
            num_threads=num_threads,
            fastmath=fastmath,
        )
        self.static_numbers = set(static_argnums)
        self.static_names = set(static_argnames)
        self._name_statics()
        self.warned = set()

    def _name_statics(self):
        """Positions and names of static arguments are those of one another."""
        if not self.has_statics:
            return
        try:
            parameters = list(inspect.signature(self.fun).parameters.values())
        except (TypeError, ValueError):
            return
        by_place = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        for place in list(self.static_numbers):
            if -len(by_place) <= place < len(by_place):
                self.static_names.add(by_place[place])
                self.static_numbers.discard(place)
        self.static_numbers |= {by_place.index(name) for name in self.static_names if name in by_place}

    def is_static(self, place, count):
        if isinstance(place, str):
            return place in self.static_names
        return place in self.static_numbers or place - count in self.static_numbers

    # ------------------------------------------------------------ calls

    def has_vectors(self, call):
        """Whether it is known what a function in two parts takes in the second."""
        return call.key in self.fun.vectors

    def unprepared(self, call):
        return Unprepared(call.key)

    def call_inside(self, args, kwargs):
        """A call with boxes."""
        if self.is_recording() or self.of is not self.fun:
            return self.fun(*args, **kwargs)
        return call_inside(self.compiled, args, kwargs)

    def has_traced_static(self, args, kwargs):
        """Whether a box is in an argument that is static as a whole."""
        if not self.has_statics:
            return False
        places = [*enumerate(args), *kwargs.items()]
        statics = tuple([value for place, value in places if self.is_static(place, len(args))])
        return _core.any_box(statics, None)

    def too_many_signatures(self):
        self.warn(
            f"it was called with {self.max_programs} kinds of arguments (shapes, dtypes, "
            "integers and other static values), and calls with others are not recorded; pass numbers "
            "that vary as floats or arrays, or raise max_programs"
        )

    def reports(self, flags):
        """Whether floating-point flags of a replay lead to a warning or an error of NumPy's."""
        modes = np.geterr()
        return any(
            flags & bit and modes[name] != "ignore"
            for bit, name in ((1, "divide"), (2, "over"), (4, "under"), (8, "invalid"))
        )

    # ------------------------------------------------------------ recording

    def take_note(self, signature, reason):
        """A call was not recorded: will others be?"""
        if isinstance(reason, Unreplayable):
            self.give_up(signature, str(reason))
        elif isinstance(reason, Inlined):
            self.eagerly(signature, str(reason))
        elif isinstance(reason, Declined):
            self.eagerly(signature, f"computed by seeds ({reason})")

    def failed(self, signature, call, error):
        """The result of a call during whose recording something was raised."""
        # The function's own error is raised again here, without the trace.
        if self.in_parts:
            self.fun.prepare(*call.args, **call.kwargs)
        result = self.fun(*call.args, **call.kwargs)
        self.give_up(signature, f"it cannot be traced ({type(error).__name__}: {error})")
        return result

    def confirmed(self, version, source, leaves):
        """The accumulated recording that this source confirms, and the results by its program; or None."""
        for earlier, _ in version.pending.values():
            if source.same_as(earlier.source):
                if earlier.program is None:
                    earlier.program = self.program_of(earlier.recording)
                outs, flags = _core.run_with_flags(earlier.program, [_contiguous(leaf) for leaf in leaves])
                if isinstance(outs, list) and not self.reports(flags):
                    return outs, earlier
        return None, None

    def result_of(self, recorded, version, call):
        """The result of a call that was recorded by rows or in parts."""
        if self.in_rows:
            return self.fun(*call.args)
        if recorded.recording.escapes:
            if recorded.recording.escapes[0][0] == _TRACED_OUTSIDE:
                raise Inlined("its closure holds a traced value of another derivative")
            return Unprepared()
        recorded.planned(version, self)
        leaves = [_contiguous(leaf) for leaf in call.normal_leaves()]
        result, flags = _core.run_with_flags(recorded.program, leaves)
        return Unprepared() if result is EAGERLY or self.reports(flags) else result

    def escaped(self, recorded):
        what, line = recorded.recording.escapes[0]
        raise Unreplayable(
            f"{what} left the trace at {line}; use the functions of autograd_c.numpy there (take to "
            "index a plain array), or pass what the line needs as a static argument"
        )

    def drawn(self, signature):
        """The function has drawn random numbers."""
        signature.draws += 1
        if signature.draws == 3:
            raise Unreplayable("it draws random numbers; draw them outside and pass them as an argument")

    def hold(self, environment, copies):
        """Whether the arrays of the environment hold what they held."""
        return all(map(same_bytes, environment.arrays, copies))

    def changed(self, signature, version, label=None):
        """The environment is not as it was when a version of it was taken."""
        signature.changes += 1
        if label is None:
            labels, where = version.environment.labels, version.changed()
            label = labels[where] if where < len(labels) else "an array that it reads from outside"
        runs = sum(version.runs for version in signature.versions)
        if signature.changes >= _CHANGES and runs < 2 * signature.changes:
            raise Unreplayable(f"{label} changes from call to call; pass it as an argument")

    def wait(self, signature, version, recorded, copies, outcomes):
        """Keep a recording for another one to confirm it, in place of one that is not the same."""
        pending = version.pending
        first, before = pending.get(outcomes, (None, None))
        if first is not None:
            if all(map(same_bytes, before, copies)):
                raise Unreplayable(recorded.difference(first))
            self.changed(signature, version, "what it computes from an array that it reads from outside")
        pending[outcomes] = recorded, copies
        if len(pending) > 4 * self.max_programs:
            del pending[next(iter(pending))]

    def watched(self, version, recorded):
        """What else a version has to compare: the bytes of arrays."""
        compared = {id(read[1]) for read in version.reads if read[0] == "bytes"}
        return [
            ("bytes", array, None, 0, np.array(array, order="C"))
            for array in _watched(recorded)
            if id(array) not in compared
        ]

    def rows_of(self, recording):
        return _RowsProgram(recording, self)

    def run_careful(self, signature, version, leaves):
        """Run a program that changes arguments in place: on copies, so that a call can be run again."""
        if _core.shares_any(leaves, version.environment.arrays):
            return EAGERLY
        updated = {place for branch in version.branches for place in branch.notes.updates}
        given = [_contiguous(leaf) for leaf in leaves]
        for place in updated:
            given[place] = leaves[place].copy()
        tried, branch = [], version.branches[0]
        while branch is not None:
            outs, flags = _core.run_with_flags(branch.program, given)
            if outs is EAGERLY:
                return EAGERLY
            if isinstance(outs, list):
                break
            tried.append(branch)
            branch = version.other(branch, outs, tried)
        else:
            return MISS
        if self.reports(flags):
            return EAGERLY
        for place in branch.notes.updates:
            leaves[place][...] = given[place]
        return branch.result(outs, leaves)

    def reduce(self, compiled):
        """By reference for a decorated function of a module, as functions are; else by its parts."""
        module = sys.modules.get(self.fun.__module__) if getattr(self.fun, "__module__", None) else None
        if module is not None and module.__name__ != "__main__":
            found = module
            for part in getattr(self.fun, "__qualname__", "<locals>").split("."):
                found = getattr(found, part, None)
            if found is compiled:
                return self.fun.__qualname__
        return _recreated, (self.fun, compiled.options)

    # ------------------------------------------------------------ warnings

    def give_up(self, signature, reason):
        """Call the function as it is from now on, with a warning."""
        self.eagerly(signature, reason)
        self.warn(reason)

    def eagerly(self, signature, reason):
        """Call the function as it is from now on."""
        signature.eager = True
        signature.reason = reason
        signature.versions.clear()

    def too_many_branches(self, signature, recorded):
        guards = [node for node in recorded.guards if getattr(node, "line", None)]
        failed = signature.failed
        if failed is not None:
            branch, number = failed
            guards = branch.notes.guards[number:] or guards
        line = guards[0].line if guards else self.name
        self.warn(
            f"the decisions that it takes by traced values, such as that at {line}, have led to "
            f"{self.max_programs} programs, and no more are recorded; use np.where instead of if, or raise "
            "max_programs"
        )

    def warn(self, reason):
        """Warn once for each reason."""
        if reason in self.warned:
            return
        self.warned.add(reason)
        level, frame = 1, sys._getframe(1)
        while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "autograd_c":
            level, frame = level + 1, frame.f_back
        warnings.warn(f"{self.name} is not replayed: {reason}", ReplayWarning, stacklevel=level + 1)

    # ------------------------------------------------------------ what was recorded

    def programs(self):
        """One dict a signature: its arguments, versions, branches and replayed calls."""
        return [
            {
                "arguments": _describe_key(key),
                "versions": len(signature.versions),
                "branches": sum(len(version.branches) for version in signature.versions),
                "runs": sum(version.runs for version in signature.versions),
                "reason": signature.reason,
            }
            for key, signature in list(self.signatures.items())
        ]

    def explain(self, svg=None):
        return explained([self.compiled], svg)

    def told(self):
        """Lines about all that was recorded, and what to draw: headings and recordings."""
        from . import explain  # few programs need it

        title = getattr(self.fun, "title", self.name)
        lines = [f"{title}: {_plural(len(self.signatures), 'signature')}"]
        drawn = []
        for key, signature in list(self.signatures.items()):
            lines.append(f"\narguments {_describe_key(key)}")
            if signature.eager:
                lines.append(f"  not replayed: {signature.reason}")
            for version in list(signature.versions):
                lines += _explain_version(version)
                for branch in list(version.branches):
                    drawn.append((f"{title}{_describe_key(key)}", branch.notes.recording))
                    told = explain.describe_program(
                        _machine(branch.program), branch.notes.recording, getattr(self.fun, "later", None)
                    )
                    lines += [f"  {told[0]}", *(f"    {line}" for line in told[1:])]
        for more, pictures in map(_told_inside, list(self.compiled.made.values())):
            lines += more
            drawn += pictures
        return lines, drawn

    def cost(self):
        from . import explain

        flops, moved, unknown = 0, 0, collections.Counter()
        for signature in list(self.signatures.values()):
            for version in signature.versions[:1]:
                for branch in version.branches[:1]:
                    rows = _rows(branch.program, signature.key)
                    more = explain.work_of(_machine(branch.program), branch.notes.recording, rows)
                    flops, moved, unknown = flops + more[0], moved + more[1], unknown + more[2]
        return {"flops": flops, "bytes": moved, "unknown": dict(unknown)}


def written_into(compiled, out, result):
    """The result of a call, written into the arrays of `out`, which take its place: `Compiled.into`."""
    name = f"{name_of(compiled)}.into"
    leaves, structure = _core.flatten(result, _is_any)
    found, of_out = _core.flatten(out, _is_any)
    # What is no array is passed over.
    found = [target if isinstance(target, np.ndarray) else 0.0 for target in found]
    try:
        targets = gather(structure, _core.unflatten(of_out, found))
    except ValueError as error:
        raise ValueError(f"{name}: out does not fit the result: {error}") from None
    pending = [
        place
        for place, target in enumerate(targets)
        if isinstance(target, np.ndarray) and leaves[place] is not target
    ]
    for place in pending:
        _require_room(f"{name}: array {place} of out", targets[place], leaves[place])
    # A result may be a view of an argument, and so of what is written first.
    values = [np.array(leaves[place]) if len(pending) > 1 else leaves[place] for place in pending]
    for place, value in zip(pending, values, strict=True):
        leaves[place] = targets[place]
        targets[place][...] = value
    return _core.unflatten(structure, leaves)


def _require_room(label, target, value):
    if is_box(value):
        raise TypeError(f"{label} cannot take a traced value; call the function and use its result")
    value = np.asarray(value)
    if value.shape != target.shape:
        raise ValueError(f"{label} has the shape {target.shape}, the result {value.shape}")
    if value.dtype != target.dtype:
        raise TypeError(f"{label} is of {target.dtype}, the result of {value.dtype}")
    if not target.flags.writeable:
        raise ValueError(f"{label} is read-only")


def explained(functions, svg=None):
    """The text about some compiled functions; their picture is written to the file `svg`."""
    told = [function.policy.told() for function in functions]
    if svg is not None:
        from .explain import draw

        with open(svg, "w", encoding="utf-8") as file:
            file.write(draw([part for _, drawn in told for part in drawn]))
    return "\n\n".join("\n".join(lines) for lines, _ in told)


class Parts:
    """What a callable that is made of several compiled functions, `parts`, has in common with one of them."""

    parts = ()

    def clear(self):
        """Forget all programs; the next calls record again."""
        for part in self.parts:
            part.clear()

    @property
    def programs(self):
        """What was recorded: a list of dicts, one a kind of arguments."""
        return [program for part in self.parts for program in part.programs]

    def explain(self, svg=None):
        """What was recorded, as text, and as a picture in the file `svg`."""
        return explained([part for part in self.parts if part.programs] or self.parts[:1], svg)

    def cost(self):
        """The work of one replay for each kind of arguments, as `Compiled.cost` counts it."""
        costs = [part.cost() for part in self.parts]
        unknown = sum((collections.Counter(cost["unknown"]) for cost in costs), collections.Counter())
        return {name: sum(cost[name] for cost in costs) for name in ("flops", "bytes")} | {
            "unknown": dict(unknown)
        }


def _told_inside(made):
    """What `told` says of a compiled function inside of derivatives; nothing of what else is made of it."""
    if type(made) is not Compiled or not isinstance(made.fun, Inside) or not made.policy.signatures:
        return [], []
    lines, drawn = made.policy.told()
    return ["", *lines], drawn


def _machine(program):
    return getattr(program, "program", program)


def _rows(program, key):
    """How many seeds a program is run for in one call."""
    if not isinstance(program, _RowsProgram):
        return 1
    return [look for look in key[2] if look[0] == "array"][-1][2][0]


def _plural(number, word):
    ending = "" if number == 1 else "es" if word.endswith("h") else "s"
    return f"{number} {word}{ending}"


def _describe_key(key):
    """The looks of the arguments as text, e.g. ``(float64 (3,), 2, n=[float, float])``."""
    nargs, names, looks = key
    looks = iter(looks)
    parts = [_describe_look(looks) for _ in range(nargs)]
    parts += [f"{name}={_describe_look(looks)}" for name in names]
    return f"({', '.join(parts)})"


def _describe_look(looks):
    kind, *rest = next(looks)
    if kind == "array":
        number, shape, contiguous = rest
        return f"{np.dtype(_TYPES[number]).name} {shape}" + ("" if contiguous else " strided")
    if kind == "leaf":
        return rest[0].__name__
    if kind == "static":
        return f"{rest[1]!r:.40}"
    if kind == "other":
        return f"{np.dtype(rest[0]).name} {rest[1]}"
    items = [_describe_look(looks) for _ in range(rest[1] if kind != "dict" else len(rest[1]))]
    if kind == "dict":
        return "{" + ", ".join(f"{k!r}: {v}" for k, v in zip(rest[1], items, strict=True)) + "}"
    return f"{'' if rest[0] in (list, tuple) else rest[0].__name__}[{', '.join(items)}]"


_TYPES = {np.dtype(code).num: code for code in np.typecodes["All"] if code not in "MmSUVO"}


def _explain_version(version):
    waiting = version.pending
    lines = [f"  {_plural(len(version.branches), 'program')}, {_plural(version.runs, 'replayed call')}"]
    if waiting:
        lines.append(
            f"  {_plural(len(waiting), 'branch')} wait{'s' * (len(waiting) == 1)} for a second recording"
        )
    compared = {id(read[1]) for read in version.reads if read[0] == "bytes"}
    environment = version.environment
    for (kind, array, *_), label in zip(environment.reads, environment.labels, strict=True):
        if kind == "array" and id(array) in compared:
            lines.append(f"  bytes compared before each replay: {label}, {array.nbytes:,} bytes")
    lines.append(f"  compared before each replay: {_plural(len(version.reads), 'place')} of the environment")
    return lines


# What is recorded in another way than by calling it.
_RECORDED = {Rows: _RecordedRows, Accumulated: _RecordedMatrix}

hooks["compile_policy"] = _Policy
hooks["written_into"] = written_into
hooks["describe"] = describe
hooks["normal_leaf"] = _normal
