"""For every test: one thread per process.

Several processes with two spinning threads each, on two cores that others use too, wait for one another most of the
time. Set before PyTorch is imported; child processes inherit it.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
