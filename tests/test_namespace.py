"""No public callable of NumPy falls through the cracks."""

import io

import numpy as np
import pytest

import autograd_c.numpy as anp
from autograd_c._core import Primitive, registry
from autograd_c.operators import grad
from autograd_c.rules.constants import untouched

PUBLIC = {name: getattr(np, name) for name in dir(np) if not name.startswith("_")}
FUNCTIONS = {name: f for name, f in PUBLIC.items() if callable(f) and not isinstance(f, type)}
CLASSES = {name: c for name, c in PUBLIC.items() if isinstance(c, type)}


def handler(fun):
    """What the rules have registered; None for objects that cannot be registered."""
    try:
        return registry.get(fun)
    except TypeError:
        return None


def traced(use, x=None):
    """Runs ``use(box)`` in the middle of a trace."""

    def fun(box):
        use(box)
        return anp.sum(box)

    grad(fun)(np.array([0.5, 1.5]) if x is None else x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_claimed_once(name):
    """It has a rule (a derivative, none, or a refusal), or is declared to stay NumPy's own; never both."""
    assert (handler(FUNCTIONS[name]) is not None) != (name in untouched()), name


def test_what_stays_numpys_own_exists():
    """A name of a newer or older NumPy may be missing here, but not many."""
    assert len(untouched() - set(FUNCTIONS)) <= 2


@pytest.mark.parametrize("name", FUNCTIONS)
def test_namespace_has_the_handler(name):
    """``autograd_c.numpy`` offers what stands in for a function, and NumPy's own object otherwise."""
    found = handler(FUNCTIONS[name])
    assert getattr(anp, name) is (FUNCTIONS[name] if found is None else found)


def test_namespace_is_complete():
    assert set(PUBLIC) <= set(dir(anp))
    assert all(getattr(anp, name) is cls for name, cls in CLASSES.items())


def test_every_rule_says_what_it_is():
    for fun, found in registry.items():
        if isinstance(found, Primitive):
            assert found.kind in ("elementwise", "call", "maker", "constant", "none")
        else:
            assert callable(found) and found.fun is fun


def test_every_refusal_has_advice():
    for found in registry.values():
        if isinstance(found, Primitive) and found.kind == "none":
            with pytest.raises(TypeError, match=f"{found.name} cannot be differentiated: ."):
                traced(lambda box, found=found: found(box))


# ---------------------------------------------------------------- a box in the wrong place


FILES = {
    "save": lambda box: np.save(io.BytesIO(), box),
    "savez": lambda box: np.savez(io.BytesIO(), box),
    "savez_compressed": lambda box: np.savez_compressed(io.BytesIO(), box),
    "savetxt": lambda box: np.savetxt(io.StringIO(), box),
}


@pytest.mark.parametrize("name", FILES)
def test_files_refuse_a_box(name):
    with pytest.raises(TypeError, match=r"stop_gradient\(x\)"):
        traced(FILES[name])


INTEGERS = sorted(
    set("zeros ones empty eye identity tri indices hamming base_repr binary_repr diag_indices".split())
    | set("tril_indices broadcast_shapes packbits unravel_index ravel_multi_index kaiser".split())
)


@pytest.mark.parametrize("name", INTEGERS)
def test_functions_of_integers_refuse_a_box(name):
    more = {"unravel_index": (3,), "ravel_multi_index": ((3,),), "kaiser": (8.0,)}.get(name, ())
    with pytest.raises((TypeError, ValueError)):
        traced(lambda box: getattr(anp, name)(box, *more))


NUMBERS = [
    c for c in CLASSES.values() if issubclass(c, (np.floating, np.complexfloating)) and c not in
    (np.floating, np.complexfloating)
]  # fmt: skip


@pytest.mark.parametrize("scalar", NUMBERS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("x", [1.0, np.array([0.5, 1.5])], ids=["number", "array"])
def test_scalar_types_refuse_a_box(scalar, x):
    with pytest.raises(TypeError, match=r"stop_gradient\(x\)"):
        traced(scalar, x)


CONSTRUCTORS = {
    "ma.array": np.ma.array,
    "ma.masked_invalid": np.ma.masked_invalid,
    "ndenumerate": np.ndenumerate,
    "broadcast": lambda box: np.broadcast(box, box),
    "r_": lambda box: np.r_[box, 1.0],
    "c_": lambda box: np.c_[box, box],
    "fromiter": lambda box: np.fromiter(iter(box), float),
    "ndarray.__setitem__": lambda box: np.zeros(2).__setitem__(slice(None), box),
    "asarray": np.asarray,
    "array of a list": lambda box: np.array([box, box]),
}


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_constructors_refuse_a_box(name):
    """What would make a plain array of a box raises an error that names the way to keep the derivative."""
    with pytest.raises((TypeError, ValueError)) as caught:
        traced(CONSTRUCTORS[name])
    errors = [caught.value, caught.value.__cause__, caught.value.__context__]
    assert any("stop_gradient(x)" in str(error) for error in errors)


def test_iterators_refuse_a_box():
    """nditer wants an array to write into, and says so itself."""
    with pytest.raises(TypeError):
        traced(np.nditer)


def test_the_looks_of_a_box():
    """Functions that look at the type and shape alone see an array."""

    def look(box):
        assert np.shape(box) == anp.shape(box) == (2,)
        assert np.ndim(box) == 1 and np.size(box) == 2
        assert np.iterable(box) and not np.isscalar(box)
        assert not np.iscomplexobj(box) and np.isrealobj(box)
        assert np.result_type(box, np.float32) == np.float64

    traced(look)
