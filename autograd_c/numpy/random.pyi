# The types are NumPy's own.

from numpy.random import *
