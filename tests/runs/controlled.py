"""Networks and records for the tests of controls."""

from torch import nn

from compressor.core.options import RunOptions
from compressor.core.progress import SilentProgress
from compressor.runs.folder import RunFolder
from compressor.runs.record import Record, Source
from exporters.signature import ExampleInputs
from tests.networks import images, seeded


def wide():
    """For 3x8x8 images, 3 outputs, 64 and 128 channels."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 3),
    )


def small(n_outputs=3, n_inputs=3):
    """A control of its own."""
    return nn.Sequential(
        nn.Conv2d(n_inputs, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, n_outputs)
    ).eval()


def record_of(model=None, inputs=None, **options):
    """Before anything was done; ONNX on ONNX Runtime unless `options` say otherwise."""
    model = model or seeded(wide)
    given = {"on": ("onnxruntime:cpu",), "export": ("onnx",), **options}
    inputs = ExampleInputs.of(images(1) if inputs is None else inputs, model)
    return Record(Source(model, inputs, "net.pt", "--input", "aa"), RunOptions(**given), SilentProgress())


def folder_of(path, record):
    """A claimed run folder."""
    return RunFolder.claim(path / "run", record.options, "aa")
