"""Writes on a condition: that a file is not there yet, or is still as it was. What makes one of two writers the first.

    conditions = conditions_at(location)              # NoConditions where there is no way
    conditions.create(location, b"1")                 # False where it is there
    conditions.replace(location, {b"1"}.__contains__, b"2")

At S3 and Google by If-None-Match and If-Match, for which obstore asks (pyarrow cannot); in a folder by a link, which is
made once, and a lock. All raise DataError where the storage does not answer, and UnknownCondition where it answers that
it knows no such thing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from filelock import FileLock, Timeout

from galaxytl.system.files import write_atomically
from galaxytl.system.locations import CONNECT_SECONDS, REQUEST_SECONDS, DataError, Location, explained, reaching

if TYPE_CHECKING:
    from obstore.store import GCSStore, S3Store

LOCK_SECONDS = 30.0
"""For the lock of a file that another process is replacing."""
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""`errno` of a link, in a file system that has none."""
UNKNOWN_TO_SERVER = r"status code: (501|400|405|403)|NotImplemented"
"""How a server answers a header that it does not know, or may not follow: it was asked for a plain write before."""


class UnknownCondition(DataError):
    """A storage does not write on a condition, or not for this user."""


IsExpected = Callable[[bytes | None], bool]
"""Of the content of a file, None where there is none: whether it may be written over."""


class Conditions(Protocol):
    def create(self, location: Location, content: bytes) -> bool: ...

    def replace(self, location: Location, is_expected: IsExpected, content: bytes) -> bool: ...


@dataclass(frozen=True)
class NoConditions:
    reason: str


def conditions_at(location: Location) -> Conditions | NoConditions:
    if location.is_local:
        return InFolder()
    if location.scheme not in STORES:
        return NoConditions("no way is known to ask for them there")
    try:
        return AtObjectStore(STORES[location.scheme](location))
    except Exception as error:  # what pyarrow makes something of, and obstore nothing
        return NoConditions(f"obstore cannot reach it: {str(error).splitlines()[0]}")


class InFolder:
    """On one machine, or on a network drive that all see."""

    def create(self, location: Location, content: bytes) -> bool:
        path = location.local
        unfinished = path.with_name(f".writing-{uuid.uuid4().hex}")
        with reaching(location, "written"):
            write_atomically(unfinished, content)
            try:
                os.link(unfinished, path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno in NO_LINKS:
                    raise UnknownCondition(f"its file system makes no links: {error.strerror}") from error
                raise
            finally:
                unfinished.unlink()
        return True

    def replace(self, location: Location, is_expected: IsExpected, content: bytes) -> bool:
        path = location.local
        with reaching(location, "written"), _locked(path.with_name(f".{path.name}.lock")):
            is_as_expected = is_expected(path.read_bytes() if path.exists() else None)
            if is_as_expected:
                write_atomically(path, content)
            return is_as_expected


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=LOCK_SECONDS):
            yield
    except Timeout as error:
        what = f"{path} is locked by another process for {LOCK_SECONDS:g} s (a suspended one?)"
        raise OSError(f"{what}. Stop that process and run the command again") from error


class AtObjectStore:
    """Of one bucket."""

    def __init__(self, store: S3Store | GCSStore) -> None:
        self._store = store

    def create(self, location: Location, content: bytes) -> bool:
        return self._put(location, content, "create")

    def replace(self, location: Location, is_expected: IsExpected, content: bytes) -> bool:
        there, version = self._get(location)
        return is_expected(there) and self._put(location, content, version)

    def _get(self, location: Location) -> tuple[bytes | None, Any]:
        """Return a file's content, and how to say that it is this one that is to be written over."""
        import obstore

        with _explaining(location, "read"):
            try:
                answer = obstore.get(self._store, _key(location))
                content = bytes(answer.bytes())
            except FileNotFoundError:
                return None, "create"
        return content, {name: answer.meta[name] for name in ("e_tag", "version") if answer.meta[name]}

    def _put(self, location: Location, content: bytes, condition: Any) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with _explaining(location, "written"):
            try:
                obstore.put(self._store, _key(location), content, mode=condition)
            except (AlreadyExistsError, PreconditionError):
                return False
        return True


def _key(location: Location) -> str:
    return location.path.partition("/")[2]


@contextlib.contextmanager
def _explaining(location: Location, doing: str) -> Iterator[None]:
    """Turn obstore's errors into those of this module."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        text, _, details = str(error).partition("\n\nDebug source")
        if re.search(UNKNOWN_TO_SERVER, text) and doing == "written":
            raise UnknownCondition(f"it answers {text}") from error
        if re.search(r"kind: (Connect|Timeout)", details):
            text += " (no connection, or timeout)"
        raise explained(location, OSError(text), doing) from error


def _how(location: Location) -> dict[str, Any]:
    """Return settings by which it is reached as pyarrow reaches it, giving up as soon."""
    seconds = {"timeout": timedelta(seconds=REQUEST_SECONDS), "connect_timeout": timedelta(seconds=CONNECT_SECONDS)}
    return {
        "client_options": {**seconds, "allow_http": location.settings.get("scheme") == "http"},
        "retry_config": {"max_retries": 2, "retry_timeout": timedelta(seconds=3 * REQUEST_SECONDS)},
    }


def _endpoint(settings: Any) -> str:
    """Return the URL of a server other than the cloud's own; "" where none is set."""
    host = settings.get("endpoint_override")
    return f"{settings.get('scheme') or 'https'}://{host}" if host else ""


def _s3(location: Location) -> S3Store:
    from obstore.store import S3Store

    config: Any = {"region": location.settings["region"]}
    if url := _endpoint(location.settings):
        config |= {"endpoint": url, "aws_endpoint_url_s3": url}  # the second is taken before the environment's
    return S3Store(_bucket(location), config=config, **_how(location), **_credentials(location.settings))


def _google(location: Location) -> GCSStore:
    from obstore.store import GCSStore

    config: Any = {"skip_signature": location.settings["anonymous"]}
    if url := _endpoint(location.settings):
        config["base_url"] = url
    return GCSStore(_bucket(location), config=config, **_how(location))


def _bucket(location: Location) -> str:
    return location.path.partition("/")[0]


STORES: Final[dict[str, Callable[[Location], S3Store | GCSStore]]] = {"s3": _s3, "gs": _google, "gcs": _google}
"""By the scheme of a URI: those that obstore writes to on a condition."""


def _credentials(settings: Any) -> dict[str, Any]:
    """Return those of the URI, or else of AWS's own chain: environment, profiles, roles, the machine."""
    if settings["access_key"]:
        return {"access_key_id": settings["access_key"], "secret_access_key": settings["secret_key"]}
    import botocore.session
    from obstore.auth.boto3 import Boto3CredentialProvider

    session = botocore.session.get_session()
    if settings["anonymous"] or session.get_credentials() is None:
        return {"skip_signature": True}  # as pyarrow does it
    return {"credential_provider": Boto3CredentialProvider(session)}
