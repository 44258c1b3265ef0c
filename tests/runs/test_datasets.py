"""The images that --max-drop measures on."""

import numpy as np
import pytest
import torch

from compressor.core.errors import DataError
from compressor.core.options import RunOptions
from compressor.core.progress import SilentProgress
from compressor.data.batches import from_batches
from compressor.runs import datasets
from compressor.runs.datasets import Datasets, open_datasets, set_aside
from compressor.runs.record import Source
from exporters.signature import ExampleInputs
from tests.networks import images, seeded
from tests.runs import digits

LADDER = RunOptions(data="d", max_drop=1.0)


def numbered(n=50, labelled=True):
    """Image i is the number i; its label is i // 10."""
    numbers = torch.arange(n)
    inputs = numbers[:, None].float()
    return from_batches([(inputs, numbers // 10)] if labelled else [inputs], name="set")


def numbers_of(dataset):
    return [int(image) for image, _ in dataset]


def test_a_fifth_that_nothing_else_sees():
    whole = numbered()
    data = set_aside(Datasets(whole), LADDER)
    train, val = numbers_of(data.train), numbers_of(data.val)
    assert len(val) == 10 and sorted(train + val) == list(range(50))
    assert [label for _, label in data.val] == [number // 10 for number in val]
    assert data.train.n_classes == data.val.n_classes == 5 and data.train.labelled
    assert len(whole) == 50 and any("10 of the 50 images of --data were set aside" in note for note in data.notes)


def test_the_same_for_the_same_seed():
    one, same = (set_aside(Datasets(numbered()), LADDER).val for _ in range(2))
    other = set_aside(Datasets(numbered()), RunOptions(data="d", max_drop=1.0, seed=1)).val
    assert numbers_of(one) == numbers_of(same) != numbers_of(other)


def test_at_most_as_many_as_are_of_use(monkeypatch):
    monkeypatch.setattr(datasets, "SET_ASIDE_MOST", 3)
    data = set_aside(Datasets(numbered()), LADDER)
    assert (len(data.train), len(data.val)) == (47, 3)


def test_unlabelled():
    data = set_aside(Datasets(numbered(labelled=False)), LADDER)
    assert not data.val.labelled and not data.train.labelled and len(data.val) == 10


def test_nothing_is_set_aside_where_there_are_images_to_measure_on_or_no_drop_to_measure():
    data = Datasets(numbered(), numbered(20))
    assert set_aside(data, LADDER) is data
    alone = Datasets(numbered())
    assert set_aside(alone, RunOptions(data="d")) is alone


def test_too_few():
    with pytest.raises(DataError, match=r"--max-drop: needs at least 10 images.*set has 9.*--val"):
        set_aside(Datasets(numbered(9)), LADDER)
    assert len(set_aside(Datasets(numbered(10)), LADDER).val) == 2


def test_images_to_measure_on_may_lack_labels_only_where_agreement_will_do(tmp_path):
    digits.write(tmp_path)
    np.savez(tmp_path / "unlabelled.npz", images=np.load(tmp_path / "images.npz")["images"])
    model = seeded(digits.network)
    source = Source(model, ExampleInputs.of(images(channels=1), model), "net.pt", "")
    paths = {"data": str(tmp_path / "images.npz"), "val": str(tmp_path / "unlabelled.npz")}
    data = open_datasets(RunOptions(max_drop=1.0, **paths), source, SilentProgress())
    assert data.train.labelled and not data.val.labelled
    with pytest.raises(DataError, match=r"--val: needs labels"):
        open_datasets(RunOptions(**paths), source, SilentProgress())
