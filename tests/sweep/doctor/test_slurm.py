"""Whether a batch file is fit for a site, from what its SLURM says. On a real SLURM: tests/cluster/test_slurm.py."""

from __future__ import annotations

from pathlib import Path
from subprocess import CompletedProcess

import pytest

from sweep.doctor import slurm
from sweep.doctor.slurm import check_ends, check_request, check_test, minutes_of, partitions_of, request_of
from tests.sweep.sweeps import ROOT

TABLE = """\
cpu|cpu*|200|64|256000|(null)|7-00:00:00|up
a100|a100|12|64+|512000+|gpu:a100:4(S:0-1)|1-00:00:00|up
old|old|3|16|64000|gpu:2|infinite|down
"""
"""As sinfo prints it."""
FILE = (ROOT / "cluster-slurm.sbatch").read_text()


def findings(text: str) -> list[tuple[str, str]]:
    return [(status, message) for _, status, message in check_request(request_of(text), partitions_of(TABLE))]


def with_line(line: str) -> str:
    return f"{FILE}\n#SBATCH {line}\n"


def test_the_projects_file_is_read() -> None:
    request = request_of(FILE)
    assert (request.nodes, request.cpus, request.gpus, request.megabytes, request.minutes) == (2, 8, 1, 32768, 240)
    assert list(check_ends(request.options)) == []
    assert findings(with_line("-p a100")) == [("OK", "a100 (4 GPUs, 64 CPUs, 500 GiB a node): 12 nodes")]
    assert request_of("#SBATCH --gres=gpu:a100:2").gpus == request_of("#SBATCH --gpus-per-node=a100:2").gpus == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--partition=gpu", "--partition must be one of cpu, a100, old; got 'gpu'"),
        ("--time=04:00:00", "such are in a100 (4 GPUs, 64 CPUs, 500 GiB a node)"),  # the default has none
        ("--partition=a100\n#SBATCH --gpus-per-node=8", "of each node 8 GPUs, 8 CPUs and 32 GiB are asked for"),
        ("--partition=a100\n#SBATCH --nodes=13", "--nodes must be 12 at most, as many as a100 has of such; got 13"),
        ("--partition=a100\n#SBATCH --time=2-0", "--time must be 1440 minutes at most in a100; got 2880"),
        ("--partition=old", "old is closed"),
    ],
)
def test_what_the_site_cannot_give_is_said_with_what_it_can(line: str, message: str) -> None:
    failed = [text for status, text in findings(with_line(line)) if status == "FAIL"]
    assert len(failed) == 1
    assert message in failed[0]


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("1:30", 1.5), ("04:00:00", 240), ("1-12", 2160), ("1-12:30", 2190), ("infinite", float("inf"))],
)
def test_times_of_slurm(text: str, minutes: float) -> None:
    assert minutes_of(text) == minutes


def test_what_slurm_says_of_the_file_is_told_with_advice() -> None:
    taken = CompletedProcess((), 0, "", "sbatch: Job 5 to start at 2026-11-30T21:15:24 using 2 processors\n")
    refused = CompletedProcess(
        (), 1, "", "allocation failure: Invalid account or account/partition combination specified"
    )
    assert check_test(taken)[1] == "OK"
    _, status, message = check_test(refused)
    assert status == "FAIL"
    assert "name one of yours by --account" in message


def test_a_file_that_loses_work_at_its_end_is_warned_of() -> None:
    options = request_of("#SBATCH --signal=USR1@180").options  # to the steps, not to the program
    assert [check for check, status, _ in check_ends(options) if status == "WARN"] == ["time", "requeue"]


def test_a_full_quota_is_found(small_disk: Path) -> None:
    assert slurm.write_problem(small_disk) == ""
    (small_disk / "full").write_bytes(bytes(1_500_000))
    assert slurm.write_problem(small_disk) == "No space left on device"
    assert [path.name for path in small_disk.iterdir()] == ["full"]


def test_without_slurm_it_says_where_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    (finding,) = slurm.check_slurm(ROOT / "cluster-slurm.sbatch")
    assert finding.status == "FAIL"
    assert "ask on the site's login node" in finding.message
