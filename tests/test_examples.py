"""The programs in `examples/` run, and what they draw is right."""

import importlib.util
from pathlib import Path

import numpy
import pytest
from matplotlib.image import imread
from numpy.polynomial import Polynomial

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def tanh():
    spec = importlib.util.spec_from_file_location("tanh", EXAMPLES / "tanh.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_derivatives_of_tanh(tanh):
    """With t = tanh(x), dt/dx is 1 - t^2: every derivative is a polynomial in t, given by the chain rule."""
    x = numpy.linspace(-4, 4, 81)
    polynomial = Polynomial([0, 1])
    for function in tanh.derivatives(tanh.np.tanh, 8):
        exact = polynomial(numpy.tanh(x))
        numpy.testing.assert_allclose(function(x), exact, rtol=1e-9, atol=1e-11 * abs(exact).max())
        polynomial = polynomial.deriv() * Polynomial([1, 0, -1])


def test_draws_tanh(tanh, tmp_path):
    tanh.draw(tmp_path / "tanh.png")
    height, width, _ = imread(tmp_path / "tanh.png").shape
    assert width > height > 300
