# What a planned recording does. Planning keeps nothing for it: when somebody asks, it is planned again.

cdef dict UNIT_KINDS = {
    K_SCALAR: "scalars", K_PICK: "scalars", K_ADD_ITEM: "scalars", K_ITEMS: "scalars", K_GUARD: "scalars",
    K_ELEMENTWISE: "group", K_REDUCTION: "group", K_UPDATE: "group",
    K_ZEROS: "clear", K_PRODUCT: "product", K_JOIN: "copies", K_MOVE: "copies", K_ROUTINE: "routine",
    K_SCAN: "scan",
    K_PYTHON: "python",
}


def units_of(Recording recording):
    """The units of a planned recording, in the order in which its program does them.

    Returns
    -------
    units : list of (kind, nodes, shape, late)
        `kind` is "scalars", "group", "product", "copies", "clear", "routine", "scan" or "python"; inputs and
        views, which need nothing, are no units. `shape` is that over which a group runs. `late` says that the
        unit depends on seeds: see `ReplayProgram`.
    results : list
        What the program returns: nodes and constants.
    updates : list
        What it changes arguments to in place, likewise.
    """
    cdef ReplayProgram program
    cdef Planner e
    cdef list units = [], results = [], updates = [], nodes
    cdef Node n
    cdef int i, k, o
    if not recording.planned:
        raise ValueError("this recording has no program yet")
    program = ReplayProgram.__new__(ReplayProgram)
    program.fastmath = recording.fastmath
    e = planned_units(program, recording, recording.seeds)
    for k in range(e.nunits):
        nodes = [e.full(i) for i in sorted([e.order[i] for i in range(e.unit_start[k], e.unit_start[k + 1])])]
        for n in nodes:
            if program.fastmath and n.w.category == K_SCALAR:
                n.own_loop = n.prim.planned_scalar.own
        n = <Node>nodes[0]
        units.append((UNIT_KINDS[n.w.category], nodes, n.shape, bool(n.w.late)))
    for o in e.draft.results:
        results.append(e.node(o) if o >= 0 else e.code.constant_at(o))
    for _, o in e.draft.updates:
        updates.append(e.node(o) if o >= 0 else e.code.constant_at(o))
    for n in list(e.nodes):
        e.full(n.number)
    e.code.views = {n.number: n for n in e.nodes}
    for n in e.nodes:
        n.w = NULL
    return units, results, updates
