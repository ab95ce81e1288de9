from __future__ import annotations

import fcntl
from multiprocessing import get_context
from pathlib import Path

import pytest

from galaxytl import results as results_module
from galaxytl.results import append_results, read_results
from galaxytl.trial import COMPLETE, FAILED, TrialResult, TrialSpec
from tests.cluster.faults import fill, free

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a")


def result(seed: int, status: str = COMPLETE) -> TrialResult:
    return TrialResult(spec=SPEC.replace(seed=seed), status=status)


def append_many(folder: Path, first: int) -> None:
    for seed in range(first, first + 50):
        append_results(folder, result(seed))


def test_rows_come_back_in_order(tmp_path: Path) -> None:
    for seed in (3, 1, 2):
        append_results(tmp_path, result(seed))
    rows = read_results(tmp_path)
    assert [r.spec.seed for r in rows.results] == [3, 1, 2]
    assert rows.problems == ()


def test_full_disk_leaves_no_half_row_and_says_what_to_do(small_disk: Path) -> None:
    append_results(small_disk, result(0))
    print(fill(small_disk))
    with pytest.raises(OSError, match=r"could not be written; make room, and the same command goes on.*trials\.jsonl"):
        append_many(small_disk, 1)
    rows = read_results(small_disk)
    print(free(small_disk))
    append_results(small_disk, result(99))
    assert read_results(small_disk).problems == rows.problems == ()
    assert [r.spec.seed for r in read_results(small_disk).results] == [*(r.spec.seed for r in rows.results), 99]


def test_missing_file_has_no_rows(tmp_path: Path) -> None:
    assert read_results(tmp_path).results == ()


def test_half_written_last_line_is_said_and_later_rows_are_kept(tmp_path: Path) -> None:
    append_results(tmp_path, result(0))
    append_results(tmp_path, result(1))
    path = tmp_path / "trials.jsonl"
    path.write_bytes(path.read_bytes()[:-30])  # a writer killed in the middle
    rows = read_results(tmp_path)
    assert [r.spec.seed for r in rows.results] == [0]
    assert "line 2 (half-written)" in rows.problems[0]
    append_results(tmp_path, result(2))
    assert [r.spec.seed for r in read_results(tmp_path).results] == [0, 2]


def test_last_row_of_a_trial_counts(tmp_path: Path) -> None:
    append_results(tmp_path, result(0, FAILED))
    append_results(tmp_path, result(0))
    rows = read_results(tmp_path)
    assert [r.status for r in rows.results] == [COMPLETE]
    assert rows.problems == ()
    append_results(tmp_path, result(0))
    assert "earlier COMPLETE row" in read_results(tmp_path).problems[0]


def test_foreign_lines_are_problems_not_errors(tmp_path: Path) -> None:
    (tmp_path / "trials.jsonl").write_text('[1]\n{"schema": 99}\nhello\n\xff\n')
    rows = read_results(tmp_path)
    assert rows.results == ()
    assert len(rows.problems) == 4


def test_two_writers_lose_no_row(tmp_path: Path) -> None:
    context = get_context("spawn")
    writers = [context.Process(target=append_many, args=(tmp_path, first)) for first in (0, 1000)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    rows = read_results(tmp_path)
    assert len(rows.results) == 100
    assert rows.problems == ()


def test_rows_that_another_process_has_locked_are_waited_for_and_then_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a driver does that was suspended while it wrote."""
    append_results(tmp_path, result(0))
    before = (tmp_path / "trials.jsonl").read_bytes()
    monkeypatch.setattr(results_module, "LOCK_SECONDS", 0.2)
    with (tmp_path / "trials.jsonl").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OSError, match=r"another process has held it for 0\.2 s.*End it, and.*trials\.jsonl"):
            append_results(tmp_path, result(1))
        assert (tmp_path / "trials.jsonl").read_bytes() == before
    append_results(tmp_path, result(1))
    assert len(read_results(tmp_path).results) == 2
