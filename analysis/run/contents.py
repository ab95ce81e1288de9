"""Gather what a report says: the first screen, the summary, Table 1, the parts that answer a question each, the trials.

contents = contents_of(scope, parts, figures, commands)
contents.summary     # "ran: 94 trials of results/paper: 90 COMPLETE, 4 FAILED", ...
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean

from analysis.report.answer import Answer, Command, reservations, seeds_text
from analysis.report.contents import Contents, FigureFiles, Part
from analysis.report.table1 import Table1
from analysis.report.trial_table import TrialTable
from analysis.run.scope import ReportScope
from analysis.scores import folds
from analysis.search.choice import Search
from analysis.search.sections import named_trial
from analysis.statistics.intervals import CONFIDENCE
from analysis.statistics.seeds import MIN_SEEDS
from analysis.trials.banner import Banner
from analysis.trials.endings import count_by_status, mean_interval, share
from analysis.trials.load import count_of, count_of_trials
from analysis.trials.provenance import mixed_versions, provenance
from analysis.trials.repeats import Repeats, of_first_split, repeats_of
from analysis.trials.subject import describe
from analysis.trials.table1_cells import Cell, PaperGrid
from galaxytl.trial import COMPLETE, TrialResult


def contents_of(
    scope: ReportScope, parts: Sequence[Part], figures: FigureFiles, commands: Sequence[Command]
) -> Contents:
    results, grid = scope.trials.results, scope.grid
    banner = Banner.of_search(results)
    answer = _answer(scope, parts)
    lines = (*opening(scope, banner), *(line for part in parts for line in part.summary))
    in_table = {r.trial_id for r in grid.results} if grid else ()
    return Contents(
        subject=scope.subject,
        banner=banner,
        answer=answer,
        summary=tuple(line for line in lines if not _is_said(line, answer)),
        table=Table1.of(grid) if grid else None,
        table_note=scope.table_origin or scope.why_no_table,
        parts=tuple(parts),
        figures=figures,
        trials=TrialTable.of(_ordered(scope), scope.trials.folders, in_table, _rows_of(scope)),
        num_outside=len(grid.outside) if grid else 0,
        commands=tuple(commands),
        provenance=provenance(results),
        problems=_problems(scope),
        without_score=_without_score(results),
    )


def _answer(scope: ReportScope, parts: Sequence[Part]) -> Answer:
    """Return that of the question that the trials are for; after what any folder is asked where the data are not the
    paper's, so that the question of the paper is not the first."""
    asked = next((part.answer for part in parts if part.answer), None)
    if asked and scope.subject.is_of_paper:
        return asked
    own = _of_any(scope)
    return own.joined(asked) if asked else own


def _rows_of(scope: ReportScope) -> str:
    """Return the heading of the column of the trials' rows in the table; nothing where there is none to have."""
    return f"row of {scope.subject.table}" if scope.grid or scope.subject.is_of_paper else ""


def _is_said(line: str, answer: Answer) -> bool:
    """Return whether the first screen has said what stands behind a line's label."""
    return f"{line.partition(': ')[2]}." in answer.answer


def _of_any(scope: ReportScope) -> Answer:
    if scope.grid and scope.grid.results:
        return of_table(scope.grid)
    if scope.search:
        return of_search(scope.search)
    if folded := folds.answer(scope.of_grids.results):
        return folded
    settings = of_first_split(repeats_of(scope.of_grids.results))
    if settings and not scope.subject.is_of_paper:
        return of_settings(settings)
    number = count_of_trials(len(scope.trials.results))
    return Answer((f"What became of {number}?",), (scope.why_no_table or "See the table of trials.",))


def _ordered(scope: ReportScope) -> list[TrialResult]:
    """Return Table 1's first, then a search's by rank, then the others as they were read."""
    leading = [*(scope.grid.results if scope.grid else ()), *(scope.search.ranking if scope.search else ())]
    ids = {result.trial_id for result in leading}
    return [*leading, *(r for r in scope.trials.results if r.trial_id not in ids)]


def _problems(scope: ReportScope) -> tuple[str, ...]:
    """Return those of reading, of Table 1, of the search and of versions; each once."""
    own = [*(scope.grid.problems if scope.grid else ()), *(scope.search.problems if scope.search else ())]
    own += [*scope.trials.problems, *mixed_versions(scope.trials.results)]
    return tuple(dict.fromkeys(own))


def _without_score(results: Sequence[TrialResult]) -> tuple[str, ...]:
    lines = []
    for ended in count_by_status(results):
        if ended.status != COMPLETE:
            silent = ended.number - sum(number for _, number in ended.reasons)
            reasons = [*ended.reasons, *([("no reason given", silent)] if silent else [])]
            lines += [f"{count_of_trials(number)} {ended.status}: {reason}" for reason, number in reasons]
    return tuple(lines)


def opening(scope: ReportScope, banner: Banner) -> tuple[str, ...]:
    """Return the first lines of the summary, each "label: text"."""
    lines = [_ran(scope), f"data: {'; '.join(line for line in (banner.run_on, banner.warning) if line)}"]
    if scope.grid:
        lines.append(f"best row of {scope.subject.table}: {best_row(scope.grid)}")
    if scope.search:
        lines.append(f"best of the search: {best_trial(scope.search)}")
    return tuple(lines)


def _ran(scope: ReportScope) -> str:
    results = scope.trials.results
    ended = ", ".join(f"{number} {status}" for status, number in Counter(r.status for r in results).most_common())
    folders = dict.fromkeys(str(scope.trials.folders.get(r.trial_id, "")) for r in results)
    origin = f" of {', '.join(filter(None, folders))}" if any(folders) else ""
    return f"ran: {count_of_trials(len(results))}{origin}: {ended}"


def best_row(grid: PaperGrid) -> str:
    """Return the row of the highest mean accuracy, with its interval, and the paper's value where it has one."""
    scores = {cell.title: score.mean for cell in grid.cells if (score := cell.score("accuracy"))}
    cells = [cell for cell in grid.cells if math.isfinite(scores.get(cell.title, math.nan))]
    if not cells:
        return "none is complete"
    cell = max(cells, key=lambda cell: scores[cell.title])
    value = scores[cell.title]
    paper = f"; the paper: {cell.paper.accuracy}" if grid.subject.is_of_paper else ""
    return f"{cell.title}, accuracy {value:.3f} ({accuracy_interval(cell)}{paper})"


def accuracy_interval(cell: Cell) -> str:
    """Return the interval of the mean accuracy in words (`mean_interval`)."""
    return _interval(cell.complete)


def _interval(results: Sequence[TrialResult]) -> str:
    if len(results) > 1:
        return f"{CONFIDENCE:.0%} interval {mean_interval(results)} over {len(results)} seeds"
    return f"{_over_images(results[0])}, one network"


def _over_images(result: TrialResult) -> str:
    found = share(result)
    if not found:
        return "number of images not recorded"
    return f"{CONFIDENCE:.0%} interval {found.interval} over {found.total:,} {result.spec.scored_on} images"


def best_trial(search: Search) -> str:
    best, row = search.best, search.test_row
    if not best:
        return "no trial is complete"
    validation = f"validation accuracy {best.metrics['accuracy']:.3f} ({_over_images(best)})"
    if not row or row.status != COMPLETE:
        return f"trial {best.trial_id}, {best.spec.backbone}, {validation}; not scored on the test part"
    test = f"test accuracy {row.metrics['accuracy']:.3f} ({_over_images(row)})"
    return f"trial {best.trial_id}, {best.spec.backbone}, {validation}, {test}"


def of_table(grid: PaperGrid) -> Answer:
    """Return the answer of the paper's grid: which of its rows does best."""
    scored = [cell for cell in grid.cells if cell.score("accuracy")]
    seeds = [len(cell.complete) for cell in scored]
    answer = [f"{best_row(grid)}."] if scored else [f"No row of {grid.subject.table} is complete."]
    few = bool(seeds) and min(seeds) < MIN_SEEDS
    if few:
        answer.append(
            f"With fewer than {MIN_SEEDS} seeds a row this speaks of these trained networks, not of their settings."
        )
    also = _close(scored)
    settle = [f"At least {MIN_SEEDS} seeds a row."] if few else []
    asked = "Which of the paper's networks classifies best, and how near is it to Table 1?"
    if not grid.subject.is_of_paper:
        asked = f"Which of the grid's networks classifies {describe(grid.results)} best?"
    asked = f"{asked} {_counted(grid, seeds)}"
    return Answer((asked,), (*reservations(grid.results), *answer), also, tuple(settle))


def _counted(grid: PaperGrid, seeds: Iterable[int]) -> str:
    return f"{count_of_trials(len(grid.results))}, {seeds_text(seeds)}."


def _close(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Return the row that comes next."""
    means = {cell.title: fmean(r.metrics["accuracy"] for r in cell.complete) for cell in cells}
    # of equal rows the first stays first, as for the best one
    ordered = sorted((c for c in cells if math.isfinite(means[c.title])), key=lambda c: -means[c.title])
    if len(ordered) < 2:
        return ()
    second = ordered[1]
    return (f"The next best is {second.title}, accuracy {means[second.title]:.3f} ({accuracy_interval(second)}).",)


def of_settings(settings: Sequence[Repeats]) -> Answer:
    """Return the answer of a grid that is not the paper's: the setting that its validation part chooses, and what that
    one scores on the test part."""
    results = [r for own in settings for r in own.results]
    counts = seeds_text(len(own.results) for own in settings)
    number = count_of(len(settings), "setting")
    asked = f"Which of {number} classifies {describe(results)} best? {count_of_trials(len(results))}, {counts}."
    validated = [(value, own) for own in settings if (value := own.validation_accuracy) is not None]
    if not validated:
        return Answer((asked,), ("No trial has watched a validation part, which could choose: see All pairs.",))
    value, best = max(validated, key=lambda one: one[0])
    test = f"{fmean(r.metrics['accuracy'] for r in best.results):.3f} ({_interval(best.results)})"
    chosen = f"{best.name}: validation accuracy {value:.3f}, the highest of {len(validated)}; test accuracy {test}."
    winner = "One setting was chosen of many: its validation accuracy is that of a winner."
    few = len(best.results) < MIN_SEEDS
    settle = (f"At least {MIN_SEEDS} seeds of each setting: --seeds {MIN_SEEDS}.",) if few else ()
    return Answer((asked,), (*reservations(results), chosen, winner), (), settle)


def of_search(search: Search) -> Answer:
    """Return the answer of a search: which trial it chose, and how sure the choice is."""
    number = count_of_trials(len(search.results))
    asked = f"Which of {number} is best on the validation part, and what does it score on the test part?"
    also: tuple[str, ...] = ()
    settle: tuple[str, ...] = ()
    if margin := search.margin:
        much = f"{margin.value:+.3f}, {CONFIDENCE:.0%} interval {margin.interval} on {margin.num_images:,} images"
        best, runner_up = (named_trial(search, result) for result in (search.ranking[0], margin.runner_up))
        told = "cannot be told apart from the runner-up" if margin.is_within_noise else "is ahead of the runner-up"
        also = (f"The best, {best}, {told}, {runner_up}: {much}.",)
        settle = ("More seeds of both, and more validation images.",) if margin.is_within_noise else ()
    chosen = (f"{best_trial(search)}.", "One trial was chosen of many: its validation accuracy is that of a winner.")
    return Answer((asked,), (*reservations(search.results), *chosen), also, settle)
