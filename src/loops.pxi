# Inner-loop access: NumPy's typed loops, found in the public struct of a ufunc, or ours in their place, and
# the floating-point flags that a direct call of one leaves behind.

cdef extern from "numpy/ufuncobject.h":
    ctypedef void (*Loop "PyUFuncGenericFunction")(
        char **args, const cnp.npy_intp *dims, const cnp.npy_intp *steps, void *data) noexcept nogil
    ctypedef struct PyUFuncObject:
        int nin
        int nout
        int nargs
        Loop *functions
        void **data
        int ntypes
        const char *name
        const char *types
        int core_enabled
    int PyUFunc_GiveFloatingpointErrors(const char *name, int errors) except -1

cdef extern from "loops.h":
    int fp_flags() noexcept nogil
    int fp_to_npy(int raw) noexcept nogil
    void fp_clear() noexcept nogil
    int unusual(double d) noexcept nogil
    ctypedef struct HidingLoop:
        Loop fn
        void *data
    void showing_flags(char **args, const cnp.npy_intp *dims, const cnp.npy_intp *steps,
                       void *data) noexcept nogil
    int hides_flags(HidingLoop loop, int operands, int width) noexcept
    double libm_pow(double x, double y) noexcept nogil
    void select_4(char **args, const cnp.npy_intp *dims, const cnp.npy_intp *steps, void *data) noexcept nogil
    void select_8(char **args, const cnp.npy_intp *dims, const cnp.npy_intp *steps, void *data) noexcept nogil
    void select_16(char **args, const cnp.npy_intp *dims, const cnp.npy_intp *steps,
                   void *data) noexcept nogil

cdef extern from "numpy/arrayscalars.h":
    ctypedef struct PyDoubleScalarObject:
        double obval
    ctypedef struct PyFloatScalarObject:
        float obval

cdef extern from "vm.h":
    ctypedef struct LoopRef "VmCall":
        Loop fn
        void *data

cdef extern from "wide.h":
    int wide, AVX2, AVX512
    void wide_setup(const char *path, int widest) noexcept
    LoopRef wide_loop(const char *name, char code, LoopRef numpy) noexcept
    LoopRef adding_product(char code) noexcept
    int product_suits(const cnp.npy_intp *dims) noexcept
    const char *const *wide_names
    ctypedef struct Matrix:
        char *data
        cnp.npy_intp rows, columns
        cnp.npy_intp row_step, column_step
    Matrix transposed(Matrix m) noexcept

cdef extern from "functions.h":
    const char *functions_used
    void functions_setup() noexcept
    LoopRef function_loop(const char *name, char code, LoopRef theirs) noexcept

# The widest instruction set that may be used, by the environment variable.
wide_setup(os.fsencode(np._core._multiarray_umath.__file__),
           {"0": 0, "avx2": AVX2}.get(os.environ.get("AUTOGRAD_C_WIDE"), AVX512))
functions_setup()


cdef set ufuncs_of_wide():
    """The ufuncs whose loops are ours where the processor can run them."""
    cdef set found = set()
    cdef int k = 0
    while wide_names[k] != NULL:
        found.add(getattr(np, wide_names[k].decode()))
        k += 1
    return found


cdef set wide_ufuncs = ufuncs_of_wide()


cdef int type_number(char code) noexcept:
    """NumPy's type number of the type codes that the compiled loops know, -1 for any other."""
    if code == b"d":
        return cnp.NPY_DOUBLE
    if code == b"f":
        return cnp.NPY_FLOAT
    if code == b"D":
        return cnp.NPY_CDOUBLE
    if code == b"F":
        return cnp.NPY_CFLOAT
    if code == b"?":
        return cnp.NPY_BOOL
    return -1


cdef inline char type_code(int number) noexcept nogil:
    """The type code of a type number; zero for a type that the compiled loops do not know."""
    if number == cnp.NPY_DOUBLE:
        return b"d"
    if number == cnp.NPY_FLOAT:
        return b"f"
    if number == cnp.NPY_CDOUBLE:
        return b"D"
    if number == cnp.NPY_CFLOAT:
        return b"F"
    return 0


cdef int item_size(char code) noexcept:
    if code == b"d":
        return 8
    if code == b"f":
        return 4
    if code == b"D":
        return 16
    if code == b"F":
        return 8
    return 1


cdef LoopRef find_loop(object ufunc, bytes inputs, char *output) except *:
    """The ufunc's loop whose inputs have exactly these type codes; `fn` is NULL if there is none.

    `output` receives the type code of the (single) result.
    """
    cdef PyUFuncObject *u = <PyUFuncObject *><PyObject *>ufunc
    cdef LoopRef ref
    cdef int k, j, result
    cdef bint same
    ref.fn = NULL
    ref.data = NULL
    if u.nout != 1 or u.nin != len(inputs) or u.functions == NULL:
        return ref
    for k in range(u.ntypes):
        same = True
        for j in range(u.nin):
            if u.types[k * u.nargs + j] != type_number(inputs[j]):
                same = False
                break
        if not same:
            continue
        result = u.types[k * u.nargs + u.nin]
        output[0] = b"?" if result == cnp.NPY_BOOL else type_code(result)
        if output[0] == 0:
            return ref
        ref.fn = u.functions[k]
        ref.data = u.data[k] if u.data != NULL else NULL
        return wide_loop(u.name, inputs[0], ref) if ufunc in wide_ufuncs else shown_loop(ufunc, ref, inputs)
    return ref


cdef set numpy_ufuncs = {value for value in vars(np).values() if isinstance(value, np.ufunc)}
cdef dict HIDING = {}           # (function, data) of a loop -> the address of its HidingLoop, or 0


cdef LoopRef shown_loop(object ufunc, LoopRef loop, bytes inputs) except *:
    """A loop of NumPy's that raises the flags that `fp_flags` looks at."""
    cdef HidingLoop found
    cdef HidingLoop *kept
    cdef tuple key = (<size_t>loop.fn, <size_t>loop.data)
    if inputs not in (b"d", b"dd", b"f", b"ff") or (<PyUFuncObject *><PyObject *>ufunc).core_enabled \
            or ufunc not in numpy_ufuncs:
        return loop
    if key not in HIDING:
        found.fn = loop.fn
        found.data = loop.data
        HIDING[key] = 0
        if hides_flags(found, <int>len(inputs), item_size(inputs[0])):
            kept = <HidingLoop *>PyMem_Malloc(sizeof(HidingLoop))   # programs use it as long as they like
            if kept == NULL:
                raise MemoryError()
            kept[0] = found
            HIDING[key] = <size_t>kept
    if HIDING[key]:
        loop.fn = <Loop>showing_flags
        loop.data = <void *><size_t>HIDING[key]
    return loop


cdef inline object float64(double d):
    """A fresh `np.float64`, without passing through Python."""
    cdef object o = (<PyTypeObject *>np_float64).tp_alloc(<type>np_float64, 0)
    (<PyDoubleScalarObject *><PyObject *>o).obval = d
    return o


cdef int give_errors(str name, int raw) except -1:
    """Reports raised flags as NumPy does: a warning, an exception or nothing, by `np.errstate`."""
    fp_clear()
    return PyUFunc_GiveFloatingpointErrors(PyUnicode_AsUTF8(name), fp_to_npy(raw))


# --- memory ------------------------------------------------------------------------------------------

cdef extern from "memory.h":
    int make_keeping_capsule() except -1
    object new_array(int ndim, cnp.npy_intp *dims, int number, cnp.npy_intp item)
    void *table_malloc(size_t size) noexcept
    void *table_calloc(size_t count, size_t size) noexcept
    void *table_realloc(void *table, size_t size) noexcept
    void table_free(void *table) noexcept


cdef inline cnp.ndarray empty_like(cnp.ndarray a):
    """A fresh C-ordered array of the same shape and type."""
    return new_array(cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), cnp.PyArray_TYPE(a), cnp.PyArray_ITEMSIZE(a))


make_keeping_capsule()
