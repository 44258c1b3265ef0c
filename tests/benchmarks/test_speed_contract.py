"""What the page says of runs that reached what was asked for, missed it, failed, or are missing."""

from argparse import Namespace
from pathlib import Path

import speed_contract
from method_parts.cells import save
from speed_contract import FAILED, MISSED, REACHED, Asked, Got
from zoo_parts.processes import Ended


def options(work, **changes):
    asked = {"models": ["resnet50"], "targets": ["openvino:cpu"], "threads": [1], "speedups": [1.5, 2.0, 3.0, 4.0]}
    return Namespace(work=work, **(asked | changes))


def test_the_table(tmp_path):
    given = options(tmp_path)
    first, second, third, _ = speed_contract._every(given)
    save(Got(first, REACHED, 1.56, (1.53, 1.59), 0.62, 3, 80.0), speed_contract._path(given, first))
    save(Got(second, MISSED, 1.9, (1.88, 1.92), 0.3, 8, 200.0), speed_contract._path(given, second))
    save(Got(third, FAILED, seconds=5.0, sentence="it fell over"), speed_contract._path(given, third))
    table = speed_contract.section(given)
    assert "| resnet50 | openvino:cpu | 1 | 1.5x | 1.56x [1.53, 1.59] | 1.04 | 62.0% | 3 | reached | 80 |" in table
    assert "| 2x | 1.90x [1.88, 1.92] | 0.95 | 30.0% | 8 | missed | 200 |" in table
    assert "| 3x | it fell over | 0.00 | 0.0% | 0 | failed | 5 |" in table
    assert table.endswith("**1 have not been run yet.**")


def test_what_is_there_is_not_run_again_and_a_failure_is_no_result(tmp_path, monkeypatch, capsys):
    ran = []

    def run_command(command, limits):
        ran.append(command)
        return Ended("a bug", "crash", 1.0, 0, exit_code=70)

    monkeypatch.setattr(speed_contract, "run_command", run_command)
    monkeypatch.setattr(speed_contract, "make_weights", lambda model, work: Path("weights.pt"))
    given = options(tmp_path, speedups=[1.5])
    speed_contract.run(given)
    speed_contract.run(given)
    (command,) = ran
    assert command[command.index("--speedup") + 1] == "1.5x" and command[command.index("--export") + 1] == "openvino"
    assert "resnet50 1.5x openvino:cpu threads 1: failed, a bug" in capsys.readouterr().out
    assert Asked("resnet50", "openvino:cpu", 1, 1.5) in list(speed_contract._every(given))
