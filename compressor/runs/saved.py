"""A saved model: weights without pickle, a plan that replays on the user's class, a program that needs no class."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_model
from torch import Tensor, nn

from compressor.core import serial
from compressor.core.errors import ModelFileError, WeightsMismatch
from compressor.core.files import FILE_MODE, output_errors
from compressor.core.plan import PLAN_FORMAT, PruningPlan
from compressor.rewrites.apply import apply
from compressor.surgery.cut import cut
from exporters.safe_program import open_program


def save_weights(module: nn.Module, path: Path) -> None:
    """Weights and buffers as safetensors; tensors that a model shares are stored once.

    Raises:
        OutputError: the file cannot be written, or the disk is full.
    """
    with output_errors(path):
        try:
            save_model(module, str(path), metadata={"format": "pt"})
        except SafetensorError as error:  # the library puts the system's error number into its text
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]) if number else errno.EIO, str(error), str(path)) from error
        path.chmod(FILE_MODE)  # the library keeps its files to their owner


def load_weights(module: nn.Module, path: Path) -> None:
    """Fills `module`, which already has the saved shapes.

    Tensors are copied one by one: `load_state_dict` asks classes that convert old files (MNASNet's) for the version of
    the class that wrote this one, and safetensors keep none.

    Raises:
        ModelFileError: the file is damaged.
        WeightsMismatch: it is of another model.
    """
    try:
        saved = load_file(str(path))
    except SafetensorError as error:
        raise ModelFileError(f"{path}: cannot be read ({error}). Make the run again.") from error
    state = module.state_dict()
    if problem := _mismatch(state, saved):
        raise WeightsMismatch(f"{path}: does not fit this model: {problem}.")
    with torch.no_grad():
        for name, tensor in saved.items():
            state[name].copy_(tensor)


def _mismatch(state: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> str:
    """How names, shapes and kinds of numbers differ; empty where they fit. Shared tensors are saved under one name."""
    filled = {state[name].untyped_storage().data_ptr() for name in saved if name in state}
    missing = [name for name, t in state.items() if name not in saved and t.untyped_storage().data_ptr() not in filled]
    unexpected = [name for name in saved if name not in state]
    if missing or unexpected:
        words = [("it lacks", missing), ("it holds", unexpected)]
        return " and ".join(f"{verb} {', '.join(names[:3])}" for verb, names in words if names)
    for name, tensor in saved.items():
        ours = state[name]
        if tensor.shape != ours.shape or tensor.dtype != ours.dtype:
            return f"{name} is {_sort(tensor)} in the file and {_sort(ours)} in the model"
    return ""


def _sort(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def replay(run: Path, model: nn.Module) -> nn.Module:
    """Cuts `model`, a fresh instance of the class that was compressed, and fills it with the saved weights.

    Raises:
        ModelFileError: the folder is not a run, or a file of it is damaged.
        WeightsMismatch: `model` is not of that class.
    """
    plan = read_plan(run)
    apply(model, plan.rewrites)
    cut(model, plan.cuts, plan.attributes)
    load_weights(model, _file(run, "model.safetensors"))
    return model.eval()


def read_plan(run: Path) -> PruningPlan:
    """The run's plan, checked."""
    plan = serial.load_json(PruningPlan, _file(run, "plan.json"))
    if plan.format > PLAN_FORMAT:
        raise ModelFileError(f"{run}: was written by a newer version (plan format {plan.format}). Update compressor.")
    return plan


def load_program(run: Path) -> Any:
    """The run's `model.pt2` as a callable module; runs without the class, and unpickles nothing of the user's.

    Raises:
        ModelFileError: the run has no program.
        UnreadableProgram: it is damaged, or holds parts that could run code.
    """
    return open_program(_file(run, "model.pt2")).module()


def _file(run: Path, name: str) -> Path:
    path = run / name
    if not path.is_file():
        raise ModelFileError(f"{run}: is not a finished run (it has no {name}). Pass the folder given to -o.")
    return path
