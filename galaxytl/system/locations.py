"""Where data lies: a path, or a URI of a file system that pyarrow reaches: file://, s3://, gs://, hdfs://.

    location = locate("s3://bucket/galaxy10/")
    [file.size for file in location.files(".parquet")]

S3 is reached as AWS's own tools reach it: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, AWS_REGION or AWS_DEFAULT_REGION,
and the usual credentials. The URI's query goes before them:
s3://bucket/path?endpoint_override=127.0.0.1:9000&scheme=http&region=eu-west-1
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from galaxytl.system.credentials import remember, without_secrets

CONNECT_SECONDS = 4.0
"""S3 connections are tried three times: an address where nobody answers is given up after some 15 seconds."""
REQUEST_SECONDS = 15.0
BLOCK = 4 * 2**20  # bytes read at a time from a remote file that is read in small pieces
BLOCKS_KEPT = 16
S3_OPTIONS = ("endpoint_override", "scheme", "region", "anonymous")


class DataError(ValueError):
    """Data, or a place for it, that cannot be used; the message gives the rule, what was found, and what to do."""


@dataclass(frozen=True)
class Location:
    """A file or folder that may not exist. `uri` is for people: as the user wrote it, without credentials."""

    uri: str
    path: str
    """Within `filesystem`."""
    filesystem: Any = field(repr=False)
    """A pyarrow.fs.FileSystem."""
    is_local: bool = False
    server: str = ""
    """Who answers for an s3:// URI."""
    settings: Any = field(default=None, repr=False, compare=False)
    """What an s3:// or gs:// URI says of how to reach it, credentials included; for other libraries than pyarrow."""

    def __str__(self) -> str:
        return self.uri

    @property
    def scheme(self) -> str:
        """That of its URI, like "s3"; "" of a path."""
        return self.uri.partition("://")[0] if "://" in self.uri else ""

    @property
    def local(self) -> Path:
        """The path of a local file or folder."""
        return Path(self.path)

    def kind(self) -> Literal["file", "folder", "nothing"]:
        from pyarrow.fs import FileType

        with reaching(self):
            found = self.filesystem.get_file_info(self.path).type
        kinds: dict[Any, Literal["file", "folder"]] = {FileType.File: "file", FileType.Directory: "folder"}
        return kinds.get(found, "nothing")

    def stored(self) -> StoredFile:
        """Return this file with its size and time."""
        with reaching(self):
            return _stored(self, self.filesystem.get_file_info(self.path))

    def files(self, suffix: str = "") -> list[StoredFile]:
        """Return files below this folder whose names end so, whatever their capitals, in order of their paths, but
        hidden ones (.name). Raises DataError for a link that leads nowhere."""
        from pyarrow.fs import FileSelector

        with reaching(self):
            if self.is_local:  # pyarrow leaves out what a link leads to, and links that lead nowhere
                paths = list(_walk(self.local))
                for path in paths:
                    _check_link(Path(path), _roots(self.local))
                found = self.filesystem.get_file_info(paths) if paths else []
            else:
                found = self.filesystem.get_file_info(FileSelector(self.path, recursive=True))
        root = self.path.rstrip("/") + "/"
        relative = {info.path.removeprefix(root): info for info in found if info.is_file}
        names = [n for n in relative if n.lower().endswith(suffix) and not re.search(r"(^|/)\.", n)]
        return [_stored(self.child(name), relative[name]) for name in sorted(names)]

    def names(self) -> Iterator[str]:
        """Yield the paths of files below this folder, relative to it, as they come, but hidden ones (.name)."""
        return (name for name, _, _ in self.entries() if not re.search(r"(^|/)\.", name))

    def entries(self) -> Iterator[tuple[str, int, int]]:
        """Yield the paths of files below this folder as they come, also hidden ones, with their bytes and their time,
        nanoseconds since 1970; -1 where a listing does not tell. Links that lead nowhere are among them. Raises
        DataError for one that leads elsewhere."""
        from pyarrow.fs import FileSelector

        with reaching(self):
            root = self.path.rstrip("/") + "/"
            if self.is_local:
                yield from ((path.removeprefix(root), -1, -1) for path in _walk(self.local))
                return
            for info in self.filesystem.get_file_info(FileSelector(self.path, recursive=True)):
                if info.is_file:
                    yield info.path.removeprefix(root), info.size, -1 if info.mtime_ns is None else info.mtime_ns

    def check_inside(self, name: str) -> None:
        """Raise DataError where `name` in this folder is a link that leads out of it: whoever made the folder would
        choose which of its reader's files are read."""
        if self.is_local:
            _check_link(self.local / name, _roots(self.local))

    def child(self, name: str) -> Location:
        uri, path = (text.rstrip("/") + "/" + name for text in (self.uri, self.path))
        return Location(
            uri, path, self.filesystem, self.is_local, self.server, self.settings
        )  # not `replace`: of a million files

    def open(self) -> BinaryIO:
        """Open the file for reading, with seek."""
        if self.is_local:
            return self.local.open("rb")
        with reaching(self):
            return cast(BinaryIO, BlockFile(self.filesystem.open_input_file(self.path)))

    def read(self) -> bytes:
        with reaching(self), self.filesystem.open_input_stream(self.path) as stream:
            return bytes(stream.read())

    def write(self, source: BinaryIO) -> None:
        """Store what `source` still holds. A remote file appears whole, when it is complete, or not at all."""
        with reaching(self, "written"):
            stream = self.filesystem.open_output_stream(self.path)
            while piece := source.read(2 * BLOCK):
                stream.write(piece)
            stream.close()  # not on an error: closing is what makes a remote file appear

    def delete(self) -> None:
        with reaching(self, "deleted"):
            self.filesystem.delete_file(self.path)


@dataclass(frozen=True)
class StoredFile:
    location: Location
    size: int
    """Bytes."""
    modified: int | None
    """Nanoseconds since 1970; None where the file system does not say."""
    identity: tuple[int, ...] = ()
    """Of a local file: device, inode, and nanoseconds of its last change of any kind, which no program sets back."""


def _stored(location: Location, info: Any) -> StoredFile:
    state = os.stat(location.path) if location.is_local else None
    identity = (state.st_dev, state.st_ino, state.st_ctime_ns) if state else ()
    return StoredFile(location, int(info.size or 0), info.mtime_ns, identity)


def _walk(folder: Path) -> Iterator[str]:
    """Yield files below a local folder, also those that links inside it lead to, those of Hugging Face's cache, and
    links that lead nowhere. Raises DataError for a link that leads elsewhere, and OSError for a folder that cannot be
    read."""
    seen: set[str] = set()
    roots = _roots(folder)
    folders = [str(folder)]
    while folders:
        place = folders.pop()
        if (real := os.path.realpath(place)) in seen:  # a link to a folder above
            continue
        seen.add(real)
        with os.scandir(place) as entries:  # of a million files in one folder no list is made
            for entry in entries:
                is_hidden = entry.name.startswith(".")  # hidden folders are no data
                if entry.is_symlink() and not is_hidden and os.path.exists(entry.path):
                    _check_link(Path(entry.path), roots)
                if not entry.is_dir():
                    yield entry.path
                elif not is_hidden:  # links come last: what lies in the folder itself has the name that it has there
                    folders.insert(0 if entry.is_symlink() else len(folders), entry.path)


def _roots(folder: Path) -> tuple[Path, ...]:
    """Return where the files of a folder may really lie: in it, and, as huggingface_hub has it, where it is
    .../snapshots/REVISION or below, in .../blobs."""
    real = Path(os.path.realpath(folder))  # to which a link of the user's may lead
    hubs = [above.parent / "blobs" for above in (*folder.parents, *real.parents) if above.name == "snapshots"]
    return (real, *(Path(os.path.realpath(hub)) for hub in hubs))


def _check_link(path: Path, roots: Sequence[Path]) -> None:
    """Raise DataError for a link that leads nowhere, or to what lies below none of the `roots`."""
    if not path.is_symlink():
        return
    if not path.exists():
        raise DataError(
            f"{path} is a link that leads nowhere, to {os.readlink(path)}: fetch what it stands for, or remove it"
        )
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(root) for root in roots):
        raise DataError(
            f"{path} must lie in its folder; it is a link that leads out of it, to {os.readlink(path)}. Where it is "
            "yours, copy the file there, or name the folder where it lies"
        )


def locate(uri: str) -> Location:
    """Return the location that a path or URI names; nothing is looked up there, except a bucket's region where none is
    set.

    Raises DataError on an unknown scheme and on options that do not exist.
    """
    remember(uri)
    if not re.match(r"^[A-Za-z][A-Za-z0-9+.-]*://", uri):
        return _local(uri, os.path.expanduser(uri))
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise DataError(f"a dataset's place must be a path or a URI; got '{without_secrets(uri)}': {error}") from error
    if parts.scheme not in SCHEMES:
        raise DataError(f"a dataset's place must be a path, file://, s3://, gs:// or hdfs://; got '{_shown(parts)}'")
    return SCHEMES[parts.scheme].open(uri)


def is_remote(uri: str) -> bool:
    """Return whether what a dataset's path or URI names lies on another machine, which may not answer. Raises as
    `locate`."""
    return "://" in uri and not locate(uri).is_local


def _local(uri: str, path: str) -> Location:
    from pyarrow.fs import LocalFileSystem

    try:
        os.path.abspath(path).encode()
    except UnicodeEncodeError as error:
        name = path.encode(errors="backslashreplace").decode()
        raise DataError(
            f"names of files must be UTF-8; got '{name}': rename it, or make a link with another name"
        ) from error
    return Location(uri, os.path.abspath(path), LocalFileSystem(), is_local=True)


def _file(uri: str) -> Location:
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise DataError(f"a file:// URI must name a file of this machine, file:///path; got '{without_secrets(uri)}'")
    return _local(uri, unquote(parts.path))


def _by_pyarrow(uri: str) -> Location:
    from pyarrow.fs import FileSystem

    shown = _shown(urlsplit(uri))
    try:
        filesystem, path = FileSystem.from_uri(uri)
    except (ValueError, NotImplementedError, ImportError, OSError) as error:
        raise DataError(f"{shown} cannot be reached by pyarrow: {str(error).splitlines()[0]}") from error
    return Location(shown, path, filesystem)


def _shown(parts: SplitResult) -> str:
    """Return a URI without its user, password and query."""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def _google(uri: str) -> Location:
    parts = urlsplit(uri)
    if "retry_limit_seconds" not in parts.query:  # pyarrow would try for 15 minutes
        uri += ("&" if parts.query else "?") + "retry_limit_seconds=8"
    settings = {**dict(parse_qsl(parts.query)), "anonymous": parts.username == "anonymous"}
    return replace(_by_pyarrow(uri), settings=settings)


def _s3(uri: str) -> Location:
    parts = urlsplit(uri)
    options = dict(parse_qsl(parts.query))
    if unknown := set(options) - set(S3_OPTIONS):
        keys = "keys belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in a profile that AWS_PROFILE names"
        raise DataError(f"an s3:// URI's options are {', '.join(S3_OPTIONS)}; got '{min(unknown)}'; {keys}")
    bucket = parts.netloc.rpartition("@")[2]
    if not bucket:
        raise DataError(f"an s3:// URI must be s3://bucket/path; got '{without_secrets(uri)}'")
    path = unquote(bucket + parts.path).rstrip("/")
    where = _s3_endpoint(options)
    region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    region = region or ("us-east-1" if where else _region_of(bucket))
    key, secret = (unquote(text) if text else None for text in (parts.username, parts.password))
    anonymous = options.get("anonymous", "").lower() in ("1", "true", "yes")
    settings = {"region": region, "access_key": key, "secret_key": secret, "anonymous": anonymous, **where}
    server = where.get("endpoint_override", "Amazon")
    return Location(f"s3://{path}", path, _s3_filesystem(settings), server=server, settings=settings)


def _s3_filesystem(settings: dict[str, Any]) -> Any:
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    return S3FileSystem(
        **settings,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=3),
    )


def _s3_endpoint(options: dict[str, str]) -> dict[str, str]:
    """Return host, port and scheme of a server other than Amazon's."""
    set_by_user = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    endpoint = options.get("endpoint_override") or set_by_user
    if not endpoint:
        return {}
    scheme, separator, host = endpoint.rpartition("://")
    return {
        "endpoint_override": host.rstrip("/"),
        "scheme": options.get("scheme") or (scheme if separator else "https"),
    }


def _region_of(bucket: str) -> str:
    from pyarrow.fs import resolve_s3_region

    location = Location(f"s3://{bucket}", bucket, None, server="Amazon")
    with reaching(location):
        return str(resolve_s3_region(bucket))


@dataclass(frozen=True)
class Scheme:
    """What a URI begins with, and the file system that it names."""

    open: Callable[[str], Location]
    safe_way: str = ""
    """Where a password is safer than in the URI."""
    has_bucket: bool = False
    """Whether a bucket stands in the host's place, which has no port."""


AWS: Final = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws that AWS_PROFILE names"
GOOGLE: Final = "the file that GOOGLE_APPLICATION_CREDENTIALS names"
SCHEMES: Final = {
    "file": Scheme(_file),
    "s3": Scheme(_s3, AWS, has_bucket=True),
    "gs": Scheme(_google, GOOGLE, has_bucket=True),
    "gcs": Scheme(_google, GOOGLE, has_bucket=True),
    "hdfs": Scheme(_by_pyarrow),
    "viewfs": Scheme(_by_pyarrow),
}
"""Not abfs://: without credentials pyarrow 26's Azure driver ends the process."""
DATABASES: Final = {
    "postgresql": "~/.pgpass, or PGPASSWORD",
    "mysql": "an option file, ?read_default_file=FILE",
    "mariadb": "an option file, ?read_default_file=FILE",
}
"""Where a password is safer than in the URI."""


def check_address(uri: str) -> None:
    """Raise DataError for a password with letters that end it too early, so that the rest would be taken for a host or
    a bucket, which are shown."""
    scheme, separator, rest = uri.partition("://")
    kind = scheme.lower().partition("+")[0]
    if not separator or "@" not in rest or rest.startswith("/"):
        return
    if _is_torn(kind, rest):
        safe = (SCHEMES[kind].safe_way if kind in SCHEMES else DATABASES.get(kind)) or "its own file or the environment"
        raise DataError(
            f"a password in an address must have %2F, %40, %3A, %3F and %23 in place of / @ : ? and #; got "
            f"'{without_secrets(uri)}'. It is safer in {safe}: other users see what is typed"
        )


def _is_torn(kind: str, rest: str) -> bool:
    """Return whether the password ends too early in `rest`, behind ://, with an @. Databases end the password at the
    first one, file systems at the last."""
    if kind not in SCHEMES:
        return "@" in rest.partition("@")[2].partition("?")[0]
    place = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, _, host = place.rpartition("@")
    _, colon, port = host.rpartition("]")[2].partition(":")
    if colon and (SCHEMES[kind].has_bucket or not port.isdecimal()):
        return True
    return ":" in user and "@" in rest[len(place) :].partition("?")[0]


CAUSES = (
    (r"NO_SUCH_BUCKET|NoSuchBucket|[Bb]ucket .*(not found|does not exist)", "the bucket must exist; {bucket} does not"),
    (
        r"ACCESS_DENIED|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE|InvalidAccessKeyId|HTTP.*40[13]|MISSING_AUTH",
        "access must be allowed; {bucket} refuses it. Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_PROFILE, "
        "and the bucket's policy; a public bucket is opened with ?anonymous=true",
    ),
    (
        r"NETWORK_CONNECTION|[Cc]ouldn't connect|curlCode|[Cc]onnection refused|[Tt]imeout|resolve host",
        "the server must answer; {server} does not. Check the network and AWS_ENDPOINT_URL",
    ),
    (r"RESOURCE_NOT_FOUND|NO_SUCH_KEY|Path does not exist", "it must exist; nothing is there"),
)
"""What a file system's message holds -> the rule, what was found and what to do."""


def explained(location: Location, error: Exception, doing: str = "read") -> DataError:
    """Return a DataError of a file system's error, whose own messages are hard to read."""
    text = str(error)
    if location.is_local and isinstance(error, FileNotFoundError):
        return DataError(f"{location} does not exist")
    if location.scheme != "s3":
        return DataError(f"{location} cannot be {doing}: {text}")
    bucket = location.uri.split("/")[2]
    for pattern, message in CAUSES:
        if re.search(pattern, text):
            reason = message.format(bucket=bucket, server=location.server)
            return DataError(f"{location} cannot be {doing}: {reason}. ({text})")
    return DataError(f"{location} cannot be {doing}: {text}")


@contextlib.contextmanager
def reaching(location: Location, doing: str = "read") -> Iterator[None]:
    """Turn a file system's error into a DataError that says what to do."""
    try:
        yield
    except UnicodeError as error:
        raise DataError(f"{location} cannot be {doing}: names of files in it must be UTF-8 ({error})") from error
    except OSError as error:
        raise explained(location, error, doing) from error


class BlockFile(io.RawIOBase):
    """A remote file whose small reads are answered from the blocks of 4 MiB used last, 64 MiB in all.

    HDF5 reads a chunk of 70 kB after another, and its index between them: without blocks each is a request of its own.
    """

    def __init__(self, file: Any) -> None:
        super().__init__()
        self._file, self._size, self._at = file, int(file.size()), 0
        self._block = functools.lru_cache(BLOCKS_KEPT)(self._read_block)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence] + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` unless the file ends before."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self._at < self._size:
            number, within = divmod(self._at, BLOCK)
            piece = self._block(number)[within : within + len(view) - done]
            if not piece:
                raise OSError(f"the file ended at byte {self._at} of {self._size}")
            view[done : done + len(piece)] = piece
            done += len(piece)
            self._at += len(piece)
        return done

    def _read_block(self, number: int) -> bytes:
        self._file.seek(number * BLOCK)
        return bytes(self._file.read(BLOCK))

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
