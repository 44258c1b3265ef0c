"""What makes training prepare a cut: one file per regulariser or proximal step.

A regulariser is a frozen dataclass of options. Its `attach(model, groups, *, seed, n_images)` returns the hook at work
on one model: call it once the model is on its device and has its starting weights, and restore a checkpoint after it.
"""
