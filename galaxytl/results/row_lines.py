"""The lines of a file of rows, whatever has become of them: the rows that are sound, and what to say of the rest.

    for line, is_whole in lines_of(file):
        for found in results_in(line): ...      # TrialResults, and errors about what is none
    problems = Problems(path)                   # a sentence for each reason, however many lines have it

No damage hides the row that follows it: NUL bytes, which file systems leave after a power cut, part rows as line ends
do, and a row that begins in the midst of a line is read. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from galaxytl.system.foreign_text import check_visible
from galaxytl.system.strict_json import LARGEST, JsonError, read_json
from galaxytl.trial import OtherVersionError, TrialResult

BLOCK: Final = 2**20
NULS: Final = re.compile(rb"\0+")
START: Final = re.compile(rb'(?=\{"schema":)')
"""Of a row: inside another's text the quotation marks would have backslashes."""
MOST_STARTS: Final = 1000
"""Rows that are looked for in one damaged line."""


class NulsError(ValueError):
    """A line holds NUL bytes."""


def lines_of(file: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Each line without its end, and whether it has one. NULs in a row are one; of a line that is too long, as much is
    read as `read_json` needs to refuse it."""
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
    """What the rows of a line say, or why they are none: of a sound line, one."""
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
    last: int
    count: int = 1
    newer: dict[str, None] = field(default_factory=dict)
    """What a newer version's rows have that is not known here, each once."""


class Problems:
    """What is to be said of a file of rows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left_out: dict[str, _Problem] = {}
        self._noted: dict[str, _Problem] = {}

    def left_out(self, number: int, error: ValueError, is_whole: bool) -> None:
        """Add a row that is none."""
        text = f"a line {error}" if isinstance(error, JsonError) else str(error)
        half = "" if is_whole else " (half-written)"
        if isinstance(error, NulsError):
            self.note(number, text, reason=text)
        elif isinstance(error, OtherVersionError):
            _count(self._left_out, NEWER, number, text).newer[error.what] = None
        else:
            _count(self._left_out, text.partition("; got ")[0], number, text, half)

    def note(self, number: int, text: str, reason: str) -> None:
        """Add what is to be said of a line; those with one reason make one sentence."""
        _count(self._noted, reason, number, text)

    @property
    def num_newer(self) -> int:
        """Rows of trials that only a later version knows."""
        return self._left_out[NEWER].count if NEWER in self._left_out else 0

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


NEWER: Final = "newer"


def _count(problems: dict[str, _Problem], reason: str, number: int, text: str, half: str = "") -> _Problem:
    found = problems.setdefault(reason, _Problem(f"{number}{half}", text, number))
    found.count += number != found.last
    found.last = number
    return found
