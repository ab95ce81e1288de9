"""The first lines of a report: what ran, on which data, and which row did best. The questions' own lines follow them.

for line in opening(found, table): print(line)      # "ran: 94 trials of results/paper: 90 COMPLETE, 4 FAILED"
"""

from __future__ import annotations

import math
import statistics
from collections import Counter

from analysis.report.scope import Found
from analysis.search.choice import Search, share
from analysis.statistics.intervals import CONFIDENCE, binomial_variance
from analysis.statistics.seeds import mean_over_seeds
from analysis.trials.banner import Banner
from analysis.trials.load import count_of_trials
from analysis.trials.table1_cells import Cell, PaperGrid
from galaxytl.trial import COMPLETE, TrialResult


def opening(found: Found, banner: Banner) -> tuple[str, ...]:
    """Each line is "label: text"."""
    lines = [_ran(found), f"data: {'; '.join(line for line in (banner.run_on, banner.warning) if line)}"]
    if found.grid:
        lines.append(f"best row of Table 1: {best_row(found.grid)}")
    if found.search:
        lines.append(f"best of the search: {best_trial(found.search)}")
    return tuple(lines)


def _ran(found: Found) -> str:
    results = found.trials.results
    ended = ", ".join(f"{number} {status}" for status, number in Counter(r.status for r in results).most_common())
    folders = dict.fromkeys(str(found.trials.folders.get(r.trial_id, "")) for r in results)
    origin = f" of {', '.join(filter(None, folders))}" if any(folders) else ""
    return f"ran: {count_of_trials(len(results))}{origin}: {ended}"


def best_row(grid: PaperGrid) -> str:
    """The row of the highest mean accuracy, with its interval and the paper's value."""
    scores = {cell.title: score.mean for cell in grid.cells if (score := cell.score("accuracy"))}
    cells = [cell for cell in grid.cells if math.isfinite(scores.get(cell.title, math.nan))]
    if not cells:
        return "none is complete"
    cell = max(cells, key=lambda cell: scores[cell.title])
    value = scores[cell.title]
    return f"{cell.title}, accuracy {value:.3f} ({accuracy_interval(cell)}; the paper: {cell.paper.accuracy})"


def accuracy_interval(cell: Cell) -> str:
    """Of the mean accuracy: over seeds and images (Student's t) where there are several seeds, else over images
    (Wilson)."""
    if len(cell.complete) > 1:
        values = [r.metrics["accuracy"] for r in cell.complete]
        images = min((own.total for r in cell.complete if (own := share(r))), default=0)
        found = mean_over_seeds(values, binomial_variance(statistics.fmean(values), images))
        return f"{CONFIDENCE:.0%} interval {found.interval.within(0.0, 1.0)} over {len(values)} seeds"
    return f"{_over_images(cell.complete[0])}, one network"


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
