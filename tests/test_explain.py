"""`explain()` and `cost()` of compiled functions: what they say is what the program does."""

import itertools
import re
import xml.etree.ElementTree as ElementTree

import numpy as onp
import pytest

import autograd_c.numpy as np
from autograd_c import (
    ReplayWarning,
    compile,
    explain,
    grad,
    hessian,
    jacobian,
    jvp,
    make_vjp,
    sparse_jacobian,
    value_and_grad,
)
from autograd_c.extend import primitive

X = onp.array([1.0, 2.0, 3.0])
W = onp.linspace(-1.0, 1.0, 12).reshape(3, 4)


def replayed(fun, *args):
    """A compiled function that has been replayed once."""
    compiled = compile(fun)
    for _ in range(3):
        compiled(*args)
    return compiled


def units(compiled):
    (signature,) = compiled.policy.signatures.values()
    return explain.units_of(signature.versions[0].branches[0].notes.recording)


# ---------------------------------------------------------------- text


def test_groups_products_and_values():
    text = replayed(lambda x, w: np.sum(np.tanh(x @ w) ** 2), X, W).explain()
    assert "arguments (float64 (3,), float64 (3, 4))" in text
    assert "matmul %0 (3,) x %1 (3, 4) -> %2 (4,)" in text
    assert re.search(r"group of 3 over \(4,\): tanh, square, sum -> %\d+\n?$", text)
    assert "1 fused group, 1 product" in text
    assert "memory between inputs and results: " in text


def test_scalars_are_counted():
    def chain(x):
        for _ in range(20):
            x = np.sin(x) * 1.01
        return x

    text = replayed(chain, 0.5).explain()
    assert "40 scalar instructions: 20 sin, 20 multiply -> %40" in text


def test_guards_have_lines():
    others = itertools.count()  # not known: recorded twice

    def fun(x):
        if x[0] > 0:
            return np.sum(np.sin(x))
        return np.sum(x) + 0 * next(others)

    f = replayed(fun, X)
    f(-X)
    text = f.explain()
    assert f"guard: True at {__file__}:{fun.__code__.co_firstlineno + 1}" in text
    assert "1 program, 1 replayed call" in text and "1 branch waits for a second recording" in text
    f(-X)
    f(-X)
    assert "guard: False at" in f.explain() and "2 programs" in f.explain()


def test_programs_inside_of_derivatives(tmp_path):
    g = compile(lambda x, w, scale=1.0: np.sort(np.tanh(x @ w)) * scale)
    assert "inside" not in g.explain()
    for _ in range(3):
        grad(lambda x: np.sum(g(x, W)))(X)
        jvp(lambda x: np.sum(g(X, W, scale=x)), (1.0,), (1.0,))
    own, reverse, forward = g.explain(tmp_path / "g.svg").split("\n\n<lambda> inside of ")
    assert own == "<lambda>: 0 signatures"
    assert reverse.startswith("reverse derivatives, leaf 0 of its arguments traced: 1 signature")
    assert forward.startswith("forward derivatives, leaf 2 of its arguments traced: 1 signature")
    assert "arguments (float64 (3,), float64 (3, 4), scale=float)" in forward
    at_once, later = reverse.split("for each vector:")
    assert "tanh" in at_once and "tanh" not in later
    assert at_once.count("matmul") == 1 and later.count("matmul") == 1
    assert all("Python: sort" in at_once for at_once in (reverse, forward)) and "1 step in Python" in forward
    picture = ElementTree.parse(tmp_path / "g.svg").getroot()
    headings = [
        text.text for text in picture.iter("{http://www.w3.org/2000/svg}text") if text.get("font-weight")
    ]
    assert [heading.partition("(")[0] for heading in headings] == [
        f"<lambda> inside of {mode} derivatives, leaf {leaf} of its arguments traced"
        for mode, leaf in (("reverse", 0), ("forward", 2))
    ]
    g.clear()
    assert "inside" not in g.explain()


def test_what_is_not_replayed_says_why():
    f = compile(lambda x: x * float(x[0]))
    with pytest.warns(ReplayWarning):
        f(X)
    assert "not replayed: float()" in f.explain()
    assert f.cost() == {"flops": 0, "bytes": 0, "unknown": {}}


@primitive
def doubled(x):
    return 2 * x


@pytest.mark.parametrize(
    ("fun", "said"),
    [
        (lambda x: np.sum(x[np.argsort(x)]), "(%0 (3,), tuple, %1 (3,)) -> %2 (3,); an index array"),
        (lambda x: doubled(x), "Python: doubled(%0 (3,)) -> %1 (3,); no native instruction"),
        (lambda x: x * int(x[1]), "Python: int(%1); compares its result with 2"),
        (lambda x: np.sum(x.astype(int)), "int64 has no native instructions"),
    ],
)
def test_steps_in_python_say_why(fun, said):
    compiled = replayed(fun, X)
    assert said in compiled.explain()
    assert sum(compiled.cost()["unknown"].values()) >= 1


def test_arrays_that_are_compared_are_named():
    weights = onp.array([1.0, 2.5])
    text = replayed(lambda x: x * weights.sum(), X).explain()
    assert "bytes compared before each replay: weights, 16 bytes" in text
    assert "bytes compared" not in replayed(lambda x: np.sum(x[:2] * weights), X).explain()


def test_long_programs_are_cut():
    def deep(x):
        for _ in range(200):
            x = np.tanh(x @ np.ones((4, 4)))
        return x

    text = replayed(deep, onp.ones((4, 4))).explain()
    assert "... 360 more" in text and len(text.splitlines()) < 60


def test_every_computed_node_is_in_one_unit():
    def fun(x, w):
        y = np.tanh(x @ w)
        return np.mean(y * y) + y[0] / y[1] + np.sum(np.concatenate([y, y[:2]]))

    f = replayed(value_and_grad(fun), X, W)
    numbers = [node.number for unit in units(f) for node in unit.nodes]
    assert len(numbers) == len(set(numbers))
    made = set()
    inputs = {0, 1}
    for unit in units(f):
        assert unit.reads.keys() <= made | inputs  # nothing is read before it is there
        made |= {node.number for node in unit.nodes}


# ---------------------------------------------------------------- work


def test_elementwise_work():
    cost = replayed(lambda x: np.sum(np.sin(x) * x), onp.ones(100)).cost()
    # sin, multiply, sum; x is read once, the sum is written.
    assert cost == {"flops": 300, "bytes": 8 * (100 + 1), "unknown": {}}


def test_work_of_products_and_scalars():
    cost = replayed(lambda x, w: x @ w, onp.ones((5, 3)), W).cost()
    assert cost == {"flops": 2 * 5 * 3 * 4, "bytes": 8 * (15 + 12 + 20), "unknown": {}}
    assert replayed(lambda x: np.sin(x) * x + 1.0, 0.5).cost() == {"flops": 3, "bytes": 0, "unknown": {}}


def test_views_are_no_work():
    assert replayed(lambda x: x.T[::2].reshape(-1), onp.ones((3, 4))).cost()["flops"] == 0


def test_float32_moves_half_the_bytes():
    cost = replayed(lambda x: np.sin(x) * x, onp.ones(100, onp.float32)).cost()
    assert cost == {"flops": 200, "bytes": 4 * 200, "unknown": {}}


def test_each_kind_of_arguments_counts():
    f = replayed(lambda x: np.sin(x) * x, onp.ones(100))
    for _ in range(3):
        f(onp.ones(10))
    assert f.cost()["flops"] == 220
    f.clear()
    assert f.cost() == {"flops": 0, "bytes": 0, "unknown": {}}


def curve(x):
    return np.sin(x) * x[0]


@pytest.mark.parametrize("operator", [jacobian, hessian, make_vjp, sparse_jacobian])
def test_what_operators_make_of_several_programs(operator, tmp_path):
    fun = compile((lambda x: np.sum(curve(x))) if operator is hessian else curve)
    made = operator(fun)
    assert "0 signatures" in made.explain()
    for _ in range(3):
        made(X) if operator is not make_vjp else made(X)[0](X)
    text = made.explain(svg=tmp_path / "program.svg")
    assert "sin" in text and "1 program" in text and "replayed call" in text
    assert boxes_of(ElementTree.parse(tmp_path / "program.svg").getroot())
    assert made.cost()["flops"] > 9 and made.cost()["unknown"] == {}
    assert made.programs
    made.clear()
    assert not made.programs and made.cost()["flops"] == 0


def test_work_is_counted_for_every_seed():
    def long_curve(x):
        return np.sin(x) * np.cumprod(x)[-1]

    n = 200  # so many seeds are one program, run for each
    made = jacobian(compile(long_curve))
    for _ in range(3):
        made(onp.ones(n))
    assert n * 2 * n < made.cost()["flops"] < n * 8 * n


# ---------------------------------------------------------------- picture

SVG = "{http://www.w3.org/2000/svg}"


def boxes_of(root):
    """Rectangles with their lines of text, without the background."""
    return [
        (rect.attrib, [span.text for span in group.iter(f"{SVG}tspan")])
        for group in root.iter(f"{SVG}g")
        for rect in group.iter(f"{SVG}rect")
    ]


def picture(compiled, path):
    compiled.explain(svg=path)
    return ElementTree.parse(path).getroot()


def test_picture(tmp_path):
    def fun(x, w):
        return np.sum(np.tanh(x @ w) ** 2) < np.sum(x)

    root = picture(replayed(fun, X, W), tmp_path / "program.svg")
    boxes = boxes_of(root)
    lines = [lines for _, lines in boxes]
    assert ["input %0", "float64 (3,)"] in lines and ["matmul", "-> %2 (4,)"] in lines
    assert ["group of 3 over (4,)", "tanh", "square", "sum"] in lines
    assert lines[-1][0] == "result 0"
    # product <- x, w; group <- product; sum of x <- x; comparison <- both; result <- comparison
    assert len(list(root.iter(f"{SVG}path"))) == 7
    assert "&lt;lambda&gt;" not in lines and "fun(float64 (3,)" in root.find(f"{SVG}text").text


def test_boxes_do_not_overlap(tmp_path):
    def fun(x, w):
        y = [np.tanh(x @ w + k) for k in range(5)]
        return sum(np.sum(np.sort(part)) for part in y)

    root = picture(replayed(grad(fun), X, W), tmp_path / "program.svg")
    corners = [
        tuple(float(rect[name]) for name in ("x", "y", "width", "height")) for rect, _ in boxes_of(root)
    ]
    for place, (x, y, width, height) in enumerate(corners):
        assert x >= 0 and y >= 0
        assert x + width <= float(root.attrib["width"]) and y + height <= float(root.attrib["height"])
        for x2, y2, width2, height2 in corners[:place]:
            assert x + width <= x2 or x2 + width2 <= x or y + height <= y2 or y2 + height2 <= y


def test_pictures_of_long_programs_and_several_programs(tmp_path):
    def deep(x):
        for _ in range(200):
            x = np.tanh(x @ np.ones((4, 4)))
        return x

    f = replayed(deep, onp.ones((4, 4)))
    for _ in range(2):
        f(onp.ones((2, 4)))
    root = picture(f, tmp_path / "program.svg")
    lines = [lines for _, lines in boxes_of(root)]
    assert lines.count(["360 more steps"]) == 2
    assert len(list(root.iter(f"{SVG}text"))) == 2 + len(lines)


def test_nothing_recorded_makes_an_empty_picture(tmp_path):
    assert boxes_of(picture(compile(np.sin), tmp_path / "program.svg")) == []
