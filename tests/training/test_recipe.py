import pytest

from compressor.core.errors import InvalidOption
from compressor.training.recipe import Recipe


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", 0),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("batch_size", 1),
        ("momentum", 1.0),
        ("weight_decay", -1e-4),
        ("warmup", 1.0),
        ("checkpoint_minutes", -1),
    ],
)
def test_options_out_of_range(option, value):
    with pytest.raises(InvalidOption, match=f"training: `{option}` must be") as caught:
        Recipe(**{option: value})
    assert caught.value.option == option


def test_bfloat16_where_the_device_has_it(monkeypatch):
    import torch

    from compressor.training.recipe import has_bfloat16

    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert not has_bfloat16(torch.device("cpu")) and not has_bfloat16(torch.device("meta"))
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert has_bfloat16(torch.device("cpu"))
