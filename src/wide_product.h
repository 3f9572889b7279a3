/* The part of `wide.h` on matrix products that is the same for all vectors. Steps are in bytes.

   The adjoint of a product is two products, so nearly all of a network's gradient is spent here. What is not
   done here goes to NumPy's own loop, which hands it to BLAS: products with a vector, and large ones where
   BLAS runs several threads or is as fast.

   The scheme is Goto's (K. Goto, R. van de Geijn, "Anatomy of high-performance matrix multiplication", ACM
   TOMS 34, 2008): a tile of the result, TILE_ROWS rows by TILE_VECTORS vectors, stays in registers while
   one column of the left block and one row of the right block after the other are multiplied into it;
   blocks that are read many times are copied to where a tile reads them in order. Each item is a sum in
   the order of k, in blocks of BLOCK_DEPTH, by fused multiply-adds. */

/* `rows` by `vectors` of the result; both are known when this is compiled, so that `sums` is registers.
   The last vector has `last` items, and is a `whole` one if these are all. */
ALWAYS_INLINE WIDE void OF(tile)(const int rows, const int vectors, const int whole, npy_intp depth, const char *a,
                                 npy_intp a_row, npy_intp a_step, const char *b, npy_intp b_step, char *out,
                                 npy_intp out_row, int last, int add) {
    VECTOR sums[TILE_ROWS][TILE_VECTORS], right[TILE_VECTORS];
    MASK mask = FIRST(last);
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++) {
            sums[i][j] = OP(setzero)();
        }
    }
    for (npy_intp p = 0; p < depth; p++) {
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++) {
            const REAL *from = (const REAL *)b + j * LANES;
            right[j] = whole || j < vectors - 1 ? OP(loadu)(from) : LOAD_FIRST(mask, from);
        }
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            VECTOR left = OP(set1)(*(const REAL *)(a + i * a_row));
#pragma GCC unroll 3
            for (int j = 0; j < vectors; j++) {
                sums[i][j] = OP(fmadd)(left, right[j], sums[i][j]);
            }
        }
        a += a_step;
        b += b_step;
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++) {
            REAL *to = (REAL *)(out + i * out_row) + j * LANES;
            if (whole || j < vectors - 1) {
                OP(storeu)(to, add ? OP(add)(sums[i][j], OP(loadu)(to)) : sums[i][j]);
            } else {
                STORE_FIRST(mask, to, add ? OP(add)(sums[i][j], LOAD_FIRST(mask, to)) : sums[i][j]);
            }
        }
    }
}

typedef void OF(Tile)(npy_intp depth, const char *a, npy_intp a_row, npy_intp a_step, const char *b, npy_intp b_step,
                      char *out, npy_intp out_row, int last, int add);

#define TILE(rows, vectors)                                                                                      \
    WIDE static void OF(tile_##rows##_##vectors)(npy_intp depth, const char *a, npy_intp a_row, npy_intp a_step, \
                                                 const char *b, npy_intp b_step, char *out, npy_intp out_row,    \
                                                 int last, int add) {                                            \
        if (last == LANES)                                                                                       \
            OF(tile)(rows, vectors, 1, depth, a, a_row, a_step, b, b_step, out, out_row, last, add);             \
        else                                                                                                     \
            OF(tile)(rows, vectors, 0, depth, a, a_row, a_step, b, b_step, out, out_row, last, add);             \
    }
#if TILE_VECTORS > 2
#define TILES(rows) TILE(rows, 1) TILE(rows, 2) TILE(rows, 3)
#else
#define TILES(rows) TILE(rows, 1) TILE(rows, 2)
#endif
TILES(1)
TILES(2)
TILES(3)
TILES(4)
#if TILE_ROWS > 4
TILES(5)
TILES(6)
#endif
#if TILE_ROWS > 6
TILES(7)
TILES(8)
#endif
#undef TILES
#undef TILE

#if TILE_VECTORS > 2
#define TILES(rows) {OF(tile_##rows##_1), OF(tile_##rows##_2), OF(tile_##rows##_3)}
#else
#define TILES(rows) {OF(tile_##rows##_1), OF(tile_##rows##_2)}
#endif
static OF(Tile) *const OF(tiles)[TILE_ROWS][TILE_VECTORS] = {TILES(1), TILES(2), TILES(3), TILES(4),
#if TILE_ROWS > 4
                                                            TILES(5), TILES(6),
#endif
#if TILE_ROWS > 6
                                                            TILES(7), TILES(8),
#endif
};
#undef TILES

/* Copies strips of at most `most` units of rows: of each column, the items of the strip's rows one after
   the other. The left block is copied as it is, the right one, whose units are vectors, with rows and
   columns exchanged. */
WIDE static void OF(pack)(int unit, int most, npy_intp rows, npy_intp depth, const char *from, npy_intp row_step,
                          npy_intp step, REAL *to) {
    const npy_intp item = sizeof(REAL);
    npy_intp width, count;
    for (; rows > 0; rows -= count, from += count * row_step, to += width * depth) {
        npy_intp i = 0;
        width = share((rows + unit - 1) / unit, most) * unit;
        count = rows < width ? rows : width;
        for (; step == item && i + SIDE <= count; i += SIDE) {
            npy_intp p = 0;
            for (; p + OTHER_SIDE <= depth; p += OTHER_SIDE) {
                OF(transpose)(from + i * row_step + p * item, row_step, to + p * width + i, width);
            }
            for (; p < depth; p++) {
                for (int k = 0; k < SIDE; k++) {
                    to[p * width + i + k] = *(const REAL *)(from + (i + k) * row_step + p * item);
                }
            }
        }
        for (npy_intp p = 0; p < depth && i < count; p++) {
            for (npy_intp k = i; row_step == item && k < count; k += LANES) {
                const REAL *these = (const REAL *)(from + k * item + p * step);
                if (count - k < LANES) {
                    MASK mask = FIRST(count - k);
                    STORE_FIRST(mask, to + p * width + k, LOAD_FIRST(mask, these));
                } else {
                    OP(storeu)(to + p * width + k, OP(loadu)(these));
                }
            }
            for (npy_intp k = i; row_step != item && k < count; k++) {
                to[p * width + k] = *(const REAL *)(from + k * row_step + p * step);
            }
        }
    }
}

/* One block of `a` times one block of `b`; copies of them by strips are used instead if they are not NULL. */
static void OF(block)(npy_intp m, npy_intp n, npy_intp depth, const char *a, npy_intp a_row, npy_intp a_step,
                      const REAL *a_strips, const char *b, npy_intp b_step, const REAL *b_strips, char *out,
                      npy_intp out_row, int add) {
    const npy_intp item = sizeof(REAL);
    npy_intp columns, rows, vectors;
    for (npy_intp j = 0; j < n; j += columns) {
        const char *left = a_strips ? (const char *)a_strips : a, *right = b + j * item;
        npy_intp last;
        vectors = share((n - j + LANES - 1) / LANES, TILE_VECTORS);
        columns = n - j < vectors * LANES ? n - j : vectors * LANES;
        last = columns - (vectors - 1) * LANES;
        if (b_strips) {
            right = (const char *)(b_strips + j * depth);
            b_step = vectors * LANES * item;
        }
        for (npy_intp i = 0; i < m; i += rows) {
            rows = share(m - i, TILE_ROWS);
            if (a_strips) {
                a_row = item;
                a_step = rows * item;
            }
            OF(tiles)[rows - 1][vectors - 1](depth, left, a_row, a_step, right, b_step, out + i * out_row + j * item,
                                             out_row, (int)last, add);
            left += a_strips ? rows * depth * item : rows * a_row;
        }
    }
}

/* `out = a @ b`, or `out += a @ b`; rows of `out` are contiguous. */
static void OF(product)(Matrix a, Matrix b, Matrix out, int add) {
    const npy_intp item = sizeof(REAL), width = TILE_VECTORS * LANES;
    npy_intp m = a.rows, n = b.columns, depth = a.columns;
    npy_intp rows = m < BLOCK_ROWS ? m : BLOCK_ROWS, columns = n < BLOCK_COLUMNS ? n : BLOCK_COLUMNS;
    npy_intp deep = depth < BLOCK_DEPTH ? depth : BLOCK_DEPTH;
    /* A tile reads the left block in as many streams as it has rows: fine while the block is small or is not
       read often. */
    int pack_left = rows * deep > LEFT_ITEMS && n > LEFT_COLUMNS;
    int pack_right = b.column_step != item || (columns * deep > RIGHT_ITEMS && m > RIGHT_ROWS);
    npy_intp left_items = pack_left ? (rows * deep + 15) / 16 * 16 : 0;
    npy_intp right_items = pack_right ? (columns + LANES - 1) / LANES * LANES * deep : 0;
    size_t size = (size_t)((left_items + right_items) * item) + 64;
    REAL small[SMALL_ITEMS + 64 / sizeof(REAL)];
    REAL *room = size <= sizeof small ? small : (REAL *)kept_malloc(NULL, size);
    if (!room) {
        room = small;
        rows = TILE_ROWS;
        columns = width;
        deep = SMALL_ITEMS / (TILE_ROWS + width);
        left_items = TILE_ROWS * deep;
    }
    REAL *left = (REAL *)(((size_t)room + 63) & ~(size_t)63), *right = left + left_items;
    for (npy_intp j = 0; j < n; j += columns) {
        npy_intp ncolumns = n - j < columns ? n - j : columns;
        for (npy_intp p = 0; p < depth; p += deep) {
            npy_intp ndeep = depth - p < deep ? depth - p : deep;
            const char *bs = b.data + p * b.row_step + j * b.column_step;
            if (pack_right) {
                OF(pack)(LANES, TILE_VECTORS, ncolumns, ndeep, bs, b.column_step, b.row_step, right);
            }
            for (npy_intp i = 0; i < m; i += rows) {
                npy_intp nrows = m - i < rows ? m - i : rows;
                const char *as = a.data + i * a.row_step + p * a.column_step;
                if (pack_left) {
                    OF(pack)(1, TILE_ROWS, nrows, ndeep, as, a.row_step, a.column_step, left);
                }
                OF(block)(nrows, ncolumns, ndeep, as, a.row_step, a.column_step, pack_left ? left : NULL, bs,
                          b.row_step, pack_right ? right : NULL, out.data + i * out.row_step + j * item,
                          out.row_step, add || p > 0);
            }
        }
    }
    if (room != small) {
        kept_free(NULL, room, size);
    }
}

/* All products of a stack. */
static void OF(products)(char **args, const npy_intp *dims, const npy_intp *steps, int add) {
    for (npy_intp i = 0; i < dims[0]; i++) {
        Matrix a = {args[0] + i * steps[0], dims[1], dims[2], steps[3], steps[4]};
        Matrix b = {args[1] + i * steps[1], dims[2], dims[3], steps[5], steps[6]};
        Matrix out = {args[2] + i * steps[2], dims[1], dims[3], steps[7], steps[8]};
        if (out.column_step == (npy_intp)sizeof(REAL)) {
            OF(product)(a, b, out, add);
        } else {
            /* By rows, the transposed result is the product of the transposed operands. */
            OF(product)(transposed(b), transposed(a), transposed(out), add);
        }
    }
}

/* In place of NumPy's loop of `matmul`, a VmCall in `data`, which does what is not done here. */
static void OF(matmul)(char **args, const npy_intp *dims, const npy_intp *steps, void *data) {
    const npy_intp item = sizeof(REAL);
    if (product_suits(dims) && (steps[7] == item || steps[8] == item)) {
        OF(products)(args, dims, steps, 0);
    } else {
        ((const VmCall *)data)->fn(args, dims, steps, ((const VmCall *)data)->data);
    }
}

/* ``out += a @ b``, rows or columns of `out` contiguous. */
static void OF(matmul_add)(char **args, const npy_intp *dims, const npy_intp *steps, void *data) {
    (void)data;
    OF(products)(args, dims, steps, 1);
}
