"""Inputs to try a file with, and what the module gives for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from exporters.compare import Array
from exporters.failures import first_line
from exporters.modules import evaluating, on_cpu
from exporters.signature import ExampleInputs, flatten_outputs


class CannotCompare(Exception):
    """Carries the sentence that becomes `Verification.failure`."""


@dataclass(frozen=True)
class Case:
    """One batch of inputs and the module's outputs."""

    label: str
    batch_size: int
    inputs: list[Array]
    outputs: list[Array]


def make_cases(
    module: nn.Module,
    example: ExampleInputs,
    batch_sizes: Sequence[int],
    seeds: Sequence[int],
    extra_inputs: Mapping[str, ExampleInputs],
) -> list[Case]:
    """Runs `module` on the CPU on random inputs, then on `extra_inputs`.

    All seeds are tried at the first batch size, and the first seed at each of the others.

    Where the module gives no numbers for normally distributed inputs (it may want a narrower range), the example
    inputs take their place.

    Raises:
        CannotCompare: the module does not run, or gives NaN, or a type that NumPy lacks.
    """
    module = on_cpu(module)
    with evaluating(module):
        cases = []
        for size, seed in _tries(batch_sizes, seeds):
            case = _case(module, f"random, seed {seed}", example.random(size, seed))
            cases.append(_case(module, "example inputs", example.tiled(size)) if _has_nan(case) else case)
        cases += [_case(module, label, inputs.to("cpu")) for label, inputs in extra_inputs.items()]
    if any(_has_nan(case) for case in cases):
        raise CannotCompare("the module's own outputs are not numbers (NaN), so nothing can be compared")
    return cases


def differs_from_run_to_run(module: nn.Module, example: ExampleInputs) -> bool:
    """Whether the module gives other outputs when it is called with the same inputs again: it draws random numbers."""
    module = on_cpu(module)
    with evaluating(module):
        first, second = (_case(module, "example inputs", example).outputs for _ in range(2))
    return any(not np.allclose(a, b, rtol=1e-3, equal_nan=True) for a, b in zip(first, second, strict=True))


def _tries(batch_sizes: Sequence[int], seeds: Sequence[int]) -> list[tuple[int, int]]:
    """Every seed at the first batch size, every other batch size once: a large model's forward takes seconds."""
    return [(size, seed) for n, size in enumerate(batch_sizes) for seed in (seeds[:1] if n else seeds)]


def _case(module: nn.Module, label: str, inputs: ExampleInputs) -> Case:
    try:
        outputs = flatten_outputs(inputs.call(module))
    except Exception as error:  # whatever the user's module raises
        reason = f"the module itself does not run on {label} with a batch of {inputs.batch_size}: {first_line(error)}"
        raise CannotCompare(reason) from error
    return Case(label, inputs.batch_size, [_array(t) for t in inputs.tensors], [_array(t) for t in outputs])


def _array(tensor: Tensor) -> Array:
    try:
        array: Array = tensor.detach().numpy()
    except TypeError as error:
        raise CannotCompare(f"{tensor.dtype} cannot be compared: export the module in float32") from error
    return array


def _has_nan(case: Case) -> bool:
    return any(bool(np.isnan(output).any()) for output in case.outputs if output.dtype.kind in "fc")
