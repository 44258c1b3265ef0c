"""Options from the command line, a recipe and Python, and what is out of range."""

import dataclasses
from pathlib import Path

import pytest

from compressor.core.errors import InvalidOption
from compressor.core.options import (
    PRESENTATION,
    RunOptions,
    changed,
    flag,
    options_from,
    read_recipe,
    recipe_of,
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"macs": 0.5, "params": 0.5}, "one of --macs, --params, --ratio, --speedup, --latency"),
        ({"prune": ["conv", "wings"]}, "some of conv, mlp, heads, head_dim, embed"),
        ({"threads": 0}, "--threads.*at least 1"),
        ({"batch_size": 0}, "--batch-size"),
        ({"round_to": -2}, "--round-to"),
        ({"seed": -1}, "--seed"),
        ({"seed": 1 << 40}, "--seed"),
        ({"mean": (0.5,)}, "--mean and --std"),
        ({"mean": (float("nan"),), "std": (1.0,)}, "--mean"),
        ({"mean": (0.5,), "std": (0.0,)}, "--std"),
        ({"lr": -1.0, "data": "d", "finetune_epochs": 1}, "--lr"),
        ({"finetune_epochs": 2}, "--finetune-epochs.*Add --data FOLDER"),
        ({"distill": True, "data": "d"}, "--distill.*--finetune-epochs"),
        ({"max_drop": 1.0}, "--max-drop.*Add --data FOLDER"),
        ({"max_drop": -0.1, "data": "d"}, "--max-drop.*from 0 to below 100"),
        ({"max_drop": float("nan"), "data": "d"}, "--max-drop.*from 0 to below 100"),
        ({"max_drop": 100.0, "data": "d"}, "--max-drop"),
        ({"max_drop": 1.0, "data": "d", "finetune_epochs": 2}, "--finetune-epochs.*left out.*Use --max-epochs"),
        ({"max_drop": 0.0, "data": "d", "recover": ("bn_reestimate",)}, "--recover.*left out with --max-drop"),
        ({"max_drop": 1.0, "data": "d", "max_epochs": -1}, "--max-epochs.*at least 0"),
        ({"max_epochs": 3, "data": "d"}, "--max-epochs.*used with --max-drop"),
        (
            {"control": "narrow", "on": ("none",)},
            r"`--on` must be a target, to time --control narrow on.*Leave --on out",
        ),
        ({"control_accuracy": 0.9}, "--control-accuracy.*used with --control"),
        ({"control_arch": "timm:x"}, "--control-arch.*used with --control"),
        ({"control_args": ("a=1",)}, "--control-args.*used with --control"),
        ({"device": "tpu"}, "--device.*auto, cpu, cuda or cuda:N"),
        ({"allocation": "both"}, "--allocation"),
    ],
)
def test_out_of_range(options, message):
    with pytest.raises(InvalidOption, match=message) as caught:
        RunOptions(**options)
    assert caught.value.exit_code == 2


def test_defaults_that_follow_from_others():
    assert RunOptions().budget == ("macs", 0.5) and RunOptions(ratio=0.3).budget == ("ratio", 0.3)
    assert RunOptions().formats == ("onnx",) and RunOptions(export=("none",)).formats == ()
    assert RunOptions(model="a/net.pt").output_folder == Path("net-compressed")
    assert RunOptions().output_folder == Path("model-compressed") and RunOptions(output="x").output_folder == Path("x")


def test_a_drop_is_in_points_however_it_is_typed():
    for typed in ("1%", "1", 1, 1.0, "1.0"):
        assert options_from({"data": "d", "max_drop": typed}).max_drop == 1.0
    assert options_from({"data": "d", "max_drop": 0}).max_drop == 0.0
    with_training = options_from(
        {"data": "d", "max_drop": 1, "max_epochs": 0, "distill": True, "lr": 0.1, "flip": True}
    )
    assert with_training.max_epochs == 0 and changed(with_training)["max_epochs"] == 0
    for wrong in ("little", "", "%", None, [1]):
        with pytest.raises(InvalidOption, match=r"--max-drop.*such as 1 or 1%"):
            options_from({"data": "d", "max_drop": wrong})
    with pytest.raises(InvalidOption, match=r"--max-epochs.*whole number"):
        options_from({"data": "d", "max_drop": 1, "max_epochs": 1.5})


def test_an_accuracy_is_a_share_however_it_is_typed():
    for typed in ("93.1%", "0.931", 0.931):
        assert options_from({"control": "narrow", "control_accuracy": typed}).control_accuracy == pytest.approx(0.931)
    for wrong in ("93.1", "high", -0.1, "101%", None):
        with pytest.raises(InvalidOption, match=r"--control-accuracy.*such as 93.1% or 0.931"):
            options_from({"control": "narrow", "control_accuracy": wrong})


def test_the_criterion_follows_from_what_there_is():
    assert RunOptions().criterion == "l1" and RunOptions(data="d").criterion == "reconstruction"
    assert RunOptions(data="d", finetune_epochs=1).criterion == RunOptions(data="d", max_drop=1.0).criterion == "l1"
    assert RunOptions(data="d", method="fpgm").criterion == "fpgm"


def test_measured_budgets():
    assert options_from({"speedup": "2x"}).budget == ("speedup", 2.0)
    assert options_from({"macs": 0.5}, {"latency": "5ms"}).budget == ("latency", 0.005)
    with pytest.raises(InvalidOption, match=r"`--on` must be a target, to measure --speedup.*Name the runtime"):
        options_from({"speedup": 2, "on": "none"})


def test_later_layers_win_and_a_typed_budget_replaces_the_recipes():
    options = options_from({"macs": "50%", "method": "l2", "seed": 1}, {"ratio": 0.3, "seed": 2})
    assert options == RunOptions(ratio=0.3, method="l2", seed=2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"metod": "l1"}, "Did you mean method"),
        ({"zebra": 1}, "See compress --help"),
        ({"threads": "two"}, "--threads.*whole number"),
        ({"threads": True}, "--threads.*whole number"),
        ({"threads": 1.5}, "--threads.*whole number"),
        ({"lr": "fast"}, "--lr.*number"),
        ({"trust": "yes"}, "--trust"),
        ({"method": 3}, "--method"),
        ({"mean": ["a"], "std": [1]}, "--mean.*numbers"),
    ],
)
def test_values_of_the_wrong_kind(given, message):
    with pytest.raises(InvalidOption, match=message):
        options_from(given)


def test_kinds_that_are_accepted():
    options = options_from(
        {"round-to": 8, "lr": 1, "data": "d", "finetune-epochs": 1, "mean": [0.5], "std": 1, "export": "onnx"}
    )
    assert (
        options.round_to == 8
        and isinstance(options.lr, float)
        and options.std == (1.0,)
        and options.export == ("onnx",)
    )


def test_a_recipe_brings_the_same_options_back(tmp_path):
    options = RunOptions(
        model="net.pt",
        macs=0.25,
        mean=(0.5,),
        std=(0.25,),
        ignore=("a", 'b "quoted" \\'),
        data="grün",
        finetune_epochs=2,
        distill=True,
        output="out",
        force=True,
    )
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_of(options), encoding="utf-8")
    shown = {name: getattr(options, name) for name in PRESENTATION}
    assert dataclasses.replace(options_from(read_recipe(path)), **shown) == options
    assert "out" not in read_recipe(path).values()


def test_recipes_that_cannot_be_read(tmp_path):
    for content, message in ((None, "readable TOML file"), (b"\xff\xfe", "readable TOML"), (b"a = = 1", "valid TOML")):
        path = tmp_path / "recipe.toml"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InvalidOption, match=message):
            read_recipe(path)


def test_what_was_changed():
    assert changed(RunOptions()) == {} and changed(RunOptions(seed=3, output="x", quiet=True)) == {"seed": 3}
    assert flag("finetune_epochs") == "--finetune-epochs"


def test_steps_of_widths_are_numbers_or_measured():
    assert options_from({"round_to": "8"}).round_to == 8 and options_from({"round_to": "auto"}).round_to == -1
    for wrong, place in (({"round_to": "some"}, "--round-to"), ({"round_to": "auto", "on": ["none"]}, "--on")):
        with pytest.raises(InvalidOption, match=place):
            options_from(wrong)
