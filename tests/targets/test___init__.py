from __future__ import annotations

import pytest

from compressor.core.errors import UnknownPlugin
from compressor.targets import factory_of, load_target, target_names


def test_names_bear_a_colon() -> None:
    assert {"torch:cpu", "onnxruntime:cpu", "openvino:cpu"} <= set(target_names())


def test_a_factory_is_a_string_that_a_fresh_process_can_import() -> None:
    assert factory_of("onnxruntime:cpu") == "compressor.targets.onnxruntime_cpu:PLUGIN"


@pytest.mark.parametrize("find", [factory_of, load_target])
def test_a_typo_gets_a_suggestion(find: object) -> None:
    with pytest.raises(UnknownPlugin, match=r"No target is named 'onnxruntime:cpuu'\. Did you mean 'onnxruntime:cpu'"):
        find("onnxruntime:cpuu")  # type: ignore[operator]


def test_the_file_name_is_no_target_name() -> None:
    with pytest.raises(UnknownPlugin, match="Did you mean 'torch:cpu'"):
        load_target("torch_cpu")
