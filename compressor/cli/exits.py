"""From an exception to one sentence and an exit code."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

INTERRUPTED = 130
BUG = 70


def one_sentence(command: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a verb so that whatever goes wrong ends with a sentence on standard error and the right exit code."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            _leave("Interrupted. Nothing was lost: the same command with the same -o goes on where it stopped.", INTERRUPTED)
        except MemoryError:
            _leave("Out of memory. Use a smaller --batch-size, or a machine with more memory.", 4)
        except Exception as error:
            code = getattr(error, "exit_code", None)
            if isinstance(code, int) and str(error):
                _leave(str(error), code)
            if os.environ.get("COMPRESSOR_TRACEBACK"):
                traceback.print_exc()
            _leave(
                f"This is a bug of ours: {type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}. "
                "Run again with COMPRESSOR_TRACEBACK=1 and report what it prints.",
                BUG,
            )

    return wrapped


def _leave(sentence: str, code: int) -> NoReturn:
    sys.stdout.flush()
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(code)
