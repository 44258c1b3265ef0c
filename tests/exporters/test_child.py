from __future__ import annotations

import sys
from pathlib import Path

import pytest

from exporters.child import run_child


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("", ""),
        ("import sys; print('first', file=sys.stderr); sys.exit('the reason')", "the reason"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
            "the process was ended by SIGSEGV: it printed nothing",
        ),
        ("import sys; sys.exit(9)", "the process ended with exit code 9: it printed nothing"),
        ("import time; time.sleep(60)", "not finished after 2 s"),
        ("print('noise')", ""),
    ],
)
def test_how_a_child_ends_is_one_sentence(tmp_path: Path, code: str, said: str, capfd) -> None:
    if sys.platform == "win32" and "SIGSEGV" in code:
        pytest.skip("no such signal")
    (tmp_path / "trial.py").write_text(code)
    assert run_child("trial", [], tmp_path, 2.0) == said
    assert capfd.readouterr() == ("", "")
