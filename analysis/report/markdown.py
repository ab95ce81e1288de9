"""`report.md`: the contents of a report as Markdown, for readers of text and for a repository's pages.

text = report_markdown(contents)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from analysis.figures.catalogue import Drawn
from analysis.report.answer import Answer
from analysis.report.contents import QUESTION, TITLE, Contents
from analysis.report.table1 import as_markdown as table_markdown
from analysis.report.table1 import escape_markdown
from analysis.report.trial_table import TrialTable
from analysis.sections import as_markdown
from galaxytl.system.foreign_text import visible

FIGURES: Final = "figures"
"""Folder of the pictures inside the report's folder."""


def report_markdown(contents: Contents) -> str:
    table = [table_markdown(contents.table)] if contents.table else []
    note = [f"{escape_markdown(contents.table_note)}\n"] if contents.table_note else []
    parts = [
        f"# {TITLE}\n",
        *_quoted(contents),
        f"{QUESTION}\n",
        *_answer(contents.answer),
        *_listed("In short", contents.summary),
        *([as_markdown(contents.answers)] if contents.answers else []),
        *(["## Table 1\n", *table, *note] if table or note else []),
        *_figures(contents.drawn),
        *([as_markdown(contents.evidence)] if contents.evidence else []),
        *_trials(contents.trials, contents.banner.warning),
        *_again(contents),
        *_listed("Left out, and why", contents.left_out or ["Nothing was left out."]),
    ]
    return "\n".join(parts)


def is_overview(stem: str) -> bool:
    """Whether a figure is not one of the paper's single ones (4-21), which the sheets show side by side."""
    return not re.match(r"figure-\d\d-(loss|accuracy|confusion)-", stem)


def _quoted(contents: Contents) -> Iterator[str]:
    warning, run_on = (escape_markdown(text) for text in (contents.banner.warning, contents.banner.run_on))
    yield f"> **{warning}**\n>\n> {run_on}\n" if warning else f"> {run_on}\n"


def _answer(answer: Answer) -> Iterator[str]:
    for heading, sentences in answer.rows:
        yield from _listed(heading, sentences)
    for command in answer.commands:
        yield f"{escape_markdown(command.what)}:\n\n```\n{visible(command.line)}\n```\n"


def _figures(drawn: Drawn) -> Iterator[str]:
    sheets = [stem for stem in drawn.written if is_overview(stem)]
    singles = [stem for stem in drawn.written if stem not in sheets]
    for heading, stems in (("Figures", sheets), ("Figure by figure", singles)):
        if stems:
            yield f"## {heading}\n"
            yield from (_embedded(stem, drawn) for stem in stems)


def _embedded(stem: str, drawn: Drawn) -> str:
    png, svg = (f"{FIGURES}/{path.name}" for path in drawn.written[stem])
    caption = escape_markdown(drawn.captions[stem])
    return f"![{caption}]({png})\n\n{caption} ([SVG]({svg}))\n"


def _trials(table: TrialTable, warning: str) -> Iterator[str]:
    yield "## Trials\n"
    if warning:
        yield f"{escape_markdown(warning)}\n"
    shown = [number for number, column in enumerate(table.columns) if not column.curve]
    columns = [table.columns[number] for number in shown]
    lines = [_row([*(column.heading for column in columns), "message"])]
    lines.append([*("---:" if column.is_number else "---" for column in columns), "---"])
    lines += [_row([*(row.entries[number].text for number in shown), row.message]) for row in table.rows]
    yield "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
    yield from (f"{escape_markdown(note)}\n" for note in (*table.notes, *table.in_common))


def _row(texts: Iterable[str]) -> list[str]:
    return [escape_markdown(text) for text in texts]


def _again(contents: Contents) -> Iterator[str]:
    yield "## Run it again\n"
    for command in contents.commands:
        yield f"{escape_markdown(command.what)}:\n\n```\n{visible(command.line)}\n```\n"
    yield "| what | value |\n| --- | --- |"
    yield from (f"| {' | '.join(_row(row))} |" for row in contents.provenance)
    yield ""


def _listed(heading: str, lines: Iterable[str]) -> Iterator[str]:
    yield f"## {heading}\n"
    yield "\n".join(f"- {escape_markdown(line)}" for line in lines) + "\n"
