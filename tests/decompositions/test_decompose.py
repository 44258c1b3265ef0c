import pytest
import torch
from torch import nn

from compressor.core.errors import InvalidOption, UnknownPlugin, UnsupportedModel
from compressor.decompositions.decompose import decompose
from compressor.graph.cost import measure_cost
from exporters.signature import ExampleInputs
from tests.decompositions.cases import seeded, separable_conv


class Net(nn.Module):
    """One convolution of low rank, one of full rank, one called twice, and one not called."""

    def __init__(self):
        super().__init__()
        self.low, self.full = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.twice, self.idle = nn.Conv2d(8, 8, 3, padding=1, stride=2), nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, 5)
        self.low.weight.data[2:] = self.low.weight.data[:2].repeat(3, 1, 1, 1)

    def forward(self, x):
        x = self.twice(self.twice(torch.relu(self.full(self.low(x)))))
        return self.head(x.mean((2, 3)))


class Reader(nn.Module):
    """Looks at a layer's weight beside calling it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 16)

    def forward(self, x):
        return self.layer(x.to(self.layer.weight.dtype))


class Pair(nn.Linear):
    """Returns its input beside its output."""

    def forward(self, x):
        return super().forward(x), x


IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def network():
    return seeded(Net)


def by_name(records):
    return {record.layer: record for record in records}


def test_exact_where_the_rank_is_low_and_nothing_elsewhere():
    model = network()
    smaller, records = decompose(model, IMAGES, kind="channel", energy=1.0)
    found = by_name(records)
    assert list(found) == ["low", "full", "twice", "idle"]
    assert found["low"].kept and found["low"].ranks == (2,) and found["low"].reason == ""
    # 64 pixels, of one image: 8 * 27 before, 2 * 27 + 8 * 2 after.
    assert (found["low"].macs_before, found["low"].macs_after) == (64 * 216, 64 * 70)
    assert found["low"].relative_error < 1e-6
    assert not found["full"].kept and found["full"].ranks == (8,)
    # r < 8 * 72 / (72 + 8) = 7.2
    assert found["full"].reason == "This saves no MACs; ranks up to 7 would."
    assert not found["idle"].kept and found["idle"].reason == "The model does not call it on these inputs."
    assert str(found["idle"]) == "idle: channel, left as it is: The model does not call it on these inputs."
    assert type(smaller.full) is nn.Conv2d and type(model.low) is nn.Conv2d and model.training
    torch.testing.assert_close(smaller.eval()(IMAGES), model.eval()(IMAGES), rtol=1e-4, atol=1e-5)


def test_records_are_what_the_graph_counts():
    model = network()
    smaller, records = decompose(model, IMAGES, kind="spatial", ratio=0.5)
    saved = sum(record.macs_before - record.macs_after for record in records if record.kept)
    before, after = (measure_cost(each, ExampleInputs.of(IMAGES, each)).macs for each in (model, smaller))
    assert before - after == saved > 0
    assert by_name(records)["twice"].macs_before == 64 * 9 * (16 + 4)  # on 4 x 4 and on 2 x 2 pixels


@pytest.mark.parametrize("kind", ["channel", "spatial", "depthwise", "tucker2"])
@pytest.mark.parametrize("ratio", [0.3, 0.6])
def test_ratio_is_used_up_and_kept(kind, ratio):
    _, records = decompose(network(), IMAGES, kind=kind, ratio=ratio, layers=["full"])
    (record,) = records
    assert record.kept and record.macs_after <= ratio * record.macs_before == ratio * 64 * 576
    if kind != "tucker2":
        a_rank = 64 * {"channel": 72 + 8, "spatial": 24 + 24, "depthwise": 64 + 72}[kind]
        assert record.macs_after == a_rank * record.ranks[0]
        assert record.macs_after + a_rank > ratio * record.macs_before


def test_a_ratio_that_no_rank_keeps_to():
    _, (record,) = decompose(network(), IMAGES, kind="depthwise", ratio=0.2, layers=["full"])
    assert record.reason == "No rank keeps to 20% of its MACs." and not record.kept and record.ranks == ()


def test_energy_and_threshold_choose_ranks():
    model = nn.Sequential(nn.Linear(8, 8, bias=False))
    model[0].weight.data = torch.diag(torch.tensor([4.0, 3.0, 0.1, 0.01, 0.0, 0.0, 0.0, 0.0]))
    given = torch.ones(1, 8)

    def ranks(**rule):
        return decompose(model, given, kind="linear", **rule)[1][0].ranks

    assert ranks(energy=0.6) == (1,) and ranks(energy=0.99) == (2,) and ranks(energy=1.0) == (4,)
    assert ranks(threshold=0.05) == (3,) and ranks(threshold=10.0) == (1,)


def test_it_is_kept_only_where_it_is_faster():
    model = network()
    asked = []

    def slow_on_small_images(layer, replacement, shape):
        asked.append((layer, type(replacement), shape))
        return shape[-1] == 8

    smaller, records = decompose(model, IMAGES, kind="spatial", ratio=0.6, is_faster=slow_on_small_images)
    found = by_name(records)
    assert {name for name, record in found.items() if record.kept} == {"low", "full"}
    assert found["twice"].reason == "It is not faster." and found["twice"].ranks
    assert type(smaller.twice) is nn.Conv2d and type(smaller.full) is nn.Sequential
    assert (model.twice, nn.Sequential, (2, 8, 8, 8)) in asked and (model.twice, nn.Sequential, (2, 8, 4, 4)) in asked

    def never(layer, replacement, shape):
        return False

    smaller, records = decompose(model, IMAGES, kind="spatial", ratio=0.6, is_faster=never)
    assert not any(record.kept for record in records)
    assert smaller is not model and torch.equal(smaller.eval()(IMAGES), model.eval()(IMAGES))


def test_is_faster_is_not_asked_about_what_saves_nothing():
    def fail(*_):
        raise AssertionError

    _, records = decompose(network(), IMAGES, kind="channel", energy=1.0, layers=["full"], is_faster=fail)
    assert not records[0].kept


def test_as_many_macs_as_before_are_no_saving():
    model = nn.Sequential(nn.Linear(8, 8))
    model[0].weight.data = torch.diag(torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0]))
    _, (record,) = decompose(model, torch.ones(1, 8), kind="linear", energy=1.0)
    assert (record.macs_before, record.macs_after, record.kept) == (64, 64, False)
    assert record.reason == "This saves no MACs; ranks up to 3 would."


def test_no_rank_may_save_anything():
    model = nn.Sequential(nn.Conv2d(1, 4, 1))
    _, (record,) = decompose(model, torch.ones(1, 1, 4, 4), kind="channel", energy=0.9)
    assert record.reason == "This saves no MACs; no rank would."
    assert (record.macs_before, record.macs_after) == (64, 80)


def test_every_kind_finds_rank_one():
    model = nn.Sequential(separable_conv())
    images = torch.ones(1, 2, 6, 6, dtype=torch.float64)
    for kind in ("channel", "spatial", "depthwise", "tucker2"):
        smaller, (record,) = decompose(model, images, kind=kind, energy=1.0)
        assert record.ranks == ((1, 1) if kind == "tucker2" else (1,)), kind
        torch.testing.assert_close(smaller(images), model(images))


def test_the_model_is_left_as_it_was():
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    decompose(model, IMAGES, kind="tucker2", energy=0.5)
    assert torch.equal(state, torch.get_rng_state())
    assert model.training and not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_layers_that_are_refused_are_recorded_or_if_named_an_error():
    model = network()
    nn.utils.parametrizations.weight_norm(model.full)
    _, records = decompose(model, IMAGES, kind="channel", energy=0.5)
    assert "parametrization" in by_name(records)["full"].reason and by_name(records)["low"].kept
    with pytest.raises(UnsupportedModel, match=r"full: .*parametrization"):
        decompose(model, IMAGES, kind="channel", energy=0.5, layers=["full"])


def test_a_class_that_returns_something_else_is_left_alone():
    _, (record,) = decompose(seeded(Pair, 4, 4), torch.ones(1, 4), kind="linear", ratio=0.5)
    assert "got Pair, a class of its own" in record.reason and not record.kept


def test_code_that_reads_a_weight_is_found_out():
    with pytest.raises(UnsupportedModel, match=r"'weight'.*without that one"):
        decompose(seeded(Reader), torch.ones(1, 16), kind="linear", ratio=0.5)


def test_options_out_of_range():
    for rule in ({}, {"energy": 0.9, "ratio": 0.5}):
        with pytest.raises(InvalidOption, match="exactly one"):
            decompose(network(), IMAGES, kind="channel", **rule)
    for rule in ({"energy": 0.0}, {"energy": 1.1}, {"ratio": 0.0}, {"ratio": 1.0}, {"threshold": 0.0}):
        with pytest.raises(InvalidOption, match=next(iter(rule))):
            decompose(network(), IMAGES, kind="channel", **rule)
    with pytest.raises(InvalidOption, match="Did you mean 'full'"):
        decompose(network(), IMAGES, kind="channel", energy=0.9, layers=["fulll"])
    with pytest.raises(UnknownPlugin):
        decompose(network(), IMAGES, kind="cp", energy=0.9)
