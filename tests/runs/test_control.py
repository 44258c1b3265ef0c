"""Controls are loaded, called with the model's inputs and exported before anything else; others are refused."""

import copy

import onnx
import pytest
import torch
from torch import nn

from compressor.core.errors import InvalidOption, MissingDependency, UnsupportedModel
from compressor.runs.control import control_file, load_control
from exporters.export import export
from tests.runs.controlled import folder_of, record_of, small

MY_MODEL = (
    "from torch import nn\ndef make(n=3):\n    return nn.Sequential(nn.Conv2d(3, n, 3), nn.ReLU(), nn.Flatten())\n"
)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """The record after a control was loaded in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(control, given=None, **options):
        record = record_of(control=control, **options)
        load_control(record, folder_of(tmp_path, record), given)
        return record

    return run


def test_no_control(load):
    record = load("")
    assert record.control is None and not record.control_files


def test_an_architecture(load, tmp_path):
    (tmp_path / "my_control.py").write_text(MY_MODEL)
    before = torch.get_rng_state()
    record = load("my_control.py:make", control_args=("n=4",))
    assert record.control.kind == "architecture" and record.control.module[0].out_channels == 4
    assert "weights are random" in record.control.unmeasured
    assert [file.format for file in record.control_files] == ["onnx"]
    assert record.control_files[0].input_names == ("input",)  # the model's, so that one request fits all three files
    assert torch.equal(torch.get_rng_state(), before)  # the run goes on as if there were no control
    assert any("gives 1x144 and the model 1x3" in note for note in record.notes)


def test_a_file_with_weights(load, tmp_path):
    torch.save(small(), tmp_path / "small.pt")
    record = load("small.pt")
    assert record.control.kind == "file" and not record.control.unmeasured and not record.notes


def test_a_state_dict_with_its_architecture(load, tmp_path):
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten()).state_dict(), tmp_path / "weights.pt")
    (tmp_path / "their_control.py").write_text(MY_MODEL)
    record = load("weights.pt", control_arch="their_control.py:make", control_args=("n=4",))
    assert torch.equal(record.control.module[0].weight, torch.load(tmp_path / "weights.pt")["0.weight"])
    assert "144" in record.control.unmeasured  # another task: its answers are not the model's classes
    with pytest.raises(InvalidOption, match=r"`--control-arch` must be given for weights.pt"):
        load("weights.pt")


def test_a_live_module_is_left_as_it_is(load):
    module = small().double().train()
    before = copy.deepcopy(module.state_dict())
    record = load("Sequential", given=module)
    assert module.training and module[0].weight.dtype is torch.float64
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert record.control.kind == "module" and not record.control.unmeasured
    assert record.control.module[0].weight.dtype is torch.float32 and not record.control.module.training


@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
def test_an_exported_file_is_read_and_exported_like_the_others(load, tmp_path, suffix):
    export(small(), torch.randn(1, 3, 8, 8), [suffix], tmp_path, stem="small")
    record = load(f"small.{suffix}", on=("onnxruntime:cpu", "torch:cpu"))
    assert record.control.module is not None and not record.control.unmeasured
    assert sorted(file.format for file in record.control_files) == ["onnx", "pt2"]


def test_what_only_openvino_reads_is_timed_as_it_is(load, tmp_path):
    export(small(), torch.randn(1, 3, 8, 8), ["openvino"], tmp_path, stem="small")
    given = {"on": ("openvino:cpu",), "export": ("openvino",)}
    record = load("small.xml", **given)
    assert record.control.module is None and record.control.as_is.path.name == "small.xml"
    assert [path.name for path in record.control.as_is.companions] == ["small.bin"]
    file, reason = control_file(record, "openvino", folder_of(tmp_path, record))
    assert file == record.control.as_is and not reason
    assert control_file(record, "onnx", folder_of(tmp_path, record)) == (None, "The control is no onnx file.")
    with pytest.raises(InvalidOption, match=r"a file that a target of the run reads.*Add a target that reads .xml"):
        load("small.xml", on=("onnxruntime:cpu",))
    export(small(), torch.randn(1, 3, 12, 12), ["openvino"], tmp_path, stem="small")
    with pytest.raises(InvalidOption, match=r"takes the model's inputs \(input=1x3x8x8\).*no comparison"):
        load("small.xml", **given)


def test_an_onnx_file_beyond_us_is_timed_as_it_is(load, tmp_path):
    (file,) = export(small(), torch.randn(1, 3, 8, 8), ["onnx"], tmp_path, stem="small")
    graph = onnx.load(file.path)
    last = graph.graph.node[-1]
    last.output[0], name = "before", last.output[0]
    graph.graph.node.append(onnx.helper.make_node("Bernoulli", ["before"], [name]))  # random, so never the same twice
    onnx.save(graph, tmp_path / "odd.onnx")
    record = load("odd.onnx")
    assert record.control.module is None and record.control.as_is.format == "onnx"
    assert "only its runtime" in record.control.unmeasured
    assert any("timed as it is" in note for note in record.notes)


def test_other_inputs_are_refused(load, tmp_path):
    torch.save(small(n_inputs=1), tmp_path / "grey.pt")
    refused = (
        r"`--control` must be a model that takes the model's inputs \(input=1x3x8x8\), but got '%s'.*no comparison"
    )
    with pytest.raises(InvalidOption, match=refused % "grey.pt"):
        load("grey.pt")
    export(small(), torch.randn(1, 3, 12, 12), ["onnx"], tmp_path, stem="larger")  # it would run with 8x8, too
    with pytest.raises(InvalidOption, match=r"It takes (input=)?1x3x12x12\. Its latency would be no comparison"):
        load("larger.onnx")
    with pytest.raises(InvalidOption, match=refused % "Linear" + "|It does not run with them: RuntimeError"):
        load("Linear", given=nn.Linear(7, 3))


def test_what_cannot_be_exported_is_refused(load):
    class Eigenvalues(nn.Module):
        def forward(self, x):
            return torch.linalg.eig(x)[0].abs()

    with pytest.raises(UnsupportedModel, match=r"--control Eigenvalues: cannot be exported: .* Choose another control"):
        load("Eigenvalues", given=Eigenvalues())


def test_a_package_that_is_not_there(load, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(MissingDependency, match=r"^--control timm:resnet26 needs the package 'timm'"):
        load("timm:resnet26")


def test_narrow_waits_for_the_plan(load, tmp_path):
    record = load("narrow")
    assert record.control.kind == "narrow" and record.control.module is None and not record.control_files
    assert "not trained" in record.control.unmeasured


def test_the_size_that_it_is_made_for_is_said(load):
    module = small()
    module.default_cfg = {"input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.2,) * 3}
    record = load("Sequential", given=module)
    assert any("made for images of 32x32 and timed with the model's, of 8x8" in note for note in record.notes)
