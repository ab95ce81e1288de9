from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import pyarrow as pa
import pytest

from galaxytl.classify.parts import Parts, Work, folder_of, open_parts
from galaxytl.system.command import UsageError

WORK = Work("0" * 64, "galaxy.keras", "1" * 64, "images/", ["--tta"])


def rows(start: int, stop: int) -> pa.Table:
    return pa.table({"row": range(start, stop)})


def all_rows(parts: Parts) -> list[int]:
    return [row for table in parts.tables() for row in table["row"].to_pylist()]


class KilledError(Exception):
    pass


def left_at(out: Path, *stops: int, flushes: bool = True) -> None:
    """Have a run end in the middle, with rows up to these."""
    with contextlib.suppress(KilledError), open_parts(out, WORK) as parts:
        for stop in stops:
            parts.add(rows(parts.stop, stop))
            if flushes:
                parts.flush()
        raise KilledError


def test_a_run_goes_on_from_what_is_on_disk_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "classes.csv"
    left_at(out, 3, 8)
    with open_parts(out, WORK) as parts:
        assert parts.stop == 8
        parts.add(rows(8, 10))
        parts.flush()
        assert all_rows(parts) == list(range(10))
    assert list(tmp_path.iterdir()) == []


def test_what_is_held_is_written_when_a_run_is_stopped(tmp_path: Path) -> None:
    left_at(tmp_path / "o.csv", 1, 2, flushes=False)
    with open_parts(tmp_path / "o.csv", WORK) as parts:
        assert parts.stop == 2


def test_a_damaged_part_and_those_behind_a_gap_are_done_again(tmp_path: Path) -> None:
    out = tmp_path / "classes.csv"
    left_at(out, 3, 8, 12)
    second = next(folder_of(out).glob("*3-*8.parquet"))
    second.write_bytes(second.read_bytes()[:-20])
    with open_parts(out, WORK) as parts:
        assert parts.stop == 3
        assert all_rows(parts) == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "2" * 64}, "another model, galaxy.keras"),
        ({"images": "2" * 64}, "other images, images/"),
        ({"options": []}, "other options, --tta"),
    ],
)
def test_parts_of_other_work_are_refused_and_stay(tmp_path: Path, change: dict[str, object], said: str) -> None:
    out = tmp_path / "classes.csv"
    left_at(out, 3)
    with pytest.raises(UsageError, match=said), open_parts(out, dataclasses.replace(WORK, **change)):  # type: ignore[arg-type]
        pass
    with open_parts(out, WORK) as parts:
        assert parts.stop == 3


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "classes.csv"
    with open_parts(out, WORK), pytest.raises(UsageError, match="one run at a time"), open_parts(out, WORK):
        pass


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "classes.csv")
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"it holds thesis\.tex"), open_parts(tmp_path / "classes.csv", WORK):
        pass
    assert (folder / "thesis.tex").read_text() == "mine"
