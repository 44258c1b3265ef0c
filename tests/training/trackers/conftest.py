import pytest

from compressor.core.errors import MissingDependency
from compressor.core.plugins import PluginFolder

TRACKERS = PluginFolder("compressor.training.trackers", "tracker")


def made(name, folder):
    try:
        return TRACKERS.load(name)(folder)
    except MissingDependency as error:
        pytest.skip(str(error))


@pytest.fixture
def tracker():
    """Makes one by its name; the test is left out where its package is missing."""
    return made
