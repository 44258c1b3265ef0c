import pytest
import torch

from compressor.core.errors import DataError
from compressor.data.dataset import ImageDataset, MemoryPixels
from compressor.data.preprocessing import Preprocessing


def dataset(labels=(0, 2, 1), **changes):
    pixels = MemoryPixels(torch.arange(3 * 4, dtype=torch.uint8).reshape(3, 1, 2, 2))
    given = None if labels is None else torch.tensor(labels)
    return ImageDataset(
        pixels, given, name="d", preprocessing=Preprocessing((0,), (1,), (2, 2), 1, 255.0, ""), **changes
    )


def test_items_are_normalised_images_with_labels():
    image, label = dataset()[1]
    assert label == 2
    torch.testing.assert_close(image, torch.tensor([[[4.0, 5.0], [6.0, 7.0]]]) / 255)
    assert dataset()[-1][1] == 1
    with pytest.raises(IndexError):
        dataset()[3]
    assert len([label for _, label in dataset()]) == 3  # the old iteration protocol ends


def test_batches_are_stored_pixels_in_the_order_asked_for():
    pixels, labels = dataset().batch([2, 0])
    assert pixels.dtype == torch.uint8
    assert pixels[:, 0, 0, 0].tolist() == [8, 0]
    assert labels.tolist() == [1, 0]


def test_without_labels():
    unlabelled = dataset(labels=None, class_names=("a",))
    assert (unlabelled.labelled, unlabelled.n_classes, unlabelled.class_names) == (False, 0, ())
    assert unlabelled[0][1] == -1
    with pytest.raises(DataError, match=r"training: needs labels, but d has none"):
        unlabelled.require_labels("training")
    unlabelled.require_outputs("training", 1)


def test_classes():
    assert dataset().n_classes == 3
    assert dataset(class_names=tuple("abcd")).n_classes == 4
    dataset().require_outputs("evaluation", 3)
    with pytest.raises(DataError, match=r"below the model's 2 outputs, but d has label 2"):
        dataset().require_outputs("evaluation", 2)


@pytest.mark.parametrize(
    ("labels", "names", "sentence"),
    [((0, -1, 1), (), "-1 is among them"), ((0, 1, 2), ("a", "b"), "must be 0 to 1, but 2"), ((0, 1), (), "2 for 3")],
)
def test_wrong_labels(labels, names, sentence):
    with pytest.raises(DataError, match=sentence):
        dataset(labels=labels, class_names=names)


def test_a_part_is_a_dataset_of_its_own():
    whole = dataset(class_names=("a", "b", "c", "d"))
    part = whole.part(torch.tensor([2, 0]), ["a note"])
    assert len(part) == 2 and [label for _, label in part] == [1, 0] and part.labels.tolist() == [1, 0]
    assert torch.equal(part[0][0], whole[2][0]) and torch.equal(part.batch([1, 0])[0], whole.batch([0, 2])[0])
    assert part.class_names == whole.class_names and part.notes == ("a note",) and part.in_memory
    assert dataset().part(torch.tensor([0])).n_classes == 3  # although label 2 is not in it
    assert not dataset(labels=None).part(torch.tensor([1])).labelled


def test_other_labels():
    other = dataset(labels=None).relabelled(torch.tensor([4, 0, 1]))
    assert other.labelled and [label for _, label in other] == [4, 0, 1]
    assert torch.equal(other[1][0], dataset()[1][0])
