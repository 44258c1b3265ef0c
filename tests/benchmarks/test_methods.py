"""The benchmark of methods on a network made here: cells, resuming, refusals, and the page's arithmetic by hand."""

import doctest
import io
import itertools
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import methods
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from method_parts import arguments, ours, page, plot, ranking, repairs, rival, rows, schedule, section
from method_parts.cells import Choice, Chosen, Dense, Repaired, chosen_path, read, repaired_path
from method_parts.subject import MEAN, STD
from PIL import Image

from compressor.core.errors import UnsupportedModel
from compressor.surgery.cut import cut_copy

NETWORKS = """
from torch import nn
from torch.nn import functional


class Tiny(nn.Module):
    def __init__(self, norms=True):
        super().__init__()
        norm = nn.BatchNorm2d if norms else nn.Identity
        self.stem, self.norm0 = nn.Conv2d(3, 8, 3, padding=1, bias=False), norm(8)
        self.conv1, self.norm1 = nn.Conv2d(8, 16, 3, padding=1, bias=False), norm(16)
        self.conv2, self.norm2 = nn.Conv2d(16, 8, 3, padding=1, bias=False), norm(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = functional.relu(self.norm0(self.stem(x)))
        inner = functional.relu(self.norm1(self.conv1(x)))
        x = functional.relu(x + self.norm2(self.conv2(inner)))
        return self.head(x.mean(dim=(2, 3)))


def tiny():
    return Tiny()


def bare():
    return Tiny(norms=False)
"""
N_IMAGES = 40


def parquet(path, n, seed):
    numbers = np.random.default_rng(seed)
    encoded = []
    for _ in range(n):
        with io.BytesIO() as file:
            Image.fromarray(numbers.integers(0, 256, (8, 8, 3), np.uint8)).save(file, "PNG")
            encoded.append(file.getvalue())
    pq.write_table(pa.table({"image": encoded, "label": numbers.integers(0, 4, n)}), path)


def architecture(folder, name):
    scope = {}
    exec((folder / "networks.py").read_text(), scope)
    return scope[name]()


class Bench:
    """The script with files of its own."""

    def __init__(self, folder):
        self.folder, self.work = folder, folder / "work"
        (folder / "networks.py").write_text(NETWORKS)
        for name in ("tiny", "bare"):
            torch.manual_seed(3)
            model = architecture(folder, name)
            for layer in model.modules():
                if isinstance(layer, torch.nn.BatchNorm2d):
                    layer.weight.data.uniform_(0.5, 1.5)
                    layer.running_var.uniform_(0.5, 1.5)
            model.head.bias.data.zero_()  # else it alone would name the class
            model.head.weight.data -= model.head.weight.data.mean(1, keepdim=True)
            torch.save(model.state_dict(), folder / f"{name}_cifar10.pt")
        parquet(folder / "train.parquet", 64, 0)
        parquet(folder / "test.parquet", 60, 1)

    def run(self, monkeypatch, *arguments, work=None):
        own = ["--weights", self.folder, "--data", self.folder, "--architectures", self.folder / "networks.py"]
        own += ["--work", work or self.work, "--images", N_IMAGES]
        monkeypatch.setattr("sys.argv", ["methods.py", *map(str, own), *arguments])
        threads = torch.get_num_threads()
        try:
            return methods.main()
        finally:
            torch.set_num_threads(threads)

    def test_percent(self, model):
        """Accuracy on the first images, counted here."""
        table = pq.read_table(self.folder / "test.parquet").to_pydict()
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in table["image"][:N_IMAGES]])
        inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        inputs = (inputs - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        with torch.no_grad():
            right = model.eval()(inputs).argmax(1) == torch.tensor(table["label"][:N_IMAGES])
        return 100 * right.double().mean().item()

    def whole(self):
        model = architecture(self.folder, "tiny")
        model.load_state_dict(torch.load(self.folder / "tiny_cifar10.pt", weights_only=True))
        return model


COMMAND = ["--models", "tiny", "--methods", "l1,random,torch-pruning:l1", "--budgets", "50%", "--seeds", "0,1"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """After one run of two methods of ours and one of torch-pruning's."""
    bench = Bench(tmp_path_factory.mktemp("methods"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert bench.run(monkeypatch, *COMMAND, "--repairs", "none,bn_reestimate,no_such_repair") == 0
    return bench


def chosen(bench, *key):
    return read(Chosen, chosen_path(Choice("tiny", *key), bench.work))


def percent(bench, chain, *key):
    return read(Repaired, repaired_path(Choice("tiny", *key), chain, N_IMAGES, bench.work)).top1_percent


def test_a_cell_holds_the_accuracy_of_the_model_that_its_plan_makes(bench):
    for key in (("l1", "local", 0.5, 0), ("l1", "global", 0.5, 0), ("random", "local", 0.5, 1)):
        found = chosen(bench, *key)
        small = cut_copy(bench.whole(), found.plan.cuts, found.plan.attributes)
        assert percent(bench, "none", *key) == bench.test_percent(small)
        assert found.macs_share <= 0.5 and found.seconds > 0
    dense = read(Dense, bench.work / "tiny" / f"dense-{N_IMAGES}.json")
    assert dense.top1_percent == bench.test_percent(bench.whole())
    # 64 positions: 8 and 16 filters of 3x3, and 8 of 16 channels; the head once.
    assert dense.macs == 64 * (8 * 27 + 16 * 72 + 8 * 144) + 32


def test_the_inner_allocation_leaves_the_stream_whole(bench):
    assert set(chosen(bench, "l1", "local", 0.5, 0).plan.groups) == {"stem", "conv1"}
    assert set(chosen(bench, "l1", "inner", 0.5, 0).plan.groups) == {"conv1"}


def test_a_repair_begins_with_a_fresh_copy(bench, monkeypatch, tmp_path):
    """Measured in the other order, both cells are the same."""
    command = ["--models", "tiny", "--methods", "l1", "--budgets", "50%", "--seeds", "0", "--allocations", "local"]
    assert bench.run(monkeypatch, *command, "--repairs", "bn_reestimate,none", work=tmp_path) == 0
    key = ("l1", "local", 0.5, 0)
    for chain in ("none", "bn_reestimate"):
        other = read(Repaired, repaired_path(Choice("tiny", *key), chain, N_IMAGES, tmp_path))
        assert other.top1_percent == percent(bench, chain, *key)
        assert (other.repair_s > 0) == (chain != "none")


def test_a_chain_goes_on_with_what_the_former_left():
    """Two recoveries that note what they were given; the second runs once though it ends no other chain."""
    calls = []

    def plugin(name):
        class Recovery:
            def apply(self, context, progress):
                context.model.notes.append(name)
                calls.append(tuple(context.model.notes))
                return {}

        return Recovery

    model = torch.nn.Identity()
    model.notes = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(repairs, "RECOVERIES", type("Folder", (), {"load": staticmethod(plugin)}))
        monkeypatch.setattr(repairs, "time", type("Clock", (), {"perf_counter": itertools.count().__next__}))
        monkeypatch.setattr(repairs, "evaluate", lambda model, _: (float(len(model.notes)), 1))
        subject = type("Subject", (), {"covered": lambda *_: (SOURCE, None), "data": DATA})()
        made = repairs.Repairs(subject, Chosen(Choice("tiny", "l1", "local", 0.5, 0)), model)
        found = [made.measure(chain) for chain in ("a", "a+b", "none", "b")]
    assert calls == [("a",), ("a", "b"), ("b",)]
    assert [each.top1_percent for each in found] == [1.0, 2.0, 0.0, 1.0]
    assert [each.repair_s for each in found] == [1.0, 2.0, 0.0, 1.0]  # by a clock that counts


SOURCE = type("Source", (), {"module": None, "inputs": None})()
DATA = type("Data", (), {"train": None, "val": None})()


def test_a_seed_without_a_part_in_the_choice_is_measured_once(bench):
    assert chosen(bench, "l1", "local", 0.5, 1).same_as_seed == 0
    assert not repaired_path(Choice("tiny", "l1", "local", 0.5, 1), "none", N_IMAGES, bench.work).exists()
    assert chosen(bench, "random", "local", 0.5, 1).same_as_seed is None
    assert not (bench.work / "tiny" / "torch-pruning_l1-inner-50-1").exists()


def test_torch_pruning_comes_as_near_to_the_budget_as_whole_widths_allow(bench):
    found = chosen(bench, "torch-pruning:l1", "inner", 0.5, 0)
    assert not found.failure

    # k of 16 inner channels leave 64 * (216 + 144 k) + 32 MACs: 8 leave 54.3 %, too many, and 7 leave 48.6 %.
    def share(k):
        return (64 * (216 + 144 * k) + 32) / (64 * (216 + 144 * 16) + 32)

    assert share(8) > 0.5 * (1 + rival.TOLERANCE) > share(7) == found.macs_share
    assert 7 / 16 <= 1 - found.pruning_ratio < 8 / 16


def test_what_is_done_is_not_run_again(bench, monkeypatch, capsys):
    before = {path: path.read_bytes() for path in bench.work.rglob("*.json")}
    lost = repaired_path(Choice("tiny", "l1", "global", 0.5, 0), "bn_reestimate", N_IMAGES, bench.work)
    lost.unlink()
    assert bench.run(monkeypatch, *COMMAND, "--repairs", "none,bn_reestimate") == 0
    said = capsys.readouterr().out
    assert "10 choices, 1 to run, about 0 min" in said and said.count("bn_reestimate") == 1
    assert json.loads(lost.read_text())["top1_percent"] == json.loads(before.pop(lost))["top1_percent"]
    assert {path: path.read_bytes() for path in before} == before


def test_an_interrupted_run_keeps_what_it_has(bench, monkeypatch, capsys, tmp_path):
    real = methods.save

    def interrupted(value, path):
        if isinstance(value, Repaired) and value.chain == "bn_reestimate":
            raise KeyboardInterrupt
        real(value, path)

    monkeypatch.setattr(methods, "save", interrupted)
    command = ["--models", "tiny", "--methods", "l1", "--budgets", "50%", "--seeds", "0", "--allocations", "local"]
    command += ["--repairs", "none,bn_reestimate"]
    assert bench.run(monkeypatch, *command, work=tmp_path) == 130
    assert capsys.readouterr().err == "error: interrupted; the same command goes on with the cells that are left\n"
    kept = sorted(path.name for path in tmp_path.rglob("*.json"))
    assert kept == ["chosen.json", f"dense-{N_IMAGES}.json", f"none-{N_IMAGES}.json"]
    monkeypatch.setattr(methods, "save", real)
    assert bench.run(monkeypatch, *command, work=tmp_path) == 0
    assert len(list(tmp_path.rglob("*.json"))) >= 4


def test_refusals_and_bugs_are_sentences_and_no_results(bench, monkeypatch, capsys, tmp_path):
    docs = tmp_path / "page.md"
    command = ["--models", "bare", "--budgets", "50%", "--seeds", "0", "--methods"]
    assert bench.run(monkeypatch, *command, "bn_scale", work=tmp_path) == 0
    monkeypatch.setattr(ours, "decide", lambda *_: {}["lost"])
    assert bench.run(monkeypatch, *command, "l2", work=tmp_path) == 0
    assert "[bug] KeyError: 'lost'" in capsys.readouterr().out
    assert bench.run(monkeypatch, *command, "l2,bn_scale", "--write-docs", str(docs), work=tmp_path) == 0
    lines = docs.read_text().splitlines()
    assert any(line.startswith("| 50% | l2 |") and line.endswith("| refused | refused |") for line in lines)
    refused = lines[lines.index("## Refused") :]
    assert any("[bug] KeyError: 'lost'" in line and "(bare l2 local 50%)" in line for line in refused)
    assert any("(bare bn_scale global 50%)" in line for line in refused)
    assert "cells have not been measured" not in docs.read_text()


def test_a_repair_that_fails_is_no_result():
    def failing(error):
        def apply(*_):
            raise error

        return type("Recovery", (), {"apply": apply})

    errors = {"refuses": UnsupportedModel("not here."), "breaks": ZeroDivisionError("by zero")}
    with pytest.MonkeyPatch.context() as monkeypatch:
        load = staticmethod(lambda name: failing(errors[name]))
        monkeypatch.setattr(repairs, "RECOVERIES", type("Folder", (), {"load": load}))
        subject = type("Subject", (), {"covered": lambda *_: (SOURCE, None), "data": DATA})()
        made = repairs.Repairs(subject, Chosen(Choice("tiny", "l1", "local", 0.5, 0)), torch.nn.Identity())
        assert made.measure("refuses").failure == "not here."
        assert made.measure("breaks").failure.startswith("[bug] ZeroDivisionError: by zero (")


def test_the_page_is_made_of_the_cells_that_are_there(bench, monkeypatch, tmp_path):
    docs = tmp_path / "page.md"
    command = ["--models", "tiny", "--budgets", "50%,30%", "--seeds", "0", "--write-docs", str(docs)]
    before = sorted(bench.work.rglob("*"))
    assert bench.run(monkeypatch, *command, "--methods", "l1", "--repairs", "none,bn_reestimate") == 0
    assert sorted(bench.work.rglob("*")) == before
    text = docs.read_text()
    # Three allocations of l1 at the second budget, with two repairs each.
    assert "**6 cells have not been measured yet" in text
    line = next(line for line in text.splitlines() if line.startswith("| 50% | l1 |  | inner |"))
    values = [percent(bench, chain, "l1", "inner", 0.5, 0) for chain in ("none", "bn_reestimate")]
    assert [cell.strip(" *") for cell in line.split("|")[7:9]] == [f"{value:.1f}" for value in values]
    assert "![Accuracy against MACs](page.svg)" in text
    ElementTree.parse(tmp_path / "page.svg")


def test_wrong_options(bench, monkeypatch, capsys):
    for typed, said in (
        (["--methods", "l1,l7"], "must be some of"),
        (["--budgets", "0.5,120%"], "must be percents between 0 and 100"),
    ):
        with pytest.raises(SystemExit):
            bench.run(monkeypatch, *typed)
        assert said in capsys.readouterr().err
    assert bench.run(monkeypatch, "--models", "tiny", "--images", "61") == 2
    assert "holds 60 images, but --images asks for 61" in capsys.readouterr().err


def test_natural_allocations():
    natural = {name: ours.natural_allocation(name) for name in ("l1", "taylor", "random", "reprune", "representative")}
    assert natural == {
        "l1": "local",
        "taylor": "global",
        "random": "local",
        "reprune": "global",
        "representative": "local",
    }


def test_the_first_seed_of_all_comes_before_the_next_of_any():
    request = schedule.Request(["a", "b"], ["random", "torch-pruning:l1"], [0.5], ["natural"], [0, 1], ["none"], 10)
    order = [(choice.seed, choice.model, choice.method) for choice in schedule.choices(request)]
    theirs = [(0, model, "torch-pruning:l1") for model in ("a", "b") for _ in rival.ALLOCATIONS]
    assert order == [
        (0, "a", "random"),
        *theirs[:2],
        (0, "b", "random"),
        *theirs[2:],
        (1, "a", "random"),
        (1, "b", "random"),
    ]


def test_the_estimate_is_of_what_was_measured(tmp_path):
    """Known times are means, unknown ones as many evaluations of the whole model as there are steps and the budget."""
    first, second = (Choice("a", "l1", "local", budget, 0) for budget in (0.5, 0.3))
    request = schedule.Request(["a"], ["l1"], [0.5, 0.3], ["local"], [0], ["none", "x+y"], 10)
    methods.save(Chosen(first, seconds=2.0), chosen_path(first, tmp_path))
    methods.save(Repaired("none", 1.0, 10, 0.5, 2.5), repaired_path(first, "none", 10, tmp_path))
    remaining = schedule.Remaining(request, tmp_path, {"a": Dense("a", 90.0, 10, 10.0, 1)})
    assert remaining.waiting([first, second]) == [first, second]
    # The first: x+y is 10 * (0.5 + 2); the second: none is known, x+y is 10 * (0.3 + 2). Choosing is 2 each.
    assert remaining.seconds([first, second]) == pytest.approx((2 + 25) + (2 + 3 + 23))


DENSE = {"a": Dense("a", 90.0, 400, 1.0, 1), "b": Dense("b", 80.0, 400, 1.0, 1)}


def row(model, method, percents, budget=0.5, allocation="local", share=None, **more):
    return rows.Row(model, method, allocation, budget, (1.0,), (share or budget,), percents, **more)


def test_recipes_are_ranked_by_what_they_cost_on_average():
    every = [
        row("a", "l1", {"none": (50.0,), "neuron_merging": (65.0,), "least_squares": (70.0, 72.0)}),
        row("b", "l1", {"none": (60.0,), "neuron_merging": (69.0,), "least_squares": (70.0,)}),
        row("a", "reconstruction", {"least_squares": (72.0,)}),
        row("b", "reconstruction", {"least_squares": (70.0,)}),
        row("a", "l2", {"none": (80.0,)}),
        row("b", "l2", {"none": (50.0,)}),
        row("a", "fpgm", {"none": (89.0,)}),  # nobody knows of b
        row("a", "random", {"none": (89.0,)}),
        row("b", "random", {"none": (79.0,)}, share=0.6),  # larger than was asked for
        row("a", "taylor", {"none": (88.0,)}, allocation="global"),
        row("b", "taylor", {"none": (78.0,)}, allocation="global"),
        row("a", "torch-pruning:l1", {"none": (90.0,)}, allocation="inner"),
        row("b", "torch-pruning:l1", {"none": (80.0,)}, allocation="inner"),
    ]
    found = [(each.recipe.method, each.recipe.chain, each.drop) for each in ranking.ranking(every, DENSE)]
    assert found == [
        ("torch-pruning:l1", "none", 0.0),
        ("taylor", "none", 2.0),
        ("reconstruction", "least_squares", 14.0),
        ("l1", "least_squares", 14.5),  # 90 - 71 and 80 - 70
        ("l1", "neuron_merging", 18.0),
        ("l2", "none", 20.0),
        ("l1", "none", 30.0),
    ]
    advice = "\n".join(page._advice(every, DENSE))
    assert "- **No images, no repair**: `--method l2 --allocation local`, 20.0 points below" in advice
    best = (
        "- **Images without labels**: `--method reconstruction --allocation local --recover least_squares`, 14.0 points"
    )
    assert best in advice and "--recover neuron_merging`, 18.0." in advice
    assert "- **Images with labels**: `--method taylor --allocation global`, 2.0 points below" in advice
    merging = "`--method l1 --allocation local --recover neuron_merging`: 18.0 points below"
    assert f"without images is {merging}, the best of 3." in advice
    refitted = "`--method reconstruction --allocation local --recover least_squares`: 14.0 points below"
    assert f"with images is {refitted}, the best of 5." in advice
    best = "`--method l1 --allocation local --recover least_squares` keeps 70.0 % of 80.0 %, 10.0 points below."
    theirs = "Torch-pruning's best with nothing: `l1` (inner), 80.0 %."
    assert f"- Half of the MACs of b, no labels, no training: {best} {theirs}" in advice


def test_the_table_shows_the_seeds_and_what_is_missing():
    lines = page._table(
        [row("a", "random", {"none": (10.0, 14.0, 12.0)}), row("a", "l1", {"bn_reestimate": (70.0,)}, share=0.6)],
        DENSE["a"],
        ["none", "bn_reestimate"],
    )
    assert lines[2:] == [
        "| 100% | whole | | | | 100.0% | 90.0 | |",
        "| 50% | l1 |  | local | 1.00 | 60.0% (!) | – | **70.0** |",
        "| 50% | random |  | local | 1.00 | 50.0% | **12.0 ± 2.0** | – |",
    ]


def test_the_plot_has_a_point_for_each_best_cell():
    every = [
        row("a", "l1", {"none": (20.0,), "bn_reestimate": (60.0,)}),
        row("a", "l1", {"none": (70.0,)}, allocation="inner"),
        row("a", "l1", {"none": (80.0,)}, budget=0.7),
        row("a", "torch-pruning:l1", {"none": (30.0,)}, allocation="inner"),
        row("a", "torch-pruning:fpgm", {"none": (40.0,)}, allocation="inner"),
    ]
    assert plot.lines_of(every) == [
        plot.Line("l1", ((0.5, 70.0), (0.7, 80.0))),
        plot.Line(plot.RIVAL, ((0.5, 40.0),)),
    ]
    tree = ElementTree.fromstring(plot.plot(every, {"a": DENSE["a"]}))
    circles = [float(node.get("cy")) for node in tree.iter() if node.tag.endswith("circle")]
    assert circles == [plot.TOP + plot.HEIGHT * below for below in (0.3, 0.2, 0.6)]


def test_five_lines_besides_those_that_are_always_drawn():
    names = ["m0", "m1", "m2", "m3", "m4", "m5", "m6"]
    lines = [plot.Line(name, ((0.5, 90.0 - i),)) for i, name in enumerate(names)]
    lines += [plot.Line("random", ((0.5, 5.0),)), plot.Line(plot.RIVAL, ((0.5, 95.0), (0.7, 96.0)))]
    assert plot.drawn({"a": lines}) == [*names[:5], "random", plot.RIVAL]


@pytest.mark.parametrize("part", [arguments, repairs, section])
def test_examples(part):
    assert doctest.testmod(part).failed == 0 < doctest.testmod(part).attempted


def test_the_script_says_how_it_is_called():
    text = (Path(methods.__file__)).read_text()
    assert set(re.findall(r"--[a-z-]+", methods.__doc__)) <= set(re.findall(r'"(--[a-z-]+)"', text))
