/* The loops of `wide.h` by vectors of 64 bytes. Masks are registers here, and cost nothing.

   What `wide_arithmetic.h` and `wide_product.h` are written in, besides the operations OP, which exist by the
   same names for each set and dtype:

   WIDE           marks the functions that use the set
   TILE_ROWS      by TILE_VECTORS is the largest tile of a product that the registers hold
   LEFT_ITEMS     in a block, and more, are copied to where tiles read them in order, for more than LEFT_COLUMNS
                  columns; RIGHT_ITEMS are where more than RIGHT_ROWS rows are multiplied by them
   SIDE           by OTHER_SIDE items are transposed by OF(transpose)
   MASK, FIRST    names the first `n` lanes, for
   LOAD_FIRST     the items there: the lanes behind repeat the first one, so that what is computed in them raises
                  no flags that the first one does not raise; and
   STORE_FIRST */
#define WIDE __attribute__((target("avx512f")))
#define TILE_ROWS 8
#define TILE_VECTORS 3
#define LEFT_ITEMS 4096
#define LEFT_COLUMNS 512
#define RIGHT_ITEMS 2048
#define RIGHT_ROWS 16
#define SIDE 8
#define OTHER_SIDE 8
#define FIRST(n) ((MASK)((1u << (n)) - 1))
#define LOAD_FIRST(mask, from) OP(mask_loadu)(OP(set1)(*(from)), mask, from)
#define STORE_FIRST(mask, to, x) OP(mask_storeu)(to, mask, x)

/* Eight by eight doubles, transposed. */
WIDE static void transpose_double_avx512(const char *from, npy_intp step, double *to, npy_intp to_step) {
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
WIDE static void transpose_float_avx512(const char *from, npy_intp step, float *to, npy_intp to_step) {
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

WIDE static inline __m512d flipped_double_avx512(__m512d x) {
    return _mm512_castsi512_pd(_mm512_xor_si512(_mm512_castpd_si512(x), _mm512_set1_epi64(INT64_MIN)));
}

WIDE static inline __m512 flipped_float_avx512(__m512 x) {
    return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(x), _mm512_set1_epi32(INT32_MIN)));
}

#define REAL double
#define VECTOR __m512d
#define MASK __mmask8
#define LANES 8
#define OP(name) _mm512_##name##_pd
#define OF(name) name##_double_avx512
#include "wide_kernels.h"
#undef MASK

#define REAL float
#define VECTOR __m512
#define MASK __mmask16
#define LANES 16
#define OP(name) _mm512_##name##_ps
#define OF(name) name##_float_avx512
#include "wide_kernels.h"
#undef MASK

#undef WIDE
#undef TILE_ROWS
#undef TILE_VECTORS
#undef LEFT_ITEMS
#undef LEFT_COLUMNS
#undef RIGHT_ITEMS
#undef RIGHT_ROWS
#undef SIDE
#undef OTHER_SIDE
#undef FIRST
#undef LOAD_FIRST
#undef STORE_FIRST
