"""trackio: a run a trial, in the sweep's group of a project, in a database of this machine ($TRACKIO_DIR).

    python -m sweep.run --grid lr --tracker trackio
    trackio show --project galaxytl

Runs are written as trackio's own importers do (`SQLiteStorage.bulk_log`), a run at once: `trackio.init` prints into
the sweep's terminal. Tested with trackio 0.43.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sweep.progress.trackers.runs import ChildRun, ParentRun

PROJECT: Final = "galaxytl"


class TrackioRuns:
    """A `Tracker`."""

    def __init__(self, target: str, sweep: ParentRun) -> None:
        """target: the project, or ""."""
        import trackio

        self._api, self._storage = trackio.Api(), trackio.SQLiteStorage
        self._sweep, self._project = sweep, target or PROJECT
        self._storage.validate_project_name(self._project)
        self.place = f"trackio show --project {self._project}"

    def rows(self) -> dict[str, str]:
        return {run.config["trial_id"]: run.config["row"] for run in self._runs()}

    def _runs(self) -> Iterator[Any]:
        """Yield all that are of the sweep."""
        try:
            runs = list(self._api.runs(self._project))
        except ValueError:
            return  # the project is made with the first run
        for run in runs:
            if (run.config or {}).get("sweep") == self._sweep.identity:
                yield run

    def write(self, child: ChildRun) -> None:
        run_id = f"{self._sweep.identity[:8]}-{child.trial_id}"
        self._storage.delete_run(self._project, child.name, run_id=run_id)
        points = [(p.epoch, p.time, p.values) for p in child.history]
        last = child.history[-1].epoch if child.history else 0
        points.append((last, child.ended, child.scores))
        own = {
            "sweep": self._sweep.identity,
            "row": child.row,
            "_Group": self._sweep.name,
            "_Created": _iso(child.began),
        }
        self._storage.bulk_log(
            self._project,
            child.name,
            [_finite(values) for _, _, values in points],
            steps=[step for step, _, _ in points],
            timestamps=[_iso(time) for _, time, _ in points],
            config={**child.params, **child.labels, **own},
            run_id=run_id,
        )

    def close(self, counts: Mapping[str, int]) -> None:
        """Do nothing: a group has no end."""


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}
