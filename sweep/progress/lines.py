"""What a sweep says in lines, before and after its table.

say(console, "700 train, 300 test images", "Split")
for line in failure_lines(failed, varied_fields(specs)): say(console, line, "FAILED")
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console

from galaxytl.system.foreign_text import visible
from galaxytl.trial import TrialResult
from sweep.progress.reasons import by_reason
from sweep.progress.terminal import trial_label

INDENT: Final = 10
"""Letters of a label, with the space behind it."""
MOST_NAMED: Final = 6
"""Trials that are named below a reason; of more, the others are counted."""


def say(console: Console, text: str, label: str = "", *, whole: bool = False) -> None:
    """Print a text behind its label. A terminal has it broken between words, unless it is to be copied `whole`;
    elsewhere, as in a log, it is one line."""
    head = f"{label:<{INDENT - 1}} "
    if whole or not console.is_terminal:
        console.print(f"{head}{text}", markup=False, soft_wrap=True)
        return
    for line in broken(f"{head}{text}", console.width, INDENT):
        console.print(line, markup=False, soft_wrap=True)


def note(console: Console, text: str) -> None:
    """Print what the user should know beside."""
    lines = broken(f"note: {text}", console.width, 6) if console.is_terminal else [f"note: {text}"]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def broken(line: str, width: int, indent: int) -> list[str]:
    """Return the line in parts of at most `width` letters, the later ones set in; a word that is longer stays whole, so
    that paths can be copied."""
    wrapper = textwrap.TextWrapper(width, "", " " * indent, break_long_words=False, break_on_hyphens=False)
    return wrapper.wrap(visible(line)) or [""]


def failure_lines(failed: Sequence[TrialResult], varied: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of label and text: each reason once, with the trials that it stopped."""
    for reason, results in by_reason(failed).items():
        names = [trial_label(result.spec, varied) for result in results]
        if len(names) == 1:
            yield "FAILED", f"{names[0]}: {reason}"
            continue
        yield "FAILED", f"{len(names):,} trials: {reason}"
        yield from (("", name) for name in names[:MOST_NAMED])
        if len(names) > MOST_NAMED:
            yield "", f"and {len(names) - MOST_NAMED:,} more"


def accuracy_text(result: TrialResult) -> str:
    """Return "0.612 (95 % interval 0.556 to 0.665)", with Wilson's interval, which holds with few images too; without
    it where their number is not known."""
    from scipy.stats import binomtest

    accuracy, number = result.metrics["accuracy"], result.num_images.get(result.spec.scored_on, 0)
    if not number:
        return f"{accuracy:.3f}"
    interval = binomtest(round(accuracy * number), number).proportion_ci(method="wilson")
    return f"{accuracy:.3f} (95 % interval {interval.low:.3f} to {interval.high:.3f})"
