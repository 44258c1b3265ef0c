"""A record as it is when widths are chosen, and its planner."""

import torch
from torch import nn

from compressor.core.options import RunOptions
from compressor.core.progress import SilentProgress
from compressor.core.protocols import MethodContext
from compressor.planning.planner import Planner
from compressor.runs.choose import make_method
from compressor.runs.coverage import cover
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record, Source
from exporters.signature import ExampleInputs
from tests.networks import images, seeded


class Wide(nn.Module):
    """3 -> 48 -> 64 -> 3, on 8x8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 48, 3, padding=1), nn.Conv2d(48, 64, 3, padding=1)
        self.head = nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv(torch.relu(self.stem(x))))
        return self.head(x.mean((2, 3)))


class Switching(Wide):
    """Computes the same in another way once it has lost channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        if self.stem.out_channels < 48:
            x = x.abs()
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))


def recorded(make=Wide, **options):
    model = seeded(make)
    source = Source(model, ExampleInputs.of(images(), model), "net.pt", "", "aa")
    given = {"on": ("onnxruntime:cpu",), "export": ("onnx",), "speedup": 2.0, **options}
    record = Record(source, RunOptions(**given), SilentProgress())
    record.coverage = cover(model, source.inputs)
    return record


def planner_of(record, method="l1", allocation="local"):
    coverage = record.coverage
    context = MethodContext(record.source.module, record.options.seed)
    return Planner(
        coverage.groups, coverage.cost, make_method(method, ()), context, allocation, record.options.round_to
    )


def claimed(record, path):
    return RunFolder.claim(path, record.options, "aa")
