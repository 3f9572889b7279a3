# What the functions are for arrays they are for boxes, so the types are NumPy's own.

from numpy.linalg import *
from numpy.linalg import LinAlgError as LinAlgError
