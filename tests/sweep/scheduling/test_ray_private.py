"""What Ray is told of the driver, without starting it."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from sweep.scheduling.ray_private import AHEAD, CODE, own_code, workers_ahead

import ray  # isort: skip


@pytest.mark.parametrize("first", ["/usr/bin", ""], ids=["the command galaxytl", "python -m"])
def test_workers_look_first_where_the_driver_does(first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of the paths comes first. Ray adds the working folder, whoever looks there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [first, *sys.path])
    paths = own_code()._py_driver_sys_path
    paths.extend([str(tmp_path)])
    assert paths == ([str(CODE)] if first else [str(CODE), str(tmp_path)])
    assert (CODE / "sweep" / "run.py").is_file()


def test_a_cluster_of_one_machine_starts_as_many_workers_ahead_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """And they find the driver's own code, before Ray has told them of it."""
    services: Any = ray._private.services
    started: list[tuple[list[str], str]] = []
    monkeypatch.setattr(
        services, "start_ray_process", lambda command, kind: started.append((command, os.environ["PYTHONPATH"]))
    )
    monkeypatch.setenv("PYTHONPATH", "theirs")
    own = services.start_ray_process
    with workers_ahead(3):
        services.start_ray_process(["raylet", "--num_prestart_python_workers=64", "--head"], "raylet")
    assert started == [(["raylet", "--num_prestart_python_workers=3", "--head"], f"{CODE}{os.pathsep}theirs")]
    assert os.environ["PYTHONPATH"] == "theirs"
    assert services.start_ray_process is own


def test_ray_still_has_the_option_that_says_how_many() -> None:
    assert AHEAD in inspect.getsource(ray._private.services.start_raylet)
