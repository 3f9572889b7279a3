"""How the measurements are printed: one row for each work, as it is measured."""

import platform
from collections.abc import Container, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TextIO

from .peers import CONTENDERS, OURS
from .workloads import EAGER, Workload

__all__ = ["Table", "machine", "mark"]

NAME_WIDTH = 28
CELL_WIDTH = 12

#: What a distribution is called where its module has another name.
DISTRIBUTIONS = {"autograd_c": "autograd-c"}


class Table:
    """The table of ratios, written row by row.

    Parameters
    ----------
    keys : sequence of str
        The contenders, as in `autograd_c.bench.peers.CONTENDERS`; they follow the targets, ours comes first.
    out : file
        Where to write.
    """

    def __init__(self, keys: Sequence[str], out: TextIO) -> None:
        self.keys = keys
        self.out = out

    def head(self) -> None:
        """Write the titles."""
        titles = ["NumPy us", *self.ordered(lambda key: CONTENDERS[key].title, ("must", "aim"))]
        self.line("work", titles)
        self.line("-" * NAME_WIDTH, ["-" * (CELL_WIDTH - 2)] * len(titles))

    def row(
        self, workload: Workload, forward: float, ratios: Mapping[str, float], failed: Container[str] = ()
    ) -> None:
        """Write one work.

        Parameters
        ----------
        workload : Workload
            The work.
        forward : float
            Seconds of NumPy's forward pass.
        ratios : mapping of str to float
            The contenders' ratios to it; one that has none gets a dash.
        failed : container of str
            The contenders that raised.
        """

        def cell(key):
            ratio = ratios.get(key)
            return "failed " if key in failed else number(ratio) + mark(workload, key, ratio)

        target = workload.targets.get(EAGER)
        targets = (number(target and target.must), number(target and target.aim))
        self.line(workload.name, [f"{forward * 1e6:.2f}", *self.ordered(cell, targets)])

    def ordered(self, cell, targets):
        """Return the cells with the targets right after our own column, where the eye compares them."""
        cells = {key: cell(key) for key in self.keys}
        return [cells.pop(OURS), *targets, *cells.values()]

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


def mark(workload: Workload, key: str, ratio: float | None) -> str:
    """Return ``*`` where our ratio reaches its aim, ``!`` where it misses what it must, else a blank."""
    target = workload.targets.get(EAGER)
    if key != OURS or target is None or ratio is None:
        return " "
    if ratio > target.must:
        return "!"
    return "*" if target.aim is not None and ratio <= target.aim else " "


def machine(keys: Iterable[str]) -> dict[str, str]:
    """Return what the figures were measured on: the processor, and the versions of all that took part."""
    modules = ["numpy", "scipy", *dict.fromkeys(CONTENDERS[key].module for key in keys)]
    return {
        "processor": processor(),
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
