"""report.html: one file that a person looks at. It works offline, and without JavaScript.

Everything that comes from the user's side (layer names, file names, notes) is escaped by the template engine; the page
also forbids itself every connection and every script but its own two lines, by a content security policy.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.filters import do_forceescape
from markupsafe import Markup

from compressor.report import (
    charts,
    control_wording,
    doctor_wording,
    ladder_wording,
    low_rank_wording,
    roofline,
    speed_wording,
    units,
    wording,
)
from compressor.report.schema import Report


def render_html(report: Report) -> str:
    """The whole page as text, to be written as UTF-8."""
    return (
        page_environment()
        .get_template("page.html")
        .render(
            report=report,
            css=Markup(resources.files("compressor.report").joinpath("page.css").read_text(encoding="utf-8")),
            speed=wording.speed_headline(report.latency),
            timed=wording.timed(report.latency),
            untimed=[row for row in report.latency if row.unavailable or row.ratio is None],
            loss=wording.loss_of(report.accuracy, report.ladder),
            problems=wording.problems_of(report),
            budget=wording.budget_of(report),
            reasons=wording.reasons_of(report.groups),
            prunable=[group for group in report.groups if not group.reason],
            ratios=charts.ratio_plot(report.latency),
            widths=charts.width_bars(report.widths),
            total_seconds=sum(stage.seconds for stage in report.stages),
            slowest=max((stage.seconds for stage in report.stages), default=0.0),
        )
    )


def page_environment() -> Environment:
    """Templates, filters and what every page of ours needs; a new one each time."""
    environment = Environment(
        loader=PackageLoader("compressor.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    for function in (
        units.count,
        units.size,
        units.milliseconds,
        units.seconds,
        units.percent,
        units.accuracy,
        units.points,
        units.rate,
        units.joules,
    ):
        environment.filters[function.__name__] = function
    environment.filters |= {
        "error": _error,
        "middle": units.middle,
        "ratio": _ratio,
        "breakable": _breakable,
        "script_hash": _script_hash,
    }
    environment.globals |= {
        "speed_of": wording.speed_of,
        "stage_name": wording.stage_name,
        "asked_of": ladder_wording.asked_of,
        "outcome_of": ladder_wording.outcome_of,
        "typed_budget": speed_wording.asked_for,
        "quantity": speed_wording.quantity,
        "tables": speed_wording.tables,
        "control_accuracy": control_wording.accuracy_of,
        "control_interval": control_wording.interval,
        "control_verdict": control_wording.shown,
        "low_rank_summary": low_rank_wording.summary_of,
        "latency_plot": charts.latency_plot,
        "lane_height": charts.LANE_HEIGHT,
        "roofline": roofline.roofline,
        "roofline_height": roofline.HEIGHT,
        "cause_name": doctor_wording.cause_name,
        "measured": doctor_wording.measured,
        "doctor_opening": doctor_wording.opening_of,
        "doctor_closing": doctor_wording.closing_of,
    }
    return environment


def _shown(value: object) -> object:
    """Every value that a template prints: characters that act instead of showing are replaced."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return units.printable(value, keep="\n\t")
    return value


def _error(value: float | None) -> str:
    return "not finite" if value is None else units.error(value)


def _ratio(value: float) -> str:
    return units.ratios(value)[0]


def _breakable(name: str) -> Markup:
    """A dotted name or a path that may wrap after its separators; escaped first."""
    text = str(do_forceescape(units.printable(name)))
    for separator in (".", "_", "/", ":"):
        text = text.replace(separator, f"{separator}<wbr>")
    return Markup(text)


def _script_hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
