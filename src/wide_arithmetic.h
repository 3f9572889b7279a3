/* The part of `wide.h` on elementwise arithmetic that is the same for all vectors: inner loops in the
   calling convention of a ufunc's. `data` is NumPy's own loop, which does what is not done here: operands
   that are neither contiguous nor one number, and reductions. Bits and flags are those of NumPy, since
   each of these operations has one right result. Four vectors at a time, so that a short loop does not
   wait for its own jumps. */

#define HERE(step) ((step) == (npy_intp)sizeof(REAL))

/* out = one op other, `n` items; an operand that does not move is a vector of equal numbers. */
#define BINARY_LOOP(NAME, FUNCTION)                                                                       \
    ALWAYS_INLINE WIDE void OF(NAME##_items)(const REAL *a, const REAL *b, REAL *out, npy_intp n,         \
                                             const int a_moves, const int b_moves) {                      \
        VECTOR one, other;                                                                                \
        npy_intp i = 0;                                                                                   \
        if (n <= 0)                                                                                       \
            return;                                                                                       \
        one = OP(set1)(*a);                                                                               \
        other = OP(set1)(*b);                                                                             \
        _Pragma("GCC unroll 4") for (; i + LANES <= n; i += LANES) {                                      \
            one = a_moves ? OP(loadu)(a + i) : one;                                                       \
            other = b_moves ? OP(loadu)(b + i) : other;                                                   \
            OP(storeu)(out + i, OP(FUNCTION)(one, other));                                                \
        }                                                                                                 \
        if (i < n) {                                                                                      \
            MASK mask = FIRST(n - i);                                                                     \
            one = a_moves ? LOAD_FIRST(mask, a + i) : one;                                                \
            other = b_moves ? LOAD_FIRST(mask, b + i) : other;                                            \
            STORE_FIRST(mask, out + i, OP(FUNCTION)(one, other));                                         \
        }                                                                                                 \
    }                                                                                                     \
    WIDE static void OF(NAME)(char **args, const npy_intp *dims, const npy_intp *steps, void *data) {     \
        const REAL *a = (const REAL *)args[0], *b = (const REAL *)args[1];                                \
        REAL *out = (REAL *)args[2];                                                                      \
        if (HERE(steps[2]) && HERE(steps[0]) && HERE(steps[1]))                                           \
            OF(NAME##_items)(a, b, out, dims[0], 1, 1);                                                   \
        else if (HERE(steps[2]) && HERE(steps[0]) && steps[1] == 0)                                       \
            OF(NAME##_items)(a, b, out, dims[0], 1, 0);                                                   \
        else if (HERE(steps[2]) && steps[0] == 0 && HERE(steps[1]))                                       \
            OF(NAME##_items)(a, b, out, dims[0], 0, 1);                                                   \
        else                                                                                              \
            ((const VmCall *)data)->fn(args, dims, steps, ((const VmCall *)data)->data);                  \
    }

/* out = function of `x`, written with a vector `x`. */
#define UNARY_LOOP(NAME, VALUE)                                                                           \
    WIDE static void OF(NAME)(char **args, const npy_intp *dims, const npy_intp *steps, void *data) {     \
        const REAL *a = (const REAL *)args[0];                                                            \
        REAL *out = (REAL *)args[1];                                                                      \
        npy_intp n = dims[0], i = 0;                                                                      \
        if (!HERE(steps[0]) || !HERE(steps[1])) {                                                         \
            ((const VmCall *)data)->fn(args, dims, steps, ((const VmCall *)data)->data);                  \
            return;                                                                                       \
        }                                                                                                 \
        _Pragma("GCC unroll 4") for (; i + LANES <= n; i += LANES) {                                      \
            VECTOR x = OP(loadu)(a + i);                                                                  \
            OP(storeu)(out + i, VALUE);                                                                   \
        }                                                                                                 \
        if (i < n) {                                                                                      \
            MASK mask = FIRST(n - i);                                                                     \
            VECTOR x = LOAD_FIRST(mask, a + i);                                                           \
            STORE_FIRST(mask, out + i, VALUE);                                                            \
        }                                                                                                 \
    }

BINARY_LOOP(add, add)
BINARY_LOOP(subtract, sub)
BINARY_LOOP(multiply, mul)
BINARY_LOOP(divide, div)
UNARY_LOOP(square, OP(mul)(x, x))
UNARY_LOOP(negative, OF(flipped)(x))
UNARY_LOOP(reciprocal, OP(div)(OP(set1)(1), x))
#undef HERE
#undef BINARY_LOOP
#undef UNARY_LOOP
