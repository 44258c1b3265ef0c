"""The hooks from a plain PyTorch loop do what they do in ours."""

import pytest
import torch
from torch import nn

import compressor
from compressor.core.errors import InvalidOption, UnknownPlugin, UnsupportedModel
from compressor.training.averaging import WeightAveraging
from compressor.training.own_loop import OwnLoop
from tests.training.test_hooks import Noting

N_EPOCHS, N_PER_EPOCH = 3, 4


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def images(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(16, 1, 8, 8, generator=generator), torch.randint(3, (16,), generator=generator)


def run(model, guide, optimizer, steps=range(N_EPOCHS * N_PER_EPOCH)):
    for step in steps:
        pixels, labels = images(step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(pixels), labels).backward()
        guide.before_step(optimizer)
        optimizer.step()
        guide.after_step(optimizer)


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def test_the_order_of_calls():
    model = network()
    hook = Noting(model)
    guide = OwnLoop([hook], N_EPOCHS, N_PER_EPOCH)
    run(model, guide, sgd(model))
    after = [seen for seen in hook.seen if seen[0] == "after"]
    assert hook.seen[:2] == ["penalty", "before"]
    assert after == [("after", step, step // N_PER_EPOCH, 0.1) for step in range(12)]
    assert hook.seen[-2:] == [("epoch", 2), "finish"] and guide.finished
    with pytest.raises(InvalidOption, match=r"12 updates are over"):
        guide.before_step(sgd(model))


def test_penalties_come_into_the_gradients():
    model = network()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    hook = Noting(model)
    hook.before_step = lambda moment: None
    OwnLoop([hook], 1, 1).before_step(sgd(model))
    torch.testing.assert_close(model[0].weight.grad, 1 + 0.02 * model[0].weight.detach())


@pytest.mark.parametrize("stop", [1, 4, 6, 11])
def test_it_goes_on_from_its_state(stop):
    def made():
        model = network()
        return model, OwnLoop([Noting(model), WeightAveraging(model, 0.5)], N_EPOCHS, N_PER_EPOCH), sgd(model)

    whole, guide, optimizer = made()
    run(whole, guide, optimizer)
    stopped, guide, optimizer = made()
    run(stopped, guide, optimizer, range(stop))
    saved = [stopped.state_dict(), guide.state_dict(), optimizer.state_dict()]
    again, guide, optimizer = made()
    for part, state in zip((again, guide, optimizer), saved, strict=True):
        part.load_state_dict(state)
    run(again, guide, optimizer, range(stop, 12))
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), whole.state_dict().values(), strict=True))


def test_from_training_to_the_small_model():
    model = network()
    model[1].weight.data = torch.linspace(0.02, 1, 8)
    pixels, _ = images(0)
    guide = compressor.regularize(
        model, pixels, "proximal_slimming", epochs=N_EPOCHS, steps_per_epoch=N_PER_EPOCH, strength=0.5, beta=5.0
    )
    run(model.train(), guide, sgd(model))
    importance = guide.channels()
    assert importance["0"].shape == (8,) and 0 < (importance["0"] == 0).sum() < 8
    n_left = int((importance["0"] > 0).sum())
    result = compressor.compress(model.eval(), pixels, importance=importance, ratio=1 - n_left / 8, round_to=1)
    assert result.plan.method == "trained"
    assert set(result.plan.groups["0"].keep) == set(importance["0"].nonzero().flatten().tolist())


def test_what_does_not_fit():
    model, (pixels, _) = network(), images(0)
    length = {"epochs": 1, "steps_per_epoch": 1}
    with pytest.raises(UnknownPlugin, match="Did you mean 'network_slimming'"):
        compressor.regularize(model, pixels, "network_sliming", **length)
    with pytest.raises(InvalidOption, match=r"must be one of .*strength.*, but got 'strenth'"):
        compressor.regularize(model, pixels, "network_slimming", strenth=1, **length)
    with pytest.raises(InvalidOption, match="`steps_per_epoch` must be at least 1"):
        compressor.regularize(model, pixels, "network_slimming", epochs=1, steps_per_epoch=0)
    with pytest.raises(UnsupportedModel, match="norm"):
        compressor.regularize(
            nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), torch.ones(2, 4), "network_slimming", **length
        )
    with pytest.raises(UnsupportedModel, match="says nothing of channels"):
        OwnLoop([], 1, 1).channels()
    with pytest.raises(InvalidOption, match="without --train"):
        compressor.compress(model.eval(), pixels, method="trained")
    with pytest.raises(InvalidOption, match="left out with train"):
        compressor.compress(model.eval(), pixels, data=[images(0)], train="network_slimming", importance={})


def test_under_the_hugging_face_trainer(tmp_path):
    """The callback of docs/training.md."""
    transformers = pytest.importorskip("transformers")

    class Guided(transformers.TrainerCallback):
        def __init__(self, guide):
            self.guide = guide

        def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
            self.guide.before_step(optimizer)

        def on_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
            self.guide.after_step(optimizer)

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network()

        def forward(self, x, labels):
            return {"loss": nn.functional.cross_entropy(self.network(x), labels)}

    model = Classifier()
    pixels, labels = images(0)
    items = [{"x": x, "labels": label} for x, label in zip(pixels, labels, strict=True)]
    hook = Noting(model.network)
    guide = OwnLoop([hook], epochs=2, steps_per_epoch=4)
    arguments = transformers.TrainingArguments(
        str(tmp_path), num_train_epochs=2, per_device_train_batch_size=4, use_cpu=True, report_to=[], disable_tqdm=True,
        save_strategy="no", dataloader_pin_memory=False,
    )  # fmt: skip
    transformers.Trainer(model, arguments, train_dataset=items, callbacks=[Guided(guide)]).train()
    assert guide.finished and [seen[1] for seen in hook.seen if seen[0] == "after"] == list(range(8))
