from __future__ import annotations

import contextlib
import functools
import io
import pickle
from collections import OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compressor.loading.pickle_audit import PickleUse, UnreadablePickle, audit


def audited(data: bytes) -> PickleUse:
    use = PickleUse()
    audit(io.BytesIO(data), use)
    return use


def test_plain_data_uses_no_names() -> None:
    use = audited(pickle.dumps({"a": [1, 2.5, None, True, (1, 2)], "b": "text", "c": 1 << 70}, protocol=2))
    assert use == PickleUse()


def test_a_class_made_without_its_constructor_is_named_and_not_called() -> None:
    use = audited(pickle.dumps(nn.ReLU(), protocol=2))
    assert "torch.nn.modules.activation.ReLU" in use.names
    assert "torch.nn.modules.activation.ReLU" not in use.called


def test_partial_names_what_it_will_call() -> None:
    use = audited(pickle.dumps(functools.partial(nn.LayerNorm, eps=1e-6), protocol=2))
    assert use.wrapped == {"torch.nn.modules.normalization.LayerNorm"}
    assert use.called == {"functools.partial"}


def test_partials_state_is_followed_too() -> None:
    # partial(OrderedDict), whose state then puts os.system in OrderedDict's place.
    data = b"\x80\x02cfunctools\npartial\nccollections\nOrderedDict\n\x85R(cos\nsystem\n)}Ntb."
    assert audited(data).wrapped == {"collections.OrderedDict", "os.system"}


def test_the_memo_does_not_hide_a_name() -> None:
    data = b"\x80\x02cos\nsystem\nq\x000h\x00X\x02\x00\x00\x00ls\x85R."  # put, drop, get, call
    with pytest.raises(UnreadablePickle):  # the opcode POP is not among those that torch.save writes
        audited(data)
    assert audited(b"\x80\x02(cos\nsystem\nq\x00th\x00)R.").called == {"os.system"}


def test_a_call_of_a_call_is_hidden() -> None:
    assert audited(b"\x80\x02cos\nsystem\n)R)R.").hidden == {"what os.system returned"}


def test_changing_a_class_is_hidden() -> None:
    assert audited(b"\x80\x02ctorch.nn\nLinear\n}b.").hidden == {"new attributes of torch.nn.Linear"}


def test_a_tensor_with_attributes_names_what_torch_calls() -> None:
    data = b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nctorch\nTensor\n)}tR."
    assert {"os.system", "torch.Tensor"} <= audited(data).called


def test_old_names_are_translated() -> None:
    assert audited(b"\x80\x02c__builtin__\neval\n.").names == {"builtins.eval"}


def test_a_class_with_its_source_text_is_told() -> None:
    buffer = io.BytesIO()
    torch.save(nn.ReLU(), buffer, _use_new_zipfile_serialization=False)
    buffer.seek(0)
    use = PickleUse()
    for _ in range(5):
        audit(buffer, use)
    assert use.sourced == {"torch.nn.modules.activation.ReLU"}


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x02", b"\x80\x02R.", b"\x80\x02}s.", b"\x80\x02h\x05.", b"\x80\x02\x86.", b"garbage"]
)
def test_damaged_streams(data: bytes) -> None:
    with pytest.raises(UnreadablePickle):
        audited(data)


def test_newer_protocols_are_refused() -> None:
    with pytest.raises(UnreadablePickle, match="opcode"):
        audited(pickle.dumps(OrderedDict(a=1), protocol=4))


@given(st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(UnreadablePickle):
        audited(b"\x80\x02" + data)
