"""Cross-validation: the mean accuracy over folds, its interval, and the differences of settings, fold by fold.

    found = cross_validation(trials.results)
    sections(found)                        # empty where no setting has two folds

The test parts of the folds are disjoint, but their training parts share most images: four folds of five are in any two.
So the folds' accuracies are not independent, and a plain t interval over them is too narrow. It is widened as Nadeau
and Bengio have it (2003, Machine Learning 52, 239; of repeated cross-validation Bouckaert and Frank 2004, PAKDD, 3):
the variance of the mean is that of the folds times 1 / folds + test images / training images. No variance over folds
is estimated without bias (Bengio and Grandvalet 2004, JMLR 5, 1089): this one is a cautious guess.

Nothing is paired image by image: trials of different folds have different test images. Other parts of a report take
each fold for a setting of its own, and so never average over folds.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Final

from analysis.claims.verdicts import LEVEL
from analysis.report.answer import Answer, reservations, seeds_text
from analysis.report.sections import Listing, Section
from analysis.statistics.intervals import CONFIDENCE, holm
from analysis.statistics.seeds import SeedEstimate
from analysis.statistics.texts import p_digits
from analysis.statistics.variance_components import corrected_mean
from analysis.trials.load import count_of, count_of_trials, in_order
from analysis.trials.repeats import names_of
from analysis.trials.subject import describe
from galaxytl.results.ranking import validation_accuracy
from galaxytl.trial import SPEC_FIELDS, TrialResult, TrialSpec

HEADING: Final = "Cross-validation: means over folds"
NOTE: Final = (
    "Accuracy on the test part of each fold, of which each image is in one; of several seeds their mean. Training parts"
    " of folds overlap: the interval is Nadeau and Bengio's (2003), whose variance of the mean is that of the folds"
    " times 1 / folds + test images / training images. SD: from fold to fold."
)
DIFFERENCES: Final = "Cross-validation: differences, fold by fold"
DIFFERENCES_NOTE: Final = (
    "The first setting's accuracy minus the second's, over the folds that both have, with the same interval; p: that"
    " there is no difference, by Holm's method over all pairs."
)
PARTLY: Final = "Where folds are missing, the mean is of other images than where all are there."
MOST_COMPARED: Final = 10
"""Settings, whose pairs fill a page; of more, the first."""
OF_FOLDS: Final = ("fold", "split_seed", "seed", "shuffle_seed")
"""Fields in which the trials of one row may differ."""
OF_TEST_PARTS: Final = (
    *("dataset_fingerprint", "max_images", "group_by_sky", "group_by", "groups_fingerprint", "num_folds"),
)
"""Fields that say what is in the test part of a fold, beside `fold` and `split_seed`."""
Place = tuple[int, int]
"""split_seed and fold."""


@dataclass(frozen=True)
class CrossValidated:
    """One setting with two folds or more: its COMPLETE trials by place."""

    name: str
    folds: Mapping[Place, tuple[TrialResult, ...]]

    @property
    def first(self) -> TrialResult:
        return next(iter(self.folds.values()))[0]

    @property
    def results(self) -> tuple[TrialResult, ...]:
        return tuple(result for own in self.folds.values() for result in own)

    @property
    def num_wanted(self) -> int:
        """Folds of all its rounds, whether they are there or not."""
        return self.first.spec.num_folds * len({split_seed for split_seed, _ in self.folds})

    @property
    def is_whole(self) -> bool:
        return len(self.folds) == self.num_wanted

    @property
    def accuracies(self) -> dict[Place, float]:
        """Of each fold, the mean over its seeds."""
        return {place: fmean(r.metrics["accuracy"] for r in own) for place, own in self.folds.items()}

    @property
    def estimate(self) -> SeedEstimate | None:
        """The mean accuracy; None where the numbers of images are not recorded."""
        return _corrected(list(self.accuracies.values()), self)

    @property
    def validation_accuracy(self) -> float | None:
        """The mean over folds, of the epoch that is scored; None where one of them watched no validation part."""
        found = [[validation_accuracy(r) for r in own] for own in self.folds.values()]
        values = [[value for value in own if value is not None] for own in found]
        return fmean(map(fmean, values)) if list(map(len, values)) == list(map(len, found)) else None


def cross_validated(results: Iterable[TrialResult]) -> list[CrossValidated]:
    """Return the settings of which two folds or more have a COMPLETE trial that is scored on the test part."""
    found: dict[tuple[Any, ...], dict[Place, list[TrialResult]]] = defaultdict(lambda: defaultdict(list))
    for result in in_order(results):
        spec = result.spec
        if spec.num_folds and result.is_scored and spec.scored_on == "test":
            key = tuple(getattr(spec, name) for name in SPEC_FIELDS if name not in OF_FOLDS)
            found[key][spec.split_seed, spec.fold].append(result)
    settings = [{place: tuple(own[place]) for place in sorted(own)} for own in found.values() if len(own) > 1]
    names = names_of([_without_place(next(iter(own.values()))[0].spec) for own in settings])
    return [CrossValidated(name, own) for name, own in zip(names, settings, strict=True)]


def _without_place(spec: TrialSpec) -> TrialSpec:
    return spec.replace(**dict.fromkeys(OF_FOLDS, 0))


def _corrected(values: Sequence[float], of: CrossValidated) -> SeedEstimate | None:
    sizes = of.first.num_images
    if len(values) < 2 or not (sizes.get("train") and sizes.get("test")):
        return None
    return corrected_mean(values, sizes["test"] / sizes["train"])


def difference(first: CrossValidated, second: CrossValidated) -> tuple[SeedEstimate, int] | None:
    """Return the first's accuracy minus the second's, and over how many folds; None where two folds with the same test
    images are not in both."""
    if any(getattr(first.first.spec, name) != getattr(second.first.spec, name) for name in OF_TEST_PARTS):
        return None
    own, other = first.accuracies, second.accuracies
    values = [own[place] - other[place] for place in own if place in other]
    found = _corrected(values, first)
    return (found, len(values)) if found else None


@dataclass(frozen=True)
class FoldDifference:
    """The accuracy of the first setting minus that of the second, over the folds that both have."""

    first: CrossValidated
    second: CrossValidated
    estimate: SeedEstimate
    num_folds: int
    adjusted: float
    """The p-value, by Holm's method over all pairs."""


@dataclass(frozen=True)
class CrossValidation:
    """Of a report: the settings with two folds or more, and their differences."""

    settings: tuple[CrossValidated, ...]
    differences: tuple[FoldDifference, ...]

    @property
    def summary(self) -> tuple[str, ...]:
        """A line for the terminal, or none."""
        if not self.settings:
            return ()
        text = f"cross-validation: {count_of(len(self.settings), 'setting')}"
        if self.differences:
            differ = sum(one.adjusted < LEVEL for one in self.differences)
            text += (
                f", {differ} of {count_of(len(self.differences), 'pair')} differ in accuracy over folds (Holm's method)"
            )
        return (text,)


def cross_validation(results: Iterable[TrialResult]) -> CrossValidation:
    """Return what was cross-validated, and all pairs of the first MOST_COMPARED settings."""
    settings = cross_validated(results)
    pairs = itertools.combinations(settings[:MOST_COMPARED], 2)
    found = [(first, second, one) for first, second in pairs if (one := difference(first, second))]
    adjusted = holm([one.p_value for _, _, (one, _) in found])
    differences = (FoldDifference(a, b, *one, p) for (a, b, one), p in zip(found, adjusted, strict=True))
    return CrossValidation(tuple(settings), tuple(differences))


def sections(found: CrossValidation) -> tuple[Section, ...]:
    """Return a table of the means, and one of the differences; none where nothing was cross-validated."""
    if not found.settings:
        return ()
    headings = ("Setting", "Folds", "Seeds", "Accuracy", f"{CONFIDENCE:.0%} interval", "SD", "Lowest", "Highest")
    listing = Listing(headings, tuple(map(_row, found.settings)), frozenset((1, 2, 3, 5, 6, 7)))
    partly = () if all(one.is_whole for one in found.settings) else (PARTLY,)
    return (Section(HEADING, listing, (NOTE, *partly)), *_differences(found))


def _row(setting: CrossValidated) -> tuple[str, ...]:
    values, found = list(setting.accuracies.values()), setting.estimate
    numbers = sorted({len(own) for own in setting.folds.values()})
    seeds = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    interval = str(found.interval.within(0.0, 1.0)) if found else "-"
    spread = (stdev(values), min(values), max(values))
    return (setting.name, _folds_text(setting), seeds, f"{fmean(values):.3f}", interval, *(f"{v:.3f}" for v in spread))


def _folds_text(setting: CrossValidated) -> str:
    """Return "5", or "3 of 5" where some are missing; "2 x 5" of two rounds."""
    if not setting.is_whole:
        return f"{len(setting.folds)} of {setting.num_wanted}"
    num_folds = setting.first.spec.num_folds
    rounds = setting.num_wanted // num_folds
    return f"{rounds} x {num_folds}" if rounds > 1 else str(num_folds)


def _differences(found: CrossValidation) -> Iterator[Section]:
    rows = tuple(
        (
            *(one.first.name, one.second.name, str(one.num_folds), f"{one.estimate.value:+.3f}"),
            *(str(one.estimate.interval), p_digits(one.adjusted, "<0.001")),
        )
        for one in found.differences
    )
    headings = ("First", "Second", "Folds", "Accuracy", f"{CONFIDENCE:.0%} interval", "p")
    rest = len(found.settings) - MOST_COMPARED
    more = (f"{count_of(rest, 'further setting')} not compared here; --where chooses.",) if rest > 0 else ()
    if rows:
        yield Section(DIFFERENCES, Listing(headings, rows, frozenset((2, 3, 5))), (DIFFERENCES_NOTE, *more))


def answer(results: Sequence[TrialResult]) -> Answer | None:
    """Return the setting that the validation parts of its folds choose, and what it scores on their test parts; None
    where some trials are of no fold, or nothing was cross-validated."""
    settings = cross_validated(results)
    if not settings or not all(r.spec.num_folds for r in results):
        return None
    own = [r for one in settings for r in one.results]
    number = count_of(len(settings), "setting")
    counts = seeds_text(len(trials) for one in settings for trials in one.folds.values()).replace("setting", "fold")
    asked = (f"Which of {number} classifies {describe(own)} best, over folds? {count_of_trials(len(own))}, {counts}.",)
    validated = [(value, one) for one in settings if one.is_whole and (value := one.validation_accuracy) is not None]
    if not validated or len(validated) < len(settings):
        return Answer(asked, (*reservations(own), _why_not_chosen(settings)))
    value, best = max(validated, key=lambda one: one[0])
    chosen = f"{best.name}: validation accuracy {value:.3f}, the highest of {len(validated)}; {_test_text(best)}."
    winner = (
        ("One setting was chosen of many: its validation accuracy is that of a winner.",) if len(settings) > 1 else ()
    )
    return Answer(asked, (*reservations(own), chosen, *winner))


def _why_not_chosen(settings: Sequence[CrossValidated]) -> str:
    if missing := [one for one in settings if not one.is_whole]:
        number = f"{len(missing)} of {count_of(len(settings), 'setting')}"
        return f"Folds are missing of {number}: nothing is chosen before all are there."
    only = f" {settings[0].name}: {_test_text(settings[0])}." if len(settings) == 1 else ""
    return f"Not every trial has watched a validation part, which could choose: see Cross-validation.{only}"


def _test_text(one: CrossValidated) -> str:
    mean, found = fmean(one.accuracies.values()), one.estimate
    interval = f"{CONFIDENCE:.0%} interval {found.interval.within(0.0, 1.0)}, " if found else ""
    return f"test accuracy {mean:.3f} ({interval}{_folds_text(one)} folds)"
