"""What --control names, as far as it can be told before PyTorch is loaded."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compressor.core.errors import CompressionError, InvalidOption
from compressor.core.options import RunOptions
from compressor.loading.recognise import recognise

NARROW = "narrow"
IR = ".xml"  # OpenVINO's; its runtime alone can read it
_ALLOWED = "narrow, an architecture (timm:resnet26, file.py:make_model) or a file that exists"


class ControlKind(enum.Enum):
    """Where a control comes from."""

    NARROW = "narrow"  # the same architecture, every group the same share
    ARCHITECTURE = "architecture"  # as --arch names it, with random weights
    FILE = "file"  # with weights of its own
    MODULE = "module"  # given from Python, with weights of its own


def kind_of(text: str) -> ControlKind:
    """What the text after --control is.

    >>> [kind_of(text).name for text in ("narrow", "timm:resnet26", "f.py:make", "small.onnx")]
    ['NARROW', 'ARCHITECTURE', 'ARCHITECTURE', 'FILE']
    """
    if text == NARROW:
        return ControlKind.NARROW
    return ControlKind.ARCHITECTURE if ":" in text and not Path(text).exists() else ControlKind.FILE


def check_control(options: RunOptions) -> None:
    """Looks at what --control names; reads a file's first bytes at most.

    Raises:
        InvalidOption: no such file, or options that have no use for this kind of control.
        ModelFileError: the file is no model.
    """
    if not options.control:
        return
    kind, path = kind_of(options.control), Path(options.control)
    if options.control_args and kind is not ControlKind.ARCHITECTURE and not options.control_arch:
        allowed = "used with an architecture, in --control or --control-arch"
        raise InvalidOption("compress", "--control-args", allowed, " ".join(options.control_args))
    if kind is not ControlKind.FILE:
        if options.control_arch:
            allowed = "used with a --control that is a file of weights"
            raise InvalidOption("compress", "--control-arch", allowed, options.control_arch)
        return
    if not path.exists():
        raise InvalidOption("compress", "--control", _ALLOWED, options.control, "Check the path.")
    if path.suffix != IR:
        with said_of_control(kind):
            recognise(path)


@contextmanager
def said_of_control(kind: ControlKind) -> Iterator[None]:
    """Errors of the stages that load models name the control's options instead of the model's; class and code stay."""
    try:
        yield
    except CompressionError as error:
        arch = "--control" if kind is ControlKind.ARCHITECTURE else "--control-arch"
        text = str(error).replace("--arch-args", "--control-args").replace("--arch", arch)
        text = text.replace("`MODEL`", "`--control`")
        said = text if "--control" in text else f"--control: {text}"
        raise type(error).__new__(type(error), said) from error  # the sentence is already made
