# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: c_api_binop_methods=True, freethreading_compatible=False, always_allow_keywords=True
"""The compiled core: box, tape and sweeps, primitives and their dispatch, and the machine that runs rules.

One extension module of several parts, in the order of `docs/architecture.md`:

==================  ==========================================================================
``loops.pxi``       NumPy's inner loops and the floating-point flags
``machine.pxi``     the machine of `vm.h`, and programs for it: elementwise rules
``box.pxi``         the value being traced, its operators and protocols
``tape.pxi``        the Wengert list
``sweep.pxi``       adjoints and the reverse sweep
``primitive.pxi``   primitives, their rules and the dispatch
``elementwise.pxi`` elementwise primitives on scalars and arrays
``calls.pxi``       primitives with rules for whole arrays
``kernels.pxi``     compiled ways of sum, mean, matmul and dot
``indexing.pxi``    indexing and updates in place
``runs.pxi``        runs of elementwise entries over long arrays, swept together
``fit.pxi``         bringing a contribution to a shape and dtype
``tree.pxi``        containers: leaves and structure
``trace.pxi``       reverse, forward and recording traces; what the operators call
``record.pxi``      recordings: functions as lists of primitive calls
``nested.pxi``      reverse traces of recorded values
``vm.pxi``          replays on the machine: tables of a program, and a run of it
``native.pxi``      when their scalar instructions become machine code (``native.h``)
``simplify.pxi``    from a recording to a draft of the program
``batches.pxi``     products of rows with one matrix as one product
``steps.pxi``       calls that are made of others, maps of items, joins
``plan.pxi``        from a draft to a program: classify, schedule, lay out
``linalg.pxi``      linear algebra by BLAS and LAPACK
``scans.pxi``       running sums and their kind
``fastmath.pxi``    what the planner may do with `fastmath`
``signs.pxi``       changes of sign that other calls do
``emit.pxi``        the program's tables
``explain.pxi``     what a program does, read back for people
``compiled.pxi``    compiled functions: how a call finds its program
``environment.pxi`` compiled functions: what a function reads besides its arguments
``policy.pxi``      compiled functions: calls without a program, which are recorded
``inside.pxi``      compiled functions inside of derivatives
``debug.pxi``       debug mode
==================  ==========================================================================

What must be fast is here. Names, policy and everything that runs once in a while live in Python and are
reached through `hooks`, which `autograd_c.rules` fills.
"""
cimport cython
cimport numpy as cnp
from cpython.complex cimport PyComplex_Check
from cpython.exc cimport PyErr_CheckSignals, PyErr_Clear, PyErr_Occurred
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check, PyFloat_CheckExact
from cpython.list cimport PyList_Append
from cpython.long cimport PyLong_AsDouble, PyLong_Check
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject_GetItem, PyObject_SetItem
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF, Py_XINCREF, PyObject
from cpython.sequence cimport PySequence_Check
from cpython.tuple cimport PyTuple_New
from cpython.weakref cimport PyWeakref_NewRef
from libc.limits cimport INT_MAX, UINT_MAX
from libc.math cimport INFINITY, NAN, exp, fabs, floor, log, sqrt
from libc.stdlib cimport qsort
from libc.string cimport memcpy, memmove, memset, strcmp, strcpy, strlen

import numpy as np
import os
from fractions import Fraction
from functools import update_wrapper
from math import prod as math_prod
from operator import getitem as operator_getitem, index as operator_index
from types import GenericAlias, MethodType

cnp.import_array()
cnp.import_umath()

cdef extern from "Python.h":
    ctypedef struct PySequenceMethods:
        void *sq_item
        void *sq_ass_item
    ctypedef struct PyTypeObject:
        object (*tp_alloc)(type, Py_ssize_t)
        void (*tp_dealloc)(PyObject *) noexcept
        Py_ssize_t tp_vectorcall_offset
        unsigned long tp_flags
        object (*tp_call)(object, object, object)
        object (*tp_new)(type, PyObject *, PyObject *)
        PyObject *tp_dict
        PySequenceMethods *tp_as_sequence
    ctypedef object (*vectorcallfunc)(object, PyObject *const *, size_t, PyObject *)
    unsigned long Py_TPFLAGS_HAVE_VECTORCALL
    Py_ssize_t PY_SSIZE_T_MAX
    Py_ssize_t PyVectorcall_NARGS(size_t) noexcept nogil
    object PyVectorcall_Call(object, object, object)
    object PyObject_Vectorcall(object, PyObject *const *, size_t, PyObject *)
    object PyObject_Call(object, object, object)
    object PyObject_CallObject(object, object)
    Py_ssize_t Py_REFCNT(object) noexcept
    PyObject *PyList_GET_ITEM(object, Py_ssize_t) noexcept
    list PyList_New(Py_ssize_t)
    void PyList_SET_ITEM(object, Py_ssize_t, object)
    Py_ssize_t PyList_GET_SIZE(object) noexcept
    PyObject *PyTuple_GET_ITEM(object, Py_ssize_t) noexcept
    void PyTuple_SET_ITEM(object, Py_ssize_t, object)
    Py_ssize_t PyTuple_GET_SIZE(object) noexcept
    ctypedef struct PyTupleObject:
        PyObject *ob_item[1]
    const char *PyUnicode_AsUTF8(object) except NULL
    int Py_EnterRecursiveCall(const char *) except *
    void Py_LeaveRecursiveCall() noexcept
    void PyType_Modified(type)

cdef extern from "numpy/arrayobject.h":
    object PyArray_NewFromDescr(type, cnp.dtype, int, cnp.npy_intp *, cnp.npy_intp *, void *, int, object)

cdef type np_float64 = np.float64, np_generic = np.generic, np_float32 = np.float32
cdef object FRACTION = Fraction
cdef object np_dtype = np.dtype, np_asarray = np.asarray, np_array = np.array, np_zeros = np.zeros
cdef object DTYPE_FLOAT64 = np.dtype(np.float64)
cdef object np_add = np.add, np_ufunc = np.ufunc, np_transpose = np.transpose
cdef object np_maximum = np.maximum, np_minimum = np.minimum, np_multiply = np.multiply
cdef object np_novalue = np._NoValue, np_sin = np.sin, np_cos = np.cos
cdef object np_empty = np.empty, np_uint8 = np.uint8, np_shape = np.shape
cdef object np_may_share_memory = np.may_share_memory, np_int64 = np.dtype(np.int64)
cdef object np_unravel_index = np.unravel_index
cdef object np_bool = np.bool_, np_complexfloating = np.complexfloating, np_complex128 = np.complex128

# What compiled code asks of Python: filled by autograd_c.rules when it is imported.
hooks = {}
# From a NumPy function to what stands in for it: a Primitive or a function made of primitives.
registry = {}
# The same for functions that take `like=`: called with the box first.
likes = {}

cdef class Trace
cdef class Tape
cdef class Box
cdef class Primitive
cdef class Spot
cdef class PythonStep
cdef class Code
cdef class Node
cdef class Linear
cdef class PreparedProgram

include "loops.pxi"
include "machine.pxi"
include "box.pxi"
include "debug.pxi"
include "tape.pxi"
include "sweep.pxi"
include "tree.pxi"
include "trace.pxi"
include "record.pxi"
include "primitive.pxi"
include "elementwise.pxi"
include "nested.pxi"
include "calls.pxi"
include "kernels.pxi"
include "indexing.pxi"
include "fit.pxi"
include "runs.pxi"
include "vm.pxi"
include "native.pxi"
include "domains.pxi"
include "batches.pxi"
include "simplify.pxi"
include "plan.pxi"
include "linalg.pxi"
include "steps.pxi"
include "scans.pxi"
include "fastmath.pxi"
include "signs.pxi"
include "emit.pxi"
include "explain.pxi"


cdef int offer_vectorcall(type which, Py_ssize_t offset) except -1:
    """Lets Python call the instances of a type without packing a tuple."""
    cdef PyTypeObject *t = <PyTypeObject *>which
    t.tp_vectorcall_offset = offset
    t.tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL
    t.tp_call = PyVectorcall_Call
    PyType_Modified(which)
    return 0


cdef int offer_vectorcalls() except -1:
    cdef Primitive p = Primitive.__new__(Primitive)
    cdef Composite c = Composite.__new__(Composite)
    offer_vectorcall(Primitive, <char *>&p.vectorcall - <char *><PyObject *>p)
    offer_vectorcall(Composite, <char *>&c.vectorcall - <char *><PyObject *>c)
    return 0


cdef object refuse_new(type cls, PyObject *args, PyObject *kwargs):
    raise TypeError("a %s is made by grad, jvp and the other operators, not by hand" % cls.__name__)


offer_vectorcalls()
# The core makes its own by another way: what it does not fill must not exist.
for made_inside in (Box, Trace, Tape, View, Pullback):
    (<PyTypeObject *>made_inside).tp_new = refuse_new
dealloc_rest = (<PyTypeObject *>Box).tp_dealloc
(<PyTypeObject *>Box).tp_dealloc = dealloc_box
# Not a sequence to C code: NumPy would meet the error of `plain_array[i] = box` with one of its own.
(<PyTypeObject *>Box).tp_as_sequence.sq_item = NULL
(<PyTypeObject *>Box).tp_as_sequence.sq_ass_item = NULL
PyType_Modified(Box)


def install(str name, value):
    """Gives `Box` a method or property: the ndarray interface is written in Python."""
    (<dict><object>(<PyTypeObject *>Box).tp_dict)[name] = value
    PyType_Modified(Box)


def is_box(value):
    """Whether a value is being traced."""
    return type(value) is Box


cdef bint holds_box(object v) except -1:
    if type(v) is Box:
        return True
    cdef bint found = False
    if type(v) is list or type(v) is tuple:
        Py_EnterRecursiveCall(" in a list or tuple that holds itself, or is nested too deep")
        try:
            for item in v:
                if holds_box(item):
                    found = True
                    break
        finally:
            Py_LeaveRecursiveCall()
    return found


def any_box(tuple args, kwargs):
    """Whether a box is among the arguments, lists and tuples inside them included."""
    for v in args:
        if holds_box(v):
            return True
    if kwargs:
        for v in kwargs.values():
            if holds_box(v):
                return True
    return False


def value_of(value):
    """The plain value inside a box, whatever the number of traces around it.

    Code that computes with it leaves the trace: a recording for replay notes that.
    """
    return innermost(value)


def recorded(value):
    """Whether a value is traced by a recording for replay only: no derivative passes through it."""
    return type(value) is Box and (<Box>value).trace.mode == RECORD and (<Box>value).trace.replay


def stand_in(value):
    """The same for code that looks at shape, dtype and memory layout only, which a recording fixes anyway."""
    while type(value) is Box:
        value = box_value(current(<Box>value))
    return value


cdef Primitive made(object fun, str name=None):
    cdef Primitive p = Primitive(fun, name)
    p.keep()
    registry[fun] = p
    return p


def _array(*items):
    """An array of one axis from scalars."""
    return np_array(items)


def _matmul_add(x, y, to):
    """Of a replay: a product that is added to another one."""
    return to + np.matmul(x, y)


def _leaf():
    """Stands for the differentiated argument itself on a tape."""


cdef Primitive P_ADD = made(np.add), P_SUB = made(np.subtract)
cdef Primitive P_MUL = made(np.multiply), P_DIV = made(np.divide)
cdef Primitive P_MOD = made(np.remainder), P_FLOORDIV = made(np.floor_divide), P_POW = made(np.power)
cdef Primitive P_NEG = made(np.negative), P_POS = made(np.positive), P_ABS = made(np.absolute)
cdef Primitive P_SQUARE = made(np.square), P_SQRT = made(np.sqrt), P_RECIPROCAL = made(np.reciprocal)
cdef Primitive P_LT = made(np.less), P_LE = made(np.less_equal), P_GT = made(np.greater)
cdef Primitive P_GE = made(np.greater_equal), P_EQ = made(np.equal), P_NE = made(np.not_equal)
cdef Primitive P_MATMUL = made(np.matmul), P_WHERE = made(np.where)
cdef Primitive P_AND = made(np.bitwise_and), P_OR = made(np.bitwise_or), P_XOR = made(np.bitwise_xor)
cdef Primitive P_INVERT = made(np.invert), P_LEFT = made(np.left_shift), P_RIGHT = made(np.right_shift)
cdef Primitive P_LEAF = Primitive(_leaf, "argument"), P_ARRAY = Primitive(_array, "array")
cdef Primitive P_SETITEM = Primitive(_leaf, "setitem"), P_ITEM = Primitive(operator_getitem, "item")
cdef Primitive P_ZEROS = Primitive(np.zeros, "zeros"), P_MATMUL_ADD = Primitive(_matmul_add, "matmul_add")
cdef Primitive P_INT = Primitive(int, "int"), P_INDEX = Primitive(operator_index, "index")
P_LEAF.keep()
P_ARRAY.keep()
P_SETITEM.keep()
P_ITEM.keep()
P_INT.keep()
P_ZEROS.keep()
P_MATMUL_ADD.keep()
P_INDEX.keep()
cdef Primitive P_GETITEM = made(operator_getitem, "getitem")
cdef dict COPY = {ord(c): compile_program([], 1, ("slot", 0), c.encode()) for c in "dfDF"}
cdef Program COPY_DOUBLE = COPY[ord("d")]
cdef Primitive P_SUM = made(np.sum), P_MEAN = made(np.mean), P_DOT = made(np.dot)
cdef Primitive P_RESHAPE = made(np.reshape), P_TRANSPOSE = made(np.transpose)


cdef LoopRef loop_of(object ufunc, str inputs) except *:
    cdef char out
    return find_loop(ufunc, inputs.encode(), &out)


cdef LoopRef ADD_DOUBLE = loop_of(np.add, "dd"), MATMUL_DOUBLE = loop_of(np.matmul, "dd")
cdef LoopRef MATMUL_FLOAT = loop_of(np.matmul, "ff")
cdef LoopRef PRODUCT_DOUBLE = wide_loop("matmul", b"d", MATMUL_DOUBLE)
cdef LoopRef PRODUCT_FLOAT = wide_loop("matmul", b"f", MATMUL_FLOAT)
P_SUM.kernel = KERNEL_SUM
P_MEAN.kernel = KERNEL_MEAN
P_MATMUL.kernel = KERNEL_MATMUL
P_DOT.kernel = KERNEL_DOT


include "first.pxi"
include "compiled.pxi"
include "environment.pxi"
include "policy.pxi"
include "inside.pxi"
