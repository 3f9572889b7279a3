# What NumPy's functions are for arrays they are for boxes, so the types are NumPy's own.

from numpy import *
