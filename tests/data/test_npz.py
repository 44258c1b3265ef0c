import numpy as np
import pytest
import torch

from compressor.core.errors import DataError
from compressor.data.npz import read_npz


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("shape", "expected"), [((5, 4, 6), (5, 1, 4, 6)), ((5, 4, 6, 3), (5, 3, 4, 6)), ((5, 1, 4, 6), (5, 1, 4, 6))]
)
def test_layouts(tmp_path, shape, expected):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found = read_npz(save(tmp_path / "d.npz", images=images, labels=np.arange(5)), None)
    assert tuple(found.images.shape) == expected
    assert found.images.dtype == torch.uint8
    assert found.labels.tolist() == [0, 1, 2, 3, 4]
    if shape[-1] == 3:
        assert (found.images[2, :, 1, 5].numpy() == images[2, 1, 5]).all()


def test_other_names_and_types(tmp_path):
    found = read_npz(save(tmp_path / "d.npz", x=np.full((2, 3, 3), 200), y=np.array([[0], [1]])), None)
    assert found.images.dtype == torch.uint8
    assert found.labels.tolist() == [0, 1]
    found = read_npz(save(tmp_path / "d.npz", x=np.full((2, 3, 3), 0.5)), None)
    assert found.images.dtype == torch.float32 and found.labels is None


def test_channels_settle_what_the_shape_does_not(tmp_path):
    path = save(tmp_path / "d.npz", x=np.zeros((2, 5, 8, 8), np.float32))
    assert read_npz(path, 5).images.shape == (2, 5, 8, 8)
    with pytest.raises(DataError, match="neither axis 1 nor axis 3"):
        read_npz(path, None)
    with pytest.raises(DataError, match="is 4 channels"):
        read_npz(path, 4)
    path = save(tmp_path / "d.npz", x=np.zeros((2, 3, 8, 1), np.float32))
    assert read_npz(path, 3).images.shape == (2, 3, 8, 1)
    with pytest.raises(DataError, match="both axis 1 and axis 3"):
        read_npz(path, None)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"a": np.zeros(3)}, r"named `images` \(or x\), but holds a"),
        ({"x": np.zeros((2, 2))}, r"its shape is \(2, 2\)"),
        ({"x": np.zeros((0, 2, 2))}, "its shape is"),
        ({"x": np.full((1, 2, 2), 300)}, "holds int64"),
        ({"x": np.full((1, 2, 2), np.nan)}, "finite"),
        ({"x": np.zeros((1, 2, 2), bool)}, "holds bool"),
        ({"x": np.zeros((2, 2, 2)), "y": np.zeros(2)}, "must be one whole number"),
        ({"x": np.zeros((2, 2, 2)), "y": np.zeros((2, 2), int)}, "must be one whole number"),
        ({"x": np.array([np.zeros((1, 2)), np.zeros((2, 2))], dtype=object)}, "Python objects"),
    ],
)
def test_wrong_arrays(tmp_path, arrays, sentence):
    with pytest.raises(DataError, match=sentence):
        read_npz(save(tmp_path / "d.npz", **arrays), None)


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle ran')",))


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x=np.array([Bomb()], dtype=object))
    with pytest.raises(DataError, match="can run code"):
        read_npz(path, None)


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_damaged_files(tmp_path, keep):
    path = save(tmp_path / "d.npz", x=np.zeros((2, 20, 20)))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="damaged or something else"):
        read_npz(path, None)


def test_damage_inside(tmp_path):
    path = tmp_path / "d.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).random((2, 20, 20)))
    content = bytearray(path.read_bytes())
    content[200:260] = b"\0" * 60
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        read_npz(path, None)


def test_a_bare_array_is_no_archive(tmp_path):
    with (tmp_path / "d.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="one bare array"):
        read_npz(tmp_path / "d.npz", None)
