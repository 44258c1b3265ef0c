from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from exporters.export import export
from exporters.signature import ExampleInputs
from exporters.types import ExportedFile, Verification
from exporters.verify import verify, verify_all


@pytest.fixture(scope="module")
def original(two_inputs, named_inputs, tmp_path_factory: pytest.TempPathFactory) -> ExportedFile:
    (file,) = export(two_inputs, named_inputs, ["onnx"], tmp_path_factory.mktemp("original"))
    return file


@pytest.fixture
def check(original: ExportedFile, two_inputs, named_inputs, tmp_path: Path) -> Callable[..., Verification]:
    """Verifies a copy of the file after `change` was made to it."""

    def run(change: Callable[[onnx.ModelProto], None] | bytes, **options) -> Verification:
        path = tmp_path / original.path.name
        if isinstance(change, bytes):
            path.write_bytes(change)
        else:
            model = onnx.load(str(original.path))
            change(model)
            onnx.save(model, str(path))
        return verify(dataclasses.replace(original, path=path), two_inputs, named_inputs, batch_sizes=[1, 3], **options)

    return run


def test_an_untouched_copy_passes(check) -> None:
    outcome = check(lambda model: None)
    assert outcome.passed, outcome
    assert [(c.batch_size, c.inputs) for c in outcome.checks] == [
        (1, "random, seed 0"),
        (1, "random, seed 1"),
        (3, "random, seed 0"),
    ]


def test_one_changed_weight_fails(check) -> None:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if len(t.dims) == 2)
        values = numpy_helper.to_array(tensor).copy()
        values[0] += 0.05
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    outcome = check(change)
    assert not outcome.passed
    assert not outcome.failure
    assert max(c.max_rel_error for c in outcome.checks) > outcome.rel_tolerance


def test_swapped_outputs_fail_by_name(check) -> None:
    def change(model: onnx.ModelProto) -> None:
        first, second = model.graph.output
        kept = type(first)()
        kept.CopyFrom(first)
        first.CopyFrom(second)
        second.CopyFrom(kept)

    assert check(change).failure == "the file's outputs are alpha, zeta, but the module's are zeta, alpha"


def test_swapped_outputs_fail_by_value(check) -> None:
    def change(model: onnx.ModelProto) -> None:
        other = {"zeta": "alpha", "alpha": "zeta"}
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = [other.get(name, name) for name in names]

    outcome = check(change)
    assert not outcome.failure
    assert not any(c.passed for c in outcome.checks)


def test_a_renamed_input_fails(check) -> None:
    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.input[:] = ["other" if name == "features" else name for name in node.input]
        next(value for value in model.graph.input if value.name == "features").name = "other"

    assert "the file's inputs are tokens, other, but the module's are tokens, features" in check(change).failure


def test_an_output_more_or_less_fails(check) -> None:
    failure = check(lambda model: model.graph.output.pop()).failure
    assert failure == "the file's outputs are zeta, but the module's are zeta, alpha"


def test_another_shape_fails(check) -> None:
    def change(model: onnx.ModelProto) -> None:
        made = next(node for node in model.graph.node if "alpha" in node.output)
        made.output[0] = "inner"
        model.graph.node.append(onnx.helper.make_node("Concat", ["inner", "inner"], ["alpha"], axis=1))
        next(v for v in model.graph.output if v.name == "alpha").type.tensor_type.shape.dim[1].dim_value = 8

    assert "output 'alpha' has shape (1, 4) in the module, but (1, 8) in the file" in check(change).failure


def test_undefined_numbers_fail(check) -> None:
    def change(model: onnx.ModelProto) -> None:
        made = next(node for node in model.graph.node if "alpha" in node.output)
        made.output[0] = "inner"
        model.graph.node.append(onnx.helper.make_node("Sub", ["inner", "inner"], ["zero"]))
        model.graph.node.append(onnx.helper.make_node("Div", ["inner", "zero"], ["alpha"]))

    assert "output 'alpha' has infinite or undefined numbers" in check(change).failure


@pytest.mark.parametrize("content", [b"", b"no model at all", None])
def test_a_broken_file_fails_with_a_sentence(check, original: ExportedFile, content: bytes | None) -> None:
    if content is None:
        whole = original.path.read_bytes()
        content = whole[: len(whole) // 2]
    failure = check(content).failure
    assert failure.startswith("the file does not run: ")
    assert "\n" not in failure


def test_a_broken_pt2_or_openvino_file_fails(conv_net: nn.Module, images: Tensor, tmp_path: Path) -> None:
    for file in export(conv_net, images, ["pt2", "openvino"], tmp_path):
        damaged = file.companions[0] if file.companions else file.path
        damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
        assert verify(file, conv_net, images, batch_sizes=[1]).failure.startswith("the file does not run: ")


def test_a_file_of_another_model_fails(conv_net: nn.Module, images: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(5)
    other = type(conv_net)()
    (file,) = export(other, images, ["onnx"], tmp_path)
    assert verify(file, other, images, batch_sizes=[1]).passed
    assert not verify(file, conv_net, images, batch_sizes=[1]).passed


def test_a_worker_that_hangs_is_a_failure(check) -> None:
    assert check(lambda model: None, timeout_s=0.01).failure == "the file does not run: not finished after 0.01 s"


def test_nothing_to_compare_is_a_failure(original, two_inputs, named_inputs) -> None:
    assert not verify(original, two_inputs, named_inputs, seeds=[]).passed


def test_extra_inputs_are_compared_too(original, two_inputs, named_inputs) -> None:
    real = ExampleInputs.of(named_inputs, two_inputs)
    outcome = verify(
        original, two_inputs, named_inputs, batch_sizes=[2], seeds=[0], extra_inputs={"4 samples": real.tiled(4)}
    )
    assert [(c.batch_size, c.inputs) for c in outcome.checks] == [(2, "random, seed 0"), (4, "4 samples")]
    assert outcome.passed


class Logarithm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.log()


def test_example_inputs_stand_in_where_random_ones_give_no_numbers(tmp_path: Path) -> None:
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]])
    (file,) = export(Logarithm(), x, ["onnx"], tmp_path, simplify=False)
    outcome = verify(file, Logarithm(), x, batch_sizes=[2])
    assert outcome.passed
    assert {check.inputs for check in outcome.checks} == {"example inputs"}
    assert "NaN" in verify(file, Logarithm(), -x, batch_sizes=[2]).failure


def test_a_module_that_does_not_run_is_a_failure(original, two_inputs, named_inputs) -> None:
    wrong = {**named_inputs, "features": torch.randn(1, 5)}
    assert "the module itself does not run" in verify(original, two_inputs, wrong).failure
    half = {**named_inputs, "features": named_inputs["features"].bfloat16()}
    assert verify(original, two_inputs, half).failure


def test_verify_all_runs_the_module_once(original: ExportedFile, two_inputs, named_inputs, tmp_path: Path) -> None:
    copy = dataclasses.replace(original, path=Path(shutil.copy(original.path, tmp_path)))
    calls = []
    hook = two_inputs.register_forward_hook(lambda *given: calls.append(1))
    try:
        assert all(
            outcome.passed for outcome in verify_all([original, copy], two_inputs, named_inputs, batch_sizes=[1])
        )
    finally:
        hook.remove()
    assert np.sum(calls) == 2  # the seeds


def test_a_module_that_draws_random_numbers_is_named_as_such(tmp_path) -> None:
    """As masked autoencoders, which shuffle their tokens in evaluation mode, too."""

    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.rand_like(x)

    noisy, x = Noisy().eval(), torch.randn(1, 8)
    (file,) = export(noisy, x, ["onnx"], tmp_path)
    outcome = verify(file, noisy, x)
    assert not outcome.passed and "draws random numbers" in outcome.failure
