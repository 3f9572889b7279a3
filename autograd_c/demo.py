"""`autograd-c demo`: learns to read handwritten digits, the gradient loop that this library exists for.

One function, `loss`, describes both models: multinomial logistic regression is the network without a
hidden layer. It is ordinary NumPy code; `compile` and `optim.minimize` make the training loop of it.
Everything else here prepares the scans, checks and times the gradient, and draws.
"""

import argparse
import importlib.util
import os
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy

import autograd_c.numpy as np
from autograd_c import compile, grad
from autograd_c.cli import OneLineParser
from autograd_c.optim import Adam, minimize

BATCH = 64
HIDDEN = 64
HELD_OUT = 0.2
DECAY = 3e-4
RATE = 0.01
CURVE_POINTS = 200
CHECK_DIRECTIONS = 20
CHECK_TOLERANCE = 1e-6
TIMED_ROUNDS = 400
PLOT_FORMATS = (".png", ".pdf", ".svg")
FORWARD = "plain NumPy, forward only"
EAGER = "autograd_c, gradient"
REPLAYED = "autograd_c, compiled"


# ---------------------------------------------------------------- the model


def scores(layers, images, np=np):
    """How much each image, a row of pixels, looks like each of the ten digits."""
    for weights, bias in layers[:-1]:
        images = np.tanh(images @ weights + bias)
    weights, bias = layers[-1]
    return images @ weights + bias


def loss(layers, images, labels, np=np):
    """Mean negative log-likelihood of the labels under a softmax of the scores, plus weight decay."""
    score = scores(layers, images, np)
    score = score - np.max(score, axis=1, keepdims=True)
    chosen = score[np.arange(len(labels)), labels]
    log_likelihood = chosen - np.log(np.sum(np.exp(score), axis=1))
    return -np.mean(log_likelihood) + DECAY * sum(np.sum(weights**2) for weights, _ in layers)


def init_layers(sizes, rng):
    """One (weights, bias) pair between each two neighbouring sizes, scaled to keep tanh out of saturation."""
    return [
        (rng.normal(scale=inputs**-0.5, size=(inputs, outputs)), numpy.zeros(outputs))
        for inputs, outputs in pairwise(sizes)
    ]


# ---------------------------------------------------------------- the data


class Digits(NamedTuple):
    """Scans as rows of 64 pixels between 0 and 1, with their labels, split into two sets."""

    images: numpy.ndarray
    labels: numpy.ndarray
    held_images: numpy.ndarray
    held_labels: numpy.ndarray


def load(seed):
    """The digits that come with scikit-learn; the seed decides which are held out, as many of each digit."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images, held_images, labels, held_labels = train_test_split(
        images / 16, labels, test_size=HELD_OUT, stratify=labels, random_state=seed
    )
    return Digits(images, labels, held_images, held_labels)


# ---------------------------------------------------------------- the training loop


def flat(layers):
    """The arrays of all layers as one list, not copied."""
    return [array for layer in layers for array in layer]


class Curve(NamedTuple):
    """Loss against steps: of the mini-batches, and of the held-out scans now and then."""

    batch: numpy.ndarray
    held_steps: list
    held: list


def train(layers, digits, steps, rng):
    """Fit the layers by Adam on mini-batches of `BATCH` scans; return them and the loss curve.

    The rate falls linearly to zero. The loss is compiled, so that `minimize` runs whole chunks of steps, each
    loss, gradient and update, without Python; between two chunks the held-out scans are looked at.
    """
    held_steps, held = [], []

    def look(step, layers, _):
        held_steps.append(step)
        held.append(float(loss(layers, digits.held_images, digits.held_labels, numpy)))

    result = minimize(
        compile(loss),
        layers,
        optimizer=Adam(lambda step: RATE * (1.0 - step / steps)),
        steps=steps,
        data=(digits.images, digits.labels),
        batch=BATCH,
        seed=rng,
        callback=look,
        every=max(1, steps // CURVE_POINTS),
        progress=True,
    )
    if not held_steps or held_steps[-1] < steps:
        look(steps, result.params, None)
    return result.params, Curve(result.losses, held_steps, held)


def held_out_guesses(layers, digits):
    """The digit that the layers read in each held-out scan."""
    return numpy.argmax(scores(layers, digits.held_images, numpy), axis=1)


# ---------------------------------------------------------------- the gradient, checked and timed


def gradient_error(layers, digits, rng, step=1e-5):
    """Largest difference between the replayed gradient and central finite differences of plain NumPy.

    Both are compared along `CHECK_DIRECTIONS` random directions in the space of all parameters; the
    difference is relative to the largest slope found.
    """
    batch = digits.images[:BATCH], digits.labels[:BATCH]
    gradient = flat(replayed(grad(compile(loss)), layers, *batch))
    slopes, differences = [], []
    for _ in range(CHECK_DIRECTIONS):
        direction = [(rng.normal(size=w.shape), rng.normal(size=b.shape)) for w, b in layers]
        ahead, behind = (
            loss(
                [(w + h * dw, b + h * db) for (w, b), (dw, db) in zip(layers, direction, strict=True)],
                *batch,
                numpy,
            )
            for h in (step, -step)
        )
        slope = sum(numpy.vdot(g, d) for g, d in zip(gradient, flat(direction), strict=True))
        slopes.append(abs(slope))
        differences.append(abs(slope - (ahead - behind) / (2 * step)))
    return max(differences) / max(slopes)


def replayed(compiled, *args):
    """What a compiled function returns when it has been recorded, which takes two calls."""
    for _ in range(3):
        result = compiled(*args)
    return result


def gradient_times(layers, digits):
    """Seconds of one evaluation on one mini-batch: a dict from the name of what was timed to its least time.

    The candidates take turns in one loop, so that a busy machine slows all of them alike.
    """
    batch = digits.images[:BATCH], digits.labels[:BATCH]
    gradient, compiled = grad(loss), grad(compile(loss))
    replayed(compiled, layers, *batch)
    candidates = {
        FORWARD: lambda: loss(layers, *batch, numpy),
        EAGER: lambda: gradient(layers, *batch),
        REPLAYED: lambda: compiled(layers, *batch),
    }
    if importlib.util.find_spec("autograd") is not None:
        import autograd
        import autograd.numpy

        peer = autograd.grad(lambda layers: loss(layers, *batch, autograd.numpy))
        candidates["HIPS/autograd, gradient"] = lambda: peer(layers)
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(TIMED_ROUNDS):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


# ---------------------------------------------------------------- the picture


def plot(path, digits, curves, network):
    """Write a picture of the loss curves, the first layer's weights and the misread digits to `path`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), layout="constrained", dpi=120, facecolor="white")
    top, bottom = figure.subfigures(2, 1, height_ratios=(3.6, 1), hspace=0.04)
    left, right = top.subfigures(1, 2, width_ratios=(1.3, 1), wspace=0.03)
    _plot_curves(left, curves)
    _plot_weights(right, network[0][0])
    _plot_misread(bottom, digits, held_out_guesses(network, digits))
    figure.savefig(path)


def _plot_curves(figure, curves):
    from matplotlib.ticker import LogLocator, NullLocator

    figure.suptitle("Loss while learning: mini-batches (thin) and held-out scans", fontsize=12)
    axes = figure.subplots()
    for (name, curve), color in zip(curves.items(), ("#d1495b", "#00798c"), strict=True):
        steps = numpy.arange(1, len(curve.batch) + 1)
        axes.plot(steps, curve.batch, color=color, alpha=0.25, linewidth=0.6)
        axes.plot(curve.held_steps, curve.held, color=color, linewidth=2, label=name)
    axes.set(yscale="log", xlabel="step", ylabel="loss")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)


def _plot_weights(figure, weights):
    figure.suptitle("First-layer weights: red raises, blue lowers a hidden unit", fontsize=12)
    for axes, unit in zip(figure.subplots(8, 8).flat, weights.T, strict=True):
        limit = abs(unit).max()
        axes.imshow(unit.reshape(8, 8), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.axis("off")


def _plot_misread(figure, digits, guesses, places=12):
    (wrong,) = numpy.nonzero(guesses != digits.held_labels)
    shown = wrong[:places]
    title = f"Misread: {len(wrong)} of {len(guesses)} held-out scans"
    figure.suptitle(title + (f", {len(shown)} of them shown" if len(shown) < len(wrong) else ""), fontsize=12)
    row = figure.subplots(1, places)
    for axes in row:
        axes.axis("off")
    for axes, index in zip(row, shown, strict=False):
        axes.imshow(digits.held_images[index].reshape(8, 8), cmap="gray_r")
        axes.set_title(f"{digits.held_labels[index]}, read as {guesses[index]}", fontsize=10)


# ---------------------------------------------------------------- the command


def main(argv=None):
    """Run `autograd-c demo` with the arguments `argv` and return its exit code.

    Returns
    -------
    int
        0; 1 when something it needs is not installed or the gradient fails its check; a wrong argument raises
        SystemExit(2), as argparse does.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    missing = _missing_packages(options)
    if missing:
        print(
            f'autograd-c demo: {", ".join(missing)} not installed; run pip install "autograd-c[demo]"',
            file=sys.stderr,
        )
        return 1
    if options.out is not None:
        _check_writable(parser, options.out)
    try:
        _run(options)
    except WrongGradientError as error:
        print(f"autograd-c demo: {error}", file=sys.stderr)
        return 1
    return 0


class WrongGradientError(ArithmeticError):
    """The gradient does not agree with finite differences."""


def _run(options):
    start = time.perf_counter()
    digits = load(options.seed)
    rng = numpy.random.default_rng(options.seed)
    learnt, held_out = len(digits.labels), len(digits.held_labels)
    print(f"Handwritten digits of 8 x 8 pixels: {learnt} to learn, {held_out} held out")
    models = {
        "logistic regression": init_layers([64, 10], rng),
        "two-layer network": init_layers([64, HIDDEN, 10], rng),
    }
    curves = {}
    for name, layers in models.items():
        models[name], curves[name] = _learn(name, layers, digits, options.steps, rng)
    network = models["two-layer network"]
    _print_times(gradient_times(network, digits))
    if options.out is not None:
        plot(options.out, digits, curves, network)
        print(f"\nLoss curves, weights and misread digits: {options.out}")
    print(f"Done in {time.perf_counter() - start:.1f} s")


def _learn(name, layers, digits, steps, rng):
    print(f"\n{name.capitalize()}, {sum(array.size for array in flat(layers))} parameters")
    error = gradient_error(layers, digits, rng)
    if not error < CHECK_TOLERANCE:
        raise WrongGradientError(f"the gradient differs from finite differences, relative error {error:.1e}")
    print(f"  gradient against finite differences: relative error {error:.1e}", flush=True)
    start = time.perf_counter()
    layers, curve = train(layers, digits, steps, rng)
    print(f"  {steps} steps of Adam, compiled: {time.perf_counter() - start:.1f} s")
    accuracy = numpy.mean(held_out_guesses(layers, digits) == digits.held_labels)
    print(f"  held-out accuracy: {accuracy:.1%}")
    return layers, curve


def _print_times(times):
    print(f"\nOne mini-batch of {BATCH} through the network, least of {TIMED_ROUNDS} times")
    for name, seconds in times.items():
        print(f"  {name:<28}{seconds * 1e3:8.3f} ms{seconds / times[FORWARD]:8.2f} x")
    print(f"The compiled gradient is {times[EAGER] / times[REPLAYED]:.1f} times as fast as the eager one")


def _parser():
    parser = OneLineParser(
        prog="autograd-c demo",
        description="Learns to read the 1,797 handwritten digits that come with scikit-learn: first by "
        "logistic regression, then by a network with one hidden layer, both by Adam on mini-batches. "
        "Checks the gradient against finite differences, times it, eager and compiled, beside NumPy (and "
        "HIPS/autograd where installed), and draws the loss curves, the first layer's weights and the "
        "misread digits. Takes less than a minute.",
    )
    parser.add_argument(
        "--seed",
        type=_whole_number(0, 2**32 - 1),
        default=0,
        metavar="N",
        help="decides the split, the initial weights and the mini-batches (default: %(default)s)",
    )
    parser.add_argument(
        "--steps",
        type=_whole_number(1, 10**7),
        default=2000,
        metavar="N",
        help="Adam steps of each model, at least 1 (default: %(default)s)",
    )
    picture = parser.add_mutually_exclusive_group()
    picture.add_argument(
        "--out",
        type=_plot_path,
        default=Path("digits.png"),
        metavar="FILE",
        help=f"where to write the picture: {', '.join(PLOT_FORMATS)} (default: %(default)s)",
    )
    picture.add_argument(
        "--no-plot",
        dest="out",
        action="store_const",
        const=None,
        help="write no picture; matplotlib is not needed",
    )
    return parser


def _whole_number(least, most):
    def whole_number(text):
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, not {text!r}")
        return int(text)

    return whole_number


def _plot_path(text):
    path = Path(text)
    if path.suffix.lower() not in PLOT_FORMATS:
        raise argparse.ArgumentTypeError(f"{text!r} must end with one of {', '.join(PLOT_FORMATS)}")
    return path


def _check_writable(parser, path):
    """Leave with exit code 2 before the training when the picture could not be written after it."""
    existed = path.exists()
    try:
        with open(path, "ab"):
            pass
    except OSError as error:
        parser.error(f"argument --out: cannot write {path}: {os.strerror(error.errno)}")
    if not existed:
        path.unlink()


def _missing_packages(options):
    needed = {"tqdm": "tqdm", "sklearn": "scikit-learn"}
    if options.out is not None:
        needed["matplotlib"] = "matplotlib"
    return [package for module, package in needed.items() if importlib.util.find_spec(module) is None]
