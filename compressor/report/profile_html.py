"""profile.html: a profile as a page that works offline, made as report.html is (see `html`)."""

from __future__ import annotations

from importlib import resources

from markupsafe import Markup

from compressor.report import profile_charts, profile_wording, units, wording
from compressor.report.html import page_environment
from compressor.report.profile_rows import names_of, rows_of
from compressor.report.profile_schema import ProfileReport


def render_profile(report: ProfileReport) -> str:
    """The whole page as text, to be written as UTF-8."""
    environment = page_environment()
    environment.globals |= {"tone_of": wording.tone_of, "ratio_words": _ratio_words, "names_of": names_of}
    rows = [row for profile in report.profiles for row in rows_of(profile)]
    files = list(dict.fromkeys(row.name for row in rows))
    css = resources.files("compressor.report").joinpath("page.css").read_text(encoding="utf-8")
    return environment.get_template("profile.html").render(
        report=report,
        css=Markup(css),
        rows=rows,
        files=files,
        started=[row for row in rows if row.startup is not None],
        with_energy=any(row.startup is not None and row.startup.energy_j is not None for row in rows),
        scenarios=[one for profile in report.profiles for one in profile.scenarios],
        answer=profile_wording.headline(report.profiles),
        warnings=profile_wording.warnings_of(report.profiles),
        throughputs=profile_charts.throughput_plots(rows),
        ratios=profile_charts.ratios_of(rows),
        bar_height=profile_charts.BAR_HEIGHT,
        energy_said=profile_wording.ENERGY_SAID,
        load_said=profile_wording.LOAD_SAID,
        memory_said=profile_wording.MEMORY_SAID,
        loadgen_said=profile_wording.LOADGEN_SAID,
    )


def _ratio_words(ratio: float, interval: tuple[float, float]) -> tuple[str, str]:
    value, low, high = units.ratios(ratio, *interval)
    return f"{value}×", f"{low} to {high}"
