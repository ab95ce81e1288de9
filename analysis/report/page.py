"""`index.html`: a report as one page that opens anywhere, without a network, with or without JavaScript, and prints.

html = page_html(contents)

Style, script and pictures are inside the file. Whatever comes from a row is text: the template escapes it, and the
page's own policy lets no script run but the one that came with it, and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.report.answer import DATA, UNANSWERED, verdict_parts
from analysis.report.contents import Contents, FigureFiles
from analysis.report.markdown import is_overview
from analysis.report.sections import Section
from analysis.report.trial_table import TrialRow
from galaxytl.system.foreign_text import visible
from galaxytl.trial import TrialResult

TYPES: Final = {".svg": "image/svg+xml", ".png": "image/png"}
GOOD, BAD, OPEN = "good", "bad", "open"
TONES: Final = {
    **dict.fromkeys(("EXPLAINED", "CONFIRMED", "LEARNED"), GOOD),
    **dict.fromkeys(("FAILED", "CONTRADICTED", "NOT_EXPLAINED"), BAD),
    **dict.fromkeys(("PRUNED", "MISSING", "INCONCLUSIVE", "NOT_REPRODUCED"), OPEN),
    **dict.fromkeys(("COMPATIBLE", "NOT_CONFIRMED", "NOT_TESTABLE"), OPEN),
}
"""Words that stand alone in a table's cell, and how they are set off; never by colour alone: the word stays."""
WIDTH, HEIGHT, MARGIN = 96, 22, 2
"""Units of a sparkline."""
MAX_POINTS: Final = 48
"""Of a line: half a point a unit of width is more than the eye sees, and a thousand trials of 200 epochs stay small."""
SERIES: Final = {"train": "{}", "watched": "val_{}"}
"""Class of the line -> its name in a row's history."""


def page_html(contents: Contents) -> str:
    environment = Environment(
        loader=PackageLoader("analysis.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_visible,
    )
    environment.filters |= {"tone": tone, "labelled": labelled, "verdict_parts": verdict_parts}
    return environment.get_template("page.html").render(page=Page(contents))


def _visible(value: object) -> object:
    return visible(value) if type(value) is str else value  # Markup is this file's own


@dataclass(frozen=True)
class Picture:
    """A figure with the whole of its file in `uri`."""

    stem: str
    caption: str
    uri: str


@dataclass(frozen=True)
class Anchored:
    """A section with its place in the page."""

    anchor: str
    section: Section


@dataclass(frozen=True)
class Page:
    """What the template reads."""

    contents: Contents

    @property
    def style(self) -> Markup:
        return _own_file("page.css")

    @cached_property
    def script(self) -> Markup:
        return _own_file("page.js")

    @property
    def script_hash(self) -> str:
        """For the Content-Security-Policy: only this text may run."""
        return "sha256-" + base64.b64encode(hashlib.sha256(self.script.encode()).digest()).decode()

    @cached_property
    def answers(self) -> list[Anchored]:
        return _anchored("answer", self.contents.answers)

    @cached_property
    def evidence(self) -> list[Anchored]:
        return _anchored("evidence", self.contents.evidence)

    @cached_property
    def pictures(self) -> list[Picture]:
        return list(_pictures(self.contents.figures))

    @cached_property
    def first_figure(self) -> Picture | None:
        """The one that stands beside the answer."""
        return next((picture for picture in self.pictures if picture.stem == self.contents.first_figure), None)

    @cached_property
    def overviews(self) -> list[Picture]:
        """All others that are not one of the paper's single ones."""
        return [own for own in self.pictures if is_overview(own.stem) and own is not self.first_figure]

    @cached_property
    def singles(self) -> list[Picture]:
        return [own for own in self.pictures if not is_overview(own.stem) and own is not self.first_figure]

    @property
    def unanswered_heading(self) -> str:
        return UNANSWERED

    @property
    def data_note(self) -> str:
        return DATA

    def png(self, content: bytes) -> str:
        return _data_uri("image/png", content)

    def sparkline(self, row: TrialRow, quantity: str) -> Markup:
        return Markup(sparkline(row.result, quantity))


def _own_file(name: str) -> Markup:
    """Return a file beside the template, which is not escaped: it is ours."""
    return Markup(resources.files("analysis.report").joinpath("templates", name).read_text(encoding="utf-8"))


def _anchored(prefix: str, sections: Sequence[Section]) -> list[Anchored]:
    return [Anchored(f"{prefix}-{number}", section) for number, section in enumerate(sections, start=1)]


def _pictures(files: FigureFiles) -> Iterator[Picture]:
    for stem, paths in files.paths.items():
        yield Picture(stem, files.captions[stem], data_uri(min(paths, key=lambda path: path.stat().st_size)))


def data_uri(path: Path) -> str:
    """Return the file in base64. As an <img>, an SVG keeps its ids to itself, and no script in one runs."""
    return _data_uri(TYPES[path.suffix], path.read_bytes())


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def tone(text: str) -> str:
    """Return the class of a cell that is one of TONES' words; nothing else has one.

    >>> tone("FAILED"), tone("0.823")
    ('bad', '')
    """
    return TONES.get(text, "")


def labelled(line: str) -> tuple[str, str]:
    """Return a summary's line as label and text; a long beginning is no label.

    >>> labelled("data: simulated"), labelled("no colon")
    (('data', 'simulated'), ('', 'no colon'))
    """
    label, colon, rest = line.partition(": ")
    return (label, rest) if colon and len(label) <= 40 and not re.search(r"[.;]", label) else ("", line)


def sparkline(result: TrialResult, quantity: str) -> str:
    """Return both lines of `quantity`, "accuracy" or "loss"; empty without a history.

    The pale line is of the training images, the dark one of the watched part (test or validation). Accuracy goes from 0
    to 1, so that rows compare; loss from 0 to its own highest value. A cross ends a line that became NaN or infinite.
    It holds numbers and words of this file only: safe as HTML.
    """
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
    """Return one path; a dot where there is one epoch, a cross where the values end before the epochs do."""
    points = _points(values, top)
    draw = "M" + "L".join(f"{x:.4g} {y:.4g}" for x, y in points)
    draw += "h.01" if len(points) == 1 else ""
    cross = "" if math.isfinite(values[-1]) else _cross(points[-1])
    return f'<path class="{name}" d="{draw}"/>{cross}'


def _cross(point: tuple[float, float]) -> str:
    x, y = (f"{value - 2:.4g}" for value in point)
    return f'<path class="end" d="M{x} {y}l4 4m0-4l-4 4"/>'


def _points(values: Sequence[float], top: float) -> list[tuple[float, float]]:
    """Return the points from left to right over all epochs, y downwards, at most MAX_POINTS; what is not finite is left
    out."""
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
