/* What the core computes itself on processors with AVX-512, in the calling conventions of ufuncs' inner loops:
   matrix products (`wide_product.h`) and elementwise arithmetic (`wide_arithmetic.h`).

   NumPy's wheels do elementwise arithmetic with vectors of half that width, and so does their OpenBLAS on
   processors of AMD. OpenBLAS also spends up to a microsecond on a product of small matrices before it begins,
   and elementwise loops some nanoseconds on looking at their arguments, more than a small array takes. On
   other processors, and for what is not done here, these loops hand on to NumPy's.

   Lanes behind the last item are masked, also in the arithmetic, so that they raise no flags. */
#ifndef AUTOGRAD_C_WIDE_H
#define AUTOGRAD_C_WIDE_H

#include <numpy/npy_common.h>
#include <stdlib.h>
#include <string.h>
#include "memory.h"
#include "vm.h"

static int wide = 0;                      /* whether the processor has AVX-512 and it may be used */
static int (*blas_threads)(void) = NULL;  /* asks NumPy's BLAS; NULL where it cannot be asked */

/* The operations of `wide_arithmetic.h`, by the names of the ufuncs. */
#define WIDE_OPERATIONS(DO) DO(add) DO(subtract) DO(multiply) DO(divide) DO(square) DO(negative) DO(reciprocal)
#define WIDE_NAME(operation) #operation,
static const char *const wide_names[] = {WIDE_OPERATIONS(WIDE_NAME) NULL};
#undef WIDE_NAME

/* Steps are in bytes. */
typedef struct {
    char *data;
    npy_intp rows, columns;
    npy_intp row_step, column_step;
} Matrix;

static inline Matrix transposed(Matrix m) {
    Matrix out = {m.data, m.columns, m.rows, m.column_step, m.row_step};
    return out;
}

#if defined(__x86_64__) && defined(__GNUC__) && (defined(__linux__) || defined(__APPLE__))
#include <dlfcn.h>
#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f")))
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define TILE_ROWS 8
#define TILE_VECTORS 3
#define BLOCK_DEPTH 192     /* a strip of the right block, 24 doubles wide, takes 36 KiB */
#define BLOCK_ROWS 96       /* the left block takes 144 KiB of the second cache */
#define BLOCK_COLUMNS 1536
#define SMALL_ITEMS 2048    /* copies of at most so many items are made on the stack */
/* Several threads of BLAS need larger products than this to be ahead of one of ours. */
#define THREADED_WORK ((npy_intp)1 << 18)

/* Whether a product is done here: of matrices, and unless BLAS would do it in several threads. */
static int product_suits(const npy_intp *dims) {
    if (!wide || dims[1] < 2 || dims[3] < 2 || dims[2] < 1) {
        return 0;
    }
    return dims[1] * dims[2] * dims[3] <= THREADED_WORK || (blas_threads && blas_threads() == 1);
}

/* Eight by eight doubles, transposed. */
AVX512 static void transpose_8_double(const char *from, npy_intp step, double *to, npy_intp to_step) {
    __m512d r[8], s[8];
    for (int i = 0; i < 8; i++) {
        r[i] = _mm512_loadu_pd((const double *)(from + i * step));
    }
    for (int i = 0; i < 8; i += 2) {
        s[i] = _mm512_unpacklo_pd(r[i], r[i + 1]);
        s[i + 1] = _mm512_unpackhi_pd(r[i], r[i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        r[i] = _mm512_shuffle_f64x2(s[i], s[i + 2], 0x88);
        r[i + 2] = _mm512_shuffle_f64x2(s[i], s[i + 2], 0xDD);
        r[i + 4] = _mm512_shuffle_f64x2(s[i + 4], s[i + 6], 0x88);
        r[i + 6] = _mm512_shuffle_f64x2(s[i + 4], s[i + 6], 0xDD);
    }
    for (int i = 0; i < 4; i++) {
        _mm512_storeu_pd(to + i * to_step, _mm512_shuffle_f64x2(r[i], r[i + 4], 0x88));
        _mm512_storeu_pd(to + (i + 4) * to_step, _mm512_shuffle_f64x2(r[i], r[i + 4], 0xDD));
    }
}

/* Eight by eight floats, transposed. */
AVX512 static void transpose_8_float(const char *from, npy_intp step, float *to, npy_intp to_step) {
    __m256 r[8], s[8];
    for (int i = 0; i < 8; i++) {
        r[i] = _mm256_loadu_ps((const float *)(from + i * step));
    }
    for (int i = 0; i < 8; i += 2) {
        s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(s[i], s[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(s[i], s[i + 2], 0xEE);
        r[i + 2] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0xEE);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(to + i * to_step, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * to_step, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

AVX512 static inline __m512d flipped_double(__m512d x) {
    return _mm512_castsi512_pd(_mm512_xor_si512(_mm512_castpd_si512(x), _mm512_set1_epi64(INT64_MIN)));
}

AVX512 static inline __m512 flipped_float(__m512 x) {
    return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(x), _mm512_set1_epi32(INT32_MIN)));
}

#define REAL double
#define VECTOR __m512d
#define MASK __mmask8
#define LANES 8
#define OP(name) _mm512_##name##_pd
#define OF(name) name##_double
#include "wide_arithmetic.h"
#include "wide_product.h"
#undef REAL
#undef VECTOR
#undef MASK
#undef LANES
#undef OP
#undef OF

#define REAL float
#define VECTOR __m512
#define MASK __mmask16
#define LANES 16
#define OP(name) _mm512_##name##_ps
#define OF(name) name##_float
#include "wide_arithmetic.h"
#include "wide_product.h"
#undef REAL
#undef VECTOR
#undef MASK
#undef LANES
#undef OP
#undef OF

/* The loop for ``out += a @ b``, which NumPy has not; only where `product_suits`. */
static VmCall adding_product(char code) {
    VmCall call = {code == 'd' ? product_add_double : product_add_float, NULL};
    return call;
}

/* Looks at the processor, and for the number of threads of the BLAS behind the library at `path`. */
static void wide_setup(const char *path, int allowed) {
    static const char *const names[] = {
        "scipy_openblas_get_num_threads64_", "scipy_openblas_get_num_threads", "openblas_get_num_threads64_",
        "openblas_get_num_threads", "MKL_Get_Max_Threads", "bli_thread_get_num_threads"};
    void *library = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    for (size_t i = 0; library && !blas_threads && i < sizeof names / sizeof *names; i++) {
        blas_threads = (int (*)(void))dlsym(library, names[i]);
    }
    wide = allowed && __builtin_cpu_supports("avx512f");
}

/* Our loop for NumPy's loop `call` of that ufunc for doubles ('d') or floats ('f'), or NumPy's. */
static VmCall wide_loop(const char *name, char code, VmCall call) {
#define NAMED(operation) {#operation, 'd', operation##_double, {0}}, {#operation, 'f', operation##_float, {0}},
    static struct {
        const char *name;
        char code;
        VmLoop fn;
        VmCall numpy;
    } loops[] = {WIDE_OPERATIONS(NAMED){"matmul", 'd', product_double, {0}}, {"matmul", 'f', product_float, {0}}};
#undef NAMED
    for (size_t i = 0; wide && i < sizeof loops / sizeof *loops; i++) {
        if (loops[i].code == code && strcmp(loops[i].name, name) == 0) {
            loops[i].numpy = call;
            call.fn = loops[i].fn;
            call.data = &loops[i].numpy;
            break;
        }
    }
    return call;
}

#else

static VmCall wide_loop(const char *name, char code, VmCall call) {
    (void)name;
    (void)code;
    return call;
}

static int product_suits(const npy_intp *dims) {
    (void)dims;
    return 0;
}

static VmCall adding_product(char code) {
    VmCall none = {NULL, NULL};
    (void)code;
    return none;
}

static void wide_setup(const char *path, int allowed) {
    (void)path;
    (void)allowed;
}

#endif
#endif
