"""A Ray cluster on hosts of their own, started by hand as the docs tell, and what can happen to its machines.

    with lab() as cluster:
        sweep = cluster.sweep("one", {"head_epochs": 300, "epochs": 30, "networks": 2})
        sweep.start()
        print(cluster.kill_raylet(cluster.workers[0]))

Data, results and the witness lie on the folder that all hosts share, each host's cache on its own disk. A sweep that is
`stored` has its checkpoints at an S3 server on a host of its own instead.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.hosts import ROOT, Host, Network, hosts
from tests.cluster.local import Sweep
from tests.galaxies import write_hdf5

WORKERS = ("worker1", "worker2")
STORE, BUCKET, S3_PORT = "store", "sweeps", 5000
PORT = 6379
ENVIRONMENT = {
    **{"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2", "RAY_USAGE_STATS_ENABLED": "0"},
    # A node that does not answer counts as dead after about 10 seconds; by default after 30, which a test would wait.
    **{"RAY_health_check_initial_delay_ms": "2000", "RAY_health_check_period_ms": "1000"},
    **{"RAY_health_check_timeout_ms": "3000", "RAY_health_check_failure_threshold": "4"},
    # A node without its head gives up after so many seconds; by default 60.
    **{"RAY_gcs_rpc_server_reconnect_timeout_s": "20"},
    "RAY_worker_niceness": "0",  # all hosts are one machine, where nothing else should come first
    **{"AWS_ENDPOINT_URL": f"http://{STORE}:{S3_PORT}", "AWS_DEFAULT_REGION": "us-east-1"},
    **{"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"},
}
MAKE_BUCKET = f"""
import time, urllib.request as r
for _ in range(100):
    try:
        r.urlopen(r.Request("http://127.0.0.1:{S3_PORT}/{BUCKET}", method="PUT"))
        break
    except OSError:
        time.sleep(0.3)
"""
NOTHING = "nothing"
"""So begins what a fault says that found nothing to hit."""
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), Path("/usr/lib/faketime/libfaketimeMT.so.1"))
ONE_HOUR = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": "+3600s"}
"""The clock of all that Ray starts on a host, an hour ahead, as when nobody set it."""
NODES = """
import json, sys, ray
ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
print(json.dumps({node["NodeManagerAddress"]: node["NodeID"] for node in ray.nodes() if node["Alive"]}))
"""


@dataclass
class Lab:
    network: Network
    skewed: set[str] = field(default_factory=set)
    """Names of hosts whose clock is an hour ahead."""

    @property
    def head(self) -> Host:
        return self.network["head"]

    @property
    def workers(self) -> list[Host]:
        return [self.network[name] for name in WORKERS]

    @property
    def address(self) -> str:
        return f"{self.head.address}:{PORT}"

    def sweep(self, name: str, sizes: Mapping[str, int], stored: bool = False) -> Sweep:
        """Its driver runs on the head."""
        data = self.network.shared / "galaxies.h5"
        if not data.exists():
            write_hdf5(data)
        arguments = ["--address", "auto", "--cpus-per-trial", "1"]  # at an address it waits for no busy machine
        arguments += ["--storage", f"s3://{BUCKET}/{name}/"] if stored else []
        return Sweep(self.network.shared / name, data, arguments, self._on_head, sizes)

    def _on_head(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        return self.head.start(f"cd {ROOT} && exec env {_exports({})} {shlex.join(command)}", log)

    def start_head(self) -> str:
        options = f"--head --port {PORT} --num-cpus 0 --include-dashboard false"
        return self._start_ray(self.head, options)

    def start_worker(self, host: Host) -> str:
        return self._start_ray(host, f"--address {self.address} --num-cpus 1")

    def _start_ray(self, host: Host, options: str) -> str:
        clock = ONE_HOUR if host.name in self.skewed else {}
        ray = f"{sys.executable} -m ray.scripts.scripts"
        common = f"--node-ip-address {host.address} --object-store-memory 100000000 --disable-usage-stats"
        start = f"env {_exports(clock)} {ray} start {common} {options}"
        if any("/ray/" in line for line in host.processes().values()):  # of what died there
            start = f"{ray} stop --force; {start}"
        again = f"{ray} stop --force; {start}"  # on a busy machine Ray may give up after 30 s
        host.run(f"({start}) || ({again})", timeout=400, check=True)
        return f"started Ray on {host.name}{', its clock an hour ahead' if clock else ''}"

    def nodes(self) -> dict[str, str]:
        """The ids of the nodes that Ray counts as alive, by address."""
        command = f"env {_exports({})} {sys.executable} -c {shlex.quote(NODES)} {self.address}"
        said = self.head.run(command, timeout=120, check=True).stdout

        return dict(json.loads(said.splitlines()[-1]))

    # Faults

    def kill_raylet(self, host: Host) -> str:
        host.run("pkill -KILL -x raylet", check=True)
        return f"killed the raylet of {host.name}"

    def preempt(self, host: Host, notice: int) -> str:
        """As a spot machine ends: its node is drained, told by when it must be gone; then it goes."""
        node = self.nodes().get(host.address)
        if node is None:
            return f"{NOTHING} was preempted: {host.name} is no node just now"
        drain = f"{sys.executable} -m ray.scripts.scripts drain-node --address {self.address} --node-id {node}"
        why = "--reason DRAIN_NODE_REASON_PREEMPTION --reason-message preempted"
        host_said = self.head.run(f"env {_exports({})} {drain} {why} --deadline-remaining-seconds {notice}", check=True)
        assert host_said.returncode == 0
        time.sleep(notice)
        host.run("pkill -TERM -x raylet")  # it may have gone by itself
        return f"preempted {host.name} after {notice} s of notice"

    def cut_off(self, host: Host, seconds: float) -> str:
        """Pull its cable, and put it back."""
        host.cut()
        time.sleep(seconds)
        host.restore()
        return f"cut {host.name} off for {seconds:g} s"

    def cut_storage_off(self, seconds: float) -> str:
        store = self.network[STORE]
        store.cut()
        time.sleep(seconds)
        store.restore()
        return f"cut the storage off for {seconds:g} s"

    def kill_driver(self, sweep: Sweep) -> str:
        assert sweep.process
        self.head.run("pkill -KILL -f tests.cluster.witness")
        sweep.process.wait(30)
        return "killed the driver"

    def kill_head(self) -> str:
        """Power failure of the head, with the driver on it; then it is there again, and so are the workers."""
        self.head.kill()
        self.head.boot()
        self.start()
        return "killed the head, and brought it up again"

    def start_store(self) -> None:
        store, python = self.network[STORE], shlex.quote(sys.executable)
        store.start(f"exec {python} -m moto.server -H 0.0.0.0 -p {S3_PORT}", self.network.shared / "store.log")
        store.run(f"{python} -c {shlex.quote(MAKE_BUCKET)}", check=True)

    def start(self) -> None:
        self.start_head()
        for worker in self.workers:
            self.start_worker(worker)


def _exports(more: Mapping[str, str]) -> str:
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in {**ENVIRONMENT, **more}.items()) + " "


@contextlib.contextmanager
def lab(skewed: Sequence[str] = ()) -> Iterator[Lab]:
    """A head without CPUs, and two workers with one each; of those `skewed` the clock is an hour ahead."""
    with hosts("head", *WORKERS, STORE) as network:
        cluster = Lab(network, set(skewed))
        cluster.start_store()
        cluster.start()
        yield cluster
