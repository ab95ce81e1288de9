"""Trackers follow the rows, whether they answer or not; the sweep waits for none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from threading import Event

import pytest

from galaxytl.results.rows import row_line
from galaxytl.trial import TrialResult
from sweep.progress.trackers import follower as follower_module
from sweep.progress.trackers.addresses import Address, Kind
from sweep.progress.trackers.follower import Rows, following
from sweep.progress.trackers.runs import ChildRun, ParentRun
from tests.sweep.progress.trackers.rows import PASSWORD, make_child, make_failed, make_parent, make_result, wait_until


class Shelf:
    """A tracker in memory, which can be away."""

    place = "the shelf"

    def __init__(self) -> None:
        self.there: dict[str, str] = {}
        self.writes: list[str] = []
        self.counts: Mapping[str, int] = {}
        self.is_away = False
        self.blocks = Event()
        self.blocks.set()

    def open(self, target: str, sweep: ParentRun) -> Shelf:
        self._reach()
        return self

    def _reach(self) -> None:
        self.blocks.wait(30)
        if self.is_away:
            raise ConnectionError(f"no route to http://me:{PASSWORD}@shelf")

    def rows(self) -> dict[str, str]:
        return dict(self.there)

    def write(self, child: ChildRun) -> None:
        self._reach()
        self.there[child.trial_id] = child.row
        self.writes.append(child.trial_id)

    def close(self, counts: Mapping[str, int]) -> None:
        self.counts = dict(counts)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower_module, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(follower_module, "PATIENCE", 0.3)


class Sweep:
    """A sweep with a shelf for a tracker."""

    def __init__(self, shelf: Shelf, folder: Path) -> None:
        self.lines: list[bytes] = []
        self.said: list[str] = []
        address = Address(Kind("the shelf", shelf.open, "rich"), "")
        self.followed = following([address], make_parent(folder), lambda: tuple(self.lines), self.said.append)

    def append(self, *results: TrialResult) -> None:
        self.lines += map(row_line, results)


def test_rows_are_written_as_they_come_and_none_again_by_the_next_driver(tmp_path: Path) -> None:
    shelf, results = Shelf(), [make_result(seed) for seed in range(3)]
    first, second = Sweep(shelf, tmp_path), Sweep(shelf, tmp_path)
    with first.followed:
        first.append(results[0])
        wait_until(lambda: len(shelf.writes) == 1)
        first.append(results[1])
    second.append(*results)
    with second.followed:
        pass
    assert shelf.writes == [result.trial_id for result in results]
    assert shelf.there == {result.trial_id: make_child(result).row for result in results}
    assert shelf.counts == {"COMPLETE": 3}
    assert first.said == second.said == ["Tracked   the shelf"]


def test_a_tracker_that_is_away_is_said_once_and_caught_up(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.is_away = True
    sweep = Sweep(shelf, tmp_path)
    with sweep.followed:
        sweep.append(make_result(0), make_result(1))
        wait_until(lambda: len(sweep.said) == 1)
        sweep.append(make_result(2))
        shelf.is_away = False
        wait_until(lambda: len(shelf.there) == 3)
    assert re.fullmatch(r"note: the shelf cannot be written to just now; .* http://me:\*\*\*@shelf", sweep.said[0])
    assert sweep.said[1:] == ["the shelf answers again; it has all rows", "Tracked   the shelf"]


def test_one_that_stays_away_leaves_the_end_to_the_next_start(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.is_away = True
    first, second = Sweep(shelf, tmp_path), Sweep(shelf, tmp_path)
    with first.followed:
        first.append(make_result(0))
    assert first.said[1:] == ["note: the shelf lacks 1 trials; the same command brings it up to date"]
    shelf.is_away = False
    second.append(make_result(0))
    with second.followed:
        pass
    assert len(shelf.there) == 1


def test_one_that_hangs_does_not_hold_the_end_up(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.blocks.clear()
    sweep = Sweep(shelf, tmp_path)
    with sweep.followed:
        sweep.append(make_result(0))
    assert not shelf.writes  # its thread still waits
    assert "the same command" in sweep.said[0]
    shelf.blocks.set()


def test_an_error_of_the_sweep_goes_on_its_way(tmp_path: Path) -> None:
    shelf = Shelf()
    sweep = Sweep(shelf, tmp_path)
    sweep.append(make_result(0))
    with pytest.raises(KeyboardInterrupt), sweep.followed:
        raise KeyboardInterrupt
    assert len(shelf.there) == 1


def test_the_last_row_of_a_trial_counts_and_no_failure_after_another(tmp_path: Path) -> None:
    rows, complete, failed = Rows(), row_line(make_result(0)), row_line(make_failed(0))
    trial_id = make_failed(0).trial_id
    assert rows.take([failed]) == [trial_id]
    assert rows.take([failed, complete]) == [trial_id]
    assert rows.take([failed, complete, failed, b"{", b""]) == []
    assert rows.lines[trial_id] == complete
    assert rows.take([complete]) == [trial_id]  # the file was made anew
    assert rows.take([complete]) == []


def test_a_trial_that_is_run_again_is_written_in_its_place(tmp_path: Path) -> None:
    shelf, result = Shelf(), make_result(0)
    sweep = Sweep(shelf, tmp_path)
    with sweep.followed:
        sweep.append(make_failed(0))
        wait_until(lambda: shelf.writes)
        sweep.append(result)
    assert shelf.there == {result.trial_id: make_child(result).row}
    assert len(shelf.writes) == 2
