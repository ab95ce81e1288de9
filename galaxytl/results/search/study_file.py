"""The database of a study in a results folder, which may be a stranger's: data, and no program.

    check_schema(sqlite3.connect(path))      # before anything reads it

SQLite's file format holds more than tables: views and triggers compute when a table is read or written, and virtual
tables are of whatever module they name. What a journal beside it may do, `galaxytl.system.inside` knows.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from galaxytl.system.foreign_text import visible

MOST_BYTES: Final = 16 * 2**20
"""Of a value; Optuna's longest are the attributes of a trial. A column that is computed may have any."""
TABLES: Final = ("table", "index")


def reader_of(path: Path) -> Callable[[], sqlite3.Connection]:
    """Return what connects to the file at `path`, to read; it raises ValueError where `check_schema` does."""
    # A log that is being written is read through files beside it, which SQLite makes where it may write.
    mode = "mode=ro" if os.access(path.parent, os.W_OK) else "immutable=1"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True)
        check_schema(connection)
        return connection

    return connect


def check_schema(connection: sqlite3.Connection) -> None:
    """Have the connection compute nothing that the schema says, and give no value of more than MOST_BYTES; raises
    ValueError where the schema holds more than tables."""
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master"):
        if kind not in TABLES or str(sql).lstrip().upper().startswith("CREATE VIRTUAL"):
            found = visible(f"{'virtual table' if kind in TABLES else kind} {name}")
            raise ValueError(f"a study's database holds tables; got the {found[:80]}")


def num_rows(connection: sqlite3.Connection) -> int:
    """Return the number of rows of all tables."""
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    quoted = ('"' + name.replace('"', '""') + '"' for name in names)
    return sum(connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in quoted)
