"""A worker process that answers one request after another, a line of JSON each, and its end in this process.

Hundreds of small files are profiled one after another, and starting a process for each would take longer than they do.
A worker that a runtime's crash takes with it is replaced at the next request.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, Any

from compressor.core import errors
from compressor.core.errors import CompressionError, UnsupportedModel
from compressor.profiling.children import environment, last_words

LIMIT_S = 900.0  # of one request


class Served:
    """The parent's end: a context in which requests are answered.

    Args:
        module: run with `python -m`; its `main` calls `serve`.
        owner: opens the sentences of errors ("onnxruntime:cpu").
        opening: the first line that each new worker gets.
    """

    def __init__(self, module: str, owner: str, opening: Any) -> None:
        self._module, self._owner, self._opening = module, owner, opening
        self._process: subprocess.Popen[str] | None = None
        self._said: IO[str] | None = None

    def __enter__(self) -> Served:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, request: Mapping[str, Any], doing: str) -> dict[str, Any]:
        """The worker's answer.

        Args:
            request: plain values.
            doing: what is asked for, for errors: "profiling model.onnx".

        Raises:
            CompressionError: the worker's own, of the class that it has there.
            UnsupportedModel: the worker died, or took too long; the next request gets a new one.
        """
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        limit = threading.Timer(LIMIT_S, stop)
        limit.start()
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        except BaseException:  # Ctrl-C: the answer is still to come, and would be taken for the next one's
            self.close()
            raise
        finally:
            limit.cancel()
        if not line.endswith("\n"):
            words = self._last_words(process)
            self.close()
            if late.is_set():
                raise UnsupportedModel(f"{self._owner}: {doing} took over {LIMIT_S:.0f} s and was stopped.")
            raise UnsupportedModel(f"{self._owner}: {doing} failed: {words}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise _revived(answer["error_kind"], answer["error"])
        return answer

    def close(self) -> None:
        """Ends the worker, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
        if self._said is not None:
            self._said.close()
            self._said = None

    def _start(self) -> subprocess.Popen[str]:
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            encoding="utf-8",
            env=environment(),
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(self._opening) + "\n")
        return self._process

    def _last_words(self, process: subprocess.Popen[str]) -> str:
        code = process.wait()
        if self._said is None:
            return last_words(code, "")
        self._said.seek(0)
        return last_words(code, self._said.read())


def serve(open_service: Callable[[Any], Callable[[dict[str, Any]], dict[str, Any]]]) -> None:
    """The worker's end: answers requests until standard input closes, then ends at once, whatever it is doing.

    Args:
        open_service: gets the opening line; returns what answers a request. What both raise of our own errors becomes
            the answer; anything else ends the process, with its last words on standard error.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what runtimes print must not get between us and our JSON
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    opening = json.loads(lines.get())
    answer: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    while True:
        request = json.loads(lines.get())
        try:
            answer = answer or open_service(opening)
            said = answer(request)
        except CompressionError as error:
            said = {"error": str(error), "error_kind": type(error).__name__}
        answers.write(json.dumps(said) + "\n")
        answers.flush()


def _read(lines: queue.Queue[str]) -> None:
    with os.fdopen(os.dup(0), encoding="utf-8") as stdin:
        for line in stdin:
            lines.put(line)
    os._exit(1)


def _revived(kind_name: str, sentence: str) -> CompressionError:
    """The worker's error as its own class, so that it keeps its exit code; the sentence is already made."""
    kind: type[CompressionError] = getattr(errors, kind_name, CompressionError)
    return kind.__new__(kind, sentence)
