import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.core.errors import InvalidOption
from compressor.training.augmentations._saliency import density, spectral_residual
from compressor.training.augmentations.guided_mixup import GuidedMixup, greedy_cycle, guided

seeds = st.integers(0, 1000)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def images(seed, n=6, size=12, dtype=torch.uint8):
    return torch.randint(0, 256, (n, 3, size, size), generator=generator(seed)).to(dtype)


def spots(*places, size=16):
    """Grey images with a bright square each."""
    pixels = torch.full((len(places), 3, size, size), 60, dtype=torch.uint8)
    for image, (row, column) in zip(pixels, places, strict=True):
        image[:, row : row + 3, column : column + 3] = 220
    return pixels


def greedy_by_hand(distances):
    """The rule, word by word, on a list of lists."""
    n = len(distances)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    start, current = max(pairs, key=lambda pair: (distances[pair[0]][pair[1]], -pair[0], -pair[1]))
    chain = [start, current]
    while len(chain) < n:
        left = [j for j in range(n) if j not in chain]
        chain.append(max(left, key=lambda j: (distances[chain[-1]][j], -j)))
    followers = dict(zip(chain, [*chain[1:], chain[0]], strict=True))
    return [followers[i] for i in range(n)]


class TestPairing:
    @settings(deadline=None, max_examples=60)
    @given(seeds, st.integers(2, 9), st.integers(1, 50))
    def test_it_is_the_greedy_rule_also_where_distances_are_equal(self, seed, n, largest):
        distances = torch.randint(0, largest + 1, (n, n), generator=generator(seed))
        distances = (distances + distances.T).fill_diagonal_(0)
        assert greedy_cycle(distances).tolist() == greedy_by_hand(distances.tolist())

    @settings(deadline=None, max_examples=25)
    @given(seeds, st.integers(1, 12))
    def test_one_cycle_through_all(self, seed, n):
        points = torch.rand(n, 3, generator=generator(seed))
        partner = greedy_cycle(torch.cdist(points, points)).tolist()
        visited, current = [], 0
        for _ in range(n):
            visited.append(current)
            current = partner[current]
        assert sorted(visited) == list(range(n)) and current == 0

    def test_identical_images_are_paired_too(self):
        assert sorted(greedy_cycle(torch.zeros(4, 4)).tolist()) == [0, 1, 2, 3]

    def test_pairs_are_farther_apart_than_at_random(self):
        gains = []
        for seed in range(20):
            points = torch.rand(32, 4, generator=generator(seed))
            distances = torch.cdist(points, points)
            chosen = distances[torch.arange(32), greedy_cycle(distances)].mean()
            gains.append(float(chosen / (distances.sum() / (32 * 31))))
        assert min(gains) > 1.05

    def test_a_batch_is_paired_so(self):
        """In the program that is published, a slip makes the pairs random."""
        pixels = images(0)
        densities = density(spectral_residual(pixels)).flatten(1)
        expected = greedy_by_hand(torch.cdist(densities, densities).tolist())
        assert GuidedMixup(1.0)(pixels, generator(0)).partner.tolist() == expected


class TestSaliency:
    def test_a_spot_stands_out_from_its_surroundings(self):
        found = density(spectral_residual(spots((2, 2), (10, 9))))
        for one, (row, column) in zip(found, [(3, 3), (11, 10)], strict=True):
            peak = divmod(int(one.argmax()), 16)
            assert abs(peak[0] - row) <= 2 and abs(peak[1] - column) <= 2

    def test_against_the_definition(self):
        """A second computation, in double precision with explicit neighbours."""
        pixels = images(1, n=2, size=7)
        grey = pixels.double().mean(1)
        spectrum = torch.fft.fft2(grey)
        level = spectrum.abs().log()
        shifts = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        residual = level - sum(level.roll(shift, (1, 2)) for shift in shifts) / 9
        expected = torch.fft.ifft2(torch.polar(residual.exp(), spectrum.angle())).abs()
        assert torch.allclose(spectral_residual(pixels), expected.float(), rtol=1e-3, atol=1e-5)

    @settings(deadline=None, max_examples=25)
    @given(seeds, st.integers(1, 9), st.floats(0.01, 100))
    def test_never_negative_and_the_same_for_other_brightness(self, seed, size, scale):
        pixels = images(seed, n=2, size=size, dtype=torch.float32) + 1
        found = spectral_residual(pixels)
        assert found.shape == (2, size, size) and found.min() >= 0
        assert torch.allclose(spectral_residual(pixels * scale), found, rtol=1e-3, atol=1e-4)

    def test_large_images_are_looked_at_in_a_smaller_copy(self):
        pixels = spots((20, 200), size=256).float()
        pixels[:, :, 20:40, 200:220] = 220
        found = density(spectral_residual(pixels))
        row, column = divmod(int(found.argmax()), 128)
        assert found.shape == (1, 128, 128) and 6 <= row <= 24 and 96 <= column <= 114

    @settings(deadline=None, max_examples=25)
    @given(seeds, st.integers(1, 9), st.integers(1, 9), st.sampled_from([0.0, 1e-12, 1.0, 1e12]))
    def test_density_is_positive_with_a_sum_of_1_whatever_the_unit(self, seed, height, width, unit):
        saliency = torch.rand(3, height, width, generator=generator(seed))
        found = density(saliency * unit)
        assert found.min() > 0 and torch.allclose(found.sum((1, 2)), torch.ones(3), atol=1e-5)
        expected = density(saliency) if unit else torch.full_like(found, 1 / (height * width))
        assert torch.allclose(found, expected, rtol=1e-4)

    def test_the_blur_by_hand(self):
        impulse = torch.zeros(1, 15, 15)
        impulse[0, 7, 7] = 1.0
        found = density(impulse)[0]
        assert (found[7, 8] / found[7, 7]).item() == pytest.approx(float(torch.tensor(-1 / 18).exp()), rel=1e-4)
        assert (found[10, 10] / found[7, 7]).item() == pytest.approx(float(torch.tensor(-1.0).exp()), rel=1e-4)
        assert found[7, 11] < 1e-4 * found[7, 7]  # beyond three pixels, nothing


class TestMixture:
    @settings(deadline=None, max_examples=25)
    @given(seeds, st.integers(1, 6), st.sampled_from([torch.uint8, torch.float32]))
    def test_pixels_and_labels_follow_the_ratio(self, seed, n, dtype):
        pixels = images(seed, n=n, size=8, dtype=dtype)
        saliency = torch.rand(n, 8, 8, generator=generator(seed + 1))
        mixed = guided(pixels, saliency)
        share = density(saliency)
        ratio = share / (share + share[mixed.partner])
        assert ratio.min() >= 0 and ratio.max() <= 1
        exact = ratio[:, None] * pixels + (1 - ratio[:, None]) * pixels[mixed.partner]
        assert mixed.pixels.dtype == dtype
        assert (mixed.pixels - exact).abs().max() <= (0.5 if dtype == torch.uint8 else 0) + 1e-3
        assert torch.allclose(mixed.share, ratio.mean((1, 2)))

    def test_saliency_of_another_size_is_enlarged(self):
        saliency = torch.rand(3, 4, 4, generator=generator(0))
        small = guided(images(0, n=3, size=4, dtype=torch.float32), saliency)
        large = guided(torch.zeros(3, 1, 8, 6), saliency)
        assert large.pixels.shape == (3, 1, 8, 6) and torch.equal(small.partner, large.partner)
        assert torch.allclose(small.share, large.share, atol=0.02)
        # Images of 0 and their partners of 1 show the partner's part itself.
        lit = torch.zeros(3, 1, 8, 6)
        lit[small.partner[0]] = 1.0
        part = 1 - guided(lit, saliency).pixels[0, 0]
        assert part.mean().item() == pytest.approx(large.share[0].item(), abs=1e-5) and part.std() > 0.01

    def test_what_is_salient_is_shown(self):
        pixels = spots((2, 2), (10, 10))
        mixed = GuidedMixup(1.0)(pixels, generator(0))
        for image in mixed.pixels:  # both spots, in both images
            assert image[0, 3, 3] > 150 and image[0, 11, 11] > 150

    def test_identical_images_are_mixed_by_halves(self):
        pixels = images(0, n=1).repeat(4, 1, 1, 1)
        mixed = GuidedMixup(1.0)(pixels, generator(0))
        assert torch.equal(mixed.pixels, pixels) and mixed.share.tolist() == [0.5] * 4

    @pytest.mark.parametrize("value", [0, 255])
    def test_blank_images(self, value):
        mixed = GuidedMixup(1.0)(torch.full((3, 1, 8, 8), value, dtype=torch.uint8), generator(0))
        assert (mixed.pixels == value).all() and torch.allclose(mixed.share, torch.full((3,), 0.5), atol=0.05)

    def test_one_image_stays(self):
        pixels = images(0, n=1)
        mixed = GuidedMixup(1.0)(pixels, generator(0))
        assert torch.equal(mixed.pixels, pixels) and mixed.partner.tolist() == [0]

    def test_the_generator_only_says_whether(self):
        pixels, state, draws = images(0), torch.get_rng_state(), generator(0)
        batches = [GuidedMixup()(pixels, draws) for _ in range(60)]
        whole = [torch.equal(mixed.pixels, pixels) for mixed in batches]
        assert 15 < sum(whole) < 45 and batches[whole.index(True)].share.tolist() == [1.0] * 6
        first, *others = [mixed for mixed, stayed in zip(batches, whole, strict=True) if not stayed]
        assert all(torch.equal(first.pixels, other.pixels) for other in others)
        assert torch.equal(torch.get_rng_state(), state)


def test_out_of_range():
    with pytest.raises(InvalidOption, match="guided_mixup: `probability`"):
        GuidedMixup(probability=1.1)
