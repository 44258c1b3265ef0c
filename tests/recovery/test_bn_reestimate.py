import pytest
import torch
from torch import nn

from compressor.core.errors import DataError, InvalidOption
from compressor.core.progress import SilentProgress
from compressor.core.protocols import RecoveryContext
from compressor.data.batches import from_batches
from compressor.recovery.bn_reestimate import BatchNormReestimate


def apply(model, batches=None, train=None, **options):
    context = RecoveryContext(model, nn.Identity(), train=train, batches=batches)
    return BatchNormReestimate(**options).apply(context, SilentProgress())


def network():
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4, momentum=0.3),
        nn.ReLU(),
        nn.Dropout(0.9),
        nn.Flatten(),
        nn.Linear(16, 2),
    )
    return nn.Sequential(*layers).eval()


BATCHES = [torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(i)) * (i + 1) for i in range(3)]


def test_statistics_are_the_mean_over_batches():
    model = network()
    facts = apply(model, BATCHES)
    assert facts == {"layers": 1, "batches": 3, "images": 24}
    with torch.no_grad():
        maps = [model[0](batch).transpose(0, 1).flatten(1) for batch in BATCHES]  # (C, N*H*W)
    mean = torch.stack([m.mean(1) for m in maps]).mean(0)
    variance = torch.stack([m.var(1) for m in maps]).mean(0)
    torch.testing.assert_close(model[1].running_mean, mean)
    torch.testing.assert_close(model[1].running_var, variance)


def test_nothing_else_changes():
    model, before = network(), network().state_dict()
    model[3].train()
    apply(model, BATCHES)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert model[1].momentum == 0.3
    assert [layer.training for layer in model] == [False, False, False, True, False, False]


def test_dropout_stays_off():
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(1))
    apply(model, [torch.ones(64, 1)])
    assert model[1].running_mean.item() == 1


def test_from_a_dataset_as_many_as_asked_for():
    data = from_batches(torch.cat(BATCHES))
    assert apply(network(), train=data, n_batches=2, batch_size=8) == {"layers": 1, "batches": 2, "images": 16}
    assert apply(network(), train=data, n_batches=9, batch_size=23)["images"] == 23  # not a last batch of one


def test_inputs_by_name():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def forward(self, a, b):
            return self.norm(a + b)

    model = Named()
    apply(model, [{"b": torch.ones(4, 2), "a": torch.ones(4, 2)}])
    assert model.norm.running_mean.tolist() == [2, 2]


def test_a_model_without_running_statistics():
    for model in (nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)):
        assert "no batch norm" in apply(model, BATCHES)["skipped"]


@pytest.mark.parametrize(
    ("batches", "sentence"),
    [
        (None, "needs at least one batch"),
        ([], "needs at least one batch"),
        ([*BATCHES, torch.zeros(2, 3, 4, 4)], "does not accept a batch of shape"),
        ([torch.zeros(1, 1, 3, 3)], "at least two inputs a batch"),
    ],
)
def test_after_an_error_the_statistics_are_as_before(batches, sentence):
    model = network()
    with pytest.raises(DataError, match=sentence):
        apply(model, batches)
    before = network().state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model[1].momentum == 0.3 and not model[1].training


def test_options_out_of_range():
    for wrong in ({"n_batches": 0}, {"batch_size": 1}):
        with pytest.raises(InvalidOption, match=next(iter(wrong))):
            BatchNormReestimate(**wrong)
