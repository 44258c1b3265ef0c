from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from exporters.program import load_program, save_program
from exporters.signature import ExampleInputs
from exporters.source import prepared

FULL = Path("/dev/full")  # every write to it fails as on a full disk


@pytest.mark.skipif(not FULL.exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_an_error_and_not_the_end_of_the_process(conv_net: nn.Module, images: torch.Tensor) -> None:
    with (
        prepared(conv_net, ExampleInputs.of(images, conv_net)) as source,
        pytest.raises(OSError, match="No space left"),
    ):
        save_program(source.program().exported, FULL, source.inputs, source.output_names)


def test_names_and_numbers_come_back(
    two_inputs: nn.Module, named_inputs: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "model.pt2"
    with prepared(two_inputs, ExampleInputs.of(named_inputs, two_inputs)) as source:
        save_program(source.program().exported, path, source.inputs, source.output_names)
    module, inputs, output_names = load_program(path)
    assert (inputs.names, inputs.by_keyword, output_names) == (("tokens", "features"), True, ("zeta", "alpha"))
    assert set(inputs.tensors[0].unique().tolist()) <= {0, 3, 6}  # only token ids that the model is known to accept
    with torch.no_grad():
        expected, found = two_inputs(**named_inputs), module(**named_inputs)
    assert all(torch.equal(expected[name], found[name]) for name in output_names)
