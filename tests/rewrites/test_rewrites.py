"""Attention written by hand is found by its numbers, replaced, cut freely, saved and replayed."""

import json
import math

import pytest
import torch
from torch import nn

import compressor
from compressor.core.errors import NothingPrunable, WeightsMismatch
from compressor.core.plan import Rewrite
from compressor.rewrites.apply import apply
from compressor.rewrites.find import find
from compressor.runs.coverage import cover
from compressor.runs.record import Source
from compressor.runs.rewriting import cover_rewritten
from exporters.signature import ExampleInputs
from tests.networks import seeded

TOKENS = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(1))


class Fused(nn.Module):
    """Queries, keys and values of one layer, read by number; C is taken for the inner width."""

    def __init__(self, layout=0, scale=None, dropout=0.0):
        super().__init__()
        self.heads, self.layout, self.scale = 4, layout, scale or 4**-0.5
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)
        self.attn_drop, self.proj_drop = nn.Dropout(dropout), nn.Dropout(dropout)

    def forward(self, x):
        n, t, c = x.shape
        y, d = self.qkv(x), c // self.heads
        if self.layout == 0:
            y = y.reshape(n, t, 3, self.heads, d).permute(2, 0, 3, 1, 4)
        elif self.layout == 1:
            y = y.reshape(n, t, self.heads, 3, d).permute(3, 0, 2, 1, 4)
        else:
            y = y.reshape(n, t, self.heads, d, 3).permute(4, 0, 2, 1, 3)
        mixed = self.attn_drop((y[0] @ y[1].mT * self.scale).softmax(-1)) @ y[2]
        return self.proj_drop(self.proj(mixed.transpose(1, 2).reshape(n, t, c)))


class Separate(nn.Module):
    """A layer each; norm and residual belong to the block."""

    def __init__(self):
        super().__init__()
        self.n_heads = 2
        self.norm = nn.LayerNorm(16)
        self.k, self.q, self.v, self.o = (nn.Linear(16, 16, bias=False) for _ in "kqvo")

    def forward(self, x):
        n, t, c = x.shape
        h = self.norm(x)
        q, k, v = (f(h).view(n, t, self.n_heads, c // self.n_heads).transpose(1, 2) for f in (self.q, self.k, self.v))
        y = (q @ k.mT / (c // self.n_heads) ** 0.5).softmax(-1) @ v
        return x + self.o(y.transpose(1, 2).reshape(n, t, c))


class Telling(nn.Module):
    """Called by name; the softmax's matrix comes back with the result, or None instead (as in Hugging Face's BLIP)."""

    def __init__(self, told=True):
        super().__init__()
        self.heads, self.told = 4, told
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, states, mask=None):
        n, t, c = states.shape
        q, k, v = self.qkv(states).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.mT * (c // self.heads) ** -0.5).softmax(-1)
        mixed = (weights @ v).transpose(1, 2).reshape(n, t, c)
        return self.proj(mixed), weights if self.told else None


class Listening(nn.Module):
    def __init__(self, told=True):
        super().__init__()
        self.attention = Telling(told)

    def forward(self, x):
        y, weights = self.attention(states=x, mask=None)
        return x + y if weights is None else x + y * weights.amax((1, 2, 3))[:, None, None]


class Stream(nn.Module):
    def __init__(self, *blocks):
        super().__init__()
        self.embed, self.blocks, self.head = nn.Linear(16, 16), nn.Sequential(*blocks), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.blocks(self.embed(x)).mean(1))


BLOCKS = [*(lambda i=i: Fused(i) for i in range(3)), lambda: Fused(scale=0.7), Separate]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_found_and_its_replacement_computes_the_same(block):
    model = seeded(lambda: Stream(block(), block())).eval()
    names = set(model.state_dict())
    before = model(TOKENS)
    found = find(model, ExampleInputs.of(TOKENS, model), ["blocks.0", "blocks.1"])
    assert [rewrite.layer for rewrite in found] == ["blocks.0", "blocks.1"]
    apply(model, found)
    assert type(model.blocks[0]).__name__ == "Attention" and set(model.state_dict()) == names
    torch.testing.assert_close(model(TOKENS), before, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model(TOKENS[:1, :3]), model(TOKENS[:, :3])[:1])  # other sizes of batch and sequence


@pytest.mark.parametrize("block", BLOCKS)
def test_heads_head_sizes_and_stream_leave_by_themselves(block):
    model = seeded(lambda: Stream(block(), block())).eval()
    groups = compressor.inspect(model, TOKENS).groups
    kinds = [group.kind for group in groups]
    assert kinds.count("heads") == 2 and kinds.count("head_dim") >= 2
    assert next(group for group in groups if group.name == "embed").n_channels == 16


@pytest.mark.parametrize("told", [True, False])
def test_weights_that_are_returned_are_returned_still(told):
    model = seeded(lambda: Stream(Listening(told), Listening(told))).eval()
    before = model(TOKENS)
    found = find(model, ExampleInputs.of(TOKENS, model), ["blocks.0.attention", "blocks.1.attention"])
    assert [rewrite.options["returns"] for rewrite in found] == ["result,weights" if told else "result,none"] * 2
    apply(model, found)
    torch.testing.assert_close(model(TOKENS), before, rtol=1e-5, atol=1e-6)
    groups = compressor.inspect(seeded(lambda: Stream(Listening(told))), TOKENS).groups
    assert [group.kind for group in groups].count("heads") == 1
    assert next(group for group in groups if group.name == "embed").n_channels == 16


def test_a_network_that_would_be_refused_is_freed():
    """Its output is the stream, so everything that is tied to the stream stays."""

    class Tokens(Stream):
        def forward(self, x):
            return self.blocks(self.embed(x))

    model = seeded(lambda: Tokens(Separate(), Separate())).eval()
    groups = compressor.inspect(model, TOKENS).groups
    assert sorted({group.kind for group in groups}) == ["head_dim", "heads"]


class VisionTransformer(nn.Module):
    """As people write it by hand."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.attn, self.norm2 = nn.LayerNorm(16), Fused(), nn.LayerNorm(16)
            self.mlp = nn.Sequential(nn.Linear(16, 48), nn.GELU(), nn.Linear(48, 16))

        def forward(self, x):
            x = x + self.attn(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    def __init__(self):
        super().__init__()
        self.patches, self.position = nn.Conv2d(3, 16, 8, 8), nn.Parameter(torch.randn(1, 16, 16))
        self.blocks = nn.Sequential(*(self.Block() for _ in range(3)))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(x)).mean(1))


def test_a_vision_transformer_has_more_than_heads_of_the_whole_stream():
    model, images = seeded(VisionTransformer).eval(), torch.randn(1, 3, 32, 32)
    source = Source(model, ExampleInputs.of(images, model), "vit", "test")
    tied = cover(model, source.inputs)
    assert {g.name: g.n_channels for g in tied.groups if g.kind != "mlp"} == {"patches": 4}, "whole heads only"
    rewritten, freed = cover_rewritten(source)
    assert rewritten.original is model and len(rewritten.rewrites) == 3
    assert {g.name: g.n_channels for g in freed.groups if g.kind == "embed"} == {"patches": 16}
    assert (len(freed.groups), sum(g.kind == "heads" for g in freed.groups)) == (13, 3)


def test_a_single_token_proves_nothing():
    """Softmax over one token is 1, whatever heads and scale are."""
    model, one = seeded(lambda: Stream(Cosine())).eval(), TOKENS[:, :1]
    assert find(model, ExampleInputs.of(one, model), ["blocks.0"]) == ()
    right = seeded(lambda: Stream(Fused(scale=0.7))).eval()
    (rewrite,) = find(right, ExampleInputs.of(one, right), ["blocks.0"])
    assert rewrite.options["scale"] == 0.7 and rewrite.options["heads"] == 4


def test_a_block_that_is_read_from_outside_stays():
    class Reads(Stream):
        def forward(self, x):
            return super().forward(x) * self.blocks[0].layout + self.blocks[0].heads

    model = seeded(lambda: Reads(Fused(), Fused())).eval()
    rewritten, coverage = cover_rewritten(Source(model, ExampleInputs.of(TOKENS, model), "reads", "test"))
    assert rewritten.module is model and rewritten.rewrites == () and coverage.groups


def test_a_block_that_is_watched_stays():
    model = seeded(lambda: Stream(Fused())).eval()
    model.blocks[0].register_forward_hook(lambda *_: None)
    assert find(model, ExampleInputs.of(TOKENS, model), ["blocks.0"]) == ()


class Cosine(Fused):
    """Another formula."""

    def forward(self, x):
        n, t, c = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k = nn.functional.normalize(q, dim=-1), nn.functional.normalize(k, dim=-1)
        return self.proj(((q @ k.mT * self.scale).softmax(-1) @ v).transpose(1, 2).reshape(n, t, c))


class Biased(Fused):
    """A position bias of its own."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(16))

    def forward(self, x):
        return super().forward(x + self.bias)


class Doubtful(Fused):
    """One dropout: it could be either's."""

    def __init__(self):
        super().__init__()
        self.attn_drop, self.proj_drop = nn.Dropout(0.1), nn.Identity()


@pytest.mark.parametrize("block", [Cosine, Biased, Doubtful])
def test_what_is_not_this_attention_stays(block):
    model = seeded(lambda: Stream(block())).eval()
    assert find(model, ExampleInputs.of(TOKENS, model), ["blocks.0"]) == ()


def test_dropout_goes_on_in_training():
    model = seeded(lambda: Stream(Fused(dropout=0.5))).eval()
    apply(model, find(model, ExampleInputs.of(TOKENS, model), ["blocks.0"]))
    quiet = model(TOKENS)
    model.train()
    assert not torch.allclose(model(TOKENS), model(TOKENS)) and torch.equal(model.eval()(TOKENS), quiet)


def test_a_shared_block_is_replaced_at_each_of_its_places():
    block = Fused()
    model = seeded(lambda: Stream(block, block)).eval()
    before = model(TOKENS)
    apply(model, find(model, ExampleInputs.of(TOKENS, model), ["blocks.0"]))
    assert model.blocks[0] is model.blocks[1] and type(model.blocks[1]).__name__ == "Attention"
    torch.testing.assert_close(model(TOKENS), before, rtol=1e-5, atol=1e-6)


def test_a_run_says_so_saves_it_and_replays_it(tmp_path):
    model = seeded(lambda: Stream(Fused(), Separate())).eval()
    before = [type(module) for module in model.modules()]
    result = compressor.compress(model, TOKENS, macs=0.5, round_to=1)
    assert [type(module) for module in model.modules()] == before, "the user's model stays as it is"
    assert any("blocks.0, blocks.1: rewritten" in note for note in result.report().notes)
    assert [rewrite.layer for rewrite in result.plan.rewrites] == ["blocks.0", "blocks.1"]
    result.save(tmp_path / "run")
    fresh = seeded(lambda: Stream(Fused(), Separate()), seed=3)
    with torch.no_grad():
        assert torch.equal(compressor.load(tmp_path / "run", model=fresh)(TOKENS), result.module(TOKENS))
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    plan["rewrites"][0]["layer"] = "embed"
    (tmp_path / "run" / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(WeightsMismatch, match="rewrites embed, which does not fit this model"):
        compressor.load(tmp_path / "run", model=seeded(lambda: Stream(Fused(), Separate())))


@pytest.mark.parametrize(
    "rewrite",
    [
        Rewrite("", "attention", {"heads": 4, "scale": 1.0, "out": "proj", "fused": "qkv"}),
        Rewrite("blocks.0", "attention", {"heads": 4, "scale": 1.0, "out": "proj", "fused": "qkv", "norm": "none"}),
        Rewrite("blocks.7", "attention", {}),
        Rewrite("blocks.0", "attention", {"heads": 4, "scale": 1.0, "out": "proj", "fused": "qkv", "returns": "all"}),
        Rewrite("blocks.0", "other", {}),
        Rewrite("blocks.0", "attention", {"heads": 4}),
        Rewrite("blocks.0", "attention", {"heads": 0, "scale": 1.0, "out": "proj", "fused": "qkv", "layout": "x"}),
        Rewrite("blocks.0", "attention", {"heads": 4, "scale": 1.0, "out": "forward", "fused": "qkv"}),
    ],
)
def test_plans_that_do_not_fit_are_refused(rewrite):
    model = seeded(lambda: Stream(Fused()))
    before = list(model.modules())
    with pytest.raises(WeightsMismatch, match="does not fit this model"):
        apply(model, [rewrite])
    assert list(model.modules()) == before


class Tabled(nn.Module):
    """A table of positions and one of scales that nobody registered, and one that no channel meets."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(16, 12), nn.Linear(12, 3)
        self.positions, self.scales = torch.linspace(-1, 1, 7 * 12).reshape(1, 7, 12), [torch.ones(12)]
        self.weights = torch.linspace(0, 1, 7)[:, None]

    def forward(self, x):
        return (self.head((self.embed(x) + self.positions).relu()) * self.weights).mean(1)


def test_plain_tensors_that_stand_in_the_way_become_buffers(tmp_path):
    model = seeded(Tabled).eval()
    with pytest.raises(NothingPrunable):
        cover(model, ExampleInputs.of(TOKENS, model))
    before = model(TOKENS)
    result = compressor.compress(model, TOKENS, macs=0.5, round_to=1)
    assert result.plan.rewrites == (Rewrite("", "buffer", {"name": "positions"}),)
    assert any("positions: registered as a buffer" in note for note in result.report().notes)
    assert "positions" in vars(model) and torch.equal(model(TOKENS), before), "the user's model stays as it is"
    assert result.module.positions.shape == (1, 7, result.module.embed.out_features) != (1, 7, 12)
    assert "positions" not in result.module.state_dict()
    result.save(tmp_path / "run")
    with torch.no_grad():
        assert torch.equal(compressor.load(tmp_path / "run", model=Tabled())(TOKENS), result.module(TOKENS))
    registered = Tabled()
    registered.register_buffer("positions", registered.__dict__.pop("positions"))
    with pytest.raises(WeightsMismatch, match="rewrites the model, which does not fit this model"):
        compressor.load(tmp_path / "run", model=registered)


def test_what_a_forward_pass_left_behind_is_no_table():
    class Watching(Stream):
        def forward(self, x):
            self.seen = self.embed(x)
            return super().forward(x)

    model = seeded(lambda: Watching(nn.ReLU())).eval()
    model(TOKENS)
    source, coverage = cover_rewritten(Source(model, ExampleInputs.of(TOKENS, model), "watching", "test"))
    assert source.rewrites == () and [group.name for group in coverage.groups] == ["embed"]


class Block(nn.Module):
    """A block of a transformer whose attention gives its weights back beside the result."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads, self.qkv, self.out = 4, nn.Linear(48, 144), nn.Linear(48, 48)

        def forward(self, x):
            n, t, c = x.shape
            q, k, v = self.qkv(x).view(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
            weights = (q @ k.transpose(-1, -2) / math.sqrt(c // self.heads)).softmax(-1)
            return self.out((weights @ v).transpose(1, 2).reshape(n, t, c)), weights

    def __init__(self):
        super().__init__()
        self.norm, self.attention, self.mlp_norm = nn.LayerNorm(48), self.Attention(), nn.LayerNorm(48)
        self.mlp = nn.Sequential(nn.Linear(48, 192), nn.GELU(), nn.Linear(192, 48))

    def forward(self, x):
        y, _ = self.attention(self.norm(x))
        x = x + y
        return x + self.mlp(self.mlp_norm(x))


class Speech(nn.Module):
    """Blocks that tie the heads to a stream, which a table holds that nobody registered."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv1d(40, 48, 3, 2, 1), nn.Linear(48, 12)
        self.blocks = nn.Sequential(*(Block() for _ in range(3)))
        self.table = torch.linspace(-1, 1, 50 * 48).reshape(50, 48)

    def forward(self, x):
        return self.head(self.blocks(self.conv(x).relu().transpose(1, 2) + self.table).mean(1))


def test_rewrites_go_on_until_none_helps():
    """Alone, registering the table frees no stream (the heads keep it), and replacing the blocks neither."""
    model, signal = seeded(Speech).eval(), torch.randn(2, 40, 100, generator=torch.Generator().manual_seed(0))
    source, coverage = cover_rewritten(Source(model, ExampleInputs.of(signal, model), "speech", "test"))
    assert sorted(rewrite.kind for rewrite in source.rewrites) == ["attention"] * 3 + ["buffer"]
    assert next(group for group in coverage.groups if group.name == "conv").n_channels == 48
    assert coverage.prunable_macs_share == 1
    replayed = seeded(Speech).eval()
    apply(replayed, source.rewrites)
    torch.testing.assert_close(replayed(signal), model(signal))
