from __future__ import annotations

from pathlib import Path

import pytest

from galaxytl.system import cache, mounts
from galaxytl.system.mounts import file_system_type, network_file_system

TABLE = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
31 27 0:40 / /home rw,relatime shared:2 master:1 - nfs4 server:/export/home rw,vers=4.2
32 31 0:41 / /home/u/my\040disk rw - xfs /dev/sdb rw
33 27 0:42 / /scratch rw - ext4 /dev/sdc rw
34 33 0:43 / /scratch rw - fuse.sshfs other:/ rw
damaged
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/u/.cache/galaxytl", "nfs4"),
        ("/home", "nfs4"),
        ("/homes/u", "ext4"),
        ("/home/u/my disk/cache", "xfs"),
        ("/scratch/a", "fuse.sshfs"),  # hides the one below it
        ("/", "ext4"),
    ],
)
def test_the_longest_mount_point_above_a_path_tells(path: str, kind: str) -> None:
    assert file_system_type(TABLE, path) == kind
    assert file_system_type("", path) == ""


def test_a_cache_on_a_network_is_said_and_one_here_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"{TABLE}35 27 0:44 / {tmp_path.resolve()}/far rw - nfs4 server:/far rw\n")
    monkeypatch.setattr(mounts, "MOUNTS", table)
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path / "near"))
    assert (network_file_system(tmp_path), cache.network_note()) == ("", "")
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path / "far" / "cache"))  # not made yet
    assert "far/cache, lies on a network's file system (nfs4)" in cache.network_note()
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "none")  # no Linux
    assert cache.network_note() == ""
