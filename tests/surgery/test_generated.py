"""Small networks that `benchmarks/generated_networks.py` found wrong once, and the generator itself."""

from random import Random

import pytest
import torch

from tests.surgery import generated_images as images
from tests.surgery import generated_tokens as tokens
from tests.surgery.generated import (
    IMAGE_BLOCKS,
    TOKEN_BLOCKS,
    Block,
    Ending,
    Stem,
    ToTokens,
    build,
    example,
    generate,
    network,
)
from tests.surgery.properties import cutting_differs_from_masking, find, kept_sets

QUERIES = {"n": 6, "kv_heads": 2, "shared": 3, "dim": 4, "length": 16, "rotary": True}


def around(*blocks, n):
    """A stem of 6 channels, the blocks, an ending of n."""
    made = [Block(Stem, {"out": 6}), *(Block(kind, options) for kind, options in blocks)]
    return build([*made, Block(Ending, {"n": n, "positions": 16, "how": "mean", "outputs": "scores"})])


# A network, and how many channels may leave of each group.
ONCE_WRONG = {
    "one attribute, two halves of its size": (
        around((images.SplitInPlaces, {"n": 6, "c": 6, "out": 12, "by": "split"}), n=12),
        {"0": 6, "1.cv1": 6, "1.m": 6, "1.cv2": 12, "2.hidden": 6},
    ),
    "two entries of a tuple, of one size": (
        around((images.UnevenSplit, {"n": 6, "worked": 3}), n=6),
        {"0:1": 3, "0:2": 3, "2.hidden": 6},
    ),
    "one attribute, the head size of keys and of values": (
        around((ToTokens, {}), (tokens.GroupedQueries, QUERIES), n=6),
        {"0": 6, "2.wq:1": 2, "2.wq:2": 2, "2.wq:3": 3, "3.hidden": 6},  # heads, half a head's size, queries a head
    ),
    "a size that is also the length of a table of positions": (
        around(
            (images.Resize, {"how": "mean"}),
            (ToTokens, {}),
            (tokens.Attention, {"n": 6, "heads": 2, "dim": 4, "length": 4, "biased": True}),
            n=6,
        ),
        {"0": 6, "3.q:1": 2, "3.q:2": 4, "4.hidden": 6},
    ),
    "a head size that is the width divided by the heads": (
        around((ToTokens, {}), (tokens.Divided, {"n": 6, "heads": 2}), n=6),
        {"0": 3, "3.hidden": 6},
    ),
}


@pytest.mark.parametrize("name", ONCE_WRONG)
def test_sizes_that_fitted_by_chance(name):
    """Cuts that ran in a trial and not with the next kept set."""
    model, groups = ONCE_WRONG[name]
    found = find(model, example())
    assert {group.name: group.n_channels for group in found.groups} == groups and not found.unfit
    r = Random(0)
    for _ in range(20):
        assert not cutting_differs_from_masking(found, kept_sets(found.groups, r))


def test_the_same_seed_draws_the_same_network():
    (model, x, text), (again, y, other) = network(Random(5)), network(Random(5))
    assert text == other and torch.equal(x, y)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    assert text.startswith("Stem(out=") and "\nEnding(n=" in text and text.splitlines()[-1].startswith("seed ")


def test_every_kind_of_block_is_drawn():
    drawn = {block.kind for seed in range(300) for block in generate(Random(seed))}
    assert drawn == {*IMAGE_BLOCKS, *TOKEN_BLOCKS, Stem, Ending}
