"""The rows of a results folder at a storage: pieces of its trials.jsonl, numbered in the order of their writing. What a
search asked for is stored alike: pieces of its asked.jsonl, in asked/ in place of rows/.

    lines = read_rows(storage)                  # of all pieces; each line once
    writer = RowWriter(storage, folder, 7)      # of the driver of generation 7: takes over the lines, pushes new ones

The local file is written first and forced to disk; a piece follows within a second or two, or when the storage is back.

    rows/g000006-000001.jsonl    the first piece of the driver of generation 6
    rows/g000006-000002.jsonl    without content: the seal, put there by who came after it
    rows/g000007-000000.jsonl    all rows before generation 7, joined; what is before is read no more
    rows/000012-8c1f03a2.jsonl   a piece as it was called before there were generations; these come first

A piece is made where nothing is, or not at all, and a driver writes its pieces one after another. So whoever takes over
closes the generations before its own, each with a seal where the next piece would be, and only then reads the rows: a
driver that was suspended in the midst of a write finds the seal, and nothing comes after what was read. Seals stay.
Where a storage knows no conditional writes there are no seals, and pieces have a random name besides.
"""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from galaxytl.results.history import operation
from galaxytl.results.rows import FILE_NAME, locked_file, results_in
from galaxytl.results.search.asked_file import FILE_NAME as ASKED
from galaxytl.results.storage import Storage, in_parallel
from galaxytl.system.files import write_atomically
from galaxytl.system.inside import inside
from galaxytl.trial import FAILED, TrialResult

FOLDER = "rows"
ASKED_FOLDER = "asked"
FILES = {FOLDER: FILE_NAME, ASKED_FOLDER: ASKED}
"""Of a results folder, by the folder of their pieces."""
MANY = 64
"""So many pieces become one when a driver begins. A reader of 10,000 trials then needs few requests."""
MOST_UNWRITTEN = 1000
"""Generations, one after another, whose drivers have stored no row: of so many each is sealed."""
JOINS = 5
"""So often, at most, the pieces are listed again by a reader that finds one gone: a driver that begins has joined it
to others."""


class Sealed(Exception):
    """A driver of a later generation has closed this one's pieces."""


def read_rows(storage: Storage, folder: str = FOLDER) -> list[bytes]:
    """Read the lines of all pieces, without their ends. Raises DataError."""
    return _lines(_read_pieces(storage, folder, {}))


def newest_generation(storage: Storage) -> int:
    """Return the newest generation of the pieces; 0 where there are none with one. Raises DataError."""
    return max((_place(name)[0] for name in storage.names(FOLDER)), default=0)


def _read_pieces(storage: Storage, folder: str, known: Mapping[str, bytes]) -> dict[str, bytes]:
    """Read all that are to be read, by name, in order; those that are known are as they were."""
    for _ in range(JOINS):
        names = _unjoined(storage.names(folder))
        new = [name for name in names if name not in known]
        contents = dict(zip(new, in_parallel(storage.get, new), strict=True))
        if None not in contents.values():
            break
    return {name: known.get(name) or contents.get(name) or b"" for name in names}


def _unjoined(names: Sequence[str]) -> list[str]:
    """Return the names without what is in the newest joined piece, in order."""
    joined = _joined(names)
    return sorted((name for name in names if _place(name)[0] >= joined or _is_old(name)), key=_order)


def _joined(names: Iterable[str]) -> int:
    """Return the generation of the newest joined piece; 0 where there is none."""
    return max((generation for generation, number in map(_place, names) if number == 0), default=0)


def _lines(pieces: Mapping[str, bytes]) -> list[bytes]:
    lines = [line for piece in pieces.values() for line in piece.split(b"\n") if line]
    return list(dict.fromkeys(lines))  # a piece and the one that it was joined into may both be there


def merge_lines(stored: list[bytes], content: bytes) -> bytes:
    """Return the stored lines, then those of a file's content that are not among them; without the half line of a
    killed driver, and without rows of trials that another has finished meanwhile: a trial has one."""
    known = set(stored)
    *whole, last = content.split(b"\n")
    if _end(last)[1]:  # only its end is missing
        whole.append(last)
    own = [line for line in whole if line and line not in known]
    ends = dict(map(_end, stored)) if own else {}
    lines = [*stored, *(line for line in own if not _is_known(*_end(line), ends))]
    return b"".join(line + b"\n" for line in lines)


def _is_known(trial_id: str, status: str, ends: Mapping[str, str]) -> bool:
    """Return whether these tell as much of a trial: a FAILED one may be COMPLETE since."""
    return trial_id in ends and (status == FAILED or ends[trial_id] != FAILED)


def _end(line: bytes) -> tuple[str, str]:
    """Return trial and status of a row; of none, of several or of one of a newer version the line: it takes no row's
    place."""
    found = list(itertools.islice(results_in(line), 2))
    if len(found) == 1 and isinstance(found[0], TrialResult):
        return found[0].trial_id, found[0].status
    return line.decode(errors="replace"), ""


def trials_of(lines: Iterable[bytes]) -> list[str]:
    return [_end(line)[0] for line in lines]


class RowWriter:
    """Brings a folder's rows and the storage's together, then pushes what is appended to the folder's file."""

    def __init__(self, storage: Storage, folder: Path, generation: int = 0, pieces_in: str = FOLDER) -> None:
        """0: the one after those that are there. `pieces_in` is one of FILES. Raises DataError, OSError."""
        self._storage, self._pieces_in, self._path = storage, pieces_in, folder / FILES[pieces_in]
        self.generation = generation or newest_generation(storage) + 1
        self._number, self._pending = 1, list[bytes]()
        pieces = _read_pieces(storage, pieces_in, {})
        self._merge(_lines(pieces))  # what may fail, a full disk or a lost file, fails before anybody is shut out
        if not storage.unconditional:
            self._seal(pieces)
            pieces = _read_pieces(storage, pieces_in, pieces)
        self._names = set(pieces)
        if len(pieces) > MANY:
            self._join(pieces)
        self._merge(_lines(pieces))
        self.stored = set(_lines(pieces))
        """The lines that the storage has."""

    def _seal(self, pieces: Mapping[str, bytes]) -> None:
        """Close every generation before this one, those too of which there is no piece yet."""
        ends: dict[int, tuple[int, bytes]] = {}
        for name, content in pieces.items():  # in order
            generation, number = _place(name)
            ends[generation] = number, content
        written = [generation for generation, end in ends.items() if end != (1, b"")]
        sealed = {g: ends.get(g, (0, b"")) for g in _generations(max(1, _joined(pieces)), written, self.generation)}
        in_parallel(
            self._seal_after, [(g, number) for g, (number, content) in sealed.items() if number == 0 or content]
        )

    def _seal_after(self, place: tuple[int, int]) -> None:
        """Write a seal behind the last piece, whatever the driver of that generation writes meanwhile."""
        generation, number = place
        while not self._storage.create(self._name(generation, number := number + 1), b""):
            pass

    def _join(self, pieces: Mapping[str, bytes]) -> None:
        """Write one piece in place of these; where nothing is sealed, an ordinary one: what comes late, of a driver
        before, must be read too."""
        number, self._number = (self._number, 2) if self._storage.unconditional else (0, 1)
        self._put(self._name(self.generation, number), b"".join(line + b"\n" for line in _lines(pieces)))
        joined = [name for name, content in pieces.items() if content]
        self._names -= set(joined)
        in_parallel(self._storage.delete, joined)

    def _merge(self, stored: list[bytes]) -> None:
        """Have the stored lines in the folder's file, then its own that the storage lacks."""
        with locked_file(self._path) as file:
            file.seek(0)
            content = file.read()
            both = merge_lines(stored, content)
            if both != content:
                write_atomically(self._path, both)

    def push(self, lines: Sequence[bytes]) -> bool:
        """Store those that the storage lacks; False where there are none. Raises DataError, and Sealed where a driver
        of a later generation was there first.

        lines: as the driver knows them, who has forced them to disk; the file may have vanished since."""
        is_pushed = False
        while new := self._pending or [line for line in lines if line not in self.stored]:
            self._pending = new  # until it is there: a try of which nothing was heard may have stored it
            with operation("push", str(self._storage), (Sealed,), trials=lambda new=new: trials_of(new)):
                self._put(self._name(self.generation, self._number), b"".join(line + b"\n" for line in new))
            self._pending, is_pushed = [], True
            self._number += 1
            self.stored.update(new)
        return is_pushed

    def forget_lost(self) -> bool:
        """Return whether lines have vanished, with their pieces; `push` stores them again. Raises DataError."""
        if self._names <= set(self._storage.names(self._pieces_in)):
            return False
        pieces, before = _read_pieces(self._storage, self._pieces_in, {}), self.stored
        self._names, self.stored = set(pieces), set(_lines(pieces))
        return not before <= self.stored  # a driver that has failed since may have joined them

    def _name(self, generation: int, number: int) -> str:
        return f"{self._pieces_in}/g{generation:06d}-{number:06d}.jsonl"

    def _put(self, name: str, content: bytes) -> None:
        if self._storage.unconditional:
            name = name.replace(".jsonl", f"-{uuid.uuid4().hex[:8]}.jsonl")
            self._storage.put(name, content)
        elif not self._storage.create(name, content):
            raise Sealed(f"{self._storage}/{name} is another's")
        self._names.add(name)


def _place(name: str) -> tuple[int, int]:
    """Return generation and number; (0, -1) of what has none."""
    match = re.fullmatch(r"\w+/g(\d+)-(\d+)(-[0-9a-f]+)?\.jsonl", name)
    return (int(match[1]), int(match[2])) if match else (0, -1)


def _generations(first: int, written: Iterable[int], end: int) -> Iterator[int]:
    """Yield the generations from the first to before `end` that drivers may have had: they are given one after another,
    and most are written to. A gap wider than that has a stranger's number, of a lease or a piece, on its other side."""
    for begin, following in itertools.pairwise(sorted(g for g in {first, *written, end} if first <= g <= end)):
        yield from range(begin, min(begin + MOST_UNWRITTEN, following))
        yield from range(max(begin + MOST_UNWRITTEN, following - MOST_UNWRITTEN), following)


def _is_old(name: str) -> bool:
    return _place(name)[0] == 0


def _order(name: str) -> tuple[int, int, str]:
    return (*_place(name), name)


NOT_READ = ("checkpoints/", "models/", "ray/")
"""Folders of no use to an analysis."""


def fetch_results(storage: Storage, folder: Path) -> None:
    """Have in `folder` what an analysis reads of the results at a storage. Raises DataError, and StorageError and
    OutsideError for names that lead elsewhere."""
    names = storage.names("")
    for pieces_in, file in FILES.items():
        if pieces_in == FOLDER or any(name.startswith(f"{pieces_in}/") for name in names):
            lines = read_rows(storage, pieces_in)
            write_atomically(folder / file, b"".join(line + b"\n" for line in lines))
    others = [name for name in names if not name.startswith((*(f"{part}/" for part in FILES), *NOT_READ))]
    in_parallel(lambda name: storage.get_file(name, inside(folder, name)), others)
