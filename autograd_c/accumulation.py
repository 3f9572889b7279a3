"""Jacobians by forward accumulation on a recording: structural zeros are neither computed nor stored.

The function is recorded once. Through its calls goes, in the place of a tangent for each input, the Jacobian
of every value, in *parts*: a part has for each item of the value one column (an input that the item depends
on) and one number (the derivative). What is done to a part is done to all of its items at once, so that parts
of arrays are arrays, and those of a Python loop over ``x[i]`` are scalars::

    x                 columns 0 1 2 3, derivatives 1.0
    x[1:] * x[0]      columns 1 2 3, derivatives x[0]; columns 0 0 0, derivatives x[1:]
    np.sum(of that)   columns 1 2 3 as an axis of their own, since they differ; column 0, derivatives summed

This is the sparse vector mode of forward accumulation (C. Bischof, P. Khademi, A. Bouaricha and A. Carle,
"Efficient computation of gradients and Jacobians by dynamic exploitation of sparsity in automatic
differentiation", 1996) with whole arrays in the place of numbers. It happens while a program is recorded:
columns are known then, derivatives are values of the recording, and a replay computes nothing but these. A
Hessian is the Jacobian of the recorded gradient.

Not every recording is done in this way: `Declined` says why. Then it is done by seeds, one run or one copy of
the program for each (`operators._MatrixCompiled`).
"""

import itertools
import math

import numpy as np

from . import numpy as anp
from ._core import Meta, record_call_of, registry
from .environment import owning_array
from .extend import Choice
from .operators import make_vjp
from .replay import Declined
from .rules import creation, cumulative, indexing, joining, linalg, products, shape, special

__all__ = ["Items", "Part", "accumulated", "full_value", "layers_of", "source_of"]

# Parts of one value; more of them take longer to tell apart than they save.
MOST_PARTS = 64


def source_of(fun, leaves):
    """Record the function itself: the recording, and the number of the leaf to differentiate.

    Parameters
    ----------
    fun : callable
        Takes the list of leaves, traced; returns the number of the leaf to differentiate and the value.
    leaves : list
        The values of one call.

    Raises
    ------
    Declined
        The recording cannot be replayed, or updates an argument.
    """
    chosen = []

    def value_of(boxes):
        place, value = fun(boxes)
        chosen.append(place)
        return [value]

    # The function is run once more if this way is declined: what it updates are copies.
    copies = [leaf.copy() if isinstance(leaf, np.ndarray) else leaf for leaf in leaves]
    _, recording = record_call_of(value_of, copies, _KEPT)
    if recording.escapes or recording.updates:
        raise Declined("a value leaves the trace, or an argument is updated")
    return recording, chosen[0]


def accumulated(source, place, leaves, form, seeds, owners):
    """Record the Jacobian of a recorded function with respect to one of its leaves.

    Parameters
    ----------
    source : Recording
        Of the function.
    place : int
        The number of the leaf.
    leaves : list
        The values of the call that was recorded.
    form : type
        What becomes of the entries: a class of `autograd_c.matrices`.
    seeds : callable
        By the sizes of result and argument: how many runs of the function the seeds would take.
    owners : container of int
        The arrays of the environment, which the program must read at each run, by the ids of their owners.

    Returns
    -------
    outs : list
        The result of this call, as the program returns it.
    recording : Recording
    form : object
        Makes of the program's result that of the function.

    Raises
    ------
    Declined
        Something in the recording has no rule here, or the seeds would take less.
    """
    plan = _Plan(source, place, leaves[place], seeds)
    plan.owners = owners
    made = []

    def matrix_of(boxes):
        walk = _Walk(plan, boxes)
        made.append(form(walk))
        if made[0].data.dtype != plan.dtype:
            raise Declined("a derivative of another dtype than the argument's")
        # A result that is an argument is another array all the same.
        return [anp.copy(made[0].data)]

    outs, expanded = record_call_of(matrix_of, leaves)
    made[0].data = None
    return [np.array(outs[0])], expanded, made[0]


def _cost(shape):
    """About the nanoseconds that a call takes in a replay: an instruction for a scalar, else a loop."""
    return 20 + math.prod(shape) if shape else 1


def _is_node(value):
    return hasattr(value, "outcome")


class _Plan:
    """What of a recording takes part: which nodes depend on the argument, and whose values are needed."""

    def __init__(self, recording, place, x, seeds):
        self.nodes = recording.nodes
        self.result = recording.results[0]
        self.inputs = recording.size
        self.place = place
        self.size = x.size
        self.shape = x.shape
        self.dtype = x.dtype
        if not _is_node(self.result):
            raise Declined("the result does not depend on the argument, or is no array")
        if self.result.meta.dtype != x.dtype or not self.result.meta.size:
            raise Declined("the result is empty or of another dtype than the argument")
        self._find_active()
        self._find_live()
        if self.result.number not in self.active:
            raise Declined("the result does not depend on the argument")
        # A product and a sum for each value, as a sweep takes them.
        sweep = 2 * sum(_cost(self.nodes[number].meta.shape) for number in self.active & self.live)
        self.budget = sweep * seeds(self.result.meta.size, x.size)

    def _find_active(self):
        self.active = {self.place}
        for node in self.nodes[self.inputs :]:
            if node.prim is None or node.meta is None or node.prim.kind == "constant":
                continue
            if any(_is_node(arg) and arg.number in self.active for arg in node.args):
                self.active.add(node.number)

    def _find_live(self):
        """From the result back: `live` nodes have a derivative that is needed, `needed` ones a value."""
        self.live, self.needed, self.uses = {self.result.number}, set(), {}
        for node in reversed(self.nodes):
            if node.prim is None or node.meta is None:
                wanted = _is_guard(node)
            else:
                wanted = node.number in self.needed or _is_check(node)
            reads = set()
            if node.number in self.live and node.number in self.active and node.number != self.place:
                reads = self._read_by_rule(node)
                for arg in node.args:
                    if _is_node(arg) and arg.number in self.active:
                        self.live.add(arg.number)
                        self.uses[arg.number] = self.uses.get(arg.number, 0) + 1
            if wanted or node.number in reads:
                self.needed.add(node.number)
                reads = {arg.number for arg in node.args if _is_node(arg)} | reads
            self.needed |= reads

    def _read_by_rule(self, node):
        """The values that the rule of a node reads: arguments, or its own."""
        prim = node.prim
        if node.meta.dtype != self.dtype:
            raise Declined(f"{prim.name} has a result of another dtype")
        if prim.kind == "elementwise":
            if node.kwargs:
                raise Declined(f"{prim.name} with keywords")
            for k, arg in enumerate(node.args):
                if _is_node(arg) and arg.number in self.active and not _is_number(prim.rules[k]):
                    return {arg.number for arg in node.args if _is_node(arg)} | {node.number}
            return set()
        if prim not in RULES:
            raise Declined(f"{prim.name} has no rule for this")
        if RULES[prim][1]:
            return {arg.number for arg in node.args if _is_node(arg)}
        return set()


def _is_guard(node):
    return node.prim is None and node.outcome is not None


def _is_check(node):
    return node.prim is not None and node.meta is None and node.outcome is not None


def _is_number(value):
    return isinstance(value, (int, float))


# ---------------------------------------------------------------- parts


class Part:
    """One column and one derivative for each item of a value.

    Attributes
    ----------
    columns : int or array of int
        Of the value's shape, behind axes of its own (those that were summed over): an item has an entry for
        each index of these. -1 stands for no entry; the derivative there may be anything.
    value : float or array
        The derivatives; broadcast to the shape of `columns`, with which it has its last axes in common.
    sign : float
        1.0 or -1.0, by which the derivatives are multiplied. Parts that differ in sign share their values.
    """

    __slots__ = ("columns", "value", "sign")

    def __init__(self, columns, value, sign=1.0):
        self.columns = columns
        self.value = value * sign if type(value) is float else value
        self.sign = 1.0 if type(value) is float else sign

    def with_columns(self, columns):
        """The same derivatives in other columns."""
        return Part(columns, self.value, self.sign)

    def signed(self):
        """The derivatives, with their sign."""
        return self.value if self.sign > 0.0 else anp.negative(self.value)

    def full(self, dtype):
        """The derivatives as an array of the shape of the columns, without the sign."""
        return full_value(self.value, np.shape(self.columns), dtype)


def full_value(value, shape, dtype):
    """Derivatives of a part as an array of that shape; a number stays one where there are no axes."""
    if type(value) is float:
        return np.full(shape, value, dtype) if shape else value
    return value if np.shape(value) == shape else anp.broadcast_to(value, shape)


def _aligned(value, ndim):
    """A value with axes of length 1 in front, so that it has `ndim`."""
    shape = np.shape(value)
    if type(value) is float or len(shape) == ndim:
        return value
    return anp.reshape(value, (1,) * (ndim - len(shape)) + shape)


def _sum_of(a, b):
    """Two parts with the same columns as one."""
    if a.sign == b.sign:
        total = a.value + b.value if type(a.value) is type(b.value) is float else anp.add(a.value, b.value)
        return Part(a.columns, total, a.sign)
    if a.sign < 0.0:
        a, b = b, a
    return Part(a.columns, anp.subtract(a.value, b.value))


class Items:
    """The Jacobian of an array whose items were computed one by one: item -> column -> part of a scalar."""

    def __init__(self, rows=()):
        self.rows = dict(rows)

    def copy(self):
        """The same to be changed."""
        return Items({item: dict(row) for item, row in self.rows.items()})

    def add(self, item, parts):
        """Adds parts of a scalar to an item."""
        row = self.rows.setdefault(item, {})
        for part in parts:
            found = row.get(part.columns)
            row[part.columns] = part if found is None else _sum_of(found, part)

    def entries(self):
        """All entries: item, column, part."""
        return [(item, column, part) for item, row in self.rows.items() for column, part in row.items()]

    def lines(self):
        """Entries in lines with one entry for an item: diagonals, unless these are many."""
        entries = self.entries()
        diagonals, ranks = {}, {}
        for item, row in self.rows.items():
            for rank, (column, part) in enumerate(sorted(row.items(), key=lambda entry: entry[0])):
                diagonals.setdefault(column - item, []).append((item, column, part))
                ranks.setdefault(rank, []).append((item, column, part))
        fewer = diagonals if len(diagonals) <= 4 * len(ranks) and entries else ranks
        return [sorted(line, key=lambda entry: entry[0]) for line in fewer.values()]


# ---------------------------------------------------------------- the walk


class _Walk:
    """Parts for the nodes of a recording, by calls that another recording writes down."""

    def __init__(self, plan, boxes):
        self.plan = plan
        self.dtype = plan.dtype
        self.values = dict(enumerate(boxes))
        self.found = {}
        self.interned = {}
        self.products = {}
        self.constants = {}
        self.work = 0
        columns = np.arange(plan.size).reshape(plan.shape)
        self.found[plan.place] = [Part(self.intern(columns), 1.0)]
        for node in plan.nodes[plan.inputs :]:
            if node.number in plan.needed:
                self.compute(node)
            if node.number in plan.live and node.number in plan.active:
                self.found[node.number] = self.differentiate(node)

    def compute(self, node):
        """The value of a node again; guards and checks become those of this recording."""
        args = [self.value(arg) for arg in node.args]
        if node.prim is None:
            value = bool(args[0])
        elif args and type(args[0]) in (list, tuple):
            value = args[0][args[1]]  # an item of several results
        else:
            value = node.prim(*args, **(node.kwargs or {}))
        if node.outcome is not None and value != node.outcome:
            raise Declined("a guard has another outcome when it is computed again")
        self.values[node.number] = value

    def value(self, arg):
        """The value of an operand; what is computed from arrays of the environment is left to the program."""
        if _is_node(arg):
            return self.values[arg.number]
        if isinstance(arg, np.ndarray) and id(owning_array(arg)) in self.plan.owners:
            if id(arg) not in self.constants:
                self.constants[id(arg)] = creation._constant_like(self.values[self.plan.place], arg), arg
            return self.constants[id(arg)][0]
        return arg

    def parts(self, arg):
        """The parts of an operand; none for one that does not depend on the argument."""
        found = self.found.get(arg.number, []) if _is_node(arg) else []
        return self.parts_of_items(found, arg.meta.shape) if type(found) is Items else found

    def differentiate(self, node):
        if node.meta is not None and 0 in node.meta.shape:
            return []  # what is computed from no items depends on nothing
        if node.prim.kind == "elementwise":
            found = self.elementwise(node)
        else:
            found = RULES[node.prim][0](self, node)
        if type(found) is Items:
            self.spend(1)
            return found
        found = self.merged(found)
        if len(found) > MOST_PARTS and node.meta.shape:
            raise Declined(f"more than {MOST_PARTS} parts")
        return found

    def pay(self, shape):
        """For a call with a result of that shape."""
        self.spend(_cost(shape))

    def spend(self, work):
        """Counts work of the program, and a little of what is done while recording."""
        self.work += work
        if self.work > self.plan.budget:
            raise Declined("the seeds take less")

    def intern(self, columns):
        """Columns by which parts are told apart: a number, or one array for all that are equal."""
        if not columns.ndim:
            return int(columns)
        key = columns.shape, columns.tobytes()
        return self.interned.setdefault(key, columns)

    def merged(self, parts):
        found = {}
        for part in parts:
            if type(part.columns) is int:
                if part.columns < 0:
                    continue
                key = part.columns
            else:
                key = id(part.columns)
            other = found.get(key)
            if other is not None:
                self.pay(np.shape(part.columns))
            found[key] = part if other is None else _sum_of(other, part)
        return [part for part in found.values() if type(part.value) is not float or part.value != 0.0]

    def times(self, value, partial):
        """A derivative times a partial; the same product is computed once."""
        if _is_number(partial):
            partial = float(partial)
        elif isinstance(partial, Choice) and type(value) is float:
            partial = partial.value()
        if type(partial) is float and type(value) is float:
            return value * partial
        for one, other in ((value, partial), (partial, value)):
            if type(one) is float and one == 1.0:
                return other
        key = tuple(v if type(v) is float else id(v) for v in (value, partial))
        if key not in self.products:
            product = partial.times(value) if isinstance(partial, Choice) else anp.multiply(value, partial)
            if isinstance(product, np.ndarray) and product.size and (product == product.flat[0]).all():
                product = float(product.flat[0])
            self.pay(np.shape(product))
            self.products[key] = product, value, partial  # alive, so that no other has their ids
        return self.products[key][0]

    def elementwise(self, node):
        found, partials = [], {}
        args = ans = None
        for k, arg in enumerate(node.args):
            parts = self.parts(arg)
            if not parts:
                continue
            partial = node.prim.rules[k]
            if partial is None:
                raise Declined(f"{node.prim.name} has no derivative with respect to argument {k}")
            if not _is_number(partial):
                if args is None:
                    args, ans = [self.value(a) for a in node.args], self.values[node.number]
                if partial not in partials:
                    partials[partial] = partial(ans, *args)
                partial = partials[partial]
            for part in parts:
                part = self.broadcast(part, arg.meta.shape, node.meta.shape)
                if _is_number(partial) and abs(partial) == 1.0:
                    found.append(Part(part.columns, part.value, part.sign * partial))
                else:
                    found.append(Part(part.columns, self.times(part.value, partial), part.sign))
        return found

    def broadcast(self, part, shape, to):
        if shape == to:
            return part
        columns = np.asarray(part.columns)
        own = columns.shape[: columns.ndim - len(shape)]
        more = len(to) - len(shape)
        value = part.value
        if own and more and type(value) is not float:
            value = _aligned(value, columns.ndim)
            given = np.shape(value)
            value = anp.reshape(value, given[: len(own)] + (1,) * more + given[len(own) :])
        columns = np.broadcast_to(columns.reshape(own + (1,) * more + shape), own + to)
        self.spend(columns.size // 8)
        return Part(self.intern(columns), value, part.sign)

    # --- items one by one

    def parts_of_items(self, items, shape):
        """Items as parts of their array, which has one axis."""
        found = []
        for line in items.lines():
            columns = np.full(shape, -1)
            values = [0.0] * math.prod(shape)
            for item, column, part in line:
                columns.flat[item] = column
                values[item] = part.signed()
            self.pay(shape)
            value = anp.reshape(creation.from_items(self.dtype, *values), shape)
            found.append(Part(self.intern(columns), value))
        return found

    def items(self, arg, is_last):
        """The Jacobian of an operand item by item, to be changed; None where it is known by parts."""
        found = self.found.get(arg.number) if _is_node(arg) else None
        if found is None:
            return Items()
        if type(found) is not Items:
            return None
        return found if is_last else found.copy()


# ---------------------------------------------------------------- rules
#
# A rule takes the walk and a node and returns the parts of its value.

# primitive -> (rule, whether it reads values of the arguments)
RULES = {}


def _row(rule, reads, *primitives):
    for primitive in primitives:
        RULES[primitive] = rule, reads


def _registered(*names):
    return [registry[getattr(np, name)] for name in names]


def _first(walk, node):
    return walk.parts(node.args[0])


def _second(walk, node):
    return walk.parts(node.args[1])


def _cast(walk, node):
    if node.args[0].meta.dtype != node.meta.dtype:
        raise Declined("a change of dtype")
    return walk.parts(node.args[0])


_row(_first, False, *_registered("copy", "positive", "conjugate"), creation._real)
_row(_second, False, creation._constant_like)
_row(_cast, False, creation._cast)


def _shape(arg):
    return arg.meta.shape if _is_node(arg) else np.shape(arg)


def _own(part, shape):
    """The axes that a part has in front of those of the value."""
    return np.shape(part.columns)[: np.ndim(part.columns) - len(shape)]


def _whole(index):
    return index if isinstance(index, tuple) else (index,)


# --- items in another place


def _selected(walk, node):
    """The selection that a primitive makes of the items, made of columns and derivatives."""
    x, rest = node.args[0], node.args[1:]
    if any(_is_node(value) for value in rest):
        raise Declined(f"{node.prim.name} by computed values")
    shape = x.meta.shape
    kwargs = node.kwargs or {}
    found = walk.found.get(x.number)
    item = _one_item(rest[0], shape) if node.prim is indexing.getitem else None
    if item is not None and type(found) is Items:
        return list(found.rows.get(item, {}).values())
    if item is not None and len(found) == 1 and type(found[0].value) is float and not _own(found[0], shape):
        return [found[0].with_columns(int(found[0].columns.flat[item]))]
    numbers = node.prim.fun(np.arange(1, math.prod(shape) + 1).reshape(shape), *rest, **kwargs)
    numbers = np.asarray(numbers) - 1
    return [_select(walk, node, part, numbers) for part in walk.parts(x)]


def _select(walk, node, part, numbers):
    shape, own = node.args[0].meta.shape, _own(part, node.args[0].meta.shape)
    flat = np.append(np.reshape(part.columns, (*own, -1)), np.full((*own, 1), -1), -1)
    columns = flat[..., numbers]
    walk.spend(columns.size // 8)
    value = part.value
    if type(value) is not float:
        value = _selected_value(node, part.full(walk.dtype), own, shape, numbers)
    return Part(walk.intern(columns), value, part.sign)


def _selected_value(node, value, own, shape, numbers):
    rest, kwargs = node.args[1:], node.kwargs or {}
    if not own:
        return node.prim(value, *rest, **kwargs)
    if numbers.size == math.prod(shape) and (numbers.ravel() == np.arange(numbers.size)).all():
        return anp.reshape(value, own + numbers.shape)
    if node.prim is indexing.getitem and indexing.is_basic(rest[0]):
        return indexing.getitem(value, (slice(None),) * len(own) + _whole(rest[0]))
    if node.prim in _TRANSPOSES:
        order = node.prim.fun(np.empty(range(2, 2 + len(shape))), *rest, **kwargs).shape
        return anp.transpose(value, [*range(len(own)), *[len(own) + k - 2 for k in order]])
    flat = anp.reshape(value, (*own, -1))
    return flat[(..., np.maximum(numbers, 0))]


_TRANSPOSES = _registered("transpose", "matrix_transpose", "swapaxes", "moveaxis", "rollaxis")
_SELECTIONS = "reshape expand_dims squeeze flip fliplr flipud rot90 roll tile repeat diag diagonal tril triu"
_row(_selected, False, *_registered(*_SELECTIONS.split()), *_TRANSPOSES, indexing.getitem)


def _broadcast_to(walk, node):
    x = node.args[0]
    return [walk.broadcast(part, x.meta.shape, node.meta.shape) for part in walk.parts(x)]


_row(_broadcast_to, False, *_registered("broadcast_to"))


def _taken(walk, part, shape, index):
    """A part of the items that a basic index names."""
    inner = (slice(None),) * len(_own(part, shape)) + index
    columns = part.columns[inner]
    walk.spend(columns.size // 8)
    if type(part.value) is float:
        return part.with_columns(walk.intern(columns))
    return Part(walk.intern(columns), indexing.getitem(part.full(walk.dtype), inner), part.sign)


def _differenced(walk, node):
    n, axis = _option(node, "n", 1, 1), _option(node, "axis", 2, -1)
    shape, parts = list(node.args[0].meta.shape), walk.parts(node.args[0])
    index = [slice(None)] * len(shape)
    for _ in range(n):
        sides = []
        for sign, index[axis] in ((1.0, slice(1, None)), (-1.0, slice(None, -1))):
            taken = [_taken(walk, part, shape, tuple(index)) for part in parts]
            sides += [Part(part.columns, part.value, sign * part.sign) for part in taken]
        parts = walk.merged(sides)
        shape[axis] -= 1
    return parts


_row(_differenced, False, cumulative.difference)


def _padded(walk, node):
    mode = _option(node, "mode", 2, "constant")
    if (node.kwargs or {}).get("reflect_type", "even") != "even" or isinstance(node.args[1], dict):
        raise Declined("pad with options")
    if mode in ("edge", "reflect", "symmetric", "wrap"):
        return _selected(walk, node)
    if mode not in ("constant", "empty"):
        raise Declined(f"pad with mode {mode}")
    x = node.args[0]
    ends = np.broadcast_to(node.args[1], (len(x.meta.shape), 2))
    index = tuple(slice(int(k), int(k) + n) for (k, _), n in zip(ends, x.meta.shape, strict=True))
    return [_scattered_part(walk, part, x.meta.shape, index, node.meta.shape) for part in walk.parts(x)]


_row(_padded, False, shape._pad)


def layers_of(places):
    """The numbers of places in lists of which none names a place twice; negative places are left out."""
    order = np.argsort(places, kind="stable")
    order = order[places[order] >= 0]
    starts = np.flatnonzero(np.diff(places[order], prepend=-1))
    ranks = np.arange(order.size) - np.repeat(starts, np.diff(starts, append=order.size))
    return [np.sort(order[ranks == k]) for k in range(ranks.max(initial=-1) + 1)]


def _once(walk, part, shape, index, to):
    """A part and an index that may name items twice, as several whose index does not."""
    if indexing.names_once(index):
        return [(part, shape, index)]
    target = np.arange(math.prod(to)).reshape(to)[index]
    layers = layers_of(target.ravel())
    if len(layers) == 1:
        return [(part, shape, index)]
    if _own(part, shape):
        raise Declined("an index that names items twice, of summed axes")
    columns, values = np.broadcast_to(part.columns, target.shape).ravel(), part.value
    if type(values) is not float:
        values = anp.reshape(full_value(values, target.shape, walk.dtype), (-1,))
    split = []
    for layer in layers:
        value = values if type(values) is float else indexing.getitem(values, layer)
        named = np.unravel_index(target.ravel()[layer], to)
        split.append((Part(columns[layer], value, part.sign), layer.shape, named))
    return split


def _placed(walk, part, shape, index, to):
    """Columns of a part that is put into an array at an index; the index of its derivatives, and these."""
    own = _own(part, shape)
    if own and not indexing.is_basic(index):
        raise Declined("an index by arrays of summed axes")
    target = np.arange(math.prod(to)).reshape(to)[index]
    if not indexing.names_once(index) and (np.diff(np.sort(target, axis=None)) == 0).any():
        raise Declined("an index that names items twice")
    inner = (slice(None),) * len(own) + _whole(index)
    columns = np.full(own + to, -1)
    columns[inner] = np.reshape(part.columns, own + (1,) * (target.ndim - len(shape)) + shape)
    walk.spend(columns.size // 8)
    value = part.value
    if own and type(value) is not float and target.ndim > len(shape):
        raise Declined("summed axes that are broadcast by an index")
    return columns, inner, value


def _scattered_part(walk, part, shape, index, to):
    columns, inner, value = _placed(walk, part, shape, index, to)
    if type(value) is not float:
        value = part.full(walk.dtype)
        value = indexing.scatter(value, inner, Meta(columns.shape, walk.dtype), True)
    return Part(walk.intern(columns), value, part.sign)


def _scattered(walk, node):
    g, index = node.args[:2]
    to = node.meta.shape
    split = [once for part in walk.parts(g) for once in _once(walk, part, g.meta.shape, index, to)]
    return [_scattered_part(walk, *once, to) for once in split]


_row(_scattered, False, indexing.scatter)


def _one_item(index, shape):
    """The number of the only item that an index names; None where it names several."""
    parts = _whole(index)
    if len(parts) != len(shape) or not all(type(k) is int for k in parts):
        return None
    item = 0
    for k, n in zip(parts, shape, strict=True):
        item = item * n + k % n
    return item


def _item_of(walk, node):
    """The number of the only item that an update with a scalar changes, and the items, or None."""
    x, value, index = node.args
    item = _one_item(index, node.meta.shape)
    if item is None or any(type(part.columns) is not int for part in walk.parts(value)):
        return item, None
    return item, walk.items(x, walk.plan.uses.get(getattr(x, "number", None)) == 1)


def _index_added(walk, node):
    x, g, index = node.args
    item, items = _item_of(walk, node)
    if items is not None:
        items.add(item, walk.parts(g))
        return items
    found = list(walk.parts(x))
    for part in walk.parts(g):
        for once in _once(walk, part, _shape(g), index, node.meta.shape):
            _added(walk, found, *once, node.meta.shape)
    return found


def _added(walk, found, part, shape, index, to):
    """Adds a part at an index to some parts: to one that has the same columns there, or none."""
    columns, inner, value = _placed(walk, part, shape, index, to)
    for k, other in enumerate(found):
        there = np.asarray(other.columns)
        if there.shape != columns.shape:
            continue
        had, new = there[inner], columns[inner]
        same, free = (had == new).all(), (had == -1).all()
        if not same and not free:
            continue
        if free and type(value) is type(other.value) is float and value == other.value:
            total = value
        else:
            more = value if part.sign == other.sign else anp.negative(value)
            if type(more) is not float:
                more = full_value(more, np.shape(part.columns), walk.dtype)
            total = _updated(walk, other.value, columns, more, inner, bool(same))
        walk.pay(new.shape)
        there = np.where(columns < 0, there, columns)
        found[k] = Part(walk.intern(there), total, other.sign)
        return
    found.append(_scattered_part(walk, part, shape, index, to))


def _updated(walk, base, columns, more, index, adds):
    """Derivatives with others added or put in at an index; `columns` has -1 where these do not go."""
    if not isinstance(base, (float, np.ndarray)) or type(more) is float:
        put = indexing.index_add if adds else indexing.setitem
        return put(full_value(base, columns.shape, walk.dtype), more, index)
    more = indexing.scatter(more, index, Meta(columns.shape, walk.dtype), True)
    return anp.add(more, base) if adds else anp.where(columns < 0, base, more)


def _item_set(walk, node):
    x, value, index = node.args
    item, items = _item_of(walk, node)
    if items is not None:
        items.rows.pop(item, None)
        items.add(item, walk.parts(value))
        return items
    found = []
    for part in walk.parts(x):
        columns = np.array(part.columns)
        columns[(slice(None),) * len(_own(part, node.meta.shape)) + _whole(index)] = -1
        found.append(part.with_columns(walk.intern(columns)))
    for part in walk.parts(value):
        _added(walk, found, part, _shape(value), index, node.meta.shape)
    return found


_row(_index_added, False, indexing.index_add)
_row(_item_set, False, indexing.setitem)


def _from_items(walk, node):
    scalars = [walk.parts(arg) for arg in node.args[1:]]
    if all(type(part.columns) is int for parts in scalars for part in parts):
        return Items((item, {part.columns: part for part in parts}) for item, parts in enumerate(scalars))
    return _side_by_side(walk, node, scalars, 0, stacked=True)


def _joined(walk, node):
    parts = [walk.parts(arg) for arg in node.args[1:]]
    return _side_by_side(walk, node, parts, node.args[0], node.prim is joining._stack)


def _side_by_side(walk, node, parts, axis, stacked):
    """Parts of arrays beside one another: those that belong together are one part."""
    shapes = [_shape(arg) for arg in node.args[1:]]
    axis %= len(node.meta.shape)
    starts = _starts(shapes, axis, np.stack if stacked else np.concatenate)
    owns = [[_own(part, shape) for part in some] for some, shape in zip(parts, shapes, strict=True)]
    found = []
    for own in sorted({own for some in owns for own in some}):
        rows = [
            [part for part, its in zip(some, its_own, strict=True) if its == own]
            for some, its_own in zip(parts, owns, strict=True)
        ]
        for chosen in _belonging(rows, starts):
            found.append(_beside(walk, chosen, [own + shape for shape in shapes], len(own) + axis, stacked))
    return found


def _starts(shapes, axis, join):
    """The numbers that the items of arrays have where these are joined."""
    ends = [0, *itertools.accumulate(math.prod(shape) for shape in shapes)]
    spans = list(itertools.pairwise(ends))
    parts = [np.arange(a, b).reshape(shape) for (a, b), shape in zip(spans, shapes, strict=True)]
    place = np.argsort(join(parts, axis), axis=None)
    return [place[a:b] for a, b in spans]


def _belonging(rows, starts):
    """Lists of parts that become one, one of each array or None: those on a diagonal, or the k-th of each."""
    diagonals, ranks = {}, {}
    for k, row in enumerate(rows):
        for rank, part in enumerate(row):
            columns = np.ravel(part.columns)
            first = int(np.argmax(columns >= 0)) if columns.size else 0
            offset = int(columns[first] - starts[k][first % starts[k].size]) if columns.size else 0
            place = next(c for c in range(len(row)) if k not in diagonals.get((offset, c), {}))
            diagonals.setdefault((offset, place), {})[k] = part
            ranks.setdefault(rank, {})[k] = part
    slots = diagonals if len(diagonals) <= 2 * len(ranks) else ranks
    return [[slot.get(k) for k in range(len(rows))] for slot in slots.values()]


def _beside(walk, chosen, shapes, axis, stacked):
    """Parts as one; there are no entries where one is None."""
    join = np.stack if stacked else np.concatenate
    some = list(zip(chosen, shapes, strict=True))
    columns = join([np.full(s, -1) if part is None else part.columns for part, s in some], axis)
    kinds = {part.value if type(part.value) is float else None for part in chosen if part is not None}
    if len(kinds) == 1 and None not in kinds:
        return Part(walk.intern(columns), kinds.pop())
    walk.pay(columns.shape)
    values = [full_value(0.0 if part is None else part.signed(), s, walk.dtype) for part, s in some]
    return Part(walk.intern(columns), (anp.stack if stacked else anp.concatenate)(values, axis=axis))


_row(_from_items, False, creation.from_items)
_row(_joined, False, joining._concatenate, joining._stack)


# --- sums and products


def _option(node, name, position, default):
    return node.args[position] if position < len(node.args) else (node.kwargs or {}).get(name, default)


def _axes(node, position, default):
    """The axes that a reduction reduces, and whether they stay."""
    shape, axis = node.args[0].meta.shape, _option(node, "axis", position, default)
    axes = range(len(shape)) if axis is None else [k % len(shape) for k in np.atleast_1d(axis)]
    return axes, len(shape) == len(node.meta.shape)


def _summed(walk, node):
    if len(node.args) > 2 or not (node.kwargs or {}).keys() <= {"axis", "keepdims"}:
        raise Declined(f"{node.prim.name} with options")
    shape = node.args[0].meta.shape
    axes, keepdims = _axes(node, 1, None)
    count = math.prod(shape[k] for k in axes)
    found = [_reduced(walk, part, shape, axes, keepdims) for part in walk.parts(node.args[0])]
    if node.prim is registry[np.mean]:
        found = [Part(p.columns, p.value / float(count), p.sign) for p in found]
    return found


def _reduced(walk, part, shape, axes, keepdims=False):
    """A part summed over axes along which its columns stay the same; others become axes in front."""
    columns, value = np.asarray(part.columns), part.value
    own = columns.ndim - len(shape)
    axes = [own + k for k in axes]
    same = [k for k in axes if (columns == columns.take([0], k)).all()]
    if same:
        value = _total(walk, value, columns.shape, same)
        for k in same:
            columns = columns.take([0], k)
    front = [k for k in axes if k not in same]
    order = front + [k for k in range(columns.ndim) if k not in front]

    def moved(a, transpose, reshape):
        sizes = np.shape(a)
        kept = [k for k in range(own, columns.ndim) if keepdims or k not in axes]
        to = (*[sizes[k] for k in front], *sizes[:own], *[1 if k in axes else sizes[k] for k in kept])
        if order != sorted(order):
            a = transpose(a, order)
        return a if np.shape(a) == to else reshape(a, to)

    if type(value) is not float:
        value = moved(_aligned(value, columns.ndim), anp.transpose, anp.reshape)
    columns = np.ascontiguousarray(moved(columns, np.transpose, np.reshape))
    return Part(walk.intern(columns), value, part.sign)


def _total(walk, value, shape, axes):
    """Derivatives summed over axes, which stay as axes of length 1."""
    if type(value) is float:
        return value * float(math.prod(shape[k] for k in axes))
    walk.pay(shape)
    return anp.sum(full_value(value, shape, walk.dtype), axis=tuple(axes), keepdims=True)


_row(_summed, False, *_registered("sum", "mean"))


def _by_partials(position, default):
    """A rule for reductions: an item of the argument belongs to one of the result, and has one partial."""

    def rule(walk, node):
        x, *rest = node.args
        if any(_is_node(arg) for arg in rest):
            raise Declined(f"{node.prim.name} with options that are computed")
        pull, _ = make_vjp(lambda x: node.prim(x, *rest, **(node.kwargs or {})))(walk.value(x))
        partials = pull(np.ones(node.meta.shape, walk.dtype)[()])
        walk.pay(x.meta.shape)
        axes, keepdims = _axes(node, position, default)
        parts = [Part(p.columns, walk.times(p.value, partials), p.sign) for p in walk.parts(x)]
        return [_reduced(walk, part, x.meta.shape, axes, keepdims) for part in parts]

    return rule


_REDUCTIONS = "prod var std max amax min amin nansum nanmean nanprod nanvar nanstd nanmax nanmin"
# Whole, their partials are those of one item each; in parts, an item depends on all others.
_KEPT = {*_registered(*_REDUCTIONS.split()), linalg._norm2, linalg._normp, special._lse}
_row(_by_partials(1, None), True, *_KEPT)
_row(_by_partials(2, None), True, linalg._normp)
_row(_by_partials(1, (-2, -1)), True, registry[np.linalg.det])


def _product(walk, node):
    """``a @ b`` of vectors, matrices and stacks of matrices."""
    a, b = node.args[:2]
    shapes = [_shape(arg) for arg in (a, b)]
    if node.kwargs or len(node.args) != 2:
        raise Declined(f"{node.prim.name} with keywords")
    if min(map(len, shapes)) >= 2 and len(node.meta.shape) > 2 and node.prim is products.matmul:
        return _stacked_product(walk, node)
    if not all(0 < len(shape) <= 2 for shape in shapes):
        raise Declined(f"{node.prim.name} of stacks and vectors")
    found = []
    for k, (arg, other) in enumerate(((a, b), (b, a))):
        for part in walk.parts(arg):
            found.append(_times_matrix(walk, part, k, walk.value(other), shapes, node.meta.shape))
    return found


def _times_matrix(walk, part, k, other, shapes, out):
    """A part of the left (k = 0) or right factor, times the other factor."""
    ndim = len(shapes[k])
    columns = np.asarray(part.columns)
    own = columns.ndim - ndim
    along = columns.ndim - 1 if k == 0 else own
    # Where the axis of the other factor goes, counted from the end: before that of a matrix on the right.
    at = -2 if k == 1 and ndim == 2 else -1
    if (columns == columns.take([0], along)).all():
        value = part.full(walk.dtype)
        columns = columns.take(0, along)
        if np.ndim(other) == 2:
            columns = np.expand_dims(columns, at)
        columns = np.broadcast_to(columns, columns.shape[:own] + out)
        walk.spend(columns.size * shapes[k][-1 if k == 0 else 0] // 8)
        return Part(walk.intern(columns), _matrix_product(value, other, k, ndim), part.sign)
    # The summed axis goes last: products of all pairs, then a sum.
    columns, value = np.moveaxis(columns, along, -1), part.value
    if type(value) is not float:
        value = anp.moveaxis(_aligned(value, columns.ndim), along, -1)
    if np.ndim(other) == 2:
        columns = np.expand_dims(columns, at - 1)
        value = value if type(value) is float else anp.expand_dims(value, at - 1)
        other = anp.transpose(other) if k == 0 else other
        other = anp.expand_dims(other, 1) if at == -2 else other
    full = out + columns.shape[-1:]
    columns = np.broadcast_to(columns, columns.shape[:own] + full)
    pairs = Part(walk.intern(columns), walk.times(value, other), part.sign)
    return _reduced(walk, pairs, full, [len(full) - 1])


def _matrix_product(value, other, k, ndim):
    """Derivatives of the left (k = 0) or right factor, a vector or matrix, times the other factor."""
    if k == 0:
        return anp.matmul(value, other)
    if ndim == 2:
        return anp.matmul(other, value)
    return anp.matmul(value, anp.transpose(other) if np.ndim(other) == 2 else other)


def _stacked_product(walk, node):
    found, batch = [], node.meta.shape[:-2]
    for k, (arg, other) in enumerate((node.args, node.args[::-1])):
        shape = _shape(arg)
        for part in walk.parts(arg):
            part = walk.broadcast(part, shape, batch + shape[-2:])
            found.append(_times_matrices(walk, part, k, walk.value(other), node.meta.shape))
    return found


def _times_matrices(walk, part, k, other, out):
    """A part of the left (k = 0) or right stack of matrices, times the other stack."""
    summed, free = (-1, -1) if k == 0 else (-2, -2)
    columns, value = np.asarray(part.columns), part.value
    size = columns.shape[summed]
    if (columns == columns.take([0], summed)).all():
        value = part.full(walk.dtype)
        columns = np.expand_dims(columns.take(0, summed), free)
        columns = np.broadcast_to(columns, columns.shape[: columns.ndim - len(out)] + out)
        walk.spend(columns.size * size // 8)
        value = anp.matmul(value, other) if k == 0 else anp.matmul(other, value)
        return Part(walk.intern(columns), value, part.sign)
    # Products of all pairs over (rows, summed, columns), then a sum.
    at, other_at = (-1, -3) if k == 0 else (-3, -1)
    if type(value) is not float:
        value = anp.expand_dims(_aligned(value, columns.ndim), at)
    columns = np.expand_dims(columns, at)
    full = (*out[:-1], size, out[-1])
    columns = np.broadcast_to(columns, columns.shape[: columns.ndim - len(full)] + full)
    pairs = Part(walk.intern(columns), walk.times(value, anp.expand_dims(other, other_at)), part.sign)
    return _reduced(walk, pairs, full, [len(full) - 2])


_row(_product, True, products.matmul, products.dot)


# --- linear functions of all items along some axes


def _along(walk, part, shape, axes):
    """A part whose columns are the same along some axes: those that are not become axes in front."""
    columns = np.asarray(part.columns)
    own = columns.ndim - len(shape)
    axes = [own + k for k in axes]
    if all((columns == columns.take([0], k)).all() for k in axes):
        return part
    sizes = [columns.shape[k] for k in axes]
    spread = np.moveaxis(columns, axes, range(len(axes)))
    spread = np.expand_dims(spread, [k + len(axes) for k in axes])
    spread = np.broadcast_to(spread, (*sizes, *columns.shape))
    here = np.ones((*sizes, *[1] * columns.ndim), bool)
    for place, k in enumerate(axes):
        line = [1] * here.ndim
        line[place] = line[len(axes) + k] = columns.shape[k]
        here = here & np.eye(columns.shape[k], dtype=bool).reshape(line)
    walk.pay(spread.shape)
    return Part(walk.intern(spread), anp.where(here, part.full(walk.dtype), 0.0), part.sign)


def _linear(walk, node, arg, axes, image):
    """Parts of a value whose items depend on all those of an argument along some axes.

    `image` is the linear function of derivatives that have more axes in front. All items of the result that
    have the same place along the other axes have the same columns.
    """
    shape, to, found = _shape(arg), node.meta.shape, []
    axes = [k % len(shape) for k in axes]
    for part in walk.parts(arg):
        part = _along(walk, part, shape, axes)
        own, columns = _own(part, shape), part.columns
        if shape != to:
            columns = columns.take([0], len(own) + axes[0]).take([0], len(own) + axes[1])
            columns = columns.reshape((*own, *shape[:-2], *[1] * (len(to) - len(shape) + 2)))
            columns = walk.intern(np.ascontiguousarray(np.broadcast_to(columns, own + to)))
        walk.pay(np.shape(columns))
        found.append(Part(columns, image(part.full(walk.dtype)), part.sign))
    return found


def _run(walk, node):
    axis, ndim = _option(node, "axis", 1, None), len(node.meta.shape)
    if (node.kwargs or {}).keys() - {"axis"} or len(node.args) > 2 or ndim != len(_shape(node.args[0])):
        raise Declined(f"{node.prim.name} with options, or of an array with several axes")
    axis = (axis or 0) % ndim - ndim
    return _linear(walk, node, node.args[0], [axis], lambda t: anp.cumsum(t, axis=axis))


def _inverted(walk, node):
    inverse = linalg.inv(walk.value(node.args[0]))

    def image(t):
        return anp.matmul(anp.matmul(anp.negative(inverse), t), inverse)

    return _linear(walk, node, node.args[0], [-2, -1], image)


def _solved(walk, node):
    a, b = (walk.value(arg) for arg in node.args)
    if np.ndim(a) != np.ndim(b) and (np.ndim(a), np.ndim(b)) != (2, 1):
        raise Declined("solve with a stack and a matrix or vector")
    ans = linalg.solve(a, b)
    column = np.ndim(b) == 1

    def of_matrix(t):
        return _solutions(a, anp.negative(anp.matmul(t, ans[:, None] if column else ans)), column)

    def of_right_side(t):
        return _solutions(a, t[..., None] if column else t, column)

    found = _linear(walk, node, node.args[0], [-2, -1], of_matrix)
    return found + _linear(walk, node, node.args[1], [-1 if column else -2], of_right_side)


def _solutions(a, b, column):
    """Of systems with right sides that have more axes in front; those of one matrix beside one another."""
    if np.ndim(a) == 2 and np.ndim(b) > 2:
        b = anp.moveaxis(b, -2, 0)
        solution = anp.moveaxis(anp.reshape(linalg.solve(a, anp.reshape(b, (len(b), -1))), b.shape), 0, -2)
    else:
        solution = linalg.solve(a, b)
    return solution[..., 0] if column else solution


_row(_run, False, *_registered("cumsum"))
_row(_inverted, True, linalg.inv)
_row(_solved, True, linalg.solve)
