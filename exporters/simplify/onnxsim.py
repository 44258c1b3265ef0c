"""Simplifies an ONNX file with onnxsim, in a child process: it has been seen to crash and to run out of memory.

As a program: python -m exporters.simplify.onnxsim IN OUT
"""

from __future__ import annotations

import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from exporters.child import run_child

_MAX_BYTES = 3 << 29  # 1.5 GiB; the message that onnxsim passes around must stay below 2 GiB


def simplify_file(path: Path, timeout_s: float = 600.0) -> str:
    """Replaces `path` by its simplified form, and says what was done; a failure leaves the file as it was.

    `verify` compares the outputs afterwards, so nothing is taken on trust here.
    """
    try:
        release = version("onnxsim")
    except PackageNotFoundError:
        return "none: onnxsim is not installed"
    if sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) > _MAX_BYTES:
        return f"none: the model is larger than {_MAX_BYTES / 2**30:g} GiB"
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        simplified = Path(folder) / path.name
        arguments = [str(path.resolve()), str(simplified.resolve())]
        failure = run_child("exporters.simplify.onnxsim", arguments, Path(folder), timeout_s)
        if failure or not simplified.is_file():
            return f"none: onnxsim {release} failed ({failure or 'it wrote no file'})"
        simplified.replace(path)
    return f"onnxsim {release}"


def main(source: str, destination: str) -> None:
    """The child process: simplifies `source` into `destination`."""
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]  # onnxsim would spend two seconds on importing it
    import onnx
    import onnxsim

    simplified, _ = onnxsim.simplify(source, check_n=0)
    onnx.checker.check_model(simplified)  # it has been seen to drop a node whose output others read
    onnx.save(simplified, destination)


if __name__ == "__main__":
    main(*sys.argv[1:])
