"""ONNX files: opset, simplifier, the way back to the tracing exporter, and ONNX Runtime's own view of the file."""

import onnx
import pytest
import torch
from torch import nn

from exporters.errors import InvalidExportOption
from exporters.export import export
from exporters.formats.onnx import OnnxFormat
from exporters.onnx_writers.pooling import mend_poolings
from exporters.signature import ExampleInputs
from exporters.source import Source
from exporters.verify import verify_all


def written(module, inputs, path, **options):
    plugin = OnnxFormat(**options)
    return plugin, plugin.write(Source(module.eval(), ExampleInputs.of(inputs, module)), path, None)


@pytest.mark.parametrize("opset", [10, 0, -1])
def test_opsets_that_cannot_be(opset):
    with pytest.raises(InvalidExportOption, match=rf"`opset` must be 11 or later, but got {opset}"):
        OnnxFormat(opset=opset)


def test_a_file_of_the_opset_that_was_asked_for(conv_net, images, tmp_path):
    plugin, told = written(conv_net, images, tmp_path / "model.onnx", opset=18, simplify=False)
    assert told.dynamic_batch and told.details["opset"] == "18" and told.details["simplifier"] == "off"
    model = onnx.load(str(tmp_path / "model.onnx"))
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [18]
    loaded = plugin.load(tmp_path / "model.onnx")
    assert len(loaded.input_names) == len(loaded.output_names) == 1
    batch = torch.cat([images, -images])
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(loaded.run([batch.numpy()])[0]), conv_net.eval()(batch), atol=1e-5)


def test_constants_are_folded(tmp_path):
    class Folding(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, x):
            return self.linear(x) * (torch.ones(3) * 2 + 1)

    nodes = []
    for simplify in (False, True):
        path = tmp_path / f"{simplify}.onnx"
        written(Folding(), torch.randn(2, 4), path, simplify=simplify)
        nodes.append(len(onnx.load(str(path)).graph.node))
    assert nodes[1] <= nodes[0]


class Looping(nn.Module):
    """torch.export refuses the branch; the tracer unrolls the loop, over the batch or over three weights."""

    def __init__(self, over_batch):
        super().__init__()
        self.linear, self.weights, self.over_batch = nn.Linear(4, 3), nn.Parameter(torch.randn(3)), over_batch

    def forward(self, x):
        if x.sum() > 1e9:
            x = -x
        if self.over_batch:
            return torch.stack([self.linear(one) for one in x])
        return sum(weight * self.linear(x) for weight in self.weights)


@pytest.mark.parametrize(("over_batch", "batch"), [(True, "fixed at 2"), (False, "dynamic")])
def test_a_loop_over_the_batch_fixes_the_batch_and_no_other_does(over_batch, batch, tmp_path):
    module, x = Looping(over_batch), torch.randn(2, 4)
    plugin, told = written(module, x, tmp_path / "model.onnx")
    assert told.details["batch"] == batch and told.dynamic_batch == (batch == "dynamic")
    with torch.no_grad():
        found = plugin.load(tmp_path / "model.onnx").run([x.numpy()])[0]
        assert torch.allclose(torch.from_numpy(found), module(x), atol=1e-5)


class PaddedPooling(nn.Module):
    """As the stems of BiT: zeros around negative numbers, of which a max pooling takes the largest."""

    def __init__(self, value):
        super().__init__()
        self.pad, self.pool = nn.ConstantPad2d(1, value), nn.MaxPool2d(3, 2)

    def forward(self, x):
        return self.pool(self.pad(-x.abs() - 1))


@pytest.mark.parametrize("value", [0.0, -0.5])
def test_zeros_padded_before_a_max_pooling_stay(value, tmp_path):
    """ONNX Runtime moves zeros into the pooling, which pads with minus infinity."""
    module, image = PaddedPooling(value), torch.randn(1, 2, 9, 9)
    plugin, _ = written(module, image, tmp_path / "model.onnx")
    expected = module(image)
    assert (expected == value).sum() > 10
    found = torch.from_numpy(plugin.load(tmp_path / "model.onnx").run([image.numpy()])[0])
    assert torch.allclose(found, expected, atol=1e-30)


def test_other_poolings_are_left_alone(tmp_path):
    class Padded(nn.Module):
        def forward(self, x):
            return (
                nn.functional.max_pool2d(nn.functional.pad(x, (1, 1, 1, 1), mode="reflect"), 3)
                + nn.functional.pad(x, (1, 1)).mean()
                + nn.functional.avg_pool2d(x, 9)
            )

    written(Padded(), torch.randn(1, 2, 9, 9), tmp_path / "model.onnx", simplify=False)
    before = (tmp_path / "model.onnx").read_bytes()
    assert mend_poolings(tmp_path / "model.onnx") == 0
    assert (tmp_path / "model.onnx").read_bytes() == before


def test_a_window_larger_than_the_image_pools_all_of_it(tmp_path):
    """OpenVINO refuses such a window; as in Hugging Face's EfficientNet."""
    module, image = nn.AvgPool2d(64, ceil_mode=True), torch.randn(1, 2, 9, 7)
    written(module, image, tmp_path / "model.onnx")
    assert [node.op_type for node in onnx.load(str(tmp_path / "model.onnx")).graph.node] == ["GlobalAveragePool"]
    assert all(
        outcome.passed for outcome in verify_all(export(module, image, ["onnx", "openvino"], tmp_path), module, image)
    )


def test_more_zeros_than_a_window_is_wide(tmp_path):
    """As the shortcuts of Shake-Shake: ONNX Runtime moves them into the pooling, and then cannot load it."""
    module, image = nn.Sequential(nn.ZeroPad2d((1, 0, 1, 0)), nn.AvgPool2d(1, 2)), torch.randn(1, 2, 8, 8)
    files = export(module, image, ["onnx", "openvino"], tmp_path)
    assert all(outcome.passed for outcome in verify_all(files, module, image))
