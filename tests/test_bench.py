"""Works, timing, peers and the command `autograd-c bench`. Nothing here depends on how fast anything is."""

import gc
import importlib.util
import inspect
import io
import json
import os
import platform
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy
import pytest

import autograd_c.numpy
from autograd_c import bench, grad
from autograd_c.bench import jax_works, overheads, peers, probes, timing, torch_works
from autograd_c.bench.report import Table, machine, mark
from autograd_c.bench.workloads import EAGER, WORKLOADS, Target, Workload, select
from autograd_c.registry import primitives

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

OTHERS = [key for key in peers.CONTENDERS if key not in (peers.OURS, "torch-compile")]

each_work = pytest.mark.parametrize("workload", WORKLOADS.values(), ids=list(WORKLOADS))


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def gradient(workload, key=peers.OURS):
    """The gradient as a contender of the table computes it, a list of arrays."""
    return peers.leaves(peers.CONTENDERS[key].prepare(workload)())


# ---------------------------------------------------------------- works


def moved(tree, directions, step):
    """The inputs, `step` along directions that are taken from an iterator, one for each leaf."""
    if isinstance(tree, (list, tuple)):
        return type(tree)([moved(branch, directions, step) for branch in tree])
    return tree + step * next(directions)


@each_work
def test_gradient_is_the_slope_of_the_forward_pass(workload):
    forward = workload.forward()
    # A few steps of a loop suffice: after a hundred the scalar chain is too flat for differences.
    inputs = [min(value, 5) if isinstance(value, int) else value for value in workload.make_inputs()]
    along = peers.leaves(grad(workload.bind("autograd_c"), workload.argnum)(*inputs))
    rng = numpy.random.default_rng(1)
    for _ in range(3):
        directions = [rng.normal(size=leaf.shape) for leaf in along]

        def value(step, directions=directions):
            inputs_there = list(inputs)
            inputs_there[workload.argnum] = moved(inputs[workload.argnum], iter(directions), step)
            return forward(*inputs_there)

        step = 1e-4
        # fourth order, so that a step large enough to drown the rounding is still exact
        slope = (8 * (value(step) - value(-step)) - (value(2 * step) - value(-2 * step))) / (12 * step)
        terms = [numpy.sum(leaf * direction) for leaf, direction in zip(along, directions, strict=True)]
        assert slope == pytest.approx(sum(terms), rel=1e-7, abs=1e-8 * max(map(abs, terms)))


@each_work
@pytest.mark.parametrize("key", OTHERS)
def test_every_library_computes_the_same_gradient(workload, key):
    pytest.importorskip(peers.CONTENDERS[key].module)
    for ours, theirs in zip(gradient(workload), gradient(workload, key), strict=True):
        numpy.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10 * numpy.max(numpy.abs(theirs)))


@each_work
def test_inputs_are_the_same_every_time(workload):
    first, second = (peers.leaves(workload.make_inputs()) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        numpy.testing.assert_array_equal(a, b)


@each_work
def test_aims_are_stricter_than_what_must_be_reached(workload):
    assert all(target.aim is None or target.aim < target.must for target in workload.targets.values())


def test_select_keeps_the_order_of_the_table():
    assert select() == list(WORKLOADS.values())
    assert [workload.name for workload in select("elementwise_1000")] == [
        "elementwise_1000",
        "elementwise_100000",
    ]
    assert select("no such work") == []


# ---------------------------------------------------------------- timing


class Machine:
    """A machine on which programs take the time that they are told to take."""

    def __init__(self):
        self.now = 100.0
        self.log = []

    def clock(self):
        return self.now

    def program(self, name, *costs):
        """A program that takes these times, one after the other and then the last one again and again."""
        remaining = list(costs)

        def run():
            self.log.append(name)
            self.now += remaining.pop(0) if len(remaining) > 1 else remaining[0]

        return run


def test_measure_returns_each_program_s_time():
    machine = Machine()
    calls = {"quick": machine.program("quick", 0.25), "slow": machine.program("slow", 8.0)}
    best = timing.measure(calls, seconds=0, slice_seconds=1.0, clock=machine.clock)
    assert best == {"quick": 0.25, "slow": 8.0}


def test_measure_keeps_the_fastest_round_and_not_the_first_call():
    machine = Machine()
    # The first call is compilation, the next three find the length of a turn, then come five rounds of two
    # calls, of which the second counts.
    program = machine.program("it", 2.0, 9.0, 9.0, 9.0, 3.0, 7.0, 3.0, 4.0, 3.0, 5.0, 3.0, 6.0, 3.0, 7.0)
    assert timing.measure({"it": program}, seconds=0, slice_seconds=1.0, clock=machine.clock) == {"it": 4.0}


def test_programs_take_turns():
    machine = Machine()
    calls = {name: machine.program(name, 0.25) for name in "ab"}
    timing.measure(calls, seconds=0, min_rounds=3, slice_seconds=1.0, clock=machine.clock)
    changes = [a for a, b in pairwise([*machine.log, "end"]) if a != b]
    assert "".join(changes) == "ab" + 3 * "ab"
    # One call that does not count, then the second that was asked for.
    assert machine.log[-10:] == ["a"] * 5 + ["b"] * 5


def test_rounds_go_on_for_the_time_that_was_asked_for():
    machine = Machine()
    timing.measure({"it": machine.program("it", 1.0)}, seconds=50, slice_seconds=1.0, clock=machine.clock)
    assert machine.now == 100.0 + 4 + 50  # four calls before the rounds


def test_an_interruption_does_not_shorten_the_turns():
    machine = Machine()
    program = machine.program("it", 0.125, 80.0, 0.125)  # compilation, an interrupted call, and then as it is
    assert timing.repetitions(program, 1.0, machine.clock) == 8


def test_measure_warns_about_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    with pytest.warns(RuntimeWarning, match="OMP_NUM_THREADS"):
        timing.measure({}, seconds=0)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="how glibc keeps memory")
def test_settled_heap_gives_large_arrays_the_memory_of_earlier_ones():
    code = """
import resource, numpy
from autograd_c.bench.timing import settle_heap
x = numpy.ones(100_000)
def faults_of_passes():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        (x + 1) * (x + 2) + (x + 3) * (x + 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
first = faults_of_passes()
settle_heap()
faults_of_passes()
print(first, faults_of_passes())
"""
    first, settled = map(int, run_python(code).split())
    assert settled < first / 10


def test_collector_is_as_before_when_a_program_fails():
    def fail():
        raise LookupError

    with pytest.raises(LookupError):
        timing.measure({"it": fail})
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


# ---------------------------------------------------------------- peers


def arguments(fun):
    return list(inspect.signature(fun).parameters)[1:]


def test_every_work_is_written_for_torch():
    assert {workload.fun.__name__ for workload in WORKLOADS.values()} == {
        *torch_works.PROGRAMS,
        *torch_works.LAYERS,
    }


@pytest.mark.parametrize("programs", [torch_works.PROGRAMS, jax_works.LOOPS], ids=["torch", "jax"])
def test_native_programs_take_the_inputs_of_their_namesakes(programs):
    works = {workload.fun.__name__: workload for workload in WORKLOADS.values()}
    for name, program in programs.items():
        after_modules = arguments(works[name].fun)[len(works[name].modules) - 1 :]
        assert arguments(program) == after_modules


def test_peers_that_are_not_installed_are_left_out(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "torch" or None)
    assert peers.installed(["jax", "torch", "hips"]) == ["torch"]


def test_a_work_that_torch_does_not_know_has_no_gradient(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.delitem(torch_works.PROGRAMS, "rosenbrock")
    assert torch_works.prepare(torch, WORKLOADS["rosenbrock"]) is None


# ---------------------------------------------------------------- overheads


def test_elementwise_gradient_by_hand():
    x = numpy.linspace(-3, 3, 50)
    ours = grad(WORKLOADS["elementwise_10"].bind("autograd_c"))(x)
    numpy.testing.assert_allclose(probes.elementwise_by_hand(x), ours, rtol=1e-12, atol=1e-14)


def run_python(code):
    return subprocess.check_output([sys.executable, "-c", code], text=True)


@pytest.mark.parametrize("measure", ["peak_bytes", "traced_peak"])
def test_peak_counts_what_is_alive_at_once(measure):
    code = f"""
import numpy
from autograd_c.bench.probes import {measure}
def three_arrays_two_at_once():
    for _ in range(2):
        array = numpy.ones(4_000_000)
    del array
print({measure}(three_arrays_two_at_once))
"""
    assert int(run_python(code)) == pytest.approx(64e6, rel=0.05)


def test_probes_answer_from_a_fresh_process():
    measured = probes.fresh("chain", 4002)
    assert measured["entries"] == 4000
    assert measured["seconds"] > 0


def test_a_failing_probe_is_an_error():
    with pytest.raises(subprocess.CalledProcessError):
        probes.fresh("elementwise_peak", "by magic", 10)


def test_the_chain_s_entries_are_counted_right():
    """Each step records as many entries as memory and growth are divided by."""
    calls = []

    class Counted(float):
        def __mul__(self, other):
            calls.append("multiply")
            return Counted(float(self) * other)

        __rmul__ = __mul__

        def __add__(self, other):
            calls.append("add")
            return Counted(float(self) + other)

    class Namespace:
        @staticmethod
        def sin(x):
            calls.append("sin")
            return Counted(numpy.sin(x))

    probes.scalar_chain(Namespace, Counted(0.5), 10)
    assert len(calls) == 10 * probes.ENTRIES_PER_STEP


def test_call_overheads_are_named_by_primitive():
    added = overheads.call_overheads(autograd_c.numpy, seconds=0)
    assert {"sin", "add", "matmul"} <= added.keys()
    assert all(numpy.isfinite(value) for value in added.values())


def test_an_import_is_measured_with_byte_code(tmp_path, monkeypatch):
    package = tmp_path / "some_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "numpy.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    base, added = overheads.import_costs("some_package", processes=1)
    assert 0 < added < base
    assert len(list((package / "__pycache__").glob("*.pyc"))) == 2


@pytest.mark.parametrize("name", overheads.OVERHEADS)
def test_overheads_say_what_they_measured(name):
    settings = overheads.Settings(seconds=0, processes=1, entries=10**4, elements=10**6)
    sentence, figures = overheads.OVERHEADS[name](settings)
    assert figures
    assert "\n" not in sentence
    if name == "growth":
        assert [run["entries"] for run in figures] == [10**4]


# ---------------------------------------------------------------- the table


WORK = Workload("work", lambda np, x: x, lambda: (1.0,), targets={EAGER: Target(2.0, 1.0)})


@pytest.mark.parametrize(
    ("key", "ratio", "expected"),
    [
        (peers.OURS, 0.9, "*"),
        (peers.OURS, 1.0, "*"),
        (peers.OURS, 1.5, " "),
        (peers.OURS, 2.0, " "),
        (peers.OURS, 2.1, "!"),
        (peers.OURS, None, " "),
        ("hips", 9.0, " "),
    ],
)
def test_mark(key, ratio, expected):
    assert mark(WORK, key, ratio) == expected


def test_mark_without_aim():
    assert mark(Workload("work", abs, tuple, targets={EAGER: Target(2.0)}), peers.OURS, 0.1) == " "


def test_table():
    out = io.StringIO()
    table = Table([peers.OURS, "hips", "torch", "jax"], out)
    table.head()
    table.row(WORK, 12.348e-6, {peers.OURS: 2.5, "hips": 217.3}, failed={"torch"})
    titles, _, row = (line.split() for line in out.getvalue().splitlines())
    assert titles == ["work", "NumPy", "us", "autograd_c", "must", "aim", "HIPS", "PyTorch", "JAX", "jit"]
    assert row == ["work", "12.35", "2.50!", "2.00", "1.00", "217", "failed", "-"]


def test_machine_names_every_library_that_took_part():
    about = machine([peers.OURS, "hips"])
    assert about["numpy"] == numpy.__version__
    assert {"processor", "python", "scipy", "autograd_c", "autograd"} <= about.keys()


# ---------------------------------------------------------------- the command


def refused(argv, capsys):
    """What the command says on standard error, one line, when it refuses its arguments."""
    with pytest.raises(SystemExit) as exit_:
        bench.main(argv)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_one_work_measured_and_written(tmp_path, capsys):
    file = tmp_path / "figures.json"
    assert bench.main(["--quick", "--only", "elementwise_1000", "--peers", "none", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert "elementwise_1000 " in out
    assert "HIPS" not in out
    assert "import" not in out
    figures = json.loads(file.read_text())
    assert [row["name"] for row in figures["works"]] == ["elementwise_1000", "elementwise_100000"]
    row = figures["works"][0]
    assert row["forward_seconds"] > 0
    assert row["ratios"].keys() == {peers.OURS}
    assert row["targets"] == {EAGER: {"must": 2.0, "aim": 1.3}}
    assert figures["machine"]["numpy"] == numpy.__version__
    assert figures["overheads"] == {}


def test_overheads_are_selected_by_name(monkeypatch, capsys):
    monkeypatch.setitem(overheads.OVERHEADS, "calls", lambda settings: (f"{settings.entries} entries", {}))
    assert bench.main(["--only", "calls", "--large"]) == 0
    out = capsys.readouterr().out
    assert "10000000 entries" in out
    assert "rosenbrock" not in out


def failing(workload):
    raise ArithmeticError("not today")


@pytest.mark.parametrize(("key", "code"), [("hips", 0), (peers.OURS, 1)])
def test_a_contender_that_fails_costs_only_its_own_figure(monkeypatch, capsys, key, code):
    for other in (peers.OURS, "hips"):
        prepare = failing if other == key else lambda workload: lambda: None
        monkeypatch.setitem(peers.CONTENDERS, other, peers.Contender(other, "numpy", prepare))
    assert bench.main(["--quick", "--only", "elementwise_10000", "--peers", "hips"]) == code
    out = capsys.readouterr().out
    (row,) = (line.split() for line in out.splitlines() if line.startswith("elementwise_100000 "))
    assert row.count("failed") == 1
    assert f"elementwise_100000, {key}: ArithmeticError: not today" in out


def test_it_starts_again_on_one_thread(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    started = []

    def run(command, env, check):
        started.append((command, env))
        return subprocess.CompletedProcess(command, 7)

    monkeypatch.setattr(subprocess, "run", run)
    assert bench.main(["--quick", "--only", "mlp"]) == 7
    ((command, env),) = started
    assert command == [sys.executable, "-m", "autograd_c.bench", "--quick", "--only", "mlp"]
    assert timing.ONE_THREAD.items() <= env.items()
    assert env["PATH"] == os.environ["PATH"]


def test_help_names_works_and_options(capsys):
    with pytest.raises(SystemExit) as exit_:
        bench.main(["--help"])
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    for word in (
        "--quick",
        "--only",
        "--peers",
        "--json",
        "--large",
        "scalar_chain",
        "gaussian_mixture",
        "growth",
    ):
        assert word in out


def test_wrong_arguments_get_one_line(tmp_path, capsys):
    assert "nothing is called 'matmull'" in refused(["--only", "matmull"], capsys)
    assert "no peer 'tinygrad'" in refused(["--peers", "hips,tinygrad"], capsys)
    assert "cannot write" in refused(["--json", str(tmp_path)], capsys)
    assert "cannot write" in refused(["--json", str(tmp_path / "missing" / "figures.json")], capsys)


def test_a_peer_asked_for_must_be_installed(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "jax is not installed" in refused(["--peers", "jax"], capsys)


# ---------------------------------------------------------------- asv's suites


def suite(name):
    """A module of `benchmarks/`, which is not installed."""
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PRIMITIVES = suite("bench_primitives")


@pytest.mark.parametrize("name", PRIMITIVES.ROWS)
def test_every_primitive_s_benchmark_runs(name):
    benchmark = PRIMITIVES.Primitives()
    benchmark.setup(name)
    benchmark.time_call(name)
    benchmark.time_vjp(name)
    benchmark.time_jvp(name)


def test_every_row_with_samples_has_a_benchmark():
    rows = [row for row in primitives() if row.differentiable and row.samples()]
    assert [row.name for row in PRIMITIVES.ROWS.values()] == [row.name for row in rows]


def test_works_have_benchmarks():
    works = suite("bench_workloads").Works()
    assert works.params == list(WORKLOADS)
    works.setup("rosenbrock")
    works.time_numpy_forward("rosenbrock")
    works.time_grad("rosenbrock")
