"""``numpy.random`` as it is: random numbers are constants of a trace."""

from numpy.random import *  # noqa: F403
from numpy.random import __all__  # noqa: F401
