"""Opening an Optuna study for one driver: storages by URL, and samplers by name.

    study = open_study("sqlite:///study.db", "search", directions=["maximize"], identity={"space": "sweep.space:space"})

URLs: what SQLAlchemy knows (sqlite:///FILE, postgresql://..., mysql://...), or journal:///FILE, Optuna's own log.
`optuna-dashboard URL` (of a journal: the file) shows the study, live and afterwards.
"""

from __future__ import annotations

import contextlib
import inspect
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from galaxytl.results.study_file import check_schema
from galaxytl.system.command import UsageError
from galaxytl.system.credentials import remember, without_secrets
from galaxytl.system.foreign_text import did_you_mean
from galaxytl.system.inside import check_journal

optuna.logging.set_verbosity(optuna.logging.ERROR)  # the driver says itself what becomes of trials

BUSY_SECONDS: Final = 30
"""How long SQLite waits for a lock that another process holds."""
JOURNAL: Final = "journal:///"
STORAGE_ERRORS: Final = (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError)


KNOWN_OPTUNA: Final = "5.0."
"""How the version begins whose inner workings make a search faster (`sweep.search.fast_optuna`, `sweep.search.tpe`).
With another, Optuna's own classes take their place: the same study, the same suggestions, later."""


def is_known_optuna() -> bool:
    return optuna.__version__.startswith(KNOWN_OPTUNA)


class StudyError(UsageError):
    """A storage, study or sampler cannot be used; the message says why and what to do."""


def open_study(url: str, name: str, directions: Sequence[str], identity: Mapping[str, Any]) -> optuna.Study:
    """The study called `name` at `url`, made if there is none.

    identity: JSON values that say what the study's trials have in common. Raises StudyError when the storage cannot be
    used, or when the study that is there has other directions or another identity.
    """
    with told_as_errors(url):
        wanted = [optuna.study.StudyDirection[direction.upper()] for direction in directions]
        study = optuna.create_study(storage=open_storage(url), study_name=name, directions=wanted, load_if_exists=True)
        _check_identity(study, directions, identity)
    return study


@contextlib.contextmanager
def told_as_errors(url: str) -> Iterator[None]:
    """Turns what a storage raises when it cannot be used, at its opening or later, into StudyError."""
    try:
        yield
    except STORAGE_ERRORS as error:
        raise _unusable(url, error) from error


def open_storage(url: str) -> BaseStorage:
    """Raises StudyError when it cannot be used."""
    remember(url)
    try:
        if path := journal_path(url):
            path.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(str(path), JournalLock(str(path))))
        return _database(url)
    except Exception as error:  # no path, no driver, a schema of another version, a file that is no journal
        raise _unusable(url, error) from error


class LockLostError(optuna.exceptions.StorageInternalError, RuntimeError):
    """Optuna itself raises, and catches, RuntimeError."""


class JournalLock(JournalFileSymlinkLock):
    """Says it as the other storages do when a process that was suspended in the midst of a write has lost the lock."""

    def release(self) -> None:
        try:
            super().release()
        except RuntimeError as error:
            raise LockLostError("another process took the journal's lock, as this one held it for long") from error


def journal_path(url: str) -> Path | None:
    """The file of a journal; None where the URL is of something else."""
    return Path("/" + url.removeprefix(JOURNAL).lstrip("/")) if url.startswith(JOURNAL) else None


def study_file(url: str) -> Path | None:
    """The file of a study; None where it is on a server."""
    if path := journal_path(url):
        return path
    parsed = sqlalchemy.make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def _database(url: str) -> RDBStorage:
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return _rdb_storage()(url, engine_kwargs={"pool_pre_ping": True})
    if not parsed.database or parsed.database == ":memory:":
        raise ValueError("a database in memory ends with its driver")
    path = Path(parsed.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        check_journal(path.with_name(f"{path.name}-journal"))
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            check_schema(connection)
    storage = _rdb_storage()(url, engine_kwargs={"connect_args": {"timeout": BUSY_SECONDS}})
    sqlalchemy.event.listen(storage.engine, "connect", _write_ahead)
    storage.engine.dispose()  # of connections without it
    return storage


def _rdb_storage() -> type[RDBStorage]:
    if not is_known_optuna():
        return RDBStorage
    from sweep.search.fast_optuna import WholeTrials

    return WholeTrials


def _write_ahead(connection: Any, _record: Any) -> None:
    """Optuna commits several times a trial. With a write-ahead log a commit waits for no disk: what a power failure can
    lose are the last commits, and the rows in trials.jsonl bring them back. Nor do readers wait for the driver."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _unusable(url: str, error: Exception) -> StudyError:
    inner = error.__cause__ or error
    reason = without_secrets(" ".join(str(getattr(inner, "orig", None) or inner).split()))[:300].rstrip(".")
    hint = (
        "Check the path or address, and that nothing else holds it; one that is damaged may be moved away, as a new "
        "study is told all rows"
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
    """The URL as it may be shown and kept."""
    if url.startswith(JOURNAL):
        return url
    try:
        return without_secrets(sqlalchemy.make_url(url).render_as_string(hide_password=True))
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return without_secrets(url.rpartition("@")[2] if "@" in url else url)


def absolute(url: str) -> str:
    """The same storage from any working directory; ~ is the home folder. Raises StudyError."""
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
    """Of the database in a file, whatever letters its path has. Raises StudyError."""
    try:
        return sqlalchemy.URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
    except UnicodeError:
        raise StudyError(f"the path of a study must be UTF-8; got {path}: choose another --out or --storage") from None


def _check_identity(study: optuna.Study, directions: Sequence[str], identity: Mapping[str, Any]) -> None:
    found = [direction.name.lower() for direction in study.directions]
    if found != list(directions):
        raise StudyError(refusal(study, f"objectives to {', '.join(found)}", ", ".join(directions)))
    known = study.user_attrs.get("identity")
    if known is None:
        if study.get_trials(deepcopy=False):
            raise StudyError(refusal(study, "trials of something else than this sweep", "this sweep's"))
        study.set_user_attr("identity", dict(identity))
        return
    for what in identity:
        if known.get(what) != identity[what]:
            raise StudyError(refusal(study, *_difference(what, known.get(what), identity[what])))


def _difference(what: str, known: Any, wanted: Any) -> tuple[str, str]:
    if isinstance(known, dict) and isinstance(wanted, dict):
        name = next(key for key in {**known, **wanted} if known.get(key) != wanted.get(key))
        return f"{what}.{name} = {known.get(name, 'not set')}", str(wanted.get(name, "not set"))
    return f"{what} = {known}", str(wanted)


def refusal(study: optuna.Study, found: str, wanted: str) -> str:
    """Why a study is not this search's: what the one has, and the other."""
    return (
        f"a study is of one search; '{study.study_name}' has {found}, this search {wanted}. "
        "Go on with the options that it was begun with, or choose another --study and --out"
    )


def sampler_names() -> list[str]:
    """Of Optuna's samplers that need nothing but a seed."""
    grids = ("GridSampler", "BruteForceSampler")  # a grid is --grid; and the latter stops a study as only Optuna may
    left_out = ("BaseSampler", "PartialFixedSampler", "BaseGASampler", *grids)
    return [name for name in dir(optuna.samplers) if name.endswith("Sampler") and name not in left_out]


def find_sampler(text: str, num_objectives: int = 1) -> str:
    """The full name of a sampler that a user calls "tpe", "random" or "TPESampler"; raises StudyError."""
    wanted = text.lower().removesuffix("sampler")
    short = {name.removesuffix("Sampler").lower(): name for name in sampler_names()}
    if wanted not in short:
        raise StudyError(f"--sampler must be one of {', '.join(short)}; got '{text}'.{did_you_mean(wanted, short)}")
    try:
        _try_out(short[wanted], num_objectives)
    except ImportError as error:
        raise StudyError(f"--sampler {text} needs a package that is not installed: {error}") from error
    except ValueError as error:
        objectives = "one objective" if num_objectives == 1 else f"{num_objectives} objectives"
        raise StudyError(f"--sampler {text} does not go with {objectives}: {error}") from error
    return short[wanted]


def _try_out(name: str, num_objectives: int) -> None:
    """Have a sampler suggest something: what it lacks, and what it cannot do, some say no sooner."""
    study = optuna.create_study(directions=["minimize"] * num_objectives)
    asked: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
    for number in range(10):  # with fewer trials, most would suggest at random
        params, values = {"x": number / 10, "y": 0.5}, [float(number)] * num_objectives
        study.add_trial(optuna.trial.create_trial(params=params, distributions=asked, values=values))
    study.sampler = make_sampler(name, 0)
    study.ask(asked)


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    kind = _quick_tpe() if name == "TPESampler" and is_known_optuna() else getattr(optuna.samplers, name)
    settings: dict[str, Any] = {"seed": seed} if "seed" in inspect.signature(kind).parameters else {}
    if name == "TPESampler":
        # What all trials have is sampled together, what only some have by itself. With `group` TPE would sample all
        # cases of a conditional space for each trial, of every network and optimizer: three times the time for nothing.
        settings |= {"multivariate": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return kind(**settings)


def _quick_tpe() -> type[optuna.samplers.TPESampler]:
    from sweep.search.tpe import SortsOnceTPE

    return SortsOnceTPE
