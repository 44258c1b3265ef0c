import pytest

from compressor.core.errors import ContractViolation
from compressor.core.plan import AttributeChange, GroupPlan, PruningPlan, TensorCut
from compressor.core.serial import from_json, to_json


@pytest.mark.parametrize("keep", [(), (1, 0), (0, 0), (-1, 0), (0, 4)])
def test_kept_channels_ascend(keep):
    with pytest.raises(ContractViolation, match="keep must be ascending indices below 4"):
        GroupPlan(4, keep)


def test_a_plan_prints_in_one_line_and_saves():
    plan = PruningPlan(
        method="l1",
        method_options={"p": 1.5, "name": "x", "flag": True, "nothing": None, "count": 3},
        allocation="local",
        budget={"macs": 0.5},
        round_to=8,
        seed=0,
        groups={"stem": GroupPlan(4, (0, 3)), "conv": GroupPlan(2, (1,))},
        cuts=(TensorCut("stem.weight", 0, 4, (0, 3)),),
        attributes=(
            AttributeChange("stem", "out_channels", 4, 2),
            AttributeChange("norm", "normalized_shape", (4,), (2,)),
        ),
        macs=(200, 99),
        params=(10, 5),
        notes=("a note",),
    )
    assert str(plan) == "l1: keeps 3 of 6 channels, 49.5% of the MACs"
    again = from_json(PruningPlan, to_json(plan), "plan.json")
    assert again == plan and isinstance(again.method_options["count"], int) and again.method_options["flag"] is True
