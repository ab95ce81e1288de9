"""Whether two things remove VGG16's collapse together that neither removes alone, or the one only without the other.

    found = examine_interactions(results, study.arms)
    found[0].value, found[0].corrected           # the reduction hangs on the second by so much, and its p-value

Pairs are made of the optimizer's settings and of the factors of `analysis.collapse.rivals`; all else is at the
paper's setting,
or, for a pair of the optimizer and a factor, with one further factor changed. A pair has four cells: neither changed,
the one, the other, both. Its interaction is the reduction of the collapse rate by the first without the second, minus
that with it, tested exactly (`analysis.statistics.interaction`); p-values are corrected by Holm over all of an arm.
One is shown where the corrected p-value is at most 0.05, and may be where the uncorrected one is.

The optimizer counts as each of its other settings (name, learning rate, momentum, weight decay), and as all of them
taken together, as far as both cells have them with the same seeds. Settings taken together have unlike rates, and so
counts that scatter less than the test takes them to (Hoeffding 1956, Annals of Mathematical Statistics 27, 713): it
errs less often. No setting is chosen for the test, so that all seeds of all count. Warm-up, schedule, clipping and
batch size are factors here, so that it is asked whether they work together, or with one learning rate only.

A cell with fewer than MIN_SEEDS trials, or one that differs in the code's version or the like, makes no pair.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from analysis.collapse.confounding import confounded
from analysis.collapse.rivals import HALF, NETWORK, ONE_AT_A_TIME, Factor, bases_of, share_of, training_label
from analysis.collapse.settings import (
    BACKBONE,
    HOW_IT_STEPS,
    OPTIMIZER_FIELDS,
    PAPER_PREPROCESSING,
    arm_of,
    key_without,
    optimizer_label,
    uses_paper_optimizer,
)
from analysis.collapse.verdict import LEVEL, CollapseArm
from analysis.statistics.interaction import Cells, interaction
from analysis.statistics.intervals import holm
from analysis.statistics.seeds import MIN_SEEDS
from analysis.trials.endings import Ending, ending_of
from galaxytl.trial import TrialResult, TrialSpec

OTHERS: Final = "other optimizer settings"
FACTORS: Final = tuple(factor for factor in ONE_AT_A_TIME if factor is not NETWORK)


@dataclass(frozen=True)
class Interaction:
    """Of two changes of the paper's setting in one arm."""

    arm: str
    first: str
    second: str
    """What a sentence calls the changes."""
    held: str
    """The same of a third change, which all four cells have; empty at the paper's setting."""
    cells: Cells
    p_value: float
    corrected: float = math.nan
    is_of_optimizer: bool = False
    """Whether all that changes are settings of the optimizer."""

    @property
    def is_shown(self) -> bool:
        return self.corrected <= LEVEL

    @property
    def may_be(self) -> bool:
        """Whether it would be shown, had nothing else been tested."""
        return self.p_value <= LEVEL

    @property
    def is_joint(self) -> bool:
        """Whether both changes together remove a collapse that neither of them removes alone."""
        neither, first, second, both = (share.value for share in self.cells.shares)
        return min(neither, first, second) >= HALF > both

    @property
    def is_undone(self) -> bool:
        """Whether the first removes the collapse without the second, and not with it."""
        neither, first, second, both = (share.value for share in self.cells.shares)
        return min(neither, second, both) >= HALF > first

    @property
    def sentence(self) -> str:
        """With all four counts."""
        at = f"with {self.held}" if self.held else "at the paper's setting"
        neither, first, second, both = map(str, self.cells.shares)
        return f"{at} {neither} collapse, {first} with {self.first}, {second} with {self.second}, {both} with both"


def examine_interactions(results: Sequence[TrialResult], arms: Sequence[CollapseArm] = ()) -> tuple[Interaction, ...]:
    """Return every pair that can be tested, with its corrected p-value; arms in the order ON, OFF, then other starts,
    of which it is asked what the optimizer's settings do together."""
    known = [r for r in results if r.spec.backbone == BACKBONE and ending_of(r) is not Ending.FAILED]
    bases = sorted(bases_of(known, arms).items(), reverse=True)
    families = [list(_of_arm(_Place.of(name, base[0].spec, known))) for name, base in bases if base]
    families += [list(_of_start(_Place.of(training_label(spec), spec, known))) for spec in _other_starts(known)]
    return tuple(
        replace(one, corrected=p)
        for own in families
        for one, p in zip(own, holm([i.p_value for i in own]), strict=True)
    )


def _other_starts(results: Sequence[TrialResult]) -> list[TrialSpec]:
    """Return the paper's setting at each start that is no arm, as that of a frozen network with random weights."""
    specs = [r.spec for r in results if uses_paper_optimizer(r.spec) and r.spec.preprocessing == PAPER_PREPROCESSING]
    found = {key_without(spec): spec for spec in specs if arm_of(spec) is None}
    return [found[key] for key in sorted(found, key=repr)]


@dataclass(frozen=True)
class _Place:
    """An arm, the paper's setting in it, and which fields each trial has otherwise, but for the seed."""

    arm: str
    spec: TrialSpec
    trials: tuple[tuple[frozenset[str], TrialResult], ...]

    @classmethod
    def of(cls, arm: str, spec: TrialSpec, results: Iterable[TrialResult]) -> _Place:
        own = spec.fields()
        trials = [
            (frozenset(name for name, value in r.spec.fields().items() if value != own[name] and name != "seed"), r)
            for r in results
        ]
        return cls(arm, spec, tuple(trials))


@dataclass(frozen=True)
class _Change:
    """One of the ways to change the paper's setting: `fields` may differ, and `applies` where they do."""

    name: str
    fields: tuple[str, ...]
    applies: Callable[[TrialResult], bool]
    is_of_optimizer: bool = True


def _of_arm(place: _Place) -> Iterator[Interaction]:
    factors = [change for factor in FACTORS for change in _changes(place, factor)]
    optimizers = tuple(_optimizers(place))
    for optimizer, factor in itertools.product(optimizers, factors):
        yield from _pair(place, optimizer, factor)
    for first, second in itertools.combinations(factors, 2):
        if not set(first.fields) & set(second.fields):
            yield from _pair(place, first, second)
            for optimizer in optimizers:
                yield from _pair(place, optimizer, first, second)


def _of_start(place: _Place) -> Iterator[Interaction]:
    """Give the pairs of the optimizer and its cures, warm-up to clipping, and of two cures."""
    cures = [
        change for factor in FACTORS if set(factor.fields) <= set(HOW_IT_STEPS) for change in _changes(place, factor)
    ]
    pairs = itertools.chain(itertools.product(_optimizers(place), cures), itertools.combinations(cures, 2))
    for first, second in pairs:
        if not set(first.fields) & set(second.fields):
            yield from _pair(place, first, second)


def _changes(place: _Place, factor: Factor) -> Iterator[_Change]:
    """Return one for each other level of the factor."""
    levels = {_values(r.spec, factor.fields): r.spec for _, r in place.trials}
    for values, spec in sorted(levels.items(), key=lambda item: repr(item[0])):
        if factor.level(spec) != factor.level(place.spec):
            is_of_optimizer = factor.is_of_optimizer
            yield _Change(factor.change(place.spec, spec), factor.fields, _has(factor.fields, values), is_of_optimizer)


def _values(spec: TrialSpec, fields: Sequence[str]) -> tuple[object, ...]:
    return tuple(getattr(spec, field) for field in fields)


def _has(fields: Sequence[str], values: tuple[object, ...]) -> Callable[[TrialResult], bool]:
    return lambda result: _values(result.spec, fields) == values


def _optimizers(place: _Place) -> Iterator[_Change]:
    """Return all other settings, and each of them."""
    papers = _values(place.spec, OPTIMIZER_FIELDS)
    specs = {own: r.spec for _, r in place.trials if (own := _values(r.spec, OPTIMIZER_FIELDS)) != papers}
    if len(specs) > 1:
        yield _Change(OTHERS, OPTIMIZER_FIELDS, lambda result: _values(result.spec, OPTIMIZER_FIELDS) != papers)
    for values, spec in sorted(specs.items(), key=lambda item: optimizer_label(item[1])):
        yield _Change(optimizer_label(spec), OPTIMIZER_FIELDS, _has(OPTIMIZER_FIELDS, values))


def _pair(place: _Place, first: _Change, second: _Change, *held: _Change) -> Iterator[Interaction]:
    """Return the interaction, where all four cells have trials enough and nothing else tells them apart."""
    groups = [_cell(place, (*own, *held)) for own in ((), (first,), (second,), (first, second))]
    if first.name == OTHERS:
        groups[1], groups[3] = _in_common(groups[1], groups[3])
    varied = (*first.fields, *second.fields)
    if min(map(len, groups)) < MIN_SEEDS or any(confounded(a, b, varied) for a, b in itertools.combinations(groups, 2)):
        return
    cells = Cells(*(share_of(group) for group in groups))
    names = (place.arm, first.name, second.name, held[0].name if held else "")
    of_optimizer = all(change.is_of_optimizer for change in (first, second, *held))
    yield Interaction(*names, cells, interaction(cells), is_of_optimizer=of_optimizer)


def _cell(place: _Place, changes: Sequence[_Change]) -> list[TrialResult]:
    """Return the trials that differ from the paper's setting in exactly these changes, and the seed."""
    fields = {field for change in changes for field in change.fields}
    return [r for other, r in place.trials if other <= fields and all(change.applies(r) for change in changes)]


def _in_common(first: Sequence[TrialResult], second: Sequence[TrialResult]) -> tuple[list[TrialResult], ...]:
    """Return, of both, the trials whose optimizer setting and seed the other has too: unlike mixtures say nothing."""
    fields = (*OPTIMIZER_FIELDS, "seed")
    shared = {_values(r.spec, fields) for r in first} & {_values(r.spec, fields) for r in second}
    return tuple([r for r in group if _values(r.spec, fields) in shared] for group in (first, second))
