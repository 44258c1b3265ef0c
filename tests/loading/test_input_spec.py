from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.core.errors import InvalidOption
from compressor.loading.input_spec import InputSpec, parse_input, parse_inputs


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("1x3x32x32", InputSpec((1, 3, 32, 32))),
        ("1,3,32,32", InputSpec((1, 3, 32, 32))),
        ("1X3×8x8", InputSpec((1, 3, 8, 8))),
        (" image = 2x3x4x4 ", InputSpec((2, 3, 4, 4), name="image")),
        ("ids=1x128:int64", InputSpec((1, 128), torch.int64, "ids")),
        ("1x16:int32", InputSpec((1, 16), torch.int32)),
    ],
)
def test_forms(text: str, spec: InputSpec) -> None:
    assert parse_input(text) == spec


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0x3",
        "1x-3",
        "1x3.5",
        "axb",
        "1x3:",
        "1x3:float16",
        "a b=1x3",
        "=1x3",
        "1x3=image",
        "1x3:int64:int64",
        "1x³",
    ],
)
def test_bad_forms(text: str) -> None:
    with pytest.raises(InvalidOption, match="1x3x224x224") as caught:
        parse_input(text)
    assert caught.value.got == text


def test_names_for_all_or_none() -> None:
    assert [s.name for s in parse_inputs(["a=1x2", "b=1x3"])] == ["a", "b"]
    with pytest.raises(InvalidOption, match="each input or for none"):
        parse_inputs(["a=1x2", "1x3"])
    with pytest.raises(InvalidOption, match="once per name"):
        parse_inputs(["a=1x2", "a=1x3"])


@given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=6),
    st.sampled_from([torch.float32, torch.int64, torch.bool]),
    st.sampled_from(["", "image", "input_ids"]),
)
def test_what_is_printed_is_read_back(shape: list[int], dtype: torch.dtype, name: str) -> None:
    spec = InputSpec(tuple(shape), dtype, name)
    assert parse_input(str(spec)) == spec
