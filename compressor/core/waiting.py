"""How OpenMP's threads wait for each other: asleep, so that a busy machine does not make small networks crawl.

By default they spin. Where other programs want the same cores, a thread that spins keeps the one that it waits for from
running: on two shared cores, training the demo's network took 24 times as long. What is timed for people must not be
touched by this, because their deployment will wait as OpenMP does by default.
"""

from __future__ import annotations

import os

POLICY = "OMP_WAIT_POLICY"  # read once, when PyTorch loads OpenMP
_MARK = "COMPRESSOR_CHOSE_WAIT_POLICY"


def wait_asleep() -> None:
    """For this process and its children, unless the user said otherwise; call it before PyTorch is imported."""
    if POLICY not in os.environ:
        os.environ[POLICY] = "PASSIVE"
        os.environ[_MARK] = "1"


def environment_as_given() -> dict[str, str]:
    """This process's environment as the user gave it, for children whose speed is measured."""
    environment = dict(os.environ)
    if environment.pop(_MARK, ""):
        environment.pop(POLICY, None)
    return environment
