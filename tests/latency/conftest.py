"""A network of layers whose nodes take known times, in place of a runtime: nothing here depends on a clock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from compressor.core.groups import ChannelGroup, GroupMember, Role, TensorAxis
from compressor.core.node_times import NodeProfile, NodeTime, Turns
from compressor.graph.extents import Extents
from compressor.latency.samples import ModelSample, NodeSample

CALL_S = 2e-5  # of one inference, beside its nodes


def group(name, n, *axes):
    """Its channels are the first positions of the named axes; `axes` are (tensor, axis, first position)."""
    members = []
    for tensor, axis, first in axes:
        positions, channels = tuple(range(first, first + n)), tuple(range(n))
        role = Role.PRODUCER if axis == 0 else Role.CONSUMER
        found = (TensorAxis(tensor, axis, positions, channels),)
        members.append(GroupMember(tensor, "Conv2d", role, positions, channels, found))
    return ChannelGroup(name, n, tuple(members))


@dataclass(frozen=True)
class Network:
    """3 -> a -> b; a and b concatenated -> c -> 10. Nodes as a runtime lists them; times are functions of sizes."""

    block: int = 1  # channels are computed in blocks of so many
    side: int = 14
    a: int = 64
    b: int = 96
    c: int = 128
    slower: float = 1.0

    @property
    def extents(self):
        groups = [
            group("a", self.a, ("w1", 0, 0), ("w2", 1, 0), ("w3", 1, 0)),
            group("b", self.b, ("w2", 0, 0), ("w3", 1, self.a)),
            group("c", self.c, ("w3", 0, 0), ("head", 1, 0)),
        ]
        return Extents(
            groups,
            {"w1": (self.a, 3), "w2": (self.b, self.a), "w3": (self.c, self.a + self.b), "head": (10, self.c)},
        )

    def conv_s(self, c_in, c_out, kernel):
        padded = math.ceil(c_in / self.block) * math.ceil(c_out / self.block) * self.block**2
        return self.slower * (3e-6 + 2e-10 * padded * kernel * kernel * self.side**2)

    def nodes(self, a, b, c):
        """In the order of execution."""
        image = (self.side, self.side)

        def conv(c_in, c_out, kernel):
            weight = (c_out, c_in, kernel, kernel)
            seconds = self.conv_s(c_in, c_out, kernel)
            return NodeSample("Conv", ((1, c_in, *image), weight, (c_out,)), ((1, c_out, *image),), seconds)

        joined = NodeSample(
            "Concat", ((1, a, *image), (1, b, *image)), ((1, a + b, *image),), 2e-6 + 1e-10 * (a + b) * self.side**2
        )
        pool = NodeSample("Pool", ((1, c, *image),), ((1, c, 1, 1),), 1e-6 + 5e-11 * c * self.side**2)
        gemm = NodeSample("Gemm", ((1, c), (10, c), (10,)), ((1, 10),), 1e-6 + 1e-9 * c)
        soft = NodeSample("Softmax", ((1, 10),), ((1, 10),), 4e-6)
        return (conv(3, a, 3), conv(a, b, 3), joined, conv(a + b, c, 1), pool, gemm, soft)

    def whole_s(self, a, b, c):
        return CALL_S + 0.9 * sum(node.seconds for node in self.nodes(a, b, c))

    def sample(self, **n_keep):
        widths = {"a": self.a, "b": self.b, "c": self.c, **n_keep}
        return ModelSample(widths, self.whole_s(**widths), self.nodes(**widths))

    def grids(self, step):
        return {name: [*range(step, n, step), n] for name, n in (("a", self.a), ("b", self.b), ("c", self.c))}


class Runtime:
    """Writes "files" that are their widths, and profiles them by the network's functions; counts what it did."""

    def __init__(self, network, nodes=None):
        self.network, self.profiled = network, []
        self.fingerprint = f"network {network}"
        self._nodes = nodes or (lambda widths, found: found)
        self.fail_after = None
        self.profiler_s = 0.0  # that the profiler adds to every node
        self.mood = lambda: 1.0  # how much slower the machine is, each time anybody asks

    def write(self, path, quantities):
        path.write_text(" ".join(str(quantities[f"group {name}"]) for name in "abc"))
        return path

    def profile(self, path: Path, inferences):
        if self.fail_after is not None and len(self.profiled) >= self.fail_after:
            raise KeyboardInterrupt
        widths = self._read(path)
        self.profiled.append(widths)
        mood = self.mood()
        nodes = tuple(
            NodeTime(
                str(i),
                node.operator,
                (mood * (node.seconds + self.profiler_s),) * inferences,
                node.inputs,
                node.outputs,
            )
            for i, node in enumerate(self._nodes(widths, self.network.nodes(**widths)))
        )
        whole = mood * (self.network.whole_s(**widths) + self.profiler_s * len(nodes))
        return NodeProfile("fake", path, 1, 1, (whole,) * inferences, nodes)

    def turns(self, path: Path, against: Path, rounds):
        pairs = [[self.network.whole_s(**self._read(each)) for each in (path, against)] for _ in range(rounds)]
        moods = [self.mood() for _ in pairs]
        files, others = ([mood * pair[i] for mood, pair in zip(moods, pairs, strict=True)] for i in range(2))
        return Turns(tuple(files), tuple(others))

    @staticmethod
    def _read(path):
        return dict(zip("abc", map(int, path.read_text().split()), strict=True))


@pytest.fixture
def network():
    return Network()
