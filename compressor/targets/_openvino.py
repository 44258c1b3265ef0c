"""What the OpenVINO targets share: compiling for one device, and the file's inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.core.errors import UnsupportedModel
from compressor.core.node_times import NodeTime
from compressor.targets._inputs import InputSpec, cannot_load, make_arrays, resolve_shapes
from compressor.targets._openvino_profile import mark_modules, read_profile
from exporters import runtimes

if TYPE_CHECKING:
    import openvino


# The smallest network there is: the ReLU of one float.
_SMALLEST = b"""<net name="smallest" version="11">
<layers>
<layer id="0" name="x" type="Parameter" version="opset1">
  <data shape="1" element_type="f32"/>
  <output><port id="0" precision="FP32"><dim>1</dim></port></output>
</layer>
<layer id="1" name="y" type="ReLU" version="opset1">
  <input><port id="0"><dim>1</dim></port></input>
  <output><port id="1" precision="FP32"><dim>1</dim></port></output>
</layer>
<layer id="2" name="y/result" type="Result" version="opset1">
  <input><port id="0"><dim>1</dim></port></input>
</layer>
</layers>
<edges>
<edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>
<edge from-layer="1" from-port="1" to-layer="2" to-port="0"/>
</edges>
</net>"""


def run_smallest(device: str) -> None:
    """Compiles the smallest network for `device` and runs it, which loads everything that a first file would load."""
    import numpy as np

    np.random.default_rng(0)  # inputs are made with it
    core = runtimes.openvino_core()
    core.compile_model(core.read_model(_SMALLEST, b""), device).create_infer_request().infer([np.zeros(1, np.float32)])


def make_runner(
    path: Path,
    device: str,
    properties: dict[str, Any],
    batch_size: int,
    shapes: Mapping[str, Sequence[int]],
    owner: str,
) -> Callable[[], None]:
    """Reads, gives every input its static shape, compiles for `device` alone and checks that it runs there.

    Raises:
        ModelFileError: OpenVINO refuses the file.
        UnsupportedModel: it was compiled for another device, or an input is not a tensor of numbers.
        InvalidOption: the inputs' shapes cannot be settled for `batch_size`.
    """
    _, request = _compiled(path, device, properties, batch_size, shapes, owner)

    def run() -> None:
        # Computes in this thread, as a C++ program's infer() does; start_async() would add a wake-up of another one,
        # 6 % of a millisecond's model. The outputs stay in the request instead of being copied.
        request.infer(share_outputs=True)

    return run


def profiled(
    path: Path,
    device: str,
    properties: dict[str, Any],
    batch_size: int,
    shapes: Mapping[str, Sequence[int]],
    owner: str,
    inferences: int,
) -> tuple[tuple[float, ...], tuple[NodeTime, ...]]:
    """Seconds of each inference and its nodes, compiled as by `make_runner`.

    Raises:
        As `make_runner`.
    """
    counting = {**properties, "PERF_COUNT": True}
    return read_profile(lambda: _compiled(path, device, counting, batch_size, shapes, owner, mark_modules), inferences)


def _compiled(
    path: Path,
    device: str,
    properties: dict[str, Any],
    batch_size: int,
    shapes: Mapping[str, Sequence[int]],
    owner: str,
    mark: Callable[[openvino.Model], None] | None = None,
) -> tuple[openvino.CompiledModel, openvino.InferRequest]:
    """The compiled model, and a request whose inputs are set; `mark` may change names before that."""
    core = runtimes.openvino_core()
    try:
        model = core.read_model(str(path))
    except RuntimeError as error:
        raise cannot_load(path, "OpenVINO", error) from error
    specs = _input_specs(model, owner)
    sizes = resolve_shapes(specs, batch_size, shapes, owner)
    if mark is not None:
        mark(model)
    model.reshape({i: list(sizes[spec.name]) for i, spec in enumerate(specs)})
    try:
        compiled = core.compile_model(model, device, properties)
    except RuntimeError as error:
        raise cannot_load(path, "OpenVINO", error) from error
    running_on = compiled.get_property("EXECUTION_DEVICES")
    if [name.partition(".")[0] for name in running_on] != [device]:
        raise UnsupportedModel(
            f"{owner}: OpenVINO runs {path} on {', '.join(running_on)} instead of {device}, "
            f"whose time would be no answer. Check the {device} driver."
        )
    arrays = make_arrays(specs, sizes)
    request = compiled.create_infer_request()
    for i, spec in enumerate(specs):
        request.set_input_tensor(i, runtimes.openvino().Tensor(arrays[spec.name]))
    return compiled, request


def _input_specs(model: openvino.Model, owner: str) -> list[InputSpec]:
    specs = []
    for i, port in enumerate(model.inputs):
        name = port.any_name if port.names else f"input_{i}"
        try:
            dtype = port.element_type.to_dtype()
        except RuntimeError as error:
            raise UnsupportedModel(
                f"{owner}: input '{name}' is of type {port.element_type}, which cannot be made up. "
                "Give it a number type."
            ) from error
        shape = tuple(size.get_length() if size.is_static else None for size in port.partial_shape)
        specs.append(InputSpec(name, shape, dtype))
    return specs
