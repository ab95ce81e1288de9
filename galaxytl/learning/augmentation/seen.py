"""What a trial's epochs see: which inputs and targets, of examples that are the same in each of them otherwise.

examples = seen_in_epochs(examples, spec, SeenFrom(images, rows, on_images))
examples.in_epoch(3).inputs, examples.in_epoch(3).targets(rows)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxytl.learning.augmentation.images import AugmentedImages, Changes, augmented
from galaxytl.learning.augmentation.mixing import BlendedImages, BlendedTargets, OneHot, Pairs, pairs_of
from galaxytl.learning.augmentation.views import ViewedImages, drawn_views
from galaxytl.learning.examples import Examples
from galaxytl.trial import TrialSpec


@dataclass(frozen=True)
class SeenFrom:
    """Where the inputs of some examples come from."""

    images: NDArray[np.uint8]
    """(N, S, S, 3) of the dataset."""
    rows: NDArray[np.int64]
    """Of the examples: of the dataset, or places of `views`."""
    on_images: Callable[[Any], Any]
    """Gives the inputs that are computed from other images of the dataset, where nothing is stored."""


def readable(images: NDArray[np.uint8], spec: TrialSpec) -> Any:
    """Return the images (N, S, S, 3) of a dataset, or N * (K + 1), with the views of each, where the spec has K."""
    return ViewedImages(images, spec) if spec.views else images


def turned(images: NDArray[np.uint8], way: int) -> AugmentedImages:
    """Return the images (N, S, S, 3) in one of the eight symmetries, turned when they are read."""
    return AugmentedImages(images, Changes(np.full(len(images), way)))


def seen_in_epochs(examples: Examples, spec: TrialSpec, source: SeenFrom) -> Examples:
    """Return the examples with what each epoch sees; as they are, where all see the same."""
    if not spec.draws_images:
        return examples
    images, train = source.images, examples.train
    if spec.views:
        inputs, count = examples.inputs, len(images)
        return replace(examples, augmented=lambda number: drawn_views(inputs, spec, number, source.rows, count))
    if not spec.blends_images:
        return replace(examples, augmented=lambda number: source.on_images(augmented(images, spec, number)))

    def pairs(number: int) -> Pairs:
        return pairs_of(spec, number, len(images), train, images.shape[1])

    targets = OneHot(examples.labels, spec.num_classes) if examples.votes is None else examples.votes
    return replace(
        examples,
        votes=targets,
        augmented=lambda number: source.on_images(BlendedImages(augmented(images, spec, number), pairs(number))),
        blended=lambda number: BlendedTargets(targets, pairs(number)),
    )
