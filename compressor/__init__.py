"""Compressor: a trained PyTorch model goes in; a smaller dense model comes out, exported, checked and timed.

    run = compressor.compress(model, example_inputs, method="reprune", macs=0.5, export=["onnx"])
    run.module; run.plan; run.report(); run.save("out/")

Names are imported when they are first used, so that `import compressor` costs nothing and needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from compressor._version import __version__

if TYPE_CHECKING:
    from compressor.core.errors import CompressionError
    from compressor.core.plan import PruningPlan
    from compressor.data.opening import open_dataset
    from compressor.pipeline import compress, inspect, load
    from compressor.runs.result import CompressedModel
    from compressor.runs.training import regularize

__all__ = [
    "CompressedModel",
    "CompressionError",
    "PruningPlan",
    "__version__",
    "compress",
    "inspect",
    "load",
    "open_dataset",
    "profile",
    "regularize",
]

_HOMES = {
    "CompressedModel": "compressor.runs.result",
    "CompressionError": "compressor.core.errors",
    "PruningPlan": "compressor.core.plan",
    "compress": "compressor.pipeline",
    "inspect": "compressor.pipeline",
    "load": "compressor.pipeline",
    "open_dataset": "compressor.data.opening",
    "profile": "compressor.runs.profiling",
    "regularize": "compressor.runs.training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'compressor' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
