"""ATen operators, as torch.export programs and TorchScript graphs hold them."""
