"""Another user's files: every command says whose they are and what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from galaxytl.system import cache, files
from galaxytl.system.files import advice, file_system_type, network_file_system
from tests.galaxies import write_hdf5

OWNER = 12345
ROWS = Path(__file__).parents[1] / "results" / "rows" / "schema-3" / "trials.jsonl"
COMMANDS = """
import contextlib, io, json, sys
from analysis.run.__main__ import main as analysis
from galaxytl.data.__main__ import main as data
from sweep.run import main as sweep
for name, *arguments in json.loads(sys.argv[1]):
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        status = {"analysis": analysis, "data": data, "sweep": sweep}[name](arguments)
    print(json.dumps([status, errors.getvalue()]))
"""


def test_every_command_says_whose_a_place_is_and_what_to_do(tmp_path: Path) -> None:
    """As root without root's powers: for other users' files one user as any other."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root can have files that belong to somebody else")
    cases = _cases(tmp_path)
    done = subprocess.run(
        ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", sys.executable, "-c", COMMANDS, json.dumps(cases)],
        env={**os.environ, "GALAXYTL_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    ends = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(ends) == len(cases), done.stderr[-2000:]
    for case, (status, said) in zip(cases, ends, strict=True):
        assert status == 2, done.stderr
        assert said.startswith("error: "), case
        assert f"belongs to user {OWNER} (mode 0" in said, (case, said)
        assert "have its owner run chmod" in said
        assert said.count("\n") == 1
        assert "Traceback" not in said
        assert "unforeseen" not in said


def _cases(folder: Path) -> list[list[str]]:
    """Command lines, each of which meets another user's file or folder."""
    results = {name: folder / name for name in ("open", "rows", "read-only-rows", "closed", "lease")}
    for place in results.values():
        place.mkdir()
        shutil.copy(ROWS, place)
    (results["lease"] / "lease.json").write_text('{"owner": "x"}')
    galaxies, own_galaxies = (write_hdf5(folder / f"{name}.h5") for name in ("galaxies", "own"))
    storage, report = folder / "storage", folder / "report"
    for place in (storage, report):
        place.mkdir()
    _give_away(0o600, results["rows"] / "trials.jsonl", results["lease"] / "lease.json", galaxies)
    _give_away(0o644, results["read-only-rows"] / "trials.jsonl")
    _give_away(0o700, results["closed"], storage)
    _give_away(0o755, report)
    grid = ["sweep", "--grid", "paper", "--data", "simulated:40", "--out"]
    return [
        ["analysis", str(results["rows"]), "--out", str(folder / "made")],
        ["analysis", str(results["closed"]), "--out", str(folder / "made")],
        ["analysis", str(results["open"]), "--out", str(report / "inside")],
        ["analysis", f"file://{storage}/paper", "--out", str(folder / "made")],
        *([*grid, str(results[name])] for name in ("rows", "read-only-rows", "closed", "lease")),
        [*grid, str(results["closed"] / "inside" / "it")],
        [*grid, str(results["closed"]), "--dry-run"],
        [*grid, str(results["open"]), "--storage", str(storage)],
        ["data", "check", str(galaxies)],
        ["data", "convert", str(own_galaxies), "--to", str(report / "galaxies.h5")],
    ]


def _give_away(mode: int, *places: Path) -> None:
    for place in places:
        os.chmod(place, mode)
        os.chown(place, OWNER, OWNER)


def test_advice_is_about_the_innermost_place_that_there_is(tmp_path: Path) -> None:
    error = ValueError("wrapped")
    for denied in (
        PermissionError(13, "Permission denied", str(tmp_path / "not" / "there")),
        PermissionError(f"[Errno 13] Cannot list '{tmp_path}/not': it is denied"),
    ):
        error.__cause__ = denied
        assert advice(error).startswith(f"'{tmp_path}' belongs to user ")
    assert advice(PermissionError("by a library")).startswith("This is user ")
    assert advice(OSError(28, "No space left")) == ""


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
    monkeypatch.setattr(files, "MOUNTS", table)
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path / "near"))
    assert (network_file_system(tmp_path), cache.network_note()) == ("", "")
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path / "far" / "cache"))  # not made yet
    assert "far/cache, lies on a network's file system (nfs4)" in cache.network_note()
    monkeypatch.setattr(files, "MOUNTS", tmp_path / "none")  # no Linux
    assert cache.network_note() == ""
