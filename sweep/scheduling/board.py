"""The board of a sweep: a small Ray actor, over which workers and driver talk beside Tune.

A module of its own, which imports little: the actor is a process that starts with each sweep.
"""

from __future__ import annotations

from collections.abc import Sequence

from sweep.scheduling.activation_copies import Copies


class Board(Copies):
    """Holds the latest phase and the node of each trial, which are stopped, and which node holds which activations.
    Beside tune.report, whose rows stay on disk."""

    def __init__(self) -> None:
        super().__init__()
        self._phases: dict[str, str] = {}
        self._nodes: dict[str, str] = {}
        self._stopped: dict[str, str] = {}

    def stop(self, reasons: dict[str, str]) -> None:
        self._stopped.update(reasons)

    def stopped(self, trial_ids: Sequence[str]) -> dict[str, str]:
        return {trial_id: self._stopped[trial_id] for trial_id in trial_ids if trial_id in self._stopped}

    def say(self, trial_ids: Sequence[str], text: str) -> None:
        self._phases.update(dict.fromkeys(trial_ids, text))
        for trial_id in trial_ids:
            self.heard(trial_id)

    def place(self, trial_ids: Sequence[str], node: str) -> None:
        self._nodes.update(dict.fromkeys(trial_ids, node))

    def read(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the phases, and the nodes, that are new."""
        (phases, self._phases), (nodes, self._nodes) = (self._phases, {}), (self._nodes, {})
        return phases, nodes
