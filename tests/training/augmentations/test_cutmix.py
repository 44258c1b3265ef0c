import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.core.errors import InvalidOption
from compressor.training.augmentations import _mixing
from compressor.training.augmentations.cutmix import CutMix


def generator(seed):
    return torch.Generator().manual_seed(seed)


def numbered(n, height=6, width=5, dtype=torch.uint8):
    """Image i shows i everywhere."""
    return torch.arange(n).reshape(n, 1, 1, 1).expand(n, 3, height, width).to(dtype)


def test_by_hand(monkeypatch):
    # lambda = 3/4: half of each side. Centres (0.5 * 8, 0.25 * 4) = (4, 1): rows 2 to 5, columns 0 to 1.
    monkeypatch.setattr(_mixing, "random_partners", lambda n, _: torch.tensor([1, 0]))
    monkeypatch.setattr(_mixing, "beta_shares", lambda alpha, n, _: torch.full((n,), 0.75))
    draws = iter([torch.full((2,), 0.5), torch.full((2,), 0.25)])
    monkeypatch.setattr(_mixing.torch, "rand", lambda *_, **__: next(draws))
    mixed = _mixing.pasted(numbered(2, 8, 4), 1.0, torch.Generator())
    expected = torch.zeros(8, 4, dtype=torch.uint8)
    expected[2:6, 0:2] = 1
    assert torch.equal(mixed.pixels[0, 2], expected) and torch.equal(mixed.pixels[1, 0], 1 - expected)
    assert mixed.share.tolist() == [0.75, 0.75]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 6), st.sampled_from([torch.uint8, torch.float32]))
def test_each_image_keeps_its_share_outside_a_box_of_its_partner(seed, n, dtype):
    pixels = numbered(n, dtype=dtype)
    mixed = CutMix()(pixels, generator(seed))
    assert mixed.pixels.dtype == dtype and sorted(mixed.partner.tolist()) == list(range(n))
    for i, partner in enumerate(mixed.partner.tolist()):
        if partner == i:
            assert torch.equal(mixed.pixels[i], pixels[i])
            continue
        foreign = mixed.pixels[i] == partner  # (3, 6, 5)
        assert torch.equal(foreign, ~(mixed.pixels[i] == i)) and torch.equal(foreign[0], foreign[2])
        rows, columns = foreign[0].any(1), foreign[0].any(0)
        assert torch.equal(foreign[0], rows[:, None] & columns[None, :])  # a box ...
        for line in (rows, columns):
            assert line.int().diff().ne(0).sum() <= 2  # ... in one piece
        assert mixed.share[i].item() == pytest.approx(1 - foreign[0].float().mean().item())


def test_the_box_lies_where_it_does_in_the_partner():
    pixels = torch.arange(2 * 8 * 8, dtype=torch.float32).reshape(2, 1, 8, 8)
    mixed = CutMix()(pixels, generator(1))
    assert mixed.partner.tolist() == [1, 0] and 0 < mixed.share[0] < 1
    assert torch.equal(mixed.pixels % 64, pixels % 64)


def test_small_alpha_takes_all_or_nothing():
    shares = torch.cat([CutMix(0.01)(numbered(8, 32, 32), generator(seed)).share for seed in range(20)])
    assert ((shares > 0.9).float().mean().item()) > 0.4 and (shares < 0.8).float().mean() > 0.3


def test_the_generator_is_all_the_randomness():
    pixels, state = numbered(8), torch.get_rng_state()
    first, same, other = (CutMix()(pixels, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.pixels, same.pixels) and torch.equal(first.share, same.share)
    assert not torch.equal(first.pixels, other.pixels) and torch.equal(torch.get_rng_state(), state)


def test_some_batches_stay():
    draws = generator(0)
    n_whole = sum(bool((CutMix(probability=0.5)(numbered(4), draws).share == 1).all()) for _ in range(200))
    assert 70 < n_whole < 130


def test_out_of_range():
    with pytest.raises(InvalidOption, match="cutmix: `alpha`"):
        CutMix(alpha=-1.0)
    with pytest.raises(InvalidOption, match="cutmix: `probability`"):
        CutMix(probability=0.0)
