"""Groups and coverage of twelve models are what they were when somebody last looked at them."""

import difflib

import pytest

from tests.graph.reference_models import ENTRIES, describe, file_of


@pytest.mark.parametrize("name", ENTRIES)
def test_groups_and_coverage(name):
    known, found = file_of(name).read_text(), describe(name)
    difference = "".join(difflib.unified_diff(known.splitlines(True), found.splitlines(True), "committed", "now"))
    assert not difference, f"if this is meant: python -m tests.graph.reference_models\n{difference}"
