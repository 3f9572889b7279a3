"""The works of `autograd-c bench`: plain NumPy's forward pass and the gradient, one beside the other."""

from autograd_c import grad
from autograd_c.bench.workloads import WORKLOADS


class Works:
    params = list(WORKLOADS)
    param_names = ("work",)

    def setup(self, name):
        workload = WORKLOADS[name]
        self.inputs = workload.make_inputs()
        self.forward = workload.forward()
        self.gradient = grad(workload.bind("autograd_c"), workload.argnum)

    def time_numpy_forward(self, name):
        self.forward(*self.inputs)

    def time_grad(self, name):
        self.gradient(*self.inputs)
