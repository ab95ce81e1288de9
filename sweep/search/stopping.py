"""Which trials of a search to stop early, from the scores of all so far. Pure bookkeeping: no Ray, no Optuna.

    rule = make_rule("asha", num_epochs=20)
    rule.decides_at                       # frozenset({2, 6, 18})
    rule.decide(2, {"a": 0.1, "b": 0.4, "c": 0.2})      # {"a": "...", "c": "..."}: to stop now, and why

Scores: the higher the better. All that come in together, as those of heads that train in one pass do, are judged
together: none is kept for having been looked at first. What a rule knows is a score a trial and epoch, so hearing the
same twice (a worker that starts again repeats an epoch) changes nothing, and a resumed search is told what was kept.
"""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

ETA: Final = 3
"""Of ASHA: one in so many goes on. Li et al. 2020 (arXiv:1810.05934) use 4; 3 leaves a 20-epoch trial three rungs."""
GRACE_SHARE: Final = 5
"""Of the median rule: nothing is stopped in the first one-in-so-many of the epochs."""
MIN_OTHERS: Final = 4
"""Of the median rule: so many others must have come as far."""


DIGITS: Final = 6
"""Of a score: networks' accuracies are float32, heads' are not, and 11 of 70 images must equal 11 of 70."""


class Rule(ABC):
    """Remembers the score of every trial at every epoch that it is told of."""

    decides_at: frozenset[int] = frozenset()
    """Epochs after which a worker asks what to stop; nothing need be reported after others."""

    def __init__(self) -> None:
        self._scores: dict[int, dict[str, float]] = defaultdict(dict)

    def record(self, epoch: int, scores: Mapping[str, float]) -> None:
        """Remember, and decide nothing."""
        self._scores[epoch].update({trial_id: round(score, DIGITS) for trial_id, score in scores.items()})

    def decide(self, epoch: int, scores: Mapping[str, float]) -> dict[str, str]:
        """Return those of `scores` (trial_id -> score) that are to stop after this epoch, each with the reason."""
        self.record(epoch, scores)
        if epoch not in self.decides_at:
            return {}
        return {trial_id: reason for trial_id in scores if (reason := self._reason(epoch, trial_id))}

    @abstractmethod
    def _reason(self, epoch: int, trial_id: str) -> str:
        """Return why the trial is to stop; empty where it goes on."""


class Never(Rule):
    """Lets every trial come to its end."""

    def _reason(self, epoch: int, trial_id: str) -> str:
        return ""


class Asha(Rule):
    """Asynchronous successive halving (Li et al. 2020): at rungs of ETA times as many epochs each, one in ETA goes on.

    The first rung is at a ninth of the epochs. Of n trials that have come to a rung, the best ceil(n / ETA) and whoever
    equals the last of them go on.
    """

    def __init__(self, num_epochs: int) -> None:
        super().__init__()
        first = max(1, num_epochs // ETA**2)
        self.decides_at = frozenset(
            first * ETA**i for i in range(num_epochs.bit_length()) if first * ETA**i < num_epochs
        )

    def _reason(self, epoch: int, trial_id: str) -> str:
        rung = self._scores[epoch]
        bar = sorted(rung.values(), reverse=True)[math.ceil(len(rung) / ETA) - 1]
        own = rung[trial_id]
        if own >= bar:
            return ""
        return f"asha: {own:.4g} after epoch {epoch} is below the best third of {len(rung)} trials ({bar:.4g})"


class Median(Rule):
    """The median rule of Google Vizier (Golovin et al. 2017): stop a trial whose best score so far is below the median
    of what the others had on average up to that epoch."""

    def __init__(self, num_epochs: int) -> None:
        super().__init__()
        self.decides_at = frozenset(range(max(1, num_epochs // GRACE_SHARE), num_epochs))

    def _reason(self, epoch: int, trial_id: str) -> str:
        curves: dict[str, list[float]] = defaultdict(list)
        for _, scores in sorted((e, s) for e, s in self._scores.items() if e <= epoch):
            for other, score in scores.items():
                curves[other].append(score)
        others = [statistics.fmean(curves[other]) for other in self._scores[epoch] if other != trial_id]
        if len(others) < MIN_OTHERS:
            return ""
        best, bar = max(curves[trial_id]), statistics.median(others)
        return "" if best >= bar else f"median: at best {best:.4g} up to epoch {epoch}, median of the others {bar:.4g}"


SCHEDULERS: Final[Mapping[str, Callable[[int], Rule]]] = {"asha": Asha, "median": Median, "none": lambda _: Never()}
"""What --scheduler names; each makes a rule for trials of so many epochs."""


def make_rule(name: str, num_epochs: int) -> Rule:
    """Return a rule by its name in SCHEDULERS, for trials of `num_epochs`."""
    return SCHEDULERS[name](num_epochs)
