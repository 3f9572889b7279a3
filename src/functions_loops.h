/* The part of `functions.h` that is the same for all sorts of vectors: the functions, and inner loops in the
   calling convention of a ufunc's. REAL is double or float, WIDTH the bits of a vector. */

#if WIDTH == 256
#define TARGET __attribute__((target("avx2,fma")))
#define LESS(a, b) OP(cmp)(a, b, _CMP_LT_OQ)        /* false for NaN, and quiet, which min and max are not */
#define BOTH(a, b) OP(and)(a, b)
#define ALL(mask) (OP(movemask)(mask) == (1 << LANES) - 1)
#define CHOICE(mask, a, b) OP(blendv)(b, a, mask)   /* mask ? a : b */
#define ODD(bits) ((VECTOR)((bits) << (BITS - 1)))
#else
#define TARGET __attribute__((target("avx512f")))
#define LESS(a, b) JOINED(OP(cmp), _mask, , )(a, b, _CMP_LT_OQ)
#define BOTH(a, b) ((a) & (b))
#define ALL(mask) ((mask) == (1 << LANES) - 1)
#define CHOICE(mask, a, b) OP(mask_blend)(mask, b, a)
#define ODD(bits) JOINED(_mm512_test_epi, BITS, _mask, )((__m512i)(bits), (__m512i)(BITS_OF(C(0)) + 1))
#endif

#define VECTOR OF(Vector)
#define WHOLE OF(Whole)
#define LANES ((int)(WIDTH / BITS))
typedef REAL VECTOR __attribute__((vector_size(WIDTH / 8)));
typedef JOINED(npy_uint, BITS, , ) WHOLE __attribute__((vector_size(WIDTH / 8)));

#define EACH TARGET static inline __attribute__((always_inline))
#define C(value) ((VECTOR)OP(set1)((REAL)(value)))
#define PART(name, k) C(TYPED(name)[k])
#define POLYNOMIAL(name, x) OF(polynomial)(x, TYPED(name), (int)(sizeof TYPED(name) / sizeof(REAL)))
#define BITS_OF(x) ((WHOLE)(x))
#define SIGN ((JOINED(npy_uint, BITS, , ))1 << (BITS - 1))
#define ABS(x) ((VECTOR)(BITS_OF(x) & ~SIGN))
#define FLIPPED(x) ((VECTOR)(BITS_OF(x) ^ SIGN))
/* The sign of x for a y that has the same or none. */
#define SIGNED_AS(x, y) ((VECTOR)(BITS_OF(y) | (BITS_OF(x) & SIGN)))
/* a b + c and c - a b, rounded once. */
#define PLUS(a, b, c) OP(fmadd)(a, b, c)
#define MINUS(a, b, c) OP(fnmadd)(a, b, c)

/* --- exponentials --------------------------------------------------------------------------------- */

/* The first coefficient is that of 1. Even and odd powers are chains of their own, half as long. */
EACH VECTOR OF(polynomial)(VECTOR x, const REAL *coefficients, const int count) {
    VECTOR square = x * x, one = C(coefficients[count - 1]), other = C(coefficients[count - 2]);
    UNROLLED
    for (int k = count - 3; k >= 0; k--) {
        VECTOR next = PLUS(one, square, C(coefficients[k]));
        one = other;
        other = next;
    }
    return PLUS(one, x, other);
}

/* 2**n, where `shifted` is n + SHIFTER. */
EACH VECTOR OF(power_of_2)(VECTOR shifted) {
    return (VECTOR)((BITS_OF(shifted) << FRACTION) + BITS_OF(C(1)));
}

/* x = n log(2) + r + low; returns n + SHIFTER. */
EACH VECTOR OF(without_powers)(VECTOR x, VECTOR *r, VECTOR *low) {
    VECTOR shifted = PLUS(x, PART(log2_of_e, 0), C(SHIFTER)), n = shifted - C(SHIFTER);
    VECTOR high = MINUS(n, PART(log_of_2, 0), x);
    *r = MINUS(n, PART(log_of_2, 1), high);
    *low = MINUS(n, PART(log_of_2, 1), high - *r);
    return shifted;
}

/* exp(r + low) - 1 - r, for short r and tiny low. */
EACH VECTOR OF(exp_rest)(VECTOR r, VECTOR low) {
    return PLUS(r * r, POLYNOMIAL(exp_terms, r), low);
}

EACH VECTOR OF(exp_of_common)(VECTOR x) {
    VECTOR r, low, shifted = OF(without_powers)(x, &r, &low);
    VECTOR y = C(1) + (r + OF(exp_rest)(r, low));
    return (VECTOR)(BITS_OF(y) + (BITS_OF(shifted) << FRACTION));
}

/* In two powers of 2, the second of which raises the flags; infinities and NaN are left out. */
EACH VECTOR OF(exp_of_any)(VECTOR x) {
    VECTOR clipped = CHOICE(LESS(ABS(x), C(EXP_BEYOND)), x, SIGNED_AS(x, C(EXP_BEYOND)));
    VECTOR common = CHOICE(LESS(ABS(x), C(INFINITY)), clipped, C(0));
    VECTOR r, low, n = OF(without_powers)(common, &r, &low) - C(SHIFTER);
    VECTOR half = PLUS(n, C(0.5), C(SHIFTER)), other = (n - (half - C(SHIFTER))) + C(SHIFTER);
    VECTOR y = (C(1) + (r + OF(exp_rest)(r, low))) * OF(power_of_2)(half) * OF(power_of_2)(other);
    return CHOICE(LESS(ABS(x), C(INFINITY)), y, CHOICE(LESS(x, C(0)), C(0), x));
}

/* high + low as their rounded sum and its error, where |high| is larger. */
EACH VECTOR OF(rounded_sum)(VECTOR high, VECTOR *low) {
    VECTOR sum = high + *low;
    *low -= sum - high;
    return sum;
}

/* exp(x) = high + low */
EACH VECTOR OF(exp_pair)(VECTOR x, VECTOR *low) {
    VECTOR r, rest, power = OF(power_of_2)(OF(without_powers)(x, &r, &rest));
    VECTOR high = C(1) + r;
    *low = power * ((r - (high - C(1))) + OF(exp_rest)(r, rest));
    return OF(rounded_sum)(power * high, low);
}

/* exp(x) - 1 = high + low */
EACH VECTOR OF(expm1_pair)(VECTOR x, VECTOR *low) {
    VECTOR r, rest, power = OF(power_of_2)(OF(without_powers)(x, &r, &rest));
    VECTOR one = power - C(1), other = power * r, high = one + other;
    *low = PLUS(power, OF(exp_rest)(r, rest), other - (high - one));
    return OF(rounded_sum)(high, low);
}

/* (a + a_low) / (b + b_low) */
EACH VECTOR OF(quotient)(VECTOR a, VECTOR a_low, VECTOR b, VECTOR b_low) {
    VECTOR inverse = C(1) / b, y = a * inverse;
    return PLUS(MINUS(y, b, a) + MINUS(y, b_low, a_low), inverse, y);
}

EACH VECTOR OF(exp_value)(VECTOR x) {
    return __builtin_expect(ALL(LESS(ABS(x), C(EXP_LIMIT))), 1) ? OF(exp_of_common)(x) : OF(exp_of_any)(x);
}

EACH VECTOR OF(exp2_value)(VECTOR x) {
    VECTOR shifted = x + C(SHIFTER), rest = x - (shifted - C(SHIFTER)), r = rest * PART(log_of_2, 0);
    VECTOR low = PLUS(rest, PART(log_of_2, 1), PLUS(rest, PART(log_of_2, 0), FLIPPED(r)));
    VECTOR y = C(1) + (r + OF(exp_rest)(r, low));
    return (VECTOR)(BITS_OF(y) + (BITS_OF(shifted) << FRACTION));
}

EACH VECTOR OF(expm1_value)(VECTOR x) {
    VECTOR low, high = OF(expm1_pair)(x, &low);
    return SIGNED_AS(x, high);
}

EACH VECTOR OF(sinh_value)(VECTOR x) {
    VECTOR low, high = OF(expm1_pair)(ABS(x), &low);
    VECTOR below = C(1) + high, below_low = (high - (below - C(1))) + low;
    VECTOR other = OF(quotient)(high, low, below, below_low);
    return SIGNED_AS(x, C(0.5) * (high + (other + low)));
}

EACH VECTOR OF(cosh_value)(VECTOR x) {
    VECTOR low, high = OF(exp_pair)(ABS(x), &low);
    return C(0.5) * (high + (C(1) / high + low));
}

EACH VECTOR OF(tanh_value)(VECTOR x) {
    VECTOR size = CHOICE(LESS(C(TANH_LIMIT), ABS(x)), C(TANH_LIMIT), ABS(x)), z = size * size;
    VECTOR above = z * POLYNOMIAL(tanh_terms, z) * size, below = POLYNOMIAL(tanh_below, z);
    below = CHOICE(LESS(size, C(0.8)), below, C(1) + OF(exp_of_common)(C(2) * size));
    above = CHOICE(LESS(size, C(0.8)), above, C(-2));
    return SIGNED_AS(x, CHOICE(LESS(size, C(0.8)), size, C(1)) + above / below);
}

EACH VECTOR OF(expit_value)(VECTOR x) {
    VECTOR low, high = OF(exp_pair)(FLIPPED(ABS(x)), &low);
    VECTOR below = C(1) + high, below_low = (high - (below - C(1))) + low;
    VECTOR above = CHOICE(LESS(x, C(0)), high, C(1)), above_low = CHOICE(LESS(x, C(0)), low, C(0));
    return OF(quotient)(above, above_low, below, below_low);
}

/* --- logarithms ------------------------------------------------------------------------------------- */

/* x = 2**k (1 + f), of a normal number; returns 1 + f. */
EACH VECTOR OF(without_exponent)(VECTOR x, VECTOR *k, WHOLE *biased) {
    WHOLE half = BITS_OF(C(0.70710678118654752)), bits = BITS_OF(x) + (BITS_OF(C(1)) - half);
    VECTOR counter = C((npy_uint64)1 << FRACTION);
    *biased = bits >> FRACTION;
    *k = (VECTOR)(*biased | BITS_OF(counter)) - (counter + C(BIAS));
    return (VECTOR)((bits & (((JOINED(npy_uint, BITS, , ))1 << FRACTION) - 1)) + half);
}

/* log(1 + f) - f + half_square, where that is f**2 / 2 */
EACH VECTOR OF(log_rest)(VECTOR f, VECTOR half_square) {
    VECTOR s = f / (C(2) + f), z = s * s;
    return s * PLUS(z, POLYNOMIAL(log_terms, z), half_square);
}

EACH VECTOR OF(log_value)(VECTOR x) {
    WHOLE biased;
    VECTOR k, f = OF(without_exponent)(x, &k, &biased) - C(1);
    VECTOR half_square = C(0.5) * f * f, rest = PLUS(k, PART(log_of_2, 1), OF(log_rest)(f, half_square));
    return PLUS(k, PART(log_of_2, 0), f + (rest - half_square));
}

/* log(x) times a + a_low, where that times log(2) is b + b_low. */
EACH VECTOR OF(scaled_log)(VECTOR x, VECTOR a, VECTOR a_low, VECTOR b, VECTOR b_low) {
    WHOLE biased;
    VECTOR k, f = OF(without_exponent)(x, &k, &biased) - C(1);
    VECTOR half_square = C(0.5) * f * f, g = f - half_square;       /* the log of 1 + f is g + rest */
    VECTOR rest = ((f - g) - half_square) + OF(log_rest)(f, half_square);
    VECTOR one = k * b, other = g * a, high = one + other;
    VECTOR low = PLUS(g, a, FLIPPED(other)) + PLUS(g, a_low, PLUS(rest, a, k * b_low));
    return high + ((other - (high - one)) + low);
}

EACH VECTOR OF(log2_value)(VECTOR x) {
    return OF(scaled_log)(x, PART(log2_of_e, 0), PART(log2_of_e, 1), C(1), C(0));
}

EACH VECTOR OF(log10_value)(VECTOR x) {
    return OF(scaled_log)(x, PART(log10_of_e, 0), PART(log10_of_e, 1), PART(log10_of_2, 0),
                          PART(log10_of_2, 1));
}

EACH VECTOR OF(log1p_value)(VECTOR x) {
    WHOLE biased;
    VECTOR u = C(1) + x, back = u - C(1), lost = (C(1) - (u - back)) + (x - back);
    VECTOR k, f = OF(without_exponent)(u, &k, &biased) - C(1);
    VECTOR scaled = lost * (VECTOR)((2 * BIAS - biased) << FRACTION);       /* 2**-k */
    VECTOR whole = f + scaled, low = scaled - (whole - f);
    VECTOR half_square = C(0.5) * whole * whole;
    low += PLUS(k, PART(log_of_2, 1), OF(log_rest)(whole, half_square)) - half_square;
    return SIGNED_AS(x, PLUS(k, PART(log_of_2, 0), whole + low));
}

EACH VECTOR OF(log_expit_value)(VECTOR x) {
    return OP(min)(C(0), x) - OF(log1p_value)(OF(exp_of_common)(FLIPPED(ABS(x))));
}

EACH VECTOR OF(logaddexp_value)(VECTOR x, VECTOR y) {
    return OP(max)(x, y) + OF(log1p_value)(OF(exp_of_common)(FLIPPED(ABS(x - y))));
}

/* --- sine and cosine ---------------------------------------------------------------------------------- */

/* The sine of x + `ahead` quarter turns. */
EACH VECTOR OF(turned)(VECTOR x, const int ahead) {
    VECTOR shifted = PLUS(x, PART(quarter_turns, 0), C(SHIFTER)), n = shifted - C(SHIFTER);
    VECTOR high = MINUS(n, PART(quarter_turn, 0), x), second = n * PART(quarter_turn, 1), r = high - second;
    VECTOR low = ((high - r) - second) + MINUS(n, PART(quarter_turn, 1), second);
    low = MINUS(n, PART(quarter_turn, 2), low);
    VECTOR z = r * r, half = C(0.5) * z, one = C(1) - half;
    VECTOR sine = r + PLUS(r * z, POLYNOMIAL(sin_terms, z), low);
    VECTOR cosine_low = PLUS(z * z, POLYNOMIAL(cos_terms, z), MINUS(r, low, (C(1) - one) - half));
    WHOLE quadrant = BITS_OF(shifted) + ahead;
    VECTOR y = CHOICE(ODD(quadrant), one + cosine_low, sine);
    return (VECTOR)(BITS_OF(y) ^ ((quadrant << (BITS - 2)) & SIGN));
}

EACH VECTOR OF(sin_value)(VECTOR x) {
    return CHOICE(LESS(ABS(x), C(TINY_TURN)), x, OF(turned)(x, 0));
}

EACH VECTOR OF(cos_value)(VECTOR x) {
    return OF(turned)(x, 1);
}

/* --- loops ---------------------------------------------------------------------------------------------- */

#define HERE(step) ((step) == (npy_intp)sizeof(REAL))
#define AT(k, type, i) ((type *)(args[k] + (i) * steps[k]))

/* The items from `i` on, fewer than a loop takes at once: copied, and behind them the first of them again. */
TARGET static void OF(rest)(VmLoop loop, int nin, char **args, npy_intp i, npy_intp n, const npy_intp *steps,
                            void *data) {
    REAL room[3][2 * LANES];
    char *rooms[3] = {(char *)room[0], (char *)room[1], (char *)room[2]};
    npy_intp k, all = 2 * LANES, next[3] = {sizeof(REAL), sizeof(REAL), sizeof(REAL)};
    for (int operand = 0; operand < nin; operand++) {
        OP(storeu)(room[operand], C(*AT(operand, REAL, i)));
        OP(storeu)(room[operand] + LANES, C(*AT(operand, REAL, i)));
        for (k = 1; k < n - i; k++)
            room[operand][k] = *AT(operand, REAL, i + k);
    }
    loop(rooms, &all, next, data);
    for (k = 0; k < n - i; k++)
        *AT(nin, REAL, i + k) = room[nin][k];
}

/* out = function of x, unless some x is not common. Two vectors at a time: the instructions of one are a
   chain, in which each waits for the one before. */
#define UNARY_LOOP(NAME, COMMON)                                                                          \
    EACH int OF(NAME##_suits)(VECTOR x) {                                                                 \
        (void)x;                                                                                          \
        return COMMON;                                                                                    \
    }                                                                                                     \
    TARGET static void OF(NAME)(char **args, const npy_intp *dims, const npy_intp *steps, void *data) {   \
        const VmCall *theirs = (const VmCall *)data;                                                      \
        const REAL *from = (const REAL *)args[0];                                                         \
        REAL *to = (REAL *)args[1];                                                                       \
        npy_intp n = dims[0], all = 2 * LANES, i;                                                         \
        if (!HERE(steps[0]) || !HERE(steps[1])) {                                                         \
            theirs->fn(args, dims, steps, theirs->data);                                                  \
            return;                                                                                       \
        }                                                                                                 \
        for (i = 0; i + 2 * LANES <= n; i += 2 * LANES) {                                                 \
            VECTOR x = OP(loadu)(from + i), next = OP(loadu)(from + i + LANES);                           \
            if (__builtin_expect(OF(NAME##_suits)(x) && OF(NAME##_suits)(next), 1)) {                     \
                x = OF(NAME##_value)(x);                                                                  \
                next = OF(NAME##_value)(next);                                                            \
                OP(storeu)(to + i, x);                                                                    \
                OP(storeu)(to + i + LANES, next);                                                         \
            } else {                                                                                      \
                char *some[] = {(char *)(from + i), (char *)(to + i)};                                    \
                theirs->fn(some, &all, steps, theirs->data);                                              \
            }                                                                                             \
        }                                                                                                 \
        if (i < n)                                                                                        \
            OF(rest)(OF(NAME), 1, args, i, n, steps, data);                                               \
    }

/* A vector of items, or of one number for all. */
EACH VECTOR OF(operand)(const char *from, npy_intp step) {
    return step ? (VECTOR)OP(loadu)((const REAL *)from) : C(*(const REAL *)from);
}

/* The same of x and y. */
#define BINARY_LOOP(NAME, COMMON)                                                                         \
    EACH int OF(NAME##_suits)(VECTOR x, VECTOR y) {                                                       \
        return COMMON;                                                                                    \
    }                                                                                                     \
    TARGET static void OF(NAME)(char **args, const npy_intp *dims, const npy_intp *steps, void *data) {   \
        const VmCall *theirs = (const VmCall *)data;                                                      \
        npy_intp n = dims[0], all = 2 * LANES, i;                                                         \
        if (!HERE(steps[2]) || (!HERE(steps[0]) && steps[0]) || (!HERE(steps[1]) && steps[1])) {          \
            theirs->fn(args, dims, steps, theirs->data);                                                  \
            return;                                                                                       \
        }                                                                                                 \
        for (i = 0; i + 2 * LANES <= n; i += 2 * LANES) {                                                 \
            VECTOR x = OF(operand)(AT(0, char, i), steps[0]), y = OF(operand)(AT(1, char, i), steps[1]);  \
            VECTOR next_x = OF(operand)(AT(0, char, i + LANES), steps[0]);                                \
            VECTOR next_y = OF(operand)(AT(1, char, i + LANES), steps[1]);                                \
            if (__builtin_expect(OF(NAME##_suits)(x, y) && OF(NAME##_suits)(next_x, next_y), 1)) {        \
                x = OF(NAME##_value)(x, y);                                                               \
                next_x = OF(NAME##_value)(next_x, next_y);                                                \
                OP(storeu)(AT(2, REAL, i), x);                                                            \
                OP(storeu)(AT(2, REAL, i + LANES), next_x);                                               \
            } else {                                                                                      \
                char *some[] = {AT(0, char, i), AT(1, char, i), AT(2, char, i)};                          \
                theirs->fn(some, &all, steps, theirs->data);                                              \
            }                                                                                             \
        }                                                                                                 \
        if (i < n)                                                                                        \
            OF(rest)(OF(NAME), 2, args, i, n, steps, data);                                               \
    }

#define WITHIN(limit) ALL(LESS(ABS(x), C(limit)))
#define BETWEEN(least, most) ALL(BOTH(LESS(C(least), x), LESS(x, C(most))))
UNARY_LOOP(exp, 1)
UNARY_LOOP(exp2, WITHIN(EXP2_LIMIT))
UNARY_LOOP(expm1, WITHIN(EXP_LIMIT))
UNARY_LOOP(log, BETWEEN(SMALLEST, INFINITY))
UNARY_LOOP(log2, BETWEEN(SMALLEST, INFINITY))
UNARY_LOOP(log10, BETWEEN(SMALLEST, INFINITY))
UNARY_LOOP(log1p, BETWEEN(-1, 1 / SMALLEST))
UNARY_LOOP(sin, WITHIN(TURN_LIMIT))
UNARY_LOOP(cos, WITHIN(TURN_LIMIT))
UNARY_LOOP(sinh, WITHIN(EXP_LIMIT))
UNARY_LOOP(cosh, WITHIN(EXP_LIMIT))
UNARY_LOOP(tanh, 1)
UNARY_LOOP(expit, WITHIN(EXP_LIMIT))
UNARY_LOOP(log_expit, WITHIN(EXP_LIMIT))
/* Infinities of one sign must not be subtracted. */
BINARY_LOOP(logaddexp, ALL(BOTH(LESS(ABS(x), C(INFINITY)), LESS(ABS(y), C(INFINITY)))) &&
                           ALL(LESS(ABS(x - y), C(EXP_LIMIT))))

#undef TARGET
#undef LESS
#undef BOTH
#undef ALL
#undef CHOICE
#undef ODD
#undef VECTOR
#undef WHOLE
#undef LANES
#undef EACH
#undef C
#undef PART
#undef POLYNOMIAL
#undef BITS_OF
#undef SIGN
#undef ABS
#undef FLIPPED
#undef SIGNED_AS
#undef PLUS
#undef MINUS
#undef HERE
#undef AT
#undef UNARY_LOOP
#undef BINARY_LOOP
#undef WITHIN
#undef BETWEEN
