"""The works of `autograd-c bench`: plain NumPy's forward pass, the derivative, and its replay."""

import autograd_c
from autograd_c.bench.peers import compiled, derivative
from autograd_c.bench.workloads import WORKLOADS


class Works:
    params = list(WORKLOADS)
    param_names = ("work",)
    timeout = 300

    def setup(self, name):
        self.workload = WORKLOADS[name]
        self.inputs = self.workload.make_inputs()
        self.forward = self.workload.forward()
        self.eager = derivative(autograd_c, self.workload)
        self.compiled = compiled(self.workload)

    def time_numpy_forward(self, name):
        self.forward(*self.inputs)

    def time_eager(self, name):
        self.eager(*self.inputs)


class Replays(Works):
    """The same, recorded beforehand; and what recording takes."""

    time_numpy_forward = time_eager = None

    def setup(self, name):
        super().setup(name)
        for _ in range(3):
            self.compiled(*self.inputs)

    def time_compiled(self, name):
        self.compiled(*self.inputs)

    def time_recording(self, name):
        function = compiled(self.workload)
        for _ in range(2):
            function(*self.inputs)
