"""Updates in place: traced arrays behave as arrays do, views and aliases included."""

import math

import numpy
import pytest

import autograd_c.numpy as np
from autograd_c.operators import grad, hessian, jvp, make_jvp, make_vjp
from autograd_c.test_util import check_grads

X = numpy.array([0.3, -1.2, 0.8, 1.7, -0.4, 2.1])


# Each program starts from an array of its own, so that it runs on plain arrays too: NumPy says what is right.


def item(x):
    y = x * 1.0
    y[2] = x[0] * x[1]
    return y


def item_of_itself(x):
    y = x * 1.0
    y[0] = y[1] * y[5]
    y[1] = y[0] * y[2]
    return y


def negative_item(x):
    y = x * 1.0
    y[-1] = y[0] ** 2
    return y


def slices(x):
    y = x * 1.0
    y[1:4] = x[3:] * x[:3]
    y[::-2] = y[1]
    return y


def overlapping(x):
    y = x * 1.0
    y[1:] = y[:-1]
    y[:3] *= y[::-1][:3]
    return y


def mask(x):
    y = x * 1.0
    y[y > 0.5] = y[0] * 2.0
    y[X > 0] += x[0] * y[X > 0]
    return y


def fancy(x):
    y = x * 1.0
    y[[0, 4]] *= x[1:3]
    y[numpy.array([5, 2])] = y[[0, 0]] ** 2
    return y


def named_twice(x):
    y = x * 1.0
    y[[0, 2, 0]] = x[3:] * x[:3]
    y[[1, 1]] += x[5]
    return y


def matrix_rows(x):
    y = np.reshape(x * 1.0, (2, 3))
    y[0] = y[1] * x[0]
    y[:, 1] += y[:, 2] * x[1]
    y[1, 2] -= x[3]
    y[..., 0] /= 2.0 + x[1:3] ** 2
    return y


def augmented(x):
    y = x * 1.0
    y += x[0]
    y -= x * x
    y *= 2.0 + x
    y /= 1.0 + x * x
    y **= 2
    y += 3.0
    return y


def matrix_product(x):
    y = np.reshape(x * 1.0, (2, 3))[:, :2]
    y @= np.reshape(x, (3, 2))[1:]
    return y


def rounded_down(x):
    y = x * 1.0
    y //= 0.25
    y %= 2.0 + x[0]
    return y


def alias(x):
    y = x * 1.0
    z = y
    y += x[0]
    z[1] = x[2] * z[0]
    return y * z


def view_written(x):
    y = x * 1.0
    v = y[1:3]
    v += x[0]
    v[0] = x[5] * v[1]
    return y


def base_written(x):
    y = x * 1.0
    v = y[1:3]
    y *= x
    y[2] = x[0]
    return v * v


def both_written(x):
    y = x * 1.0
    v = y[1:5]
    w = y[::-1]
    v *= x[0]
    w[1:3] += v[:2]
    y[2] = w[0] * v[0]
    return np.concatenate([v, w, y])


def view_of_view(x):
    y = x * 1.0
    v = y[1:]
    w = v[::2]
    y += x[1]
    w *= x[2]
    v[0] = w[1] * y[0]
    return np.concatenate([y, v, w])


def view_outlives_rebinding(x):
    y = x * 1.0
    v = y[:2]
    y = y * 2.0
    v += x[0]
    return np.concatenate([y, v])


def copy_is_no_view(x):
    y = x * 1.0
    z = y.copy()
    w = y[[0, 1]]
    m = y[y > 0]
    z += 1.0
    w *= 2.0
    m -= 3.0
    return y


def copy_inside_a_view_is_no_view(x):
    y = np.reshape(x * 1.0, (1, 2, 3))
    w = y[:, :, [0, 1]]
    w += x[0]
    return y


def scalars_do_not_alias(x):
    a = x[0]
    b = a
    b += x[1]
    c = b
    c *= b
    return a * b * b + c


def swap(x):
    y = x * 1.0
    y[0], y[1] = y[1], y[0]
    return y * x


def broadcast_value(x):
    y = np.reshape(x * 1.0, (2, 3))
    y[:] = x[:3]
    y[:, :2] = x[0]
    y[0:1] = np.reshape(x[3:], (1, 1, 3))
    return y


def loop(x):
    y = np.zeros_like(x)
    y[0] = x[0]
    for i in range(1, 6):
        y[i] = y[i - 1] * x[i] + 1.0
    return y


def running(x):
    total = x[0] * 0.0
    for i in range(6):
        total += x[i] * x[i]
    return total


def fill_and_sort(x):
    y = x * 1.0
    y.sort()
    z = x * y
    z[:2].fill(x[3])
    return z


def flat(x):
    y = np.reshape(x * 1.0, (2, 3))
    y.flat[1] = x[0] * x[0]
    y.flat[3:5] = x[1]
    y.T.flat[0] = x[2] * y.flat[1]
    return y


def functions(x):
    y = np.reshape(x * 1.0, (2, 3))
    np.put(y, [0, -1], x[1] * x[2:4])
    np.place(y, numpy.array([[False, True, False], [True, True, False]]), x[:2] * x[0])
    np.putmask(y, numpy.array([[True, False, False], [False, False, True]]), x * x)
    np.copyto(y, x[0] ** 2, where=numpy.array([False, True, False]))
    np.put_along_axis(y, numpy.array([[2], [0]]), x[:2, None] * x[5], axis=1)
    np.fill_diagonal(y, x[4] * x[4])
    return y


def with_out(x):
    y = x * 1.0
    v = y[:3]
    np.add(x[:3], x[3:], out=v)
    np.multiply(y, x, out=y)
    np.subtract(y, x[::-1], y)
    return y


PROGRAMS = [
    item, item_of_itself, negative_item, slices, overlapping, mask, fancy, named_twice, matrix_rows,
    augmented, matrix_product, rounded_down, alias, view_written, base_written, both_written, view_of_view,
    view_outlives_rebinding, copy_is_no_view, copy_inside_a_view_is_no_view, scalars_do_not_alias, swap,
    broadcast_value, loop, running, fill_and_sort, flat, functions, with_out,
]  # fmt: skip


# Views that functions return.


def _through(view):
    def program(x):
        y = np.reshape(x * 1.0, (2, 3))
        v = view(y)
        v *= x[0]
        y[0, 1] = x[2] * y[1, 1]
        v += v * v
        return np.concatenate([np.ravel(y), np.ravel(v)])

    return program


VIEWS = {
    "reshape": lambda y: y.reshape(3, 2),
    "np.reshape": lambda y: np.reshape(y, (6,)),
    "ravel": lambda y: y.ravel(),
    "T": lambda y: y.T,
    "mT": lambda y: y.mT,
    "transpose": lambda y: np.transpose(y, (1, 0)),
    "swapaxes": lambda y: y.swapaxes(0, 1),
    "moveaxis": lambda y: np.moveaxis(y, 0, 1),
    "expand_dims": lambda y: np.expand_dims(y, 1),
    "squeeze": lambda y: y[None].squeeze(),
    "atleast_3d": np.atleast_3d,
    "flip": np.flip,
    "flipud": np.flipud,
    "rot90": np.rot90,
    "real": np.real,
    "asarray": np.asarray,
    "split": lambda y: np.split(y, 2)[1],
    "chain": lambda y: y.T[1:, ::-1].T,
    "item of a transpose": lambda y: y.T[1],
    "view": lambda y: y.view(),
    "method of a slice": lambda y: y[:, 1:].T,
}


def finite_difference(f, x, direction, step=1e-6):
    return (f(x + step * direction) - f(x - step * direction)) / (2 * step)


def check(program, x=X):
    expected = program(x.copy())
    weights = numpy.cos(numpy.arange(numpy.size(expected))).reshape(numpy.shape(expected))
    pullback, value = make_vjp(program)(x)
    assert value.tobytes() == expected.tobytes()
    direction = numpy.sin(numpy.arange(x.size) + 1.0)
    plain = finite_difference(lambda x: numpy.sum(program(x) * weights), x, direction)
    assert numpy.dot(pullback(weights), direction) == pytest.approx(plain, rel=1e-6, abs=1e-7)
    value, tangent = make_jvp(program)(x)(direction)
    assert value.tobytes() == expected.tobytes()
    assert numpy.sum(tangent * weights) == pytest.approx(plain, rel=1e-6, abs=1e-7)
    check_grads(program, modes=["rev", "fwd"], order=2)(x)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_program_is_numpys(program):
    check(program)


@pytest.mark.parametrize("name", VIEWS)
def test_view_and_base_see_each_others_updates(name):
    check(_through(VIEWS[name]))


def test_diagonal_view_sees_the_base():
    def program(x):
        y = np.reshape(x[:4] * 1.0, (2, 2))
        d = np.diagonal(y)
        y += x[0]
        y[1, 1] *= x[5]
        return d * d

    check(program)


def test_real_and_imaginary_parts_are_views():
    def program(x):
        y = x[:3] + 1j * x[3:]
        y.real[0] = x[1] * x[2]
        y.imag *= x[0]
        v = y.imag
        y *= 2.0
        return np.concatenate([np.real(y), np.imag(y), v])

    check(program)


# --- random programs ------------------------------------------------------------------------------


def random_program(seed):
    """A program of updates of an array and of views of it, of views and of aliases, at random."""
    rng = numpy.random.default_rng(seed)
    steps = [(rng.integers(8), rng.integers(1 << 30)) for _ in range(12)]

    def program(x):
        arrays = [np.reshape(x * 1.0, (2, 3)), np.reshape(x * 0.5, (3, 2))]
        for kind, number in steps:
            draw = numpy.random.default_rng(number)
            y = arrays[draw.integers(len(arrays))]
            index = tuple(_random_index(draw, n) for n in y.shape)
            v = x[int(draw.integers(6))]
            if kind == 0:
                y[index] = v * v
            elif kind == 1:
                y[index] += v
            elif kind == 2:
                y *= 0.5 + 0.1 * v
            elif kind == 3:
                arrays.append(y[index] if y[index].ndim else y)
            elif kind == 4:
                arrays.append(y.T if draw.integers(2) else y[::-1])
            elif kind == 5:
                arrays.append(y.reshape(-1) if draw.integers(2) else y.reshape(y.shape[::-1]))
            elif kind == 6:
                y[index] = np.sum(arrays[0]) * 0.1
            else:
                y[...] = y[::-1] * v
        return np.concatenate([np.ravel(y) for y in arrays])

    return program


def _random_index(draw, n):
    start = int(draw.integers(n))
    choices = (start, slice(None), slice(start, None), slice(None, None, -1), slice(0, start + 1))
    return choices[draw.integers(len(choices))]


@pytest.mark.parametrize("seed", range(40))
def test_random_updates_are_numpys(seed):
    program = random_program(seed)
    expected = program(X.copy())
    pullback, value = make_vjp(program)(X)
    assert value.tobytes() == expected.tobytes()
    weights = numpy.cos(numpy.arange(expected.size))
    direction = numpy.sin(numpy.arange(6) + 1.0)
    plain = finite_difference(lambda x: numpy.dot(program(x), weights), X, direction)
    assert numpy.dot(pullback(weights), direction) == pytest.approx(plain, rel=1e-6, abs=1e-6)
    value, tangent = make_jvp(program)(X)(direction)
    assert value.tobytes() == expected.tobytes()
    assert numpy.dot(tangent, weights) == pytest.approx(plain, rel=1e-6, abs=1e-6)
    # Both ways of second derivatives, which run the updates in nested traces.
    scalar = lambda x: np.sum(program(x) ** 2)  # noqa: E731
    forward_over_reverse = jvp(grad(scalar), (X,), (direction,))[1]
    reverse_over_forward = grad(lambda x: jvp(scalar, (x,), (direction,))[1])(X)
    numpy.testing.assert_allclose(forward_over_reverse, reverse_over_forward, rtol=1e-9, atol=1e-9)
    plain = finite_difference(grad(scalar), X, direction)
    numpy.testing.assert_allclose(forward_over_reverse, plain, rtol=1e-5, atol=1e-5 * numpy.abs(plain).max())


# --- the argument itself, and plain arrays --------------------------------------------------------


def test_the_callers_array_is_not_written_to():
    x = X.copy()

    def f(x):
        x += 1.0
        x[0] = x[1]
        x.sort()
        return np.sum(x * x)

    g = grad(f)(x)
    assert numpy.array_equal(x, X)
    assert g[1] == pytest.approx(4 * (X[1] + 1)) and g[0] == 0.0


def test_plain_array_plus_equals_rebinds():
    plain = numpy.ones(6)

    def f(x):
        y = plain
        y += x
        y *= x
        return np.sum(y)

    numpy.testing.assert_allclose(grad(f)(X), 1 + 2 * X)
    assert numpy.array_equal(plain, numpy.ones(6))


@pytest.mark.parametrize("make", [
    lambda x: np.zeros(6, like=x),
    lambda x: numpy.zeros(6, like=x),
    lambda x: np.zeros_like(x),
    lambda x: np.array([0.0] * 6, like=x),
    lambda x: np.full(6, 0.0, like=x),
    lambda x: np.empty_like(x),
    lambda x: np.full_like(x, 0.0),
    lambda x: np.zeros((6,), dtype=x.dtype, like=x),
])  # fmt: skip
def test_arrays_like_a_traced_one_can_be_filled(make):
    def f(x):
        y = make(x)
        for i in range(6):
            y[i] = x[i] * x[5 - i]
        return np.sum(y * y)

    check_grads(f, modes=["rev", "fwd"], order=2)(X)


def test_like_makes_the_array_that_was_asked_for():
    def f(x):
        assert np.zeros((2, 3), like=x).shape == (2, 3)
        assert np.ones(2, dtype=numpy.float32, like=x).dtype == numpy.float32
        assert numpy.array_equal(np.eye(2, like=x) + 0.0 == numpy.eye(2), numpy.ones((2, 2), bool))
        assert type(np.zeros(2, dtype=int, like=x)) is numpy.ndarray
        assert np.arange(3.0, like=x).shape == (3,)
        return np.sum(np.ones(2, like=x)) + x[0]

    assert numpy.array_equal(grad(f)(X), [1, 0, 0, 0, 0, 0])


WAYS = {
    "a[i] = x": lambda a, x: a.__setitem__(0, x[0]),
    "a[i] = array": lambda a, x: a.__setitem__(slice(None), x),
    "a[0:1] = x": lambda a, x: a.__setitem__(slice(0, 1), x[0]),
    "a[mask] = x": lambda a, x: a.__setitem__(a > 0, x[0]),
    "a.fill": lambda a, x: a.fill(x[0]),
    "np.asarray": lambda a, x: numpy.asarray(x),
    "np.array": lambda a, x: numpy.array([x[0], x[1]]),
    "np.float64": lambda a, x: numpy.float64(x[0]),
    "float": lambda a, x: float(x[0]),
    "math.sin": lambda a, x: math.sin(x[0]),
    "np.put": lambda a, x: np.put(a, [0], x[0]),
    "np.copyto": lambda a, x: np.copyto(a, x),
    "np.place": lambda a, x: np.place(a, a > 0, x),
    "np.putmask": lambda a, x: np.putmask(a, a > 0, x),
    "np.fill_diagonal": lambda a, x: np.fill_diagonal(a.reshape(2, 3), x[0]),
    "np.put_along_axis": lambda a, x: np.put_along_axis(a, numpy.array([0]), x[:1], 0),
    "out=": lambda a, x: np.add(x, x, out=a),
    "out by position": lambda a, x: np.add(x, x, a),
    "item": lambda a, x: x[0].item(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("nested", [False, True])
def test_a_plain_array_refuses_a_traced_value_and_says_what_to_do(way, nested):
    a = numpy.ones(6)

    def f(x):
        WAYS[way](a, x)
        return x[0]

    with pytest.raises(TypeError, match=r"np\.|stop_gradient|drop out=") as error:
        (grad(lambda x: grad(f)(x)[0]) if nested else grad(f))(X)
    assert "traced value" in str(error.value)
    assert numpy.array_equal(a, numpy.ones(6))


def test_a_constant_result_may_go_into_a_plain_array():
    mask = numpy.zeros(6, bool)

    def f(x):
        np.greater(x * x, 1.0, out=mask)
        return np.sum(x * x * mask)

    assert numpy.array_equal(grad(f)(X), 2 * X * (X * X > 1))
    assert numpy.array_equal(hessian(f)(X), numpy.diag(2.0 * (X * X > 1)))


def test_errors_are_numpys():
    def assign(index, value):
        def f(x):
            y = x * 1.0
            y[index] = value
            return np.sum(y)

        return grad(f)

    with pytest.raises(IndexError):
        assign(6, 1.0)(X)
    with pytest.raises(ValueError, match="broadcast"):
        assign(slice(0, 2), numpy.ones(3))(X)
    with pytest.raises(TypeError, match="complex"):
        assign(0, 1j)(X)

    def grow(x):
        y = x[:1]
        y += x
        return np.sum(y)

    with pytest.raises(ValueError, match="non-broadcastable"):
        grad(grow)(X)

    def make_complex(x):
        y = x * 1.0
        y += 1j
        return np.sum(y)

    with pytest.raises(TypeError, match="cannot cast"):
        grad(make_complex)(X)

    def broadcast(x):
        y = np.broadcast_to(x, (2, 6))
        y[0] = 1.0
        return np.sum(y)

    with pytest.raises(ValueError, match="read-only"):
        grad(broadcast)(X)

    def scalar(x):
        x[0][()] = 1.0

    with pytest.raises(TypeError, match="item assignment"):
        grad(scalar)(X)
    with pytest.raises(IndexError, match="traced float"):
        grad(lambda x: x[x[0]])(X)


def test_single_precision_stays():
    def f(x):
        y = np.zeros(6, dtype=numpy.float32, like=x)
        y[0] = x[0] * 2
        y[1:] = numpy.ones(5)
        y += numpy.float64(2.0) * x
        assert y.dtype == numpy.float32
        return np.sum(y * y)

    g = grad(f)(X.astype(numpy.float32))
    assert g.dtype == numpy.float32


# --- nested derivatives ---------------------------------------------------------------------------


def test_an_inner_value_in_an_outer_array():
    def f(x):
        y = x * 2.0

        def inner(t):
            z = np.zeros(6, like=t) + y
            z[0] = t * x[1]
            z += t
            return np.sum(z * z)

        return grad(inner)(x[2])

    check_grads(f, modes=["rev", "fwd"], order=2)(X)

    def traced_only(x):
        def inner(t):
            z = np.zeros_like(x)
            z[0] = t * x[1]
            v = z[:3]
            v += t * t
            return np.sum(z * z * x[0])

        return grad(inner)(x[2])

    def by_hand(x):
        # d/dt of x0 ((t x1 + t^2)^2 + 2 t^4) at t = x2
        t = x[2]
        return x[0] * (2 * (t * x[1] + t * t) * (x[1] + 2 * t) + 8 * t**3)

    for operator in (grad, hessian):
        numpy.testing.assert_allclose(operator(traced_only)(X), operator(by_hand)(X))


def test_an_outer_value_in_an_inner_array():
    def f(x):
        def inner(t):
            z = np.zeros(2, like=t)
            z[0] = x[0]
            z[1] = t * x[1]
            return np.sum(z * z * z)

        return grad(inner)(x[2])

    check_grads(f, modes=["rev", "fwd"], order=2)(X)


def test_an_array_that_took_an_inner_value_is_of_no_use_afterwards():
    def f(x):
        y = x * 2.0
        v = y[1:]

        def inner(t):
            y[0] = t
            return np.sum(y)

        grad(inner)(x[2])
        return np.sum(y) if x[0] > 0 else np.sum(v)

    with pytest.raises(RuntimeError, match="outlived|after the function"):
        grad(f)(X)
    with pytest.raises((RuntimeError, TypeError), match="after"):
        grad(f)(-X)


def test_hessian_of_a_loop_that_fills():
    def f(x):
        y = np.zeros(6, like=x)
        for i in range(6):
            y[i] = x[i] ** 2 * x[0]
        return np.sum(y)

    expected = numpy.diag(2 * X[0] * numpy.ones(6))
    expected[0] = expected[:, 0] = 2 * X
    expected[0, 0] = 6 * X[0]
    numpy.testing.assert_allclose(hessian(f)(X), expected)


def test_indices_are_kept_as_they_were():
    def f(x):
        index = numpy.array([0, 1])
        y = x[index] * 2.0
        z = x * 1.0
        z[index] = 5.0 * x[2]
        index[:] = 3
        return np.sum(y) + np.sum(z)

    assert numpy.array_equal(grad(f)(X), [2, 2, 11, 1, 1, 1])


def test_an_array_without_axes_is_updated_in_place():
    def product(x):
        y = np.array(x[0])
        z = y
        y += x[1]
        y[()] = y * x[2]
        return y * z

    # ((a + b) c)^2 at 1, 2, 3
    numpy.testing.assert_array_equal(grad(product)(numpy.array([1.0, 2.0, 3.0])), [54.0, 54.0, 54.0])
