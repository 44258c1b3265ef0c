from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from compressor.profiling.machine import cpu_model, machine_facts, usable_cores


def test_facts_are_those_of_this_machine() -> None:
    facts = machine_facts()
    assert facts.cpu
    assert facts.n_cores == os.cpu_count()
    assert 1 <= facts.n_cores_usable <= facts.n_cores
    assert facts.memory_mib == psutil.virtual_memory().total // 2**20
    assert {"torch", "onnx", "numpy"} <= set(facts.versions)


def test_the_cpu_of_a_pc(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nvendor_id\t: V\nmodel name\t: Fast CPU @ 3 GHz\n")
    assert cpu_model(info) == "Fast CPU @ 3 GHz"


def test_the_cpu_of_a_board(tmp_path: Path) -> None:
    info, board = tmp_path / "cpuinfo", tmp_path / "model"
    info.write_text("processor\t: 0\nCPU part\t: 0xd08\n")
    board.write_text("Raspberry Pi 4\0")
    assert cpu_model(info, board) == "Raspberry Pi 4"


def test_no_quota_leaves_the_affinity(tmp_path: Path) -> None:
    assert usable_cores(tmp_path, tmp_path / "none") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("quota", "cores"), [("50000 100000", 1), ("max 100000", None), ("garbage", None)])
def test_a_quota_of_version_2_counts(tmp_path: Path, quota: str, cores: int | None) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("0::/user/me\n")
    (tmp_path / "user" / "me").mkdir(parents=True)
    (tmp_path / "user" / "cpu.max").write_text(quota)
    assert usable_cores(tmp_path, membership) == (cores or len(os.sched_getaffinity(0)))


def test_a_quota_of_version_1_counts(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("9:name=systemd:/\n1:cpu,cpuacct:/docker\n")
    folder = tmp_path / "cpu" / "docker"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("100000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores(tmp_path, membership) == 1


def test_a_machine_without_such_files_still_has_a_name(tmp_path: Path) -> None:
    assert cpu_model(tmp_path / "none", tmp_path / "none")
