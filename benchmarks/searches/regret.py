"""How good are searches at equal budgets? Regret curves, their means over seeds, paired differences, and the verdict.

Arrays in, a `Comparison` with every decision out; searches/quality.py prints it and searches/regret_figure.py draws
curves. The regret of a search at a budget: the table's best accuracy less that of the configuration that it would
choose by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.seeds import SeedEstimate, mean_over_seeds

OURS: Final = "ours"
TO_BEAT: Final = "random"

Regrets = Mapping[str, NDArray[np.float64]]
"""Method -> (seeds, budgets)."""


def at_budgets(
    spent: Sequence[float], regret: Sequence[float], budgets: Sequence[float], before: float
) -> NDArray[np.float64]:
    """Return the regret after the last choice that each budget pays for; `before` the first.

    >>> at_budgets([10, 30], [0.2, 0.1], [9, 10, 29, 99], before=0.5).tolist()
    [0.5, 0.2, 0.2, 0.1]
    """
    last = np.searchsorted(np.asarray(spent, np.float64), budgets, side="right")
    return np.asarray([before, *regret])[last]


@dataclass(frozen=True)
class Difference:
    """A method's regret less ours, seed by seed: above 0, ours is better."""

    overall: SeedEstimate
    """Of the means over all budgets."""
    by_budget: tuple[SeedEstimate, ...]

    @property
    def wins(self) -> bool:
        """Ours does, clearly: the interval lies on its side."""
        return self.overall.interval.low > 0

    @property
    def loses(self) -> bool:
        """Ours does, clearly."""
        return self.overall.interval.high < 0

    @property
    def word(self) -> str:
        """The verdict, for people."""
        return "ours is better" if self.wins else "OURS IS WORSE" if self.loses else "no difference seen"


@dataclass(frozen=True)
class Comparison:
    """Ours beside the other methods, and the verdict."""

    budgets: tuple[float, ...]
    num_seeds: int
    regrets: Mapping[str, tuple[SeedEstimate, ...]]
    """Method -> at each budget."""
    differences: Mapping[str, Difference]
    """Other method -> its regret less ours."""

    @property
    def beats_random(self) -> bool:
        return self.differences[TO_BEAT].wins

    @property
    def lost_to(self) -> tuple[str, ...]:
        return tuple(name for name, difference in self.differences.items() if difference.loses)

    @property
    def holds(self) -> bool:
        return self.beats_random and not self.lost_to


def compare(regrets: Regrets, budgets: Sequence[float]) -> Comparison:
    """Compare ours with each other method. Row i of all arrays (seeds, budgets) is of seed i.

    The verdict is on the mean over the budgets, one number a seed and so one decision a method: of as many decisions as
    there are budgets some would come out wrong by chance. Raises ValueError for fewer than two seeds.
    """
    ours = regrets[OURS]
    others = {name: array - ours for name, array in regrets.items() if name != OURS}
    return Comparison(
        budgets=tuple(budgets),
        num_seeds=len(ours),
        regrets={name: tuple(map(mean_over_seeds, array.T)) for name, array in regrets.items()},
        differences={
            name: Difference(mean_over_seeds(apart.mean(axis=1)), tuple(map(mean_over_seeds, apart.T)))
            for name, apart in others.items()
        },
    )


def describe(comparison: Comparison, unit: str) -> str:
    """Return two tables and the verdict, for people."""
    heads = "".join(f"{budget:>30g}" for budget in comparison.budgets)
    lines = [f"mean regret of {comparison.num_seeds} seeds [95 %] at {unit}", f"{'':12}{heads}"]
    for name, intervals in comparison.regrets.items():
        lines.append(f"{name:12}" + "".join(f"{_plain(own):>30}" for own in intervals))
    lines += ["regret less ours, seed by seed [95 %]: above 0, ours is better; * the interval leaves out 0"]
    for name, difference in comparison.differences.items():
        lines.append(f"{name:12}" + "".join(f"{_starred(own):>30}" for own in difference.by_budget))
        lines.append(f"{'':12}over all budgets {_signed(difference.overall)}: {difference.word}")
    clearly = "yes" if comparison.beats_random else "NO"
    lost = ", ".join(comparison.lost_to)
    lines.append(f"beats {TO_BEAT} clearly: {clearly}; loses to {lost.upper() if lost else 'none'}")
    return "\n".join(lines)


def _plain(own: SeedEstimate) -> str:
    return f"{own.value:.4f} [{own.interval.low:.4f}, {own.interval.high:.4f}]"


def _signed(own: SeedEstimate) -> str:
    return f"{own.value:+.4f} [{own.interval.low:+.4f}, {own.interval.high:+.4f}]"


def _starred(own: SeedEstimate) -> str:
    return f"{_signed(own)}{' ' if 0 in own.interval else '*'}"
