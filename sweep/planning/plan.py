"""What is left to do, and how: which trials form a group, which activations are stored, in which order. Pure functions.

    todo = split_by_status(specs, rows)
    plan = make_plan(todo.pending, structures, sizes, limits, speeds, on_disk)
    plan.groups, plan.prefixes, plan.estimate

A *group* is trained by one worker: heads on the same features in one pass, other trials one after the other with one
compiled step. `sweep.planning.sharing` finds what groups share, `sweep.planning.stored_activations` which
activations to store for
the fewest seconds, `sweep.planning.costs` what a group costs; `sweep.planning.table` prints a plan.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from galaxytl.learning.job import Group
from galaxytl.networks.blocks import Structure
from galaxytl.trial import FAILED, TrialResult, TrialSpec
from galaxytl.trial.stages import readable_cuts, stages_of
from sweep.planning.costs import Cost, Costs, Sizes
from sweep.planning.sharing import Disk, Family, Prefix, Specs, cuts_on_disk, find_families
from sweep.planning.speeds import NOISE, START_SECONDS, Speeds

MIN_HEADS: Final = 8
"""Heads are not parted into smaller groups for idle workers. Measured: 8 to 16 heads in one pass are 2.9 times (25,088
to 50,176 features) to 21 times (1,024) faster a head than one."""


START: Final = {"start": START_SECONDS}


@dataclass(frozen=True)
class TrialsByStatus:
    """The trials of a sweep by what their rows say, each in the sweep's order."""

    pending: Specs
    """To be trained."""
    finished: Specs
    """Have a COMPLETE or PRUNED row."""
    failed: Specs
    """Have a FAILED row, and are not tried again."""


@dataclass(frozen=True)
class Crew:
    """The workers of a sweep."""

    number: int
    """That work at the same time."""
    threads: int
    """CPU threads of each."""


@dataclass(frozen=True)
class Limits:
    """What a plan may use."""

    disk_bytes: int
    """For activations, those that are on disk already included."""
    head_memory_bytes: int
    """For the state of one worker's heads."""
    workers: int
    """For which groups are parted where there are fewer, like GPUs. 0 or 1: none is."""
    crew: Callable[[int], Crew] | None = field(default=None, compare=False)
    """The workers that train so many groups; None: `workers`, as far as there are groups."""

    def __post_init__(self) -> None:
        for name in ("disk_bytes", "head_memory_bytes", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more; got {getattr(self, name)}")


@dataclass(frozen=True)
class Estimate:
    """Of a whole plan."""

    multiply_adds: float
    unshared: float
    """Multiply-adds of every trial on its own, frozen blocks computed again in every epoch."""
    minimal: float
    """Multiply-adds with every needed frozen block computed once for every image: no plan can do with fewer."""
    seconds: float
    """From the start of Ray to its end."""
    spread: float = 1.0
    """What is likely is from `seconds` divided by it to as many times `seconds`."""

    @property
    def low(self) -> float:
        return self.seconds / self.spread

    @property
    def high(self) -> float:
        return self.seconds * self.spread


@dataclass(frozen=True)
class Plan:
    groups: tuple[Group, ...]
    """In the order to start them."""
    costs: tuple[Cost, ...]
    """Of each group, prefixes apart."""
    prefixes: tuple[Prefix, ...]
    """In the order in which the groups need them."""
    estimate: Estimate
    workers: int
    """Groups that are trained at the same time."""
    speeds: Speeds


def split_by_status(
    specs: Sequence[TrialSpec], rows: Mapping[str, TrialResult], retry_failed: bool = False
) -> TrialsByStatus:
    """Sort `specs` by what their rows (by trial_id) say; `retry_failed` makes failed trials pending again."""
    by_id = {spec.trial_id: spec for spec in specs}
    failed = {trial_id for trial_id in by_id if trial_id in rows and rows[trial_id].status == FAILED}
    pending = {trial_id for trial_id in by_id if trial_id not in rows} | (failed if retry_failed else set())
    failed -= pending
    return TrialsByStatus(
        pending=tuple(spec for trial_id, spec in by_id.items() if trial_id in pending),
        finished=tuple(spec for trial_id, spec in by_id.items() if trial_id not in pending | failed),
        failed=tuple(spec for trial_id, spec in by_id.items() if trial_id in failed),
    )


def make_plan(
    pending: Sequence[TrialSpec],
    structures: Mapping[tuple[str, int], Structure],
    sizes: Mapping[tuple[Any, ...], Sizes],
    limits: Limits,
    speeds: Speeds,
    on_disk: Callable[[TrialSpec, int], bool],
) -> Plan:
    """Return groups, prefixes and order for the pending trials.

    structures: by (backbone, image size); sizes: by `TrialSpec.split_key`; on_disk(spec, cut): whether the activations
    of the spec's frozen backbone at that cut are stored already; asked once for each cut of a family. Raises ValueError
    where a structure or a size is missing.
    """
    groups = _groups_that_fit(pending, Costs(structures, sizes, speeds), limits.head_memory_bytes)
    costs = Costs(structures, sizes, _with_threads(speeds, _crew(limits, len(groups), speeds).threads))
    stored = cuts_on_disk(groups, costs, on_disk)
    disk = Disk(limits.disk_bytes, limits.workers)
    families = find_families(groups, costs, stored, disk)
    if limits.workers > 1:
        groups = _split_for_workers(families, costs, limits.workers)
        families = find_families(groups, costs, stored, disk)  # more passes read: the cuts are chosen anew
    crew = _crew(limits, len(groups), speeds)
    families = _in_order(families)
    return Plan(
        groups=tuple(group for family in families for group in family.groups),
        costs=tuple(cost for family in families for cost in family.costs),
        prefixes=tuple(prefix for family in families for prefix in family.prefixes),
        estimate=_estimate(families, costs, crew.number),
        workers=crew.number,
        speeds=costs.speeds,
    )


def _crew(limits: Limits, num_groups: int, speeds: Speeds) -> Crew:
    if limits.crew:
        return limits.crew(max(1, num_groups))
    return Crew(max(1, min(limits.workers, num_groups)), speeds.assumed.threads)


def _with_threads(speeds: Speeds, threads: int) -> Speeds:
    return replace(speeds, assumed=replace(speeds.assumed, threads=threads))


def _groups_that_fit(pending: Sequence[TrialSpec], costs: Costs, head_memory: int) -> list[Specs]:
    """Return trials of one group key, heads in as many groups as their memory asks for.

    Trials with random weights and several seeds share a compiled step, but not their activations: where anything is
    frozen they are of different families, and so in different groups.
    """
    found: dict[Hashable, list[TrialSpec]] = defaultdict(list)
    for spec in pending:
        found[spec.group_key, spec.backbone_key if costs.can_store(spec) else ()].append(spec)
    groups: list[Specs] = []
    for specs in found.values():
        if specs[0].trains_head_only:
            at_once = max(1, head_memory // max(map(costs.head_bytes, specs)))
            groups += _parts(specs, -(-len(specs) // at_once))
        else:
            groups.append(tuple(specs))
    return groups


def _parts(specs: Sequence[TrialSpec], number: int) -> list[Specs]:
    """Return nearly equal parts, the longest first. Heads: long with long ones, for their pass is as long as the
    longest."""
    ordered = sorted(specs, key=lambda spec: -spec.num_epochs)
    if not specs[0].trains_head_only:
        return [tuple(ordered[start::number]) for start in range(number)]
    ends = [-(-len(specs) * part // number) for part in range(number + 1)]
    return [tuple(ordered[start:end]) for start, end in itertools.pairwise(ends)]


def _split_for_workers(families: Sequence[Family], costs: Costs, workers: int) -> list[Specs]:
    """Return all groups, the costliest in parts, so that no worker is idle.

    Parted while there are fewer groups than workers, or while one takes longer than a worker's fair share of all; and
    only where that saves more time than the further parts spend on compiling their networks.
    """
    groups = [group for family in families for group in family.groups]
    number = [1] * len(groups)
    costliest = [(-cost.seconds, i) for i, cost in enumerate(cost for family in families for cost in family.costs)]
    busy = -sum(seconds for seconds, _ in costliest)
    heapq.heapify(costliest)
    while costliest and (sum(number) < workers or -costliest[0][0] > busy / workers):
        seconds, i = heapq.heappop(costliest)
        if more := _next_number(groups[i], number[i]):
            parts = _part_seconds(groups[i], more, costs)
            if -seconds - parts[0] > (more - number[i]) * costs.fixed_seconds(groups[i].specs[0]):
                busy += sum(parts) - sum(_part_seconds(groups[i], number[i], costs))
                number[i] = more
                heapq.heappush(costliest, (-parts[0], i))
    return [part for group, parts in zip(groups, number, strict=True) for part in _parts(group.specs, parts)]


def _next_number(group: Group, number: int) -> int:
    """Return the fewest parts of which the largest is smaller than the largest of `number` parts; 0: there are none."""
    largest = -(-len(group.specs) // number)
    more = -(-len(group.specs) // (largest - 1)) if largest > 1 else 0
    return more if more <= len(group.specs) // (MIN_HEADS if group.specs[0].trains_head_only else 1) else 0


def _part_seconds(group: Group, number: int, costs: Costs) -> list[float]:
    """Return seconds of each of `number` parts of a group, the longest first."""
    cuts = (costs.images(group.specs[0]), *group.stored)
    return [costs.cost(part, *cuts).seconds for part in _parts(group.specs, number)]


def _in_order(families: Iterable[Family]) -> list[Family]:
    """Return the families with the longest group first.

    Starting long groups first leaves no worker alone with one in the end. But families are not torn apart for it: while
    the groups of one follow each other its prefixes are in the page cache and the most recently used on disk, so that
    making room for the next family's removes none that is still needed. The price: where several workers start on one
    family together, one computes the prefix and the others wait for it.
    """
    return sorted(families, key=lambda family: (-_first_seconds(family), -sum(c.seconds for c in family.costs)))


def _first_seconds(family: Family) -> float:
    """Return the seconds of the family's longest group, and of the prefixes that it finds missing."""
    missing = _missing(family.groups[0], family.prefixes)
    return family.costs[0].seconds + sum(prefix.seconds for prefix in missing)


def _estimate(families: Sequence[Family], costs: Costs, workers: int) -> Estimate:
    groups = [group.specs for family in families for group in family.groups]
    seconds = _wall_seconds(families, workers, costs.speeds) if groups else 0.0
    planned = sum(cost.multiply_adds for family in families for cost in family.costs)
    stored = sum(prefix.multiply_adds for family in families for prefix in family.prefixes)
    return Estimate(
        multiply_adds=planned + stored,
        unshared=sum(map(costs.unshared_multiply_adds, groups)),
        minimal=sum(costs.trained_multiply_adds(group) + costs.turned_multiply_adds(group) for group in groups)
        + sum(family.needed_multiply_adds for family in families),
        seconds=seconds,
        spread=_spread(families, workers, costs.speeds),
    )


def _spread(families: Sequence[Family], workers: int, speeds: Speeds) -> float:
    """Return the spread, from the doubt in each part, by its share of the time: that of workers counts as much as they
    are parallel; and from what differs from run to run."""
    busy: list[Cost | Prefix] = [cost for family in families for cost in family.costs]
    busy += [prefix for family in families for prefix in family.prefixes]
    seconds = sum(work.seconds for work in busy) / workers + speeds.seconds(START)
    doubt = sum(work.doubt for work in busy) / workers + speeds.doubt(START)
    return math.exp(math.hypot(doubt / seconds, NOISE))


def _wall_seconds(families: Iterable[Family], workers: int, speeds: Speeds) -> float:
    """Return when the last worker is done, if each takes the next group as soon as it is free.

    The first group that needs a prefix computes it; those that start meanwhile wait for it.
    """
    free = [speeds.seconds(START)] * workers
    for family in families:
        ready: dict[int, float] = {}  # cut -> when it is stored
        for group, cost in zip(family.groups, family.costs, strict=True):
            now = heapq.heappop(free)
            for prefix in _missing(group, family.prefixes):
                ready[prefix.cut] = now = max(now, ready.get(prefix.cut, now + prefix.seconds))
            heapq.heappush(free, now + cost.seconds)
    return max(free)


def _missing(group: Group, prefixes: Iterable[Prefix]) -> list[Prefix]:
    """Return what must be computed before a group can read its last stored cut, or those of its stages: all after the
    last one that is on disk."""
    of_group = {prefix.cut: prefix for prefix in prefixes if prefix.cut in group.stored}
    found: dict[int, Prefix] = {}
    for stage in reversed(stages_of(group.specs[0])):  # the deepest first: in order from the images
        missing: list[Prefix] = []
        for cut in readable_cuts(tuple(of_group), stage.depth):
            missing = [] if of_group[cut].on_disk else [*missing, of_group[cut]]
        found |= {prefix.cut: prefix for prefix in missing}
    return list(found.values())
