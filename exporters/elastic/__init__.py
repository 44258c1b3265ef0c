"""An ONNX file whose sizes follow named quantities, found by comparing the same model's files at several sizes."""
