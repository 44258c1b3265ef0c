"""The page in a real browser: what it does, not only what it says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compressor.report.html import render_html
from compressor.report.schema import Report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("full", "data_free", "slower", "hostile", "deep", "bare")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]

# Every element that shows text of its own: its colour against the nearest painted background, as WCAG computes it.
CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const luminance = c => .2126 * linear(c[0] / 255) + .7152 * linear(c[1] / 255) + .0722 * linear(c[2] / 255);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const colour = rgba(getComputedStyle(e).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const hasText = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!hasText || e.closest("title, script, style, .unseen") || !e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const front = luminance(rgba(e instanceof SVGElement ? style.fill : style.color)), back = luminance(behind(e));
    const contrast = (Math.max(front, back) + .05) / (Math.min(front, back) + .05);
    found.push([contrast, e.tagName + "." + e.getAttribute("class") + ": " + e.textContent.trim().slice(0, 40)]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="the page is not tested in a browser: pip install playwright"
    )
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        pytest.skip("the page is not tested in a browser: Chromium is not installed (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=QUIET)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def folder(reports: dict[str, Report], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages")
    for name in NAMES:
        (path / f"{name}.html").write_text(render_html(reports[name]), encoding="utf-8")
    return path


@contextmanager
def opened(
    browser: Browser, folder: Path, name: str, width: int = 1280, **options: Any
) -> Iterator[tuple[Page, list[str]]]:
    """The page, and everything that it complained about or asked for while it was open."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page = context.new_page()
    events: list[str] = []
    url = (folder / f"{name}.html").as_uri()
    page.on("console", lambda message: events.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: events.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (events.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on(
        "request",
        lambda request: events.append(f"request: {request.url}") if request.url not in (url, "data:,") else None,
    )
    page.goto(url)
    yield page, events
    context.close()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_quiet_and_fits(browser: Browser, folder: Path, name: str, width: int) -> None:
    with opened(browser, folder, name, width) as (page, events):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # Nothing sticks out to be clipped either, but for tables, which scroll in their own place.
        sticking_out = page.evaluate(
            """width => [...document.querySelectorAll("main *")].filter(
                e => !e.closest(".scroll, svg, .unseen") && e.getBoundingClientRect().right > width + 1
            ).map(e => e.outerHTML.slice(0, 80))""",
            width,
        )
        assert sticking_out == []
        assert events == []


@pytest.mark.parametrize("name", ["full", "deep"])
def test_text_in_charts_stays_inside(browser: Browser, folder: Path, name: str) -> None:
    with opened(browser, folder, name, 390) as (page, _):
        outside = page.evaluate(
            """() => [...document.querySelectorAll("svg text")].filter(e => {
                 const t = e.getBoundingClientRect(), s = e.ownerSVGElement.getBoundingClientRect();
                 return t.left < s.left - 1 || t.right > s.right + 1 || t.bottom > s.bottom + 1;
               }).map(e => e.textContent)"""
        )
        assert outside == []


def test_headings_are_in_order(browser: Browser, folder: Path) -> None:
    with opened(browser, folder, "full") as (page, _):
        headings = page.eval_on_selector_all("h1, h2, h3", "all => all.map(h => [h.tagName, h.innerText])")
    assert [text for tag, text in headings if tag == "H1"] == ["resnet20_cifar10.pt"]
    sections = [text for tag, text in headings if tag == "H2"]
    assert sections[0].startswith("Faster on 2 of the 3 targets")
    assert sections[1:] == ["Latency", "Accuracy", "Channels per layer", "Coverage", "Files", "The run"]
    levels = [int(tag[1]) for tag, _ in headings]
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_the_command_is_copied(browser: Browser, folder: Path, reports: dict[str, Report]) -> None:
    with opened(browser, folder, "full") as (page, events):
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.click("#copy")
        page.wait_for_function("document.getElementById('copy').textContent === 'Copied'")
        assert page.evaluate("navigator.clipboard.readText()") == reports["full"].command
        assert events == []


def test_the_command_is_copied_where_there_is_no_clipboard_interface(browser: Browser, folder: Path) -> None:
    with opened(browser, folder, "full") as (page, _):
        page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        page.click("#copy")
        page.wait_for_function("document.getElementById('copy').textContent === 'Copied'")
        assert page.evaluate("getSelection().toString().trim()").startswith("compress --export")


def test_without_scripts_only_the_button_is_missing(browser: Browser, folder: Path) -> None:
    with opened(browser, folder, "full", java_script_enabled=False) as (page, events):
        assert not page.is_visible("#copy")
        assert page.is_visible("#command") and page.is_visible("text=The run")
        assert page.locator("svg").count() == 5
        assert events == []


def test_hostile_names_are_inert(browser: Browser, folder: Path) -> None:
    with opened(browser, folder, "hostile") as (page, events):
        page.wait_for_timeout(100)
        assert page.title().startswith("</title><script>document.title='owned'</script>")
        assert page.locator("img").count() == 0
        assert page.locator("script").count() == 1
        assert events == []


def test_a_script_that_slipped_in_would_not_run(browser: Browser, folder: Path, reports: dict[str, Report]) -> None:
    script = "<script>document.title = 'owned'</script>"
    attack = f"{script}<img src='http://127.0.0.1:9/x.png' onerror=\"document.title='owned'\"></main>"
    (folder / "attacked.html").write_text(render_html(reports["bare"]).replace("</main>", attack), encoding="utf-8")
    with opened(browser, folder, "attacked") as (page, events):
        page.wait_for_timeout(100)
        assert page.title() != "owned"
        assert any("Content Security Policy" in event for event in events)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["full", "slower"])
def test_text_stands_out_from_its_background(browser: Browser, folder: Path, name: str, scheme: str) -> None:
    with opened(browser, folder, name, color_scheme=scheme) as (page, _):
        found = page.evaluate(CONTRAST)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert len(found) > 100
    assert [text for contrast, text in found if contrast < 4.5] == []
    assert (sum(map(int, background[4:-1].split(","))) < 150) == (scheme == "dark")


def test_the_page_prints_light_and_whole(browser: Browser, folder: Path) -> None:
    with opened(browser, folder, "deep", color_scheme="dark") as (page, _):
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not page.is_visible("#copy")
        assert page.locator("details td").first.is_visible()  # unfolded on paper
        assert len(page.pdf()) > 10_000


def test_the_whole_page_can_be_reached_with_the_keyboard(browser: Browser, folder: Path) -> None:
    with opened(browser, folder, "full") as (page, _):
        unreachable = page.evaluate(
            """() => [...document.querySelectorAll(".scroll, pre, button, summary")]
                 .filter(e => e.tabIndex < 0).map(e => e.outerHTML.slice(0, 60))"""
        )
        assert unreachable == []
