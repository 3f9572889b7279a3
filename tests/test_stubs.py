"""The types of the public surface: clean, true to the modules, and useful to a typed program."""

import os
import runpy
import subprocess
import sys
import typing
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "autograd_c"
STUBS = sorted(str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.pyi"))
SAMPLE = ROOT / "tests" / "typing" / "sample.py"

# Modules that need no stub: they hold names only, or are commands.
WITHOUT = {"__init__", "__main__", "cli", "demo"}

pytest.importorskip("mypy")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run one of mypy's programs from the root; its output where it fails, else nothing."""
    cache = tmp_path_factory.mktemp("mypy")

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=os.environ | {"MYPY_CACHE_DIR": str(cache)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.stdout if done.returncode else ""

    return run


def test_every_public_module_has_a_stub():
    """A subpackage that has one stub has them all; so has the package itself."""
    folders = {PACKAGE, *(ROOT / stub for stub in map(os.path.dirname, STUBS))}
    missing = [
        str(module.relative_to(ROOT))
        for folder in folders
        for module in folder.glob("*.py")
        if module.stem not in WITHOUT and not module.with_suffix(".pyi").exists()
    ]
    assert not missing


def test_stubs_are_clean(run):
    assert run("mypy", *STUBS) == ""


def test_stubs_agree_with_the_modules(run):
    arguments = ["--mypy-config-file", "pyproject.toml", "--allowlist", "tests/stubs.allow", "--concise"]
    assert run("mypy.stubtest", "autograd_c", *arguments) == ""


def test_a_typed_program_passes(run):
    assert run("mypy", str(SAMPLE)) == ""


def test_mistakes_are_found(run):
    assert run("mypy", "tests/typing/refused.py") == ""


def test_the_types_hold_at_run_time(monkeypatch):
    """The typed program runs, and each value is of the type that it is said to have."""
    checked = []

    def assert_type(value, expected):
        assert has_type(value, expected), f"{value!r} is not of type {expected}"
        checked.append(expected)
        return value

    monkeypatch.setattr(typing, "assert_type", assert_type)
    runpy.run_path(str(SAMPLE), run_name="__main__")
    assert len(checked) > 30


def has_type(value, expected):
    """`isinstance` for a few generic types too; what is in arrays and dicts is not looked at."""
    if expected is typing.Any:
        return True
    if expected is None:
        return value is None
    origin, arguments = typing.get_origin(expected) or expected, typing.get_args(expected)
    if origin is not tuple or arguments[-1:] == (Ellipsis,):
        return isinstance(value, origin)
    return isinstance(value, tuple) and len(value) == len(arguments) and all(map(has_type, value, arguments))
