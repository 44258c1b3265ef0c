"""The stages that a model goes through, each by the project's own functions, in the order in which a run calls them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

import compressor
from compressor.core.copies import own_tensors
from compressor.core.options import options_from
from compressor.core.progress import SilentProgress
from compressor.graph.cost import evaluating, measure_cost
from compressor.loading.example_inputs import example_inputs
from compressor.runs.choose import choose
from compressor.runs.datasets import Datasets
from compressor.runs.folder import RunFolder
from compressor.runs.prove import prove
from compressor.runs.record import Record, Source
from compressor.runs.result import CompressedModel
from compressor.runs.rewriting import cover_rewritten
from compressor.surgery.check import CutDoesNotRun, Reference, ShapeChanged
from compressor.surgery.cut import cut_copy
from exporters.errors import UnsupportedOperator
from exporters.export import export
from exporters.signature import ExampleInputs, flatten_outputs
from exporters.types import ExportedFile
from exporters.verify import verify
from zoo_parts.entries import Entry
from zoo_parts.graph_cost import measure_graph
from zoo_parts.random_weights import draw_zeros
from zoo_parts.sentences import Failed, with_place

MACS_LEFT = 0.5
SEED = 0
N_RANDOM_PLANS = 3
OPTIONS = {"method": "l1", "macs": MACS_LEFT, "export": ["none"], "on": ["none"], "seed": SEED}
Facts = Mapping[str, float | int | str | bool]


class Subject:
    """One model on its way; every stage leaves what later ones need."""

    def __init__(self, entry: Entry, folder: Path, workspace: Path) -> None:
        self.entry, self.folder, self.workspace = entry, folder, workspace
        self.model: nn.Module
        self.inputs: ExampleInputs
        self.record: Record
        self.run: RunFolder
        self.small: nn.Module
        self.files: dict[str, ExportedFile] = {}
        self.refused: UnsupportedOperator  # why OpenVINO could not convert the ONNX file, where it could not


def build(subject: Subject) -> Facts:
    torch.manual_seed(SEED)
    subject.model = subject.entry.build(subject.folder).eval()
    draw_zeros(subject.model)
    subject.inputs, origin = example_inputs(subject.model, subject.entry.inputs)
    source = Source(subject.model, subject.inputs, subject.entry.name, origin)
    subject.record = Record(source, options_from(OPTIONS), SilentProgress())
    return {"params": sum(p.numel() for p in subject.model.parameters())}


def graph(subject: Subject) -> Facts:
    found = measure_graph(subject.model, subject.inputs)
    facts: dict[str, float | int | str | bool] = {
        "graph_seconds": found.seconds,
        "model_bytes": found.model_bytes,
        "activation_bytes": found.activation_bytes,
    }
    if found.growth_bytes is not None:
        facts["graph_bytes"] = found.growth_bytes
    return facts


def coverage(subject: Subject) -> Facts:
    subject.record.source, found = cover_rewritten(subject.record.source, seed=SEED)
    subject.record.coverage, subject.model = found, subject.record.source.module
    return {
        "rewrites": len(subject.record.source.rewrites),
        "macs": found.cost.macs,
        "prunable_macs_share": found.prunable_macs_share,
        "groups": len(found.groups),
        "blocked": len(found.blocked),
    }


def plan(subject: Subject) -> Facts:
    subject.run = RunFolder.temporary(Path(tempfile.mkdtemp(dir=subject.workspace)))
    subject.record.plan, subject.record.budget_met = choose(subject.record, Datasets(), subject.run)
    return {"predicted_macs_left": subject.record.plan.macs[1] / subject.record.plan.macs[0]}


def oracle(subject: Subject) -> Facts:
    """Cutting equals masking; a plan that does not hold is replaced, as in a run. So do random plans of any sizes."""
    prove(subject.record, Datasets(), subject.run)
    found = subject.record.difference
    if found is None or not found.effect_rel > 0:
        raise Failed("silencing the channels does not change the outputs, so the comparison proves nothing")
    return {
        "oracle_max_rel": found.max_rel,
        "oracle_dtype": found.dtype,
        "random_plans": N_RANDOM_PLANS,
        "random_plans_max_rel": _random_plans(subject),
        "notes": " ".join(subject.record.notes),
    }


def cut(subject: Subject) -> Facts:
    decided = _plan(subject)
    subject.small = cut_copy(subject.model, decided.cuts, decided.attributes).eval()
    return {"params_left": sum(p.numel() for p in subject.small.parameters())}


def forward(subject: Subject) -> Facts:
    """The cut model runs, its outputs have their shapes, and it really has that many MACs left."""
    whole, small = _outputs(subject.model, subject.inputs), _outputs(subject.small, subject.inputs)
    if [t.shape for t in whole] != [t.shape for t in small]:
        raise Failed(f"the outputs' shapes {_shapes(whole)} became {_shapes(small)}")
    if any(not bool(torch.isfinite(t).all()) for t in small if t.is_floating_point()):
        raise Failed("the outputs are not finite")
    before = measure_cost(subject.model, subject.inputs).macs
    return {"macs_left": measure_cost(subject.small, subject.inputs).macs / before}


def budget(subject: Subject) -> Facts:
    if not subject.record.budget_met:
        raise Failed(" ".join(_plan(subject).notes) or f"more than {MACS_LEFT:.0%} of the MACs are left")
    return {}


def backward(subject: Subject) -> Facts:
    """A gradient reaches the weights, in training mode with a batch of two where the whole model runs so."""
    inputs = subject.inputs.tiled(2)
    mode = "training" if _trains(subject.model, inputs) else "evaluation"
    small = own_tensors(subject.small).train(mode == "training")
    torch.manual_seed(SEED)
    try:
        found = flatten_outputs(inputs.call(small))
    except Exception as error:  # the model's own code, which may call layers that evaluation does not
        raise Failed(f"the cut model does not run in {mode} mode: {with_place(error)}") from error
    outputs = [t for t in found if t.is_floating_point() and t.requires_grad]
    if not outputs:
        raise Failed("no output depends on a weight")
    torch.stack([t.float().square().mean() for t in outputs]).sum().backward()
    gradients = [p.grad for p in small.parameters() if p.grad is not None]
    if not gradients:
        raise Failed("no weight has a gradient")
    if any(not bool(torch.isfinite(gradient).all()) for gradient in gradients):
        raise Failed("a gradient is not finite")
    return {"backward_mode": mode}


def save(subject: Subject) -> Facts:
    work = RunFolder.temporary(Path(tempfile.mkdtemp(dir=subject.workspace)))
    CompressedModel(subject.small, subject.record, work).save(_saved(subject))
    return {}


def replay(subject: Subject) -> Facts:
    """The plan and the weights, put on a fresh instance with other random weights, give the same numbers."""
    torch.manual_seed(SEED + 1)
    again = compressor.load(_saved(subject), model=subject.entry.build(subject.folder).eval())
    for ours, theirs in zip(_outputs(subject.small, subject.inputs), _outputs(again, subject.inputs), strict=True):
        if not torch.equal(ours, theirs):
            raise Failed("the replayed model computes other numbers than the one that was saved")
    return {}


def export_files(subject: Subject) -> Facts:
    folder = subject.workspace / "files"
    try:
        written = export(subject.small, subject.inputs, ["onnx", "openvino"], folder)
    except UnsupportedOperator as error:
        if error.owner != "openvino":
            raise
        subject.refused = error
        written = export(subject.small, subject.inputs, ["onnx"], folder)
    subject.files = {file.format: file for file in written}
    onnx = subject.files["onnx"]
    return {"onnx_batch": onnx.details.get("batch", ""), "onnx_exporter": onnx.details.get("exporter", "")}


def onnxruntime(subject: Subject) -> Facts:
    return _parity(subject, "onnx")


def openvino(subject: Subject) -> Facts:
    if "openvino" not in subject.files:
        raise subject.refused
    return _parity(subject, "openvino")


# Each with the stage that it needs; a stage whose need did not pass is not reached.
STAGES: tuple[tuple[str, Callable[[Subject], Facts], str], ...] = (
    ("build", build, ""),
    ("graph", graph, "build"),
    ("coverage", coverage, "graph"),
    ("plan", plan, "coverage"),
    ("oracle", oracle, "plan"),
    ("cut", cut, "plan"),
    ("forward", forward, "cut"),
    ("budget", budget, "plan"),
    ("backward", backward, "forward"),
    ("save", save, "cut"),
    ("replay", replay, "save"),
    ("export", export_files, "forward"),
    ("onnxruntime", onnxruntime, "export"),
    ("openvino", openvino, "export"),
)


def _random_plans(subject: Subject) -> float:
    """The largest difference between cut and masked over plans where every group keeps any set, of one up to all."""
    groups = subject.record.coverage.groups if subject.record.coverage else ()
    reference = Reference(subject.model, subject.inputs)
    worst = 0.0
    for seed in range(N_RANDOM_PLANS):
        r = Random(seed)
        keep = {g.name: sorted(r.sample(range(g.n_channels), r.randint(1, g.n_channels))) for g in groups}
        try:
            found = reference.compare(groups, keep)
        except (CutDoesNotRun, ShapeChanged) as error:
            raise Failed(f"random plan {seed}: {with_place(error.__cause__ or error)}") from error
        if not found.equal:
            raise Failed(f"random plan {seed}: cutting and masking differ by {found.max_rel:.1e} of the outputs' size")
        worst = max(worst, found.max_rel)
    return worst


def _plan(subject: Subject) -> Any:
    if subject.record.plan is None:
        raise RuntimeError("the plan comes first")
    return subject.record.plan


def _saved(subject: Subject) -> Path:
    return subject.workspace / "run"


def _outputs(model: nn.Module, inputs: ExampleInputs) -> list[Tensor]:
    """In evaluation mode; what a model draws is the same each time."""
    with evaluating(model):
        torch.manual_seed(SEED)
        return flatten_outputs(inputs.call(model))


def _trains(model: nn.Module, inputs: ExampleInputs) -> bool:
    """Whether the whole model runs in training mode; detectors want targets then, and others have no such mode."""
    try:
        inputs.call(own_tensors(model).train())
    except Exception:  # whatever the model's own code raises
        return False
    return True


def _parity(subject: Subject, format_name: str) -> Facts:
    found = verify(subject.files[format_name], subject.small, subject.inputs)
    worst = max((check.max_rel_error for check in found.checks), default=0.0)
    if not found.passed:
        difference = f"its outputs differ from the module's by {worst:.1e} of their size"
        raise Failed(f"{found.path.name}: {found.failure or f'{difference} (allowed: {found.rel_tolerance:.0e})'}")
    return {f"{format_name}_max_rel": worst}


def _shapes(tensors: list[Tensor]) -> str:
    return ", ".join(str(tuple(t.shape)) for t in tensors[:4])
