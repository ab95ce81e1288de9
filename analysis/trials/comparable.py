"""Trials that may stand in one figure or table: those that differ in what it shows, and in nothing else.

chosen = comparable(results, VARIED, can_draw)
chosen.results, chosen.left_out
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from analysis.trials.load import count_of_trials, mixed
from analysis.trials.starts import distance_from_paper
from galaxytl.trial import COMPLETE, FAILED, SPEC_FIELDS, TrialResult

WEIGHTS: Final = ("weights", "weights_requested", "weights_fingerprint")


@dataclass(frozen=True)
class ComparableTrials:
    """Trials that may stand in one figure, and a sentence on those that may not; empty where there are none."""

    results: tuple[TrialResult, ...]
    left_out: str = ""


def comparable(
    results: Iterable[TrialResult],
    varied: Collection[str],
    can_draw: Callable[[Sequence[TrialResult]], bool],
    panel: Sequence[str] = (),
) -> ComparableTrials:
    """Return, of the finished trials, the most that differ in nothing but `varied` and the seed, and of which the
    figure can be drawn: one figure, as one average, never mixes settings. Of equally many those nearest the paper; of
    each backbone those of one weights file, so that what stands in for missing weights goes where there are real ones.
    Trials that differ in the fields of a `panel` are never compared with one another: their epochs may differ, which is
    then said."""
    rows = [r for r in results if r.status in (COMPLETE, FAILED)]
    names = tuple(name for name in SPEC_FIELDS if name not in (*varied, "weights", "weights_fingerprint", "seed"))
    epochs = epochs_of(rows, panel) if panel else {}
    if epochs and all(len(numbers) == 1 for numbers in epochs.values()):
        names = tuple(name for name in names if name != "num_epochs")
    parts: dict[tuple[Any, ...], list[TrialResult]] = {}
    for result in rows:
        parts.setdefault(tuple(getattr(result.spec, name) for name in names), []).append(result)
    candidates = [kept for part in parts.values() if can_draw(kept := _of_one_weights_file(part))]
    if not candidates:
        return ComparableTrials(())
    chosen = min(candidates, key=lambda own: (-len(own), distance_from_paper(own[0].spec), own[0].trial_id))
    different = list(mixed(rows, names)) or ["weights"]
    said = _left_out(len(rows) - len(chosen), different)
    return ComparableTrials(tuple(chosen), " ".join(filter(None, (said, _epochs_text(epochs_of(chosen, panel))))))


def epochs_of(results: Iterable[TrialResult], panel: Sequence[str]) -> dict[tuple[Any, ...], set[int]]:
    """Return the numbers of epochs in each panel."""
    found: dict[tuple[Any, ...], set[int]] = {}
    for r in results:
        found.setdefault(tuple(getattr(r.spec, name) for name in panel), set()).add(r.spec.num_epochs)
    return found


def _epochs_text(epochs: Mapping[tuple[Any, ...], set[int]]) -> str:
    """Return a sentence where panels differ.

    >>> _epochs_text({("VGG16", "random", "all"): {10}, ("VGG16", "imagenet", 0): {20}})
    'Epochs: 10 for VGG16/random/all; 20 for VGG16/imagenet/0.'
    """
    by_number: dict[int, list[str]] = {}
    for key, numbers in epochs.items():
        for number in numbers:
            by_number.setdefault(number, []).append("/".join(map(str, key)))
    if len(by_number) < 2:
        return ""
    rarest_first = sorted(by_number, key=lambda number: len(by_number[number]))
    named = [f"{number} for {', '.join(by_number[number])}" for number in rarest_first]
    if len(by_number[rarest_first[-1]]) > 2:
        named[-1] = f"{rarest_first[-1]} for all others"
    return f"Epochs: {'; '.join(named)}."


def _of_one_weights_file(results: Sequence[TrialResult]) -> list[TrialResult]:
    """Return, of trials that want ImageNet weights, those of their backbone's commonest file; all where it has none."""
    counts = Counter((r.spec.backbone, r.spec.weights_fingerprint) for r in results if r.spec.weights_fingerprint)
    commonest: dict[str, str] = {}
    for (backbone, mark), _ in counts.most_common():
        commonest.setdefault(backbone, mark)
    return [
        r
        for r in results
        if r.spec.weights_requested == "random" or r.spec.weights_fingerprint == commonest.get(r.spec.backbone, "")
    ]


def _left_out(number: int, different: Sequence[str]) -> str:
    if not number:
        return ""
    verb = "is" if number == 1 else "are"
    return (
        f"{count_of_trials(number)} of other settings ({', '.join(different)}) {verb} not in it; --where chooses them."
    )
