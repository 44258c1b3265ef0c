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
