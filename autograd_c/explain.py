"""What the programs of compiled functions do, for people: as text, as a picture, as counts.

A program is read back from its planned recording (`_core.units_of`): units in the order of execution, each
with the nodes that it computes::

    group over (1000,): tanh, square, 3 multiply -> %9 (1000,), %12
    |                   |                           |
    kind and shape      the nodes                   values that are needed behind the unit

Values are ``%n``, by the numbers of the nodes in the program; inputs come first.
"""

import collections
from html import escape
from math import prod
from typing import NamedTuple

import numpy as np

from . import _core

__all__ = ["Unit", "describe_program", "draw", "units_of", "work_of"]

INPUT, CALL, GUARD, CHECK = range(4)
# Units that a text or a picture shows of one program; the middle of longer ones is left out.
_SHOWN = 40
_INDEXING = ("getitem", "item_by", "scatter_by", "index_add", "setitem")
_REDUCTIONS = ("sum", "mean", "prod", "max", "min", "amax", "amin")


class Unit(NamedTuple):
    """A unit of a program."""

    kind: str
    nodes: list
    shape: tuple  # over which a group runs
    late: bool  # depends on a seed: done once for each row
    reads: dict  # node number -> node, of what comes from other units
    writes: list  # nodes whose values are needed behind it


def units_of(recording):
    """The units of a planned recording in the order of execution."""
    return _units_and_results(recording)[0]


def _units_and_results(recording):
    """The units, and the nodes and constants that the program returns."""
    if recording.forgotten:
        return [], recording.results
    units, results, updates = _core.units_of(recording)
    home, needed = {}, set()
    for place, (_, nodes, *_) in enumerate(units):
        home.update((node.number, place) for node in nodes)
    reads = []
    for place, (_, nodes, *_) in enumerate(units):
        outside = {}
        for node in nodes:
            for arg in filter(_is_node, node.args):
                for source in _sources(arg, home):
                    if home.get(source.number) != place:
                        outside[source.number] = source
        needed |= outside.keys()
        reads.append(outside)
    for result in [*results, *updates]:
        if _is_node(result):
            needed.update(source.number for source in _sources(result, home))
    units = [
        Unit(kind, nodes, shape, late, outside, [node for node in nodes if node.number in needed])
        for (kind, nodes, shape, late), outside in zip(units, reads, strict=True)
    ]
    return units, results


def _is_node(value):
    return type(value) is _core.Node


def _sources(node, home):
    """The value behind a chain of views, which are no units."""
    while node.number not in home and node.kind != INPUT:
        node = next(filter(_is_node, node.args))
    return (node,)


# ---------------------------------------------------------------- words


def _plural(number, word):
    ending = "" if number == 1 else "es" if word.endswith(("h", "s")) else "s"
    return f"{number:,} {word}{ending}"


def _name(node):
    if node.prim is None:
        return "bool"
    return node.prim.name.removeprefix("_")


def _shape(node):
    return "" if node.meta is None or not node.meta.shape else f" {node.meta.shape}"


def _value(arg):
    """An operand as text."""
    if _is_node(arg):
        return f"%{arg.number}{_shape(arg)}"
    if isinstance(arg, np.ndarray):
        return f"constant {arg.dtype} {arg.shape}"
    if isinstance(arg, (tuple, list)) and all(item is None or isinstance(item, int) for item in arg):
        return f"{arg!r:.30}"
    if arg is None or isinstance(arg, (bool, int, float, complex, str, slice, np.generic)):
        return f"{arg!r:.30}"
    return type(arg).__name__


def _names(nodes, most=12):
    """The calls of a unit: one by one where they are few, else counted in the order of appearance."""
    if len(nodes) <= most:
        return ", ".join(map(_name, nodes))
    counts = collections.Counter(map(_name, nodes))
    return ", ".join(name if n == 1 else f"{n} {name}" for name, n in counts.items())


def _title(unit):
    if unit.kind == "group":
        return f"group of {len(unit.nodes)} over {unit.shape}"
    if unit.kind == "scalars":
        return _plural(len(unit.nodes), "scalar instruction")
    return {"clear": "zeros", "python": "Python"}.get(unit.kind, _name(unit.nodes[0]))


def _text(unit):
    """A unit as one line."""
    first = unit.nodes[0]
    to = ", ".join(f"%{node.number}{_shape(node)}" for node in unit.writes[:4])
    to = f" -> {to}" + (", ..." if len(unit.writes) > 4 else "") if to else ""
    if unit.kind in ("group", "scalars"):
        return f"{_title(unit)}: {_names(unit.nodes)}{to}"
    if unit.kind == "product":
        operands = " x ".join(map(_value, first.args[:2])) + "".join(
            f" + {_value(to)}" for to in first.args[2:]
        )
    else:
        operands = ", ".join(map(_value, first.args[:4])) + (", ..." if len(first.args) > 4 else "")
    if unit.kind == "python":
        return f"Python: {_name(first)}({operands}){to}; {why_python(first)}"
    return f"{_title(unit)} {operands}{to}".replace("  ", " ")


def why_python(node):
    """Why a step runs in Python."""
    if node.kind == GUARD:
        return "the truth of an array"
    if node.kind == CHECK:
        return f"compares its result with {node.outcome!r:.30}"
    if node.meta is None:
        return "it returns several values"
    dtypes = [value.meta.dtype for value in [node, *filter(_is_node, node.args)] if value.meta is not None]
    dtypes += [arg.dtype for arg in node.args if isinstance(arg, np.ndarray)]
    for dtype in dtypes:
        if dtype.char not in "fdFD?" and not (_name(node) in _INDEXING and dtype.kind in "iu"):
            return f"{dtype} has no native instructions"
    if _name(node) in _INDEXING:
        return "an index array"
    if node.prim.kind == "elementwise" and not isinstance(node.prim.fun, np.ufunc):
        return "a Python function"
    if node.prim.name in _REDUCTIONS or isinstance(node.prim.fun, np.ufunc):
        return "these axes, keywords or dtypes have no native instruction"
    return "no native instruction"


def describe_program(program, recording, later=None):
    """Lines about a program.

    Parameters
    ----------
    program : _core.ReplayProgram
    recording : _core.Recording
        From which it was planned.
    later : str, optional
        A line that stands before the units that depend on seeds.
    """
    if recording.forgotten:
        return _describe_long(program, recording)
    units = units_of(recording)
    kinds = collections.Counter(unit.kind for unit in units)
    nodes = sum(len(unit.nodes) for unit in units)
    scalars = sum(len(unit.nodes) for unit in units if unit.kind == "scalars")
    parts = [
        (kinds["group"], "fused group"),
        (scalars, "scalar instruction"),
        (kinds["product"], "product"),
        (kinds["routine"], "call of linear algebra"),
        (kinds["scan"], "running sum or product"),
        (kinds["copies"] + kinds["clear"], "fill or copy"),
        (kinds["python"], "step in Python"),
    ]
    lines = _size(program, len(recording), nodes, parts)
    lines += _own_functions(units) + _guards(recording)
    for place, unit in _some(units):
        if unit and unit.late and later:
            lines.append(later)
            later = None
        lines.append(f"{place + 1:4d}  {_text(unit)}" if unit else f"      ... {place:,} more")
    return lines


def _describe_long(program, recording):
    """The same of a program whose steps were too many to be kept."""
    summary = program.summary
    parts = [(summary["groups"], "fused group"), (summary["scalars"], "scalar instruction")]
    parts.append((len(summary["python"]), "step in Python"))
    lines = _size(program, summary["recorded"], summary["nodes"], parts)
    return [*lines, "its steps are not kept: it has too many", *_guards(recording)]


def _size(program, recorded, nodes, parts):
    """How much a program does, and the memory that it takes."""
    said = ", ".join(_counted(number, word) for number, word in parts if number)
    lines = [
        f"program: {recorded:,} recorded, {nodes:,} computed: {said or 'nothing'}",
        f"memory between inputs and results: {program.arena_bytes:,} bytes",
    ]
    translated = program.summary["translated"]
    return lines + ([f"machine code: of {_plural(translated, 'scalar instruction')}"] if translated else [])


def _own_functions(units):
    """The functions that `fastmath` takes from this package."""
    names = dict.fromkeys(_name(node) for unit in units for node in unit.nodes if node.own_loop)
    return [f"for {_core.own_functions()}: {', '.join(names)}"] if names else []


def _guards(recording):
    return [f"guard: {guard.outcome!r:.40}" + _at(guard) for guard in recording.guards]


def _counted(number, word):
    if word == "step in Python":
        return f"{number:,} step{'s' * (number != 1)} in Python"
    if word == "call of linear algebra":
        return f"{number:,} call{'s' * (number != 1)} of linear algebra"
    if word == "running sum or product":
        return f"{number:,} running sum{'s' * (number != 1)} or product{'s' * (number != 1)}"
    if word == "fill or copy":
        return f"{number:,} fill{'s' * (number != 1)} or cop{'y' if number == 1 else 'ies'}"
    return _plural(number, word)


def _at(guard):
    return f" at {guard.line}" if guard.line else ""


def _some(units):
    """The units with their places; of many the first and the last, and between them how many are left out."""
    numbered = list(enumerate(units))
    if len(units) <= _SHOWN:
        return numbered
    head, tail = numbered[: _SHOWN * 3 // 4], numbered[-_SHOWN // 4 :]
    return [*head, (len(units) - len(head) - len(tail), None), *tail]


# ---------------------------------------------------------------- work


def work_of(program, recording, rows=1):
    """Flops, bytes and unknown steps of one run of a planned recording.

    Of a program with too many steps to be kept, scalar instructions are all that is known.

    Parameters
    ----------
    program : _core.ReplayProgram
    recording : _core.Recording
        From which it was planned.
    rows : int, optional
        How often the units that depend on seeds are run.

    Returns
    -------
    flops : int
    bytes : int
        What units read and write: each operand from outside once, and each value that is needed behind it.
    unknown : Counter
        Names of the steps in Python.
    """
    if recording.forgotten:
        unknown = collections.Counter(program.summary["python"])
        unknown.update({"group": program.summary["groups"]} if program.summary["groups"] else {})
        return program.summary["scalars"], 0, unknown
    flops = moved = 0
    unknown = collections.Counter()
    for unit in units_of(recording):
        times = rows if unit.late else 1
        if unit.kind == "python":
            unknown.update({_name(node): times for node in unit.nodes})
        flops += times * sum(_flops(node, unit) for node in unit.nodes)
        if unit.kind != "scalars":
            moved += times * sum(map(_bytes, [*unit.reads.values(), *unit.writes, *_constants(unit)]))
    return flops, moved, unknown


def _constants(unit):
    arrays = [arg for node in unit.nodes for arg in node.args if isinstance(arg, np.ndarray)]
    return {id(array): array for array in arrays}.values()


def _flops(node, unit):
    if unit.kind == "product":
        a, b = (arg.meta.shape if _is_node(arg) else arg.shape for arg in node.args[:2])
        return 2 * node.meta.size * a[-1]
    if unit.kind == "routine":
        return _routine_flops(node)
    if unit.kind == "scan":
        return node.meta.size
    if unit.kind == "group":
        return prod(unit.shape) if _name(node) != "setitem" else 0
    return int(unit.kind == "scalars" and node.kind == CALL and _name(node) not in ("getitem", "array"))


# Multiples of the cube of the order.
_CUBES = {"cholesky": 1 / 3, "solve": 2 / 3, "solve_triangular": 0, "inv": 2, "det": 2 / 3, "slogdet": 2 / 3}


def _routine_flops(node):
    """Of a call of linear algebra, in the leading terms."""
    shape, *others = (arg.meta.shape if _is_node(arg) else arg.shape for arg in node.args[:2])
    order, cubes = shape[-1], _CUBES[_name(node)]
    if _name(node) == "cholesky" and others:  # the adjoint
        return int(node.meta.size * order)
    return int(prod(shape[:-2]) * cubes * order**3) + (node.meta.size * order if others else 0)


def _bytes(value):
    if isinstance(value, np.ndarray):
        return value.nbytes
    return value.meta.size * value.meta.dtype.itemsize if value.meta is not None else 0


# ---------------------------------------------------------------- a picture

_COLORS = {
    "input": "#e8e8e8",
    "scalars": "#fff3c4",
    "group": "#d6eadf",
    "product": "#cfe3f5",
    "routine": "#cfe3f5",
    "scan": "#d6eadf",
    "copies": "#eeeeee",
    "clear": "#eeeeee",
    "python": "#f7cfc9",
    "result": "#e8e8e8",
    "more": "#ffffff",
}
_WIDTH, _GAP, _LINE, _PAD = 190, 60, 14, 8


class _Box:
    """A rectangle with lines of text, in a column of the picture."""

    def __init__(self, kind, lines, column, about=""):
        self.kind = kind
        self.lines = [line if len(line) <= 32 else line[:31] + "…" for line in lines]
        self.column = column
        self.about = about
        self.x = self.y = 0
        self.height = 2 * _PAD + _LINE * len(self.lines)

    def svg(self):
        rows = "".join(
            f'<tspan x="{self.x + _PAD}" dy="{_LINE}">{escape(line)}</tspan>' for line in self.lines
        )
        return (
            f'<g><title>{escape(self.about)}</title><rect x="{self.x}" y="{self.y}" width="{_WIDTH}" '
            f'height="{self.height}" rx="5" fill="{_COLORS[self.kind]}" stroke="#888"/>'
            f'<text x="{self.x + _PAD}" y="{self.y + _PAD - 3}">{rows}</text></g>'
        )


def draw(programs):
    """Programs as one SVG picture, one below the other: units as boxes, in columns by what they wait for.

    Parameters
    ----------
    programs : list of (str, Recording)
        A heading and a planned recording each.

    Returns
    -------
    str
    """
    top, width, parts = 10, 300, []
    for heading, recording in programs:
        body, right, bottom = _picture(recording, top + 30)
        parts.append(f'<text x="10" y="{top + 15}" font-weight="bold">{escape(heading)}</text>')
        parts += body
        width, top = max(width, right, 20 + 8 * len(heading)), bottom + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}" font-family="sans-serif" '
        f'font-size="11">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _picture(recording, top):
    boxes, edges = _graph(recording)
    heights = collections.defaultdict(lambda: top)
    for box in boxes:
        box.x, box.y = 10 + box.column * (_WIDTH + _GAP), heights[box.column]
        heights[box.column] += box.height + 16
    lines = [_edge(*edge) for edge in edges]
    right = max((box.x + _WIDTH for box in boxes), default=0) + 10
    return lines + [box.svg() for box in boxes], right, max(heights.values(), default=top)


def _edge(source, to, label):
    x1, y1 = source.x + _WIDTH, source.y + source.height / 2
    x2, y2 = to.x, to.y + to.height / 2
    bend = _GAP / 2
    return (
        f'<path d="M{x1},{y1} C{x1 + bend},{y1} {x2 - bend},{y2} {x2},{y2}" fill="none" stroke="#999">'
        f"<title>{escape(label)}</title></path>"
    )


def _graph(recording):
    """Boxes and the edges between them."""
    boxes, edges, maker = [], [], {}
    for node in recording.inputs:
        boxes.append(_Box("input", [f"input %{node.number}", f"{node.meta.dtype}{_shape(node)}"], 0))
        maker[node.number] = boxes[-1]
    units, results = _units_and_results(recording)
    for place, unit in _some(units):
        if unit is None:
            boxes.append(_Box("more", [f"{place:,} more steps"], max(box.column for box in boxes) + 1))
            continue
        sources = {number: maker[number] for number in unit.reads if number in maker}
        column = 1 + max((box.column for box in sources.values()), default=0)
        box = _Box(unit.kind, [_title(unit), *_lines(unit)], column, f"{place + 1}: {_text(unit)}")
        boxes.append(box)
        edges += [
            (source, box, f"%{number}{_shape(unit.reads[number])}") for number, source in sources.items()
        ]
        maker.update((node.number, box) for node in unit.nodes)
    last = max((box.column for box in boxes), default=0) + 1
    home = {node.number for unit in units for node in unit.nodes}
    for place, result in enumerate(results):
        boxes.append(_Box("result", [f"result {place}", _value(result)], last))
        if _is_node(result) and not recording.forgotten:
            (source,) = _sources(result, home)
            if source.number in maker:
                edges.append((maker[source.number], boxes[-1], _value(result)))
    return boxes, edges


def _lines(unit, most=6):
    """The inside of a box: the calls, counted."""
    if unit.kind in ("group", "scalars"):
        counts = collections.Counter(map(_name, unit.nodes))
        lines = [name if n == 1 else f"{n} {name}" for name, n in counts.items()]
        return lines if len(lines) <= most else [*lines[: most - 1], f"{len(lines) - most + 1} others"]
    if unit.kind == "python":
        return [_name(unit.nodes[0]), why_python(unit.nodes[0])]
    return [f"-> {_value(unit.nodes[0])}"]
