"""Results from others are read, never executed: pickles in the places of checkpoints, predictions and Tune's state.

That Ray restores nothing of it can only be seen where Ray runs.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import optuna
import pytest

from galaxytl.results.checkpoints import load_checkpoint
from galaxytl.results.rows import read_results
from galaxytl.trial import COMPLETE
from sweep.run import main
from sweep.search.export import earlier_lines, open_storage, sqlite_url
from sweep.search.study import StudyError
from tests.galaxytl.system.test_inside import write_journal
from tests.sweep.sweeps import QUICK, ROOT, sweep


class Trap:
    """Whoever unpickles it makes a file."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.sprung,)


def as_pickle(trap: Trap) -> bytes:
    return pickle.dumps(trap)


def as_array(trap: Trap) -> bytes:
    """What NumPy writes for an array of objects: with a pickle inside."""
    file = io.BytesIO()
    np.save(file, np.array([trap], dtype=object), allow_pickle=True)
    return file.getvalue()


def as_checkpoint(trap: Trap) -> bytes:
    """A zip file of arrays as checkpoints are, with such an array for the history."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as content:
        for name in ("history", "kernel"):
            content.writestr(f"{name}.npy", as_array(trap))
    return file.getvalue()


pytestmark = pytest.mark.usefixtures("databases_closed")
KINDS = (as_pickle, as_array, as_checkpoint)


def test_the_trap_works(tmp_path: Path) -> None:
    trap = Trap(tmp_path / "sprung")
    pickle.loads(as_pickle(trap))
    assert trap.sprung.exists()
    trap.sprung.unlink()
    np.load(io.BytesIO(as_array(trap)), allow_pickle=True)
    assert trap.sprung.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoint_is_not_executed(kind: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trap = Trap(tmp_path / "sprung")
    (tmp_path / "trial.npz").write_bytes(kind(trap))  # type: ignore[operator]
    assert load_checkpoint(tmp_path / "trial.npz", {"kernel": (1,)}) == ({}, [])
    assert "is damaged, training starts anew" in capsys.readouterr().out
    assert not trap.sprung.exists()


@pytest.mark.parametrize("name", ["trials.jsonl", "asked.jsonl", "sweep.log", "study.db", "errors/a.txt"])
def test_a_folder_with_links_is_refused_before_anything_is_written(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, home = tmp_path / "results", tmp_path / "home"
    home.mkdir()
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to(home / "authorized_keys")
    before = sorted(out.rglob("*"))
    for more in ([], ["--dry-run"]):
        assert main(["--grid", "paper", "--data", "simulated:60", "--out", str(out), *more]) == 2
        assert f"{out / name} is a link. Remove it" in capsys.readouterr().err
    assert (list(home.iterdir()), sorted(out.rglob("*"))) == ([], before)


def test_a_study_is_opened_as_data(tmp_path: Path) -> None:
    """By a driver too, which reads an earlier version's and exports to one: its triggers do not run, and what its
    journal names is not removed."""
    path, thesis = tmp_path / "study.db", tmp_path / "thesis.tex"
    url = sqlite_url(path)
    thesis.write_text("mine")
    optuna.create_study(storage=open_storage(url), study_name="search")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM trials; END")
    opened = (lambda: open_storage(url), lambda: earlier_lines(url, "search", {}, lambda fields: {}))
    for open_it in opened:
        with pytest.raises(StudyError, match="holds tables; got the trigger t"):
            open_it()
    write_journal(path.with_name("study.db-journal"), thesis)
    for open_it in opened:
        with pytest.raises(StudyError, match="names no further file"):
            open_it()
    assert thesis.exists()


@pytest.mark.rest
@pytest.mark.alone
def test_results_folder_full_of_traps(tmp_path: Path) -> None:
    """A sweep goes on in it and a report is made of it: a head, and a network that is trained as a whole."""
    out, trap = tmp_path / "results", Trap(tmp_path / "sprung")
    arguments = ("--grid", "paper", "--data", "simulated:60", "--set", "backbone=VGG16", *QUICK, "--out", out)
    first = sweep(*arguments)
    assert first.returncode == 0, first.stdout + first.stderr
    trials = [result.trial_id for result in read_results(out).results]
    (out / "trials.jsonl").write_bytes(as_pickle(trap))
    (out / "checkpoints").mkdir(exist_ok=True)
    for kind, trial_id in zip((as_checkpoint, as_pickle), trials, strict=True):
        (out / "checkpoints" / f"{trial_id}.npz").write_bytes(kind(trap))
    states = [file for file in (out / "ray").rglob("*") if file.suffix == ".pkl"]
    assert states
    for file in states:
        file.write_bytes(as_pickle(trap))

    again = sweep(*arguments)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "2 to run" in again.stdout
    assert [result.status for result in read_results(out).results] == [COMPLETE] * 2
    assert not trap.sprung.exists()

    for trial_id, kind in zip(trials, (as_array, as_pickle), strict=True):
        (out / "probabilities" / f"{trial_id}.parquet").write_bytes(kind(trap))
    command = [sys.executable, "-m", "analysis.run", str(out), "--out", str(tmp_path / "report")]
    report = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=550, check=False)
    assert (tmp_path / "report" / "index.html").exists(), report.stdout + report.stderr
    assert "Traceback" not in report.stderr
    assert not trap.sprung.exists()
