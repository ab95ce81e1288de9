"""Reports whose figures are composed as ever, but saved blank: saving is nine tenths of a report's seconds. And what
is wrong with the texts of a figure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

MARKUP = re.compile(r"[$\\{}]|mathdefault|\b(nan|NaN|None|inf)\b")
FIELD = re.compile(r"\b[a-z]+_[a-z_]+\b")
"""A raw name where prose is expected; layers (block1_conv1) and datasets (galaxy10_decals) have a digit."""
TOLERANCE = 1.0
"""Pixels of the 100 an inch, by which boxes of texts may overlap: a font's box is larger than its letters."""


def save_blank(_: Figure, stem: Path) -> tuple[Path, Path]:
    """In place of `analysis.figures.style.save`, which test_figures.py and test_page_browser.py see at work."""
    png, svg = stem.with_suffix(".png"), stem.with_suffix(".svg")
    png.write_bytes(b"\x89PNG")
    svg.write_text("<svg></svg>")
    return png, svg


@contextmanager
def blank_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.figures.plans.save", save_blank)
        yield


@dataclass(frozen=True, eq=False)
class Line:
    """A line of text as it is drawn, with the corners (4, 2) of its box in pixels from the lower left."""

    text: str
    corners: NDArray[np.float64]


class LinesOnly(RendererAgg):
    """Draws nothing, and notes each line of text that would be drawn."""

    def __init__(self, figure: Figure) -> None:
        super().__init__(figure.bbox.width, figure.bbox.height, figure.dpi)
        self.lines: list[Line] = []

    def draw_text(self, gc: Any, x: float, y: float, s: str, prop: Any, angle: float, *_: Any, **__: Any) -> None:
        width, height, descent = self.get_text_width_height_descent(s, prop, ismath=False)
        turn = np.radians(angle)
        across, up = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
        corner = np.array([x, self.height - y]) - descent * up
        corners = [corner + a * width * across + b * height * up for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))]
        self.lines.append(Line(s, np.array(corners)))

    def draw_path(self, *_: Any, **__: Any) -> None: ...
    def draw_markers(self, *_: Any, **__: Any) -> None: ...
    def draw_path_collection(self, *_: Any, **__: Any) -> None: ...
    def draw_quad_mesh(self, *_: Any, **__: Any) -> None: ...
    def draw_image(self, *_: Any, **__: Any) -> None: ...


def lines_of(figure: Figure) -> list[Line]:
    """Every line of text that the figure shows, where its layout puts it."""
    renderer = LinesOnly(figure)
    if engine := figure.get_layout_engine():
        engine.execute(figure)  # once: to draw would lay it out too
    figure.set_layout_engine("none")
    figure.draw(renderer)
    return [line for line in renderer.lines if line.text.strip()]


def faults_of(figure: Figure, names: Sequence[str] = ()) -> list[str]:
    """What a reader would stumble over: markup, raw names but for `names`, texts over the edge or over one another."""
    lines = lines_of(figure)
    found = [f"markup: {line.text!r}" for line in lines if MARKUP.search(line.text)]
    found += [f"raw name: {line.text!r}" for line in lines if set(FIELD.findall(line.text)) - set(names)]
    edge = figure.bbox.width, figure.bbox.height
    found += [f"clipped: {line.text!r}" for line in lines if _is_outside(line.corners, edge)]
    return found + [f"overlap: {a.text!r} and {b.text!r}" for a, b in _near(lines) if _overlap(a.corners, b.corners)]


def _near(lines: Sequence[Line]) -> list[tuple[Line, Line]]:
    """Pairs whose upright boxes overlap: of a matrix of 40 classes there are a million others."""
    low = np.array([line.corners.min(axis=0) for line in lines])
    high = np.array([line.corners.max(axis=0) for line in lines])
    touch = ((low[:, None] < high[None] - TOLERANCE) & (low[None] < high[:, None] - TOLERANCE)).all(axis=2)
    return [(lines[i], lines[j]) for i, j in np.argwhere(np.triu(touch, 1))]


def _is_outside(corners: NDArray[np.float64], edge: tuple[float, float]) -> bool:
    return bool((corners < -TOLERANCE).any() or (corners > np.array(edge) + TOLERANCE).any())


def _overlap(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Of two rectangles: along each of their four directions they share more than TOLERANCE."""
    for box in (first, second):
        for side in (box[1] - box[0], box[3] - box[0]):
            along = side / max(float(np.linalg.norm(side)), 1e-9)
            own, other = first @ along, second @ along
            if min(own.max(), other.max()) - max(own.min(), other.min()) <= TOLERANCE:
                return False
    return True
