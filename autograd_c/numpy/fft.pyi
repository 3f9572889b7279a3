# The types are NumPy's own.

from numpy.fft import *
