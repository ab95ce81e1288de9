"""How many seeds a sweep has of each setting, and which trials as many as decide would add. Pure functions.

    short = shortage(specs, num_seeds=1)
    short.fewest, len(short.specs)           # 1, and the trials that --seeds 3 would add
    lines(short, seconds=7800.0)             # for the terminal

One seed of a setting shows one network: how far the next would be off it does not say. So the analysis decides claims
about settings by three seeds of each or more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from galaxytl.trial import TrialSpec
from sweep.planning.durations import duration

MIN_SEEDS: Final = 3
"""Of each setting; as the analysis has it."""
COLLAPSE_SEEDS: Final = 6
"""The fewest at which each verdict of VGG16's collapse is possible; as the analysis has it."""


@dataclass(frozen=True)
class Shortage:
    """Of a sweep with a setting that has fewer than `wanted`: the fewest, and the trials that would make up for it."""

    fewest: int
    specs: tuple[TrialSpec, ...]
    wanted: int = MIN_SEEDS


def shortage(
    specs: Iterable[TrialSpec], num_seeds: int, finished: Iterable[TrialSpec] = (), wanted: int = MIN_SEEDS
) -> Shortage | None:
    """Return what `specs`, with `--seeds num_seeds`, lack; None where each setting has `wanted` seeds, or `finished`
    has the others."""
    seeds: dict[TrialSpec, set[int]] = defaultdict(set)
    for spec in specs:
        seeds[spec.replace(seed=0)].add(spec.seed)
    fewest = min(map(len, seeds.values()), default=wanted)
    there = set(finished)
    more = [spec.replace(seed=seed) for spec, own in seeds.items() for seed in _more(own, wanted - num_seeds)]
    missing = tuple(spec for spec in more if spec not in there)
    return Shortage(fewest, missing, wanted) if fewest < wanted and missing else None


def _more(seeds: set[int], steps: int) -> Iterable[int]:
    """Return what so many further `--seeds` have beyond them: they count up from each that the grid names."""
    return sorted({seed + step for seed in seeds for step in range(steps + 1)} - seeds)


def lines(short: Shortage, seconds: float | None) -> tuple[str, str]:
    """Return what is said of it, in at most two lines of 80 letters; `seconds` that its trials would take more."""
    time = "" if seconds is None else f", about {duration(max(0.0, seconds))} more here"
    number = f"{len(short.specs):,} {'trial' if len(short.specs) == 1 else 'trials'} more"
    said = f"says little beyond these networks; claims want {short.wanted}:"
    if short.wanted > MIN_SEEDS:
        said = f"too few to explain VGG16's collapse, which wants {short.wanted}:"
    return (f"Seeds     {short.fewest} a setting: {said}", f"          --seeds {short.wanted} ({number}{time})")
