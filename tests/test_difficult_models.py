"""Networks with difficulties of their own, through the whole pipeline: cut, proven, and still the same network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from compressor.core.options import options_from
from compressor.core.progress import SilentProgress
from compressor.graph.cost import measure_cost
from compressor.runs.choose import choose
from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.prove import prove
from compressor.runs.record import Record, Source
from compressor.runs.rewriting import cover_rewritten
from compressor.surgery.cut import cut_copy
from exporters.signature import ExampleInputs, flatten_outputs
from tests.networks import seeded


def conv(n_in: int, n_out: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU())


class Siamese(nn.Module):
    """A tracker: one backbone for template and search image, compared by cross-correlation."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(conv(3, 16, 2), conv(16, 32), nn.Conv2d(32, 24, 3))
        self.score = nn.Conv2d(1, 1, 1)

    def forward(self, template: Tensor, search: Tensor) -> Tensor:
        z, x = self.backbone(template), self.backbone(search)
        n, c, h, w = z.shape
        # Each search image is filtered by its own template, as grouped convolution.
        found = functional.conv2d(x.reshape(1, n * c, *x.shape[2:]), z.reshape(n * c, 1, h, w), groups=n * c)
        return self.score(found.reshape(n, c, *found.shape[2:]).sum(1, keepdim=True))


class TwoTowers(nn.Module):
    """Images and texts meet in one embedding, normalised and multiplied with each other."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(conv(3, 16, 2), conv(16, 32, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.words, self.norm = nn.Embedding(50, 24), nn.LayerNorm(24)
        self.mlp = nn.Sequential(nn.Linear(24, 64), nn.GELU(), nn.Linear(64, 24))
        self.to_image, self.to_text = nn.Linear(32, 20, bias=False), nn.Linear(24, 20, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, pixels: Tensor, ids: Tensor) -> dict[str, Tensor]:
        words = self.words(ids)
        image = functional.normalize(self.to_image(self.image(pixels)), dim=-1)
        text = functional.normalize(self.to_text((words + self.mlp(self.norm(words))).mean(1)), dim=-1)
        return {"logits": self.logit_scale.exp() * image @ text.T}


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.middle = conv(3, 16), conv(16, 32), conv(32, 64)
        self.up2, self.up1 = nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.merge2, self.merge1, self.head = conv(64, 32), conv(32, 16), nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(functional.max_pool2d(a, 2))
        c = self.middle(functional.max_pool2d(b, 2))
        b = self.merge2(torch.cat((b, self.up2(c)), 1))
        return self.head(self.merge1(torch.cat((a, self.up1(b)), 1)))


class PanopticFpn(nn.Module):
    """A feature pyramid whose levels are read by several heads, each shared by all levels."""

    def __init__(self) -> None:
        super().__init__()
        self.c2, self.c3, self.c4 = conv(3, 16, 2), conv(16, 32, 2), conv(32, 48, 2)
        self.lateral = nn.ModuleList(nn.Conv2d(n, 24, 1) for n in (16, 32, 48))
        self.smooth = nn.ModuleList(nn.Conv2d(24, 24, 3, padding=1) for _ in range(3))
        self.tower, self.classes, self.boxes = conv(24, 24), nn.Conv2d(24, 6, 1), nn.Conv2d(24, 8, 1)
        self.semantic = nn.Sequential(conv(72, 32), nn.Conv2d(32, 5, 1))

    def forward(self, x: Tensor) -> dict[str, Any]:
        bottom_up = [self.c2(x)]
        bottom_up += [self.c3(bottom_up[-1])]
        bottom_up += [self.c4(bottom_up[-1])]
        levels: list[Tensor] = []
        for lateral, feature in zip(reversed(self.lateral), reversed(bottom_up), strict=True):
            level = lateral(feature)
            levels.insert(0, level + functional.interpolate(levels[0], scale_factor=2.0) if levels else level)
        levels = [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]
        towers = [self.tower(level) for level in levels]
        size = levels[0].shape[-2:]
        together = torch.cat([functional.interpolate(level, size=size) for level in levels], 1)
        return {
            "classes": [self.classes(t).permute(0, 2, 3, 1).flatten(1, 2) for t in towers],
            "boxes": [self.boxes(t).permute(0, 2, 3, 1).flatten(1, 2) for t in towers],
            "semantic": self.semantic(together),
        }


class SuperResolution(nn.Module):
    """Residual blocks without norms, then pixels out of channels, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 24, 3, padding=1)
        self.body = nn.ModuleList(
            nn.Sequential(nn.Conv2d(24, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 24, 3, padding=1)) for _ in range(2)
        )
        self.up = nn.Sequential(nn.Conv2d(24, 96, 3, padding=1), nn.PixelShuffle(2), nn.PReLU(24))
        self.last = nn.Sequential(nn.Conv2d(24, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        for block in self.body:
            y = y + 0.1 * block(y)
        return self.last(self.up(y)) + functional.interpolate(x, scale_factor=4.0)


class Pose(nn.Module):
    """A small regression head that is no classifier: translation, and a rotation of length one."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(conv(3, 16, 2), conv(16, 32, 2), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.hidden, self.position, self.rotation = nn.Linear(128, 40), nn.Linear(40, 3), nn.Linear(40, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = functional.relu(self.hidden(self.features(x)))
        return self.position(y), functional.normalize(self.rotation(y), dim=1)


class Branches(nn.Module):
    """An Inception block after another: many concatenations, one of them of a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16, 2)
        self.a1, self.a2, self.a3 = conv(16, 8), nn.Sequential(conv(16, 8), conv(8, 12)), conv(16, 10)
        self.b1, self.b2, self.head = conv(46, 16), conv(46, 20), nn.Linear(82, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat((self.a1(x), self.a2(x), self.a3(x), x), 1)
        return self.head(torch.cat((self.b1(x), torch.cat((self.b2(x), x), 1)), 1).mean((2, 3)))


class Normed(nn.Module):
    """Weights that are computed: weight norm (Salimans and Kingma 2016), spectral norm (Miyato et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.a = parametrizations.weight_norm(nn.Conv2d(3, 16, 3, padding=1))
        self.b = nn.Conv2d(16, 24, 3, padding=1)
        self.c = parametrizations.weight_norm(nn.Conv2d(24, 16, 3, padding=1))
        self.head = parametrizations.spectral_norm(nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.relu(self.c(functional.relu(self.b(functional.relu(self.a(x)))))).mean((2, 3)))


class Recurrent(nn.Module):
    """A recurrent layer between others: its state, its gates and its input are axes like any other."""

    def __init__(self, kind: Any, **options: Any) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 16))
        self.rnn = kind(16, 16, batch_first=True, **options)
        width = (options.get("proj_size") or 16) * (2 if options.get("bidirectional") else 1)
        self.after = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.rnn(self.before(x))[0])


def image(size: int = 32) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(size))


IDS = torch.randint(50, (2, 6), generator=torch.Generator().manual_seed(0))
SERIES = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
# Network, its inputs, and the share of its MACs that has to be prunable.
NETWORKS = [
    (Siamese, (image(24), image(48)), 0.999),
    (TwoTowers, {"pixels": image(), "ids": IDS}, 1.0),
    (UNet, (image(),), 1.0),
    (PanopticFpn, (image(64),), 1.0),
    (SuperResolution, (image(16),), 1.0),
    (Pose, (image(),), 1.0),
    (Branches, (image(),), 1.0),
    (Normed, (image(),), 0.9),
    (lambda: Recurrent(nn.LSTM), (SERIES,), 1.0),
    (lambda: Recurrent(nn.GRU), (SERIES,), 1.0),
    (lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True), (SERIES,), 1.0),
    (lambda: Recurrent(nn.LSTM, proj_size=12), (SERIES,), 1.0),
]


def cut_in_half(model: nn.Module, inputs: Any, folder: Path) -> tuple[Record, nn.Module]:
    """As a run does up to the cut, proven against masking."""
    options = options_from({"macs": 0.5, "round_to": 1, "on": ["none"], "export": ["none"]})
    record = Record(Source(model, ExampleInputs.of(inputs, model), "network", "test"), options, SilentProgress())
    work = RunFolder.temporary(folder)
    record.source, record.coverage = cover_rewritten(record.source)
    record.plan, record.budget_met = choose(record, Datasets(), work)
    prove(record, Datasets(), work)
    return record, cut_copy(record.source.module, record.plan.cuts, record.plan.attributes)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(("network", "inputs", "share"), NETWORKS)
def test_half_of_it_goes_and_it_still_trains(network: Any, inputs: Any, share: float, tmp_path: Path) -> None:
    model = seeded(network).eval()
    record, small = cut_in_half(model, inputs, tmp_path)
    assert record.coverage.prunable_macs_share >= share
    assert record.budget_met and 0.4 < record.plan.macs[1] / record.plan.macs[0] <= 0.5
    assert record.difference.equal and record.difference.effect_rel > 0
    given = tuple(inputs.values()) if isinstance(inputs, Mapping) else inputs
    whole, less = (flatten_outputs(module(*given)) for module in (model, small))
    assert [y.shape for y in less] == [y.shape for y in whole]
    assert measure_cost(small, record.source.inputs).macs == pytest.approx(record.plan.macs[1], rel=0.01)
    small.train()
    torch.stack([y.float().square().mean() for y in flatten_outputs(small(*given))]).sum().backward()
    assert all(p.grad is not None for p in small.parameters())
