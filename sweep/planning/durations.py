"""Seconds as people say them: one time, or a range of times, in the units that fit."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Write two units where the larger one is below 10, else one.

    >>> duration(4.2), duration(200), duration(1500), duration(7500), duration(200_000)
    ('4 s', '3 min 20 s', '25 min', '2 h 05 min', '2 days 8 h')
    """
    if round(seconds) < 60:
        return f"{round(seconds)} s"
    if seconds < 3570:  # rounds to less than 60 minutes
        return _two_units(seconds, "min", 60, "s", 1)
    if seconds < 48 * 3600 - 1800:
        return _two_units(seconds, "h", 3600, "min", 60)
    return _two_units(seconds, "days", 86400, "h", 3600)


def duration_range(low: float, high: float) -> str:
    """Write both in one unit; one time where both read alike.

    >>> duration_range(490, 1190), duration_range(20, 90), duration_range(9000, 15000), duration_range(600, 602)
    ('8 to 20 min', '20 to 90 s', '2.5 to 4.2 h', '10 min')
    """
    if duration(low) == duration(high):
        return duration(low)
    for name, unit in (("days", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if low >= unit and high >= 2 * unit:
            digits = 1 if high < min(2 * low, 10 * unit) and name != "s" else 0
            return f"{low / unit:.{digits}f} to {high / unit:.{digits}f} {name}"
    return f"{duration(low)} to {duration(high)}"


def _two_units(seconds: float, large: str, per_large: int, small: str, per_small: int) -> str:
    whole, rest = divmod(round(seconds / per_small), per_large // per_small)
    if whole >= 10:
        return f"{round(seconds / per_large)} {large}"
    return f"{whole} {large} {rest:02d} {small}" if small != "h" else f"{whole} {large} {rest} {small}"
