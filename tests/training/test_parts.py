"""How much of a batch fits, and what becomes of one that does not."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from compressor.core.errors import DataError
from compressor.training import loop, parts, settling
from compressor.training.loop import train
from compressor.training.losses.cross_entropy import CrossEntropy
from compressor.training.parts import free_bytes, parts_needed, saved_bytes, told
from compressor.training.update import Objective


def test_what_is_kept_is_counted_once():
    """The convolution keeps its input, batch norm what it is given (and its statistics), ReLU what it returns."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    maps = 2 * 6 * 6 * 4  # bytes of a result
    assert saved_bytes(model, torch.randn(4, 1, 8, 8)) == pytest.approx(8 * 8 * 4 + 2 * maps, rel=0.02)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_it_grows_with_the_images_and_is_nothing_without_gradients():
    model = nn.Sequential(nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 2)).eval()
    assert saved_bytes(model, torch.randn(8, 10)) == saved_bytes(model, torch.randn(2, 10)) == 80
    assert saved_bytes(model.requires_grad_(False), torch.randn(8, 10)) == 0


def test_parts_hold_two_images_at_least():
    assert parts_needed(7, 1e12, 1) == 2 and parts_needed(3, 1e12, 1) == 1
    assert parts_needed(128, 1e12, None) == 1  # unknown memory


def test_free_memory():
    assert free_bytes(torch.device("cpu")) > 10**7
    assert free_bytes(torch.device("meta")) is None


def test_a_containers_limit_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "_CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_bytes(torch.device("cpu")) == 2000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(torch.device("cpu")) > 10**7


def test_people_are_told_only_what_they_need_to_know():
    with_norms, without = nn.BatchNorm1d(2), nn.Linear(2, 2)
    assert told(128, 1, 1e9, 10**9, with_norms) == ""
    sentence = told(128, 16, 1e9, 16 * 2**30, with_norms)
    assert "would keep 119.2 GiB" in sentence and "16.0 GiB are free" in sentence and "in 16 parts" in sentence
    assert "Norm layers see 8 images" in sentence
    assert "Norm" not in told(128, 16, 1e9, 16 * 2**30, without) + told(128, 8, 1e9, 16 * 2**30, with_norms)


def trained(tiny, recipe, progress=None, checkpoints=None):
    model = tiny.network()
    objective = Objective([(1.0, CrossEntropy())])
    result = train(model, tiny.dataset(), recipe, objective, progress=progress, checkpoints=checkpoints)
    return model, result


def test_too_little_memory_gives_parts(tiny, monkeypatch):
    """As if they had been asked for; a run that goes on keeps its parts whatever is free by then."""
    asked, _ = trained(tiny, replace(tiny.RECIPE, accumulate=4))
    monkeypatch.setattr(settling, "free_bytes", lambda _device: 5000)
    monkeypatch.setattr(loop, "saved_bytes", lambda _model, _inputs: 600.0)
    listener = tiny.Listener()
    found, result = trained(tiny, tiny.RECIPE, listener)
    assert result.n_parts == 4 and any("4 parts" in note for note in listener.notes)
    assert all(torch.equal(a, b) for a, b in zip(asked.parameters(), found.parameters(), strict=True))


def test_a_run_keeps_its_parts(tiny, monkeypatch, tmp_path):
    class Stopped(Exception):
        pass

    def stop(n):
        if n == 7:
            raise Stopped

    monkeypatch.setattr(loop, "saved_bytes", lambda _model, _inputs: 600.0)
    monkeypatch.setattr(settling, "free_bytes", lambda _device: 5000)
    whole, _ = trained(tiny, tiny.RECIPE)
    with pytest.raises(Stopped):
        trained(tiny, tiny.RECIPE, tiny.Listener(stop), tmp_path)
    monkeypatch.setattr(settling, "free_bytes", lambda _device: 10**9)
    model, result = trained(tiny, tiny.RECIPE, checkpoints=tmp_path)
    assert result.n_parts == 4
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), model.parameters(), strict=True))


def test_as_asked_is_not_looked_into(tiny, monkeypatch):
    monkeypatch.setattr(settling, "free_bytes", lambda _device: 1)
    assert trained(tiny, replace(tiny.RECIPE, accumulate=1))[1].n_parts == 1
    with pytest.raises(DataError, match="in 9 parts"):
        trained(tiny, replace(tiny.RECIPE, accumulate=9))
