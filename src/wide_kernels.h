/* All loops for one dtype by one set of instructions, and the end of the names that were given for them. */
#include "wide_arithmetic.h"
#include "wide_product.h"
#undef REAL
#undef VECTOR
#undef LANES
#undef OP
#undef OF
