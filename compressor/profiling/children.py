"""Fresh processes that measure: one line of JSON in, one JSON text out, and none outlives the program that started it.

    parent:  ask("compressor.profiling.worker", request, Result, ...)
    child:   answer(Request, work, lambda error, kind: Result(error=error, error_kind=kind))

The request is one line on standard input, which then stays open: the child ends when it closes. What a runtime prints
in the child goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from compressor.core import errors
from compressor.core.errors import CompressionError, InvalidOption, UnsupportedModel
from compressor.core.protocols import Target
from compressor.core.serial import from_json, to_json, to_plain
from compressor.core.waiting import environment_as_given

LIMIT_S = 900.0


class Answer(Protocol):
    """What a child prints; `error` is the sentence and `error_kind` its class in `errors`, where it did not work."""

    @property
    def error(self) -> str:
        """Empty if it worked."""

    @property
    def error_kind(self) -> str:
        """Empty if it worked."""


A = TypeVar("A", bound=Answer)
R = TypeVar("R")


def ask(module: str, request: Any, kind: type[A], owner: str, doing: str, limit_s: float = LIMIT_S) -> A:
    """One fresh process; it is dead when this returns or raises, Ctrl-C included.

    Args:
        module: is run with `python -m`, and calls `answer`.
        request: a dataclass.
        kind: of the answer.
        owner: opens the sentence of an error ("onnxruntime:cpu").
        doing: goes on with it ("timing a.onnx").
        limit_s: a child that takes longer is stopped.

    Raises:
        UnsupportedModel: the child crashed, or took too long.
        CompressionError: what the child raised, as its own class.
    """
    reading, writing = os.pipe()  # stays open while we live: the child ends when it closes
    try:
        with subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=reading,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        ) as child:
            try:
                os.write(writing, json.dumps(to_plain(request)).encode() + b"\n")
                out, err = child.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired as error:
                raise UnsupportedModel(f"{owner}: {doing} took over {limit_s:.0f} s and was stopped.") from error
            finally:
                child.kill()
    finally:
        os.close(reading)
        os.close(writing)
    if child.returncode != 0:
        raise UnsupportedModel(f"{owner}: {doing} failed: {last_words(child.returncode, err)}")
    answered = from_json(kind, out, f"{owner}: the answer of a measuring process")
    if answered.error:
        raise _revived(answered)
    return answered


def answer(kind: type[R], work: Callable[[R], Any], failed: Callable[[str, str], Any]) -> None:
    """In the child: reads one request of this kind, works, prints the answer and ends the process with 0.

    Args:
        kind: of the request.
        work: from the request to the answer.
        failed: makes an answer of an error's sentence and the name of its class.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what runtimes print must not get between us and our JSON
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        line = stdin.readline()
    request = from_json(kind, line, "measuring process")
    threading.Thread(target=_end_with_parent, args=(0,), daemon=True).start()
    try:
        result = work(request)
    except CompressionError as error:
        result = failed(str(error), type(error).__name__)
    answers.write(to_json(result))
    answers.flush()
    sys.stderr.flush()
    os._exit(0)  # the answer is out; tearing runtimes down takes time, and can crash


def make_target(factory: str, files: Sequence[str], shapes: Mapping[str, Sequence[int]]) -> Target:
    """The target "package.module:CLASS".

    Raises:
        InvalidOption: it cannot be used here, or does not read these files.
    """
    module, _, attribute = factory.partition(":")
    kind = getattr(importlib.import_module(module), attribute)
    target: Target = kind(shapes=shapes) if shapes else kind()
    reason = target.unavailable()
    if reason:
        raise InvalidOption("profile", "on", "targets that can be used here", target.name, reason)
    for file in files:
        if Path(file).suffix not in target.accepts:
            raise InvalidOption(target.name, "file", f"of a kind it loads ({', '.join(target.accepts)})", file)
    return target


def environment() -> dict[str, str]:
    """Ours, and the packages are found whatever the current folder is; modules lying about in it are not."""
    root = str(Path(__file__).parents[2])
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([root, inherited] if inherited else [root])
    return {**environment_as_given(), "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def _end_with_parent(stdin: int) -> None:
    while os.read(stdin, 1024):
        continue
    os._exit(1)


def last_words(returncode: int, err: str) -> str:
    """Why a process ended: its last line, or the signal."""
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    if returncode >= 0:
        return lines[-1] if lines else f"the process ended with exit status {returncode} and said nothing."
    name = signal.Signals(-returncode).name
    hint = " Was there enough memory?" if name == "SIGKILL" else ""
    return f"the process was ended by {name}{f' after: {lines[-1]}' if lines else ''}.{hint}"


def _revived(answered: Answer) -> CompressionError:
    """The child's error as its own class, so that it keeps its exit code; the sentence is already made."""
    kind: type[CompressionError] = getattr(errors, answered.error_kind, CompressionError)
    return kind.__new__(kind, answered.error)
