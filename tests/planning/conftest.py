import pytest
from torch import nn

from compressor.core.plugins import PluginFolder
from compressor.core.protocols import MethodContext
from compressor.graph.cost import measure_cost
from compressor.graph.engine import find_groups
from exporters.signature import ExampleInputs
from tests import networks
from tests.networks import Chain, images, seeded

METHODS = PluginFolder("compressor.methods", "pruning method")


def wide():
    """Wide enough for steps of 8, with a residual stream, tied blocks and a flattened tail."""
    grouped = nn.Conv2d(32, 48, 3, padding=1, groups=2), nn.BatchNorm2d(48), nn.ReLU()
    return Chain(*grouped, nn.Conv2d(48, 64, 1), nn.ReLU(), nn.Conv2d(64, 40, 1), n=32, out=40)


MAKERS = {"wide": wide, "residual": lambda: networks.Residual(24, 16), "concat": networks.Concat}


class Case:
    """A network with its groups and cost."""

    def __init__(self, make):
        self.model = seeded(make)
        self.inputs = ExampleInputs.of(images(), self.model)
        self.groups = find_groups(self.model, self.inputs)[0]
        self.cost = measure_cost(self.model, self.inputs)
        self.context = MethodContext(self.model)


@pytest.fixture(scope="module", params=MAKERS)
def case(request):
    return Case(MAKERS[request.param])


@pytest.fixture(scope="module")
def wide_case():
    return Case(wide)


@pytest.fixture(scope="session")
def method():
    return lambda name: METHODS.load(name)()
