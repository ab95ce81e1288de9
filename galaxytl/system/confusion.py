"""Confusion matrices of any number of classes: of many, nearly all counts are 0, and only the others are stored.

    as_json(confusion)             # what a row has of it: lines of counts; of more than DENSE classes SPARSE: lines
    SparseCounts([(0, 5), (), (0, 1, 2, 7)])[2]        # (1, 0, 7)

With all zeros, a row of 1,000 classes has a million counts, 2 MB, and its reader 8 MB. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, SupportsIndex, overload

DENSE: Final = 100
"""Classes up to which all counts are stored: 20 kB a row."""
SPARSE: Final = "without_zeros"
MOST_SPARSE: Final = 1000
"""Classes of a matrix that is stored without its zeros: so short a text stands for a million of them."""

Line = tuple[int, ...]


class SparseCounts(Sequence[Line]):
    """(C, C) counts: a sequence of lines, and equal to the tuple of them."""

    def __init__(self, pairs: Iterable[Sequence[int]]) -> None:
        """Take, of each line, the columns that are not 0 and their counts: (column, count, column, count, ...)."""
        self.pairs = tuple(map(tuple, pairs))

    @classmethod
    def of(cls, lines: Sequence[Line]) -> SparseCounts:
        return cls([number for pair in enumerate(line) if pair[1] for number in pair] for line in lines)

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, place: SupportsIndex) -> Line: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Line, ...]: ...

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return tuple(self)[place]
        line, pairs = [0] * len(self.pairs), self.pairs[place]
        for column, count in zip(pairs[::2], pairs[1::2], strict=True):
            line[column] = count
        return tuple(line)

    def __eq__(self, other: object) -> bool:
        return self.pairs == other.pairs if isinstance(other, SparseCounts) else tuple(self) == other

    def __hash__(self) -> int:
        return hash(tuple(self))


Counts = tuple[Line, ...] | SparseCounts


def as_json(confusion: Counts) -> Any:
    """Return what a row has of counts (C, C)."""
    if len(confusion) <= DENSE:
        return [list(line) for line in confusion]
    sparse = confusion if isinstance(confusion, SparseCounts) else SparseCounts.of(confusion)
    return {SPARSE: [list(pairs) for pairs in sparse.pairs]}
