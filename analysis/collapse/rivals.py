"""The same question to the rivals of the optimizer: what else could make VGG16 collapse?

    rivals = examine_rivals(results, study.arms)
    rivals.contrasts           # one factor changed at a time from the paper's setting
    rivals.of("ON"), rivals.untried("ON")
    rivals.attribution         # how much of the collapse each factor goes with, over all trials of VGG16

Each contrast changes one factor and holds all else at the paper's assumed setting. It is tested as in
`analysis.collapse.verdict`, by Boschloo's exact test on all seeds of both (neither was chosen), corrected by Holm
over the contrasts. What a contrast says of its rival, the first that holds:

    TOO_FEW    either setting has fewer than MIN_SEEDS trials: it could not be tested
    REMOVES    the paper's setting collapses in at least half of its trials, the changed one in fewer than half, and the
               corrected p-value is at most 0.05: the rival removes the collapse as well
    KEEPS      the paper's setting collapses in at least half of its trials, and the changed one in more than half,
               surely: the exact binomial test that its rate is at most 1/2, as NOT_EXPLAINED has it, gives at most
               0.05. Each rival is ruled out at that level by itself
    UNDECIDED  anything else

The burden lies on the answer: a rival is out only where it KEEPS the collapse. All others are named with it, those too
that were not tried. Trials that differ in what no factor is, such as the version of the code, are no contrast.

A contrast of an optimizer's own settings is no rival: where a warm-up, clipped gradients, a schedule or another batch
size removes the collapse, it comes from these settings all the more. Such a cure is tested in the same way, and said
beside the answer. It is tested at other settings of VGG16 too (`reference`), where trials differ from one in such a
cure alone: a question of its own, with a correction of its own, that no answer hangs on.

Other networks are such a contrast too: they have BatchNorm, which VGG16 has not, but differ in everything
else as well, so that a difference shows that the setting works for some network, not that BatchNorm makes it work.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.collapse.confounding import confounded
from analysis.collapse.settings import (
    BACKBONE,
    CLIPPING_FIELDS,
    DECAY_FIELDS,
    HOW_IT_STEPS,
    PAPER_PREPROCESSING,
    SCHEDULE_FIELDS,
    WARMUP_FIELDS,
    arm_of,
    clipping_text,
    decay_text,
    key_without,
    optimizer_label,
    schedule_text,
    uses_paper_optimizer,
    warmup_text,
)
from analysis.collapse.verdict import LEVEL, CollapseArm
from analysis.statistics.boschloo import boschloo
from analysis.statistics.intervals import Interval, Share, difference, holm
from analysis.statistics.rates import p_not_above
from analysis.statistics.seeds import MIN_SEEDS
from analysis.trials.banner import SUBSTITUTED
from analysis.trials.endings import Ending, ending_of
from analysis.trials.load import in_order, show_value
from galaxytl.trial import SPEC_FIELDS, TrialResult, TrialSpec

PERMUTATIONS: Final = 500
HALF: Final = 0.5
"""The collapse rate from which on a setting counts as one that collapses."""


def training_label(spec: TrialSpec) -> str:
    """Return what is trained, and what it starts from."""
    depth = {0: "frozen", "all": "all trained"}.get(spec.unfrozen_blocks, f"{spec.unfrozen_blocks} blocks trained")
    return f"{spec.weights_label}, {depth}"


def _way(spec: TrialSpec) -> str:
    return "pixels / 255" if spec.preprocessing == PAPER_PREPROCESSING else "the backbone's own"


FACTORS: Final[Mapping[str, Callable[[TrialSpec], str]]] = {
    "optimizer": lambda spec: spec.optimizer,
    "learning rate": lambda spec: f"{spec.learning_rate:g}",
    "optimizer and learning rate": optimizer_label,
    "preprocessing": _way,
    "start": training_label,
    "epochs": lambda spec: str(spec.num_epochs),
    "warm-up": lambda spec: warmup_text(spec) or "none",
    "schedule": lambda spec: schedule_text(spec) or "constant",
    "gradient clipping": lambda spec: clipping_text(spec) or "none",
    "batch size": lambda spec: str(spec.batch_size),
    "seed": lambda spec: str(spec.seed),
}
"""Name -> the level that a trial has. The seed's is what chance gives."""


class Effect(Enum):
    """What a contrast says of its rival: the rules are at the top of this file."""

    REMOVES = "removes it"
    KEEPS = "does not remove it"
    UNDECIDED = "undecided"
    TOO_FEW = "too few seeds"
    CONFOUNDED = "confounded"


@dataclass(frozen=True)
class Contrast:
    """The paper's setting, or another `reference`, against one that differs in one factor."""

    arm: str
    factor: str
    change: str
    """What a sentence calls it: "more epochs (50)"."""
    paper_level: str
    other_level: str
    paper: Share
    other: Share
    p_value: float
    corrected: float = math.nan
    confounders: tuple[str, ...] = ()
    """What else the two differ in: then there is no p-value."""
    is_of_optimizer: bool = False
    """Whether what changes is a setting of the optimizer too, and so no rival to these settings."""
    reference: str = ""
    """What stands in the paper's setting's place; empty where that does."""

    @property
    def reduction(self) -> Interval:
        """Of the collapse rate, the paper's minus the other's."""
        return difference(self.paper, self.other)

    @property
    def effect(self) -> Effect:
        if self.confounders:
            return Effect.CONFOUNDED
        if min(self.paper.total, self.other.total) < MIN_SEEDS:
            return Effect.TOO_FEW
        if self.paper.value >= HALF > self.other.value and self.corrected <= LEVEL:
            return Effect.REMOVES
        if self.paper.value >= HALF and p_not_above(self.other, HALF) <= LEVEL:
            return Effect.KEEPS
        return Effect.UNDECIDED


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

    def of(self, arm: str, *effects: Effect) -> tuple[Contrast, ...]:
        """Return the rivals of an arm, those with one of these effects where any is named."""
        return tuple(c for c in self._at_papers(arm) if not c.is_of_optimizer and (not effects or c.effect in effects))

    def cures(self, arm: str) -> tuple[Contrast, ...]:
        """Return the contrasts of the optimizer's own settings, one at a time, in an arm."""
        return tuple(c for c in self._at_papers(arm) if c.is_of_optimizer)

    def _at_papers(self, arm: str) -> Iterator[Contrast]:
        yield from (c for c in self.contrasts if c.arm == arm and not c.reference)

    def untried_factors(self, arm: str) -> tuple[str, ...]:
        """Return what an answer must know and no trial says anything about; of epochs, more of them."""
        tried = {c.factor for c in self.of(arm) if c.factor != "epochs" or float(c.other_level) > float(c.paper_level)}
        return tuple(factor for factor in MUST_BE_TRIED if factor not in tried)

    def untried(self, arm: str) -> tuple[str, ...]:
        """Return the same as a sentence calls it."""
        return tuple(MUST_BE_TRIED[factor] for factor in self.untried_factors(arm))


def examine_rivals(results: Sequence[TrialResult], arms: Sequence[CollapseArm] = ()) -> Rivals:
    """Return the rivals to the setting that each of `arms` tests; without arms, to the paper's setting that has most
    trials."""
    known = _known(results)
    own = [r for r in known if r.spec.backbone == BACKBONE]
    return Rivals(contrasts(results, arms), tuple(attribute(own)), tuple(_parameters(known)))


def contrasts(results: Sequence[TrialResult], arms: Sequence[CollapseArm] = ()) -> tuple[Contrast, ...]:
    """Return the tests of `examine_rivals` alone: at the paper's setting, then elsewhere, each corrected by itself."""
    known = _known(results)
    at_papers = _contrasts(known, arms)
    return *_corrected(at_papers), *_corrected(_contrasts_elsewhere(known, at_papers))


def _known(results: Sequence[TrialResult]) -> list[TrialResult]:
    return [r for r in in_order(results) if ending_of(r) is not Ending.FAILED]


def _corrected(contrasts: Sequence[Contrast]) -> tuple[Contrast, ...]:
    tested = [contrast for contrast in contrasts if not contrast.confounders]
    p_values = dict(zip(map(id, tested), holm([contrast.p_value for contrast in tested]), strict=True))
    return tuple(replace(c, corrected=p_values.get(id(c), math.nan)) for c in contrasts)


@dataclass(frozen=True)
class Factor:
    """What a contrast changes."""

    name: str
    fields: tuple[str, ...]
    """In which its levels differ."""
    level: Callable[[TrialSpec], str]
    change: Callable[[TrialSpec, TrialSpec], str]
    """What a sentence calls the change from the first spec to the second."""
    is_of_optimizer: bool = False


def _depth(spec: TrialSpec) -> str:
    return {0: "a frozen backbone", "all": "all blocks trained"}.get(spec.unfrozen_blocks) or (
        f"{spec.unfrozen_blocks} blocks trained"
    )


def _epochs(first: TrialSpec, second: TrialSpec) -> str:
    return f"training for {second.num_epochs} epochs in place of {first.num_epochs}"


def _preprocessing(spec: TrialSpec) -> str:
    return "pixels / 255" if spec.preprocessing == PAPER_PREPROCESSING else "the backbone's own preprocessing"


def _start(spec: TrialSpec) -> str:
    return "ImageNet" if spec.weights == "imagenet" else spec.weights


def _network(spec: TrialSpec) -> str:
    return f"{spec.backbone}, {SUBSTITUTED}" if spec.is_substituted else spec.backbone


def _split(spec: TrialSpec) -> str:
    return "the dataset's own" if spec.official_split else "the sweep's"


def _plain(name: str, *fields: str, is_of_optimizer: bool = False) -> Factor:
    def level(spec: TrialSpec) -> str:
        return ", ".join(show_value(getattr(spec, field)) for field in fields)

    return Factor(name, fields, level, lambda _, second: f"{name} {level(second)}", is_of_optimizer)


def _cure(name: str, fields: tuple[str, ...], text: Callable[[TrialSpec], str], without: str, article: str) -> Factor:
    """Return a setting of the optimizer; `without` is its level where `text` is empty."""

    def change(_: TrialSpec, second: TrialSpec) -> str:
        return f"{article}{text(second)}" if text(second) else f"{name} {without}"

    return Factor(name, fields, lambda spec: text(spec) or without, change, is_of_optimizer=True)


NETWORK: Final = Factor(
    "network", ("backbone", "weights", "weights_fingerprint"), _network, lambda _, s: f"the network {_network(s)}"
)
ONE_AT_A_TIME: Final = (
    Factor("preprocessing", ("preprocessing",), FACTORS["preprocessing"], lambda _, s: _preprocessing(s)),
    Factor("epochs", ("num_epochs",), FACTORS["epochs"], _epochs),
    Factor(
        "start",
        ("weights", "weights_requested", "weights_fingerprint"),
        _start,
        lambda _, s: f"a start from {_start(s)} weights",
    ),
    Factor("trained blocks", ("unfrozen_blocks", "unfrozen_batchnorm"), _depth, lambda _, s: _depth(s)),
    NETWORK,
    _cure("warm-up", WARMUP_FIELDS, warmup_text, "none", "a "),
    _cure("schedule", SCHEDULE_FIELDS, schedule_text, "constant", "a "),
    _cure("rates by block", DECAY_FIELDS, decay_text, "equal", ""),
    _cure("gradient clipping", CLIPPING_FIELDS, clipping_text, "none", ""),
    _plain("batch size", "batch_size", is_of_optimizer=True),
    _plain("image size", "image_size"),
    _plain("images", "max_images"),
    _plain("augmentation", "augmentation"),
    *(_plain(name, name) for name in ("shift", "zoom", "brightness", "mixup", "cutmix", "views")),
    _plain("label smoothing", "label_smoothing"),
    _plain("focal loss", "focal_gamma"),
    _plain("stages of unfreezing", "unfreeze_stages"),
    _plain("averaged weights", "ema_momentum", "average_epochs"),
    _plain("early stopping", "early_stopping", "scored_epoch"),
    _plain("class weights", "class_weighting"),
    _plain("hidden layer", "head_units", "head_dropout"),
    _plain("precision", "precision"),
    _plain("test part", "test_fraction"),
    _plain("validation part", "validation_fraction"),
    _plain("stratified", "stratified"),
    Factor(
        "groups by sky",
        ("group_by_sky", "groups_fingerprint"),
        lambda spec: show_value(spec.group_by_sky),
        lambda _, second: f"groups by sky {show_value(second.group_by_sky)}",
    ),
    Factor(
        "groups by a column",
        ("group_by", "groups_fingerprint"),
        lambda spec: spec.group_by or "none",
        lambda _, second: f"groups by {second.group_by}" if second.group_by else "no groups by a column",
    ),
    Factor("split", ("official_split",), _split, lambda _, second: f"{_split(second)} split"),
)
"""The seeds, of weights, batches and split, are chance's, and no factor."""
MUST_BE_TRIED: Final = {
    "preprocessing": "the backbone's own preprocessing",
    "epochs": "training for more epochs",
    "start": "another start",
    "network": "another network",
}
"""Factor -> what is not tried where it is not."""


def _contrasts(results: Sequence[TrialResult], arms: Sequence[CollapseArm]) -> list[Contrast]:
    """Contrast each arm's setting with all that differ from it in one factor."""
    bases = sorted(bases_of(results, arms).items(), reverse=True)
    return [contrast for arm, base in bases for contrast in _contrasts_of(arm, base, results)]


def _contrasts_elsewhere(results: Sequence[TrialResult], contrasts: Sequence[Contrast]) -> list[Contrast]:
    """Contrast settings of VGG16 with their cures, warm-up to clipping, where `contrasts` has not done so."""
    own = [r for r in results if r.spec.backbone == BACKBONE]
    cured = [r for r in own if not _steps_alike(r.spec)]
    wanted = {key_without(r.spec, HOW_IT_STEPS) for r in cured}
    references: dict[tuple[Any, ...], list[TrialResult]] = defaultdict(list)
    for r in own:
        if _steps_alike(r.spec) and key_without(r.spec, HOW_IT_STEPS) in wanted:
            references[key_without(r.spec)].append(r)
    cures = [factor for factor in ONE_AT_A_TIME if set(factor.fields) <= set(HOW_IT_STEPS)]
    arms = {c.arm for c in contrasts}
    found = []
    for base in references.values():
        spec = base[0].spec
        if not (_is_paper_setting(spec) and arm_of(spec) in arms):
            at = f"{optimizer_label(spec)}, {_way(spec)}"
            found += [replace(c, reference=at) for c in _contrasts_of(training_label(spec), base, cured, cures)]
    return sorted(found, key=lambda c: (c.arm, c.reference, c.factor, c.other_level))


def _steps_alike(spec: TrialSpec) -> bool:
    """Return whether the optimizer has one rate throughout, in all blocks, and clips nothing."""
    return all(getattr(spec, name) == SPEC_FIELDS[name].default for name in HOW_IT_STEPS)


def bases_of(results: Iterable[TrialResult], arms: Sequence[CollapseArm] = ()) -> dict[str, list[TrialResult]]:
    """Return arm -> the trials of the paper's setting that others are compared with."""
    found: dict[str, list[TrialResult]] = defaultdict(list)
    for r in results:
        if r.spec.backbone == BACKBONE and _is_paper_setting(r.spec) and (arm := arm_of(r.spec)):
            found[arm].append(r)
    wanted = {arm.name: key_without(arm.paper.spec) for arm in arms if arm.paper}
    return {
        arm: [r for r in own if key_without(r.spec) == wanted[arm]] if arm in wanted else _most(own)
        for arm, own in found.items()
    }


def _is_paper_setting(spec: TrialSpec) -> bool:
    return uses_paper_optimizer(spec) and spec.preprocessing == PAPER_PREPROCESSING


def _contrasts_of(
    arm: str, base: Sequence[TrialResult], results: Sequence[TrialResult], factors: Sequence[Factor] = ONE_AT_A_TIME
) -> list[Contrast]:
    found = []
    for factor in factors:
        others: dict[str, list[TrialResult]] = defaultdict(list)
        for result in _differing_in(factor, base[0].spec, results):
            if factor.name != "network" or result.spec.backbone != BACKBONE:
                others[factor.level(result.spec)].append(result)
        own = factor.level(base[0].spec)
        found += [_contrast(arm, factor, base, _most(group)) for level, group in others.items() if level != own]
    return sorted(found, key=lambda contrast: (contrast.factor, contrast.other_level))


def _differing_in(factor: Factor, spec: TrialSpec, results: Iterable[TrialResult]) -> list[TrialResult]:
    """Return those that differ from `spec` in one factor and the seed at most."""
    wanted = key_without(spec, factor.fields)
    return [r for r in results if key_without(r.spec, factor.fields) == wanted]


def _most(results: Iterable[TrialResult]) -> list[TrialResult]:
    """Return those that differ in their seed alone, as many as possible; of groups of equal size not by the rows'
    order."""
    found: dict[tuple[Any, ...], list[TrialResult]] = defaultdict(list)
    for result in results:
        found[key_without(result.spec)].append(result)
    keys = sorted(found, key=lambda key: (-len(found[key]), repr(key)))
    return found[keys[0]] if keys else []


def _contrast(arm: str, factor: Factor, base: Sequence[TrialResult], group: Sequence[TrialResult]) -> Contrast:
    first, second = share_of(base), share_of(group)
    others = confounded(base, group, factor.fields)
    p_value = math.nan if others else boschloo(first.right, first.total, second.right, second.total)
    own, other = base[0].spec, group[0].spec
    names = (arm, factor.name, factor.change(own, other), factor.level(own), factor.level(other))
    return Contrast(*names, first, second, p_value, confounders=others, is_of_optimizer=factor.is_of_optimizer)


def share_of(results: Sequence[TrialResult]) -> Share:
    """Return how many of these trials collapsed."""
    return Share(sum(ending_of(r).is_collapse for r in results), len(results))


def attribute(results: Sequence[TrialResult]) -> list[Attribution]:
    """Return what collapse goes with among these trials, the factor that explains most first; factors that do not vary
    are left out. Nothing where all trials collapsed, or none."""
    collapsed = np.array([ending_of(r).is_collapse for r in results], bool)
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
    """Return 1 - H(outcome | level) / H(outcome), of levels (N,) numbered from 0 and outcomes (N,) that are not all
    equal."""
    counts = np.zeros((codes.max() + 1, 2))
    np.add.at(counts, (codes, outcome.astype(int)), 1)
    conditional = sum(_entropy(row) * row.sum() for row in counts if row.sum()) / counts.sum()
    return max(0.0, 1 - float(conditional) / _entropy(counts.sum(axis=0)))


def _entropy(counts: NDArray[np.float64]) -> float:
    """Return the entropy in bits."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def _parameters(results: Sequence[TrialResult]) -> list[ParameterCount]:
    """Count the weights of frozen networks with the paper's setting, which differ in nothing but the network and the
    seed."""
    frozen = [r for r in results if r.spec.trains_head_only and r.spec.weights_requested == "imagenet"]
    base = _most(r for r in frozen if _is_paper_setting(r.spec) and r.spec.backbone == BACKBONE)
    groups: dict[str, list[TrialResult]] = defaultdict(list)
    for r in _differing_in(NETWORK, base[0].spec, frozen) if base else ():
        groups[_network(r.spec)].append(r)
    found = []
    for label, group in groups.items():
        counts = {r.num_parameters["trainable"] for r in group if "trainable" in r.num_parameters}
        if len(counts) == 1:
            found.append(ParameterCount(group[0].spec.backbone, label, counts.pop(), share_of(_most(group))))
    return sorted(found, key=lambda one: one.trainable)
