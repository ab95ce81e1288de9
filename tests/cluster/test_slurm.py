"""cluster-slurm.sbatch on a real SLURM: two nodes, two jobs at once, and an array of shards.

One site for all tests of this file. SLURM's nodes have no GPU that a program could find: trials train on CPUs.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from galaxytl.results.rows import read_results
from galaxytl.trial import COMPLETE
from tests.cluster.hosts import ROOT
from tests.cluster.slurm import ANOTHER, JOB_SECONDS, NODES, Site, slurm, why_not
from tests.galaxies import write_hdf5
from tests.sweep.doctor.test_doctor_command import failing, lines_of
from tests.sweep.sweeps import wait_for

pytestmark = [
    pytest.mark.rest,
    pytest.mark.alone,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]
SMOKE = ("--grid", "paper", "--profile", "laptop", "--set", "image_size=32", "--set", "num_epochs=1")
TWO_GROUPS = ("--set", "backbone=VGG16", "--set", "weights=random", "--set", "unfrozen_blocks=0", "--set", "seed=0,1")
ONE_A_NODE = ("--cpus-per-trial", "2")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with slurm() as site:
        yield site


@pytest.fixture(scope="module")
def galaxies(site: Site) -> Path:
    return write_hdf5(site.network.shared / "galaxies.h5")


def hosts_of(out: Path) -> set[str]:
    """On which nodes the trials of a finished sweep ran."""
    rows = read_results(out)
    assert rows.problems == ()
    assert [result.status for result in rows.results] == [COMPLETE] * 2
    return {str(result.environment["host"]) for result in rows.results}


def test_two_jobs_share_two_nodes_with_another_users_job(site: Site, galaxies: Path) -> None:
    """Each has a Ray of its own on both nodes, with what SLURM gave it; at the end the other user's job runs on."""
    another = f"setpriv --reuid {ANOTHER} --regid nogroup --clear-groups --reset-env env SLURM_CONF=$SLURM_CONF"
    theirs = site.run(f"cd /; {another} sbatch --parsable -N2 --mem=500 -o /dev/null --wrap 'srun sleep 1000'").strip()
    outs = [site.network.shared / name for name in ("first", "second")]
    options = [*SMOKE, *TWO_GROUPS, *ONE_A_NODE, "--data", galaxies, "--out"]
    jobs = [site.submit([*options, out]) for out in outs]
    assert [site.wait_for_end(job) for job in jobs] == ["COMPLETED"] * 2, [site.said(job)[-2000:] for job in jobs]
    for job, out in zip(jobs, outs, strict=True):
        assert hosts_of(out) == set(NODES), site.said(job)
        assert "node1 2 CPUs, 0 GPUs, 2 GiB, node2 2 CPUs, 0 GPUs, 2 GiB; ports from" in site.said(job)
    assert site.facts(theirs)["JobState"] == "RUNNING"
    assert sum("sleep 1000" in line and "srun" not in line for line in site.left_on_nodes()) == len(NODES)
    assert [line for line in site.left_on_nodes() if "ray" in line] == []
    site.run(f"scancel {theirs}")
    assert (site.home / ".ray/auth_token").stat().st_mode & 0o777 == 0o600


def test_an_array_of_shards_with_one_killed_and_started_again(site: Site, galaxies: Path) -> None:
    """Each task has a Ray of its own and a part of the grid; the rows are one folder's, each trial has one."""
    out = site.network.shared / "array"
    grid = [*SMOKE, *TWO_GROUPS[:-1], "seed=0,1,2", "--data", galaxies, "--out", out]
    command = shlex.join([sys.executable, "-m", "sweep.run", *map(str, grid)]) + ' --shard "$SLURM_ARRAY_TASK_ID/3"'

    def array(tasks: str) -> str:
        ours = f"--cpus-per-task=2 --mem=2G --output={site.place}/array-%a.out --open-mode=append"
        return site.run(f"sbatch --parsable --array={tasks} {ours} --wrap {shlex.quote(command)}").strip()

    job = array("1-3")
    wait_for((out / "shard-2-of-3/shard.json").exists, "the second shard to begin", JOB_SECONDS)
    site.run(f"scancel --signal=KILL --full {job}_2")
    said = [site.place / f"array-{task}.out" for task in (1, 2, 3)]
    ends = [site.wait_for_end(f"{job}_{task}") for task in (1, 2, 3)]
    assert (ends[0], ends[2]) == ("COMPLETED", "COMPLETED"), [path.read_text()[-2000:] for path in said]
    assert ends[1] != "COMPLETED"
    assert len(read_results(out).results) == 2
    wait_for(lambda: not site.processes_of_jobs(), "all processes to end", 60)  # its folder in /tmp stays for an hour

    again = array("2")
    assert site.wait_for_end(f"{again}_2") == "COMPLETED", said[1].read_text()[-2000:]
    rows = read_results(out)
    assert rows.problems == ()
    assert [result.status for result in rows.results] == [COMPLETE] * 3


def test_the_doctor_asks_slurm_itself(site: Site) -> None:
    """The project's file as it is asks for more than these nodes have; made smaller, SLURM takes it."""
    text = (ROOT / "cluster-slurm.sbatch").read_text()
    for line, smaller in {"--cpus-per-task=8": "--cpus-per-task=2", "--mem=32G": "--mem=2G"}.items():
        assert text.count(line) == 1
        text = text.replace(line, smaller)
    small, elsewhere = site.place / "small.sbatch", site.place / "elsewhere.sbatch"
    small.write_text(text)
    elsewhere.write_text(f"{text}\n#SBATCH --partition=thin\n")
    ask = f"export COLUMNS=1000; {sys.executable} -m sweep.doctor --slurm"
    fits = lines_of(site.run(f"{ask} {small}"))
    assert failing(fits) == {}
    assert next(text for _, check, _, text in fits if check == "sbatch").startswith("SLURM takes it: Job")
    refused = failing(lines_of(site.run(f"{ask} {elsewhere}", check=False)))
    assert refused.keys() == {"nodes"}
    assert "such are in gpu (1 GPUs, 6 CPUs, 6 GiB a node)" in refused["nodes"]
    assert "there are gpu (1 GPUs" in failing(lines_of(site.run(ask, check=False)))["nodes"]


def test_the_sweeps_own_exit_status_is_the_jobs(site: Site, galaxies: Path) -> None:
    """A GPU a trial, of nodes that have none: said before a trial is spent."""
    options = [*SMOKE, *TWO_GROUPS, "--gpus-per-trial", "1", "--data", galaxies, "--out", site.network.shared / "gpus"]
    job = site.submit(options, "--nodes=1")
    assert site.wait_for_end(job) == "FAILED"
    assert site.facts(job)["ExitCode"] == "2:0"
    assert "error: a trial must fit on one node" in site.said(job)
