"""The most memory that this process ever had resident, as the kernel counted it.

Linux counts per program that runs (`VmHWM`), and can be told to begin again from what is resident now. `getrusage`
would not do there: a child begins with its parent's figure.
"""

from __future__ import annotations

import sys
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_BEGIN_AGAIN = "5"


def peak_bytes() -> int | None:
    """Bytes; None where the system does not tell."""
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else None


def forget_peak() -> None:
    """From here on the peak counts, and not what was given back before; without effect where the kernel cannot."""
    try:
        _CLEAR.write_text(_BEGIN_AGAIN)
    except OSError:
        return
