from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.core.errors import InvalidOption
from compressor.targets._inputs import InputSpec, cannot_load, make_arrays, missing_package, resolve_shapes

FLOAT, INT, BOOL = np.dtype("float32"), np.dtype("int64"), np.dtype("bool")


def image(*shape: int | None) -> list[InputSpec]:
    return [InputSpec("images", shape, FLOAT)]


def test_a_dynamic_first_axis_is_the_batch() -> None:
    assert resolve_shapes(image(None, 3, 8, 8), 5, {}, "t") == {"images": (5, 3, 8, 8)}


def test_a_fixed_batch_is_kept_where_it_agrees() -> None:
    assert resolve_shapes(image(5, 3), 5, {}, "t") == {"images": (5, 3)}


def test_a_fixed_batch_that_disagrees_is_refused_with_the_batch_that_fits() -> None:
    with pytest.raises(InvalidOption, match="`batch_size` must be 1, which the file fixes, but got 8"):
        resolve_shapes(image(1, 3), 8, {}, "t")


def test_inputs_without_a_batch_axis_stay_as_they_are() -> None:
    specs = [InputSpec("x", (None, 3), FLOAT), InputSpec("scale", (), FLOAT), InputSpec("table", (7, 2), FLOAT)]
    assert resolve_shapes(specs, 2, {}, "t") == {"x": (2, 3), "scale": (), "table": (7, 2)}


def test_another_dynamic_axis_asks_for_a_shape() -> None:
    with pytest.raises(InvalidOption, match=r"shapes\[images\].*\?x3x\?x\?.*static shape"):
        resolve_shapes(image(None, 3, None, None), 1, {}, "t")


def test_a_given_shape_fills_dynamic_axes_and_the_batch_still_rules() -> None:
    assert resolve_shapes(image(None, 3, None, None), 4, {"images": (1, 3, 6, 7)}, "t") == {"images": (4, 3, 6, 7)}


@pytest.mark.parametrize("shape", [(1, 3), (1, 4, 6, 6), (1, 3, 0, 6), ()])
def test_a_given_shape_that_contradicts_the_file_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidOption, match=r"a shape that fits \?x3x\?x\?"):
        resolve_shapes(image(None, 3, None, None), 1, {"images": shape}, "t")


def test_a_shape_for_an_input_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidOption, match="inputs of the file \\(images\\), but got 'image'"):
        resolve_shapes(image(None, 3), 1, {"image": (1, 3)}, "t")


def test_the_batch_must_be_positive() -> None:
    with pytest.raises(InvalidOption, match="`batch_size` must be at least 1, but got 0"):
        resolve_shapes(image(None, 3), 0, {}, "t")


def test_integers_are_zeros_and_masks_are_ones() -> None:
    specs = [
        InputSpec("input_ids", (1, 2), INT),
        InputSpec("attention_mask", (1, 2), INT),
        InputSpec("keep", (2,), BOOL),
    ]
    arrays = make_arrays(specs, {"input_ids": (1, 2), "attention_mask": (1, 2), "keep": (2,)})
    assert arrays["input_ids"].tolist() == [[0, 0]]
    assert arrays["attention_mask"].tolist() == [[1, 1]]
    assert arrays["keep"].tolist() == [True, True]


@given(
    st.lists(st.integers(1, 4), max_size=4), st.sampled_from(["float16", "float32", "float64", "int8", "int64", "bool"])
)
def test_arrays_have_the_asked_shape_and_type_and_are_the_same_every_time(shape: list[int], dtype: str) -> None:
    specs = [InputSpec("x", tuple(shape), np.dtype(dtype))]
    one, other = (make_arrays(specs, {"x": tuple(shape)})["x"] for _ in range(2))
    assert one.shape == tuple(shape)
    assert one.dtype == np.dtype(dtype)
    assert np.array_equal(one, other)


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    assert missing_package("json", "json") == ""
    assert missing_package("no_such_runtime", "no-such") == (
        "The package 'no_such_runtime' is not installed. Run: pip install no-such"
    )


def test_a_refusal_quotes_the_first_line_of_the_runtime() -> None:
    error = cannot_load(Path("a.onnx"), "Runtime", ValueError("\n  \x1b[1mbad magic\x1b[0m\nmore"))
    assert str(error) == "a.onnx: Runtime cannot load it (bad magic). Export the model again."
