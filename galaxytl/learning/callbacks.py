"""The callbacks of a trial: what training tells, and asks, while it goes on.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Watcher:
    """Is told of trials while they are trained, and asked about them, by five events. They have the same names at every
    level, from the epoch loops to the driver's worker, and a network is a group of one. Nothing happens at these."""

    def phase(self, trial_ids: Sequence[str], text: str) -> None:
        """Hear what is being done for these trials."""

    def epoch(self, latest: Mapping[str, dict[str, Any]]) -> None:
        """Hear that an epoch is over: {trial_id: its last epoch}."""

    def checkpoint(self) -> None:
        """Hear, in another thread, that the checkpoints of an epoch are on disk: the next ones wait for the return."""

    def ends(self, histories: Mapping[str, Sequence[dict[str, Any]]]) -> Mapping[str, str]:
        """Return which of the trials with these histories end before their next epoch, PRUNED, and why."""
        return {}

    def records(self, number: int, state: Any) -> list[dict[str, Any]]:
        """Return a record of each trial under way, to keep with its epoch `number` (0: before the first), or none.

        state: what is trained, `galaxytl.learning.heads.State` or a keras.Model."""
        return []
