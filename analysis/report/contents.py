"""What a report says, gathered in one place: the terminal, report.md and index.html are written from it.

    contents = Contents.of(found, [Part(summary=("VGG16, ON: EXPLAINED",), answers=(section,))], drawn, commands)

A further question is one more Part: its lines for the summary, its answers, and its evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analysis.report.answer import Answer, Command, of_search, of_table
from analysis.report.scope import Found
from analysis.report.summary import opening
from analysis.report.table1 import Table1
from analysis.report.trial_table import TrialTable
from analysis.search.choice import count_by_status
from analysis.sections import Section
from analysis.trials.banner import Banner
from analysis.trials.load import count_of_trials
from analysis.trials.provenance import mixed_versions, provenance
from galaxytl.trial import COMPLETE, TrialResult

if TYPE_CHECKING:  # matplotlib takes a second that --help and a refusal need not wait for
    from analysis.figures.catalogue import Drawn

TITLE = "Galaxy classification by transfer learning, run again"
QUESTION = (
    "Xu (2023) trained VGG16, ResNet50 and MobileNet on Galaxy10 DECaLS, with ImageNet weights and without, and found"
    " VGG16 at the level of guessing. This report runs that study again and asks whether the collapse comes from its"
    " optimizer settings."
)


@dataclass(frozen=True)
class Part:
    """What one question adds to a report."""

    summary: tuple[str, ...] = ()
    """Lines of "label: text", for the top of the page and the terminal."""
    answers: tuple[Section, ...] = ()
    """Verdicts with their intervals."""
    evidence: tuple[Section, ...] = ()
    is_printed: bool = False
    """Whether the terminal shows its sections too, but for details."""
    answer: Answer | None = None
    """What the first screen says of the question."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Name -> text of further files beside the page."""


@dataclass(frozen=True)
class Contents:
    """`table` is None where the folders hold no Table 1, and `table_note` then says why."""

    banner: Banner
    answer: Answer
    """The first screen."""
    summary: tuple[str, ...]
    table: Table1 | None
    table_note: str
    parts: tuple[Part, ...]
    drawn: Drawn
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

    @classmethod
    def of(cls, found: Found, parts: Sequence[Part], drawn: Drawn, commands: Sequence[Command]) -> Contents:
        results = found.trials.results
        banner = Banner.of_search(results)
        grid = found.grid
        answer = _answer(found, parts)
        lines = (*opening(found, banner), *(line for part in parts for line in part.summary))
        summary = tuple(line for line in lines if not _is_said(line, answer))
        return cls(
            banner=banner,
            answer=answer,
            summary=summary,
            table=Table1.of(grid) if grid else None,
            table_note=found.table_origin or found.why_no_table,
            parts=tuple(parts),
            drawn=drawn,
            trials=TrialTable.of(
                _ordered(found), found.trials.folders, {r.trial_id for r in grid.results} if grid else ()
            ),
            num_outside=len(grid.outside) if grid else 0,
            commands=tuple(commands),
            provenance=provenance(results),
            problems=_problems(found),
            without_score=_without_score(results),
        )

    @property
    def left_out(self) -> tuple[str, ...]:
        """Everything that the report lacks, a sentence each."""
        figures = [f"{self.drawn.captions[stem]} Not drawn: {why}" for stem, why in self.drawn.not_drawn.items()]
        return (*self.problems, *self.without_score, *figures)

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
        shown = [part for part in self.parts if part.is_printed]
        return tuple(s for part in shown for s in (*part.answers, *part.evidence) if not s.is_detail)


def _answer(found: Found, parts: Sequence[Part]) -> Answer:
    """That of the questions; with what any folder is asked where there were no trials for them."""
    asked = next((part.answer for part in parts if part.answer), None)
    if asked and not asked.is_open:
        return asked
    own = _of_any(found)
    return own.joined(asked) if asked else own


def _is_said(line: str, answer: Answer) -> bool:
    """Whether the first screen has said what stands behind a line's label."""
    return f"{line.partition(': ')[2]}." in answer.answer


def _of_any(found: Found) -> Answer:
    if found.grid and found.grid.results:
        return of_table(found.grid)
    if found.search:
        return of_search(found.search)
    number = count_of_trials(len(found.trials.results))
    return Answer((f"What became of {number}?",), (found.why_no_table or "See the table of trials.",))


def _ordered(found: Found) -> list[TrialResult]:
    """Table 1's first, then a search's by rank, then the others as they were read."""
    leading = [*(found.grid.results if found.grid else ()), *(found.search.ranking if found.search else ())]
    ids = {result.trial_id for result in leading}
    return [*leading, *(r for r in found.trials.results if r.trial_id not in ids)]


def _problems(found: Found) -> tuple[str, ...]:
    """Of reading, of Table 1, of the search and of versions; each once."""
    own = [*(found.grid.problems if found.grid else ()), *(found.search.problems if found.search else ())]
    own += [*found.trials.problems, *mixed_versions(found.trials.results)]
    return tuple(dict.fromkeys(own))


def _without_score(results: Sequence[TrialResult]) -> tuple[str, ...]:
    lines = []
    for ended in count_by_status(results):
        if ended.status != COMPLETE:
            silent = ended.number - sum(number for _, number in ended.reasons)
            reasons = [*ended.reasons, *([("no reason given", silent)] if silent else [])]
            lines += [f"{count_of_trials(number)} {ended.status}: {reason}" for reason, number in reasons]
    return tuple(lines)
