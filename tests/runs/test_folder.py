"""Who may take a folder, what an interrupted run finds again, and what finishing moves and deletes."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from compressor.core.errors import ModelFileError, OutputError
from compressor.core.options import RunOptions
from compressor.runs.folder import FINISHED, IDENTITY, RunFolder, require_finished

OPTIONS = RunOptions(model="net.pt", method="l1")
REPORT = {"compressor_version": "0.1.0", "files": [{"name": "model.onnx", "companions": {"model.data": "00"}}]}


@dataclass(frozen=True)
class Value:
    number: int


def claim(path, options=OPTIONS, sha256="aa"):
    return RunFolder.claim(path, options, sha256)


def finished(path, report=REPORT, **files):
    path.mkdir(exist_ok=True)
    for name, text in {"plan.json": "old", FINISHED: json.dumps(report), **files}.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


class TestClaiming:
    def test_a_new_folder_with_its_parents(self, tmp_path):
        folder = claim(tmp_path / "a" / "b")
        assert folder.made and folder.work.is_dir() and (folder.work / IDENTITY).exists()

    def test_an_empty_folder(self, tmp_path):
        assert not claim(tmp_path).made

    def test_a_finished_run_needs_force_and_stays_until_the_end(self, tmp_path):
        run = finished(tmp_path / "run")
        with pytest.raises(OutputError, match=r"holds a finished run.*--force"):
            claim(run)
        claim(run, RunOptions(model="net.pt", force=True))
        assert (run / FINISHED).exists() and (run / "plan.json").read_text() == "old"

    @pytest.mark.parametrize("force", [False, True])
    def test_strangers_are_refused_even_with_force(self, tmp_path, force):
        (tmp_path / "thesis.tex").write_text("years")
        with pytest.raises(OutputError, match=r"not empty and not a run \(it holds thesis.tex\)"):
            claim(tmp_path, RunOptions(force=force))
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    @pytest.mark.parametrize("content", ["{}", "[]", "not json"])
    def test_another_programs_report_is_a_stranger(self, tmp_path, content):
        (tmp_path / FINISHED).write_text(content)
        with pytest.raises(OutputError, match="not a run"):
            claim(tmp_path, RunOptions(force=True))

    def test_files_in_the_way(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError, match="is a file, and a run needs a folder"):
            claim(tmp_path / "file")
        with pytest.raises(OutputError, match=r"cannot be made, because .*file is a file"):
            claim(tmp_path / "file" / "run")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_without_permission(self, tmp_path):
        tmp_path.chmod(0o500)
        with pytest.raises(OutputError, match="permission denied"):
            claim(tmp_path / "run")

    def test_a_folder_without_permission_as_root_sees_it(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "access", lambda *arguments: False)
        with pytest.raises(OutputError, match=r"cannot be written \(permission denied\)"):
            claim(tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_checking_changes_nothing(self, tmp_path):
        RunFolder.check(tmp_path / "run", force=False)
        assert not (tmp_path / "run").exists()


class TestGoingOn:
    def test_the_same_run_finds_its_stages(self, tmp_path):
        first = claim(tmp_path / "run")
        assert first.remember("stage", Value, lambda: Value(3)) == Value(3)
        again = claim(tmp_path / "run")
        assert again.remember("stage", Value, lambda: Value(4)) == Value(3)

    @pytest.mark.parametrize(
        "changes",
        [
            {"export": ("openvino",)},
            {"on": ("none",)},
            {"output": "x"},
            {"quiet": True},
            {"model": "renamed.pt"},
            {"control": "narrow"},
        ],
    )
    def test_what_is_done_anew_may_change(self, tmp_path, changes):
        claim(tmp_path).remember("stage", Value, lambda: Value(3))
        options = RunOptions(**{"model": "net.pt", "method": "l1", **changes})
        assert claim(tmp_path, options).remember("stage", Value, lambda: Value(4)) == Value(3)

    @pytest.mark.parametrize(("options", "sha256"), [(RunOptions(method="l2"), "aa"), (OPTIONS, "bb")])
    def test_another_run_needs_force_and_starts_over(self, tmp_path, options, sha256):
        claim(tmp_path).remember("stage", Value, lambda: Value(3))
        with pytest.raises(OutputError, match=r"interrupted run of another model or with other options.*--force"):
            claim(tmp_path, options, sha256)
        forced = RunOptions(method=options.method, force=True)
        assert claim(tmp_path, forced, sha256).remember("stage", Value, lambda: Value(4)) == Value(4)

    def test_a_run_that_got_nowhere_is_in_nobodys_way(self, tmp_path):
        claim(tmp_path)
        claim(tmp_path, RunOptions(method="l2"))

    @pytest.mark.parametrize("content", ["", "{", '{"number": "three"}', '{"other": 3}'])
    def test_a_damaged_stage_is_done_again(self, tmp_path, content):
        folder = claim(tmp_path)
        (folder.work / "stage.json").write_text(content)
        assert folder.remember("stage", Value, lambda: Value(4)) == Value(4)
        assert folder.remember("stage", Value, lambda: Value(5)) == Value(4)

    def test_other_processes_read_and_never_write(self, tmp_path, monkeypatch):
        folder = claim(tmp_path)
        folder.remember("first", Value, lambda: Value(1))
        monkeypatch.setenv("RANK", "1")
        assert folder.remember("first", Value, lambda: Value(2)) == Value(1)
        assert folder.remember("second", Value, lambda: Value(2)) == Value(2)
        assert not (folder.work / "second.json").exists()

    def test_leaving_keeps_what_can_be_gone_on_from(self, tmp_path):
        nowhere = claim(tmp_path / "nowhere")
        (nowhere.work / "control").mkdir()  # made anew each time
        nowhere.leave()
        assert not nowhere.path.exists()
        somewhere = claim(tmp_path / "somewhere")
        somewhere.remember("stage", Value, lambda: Value(3))
        somewhere.leave()
        assert claim(tmp_path / "somewhere").remember("stage", Value, lambda: Value(4)) == Value(3)
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        claim(theirs).leave()
        assert list(theirs.iterdir()) == []


class TestFinishing:
    @staticmethod
    def work_of(folder, *names):
        paths = []
        for name in names:
            path = folder.work / name
            path.write_text(json.dumps(REPORT) if name == FINISHED else "new")
            paths.append(path)
        return paths

    def test_the_report_is_moved_last(self, tmp_path, monkeypatch):
        folder = claim(tmp_path / "run")
        files = self.work_of(folder, FINISHED, "plan.json", "model.onnx")
        order, replace = [], Path.replace

        def spied(path, target):
            order.append(path.name)
            return replace(path, target)

        monkeypatch.setattr(Path, "replace", spied)
        folder.finish(files)
        assert order == ["plan.json", "model.onnx", FINISHED]
        assert sorted(path.name for path in folder.path.iterdir()) == ["model.onnx", "plan.json", FINISHED]

    def test_only_files_of_the_replaced_run_go(self, tmp_path):
        run = finished(tmp_path / "run", model__onnx="old", model__data="old", model__mine="mine", notes__txt="mine")
        folder = claim(run, RunOptions(model="net.pt", method="l1", force=True))
        folder.finish(self.work_of(folder, FINISHED, "plan.json"))
        assert {path.name: path.read_text() for path in run.iterdir() if path.name != FINISHED} == {
            "plan.json": "new",
            "model.mine": "mine",
            "notes.txt": "mine",
        }

    def test_an_error_half_way_leaves_no_finished_run(self, tmp_path):
        run = finished(tmp_path / "run")
        folder = claim(run, RunOptions(model="net.pt", method="l1", force=True))
        files = self.work_of(folder, FINISHED, "plan.json")
        with pytest.raises(OutputError, match="no such file"):
            folder.finish([*files, folder.work / "never written"])
        with pytest.raises(ModelFileError, match="is not a finished run"):
            require_finished(run)
        again = claim(run)  # the same command goes on
        again.finish([file for file in files if file.exists()])
        require_finished(run)

    def test_a_passing_folder(self, tmp_path):
        folder = RunFolder.temporary(tmp_path / "temporary")
        assert folder.passing and folder.work.is_dir() and not claim(tmp_path / "run").passing
