/* Machine code for scalar instructions.

   The interpreter spends most of the time of a scalar instruction on finding operands and the next
   instruction. A program that has been run often is translated, instruction by instruction, to code for
   x86-64 with AVX: the same operations in the same order, so the same bits, but for the sign of a NaN, and the
   same flags. Other processors, and systems that refuse memory with code, go on with the interpreter.

     code        one mapping for all stretches of a program, which is never writable and executable at once; no
                 addresses stand in it: bases, calls and helpers come as arguments
     rbx         the file of doubles, FILE_BIAS bytes on, so that the short displacements reach 32 of them
     rbp         the constants and helpers
     r12, r13    bases, calls
     xmm         the latest values: registers are taken in turn, and each remembers whose value it has

   A result goes to memory only where something reads it from there: a first pass over the instructions finds
   out, a second one writes the code. Both take the same registers. */
#ifndef AUTOGRAD_C_NATIVE_H
#define AUTOGRAD_C_NATIVE_H

#include "memory.h"
#include "vm.h"

#if defined(__x86_64__) && defined(__GNUC__) && (defined(__linux__) || defined(__APPLE__))
#include <stddef.h>
#include <sys/mman.h>

/* What the code finds behind rbp, within a short displacement. */
typedef struct {
    npy_uint64 sign[2], magnitude[2];   /* bits of a double, for packed operations */
    double one[2], zero;
    double (*sine)(double, double *);
    double (*power)(double, double);
    void (*loop)(const VmCall *, double *, double *, double *);
} Helpers;

/* The sine; the cosine is written. */
static double native_sine(double x, double *cosine) {
    double sine;
    libm_sincos(x, &sine, cosine);
    return sine;
}

static double native_power(double x, double y) {
    return libm_pow(x, y);
}

static const Helpers native_helpers = {
    {(npy_uint64)1 << 63, 0}, {~((npy_uint64)1 << 63), 0}, {1.0, 0.0}, 0.0,
    native_sine, native_power, vm_call_scalar
};
#define HELPER(name) ((npy_int64)offsetof(Helpers, name))

enum { XMM_REGISTERS = 16, FILE_BIAS = 128, LONGEST_CODE = 64 };
enum { FURTHEST = 0x7FFFFFFF / 8 };     /* the operand that the longest displacement reaches */

typedef struct {
    unsigned char line[LONGEST_CODE];   /* of the instruction at hand */
    int length;
    unsigned char *code;                /* NULL in the first pass */
    npy_int64 at;                       /* bytes before the instruction at hand */
    npy_int64 number;                   /* of the instruction at hand */
    npy_int64 held[XMM_REGISTERS];      /* by register: the operand whose value it has, or -1 */
    int next;                           /* the register to be taken next */
    int pinned;                         /* a bit for each register that the instruction at hand still needs */
    unsigned char *stored;              /* by instruction: whether its result goes to memory */
    npy_int64 *writer;                  /* by operand: the instruction that wrote it, or -1; in the first
                                           pass, and NULL if all results are stored */
    int shortest;                       /* stretches of fewer instructions are left to the interpreter */
    int failed;                         /* there is no code for some instruction */
} Coder;

/* --- bytes ---------------------------------------------------------------------------------------- */

enum { RAX = 0, RCX, RDX, RBX, RBP = 5, RSI, RDI };
enum { PACKED = 1, SINGLE = 3 };        /* the prefix of an operation: on two doubles, or on one */
enum {
    X_LOAD = 0x10, X_STORE = 0x11, X_COPY = 0x28, X_FLAGS = 0x2E, X_ROOT = 0x51, X_AND = 0x54, X_OR = 0x56,
    X_XOR = 0x57, X_ADD = 0x58, X_MULTIPLY = 0x59, X_SUBTRACT = 0x5C, X_DIVIDE = 0x5E, X_COMPARE = 0xC2
};
/* Predicates of X_COMPARE; none raises a flag for a quiet NaN. */
enum { EQUAL = 0, NOT_EQUAL = 4, LESS = 0x11, LESS_EQUAL = 0x12, GREATER_EQUAL = 0x1D, GREATER = 0x1E };

static inline void put(Coder *c, int byte) {
    c->line[c->length++] = (unsigned char)byte;
}

static void put_bytes(Coder *c, const char *bytes, int n) {
    memcpy(c->line + c->length, bytes, (size_t)n);
    c->length += n;
}
#define PUT(c, text) put_bytes(c, text, (int)sizeof(text) - 1)

static inline void put_number(Coder *c, npy_int64 number) {
    npy_int32 four = (npy_int32)number;
    memcpy(c->line + c->length, &four, 4);
    c->length += 4;
}

/* The bytes that name a register (or what an operation has in its place) and memory at `base` + `offset`. */
static inline void put_memory(Coder *c, int reg, int base, npy_int64 offset) {
    if (-128 <= offset && offset < 128) {
        put(c, 0x40 | (reg & 7) << 3 | base);
        put(c, (int)offset);
    } else {
        put(c, 0x80 | (reg & 7) << 3 | base);
        put_number(c, offset);
    }
}

/* reg = first op memory; without a first operand, that is 0 */
static inline void code_memory(Coder *c, int prefix, int op, int reg, int first, int base, npy_int64 offset) {
    put(c, 0xC5);
    put(c, (reg < 8) << 7 | (~first & 15) << 3 | prefix);
    put(c, op);
    put_memory(c, reg, base, offset);
}

/* reg = first op second */
static inline void code_registers(Coder *c, int prefix, int op, int reg, int first, int second) {
    if (second < 8) {
        put(c, 0xC5);
        put(c, (reg < 8) << 7 | (~first & 15) << 3 | prefix);
    } else {
        put(c, 0xC4);
        put(c, (reg < 8) << 7 | 0x41);
        put(c, (~first & 15) << 3 | prefix);
    }
    put(c, op);
    put(c, 0xC0 | (reg & 7) << 3 | (second & 7));
}

/* reg = condition ? yes : no, by the sign bit of the condition */
static void code_blend(Coder *c, int reg, int condition, int yes, int no) {
    put(c, 0xC4);
    put(c, (reg < 8) << 7 | (yes < 8) << 5 | 0x43);
    put(c, (~no & 15) << 3 | PACKED);
    put(c, 0x4B);
    put(c, 0xC0 | (reg & 7) << 3 | (yes & 7));
    put(c, condition << 4);
}

static inline npy_int64 offset_of(unsigned int operand) {
    return 8 * (npy_int64)operand - FILE_BIAS;
}

static void code_address(Coder *c, int reg, unsigned int operand) {
    PUT(c, "\x48\x8D");     /* lea */
    put_memory(c, reg, RBX, offset_of(operand));
}

static void code_jump(Coder *c, npy_int64 to) {
    put(c, 0xE9);
    put_number(c, to - (c->at + c->length + 4));
}

/* The instruction at hand is complete. */
static void finish(Coder *c) {
    if (c->code != NULL)
        memcpy(c->code + c->at, c->line, (size_t)c->length);
    c->at += c->length;
    c->length = 0;
    c->pinned = 0;
}

/* --- registers ------------------------------------------------------------------------------------- */

/* The register that has an operand's value, or -1. */
static inline int holder(const Coder *c, unsigned int operand) {
    int r;
    for (r = 0; r < XMM_REGISTERS; r++)
        if (c->held[r] == (npy_int64)operand)
            return r;
    return -1;
}

static inline int take(Coder *c) {
    int r;
    while (c->pinned >> c->next & 1)
        c->next = (c->next + 1) % XMM_REGISTERS;
    r = c->next;
    c->next = (r + 1) % XMM_REGISTERS;
    c->held[r] = -1;
    return r;
}

static void forget_registers(Coder *c) {
    int r;
    for (r = 0; r < XMM_REGISTERS; r++)
        c->held[r] = -1;
}

/* The operand is read from memory: whoever wrote it has to put it there. */
static inline void read_memory(Coder *c, unsigned int operand) {
    if (c->writer != NULL && c->writer[operand] >= 0)
        c->stored[c->writer[operand]] = 1;
}

/* The register with an operand's value, which it keeps until the end of the instruction at hand. */
static inline int loaded(Coder *c, unsigned int operand) {
    int r = holder(c, operand);
    if (r < 0) {
        r = take(c);
        read_memory(c, operand);
        code_memory(c, SINGLE, X_LOAD, r, 0, RBX, offset_of(operand));
        c->held[r] = operand;
    }
    c->pinned |= 1 << r;
    return r;
}

/* The operand has a new value: in that register, or in memory where that is -1. */
static inline void written(Coder *c, unsigned int operand, int reg) {
    int old = holder(c, operand);
    if (old >= 0)
        c->held[old] = -1;
    if (c->writer != NULL)
        c->writer[operand] = c->number;
    if (reg < 0)
        return;
    c->held[reg] = operand;
    if (c->stored[c->number] || c->code == NULL)
        code_memory(c, SINGLE, X_STORE, reg, 0, RBX, offset_of(operand));
}

/* Calls a helper, which keeps no register of doubles. */
static void code_call(Coder *c, npy_int64 helper) {
    put(c, 0xFF);
    put_memory(c, 2, RBP, helper);
    forget_registers(c);
}

/* --- instructions ----------------------------------------------------------------------------------- */

static inline void code_binary(Coder *c, int op, unsigned int a, unsigned int b, unsigned int out) {
    int first, second, r, swaps = op == X_ADD || op == X_MULTIPLY;
    if (swaps && holder(c, a) < 0 && holder(c, b) >= 0) {
        unsigned int other = a;
        a = b;
        b = other;
    }
    first = loaded(c, a);
    second = holder(c, b);
    r = take(c);    /* may be that of the second operand, which is read before */
    if (second >= 0) {
        code_registers(c, SINGLE, op, r, first, second);
    } else {
        read_memory(c, b);
        code_memory(c, SINGLE, op, r, first, RBX, offset_of(b));
    }
    written(c, out, r);
}

/* The truth value that a register of ones and zeros, bit by bit, stands for. */
static void code_truth(Coder *c, int r, unsigned int out) {
    code_memory(c, PACKED, X_AND, r, r, RBP, HELPER(one));
    written(c, out, r);
}

static void code_comparison(Coder *c, int predicate, const ScalarIns *i) {
    int first = loaded(c, i->a), second = loaded(c, i->b), r = take(c);
    code_registers(c, SINGLE, X_COMPARE, r, first, second);
    put(c, predicate);
    code_truth(c, r, i->out);
}

/* A register of ones and zeros: how an operand compares with 0. */
static int against_zero(Coder *c, unsigned int operand, int predicate) {
    int a = loaded(c, operand), r = take(c);
    c->pinned |= 1 << r;
    code_memory(c, SINGLE, X_COMPARE, r, a, RBP, HELPER(zero));
    put(c, predicate);
    return r;
}

static void code_unary(Coder *c, int op, const ScalarIns *i) {
    int a = loaded(c, i->a), r = take(c);
    switch (op) {
    case S_MOVE: code_registers(c, PACKED, X_COPY, r, 0, a); break;
    case S_NEG: code_memory(c, PACKED, X_XOR, r, a, RBP, HELPER(sign)); break;
    case S_ABS: code_memory(c, PACKED, X_AND, r, a, RBP, HELPER(magnitude)); break;
    case S_SQRT: code_registers(c, SINGLE, X_ROOT, r, a, a); break;
    case S_SQUARE: code_registers(c, SINGLE, X_MULTIPLY, r, a, a); break;
    default:    /* S_RECIPROCAL */
        code_memory(c, SINGLE, X_LOAD, r, 0, RBP, HELPER(one));
        code_registers(c, SINGLE, X_DIVIDE, r, r, a);
    }
    written(c, i->out, r);
}

static void code_select(Coder *c, const ScalarIns *i) {
    int yes = loaded(c, i->b), no = loaded(c, i[1].a), condition = against_zero(c, i->a, NOT_EQUAL);
    int r = take(c);
    code_blend(c, r, condition, yes, no);
    written(c, i->out, r);
}

static void code_sines(Coder *c, const ScalarIns *i) {
    int a = loaded(c, i->a);
    if (a != 0)
        code_registers(c, PACKED, X_COPY, 0, 0, a);
    code_address(c, RDI, i->b);
    code_call(c, HELPER(sine));
    written(c, i->b, -1);
    written(c, i->out, 0);
}

static void code_power(Coder *c, const ScalarIns *i) {
    int a = loaded(c, i->a), b = loaded(c, i->b), spare;
    if (b == 0) {
        spare = take(c);
        code_registers(c, PACKED, X_COPY, spare, 0, b);
        b = spare;
    }
    if (a != 0)
        code_registers(c, PACKED, X_COPY, 0, 0, a);
    if (b != 1)
        code_registers(c, PACKED, X_COPY, 1, 0, b);
    code_call(c, HELPER(power));
    written(c, i->out, 0);
}

static void code_loop(Coder *c, int op, const ScalarIns *i) {
    PUT(c, "\x49\x8D");     /* lea rdi, the call */
    put_memory(c, RDI, RBP, (npy_int64)sizeof(VmCall) * i->k);
    read_memory(c, i->a);
    code_address(c, RSI, i->a);
    if (op == S_CALL2) {
        read_memory(c, i->b);
        code_address(c, RDX, i->b);
    } else
        PUT(c, "\x31\xD2"); /* xor edx, edx */
    code_address(c, RCX, i->out);
    code_call(c, HELPER(loop));
    written(c, i->out, -1);
}

static void code_load(Coder *c, const ScalarIns *i) {
    int r = take(c);
    c->failed |= i->k == 0;         /* base 0 is the file, parts of which may be in registers */
    PUT(c, "\x49\x8B\x84\x24");     /* mov rax, the base */
    put_number(c, (npy_int64)sizeof(char *) * i->k);
    code_memory(c, SINGLE, X_LOAD, r, 0, RAX, 8 * (npy_int64)i->a);
    written(c, i->out, r);
}

/* A comparison with a NaN sets the parity flag, as does being unequal: both are true. */
static void code_guard(Coder *c, const ScalarIns *i) {
    int a = loaded(c, i->a);
    code_memory(c, PACKED, X_FLAGS, a, 0, RBP, HELPER(zero));
    if (i->b)
        PUT(c, "\x75\x0C\x7A\x0A");     /* jne on; jp on */
    else
        PUT(c, "\x7A\x02\x74\x0A");     /* jp stop; je on */
    put(c, 0xB8);                       /* stop: mov eax, the guard */
    put_number(c, i->out);
    code_jump(c, 0);
    /* on: */
}

static void code_instruction(Coder *c, int op, const ScalarIns *i) {
    int a;
    switch (op) {
    case S_ADD: code_binary(c, X_ADD, i->a, i->b, i->out); break;
    case S_SUB: code_binary(c, X_SUBTRACT, i->a, i->b, i->out); break;
    case S_MUL: code_binary(c, X_MULTIPLY, i->a, i->b, i->out); break;
    case S_DIV: code_binary(c, X_DIVIDE, i->a, i->b, i->out); break;
    case S_MOVE: case S_NEG: case S_ABS: case S_SQRT: case S_SQUARE: case S_RECIPROCAL:
        code_unary(c, op, i);
        break;
    case S_POW: code_power(c, i); break;
    case S_LT: code_comparison(c, LESS, i); break;
    case S_LE: code_comparison(c, LESS_EQUAL, i); break;
    case S_GT: code_comparison(c, GREATER, i); break;
    case S_GE: code_comparison(c, GREATER_EQUAL, i); break;
    case S_EQ: code_comparison(c, EQUAL, i); break;
    case S_NE: code_comparison(c, NOT_EQUAL, i); break;
    case S_AND:
    case S_OR:
        a = against_zero(c, i->a, NOT_EQUAL);
        code_registers(c, PACKED, op == S_AND ? X_AND : X_OR, a, a, against_zero(c, i->b, NOT_EQUAL));
        code_truth(c, a, i->out);
        break;
    case S_NOT: code_truth(c, against_zero(c, i->a, EQUAL), i->out); break;
    case S_SELECT: code_select(c, i); break;
    case S_CALL1: case S_CALL2: code_loop(c, op, i); break;
    case S_SINCOS: code_sines(c, i); break;
    case S_LOAD: code_load(c, i); break;
    case S_GUARD: code_guard(c, i); break;
    default: c->failed = 1;
    }
}

/* --- programs --------------------------------------------------------------------------------------- */

/* The operation of an instruction as it was before vm_prepare. */
static int native_operation(const ScalarIns *i) {
    return i->op < VM_FORMS ? i->op % S_OPS : VM_FIRST_OF_PAIR(i->op);
}

/* The way in: keeps rbx, rbp, r12, r13 and the stack aligned, and fills these registers. */
static const char native_entry[] =
    "\x53\x55\x41\x54\x41\x55\x48\x83\xEC\x08"      /* push rbx, rbp, r12, r13; sub rsp, 8 */
    "\x49\x89\xFC\x49\x89\xF5\x48\x89\xD5"          /* mov r12, rdi; mov r13, rsi; mov rbp, rdx */
    "\x48\x8B\x1F\x48\x83\xEB\x80";                 /* mov rbx, [rdi]; sub rbx, -FILE_BIAS */
/* The way out, at the beginning of the mapping. */
static const char native_exit[] = "\x48\x83\xC4\x08\x41\x5D\x41\x5C\x5D\x5B\xC3";

/* The operand's value at the end of a stretch stays in memory, for other steps. */
static void keep(Coder *c, unsigned int operand) {
    read_memory(c, operand);
    c->writer[operand] = -1;
}

static void keep_results(Coder *c, const ScalarIns *i, const ScalarIns *stop) {
    for (; i < stop; i++) {
        int op = native_operation(i);
        if (op != S_GUARD && op != S_NONE)
            keep(c, i->out);
        if (op == S_SINCOS)
            keep(c, i->b);
    }
}

static void code_stretch(Coder *c, const Plan *plan, const Step *s) {
    const ScalarIns *i = plan->scalars + s->index, *stop = plan->scalars + s->stop;
    forget_registers(c);
    c->next = 0;
    PUT(c, native_entry);
    finish(c);
    for (; i < stop; i++) {
        int op = native_operation(i);
        c->number = i - plan->scalars;
        code_instruction(c, op, i);
        finish(c);
        i += op == S_SELECT;
    }
    PUT(c, "\x83\xC8\xFF");     /* or eax, -1 */
    code_jump(c, 0);
    finish(c);
    if (c->code == NULL && c->writer != NULL)
        keep_results(c, plan->scalars + s->index, stop);
}

static int is_translated(const Coder *c, const Step *s) {
    return s->kind == STEP_SCALARS && s->stop - s->index >= c->shortest;
}

/* One pass over a program; `entries` receives where the stretches begin. */
static void code_pass(Coder *c, const Plan *plan, npy_int64 *entries) {
    int k;
    c->at = 0;
    PUT(c, native_exit);
    finish(c);
    for (k = 0; k < plan->nsteps; k++)
        if (is_translated(c, &plan->steps[k])) {
            entries[k] = c->at;
            code_stretch(c, plan, &plan->steps[k]);
        }
}

/* One past the last operand of an instruction, or of what is behind a base. */
static npy_int64 native_reach(const ScalarIns *i) {
    int op = native_operation(i);
    int two = vm_arity(op) == 2 || op == S_SINCOS || op == S_SELECT || op == S_CALL2;
    npy_int64 last = i->a;
    if (two && i->b > last)
        last = i->b;
    if (op != S_GUARD && op != S_NONE && i->out > last)
        last = i->out;
    return last + 1;
}

/* The second pass, into memory of the size that the first one has found. Nothing changes where there is none. */
static void write_code(Coder *c, Plan *plan, npy_int64 *entries) {
    size_t bytes = (size_t)c->at;
    void *code = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int k;
    if (code == MAP_FAILED)
        return;
    c->code = (unsigned char *)code;
    code_pass(c, plan, entries);
    if (mprotect(code, bytes, PROT_READ | PROT_EXEC) != 0) {
        munmap(code, bytes);
        return;
    }
    plan->native = code;
    plan->native_bytes = bytes;
    plan->helpers = &native_helpers;
    for (k = 0; k < plan->nsteps; k++)
        if (is_translated(c, &plan->steps[k]))
            VM_PUBLISH(plan->steps[k].code, (VmCode)(c->code + entries[k]));
}

/* Translates a program whose `nscalars` instructions vm_prepare has seen, but for stretches of less than
   `shortest`. Other threads may run it meanwhile. Returns how many instructions have got machine code: 0 if
   that cannot be. */
static npy_int64 native_translate(Plan *plan, npy_int64 nscalars, int shortest) {
    Coder c = {.shortest = shortest};
    npy_int64 instructions = 0, operands = 0, i, *entries = NULL;
    int k;
    for (k = 0; k < plan->nsteps; k++)
        for (i = plan->steps[k].index; is_translated(&c, &plan->steps[k]) && i < plan->steps[k].stop; i++) {
            npy_int64 reach = native_reach(&plan->scalars[i]);
            operands = reach > operands ? reach : operands;
            instructions++;
        }
    if (plan->native != NULL || instructions == 0 || operands > FURTHEST || !__builtin_cpu_supports("avx"))
        return 0;
    entries = (npy_int64 *)table_malloc((size_t)plan->nsteps * sizeof *entries);
    c.stored = (unsigned char *)table_calloc((size_t)nscalars, 1);
    /* Scalars may lie behind large arrays: the table has to be worth its memory. */
    if (operands <= 4 * nscalars + 4096)
        c.writer = (npy_int64 *)table_malloc((size_t)operands * sizeof *c.writer);
    if (entries == NULL || c.stored == NULL)
        c.failed = 1;
    if (c.writer != NULL)
        memset(c.writer, 0xFF, (size_t)operands * sizeof *c.writer);
    else if (c.stored != NULL)
        memset(c.stored, 1, (size_t)nscalars);
    if (!c.failed)
        code_pass(&c, plan, entries);
    table_free(c.writer);
    c.writer = NULL;
    if (!c.failed && c.at <= 0x7FFFFFFF)
        write_code(&c, plan, entries);
    table_free(c.stored);
    table_free(entries);
    return plan->native != NULL ? instructions : 0;
}

static void native_free(Plan *plan) {
    if (plan->native != NULL)
        munmap(plan->native, plan->native_bytes);
}

#else

static npy_int64 native_translate(Plan *plan, npy_int64 nscalars, int shortest) {
    (void)plan;
    (void)nscalars;
    (void)shortest;
    return 0;
}

static void native_free(Plan *plan) {
    (void)plan;
}

#endif
#endif
