"""The history of leases and rows: what is noted of an operation, and that it never stands in a sweep's way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from galaxytl.results.history import VARIABLE, operation
from galaxytl.system.command import UsageError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "history"))
    return tmp_path / "history"


def test_an_operation_has_a_line_at_its_beginning_and_one_at_its_end(file: Path) -> None:
    with operation("append", "out", trials=lambda: ["0f3a"]) as note:
        note(generation=3)
    begin, end = map(json.loads, file.read_text().splitlines())
    assert end["time"] >= begin["time"]
    same = {"pid": os.getpid(), "number": begin["number"], "what": "append", "where": "out"}
    assert begin == {"time": begin["time"], **same, "outcome": "", "trials": ["0f3a"]}
    assert end == {"time": end["time"], **same, "outcome": "ok", "generation": 3}


@pytest.mark.parametrize(("error", "outcome"), [(UsageError("another leads"), "fail"), (OSError(), "unknown")])
def test_what_an_error_leaves_open_is_unknown(file: Path, error: Exception, outcome: str) -> None:
    with pytest.raises(type(error)), operation("append", "out"):
        raise error
    assert [json.loads(line)["outcome"] for line in file.read_text().splitlines()] == ["", outcome]


def test_it_costs_nothing_unless_asked_for_and_fails_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with operation("read", "out", trials=lambda: pytest.fail("it was asked for what takes time")):
        pass
    monkeypatch.setenv(VARIABLE, str(tmp_path))  # a folder
    with operation("read", "out", trials=lambda: {1, 2}) as note:
        note(odd=object())
