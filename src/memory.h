/* Memory of large arrays. A gradient frees its intermediate arrays at the end and asks for the same
   sizes at the next call; the C library gives such blocks back to the system in between, and every
   page of them has to be mapped and cleared again, which costs more than the arithmetic. This
   allocator, handed to NumPy by PyDataMem_SetHandler (NEP 49) for the arrays that the core makes,
   keeps a bounded number of freed blocks instead. The tables of tapes, recordings and the planner come
   from the same blocks. */
#ifndef AUTOGRAD_C_MEMORY_H
#define AUTOGRAD_C_MEMORY_H

#include <Python.h>
#include <numpy/arrayobject.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#define KEEP_SMALLEST ((size_t)16384)
#if defined(__SANITIZE_ADDRESS__)
/* The sanitizer must see every free. */
#define KEEP_LARGEST ((size_t)0)
#else
#define KEEP_LARGEST ((size_t)8 << 20)
#endif
#define KEEP_BYTES ((size_t)32 << 20)
#define KEEP_BLOCKS 64

static struct {
    void *block;
    size_t size;
} kept[KEEP_BLOCKS];
static int kept_count = 0;
static size_t kept_bytes = 0;
/* NumPy calls an allocator under the GIL; should it ever not, the loser of this lock goes to malloc. */
static char kept_lock = 0;

static void *kept_malloc(void *context, size_t size) {
    (void)context;
    if (size >= KEEP_SMALLEST && size <= KEEP_LARGEST && !__atomic_test_and_set(&kept_lock, __ATOMIC_ACQUIRE)) {
        void *found = NULL;
        for (int i = kept_count - 1; i >= 0; i--) {
            if (kept[i].size == size) {
                found = kept[i].block;
                kept_bytes -= size;
                kept_count--;
                for (; i < kept_count; i++) {
                    kept[i] = kept[i + 1];
                }
                break;
            }
        }
        __atomic_clear(&kept_lock, __ATOMIC_RELEASE);
        if (found) {
            return found;
        }
    }
    return malloc(size);
}

static void kept_free(void *context, void *block, size_t size) {
    (void)context;
    if (block && size >= KEEP_SMALLEST && size <= KEEP_LARGEST &&
        !__atomic_test_and_set(&kept_lock, __ATOMIC_ACQUIRE)) {
        /* The oldest blocks make room: what has not been asked for since will hardly be. */
        while (kept_count > 0 && (kept_count == KEEP_BLOCKS || kept_bytes + size > KEEP_BYTES)) {
            free(kept[0].block);
            kept_bytes -= kept[0].size;
            kept_count--;
            for (int i = 0; i < kept_count; i++) {
                kept[i] = kept[i + 1];
            }
        }
        kept[kept_count].block = block;
        kept[kept_count].size = size;
        kept_count++;
        kept_bytes += size;
        __atomic_clear(&kept_lock, __ATOMIC_RELEASE);
        return;
    }
    free(block);
}

static void *kept_calloc(void *context, size_t count, size_t size) {
    (void)context;
    return calloc(count, size);
}

static void *kept_realloc(void *context, void *block, size_t size) {
    (void)context;
    return realloc(block, size);
}

static PyDataMem_Handler keeping_handler = {
    "autograd_c_keeping", 1, {NULL, kept_malloc, kept_calloc, kept_realloc, kept_free}};

static PyObject *keeping_capsule = NULL;

static int make_keeping_capsule(void) {
    keeping_capsule = PyCapsule_New(&keeping_handler, "mem_handler", NULL);
    return keeping_capsule ? 0 : -1;
}

/* Tables: as PyMem_Malloc and its kind, but a large one is made of large pages where the system has them, since
   new pages are most of what it costs, and one in between takes a kept block. `tracemalloc` is told of both. The
   head keeps the alignment of malloc. */
typedef union {
    size_t size; /* of the block */
    char room[16];
} TableHead;

#define LARGE_PAGE ((size_t)2 << 20)

#if defined(__linux__) && defined(MADV_HUGEPAGE) && !defined(__SANITIZE_ADDRESS__)

static int is_large_table(size_t block) { return block >= LARGE_PAGE; }

/* Memory of its own that begins with a large page. */
static void *large_block(size_t size) {
    char *room = (char *)mmap(NULL, size + LARGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == (char *)MAP_FAILED) {
        return NULL;
    }
    char *block = (char *)(((size_t)room + LARGE_PAGE - 1) & ~(LARGE_PAGE - 1));
    if (block > room) {
        munmap(room, block - room);
    }
    munmap(block + size, room + LARGE_PAGE - block);
    madvise(block, size, MADV_HUGEPAGE); /* a wish: else the pages are small */
    return block;
}

/* The block in another size; its pages are moved, not copied. */
static void *large_block_again(void *block, size_t had, size_t size) {
    void *to = large_block(size);
    size_t held = had < size ? had : size;
    if (to && mremap(block, held, held, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED) {
        munmap(to, size);
        return NULL;
    }
    if (to && had > held) {
        munmap((char *)block + held, had - held);
    }
    return to;
}

static void free_large_block(void *block, size_t size) { munmap(block, size); }

#else

static int is_large_table(size_t block) {
    (void)block;
    return 0;
}

static void *large_block(size_t size) { return PyMem_Malloc(size); }

static void *large_block_again(void *block, size_t had, size_t size) {
    (void)had;
    return PyMem_Realloc(block, size);
}

static void free_large_block(void *block, size_t size) {
    (void)size;
    PyMem_Free(block);
}

#endif

static int is_kept_table(size_t block) {
    return block >= KEEP_SMALLEST && block <= KEEP_LARGEST && !is_large_table(block);
}

/* The size of the block for a table: rounded up, so that a kept one is likely to fit the next table. */
static size_t table_block(size_t size) {
    size_t block = size + sizeof(TableHead), step = KEEP_SMALLEST;
    if (is_large_table(block)) {
        return (block + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE;
    }
    if (!is_kept_table(block)) {
        return block;
    }
    while (step * 8 < block) {
        step *= 2;
    }
    return (block + step - 1) / step * step;
}

static int is_ours(size_t block) { return is_large_table(block) || is_kept_table(block); }

static void *table_in(void *block, size_t size) {
    if (!block) {
        return NULL;
    }
    if (is_ours(size)) {
        PyTraceMalloc_Track(0, (uintptr_t)block, size);
    }
    ((TableHead *)block)->size = size;
    return (TableHead *)block + 1;
}

static void *table_malloc(size_t size) {
    size_t block = table_block(size);
    if (size > PY_SSIZE_T_MAX / 2) {
        return NULL;
    }
    if (is_large_table(block)) {
        return table_in(large_block(block), block);
    }
    return table_in(is_kept_table(block) ? kept_malloc(NULL, block) : PyMem_Malloc(block), block);
}

static void *table_calloc(size_t count, size_t size) {
    if (size && count > PY_SSIZE_T_MAX / 2 / size) {
        return NULL;
    }
    void *table = table_malloc(count * size);
    if (table && !is_large_table(((TableHead *)table - 1)->size)) { /* new pages are clear */
        memset(table, 0, count * size);
    }
    return table;
}

static void table_free(void *table) {
    if (!table) {
        return;
    }
    TableHead *head = (TableHead *)table - 1;
    if (is_ours(head->size)) {
        PyTraceMalloc_Untrack(0, (uintptr_t)head);
    }
    if (is_large_table(head->size)) {
        free_large_block(head, head->size);
    } else if (is_kept_table(head->size)) {
        kept_free(NULL, head, head->size);
    } else {
        PyMem_Free(head);
    }
}

/* NULL leaves the table as it was. */
static void *table_realloc(void *table, size_t size) {
    if (!table) {
        return table_malloc(size);
    }
    if (size > PY_SSIZE_T_MAX / 2) {
        return NULL;
    }
    size_t block = table_block(size);
    TableHead *head = (TableHead *)table - 1;
    size_t had = head->size;
    if (block == had) {
        return table;
    }
    if (is_large_table(block) && is_large_table(had)) {
        void *again = large_block_again(head, had, block);
        if (again) {
            PyTraceMalloc_Untrack(0, (uintptr_t)head);
        }
        return table_in(again, block);
    }
    if (!is_ours(block) && !is_ours(had)) {
        return table_in(PyMem_Realloc(head, block), block);
    }
    void *to = table_malloc(size);
    if (to) {
        had -= sizeof(TableHead);
        memcpy(to, table, had < size ? had : size);
        table_free(table);
    }
    return to;
}

/* PyArray_SimpleNew, in kept memory where the array is large. */
static PyObject *new_array(int ndim, npy_intp *dims, int number, npy_intp item) {
    npy_intp bytes = item;
    for (int i = 0; i < ndim; i++) {
        bytes *= dims[i];
    }
    if (bytes < (npy_intp)KEEP_SMALLEST || bytes > (npy_intp)KEEP_LARGEST) {
        return PyArray_SimpleNew(ndim, dims, number);
    }
    PyObject *usual = PyDataMem_SetHandler(keeping_capsule);
    if (!usual) {
        return NULL;
    }
    PyObject *out = PyArray_SimpleNew(ndim, dims, number);
    PyObject *ours = PyDataMem_SetHandler(usual);
    Py_DECREF(usual);
    if (!ours) {
        Py_XDECREF(out);
        return NULL;
    }
    Py_DECREF(ours);
    return out;
}

#endif
