from compressor.core.progress import SilentProgress


def test_silence(capsys):
    progress = SilentProgress()
    with progress.step("a title", total=3) as step:
        step.advance()
        step.advance(2.0, note="a note")
    progress.note("a sentence")
    assert capsys.readouterr() == ("", "")
