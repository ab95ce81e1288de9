"""The contract between sweep and analysis: `<results>/trials.jsonl`, one JSON object a finished trial.

    append_results(folder, result)       # by the sweep's driver, once a trial
    rows = read_results(folder)          # by anyone; rows.problems says what could not be read
    best, *others = ranked(rows.results) # which trial a search chooses: sweep and analysis do by this rule

No damage hides the row that follows it: NUL bytes, which file systems leave after a power cut, part rows as line ends
do, and a row that begins in the midst of a line is read. Of the lines that are no rows there is a sentence for each
reason, however many lines have it. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from galaxytl.results.sweep_file import shard_folders
from galaxytl.system.foreign_text import check_visible
from galaxytl.system.inside import no_link
from galaxytl.system.strict_json import LARGEST, JsonError, read_json
from galaxytl.trial import COMPLETE, FAILED, OtherVersionError, TrialResult

FILE_NAME = "trials.jsonl"
LOCK_SECONDS = 30.0
"""For the lock of the file of rows, which its driver holds while it writes a row."""
BLOCK: Final = 2**20
NULS: Final = re.compile(rb"\0+")
START: Final = re.compile(rb'(?=\{"schema":)')
"""Of a row: inside another's text the quotation marks would have backslashes."""
MOST_STARTS: Final = 1000
"""Rows that are looked for in one damaged line."""


class NulsError(ValueError):
    """A line holds NUL bytes."""


@dataclass(frozen=True)
class Rows:
    """The readable rows of a results folder, the last row of each trial, in file order; a FAILED one after another
    takes no place: of a driver that was taken over, whose workers were stopped."""

    results: tuple[TrialResult, ...]
    problems: tuple[str, ...]
    """A sentence for each reason why lines were left out: the first such line, and how many."""
    num_newer: int = 0
    """Rows that were left out as only a later version knows their kind of trial."""
    replaced: tuple[TrialResult, ...] = ()
    """Rows of the same status as the last one of their trial, which came later."""

    def by_id(self) -> dict[str, TrialResult]:
        return {result.trial_id: result for result in self.results}


def append_results(folder: Path, *results: TrialResult, check: Callable[[], object] = lambda: None) -> None:
    """Append their rows and force them to disk, so that a row that was seen is a row that stays. All or none.

    Raises OSError, and what `check` raises, which is asked when nobody else can write."""
    trial_ids = ", ".join(result.trial_id for result in results)
    append_lines(folder / FILE_NAME, [row_line(result) for result in results], f"the row of trial {trial_ids}", check)


def append_lines(path: Path, lines: Sequence[bytes], what: str, check: Callable[[], object]) -> None:
    """Append `what`, lines without their ends, to the file, as `append_results` does."""
    content = b"".join(line + b"\n" for line in lines)
    with locked_file(path) as file:
        check()
        file.seek(0, os.SEEK_END)
        size = file.tell()
        if size and not _ends_with_newline(file.fileno(), size):
            content = b"\n" + content  # closes the half line that a killed writer left
        try:
            _write_all(file.fileno(), content)
            os.fsync(file.fileno())
        except OSError as error:
            os.ftruncate(file.fileno(), size)  # no half line
            failed = f"{error.strerror}: {what} could not be written"
            how = "make room, and the same command goes on"
            raise OSError(error.errno, f"{failed}; {how}", str(path)) from error


def row_line(result: TrialResult) -> bytes:
    """Return a row as it stands in the file, without its end."""
    return json.dumps(result.to_dict(), separators=(",", ":"), allow_nan=False).encode()


def locked_rows(folder: Path) -> contextlib.AbstractContextManager[BinaryIO]:
    """Give the file of rows as `locked_file` does."""
    return locked_file(folder / FILE_NAME)


@contextlib.contextmanager
def locked_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file of lines, while nobody else writes to it, or takes its folder over; made where there is none, and
    then gone again where it stays empty. An empty one that was there stays: somebody may be about to write to it.

    Raises OSError where another process holds it for long."""
    while True:
        was_there = path.exists()
        with open(path, "ab+", opener=no_link) as file:  # NFS locks only what may be written
            lock(file.fileno(), path)
            if not _is_still(path, file):
                continue
            try:
                yield file
            finally:
                if not was_there and not os.fstat(file.fileno()).st_size and _is_still(path, file):
                    path.unlink()  # who waits for its lock sees that, and makes another
            return


def _is_still(path: Path, file: BinaryIO) -> bool:
    """Return whether it was not replaced while its lock was waited for."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def rows_files(folder: Path) -> list[Path]:
    """Return the files of rows in a results folder, in the order in which they are read: those of its shards, and its
    own, whose driver trains what shards have left."""
    return [path for path in _rows_paths(folder) if path.is_file()]


def _rows_paths(folder: Path) -> list[Path]:
    return [*(shard / FILE_NAME for shard in shard_folders(folder)), folder / FILE_NAME]


def read_results(folder: Path) -> Rows:
    """Read `folder`/trials.jsonl, and those of its shards; a missing file has no rows. Unreadable lines become
    problems, not errors.

    Of a trial that has rows in several files, as of two shards that had it at the same time, the last one counts as if
    all stood in one file; a row that stands in two files counts once."""
    reading = _Reading()
    with _no_garbage():
        for path in _rows_paths(folder):
            reading.read(path)
    return reading.rows()


class _Reading:
    """The rows of some files, read one after another."""

    def __init__(self) -> None:
        self._rows: dict[str, TrialResult] = {}
        self._problems: list[Problems] = []
        self._replaced: list[TrialResult] = []

    def rows(self) -> Rows:
        rows = self._rows
        same = tuple(row for row in self._replaced if row.status == rows[row.trial_id].status)
        sentences = tuple(sentence for problems in self._problems for sentence in problems.sentences())
        return Rows(tuple(rows.values()), sentences, sum(problems.num_newer for problems in self._problems), same)

    def read(self, path: Path) -> None:
        elsewhere, problems = dict(self._rows), Problems(path)
        self._problems.append(problems)
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            for number, (line, is_whole) in enumerate(lines_of(file), start=1):
                for result in results_in(line):
                    if isinstance(result, ValueError):
                        problems.left_out(number, result, is_whole)
                    elif elsewhere.get(result.trial_id) != result:
                        self._take(result, number, problems, result.trial_id in elsewhere)

    def _take(self, result: TrialResult, number: int, problems: Problems, is_elsewhere: bool) -> None:
        """is_elsewhere: whether another file has a row of the trial, too."""
        earlier = self._rows.get(result.trial_id)
        if earlier and not takes_place(result, earlier.status):
            if is_elsewhere:
                return  # which of two files' rows came first cannot be said
            text = f"trial {result.trial_id} has an earlier {earlier.status} row; that one used"
            problems.note(number, text, reason="failed later")
            return
        if earlier and earlier.status == COMPLETE:
            text = f"trial {result.trial_id} has an earlier COMPLETE row; one of them used"
            problems.note(number, text, reason="twice")
        if earlier:
            self._replaced.append(earlier)
        self._rows.pop(result.trial_id, None)
        self._rows[result.trial_id] = result


def takes_place(result: TrialResult, status: str | None) -> bool:
    """Return whether a row is its trial's from now on, whose row before it had `status`; None: there was none."""
    return result.status != FAILED or status in (None, FAILED)


def ranked(results: Iterable[TrialResult]) -> list[TrialResult]:
    """Return the COMPLETE trials that are scored on the validation part, the best first; never by the test part.

    By accuracy on the validation part after the last epoch; of equals by the lower loss there, then by trial_id, so
    that the order is the same everywhere.
    """
    candidates = [r for r in results if r.is_scored and r.spec.scored_on == "validation"]
    return sorted(candidates, key=lambda r: (-r.metrics["accuracy"], r.metrics["loss"], r.trial_id))


@contextlib.contextmanager
def _no_garbage() -> Iterator[None]:
    """Look for no garbage meanwhile: rows hold no circles, and the search takes a sixth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def lock(descriptor: int, path: Path) -> None:
    """Lock it for as long as the file is open. Raises OSError where another process holds it for long."""
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > until:
                what = f"locked by another process for {LOCK_SECONDS:g} s (a suspended driver?)"
                raise OSError(error.errno, f"{what}. Stop that process and run the command again", str(path)) from error
        time.sleep(0.05)


def _write_all(descriptor: int, content: bytes) -> None:
    """Write past Python's buffer, which would try again to write what did not fit when the file is closed."""
    while content:
        content = content[os.write(descriptor, content) :]


def _ends_with_newline(descriptor: int, size: int) -> bool:
    return os.pread(descriptor, 1, size - 1) == b"\n"


def lines_of(file: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Yield each line without its end, and whether it has one. NULs in a row are one; of a line that is too long, as
    much is read as `read_json` needs to refuse it."""
    rest = b""
    while block := file.read(BLOCK):
        if b"\0" in block:
            block = NULS.sub(b"\0", block)
        *lines, rest = (rest + block).split(b"\n")
        rest = rest[: LARGEST + 1]
        yield from ((line, True) for line in lines)
    if rest:
        yield rest, False


def results_in(line: bytes) -> Iterator[TrialResult | ValueError]:
    """Yield what the rows of a line say, or why they are none: of a sound line, one."""
    if b"\0" in line:
        yield NulsError("NUL bytes, which a power cut leaves, were skipped")
    for part in filter(None, map(bytes.strip, line.split(b"\0"))):
        found = _result(part)
        if isinstance(found, JsonError) and len(pieces := START.split(part, MOST_STARTS)) > 1:
            yield from (_result(piece) for piece in pieces if piece.strip())
        else:
            yield found


def _result(text: bytes) -> TrialResult | ValueError:
    try:
        result = TrialResult.from_dict(read_json(text))
        check_visible(result.spec.to_dict())  # they are hashed: what is told of them is what is there
    except ValueError as error:
        return error
    return result


@dataclass
class _Problem:
    """Of lines that have one reason; `text` is of the first."""

    first: str
    text: str
    last: int = 0
    count: int = 0
    newer: dict[str, None] = field(default_factory=dict)
    """What a newer version's rows have that is not known here, each once."""


class Problems:
    """What is to be said of a file of rows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left_out, self._noted = dict[str, _Problem](), dict[str, _Problem]()
        self._newer = _Problem("", "")

    def left_out(self, number: int, error: ValueError, is_whole: bool) -> None:
        """Add a row that is none."""
        text = f"a line {error}" if isinstance(error, JsonError) else str(error)
        place = f"{number}" if is_whole else f"{number} (half-written)"
        if isinstance(error, NulsError):
            self.note(number, text, reason=text)
        elif isinstance(error, OtherVersionError):
            self._newer = _count(self._left_out, "newer", number, f"{number}", text)
            self._newer.newer[error.what] = None
        else:
            _count(self._left_out, text.partition("; got ")[0], number, place, text)

    def note(self, number: int, text: str, reason: str) -> None:
        """Add what is to be said of a line; those with one reason make one sentence."""
        _count(self._noted, reason, number, f"{number}", text)

    @property
    def num_newer(self) -> int:
        """Rows of trials that only a later version knows."""
        return self._newer.count

    def sentences(self) -> tuple[str, ...]:
        left_out = (self._of_newer(p) if p.newer else self._of_left_out(p) for p in self._left_out.values())
        noted = (f"{self._lines(problem)}: {problem.text}" for problem in self._noted.values())
        return (*left_out, *noted)

    def _lines(self, problem: _Problem) -> str:
        others = f" and {problem.count - 1:,} more" if problem.count > 1 else ""
        return f"{self._path}, line {problem.first}{others}"

    def _of_left_out(self, problem: _Problem) -> str:
        return f"{self._lines(problem)} {'was' if problem.count == 1 else 'were'} left out: {problem.text}"

    def _of_newer(self, problem: _Problem) -> str:
        rows = "1 row has" if problem.count == 1 else f"{problem.count:,} rows have"
        what = ", ".join(list(problem.newer)[:5])
        return (
            f"{self._path}, line {problem.first}: {rows} settings that this version does not know ({what}), written by "
            "a newer version: left out, and kept as they are. The newer version reads them"
        )


def _count(problems: dict[str, _Problem], reason: str, number: int, place: str, text: str) -> _Problem:
    problem = problems.setdefault(reason, _Problem(place, text))
    problem.count += number != problem.last
    problem.last = number
    return problem
