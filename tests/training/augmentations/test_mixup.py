import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.core.errors import InvalidOption
from compressor.training.augmentations._mixing import beta_shares, blended
from compressor.training.augmentations.mixup import Mixup


def generator(seed):
    return torch.Generator().manual_seed(seed)


def test_blending_by_hand():
    pixels = torch.tensor([100, 201], dtype=torch.uint8).reshape(2, 1, 1, 1)
    weight = torch.tensor([0.75, 1.0]).reshape(2, 1, 1, 1)
    # 3/4 * 100 + 1/4 * 201 = 125.25; the second keeps itself.
    assert blended(pixels, torch.tensor([1, 0]), weight).flatten().tolist() == [125, 201]
    assert blended(pixels.float(), torch.tensor([1, 0]), weight).flatten().tolist() == [125.25, 201]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 6), st.floats(0.05, 5), st.sampled_from([torch.uint8, torch.float32]))
def test_every_image_is_the_mixture_that_is_told(seed, n, alpha, dtype):
    pixels = torch.randint(0, 256, (n, 3, 4, 5), generator=generator(seed)).to(dtype)
    kept = pixels.clone()
    mixed = Mixup(alpha)(pixels, generator(seed + 1))
    assert torch.equal(pixels, kept) and mixed.pixels.dtype == dtype and mixed.pixels.shape == pixels.shape
    assert sorted(mixed.partner.tolist()) == list(range(n))
    assert mixed.share.shape == (n,) and mixed.share.min() >= 0 and mixed.share.max() <= 1
    share = mixed.share.double()[:, None, None, None]
    exact = share * pixels + (1 - share) * pixels[mixed.partner]
    assert (mixed.pixels - exact).abs().max() <= (0.5 if dtype == torch.uint8 else 0) + 1e-4


def test_shares_are_beta():
    for alpha in (0.2, 1.0, 3.0):
        shares = beta_shares(alpha, 20_000, generator(0))
        assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
        assert shares.var().item() == pytest.approx(0.25 / (2 * alpha + 1), rel=0.05)
    assert torch.equal(
        beta_shares(1.0, 5, generator(1)), torch.rand(5, generator=generator(1), dtype=torch.double).float()
    )


def test_the_generator_is_all_the_randomness():
    pixels, state = torch.rand(8, 1, 2, 2), torch.get_rng_state()
    first, same, other = (Mixup(1.0)(pixels, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.pixels, same.pixels) and torch.equal(first.share, same.share)
    assert torch.equal(first.partner, same.partner) and not torch.equal(first.share, other.share)
    assert torch.equal(torch.get_rng_state(), state)


def test_some_batches_stay():
    pixels = torch.rand(4, 1, 2, 2)
    draws = generator(0)
    batches = [Mixup(1.0, probability=0.25)(pixels, draws) for _ in range(200)]
    whole = [mixed for mixed in batches if torch.equal(mixed.pixels, pixels)]
    assert 120 < len(whole) < 180
    assert whole[0].share.tolist() == [1, 1, 1, 1] and whole[0].partner.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("option, value", [("alpha", 0.0), ("alpha", float("inf")), ("alpha", float("nan"))])
@pytest.mark.parametrize("probability", [1.0])
def test_alpha_out_of_range(option, value, probability):
    with pytest.raises(InvalidOption, match="mixup: `alpha` must be above 0"):
        Mixup(**{option: value}, probability=probability)


@pytest.mark.parametrize("probability", [0.0, 1.5])
def test_probability_out_of_range(probability):
    with pytest.raises(InvalidOption, match="mixup: `probability` must be above 0"):
        Mixup(probability=probability)
