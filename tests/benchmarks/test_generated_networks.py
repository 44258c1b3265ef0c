"""The benchmark of generated networks says what passed, and shows the network of what failed."""

from dataclasses import replace

import pytest

from benchmarks import generated_networks
from compressor.core.groups import Role


def run(monkeypatch, *options):
    monkeypatch.setattr("sys.argv", ["generated_networks.py", *options])
    return generated_networks.main()


def test_cases_that_pass(monkeypatch, capsys):
    assert run(monkeypatch, "--cases", "3", "--seed", "7") == 0
    said = capsys.readouterr().out
    assert said.startswith("3 of 3 cases passed (") and said.rstrip().endswith("the next seed is 10")


def test_the_time_is_up(monkeypatch, capsys):
    assert run(monkeypatch, "--minutes", "0") == 0
    assert "0 of 0 cases passed" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["reversed", "raises"])
def test_a_case_that_fails(monkeypatch, capsys, change):
    find = generated_networks.find

    def broken(model, x):
        if change == "raises":
            raise RuntimeError("no such thing")
        found = find(model, x)
        return replace(found, groups=[reversed_consumers(group) for group in found.groups])

    monkeypatch.setattr(generated_networks, "find", broken)
    assert run(monkeypatch, "--cases", "1", "--seed", "3") == 1
    said = capsys.readouterr().out
    assert "seed 3 failed: " in said and "Stem(out=" in said and "\nseed " in said
    assert ("no such thing" if change == "raises" else "cutting differs from masking") in said


def reversed_consumers(group):
    """Readers that take the last channel for the first."""
    members = [
        replace(m, axes=tuple(replace(a, channel=a.channel[::-1]) for a in m.axes)) if m.role is Role.CONSUMER else m
        for m in group.members
    ]
    return replace(group, members=tuple(members))
