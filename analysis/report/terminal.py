"""What the command prints: the answer, the summary, Table 1 or why there is none, a search's sections, then the files.

show(files)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Final

from rich.padding import Padding
from rich.text import Text

from analysis.report.answer import DATA, UNANSWERED, Answer, Command, verdict_parts
from analysis.report.contents import Contents, ReportFiles
from analysis.report.sections import as_rich
from analysis.report.table1 import WIDTH
from analysis.report.table1 import as_rich as table_rich
from analysis.trials.load import count_of_trials
from galaxytl.system.console import Console
from galaxytl.system.foreign_text import visible

INDENT: Final = 2
MOST_NAMED: Final = 3
"""Figures that could not be drawn: more of them are counted."""


def show(files: ReportFiles) -> None:
    contents = files.contents
    say_problems(contents)
    # A terminal has its own width; rich would cut numbers off in a narrower one than 80. A file has room for Table 1.
    least = WIDTH if contents.table and not Console().is_terminal else 80
    console = Console(highlight=False, width=max(least, Console().width))
    show_answer(contents.answer, Console(highlight=False))
    show_unanswered(contents.unanswered, Console(highlight=False))
    _show_summary(contents, console)
    if contents.table:
        console.print()
        console.print(table_rich(contents.table, console.width))
    if contents.table_note:
        console.print(Text(f"\n{visible(contents.table_note)}"))
    if contents.printed:
        console.print(as_rich(contents.printed))
    print("\nWritten:")
    for line in _files(files):
        print(f"  {visible(line)}")
    not_drawn = list(contents.figures.reasons.items())
    for stem, why in not_drawn if len(not_drawn) <= MOST_NAMED else ():
        print(f"not drawn: {stem}: {visible(why)}")
    if len(not_drawn) > MOST_NAMED:
        print(f"{len(not_drawn)} figures could not be drawn; the page says which, and why")
    if files.best_command:
        command = visible(files.best_command)
        print(f"\nThe best trial again, on the test part; DATA is what the search had:\n  {command}")


def say_problems(contents: Contents) -> None:
    for problem in contents.problems:
        print(f"warning: {visible(problem)}", file=sys.stderr)
    if contents.num_outside:
        verb, whose = "is" if contents.num_outside == 1 else "are", f"{contents.subject.table}'s"
        trials = count_of_trials(contents.num_outside)
        print(f"{trials} {verb} in none of {whose} rows; report.md lists them", file=sys.stderr)


def show_answer(answer: Answer, console: Console) -> None:
    """Print the first screen, as wide as the terminal is."""
    for heading, sentences in answer.rows:
        console.print(Text(heading, style="bold"))
        for sentence in sentences:
            whose, verdict, rest = verdict_parts(visible(sentence))
            head = f"{whose}: {verdict}: " if verdict else ""
            console.print(Padding(Text.assemble((head, "bold"), rest), (0, 0, 0, INDENT)))
    for command in answer.commands:
        console.print(Padding(Text(f"{visible(command.what)}:"), (0, 0, 0, INDENT)))
        console.print(Text(f"{' ' * 2 * INDENT}{visible(command.line)}"), soft_wrap=True)  # it is to be copied whole
    console.print()


def show_unanswered(questions: Sequence[Command], console: Console) -> None:
    """Print a line each, to be copied whole."""
    for number, question in enumerate(questions):
        if not number:
            console.print(Text(UNANSWERED, style="bold"))
        console.print(Text(f"{' ' * INDENT}{visible(str(question))}"), soft_wrap=True)
    if questions:
        console.print(Padding(Text(DATA), (0, 0, 0, INDENT)))
        console.print()


def _show_summary(contents: Contents, console: Console) -> None:
    """Print a line each, the label set off; the warning stands out."""
    for line in map(visible, contents.summary):
        label, colon, rest = line.partition(": ")
        console.print(Text.assemble((label + colon, "bold"), rest) if colon else Text(line))


def _files(files: ReportFiles) -> Iterator[str]:
    """Yield the page first; tables, grids and figures by folder."""
    yield f"{files.page} ({files.page.stat().st_size / 1e6:.1f} MB; open it in a browser)"
    folder = files.page.parent
    yield from (str(path) for path in files.texts if path.parent == folder)
    matrices = tuple(path for path in files.texts if path.parent != folder)
    kinds = ((files.tables, "tables"), (matrices, "matrices"), (files.grids, "grids"), (files.figures, "figures"))
    for paths, what in kinds:
        if paths:
            endings = ", ".join(dict.fromkeys(path.suffix for path in paths))
            number = len({path.stem for path in paths})
            one = "matrix" if what == "matrices" else what[:-1]
            yield f"{paths[0].parent}/: {number} {what if number > 1 else one} as {endings}"
