"""The ndarray interface of traced values: attributes, methods, protocols."""

import copy
import math
import pickle

import numpy
import pytest

import autograd_c.numpy as np
from autograd_c._core import is_box, value_of
from autograd_c.operators import grad, make_vjp
from autograd_c.test_util import check_grads

X = numpy.array([[0.3, -1.2, 0.8], [1.7, -0.4, 2.1]])
S = numpy.array([[2.0, 0.5], [0.5, 1.0]])


def traced(call, x=X):
    """What ``call(box)`` returns, out of the trace."""
    seen = []

    def f(x):
        out = call(x)
        seen.append(out)
        return np.sum(x)

    grad(f)(x)
    return seen[0]


# Every public attribute of an ndarray, by what a traced value does with it: a call on a traced array, of
# which NumPy says on the plain array what must come out.

DIFFERENTIABLE = {
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "real": lambda x: x.real,
    "imag": lambda x: x.imag + x,
    "astype": lambda x: x.astype(numpy.complex128).real,
    "clip": lambda x: x.clip(-1.0, 1.0),
    "compress": lambda x: x.compress([True, False, True], axis=1),
    "conj": lambda x: x.conj(),
    "conjugate": lambda x: x.conjugate(),
    "copy": lambda x: x.copy(),
    "cumprod": lambda x: x.cumprod(axis=1),
    "cumsum": lambda x: x.cumsum(),
    "diagonal": lambda x: x.diagonal(1),
    "dot": lambda x: x.dot(numpy.arange(3.0)),
    "flat": lambda x: x.flat[1:4],
    "flatten": lambda x: x.flatten("F"),
    "max": lambda x: x.max(axis=1),
    "mean": lambda x: x.mean(0, keepdims=True),
    "min": lambda x: x.min(),
    "prod": lambda x: x.prod(axis=0),
    "ravel": lambda x: x.ravel(),
    "repeat": lambda x: x.repeat(2, axis=1),
    "reshape": lambda x: x.reshape(3, -1) * x.reshape((3, 2), order="F"),
    "squeeze": lambda x: x[None].squeeze(0),
    "std": lambda x: x.std(axis=1, ddof=1),
    "sum": lambda x: x.sum(axis=-1),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "take": lambda x: x.take([0, 5, 5]),
    "tolist": lambda x: np.array(x.tolist()) * 2.0,
    "trace": lambda x: x.trace(),
    "transpose": lambda x: x.transpose(1, 0) * x.transpose() * x.transpose((1, 0)) * x.transpose(None),
    "var": lambda x: x.var(),
    "view": lambda x: x.view() * x.view(numpy.ndarray) * x.view(float),
    "to_device": lambda x: x.to_device("cpu"),
}
IN_PLACE = {
    "fill": lambda x: x.fill(2.0),
    "partition": lambda x: x.partition(1),
    "put": lambda x: x.put([0, 1], 3.0),
    "sort": lambda x: x.sort(axis=0),
}
CONSTANT = {
    "all": lambda x: x.all(),
    "any": lambda x: x.any(axis=0),
    "argmax": lambda x: x.argmax(1),
    "argmin": lambda x: x.argmin(),
    "argpartition": lambda x: x.argpartition(1),
    "argsort": lambda x: x.argsort(axis=0),
    "device": lambda x: x.device,
    "dtype": lambda x: x.dtype,
    "flags": lambda x: x.flags.c_contiguous,
    "itemsize": lambda x: x.itemsize,
    "nbytes": lambda x: x.nbytes,
    "ndim": lambda x: x.ndim,
    "nonzero": lambda x: x.nonzero(),
    "round": lambda x: x.round(1),
    "searchsorted": lambda x: x.ravel().searchsorted(0.5),
    "shape": lambda x: x.shape,
    "size": lambda x: x.size,
    "strides": lambda x: x.strides,
}
REFUSED = {
    "base": lambda x: x.base,
    "byteswap": lambda x: x.byteswap(),
    "ctypes": lambda x: x.ctypes,
    "data": lambda x: x.data,
    "dump": lambda x: x.dump("f"),
    "dumps": lambda x: x.dumps(),
    "getfield": lambda x: x.getfield(float),
    "item": lambda x: x.item(0),
    "resize": lambda x: x.resize(3, 2),
    "setfield": lambda x: x.setfield(1.0, float),
    "setflags": lambda x: x.setflags(write=False),
    "tobytes": lambda x: x.tobytes(),
    "tofile": lambda x: x.tofile("f"),
}


def test_every_attribute_of_an_array_is_accounted_for():
    public = {name for name in dir(numpy.ndarray) if not name.startswith("_")}
    assert public == {*DIFFERENTIABLE, *IN_PLACE, *CONSTANT, *REFUSED, "choose"}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_differentiable_attribute(name):
    call = DIFFERENTIABLE[name]
    expected = call(X)
    value = make_vjp(call)(X)[1]
    assert numpy.asarray(value).tobytes() == numpy.asarray(expected).tobytes()
    assert numpy.shape(value) == numpy.shape(expected)
    assert is_box(traced(call))
    check_grads(call, modes=["rev", "fwd"], order=2)(X)


@pytest.mark.parametrize("name", IN_PLACE)
def test_attribute_in_place(name):
    def call(x):
        y = x * 1.0
        assert IN_PLACE[name](y) is None
        return y

    assert numpy.array_equal(make_vjp(call)(X)[1], call(X))
    check_grads(call, modes=["rev", "fwd"], order=2)(X)


@pytest.mark.parametrize("name", CONSTANT)
def test_constant_attribute(name):
    call = CONSTANT[name]
    value = traced(call)
    assert not is_box(value)
    assert repr(value) == repr(call(X))


@pytest.mark.parametrize("name", REFUSED)
def test_refused_attribute_names_the_alternative(name):
    with pytest.raises((TypeError, AttributeError), match=rf"{name}.*(use|nothing to protect)"):
        traced(REFUSED[name])
    with pytest.raises((TypeError, AttributeError), match=rf"{name}.*(use|nothing to protect)"):
        grad(lambda x: grad(lambda y: np.sum(y) + 0 * len(str(REFUSED[name](y))))(x)[0, 0])(X)


def test_refused_attributes_are_absent_to_hasattr():
    assert (
        traced(lambda x: (hasattr(x, "data"), hasattr(x, "ctypes"), hasattr(x, "no_such_thing")))
        == (False,) * 3
    )


def test_choose_as_a_method_needs_whole_numbers():
    with pytest.raises(TypeError, match="choose: .*integers"):
        traced(lambda x: x.choose([x, x]))


def test_setters():
    def f(x):
        y = x + 1j * x
        y.real = x * x
        y.imag = 2.0
        y.real += x
        z = x * 1.0
        z.flat = x[0] * x[0]
        z.real = z * x
        return np.sum(np.real(y * y)) + np.sum(z * z)

    def plain(x):
        z = numpy.concatenate([x[0] * x[0]] * 2).reshape(2, 3) * x
        return numpy.sum((x * x + x) ** 2 - 4.0) + numpy.sum(z * z)

    assert make_vjp(f)(X)[1] == pytest.approx(plain(X))
    check_grads(f, modes=["rev", "fwd"], order=2)(X)
    with pytest.raises(TypeError, match="imaginary"):
        traced(lambda x: setattr(x, "imag", 1.0))


# --- Python's protocols ---------------------------------------------------------------------------


def test_iteration_length_membership_reversal():
    def f(x):
        assert len(x) == 2
        rows = list(x)
        assert len(rows) == 2 and rows[0].shape == (3,)
        back = list(reversed(x))
        a, b = x
        assert x[0, 1] in x and 5.0 not in x
        return np.sum(rows[0] * back[0] * a) + np.sum(b) + sum(v * v for row in x for v in row)

    check_grads(f, modes=["rev", "fwd"], order=2)(X)
    with pytest.raises(TypeError, match="unsized"):
        traced(lambda x: len(x[0, 0]))
    with pytest.raises(TypeError, match="0-d"):
        traced(lambda x: list(x[0, 0]))


def test_flat_iterates_and_counts():
    def f(x):
        assert len(x.flat) == 6
        assert numpy.array_equal(value_of(x.flat.copy()), X.ravel())
        return sum(v * v * k for k, v in enumerate(x.flat))

    numpy.testing.assert_allclose(grad(f)(X), 2 * X * numpy.arange(6).reshape(2, 3))


def test_whole_numbers_of_scalars():
    x = numpy.array([2.7, -1.5, 0.0])
    numbers = traced(
        lambda x: (math.floor(x[0]), math.ceil(x[0]), math.trunc(x[1]), round(x[0]), int(x[0])), x
    )
    assert numbers == (2, 3, -1, 3, 2)
    assert traced(lambda x: round(x[0], 1), x) == 2.7
    assert traced(lambda x: (bool(x[0]), bool(x[2])), x) == (True, False)
    with pytest.raises(ValueError, match="truth value"):
        traced(lambda x: bool(x), x)


def test_text():
    x = numpy.array([1.0, 2.5])
    assert traced(lambda x: str(x), x) == "[1.  2.5]"
    assert traced(lambda x: repr(x), x) == "Box(array([1. , 2.5]))"
    assert traced(lambda x: f"{x[1]:.2f}", x) == "2.50"
    for fun in (numpy.array_str, numpy.array_repr, numpy.array2string):
        assert traced(lambda x, fun=fun: fun(x), x) == fun(x)


def test_put_takes_its_arguments_by_their_names():
    def f(x):
        y = x * 1.0
        y.put(indices=[0, 3], values=x[1], mode="wrap")
        return np.sum(y * y)

    numpy.testing.assert_array_equal(grad(f)(numpy.array([1.0, 2.0, 3.0])), [0.0, 8.0, 6.0])


def test_copies_keep_the_derivative_and_pickles_are_refused():
    def f(x):
        a = copy.copy(x)
        b = copy.deepcopy({"x": x})["x"]
        a[0] = 0.0
        return np.sum(x * a * b)

    expected = 3 * X**2
    expected[0] = 0.0
    numpy.testing.assert_allclose(grad(f)(X), expected)
    with pytest.raises(TypeError, match="pickled"):
        traced(lambda x: pickle.dumps(x))


def test_array_protocols():
    assert traced(lambda x: x.__array_namespace__()) is np
    with pytest.raises(TypeError, match="__dlpack__"):
        traced(lambda x: numpy.from_dlpack(x))
    with pytest.raises(ValueError, match="Unsupported device"):
        traced(lambda x: x.to_device("gpu"))
    with pytest.raises(TypeError, match="astype"):
        traced(lambda x: x.view(numpy.int64))


def test_numpy_functions_of_shape_and_type():
    x = X.astype(numpy.float32)
    for numpys in (numpy, np):
        assert traced(lambda x, n=numpys: (n.shape(x), n.ndim(x), n.size(x), n.size(x, 1)), x) == (
            (2, 3),
            2,
            6,
            3,
        )
        assert traced(lambda x, n=numpys: (n.iscomplexobj(x), n.isrealobj(x), n.isfortran(x)), x) == (
            False,
            True,
            False,
        )
        assert traced(lambda x, n=numpys: n.result_type(x, 1.0), x) == numpy.float32
        assert traced(lambda x, n=numpys: n.can_cast(x, numpy.float64), x) is True
        assert traced(lambda x, n=numpys: n.common_type(x), x) is numpy.float32
        assert traced(lambda x, n=numpys: n.min_scalar_type(x), x) == numpy.float32
        assert traced(lambda x, n=numpys: n.iterable(x), x) is True
    assert np.shape([X, X]) == (2, 2, 3)
    assert traced(lambda x: np.shape([x, x])) == (2, 2, 3)
    assert traced(lambda x: np.ndim([x[0, 0], 1.0])) == 1


def test_a_python_float_takes_part_in_promotion_as_one():
    def f(x):
        assert np.result_type(x, numpy.float32) == numpy.float32
        y = numpy.ones(2, numpy.float32) * x
        assert y.dtype == numpy.float32
        return np.sum(y)

    assert grad(f)(2.0) == 2.0


def test_masks_of_traced_arrays_are_plain():
    def f(x):
        assert type(x > 0) is numpy.ndarray
        assert type(np.where(x)[0]) is numpy.ndarray
        assert type(numpy.where(x > 0)[0]) is numpy.ndarray
        return np.sum(x[np.where(x > 0)] ** 2) + np.sum(x[x < 0])

    numpy.testing.assert_allclose(grad(f)(X), numpy.where(X > 0, 2 * X, 1.0))


def test_methods_of_scalars_are_those_of_numpys():
    def f(x):
        s = x[0, 0]
        assert s.shape == () and s.ndim == 0 and s.size == 1 and s.dtype == float
        assert s.reshape(1).shape == (1,) and s.ravel().shape == (1,)
        return (
            s.sum() * s.copy() * s.T * s.real * s.mean() + s.astype(float).tolist() + s.reshape(-1)[0] + s[()]
        )

    x = X[0, 0]
    assert grad(f)(X)[0, 0] == pytest.approx(5 * x**4 + 3)


def test_isscalar_tells_traced_numbers_from_traced_arrays():
    seen = []

    def f(x):
        seen.append((np.isscalar(x), np.isscalar(x[0]), np.isscalar(np.reshape(x[0], ()) * 1.0)))
        return x[0]

    grad(f)(numpy.ones(2))
    assert seen == [(False, True, True)]
