"""cluster-slurm.sbatch on a real SLURM: two nodes, two jobs at once, and what ends a job before its sweep.

One site for all tests of this file. SLURM's nodes have no GPU that a program could find: trials train on CPUs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from galaxytl.results.rows import read_results
from galaxytl.trial import COMPLETE
from tests.cluster.hosts import ROOT
from tests.cluster.local import Sweep
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


def test_a_sweep_outlives_a_dead_node_its_time_limit_and_scancel(site: Site, galaxies: Path) -> None:
    """Nothing is lost, no more than an epoch is done twice, and nothing is left running."""
    sizes = {"head_epochs": 300, "epochs": 30, "networks": 2}
    sweep = Sweep(site.network.shared / "long", galaxies, ("--cpus-per-trial", "1"), sizes=sizes)
    sweep.hold_back(0.3)
    job = site.submit(sweep.options(), witness=sweep.witness)
    dead = site.network["node2"]
    sweep.wait_for_epochs(2, JOB_SECONDS, dead.name)
    dead.kill()
    sweep.wait_for_epochs(5, JOB_SECONDS, "node1")
    dead.boot()
    dead.run("rm -r /tmp/ray*")  # as a site's nodes do; else the first Ray there an hour later does
    site.start_daemons(dead)
    wait_for(lambda: "down" not in site.run("sinfo -h -N -p gpu -o %T"), "the node to come back", 120)

    site.run(f"scontrol update JobId={job} TimeLimit={minutes_of(site.facts(job)['RunTime']) + 2}")
    site.wait_for_word(job, "the job goes back into the queue")
    wait_for(lambda: site.facts(job)["JobState"] == "PENDING", "the job to wait again", 90)
    site.run(f"scontrol update JobId={job} TimeLimit=60 StartTime=now")
    site.wait_for_word(job, "start 2: node1, node2")
    sweep.wait_for_epochs(3, JOB_SECONDS)

    site.run(f"scancel {job}")
    assert site.wait_for_end(job) == "CANCELLED"
    wait_for(lambda: not site.left_on_nodes(), "all processes to end", 60)
    assert "SLURM ends the job" in site.said(job)  # and it is not put back
    assert sweep.seen().rows < sweep.num_trials

    sweep.let_go()
    again = site.submit(sweep.options(), witness=sweep.witness)
    assert site.wait_for_end(again) == "COMPLETED", site.said(again)[-2000:]
    seen = sweep.seen()
    assert (seen.violations, seen.failed, seen.rows) == ([], {}, sweep.num_trials), json.dumps(seen.lines(), indent=1)
    assert seen.resumed >= 3


def minutes_of(run_time: str) -> int:
    """Of SLURM's hours:minutes:seconds."""
    hours, minutes, _ = map(int, run_time.split(":"))
    return 60 * hours + minutes


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
