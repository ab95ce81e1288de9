"""What a driver does to leases and rows, noted where GALAXYTL_HISTORY=FILE asks for it: for tests of one leader.

    with operation("append", str(folder), trials=["0f3a"]) as note:
        ...
        note(generation=3)                        # what is known at its end only

A line is appended when an operation begins and one when it has ended: as "ok", as "fail" where it surely changed
nothing, or as "unknown" where an error leaves that open. Who was killed has no second line. Standard library only.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from galaxytl.system.command import UsageError

VARIABLE: Final = "GALAXYTL_HISTORY"
CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""One for all processes of a host; it goes on while a laptop sleeps, where there is such a clock."""
_numbers = itertools.count(1)


@contextlib.contextmanager
def operation(
    what: str, where: str, refused: tuple[type[Exception], ...] = (UsageError,), **values: Any
) -> Iterator[Callable[..., object]]:
    """Note an operation `what` on the lease or the rows at `where`; gives what adds values to its second line.

    refused: errors after which it surely has changed nothing. A value that takes time is given as a function.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        yield _nothing
        return
    known = {"pid": os.getpid(), "number": next(_numbers), "what": what, "where": where}
    _write(path, {**known, "outcome": "", **values})
    later: dict[str, Any] = {}
    outcome = "unknown"
    try:
        yield later.update
        outcome = "ok"
    except refused:
        outcome = "fail"
        raise
    finally:
        _write(path, {**known, "outcome": outcome, **later})


def _nothing(**_values: Any) -> None:
    """Do nothing, for who is not asked."""


def _write(path: str, values: dict[str, Any]) -> None:
    """Write a line, whole, whoever else writes. That it cannot be written is no reason to end a sweep."""
    now = time.clock_gettime(CLOCK)
    with contextlib.suppress(OSError, ValueError):
        known = {name: value() if callable(value) else value for name, value in values.items()}
        line = json.dumps({"time": now, **known}, default=str) + "\n"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
