# Linear algebra without Python: routines that the replay machine calls, on SciPy's BLAS and LAPACK and on the
# inner loops of `numpy.linalg`.
#
# A routine returns 0 when it has done its work. Any other answer, for a matrix that is singular, say, makes
# the machine run the primitive itself, which raises as it always does.
#
# Matrices are in C order. BLAS and LAPACK count columns first, so they see the transposes: "upper" stands
# for lower and the left side for the right one.

from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer

cdef extern from "numpy/ufuncobject.h":
    enum:
        NPY_FPE_INVALID

ctypedef fused real:
    float
    double

ctypedef void (*Symm)(char *side, char *uplo, int *m, int *n, void *alpha, void *a, int *lda, void *b,
                      int *ldb, void *beta, void *c, int *ldc) noexcept nogil
ctypedef void (*Gemm)(char *transa, char *transb, int *m, int *n, int *k, void *alpha, void *a, int *lda,
                      void *b, int *ldb, void *beta, void *c, int *ldc) noexcept nogil
ctypedef void (*Trsm)(char *side, char *uplo, char *trans, char *diag, int *m, int *n, void *alpha, void *a,
                      int *lda, void *b, int *ldb) noexcept nogil
ctypedef void (*Trsv)(char *uplo, char *trans, char *diag, int *n, void *a, int *lda, void *x,
                      int *step) noexcept nogil
ctypedef void (*Potrf)(char *uplo, int *n, void *a, int *lda, int *info) noexcept nogil


cdef struct Blas:
    # Those of one precision.
    Gemm gemm
    Symm symm
    Trsm trsm, trmm
    Trsv trsv
    Potrf potrf, potri


cdef Blas BLAS[2]       # single, double
cdef bint blas_loaded = False


cdef void *c_function(object module, str name) except NULL:
    cdef object capsule = module.__pyx_capi__[name]
    return PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule))


cdef int load_blas() except -1:
    """Finds the functions once: SciPy need not be imported by those who do without."""
    global blas_loaded
    cdef Blas *b
    cdef str c
    if blas_loaded:
        return 0
    from scipy.linalg import cython_blas, cython_lapack
    for i, c in enumerate("sd"):
        b = &BLAS[<int>i]
        b.gemm = <Gemm>c_function(cython_blas, c + "gemm")
        b.symm = <Symm>c_function(cython_blas, c + "symm")
        b.trsm = <Trsm>c_function(cython_blas, c + "trsm")
        b.trmm = <Trsm>c_function(cython_blas, c + "trmm")
        b.trsv = <Trsv>c_function(cython_blas, c + "trsv")
        b.potrf = <Potrf>c_function(cython_lapack, c + "potrf")
        b.potri = <Potrf>c_function(cython_lapack, c + "potri")
    blas_loaded = True
    return 0


cdef LoopRef loop_of_type(object ufunc, char code) except *:
    """The loop of which all arguments and results have that type code."""
    cdef PyUFuncObject *u = <PyUFuncObject *><PyObject *>ufunc
    cdef LoopRef found
    cdef int k, j
    for k in range(u.ntypes):
        if all([u.types[k * u.nargs + j] == type_number(code) for j in range(u.nargs)]):
            found.fn = u.functions[k]
            found.data = u.data[k] if u.data != NULL else NULL
            return found
    raise SystemError("%s has no loop for %c" % (ufunc, code))


cdef inline Blas *blas_of(real *x) noexcept nogil:
    return &BLAS[1] if real is double else &BLAS[0]


# --- triangles ------------------------------------------------------------------------------------------

cdef bint is_triangle(real *a, Py_ssize_t row, Py_ssize_t col, Py_ssize_t n) noexcept nogil:
    """Whether all items above the diagonal are 0; `row` and `col` count items."""
    cdef Py_ssize_t i, j
    for i in range(n):
        for j in range(i + 1, n):
            if a[i * row + j * col] != 0.0:
                return False
    return True


cdef bint is_regular(real *a, Py_ssize_t row, Py_ssize_t col, Py_ssize_t n) noexcept nogil:
    """Whether no item on the diagonal is 0."""
    cdef Py_ssize_t i
    for i in range(n):
        if a[i * (row + col)] == 0.0:
            return False
    return True


cdef bint is_finite(real *x, Py_ssize_t row, Py_ssize_t col, Py_ssize_t n, Py_ssize_t m) noexcept nogil:
    """Whether there is no infinity and no NaN: these times 0 are NaN."""
    cdef Py_ssize_t i, j
    cdef real[4] sums = [0.0, 0.0, 0.0, 0.0]
    for i in range(n):
        for j in range(m):
            sums[j & 3] += x[i * row + j * col] * <real>0.0
    return (sums[0] + sums[1]) + (sums[2] + sums[3]) == 0.0


cdef void copy_matrix(real *to, real *x, Py_ssize_t row, Py_ssize_t col, Py_ssize_t n,
                      Py_ssize_t m) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(n):
        if col == 1:
            memcpy(to + i * m, x + i * row, m * sizeof(real))
        else:
            for j in range(m):
                to[i * m + j] = x[i * row + j * col]


cdef void mirror(real *a, Py_ssize_t n, real factor) noexcept nogil:
    """The upper triangle becomes the lower one, all times a factor; in squares that stay in the cache."""
    cdef Py_ssize_t i, j, top, left
    cdef real x
    for top in range(0, n, 32):
        for left in range(0, top + 1, 32):
            for i in range(top, min(top + 32, n)):
                for j in range(left, min(left + 32, i + 1)):
                    x = factor * a[i * n + j]
                    a[i * n + j] = x
                    a[j * n + i] = x


cdef int substitute(real *a, Py_ssize_t row, Py_ssize_t col, real *x, int n, int m, bint lower, bint trans,
                    bint unit) noexcept nogil:
    """Solves ``op(a) y = x`` for the (n, m) matrix `x`, in its place; one of the strides of `a` is 1."""
    cdef Blas *b = blas_of(x)
    cdef real one = 1.0
    cdef int lda, step = 1
    cdef char uplo, side = b"R", normal = b"N", other = b"T", diag = b"U" if unit else b"N"
    if not unit and not is_regular(a, row, col, n):
        return 1
    if col != 1:
        lower = not lower
        trans = not trans
        row = col
    lda = <int>max(row, n, 1)
    uplo = b"U" if lower else b"L"
    if m == 1:
        b.trsv(&uplo, &normal if trans else &other, &diag, &n, a, &lda, x, &step)
    else:
        b.trsm(&side, &uplo, &other if trans else &normal, &diag, &m, &n, &one, a, &lda, x, &m)
    return 0


# --- routines -------------------------------------------------------------------------------------------
#
# dims: how many matrices, their order, columns of the right-hand side, bytes of an item, flags
# steps: for the matrix and the right-hand side each, items from one to the next, from row to row and from
#        column to column; the result is in C order, one behind the other

cdef enum:
    LOWER_TRIANGLE = 1
    TRANSPOSED = 2
    UNIT_DIAGONAL = 4
    CHECK_FINITE = 8


cdef int cholesky_of(const LoopCall *c, real *a, real *out) noexcept nogil:
    cdef int info = 0, n = <int>c.dims[1]
    cdef char uplo = b"U"
    cdef Py_ssize_t i, k
    for k in range(c.dims[0]):
        for i in range(n):
            copy_matrix(out + i * n, a + i * c.steps[1], c.steps[1], c.steps[2], 1, i + 1)
            memset(out + i * n + i + 1, 0, (n - i - 1) * sizeof(real))
        blas_of(out).potrf(&uplo, &n, out, &n, &info)
        if info != 0:
            return 1
        a += c.steps[0]
        out += n * n
    return 0


cdef int cholesky_routine(const LoopCall *c, char **args) noexcept nogil:
    if c.dims[3] == 8:
        return cholesky_of(c, <double *>args[0], <double *>args[1])
    return cholesky_of(c, <float *>args[0], <float *>args[1])


cdef int triangular_of(const LoopCall *c, real *a, real *b, real *out) noexcept nogil:
    cdef int n = <int>c.dims[1], m = <int>c.dims[2], how = <int>c.dims[4], failed = 0
    cdef Py_ssize_t k
    for k in range(c.dims[0]):
        if how & CHECK_FINITE and not (is_finite(a, c.steps[1], c.steps[2], n, n)
                                       and is_finite(b, c.steps[4], c.steps[5], n, m)):
            return 1
        copy_matrix(out, b, c.steps[4], c.steps[5], n, m)
        failed = substitute(a, c.steps[1], c.steps[2], out, n, m, how & LOWER_TRIANGLE, how & TRANSPOSED,
                            how & UNIT_DIAGONAL)
        if failed:
            return failed
        a += c.steps[0]
        b += c.steps[3]
        out += n * m
    return 0


cdef int triangular_routine(const LoopCall *c, char **args) noexcept nogil:
    if c.dims[3] == 8:
        return triangular_of(c, <double *>args[0], <double *>args[1], <double *>args[2])
    return triangular_of(c, <float *>args[0], <float *>args[1], <float *>args[2])


cdef int loop_failed(const LoopCall *c, char **args, const cnp.npy_intp *dims,
                     const cnp.npy_intp *steps) noexcept nogil:
    """Calls an inner loop of `numpy.linalg`, which raises the flag of an invalid operation if it fails."""
    fp_clear()
    c.loop.fn(args, dims, steps, c.loop.data)
    return fp_to_npy(fp_flags()) & NPY_FPE_INVALID


cdef int solve_of(const LoopCall *c, real *a, real *b, real *out) noexcept nogil:
    """By substitution where the matrix is a triangle, as factors are."""
    cdef int n = <int>c.dims[1], m = <int>c.dims[2], w = sizeof(real)
    cdef Py_ssize_t k, row = c.steps[1], col = c.steps[2]
    cdef bint lower
    cdef char *args[3]
    cdef cnp.npy_intp[3] dims = [1, n, m]
    cdef cnp.npy_intp[9] steps = [0, 0, 0, row * w, col * w, c.steps[4] * w, c.steps[5] * w, m * w, w]
    for k in range(c.dims[0]):
        lower = is_triangle(a, row, col, n)
        if lower or is_triangle(a, col, row, n):
            copy_matrix(out, b, c.steps[4], c.steps[5], n, m)
            if substitute(a, row, col, out, n, m, lower, False, False):
                return 1
        else:
            args[0] = <char *>a
            args[1] = <char *>b
            args[2] = <char *>out
            if loop_failed(c, args, dims, steps):
                return 1
        a += c.steps[0]
        b += c.steps[3]
        out += n * m
    return 0


cdef int solve_routine(const LoopCall *c, char **args) noexcept nogil:
    if c.dims[3] == 8:
        return solve_of(c, <double *>args[0], <double *>args[1], <double *>args[2])
    return solve_of(c, <float *>args[0], <float *>args[1], <float *>args[2])


cdef bint is_symmetric(real *a, Py_ssize_t row, Py_ssize_t col, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(n):
        for j in range(i):
            if a[i * row + j * col] != a[j * row + i * col]:
                return False
    return True


cdef int inverse_of(const LoopCall *c, real *a, real *out) noexcept nogil:
    """Of positive definite matrices, as those of log-likelihoods are, in half the time."""
    cdef int n = <int>c.dims[1], w = sizeof(real), info = 1
    cdef char uplo = b"U"
    cdef Py_ssize_t k, row = c.steps[1], col = c.steps[2]
    cdef char *args[2]
    cdef cnp.npy_intp[2] dims = [1, n]
    cdef cnp.npy_intp[6] steps = [0, 0, row * w, col * w, n * w, w]
    for k in range(c.dims[0]):
        info = 1
        if is_symmetric(a, row, col, n):
            copy_matrix(out, a, row, col, n, n)
            blas_of(out).potrf(&uplo, &n, out, &n, &info)
        if info == 0:
            blas_of(out).potri(&uplo, &n, out, &n, &info)
            mirror(out, n, <real>1.0)
        if info != 0:
            args[0] = <char *>a
            args[1] = <char *>out
            if loop_failed(c, args, dims, steps):
                return 1
        a += c.steps[0]
        out += n * n
    return 0


cdef int inverse_routine(const LoopCall *c, char **args) noexcept nogil:
    if c.dims[3] == 8:
        return inverse_of(c, <double *>args[0], <double *>args[1])
    return inverse_of(c, <float *>args[0], <float *>args[1])


cdef int loop_routine(const LoopCall *c, char **args) noexcept nogil:
    """An inner loop of `numpy.linalg` with dims and steps as it wants them."""
    return loop_failed(c, args, c.dims, c.steps)


# --- the adjoint of Cholesky's factorisation ------------------------------------------------------------

cdef enum:
    FACTOR_BLOCK = 40       # rows


cdef void adjoint_block(real *factor, real *g, int size, int n) noexcept nogil:
    """Twice the result for one block: ``L^-T Q L^-1``, where Q is ``L^T g`` below and mirrored above."""
    cdef Blas *b = blas_of(g)
    cdef real one = 1.0
    cdef char left = b"L", right = b"R", upper = b"U", normal = b"N", other = b"T"
    cdef Py_ssize_t i, j
    b.trmm(&right, &upper, &other, &normal, &size, &size, &one, factor, &n, g, &n)
    for i in range(size):
        for j in range(i):
            g[j * n + i] = g[i * n + j]
    b.trsm(&right, &upper, &other, &normal, &size, &size, &one, factor, &n, g, &n)
    b.trsm(&left, &upper, &normal, &normal, &size, &size, &one, factor, &n, g, &n)


cdef void cholesky_adjoint_of(real *factor, real *g, Py_ssize_t row, Py_ssize_t col, real *out,
                              int n) noexcept nogil:
    """The cotangent of ``factor @ factor.T`` from that of the lower factor.

    The formula of a matrix cut in four, for the last block of columns first. The factor is cut into
    ``[[D, 0], [C, E]]``, the left part of its cotangent into `g_D` and `g_C`, and `X` is twice the result for
    the lower right part. Then twice the result has ``Y = (g_C - X C) D^-1`` on the lower left, and on the
    upper left what ``D D^T`` alone gets from ``g_D - Y^T C``. Nearly all of it is products, and it costs two
    or three factorisations; the formula for the whole matrix costs nine.

    Only the lower triangle of the result is used on the way.
    """
    cdef Blas *b = blas_of(g)
    cdef real one = 1.0, minus = -1.0
    cdef char left = b"L", right = b"R", upper = b"U", normal = b"N", other = b"T"
    cdef int blocks = (n + FACTOR_BLOCK - 1) // FACTOR_BLOCK, size, m
    cdef Py_ssize_t i, start
    cdef real *diagonal
    cdef real *bar
    size = (n + blocks - 1) // blocks if blocks else 1
    for i in range(n):
        copy_matrix(out + i * n, g + i * row, row, col, 1, min(n, (i // size + 1) * size))
    start = (blocks - 1) * size
    while start >= 0:
        m = <int>max(n - start - size, 0)
        diagonal = factor + start * (n + 1)
        bar = out + start * (n + 1)
        if m:
            b.symm(&right, &upper, &size, &m, &minus, bar + size * (n + 1), &n, diagonal + size * n, &n,
                   &one, bar + size * n, &n)
            b.trsm(&left, &upper, &normal, &normal, &size, &m, &one, diagonal, &n, bar + size * n, &n)
            b.gemm(&normal, &other, &size, &size, &m, &minus, diagonal + size * n, &n, bar + size * n, &n,
                   &one, bar, &n)
        adjoint_block(diagonal, bar, <int>min(size, n - start), n)
        start -= size
    mirror(out, n, <real>0.5)


cdef int adjoint_of(const LoopCall *c, real *factor, real *g, real *out) noexcept nogil:
    cdef Py_ssize_t k, size = c.dims[1] * c.dims[1]
    for k in range(c.dims[0]):
        cholesky_adjoint_of(factor + k * size, g + k * c.steps[3], c.steps[4], c.steps[5], out + k * size,
                            <int>c.dims[1])
    return 0


cdef int adjoint_routine(const LoopCall *c, char **args) noexcept nogil:
    if c.dims[3] == 8:
        return adjoint_of(c, <double *>args[0], <double *>args[1], <double *>args[2])
    return adjoint_of(c, <float *>args[0], <float *>args[1], <float *>args[2])


def cholesky_adjoint(cnp.ndarray factor, cnp.ndarray g):
    """The cotangent of ``factor @ factor.T`` from `g`, that of the lower factor: two C-contiguous matrices.

    Both are of the same order and of one dtype, float64 or float32.
    """
    cdef cnp.ndarray out
    cdef LoopCall c
    cdef char *args[3]
    if factor.ndim != 2 or shape_tuple(factor) != shape_tuple(g) or factor.dtype != g.dtype \
            or factor.dtype.char not in "fd" or cnp.PyArray_DIM(factor, 0) != cnp.PyArray_DIM(factor, 1) \
            or not factor.flags.c_contiguous or not g.flags.c_contiguous:
        raise TypeError("cholesky_adjoint: two C-contiguous square matrices of one real dtype are needed")
    load_blas()
    out = np_empty(shape_tuple(factor), factor.dtype)
    c.dims[0] = 1
    c.dims[1] = cnp.PyArray_DIM(factor, 0)
    c.dims[3] = cnp.PyArray_ITEMSIZE(factor)
    c.steps[4] = c.dims[1]
    c.steps[5] = 1
    args[0] = <char *>cnp.PyArray_DATA(factor)
    args[1] = <char *>cnp.PyArray_DATA(g)
    args[2] = <char *>cnp.PyArray_DATA(out)
    adjoint_routine(&c, args)
    return out
