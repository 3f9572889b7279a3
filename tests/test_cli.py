"""The command `autograd-c`: which sub-command runs, what it says, its exit codes."""

import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from autograd_c import cli


@pytest.fixture
def run_command(monkeypatch):
    """Put a function in the place of both sub-commands; return what main does with its arguments."""

    def run(argv, command=lambda argv: 0):
        imported = []

        def import_module(name):
            imported.append(name)
            return SimpleNamespace(main=command)

        monkeypatch.setattr(cli.importlib, "import_module", import_module)
        return cli.main(argv), imported

    return run


def test_installed_command_is_main():
    (script,) = metadata.entry_points(group="console_scripts", name="autograd-c")
    assert script.load() is cli.main


@pytest.mark.parametrize("command", ["demo", "bench"])
def test_only_the_chosen_command_is_imported_and_gets_the_rest(run_command, command):
    seen = []
    code, imported = run_command([command, "--seed", "1", "--help"], lambda argv: seen.append(argv) or 7)
    assert (code, imported, seen) == (7, [f"autograd_c.{command}"], [["--seed", "1", "--help"]])


def test_arguments_of_the_process_are_the_default(run_command, monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "argv", ["autograd-c", "demo", "--no-plot"])
    run_command(None, lambda argv: seen.append(argv))
    assert seen == [["--no-plot"]]


def test_ctrl_c_ends_with_130_and_no_traceback(run_command, capsys):
    def interrupted(argv):
        raise KeyboardInterrupt

    assert run_command(["demo"], interrupted)[0] == 130
    assert capsys.readouterr().err == "\ninterrupted\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [([], "COMMAND"), (["train"], "'train'"), (["--verbose"], "COMMAND"), (["-x", "demo"], "COMMAND")],
)
def test_wrong_arguments_get_one_line_and_code_2(capsys, argv, said):
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    output = capsys.readouterr()
    assert ended.value.code == 2
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert output.err.startswith("autograd-c: ")
    assert said in output.err


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for name, (_, summary) in cli.COMMANDS.items():
        assert f"{name:<8}{summary}" in said


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"autograd-c {metadata.version('autograd-c')}\n"


def test_version_of_a_tree_that_is_not_installed(capsys, monkeypatch):
    def not_found(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(cli.metadata, "version", not_found)
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert "not installed" in capsys.readouterr().out


def test_python_dash_m_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "autograd_c", "demo", "--steps", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--steps" in done.stderr
