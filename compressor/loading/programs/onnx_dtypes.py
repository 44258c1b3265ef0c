"""ONNX's kinds of numbers in torch's words."""

from __future__ import annotations

import torch
from onnx import TensorProto

from compressor.core.errors import UnsupportedModel

_DTYPES = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.BOOL: torch.bool,
}


def torch_dtype(number: int) -> torch.dtype:
    """The torch dtype of an ONNX element type.

    Raises:
        UnsupportedModel: strings, 4-bit numbers and the like.
    """
    dtype = _DTYPES.get(number)
    if dtype is None:
        names = TensorProto.DataType
        kind = names.Name(number) if number in names.values() else number
        raise UnsupportedModel(f"it works with numbers of the kind {kind}, which PyTorch models do not have")
    return dtype
