from __future__ import annotations

import torch

from exporters.signature import ExampleInputs, Interface


def test_without_an_interface_the_batch_varies() -> None:
    inputs = ExampleInputs(("x", "y"), (torch.ones(1, 3), torch.ones(1, 4)))
    assert inputs.interface.axis_names(2) == ({0: "batch"}, {0: "batch"})
    assert inputs.resized() is None


def test_the_interface_stays_with_the_inputs() -> None:
    interface = Interface(output_names=("mask",), metadata={"author": "someone"})
    inputs = ExampleInputs(("x",), (torch.ones(1, 3),), interface=interface)
    for other in (inputs.tiled(4), inputs.random(2, seed=0), inputs.to(dtype=torch.float64)):
        assert other.interface is interface


def test_other_sizes_of_axes_that_vary() -> None:
    """Axes of one name have one length; the batch and fixed axes stay as they are."""
    axes = ({0: "n", 2: "h", 3: "w"}, {0: "n", 1: "h"})
    interface = Interface(dynamic_axes=axes, other_sizes={"h": 12, "w": 20})
    ids = torch.tensor([[3, 5]])
    resized = ExampleInputs(("x", "ids"), (torch.ones(1, 3, 8, 16), ids), interface=interface).resized()
    assert resized is not None
    assert [tuple(tensor.shape) for tensor in resized.tensors] == [(1, 3, 12, 20), (1, 12)]
    assert set(resized.tensors[1].flatten().tolist()) <= {3, 5}  # only values that the model is known to accept
