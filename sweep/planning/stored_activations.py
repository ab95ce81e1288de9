"""At which cuts of a backbone to store activations: the cheapest choice within a disk budget, found exactly.

A cut is numbered by how many blocks come after it (`galaxytl.networks.blocks`): 0 is the backbone's output, the
highest number the images themselves. A pass whose freeze point is cut f reads the stored cut nearest to f at or
before it (towards the images) and computes the blocks in between again for every image in every epoch.

    chain = Chain(depths=(30, 20, 0), row_bytes=(40, 400, 75), num_rows=100, rows_read=(1000, 0, 0), speed=1e3)
    best_cuts(chain, budget=10**6)                      # (0,)

Why not store everything: an activation near the images can be larger than the image and cost more to write and read
than to compute, and what one pass in one epoch reads once is never worth storing.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

BYTES_PER_SECOND: Final = 1e9
"""Of reading and of writing activations. Cautious: `benchmarks/bench_data.py` measured 120,000 images of 224 px
(150,528 bytes) a second, 18e9 bytes/s, from the page cache; what does not stay there comes from a disk."""


@dataclass(frozen=True)
class Chain:
    """The cuts of one backbone, and what is wanted of them. Tuples are indexed by cut, 0 to `images`."""

    depths: tuple[int, ...]
    """Multiply-adds of one image from the input to the cut; 0 at the images."""
    row_bytes: tuple[int, ...]
    """Of one image's activations."""
    num_rows: int
    """Images whose activations are stored."""
    rows_read: tuple[int, ...]
    """Images that the passes frozen up to the cut read, summed over passes and epochs."""
    speed: float
    """Multiply-adds a second of frozen blocks."""
    on_disk: frozenset[int] = frozenset()
    """Cuts that are stored already."""

    @property
    def images(self) -> int:
        """The cut before the first block."""
        return len(self.depths) - 1

    def forward(self, source: int, cut: int) -> int:
        """Return multiply-adds of one image from one cut to a later one."""
        return self.depths[cut] - self.depths[source]

    def stored_bytes(self, cut: int) -> int:
        return self.num_rows * self.row_bytes[cut]

    def store_seconds(self, source: int, cut: int) -> float:
        """Read all rows at `source`, compute them to `cut`, and write them; nothing where that is on disk."""
        if cut in self.on_disk:
            return 0.0
        return self.move_seconds(source, cut) + self.num_rows * self.forward(source, cut) / self.speed

    def move_seconds(self, source: int, cut: int) -> float:
        """Read all rows at `source`, and write them at `cut`."""
        return self.num_rows * (self.row_bytes[source] + self.row_bytes[cut]) / BYTES_PER_SECOND

    def pass_seconds(self, source: int, cut: int) -> float:
        """Return the seconds of all passes frozen up to `cut`: read `source`, compute to `cut`."""
        return self.rows_read[cut] * (
            self.row_bytes[source] / BYTES_PER_SECOND + self.forward(source, cut) / self.speed
        )


class _Choice(NamedTuple):
    bytes: int
    seconds: float
    cuts: tuple[int, ...]


@functools.lru_cache(maxsize=4096)  # families that differ in weights or seed alone pose the same question
def best_cuts(chain: Chain, budget: int) -> tuple[int, ...]:
    """Choose cuts, descending (from the images to the output), that take the fewest seconds within `budget` bytes.

    Of equally fast choices the smallest. Exact: walking from the images to the output, what is still to come depends on
    the last stored cut and on the bytes that are left alone. So for each last stored cut only those choices are kept
    than which none is both smaller and faster.
    """
    ends = {chain.images: [_Choice(0, 0.0, ())]}  # by the last stored cut
    for cut in reversed(range(chain.images)):
        stored = [_store(chain, choice, end, cut) for end, choices in ends.items() for choice in choices]
        ends = {end: _later(choices, chain.pass_seconds(end, cut)) for end, choices in ends.items()}
        ends[cut] = _undominated(choice for choice in stored if choice.bytes <= budget)
    choices = [choice for choices in ends.values() for choice in choices]
    return min(choices, key=lambda choice: (choice.seconds, choice.bytes, choice.cuts)).cuts


def _store(chain: Chain, choice: _Choice, end: int, cut: int) -> _Choice:
    """Return `choice`, whose last stored cut is `end`, with `cut` stored as well."""
    seconds = choice.seconds + chain.store_seconds(end, cut) + chain.pass_seconds(cut, cut)
    return _Choice(choice.bytes + chain.stored_bytes(cut), seconds, (*choice.cuts, cut))


def _later(choices: Iterable[_Choice], seconds: float) -> list[_Choice]:
    return [_Choice(choice.bytes, choice.seconds + seconds, choice.cuts) for choice in choices]


def _undominated(choices: Iterable[_Choice]) -> list[_Choice]:
    kept: list[_Choice] = []
    for choice in sorted(choices):
        if not kept or choice.seconds < kept[-1].seconds:
            kept.append(choice)
    return kept
