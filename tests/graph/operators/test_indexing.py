"""What is read by number keeps its positions; the other axes pass."""

import pytest
import torch
from torch import nn

from tests.graph.operators.cases import Images, Tokens, cut_and_silenced, make, named, reasons, why_blocked

PLACES = torch.tensor([0, 3, 1])


def written(change):
    """`change(copy, x)` writes into a fresh copy."""

    def between(m, x):
        copy = x * 2
        change(copy, x)
        return copy

    return between


def looked_up(m, x):
    return x + m.table(PLACES)[:1]


def looked_up_in_bags(m, x):
    return x + m.bags(PLACES, torch.tensor([0]))


PASSED = [
    ("index_select", lambda m, x: x.index_select(1, PLACES)),
    ("index", lambda m, x: x[:, PLACES]),
    ("index", lambda m, x: x[torch.tensor([0, 1, 1]), PLACES]),
    ("index", lambda m, x: x[torch.ones(2, 5, dtype=torch.bool)]),
    ("index", lambda m, x: x.unsqueeze(1)[PLACES.clamp(max=1), :, PLACES]),
    ("gather", lambda m, x: x.gather(1, PLACES[None, :, None].expand(2, -1, x.shape[2]))),
    ("index_put_", written(lambda copy, x: copy.__setitem__((slice(None), PLACES), x[:, :3]))),
    ("index_put_", written(lambda copy, x: copy.__setitem__(torch.eye(5, dtype=torch.bool)[:2], x[0, :2]))),
    ("index_add", lambda m, x: x.index_add(1, PLACES, x[:, :3])),
    ("index_copy_", written(lambda copy, x: copy.index_copy_(1, PLACES, x[:, 2:]))),
    ("index_fill", lambda m, x: x.index_fill(1, PLACES, 2.0)),
    ("scatter", lambda m, x: x.scatter(1, PLACES[None, :, None].expand(2, -1, x.shape[2]), x[:, :3] * 3)),
    ("scatter_add_", written(lambda copy, x: copy.scatter_add_(1, torch.zeros_like(x, dtype=torch.int64), x))),
    ("embedding", looked_up),
    ("_embedding_bag", looked_up_in_bags),
]


@pytest.mark.parametrize(("operator", "between"), PASSED, ids=named(PASSED))
def test_channels_that_are_not_indexed_pass(operator, between):
    tables = {"table": lambda: nn.Embedding(9, 8), "bags": lambda: nn.EmbeddingBag(9, 8)}
    model = make(Tokens, between, **{name: tables[name] for name in tables if name in between.__code__.co_names})
    assert cut_and_silenced(model, f"aten.{operator}") == {"stem": 8, "read": 7}


def test_a_vocabulary_stays():
    model = make(Tokens, looked_up, table=lambda: nn.Embedding(9, 8))
    assert reasons(model, "table.weight")[0].startswith("its rows are a vocabulary (aten.embedding at operators/test_")
    model = make(Tokens, looked_up_in_bags, bags=lambda: nn.EmbeddingBag(9, 8))
    assert reasons(model, "bags.weight")[0].startswith("its rows are a vocabulary (aten._embedding_bag")


INDEXED = [
    ("index", lambda m, x: x[:, m.places]),
    ("index_select", lambda m, x: x.index_select(1, m.places)),
    ("gather", lambda m, x: x.gather(1, m.places[None, :, None].expand(2, -1, 8))),
    ("embedding", lambda m, x: x[:, :3] + m.table(m.places)),
    ("_embedding_bag", lambda m, x: x + m.bags(m.places, PLACES[:1])),
    ("index_add", lambda m, x: x.index_add(1, m.places, x[:, :3])),
    ("scatter", lambda m, x: x.scatter(1, m.places[None, :, None].expand(2, -1, 8), 2.0)),
]


@pytest.mark.parametrize(("operator", "between"), INDEXED, ids=named(INDEXED))
def test_a_buffer_of_positions_stays_whole(operator, between):
    tables = {"table": lambda: nn.Embedding(9, 8), "bags": lambda: nn.EmbeddingBag(9, 8)}
    used = {name: tables[name] for name in tables if name in between.__code__.co_names}
    model = make(Tokens, between, places=lambda: nn.Buffer(PLACES.clone()), **used)
    (reason,) = reasons(model, "places")
    assert reason.endswith(f"(aten.{operator} at {reason.rpartition(' at ')[2]}") and "test_indexing.py" in reason


BY_NUMBER = "its positions are read by number"
FROZEN = [
    ("index_select", lambda m, x: x.index_select(2, PLACES), 3, BY_NUMBER),
    ("index", lambda m, x: x[:, :, PLACES], 3, BY_NUMBER),
    ("index", lambda m, x: x[:, torch.ones(5, 8, dtype=torch.bool)], 40, BY_NUMBER),
    ("gather", lambda m, x: x.gather(2, PLACES.expand(2, 5, 3)), 3, BY_NUMBER),
    ("gather", lambda m, x: x.gather(1, PLACES.expand(2, 1, 3)), 3, BY_NUMBER),
    ("index_put_", written(lambda copy, x: copy.__setitem__((..., PLACES), x[..., :3])), 8, BY_NUMBER),
    (
        "index_put_",
        written(lambda copy, x: copy.__setitem__(PLACES[:1], torch.arange(8.0).to(x.dtype))),
        8,
        "of fixed size",
    ),
    ("index_add", lambda m, x: x.index_add(2, PLACES, x[:, :, :3]), 8, BY_NUMBER),
    ("scatter", lambda m, x: x.scatter(2, PLACES.expand(2, 5, 3), 1.0), 8, BY_NUMBER),
]


@pytest.mark.parametrize(("operator", "between", "out", "what"), FROZEN, ids=named(FROZEN))
def test_what_stays_says_why(operator, between, out, what):
    reason = why_blocked(make(Tokens, between, out=out))
    assert what in reason and f"(aten.{operator} at operators/test_indexing.py:" in reason


class TestTorchvision:
    ops = staticmethod(lambda: pytest.importorskip("torchvision.ops"))
    boxes = torch.tensor([[0.0, 0.0, 0.0, 3.0, 3.0], [1.0, 1.0, 1.0, 3.0, 2.0]])

    @pytest.mark.parametrize("name", ["roi_align", "roi_pool"])
    def test_regions(self, name):
        pool = getattr(self.ops(), name)
        model = make(Images, lambda m, x: pool(x, self.boxes.to(x.dtype), 2))
        assert cut_and_silenced(model, f"torchvision.{name}") == {"stem": 8, "read": 7}

    def test_regions_whose_channels_are_positions(self):
        pool = self.ops().ps_roi_align
        model = make(Images, lambda m, x: pool(x, self.boxes.to(x.dtype), 2), out=2)
        assert why_blocked(model).startswith("its channels are positions of a region (torchvision.ps_roi_align at ")

    @pytest.mark.parametrize("groups", [1, 2])
    def test_kernels_that_are_bent(self, groups):
        layer = self.ops().DeformConv2d
        model = make(
            Images,
            lambda m, x: m.bent(x, m.offsets(x)),
            out=6,
            bent=lambda: layer(8, 6, 3, padding=1, groups=groups),
            offsets=lambda: nn.Conv2d(8, 18, 1),
        )
        found = cut_and_silenced(model, "torchvision.deform_conv2d")
        assert found == {"stem": 8 // groups, "bent.weight": 6 // groups, "read": 7}
        assert why_blocked(model, "offsets").startswith("its channels are offsets of pixels (torchvision.deform_conv2d")
