"""From an exception to one sentence on standard error and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

WRONG_OPTIONS, UNFIT, DISAGREES, BUG, INTERRUPTED, READER_GONE = 2, 4, 6, 70, 130, 141
RESUMABLE = ("compress", "compress demo")
RESUMES = " The same command goes on after the last stage that was finished."
NOTHING_WRITTEN = " Nothing was written."
_OUT_OF_MEMORY = "Out of memory. Use a smaller --train-batch-size or --batch-size, or a machine with more memory."
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_MACHINE = (errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ESTALE)


@contextmanager
def one_sentence(verb: str) -> Iterator[None]:
    """Whatever goes wrong inside ends with a sentence on standard error and the right exit code.

    Args:
        verb: "compress", "compress inspect"; its --help is named where an option was wrong.
    """
    try:
        yield
    except typer.Exit as leaving:  # --help
        raise SystemExit(leaving.exit_code) from leaving
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # who presses Ctrl-C twice does not need a traceback
        # Under `python -m`, an interrupt that passed through an exec or eval of a text (the exporters' generated code)
        # would make Python end by the signal whatever is raised here; the next text that is evaluated forgets it.
        eval("0")
        leave(f"Interrupted.{RESUMES if verb in RESUMABLE else NOTHING_WRITTEN}", INTERRUPTED)
    except BrokenPipeError:  # compress methods | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(READER_GONE) from None
    except MemoryError:
        leave(_OUT_OF_MEMORY, UNFIT)
    except OSError as error:
        leave(*_of_system(error))
    except Exception as error:
        leave(*_of(error, verb))


def _of(error: Exception, verb: str) -> tuple[str, int]:
    code = getattr(error, "exit_code", None)
    if isinstance(code, int) and hasattr(error, "format_message"):  # the command line itself was not understood
        return f"{_one_line(error.format_message()).rstrip('.')}. See {verb} --help.", code
    if isinstance(code, int) and str(error):
        return _one_line(str(error)), code
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):  # PyTorch's
        return _OUT_OF_MEMORY, UNFIT
    return _bug(error)


def _of_system(error: OSError) -> tuple[str, int]:
    """A full disk or a lacking permission is the machine's, and not a bug."""
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
    if error.errno in _NO_SPACE:
        return f"{where}the disk is full. Free some space and run again.", WRONG_OPTIONS
    if error.errno in _NOT_ALLOWED + _MACHINE:
        reason = os.strerror(error.errno or 0).lower()
        return f"{where}the system refused ({reason}). Allow it, or choose other paths, and run again.", WRONG_OPTIONS
    return _bug(error)


def _bug(error: Exception) -> tuple[str, int]:
    if os.environ.get("COMPRESSOR_TRACEBACK"):
        traceback.print_exception(error)
    text = (_one_line(str(error)) or "no message").rstrip(".")
    step = "Run again with COMPRESSOR_TRACEBACK=1 and report what it prints."
    return f"This is a bug of ours: {type(error).__name__}: {text[:300]}. {step}", BUG


def _one_line(text: str) -> str:
    return " ".join(text.split())


def leave(sentence: str, code: int) -> NoReturn:
    """Ends the process with one sentence on standard error."""
    sys.stdout.flush()
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(code)
