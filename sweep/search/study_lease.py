"""Where the lease of an Optuna study is kept: in one of its attributes, which is replaced where it is still as it was.

    with Lease(lease_of(study)): ...

Optuna sets an attribute whatever it was. In a database one statement compares and sets; a journal is locked meanwhile.
What the driver writes to its study afterwards is not fenced: one that was suspended between its look at the lease and a
write may add a trial to a study that another leads. Rows are the truth, and whoever leads next tells the study.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage

from galaxytl.results.rows import lock
from sweep.lease import Place, Values
from sweep.search.study import STORAGE_ERRORS

ATTRIBUTE = "driver"
FRESH_FOR = 0.2
"""The part of a beat for which a look holds: a driver looks before each write, and looking takes as long as writing. No
driver is taken for dead within it."""
ATTRIBUTES = sqlalchemy.table(
    "study_user_attributes", sqlalchemy.column("study_id"), sqlalchemy.column("key"), sqlalchemy.column("value_json")
)
"""Of Optuna's tables; (study_id, key) is unique."""


def lease_of(study: optuna.Study) -> Place:
    def read() -> Values | None:
        return _values(study.user_attrs.get(ATTRIBUTE))

    def replace(expected: Values | None, values: Values) -> bool:
        storage: Any = getattr(study._storage, "_backend", study._storage)
        if isinstance(storage, RDBStorage):
            return _replace_in_database(storage.engine, study._study_id, expected, values)
        with _locked(Path(storage._file_path)):
            is_expected = read() == expected
            if is_expected:
                study.set_user_attr(ATTRIBUTE, dict(values))
            return is_expected

    errors = (*STORAGE_ERRORS, OSError)
    return Place(
        read, replace, "may lead a study", f"'{study.study_name}'", "--study", errors=errors, fresh_for=FRESH_FOR
    )


def _values(attribute: Any) -> Values | None:
    """Of what is no lease: none. NaN, which Optuna keeps, equals nothing."""
    values = json.loads(json.dumps(attribute), parse_constant=str)
    return values if isinstance(values, dict | None) else {}


@contextlib.contextmanager
def _locked(journal: Path) -> Iterator[None]:
    with journal.open("ab") as file:
        lock(file.fileno(), journal)
        yield


def _replace_in_database(engine: sqlalchemy.Engine, study_id: int, expected: Values | None, values: Values) -> bool:
    columns, text = ATTRIBUTES.c, json.dumps(dict(values))
    own = (columns.study_id == study_id) & (columns.key == ATTRIBUTE)
    with engine.begin() as connection:
        there = connection.execute(sqlalchemy.select(columns.value_json).where(own)).scalar_one_or_none()
        if _values(None if there is None else json.loads(there)) != expected:
            return False
        if there is not None:
            as_read = sqlalchemy.update(ATTRIBUTES).where(own, columns.value_json == there)
            return connection.execute(as_read.values(value_json=text)).rowcount == 1
    try:
        with engine.begin() as connection:
            first = sqlalchemy.insert(ATTRIBUTES).values(study_id=study_id, key=ATTRIBUTE, value_json=text)
            connection.execute(first)
    except sqlalchemy.exc.IntegrityError:
        return False
    return True
