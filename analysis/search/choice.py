"""What a search found: the trial it chooses, by how much, and what that one scores on the test part.

    searched, others = part(gather([Path("results/search")]))
    search = examine(searched)
    search.best.trial_id, search.margin.is_within_noise, search.test

A search compares trials on the validation part and scores the chosen one on the test part, once. So the rows of a
search are those that are scored on the validation part, and rows of the same trials on the test part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from analysis.statistics.intervals import CONFIDENCE, Interval, Pairs, difference, mcnemar
from analysis.trials.endings import share
from analysis.trials.load import AnalysisError, Trials, differences, mixed
from analysis.trials.predictions import paired, read_predictions
from analysis.trials.starts import setting
from galaxytl.results.predictions import PredictionsError
from galaxytl.results.rows import ranked
from galaxytl.trial import COMPLETE, SPLIT_FIELDS, TrialResult, TrialSpec, settable_fields

LEVEL: Final = 1 - CONFIDENCE
"""Of the test that two trials differ; a convention."""
ALWAYS_SHOWN: Final = ("backbone", "weights")


def part(trials: Trials) -> tuple[Trials, Trials]:
    """Return the rows of searches, and the others.

    A row on the test part is a search's where the same folder holds the same trial on the validation part, or, in any
    folder, where it is the trial that the search chooses: a grid may have run a trial that a search also tried.
    """
    compared = {r.spec: r for r in trials.results if _is_compared(r.spec)}
    best = next(iter(ranked(compared.values())), None)

    def is_searched(result: TrialResult) -> bool:
        found = compared.get(_as_compared(result.spec))
        if found is None or found is result or found is best:
            return found is not None
        return trials.folders.get(found.trial_id) == trials.folders.get(result.trial_id)

    own = tuple(r for r in trials.results if is_searched(r))
    others = tuple(r for r in trials.results if not is_searched(r))
    return replace(trials, results=own), replace(trials, results=others)


def _is_compared(spec: TrialSpec) -> bool:
    return spec.scored_on == "validation"


def _as_compared(spec: TrialSpec) -> TrialSpec:
    """Return the spec as a search compares it; itself where it has no validation part, and so cannot be compared."""
    return spec.replace(scored_on="validation") if spec.validation_fraction else spec


@dataclass(frozen=True)
class Margin:
    """How much more of the validation part the best trial has right than the runner-up."""

    runner_up: TrialResult
    value: float
    interval: Interval
    num_images: int
    pairs: Pairs | None
    """Image by image; None where the predictions are not there."""
    why_unpaired: str = ""

    @property
    def p_value(self) -> float | None:
        """McNemar's; None without pairs."""
        return mcnemar(self.pairs) if self.pairs else None

    @property
    def is_within_noise(self) -> bool:
        """Paired: the exact test does not reject at LEVEL; else: the interval includes 0."""
        return 0 in self.interval if self.p_value is None else self.p_value >= LEVEL


@dataclass(frozen=True)
class Search:
    """The rows of a search, ordered and counted."""

    results: tuple[TrialResult, ...]
    """Scored on the validation part, finished or not."""
    tested: tuple[TrialResult, ...]
    """Trials of the search on the test part."""
    ranking: tuple[TrialResult, ...]
    """The COMPLETE ones of `results`, the best first, by `galaxytl.results.rows`."""
    margin: Margin | None
    """None where fewer than two are complete, or their number of images is not known."""
    problems: tuple[str, ...] = ()
    folders: Mapping[str, Path] = field(default_factory=dict)

    @property
    def best(self) -> TrialResult | None:
        return self.ranking[0] if self.ranking else None

    @property
    def test_row(self) -> TrialResult | None:
        """The best trial's on the test part, COMPLETE or not."""
        wanted = self.best.spec.replace(scored_on="test") if self.best else None
        return next((r for r in self.tested if r.spec == wanted), None)

    @property
    def num_tested(self) -> int:
        """How many trials have a score on the test part: of more than one, the test part was used more than once."""
        return sum(r.status == COMPLETE for r in self.tested)

    @property
    def varied(self) -> tuple[str, ...]:
        """Fields that the trials differ in, in the order of the spec; backbone and weights in any case."""
        names = [name for name in settable_fields() if name != "scored_on"]
        differ = {name for name in names if len({setting(r.spec, name) for r in self.results}) > 1}
        return tuple(name for name in names if name in differ or name in ALWAYS_SHOWN)

    @property
    def source_folders(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(self.folders[r.trial_id] for r in self.results if r.trial_id in self.folders))


def examine(trials: Trials) -> Search:
    """Rank the rows of one search. Raises AnalysisError where they are of several datasets or splits."""
    results = tuple(r for r in trials.results if _is_compared(r.spec))
    _refuse_mixed_data(results)
    ranking = tuple(ranked(results))
    return Search(
        results=results,
        tested=tuple(r for r in trials.results if not _is_compared(r.spec)),
        ranking=ranking,
        margin=_margin(ranking, trials.folders),
        problems=trials.problems,
        folders=trials.folders,
    )


def _refuse_mixed_data(results: Sequence[TrialResult]) -> None:
    if values := mixed(results, ("dataset", *SPLIT_FIELDS)):
        listing, choice = differences(values)
        raise AnalysisError(
            "a search ranks trials by their scores on the same images; the trials scored on the validation part differ"
            f" in {listing}. Choose with --dataset, or with --where field=value, as in {choice}"
        )


def _margin(ranking: Sequence[TrialResult], folders: Mapping[str, Path]) -> Margin | None:
    if len(ranking) < 2:
        return None
    best, runner_up = ranking[:2]
    first, second = share(best), share(runner_up)
    if not first or not second:
        return None
    value = first.value - second.value
    try:
        pairs = paired(*(read_predictions(folders.get(r.trial_id, Path()), r) for r in (best, runner_up)))
    except PredictionsError as error:
        return Margin(runner_up, value, difference(first, second), second.total, None, str(error))
    return Margin(runner_up, value, pairs.interval, pairs.total, pairs)
