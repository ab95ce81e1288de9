"""cluster-onprem.yaml on hosts made of namespaces, by SSH: up, the doctor, the paper's grid, who is kept out, down.

One cluster for all tests of this file, in the order in which they stand. What was replaced in the cluster file is said,
line by line, in `onprem.cluster_file`.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from galaxytl.results.rows import read_results
from galaxytl.trial import COMPLETE
from tests.cluster.hosts import ROOT, Host, Network, hosts, why_not
from tests.cluster.onprem import AT_THE_DESK, ON_A_NODE, S3_SECRET, brought_up, cluster_file, token_of, wait_for_nodes
from tests.galaxies import write_hdf5
from tests.sweep.doctor.test_doctor_command import Line, failing, lines_of
from tests.sweep.sweeps import wait_for

pytestmark = [
    pytest.mark.rest,
    pytest.mark.alone,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]
NODES = ("head", "worker1")
UNFIT = ("refuses", "absent", "stranger")
SMOKE = "--grid paper --profile laptop --cpus-per-trial 2 --address auto"
HEADS = "--set backbone=VGG16 --set weights=random --set unfrozen_blocks=0 --set num_epochs=1 --set seed=0,1"
"""Two groups; a trial takes all CPUs of a host, so that they start at once, one on each."""
PYTHON = shlex.quote(sys.executable)


@dataclass(frozen=True)
class Lab:
    network: Network
    desk: Host
    """Where the user sits: with the token and the key, but no node of the cluster."""

    def exec(self, command: str, timeout: float = 400) -> tuple[int, str]:
        """`ray exec` from the desk: exit status and output, without the colours of its terminal."""
        done = self.desk.run(f"{AT_THE_DESK} ray exec cluster.yaml {shlex.quote(command)}", timeout=timeout)
        return done.returncode, re.sub(r"\x1b\[[0-9;]*m|\r", "", done.stdout + done.stderr)

    @property
    def shared(self) -> Path:
        return self.network.shared

    def nodes(self) -> list[Host]:
        return [self.network[name] for name in NODES]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with hosts("desk", *NODES, "store", *UNFIT) as network:
        network["stranger"].run("rm .ssh/id_ed25519", check=True)
        network["store"].start(f"{PYTHON} -m moto.server -H 0.0.0.0 -p 5000", network.shared / "store.log")
        with brought_up(network) as desk:
            yield Lab(network, desk)
        wait_for(lambda: not ray_of(network["head"]), "the head's Ray to end", 60)
        # As the cluster file says: left alone, it would take two minutes to notice.
        network["worker1"].run("galaxytl/.venv/bin/ray stop", check=True)
        wait_for(lambda: not any(ray_of(host) for host in network if host.first), "Ray to end everywhere", 60)


def ray_of(host: Host) -> list[str]:
    return [line[:200] for line in host.processes().values() if re.search(r"raylet|gcs_server|ray::", line)]


@pytest.fixture(scope="module")
def galaxies(lab: Lab) -> Path:
    """In one file that all hosts see."""
    return write_hdf5(lab.shared / "galaxies.h5")


@pytest.fixture(scope="module")
def results(lab: Lab, galaxies: Path) -> tuple[Path, str, set[str]]:
    """Of a sweep: the results folder, what the user saw, and every command line that ran meanwhile."""
    out, seen = lab.shared / "results" / "paper", set[str]()
    command = f"python -m sweep.run {SMOKE} {HEADS} --set image_size=32 --data {galaxies} --out {out}"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lab.exec, command, timeout=800)
        while not running.done():
            seen |= {line for host in lab.network for line in host.processes().values()}
            time.sleep(1)
    status, said = running.result()
    assert status == 0, said[-4000:]
    return out, said, seen


def hot_copies(host: Host) -> list[str]:
    return host.run("ls .cache/galaxytl/images").stdout.split()


def diagnosis(lab: Lab, data: Path) -> tuple[int, list[Line], str]:
    """What the doctor says of the running cluster; asked on the head."""
    arguments = f"--data {data} --out {lab.shared / 'results'}"
    status, said = lab.exec(f"export COLUMNS=1000; python -m sweep.doctor --address auto {arguments}")
    return status, lines_of(said), said


# A cluster that is well


def test_doctor_finds_hosts_and_file_fit(lab: Lab) -> None:
    done = lab.desk.run(f"{AT_THE_DESK} python -m sweep.doctor --cluster cluster.yaml", timeout=400)
    lines = lines_of(done.stdout)
    assert (done.returncode, failing(lines)) == (0, {}), done.stdout + done.stderr
    assert [text for _, check, _, text in lines if check == "ssh"] == [f"{name} lets us in" for name in NODES]
    assert sum(check == "Python" and status == "OK" for _, check, status, _ in lines) == len(NODES)


def test_doctor_finds_every_node_fit(lab: Lab, galaxies: Path) -> None:
    status, lines, said = diagnosis(lab, galaxies)
    assert (status, failing(lines)) == (0, {}), said
    addresses = {lab.network[name].address for name in NODES}
    assert {where.removesuffix(" (head)") for where, *_ in lines} - {"driver"} == addresses
    assert sum(text == "Ray asks for the token" for *_, text in lines) == len(NODES)


def test_a_sweep_on_all_hosts_each_with_its_own_hot_copy(lab: Lab, results: tuple[Path, str, set[str]]) -> None:
    out, *_ = results
    rows = read_results(out)
    assert rows.problems == ()
    assert [result.status for result in rows.results] == [COMPLETE] * 2
    assert {result.environment["host"] for result in rows.results} == set(NODES)
    copies = [hot_copies(host) for host in lab.nodes()]
    assert len(copies[0]) == 1
    assert copies == [copies[0]] * 2
    inodes = [host.run("stat -c %d:%i .cache/galaxytl/images/*/images.npy").stdout for host in lab.nodes()]
    assert len(set(inodes)) == 2  # not one file that all see


def test_the_same_from_s3(lab: Lab, galaxies: Path, results: tuple[Path, str, set[str]]) -> None:
    """At another size: no host has a copy of that yet."""
    make_bucket = "import urllib.request as r; r.urlopen(r.Request('http://store:5000/galaxies', method='PUT'))"
    head = lab.network["head"]
    head.run(f'{PYTHON} -c "{make_bucket}"', check=True)
    head.run(f"{ON_A_NODE} python -m galaxytl.data convert {galaxies} --to s3://galaxies/galaxy10/", check=True)
    galaxies.rename(galaxies.with_suffix(".away"))
    out = lab.shared / "results" / "s3"
    uri = "s3://galaxies/galaxy10/"
    status, said = lab.exec(f"python -m sweep.run {SMOKE} {HEADS} --set image_size=40 --data {uri} --out {out}")
    galaxies.with_suffix(".away").rename(galaxies)
    assert status == 0, said[-4000:]
    found = read_results(out).results
    assert [result.status for result in found] == [COMPLETE] * 2
    assert {result.environment["host"] for result in found} == set(NODES)
    for host in lab.nodes():
        assert [name for name in hot_copies(host) if "-40px-" in name], host.name
    fingerprints = {result.spec.dataset_fingerprint for result in (*found, *read_results(results[0]).results)}
    assert len(fingerprints) == 1  # the same galaxies, whichever way they came


# Who is kept out

RAY = f"{PYTHON} -m ray.scripts.scripts"
COUNT = 'print("IN", len(ray.nodes()))'
WAYS_IN = {  # from which host, and how; each says IN when it is
    "a driver": ("worker1", f"{PYTHON} -c 'import ray; ray.init(\"auto\"); {COUNT}'"),  # Ray wants it on a node
    "a client": ("stranger", f"{PYTHON} -c 'import ray; ray.init(\"ray://head:10001\"); {COUNT}'"),
    "state": ("stranger", f"{RAY} status --address head:6379 | grep -q Active && echo IN"),
    "a node": ("stranger", f"{RAY} start --address head:6379 && echo IN"),
    "a job": ("head", f"{RAY} job submit --address http://127.0.0.1:8265 -- echo $((6 * 7)) | grep 42 && echo IN"),
    "the doctor": ("worker1", f"cd {ROOT} && {PYTHON} -m sweep.doctor --address head:6379 | grep '(head)' && echo IN"),
}
REFUSED = (
    "InvalidAuthToken|Failed to connect to Ray cluster|connection timeout|did not let us in|no Ray cluster|401|"
    "Unauthorized|AuthenticationError"
)


NO_TOKEN = "RAY_AUTH_MODE=disabled"
WRONG_TOKEN = "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=wrong-0123456789-0123456789-0123456789"


def test_there_is_a_way_in_with_the_token_and_none_without(lab: Lab) -> None:
    """All at once, for Ray takes 20 s to refuse some. The client's server, which Ray starts for who has been let in,
    may end at once on these hosts."""

    def attempt(way: str, setting: str) -> str:
        host, command = WAYS_IN[way]
        host = "refuses" if host == "stranger" and setting != right else host  # one joins: the others must not meet it
        done = lab.network[host].run(f"export HOME=/tmp/stranger {setting}; {command}", timeout=400)
        return f"{way}, {setting}:\n{done.stdout}{done.stderr}".replace(token, "TOKEN")

    token = token_of(lab.desk)
    right = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN={token}"
    closed = [*((way, NO_TOKEN) for way in WAYS_IN), ("a driver", WRONG_TOKEN), ("a job", WRONG_TOKEN)]
    opened = [(way, right) for way in WAYS_IN]
    with ThreadPoolExecutor(len(closed) + len(opened)) as pool:
        said = list(pool.map(attempt, *zip(*closed, *opened, strict=True)))
    lab.network["stranger"].run(f"{RAY} stop", check=True)  # it had joined
    wait_for_nodes(lab.network["head"], len(NODES))
    for text in said[: len(closed)]:
        assert not re.search(r"^IN", text, re.MULTILINE), text
        assert re.search(REFUSED, text), text
    for text in said[len(closed) :]:
        let_in = "^IN|Initialization failure from server" if text.startswith("a client") else "^IN"
        assert re.search(let_in, text, re.MULTILINE), text


def test_the_dashboard_is_at_home(lab: Lab) -> None:
    lab.network["head"].run("< /dev/tcp/127.0.0.1/8265", check=True)
    done = lab.network["stranger"].run("< /dev/tcp/head/8265")
    assert done.returncode
    assert "Connection refused" in done.stderr


def test_no_secret_is_left_anywhere(lab: Lab, results: tuple[Path, str, set[str]]) -> None:
    """Neither the token nor the key of the S3 server: in results, logs, files of Ray, homes, output, command lines."""
    _, said, command_lines = results
    assert any("raylet" in line for line in command_lines)
    kept = {host.own / "home" / name for host in lab.network for name in (".ray/auth_token", ".aws/credentials")}
    places = [lab.shared, *(host.own / part for host in lab.network for part in ("tmp", "home"))]
    for secret in (token_of(lab.desk), S3_SECRET):
        assert secret not in said
        assert not [line for line in command_lines if secret in line]
        holders = {file for place in places for file in files_with(secret.encode(), place)}
        assert holders - kept == set()
        assert len(holders) == 1 + len(NODES)  # the desk and the nodes: the search finds what there is
        assert {file.stat().st_mode & 0o777 for file in holders} == {0o600}


def files_with(secret: bytes, place: Path) -> Iterator[Path]:
    for file in place.rglob("*"):
        if file.is_file() and not file.is_symlink() and ".venv" not in file.parts:
            with contextlib.suppress(FileNotFoundError):
                if secret in file.read_bytes():
                    yield file


# Hosts that are not fit


def test_hosts_of_a_cluster_file_that_are_not_fit(lab: Lab) -> None:
    """One refuses SSH, one is not there, one has another Python; and one is well."""
    refuses, absent, stranger = (lab.network[name] for name in UNFIT)
    refuses.run("rm .ssh/authorized_keys", check=True)
    absent.kill()
    program = other_python()
    stranger.run(f"mkdir -p bin && ln -sf {program} bin/python3", check=True)  # .profile finds it there
    (lab.desk.own / "home/project/other.yaml").write_text(cluster_file("head", ("worker1", *UNFIT)))
    done = lab.desk.run(f"{AT_THE_DESK} python -m sweep.doctor --cluster other.yaml", timeout=400)
    found = [text for *_, status, text in lines_of(done.stdout) if status == "FAIL"]
    of_host = dict(text.split(": ", 1) for text in found)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Permission denied" in of_host["refuses"]
    assert "ssh-copy-id" in of_host["refuses"]
    assert "Is the host up" in of_host["absent"]
    if program != Path(sys.executable):
        assert stranger.run(f"{program} -V", check=True).stdout.split()[1] in of_host["stranger"]
    assert len(found) == len(of_host) == 2 + (program != Path(sys.executable))


def other_python() -> Path:
    """A Python of another minor version than ours, or ours where there is none."""
    for minor in {8, 9, 10, 11, 12, 13, 14} - {sys.version_info.minor}:
        for folder in ("/usr/bin", "/usr/local/bin", *map(str, Path(sys.base_prefix).parent.glob("*/bin"))):
            if (program := Path(folder) / f"python3.{minor}").is_file():
                return program.resolve()
    return Path(sys.executable)


def test_node_without_the_dataset_and_with_another_version_of_the_project(lab: Lab, galaxies: Path) -> None:
    """The doctor says both. A sweep does not start with another version; without the dataset, it stops."""
    own, out = lab.network.home / "own.h5", lab.shared / "results"  # the first on a node's own disk, or not
    lab.network["head"].run(f"cp {galaxies} {own}", check=True)
    host = lab.network["worker1"]
    host.run(
        "cp galaxytl/sweep/planning/plan.py kept.py; echo '# changed' >> galaxytl/sweep/planning/plan.py", check=True
    )
    status, lines, said = diagnosis(lab, own)
    sweep = f"python -m sweep.run {SMOKE} {HEADS} --data {own} --out"
    refused, why_refused = lab.exec(f"{sweep} {out / 'refused'}")
    host.run("mv kept.py galaxytl/sweep/planning/plan.py", check=True)
    stopped, why_stopped = lab.exec(f"{sweep} {out / 'stopped'}")
    assert status == 1, said
    failed = {check: (where, text) for where, check, status, text in lines if status == "FAIL"}
    assert failed.keys() == {"dataset", "versions"}, said
    assert {where for where, _ in failed.values()} == {host.address}
    other = r"galaxytl 0\.1\.0, code \w+ \(driver: 0\.1\.0, code \w+\): bring the same project to both"
    assert re.match(other, failed["versions"][1])
    assert refused, why_refused  # ray exec's own status
    assert f"error: every node must have what the driver has; {host.address} has galaxytl 0.1.0, code" in why_refused
    assert read_results(out / "refused").results == ()
    assert stopped, why_stopped
    missing = f"error: every node must have the dataset where the driver's machine has it; worker1 has no {own}"
    assert missing in why_stopped
    assert {row.status for row in read_results(out / "stopped").results} <= {COMPLETE}
