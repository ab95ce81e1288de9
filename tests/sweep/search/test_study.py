"""Storages that work, those that do not, studies of other searches, and samplers by name."""

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

from sweep.search import study as search_study
from sweep.search.study import StudyError, absolute, find_sampler, make_sampler, open_study, sampler_names, sqlite_url
from sweep.search.trials import Search
from tests.sweep.searches import make_problem, run_sequentially

pytestmark = pytest.mark.usefixtures("databases_closed")
IDENTITY = {"space": "sweep.space:space", "trials": {"image_size": 32, "num_epochs": 10}}


def opened(url: str, **changed: Any) -> optuna.Study:
    return open_study(url, changed.get("name", "toy"), changed.get("directions", ["maximize"]), IDENTITY)


def refused(url: str, **changed: Any) -> str:
    """Why the study cannot be opened: one line."""
    with pytest.raises(StudyError) as caught:
        opened(url, **changed)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert "sqlalche.me" not in message
    return message


# Storages that work


@pytest.mark.parametrize("kind", ["sqlite:///", "journal:///"])
def test_a_study_is_there_again_beside_others(kind: str, tmp_path: Path) -> None:
    url = f"{kind}{tmp_path}/new/folder/study"
    run_sequentially(Search(opened(url), make_problem(num_trials=3)))
    assert opened(url, name="other").trials == []
    again = opened(url)
    assert [trial.state.name for trial in again.trials] == ["COMPLETE"] * 3
    assert again.user_attrs["identity"] == IDENTITY
    assert (tmp_path / "new" / "folder" / "study").is_file()


def test_sqlite_writes_ahead_so_that_a_commit_waits_for_no_disk_and_readers_for_nobody(url: str) -> None:
    engine = opened(url)._storage._backend.engine  # type: ignore[attr-defined]
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1  # NORMAL
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000  # ms: a short lock is waited for


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("sqlite:///study.db") == f"sqlite:///{tmp_path}/study.db"
    for url in ("sqlite:////tmp/study.db", "journal:///tmp/study.log", "postgresql://host/db"):
        assert absolute(url) == url
    monkeypatch.setenv("HOME", "/home/ada")
    assert absolute("sqlite:///~/study.db?timeout=3") == "sqlite:////home/ada/study.db?timeout=3"
    assert absolute("journal:///~/study.log") == "journal:///home/ada/study.log"


@pytest.mark.parametrize("name", ["what?", "50 %41", "a#b&c=d", "Köln [2]"])
def test_a_study_lies_in_its_folder_whatever_letters_that_has(name: str, tmp_path: Path) -> None:
    path = tmp_path / name / "study.db"
    url = sqlite_url(path)
    run_sequentially(Search(opened(absolute(url)), make_problem(num_trials=1)))
    assert path.is_file()
    assert [folder.name for folder in tmp_path.iterdir()] == [name]
    with pytest.raises(StudyError, match="%3F in place of each question mark"):
        absolute(f"sqlite:///{tmp_path}/what?/study.db")


# Storages that do not


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


def test_a_journals_lock_that_another_process_took_is_an_error_of_the_storage(tmp_path: Path) -> None:
    """As of one that held it while it was suspended."""
    (tmp_path / "study.log").touch()
    lock = search_study.JournalLock(str(tmp_path / "study.log"))
    lock.acquire()
    search_study.JournalLock(str(tmp_path / "study.log")).release()
    with pytest.raises(search_study.STORAGE_ERRORS, match="another process took the journal's lock"):
        lock.release()


def test_a_database_that_was_damaged(url: str, tmp_path: Path) -> None:
    run_sequentially(Search(opened(url), make_problem(num_trials=3)))
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


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite hardly waits for a lock, nor Optuna before it tries again."""
    monkeypatch.setattr(search_study, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(optunas, "time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.mark.usefixtures("impatient")
def test_a_database_that_another_program_holds(url: str, tmp_path: Path) -> None:
    with locked(tmp_path / "study.db"):
        assert "database is locked. Check the path or address, and that nothing else holds it" in refused(url)
    study = opened(url)
    with locked(tmp_path / "study.db"):
        assert "database is locked" in refused(url, name="other")
    assert len(Search(study, make_problem()).ask(1)) == 1


@pytest.mark.usefixtures("impatient")
def test_a_suggestion_that_cannot_be_kept_leaves_nothing_and_is_no_fault_of_the_space(url: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as held:

        def slow_space(trial: Any, facts: Any) -> dict[str, Any]:
            held.enter_context(locked(tmp_path / "study.db"))
            return {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True)}

        search = Search(opened(url), make_problem(space=slow_space))
        with pytest.raises(StudyError, match="database is locked"), search_study.told_as_errors(url):
            search.ask(1)
    resumed = Search(opened(url), make_problem())
    assert resumed.resume({}) == []
    assert resumed.study.trials == []
    assert resumed.num_left == 15


def test_a_database_of_another_optuna(url: str, tmp_path: Path) -> None:
    opened(url)
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
    opened(url)
    for identity, difference in (
        ({**IDENTITY, "space": "mine:space"}, "space = sweep.space:space, this search mine:space"),
        ({**IDENTITY, "trials": {"image_size": 32, "num_epochs": 20}}, "trials.num_epochs = 10, this search 20"),
        ({**IDENTITY, "trials": {"num_epochs": 10}}, "trials.image_size = 32, this search not set"),
        ({**IDENTITY, "objectives": ["val_loss"]}, "objectives = None, this search ['val_loss']"),
    ):
        with pytest.raises(StudyError) as caught:
            open_study(url, "toy", ["maximize"], identity)
        assert f"a study is of one search; 'toy' has {difference}. Go on with the options that it" in str(caught.value)
    for directions in (["minimize"], ["maximize", "minimize"]):
        message = refused(url, directions=directions)
        assert f"'toy' has objectives to maximize, this search {', '.join(directions)}." in message
    assert opened(url).user_attrs["identity"] == IDENTITY


def test_a_study_that_somebody_else_began(url: str) -> None:
    storage = search_study.open_storage(url)
    studies = [optuna.create_study(storage=storage, study_name=n, direction="maximize") for n in ("toy", "other")]
    assert opened(url).user_attrs["identity"] == IDENTITY  # an empty one may be used
    for begun in studies:
        begun.ask()
    assert "'other' has trials of something else than this sweep" in refused(url, name="other")
    assert opened(url).trials[0].state.name == "RUNNING"


# Samplers


def test_samplers_are_found_by_any_of_their_names() -> None:
    assert {find_sampler(name) for name in ("tpe", "TPE", "TPESampler")} == {"TPESampler"}
    assert find_sampler("nsgaii") == "NSGAIISampler"
    unknown = {"tep": r"qmc, random, tpe; got 'tep'\. Did you mean 'tpe'\?", "grid": "--sampler must be one of "}
    for name, message in unknown.items():
        with pytest.raises(StudyError, match=message):
            find_sampler(name)


def test_a_sampler_that_wants_a_package_says_so_before_anything_starts() -> None:
    if importlib.util.find_spec("cmaes"):
        pytest.skip("cmaes is installed")
    with pytest.raises(StudyError, match=r"--sampler cmaes needs a package that is not installed: .*'cmaes'"):
        find_sampler("cmaes")


def test_a_sampler_that_cannot_do_with_several_objectives_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """CMA-ES is the one that there is; it is not installed, so a sampler that refuses alike stands for it."""

    class OneObjectiveSampler(optuna.samplers.RandomSampler):
        def infer_relative_search_space(self, study: optuna.Study, trial: Any) -> dict[str, Any]:
            if len(study.directions) > 1:
                raise ValueError("If the study is being used for multi-objective optimization, it cannot be used.")
            return {}

    monkeypatch.setattr(optuna.samplers, "OneObjectiveSampler", OneObjectiveSampler, raising=False)
    assert find_sampler("oneobjective") == "OneObjectiveSampler"
    with pytest.raises(StudyError, match="--sampler oneobjective does not go with 2 objectives: If the study"):
        find_sampler("oneobjective", 2)


@pytest.mark.parametrize("num_objectives", [1, 2])
def test_every_sampler_that_is_offered_searches(num_objectives: int) -> None:
    searched = []
    for name in sampler_names():
        with contextlib.suppress(StudyError):
            found = find_sampler(name, num_objectives)
            objectives = ("val_accuracy", "multiply_adds")[:num_objectives]
            problem = make_problem(sampler=found, objectives=objectives, num_trials=12)
            study = optuna.create_study(directions=["maximize", "minimize"][:num_objectives])
            assert len({spec.trial_id for spec in run_sequentially(Search(study, problem))}) == 12
            searched.append(name)
    assert {"TPESampler", "RandomSampler", "NSGAIISampler", "NSGAIIISampler", "QMCSampler"} <= set(searched)


def test_a_samplers_seed_is_given_where_it_has_one() -> None:
    values = [[make_sampler("RandomSampler", seed)._rng.rng.random() for _ in range(2)] for seed in (0, 0, 1)]  # type: ignore[attr-defined]
    assert values[0] == values[1] != values[2]
