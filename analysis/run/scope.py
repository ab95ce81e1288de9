"""Which trials a report is about: those of Table 1, those of a search, the evidence beside them, and what is left out.

    scope = scope_of(gather(folders), folders)
    scope.grid, scope.why_no_table      # the paper's grid, or why there is none
    scope.search                        # or None

Table 1 averages over nothing but seeds, so its trials have one common setting. Of the folders whose trials of the
paper's cells share one, that with the most cells gives it; of equals that nearest to what the paper is taken to have
done, then that with the most trials, then the first by name. Others join with trials of that same setting, and the
trials of all others are evidence beside the table. Each decision is said. The order in which folders are named is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analysis.search.choice import Search, examine, part
from analysis.trials.load import AnalysisError, Trials, count_of_trials, mixed
from analysis.trials.starts import distance_from_paper
from analysis.trials.subject import Subject, subject_of
from analysis.trials.table1_cells import SETTINGS, PaperGrid, fill_cells, paper_cell
from galaxytl.trial import COMPLETE, TrialResult


@dataclass(frozen=True)
class ReportScope:
    """`trials` are all of them; `grid` and `search` are views of theirs, either of which may be absent."""

    trials: Trials
    of_grids: Trials
    """Those that belong to no search."""
    grid: PaperGrid | None
    search: Search | None
    table_folders: tuple[Path, ...] = ()
    """Whose trials are in Table 1."""
    beside_table: tuple[str, ...] = ()
    """Why other folders' trials are not: a sentence each."""
    why_no_table: str = ""
    """Where there are trials of grids and no Table 1; nothing where nobody would look for one."""

    @property
    def table_origin(self) -> str:
        """ "Table 1 is of results/paper." with what is said of the other folders; empty without a table."""
        names = " and ".join(str(folder) for folder in self.table_folders)
        table = self.subject.table
        return " ".join([f"{table[0].upper()}{table[1:]} is of {names}.", *self.beside_table]) if names else ""

    @property
    def subject(self) -> Subject:
        return subject_of(self.trials.results)


def scope_of(trials: Trials, folders: Sequence[Path]) -> ReportScope:
    """Return the scope. Raises AnalysisError where the trials of a search are of several datasets or splits."""
    searched, others = part(trials)
    search = examine(searched) if searched.results else None
    if not others.results:
        return ReportScope(trials, others, None, search)
    chosen, beside = _choose(others, folders)
    if not chosen:
        return ReportScope(trials, others, None, search, why_no_table=_why_no_table(others, beside))
    members = [r for own in chosen.values() for r in own]
    ids = {r.trial_id for r in members}
    grid = fill_cells(replace(others, results=tuple(members)))
    outside = tuple(r for r in others.results if r.trial_id not in ids)
    return ReportScope(trials, others, replace(grid, outside=outside), search, tuple(chosen), tuple(beside))


def _choose(trials: Trials, folders: Sequence[Path]) -> tuple[dict[Path, list[TrialResult]], list[str]]:
    """Return folder -> its trials in Table 1, for those that have any; and why the others have none."""
    chosen: dict[Path, list[TrialResult]] = {}
    beside: list[str] = []
    members: dict[Path, list[TrialResult]] = {folder: [] for folder in folders}
    for result in trials.results:
        if paper_cell(result.spec) and (folder := trials.folders.get(result.trial_id)) in members:
            members[folder].append(result)
    for folder in sorted(members, key=lambda one: (_rank(members[one]), str(one))):
        own = members[folder]
        taken = [r for members in chosen.values() for r in members]
        why = _why_not(own, taken)
        if own and not why:
            chosen[folder] = own
        elif own:
            beside.append(f"{folder}: {why}.")
    return chosen, beside


def _rank(own: Sequence[TrialResult]) -> tuple[float, ...]:
    """Return a rank: the lower, the sooner a folder with these trials of the paper's cells gives Table 1 its
    setting."""
    cells = {paper_cell(r.spec) for r in own if r.status == COMPLETE}
    fields, decades = min((distance_from_paper(r.spec) for r in own), default=(0, 0.0))
    return -len(cells), fields, decades, -len(own)


def _why_not(own: Sequence[TrialResult], taken: Sequence[TrialResult]) -> str:
    """Return why trials cannot be in one table with those that it has."""
    if not taken:
        return _refusal(own)
    if values := mixed([*own, *taken], SETTINGS):
        subject = subject_of(own)
        cells = "of the paper's cells" if subject.is_of_paper else "that could be in it"
        return f"the {count_of_trials(len(own))} {cells} differ from {subject.table}'s in {_listed(list(values))}"
    return _refusal([*own, *taken])


def _refusal(results: Sequence[TrialResult]) -> str:
    try:
        fill_cells(Trials(tuple(results)))
    except AnalysisError as error:
        return str(error)
    return ""


def _listed(names: Sequence[str]) -> str:
    """Return names as a list in words.

    >>> _listed(["optimizer"]), _listed(["optimizer", "momentum", "seed"])
    ('optimizer', 'optimizer, momentum and seed')
    """
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _why_no_table(trials: Trials, beside: Sequence[str]) -> str:
    subject = subject_of(trials.results)
    if not subject.is_of_paper:
        return ""
    if beside:
        return "There is no Table 1. " + " ".join(beside)
    number = count_of_trials(len(trials.results))
    return f"There is no Table 1: of {number}, none is of the paper's cells."
