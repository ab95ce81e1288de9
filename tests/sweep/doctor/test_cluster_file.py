from __future__ import annotations

import copy
import json
import os
import shutil
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep.doctor.checks import Finding
from sweep.doctor.cluster_file import PYTHONS, check_cluster_file, check_pythons, placeholders, ssh_refusal
from sweep.grids.yaml_file import read_yaml
from tests.cluster.onprem import PROJECT
from tests.sweep.sweeps import ROOT


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a token and a key, kept as they should be."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (".ray/auth_token", ".ssh/id_ed25519"):
        file = tmp_path / name
        file.parent.mkdir()
        file.write_text("secret")
        file.chmod(0o600)
    return tmp_path


def aws() -> dict[str, Any]:
    content = read_yaml(ROOT / "cluster.yaml", "a cluster file")
    return dict(json.loads(json.dumps(content).replace("CHANGE-ME", "my-bucket")))


def findings_of(content: Any, home: Path) -> list[Finding]:
    """Of a file with this content, beside the project's folders."""
    for name in PROJECT:
        if not (home / name).exists():
            (home / name).symlink_to(ROOT / name)
    path = home / "cluster.yaml"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return check_cluster_file(path)


def failures(content: Any, home: Path) -> list[str]:
    return [finding.message for finding in findings_of(content, home) if finding.status == "FAIL"]


def test_a_file_that_is_filled_in_is_fit(home: Path) -> None:
    assert [(finding.check, finding.status) for finding in findings_of(aws(), home)] == [("schema", "OK")]
    (finding,) = check_cluster_file(home / "cluster.yml")
    assert (finding.status, "does not exist" in finding.message) == ("FAIL", True)


def changed(**changes: Any) -> dict[str, Any]:
    """cluster.yaml with some keys set (provider__region for provider.region), or removed where the value is None."""
    content = copy.deepcopy(aws())
    for name, value in changes.items():
        *sections, key = name.split("__")
        section = content
        for part in sections:
            section = section[part]
        section.pop(key, None)
        if value is not None:
            section[key] = value
    return content


OPEN_DASHBOARD = "RAY_AUTH_MODE=token ray start --head --dashboard-host=0.0.0.0"
WORLD = {"FromPort": 8265, "ToPort": 8265, "IpProtocol": "tcp", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(idle_timeout_minuts=5), "no key 'idle_timeout_minuts'. Did you mean 'idle_timeout_minutes'?"),
        (changed(provider__regoin="us-east-1"), "no key 'provider.regoin'. Did you mean 'region'?"),
        (changed(available_node_types__head__resorces={}), "types.head.resorces'. Did you mean 'resources'?"),
        (changed(provider__region=None), "provider.region must be set; it is missing"),
        (changed(provider__region="Virginia"), "provider.region must be a region, like us-east-1; got 'Virginia'"),
        (changed(cluster_name=None), "cluster_name must be set; it is missing"),
        (changed(head_node_type="haed"), "one of head, gpu-spot, gpu-on-demand; got 'haed'. Did you mean 'head'?"),
        (changed(cluster_name="CHANGE-ME"), "cluster_name must be filled in; it still says CHANGE-ME"),
        (changed(setup_commands=["true"]), "head_start_ray_commands must run with RAY_AUTH_MODE=token"),
        (changed(worker_start_ray_commands=["RAY_AUTH_TOKEN=abc ray start"]), "the token must not stand in this file"),
        (changed(file_mounts={}), "file_mounts must bring ~/.ray/auth_token to the nodes"),
        (changed(file_mounts__there="not/here"), "file_mounts: not/here does not exist"),
        (changed(auth__ssh_private_key="~/.ssh/other"), "auth.ssh_private_key: ~/.ssh/other does not exist"),
        (changed(head_start_ray_commands=[OPEN_DASHBOARD]), "the dashboard must not listen on all interfaces"),
        (changed(provider__security_group__IpPermissions=[WORLD]), "ports 8265 to 8265 must not be open to the world"),
        (changed(max_workers="four"), "max_workers: 'four' is not of type 'integer'"),  # what Ray's schema says
        (changed(available_node_types__head__resources={"CPU": -1}), "CPU: -1 is less than the minimum"),
        ("a: [1", "a cluster file must be YAML; got in line"),
        ("a: 1\na: 2", "a key is given once; got 'a' again in line 2"),
        ("- a", "a cluster file must be a mapping"),
    ],
)
def test_each_mistake_is_a_clear_line(home: Path, content: Any, message: str) -> None:
    found = failures(content, home)
    assert any(message in line for line in found), found
    assert all("\n" not in line for line in found)


def test_token_that_others_may_read_or_none(home: Path) -> None:
    token = home / ".ray" / "auth_token"
    token.chmod(0o644)
    (said,) = failures(aws(), home)
    assert said == "~/.ray/auth_token may be read by its owner only; its mode is 0644: chmod 600 ~/.ray/auth_token"
    token.unlink()
    (said,) = failures(aws(), home)
    assert said == "file_mounts: ~/.ray/auth_token does not exist: (umask 077; ray get-auth-token --generate) makes it"


def test_what_costs_is_a_warning(home: Path) -> None:
    content = changed(idle_timeout_minutes=600)
    content["available_node_types"]["gpu-spot"]["min_workers"] = 2
    warned = [finding.message for finding in findings_of(content, home) if finding.status == "WARN"]
    assert len(warned) == 2
    assert "idle workers stay for 600 minutes" in warned[0]
    assert "gpu-spot keeps 2 workers running" in warned[1]


def test_placeholders_say_where_they_stand() -> None:
    content = {"a": {"b": ["x", "CHANGE-ME"]}, "c": "first\nexport X=CHANGE-ME\n", "d": "fine"}
    assert list(placeholders(content)) == ["a.b[1]", "c, export X=CHANGE-ME"]


# Hosts of one's own: whether a login works, and what ssh says where it does not, only a real sshd shows


@pytest.fixture
def sshd(home: Path) -> Iterator[str]:
    """One on loopback that lets the key home/mine in: its name, which carries the port. The user runs the tests."""
    server = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if not server or not shutil.which("ssh") or not shutil.which("ssh-keygen"):
        pytest.skip("no sshd, ssh and ssh-keygen here: install openssh-server")
    for name in ("host", "mine", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (home / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home}/host\nPidFile none\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {home}/mine.pub\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "PermitRootLogin prohibit-password\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd, as root, wants to be confined
    with subprocess.Popen([server, "-D", "-e", "-f", home / "config"], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            if "Server listening" not in process.stderr.readline():
                process.kill()
                pytest.skip(f"sshd does not start here: {process.stderr.read().strip()}")
            yield f"ssh://127.0.0.1:{port}"
        finally:
            process.terminate()


def test_host_that_lets_us_in_or_refuses_the_key(sshd: str, home: Path) -> None:
    assert ssh_refusal(sshd, {"ssh_private_key": str(home / "mine")}) == ""
    refusal = ssh_refusal(sshd, {"ssh_private_key": str(home / "other")})
    assert "Permission denied" in refusal
    assert "ssh-copy-id" in refusal


@pytest.mark.skipif(not shutil.which("ssh"), reason="no ssh here: install openssh-client")
def test_hosts_where_nobody_listens_are_each_a_line(home: Path) -> None:
    content = read_yaml(ROOT / "cluster-onprem.yaml", "a cluster file")
    content["provider"] |= {"head_ip": "ssh://127.0.0.1:9", "worker_ips": ["no-such-host.invalid"]}
    del content["auth"]["ssh_user"], content["min_workers"]
    found = failures(content, home)
    assert any("without it Ray starts no worker" in line for line in found)
    assert "auth.ssh_user must be set; it is missing" in found
    assert any("127.0.0.1:9: " in line and "does its sshd listen" in line for line in found)
    assert any(line.startswith("no-such-host.invalid: ") and "Is the name right?" in line for line in found)


def test_hosts_must_have_the_same_python() -> None:
    found = list(check_pythons({"head": "3.11.7", "same": "3.11.2", "newer": "3.12.1", "old": "3.9.2", "none": ""}))
    assert [status for _, status, _ in found] == ["OK", "OK", "FAIL", "FAIL", "FAIL"]
    assert found[2][2].startswith("newer: 3.12.1, and head has 3.11.7: all must have the same: install 3.11 there")
    assert found[3][2] == "old: Python 3.11 to 3.13 is needed; python3 there is 3.9.2"
    assert found[4][2].endswith("python3 there is missing")


def test_pythons_are_those_of_the_project() -> None:
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    (oldest, newest) = PYTHONS
    assert allowed == f">={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}"
