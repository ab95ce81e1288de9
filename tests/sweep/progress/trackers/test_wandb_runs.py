"""wandb itself, offline: what it would send later."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.progress.trackers.wandb_runs import WandbRuns
from tests.sweep.progress.trackers.rows import make_child, make_failed, make_parent, make_result

wandb = pytest.importorskip("wandb", reason="wandb is not installed (pip install wandb)")
pytestmark = pytest.mark.rest


def test_offline_runs_are_written_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    runs = WandbRuns("team/galaxies", make_parent(tmp_path))
    assert runs.rows() == {}
    child = make_child(make_result(0))
    runs.write(make_child(make_failed(0)))
    runs.write(child)
    assert WandbRuns("team/galaxies", make_parent(tmp_path)).rows() == {child.trial_id: child.row}
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    (log,) = folder.glob("run-*.wandb")
    content = log.read_bytes()
    assert all(text in content for text in (b"test/accuracy", b"val_accuracy", b"SIMULATED", b"learning_rate"))
    runs.close({})


def test_without_a_key_it_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(RuntimeError, match="wandb login"):
        WandbRuns("galaxies", make_parent(tmp_path))
    wandb.teardown()
