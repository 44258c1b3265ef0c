import pytest
import torch

from compressor.core.errors import DataError
from compressor.data.batches import CalibrationBatches, from_batches

X = torch.arange(12.0).reshape(6, 2)
Y = torch.tensor([0, 1, 2, 0, 1, 2])


def test_tensors_and_pairs():
    for given in (X, [X[:4], X[4:]], iter([X[:4], X[4:]])):
        found = from_batches(given)
        assert (len(found), found.labelled, found.preprocessing) == (6, False, None)
        assert (found[3][0] == X[3]).all()
    found = from_batches([(X[:4], Y[:4]), (X[4:], Y[4:])])
    assert (found.labelled, found.n_classes, found[5][1]) == (True, 3, 2)
    assert (found.prepare(found.batch([1])[0]) == X[1]).all()


@pytest.mark.parametrize(
    ("batches", "sentence"),
    [
        ([], "it is empty"),
        (X[:0], "it is empty"),
        ([X, X[:, :1]], r"one shape, but there are \(1,\) and \(2,\)"),
        ([X, (X, Y)], "1 of 2 do"),
        ([(X, Y[:2])], "one whole number an input"),
        ([(X, Y.float())], "one whole number an input"),
        ([{"pixel_values": X}], "got dict"),
        ([(X, Y - 1)], "-1 is among them"),
    ],
)
def test_what_cannot_be_wrapped(batches, sentence):
    with pytest.raises(DataError, match=sentence):
        from_batches(batches)


def test_calibration_batches_are_the_same_each_time():
    batches = CalibrationBatches(from_batches([(X, Y)]), n_images=5, batch_size=2, seed=1)
    first, second = list(batches), list(batches)
    assert [len(inputs) for inputs, _ in first] == [2, 2, 1] and len(batches) == 3
    assert all((a[0] == b[0]).all() and (a[1] == b[1]).all() for a, b in zip(first, second, strict=True))
    rows = torch.cat([inputs for inputs, _ in first])
    assert len({tuple(row) for row in rows.tolist()}) == 5
    other = torch.cat([inputs for inputs, _ in CalibrationBatches(batches.dataset, 5, 2, seed=2)])
    assert rows.tolist() != other.tolist()
