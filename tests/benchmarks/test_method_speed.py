"""Time to choose on a network that is made here; the orchestration and the table by hand."""

import method_speed
import pytest
import torch
from method_parts.cells import read, save
from torch import nn
from zoo_parts.memory import growth_of_memory
from zoo_parts.processes import Ended


def tiny(arch):
    assert arch == "torchvision:tiny"
    torch.manual_seed(0)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)]
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), *head).eval()


def run(monkeypatch, work, *arguments):
    monkeypatch.setattr("sys.argv", ["method_speed.py", "--work", str(work), "--side", "8", *arguments])
    threads = torch.get_num_threads()
    try:
        return method_speed.main()
    finally:
        torch.set_num_threads(threads)


def known(work, name):
    return read(method_speed.Speed, method_speed.speed_path(work, "tiny", name))


def test_a_method_takes_turns_with_l1(monkeypatch, tmp_path):
    asked = []
    real = method_speed.plan_of

    def noting(record):
        asked.append(record.options.method)
        plan = real(record)
        assert plan.macs[1] <= 0.5 * plan.macs[0]
        return plan

    monkeypatch.setattr(method_speed, "random_model", tiny)
    monkeypatch.setattr(method_speed, "plan_of", noting)
    assert run(monkeypatch, tmp_path, "--one", "method", "tiny", "fpgm", "--rounds", "2") == 0
    assert asked == ["l1", "fpgm", "l1", "fpgm", "fpgm", "l1"]
    found = known(tmp_path, "fpgm")
    assert len(found.seconds) == len(found.l1_s) == 2 and min(found.seconds + found.l1_s) > 0
    assert found.peak_mib > 10 and found.growth_mib >= 0 and found.n_images == 0


def test_a_repair_is_given_the_images(monkeypatch, tmp_path):
    monkeypatch.setattr(method_speed, "random_model", tiny)
    arguments = ["--one", "repair", "tiny", "bn_reestimate", "--images", "20"]
    assert run(monkeypatch, tmp_path, *arguments) == 0
    found = known(tmp_path, "bn_reestimate")
    assert found.n_images == 20 and len(found.seconds) == 1 and found.l1_s == ()


def test_each_pair_is_a_process_that_is_not_started_twice(monkeypatch, tmp_path, capsys):
    started = []

    def process(command, limits):
        kind, model, name = command[command.index("--one") + 1 :][:3]
        started.append((kind, model, name))
        if name == "lamp":
            return Ended("not finished after 5 s", "limit", 5.0, 1)
        save(method_speed.Speed(model, name, (3.0,), (1.0,)), method_speed.speed_path(tmp_path, model, name))
        return Ended("", "", 1.0, 1)

    monkeypatch.setattr(method_speed, "run_command", process)
    for _ in range(2):
        assert run(monkeypatch, tmp_path, "--pairs", "tiny:fpgm,tiny:lamp", "--repairs", "tiny:bn_reestimate") == 0
    assert started == [("method", "tiny", "fpgm"), ("method", "tiny", "lamp"), ("repair", "tiny", "bn_reestimate")]
    assert known(tmp_path, "lamp").failure == "not finished after 5 s"
    assert "**not finished after 5 s**" in capsys.readouterr().out


def test_by_default_every_method_without_data_and_every_repair(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["method_speed.py", "--work", str(tmp_path)])
    wanted = method_speed._wanted(method_speed._options())
    assert ("method", "resnet50", "lamp") in wanted and ("method", "resnet152", "reprune") in wanted
    assert ("repair", "resnet50", "bn_reestimate") in wanted
    assert not {"taylor", "hrank", "finetune"} & {name for _, _, name in wanted}


def test_memory_grows_by_what_is_held():
    with growth_of_memory() as memory:
        held = torch.ones(50, 2**18)  # 50 MiB
    del held
    assert memory.growth_bytes is None or 49 * 2**20 < memory.growth_bytes < 80 * 2**20


def test_the_table(monkeypatch, tmp_path):
    docs = tmp_path / "results.md"
    docs.write_text("# Results\n")
    speeds = (
        method_speed.Speed("tiny", "fpgm", (6.0, 4.0, 2.0), (2.0, 1.0, 1.0), 300.4, 12.3, cpu="a CPU"),
        method_speed.Speed("tiny", "bn_reestimate", (7.0,), (), 500.0, 50.0, 256, "a CPU"),
    )
    for speed in speeds:
        save(speed, method_speed.speed_path(tmp_path, "tiny", speed.name))
    arguments = ["--pairs", "tiny:fpgm,tiny:l2", "--repairs", "tiny:bn_reestimate", "--write-docs", str(docs)]
    assert run(monkeypatch, tmp_path, *arguments) == 0
    lines = docs.read_text().splitlines()
    assert lines[:3] == ["# Results", "", method_speed.HEADING]
    assert "**1 have not been measured yet.**" in lines
    assert lines[-5:] == [
        "|---|---|---|---|---|",
        "| tiny | fpgm | 4.00 | 3.0 (2.0 to 4.0) | 12 MiB of 300 |",
        "| tiny | bn_reestimate, 256 images | 7.00 | – | 50 MiB of 500 |",
        "",
        "Machine: a CPU.",
    ]


def test_a_process_that_fails_leaves_no_result(monkeypatch, tmp_path):
    monkeypatch.setattr(method_speed, "random_model", tiny)
    with pytest.raises(Exception, match="No pruning method is named 'l7'"):
        run(monkeypatch, tmp_path, "--one", "method", "tiny", "l7")
    assert known(tmp_path, "l7") is None
