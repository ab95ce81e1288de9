"""Weights & Biases: a run a trial, in the sweep's group of a project.

    WANDB_MODE=offline python -m sweep.run --grid lr --tracker wandb:my-project
    wandb sync results/lr/wandb/offline-run-*

Where W&B's mode is offline, runs lie in the results folder, each with a file that says of which row it was made; else
W&B is asked. Tested offline, with wandb 0.31: no run has been sent to a server yet.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from galaxytl.system.files import write_atomically
from sweep.progress.trackers.runs import ChildRun, ParentRun

PROJECT: Final = "galaxytl"
"""Where neither --tracker nor $WANDB_PROJECT names another."""
ROW: Final = "galaxytl_row"
"""Of a run's summary, and of a file in an offline run: the digest of its row."""
OFFLINE: Final = ("offline", "dryrun")


class WandbRuns:
    """A `Tracker`."""

    def __init__(self, target: str, sweep: ParentRun) -> None:
        """target: PROJECT, ENTITY/PROJECT, or ""."""
        import wandb

        self._wandb, self._sweep = wandb, sweep
        entity, _, project = target.rpartition("/")
        self._entity = entity or os.environ.get("WANDB_ENTITY") or None
        self._project = project or os.environ.get("WANDB_PROJECT") or PROJECT
        self._group = f"{sweep.name}-{sweep.identity[:8]}"
        self._folder = sweep.folder / "wandb"
        self._is_offline = os.environ.get("WANDB_MODE") in OFFLINE
        self.place = f"W&B, project {self._project}, group {self._group}"
        if self._is_offline:
            self.place = f"wandb sync {shlex.quote(str(self._folder))}/offline-run-*"
        elif not wandb.login(prompt=False):
            raise RuntimeError("W&B wants a key: `wandb login`, or WANDB_API_KEY, or WANDB_MODE=offline")

    def rows(self) -> dict[str, str]:
        if self._is_offline:
            marks = self._folder.glob(f"offline-run-*-{self._sweep.identity[:8]}-*/files/{ROW}")
            return {_trial_of(mark.parents[1].name): mark.read_text(encoding="utf-8") for mark in marks}
        path = f"{self._entity}/{self._project}" if self._entity else self._project
        runs = self._wandb.Api(timeout=10).runs(path, filters={"group": self._group}, per_page=500)
        try:
            return {_trial_of(run.id): run.summary[ROW] for run in runs if ROW in run.summary}
        except ValueError as error:
            if "Could not find project" in str(error):
                return {}  # it is made with the first run
            raise

    def write(self, child: ChildRun) -> None:
        """Make the run of this id, or make it anew: without `resume` W&B replaces what it has of it."""
        run_id = f"{self._sweep.identity[:8]}-{child.trial_id}"
        for folder in self._folder.glob(f"offline-run-*-{run_id}"):
            shutil.rmtree(folder)
        run = self._wandb.init(
            entity=self._entity,
            project=self._project,
            dir=str(self._sweep.folder),
            id=run_id,
            name=child.name,
            notes=child.note or None,
            group=self._group,
            job_type="trial",
            tags=[child.status],
            config={**child.params, "sweep": self._sweep.identity},
            reinit="create_new",
            settings=self._settings(),
        )
        try:
            for point in child.history:
                run.log(dict(point.values), step=point.epoch)
            run.summary.update({**child.scores, **child.labels, ROW: child.row})
        finally:
            run.finish(exit_code=int(child.status == "FAILED"))
        if self._is_offline:
            write_atomically(Path(run.dir) / ROW, child.row.encode())

    def _settings(self) -> Any:
        """Return those by which W&B prints nothing, and records nothing of this process, which trains none."""
        return self._wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            save_code=False,
            x_disable_stats=True,
            x_disable_meta=True,
            disable_job_creation=True,
            init_timeout=20,
        )

    def close(self, counts: Mapping[str, int]) -> None:
        with contextlib.suppress(Exception):  # its own process ends with this one in any case
            self._wandb.teardown()


def _trial_of(run: str) -> str:
    return run.rpartition("-")[2]
