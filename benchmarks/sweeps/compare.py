"""What a run of bench_sweep.py shows: do the systems agree, what did ours compute, and where did its time go.

Pure functions of rows (`TrialResult`) and of the baselines' trials; bench_sweep.py prints what they return.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from galaxytl.networks.blocks import Structure
from galaxytl.trial import COMPLETE, TrialResult

NUM_CLASSES = 10
STANDARD_ERRORS = 3
"""Two would call one fair comparison in twenty a difference: in four workloads, every fifth run."""

Place = tuple[str, int, float]
"""Of a trial in the grid: backbone, unfrozen blocks, learning rate."""
Trials = Mapping[Place, float]
"""Test accuracy of each trial that ended with a finite loss."""


def accuracies_of_rows(rows: Iterable[TrialResult]) -> Trials:
    return {
        (row.spec.backbone, int(row.spec.unfrozen_blocks), row.spec.learning_rate): row.metrics["accuracy"]
        for row in rows
        if row.status == COMPLETE
    }


def accuracies_of_baseline(trials: Iterable[Mapping[str, Any]]) -> Trials:
    return {
        (trial["backbone"], trial["unfrozen_blocks"], trial["learning_rate"]): trial["accuracy"]
        for trial in trials
        if math.isfinite(trial["loss"])
    }


@dataclass(frozen=True)
class Agreement:
    """How far two systems' test accuracies are apart, trial by trial: one minus other."""

    mean: float
    standard_error: float
    """Of the mean, from the spread of the differences."""
    largest: float
    """Absolute difference of one trial."""
    tolerance: float
    left_out: tuple[Place, ...]
    """Trials that one of the two did not bring to an end: diverged or crashed."""

    @property
    def holds(self) -> bool:
        return abs(self.mean) <= self.tolerance + 1e-6  # Keras's accuracies are float32

    def __str__(self) -> str:
        verdict = "within noise" if self.holds else "NOT WITHIN NOISE"
        left_out = f"; left out: {', '.join(map(str, self.left_out))}" if self.left_out else ""
        return (
            f"mean difference {self.mean:+.4f} +- {self.standard_error:.4f}, tolerance {self.tolerance:.4f}, "
            f"largest {self.largest:.3f}: {verdict}{left_out}"
        )


def agreement(one: Trials, other: Trials, num_test: int) -> Agreement:
    """Return whether the mean paired difference is within noise.

    Same weights, same images, another order of the batches: differences of a trial have mean 0. Tolerated are
    STANDARD_ERRORS of them, and in any case one test image: systems that agree on all but one image are no less equal.
    Raises ValueError when no trial is left to compare.
    """
    both = sorted(one.keys() & other.keys())
    if not both:
        raise ValueError("two systems must have at least one finished trial in common to be compared; they have none")
    differences = [one[place] - other[place] for place in both]
    error = statistics.stdev(differences) / math.sqrt(len(both)) if len(both) > 1 else 0.0
    return Agreement(
        mean=statistics.fmean(differences),
        standard_error=error,
        largest=max(map(abs, differences)),
        tolerance=max(STANDARD_ERRORS * error, 1 / num_test),
        left_out=tuple(sorted(one.keys() ^ other.keys())),
    )


def executed_multiply_adds(rows: Iterable[TrialResult]) -> float:
    """Return what these trials computed."""
    return sum(sum(row.multiply_adds.values()) for row in rows)


def minimal_multiply_adds(
    rows: Sequence[TrialResult], structures: Mapping[tuple[str, int], Structure], is_stored: bool = False
) -> float:
    """Return what these trials cannot do without.

    Each frozen backbone once for every image, as deep as any trial needs it (nothing where it `is_stored`); then in
    every epoch what follows the cut, three forward passes for a trained image (forward, and backward to weights and to
    inputs) and one for a watched image.
    """
    depths: dict[tuple[Any, ...], float] = defaultdict(float)
    after = 0.0
    for row in rows:
        spec, sizes = row.spec, row.num_images
        structure = structures[spec.backbone, spec.image_size]
        num_blocks = len(structure.blocks)
        cut = num_blocks if spec.unfrozen_blocks == "all" else spec.unfrozen_blocks
        prefix = structure.multiply_adds(num_blocks, cut) * sum(sizes.values())
        depths[spec.backbone_key] = max(depths[spec.backbone_key], prefix)
        suffix = structure.multiply_adds(cut, 0) + math.prod(structure.shape_at(0)) * NUM_CLASSES
        watched = sizes["validation"] or sizes["test"]
        after += suffix * spec.num_epochs * (3 * sizes["train"] + watched)
    return after + (0.0 if is_stored else sum(depths.values()))


def seconds_outside_training(rows: Iterable[TrialResult]) -> list[float]:
    """Return, of each warm trial, its total less features, train and evaluate, ascending.

    Not of the first trial of a group, which starts the process and builds the network. Heads that were trained together
    have equal shares of all that, and count.
    """
    groups: dict[tuple[Any, ...], list[TrialResult]] = defaultdict(list)
    for row in sorted(rows, key=_started):
        groups[row.spec.group_key].append(row)
    warm = [row for group in groups.values() for row in group[0 if group[0].num_fused > 1 else 1 :]]
    return sorted(_outside(row.timings) for row in warm)


def _started(row: TrialResult) -> tuple[str, float]:
    return row.started, -row.timings["total"]  # started is in whole seconds; the first takes longest


def _outside(timings: Mapping[str, float]) -> float:
    return timings["total"] - sum(timings.get(part, 0.0) for part in ("features", "train", "evaluate"))


def seconds_by_part(rows: Iterable[TrialResult]) -> dict[str, float]:
    """Return the seconds inside trials, summed over them: the parts that rows name, and "other", the rest of their
    totals."""
    parts = Counter[str]()
    for row in rows:
        parts.update(row.timings)
    total = parts.pop("total", 0.0)
    return {**parts, "other": total - sum(parts.values())}


def milestones(lines: Sequence[tuple[float, str]], seconds: float) -> dict[str, float]:
    """Return the seconds from one thing that a sweep prints to the next; `lines` with the second of each."""
    says = {
        "imports, dataset, plan": r"^Starting Ray",
        "Ray, worker, framework, until a trial speaks": r"^\d\d:\d\d:\d\d  ",
        "the trials": r"trials complete",
    }
    spent, last = {}, 0.0
    for name, pattern in says.items():
        when = next((second for second, line in lines if second >= last and re.search(pattern, line)), None)
        if when is not None:
            spent[name], last = when - last, when
    return {**spent, "the end": seconds - last}


def floor_seconds(work: Mapping[str, Any], measured: Mapping[str, Any], is_stored: bool = False) -> float:
    """Return the least time for a work at the speed that sweeps/floor.py `measured`: each prefix once, then what
    follows the cuts."""
    num_train, num_watched = len(work["train"]), len(work["test"])
    steps = work["num_epochs"] * math.ceil(num_train / work["batch_size"])
    seconds = 0.0
    for backbone in measured.values():
        seconds += 0.0 if is_stored else backbone["prefix"] * (num_train + num_watched)
        for cut, costs in backbone["cuts"].items():
            num_passes = 1 if cut == "0" else len(work["learning_rate"])
            seconds += num_passes * (steps * costs["step"] + work["num_epochs"] * num_watched * costs["watch"])
    return seconds
