"""Every test has a cache, a home and a Keras folder of its own, reaches no network, and leaves nothing that runs."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.cluster import faults
from tests.galaxies import write_hdf5

SECONDS_TO_END = 20.0
"""What a test started may take so long to end after it: Ray's processes notice within seconds that their driver has."""

hypothesis.settings.register_profile("same-each-time", deadline=None, database=None, derandomize=True)
hypothesis.settings.load_profile("same-each-time")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--until", type=float, help="skip the tests that are left at this time, in seconds since 1970")


def pytest_configure(config: pytest.Config) -> None:
    """Before any test file is imported: some import Keras, which reads its folder then."""
    home = tempfile.TemporaryDirectory(prefix="galaxytl-tests-")
    config.add_cleanup(home.cleanup)
    folder = Path(home.name)
    os.environ |= {
        "GALAXYTL_CACHE_DIR": str(folder / "cache"),
        "KERAS_HOME": str(folder / "keras"),
        "HOME": str(folder),
        "https_proxy": "http://127.0.0.1:9",  # nothing listens there: downloads fail at once
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "JAX_ENABLE_COMPILATION_CACHE": "0",  # it stays in the folder of the test that was first
    }
    os.environ.pop("GALAXYTL_WEIGHTS_DIR", None)
    os.fsync = lambda descriptor: None  # what it is for, no test can see; a busy disk takes 0.1 s each of thousands
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and their children, ignore it


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file without the marker that `-m` wants is not imported: many import TensorFlow, or Ray, which take seconds."""
    wanted = set(re.findall(r"(?<!not )\b(?:alone|rest)\b", config.option.markexpr))
    if collection_path.suffix == ".py" and not all(f"mark.{name}" in collection_path.read_text() for name in wanted):
        return True
    return None


def pytest_collection_finish() -> None:
    """What the libraries and the tests are made of, millions of objects, needs no look whenever garbage is collected;
    and graphs of networks, of thousands each, need few."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def pytest_runtest_setup(item: pytest.Item) -> None:
    until = item.config.getoption("--until")
    if until and time.time() > until:
        pytest.skip("NOT RUN: the time that --until names is over")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line: how many tests were skipped, why, and what to install."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    if reasons:
        terminalreporter.line("skipped: " + "; ".join(f"{number} x {reason}" for reason, number in reasons.items()))


@pytest.fixture(autouse=True)
def nothing_outlives_its_test() -> Iterator[None]:
    """No thread and no process that a test started runs on after it: a later test would pay for it, or fail by it."""
    before = _processes() | {thread.native_id for thread in threading.enumerate()}
    yield
    stop = time.monotonic() + SECONDS_TO_END
    while (left := _running(before)) and time.monotonic() < stop:
        time.sleep(0.05)
    assert not left, f"these outlive the test: {left}"


def _processes() -> set[int | None]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def _running(before: set[int | None]) -> list[str]:
    """This process's threads, its children, and all processes that have its home, but for those of `before`.

    Only what came since is looked at: there are thousands of tests, and a machine has hundreds of processes.
    """
    running = [f"thread {thread.name}" for thread in threading.enumerate() if thread.native_id not in before]
    mark = f"HOME={os.environ['HOME']}".encode()
    for number in _processes() - before:
        folder = Path(f"/proc/{number}")
        with contextlib.suppress(OSError):  # ended meanwhile
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if parent == str(os.getpid()) or mark in (folder / "environ").read_bytes().split(b"\0"):
                running.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200])
    return running


@pytest.fixture(scope="session")
def galaxies_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images in Galaxy10's HDF5 layout, 4 a class."""
    return write_hdf5(tmp_path_factory.mktemp("data") / "galaxies.h5")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB of its own."""
    with contextlib.ExitStack() as mounted:
        try:
            disk = mounted.enter_context(faults.small_disk(tmp_path / "disk", 2))
        except OSError as error:
            pytest.skip(str(error))
        yield disk
