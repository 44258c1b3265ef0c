"""What a control says of the compressed model, as words."""

from __future__ import annotations

from compressor.report.schema import AccuracyRow, Control, ControlTiming
from compressor.report.units import accuracy, ratios

AS_FAST, SLOWER, UNTOLD = "at least as fast", "slower", "cannot be told"
AS_GOOD, WORSE, UNKNOWN = "at least as good", "worse", "unknown"


def finding_of(control: Control, compressed: AccuracyRow | None) -> str:
    """The sentence that stands before everything else; empty unless the control is at least as fast somewhere.

    A control that is worse is no finding; one whose quality is unknown is, with what is unknown.
    """
    fast = [timing for timing in control.timings if timing.verdict == AS_FAST]
    if not fast or control.quality == WORSE:
        return ""
    others = [timing.target for timing in control.timings if timing.stats is not None and timing not in fast]
    but = f", but not on {', '.join(others)}" if others else ""
    speed = f"{', '.join(_speed(timing) for timing in fast)}{but}"
    if control.quality == UNKNOWN:
        return f"The control {control.name} is at least as fast as the compressed model: {speed}. {_unknown(control)}"
    if compressed is None or control.top1_percent is None:
        raise ValueError("a quality that is known comes from two accuracies")
    numbers = f"{accuracy(control.top1_percent)} against {accuracy(compressed.top1_percent)} top-1"
    told = f", which {images(compressed.n_images)} cannot tell apart"
    untold = told if control.top1_percent < compressed.top1_percent else ""
    return (
        f"The control {control.name} is at least as fast and as good as the compressed model: {speed}; "
        f"{numbers}{untold}. Use it instead, or ask for less."
    )


def accuracy_of(control: Control) -> str:
    """Its accuracy with where it comes from, or why it is unknown."""
    if control.top1_percent is None:
        return f"unknown, because {control.accuracy_from}"
    origin = f"measured on {images(control.n_images)}" if control.n_images else f"as given with {control.accuracy_from}"
    return f"{accuracy(control.top1_percent)}, {origin}"


def shown(verdict: str) -> str:
    """A verdict as the end of "so it is ...".

    >>> shown("slower"), shown("cannot be told")
    ('slower', 'perhaps slower')
    """
    return "perhaps slower" if verdict == UNTOLD else verdict


def interval(ends: tuple[float, float] | None) -> str:
    """The two ends of a ratio's interval.

    >>> interval((1.1, 1.234))
    '1.10 - 1.23'
    """
    return " - ".join(ratios(*ends)) if ends else ""


def images(n_images: int) -> str:
    """A number of images.

    >>> images(1), images(10_000)
    ('1 image', '10,000 images')
    """
    return f"{n_images:,} image{'' if n_images == 1 else 's'}"


def _speed(timing: ControlTiming) -> str:
    ratio, low, high = ratios(timing.ratio or 0.0, *(timing.interval or (0.0, 0.0)))
    return f"{ratio}x as fast [{low}, {high}] on {timing.target}"


def _unknown(control: Control) -> str:
    if control.top1_percent is None:
        step = "Give it with --control-accuracy if you know it."
        return f"Whether it is as good is unknown: its accuracy is, because {control.accuracy_from.rstrip('.')}. {step}"
    return "Whether it is as good is unknown: the compressed model's accuracy was not measured. Add --val."
