"""Machine code of scalar instructions against the interpreter: the same bits, flags and guards.

But for the sign of a NaN: which of two NaNs a sum or a product keeps is up to the C compiler, too.
"""

import gc
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import autograd_c.numpy as anp
from autograd_c import _core, compile, grad
from autograd_c.bench.peers import programs

OPS = (
    "move add sub mul div neg abs sqrt square reciprocal pow "
    "lt le gt ge eq ne and or not select call1 call2 sincos load guard none"
).split()
NUMBER = {name: number for number, name in enumerate(OPS)}
UNARY = ["move", "neg", "abs", "sqrt", "square", "reciprocal", "not", "call1"]
BINARY = ["add", "sub", "mul", "div", "pow", "lt", "le", "gt", "ge", "eq", "ne", "and", "or", "call2"]
OTHERS = ["select", "sincos", "load"]
SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    2.0,
    0.5,
    np.inf,
    -np.inf,
    np.nan,
    5e-324,
    -1e-310,
    1e308,
    -1e308,
    1e-160,
    3.7,
]
PRIMITIVES = [anp.tanh, anp.exp, anp.arctan2, anp.hypot]

NATIVE = (
    platform.machine() in ("x86_64", "AMD64")
    and sys.platform in ("linux", "darwin")
    and _core.run_instructions([(NUMBER["add"], 0, 0, 1, 2)] * 8, [], np.ones(3), True)[2] > 0
)
needs_machine_code = pytest.mark.skipif(not NATIVE, reason="this system makes no machine code")
SETTING = os.environ.get("AUTOGRAD_C_NATIVE")
needs_no_setting = pytest.mark.skipif(SETTING in ("0", "now"), reason="the setting says when code is made")


def instruction(name, k=0, a=0, b=0, out=0):
    return NUMBER[name], k, a, b, out


def both(instructions, file):
    """What the interpreter leaves, after a check that machine code leaves the same."""
    results = []
    for native in (False, True):
        mine = file.copy()
        guard, flags, translated = _core.run_instructions(instructions, PRIMITIVES, mine, native)
        assert translated == (len(instructions) if native else 0)
        results.append((guard, flags, mine))
    (guard, flags, expected), (guard2, flags2, result) = results
    assert (guard, flags) == (guard2, flags2)
    if guard < 0:  # what a run that stops has computed is of no use
        assert np.array_equal(expected, result, equal_nan=True)
        known = ~np.isnan(expected)
        assert np.array_equal(np.signbit(expected)[known], np.signbit(result)[known])
    return guard, expected


def with_company(instructions):
    """Enough of them for a translation."""
    return instructions + [instruction("move", a=0, out=0)] * 8


@needs_machine_code
@pytest.mark.parametrize("near", [True, False], ids=["near", "far"])
@pytest.mark.parametrize("name", UNARY + BINARY + OTHERS)
def test_each_operation(name, near):
    """Of special values: operands in registers, in memory nearby and far away, twice the same."""
    pairs = [(x, y) for x in SPECIAL for y in SPECIAL]
    shift = 0 if near else 100
    for x, y in pairs:
        file = np.zeros(shift + 6)
        a, b, c, out = range(shift, shift + 4)
        file[a], file[b], file[c] = x, y, 7.5
        file[0] = x if near else 1.0
        k = {"call1": 1, "call2": 2, "load": 1}.get(name, 0)
        tail = [instruction("none", a=c)] if name == "select" else []
        plain = [instruction(name, k, a, b, out), *tail]
        held = [instruction("move", a=a, out=c + 2), instruction("move", a=b, out=c + 1)]
        again = [instruction(name, k, c + 2, c + 1, out), *tail]
        same = [instruction(name, k, a, b if name == "sincos" else a, out), *tail]
        over = [instruction(name, k, b, a if name != "sincos" else c, b), *tail]
        for program in (plain, held + again, same, over, again):
            both(with_company(program), file)


@needs_machine_code
def test_calls_of_many_functions(monkeypatch):
    """The place of the ninth call, and of those behind it, needs a long displacement."""
    names = [
        "tanh",
        "exp",
        "log1p",
        "expm1",
        "arctan",
        "sinh",
        "cosh",
        "exp2",
        "cbrt",
        "arcsinh",
        "rint",
        "deg2rad",
    ]
    monkeypatch.setattr(sys.modules[__name__], "PRIMITIVES", [getattr(anp, name) for name in names])
    both([instruction("call1", k, k, 0, k + 20) for k in range(len(names))], np.linspace(0.1, 0.9, 40))


@needs_machine_code
@pytest.mark.parametrize("expected", [0, 1])
@pytest.mark.parametrize("x", SPECIAL)
def test_guards(x, expected):
    program = [instruction("neg", a=1, out=1)] * 9 + [instruction("guard", a=0, b=expected, out=123456)]
    guard, _ = both(program + [instruction("neg", a=1, out=1)], np.array([x, 3.0]))
    assert guard == (-1 if (x != 0.0) == bool(expected) else 123456)


def random_program(rng, size, length):
    """Instructions whose operands lie anywhere, close together mostly."""
    instructions = []
    while len(instructions) < length:
        name = str(
            rng.choice(["add", "sub", "mul"] * 6 + UNARY + BINARY + ["select", "sincos", "load", "guard"])
        )
        recent = [i[4] for i in instructions[-4:]] or [0]
        a, b, c, out = (
            int(rng.choice(recent)) if rng.random() < 0.5 else int(rng.integers(size)) for _ in range(4)
        )
        if name == "guard":
            if rng.random() < 0.1:
                instructions.append(instruction(name, a=a, b=1, out=int(rng.integers(size))))
            continue
        if name == "sincos" and b == out:
            continue
        k = {"call1": int(rng.integers(2)), "call2": 2 + int(rng.integers(2)), "load": 1}
        instructions.append(instruction(name, k.get(name, 0), a, b, out))
        if name == "select":
            instructions.append(instruction("none", a=c))
    return instructions


@needs_machine_code
@pytest.mark.parametrize("seed", range(60))
def test_random_instructions(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.choice([3, 20, 60, 500]))
    file = rng.standard_normal(size)
    file[rng.random(size) < 0.1] = rng.choice(SPECIAL)
    both(random_program(rng, size, int(rng.choice([8, 40, 300, 2000]))), file)


def loop(x, y, steps):
    for _ in range(steps):
        x, y = x + 0.01 * anp.sin(y) * x, y - 0.01 * x / (1.0 + y**2)
    return x * y if x > y else x + y


@needs_machine_code
@needs_no_setting
def test_a_program_that_is_run_often_gets_machine_code():
    function = compile(grad(loop, (0, 1)), static_argnums=2)
    eager = grad(loop, (0, 1))
    points = np.random.default_rng(0).uniform(0.5, 1.5, (120, 2))
    for x, y in points:
        assert function(x, y, 20) == eager(x, y, 20)
    assert [program.summary["translated"] > 100 for program in programs(function)] == [True, True]


@needs_machine_code
@needs_no_setting
def test_short_programs_stay_with_the_interpreter():
    function = compile(grad(lambda x: anp.sin(x) * x))
    for _ in range(120):
        function(0.3)
    assert [program.summary["translated"] for program in programs(function)] == [0]


CHAIN = """
import autograd_c.numpy as np
from autograd_c import compile, grad
from autograd_c.bench.peers import programs

def chain(x):
    for _ in range(1000):
        x = np.sin(x) + 0.5 * x
    return x

function = compile(grad(chain))
expected = grad(chain)(0.3)
assert function(0.3) == expected
(program,) = programs(function)
"""


def in_a_process(setting, source):
    """What lines behind `CHAIN` print under a setting."""
    done = subprocess.run(
        [sys.executable, "-c", CHAIN + source],
        env={**os.environ, "AUTOGRAD_C_NATIVE": setting},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("setting", ["0", "now"])
def test_a_setting(setting):
    """Without machine code, and with it from the first run on."""
    source = """
assert {float(function(0.3)) for _ in range(70)} == {float(expected)}
print(program.summary["translated"] > 0)
"""
    assert in_a_process(setting, source) == str(setting == "now" and NATIVE)


@needs_machine_code
def test_explain_tells_what_has_machine_code():
    function = compile(lambda x: loop(x, 0.5 * x, 20))
    function(1.1)
    (program,) = programs(function)
    assert "machine code" not in function.explain() or SETTING == "now"
    count = program.translate()
    assert count > 100
    assert f"machine code: of {count} scalar instructions" in function.explain()
    assert program.translate() == count


@needs_machine_code
@needs_no_setting
def test_threads_run_a_program_while_it_is_translated():
    function = compile(grad(loop, (0, 1)), static_argnums=2)
    points = np.random.default_rng(1).uniform(0.5, 1.5, (40, 2))
    expected = [grad(loop, (0, 1))(x, y, 200) for x, y in points]
    for x, y in points:
        function(x, y, 200)
    for _ in range(5):
        function.clear()
        for x, y in points:
            function(x, y, 200)
        with ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(function, x, y, 200) for _ in range(10) for x, y in points]
            assert [job.result() for job in jobs] == expected * 10
        assert all(program.summary["translated"] for program in programs(function))


@needs_machine_code
@pytest.mark.skipif(sys.platform != "linux", reason="counts mappings as Linux tells them")
def test_code_is_freed_with_its_program():
    def executable():
        with open("/proc/self/maps") as maps:
            return sum(" r-xp 00000000 00:00 0" in line for line in maps)

    before = executable()
    for k in range(50):
        function = compile(grad(lambda x, k=k: loop(x, 0.5 * x + k, 20)))
        function(1.1)
        assert programs(function)[0].translate() > 100
    assert executable() == before + 1
    del function
    gc.collect()
    assert executable() == before


@needs_machine_code
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is another one elsewhere")
def test_without_memory_for_code():
    """The interpreter goes on."""
    source = """
import resource
with open("/proc/self/statm") as file:
    pages = int(file.read().split()[0])
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize(), limits[1]))
translated = program.translate()
resource.setrlimit(resource.RLIMIT_AS, limits)
assert translated == 0 and function(0.3) == expected
assert program.translate() > 1000 and function(0.3) == expected
"""
    in_a_process("", source)
