"""trackio itself, with a database of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.progress.trackers.trackio_runs import TrackioRuns
from tests.sweep.progress.trackers.rows import make_child, make_failed, make_parent, make_result

trackio = pytest.importorskip("trackio", reason="trackio is not installed (pip install trackio)")


def test_runs_are_written_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (trackio.utils, trackio.sqlite_storage):
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    children = [make_child(make_result(seed)) for seed in range(2)]
    runs = TrackioRuns("galaxies", make_parent(tmp_path))
    assert runs.rows() == {}
    for child in (make_child(make_failed(0)), *children):
        runs.write(child)
    assert TrackioRuns("galaxies", make_parent(tmp_path)).rows() == {child.trial_id: child.row for child in children}
    written = {run.config["trial_id"]: run for run in trackio.Api().runs("galaxies")}
    assert len(written) == 2
    config = written[children[1].trial_id].config
    assert (config["learning_rate"], config["_Group"]) == (1e-4, "lr")
    assert "SIMULATED" in config["warning"]
    logs = trackio.SQLiteStorage.get_logs("galaxies", children[0].name, run_id=written[children[0].trial_id].id)
    assert [(log["step"], log.get("loss"), log.get("test/accuracy")) for log in logs] == [
        (1, 1.0, None),
        (2, 0.5, None),
        (2, None, 0.2),
    ]
