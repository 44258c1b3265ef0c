"""What one update makes of losses, parts of a batch, mixtures and feature maps."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from compressor.core.errors import ContractViolation, InvalidOption
from compressor.training.augmentations.catch_up_mix import CatchUpMix
from compressor.training.augmentations.mixup import Mixup
from compressor.training.loop import train
from compressor.training.losses.attention_transfer import AttentionTransfer
from compressor.training.losses.cross_entropy import CrossEntropy
from compressor.training.losses.distillation import Distillation
from compressor.training.losses.fast_feature_affinity import FastFeatureAffinity
from compressor.training.mixing import Mixed
from compressor.training.update import Objective

LABELS = [(1.0, CrossEntropy())]


def without_norms(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    ).eval()


def trained(tiny, make=without_norms, objective=None, teacher=None, **recipe):
    model = make()
    objective = objective or Objective(LABELS)
    result = train(model, tiny.dataset(), replace(tiny.RECIPE, **recipe), objective, teacher=teacher)
    return model, result


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_parts_of_a_batch_add_up(tiny, parts):
    whole, in_parts = trained(tiny)[0], trained(tiny, accumulate=parts)[0]
    torch.testing.assert_close(in_parts.state_dict(), whole.state_dict(), rtol=1e-4, atol=1e-5)


def test_parts_need_two_images_each(tiny):
    from compressor.core.errors import DataError

    with pytest.raises(DataError, match="in 9 parts"):
        trained(tiny, accumulate=9)


def test_gradients_are_clipped(tiny):
    """With a length of 1e-6, no step moves any weight by more than that times learning rate and momentum."""
    before, (after, _) = without_norms(), trained(tiny, clip_norm=1e-6, weight_decay=0.0)
    moved = max((a - b).abs().max().item() for a, b in zip(after.parameters(), before.parameters(), strict=True))
    assert 0 < moved < 18 * 0.1 * 1e-6 * 20


def test_half_precision_is_near(tiny):
    full, half = trained(tiny)[1], trained(tiny, precision="bfloat16")[1]
    assert half.losses == pytest.approx(full.losses, rel=0.1) and half.losses != full.losses
    assert trained(tiny, precision="bfloat16")[0][0].weight.dtype == torch.float32
    with pytest.raises(InvalidOption, match="float32 or bfloat16"):
        replace(tiny.RECIPE, precision="float8")


class Swapping:
    """The partner's pixels with a share of 0: the partner's label must be learned."""

    needs = frozenset()

    def __call__(self, pixels, generator):
        partner = torch.randperm(len(pixels), generator=generator)
        return Mixed(pixels[partner], partner, torch.zeros(len(pixels)))


def test_labels_follow_the_mixture(tiny):
    _, plain = trained(tiny, epochs=8)
    _, swapped = trained(tiny, objective=Objective(LABELS, mixing=Swapping()), epochs=8)
    assert swapped.losses[-1] < 1.2 * plain.losses[-1]


@pytest.mark.parametrize("mixing", [Mixup(alpha=1.0), CatchUpMix()])
def test_mixing_trains_and_repeats_itself(tiny, assert_same, mixing):
    objective = Objective(LABELS, mixing=mixing)
    first, again = (trained(tiny, tiny.network, objective, epochs=2)[0] for _ in range(2))
    assert_same(first, again)
    plain = trained(tiny, tiny.network, epochs=2)[0]
    assert not torch.equal(first[0].weight, plain[0].weight)


@pytest.mark.parametrize("loss", [AttentionTransfer(), FastFeatureAffinity()])
def test_maps_are_learned_without_labels(tiny, loss):
    """The student starts elsewhere and comes nearer to the teacher's maps."""
    teacher = without_norms(seed=5)
    objective = Objective([], feature_losses=[(1.0, loss)])
    student = without_norms()
    result = train(student, tiny.dataset(labelled=False), replace(tiny.RECIPE, epochs=8), objective, teacher=teacher)
    assert result.losses[-1] < 0.7 * result.losses[0]
    assert not student[0]._forward_hooks and not teacher[0]._forward_hooks


def test_maps_and_scores_together(tiny):
    teacher = without_norms(seed=5)
    parts = Objective([(0.5, CrossEntropy()), (0.5, Distillation())], [(0.1, AttentionTransfer())])
    scores = Objective([(0.5, CrossEntropy()), (0.5, Distillation())])
    assert (
        trained(tiny, objective=parts, teacher=teacher)[1].losses
        != trained(tiny, objective=scores, teacher=teacher)[1].losses
    )


def test_a_mixture_inside_has_no_teacher(tiny):
    objective = Objective([(1.0, Distillation())], mixing=CatchUpMix())
    with pytest.raises(ContractViolation, match="mixed inside"):
        trained(tiny, objective=objective, teacher=without_norms(seed=5))
