"""Rows that a power cut, a stranger or another version has written: read, or left out with one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from galaxytl.results.rows import MOST_STARTS, read_results
from galaxytl.results.stored_rows import merge_lines
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from tests.fuzz import rows

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a")


def row(seed: int = 0, **changes: Any) -> dict[str, Any]:
    return TrialResult(spec=SPEC.replace(seed=seed), status=COMPLETE).to_dict() | changes


def line(seed: int = 0, **changes: Any) -> bytes:
    return json.dumps(row(seed, **changes), separators=(",", ":")).encode()


def read(folder: Path, *lines: bytes, end: bytes = b"\n") -> tuple[list[int], tuple[str, ...]]:
    """The seeds of the rows that are read, and what is said of the others."""
    (folder / "trials.jsonl").write_bytes(b"\n".join(lines) + end)
    found = read_results(folder)
    return [result.spec.seed for result in found.results], found.problems


GARBAGE = {
    "nested": b"[" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "nested in a field that is not known": line(9, later=0).replace(
        b'"later":0', b'"later":' + b"[" * 900 + b"]" * 900
    ),
    "nested in the spec": line(9).replace(b'"seed":9', b'"seed":' + b"[" * 900 + b"]" * 900),
    "a number of 5,000 digits": line(9, num_fused=0).replace(b'"num_fused":0', b'"num_fused":' + b"9" * 5000),
    "NaN": line(9, metrics={"accuracy": float("nan")}),
    "a number beyond all floats": line(9).replace(b'"metrics":{}', b'"metrics":{"accuracy":1e999}'),
    "a whole number beyond all floats": line(9).replace(
        b'"metrics":{}', b'"metrics":{"accuracy":1' + b"0" * 400 + b"}"
    ),
    "Latin-1": line(9, message="x").replace(b'"x"', b'"\xe9"'),
    "UTF-16": line(9).decode().encode("utf-16"),
    "half a row": line(9)[:-40],
    "a list": b"[1]",
    "a number": b"7",
    "nothing": b"null",
    "a row of no schema": b"{}",
    "controls": b"\x1b[2J\x07",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_one_sentence_and_hides_no_row(garbage: bytes, tmp_path: Path) -> None:
    seeds, problems = read(tmp_path, line(0), garbage, line(1))
    assert seeds == [0, 1]
    assert any("line 2 was left out: " in problem and "; got " in problem for problem in problems)
    assert all(problem.isprintable() and len(problem) < 500 for problem in problems)


HIDING = {
    "a block of NULs": bytes(5000),
    "NULs over megabytes": bytes(3 * 2**20 + 5),
    "half a row and NULs": line(9)[:200] + bytes(5000),
    "half a row": line(9)[:200],
    "noise": b"\xff\x07 garbage ",
    "a row without its end": line(8),
    "starts of rows": b'{"schema":' * (MOST_STARTS // 2),
}


@pytest.mark.parametrize("before", HIDING.values(), ids=HIDING)
def test_no_damage_hides_the_row_that_follows_on_its_line(before: bytes, tmp_path: Path) -> None:
    seeds, problems = read(tmp_path, line(0), before + line(1), line(2))
    assert [seed for seed in seeds if seed != 8] == [0, 1, 2]
    assert bool(problems) == (before != line(8))
    assert all("line 2" in problem for problem in problems)


def test_nuls_after_a_row_are_said_once(tmp_path: Path) -> None:
    seeds, problems = read(tmp_path, line(0) + bytes(4096), bytes(10) + line(1), end=bytes(4096))
    assert seeds == [0, 1]
    assert [p.rpartition("jsonl, ")[2] for p in problems] == [
        "line 1 and 1 more: NUL bytes, which a power cut leaves, were skipped"
    ]


def test_other_ends_of_lines_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbf" + line(0) + b"\r", line(1) + b"\r", b"  ", line(2), end=b"") == (
        [0, 1, 2],
        (),
    )


WRONG: dict[str, list[Any]] = {
    "status": ["DONE", "complete", 3, None, ["COMPLETE"]],
    "message": [3, None, ["x"]],
    "history": [3, "x", {}, ["x"], [{"epoch": "1"}], [{"epoch": None}], [{"loss": 1.0}], [{"epoch": 1, "loss": [1]}]],
    "curves_on": ["train", None, []],
    "metrics": ["high", [], {"accuracy": "high"}, {"accuracy": True}, {"accuracy": {}}, None],
    "confusion": [
        *(3, [3], [[1, 2], [3]], [[1.5]], [[-1]], [[2**80]], [[True]], [["1"]], [[1, 2]], {}),
        *({"without_zeros": lines} for lines in (3, [3], [[0]], [[1, 3]], [[0, 1, 0, 1]], [[0, -1]], [[]] * 1001)),
    ],
    "class_names": ["ab", [1, 2], [None], {}],
    "num_images": [{"test": -1}, {"test": 1.5}, {"test": "3"}, {"test": None}, [], 3, {"test": True}],
    "num_parameters": [{"total": -1}, "x"],
    "diagnostics": [3, ["x"], [{"epoch": 0}], [{"epoch": 0, "gradient_norms": [], "dead_shares": {}}]],
    "certificate": [3, {"excess_loss": "x"}],
    "timings": [{"total": "3 s"}, "3 s", ["total"]],
    "num_fused": ["x", 0, -1, 1.0, True, None],
    "multiply_adds": [{"train": "x"}],
    "environment": [{"device": {"name": "x"}}, {"device": 3}, {"device": None}, [], "x"],
    "probabilities": [3, None, ["x"]],
    "started": [3, None],
    "spec": [3, None, [], {}, "x"],
    "trial_id": [3, None, "0" * 16, []],
    "schema": ["3", 3.0, None, True, 0, -1],
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_of_a_wrong_type_is_refused_by_rule_and_value(name: str, tmp_path: Path) -> None:
    lines = [line(seed, **{name: value}) for seed, value in enumerate(WRONG[name], start=1)]
    seeds, problems = read(tmp_path, line(0), *lines, line(100))
    assert seeds == [0, 100]
    assert problems
    assert all(name in problem and "; got " in problem for problem in problems), problems


def test_what_was_not_measured_may_be_missing_and_a_confusion_matrix_has_a_line_a_class(tmp_path: Path) -> None:
    seeds, problems = read(tmp_path, line(confusion=[[1, 0], [0, 1]], class_names=["a", "b", "c"]))
    assert seeds == []
    assert "confusion must have a line a class, 3; got 2" in problems[0]
    kept = {name: row()[name] for name in ("schema", "trial_id", "spec")}
    seeds, problems = read(tmp_path, json.dumps(kept | {"status": "FAILED", "metrics": {"loss": None}}).encode())
    assert (seeds, problems) == ([0], ())
    assert "status" in read(tmp_path, json.dumps(kept).encode())[1][0]


def test_lines_with_one_reason_make_one_sentence(tmp_path: Path) -> None:
    lines = [line(seed, status=f"DONE {seed}") for seed in range(2000)]
    seeds, problems = read(tmp_path, line(5000), *lines, *[b"hello"] * 3)
    assert seeds == [5000]
    assert [problem.rpartition("trials.jsonl, ")[2] for problem in problems] == [
        "line 2 and 1,999 more were left out: status must be one of COMPLETE, FAILED, PRUNED; got 'DONE 0'",
        "line 2002 and 2 more were left out: a line must be JSON; got 'hello' (Expecting value)",
    ]


def test_half_letters_become_visible(tmp_path: Path) -> None:
    """No file takes them: a report with one could not be written."""
    (tmp_path / "trials.jsonl").write_bytes(
        line(message="\udcff", environment={"host": "\ud800"}, later="\udfff") + b"\n"
    )
    (result,) = read_results(tmp_path).results
    assert (result.message, result.environment, result.extra) == (
        "\\udcff", {"host": "\\ud800"}, {"later": "\\udfff"},
    )  # fmt: skip
    assert read(tmp_path, line(message="\U0001f30c"))[0] == [0]


# Other versions


def test_unknown_fields_of_results_are_kept(tmp_path: Path) -> None:
    later = {"calibration": {"bins": [1, 2]}, "extra": 3}
    (tmp_path / "trials.jsonl").write_bytes(line(**later) + b"\n")
    (result,) = read_results(tmp_path).results
    assert result.extra == later
    assert result.to_dict() == row(**later)
    assert next(iter(result.to_dict())) == "schema"  # where a row begins


@pytest.mark.parametrize("damaged", [line(1, metrics="high"), line(1)[:-9], b"[" * 100_000, line(1, schema=4)])
def test_a_row_at_a_storage_that_cannot_be_read_takes_no_other_place(damaged: bytes) -> None:
    own = line(1, message="mine") + b"\n"
    assert merge_lines([line(0), damaged], own) == b"\n".join([line(0), damaged, own])
    assert merge_lines([line(0), line(1)], own) == line(0) + b"\n" + line(1) + b"\n"


def test_a_short_fuzz_hides_no_row_and_raises_nothing(tmp_path: Path) -> None:
    """The long one: `python -m tests.fuzz --rows 1000`."""
    rows.try_reading(tmp_path, count=30, seed=1)
    assert (tmp_path / "trials.jsonl").stat().st_size > 0  # of the last folder that was tried
