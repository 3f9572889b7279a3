"""Memory: bytes of an entry, and peaks beside a gradient written by hand."""

from autograd_c import grad
from autograd_c.bench import hand_works
from autograd_c.bench.probes import fresh
from autograd_c.bench.workloads import WORKLOADS, draw


class Entries:
    """A scalar chain of a million entries."""

    def track_bytes_per_entry(self):
        measured = fresh("chain", 10**6)
        return measured["peak_bytes"] / measured["entries"]

    track_bytes_per_entry.unit = "bytes"


class Elementwise:
    """The elementwise work on ten million elements, for the peak of the whole process."""

    def setup(self):
        self.x = draw().normal(size=10**7)
        self.gradient = grad(WORKLOADS["elementwise_1000"].bind("autograd_c"))

    def peakmem_grad(self):
        self.gradient(self.x)

    def peakmem_by_hand(self):
        hand_works.elementwise(self.x)
