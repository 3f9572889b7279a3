"""Every primitive, from the table of rules: value, both modes, dtypes, broadcasting, layouts, edges.

No line here is about one primitive. A rule that is added to the table is tested by all that follows.
"""

import contextlib
import functools
import inspect

import numpy as np
import pytest

import autograd_c.numpy as anp
from autograd_c import _core
from autograd_c.extend import Choice, Primitive, rule
from autograd_c.operators import make_jvp, make_vjp
from autograd_c.registry import primitives
from autograd_c.test_util import check_grads

# BLAS's products of float32 do so for ordinary numbers, now and then, on processors with AVX-512: what lies
# beside the matrices has a part in it. What is reported where is tested in test_warnings.py.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in (dot|matmul):RuntimeWarning")

ROWS = [row for row in primitives() if row.differentiable]
ELEMENTWISE = [row for row in ROWS if row.kind == "elementwise"]
CONSTANT = [row for row in primitives() if row.kind == "constant"]
REFUSED = [row for row in primitives() if row.kind == "none"]
CASES = [(row, i) for row in ROWS for i in range(len(row.samples()))]

each_case = pytest.mark.parametrize("row, i", CASES, ids=[f"{row.name}-{i}" for row, i in CASES])
each_elementwise = pytest.mark.parametrize("row", ELEMENTWISE, ids=[row.name for row in ELEMENTWISE])


# ---------------------------------------------------------------- calls as functions of their arrays


def is_leaf(value):
    return isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "fc"


def leaves_of(tree):
    """The floating-point arrays of a call, in order."""
    if isinstance(tree, (list, tuple)):
        return [leaf for item in tree for leaf in leaves_of(item)]
    if isinstance(tree, dict):
        return [leaf for item in tree.values() for leaf in leaves_of(item)]
    return [tree] if is_leaf(tree) else []


def with_leaves(tree, leaves):
    """The same call with other arrays, taken from an iterator."""
    if isinstance(tree, (list, tuple)):
        return type(tree)([with_leaves(item, leaves) for item in tree])
    if isinstance(tree, dict):
        return {key: with_leaves(item, leaves) for key, item in tree.items()}
    return next(leaves) if is_leaf(tree) else tree


class Call:
    """One sample call as a function of those of its arrays that have a derivative."""

    def __init__(self, handler, sample):
        self.handler = handler
        self.sample = sample
        self.all = leaves_of(sample)
        self.active = [i for i in range(len(self.all)) if self._has_derivative(i)]
        assert self.active, f"no argument of {handler!r} has a derivative"
        self.leaves = tuple(self.all[i] for i in self.active)

    def _has_derivative(self, i):
        try:
            make_vjp(lambda x: self._call({i: x}))(self.all[i])
        except TypeError as error:
            # Only a row that says None for an argument may go without.
            if "no derivative with respect to" in str(error) and None in getattr(self.handler, "rules", ()):
                return False
            raise
        return True

    def _call(self, replaced):
        args, kwargs = with_leaves(self.sample, iter([replaced.get(i, x) for i, x in enumerate(self.all)]))
        if getattr(self.handler, "hermitian", False):
            # The function reads one triangle; its rule, like HIPS's, is that of a Hermitian argument.
            args = (0.5 * (args[0] + anp.conj(anp.swapaxes(args[0], -1, -2))), *args[1:])
        return self.handler(*args, **kwargs)

    def __call__(self, leaves):
        return self._call(dict(zip(self.active, leaves, strict=True)))

    def check(self, modes=("fwd", "rev"), order=2):
        check_grads(self, modes=modes, order=order)(self.leaves)


def same_bits(got, expected):
    """Structure, dtype, shape and every bit."""
    if isinstance(expected, (list, tuple)):
        assert len(got) == len(expected)
        for a, b in zip(got, expected, strict=True):
            same_bits(a, b)
        return
    got, expected = np.asarray(got), np.asarray(expected)
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    assert got.tobytes() == expected.tobytes(), f"{got!r} is not {expected!r}"


def numpy_takes(row, sample):
    """Whether NumPy's function itself takes a call of that dtype."""
    try:
        row.fun(*sample[0], **sample[1])
    except (TypeError, np.linalg.LinAlgError):
        return False
    return True


def call_of(row, i, dtype):
    """The call for a dtype; None where NumPy's own function refuses the dtype."""
    sample = row.samples(dtype)[i]
    return Call(row.handler, sample) if numpy_takes(row, sample) else None


@contextlib.contextmanager
def naming(what):
    """Says in an error for which of several variants it is."""
    try:
        yield
    except Exception as error:
        error.add_note(f"for {what}")
        raise


def unit_cotangent(value, rng):
    """Random cotangents in the structure of a result."""
    if isinstance(value, (list, tuple)):
        parts = [unit_cotangent(item, rng) for item in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    value = np.asarray(value)
    out = rng.standard_normal(value.shape)
    if value.dtype.kind == "c":
        out = out + 1j * rng.standard_normal(value.shape)
    return np.asarray(out).astype(value.dtype if value.dtype.kind in "fc" else float)[()]


def gradients(call, leaves, seed=0):
    """The cotangents of all arrays of a call, for a random cotangent of the result."""
    pullback, value = make_vjp(call)(leaves)
    return pullback(unit_cotangent(value, np.random.default_rng(seed)))


def close(got, expected, dtype, factor=64.0):
    """Equal to rounding in the given dtype, in the scale of the largest element."""
    for a, b in zip(got, expected, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape
        scale = max(1.0, np.max(np.abs(b), initial=0.0))
        np.testing.assert_allclose(a, b, rtol=0, atol=factor * np.finfo(dtype).eps * scale)


# ---------------------------------------------------------------- value and derivatives


@each_case
def test_value_is_numpys_bit_for_bit(row, i):
    for dtype in ("float64", "float32", "complex128"):
        call = call_of(row, i, dtype)
        if call is None:
            continue
        args, kwargs = call.sample
        with naming(dtype):
            expected = row.fun(*args, **kwargs)
            same_bits(make_vjp(call)(call.leaves)[1], expected)
            same_bits(make_jvp(call)(call.leaves)(call.leaves)[0], expected)
            same_bits(row.handler(*args, **kwargs), expected)


@each_case
def test_derivatives(row, i):
    """Reverse and forward mode, and each of the four nestings of the two, against finite differences."""
    call_of(row, i, float).check()


@each_case
def test_complex_derivatives(row, i):
    call = call_of(row, i, complex)
    if call is None:
        pytest.skip("NumPy takes no complex numbers here")
    call.check()


@each_case
def test_other_precisions(row, i):
    """The gradient has the argument's dtype, and is the double precision one to rounding."""
    wide = {"f": np.float64, "c": np.complex128}
    for dtype in ("float32", "float16", "longdouble", "complex64"):
        call = call_of(row, i, dtype)
        if call is None:
            continue
        with naming(dtype):
            got = gradients(call, call.leaves)
            assert [g.dtype for g in got] == [x.dtype for x in call.leaves]
            expected = gradients(call, tuple(x.astype(wide[x.dtype.kind])[()] for x in call.leaves))
            close(got, expected, np.float64 if dtype == "longdouble" else dtype, 2000.0)


# ---------------------------------------------------------------- layouts


def fortran(x):
    return np.asfortranarray(x)


def backwards(x):
    return x[(slice(None, None, -1),) * x.ndim].copy()[(slice(None, None, -1),) * x.ndim]


def strided(x):
    room = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    room[..., ::2] = x
    return room[..., ::2]


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def swapped(x):
    return x.astype(x.dtype.newbyteorder())


def unaligned(x):
    room = np.zeros(x.nbytes + 1, np.uint8)
    out = room[1:].view(x.dtype).reshape(x.shape)
    out[...] = x
    return out


LAYOUTS = [fortran, backwards, strided, read_only, swapped, unaligned]


@each_case
def test_layouts(row, i):
    """The derivative does not depend on how the argument lies in memory, and lies well itself."""
    call = call_of(row, i, float)
    expected = gradients(call, call.leaves)
    for layout in LAYOUTS:
        leaves = tuple(layout(x) if np.ndim(x) and np.size(x) else x for x in call.leaves)
        with naming(layout.__name__):
            got = gradients(call, leaves)
            for g in got:
                assert np.ndim(g) == 0 or (g.flags.c_contiguous and g.flags.writeable and g.flags.aligned)
                assert g.dtype.isnative
            close(got, expected, float)


def numbers(row):
    """One number for each argument of an elementwise function."""
    return tuple(np.asarray(a).flat[0] for a in row.samples(float)[0][0])


@each_elementwise
def test_stretched_argument(row):
    """An array with strides of zero gets one cotangent an item, like any other."""
    call = Call(row.handler, (tuple(np.broadcast_to(a, (4, 5)) for a in numbers(row)), {}))
    got = gradients(call, call.leaves)
    close(got, gradients(call, tuple(np.array(x) for x in call.leaves)), float)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0, 2)])
@each_elementwise
def test_no_items(row, shape):
    call = Call(row.handler, (tuple(np.full(shape, a) for a in numbers(row)), {}))
    for g in gradients(call, call.leaves):
        assert g.shape == shape and g.dtype == float


@each_elementwise
def test_no_axes(row):
    """A 0-d array is differentiated like a number."""
    call = Call(row.handler, (tuple(np.array(a) for a in numbers(row)), {}))
    number = Call(row.handler, (numbers(row), {}))
    got = gradients(call, call.leaves)
    assert [np.shape(g) for g in got] == [()] * len(got)
    close(got, gradients(number, number.leaves), float)


# ---------------------------------------------------------------- one row, four ways to run it

EDGES = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -2.0, 3.0, 1e-300, 1e300, np.inf, -np.inf, np.nan])


def edges(row):
    """All combinations of special values."""
    if row.fun is np.where:
        return (np.array([True, False] * len(EDGES)), np.repeat(EDGES, 2), np.tile(EDGES, 2))
    return tuple(a.ravel() for a in np.meshgrid(*[EDGES] * row.handler.nin))


def one_argument(row, args, k):
    """The call as a function of argument `k` alone."""
    return lambda x: row.handler(*args[:k], x, *args[k + 1 :])


def reverse_partial(row, args, k):
    pullback, value = make_vjp(one_argument(row, args, k))(args[k])
    return pullback(np.ones_like(value))


@each_elementwise
def test_edges_are_the_same_in_all_ways(row):
    """At special values, reverse and forward mode, scalars and arrays agree."""
    args = edges(row)
    for k, rule_of_k in enumerate(row.handler.rules):
        if rule_of_k is None or not is_leaf(args[k]):
            continue
        with np.errstate(all="ignore"):
            reverse = reverse_partial(row, args, k)
            forward = make_jvp(one_argument(row, args, k))(args[k])(np.ones_like(args[k]))[1]
            items = [reverse_partial(row, item, k) for item in zip(*args, strict=True)]
        np.testing.assert_array_equal(forward, reverse, f"forward mode, argument {k}")
        np.testing.assert_array_equal(items, reverse, f"scalars, argument {k}")


class Counter:
    """Counts how often the core takes the general way, in the place of its hook."""

    def __init__(self, monkeypatch):
        self.n = 0
        self.hook = _core.hooks["contribute"]
        monkeypatch.setitem(_core.hooks, "contribute", self)

    def __call__(self, *args):
        self.n += 1
        return self.hook(*args)


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128", "complex64"])
@each_elementwise
def test_program_and_primitives_agree(row, dtype, monkeypatch):
    """The compiled program of a row computes what its expression does, called on plain arrays.

    For float64 every ufunc has a program. In other dtypes a loop that the program needs may not exist, or the
    rule for complex numbers is another one.
    """
    sample = row.samples(dtype)[1]
    if not numpy_takes(row, sample):
        pytest.skip(f"numpy.{row.name} takes no {dtype}")
    call = Call(row.handler, sample)
    pullback, value = make_vjp(call)(call.leaves)
    cotangent = unit_cotangent(value, np.random.default_rng(0))
    counter = Counter(monkeypatch)
    compiled = pullback(cotangent)
    if isinstance(row.fun, np.ufunc) and dtype == "float64":
        assert counter.n == 0
    counter.n = 0
    general = pullback(unaligned(cotangent))  # which the loops must not touch
    assert counter.n == len(call.leaves)
    close(compiled, general, dtype, 8.0)


# ---------------------------------------------------------------- without derivative


@pytest.mark.parametrize("row", CONSTANT, ids=[row.name for row in CONSTANT])
def test_constants(row):
    """The value is NumPy's, and no derivative comes with it."""
    for args, kwargs in row.samples(float):
        if not numpy_takes(row, (args, kwargs)):
            continue
        seen = []

        def watch(*boxes, seen=seen, args=args, kwargs=kwargs):
            seen.append(row.handler(*boxes, *args[len(boxes) :], **kwargs))
            return boxes[0] * 1.0

        make_vjp(watch)(args[0])
        assert not any(_core.is_box(value) for value in seen)
        same_bits(seen[0], row.fun(*args, **kwargs))


@pytest.mark.parametrize("row", REFUSED, ids=[row.name for row in REFUSED])
def test_refusals_say_what_to_do(row):
    with pytest.raises(TypeError, match=f"{row.name} .*: ."):
        make_vjp(lambda x: row.handler(x))(np.ones(3))


# ---------------------------------------------------------------- a test of the tests


def off(partial):
    """A partial that is wrong by a few parts in a thousand, or a thousandth where it is small."""
    if not callable(partial):
        return partial * 1.003 + 1e-3
    return lambda ans, *args: _off_value(partial(ans, *args))


def _off_value(value):
    if isinstance(value, Choice):
        return Choice(value.condition, _off_value(value.x), _off_value(value.y))
    return value * 1.003 + 1e-3


@each_elementwise
def test_a_wrong_partial_is_found(row):
    """Each partial of each row in turn is made slightly wrong; the check above must fail in both modes."""
    arguments = row.samples(float)[1][0]
    for k, right in enumerate(row.handler.rules):
        if right is None or not is_leaf(arguments[k]):
            continue
        wrong = Primitive(row.fun, row.name)
        wrong.domain = row.handler.domain
        types = "?  " if row.fun is np.where else None
        partials = [off(p) if j == k else p for j, p in enumerate(row.handler.rules)]
        wrong.set_elementwise(row.handler.nin, partials, None, types)
        call = Call(wrong, row.samples(float)[1])
        for mode in ("fwd", "rev"):
            with pytest.raises(AssertionError, match="off by"):
                call.check(modes=(mode,), order=1)


CALLS = [row for row in ROWS if row.kind == "call" and row.samples()]


@pytest.mark.parametrize("row", CALLS, ids=[row.name for row in CALLS])
def test_a_wrong_vjp_is_found(row):
    """The same for rules of whole arrays, in reverse mode: at least one of the examples must tell."""
    for k, vjp in enumerate(row.handler.rules):
        if vjp is None:
            continue
        wrong = rule(Primitive(row.fun, row.name), *with_wrong_vjp(row.handler.rules, k))
        assert any(finds(wrong, sample) for sample in row.samples(float)), f"argument {k}"


def finds(wrong, sample):
    try:
        Call(wrong, sample).check(modes=("rev",), order=1)
    except AssertionError as error:
        assert "off by" in str(error)
        return True
    return False


def with_wrong_vjp(vjps, k):
    """The vjps with one of them wrong, and forward rules that stand in for those that are not tested."""
    if next(iter(inspect.signature(next(filter(None, vjps))).parameters)) == "argnum":
        return scaled(vjps[0]), lambda argnum, t, ans, *args, **kwargs: ans * 0.0
    vjps = [v and (scaled(v) if j == k else v) for j, v in enumerate(vjps)]
    return vjps, [v and (lambda t, ans, *args, **kwargs: ans * 0.0) for v in vjps]


def scaled(vjp):
    @functools.wraps(vjp)
    def wrong(*args, **kwargs):
        out = vjp(*args, **kwargs)
        return out if out is None else out * 1.003 + 1e-3

    return wrong
