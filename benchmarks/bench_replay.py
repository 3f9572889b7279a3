"""What a replay costs beside its arithmetic, and what two threads gain."""

from autograd_c.bench.probes import fresh


class Overheads:
    def track_call(self):
        return fresh("replay_call", 0.5)

    track_call.unit = "seconds"

    def track_scalar_instruction(self):
        return fresh("instructions", 0.5)["scalar"]

    track_scalar_instruction.unit = "seconds"

    def track_array_instruction(self):
        return fresh("instructions", 0.5)["array"]

    track_array_instruction.unit = "seconds"

    def track_two_threads(self):
        return fresh("two_threads", "elementwise_100000", 2.0)

    track_two_threads.unit = "times the calls of one"


class Recording:
    """The gradient of a scalar chain of so many entries."""

    params = (10**3, 10**4, 10**5, 10**6)
    param_names = ("entries",)
    timeout = 300

    def track_per_node(self, entries):
        run = fresh("recording", entries)
        return run["seconds"] / run["nodes"]

    track_per_node.unit = "seconds"

    def track_eager_gradients(self, entries):
        run = fresh("recording", entries)
        return run["seconds"] / run["eager_seconds"]

    track_eager_gradients.unit = "eager gradients"


class Memory:
    """A replay's peak as a multiple of the eager one."""

    params = ("elementwise", "chain")
    param_names = ("work",)

    def track_peak(self, work):
        size = {"elementwise": 10**7, "chain": 10**6}[work]
        return fresh("replay_peak", work, "replay", size) / fresh("replay_peak", work, "eager", size)

    track_peak.unit = "times eager's"
