"""What another node holds is copied, not computed. Here other nodes are other cache folders."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from galaxytl.learning.features import activations_folder, rows_digest, stored_activations
from galaxytl.learning.job import Neighbours
from galaxytl.networks import warm
from tests.galaxytl.learning.test_features import BASE, ROWS, Told

pytestmark = pytest.mark.usefixtures("toy_backbone")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


class OtherNode(Neighbours):
    """Another node's cache folder, from which entries are copied."""

    def __init__(self, folder: Path | None = None, damaged: bool = False) -> None:
        self.folder, self.damaged = folder, damaged
        self.asked: list[str] = []
        self.told: list[tuple[str, bool, float]] = []
        self.given_up: list[str] = []

    def fetch(self, name: str, folder: Path) -> bool:
        self.asked.append(name)
        if self.folder:
            shutil.copytree(self.folder / "features" / name, folder, dirs_exist_ok=True)
        if self.damaged:
            os.truncate(folder / "activations.npy", 500)
        return self.folder is not None

    def announce(self, name: str, folder: Path, seconds: float) -> None:
        self.told.append((name, folder.is_dir(), seconds))

    def give_up(self, name: str) -> None:
        self.given_up.append(name)


def test_what_another_node_holds_is_not_computed(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed, alone = Told(BASE), OtherNode()
    here = stored_activations(BASE, (2, 0), replace(computed.source, neighbours=alone))
    names = [activations_folder(BASE, rows_digest(ROWS), cut).name for cut in (0, 2)]
    assert alone.asked == names  # the later one first
    assert [name for name, *_ in alone.told] == names[::-1]
    assert all(is_there and 0 < seconds < 100 for _, is_there, seconds in alone.told)

    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(own_cache.parent / "second"))
    copied, other = Told(BASE), OtherNode(own_cache)
    there = stored_activations(BASE, (2, 0), replace(copied.source, neighbours=other))
    np.testing.assert_array_equal(there, here)
    assert (copied.built, copied.multiply_adds) == (0, [])
    assert other.asked == names[:1]  # what leads there is not needed
    assert other.told == [(names[0], True, math.inf)]
    assert sorted(p.name for p in (own_cache.parent / "second" / "features").glob("[!.]*")) == names[:1]


def test_a_damaged_copy_is_computed_anew(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = stored_activations(BASE, (0,), Told(BASE).source)
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(own_cache.parent / "second"))
    told = Told(BASE)
    source = replace(told.source, neighbours=OtherNode(own_cache, damaged=True))
    np.testing.assert_array_equal(stored_activations(BASE, (0,), source), here)
    assert told.built == 1


def test_others_hear_that_activations_could_not_be_computed() -> None:
    other = OtherNode()

    def no_network() -> warm.Network:
        raise MemoryError

    source = replace(Told(BASE).source, network=no_network, neighbours=other)
    with pytest.raises(MemoryError):
        stored_activations(BASE, (0,), source)
    assert other.given_up == other.asked
    assert other.told == []
