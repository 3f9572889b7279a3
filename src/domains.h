/* Checks of replays (`domains.pxi`): where a call that no result needs was left out, a check looks at the
   values that it would have had and raises the processor's flags in its place.

     an item between lo and hi      nothing: the function raises nothing there
     any other                      the function's own loop is run for it
     |item| not from least to most  the flags `raises`, for what else was left out: it may have raised them

   A NaN raises nothing. */
#ifndef AUTOGRAD_C_DOMAINS_H
#define AUTOGRAD_C_DOMAINS_H

#include <math.h>
#include <string.h>
#include "loops.h"
#include "vm.h"

typedef struct {
    double lo, hi;          /* without a loop: all numbers */
    double least, most;
    double second;          /* the second operand, if the loop takes two */
    VmCall loop;            /* its `fn` may be NULL */
    int absolute;           /* lo and hi are bounds of |item| */
    int takes_two;
    int raises;             /* as NumPy numbers the flags */
} Domain;

static int fp_of_npy(int flags) {
#if defined(__SSE2__) || defined(_M_X64)
    return ((flags & 1) ? 4 : 0) | ((flags & 2) ? 8 : 0) | ((flags & 4) ? 16 : 0) | ((flags & 8) ? 1 : 0);
#else
    return ((flags & 1) ? FE_DIVBYZERO : 0) | ((flags & 2) ? FE_OVERFLOW : 0) |
           ((flags & 4) ? FE_UNDERFLOW : 0) | ((flags & 8) ? FE_INVALID : 0);
#endif
}

/* What the common case is decided by: an item that needs no second look is between `low` and `high`, if
   `magnitude` its absolute value is. */
typedef struct {
    double low, high;
    int magnitude;
} DomainSpan;

static DomainSpan domain_span(const Domain *d) {
    DomainSpan s;
    s.magnitude = d->absolute || d->least > 0.0;
    s.low = s.magnitude ? d->least : -d->most;
    s.high = d->most;
    if (d->loop.fn != NULL && d->lo > s.low) s.low = d->lo;
    if (d->loop.fn != NULL && d->hi < s.high) s.high = d->hi;
    return s;
}

/* The second look at one item, of the loop's own type. */
#define DOMAIN_ITEM(NAME, TYPE)                                                                           \
    static void NAME(const Domain *d, TYPE x) {                                                           \
        static const npy_intp one = 1, steps[3] = {sizeof(TYPE), sizeof(TYPE), sizeof(TYPE)};             \
        TYPE second = (TYPE)d->second, out;                                                               \
        char *args[3];                                                                                    \
        double size = fabs((double)x), seen = d->absolute ? size : (double)x;                             \
        if (isnan(x)) return;                                                                             \
        if (!(d->least <= size && size <= d->most)) fp_raise(fp_of_npy(d->raises));                       \
        if (d->loop.fn == NULL || (d->lo <= seen && seen <= d->hi)) return;                               \
        args[0] = (char *)&x;                                                                             \
        args[1] = d->takes_two ? (char *)&second : (char *)&out;                                          \
        args[2] = (char *)&out;                                                                           \
        d->loop.fn(args, &one, steps, d->loop.data);                                                      \
    }

DOMAIN_ITEM(domain_item_d, npy_double)
DOMAIN_ITEM(domain_item_f, npy_float)

/* The numbers of float32 next to a bound, inside of the span. */
static npy_float domain_up(double low) {
    npy_float f = low < -3.4028234663852886e38 ? -INFINITY : (npy_float)low;
    return (double)f < low ? nextafterf(f, INFINITY) : f;
}

static npy_float domain_down(double high) {
    npy_float f = high > 3.4028234663852886e38 ? INFINITY : (npy_float)high;
    return (double)f > high ? nextafterf(f, -INFINITY) : f;
}

/* Whether some item is not between `low` and `high`, or is a NaN. The comparisons are those that raise no
   flag. Four at a time: none waits for another. */
#define DOMAIN_LEAVES(NAME, TYPE, VALUE)                                                                  \
    static int NAME(const char *a, npy_intp step, npy_intp n, TYPE low, TYPE high) {                      \
        npy_intp i;                                                                                       \
        int inside = 1;                                                                                   \
        for (i = 0; i + 4 <= n; i += 4, a += 4 * step) {                                                  \
            TYPE p = VALUE(*(const TYPE *)a), q = VALUE(*(const TYPE *)(a + step));                       \
            TYPE r = VALUE(*(const TYPE *)(a + 2 * step)), s = VALUE(*(const TYPE *)(a + 3 * step));      \
            inside &= (isgreaterequal(p, low) & islessequal(p, high))                                     \
                      & (isgreaterequal(q, low) & islessequal(q, high))                                   \
                      & (isgreaterequal(r, low) & islessequal(r, high))                                   \
                      & (isgreaterequal(s, low) & islessequal(s, high));                                  \
        }                                                                                                 \
        for (; i < n; i++, a += step) {                                                                   \
            TYPE p = VALUE(*(const TYPE *)a);                                                             \
            inside &= isgreaterequal(p, low) & islessequal(p, high);                                      \
        }                                                                                                 \
        return !inside;                                                                                   \
    }

#define DOMAIN_SAME(x) (x)
DOMAIN_LEAVES(domain_leaves_d, npy_double, DOMAIN_SAME)
DOMAIN_LEAVES(domain_leaves_f, npy_float, DOMAIN_SAME)
DOMAIN_LEAVES(domain_leaves_abs_d, npy_double, fabs)
DOMAIN_LEAVES(domain_leaves_abs_f, npy_float, fabsf)

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>

/* The sign, the exponent and 20 bits of a double: in their order, numbers that are not negative are. */
static npy_int32 domain_top(double x) {
    npy_uint64 bits;
    memcpy(&bits, &x, sizeof bits);
    return (npy_int32)(bits >> 32);
}

static int domain_has_bottom(double x) {
    npy_uint64 bits;
    memcpy(&bits, &x, sizeof bits);
    return (npy_uint32)bits != 0;
}

/* Whether some double may not be between `low` >= 0 and `high`, by its upper half: that takes half of the time
   and raises no flags. */
static int domain_leaves_tops(const char *a, npy_intp n, double low, double high, int magnitude) {
    const double *x = (const double *)a;
    const npy_int32 first = domain_top(low) + domain_has_bottom(low);
    const __m128i kept = _mm_set_epi32(magnitude ? 0x7FFFFFFF : -1, 0, magnitude ? 0x7FFFFFFF : -1, 0);
    const __m128i least = _mm_set_epi32(first, 0, first, 0);
    const __m128i most = _mm_set_epi32(domain_top(high) - 1, 0, domain_top(high) - 1, 0);
    __m128i out = _mm_setzero_si128(), out2 = out, p, q;
    npy_intp i;
    for (i = 0; i + 4 <= n; i += 4) {
        p = _mm_and_si128(_mm_castpd_si128(_mm_loadu_pd(x + i)), kept);
        q = _mm_and_si128(_mm_castpd_si128(_mm_loadu_pd(x + i + 2)), kept);
        out = _mm_or_si128(out, _mm_cmpgt_epi32(p, most));
        out2 = _mm_or_si128(out2, _mm_cmpgt_epi32(q, most));
        if (first != 0) {
            out = _mm_or_si128(out, _mm_cmplt_epi32(p, least));
            out2 = _mm_or_si128(out2, _mm_cmplt_epi32(q, least));
        }
    }
    if (_mm_movemask_epi8(_mm_or_si128(out, out2)) != 0) return 1;
    return magnitude ? domain_leaves_abs_d(a + 8 * i, 8, n - i, low, high)
                     : domain_leaves_d(a + 8 * i, 8, n - i, low, high);
}
/* The same for doubles one behind the other, two at a time. These comparisons raise a flag for a NaN, which is
   taken back. */
static int domain_leaves_row(const char *a, npy_intp n, double low, double high, int magnitude) {
    const double *x = (const double *)a;
    const unsigned int before = _mm_getcsr();
    const __m128d l = _mm_set1_pd(low), h = _mm_set1_pd(high);
    const __m128d kept = _mm_castsi128_pd(_mm_set_epi32(magnitude ? 0x7FFFFFFF : -1, -1,
                                                        magnitude ? 0x7FFFFFFF : -1, -1));
    __m128d inside = _mm_castsi128_pd(_mm_set1_epi32(-1)), inside2 = inside;
    npy_intp i;
    if (low >= 0.0 && (magnitude || low > 0.0)) return domain_leaves_tops(a, n, low, high, magnitude);
    for (i = 0; i + 4 <= n; i += 4) {
        __m128d p = _mm_and_pd(_mm_loadu_pd(x + i), kept), q = _mm_and_pd(_mm_loadu_pd(x + i + 2), kept);
        inside = _mm_and_pd(inside, _mm_and_pd(_mm_cmpge_pd(p, l), _mm_cmple_pd(p, h)));
        inside2 = _mm_and_pd(inside2, _mm_and_pd(_mm_cmpge_pd(q, l), _mm_cmple_pd(q, h)));
    }
    i = _mm_movemask_pd(_mm_and_pd(inside, inside2)) == 3 ? i : -1;
    _mm_setcsr(before);
    if (i < 0) return 1;
    return magnitude ? domain_leaves_abs_d(a + 8 * i, 8, n - i, low, high)
                     : domain_leaves_d(a + 8 * i, 8, n - i, low, high);
}
#endif

/* A loop that clears the flags, `data`, with those that were up before. */
static void keeping_flags(char **args, const npy_intp *dims, const npy_intp *steps, void *data) {
    const VmCall *loop = data;
    const int before = fp_flags();
    loop->fn(args, dims, steps, loop->data);
    if (before & ~fp_flags()) fp_raise(before);
}

/* The checks with the calling convention of a ufunc's inner loop; `data` is a Domain. Nothing is written. */
static void domain_check_d(char **args, const npy_intp *dims, const npy_intp *steps, void *data) {
    const Domain *d = data;
    const DomainSpan s = domain_span(d);
    npy_intp i, n = dims[0];
    int leaves;
#if defined(__SSE2__) || defined(_M_X64)
    if (n >= 8 && steps[0] == 8)
        leaves = domain_leaves_row(args[0], n, s.low, s.high, s.magnitude);
    else
#endif
        leaves = s.magnitude ? domain_leaves_abs_d(args[0], steps[0], n, s.low, s.high)
                             : domain_leaves_d(args[0], steps[0], n, s.low, s.high);
    for (i = 0; leaves && i < n; i++)
        domain_item_d(d, *(const double *)(args[0] + i * steps[0]));
}

static void domain_check_f(char **args, const npy_intp *dims, const npy_intp *steps, void *data) {
    const Domain *d = data;
    const DomainSpan s = domain_span(d);
    npy_intp i, n = dims[0];
    int leaves = s.magnitude
                     ? domain_leaves_abs_f(args[0], steps[0], n, domain_up(s.low), domain_down(s.high))
                     : domain_leaves_f(args[0], steps[0], n, domain_up(s.low), domain_down(s.high));
    for (i = 0; leaves && i < n; i++)
        domain_item_f(d, *(const float *)(args[0] + i * steps[0]));
}

#endif
