"""`compile`: when a function is recorded, when it is replayed, and that nobody can tell but by the clock.

Every test runs twice: with programs that walk the recording in Python, and with the replay machine.
"""

import _thread
import collections
import copy
import dataclasses
import functools
import gc
import itertools
import pickle
import random
import threading
import types
import warnings
import weakref

import numpy as onp
import pytest
from naive_program import NaiveProgram

import autograd_c as ag
import autograd_c.numpy as np
from autograd_c import ReplayWarning, compile, grad, replay
from autograd_c.extend import elementwise, primitive

X = onp.array([1.0, 2.0, 3.0])


@pytest.fixture(autouse=True, params=["naive", "machine"])
def programs(request, monkeypatch):
    """How programs are run; the list of those that were made."""
    made = []
    build = replay._Policy.program_of

    def program_of(policy, recording, seeds=()):
        naive = request.param == "naive" and not seeds
        made.append(NaiveProgram(recording) if naive else build(policy, recording, seeds))
        return made[-1]

    monkeypatch.setattr(replay._Policy, "program_of", program_of)
    return made


def counted(fun, **options):
    """A compiled function, and a function that tells how often Python has run it."""
    runs = itertools.count()  # its state is in C: no check of the environment sees it

    @functools.wraps(fun)
    def run(*args, **kwargs):
        next(runs)
        return fun(*args, **kwargs)

    return compile(run, **options), lambda: runs.__reduce__()[1][0]


def same(a, b):
    """Whether two results are of one type, structure and value."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, onp.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b or a != a


def check(fun, *calls, runs=None, **options):
    """Each of the calls (tuples of arguments) four times; the results are those of the plain function."""
    compiled, ran = counted(fun, **options)
    for _ in range(4):
        for args in calls:
            assert same(compiled(*copy.deepcopy(args)), fun(*copy.deepcopy(args))), args
    assert ran() == (2 * len(calls) if runs is None else runs)
    return compiled


# --- decorator --------------------------------------------------------------------------------------


def test_two_calls_record_and_the_third_replays(programs):
    f, ran = counted(lambda x: np.sum(np.sin(x) * x))
    results = [f(X) for _ in range(5)]
    assert ran() == 2 and len(programs) == 1
    assert len({float(r) for r in results}) == 1 and type(results[4]) is onp.float64
    assert same(f(X + 1), onp.sum(onp.sin(X + 1) * (X + 1))) and ran() == 2


def test_decorator_forms():
    @compile
    def plain(x):
        """Doubles."""
        return 2.0 * x

    @compile(max_programs=3)
    def with_options(x):
        return 2.0 * x

    assert plain.__name__ == "plain" and plain.__doc__ == "Doubles." and plain.__wrapped__ is plain.fun
    assert with_options.options["max_programs"] == 3
    assert same(plain(X), with_options(X))
    assert repr(plain) == "<compiled plain>"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"fun": 3}, TypeError, "compile needs a function, got the int 3"),
        ({"max_programs": 0}, ValueError, "max_programs must be a positive int"),
        ({"num_threads": 1.5}, ValueError, "num_threads must be a positive int"),
        ({"static_argnums": "x"}, TypeError, "static_argnums must hold ints"),
        ({"static_argnames": 3}, TypeError, "static_argnames must hold strs"),
        ({"static_argnums": -2}, ValueError, "abs has 1 positional arguments, none is -2"),
        ({"static_argnums": (0, 1)}, ValueError, "abs has 1 positional arguments, none is 1"),
        ({"static_argnames": "mode"}, ValueError, "abs has no argument 'mode'; it has x"),
        ({"static_argnames": "z", "fun": grad(lambda x, y: x * y)}, ValueError, "'z'; it has x, y"),
    ],
)
def test_wrong_options(arguments, error, message):
    with pytest.raises(error, match=message):
        compile(**{"fun": abs} | arguments)


# --- signatures -------------------------------------------------------------------------------------

Pair = collections.namedtuple("Pair", ["left", "right"])


@pytest.mark.parametrize(
    "value",
    [
        X,
        X.astype("f4"),
        X * 1j,
        X.astype(int),
        X > 1.5,
        onp.array(2.0),
        onp.zeros(0),
        onp.ones((2, 3, 4)),
        2.0,
        onp.float64(2.0),
        onp.float32(2.0),
        onp.complex128(2.0 + 1j),
        onp.complex64(1j),
        3,
        True,
        onp.int64(3),
        onp.bool_(True),
        [X, 2.0],
        (X, (1.0, [2.0, 3])),
        {"a": X, "b": {"c": 1.0}},
        Pair(X, 2.0),
        [],
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
)
def test_kinds_of_arguments(value):
    def first(value):
        while isinstance(value, (list, tuple, dict)) and value:
            value = next(iter(value.values())) if isinstance(value, dict) else value[0]
        return 1.0 if isinstance(value, list) else value

    def fun(value, x):
        return first(value) * x, value

    compiled = check(fun, (value, onp.float64(2.0)))
    assert not compiled.policy.warned


def test_what_makes_a_signature():
    f, ran = counted(lambda x: x * 2)
    arguments = [
        X,
        X[:2],
        X.astype("f4"),
        onp.ones((3, 1)),
        1.0,
        onp.float64(1.0),
        1,
        True,
        [X],
        (X,),
        {"x": X},
    ]
    for count, value in enumerate(arguments[:8], 1):
        for _ in range(3):
            f(value)
        assert ran() == 2 * count
    assert type(f(1)) is int and type(f(True)) is int and type(f(1.0)) is float
    assert len(f.policy.signatures) == 8


def test_keywords_and_defaults():
    def fun(x, y=2.0, *, z=1.0):
        return x * y + z

    f, ran = counted(fun)
    for _ in range(3):
        assert same(f(X), fun(X)) and same(f(X, 3.0), fun(X, 3.0)) and same(f(X, z=X), fun(X, z=X))
        assert same(f(x=X, z=5.0), fun(x=X, z=5.0))
    assert ran() == 8
    assert same(f(X, z=-X), fun(X, z=-X)) and ran() == 8


def test_order_of_keys_counts():
    def fun(d):
        return list(d.values())[0] * 2.0

    check(fun, ({"a": 1.0, "b": 5.0},), ({"b": 5.0, "a": 1.0},))


def test_subclasses_of_dict_and_list():
    class Row(list):
        pass

    check(
        lambda d: [v * 2.0 for v in d.values()],
        (collections.OrderedDict(a=1.0, b=X),),
        (collections.defaultdict(int, a=X),),
    )
    check(lambda r: r[0] + r[1], (Row([1.0, X]),))


def test_static_values_have_programs_of_their_own():
    def power(x, n, how="mul"):
        y = x
        for _ in range(n - 1):
            y = y * x if how == "mul" else y + x
        return y

    check(power, (X, 2), (X, 3), (X, 2, "add"), (X, 1))


def test_static_numbers_of_another_type_or_sign_are_others_in_tuples_too():
    def fun(x, pair):
        return np.copysign(x * pair[0], pair[1][0])

    f, ran = counted(fun, static_argnums=1)
    ints = onp.arange(3)
    pairs = [(2, (0.0,)), (2.0, (0.0,)), (True, (0.0,)), (2, (-0.0,)), (2, (0,))]
    for _ in range(3):
        for pair in pairs:
            assert same(f(ints, pair), fun(ints, pair))
    assert ran() == 2 * len(pairs)


def test_functions_are_static():
    def apply(fun, x):
        return fun(x)

    check(apply, (np.sin, X), (np.cos, X))


def test_static_arguments_by_number_and_name():
    def fun(x, config, flag):
        return x * config[0] if flag == 1.0 else x - config[1]

    for options in (
        {"static_argnums": (1, 2)},
        {"static_argnums": (-2, -1)},
        {"static_argnames": ["config", "flag"]},
    ):
        f, ran = counted(fun, **options)
        for _ in range(3):
            assert same(f(X, (2.0, 3.0), 1.0), X * 2.0)
            assert same(f(X, (2.0, 3.0), 0.0), X - 3.0)
            assert same(f(X, (2.0, 3.0), flag=0.0), X - 3.0)
        assert ran() == 6


def test_an_unhashable_argument_is_refused():
    f = compile(lambda x, s: x)
    with pytest.raises(TypeError, match=r"<lambda>: argument 1 is a set, .*static_argnums"):
        f(X, {1})
    with pytest.raises(TypeError, match=r"argument 0\['a'\] is an array of object"):
        f({"a": onp.array([None])}, 1)


def test_too_many_signatures_run_eagerly():
    f, ran = counted(lambda x, n: x * n, max_programs=3)
    for n in range(3):
        for _ in range(3):
            assert same(f(X, n), X * n)
    with pytest.warns(ReplayWarning, match="3 kinds of arguments"):
        assert same(f(X, 3), X * 3)
    assert same(f(X, 4), X * 4)  # no further warning
    before = ran()
    f(X, 0)
    assert ran() == before


# --- layouts ----------------------------------------------------------------------------------------


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def unaligned(a):
    room = onp.zeros(a.nbytes + 1, "u1")
    out = room[1:].view(a.dtype).reshape(a.shape)
    out[...] = a
    return out


class Special(onp.ndarray):
    pass


@pytest.mark.parametrize(
    "layout",
    [
        onp.asfortranarray,
        lambda a: onp.repeat(a, 2, axis=1)[:, ::2],
        lambda a: a[::-1],
        lambda a: a.astype(">f8"),
        read_only,
        unaligned,
        lambda a: a.view(Special),
        lambda a: onp.broadcast_to(a[0], a.shape),
    ],
    ids=["fortran", "strided", "reversed", "swapped", "read only", "unaligned", "subclass", "broadcast"],
)
def test_layouts(layout):
    a = onp.arange(12.0).reshape(4, 3) + 1
    f, ran = counted(lambda x: (np.sin(x) @ X, x[1:].sum(axis=0), x.T * 2.0))
    for factor in (1.0, 2.0, 3.0, 4.0):
        given = layout(a * factor)
        for ours, plain in zip(f(given), f.fun(onp.array(given, "f8")), strict=True):
            onp.testing.assert_allclose(ours, plain, rtol=1e-14, atol=1e-15)
            assert type(ours) is onp.ndarray
    assert ran() == 2 + 4


def test_masked_arrays_are_refused():
    with pytest.raises(TypeError, match="masked arrays cannot be differentiated"):
        compile(lambda x: x)(onp.ma.array([1.0], mask=[True]))


# --- random numbers, escapes, and what else cannot be replayed --------------------------------------


def eager(f, message, *args):
    """That calls give one warning, and that the function is run by every one of them."""
    with pytest.warns(ReplayWarning, match=message) as caught:
        results = [f(*args) for _ in range(5)]
    assert len(caught) == 1 and caught[0].filename == __file__
    return results


def test_random_numbers():
    f, ran = counted(lambda x: x * onp.random.standard_normal(3))
    results = eager(f, "draws random numbers", X)
    assert ran() == 5 and not same(results[3], results[4])


def test_random_numbers_that_seldom_show():
    def fun(x):
        return x * 2.0 if random.random() < 2.0 else x

    f, ran = counted(fun)
    eager(f, "draws random numbers", X)
    assert ran() == 5


def test_random_functions_by_their_own_names():
    draw, normal = random.random, onp.random.standard_normal
    for fun in (lambda x: x * (1.0 + 0 * int(draw())), lambda x: x * (1.0 + 0 * int(normal()))):
        f, ran = counted(fun)
        eager(f, "draws random numbers", X)
        assert ran() == 5


def test_generators():
    generator = onp.random.default_rng(1)
    f, ran = counted(lambda x: x * 2.0 + 0.0 * generator.integers(2))
    eager(f, "draws random numbers", X)
    assert ran() == 5


def test_other_constants_that_differ():
    clock = itertools.count()
    f, ran = counted(lambda x: x * float(next(clock)))
    results = eager(f, "different constants", X)
    assert ran() == 5 and [r[0] for r in results] == [0, 1, 2, 3, 4]


def test_sizes_that_differ():
    f, _ = counted(lambda x: np.flatnonzero(x > 0.0) * 2)
    assert same(f(X), onp.array([0, 2, 4]))
    with pytest.warns(ReplayWarning, match=r"sizes of arrays depend on values .*np.where\(mask, x, y\)"):
        assert same(f(X - 1.5), onp.array([2, 4]))
    assert same(f(X - 2.5), onp.array([4]))


def test_constants_in_the_result_that_differ():
    clock = itertools.count()
    f, ran = counted(lambda x: (x * 2.0, next(clock)))
    results = eager(f, "different constants", X)
    assert [r[1] for r in results] == [0, 1, 2, 3, 4]


def test_escapes():
    f, ran = counted(lambda x: x * float(x[0]))
    line = f.fun.__wrapped__.__code__.co_firstlineno
    results = eager(f, rf"float\(\) .* left the trace at .*test_compile.py:{line}", X)
    assert ran() == 5 and same(results[0], X) and same(results[4], X)


@pytest.mark.parametrize(
    "fun", [lambda x: {1.0: 3.0}.get(x[0], 0.0) * x, lambda x: len({x[0], x[1]}) * x], ids=["key", "set"]
)
def test_traced_values_in_sets_and_as_keys(fun):
    """They are found by their hash, which no guard covers."""
    f, _ = counted(fun)
    results = eager(f, "the hash of a traced value, .* left the trace", X)
    assert all(map(same, results, [fun(X)] * 5))
    with pytest.raises(TypeError, match="unhashable type: 'numpy.ndarray'"):
        compile(lambda x: {x: 1.0})(X)


def test_a_function_that_cannot_be_traced():
    def fun(x):
        return onp.array([1.0, 2.0, 3.0]).dot(x) if type(x) is onp.ndarray else x.nothing

    f, ran = counted(fun)
    results = eager(f, "cannot be traced .AttributeError", X)
    assert same(results[0], onp.float64(14.0)) and same(results[4], onp.float64(14.0))


def test_errors_are_the_functions_own():
    def fun(x):
        if x[0] < 0:
            raise KeyError("negative")
        return x * 2.0

    f = compile(fun)
    for _ in range(3):
        with pytest.raises(KeyError, match="negative"):
            f(-X)
        assert same(f(X), X * 2.0)
    assert not f.policy.warned


def test_objects_in_the_result():
    @dataclasses.dataclass
    class Answer:
        value: object

    f, ran = counted(lambda x: Answer(x * 2.0))
    results = eager(f, "returns an Answer", X)
    assert same(results[0].value, X * 2.0) and same(results[4].value, X * 2.0)


# --- branches ---------------------------------------------------------------------------------------


def test_branches(programs):
    def fun(x):
        if x[0] > 0:
            return np.sin(x) if x[1] > 0 else np.cos(x)
        return -x

    f, ran = counted(fun)
    points = [X, onp.array([1.0, -1.0, 0.0]), -X]
    for _ in range(4):
        for x in points:
            assert same(f(x), fun(x))
    assert ran() == 6 and len(programs) == 3
    assert [f.programs[0]["branches"]] == [3]


def dropped(y, x):
    y[y < 0.0] = 0.0
    return y * x


def dropped_elsewhere(y, x):
    z = np.empty_like(y)
    z[:] = y
    return dropped(z, x)


def doubled(y, x):
    y[y < 0.0] *= 2.0
    return y * x


def largest_squared(y, x):
    y[np.argmax(y)] = x[0] ** 2
    return y * x


MASKS = {
    "items": (lambda y, x: y[y < 0.0] * 2.0, [0, 2, 2, 1]),
    "number of items": (lambda y, x: x / (1.0 + len(y[y < 0.0])), [0, 2, 2, 1]),
    "set to a number": (dropped, [0]),
    "updated": (doubled, [0, 2, 2, 1]),
    "set where an index says": (largest_squared, [0]),
    "set in an array that was empty": (dropped_elsewhere, [0]),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("derivative", [False, True])
def test_masks(name, derivative):
    """Where a shape depends on how many items are selected, that number is a guard."""
    fun, numbers = MASKS[name]

    def on_a_copy(x):
        return fun(x * 1.0, x)

    plain = grad(lambda x: np.sum(on_a_copy(x) ** 2)) if derivative else on_a_copy
    points = [X, X - 2.5, -X[::-1] + 2.5, X - 1.5]
    check(plain, *((x,) for x in points), runs=2 * len(set(numbers)))


KNOTS = onp.array([0.0, 1.0, 2.5, 4.0])
INTERPOLATIONS = {
    "argument": lambda x: np.interp(x, KNOTS, KNOTS**2),
    "knots": lambda x: np.interp(KNOTS, x, x**2, left=-1.0),
    "values": lambda x: np.interp(KNOTS, X, x),
}


@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_gradients_of_interpolations(name):
    """The pieces are found anew in each replay."""
    gradient = grad(lambda x: np.sum(INTERPOLATIONS[name](x) ** 2))
    f, ran = counted(gradient)
    for x in (X, X - 0.75, X + 0.6, X * 2.0, X):
        onp.testing.assert_allclose(f(x), gradient(x), rtol=1e-14)
    assert ran() == 2


def test_branches_whose_guards_come_one_after_another():
    def collatz(x):
        steps = 0.0
        while x != 1.0 and steps < 50:
            x = x / 2.0 if x % 2.0 == 0.0 else 3.0 * x + 1.0
            steps = steps + 1.0
        return steps + x

    f, ran = counted(collatz)
    for _ in range(3):
        for start in range(1, 12):
            assert f(float(start)) == collatz(float(start))
    assert ran() == 22
    assert f.programs[0]["branches"] == 11


def test_checks_of_whole_numbers():
    def fun(x, n):
        return x[: int(n)].sum() + int(n)

    f, ran = counted(fun)
    for _ in range(3):
        for n in (1.0, 2.0, 3.0):
            assert same(f(X, n), fun(X, n))
    assert ran() == 6


def test_a_branch_is_recorded_twice():
    def fun(x):
        return x * 2.0 if x[0] > 0 else x * float(onp.random.standard_normal())

    f, ran = counted(fun)
    for _ in range(3):
        f(X)
    eager(f, "draws random numbers", -X)


@pytest.mark.parametrize("wrapped", [lambda value: value, lambda value: (value, 1.0)], ids=["itself", "item"])
def test_arrays_of_objects_are_not_replayed(wrapped):
    @primitive
    def labelled(x):
        return wrapped(onp.array([float(x[0]), "label" * 10, [1, 2, 3]], dtype=object))

    def fun(x):
        labels = labelled(x)
        return np.sum(x) * float((labels[0] if isinstance(labels, tuple) else labels)[0])

    eager(compile(fun), "an array of dtype object,", X)


def test_elementwise_functions_of_objects_are_not_replayed():
    doubled = elementwise(onp.frompyfunc(lambda item: 2.0 * item, 1, 1), lambda ans, x: 2.0 + 0.0 * x)
    eager(compile(lambda x: doubled(x)[0] + np.sum(x)), "an array of dtype object,", X)


def test_too_many_branches():
    def fun(x):
        n = 0
        while x > n:
            n += 1
        return x * n

    f, ran = counted(fun, max_programs=3)
    line = fun.__code__.co_firstlineno + 2
    with pytest.warns(
        ReplayWarning, match=rf"such as that at .*test_compile.py:{line}.* 3 programs"
    ) as caught:
        for _ in range(3):
            for x in (0.5, 1.5, 2.5, 3.5, 4.5):
                assert f(x) == fun(x)
    assert len(caught) == 1
    before = ran()
    assert f(2.5) == 7.5 and ran() == before
    assert f(4.5) == 22.5 and ran() == before + 1


# --- environment ------------------------------------------------------------------------------------

FACTOR = 2.0
TABLE = {"a": [1.0, 2.0]}


def scaled(x):
    return x * FACTOR


def by_table(x):
    return x * TABLE["a"][0]


def through(x):
    return scaled(x) + 1.0


def changes(f, change, ran, x=X):
    """That a change is seen, and costs two recordings."""
    for _ in range(3):
        f(x)
    before = ran()
    f(x)
    assert ran() == before
    change()
    for _ in range(4):
        assert same(f(x), f.fun.__wrapped__(x))
    assert ran() == before + 2


def test_closure_cells():
    factor = 2.0
    f, ran = counted(lambda x: x * factor)

    def change():
        nonlocal factor
        factor = 3.0

    changes(f, change, ran)


@pytest.mark.parametrize("fun", [scaled, through], ids=["direct", "through another function"])
def test_globals(fun, monkeypatch):
    f, ran = counted(fun)
    changes(f, lambda: monkeypatch.setitem(globals(), "FACTOR", 3.0), ran)
    monkeypatch.setitem(globals(), "FACTOR", 1.5 + 1.5)  # an equal number is no change
    before = ran()
    f(X)
    assert ran() == before


def test_containers(monkeypatch):
    f, ran = counted(by_table)
    monkeypatch.setitem(TABLE, "a", [1.0, 2.0])
    changes(f, lambda: TABLE["a"].__setitem__(0, 5.0), ran)
    changes(f, lambda: TABLE.__setitem__("a", [7.0]), ran)


def test_functions_that_are_called(monkeypatch):
    f, ran = counted(through)
    changes(f, lambda: monkeypatch.setitem(globals(), "scaled", lambda x: x * 5.0), ran)


class Model:
    offset = 1.0

    def __init__(self):
        self.weights = onp.array([1.0, 2.0, 3.0])
        self.rate = 2.0
        self.unused = 0

    @property
    def twice(self):
        return 2.0 * self.rate

    def helper(self, x):
        return x * self.twice

    def __call__(self, x):
        return self.helper(x) @ self.weights + self.offset


@pytest.mark.parametrize("how", ["callable", "method", "argument", "partial", "closure"])
def test_attributes(how, monkeypatch):
    model = Model()
    fun = {
        "callable": lambda: lambda x: model(x),
        "method": lambda: model.__call__,
        "argument": lambda: lambda x: (lambda m, x: m(x))(model, x),
        "partial": lambda: functools.partial(Model.__call__, model),
        "closure": lambda: lambda x: model.helper(x) @ model.weights + model.offset,
    }[how]()

    def run(x):
        return fun(x)

    f, ran = counted(run)

    def set_unused():
        model.unused += 1

    changes(f, lambda: setattr(model, "rate", 3.0), ran)
    changes(f, lambda: setattr(model, "offset", 3.0), ran)
    changes(f, lambda: setattr(model, "weights", model.weights + 1.0), ran)
    before = ran()
    set_unused()
    f(X)
    assert ran() == before
    changes(f, lambda: monkeypatch.setattr(Model, "helper", lambda self, x: x), ran)


def test_a_static_object_and_its_attributes():
    def fun(model, x):
        return model(x)

    model = Model()
    f, ran = counted(fun)
    for _ in range(4):
        assert same(f(model, X), fun(model, X))
    assert ran() == 2
    model.rate = 7.0
    for _ in range(4):
        assert same(f(model, X), fun(model, X))
    assert ran() == 4


def test_slots():
    class Config:
        __slots__ = ("rate",)

    config = Config()
    config.rate = 2.0
    f, ran = counted(lambda x: x * config.rate)
    changes(f, lambda: setattr(config, "rate", 3.0), ran)


def test_a_module_of_the_user():
    module = types.ModuleType("settings_of_a_user")
    module.rate = 2.0
    f, ran = counted(lambda x: x * module.rate)
    changes(f, lambda: setattr(module, "rate", 3.0), ran)


def test_defaults():
    table = [2.0]

    def fun(x, factors=table):
        return x * factors[0]

    f, ran = counted(fun)
    changes(f, lambda: table.__setitem__(0, 3.0), ran)


def test_former_versions_are_kept():
    training = True
    f, ran = counted(lambda x: x * 2.0 if training else x)
    for _ in range(3):
        f(X)
    training = False
    for _ in range(3):
        f(X)
    for training in (True, False) * 10:
        assert same(f(X), X * 2.0 if training else X)
    assert ran() == 4


def test_an_environment_that_changes_with_every_call():
    step = 0.0
    f, ran = counted(lambda x: x * step)
    with pytest.warns(
        ReplayWarning, match="step changes from call to call; pass it as an argument"
    ) as caught:
        for _ in range(40):
            step += 1.0
            assert same(f(X), X * step)
    assert len(caught) == 1


def test_a_function_that_changes_its_environment():
    calls = [0]
    weights = onp.ones(3)

    def fun(x):
        calls[0] += 1
        return x * 2.0

    def decaying(x):
        nonlocal weights
        weights *= 0.5
        return x * weights

    f = compile(fun)
    with pytest.warns(ReplayWarning, match="changes from call to call"):
        for count in range(1, 40):
            assert same(f(X), X * 2.0) and calls[0] == count
    g = compile(decaying)
    with pytest.warns(ReplayWarning, match="changes from call to call"):
        for count in range(1, 40):
            assert same(g(X), X * 0.5**count)


def test_sets_of_the_environment():
    frozen, wanted = {"which": frozenset([1.0, 2.0])}, {"sin", "scale"}

    def fun(x):
        x = np.sin(x) if "sin" in wanted else x
        return x * sum(frozen["which"]) if "scale" in wanted else x

    f, ran = counted(fun)
    changes = [
        lambda: wanted.discard("scale"),
        lambda: wanted.add("scale"),
        lambda: (wanted.remove("sin"), wanted.add("cos")),
        lambda: frozen.update(which=frozenset([1.0, 3.0])),
    ]
    for change in changes:
        for _ in range(4):
            assert same(f(X), fun(X))
        change()
        assert same(f(X), fun(X))
    before = ran()
    f(X), f(X)
    assert ran() == before + 1


def test_a_cache_is_filled_once():
    cache = {}

    def fun(x):
        if "w" not in cache:
            cache["w"] = onp.array([1.0, 2.0, 3.0])
        return x * cache["w"]

    f, ran = counted(fun)
    for _ in range(6):
        assert same(f(X), X * X)
    assert ran() <= 3


# --- arrays of the environment ----------------------------------------------------------------------


def test_arrays_are_read_where_they_are():
    weights = onp.array([1.0, 2.0, 3.0])
    f, ran = counted(lambda x: np.sum(x * weights) + x @ weights[::-1] + weights.reshape(3, 1)[0, 0] * 0)
    g, ran_g = counted(lambda x: np.sum(x * weights) + x @ weights[::-1])
    for count in range(6):
        weights[1] = count
        assert same(g(X), g.fun.__wrapped__(X))
    assert ran_g() == 2
    for _ in range(3):
        f(X)
    weights[0] = 9.0
    assert same(f(X), f.fun(X))


@pytest.mark.parametrize(
    "fun",
    [
        lambda x, w: x * onp.sin(w),
        lambda x, w: x * w[1],
        lambda x, w: x * w + w.mean(),
        lambda x, w: x * float(w[2]) ** 2,
        lambda x, w: x if w[1] > 0 else -x,
        lambda x, w: x[w.astype(int) % 3],
        lambda x, w: x * onp.max(w) + w,
    ],
    ids=["array", "item", "mean", "float", "if", "index", "both"],
)
def test_what_is_computed_from_arrays(fun):
    weights = onp.array([1.0, 7.5, 3.0])
    f, ran = counted(lambda x: fun(x, weights))
    for _ in range(4):
        assert same(f(X), fun(X, weights))
    assert ran() == 2
    weights[:] = [2.0, -3.25, 1.0]
    for _ in range(4):
        assert same(f(X), fun(X, weights))
    assert ran() == 4


def test_gradients_of_losses_over_data_do_not_compare_the_data():
    """What the rules themselves make (ones, one over n) does not come from the arrays."""
    inputs, targets = onp.random.default_rng(0).standard_normal((2, 10, 3)), onp.arange(10.0)
    f = compile(grad(lambda w: np.mean((inputs[0] @ w - targets) ** 2)))
    for _ in range(3):
        f(X)
    (signature,) = f.policy.signatures.values()
    assert not [read for read in signature.versions[0].reads if read[0] == "bytes"]
    targets += 1.0
    assert same(f(X), f.fun(X))


def test_an_array_is_rebound_or_reshaped():
    weights = onp.arange(6.0)
    f, ran = counted(lambda x: x * weights.sum() + weights.reshape(2, -1)[0, 0])

    def rebind():
        nonlocal weights
        weights = weights + 1.0

    changes(f, rebind, ran)


# --- boxes, operators -------------------------------------------------------------------------------


def curve(x):
    return np.sin(x) * x[0]


def loss(x):
    return np.sum(np.sin(x) * x[0])


V = onp.array([0.5, -1.0, 2.0])

MADE = {
    "grad": (ag.grad, loss, ()),
    "value_and_grad": (ag.value_and_grad, loss, ()),
    "grad_and_aux": (ag.grad_and_aux, lambda x: (loss(x), {"half": x / 2.0}), ()),
    "grad_named": (lambda f: ag.grad_named(f, "x"), loss, ()),
    "multigrad_dict": (ag.multigrad_dict, loss, ()),
    "elementwise_grad": (ag.elementwise_grad, curve, ()),
    "deriv": (ag.deriv, curve, ()),
    "hessian_tensor_product": (ag.hessian_tensor_product, loss, (V,)),
    "tensor_jacobian_product": (ag.tensor_jacobian_product, curve, (V,)),
    "checkpoint": (ag.checkpoint, curve, ()),
}


def close(a, b):
    """Products and fused sums agree to rounding."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, (tuple, list)):
        return type(a) is type(b) and len(a) == len(b) and all(map(close, a, b))
    return type(a) is type(b) and onp.shape(a) == onp.shape(b) and onp.allclose(a, b, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", MADE)
def test_compiling_and_differentiating_commute(name, programs):
    operator, fun, rest = MADE[name]
    plain = operator(fun)
    for compiled in (operator(compile(fun, max_programs=5)), compile(operator(fun), max_programs=5)):
        assert type(compiled) is replay.Compiled and compiled.options["max_programs"] == 5
        before = len(programs)
        for x in (X, X + 1.0, X - 5.0, X):
            assert close(compiled(x, *rest), plain(x, *rest))
        assert len(programs) == before + 1


RETURN_FUNCTIONS = {
    "make_jvp": (ag.make_jvp, curve, lambda made: made(V)),
    "make_jvp_reversemode": (ag.make_jvp_reversemode, curve, lambda made: made(V)),
    "make_vjp": (ag.make_vjp, curve, lambda made: (made[0](V), made[1])),
    "make_hvp": (ag.make_hvp, loss, lambda made: (made[0](V), made[1])),
    "make_ggnvp": (ag.make_ggnvp, curve, lambda made: made(V)),
}


@pytest.mark.parametrize("name", RETURN_FUNCTIONS)
def test_operators_that_return_functions(name, programs):
    operator, fun, use = RETURN_FUNCTIONS[name]
    compiled = operator(compile(fun))
    for x in (X, X + 1.0, X - 5.0, X):
        assert close(use(compiled(x)), use(operator(fun)(x)))
    assert programs


def test_operators_that_are_called_with_primals(programs):
    f, g = compile(curve), compile(loss)
    for x in (X, X + 1.0, X - 5.0, X):
        assert close(ag.jvp(f, (x,), (V,)), ag.jvp(curve, (x,), (V,)))
        assert close(ag.hvp(g, (x,), (V,)), ag.hvp(loss, (x,), (V,)))
        value, pullback = ag.vjp(f, x)
        expected, plain_pullback = ag.vjp(curve, x)
        assert close(value, expected) and close(pullback(V), plain_pullback(V))
    assert len(programs) == 4


def test_a_pullback_belongs_to_its_point():
    f = compile(curve)
    for _ in range(3):
        x = X.copy()
        _, pullback = ag.vjp(f, x)
        expected = ag.vjp(curve, X)[1](V)
        x += 1.0
        assert close(pullback(V), expected)


def test_compiled_twice():
    f = compile(loss)
    assert compile(f).fun is loss
    assert grad(compile(grad(f))).fun.__wrapped__.__wrapped__ is loss


def test_operators_of_one_function_are_one_function(programs):
    f, g = compile(loss), compile(loss)
    for operator in (grad, ag.value_and_grad, ag.jacobian, ag.make_vjp, ag.sparse_jacobian):
        assert operator(f) is operator(f) and operator(f) is not operator(g)
    assert grad(f) is not ag.value_and_grad(f) and ag.jacobian(f) is not ag.hessian(f)
    assert grad(f, (0, 1)) is grad(f, (0, 1)) and grad(f, [0]) is not grad(f, 0)
    with pytest.raises(TypeError, match="argnum must be an int"):
        grad(f, 0.0)
    made = len(programs)
    for _ in range(4):
        assert close(grad(f)(X), grad(loss)(X))
    assert len(programs) == made + 1


def test_what_operators_made_goes_with_the_function_and_is_cleared_with_it():
    f, ran = counted(loss)
    for _ in range(4):
        grad(f)(X)
    assert ran() == 2
    f.clear()
    grad(f)(X)
    assert ran() == 3
    gone = weakref.ref(grad(f))
    del f
    gc.collect()
    assert gone() is None


def test_many_operators_of_one_function():
    """The last ones are kept: each makes a program of its own."""
    f = compile(curve)
    made = [ag.make_ggnvp(f, lambda y, k=k: k * np.sum(y)) for k in range(100)]
    assert close(made[0](X)(V), ag.make_ggnvp(curve, lambda y: 0.0 * np.sum(y))(X)(V))
    assert len({id(one) for one in made}) == 100


def test_threads_make_an_operator_once():
    f, made = compile(loss), []
    threads = [threading.Thread(target=lambda: made.append(grad(f))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, made))) == 1


def test_a_compiled_function_inside_a_derivative():
    inner = compile(curve)

    def outer(x):
        return np.sum(inner(x) ** 2)

    for _ in range(4):
        assert close(grad(outer)(X), grad(lambda x: np.sum(curve(x) ** 2))(X))
        assert close(ag.jvp(outer, (X,), (V,)), ag.jvp(lambda x: np.sum(curve(x) ** 2), (X,), (V,)))
        assert close(ag.hessian(outer)(X), ag.hessian(lambda x: np.sum(curve(x) ** 2))(X))


def test_boxes_in_containers_and_keywords():
    inner = compile(lambda d, scale=1.0: d["x"][0] * scale)
    for _ in range(4):
        assert grad(lambda x: inner({"x": [x]}, scale=x))(3.0) == 6.0


def test_a_compiled_function_inside_a_compiled_function(programs):
    inner = compile(curve)
    f, ran = counted(lambda x: np.sum(inner(x)))
    for _ in range(4):
        assert close(f(X), onp.sum(curve(X)))
    assert ran() == 2 and len(programs) == 1


def test_a_box_of_an_outer_derivative_in_the_closure():
    def outer(w):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReplayWarning)
            inner = compile(lambda x: x * w)
            return inner(3.0) + inner(3.0) + inner(3.0)

    assert grad(outer)(2.0) == 9.0


def test_recursion():
    @compile
    def power(x, n):
        return x if n == 1 else x * power(x, n - 1)

    for _ in range(4):
        assert power(2.0, 5) == 32.0
        assert power(X, 3)[1] == 8.0


# --- floating-point errors --------------------------------------------------------------------------


def test_warnings_are_those_of_numpy():
    f, ran = counted(lambda x: np.log(x) * 2.0)
    for _ in range(4):
        assert same(f(X), onp.log(X) * 2.0)
    assert ran() == 2
    with pytest.warns(RuntimeWarning, match="divide by zero encountered in log") as caught:
        assert f(X - 1.0)[0] == -onp.inf
    assert len(caught) == 1
    with onp.errstate(divide="raise"), pytest.raises(FloatingPointError, match="divide by zero"):
        f(X - 1.0)
    before = ran()
    with onp.errstate(all="ignore"):
        assert f(X - 1.0)[0] == -onp.inf
    assert ran() == before


# --- results ----------------------------------------------------------------------------------------


def test_results_that_are_arguments():
    f = compile(lambda x, y: (x, y * 2.0, [x, y]))
    for _ in range(4):
        x, y = X.copy(), X.copy()
        out = f(x, y)
        assert out[0] is x and out[2][0] is x and out[2][1] is y and same(out[1], y * 2.0)


def test_results_that_are_one_object():
    def fun(x):
        y = x * 2.0
        return y, {"again": y}

    f = compile(fun)
    for _ in range(4):
        first, second = f(X)
        assert second["again"] is first and same(first, X * 2.0)


def test_results_that_are_views():
    def fun(x):
        y = x * 2.0
        return x[1:], x.reshape(3, 1).T, y, y[::2]

    f = compile(fun)
    for _ in range(4):
        x = X.copy()
        tail, row, y, items = f(x)
        assert all(map(same, (tail, row, y, items), fun(X)))
        tail[0] = 10.0
        assert x[1] == 10.0 and row[0, 1] == 10.0
        y[0] = -1.0
        assert items[0] == -1.0


def test_results_that_are_constants():
    weights = onp.ones(3)
    f = compile(lambda x: (weights, weights[:2], onp.zeros(2), 3, "name", None, 2.5, x * 2.0))
    for _ in range(4):
        out = f(X)
        assert out[0] is weights and onp.shares_memory(out[1], weights)
        assert same(out[2], onp.zeros(2)) and out[3:7] == (3, "name", None, 2.5)
        out[2][0] = 5.0  # belongs to the caller: the next call gives another one


def test_results_are_fresh():
    f = compile(lambda x: x * 2.0)
    results = [f(X) for _ in range(5)]
    for result in results:
        assert same(result, X * 2.0)
        result[:] = 0.0


@pytest.mark.parametrize("fun", [lambda x: x * 1.0, lambda x: +x, lambda x: x.copy(), lambda x: 0.0 + x])
def test_results_that_equal_an_argument_are_not_the_argument(fun):
    f = compile(fun)
    for _ in range(4):
        x = X.copy()
        assert not onp.shares_memory(f(x), x) and same(f(x), X)


def test_results_that_are_equal_are_not_one_object():
    f = compile(lambda x: (x * 2.0, x * 2.0))
    for _ in range(4):
        first, second = f(X)
        assert not onp.shares_memory(first, second)


# --- results in arrays of the caller's --------------------------------------------------------------


def test_into_an_array():
    f, ran = counted(lambda x: np.sin(x) * x)
    for step in range(5):
        room = onp.full(3, onp.nan)
        assert f.into(room, X + step) is room and same(room, f.fun(X + step))
    assert ran() == 2 + 5


def test_into_is_written_without_a_copy(programs):
    """A step in Python sees where the machine has put its argument."""
    seen = []

    @ag.extend.primitive
    def look(y):
        seen.append(y)
        return y * 2.0

    def fun(x):
        y = np.sin(x) * x
        return y, look(y)

    f, room = compile(fun), onp.empty(3)
    for _ in range(4):
        seen.clear()
        y, doubled = f.into((room, None), X)
        assert y is room and same(doubled, 2.0 * room) and same(room, onp.sin(X) * X)
    assert onp.shares_memory(seen[0], room) or type(programs[0]) is NaiveProgram


def test_into_structures():
    def fun(x, scale=2.0):
        y = np.sin(x) * scale
        return {
            "b": y,
            "a": (np.cos(x), np.sum(x)),
            "n": 3,
            "none": None,
            "x": x,
            "part": y[1:],
            "i": x > 0.0,
        }

    f, ran = counted(fun)
    for step in range(5):
        x = X - step
        y, cosine, total, argument, part = (
            onp.empty(3),
            onp.empty(3),
            onp.empty(()),
            onp.empty(3),
            onp.empty(2),
        )
        room = {"a": (cosine, total), "b": y, "none": None, "n": 0, "part": part, "x": argument, "i": None}
        out = f.into(room, x, scale=3.0)
        expected = fun(x, scale=3.0)
        assert (
            list(out) == list(expected) and out["b"] is y and out["a"][0] is cosine and out["x"] is argument
        )
        assert out["a"][1] is total and total == onp.sum(x) and out["n"] == 3 and out["none"] is None
        for name in ("b", "x", "part", "i"):
            assert same(out[name], expected[name])
        assert same(cosine, onp.cos(x))
    assert ran() == 2


def test_into_keys_in_another_order():
    f = compile(lambda x: {"a": x * 2.0, "b": x * 3.0})
    for _ in range(4):
        a, b = onp.empty(3), onp.empty(3)
        out = f.into({"b": b, "a": a}, X)
        assert out["a"] is a and out["b"] is b and same(a, X * 2.0) and same(b, X * 3.0)


def test_into_an_argument_and_what_is_read_from_outside():
    weights = onp.array([1.0, -1.0, 0.5])

    def fun(x):
        y = x[::-1] * weights
        return y + np.sum(y) * weights[::-1], x * 2.0

    f = compile(fun)
    for _ in range(5):
        x, other = X.copy(), onp.empty(3)
        expected = fun(x)
        out = f.into((x, other), x)
        assert out[0] is x and same(x, expected[0]) and same(other, expected[1])
        before = weights.copy()
        expected = fun(X)
        f.into((weights, None), X)
        assert same(weights, expected[0])
        weights[:] = before
        both = onp.empty(4)
        expected = fun(X)
        out = f.into((both[:3], both[1:]), X)
        assert same(both[1:], expected[1])


def test_into_strided_and_odd_arrays():
    f = compile(lambda x: np.outer(x, x) * 2.0)
    for _ in range(5):
        for room in (onp.empty((3, 6))[:, ::2], onp.empty((3, 3)).T):
            assert f.into(room, X) is room and same(onp.ascontiguousarray(room), f(X))


def test_into_refuses():
    f = compile(lambda x: (np.sin(x), np.sum(x)))
    fixed = onp.empty(3)
    fixed.flags.writeable = False
    for _ in range(4):
        with pytest.raises(ValueError, match=r"into: array 0 of out has the shape \(2,\), the result \(3,\)"):
            f.into((onp.empty(2), None), X)
        with pytest.raises(TypeError, match="into: array 0 of out is of float32, the result of float64"):
            f.into((onp.empty(3, "f4"), None), X)
        with pytest.raises(ValueError, match="array 0 of out is read-only"):
            f.into((fixed, None), X)
        with pytest.raises(ValueError, match="out does not fit the result"):
            f.into(onp.empty(3), X)
        with pytest.raises(TypeError, match="cannot take a traced value; call the function"):
            grad(lambda x: f.into((onp.empty(3), None), x)[1])(X)


def test_into_branches_and_keyword_out():
    def fun(x, out=1.0):
        return np.sin(x) * out if x[0] > 0.0 else np.cos(x) * out

    f, ran = counted(fun)
    for _ in range(4):
        for x in (X, -X):
            room = onp.empty(3)
            assert f.into(room, x, out=2.0) is room and same(room, fun(x, out=2.0))
    assert ran() == 4


def test_into_with_floating_point_errors():
    f = compile(lambda x: np.log(x) * 2.0)
    for _ in range(4):
        f.into(onp.empty(3), X)
    room = onp.empty(3)
    with pytest.warns(RuntimeWarning, match="divide by zero encountered in log"):
        f.into(room, X - 1.0)
    assert room[0] == -onp.inf


# --- updates in place -------------------------------------------------------------------------------


def test_updates_of_arguments():
    def fun(x, y):
        x += y
        x[0] = 7.0
        return np.sum(x), x

    f, ran = counted(fun)
    for _ in range(4):
        x, plain = X.copy(), X.copy()
        total, out = f(x, X)
        assert same(total, fun(plain, X)[0]) and same(x, plain) and out is x
    assert ran() == 2
    strided = onp.zeros(6)[::2]
    f(strided, X)
    f(strided, X)
    f(strided, X)
    assert strided[0] == 7.0 and strided[1] == 6.0
    with pytest.raises(ValueError, match="read-only"):
        f(read_only(X), X)


def test_updates_of_arguments_that_share_memory():
    def fun(x, y):
        x += 1.0
        return y * 2.0

    f, ran = counted(fun)
    for _ in range(4):
        x = X.copy()
        assert same(f(x, x), (X + 1.0) * 2.0)
    for _ in range(4):
        x, y = X.copy(), X.copy()
        assert same(f(x, y), X * 2.0) and same(x, X + 1.0)
    whole = onp.arange(4.0)
    assert same(f(whole[:3], whole[1:]), onp.array([4.0, 6.0, 6.0]))


def test_arguments_that_share_memory_and_are_only_read():
    f, ran = counted(lambda x, y: (x * y, x))
    for _ in range(4):
        product, first = f(X, X)
        assert same(product, X * X) and first is X
    assert ran() == 2


def test_updates_and_warnings():
    def fun(x):
        x -= 1.0
        return np.log(x)

    f = compile(fun)
    for _ in range(4):
        f(X + 1.0)
    x = X.copy()
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        f(x)
    assert same(x, X - 1.0)


def test_updates_of_an_array_that_the_function_also_reads():
    weights = onp.ones(3)

    def fun(x):
        x += 1.0
        return weights * 2.0 * x

    f = compile(fun)
    for _ in range(4):
        f(X.copy())
    for _ in range(4):
        expected = (weights + 1.0) ** 2 * 2.0
        assert same(f(weights), expected)


# --- threads ----------------------------------------------------------------------------------------


def test_threads():
    def fun(x, n):
        return np.sum(np.sin(x) * n) if x[0] > 0 else np.sum(x) * n

    f = compile(fun)
    wrong = []

    def work(seed):
        generator = onp.random.default_rng(seed)
        for _ in range(60):
            x = generator.standard_normal(int(generator.integers(1, 4)))
            n = int(generator.integers(1, 3))
            if not close(f(x, n), fun(x, n)):
                wrong.append((x, n))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and not f.policy.warned


# --- pickling, methods ------------------------------------------------------------------------------


@compile
def module_level(x):
    return x * 2.0


def test_pickling():
    assert pickle.loads(pickle.dumps(module_level)) is module_level
    f = pickle.loads(pickle.dumps(compile(curve, max_programs=7)))
    assert f.fun is curve and f.options["max_programs"] == 7
    for _ in range(3):
        assert same(f(X), curve(X))
    assert copy.copy(f).fun is curve and copy.deepcopy(f).fun is curve
    g = pickle.loads(pickle.dumps(grad(compile(loss))))
    assert close(g(X), grad(loss)(X))


class Layer:
    def __init__(self, factor):
        self.factor = factor

    @compile
    def apply(self, x):
        return x * self.factor


def test_methods():
    first, second = Layer(2.0), Layer(3.0)
    for _ in range(4):
        assert same(first.apply(X), X * 2.0) and same(second.apply(X), X * 3.0)
    first.factor = 5.0
    assert same(first.apply(X), X * 5.0)


def test_clear():
    f, ran = counted(lambda x: x * 2.0)
    for _ in range(4):
        f(X)
    f.clear()
    assert f.programs == []
    for _ in range(4):
        f(X)
    assert ran() == 4


def test_what_a_rule_computes_from_an_array_of_ones_is_seen():
    """The cotangent over `scale` is all ones, as if a rule had made it; then `scale` is updated in place."""
    scale, x = onp.ones(3), onp.array([1.0, 2.0, 3.0])
    f = compile(grad(lambda x: np.sum(x / scale)))
    for _ in range(4):
        assert (f(x) == 1.0).all()
    scale[:] = 2.0
    for _ in range(4):
        assert (f(x) == 0.5).all()


ITEMS = {
    "array times item": lambda x, w: np.sum(x * w) + np.sum(x) * w[0],
    "item of a scalar": lambda x, w: np.sum(x * w) + x[0] * w[1] + w[2] * x[1] ** 2,
    "size": lambda x, w: np.sum(x * w) * w.sum(),
    "number in a branch": lambda x, w: np.sum(x * w) * (w.max() if w.max() < 5 else 1.0),
}


@pytest.mark.parametrize("name", ITEMS)
@pytest.mark.parametrize("derivative", [False, True])
def test_an_item_that_equals_a_literal_of_an_array_that_is_an_operand(name, derivative):
    """Plain NumPy looks the item up, so that nothing but its type tells it from a number in the code."""
    w = onp.ones(3)
    x = onp.array([0.5, 1.5, 2.5])

    def f(x):
        return ITEMS[name](x, w)

    plain = grad(f) if derivative else f
    compiled = compile(plain)
    for value in (1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 0.5, 0.5, 0.5, 1.0):
        w[:] = value
        onp.testing.assert_allclose(compiled(x), plain(x), rtol=1e-14)


# --- rules at work in a recording -------------------------------------------------------------------

OPERANDS = [
    ("d", (), "d", (3,)),
    ("d", (3,), "d", (2, 3)),
    ("d", (2, 1), "d", (3,)),
    ("f", (), "f", ()),
    ("f", (3,), "d", (3,)),
    ("d", (), "D", ()),
    ("d", (3,), "D", ()),
    ("f", (3,), "F", (3,)),
    ("D", (3,), "D", (1,)),
]


def operand(rng, dtype, shape):
    x = rng.uniform(0.2, 0.9, shape) + (1j * rng.uniform(0.2, 0.9, shape) if dtype in "FD" else 0.0)
    return onp.asarray(x).astype(dtype)[()]


REAL_ONLY = [("arctan2", case) for case in OPERANDS if not {case[0], case[2]} & {"F", "D"}]


@pytest.mark.parametrize(
    "name, case", [*itertools.product(["multiply", "divide", "power"], OPERANDS), *REAL_ONLY]
)
@pytest.mark.parametrize("swapped", [False, True])
def test_tangents_and_cotangents_beside_values_of_another_shape_or_dtype(name, swapped, case):
    """What the machine does not take, a recording does as eager mode does: to the bit."""
    f, rng = getattr(np, name), onp.random.default_rng(0)
    x, y = operand(rng, *case[:2]), operand(rng, *case[2:])
    if swapped:
        x, y = y, x
    t, u = operand(rng, x.dtype.char, x.shape), operand(rng, y.dtype.char, y.shape)
    exact = not (x.shape == y.shape == () and "D" in (x.dtype.char, y.dtype.char))
    for tangents in (
        lambda x, t: ag.jvp(lambda x: f(x, y), (x,), (t,))[1],
        lambda x, t: ag.jvp(lambda v: f(x, v), (y,), (t.dtype.type(1) * u,))[1],
        lambda x, t: ag.make_vjp(lambda x: f(x, y))(x)[0](f(x, y)),
        lambda x, t: ag.make_vjp(lambda v: f(x, v))(y)[0](f(x, y)),
    ):
        expected = tangents(x, t)
        compiled = compile(tangents)
        for _ in range(4):
            result = compiled(x, t)
            # NumPy's operators and ufuncs differ in the last bits of complex scalars.
            assert same(result, expected) or not exact and onp.allclose(result, expected, rtol=1e-15)


def test_indexing_a_plain_array_by_traced_integers_names_take():
    table = onp.arange(10.0)

    def by_item(x):
        return np.sum(table[np.argsort(x)[:3]] * x[:3])

    def by_take(x):
        return np.sum(np.take(table, np.argsort(x)[:3]) * x[:3])

    x = onp.array([3.0, 1.0, 2.0, 5.0])
    eager(compile(grad(by_item)), "take to index a plain array", x)
    replayed = compile(grad(by_take))
    for y in (x, x[::-1], -x, x):
        onp.testing.assert_array_equal(replayed(y), grad(by_item)(y))


def test_a_name_that_is_no_text():
    class Tripled:
        __name__ = 5

        def __call__(self, x):
            return x * 3.0

    class Name(str):
        __slots__ = ()

    def doubled(x):
        return x * 2.0

    doubled.__name__ = Name("doubled")
    assert [compile(Tripled())(2.0), compile(doubled)(2.0)] == [6.0, 4.0]


def test_unaligned_and_swapped_arrays_of_the_environment():
    """The machine's loops do not read them, and nothing is checked there."""
    room = onp.zeros(80, "u1")
    unaligned = room[1:73].view(float).reshape(3, 3)
    swapped = onp.arange(9.0).reshape(3, 3).astype(">f8")
    unaligned[...] = swapped
    assert not unaligned.flags.aligned
    for a in (unaligned, swapped):
        for fun in (
            lambda x, a=a: np.sum(x * a),
            lambda x, a=a: np.sum(np.exp(a) * x / a.max() + np.sin(x + a)),
        ):
            gradient, x = compile(grad(fun)), onp.ones((3, 3))
            for _ in range(3):
                onp.testing.assert_allclose(gradient(x), grad(fun)(x), rtol=1e-14)
            a[0, 0] += 1.0
            onp.testing.assert_allclose(gradient(x), grad(fun)(x), rtol=1e-14)


def raises(x):
    raise ValueError("its own error")


def holds_traced(x):
    return {x * 2.0}


def updates(x, y):
    x += 1.0
    return y * 2.0


@pytest.mark.filterwarnings("ignore::autograd_c.ReplayWarning")
@pytest.mark.parametrize(
    "call",
    [
        lambda f, x: f(x),
        lambda f, x: f(x, x),
        lambda f, x: grad(lambda x: np.sum(f(x)))(x),
        lambda f, x: ag.jacobian(f)(x),
    ],
)
@pytest.mark.parametrize("fun", [raises, holds_traced, updates, lambda x: x], ids=lambda f: f.__name__)
def test_nothing_is_kept_by_calls_that_are_not_recorded(fun, call):
    """Exceptions on the way do not hold arguments, in cycles that wait for the collector."""

    def attempt():
        x = X.copy()
        f = compile(lambda *args: fun(*args))
        try:
            call(f, x)
        except (TypeError, ValueError):
            pass
        return weakref.ref(x)

    attempt()  # what is made once
    gc.collect()
    gc.disable()
    try:
        assert attempt()() is None
    finally:
        gc.enable()


def test_the_error_of_the_traced_run_is_the_context():
    with pytest.raises(ValueError, match="its own error") as caught:
        try:
            {}["nothing"]
        except KeyError:
            compile(raises)(1.0)
    chain = []
    error = caught.value
    while error is not None:
        chain.append(type(error))
        error = error.__context__
    assert chain == [ValueError, ValueError, KeyError]


def test_a_warning_without_a_frame_below():
    f = compile(lambda x: x * 2.0 if x > 0.0 else x * 3.0, max_programs=1)
    f(1.0)
    f(1.0)
    done, caught = threading.Event(), []

    def note(*args, **kwargs):
        caught.append(args)
        done.set()

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        _thread.start_new_thread(f, (-0.5,))  # no Python function calls it
        assert done.wait(20.0)
    assert "1 programs" in str(caught[0][0])
