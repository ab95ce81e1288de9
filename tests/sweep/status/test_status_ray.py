"""A real driver, with real workers, seen from outside; then it is killed: of less, no worker would say where it is."""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep.status.__main__ import main
from tests.cluster import faults
from tests.sweep.sweeps import FROZEN, below, quick, start, wait_for

pytestmark = pytest.mark.alone


def status(place: Path, *options: str) -> tuple[int, str]:
    """The status of the command and what it prints, asked of `main` here: it is asked again and again."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        return main([str(place), *options]), said.getvalue()


def values(place: Path) -> Any:
    code, said = status(place, "--json")
    assert code == 0
    return json.loads(said)


@contextlib.contextmanager
def ended(driver: subprocess.Popen[bytes]) -> Iterator[None]:
    """Nothing that the driver has started runs on."""
    try:
        yield
    finally:
        started = below(driver.pid)
        faults.end_all([driver.pid, *started])
        driver.wait()


def test_a_driver_is_seen_at_work_and_as_killed(galaxies_file: Path, tmp_path: Path, ray_address: str) -> None:
    """It trains two heads for thousands of epochs, so that they surely run when they are looked at."""
    out, shared = tmp_path / "out", tmp_path / "shared"
    arguments = ("--data", galaxies_file, *quick(100_000), *FROZEN, "--set", "optimizer=sgd")
    arguments += ("--set", "learning_rate=1e-4,1e-5", "--out", out, "--storage", shared, "--cpus-per-trial", "2")
    driver = start(tmp_path / "log", *arguments, ray=ray_address)
    with ended(driver):

        def is_training() -> bool:
            if driver.poll() is not None:
                raise AssertionError((tmp_path / "log").read_text())
            if not (out / "progress.json").exists():
                return False
            now = values(out)
            return bool(now["running"] and now["running"][0]["epoch"] and now["running"][0]["node"])

        wait_for(is_training, "an epoch")
        now = values(out)
        assert (now["state"], now["kind"], now["trials"]["total"]) == ("running", "grid", 2)
        assert now["trials"]["running"] == len(now["running"]) == 2
        for trial in now["running"]:
            assert (trial["node"], trial["epochs"]) == (platform.node(), 100_000)
            assert 0 < trial["epoch"] < 100_000
        assert now["seconds_left"][0] > 0
        wait_for(lambda: values(shared / "out")["running"], "the copy")
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()

        for place in (out, shared / "out"):
            now = values(place)
            assert (now["state"], now["running"], now["seconds_left"]) == ("gone", [], None)
            assert (now["trials"]["running"], now["trials"]["to_do"]) == (0, 2)
        text = " ".join(status(out)[1].replace("\\\n", "").split())
        assert f"process {driver.pid} on {platform.node()} was killed" in text
        assert f"--out {out} --storage {shared} --cpus-per-trial 2" in text
        assert "python -m sweep.run --address auto" in text
        assert status(out, "--watch")[0] == 3
