"""What Ray keeps on this machine, for its user alone: the token that it asks for, and the files of a local cluster.

    note = check_token(starts_ray=True)        # "" or what the user should know
    with own_folder() as folder:
        ray.init("local", _temp_dir=folder)

Ray (2.60) writes a new token as the umask says, 0644 as a rule, and lets all users write into its temporary folders.
Whoever has the token, or reaches the sockets in that folder, runs programs as the user whose sweep it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from galaxytl.system.command import UsageError
from sweep.scheduling.fork_server import SOCKET_FILE

MAX_TEMPORARY: Final = 26
"""Bytes: of a socket's path Ray and `own_folder` take 81, at most, for
/rayabcdefgh/r/session_2026-01-02_03-04-05_678901_2345678/sockets/plasma_store. A system takes 103 or 107."""
PREFIX, OF_RAY = "ray", "r"
"""How the names of a driver's own folders begin, and the name of Ray's folder in such a one."""
LEFT_SECONDS: Final = 3600.0
"""What a killed driver left is there until so long after its start, for those who want to read Ray's logs."""


class RayFilesError(UsageError):
    """Ray's files cannot be kept from other users; the message says why and what to do."""


def check_token(starts_ray: bool) -> str:
    """Let nobody else read Ray's token, and where `starts_ray`, make one if there is none.

    Returns what the user should know, or "". Raises RayFilesError for a token of somebody else.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        open_to_all = "RAY_AUTH_MODE is not token: while this sweep runs, any user of this machine runs programs as you"
        return open_to_all if starts_ray else ""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return ""
    return own_token(Path.home() / ".ray", make=starts_ray)


def own_token(folder: Path, make: bool = True) -> str:
    """Do as `check_token`, of the token in `folder`."""
    path = folder / "auth_token"
    try:
        if make:
            folder.mkdir(mode=0o700, exist_ok=True)
        if not folder.is_dir():
            return ""
        _check_own(folder, os.stat(folder))
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) & ~0o077)
        if make and not os.path.lexists(path):
            _write_token(path)
        return _tighten(path) if os.path.lexists(path) else ""
    except OSError as error:
        raise RayFilesError(
            f"the token of Ray must lie in a folder of your own, {folder}; it cannot be kept there: {error.strerror}. "
            "Mend that, or set RAY_AUTH_TOKEN_PATH to a file that only you can read"
        ) from error


def _check_own(path: Path, state: os.stat_result) -> None:
    if state.st_uid != os.getuid():
        raise RayFilesError(
            f"{path} must be your own (user {os.getuid()}), or its owner runs programs as you; it is user "
            f"{state.st_uid}'s: move it away, and a new one is made"
        )


def _write_token(path: Path) -> None:
    """Do as `ray get-auth-token --generate` does, but whole, readable by its owner alone from the first moment on, and
    without another's being lost: of sweeps that start together all go on with the token of the first."""
    handle, unfinished = tempfile.mkstemp(prefix=".auth_token-", dir=path.parent)
    try:
        with open(handle, "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(unfinished, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            os.replace(unfinished, path)
    finally:
        Path(unfinished).unlink(missing_ok=True)


def _tighten(path: Path) -> str:
    state = path.lstat()
    if not stat.S_ISREG(state.st_mode):
        leads = f"a link to {os.readlink(path)}" if path.is_symlink() else "something else"
        raise RayFilesError(f"{path} must be a file; it is {leads}: move it away, and a new token is made")
    _check_own(path, state)
    if not state.st_mode & 0o077:
        return ""
    path.chmod(0o600)
    return (
        f"{path} could be read by other users (mode {stat.S_IMODE(state.st_mode):04o}), who could then run programs as "
        "you; now it is 0600. Where others use this machine, delete it, and a new one is made"
    )


@contextlib.contextmanager
def own_folder() -> Iterator[str]:
    """Make a new folder that no other user can enter, for the files of a cluster that this process starts; gone
    afterwards.

    Raises RayFilesError where there is no place for it.
    """
    place = short_place()
    remove_left(place)
    folder = tempfile.mkdtemp(prefix=PREFIX, dir=place)
    lock = os.open(folder, os.O_RDONLY)  # freed by whatever ends this process
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield os.path.join(folder, OF_RAY)  # Ray lets all users into the folder that it is given
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def short_place() -> str:
    """Return where temporary files lie: RAY_TMPDIR, TMPDIR or /tmp, unless the paths of sockets would be too long
    there, or nothing can be written, or others could put their own in its place. Raises RayFilesError where there is no
    other."""
    chosen = os.path.abspath(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")
    for folder in (chosen, "/tmp", "/var/tmp", "/dev/shm"):
        if len(os.fsencode(folder)) <= MAX_TEMPORARY and os.access(folder, os.W_OK | os.X_OK) and _stays(folder):
            return folder
    raise RayFilesError(
        f"Ray's temporary files must lie in a folder that can be written to, whose path has at most {MAX_TEMPORARY} "
        f"bytes, and where other users cannot rename them (as in /tmp, by its sticky bit); got {chosen}. Set "
        "RAY_TMPDIR to such a one"
    )


def _stays(folder: str) -> bool:
    """Return whether what lies there stays there: where all may write, a sticky bit lets them rename only what is
    theirs."""
    real = Path(folder).resolve()
    modes = [place.stat().st_mode for place in (real, *real.parents)]
    return all(mode & stat.S_ISVTX or not mode & stat.S_IWOTH for mode in modes)


def remove_left(place: str, older_than: float = LEFT_SECONDS) -> None:
    """Remove the folders of this user's drivers that have ended, if they were made `older_than` seconds ago or more."""
    entries: list[os.DirEntry[str]] = []
    with contextlib.suppress(OSError):  # a folder that can be written to and not be listed
        entries = list(os.scandir(place))
    for entry in entries:
        with contextlib.suppress(OSError):  # another process removes it too
            state = entry.stat(follow_symlinks=False)
            is_ours = state.st_uid == os.getuid() and stat.S_IMODE(state.st_mode) == 0o700
            if entry.name.startswith(PREFIX) and stat.S_ISDIR(state.st_mode) and is_ours:
                _remove_unlocked(entry.path, time.time() - older_than)


def _remove_unlocked(folder: str, before: float) -> None:
    found = set(os.listdir(folder))
    if os.stat(folder).st_mtime > before or not found or found - {OF_RAY, SOCKET_FILE}:
        return
    lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
