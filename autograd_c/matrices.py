"""What becomes of the Jacobian that `autograd_c.accumulation` has found: a dense array, or a sparse one.

The entries of each part are a *piece* of the result. Pieces that are the whole matrix in another order of
axes are transposed, those that lie in one line at equal distances, such as diagonals, are slices of the flat
result, and all others are put there by arrays of indices.

A form is made of a walk (`accumulation._Walk`) while a program is recorded; `data` is what the program is to
return. Called with that, it returns what the function returns.
"""

import copy
import functools
import math

import numpy as np

from . import numpy as anp
from ._core import Meta
from .accumulation import Items, Part, full_value, layers_of
from .rules import creation, indexing

__all__ = ["Csr", "Dense", "SymmetricCsr"]

# Lines into which a piece may fall.
MOST_LINES = 6
# Scalars of a matrix up to this size are put side by side, zeros among them.
SMALL = 64


class _Piece:
    """Entries of the matrix: where they go in the result, and their values.

    `places` has -1 for what is no entry.
    """

    def __init__(self, places, part):
        self.places = places
        self.part = part

    def whole(self, shape, dtype):
        """The values as the whole matrix, if they are that but for the order of axes; else None."""
        places = self.places
        if places.size != math.prod(shape) or (places < 0).any():
            return None
        ends = [places.take(-1, k).flat[0] for k in range(places.ndim)]
        steps = [(end - places.flat[0]) / max(n - 1, 1) for end, n in zip(ends, places.shape, strict=True)]
        order = sorted(range(places.ndim), key=lambda k: -steps[k])
        if (places.transpose(order).ravel() != np.arange(places.size)).any():
            return None
        value = self.part.full(dtype)
        if order != sorted(order):
            value = anp.transpose(value, order)
        return anp.reshape(value, shape) if np.shape(value) != shape else value

    @functools.cached_property
    def lines(self):
        """Slices of the result, and those of the flat values that go there; None if there are many."""
        flat = self.places.ravel()
        kept = np.flatnonzero(flat >= 0)
        steps, gaps = np.diff(flat[kept]), np.diff(kept)
        found, start = [], 0
        while start < kept.size:
            if len(found) == MOST_LINES:
                return None
            stop, step, gap = start + 1, 1, 1
            if stop < kept.size and steps[start] > 0:
                step, gap = steps[start], gaps[start]
                breaks = np.flatnonzero((steps[start:] != step) | (gaps[start:] != gap))
                stop = start + 1 + int(breaks[0]) if breaks.size else kept.size
            last = stop - 1
            to = slice(int(flat[kept[start]]), int(flat[kept[last]]) + 1, int(step))
            found.append((to, slice(int(kept[start]), int(kept[last]) + 1, int(gap))))
            start = stop
        return found


def _assembled(walk, pieces, shape):
    """The result of `shape`, flat, from its pieces."""
    size, dtype = math.prod(shape), walk.dtype
    out, lines, others = None, [], []
    for piece in pieces:
        value = piece.whole(shape, dtype)
        if value is not None:
            out = _plus(out, value, piece.part.sign)
        elif piece.lines is not None:
            lines.append(piece)
        else:
            others.append(piece)
    touched = np.full(size, out is not None)
    if out is not None:
        out = anp.reshape(out, (size,))
    if others:
        out = _with_others(out, others, touched, dtype)
    # An array of numbers that are known now is no place to write to: the others come first.
    for piece in sorted(lines, key=lambda piece: isinstance(piece.part.value, (float, np.ndarray))):
        out = _with_lines(walk, out, piece, touched)
    return np.zeros(size, dtype) if out is None else out


def _with_others(out, pieces, touched, dtype):
    """The result with pieces that lie anywhere."""
    flat = [anp.reshape(full_value(p.part.signed(), p.places.shape, dtype), (-1,)) for p in pieces]
    data = flat[0] if len(flat) == 1 else anp.concatenate(flat)
    places = np.concatenate([piece.places.ravel() for piece in pieces])
    for taken in layers_of(places):
        values = data if taken.size == places.size else indexing.getitem(data, taken)
        spread = indexing.scatter(values, places[taken], Meta(touched.shape, dtype), True)
        out = spread if out is None else anp.add(out, spread)
    touched[places[places >= 0]] = True
    return out


def _plus(out, value, sign):
    if out is None:
        return value if sign > 0.0 else anp.negative(value)
    return anp.add(out, value) if sign > 0.0 else anp.subtract(out, value)


def _with_lines(walk, out, piece, touched):
    """The result with a piece that lies in lines; `touched` tells where others have been before."""
    value = piece.part.signed()
    if type(value) is not float:
        value = anp.reshape(full_value(value, piece.places.shape, walk.dtype), (-1,))
    for to, kept in piece.lines:
        some = value
        if type(value) is not float and kept != slice(0, piece.places.size, 1):
            some = value[kept]
        is_new = not touched[to].any()
        touched[to] = True
        if out is not None:
            out = (indexing.setitem if is_new else indexing.index_add)(out, some, to)
        elif type(some) is float:
            out = np.zeros(touched.size, walk.dtype)
            out[to] = some
        else:
            out = indexing.scatter(some, to, Meta(touched.shape, walk.dtype), True)
    return out


def _pieces(walk):
    """The pieces of the parts of the result, as of a matrix with one row for each of its items."""
    result = walk.plan.result
    found = walk.found[result.number]
    rows = np.arange(result.meta.size).reshape(result.meta.shape)
    if not rows.ndim and all(type(part.columns) is int for part in found):
        found = Items([(0, {part.columns: part for part in found})])
    if type(found) is not Items:
        return [_piece(walk, np.broadcast_to(rows, np.shape(part.columns)), part) for part in found]
    pieces = []
    for line in found.lines():
        items, columns, parts = (list(values) for values in zip(*line, strict=True))
        pieces.append(_piece(walk, np.array(items), Part(np.array(columns), _values(walk, parts))))
    return pieces


def _values(walk, parts):
    """The derivatives of scalars side by side; one number if they are all the same."""
    values = [part.signed() for part in parts]
    kinds = {value if type(value) is float else None for value in values}
    if len(kinds) == 1 and None not in kinds:
        return values[0]
    return creation.from_items(walk.dtype, *values)


def _piece(walk, rows, part):
    columns = np.asarray(part.columns)
    return _Piece(np.where(columns < 0, -1, rows * walk.plan.size + columns), part)


class Dense:
    """The Jacobian as an array: the shape of the result, then that of the argument."""

    def __init__(self, walk):
        self.shape = walk.plan.result.meta.shape + walk.plan.shape
        entries = _scalars(walk)
        size = math.prod(self.shape)
        if entries and (size <= SMALL or 2 * len(entries) >= size):
            values = [0.0] * size
            for row, column, part in entries:
                values[row * walk.plan.size + column] = part.signed()
            self.data = creation.from_items(walk.dtype, *values)
        else:
            self.data = _assembled(walk, _pieces(walk), self.shape)

    def __call__(self, data):
        """The program's result in its shape."""
        return data.reshape(self.shape)


def _scalars(walk):
    """The entries of a Jacobian that was found scalar by scalar."""
    found = walk.found[walk.plan.result.number]
    return found.entries() if type(found) is Items else []


class Csr:
    """The Jacobian as a ``scipy.sparse.csr_array`` of shape (size of the result, size of the argument)."""

    symmetric = False

    def __init__(self, walk):
        pieces = _pieces(walk)
        n, m = walk.plan.size, walk.plan.result.meta.size
        codes = np.sort(np.concatenate([np.zeros(0, int), *[p.places[p.places >= 0] for p in pieces]]))
        codes = codes[np.diff(codes, prepend=-1) > 0]
        if self.symmetric:
            codes = np.intersect1d(codes, codes % n * n + codes // n, assume_unique=True)
            pieces = [half for piece in pieces for half in _halves(piece, n)]
        for piece in pieces:
            piece.places = _numbers(codes, piece.places)
        self.data = _assembled(walk, pieces, (codes.size,))
        self._like = _empty_csr(codes, m, n, walk.dtype)

    def __call__(self, data):
        """The array with the program's result as its data."""
        # Index arrays are the result's own, since SciPy changes such arrays in place.
        made = copy.copy(self._like)
        made.data = data
        made.indices = made.indices.copy()
        made.indptr = made.indptr.copy()
        return made


def _halves(piece, n):
    """A piece on and below the diagonal, and its mirror image above: so the matrix is exactly symmetric."""
    rows, columns = np.divmod(piece.places, n)
    below = np.where((piece.places >= 0) & (rows >= columns), piece.places, -1)
    above = np.where((below >= 0) & (rows > columns), columns * n + rows, -1)
    return _Piece(below, piece.part), _Piece(above, piece.part)


def _numbers(codes, places):
    """The numbers that places have in a sorted list; -1 for those that it does not hold."""
    at = np.searchsorted(codes, places)
    return np.where(np.append(codes, -2)[at] == places, at, -1)


def _empty_csr(codes, m, n, dtype):
    from scipy.sparse import csr_array  # few programs need it

    index = np.int32 if max(m, n, codes.size) < 2**31 else np.int64
    indptr = np.concatenate([[0], np.cumsum(np.bincount(codes // n, minlength=m))]).astype(index)
    made = csr_array((np.zeros(codes.size, dtype), (codes % n).astype(index), indptr), shape=(m, n))
    made.sum_duplicates()  # finds out that there are none, which copies of it know
    return made


class SymmetricCsr(Csr):
    """The same of a gradient: a Hessian."""

    symmetric = True
