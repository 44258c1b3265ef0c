"""Tables on disk, shared by runs that know nothing of each other."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from compressor.latency import store as module
from compressor.latency.samples import ModelSample, NodeSample
from compressor.latency.store import Store, cache_folder, place_of
from compressor.profiling.machine import machine_facts

ROOT = Path(__file__).parents[2]
PLACE = place_of(machine_facts(), "onnxruntime:cpu", {"runtime": "1.0", "precision": "fp32"}, 1, 1)


def samples(n, seconds=1.0):
    node = NodeSample("Conv", ((1, 8, 4, 4), (8, 8, 3, 3)), ((1, 8, 4, 4),), seconds)
    return tuple(ModelSample({"a": number}, seconds + number / 7, (node,)) for number in range(n))


@pytest.fixture
def notes():
    return []


@pytest.fixture
def make(tmp_path, notes):
    return lambda place=PLACE: Store(place, notes.append, tmp_path)


def tables(tmp_path):
    return sorted(tmp_path.rglob("*.json"))


def test_read_back_as_written(make, notes):
    assert make().samples("m") == ()
    make().save("m", samples(5))
    assert make().samples("m") == samples(5) and make().samples("other") == () and notes == []


def test_only_more_samples_replace(make):
    make().save("m", samples(5))
    make().save("m", samples(3, seconds=2.0))
    assert make().samples("m") == samples(5)
    make().save("m", samples(6, seconds=2.0))
    assert make().samples("m") == samples(6, seconds=2.0)


def test_nodes_of_other_models(make, tmp_path, notes):
    assert make().others("m") == []
    for number in range(3):
        make().save(f"m{number}", samples(2, seconds=float(number)))
    assert sorted(node.seconds for node in make().others("m1")) == [0, 0, 2, 2]
    tables(tmp_path)[0].write_text("{")
    assert len(make().others("m2")) == 2 and "damaged" in notes[0]


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 1}', b"\xff\xfe\x00", b"[" * 9999])
def test_a_damaged_table_is_set_aside_and_said(make, tmp_path, notes, content):
    make().save("m", samples(5))
    (path,) = tables(tmp_path)
    path.write_bytes(content)
    assert make().samples("m") == ()
    (note,) = notes
    assert "m.json is damaged and was set aside" in note and "measured anew" in note
    assert path.with_suffix(".damaged").read_bytes() == content and not path.exists()
    make().save("m", samples(2))
    assert make().samples("m") == samples(2) and len(notes) == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(PLACE, machine={**PLACE.machine, "cpu": "another"}),
        replace(PLACE, details={**PLACE.details, "runtime": "1.1"}),
    ],
)
def test_of_another_machine_or_runtime_is_not_used_and_said(make, notes, other):
    make(other).save("m", samples(5))
    assert make().samples("m") == () and make().others("x") == []
    (note,) = notes
    assert "another machine or runtime version are not used (1 are there)" in note
    assert make(other).samples("m") == samples(5)
    make().save("m", samples(3))
    assert make().samples("m") == samples(3) and len(notes) == 1


@pytest.mark.parametrize("changed", [{"threads": 2}, {"batch_size": 8}, {"target": "openvino:cpu"}])
def test_of_other_settings_is_another_table(make, notes, changed):
    make(replace(PLACE, **changed)).save("m", samples(5))
    assert make().samples("m") == () and make().others("x") == [] and notes == []


def test_a_table_that_was_copied_here_is_not_used(make, tmp_path):
    """What a file says of itself decides, not where it lies."""
    make(replace(PLACE, machine={**PLACE.machine, "cpu": "another"})).save("m", samples(5))
    (foreign,) = tables(tmp_path)
    make().save("other", samples(1))
    here = next(path for path in tables(tmp_path) if path.name == "other.json").parent
    (here / "m.json").write_bytes(foreign.read_bytes())
    assert make().samples("m") == () and len(make().others("x")) == 1


def test_of_another_format_is_not_used(make, tmp_path, monkeypatch):
    make().save("m", samples(5))
    monkeypatch.setattr(module, "TABLE_FORMAT", module.TABLE_FORMAT + 1)
    assert make().samples("m") == ()


def test_load_and_governor_do_not_matter():
    facts = machine_facts()
    busy = replace(facts, load_1min=99.0, governor="powersave", versions={})
    assert place_of(busy, "t", {}, 1, 1) == place_of(facts, "t", {}, 1, 1)
    assert place_of(replace(facts, n_cores_usable=99), "t", {}, 1, 1) != place_of(facts, "t", {}, 1, 1)


def test_a_cache_that_is_no_folder_is_no_reason_to_stop(tmp_path, notes):
    (tmp_path / "latency").write_text("a file")
    store = Store(PLACE, notes.append, tmp_path)
    store.save("m", samples(5))
    (note,) = notes
    assert note.startswith("Latency tables could not be kept in ") and "measured again next time" in note
    assert store.samples("m") == () and store.others("m") == []


WRITER = """
import sys
from pathlib import Path
from compressor.latency.store import Store
from tests.latency.test_store import PLACE, samples

store = Store(PLACE, print, Path(sys.argv[1]))
for count in range(1, int(sys.argv[2])):
    store.save("m", samples(count))
    got = store.samples("m")
    assert len(got) >= count and got == samples(len(got)), (len(got), count)
"""
LIMITED = """
import resource, signal, sys
from pathlib import Path
from compressor.latency.store import Store
from tests.latency.test_store import PLACE, samples

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
Store(PLACE, print, Path(sys.argv[1])).save("m", samples(3))
"""


def started(code, *arguments):
    command = [sys.executable, "-B", "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_disk_that_takes_no_more_is_no_reason_to_stop(tmp_path):
    """The process may write no file above 100 bytes."""
    process = started(LIMITED, tmp_path)
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert said.startswith("Latency tables could not be kept in ") and tables(tmp_path) == []


def test_two_processes_at_once(tmp_path):
    """Whoever reads sees a whole table, and in the end the longest one is there."""
    processes = [started(WRITER, tmp_path, n) for n in (32, 48)]
    for process in processes:
        said, errors = process.communicate(timeout=120)
        assert process.returncode == 0 and said == "", f"{said}\n{errors}"
    assert Store(PLACE, print, tmp_path).samples("m") == samples(47)
    assert [path.name for path in tables(tmp_path)] == ["m.json"]


def test_the_cache_is_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPRESSOR_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("COMPRESSOR_CACHE")
    assert "compressor" in str(cache_folder())
