"""Joining and taking apart: what examples cannot say."""

import numpy
import pytest

import autograd_c.numpy as np
from autograd_c.operators import grad, make_jvp, make_vjp
from autograd_c.test_util import check_grads

X = numpy.arange(6.0).reshape(2, 3) + 0.5
ROW = numpy.array([1.0, -2.0, 0.5])


def test_traced_and_plain_parts_mix():
    for f in (
        lambda np, x: np.concatenate([X, x, numpy.ones((1, 3))]),
        lambda np, x: np.concatenate((x, [[1, 2, 3]])),
        lambda np, x: np.concat([x, x * x], axis=1),
        lambda np, x: np.stack([X, x, numpy.zeros((2, 3), int)], axis=1),
        lambda np, x: np.vstack([x, [1.0, 2.0, 3.0]]),
        lambda np, x: np.hstack([x, X[:, :1]]),
        lambda np, x: np.append(x, [1.0]),
        lambda np, x: np.block([[x, X], [numpy.ones((1, 6))]]),
        lambda np, x: np.block([x[0], 1.0, x[1, 2]]),
        lambda np, x: np.column_stack([x[:, 0], X]),
        lambda np, x: np.concatenate([x, X], axis=None),
        lambda np, x: np.concatenate(x),
        lambda np, x: np.concatenate([x, x], dtype=numpy.float32),
        lambda np, x: np.concatenate([x, x], dtype=complex),
        lambda np, x: np.stack([x, x], dtype=numpy.float32, casting="unsafe"),
    ):
        expected = f(numpy, X)
        value = make_vjp(lambda x, f=f: f(np, x))(X)[1]
        assert numpy.array_equal(value, expected) and value.dtype == expected.dtype
        if value.dtype == float:
            check_grads(lambda x, f=f: f(np, x), modes=["rev", "fwd"], order=2)(X)


def test_types_of_the_parts():
    single = X.astype(numpy.float32)
    pullback, value = make_vjp(lambda x: np.concatenate([x, X]))(single)
    assert value.dtype == float and pullback(numpy.ones((4, 3))).dtype == numpy.float32
    pullback, value = make_vjp(lambda x: np.stack([x, 1j * X]))(X)
    assert value.dtype == complex
    assert numpy.array_equal(pullback(numpy.full((2, 2, 3), 2 + 3j)), numpy.full((2, 3), 2.0))


def test_errors_name_the_function():
    with pytest.raises(TypeError, match="concatenate: cannot cast"):
        grad(lambda x: np.sum(np.concatenate([x, x], dtype=int)))(X)
    with pytest.raises(TypeError, match="stack: out= is a plain array"):
        grad(lambda x: np.sum(np.stack([x, x], out=numpy.zeros((2, 2, 3)))))(X)
    with pytest.raises(ValueError, match="shape"):
        grad(lambda x: np.sum(np.stack([x, x[0]])))(X)
    with pytest.raises(ValueError, match="match"):
        grad(lambda x: np.sum(np.concatenate([x, x[:, :1]])))(X)
    with pytest.raises(numpy.exceptions.AxisError):
        grad(lambda x: np.sum(np.concatenate([x, x], axis=2)))(X)
    with pytest.raises(ValueError, match="depths are mismatched"):
        grad(lambda x: np.sum(np.block([[x], x])))(X)
    with pytest.raises(ValueError, match="equal division"):
        grad(lambda x: np.sum(np.split(x, 2, axis=1)[0]))(X)
    with pytest.raises(ValueError, match="larger than 0"):
        grad(lambda x: np.sum(np.array_split(x, 0)[0]))(X)
    for name, x in (("hsplit", X[0, 0]), ("vsplit", X[0]), ("dsplit", X)):
        with pytest.raises(ValueError, match=f"{name} only works"):
            grad(lambda x, n=name: np.sum(getattr(np, n)(x, 1)[0]))(x)


def test_out_may_be_traced():
    def f(x):
        y = np.zeros((4, 3), like=x)
        np.concatenate([x, x * x], out=y)
        return y

    check_grads(f, modes=["rev", "fwd"], order=2)(X)


def test_insert_every_way():
    for obj, values, axis in (
        (1, 5.0, None), (-1, 5.0, 0), (6, 5.0, None), ([1], 5.0, 1), ([0, 3, 3], ROW, 1),
        (slice(1, 3), 7.0, 1), (numpy.array([True, False]), ROW, 0), (1, ROW[:2], 1), ([1], ROW[:2, None], 1),
        ([2, 0], [[8.0], [9.0]], 0), ([], 1.0, 0), (numpy.array(2), X, 0), (1, X, 0), (0, [1, 2, 3], None),
    ):  # fmt: skip
        f = lambda np, x, v, o=obj, a=axis: np.insert(x, o, v, axis=a)  # noqa: E731
        expected = f(numpy, X, values)
        value = make_vjp(lambda x, f=f, v=values: f(np, x, v))(X)[1]
        assert numpy.array_equal(value, expected), (obj, values, axis)
        check_grads(lambda x, v, f=f: f(np, x, v), modes=["rev", "fwd"], order=1)(
            X, numpy.asarray(values, float)
        )
    with pytest.raises(IndexError):
        grad(lambda x: np.sum(np.insert(x, 9, 1.0)))(X)


def test_delete_every_way():
    for obj, axis in (
        (0, None),
        (-1, 1),
        ([0, 0], 0),
        (slice(None, None, 2), 1),
        (numpy.array([True, False]), 0),
        ([], 1),
    ):
        f = lambda np, x, o=obj, a=axis: np.delete(x, o, axis=a)  # noqa: E731
        assert numpy.array_equal(make_vjp(lambda x, f=f: f(np, x))(X)[1], f(numpy, X))
        check_grads(lambda x, f=f: f(np, x), modes=["rev", "fwd"], order=1)(X)


def test_split_every_way():
    x = numpy.arange(24.0).reshape(4, 2, 3)
    for f in (
        lambda np, x: np.array_split(x, 3),
        lambda np, x: np.array_split(x, [1, 1, 9, -1]),
        lambda np, x: np.array_split(x, numpy.array([2]), axis=-1),
        lambda np, x: np.split(x, 2),
        lambda np, x: np.hsplit(x, 2),
        lambda np, x: np.vsplit(x, [1]),
        lambda np, x: np.dsplit(x, 3),
        lambda np, x: np.array_split(x, 5),
    ):
        expected = f(numpy, x)
        value = make_vjp(lambda x, f=f: f(np, x))(x)[1]
        assert type(value) is list and len(value) == len(expected)
        assert all(
            numpy.array_equal(a, b) and a.shape == b.shape for a, b in zip(value, expected, strict=True)
        )
    check_grads(lambda x: np.array_split(x, 3), modes=["rev", "fwd"], order=1)(x)


def test_many_parts():
    """All parts get their cotangents from one call."""
    n = 2000

    def f(x):
        parts = [x[i : i + 1] * float(i) for i in range(n)]
        return (
            np.sum(np.concatenate(parts) ** 2)
            + np.sum(np.stack(parts))
            + np.sum(np.array([p[0] for p in parts]))
        )

    x = numpy.linspace(-1, 1, n)
    i = numpy.arange(n)
    numpy.testing.assert_allclose(grad(f)(x), 2 * i**2 * x + 2 * i, rtol=1e-12)


def test_tangents_of_some_parts():
    value, tangent = make_jvp(lambda x: np.concatenate([x, ROW, 2 * x]))(ROW)(numpy.ones(3))
    assert numpy.array_equal(tangent, [1, 1, 1, 0, 0, 0, 2, 2, 2])
    value, tangent = make_jvp(lambda x: np.stack([ROW, x]))(ROW.astype(numpy.float32))(
        numpy.ones(3, numpy.float32)
    )
    assert numpy.array_equal(tangent, [[0, 0, 0], [1, 1, 1]]) and tangent.dtype == value.dtype == float


@pytest.mark.skipif(not hasattr(numpy, "unstack"), reason="this NumPy has no unstack")
def test_unstack():
    value = make_vjp(lambda x: np.unstack(x, axis=1))(X)[1]
    assert type(value) is tuple and len(value) == 3 and numpy.array_equal(value[2], X[:, 2])
    with pytest.raises(ValueError, match="at least 1-d"):
        grad(lambda x: np.unstack(x[0, 0])[0])(X)


# --- joining by an index --------------------------------------------------------------------------

BY_INDEX = {
    "ends": lambda np, x: np.r_[x[0], 0, x, 1.5],
    "ranges": lambda np, x: np.r_[1:3, x, 0:1:3j, x[1:]],
    "lists": lambda np, x: np.r_[[1.0, 2.0], [x[0], 3.0], x],
    "one": lambda np, x: np.r_[x],
    "columns": lambda np, x: np.c_[x, 0:3, [1.0, 2.0, 3.0], x * x],
    "matrices": lambda np, x: np.c_[np.outer(x, x), x],
    "axis": lambda np, x: np.r_["0,2", x, 2 * x],
    "place": lambda np, x: np.r_["0,2,0", x, 2 * x, 1:4],
    "last axis": lambda np, x: np.r_["-1", np.outer(x, x), np.outer(x, x)],
}


@pytest.mark.parametrize("dtype", [float, numpy.float32])
@pytest.mark.parametrize("name", BY_INDEX)
def test_joining_by_an_index(name, dtype):
    join, x = BY_INDEX[name], ROW.astype(dtype)
    expected = join(numpy, x)
    value = make_vjp(lambda x: join(np, x))(x)[1]
    assert value.dtype == expected.dtype and numpy.array_equal(value, expected)
    check_grads(lambda x: join(np, x), order=2)(x)


def test_joining_by_an_index_makes_no_matrix():
    with pytest.raises(TypeError, match="r_: no matrix of traced values"):
        grad(lambda x: np.sum(np.r_["r", x]))(ROW)


@pytest.mark.parametrize("join", [np.concatenate, np.stack, np.hstack, np.vstack, np.dstack, np.column_stack])
def test_parts_in_any_iterable(join):
    """As in HIPS/autograd; NumPy takes sequences only."""
    named = {"a": X, "b": 2.0 * X}
    expected = join(list(named.values()))
    for parts in (named.values(), (part for part in named.values())):
        assert (join(parts) == expected).all()
    gradient = grad(lambda named: np.sum(join(part for part in named.values()) ** 2))(named)
    numpy.testing.assert_allclose(gradient["b"], 4.0 * X)
