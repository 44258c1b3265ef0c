"""Augmentations and losses of feature maps, as people name them, with their options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compressor.core.errors import InvalidOption
from compressor.core.plugin_options import plugin_options
from compressor.core.plugins import PluginFolder
from compressor.training.features import FeatureLoss
from compressor.training.mixing import FeatureMixing, PixelMixing
from compressor.training.protocols import Augmentation

OWNER = "training"
AUGMENTATIONS = PluginFolder("compressor.training.augmentations", "augmentation")
LOSSES = PluginFolder("compressor.training.losses", "loss")
WEIGHT = "weight"  # an option of every loss of feature maps: by which it counts


def chosen_augmentations(
    names: Sequence[str], options: Sequence[str]
) -> tuple[list[Augmentation], PixelMixing | FeatureMixing | None]:
    """What varies single images, in order, and what mixes two, if anything does.

    >>> chosen_augmentations(["horizontal_flip", "cutmix"], ["cutmix.alpha=0.5"])
    ([HorizontalFlip(probability=0.5)], CutMix(alpha=0.5, probability=1.0))

    Raises:
        UnknownPlugin: no augmentation has a name.
        InvalidOption: an option does not fit, or two of them mix.
    """
    for text in options:
        if text.partition(".")[0] not in names:
            allowed = f"NAME.OPTION=VALUE of one that is named ({', '.join(names) or 'none is'})"
            raise InvalidOption(OWNER, "--augment-option", allowed, text)
    varying: list[Augmentation] = []
    mixing: list[tuple[str, Any]] = []
    for name in names:
        kind = AUGMENTATIONS.load(name)
        own = [text.partition(".")[2] for text in options if text.partition(".")[0] == name]
        made = kind(**plugin_options(kind, name, "--augment-option", own))
        if hasattr(kind, "needs"):  # which only what mixes has
            mixing.append((name, made))
        else:
            varying.append(made)
    if len(mixing) > 1:
        both = " and ".join(name for name, _ in mixing)
        raise InvalidOption(OWNER, "--augment", "at most one that mixes images", both, "Leave one of them out.")
    return varying, mixing[0][1] if mixing else None


def chosen_features(name: str, options: Sequence[str]) -> tuple[float, FeatureLoss] | None:
    """A loss of feature maps and its weight, 1 unless the options say another; None without a name.

    >>> chosen_features("attention_transfer", ["weight=0.5", "squared=True"])
    (0.5, AttentionTransfer(squared=True))

    Raises:
        UnknownPlugin: no loss has the name.
        InvalidOption: it compares no feature maps, or an option does not fit.
    """
    if not name:
        if options:
            raise InvalidOption(OWNER, "--features-option", "used with features", options[0])
        return None
    kind = LOSSES.load(name)
    if "features" not in kind.needs:
        known = (each for each in LOSSES.names() if "features" in LOSSES.load(each).needs)
        raise InvalidOption(OWNER, "--features", f"one of {', '.join(known)}", name)
    weights = [text.partition("=")[2] for text in options if text.partition("=")[0] == WEIGHT]
    own = [text for text in options if text.partition("=")[0] != WEIGHT]
    loss = kind(**plugin_options(kind, name, "--features-option", own))
    return (_weight(weights[-1]) if weights else 1.0), loss


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight < float("inf"):
        raise InvalidOption(OWNER, "--features-option", "a weight above 0", text)
    return weight
