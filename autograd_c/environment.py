"""What a function reads besides its arguments, for the replay of compiled functions.

A program that was recorded is valid as long as the function would read the same. `Environment`, which is
compiled (`src/environment.pxi`), walks from a function through closure cells, globals, default arguments,
bound objects and the functions that it calls, and lists every place where it found something, with what it
found. Before each replay the compiled core looks at all those places again (`reads`): they must hold the
identical objects, or equal numbers.

Of an array the place counts, not what is in it: programs read arrays where they are. Where a recording holds
something that may have been *computed* from an array, the array's bytes are compared as well (see
`autograd_c.replay`).

What is not walked: the standard library, NumPy, SciPy and other installed packages, attributes that the code
does not name, and the inside of objects that keep their state in C. Where all of that is known to depend on
nothing else (`autograd_c.known`), so does the function.
"""

import functools
import os
import random
import sys
import types

import numpy as np

from ._core import Environment, hooks, owning_array
from .known import is_known_code

__all__ = ["Environment", "owning_array", "same_bytes"]

_CLOSED = {"numpy", "scipy", "autograd_c", "builtins", "autograd"} | set(sys.stdlib_module_names) - {
    "__main__"
}
# Parts of this package that use it as its users do.
_PROGRAMS = ("autograd_c.bench", "autograd_c.demo")


def same_bytes(a, b):
    """Tell whether two arrays are of one shape and dtype and hold the same bits; of objects they do not."""
    alike = a.shape == b.shape and a.dtype == b.dtype and not a.dtype.hasobject
    return alike and a.tobytes() == b.tobytes()


def _is_closed(module, root):
    """Whether code of this module is a library's, for a function of the module `root`."""
    if module == root:
        return False
    top = module.partition(".")[0]
    if top in _CLOSED:
        return not module.startswith(_PROGRAMS)
    return _is_installed(top) and top != (root or "").partition(".")[0]


@functools.cache
def _is_installed(top):
    """Whether a top-level module comes from a folder of installed packages."""
    path = getattr(sys.modules.get(top), "__file__", None) or ""
    return any(part in ("site-packages", "dist-packages") for part in path.split(os.sep))


def _read_code(code):
    """What a code object and those inside it have: names that they use, in order, numbers written in them.

    And whether all of them are known to reach out by known names only.
    """
    names, literals, known = set(code.co_names), set(), is_known_code(code)
    pending = list(code.co_consts)
    while pending:
        item = pending.pop()
        if isinstance(item, types.CodeType):
            inner_names, inner_literals, inner_known = _read_code(item)
            names.update(inner_names)
            literals |= inner_literals
            known = known and inner_known
        elif isinstance(item, (tuple, frozenset)):
            pending.extend(item)
        elif isinstance(item, (int, float, complex)):
            literals.add(item)
    return tuple(sorted(names)), frozenset(literals), known


def _random_state(generators, draws):
    """The states of some sources of random numbers, and of those that all share where a function `draws`."""
    states = [_state_of(generator) for generator in generators]
    if draws:
        states += [repr(np.random.get_state(legacy=False)), random.getstate()]
    return states


def _state_of(generator):
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return repr(generator.get_state())
    return repr(generator.bit_generator.state)


hooks["is_closed"] = _is_closed
hooks["read_code"] = _read_code
hooks["random_state"] = _random_state
