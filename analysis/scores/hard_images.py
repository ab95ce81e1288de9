"""Images that every network gets wrong: how many, how many more than by chance, and the pictures of the hardest.

    hard = hard_of(networks)    # None where fewer than two networks are of the same images
    sections(hard)

A network here is one trial a backbone and start: of the setting nearest to the paper, the lowest seed that has learned.
One that has collapsed says nothing of an image, and is left out.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.report.sections import Listing, Section
from analysis.scores.class_sections import MANY, class_names
from analysis.trials.repeats import Networks
from analysis.trials.starts import is_collapsed
from galaxytl.results.predictions import PredictionsError, Probabilities, read_descriptions
from galaxytl.results.thumbnails import ThumbnailsError, read_thumbnails
from galaxytl.trial import TrialResult

NUM_SHOWN: Final = 12
LABEL_NOTE: Final = "The label of such an image may be wrong, or the image may show what has no class"
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class HardImage:
    """`said`: the class that the most networks name, `count` of them, and of equally many the most probable one;
    `probability`: of the true class, the mean over the networks."""

    row: int
    true: int
    said: int
    count: int
    probability: float


@dataclass(frozen=True, eq=False)
class Hard:
    """Of `trials`, a network each, on the same images."""

    trials: tuple[TrialResult, ...]
    num_classes: int
    labels: NDArray[np.int64]
    """(N,)"""
    expected: NDArray[np.float64]
    """(N,) the chance that all are wrong, if whether one is had nothing to do with the others within a class."""
    images: tuple[HardImage, ...]
    """Those that all get wrong, the hardest first."""
    pictures: Mapping[int, Picture]
    """row -> (height, width, 3), of at most NUM_SHOWN of `images`."""
    why_no_pictures: str = ""
    descriptions: Mapping[int, str] = field(default_factory=dict)
    """row -> what the dataset's catalogue calls the image, of the hardest NUM_SHOWN; of those of which it says
    anything."""

    @property
    def shown(self) -> tuple[HardImage, ...]:
        return tuple(image for image in self.images if image.row in self.pictures)

    @property
    def names(self) -> tuple[str, ...]:
        return class_names(self.trials[0], self.num_classes)


@functools.lru_cache(maxsize=1)
def hard_of(networks: Networks) -> Hard | None:
    """Return what all networks get wrong; None where fewer than two have the same images. Kept, as section and figure
    want the same."""
    trials = _of_the_same_images(_one_each(networks), networks)
    if len(trials) < 2:
        return None
    found = [networks.probabilities[r.trial_id] for r in trials]
    labels = found[0].labels
    images = _hard_images(found)
    pictures, why = _pictures(images, trials, networks.folders)
    known = _descriptions(images[:NUM_SHOWN], trials, networks.folders)
    return Hard(tuple(trials), found[0].values.shape[1], labels, _expected(found), tuple(images), pictures, why, known)


def _one_each(networks: Networks) -> list[TrialResult]:
    """Choose one by backbone and start, in the order of the settings that are shown."""
    chosen: dict[tuple[object, ...], TrialResult] = {}
    for own in networks.shown:
        key = (own.spec.backbone, own.spec.weights_requested, own.spec.unfrozen_blocks)
        for result in own.results:
            if result.trial_id in networks.probabilities and not is_collapsed(result):
                chosen.setdefault(key, result)
    return list(chosen.values())


def _of_the_same_images(trials: Sequence[TrialResult], networks: Networks) -> list[TrialResult]:
    """Return those of the images that most of them have; of equally many, the first's."""
    found = {r.trial_id: networks.probabilities[r.trial_id] for r in trials}
    groups = [[r for r in trials if _is_comparable(found[r.trial_id], found[first.trial_id])] for first in trials]
    return max(groups, key=len, default=[])


def _is_comparable(first: Probabilities, second: Probabilities) -> bool:
    return first.has_images_of(second) and first.values.shape == second.values.shape


def _hard_images(found: Sequence[Probabilities]) -> list[HardImage]:
    """Sort them: the least probable true class first; of equally probable ones by row."""
    rows, labels = found[0].rows, found[0].labels
    wrong = np.flatnonzero(~np.any([one.right for one in found], axis=0))
    mean = np.stack([one.values[wrong] for one in found]).astype(np.float64).mean(axis=0)
    named = np.stack([one.predicted[wrong] for one in found], axis=1)
    size = found[0].values.shape[1]
    images = []
    for image, probabilities, answers in zip(wrong.tolist(), list(mean), named, strict=True):
        counts = np.bincount(answers, minlength=size)
        true, said = int(labels[image]), int(np.argmax(counts + probabilities / 2))  # halves: they decide ties only
        images.append(HardImage(int(rows[image]), true, said, int(counts[said]), float(probabilities[true])))
    return sorted(images, key=lambda one: (one.probability, one.row))


def _expected(found: Sequence[Probabilities]) -> NDArray[np.float64]:
    """Return (N,) the product of the networks' shares wrong in the image's class."""
    labels, size = found[0].labels, found[0].values.shape[1]
    totals = np.bincount(labels, minlength=size)
    chances = np.ones(size)
    for one in found:
        wrong = np.bincount(labels[~one.right], minlength=size)
        chances *= np.divide(wrong, totals, out=np.zeros(size), where=totals > 0)
    return np.asarray(chances[labels], np.float64)


def _pictures(
    images: Sequence[HardImage], trials: Iterable[TrialResult], folders: Mapping[str, Path]
) -> tuple[dict[int, Picture], str]:
    """Return those of the hardest that have one, and why there are none. A sweep keeps pictures of 500 images, not of
    all."""
    why = "no results folder is known"
    for folder in dict.fromkeys(folders[r.trial_id] for r in trials if r.trial_id in folders):
        try:
            thumbnails = read_thumbnails(folder)
            rows = [image.row for image in images if thumbnails.labels.get(image.row) == image.true][:NUM_SHOWN]
            if rows:
                return thumbnails.pictures(rows), ""
            why = f"{thumbnails.path} holds none of the {len(images):,} images that all get wrong"
        except ThumbnailsError as error:
            why = str(error)
    return {}, why


def _descriptions(
    images: Sequence[HardImage], trials: Iterable[TrialResult], folders: Mapping[str, Path]
) -> dict[int, str]:
    """Return what the first of the trials' files that says anything of these images says."""
    rows = [image.row for image in images]
    for result in trials:
        with contextlib.suppress(PredictionsError):
            if found := read_descriptions(folders.get(result.trial_id, Path()), result, rows):
                return found
    return {}


def sections(hard: Hard | None) -> list[Section]:
    """Return the section; none without two networks."""
    if hard is None:
        return []
    counts = np.bincount([image.true for image in hard.images], minlength=len(hard.names))
    rows = []
    for index, name in enumerate(hard.names):
        own = hard.labels == index
        total, said = int(own.sum()), [image.said for image in hard.images if image.true == index]
        taken = hard.names[int(np.bincount(said).argmax())] if said else ""
        share = f"{counts[index] / total:.3f}" if total else "no images"
        rows.append((name, f"{total:,}", f"{counts[index]:,}", share, _expected_text(hard.expected[own]), taken))
    headings = ("Class", "Test images", "All wrong", "Share", "Expected", "Mostly taken for")
    listing = Listing(headings, tuple(rows), {1, 2, 3, 4})
    heading, is_long = "Images that all networks get wrong", len(hard.names) > MANY
    return [Section(heading, listing, tuple(_sentences(hard)), is_long=is_long)]


def _expected_text(chances: NDArray[np.float64]) -> str:
    """Return a number of images, which may be a small part of one."""
    number = float(chances.sum())
    return f"{number:.1f}" if number >= 1 else f"{number:.2g}"


def _sentences(hard: Hard) -> list[str]:
    number, total = len(hard.images), len(hard.labels)
    named = [hard.descriptions[image.row] for image in hard.images if image.row in hard.descriptions]
    verb = "is" if number == 1 else "are"
    networks = ", ".join(f"{r.trial_id} ({r.spec.backbone}, seed {r.spec.seed})" for r in hard.trials)
    return [
        f"{number:,} of {total:,} test images {verb} wrong in all {len(hard.trials)} networks. If the networks'"
        f" mistakes had nothing in common but the class, {_expected_text(hard.expected)} would be expected."
        f" {LABEL_NOTE}.",
        *([f"The hardest, to look up: {'; '.join(named)}."] if named else []),
        f"The networks, one of each backbone and start, the lowest seed that has not collapsed: {networks}.",
    ]
