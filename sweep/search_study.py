"""Opening an Optuna study for one driver: storages by URL, samplers by name, and a lease against a second driver.

    study = open_study("sqlite:///study.db", "search", directions=["maximize"], identity={"space": "sweep.space:space"})
    with Lease(study): ...

URLs: what SQLAlchemy knows (sqlite:///FILE, postgresql://..., mysql://...), or journal:///FILE, Optuna's own log.
`optuna-dashboard URL` (of a journal: the file) shows the study, live and afterwards.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from galaxytl.trial import did_you_mean
from sweep.options import UsageError

optuna.logging.set_verbosity(optuna.logging.ERROR)  # the driver says itself what becomes of trials

BUSY_SECONDS: Final = 30
"""How long SQLite waits for a lock that another process holds."""
BEAT_SECONDS: Final = 5.0
"""Between two signs of life of a driver."""
JOURNAL: Final = "journal:///"
STORAGE_ERRORS: Final = (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError)


KNOWN_OPTUNA: Final = "5.0."
"""How the version begins whose inner workings make a search faster (`sweep.search_storage`, `sweep.search_tpe`). With
another, Optuna's own classes take their place: the same study, the same suggestions, later."""


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
        study = optuna.create_study(storage=_storage(url), study_name=name, directions=wanted, load_if_exists=True)
        _check_identity(study, directions, identity)
    return study


@contextlib.contextmanager
def told_as_errors(url: str) -> Iterator[None]:
    """Turns what a storage raises when it cannot be used, at its opening or later, into StudyError."""
    try:
        yield
    except STORAGE_ERRORS as error:
        raise _unusable(url, error) from error


def _storage(url: str) -> BaseStorage:
    try:
        if url.startswith(JOURNAL):
            path = Path("/" + url.removeprefix(JOURNAL))
            path.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(str(path)))
        return _database(url)
    except Exception as error:  # no path, no driver, a schema of another version, a file that is no journal
        raise _unusable(url, error) from error


def _database(url: str) -> RDBStorage:
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return _rdb_storage()(url, engine_kwargs={"pool_pre_ping": True})
    if not parsed.database or parsed.database == ":memory:":
        raise ValueError("a database in memory ends with its driver")
    Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    storage = _rdb_storage()(url, engine_kwargs={"connect_args": {"timeout": BUSY_SECONDS}})
    sqlalchemy.event.listen(storage.engine, "connect", _write_ahead)
    storage.engine.dispose()  # of connections without it
    return storage


def _rdb_storage() -> type[RDBStorage]:
    if not is_known_optuna():
        return RDBStorage
    from sweep.search_storage import WholeTrials

    return WholeTrials


def _write_ahead(connection: Any, _record: Any) -> None:
    """Optuna commits several times a trial. With a write-ahead log a commit waits for no disk: what a power failure can
    lose are the last commits, and the rows in trials.jsonl bring them back. Nor do readers wait for the driver."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _unusable(url: str, error: Exception) -> StudyError:
    inner = error.__cause__ or error
    reason = " ".join(str(getattr(inner, "orig", None) or inner).split())[:300].rstrip(".")
    hint = "Check the path or address, and that nothing else holds it"
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
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return url.rpartition("@")[2] if "@" in url else url


def absolute(url: str) -> str:
    """The same storage from any working directory."""
    if url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
        return f"sqlite:///{Path(url.removeprefix('sqlite:///')).resolve()}"
    return url


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
    from sweep.search_tpe import SortsOnceTPE

    return SortsOnceTPE


class Lease:
    """One driver a study. Use as a context manager; raises StudyError while another driver shows signs of life.

    A driver counts beats in the study. Whoever comes later watches whether they go on, so that no clock is compared
    with another host's.
    """

    def __init__(self, study: optuna.Study, beat_seconds: float = BEAT_SECONDS) -> None:
        self._study, self._beat_seconds = study, beat_seconds
        self._own = {"id": uuid.uuid4().hex, "host": socket.gethostname(), "pid": os.getpid(), "beats": 0}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Lease:
        holder = self._study.user_attrs.get("driver")
        if holder and not _is_dead(holder):
            self._watch(holder)
        self._study.set_user_attr("driver", self._own)
        time.sleep(0.2)  # of two that come at once, the later one has it
        self._refuserefusal()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(*STORAGE_ERRORS):
            if self._study.user_attrs["driver"]["id"] == self._own["id"]:
                self._study.set_user_attr("driver", {**self._own, "ended": True})

    def _watch(self, holder: Mapping[str, Any]) -> None:
        until = time.monotonic() + 3 * self._beat_seconds
        while time.monotonic() < until:
            time.sleep(self._beat_seconds / 5)
            if self._study.user_attrs["driver"] != holder:
                raise StudyError(self._in_use())

    def _refuserefusal(self) -> None:
        if self._study.user_attrs["driver"]["id"] != self._own["id"]:
            raise StudyError(self._in_use())

    def _in_use(self) -> str:
        holder = self._study.user_attrs["driver"]
        return (
            f"one driver at a time may lead a study; '{self._study.study_name}' is led by process {holder['pid']} on "
            f"{holder['host']}. Wait for it, stop it, or choose another --study"
        )

    def _beat(self) -> None:
        beats = 0
        while not self._stop.wait(self._beat_seconds):
            beats += 1
            with contextlib.suppress(*STORAGE_ERRORS):
                self._study.set_user_attr("driver", {**self._own, "beats": beats})


def _is_dead(holder: Mapping[str, Any]) -> bool:
    """Whether a driver has surely ended; of one on another host nothing is sure."""
    if holder.get("ended"):
        return True
    if holder["host"] != socket.gethostname():
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return holder["pid"] == os.getpid()  # an earlier search of this very process
