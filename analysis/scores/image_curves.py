"""How a network's scores grow with the number of images: trials that differ in `max_images`, network and seed only.

    chosen = comparable(results, VARIED, can_draw)
    curves_of(chosen.results)                       # Curve(start, backbone, places), ...
    sections(results)

A sweep takes its subset from the whole dataset and divides that: with fewer images the test part is smaller too, and of
other images. Each point is scored on the test part of its own size.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis.report.sections import Listing, Section
from analysis.scores.class_sections import value_text
from analysis.statistics.class_scores import ClassScore, balanced_accuracy
from analysis.statistics.intervals import Interval, Share
from analysis.trials.comparable import WEIGHTS, comparable
from analysis.trials.repeats import over_seeds
from analysis.trials.starts import Start, ordered_backbones, start_of
from galaxytl.trial import COMPLETE, TrialResult

VARIED: Final = ("backbone", *WEIGHTS, "unfrozen_blocks", "max_images")
OWN_TEST_PART: Final = (
    "A sweep divides each subset of the images anew: with fewer images the part that a trial is scored on is smaller"
    " too, and of other images."
)


@dataclass(frozen=True, eq=False)
class SeedScores:
    """One score at one size, seed by seed."""

    scores: tuple[ClassScore, ...]

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(one.value for one in self.scores)

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @functools.cached_property
    def interval(self) -> Interval:
        """Of the mean."""
        return over_seeds(self.scores)


@dataclass(frozen=True, eq=False)
class Place:
    """The COMPLETE trials of one network and size. `balanced` is None where a row has no confusion matrix."""

    num_train: int
    num_scored: int
    accuracy: SeedScores
    balanced: SeedScores | None


@dataclass(frozen=True, eq=False)
class Curve:
    """Of one network: `places`, from few training images to many."""

    start: Start
    backbone: str
    places: tuple[Place, ...]

    @property
    def name(self) -> str:
        return f"{self.backbone}, {self.start.title}"


def curves_of(results: Sequence[TrialResult]) -> list[Curve]:
    """Return the networks with two sizes or more; those of which only some blocks are trained are left out."""
    groups: dict[tuple[Start, str], dict[int, list[TrialResult]]] = {}
    for result in results:
        start, number = start_of(result.spec), result.num_images.get("train", 0)
        if start and number and result.status == COMPLETE and result.num_images.get(result.spec.scored_on):
            groups.setdefault((start, result.spec.backbone), {}).setdefault(number, []).append(result)
    order = {name: index for index, name in enumerate(ordered_backbones(backbone for _, backbone in groups))}
    found = sorted(groups.items(), key=lambda item: (item[0][0], order[item[0][1]]))
    return [
        Curve(*key, tuple(_place(by_size[size]) for size in sorted(by_size)))
        for key, by_size in found
        if len(by_size) > 1
    ]


def _place(results: Sequence[TrialResult]) -> Place:
    own = sorted(results, key=lambda r: (r.spec.seed, r.trial_id))
    spec, images = own[0].spec, own[0].num_images
    total = images[spec.scored_on]
    return Place(images["train"], total, _accuracy(own, total), _balanced(own))


def _accuracy(results: Sequence[TrialResult], total: int) -> SeedScores:
    accuracies = [r.metrics["accuracy"] for r in results]
    shares = [Share(round(accuracy * total), total) for accuracy in accuracies]
    pairs = zip(accuracies, shares, strict=True)
    return SeedScores(tuple(ClassScore(value, share.interval, share.variance) for value, share in pairs))


def _balanced(results: Sequence[TrialResult]) -> SeedScores | None:
    if not all(r.confusion and sum(map(sum, r.confusion)) for r in results):
        return None
    return SeedScores(tuple(balanced_accuracy(r.confusion) for r in results))


def can_draw(results: Sequence[TrialResult]) -> bool:
    return bool(curves_of(results))


def sections(results: Sequence[TrialResult]) -> list[Section]:
    """Return the section; none where no network was trained on two numbers of images, all else being equal."""
    chosen = comparable(results, VARIED, can_draw)
    curves = curves_of(chosen.results)
    if not curves:
        return []
    rows = []
    for curve in curves:
        for place in curve.places:
            scores = [_text(place.accuracy), _text(place.balanced) if place.balanced else "-"]
            counts = (f"{place.num_train:,}", f"{place.num_scored:,}", str(len(place.accuracy.values)))
            rows.append((curve.name, *counts, *scores))
    part = chosen.results[0].spec.scored_on
    headings = ("Network", "Training images", f"{part.capitalize()} images", "Seeds", "Accuracy", "Balanced accuracy")
    sentences = [
        "In brackets: 95 % intervals, of one seed over its images, of several by Student's t over the seeds with the"
        " scatter over images added.",
        OWN_TEST_PART,
        *([chosen.left_out] if chosen.left_out else []),
    ]
    return [
        Section(
            "Scores by the number of training images", Listing(headings, tuple(rows), {1, 2, 3, 4, 5}), tuple(sentences)
        )
    ]


def _text(estimate: SeedScores) -> str:
    return value_text(estimate.scores)
