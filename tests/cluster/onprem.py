"""cluster-onprem.yaml brought up on hosts made of namespaces, by `ray up` from a machine that is none of them.

    with hosts("desk", "head", "worker1", "worker2") as network, brought_up(network) as desk:
        desk.run(f"{AT_THE_DESK} ray exec cluster.yaml 'ray status'")

Only what the file itself says is to be filled in differs from it, and the installation: the hosts have no package
index. They take the packages of the environment that the tests run in, and the project that `ray up` has brought them.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.cluster.hosts import ROOT, Host, Network

PROJECT: Final = (
    "galaxytl",
    "sweep",
    "analysis",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "requirements.lock",
    "requirements-gpu.lock",
)
ON_A_NODE: Final = ". ~/galaxytl/env.sh && cd ~/galaxytl &&"
"""What a login does on a node, as the cluster file has set it up."""
AT_THE_DESK: Final = (
    "cd ~/project && export RAY_AUTH_MODE=token RAY_UP_enable_autoscaler_v2=0 COLUMNS=1000 PATH=$PWD/.venv/bin:$PATH &&"
)
JOIN_SECONDS: Final = 400
S3_SECRET: Final = "the-key-of-the-s3-server-in-the-tests"

INSTALL: Final = f"""\
      {sys.executable} -m venv --without-pip .venv
      site=$(.venv/bin/python -c 'import site; print(site.getsitepackages()[0])')
      printf '%s\\n' "$PWD" {sysconfig.get_path("purelib")} > $site/environment.pth
      printf '#!%s\\n' "$PWD/.venv/bin/python" > .venv/bin/ray
      printf '%s\\n' 'import sys' 'from ray.scripts.scripts import main' 'sys.exit(main())' >> .venv/bin/ray
      chmod +x .venv/bin/ray
"""


def cluster_file(head: str, workers: Sequence[str]) -> str:
    """The project's own file, filled in as it says, without a package index."""
    text = (ROOT / "cluster-onprem.yaml").read_text()
    start, end = (
        text.index("      python3 -m venv .venv\n"),
        text.index("      cat requirements*.lock > .venv/installed.lock"),
    )
    filled = {
        text[start:end]: INSTALL,
        "head_ip: CHANGE-ME": f"head_ip: {head}",
        "    - CHANGE-ME\n": "".join(f"    - {worker}\n" for worker in workers),
        "ssh_user: CHANGE-ME": "ssh_user: root",
        "min_workers: 1": f"min_workers: {len(workers)}",
        "max_workers: 1": f"max_workers: {len(workers)}",
        # A lab with its own S3 server: where it is, and its keys as a file.
        "      'export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0' \\\n": (
            "      'export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0' \\\n"
            "      'export AWS_ENDPOINT_URL=http://store:5000 AWS_DEFAULT_REGION=us-east-1' \\\n"
        ),
        "  ~/.ray/auth_token: ~/.ray/auth_token\n": (
            "  ~/.ray/auth_token: ~/.ray/auth_token\n  ~/.aws/credentials: ~/.aws/credentials\n"
        ),
    }
    for line, own in filled.items():
        assert text.count(line) == 1, f"cluster-onprem.yaml has the line {text.count(line)} times: {line}"
        text = text.replace(line, own)
    return text


def set_up_desk(desk: Host, workers: Sequence[str]) -> None:
    """The project, its environment, the token and the cluster file, in ~/project."""
    project = desk.own / "home" / "project"
    project.mkdir()
    for name in PROJECT:
        copy_of(ROOT / name, project / name)
    (project / "cluster.yaml").write_text(cluster_file("head", workers))
    desk.run(f"set -e; cd ~/project\n{INSTALL}", check=True)
    (desk.own / "home/.aws").mkdir()
    credentials = f"[default]\naws_access_key_id = tests\naws_secret_access_key = {S3_SECRET}\n"
    (desk.own / "home/.aws/credentials").write_text(credentials)
    (desk.own / "home/.aws/credentials").chmod(0o600)
    desk.run(f"{AT_THE_DESK} (umask 077; ray get-auth-token --generate)", check=True)


def copy_of(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def token_of(desk: Host) -> str:
    return (desk.own / "home/.ray/auth_token").read_text().strip()


@contextlib.contextmanager
def brought_up(network: Network) -> Iterator[Host]:
    """The host "desk", from which the hosts "head" and "worker..." have been made a cluster that is complete."""
    desk, workers = network["desk"], [host.name for host in network if host.name.startswith("worker")]
    set_up_desk(desk, workers)
    desk.run(f"{AT_THE_DESK} ray up --yes cluster.yaml", check=True, timeout=300)
    wait_for_nodes(network["head"], 1 + len(workers))
    try:
        yield desk
    finally:
        desk.run(f"{AT_THE_DESK} ray down --yes cluster.yaml", check=True, timeout=300)


def wait_for_nodes(head: Host, count: int) -> None:
    """Until so many nodes are alive: ray up returns before its workers have joined."""
    program = "import ray; ray.init('auto', logging_level='ERROR'); print(sum(n['Alive'] for n in ray.nodes()))"
    stop, said = time.monotonic() + JOIN_SECONDS, ""
    while time.monotonic() < stop:
        with contextlib.suppress(subprocess.TimeoutExpired):
            said = head.run(f'{ON_A_NODE} timeout 60 python -c "{program}"').stdout
        if said.split()[-1:] == [str(count)]:
            return
        time.sleep(2)
    log = head.run("tail -n 50 /tmp/ray/session_latest/logs/monitor*").stdout
    raise AssertionError(f"there must be {count} nodes after {JOIN_SECONDS} s; found {said}\n{log}")
