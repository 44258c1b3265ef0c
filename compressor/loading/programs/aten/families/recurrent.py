"""Recurrent layers."""

from __future__ import annotations

from typing import Any

from torch import nn

from compressor.core.errors import UnsupportedModel
from compressor.loading.programs import layers
from compressor.loading.programs.aten.registry import Arguments, Handler
from compressor.loading.programs.builder import Builder


def _recurrent(kind: type[nn.RNNBase], **options: Any) -> Handler:
    def handler(build: Builder, a: Arguments) -> Any:
        if "input" not in a or "params" not in a:
            raise UnsupportedModel("it reads packed sequences of different lengths; trace the model with padded ones")
        hx = a["hx"]
        return layers.recurrent(
            build,
            kind,
            a["input"],
            list(hx) if isinstance(hx, (list, tuple)) else [hx],
            a["params"],
            n_layers=a["num_layers"],
            with_bias=a["has_biases"],
            bidirectional=a["bidirectional"],
            batch_first=a["batch_first"],
            **options,
        )

    return handler


HANDLERS: dict[str, Handler] = {
    "aten::lstm": _recurrent(nn.LSTM),
    "aten::gru": _recurrent(nn.GRU),
    "aten::rnn_tanh": _recurrent(nn.RNN),
    "aten::rnn_relu": _recurrent(nn.RNN, nonlinearity="relu"),
}
