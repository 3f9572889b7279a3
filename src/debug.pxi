# Debug mode: every entry remembers the line that recorded it, and every residual array a check sum,
# so that an update in place between the forward and the reverse pass is found.

cdef bint debugging = False


def set_debug(bint on):
    """Switches debug mode for the whole process and returns what it was."""
    global debugging
    cdef bint was = debugging
    debugging = on
    return was


cdef int note_line(Tape t) except -1:
    """Notes the line of the entry to come."""
    cdef object line
    if t.lines is None:
        t.lines = []
    line = hooks["current_line"]()
    # The hook may have let others record, or an earlier entry may have failed after this.
    while len(t.lines) < t.n:
        t.lines.append(None)
    del t.lines[t.n:]
    t.lines.append(line)
    return 0


cdef int note_residuals(Tape t, Py_ssize_t slot) except -1:
    """Notes the check sums of a complete entry's arrays."""
    cdef unsigned int j
    cdef object residual
    if t.sums is None:
        t.sums = {}
    for j in range(t.entries[slot].nref):
        residual = <object>t.residual(&t.entries[slot], j)
        if cnp.PyArray_CheckExact(residual):
            t.sums[<Py_ssize_t>t.entries[slot].res + j] = hooks["check_sum"](residual)
    return 0


cdef int note_flags(Tape t, int flags) except -1:
    """Notes what the partials of the scalar entry to come raised."""
    if t.raised is None:
        t.raised = []
    t.raised.append((t.n, flags))
    return 0


cdef str recorded_at(Tape t, Py_ssize_t slot):
    """", recorded at FILE:LINE" where debug mode knows it, else nothing."""
    if t.lines is None or slot >= len(t.lines) or t.lines[slot] is None:
        return ""
    return ", recorded at %s" % (t.lines[slot],)


cdef int report_partials(Tape t) except -1:
    """Reports noted flags with the lines of their entries."""
    cdef Py_ssize_t slot
    cdef int flags
    for slot, flags in t.raised:
        name = (<Primitive>t.entries[slot].prim).name if slot < t.n else "gradient"
        give_errors("%s (reverse%s)" % (name, recorded_at(t, slot)), flags)
    return 0


cdef int visit_debugging(Tape t, Py_ssize_t i, Adjoint *a, Adjoint *adjoints) except -1:
    """Visits an entry after a check of its residuals, and reports its floating-point flags under its name."""
    cdef Entry *e = &t.entries[i]
    cdef unsigned int j
    cdef object residual
    cdef Primitive p = <Primitive>e.prim
    if t.sums is not None:
        for j in range(e.nref):
            residual = <object>t.residual(e, j)
            if e.res + j in t.sums and cnp.PyArray_CheckExact(residual) \
                    and t.sums[e.res + j] != hooks["check_sum"](residual):
                raise RuntimeError(
                    "an array that the derivative of %s needs was changed in place after it was used%s; "
                    "copy it before the update" % (p.name, recorded_at(t, i)))
    visit(t, e, a, adjoints)
    if fp_flags():
        give_errors("%s (reverse%s)" % (p.name, recorded_at(t, i)), fp_flags())
    return 0
