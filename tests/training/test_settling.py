"""What the machine decides before the first step."""

import torch

from compressor.training.recipe import Recipe
from compressor.training.settling import has_bfloat16, settle_precision


def test_bfloat16_where_the_device_has_it(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert not has_bfloat16(torch.device("cpu")) and not has_bfloat16(torch.device("meta"))
    assert settle_precision(Recipe(), torch.device("cpu")).precision == "float32"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert has_bfloat16(torch.device("cpu"))
    assert settle_precision(Recipe(), torch.device("cpu")).precision == "bfloat16"
    assert settle_precision(Recipe(precision="float32"), torch.device("cpu")).precision == "float32"
