"""What the page says of files that were faster, slower, failed or are missing; and the exit code."""

from argparse import Namespace
from pathlib import Path

import odd_widths
from method_parts.cells import save
from odd_widths import Case, Got, Time, got_of
from zoo_parts.processes import Ended

FASTER, SAME = "faster", "no significant difference"


def options(work, **changes):
    asked = {"budgets": ["ratio=0.3"], "round_to": ["default", "1"], "threads": [1, 2], "write_docs": None}
    return Namespace(work=work, targets=["onnxruntime:cpu", "openvino:cpu"], **(asked | changes))


def times(first, second):
    return (
        Time("onnxruntime:cpu", 1.2, (1.1, 1.3), first),
        Time("openvino:cpu", 0.9, (0.85, 0.95), second),
    )


def got(case, first, second):
    return Got(case, times(first, second), 0.61, 52, 3, 80.0, machine={"cpu": "a CPU", "cores": "2 usable cores"})


def test_the_table(tmp_path):
    given = options(tmp_path)
    default_1, default_2, odd_1, _ = odd_widths._every(given)
    save(got(default_1, FASTER, SAME), odd_widths._path(given, default_1))
    save(Got(default_2, seconds=5.0, failure="it fell over"), odd_widths._path(given, default_2))
    save(got(odd_1, FASTER, "slower"), odd_widths._path(given, odd_1))
    table = odd_widths.section(given)
    row = "| --ratio 0.3 | default | 1 | onnxruntime:cpu | 3 of 52 | 61.0% | 1.20x [1.10, 1.30] | faster |"
    assert row in table and "| --ratio 0.3 | default | 2 |  |  |  | it fell over | failed |" in table
    assert "| --ratio 0.3 | 1 | 1 | openvino:cpu | 3 of 52 | 61.0% | 0.90x [0.85, 0.95] | slower |" in table
    assert "With the defaults 0 of 2 files are slower than the original.\nMeasured on a CPU, 2 usable cores." in table
    assert table.endswith("**1 have not been run yet.**")


def test_slower_with_the_defaults_is_a_failure_and_with_odd_widths_it_is_not(tmp_path, monkeypatch):
    given = options(tmp_path, threads=[1])
    monkeypatch.setattr(odd_widths, "_options", lambda: given)
    default, odd = odd_widths._every(given)
    save(got(odd, "slower", "slower"), odd_widths._path(given, odd))
    save(got(default, SAME, FASTER), odd_widths._path(given, default))
    assert odd_widths.main() == 0
    save(got(default, FASTER, "slower"), odd_widths._path(given, default))
    assert odd_widths.main() == 1 and "1 of 2 files are slower" in odd_widths.section(given)


def test_what_is_there_is_not_run_again_and_a_failure_is_no_result(tmp_path, monkeypatch, capsys):
    ran = []

    def run_command(command, limits):
        ran.append(command)
        return Ended("a bug", "crash", 1.0, 0, exit_code=70)

    monkeypatch.setattr(odd_widths, "run_command", run_command)
    monkeypatch.setattr(odd_widths, "_weights", lambda work: Path("weights.pt"))
    given = options(tmp_path, threads=[2])
    odd_widths.run(given)
    odd_widths.run(given)
    default, odd = ran
    assert "--round-to" not in default and odd[odd.index("--round-to") + 1] == "1"
    assert default[default.index("--ratio") + 1] == "0.3" and default[default.index("--threads") + 1] == "2"
    assert default[default.index("--export") + 1] == "onnx,openvino"
    assert "--ratio 0.3, --round-to 1, threads 2: a bug" in capsys.readouterr().out


def test_a_report(tmp_path):
    case = Case("macs=70%", "1", 1)
    timed = {"target": "openvino:cpu", "unavailable": "", "ratio": 1.1, "interval": [1.0, 1.2], "verdict": FASTER}
    report = {
        "latency": [{**timed, "warnings": []}],
        "widths": [{"before": 32, "after": 22}, {"before": 16, "after": 8}, {"before": 10, "after": 10}],
        "macs": {"before": 100, "after": 70},
        "machine": {"cpu": "a CPU", "n_cores_usable": 2, "versions": {"onnxruntime": "1.2"}},
    }
    found = got_of(case, report, 3.0)
    assert (found.n_layers, found.n_odd, found.macs_share) == (2, 1, 0.7) and found.times[0].interval == (1.0, 1.2)
    assert found.machine["onnxruntime"] == "onnxruntime 1.2"
    report["latency"][0] |= {"unavailable": "it is gone", "ratio": None}
    assert got_of(case, report, 3.0).failure == "not timed: openvino:cpu"
