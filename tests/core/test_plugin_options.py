from dataclasses import dataclass
from typing import ClassVar

import pytest

from compressor.core.errors import InvalidOption
from compressor.core.plugin_options import plugin_options


@dataclass(frozen=True)
class Plugin:
    summary: ClassVar[str] = "no option"
    form: str = "a"
    steps: int = 3
    limit: float = 1.0
    ridge: float | None = None
    coupled: bool = False


def test_values_get_the_type_of_their_field():
    typed = ["form=b", "steps=7", "limit=inf", "ridge=None", "coupled=True"]
    found = plugin_options(Plugin, "plugin", "--option", typed)
    assert found == {"form": "b", "steps": 7, "limit": float("inf"), "ridge": None, "coupled": True}
    assert isinstance(plugin_options(Plugin, "plugin", "--option", ["limit=2"])["limit"], float)
    assert plugin_options(Plugin, "plugin", "--option", ["ridge=1e-3"]) == {"ridge": 0.001}
    assert plugin_options(Plugin, "plugin", "--option", ["form=3"]) == {"form": "3"}
    assert plugin_options(Plugin, "plugin", "--option", []) == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("steps=many", "`steps` must be of type int, but got 'many'"),
        ("steps=2.5", "`steps` must be of type int, but got '2.5'"),
        ("ridge=little", r"`ridge` must be of type float \| None, but got 'little'"),
        ("limit", "`limit` must be of type float, but got"),
        ("summary=x", "`--option` must be one of coupled, form, limit, ridge, steps, but got 'summary'"),
    ],
)
def test_other_values_are_refused(text, sentence):
    with pytest.raises(InvalidOption, match=f"plugin: {sentence}"):
        plugin_options(Plugin, "plugin", "--option", [text])
