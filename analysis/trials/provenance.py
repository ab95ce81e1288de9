"""What computed the trials: versions, devices, data and weights, and whether they are the same for all.

mixed_versions(results)      # ("the trials were computed with galaxytl 0.1.0 (6 trials), 0.2.0 (3 trials): ...",)
provenance(results)          # rows for the report: ("galaxytl", "0.1.0"), ("weights of VGG16", "64373286793e...")
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from analysis.trials.load import counts_text
from galaxytl.trial import TrialResult

CODE: Final = ("galaxytl", "keras", "keras_backend")
"""Versions in which trials that are compared should not differ."""
NOT_VERSIONS: Final = ("device", "host")
UNRECORDED: Final = "not recorded"


def mixed_versions(results: Sequence[TrialResult]) -> tuple[str, ...]:
    """Return a sentence for each of CODE in which the trials differ; rows that do not record it count as a version."""
    found = ((name, _values(results, name)) for name in CODE)
    return tuple(
        f"the trials were computed with {name} {counts_text(values)}: what differs between them may be the code's doing"
        for name, values in found
        if len(values) > 1
    )


def _values(results: Iterable[TrialResult], name: str) -> Counter[str]:
    return Counter(r.environment.get(name, UNRECORDED) for r in results)


def provenance(results: Sequence[TrialResult]) -> tuple[tuple[str, str], ...]:
    """Return what, and its value; where trials differ, each value with its number of trials."""
    data = Counter(f"{r.spec.dataset}, fingerprint {r.spec.dataset_fingerprint}" for r in results)
    packages = sorted({name for r in results for name in r.environment} - {*NOT_VERSIONS, *CODE})
    names = (*CODE, *packages, *NOT_VERSIONS)
    rows = [("data", _shown(data)), *_weights(results)]
    rows += [(name, _shown(values)) for name in names if set(values := _values(results, name)) != {UNRECORDED}]
    return (*rows, *_when(results))


def _shown(values: Counter[str]) -> str:
    return next(iter(values)) if len(values) == 1 else counts_text(values)


def _weights(results: Iterable[TrialResult]) -> list[tuple[str, str]]:
    found: dict[str, Counter[str]] = {}
    for result in results:
        spec = result.spec
        if spec.weights_requested == "imagenet":
            mark = spec.weights_fingerprint or "none: " + spec.weights_label
            found.setdefault(spec.backbone, Counter())[mark] += 1
    return [(f"ImageNet weights of {backbone}", _shown(marks)) for backbone, marks in sorted(found.items())]


def _when(results: Iterable[TrialResult]) -> list[tuple[str, str]]:
    started = sorted(r.started for r in results if r.started)
    if not started:
        return []
    first, last = started[0][:16].replace("T", " "), started[-1][:16].replace("T", " ")
    return [("started", f"{first} UTC" if first == last else f"{first} to {last} UTC")]
