import pytest
import torch
from torch import nn

import compressor
from compressor.core.errors import DataError, InvalidOption
from compressor.core.progress import SilentProgress
from compressor.core.protocols import RecoveryContext
from compressor.data.batches import from_batches
from compressor.recovery.least_squares import LeastSquares


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


class Notes(SilentProgress):
    def __init__(self):
        self.said = []

    def note(self, message):
        self.said.append(message)


def images(*shape, n=3, seed=0):
    return [torch.randn(8, *shape, generator=torch.Generator().manual_seed(seed + i)).double() for i in range(n)]


def smooth(**options):
    """Neighbouring pixels are alike, so that channels say much about one another, as in pictures."""
    return [nn.functional.interpolate(x, (8, 8), mode="bilinear") for x in images(3, 2, 2, **options)]


def cut(model, batches, **options):
    return compressor.compress(model.eval(), batches[0], **{"ratio": 0.5, "round_to": 1, **options})


def refitted(result, model, batches, progress=None, **options):
    small = result.module
    context = RecoveryContext(small, model, plan=result.plan, batches=batches)
    return small, LeastSquares(**options).apply(context, progress or SilentProgress())


def seeded(*layers):
    torch.manual_seed(0)
    model = nn.Sequential(*layers).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 1.5)
    return model


def test_worked_by_hand():
    # Hidden units x and 2x; the output is their sum, 3x. The larger stays: its weight goes from 1 to 1.5.
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False)).double()
    model[0].weight.data.copy_(torch.tensor([[1.0], [2.0]]))
    model[1].weight.data.fill_(1)
    batches = images(1)
    small, facts = refitted(cut(model, batches), model, batches, ridge=1e-12)
    assert small[0].weight.tolist() == [[2.0]]
    assert small[1].weight.item() == pytest.approx(1.5)
    assert facts == {"layers": 2, "layers_left_as_they_are": 0, "images": 24, "error_left_percent": 0.0}


STACKS = {
    "norm behind": lambda: (nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)),
    "grouped": lambda: (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4), nn.ReLU(), nn.Conv2d(8, 2, 1)),
    "depthwise": lambda: (nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.ConvTranspose2d(8, 3, 2, stride=2)),
    "1x1": lambda: (nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1)),
    "flattened": lambda: (nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 9), nn.ReLU(), nn.Linear(9, 2)),
}


@pytest.mark.parametrize("stack", STACKS)
def test_what_is_lost_on_other_images_shrinks(stack):
    torch.manual_seed(0)
    model = seeded(*STACKS[stack]())
    batches, others = smooth(n=20), smooth(seed=100)
    result = cut(model, batches)

    def lost(small):
        return sum(float((small(x) - model(x)).square().sum()) for x in others)

    before = lost(result.module)
    small, facts = refitted(result, model, batches)
    assert lost(small) < 0.85 * before
    assert 0 < facts["error_left_percent"] < 100


def test_against_a_second_computation():
    """The layer after the cut, from rows unfolded by torch and solved by its own least squares."""
    model = seeded(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1))
    batches = images(3, 9, 9)
    result = cut(model, batches, ratio=0.34)
    small, _ = refitted(result, model, batches, ridge=1e-12, n_rows=10**6)
    x = torch.cat(batches)
    hidden = nn.functional.unfold(small[1](small[0](x)), 3, padding=1).transpose(1, 2).flatten(0, 1)
    wanted = model(x).flatten(2).transpose(1, 2).flatten(0, 1)
    design = torch.cat([hidden, hidden.new_ones(len(hidden), 1)], 1)
    expected = torch.linalg.lstsq(design, wanted).solution  # (d + 1, 4)
    torch.testing.assert_close(small[2].weight.flatten(1).T, expected[:-1], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(small[2].bias, expected[-1], rtol=1e-4, atol=1e-6)


def test_the_error_made_upstream_is_seen():
    """Fitted to what the refitted layer before it returns, not to what it returned when it was cut."""
    model = seeded(*[layer for _ in range(3) for layer in (nn.Conv2d(6, 6, 1), nn.ReLU())], nn.Conv2d(6, 2, 1))
    batches = images(6, 4, 4, n=20)
    result = cut(model, batches)
    small, _ = refitted(result, model, batches, ridge=1e-9, n_rows=10**6)
    x = torch.cat(batches)
    missing = (model(x) - small(x)).movedim(1, 0).flatten(1)  # (2, rows)
    read = small[:-1](x).movedim(1, 0).flatten(1)
    # At the least-squares solution what is missing has mean zero and nothing in common with what is read.
    assert float(missing.mean(1).abs().max()) < 1e-6
    assert float((missing @ read.T / read.shape[1]).abs().max()) < 1e-6


def test_outputs_that_left_are_not_asked_for():
    model = seeded(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1))
    result = cut(model, images(3, 4, 4))
    kept = result.plan.groups["2"].keep
    small, _ = refitted(result, model, images(3, 4, 4, n=20), ridge=1e-9)
    x = images(3, 4, 4, seed=50)[0]
    ours, wanted = small[:3](x), model[:3](x)[:, list(kept)]
    others = [i for i in range(6) if i not in kept]
    assert float((ours - wanted).square().mean()) < float((ours - model[:3](x)[:, others]).square().mean()) / 4


def test_an_uncut_model_stays_as_it_is():
    model = seeded(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2))
    context = RecoveryContext(seeded(*model), model, batches=images(3, 4, 4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    facts = LeastSquares().apply(context, SilentProgress())
    assert facts["error_left_percent"] == 0
    assert all(torch.allclose(tensor, before[name]) for name, tensor in context.model.state_dict().items())


def test_only_weights_biases_and_means_change_and_the_original_does_not():
    model = seeded(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 1))
    batches = images(3, 5, 5)
    result = cut(model, batches)
    before, original = result.module.state_dict(), {k: v.clone() for k, v in model.state_dict().items()}
    before = {name: tensor.clone() for name, tensor in before.items()}
    result.module[2].train()
    small, _ = refitted(result, model, batches)
    changed = {name for name, tensor in small.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"3.weight", "3.bias"}  # the first convolution reads the images: nothing is missing there
    assert all(torch.equal(tensor, original[name]) for name, tensor in model.state_dict().items())
    assert small[2].training and not any(module._forward_hooks for module in [*small.modules(), *model.modules()])


def test_two_calls_of_one_layer_are_fitted_together():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.shared, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x):
            x = self.first(x).relu()
            return self.last(self.shared(self.shared(x).relu()).relu())

    torch.manual_seed(0)
    model, batches = Twice().double().eval(), images(4, n=30)
    result = cut(model, batches)
    before = sum(float((result.module(x) - model(x)).square().sum()) for x in batches)
    small, facts = refitted(result, model, batches)
    assert facts["layers"] == 3
    assert sum(float((small(x) - model(x)).square().sum()) for x in batches) < 0.5 * before


def test_weights_that_others_use_and_layers_that_are_not_called_stay():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.inner, self.out = nn.Embedding(9, 6), nn.Linear(6, 8), nn.Linear(8, 6)
            self.head, self.unused = nn.Linear(6, 9, bias=False), nn.Linear(2, 2)
            self.head.weight = self.embed.weight

        def forward(self, x):
            x = self.embed(x)
            return self.head(self.out(self.inner(x).relu()))

    torch.manual_seed(0)
    model = Tied().eval()
    tokens = [torch.randint(0, 9, (8, 5), generator=torch.Generator().manual_seed(i)) for i in range(4)]
    result = compressor.compress(model, tokens[0], ratio=0.5, round_to=1, ignore=["embed"])
    notes = Notes()
    small, facts = refitted(result, model, tokens, notes)
    assert (facts["layers"], facts["layers_left_as_they_are"]) == (2, 2)
    assert any("2 layers stay as they are" in said for said in notes.said)
    assert torch.equal(small.head.weight, model.head.weight)


def test_fewer_rows_than_unknowns_are_said():
    model = seeded(nn.Flatten(), nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 3))
    batches = images(3, 4, 4, n=1)
    notes = Notes()
    small, _ = refitted(cut(model, batches), model, batches, notes)
    assert any("2 layers (the first is 1) have more unknowns than rows" in said for said in notes.said)
    assert all(bool(p.isfinite().all()) for p in small.parameters())
    torch.testing.assert_close(small(batches[0]), model(batches[0]), rtol=0.05, atol=0.02)  # these rows are met


def test_a_layer_that_no_ridge_helps_on_other_images_stays(monkeypatch):
    model = seeded(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1))
    batches, asked = images(3, 4, 4, n=4), []

    def none_helps(fitted, held, ridges, intercept):
        asked.append((fitted.n_rows, held.n_rows, intercept))

    monkeypatch.setattr("compressor.recovery.least_squares.best_ridge", none_helps)
    result = cut(model, batches)
    before = [p.clone() for p in result.module.parameters()]
    small, facts = refitted(result, model, batches)
    assert asked == [(3 * 128, 128, True)] * 2 and facts["error_left_percent"] == 100
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), before, strict=True))


def test_portions_change_nothing(monkeypatch):
    model = seeded(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 2))
    batches = images(3, 8, 8)
    one, _ = refitted(cut(model, batches), model, batches)
    monkeypatch.setattr("compressor.recovery.least_squares.TARGET_BYTES", 1)
    other, _ = refitted(cut(model, batches), model, batches)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("n_waiting", [0, 1])
def test_batches_that_cannot_wait_are_fitted_to_alike(n_waiting, monkeypatch):
    model = seeded(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 2))
    batches = images(3, 8, 8, n=5)
    all_wait, _ = refitted(cut(model, batches), model, batches)
    largest = 8 * 8 * (3 * 8**2 + 4 * 6**2)  # bytes that the first layer is given and returns
    monkeypatch.setattr("compressor.recovery.least_squares.WAITING_BYTES", 2 * largest * n_waiting)
    others, _ = refitted(cut(model, batches), model, batches)
    assert all(torch.equal(a, b) for a, b in zip(all_wait.parameters(), others.parameters(), strict=True))


def test_as_many_images_as_asked_for_from_a_dataset():
    model = seeded(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1))
    result = cut(model, images(3, 4, 4))
    context = RecoveryContext(result.module, model, plan=result.plan, train=from_batches(torch.cat(images(3, 4, 4))))
    assert LeastSquares(n_images=10, batch_size=4).apply(context, SilentProgress())["images"] == 10
    context = RecoveryContext(result.module, model, plan=result.plan, batches=images(3, 4, 4))
    assert LeastSquares(n_images=10).apply(context, SilentProgress())["images"] == 10


def test_bad_data():
    model = seeded(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1))
    result = cut(model, images(3, 4, 4))
    for batches, sentence in (
        ([], "at least one image is needed"),
        (images(2, 4, 4), "the model does not accept a batch of shape \\(8, 2, 4, 4\\)"),
        ([batch * float("nan") for batch in images(3, 4, 4)], "what 0 returns must be finite numbers"),
    ):
        with pytest.raises(DataError, match=f"least_squares: {sentence}"):
            refitted(result, model, batches)
    assert not any(module._forward_hooks for module in [*result.module.modules(), *model.modules()])


def test_options_out_of_range():
    for options in ({"n_images": 0}, {"n_rows": 0}, {"batch_size": 0}, {"ridge": 0.0}, {"ridge": float("inf")}):
        with pytest.raises(InvalidOption, match=f"`{next(iter(options))}`"):
            LeastSquares(**options)
