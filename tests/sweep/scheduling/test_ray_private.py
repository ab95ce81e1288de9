"""What Ray is told of the driver, without starting it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sweep.scheduling.ray_private import CODE, own_code


@pytest.mark.parametrize("first", ["/usr/bin", ""], ids=["the command galaxytl", "python -m"])
def test_workers_look_first_where_the_driver_does(first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of the paths comes first. Ray adds the working folder, whoever looks there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [first, *sys.path])
    paths = own_code()._py_driver_sys_path
    paths.extend([str(tmp_path)])
    assert paths == ([str(CODE)] if first else [str(CODE), str(tmp_path)])
    assert (CODE / "sweep" / "run.py").is_file()
