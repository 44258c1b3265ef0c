from compressor.core.groups import ChannelGroup, Coverage, GroupMember, ModelCost, Role
from compressor.core.serial import from_json, to_json


def member(layer, role):
    return GroupMember(layer, "Conv2d", role, (0, 1), (0, 1), ())


def test_a_group_prints_in_one_line_and_saves():
    group = ChannelGroup(
        "stem", 2, (member("stem", Role.PRODUCER), member("a", Role.CONSUMER), member("b", Role.CONSUMER))
    )
    assert str(group) == "stem: 2 channels, 1 producers, 2 consumers"
    assert [m.layer for m in group.having(Role.CONSUMER)] == ["a", "b"] and group.having(Role.CHANNELWISE) == []
    assert from_json(ChannelGroup, to_json(group), "group") == group


def test_coverage_prints_in_one_line():
    coverage = Coverage((), (), ModelCost(1_234_567, 10, (), 0), 0.456, {})
    assert str(coverage) == "0 prunable groups, 46% of 1,234,567 MACs"
