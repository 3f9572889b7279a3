"""The works of `autograd-c bench`: plain NumPy's forward pass, the derivative, and its replay."""

import autograd_c
from autograd_c.bench.peers import compiled, derivative
from autograd_c.bench.workloads import WORKLOADS


class _Prepared:
    params = list(WORKLOADS)
    param_names = ("work",)
    timeout = 300

    def setup(self, name):
        self.workload = WORKLOADS[name]
        self.inputs = self.workload.make_inputs()
        self.prepare()


class Works(_Prepared):
    """Recorded anew at every call."""

    def prepare(self):
        self.forward = self.workload.forward()
        self.eager = derivative(autograd_c, self.workload)

    def time_numpy_forward(self, name):
        self.forward(*self.inputs)

    def time_eager(self, name):
        self.eager(*self.inputs)


class Replays(_Prepared):
    """Recorded beforehand; and what recording takes."""

    def prepare(self):
        self.compiled = compiled(self.workload)
        for _ in range(3):
            self.compiled(*self.inputs)

    def time_compiled(self, name):
        self.compiled(*self.inputs)

    def time_recording(self, name):
        function = compiled(self.workload)
        for _ in range(2):
            function(*self.inputs)
