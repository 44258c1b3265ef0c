"""Threads sleep while they wait, unless the user said otherwise; what is timed runs as the user gave it."""

import os

import pytest

from compressor.core.waiting import POLICY, environment_as_given, wait_asleep


@pytest.mark.parametrize(("given", "ours"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_only_our_own_choice_is_taken_back(monkeypatch, given, ours):
    monkeypatch.setattr(os, "environ", {"HOME": "/home/me", **({POLICY: given} if given else {})})
    before = dict(os.environ)
    wait_asleep()
    assert os.environ[POLICY] == ours
    wait_asleep()  # again, as a process that we start would
    assert environment_as_given() == before
