"""`autograd-c bench`: what a derivative costs on this machine, as a multiple of plain NumPy's forward pass.

Works and their inputs are in `workloads`, the way they are timed in `timing`, the other libraries in `peers`,
and what is measured beside the ratios in `overheads`.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autograd_c.cli import OneLineParser

from .overheads import OVERHEADS, Settings
from .peers import CONTENDERS, DEFAULT_PEERS, OURS, OWN, REPLAYED, compiled, installed, programs
from .report import RECORDING, Table, machine
from .timing import ONE_THREAD, measure, one_core, one_thread_asked, quiet_collector, ratios, turn
from .workloads import WORKLOADS, Target, Workload, select

__all__ = ["main"]

FORWARD = "forward"
LEGEND = f"""\
Ratios to NumPy's forward pass: * reaches the aim, ! misses what it must reach, - not available.
Recording: the first two calls of a compiled function, in eager derivatives; at most {RECORDING:.0f}."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``autograd-c bench``.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after ``bench``; those of the process when not given.

    Returns
    -------
    int
        0 when everything was measured, 1 when something of our own failed. A wrong argument ends the process
        with exit code 2 instead.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = make_parser()
    options = parser.parse_args(argv)
    works, overheads = chosen(options.only, options.large)
    if not works and not overheads:
        parser.error(f"argument --only: nothing is called {options.only!r}; names are {', '.join(names())}")
    if not one_thread_asked():
        return again_on_one_thread(argv)
    return run(options, works, overheads)


# ---- options ----------------------------------------------------------------------------------------------


def make_parser():
    parser = OneLineParser(
        prog="autograd-c bench",
        description="Measure derivatives on one thread, as ratios to the time of plain NumPy's forward pass.",
        epilog=f"Works and overheads: {', '.join(names())}.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="measure for a shorter time, for a first impression"
    )
    parser.add_argument(
        "--only", metavar="PATTERN", help="only what is called PATTERN, or has it in its name"
    )
    parser.add_argument(
        "--peers",
        type=peer_list,
        metavar="LIST",
        help=f"other libraries, of {', '.join(peer_names())}, or 'none'; "
        f"default: those installed of {', '.join(DEFAULT_PEERS)}",
    )
    parser.add_argument("--json", type=writable, metavar="FILE", help="write the figures to FILE, too")
    parser.add_argument(
        "--large",
        action="store_true",
        help="all works, also those that take minutes, and a scalar chain of 10 million entries",
    )
    return parser


def names():
    return [*WORKLOADS, *OVERHEADS]


def peer_names():
    return [key for key in CONTENDERS if key not in OWN]


def chosen(pattern, large=False):
    """Return the works and the names of the overheads that `pattern` selects: one by its name, or several."""
    overheads = [name for name in OVERHEADS if pattern is None or pattern in name]
    if pattern in OVERHEADS:
        overheads = [pattern]
    return select(pattern, large), [] if pattern in WORKLOADS else overheads


def peer_list(text):
    """Return the peers that `text` names, which must all be installed."""
    keys = [] if text == "none" else text.split(",")
    for key in keys:
        if key not in peer_names():
            raise argparse.ArgumentTypeError(f"no peer {key!r}; there are {', '.join(peer_names())} and none")
        if not installed([key]):
            raise argparse.ArgumentTypeError(
                f"{CONTENDERS[key].module} is not installed; pip install it first"
            )
    return keys


def writable(text):
    """Return the file to write to, refused before a long measurement rather than after it."""
    path = Path(text)
    if (
        path.is_dir()
        or not path.parent.is_dir()
        or not os.access(path if path.exists() else path.parent, os.W_OK)
    ):
        raise argparse.ArgumentTypeError(f"cannot write to {text}")
    return path


# ---- measuring --------------------------------------------------------------------------------------------


def again_on_one_thread(argv):
    """Run the command in a new process, since libraries read their number of threads when they are loaded."""
    command = [sys.executable, "-m", __name__, *argv]
    return subprocess.run(command, env=os.environ | ONE_THREAD, check=False).returncode


def run(options, works, overheads):
    peers = installed(DEFAULT_PEERS) if options.peers is None else options.peers
    keys = [key for key in CONTENDERS if key in OWN or key in peers]
    about = {"date": datetime.date.today().isoformat(), **machine(keys)}
    print(", ".join(f"{name} {value}" for name, value in about.items()), end="\n\n")
    with one_core():
        rows = measure_works(works, keys, seconds=0.3 if options.quick else 2.0) if works else []
    failures = [f"{row['name']}, {key}: {reason}" for row in rows for key, reason in row["failures"].items()]
    print(*failures, sep="\n", end="\n" if failures else "")
    figures = measure_overheads(overheads, settings_from(options))
    if options.json:
        written = {"machine": about, "works": rows, "overheads": figures}
        options.json.write_text(json.dumps(written, indent=2, default=vars))
    return int(len(figures) < len(overheads) or any(key in row["failures"] for row in rows for key in OWN))


def settings_from(options):
    entries = 10**7 if options.large else 10**6
    return Settings(seconds=0.1, processes=3, entries=entries) if options.quick else Settings(entries=entries)


def measure_works(works, keys, seconds):
    table = Table(keys, sys.stdout)
    table.head()
    rows = []
    for workload in works:
        row = measure_work(workload, keys, seconds)
        table.row(row)
        rows.append(row)
    print(LEGEND)
    for row in rows:
        if row["python"]:
            print(f"{row['name']}: left to Python in the replay: {counted(row['python'])}")
    print()
    return rows


def counted(names):
    """Return names in their order, with how often each of them occurs."""
    numbers = {name: names.count(name) for name in dict.fromkeys(names)}
    return ", ".join(name if count == 1 else f"{name} ({count})" for name, count in numbers.items())


def measure_work(workload: Workload, keys: Sequence[str], seconds: float) -> dict[str, Any]:
    """Return a work's figures.

    A contender that raises is left out and its error reported, so that one of them cannot cost the others.

    Returns
    -------
    dict
        Seconds of the forward pass, or of as many as the ratios are relative to; every contender's ratio to
        them; targets by mode; errors by contender; ``recording``, the first two calls of the compiled
        function in eager derivatives (None for what records by itself); ``python``, the names of what its
        replay leaves to Python.
    """
    inputs, forward = workload.make_inputs(), workload.forward()
    calls: dict[str, Any] = {FORWARD: lambda: forward(*inputs)}
    failures = {}
    for key in keys:
        try:
            call = CONTENDERS[key].prepare(workload)
            if call is not None:
                call()
                calls[key] = call
        except Exception as error:
            failures[key] = f"{type(error).__name__}: {error}".splitlines()[0]
    best = measure(calls, seconds=seconds, min_rounds=3 if workload.large else 5)
    eager = best.get(OURS)
    best[FORWARD] *= workload.passes
    compared = ratios(best, FORWARD)
    recorded = programs(getattr(calls.get(REPLAYED), "func", None))
    return {
        "name": workload.name,
        "title": workload.title,
        "large": workload.large,
        "forward_seconds": best[FORWARD],
        "ratios": compared,
        "targets": {mode: resolved(target, compared) for mode, target in workload.targets.items()},
        "recording": recording_seconds(workload) / eager if eager and recorded else None,
        "python": [name for program in recorded for name in program.summary["python"]],
        "failures": failures,
    }


def resolved(target, compared):
    """Return the target in numbers: where it is the fastest peer, that peer's ratio."""
    peers = [ratio for key, ratio in compared.items() if key not in OWN]
    return target if target.must is not None else Target(min(peers, default=None), target.aim)


def recording_seconds(workload, least=3, most=300, seconds=0.3):
    """Return the time of a compiled function's first two calls, which record it and make its program.

    The fastest of at least `least` compiled functions, and of up to `most` while `seconds` have not passed;
    like all other times it is taken while the collector looks at no object of the imports.
    """
    inputs = workload.make_inputs()

    def once():
        function = compiled(workload)
        return turn(lambda: function(*inputs), 2, time.perf_counter)

    with quiet_collector():
        begun = time.perf_counter()
        taken = [once() for _ in range(least)]
        while len(taken) < most and time.perf_counter() - begun < seconds:
            taken.append(once())
    return min(taken)


def measure_overheads(overheads, settings):
    """Print what the overheads say and return their figures; one that fails is left out, with its reason."""
    figures = {}
    for name in overheads:
        try:
            sentence, figures[name] = OVERHEADS[name](settings)
        except (subprocess.CalledProcessError, MemoryError) as error:
            sentence = f"{name}: {type(error).__name__}: {error}"
        print(sentence, flush=True)
    return figures
