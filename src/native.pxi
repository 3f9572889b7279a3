# When programs get machine code for their scalar instructions (`native.h`).

cdef extern from "native.h":
    cnp.npy_int64 native_translate(VmPlan *plan, cnp.npy_int64 nscalars, int shortest) noexcept
    void native_free(VmPlan *plan) noexcept

# Translating an instruction takes as long as some fifty of its runs gain by it.
cdef int native_runs = 50       # the run before which a program is translated; 0: none
cdef int native_least = 100     # scalar instructions of such a program
cdef int native_shortest = 8    # shorter stretches are interpreted
if os.environ.get("AUTOGRAD_C_NATIVE") == "0":
    native_runs = 0
elif os.environ.get("AUTOGRAD_C_NATIVE") == "now":
    native_runs = native_least = native_shortest = 1


def run_instructions(list instructions, list primitives, cnp.ndarray file not None, bint native):
    """For tests: runs scalar instructions over a file of doubles, by the interpreter or as machine code.

    Parameters
    ----------
    instructions : list of (op, k, a, b, out)
        As in `vm.h`; `k` numbers the primitives, or the bases: 1 is `file` as it was.
    primitives : list
        What instructions call.
    file : array
        The doubles; they are changed.
    native : bool
        Whether machine code is made first.

    Returns
    -------
    guard, flags, translated : int
        The guard that stopped the run or -1, the floating-point flags it raised, and how many instructions
        have machine code.
    """
    cdef ReplayProgram p = ReplayProgram.__new__(ReplayProgram)
    cdef cnp.ndarray before = file.copy()
    cdef char *bases[2]
    cdef Run run
    cdef int guard = 0, stopped
    if file.dtype != np_float64 or not cnp.PyArray_ISCARRAY(file):
        raise TypeError("run_instructions: file must be a C-contiguous array of float64")
    for prim in primitives:
        find_scalar(<Primitive>prim)
        p.loop_number((<Primitive>prim).scalar_loop)
    for op, k, a, b, out in instructions:
        p.add_scalar(op, k, a, b, out)
    vm_prepare(&p.plan)
    if native:
        p.translate()
    bases[0] = <char *>cnp.PyArray_DATA(file)
    bases[1] = <char *>cnp.PyArray_DATA(before)
    memset(&run, 0, sizeof(Run))
    run.slice = 1e12
    vm_resume(&run)
    fp_clear()
    stopped = vm_run(&p.plan, bases, NULL, &run, 0, p.plan.nsteps, &guard)
    flags = fp_to_npy(fp_flags())
    fp_clear()
    return (guard if stopped == VM_GUARD else -1), flags, p.translated
