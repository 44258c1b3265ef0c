"""Profiles files node by node with the runtime's own profiler, in a process of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from compressor.core.errors import InvalidOption, ModelFileError
from compressor.core.node_times import NodeProfile, Turns
from compressor.core.serial import from_json, to_plain
from compressor.profiling.nodes_worker import Answer, Opening
from compressor.profiling.serving import Served

DEFAULT_INFERENCES = 20
BURST_S = 0.04


class NodeProfiler:
    """Profiles any number of files on one target, one after another; a context manager.

    >>> with NodeProfiler("onnxruntime:cpu", "compressor.targets.onnxruntime_cpu:PLUGIN") as profiler:  # doctest: +SKIP
    ...     profiler.profile(Path("model.onnx")).nodes

    Args:
        target_name: "onnxruntime:cpu"; recorded, and named in errors.
        target_factory: "compressor.targets.onnxruntime_cpu:PLUGIN"; imported in the worker process only.
        threads: of the runtime, per inference.
        batch_size: samples per inference.
        shapes: {input name: full shape}, for inputs whose axes other than the batch are dynamic.

    Raises:
        InvalidOption: threads or batch size are below 1.
    """

    def __init__(
        self,
        target_name: str,
        target_factory: str,
        *,
        threads: int = 1,
        batch_size: int = 1,
        shapes: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        for option, value in (("threads", threads), ("batch_size", batch_size)):
            if value < 1:
                raise InvalidOption("profile", option, "at least 1", value)
        self._target, self._threads, self._batch_size = target_name, threads, batch_size
        plain_shapes = {name: list(shape) for name, shape in (shapes or {}).items()}
        opening = Opening(target_factory, threads, batch_size, {"shapes": plain_shapes} if plain_shapes else {})
        self._served = Served("compressor.profiling.nodes_worker", target_name, to_plain(opening))

    def __enter__(self) -> NodeProfiler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._served.close()

    def profile(self, path: Path, inferences: int = DEFAULT_INFERENCES) -> NodeProfile:
        """The nodes of one file; the worker starts at the first call.

        Args:
            path: of a kind that the target accepts.
            inferences: that are sampled, after warming up; at least 1.

        Raises:
            InvalidOption: an option is out of range, or the target cannot run this file here.
            ModelFileError: the file is not there, or the runtime refuses it.
            UnsupportedModel: the runtime crashes on it; further files can be profiled all the same.
        """
        if inferences < 1:
            raise InvalidOption("profile", "inferences", "at least 1", inferences)
        said = self._ask({"file": path, "inferences": inferences})
        answer = from_json(Answer, said, f"{self._target}: the answer of a profiling process")
        return NodeProfile(self._target, path, self._batch_size, self._threads, answer.whole_s, answer.nodes)

    def turns(self, path: Path, against: Path, rounds: int) -> Turns:
        """Times a file without the profiler, which costs time itself, in turns with another that stays loaded.

        Raises:
            As `profile`.
        """
        request = {"file": path, "against": against, "rounds": rounds, "burst_s": BURST_S}
        return from_json(Turns, self._ask(request), f"{self._target}: the answer of a timing process")

    def _ask(self, request: Mapping[str, Any]) -> str:
        """The answer as JSON."""
        files = [value for value in request.values() if isinstance(value, Path)]
        for path in files:
            if not path.is_file():
                reason = f"is not a file, so it cannot be profiled on {self._target}. Check the path."
                raise ModelFileError(f"{path}: {reason}")
        plain = {name: str(value.resolve()) if isinstance(value, Path) else value for name, value in request.items()}
        return json.dumps(self._served.ask(plain, f"profiling {files[0].name}"))
