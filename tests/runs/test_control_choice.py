"""What --control names is looked at before PyTorch is loaded."""

import subprocess
import sys

import pytest

from compressor.core.errors import InvalidOption, MissingDependency, ModelFileError, WeightsMismatch
from compressor.core.options import RunOptions
from compressor.runs.control_choice import ControlKind, check_control, kind_of, said_of_control


def test_a_file_wins_over_an_architecture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert kind_of("net:1.onnx") is ControlKind.ARCHITECTURE
    (tmp_path / "net:1.onnx").write_bytes(b"")
    assert kind_of("net:1.onnx") is ControlKind.FILE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"control": "nowhere.onnx"}, r"`--control` must be narrow, an architecture .*but got 'nowhere.onnx'"),
        ({"control": "narow"}, "must be narrow"),
        ({"control": "narrow", "control_args": ("a=1",)}, r"`--control-args` must be used with an architecture"),
        ({"control": "narrow", "control_arch": "timm:x"}, r"`--control-arch` must be used with a --control that is a"),
        ({"control": "timm:a", "control_arch": "timm:b"}, "--control-arch"),
    ],
)
def test_what_cannot_be(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidOption, match=message):
        check_control(RunOptions(**options))


def test_files_are_looked_into(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"^--control: .*net.onnx: the file is empty"):
        check_control(RunOptions(control=str(path)))
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(InvalidOption, match=r"`--control` must be a file, not a folder"):
        check_control(RunOptions(control=str(folder)))
    (tmp_path / "net.xml").write_text("<?xml?><net/>")  # OpenVINO's, which only OpenVINO reads
    check_control(RunOptions(control=str(tmp_path / "net.xml")))
    check_control(RunOptions())


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (InvalidOption("loading", "--arch", "a", "b", "See --arch-args."), "ARCHITECTURE", "`--control` must be a"),
        (InvalidOption("loading", "--arch", "a", "b", "See --arch-args."), "ARCHITECTURE", "See --control-args."),
        (InvalidOption("loading", "--arch", "given", None), "FILE", "`--control-arch` must be given"),
        (MissingDependency("--arch timm:a", "timm", "timm"), "ARCHITECTURE", "--control timm:a needs the package"),
        (WeightsMismatch("w.pt: 0.weight is missing"), "FILE", "--control: w.pt: 0.weight is missing"),
    ],
)
def test_errors_name_the_control_and_keep_their_class(error, kind, words):
    with pytest.raises(type(error)) as caught, said_of_control(ControlKind[kind]):
        raise error
    assert words in str(caught.value) and "--arch" not in str(caught.value)
    assert caught.value.exit_code == error.exit_code


def test_no_torch_is_needed():
    script = "import sys, compressor.runs.control_choice; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
