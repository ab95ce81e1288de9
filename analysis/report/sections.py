"""A part of a report, with one content for the terminal and for Markdown.

section = Section("Scores", Listing(("Score", "Value"), (("accuracy", "0.635"),), right={1}), ("On 63 images.",))
console.print(as_rich([section])); as_markdown([section])
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.report.formats import escape_markdown, markdown_table
from galaxytl.system.foreign_text import visible


@dataclass(frozen=True)
class Listing:
    """A table as texts; `right` are the columns, from 0, that are aligned right."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: Set[int] = frozenset()
    pictures: tuple[bytes, ...] = ()
    """A PNG a row, empty where a row has none; for the page only."""


@dataclass(frozen=True)
class Section:
    """A heading, a table and sentences below it, any of which may be left out."""

    heading: str
    listing: Listing | None = None
    sentences: tuple[str, ...] = ()
    is_detail: bool = False
    """For the file only: the terminal does without."""
    is_long: bool = False
    """Whether report.md leaves its table to the folder of tables."""


def as_rich(sections: Iterable[Section]) -> Group:
    """Return the sections for a terminal of 80 columns or more: long texts are wrapped. Text objects, so that nothing
    is read as markup."""
    parts: list[Text | Table] = []
    for section in sections:
        parts += [Text(), Text(visible(section.heading), style="bold")]
        if section.listing:
            parts.append(_rich_table(section.listing))
        parts += [Text(visible(sentence)) for sentence in section.sentences]
    return Group(*parts)


def _rich_table(listing: Listing) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(listing.headings):
        is_number = number in listing.right
        table.add_column(
            Text(visible(heading)), justify="right" if is_number else "left", no_wrap=is_number, overflow="fold"
        )
    for row in listing.rows:
        table.add_row(*(Text(visible(text)) for text in row))
    return table


def as_markdown(sections: Iterable[Section]) -> str:
    lines: list[str] = []
    for section in sections:
        lines += [f"## {escape_markdown(section.heading)}", ""]
        if section.listing:
            listing = section.listing
            lines += [*markdown_table(listing.headings, listing.rows, listing.right), ""]
        for sentence in section.sentences:
            lines += [escape_markdown(sentence), ""]
    return "\n".join(lines)
