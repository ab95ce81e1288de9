"""Studies in databases: exports that follow the study in memory, studies of earlier versions, storages that fail."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.storages._rdb import storage as optunas
from optuna.trial import FrozenTrial, TrialState

from galaxytl.results.search.asked_file import asked_of
from sweep.search import export
from sweep.search.export import Export, absolute, earlier_lines, open_storage, sqlite_url
from sweep.search.stopping import Asha
from sweep.search.study import StudyError
from tests.sweep.searches import (
    BASE,
    ToySearch,
    asha,
    epoch_of,
    failed,
    make_problem,
    make_search,
    next_driver,
    result_of,
    run_sequentially,
    train,
)
from tests.sweep.sweeps import wait_for

pytestmark = pytest.mark.usefixtures("databases_closed")
IDENTITY = {"space": "sweep.space:space", "trials": {"image_size": 32, "num_epochs": 10}}
FACTS = ("number", "state", "params", "distributions", "values", "intermediate_values", "user_attrs")


@pytest.fixture(autouse=True)
def _no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports are brought up to date when the tests say so."""
    monkeypatch.setattr(export, "EXPORT_SECONDS", 60)


def exported(url: str, search: ToySearch, said: list[str] | None = None, **changed: Any) -> Export:
    said = [] if said is None else said
    return Export(url, search.study, (changed.get("name", "toy"), changed.get("identity", IDENTITY)), said.append)


def there(url: str, name: str = "toy") -> list[FrozenTrial]:
    return optuna.load_study(study_name=name, storage=open_storage(url)).trials


def facts(trials: list[FrozenTrial]) -> list[dict[str, Any]]:
    return [{fact: getattr(trial, fact) for fact in FACTS} for trial in trials]


def refused(url: str, search: ToySearch | None = None, **changed: Any) -> str:
    """Why there can be no export: one line."""
    with pytest.raises(StudyError) as caught:
        exported(url, search or make_search(), **changed)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert "sqlalche.me" not in message
    return message


# Exports


@pytest.mark.parametrize("kind", ["sqlite:///", "journal:///"])
def test_an_export_follows_the_study_and_is_brought_up_to_date_by_the_next_driver(kind: str, tmp_path: Path) -> None:
    url, said = f"{kind}{tmp_path}/new/folder/study", list[str]()
    first = asha(num_trials=12)
    with exported(url, first, said) as export_of_first:
        specs = first.ask(6)
        first.epochs({spec.trial_id: epoch_of(spec, 1) for spec in specs[:3]})
        export_of_first._try()
        assert [trial.state for trial in there(url)] == [TrialState.RUNNING] * 6
        train(first, specs[:3])
        first.finished(failed(specs[3]))
    assert facts(there(url)) == facts(first.trials)
    unheard = specs[4]
    first.rows[unheard.trial_id] = result_of(unheard)  # the driver dies
    second = next_driver(first, rule=Asha(BASE.num_epochs), num_trials=12)
    run_sequentially(second, 2)
    with exported(url, second, said):
        pass
    assert facts(there(url)) == facts(second.trials)
    assert said == []


def test_an_export_follows_by_itself(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "EXPORT_SECONDS", 0.02)
    search = make_search(num_trials=3)
    with exported(url, search):
        run_sequentially(search)
        wait_for(lambda: [trial.state.name for trial in there(url)] == ["COMPLETE"] * 3, "three trials")


def test_an_export_that_contradicts_is_made_anew_and_the_studies_beside_it_stay(url: str) -> None:
    search, said = make_search(num_trials=4), list[str]()
    run_sequentially(search)
    other = optuna.create_study(storage=open_storage(url), study_name="other")
    other.add_trial(optuna.trial.create_trial(value=1.0))
    for change in (
        lambda study: study.enqueue_trial({"optimizer": "adam"}),  # by hand, in the dashboard
        lambda study: study.tell(study.ask().number, 0.5),
    ):
        with exported(url, search, said):
            pass
        change(optuna.load_study(study_name="toy", storage=open_storage(url)))
        with exported(url, search, said):
            pass
        assert facts(there(url)) == facts(search.trials)
        assert said.pop().startswith("note: the study in sqlite:///")
    assert [trial.value for trial in there(url, "other")] == [1.0]


def test_trials_that_another_folder_exported_are_not_deleted(url: str) -> None:
    first, second = make_search(seed=1), make_search(seed=2)
    for search in (first, second):
        run_sequentially(search, 2)
    with exported(url, first):
        pass
    assert "'toy' has 2 trials that its results folder does not know, this search none" in refused(url, second)
    assert facts(there(url)) == facts(first.trials)


def test_a_storage_that_is_away_for_a_while_stops_no_search(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    search, said = make_search(num_trials=4), list[str]()
    with exported(url, search, said) as away:
        with locked(tmp_path / "study.db"):
            run_sequentially(search)
            away._try()
            away._try()
        assert ["cannot be exported just now: database is locked" in note for note in said] == [True]
    assert facts(there(url)) == facts(search.trials)


def test_sqlite_writes_ahead_so_that_a_commit_waits_for_no_disk_and_readers_for_nobody(url: str) -> None:
    with open_storage(url).engine.connect() as connection:  # type: ignore[attr-defined]
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1  # NORMAL
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000  # ms: a short lock is waited for


# Studies of earlier versions


def test_a_study_of_an_earlier_version_becomes_what_was_asked(url: str) -> None:
    """One with trials of every kind, as sweep 1 left it: ended, under way, waiting, half suggested, refused, known."""
    search = asha(num_trials=9)
    known = result_of(BASE.replace(learning_rate=2e-3, unfrozen_blocks=1))
    assert search.add_known([known]) == 1
    specs = search.ask(5)
    train(search, specs[:3])
    study = optuna.create_study(storage=open_storage(url), study_name="toy", direction="maximize")
    study.set_user_attr("identity", IDENTITY)
    study.set_user_attr("enqueued", 1)
    study.add_trials(search.trials)
    equal = {"equal_to": specs[0].trial_id, "reason": f"equal to an earlier trial, {specs[0].trial_id}"}
    study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL, user_attrs=equal))
    waiting = {"optimizer": "adam", "unfrozen_blocks": 2, "learning_rate@adam": 1e-3}
    study.ask().suggest_int("unfrozen_blocks", 0, 2)
    study.enqueue_trial(waiting)

    lines = earlier_lines(url, "toy", IDENTITY, lambda fields: {})
    asked = asked_of(lines)
    assert asked.first == (waiting,)
    known_ids = [trial.user_attrs.get("trial_id", "") for trial in search.trials]
    assert [one.trial_id for one in asked.suggestions] == [*known_ids, "", ""]
    assert asked.suggestions[-1].reason == "its driver died while it was being suggested"
    resumed = ToySearch(make_problem(rule=Asha(BASE.num_epochs), num_trials=9), lines, search.rows)
    assert facts(resumed.trials)[:6] == facts(search.trials)
    assert (resumed.under_way, resumed.num_left) == (specs[3:], 3)  # half a suggestion and known trials do not count
    assert resumed.ask(1) == [BASE.replace(unfrozen_blocks=2, learning_rate=1e-3)]
    with pytest.raises(StudyError, match="'toy' has space = "):
        earlier_lines(url, "toy", {**IDENTITY, "space": "mine:space"}, lambda fields: {})
    assert earlier_lines(url, "another", IDENTITY, lambda fields: {}) == []
    assert earlier_lines(f"{url}x", "toy", IDENTITY, lambda fields: {}) == []


# Storages


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("sqlite:///study.db") == f"sqlite:///{tmp_path}/study.db"
    for url in ("", "sqlite:////tmp/study.db", "journal:///tmp/study.log", "postgresql://host/db"):
        assert absolute(url) == url
    monkeypatch.setenv("HOME", "/home/ada")
    assert absolute("sqlite:///~/study.db?timeout=3") == "sqlite:////home/ada/study.db?timeout=3"
    assert absolute("journal:///~/study.log") == "journal:///home/ada/study.log"


@pytest.mark.parametrize("name", ["what?", "50 %41", "a#b&c=d", "Köln [2]"])
def test_a_study_lies_in_its_folder_whatever_letters_that_has(name: str, tmp_path: Path) -> None:
    path = tmp_path / name / "study.db"
    with exported(absolute(sqlite_url(path)), make_search()):
        pass
    assert path.is_file()
    assert [folder.name for folder in tmp_path.iterdir()] == [name]
    with pytest.raises(StudyError, match="%3F in place of each question mark"):
        absolute(f"sqlite:///{tmp_path}/what?/study.db")


def test_a_database_without_its_driver() -> None:
    if importlib.util.find_spec("psycopg"):
        pytest.skip("psycopg is installed")
    message = refused("postgresql://user:secret@nowhere.invalid/db")
    assert "got postgresql://user:***@nowhere.invalid/db: No module named 'psycopg'" in message
    assert message.endswith(". Install the database's driver for SQLAlchemy")


def test_what_is_no_url_of_a_database_is_shown_without_its_password() -> None:
    for url, shown in {
        "foo://user:secret@host/db": "got foo://user:***@host/db: Can't load plugin",
        "postgresql://user:secret@host:port/db": "got host:port/db: invalid literal",
        "postgresql://user:sec@secret@host:port/db": "got host:port/db: ",
        "study.db": "got study.db: Could not parse",
        "": "got : Could not parse",
        "sqlite://": "got sqlite://: a database in memory ends with its driver",
    }.items():
        message = refused(url)
        assert message.startswith(
            "--storage must be a database that can be opened, like sqlite:///study.db or journal:///"
        )
        assert shown in message
        assert "secret" not in message


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("hello world\n" * 100)
    for path, reason in {
        "folder": "unable to open database file",
        "text": "file is not a database",
        "text/sub/study.db": "Not a directory",
        "../../../../../proc/study.db": "unable to open database file",
    }.items():
        message = refused(f"sqlite:///{tmp_path}/{path}")
        assert f"{reason}. Check the path or address, and that nothing else holds it" in message.replace(
            f": '{tmp_path}/text/sub'", ""
        )
    for path, reason in {"folder": "Is a directory", "text": "Expecting value"}.items():
        assert reason in refused(f"journal:///{tmp_path}/{path}")


def test_a_database_that_was_damaged(url: str, tmp_path: Path) -> None:
    search = make_search(num_trials=3)
    run_sequentially(search)
    with exported(url, search):
        pass
    path = tmp_path / "study.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = path.read_bytes()
    path.write_bytes(content[:100] + os.urandom(len(content) - 100))
    assert "malformed" in refused(url)
    path.write_bytes(content[: len(content) // 2])
    assert "malformed" in refused(url)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program's transaction."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("COMMIT")


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite hardly waits for a lock, nor Optuna before it tries again."""
    monkeypatch.setattr(export, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(optunas, "time", SimpleNamespace(sleep=lambda seconds: None))


def test_a_database_that_another_program_holds(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)
    with locked(tmp_path / "study.db"):
        assert "database is locked. Check the path or address, and that nothing else holds it" in refused(url)


def test_a_database_of_another_optuna(url: str, tmp_path: Path) -> None:
    open_storage(url)
    for version, advice in (("v99.0.0.a", "updating optuna"), ("v2.6.0.a", "storage upgrade")):
        with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
            connection.execute("UPDATE version_info SET schema_version = 99, library_version = '99.0.0'")
            connection.commit()
        message = refused(url)
        assert "no longer compatible with the table schema (set up by optuna 99.0.0)" in message
        assert advice in message
        assert "Use the Optuna that wrote it, `optuna storage upgrade --storage URL`, or another --storage" in message


# Studies of something else


def test_a_study_of_another_search_names_the_difference(url: str) -> None:
    search = make_search(num_trials=1)
    run_sequentially(search)
    with exported(url, search):
        pass
    for identity, difference in (
        ({**IDENTITY, "space": "mine:space"}, "space = sweep.space:space, this search mine:space"),
        ({**IDENTITY, "trials": {"image_size": 32, "num_epochs": 20}}, "trials.num_epochs = 10, this search 20"),
        ({**IDENTITY, "trials": {"num_epochs": 10}}, "trials.image_size = 32, this search not set"),
        ({**IDENTITY, "objectives": ["val_loss"]}, "objectives = None, this search ['val_loss']"),
    ):
        assert f"a study is of one search; 'toy' has {difference}. Go on with the options that it" in refused(
            url, search, identity=identity
        )
    two = make_search(objectives=("val_accuracy", "parameters"))
    assert "'toy' has objectives to maximize, this search maximize, minimize." in refused(url, two)


def test_a_study_that_somebody_else_began(url: str) -> None:
    storage = open_storage(url)
    studies = [optuna.create_study(storage=storage, study_name=n, direction="maximize") for n in ("toy", "other")]
    studies[1].ask()
    with exported(url, make_search()):  # an empty one may be used
        pass
    assert "'other' has trials of something else than this sweep" in refused(url, name="other")
