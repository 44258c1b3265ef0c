"""Writes a model's ONNX file at any size, from its file at full size and the places where other files differ.

The files of one model at different sizes have the same nodes; what differs are axes of weights, entries of integer
constants (reshapes, ends of slices) and integer attributes (groups of a depthwise convolution). Each is explained by
named quantities (see `sizes`), and then follows them. Weights keep their first positions: what a file of another size
computes is of no interest, only how long it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.elastic.probes import MOST_ENTRIES, fingerprint
from exporters.elastic.sizes import Explanations, Size, Vector

if TYPE_CHECKING:
    import onnx

LARGEST_BYTES = 2_000_000_000  # of a file whose weights lie inside
Setter = Callable[[Any, Mapping[str, int]], None]  # (model to change, quantities)


class NotElastic(Exception):
    """The files cannot be explained by the quantities; the sentence says where."""


@dataclass(frozen=True)
class Sized:
    """A file, and the value of every quantity in it."""

    path: Path
    quantities: Mapping[str, int]


class ElasticFile:
    """One model's ONNX file at any size."""

    def __init__(self, whole: Sized, others: Sequence[Sized]) -> None:
        """
        Args:
            whole: the largest file.
            others: two or more of the same model, each with other sizes.

        Raises:
            NotElastic: the files have different nodes, or a size that no quantity explains.
        """
        import onnx

        if _bytes_of(whole.path) > LARGEST_BYTES:
            raise NotElastic(f"{whole.path.name} is too large to be written at many sizes.")
        files = [whole, *others]
        models = [onnx.load(str(file.path)) for file in files]
        names = set(whole.quantities).intersection(*(file.quantities for file in others))
        self._explanations = Explanations({n: tuple(file.quantities[n] for file in files) for n in sorted(names)})
        self.fingerprint = fingerprint(whole.path)
        self._model = models[0]
        self._arrays = {t.name: onnx.numpy_helper.to_array(t) for t in self._model.graph.initializer}
        self._seen: set[str] = set()
        self._shapes: dict[str, tuple[Size, ...]] = {}
        self._values: dict[str, tuple[Size, ...]] = {}
        self._attributes: list[tuple[int, int, tuple[Size, ...]]] = []  # node, attribute, sizes
        self._constants: list[tuple[int, int, tuple[Size, ...], tuple[Size, ...]]] = []  # ..., shape, values
        self._compare_nodes([model.graph for model in models])
        self._compare_weights([model.graph for model in models])
        self._free_interface()

    def write(self, path: Path, quantities: Mapping[str, int]) -> Path:
        """The file in which every quantity has the given value.

        Raises:
            ValueError: a quantity is larger than in the whole file.
        """
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self._skeleton)
        for name, array in self._arrays.items():
            model.graph.initializer.append(self._resized(name, array, quantities))
        for node, attribute, sizes in self._attributes:
            place = model.graph.node[node].attribute[attribute]
            numbers = [size.at(quantities) for size in sizes]
            if place.type == onnx.AttributeProto.INT:
                place.i = numbers[0]
            else:
                place.ints[:] = numbers
        for node, attribute, shape, values in self._constants:
            place = model.graph.node[node].attribute[attribute]
            array = _cropped(onnx.numpy_helper.to_array(place.t), shape, values, quantities)
            place.t.CopyFrom(onnx.numpy_helper.from_array(array, place.t.name))
        path.write_bytes(model.SerializeToString())
        return path

    def _resized(self, name: str, array: np.ndarray, quantities: Mapping[str, int]) -> onnx.TensorProto:
        import onnx

        if name in self._shapes or name in self._values:
            array = _cropped(array, self._shapes.get(name, ()), self._values.get(name, ()), quantities)
        return onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)

    def _free_interface(self) -> None:
        """Keeps what is written again each time: the nodes, and of inputs and outputs what does not change."""
        import onnx

        skeleton = onnx.ModelProto()
        skeleton.CopyFrom(self._model)
        del skeleton.graph.initializer[:]
        del skeleton.graph.value_info[:]
        for output in skeleton.graph.output:
            output.type.tensor_type.ClearField("shape")
        self._skeleton = skeleton
        del self._model

    def _compare_weights(self, graphs: Sequence[onnx.GraphProto]) -> None:
        """Weights are found by where they are read: exporters merge constants that are equal at one size."""
        stored = [{tensor.name: tensor for tensor in graph.initializer} for graph in graphs]
        known: dict[tuple[str, Any], str] = {}  # (name in the whole file, sizes) -> name in the files to be written
        for number, nodes in enumerate(zip(*(graph.node for graph in graphs), strict=True)):
            if len({len(node.input) for node in nodes}) > 1:
                raise NotElastic(f"{nodes[0].name} has more inputs at another size.")
            for place, name in enumerate(nodes[0].input):
                tensors = [names.get(node.input[place]) for names, node in zip(stored, nodes, strict=True)]
                if all(tensor is None for tensor in tensors):
                    continue
                found = [tensor for tensor in tensors if tensor is not None]
                if len(found) < len(tensors):
                    raise NotElastic(f"{name} is a weight at one size only.")
                sizes = self._of_tensors(found, name)
                other = f"{name}.{number}.{place}"  # one node may read it at two sizes
                alias = known.setdefault((name, sizes), other if name in self._seen else name)
                self._seen.add(name)
                if alias != name:
                    self._model.graph.node[number].input[place] = alias
                    self._arrays[alias] = self._arrays[name]
                shape, values = sizes
                if any(not size.is_constant for size in shape):
                    self._shapes[alias] = shape
                if any(not size.is_constant for size in values):
                    self._values[alias] = values

    def _of_tensors(self, tensors: Sequence[onnx.TensorProto], name: str) -> tuple[tuple[Size, ...], tuple[Size, ...]]:
        """Sizes of the axes, and of the entries where these are integers of one count in all files."""
        import onnx

        if len({len(tensor.dims) for tensor in tensors}) > 1:
            raise NotElastic(f"{name} has another number of axes at another size.")
        shape = tuple(
            self._explain(sizes, f"axis {axis} of {name}", f"{name}[{axis}]")
            for axis, sizes in enumerate(zip(*(tensor.dims for tensor in tensors), strict=True))
        )
        whole_numbers = tensors[0].data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
        many = int(np.prod(tensors[0].dims)) > MOST_ENTRIES
        if not whole_numbers or many or any(not size.is_constant for size in shape):
            return shape, ()
        entries = [onnx.numpy_helper.to_array(tensor).ravel().tolist() for tensor in tensors]
        if all(entry == entries[0] for entry in entries):
            return shape, ()
        return shape, tuple(self._explain(each, f"an entry of {name}") for each in zip(*entries, strict=True))

    def _compare_nodes(self, graphs: Sequence[onnx.GraphProto]) -> None:
        import onnx

        if len({tuple(node.op_type for node in graph.node) for graph in graphs}) > 1:
            raise NotElastic("the files have different nodes at different sizes.")
        for number, nodes in enumerate(zip(*(graph.node for graph in graphs), strict=True)):
            first = nodes[0]
            if len({frozenset(attribute.name for attribute in node.attribute) for node in nodes}) > 1:
                raise NotElastic(f"{first.name} has other attributes at another size.")
            for place, attribute in enumerate(first.attribute):
                found = [next(a for a in node.attribute if a.name == attribute.name) for node in nodes]
                where = f"{attribute.name} of {first.name}"
                if attribute.type in (onnx.AttributeProto.INT, onnx.AttributeProto.INTS):
                    self._compare_integers(number, place, found, where)
                elif attribute.type == onnx.AttributeProto.TENSOR:
                    shape, values = self._of_tensors([each.t for each in found], where)
                    if any(not size.is_constant for size in (*shape, *values)):
                        self._constants.append((number, place, shape, values))
                elif _is_body(attribute) and any(other != attribute for other in found):
                    raise NotElastic(f"{first.name} has a body that changes with the sizes.")

    def _compare_integers(self, node: int, place: int, found: Sequence[onnx.AttributeProto], where: str) -> None:
        import onnx

        if found[0].type == onnx.AttributeProto.INT:
            numbers = [(attribute.i,) for attribute in found]
        else:
            numbers = [tuple(attribute.ints) for attribute in found]
        if len({len(each) for each in numbers}) > 1:
            raise NotElastic(f"{where} is longer at another size.")
        if len(set(numbers)) > 1:
            sizes = tuple(self._explain(each, where) for each in zip(*numbers, strict=True))
            self._attributes.append((node, place, sizes))

    def _explain(self, vector: Sequence[int], where: str, likely: str = "") -> Size:
        numbers: Vector = tuple(int(number) for number in vector)
        size = self._explanations.of(numbers, likely)
        if size is None:
            told = ", ".join(str(number) for number in numbers)
            raise NotElastic(f"{where} is {told} at different sizes, which no layer's channels explain.")
        return size


def _is_body(attribute: onnx.AttributeProto) -> bool:
    import onnx

    return attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


def _cropped(
    array: np.ndarray, shape: Sequence[Size], values: Sequence[Size], quantities: Mapping[str, int]
) -> np.ndarray:
    if values:
        numbers = [size.at(quantities) for size in values]
        return np.array(numbers, dtype=array.dtype).reshape(array.shape)
    lengths = [size.at(quantities) for size in shape]
    if any(length > there for length, there in zip(lengths, array.shape, strict=True)):
        raise ValueError(f"quantities must be at most those of the whole file, but a weight would be {lengths}")
    return array[tuple(slice(0, length) for length in lengths)]


def _bytes_of(path: Path) -> int:
    """With the weights that lie beside it."""
    beside = path.with_name(f"{path.name}.data")
    return path.stat().st_size + (beside.stat().st_size if beside.is_file() else 0)
