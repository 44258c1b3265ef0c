"""ONNX: the format that most runtimes read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from exporters.errors import InvalidExportOption, UnsupportedOperator
from exporters.format import LoadedFile, Written

if TYPE_CHECKING:
    from exporters.source import Source
    from exporters.types import ExportedFile


@dataclass(frozen=True)
class OnnxFormat:
    """Written by torch's dynamo exporter, or by its tracing exporter where that fails; then simplified by onnxsim.

    Args:
        opset: version of the default operator set, 11 or later; None: the installed torch's own default.
        simplify: fold constants and fuse what can be fused, in a child process.
    """

    opset: int | None = None
    simplify: bool = True

    name: ClassVar[str] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    summary: ClassVar[str] = "ONNX model, run by ONNX Runtime and most other runtimes"
    made_from: ClassVar[str | None] = None
    requires: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxscript", "onnxruntime")

    def __post_init__(self) -> None:
        if self.opset is not None and self.opset < 11:
            raise InvalidExportOption(f"onnx: `opset` must be 11 or later, but got {self.opset}. Leave it out.")

    def write(self, source: Source, path: Path, parent: ExportedFile | None) -> Written:
        """Writes `path` (and `path.data` where the weights pass 2 GB); see `Format.write`."""
        from exporters.module_names import name_new_nodes, scopes_by_value
        from exporters.onnx_writers.pooling import mend_poolings
        from exporters.simplify.onnxsim import simplify_file

        written = self._export(source, path)
        opset = _opset_of(path)
        if self.opset is not None and opset != self.opset:
            raise InvalidExportOption(
                f"onnx: `opset` must be one that the installed torch can write for this model, but got {self.opset}: "
                f"the file came out with {opset}. Use opset {opset}, or leave it out."
            )
        mend_poolings(path)
        simplifier = "off"
        if self.simplify:
            scopes = scopes_by_value(path)
            simplifier = simplify_file(path)
            name_new_nodes(path, scopes)
        if source.inputs.interface.metadata:
            _write_metadata(path, dict(source.inputs.interface.metadata))
        return Written(written.dynamic_batch, {"opset": str(opset), **written.details, "simplifier": simplifier})

    def load(self, path: Path) -> LoadedFile:
        """Opens the file in ONNX Runtime on the CPU with its default optimisations."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; the last line on stderr is what the user reads
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs = tuple(value.name for value in session.get_inputs())

        def run(arrays: Sequence[Any]) -> list[Any]:
            return list(session.run(None, dict(zip(inputs, arrays, strict=True))))

        return LoadedFile(inputs, tuple(value.name for value in session.get_outputs()), run)

    def _export(self, source: Source, path: Path) -> Written:
        from exporters.failures import unsupported
        from exporters.onnx_writers.dynamo import write_from_program
        from exporters.onnx_writers.torchscript import write_by_tracing

        try:
            program = source.program()
        except UnsupportedOperator as error:
            refusal = error
        else:
            try:
                write_from_program(source, program, path, self.opset)
                details = {"batch": program.batch, "exporter": "torch.onnx dynamo"}
                fixed = {"fixed_axes": program.fixed_axes} if program.fixed_axes else {}
                return Written(program.dynamic_batch, {**details, **fixed})
            except OSError:  # the disk, not the model
                raise
            except Exception as error:
                refusal = unsupported("onnx", error, source.module, program.exported)
        path.unlink(missing_ok=True)
        try:
            dynamic, frozen = write_by_tracing(source, path, self.opset)
        except OSError:
            raise
        except Exception as error:
            # The dynamo exporter's refusal names the operator and the layer; the tracer's often neither.
            raise refusal from error
        details = {
            "batch": "dynamic" if dynamic else f"fixed at {source.inputs.batch_size}",
            "exporter": f"torch.onnx TorchScript, because {refusal.owner} {refusal.reason}",
        }
        return Written(dynamic, {**details, "trace": frozen} if frozen else details)


def _opset_of(path: Path) -> int:
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def _write_metadata(path: Path, metadata: dict[str, str]) -> None:
    """The properties that the source's author gave it. Weights beside the file stay where they are."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    onnx.helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())


PLUGIN = OnnxFormat
