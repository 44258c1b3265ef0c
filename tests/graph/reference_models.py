"""Twelve models whose groups and coverage are kept as text, so that a change of the graph shows as a diff in review.

python -m tests.graph.reference_models        writes tests/graph/reference/*.txt anew
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.zoo_parts.entries import MODELS, Entry
from compressor.core.groups import Coverage, Role
from compressor.loading.example_inputs import example_inputs
from compressor.runs.coverage import cover

FOLDER = Path(__file__).parent / "reference"
SMALL = ("1x3x64x64",)
ENTRIES = {
    Path(entry.name.replace(":", "-")).name: entry
    for entry in (
        Entry("", "../cifar_resnet.py:resnet20", "", ("1x3x32x32",)),
        Entry("", "torchvision:resnet18", "", SMALL),
        Entry("", "torchvision:mobilenet_v3_small", "", SMALL),
        Entry("", "torchvision:densenet121", "", SMALL),
        Entry("", "torchvision:googlenet", "init_weights=False", ("1x3x96x96",)),
        Entry("", "torchvision:shufflenet_v2_x0_5", "", SMALL),
        Entry("", "torchvision:swin_t", "", SMALL),
        Entry("", "timm:convnext_atto", "", SMALL),
        Entry("", "timm:efficientnet_b0", "", SMALL),
        Entry("", "timm:mixnet_s", "", SMALL),
        Entry("", "timm:vit_tiny_patch16_224", "img_size=64", SMALL),
        Entry("", "huggingface.py:llama", "", ("1x16:int64",)),
    )
}


def describe(name: str) -> str:
    """One model's coverage, a line a group: channels, kind, and the layers by how they meet it."""
    entry = ENTRIES[name]
    torch.manual_seed(0)
    model = entry.build(MODELS.parent).eval()
    inputs, _ = example_inputs(model, entry.inputs)
    return "\n".join(_lines(cover(model, inputs))) + "\n"


def _lines(coverage: Coverage) -> Iterator[str]:
    yield f"{coverage.prunable_macs_share:.1%} of {coverage.cost.macs:,} MACs, {coverage.cost.params:,} parameters"
    for group in coverage.groups:
        met = [f"{role.value}: {' '.join(m.layer for m in group.having(role))}" for role in Role if group.having(role)]
        counted = [f"{s.layer}.{s.attribute}" for s in group.sizes if s.attribute not in _LAYERS_OWN]
        sizes = [f"sizes: {' '.join(counted)}"] if counted else []
        yield "; ".join([f"{group.name} {group.n_channels} {group.kind}", *met, *sizes])
    for blocked in coverage.blocked:
        yield f"stays: {blocked.name} {blocked.n_channels}; {blocked.reason}"


_LAYERS_OWN = ("in_channels", "out_channels", "in_features", "out_features", "num_features", "normalized_shape")


def file_of(name: str) -> Path:
    """Where a model's text is kept."""
    return FOLDER / f"{name}.txt"


def main() -> None:
    """Writes every file anew."""
    for name in ENTRIES:
        file_of(name).write_text(describe(name))
        print(name, flush=True)


if __name__ == "__main__":
    main()
