"""OpenVINO IR: made from the ONNX file, float32 weights beside it, no folder of this machine inside."""

import pytest
import torch
from torch import nn

from exporters.export import export
from exporters.formats.openvino import OpenVinoFormat


@pytest.fixture(scope="module")
def files(conv_net, images, tmp_path_factory):
    return export(conv_net.eval(), images, ["onnx", "openvino"], tmp_path_factory.mktemp("ir"))


def test_made_from_onnx(files, conv_net, images):
    file = next(file for file in files if file.format == "openvino")
    assert OpenVinoFormat.made_from == "onnx" and file.dynamic_batch
    assert [path.suffix for path in (file.path, *file.companions)] == [".xml", ".bin"]
    assert file.details["weights"] == "float32"
    loaded = OpenVinoFormat().load(file.path)
    assert loaded.input_names == file.input_names and loaded.output_names == file.output_names
    batch = torch.cat([images, -images])
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(loaded.run([batch.numpy()])[0]), conv_net(batch), atol=1e-5)


def test_no_folder_of_this_machine(files):
    file = next(file for file in files if file.format == "openvino")
    assert str(file.path.parent) not in file.path.read_text()


class BoxHead(nn.Module):
    """OpenVINO computes the sigmoid in place, and the compiled output then has the linear layer's name, too."""

    def __init__(self):
        super().__init__()
        self.box = nn.Linear(6, 4)

    def forward(self, tokens):
        return {"z_boxes": self.box(tokens).sigmoid(), "last": tokens + 1}


def test_outputs_keep_their_names_when_compiled(tmp_path):
    tokens = torch.randn(1, 10, 6)
    file = export(BoxHead().eval(), tokens, ["onnx", "openvino"], tmp_path)[1]
    assert OpenVinoFormat().load(file.path).output_names == ("z_boxes", "last")
