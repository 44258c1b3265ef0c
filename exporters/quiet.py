"""Silence around third-party calls that talk to the terminal although all they say is also in what they raise."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quietly() -> Iterator[list[warnings.WarningMessage]]:
    """Keeps warnings, log records and prints off the terminal; gives the list that the warnings are collected in.

    Standard output belongs to the caller's caller, who may be piping JSON through it.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(record=True) as caught,
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("always")
            yield caught
    finally:
        logging.disable(before)


@contextmanager
def without_native_output() -> Iterator[None]:
    """Drops what C++ code prints to standard output, which `quietly` cannot see."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
