"""How the measurements are printed: one row for each work, as it is measured."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from autograd_c import _core

from .peers import CONTENDERS, OURS, REPLAYED
from .workloads import COMPILED, EAGER, Target

__all__ = ["MODES", "RECORDING", "Table", "machine", "mark"]

NAME_WIDTH = 28

#: Our columns that have targets, and the mode whose targets these are.
MODES = {OURS: EAGER, REPLAYED: COMPILED}

#: Recording and planning takes at most so many eager gradients.
RECORDING = 10.0
CELL_WIDTH = 12

#: What a distribution is called where its module has another name.
DISTRIBUTIONS = {"autograd_c": "autograd-c"}


class Table:
    """The table of ratios, written row by row.

    Parameters
    ----------
    keys : sequence of str
        The contenders, as in `autograd_c.bench.peers.CONTENDERS`; those with targets come first.
    out : file
        Where to write.
    """

    def __init__(self, keys: Sequence[str], out: TextIO) -> None:
        self.keys = [*MODES, *(key for key in keys if key not in MODES)]
        self.out = out

    def head(self) -> None:
        """Write the titles."""
        titles = ["NumPy us"]
        for key in self.keys:
            titles += [CONTENDERS[key].title, *(["must/aim"] if key in MODES else [])]
            titles += ["recording"] if key == REPLAYED else []
        self.line("work", titles)
        self.line("-" * NAME_WIDTH, ["-" * (CELL_WIDTH - 2)] * len(titles))

    def row(self, figures: Mapping[str, Any]) -> None:
        """Write one work.

        Parameters
        ----------
        figures : mapping
            As `autograd_c.bench.measure_work` returns them. A contender without a ratio gets a dash, one that
            raised the word "failed".
        """
        cells = [f"{figures['forward_seconds'] * 1e6:.2f}"]
        for key in self.keys:
            ratio = figures["ratios"].get(key)
            target = figures["targets"].get(MODES.get(key), Target())
            cells.append("failed " if key in figures["failures"] else number(ratio) + mark(target, ratio))
            if key in MODES:
                cells.append(f"{number(target.must)}/{number(target.aim)}" if target.must else "-")
            if key == REPLAYED:
                recording = figures["recording"]
                cells.append(number(recording) + mark(Target(RECORDING), recording))
        self.line(figures["name"], cells)

    def line(self, name: str, cells: Iterable[str]) -> None:
        """Write one line, the first column to the left and the others to the right."""
        padded = "".join(f"{cell:>{CELL_WIDTH}}" for cell in cells)
        print(f"{name:<{NAME_WIDTH}}{padded}", file=self.out, flush=True)


def number(value: float | None) -> str:
    """Return a ratio with the digits that its noise leaves meaningful.

    Examples
    --------
    >>> number(0.5123), number(217.4), number(None)
    ('0.51', '217', '-')
    """
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def mark(target: Target, ratio: float | None) -> str:
    """Return ``*`` where a ratio reaches the aim, ``!`` where it misses what it must reach, else a blank.

    Examples
    --------
    >>> mark(Target(2.0, 1.0), 0.9), mark(Target(2.0, 1.0), 1.5), mark(Target(2.0, 1.0), 2.5)
    ('*', ' ', '!')
    """
    if target.must is None or ratio is None:
        return " "
    if ratio > target.must:
        return "!"
    return "*" if target.aim is not None and ratio <= target.aim else " "


def machine(keys: Iterable[str]) -> dict[str, str]:
    """Return what the figures were measured on: the processor, and the versions of all that took part."""
    modules = ["numpy", "scipy", *dict.fromkeys(CONTENDERS[key].module for key in keys)]
    return {
        "processor": processor(),
        "own loops": _core.wide_loops().upper() or "none",
        "system": platform.platform(),
        "python": platform.python_version(),
        **{module: version(module) for module in modules},
    }


def version(module):
    try:
        return metadata.version(DISTRIBUTIONS.get(module, module))
    except metadata.PackageNotFoundError:
        return "not installed"


def processor():
    """Return the processor's name, which only Linux keeps out of reach of `platform`."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
