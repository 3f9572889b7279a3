"""What is left of NumPy's namespace: functions without a derivative, and those that no traced value reaches.

A public function of NumPy is a primitive or made of primitives, or declared constant, or refuses a traced
value, or stands in `UNTOUCHED`. The tests enumerate the namespace; nothing else is allowed.
"""

import numpy as np

import autograd_c.numpy as anp

from ..extend import call, composite, constant, refuse

# Functions that stay NumPy's own: they take no array of numbers that could be traced, or only look at its
# type. Where one of them is given a traced value after all, NumPy's dispatch or the box itself raises.
UNTOUCHED = {
    "settings and information": """
        get_include get_printoptions getbufsize geterr geterrcall info printoptions set_printoptions
        setbufsize seterr seterrcall show_config show_runtime test
    """,
    "files and buffers": """
        from_dlpack frombuffer fromfile fromregex fromstring genfromtxt load loadtxt save savetxt savez
        savez_compressed
    """,
    "types": """
        isdtype issubdtype iterable mintypecode promote_types typename
    """,
    "dates": """
        busday_count busday_offset datetime_as_string datetime_data is_busday
    """,
    "integers: shapes, indices, bits and text": """
        base_repr binary_repr broadcast_shapes diag_indices indices mask_indices packbits ravel_multi_index
        tril_indices triu_indices unpackbits unravel_index
    """,
    "made of integers": """
        bartlett blackman hamming hanning empty eye identity kaiser ones tri zeros
    """,
    "text": """
        format_float_positional format_float_scientific
    """,
    "functions and iterators": """
        frompyfunc nested_iters
    """,
}


def untouched():
    """The names of all functions that stay NumPy's own."""
    return {name for names in UNTOUCHED.values() for name in names.split()}


constant(np.isin, np.isscalar, np.shares_memory, np.may_share_memory)
refuse("a matrix is no array; use np.array or np.block, and @ for the product", np.asmatrix, np.bmat)
refuse("two values are equal by coincidence only; use x[np.isin(x, y)] for those of x", np.intersect1d)


# --- set operations, as NumPy puts them together -----------------------------------------------------


def _unique(x, assume_unique):
    return anp.ravel(x) if assume_unique else anp.unique(x)


@composite(np.union1d, examples=(lambda x: call(x(3), x(2, 2)),))
def union1d(ar1, ar2):
    """All values of both arrays, sorted."""
    return anp.unique(anp.concatenate((ar1, ar2), axis=None))


@composite(np.setxor1d, examples=(lambda x: call(x(3), x(2)),))
def setxor1d(ar1, ar2, assume_unique=False):
    """The values that are in one array only, sorted."""
    both = anp.sort(anp.concatenate((_unique(ar1, assume_unique), _unique(ar2, assume_unique))))
    if both.size == 0:
        return both
    new = np.concatenate(([True], both[1:] != both[:-1], [True]))
    return both[new[1:] & new[:-1]]


@composite(np.setdiff1d, examples=(lambda x: call(x(4), x(2)),))
def setdiff1d(ar1, ar2, assume_unique=False):
    """The values of the first array that are not in the second, sorted."""
    if not assume_unique:
        ar1, ar2 = anp.unique(ar1), anp.unique(ar2)
    return anp.ravel(ar1)[anp.isin(ar1, ar2, assume_unique=True, invert=True)]
