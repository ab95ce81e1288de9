"""Results of a search as a stranger may send them: search.json, the study, links, and texts and paths in rows."""

from __future__ import annotations

import contextlib
import functools
import json
import random
import re
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import optuna
from optuna.distributions import IntDistribution, distribution_to_json
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from galaxytl.results.rows import FILE_NAME
from galaxytl.trial import COMPLETE, FAILED, TrialResult, TrialSpec
from tests.fuzz.damage import damage_bytes

UNSEEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")
"""What no output may hold, but newlines and tabs."""
NASTY: Final = (
    *("\x1b[31m", "\n\r\u2028", "\u202e\ud800\uffff", "=1+1", "|`<script>", "\\input{x}", "[red]", "", "x" * 10_000),
    *("../" * 9 + "etc/passwd", "/etc/passwd", "\x00", "#", "': {", "NaN"),
)
ODD: Final = (*NASTY, None, True, -1, 0, 1e308, 10**400, [], {}, [[]], {"a": {}}, ["a", "b", "c"], float("nan"), 2**63)
URLS: Final = (
    *("postgresql://me@127.0.0.1:9/db", "mysql://127.0.0.1:9/db", "mysql+pymysql://u:p@127.0.0.1:9/db", "redis://x"),
    *("sqlite:////etc/passwd", "sqlite:///{outside}/study.db", "sqlite:///{folder}/../outside/study.db", "sqlite://"),
    *("journal:///etc/passwd", "journal:///{outside}/study.log", "journal:///{folder}/study.log", "http://127.0.0.1:9"),
    *("sqlite:///file:{outside}/study.db?uri=true&mode=rw", "sqlite+aiosqlite:///x", "://", "sqlite:///" + "a/" * 999),
)
Change = Callable[[Path, random.Random], None]


def write(folder: Path, rng: random.Random, mutations: int) -> Path:
    """The results of a small search with so many mutations; they must not touch what is in `folder`.parent/outside."""
    shutil.copytree(_clean(folder.parent), folder)
    for change in sorted((rng.choice(CHANGES) for _ in range(mutations)), key=lambda change: change is link):
        with contextlib.suppress(sqlite3.Error, OSError, ValueError, KeyError, TypeError, IndexError):
            change(folder, rng)  # what an earlier one left may not suit
    return folder


@functools.cache
def _clean(base: Path) -> Path:
    """Rows of four trials and their study, as a database and as a journal, in a folder in `base`."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-search-", dir=base))
    results = [_result(seed) for seed in range(3)]
    results.append(TrialResult(spec=results[0].spec.replace(seed=9), status=FAILED, message="no memory"))
    (folder / FILE_NAME).write_text("".join(json.dumps(result.to_dict()) + "\n" for result in results))
    journal = JournalStorage(JournalFileBackend(str(folder / "study.log")))
    for storage in (f"sqlite:///{folder}/study.db", journal):
        study = optuna.create_study(study_name="search", storage=storage, direction="maximize")
        study.add_trials([_trial(number, results[number % 3].trial_id) for number in range(21)])
        study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs={"reason": "equal"}))
    facts = {"format": 1, "study": "search", "storage": "sqlite:////data/study.db", "num_trials": 22}
    facts |= {"objectives": [["val_accuracy", "maximize"]], "space": "sweep.space:space"}
    facts |= {"sampler": "TPESampler", "scheduler": "none"}
    (folder / "search.json").write_text(json.dumps(facts))
    return folder


def _result(seed: int) -> TrialResult:
    spec = TrialSpec(dataset="galaxy10_decals", dataset_fingerprint="0f3a", validation_fraction=0.1, seed=seed)
    right = 5 + seed
    return TrialResult(
        spec=spec.replace(scored_on="validation"),
        status=COMPLETE,
        history=({"epoch": 1.0, "loss": 2.0, "accuracy": 0.5, "val_loss": 2.0, "val_accuracy": right / 20},),
        curves_on="validation",
        metrics={"accuracy": right / 20, "loss": 2.0, "f1_weighted": 0.5, "precision_weighted": 0.5},
        confusion=((right, 10 - right), (10 - right, right)),
        class_names=("round", "edge-on"),
        num_images={"train": 60, "validation": 20, "test": 20},
        environment={"device": "CPU", "host": "node7"},
        started="2026-01-02T03:04:05+00:00",
    )


def _trial(number: int, trial_id: str) -> optuna.trial.FrozenTrial:
    kinds: dict[str, optuna.distributions.BaseDistribution] = {
        "learning_rate@sgd": optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True),
        "backbone": optuna.distributions.CategoricalDistribution(["VGG16", "MobileNet"]),
    }
    params = {"learning_rate@sgd": 10 ** -(2 + number % 3), "backbone": ("VGG16", "MobileNet")[number % 2]}
    attributes = {"trial_id": trial_id}
    return optuna.trial.create_trial(
        value=number / 21, params=params, distributions=kinds, user_attrs=attributes, intermediate_values={1: 0.5}
    )


def change_setting(folder: Path, rng: random.Random) -> None:
    facts = json.loads((folder / "search.json").read_text())
    facts[rng.choice(list(facts))] = rng.choice(ODD)
    (folder / "search.json").write_text(json.dumps(facts))


def change_url(folder: Path, rng: random.Random) -> None:
    facts = json.loads((folder / "search.json").read_text())
    facts["storage"] = rng.choice(URLS).format(folder=folder, outside=folder.parent / "outside")
    (folder / "search.json").write_text(json.dumps(facts))


def change_row(folder: Path, rng: random.Random) -> None:
    lines = (folder / FILE_NAME).read_text().splitlines()
    at = rng.randrange(len(lines))
    row = json.loads(lines[at])
    field = rng.choice(("message", "probabilities", "started", "environment", "class_names", "trial_id", "status"))
    text = rng.choice(NASTY)
    row[field] = {"environment": {"device": text, "host": text, text: text}, "class_names": [text, text]}.get(
        field, text
    )
    lines[at] = json.dumps(row)
    (folder / FILE_NAME).write_text("\n".join(lines) + "\n")


def change_study(folder: Path, rng: random.Random) -> None:
    """One value of one table, or the schema."""
    with contextlib.closing(sqlite3.connect(folder / "study.db")) as connection, connection:
        if rng.random() < 0.3:
            connection.execute(rng.choice(SCHEMAS))
            return
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = rng.choice(tables)
        column = rng.choice([row[1] for row in connection.execute(f"PRAGMA table_info('{table}')")])
        odd = rng.choice(ODD)
        value: Any = json.dumps(odd) if "json" in column or isinstance(odd, list | dict) else odd
        value = str(value) if isinstance(value, int) and abs(value) >= 2**63 else value
        if isinstance(value, str):
            value = value.encode(errors="surrogatepass").decode(errors="replace")
        which = rng.choice(("", " WHERE rowid = 1", " WHERE rowid % 2"))
        connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ?{which}", (value,))


SCHEMAS: Final = (
    "CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM trials; END",
    "CREATE VIEW v AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n",
    "CREATE VIRTUAL TABLE f USING fts5(x)",
    "DROP TABLE trial_values",
    "DELETE FROM trial_params",
    "DELETE FROM trials WHERE trial_id % 2",
    "ALTER TABLE trials RENAME COLUMN state TO status",
    "DELETE FROM study_directions",
    "PRAGMA journal_mode=WAL",
)


def change_journal(folder: Path, rng: random.Random) -> None:
    """Has search.json name the journal, one of whose lines has another value."""
    facts = json.loads((folder / "search.json").read_text())
    (folder / "search.json").write_text(json.dumps({**facts, "storage": "journal:///data/study.log"}))
    lines = (folder / "study.log").read_text().splitlines()
    at = rng.randrange(len(lines))
    entry = json.loads(lines[at])
    entry[rng.choice(list(entry))] = rng.choice(ODD)
    lines[at] = rng.choice((json.dumps(entry), "[" * 100_000, "{}", "\x00" * 99))
    (folder / "study.log").write_text("\n".join(lines) + "\n")


def change_asked(folder: Path, rng: random.Random) -> None:
    """What was asked is in a file, as of a search of today; one of its lines has another value."""
    parameters = {"params": {"x": 1}, "distributions": {"x": json.loads(distribution_to_json(IntDistribution(0, 9)))}}
    known = {"status": "COMPLETE", "values": [0.5], "reason": "", "epochs": [[1, 0.5]]}
    lines: list[dict[str, Any]] = [{"asked": 1, "search": {}}, {"first": [{"x": 1}]}]
    lines += [{**parameters, "trial_id": _result(seed).trial_id, "fields": {"seed": seed}} for seed in range(3)]
    lines += [{**parameters, "trial_id": "earlier", "known": known}, {**parameters, "reason": rng.choice(NASTY)}]
    line = rng.choice(lines)
    place = rng.choice([part for part in (line, *line.values()) if isinstance(part, dict) and part])
    place[rng.choice(list(place))] = rng.choice(ODD)
    (folder / "asked.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def damage(folder: Path, rng: random.Random) -> None:
    damage_bytes(folder / rng.choice(("search.json", "study.db", "study.log")), rng)


def link(folder: Path, rng: random.Random) -> None:
    """A file or folder becomes a link to something outside."""
    name = rng.choice((FILE_NAME, "search.json", "study.db", "study.db-wal", "study.db-journal", "probabilities", "x"))
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(folder.parent / "outside" / rng.choice(("study.db", "new", "")))


CHANGES: Final[tuple[Change, ...]] = (
    *(change_setting, change_setting, change_url, change_row, change_row),
    *(change_study, change_study, change_study, change_journal, change_asked, change_asked, damage, damage, link),
)


@contextlib.contextmanager
def connections() -> Iterator[list[Any]]:
    """Where this process wanted to connect to, meanwhile, and which databases: drivers for servers may be missing. No
    server is asked."""
    asked: list[Any] = []
    before = socket.socket.connect, socket.getaddrinfo, optuna.storages.RDBStorage.__init__

    def refuse(*arguments: Any, **_: Any) -> Any:
        asked.append(arguments[-1])
        raise ConnectionRefusedError("no connection in a fuzz")

    def look(storage: optuna.storages.RDBStorage, url: str, *arguments: Any, **settings: Any) -> None:
        if not url.startswith("sqlite://"):
            refuse(url)
        before[2](storage, url, *arguments, **settings)

    socket.socket.connect = socket.getaddrinfo = refuse  # type: ignore[assignment, method-assign]
    optuna.storages.RDBStorage.__init__ = look  # type: ignore[method-assign]
    try:
        yield asked
    finally:
        socket.socket.connect, socket.getaddrinfo = before[:2]  # type: ignore[method-assign]
        optuna.storages.RDBStorage.__init__ = before[2]  # type: ignore[method-assign]


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unseen_in(folder: Path) -> list[str]:
    """The files of a report that hold what cannot be seen."""
    texts = (path for path in folder.rglob("*") if path.suffix in {".md", ".csv", ".tex", ".txt", ".yaml", ".html"})
    return [path.name for path in texts if UNSEEN.search(path.read_bytes().decode())]
