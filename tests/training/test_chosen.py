"""Augmentations and losses of feature maps by name."""

import pytest

from compressor.core.errors import InvalidOption, UnknownPlugin
from compressor.training.augmentations.catch_up_mix import CatchUpMix
from compressor.training.augmentations.mixup import Mixup
from compressor.training.augmentations.random_crop import RandomCrop
from compressor.training.chosen import chosen_augmentations, chosen_features
from compressor.training.losses.fast_feature_affinity import FastFeatureAffinity


def test_every_augmentation_varies_or_mixes():
    assert chosen_augmentations(["mixup"], []) == ([], Mixup())
    assert chosen_augmentations(["catch_up_mix"], ["catch_up_mix.alpha=2"]) == ([], CatchUpMix(alpha=2.0))
    assert chosen_augmentations(["random_crop"], ["random_crop.share=0.25"]) == ([RandomCrop(0.25)], None)
    assert chosen_augmentations([], []) == ([], None)


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        (["mixup", "cutmix"], [], "at most one that mixes images, but got 'mixup and cutmix'"),
        (["cutmix"], ["mixup.alpha=1"], "one that is named \\(cutmix\\)"),
        (["cutmix"], ["alpha=1"], "NAME.OPTION=VALUE"),
        (["cutmix"], ["cutmix.beta=1"], "cutmix: `--augment-option` must be one of alpha, probability"),
        (["cutmix"], ["cutmix.alpha=-1"], "alpha"),
    ],
)
def test_augmentations_that_do_not_fit(names, options, words):
    with pytest.raises(InvalidOption, match=words):
        chosen_augmentations(names, options)


def test_misspelled():
    with pytest.raises(UnknownPlugin, match="Did you mean 'cutmix'"):
        chosen_augmentations(["cutmixx"], [])
    with pytest.raises(UnknownPlugin, match="attention_transfer"):
        chosen_features("attention_transfr", [])


def test_losses_of_feature_maps():
    assert chosen_features("", []) is None
    assert chosen_features("fast_feature_affinity", ["order=1"]) == (1.0, FastFeatureAffinity(order=1))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("cross_entropy", [], "one of attention_transfer, fast_feature_affinity, feature_affinity"),
        ("attention_transfer", ["weight=0"], "a weight above 0"),
        ("attention_transfer", ["weight=much"], "a weight above 0"),
        ("attention_transfer", ["order=1"], "one of squared"),
        ("", ["weight=1"], "used with"),
    ],
)
def test_losses_that_do_not_fit(name, options, words):
    with pytest.raises(InvalidOption, match=words):
        chosen_features(name, options)
