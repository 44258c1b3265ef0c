"""The two ways in which torch writes ONNX."""
