"""Model files without a Python class: torch.export programs, TorchScript archives and ONNX files become modules."""
