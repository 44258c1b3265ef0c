"""Runs one of this package's modules in a fresh process, where a crash costs nothing but a sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]  # the folder that holds this package


def run_child(module: str, arguments: Sequence[str], folder: Path, timeout_s: float) -> str:
    """Runs `python -m module arguments` in `folder`; returns why it failed, empty if it did not.

    `folder` should hold no Python files: Python looks there first when the child imports something.
    """
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH", ""))))
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not finished after {timeout_s:g} s"
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    last = lines[-1][:500] if lines else "it printed nothing"
    return f"{_ending(done.returncode)}: {last}" if done.returncode != 1 else last


def _ending(code: int) -> str:
    if code >= 0:
        return f"the process ended with exit code {code}"
    try:
        return f"the process was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"the process was ended by signal {-code}"
