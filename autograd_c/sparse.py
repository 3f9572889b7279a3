"""Sparse Jacobians and Hessians.

A derivative matrix that is mostly zeros need not be computed column by column. It takes three steps:

1. *Pattern.* The function is recorded as a straight-line program of primitives. Through it goes, instead of
   values, the knowledge which inputs each item depends on; what reaches the result is the pattern of the
   Jacobian. The pattern of a Hessian is that of the Jacobian of the gradient, whose program is recorded
   likewise.
2. *Groups.* Columns that share no row are given one tangent together, rows that share no column one cotangent
   (A. Curtis, M. Powell and J. Reid, "On the estimation of sparse Jacobian matrices", 1974). Which go
   together is a colouring of a graph (T. Coleman and J. Moré, "Estimation of sparse Jacobian matrices and
   graph coloring problems", 1983). Symmetry lets the columns of a Hessian share rows where an entry can be
   read from its mirror image: a star colouring (A. Gebremedhin, F. Manne and A. Pothen, "What color is your
   Jacobian? Graph coloring for computing derivatives", 2005).
3. *Values.* One directional derivative, or one pullback, a group; each entry is read off at one place.

Steps 1 and 2 depend on shapes, dtypes and the values of arguments that are no floats; they are done at the
first call and kept. A pattern never depends on the values of floats: it holds for all of them, and where it
is not known exactly it has more entries, not fewer.
"""

import functools
import itertools
from typing import NamedTuple

import numpy as np
import scipy.special
from scipy.sparse import csr_array

from . import numpy as anp
from ._core import Primitive, is_box, record, registry
from .operators import (
    Derived,
    _dtype,
    _run_packed,
    _shape,
    _take_apart,
    _Wrapper,
    cotangent_of,
    grad,
    make_jvp,
    make_vjp,
    tangent_of,
)
from .replay import Accumulated, Parts, Rows
from .rules import (
    calculus,
    creation,
    cumulative,
    indexing,
    joining,
    linalg,
    products,
    shape,
    sorting,
    special,
)
from .rules.ufunc_methods import METHODS
from .tree import flatten, name_of, result_leaf, unflatten

__all__ = ["hessian_sparsity", "jacobian_sparsity", "sparse_hessian", "sparse_jacobian"]

# Structures that one function keeps; the oldest goes first.
KEPT = 64


# ---------------------------------------------------------------- operators


def sparse_jacobian(f, argnum=0, *, sparsity=None):
    """Return a function that computes the Jacobian as a sparse array.

    Parameters
    ----------
    f : callable
        Its result has any shape. Its control flow must not depend on the values of the argument; where
        it depends on those of other floats, the structure is kept for each of their values.
    argnum : int or sequence of int, optional
        Which positional argument to differentiate: a float, an array of floats or complex numbers, or a
        container of those.
    sparsity : array-like or sparse array, optional
        The pattern, if it is known: entries that are zero here are zero in every Jacobian. `f` is then not
        recorded, and its control flow may depend on values.

    Returns
    -------
    callable
        It takes the arguments of `f` and returns a ``scipy.sparse.csr_array`` of shape
        ``(size of the result, size of the argument)``. Arrays are taken in C order, leaves of a container in
        the order of iteration. Entries of the pattern are stored even where their value is zero. Complex
        numbers are treated as by `jacobian`.

    Raises
    ------
    TypeError
        When called: the function looks at the values of its argument, or takes a traced value.

    See Also
    --------
    jacobian, jacobian_sparsity

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c.sparse import sparse_jacobian
    >>> jacobian = sparse_jacobian(lambda x: x[1:] - x[:-1] ** 2)(np.array([1.0, 2.0, 3.0]))
    >>> jacobian.toarray()
    array([[-2.,  1.,  0.],
           [ 0., -4.,  1.]])
    """
    return _Sparse("sparse_jacobian", f, argnum, sparsity)


def sparse_hessian(f, argnum=0, *, sparsity=None):
    """Return a function that computes the Hessian as a sparse array.

    The Hessian is taken to be symmetric, as that of any function is whose rules are true derivatives.

    Parameters
    ----------
    f : callable
        Its result is one real number. For its control flow see `sparse_jacobian`.
    argnum : int or sequence of int, optional
        As for `sparse_jacobian`; real.
    sparsity : array-like or sparse array, optional
        The pattern, if it is known.

    Returns
    -------
    callable
        It takes the arguments of `f` and returns a ``scipy.sparse.csr_array`` of shape
        ``(size of the argument, size of the argument)``, exactly symmetric.

    Raises
    ------
    TypeError
        When called: as for `sparse_jacobian`; the result is not one real number; the argument is complex.

    See Also
    --------
    hessian, hessian_sparsity

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c.sparse import sparse_hessian
    >>> sparse_hessian(lambda x: np.sum(x**3) + x[0] * x[2])(np.array([1.0, 2.0, 3.0])).toarray()
    array([[ 6.,  0.,  1.],
           [ 0., 12.,  0.],
           [ 1.,  0., 18.]])
    """
    return _Sparse("sparse_hessian", f, argnum, sparsity, symmetric=True)


def jacobian_sparsity(f, argnum=0):
    """Return a function that computes the pattern of the Jacobian, for all values of the arguments.

    Returns
    -------
    callable
        It takes the arguments of `f` and returns a ``scipy.sparse.csr_array`` of bools, of the shape that
        `sparse_jacobian` has. An entry that is not stored is zero in every Jacobian.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c.sparse import jacobian_sparsity
    >>> jacobian_sparsity(np.cumsum)(np.zeros(3)).toarray().astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [1, 1, 1]])
    """
    return _Sparse("jacobian_sparsity", f, argnum, pattern_only=True)


def hessian_sparsity(f, argnum=0):
    """Return a function that computes the pattern of the Hessian, for all values of the arguments.

    Examples
    --------
    >>> import autograd_c.numpy as np
    >>> from autograd_c.sparse import hessian_sparsity
    >>> hessian_sparsity(lambda x: np.sum(x[1:] * x[:-1]))(np.zeros(3)).toarray().astype(int)
    array([[0, 1, 0],
           [1, 0, 1],
           [0, 1, 0]])
    """
    return _Sparse("hessian_sparsity", f, argnum, symmetric=True, pattern_only=True)


class _Sparse(Derived):
    """Made by the functions above. `_matrix_of` is the function whose Jacobian is computed."""

    def __init__(self, name, f, argnum, sparsity=None, symmetric=False, pattern_only=False):
        super().__init__(None, name, f, argnum)
        self._matrix_of = grad(f, argnum) if symmetric else f
        self._given = None if sparsity is None else _given_pattern(self._title, sparsity)
        self._symmetric = symmetric
        self._pattern_only = pattern_only
        self._cure = "" if pattern_only else ", or pass the pattern: sparsity="
        self._values_matter = False
        self._structures = {}
        self._rows = None

    def compiled(self, made_of):
        return _SparseCompiled(self, made_of)

    def replay_rows(self, made_of):
        """Evaluate the seeds by one replay: columns and rows of the Jacobian, or columns of the Hessian."""
        fun, argnum = self._matrix_of, self._argnum
        self._rows = {
            forward: made_of(Rows(products(fun, argnum), self.__wrapped__))
            for forward, products in ((True, tangent_of), (False, cotangent_of))
        }

    def __call__(self, *args, **kwargs):
        at = self._positions(args)
        self._check(args, kwargs, at)
        structure = self.structure(args, kwargs, at)
        if self._pattern_only:
            return _as_csr(structure.pattern, np.ones(structure.pattern.indices.size, bool))
        forward, seeds, seed_of, place_of = structure.plan
        f = functools.partial(self._matrix_of, **kwargs) if kwargs else self._matrix_of
        try:
            compressed = self._replayed(args, kwargs, at, structure, seeds, forward)
            if compressed is None:
                compressed = evaluate_seeds(f, args, at, seeds, forward)
        except _SizeError as error:
            raise ValueError(f"{self._title}: {error}") from None
        if forward and compressed.shape[1] != structure.pattern.size:
            raise ValueError(f"{self._title}: {_misfit(structure.pattern.size, compressed.shape[1])}")
        return _as_csr(structure.pattern, compressed[seed_of, place_of])

    def _replayed(self, args, kwargs, at, structure, seeds, forward):
        """The seeds' products by replay; None where the function is not compiled or not of real arrays."""
        if self._rows is None or kwargs or not isinstance(at, int) or not len(seeds):
            return None
        x = args[at]
        if type(x) is not np.ndarray or x.dtype.kind != "f":
            return None
        if structure.result is None:
            structure.result = np.zeros_like(self._matrix_of(*args))
        result = structure.result
        if result.dtype != x.dtype:
            return None
        # A Hessian is symmetric: forward over reverse, which replay does once for all columns.
        forward = forward or self._symmetric
        space = x if forward else result
        key = forward, space.dtype
        if key not in structure.seeds:
            structure.seeds[key] = seeds.astype(space.dtype).reshape((len(seeds), *space.shape))
        return self._rows[forward](*args, structure.seeds[key]).reshape(len(seeds), -1)

    def __getstate__(self):
        # The keys of structures hold objects of this process.
        return self.__dict__ | {"_structures": {}}

    def _check(self, args, kwargs, at):
        leaves, _ = flatten((args, kwargs), is_box)
        if leaves:
            raise TypeError(
                f"{self._title}: an argument is a traced value, and a sparse array has no derivative; "
                "inside of a differentiated function take jacobian or hessian"
            )
        leaves, _ = _take_apart(self._title, _chosen(args, at))
        if self._symmetric and any(_dtype(leaf).kind == "c" for leaf in leaves):
            raise TypeError(f"{self._title}: the argument is complex; take sparse_jacobian of its gradient")

    def structure(self, args, kwargs, at):
        """The structure for these arguments, found at the first call.

        It holds for every value of the floats because the function is recorded without looking at one. Where
        recordings have guards, the key is to be the branch as well.
        """
        key = self._key(args, kwargs, at)
        found = self._structures.get(key)
        if found is None:
            found = _Structure(self._find_pattern(args, kwargs, at), self._symmetric)
            self._structures[self._key(args, kwargs, at)] = found
            for oldest in list(self._structures)[:-KEPT]:
                self._structures.pop(oldest, None)
        return found

    def _key(self, args, kwargs, at):
        chosen = (at,) if isinstance(at, int) else at
        by_value = self._values_matter
        keys = [_key_of(value, by_value and k not in chosen) for k, value in enumerate(args)]
        return (by_value, *keys, _key_of(kwargs, by_value))

    def _find_pattern(self, args, kwargs, at):
        if self._given is not None:
            size = _Space(_chosen(args, at)).size
            if self._given.inputs != size:
                raise ValueError(
                    f"{self._title}: sparsity has {self._given.inputs} columns, the argument the size {size}"
                )
            return self._given
        if not self._values_matter:
            try:
                return self._recorded_pattern(args, kwargs, at, True)
            except Exception:
                # Perhaps the function does with another argument what it may not do with a traced value.
                pattern = self._recorded_pattern(args, kwargs, at, False)
                self._values_matter = True
                return pattern
        return self._recorded_pattern(args, kwargs, at, False)

    def _recorded_pattern(self, args, kwargs, at, trace_others):
        """The pattern by a recording in which the floats among the other arguments are traced too, or not."""
        chosen, structure = _take_apart(self._title, _chosen(args, at))
        others, rest = flatten((args, kwargs), _is_float if trace_others else is_box)

        def flat_result(*boxes):
            given, options = unflatten(rest, boxes[len(chosen) :])
            point = unflatten(structure, boxes[: len(chosen)])
            return _flat(self._matrix_of(*_with_chosen(given, at, point), **options), anp)

        try:
            code, result = _record(flat_result, chosen + others)
        except _LooksAtValuesError:
            raise TypeError(
                f"{self._title}: {name_of(self.__wrapped__)} looks at values of its argument (if, while, "
                "float, an index or a mask computed from it), so that no pattern holds for all values; write "
                f"it with np.where{self._cure}"
            ) from None
        sizes = [int(np.prod(_shape(leaf))) for leaf in chosen]
        n = sum(sizes)
        ends = itertools.accumulate(sizes)
        inputs = [
            _Pattern(np.arange(k + 1), np.arange(end - k, end), n) for k, end in zip(sizes, ends, strict=True)
        ]
        pattern = _propagate(code, result, chosen + others, inputs + [None] * len(others), n)
        return _both(pattern, pattern.transposed()) if self._symmetric else pattern


def _is_float(value):
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fc"
    return isinstance(value, (float, complex, np.inexact))


def _chosen(args, at):
    return args[at] if isinstance(at, int) else tuple(args[k] for k in at)


def _with_chosen(args, at, point):
    """The arguments with a new point of differentiation."""
    args = list(args)
    for k, value in [(at, point)] if isinstance(at, int) else zip(at, point, strict=True):
        args[k] = value
    return args


def _flat(value, namespace=np):
    """A result as one array of one axis."""
    leaves = [namespace.ravel(leaf) for leaf in flatten(value, result_leaf)[0]]
    if not leaves:
        return np.zeros(0)
    return leaves[0] if len(leaves) == 1 else namespace.concatenate(leaves)


def _as_csr(pattern, data):
    """A result; its index arrays are its own, since SciPy changes such arrays in place."""
    shape = pattern.size, pattern.inputs
    index = np.int32 if max(*shape, pattern.indices.size) < 2**31 else np.int64
    return csr_array((data, pattern.indices.astype(index), pattern.indptr.astype(index)), shape=shape)


def _given_pattern(title, sparsity):
    found = csr_array(sparsity, copy=True)
    if found.ndim != 2:
        raise ValueError(f"{title}: sparsity must have two axes, got {found.ndim}")
    found.sum_duplicates()
    found.eliminate_zeros()
    return _Pattern(found.indptr.astype(np.int64), found.indices.astype(np.int64), found.shape[1])


class _SizeError(Exception):
    """The result does not have the size that the pattern has."""


def _misfit(expected, got):
    return (
        f"the pattern has {expected} rows, but the result has the size {got}, which may depend on nothing "
        "but the shapes of the arguments"
    )


# ---------------------------------------------------------------- what a structure is kept for


class _Same:
    """A key for an object that has no value to compare: the object itself, kept alive."""

    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self):
        return id(self.value)


def _key_of(value, by_value):
    """What a structure depends on in an argument: shape and dtype of floats, the values of all else."""
    kind = type(value)
    if isinstance(value, (list, tuple)):
        return (kind, *(_key_of(item, by_value) for item in value))
    if isinstance(value, dict):
        return (kind, *((key, _key_of(item, by_value)) for key, item in value.items()))
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind != "O":
        look = by_value or value.dtype.kind not in "fc"
        return kind, value.shape, value.dtype, value.tobytes() if look else None
    if isinstance(value, (float, complex)):
        return kind, np.asarray(value).tobytes() if by_value else None
    try:
        hash(value)
    except TypeError:
        return _Same(value)
    return kind, value


# ---------------------------------------------------------------- patterns


class _Pattern:
    """Which inputs each item of a value depends on: sorted numbers of inputs, compressed by rows.

    Item ``i`` depends on ``indices[indptr[i] : indptr[i + 1]]``.
    """

    __slots__ = ("indptr", "indices", "inputs")

    def __init__(self, indptr, indices, inputs):
        self.indptr = indptr
        self.indices = indices
        self.inputs = inputs

    @property
    def size(self):
        return self.indptr.size - 1

    def rows(self):
        """The row of each entry."""
        return np.repeat(np.arange(self.size), np.diff(self.indptr))

    def take(self, items):
        """A pattern of chosen rows; a negative number stands for a row without entries."""
        counts = np.append(np.diff(self.indptr), 0)[items]
        starts = np.append(self.indptr[:-1], 0)[items]
        indptr = np.concatenate([[0], np.cumsum(counts)])
        places = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], counts)
        return _Pattern(indptr, self.indices[places], self.inputs)

    def spread(self, targets, size):
        """A pattern of `size` rows, in which row ``targets[i]`` has the entries of row ``i``."""
        return _from_pairs(np.repeat(targets, np.diff(self.indptr)), self.indices, size, self.inputs)

    def whole(self):
        """One row with the entries of all."""
        return self.spread(np.zeros(self.size, int), 1)

    def transposed(self):
        return _from_pairs(self.indices, self.rows(), self.inputs, self.size)


def _from_pairs(rows, columns, size, inputs):
    return _from_codes(_distinct(rows * inputs + columns), size, inputs)


def _distinct(codes):
    """Numbers in rising order, each once. `np.unique` goes by a hash table, which is slower here."""
    codes.sort()
    first = np.ones(codes.size, bool)
    np.not_equal(codes[1:], codes[:-1], out=first[1:])
    return codes[first]


def _from_codes(codes, size, inputs):
    """A pattern from rising numbers ``row * inputs + column``."""
    rows, indices = np.divmod(codes, max(inputs, 1))
    counts = np.bincount(rows, minlength=size)
    return _Pattern(np.concatenate([[0], np.cumsum(counts)]), indices, inputs)


def _codes(pattern):
    return pattern.rows() * pattern.inputs + pattern.indices


def _both(a, b):
    """The entries that two patterns of one shape have in common."""
    return _from_codes(np.intersect1d(_codes(a), _codes(b), assume_unique=True), a.size, a.inputs)


def _union(patterns):
    """The entries of patterns of the same shape, any of which may be None; None if all are."""
    patterns = [p for p in patterns if p is not None]
    if not patterns or all(p is patterns[0] for p in patterns):
        return patterns[0] if patterns else None
    first = patterns[0]
    return _from_codes(_distinct(np.concatenate([_codes(p) for p in patterns])), first.size, first.inputs)


def _stacked(patterns, sizes, inputs):
    """Patterns below each other; None for one without entries."""
    empty = np.zeros(0, int)
    counts = [
        np.zeros(k, int) if p is None else np.diff(p.indptr) for p, k in zip(patterns, sizes, strict=True)
    ]
    indices = [empty if p is None else p.indices for p in patterns]
    indptr = np.concatenate([[0], np.cumsum(np.concatenate([empty, *counts]))])
    return _Pattern(indptr, np.concatenate([empty, *indices]), inputs)


# ---------------------------------------------------------------- recording and propagation


class _LooksAtValuesError(Exception):
    """The control flow of a recorded function depends on a traced value."""


def _record(fun, values):
    """Record a function as ``(code, result)``; the one place that knows how recordings are made.

    The code is a list of ``(primitive, operands, keywords)``; an operand is ``("slot", number)`` or
    ``("const", value)``. Slots count the values first.
    """
    try:
        with np.errstate(all="ignore"):
            code, result = record(fun, values)
    except TypeError as error:
        if "recorded once" in str(error):
            raise _LooksAtValuesError from error
        raise
    return [step[:3] for step in code], result


class _Step:
    """One call of a primitive: values, and for each positional argument its pattern or None."""

    __slots__ = ("primitive", "args", "kwargs", "patterns", "traced", "shape", "inputs")

    @property
    def size(self):
        return int(np.prod(self.shape))

    def numbers(self, k):
        """The items of an argument, numbered."""
        shape = np.shape(self.args[k])
        return np.arange(int(np.prod(shape))).reshape(shape)

    def option(self, name, position, default=None):
        """An argument that is given by position or by keyword."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)


def _propagate(code, result, values, patterns, n):
    """The pattern of the result of a recorded function, from those of its arguments.

    The program runs along with NumPy itself, since shapes come from there; what is no more needed is dropped.
    """
    if result[0] == "const":
        return _stacked([None], [np.size(result[1])], n)
    first, last = len(values), _last_uses(code, result, len(values))
    values, patterns = dict(enumerate(values)), dict(enumerate(patterns))
    for number, (primitive, operands, kwargs) in enumerate(code, first):
        if number not in last:
            continue
        step = _Step()
        step.primitive, step.kwargs, step.inputs = primitive, kwargs or {}, n
        step.traced = [tag == "slot" for tag, _ in operands]
        step.args = [values[v] if tag == "slot" else v for tag, v in operands]
        step.patterns = [patterns[v] if tag == "slot" else None for tag, v in operands]
        with np.errstate(all="ignore"):
            values[number] = primitive(*step.args, **step.kwargs)
        step.shape = np.shape(values[number]) if not isinstance(values[number], (tuple, list)) else ()
        patterns[number] = _result_pattern(step)
        for tag, v in operands:
            if tag == "slot" and last[v] == number:
                values.pop(v, None)
                patterns.pop(v, None)
    found = patterns[result[1]]
    return found if found is not None else _stacked([None], [np.size(values[result[1]])], n)


def _last_uses(code, result, first):
    """For each slot that the result needs, the last step that reads it."""
    last = {result[1]: len(code) + first}
    for number in range(len(code) + first - 1, first - 1, -1):
        if number in last:
            for tag, v in code[number - first][1]:
                if tag == "slot":
                    last.setdefault(v, number)
    return last


def _result_pattern(step):
    """What the result of one call depends on, or None."""
    kind = step.primitive.kind
    if kind == "constant" or all(p is None for p in step.patterns):
        return None
    rule, data = RULES.get(step.primitive, (_elementwise if kind == "elementwise" else _everything, _ALL))
    places = range(len(step.args))[data]
    if any(traced and k not in places for k, traced in enumerate(step.traced)):
        # What is selected depends on values: any item may be.
        rule = _everything
    found = rule(step)
    if found is None or found.size == step.size:
        return found
    return _everything(step)


# ---------------------------------------------------------------- rules: how a primitive hands patterns on
#
# A rule takes a step and returns the pattern of its result. Where a primitive has none, each item of the
# result is taken to depend on everything; so it is where an argument is traced that is not data by the row.

_ALL = slice(None)
_FIRST = slice(0, 1)
_PAIR = slice(0, 2)
_REST = slice(1, None)

# primitive -> (rule, which positional arguments may be traced)
RULES = {}


def _row(rule, data, *primitives):
    for primitive in primitives:
        RULES[primitive] = rule, data


def _registered(*names, module=np):
    return [registry[getattr(module, name)] for name in names]


def _everything(step):
    return _union([p and p.whole() for p in step.patterns]).take(np.zeros(step.size, int))


def _broadcast(step, k):
    """The pattern of one argument in the shape of the result."""
    pattern, shape = step.patterns[k], np.shape(step.args[k])
    if pattern is None or shape == step.shape or pattern.size == step.size == 1:
        return pattern
    return pattern.take(np.broadcast_to(step.numbers(k), step.shape).ravel())


def _elementwise(step):
    return _union([_broadcast(step, k) for k in range(len(step.args))])


def _where(step):
    return _union([_broadcast(step, 1), _broadcast(step, 2)])


def _second(step):
    return _broadcast(step, 1)


_row(_where, _ALL, registry[np.where])
_row(_elementwise, _FIRST, *_registered("copy", "ldexp", "conjugate", "nan_to_num", "unwrap"))
_row(_elementwise, _FIRST, creation._cast, creation._real, creation._imag)
_row(_second, _ALL, creation._constant_like)
_row(_second, slice(1, 2), special.polygamma, *_registered("yn", "kn", module=scipy.special))


# --- items in another place


def _selected(step):
    """The same selection from the numbers of the items; 0 stands for what the primitive adds."""
    rest = step.args[1:]
    numbers = step.primitive.fun(step.numbers(0) + 1, *rest, **step.kwargs)
    return step.patterns[0].take(np.ravel(numbers) - 1)


_SELECTIONS = (
    "reshape expand_dims squeeze transpose matrix_transpose swapaxes moveaxis rollaxis broadcast_to flip "
    "fliplr flipud rot90 roll tile repeat diag diagonal tril triu"
)
_row(_selected, _FIRST, *_registered(*_SELECTIONS.split()))
_row(_selected, _FIRST, indexing.getitem, sorting.gathered, sorting.placed)


def _padded(step):
    mode = step.option("mode", 2, "constant")
    if not isinstance(mode, str) or step.kwargs.get("reflect_type", "even") != "even":
        return _everything(step)
    if mode in ("constant", "empty"):
        numbers = np.pad(step.numbers(0), step.option("pad_width", 1), constant_values=-1)
    elif mode in ("edge", "reflect", "symmetric", "wrap"):
        numbers = np.pad(step.numbers(0), step.option("pad_width", 1), mode)
    else:
        return _everything(step)
    return step.patterns[0].take(numbers.ravel())


_row(_padded, _FIRST, shape._pad)


def _joined(step):
    """Concatenation and the like: ``fun(setting, *parts)`` of numbers that go on from part to part."""
    sizes = [np.size(part) for part in step.args[1:]]
    starts = np.cumsum([0, *sizes])
    parts = [step.numbers(k) + start for k, start in zip(range(1, len(step.args)), starts, strict=False)]
    setting = int if step.primitive is creation.from_items else step.args[0]
    numbers = step.primitive.fun(setting, *parts)
    return _stacked(step.patterns[1:], sizes, step.inputs).take(numbers.ravel())


_row(_joined, _REST, joining._concatenate, joining._stack, creation.from_items)


def _placed_at(step, k, index, shape):
    """The pattern of an array of zeros to which argument `k` is added at an index."""
    if step.patterns[k] is None:
        return None
    size = int(np.prod(shape))
    targets = np.arange(size).reshape(shape)[index]
    sources = np.broadcast_to(step.numbers(k), targets.shape)
    return step.patterns[k].take(sources.ravel()).spread(targets.ravel(), size)


def _scattered(step):
    return _placed_at(step, 0, step.args[1], step.shape)


def _index_added(step):
    return _union([step.patterns[0], _placed_at(step, 1, step.args[2], step.shape)])


def _item_set(step):
    index = step.args[2]
    kept, written = step.numbers(0) + 1, np.zeros(step.shape, int)
    kept[index] = 0
    written[index] = step.numbers(1) + 1
    parts = zip(step.patterns, (kept, written), strict=False)
    return _union([p and p.take(numbers.ravel() - 1) for p, numbers in parts])


_row(_scattered, _FIRST, indexing.scatter)
_row(_index_added, _PAIR, indexing.index_add)
_row(_item_set, _PAIR, indexing.setitem)


# --- sums and products
#
# The axes of the arguments and of the result have labels: an axis that the result lacks is summed over, one
# that the argument lacks is broadcast.


def _labelled(step, labels, out):
    """An einsum; None stands for an argument without axes to speak of."""
    sizes = {}
    for own, arg in zip(labels, step.args, strict=True):
        for label, size in zip(own or (), np.shape(arg) if own else (), strict=True):
            if sizes.get(label, 1) == 1:
                sizes[label] = size
    shape = tuple(sizes[label] for label in out)
    operands = zip(step.patterns, labels, strict=True)
    parts = [_along(p, step.numbers(k), own, out, shape) for k, (p, own) in enumerate(operands) if p]
    return _union(parts)


def _along(pattern, numbers, own, out, shape):
    """The part of one argument in an einsum."""
    unique = list(dict.fromkeys(own))
    if len(unique) < len(own):
        numbers = np.einsum(numbers, [unique.index(label) for label in own], range(len(unique)))
    kept = [label for label in out if label in unique]
    summed = [label for label in unique if label not in out]
    numbers = numbers.transpose([unique.index(label) for label in kept + summed])
    lengths = numbers.shape[: len(kept)]
    size = int(np.prod(lengths))
    rows = numbers.reshape(size, int(np.prod(numbers.shape[len(kept) :])))
    pattern = pattern.take(rows.ravel()).spread(np.repeat(np.arange(size), rows.shape[1]), size)
    places = iter(lengths)
    spaced = np.arange(size).reshape([next(places) if label in kept else 1 for label in out])
    return pattern.take(np.broadcast_to(spaced, shape).ravel())


def _letters(start, count):
    """Labels of axes that end at the same place, as those of stacks of matrices do."""
    return [(start, k) for k in range(-count, 0)]


def _matmul(step):
    return _stacks(step, ("i", "k"), ("k", "j"))


def _stacks(step, left, right):
    """Products of stacks of matrices or vectors, whose own axes have the given labels."""
    if step.kwargs:
        return _everything(step)
    a, b = (np.ndim(arg) for arg in step.args[:2])
    left, right = left[-a:], right if b >= len(right) else right[:1]
    stack_a, stack_b = _letters("stack", a - len(left)), _letters("stack", b - len(right))
    own = [label for label in left + right if (label in left) != (label in right)]
    out = [*max(stack_a, stack_b, key=len), *own]
    return _labelled(step, [[*stack_a, *left], [*stack_b, *right]], out)


def _inner_axes(step, xs, ys):
    """Products summed over the axes `xs` of the one and `ys` of the other; the rest stays, in order."""
    labels = [[(k, axis) for axis in range(np.ndim(step.args[k]))] for k in (0, 1)]
    for x, y in zip(xs, ys, strict=True):
        labels[1][y] = labels[0][x]
    out = [
        label for k in (0, 1) for label in labels[k] if labels[0].count(label) + labels[1].count(label) == 1
    ]
    return _labelled(step, labels + [None] * (len(step.args) - 2), out)


def _dot(step):
    a, b = np.ndim(step.args[0]), np.ndim(step.args[1])
    if not a or not b:
        return _elementwise(step)
    return _inner_axes(step, [a - 1], [max(b - 2, 0)])


def _inner(step):
    a, b = np.ndim(step.args[0]), np.ndim(step.args[1])
    if not a or not b:
        return _elementwise(step)
    return _inner_axes(step, [a - 1], [b - 1])


def _outer(step):
    n, m = (np.size(arg) for arg in step.args[:2])
    parts = np.repeat(np.arange(n), m), np.tile(np.arange(m), n)
    return _union([p and p.take(items) for p, items in zip(step.patterns, parts, strict=False)])


def _tensordot(step):
    axes = step.option("axes", 2, 2)
    xs, _, ys, _ = products._contracted(axes, np.ndim(step.args[0]), np.ndim(step.args[1]))
    return _inner_axes(step, xs, ys)


def _einsum(step):
    inputs, out = products._labels(step.args[0], tuple(np.ndim(arg) for arg in step.args[1:]))
    return _labelled(step, [None, *map(list, inputs)], list(out))


_row(_matmul, _PAIR, products.matmul)
_row(_dot, _PAIR, products.dot)
_row(_inner, _PAIR, registry[np.inner])
_row(_outer, _PAIR, registry[np.outer])
_row(_tensordot, _PAIR, registry[np.tensordot])
_row(_einsum, _REST, products._einsum1, products._einsum2, products._einsum)
_row(lambda step: _stacks(step, ("k",), ("k",)), _PAIR, registry[np.vecdot])
if hasattr(np, "matvec"):
    _row(lambda step: _stacks(step, ("i", "k"), ("k",)), _PAIR, registry[np.matvec])
    _row(lambda step: _stacks(step, ("k",), ("k", "j")), _PAIR, registry[np.vecmat])


def _convolved(step, default="full"):
    """Item ``k`` of the full convolution depends on items ``i`` and ``j`` with ``i + j = k``."""
    n, m = (np.size(arg) for arg in step.args[:2])
    mode = step.option("mode", 2, default)
    start = {"full": 0, "same": (min(n, m) - 1) // 2, "valid": min(n, m) - 1}.get(mode)
    if start is None:
        return _everything(step)
    i, j = (grid.ravel() for grid in np.meshgrid(np.arange(n), np.arange(m)))
    inside = (i + j >= start) & (i + j < start + step.size)
    i, j = i[inside], j[inside]
    parts = zip(step.patterns, (i, j), strict=False)
    return _union([p and p.take(items).spread(i + j - start, step.size) for p, items in parts])


def _correlated(step):
    """A convolution with the second factor reversed, unless that is the longer one."""
    if np.size(step.args[0]) < np.size(step.args[1]):
        return _everything(step)
    step.patterns = [step.patterns[0], step.patterns[1] and step.patterns[1].take(step.numbers(1)[::-1])]
    return _convolved(step, "valid")


_row(_convolved, _PAIR, registry[np.convolve])
_row(_correlated, _PAIR, registry[np.correlate])


# --- along axes


def _reduced(step, axis):
    """Each item depends on those along the axes; keepdims= makes no difference to the order of the items."""
    ndim = np.ndim(step.args[0])
    axes = range(ndim) if axis is None else np.atleast_1d(axis) % max(ndim, 1)
    out = [k for k in range(ndim) if k not in axes]
    return _labelled(step, [range(ndim)] + [None] * (len(step.args) - 1), out)


def _reduction(position, default):
    return lambda step: _reduced(step, step.option("axis", position, default))


def _traced_diagonal(step):
    """``np.trace``: the sums of diagonals."""
    options = [step.option(name, k, max(k - 2, 0)) for k, name in enumerate(("offset", "axis1", "axis2"), 1)]
    numbers = np.diagonal(step.numbers(0), *options)
    size = int(np.prod(numbers.shape[:-1]))
    targets = np.repeat(np.arange(size), numbers.shape[-1])
    return step.patterns[0].take(numbers.ravel()).spread(targets, size)


_row(_traced_diagonal, _FIRST, registry[np.trace])


def _methods(name):
    """The ufuncs' methods of that name that are primitives."""
    return [p for (_, method), p in METHODS.items() if method == name and isinstance(p, Primitive)]


_REDUCTIONS = (
    "sum mean prod var std max amax min amin nansum nanmean nanprod nanvar nanstd nanmax nanmin median "
    "nanmedian"
)
_row(_reduction(1, None), _FIRST, *_registered(*_REDUCTIONS.split()))
_row(_reduction(1, None), _FIRST, linalg._norm2, special._lse)
_row(_reduction(2, None), _FIRST, linalg._normp)
_row(_reduction(1, 0), _FIRST, *_methods("reduce"))


def _lanes(step, axis, before=False):
    """Each item depends on its whole lane along the axis, or on those before it and itself.

    With ``axis=None`` everything is one lane. The result may be longer or shorter along the axis.
    """
    numbers, shape = step.numbers(0), step.shape
    if isinstance(axis, tuple):
        return _everything(step)
    if axis is None or not numbers.ndim:
        numbers, shape, axis = numbers.ravel(), (step.size,), 0
    lanes = np.moveaxis(numbers, axis, -1)
    targets = np.moveaxis(np.arange(step.size).reshape(shape), axis, -1)
    if lanes.shape[:-1] != targets.shape[:-1]:
        return _everything(step)
    if before and lanes.shape == targets.shape:
        i, j = np.tril_indices(lanes.shape[-1])
        sources, targets = lanes[..., j].ravel(), targets[..., i].ravel()
        return _union([p and p.take(sources).spread(targets, step.size) for p in step.patterns])
    count = int(np.prod(lanes.shape[:-1]))
    owner = np.empty(numbers.size, int)
    owner[lanes.ravel()] = np.repeat(np.arange(count), lanes.shape[-1])
    taken = np.empty(step.size, int)
    taken[targets.ravel()] = np.repeat(np.arange(count), targets.shape[-1])
    same_shape = [
        p if np.size(a) == numbers.size else None for p, a in zip(step.patterns, step.args, strict=True)
    ]
    return _union([p and p.spread(owner, count).take(taken) for p in same_shape])


def _lane_rule(position, default, before=False):
    return lambda step: _lanes(step, step.option("axis", position, default), before)


_row(_lane_rule(1, None, True), _FIRST, *_registered("cumsum", "cumprod", "nancumsum", "nancumprod"))
_row(_lane_rule(1, None, True), _FIRST, *_registered("cumulative_sum", "cumulative_prod"))
_row(_lane_rule(1, 0, True), _FIRST, cumulative.products_before, *_methods("accumulate"))
_row(_lane_rule(1, -1), _FIRST, registry[np.sort])
_row(_lane_rule(2, -1), _FIRST, registry[np.partition])
_row(_lane_rule(2, 0), _PAIR, cumulative.recurrence)
_row(_lane_rule(1, None), _FIRST, *_registered("softmax", "log_softmax", module=scipy.special))


def _differenced(step):
    """``np.diff``: each item depends on ``n + 1`` neighbours."""
    n, axis = step.option("n", 1, 1), step.option("axis", 2, -1)
    numbers = np.moveaxis(step.numbers(0), axis, -1)
    length = max(numbers.shape[-1] - n, 0)
    shifted = [np.moveaxis(numbers[..., k : k + length], -1, axis).ravel() for k in range(n + 1)]
    return _union([step.patterns[0].take(items) for items in shifted])


_row(_differenced, _FIRST, cumulative.difference)


def _interpolated(step):
    """Each item depends on its own abscissa and on all nodes."""
    x, nodes = step.patterns[0], _union([p and p.whole() for p in step.patterns[1:3]])
    return _union([x, nodes and nodes.take(np.zeros(step.size, int))])


_row(_interpolated, slice(0, 3), calculus._interp)


# --- stacks of matrices


def _per_matrix(step, *axes):
    """Functions of stacks: `axes` are the numbers of axes of one matrix, in the arguments and the result."""
    *given, own = axes
    stack = step.shape[: len(step.shape) - own]
    size = int(np.prod(step.shape[len(stack) :]))
    parts = []
    for k, core in enumerate(given):
        pattern, numbers = step.patterns[k], step.numbers(k)
        if pattern is None:
            continue
        lead = numbers.shape[: numbers.ndim - core]
        count = int(np.prod(lead))
        per = numbers.size // max(count, 1)
        matrices = np.broadcast_to(np.arange(count).reshape(lead), stack)
        parts.append(
            pattern.spread(np.repeat(np.arange(count), per), count).take(np.repeat(matrices.ravel(), size))
        )
    return _union(parts)


def _solved(step):
    columns = 1 if np.ndim(step.args[1]) == 1 else 2
    return _per_matrix(step, 2, columns, columns)


_row(_solved, _PAIR, linalg.solve, linalg.solve_transposed, linalg.triangular)
_row(lambda step: _per_matrix(step, 2, 2), _FIRST, linalg.inv, linalg._inverse, linalg.cholesky)
_row(lambda step: _per_matrix(step, 2, 0), _FIRST, linalg.det)
_row(lambda step: _per_matrix(step, 2, 1), _FIRST, registry[np.linalg.eigvalsh])


def _crossed(step):
    if any(axis != -1 for axis in (*step.args[2:], *step.kwargs.values())):
        return _everything(step)
    return _per_matrix(step, 1, 1, 1)


_row(_crossed, _PAIR, products.cross3)


# --- functions under checkpoint


def _unpacked(step):
    """The program of the function inside."""
    packed, traced = step.args[0], [k for k in range(1, len(step.args)) if step.traced[k]]

    def inner(*boxes):
        leaves = list(step.args[1:])
        for k, box in zip(traced, boxes, strict=True):
            leaves[k - 1] = box
        return packed(leaves)

    values = [step.args[k] for k in traced]
    code, result = _record(inner, values)
    return _propagate(code, result, values, [step.patterns[k] for k in traced], step.inputs)


_row(_unpacked, _REST, _run_packed)


# ---------------------------------------------------------------- groups


class _Plan(NamedTuple):
    """How the entries of a pattern are read from compressed derivatives.

    Attributes
    ----------
    forward : bool
        Whether the seeds are tangents (of groups of columns) or cotangents (of groups of rows).
    seeds : array of bool, (groups, size of the argument or of the result)
    seed_of, place_of : array of int
        Entry ``k`` of the pattern is item ``place_of[k]`` of the derivative for seed ``seed_of[k]``.
    """

    forward: bool
    seeds: np.ndarray
    seed_of: np.ndarray
    place_of: np.ndarray


class _SparseCompiled(Parts, _Wrapper):
    """The same of a compiled function: accumulated, or one replay for all groups."""

    def __init__(self, sparse, made_of):
        super().__init__(sparse.__name__, sparse, sparse.__name__, sparse.__doc__)
        self._made_of = made_of
        form = "SymmetricCsr" if sparse._symmetric else "Csr"
        self._accumulated = made_of(
            Accumulated(sparse._matrix_of, sparse._argnum, sparse.__wrapped__, self._by_groups, form)
        )
        # A pattern that is given, or asked for, is one for all values.
        self._by_structure = sparse._given is not None or sparse._pattern_only

    @property
    def parts(self):
        """The compiled functions that do the work."""
        return self._accumulated, *(self.__wrapped__._rows or {}).values()

    def __call__(self, *args, **kwargs):
        return (self._by_groups if self._by_structure else self._accumulated)(*args, **kwargs)

    def _by_groups(self, *args, **kwargs):
        """By seeds for groups of columns or rows."""
        if self.__wrapped__._rows is None:
            self.__wrapped__.replay_rows(self._made_of)
        return self.__wrapped__(*args, **kwargs)


class _Structure:
    """What is kept for a function and arguments of certain shapes."""

    def __init__(self, pattern, symmetric):
        self.pattern = pattern
        self.symmetric = symmetric
        self.result = None  # a sample of the result, for replay
        self.seeds = {}

    @functools.cached_property
    def plan(self):
        pattern = self.pattern
        rows, columns = pattern.rows(), pattern.indices
        if self.symmetric:
            # Rows are columns. A pullback of the gradient does not run the function again.
            forward, colours = False, _symmetric_groups(pattern)
            seed_of, place_of = _mirrored(rows, columns, colours)
        else:
            forward, colours = _groups(pattern)
            group_of, place_of = (columns, rows) if forward else (rows, columns)
            seed_of = colours[group_of]
        seeds = np.arange(colours.max(initial=-1) + 1)[:, None] == colours
        return _Plan(forward, seeds, seed_of, place_of)


def _groups(pattern):
    """Groups of columns or of rows, whichever are fewer: ``(forward, groups)``; -1 where no entries are."""
    other = pattern.transposed()
    # Where it makes no difference, rows: a pullback does not run the function again.
    ways = [(False, pattern, other), (True, other, pattern)]
    # No column group may have two entries in a row, so that the longest row is a lower bound.
    ways.sort(key=lambda way: _longest(way[2]))
    best = None
    for forward, lists, across in ways:
        if best is None or _longest(across) < best[1].max(initial=-1) + 1:
            colours = _disjoint_groups(lists, _longest(across))
            if best is None or colours.max(initial=-1) < best[1].max(initial=-1):
                best = forward, colours
    return best


def _longest(pattern):
    return int(np.diff(pattern.indptr).max(initial=0))


def _lists(pattern):
    indices, indptr = pattern.indices.tolist(), pattern.indptr.tolist()
    return [indices[start:stop] for start, stop in itertools.pairwise(indptr)]


def _orders(lists):
    """The given order, and that by falling length (Welsh and Powell, 1967)."""
    yield range(len(lists))
    yield sorted(range(len(lists)), key=lambda k: -len(lists[k]))


def _fewest(colourings, bound=0):
    """The first colouring that reaches the bound, or that with the fewest colours."""
    best = None
    for colours in colourings:
        if best is None or colours.max(initial=-1) < best.max(initial=-1):
            best = colours
        if best.max(initial=-1) + 1 <= bound:
            break
    return best


def _disjoint_groups(pattern, bound):
    """Greedy groups of rows that share no column; `bound` is the least number that is possible."""
    lists = _lists(pattern)
    return _fewest((_greedy(lists, pattern.inputs, order) for order in _orders(lists)), bound)


def _greedy(lists, places, order):
    """The lowest colour that none of the places has seen; what a place has seen are an integer's bits."""
    seen, colours = [0] * places, [-1] * len(lists)
    for k in order:
        if lists[k]:
            taken = 0
            for place in lists[k]:
                taken |= seen[place]
            lowest = ~taken & (taken + 1)
            for place in lists[k]:
                seen[place] |= lowest
            colours[k] = lowest.bit_length() - 1
    return np.array(colours, int)


def _symmetric_groups(pattern):
    """A star colouring: no two neighbours, and no path over four vertices, have fewer colours than 2 and 3.

    A colouring into disjoint groups is one too, and is taken where it has fewer colours.
    """
    lists = _lists(pattern)
    stars = _fewest(_star(lists, order) for order in _orders(lists))
    if stars.max(initial=-1) + 1 <= _longest(pattern):
        return stars
    return _fewest([stars, _disjoint_groups(pattern, _longest(pattern))])


_SEVERAL = -1


def _star(lists, order):
    """Greedy star colouring.

    For each vertex, `around` has the colours of its neighbours, and with each the one neighbour that has it,
    or _SEVERAL: so a step costs neighbours times colours, whatever the degrees of the neighbours.
    """
    colours = [-1] * len(lists)
    around = [{} for _ in lists]
    for v in order:
        if not lists[v]:
            continue
        mine = around[v]
        taken = set(mine)
        for w in lists[v]:
            colour = colours[w]
            if w != v and colour >= 0:
                # The paths w' - v - w - x and v - w - x - y, where w' and y have the colour of w.
                between = mine[colour] == _SEVERAL
                for other, x in around[w].items():
                    if between or (x != _SEVERAL and around[x][colour] == _SEVERAL):
                        taken.add(other)
        own = next(c for c in itertools.count() if c not in taken)
        colours[v] = own
        for w in lists[v]:
            if w != v:
                around[w][own] = _SEVERAL if own in around[w] else v
    return np.array(colours, int)


def _mirrored(rows, columns, colours):
    """Where the entries of a symmetric matrix are read from: an entry and its mirror image from one place.

    Entry (i, j) stands alone in row i of the group of j, or else in row j of the group of i.
    """
    count = int(colours.max(initial=-1)) + 1
    met, times = np.unique(rows * count + colours[columns], return_counts=True)
    low, high = np.minimum(rows, columns), np.maximum(rows, columns)
    alone = times[np.searchsorted(met, low * count + colours[high])] == 1
    return colours[np.where(alone, high, low)], np.where(alone, low, high)


# ---------------------------------------------------------------- values


def evaluate_seeds(f, args, argnum, seeds, forward):
    """Derivatives of a function in several directions.

    Parameters
    ----------
    f : callable
    args : tuple
        Its arguments.
    argnum : int or tuple of int
        Which of them to differentiate; not negative.
    seeds : array, (number of seeds, size)
        Tangents of the argument, or cotangents of the result, each flat.
    forward : bool
        Whether they are tangents.

    Returns
    -------
    array, (number of seeds, size of the result or of the argument)
        Each row is the Jacobian times a tangent, or a cotangent times the Jacobian; for complex numbers, in
        the conventions of `jacobian`.
    """
    if forward and len(seeds):
        return _pushed(f, args, argnum, seeds)
    return _pulled(f, args, argnum, seeds, forward)


def _pushed(f, args, argnum, seeds):
    push = make_jvp(f, argnum)(*args)
    argument = _Space(_chosen(args, argnum))
    rows, result = [], None
    for seed in seeds:
        value, tangent = push(argument.vector(seed))
        result = result or _Space(value)
        row = result.flat(tangent)
        if argument.has_complex and result.has_real:
            rotated = result.flat(push(argument.vector(1j * seed))[1])
            row = np.where(result.is_complex, row, row - 1j * rotated)
        rows.append(row)
    return np.stack(rows).astype(_jacobian_dtype(argument, result), copy=False)


def _pulled(f, args, argnum, seeds, forward):
    pullback, value = make_vjp(f, argnum)(*args)
    argument, result = _Space(_chosen(args, argnum)), _Space(value)
    dtype = _jacobian_dtype(argument, result)
    if not forward and seeds.shape[1] != result.size:
        raise _SizeError(_misfit(seeds.shape[1], result.size))
    if not len(seeds):
        return np.zeros((0, (result if forward else argument).size), dtype)
    rows = []
    for seed in seeds:
        row = argument.flat(pullback(result.vector(seed)))
        if result.has_complex and argument.has_real:
            # A cotangent of 1 pulls back the real part, one of -i the imaginary part.
            imaginary = argument.flat(pullback(result.vector(-1j * seed)))
            row = np.where(argument.is_complex, row, row + 1j * imaginary)
        rows.append(row)
    return np.stack(rows).astype(dtype, copy=False)


def _jacobian_dtype(argument, result):
    """The dtype that `jacobian` has: the argument's, made complex where the result is."""
    return np.result_type(argument.dtype, np.complex64) if result.has_complex else argument.dtype


class _Space:
    """Flat vectors for the leaves of an argument or a result, and back."""

    def __init__(self, value):
        leaves, self.structure = flatten(value, result_leaf)
        self.leaves = [(_shape(leaf), _dtype(leaf)) for leaf in leaves]
        self.sizes = [int(np.prod(shape)) for shape, _ in self.leaves]
        self.size = sum(self.sizes)
        self.dtype = np.result_type(*(dtype for _, dtype in self.leaves)) if leaves else np.dtype(float)
        kinds = [dtype.kind == "c" for _, dtype in self.leaves]
        self.is_complex = np.repeat(np.array(kinds, bool), self.sizes)
        self.has_complex = any(kinds)
        self.has_real = not all(kinds)

    def vector(self, flat):
        """A tangent or a cotangent; complex items lose their imaginary part where a leaf is real."""
        parts = np.split(flat, np.cumsum(self.sizes)[:-1])
        leaves = [
            (part if dtype.kind == "c" else part.real).astype(dtype).reshape(shape)[()]
            for part, (shape, dtype) in zip(parts, self.leaves, strict=True)
        ]
        return unflatten(self.structure, leaves)

    def flat(self, vector):
        leaves = flatten(vector, result_leaf)[0]
        return np.concatenate([np.zeros(0, self.dtype), *(np.ravel(leaf) for leaf in leaves)])
