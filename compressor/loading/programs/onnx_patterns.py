"""Norms that a file spells out in small operators become one operator again, so that they become one layer.

Before opset 17 there was no LayerNormalization, and before opset 21 no usable GroupNormalization: exporters write
means, differences and roots instead. Channels cannot be taken from those without changing what is averaged; from a norm
they can.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

_MEAN_AXES = "compressor_axes"  # of a LayerNormalization made here: the axes in the file's own words


def with_norms(graph: onnx.GraphProto) -> list[NodeProto]:
    """The operators of `graph` in order, with norms put together."""
    view = _View(graph)
    replaced: dict[int, NodeProto] = {}  # id of the last operator of a norm -> the norm
    dropped: set[int] = set()
    for node in graph.node:
        found = _layer_norm(view, node) if node.op_type == "Sqrt" else None
        if node.op_type == "InstanceNormalization":
            found = _group_norm(view, node)
        if found is not None and not dropped & {id(part) for part in found[1]}:
            norm, parts = found
            replaced[id(parts[-1])] = norm
            dropped.update(id(part) for part in parts)
    nodes = []
    for node in graph.node:
        if id(node) in replaced:
            nodes.append(replaced[id(node)])
        elif id(node) not in dropped:
            nodes.append(node)
    return nodes


class _View:
    """Who makes and who reads what."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.maker = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.readers[name].append(node)
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs = {output.name for output in graph.output}

    def made_by(self, name: str, operator: str) -> NodeProto | None:
        """The maker of `name`, if it is such an operator."""
        node = self.maker.get(name)
        return node if node is not None and node.op_type == operator else None

    def constant(self, name: str) -> NDArray[np.generic] | None:
        """The constant called `name`, also behind Identity."""
        if name in self.weights:
            return numpy_helper.to_array(self.weights[name])
        node = self.maker.get(name)
        if node is None:
            return None
        if node.op_type == "Identity":
            return self.constant(node.input[0])
        values = [item.t for item in node.attribute if item.name == "value"]
        return numpy_helper.to_array(values[0]) if node.op_type == "Constant" and values else None

    def only_reader(self, name: str, operator: str) -> NodeProto | None:
        """The reader of `name`, if it is the only one and such an operator."""
        readers = self.readers[name]
        alone = len(readers) == 1 and name not in self.outputs and readers[0].op_type == operator
        return readers[0] if alone else None

    def with_constant(self, node: NodeProto) -> Iterator[tuple[str, str]]:
        """(input, constant) for the two inputs of an addition or product, whichever is the constant."""
        for one, other in ((0, 1), (1, 0)):
            if len(node.input) == 2 and self.constant(node.input[other]) is not None:
                yield node.input[one], node.input[other]

    def scaled(self, name: str) -> tuple[str, str, list[NodeProto]]:
        """The weight that `name` is multiplied with and the bias added then ("" where there is none), and by what."""
        parts: list[NodeProto] = []
        found = ["", ""]
        for position, operator in enumerate(("Mul", "Add")):
            reader = self.only_reader(name, operator)
            pairs = [constant for value, constant in self.with_constant(reader) if value == name] if reader else []
            if reader is None or not pairs:
                break
            found[position] = pairs[0]
            parts.append(reader)
            name = reader.output[0]
        return found[0], found[1], parts


def _axes(view: _View, node: NodeProto) -> tuple[int, ...] | None:
    """Of a mean that keeps its axes."""
    facts = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    if not facts.get("keepdims", 1):
        return None
    if "axes" in facts:
        return tuple(facts["axes"])
    given = view.constant(node.input[1]) if len(node.input) > 1 else None
    return None if given is None else tuple(int(axis) for axis in given.reshape(-1))


def _layer_norm(view: _View, root: NodeProto) -> tuple[NodeProto, list[NodeProto]] | None:
    """(x - mean) / sqrt(mean((x - mean)^2) + eps), then weight and bias: from its square root."""
    shifted = view.made_by(root.input[0], "Add")
    pair = next(view.with_constant(shifted), None) if shifted is not None else None
    variance = view.made_by(pair[0], "ReduceMean") if pair else None
    eps = view.constant(pair[1]) if pair else None
    if shifted is None or variance is None or eps is None or eps.size != 1:
        return None
    square = view.maker.get(variance.input[0])
    if square is None or not _is_square(view, square):
        return None
    centred = view.made_by(square.input[0], "Sub")
    mean = view.made_by(centred.input[1], "ReduceMean") if centred is not None else None
    quotient = view.only_reader(root.output[0], "Div")
    if centred is None or mean is None or quotient is None or mean.input[0] != centred.input[0]:
        return None
    again = view.made_by(quotient.input[0], "Sub")  # some exporters subtract twice
    if again is None or list(again.input) != list(centred.input):
        return None
    axes = _axes(view, mean)
    if axes is None or axes != _axes(view, variance):
        return None
    weight, bias, scaling = view.scaled(quotient.output[0])
    parts = [mean, centred, square, variance, shifted, root, quotient, *scaling]
    parts += [again] if again is not centred else []
    parts.sort(key=lambda part: part is (scaling or [quotient])[-1])  # the last one makes the result
    if not _closed(view, parts):
        return None
    norm = onnx.helper.make_node(
        "LayerNormalization",
        [centred.input[0], weight, bias],
        [parts[-1].output[0]],
        name=root.name,
        epsilon=float(eps.reshape(-1)[0]),
        **{_MEAN_AXES: list(axes)},
    )
    norm.metadata_props.extend(root.metadata_props)
    return norm, parts


def _is_square(view: _View, node: NodeProto) -> bool:
    if node.op_type == "Mul":
        return node.input[0] == node.input[1]
    power = view.constant(node.input[1]) if node.op_type == "Pow" else None
    return power is not None and power.size == 1 and float(power.reshape(-1)[0]) == 2


def _group_norm(view: _View, inner: NodeProto) -> tuple[NodeProto, list[NodeProto]] | None:
    """Groups as the channels of an instance norm without weights, between two reshapes; then weight and bias."""
    before = view.made_by(inner.input[0], "Reshape")
    after = view.only_reader(inner.output[0], "Reshape")
    scale, shift = view.constant(inner.input[1]), view.constant(inner.input[2])
    if before is None or after is None or scale is None or shift is None:
        return None
    if not (scale == 1).all() or not (shift == 0).all():
        return None
    shape = view.made_by(after.input[1], "Shape")
    weight, bias, scaling = view.scaled(after.output[0])
    returns = shape is not None and shape.input[0] == before.input[0]
    if not returns and not bias:  # it may go on in another shape
        return None
    n_groups = int(scale.size)
    if any(not _per_channel(view.constant(name), n_groups) for name in (weight, bias) if name):
        neutral = _all_equal(view.constant(weight), 1) and _all_equal(view.constant(bias), 0)
        weight = bias = ""
        scaling = scaling if neutral else []  # the products stay where they are
    parts = [before, inner, after, *scaling]
    if not _closed(view, parts):
        return None
    eps = next((item.f for item in inner.attribute if item.name == "epsilon"), 1e-5)
    norm = onnx.helper.make_node(
        "GroupNormalization",
        [before.input[0], weight, bias],
        [parts[-1].output[0]],
        name=inner.name,
        epsilon=eps,
        num_groups=n_groups,
    )
    norm.metadata_props.extend(inner.metadata_props)
    return norm, parts


def _per_channel(array: NDArray[np.generic] | None, n_groups: int) -> bool:
    """(C, 1, 1), with as many channels in every group."""
    return array is not None and array.ndim > 0 and array.shape[0] == array.size and array.size % n_groups == 0


def _all_equal(array: NDArray[np.generic] | None, number: float) -> bool:
    return array is not None and bool((array == number).all())


def _closed(view: _View, parts: list[NodeProto]) -> bool:
    """Whether nobody outside reads anything but the last part's result."""
    inside = {id(part) for part in parts}
    inner = [name for part in parts[:-1] for name in part.output]
    return all(
        name not in view.outputs and all(id(reader) in inside for reader in view.readers[name]) for name in inner
    )
