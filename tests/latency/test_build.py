"""Tables are measured once, until they are good enough; steps are those at which the runtime's graph holds."""

import math
import random
from dataclasses import replace

import pytest

from compressor.core.errors import UnsupportedModel
from compressor.core.progress import SilentProgress
from compressor.latency import build as module
from compressor.latency.build import FEWEST, MOST, Tabulation
from compressor.latency.lines import LEAST_SAMPLES
from compressor.latency.store import Place, Store
from tests.latency.conftest import Network, Runtime

PLACE = Place({"cpu": "one"}, "fake", {}, 1, 1)


@pytest.fixture
def notes():
    return []


@pytest.fixture
def make(tmp_path, notes):
    """A tabulation of a runtime; the store is the same each time."""

    def tabulation(runtime, root=tmp_path / "cache"):
        room = tmp_path / "room"
        room.mkdir(exist_ok=True)
        store = Store(PLACE, notes.append, root)
        return Tabulation(runtime, runtime.network.extents, runtime, store, room, SilentProgress(), "fake")

    return tabulation


def widths(runtime):
    """What was profiled; each file once or twice in a row."""
    found = []
    for each in runtime.profiled:
        if not found or found[-1] != each:
            found.append(each)
    return found


def test_enough_and_no_more(make, network, tmp_path):
    runtime = Runtime(network)
    model = make(runtime).build(network.grids(8))
    timed = len(widths(runtime))
    assert FEWEST <= timed < MOST and model.fitted.n_samples >= FEWEST
    for kind in model.kinds:
        if kind.share >= module.COUNTS and kind.n_variables:
            assert kind.n_sizes >= min(6, module.ENOUGH[kind.n_variables])
    assert widths(runtime)[0] == {"a": 64, "b": 96, "c": 128}
    assert model.whole({"a": 24, "b": 48}) == pytest.approx(network.whole_s(24, 48, 128), rel=1e-2)
    assert list((tmp_path / "room").iterdir()) == []


def test_the_second_time_nothing_is_measured(make, network, notes):
    first = make(Runtime(network)).build(network.grids(8))
    again = Runtime(network)
    assert make(again).build(network.grids(8)).whole({"a": 24}) == first.whole({"a": 24})
    assert again.profiled == [] and notes == []
    other = Runtime(network)
    make(other).build(network.grids(16))
    assert other.profiled  # other widths


def test_another_model_is_measured_though_what_is_known_helps(make, network, tmp_path):
    make(Runtime(network)).build(network.grids(8))
    wider = replace(network, c=160)
    runtime = Runtime(wider)
    make(runtime).build(wider.grids(8))
    alone = Runtime(wider)
    make(alone, root=tmp_path / "empty").build(wider.grids(8))
    assert 0 < len(widths(runtime)) <= len(widths(alone))


def test_an_interrupted_build_goes_on(make, network):
    interrupted = Runtime(network)
    interrupted.fail_after = 9
    tabulation = make(interrupted)
    with pytest.raises(KeyboardInterrupt):
        tabulation.build(network.grids(8))
    done = widths(interrupted)
    rest = Runtime(network)
    model = make(rest).build(network.grids(8))
    assert widths(rest)[0] == done[-1]  # the one that was not finished
    assert len(widths(rest)) < FEWEST + 8 and model.fitted.n_samples >= FEWEST


def test_groups_with_few_counts_are_not_measured_for_ever(make):
    """Of nodes on one group with two counts there are two sizes, and six can never be seen."""
    network = Network()
    grids = {"a": [32, 64], "b": [96], "c": [64, 128]}
    runtime = Runtime(network)
    model = make(runtime).build(grids)
    assert model.fitted.n_samples == FEWEST
    for a in (32, 64):
        for c in (64, 128):
            assert model.whole({"a": a, "c": c}) == pytest.approx(network.whole_s(a, 96, c), rel=5e-3)


def test_it_ends(make, network, monkeypatch):
    """However much is wanted."""
    monkeypatch.setattr(module, "ENOUGH", dict.fromkeys(range(1, 5), 10**6))
    monkeypatch.setattr(module, "POSSIBLE", 10**6)
    runtime = Runtime(network)
    assert make(runtime).build(network.grids(8)).fitted.n_samples == MOST
    monkeypatch.setattr(module, "LIMIT_S", 0.0)
    slow = Runtime(replace(network, a=72))
    assert make(slow).build(slow.network.grids(8)).fitted.n_samples == FEWEST


def test_longer_where_inferences_are_short(make, network):
    """The second profile has as many inferences as fit."""
    asked = []
    runtime = Runtime(network)
    profile = runtime.profile
    runtime.profile = lambda path, n: (asked.append(n), profile(path, n))[1]
    make(runtime).build({name: grid[-1:] for name, grid in network.grids(8).items()})
    assert set(asked) == {module.FEW_INFERENCES, module.MANY_INFERENCES}


def test_neither_the_profiler_nor_the_machine_s_moods_are_learnt(make, network):
    """A profiler that adds a third to the nodes' time, on a machine that is at times half as fast again."""
    runtime = Runtime(network)
    runtime.profiler_s = sum(node.seconds for node in network.nodes(64, 96, 128)) / 21
    generator = random.Random(0)
    runtime.mood = lambda: generator.choice([1.0, 1.5])
    model = make(runtime).build(network.grids(8))
    for widths in ({"a": 24, "b": 48}, {"a": 32, "b": 48, "c": 64}, {"c": 64}):
        wanted = network.whole_s(**{"a": 64, "b": 96, "c": 128, **widths}) / network.whole_s(64, 96, 128)
        assert model.whole(widths) / model.whole({}) == pytest.approx(wanted, rel=0.1)


def padded(block):
    """A runtime that computes on whole blocks and says so, in all but the input and the output."""

    def nodes(widths, found):
        up = {name: math.ceil(n / block) * block for name, n in widths.items()}
        return Network().nodes(**up)

    return nodes


def other_graph(block):
    """A runtime that adds nodes where a width is no multiple of its block."""

    def nodes(widths, found):
        odd = [n for n in widths.values() if n % block]
        return (*found, *(replace(found[-1], operator="Pad") for _ in odd))

    return nodes


@pytest.mark.parametrize("rule", [padded, other_graph])
@pytest.mark.parametrize("block", [16, 8, 4])
def test_the_finest_step(make, network, rule, block):
    assert make(Runtime(network, rule(block))).finest_step(network.grids) == block


def test_the_finest_step_of_a_runtime_without_blocks(make, network):
    runtime = Runtime(network)
    assert make(runtime).finest_step(network.grids) == module.STEPS[-1]
    assert len(widths(runtime)) <= len(module.STEPS) * (LEAST_SAMPLES + 1)
    again = Runtime(network)
    make(again).finest_step(network.grids)
    assert again.profiled == []


def test_groups_too_narrow_to_tell(make):
    """With steps of 16 and 8 there is only the whole; what they are measured at says nothing of finer ones."""
    network = Network(a=8, b=8, c=8)
    runtime = Runtime(network)
    grids = lambda step: {name: [*range(min(step, 8), 8, step), 8] for name in "abc"}  # noqa: E731
    assert make(runtime).finest_step(grids) == 2


def test_a_graph_that_always_changes(make, network):
    def nodes(widths, found):
        return (*found, *[found[-1]] * (sum(widths.values()) % 97))

    with pytest.raises(UnsupportedModel, match="fake runs another graph at each choice of widths"):
        make(Runtime(network, nodes)).finest_step(network.grids)
    with pytest.raises(UnsupportedModel, match=r"another graph at each choice of widths \(only \d samples"):
        make(Runtime(network, nodes)).build(network.grids(8))


def test_files_go_even_where_profiling_fails(make, network, tmp_path):
    runtime = Runtime(network)
    runtime.fail_after = 0
    with pytest.raises(KeyboardInterrupt):
        make(runtime).build(network.grids(8))
    assert list((tmp_path / "room").iterdir()) == []
