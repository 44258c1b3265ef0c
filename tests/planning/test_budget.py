import pytest

from compressor.core.errors import InvalidOption
from compressor.planning.budget import Budget


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1.5, float("nan"), float("inf")])
@pytest.mark.parametrize("unit", ["macs", "params", "ratio"])
def test_shares_only(unit, value):
    with pytest.raises(InvalidOption, match=f"--{unit}.*above 0 and below 1"):
        Budget(unit, value)


def test_units():
    with pytest.raises(InvalidOption, match="macs, params or ratio"):
        Budget("flops", 0.5)


def test_a_ratio_is_what_goes_and_the_others_what_stays():
    assert Budget("ratio", 0.3).remaining == pytest.approx(0.7)
    assert Budget("macs", 0.3).remaining == Budget("params", 0.3).remaining == 0.3


def test_shares_of_the_whole_model(wide_case):
    whole = {group.name: group.n_channels for group in wide_case.groups}
    for unit in ("macs", "params", "ratio"):
        assert Budget(unit, 0.5).share(wide_case.groups, wide_case.cost)(whole) == pytest.approx(1.0)
    halved = {name: n // 2 for name, n in whole.items()}
    assert Budget("ratio", 0.5).share(wide_case.groups, wide_case.cost)(halved) == pytest.approx(0.5)
    assert Budget("macs", 0.5).share(wide_case.groups, wide_case.cost)(halved) < 0.4  # in and out are halved
