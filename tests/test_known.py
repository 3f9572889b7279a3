"""What is recorded once, and what twice, because it may depend on something that nobody looks at."""

import abc
import builtins
import collections
import datetime
import enum
import functools
import itertools
import math
import operator
import random
import time
import types
import typing
import uuid

import numpy as onp
import pytest
import scipy.linalg
import scipy.special
from scipy.linalg import cholesky

import autograd_c.numpy as np
from autograd_c import compile, grad, jacobian, known, value_and_grad
from autograd_c.environment import Environment
from autograd_c.extend import defvjp, elementwise, primitive
from autograd_c.scipy.special import gammaln

X = onp.array([0.5, 1.25, 2.0])
MATRIX = onp.array([[2.0, 0.5, 0.0], [0.5, 3.0, 1.0], [0.0, 1.0, 4.0]])
SCALE = 2.0
TABLE = {"a": [1.0, 2.0], "f": math.sqrt}
SETTINGS = types.SimpleNamespace(rate=0.5)
Pair = collections.namedtuple("Pair", "first second")


def helper(x, power=2, *, shift=1.0):
    return x**power + shift


class Model:
    """A user's object: attributes, a property, a method, a class attribute."""

    order = 2

    def __init__(self):
        self.weights = onp.array([1.0, -1.0, 0.5])

    @property
    def scale(self):
        return 3.0 * self.order

    def loss(self, x):
        return np.sum(np.tanh(x @ self.weights) ** self.order) * self.scale

    def __call__(self, x):
        return self.loss(x) + helper(x).sum()


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self, x): ...


class Square(Shape):
    def area(self, x):
        return np.sum(x * x)


def with_control_flow(x):
    total = 0.0
    for i, item in enumerate(x):
        if item > 1.0 and i % 2 == 0:
            total = total + math.pi * item
        else:
            total += sum(item * k for k in range(3)) - max(0.0, item)
    while total > 1e3:
        total = total / 2
    return total


def with_nested_functions(x):
    def inner(y, factor=3.0):
        def innermost(z):
            return factor * z + SCALE

        return innermost(y)

    return functools_free_map(inner, x)


def functools_free_map(fun, x):
    return np.sum(np.stack([fun(item) for item in x]))


def with_update(x):
    y = np.sin(x)
    y[1:] = x[:-1]
    y += x
    return np.sum(y**2)


def with_print(x):
    print("once")
    return np.sum(x)


MODEL, SQUARE = Model(), Square()
ONCE = {
    "elementwise": lambda x: np.sum(np.tanh(x) * np.exp(-(x**2)) + np.log1p(x**2)),
    "plain numpy": lambda x: onp.sum(onp.sin(x) * x),
    "globals": lambda x: SCALE * np.sum(x) + TABLE["a"][0] * SETTINGS.rate,
    "helper": lambda x: np.sum(helper(x, shift=0.5)),
    "math": lambda x: math.log(2.0) * np.sum(x) + TABLE["f"](2.0),
    "control flow": with_control_flow,
    "nested functions": with_nested_functions,
    "update in place": with_update,
    "printing": with_print,
    "object": MODEL,
    "method": MODEL.loss,
    "partial": functools.partial(helper, power=3, shift=0.0),
    "abstract base": lambda x: SQUARE.area(x),
    "linalg": lambda x: np.sum(np.linalg.solve(MATRIX, x)) + scipy.linalg.norm(MATRIX),
    "name of scipy's": lambda x: np.sum(cholesky(MATRIX) @ x),
    "special": lambda x: np.sum(gammaln(x)) + scipy.special.gamma(2.5),
    "operators": lambda x: operator.mul(x, x).sum() * functools_free_map(lambda y: y, x),
    "gradient inside": lambda x: np.sum(grad(lambda y: np.sum(y**3))(x)),
    "itertools": lambda x: sum(x[i] * x[j] for i, j in itertools.combinations(range(3), 2)),
    "containers": lambda x: sum(v for v in {"a": x[0], "b": Pair(x[1], x[2]).second}.values()),
    "array methods": lambda x: x.reshape(1, 3).T.sum() + x.dot(x) + x.mean() + len(x.shape),
    "type of an array": lambda x: np.sum(x) if isinstance(MATRIX, onp.ndarray) else np.sum(2.0 * x),
}

COUNTER, RNG, GENERATOR = itertools.count(), random.Random(0), (float(i) for i in range(100))


class Color(enum.Enum):
    RED = 1.0


class OfNumbers(list):
    pass


class Counting:
    calls = 0.0

    def __call__(self, x):
        self.calls = 0.0
        return np.sum(x)


class OfRandom(random.Random):
    pass


@primitive
def doubled(x):
    return 2.0 * x


def halved(x):
    return 0.5 * x


defvjp(doubled, lambda ans, x: lambda g: 2.0 * g)
halved = elementwise(halved, lambda ans, x: 0.5 + 0.0 * x)
NUMBERS, CLOCK, OBJECTS = OfNumbers([1.0]), time, onp.array([Counting()])


def with_import(x):
    import time as clock

    return np.sum(x) * (clock.time() > 0.0)


def with_class(x):
    class Local:
        scale = 2.0

    return np.sum(x) * Local.scale


class Sized:
    """Runs what is no function of its own, and makes instances."""

    width = 3.0
    __call__ = functools.partialmethod(lambda self, scale, x: scale * np.sum(x), 2.0)

    def __init__(self, width=None):
        self.width = time.time() if width is None else width

    def another(self):
        return type(self)().width

    def one_more(self):
        return KIND(self)().width

    @classmethod
    def made(cls):
        return cls().width


class Late(property):
    def __get__(self, owner, kind=None):
        return time.time()


class OfLate:
    rate = Late(lambda self: 1.0)


class Name(str):
    def rate(self):
        return time.time()


class Number(onp.float64):
    def rate(self):
        return time.time()


class Product(functools.partial):
    def __call__(self, x):
        return np.sum(x) * time.time()


class Index:
    def __index__(self):
        return int(time.time()) % 2


class OfArray:
    def __init__(self):
        self.__array__ = lambda *args, **kwargs: onp.array(time.time())


class Rate:
    def __init__(self, rate):
        self.rate = rate


class LazyModule(types.ModuleType):
    @property
    def rate(self):
        return time.time()


@functools.wraps(max)
def called_max(x):
    return next(COUNTER)


@functools.wraps(grad)
def called_grad(x):
    return np.sum(x) * time.time()


@functools.wraps(max)
def root_called_max(x):
    return np.sum(x) * next(LINES)


class OfClass:
    rate = 0.5


class OfNothing:
    def __getattr__(self, name):
        return 0.5


def with_name_that_is_not_there(x):
    try:
        return np.sum(x) * not_there
    except NameError:
        return np.sum(x)


def with_match(x):
    match OF_CLASS:
        case OfClass(rate=rate):
            return np.sum(x) * rate


def with_deleted_item(x):
    weight = WEIGHTS["a"]
    del WEIGHTS["a"]
    WEIGHTS["a"] = weight
    return np.sum(x) * next(iter(WEIGHTS.values()))


def with_popped_item(x):
    weight = WEIGHTS.pop("a")
    WEIGHTS["a"] = weight
    return np.sum(x) * weight


def with_popped_member(x):
    member = MEMBERS.pop()
    MEMBERS.add(member)
    return np.sum(x) * member


def with_other_builtins():
    names = {"__builtins__": {"sum": time.time}, "__name__": __name__, "np": np}
    exec("def fun(x):\n    return np.sum(x) * sum()", names)
    return names["fun"]


def with_stored_names():
    return types.FunctionType(COMPILED_TEXT, {"count": 0, "__name__": __name__})


def with_attribute_of_a_function(x):
    return np.sum(x) * next(with_attribute_of_a_function.generator)


with_attribute_of_a_function.generator = iter(range(100))
COMPILED_TEXT = builtins.compile("count = count + 1", "<text>", "exec")
WEIGHTS, MEMBERS = {"a": 1.0, "b": 2.0}, {1.0, 2.0}
SIZED, OF_LATE, NAME, NUMBER = Sized(1.0), OfLate(), Name("a"), Number(1.0)
OF_ARRAY, PRODUCT, CUT, OF_CLASS = OfArray(), Product(helper), slice(Index()), OfClass()
MADE_UFUNC, ON_NUMPY = onp.frompyfunc(lambda x: time.time(), 1, 1), primitive(onp.nextafter)
PATH, KIND = __file__, type
ATTRGETTER, MEMORY_MAP, OTHER_ARRAY = operator.attrgetter, onp.memmap, onp.ndarray
LINES = iter(["a", "b"])
MASK, KEYED, LAZY = onp.array([True, False, True]), {time.time: 1.0}, LazyModule("lazy")
LATE_MODULE = types.ModuleType("late")
LATE_MODULE.__getattr__ = lambda name: 1.0
RECORD = onp.zeros(1, dtype=[("a", float)])[0]
WHERE = {"where": MASK}
OF_PARTIAL = functools.partial(helper)
OF_PARTIAL.generator = iter(range(100))


def with_unbound_cell():
    def fun(x):
        return unbound if x.sum() < -1e9 else np.sum(x)

    if x_is_never():
        unbound = 1.0
    return fun


def x_is_never():
    return False


NESTED = [1.0]
for _ in range(20):
    NESTED = [NESTED]


TWICE = {
    "counter": lambda x: np.sum(x) + 0 * next(COUNTER),
    "generator": lambda x: np.sum(x) + 0.0 * next(GENERATOR),
    "random numbers of Python": lambda x: np.sum(x) + 0.0 * RNG.random(),
    "class of random numbers": lambda x: np.sum(x) + 0.0 * OfRandom(3).random(),
    "random module": lambda x: np.sum(x) + 0.0 * random.random(),
    "random numbers of NumPy": lambda x: np.sum(x) + 0.0 * onp.random.default_rng(0).normal(),
    "clock": lambda x: np.sum(x) + 0.0 * time.time(),
    "clock by another name": lambda x: np.sum(x) + 0.0 * CLOCK.perf_counter(),
    "date": lambda x: np.sum(x) + 0 * datetime.datetime.now().year,
    "import inside": with_import,
    "class inside": with_class,
    "computed attribute": lambda x: np.sum(x) * getattr(SETTINGS, "ra" + "te"),
    "address": lambda x: np.sum(x) + 0 * id(x),
    "hash": lambda x: np.sum(x) + 0 * hash("a"),
    "new memory": lambda x: np.sum(x) + 0.0 * np.sum(onp.empty(3) > 0),
    "like new memory": lambda x: np.sum(x) + 0.0 * np.sum(onp.empty_like(MATRIX) > 0),
    "array of objects": lambda x: np.sum(x) * len(OBJECTS),
    "evaluated text": lambda x: np.sum(x) * eval("1.0"),
    "file": lambda x: np.sum(x) * (open(__file__).readline() != ""),
    "dunder attribute": lambda x: np.sum(x) * (SETTINGS.__dict__["rate"]),
    "sets an attribute": Counting(),
    "other library": lambda x: np.sum(x) * (uuid.uuid4().version == 4),
    "enumeration": lambda x: np.sum(x) * Color.RED.value,
    "list of the user's": lambda x: np.sum(x) * NUMBERS[0],
    "cache": functools.cache(lambda x: np.sum(X)),
    "vectorize": lambda x: np.sum(x) * float(onp.vectorize(lambda y: 1.0)(2.0)),
    "primitive of the user's": lambda x: np.sum(doubled(x)),
    "row of the user's": lambda x: np.sum(halved(x)),
    "cell that is not bound": with_unbound_cell(),
    "nested too deep": lambda x: np.sum(x) * len(NESTED),
    "array of new memory": lambda x: np.sum(x) * onp.ndarray(3).sum(),
    "array of new memory by another name": lambda x: np.sum(x) * OTHER_ARRAY(3).sum(),
    "new memory where nothing is computed": lambda x: np.sum(x) * onp.sin(X, where=MASK).sum(),
    "the same by a dict": lambda x: np.sum(x) * onp.sin(X, **WHERE).sum(),
    "new memory around": lambda x: np.sum(x) * onp.pad(X, 1, mode="empty").sum(),
    "file as an array": lambda x: np.sum(x) * onp.memmap(PATH).size,
    "file as an array by another name": lambda x: np.sum(x) * MEMORY_MAP(PATH).size,
    "clock of NumPy": lambda x: np.sum(x) * (onp.datetime64("now") > onp.datetime64("2020-01-01")),
    "clock in an array": lambda x: np.sum(x) * onp.array("now", dtype="M8[s]").astype(float),
    "ufunc of the user's": lambda x: np.sum(x) * MADE_UFUNC(1.0),
    "attribute by operator": lambda x: np.sum(x) * operator.attrgetter("rate")(SETTINGS),
    "attribute by operator, by another name": lambda x: np.sum(x) * ATTRGETTER("rate")(SETTINGS),
    "random numbers of linear algebra": lambda x: np.sum(x) * np.sum(scipy.linalg.logm(MATRIX)),
    "primitive on NumPy's": lambda x: np.sum(ON_NUMPY(x, 2.0)),
    "wraps a builtin": lambda x: np.sum(x) * called_max(x),
    "wraps an operator": lambda x: called_grad(x),
    "function that wraps a builtin": root_called_max,
    "method that is no function": SIZED,
    "makes an instance of its type": lambda x: np.sum(x) * SIZED.another(),
    "makes an instance of its type by another name": lambda x: np.sum(x) * SIZED.one_more(),
    "makes an instance of its class": lambda x: np.sum(x) * SIZED.made(),
    "property of the user's": lambda x: np.sum(x) * OF_LATE.rate,
    "text of the user's": lambda x: np.sum(x) * NAME.rate(),
    "number of the user's": lambda x: np.sum(x) * NUMBER.rate(),
    "partial of the user's": PRODUCT,
    "attribute of a function": with_attribute_of_a_function,
    "attribute of a partial": lambda x: np.sum(OF_PARTIAL(x)) * next(OF_PARTIAL.generator),
    "index of the user's": lambda x: np.sum(x[CUT]),
    "array by an attribute": lambda x: np.sum(x) * onp.asarray(OF_ARRAY),
    "key of a dict": lambda x: np.sum(x) * sum(key() for key in KEYED),
    "attributes of a module": lambda x: np.sum(x) * LATE_MODULE.rate,
    "module of the user's": lambda x: np.sum(x) * LAZY.rate,
    "record of NumPy": lambda x: np.sum(x) * RECORD["a"],
    "notes of a dtype": lambda x: np.sum(x) * (MATRIX.dtype.metadata is None),
    "match of a class": with_match,
    "name that is not there": with_name_that_is_not_there,
    "order of a dict": with_deleted_item,
    "order of a dict by pop": with_popped_item,
    "order of a set": with_popped_member,
    "other builtins": with_other_builtins(),
    "text that was compiled": with_stored_names(),
}


def calls_recorded(f, *args):
    """The calls that the compiled function takes before it replays one."""
    for _ in range(5):
        f(*args)
    return 5 - sum(program["runs"] for program in f.programs)


@pytest.mark.parametrize("name", ONCE)
def test_recorded_once(name):
    fun = ONCE[name]
    assert Environment(fun).known
    f = compile(fun)
    first, replayed = f(X), f(X + 0.125)
    assert [program["runs"] for program in f.programs] == [1]
    assert onp.array_equal(first, fun(X)) and onp.allclose(replayed, fun(X + 0.125), rtol=1e-14)
    if onp.ndim(first) == 0:
        assert calls_recorded(value_and_grad(compile(fun)), X) == 1


@pytest.mark.parametrize("name", TWICE)
def test_recorded_twice(name):
    assert not Environment(TWICE[name]).known


@pytest.mark.parametrize(
    "name", ["counter", "clock", "primitive of the user's", "new memory", "cell that is not bound"]
)
def test_recorded_twice_and_replayed(name):
    assert calls_recorded(compile(TWICE[name]), X) == 2


def test_what_varies_is_found_by_the_second_recording():
    f = compile(lambda x: np.sum(x) * (1.0 + next(COUNTER)))
    with pytest.warns(Warning, match="two calls met different constants"):
        values = [f(X) for _ in range(4)]
    assert len(set(values)) == 4


def test_branches_are_recorded_once_each():
    f = compile(lambda x: np.sum(x) if x[0] > 0 else np.sum(x * x))
    for sign in (1.0, -1.0, 1.0, -1.0):
        assert f(sign * X) == (X.sum() if sign > 0 else (X * X).sum())
    assert [(program["branches"], program["runs"]) for program in f.programs] == [(2, 2)]


def test_a_changed_environment_is_recorded_once():
    def f(x):
        return np.sum(x) * SETTINGS.rate

    f = compile(f)
    try:
        for rate in (0.5, 0.5, 0.75, 0.75):
            SETTINGS.rate = rate
            assert f(X) == X.sum() * rate
    finally:
        SETTINGS.rate = 0.5
    assert [(program["versions"], program["runs"]) for program in f.programs] == [(2, 2)]


def test_a_count_in_a_cell_is_seen():
    count = 0

    def fun(x):
        nonlocal count
        count += 1
        return np.sum(x) * count

    f = compile(fun)
    assert [f(X) / X.sum() for _ in range(4)] == [1.0, 2.0, 3.0, 4.0]


def test_a_count_in_an_array_is_seen():
    counts = onp.zeros(1)

    def fun(x):
        counts[0] += 1.0
        return np.sum(x) * counts[0]

    f = compile(fun)
    assert [f(X) / X.sum() for _ in range(4)] == [1.0, 2.0, 3.0, 4.0]


def test_a_list_that_grows_is_seen():
    seen = []

    def fun(x):
        seen.append(1.0)
        return np.sum(x) * len(seen)

    f = compile(fun)
    with pytest.warns(Warning, match="seen changes from call to call"):
        assert [f(X) / X.sum() for _ in range(12)] == list(range(1, 13))


def test_matrices_of_derivatives_are_recorded_once():
    for made in (
        jacobian(compile(lambda x: np.sin(x) * x[0])),
        compile(jacobian(lambda x: np.sin(x) * x[0])),
    ):
        assert calls_recorded(made, X) == 1


def test_a_count_in_an_attribute_of_a_function_is_seen():
    def fun(x):
        fun.calls[0] += 1
        return np.sum(x) * fun.calls[0]

    fun.calls = [0]
    f = compile(fun)
    assert [f(X) / X.sum() for _ in range(4)] == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("operator", [compile, grad], ids=["compile", "grad"])
def test_a_count_in_an_attribute_of_what_is_made_of_a_function_is_seen(operator):
    counted = operator(lambda x: np.sum(x))
    counted._calls = [0]

    def fun(x):
        counted._calls[0] += 1
        return np.sum(x) * counted._calls[0]

    f = compile(fun)
    assert [f(X) / X.sum() for _ in range(4)] == [1.0, 2.0, 3.0, 4.0]


def test_an_attribute_of_a_function_is_seen():
    def fun(x):
        return np.sum(x) * fun.rate

    f = compile(fun)
    for rate in (1.0, 2.0, 2.0):
        fun.rate = rate
        assert f(X) == X.sum() * rate


def test_replaced_defaults_are_seen():
    def fun(x, scale=1.0, *, shift=0.0):
        return np.sum(x) * scale + shift

    f = compile(fun)
    assert f(X) == X.sum()
    fun.__defaults__ = (2.0,)
    assert f(X) == X.sum() * 2.0
    fun.__kwdefaults__ = {"shift": 1.0}
    assert f(X) == X.sum() * 2.0 + 1.0


def test_the_first_attribute_of_an_object_is_seen():
    for cls in (OfClass, OfNothing):
        thing = cls()
        f = compile(lambda x, thing=thing: np.sum(x) * thing.rate)
        assert f(X) == X.sum() * 0.5
        thing.rate = 2.0
        assert f(X) == X.sum() * 2.0


def test_an_attribute_that_is_none_is_seen():
    class Settings:
        rate = None

    def by_class(x):
        return np.sum(x) if Settings.rate is None else np.sum(x) * Settings.rate

    def by_instance(x):
        return np.sum(x) if settings.rate is None else np.sum(x) * settings.rate

    settings = Settings()
    functions = {fun: compile(fun) for fun in (by_class, by_instance)}

    def agree():
        return all(f(X) == fun(X) for fun, f in functions.items())

    assert agree() and agree()
    Settings.rate = 2.0
    assert agree() and agree()
    Settings.rate = None
    assert agree() and agree()
    settings.rate = 3.0
    assert agree() and by_instance(X) == 3.0 * X.sum()


class Weights(typing.NamedTuple):
    w: onp.ndarray

    def total(self):
        return np.sum(self.w) * next(COUNTER)

    def plain(self):
        return np.sum(self.w)


class OfDict(dict):
    def __missing__(self, key):
        return next(COUNTER)


@pytest.mark.parametrize(
    ("fun", "given"),
    [
        (lambda weights: weights.total(), Weights(X)),
        (lambda weights: np.sum(weights["w"]) * weights["missing"], OfDict(w=X)),
        (lambda weights: sum(np.sum(w) * key() for key, w in weights.items()), {lambda: next(COUNTER): X}),
    ],
    ids=["named tuple", "dict", "key"],
)
def test_methods_and_keys_of_arguments_count(fun, given):
    f = compile(fun)
    with pytest.warns(Warning, match="two calls met different constants"):
        values = [f(given) for _ in range(4)]
    assert len(set(values)) == 4


def test_named_tuples_among_the_arguments_are_known():
    assert calls_recorded(compile(lambda pair: np.sum(pair.first * pair.second)), Pair(X, X)) == 1


class Tail:
    """It calls another function, which it names as operators do."""

    def __init__(self, of):
        self.of = of

    def __call__(self, x):
        return self.of(x) * next(COUNTER)


def test_an_attribute_that_operators_have_too():
    f = compile(Tail(lambda x: np.sum(x)))
    with pytest.warns(Warning, match="two calls met different constants"):
        values = [f(X) for _ in range(4)]
    assert len(set(values)) == 4


def test_static_arguments_count():
    f = compile(lambda x, n: np.sum(x) * n.rate)
    rate = Rate(2.0)
    for _ in range(3):
        f(X, rate)
    assert [program["runs"] for program in f.programs] == [2]
    f = compile(lambda x, n: np.sum(x))
    for _ in range(3):
        f(X, Color.RED)
    assert [program["runs"] for program in f.programs] == [1]


@pytest.mark.parametrize(
    "name", ["normal", "random", "load", "vectorize", "test", "__dict__", "open", "optim"]
)
def test_unknown_names(name):
    assert name == "normal" or not known.is_known_name(name)
    assert name != "normal" or not known.is_known_name("random")  # the way to it


def test_what_users_put_into_a_library_is_not_known(monkeypatch):
    monkeypatch.setattr(onp, "count_of_the_users", [0], raising=False)
    assert not known.is_known_name("count_of_the_users")


def test_no_function_of_a_namespace_is_taken_for_known_by_chance():
    """All that `numpy` has and is not known, by name: an addition to it is to be looked at."""
    strange = {
        "from_dlpack",
        "fromfile",
        "frombuffer",
        "empty",
        "load",
        "save",
        "random",
        "seterr",
        "vectorize",
    }
    assert strange.isdisjoint(name for name in dir(onp) if name[0] != "_" and known.is_known_name(name))
    usual = {
        "sin",
        "sum",
        "zeros",
        "ones",
        "arange",
        "linalg",
        "fft",
        "pi",
        "float64",
        "newaxis",
        "array",
        "where",
    }
    assert all(map(known.is_known_name, usual))
