from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from galaxytl.system.prefetch import ahead
from tests.sweep.sweeps import wait_for


def test_ahead_is_one_ahead_and_closes() -> None:
    made: list[int] = []
    closed = threading.Event()

    def pieces() -> Iterator[int]:
        try:
            for number in range(10):
                made.append(number)
                yield number
        finally:
            closed.set()

    threads = threading.active_count()
    items = pieces()
    running = ahead(items)
    assert (next(running), next(running)) == (0, 1)
    wait_for(lambda: len(made) == 3, "the one ahead")
    time.sleep(0.05)
    assert made == [0, 1, 2]
    running.close()
    assert closed.is_set()
    assert threading.active_count() == threads
    assert list(ahead(iter(range(5)))) == list(range(5))


def test_errors_arrive_from_ahead() -> None:
    def pieces() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    running = ahead(pieces())
    assert next(running) == 1
    with pytest.raises(OSError, match="gone"):
        next(running)
