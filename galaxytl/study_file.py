"""The database of a study in a results folder, which may be a stranger's: data, and no program.

    check_journal(path)                      # before anything opens it
    check_schema(sqlite3.connect(path))      # before anything reads it

SQLite's file format holds more than tables: views and triggers compute when a table is read or written, virtual tables
are of whatever module they name, and a rollback journal may name a file that SQLite then removes.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from galaxytl.foreign_text import visible

NAMES_ANOTHER: Final = bytes.fromhex("d9d505f920a163d7")
"""Ends a journal with the name of a super-journal (SQLite's pager.c): made where one transaction is of several
databases, which no study's is."""
TABLES: Final = ("table", "index")


def check_journal(path: Path) -> None:
    """Raises ValueError where the rollback journal of this database names a further file: it would be removed."""
    journal = path.with_name(f"{path.name}-journal")
    if journal.is_file():
        with journal.open("rb") as file:
            file.seek(max(0, journal.stat().st_size - len(NAMES_ANOTHER)))
            if file.read() == NAMES_ANOTHER:
                raise ValueError(f"its journal is of several databases ({journal}): no study's is. Remove the journal")


def check_schema(connection: sqlite3.Connection) -> None:
    """Have the connection compute nothing that the schema says; raises ValueError where it holds more than tables."""
    connection.execute("PRAGMA trusted_schema=OFF")
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master"):
        if kind not in TABLES or str(sql).lstrip().upper().startswith("CREATE VIRTUAL"):
            found = visible(f"{'virtual table' if kind in TABLES else kind} {name}")
            raise ValueError(f"a study's database holds tables; got the {found[:80]}")
