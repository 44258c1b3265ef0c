"""For every test: one thread per process, and Ctrl-C works.

Several processes with two spinning threads each, on two cores that others use too, wait for one another most of the
time. Set before PyTorch is imported; child processes inherit it.

A shell without job control starts what it puts into the background deaf to Ctrl-C, and so would be every process that
a test starts and interrupts.

No test writes into the user's cache; child processes inherit that, too.
"""

import os
import signal

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Latency tables of tests lie among their temporary files; who counts what is in them sets a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPRESSOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
