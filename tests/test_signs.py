"""Changes of sign in programs: other calls do them, with the same bits and flags."""

import numpy as onp
import pytest

import autograd_c.numpy as np
from autograd_c import compile, explain, grad

X = onp.array([0.5, -1.25, 2.0, 0.0, -0.0, onp.inf, -onp.inf, 1e308, 5e-324])
Y = onp.array([1.5, 3.25, -2.0, -0.0, 0.0, -onp.inf, -onp.inf, -1e308, 2.0])


def replayed(fun, *args):
    """The result of a replay, and the names of what the program computes."""
    f = compile(fun)
    with onp.errstate(all="ignore"):
        for _ in range(3):
            result = f(*args)
        recording = next(iter(f.policy.signatures.values())).versions[0].branches[0].notes.recording
    assert f.programs[0]["runs"] > 0
    return result, sorted(node.prim.name for unit in explain.units_of(recording) for node in unit.nodes)


CASES = {
    "added": (lambda x, y: x + -y, ["subtract"]),
    "added to": (lambda x, y: -x + y, ["subtract"]),
    "both added": (lambda x, y: -x + -y, ["negative", "subtract"]),
    "subtracted": (lambda x, y: x - -y, ["add"]),
    "product added": (lambda x, y: x + -y * x, ["multiply", "subtract"]),
    "product subtracted": (lambda x, y: x - y * -x, ["add", "multiply"]),
    "product that is added to": (lambda x, y: -y * x + y, ["multiply", "subtract"]),
    "product with a number": (lambda x, y: -x * 3.0, ["multiply"]),
    "product of a number": (lambda x, y: onp.float64(3.0) * -x, ["multiply"]),
    "quotient by a number": (lambda x, y: -x / 3.0, ["divide"]),
    "quotient of a number": (lambda x, y: 3.0 / -x, ["divide"]),
    "product of both": (lambda x, y: -x * -y, ["multiply"]),
    "quotient of both": (lambda x, y: -x / -y, ["divide"]),
    "broadcast": (lambda x, y: x[:, None] + -y, ["subtract"]),
}
AS_THEY_ARE = {
    "subtracted from": (lambda x, y: -x - y, ["negative", "subtract"]),
    "product of two": (lambda x, y: -x * y, ["multiply", "negative"]),
    "product needed twice": (
        lambda x, y: [item for p in [-x * y] for item in (x + p, np.sin(p))],
        ["add", "multiply", "negative", "sin"],
    ),
    "integer": (lambda x, y: -x * 3, ["multiply", "negative"]),
    "complex": (lambda x, y: (x + 0j) + -y, ["add", "add", "negative"]),
}


@pytest.mark.parametrize("name", [*CASES, *AS_THEY_ARE])
@pytest.mark.parametrize("dtype", [float, onp.float32])
def test_arrays(name, dtype):
    fun, wanted = (CASES | AS_THEY_ARE)[name]
    with onp.errstate(all="ignore"):
        x, y = X.astype(dtype), Y.astype(dtype)
        result, names = replayed(fun, x, y)
        expected = fun(x, y)
    assert names == wanted
    onp.testing.assert_array_equal(result, expected)
    assert (
        onp.array_equal(onp.signbit(onp.real(result)), onp.signbit(onp.real(expected)))
        or onp.isnan(result).any()
    )


@pytest.mark.parametrize("name", [name for name in CASES if name != "broadcast"])
def test_scalars(name):
    fun, wanted = CASES[name]
    for x, y in zip(X.tolist(), Y.tolist(), strict=True):
        if x == 0.0 and "quotient" in name:
            continue
        result, names = replayed(fun, x, y)
        with onp.errstate(all="ignore"):
            expected = fun(x, y)
        assert names == wanted
        assert onp.array_equal(result, expected, equal_nan=True)
        assert onp.isnan(expected) or onp.signbit(result) == onp.signbit(expected)


def test_signed_zeros():
    for a in (0.0, -0.0):
        for b in (0.0, -0.0):
            for name, (fun, _) in CASES.items():
                if "quotient" not in name and name != "broadcast":
                    x, y = onp.array([a]), onp.array([b])
                    assert replayed(fun, x, y)[0].tobytes() == fun(x, y).tobytes(), (name, a, b)


def test_gradients_have_fewer_steps():
    def fun(x):
        return np.sum(np.exp(-(x**2)) * np.tanh(x))

    result, names = replayed(grad(fun), onp.linspace(0.1, 1.0, 5))
    assert names.count("negative") == 1  # of the exponent
    assert result.tobytes() == grad(fun)(onp.linspace(0.1, 1.0, 5)).tobytes()


def test_warnings_stay():
    f = compile(lambda x, y: x + -y)
    for _ in range(3):
        f(X[:3], Y[:3])
    with pytest.warns(RuntimeWarning, match="overflow|invalid"):
        f(onp.array([1e308]), onp.array([-1e308]))
