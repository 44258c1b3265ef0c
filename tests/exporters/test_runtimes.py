"""Imports of runtimes that need care."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# A signal that Python handles, after another thread was the last to let go of what had loaded the CPU plug-in.
SIGNALLED = """
import gc, os, signal, threading
from exporters import runtimes
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
used = [runtimes.openvino_core()]
used[0].get_property("CPU", "FULL_DEVICE_NAME")
thread = threading.Thread(target=lambda: (used.clear(), gc.collect()))
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGUSR1)
print("alive")
"""


def test_signals_after_openvino_was_used():
    command = [sys.executable, "-c", SIGNALLED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout.split(), done.returncode) == (["handled", "alive"], 0), done
