"""`index.html`: a report as one page that opens anywhere, without a network, with or without JavaScript, and prints.

html = page_html(contents)

Style, script and pictures are inside the file. Whatever comes from a row is text: the template escapes it, and the
page's own policy lets no script run but the one that came with it, and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.figures.catalogue import Drawn
from analysis.report.answer import verdict_parts
from analysis.report.contents import QUESTION, TITLE, Contents
from analysis.report.markdown import is_overview
from analysis.report.sparkline import sparkline
from analysis.report.trial_table import TrialRow
from analysis.sections import Section
from galaxytl.system.foreign_text import visible

TYPES: Final = {".svg": "image/svg+xml", ".png": "image/png"}
GOOD, BAD, OPEN = "good", "bad", "open"
TONES: Final = {
    **dict.fromkeys(("EXPLAINED", "CONFIRMED", "LEARNED"), GOOD),
    **dict.fromkeys(("FAILED", "CONTRADICTED", "NOT_EXPLAINED"), BAD),
    **dict.fromkeys(("PRUNED", "MISSING", "INCONCLUSIVE", "NOT_REPRODUCED"), OPEN),
    **dict.fromkeys(("COMPATIBLE", "NOT_CONFIRMED", "NOT_TESTABLE"), OPEN),
}
"""Words that stand alone in a table's cell, and how they are set off; never by colour alone: the word stays."""


def page_html(contents: Contents) -> str:
    environment = Environment(
        loader=PackageLoader("analysis"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_visible,
    )
    environment.filters |= {"tone": tone, "labelled": labelled, "verdict_parts": verdict_parts}
    return environment.get_template("page.html").render(page=Page(contents), title=TITLE, question=QUESTION)


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
    def overviews(self) -> list[Picture]:
        return [picture for picture in _pictures(self.contents.drawn) if is_overview(picture.stem)]

    @cached_property
    def singles(self) -> list[Picture]:
        return [picture for picture in _pictures(self.contents.drawn) if not is_overview(picture.stem)]

    def sparkline(self, row: TrialRow, quantity: str) -> Markup:
        return Markup(sparkline(row.result, quantity))


def _own_file(name: str) -> Markup:
    """A file beside the template, which is not escaped: it is ours."""
    return Markup(files("analysis.report").joinpath("templates", name).read_text(encoding="utf-8"))


def _anchored(prefix: str, sections: Sequence[Section]) -> list[Anchored]:
    return [Anchored(f"{prefix}-{number}", section) for number, section in enumerate(sections, start=1)]


def _pictures(drawn: Drawn) -> Iterator[Picture]:
    for stem, paths in drawn.written.items():
        yield Picture(stem, drawn.captions[stem], data_uri(min(paths, key=lambda path: path.stat().st_size)))


def data_uri(path: Path) -> str:
    """The file in base64. As an <img>, an SVG keeps its ids to itself, and no script in one runs."""
    return f"data:{TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def tone(text: str) -> str:
    """The class of a cell that is one of TONES' words; nothing else has one.

    >>> tone("FAILED"), tone("0.823")
    ('bad', '')
    """
    return TONES.get(text, "")


def labelled(line: str) -> tuple[str, str]:
    """A summary's line as label and text; a long beginning is no label.

    >>> labelled("data: simulated"), labelled("no colon")
    (('data', 'simulated'), ('', 'no colon'))
    """
    label, colon, rest = line.partition(": ")
    return (label, rest) if colon and len(label) <= 40 and not re.search(r"[.;]", label) else ("", line)
