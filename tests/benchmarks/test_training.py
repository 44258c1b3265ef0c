"""The table of trainings, and what is trained for each row."""

from argparse import Namespace
from pathlib import Path

import pytest
import training
from method_parts.cells import read, save
from training import DENSE, GROUP_NORM, Got


def options(work, **changes):
    given = {"model": "resnet20", "rows": ["l1"], "seeds": [0, 1], "epochs": 15, "before": 8, "weights": Path("w")}
    return Namespace(work=work, data=Path("d"), write_docs=None, **(given | changes))


def test_the_table(tmp_path):
    given = options(tmp_path)
    for got in (
        Got(DENSE, 0, 1.0, None, None, None, 89.0),
        Got(DENSE, 1, 1.0, None, None, None, 89.2),
        Got("l1", 0, 0.476, None, 15.0, 50.0, 86.0),
        Got("proximal_slimming", 0, 0.474, 88.0, 87.0, 87.5, 88.4),
        Got("proximal_slimming", 1, 0.474, 88.2, 87.2, 87.7, 88.8),
    ):
        save(got, training._path(given, got.row, got.seed))
    lines = training.section(given).splitlines()
    rows = [line for line in lines if line.startswith("| ") and "row" not in line]
    assert rows[0] == "| dense | 100.0% | – | – | – | 89.10 ± 0.14 | – | 2 |"
    assert rows[1] == "| proximal_slimming | 47.4% | 88.10 | 87.10 | 87.60 | 88.60 ± 0.28 | -0.50 | 2 |"
    assert rows[2] == "| l1 | 47.6% | – | 15.00 | 50.00 | 86.00 | -3.10 | 1 |"
    assert all("not run yet" in row for row in rows[3:]) and len(rows) == len(training.ROWS)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("l1", {"method": "l1", "train": "", "train_epochs": None, "finetune_epochs": 15}),
        ("group_lasso", {"method": "", "train": "group_lasso", "train_epochs": 8, "finetune_epochs": 7}),
    ],
)
def test_every_row_has_the_same_epochs(tmp_path, monkeypatch, row, expected):
    asked = []

    def compress_file(given, progress):
        asked.append(given)
        folder = Path(given.output)
        folder.mkdir(parents=True)
        stages = {"dense": 88.0, "trained": 87.0, "cut": 50.0, "bn_reestimate": 60.0, "finetune": 87.5}
        rows = ", ".join(f'{{"stage": "{stage}", "top1_percent": {value}}}' for stage, value in stages.items())
        (folder / "report.json").write_text(f'{{"accuracy": [{rows}], "macs": {{"before": 100, "after": 47}}}}')

    monkeypatch.setattr(training, "compress_file", compress_file)
    got = training.run(Namespace(name="resnet20"), row, 1, options(tmp_path))
    assert {name: getattr(asked[0], name) for name in expected} == expected
    assert asked[0].macs == pytest.approx(1 / 2.1) and asked[0].distill and asked[0].seed == 1
    assert got == Got(row, 1, 0.47, 87.0, 50.0, 60.0, 87.5)
    assert training.run(Namespace(name="resnet20"), row, 1, options(tmp_path)) == got and len(asked) == 1


def test_what_is_there_is_not_trained_again(tmp_path, monkeypatch):
    given = options(tmp_path, rows=[GROUP_NORM], seeds=[0])
    monkeypatch.setattr(training, "_options", lambda: given)
    monkeypatch.setattr(training, "subjects", lambda *_: {"resnet20": None})
    monkeypatch.setattr(training, "run", lambda *_: Got(GROUP_NORM, 0, 0.47, 1.0, 2.0, 3.0, 4.0))
    assert training.main() == 0
    monkeypatch.setattr(training, "run", lambda *_: pytest.fail("trained again"))
    assert training.main() == 0
    assert read(Got, training._path(given, GROUP_NORM, 0)).final == 4.0
