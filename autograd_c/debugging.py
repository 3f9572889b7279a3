"""Debug mode: the reverse pass checks what it reads and says where it came from.

The tape keeps references, not copies, of the arrays that the derivatives need. An array that is changed in
place between its use and the reverse pass makes the gradient wrong. In the default mode this goes unnoticed,
since noticing it costs a pass over every array. In debug mode each kept array has a check sum, and each entry
of the tape remembers the line of the program that recorded it.
"""

import functools
import os

from ._core import set_debug

__all__ = ["debug"]

VARIABLE = "AUTOGRAD_C_DEBUG_TAPE"


class debug:
    """Switch debug mode on or off, for the whole process or for a block.

    In debug mode an array that the tape still needs and that was changed in place raises RuntimeError in the
    reverse pass, and errors and floating-point warnings of the reverse pass name the line of the forward pass
    that recorded the entry. It takes time and memory: use it to look for a mistake. The environment variable
    ``AUTOGRAD_C_DEBUG_TAPE=1`` switches it on from the start.

    Parameters
    ----------
    on : bool, optional
        True to switch it on, False to switch it off.

    Notes
    -----
    The call alone takes effect at once and lasts. Used in a ``with`` statement, or as the decorator of a
    function, it restores the mode of before at the end. The mode belongs to the process, not to the thread.
    Only what is recorded in debug mode is checked.

    Examples
    --------
    >>> import numpy
    >>> import autograd_c.numpy as np
    >>> from autograd_c import grad
    >>> from autograd_c.debugging import debug
    >>> weights = numpy.ones(3)
    >>> def loss(x):
    ...     y = np.sum(weights * x)
    ...     weights[0] = 2.0
    ...     return y
    >>> with debug():
    ...     grad(loss)(numpy.ones(3))
    Traceback (most recent call last):
    ...
    RuntimeError: an array that the derivative of multiply needs was changed in place after it was used, ...
    """

    def __init__(self, on=True):
        self._on = bool(on)
        self._before = set_debug(self._on)

    def __enter__(self):
        set_debug(self._on)
        return self

    def __exit__(self, *error):
        set_debug(self._before)

    def __call__(self, fun):
        """Decorate a function: it runs in this mode."""
        set_debug(self._before)  # only while the function runs

        @functools.wraps(fun)
        def debugged(*args, **kwargs):
            with debug(self._on):
                return fun(*args, **kwargs)

        return debugged

    def __repr__(self):
        return f"<debug mode {'on' if self._on else 'off'}>"


def switch_by_environment():
    """Follows the environment variable; called once, on import."""
    if os.environ.get(VARIABLE, "") not in ("", "0"):
        set_debug(True)


switch_by_environment()
