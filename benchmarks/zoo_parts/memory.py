"""How much more memory the process holds while something is done."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Growth:
    """Known when the measurement is over; None where the system does not tell peaks (only Linux does)."""

    growth_bytes: int | None = None  # of the peak, beyond what the process held before
    peak_bytes: int | None = None


@contextmanager
def growth_of_memory() -> Iterator[Growth]:
    """Resident memory of this process; what earlier work freed is given back first."""
    found = Growth()
    _give_back_free_memory()
    before = _memory("VmRSS") if _reset_peak() else None
    yield found
    if before is not None:
        found.peak_bytes = _memory("VmHWM")
        found.growth_bytes = max(0, found.peak_bytes - before)


def _give_back_free_memory() -> None:
    """What earlier stages freed must not hide what is taken now."""
    gc.collect()
    with suppress(OSError, AttributeError):  # only the GNU C library has it
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _reset_peak() -> bool:
    """Sets the kernel's record of this process's peak to what it holds now; False where that cannot be done."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _memory(what: str) -> int:
    """VmRSS (now) or VmHWM (peak) of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == what:
            return int(value.split()[0]) * 1024
    raise OSError(f"the system does not tell {what}")
