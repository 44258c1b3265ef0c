"""The energy counters, on trees of files that look like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.profiling.energy import joules_between, read_uj, zones


def counter(root: Path, folder: str, name: str, energy_uj: int, range_uj: int = 262_143_328_850) -> Path:
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{energy_uj}\n")
    (path / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two packages of one machine, as Linux lists them: flat, parts beside wholes, and the same package twice."""
    counter(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    counter(tmp_path, "intel-rapl:0:0", "core", 500_000)
    counter(tmp_path, "intel-rapl:0:1", "dram", 200_000)
    counter(tmp_path, "intel-rapl:1", "package-1", 3_000_000, 4_000_000)
    counter(tmp_path, "intel-rapl:2", "psys", 9_000_000)
    counter(tmp_path, "intel-rapl-mmio:0", "package-0", 1_000_000)
    (tmp_path / "intel-rapl").mkdir()
    (tmp_path / "dtpm").mkdir()
    return tmp_path


def test_packages_and_memory_are_counted_once(tree: Path) -> None:
    assert [zone.name for zone in zones(tree)] == ["package-0", "dram", "package-1"]


def test_joules_and_a_counter_that_begins_again(tree: Path) -> None:
    found = zones(tree)
    before = read_uj(found)
    (tree / "intel-rapl:0" / "energy_uj").write_text("1500000")
    (tree / "intel-rapl:0:1" / "energy_uj").write_text("300000")
    (tree / "intel-rapl:1" / "energy_uj").write_text("1000000")  # 1 J up to the end of its range, and 1 J after it
    assert joules_between(found, before, read_uj(found)) == pytest.approx(0.5 + 0.1 + 2.0)


def test_nothing_where_there_are_no_counters(tmp_path: Path) -> None:
    assert zones(tmp_path / "powercap") == ()
    assert zones(tmp_path) == ()


def test_memory_alone_is_no_total(tmp_path: Path) -> None:
    counter(tmp_path, "intel-rapl:0:1", "dram", 1)
    assert zones(tmp_path) == ()


@pytest.mark.parametrize("file", ["energy_uj", "max_energy_range_uj", "name"])
def test_a_counter_that_cannot_be_read_is_left_out(tree: Path, file: str) -> None:
    (tree / "intel-rapl:1" / file).unlink()
    (tree / "intel-rapl:1" / file).mkdir()  # as unreadable as another user's file, for root too
    assert [zone.name for zone in zones(tree)] == ["package-0", "dram"]


def test_a_counter_that_says_no_number_is_left_out(tree: Path) -> None:
    (tree / "intel-rapl:1" / "energy_uj").write_text("")
    assert [zone.name for zone in zones(tree)] == ["package-0", "dram"]
