"""Cuts small networks by their real graph, for recoveries that need to know what was cut."""

import pytest
import torch

from compressor.core.plan import GroupPlan, PruningPlan
from compressor.core.protocols import RecoveryContext
from compressor.pipeline import inspect
from compressor.surgery.cut import cut_copy
from compressor.surgery.expand import expand
from exporters.signature import ExampleInputs


class Listener:
    """Keeps the notes, in place of a progress bar."""

    def __init__(self):
        self.notes = []

    def note(self, sentence):
        self.notes.append(sentence)

    def measured(self, _title, _step, _values):
        return None

    def step(self, _title, _total=None):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        return None

    def advance(self, _n=1.0, note=""):
        return None


def context_of(model, inputs, keep, **more):
    """What a recovery is given where `keep[group]` stays of each group and everything of the others."""
    model.eval()
    example = ExampleInputs.of(inputs, model)
    groups = inspect(model, example).groups
    cuts, attributes = expand(groups, keep, model)
    n_channels = {group.name: group.n_channels for group in groups}
    kept = {name: GroupPlan(n_channels[name], tuple(channels)) for name, channels in keep.items()}
    plan = PruningPlan("l1", {}, "local", {"ratio": 0.5}, 1, 0, kept, cuts, attributes, (1, 1), (1, 1))
    return RecoveryContext(cut_copy(model, cuts, attributes), model, plan=plan, groups=groups, inputs=example, **more)


@pytest.fixture(scope="session")
def cutting():
    return context_of


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
