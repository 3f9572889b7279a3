# What a planned recording does: read back from its nodes when somebody asks. Planning keeps nothing for it.

cdef dict UNIT_KINDS = {
    K_SCALAR: "scalars", K_PICK: "scalars", K_ADD_ITEM: "scalars", K_ITEMS: "scalars", K_GUARD: "scalars",
    K_ELEMENTWISE: "group", K_REDUCTION: "group", K_UPDATE: "group",
    K_ZEROS: "clear", K_PRODUCT: "product", K_JOIN: "copies", K_MOVE: "copies", K_ROUTINE: "routine",
    K_PYTHON: "python",
}


def units_of(Recording recording):
    """The units of a planned recording, in the order in which its program does them.

    Returns
    -------
    list of (kind, nodes, shape, late)
        `kind` is "scalars", "group", "product", "copies", "clear", "routine" or "python"; inputs and views,
        which need nothing, are no units. `shape` is that over which a group runs. `late` says that the unit
        depends on seeds: see `ReplayProgram`.
    """
    cdef list pending, live = [], units = []
    cdef set seen = set()
    cdef Node n
    cdef object a
    cdef int step = -1
    if not recording.planned:
        raise ValueError("this recording has no program yet")
    pending = [n for n in recording.nodes if n.same is None and n.wanted]
    while pending:
        n = <Node>pending.pop()
        if n.number in seen:
            continue
        seen.add(n.number)
        live.append(n)
        for a in n.args:
            if type(a) is Node:
                pending.append(a)
    live.sort(key=place_in_program)
    for n in live:
        if n.category == K_INPUT or n.category == K_VIEW:
            continue
        if n.step != step:
            step = n.step
            units.append((UNIT_KINDS[n.category], [], n.shape, bool(n.late)))
        (<list>units[len(units) - 1][1]).append(n)
    return units


def place_in_program(Node n):
    return n.step, n.number
