"""A sweep's status in the terminal: some 20 lines, at 80 columns and more."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.console import Group as Lines
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sweep.status.snapshot import Counts, Snapshot
from sweep.status.texts import MOST_LINES, Line, clock, facts, lines_of, next_step, title

STYLES = {"running": "cyan", "ended": "green", "stopped": "yellow", "gone": "bold red", "unknown": "yellow"}
BAR = 40
"""Letters of the bar."""


def screen(snapshot: Snapshot) -> RenderableType:
    """Return all that there is to say."""
    parts: list[RenderableType] = [Text(title(snapshot), style=STYLES[snapshot.state])]
    if snapshot.counts.total:
        parts.append(bar(snapshot.counts))
    parts.append(_facts(snapshot))
    if snapshot.running:
        parts += ["", _running(lines_of(snapshot.running), snapshot.counts.running)]
    if snapshot.failures:
        parts += ["", _failures(snapshot.failures)]
    parts += [Text(f"note: {problem}") for problem in snapshot.problems]
    sentence, command = next_step(snapshot)
    if sentence:
        parts += ["", Text(sentence), *([Command(command)] if command else [])]
    return Lines(*parts)


@dataclass(frozen=True)
class Command:
    """A command line that can be copied: where it is longer than a line, the shell is told so."""

    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = [""]
        for word in map(shlex.quote, shlex.split(self.text)):
            if lines[-1] and len(f"    {lines[-1]} {word} \\") > options.max_width:
                lines.append("")
            lines[-1] += f"{' ' if lines[-1] else ''}{word}"
        yield Text("  " + " \\\n    ".join(lines), no_wrap=True, overflow="ignore")


def line(snapshot: Snapshot) -> str:
    """Return one line, for what is no terminal."""
    said = dict(facts(snapshot))
    return f"{title(snapshot)}: {said['Trials']}" + (f"; left: {said['Left']}" if "Left" in said else "")


def bar(counts: Counts) -> Text:
    """Draw what share of the trials has ended, and what of it failed."""
    total = max(1, counts.total or 0)
    failed = -(-BAR * counts.failed // total)
    ended = max(failed, BAR * counts.ended // total)
    text = Text("[")
    text.append("#" * (ended - failed), "green").append("!" * failed, "red").append("." * (BAR - ended), "dim")
    return text.append(f"] {counts.ended:,} of {counts.total:,} have ended")


def _facts(snapshot: Snapshot) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=9)
    table.add_column(overflow="fold")
    for heading, text in facts(snapshot):
        table.add_row(heading, Text(text))
    return table


def _running(lines: Sequence[Line], number: int) -> Table:
    """Return two lines for each: a name has the width to itself, as names are long."""
    table = Table(
        title=f"{number:,} running", title_justify="left", box=None, show_header=False, pad_edge=False, padding=0
    )
    table.add_column(overflow="fold")
    for own in lines[:MOST_LINES]:
        table.add_row(escape(own.name))
        table.add_row(Padding(Text(_doing(own), "dim"), (0, 0, 0, 4)))
    if (more := number - sum(own.number for own in lines[:MOST_LINES])) > 0:
        table.add_row(f"and {more:,} more")
    return table


def _doing(own: Line) -> str:
    epochs = f"{own.epoch} epochs done" if own.epoch else ""
    accuracy = f"accuracy {own.accuracy}" if own.accuracy else ""
    parts = (own.node, own.phase, epochs, f"for {clock(own.seconds)}", accuracy)
    return "; ".join(filter(None, parts))


def _failures(failures: Sequence[tuple[str, int]]) -> Table:
    table = Table(title="Failed, because", title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for reason, number in failures[:MOST_LINES]:
        table.add_row(f"{number:,} x", escape(reason))
    if more := failures[MOST_LINES:]:
        table.add_row(f"{sum(number for _, number in more):,} x", f"{len(more):,} other reasons")
    return table
