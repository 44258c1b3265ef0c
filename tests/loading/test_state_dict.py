from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor.core.errors import ModelFileError, WeightsMismatch
from compressor.loading.state_dict import find_weights, put_into

HERE = Path("model.pt")


def net(n_classes: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, n_classes))


def put(module: nn.Module, tensors: dict[str, Tensor]) -> list[str]:
    notes: list[str] = []
    put_into(module, tensors, HERE, "net.py:net", notes.append)
    return notes


@pytest.mark.parametrize(
    ("wrap", "where"),
    [
        (lambda s: s, ""),
        (lambda s: {"state_dict": s, "epoch": 3}, "state_dict"),
        (lambda s: {"model": s, "optimizer": {"state": {}, "param_groups": []}}, "model"),
        (lambda s: {"epoch": torch.tensor(1), "model_state_dict": s}, "model_state_dict"),
        (lambda s: {"ema": {"state_dict": s}}, "ema.state_dict"),
        (lambda s: {"net": s, "ema": None}, "net"),
        (lambda s: {**s, "best": 0.5}, ""),
    ],
)
def test_where_the_tensors_are(wrap: Callable[[Any], Any], where: str) -> None:
    found, key = find_weights(wrap(net().state_dict()), HERE)
    assert key == where and isinstance(found, dict)
    assert found.keys() == net().state_dict().keys()


def test_a_module_in_a_checkpoint() -> None:
    module = net()
    assert find_weights({"epoch": 1, "model": module}, HERE) == (module, "model")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{}]}, "optimizer only"),
        ({"optimizer": {"state": {}, "param_groups": []}}, "optimizer only"),
        ({}, "no tensors"),
        ({"epoch": 3}, "holds: epoch"),
        (torch.ones(2, 3), r"one tensor of shape \(2, 3\)"),
        ([1, 2], "a list"),
    ],
)
def test_files_without_a_model(value: Any, said: str) -> None:
    with pytest.raises(ModelFileError, match=said):
        find_weights(value, HERE)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_prefixes_are_taken_off_where_that_makes_them_fit(prefix: str) -> None:
    source, target = net(), net()
    notes = put(target, {prefix + name: tensor for name, tensor in source.state_dict().items()})
    for mine, theirs in zip(target.state_dict().values(), source.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    assert len(notes) == bool(prefix)


def test_a_prefix_that_belongs_to_the_model_stays() -> None:
    source = nn.Sequential()
    source.add_module("model", net())
    target = nn.Sequential()
    target.add_module("model", net())
    assert put(target, source.state_dict()) == []
    assert torch.equal(target.model[0].weight, source.model[0].weight)


def test_counters_may_be_absent_or_left_over() -> None:
    tensors = {name: tensor for name, tensor in net().state_dict().items() if "num_batches" not in name}
    tensors["0.total_ops"] = torch.zeros(1)
    put(net(), tensors)


def test_a_mismatch_names_the_first_names_and_leaves_the_module() -> None:
    tensors = net().state_dict()
    tensors["extra.weight"] = tensors.pop("0.weight")
    tensors["0.bias"] = torch.ones(5)
    target = net()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(WeightsMismatch) as caught:
        put(target, tensors)
    said = str(caught.value)
    assert "1 missing in the file (0.weight)" in said and "1 unknown to the model (extra.weight)" in said
    assert "0.bias is (5,) in the file, (2,) in the model" in said
    assert caught.value.exit_code == 4
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_the_right_architecture_is_guessed() -> None:
    models = pytest.importorskip("torchvision").models
    with pytest.raises(WeightsMismatch, match="look like those of torchvision:resnet34"):
        put(models.resnet18(), models.resnet34().state_dict())


def test_another_number_of_classes_is_hinted() -> None:
    with pytest.raises(WeightsMismatch, match=r"--arch-args num_classes=7"):
        put(net(), net(7).state_dict())


def test_half_precision_is_said() -> None:
    tensors = {name: t.half() if t.is_floating_point() else t for name, t in net().state_dict().items()}
    notes = put(net(), tensors)
    assert len(notes) == 1 and "float16" in notes[0]


def test_sparse_tensors_cannot_be_copied() -> None:
    tensors = net().state_dict()
    tensors["3.weight"] = tensors["3.weight"].to_sparse()
    with pytest.raises(WeightsMismatch, match="cannot be copied"):
        put(net(), tensors)


def test_all_sizes_differ() -> None:
    tensors = {name: torch.ones(9, *tensor.shape[1:]) for name, tensor in net().state_dict().items() if tensor.ndim}
    with pytest.raises(WeightsMismatch, match="their sizes differ"):
        put(net(), tensors)
