"""Repeats: the COMPLETE trials of one setting, which differ in nothing but the seed, and what they say of each image.

    study = read_networks(trials, results_of_table_1)
    for own in study.shown:                      # settings nearest to the paper, at most MOST_SETTINGS
        own.name, own.results                    # "VGG16, ImageNet ON, Adam 1e-4", by seed
        study.probabilities[own.results[0].trial_id]

Trials that are scored on the test part only. A file that cannot be read takes nothing else down: `problems` says why.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from analysis.statistics.class_scores import ClassScore
from analysis.statistics.intervals import Interval, Share
from analysis.statistics.seeds import mean_over_seeds
from analysis.trials.comparable import WEIGHTS
from analysis.trials.load import Trials, show_value
from analysis.trials.paper import BACKBONES
from analysis.trials.starts import (
    FROM_SCRATCH,
    IMAGENET_FROZEN,
    distance_from_paper,
    optimizer_name,
    rate_text,
    start_of,
)
from analysis.trials.subject import is_of_paper
from galaxytl.results.predictions import (
    NotStoredError,
    PredictionsError,
    Probabilities,
    read_probabilities,
    read_validation,
)
from galaxytl.results.ranking import validation_accuracy
from galaxytl.trial import ADDED, COMPLETE, SPEC_FIELDS, SPLIT_FIELDS, TrialResult, TrialSpec

MOST_SETTINGS: Final = 12
"""That are shown, and whose probabilities are read: a report of hundreds of settings stays readable, and quick."""
SIDES: Final = {IMAGENET_FROZEN: "ImageNet ON", FROM_SCRATCH: "ImageNet OFF"}
"""The paper's names of its two starts."""
OPTIMIZER: Final = ("optimizer", "momentum", "learning_rate")
UNNAMED: Final = ("backbone", *WEIGHTS, "unfrozen_blocks", "seed", "dataset", "dataset_fingerprint", "scored_on")
"""Fields that a setting's name has in its first words, or that do not tell settings apart."""


@dataclass(frozen=True, eq=False)
class Repeats:
    """`results`: the COMPLETE trials of one setting, by seed; `name`: what tells it from the others of the report."""

    name: str
    results: tuple[TrialResult, ...]

    @property
    def spec(self) -> TrialSpec:
        return self.results[0].spec

    @property
    def validation_accuracy(self) -> float | None:
        """The mean over seeds, of the epoch that is scored; None where one of them watched no validation part."""
        found = [validation_accuracy(result) for result in self.results]
        values = [value for value in found if value is not None]
        return float(np.mean(values)) if len(values) == len(found) else None

    @functools.cached_property
    def with_confusion(self) -> tuple[TrialResult, ...]:
        return tuple(r for r in self.results if r.confusion and sum(map(sum, r.confusion)))


@dataclass(frozen=True, eq=False)
class Networks:
    """Of one report. `shown` is the beginning of `settings`, as `repeats_of` orders them."""

    settings: tuple[Repeats, ...] = ()
    shown: tuple[Repeats, ...] = ()
    probabilities: Mapping[str, Probabilities] = field(default_factory=dict)
    """trial_id -> on the test part; of the settings that are shown, and of those that the validation part chooses."""
    validation: Mapping[str, Probabilities] = field(default_factory=dict)
    """trial_id -> on the validation part, where that is stored."""
    folders: Mapping[str, Path] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    """A sentence for each reason why probabilities are not there, with how many trials it holds for."""

    @functools.cached_property
    def of_one_split(self) -> tuple[Repeats, ...]:
        """The settings whose images are divided as the first one's are: only these can be compared on a part."""
        return tuple(of_first_split(self.settings))

    @property
    def not_shown(self) -> str:
        """A sentence, or nothing."""
        number = len(self.settings) - len(self.shown)
        if not number:
            return ""
        verb = "setting is" if number == 1 else "settings are"
        whose = "the paper's" if is_of_paper(self.settings[0].spec) else "the default ones"
        return f"{number} further {verb} not in it, as they are further from {whose}; --where chooses them."


def read_networks(trials: Trials, first: Iterable[TrialResult] = ()) -> Networks:
    """Return the settings of the trials that are scored on the test part, those of the results `first` before the
    others, and read the probabilities of some."""
    settings = repeats_of(trials.results, {r.trial_id for r in first})
    shown = settings[:MOST_SETTINGS]
    wanted = [r for own in dict.fromkeys((*shown, *best_of_backbones(of_first_split(settings)))) for r in own.results]
    problems: dict[str, list[TrialResult]] = {}
    found = _read(wanted, trials.folders, read_probabilities, problems)
    beside = _read([r for r in wanted if r.spec.validation_fraction], trials.folders, _validation_of(found), problems)
    return Networks(tuple(settings), tuple(shown), found, beside, trials.folders, _sentences(problems))


def repeats_of(results: Iterable[TrialResult], first: Iterable[str] = ()) -> list[Repeats]:
    """Return the settings: those of the trials `first` (their ids), then those of the most images,
    and of these the nearest to the paper."""
    groups: dict[tuple[Any, ...], list[TrialResult]] = {}
    for result in results:
        if result.status == COMPLETE and result.spec.scored_on == "test":
            groups.setdefault(_key(result.spec), []).append(result)
    leading = set(first)
    ordered = [sorted(own, key=lambda r: (r.spec.seed, r.trial_id)) for own in groups.values()]
    names = names_of([own[0].spec for own in ordered])
    found = [Repeats(name, tuple(own)) for name, own in zip(names, ordered, strict=True)]

    def order(own: Repeats) -> tuple[Any, ...]:
        is_first = any(r.trial_id in leading for r in own.results)
        fewer = -own.spec.max_images if own.spec.max_images else -math.inf
        return not is_first, fewer, distance_from_paper(own.spec), _place(own.spec), own.name

    return sorted(found, key=order)


def _key(spec: TrialSpec) -> tuple[Any, ...]:
    return tuple(getattr(spec, name) for name in SPEC_FIELDS if name != "seed")


def _place(spec: TrialSpec) -> tuple[int, int]:
    """Return a rank: the paper's starts first, ON before OFF, and of each the backbones from the best to the worst in
    its table."""
    start = start_of(spec)
    side = list(SIDES).index(start.name) if start and start.name in SIDES else len(SIDES)
    return side, -BACKBONES.index(spec.backbone) if spec.backbone in BACKBONES else 1


def names_of(specs: Sequence[TrialSpec]) -> list[str]:
    """Return different names: of two weights files that nothing else tells apart the beginning of the fingerprint is
    named."""
    varied = _varied(specs)
    names = [_name(spec, varied) for spec in specs]
    counts = Counter(names)
    pairs = zip(names, specs, strict=True)
    return [name if counts[name] < 2 else f"{name}, weights {spec.weights_fingerprint[:8]}" for name, spec in pairs]


def _varied(specs: Sequence[TrialSpec]) -> list[str]:
    """Return the fields in which the settings differ, apart from UNNAMED."""
    names = [name for name in SPEC_FIELDS if name not in UNNAMED]
    return [name for name in names if len({getattr(spec, name) for spec in specs}) > 1]


def _name(spec: TrialSpec, varied: Sequence[str]) -> str:
    parts = [spec.backbone, _side(spec)]
    if set(varied) & set(OPTIMIZER):
        parts.append(f"{optimizer_name(spec)} {rate_text(spec.learning_rate)}")
    return ", ".join([*parts, *field_texts(spec, [name for name in varied if name not in OPTIMIZER])])


def field_texts(spec: TrialSpec, names: Iterable[str]) -> list[str]:
    """Return what a trial has in these fields, in words; nothing where the field is false, or one that a later version
    added and that the trial does not use.

    >>> spec = TrialSpec(dataset="d", dataset_fingerprint="0", schedule="cosine", num_folds=5)
    >>> field_texts(spec, ["schedule", "warmup_epochs", "fold", "augmentation", "max_images"])
    ['schedule cosine', 'fold 0', 'all images']
    """
    return [_field_text(name, getattr(spec, name)) for name in names if _is_used(spec, name)]


def _is_used(spec: TrialSpec, name: str) -> bool:
    value = getattr(spec, name)
    if name == "fold":
        return bool(spec.num_folds)
    return value is not False and not (name in ADDED and value == ADDED[name])


def _field_text(name: str, value: Any) -> str:
    if name == "max_images":
        return f"{value:,} images" if value else "all images"
    words = name.replace("_", " ")
    return words if value is True else f"{words} {show_value(value)}"


def _side(spec: TrialSpec) -> str:
    """Return what the network starts from and what of it is trained; starred where random weights stand in."""
    if start := start_of(spec):
        return SIDES.get(start.name, start.name) + ("*" if start.is_substituted else "")
    blocks = "1 block" if spec.unfrozen_blocks == 1 else f"{spec.unfrozen_blocks} blocks"
    weights = "ImageNet" if spec.weights_requested == "imagenet" else spec.weights_requested
    if spec.weights == "given" and spec.trains_head_only:
        return "given, frozen"
    return f"{weights}, {blocks} trained" + ("*" if spec.is_substituted else "")


def of_first_split(settings: Sequence[Repeats]) -> list[Repeats]:
    def split(own: Repeats) -> tuple[Any, ...]:
        return tuple(getattr(own.spec, name) for name in SPLIT_FIELDS)

    return [own for own in settings if split(own) == split(settings[0])]


def best_of_backbones(settings: Iterable[Repeats]) -> list[Repeats]:
    """Return the setting of each backbone that is best on the validation part; without those that watched none."""
    best: dict[str, tuple[float, Repeats]] = {}
    for own in settings:
        accuracy = own.validation_accuracy
        if accuracy is not None and accuracy > best.get(own.spec.backbone, (-1.0, own))[0]:
            best[own.spec.backbone] = (accuracy, own)
    return [own for _, own in best.values()]


def _read(
    results: Iterable[TrialResult],
    folders: Mapping[str, Path],
    read: Callable[[Path, TrialResult], Probabilities],
    problems: dict[str, list[TrialResult]],
) -> dict[str, Probabilities]:
    found = {}
    for result in results:
        try:
            found[result.trial_id] = read(folders.get(result.trial_id, Path()), result)
        except NotStoredError:
            continue  # by earlier versions of a sweep, which is no fault
        except PredictionsError as error:
            problems.setdefault(str(error).replace(result.trial_id, "..."), []).append(result)
    return found


def _validation_of(tested: Mapping[str, Probabilities]) -> Callable[[Path, TrialResult], Probabilities]:
    """Return what reads those of the validation part, and raises PredictionsError where they have images of the test
    part (`tested`, by trial_id), for what is fitted there would then be judged by what it was fitted to."""

    def read(folder: Path, result: TrialResult) -> Probabilities:
        found = read_validation(folder, result)
        test = tested.get(result.trial_id)
        if test is not None and np.intersect1d(found.rows, test.rows).size:
            what = f"the validation probabilities of trial {result.trial_id}"
            raise PredictionsError(f"{what} are of images of the test part, and are not used")
        return found

    return read


def _sentences(problems: Mapping[str, Sequence[TrialResult]]) -> tuple[str, ...]:
    found = []
    for reason, own in problems.items():
        trials = f"trial {own[0].trial_id}" if len(own) == 1 else f"{len(own)} trials, as {own[0].trial_id}"
        found.append(f"Left out, {trials}: {reason}.")
    return tuple(found)


def over_seeds(scores: Sequence[ClassScore | Share], low: float = 0.0) -> Interval:
    """Return the interval of a setting's score, of which each seed has one, from `low` to 1: by t over seeds, with the
    variance over images, where there are several; else that over the images of the one."""
    if len(scores) < 2:
        return scores[0].interval
    image_variance = float(np.mean([one.variance for one in scores]))
    return mean_over_seeds([one.value for one in scores], image_variance).interval.within(low, 1.0)
