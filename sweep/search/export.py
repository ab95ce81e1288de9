"""Studies in databases: what a search exports for the dashboard, and the studies in which earlier versions kept theirs.

    with Export(url, study, ("search", setup.identity), say):     # a thread follows the study in memory
        ...
    lines = earlier_lines(url, "search", setup.identity, problem)      # of asked.jsonl; of an earlier version's study

URLs: what SQLAlchemy knows (sqlite:///FILE, postgresql://..., mysql://...), or journal:///FILE, Optuna's own log.
`optuna-dashboard URL` (of a journal: the file) shows the study, live and afterwards. Nothing is taken from an export:
the rows and `asked.jsonl` are the truth.
"""

from __future__ import annotations

import contextlib
import copy
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from galaxytl.results.search.asked_file import Ending, Suggestion
from galaxytl.results.search.study_file import check_schema, reader_of
from galaxytl.system.credentials import remember, without_secrets
from galaxytl.system.inside import check_journal
from sweep.search.optuna_parts import fast_storage
from sweep.search.study import STATES, MemoryStudy, StudyError, described, refusal

BUSY_SECONDS: Final = 30
"""How long SQLite waits for a lock that another process holds."""
EXPORT_SECONDS: Final = 1.0
JOURNAL: Final = "journal:///"
STORAGE_ERRORS: Final = (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError, OSError, RuntimeError)
"""What comes of a storage that is away; RuntimeError where a journal's lock was lost."""


class Export:
    """The study of a search in a database, up to date within a second or two. Use as a context manager."""

    def __init__(
        self, url: str, memory: MemoryStudy, search: tuple[str, Mapping[str, Any]], say: Callable[[str], object]
    ) -> None:
        """`search`: the study's name, and JSON values that say what its trials have in common. `say`: is told when the
        storage is away, and of what was made anew. Raises StudyError when the storage cannot be used, or when the study
        that is there is another search's."""
        self._url, self._memory, self._say = url, memory, say
        self._name, self._identity = search
        self._trials: list[FrozenTrial] = []
        """As they were exported."""
        self._is_away = False
        self._stop = Event()
        self._thread = Thread(target=self._follow, daemon=True)
        self._study: optuna.Study | None = self._open()

    def __enter__(self) -> Export:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._try()
        _close(self._storage)

    def _follow(self) -> None:
        while not self._stop.wait(EXPORT_SECONDS):
            self._try()

    def _try(self) -> None:
        try:
            self._study = self._study or self._open()
            self._update(self._study)
            self._is_away = False
        except (*STORAGE_ERRORS, StudyError, ValueError) as error:  # the last: what is there is no study any more
            self._study = None  # what it holds by now is looked at again
            if not self._is_away:
                self._say(f"note: the search goes on, but its study cannot be exported just now: {_reason(error)}")
            self._is_away = True

    def _open(self) -> optuna.Study:
        """Open the study, begun anew where it contradicts what there is."""
        self._storage = open_storage(self._url)
        directions = [direction.name.lower() for direction in self._memory.study.directions]
        settings: dict[str, Any] = {"storage": self._storage, "study_name": self._name, "directions": directions}
        with as_study_error(self._url):
            study = optuna.create_study(**settings, load_if_exists=True)
            check_identity(study, directions, self._identity)
            there, own = study.get_trials(deepcopy=False), self._memory.trials
            foreign = _trial_ids(there) - _trial_ids(own)
            if foreign:
                raise StudyError(
                    refusal(study.study_name, f"{len(foreign)} trials that its results folder does not know", "none")
                )
            if len(there) > len(own) or not all(map(_may_become, there, own)):
                optuna.delete_study(study_name=self._name, storage=self._storage)
                study, there = optuna.create_study(**settings), []
                self._say(f"note: the study in {without_password(self._url)} was not that of the rows: made anew")
            study.set_user_attr("identity", dict(self._identity))
        self._trials = there
        return study

    def _update(self, study: optuna.Study) -> None:
        study_id = self._storage.get_study_id_from_name(self._name)
        trials = self._memory.trials
        for number, there in enumerate(self._trials):
            if not there.state.is_finished() and there != trials[number]:
                trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
                self._trials[number] = self._bring_up_to_date(trial_id, there, copy.copy(trials[number]))
        for trial in trials[len(self._trials) :]:
            if not (trial.state.is_finished() or "trial_id" in trial.user_attrs):
                return  # it is just being suggested
            study.add_trial(known := copy.copy(trial))
            self._trials.append(known)

    def _bring_up_to_date(self, trial_id: int, there: FrozenTrial, trial: FrozenTrial) -> FrozenTrial:
        for epoch, value in trial.intermediate_values.items():
            if epoch not in there.intermediate_values:
                self._storage.set_trial_intermediate_value(trial_id, epoch, value)
        for name, value in trial.user_attrs.items():
            if name not in there.user_attrs:
                self._storage.set_trial_user_attr(trial_id, name, value)
        if trial.state.is_finished():
            self._storage.set_trial_state_values(trial_id, trial.state, trial.values)
        return trial


def _trial_ids(trials: Sequence[FrozenTrial]) -> set[str]:
    return {trial.user_attrs["trial_id"] for trial in trials if "trial_id" in trial.user_attrs}


def _may_become(there: FrozenTrial, trial: FrozenTrial) -> bool:
    """Tell whether a trial of the study is `trial`, or was before it ended."""
    is_same = there.params == trial.params and there.user_attrs.get("trial_id") == trial.user_attrs.get("trial_id")
    if not is_same or there.state == TrialState.RUNNING:
        return is_same
    values, others = there.values or [], trial.values or []
    return there.state == trial.state and len(values) == len(others) and all(map(math.isclose, values, others))


# Studies of earlier versions


def earlier_lines(
    url: str, name: str, identity: Mapping[str, Any], costs: Callable[[Mapping[str, Any]], Mapping[str, float]]
) -> list[dict[str, Any]]:
    """Return what the study of an earlier version says was asked for, as lines of `asked.jsonl`; none where there is no
    such study. `costs`: of a trial's fields. Raises StudyError when it cannot be read, or is another search's."""
    path = _sqlite_path(url)
    if path and not path.is_file():
        return []
    storage = _open_to_read(path) if path else open_storage(url)
    with contextlib.ExitStack() as stack:
        stack.callback(_close, storage)
        stack.enter_context(as_study_error(url))
        if name not in optuna.get_all_study_names(storage):
            return []
        study = optuna.load_study(study_name=name, storage=storage)
        trials = study.get_trials(deepcopy=False)
        if not trials:
            return []
        check_identity(study, [direction.name.lower() for direction in study.directions], identity)
        return [*_first_line(study, trials), *(_line(t, costs) for t in trials if t.state != TrialState.WAITING)]


def _first_line(study: optuna.Study, trials: Sequence[FrozenTrial]) -> Iterator[dict[str, Any]]:
    fixed = [trial.system_attrs["fixed_params"] for trial in trials if "fixed_params" in trial.system_attrs]
    if "enqueued" in study.user_attrs or fixed:
        yield {"first": [params for i, params in enumerate(fixed) if params not in fixed[:i]]}


def _line(trial: FrozenTrial, costs: Callable[[Mapping[str, Any]], Mapping[str, float]]) -> dict[str, Any]:
    facts = trial.user_attrs
    known = None
    if "known_before" in facts:
        status = next(status for status, state in STATES.items() if state == trial.state)
        values = tuple(trial.values) if trial.state == TrialState.COMPLETE else ()
        known = Ending(status, values, facts.get("reason", ""), tuple(trial.intermediate_values.items()))
    is_half = trial.state == TrialState.RUNNING and "trial_id" not in facts
    reason = "its driver died while it was being suggested" if is_half else facts.get("reason", "no reason given")
    fields = facts.get("fields", {})
    suggestion = Suggestion(
        params=trial.params,
        distributions=described(trial.distributions),
        trial_id=facts.get("trial_id", ""),
        fields=fields,
        reason="" if "trial_id" in facts else reason,
        equal_to=facts.get("equal_to", ""),
        costs=costs(fields) if fields else {},
        attributes={name: value for name, value in trial.system_attrs.items() if name != "fixed_params"},
        is_uncounted=is_half or known is not None or "reaped" in facts,
        known=known,
    )
    return suggestion.to_line()


def check_identity(study: optuna.Study, directions: Sequence[str], identity: Mapping[str, Any]) -> None:
    """Raise StudyError when the study is another search's."""
    there = [direction.name.lower() for direction in study.directions]
    if there != list(directions):
        raise StudyError(refusal(study.study_name, f"objectives to {', '.join(there)}", ", ".join(directions)))
    known = study.user_attrs.get("identity")
    if known is None:
        if study.get_trials(deepcopy=False):
            raise StudyError(refusal(study.study_name, "trials of something else than this sweep", "this sweep's"))
        return
    check_same(study.study_name, known, identity)


def check_same(name: str, known: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Raise StudyError where the search called `name` was of something else."""
    for what in identity:
        if known.get(what) != identity[what]:
            raise StudyError(refusal(name, *_difference(what, known.get(what), identity[what])))


def _difference(what: str, known: Any, wanted: Any) -> tuple[str, str]:
    if isinstance(known, dict) and isinstance(wanted, dict):
        name = next(key for key in {**known, **wanted} if known.get(key) != wanted.get(key))
        return f"{what}.{name} = {known.get(name, 'not set')}", str(wanted.get(name, "not set"))
    return f"{what} = {known}", str(wanted)


# Storages


@contextlib.contextmanager
def as_study_error(url: str) -> Iterator[None]:
    """Turn what a storage raises when it cannot be used into StudyError."""
    try:
        yield
    except STORAGE_ERRORS as error:
        raise _unusable(url, error) from error


def open_storage(url: str) -> BaseStorage:
    """Open the storage at `url`. Raises StudyError when it cannot be used."""
    remember(url)
    try:
        if path := journal_path(url):
            path.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(str(path)))
        return _database(url)
    except Exception as error:  # no path, no driver, a schema of another version, a file that is no journal
        raise _unusable(url, error) from error


def _open_to_read(path: Path) -> RDBStorage:
    """Open a database only to read it: it may be a stranger's. Raises StudyError."""
    try:
        check_journal(path.with_name(f"{path.name}-journal"))
        return RDBStorage("sqlite://", engine_kwargs={"creator": reader_of(path)}, skip_table_creation=True)
    except Exception as error:  # a schema of another version, no database
        raise _unusable(str(path), error) from error


def _close(storage: BaseStorage) -> None:
    if isinstance(storage, RDBStorage):
        storage.remove_session()
        storage.engine.dispose()


def journal_path(url: str) -> Path | None:
    """Return the file of a journal; None where the URL is of something else."""
    return Path("/" + url.removeprefix(JOURNAL).lstrip("/")) if url.startswith(JOURNAL) else None


def _database(url: str) -> RDBStorage:
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return fast_storage(url, {"pool_pre_ping": True})
    if not parsed.database or parsed.database == ":memory:":
        raise ValueError("a database in memory ends with its driver")
    path = Path(parsed.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        check_journal(path.with_name(f"{path.name}-journal"))
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            check_schema(connection)
    storage = fast_storage(url, {"connect_args": {"timeout": BUSY_SECONDS}})
    sqlalchemy.event.listen(storage.engine, "connect", _write_ahead)
    storage.engine.dispose()  # of connections without it
    return storage


def _write_ahead(connection: Any, _record: Any) -> None:
    """Have SQLite keep a write-ahead log: Optuna commits several times a trial, and a commit then waits for no disk,
    and no reader for the driver. What a power failure takes is exported again."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _sqlite_path(url: str) -> Path | None:
    """Return the file of a database; None where the URL is of something else."""
    path = sqlalchemy.make_url(url).database if url.startswith("sqlite:///") else None
    return Path(path) if path else None


def _reason(error: Exception) -> str:
    inner = error.__cause__ or error
    return without_secrets(" ".join(str(getattr(inner, "orig", None) or inner).split()))[:300].rstrip(".")


def _unusable(url: str, error: Exception) -> StudyError:
    reason = _reason(error)
    hint = (
        "Check the path or address, and that nothing else holds it; one that is damaged may be moved away, as the "
        "study is exported anew"
    )
    if isinstance(error, RuntimeError) and "version" in reason:
        hint = "Use the Optuna that wrote it, `optuna storage upgrade --storage URL`, or another --storage"
    elif isinstance(error, ImportError | sqlalchemy.exc.NoSuchModuleError):
        hint = "Install the database's driver for SQLAlchemy"
    return StudyError(
        f"--storage must be a database that can be opened, like sqlite:///study.db or {JOURNAL}FILE; "
        f"got {without_password(url)}: {reason}. {hint}"
    )


def without_password(url: str) -> str:
    """Return the URL as it may be shown and kept."""
    if url.startswith(JOURNAL):
        return url
    try:
        return without_secrets(sqlalchemy.make_url(url).render_as_string(hide_password=True))
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return without_secrets(url.rpartition("@")[2] if "@" in url else url)


def absolute(url: str) -> str:
    """Return the URL of the same storage from any working directory; ~ is the home folder. Raises StudyError."""
    if url.startswith(JOURNAL):
        path = url.removeprefix(JOURNAL)
        return JOURNAL + str(Path(path).expanduser()).lstrip("/") if path.startswith("~") else url
    if not url.startswith("sqlite:///") or url.startswith("sqlite:///file:"):
        return url
    name, question, settings = url.partition("?")
    if question and not all("=" in setting for setting in settings.split("&")):
        raise StudyError(f"the path of a study must have %3F in place of each question mark; got {url}")
    file = sqlalchemy.make_url(name).database
    return sqlite_url(Path(file).expanduser().absolute()) + question + settings if file else url


def sqlite_url(path: Path) -> str:
    """Return the URL of the database in a file, whatever letters its path has. Raises StudyError."""
    try:
        return sqlalchemy.URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
    except UnicodeError:
        raise StudyError(f"the path of a study must be UTF-8; got {path}: choose another --out or --storage") from None
