"""Something about a dataset that its user must know: `check` lists it, and a sweep stops where it is harmful."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SHOWN: Final = 8
"""Row numbers that a finding names; there may be more."""
HOW_READ: Final = "how_read"
"""Code of a finding that says how pixels were made of what the files hold: whoever trains on them is told."""
CLASS_NAMES: Final = "class_names"
"""Code of a finding that says what the classes are called."""
NOTES: Final = (HOW_READ, CLASS_NAMES)
"""Codes of findings about which nothing is wrong."""
FEW: Final = 3
FEW_SHARE: Final = 0.001
"""So many odd images, or this share of all, spoil no run: they are a warning."""


@dataclass(frozen=True)
class Finding:
    """Something about the dataset that its user must know."""

    code: str
    """For programs; does not change with the wording."""
    harmful: bool
    message: str
    count: int = 0
    """Images, pairs or galaxies concerned."""
    rows: tuple[int, ...] = ()
    """The first rows concerned, at most 8."""


def on_rows(code: str, message: str, rows: NDArray[Any], harmful: bool) -> Finding:
    """Return a finding about images, by their row numbers (n,); its sentence begins with how many."""
    images = f"{len(rows):,} image{'' if len(rows) == 1 else 's'}"
    return Finding(code, harmful, f"{images} {message}", len(rows), tuple(int(row) for row in rows[:SHOWN]))


def is_many(count: int, of: int) -> bool:
    """Return whether so many odd images among `of` are more than an accident, and spoil a run."""
    return count > max(FEW, int(np.ceil(FEW_SHARE * of)))


def how_read(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Return what was done to what the files hold, where it became pixels by a rule that its user should know."""
    return tuple(finding.message for finding in findings if finding.code == HOW_READ)


def harmful_text(findings: Sequence[Finding]) -> str:
    """Return the harmful ones in one line; empty where there are none."""
    return "; ".join(finding.message for finding in findings if finding.harmful)
