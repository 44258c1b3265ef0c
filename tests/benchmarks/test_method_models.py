"""The real command line on the two-branch network; the table's cells and sentences by hand."""

import json
from pathlib import Path

import method_models
import method_speed
import methods
import pytest
import torch
from method_parts.cells import read, save
from method_parts.section import with_section
from zoo_parts.processes import Ended

WORKED = ["--models", "two_branch", "--methods"]


def run(monkeypatch, work, *arguments):
    monkeypatch.setattr("sys.argv", ["method_models.py", "--work", str(work), *map(str, arguments)])
    return method_models.main()


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """After a run of a method that looks at images, which are small here."""
    work = tmp_path_factory.mktemp("method_models")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(method_models, "SIDE", 32)
        assert run(monkeypatch, work, *WORKED, "taylor") == 0
    return work


def outcome(work, method):
    return read(method_models.Outcome, method_models.outcome_path(work, method, "two_branch"))


def test_a_method_that_looks_at_images_comes_to_a_verified_file(work):
    found = outcome(work, "taylor")
    assert (found.status, found.sentence) == (method_models.VERIFIED, "")
    assert 0.4 < found.macs_share <= 0.5
    assert found.seconds > found.choose_s > 0 and found.peak_bytes > 2**20
    assert len(list((work / "images").glob("class*/*.png"))) == method_models.N_CLASSES * method_models.N_IMAGES


def test_what_has_a_file_is_not_run_again(work, monkeypatch, capsys):
    monkeypatch.setattr(method_models, "run_command", lambda *_: pytest.fail("it is done"))
    assert run(monkeypatch, work, *WORKED, "taylor") == 0
    assert capsys.readouterr().out == "1 runs, 0 to do\n"


@pytest.mark.parametrize(
    ("ended", "status", "sentence"),
    [
        (Ended("crash", "crash", 1.0, 5, 4, "error: Not this model."), method_models.REFUSED, "Not this model."),
        (
            Ended("exit code 70. error: a bug", "crash", 1.0, 5, 70, ""),
            method_models.FAILED,
            "exit code 70. error: a bug",
        ),
        (Ended("not finished after 9 s", "limit", 9.0, 5, -9, ""), method_models.FAILED, "not finished after 9 s"),
    ],
)
def test_what_gives_no_file_is_no_success(work, monkeypatch, tmp_path, ended, status, sentence):
    monkeypatch.setattr(method_models, "run_command", lambda *_: ended)
    monkeypatch.setattr(method_models, "make_weights", lambda *_: tmp_path / "weights.pt")
    assert run(monkeypatch, tmp_path, *WORKED, "l1") == 0
    found = outcome(tmp_path, "l1")
    assert (found.status, found.sentence, found.macs_share) == (status, sentence, 0.0)


@pytest.mark.parametrize(
    ("parity", "exit_code", "status"),
    [
        ([("onnx", True), ("onnx", True)], 0, method_models.VERIFIED),
        ([("onnx", True), ("onnx", False)], 6, method_models.FAILED),
        ([("openvino", True)], 0, method_models.FAILED),
        ([("onnx", True)], 7, method_models.MISSED),
    ],
)
def test_a_report_is_judged_by_its_onnx_file(monkeypatch, tmp_path, parity, exit_code, status):
    report = {
        "macs": {"before": 200, "after": 90},
        "stages": [{"name": "coverage", "seconds": 9.0}, {"name": "plan", "seconds": 2.5}],
        "parity": [{"format": kind, "passed": passed} for kind, passed in parity],
    }

    def command_line(command, limits):
        folder = Path(command[command.index("-o") + 1])
        folder.mkdir()
        (folder / "report.json").write_text(json.dumps(report))
        return Ended("it ended" if exit_code else "", "", 7.0, 5, exit_code, "")

    monkeypatch.setattr(method_models, "run_command", command_line)
    monkeypatch.setattr(method_models, "make_weights", lambda *_: tmp_path / "weights.pt")
    run(monkeypatch, tmp_path, *WORKED, "l1")
    found = outcome(tmp_path, "l1")
    assert found.status == status
    if exit_code != 6:
        assert (found.macs_share, found.choose_s) == (0.45, 2.5)


def test_the_table_tells_each_sentence_once(monkeypatch, tmp_path):
    for method, model, status, sentence in (
        ("l1", "a", method_models.VERIFIED, ""),
        ("l1", "b", method_models.MISSED, ""),
        ("l2", "a", method_models.REFUSED, "No norm."),
        ("l2", "b", method_models.FAILED, "It broke."),
        ("chip", "a", method_models.REFUSED, "No norm."),
    ):
        found = method_models.Outcome(method, model, status, sentence, 0.49, 1.25)
        save(found, method_models.outcome_path(tmp_path, method, model))
    text = method_models.section(tmp_path, ["l1", "l2", "chip"], ["a", "b"])
    assert text.splitlines()[4:] == [
        "**1 have not been run yet.**",
        "",
        "| method | a | b |",
        "|---|---|---|",
        "| l1 | 49.0%, 1.2 s | 49.0% (budget missed), 1.2 s |",
        "| l2 | refused (1) | **failed** (2) |",
        "| chip | refused (1) | – |",
        "",
        "1. No norm.",
        "2. It broke.",
    ]


def test_a_section_is_replaced_or_added():
    page = "# Page\n\n## A\n\none\n\ntwo\n\n## B\n\nb\n"
    assert with_section(page, "## B", "new\n") == "# Page\n\n## A\n\none\n\ntwo\n\n## B\n\nnew\n"
    assert with_section(page, "## C", "new") == page + "\n## C\n\nnew\n"
    assert with_section(with_section(page, "## A", "x"), "## A", "one\n\ntwo") == page


def test_the_branches_share_their_layers():
    import two_branch

    torch.manual_seed(0)
    model = two_branch.two_branch().eval()
    calls = []
    model.stem.register_forward_hook(lambda *_: calls.append(1))
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert len(calls) == 2


@pytest.mark.parametrize("script", [method_models, method_speed, methods])
def test_help(monkeypatch, capsys, script):
    monkeypatch.setattr("sys.argv", ["script", "--help"])
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == 0 and "--write-docs" in capsys.readouterr().out
