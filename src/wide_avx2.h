/* The loops of `wide.h` by vectors of 32 bytes; `wide_avx512.h` says what the names stand for. Masks are
   vectors here. Loading by them is cheap; storing is not on processors of AMD, so that parts of a vector are
   stored by halves. A tile takes all sixteen registers: twelve sums, three vectors of the right block, an item
   of the left one. */
#define WIDE __attribute__((target("avx2,fma")))
#ifdef __clang__    /* moves them about, at half the speed, where a tile does not leave one of them free */
#define TILE_ROWS 6
#define TILE_VECTORS 2
#else
#define TILE_ROWS 4
#define TILE_VECTORS 3
#endif
#define LEFT_ITEMS 16384
#define LEFT_COLUMNS (TILE_VECTORS * LANES)
#define RIGHT_ITEMS 8192
#define RIGHT_ROWS 48
#define SIDE LANES
#define OTHER_SIDE 4
#define MASK Mask_avx2
#define FIRST(n) first_avx2((n) * sizeof(REAL), n)
#define LOAD_FIRST(mask, from) \
    OP(blendv)(OP(set1)(*(from)), OP(maskload)(from, (mask).lanes), OP(castsi256)((mask).lanes))
#define STORE_FIRST(mask, to, x) OF(store_first)((mask).items, to, x)

typedef struct {
    __m256i lanes;
    int items;
} Mask_avx2;

/* The mask of so many items, which are so many bytes. */
WIDE static inline Mask_avx2 first_avx2(size_t bytes, npy_intp items) {
    static const int ones_and_zeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    const char *from = (const char *)(ones_and_zeros + 8) - bytes;
    Mask_avx2 mask = {_mm256_loadu_si256((const __m256i *)from), (int)items};
    return mask;
}

/* Four rows of four doubles, transposed. */
WIDE static inline void transpose_double_avx2(const char *from, npy_intp step, double *to, npy_intp to_step) {
    for (int half = 0; half < 2; half++, from += 2 * sizeof(double), to += 2 * to_step) {
        __m256d r[2];
        for (int i = 0; i < 2; i++) {
            r[i] = _mm256_castpd128_pd256(_mm_loadu_pd((const double *)(from + i * step)));
            r[i] = _mm256_insertf128_pd(r[i], _mm_loadu_pd((const double *)(from + (i + 2) * step)), 1);
        }
        _mm256_storeu_pd(to, _mm256_unpacklo_pd(r[0], r[1]));
        _mm256_storeu_pd(to + to_step, _mm256_unpackhi_pd(r[0], r[1]));
    }
}

/* Eight rows of four floats, transposed. */
WIDE static inline void transpose_float_avx2(const char *from, npy_intp step, float *to, npy_intp to_step) {
    __m256 r[4], s[4];
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_castps128_ps256(_mm_loadu_ps((const float *)(from + i * step)));
        r[i] = _mm256_insertf128_ps(r[i], _mm_loadu_ps((const float *)(from + (i + 4) * step)), 1);
    }
    for (int i = 0; i < 4; i += 2) {
        s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        _mm256_storeu_ps(to + 2 * i * to_step, _mm256_shuffle_ps(s[i], s[i + 2], 0x44));
        _mm256_storeu_ps(to + (2 * i + 1) * to_step, _mm256_shuffle_ps(s[i], s[i + 2], 0xEE));
    }
}

WIDE static inline __m256d flipped_double_avx2(__m256d x) {
    return _mm256_xor_pd(x, _mm256_set1_pd(-0.0));
}

WIDE static inline __m256 flipped_float_avx2(__m256 x) {
    return _mm256_xor_ps(x, _mm256_set1_ps(-0.0f));
}

/* Stores the first `n` items, not all of them. */
WIDE static inline void store_first_double_avx2(int n, double *to, __m256d x) {
    __m128d part = _mm256_castpd256_pd128(x);
    if (n & 2) {
        _mm_storeu_pd(to, part);
        to += 2;
        part = _mm256_extractf128_pd(x, 1);
    }
    if (n & 1) {
        _mm_store_sd(to, part);
    }
}

WIDE static inline void store_first_float_avx2(int n, float *to, __m256 x) {
    __m128 part = _mm256_castps256_ps128(x);
    if (n & 4) {
        _mm_storeu_ps(to, part);
        to += 4;
        part = _mm256_extractf128_ps(x, 1);
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)to, part);
        to += 2;
        part = _mm_movehl_ps(part, part);
    }
    if (n & 1) {
        _mm_store_ss(to, part);
    }
}

#define REAL double
#define VECTOR __m256d
#define LANES 4
#define OP(name) _mm256_##name##_pd
#define OF(name) name##_double_avx2
#include "wide_kernels.h"

#define REAL float
#define VECTOR __m256
#define LANES 8
#define OP(name) _mm256_##name##_ps
#define OF(name) name##_float_avx2
#include "wide_kernels.h"

#undef WIDE
#undef TILE_ROWS
#undef TILE_VECTORS
#undef LEFT_ITEMS
#undef LEFT_COLUMNS
#undef RIGHT_ITEMS
#undef RIGHT_ROWS
#undef SIDE
#undef OTHER_SIDE
#undef MASK
#undef FIRST
#undef LOAD_FIRST
#undef STORE_FIRST
