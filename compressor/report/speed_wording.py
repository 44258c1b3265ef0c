"""Budgets in time, and what was measured on the way to them, as words."""

from __future__ import annotations

from compressor.core.measurement import MachineFacts
from compressor.report.schema import TableRow, TimedRow


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


def untold(asked: float, row: TimedRow) -> bool:
    """Whether what was asked for lies within the interval: then neither is known, that it is kept or that it is not.

    >>> untold(2.0, TimedRow(0.5, "", 2.1, (1.6, 2.7), False)), untold(2.0, TimedRow(0.5, "", 1.8, (1.7, 1.9), False))
    (True, False)
    """
    return not row.holds and row.interval[0] <= asked <= row.interval[1]


def too_noisy(machine: MachineFacts) -> str:
    """Why an interval may be too wide, and what to do."""
    load = f"load {machine.load_1min:.1f} on {machine.n_cores_usable} cores"
    return f"The times vary too much for that ({load}): end other programs and run again, or ask for less."


def tables(row: TableRow) -> str:
    """How good the latency tables of a target are.

    >>> tables(TableRow("openvino:cpu", 40, 0.0123, 0.0))
    'Tables on openvino:cpu: 40 models timed node by node, predicted to 1.2 % (median).'
    """
    lost = f" {row.unexplained_share:.0%} of the time follows no width." if row.unexplained_share >= 0.01 else ""
    known = f"{row.n_models} models timed node by node, predicted to {100 * row.error:.1f} % (median)."
    return f"Tables on {row.target}: {known}{lost}"


def quantity(unit: str, value: float) -> str:
    """A number in the budget's unit: a ratio, or seconds.

    >>> quantity("speedup", 1.812), quantity("latency", 0.00421)
    ('1.81x', '4.21 ms')
    """
    return f"{value:.2f}x" if unit == "speedup" else f"{value * 1e3:.3g} ms"
