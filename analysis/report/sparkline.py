"""A trial's curves as small inline SVG pictures, one after the other in a table's cells.

    sparkline(result, "accuracy")    # '<svg class="spark" ...>', 96 x 22 units; empty without a history

The pale line is of the training images, the dark one of the watched part (test or validation). Accuracy goes from 0 to
1, so that rows compare; loss from 0 to its own highest value. A cross ends a line that became NaN or infinite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from galaxytl.trial import TrialResult

WIDTH, HEIGHT, MARGIN = 96, 22, 2
MAX_POINTS: Final = 48
"""Of a line: half a point a unit of width is more than the eye sees, and a thousand trials of 200 epochs stay small."""
SERIES: Final = {"train": "{}", "watched": "val_{}"}
"""Class of the line -> its name in a row's history."""

Point = tuple[float, float]


def sparkline(result: TrialResult, quantity: str) -> str:
    """Both lines of `quantity`, "accuracy" or "loss". It holds numbers and words of this file only: safe as HTML."""
    found = {name: [e.get(key.format(quantity), math.nan) for e in result.history] for name, key in SERIES.items()}
    found = {name: values for name, values in found.items() if any(map(math.isfinite, values))}
    if not found:
        return ""
    top = 1.0 if quantity == "accuracy" else max(v for values in found.values() for v in values if math.isfinite(v))
    paths = "".join(_line(name, values, top or 1.0) for name, values in found.items())
    label = _label(list(found.values())[-1], quantity)
    return f'<svg class="spark" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{paths}</svg>'


def _label(values: Sequence[float], quantity: str) -> str:
    finite = [v for v in values if math.isfinite(v)]
    ended = "" if math.isfinite(values[-1]) else ", then not a number"
    return f"{quantity} {finite[0]:.2f} to {finite[-1]:.2f}{ended}"


def _line(name: str, values: Sequence[float], top: float) -> str:
    """One path; a dot where there is one epoch, a cross where the values end before the epochs do."""
    points = _points(values, top)
    draw = "M" + "L".join(f"{x:.4g} {y:.4g}" for x, y in points)
    draw += "h.01" if len(points) == 1 else ""
    cross = "" if math.isfinite(values[-1]) else _cross(points[-1])
    return f'<path class="{name}" d="{draw}"/>{cross}'


def _cross(point: Point) -> str:
    x, y = (f"{value - 2:.4g}" for value in point)
    return f'<path class="end" d="M{x} {y}l4 4m0-4l-4 4"/>'


def _points(values: Sequence[float], top: float) -> list[Point]:
    """From left to right over all epochs, y downwards, at most MAX_POINTS; what is not finite is left out."""
    last = len(values) - 1
    step = max(1.0, last / (MAX_POINTS - 1))
    chosen = sorted({round(i * step) for i in range(min(last + 1, MAX_POINTS))} | {last})
    if not any(math.isfinite(values[i]) for i in chosen):
        chosen = [i for i, value in enumerate(values) if math.isfinite(value)][:1]
    width, height = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    return [
        (MARGIN + width * i / max(1, last), MARGIN + height * (1 - min(1.0, max(0.0, values[i] / top))))
        for i in chosen
        if math.isfinite(values[i])
    ]
