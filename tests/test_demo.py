"""`autograd-c demo`: what it learns, prints and draws, and how it refuses."""

import itertools
import re
import sys

import numpy
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

import autograd_c.numpy as np
from autograd_c import demo


@pytest.fixture(autouse=True)
def quick_timing(monkeypatch):
    monkeypatch.setattr(demo, "TIMED_ROUNDS", 3)


@pytest.fixture(scope="module")
def digits():
    return demo.load(0)


@pytest.fixture
def network():
    return demo.init_layers([64, 8, 10], numpy.random.default_rng(0))


def accuracies(said):
    return [float(percent) for percent in re.findall(r"held-out accuracy: (\S+)%", said)]


# ---------------------------------------------------------------- what it learns


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_reaches_the_promised_accuracy(capsys, seed):
    assert demo.main(["--seed", str(seed), "--no-plot"]) == 0
    regression, network = accuracies(capsys.readouterr().out)
    assert regression > 90
    assert network >= 96


def test_seed_decides_everything_that_is_random(digits):
    def learn(seed):
        rng = numpy.random.default_rng(seed)
        layers = demo.init_layers([64, 8, 10], rng)
        return demo.flat(demo.train(layers, digits, 5, rng)[0])

    for first, again in zip(learn(3), learn(3), strict=True):
        numpy.testing.assert_array_equal(first, again)
    assert not numpy.array_equal(learn(3)[0], learn(4)[0])


def test_held_out_scans_are_not_learnt_from(digits):
    assert (len(digits.labels), len(digits.held_labels)) == (1437, 360)
    learnt = {image.tobytes() for image in digits.images}
    assert not any(image.tobytes() in learnt for image in digits.held_images)
    assert (digits.images.min(), digits.images.max()) == (0, 1)


def test_loss_of_a_model_that_knows_nothing_is_log_10(digits):
    layers = [(numpy.zeros((64, 10)), numpy.zeros(10))]
    assert demo.loss(layers, digits.images, digits.labels) == pytest.approx(numpy.log(10))


def test_the_loop_is_compiled(digits, network, monkeypatch):
    plain, traced = demo.loss, itertools.count()

    def counted(layers, images, labels, np=np):
        if np is not numpy:
            next(traced)
        return plain(layers, images, labels, np)

    monkeypatch.setattr(demo, "loss", counted)
    before = demo.flat(network)[0].copy()
    layers, curve = demo.train(network, digits, 407, numpy.random.default_rng(0))
    assert next(traced) == 2  # recorded, and replayed for all other steps
    assert curve.batch.shape == (407,) and curve.held_steps[-1] == 407
    assert curve.batch[-50:].mean() < 0.5 * curve.batch[:5].mean()
    numpy.testing.assert_array_equal(demo.flat(network)[0], before)
    held = plain(layers, digits.held_images, digits.held_labels, numpy)
    assert curve.held[-1] == held


# ---------------------------------------------------------------- the gradient, checked and timed


def test_gradient_agrees_with_finite_differences(digits, network):
    assert demo.gradient_error(network, digits, numpy.random.default_rng(0)) < 1e-7


def wrong_gradient(function):
    """The gradient with one of its entries wrong by one per cent of itself or of 1, whichever is more."""

    def gradient(layers, *rest):
        (weights, bias), *others = true_gradient(function)(layers, *rest)
        bias = bias.copy()
        bias[0] += 0.01 * max(1, abs(bias[0]))
        return [(weights, bias), *others]

    return gradient


true_gradient = demo.grad


def test_a_wrong_gradient_ends_the_demo(capsys, monkeypatch):
    monkeypatch.setattr(demo, "grad", wrong_gradient)
    assert demo.main(["--steps", "1", "--no-plot"]) == 1
    assert re.fullmatch(r"autograd-c demo: the gradient differs .* \S+\n", capsys.readouterr().err)


def test_times_stand_beside_numpy_and_hips(capsys):
    assert demo.main(["--steps", "1", "--no-plot"]) == 0
    rows = re.findall(r"  (\S.*\S) +(\d+\.\d+) ms +(\d+\.\d+) x", capsys.readouterr().out)
    assert [name for name, _, _ in rows] == list(TIMED)
    assert rows[0][2] == "1.00"
    assert all(float(milliseconds) > 0 for _, milliseconds, _ in rows)


TIMED = (
    "plain NumPy, forward only",
    "autograd_c, gradient",
    "autograd_c, compiled",
    "HIPS/autograd, gradient",
)


def test_the_gain_of_the_compiled_gradient_is_that_of_the_times(capsys, monkeypatch):
    times = dict(zip(TIMED, (1e-3, 2e-3, 5e-4, 1e-2), strict=True))
    monkeypatch.setattr(demo, "gradient_times", lambda *_: times)
    assert demo.main(["--steps", "1", "--no-plot"]) == 0
    assert "The compiled gradient is 4.0 times as fast as the eager one\n" in capsys.readouterr().out


def test_without_hips_only_ours_is_timed(digits, network, monkeypatch):
    monkeypatch.setitem(sys.modules, "autograd", None)
    assert list(demo.gradient_times(network, digits)) == list(TIMED[:3])


# ---------------------------------------------------------------- the picture


@pytest.mark.parametrize("name", ["digits.png", "UPPER.PNG"])
def test_writes_the_picture(tmp_path, capsys, name):
    path = tmp_path / name
    assert demo.main(["--steps", "20", "--out", str(path)]) == 0
    assert str(path) in capsys.readouterr().out
    height, width, _ = imread(path).shape
    assert width > height > 500


@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_writes_other_formats(tmp_path, name, start):
    assert demo.main(["--steps", "1", "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize(("misread", "drawn"), [(0, 0), (5, 5), (30, 12)])
def test_draws_the_misread_digits(digits, misread, drawn):
    guesses = digits.held_labels.copy()
    guesses[:misread] = (guesses[:misread] + 1) % 10
    figure = Figure()
    demo._plot_misread(figure, digits, guesses)
    images = [axes for axes in figure.axes if axes.images]
    assert len(images) == drawn
    assert f"{misread} of 360" in figure.get_suptitle()
    for index, axes in enumerate(images):
        assert axes.get_title() == f"{digits.held_labels[index]}, read as {guesses[index]}"
        numpy.testing.assert_array_equal(axes.images[0].get_array().ravel(), digits.held_images[index])


def test_draws_every_hidden_unit():
    figure = Figure()
    weights = numpy.random.default_rng(0).normal(size=(64, demo.HIDDEN))
    demo._plot_weights(figure, weights)
    for axes, unit in zip(figure.axes, weights.T, strict=True):
        numpy.testing.assert_array_equal(axes.images[0].get_array().ravel(), unit)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--steps", "-3"], "--steps"),
        (["--steps", "0"], "--steps"),
        (["--steps", "many"], "'many'"),
        (["--steps", "1e3"], "whole number"),
        (["--seed", "-1"], "--seed"),
        (["--seed", str(2**32)], "--seed"),
        (["--seed"], "--seed"),
        (["--out", "digits.txt"], ".png"),
        (["--out", "digits"], ".png"),
        (["--out", "no/such/folder/digits.png"], "No such file or directory"),
        (["--out", "a.png", "--no-plot"], "--no-plot"),
        (["--colour"], "--colour"),
        (["surplus"], "surplus"),
    ],
)
def test_a_bad_value_gets_one_line_and_code_2(capsys, argv, said):
    with pytest.raises(SystemExit) as ended:
        demo.main(argv)
    output = capsys.readouterr()
    assert ended.value.code == 2
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert output.err.startswith("autograd-c demo: ")
    assert said in output.err


def test_a_folder_is_no_picture(tmp_path, capsys):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(SystemExit) as ended:
        demo.main(["--out", str(tmp_path / "folder.png")])
    assert ended.value.code == 2
    assert "directory" in capsys.readouterr().err


def test_checking_the_path_changes_no_file(tmp_path):
    new, old = tmp_path / "new.png", tmp_path / "old.png"
    old.write_bytes(b"kept")
    for path in (new, old):
        demo._check_writable(demo._parser(), path)
    assert not new.exists()
    assert old.read_bytes() == b"kept"


@pytest.mark.parametrize(
    ("module", "package"), [("tqdm", "tqdm"), ("sklearn", "scikit-learn"), ("matplotlib", "matplotlib")]
)
def test_a_missing_package_is_named_with_the_cure(capsys, monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    assert demo.main(["--steps", "1"]) == 1
    assert capsys.readouterr().err == (
        f'autograd-c demo: {package} not installed; run pip install "autograd-c[demo]"\n'
    )


def test_no_plot_needs_no_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert demo.main(["--steps", "1", "--no-plot"]) == 0


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as ended:
        demo.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for option in ("--seed", "--steps", "--out", "--no-plot", "digits.png"):
        assert option in said
