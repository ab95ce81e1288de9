"""What ends a job of cluster-slurm.sbatch before its sweep, on a real SLURM: its time limit, a node, scancel.

Nothing is lost, no more than an epoch is done twice, and nothing is left running.
"""

from __future__ import annotations

import json

import pytest

from tests.cluster.local import Sweep
from tests.cluster.slurm import JOB_SECONDS, slurm, why_not
from tests.galaxies import write_hdf5
from tests.sweep.sweeps import wait_for

pytestmark = [
    pytest.mark.rest,
    pytest.mark.alone,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]


def test_a_sweep_outlives_its_time_limit_a_dead_node_and_scancel() -> None:
    with slurm() as site:  # its own: a node that was switched on again would outlive the test
        galaxies = write_hdf5(site.network.shared / "galaxies.h5")
        sizes = {"head_epochs": 300, "epochs": 30, "networks": 2}
        sweep = Sweep(site.network.shared / "long", galaxies, ("--cpus-per-trial", "1"), sizes=sizes)
        sweep.hold_back(0.3)
        job = site.submit(sweep.options(), witness=sweep.witness)
        sweep.wait_for_epochs(3, JOB_SECONDS)
        site.run(f"scontrol update JobId={job} TimeLimit={minutes_of(site.facts(job)['RunTime']) + 2}")
        site.wait_for_word(job, "the job goes back into the queue")
        wait_for(lambda: site.facts(job)["JobState"] == "PENDING", "the job to wait again", 90)
        site.run(f"scontrol update JobId={job} TimeLimit=60 StartTime=now")
        site.wait_for_word(job, "start 2: node1, node2")

        dead = site.network["node2"]
        sweep.wait_for_epochs(2, JOB_SECONDS, dead.name)
        dead.kill()
        sweep.wait_for_epochs(5, JOB_SECONDS, "node1")
        dead.boot()
        dead.run("rm -r /tmp/ray*")  # as a site's nodes do; else the first Ray there an hour later does
        site.start_daemons(dead)
        wait_for(lambda: "down" not in site.run("sinfo -h -N -p gpu -o %T"), "the node to come back", 120)

        site.run(f"scancel {job}")
        assert site.wait_for_end(job) == "CANCELLED"
        wait_for(lambda: not site.left_on_nodes(), "all processes to end", 60)
        assert "SLURM ends the job" in site.said(job)  # and it is not put back
        assert sweep.seen().rows < sweep.num_trials

        sweep.let_go()
        again = site.submit(sweep.options(), witness=sweep.witness)
        assert site.wait_for_end(again) == "COMPLETED", site.said(again)[-2000:]
        seen = sweep.seen()
        assert (seen.violations, seen.failed, seen.rows) == ([], {}, sweep.num_trials), json.dumps(
            seen.lines(), indent=1
        )
        assert seen.resumed >= 3


def minutes_of(run_time: str) -> int:
    """Of SLURM's hours:minutes:seconds."""
    hours, minutes, _ = map(int, run_time.split(":"))
    return 60 * hours + minutes
