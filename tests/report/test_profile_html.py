"""A profile's page and its schema."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from compressor.core.serial import from_json, to_json
from compressor.report.profile_html import render_profile
from compressor.report.profile_schema import ProfileReport
from tests.report.profiles import NOISY, PROFILES
from tests.report.test_browser import CONTRAST, browser, opened  # noqa: F401  (a fixture)
from tests.report.test_schemas import validate

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(params=PROFILES)
def any_profile(request: pytest.FixtureRequest) -> ProfileReport:
    return PROFILES[request.param]()


def words(report: ProfileReport) -> str:
    """What the page shows, with spaces as they are read."""
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_data = found.append  # type: ignore[method-assign]
    parser.feed(re.sub(r"<style>.*?</style>|<wbr>", "", render_profile(report), flags=re.DOTALL))
    return re.sub(r"\s+", " ", " ".join(found))


def test_a_profile_survives_and_is_valid(any_profile: ProfileReport) -> None:
    text = to_json(any_profile)
    assert from_json(ProfileReport, text, "profile.json") == any_profile
    validate(text, "profile.schema.json")


def test_the_page_is_whole_and_loads_nothing(any_profile: ProfileReport) -> None:
    page = render_profile(any_profile)
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    assert "default-src 'none'" in page and "<script" not in page.replace("&lt;script", "")
    assert not re.search(r"(?:src|href)=\"(?!data:,)", page)
    assert not re.search(r"\b(nan|inf|None|Undefined)\b", words(any_profile))


def test_the_answer_stands_first() -> None:
    shown = words(PROFILES["grid"]())
    answer = "small.onnx: faster in 6, 8 settings"
    assert answer in shown and shown.index(answer) < shown.index("Throughput and latency")
    assert NOISY in shown
    one = words(PROFILES["lone"]())
    assert "ms per inference" in one and "inputs per second" in one and "Against" not in one


def test_every_setting_has_its_bars_ratio_and_rows() -> None:
    page = render_profile(PROFILES["grid"]())
    assert page.count('<rect class="span"') == 2 * 8
    assert page.count('<circle class="mark"') == 8
    shown = words(PROFILES["grid"]())
    for setting in ("1 thread, batch 1", "1 thread, batch 8", "2 threads, batch 1", "2 threads, batch 8"):
        assert setting in shown
    assert "5.25 mJ" in shown  # 2.1 J over 400 inferences
    assert "SingleStream" in shown and "1.23 k samples per second" in shown
    assert "4.29 MiB" in shown  # 4,500,000 bytes over the bare runtime's


def test_what_is_unknown_is_left_out_or_called_so() -> None:
    shown = words(PROFILES["lone"]())
    assert "not told" in shown and "energy" not in shown and "LoadGen" not in shown


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profiles")
    for name, make in PROFILES.items():
        (path / f"{name}.html").write_text(render_profile(make()), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_quiet_and_fits(browser: Browser, folder: Path, name: str, width: int) -> None:  # noqa: F811
    with opened(browser, folder, name, width) as (page, events):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("img").count() == 0
        assert events == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(browser: Browser, folder: Path, scheme: str) -> None:  # noqa: F811
    with opened(browser, folder, "grid", color_scheme=scheme) as (page, _):
        found = page.evaluate(CONTRAST)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert len(found) > 100
    assert [text for contrast, text in found if contrast < 4.5] == []
    assert (sum(map(int, background[4:-1].split(","))) < 150) == (scheme == "dark")
