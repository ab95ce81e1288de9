"""A results folder's copy where every machine finds it: s3://, gs://, any URI that pyarrow opens, or a shared path.

    storage = Storage("s3://bucket/sweeps/paper")
    storage.check()                                        # raises StorageError where it cannot be written
    storage.put_file("checkpoints/0f3a.npz", path)
    storage.get_file("checkpoints/0f3a.npz", path)         # False where there is none
    storage.create("rows/g000001-000001.jsonl", b"...")    # False where there is one: of two writers one is the first
    storage.replace("lease.json", is_as_read, b"...")      # False where another has written meanwhile
    with_retries(lambda: storage.put_file(...), PATIENCE)  # a storage may be away for minutes

A file appears whole or not at all. Rows, of which S3 can append none, are `galaxytl.results.stored_rows`.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import random
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from galaxytl.results.conditions import Conditions, NoConditions, UnknownCondition, conditions_at
from galaxytl.system.credentials import without_secrets
from galaxytl.system.files import write_atomically
from galaxytl.system.inside import OutsideError, check_links, inside
from galaxytl.system.locations import DataError, Location, locate, reaching

PATIENCE = 600.0
"""Seconds for which a storage that does not answer is tried again."""
LONGEST_PAUSE = 20.0
AT_ONCE = 16
"""Requests to a storage that wait at the same time: each takes some 30 ms on S3, however small."""
T = TypeVar("T")
R = TypeVar("R")

SETTLE_SECONDS = 0.5
"""At least, where a storage knows no conditional writes: of who writes at once, the last has written; the others look
again after this, and after twice what their own write took."""
TRIES = 5
"""Of a conditional write that is refused although nothing is there, as of two that come at the same time."""


class StorageError(ValueError):
    """A storage cannot be used; the message says why and what to do."""


class Storage:
    """Files by name, like "checkpoints/0f3a.npz", below a URI. Methods raise DataError where it does not answer."""

    def __init__(self, uri: str) -> None:
        """Raises StorageError for a URI that cannot be."""
        try:
            self._root = locate(uri)
        except DataError as error:
            raise StorageError(f"--storage must be a place for results: {error}") from error

    def __str__(self) -> str:
        return self._root.uri

    def check(self) -> None:
        """Raise StorageError when files cannot be written and deleted there, or would land elsewhere."""
        try:
            if self._root.is_local:
                with reaching(self._root), _explained():
                    check_links(self._root.local)
            with self._probe() as name:
                self.put(name, b"")
            _ = self._conditions
        except DataError as error:
            raise StorageError(f"--storage must be a place that can be written to: {error}") from error

    @property
    def unconditional(self) -> str:
        """Why nothing can be written here on a condition; "" where it can."""
        return self._conditions.reason if isinstance(self._conditions, NoConditions) else ""

    @functools.cached_property
    def _conditions(self) -> Conditions | NoConditions:
        """Found out with a file that is made twice, and written over. Raises DataError where the storage does not
        answer."""
        conditions = conditions_at(self._root)
        if isinstance(conditions, NoConditions):
            return conditions
        for _ in range(TRIES):
            with self._probe() as name:
                try:
                    return self._try_out(conditions, name)
                except DataError as failed:
                    self.put(name, b"")  # raises where it is the storage that does not answer
                    error = failed
        return NoConditions(f"obstore does not reach it as pyarrow does: {error}")

    @contextlib.contextmanager
    def _probe(self) -> Iterator[str]:
        """Give the name of a file to try things with."""
        name = f".writable-{uuid.uuid4().hex[:12]}"
        yield name
        self.delete(name)

    def _try_out(self, conditions: Conditions, name: str) -> Conditions | NoConditions:
        try:
            conditions.create(self._at(name), b"1")  # False too is well: where the answer to an earlier try was lost
            if conditions.create(self._at(name), b"2") or self.get(name) != b"1":
                return NoConditions("it wrote a file a second time that was to be written once")
            if not self._root.is_local and not self._replaces(conditions, name):
                return NoConditions("it does not write over a file just where that is as it was read")
        except UnknownCondition as error:
            return NoConditions(str(error))
        return conditions

    def _replaces(self, conditions: Conditions, name: str) -> bool:
        def is_expected(_: bytes | None) -> bool:
            self.put(name, b"3")
            return True

        if conditions.replace(self._at(name), is_expected, b"4") or self.get(name) != b"3":
            return False
        return conditions.replace(self._at(name), lambda _: True, b"5") or self.get(name) == b"5"

    def create(self, name: str, content: bytes) -> bool:
        """Write a file that is not there yet; False where another's is. One's own is found there where the answer to
        an earlier try was lost: so `content` should be nobody else's. Only where `unconditional` is ""."""
        assert not isinstance(self._conditions, NoConditions)
        for _ in range(TRIES):
            if self._conditions.create(self._at(name), content):
                return True
            if (there := self.get(name)) is not None:
                return there == content
        raise DataError(f"{self._at(name)} cannot be written: it is refused as if it were there, and is not")

    def replace(self, name: str, is_expected: Callable[[bytes | None], bool], content: bytes) -> bool:
        """Write over a file (None: over none) that is still as expected; False where it is not. As `create`, it finds
        its own. Where there are no conditions it waits, and looks whether another has written meanwhile."""
        if isinstance(self._conditions, NoConditions):
            return self._replace_and_look(name, is_expected, content)
        return self._conditions.replace(self._at(name), is_expected, content) or self.get(name) == content

    def _replace_and_look(self, name: str, is_expected: Callable[[bytes | None], bool], content: bytes) -> bool:
        begun = time.monotonic()
        if not is_expected(self.get(name)):
            return False
        self.put(name, content)
        time.sleep(max(SETTLE_SECONDS, 2 * (time.monotonic() - begun)))
        return self.get(name) == content

    def put(self, name: str, content: bytes) -> None:
        location = self._at(name)
        if location.is_local:
            with reaching(location, "written"):
                write_atomically(location.local, content)
        else:
            location.write(io.BytesIO(content))

    def put_file(self, name: str, path: Path) -> None:
        self.put(name, path.read_bytes())

    def get(self, name: str) -> bytes | None:
        """Return the content of a file; None where there is no such file."""
        location = self._at(name)
        if location.kind() != "file":
            return None
        try:
            return location.read()
        except DataError:
            if location.kind() != "file":  # it was deleted meanwhile
                return None
            raise

    def get_file(self, name: str, path: Path) -> bool:
        """Write the file to `path`; False where there is none."""
        content = self.get(name)
        if content is not None:
            write_atomically(path, content)
        return content is not None

    def modified(self, name: str) -> float | None:
        """Return when a file was written, seconds since 1970 by the storage's clock; None where nobody knows."""
        location = self._at(name)
        if location.kind() != "file":
            return None
        modified = location.stored().modified
        return None if modified is None else modified / 1e9

    def copy(self, name: str, new: str) -> bool:
        """Copy a file; False where there is none of that name."""
        content = self.get(name)
        if content is not None:
            self.put(new, content)
        return content is not None

    def names(self, folder: str) -> list[str]:
        """Return the names of all files below a folder, sorted, but hidden ones (.name); none where there is no such
        folder."""
        from pyarrow.fs import FileSelector

        location = self._at(folder)
        with reaching(location):
            selector = FileSelector(location.path, allow_not_found=True, recursive=True)
            found = location.filesystem.get_file_info(selector)
        return sorted(
            os.path.relpath(info.path, self._root.path)
            for info in found
            if info.is_file and not info.base_name.startswith(".")
        )

    def delete(self, name: str) -> None:
        """Delete a file, also where it is gone already."""
        location = self._at(name)
        if location.kind() == "file":
            location.delete()

    def _at(self, name: str) -> Location:
        """Return where a name is. Raises StorageError for one that leads out of the storage, and, where that is a
        folder, for links; DataError where that cannot be said."""
        if name:
            with reaching(self._root), _explained():
                inside(self._root.local if self._root.is_local else Path(), name)
        return self._root.child(name)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OutsideError as error:
        raise StorageError(f"results at a storage must lie in it: {error}") from error


def in_parallel(action: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Return `action` of each item, in order, doing AT_ONCE together. Raises what the first that fails raises."""
    if len(items) < 2:
        return [action(item) for item in items]
    with ThreadPoolExecutor(min(AT_ONCE, len(items))) as threads:
        return list(threads.map(action, items))


def waiting_for(what: str, error: DataError) -> str:
    """Return a phase of a trial: "waiting for the storage, s3://... cannot be written: ..."."""
    return f"waiting for the {what}, {textwrap.shorten(without_secrets(str(error)), 160, placeholder=' ...')}"


def with_retries(action: Callable[[], R], seconds: float, on_failure: Callable[[DataError], Any] = lambda _: None) -> R:
    """Return what `action` gives, trying again after longer and longer pauses until `seconds` have passed.

    on_failure: called with each DataError. Raises StorageError with the last.
    """
    ends, pause = time.monotonic() + seconds, 0.25
    while True:
        try:
            return action()
        except DataError as error:
            on_failure(error)
            if (left := ends - time.monotonic()) <= 0:
                raise StorageError(f"the storage did not answer for {seconds:.0f} seconds: {error}") from error
        time.sleep(min(left, pause * random.uniform(0.5, 1.5)))  # the workers of a cluster do not come all at once
        pause = min(2 * pause, LONGEST_PAUSE)
