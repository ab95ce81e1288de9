"""What a driver says of itself, from the events that its table hears."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import pytest

from galaxytl.trial import COMPLETE, FAILED, TrialResult, TrialSpec
from sweep.progress import live as live_module
from sweep.progress.command import typed_command
from sweep.progress.live import TRAINING, LiveProgress, Scope
from sweep.results.folder import ResultsFolder, lead
from sweep.results.lease import LeaseError
from sweep.results.progress_file import FILE_NAME, MOST_RUNNING, read_progress

SPECS = [TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", seed=seed, num_epochs=10) for seed in range(4)]
IDS = [spec.trial_id for spec in SPECS]


def epoch(number: int, loss: float = 1.0) -> dict[str, float]:
    return {"epoch": number, "loss": loss, "val_accuracy": 0.5}


def test_a_grid_is_followed_from_event_to_event(tmp_path: Path) -> None:
    """Of four trials, the first has three quarters of the seconds."""
    weights = dict(zip(IDS, (9.0, 1.0, 1.0, 1.0), strict=True))
    live = LiveProgress(ResultsFolder(tmp_path), Scope("grid", "lr", before=2, weights=weights, estimate=(1, 2, 4)))
    live.add(SPECS, ["seed"])
    now = live.progress()
    assert (now.total, now.planned, now.finished, now.share, now.begun, now.running) == (6, 4, 0, 0.0, None, ())
    live.nodes({IDS[0]: "node-a", "of nobody": "node-b"})
    live.phases({IDS[0]: "frozen activations", IDS[1]: "opening the dataset", "of nobody": "lost"})
    live.epochs({IDS[0]: epoch(5, loss=math.nan)})
    now = live.progress()
    assert [(one.trial_id, one.phase, one.node, one.epoch) for one in now.running] == [
        (IDS[0], TRAINING, "node-a", 5),
        (IDS[1], "opening the dataset", "", 0),
    ]
    assert (now.running[0].loss, now.running[0].val_accuracy) == (None, 0.5)
    assert now.running[0].name.endswith("seed 0")
    assert now.share == pytest.approx(9 * 0.5 / 12)
    assert now.begun is not None

    live.finished(TrialResult(spec=SPECS[0], status=COMPLETE), TrialResult(spec=SPECS[1], status=FAILED))
    live.phases({IDS[0]: "said too late"})
    now = live.progress()
    assert (now.total, now.finished, now.num_running, now.share) == (6, 2, 0, pytest.approx(10 / 12))


def test_a_search_grows_by_what_it_asks_for_and_its_test_is_not_one_of_its_trials(tmp_path: Path) -> None:
    watched = [spec.replace(scored_on="validation", validation_fraction=0.1) for spec in SPECS]
    to_come = [6]
    live = LiveProgress(
        ResultsFolder(tmp_path),
        Scope("search", "s", before=1, still_to_come=lambda: to_come[0], scored_on="validation"),
    )
    live.add(watched[:2], ())
    to_come[0] = 3  # two are trials; one of the three that were asked for was none
    live.finished(TrialResult(spec=watched[0], status=COMPLETE))
    now = live.progress()
    assert (now.total, now.asked, now.planned, now.finished, now.share) == (6, 3, 5, 1, pytest.approx(1 / 5))
    tested = watched[0].replace(scored_on="test")
    live.add([tested], ())
    live.phases({tested.trial_id: "evaluating on the test split"})
    now = live.progress()
    assert (now.total, now.num_running) == (6, 1)
    live.finished(TrialResult(spec=tested, status=COMPLETE))
    assert (live.progress().total, live.progress().finished) == (6, 1)


def test_failed_trials_that_are_tried_again_are_counted_until_they_have_ended(tmp_path: Path) -> None:
    live = LiveProgress(ResultsFolder(tmp_path), Scope("grid", "lr", before=0, failed=frozenset(IDS[:2])))
    live.add(SPECS[:2], ())
    assert live.progress().again == 2
    live.finished(TrialResult(spec=SPECS[0], status=FAILED))
    assert live.progress().again == 1


def test_the_file_has_what_happened_and_says_at_last_how_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "WRITE_SECONDS", 0.01)
    monkeypatch.setattr(live_module, "QUIET_SHARE", 0.0)

    def said() -> tuple[str, int]:
        now = read_progress((tmp_path / FILE_NAME).read_bytes())
        return now.end, now.num_running

    def train() -> None:
        with LiveProgress(ResultsFolder(tmp_path), Scope("grid", "lr", 0)) as live:
            live.add(SPECS, ())
            live.phases({IDS[0]: "building the network"})
            while said() != ("", 1):
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert said() == ("stopped", 0)
    with LiveProgress(ResultsFolder(tmp_path), Scope("grid", "lr", 0)):
        assert said() == ("", 0)
    assert said() == ("ended", 0)


def test_thousands_of_trials_at_once_are_a_number_and_the_first_of_them(tmp_path: Path) -> None:
    specs = [SPECS[0].replace(seed=seed) for seed in range(3 * MOST_RUNNING)]
    live = LiveProgress(ResultsFolder(tmp_path), Scope("grid", "lr", 0))
    live.add(specs, ())
    live.epochs({spec.trial_id: epoch(1) for spec in specs})
    now = live.progress()
    assert (now.num_running, len(now.running)) == (3 * MOST_RUNNING, MOST_RUNNING)


def test_a_driver_that_was_taken_over_or_whose_folder_has_gone_says_nothing_more(tmp_path: Path) -> None:
    class Lost(ResultsFolder):
        def stop_if_lost(self) -> None:
            raise LeaseError("another leads")

    (tmp_path / FILE_NAME).write_text("another's")
    with LiveProgress(Lost(tmp_path), Scope("grid", "lr", 0)):
        pass
    assert (tmp_path / FILE_NAME).read_text() == "another's"
    with LiveProgress(ResultsFolder(tmp_path / "moved away"), Scope("grid", "lr", 0)):
        pass
    assert not (tmp_path / "moved away").exists()


def test_the_storage_has_the_last_word_of_a_driver(tmp_path: Path) -> None:
    out, shared = tmp_path / "out", tmp_path / "shared"
    out.mkdir()
    with lead(out, str(shared), print) as folder, LiveProgress(folder, Scope("grid", "lr", 0)):
        pass
    assert read_progress((shared / FILE_NAME).read_bytes()).end == "ended"


def test_the_command_is_as_it_was_typed_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["/x/sweep/run.py", "--out", "my folder", "--storage", "postgresql://me:geheim@host/db"]
    monkeypatch.setattr(sys, "argv", words)
    assert typed_command() == "python -m sweep.run --out 'my folder' --storage postgresql://me:***@host/db"
    monkeypatch.setattr(sys, "argv", ["/x/ipykernel_launcher.py", "-f", "kernel.json"])
    assert typed_command() == ""
