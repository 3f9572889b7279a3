/* What the Cython core needs from C: floating-point status flags in the order of
   NumPy's NPY_FPE_* bits, and the one elementwise loop that NumPy has no ufunc for. */
#ifndef AUTOGRAD_C_LOOPS_H
#define AUTOGRAD_C_LOOPS_H

#include <Python.h>
#include <numpy/npy_common.h>
#include <fenv.h>
#include <math.h>
#include <string.h>

/* Where Cython's code handles an exception, it calls this. That it is rare lets the compiler move all that leads
   there out of the way: what runs once, such as the recording of a function, has to fetch less code. */
#if defined(__GNUC__) && defined(CYTHON_HEX_VERSION) && CYTHON_HEX_VERSION < 0x04000000
static void __Pyx_AddTraceback(const char *, int, int, const char *) __attribute__((cold));
#endif

#if defined(__SSE2__) || defined(_M_X64)
#include <xmmintrin.h>
/* MXCSR: invalid 1, denormal 2, divide 4, overflow 8, underflow 16, inexact 32. */
static inline int fp_flags(void) {
    return (int)(_mm_getcsr() & 0x1D);
}
static inline int fp_to_npy(int raw) {
    return ((raw & 4) ? 1 : 0) | ((raw & 8) ? 2 : 0) | ((raw & 16) ? 4 : 0) | ((raw & 1) ? 8 : 0);
}
static inline void fp_clear(void) {
    _mm_setcsr(_mm_getcsr() & ~0x3Fu);
}
static inline void fp_raise(int raw) {
    _mm_setcsr(_mm_getcsr() | (unsigned int)raw);
}
#else
static inline int fp_flags(void) {
    return fetestexcept(FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INVALID);
}
static inline int fp_to_npy(int raw) {
    return ((raw & FE_DIVBYZERO) ? 1 : 0) | ((raw & FE_OVERFLOW) ? 2 : 0) |
           ((raw & FE_UNDERFLOW) ? 4 : 0) | ((raw & FE_INVALID) ? 8 : 0);
}
static inline void fp_clear(void) {
    feclearexcept(FE_ALL_EXCEPT);
}
static inline void fp_raise(int raw) {
    feraiseexcept(raw);
}
#endif

/* Some of NumPy's loops raise flags by the C library's feraiseexcept, which on x86-64 may take those of the x87
   unit: glibc's does for an overflow. Looking there takes ten times as long as looking at MXCSR, so such loops
   are found once and replaced by `showing_flags`, which hands their flags on. */
typedef struct {
    void (*fn)(char **, const npy_intp *, const npy_intp *, void *);
    void *data;
} HidingLoop;

#if defined(__x86_64__) && defined(__GNUC__)
/* The bits are those of MXCSR. */
static inline int x87_flags(void) {
    unsigned short status;
    __asm__ volatile("fnstsw %0" : "=a"(status));
    return status & 0x1D;
}
static inline void x87_clear(void) {
    __asm__ volatile("fnclex");
}
#else
static inline int x87_flags(void) {
    return 0;
}
static inline void x87_clear(void) {
}
#endif

static void showing_flags(char **args, const npy_intp *dims, const npy_intp *steps, void *data) {
    const HidingLoop *loop = (const HidingLoop *)data;
    int raised;
    loop->fn(args, dims, steps, loop->data);
    raised = x87_flags();
    if (raised) {
        x87_clear();
        fp_raise(raised);
    }
}

/* Whether a loop of one or two operands, all floats or all doubles, raises flags of the x87 unit: it is run on
   numbers that few functions take without a flag. */
static int hides_flags(HidingLoop loop, int operands, int width) {
    static const double numbers[4] = {0.0, -2.5, 1e30, -1e30};
    const npy_intp n = 16, steps[3] = {width, width, width};
    double room[3][16];
    char *args[3] = {(char *)room[0], (char *)room[1], (char *)room[2]};
    const int before = fp_flags();
    int i, hidden;
    for (i = 0; i < 16; i++) {
        double a = numbers[i % 4], b = numbers[i / 4];
        if (width == sizeof(double)) {
            room[0][i] = a;
            room[1][i] = b;
        } else {
            ((npy_float *)room[0])[i] = (npy_float)a;
            ((npy_float *)room[1])[i] = (npy_float)b;
        }
    }
    x87_clear();
    if (operands == 1) args[1] = args[2];
    loop.fn(args, &n, steps, loop.data);
    hidden = x87_flags() != 0;
    x87_clear();
    fp_clear();
    if (before) fp_raise(before);
    return hidden;
}

/* where(condition, a, b) with the calling convention of a ufunc's inner loop: one
   function for each item size, since choosing copies bytes and knows no arithmetic. */
#define SELECT_LOOP(NAME, TYPE)                                                             \
    static void NAME(char **args, const npy_intp *dims, const npy_intp *steps, void *data) { \
        char *c = args[0], *a = args[1], *b = args[2], *out = args[3];                      \
        npy_intp i, n = dims[0];                                                            \
        (void)data;                                                                         \
        for (i = 0; i < n; i++) {                                                           \
            *(TYPE *)out = *(npy_bool *)c ? *(TYPE *)a : *(TYPE *)b;                        \
            c += steps[0];                                                                  \
            a += steps[1];                                                                  \
            b += steps[2];                                                                  \
            out += steps[3];                                                                \
        }                                                                                   \
    }

/* Zero, subnormal, infinite or NaN: what an operation that raised a flag returns. */
static inline int unusual(double d) {
    npy_uint64 bits;
    memcpy(&bits, &d, sizeof bits);
    return (((bits >> 52) + 1) & 0x7FF) <= 1;
}

/* Whether an array belongs to the holder of this one reference and may be written to: the
   reference count is only meaningful before Cython takes a reference of its own. */
#define OWNED_ARRAY(a)                                    \
    (Py_REFCNT(a) == 1 && PyArray_CheckExact(a) &&        \
     PyArray_CHKFLAGS((PyArrayObject *)(a), NPY_ARRAY_OWNDATA | NPY_ARRAY_CARRAY))

/* The same for any other object. */
#define OWNED_OBJECT(o) (Py_REFCNT(o) == 1)

/* How many sweeps this thread is in: what is computed then is computed by rules. */
#ifdef _MSC_VER
static __declspec(thread) int sweeping;
#else
static __thread int sweeping;
#endif
static inline void sweep_begins(void) { sweeping++; }
static inline void sweep_ends(void) { sweeping--; }
static inline int in_sweep(void) { return sweeping > 0; }

/* In an adjoint's object field: the adjoint is the double beside it. */
#define MARK ((PyObject *)1)

typedef struct {
    double re, im;
} select_pair;

/* What the C library's pow(x, y) returns, bit for bit. glibc documents an error of at most 0.54 units in the
   last place, so a square whose rounding error, which Dekker's product gives exactly, is below 0.44 units is
   the only possible result: seven squares of eight need no call. */
static inline double libm_pow(double x, double y) {
#if defined(__GLIBC__)
    if (y == 2.0 && fabs(x) > 1e-130 && fabs(x) < 1e130) {
        double split = 134217729.0 * x, high = split - (split - x), low = x - high, square = x * x;
        double error = ((high * high - square) + 2.0 * high * low) + low * low, binade;
        npy_uint64 bits;
        memcpy(&bits, &square, sizeof bits);
        bits &= 0x7FF0000000000000u;
        memcpy(&binade, &bits, sizeof binade);
        if (fabs(error) < 0.44 * 2.220446049250313e-16 * binade) return square;
    }
#endif
    return pow(x, y);
}

/* Sine and cosine of one argument, of which glibc computes the common part once. */
static inline void libm_sincos(double x, double *s, double *c) {
#if defined(__GLIBC__)
    sincos(x, s, c);
#else
    *s = sin(x);
    *c = cos(x);
#endif
}

/* Casts, with the same convention. */
#define CAST_LOOP(NAME, FROM, TO, VALUE)                                                    \
    static void NAME(char **args, const npy_intp *dims, const npy_intp *steps, void *data) { \
        char *a = args[0], *out = args[1];                                                  \
        npy_intp i, n = dims[0];                                                            \
        (void)data;                                                                         \
        for (i = 0; i < n; i++) {                                                           \
            FROM x = *(FROM *)a;                                                            \
            *(TO *)out = (VALUE);                                                           \
            a += steps[0];                                                                  \
            out += steps[1];                                                                \
        }                                                                                   \
    }

CAST_LOOP(cast_f_d, npy_float, npy_double, (npy_double)x)
CAST_LOOP(cast_d_f, npy_double, npy_float, (npy_float)x)
CAST_LOOP(cast_b_d, npy_bool, npy_double, x ? 1.0 : 0.0)
CAST_LOOP(cast_d_b, npy_double, npy_bool, x != 0.0)

SELECT_LOOP(select_4, npy_float)
SELECT_LOOP(select_8, npy_double)
SELECT_LOOP(select_16, select_pair)

static inline select_pair complex_of(double x) {
    select_pair p = {x, 0.0};
    return p;
}
CAST_LOOP(cast_d_D, npy_double, select_pair, complex_of(x))

#endif
