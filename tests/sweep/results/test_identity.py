"""A sweep is the same wherever its driver runs, and another in another folder."""

from __future__ import annotations

from pathlib import Path

from sweep.results.identity import FILE_NAME, sweep_identity


def test_it_stays_with_the_folder_and_with_the_storage(tmp_path: Path) -> None:
    here, there, other = (tmp_path / name for name in ("here", "there", "other"))
    for folder in (here, there, other):
        folder.mkdir()
    place = str(tmp_path / "shared" / "lr")
    identity = sweep_identity(here, "")
    assert sweep_identity(here, place) == identity  # the storage has it from now on
    assert sweep_identity(there, place) == identity
    assert sweep_identity(there, "") == identity
    assert sweep_identity(other, "") != identity


def test_a_half_written_one_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"0f3")
    assert sweep_identity(tmp_path, "") == sweep_identity(tmp_path, "") != "0f3"
