"""MLflow's own server, which is killed in the midst of a sweep and comes back: nothing less has its ways to fail."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from galaxytl.results.rows import row_line
from sweep.progress.trackers import follower as follower_module
from sweep.progress.trackers.addresses import parse
from sweep.progress.trackers.follower import following
from sweep.progress.trackers.mlflow_runs import PARENT, ROW, SWEEP, TRIAL, MlflowRuns
from tests.sweep.progress.trackers.rows import make_child, make_failed, make_parent, make_result, wait_until
from tests.sweep.sweeps import free_port

mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed (pip install mlflow)")
pytestmark = pytest.mark.rest


class Server:
    """`mlflow server` on this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        options = ("--host", "127.0.0.1", "--port", str(self._port), "--workers", "1")
        store = ("--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}")
        command = [sys.executable, "-m", "mlflow", "server", *options, *store]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self._answers, 120)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.uri}/health", timeout=2).ok
        except requests.RequestException:
            return False

    def kill(self) -> None:
        os.killpg(self._process.pid, 9)
        self._process.wait()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(follower_module, "LOOK_SECONDS", 0.1)
    for name in ("TIMEOUT", "MAX_RETRIES"):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", "1")
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


def runs_of(server: Server) -> tuple[Any, dict[str, Any]]:
    """Return the parent's run, and its children by trial_id; there are none twice, and no others."""
    client = mlflow.MlflowClient(server.uri)
    runs = client.search_runs([client.get_experiment_by_name("galaxytl").experiment_id])
    (parent,) = (run for run in runs if TRIAL not in run.data.tags)
    children = [run for run in runs if run is not parent]
    assert {run.data.tags[PARENT] for run in children} == {parent.info.run_id}
    by_id = {run.data.tags[TRIAL]: run for run in children}
    assert len(by_id) == len(children)
    return parent, by_id


def test_a_server_that_goes_away_and_comes_back_has_each_trial_once(server: Server, tmp_path: Path) -> None:
    said: list[str] = []
    lines = [row_line(make_failed(0))]
    address, sweep = parse([f"mlflow:{server.uri}"]), make_parent(tmp_path)
    with following(address, sweep, lambda: tuple(lines), said.append):
        lines.append(row_line(make_result(1)))
        wait_until(lambda: "galaxytl" in (tmp_path / "server.log").read_text() or len(said) == 0)
        server.kill()
        lines += [row_line(make_result(0)), row_line(make_result(2))]
        wait_until(lambda: said)
        server.start()
        wait_until(lambda: len(said) > 1)
    assert said[0].startswith(f"note: MLflow at {server.uri} cannot be written to just now; the sweep goes on.")
    assert said[1] == f"MLflow at {server.uri} answers again; it has all rows"
    parent, children = runs_of(server)
    assert said[2] == f"Tracked   {server.uri}/#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}"
    assert Counter(run.info.status for run in children.values()) == {"FINISHED": 3}
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "lr")
    assert parent.data.tags["trials.COMPLETE"] == "3"

    with following(address, sweep, lambda: tuple(lines), said.append):
        pass  # everything is finished: nothing is made anew
    assert {run.info.run_id for run in runs_of(server)[1].values()} == {run.info.run_id for run in children.values()}


def test_a_run_has_all_of_its_row_and_a_half_one_is_made_anew(server: Server, tmp_path: Path) -> None:
    sweep, child = make_parent(tmp_path), make_child(make_result(0))
    runs = MlflowRuns(server.uri, sweep)
    runs.write(child)
    client = mlflow.MlflowClient(server.uri)
    (run,) = runs_of(server)[1].values()
    assert run.data.params["learning_rate"] == "0.0001"
    assert run.data.metrics["test/accuracy"] == 0.2
    assert [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "loss")] == [
        (1, 1.0),
        (2, 0.5),
    ]
    assert "SIMULATED" in run.data.tags["warning"]
    assert run.info.end_time - run.info.start_time == 10_000

    client.delete_tag(run.info.run_id, ROW)  # as a driver leaves it that is killed before the last request
    again = MlflowRuns(server.uri, sweep)
    assert again.rows() == {}
    again.write(child)
    assert MlflowRuns(server.uri, sweep).rows() == {child.trial_id: child.row}
    (whole,) = runs_of(server)[1].values()
    assert whole.info.run_id != run.info.run_id
    assert whole.data.tags[SWEEP] == sweep.identity
