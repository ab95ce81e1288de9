"""Which file system a folder lies on, as Linux says: caches want a disk of the machine itself.

    network_file_system(Path("~/.cache/galaxytl").expanduser())      # "nfs4"; "" on a disk of this machine

Standard library only.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mountinfo")
OVER_A_NETWORK: Final = (
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs"),
    *("lustre", "gpfs", "beegfs", "beegfs_nodev", "orangefs", "pvfs2", "wekafs"),
)
"""Types of file systems that lie on other machines, as Linux calls them; those of FUSE are told by their programs."""
PROGRAMS: Final = ("sshfs", "glusterfs", "s3fs", "goofys", "gcsfuse", "rclone", "juicefs", "ceph", "davfs")


def network_file_system(folder: Path) -> str:
    """Return the type of the network's file system that the folder lies on, or will lie on; "" for any other, and where
    the system does not say."""
    try:
        table = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    kind = file_system_type(table, os.path.realpath(folder))
    return kind if kind in OVER_A_NETWORK or kind.removeprefix("fuse.").startswith(PROGRAMS) else ""


def file_system_type(table: str, path: str) -> str:
    """Return the type of the file system that holds an absolute path without links, from the lines of
    /proc/self/mountinfo (`man 5 proc`): that with the longest mount point above it, of equal ones the last, which hides
    the others. "" where no line fits."""
    longest, kind = "", ""
    for line in table.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5:
            continue
        place = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        if len(place) >= len(longest) and (path == place or path.startswith(place.rstrip("/") + "/")):
            longest, kind = place, after.split(" ")[0]
    return kind
