"""Jacobians and Hessians, dense and sparse, of compiled functions: one replay for all seeds."""

import numpy as onp
import pytest

import autograd_c.numpy as np
from autograd_c import compile, hessian, jacfwd, jacobian
from autograd_c.operators import _BySeeds
from autograd_c.replay import Accumulated, Declined
from autograd_c.sparse import sparse_hessian, sparse_jacobian

A = onp.linspace(-1.0, 1.0, 15).reshape(5, 3)
X = onp.array([0.5, -1.25, 2.0])
CALLS = 4  # one that records, three that replay


def declined(*_):
    raise Declined("seeds are tested")


@pytest.fixture(autouse=True, params=["accumulated", "rows", "whole"])
def way(request, monkeypatch):
    """Each test by accumulation, by one program for all seeds, and with all of them recorded as a whole."""
    if request.param != "accumulated":
        monkeypatch.setattr(Accumulated, "source", declined)
        monkeypatch.setattr(_BySeeds, "FEW", 0 if request.param == "rows" else 128)
    return request.param


def runs(made):
    """Calls that were replayed."""
    return sum(p["runs"] for p in made.programs)


def tall(x):
    return np.tanh(A @ x) * x[0]


def wide(x):
    return np.exp(x)[:2] * np.sum(x)


def with_loop(x):
    y = x[0]
    for i in range(1, 3):
        y = y * np.sin(x[i]) + x[i - 1]
    return np.array([y, y * x[2]])


def steered(x):
    return x * x if x[0] > 0 else np.sin(x)


@pytest.mark.parametrize(
    "fun", [tall, wide, with_loop, steered, np.sort, lambda x: x, lambda x: x[1:] * 0.0 + 2.0]
)
@pytest.mark.parametrize("operator", [jacobian, jacfwd])
def test_jacobian(fun, operator):
    for made in (operator(compile(fun)), compile(operator(fun))):
        for k in range(CALLS):
            x = X + 0.1 * k
            got, expected = made(x), jacobian(fun)(x)
            assert got.shape == expected.shape and got.dtype == expected.dtype
            onp.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-13)
        assert runs(made) == CALLS - 1


def test_direction_is_picked_by_the_shape(way):
    made = jacobian(compile(tall)), jacobian(compile(wide))
    for f in made:
        for _ in range(CALLS):
            f(X)
    if way == "accumulated":
        assert all(f.parts == (f._accumulated,) for f in made)
        return
    forward, reverse = ("_whole_forward", "_whole") if way == "whole" else ("_push", "_pull")
    made = [f.by_seeds for f in made]
    assert getattr(made[0], forward).programs and not getattr(made[0], reverse).programs
    assert getattr(made[1], reverse).programs and not getattr(made[1], forward).programs


def test_both_branches():
    made = jacobian(compile(steered))
    for x in (X, -X) * CALLS:
        onp.testing.assert_allclose(made(x), jacobian(steered)(x), rtol=1e-14)
    assert runs(made) == 2 * (CALLS - 1)


def energy(x):
    return np.sum(np.exp(-x[1:] * x[:-1]) + np.sin(x[0] * x[1:])) + x[0] ** 3


@pytest.mark.parametrize(
    "fun", [energy, lambda x: with_loop(x)[1], lambda x: np.sum(tall(x) ** 2), lambda x: x[0] * 2.0]
)
def test_hessian(fun):
    for made in (hessian(compile(fun)), compile(hessian(fun))):
        for k in range(CALLS):
            x = X + 0.1 * k
            onp.testing.assert_allclose(made(x), hessian(fun)(x), rtol=1e-12, atol=1e-12)
        assert runs(made) == CALLS - 1


def test_results_are_the_callers():
    made = jacobian(compile(tall))
    first = [made(X) for _ in range(CALLS)]
    kept = [j.copy() for j in first]
    for j in first:
        j[...] = 0.0
    made(X + 1.0)
    onp.testing.assert_allclose(made(X), kept[0], rtol=1e-14)
    assert not any(onp.shares_memory(a, b) for a in first for b in first if a is not b)


def test_argnum_and_other_arguments():
    def fun(scale, x, power):
        return scale * x**power

    made = jacobian(compile(fun), 1)
    for k in range(2 * CALLS):
        args = (1.5 + k, X, 2 + k % 2)
        onp.testing.assert_allclose(made(*args), jacobian(fun, 1)(*args), rtol=1e-14)
    assert runs(made) > 0


@pytest.mark.parametrize(
    "fun, x",
    [
        (lambda x: {"a": x["a"] * x["b"]}, {"a": X, "b": X + 1.0}),
        (lambda x: x * x, 2.0),
        (lambda x: x * x * (1.0 + 2.0j), X + 1.0j),
        (lambda x: x * x, onp.zeros(0)),
        (lambda x: x[:0], X),
    ],
)
def test_the_rest_is_recorded_as_a_whole(fun, x):
    made, plain = jacobian(compile(fun)), jacobian(fun)
    for _ in range(CALLS):
        got, expected = made(x), plain(x)
        if isinstance(expected, dict):
            got, expected = got["a"]["a"], expected["a"]["a"]
        onp.testing.assert_array_equal(got, expected)
    assert not made.by_seeds._pull.programs and not made.by_seeds._push.programs


def test_single_precision_stays():
    made = hessian(compile(energy))
    for _ in range(CALLS):
        got = made(X.astype("f"))
        assert got.dtype == "f"
    onp.testing.assert_allclose(got, hessian(energy)(X), rtol=1e-4)


def test_closures_are_watched():
    factor = 2.0

    def fun(x):
        return factor * x * x

    made = jacobian(compile(fun))
    for factor in [2.0] * CALLS + [3.0] * CALLS:
        onp.testing.assert_allclose(made(X), onp.diag(2.0 * factor * X))


def test_warnings_are_those_of_the_function():
    made = jacobian(compile(lambda x: np.log(x)))
    for _ in range(CALLS):
        made(X**2)
    with pytest.warns(RuntimeWarning):
        made(onp.array([1.0, 0.0, 2.0]))


def banded(x):
    return np.sin(x) * np.concatenate([x[1:], x[:1]]) + x**2


@pytest.mark.parametrize("n", [3, 40])
def test_sparse(n):
    x = onp.linspace(0.1, 2.0, n)
    made = sparse_jacobian(compile(banded)), sparse_hessian(compile(energy)), compile(sparse_hessian(energy))
    for k in range(CALLS):
        onp.testing.assert_allclose(made[0](x + k).toarray(), jacobian(banded)(x + k), rtol=1e-12, atol=1e-12)
        for f in made[1:]:
            onp.testing.assert_allclose(f(x + k).toarray(), hessian(energy)(x + k), rtol=1e-10, atol=1e-10)
    assert [runs(f) for f in made] == [CALLS - 1] * 3
