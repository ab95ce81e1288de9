"""Peaks of memory are those of the processes that a command starts."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from benchmarks import memory

HOLDS = "import sys; held = bytearray(b'x' * 200 * 2**20); print('holds', flush=True); sys.stdin.read()"
STARTS = f"import subprocess, sys; subprocess.run(['ray::Held', '-c', {HOLDS!r}], executable=sys.executable)"


@pytest.mark.parametrize(("program", "is_worker"), [(HOLDS, False), (STARTS, True)])
def test_a_process_that_held_memory_is_the_driver_or_a_worker_by_who_started_it(program: str, is_worker: bool) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with memory.watched_memory() as peaks, subprocess.Popen([sys.executable, "-c", program], **pipes) as process:
        assert process.stdout.readline() == "holds\n"
        peaks.look(memory.os.getpid())
        process.communicate()
    assert (peaks.worker > 200) if is_worker else math.isnan(peaks.worker)
    assert (peaks.driver > 200) is not is_worker
    assert peaks.together > 200
    assert f"driver {peaks.driver:,.0f}, {'a worker' if is_worker else 'no worker'}" in str(peaks)
