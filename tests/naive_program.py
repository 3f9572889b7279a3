"""Programs as the definition has them: the recording, node after node. Replay is compared with it."""

import numpy as np

from autograd_c import _core

INPUT, CALL, GUARD, CHECK = range(4)
BITS = {"divide by zero": 1, "overflow": 2, "underflow": 4, "invalid value": 8}


class NaiveProgram:
    """Runs the nodes of a recording in Python. `flags` are those that the last run raised."""

    def __init__(self, recording):
        self.recording = recording
        self.flags = 0

    def run(self, leaves):
        self.flags = 0
        with np.errstate(all="call", call=self._raised):
            return self._run(list(leaves))

    def _raised(self, kind, flag):
        self.flags |= BITS[kind]

    def _run(self, given):
        leaves = [leaf.copy() if isinstance(leaf, np.ndarray) else leaf for leaf in given]
        values, guards = {}, 0
        for node in self.recording.nodes:
            args = [values[arg.number] if isinstance(arg, _core.Node) else arg for arg in node.args]
            if node.kind == INPUT:
                values[node.number] = leaves[node.number]
            elif node.kind == CALL:
                value = node.prim(*args, **(node.kwargs or {}))
                values[node.number] = float(value) if node.weak else value
            else:
                outcome = bool(args[0]) if node.kind == GUARD else node.prim(*args, **(node.kwargs or {}))
                if type(outcome) is not type(node.outcome) or outcome != node.outcome:
                    return guards
                guards += 1
        for place, node in self.recording.updates:
            given[place][...] = values[node.number]
        return [values[r.number] if isinstance(r, _core.Node) else r for r in self.recording.results]
