"""`report.md`: the contents of a report as Markdown, for readers of text and for a repository's pages.

text = report_markdown(contents)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from analysis.report.answer import DATA, UNANSWERED, Answer, Command
from analysis.report.contents import Contents, FigureFiles
from analysis.report.formats import escape_markdown, markdown_banner, markdown_table
from analysis.report.sections import Section, as_markdown
from analysis.report.table1 import as_markdown as table_markdown
from analysis.report.table_files import stems
from analysis.report.trial_table import TrialTable
from galaxytl.system.foreign_text import visible

FIGURES: Final = "figures"
"""Folder of the pictures inside the report's folder."""
TABLES: Final = "tables"
"""Folder of the tables' files there."""


def report_markdown(contents: Contents) -> str:
    table = [table_markdown(contents.table)] if contents.table else []
    note = [f"{escape_markdown(contents.table_note)}\n"] if contents.table_note else []
    names = _csv_names(contents)
    parts = [
        f"# {escape_markdown(contents.subject.title)}\n",
        "\n".join(markdown_banner(contents.banner)) + "\n",
        f"{escape_markdown(contents.subject.question)}\n",
        *_answer(contents.answer),
        *([f"## {contents.subject.heading}\n", *table, *note] if table else []),
        *(_section(section, names) for section in contents.answers),
        *([_embedded(contents.first_figure, contents.figures)] if contents.first_figure else []),
        *_unanswered(contents.unanswered),
        *_listed("In short", contents.summary),
        *(_section(section, names) for section in contents.evidence),
        *_figures(contents.figures, contents.first_figure),
        *_trials(contents.trials, contents.banner.warning),
        *_again(contents),
        *_listed("Left out, and why", contents.left_out or ["Nothing was left out."]),
    ]
    return "\n".join(parts)


def _csv_names(contents: Contents) -> dict[int, str]:
    """Return the file of each section's table, by the section's id()."""
    own = [section for section in contents.sections if section.listing]
    return {id(section): f"{TABLES}/{stem}.csv" for section, stem in zip(own, stems(own), strict=True)}


def _section(section: Section, names: Mapping[int, str]) -> str:
    """Return a section; of a long table how many rows it has, and the file that has them."""
    if not section.listing or not section.is_long:
        return as_markdown([section])
    where = f"The table has {len(section.listing.rows):,} rows: {names[id(section)]} has them."
    return as_markdown([replace(section, listing=None, sentences=(where, *section.sentences))])


def is_overview(stem: str) -> bool:
    """Return whether a figure is not one of the paper's single ones (4-21), which the sheets show side by side."""
    return not re.fullmatch(r"(figure-\d\d-)?(loss|accuracy|confusion)-.*-imagenet-(on|off)", stem)


def _answer(answer: Answer) -> Iterator[str]:
    for heading, sentences in answer.rows:
        yield from _listed(heading, sentences)
    yield from map(_command, answer.commands)


def _unanswered(questions: Sequence[Command]) -> Iterator[str]:
    """Yield a line a question, the command as code, to be copied."""
    if questions:
        yield f"## {UNANSWERED}\n"
        lines = [f"- {escape_markdown(question.what)} `` {visible(question.line)} ``" for question in questions]
        yield "\n".join(lines) + f"\n\n{DATA}\n"


def _command(command: Command) -> str:
    return f"{escape_markdown(command.what)}:\n\n```\n{visible(command.line)}\n```\n"


def _figures(files: FigureFiles, first: str) -> Iterator[str]:
    """Yield all but the first, which stands beside the answer."""
    others = [stem for stem in files.paths if stem != first]
    sheets = [stem for stem in others if is_overview(stem)]
    singles = [stem for stem in others if stem not in sheets]
    for heading, own in (("More figures", sheets), ("Figure by figure", singles)):
        if own:
            yield f"## {heading}\n"
            yield from (_embedded(stem, files) for stem in own)


def _embedded(stem: str, files: FigureFiles) -> str:
    png, svg = (f"{FIGURES}/{path.name}" for path in files.paths[stem])
    caption = escape_markdown(files.captions[stem])
    return f"![{caption}]({png})\n\n{caption} ([SVG]({svg}))\n"


def _trials(table: TrialTable, warning: str) -> Iterator[str]:
    yield "## Trials\n"
    if warning:
        yield f"{escape_markdown(warning)}\n"
    shown = [number for number, column in enumerate(table.columns) if not column.curve]
    columns = [table.columns[number] for number in shown]
    headings = [*(column.heading for column in columns), "message"]
    rows = [[*(row.entries[number].text for number in shown), row.message] for row in table.rows]
    right = {number for number, column in enumerate(columns) if column.is_number}
    yield "\n".join(markdown_table(headings, rows, right)) + "\n"
    yield from (f"{escape_markdown(note)}\n" for note in (*table.notes, *table.in_common))


def _again(contents: Contents) -> Iterator[str]:
    yield "## Run it again\n"
    yield from map(_command, contents.commands)
    yield from markdown_table(("what", "value"), contents.provenance)
    yield ""


def _listed(heading: str, lines: Iterable[str]) -> Iterator[str]:
    yield f"## {heading}\n"
    yield "\n".join(f"- {escape_markdown(line)}" for line in lines) + "\n"
