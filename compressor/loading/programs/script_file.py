"""Opens TorchScript archives, without running code from them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from compressor.core.errors import ModelFileError, UnsupportedModel
from compressor.loading.programs.program_file import FileInput
from compressor.loading.programs.torchscript import build_script
from exporters.quiet import quietly
from exporters.signature import flatten_outputs

# Runs while the archive is opened; classes from libraries; operators that touch files.
_RUNS_CODE = re.compile(
    r"__setstate__|__torch__\.torch\.classes|torch\.(?:save|load|from_file)\b|ops\.aten\.(?:save|from_file)"
)
_MOST_CODE = 1 << 26
_LONGEST_TEXT = 1 << 20
_KINDS = {"Tensor": torch.float32, "Optional[Tensor]": torch.float32}


class ScriptFile:
    """An opened TorchScript archive."""

    def __init__(self, module: torch.jit.ScriptModule, inputs: tuple[FileInput, ...], metadata: dict[str, str]) -> None:
        self.module, self.inputs, self.metadata = module, inputs, metadata
        self.description = f"a TorchScript archive ({module.original_name})"
        self.output_names: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path) -> ScriptFile:
        """Reads the file.

        Raises:
            ModelFileError: damaged, or opening it would run code.
            UnsupportedModel: it wants something else than tensors.
        """
        metadata = _audited(path)
        try:
            with quietly():
                module = torch.jit.load(str(path), map_location="cpu")
        except Exception as error:  # the reader raises nearly anything for damaged bytes
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelFileError(
                f"{path}: a TorchScript archive that torch cannot read ({reason[:200]}). Save it again."
            ) from error
        for part in module.modules():
            if "training" in part.__dict__ or hasattr(part, "training"):
                with suppress(RuntimeError, AttributeError):
                    part.training = False
        return cls(module, _inputs(module, path), metadata)

    def build(self, runs: Sequence[Sequence[Tensor]], frozen_batch: int | None = None) -> fx.GraphModule:
        """The graph as a module; see `ProgramFile.build`."""
        return build_script(self.module, [spec.name for spec in self.inputs], runs, frozen_batch)

    def outputs(self, cases: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """What torch's own interpreter gives; it gets no other operators to run than `build` accepted."""
        with torch.no_grad(), quietly():
            return [flatten_outputs(self.module(*tensors)) for tensors in cases]


def _audited(path: Path) -> dict[str, str]:
    """Looks through the archive's source text; gives the texts that were saved along with it.

    Raises:
        ModelFileError: it holds code that runs while it is opened, or that touches files.
    """
    found: dict[str, str] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for record in archive.infolist():
                inner = record.filename.partition("/")[2]
                if inner.startswith("code/") and inner.endswith(".py"):
                    if record.file_size > _MOST_CODE:
                        raise ModelFileError(f"{path}: {inner} is too large for source text. The file was not opened.")
                    code = _RUNS_CODE.search(archive.read(record).decode(errors="replace"))
                    if code is not None:
                        raise ModelFileError(
                            f"{path}: {inner} holds '{code[0]}', which could run code or touch files, and was not "
                            "opened. Pass the PyTorch module that it was made from."
                        )
                elif inner.startswith("extra/") and record.file_size <= _LONGEST_TEXT:
                    with suppress(UnicodeDecodeError):
                        found[inner.removeprefix("extra/")] = archive.read(record).decode()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:  # the last: an unknown compression
        raise ModelFileError(f"{path}: a TorchScript archive that is damaged ({error}). Save it again.") from error
    return found


def _inputs(module: Any, path: Path) -> tuple[FileInput, ...]:
    """The tensors that `forward` must be given; arguments with defaults keep them."""
    inputs = []
    for argument in module.forward.schema.arguments[1:]:
        if argument.has_default_value():
            break
        kind = str(argument.type)
        if kind not in _KINDS:
            raise UnsupportedModel(
                f"{path}: its input '{argument.name}' is a {kind}; only tensors can be. Trace the model with tensors."
            )
        inputs.append(FileInput(argument.name, torch.float32, None))
    return tuple(inputs)
