"""Draws tanh and its first derivatives, each the derivative of the one before: `python examples/tanh.py`."""

from pathlib import Path

from matplotlib.figure import Figure

import autograd_c.numpy as np
from autograd_c import elementwise_grad

OUT = Path(__file__).parent.parent / "docs" / "tanh.png"
ORDERS = 6


def derivatives(function, count):
    """The function and its first `count` derivatives."""
    functions = [function]
    for _ in range(count):
        functions.append(elementwise_grad(functions[-1]))
    return functions


def draw(path):
    """Write the picture to `path`; each curve is scaled to its own peak, which the legend tells."""
    figure = Figure(figsize=(9, 4.2), layout="constrained", dpi=120, facecolor="white")
    axes = figure.subplots()
    x = np.linspace(-4, 4, 801)
    colors = ["#111827", "#00798c", "#30a46c", "#edae49", "#e2711d", "#d1495b", "#7b2d8b"]
    for order, (function, color) in enumerate(zip(derivatives(np.tanh, ORDERS), colors, strict=True)):
        y = function(x)
        peak = np.max(np.abs(y))
        name = "tanh" if order == 0 else f"derivative {order}"
        axes.plot(x, y / peak, color=color, linewidth=2, label=f"{name}, peak {peak:.3g}")
    axes.set(xlabel="x", ylabel="value / peak", xlim=(-4, 4), yticks=(-1, 0, 1))
    axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path)


if __name__ == "__main__":
    draw(OUT)
