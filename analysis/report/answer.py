"""The first screen of a report: what was asked, the answer, what else could explain it, and what would settle it.

    answer.rows                                    # (("Asked", ("Which ...",)), ("Answer", (...)), ...)

The VGG question has its answer in `analysis.collapse.answer`, any other folder in `analysis.run.contents`. Every
sentence stands alone: the page, report.md and the terminal show the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from analysis.trials.load import count_of, count_of_trials
from galaxytl.trial import TrialResult

UNANSWERED: Final = "Not answered by these trials"
"""Heading of the questions of which each has a line with the command that would answer it."""

DATA: Final = "DATA is what the sweep was given as --data, with its options that say how it is read."


@dataclass(frozen=True)
class Command:
    what: str
    line: str

    def __str__(self) -> str:
        return f"{self.what} {self.line}"


@dataclass(frozen=True)
class Answer:
    """Sentences; a line "label: text" has its label set off."""

    asked: tuple[str, ...]
    answer: tuple[str, ...]
    also: tuple[str, ...] = ()
    """What else could explain it."""
    settle: tuple[str, ...] = ()
    """What would settle it."""
    commands: tuple[Command, ...] = field(default=())
    """That would."""

    def joined(self, other: Answer) -> Answer:
        """Return both, this one first."""
        return Answer(
            (*self.asked, *other.asked),
            (*self.answer, *(text for text in other.answer if text not in self.answer)),
            (*self.also, *other.also),
            (*self.settle, *other.settle),
            (*self.commands, *other.commands),
        )

    @property
    def rows(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Each part with its heading; parts that have nothing to say are left out."""
        named = (
            ("Asked", self.asked),
            ("Answer", self.answer),
            ("What else could explain it", self.also),
            ("What would settle it", self.settle),
        )
        return tuple((heading, sentences) for heading, sentences in named if sentences)


def verdict_parts(sentence: str) -> tuple[str, str, str]:
    """Return of whom, the verdict and the rest of a sentence that begins with a verdict; of any other, all is rest.

    >>> verdict_parts("VGG16 ON: EXPLAINED: other settings"), verdict_parts("Accuracy: 0.5")
    (('VGG16 ON', 'EXPLAINED', 'other settings'), ('', '', 'Accuracy: 0.5'))
    """
    found = re.match(r"([^:]+): ([A-Z_]{4,}): (.*)", sentence, re.DOTALL)
    return (found[1], found[2], found[3]) if found else ("", "", sentence)


def reservations(results: Sequence[TrialResult]) -> tuple[str, ...]:
    """Return what these trials cannot speak of, as they are not of the paper's data or not from ImageNet's weights."""
    found = []
    if any(r.spec.is_simulated for r in results):
        found.append("These are SIMULATED galaxies: nothing here speaks of Galaxy10, or of what the paper found.")
    number = sum(r.spec.is_substituted for r in results)
    if number:
        found.append(
            f"Random weights stand in for ImageNet's in {number} of {count_of_trials(len(results))}: those say nothing "
            "of ImageNet ON."
        )
    return tuple(found)


def seeds_text(counts: Iterable[int]) -> str:
    """Return how many seeds the settings have.

    >>> seeds_text([5, 5]), seeds_text([1]), seeds_text([3, 5])
    ('5 seeds a setting', '1 seed a setting', '3 to 5 seeds a setting')
    """
    found = sorted(set(counts))
    if not found:
        return "no seed"
    if len(found) > 1:
        return f"{found[0]} to {found[-1]} seeds a setting"
    return f"{count_of(found[0], 'seed')} a setting"
