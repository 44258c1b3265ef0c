"""Opens ONNX files: looks before it believes, since a file may name others and declare any size."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import onnx.inliner
from onnx import AttributeProto, TensorProto
from torch import Tensor, fx

from compressor.core.errors import ModelFileError, UnsupportedModel
from compressor.loading.programs.onnx_dtypes import torch_dtype
from compressor.loading.programs.onnx_graph import build_onnx, uncovered
from compressor.loading.programs.onnx_reference import run_onnx
from compressor.loading.programs.program_file import FileInput

_AGAIN = "Copy it or export it again."


class OnnxFile:
    """An opened ONNX file with all of its weights."""

    def __init__(self, path: Path, model: onnx.ModelProto) -> None:
        self.path, self.model = path, model
        opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
        maker = f", made by {model.producer_name}" if model.producer_name else ""
        self.description = f"an ONNX model (opset {opset}{maker})"
        self.inputs = _inputs(model, path)
        self.output_names = tuple(output.name for output in model.graph.output)
        self.metadata = {item.key: item.value for item in model.metadata_props}

    @classmethod
    def open(cls, path: Path) -> OnnxFile:
        """Reads and checks the file.

        Raises:
            ModelFileError: damaged, or its weights lie where they may not or are not there.
            UnsupportedModel: it works with numbers that PyTorch models do not have.
        """
        try:
            model = onnx.load(str(path), load_external_data=False)
        except Exception as error:  # protobuf's errors have no public root
            raise ModelFileError(f"{path}: an ONNX model that is damaged or cut short. {_AGAIN}") from error
        if not model.graph.node:
            raise ModelFileError(f"{path}: an ONNX model without operators, damaged or cut short. {_AGAIN}")
        folder = path.parent.resolve()
        for tensor in _tensors(model):
            if tensor.data_location == TensorProto.EXTERNAL:
                _check_external(tensor, folder, path)
            else:
                _check_data(tensor, path)
        try:
            onnx.load_external_data_for_model(model, str(folder))
            if model.functions:
                model = onnx.inliner.inline_local_functions(model)
        except Exception as error:  # onnx raises its checker's and its inliner's errors
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelFileError(f"{path}: an ONNX model that cannot be put together ({reason}). {_AGAIN}") from error
        missing = uncovered(model)
        if missing:
            raise UnsupportedModel(
                f"{path}: there is no counterpart here for {missing}. Pass the PyTorch module that it was made from, "
                "or export it again with other operators."
            )
        return cls(path, model)

    def build(self, runs: Sequence[Sequence[Tensor]], frozen_batch: int | None = None) -> fx.GraphModule:
        """The graph as a module; see `ProgramFile.build`."""
        return build_onnx(self.model, [spec.name for spec in self.inputs], runs, frozen_batch)

    def outputs(self, cases: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """What ONNX Runtime gives, in a process of its own."""
        return run_onnx(self.path, [spec.name for spec in self.inputs], cases)


def _inputs(model: onnx.ModelProto, path: Path) -> tuple[FileInput, ...]:
    filled = {tensor.name for tensor in model.graph.initializer}  # old files list weights among the inputs
    inputs = []
    for value in model.graph.input:
        if value.name in filled:
            continue
        if not value.type.HasField("tensor_type"):
            raise UnsupportedModel(
                f"{path}: its input '{value.name}' is no tensor but a sequence or map. Export it again."
            )
        kind = value.type.tensor_type
        try:
            dtype = torch_dtype(kind.elem_type)
        except UnsupportedModel as error:
            raise UnsupportedModel(f"{path}: of its input '{value.name}', {error}. Export it in float32.") from error
        shape: tuple[int | str, ...] | None = None
        if kind.HasField("shape"):
            shape = tuple(
                int(dim.dim_value)
                if dim.HasField("dim_value") and dim.dim_value > 0
                else _axis_name(dim, value.name, axis)
                for axis, dim in enumerate(kind.shape.dim)
            )
        inputs.append(FileInput(value.name, dtype, shape))
    return tuple(inputs)


def _axis_name(dim: onnx.TensorShapeProto.Dimension, name: str, axis: int) -> str:
    if dim.dim_param:
        return str(dim.dim_param)
    return "batch" if axis == 0 else f"{name}_axis_{axis}"


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor in the file: weights, and constants in operators, also of inner graphs and functions."""
    yield from _in_graph(model.graph)
    for function in model.functions:
        yield from _in_nodes(function.node)


def _in_graph(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _in_nodes(graph.node)


def _in_nodes(nodes: Sequence[onnx.NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors
            for graph in [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs:
                yield from _in_graph(graph)


def _check_external(tensor: TensorProto, folder: Path, path: Path) -> None:
    """Weights beside the file must lie in its folder, and be there."""
    facts = {entry.key: entry.value for entry in tensor.external_data}
    location = facts.get("location", "")
    if not location or Path(location).is_absolute() or "\\" in location or ":" in location:
        raise _outside(path, tensor, location)
    target = Path(os.path.realpath(folder / location))
    if not target.is_relative_to(folder):
        raise _outside(path, tensor, location)
    if not target.is_file():
        raise ModelFileError(
            f"{path}: its weights are in the file '{location}', which is not beside it. Copy both into one folder."
        )
    try:
        offset, length = int(facts.get("offset", 0)), int(facts.get("length", -1))
    except ValueError as error:
        raise ModelFileError(f"{path}: the place of the weight '{tensor.name}' is no number. {_AGAIN}") from error
    length = target.stat().st_size - offset if length < 0 else length
    if offset < 0 or offset + length > target.stat().st_size:
        raise ModelFileError(f"{path}: '{location}' ends before the weight '{tensor.name}'; it is cut short. {_AGAIN}")
    if length != _n_bytes(tensor, path):
        raise ModelFileError(f"{path}: the weight '{tensor.name}' has not the size that its shape says. {_AGAIN}")


def _outside(path: Path, tensor: TensorProto, location: str) -> ModelFileError:
    return ModelFileError(
        f"{path}: the weight '{tensor.name}' is said to be in '{location}', outside of the model's folder, and was not "
        "read. Export the model again."
    )


def _check_data(tensor: TensorProto, path: Path) -> None:
    """The declared shape must be that of the data, before anybody allocates what it says."""
    if tensor.data_type == TensorProto.STRING:
        return
    wanted = _n_bytes(tensor, path)
    if tensor.HasField("raw_data"):
        fits = len(tensor.raw_data) == wanted
    else:
        n = math.prod(tensor.dims)
        fields = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
        fits = n == 0 or any(len(field) in (n, 2 * n) or 0 < len(field) < n <= 2 * len(field) for field in fields)
    if not fits:
        raise ModelFileError(f"{path}: the weight '{tensor.name}' has not the size that its shape says. {_AGAIN}")


def _n_bytes(tensor: TensorProto, path: Path) -> int:
    if any(size < 0 for size in tensor.dims):
        raise ModelFileError(f"{path}: the weight '{tensor.name}' has a negative size. {_AGAIN}")
    try:
        item = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except KeyError as error:
        raise ModelFileError(f"{path}: the weight '{tensor.name}' holds no known kind of numbers. {_AGAIN}") from error
    if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4):
        return (math.prod(tensor.dims) + 1) // 2
    return math.prod(tensor.dims) * item
