"""Debug mode: arrays changed in place are found, and the reverse pass names lines of the forward pass."""

import os
import subprocess
import sys
import traceback
import warnings

import numpy as np
import pytest

import autograd_c.numpy as anp
from autograd_c import _core
from autograd_c.debugging import debug
from autograd_c.extend import defvjp, primitive
from autograd_c.operators import elementwise_grad, grad, make_jvp, make_vjp


def is_on():
    """The mode, without a change."""
    was = _core.set_debug(False)
    _core.set_debug(was)
    return was


@pytest.fixture(autouse=True)
def mode_of_before():
    before = is_on()
    yield
    _core.set_debug(before)


def line_of(text):
    """The number of the line of this file that ends in the marker ``# text``."""
    with open(__file__) as source:
        return next(i for i, line in enumerate(source, 1) if line.rstrip().endswith(f"# {text}"))


# ---------------------------------------------------------------- the switch


def test_the_switch():
    _core.set_debug(False)
    with debug():
        assert is_on()
        with debug(False):
            assert not is_on()
        assert is_on()
    assert not is_on()
    debug()
    assert is_on()
    debug(False)
    assert not is_on()


def test_the_switch_is_restored_after_an_error():
    _core.set_debug(False)
    with pytest.raises(ValueError), debug():
        raise ValueError
    assert not is_on()


def test_as_a_decorator():
    _core.set_debug(False)

    @debug()
    def inside():
        return is_on()

    assert not is_on()
    assert inside() and inside()
    assert not is_on()


@pytest.mark.parametrize("value, expected", [("1", "True"), ("0", "False"), ("", "False")])
def test_the_environment_variable(value, expected):
    code = "import autograd_c.debugging as d; print(d.set_debug(False))"
    environment = {**os.environ, "AUTOGRAD_C_DEBUG_TAPE": value}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected


# ---------------------------------------------------------------- changes in place


def change_argument(x, c):
    y = anp.sum(anp.sin(x) * c)  # the multiplication
    c[0] = 5.0
    return y


def change_own_result(x, c):
    y = anp.tanh(x)  # the tanh
    y._value[0] = 5.0
    return anp.sum(y * c)


def change_matrix(x, c):
    a = np.ones((3, 3))
    y = anp.sum(a @ x)  # the product
    a *= 2.0
    return y


@pytest.mark.parametrize(
    "fun, name, marker",
    [
        (change_argument, "multiply", "the multiplication"),
        (change_own_result, "tanh", "the tanh"),
        (change_matrix, "matmul", "the product"),
    ],
)
def test_a_changed_array_is_found(fun, name, marker):
    """The error names the primitive and the line that used the array."""
    x = np.linspace(0.1, 1.0, 3)
    with debug(), pytest.raises(RuntimeError, match=f"derivative of {name} .*changed in place") as caught:
        grad(fun)(x, np.ones(3))
    assert f"{os.path.basename(__file__)}:{line_of(marker)}" in str(caught.value)


def test_a_change_between_two_sweeps_is_found():
    c = np.ones(3)
    with debug():
        pullback, _ = make_vjp(lambda x: x * c)(np.ones(3))
        pullback(np.ones(3))
        c[1] = 2.0
        with pytest.raises(RuntimeError, match="changed in place"):
            pullback(np.ones(3))


def test_without_debug_mode_it_is_as_documented():
    """The gradient silently belongs to the changed array: that is what debug mode is for."""
    with debug(False):
        np.testing.assert_array_equal(grad(change_argument)(np.zeros(3), np.ones(3)), [5.0, 1.0, 1.0])


def test_updates_of_traced_arrays_are_no_changes():
    """``y[i] = v`` and ``y += v`` on a traced value are recorded, not done to the array."""

    def fun(x):
        y = anp.sin(x)
        z = y * x
        y[0] = x[1]
        y += 1.0
        y *= z
        v = y[1:]
        v -= z[0]
        return anp.sum(y * z)

    x = np.linspace(0.1, 1.0, 4)
    expected = grad(fun)(x)
    with debug():
        np.testing.assert_array_equal(grad(fun)(x), expected)
        np.testing.assert_array_equal(make_jvp(fun)(x)(np.eye(4)[0])[1], make_jvp(fun)(x)(np.eye(4)[0])[1])


def test_changes_of_what_nobody_needs_are_no_error():
    def fun(x):
        c = np.ones(3)
        y = anp.sum(x + c)
        c[0] = 5.0
        return y

    with debug():
        np.testing.assert_array_equal(grad(fun)(np.zeros(3)), np.ones(3))


def test_the_same_gradients():
    """Debug mode changes no value, for numbers, arrays, containers and higher orders."""

    def fun(x):
        for _ in range(3):
            x = anp.tanh(x * 1.1) + x[::-1] * x[0]
        return anp.sum(x @ np.ones((4, 2)) + anp.stack([x[0], x[1]]))

    x = np.linspace(0.1, 1.0, 4)
    work = [
        lambda: grad(fun)(x),
        lambda: grad(lambda x: anp.sum(grad(fun)(x) ** 2))(x),
        lambda: elementwise_grad(elementwise_grad(anp.tanh))(x),
        lambda: grad(grad(anp.exp))(0.5),
        lambda: make_jvp(grad(fun))(x)(x)[1],
    ]
    expected = [w() for w in work]
    with debug():
        for w, e in zip(work, expected, strict=True):
            np.testing.assert_array_equal(w(), e)


# ---------------------------------------------------------------- lines


def test_errors_of_the_reverse_pass_name_the_forward_line():
    @primitive
    def broken(x):
        return x * 2.0

    def vjp(g):
        raise ValueError("no way back")

    defvjp(broken, lambda ans, x: vjp)

    def fun(x):
        return anp.sum(broken(x))  # the broken call

    with debug(), pytest.raises(ValueError, match="no way back") as caught:
        grad(fun)(np.ones(3))
    text = "".join(traceback.format_exception(caught.value))
    assert f"in the reverse pass of broken, recorded at {__file__}:{line_of('the broken call')}" in text


@pytest.mark.parametrize("x", [0.0, np.zeros(3)], ids=["number", "array"])
def test_warnings_of_the_reverse_pass_name_the_forward_line(x):
    def fun(x):
        return anp.sum(anp.sqrt(x))  # the square root

    with debug(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        grad(fun)(x)
    where = f"{os.path.basename(__file__)}:{line_of('the square root')}"
    assert any("divide by zero" in str(w.message) and where in str(w.message) for w in caught)


def test_errors_that_errstate_asks_for():
    with debug(), np.errstate(divide="raise"), pytest.raises(FloatingPointError, match=r"sqrt .*recorded at"):
        elementwise_grad(anp.sqrt)(np.zeros(3))
