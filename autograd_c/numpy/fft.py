"""``numpy.fft`` as it is, for plain arrays; a traced value is refused with an error that says so."""

from numpy.fft import *  # noqa: F403
from numpy.fft import __all__  # noqa: F401
