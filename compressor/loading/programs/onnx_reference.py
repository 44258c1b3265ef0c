"""What an ONNX file gives, from ONNX Runtime in a fresh process, where a crash costs nothing but a sentence."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compressor.core.errors import UnsupportedModel
from exporters.child import run_child

_TIMEOUT_S = 600.0


def run_onnx(path: Path, names: Sequence[str], cases: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    """The outputs of each case, in the file's order.

    Raises:
        UnsupportedModel: ONNX Runtime does not run the file.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arrays = {f"{c}.{i}": tensor.numpy() for c, tensors in enumerate(cases) for i, tensor in enumerate(tensors)}
        np.savez(folder / "inputs.npz", **arrays)  # type: ignore[arg-type]
        job = {"format": "onnx", "path": str(path.resolve()), "input_names": list(names), "n_cases": len(cases)}
        (folder / "job.json").write_text(json.dumps(job))
        if failure := run_child("exporters.worker", [str(folder)], folder, _TIMEOUT_S):
            raise UnsupportedModel(f"ONNX Runtime does not run the file: {failure}")
        n_outputs = json.loads((folder / "answer.json").read_text())["n_outputs"]
        with np.load(folder / "outputs.npz") as outputs:
            return [[torch.from_numpy(outputs[f"{c}.{i}"]) for i in range(n_outputs)] for c in range(len(cases))]
