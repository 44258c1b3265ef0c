"""What the machine was when samples were taken. Everything is read, nothing is set."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import psutil

from compressor.core.measurement import MachineFacts

_LIBRARIES = ("torch", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "numpy")
_MIB = 1 << 20


def machine_facts() -> MachineFacts:
    """The machine as it is now; takes some milliseconds, or a second where there is an NVIDIA GPU."""
    return MachineFacts(
        cpu=cpu_model(),
        n_cores=os.cpu_count() or 1,
        n_cores_usable=usable_cores(),
        memory_mib=psutil.virtual_memory().total // _MIB,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        governor=_read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        load_1min=round(psutil.getloadavg()[0], 2),
        accelerators=_nvidia_gpus(),
        versions=_versions(),
    )


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo"), board: Path = Path("/proc/device-tree/model")) -> str:
    """The processor's name, or the board's where the processor has none (ARM)."""
    for line in _read(cpuinfo).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    if platform.system() == "Darwin":
        return _output(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.machine()
    return _read(board).rstrip("\0") or platform.processor() or platform.machine()


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """Cores that this process may use: its affinity, and the quota of the containers around it. At least 1."""
    # psutil has cpu_affinity only where the system has it, and not on macOS.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota(cgroup, membership)
    return max(1, min(cores, int(quota))) if quota else cores


def _cgroup_quota(root: Path, membership: Path) -> float | None:
    """The smallest CPU quota on the way from this process's control group up to the root; None where there is none."""
    folders = {root, root / "cpu"}
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            own = (root if controllers == "" else root / "cpu") / path.strip("/")
            folders.update(folder for folder in (own, *own.parents) if folder.is_relative_to(root))
    quotas = [_quota_of(folder) for folder in folders]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_of(folder: Path) -> float | None:
    """Version 2 keeps "quota period" in one file, version 1 two files; "max" and -1 mean no limit."""
    text = _read(folder / "cpu.max") or f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}"
    parts = text.split()
    if len(parts) != 2 or not parts[0].isdigit() or not parts[1].isdigit():
        return None
    return int(parts[0]) / int(parts[1]) if int(parts[1]) else None


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _nvidia_gpus() -> tuple[str, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()
    return tuple(
        line.strip() for line in _output(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]).splitlines()
    )


def _output(command: list[str]) -> str:
    """What a command prints; empty if it fails or takes longer than five seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _read(path: Path) -> str:
    """The file's text; empty where there is no such file or it may not be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
