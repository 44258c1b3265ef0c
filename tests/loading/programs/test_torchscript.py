"""What is special to TorchScript: branches and loops, lists, numbers as tensors, fused operators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compressor.core.errors import UnsupportedModel
from compressor.loading.model_file import load_model
from exporters.quiet import quietly
from tests.loading.programs.networks import Encoder, randomised


class Looping(nn.Module):
    """A loop over layers, a loop over numbers, a list, a branch on a size, string formatting in an assertion."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.head, self.steps = nn.Linear(12, 5), 2

    def forward(self, x: Tensor) -> Tensor:
        found: list[Tensor] = []
        for layer in self.layers:
            for _ in range(self.steps):
                x = torch.relu(layer(x))
            found.append(x.mean((2, 3)))
        assert len(found) == 3, f"there are {len(found)}"
        joined = torch.cat(found, 1)
        if joined.size(1) == 12 and joined.dim() == 2:
            return self.head(joined)
        return joined


def test_loops_and_branches_of_a_script(write: Callable[..., Path]) -> None:
    module, x = randomised(Looping()), torch.randn(2, 4, 8, 8)
    loaded = load_model(write("script", module, (x,)), inputs=["2x4x8x8"]).module
    with torch.no_grad():
        assert torch.equal(loaded(x), module(x))
    assert loaded.state_dict().keys() == module.state_dict().keys()
    calls = [node.target for node in loaded.graph.nodes if node.op == "call_module"]  # type: ignore[union-attr]
    assert calls.count("layers.0") == 2  # one layer, called twice


class Sized(nn.Module):
    """Traced, its sizes are computed with tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        n, c, h, w = x.shape
        x = x.reshape(n, 2, c // 2, h * w).transpose(1, 2).reshape(n, c, h, w)
        x = x * torch.arange(h, dtype=torch.float32)[:, None] + torch.zeros(n, 1, 1, 1)
        x = torch.where(torch.arange(w) >= w - 3, x, -x)
        return x / (h**0.5)


@pytest.mark.parametrize("form", ["trace", "script"])
def test_sizes_stay_sizes(form: str, write: Callable[..., Path]) -> None:
    module = randomised(Sized())
    loaded = load_model(write(form, module, (torch.randn(2, 3, 6, 8),)), inputs=["2x3x6x8"]).module
    x = torch.randn(5, 3, 6, 8)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), module(x))


def test_fused_encoder_layers_have_layers_again(tmp_path: Path) -> None:
    """torch traces its own transformer layer, in evaluation, as one operator."""
    module, x = randomised(Encoder(heads=2)), torch.randn(2, 7, 12)
    with quietly(), torch.no_grad():
        traced = torch.jit.trace(module, x)
    assert "_transformer_encoder_layer_fwd" in str(traced.inlined_graph)
    with quietly():
        torch.jit.save(traced, str(tmp_path / "model.pt"))
    loaded = load_model(tmp_path / "model.pt", inputs=["2x7x12"]).module
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), module(x), rtol=1e-4, atol=1e-5)
    kinds = [type(part) for part in loaded.modules()]
    assert kinds.count(nn.Linear) == 5 and kinds.count(nn.LayerNorm) == 2
    assert {name for name, _ in loaded.named_parameters()} >= {"layer.linear1.weight", "layer.self_attn.out_proj.bias"}


def test_scripts_in_training_mode_are_read_in_evaluation(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    with quietly():
        torch.jit.save(torch.jit.script(module), str(tmp_path / "model.pt"))
    loaded = load_model(tmp_path / "model.pt", inputs=["2x3x8x8"]).module
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded(x), module.eval()(x))


class Endless(nn.Module):
    """Never comes to an end."""

    def forward(self, x: Tensor) -> Tensor:
        count = 0
        while count >= 0:
            count += 1
        return x


def test_endless_loops_end(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.loading.programs.torchscript._MOST_STEPS", 1000)
    with pytest.raises(UnsupportedModel, match="perhaps in an endless loop"):
        load_model(write("script", Endless(), (torch.randn(2, 4),)), inputs=["2x4"])


class Inner(nn.Module):
    """Writes into a part of a new tensor, as window masks are made."""

    def forward(self, x: Tensor) -> Tensor:
        mask = x.new_zeros((4, 4))
        mask[:2, 2:] = -100.0
        return x + mask


@pytest.mark.parametrize("form", ["script", "pt2"])
def test_masks_written_piece_by_piece_become_one_constant(form: str, write: Callable[..., Path]) -> None:
    path = write(form, Inner(), (torch.randn(2, 4, 4),))
    loaded = load_model(path, inputs=["2x4x4"] if form == "script" else ()).module
    x = torch.randn(3, 4, 4)
    assert torch.equal(loaded(x), Inner()(x)) and torch.equal(loaded(x), Inner()(x))
    assert [tuple(buffer.shape) for buffer in loaded.buffers()] == [(4, 4)]
