"""Splits of the data as a random factor: trials that differ in split_seed and seed alone.

    sections(trials.results)      # empty where no setting has several splits

One split is one draw of training and test images, which no number of seeds makes up for. A sweep draws more by
`--set split_seed=0,1,2`. Trials of different splits have different test images, so that nothing is paired image by
image, and no other part of the report mixes them: Table 1 and the claims are of one split.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from analysis.claims.arms import OFF, ON, start_label
from analysis.report.sections import Listing, Section
from analysis.statistics.intervals import binomial_variance
from analysis.statistics.seeds import MIN_SEEDS, SeedEstimate
from analysis.statistics.variance_components import Components, components, corrected_mean
from analysis.trials.load import in_order, mixed
from analysis.trials.repeats import field_texts
from galaxytl.trial import SPEC_FIELDS, TrialResult

HEADING: Final = "Splits of the data: what another split would change"
NOTE: Final = (
    "Accuracy on the test part of each split. Standard deviations: of a split's expected accuracy from split to split "
    "(other training and test images), of seeds within a split, and what the number of test images alone makes of one "
    "trial. p: that splits add nothing to what seeds scatter (F test)."
)
DIFFERENCES: Final = (
    "ON - OFF: means over seeds, split by split; interval of Nadeau and Bengio 2003, which the overlap of the training "
    f"parts has widened. Fewer than {MIN_SEEDS} splits speak of these splits only."
)
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Replicated:
    """One setting with several splits: split_seed -> its COMPLETE trials."""

    splits: dict[int, list[TrialResult]]
    also: tuple[str, ...] = ()
    """Further fields in which it differs from other settings of the report."""

    @property
    def first(self) -> TrialResult:
        return next(iter(self.splits.values()))[0]

    @property
    def name(self) -> str:
        spec = self.first.spec
        start = start_label(spec) or f"{spec.unfrozen_blocks} blocks trained"
        own = (spec.backbone, start, f"{spec.optimizer} {spec.learning_rate:g}")
        return ", ".join((*own, *field_texts(spec, self.also)))

    @property
    def components(self) -> Components:
        return components([[r.metrics["accuracy"] for r in own] for own in self.splits.values()])

    @property
    def image_deviation(self) -> float:
        """Of one trial's accuracy, had it other test images; NaN where their number is not recorded."""
        share, total = self.components.mean, self.first.num_images.get("test", 0)
        return math.sqrt(binomial_variance(share, total)) if total else math.nan


def replicated(results: Iterable[TrialResult]) -> list[Replicated]:
    """Return the settings of which two splits or more have a COMPLETE trial that is scored on the test part."""
    found: dict[Key, dict[int, list[TrialResult]]] = defaultdict(lambda: defaultdict(list))
    for result in in_order(results):
        if result.is_scored and result.spec.scored_on == "test" and not result.spec.num_folds:
            found[_key(result)][result.spec.split_seed].append(result)
    settings = [dict(splits) for splits in found.values() if len(splits) > 1]
    firsts = [next(iter(splits.values()))[0] for splits in settings]
    also = tuple(mixed(firsts, [name for name in SPEC_FIELDS if name not in NAMED]))
    return [Replicated(splits, also) for splits in settings]


def _key(result: TrialResult, *also: str) -> Key:
    """Return what is equal for trials that differ in split, seed and what `also` names."""
    left_out = ("split_seed", "seed", "shuffle_seed", *also)
    return tuple(getattr(result.spec, name) for name in SPEC_FIELDS if name not in left_out)


NAMED: Final = (
    *("backbone", "weights", "weights_requested", "weights_fingerprint", "unfrozen_blocks"),
    *("optimizer", "learning_rate", "split_seed", "seed", "shuffle_seed"),
)
"""Fields that a setting's name has in any case, or in which its own trials differ."""
START: Final = ("weights", "weights_requested", "weights_fingerprint", "unfrozen_blocks")


def start_difference(on: Replicated, off: Replicated) -> SeedEstimate | None:
    """Return the difference of accuracies, over the splits that both have; None of fewer than two, or without numbers
    of images."""
    both = [split for split in on.splits if split in off.splits]
    sizes = on.first.num_images
    if len(both) < 2 or not (sizes.get("train") and sizes.get("test")):
        return None
    means = [[fmean(r.metrics["accuracy"] for r in one.splits[split]) for split in both] for one in (on, off)]
    return corrected_mean([a - b for a, b in zip(*means, strict=True)], sizes["test"] / sizes["train"])


def sections(results: Sequence[TrialResult]) -> tuple[Section, ...]:
    """Return a section; none where there is one split."""
    settings = replicated(results)
    if not settings:
        return ()
    headings = ("Setting", "Splits", "Seeds", "Accuracy", "SD splits", "SD seeds", "SD images", "p")
    listing = Listing(headings, tuple(map(_row, settings)), frozenset(range(1, len(headings))))
    lines = tuple(_differences(settings))
    return (Section(HEADING, listing, (NOTE, *lines, *([DIFFERENCES] if lines else []))),)


def _row(setting: Replicated) -> tuple[str, ...]:
    found = setting.components
    seeds = sorted({len(own) for own in setting.splits.values()})
    number = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    deviations = (math.sqrt(found.between), math.sqrt(found.within), setting.image_deviation)
    shown = [f"{value:.3f}" if math.isfinite(value) else "-" for value in (found.mean, *deviations, found.p_value)]
    return (setting.name, str(found.num_splits), number, *shown)


def _differences(settings: Sequence[Replicated]) -> Iterable[str]:
    places = {(_key(one.first, *START), start_label(one.first.spec)): one for one in settings}
    for (key, start), on in places.items():
        off = places.get((key, OFF))
        if start == ON and off and (found := start_difference(on, off)):
            size = len([split for split in on.splits if split in off.splits])
            test = f"{found.value:+.3f} [{found.interval}], p = {found.p_value:.3f}"
            yield f"{on.name} - {off.name}: {test}, over {size} splits."
