"""Budgets in time, and what was measured on the way to them, as words."""

from __future__ import annotations

from compressor.report.schema import TimedRow


def asked_for(unit: str, asked: float) -> str:
    """As it is typed.

    >>> asked_for("speedup", 2.0), asked_for("latency", 0.005)
    ('--speedup 2x', '--latency 5ms')
    """
    return f"--speedup {asked:g}x" if unit == "speedup" else f"--latency {asked * 1e3:g}ms"


def measured(unit: str, row: TimedRow) -> str:
    """The speed-up or the time of one model on one target, with its interval.

    >>> measured("speedup", TimedRow(0.5, "onnxruntime:cpu", 1.81, (1.78, 1.84), False))
    '1.81x [1.78, 1.84] on onnxruntime:cpu'
    >>> measured("latency", TimedRow(0.5, "openvino:cpu", 0.0042, (0.0041, 0.0043), True))
    '4.2 ms [4.1, 4.3] on openvino:cpu'
    """
    low, high = (quantity(unit, end).split()[0].removesuffix("x") for end in row.interval)
    return f"{quantity(unit, row.value)} [{low}, {high}] on {row.target}"


def quantity(unit: str, value: float) -> str:
    """A number in the budget's unit: a ratio, or seconds.

    >>> quantity("speedup", 1.812), quantity("latency", 0.00421)
    ('1.81x', '4.21 ms')
    """
    return f"{value:.2f}x" if unit == "speedup" else f"{value * 1e3:.3g} ms"
