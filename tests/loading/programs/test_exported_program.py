"""What is special to torch.export programs."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from compressor.loading.model_file import load_model


def saved(program: torch.export.ExportedProgram, folder: Path) -> Path:
    torch.export.save(program, folder / "model.pt2")
    return folder / "model.pt2"


def test_programs_in_training_mode_are_read_in_evaluation(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    x = torch.randn(2, 3, 8, 8)
    loaded = load_model(saved(torch.export.export(module, (x,)), tmp_path)).module
    with torch.no_grad():
        assert torch.equal(loaded(x), module.eval()(x))
    assert loaded.state_dict().keys() == module.state_dict().keys()


class Frozen(nn.Module):
    """A part of its forward runs without gradients, in a graph of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = torch.relu(self.first(x))
        return self.second(y)


def test_graphs_inside_of_graphs(tmp_path: Path) -> None:
    module, x = Frozen(), torch.randn(2, 6)
    program = torch.export.export(module, (x,))
    loaded = load_model(saved(program, tmp_path)).module
    with torch.no_grad():
        assert torch.equal(loaded(x), module(x))
    assert {name for name, _ in loaded.named_parameters()} == {name for name, _ in module.named_parameters()}


class Named(nn.Module):
    """Called with names, an option that is no tensor, and a nested result."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, pixels: Tensor, scale: float = 1.0, *, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        y = self.linear(pixels) * scale
        return y, {"masked": y * mask}


def test_arguments_by_name_and_nested_results(tmp_path: Path) -> None:
    module, x = Named(), torch.randn(2, 6)
    mask = torch.randn(2, 4)
    loaded = load_model(saved(torch.export.export(module, (x, 2.0), {"mask": mask}), tmp_path))
    assert loaded.inputs.names == ("pixels", "mask")
    y, rest = loaded.module(x, mask)
    expected, more = module(x, 2.0, mask=mask)
    assert torch.equal(y, expected) and torch.equal(rest["masked"], more["masked"])


class Half(nn.Module):
    """Takes half of its channels by a number that stands in the program."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : x.shape[1] // 2] * x.shape[0]


def test_numbers_that_vary_are_computed(tmp_path: Path) -> None:
    program = torch.export.export(Half(), (torch.randn(2, 6),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    loaded = load_model(saved(program, tmp_path)).module
    x = torch.randn(7, 6)
    assert torch.equal(loaded(x), x[:, :3] * 7)
