import importlib.util
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def tiny():
    """The module tiny.py beside this file."""
    spec = importlib.util.spec_from_file_location("tiny", Path(__file__).with_name("tiny.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def assert_same():
    def check(a, b):
        first, second = a.state_dict(), b.state_dict()
        assert first.keys() == second.keys()
        for name in first:
            assert torch.equal(first[name], second[name]), name

    return check
