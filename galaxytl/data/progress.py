"""How far a long pass is: a bar on a terminal, a line every 15 seconds elsewhere, silence if it is instant.

with TerminalProgress(Console(stderr=True), in_bytes=True) as progress:
    download(remote, target, progress)
"""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

SECONDS_BETWEEN_LINES = 15.0


class Reporter(Protocol):
    """Who is told how a download goes."""

    def update(self, what: str, done: int, total: int) -> None:
        """Show `done` of `total`; a total of 0 is not known."""
        ...

    def say(self, text: str) -> None: ...


class Unheard:
    """A Reporter that nobody hears."""

    def update(self, what: str, done: int, total: int) -> None: ...

    def say(self, text: str) -> None: ...


class TerminalProgress:
    """A Reporter that writes to `console`. Use as a context manager."""

    def __init__(self, console: Console, *, in_bytes: bool = False) -> None:
        amount: tuple[ProgressColumn, ...] = (DownloadColumn(), TransferSpeedColumn())
        columns = (TextColumn("{task.description}"), BarColumn(), *(amount if in_bytes else (MofNCompleteColumn(),)))
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console)
        self._console, self._in_bytes = console, in_bytes
        self._tasks: dict[str, TaskID] = {}
        self._said = time.monotonic()

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._tasks:  # rich ends even a bar that was never shown with an empty line
            self._bar.stop()

    def update(self, what: str, done: int, total: int) -> None:
        if self._console.is_terminal:
            self._bar.start()
            if what not in self._tasks:
                self._tasks[what] = self._bar.add_task(what, total=total or None)
            self._bar.update(self._tasks[what], completed=done, total=total or None)
        elif time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            self.say(f"{what}: {self._amount(done)}" + (f" of {self._amount(total)}" if total else ""))

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _amount(self, number: int) -> str:
        return decimal(number) if self._in_bytes else f"{number:,}"
