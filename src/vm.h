/* The machine: what programs consist of, and the loops that run them. There is no Python in here: a run needs
   no GIL. Two sorts of programs come here:

     replays   whole functions. The planner (`plan.pxi`) fills a `Plan`, the driver (`vm.pxi`) runs it and does
               the steps that need Python.
     rules     of elementwise primitives (`machine.pxi`): scalar instructions for doubles, groups for arrays.

   Of a replay:

     bases     a table of base pointers: [0] the arena of this run, then inputs, constants and results
     arena     one block of memory for all intermediates; its offsets are fixed by the planner
     steps     in the order of execution; a step is an entry of one of the tables below

   A program is never changed once planned, so that any number of threads may run it, each with an arena; but
   scalar steps get machine code later, which does the same. Where all have it, `scalars` may be NULL. */
#ifndef AUTOGRAD_C_VM_H
#define AUTOGRAD_C_VM_H

#include <math.h>
#include <string.h>
#include <numpy/npy_common.h>
#include <time.h>
#include "loops.h"
#include "pool.h"

typedef void (*VmLoop)(char **args, const npy_intp *dims, const npy_intp *steps, void *data);

/* Where an operand lives: `offset` bytes from a base pointer. */
typedef struct {
    npy_intp offset;
    int base;
} Place;

/* --- scalars ------------------------------------------------------------------------------------
   An interpreter over doubles in the arena; `a`, `b` and `out` count doubles from its start, so an item of a
   float64 array in the arena is an operand like any other. Truth values are 0.0 and 1.0. */
enum ScalarOp {
    S_MOVE, S_ADD, S_SUB, S_MUL, S_DIV, S_NEG, S_ABS, S_SQRT, S_SQUARE, S_RECIPROCAL, S_POW,
    S_LT, S_LE, S_GT, S_GE, S_EQ, S_NE, S_AND, S_OR, S_NOT,
    S_SELECT,   /* a ? b : c; `c` is the field `a` of the next instruction, whose op is S_NONE */
    S_CALL1,    /* out = loop k (a) */
    S_CALL2,    /* out = loop k (a, b) */
    S_SINCOS,   /* out = sin(a), b = cos(a), by the C library */
    S_LOAD,     /* out = the double number `a` behind base k */
    S_GUARD,    /* stops the run with guard number `out` if truth (a) differs from b (0 or 1) */
    S_NONE,
    S_OPS
};

typedef struct {
    unsigned short op, k;
    unsigned int a, b, out;
} ScalarIns;

typedef struct {
    VmLoop fn;
    void *data;
} VmCall;

/* --- groups: fused elementwise work ---------------------------------------------------------------
   `n` items in C order, run over blocks of `block` items: for each block all instructions in turn. A register
   is a scratch block, a stretch of memory that the group streams through, or one item for all. */
enum RegisterKind {
    R_SCRATCH,  /* scratch block number `block` */
    R_STREAM,   /* contiguous items from `at` on, one for each item of the group */
    R_SCALAR    /* one item at `at` */
};

typedef struct {
    int kind;
    int width;      /* bytes an item */
    int block;
    Place at;
    npy_intp step;      /* set by vm_prepare: bytes from one item to the next */
    npy_intp advance;   /* set by vm_prepare: bytes an item of the group moves it on */
} Register;

/* Strided memory that is not a stretch: a block of it is copied to a scratch register before it is used, or
   from a register after it has been computed. Shape and strides run over all items of the group, in C order.
   */
typedef struct {
    int reg;
    int ndim;
    Place at;
    npy_intp *shape;
    npy_intp *strides;
} Strided;

enum ReduceKind {
    REDUCE_ALL,     /* one result */
    REDUCE_LEADING, /* `inner` results: item i goes to result i % inner */
    REDUCE_MIDDLE,  /* the same for each `stack` items in turn */
    REDUCE_TRAILING /* n / inner results: item i goes to result i / inner */
};

/* A reduction of a register by a binary loop (add, maximum, ...). Sums are pairwise or better. */
typedef struct {
    int kind;
    int seeded;         /* 0: starts at `initial`, as NumPy's sums do; 1: at the first item */
    int adds;           /* the loop adds doubles: short rows are added up right here */
    int reg;
    VmCall loop;
    npy_intp inner, stack;
    Place out;
    int width;
    double initial[2];  /* the first `width` bytes: what an empty reduction gives */
} Reduction;

enum GroupOp { G_LOOP, G_GATHER, G_SCATTER, G_REDUCE };

typedef struct {
    int op;
    int nin;
    int r[4];           /* of G_LOOP: argument registers */
    int out;            /* of G_LOOP: result register; of the others: number in their table */
    VmCall loop;
    npy_intp steps[5];  /* set by vm_prepare, of G_LOOP */
} GroupIns;

typedef struct {
    npy_intp n, block;
    int nreg, nins, nscratch;
    int width;          /* of the widest scratch item, in bytes */
    Register *regs;
    GroupIns *ins;
    Strided *strided;   /* of G_GATHER and G_SCATTER */
    Reduction *reductions;
    int nstrided, nreductions;
    /* Set by vm_prepare: */
    npy_intp spacing;       /* bytes from one scratch block to the next */
    npy_intp sums_at;       /* where a part's own sums begin in its scratch memory */
    npy_intp blocks_at;     /* where its blocks begin */
    npy_intp part_bytes;    /* of the scratch memory of a part */
    int parts;              /* how many threads may do at the same time, each a range of items */
    npy_intp grain;         /* ranges begin at multiples of it */
    npy_intp piece;         /* items of a part between two looks at the clock */
} Group;

/* --- single steps ---------------------------------------------------------------------------------- */

enum { MAX_CALL_ARGS = 8 };

/* One call of an inner loop, of a generalised ufunc as well: dims and steps as the loop wants them. */
typedef struct {
    VmCall loop;
    int nargs;
    Place args[MAX_CALL_ARGS];
    npy_intp dims[8];
    npy_intp steps[24];
} LoopCall;

/* A routine gets the call that it is and its arguments; it returns 0 when it has done its work. Otherwise the
   driver does the step in Python, where it raises what it has to. */
typedef int (*VmRoutine)(const LoopCall *call, char **args);

typedef struct {
    VmRoutine fn;
    LoopCall call;      /* its loop, if the routine needs one; dims and steps are the routine's own */
    int python;         /* the number of the step in Python */
    int quiet;          /* the floating-point flags that it leaves behind are dropped */
    double cost;        /* nanoseconds, roughly */
} Routine;

typedef struct {
    Place from, to;
    int width, ndim;
    npy_intp *shape, *from_strides, *to_strides;
    int parts;          /* set by vm_prepare: as those of a group, along the first axis */
    npy_intp rows;      /* set by vm_prepare: between two looks at the clock */
} Copy;

typedef struct {
    Place at;
    npy_intp bytes;
} Clear;

/* Stops the run with guard number `guard` if the truth value of one byte at `at` is not `expected`. */
typedef struct {
    Place at;
    int guard;
    char expected;
} TruthGuard;

enum StepKind {
    STEP_SCALARS, STEP_GROUP, STEP_CALL, STEP_ROUTINE, STEP_COPY, STEP_CLEAR, STEP_GUARD, STEP_PYTHON
};

/* Machine code of scalar instructions (`native.h`): the number of the guard that failed, or -1. */
typedef int (*VmCode)(char **bases, const VmCall *calls, const void *helpers);

typedef struct {
    int kind;
    int index;          /* in the table of that kind; of STEP_SCALARS: the first instruction */
    int stop;           /* of STEP_SCALARS: one past the last */
    int cost;           /* set by vm_prepare: nanoseconds, roughly, between two looks at the clock */
    VmCode code;        /* of STEP_SCALARS: NULL as long as it is interpreted */
} Step;

typedef struct {
    Step *steps;
    ScalarIns *scalars;
    VmCall *calls;      /* of S_CALL1 and S_CALL2 */
    Group *groups;
    LoopCall *loops;
    Routine *routines;
    Copy *copies;
    Clear *clears;
    TruthGuard *guards;
    int nsteps;
    int threads;                /* at most so many share large groups and copies; 0 is 1 */
    npy_intp scratch_bytes;     /* set by vm_prepare: what the largest group needs */
    double cost;                /* set by vm_prepare: the sum of those of the steps */
    void *native;               /* the memory of machine code, or NULL */
    size_t native_bytes;
    const void *helpers;        /* what machine code calls */
} Plan;

/* What a run remembers when it stops to let the driver look for signals. All zero before the first. */
typedef struct {
    npy_intp done;      /* of the step it stopped in: 0, or how far that has come */
    double spent;       /* nanoseconds, roughly, since the last look at the clock */
    double since;       /* when the run began or was last taken up */
    double slice;       /* nanoseconds after which it is to stop */
} Run;

/* Of rules: registers of a group at most, and bytes of all its scratch blocks together. */
enum { VM_RULE_REGISTERS = 64, VM_RULE_BYTES = 32768 };

enum VmStop { VM_DONE, VM_GUARD, VM_PYTHON, VM_PAUSE };

/* Works out what the machine keeps for itself in a plan that is otherwise complete; once, before its first
   run. Rewrites in place: `op` of scalar instructions, shapes and strides of `Strided` and `Copy` (fewer
   axes), a `block` beyond `n`, the kind of a reduction. Sets what is marked so above. */
static void vm_prepare(Plan *plan);

/* Runs steps `first` to `last` - 1. Returns VM_DONE; VM_PYTHON with the step's number in `*where`, for the
   driver to do that step and go on behind it; VM_GUARD with the guard's number in `*where`; or, when the
   slice of time is over, VM_PAUSE with the number of the step to go on with after vm_resume, which may be
   `last`. */
static int vm_run(const Plan *plan, char **bases, char *scratch, Run *run, int first, int last, int *where);

/* A rule over doubles: instructions on a file of doubles that begins with its inputs. */
typedef struct {
    ScalarIns *ins, *stop;  /* both NULL where there is no such rule */
    VmCall *calls;
    double *numbers;        /* its constants */
    int *number_at;         /* by constant: its register */
    int nnumbers, result;
} ScalarRule;

/* Prepares the scalar instructions from `first` to `stop` - 1, and the registers of a rule's group. */
static void vm_prepare_scalars(ScalarIns *first, const ScalarIns *stop);
static void vm_prepare_registers(Group *g);

/* The result of a rule; `x` has its inputs, and room for all its registers. */
static inline double vm_scalar_rule(const ScalarRule *r, double *x);

/* The result of one operation, or of a call. */
static inline double vm_compute(int op, const VmCall *call, double a, double b);

/* Runs a rule's group, which has no reductions, on `n` items. Where its streams are, and how many bytes their
   items lie apart, is said at each call: by register in `at` and `step`, with room for its other registers. */
static void vm_run_rule(const Group *g, char **bases, char **at, npy_intp *step, npy_intp n);

/* Begins a new slice of time. */
static void vm_resume(Run *run);

/* Whether the slice is over. */
static int vm_is_late(const Run *run);

/* =================================================================================================
   How it runs
   ================================================================================================= */

static inline char *vm_place(char **bases, Place p) {
    return bases[p.base] + p.offset;
}

static inline npy_intp vm_least(npy_intp a, npy_intp b) {
    return a < b ? a : b;
}

/* --- slices of time -------------------------------------------------------------------------------- */

/* A look at the clock costs more than many a step: one is taken after so many nanoseconds of work, by the
   estimates of vm_prepare. */
#define VM_LOOK 250000.0

static double vm_clock(void) {
#ifdef CLOCK_MONOTONIC
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
#else
    return 1e9 / CLOCKS_PER_SEC * (double)clock();
#endif
}

static void vm_resume(Run *run) {
    run->since = vm_clock();
}

static int vm_is_late(const Run *run) {
    return vm_clock() - run->since > run->slice;
}

/* Whether to stop behind a step of that cost. */
static inline int vm_spend(Run *run, int cost) {
    run->spent += cost;
    if (run->spent < VM_LOOK)
        return 0;
    run->spent = 0.0;
    return vm_is_late(run);
}

/* --- scalars ------------------------------------------------------------------------------------ */

/* GCC and Clang jump from one instruction straight to the next, which gives each operation a jump, and so a
   prediction, of its own; other compilers go round a switch. */
#if defined(__GNUC__) && !defined(VM_SWITCH)
#define VM_THREADED
#endif

/* The operations that are one C expression. Comparisons are the quiet ones: like NumPy's, they raise no flag
   for a NaN. Nothing may be contracted: the build says -ffp-contract=off. */
#define VM_ARITHMETIC(UNARY, BINARY)                                                                      \
    UNARY(S_MOVE, a)                                                                                      \
    BINARY(S_ADD, a + b)                                                                                  \
    BINARY(S_SUB, a - b)                                                                                  \
    BINARY(S_MUL, a * b)                                                                                  \
    BINARY(S_DIV, a / b)                                                                                  \
    UNARY(S_NEG, -a)                                                                                      \
    UNARY(S_ABS, fabs(a))                                                                                 \
    UNARY(S_SQRT, sqrt(a))                                                                                \
    UNARY(S_SQUARE, a * a)                                                                                \
    UNARY(S_RECIPROCAL, 1.0 / a)                                                                          \
    BINARY(S_POW, libm_pow(a, b))                                                                         \
    BINARY(S_LT, isless(a, b) ? 1.0 : 0.0)                                                                \
    BINARY(S_LE, islessequal(a, b) ? 1.0 : 0.0)                                                           \
    BINARY(S_GT, isgreater(a, b) ? 1.0 : 0.0)                                                             \
    BINARY(S_GE, isgreaterequal(a, b) ? 1.0 : 0.0)                                                        \
    BINARY(S_EQ, a == b ? 1.0 : 0.0)                                                                      \
    BINARY(S_NE, a != b ? 1.0 : 0.0)                                                                      \
    BINARY(S_AND, (a != 0.0) & (b != 0.0) ? 1.0 : 0.0)                                                    \
    BINARY(S_OR, (a != 0.0) | (b != 0.0) ? 1.0 : 0.0)                                                     \
    UNARY(S_NOT, a == 0.0 ? 1.0 : 0.0)

/* Each of them has three forms. A chain of instructions, where each uses the result of the one before, would
   wait for that result to pass through memory, three times as long as the arithmetic takes: the other forms
   take it from `last`, a machine register. vm_prepare chooses; a plan is written in the first form. */
enum { VM_PLAIN = 0, VM_LAST_A = S_OPS, VM_LAST_B = 2 * S_OPS, VM_FORMS = 3 * S_OPS };

/* How each form comes by its operands. */
#define VM_SET_VM_PLAIN a = x[i->a], b = x[i->b]
#define VM_SET_VM_LAST_A a = last, b = x[i->b]
#define VM_SET_VM_LAST_B a = x[i->a], b = last

/* Two neighbours among the commonest operations are run as one: half the jumps, and long irregular programs
   outgrow the processor's jump prediction later. The second can have what was `last` before the first in
   place of an operand, too. The number of a pair is made of both operations and both forms. */
enum {
    VM_BEFORE_A = 3 * S_OPS, VM_BEFORE_B = 4 * S_OPS,           /* that and an operand */
    VM_BEFORE_LAST = 5 * S_OPS, VM_LAST_BEFORE = 6 * S_OPS      /* that and the result of the first */
};
#define VM_SET_VM_BEFORE_A a = before, b = x[i->b]
#define VM_SET_VM_BEFORE_B a = x[i->a], b = before
#define VM_SET_VM_BEFORE_LAST a = before, b = last
#define VM_SET_VM_LAST_BEFORE a = last, b = before

#define VM_COMMON(op) (S_ADD <= (op) && (op) <= S_MUL)
#define VM_PAIR(form1, op1, form2, op2)                                                                   \
    (VM_FORMS + (((form1) / S_OPS * 3 + (op1) - S_ADD) * 7 + (form2) / S_OPS) * 3 + (op2) - S_ADD)
#define VM_FIRST_OF_PAIR(number) (((number) - VM_FORMS) / 21 % 3 + S_ADD)
enum { VM_OPS = VM_FORMS + 189 };

/* DO(form1, op1, form2, op2) for each pair. */
#define VM_PAIRS(DO)                                                                                      \
    VM_PAIRS1(DO, VM_PLAIN) VM_PAIRS1(DO, VM_LAST_A) VM_PAIRS1(DO, VM_LAST_B)
#define VM_PAIRS1(DO, form1)                                                                              \
    VM_PAIRS2(DO, form1, S_ADD) VM_PAIRS2(DO, form1, S_SUB) VM_PAIRS2(DO, form1, S_MUL)
#define VM_PAIRS2(DO, form1, op1)                                                                         \
    VM_PAIRS3(DO, form1, op1, VM_PLAIN)                                                                   \
    VM_PAIRS3(DO, form1, op1, VM_LAST_A)                                                                  \
    VM_PAIRS3(DO, form1, op1, VM_LAST_B)                                                                  \
    VM_PAIRS3(DO, form1, op1, VM_BEFORE_A)                                                                \
    VM_PAIRS3(DO, form1, op1, VM_BEFORE_B)                                                                \
    VM_PAIRS3(DO, form1, op1, VM_BEFORE_LAST)                                                             \
    VM_PAIRS3(DO, form1, op1, VM_LAST_BEFORE)
#define VM_PAIRS3(DO, form1, op1, form2)                                                                  \
    DO(form1, op1, form2, S_ADD) DO(form1, op1, form2, S_SUB) DO(form1, op1, form2, S_MUL)
#define VM_SIGN_S_ADD +
#define VM_SIGN_S_SUB -
#define VM_SIGN_S_MUL *

#ifdef VM_THREADED
#define VM_OP(form, name) form##_##name:
#define VM_OP_PAIR(form1, op1, form2, op2) form1##_##op1##_##form2##_##op2:
/* The empty assembly differs from one operation to the next, which keeps GCC from merging their jumps into
   one. */
#define VM_GO(tag)                                                                                        \
    __asm__ volatile("" : : "i"(tag));                                                                    \
    goto *jump[i->op]
#define VM_JUMP(form, name) [form + name] = &&form##_##name,
#define VM_JUMP_PAIR(form1, op1, form2, op2)                                                              \
    [VM_PAIR(form1, op1, form2, op2)] = &&form1##_##op1##_##form2##_##op2,
#define VM_JUMP1(name, value) VM_JUMP(VM_PLAIN, name) VM_JUMP(VM_LAST_A, name)
#define VM_JUMP2(name, value) VM_JUMP1(name, value) VM_JUMP(VM_LAST_B, name)
#else
#define VM_OP(form, name) case form + name:
#define VM_OP_PAIR(form1, op1, form2, op2) case VM_PAIR(form1, op1, form2, op2):
#define VM_GO(tag) continue
#endif

#define VM_NEXT(tag)                                                                                      \
    if (++i == stop)                                                                                      \
        return -1;                                                                                        \
    VM_GO(tag)
#define VM_FORM(form, name, set, value)                                                                   \
    VM_OP(form, name) {                                                                                   \
        set;                                                                                              \
        x[i->out] = last = (value);                                                                       \
        VM_NEXT(form + name);                                                                             \
    }
#define VM_UNARY(name, value)                                                                             \
    VM_FORM(VM_PLAIN, name, double a = x[i->a], value)                                                    \
    VM_FORM(VM_LAST_A, name, double a = last, value)
#define VM_BINARY(name, value)                                                                            \
    VM_FORM(VM_PLAIN, name, double VM_SET_VM_PLAIN, value)                                                \
    VM_FORM(VM_LAST_A, name, double VM_SET_VM_LAST_A, value)                                              \
    VM_FORM(VM_LAST_B, name, double VM_SET_VM_LAST_B, value)
#define VM_RUN_PAIR(form1, op1, form2, op2)                                                               \
    VM_OP_PAIR(form1, op1, form2, op2) {                                                                  \
        double before = last, VM_SET_##form1;                                                             \
        (void)before;                                                                                     \
        x[i->out] = last = a VM_SIGN_##op1 b;                                                             \
        i++;                                                                                              \
        VM_SET_##form2;                                                                                   \
        x[i->out] = last = a VM_SIGN_##op2 b;                                                             \
        VM_NEXT(VM_PAIR(form1, op1, form2, op2));                                                         \
    }

/* NumPy's loop for one item; the steps are those of an array, since a step of 0 means a reduction to some. */
static void vm_call_scalar(const VmCall *call, double *a, double *b, double *out) {
    static const npy_intp one = 1, steps[3] = {8, 8, 8};
    char *args[3];
    args[0] = (char *)a;
    args[1] = b != NULL ? (char *)b : (char *)out;
    args[2] = (char *)out;
    call->fn(args, &one, steps, call->data);
}

/* Without the interpreter's preparations. */
static inline double vm_compute(int op, const VmCall *call, double a, double b) {
    double out;
#define VM_VALUE(name, value) case name: return value;
    switch (op) {
    VM_ARITHMETIC(VM_VALUE, VM_VALUE)
    default: vm_call_scalar(call, &a, op == S_CALL2 ? &b : NULL, &out);
    }
#undef VM_VALUE
    return out;
}

/* The sine of `a`, which is written to its place, as is the cosine. */
static inline double vm_sincos(double a, const ScalarIns *i, double *x) {
    double sine;
    libm_sincos(a, &sine, &x[i->b]);
    return x[i->out] = sine;
}

/* Runs the instructions from `i` up to `stop`; returns the number of the guard that failed, or -1. */
static int vm_run_scalars(const ScalarIns *i, const ScalarIns *stop, const VmCall *calls, char **bases) {
    double *x = (double *)bases[0], last = 0.0;
#ifdef VM_THREADED
    static const void *const jump[VM_OPS] = {
        VM_ARITHMETIC(VM_JUMP1, VM_JUMP2)
        VM_PAIRS(VM_JUMP_PAIR)
        VM_JUMP(VM_PLAIN, S_SELECT) VM_JUMP(VM_PLAIN, S_CALL1) VM_JUMP(VM_PLAIN, S_CALL2)
        VM_JUMP(VM_PLAIN, S_LOAD) VM_JUMP(VM_PLAIN, S_GUARD)
        VM_JUMP(VM_PLAIN, S_SINCOS) VM_JUMP(VM_LAST_A, S_SINCOS) VM_JUMP(VM_PLAIN, S_NONE)
    };
#endif
    if (i == stop)
        return -1;
#ifdef VM_THREADED
    VM_GO(S_OPS);
#else
    for (;;) switch (i->op) {
#endif
    VM_ARITHMETIC(VM_UNARY, VM_BINARY)
    VM_PAIRS(VM_RUN_PAIR)
    VM_OP(VM_PLAIN, S_SELECT) {
        x[i->out] = x[i->a] != 0.0 ? x[i->b] : x[i[1].a];
        i++;
        VM_NEXT(S_SELECT);
    }
    VM_OP(VM_PLAIN, S_CALL1) {
        vm_call_scalar(&calls[i->k], &x[i->a], NULL, &x[i->out]);
        VM_NEXT(S_CALL1);
    }
    VM_OP(VM_PLAIN, S_CALL2) {
        vm_call_scalar(&calls[i->k], &x[i->a], &x[i->b], &x[i->out]);
        VM_NEXT(S_CALL2);
    }
    VM_OP(VM_PLAIN, S_SINCOS) {
        last = vm_sincos(x[i->a], i, x);
        VM_NEXT(S_SINCOS);
    }
    VM_OP(VM_LAST_A, S_SINCOS) {
        last = vm_sincos(last, i, x);
        VM_NEXT(VM_LAST_A + S_SINCOS);
    }
    VM_OP(VM_PLAIN, S_LOAD) {
        x[i->out] = ((double *)bases[i->k])[i->a];
        VM_NEXT(S_LOAD);
    }
    VM_OP(VM_PLAIN, S_GUARD) {
        if ((x[i->a] != 0.0) != (i->b != 0))
            return (int)i->out;
        VM_NEXT(S_GUARD);
    }
    VM_OP(VM_PLAIN, S_NONE) {
        VM_NEXT(S_NONE);
    }
#ifndef VM_THREADED
    default: return -1;
    }
#endif
}

static inline double vm_scalar_rule(const ScalarRule *r, double *x) {
    char *file = (char *)x;
    int k;
    for (k = 0; k < r->nnumbers; k++)
        x[r->number_at[k]] = r->numbers[k];
    if (r->ins + 1 == r->stop)
        return vm_compute(r->ins->op, r->calls, x[r->ins->a], x[r->ins->b]);
    if (r->ins < r->stop)
        vm_run_scalars(r->ins, r->stop, r->calls, &file);
    return x[r->result];
}

/* --- copying -------------------------------------------------------------------------------------- */

/* `width` is a constant wherever this is inlined, so that an item is a load and a store. */
static inline void vm_copy_items(char *to, npy_intp to_step, const char *from, npy_intp step, npy_intp n,
                                 const int width) {
    npy_intp i;
    for (i = 0; i < n; i++)
        memcpy(to + i * to_step, from + i * step, (size_t)width);
}

/* One line of `n` items. */
static void vm_copy_line(char *to, npy_intp to_step, const char *from, npy_intp step, npy_intp n, int width) {
    if (n <= 0)
        return;
    if (to_step == width && step == width && n * width > 64)
        memmove(to, from, (size_t)(n * width));
    else if (width == 8 && to_step == 8 && step == 0) {
        double item;
        npy_intp i;
        memcpy(&item, from, 8);
        for (i = 0; i < n; i++)
            memcpy(to + 8 * i, &item, 8);
    } else if (width == 8 && to_step == 8)
        vm_copy_items(to, 8, from, step, n, 8);
    else if (width == 8)
        vm_copy_items(to, to_step, from, step, n, 8);
    else if (width == 4)
        vm_copy_items(to, to_step, from, step, n, 4);
    else if (width == 16)
        vm_copy_items(to, to_step, from, step, n, 16);
    else if (width == 1)
        vm_copy_items(to, to_step, from, step, n, 1);
    else
        vm_copy_items(to, to_step, from, step, n, width);
}

enum { VM_MAX_DIMS = 64 };  /* NumPy's limit */
enum { VM_SHORT_LINE = 128 };   /* items: lines that are worth being copied many at a time */

/* The item that C order gives number `start`: fills `index`, returns its offset in bytes. */
static npy_intp vm_locate(const Strided *s, npy_intp start, npy_intp *index) {
    npy_intp offset = 0;
    int d;
    for (d = s->ndim - 1; d >= 0; d--) {
        if (start == 0) {   /* as it always is in a group of one block */
            index[d] = 0;
            continue;
        }
        index[d] = start % s->shape[d];
        start /= s->shape[d];
        offset += index[d] * s->strides[d];
    }
    return offset;
}

/* From the end of a line to the beginning of the next; returns the offset there. */
static npy_intp vm_next_line(const Strided *s, npy_intp offset, npy_intp *index) {
    int d = s->ndim - 1;
    offset -= index[d] * s->strides[d];
    index[d] = 0;
    while (--d >= 0) {
        offset += s->strides[d];
        if (++index[d] < s->shape[d])
            break;
        offset -= s->shape[d] * s->strides[d];
        index[d] = 0;
    }
    return offset;
}

/* `rows` short lines of `n` doubles each, one behind the other. */
static void vm_gather_rows(double *to, const char *from, npy_intp row, npy_intp step, npy_intp n,
                           npy_intp rows) {
    npy_intp i, j, filled = n, all = n * rows;
    if (row == 0) {     /* all are the same: what is there already is the source of as much again */
        vm_copy_items((char *)to, 8, from, step, n, 8);
        for (; filled < all; filled += j) {
            j = vm_least(filled, all - filled);
            memcpy(to + filled, to, (size_t)(8 * j));
        }
        return;
    }
    for (i = 0; i < rows; i++, to += n, from += row)
        if (step == 0) {
            double two[2], item;
            memcpy(&item, from, 8);
            two[0] = two[1] = item;
            for (j = 0; j + 2 <= n; j += 2)
                memcpy(to + j, two, 16);
            if (j < n)
                to[j] = item;
        } else if (step == 8 && n > 8)
            memcpy(to, from, (size_t)(8 * n));
        else
            vm_copy_items((char *)to, 8, from, step, n, 8);
}

/* Does as many whole rows as are there, if they are short; returns how many. */
static npy_intp vm_walk_rows(const Strided *s, const char *from, const npy_intp *index, npy_intp m, char *to,
                             const Register *r) {
    npy_intp n = s->shape[s->ndim - 1], rows;
    int d = s->ndim - 2;
    if (d < 0 || r->width != 8 || n > VM_SHORT_LINE || index[d + 1] != 0 || m < n)
        return 0;
    rows = vm_least(m / n, s->shape[d] - index[d]);
    vm_gather_rows((double *)to, from, s->strides[d], s->strides[d + 1], n, rows);
    return rows;
}

static void vm_walk_item(char *memory, char *block, int width, int scatter) {
    memcpy(scatter ? memory : block, scatter ? block : memory, (size_t)width);
}

/* Copies items `start` to `start + m` - 1 of strided memory to a register's block, or back with `scatter`. */
static void vm_walk(const Strided *s, char *memory, npy_intp start, npy_intp m, char *block,
                    const Register *r, int scatter) {
    npy_intp index[VM_MAX_DIMS], offset, part, step, rows;
    int last = s->ndim - 1;
    if (last < 0) {     /* a group of one item */
        vm_walk_item(memory, block, r->width, scatter);
        return;
    }
    offset = vm_locate(s, start, index);
    step = s->strides[last];
    for (;;) {
        rows = scatter ? 0 : vm_walk_rows(s, memory + offset, index, m, block, r);
        if (rows > 0) {
            part = rows * s->shape[last];
            index[last - 1] += rows - 1;
            offset += (rows - 1) * s->strides[last - 1];
            m -= part;
            if (m <= 0)
                return;
            block += part * r->step;
            offset = vm_next_line(s, offset, index);
            continue;
        }
        part = vm_least(s->shape[last] - index[last], m);
        if (scatter)
            vm_copy_line(memory + offset, step, block, r->step, part, r->width);
        else
            vm_copy_line(block, r->step, memory + offset, step, part, r->width);
        m -= part;
        if (m <= 0)
            return;
        block += part * r->step;
        offset = vm_next_line(s, offset, index);
    }
}

/* Rows `first` to `stop` - 1 of a copy that has axes. */
static void vm_copy_rows(const Copy *c, char **bases, npy_intp first, npy_intp stop) {
    npy_intp index[VM_MAX_DIMS] = {0}, at = first * c->from_strides[0], to_at = first * c->to_strides[0];
    const char *from = vm_place(bases, c->from);
    char *to = vm_place(bases, c->to);
    int last = c->ndim - 1, d;
    if (last == 0) {
        vm_copy_line(to + to_at, c->to_strides[0], from + at, c->from_strides[0], stop - first, c->width);
        return;
    }
    for (index[0] = first; index[0] < stop;) {
        vm_copy_line(to + to_at, c->to_strides[last], from + at, c->from_strides[last], c->shape[last],
                     c->width);
        for (d = last - 1; d >= 0; d--) {
            at += c->from_strides[d];
            to_at += c->to_strides[d];
            if (++index[d] < c->shape[d] || d == 0)
                break;
            at -= c->shape[d] * c->from_strides[d];
            to_at -= c->shape[d] * c->to_strides[d];
            index[d] = 0;
        }
    }
}

typedef struct {
    const Copy *copy;
    char **bases;
    npy_intp first, rows;
} CopyJob;

static void vm_copy_part(void *job, int part) {
    const CopyJob *j = job;
    int parts = j->copy->parts;
    npy_intp first = j->first + j->rows * part / parts, stop = j->first + j->rows * (part + 1) / parts;
    vm_copy_rows(j->copy, j->bases, first, stop);
}

/* Returns 1 when done, 0 when the slice of time is over. */
static int vm_run_copy(const Copy *c, char **bases, Run *run) {
    CopyJob job;
    if (c->ndim == 0) {
        memmove(vm_place(bases, c->to), vm_place(bases, c->from), (size_t)c->width);
        return 1;
    }
    job.copy = c;
    job.bases = bases;
    for (job.first = run->done; job.first < c->shape[0]; job.first += job.rows) {
        if (job.first > run->done && vm_is_late(run)) {
            run->done = job.first;
            return 0;
        }
        job.rows = vm_least(c->rows, c->shape[0] - job.first);
        pool_run(vm_copy_part, &job, c->parts);
    }
    run->done = 0;
    return 1;
}

/* --- reductions ----------------------------------------------------------------------------------- */

enum { VM_LEVELS = 63 };    /* 2^63 parts are more than there can be */

/* A reduction under way. A row that comes in several parts is combined as a binary counter counts: a total of
   2^l parts stands on level l, and two of equal size make one of the next level. Rounding errors then grow
   as pairwise summation's do, and no room is needed but one item a level. */
typedef struct {
    char *out;                  /* where the next result goes */
    npy_intp row;               /* items a row has */
    npy_intp taken;             /* items of the current row that have been seen */
    npy_intp of_stack;          /* of REDUCE_MIDDLE: items of the current stack that have been seen */
    npy_intp seen;              /* of REDUCE_LEADING and REDUCE_MIDDLE: items that began a result */
    npy_uint64 parts;           /* of the current row */
    double total[2];            /* of REDUCE_ALL, where several parts share a group: that of the part */
    double level[VM_LEVELS][2]; /* room for a complex number each */
} Tally;

static void vm_loop2(const Reduction *r, char *a, npy_intp a_step, char *b, npy_intp b_step, char *out,
                     npy_intp out_step, npy_intp n) {
    char *args[3];
    npy_intp steps[3];
    args[0] = a;
    args[1] = b;
    args[2] = out;
    steps[0] = a_step;
    steps[1] = b_step;
    steps[2] = out_step;
    r->loop.fn(args, &n, steps, r->loop.data);
}

/* One total of `n` > 0 items. A loop whose first argument and result are the same item is a reduction to
   NumPy, and its sums are pairwise. */
static void vm_total(const Reduction *r, char *at, npy_intp step, npy_intp n, char *out) {
    if (!r->seeded)
        memcpy(out, r->initial, (size_t)r->width);
    else {
        memcpy(out, at, (size_t)r->width);
        at += step;
        if (--n == 0)
            return;
    }
    vm_loop2(r, out, 0, at, step, out, 0, n);
}

/* `later` becomes what the loop makes of `earlier` and it. */
static void vm_combine(const Reduction *r, double *earlier, double *later) {
    vm_loop2(r, (char *)earlier, r->width, (char *)later, r->width, (char *)later, r->width, 1);
}

static void vm_push(const Reduction *r, Tally *t, double *total) {
    npy_uint64 parts = t->parts++;
    int l = 0;
    for (; parts & 1; parts >>= 1)
        vm_combine(r, t->level[l++], total);
    memcpy(t->level[l], total, sizeof t->level[l]);
}

/* Combines the levels and leaves the row's total at `out`. */
static void vm_close(const Reduction *r, Tally *t) {
    npy_uint64 parts = t->parts;
    double total[2];
    int l = 0, any = 0;
    for (; parts; parts >>= 1, l++) {
        if (!(parts & 1))
            continue;
        if (any)
            vm_combine(r, t->level[l], total);
        else
            memcpy(total, t->level[l], sizeof total);
        any = 1;
    }
    if (any)
        memcpy(t->out, total, (size_t)r->width);
    t->parts = 0;
    t->taken = 0;
}

/* Takes `rows` whole rows of a few items: all first items, then all second ones, and so on, in fewer calls.
   NumPy adds up fewer than 8 items in this order. */
static void vm_reduce_short(const Reduction *r, char *out, char *at, npy_intp step, npy_intp rows,
                            npy_intp inner) {
    npy_intp j, width = r->width, row = inner * step;
    if (r->seeded)
        vm_copy_line(out, width, at, row, rows, r->width);
    else
        vm_loop2(r, (char *)r->initial, 0, at, row, out, width, rows);
    for (j = 1; j < inner; j++)
        vm_loop2(r, out, width, at + j * step, row, out, width, rows);
}

/* Rows of so many doubles are added up here: a call of the loop would take longer than the additions. */
enum { VM_SHORT_SUM = 64 };

/* A sum of 8 to 128 doubles in NumPy's order. */
static inline double vm_sum_row(const double *x, npy_intp n) {
    double r0 = x[0], r1 = x[1], r2 = x[2], r3 = x[3], r4 = x[4], r5 = x[5], r6 = x[6], r7 = x[7], sum;
    npy_intp i;
    for (i = 8; i < n - n % 8; i += 8) {
        r0 += x[i];
        r1 += x[i + 1];
        r2 += x[i + 2];
        r3 += x[i + 3];
        r4 += x[i + 4];
        r5 += x[i + 5];
        r6 += x[i + 6];
        r7 += x[i + 7];
    }
    sum = ((r0 + r1) + (r2 + r3)) + ((r4 + r5) + (r6 + r7));
    for (; i < n; i++)
        sum += x[i];
    return sum;
}

static void vm_sum_rows(const Reduction *r, char *out, const char *at, npy_intp rows, npy_intp inner) {
    const double *x = (const double *)at;
    double *sums = (double *)out;
    npy_intp i;
    for (i = 0; i < rows; i++)
        sums[i] = r->initial[0] + vm_sum_row(x + i * inner, inner);
}

/* Takes `m` items; rows of `inner` items each give a result, and may begin and end anywhere in the block. */
static void vm_reduce_rows(const Reduction *r, Tally *t, char *at, npy_intp step, npy_intp m) {
    double total[2] = {0.0, 0.0};
    npy_intp part, inner = t->row;
    for (; m > 0; m -= part, at += part * step) {
        part = vm_least(inner - t->taken, m);
        if (t->taken == 0 && inner < 8 && m >= 2 * inner) {
            part = m - m % inner;
            vm_reduce_short(r, t->out, at, step, part / inner, inner);
            t->out += part / inner * r->width;
            continue;
        }
        if (part == inner && r->adds && step == r->width && 8 <= inner && inner <= VM_SHORT_SUM) {
            part = m - m % inner;
            vm_sum_rows(r, t->out, at, part / inner, inner);
            t->out += part / inner * r->width;
            continue;
        }
        if (part == inner) {
            vm_total(r, at, step, part, t->out);
            t->out += r->width;
            continue;
        }
        vm_total(r, at, step, part, (char *)total);
        vm_push(r, t, total);
        t->taken += part;
        if (t->taken == inner) {
            vm_close(r, t);
            t->out += r->width;
        }
    }
}

/* Adds rows of a few doubles to as many sums, one after the other; four at a time, for which the sums stay in
   machine registers. */
static void vm_add_rows(double *sums, const double *x, npy_intp inner, npy_intp rows) {
    const double *x1 = x + inner, *x2 = x1 + inner, *x3 = x2 + inner;
    npy_intp i, j;
    for (i = 0; i + 4 <= rows; i += 4) {
        for (j = 0; j < inner; j++)
            sums[j] = (((sums[j] + x[j]) + x1[j]) + x2[j]) + x3[j];
        x += 4 * inner;
        x1 += 4 * inner;
        x2 += 4 * inner;
        x3 += 4 * inner;
    }
    for (; i < rows; i++, x += inner)
        for (j = 0; j < inner; j++)
            sums[j] += x[j];
}

/* Takes `m` items; each row is added to the `inner` results in turn, as NumPy reduces a leading
   axis. The first may be in the middle of a row. */
static void vm_reduce_leading(const Reduction *r, Tally *t, char *at, npy_intp step, npy_intp m) {
    npy_intp part, width = r->width;
    char *out;
    for (; m > 0; m -= part, at += part * step) {
        part = vm_least(t->row - t->taken, m);
        out = t->out + t->taken * width;
        if (t->seen < t->row) {
            part = vm_least(part, t->row - t->seen);
            if (r->seeded)
                vm_copy_line(out, width, at, step, part, r->width);
            else
                vm_loop2(r, (char *)r->initial, 0, at, step, out, width, part);
            t->seen += part;
        } else if (part == t->row && r->adds && step == width && part <= VM_SHORT_SUM) {
            part = m - m % t->row;
            vm_add_rows((double *)out, (const double *)at, t->row, part / t->row);
            continue;
        } else
            vm_loop2(r, out, width, at, step, out, width, part);
        t->taken += part;
        if (t->taken == t->row)
            t->taken = 0;
    }
}

static void vm_reduce_middle(const Reduction *r, Tally *t, char *at, npy_intp step, npy_intp m) {
    npy_intp part;
    for (; m > 0; m -= part, at += part * step) {
        part = vm_least(r->stack - t->of_stack, m);
        vm_reduce_leading(r, t, at, step, part);
        t->of_stack += part;
        if (t->of_stack == r->stack) {
            t->out += r->inner * r->width;
            t->of_stack = t->seen = 0;
        }
    }
}

static void vm_reduce(const Group *g, const Reduction *r, Tally *t, char *at, npy_intp m) {
    npy_intp step = g->regs[r->reg].step;
    if (r->kind == REDUCE_LEADING)
        vm_reduce_leading(r, t, at, step, m);
    else if (r->kind == REDUCE_MIDDLE)
        vm_reduce_middle(r, t, at, step, m);
    else
        vm_reduce_rows(r, t, at, step, m);
}

/* Of no items at all. */
static void vm_reduce_nothing(const Group *g, char **bases) {
    const Reduction *r;
    npy_intp results;
    int k;
    for (k = 0; k < g->nreductions; k++) {
        r = &g->reductions[k];
        results = r->kind == REDUCE_ALL ? 1 : r->kind == REDUCE_LEADING ? r->inner : 0;
        vm_copy_line(vm_place(bases, r->out), r->width, (const char *)r->initial, 0, results, r->width);
    }
}

/* --- groups --------------------------------------------------------------------------------------- */

static inline char *vm_aligned(char *p) {
    return p + (-(npy_uintp)p & 63);
}

/* A range of a group's items under way. In a replay it stands at the beginning of the scratch memory of
   whoever does it, its tables behind it. */
typedef struct {
    npy_intp next, stop;    /* items to do */
    Tally *tallies;         /* one for each reduction */
    char **at;              /* by register: where the item `next` is */
} Part;

/* From one scratch block of so many items to the next. */
static inline npy_intp vm_spacing(const Group *g, npy_intp items) {
    return (items * g->width + 63) & ~(npy_intp)63;
}

static inline Part *vm_part(const Group *g, char *scratch, int k) {
    return (Part *)(vm_aligned(scratch) + k * g->part_bytes);
}

static npy_intp vm_part_begins(const Group *g, int k) {
    npy_intp grains = (g->n + g->grain - 1) / g->grain;
    return vm_least(grains * k / g->parts * g->grain, g->n);
}

/* Part 0 reduces to where the results belong, others to memory of their own where theirs must be combined. */
static void vm_begin_reductions(const Group *g, Part *p, int part, char **bases) {
    const Reduction *r = g->reductions;
    Tally *t = p->tallies;
    char *sums = (char *)p + g->sums_at;
    int k;
    for (k = 0; k < g->nreductions; k++, r++, t++) {
        t->out = vm_place(bases, r->out);
        t->row = r->kind == REDUCE_ALL ? p->stop - p->next : r->inner;
        t->taken = t->of_stack = t->seen = 0;
        t->parts = 0;
        if (g->parts == 1)
            continue;
        if (r->kind == REDUCE_ALL)
            t->out = (char *)t->total;
        else if (r->kind == REDUCE_TRAILING)
            t->out += p->next / r->inner * r->width;
        else if (r->kind == REDUCE_MIDDLE)
            t->out += p->next / r->stack * r->inner * r->width;
        else {
            t->taken = p->next % r->inner;
            if (part > 0)
                t->out = sums;
            sums += r->inner * r->width;
        }
    }
}

static void vm_begin_part(const Group *g, char **bases, char *scratch, int part) {
    Part *p = vm_part(g, scratch, part);
    const Register *r = g->regs;
    char *blocks = (char *)p + g->blocks_at;
    int k;
    p->next = g->parts == 1 ? 0 : vm_part_begins(g, part);
    p->stop = g->parts == 1 ? g->n : vm_part_begins(g, part + 1);
    p->at = (char **)(p + 1);
    for (k = 0; k < g->nreg; k++, r++)
        p->at[k] = r->kind == R_SCRATCH ? blocks + r->block * g->spacing
                                        : vm_place(bases, r->at) + p->next * r->advance;
    if (g->nreductions > 0) {
        p->tallies = (Tally *)(p->at + g->nreg);
        vm_begin_reductions(g, p, part, bases);
    }
}

/* With the steps of `step`, by register, or those beside the instruction if that is NULL. */
static inline void vm_call_loop(const GroupIns *t, char **at, const npy_intp *step, const npy_intp *m) {
    char *args[5];
    npy_intp steps[5];
    int j;
    if (t->nin == 2) {
        args[0] = at[t->r[0]];
        args[1] = at[t->r[1]];
    } else
        for (j = 0; j < t->nin; j++)
            args[j] = at[t->r[j]];
    args[t->nin] = at[t->out];
    if (step != NULL) {
        for (j = 0; j < t->nin; j++)
            steps[j] = step[t->r[j]];
        steps[t->nin] = step[t->out];
    }
    t->loop.fn(args, m, step != NULL ? steps : t->steps, t->loop.data);
}

static void vm_run_other(const Group *g, const GroupIns *t, char **bases, char **at, Tally *tallies,
                         npy_intp start, npy_intp m) {
    if (t->op == G_REDUCE) {
        const Reduction *r = &g->reductions[t->out];
        vm_reduce(g, r, &tallies[t->out], at[r->reg], m);
    } else {
        const Strided *s = &g->strided[t->out];
        vm_walk(s, vm_place(bases, s->at), start, m, at[s->reg], &g->regs[s->reg], t->op == G_SCATTER);
    }
}

/* A part's items before `stop`, block by block; `step` as above. */
static inline void vm_run_blocks(const Group *g, char **bases, Part *p, npy_intp stop, const npy_intp *step) {
    const GroupIns *t, *end = g->ins + g->nins;
    npy_intp start = p->next, m;
    int k;
    while (start < stop) {
        m = vm_least(g->block, stop - start);
        for (t = g->ins; t < end; t++)
            if (t->op == G_LOOP)
                vm_call_loop(t, p->at, step, &m);
            else
                vm_run_other(g, t, bases, p->at, p->tallies, start, m);
        start += m;
        if (start == p->stop)
            break;
        for (k = 0; k < g->nreg; k++)
            p->at[k] += m * (step == NULL || g->regs[k].kind != R_STREAM ? g->regs[k].advance : step[k]);
    }
    p->next = start;
}

/* A part's next items, `g->piece` of them or what is left. */
static void vm_run_piece(const Group *g, char **bases, Part *p) {
    vm_run_blocks(g, bases, p, p->next + vm_least(g->piece, p->stop - p->next), NULL);
}

/* What the parts have reduced becomes one, in the order of their items. */
static void vm_join_parts(const Group *g, char **bases, char *scratch) {
    const Reduction *r = g->reductions;
    Tally joined, *t;
    int k, part;
    for (k = 0; k < g->nreductions; k++, r++) {
        if (r->kind == REDUCE_TRAILING || r->kind == REDUCE_MIDDLE)
            continue;
        joined.out = vm_place(bases, r->out);
        joined.parts = 0;
        for (part = 0; part < g->parts; part++) {
            t = &vm_part(g, scratch, part)->tallies[k];
            if (r->kind == REDUCE_ALL)
                vm_push(r, &joined, t->total);
            else if (part > 0)
                vm_loop2(r, joined.out, r->width, t->out, r->width, joined.out, r->width, r->inner);
        }
        if (r->kind == REDUCE_ALL)
            vm_close(r, &joined);
    }
}

typedef struct {
    const Group *group;
    char **bases, *scratch;
    int begins;
} GroupJob;

static void vm_run_part(void *job, int part) {
    const GroupJob *j = job;
    if (j->begins)
        vm_begin_part(j->group, j->bases, j->scratch, part);
    vm_run_piece(j->group, j->bases, vm_part(j->group, j->scratch, part));
}

static int vm_has_items(const Group *g, char *scratch) {
    int part;
    for (part = 0; part < g->parts; part++) {
        const Part *p = vm_part(g, scratch, part);
        if (p->next < p->stop)
            return 1;
    }
    return 0;
}

/* Returns 1 when done, 0 when the slice of time is over. */
static int vm_run_large_group(const Group *g, char **bases, char *scratch, Run *run) {
    GroupJob job;
    job.group = g;
    job.bases = bases;
    job.scratch = scratch;
    job.begins = run->done == 0;
    for (;;) {
        pool_run(vm_run_part, &job, g->parts);
        job.begins = 0;
        if (!vm_has_items(g, scratch))
            break;
        if (vm_is_late(run)) {
            run->done = 1;
            return 0;
        }
    }
    run->done = 0;
    if (g->parts > 1)
        vm_join_parts(g, bases, scratch);
    return 1;
}

static inline int vm_run_group(const Group *g, char **bases, char *scratch, Run *run) {
    if (g->parts > 1 || g->n > g->piece)
        return vm_run_large_group(g, bases, scratch, run);
    if (g->n == 0) {
        vm_reduce_nothing(g, bases);
        return 1;
    }
    vm_begin_part(g, bases, scratch, 0);
    vm_run_piece(g, bases, vm_part(g, scratch, 0));
    return 1;
}

static void vm_run_rule(const Group *g, char **bases, char **at, npy_intp *step, npy_intp n) {
    char room[VM_RULE_BYTES + 64 * (VM_RULE_REGISTERS + 1)];
    char *blocks = vm_aligned(room);
    npy_intp spacing = vm_spacing(g, vm_least(g->block, n));
    const Register *r = g->regs;
    Part p;
    int k;
    for (k = 0; k < g->nreg; k++, r++) {
        if (r->kind == R_STREAM)
            continue;
        at[k] = r->kind == R_SCRATCH ? blocks + r->block * spacing : vm_place(bases, r->at);
        step[k] = r->step;
    }
    p.next = 0;
    p.stop = n;
    p.tallies = NULL;
    p.at = at;
    vm_run_blocks(g, bases, &p, n, step);
}

/* --- single steps --------------------------------------------------------------------------------- */

static void vm_run_call(const LoopCall *c, char **bases) {
    char *args[MAX_CALL_ARGS];
    int j;
    for (j = 0; j < c->nargs; j++)
        args[j] = vm_place(bases, c->args[j]);
    c->loop.fn(args, c->dims, c->steps, c->loop.data);
}

static int vm_run_routine(const Routine *r, char **bases) {
    char *args[MAX_CALL_ARGS];
    int j, failed, flags = fp_flags();
    for (j = 0; j < r->call.nargs; j++)
        args[j] = vm_place(bases, r->call.args[j]);
    failed = r->fn(&r->call, args);
    if (r->quiet) {
        fp_clear();
        if (flags)
            fp_raise(flags);
    }
    return failed;
}

static void vm_run_clear(const Clear *c, char **bases) {
    if (c->bytes > 0)
        memset(vm_place(bases, c->at), 0, (size_t)c->bytes);
}

static int vm_guard_holds(const TruthGuard *g, char **bases) {
    return *vm_place(bases, g->at) == g->expected;
}

/* What a thread sets for others, which run the program meanwhile. */
#if defined(__GNUC__)
#define VM_PUBLISH(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELEASE)
#define VM_PUBLISHED(place) __atomic_load_n(&(place), __ATOMIC_ACQUIRE)
#else
#define VM_PUBLISHED(place) (place)
#endif

static int vm_run(const Plan *plan, char **bases, char *scratch, Run *run, int first, int last, int *where) {
    const Step *s = plan->steps + first, *end = plan->steps + last;
    VmCode code;
    int guard;
    for (; s < end; s++) {
        switch (s->kind) {
        case STEP_SCALARS:
            code = VM_PUBLISHED(s->code);
            guard = code != NULL
                        ? code(bases, plan->calls, plan->helpers)
                        : vm_run_scalars(plan->scalars + s->index, plan->scalars + s->stop, plan->calls, bases);
            if (guard >= 0) {
                *where = guard;
                return VM_GUARD;
            }
            break;
        case STEP_GROUP:
            if (!vm_run_group(&plan->groups[s->index], bases, scratch, run))
                goto pause;
            break;
        case STEP_CALL:
            vm_run_call(&plan->loops[s->index], bases);
            break;
        case STEP_ROUTINE:
            if (vm_run_routine(&plan->routines[s->index], bases)) {
                *where = (int)(s - plan->steps);
                return VM_PYTHON;
            }
            break;
        case STEP_COPY:
            if (!vm_run_copy(&plan->copies[s->index], bases, run))
                goto pause;
            break;
        case STEP_CLEAR:
            vm_run_clear(&plan->clears[s->index], bases);
            break;
        case STEP_GUARD:
            if (!vm_guard_holds(&plan->guards[s->index], bases)) {
                *where = plan->guards[s->index].guard;
                return VM_GUARD;
            }
            break;
        default:
            *where = (int)(s - plan->steps);
            return VM_PYTHON;
        }
        /* Behind the step, even the last: each slice gets something done, however slow the clock, and a
           program of one step that is run in a loop comes to a pause, too. */
        if (vm_spend(run, s->cost)) {
            s++;
            goto pause;
        }
    }
    return VM_DONE;
pause:
    *where = (int)(s - plan->steps);
    return VM_PAUSE;
}

/* --- preparing ------------------------------------------------------------------------------------ */

/* Drops axes of length 1 and joins neighbours that are one stretch of memory for both sets of strides;
   `other` may be NULL. Leaves a single empty axis if there are no items. Returns the number of axes. */
static int vm_merge_axes(int ndim, npy_intp *shape, npy_intp *strides, npy_intp *other) {
    int d, kept = 0;
    npy_intp size = 1;
    for (d = 0; d < ndim; d++) {
        size *= shape[d];
        if (shape[d] == 1)
            continue;
        if (kept > 0 && strides[kept - 1] == strides[d] * shape[d] &&
            (other == NULL || other[kept - 1] == other[d] * shape[d])) {
            shape[kept - 1] *= shape[d];
            strides[kept - 1] = strides[d];
            if (other != NULL)
                other[kept - 1] = other[d];
            continue;
        }
        shape[kept] = shape[d];
        strides[kept] = strides[d];
        if (other != NULL)
            other[kept] = other[d];
        kept++;
    }
    if (size != 0)
        return kept;
    shape[0] = 0;
    return 1;
}

/* How many operands an operation has that leaves its result in `last`; 0 for the others. */
static int vm_arity(int op) {
#define VM_ONE(name, value) case name: return 1;
#define VM_TWO(name, value) case name: return 2;
    switch (op) {
    VM_ARITHMETIC(VM_ONE, VM_TWO)
    case S_SINCOS: return 1;
    default: return 0;
    }
#undef VM_ONE
#undef VM_TWO
}

/* Chooses the form of each instruction from `i` to `stop` - 1: the first, and what follows a result that is
   not one expression, find nothing in `last`. */
static void vm_choose_forms(ScalarIns *i, const ScalarIns *stop) {
    npy_intp before = -1;   /* the operand that `last` holds */
    for (; i < stop; i++) {
        int arity = vm_arity(i->op);
        if (i->op == S_SELECT)
            i++;
        else if (arity >= 1 && before == (npy_intp)i->a)
            i->op += VM_LAST_A;
        else if (arity == 2 && before == (npy_intp)i->b)
            i->op += VM_LAST_B;
        before = arity ? (npy_intp)i->out : -1;
    }
}

/* The form of the second of a pair; `held` is the operand that `last` held before the first, or -1. */
static int vm_second_form(const ScalarIns *first, npy_intp held) {
    const ScalarIns *i = first + 1;
    int form = i->op - i->op % S_OPS;
    if (held == (npy_intp)first->out)
        return form;    /* no more: the first has overwritten it */
    if (form == VM_LAST_A && held == (npy_intp)i->b)
        return VM_LAST_BEFORE;
    if (form == VM_LAST_B && held == (npy_intp)i->a)
        return VM_BEFORE_LAST;
    if (form == VM_PLAIN && held == (npy_intp)i->a)
        return VM_BEFORE_A;
    if (form == VM_PLAIN && held == (npy_intp)i->b)
        return VM_BEFORE_B;
    return form;
}

/* Whether the instruction is of two results, that of its neighbour and that of the one before. */
static int vm_joins(const ScalarIns *i) {
    return (i->a == i[-1].out && i->b == i[-2].out) || (i->a == i[-2].out && i->b == i[-1].out);
}

/* The second instruction of a pair keeps its op, which nothing reads. */
static void vm_choose_pairs(ScalarIns *i, const ScalarIns *stop) {
    npy_intp held = -1;     /* the operand that `last` holds */
    for (; i + 1 < stop; i++) {
        int op1 = i->op % S_OPS, op2 = i[1].op % S_OPS;
        npy_intp out = (npy_intp)i->out;
        int leaves = vm_arity(op1) > 0;
        if (VM_COMMON(op1) && VM_COMMON(op2) &&
            !(i + 2 < stop && VM_COMMON(i[2].op % S_OPS) && vm_joins(i + 2))) {
            out = (npy_intp)i[1].out;
            i->op = (unsigned short)VM_PAIR(i->op - op1, op1, vm_second_form(i, held), op2);
            i++;
        } else if (op1 == S_SELECT)
            i++;
        held = leaves ? out : -1;
    }
}

static void vm_prepare_scalars(ScalarIns *first, const ScalarIns *stop) {
    vm_choose_forms(first, stop);
    vm_choose_pairs(first, stop);
}

static void vm_prepare_registers(Group *g) {
    Register *r;
    int k;
    for (k = 0; k < g->nreg; k++) {
        r = &g->regs[k];
        r->step = r->kind == R_SCALAR ? 0 : r->width;
        r->advance = r->kind == R_STREAM ? r->width : 0;
    }
}

/* Work that is worth a hand-over to another thread: instructions of a group times items, items of a copy. */
enum { VM_SHARED_WORK = 65536, VM_SHARED_ITEMS = 8192, VM_SHARED_COPY = 65536 };
/* The same between two looks at the clock: a millisecond of arithmetic, twenty of the slowest functions. */
enum { VM_PIECE_WORK = 1 << 20 };
/* A loop that is alone in its group has no need of blocks, but for the looks at the clock between them; a
   reduction, which they would make another sum, is cut where it takes long. */
enum { VM_LOOP_BLOCK = 1 << 16, VM_REDUCTION_BLOCK = 1 << 25 };

/* How many threads share a group, and at which items their ranges begin: at blocks, so that these are the
   same as without threads, or at rows that are reduced. */
static void vm_share_group(Group *g, int threads) {
    npy_intp most = threads, row = 0;
    int k;
    g->parts = 1;
    g->grain = g->block;
    if (g->n < VM_SHARED_ITEMS || g->n * g->nins < VM_SHARED_WORK)
        return;
    for (k = 0; k < g->nreductions; k++) {
        const Reduction *r = &g->reductions[k];
        npy_intp whole = r->kind == REDUCE_TRAILING ? r->inner : r->kind == REDUCE_MIDDLE ? r->stack : 0;
        if (whole > row)
            row = whole;        /* a multiple of the others: all are the last axes of one shape */
        else if (r->kind == REDUCE_LEADING)
            most = vm_least(most, g->n / (4 * r->inner));   /* the joined sums must be few */
    }
    if (row > 0)
        g->grain = row;
    else if (g->block > g->n / (8 * most + 1))
        g->grain = 8;
    most = vm_least(most, vm_least(g->n / g->grain, POOL_MOST));
    if (most > 1)
        g->parts = (int)most;
}

/* What a part keeps before its blocks: its range, pointers of the registers, tallies, sums of its own. */
static void vm_lay_out_part(Group *g) {
    int k;
    g->sums_at = (npy_intp)sizeof(Part) + g->nreg * (npy_intp)sizeof(char *);
    g->sums_at += g->nreductions * (npy_intp)sizeof(Tally);
    g->sums_at = (g->sums_at + 15) & ~(npy_intp)15;
    g->blocks_at = g->sums_at;
    for (k = 0; k < g->nreductions && g->parts > 1; k++)
        if (g->reductions[k].kind == REDUCE_LEADING)
            g->blocks_at += g->reductions[k].inner * g->reductions[k].width;
    g->blocks_at = (g->blocks_at + 63) & ~(npy_intp)63;
    g->spacing = vm_spacing(g, g->block);
    g->part_bytes = g->blocks_at + g->nscratch * g->spacing;
}

static void vm_choose_block(Group *g) {
    npy_intp longest = g->nins == 1 ? (g->nreductions == 0 ? VM_LOOP_BLOCK : VM_REDUCTION_BLOCK) : g->n;
    if (g->block > g->n || g->block < 1)
        g->block = g->n > 0 ? g->n : 1;
    g->block = vm_least(g->block, longest > 0 ? longest : 1);
}

/* Returns the scratch memory that the group needs. */
static npy_intp vm_prepare_group(Group *g, int threads) {
    int k, j;
    GroupIns *t;
    Strided *s;
    vm_choose_block(g);
    vm_prepare_registers(g);
    for (k = 0; k < g->nins; k++) {
        t = &g->ins[k];
        if (t->op != G_LOOP)
            continue;
        for (j = 0; j < t->nin; j++)
            t->steps[j] = g->regs[t->r[j]].step;
        t->steps[t->nin] = g->regs[t->out].step;
    }
    for (k = 0; k < g->nstrided; k++) {
        s = &g->strided[k];
        s->ndim = vm_merge_axes(s->ndim, s->shape, s->strides, NULL);
    }
    for (k = 0; k < g->nreductions; k++)
        if (g->reductions[k].kind == REDUCE_LEADING && g->reductions[k].inner == 1)
            g->reductions[k].kind = REDUCE_ALL; /* as NumPy does, whose sum is pairwise then */
    vm_share_group(g, threads);
    vm_lay_out_part(g);
    g->piece = VM_PIECE_WORK / (g->nins > 0 ? g->nins : 1) / g->block * g->block;
    if (g->piece < g->block)
        g->piece = g->block;
    return 64 + g->parts * g->part_bytes;
}

static void vm_prepare_copy(Copy *c, int threads) {
    npy_intp items = 1, rows;
    int d;
    c->ndim = vm_merge_axes(c->ndim, c->shape, c->from_strides, c->to_strides);
    c->parts = 1;
    if (c->ndim == 0)
        return;
    for (d = 1; d < c->ndim; d++)
        items *= c->shape[d];   /* of a row */
    rows = c->shape[0];
    c->rows = VM_PIECE_WORK / (items > 0 ? items : 1) + 1;
    if (items * rows >= VM_SHARED_COPY && rows >= threads)
        c->parts = (int)vm_least(threads, POOL_MOST);
    if (c->rows < c->parts)
        c->rows = c->parts;
}

/* Of a call of a loop, about which nothing is known but its dimensions: too many looks do no harm. */
static double vm_call_cost(const LoopCall *c) {
    double cost = 0.2, largest = 1.0;
    int d;
    for (d = 0; d < 8; d++)
        if (c->dims[d] > 0) {
            cost *= (double)c->dims[d];
            largest = (double)c->dims[d] > largest ? (double)c->dims[d] : largest;
        }
    return 100.0 + cost * largest;
}

static double vm_copy_cost(const Copy *c) {
    double items = 1.0;
    int d;
    for (d = 0; d < c->ndim; d++)
        items *= (double)(d == 0 ? vm_least(c->rows, c->shape[0]) : c->shape[d]);
    return 10.0 + items;
}

static int vm_step_cost(const Plan *plan, const Step *s) {
    double cost = 10.0;
    if (s->kind == STEP_SCALARS)
        cost = 2.0 * (s->stop - s->index);
    else if (s->kind == STEP_GROUP) {
        const Group *g = &plan->groups[s->index];
        cost = g->nins * (8.0 + 0.5 * (double)vm_least(g->n, g->piece));
    } else if (s->kind == STEP_CALL)
        cost = vm_call_cost(&plan->loops[s->index]);
    else if (s->kind == STEP_ROUTINE)
        cost = 200.0 + plan->routines[s->index].cost;
    else if (s->kind == STEP_COPY)
        cost = vm_copy_cost(&plan->copies[s->index]);
    else if (s->kind == STEP_CLEAR)
        cost = 10.0 + 0.1 * (double)plan->clears[s->index].bytes;
    else if (s->kind == STEP_PYTHON)
        cost = 2000.0;
    return cost < 1e9 ? (int)cost : 1000000000;
}

static void vm_prepare(Plan *plan) {
    int k, threads = plan->threads > 1 ? plan->threads : 1;
    plan->scratch_bytes = 0;
    plan->cost = 0.0;
    for (k = 0; k < plan->nsteps; k++) {
        Step *s = &plan->steps[k];
        s->code = NULL;
        if (s->kind == STEP_SCALARS)
            vm_prepare_scalars(plan->scalars + s->index, plan->scalars + s->stop);
        else if (s->kind == STEP_GROUP) {
            npy_intp bytes = vm_prepare_group(&plan->groups[s->index], threads);
            if (bytes > plan->scratch_bytes)
                plan->scratch_bytes = bytes;
        } else if (s->kind == STEP_COPY)
            vm_prepare_copy(&plan->copies[s->index], threads);
        s->cost = vm_step_cost(plan, s);
        plan->cost += s->cost;
    }
}

#endif
