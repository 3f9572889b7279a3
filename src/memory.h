/* Memory of large arrays. A gradient frees its intermediate arrays at the end and asks for the same
   sizes at the next call; the C library gives such blocks back to the system in between, and every
   page of them has to be mapped and cleared again, which costs more than the arithmetic. This
   allocator, handed to NumPy by PyDataMem_SetHandler (NEP 49) for the arrays that the core makes,
   keeps a bounded number of freed blocks instead. */
#ifndef AUTOGRAD_C_MEMORY_H
#define AUTOGRAD_C_MEMORY_H

#include <Python.h>
#include <numpy/arrayobject.h>
#include <stdlib.h>

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
