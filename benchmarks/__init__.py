"""Airspeed Velocity suites over the installed package.

Run them from the root of the repository::

    pip install -e ".[bench]"
    export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
    asv machine --yes
    asv run --python=same --quick                     # everything once, to see that it runs
    asv run --python=same --bench bench_workloads --set-commit-hash HEAD

Suites take their work from the package: the works from `autograd_c.bench.workloads`, the primitives from
`autograd_c.registry`. A new work or primitive is measured without a line written here. asv follows each
figure through history; ratios to NumPy and to other libraries are the task of ``autograd-c bench``.
"""
