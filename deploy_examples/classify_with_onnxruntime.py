"""Classify images with a run's model.onnx: ONNX Runtime and NumPy only.

python deploy_examples/classify_with_onnxruntime.py demo-run/run demo-run/input/digits_val.npz
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def main(run: Path, images: Path) -> float:
    """Prints and returns the accuracy in percent on an npz of 8-bit images (N, C, H, W) and labels."""
    preprocessing = json.loads((run / "plan.json").read_text())["preprocessing"]
    mean = np.array(preprocessing["mean"], dtype=np.float32).reshape(-1, 1, 1)
    std = np.array(preprocessing["std"], dtype=np.float32).reshape(-1, 1, 1)
    session = onnxruntime.InferenceSession(run / "model.onnx", providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    with np.load(images, allow_pickle=False) as data:
        pixels, labels = data["images"], data["labels"]
    correct = 0
    for start in range(0, len(pixels), 64):
        inputs = (pixels[start : start + 64].astype(np.float32) / 255 - mean) / std
        (scores,) = session.run(None, {name: inputs})  # (n, classes)
        correct += int((scores.argmax(axis=1) == labels[start : start + 64]).sum())
    accuracy = 100 * correct / len(pixels)
    print(f"{accuracy:.2f} % of {len(pixels)} images")
    return accuracy


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
