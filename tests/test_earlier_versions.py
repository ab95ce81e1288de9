"""A search's results folder that an earlier version wrote: it goes on and is reported. `tests/earlier` holds it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from analysis.search.study import read_study
from galaxytl.results.rows import read_results
from galaxytl.results.search.asked_file import FORMAT, read_asked
from galaxytl.trial import COMPLETE
from sweep.results.folder import lead
from sweep.search.export import earlier_lines, sqlite_url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy whose study is a database again."""
    out = shutil.copytree(Path(__file__).parent / "earlier" / "search", tmp_path / "search")
    with closing(sqlite3.connect(out / "study.db")) as database:
        database.executescript((out / "study.sql").read_text())
    return out


def identity_in(folder: Path) -> Mapping[str, Any]:
    with closing(sqlite3.connect(folder / "study.db")) as database:
        query = "SELECT value_json FROM study_user_attributes WHERE key = 'identity'"
        return json.loads(database.execute(query).fetchone()[0])


def test_its_study_becomes_what_was_asked_and_each_row_is_found(folder: Path) -> None:
    identity = identity_in(folder)
    lines = earlier_lines(sqlite_url(folder / "study.db"), "search", identity, lambda fields: {})
    with lead(folder, "", print) as results_folder:
        results_folder.append_asked([{"asked": FORMAT, "search": identity}, *lines])
    asked, rows = read_asked(folder), read_results(folder)
    assert (asked.search, asked.problems, rows.problems) == (identity, (), ())
    ended = {row.trial_id for row in rows.results if row.status == COMPLETE}
    assert len(ended) == 4
    assert len(asked.suggestions) == len({one.trial_id for one in asked.suggestions}) == 6
    assert ended < {one.trial_id for one in asked.suggestions}


def test_its_report_is_the_same_from_its_study_and_from_what_was_asked(folder: Path) -> None:
    from_study = read_study(folder)
    assert (from_study.note, [trial.status for trial in from_study.trials].count(COMPLETE)) == ("", 4)
    best = max(read_results(folder).results, key=lambda row: row.metrics["accuracy"])
    assert best.metrics["accuracy"] == max(trial.values[0] for trial in from_study.trials if trial.values)

    lines = earlier_lines(sqlite_url(folder / "study.db"), "search", identity_in(folder), lambda fields: {})
    with lead(folder, "", print) as results_folder:
        results_folder.append_asked([{"asked": FORMAT, "search": {}}, *lines])
    (folder / "study.db").unlink()
    assert read_study(folder) == from_study
