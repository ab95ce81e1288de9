"""SLURM itself on hosts made of Linux namespaces: slurmctld on the one where users log in, slurmd on two nodes.

    with slurm() as site:
        job = site.submit(["--grid", "paper"])        # sbatch cluster-slurm.sbatch --grid paper
        site.wait_for_end(job)

As a program, it is what cluster-slurm.sbatch becomes, with a witness in place of the sweep:

    python -m tests.cluster.slurm FILE --grid paper

Debian's slurmctld, slurmd and munge (22.05). Each node has one GPU as far as SLURM knows: no program finds one there.
Homes lie on the folder that all hosts share. The partition "thin" has a node without GPU, which is never up.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster import hosts
from tests.cluster.hosts import PATH, ROOT, Host, Network
from tests.sweep.sweeps import wait_for

LOGIN: Final = "login"
NODES: Final = ("node1", "node2")
PROGRAMS: Final = {"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"}
CPUS: Final = 6
"""That SLURM gives of each node, whatever the machine has."""
MEGABYTES: Final = 6000
SMALL: Final = ("--gpus-per-node=0", "--cpus-per-task=2", "--mem=2500", "--time=60")
"""Two jobs of these share a node."""
JOB_SECONDS: Final = 600
"""To wait for a job, on a busy machine; on a quiet one it takes about a minute."""
ANOTHER: Final = "nobody"
"""A user that every system has."""

CONF: Final = """
ClusterName=tests
SlurmctldHost=login
SlurmUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
OverTimeLimit=0
ReturnToService=2
SlurmdTimeout=20
SchedulerParameters=sched_interval=2,bf_interval=2
MinJobAge=3600
JobCompType=jobcomp/none
StateSaveLocation={place}/state
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmdSpoolDir=/run/slurmd
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.%n.log
NodeName=node[1-2] CPUs={cpus} RealMemory={megabytes} Gres=gpu:1
NodeName=node3 CPUs={cpus} RealMemory={megabytes} State=DOWN
PartitionName=gpu Nodes=node[1-2] Default=YES MaxTime=1-0 DefaultTime=60
PartitionName=thin Nodes=node3 MaxTime=2:00:00
"""

OWN: Final = ("sshd:", "munged ", "slurmd ", "nsenter ", "bash -c")
"""How what runs on a node without jobs begins."""


def why_not() -> str:
    """Why SLURM cannot be run here; "" where it can."""
    if reason := hosts.why_not():
        return reason
    missing = sorted({package for name, package in PROGRAMS.items() if not shutil.which(name, path=PATH)})
    return f"SLURM is not installed: apt-get install {' '.join(missing)}" if missing else ""


@dataclass
class Site:
    """A SLURM that is up."""

    network: Network

    @property
    def login(self) -> Host:
        return self.network[LOGIN]

    @property
    def place(self) -> Path:
        return self.network.shared / "slurm"

    @property
    def home(self) -> Path:
        """Of the user, on all hosts."""
        return self.network.shared / "home"

    @property
    def environment(self) -> Mapping[str, str]:
        own = {"SLURM_CONF": str(self.place / "slurm.conf"), "HOME": str(self.home), "USER": "root"}
        return {**own, "TF_CPP_MIN_LOG_LEVEL": "2", "RAY_worker_niceness": "0"}

    def run(self, command: str, check: bool = True, timeout: float = 120) -> str:
        """What a command on the login node says, as its user would see it."""
        exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in self.environment.items())
        done = self.login.run(f"export {exports}; cd {ROOT}; {command}", check=check, timeout=timeout)
        return done.stdout + done.stderr

    def submit(self, options: Sequence[object], *more: str, witness: Path | None = None) -> str:
        """`sbatch` the project's file with options of the sweep, and `more` of sbatch; the job's number."""
        file = ROOT / "cluster-slurm.sbatch"
        if witness:
            own = "-m sweep.scheduling.slurm.job"
            text = file.read_text()
            assert text.count(f"{own} ") == 1
            file = self.place / "witnessed.sbatch"
            file.write_text(text.replace(own, f"-m tests.cluster.slurm {witness}"))
        ours = [*SMALL, f"--output={self.place}/job-%j.out", *more, str(file), *map(str, options)]
        return self.run(f"sbatch --parsable {shlex.join(ours)}").strip()

    def said(self, job: str) -> str:
        path = self.place / f"job-{job}.out"
        return path.read_text(errors="replace") if path.exists() else ""

    def facts(self, job: str) -> dict[str, str]:
        """What SLURM knows of a job."""
        pairs = self.run(f"scontrol --oneliner show job {job}").split()
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    def wait_for_end(self, job: str) -> str:
        """How it ended, like COMPLETED."""
        going = {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING"}
        wait_for(lambda: self.facts(job)["JobState"] not in going, f"job {job}", JOB_SECONDS)
        return self.facts(job)["JobState"]

    def wait_for_word(self, job: str, word: str) -> None:
        """Until the job's output has it."""
        wait_for(lambda: word in self.said(job), f"'{word}' of job {job}", JOB_SECONDS)

    def left_on_nodes(self) -> list[str]:
        """Processes of jobs, and their folders in /tmp."""
        folders = [self.network[name].run("ls -d /tmp/ray* 2> /dev/null").stdout.split() for name in NODES]
        return [*self.processes_of_jobs(), *itertools.chain(*folders)]

    def processes_of_jobs(self) -> list[str]:
        lines = itertools.chain(*(self.network[name].processes().values() for name in NODES))
        return [line[:120] for line in lines if not line.startswith(OWN)]

    def start_daemons(self, host: Host) -> None:
        """What the machine's own init would start."""
        folder = shlex.quote(str(self.place))
        host.run("mkdir -p /run/munge /run/slurmd && chmod 755 /run/munge", check=True)
        keys = f"--key-file={folder}/{host.name}.key --seed-file=/run/munge/seed --log-file=/run/munge/log"
        host.start(f"exec munged --foreground --force {keys} --pid-file=/run/munge/pid", self.place / "munged.log")
        wait_for(lambda: host.run("munge -n | unmunge").returncode == 0, "munge", 30)
        program = "slurmctld -D -i" if host.name == LOGIN else f"slurmd -D -N {host.name}"
        conf = f"{folder}/slurm.conf"
        host.start(f"export SLURM_CONF={conf}; exec {program} -f {conf}", self.place / f"{host.name}.log")


@contextlib.contextmanager
def slurm() -> Iterator[Site]:
    """A site whose nodes are idle."""
    with hosts.hosts(LOGIN, *NODES) as network:
        site = Site(network)
        (site.place / "state").mkdir(parents=True)
        network.shared.parent.chmod(0o711)  # other users read slurm.conf too
        site.home.mkdir()
        key = os.urandom(128)
        for host in network:
            path = site.place / f"{host.name}.key"
            path.touch(mode=0o600)
            path.write_bytes(key)
        values = {"place": site.place, "cpus": CPUS, "megabytes": MEGABYTES}
        (site.place / "slurm.conf").write_text(CONF.format(**values))
        (site.place / "gpu0").touch()
        (site.place / "gres.conf").write_text(f"NodeName=node[1-2] Name=gpu File={site.place}/gpu0\n")
        for host in network:
            site.start_daemons(host)
        wait_for(lambda: site.run("sinfo -h -o %T -N -p gpu", check=False).split() == ["idle"] * 2, "idle nodes", 60)
        yield site


if __name__ == "__main__":
    from sweep.scheduling.slurm import job as slurm_job

    slurm_job.SWEEP = ("-m", "tests.cluster.witness", sys.argv[1])  # type: ignore[misc]
    sys.exit(slurm_job.main(sys.argv[2:]))
