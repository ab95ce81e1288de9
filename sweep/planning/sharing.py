"""Families of groups, and the prefixes that each family stores.

    stored = cuts_on_disk(groups, costs, on_disk)
    families = find_families(groups, costs, stored, Disk(num_bytes=50 * 10**9, workers=1))

A *family* is the groups whose trials have the same activations wherever nothing is trained (`TrialSpec.backbone_key`).
A *prefix* is the activations of a family at one cut, stored for all its images. Groups of which nothing can be stored,
because nothing is frozen or because their images are other ones in each epoch, read images; each is a family of its
own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from galaxytl.learning.job import Group
from galaxytl.trial import TrialSpec
from sweep.planning.costs import Cost, Costs
from sweep.planning.stored_activations import Chain, best_cuts

Specs = tuple[TrialSpec, ...]


@dataclass(frozen=True)
class Prefix:
    """The activations of one family at one cut."""

    spec: TrialSpec
    """One of the trials that use it: dataset, backbone, weights, image size and precision are those of all."""
    cut: int
    rows: int
    bytes: int
    multiply_adds: int
    """To compute it from the stored cut before it, or from the images; 0 when it is on disk."""
    seconds: float
    doubt: float
    """`Speeds.doubt` of these."""
    on_disk: bool
    users: int
    """Trials that read it, or what is computed from it."""


@dataclass(frozen=True)
class Disk:
    num_bytes: int
    workers: int
    """Groups that run at the same time, and with them at most so many families."""


@dataclass(frozen=True)
class Family:
    """`groups` and their `costs` (prefixes apart), the longest first; `prefixes` from the images to the output."""

    groups: tuple[Group, ...]
    costs: tuple[Cost, ...]
    prefixes: tuple[Prefix, ...]
    needed_multiply_adds: int
    """Of the frozen blocks that the family needs and that are not on disk, each computed once for every image."""


def cuts_on_disk(
    groups: Sequence[Specs], costs: Costs, on_disk: Callable[[TrialSpec, int], bool]
) -> dict[Hashable, frozenset[int]]:
    """Return, by `backbone_key`, the cuts whose activations are stored already."""
    found: dict[Hashable, frozenset[int]] = {}
    for spec, *_ in groups:
        if costs.can_store(spec) and spec.backbone_key not in found:
            found[spec.backbone_key] = frozenset(cut for cut in range(costs.images(spec)) if on_disk(spec, cut))
    return found


def find_families(
    groups: Sequence[Specs], costs: Costs, stored: Mapping[Hashable, frozenset[int]], disk: Disk
) -> list[Family]:
    """Return the groups by family, each family with the cuts that are best for it.

    The disk is shared by the families that are worked on at the same time. What earlier families stored is the least
    recently used, and goes when the cache needs its room.
    """
    members: dict[Hashable, list[Specs]] = defaultdict(list)
    for number, specs in enumerate(groups):
        members[specs[0].backbone_key if costs.can_store(specs[0]) else number].append(specs)
    storing = sum(costs.can_store(of_family[0][0]) for of_family in members.values())
    budget = disk.num_bytes // max(1, min(disk.workers, storing))
    return [_family(of_family, costs, stored.get(key, frozenset()), budget) for key, of_family in members.items()]


def _family(members: Sequence[Specs], costs: Costs, on_disk: frozenset[int], budget: int) -> Family:
    rows_read: dict[int, int] = defaultdict(int)
    for specs in members:
        for cut, rows in costs.rows_by_cut(specs).items():
            rows_read[cut] += rows
    chain = costs.chain(members[0][0], rows_read, on_disk)
    cuts = best_cuts(chain, budget)
    groups = [Group(specs, tuple(cut for cut in cuts if cut >= costs.storable_cut(specs[0]))) for specs in members]
    by_seconds = [(group, costs.cost(group.specs, chain.images, *group.stored)) for group in groups]
    by_seconds.sort(key=lambda pair: -pair[1].seconds)
    return Family(
        groups=tuple(group for group, _ in by_seconds),
        costs=tuple(cost for _, cost in by_seconds),
        prefixes=tuple(
            _prefix(chain, before, cut, groups, costs) for before, cut in zip((chain.images, *cuts), cuts, strict=False)
        ),
        needed_multiply_adds=_needed_multiply_adds(chain),
    )


def _prefix(chain: Chain, source: int, cut: int, groups: Sequence[Group], costs: Costs) -> Prefix:
    spec, on_disk = groups[0].specs[0], cut in chain.on_disk
    multiply_adds = 0 if on_disk else chain.num_rows * chain.forward(source, cut)
    computing, doubt = (0.0, 0.0) if on_disk else costs.storing(spec, multiply_adds)
    moving = 0.0 if on_disk else chain.move_seconds(source, cut)
    return Prefix(
        spec=spec,
        cut=cut,
        rows=chain.num_rows,
        bytes=chain.stored_bytes(cut),
        multiply_adds=multiply_adds,
        seconds=computing + moving,
        doubt=doubt,
        on_disk=on_disk,
        users=sum(len(group.specs) for group in groups if cut in group.stored),
    )


def _needed_multiply_adds(chain: Chain) -> int:
    """Count what freeze points need: all back to the nearest cut on disk. Block i lies between the cuts i + 1 and i. Of
    more views than are read each is not needed."""
    needed: dict[int, int] = defaultdict(int)  # block -> rows that are read
    for freeze_point, rows in enumerate(chain.rows_read):
        nearest = min((cut for cut in chain.on_disk if cut >= freeze_point), default=chain.images)
        for block in range(freeze_point, nearest if rows else freeze_point):
            needed[block] += rows
    return sum(min(chain.num_rows, rows) * chain.forward(block + 1, block) for block, rows in needed.items())
