"""What each group costs alone, on a network whose damage can be worked out by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from compressor.calibration.norms import collecting
from compressor.core.options import RunOptions
from compressor.core.progress import SilentProgress
from compressor.data.batches import from_batches
from compressor.runs import sensitivity as module
from compressor.runs.coverage import cover
from compressor.runs.datasets import Datasets
from compressor.runs.record import Record, Source
from compressor.runs.sensitivity import Opinions
from exporters.signature import ExampleInputs
from tests.runs.planned import claimed, planner_of

N, HEAVY = 8, (5.0, 4.0, 3.0, 2.0, 1.0, 0.5, 0.25, 0.125)


class Weighted(nn.Module):
    """The output is a weighted sum of two layers' channels; `a` counts ten times as much as `b`."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, N, bias=False), nn.Linear(4, N, bias=False)
        self.read_a, self.read_b = nn.Linear(N, 2, bias=False), nn.Linear(N, 2, bias=False)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for layer, size in ((self.a, 10.0), (self.b, 1.0)):
                layer.weight.copy_(torch.randn(N, 4, generator=generator).abs() * torch.tensor(HEAVY)[:, None] * size)
            for layer in (self.read_a, self.read_b):
                layer.weight.copy_(torch.rand(2, N, generator=generator) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.read_a(torch.relu(self.a(x))) + self.read_b(torch.relu(self.b(x)))


@pytest.fixture(scope="module")
def record():
    model = Weighted().eval()
    source = Source(model, ExampleInputs.of(torch.rand(2, 4), model), "net.pt", "", "aa")
    record = Record(source, RunOptions(speedup=2.0, round_to=1), SilentProgress())
    record.coverage = cover(model, source.inputs)
    return record


@pytest.fixture(scope="module")
def pixels():
    return torch.rand(24, 4, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def run(record, pixels, tmp_path):
    folder = claimed(record, tmp_path / "run")
    return lambda: Opinions(record, planner_of(record), Datasets(from_batches(pixels)), folder).first()


def by_hand(model, pixels, name, n_keep):
    """|y_cut - y|^2 / |y - mean of y|^2, with the channels of largest weights."""
    layer, read = getattr(model, name), getattr(model, f"read_{name}")
    keep = layer.weight.abs().sum(1).argsort(descending=True)[:n_keep]
    lost = (
        torch.relu(pixels @ layer.weight.T) @ read.weight.T
        - torch.relu(pixels @ layer.weight[keep].T) @ read.weight[:, keep].T
    )
    whole = model(pixels)
    return float(((lost**2).sum() / ((whole - whole.mean(0)) ** 2).sum()).detach())


def test_damage_as_by_hand(run, record, pixels):
    worth = run()
    model = record.source.module
    assert {group.name for group in record.coverage.groups} == worth.keys() == {"a", "b"}
    for name, found in worth.items():
        assert found.shape == (N + 1,) and found[0] == 0
        for n_keep in (6, 4, 2, 1):  # 0.75, 0.5, 0.25 and a tenth of 8
            assert found[-1] - found[n_keep] == pytest.approx(by_hand(model, pixels, name, n_keep), rel=1e-4)
    assert worth["a"][-1] > 20 * worth["b"][-1]


def test_the_model_is_left_as_it_was(run, record):
    before = {name: tensor.clone() for name, tensor in record.source.module.state_dict().items()}
    run()
    after = record.source.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_it_is_read_back(run, monkeypatch):
    first = run()
    monkeypatch.setattr(module, "_measured", lambda *_: pytest.fail("tried again"))
    again = run()
    assert all((again[name] == first[name]).all() for name in first)


def test_a_later_attempt_has_fewer_groups(run, record, pixels, tmp_path):
    """A group that was set aside since is not asked for what was remembered of it."""
    run()
    fewer = Record(record.source, record.options, SilentProgress())
    fewer.coverage = cover(record.source.module, record.source.inputs, ignore=["b"])
    data, folder = Datasets(from_batches(pixels)), claimed(record, tmp_path / "run")
    assert Opinions(fewer, planner_of(fewer), data, folder).first().keys() == {"a"}


def test_without_images_the_method_judges(record, tmp_path):
    planner, folder = planner_of(record), claimed(record, tmp_path / "run")
    opinions = Opinions(record, planner, Datasets(), folder)
    found, expected = opinions.first(), planner.worth()
    assert opinions.others() == []
    assert found.keys() == expected.keys() and all((found[name] == expected[name]).all() for name in found)


def test_outputs_that_are_not_finite(run, record, monkeypatch):
    """A group without which the model overflows must not leave, and the table stays a table of numbers."""
    real = module._outputs
    n = []

    def overflowing(model, batches):
        n.append(model)
        outputs = real(model, batches)
        return outputs if model is record.source.module else [y * float("inf") for y in outputs]

    monkeypatch.setattr(module, "_outputs", overflowing)
    worth = run()
    assert all(found[-1] == pytest.approx(1e6, rel=0.5) for found in worth.values()) and len(n) > 3


def test_few_images(record, tmp_path):
    """Fewer than are wanted are all used."""
    data = Datasets(from_batches(torch.rand(3, 4)))
    worth = Opinions(record, planner_of(record), data, claimed(record, tmp_path / "run")).first()
    assert worth["a"][-1] > worth["b"][-1] > 0


class Repeating(nn.Module):
    """Every channel of `a` is the same after its norm, but for a factor that the norm takes out."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, N, bias=False), nn.Linear(N, 4, bias=False)
        self.norm, self.head = nn.BatchNorm1d(4, affine=False), nn.Linear(4, 2, bias=False)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            self.a.weight.copy_(torch.rand(1, 4, generator=generator) * torch.tensor(HEAVY)[:, None])
            self.b.weight.copy_(torch.rand(4, 1, generator=generator) + torch.zeros(4, N))
            self.head.weight.copy_(torch.rand(2, 4, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.b(self.a(x))))


@pytest.mark.parametrize("n_images", [64, 65])  # a last batch of one image has no variance
def test_what_norms_make_up_for_is_no_damage(tmp_path, n_images):
    model, pixels = Repeating().eval(), torch.rand(n_images, 4, generator=torch.Generator().manual_seed(3))
    with collecting([model.norm]):
        model(pixels)
    source = Source(model, ExampleInputs.of(pixels[:2], model), "net.pt", "", "aa")
    record = Record(source, RunOptions(), SilentProgress())
    record.coverage = cover(model, record.source.inputs, ignore=["b"])
    before = model.norm.running_mean.clone()
    opinions = Opinions(record, planner_of(record), Datasets(from_batches(pixels)), claimed(record, tmp_path / "run"))
    as_cut, (mended, method, both, with_method) = opinions.first(), opinions.others()
    assert as_cut["a"][-1] - as_cut["a"][1] > 1
    assert (mended["a"][-1] - mended["a"][1:] < 0.02).all()
    assert mended["a"][-1] - mended["a"][1] < both["a"][-1] - both["a"][1] < as_cut["a"][-1] - as_cut["a"][1]
    assert (method["a"] == planner_of(record).worth()["a"]).all()
    lost = [found["a"][-1] - found["a"] for found in (as_cut, method, with_method)]
    np.testing.assert_allclose(lost[2] ** 2, lost[0] * lost[1], rtol=1e-9)
    assert torch.equal(model.norm.running_mean, before)


@pytest.mark.parametrize("repair_s", [1e9, 0.0])
def test_damage_of_a_whole_plan_is_what_a_repair_leaves(tmp_path, monkeypatch, repair_s):
    """All channels say the same, so one is enough for either repair; none of it can be seen in the cut model."""
    monkeypatch.setattr(module, "REPAIR_S", repair_s)
    model, pixels = Repeating().eval(), torch.rand(64, 4, generator=torch.Generator().manual_seed(3))
    with collecting([model.norm]):
        model(pixels)
    source = Source(model, ExampleInputs.of(pixels[:2], model), "net.pt", "", "aa")
    record = Record(source, RunOptions(device="cpu"), SilentProgress())
    record.coverage = cover(model, record.source.inputs, ignore=["b"])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    planner, data = planner_of(record), Datasets(from_batches(pixels))
    opinions = Opinions(record, planner, data, claimed(record, tmp_path / "run"))
    as_cut = opinions.first()["a"]
    assert opinions.damage({"a": 1}) < 0.02 < as_cut[-1] - as_cut[1]
    assert opinions.damage({"a": N}) < 0.02
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
