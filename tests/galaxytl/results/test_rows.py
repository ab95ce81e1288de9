from __future__ import annotations

import fcntl
import itertools
import math
import subprocess
import sys
from pathlib import Path

import pytest

from galaxytl.results import rows as results_module
from galaxytl.results.rows import append_results, ranked, read_results
from galaxytl.trial import COMPLETE, FAILED, PRUNED, TrialResult, TrialSpec
from tests.cluster.faults import fill, free

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a")


def result(seed: int, status: str = COMPLETE) -> TrialResult:
    return TrialResult(spec=SPEC.replace(seed=seed), status=status)


def test_rows_come_back_in_order(tmp_path: Path) -> None:
    assert read_results(tmp_path).results == ()
    append_results(tmp_path, result(3), result(1))
    append_results(tmp_path, result(2))
    rows = read_results(tmp_path)
    assert [r.spec.seed for r in rows.results] == [3, 1, 2]
    assert rows.problems == ()
    with pytest.raises(ValueError, match="lost"):
        append_results(tmp_path, result(4), check=lambda: int("lost"))  # asked before anything is written
    assert read_results(tmp_path) == rows


def test_full_disk_leaves_no_half_row_and_says_what_to_do(small_disk: Path) -> None:
    append_results(small_disk, result(0))
    print(fill(small_disk))
    with pytest.raises(OSError, match=r"could not be written; make room, and the same command goes on.*trials\.jsonl"):
        append_results(small_disk, *map(result, range(1, 50)))
    rows = read_results(small_disk)
    assert [r.spec.seed for r in rows.results] == [0]
    print(free(small_disk))
    append_results(small_disk, result(99))
    assert read_results(small_disk).problems == rows.problems == ()
    assert [r.spec.seed for r in read_results(small_disk).results] == [0, 99]


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


def test_rows_of_shards_are_read_with_the_folders_own_and_each_trial_once(tmp_path: Path) -> None:
    """A trial that failed in one shard and ended in another has ended; one of whose row there are two copies has one,
    one that two shards have trained is said to have two, and of one that failed again later, without shards, that
    counts. What is called like a shard's folder and is a file is none."""
    (tmp_path / "shard-7-of-9").touch()
    for name in ("shard-1-of-2", "shard-2-of-2", "shard-2-of-10", "shard-0-of-2", "sharded"):
        (tmp_path / name).mkdir()
        append_results(tmp_path / name, result(5 if name in ("shard-0-of-2", "sharded") else 1))
    twice = TrialResult(spec=SPEC.replace(seed=4), status=COMPLETE, message="again")
    append_results(tmp_path / "shard-2-of-2", result(2), result(3, FAILED), result(4))
    append_results(tmp_path / "shard-2-of-10", result(3), twice)
    assert [r.spec.seed for r in read_results(tmp_path).results] == [1, 2, 3, 4]
    append_results(tmp_path / "shard-2-of-10", result(6, FAILED))
    again = TrialResult(spec=SPEC.replace(seed=6), status=FAILED, message="again")
    append_results(tmp_path, result(0), result(2, FAILED), again)
    rows = read_results(tmp_path)
    assert [(r.spec.seed, r.status) for r in rows.results[:-1]] == [(i, COMPLETE) for i in (1, 2, 3, 4, 0)]
    assert (rows.results[3], rows.results[-1]) == (twice, again)
    (problem,) = rows.problems
    assert f"shard-2-of-10/trials.jsonl, line 3: trial {twice.trial_id} has an earlier COMPLETE row" in problem


def test_last_row_of_a_trial_counts(tmp_path: Path) -> None:
    append_results(tmp_path, result(0, FAILED))
    append_results(tmp_path, result(0))
    rows = read_results(tmp_path)
    assert [r.status for r in rows.results] == [COMPLETE]
    assert rows.problems == ()
    append_results(tmp_path, result(0))
    assert "earlier COMPLETE row; one of them used" in read_results(tmp_path).problems[0]
    append_results(tmp_path, result(0, FAILED))  # of a driver that was taken over
    rows = read_results(tmp_path)
    assert [r.status for r in rows.results] == [COMPLETE]
    assert "line 4: trial" in rows.problems[1]
    assert "has an earlier COMPLETE row; that one used" in rows.problems[1]


def test_foreign_lines_are_problems_not_errors(tmp_path: Path) -> None:
    (tmp_path / "trials.jsonl").write_text('[1]\n{"schema": 99}\nhello\n\xff\n')
    rows = read_results(tmp_path)
    assert rows.results == ()
    assert len(rows.problems) == 3  # a sentence for both that are no JSON


WRITER = """
import sys
from pathlib import Path
from galaxytl.results.rows import append_results
from galaxytl.trial import TrialResult, TrialSpec
spec = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a")
for seed in range(50):
    result = TrialResult(spec=spec.replace(seed=int(sys.argv[2]) + seed), status="COMPLETE")
    append_results(Path(sys.argv[1]), result)
"""


def test_two_writers_lose_no_row(tmp_path: Path) -> None:
    """Processes, as two drivers are: they share nothing but the file's lock."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, first]) for first in ("0", "1000")]
    assert [writer.wait() for writer in writers] == [0, 0]
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
        with pytest.raises(OSError, match=r"locked by another process for 0\.2 s.*Stop that process.*trials\.jsonl"):
            append_results(tmp_path, result(1))
        assert (tmp_path / "trials.jsonl").read_bytes() == before
    append_results(tmp_path, result(1))
    assert len(read_results(tmp_path).results) == 2


def scored(
    seed: int, accuracy: float, loss: float = 1.0, status: str = COMPLETE, on: str = "validation"
) -> TrialResult:
    spec = SPEC.replace(seed=seed, validation_fraction=0.1, scored_on=on)
    metrics = {"accuracy": accuracy, "loss": loss} if status == COMPLETE else {}
    return TrialResult(spec=spec, status=status, metrics=metrics)


@pytest.mark.parametrize(
    ("results", "seeds"),
    [
        ([scored(0, 0.5), scored(1, 0.7), scored(2, 0.6)], [1, 2, 0]),
        ([scored(0, 0.5, 1.2), scored(1, 0.5, 1.1), scored(2, 0.6, 9.0)], [2, 1, 0]),  # of equals the lower loss
        (
            [scored(0, 0.5, math.nan), scored(1, 0.6, math.nan), scored(2, 0.55)],
            [1, 2, 0],
        ),  # as of a row that says null
        ([scored(0, 0.9, status=FAILED), scored(1, 0.9, status=PRUNED), scored(2, 0.1)], [2]),
        ([scored(0, 0.99, 0.01, on="test"), scored(1, 0.5)], [1]),  # the test part is never looked at
        ([scored(0, 0.99, 0.01, on="test")], []),
    ],
)
def test_a_search_chooses_by_the_validation_part(results: list[TrialResult], seeds: list[int]) -> None:
    assert all([best.spec.seed for best in ranked(order)] == seeds for order in itertools.permutations(results))


def test_of_equals_the_order_is_the_same_everywhere() -> None:
    results = [scored(seed, 0.5) for seed in range(4)]
    by_id = sorted(results, key=lambda found: found.trial_id)
    assert all(ranked(order) == by_id for order in itertools.permutations(results))
