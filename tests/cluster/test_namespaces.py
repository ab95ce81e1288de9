"""The hosts that clusters are tested on are hosts: apart, reachable by SSH, cut off, killed, and gone at the end."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.hosts import ROOT, Host, Network, hosts, left_over, why_not
from tests.sweep.sweeps import wait_for

pytestmark = [pytest.mark.rest, pytest.mark.alone, pytest.mark.skipif(bool(why_not()), reason=why_not())]


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
    read = [host.run("hostname; cat /tmp/mine /dev/shm/mine ~/mine", check=True).stdout for host in network]
    assert read == ["one\n" * 4, "two\n" * 4]
    sleeper = one.start("sleep 600", network.shared / "sleeper.log")
    wait_for(lambda: "sleep 600" in one.run("ps ax", check=True).stdout, "the sleeper")
    assert "sleep 600" not in two.run("ps ax", check=True).stdout
    one.run("pkill sleep", check=True)
    sleeper.wait(60)
    assert not one.run(f"ls -A {one.own.parent}", check=True).stdout  # no disk of another
    one.mount_disk(network.home / "disk", 2)
    assert "No space left" in one.run("head -c 3000000 /dev/zero > disk/file").stderr


def test_let_each_other_in_by_ssh(network: Network) -> None:
    one, _ = network
    known = "-o StrictHostKeyChecking=accept-new -o BatchMode=yes"
    assert one.run(f"ssh {known} two hostname", check=True).stdout == "two\n"
    one.run("mv .ssh/id_ed25519 key")
    assert "Permission denied" in one.run(f"ssh {known} two hostname").stderr
    one.run("mv key .ssh/id_ed25519", check=True)


def test_cut_and_restored_killed_and_booted_with_its_disk() -> None:
    """Hosts of its own: what a boot starts would outlive the test."""
    with hosts("one", "two") as (one, two):
        wait_for(lambda: reaches(one, two), "an answer")
        two.cut()
        assert not reaches(one, two)
        two.restore()
        wait_for(lambda: reaches(one, two), "an answer")
        two.run("echo kept > /tmp/file", check=True)
        two.kill()
        assert not reaches(one, two)
        two.boot()
        wait_for(lambda: reaches(one, two), "an answer")
        assert two.run("cat /tmp/file", check=True).stdout == "kept\n"


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
    # What is left is a folder of files, no process, no mount.
    wait_for(lambda: left_over(set(namespaces), Path(place)) == [place], "the end of the hosts")
    shutil.rmtree(place)
