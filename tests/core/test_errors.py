"""The tree at the top of errors.py is the tree that is there, and every sentence has its parts."""

import inspect
import re

import pytest

from compressor.core import errors
from compressor.core.errors import CompressionError, InvalidOption, MissingDependency, UnknownPlugin

CLASSES = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, CompressionError)]


def drawn():
    """{name: (parent, exit code)} of the tree in the docstring."""
    found, path = {}, [(-1, "CompressionError")]
    for line in errors.__doc__.splitlines():
        match = re.match(r"^( *)\+ (\w+)\s+.*?(\d+)$", line)
        if not match:
            continue
        depth = len(match[1])
        while path[-1][0] >= depth:
            path.pop()
        found[match[2]] = (path[-1][1], int(match[3]))
        path.append((depth, match[2]))
    return found


def test_the_drawn_tree_is_the_real_one():
    real = {kind.__name__: (kind.__base__.__name__, kind.exit_code) for kind in CLASSES if kind is not CompressionError}
    assert drawn() == real


def test_every_class_says_what_it_is():
    assert all(kind.__doc__ for kind in CLASSES) and CompressionError.exit_code == 70


def test_the_sentence_of_an_option():
    error = InvalidOption("planning", "--round-to", "at least 1", -3, "Leave it out.")
    assert str(error) == "planning: `--round-to` must be at least 1, but got -3. Leave it out."
    assert (error.owner, error.option, error.allowed, error.got) == ("planning", "--round-to", "at least 1", -3)
    assert str(InvalidOption("a", "b", "c", "d")) == "a: `b` must be c, but got 'd'."
    assert str(InvalidOption("a", "b", "c", None)) == "a: `b` must be c, but was not given."


@pytest.mark.parametrize(("name", "hint"), [("l11", "Did you mean 'l1'? "), ("zebra", "")])
def test_the_nearest_name_is_suggested(name, hint):
    error = UnknownPlugin("method", name, ["l2", "l1"])
    assert str(error) == f"No method is named '{name}'. {hint}There are: l1, l2."
    assert error.known == ["l1", "l2"]


def test_what_to_install():
    error = MissingDependency("target 'x'", "some_package", "some-package")
    assert str(error).endswith("'some_package', which is not installed. Run: pip install some-package")
    assert error.exit_code == 3
