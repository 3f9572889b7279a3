/* Elementary functions by vectors, for compiled functions with `fastmath`: exp, log, tanh, sin and their kin,
   for doubles and floats, on processors with AVX2 or AVX-512.

   Where NumPy has no vector code for the processor, it takes 5 to 15 ns an item for these functions; these
   loops take 1 to 4. Results differ from NumPy's in the last bits, which is why only `fastmath` has them
   (`fastmath.pxi` chooses). One source, `functions_loops.h`, is compiled for vectors of 4 and 8 doubles
   and of 8 and 16 floats. How a function is computed:

   exp       x = n log(2) + r with |r| <= log(2) / 2; e**x = 2**n (1 + r + r**2 p(r)), p a polynomial. n is
             rounded by adding a number so large that the last bit of the sum stands for 1; the low bits of
             that sum, moved to the place of the exponent, are 2**n. n log(2) is subtracted in two parts, the
             first without error, since products and differences are fused.
   expm1     (2**n - 1) + 2**n (r + r**2 p(r)): the first two terms are added without error, as a rounded sum
             and the rest. The same pair goes into sinh, as (t + t / (1 + t)) / 2.
   tanh      x + x**3 p(x**2) / q(x**2) up to 0.8, and 1 - 2 / (1 + e**(2 x)) from there on.
   expit     1 / (1 + e) or e / (1 + e) with e = exp(-|x|), likewise as pairs; log_expit and logaddexp take
             log1p of such an e.
   log       x = 2**k (1 + f) with 1 + f between sqrt(1/2) and sqrt(2). With s = f / (2 + f),
             log(1 + f) = f - f**2 / 2 + s (f**2 / 2 + s**2 p(s**2)), the arrangement of FreeBSD's libm
             (e_log.c), whose leading terms are exact.
   log1p     the log of u = 1 + x, where f takes up the error of that sum: where k = 0, f is x itself again.
   log2      log(1 + f) times log2(e), that product in two parts, plus k; log10 likewise. Powers have exact
             logarithms.
   sin, cos  x = n pi / 2 + r with pi / 2 in three parts (Cody and Waite), r as a pair; both are computed, and
             the last two bits of n say which of them it is, and its sign.

   The largest errors, in units of the last place (tests/test_functions.py measures against mpmath): below
   1, but below 1.25 for expm1, 1.5 for sinh, 2 for log_expit and logaddexp; of the latter where what is
   added does not cancel.

   Where an argument is not a common one (NaN, infinite, zero for log, too large for sin, ...), the whole
   vector that it is in goes to NumPy's loop, so that results and floating-point flags of such arguments
   are NumPy's by construction. exp does all here, since infinities and large negative numbers are common
   in it, and tanh has no others than NaN. Zeros keep their signs. Places of a vector behind the last item
   have the first one again, which raises no other flags.

   The polynomials and the parts of pi / 2 and so on are in `coefficients.h`, which `coefficients.py`
   makes. */
#ifndef AUTOGRAD_C_FUNCTIONS_H
#define AUTOGRAD_C_FUNCTIONS_H

#include <math.h>
#include <numpy/npy_common.h>
#include <string.h>
#include "vm.h"
#include "wide.h"

static const char *functions_used = "";   /* what the loops here are compiled for, or nothing */

#if defined(__x86_64__) && defined(__GNUC__) && !defined(_WIN32)
#include <float.h>
#include <immintrin.h>
#include "coefficients.h"

/* The functions with loops here, by the names of the ufuncs: of one argument, and of two. */
#define UNARY_FUNCTIONS(DO)                                                                               \
    DO(exp) DO(exp2) DO(expm1) DO(log) DO(log2) DO(log10) DO(log1p) DO(sin) DO(cos) DO(sinh) DO(cosh)     \
    DO(tanh) DO(expit) DO(log_expit)
#define BINARY_FUNCTIONS(DO) DO(logaddexp)

/* Names of the intrinsics, and of what is defined here, for one sort of vectors. */
#define JOINED(a, b, c, d) JOINED_AS_THEY_ARE(a, b, c, d)
#define JOINED_AS_THEY_ARE(a, b, c, d) a##b##c##d
#define OP(name) JOINED(_mm, WIDTH, _##name##_, INTRINSIC)
#define OF(name) JOINED(name, _, REAL, WIDTH)
#define TYPED(name) JOINED(name, _, REAL, )

#if defined(__clang__)
#define UNROLLED _Pragma("unroll")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif

/* Doubles: what the algorithms need to know beside `coefficients.h`. */
#define REAL double
#define INTRINSIC pd
#define BITS 64
#define FRACTION 52                 /* bits of it */
#define BIAS 1023
#define SHIFTER 0x1.8p52            /* SHIFTER + n is rounded to an integer */
#define SMALLEST DBL_MIN
#define EXP_LIMIT 708.0             /* exp of it and of its negative are normal numbers */
#define EXP_BEYOND 800.0            /* exp of it is infinite, of its negative zero */
#define EXP2_LIMIT 1022.0
#define TANH_LIMIT 20.0             /* tanh of it is 1 */
#define TURN_LIMIT 0x1p25           /* of sin and cos */
#define TINY_TURN 0x1p-27           /* sin of it is itself */
#define WIDTH 256
#include "functions_loops.h"
#undef WIDTH
#define WIDTH 512
#include "functions_loops.h"
#undef WIDTH
#undef REAL
#undef INTRINSIC
#undef BITS
#undef FRACTION
#undef BIAS
#undef SHIFTER
#undef SMALLEST
#undef EXP_LIMIT
#undef EXP_BEYOND
#undef EXP2_LIMIT
#undef TANH_LIMIT
#undef TURN_LIMIT
#undef TINY_TURN

/* Floats, likewise. */
#define REAL float
#define INTRINSIC ps
#define BITS 32
#define FRACTION 23
#define BIAS 127
#define SHIFTER 0x1.8p23
#define SMALLEST FLT_MIN
#define EXP_LIMIT 87.0
#define EXP_BEYOND 150.0
#define EXP2_LIMIT 126.0
#define TANH_LIMIT 10.0
#define TURN_LIMIT 0x1p14
#define TINY_TURN 0x1p-13
#define WIDTH 256
#include "functions_loops.h"
#undef WIDTH
#define WIDTH 512
#include "functions_loops.h"
#undef WIDTH

/* Takes the instructions that the loops of `wide.h` take, which has looked at the processor. */
static void functions_setup(void) {
    functions_used = wide == AVX512 ? "AVX-512" : wide == AVX2 ? "AVX2" : "";
}

/* Our loop in the place of NumPy's or SciPy's loop `call` of that ufunc for doubles ('d') or floats ('f');
   that one itself where there is none. `data` of ours points to the other, which does what ours leaves. */
static VmCall function_loop(const char *name, char code, VmCall call) {
#define NAMED(function)                                                                                   \
    {#function, 'd', function##_double256, function##_double512, {0}},                                    \
    {#function, 'f', function##_float256, function##_float512, {0}},
    static struct {
        const char *name;
        char code;
        VmLoop avx2, avx512;
        VmCall theirs;
    } loops[] = {UNARY_FUNCTIONS(NAMED) BINARY_FUNCTIONS(NAMED)};
#undef NAMED
    for (size_t i = 0; *functions_used && i < sizeof loops / sizeof *loops; i++)
        if (loops[i].code == code && strcmp(loops[i].name, name) == 0) {
            loops[i].theirs = call;
            call.fn = strcmp(functions_used, "AVX2") == 0 ? loops[i].avx2 : loops[i].avx512;
            call.data = &loops[i].theirs;
            break;
        }
    return call;
}

#else

static void functions_setup(void) {
}

static VmCall function_loop(const char *name, char code, VmCall call) {
    (void)name;
    (void)code;
    return call;
}

#endif
#endif
