"""The file of rows as its one driver knows it: what vanishes while a sweep runs is noticed, and written again.

    with RowsFile(folder, check, say) as file:
        file.append(result)
        file.lines()                 # all that there should be: the storage gets these, whatever became of the file

A second after the file was deleted, cut or replaced it is whole again, and what has replaced it lies beside it: the
driver has all lines in memory. Where the folder itself has gone, there is no sweep to go on with: GoneError says so.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event, RLock, Thread
from typing import Final

from galaxytl.results.rows import FILE_NAME, append_results, locked_rows, row_line
from galaxytl.system.command import UsageError
from galaxytl.system.files import write_atomically
from galaxytl.trial import TrialResult

LOOK_SECONDS = 1.0
"""Between two looks at whether the file is as it was left."""
RULE: Final = "a results folder stays where it is while its sweep runs"

State = tuple[int, int, int, int] | None
"""Device, inode, size and time of the last change of the file; None where there is none."""


UNKNOWN: Final = (0, 0, 0, 0)


class GoneError(UsageError):
    """The results folder was moved or deleted; the message says what became of its rows, and what to do."""


class RowsFile:
    """Use as a context manager; it looks in a thread of its own."""

    def __init__(
        self, folder: Path, check: Callable[[], object], say: Callable[[str], object], of_shard: bool = False
    ) -> None:
        """check: raises LeaseError where another driver leads, who then looks after the file. say: is told of what was
        noticed. of_shard: the folder is a shard's, in the results folder."""
        self._of_shard = of_shard
        self.folder, self._path, self._check, self._say = folder, folder / FILE_NAME, check, say
        self._place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._identity = os.fstat(self._place)
        """Of the folder: no other has it while that is open."""
        self._lines: list[bytes] = []
        self._state: State = None
        self._aside = ""
        """What became of what was in the file's place, until it is said."""
        self._gone: GoneError | None = None
        self._lock = RLock()
        self._stop = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> RowsFile:
        with self.changing():
            pass
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self._place)

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Let this driver itself change the file in another way than by `append`."""
        with self._lock:
            try:
                yield
            finally:
                self._state = self._look_up()
                if self._state:
                    self._lines = [line for line in self._path.read_bytes().split(b"\n") if line]

    def lines(self) -> Sequence[bytes]:
        """Return all that are in the file, or should be, in order."""
        with self._lock:
            return tuple(self._lines)

    def append(self, *results: TrialResult) -> None:
        """Write rows. Raises LeaseError, GoneError and OSError."""
        new = [row_line(result) for result in results]
        with self._lock:
            try:
                self.look()
            except GoneError:
                self._keep_late(new, results)
                raise
            append_results(self.folder, *results, check=self._check)
            self._lines += new
            self._state = self._grown(sum(len(line) + 1 for line in new))

    def stop_if_gone(self) -> None:
        """Raise GoneError where the folder is known to have gone; looks at nothing, so that it can be asked often."""
        if self._gone:
            raise self._gone

    def look(self) -> None:
        """Have the file as it should be. Raises LeaseError, GoneError, and OSError where that cannot be done."""
        with self._lock:
            self.stop_if_gone()
            if not self._is_in_place():
                self._gone = self._say_goodbye()
                raise self._gone
            if self._look_up() != self._state:
                self._restore()

    def _watch(self) -> None:
        failures = 0
        while not (self._gone or self._stop.wait(LOOK_SECONDS)):
            try:
                self.look()
                failures = 0
            except GoneError as error:
                self._say(f"note: {error}")  # at once: the sweep stops with its next epoch or row
            except UsageError:  # as above, the driver hears of it
                continue
            except OSError as error:
                failures += 1
                if failures == 2:  # one may be of a folder that is just being moved
                    self._say(f"note: {self._path} cannot be looked after just now; trials go on. {error}")

    # The file

    def _look_up(self) -> State:
        try:
            now = self._path.lstat()
        except FileNotFoundError:
            return None
        return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns

    def _grown(self, size: int) -> State:
        """Return the state now that `size` bytes came; where it is another, one that leads to a look at what is
        there."""
        before, now = self._state, self._look_up()
        is_same = now and (now[:2] == before[:2] if before else True) and now[2] == (before[2] if before else 0) + size
        return now if is_same else UNKNOWN

    def _restore(self) -> None:
        """Write again what is missing. What else is there stays: behind it, or under another name."""
        was_there = os.path.lexists(self._path)
        if was_there and not stat.S_ISREG(self._path.lstat().st_mode):
            self._set_aside()
        with locked_rows(self.folder) as file:
            self._check()
            file.seek(0)
            there = file.read().split(b"\n")
            missing, foreign = _differences(self._lines, there)
            if missing:
                if foreign:
                    self._set_aside()
                write_atomically(self._path, b"".join(line + b"\n" for line in self._lines))
            else:
                self._lines += foreign
        self._state = self._look_up()
        if missing or self._aside:
            self._say(self._notice(was_there, len(missing)))
            self._aside = ""
        elif foreign:
            self._say(f"note: {self._path} has {len(foreign)} lines that this sweep did not write; they stay")

    def _notice(self, was_there: bool, missing: int) -> str:
        rows = f"its {len(self._lines)} rows were written again"
        if self._aside:
            return f"note: {self._path} was replaced while the sweep runs: {rows}; what had replaced it {self._aside}"
        if was_there:
            return f"note: {self._path} was cut while the sweep runs, {missing} of its rows were missing: {rows}"
        return f"note: {self._path} was deleted while the sweep runs: {rows}. Stop a sweep before you delete its rows"

    def _set_aside(self) -> None:
        """Rename what is in the file's place. What holds nothing, a link or a pipe, goes: no command takes a folder
        with one."""
        kind = self._path.lstat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            self._path.unlink()
            self._aside = "was a link, which was removed" if stat.S_ISLNK(kind) else "was no file, and was removed"
            return
        name = f"{FILE_NAME}.replaced-{time.strftime('%Y%m%d-%H%M%S')}"
        number, new = 0, self._path.with_name(name)
        while os.path.lexists(new):
            number, new = number + 1, self._path.with_name(f"{name}-{number + 1}")
        os.rename(self._path, new)
        self._aside = f"is now {new}"

    # The folder

    def _is_in_place(self) -> bool:
        """Return whether the folder is where it was. Raises OSError where that cannot be said."""
        try:
            return os.path.samestat(os.stat(self.folder), self._identity)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _moved_to(self) -> Path | None:
        """Return where the folder is now, as far as the system says; None: it was deleted."""
        with contextlib.suppress(OSError):
            new = Path(os.readlink(f"/proc/self/fd/{self._place}"))
            if os.path.samestat(new.stat(), self._identity):
                return new
        return None

    def _say_goodbye(self) -> GoneError:
        rows = f"its {len(self._lines)} rows"
        if new := self._moved_to():
            out = new.parent if self._of_shard else new
            what, how = f"was moved to {new}, with {rows}", f"with --out {out} the same command"
        elif self._save():
            what, how = f"was deleted; {rows} were written again, to {self._path}", "the same command"
        else:
            what, how = f"was deleted, and {rows} could not be written again", "the same command"
        return GoneError(f"{RULE}; {self.folder} {what}. The sweep stops here; {how} goes on")

    def _save(self) -> bool:
        """Write the rows where the folder was, unless another's are there by now; whether that was done."""
        with contextlib.suppress(OSError, UsageError):
            self.folder.mkdir(exist_ok=True, parents=self._of_shard)
            with locked_rows(self.folder) as file:
                self._check()
                if not file.tell():  # its size: it is open for appending
                    write_atomically(self._path, b"".join(line + b"\n" for line in self._lines))
                    return True
        return False

    def _keep_late(self, lines: Sequence[bytes], results: Sequence[TrialResult]) -> None:
        """Return what came when the folder had gone: for the storage, and for the file where it was written again. Who
        leads a folder that was moved cannot be said: there it is not written."""
        self._lines += lines
        if self._moved_to() is None:
            with contextlib.suppress(OSError, UsageError):
                append_results(self.folder, *results, check=self._check)


def _differences(known: Sequence[bytes], there: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Return the known lines that are not there, and the lines there that are not known; the last may be a cut one."""
    found, expected = set(there), set(known)
    missing = [line for line in known if line not in found]
    foreign = [line for line in there if line and line not in expected]
    if foreign and foreign[-1] == there[-1] and any(line.startswith(there[-1]) for line in missing):
        foreign.pop()
    return missing, foreign
