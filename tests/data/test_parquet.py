import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compressor.core.errors import DataError
from compressor.data.parquet import parquet_files, read_parquet


def write(path, labels=(1, 0), image="image", label="label", names=None, metadata=None):
    rows = [{"bytes": b"A", "path": "a.png"}, {"bytes": None, "path": "b.png"}]
    columns = {image: pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))}
    if labels is not None:
        columns[label] = pa.array(labels)
    table = pa.table(columns)
    if names is not None:
        metadata = {"huggingface": json.dumps({"info": {"features": {label: {"names": names, "_type": "ClassLabel"}}}})}
    pq.write_table(table.replace_schema_metadata(metadata) if metadata else table, path)
    return path


def read(path, image=None, label=None):
    return read_parquet(path, parquet_files(path), image, label)


def test_the_layout_of_hugging_face_datasets(tmp_path):
    found = read(write(tmp_path / "d.parquet", names=["cat", "dog"]))
    assert found.class_names == ("cat", "dog")
    assert found.labels.tolist() == [1, 0]
    assert found.images.read(0) == b"A"
    assert found.images.read(1) == tmp_path / "b.png"
    assert found.images.name(0) == "row 0 a.png"


def test_bare_bytes_under_any_name(tmp_path):
    pq.write_table(pa.table({"picture": [b"A", None], "y": [1.5, 2.5]}), tmp_path / "d.parquet")
    found = read(tmp_path / "d.parquet")
    assert found.labels is None
    assert found.images.read(0) == b"A"
    with pytest.raises(ValueError, match="no bytes"):
        found.images.read(1)


def test_columns_by_name(tmp_path):
    found = read(write(tmp_path / "d.parquet", image="scan", label="digit"), "scan", "digit")
    assert found.labels.tolist() == [1, 0]
    assert read(tmp_path / "d.parquet").labels is None


def test_shards_are_one_dataset(tmp_path):
    write(tmp_path / "train-00000-of-00002.parquet", labels=(0, 1))
    write(tmp_path / "train-00001-of-00002.parquet", labels=(2, 3))
    assert read(tmp_path).labels.tolist() == [0, 1, 2, 3]


def test_splits_are_not(tmp_path):
    write(tmp_path / "train.parquet")
    write(tmp_path / "test.parquet")
    with pytest.raises(DataError, match=r"several splits \(test, train\)"):
        read(tmp_path)


def test_labels_that_are_all_minus_one_are_none(tmp_path):
    assert read(write(tmp_path / "d.parquet", labels=(-1, -1))).labels is None


@pytest.mark.parametrize("metadata", [{"huggingface": "no json"}, {"huggingface": "[]"}, {"huggingface": "{}"}])
def test_odd_metadata_means_no_names(tmp_path, metadata):
    assert read(write(tmp_path / "d.parquet", metadata=metadata)).class_names == ()


@pytest.mark.parametrize(
    ("labels", "image", "label", "sentence"),
    [
        ((0, None), None, None, "1 are empty"),
        (("a", "b"), None, None, "must hold whole numbers, but holds string"),
        ((0, 1), "photo", None, r"`image_column` must be .* got 'photo'. Its columns are: image, label"),
        ((0, 1), None, "class_id", r"`label_column` must be .* got 'class_id'"),
    ],
)
def test_wrong_columns(tmp_path, labels, image, label, sentence):
    with pytest.raises(DataError, match=sentence):
        read(write(tmp_path / "d.parquet", labels=labels), image, label)


def test_no_image_column(tmp_path):
    pq.write_table(pa.table({"text": ["a"], "label": [0]}), tmp_path / "d.parquet")
    with pytest.raises(DataError, match=r"needs a column `image`.* Its columns are: text, label"):
        read(tmp_path / "d.parquet")


def test_no_rows(tmp_path):
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "d.parquet")
    with pytest.raises(DataError, match="no rows"):
        read(tmp_path / "d.parquet")


@pytest.mark.parametrize("keep", [0, 3, 100, -10])
def test_damaged_files(tmp_path, keep):
    path = write(tmp_path / "d.parquet")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="damaged, cut short"):
        read(path)


def test_damage_inside_the_pages(tmp_path):
    path = write(tmp_path / "d.parquet")
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged, cut short"):
        read(path)


def test_shards_with_other_columns(tmp_path):
    write(tmp_path / "a-00000-of-00002.parquet")
    write(tmp_path / "a-00001-of-00002.parquet", labels=None)
    with pytest.raises(DataError, match="same columns"):
        read(tmp_path)
