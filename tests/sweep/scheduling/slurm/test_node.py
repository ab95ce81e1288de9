"""What a node of a SLURM job gives to Ray: what SLURM granted. On a real SLURM: tests/cluster/test_slurm.py."""

from __future__ import annotations

import pytest

from galaxytl.system.command import UsageError
from sweep.scheduling.slurm.node import OBJECT_STORE, Granted, granted, last_words, start_options


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_GPUS_ON_NODE": "2", "SLURM_MEM_PER_NODE": "32768"}, Granted(8, 2, 32768)),
        ({"CUDA_VISIBLE_DEVICES": "0,3", "SLURM_MEM_PER_CPU": "1000"}, Granted(8, 2, 8000)),  # of --gres, and older
        ({"CUDA_VISIBLE_DEVICES": ""}, Granted(8, 0, 0)),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, Granted(8, 0, 0)),
    ],
)
def test_what_slurm_grants(environment: dict[str, str], expected: Granted) -> None:
    assert granted({"SLURM_CPUS_ON_NODE": "8", **environment}) == expected


def test_outside_of_slurm_nothing_is_guessed() -> None:
    with pytest.raises(UsageError, match=r"SLURM must say how many CPUs it gives \(SLURM_CPUS_ON_NODE\); got ''"):
        granted({"SLURM_GPUS_ON_NODE": "2"})


def test_ray_is_told_all_of_it_and_the_head_keeps_what_only_heads_have() -> None:
    share, folder = Granted(8, 2, 4096), "/tmp/rayabcdefgh/r"
    head = start_options(share, "n1", {"address": "", "base": 14000}, folder)
    other = start_options(share, "n2", {"address": "10.0.0.1:14006", "base": 14000}, folder)
    for options in (head, other):
        assert {"--num-cpus=8", "--num-gpus=2", f"--temp-dir={folder}", "--block"} <= set(options)
        assert f"--memory={4096 * 2**20 - OBJECT_STORE}" in options
    assert {"--head", "--include-dashboard=false", "--port=14006"} <= set(head)
    assert "--address=10.0.0.1:14006" in other
    assert not {"--head", "--include-dashboard=false"} & set(other)


def test_of_what_ray_printed_the_error_is_told() -> None:
    assert (
        last_words('File "node.py"\n    raise\nException: it timed out\n2026 INFO Local node IP\n')
        == "Exception: it timed out"
    )
    assert last_words("a\nb\n") == "b"
    assert last_words("") == "nothing"
