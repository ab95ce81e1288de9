"""Results and reports at a URI: read from, and written through, folders of this machine.

    with localised(["s3://bucket/sweeps/paper", "results/lr"], "s3://bucket/report") as (folders, out):
        ...                                  # folders: a copy of the first, the second as it is; out: a folder

Copies lie in the user's cache folder, by the names that they have at their storage.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from analysis.trials.load import AnalysisError
from galaxytl.system.credentials import without_secrets
from galaxytl.system.inside import OutsideError, inside


@contextlib.contextmanager
def localised(results: Sequence[str], out: str) -> Iterator[tuple[list[Path], Path]]:
    """Yield folders of this machine for the results and the report. Raises AnalysisError where a storage cannot be
    used. A report for a URI is stored when the block has ended."""
    folders = [_copy(text) if is_uri(text) else Path(text) for text in results]
    if not is_uri(out):
        yield folders, Path(out)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield folders, Path(folder)
        _store(Path(folder), out)


def is_uri(text: str) -> bool:
    return "://" in text


def shown(text: str) -> str:
    """Return a folder, or a URI without its password."""
    return without_secrets(text) if is_uri(text) else text


def _copy(uri: str) -> Path:
    from galaxytl.results.storage import Storage
    from galaxytl.results.stored_rows import fetch_results
    from galaxytl.system.cache import cache_dir  # with what reads a storage: only where there is one

    with _explained(uri):
        storage = Storage(uri)
        folder = inside(cache_dir() / "copies", "/".join(filter(None, str(storage).replace("://", "/").split("/"))))
        fetch_results(storage, folder)
    return folder


def _store(folder: Path, uri: str) -> None:
    from galaxytl.results.storage import Storage, in_parallel

    with _explained(uri):
        storage = Storage(uri)
        files = [path for path in folder.rglob("*") if path.is_file()]
        in_parallel(lambda path: storage.put_file(path.relative_to(folder).as_posix(), path), files)


@contextlib.contextmanager
def _explained(uri: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, OutsideError) as error:  # the first: DataError or StorageError
        raise AnalysisError(
            f"results at a URI must be a place that can be reached; got '{shown(uri)}': {error}"
        ) from error
