"""Compress a live module from Python, save the run, and replay it on a fresh instance of the class.

python deploy_examples/prune_your_own_class.py out/
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

import compressor


class MyNet(nn.Module):
    """Any module will do; it needs to know nothing of pruning."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2), nn.ReLU()
        )
        self.head = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 10)."""
        return self.head(self.features(image).mean(dim=(2, 3)))


def main(folder: Path) -> dict[str, float]:
    """Prints and returns what remains of the MACs, and how far the replayed model is from the run's (0: equal)."""
    torch.manual_seed(0)
    run = compressor.compress(MyNet(), torch.randn(1, 3, 32, 32), method="l1", macs=0.5, export=["onnx"])
    run.save(folder)
    replayed = compressor.load(folder, model=MyNet())
    program = compressor.load(folder)  # needs no class
    image = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected = run.module(image)
        found = {
            "macs_share": run.report().macs.share,
            "replay_error": float((replayed(image) - expected).abs().max()),
            "program_error": float((program(image) - expected).abs().max()),
        }
    print(", ".join(f"{name} {value:.3g}" for name, value in found.items()))
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("my-net-compressed"))
