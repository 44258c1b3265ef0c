"""What torch-pruning does with a model on its own: L1, half of every layer's channels, the classifier ignored.

    python -m zoo_parts.torch_pruning_result MODELS.csv NAME RESULT.json

Its pruner gets the same module and the same inputs, and no other help: no hand-set heads, no layers found by trial.
"pass" means that the pruned model runs, gives outputs of the same shapes and has fewer parameters; nobody checks that
it computes the right numbers. "prunes nothing" means that it runs with all its parameters.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from compressor.core import serial
from compressor.core.errors import CompressionError
from compressor.loading.example_inputs import example_inputs
from exporters.signature import ExampleInputs, flatten_outputs
from zoo_parts.entries import Entry, read_entries
from zoo_parts.results import FAIL, NOTHING, PASS, Rival
from zoo_parts.sentences import in_one_line, with_place

PRUNING_RATIO = 0.5


def prune(entry: Entry, folder: Path) -> Rival:
    """Builds the model, prunes it and runs it again."""
    torch.manual_seed(0)
    try:
        model = entry.build(folder).eval()
        inputs, _ = example_inputs(model, entry.inputs)
    except CompressionError as error:
        return Rival(FAIL, in_one_line(f"[model] {error}"))
    shapes, heads = _shapes_and_heads(model, inputs)
    n_params = sum(parameter.numel() for parameter in model.parameters())
    example: Any = inputs.tensors[0] if len(inputs.tensors) == 1 else inputs.tensors
    if inputs.by_keyword:
        example = dict(zip(inputs.names, inputs.tensors, strict=True))
    stage = "build"
    start = time.perf_counter()
    try:
        pruner = torch_pruning.pruner.BasePruner(
            model,
            example,
            torch_pruning.importance.MagnitudeImportance(p=1),
            pruning_ratio=PRUNING_RATIO,
            ignored_layers=heads,
        )
        stage = "prune"
        pruner.step()
        stage = "forward"
        with torch.no_grad():
            found = [tuple(t.shape) for t in flatten_outputs(inputs.call(model))]
    except Exception as error:  # somebody else's code
        return Rival(FAIL, f"[{stage}] {with_place(error)}", time.perf_counter() - start)
    seconds = time.perf_counter() - start
    if found != shapes:
        return Rival(FAIL, f"[forward] outputs of shapes {shapes[:3]} became {found[:3]}", seconds)
    if sum(parameter.numel() for parameter in model.parameters()) == n_params:
        return Rival(NOTHING, "", seconds)
    return Rival(PASS, "", seconds)


def _shapes_and_heads(model: nn.Module, inputs: ExampleInputs) -> tuple[list[tuple[int, ...]], list[nn.Module]]:
    """Shapes of the outputs, and the layers that make them (the last layer of all, where a function comes after)."""
    made: list[tuple[nn.Module, Tensor]] = []
    layers = [module for module in model.modules() if isinstance(module, (nn.Linear, _ConvNd))]
    hooks = [layer.register_forward_hook(lambda module, _args, out: made.append((module, out))) for layer in layers]
    with torch.no_grad():
        outputs = flatten_outputs(inputs.call(model))
    for hook in hooks:
        hook.remove()
    stored = {output.untyped_storage().data_ptr() for output in outputs}
    heads = [layer for layer, output in made if output.untyped_storage().data_ptr() in stored]
    return [tuple(output.shape) for output in outputs], heads or [layer for layer, _ in made[-1:]]


def main() -> None:
    models, name, path = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    entry = next(entry for entry in read_entries(models) if entry.name == name)
    serial.save_json(prune(entry, models.resolve().parent), path)


if __name__ == "__main__":
    main()
