from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import RDBStorage

from tests.galaxytl import toy
from tests.sweep.sweeps import ray_head


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """One Ray for all drivers that join it, as `sweep(..., ray=ray_address)` does: starting one takes long."""
    temporary = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
    with temporary as folder, ray_head(Path(folder)) as address:
        yield address


@pytest.fixture(autouse=True)
def ray_starts_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that a test runs in its own process starts Ray only where it trains: a test of what a plan says, or
    refuses, would wait for a Ray that nothing runs on."""
    monkeypatch.setattr("sweep.prepare.begin_ray", lambda *_: None)


@pytest.fixture(autouse=True)
def networks_are_built_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first plan of a network asks Keras for its blocks: not in a process of its own each time."""
    monkeypatch.setattr("galaxytl.networks.blocks._ask_keras", toy.ask_here)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a study's database that is not there yet."""
    return f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def databases_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every database of a study that the test opened, or tried to, is closed at its end: Python 3.13 wants that."""
    opened: list[RDBStorage] = []
    init = RDBStorage.__init__

    def remembered(storage: RDBStorage, *arguments: Any, **options: Any) -> None:
        opened.append(storage)
        init(storage, *arguments, **options)

    monkeypatch.setattr(RDBStorage, "__init__", remembered)
    yield
    for storage in opened:
        if hasattr(storage, "scoped_session"):
            storage.remove_session()
        if hasattr(storage, "engine"):
            storage.engine.dispose()
