/* Made by coefficients.py, which says how. Lowest powers first. Errors are relative to the
   function, in halves of the last place, and do not include rounding. */

/* (e**x - 1 - x) / x**2, |x| <= log(2) / 2 */
static const double exp_terms_double[] = {  /* error 0.0024 */
    5.0000000000000000e-1,
    1.6666666666666677e-1,
    4.1666666666666702e-2,
    8.3333333333215286e-3,
    1.3888888888866559e-3,
    1.9841269886403803e-4,
    2.4801587361186780e-5,
    2.7557243910845701e-6,
    2.7557242204001960e-7,
    2.5109147445873952e-8,
    2.0924613565635363e-9,
};
static const float exp_terms_float[] = {  /* error 0.22 */
    5.00000006e-1f,
    1.66665425e-1f,
    4.16662791e-2f,
    8.36664406e-3f,
    1.39466528e-3f,
};

/* (log((1 + s) / (1 - s)) - 2 s) / s**3 in z = s**2, s <= (sqrt(2) - 1)**2 */
static const double log_terms_double[] = {  /* error 0.011 */
    6.6666666666667350e-1,
    3.9999999999410741e-1,
    2.8571428743333160e-1,
    2.2222198469394872e-1,
    1.8183570056035720e-1,
    1.5313895692995168e-1,
    1.4797578929559192e-1,
};
static const float log_terms_float[] = {  /* error 0.014 */
    6.66667767e-1f,
    3.99774972e-1f,
    2.98730390e-1f,
};

/* (sin(x) - x) / x**3 in z = x**2, |x| <= 0.79 */
static const double sin_terms_double[] = {  /* error 0.034 */
    -1.6666666666666630e-1,
    8.3333333333217707e-3,
    -1.9841269829271395e-4,
    2.7557313498964635e-6,
    -2.5050726919865988e-8,
    1.5894934848786440e-10,
};
static const float sin_terms_float[] = {  /* error 0.063 */
    -1.66666545e-1f,
    8.33215107e-3f,
    -1.95135292e-4f,
};

/* (cos(x) - 1 + x**2 / 2) / x**4 in z = x**2, |x| <= 0.79 */
static const double cos_terms_double[] = {  /* error 0.00046 */
    4.1666666666666595e-2,
    -1.3888888888873256e-3,
    2.4801587288915832e-5,
    -2.7557314182364559e-7,
    2.0875699377110809e-9,
    -1.1358372654937707e-11,
};
static const float cos_terms_float[] = {  /* error 0.0017 */
    4.16666462e-2f,
    -1.38873318e-3f,
    2.44342188e-5f,
};

/* (tanh(x) - x) / x**3 in z = x**2, |x| <= 0.8 */
static const double tanh_terms_double[] = {  /* error 0.00016 */
    -3.3333333333333333e-1,
    -2.1414046724618530e-2,
    -2.4349680137033847e-4,
    -1.7343272243151913e-8,
};
static const double tanh_below_double[] = {
    1.0000000000000000,
    4.6424214017385530e-1,
    2.4522584568895329e-2,
    2.5453829480751706e-4,
};
static const float tanh_terms_float[] = {  /* error 0.00033 */
    -3.33333332e-1f,
    -1.47323116e-2f,
};
static const float tanh_below_float[] = {
    1.00000000f,
    4.44196884e-1f,
    1.57742554e-2f,
};

/* log(2) */
static const double log_of_2_double[] = {
    6.9314718055994529e-1,
    2.3190468138462996e-17,
};
static const float log_of_2_float[] = {
    6.93147182e-1f,
    -1.90465421e-9f,
};

/* log2(e) */
static const double log2_of_e_double[] = {
    1.4426950408889634,
    2.0355273740931033e-17,
};
static const float log2_of_e_float[] = {
    1.44269502f,
    1.92596303e-8f,
};

/* log10(e) */
static const double log10_of_e_double[] = {
    4.3429448190325182e-1,
    1.0983196502167651e-17,
};
static const float log10_of_e_float[] = {
    4.34294492e-1f,
    -1.01030500e-8f,
};

/* log10(2); products of the first with exponents are exact */
static const double log10_of_2_double[] = {
    3.0102999566406652e-1,
    -8.5323443170571066e-14,
};
static const float log10_of_2_float[] = {
    3.01025391e-1f,
    4.60503907e-6f,
};

/* pi / 2 */
static const double quarter_turn_double[] = {
    1.5707963267948966,
    6.1232339957367660e-17,
    -1.4973849048591698e-33,
};
static const float quarter_turn_float[] = {
    1.57079637f,
    -4.37113883e-8f,
    -1.71512451e-15f,
};

/* 2 / pi */
static const double quarter_turns_double[] = {
    6.3661977236758138e-1,
};
static const float quarter_turns_float[] = {
    6.36619747e-1f,
};
