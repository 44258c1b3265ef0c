"""Numbers as people read them, the same in the terminal and on the page.

Three significant digits, a unit on every number, and no number that looks like another one: an infinite error stays
"inf", and a ratio whose interval excludes 1 is never printed as 1.00.
"""

from __future__ import annotations

import math
import unicodedata


def count(n: float) -> str:
    """A count with a metric letter.

    >>> count(41_234_567), count(999_950), count(512)
    ('41.2 M', '1.00 M', '512')
    """
    if n < 1000:
        return f"{n:.0f}"
    for letter in ("k", "M", "G", "T"):
        n /= 1000
        if n < 999.5 or letter == "T":
            break
    return f"{_three_digits(n)} {letter}"


def size(n_bytes: float) -> str:
    """Bytes in binary units.

    >>> size(1_140_000), size(800)
    ('1.09 MiB', '800 B')
    """
    if n_bytes < 1024:
        return f"{n_bytes:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        n_bytes /= 1024
        if n_bytes < 999.5 or unit == "GiB":
            break
    return f"{_three_digits(n_bytes)} {unit}"


def milliseconds(value: float) -> str:
    """A latency.

    >>> milliseconds(0.9234), milliseconds(12.345), milliseconds(0.00123)
    ('0.923 ms', '12.3 ms', '0.00123 ms')
    """
    return f"{_three_digits(value)} ms"


def rate(per_s: float) -> str:
    """A throughput, without its unit.

    >>> rate(0.0432), rate(8.127), rate(1234.5)
    ('0.0432', '8.13', '1.23 k')
    """
    return _three_digits(per_s) if per_s < 999.5 else count(per_s)


def joules(value: float) -> str:
    """An energy.

    >>> joules(2.5), joules(0.0123), joules(0.000045)
    ('2.50 J', '12.3 mJ', '45.0 µJ')
    """
    for scale, unit in ((1.0, "J"), (1e3, "mJ"), (1e6, "µJ")):
        if value * scale >= 0.9995 or unit == "µJ":
            break
    return f"{_three_digits(value * scale)} {unit}"


def seconds(value: float) -> str:
    """A duration from the run's own clock.

    >>> seconds(0.04), seconds(7.26), seconds(125), seconds(3725)
    ('0.04 s', '7.3 s', '2 min 05 s', '1 h 02 min')
    """
    if value < 59.95:
        return "< 0.01 s" if 0 < value < 0.005 else f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02d} min" if hours else f"{minutes} min {rest:02d} s"


def percent(share: float) -> str:
    """A share; what is not nothing is not printed as 0.0, nor what is not all as 100.0.

    >>> percent(0.4978), percent(0.0001), percent(0.99996), percent(1.0)
    ('49.8 %', '< 0.1 %', '> 99.9 %', '100 %')
    """
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    if 0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{share * 100:.1f} %"


def accuracy(top1_percent: float) -> str:
    """Top-1 accuracy, given in percent."""
    return f"{top1_percent:.2f} %"


def points(difference: float) -> str:
    """A signed difference of two percentages.

    >>> points(-0.723), points(0.0)
    ('−0.72', '±0.00')
    """
    if round(difference, 2) == 0:
        return "±0.00"
    return f"{'+' if difference > 0 else '−'}{abs(difference):.2f}"


def error(value: float) -> str:
    """A numerical error.

    >>> error(1.23e-6), error(0.0), error(float("inf"))
    ('1.2e-06', '0', 'inf')
    """
    return "0" if value == 0 else f"{value:.1e}"


def ratios(*values: float) -> list[str]:
    """Ratios of times, with a third decimal where one is within 0.02 of 1.

    >>> ratios(1.4249, 1.38, 1.4612), ratios(1.007, 1.003, 1.011), ratios(12.34)
    (['1.42', '1.38', '1.46'], ['1.007', '1.003', '1.011'], ['12.3'])
    """
    near = any(abs(value - 1) < 0.02 for value in values)
    return [
        f"{value:.3f}" if near and value < 10 else _three_digits(value) if value >= 10 else f"{value:.2f}"
        for value in values
    ]


def printable(text: str, keep: str = "") -> str:
    """The text without characters that act instead of showing: escape codes, direction overrides, lone surrogates.

    Layer names, file names and notes come from foreign files. `keep` lists control characters to leave in.

    >>> printable("conv\\x1b[2J1")
    'conv\ufffd[2J1'
    """
    hidden = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return "".join(c if c in keep or unicodedata.category(c) not in hidden else "\ufffd" for c in text)


def middle(text: str, width: int) -> str:
    """The text, its middle left out where it is longer than `width` characters; both ends tell layers apart.

    >>> middle("backbone.layer4.0.downsample.conv", 16)
    'backbon…ple.conv'
    """
    if len(text) <= width:
        return text
    tail = width // 2
    return f"{text[: width - tail - 1]}…{text[-tail:]}"


def _three_digits(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    # 9.996 gains a digit by rounding.
    return f"{value:.{decimals - 1}f}" if decimals and float(text) >= 10 ** (3 - decimals) else text
