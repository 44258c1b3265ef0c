"""Short runs of schedules that mask channels, stopped and continued, and the networks that a cut would leave."""

from types import SimpleNamespace

import torch
from torch import nn

from compressor.core.groups import ChannelGroup, GroupMember, Role, TensorAxis
from compressor.surgery.cut import cut_copy
from compressor.surgery.expand import expand
from compressor.training.hooks import Moment


def chain():
    """Linear -> norm -> ReLU -> linear with four channels between, and the group of these."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).eval()
    model[1].running_mean.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    every = (0, 1, 2, 3)
    named = {
        ("0", Role.PRODUCER): ("0.weight", "0.bias"),
        ("1", Role.CHANNELWISE): ("1.weight", "1.bias", "1.running_mean", "1.running_var"),
        ("3", Role.CONSUMER): ("3.weight",),
    }
    members = tuple(
        GroupMember(
            layer, "", role, every, every, tuple(TensorAxis(n, int(layer == "3"), every, every) for n in tensors)
        )
        for (layer, role), tensors in named.items()
    )
    return model, ChannelGroup("0", 4, members)


def moment(step, n_steps=12, n_per_epoch=3, lr=0.05):
    return Moment(step=step, n_steps=n_steps, n_per_epoch=n_per_epoch, lr=lr)


def train(run, steps, n_steps=12, n_per_epoch=3):
    """`steps` (a range) of SGD with momentum and decay on images and labels that each step draws from its own seed."""
    run.model.train()
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(8, *run.shape, generator=generator)
        labels = torch.randint(3, (8,), generator=generator)
        now = moment(step, n_steps, n_per_epoch)
        run.optimizer.zero_grad()
        nn.functional.cross_entropy(run.model(images), labels).backward()
        run.hook.before_step(now)
        run.optimizer.step()
        run.hook.after_step(now)
        if (step + 1) % n_per_epoch == 0:
            run.hook.end_epoch(now)


def start(plugin, model, groups, shape=(3, 8, 8), seed=0):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    hook = plugin.attach(model, groups, seed=seed, n_images=10)
    return SimpleNamespace(model=model, hook=hook, optimizer=optimizer, shape=shape)


def checkpoint(run):
    """What a checkpoint holds, as copies."""
    momenta = {
        name: run.optimizer.state[parameter]["momentum_buffer"].clone()
        for name, parameter in run.model.named_parameters()
        if run.optimizer.state.get(parameter)
    }
    weights = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    return weights, momenta, {name: tensor.clone() for name, tensor in run.hook.state().items()}


def go_on(run, saved):
    weights, momenta, state = saved
    run.model.load_state_dict(weights)
    for name, parameter in run.model.named_parameters():
        if name in momenta:
            run.optimizer.state[parameter]["momentum_buffer"] = momenta[name].clone()
    run.hook.restore(state)


def assert_same(run, other):
    for key, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[key]), key
    for found, expected in ((run.hook.state(), other.hook.state()), (run.hook.channels(), other.hook.channels())):
        assert found.keys() == expected.keys()
        assert all(torch.equal(tensor, expected[key]) for key, tensor in found.items())


def assert_a_kill_changes_nothing(build, plugin, n_steps=12):
    """Stopped at each step, and continued by a hook that was attached to other weights; bit for bit."""
    whole = start(plugin, *build(0), seed=3)
    saved = [checkpoint(whole)]
    for step in range(n_steps):
        train(whole, range(step, step + 1), n_steps)
        saved.append(checkpoint(whole))
    whole.hook.finish()
    assert any(not live.all() for live in whole.hook.masks.live.values())
    for step, state in enumerate(saved):
        again = start(plugin, *build(1), seed=3)
        go_on(again, state)
        train(again, range(step, n_steps), n_steps)
        again.hook.finish()
        assert_same(again, whole)


def cut(model, groups, live):
    keep = {name: mask.nonzero().flatten().tolist() for name, mask in live.items()}
    return cut_copy(model, *expand(groups, keep, model))


def assert_masked_is_cut(model, groups, live, inputs):
    """In evaluation mode, and in training mode, where norms measure the batch."""
    small = cut(model, groups, live)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    for training in (False, True):
        model.train(training)
        small.train(training)
        with torch.no_grad():
            torch.testing.assert_close(small(inputs), model(inputs), rtol=1e-4, atol=1e-5)
    model.eval()
