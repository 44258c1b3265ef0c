import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.training.augmentations.catch_up_mix import CatchUpMix, caught_up

PIXELS = torch.randint(0, 256, (6, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
SWAP = torch.tensor([1, 0])


def generator(seed):
    return torch.Generator().manual_seed(seed)


def network():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)
        )


def n_hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


def pair(seed, n_channels):
    maps = torch.rand(2, n_channels, 3, 2, generator=generator(seed))
    norms = maps.flatten(2).norm(dim=2)
    influence = norms / norms.sum(1, keepdim=True)
    return maps, influence


class TestChannels:
    def test_by_hand(self):
        # Norms (3, 1) and (10, 5), influences (9, 3)/12 and (8, 4)/12: the first image is the weaker one in channel 1,
        # the second in channel 0, although its norms are larger in both.
        maps = torch.zeros(2, 2, 1, 2)
        maps[0, 0], maps[0, 1] = torch.tensor([[-3.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        maps[1, 0], maps[1, 1] = torch.tensor([[6.0, 8.0]]), torch.tensor([[0.0, -5.0]])
        mixed = caught_up(maps, SWAP, torch.tensor([0.5, 0.5]))
        assert torch.equal(mixed[0], torch.stack([maps[1, 0], maps[0, 1]]))
        assert torch.equal(mixed[1], torch.stack([maps[1, 0], maps[0, 1]]))

    @settings(deadline=None, max_examples=40)
    @given(st.integers(0, 1000), st.integers(1, 8), st.floats(0, 1))
    def test_the_weak_channels_are_the_image_s_own(self, seed, n_channels, share):
        maps, influence = pair(seed, n_channels)
        mixed = caught_up(maps, SWAP, torch.tensor([share, 1.0]))[0]
        own = [c for c in range(n_channels) if torch.equal(mixed[c], maps[0, c])]
        assert all(torch.equal(mixed[c], maps[1, c]) for c in range(n_channels) if c not in own)
        relative = (influence[0] - influence[1]).tolist()
        weakest = sorted(range(n_channels), key=lambda c: relative[c])
        assert abs(len(own) - share * n_channels) <= 0.5 + 1e-5
        assert n_channels == 1 or sorted(own) == sorted(weakest[: len(own)])

    @settings(deadline=None, max_examples=40)
    @given(st.integers(0, 1000), st.integers(2, 8), st.data())
    def test_two_images_swapped_give_the_same(self, seed, n_channels, data):
        """What A gives to the mixture of A with B is what B does not give to that of B with A."""
        maps, influence = pair(seed, n_channels)
        relative = influence[0] - influence[1]
        assume(relative.sort().values.diff().min() > 1e-6)
        n_own = data.draw(st.integers(0, n_channels))
        share = torch.tensor([n_own / n_channels, 1 - n_own / n_channels])
        mixed = caught_up(maps, SWAP, share)
        assert torch.equal(mixed[0], mixed[1])

    def test_whole_shares(self):
        maps = torch.rand(4, 5, 2, 2, generator=generator(0))
        partner = torch.tensor([2, 3, 1, 0])
        assert torch.equal(caught_up(maps, partner, torch.ones(4)), maps)
        assert torch.equal(caught_up(maps, partner, torch.zeros(4)), maps[partner])

    def test_maps_of_zeros(self):
        maps = torch.zeros(2, 4, 2, 2)
        assert torch.equal(caught_up(maps, SWAP, torch.tensor([0.5, 0.5])), maps)

    def test_gradients_flow_to_the_images_that_gave_channels_and_not_to_the_choice(self):
        maps = torch.rand(2, 4, 2, 2, generator=generator(1)).requires_grad_()
        caught_up(maps, SWAP, torch.tensor([0.25, 1.0]))[0].sum().backward()
        given_by = maps.grad.flatten(2)[:, :, 0]
        assert torch.equal(given_by.sum(0), torch.ones(4)) and given_by.sum(1).tolist() == [1.0, 3.0]


class TestMixing:
    def place_of(self, seed, model, layers):
        """Which place the seed mixes at: a layer's name, or the pixels."""
        with CatchUpMix().mixing(model, layers, PIXELS, generator(seed)) as mixed:
            hooked = [name for name, module in model.named_modules() if module._forward_hooks]
            model(mixed.pixels.float())
        assert len(hooked) <= 1
        return hooked[0] if hooked else "pixels"

    def test_each_place_has_its_turn(self):
        model = network()
        places = [self.place_of(seed, model, ["1", "3"]) for seed in range(90)]
        assert {place: places.count(place) > 18 for place in places} == {"1": True, "3": True, "pixels": True}

    def test_inside_the_network(self):
        model = network().eval()
        seed = next(seed for seed in range(50) if self.place_of(seed, model, ["1"]) == "1")
        with CatchUpMix().mixing(model, ["1"], PIXELS, generator(seed)) as mixed:
            scores = model(mixed.pixels.float())
            again = model(mixed.pixels.float())  # a second pass is not mixed
        assert torch.equal(mixed.pixels, PIXELS) and sorted(mixed.partner.tolist()) == list(range(6))
        expected = model[2:](caught_up(model[:2](PIXELS.float()), mixed.partner, mixed.share))
        assert torch.equal(scores, expected) and not torch.equal(scores, again)
        assert torch.equal(again, model(PIXELS.float())) and n_hooks(model) == 0

    def test_at_the_pixels_it_is_cutmix(self):
        model = network()
        with CatchUpMix().mixing(model, [], PIXELS, generator(0)) as mixed:
            assert n_hooks(model) == 0
        foreign = (mixed.pixels == PIXELS[mixed.partner]).all(1) & ~(mixed.pixels == PIXELS).all(1)
        moved = mixed.partner != torch.arange(6)
        share = 1 - foreign.float().mean((1, 2))
        assert torch.allclose(share[moved], mixed.share[moved], atol=0.05) and mixed.pixels.dtype == torch.uint8

    def test_the_generator_is_all_the_randomness(self):
        model, state = network(), torch.get_rng_state()
        results = []
        for seed in (4, 4, 5):
            with CatchUpMix().mixing(model, ["1", "3"], PIXELS, generator(seed)) as mixed:
                results.append((model(mixed.pixels.float()), mixed.share))
        assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])
        assert not torch.equal(results[0][1], results[2][1]) and torch.equal(torch.get_rng_state(), state)

    def seed_inside(self):
        return next(seed for seed in range(50) if int(torch.randint(2, (), generator=generator(seed))) == 0)

    def test_hooks_are_gone_after_errors(self):
        model = network()
        seed = self.seed_inside()
        with pytest.raises(KeyError), CatchUpMix().mixing(model, ["1"], PIXELS, generator(seed)):
            assert n_hooks(model) == 1
            raise KeyError
        assert n_hooks(model) == 0

    def test_bad_input(self):
        model = network()
        seed = self.seed_inside()

        def train_on(layer, passes):
            with CatchUpMix().mixing(model, [layer], PIXELS, generator(seed)) as mixed:
                for _ in range(passes):
                    model(mixed.pixels.float())

        with pytest.raises(UnsupportedModel, match=r"layer '1' must be called .* but was not"):
            train_on("1", passes=0)
        with pytest.raises(UnsupportedModel, match=r"layer '4' must return a feature map .* 6 images, .*\(6, 144\)"):
            train_on("4", passes=1)
        with pytest.raises(InvalidOption, match="catch_up_mix: `layers`"):
            train_on("9", passes=1)
        with pytest.raises(InvalidOption, match="catch_up_mix: `alpha`"):
            CatchUpMix(alpha=0.0)
        assert n_hooks(model) == 0
