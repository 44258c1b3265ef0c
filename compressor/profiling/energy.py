"""Energy from the counters of Linux's power capping (RAPL of Intel and AMD processors); nothing where there are none.

A zone is a folder below /sys/class/powercap: `intel-rapl:0` is the first processor package, `intel-rapl:0:1` a part of
it. `energy_uj` counts microjoules up to `max_energy_range_uj` and begins again. Packages are added up, with the memory
(`dram`) where it is counted beside them; cores and graphics lie inside the package, and `psys` around it.

Since 2020 most systems let only root read the counters (they can leak secrets); then nothing is reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
_ZONE = re.compile(r"intel-rapl:\d+(:\d+)?")


@dataclass(frozen=True)
class Zone:
    """One counter."""

    name: str  # "package-0", "dram"
    folder: Path
    range_uj: int  # the counter begins again after this


def zones(root: Path = POWERCAP) -> tuple[Zone, ...]:
    """The counters that add up to the machine's energy and may be read; empty where there are none."""
    found = []
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if not _ZONE.fullmatch(folder.name):
            continue
        try:
            name = (folder / "name").read_text().strip()
            range_uj = int((folder / "max_energy_range_uj").read_text())
            int((folder / "energy_uj").read_text())
        except (OSError, ValueError):  # not there, or not for us
            continue
        if name.startswith("package") or name == "dram":
            found.append(Zone(name, folder, range_uj))
    # Memory alone would be taken for the whole.
    return tuple(found) if any(zone.name.startswith("package") for zone in found) else ()


def read_uj(counters: tuple[Zone, ...]) -> dict[Path, int]:
    """What each counter says now.

    Raises:
        OSError: a counter is gone.
    """
    return {zone.folder: int((zone.folder / "energy_uj").read_text()) for zone in counters}


def joules_between(counters: tuple[Zone, ...], before: Mapping[Path, int], after: Mapping[Path, int]) -> float:
    """Joules between two readings; a counter may have begun again once in between.

    At 200 W a usual range lasts over 20 minutes.
    """
    total_uj = 0
    for zone in counters:
        passed = after[zone.folder] - before[zone.folder]
        total_uj += passed if passed >= 0 else passed + zone.range_uj
    return total_uj / 1e6
