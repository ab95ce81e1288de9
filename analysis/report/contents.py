"""What a report says, gathered in one place: the terminal, report.md and index.html are written from it.

contents.answer, contents.summary         # the first screen
contents.sections                         # what was found, then evidence
contents.unanswered                       # a line each
files.page, files.texts, files.figures    # of ReportFiles: what was written
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from analysis.report.answer import Answer, Command
from analysis.report.sections import Section
from analysis.report.table1 import Table1
from analysis.report.trial_table import TrialTable
from analysis.trials.banner import Banner
from analysis.trials.subject import Subject


@dataclass(frozen=True)
class FigureFiles:
    """The figures of a report by their stems: PNG and SVG, caption, and of those without files the reason."""

    paths: dict[str, tuple[Path, Path]]
    captions: dict[str, str]
    reasons: dict[str, str]


@dataclass(frozen=True)
class Part:
    """What one question adds to a report."""

    summary: tuple[str, ...] = ()
    """Lines of "label: text", for the top of the page and the terminal."""
    answers: tuple[Section, ...] = ()
    """What was found, with its intervals: the page has it unfolded, before all evidence."""
    evidence: tuple[Section, ...] = ()
    printed: tuple[Section, ...] = ()
    """Those that the terminal shows too, but for details."""
    answer: Answer | None = None
    """What the first screen says of the question."""
    unanswered: tuple[Command, ...] = ()
    """Questions that no trial here can answer, each with the command that would: a line each."""
    figure: str = ""
    """Stem of the figure that shows the answer best; where it could not be drawn, that of another part leads."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Name -> text of further files beside the page; a name may have one folder."""


@dataclass(frozen=True)
class Contents:
    """`table` is None where the folders hold no Table 1, and `table_note` then may say why."""

    subject: Subject
    banner: Banner
    answer: Answer
    """The first screen."""
    summary: tuple[str, ...]
    table: Table1 | None
    table_note: str
    parts: tuple[Part, ...]
    figures: FigureFiles
    trials: TrialTable
    num_outside: int
    """Trials beside Table 1, of grids."""
    commands: tuple[Command, ...]
    """That run the trials and the report again."""
    provenance: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    """What must be known of the trials, and what was not read or not used: a sentence each."""
    without_score: tuple[str, ...]
    """Why trials FAILED or were PRUNED."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """Everything that the report lacks, a sentence each."""
        figures = [f"{self.figures.captions[stem]} Not drawn: {why}" for stem, why in self.figures.reasons.items()]
        no_table = [self.table_note] if self.table_note and not self.table else []
        return (*self.problems, *no_table, *self.without_score, *figures)

    @property
    def answers(self) -> tuple[Section, ...]:
        return tuple(section for part in self.parts for section in part.answers)

    @property
    def evidence(self) -> tuple[Section, ...]:
        return tuple(section for part in self.parts for section in part.evidence)

    @property
    def sections(self) -> tuple[Section, ...]:
        return (*self.answers, *self.evidence)

    @property
    def printed(self) -> tuple[Section, ...]:
        return tuple(section for part in self.parts for section in part.printed if not section.is_detail)

    @property
    def unanswered(self) -> tuple[Command, ...]:
        return tuple(command for part in self.parts for command in part.unanswered)

    @property
    def first_figure(self) -> str:
        """Stem of the figure that stands beside the answer: that of the first part that has one, else the first one
        that was drawn; empty where none was."""
        wanted = [part.figure for part in self.parts if part.figure in self.figures.paths]
        return next(iter([*wanted, *self.figures.paths]), "")


@dataclass(frozen=True)
class ReportFiles:
    """What was written: `texts` are the files beside the page."""

    contents: Contents
    page: Path
    texts: tuple[Path, ...]
    tables: tuple[Path, ...]
    grids: tuple[Path, ...]
    best_command: str = ""
    """The command that runs a search's choice on the test part; empty where none was chosen."""

    @property
    def figures(self) -> tuple[Path, ...]:
        return tuple(path for pair in self.contents.figures.paths.values() for path in pair)
