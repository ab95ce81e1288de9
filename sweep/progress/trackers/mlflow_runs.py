"""MLflow: an experiment holds a parent run a sweep and, nested below it, a child a trial.

    python -m sweep.run --grid lr --tracker mlflow:http://localhost:5000

Runs are found by their tags, so that whoever begins anew makes none twice: `galaxytl.sweep` has the sweep's identity,
`galaxytl.trial_id` the trial, and `galaxytl.row`, which is written last, says that a child is whole. Tested with MLflow
3.17 and its own server.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sweep.progress.trackers.runs import ChildRun, ParentRun

EXPERIMENT: Final = "galaxytl"
"""Where $MLFLOW_EXPERIMENT_NAME names no other."""
SWEEP, TRIAL, ROW, PARENT = "galaxytl.sweep", "galaxytl.trial_id", "galaxytl.row", "mlflow.parentRunId"
SETTINGS: Final = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Of MLflow, where the user has not set them: by its own it tries for many minutes, and prints two lines a run."""
STATES: Final = {"COMPLETE": "FINISHED", "FAILED": "FAILED", "PRUNED": "KILLED"}
AT_ONCE: Final = 1000
"""Metrics in a request, and runs in an answer: as many as the server takes."""


class MlflowRuns:
    """A `Tracker`."""

    def __init__(self, uri: str, sweep: ParentRun) -> None:
        """uri: of the server or database; "": MLflow's own default, or $MLFLOW_TRACKING_URI."""
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        import mlflow

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._sweep = sweep
        self._client = mlflow.MlflowClient(tracking_uri=uri or None)
        self._experiment = self._experiment_id(os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT)
        runs = list(self._runs())
        self._parent = self._parent_id(runs)
        self._children: dict[str, list[Any]] = {}
        for run in runs:
            if TRIAL in run.data.tags:
                self._children.setdefault(run.data.tags[TRIAL], []).append(run)
        where = uri or mlflow.get_tracking_uri()
        page = f"{where.rstrip('/')}/#/experiments/{self._experiment}/runs/{self._parent}"
        self.place = page if where.startswith("http") else f"mlflow ui --backend-store-uri {where}"

    def _experiment_id(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        return experiment.experiment_id if experiment else self._client.create_experiment(name)

    def _runs(self) -> Iterator[Any]:
        """Yield all that are tagged with the sweep: its parent and the children."""
        token = None
        while True:
            wanted = f"tags.`{SWEEP}` = '{self._sweep.identity}'"
            page = self._client.search_runs([self._experiment], wanted, max_results=AT_ONCE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _parent_id(self, runs: list[Any]) -> str:
        """Return that of the sweep's parent run, which runs again; of one that is made where there is none."""
        for run in runs:
            if TRIAL not in run.data.tags:
                self._client.update_run(run.info.run_id, status="RUNNING")
                return run.info.run_id
        tags = {SWEEP: self._sweep.identity, "results": str(self._sweep.folder)}
        return self._client.create_run(self._experiment, tags=tags, run_name=self._sweep.name).info.run_id

    def rows(self) -> dict[str, str]:
        """Return what is whole, and below this parent: who deletes one in MLflow has its children made anew."""
        whole = {}
        for trial_id, runs in self._children.items():
            tags = runs[0].data.tags
            if len(runs) == 1 and ROW in tags and tags.get(PARENT) == self._parent:
                whole[trial_id] = tags[ROW]
        return whole

    def write(self, child: ChildRun) -> None:
        """Make the run anew: MLflow changes no parameter, and adds to histories what it is told twice."""
        from mlflow.entities import Metric, Param

        while runs := self._children.get(child.trial_id):
            self._client.delete_run(runs[-1].info.run_id)
            runs.pop()
        tags = {SWEEP: self._sweep.identity, TRIAL: child.trial_id, PARENT: self._parent, "mlflow.source.name": "sweep"}
        tags |= {name: text for name, text in child.labels.items() if name != "trial_id"}
        tags |= {"mlflow.note.content": child.note} if child.note else {}
        run = self._client.create_run(self._experiment, round(child.began * 1000), tags, child.name)
        self._children[child.trial_id] = [run]
        metrics = [Metric(name, value, round(time * 1000), step) for name, value, time, step in measured(child)]
        params = [Param(name, str(value)) for name, value in child.params.items() if value != ""]
        run_id = run.info.run_id
        self._client.log_batch(run_id, metrics=metrics[:AT_ONCE], params=params)
        for first in range(AT_ONCE, len(metrics), AT_ONCE):
            self._client.log_batch(run_id, metrics=metrics[first : first + AT_ONCE])
        self._client.set_terminated(run_id, STATES[child.status], round(child.ended * 1000))
        self._client.set_tag(run_id, ROW, child.row)

    def close(self, counts: Mapping[str, int]) -> None:
        for status, number in counts.items():
            self._client.set_tag(self._parent, f"trials.{status}", str(number))
        self._client.set_terminated(self._parent, "FINISHED")


def measured(child: ChildRun) -> Iterator[tuple[str, float, float, int]]:
    """Yield name, value, time in seconds since 1970, and step of all that was measured."""
    for point in child.history:
        yield from ((name, value, point.time, point.epoch) for name, value in point.values.items())
    last = child.history[-1].epoch if child.history else 0
    yield from ((name, value, child.ended, last) for name, value in child.scores.items())
