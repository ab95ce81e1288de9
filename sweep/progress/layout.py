"""A sweep's live table as lines of text: what is in it at which width. Pure functions.

    for line in table_lines([Row("VGG16, ImageNet, frozen", "epoch 3/20", "cyan", "0:12", "1.2", "0.5")], width=80):
        console.print(line)

A name takes two lines at most, and no letter of it is left out. Where the column beside the numbers is too narrow for
that, names have lines of their own, as wide as the terminal, and the numbers stand below.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from rich.text import Text

MOST_NAME_LINES: Final = 2
NUMBERS: Final = (("time", 6), ("loss", 7), ("accuracy", 8))
"""Headings and letters of the columns on the right."""
GAP: Final = "  "
NARROWEST: Final = 60
"""Columns of a terminal; in one that has fewer, lines are broken by the terminal itself."""


@dataclass(frozen=True)
class Row:
    """A trial as the table shows it, in texts."""

    name: str
    state: str
    style: str
    """rich's, of the state."""
    time: str = ""
    loss: str = ""
    accuracy: str = ""

    @property
    def numbers(self) -> tuple[str, str, str]:
        return self.time, self.loss, self.accuracy


@dataclass(frozen=True)
class Columns:
    """Widths in letters; a name of 0 stands in lines of its own."""

    name: int
    state: int


def columns_for(rows: Sequence[Row], width: int) -> Columns:
    """Return the widest columns that are needed and fit."""
    state = 16 if width < 100 else 32
    room = width - state - len(GAP) - sum(len(GAP) + letters for _, letters in NUMBERS)
    if any(len(_wrapped(row.name, room)) > MOST_NAME_LINES for row in rows):
        return Columns(0, state)
    return Columns(max([len("trial"), *(min(room, len(row.name)) for row in rows)]), state)


def table_lines(rows: Sequence[Row], width: int) -> list[Text]:
    """Return headings, a rule, and each row's lines."""
    width = max(width, NARROWEST)
    columns = columns_for(rows, width)
    heading = Row("trial", "state", "bold", *(name for name, _ in NUMBERS))
    lines = [Text(line.plain, style="bold") for line in _row_lines(heading, columns, width)]
    lines.append(Text("─" * max(len(line) for line in lines)))
    return lines + [line for row in rows for line in _row_lines(row, columns, width)]


def num_lines(row: Row, columns: Columns, width: int) -> int:
    return sum(1 for _ in _row_lines(row, columns, max(width, NARROWEST)))


def fitting_name(name: str, trial_id: str, width: int) -> str:
    """Return a name of so many settings that two lines of the whole width cannot hold it, with its last ones counted;
    its trial_id then tells it from others. Every other name stays what it is."""
    words = name.split(", ")
    width = max(width, NARROWEST)
    shown, left = name, 0
    while len(_wrapped(shown, width)) > MOST_NAME_LINES and left < len(words) - 1:
        left += 1
        shown = f"{', '.join(words[:-left])}, and {left} more settings ({trial_id})"
    return shown


def _row_lines(row: Row, columns: Columns, width: int) -> Iterator[Text]:
    """Yield the lines of a row: its name beside the rest, or above it."""
    names = _wrapped(row.name, columns.name or width)
    if not columns.name:
        yield from (Text(line) for line in names)
        names = []
    numbers = "".join(f"{GAP}{text:>{letters}}" for text, (_, letters) in zip(row.numbers, NUMBERS, strict=True))
    states = _wrapped(row.state, columns.state)
    for number, (name, state) in enumerate(zip_longest(names, states, fillvalue="")):
        line = Text(f"{name:{columns.name}}{GAP}") + Text(f"{state:{columns.state}}", style=row.style)
        if number == 0:
            line.append(numbers)
        line.rstrip()
        yield line


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(1, width), break_on_hyphens=False) or [""]
