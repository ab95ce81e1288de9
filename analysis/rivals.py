"""The same question to the rivals of the optimizer: what else could make VGG16 collapse?

    rivals = examine_rivals(results)
    rivals.contrasts           # one factor changed at a time from the paper's setting
    rivals.attribution         # how much of the collapse each factor goes with, over all trials of VGG16

Each contrast changes one factor and holds all else at the paper's assumed setting. It is tested as in
`analysis.collapse`, by Boschloo's exact test on all seeds of both (neither was chosen), corrected by Holm over the
contrasts. Other networks are such a contrast too: they have BatchNorm, which VGG16 has not, but differ in everything
else as well, so that a difference shows that the setting works for some network, not that BatchNorm makes it work.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.banner import SUBSTITUTED
from analysis.collapse import (
    BACKBONE,
    PAPER_PREPROCESSING,
    arm_of,
    has_papers_optimizer,
    key_without,
    optimizer_label,
)
from analysis.failure import Kind, kind_of
from analysis.gather import in_order
from analysis.statistics.boschloo import boschloo
from analysis.statistics.intervals import Interval, Share, difference, holm
from galaxytl.trial import TrialResult, TrialSpec

PERMUTATIONS: Final = 500


def start_label(spec: TrialSpec) -> str:
    """What is trained, and what it starts from."""
    depth = {0: "frozen", "all": "all trained"}.get(spec.unfrozen_blocks, f"{spec.unfrozen_blocks} blocks trained")
    return f"{spec.weights_label}, {depth}"


FACTORS: Final[Mapping[str, Callable[[TrialSpec], str]]] = {
    "optimizer": lambda spec: spec.optimizer,
    "learning rate": lambda spec: f"{spec.learning_rate:g}",
    "optimizer and learning rate": optimizer_label,
    "preprocessing": lambda spec: "pixels / 255" if spec.preprocessing == PAPER_PREPROCESSING else "the backbone's own",
    "start": start_label,
    "epochs": lambda spec: str(spec.num_epochs),
    "seed": lambda spec: str(spec.seed),
}
"""Name -> the level that a trial has. The seed's is what chance gives."""


@dataclass(frozen=True)
class Contrast:
    """The paper's setting against one that differs in one factor."""

    arm: str
    factor: str
    paper_level: str
    other_level: str
    paper: Share
    other: Share
    p_value: float
    corrected: float = math.nan

    @property
    def reduction(self) -> Interval:
        """Of the collapse rate, the paper's minus the other's."""
        return difference(self.paper, self.other)


@dataclass(frozen=True)
class Level:
    factor: str
    level: str
    collapsed: Share


@dataclass(frozen=True)
class Attribution:
    """Theil's uncertainty coefficient (1970, American Journal of Sociology 76, 103) of collapse given a factor: the
    share of the entropy of "collapsed or not" that knowing the factor's level removes, 0 to 1. Factors with many levels
    remove some by chance: `by_chance` is the mean over random permutations of the levels among the trials. Shares of
    several factors do not add up: grids that are thinned out tie factors together."""

    factor: str
    levels: tuple[Level, ...]
    explained: float
    by_chance: float


@dataclass(frozen=True)
class ParameterCount:
    """The paper's own explanation: weights that are trained with a frozen backbone, and what became of the trials."""

    backbone: str
    label: str
    """With a word where random weights stand in for ImageNet's."""
    trainable: int
    collapsed: Share


@dataclass(frozen=True)
class Rivals:
    contrasts: tuple[Contrast, ...]
    attribution: tuple[Attribution, ...]
    parameters: tuple[ParameterCount, ...]
    """By number of weights, the fewest first."""


def examine_rivals(results: Sequence[TrialResult]) -> Rivals:
    known = [r for r in in_order(results) if kind_of(r) is not Kind.FAILED]
    contrasts = _contrasts(known)
    corrected = holm([contrast.p_value for contrast in contrasts])
    with_holm = tuple(replace(c, corrected=p) for c, p in zip(contrasts, corrected, strict=True))
    own = [r for r in known if r.spec.backbone == BACKBONE]
    return Rivals(with_holm, tuple(attribute(own)), tuple(_parameters(known)))


ONE_AT_A_TIME: Final[Mapping[str, tuple[str, ...]]] = {
    "preprocessing": ("preprocessing",),
    "epochs": ("num_epochs",),
    "start": ("weights", "weights_requested", "weights_fingerprint"),
    "network": ("backbone", "weights", "weights_fingerprint"),
}
"""Factor -> the fields in which its levels differ."""
LEVEL_OF: Final[Mapping[str, Callable[[TrialSpec], str]]] = {
    "preprocessing": FACTORS["preprocessing"],
    "epochs": FACTORS["epochs"],
    "start": lambda spec: "ImageNet" if spec.weights == "imagenet" else "random",
    "network": lambda spec: f"{spec.backbone}, {SUBSTITUTED}" if spec.is_substituted else spec.backbone,
}


def _contrasts(results: Sequence[TrialResult]) -> list[Contrast]:
    """Of the paper's setting in each arm, with as many seeds as there are, against all that differ in one factor."""
    bases: dict[str, list[TrialResult]] = defaultdict(list)
    for r in results:
        if r.spec.backbone == BACKBONE and _is_papers(r.spec) and (arm := arm_of(r.spec)):
            bases[arm].append(r)
    return [
        contrast for arm in sorted(bases, reverse=True) for contrast in _contrasts_of(arm, _most(bases[arm]), results)
    ]


def _is_papers(spec: TrialSpec) -> bool:
    return has_papers_optimizer(spec) and spec.preprocessing == PAPER_PREPROCESSING


def _contrasts_of(arm: str, base: Sequence[TrialResult], results: Sequence[TrialResult]) -> list[Contrast]:
    found = []
    for factor in ONE_AT_A_TIME:
        others: dict[str, list[TrialResult]] = defaultdict(list)
        for result in _differing_in(factor, base[0].spec, results):
            if factor != "network" or result.spec.backbone != BACKBONE:
                others[LEVEL_OF[factor](result.spec)].append(result)
        own = LEVEL_OF[factor](base[0].spec)
        found += [_contrast(arm, factor, base, _most(group)) for level, group in others.items() if level != own]
    return sorted(found, key=lambda contrast: (contrast.factor, contrast.other_level))


def _differing_in(factor: str, spec: TrialSpec, results: Iterable[TrialResult]) -> list[TrialResult]:
    """Those that differ from `spec` in one factor and the seed at most."""
    fields = ONE_AT_A_TIME[factor]
    return [r for r in results if key_without(r.spec, fields) == key_without(spec, fields)]


def _most(results: Iterable[TrialResult]) -> list[TrialResult]:
    """Those that differ in their seed alone, as many as possible."""
    found: dict[tuple[Any, ...], list[TrialResult]] = defaultdict(list)
    for result in results:
        found[key_without(result.spec)].append(result)
    return max(found.values(), key=len, default=[])


def _contrast(arm: str, factor: str, base: Sequence[TrialResult], group: Sequence[TrialResult]) -> Contrast:
    level = LEVEL_OF[factor]
    first, second = share_of(base), share_of(group)
    p_value = boschloo(first.right, first.total, second.right, second.total)
    return Contrast(arm, factor, level(base[0].spec), level(group[0].spec), first, second, p_value)


def share_of(results: Sequence[TrialResult]) -> Share:
    """How many of these trials collapsed."""
    return Share(sum(kind_of(r).is_collapse for r in results), len(results))


def attribute(results: Sequence[TrialResult]) -> list[Attribution]:
    """What collapse goes with among these trials, the factor that explains most first; factors that do not vary are
    left out. Nothing where all trials collapsed, or none."""
    collapsed = np.array([kind_of(r).is_collapse for r in results], bool)
    if not len(collapsed) or collapsed.all() or not collapsed.any():
        return []
    found = []
    for factor, level in FACTORS.items():
        names = [level(r.spec) for r in results]
        if len(set(names)) > 1:
            found.append(_attribution(factor, names, collapsed))
    return sorted(found, key=lambda one: one.by_chance - one.explained)


def _attribution(factor: str, names: Sequence[str], collapsed: NDArray[np.bool_]) -> Attribution:
    levels, codes = np.unique(np.array(names), return_inverse=True)
    random = np.random.default_rng(0)
    by_chance = [uncertainty_coefficient(random.permutation(codes), collapsed) for _ in range(PERMUTATIONS)]
    shares = [
        Level(factor, str(name), Share(int(collapsed[codes == i].sum()), int((codes == i).sum())))
        for i, name in enumerate(levels)
    ]
    shares.sort(key=lambda one: _as_number(one.level))
    return Attribution(factor, tuple(shares), uncertainty_coefficient(codes, collapsed), float(np.mean(by_chance)))


def _as_number(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return math.inf, text


def uncertainty_coefficient(codes: NDArray[np.integer], outcome: NDArray[np.bool_]) -> float:
    """1 - H(outcome | level) / H(outcome), of levels (N,) numbered from 0 and outcomes (N,) that are not all equal."""
    counts = np.zeros((codes.max() + 1, 2))
    np.add.at(counts, (codes, outcome.astype(int)), 1)
    conditional = sum(_entropy(row) * row.sum() for row in counts if row.sum()) / counts.sum()
    return max(0.0, 1 - float(conditional) / _entropy(counts.sum(axis=0)))


def _entropy(counts: NDArray[np.float64]) -> float:
    """In bits."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def _parameters(results: Sequence[TrialResult]) -> list[ParameterCount]:
    """Of frozen networks with the paper's setting, which differ in nothing but the network and the seed."""
    frozen = [r for r in results if r.spec.unfrozen_blocks == 0 and r.spec.weights_requested == "imagenet"]
    base = _most(r for r in frozen if _is_papers(r.spec) and r.spec.backbone == BACKBONE)
    groups: dict[str, list[TrialResult]] = defaultdict(list)
    for r in _differing_in("network", base[0].spec, frozen) if base else ():
        groups[LEVEL_OF["network"](r.spec)].append(r)
    found = []
    for label, group in groups.items():
        counts = {r.num_parameters["trainable"] for r in group if "trainable" in r.num_parameters}
        if len(counts) == 1:
            found.append(ParameterCount(group[0].spec.backbone, label, counts.pop(), share_of(_most(group))))
    return sorted(found, key=lambda one: one.trainable)
