"""Settings of all tests."""

import os
import signal

# Two BLAS threads on small arrays only cost time, and their sums may differ from run to run.
# NumPy reads this when it is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Run in the background, Python starts with Ctrl-C ignored; some tests interrupt themselves by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
