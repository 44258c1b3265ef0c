"""Every family of operators from every format. `load_program` itself compares the outputs, with two batch sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from compressor.core.errors import InvalidOption, UnsupportedModel
from compressor.loading.model_file import load_model
from exporters.signature import flatten_outputs
from tests.loading.programs.conftest import shapes_of
from tests.loading.programs.networks import NETWORKS, network

LAYERS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear),
    *(nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d, nn.PReLU, nn.Embedding),
)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# Its weight is calculated by the program (weight normalisation), so that it is no layer's own.
CALCULATED = {("normalize", "pt2"), ("normalize", "trace")}


def layers_of(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> Counter[str]:
    """A parametrised layer has a class of its own; it counts as what it was."""
    return Counter(kind.__name__ for part in module.modules() for kind in kinds if isinstance(part, kind))


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("form", ["pt2", "trace", "onnx"])
def test_a_network_comes_back_with_its_layers(name: str, form: str, write: Callable[..., Path]) -> None:
    module, inputs = network(name)
    path = write(form, module, inputs)
    notes: list[str] = []
    loaded = load_model(path, inputs=shapes_of(inputs) if form == "trace" else (), note=notes.append)
    assert not notes
    with torch.no_grad():
        expected, found = flatten_outputs(module(*inputs)), flatten_outputs(loaded.module(*inputs))
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    if (name, form) not in CALCULATED:
        # What was functional may be a layer now.
        assert layers_of(module, LAYERS) <= layers_of(loaded.module, LAYERS)
    if form != "onnx":  # the exporter folds batch norms into convolutions
        assert layers_of(loaded.module, NORMS) == layers_of(module, NORMS)


@pytest.mark.parametrize("name", ["batch_norm", "shuffle", "patches", "group_norm", "words", "encoder"])
@pytest.mark.parametrize("form", ["core", "script", "dynamo"])
def test_other_dialects(name: str, form: str, write: Callable[..., Path]) -> None:
    module, inputs = network(name)
    path = write(form, module, inputs)
    loaded = load_model(path, inputs=shapes_of(inputs) if form == "script" else ())
    with torch.no_grad():
        torch.testing.assert_close(module(*inputs), loaded.module(*inputs), rtol=1e-4, atol=1e-5)
    assert layers_of(module, LAYERS) <= layers_of(loaded.module, LAYERS)  # what was functional may be a layer now


@pytest.mark.parametrize("form", ["pt2", "core", "trace", "script"])
def test_parameters_keep_their_names(form: str, write: Callable[..., Path]) -> None:
    module, inputs = network("patches")
    loaded = load_model(write(form, module, inputs), inputs=shapes_of(inputs) if form in ("trace", "script") else ())
    expected, found = dict(module.named_parameters()), dict(loaded.module.named_parameters())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("form", ["pt2", "trace"])
def test_batch_norms_learn_again(form: str, write: Callable[..., Path]) -> None:
    module, inputs = network("batch_norm")
    loaded = load_model(write(form, module, inputs), inputs=shapes_of(inputs) if form == "trace" else ()).module
    norm = next(part for part in loaded.modules() if isinstance(part, nn.BatchNorm2d))
    before = norm.running_mean.clone()
    optimizer = torch.optim.SGD(loaded.parameters(), lr=0.1)
    loaded.train()
    losses = []
    for _ in range(2):
        loss = nn.functional.cross_entropy(loaded(inputs[0]), torch.tensor([0, 1]))
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in loaded.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert not torch.equal(norm.running_mean, before)
    assert norm.num_batches_tracked == 2


class Tied(nn.Module):
    """Two names for one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(20, 8), nn.Linear(8, 20, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: torch.Tensor, scale: float = 2.0) -> torch.Tensor:
        return self.head(torch.relu(self.embedding(ids))) * scale


@pytest.mark.parametrize("form", ["pt2", "trace", "script"])
def test_shared_weights_stay_shared(form: str, write: Callable[..., Path]) -> None:
    module, inputs = Tied().eval(), (torch.randint(20, (2, 6)),)
    loaded = load_model(write(form, module, inputs), inputs=shapes_of(inputs) if form != "pt2" else ()).module
    assert [tuple(parameter.shape) for parameter in loaded.parameters()] == [(20, 8)]
    kinds = [type(part) for part in loaded.modules()]
    assert nn.Embedding in kinds and nn.Linear in kinds
    with torch.no_grad():
        assert torch.equal(loaded(*inputs), module(*inputs))


def test_a_copy_computes_the_same(write: Callable[..., Path]) -> None:
    import copy

    module, inputs = network("patches")
    loaded = load_model(write("pt2", module, inputs)).module
    assert torch.equal(copy.deepcopy(loaded)(*inputs), loaded(*inputs))


def test_errors_inside_are_raised_and_not_printed(
    write: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    module, inputs = network("shuffle")
    loaded = load_model(write("pt2", module, inputs)).module
    with pytest.raises(RuntimeError):
        loaded(torch.randn(1, 5, 8, 8))
    assert capfd.readouterr().err == ""


def test_token_ids_come_from_the_vocabulary(write: Callable[..., Path]) -> None:
    module, inputs = network("words")
    loaded = load_model(write("pt2", module, inputs))
    ids = loaded.inputs.tensors[0]
    assert ids.dtype == torch.int64 and ids.shape == (1, 6) and int(ids.max()) > 1


def test_a_script_needs_its_input_shape(write: Callable[..., Path]) -> None:
    path = write("trace", *network("dense"))
    with pytest.raises(InvalidOption, match=r"does not say the shape of input") as caught:
        load_model(path)
    assert caught.value.exit_code == 2
    assert load_model(path, data_sample_shape=(6,)).inputs_from == "a sample of the data"


def test_shapes_that_do_not_fit_the_file(write: Callable[..., Path]) -> None:
    path = write("onnx", *network("dense"))
    with pytest.raises(InvalidOption, match=r"a shape that fits the file's input in\.0 nx6"):
        load_model(path, inputs=["1x7"])
    with pytest.raises(InvalidOption, match="once for each"):
        load_model(path, inputs=["1x6", "1x6"])
    with pytest.raises(InvalidOption, match="of the kind float32"):
        load_model(path, inputs=["1x6:int64"])
    assert load_model(path, inputs=["3x6"]).inputs_from == "--input"


def test_an_architecture_is_not_needed(write: Callable[..., Path]) -> None:
    notes: list[str] = []
    load_model(write("onnx", *network("dense")), arch="torchvision:resnet18", note=notes.append)
    assert any("not needed and not used" in note for note in notes)


class Data(nn.Module):
    """How much comes out depends on the numbers that go in."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[x > 0]


@pytest.mark.parametrize("form", ["pt2", "trace", "onnx"])
def test_shapes_that_depend_on_data_are_refused(form: str, write: Callable[..., Path]) -> None:
    inputs = (torch.randn(2, 6),)
    options = {} if form == "trace" else {"dynamic": False}
    path = write(form, Data(), inputs, **options)
    with pytest.raises(UnsupportedModel, match=r"aten\.index|aten::index|NonZero|GatherND") as caught:
        load_model(path, inputs=shapes_of(inputs) if form == "trace" else ())
    assert caught.value.exit_code == 4 and str(caught.value).startswith(str(path))
