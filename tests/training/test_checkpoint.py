import pytest
import torch
from torch import nn

from compressor.core.errors import OutputError
from compressor.training.checkpoint import (
    FILE_NAME,
    Position,
    fingerprint,
    read_checkpoint,
    restore_model,
    save_checkpoint,
)


def optimizer_of(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(4, 1, 8, 8)).sum().backward()
    optimizer.step()
    return optimizer


def test_what_is_saved_comes_back(tiny, tmp_path, assert_same):
    model = tiny.network()
    optimizer = optimizer_of(model)
    position = Position(step=7, loss_sum=0.1 + 0.2, n_correct=3, n_images=5, losses=[1 / 3], accuracies_percent=[50.0])
    save_checkpoint(tmp_path / "new", "mark", position, model, optimizer)
    found = read_checkpoint(tmp_path / "new", "mark")
    assert found[0] == position
    other = tiny.network(seed=5)
    restore_model(other, found[1])
    assert_same(other, model)
    assert torch.equal(
        found[1]["optimizer.0.weight.momentum_buffer"], optimizer.state[model[0].weight]["momentum_buffer"]
    )
    assert [file.name for file in (tmp_path / "new").iterdir()] == [FILE_NAME]


def test_tied_weights(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    save_checkpoint(tmp_path, "mark", Position(), model, optimizer)
    with torch.no_grad():
        expected = model[0].weight.clone()
        model[0].weight.zero_()
    restore_model(model, read_checkpoint(tmp_path, "mark")[1])
    assert torch.equal(model[1].weight, expected) and model[1].weight is model[0].weight


def test_nothing_to_go_on_from(tiny, tmp_path):
    assert read_checkpoint(tmp_path, "mark") == ""
    model = tiny.network()
    save_checkpoint(tmp_path, "mark", Position(), model, optimizer_of(model))
    assert "other options or weights" in read_checkpoint(tmp_path, "another")
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    for damaged in (b"", whole[:4], whole[:200], whole[:-10], b"\xff" * 100):
        path.write_bytes(damaged)
        assert "is damaged" in read_checkpoint(tmp_path, "mark")


def test_a_folder_that_cannot_be_written(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    model = tiny.network()
    with pytest.raises(OutputError, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "below", "mark", Position(), model, optimizer_of(model))


def test_fingerprints(tiny):
    mark = fingerprint("options", tiny.network())
    assert fingerprint("options", tiny.network()) == mark
    assert fingerprint("options", tiny.network().to(memory_format=torch.channels_last)) == mark
    changed = tiny.network()
    with torch.no_grad():
        changed[1].running_mean[0] += 1e-7
    marks = {mark, fingerprint("others", tiny.network()), fingerprint("options", changed)}
    assert len(marks) == 3
