"""Works, timing, peers and the command `autograd-c bench`. Nothing here depends on how fast anything is."""

import dataclasses
import gc
import importlib.util
import inspect
import io
import json
import os
import platform
import subprocess
import sys
import threading
import time
import types
from itertools import count, pairwise
from pathlib import Path

import numpy
import pytest

import autograd_c.numpy
import autograd_c.replay
from autograd_c import bench, grad
from autograd_c.bench import (
    casadi_works,
    hand_works,
    jax_works,
    memory,
    overheads,
    peers,
    probes,
    replay_probes,
    timing,
    torch_works,
)
from autograd_c.bench.report import Table, machine, mark
from autograd_c.bench.workloads import ADAM, COMPILED, DERIVATIVES, EAGER, WORKLOADS, Target, Workload, select
from autograd_c.registry import primitives

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

OTHERS = [key for key in peers.CONTENDERS if key not in (peers.OURS, "torch-compile")]


def shortened(workload):
    """The work itself, with fewer steps of Adam."""
    return dataclasses.replace(workload, passes=min(workload.passes, 30))


#: Works that take seconds are left out: they are the elementwise work once more.
SLOW = ("elementwise_1000000", "elementwise_10000000")
SHORT = {name: shortened(workload) for name, workload in WORKLOADS.items() if name not in SLOW}


def each(works):
    return pytest.mark.parametrize("workload", works, ids=[workload.name for workload in works])


each_work = each(list(SHORT.values()))
each_gradient = each([workload for workload in SHORT.values() if workload.derivative == "gradient"])
each_other = each(
    [workload for workload in SHORT.values() if workload.derivative not in ("gradient", "adam")]
)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def computed(workload, key=peers.OURS):
    """The derivative as a contender of the table computes it, a list of arrays; None where it has none."""
    call = peers.CONTENDERS[key].prepare(workload)
    return None if call is None else peers.leaves(call())


# ---------------------------------------------------------------- works


def moved(tree, directions, step):
    """The inputs, `step` along directions that are taken from an iterator, one for each leaf."""
    if isinstance(tree, (list, tuple)):
        return type(tree)([moved(branch, directions, step) for branch in tree])
    return tree + step * next(directions)


@each_gradient
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


def columns(fun, x, step):
    """The derivative of an array by an array, last axis the argument's, from differences of fourth order."""

    def along(direction):
        def at(distance):
            return fun(x + distance * step * direction)

        return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)

    return numpy.stack([along(direction) for direction in numpy.eye(len(x))], axis=-1)


@each_other
def test_matrices_are_slopes(workload):
    x, *rest = workload.make_inputs()
    ours = computed(workload)
    if workload.derivative == "blocks":
        x, rest = x[:3], [array[:3] for array in rest]
        forward = workload.forward()
        each = [columns(lambda row, i=i: forward(row, rest[0][i]), x[i], 1e-3) for i in range(3)]
        expected, ours = [numpy.stack(rows) for rows in zip(*each, strict=True)], [part[:3] for part in ours]
    elif workload.derivative == "hessian":
        expected = [columns(lambda x: grad(workload.bind("autograd_c"))(x, *rest), x, 1e-3)]
    else:
        expected = [columns(lambda x: workload.forward()(x, *rest), x, 1e-3)]
    for a, b in zip(ours, expected, strict=True):
        numpy.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8 * numpy.max(numpy.abs(b)))


def test_steps_of_adam():
    """Two steps, written out for one array of the parameters."""
    workload = dataclasses.replace(WORKLOADS["adam_mlp_16"], passes=2)
    layers, *data = workload.make_inputs()
    slope = grad(workload.bind("autograd_c"))
    rate, b1, b2, eps = ADAM["step_size"], ADAM["b1"], ADAM["b2"], ADAM["eps"]

    first = peers.leaves(slope(layers, *data))
    # After one step both means are the first gradient's own, so that its size cancels.
    moved = [x - rate * g / (abs(g) + eps) for x, g in zip(peers.leaves(layers), first, strict=True)]
    pairs = [tuple(moved[i : i + 2]) for i in range(0, len(moved), 2)]
    second = peers.leaves(slope(pairs, *data))
    for x, g, h, ours in zip(moved, first, second, computed(workload), strict=True):
        mean = (b1 * (1 - b1) * g + (1 - b1) * h) / (1 - b1**2)
        square = (b2 * (1 - b2) * g**2 + (1 - b2) * h**2) / (1 - b2**2)
        numpy.testing.assert_allclose(ours, x - rate * mean / (numpy.sqrt(square) + eps), rtol=1e-12)


@each_work
@pytest.mark.parametrize("key", OTHERS)
def test_every_library_computes_the_same(workload, key):
    pytest.importorskip(peers.CONTENDERS[key].module)
    others = computed(workload, key)
    if others is None:
        pytest.skip("not written for it")
    for ours, theirs in zip(computed(workload), others, strict=True):
        assert ours.shape == theirs.shape
        numpy.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10 * numpy.max(numpy.abs(theirs)))


@pytest.mark.parametrize("key", ["jax", "casadi"])
def test_results_do_not_depend_on_when_the_inputs_are_freed(key):
    """Some peers keep addresses of their inputs."""
    pytest.importorskip(peers.CONTENDERS[key].module)
    call = peers.CONTENDERS[key].prepare(WORKLOADS["elementwise_1000"])
    gc.collect()
    garbage = [numpy.full(1000, 7.0) for _ in range(20)]
    numpy.testing.assert_allclose(call(), computed(WORKLOADS["elementwise_1000"])[0], rtol=1e-8, atol=1e-12)
    del garbage


@each_work
def test_inputs_are_the_same_every_time(workload):
    first, second = (peers.leaves(workload.make_inputs()) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        numpy.testing.assert_array_equal(a, b)


def test_aims_are_stricter_than_what_must_be_reached():
    for workload in WORKLOADS.values():
        for target in workload.targets.values():
            assert target.aim is None or target.aim < target.must


def test_works_are_well_formed():
    for name, workload in WORKLOADS.items():
        assert workload.name == name
        assert workload.title
        assert workload.derivative in DERIVATIVES
        assert workload.targets.keys() <= {EAGER, COMPILED}
        assert (workload.passes > 1) == (workload.derivative == "adam")


def test_select_keeps_the_order_of_the_table():
    assert select(large=True) == list(WORKLOADS.values())
    assert select() == [workload for workload in WORKLOADS.values() if not workload.large]
    assert [workload.name for workload in select("banded")] == ["jacobian_banded", "jacobian_banded_sparse"]
    assert select("elementwise_10") == [WORKLOADS["elementwise_10"]]  # and no longer name
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
    # The first call is compilation, the next four find the length of a turn, then come five rounds of two
    # calls, of which the second counts.
    program = machine.program("it", 2.0, 9.0, 9.0, 9.0, 9.0, 3.0, 7.0, 3.0, 4.0, 3.0, 5.0, 3.0, 6.0, 3.0, 7.0)
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
    assert machine.now == 100.0 + 5 + 50  # five calls before the rounds


def test_a_program_much_longer_than_a_turn_is_not_tried_again():
    machine = Machine()
    assert timing.repetitions(machine.program("it", 101.0), 1.0, machine.clock) == 1
    assert len(machine.log) == 2


def test_an_interruption_does_not_shorten_the_turns():
    machine = Machine()
    # compilation, an interrupted call each time that one is tried, and then as it is
    program = machine.program("it", 0.125, 80.0, 80.0, 0.125)
    assert timing.repetitions(program, 1.0, machine.clock) == 8


def test_measure_warns_about_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    with pytest.warns(RuntimeWarning, match="OMP_NUM_THREADS"):
        timing.measure({}, seconds=0)


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or not timing.TASKS.exists(),
    reason="one_core moves no threads where the system cannot: see the next test",
)
def test_all_threads_stay_on_one_core():
    """Those that are there already, and those that are started meanwhile; later they are free again."""
    before, seen, go, done = os.sched_getaffinity(0), [], threading.Event(), threading.Event()

    def work():
        go.wait(30)
        seen.append(os.sched_getaffinity(0))
        done.wait(30)
        seen.append(os.sched_getaffinity(0))

    threads = [threading.Thread(target=work)]
    threads[0].start()
    with timing.one_core():
        here = os.sched_getaffinity(0)
        threads.append(threading.Thread(target=work))
        threads[1].start()
        go.set()
        while len(seen) < 2:
            time.sleep(0.001)
    done.set()
    for thread in threads:
        thread.join()
    assert len(here) == 1
    assert seen == [here, here, before, before]
    assert os.sched_getaffinity(0) == before


def test_threads_stay_where_they_are_if_the_system_does_not_list_them(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "TASKS", tmp_path / "task")
    monkeypatch.setattr(timing, "move_threads", lambda _: pytest.fail("a thread is moved"))
    with timing.one_core():
        pass


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


def test_every_gradient_is_written_for_torch():
    assert {
        workload.fun.__name__ for workload in WORKLOADS.values() if workload.derivative == "gradient"
    } == {
        *torch_works.PROGRAMS,
        *torch_works.LAYERS,
    }


@pytest.mark.parametrize(
    "programs",
    [torch_works.PROGRAMS, jax_works.LOOPS, casadi_works.PROGRAMS],
    ids=["torch", "jax", "casadi"],
)
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


def test_a_derivative_that_a_library_does_not_have():
    import autograd

    assert peers.derivative(autograd, WORKLOADS["jacobian_banded_sparse"]) is None
    assert peers.drop_in("autograd")(WORKLOADS["jacobian_banded_sparse"]) is None


@pytest.mark.parametrize("name", ["rosenbrock", "hessian_dense", "jacobian_banded", "bundle_adjustment"])
def test_compiled_works_are_replayed(name):
    call = peers.CONTENDERS[peers.REPLAYED].prepare(WORKLOADS[name])
    assert peers.programs(call.func)
    assert all(program.summary["nodes"] > 0 for program in peers.programs(call.func))
    assert peers.programs(len) == []


def test_a_work_that_cannot_be_replayed_is_a_failure():
    numbers = count(1.0)

    def changing(np, x):
        return np.sum(x * next(numbers))

    workload = Workload("changing", changing, lambda: (numpy.ones(3),))
    with pytest.raises(autograd_c.replay.ReplayWarning, match="different constants"):
        peers.CONTENDERS[peers.REPLAYED].prepare(workload)


def test_the_best_peer_is_a_target():
    ratios = {peers.OURS: 0.1, peers.REPLAYED: 0.2, peers.FAST: 0.1, "jax": 0.5, "casadi": 0.4}
    assert bench.resolved(Target(), ratios) == Target(0.4)
    assert bench.resolved(Target(0.3, 0.2), ratios) == Target(0.3, 0.2)
    assert bench.resolved(Target(), {peers.OURS: 0.1}) == Target()


# ---------------------------------------------------------------- overheads


def test_elementwise_gradient_by_hand():
    x = numpy.linspace(-3, 3, 50)
    ours = grad(WORKLOADS["elementwise_10"].bind("autograd_c"))(x)
    numpy.testing.assert_allclose(hand_works.elementwise(x), ours, rtol=1e-12, atol=1e-14)


def run_python(code):
    return subprocess.check_output([sys.executable, "-c", code], text=True)


@pytest.mark.parametrize("measure", ["peak_bytes", "traced_peak"])
def test_peak_counts_what_is_alive_at_once(measure):
    code = f"""
import numpy
from autograd_c.bench.memory import {measure}
def three_arrays_two_at_once():
    for _ in range(2):
        array = numpy.ones(4_000_000)
    del array
print({measure}(three_arrays_two_at_once))
"""
    assert int(run_python(code)) == pytest.approx(64e6, rel=0.05)


@pytest.mark.skipif(not memory.FORGET.exists(), reason="how Linux forgets a peak")
def test_peak_beyond_forgets_earlier_peaks_and_counts_what_was_kept():
    code = """
import numpy
from autograd_c.bench.memory import peak_beyond, resident
base = resident()
numpy.ones(10_000_000)
kept = numpy.ones(2_000_000)
print(peak_beyond(base, lambda: numpy.ones(4_000_000)))
"""
    assert int(run_python(code)) == pytest.approx(48e6, rel=0.05)


def test_replay_probes_measure_replays():
    assert replay_probes.replay_call(0) > 0
    costs = replay_probes.instruction_costs(0, short=10, long=500)
    assert costs.keys() == {"scalar", "array"}
    run = replay_probes.recording(400, repeats=1)
    assert run["nodes"] >= 400
    assert 0 < run["eager_seconds"]
    assert 0 < run["seconds"]
    assert replay_probes.two_threads("rosenbrock", 0) > 0


def test_a_replay_s_peak_is_at_least_its_result():
    assert probes.fresh("replay_peak", "elementwise", "replay", 10**6) > 7e6


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

    WORKLOADS["scalar_chain"].fun(Namespace, Counted(0.5), 10)
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
    lines = list(suite("report").overheads({name: figures}))
    assert lines
    assert {len(line) for line in lines} == {3}
    if name == "growth":
        assert [run["entries"] for run in figures] == [10**4]


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.9, "*"), (1.0, "*"), (1.5, " "), (2.0, " "), (2.1, "!"), (None, " ")]
)
def test_mark(ratio, expected):
    assert mark(Target(2.0, 1.0), ratio) == expected


def test_mark_without_aim_or_target():
    assert mark(Target(2.0), 0.1) == " "
    assert mark(Target(), 0.1) == " "


def test_table():
    out = io.StringIO()
    table = Table([peers.OURS, peers.REPLAYED, "hips", "torch", "jax"], out)
    table.head()
    table.row(
        {
            "name": "work",
            "forward_seconds": 12.348e-6,
            "ratios": {peers.OURS: 2.5, peers.REPLAYED: 0.25, "hips": 217.3},
            "targets": {EAGER: Target(2.0, 1.0), COMPILED: Target(0.5)},
            "recording": 12.0,
            "failures": {"torch": "ArithmeticError"},
        }
    )
    titles, _, row = (line.split() for line in out.getvalue().splitlines())
    assert titles == [
        "work",
        "NumPy",
        "us",
        "autograd_c",
        "must/aim",
        "compiled",
        "must/aim",
        "recording",
    ] + [*("HIPS", "PyTorch", "JAX", "jit")]
    assert row == ["work", "12.35", "2.50!", "2.00/1.00", "0.25", "0.50/-", "12.00!", "217", "failed", "-"]


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
    assert "elementwise_10000 " not in out
    assert "HIPS" not in out
    assert "import" not in out
    figures = json.loads(file.read_text())
    (row,) = figures["works"]
    assert row["name"] == "elementwise_1000"
    assert row["forward_seconds"] > 0
    assert row["ratios"].keys() == set(peers.OWN)
    assert row["recording"] > 0
    assert row["python"] == []
    assert row["targets"] == {EAGER: {"must": 2.0, "aim": 1.3}, COMPILED: {"must": 0.6, "aim": 0.4}}
    assert figures["machine"]["numpy"] == numpy.__version__
    assert figures["overheads"] == {}


def test_overheads_are_selected_by_name(monkeypatch, capsys):
    monkeypatch.setitem(overheads.OVERHEADS, "calls", lambda settings: (f"{settings.entries} entries", {}))
    assert bench.main(["--only", "calls", "--large"]) == 0
    out = capsys.readouterr().out
    assert "10000000 entries" in out
    assert "rosenbrock" not in out


def test_an_overhead_that_fails_costs_only_its_own_figure(monkeypatch, capsys):
    def lost(settings):
        raise subprocess.CalledProcessError(-9, ["probe"])

    for name, measure in (("calls", lost), ("memory", lambda settings: ("much", 1.0))):
        monkeypatch.setitem(bench.OVERHEADS, name, measure)
    figures = bench.measure_overheads(["calls", "memory"], None)
    assert figures == {"memory": 1.0}
    assert capsys.readouterr().out.splitlines()[0].startswith("calls: CalledProcessError")
    assert bench.main(["--only", "calls"]) == 1


def failing(workload):
    raise ArithmeticError("not today")


def test_what_is_left_to_python_is_printed(monkeypatch, capsys):
    program = types.SimpleNamespace(summary={"python": ["sort", "cross", "sort"]})
    monkeypatch.setattr(bench, "programs", lambda function: [program])
    assert bench.main(["--quick", "--only", "rosenbrock", "--peers", "none"]) == 0
    assert "rosenbrock: left to Python in the replay: sort (2), cross" in capsys.readouterr().out


@pytest.mark.parametrize(("key", "code"), [("hips", 0), *((key, 1) for key in peers.OWN)])
def test_a_contender_that_fails_costs_only_its_own_figure(monkeypatch, capsys, key, code):
    for other in (*peers.OWN, "hips"):
        prepare = failing if other == key else lambda workload: lambda: None
        monkeypatch.setitem(peers.CONTENDERS, other, peers.Contender(other, "numpy", prepare))
    assert bench.main(["--quick", "--only", "elementwise_100000", "--peers", "hips"]) == code
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
    suites = suite("bench_workloads")
    works, replays = suites.Works(), suites.Replays()
    assert works.params == replays.params == list(WORKLOADS)
    for benchmark in (works, replays):
        benchmark.setup("rosenbrock")
    works.time_numpy_forward("rosenbrock")
    works.time_eager("rosenbrock")
    replays.time_compiled("rosenbrock")
    replays.time_recording("rosenbrock")


@pytest.mark.parametrize("measured", ["call", "scalar_instruction", "array_instruction", "two_threads"])
def test_replays_have_benchmarks(monkeypatch, measured):
    module = suite("bench_replay")
    quick = {"replay_call": (0,), "instructions": (0, 10, 500), "two_threads": ("rosenbrock", 0)}
    monkeypatch.setattr(module, "fresh", lambda name, *_: probes.PROBES[name](*quick[name]))
    assert numpy.isfinite(getattr(module.Overheads(), f"track_{measured}")())


def test_recording_and_memory_have_benchmarks(monkeypatch):
    module = suite("bench_replay")
    assert module.Recording().track_per_node(10**3) > 0
    assert module.Recording().track_eager_gradients(10**3) > 0
    monkeypatch.setattr(module, "fresh", lambda name, work, how, size: {"replay": 1, "eager": 2}[how] * size)
    assert module.Memory().track_peak("elementwise") == 0.5


# ---------------------------------------------------------------- figures in the documentation


def figures_of(names, **more):
    """What ``--json`` writes, with made-up figures."""
    works = [
        {
            "name": name,
            "title": WORKLOADS[name].title,
            "large": WORKLOADS[name].large,
            "forward_seconds": 1e-3,
            "ratios": {key: 0.1 + 0.2 * place for place, key in enumerate(peers.CONTENDERS)},
            "targets": {
                mode: {"must": target.must or 0.25, "aim": target.aim}
                for mode, target in WORKLOADS[name].targets.items()
            },
            "recording": 7.0,
            "python": ["sort"],
            "failures": {},
        }
        for name in names
    ]
    about = {"date": "2001-02-03", "processor": "Z80", "own loops": "none", "python": "3", "numpy": "2"}
    about["casadi"] = "3.8"
    return {"machine": about, "works": works, "overheads": {}} | more


def test_figures_become_tables():
    report = suite("report")
    text = report.full_report(figures_of(["rosenbrock", "hessian_dense"]))
    eager, compiled = (
        [line for line in part.splitlines() if line.startswith("| Rosen") or line.startswith("| Hess")]
        for part in text.split("### Compiled")
    )
    # large works are in the second table alone
    assert len(eager) == 1
    assert len(compiled) == 2
    assert eager[0].split(" | ")[1:5] == ["1,000.0", "2.00", "1.20", "**0.10**"]
    assert compiled[0].split(" | ")[1:7] == ["1,000.0", "0.35", "0.20", "**0.30**", "**0.50**", "0.10"]
    assert compiled[0].endswith("| must | 7.00 |")
    assert compiled[1].endswith("| no | 7.00 |")
    assert "rosenbrock: `sort`" in text
    assert "CasADi 3.8" in text


def test_figures_become_drawings(tmp_path):
    pytest.importorskip("matplotlib")
    plots = suite("plots")
    works = figures_of(["rosenbrock", "elementwise_10", "elementwise_100", "elementwise_1000"])["works"]
    del works[1]["ratios"]["casadi"]
    (axes,) = plots.by_size(works).axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert {
        "NumPy, forward pass alone",
        "autograd_c, compiled",
        "autograd_c, fastmath",
        "JAX jit",
    } <= lines.keys()
    assert list(lines["NumPy, forward pass alone"].get_xdata()) == [10, 100, 1000]
    assert list(lines["CasADi VM"].get_xdata()) == [100, 1000]
    numpy.testing.assert_allclose(lines["autograd_c, compiled"].get_ydata(), [3e4, 3e3, 3e2])

    (axes,) = plots.by_work(works).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        "rosenbrock",
        "elementwise_10",
        "elementwise_1000",
    ]
    ends = {round(bar.get_x() + bar.get_width(), 6) for bar in axes.patches}
    assert round(works[0]["ratios"][peers.REPLAYED], 6) in ends
