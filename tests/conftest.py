"""Settings of all tests."""

import os

# Two BLAS threads on small arrays only cost time, and their sums may differ from run to run.
# NumPy reads this when it is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
