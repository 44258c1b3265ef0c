"""Makes example inputs and checks them with one forward pass."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from types import TracebackType

import torch
from torch import Tensor, nn

from compressor.core.errors import InvalidOption, ModelFileError
from compressor.loading.infer_inputs import FROM_DATA, Candidate, candidates, first_layer, vocabulary_size
from compressor.loading.input_spec import InputSpec, parse_inputs
from exporters.signature import ExampleInputs, flatten_outputs


def example_inputs(
    module: nn.Module, texts: Sequence[str] = (), data_sample_shape: Sequence[int] | None = None
) -> tuple[ExampleInputs, str]:
    """Inputs with which `module` (in eval mode) runs, and where their shapes come from.

    Args:
        module: left as it was, apart from what its own `forward` keeps.
        texts: the `--input` options; empty to infer the shapes.
        data_sample_shape: one sample of the data without the batch axis, such as (3, 32, 32).

    Raises:
        InvalidOption: the model does not run with the inputs given, or with any that were tried.
        ModelFileError: it runs and returns no tensor.
    """
    if texts:
        given = Candidate(parse_inputs(texts), "--input")
        _check_batch_axis(module, given.inputs)
        inputs, failure = _try(module, given)
        if inputs is None:
            raise _does_not_run(module, given, failure)
        return inputs, given.source
    first: tuple[Candidate, str] | None = None
    for candidate in candidates(module, data_sample_shape):
        inputs, failure = _try(module, candidate)
        if inputs is not None:
            if data_sample_shape is not None and first is not None and first[0].source == FROM_DATA:
                shape = "x".join(map(str, data_sample_shape))
                return inputs, f"{candidate.source}, since it does not run with the data's {shape}"
            return inputs, candidate.source
        first = first or (candidate, failure)
    if first is None:
        raise InvalidOption(
            "loading",
            "--input",
            "given for this model",
            "nothing",
            "It has no layer that tells its input. Pass --input 1x3x224x224.",
        )
    raise _does_not_run(module, *first)


def _check_batch_axis(module: nn.Module, specs: Sequence[InputSpec]) -> None:
    """A convolution also takes one image without the batch; then the channels would pass for a batch."""
    first, shape = first_layer(module), specs[0].shape
    if isinstance(first, nn.Conv2d) and len(specs) == 1 and len(shape) == 3 and shape[0] == first.in_channels > 1:
        step = f"The batch is missing: pass --input 1x{specs[0]}."
        raise InvalidOption("loading", "--input", "a shape with the batch first", str(specs[0]), step)


def _try(module: nn.Module, candidate: Candidate) -> tuple[ExampleInputs | None, str]:
    """The inputs if the model runs with them; else None and why not."""
    inputs = _make(module, candidate.inputs)
    try:
        # Not inference_mode: a model may keep tensors, and those could never take part in a gradient.
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            output = inputs.call(module)
    except Exception as error:  # the model's own code raises whatever it likes
        return None, _failure(module, error)
    if not flatten_outputs(output):
        raise ModelFileError(
            f"loading: the model returns no tensor (a {type(output).__name__}), so its outputs cannot be compared."
        )
    return inputs, ""


def _make(module: nn.Module, specs: Sequence[InputSpec]) -> ExampleInputs:
    generator = torch.Generator().manual_seed(0)
    vocabulary = vocabulary_size(module)
    tensors = tuple(_tensor(spec, vocabulary, generator) for spec in specs)
    if specs[0].name:
        return ExampleInputs(tuple(spec.name for spec in specs), tensors, by_keyword=True)
    return ExampleInputs.of(tensors, module)


def _tensor(spec: InputSpec, vocabulary: int, generator: torch.Generator) -> Tensor:
    if spec.dtype is torch.float32:
        return torch.randn(spec.shape, generator=generator)
    if spec.dtype is torch.bool or "mask" in spec.name:
        return torch.ones(spec.shape, dtype=spec.dtype)
    if "type" in spec.name:  # token_type_ids know two values, far fewer than the vocabulary
        return torch.zeros(spec.shape, dtype=spec.dtype)
    largest = min(vocabulary, 256) if spec.dtype is torch.uint8 else vocabulary
    return torch.randint(largest, spec.shape, generator=generator).to(spec.dtype)


def _failure(module: nn.Module, error: Exception) -> str:
    text = str(error).strip().split("\n")[0].rstrip(".")[:200]
    layer = _failing_layer(module, error.__traceback__)
    return f"{layer}{type(error).__name__}: {text}"


def _failing_layer(module: nn.Module, traceback: TracebackType | None) -> str:
    """The innermost layer that was running, found in the traceback, so that no hook has to be put on the model."""
    names = {id(layer): name for name, layer in module.named_modules()}
    found = ""
    while traceback is not None:
        layer = traceback.tb_frame.f_locals.get("self")
        if names.get(id(layer)):
            found = f"in the layer '{names[id(layer)]}' ({type(layer).__name__}), "
        traceback = traceback.tb_next
    return found


def _does_not_run(module: nn.Module, candidate: Candidate, failure: str) -> InvalidOption:
    got = ", ".join(map(str, candidate.inputs))
    where = "" if candidate.source == "--input" else f" (from {candidate.source})"
    suggestion = _suggestion(module, candidate)
    step = f"The model does not run with it{where}: {failure}. {suggestion}"
    return InvalidOption("loading", "--input", "shapes that the model accepts", got, step)


def _suggestion(module: nn.Module, tried: Candidate) -> str:
    """Inputs with which the model does run, if any are known; else the form."""
    for candidate in candidates(module, None):
        if candidate.inputs != tried.inputs and _try(module, candidate)[0] is not None:
            options = " ".join(f"--input {spec}" for spec in candidate.inputs)
            return f"It runs with {options}, from {candidate.source}."
    return (
        "Pass the shape with the batch first, as in --input 1x3x32x32; for several inputs, --input NAME=SHAPE for each."
    )
