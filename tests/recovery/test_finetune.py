import copy

import pytest
import torch
from torch import nn

from compressor.core.errors import DataError, InvalidOption
from compressor.core.progress import SilentProgress
from compressor.core.protocols import RecoveryContext
from compressor.data.batches import from_batches
from compressor.data.dataset import ImageDataset, MemoryPixels
from compressor.data.preprocessing import Preprocessing
from compressor.recovery.finetune import FineTune
from compressor.training.checkpoint import FILE_NAME


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)).eval()


def dataset(labelled=True):
    """Bright on the left is 0, on the right 1."""
    labels = torch.arange(64) % 2
    pixels = torch.zeros(64, 1, 8, 8, dtype=torch.uint8)
    pixels[labels == 0, :, :, :4] = 200
    pixels[labels == 1, :, :, 4:] = 200
    steps = Preprocessing((0.5,), (0.5,), (8, 8), 1, 255.0, "")
    return ImageDataset(MemoryPixels(pixels), labels if labelled else None, name="sides", preprocessing=steps)


def apply(model=None, original=None, options=None, **context):
    chosen = FineTune(**{"epochs": 2, "lr": 0.02, "batch_size": 16, **(options or {})})
    return chosen.apply(RecoveryContext(model or network(), original or network(), **context), SilentProgress())


def test_facts_for_the_report():
    facts = apply(train=dataset())
    assert facts["loss"] == "0.5 CrossEntropy(label_smoothing=0.0) + 0.5 Distillation(temperature=4.0)"
    assert facts["augmentation"] == "RandomCrop(share=0.125)"
    assert (facts["epochs"], facts["steps"], facts["images"], facts["batch_size"]) == (2, 8, 64, 16)
    assert {"loss_epoch_1", "loss_epoch_2", "train_accuracy_percent_epoch_2"} <= facts.keys()
    assert facts["images_per_second"] > 0


def test_without_labels_only_distillation():
    original = network()
    damaged = copy.deepcopy(original)
    with torch.no_grad():
        damaged[4].weight += 0.3 * torch.randn_like(damaged[4].weight)
    facts = apply(damaged, original, {"epochs": 10}, train=dataset(labelled=False))
    assert facts["loss"] == "1 Distillation(temperature=4.0)"
    assert facts["loss_epoch_10"] < 0.2 * facts["loss_epoch_1"]
    assert not any(name.startswith("train_accuracy") for name in facts)


def test_only_labels():
    facts = apply(options={"distill": 0.0, "label_smoothing": 0.1, "crop": False}, train=dataset())
    assert facts["loss"] == "1 CrossEntropy(label_smoothing=0.1)"
    assert facts["augmentation"] == "none"
    with pytest.raises(DataError, match="without distillation: needs labels"):
        apply(options={"distill": 0.0}, train=dataset(labelled=False))


def test_flips_only_if_asked_for():
    assert "Flip" not in apply(train=dataset())["augmentation"]
    assert "HorizontalFlip(probability=0.5)" in apply(options={"flip": True}, train=dataset())["augmentation"]


def test_named_augmentations_come_after_the_usual_ones():
    facts = apply(options={"augment": ("random_crop", "mixup"), "flip": True}, train=dataset())
    assert facts["augmentation"] == (
        "HorizontalFlip(probability=0.5), RandomCrop(share=0.125), Mixup(alpha=0.2, probability=1.0)"
    )
    options = {"augment": ("cutmix",), "augment_options": ("cutmix.alpha=0.5",), "crop": False}
    assert apply(options=options, train=dataset())["augmentation"] == "CutMix(alpha=0.5, probability=1.0)"
    with pytest.raises(InvalidOption, match="before the network and not inside it"):
        FineTune(augment=("catch_up_mix",))
    with pytest.raises(InvalidOption, match="before the network and not inside it"):
        FineTune(augment=("catch_up_mix",), distill=0.0, features="attention_transfer")
    alone = {"augment": ("catch_up_mix",), "distill": 0.0, "crop": False}
    assert apply(options=alone, train=dataset())["augmentation"] == "CatchUpMix(alpha=1.0)"


def test_feature_maps_of_the_original():
    """The student is the original: its maps are equal, so the loss is that of the scores alone."""
    options = {"features": "attention_transfer", "features_options": ("weight=0.5",), "crop": False, "distill": 1.0}
    facts = apply(options=options, train=dataset())
    assert facts["loss"] == "1 Distillation(temperature=4.0) + 0.5 AttentionTransfer(squared=False)"
    original = network()
    damaged = copy.deepcopy(original)
    with torch.no_grad():
        damaged[0].weight += 0.5 * torch.randn_like(damaged[0].weight)
    apart = apply(damaged, original, {**options, "features_options": ("weight=5",)}, train=dataset())
    assert apart["loss_epoch_2"] < apart["loss_epoch_1"] > facts["loss_epoch_1"]


def test_batches_from_python_are_not_augmented():
    batches = iter([torch.randn(16, 1, 8, 8) for _ in range(3)])
    facts = apply(batches=batches)
    assert (facts["augmentation"], facts["images"], facts["steps"]) == ("none", 48, 6)
    labelled = from_batches([(torch.randn(16, 1, 8, 8), torch.arange(16) % 2)])
    assert apply(train=labelled)["augmentation"] == "none"


def test_checkpoints_go_where_the_context_says(tmp_path):
    first, second = network(), network()
    apply(first, train=dataset(), checkpoints=tmp_path)
    assert (tmp_path / FILE_NAME).exists()
    apply(second, train=dataset(), checkpoints=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_no_data():
    with pytest.raises(DataError, match="fine-tuning: needs images, but got none"):
        apply()


@pytest.mark.parametrize(
    ("option", "value"), [("distill", 1.5), ("temperature", 0.0), ("epochs", 0), ("lr", -1.0), ("label_smoothing", 1.0)]
)
def test_options_are_checked_where_they_are_set(option, value):
    with pytest.raises(InvalidOption, match=option):
        FineTune(**{option: value})
