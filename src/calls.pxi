# Rules for whole arrays: what a trace records of a call, and the forward rules.

cdef object record_call(Primitive p, Trace t, list args, list values, dict kwargs, list traced, list slots,
                        object ans):
    cdef Tape tape
    cdef Entry *e
    cdef Box out
    cdef Py_ssize_t i, n = len(args)
    cdef Parent *parents
    cdef unsigned long long need = 0
    cdef Py_ssize_t count = len(traced), k
    cdef Parent room[8]
    cdef object v
    if p.rule == MAKER:
        return record_maker(p, t, args, values, kwargs, traced, slots, ans)
    for k in range(count):
        i = traced[k]
        p.vjp_of(<int>i)
        need |= <unsigned long long>p.vjp_needs[0 if p.rule_for_all else i]
    for i in range(n):
        # Traced arguments and arrays that no rule reads leave their shape and dtype only.
        if i < 62 and need >> (i + 1) & 1 or i >= 62 and need >> 63:
            continue
        v = args[i]
        if type(v) is Box:
            values[i] = box_meta(<Box>v)
        elif cnp.PyArray_Check(v):
            values[i] = meta_of(v)
    parents = &room[0]
    if count > 8:
        parents = <Parent *>PyMem_Malloc(count * sizeof(Parent))
    if parents == NULL:
        raise MemoryError(p.name)
    try:
        for k in range(count):
            i = traced[k]
            parents[k].arg = <int>i
            parents[k].slot = slots[k]
        v = ans if need & 1 else meta_of(ans)
        tape = t.recording()
        e = tape.push(p, CALL_ENTRY)
        out = new_object(t, <int>tape.n - 1, ans)
        if out.kind == SCALAR:
            e.flags |= DOUBLE
        elif not need & 1:
            set_field(&out.meta, v)
        set_parents(tape, e, parents, <int>count)
        tape.keep(e, v)
        for i in range(n):
            tape.keep(e, values[i])
        tape.keep(e, kwargs if kwargs else None)
    finally:
        if parents != &room[0]:
            PyMem_Free(parents)
    return noted(tape, out)


cdef object record_maker(Primitive p, Trace t, list args, list values, dict kwargs, list traced, list slots,
                         object ans):
    cdef Tape tape
    cdef Entry *e
    cdef Box out
    cdef list keep = []
    cdef Parent *parents
    cdef Py_ssize_t i
    cdef bint joint = p.maker_all is not None
    if joint:
        keep.append(p.maker_all(tuple(traced), ans, tuple(values), kwargs))
        for i in traced:
            keep.append(box_meta(<Box>args[i]))
    else:
        for i in traced:
            maker = p.makers.get(i)
            if maker is None:
                raise TypeError("%s has no vjp with respect to argument %d; define one with "
                                "autograd_c.extend.defvjp, or pass a plain value there" % (p.name, i))
            keep.append(maker(ans, *values, **kwargs))
            keep.append(box_meta(<Box>args[i]))
    parents = <Parent *>PyMem_Malloc(len(traced) * sizeof(Parent))
    if parents == NULL:
        raise MemoryError(p.name)
    try:
        for i in range(len(traced)):
            parents[i].arg = traced[i]
            parents[i].slot = slots[i]
        tape = t.recording()
        e = tape.push(p, MAKER_ENTRY)
        out = new_object(t, <int>tape.n - 1, ans)
        e.flags |= (DOUBLE if out.kind == SCALAR else 0) | (JOINT if joint else 0)
        set_parents(tape, e, parents, <int>len(traced))
        for v in keep:
            tape.keep(e, v)
    finally:
        PyMem_Free(parents)
    return out


cdef object push_forward(Primitive p, Trace t, list args, list values, dict kwargs, list traced, object ans):
    cdef object total = None, tangent, rule
    cdef Box out
    cdef Py_ssize_t i
    if p.jvp_all is not None:
        tangents = []
        for i in traced:
            tangents.append(tangent_of(<Box>args[i]))
        total = p.jvp_all(tuple(traced), tangents, ans, tuple(values), kwargs)
    else:
        for i in traced:
            rule = None
            if p.rule_for_all:
                rule = p.jvps[0]
            elif p.jvps is not None and i < len(p.jvps):
                rule = p.jvps[i]
            if rule is None:
                raise TypeError("%s has no forward rule with respect to argument %d; define one with "
                                "autograd_c.extend.defjvp, or use reverse mode" % (p.name, i))
            tangent = tangent_of(<Box>args[i])
            if rule == "same":
                shifted = list(values)
                shifted[i] = tangent
                tangent = p(*shifted, **kwargs)
            elif p.rule_for_all:
                tangent = rule(i, tangent, ans, *values, **kwargs)
            else:
                tangent = rule(tangent, ans, *values, **kwargs)
            if tangent is None:
                raise TypeError("the jvp of %s returned None for argument %d; return the tangent, or zeros"
                                % (p.name, i))
            total = tangent if total is None else P_ADD(total, tangent)
    out = new_object(t, 0, ans)
    set_tangent(out, fit_up(total, box_meta(out)))
    return out
