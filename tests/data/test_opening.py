"""From a path to a dataset, through each of the readers."""

import io
import os
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from compressor.core.errors import DataError, InvalidOption
from compressor.data.dataset import ImageDataset
from compressor.data.loader import batch_loader, batches_of
from compressor.data.opening import open_dataset

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
LABELS = np.array([0, 1, 0, 1, 2, 2])


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "png")
    return file.getvalue()


def as_folder(tmp_path):
    for i, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        folder = tmp_path / "images" / f"class {label}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(png(pixels))
    return tmp_path / "images"


def as_parquet(tmp_path):
    rows = [{"bytes": png(pixels), "path": None} for pixels in PIXELS]
    pq.write_table(pa.table({"image": rows, "label": LABELS}), tmp_path / "d.parquet")
    return tmp_path / "d.parquet"


def as_npz(tmp_path):
    np.savez(tmp_path / "d.npz", images=PIXELS, labels=LABELS)
    return tmp_path / "d.npz"


@pytest.mark.parametrize("layout", [as_folder, as_parquet, as_npz])
@pytest.mark.parametrize("limit", [1 << 30, 0])
def test_every_layout_gives_the_same_images(tmp_path, layout, limit):
    found = open_dataset(layout(tmp_path), mean=[0.5, 0.4, 0.3], std=[0.2], decoded_limit_bytes=limit)
    assert (len(found), found.labelled, found.n_classes) == (6, True, 3)
    assert found.preprocessing.size == (8, 8) and found.preprocessing.std == (0.2, 0.2, 0.2)
    assert found.in_memory == (bool(limit) or layout is as_npz)
    expected = {(PIXELS[i].tobytes(), int(LABELS[i])) for i in range(6)}
    stored, labels = found.batch(range(6))
    assert {
        (p.permute(1, 2, 0).contiguous().numpy().tobytes(), int(y)) for p, y in zip(stored, labels, strict=True)
    } == expected
    image, _ = found[0]
    by_hand = (stored[0].float() / 255 - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / 0.2
    torch.testing.assert_close(image, by_hand)


def test_images_that_are_decoded_on_demand_come_through_worker_processes(tmp_path):
    found = open_dataset(as_folder(tmp_path), decoded_limit_bytes=0)
    assert "too large" in found.notes[0]
    batches = list(batches_of(batch_loader(found, [[0, 5], [3]])))
    assert [len(labels) for _, labels in batches] == [2, 1]
    assert (batches[0][0] == found.batch([0, 5])[0]).all()


def test_an_image_that_breaks_later_is_one_sentence(tmp_path):
    folder = as_folder(tmp_path)
    found = open_dataset(folder, decoded_limit_bytes=0)
    (folder / "class 0" / "0.png").write_bytes(b"gone")
    with pytest.raises(DataError) as caught:
        list(batches_of(batch_loader(found, [[0, 1]])))
    assert "Traceback" not in str(caught.value) and "class 0/0.png" in str(caught.value)


class Deadly:
    """Ends the process that decodes its second image, as a system without memory would."""

    in_memory = False

    def __len__(self):
        return 4

    def batch(self, indices):
        if 1 in indices:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(len(indices), 1, 2, 2, dtype=torch.uint8)


def test_a_worker_that_dies_is_one_sentence():
    dataset = ImageDataset(Deadly(), torch.arange(4), name="deadly")
    read = batches_of(batch_loader(dataset, [[0], [1], [2], [3]]))
    with pytest.raises(DataError, match=r"A process that decodes images died.*--size") as caught:
        list(read)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layout", [as_folder, as_parquet, as_npz])
def test_another_size_is_resized_and_said(tmp_path, layout):
    found = open_dataset(layout(tmp_path), size=(4, 4))
    assert found[0][0].shape == (3, 4, 4)
    assert "6 of 6 images" in found.notes[-1] and "bilinear" in found.preprocessing.resize
    assert open_dataset(layout(tmp_path), size=8).notes == ()


def test_floats_are_normalised_but_not_divided(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.full((2, 4, 4), 3.0), y=[0, 1])
    found = open_dataset(tmp_path / "d.npz", mean=[1.0], std=[4.0])
    assert (found[0][0] == 0.5).all()


def test_grey_on_request(tmp_path):
    assert open_dataset(as_folder(tmp_path), n_channels=1)[0][0].shape == (1, 8, 8)


def test_broken_images_are_found_before_anything_else(tmp_path):
    folder = as_folder(tmp_path)
    (folder / "class 2" / "4.png").write_bytes(png(PIXELS[4])[:70])
    (folder / "class 1" / "3.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 of 6 images cannot be used: class 1/3.png .*; class 2/4.png"):
        open_dataset(folder)
    with pytest.raises(DataError, match=r"1 of 6 .*class 1/3.png"):  # a header is whole where the rest is not
        open_dataset(folder, decoded_limit_bytes=0)


def test_what_is_no_dataset(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        open_dataset(tmp_path / "nothing")
    with pytest.raises(DataError, match="there are none"):
        open_dataset(tmp_path)
    (tmp_path / "a.png").write_bytes(png(PIXELS[0]))
    with pytest.raises(DataError, match="Give the folder that the image is in"):
        open_dataset(tmp_path / "a.png")
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"must be a folder of images, a .parquet file or an .npz file"):
        open_dataset(tmp_path / "a.csv")


@pytest.mark.parametrize("options", [{"mean": [1, 2]}, {"std": [0]}, {"size": 0}, {"n_channels": 2}, {"n_channels": 0}])
def test_options_out_of_range(tmp_path, options):
    with pytest.raises(InvalidOption):
        open_dataset(as_folder(tmp_path), **options)
