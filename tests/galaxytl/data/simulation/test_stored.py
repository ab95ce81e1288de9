"""Simulated galaxies in the cache: complete, built once, rebuilt where damaged."""

from __future__ import annotations

import hashlib
import json
import sys
from multiprocessing import resource_tracker
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from galaxytl.data.simulation import stored
from galaxytl.data.simulation.simulate import class_labels, simulate_galaxy
from galaxytl.data.simulation.stored import simulated_folder
from tests.galaxies import draw_quickly

SEED = 3


def fingerprint_of(folder: Path) -> str:
    """The fingerprint as documented, computed from the files alone."""
    images, labels = np.load(folder / "images.npy"), np.load(folder / "labels.npy")
    parts = b"".join(hashlib.sha256(image.tobytes()).digest() for image in images)
    return hashlib.sha256(parts + labels.astype("<i8").tobytes()).hexdigest()


@pytest.fixture(scope="module")
def tracker() -> None:
    """Spawned processes make this one start a helper, which lives as long as it."""
    resource_tracker.ensure_running()


@pytest.mark.usefixtures("tracker")
def test_the_folder_holds_what_it_promises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn by two processes, of a program that is no file (`python -`): spawned ones cannot run it again."""
    monkeypatch.setattr(stored, "CHUNK", 4)
    program = ModuleType("__main__")
    program.__file__ = str(tmp_path / "<stdin>")
    monkeypatch.setitem(sys.modules, "__main__", program)
    progress: list[tuple[int, int]] = []
    folder = simulated_folder(10, SEED, tmp_path, lambda done, total: progress.append((done, total)), num_workers=2)
    assert sys.modules["__main__"] is program
    images, labels = np.load(folder / "images.npy"), np.load(folder / "labels.npy")
    assert (images.shape, images.dtype) == ((10, 256, 256, 3), np.uint8)
    assert np.array_equal(labels, class_labels(10, SEED))
    for index in range(10):
        galaxy = simulate_galaxy(index, int(labels[index]), SEED)
        assert np.array_equal(images[index], galaxy.image)
        for column in ("redshift", "ra", "dec", "pxscale"):
            assert np.load(folder / f"{column}.npy")[index] == getattr(galaxy, column)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["fingerprint"] == fingerprint_of(folder)
    assert (manifest["num_images"], manifest["seed"]) == (10, SEED)
    assert (len(progress), progress[-1]) == (3, (10, 10))


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indices of the galaxies that were drawn, which cost nothing here."""
    return draw_quickly(monkeypatch, tmp_path)


def test_a_complete_folder_is_not_built_again(tmp_path: Path, drawn: list[int]) -> None:
    folder = simulated_folder(3, SEED, tmp_path)
    assert simulated_folder(3, SEED, tmp_path) == folder
    assert drawn == [0, 1, 2]
    simulated_folder(3, SEED + 1, tmp_path)
    assert len(drawn) == 6


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("damage", ["manifest", "missing array", "wrong shape", "other version"])
def test_a_damaged_folder_is_rebuilt(tmp_path: Path, damage: str) -> None:
    folder = simulated_folder(3, SEED, tmp_path)
    whole = fingerprint_of(folder)
    manifest = folder / "manifest.json"
    written = manifest.read_text()
    if damage == "manifest":
        manifest.write_text('{"simulator_ver')
    elif damage == "missing array":
        (folder / "labels.npy").unlink()
    elif damage == "wrong shape":
        np.save(folder / "images.npy", np.zeros((2, 256, 256, 3), np.uint8))
    else:
        manifest.write_text(json.dumps({**json.loads(written), "simulator_version": -1}))
    assert fingerprint_of(simulated_folder(3, SEED, tmp_path)) == whole
    assert manifest.read_text() == written
