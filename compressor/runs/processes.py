"""Which of several processes we are, under `accelerate launch` or `torchrun`."""

from __future__ import annotations

import os


def is_main_process() -> bool:
    """Whether this process writes files and talks; alone, it is."""
    return int(os.environ.get("RANK", "0")) == 0
