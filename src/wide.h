/* What the core computes itself on processors with AVX-512, or with AVX2 and FMA, in the calling conventions
   of ufuncs' inner loops: matrix products (`wide_product.h`) and elementwise arithmetic
   (`wide_arithmetic.h`). Both are written once, in the words that `wide_avx512.h` and `wide_avx2.h` define.

   NumPy's wheels do elementwise arithmetic with vectors of AVX2 or SSE2, and so does their OpenBLAS on
   processors of AMD. OpenBLAS also spends up to a microsecond on a product of small matrices before it
   begins, and elementwise loops some nanoseconds on looking at their arguments, more than a small array
   takes. With vectors of AVX2 these loops take half of the time for arrays of ten items, squares and
   reciprocals of arrays of a thousand, and products of small matrices; the longer ones are as fast as
   NumPy's. On other processors, and for what is not done here, these loops hand on to NumPy's. */
#ifndef AUTOGRAD_C_WIDE_H
#define AUTOGRAD_C_WIDE_H

#include <numpy/npy_common.h>
#include <stdlib.h>
#include <string.h>
#include "memory.h"
#include "vm.h"

enum { AVX2 = 1, AVX512 };
static int wide = 0;                      /* the instruction set that is used here; 0 for none */
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

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define BLOCK_DEPTH 192     /* a strip of the right block, three vectors wide, takes 36 or 18 KiB */
#define BLOCK_ROWS 96       /* the left block takes 144 KiB of the second cache */
#define BLOCK_COLUMNS 1536
#define SMALL_ITEMS 2048    /* copies of at most so many items are made on the stack */
/* Several threads of BLAS need larger products than this to be ahead of one of ours. */
#define THREADED_WORK ((npy_intp)1 << 18)
/* With vectors of AVX2, larger products than this, 128 x 128 by 128 x 128, go to BLAS. On a Zen 3, one
   thread of these loops takes 0.9 to 1 times as long as OpenBLAS for such, 0.4 to 0.9 for smaller ones, 1
   to 1.3 for larger. */
#define NARROW_WORK ((npy_intp)1 << 21)

/* Whether a product is done here: of matrices, and unless BLAS is likely to be ahead. */
static int product_suits(const npy_intp *dims) {
    npy_intp work = dims[1] * dims[2] * dims[3];
    if (!wide || dims[1] < 2 || dims[3] < 2 || dims[2] < 1 || (wide == AVX2 && work > NARROW_WORK)) {
        return 0;
    }
    return work <= THREADED_WORK || (blas_threads && blas_threads() == 1);
}

/* How many of `rest` rows or vectors the next tile takes: `most`, or half of what two tiles have to share. */
static inline npy_intp share(npy_intp rest, npy_intp most) {
    return rest >= 2 * most ? most : rest > most ? (rest + 1) / 2 : rest;
}

#include "wide_avx2.h"
#include "wide_avx512.h"

/* The loop for ``out += a @ b``, which NumPy has not; only where `product_suits`. */
static VmCall adding_product(char code) {
    static const VmLoop loops[][2] = {{matmul_add_double_avx2, matmul_add_float_avx2},
                                      {matmul_add_double_avx512, matmul_add_float_avx512}};
    VmCall call = {loops[wide == AVX512][code == 'f'], NULL};
    return call;
}

/* Looks at the processor, and for the number of threads of the BLAS behind the library at `path`. */
static void wide_setup(const char *path, int widest) {
    static const char *const names[] = {
        "scipy_openblas_get_num_threads64_", "scipy_openblas_get_num_threads", "openblas_get_num_threads64_",
        "openblas_get_num_threads", "MKL_Get_Max_Threads", "bli_thread_get_num_threads"};
    void *library = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    for (size_t i = 0; library && !blas_threads && i < sizeof names / sizeof *names; i++) {
        blas_threads = (int (*)(void))dlsym(library, names[i]);
    }
    if (widest >= AVX512 && __builtin_cpu_supports("avx512f")) {
        wide = AVX512;
    } else if (widest >= AVX2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        wide = AVX2;
    }
}

/* Our loop for NumPy's loop `call` of that ufunc for doubles ('d') or floats ('f'), or NumPy's. */
static VmCall wide_loop(const char *name, char code, VmCall call) {
#define NAMED(operation) OF_SET(operation, AVX2, avx2) OF_SET(operation, AVX512, avx512)
#define OF_SET(operation, set, suffix)                        \
    {#operation, 'd', set, operation##_double_##suffix, {0}}, \
    {#operation, 'f', set, operation##_float_##suffix, {0}},
    static struct {
        const char *name;
        char code;
        int set;
        VmLoop fn;
        VmCall numpy;
    } loops[] = {WIDE_OPERATIONS(NAMED) NAMED(matmul)};
#undef NAMED
#undef OF_SET
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
        if (loops[i].set == wide && loops[i].code == code && strcmp(loops[i].name, name) == 0) {
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

static void wide_setup(const char *path, int widest) {
    (void)path;
    (void)widest;
}

#endif
#endif
