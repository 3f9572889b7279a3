"""Shape: what examples cannot say."""

import weakref

import numpy
import pytest

import autograd_c.numpy as np
from autograd_c.operators import grad, make_jvp, make_vjp
from autograd_c.test_util import check_grads

X = numpy.arange(6.0).reshape(2, 3) + 0.5


def same(f, x, **also):
    """The traced value is NumPy's, structure and all."""
    expected = f(numpy, x)
    for value in (make_vjp(lambda x: f(np, x))(x)[1], make_jvp(lambda x: f(np, x))(x)(numpy.ones_like(x))[0]):
        parts = (
            zip(value, expected, strict=True) if isinstance(expected, (tuple, list)) else [(value, expected)]
        )
        assert type(value) is type(expected) or not isinstance(expected, (tuple, list))
        for v, e in parts:
            assert numpy.shape(v) == numpy.shape(e) and numpy.array_equal(v, e)
            assert numpy.asarray(v).dtype == numpy.asarray(e).dtype


# --- memory order ---------------------------------------------------------------------------------


LAYOUTS = {
    "C": X,
    "Fortran": numpy.asfortranarray(X),
    "transposed 3-d": numpy.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2),
    "backwards": X[::-1, ::-1],
    "strided": numpy.arange(24.0).reshape(4, 6)[::2, ::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("order", "CFAK")
def test_ravel_in_memory_order(layout, order):
    x = LAYOUTS[layout]
    same(lambda np, x: np.ravel(x, order), x)
    same(lambda np, x: x.ravel(order=order), x)
    same(lambda np, x: x.flatten(order), x)
    w = numpy.cos(numpy.arange(x.size))
    # The cotangent of item k of the result belongs to the item that it came from.
    numbers = numpy.empty_like(x, dtype=int)
    numbers[...] = numpy.arange(x.size).reshape(x.shape)
    expected = numpy.empty(x.size)
    expected[numbers.ravel(order)] = w
    assert numpy.array_equal(make_vjp(lambda x: np.ravel(x, order))(x)[0](w), expected.reshape(x.shape))
    assert numpy.array_equal(make_jvp(lambda x: np.ravel(x, order))(x)(2 * x)[1], 2 * x.ravel(order))


def test_reshape_by_memory_layout_is_refused():
    for order in "AK":
        with pytest.raises((TypeError, ValueError), match="order"):
            grad(lambda x, order=order: np.sum(np.reshape(x, (6,), order=order)))(X)
    with pytest.raises(TypeError, match="pass order='C' or 'F'"):
        make_jvp(lambda x: np.reshape(x, 6, order="A"))(X)(X)


def test_reshape_forms():
    for f in (
        lambda np, x: np.reshape(x, -1),
        lambda np, x: np.reshape(x, (3, -1)),
        lambda np, x: np.reshape(x, shape=(3, 2)),
        lambda np, x: np.reshape(x, [3, 2]),
        lambda np, x: np.reshape(x, (3, 2), order="F"),
        lambda np, x: np.reshape(x, (3, 2), copy=True),
        lambda np, x: x.reshape(3, 2),
        lambda np, x: x.reshape([6]),
        lambda np, x: x.reshape(-1, 2, order="F"),
    ):
        same(f, X)
        check_grads(lambda x, f=f: f(np, x), modes=["rev", "fwd"], order=1)(X)
    with pytest.raises(ValueError, match="reshape"):
        grad(lambda x: np.sum(np.reshape(x, 4)))(X)


# --- edges ----------------------------------------------------------------------------------------

EMPTY = {
    "reshape": lambda np, x: np.reshape(x, (3, 0, 2)),
    "ravel": lambda np, x: np.ravel(x),
    "transpose": lambda np, x: np.transpose(x),
    "tile": lambda np, x: np.tile(x, (2, 2)),
    "repeat": lambda np, x: np.repeat(x, 2, axis=1),
    "flip": lambda np, x: np.flip(x),
    "roll": lambda np, x: np.roll(x, 1),
    "pad": lambda np, x: np.pad(x, ((1, 1), (0, 0))),
    "diagonal": lambda np, x: np.diagonal(x),
    "trace": lambda np, x: np.trace(x),
    "tril": lambda np, x: np.tril(x),
    "concatenate": lambda np, x: np.concatenate([x, x]),
    "stack": lambda np, x: np.stack([x, x], -1),
    "squeeze": lambda np, x: np.squeeze(x),
    "array": lambda np, x: np.array([x, x]),
    "resize": lambda np, x: np.resize(x, (0,)),
    "index": lambda np, x: x[1:],
}


@pytest.mark.parametrize("name", EMPTY)
def test_no_items(name):
    x = numpy.zeros((0, 2))
    same(EMPTY[name], x)
    pullback, value = make_vjp(lambda x: EMPTY[name](np, x))(x)
    assert pullback(numpy.ones_like(value)).shape == (0, 2)


SCALARS = {
    "reshape": lambda np, x: np.reshape(x, (1, 1)),
    "atleast_1d": lambda np, x: np.atleast_1d(x),
    "atleast_2d": lambda np, x: np.atleast_2d(x, x),
    "atleast_3d": lambda np, x: np.atleast_3d(x),
    "expand_dims": lambda np, x: np.expand_dims(x, (0, 1)),
    "broadcast_to": lambda np, x: np.broadcast_to(x, (2, 2)),
    "tile": lambda np, x: np.tile(x, 2),
    "repeat": lambda np, x: np.repeat(x, 3),
    "diagflat": lambda np, x: np.diagflat(x),
    "transpose": lambda np, x: np.transpose(x),
    "squeeze": lambda np, x: np.squeeze(x),
    "ravel": lambda np, x: np.ravel(x),
    "hstack": lambda np, x: np.hstack([x, x]),
    "vstack": lambda np, x: np.vstack([x, 1.0]),
    "dstack": lambda np, x: np.dstack([x, 1.0]),
    "column_stack": lambda np, x: np.column_stack([x, 1.0]),
    "append": lambda np, x: np.append(x, 1.0),
    "copy": lambda np, x: np.copy(x),
    "array": lambda np, x: np.array(x),
    "array of one": lambda np, x: np.array([[x]]),
    "meshgrid": lambda np, x: np.meshgrid(x, x),
    "resize": lambda np, x: np.resize(x, (2, 2)),
    "pad": lambda np, x: np.pad(np.atleast_1d(x), 1, mode="edge"),
    "flip": lambda np, x: np.flip(x),
    "roll": lambda np, x: np.roll(x, 1),
    "trim_zeros": lambda np, x: np.trim_zeros(np.atleast_1d(x)),
}


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("x", [1.5, numpy.float64(1.5), numpy.float32(1.5), numpy.array(1.5)], ids=repr)
def test_scalars(name, x):
    f = SCALARS[name]
    expected = f(numpy, x)
    value = make_vjp(lambda x: f(np, x))(x)[1]
    for v, e in zip(value, expected, strict=True) if isinstance(expected, tuple) else [(value, expected)]:
        assert numpy.array_equal(v, e) and numpy.shape(v) == numpy.shape(e)
        assert numpy.asarray(v).dtype == numpy.asarray(e).dtype

    def total(x):
        return sum(np.sum(v) for v in f(np, x)) if isinstance(expected, tuple) else np.sum(f(np, x))

    count = sum(
        numpy.count_nonzero(e == 1.5) for e in (expected if isinstance(expected, tuple) else [expected])
    )
    g = grad(total)(x)
    assert g == count and numpy.shape(g) == ()


# --- axes and errors ------------------------------------------------------------------------------


def test_rollaxis_every_way():
    x = numpy.arange(24.0).reshape(2, 3, 4)
    for axis in range(-3, 3):
        for start in range(-3, 4):
            f = lambda np, x, a=axis, s=start: np.rollaxis(x, a, s)  # noqa: E731
            same(f, x)
            pullback, value = make_vjp(lambda x, f=f: f(np, x))(x)
            assert numpy.array_equal(pullback(value), x)


def test_transpose_forms():
    x = numpy.arange(24.0).reshape(2, 3, 4)
    for f in (
        lambda np, x: x.T,
        lambda np, x: x.mT,
        lambda np, x: x.transpose(),
        lambda np, x: x.transpose(None),
        lambda np, x: x.transpose(2, 0, 1),
        lambda np, x: x.transpose([2, 0, -2]),
        lambda np, x: np.permute_dims(x, (1, 0, 2)),
        lambda np, x: np.transpose(x, axes=[0, 2, 1]),
    ):
        same(f, x)
        pullback, value = make_vjp(lambda x, f=f: f(np, x))(x)
        assert numpy.array_equal(pullback(value), x)
    with pytest.raises(ValueError):
        grad(lambda x: np.sum(x[0, 0].mT))(x)
    with pytest.raises(ValueError, match="axes"):
        grad(lambda x: np.sum(np.transpose(x, (0, 1))))(x)


def test_trace_and_diagonal_every_way():
    x = numpy.arange(24.0).reshape(2, 3, 4)
    for offset in (-3, -1, 0, 2, 5):
        for axes in ((0, 1), (2, 1), (-1, 0)):
            for name in ("trace", "diagonal"):
                f = lambda np, x, n=name, o=offset, a=axes: getattr(np, n)(x, o, *a)  # noqa: E731
                same(f, x)
                check_grads(lambda x, f=f: f(np, x), modes=["rev", "fwd"], order=1)(x)
    with pytest.raises(TypeError, match="out="):
        grad(lambda x: np.sum(np.trace(x, out=numpy.zeros(4))))(x)


def test_trim_zeros():
    x = numpy.array([0.0, 0.0, 1.0, 0.0, 2.0, 0.0])
    for trim in ("fb", "f", "b", "BF"):
        same(lambda np, x, t=trim: np.trim_zeros(x, t), x)
    same(lambda np, x: np.trim_zeros(x), numpy.zeros(3))
    assert numpy.array_equal(
        grad(lambda x: np.sum(np.trim_zeros(x) ** 2 + np.trim_zeros(x)))(x), [0, 0, 3, 1, 5, 0]
    )
    with pytest.raises(ValueError, match="unexpected character"):
        grad(lambda x: np.sum(np.trim_zeros(x, "x")))(x)
    if numpy.lib.NumpyVersion(numpy.__version__) >= "2.2.0":
        m = numpy.zeros((4, 5))
        m[1, 2] = m[2, 3] = 1.0
        for axis in (None, 0, -1, (0, 1), ()):
            same(lambda np, x, a=axis: np.trim_zeros(x, axis=a), m)


# --- padding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric", "wrap", "linear_ramp", "mean"])
@pytest.mark.parametrize(
    "width", [0, 1, (1, 2), ((2, 0), (0, 1)), ((5, 7), (4, 3)), numpy.array([[1], [2]])], ids=str
)
def test_pad(mode, width):
    same(lambda np, x: np.pad(x, width, mode), X)
    check_grads(lambda x: np.pad(x, width, mode), modes=["rev", "fwd"], order=2)(X)


def test_pad_settings():
    for f in (
        lambda np, x: np.pad(x, 2, constant_values=((1, 2), (3, 4))),
        lambda np, x: np.pad(x, 2, "linear_ramp", end_values=(1.0, -1.0)),
        lambda np, x: np.pad(x, 7, "reflect", reflect_type="odd"),
        lambda np, x: np.pad(x, 7, "symmetric", reflect_type="odd"),
        lambda np, x: np.pad(x, 3, "mean", stat_length=((1, 2), (2, 3))),
        lambda np, x: np.pad(x, 3, "mean", stat_length=(1, 2)),
    ):
        same(f, X)
        check_grads(lambda x, f=f: f(np, x), modes=["rev", "fwd"], order=2)(X)
        same(f, X.astype(numpy.float32))
        g = grad(lambda x, f=f: np.sum(f(np, x)))(X.astype(numpy.float32))
        assert g.dtype == numpy.float32
    assert numpy.array_equal(grad(lambda x: np.sum(np.pad(x, 1, "empty")[1:-1, 1:-1]))(X), numpy.ones((2, 3)))


def test_pad_refuses_what_has_no_rule():
    for mode in ("maximum", "minimum", "median", lambda vector, *args: None):
        with pytest.raises(TypeError, match=r"pad: mode .*np\.concatenate"):
            grad(lambda x, m=mode: np.sum(np.pad(x, 1, m)))(X)
    with pytest.raises(TypeError, match="pad has no derivative with respect to constant_values"):
        grad(lambda x: np.sum(np.pad(X, 1, constant_values=x[0, 0])))(X)
    with pytest.raises(ValueError, match="mode"):
        grad(lambda x: np.sum(np.pad(x, 1, "sideways")))(X)


# --- keeps nothing, views -------------------------------------------------------------------------


def test_cotangents_are_not_shared():
    pullback, _ = make_vjp(lambda x: np.transpose(np.reshape(x, (3, 2))))(X)
    g = numpy.ones((2, 3))
    out = pullback(g)
    out[0, 0] = 7.0
    assert numpy.array_equal(g, numpy.ones((2, 3)))


@pytest.mark.parametrize("f", [
    np.transpose, np.flip, np.tril, np.diagonal, np.trace, np.copy, lambda x: np.reshape(x, (3, 2)),
    lambda x: np.roll(x, 1), lambda x: np.tile(x, 2), lambda x: np.repeat(x, 2), lambda x: np.pad(x, 1),
    lambda x: np.expand_dims(x, 0), lambda x: np.concatenate([x, x]), lambda x: np.stack([x, x]),
    lambda x: np.array([x, x]), lambda x: x[:, [0, 1]],
])  # fmt: skip
def test_the_argument_is_not_kept(f):
    held = []

    def h(x):
        y = x * 2.0
        value = y._value
        held.append(weakref.ref(value))
        out = f(y)
        shared = isinstance(out._value, numpy.ndarray) and numpy.shares_memory(out._value, value)
        total = np.sum(out)
        del y, value, out
        assert shared or held[-1]() is None
        return total

    grad(h)(X)


def test_broadcast_arrays_and_meshgrid_copies():
    x = numpy.arange(3.0)
    same(lambda np, x: tuple(np.broadcast_arrays(x, X, 1.0)), x)
    for options in ({}, {"sparse": True}, {"indexing": "ij"}, {"copy": False}):
        same(lambda np, x, o=options: np.meshgrid(x, x[:2], x, **o), x)
    same(lambda np, x: np.meshgrid(x), x)
    with pytest.raises(ValueError, match="indexing"):
        grad(lambda x: np.sum(np.meshgrid(x, indexing="zz")[0]))(x)
    with pytest.raises(ValueError, match="broadcast"):
        grad(lambda x: np.sum(np.broadcast_to(x, (2, 2))))(x)


# --- HIPS/autograd --------------------------------------------------------------------------------

SHARED = {
    "reshape": lambda np, x: np.reshape(x, (3, 4), order="F"),
    "ravel": lambda np, x: np.ravel(x),
    "transpose": lambda np, x: np.transpose(x, (1, 0)),
    "swapaxes": lambda np, x: np.swapaxes(x, 0, 1),
    "moveaxis": lambda np, x: np.moveaxis(x, 0, 1),
    "rollaxis": lambda np, x: np.rollaxis(x, 1),
    "expand_dims": lambda np, x: np.expand_dims(x, 1),
    "squeeze": lambda np, x: np.squeeze(x[:1]),
    "roll": lambda np, x: np.roll(x, 2, axis=1),
    "tile": lambda np, x: np.tile(x, (2, 3)),
    "repeat": lambda np, x: np.repeat(x, 3, axis=0),
    "fliplr": lambda np, x: np.fliplr(x) * np.flipud(x),
    "rot90": lambda np, x: np.rot90(x),
    "pad": lambda np, x: np.pad(x, ((1, 2), (0, 3)), "constant"),
    "diag": lambda np, x: np.diag(x[0], 1),
    "diagonal": lambda np, x: np.diagonal(x[:, :3], 0, -1, -2),
    "trace": lambda np, x: np.trace(x[:3, :3], offset=1),
    "tril": lambda np, x: np.tril(x) * np.triu(x, 1) + np.tril(x, -1),
    "concatenate": lambda np, x: np.concatenate((x, x * x), axis=1),
    "stack": lambda np, x: np.stack([x, 2 * x], axis=1),
    "vstack": lambda np, x: np.vstack([x[0], x]),
    "hstack": lambda np, x: np.hstack([x, x]),
    "array_split": lambda np, x: np.array_split(x, 3, axis=1)[1],
    "array": lambda np, x: np.array([[x[0, 0], 2.0], [x[1, 1], x[0, 0] * x[1, 2]]]),
    "linspace": lambda np, x: np.linspace(x[0, 0], x[1, 2], 5),
    "full": lambda np, x: np.full((2, 3), x[0, 0]),
    "index": lambda np, x: x[[0, 1, 0], [1, 2, 1]],
    "mask": lambda np, x: x[x > 0],
    "slice": lambda np, x: x[::-1, None, 1:],
    "real": lambda np, x: np.real(x * (1 + 2j)) * np.imag(x * (1 + 2j)),
    "astype": lambda np, x: x.astype(numpy.float32),
    "select": lambda np, x: np.select([x > 0, x < -0.5], [x * x, 3 * x]),
}


@pytest.mark.parametrize("name", SHARED)
def test_gradients_are_those_of_hips_autograd(name):
    pytest.importorskip("autograd")
    import autograd.numpy as hips_np
    from autograd import make_vjp as hips_make_vjp

    x = numpy.sin(numpy.arange(12.0)).reshape(3, 4)
    pullback, value = make_vjp(lambda x: SHARED[name](np, x))(x)
    hips_pullback, hips_value = hips_make_vjp(lambda x: SHARED[name](hips_np, x))(x)
    g = numpy.cos(numpy.arange(value.size)).reshape(value.shape).astype(value.dtype)[()]
    numpy.testing.assert_allclose(value, hips_value, rtol=1e-14)
    numpy.testing.assert_allclose(pullback(g), hips_pullback(g), rtol=1e-12, atol=1e-14)
