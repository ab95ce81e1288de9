"""The hosts that clusters are tested on are hosts: apart, reachable by SSH, cut off, killed, and gone at the end."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.hosts import ROOT, Host, Network, hosts, left_over, why_not
from tests.sweep.sweeps import wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(why_not()), reason=why_not())]


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with hosts("one", "two") as network:
        yield network


def reaches(host: Host, other: Host) -> bool:
    return host.run(f"timeout 2 bash -c '< /dev/tcp/{other.name}/22'").returncode == 0


def test_each_has_its_own(network: Network) -> None:
    one, two = network
    for host in network:
        host.run("echo $HOSTNAME > /tmp/mine; echo $HOSTNAME > /dev/shm/mine; echo $HOSTNAME > ~/mine", check=True)
    assert [host.run("hostname; cat /tmp/mine /dev/shm/mine ~/mine", check=True).stdout for host in network] == [
        "one\n" * 4,
        "two\n" * 4,
    ]
    sleeper = one.start("sleep 600", network.shared / "sleeper.log")
    wait_for(lambda: "sleep 600" in one.run("ps ax", check=True).stdout, "the sleeper")
    assert "sleep 600" not in two.run("ps ax", check=True).stdout
    one.run("pkill sleep", check=True)
    sleeper.wait(60)
    assert not one.run(f"ls -A {one.own.parent}", check=True).stdout  # no disk of another


def test_let_each_other_in_by_ssh(network: Network) -> None:
    one, _ = network
    known = "-o StrictHostKeyChecking=accept-new -o BatchMode=yes"
    assert one.run(f"ssh {known} two hostname", check=True).stdout == "two\n"
    one.run("mv .ssh/id_ed25519 key")
    assert "Permission denied" in one.run(f"ssh {known} two hostname").stderr
    one.run("mv key .ssh/id_ed25519", check=True)


def test_cut_and_restored(network: Network) -> None:
    one, two = network
    wait_for(lambda: reaches(one, two), "an answer")
    two.cut()
    assert not reaches(one, two)
    two.restore()
    wait_for(lambda: reaches(one, two), "an answer")


def test_killed_and_booted_with_its_disk(network: Network) -> None:
    one, two = network
    two.run("echo kept > /tmp/file", check=True)
    two.kill()
    assert not reaches(one, two)
    two.boot()
    wait_for(lambda: reaches(one, two), "an answer")
    assert two.run("cat /tmp/file", check=True).stdout == "kept\n"


def test_small_disk(network: Network) -> None:
    one, _ = network
    one.mount_disk(network.home / "disk", 2)
    assert "No space left" in one.run("head -c 3000000 /dev/zero > disk/file").stderr


def test_nothing_is_left_of_them_even_when_the_tests_are_killed() -> None:
    program = """
import os, sys
from tests.cluster.hosts import hosts
with hosts("one", "two") as network:
    one, two = network
    namespaces = [os.readlink(f"/proc/{host.first}/ns/{kind}") for host in network for kind in ("net", "mnt", "pid")]
    print(*namespaces, one.own.parent.parent, flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    *namespaces, place = process.stdout.readline().split()
    assert any("sshd" in line for line in left_over(set(namespaces), Path(place)))  # it would be seen
    process.send_signal(signal.SIGKILL)
    process.communicate()
    for _ in range(600):
        if left_over(set(namespaces), Path(place)) == [place]:
            break
        time.sleep(0.1)
    assert left_over(set(namespaces), Path(place)) == [place]  # an empty folder's worth of files, no process, no mount
    shutil.rmtree(place)
