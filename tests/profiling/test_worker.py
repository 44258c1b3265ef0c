from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compressor.core.errors import InvalidOption
from compressor.profiling import worker
from compressor.profiling.worker import Request, work

Write = Callable[[str, str], Path]


@pytest.fixture
def request_for(pretender: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Request]:
    monkeypatch.syspath_prepend(str(tmp_path / "code"))

    def make(*files: Path, **changes: object) -> Request:
        fields: dict[str, object] = {
            "factory": "pretender:Pretender",
            "files": [str(file) for file in files],
            "order": list(range(len(files))),
            "batch_size": 1,
            "threads": 1,
            "seconds": 0.1,
        }
        return Request(**(fields | changes))  # type: ignore[arg-type]

    return make


def test_files_take_turns_in_bursts(pretender: Write, request_for: Callable[..., Request], tmp_path: Path) -> None:
    a, b = pretender("a", "0.002"), pretender("b", "0.002")
    result = work(request_for(a, b, order=[1, 0], burst_sizes=[2, 3], rounds=3, shapes={"x": [1, 2]}))
    calls = [line for line in (tmp_path / "journal.txt").read_text().splitlines() if not line.startswith("pid")]
    assert [line for line in calls if line.startswith("load")] == [
        "load b 1 1 {'x': [1, 2]}",
        "load a 1 1 {'x': [1, 2]}",
    ]
    # Each turn is one inference that does not count and then the burst: b a, a b, b a.
    assert "".join(calls[-21:]) == "bbbb" + "aaa" + "aaa" + "bbbb" + "bbbb" + "aaa"
    assert [len(samples) for samples in result.samples] == [6, 9]
    assert (result.burst_sizes, result.rounds) == ([2, 3], 3)
    assert all(seconds > 0 for samples in result.samples + result.warmups for seconds in samples)


def test_rounds_and_bursts_follow_from_the_speed(pretender: Write, request_for: Callable[..., Request]) -> None:
    result = work(request_for(pretender("a", "0.02"), seconds=0.01))
    assert result.burst_sizes == [5]
    assert result.rounds == 2  # never fewer, so that each file is first once
    assert result.details == {"runtime": "pretender 1"}


@pytest.mark.parametrize(("seconds", "size"), [(1e-5, 50), (2e-3, 20), (0.03, 5), (0.4, 3)])
def test_bursts_are_long_enough_for_caches_and_short_enough_to_alternate(seconds: float, size: int) -> None:
    assert worker._burst_size(seconds) == size


@pytest.mark.parametrize(("typical", "rounds"), [([1e-6, 1e-6], 30), ([1e-3, 1e-3], 10), ([1.0, 1.0], 2)])
def test_rounds_are_even_and_bounded(typical: list[float], rounds: int) -> None:
    assert worker._n_rounds(typical, [50, 50], 1.0) == rounds


def test_a_target_that_is_not_there_says_why(pretender: Write, request_for: Callable[..., Request]) -> None:
    with pytest.raises(InvalidOption, match=r"There is no such device\."):
        work(request_for(pretender("a", "0.1"), factory="pretender:Absent"))


def test_a_file_of_another_kind_is_refused(tmp_path: Path, request_for: Callable[..., Request]) -> None:
    with pytest.raises(InvalidOption, match=r"pretender:cpu: `file` must be of a kind it loads \(\.sleep\)"):
        work(request_for(tmp_path / "a.onnx"))
