"""Writes the measured figures into the documentation: ``python benchmarks/report.py figures.json``.

`figures.json` is what ``autograd-c bench --json figures.json`` wrote. README.md and docs/performance.md each
have two comments, between which the text is replaced; see docs/performance.md for the whole procedure.
"""

import argparse
import json
import re
from pathlib import Path

from autograd_c.bench.peers import CONTENDERS, FAST, OURS, OWN, REPLAYED
from autograd_c.bench.report import MODES, RECORDING, number
from autograd_c.bench.workloads import COMPILED, EAGER

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"(<!-- figures: begin.*?-->\n)(.*?)(<!-- figures: end -->)", flags=re.DOTALL)

SOFTWARE = {"python": "Python", "numpy": "NumPy", "scipy": "SciPy", "autograd_c": "autograd_c"}
PEERS = {"autograd": "HIPS/autograd", "torch": "PyTorch", "jax": "JAX", "casadi": "CasADi"}

#: Peers for the table of each mode; in the terminal they are columns of one table.
BESIDE = {
    OURS: ("hand", "hips", "torch", "torch-compile", "jax"),
    REPLAYED: ("hand", "torch", "jax", "casadi"),
}


def main():
    parser = argparse.ArgumentParser(
        description="Write measured figures into README.md and docs/performance.md."
    )
    parser.add_argument("figures", type=Path, help="the file that `autograd-c bench --json` wrote")
    figures = json.loads(parser.parse_args().figures.read_text())
    replace_block(ROOT / "README.md", short_report(figures))
    replace_block(ROOT / "docs" / "performance.md", full_report(figures))


def replace_block(path, text):
    """Put `text` between the two comments in the file `path`."""
    old = path.read_text(encoding="utf-8")
    new, count = BLOCK.subn(lambda match: f"{match[1]}\n{text}\n\n{match[3]}", old)
    if count != 1:
        raise SystemExit(f"{path.name}: there must be one block between the comments, not {count}")
    path.write_text(new, encoding="utf-8")


# ---- what is reported -------------------------------------------------------------------------------------


def short_report(figures):
    """The works that have a target for one gradient, ours beside the peers."""
    works = [work for work in figures["works"] if EAGER in work["targets"]]
    keys = measured_keys(works)
    header = ["work", *(CONTENDERS[key].title for key in keys)]
    lines = [[work["title"], *(ratio(work, key) for key in keys)] for work in works]
    return table(header, lines) + "\n\n" + measured_on(figures["machine"])


def full_report(figures):
    """Both modes, with targets and the time of NumPy's pass, and what is measured beside the ratios."""
    works = figures["works"]
    beside = table(["beside the ratios", "at most", "measured"], overheads(figures["overheads"]))
    return "\n\n".join(
        [
            measured_on(figures["machine"]),
            "### One derivative, recorded anew at every call",
            eager_table([work for work in works if not work["large"]]),
            "### Compiled: replayed after the first call",
            compiled_table(works),
            *left_to_python(works),
            "### Beside the ratios",
            beside,
        ]
    )


def eager_table(works):
    return works_table(works, EAGER, OURS, {"autograd_c": lambda work: ratio(work, OURS)}, {})


def compiled_table(works):
    ours = {
        "compiled": lambda work: ratio(work, REPLAYED),
        CONTENDERS[FAST].title: lambda work: ratio(work, FAST),
        "eager": lambda work: number(work["ratios"].get(OURS)),
    }
    return works_table(works, COMPILED, REPLAYED, ours, {"recording": lambda work: number(work["recording"])})


def works_table(works, mode, contender, ours, more):
    """A line for each work: columns of our own between its targets and its peers, and more behind."""
    columns = {
        "work": lambda work: work["title"],
        "NumPy, µs": microseconds,
        "must": lambda work: number(target(work, mode, "must")),
        "aim": lambda work: number(target(work, mode, "aim")),
        **ours,
        **{
            CONTENDERS[key].title: lambda work, key=key: ratio(work, key)
            for key in measured_keys(works)
            if key in BESIDE[contender]
        },
        "reached": lambda work: reached(work, contender),
        **more,
    }
    return table(columns, [[cell(work) for cell in columns.values()] for work in works])


def left_to_python(works):
    """A paragraph on what the replays leave to Python, if anything."""
    parts = [
        f"{work['name']}: {', '.join(f'`{name}`' for name in dict.fromkeys(work['python']))}"
        for work in works
        if work["python"]
    ]
    if parts:
        yield f"Left to Python inside the replay: {'; '.join(parts)}."


def measured_keys(works):
    """The contenders that were measured, in the order of the columns."""
    return [key for key in CONTENDERS if any(key in work["ratios"] for work in works)]


def microseconds(work):
    return f"{work['forward_seconds'] * 1e6:,.1f}"


def ratio(work, key):
    text = number(work["ratios"].get(key))
    return f"**{text}**" if key in OWN else text


def target(work, mode, which):
    return work["targets"].get(mode, {}).get(which)


def reached(work, key):
    """What our ratio reaches: the aim, what it must, or neither; nothing where there is no target."""
    must, aim, ours = (
        target(work, MODES[key], "must"),
        target(work, MODES[key], "aim"),
        work["ratios"].get(key),
    )
    if must is None or ours is None:
        return ""
    if ours > must:
        return "no"
    return "aim" if aim is not None and ours <= aim else "must"


def overheads(figures):
    """The lines of the second table."""
    if calls := figures.get("calls"):
        slowest = max(calls, key=calls.get)
        yield [
            "call without a traced argument, over NumPy's own, slowest of "
            + ", ".join(f"`{name}`" for name in calls),
            "60 ns",
            f"{calls[slowest]:.0f} ns (`{slowest}`)",
        ]
    if imports := figures.get("import"):
        yield [
            "import, added to NumPy's and `scipy.linalg`'s",
            "60 ms",
            f"{imports['added_seconds'] * 1e3:.0f} ms",
        ]
    if memory := figures.get("memory"):
        yield [
            "peak memory of a scalar chain, an entry",
            "96 bytes",
            f"{memory['peak_bytes'] / memory['entries']:.0f} bytes",
        ]
    if peak := figures.get("peak"):
        yield [
            f"peak memory of the elementwise work, n = {peak['size']:,}, over a gradient by hand in NumPy",
            "1.1",
            f"{peak['bytes'] / peak['by_hand_bytes']:.2f}",
        ]
    if growth := figures.get("growth"):
        lengths = ", ".join(f"{run['entries']:,}" for run in growth)
        times = ", ".join(f"{run['seconds'] / run['entries'] * 1e9:.0f}" for run in growth)
        yield [f"gradient of a scalar chain, an entry, for {lengths} entries", "linear", f"{times} ns"]
    if unsettled := figures.get("unsettled"):
        yield [
            f"ratio of `{unsettled['work']}` where no large array was freed before, "
            f"NumPy's pass {unsettled['forward_seconds'] * 1e6:.0f} µs",
            "",
            f"{unsettled['ratio']:.2f}",
        ]
    yield from replay_overheads(figures)


def replay_overheads(figures):
    if call := figures.get("replay_call"):
        yield ["replayed call, one array in and one out", "0.7 µs", f"{call * 1e6:.2f} µs"]
    if costs := figures.get("instructions"):
        for kind, what, most in (("array", "eight numbers", "12 ns"), ("scalar", "one number", "3 ns")):
            yield [
                f"replayed instruction on {what}, with its arithmetic",
                f"{most} beside it",
                f"{costs[kind] * 1e9:.1f} ns",
            ]
    if runs := figures.get("recording"):
        lengths = ", ".join(f"{run['nodes']:,}" for run in runs)
        times = ", ".join(f"{run['seconds'] / run['nodes'] * 1e9:.0f}" for run in runs)
        multiples = ", ".join(f"{run['seconds'] / run['eager_seconds']:.0f}" for run in runs)
        yield [f"recording, a node, for {lengths} nodes", "linear", f"{times} ns"]
        yield ["the same in eager gradients", f"{RECORDING:.0f}", multiples]
    for work, peak in figures.get("replay_memory", {}).items():
        what = {"elementwise": "the elementwise work", "chain": "a scalar chain"}[work]
        yield [
            f"peak memory of a replay of {what}, n = {peak['size']:,}, over the eager gradient's",
            "1.0",
            f"{peak['replay_bytes'] / peak['eager_bytes']:.2f}",
        ]
    if gain := figures.get("threads"):
        yield [
            f"calls by two threads of `{gain['work']}`, replayed, over one",
            "at least 1.8",
            f"{gain['gain']:.2f}",
        ]


def measured_on(machine):
    versions = [f"{name} {machine[key]}" for key, name in (SOFTWARE | PEERS).items() if key in machine]
    about = f"{machine['processor']}, loops of our own by {machine['own loops']}, one thread"
    return f"Measured on {machine['date']}: {about}, {', '.join(versions)}."


def table(header, lines):
    """A Markdown table, the first column to the left and the others to the right."""
    rule = ["---", *["--:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *lines])


if __name__ == "__main__":
    main()
