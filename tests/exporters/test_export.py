from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from exporters.errors import InvalidExportOption, MissingRuntime, UnsupportedOperator
from exporters.export import available_formats, export
from exporters.files import reopen, sha256_of
from exporters.formats.onnx import OnnxFormat
from exporters.program import load_program
from exporters.types import ExportedFile
from exporters.verify import verify, verify_all

ALL = ["pt2", "onnx", "openvino"]


class FixedBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.reshape(1, 4))


class Eigenvalues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvals(x).real


class Branch(nn.Module):
    """Its output depends on a Python `if`, which no tracer can follow."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x - 1


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.encoder(x)
        return self.attention(y, y, y, need_weights=False)[0]


class HalfFrozen(nn.Module):
    """Half frozen, as detectors are: its parts are in different modes."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.BatchNorm1d(4).eval()
        self.dropout = nn.Dropout(0.9)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.frozen(x))


@pytest.fixture(scope="module")
def conv_files(
    conv_net: nn.Module, images: Tensor, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, ExportedFile]:
    folder = tmp_path_factory.mktemp("conv")
    files = export(conv_net, images, ALL, folder, "net")
    assert sorted(path.name for path in folder.iterdir()) == ["net.bin", "net.onnx", "net.pt2", "net.xml"]
    return {file.format: file for file in files}


def test_every_format_gives_the_modules_numbers(conv_files, conv_net: nn.Module, images: Tensor) -> None:
    for outcome in verify_all(conv_files.values(), conv_net, images):
        assert outcome.passed, outcome
        assert {check.batch_size for check in outcome.checks} == {1, 2, 5}
        assert max(check.max_rel_error for check in outcome.checks) < 1e-5


def test_files_describe_themselves(conv_files: dict[str, ExportedFile]) -> None:
    for file in conv_files.values():
        assert (file.input_names, file.output_names, file.dynamic_batch) == (("input",), ("output",), True)
        assert file.sha256 == sha256_of(file.path)
        assert file.n_bytes == sum(path.stat().st_size for path in (file.path, *file.companions))
        assert file.details["batch"] == "dynamic"
    assert [path.name for path in conv_files["openvino"].companions] == ["net.bin"]
    assert conv_files["onnx"].details["simplifier"].startswith("onnxsim ")


def test_onnx_names_the_batch_axis_and_says_its_opset(conv_files: dict[str, ExportedFile]) -> None:
    model = onnx.load(str(conv_files["onnx"].path))
    (given,), (made,) = model.graph.input, model.graph.output
    assert [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim] == ["batch", 3, 8, 8]
    assert [d.dim_param or d.dim_value for d in made.type.tensor_type.shape.dim] == ["batch", 5]
    assert str(model.opset_import[0].version) == conv_files["onnx"].details["opset"]


@pytest.mark.parametrize("simplify", [True, False])
def test_no_file_tells_of_this_machine(conv_net: nn.Module, images: Tensor, tmp_path: Path, simplify: bool) -> None:
    secrets = [
        str(Path.home()),
        str(Path(torch.__file__).parents[1]),
        str(tmp_path),
        str(Path.cwd()),
        "Traceback",
        "conv.py",
    ]
    for file in export(conv_net, images, ALL, tmp_path, simplify=simplify):
        for path in (file.path, *file.companions):
            found = [secret for secret in secrets if secret.encode() in path.read_bytes()]
            assert not found, path


def test_the_users_images_are_not_in_the_program(conv_net: nn.Module, images: Tensor, tmp_path: Path) -> None:
    (file,) = export(conv_net, images, ["pt2"], tmp_path)
    assert images[0, 0, 0].numpy().tobytes() not in file.path.read_bytes()


def test_named_inputs_and_a_dictionary_keep_their_names(two_inputs, named_inputs, tmp_path: Path) -> None:
    files = export(two_inputs, named_inputs, ALL, tmp_path)
    for file, outcome in zip(files, verify_all(files, two_inputs, named_inputs), strict=True):
        assert (file.input_names, file.output_names) == (("tokens", "features"), ("zeta", "alpha"))
        assert outcome.passed, outcome


def test_attention_exports_although_its_fast_path_cannot(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, x = Attention().eval(), torch.randn(1, 5, 16)
    before = torch.backends.mha.get_fastpath_enabled()
    files = export(module, x, ["onnx", "openvino"], tmp_path)
    assert torch.backends.mha.get_fastpath_enabled() is before
    assert all(outcome.passed for outcome in verify_all(files, module, x))
    assert all(file.dynamic_batch for file in files)


def test_a_fixed_batch_is_kept_said_and_verified_as_such(tmp_path: Path) -> None:
    module, x = FixedBatch(), torch.randn(1, 4)
    files = export(module, x, ["onnx", "openvino"], tmp_path)
    for file, outcome in zip(files, verify_all(files, module, x), strict=True):
        assert not file.dynamic_batch
        assert file.details["batch"].startswith("fixed at 1 (no dynamic batch: ")
        assert outcome.passed, outcome
        assert [check.batch_size for check in outcome.checks] == [1, 1]


def test_an_operator_without_translation_is_named_with_its_place(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU(), Eigenvalues()))
    with pytest.raises(UnsupportedOperator, match=r"operator 'aten.linalg_eig' in '1\.1' \(Eigenvalues\)"):
        export(module, torch.randn(1, 3, 8, 8), ["onnx"], tmp_path)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")  # torch would print both graphs


def test_a_branch_is_traced_as_a_last_resort_and_then_found_out(tmp_path: Path) -> None:
    x = torch.ones(1, 4)
    with pytest.raises(UnsupportedOperator, match=r"outermost module \(Branch\), line \d+ of test_export.py"):
        export(Branch(), x, ["pt2"], tmp_path)
    (file,) = export(Branch(), x, ["onnx"], tmp_path)
    assert file.details["exporter"].startswith("torch.onnx TorchScript, because torch.export cannot express")
    assert file.details["trace"].startswith("1 constants taken from the example")
    outcome = verify(file, Branch(), x, seeds=range(8), batch_sizes=[1])
    assert not outcome.passed
    assert {check.passed for check in outcome.checks} == {True, False}


def test_the_module_comes_back_as_it_was(tmp_path: Path) -> None:
    module = HalfFrozen().train()
    module.frozen.eval()
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    logging_before = logging.root.manager.disable
    x = torch.randn(3, 4)
    (file,) = export(module, x, ["onnx"], tmp_path)
    assert verify(file, module, x).passed
    assert (module.training, module.frozen.training, module.dropout.training) == (True, False, True)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in module.state_dict().items())
    assert logging.root.manager.disable == logging_before


def test_verify_works_without_the_class(conv_files: dict[str, ExportedFile]) -> None:
    module, inputs, names = load_program(conv_files["pt2"].path)
    assert (inputs.names, names) == (("input",), ("output",))
    for file in conv_files.values():
        again = reopen(file.path, file.format, inputs.names, file.details)
        assert again == file
        assert verify(again, module, inputs, batch_sizes=(1, 4)).passed


def test_a_chosen_opset_is_the_files_opset(conv_net: nn.Module, images: Tensor, tmp_path: Path) -> None:
    (file,) = export(conv_net, images, ["onnx"], tmp_path, opset=18, simplify=False)
    assert (file.details["opset"], file.details["simplifier"]) == ("18", "off")
    with pytest.raises(InvalidExportOption, match="`opset` must be"):
        OnnxFormat(opset=3)


def test_unknown_formats_get_a_suggestion(conv_net: nn.Module, images: Tensor, tmp_path: Path) -> None:
    with pytest.raises(InvalidExportOption, match="Did you mean 'onnx'"):
        export(conv_net, images, ["onxx"], tmp_path / "new")
    with pytest.raises(InvalidExportOption, match="got none"):
        export(conv_net, images, [], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_missing_package_is_said_before_anything_is_written(conv_net, images, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("exporters.formats.openvino.OpenVinoFormat.requires", ("no_such_package",))
    with pytest.raises(MissingRuntime, match="pip install no_such_package"):
        export(conv_net, images, ["onnx", "openvino"], tmp_path)
    assert not list(tmp_path.iterdir())
    assert {info.name: info.missing for info in available_formats()}["openvino"] == ("no_such_package",)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (torch.randn(1, 4, 8, 8), r"input \(1, 4, 8, 8\) it raises RuntimeError"),
        (torch.tensor(1.0), "share the batch size on axis 0"),
        (torch.zeros(0, 3, 8, 8), "share the batch size on axis 0"),
        ([], "got none"),
    ],
)
def test_inputs_that_do_not_fit(conv_net: nn.Module, inputs: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidExportOption, match=said):
        export(conv_net, inputs, ["onnx"], tmp_path)


def test_a_full_disk_is_an_operating_system_error(conv_net, images, tmp_path: Path, monkeypatch) -> None:
    def fill(*args: object, **options: object) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr("exporters.program.save_program", fill)
    monkeypatch.setattr("exporters.export._DISK_FULL_BYTES", 1 << 62)
    with pytest.raises(OSError, match="No space left"):
        export(conv_net, images, ["pt2"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_earlier_file_stays_until_the_new_one_is_whole(images: Tensor, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"earlier")
    with pytest.raises(UnsupportedOperator):
        export(Eigenvalues(), images, ["onnx"], tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == b"earlier"


def test_mobilenet_v3_small_with_its_tiny_outputs(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    module, x = torchvision.models.mobilenet_v3_small().eval(), torch.randn(1, 3, 32, 32)
    (file,) = export(module, x, ["onnx"], tmp_path)
    with torch.no_grad():
        assert np.abs(module(x).numpy()).max() < 1e-5  # below `abs_tolerance`: it must still not pass unseen
    assert verify(file, module, x, batch_sizes=[1, 3]).passed
    other = torchvision.models.mobilenet_v3_small().eval()
    assert not verify(file, other, x, batch_sizes=[1]).passed


class KernelPerInput(nn.Module):
    """Every input of the batch is convolved with a kernel computed from it: as many groups as the batch has inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.Parameter(torch.randn(1, 5 * 3, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        kernels = (x.mean((1, 2, 3))[:, None] @ self.experts).view(n * 5, 3, 1, 1)
        return functional.conv2d(x.reshape(1, n * 3, *x.shape[2:]), kernels, groups=n).view(n, 5, *x.shape[2:])


def test_an_attribute_that_follows_from_the_batch_fixes_it(tmp_path: Path) -> None:
    x = torch.randn(1, 3, 8, 8)
    (file,) = export(KernelPerInput(), x, ["onnx"], tmp_path)
    assert file.details["batch"] == "fixed at 1"
    assert file.details["exporter"].startswith("torch.onnx TorchScript, because onnx cannot express the operator")
    assert verify(file, KernelPerInput().eval(), x).passed


def test_a_file_that_the_checker_refuses_is_not_handed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch has been seen to leave out constants that nodes read; then the model is traced."""

    def refuse(path: str) -> None:
        raise onnx.checker.ValidationError("input 'min' of node is not output of any previous nodes")

    monkeypatch.setattr("exporters.onnx_writers.dynamo.onnx.checker.check_model", refuse)
    (file,) = export(nn.Conv2d(3, 4, 3).eval(), torch.randn(1, 3, 8, 8), ["onnx"], tmp_path)
    assert "TorchScript, because onnx cannot express the model (input 'min' of node" in file.details["exporter"]


def test_sizes_that_must_agree_behind_a_decorator_with_keywords(tmp_path: Path) -> None:
    """As Hugging Face's Whisper: torch's own program of it stops with "name 'L' is not defined"."""

    def passing_on(forward):
        def decorated(self, *given, **named):
            return forward(self, *given, **named)

        return decorated

    class Crossing(nn.Module):
        @passing_on
        def forward(self, states: Tensor, tokens: Tensor) -> Tensor:
            return states.reshape(tokens.shape[0], -1, 4).sum(1) + tokens

    inputs = {"states": torch.randn(1, 6, 4), "tokens": torch.randn(1, 4)}
    files = export(Crossing(), inputs, ["onnx", "pt2"], tmp_path)
    assert files[0].details["exporter"] == "torch.onnx dynamo"
    assert all(outcome.passed for outcome in verify_all(files, Crossing(), inputs))
