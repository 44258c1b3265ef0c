import pytest

from compressor.core.errors import DataError
from compressor.data.folder import read_folder


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def test_sub_folders_are_classes_in_alphabetical_order(tmp_path):
    found = read_folder(touch(tmp_path, "dog/b.PNG", "cat/x/2.jpg", "cat/1.jpeg", "dog/readme.txt", ".hidden/3.jpg"))
    assert found.class_names == ("cat", "dog")
    assert found.labels == [0, 0, 1]
    assert [found.images.name(i) for i in range(3)] == ["cat/1.jpeg", "cat/x/2.jpg", "dog/b.PNG"]
    assert found.images.read(2) == tmp_path / "dog/b.PNG"
    assert found.notes == ()


def test_a_flat_folder_has_no_labels(tmp_path):
    found = read_folder(touch(tmp_path, "2.png", "1.png", "notes/readme.txt"))
    assert found.labels is None
    assert [found.images.name(i) for i in range(2)] == ["1.png", "2.png"]


def test_numbered_classes_out_of_their_order_are_said(tmp_path):
    found = read_folder(touch(tmp_path, *(f"{i}/a.png" for i in range(11))))
    assert found.class_names[2] == "10"
    assert "'10' is label 2" in found.notes[0]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ((), "there are none"),
        (("a/readme.txt",), "there are none"),
        (("a.png", "cat/b.png"), "holds both"),
        (("cat/a.png", "dog/readme.txt"), "'dog' holds none"),
        (("train/cat/a.png", "val/cat/b.png"), "are splits"),
    ],
)
def test_what_is_no_dataset(tmp_path, names, sentence):
    with pytest.raises(DataError, match=sentence):
        read_folder(touch(tmp_path, *names))
