"""The parts of a grid that drivers train beside each other, each with nothing to tell the others. A pure function.

    parts = cut(specs, 16, structures, sizes)
    parts[2].specs, parts[2].seconds          # of --shard 3/16
    parts_lines(parts, 3, with_all=True)      # for people

The cut depends on the grid alone: on no row, no machine, and nothing that was measured. So drivers that start hours
apart, on other nodes, cut alike; and where another number of them goes on, no trial is in none of the parts.

Groups are those of a plan for so many workers. Of those that read the same stored activations, as many as can be are in
one part: in each further one the activations are computed again. What is longest is placed first, each where the part
that it makes is then the shortest.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from galaxytl.networks.blocks import Structure
from galaxytl.trial import TrialSpec
from sweep.planning.costs import Sizes
from sweep.planning.plan import Limits, Plan, make_plan
from sweep.planning.sharing import Specs
from sweep.planning.speeds import assumed_speeds

WORTH_STORING: Final = 1.25
"""A part with stored activations may be so many times as long as it takes to compute them: shorter ones would all spend
most of their time on that."""
MOST_LINES: Final = 20
"""Parts that are listed one by one."""
DISK_BYTES: Final = 50 * 10**9
"""For the stored activations of one part."""
HEAD_BYTES: Final = 4 * 10**9
"""Of heads in one pass."""


@dataclass(frozen=True)
class Part:
    specs: Specs
    """In the grid's order; none where there are more parts than groups."""
    seconds: float
    """Of one data-centre GPU, as assumed: to compare parts with each other."""


@dataclass(frozen=True)
class _Unit:
    """Groups that stay together."""

    family: int
    trial_ids: tuple[str, ...]
    seconds: float
    """Activations apart."""
    storing: float
    """Seconds for the activations of its family."""


def cut(
    specs: Sequence[TrialSpec],
    number: int,
    structures: Mapping[tuple[str, int], Structure],
    sizes: Mapping[tuple[Any, ...], Sizes],
) -> tuple[Part, ...]:
    """Return `number` parts that have each trial of a grid once. structures, sizes: as of `make_plan`."""
    limits = Limits(DISK_BYTES * number, HEAD_BYTES, number)
    speeds = assumed_speeds(num_threads=1, on_gpu=True)
    plan = make_plan(specs, structures, sizes, limits, speeds, on_disk=lambda spec, at: False)
    placed = _place(_units(plan, number), number)
    part_of = {trial_id: part for part, (trial_ids, _) in enumerate(placed) for trial_id in trial_ids}
    parts = [list[TrialSpec]() for _ in range(number)]
    for spec in {spec.trial_id: spec for spec in specs}.values():
        parts[part_of[spec.trial_id]].append(spec)
    return tuple(Part(tuple(own), seconds) for own, (_, seconds) in zip(parts, placed, strict=True))


def _units(plan: Plan, number: int) -> list[_Unit]:
    """Return the plan's groups, those of one family in no more units than `number` parts of equal length ask for."""
    storing: dict[Hashable, float] = defaultdict(float)
    for prefix in plan.prefixes:
        storing[prefix.spec.backbone_key] += prefix.seconds
    families: dict[Hashable, list[int]] = defaultdict(list)
    for i, group in enumerate(plan.groups):
        families[group.specs[0].backbone_key if group.stored else i].append(i)
    fair = (sum(cost.seconds for cost in plan.costs) + sum(storing.values())) / number
    units = []
    for family, (key, members) in enumerate(families.items()):
        costs = {i: plan.costs[i].seconds for i in members}
        together = _num_units(list(costs.values()), storing.get(key, 0.0), fair)
        for own in _longest_first(costs, together):
            trial_ids = tuple(spec.trial_id for i in own for spec in plan.groups[i].specs)
            units.append(_Unit(family, trial_ids, sum(costs[i] for i in own), storing.get(key, 0.0)))
    return units


def _num_units(seconds: Sequence[float], storing: float, fair: float) -> int:
    """Return in how many units a family is, none of which is much longer than a fair share, where that can be."""
    room = max(fair, WORTH_STORING * storing) - storing
    return max(1, min(len(seconds), math.ceil(sum(seconds) / room))) if room > 0 else 1


def _longest_first(seconds: Mapping[int, float], number: int) -> list[list[int]]:
    """Return what has these seconds in `number` lists of about equal length."""
    lists, lengths = [list[int]() for _ in range(number)], [0.0] * number
    for i in sorted(seconds, key=lambda i: (-seconds[i], i)):
        shortest = lengths.index(min(lengths))
        lists[shortest].append(i)
        lengths[shortest] += seconds[i]
    return [one for one in lists if one]


def _place(units: Sequence[_Unit], number: int) -> list[tuple[set[str], float]]:
    """Return of each part its trials' ids and its seconds."""
    trial_ids, seconds = [set[str]() for _ in range(number)], [0.0] * number
    families = [set[int]() for _ in range(number)]

    def length_with(unit: _Unit, part: int) -> float:
        return seconds[part] + unit.seconds + (0.0 if unit.family in families[part] else unit.storing)

    for unit in sorted(units, key=lambda unit: -(unit.seconds + unit.storing)):
        part = min(range(number), key=lambda part: (length_with(unit, part), part))
        seconds[part] = length_with(unit, part)
        trial_ids[part].update(unit.trial_ids)
        families[part].add(unit.family)
    return list(zip(trial_ids, seconds, strict=True))


def parts_lines(parts: Sequence[Part], number: int, with_all: bool = False) -> list[str]:
    """Return what part `number` is of the whole, and how long the parts are beside each other; `with_all`: one by
    one."""
    own, of, seconds = parts[number - 1], len(parts), sum(part.seconds for part in parts) or 1.0
    total = sum(len(part.specs) for part in parts)
    lines = [f"{number}/{of}: {len(own.specs):,} of {total:,} trials, {own.seconds / seconds:.1%} of the work"]
    some = [part for part in parts if part.specs]
    if len(some) > 1:
        shares = [part.seconds / seconds for part in some]
        lines.append(f"{len(some)} shards have trials, each from {min(shares):.1%} to {max(shares):.1%} of the work")
    if with_all:
        for i, part in enumerate(parts[:MOST_LINES], start=1):
            what = f"{len(part.specs):,} trials, {part.seconds / seconds:.1%}" if part.specs else "nothing"
            lines.append(f"  {i}/{of}: {what}{' (this one)' if i == number else ''}")
        if of > MOST_LINES:
            lines.append(f"  and {of - MOST_LINES:,} more")
    return lines
