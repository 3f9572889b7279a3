"""Draws the measured figures for the documentation: ``python benchmarks/plots.py figures.json``.

`figures.json` is what ``autograd-c bench --large --json figures.json`` wrote. Two drawings come of it:
docs/speed_by_size.png, the elementwise work against its size, and docs/speed_by_work.png, the works beside
the peers. See docs/performance.md for the whole procedure.
"""

import argparse
import json
from pathlib import Path

import matplotlib

from autograd_c.bench.peers import CONTENDERS, FAST, OURS, REPLAYED
from autograd_c.bench.workloads import COMPILED

matplotlib.use("Agg")
import matplotlib.pyplot as plt

DOCS = Path(__file__).parent.parent / "docs"
DPI = 150

#: In the order of legends and bars. Ours are the dark ones, the peers pale; the palette is Okabe and Ito's.
COLOURS = {
    FAST: "#d55e00",
    REPLAYED: "#0072b2",
    OURS: "#56b4e9",
    "jax": "#e69f00",
    "casadi": "#009e73",
    "torch": "#cc79a7",
    "hand": "#999999",
}
LABELS = {
    OURS: "autograd_c, eager",
    REPLAYED: "autograd_c, compiled",
    FAST: "autograd_c, fastmath",
    "hand": "NumPy, by hand",
}
SIZES = "elementwise_"


def main():
    parser = argparse.ArgumentParser(description="Draw measured figures into docs/.")
    parser.add_argument("figures", type=Path, help="the file that `autograd-c bench --large --json` wrote")
    parser.add_argument("--to", type=Path, default=DOCS, help="the folder to write to (default: docs)")
    options = parser.parse_args()
    figures = json.loads(options.figures.read_text())
    for name, draw in (("speed_by_size", by_size), ("speed_by_work", by_work)):
        figure = draw(figures["works"])
        figure.savefig(options.to / f"{name}.png", dpi=DPI, bbox_inches="tight")
        plt.close(figure)


def label(key):
    return LABELS.get(key, CONTENDERS[key].title)


def by_size(works):
    """Time of the elementwise work's gradient, an element, against the number of elements."""
    runs = sorted((int(work["name"].removeprefix(SIZES)), work) for work in works if is_size(work))
    figure, axes = plt.subplots(figsize=(7, 4.5))
    sizes = [size for size, _ in runs]
    forward = [work["forward_seconds"] / size * 1e9 for size, work in runs]
    axes.loglog(sizes, forward, "k--", label="NumPy, forward pass alone")
    for key, colour in COLOURS.items():
        points = [
            (size, work["ratios"][key] * base)
            for (size, work), base in zip(runs, forward, strict=True)
            if key in work["ratios"]
        ]
        if points and key != "hand":
            axes.loglog(*zip(*points, strict=True), "o-", color=colour, label=label(key), markersize=4)
    axes.set_xlabel("elements")
    axes.set_ylabel("ns an element")
    axes.set_title("Gradient of sum(tanh(x)*exp(-x**2) + log1p(x**2)), one thread", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def is_size(work):
    return work["name"].startswith(SIZES)


def by_work(works):
    """A group of bars for each work, left of the line where it takes less time than NumPy's forward pass."""
    works = [work for work in works if REPLAYED in work["ratios"] and not is_plotted_by_size(work)]
    keys = [key for key in COLOURS if any(key in work["ratios"] for work in works)]
    figure, axes = plt.subplots(figsize=(8, 0.2 + 0.5 * len(works)))
    for place, work in enumerate(works):
        draw_bars(axes, place, work, [key for key in keys if key in work["ratios"]])
    axes.set_xscale("log")
    axes.axvline(1.0, color="k", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(works)), [work["name"] for work in works], fontsize=8)
    axes.set_ylim(len(works) - 0.4, -0.6)  # the first work on top
    axes.set_xlabel("time as a multiple of NumPy's forward pass (dashed); short lines: what must be reached")
    axes.grid(axis="x", alpha=0.3)
    handles = [plt.Rectangle((0, 0), 1, 1, color=COLOURS[key]) for key in keys]
    axes.legend(
        handles,
        [label(key) for key in keys],
        fontsize=8,
        ncols=3,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
    )
    return figure


def draw_bars(axes, place, work, keys):
    """Bars from 1, NumPy's forward pass, to the ratios, and a line at what must be reached."""
    height = 0.84 / len(keys)
    for number, key in enumerate(keys):
        middle = place - 0.42 + (number + 0.5) * height
        axes.barh(middle, work["ratios"][key] - 1.0, height, left=1.0, color=COLOURS[key])
    if must := work["targets"].get(COMPILED, {}).get("must"):
        axes.plot([must, must], [place - 0.45, place + 0.45], color="k", linewidth=0.8)


def is_plotted_by_size(work):
    """Sizes that have no target are in the other drawing alone."""
    return is_size(work) and not work["targets"]


if __name__ == "__main__":
    main()
