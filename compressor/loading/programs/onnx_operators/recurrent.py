"""Recurrent layers: ONNX keeps the gates in another order, and the directions in an axis of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from compressor.core.errors import UnsupportedModel
from compressor.loading.programs import layers, sizes
from compressor.loading.programs.onnx_node import OnnxNode
from compressor.loading.programs.onnx_operators._helpers import Handler
from compressor.loading.programs.values import Value

# Position in the file of the gates in torch's order: input, forget, cell, output; reset, update, new.
_GATES: dict[type[nn.RNNBase], list[int]] = {nn.LSTM: [0, 2, 3, 1], nn.GRU: [1, 0, 2], nn.RNN: [0]}
_USUAL: dict[type[nn.RNNBase], list[str]] = {nn.LSTM: ["Sigmoid", "Tanh", "Tanh"], nn.GRU: ["Sigmoid", "Tanh"]}


def _recurrent(kind: type[nn.RNNBase]) -> Handler:
    def handler(node: OnnxNode) -> list[Value | None]:
        options = _options(node, kind)
        x, direction = node.value(0), node.attribute("direction", "forward")
        batch_first = bool(node.attribute("layout", 0))
        time_axis = 1 if batch_first else 0
        weights = _weights(node, kind)
        states = [node.value(index) for index in ((5, 6) if kind is nn.LSTM else (5,)) if node.has(index)]
        if batch_first:
            states = [node.build.call(torch.transpose, state, 0, 1) for state in states]
        if direction == "reverse":
            x = node.build.call(torch.flip, x, [time_axis])
        results = layers.recurrent(
            node.build,
            kind,
            x,
            states,
            weights,
            n_layers=1,
            with_bias=node.has(3),
            bidirectional=direction == "bidirectional",
            batch_first=batch_first,
            **options,
        )
        outputs: Value = results[0]
        if direction == "reverse":
            outputs = node.build.call(torch.flip, outputs, [time_axis])
        n_directions = 2 if direction == "bidirectional" else 1
        first, second, width = node.build.shape(outputs)
        split = sizes.reshape(node.build, outputs, [first, second, n_directions, width // n_directions])
        # (T, N, directions, hidden) -> (T, directions, N, hidden); with the batch first it stays.
        laid_out = split if batch_first else node.build.call(torch.transpose, split, 1, 2)
        last = [node.build.call(torch.transpose, state, 0, 1) if batch_first else state for state in results[1:]]
        return [laid_out, *last]

    return handler


def _options(node: OnnxNode, kind: type[nn.RNNBase]) -> dict[str, Any]:
    """
    Raises:
        UnsupportedModel: torch's layer has no such option.
    """
    n_directions = 2 if node.attribute("direction") == "bidirectional" else 1
    given = node.attribute("activations")
    options: dict[str, Any] = {}
    if kind is nn.RNN:
        names = set(given or ["Tanh"])
        if len(names) > 1 or not names <= {"Tanh", "Relu"}:
            raise UnsupportedModel(f"its activations are {', '.join(given)}; torch has Tanh and Relu")
        options["nonlinearity"] = names.pop().lower()
    elif given and given != _USUAL[kind] * n_directions:
        raise UnsupportedModel(f"its activations are {', '.join(given)}; torch has {', '.join(_USUAL[kind])}")
    if kind is nn.GRU and not node.attribute("linear_before_reset", 0):
        raise UnsupportedModel("it resets before the product (linear_before_reset=0), which torch's GRU does not")
    if node.attribute("clip") or node.attribute("input_forget", 0) or node.has(7):
        raise UnsupportedModel("it clips its cells, couples gates or has peepholes, which torch's layers do not")
    if node.has(4):
        lengths = node.numbers(4).array
        n_steps = node.value(0).tensor.shape[1 if node.attribute("layout", 0) else 0]
        if any(length != n_steps for length in lengths.reshape(-1)):
            raise UnsupportedModel("its sequences have different lengths")
    return options


def _weights(node: OnnxNode, kind: type[nn.RNNBase]) -> list[Value]:
    """(directions, gates * hidden, ...) tensors in torch's order: per direction W, R, and their two biases."""
    tensors = [node.value(index) for index in ((1, 2, 3) if node.has(3) else (1, 2))]
    if not layers.is_constant(*tensors):
        raise UnsupportedModel("its weights are calculated by the program, which is not covered")
    gates, found = _GATES[kind], []
    scope = node.build.scope
    for direction in range(int(tensors[0].tensor.shape[0])):
        suffix = "_reverse" if direction else ""
        parts = [_reordered(value.tensor[direction], gates) for value in tensors[:2]]
        names = ["weight_ih", "weight_hh"]
        if len(tensors) == 3:
            both = tensors[2].tensor[direction]
            half = both.shape[0] // 2
            parts += [_reordered(both[:half], gates), _reordered(both[half:], gates)]
            names += ["bias_ih", "bias_hh"]
        found += [
            node.build.constant(part, f"{scope}.{name}_l0{suffix}" if scope else "")
            for part, name in zip(parts, names, strict=True)
        ]
    return found


def _reordered(tensor: torch.Tensor, gates: list[int]) -> torch.Tensor:
    pieces = tensor.chunk(len(gates))
    return torch.cat([pieces[gate] for gate in gates]).contiguous()


HANDLERS: dict[str, Handler] = {"LSTM": _recurrent(nn.LSTM), "GRU": _recurrent(nn.GRU), "RNN": _recurrent(nn.RNN)}
