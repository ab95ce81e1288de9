from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from galaxytl.networks import gpu_memory
from galaxytl.networks.gpu_memory import DeviceError, GpuMemory, read_memory, visible, wait_until_free
from tests.clock import Clock

SMI = """#!/bin/sh
case "$1" in
*compute-apps*) cat <<END
GPU-aaaa-1, 4711, /usr/bin/python3, 39000
GPU-aaaa-1, 4712, [Not Found], [N/A]
END
;;
*) cat <<END
0, GPU-aaaa-1, 81559, 42000
1, GPU-bbbb-2, 81559, 81000
2, GPU-cccc-3, [N/A], [N/A]
END
;;
esac
"""
"""As nvidia-smi answers, on a machine with three GPUs, the last of which has no memory of its own."""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "nvidia-smi"
    program.write_text(SMI)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return program


@pytest.mark.usefixtures("driver")
def test_what_nvidias_driver_says() -> None:
    first, second = read_memory()
    assert (first.index, first.uuid, first.total, first.free) == ("0", "GPU-aaaa-1", 81559, 42000)
    assert first.holders == ("process 4711 (python3, 39000 MiB)", "process 4712 ([Not Found], [N/A] MiB)")
    assert (second.free, second.holders) == (81000, ())


@pytest.mark.parametrize("answer", ["exit 9", "echo Unable to determine the device handle"])
def test_a_driver_that_does_not_answer_is_none(driver: Path, answer: str) -> None:
    driver.write_text(f"#!/bin/sh\n{answer}\n")
    assert read_memory() == []


def test_without_the_driver_there_is_nothing_to_wait_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_memory() == []
    wait_until_free(1.0, say=never)


def never(text: str) -> None:
    raise AssertionError(text)


GPUS = [
    GpuMemory("0", "GPU-aaaa-1", 80_000, 10_000, ("process 7 (python, 70000 MiB)",)),
    GpuMemory("1", "GPU-b", 100, 99),
]


@pytest.mark.parametrize(
    ("names", "indices"),
    [(None, "01"), ("1", "1"), ("GPU-aa", "0"), ("1,0", "01"), ("", ""), ("MIG-a", ""), ("10", "")],
)
def test_the_gpus_that_a_process_was_given(names: str | None, indices: str) -> None:
    environment = {} if names is None else {"CUDA_VISIBLE_DEVICES": names}
    assert "".join(gpu.index for gpu in visible(GPUS, environment)) == indices


class Readings:
    """Of GPU 0, one after the other: its free memory; the last stays."""

    def __init__(self, *free: int) -> None:
        self.free, self.said = list(free), list[str]()

    def __call__(self) -> list[GpuMemory]:
        now = self.free.pop(0) if len(self.free) > 1 else self.free[0]
        return [GpuMemory("0", "GPU-a", 80_000, now, ("process 7 (python, 70000 MiB)",))]

    def wait(self, share: float) -> None:
        wait_until_free(share, self.said.append, self)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """All GPUs are given, and no second passes but in `sleep`."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    clock = Clock()
    monkeypatch.setattr(gpu_memory, "time", clock)
    return clock


@pytest.mark.parametrize(("share", "free"), [(1.0, 64_000), (0.25, 16_000), (2.0, 64_000)])
def test_enough_for_a_share_is_enough(share: float, free: int) -> None:
    enough = Readings(free)
    enough.wait(share)
    assert enough.said == []
    with pytest.raises(DeviceError) as caught:
        Readings(free - 1).wait(share)
    assert f"must have {free:,} MiB free for a trial; after 120 s it has {free - 1:,} of 80,000" in str(caught.value)
    assert ": held by process 7 (python, 70000 MiB). End what holds it" in str(caught.value)


def test_memory_that_becomes_free_is_waited_for() -> None:
    readings = Readings(*[100] * 119, 79_000)
    readings.wait(1.0)
    assert readings.said == ["waiting for the GPU's memory"] * 119


def test_a_gpu_that_was_not_given_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in ("1", "0"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", number)
        with contextlib.nullcontext() if number == "1" else pytest.raises(DeviceError, match="GPU 0 of"):
            wait_until_free(1.0, print, lambda: GPUS)
