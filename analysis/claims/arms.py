"""Arms: trials that are equal but for the seed, beside those of other networks and starts at the same settings.

    for setting in trial_settings(trials):
        on = setting.arm("MobileNet", ON)
        on.name, len(on.results), on.why_unpaired

Only arms of one setting are ever compared: its trials have one split, one test part and one way of training, and differ
in the backbone, what it starts from, what is trained of it, and the seed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.bootstrap import Replicates, Scores, draws_of
from analysis.trials.load import Trials, in_order
from analysis.trials.predictions import Predictions, read_predictions, same_images
from analysis.trials.starts import FINE_TUNED, FROM_SCRATCH, IMAGENET_FROZEN, RANDOM_FROZEN, start_name
from analysis.trials.table1_cells import SETTINGS
from galaxytl.results.predictions import PredictionsError
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec

ON: Final = "ImageNet ON"
OFF: Final = "ImageNet OFF"
FROZEN_RANDOM: Final = RANDOM_FROZEN
PAPERS_NAMES: Final = {IMAGENET_FROZEN: ON, FROM_SCRATCH: OFF}
"""The paper's two starts have names of their own."""
STARTS: Final = (ON, OFF, FINE_TUNED, FROZEN_RANDOM)

Event = Callable[[Predictions], NDArray[np.bool_]]
"""Of each image (N,), whether it counts."""


def start_label(spec: TrialSpec) -> str | None:
    """Return the paper's name of a start, or ours; None where a part of the blocks is trained."""
    name = start_name(spec)
    return PAPERS_NAMES.get(name, name) if name else None


@dataclass(frozen=True, eq=False)
class Arm:
    """COMPLETE trials of one network and start, ordered by seed, with what they say of each image.

    Without predictions they are made up from the confusion matrices: whom a trial takes for what is then known, but not
    which image it was, so nothing can be paired.
    """

    results: tuple[TrialResult, ...]
    predictions: tuple[Predictions, ...]
    why_unpaired: str = ""

    @property
    def spec(self) -> TrialSpec:
        return self.results[0].spec

    @property
    def backbone(self) -> str:
        return self.spec.backbone

    @property
    def start(self) -> str:
        return start_label(self.spec) or ""

    @property
    def name(self) -> str:
        return f"{self.backbone}, {self.start}"

    @property
    def num_seeds(self) -> int:
        return len(self.results)

    @property
    def num_images(self) -> int:
        return len(self.predictions[0].labels)

    @functools.cached_property
    def scores(self) -> tuple[Scores, ...]:
        """Seed by seed, resampled over images."""
        draws = draws_of(self.num_images)
        return tuple(draws.scores(one.labels, one.predicted, one.num_classes) for one in self.predictions)

    @functools.cached_property
    def losses(self) -> tuple[Replicates, ...]:
        """Mean cross-entropies in nats, seed by seed. Of predictions only, not of counts."""
        return tuple(draws_of(self.num_images).means(one.losses) for one in self.predictions)


@dataclass(frozen=True, eq=False)
class TrialSetting:
    """The arms that share all settings, by (backbone, start)."""

    key: tuple[Any, ...]
    arms: Mapping[tuple[str, str], Arm]
    problems: tuple[str, ...] = field(default=())
    """A sentence for each arm that cannot be used."""

    def arm(self, backbone: str, start: str) -> Arm | None:
        return self.arms.get((backbone, start))

    def value(self, name: str) -> Any:
        """Return the value of one of the SETTINGS."""
        return self.key[SETTINGS.index(name)]


def key_of(spec: TrialSpec) -> tuple[Any, ...]:
    """Return what is equal for specs that may be compared."""
    return tuple(getattr(spec, name) for name in SETTINGS)


def trial_settings(trials: Trials) -> tuple[TrialSetting, ...]:
    """Return all settings of the COMPLETE trials that are scored on the test part, in the order of their first trials
    (`gather.in_order`)."""
    found: dict[tuple[Any, ...], dict[tuple[str, str], list[TrialResult]]] = {}
    for result in in_order(trials.results):
        start = start_label(result.spec)
        if start and result.status == COMPLETE and result.spec.scored_on == "test":
            found.setdefault(key_of(result.spec), {}).setdefault((result.spec.backbone, start), []).append(result)
    return tuple(_setting(key, arms, trials.folders) for key, arms in found.items())


def _setting(
    key: tuple[Any, ...], members: Mapping[tuple[str, str], list[TrialResult]], folders: Mapping[str, Path]
) -> TrialSetting:
    arms, problems = {}, []
    for place, results in members.items():
        try:
            arms[place] = load_arm(results, folders)
        except PredictionsError as error:
            problems.append(f"{', '.join(place)}: {error}")
    return TrialSetting(key, arms, tuple(problems))


def load_arm(results: Iterable[TrialResult], folders: Mapping[str, Path]) -> Arm:
    """Load the predictions or counts of an arm's trials. Raises PredictionsError where these are not of one weights
    file, not of the same images, or have neither."""
    own = _of_one_file(sorted(results, key=lambda r: r.spec.seed))
    try:
        predictions, why = tuple(read_predictions(folders.get(r.trial_id, Path()), r) for r in own), ""
    except PredictionsError as error:
        predictions, why = tuple(map(_from_counts, own)), str(error)
    if not why and not all(same_images(predictions[0], other) for other in predictions):
        raise PredictionsError("the probabilities of its seeds are of different images")
    if len({len(one.labels) for one in predictions}) > 1:
        raise PredictionsError("its seeds have different numbers of images")
    return Arm(own, predictions, why)


def _of_one_file(results: Sequence[TrialResult]) -> tuple[TrialResult, ...]:
    """Return the trials of one weights file. Stand-ins with random weights go where a trial has ImageNet's, as in Table
    1."""
    real = [r for r in results if not r.spec.is_substituted]
    own = tuple(real or results)
    if len({r.spec.weights_fingerprint for r in own}) > 1:
        raise PredictionsError("its trials have several weights files; choose with --where weights_fingerprint=...")
    return own


def _from_counts(result: TrialResult) -> Predictions:
    confusion = np.asarray(result.confusion, np.int64)
    if confusion.ndim != 2 or not confusion.sum():
        raise PredictionsError(f"trial {result.trial_id} has neither probabilities nor a confusion matrix")
    true, predicted = (index.ravel() for index in np.indices(confusion.shape))
    labels, named = (np.repeat(index, confusion.ravel()) for index in (true, predicted))
    unknown = np.full(len(labels), np.nan)
    return Predictions(np.arange(len(labels)), labels, named, unknown, len(confusion))
