"""The command `autograd-c`: picks the sub-command and imports only that one."""

import argparse
import importlib
import sys
from importlib import metadata

COMMANDS = {
    "demo": ("autograd_c.demo", "train a classifier of handwritten digits and check its gradient"),
    "bench": ("autograd_c.bench", "measure the cost of gradients on this machine"),
}


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line on standard error, without the usage before it."""

    def error(self, message):
        """Print `message` after the command's name and leave with exit code 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv=None):
    """Run `autograd-c`.

    Parameters
    ----------
    argv : list of str, optional
        The arguments after the command's name; those of the process when not given.

    Returns
    -------
    int
        The exit code: 0 when all is well, 2 for a wrong argument, 130 after Ctrl-C, 1 for any other failure.
    """
    argv = sys.argv[1:] if argv is None else argv
    command = _parser().parse_args(argv[:1]).command
    module = importlib.import_module(COMMANDS[command][0])
    try:
        return module.main(argv[1:])
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


def _parser():
    commands = "\n".join(f"  {name:<8}{summary}" for name, (_, summary) in COMMANDS.items())
    parser = OneLineParser(
        prog="autograd-c",
        description="Derivatives of ordinary NumPy code by a compiled tape.",
        usage="autograd-c COMMAND [OPTIONS]",
        epilog=f"commands:\n{commands}\n\n`autograd-c COMMAND --help` lists a command's options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"autograd-c {_version()}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="demo or bench")
    return parser


def _version():
    try:
        return metadata.version("autograd-c")
    except metadata.PackageNotFoundError:
        return "(a source tree that is not installed)"
