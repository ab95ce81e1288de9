"""Hosts to test a cluster on, made of Linux namespaces: each has its own network card, processes, disk places and sshd.

    with hosts("head", "worker1", "worker2") as network:
        network["head"].run("hostname")
        network["worker1"].cut()         # its cable is out; nothing is closed
        network["worker1"].kill()        # power failure; boot() starts it again, its disk as it was

What is a host's own: its name, network, processes, System V memory, /proc, /tmp, /dev/shm, /run, /etc/hosts, /etc/ssh,
and the home of root, whom a key lets in by SSH from every host. What all see alike: the machine's programs, the tests'
environment, and `network.shared`, as if they mounted it. The cable goes to a switch without uplink. The clock is the
machine's.

Needs root on Linux, iproute2, openssh-server and rsync: `why_not()` says what is missing.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
SUBNET: Final = "10.77.0"
NAMESPACES: Final = ("--net", "--mount", "--pid", "--uts", "--ipc")
PROGRAMS: Final = {"ip": "iproute2", "sshd": "openssh-server", "ssh": "openssh-client", "rsync": "rsync"}
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HIDDEN: Final = ("/tmp", "/run")
"""Folders of the machine that no host sees, but for what of the project and its Python lies in them."""

BOOT: Final = """
read -r outside rest < /proc/self/stat       # still the machine's /proc: our process id there
keep() { mkdir -p "$own/keep$1"; mount --rbind "$1" "$own/keep$1"; }
give() { mkdir -p "$1"; mount --rbind "$own/keep$1" "$1"; }
for folder in $kept; do keep "$folder"; done
mount --bind "$own/home" "$home"
mount --bind "$own/tmp" /tmp
mount --bind "$own/ssh" /etc/ssh
mount --bind "$own/hosts" /etc/hosts
mount --bind "$own/passwd" /etc/passwd
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t proc proc /proc
mkdir -p /run/sshd
for folder in $kept; do give "$folder"; done
mount -t tmpfs tmpfs "$disks"                # no host sees another's disk
hostname "$name"
ip link set lo up
ulimit -n "$(ulimit -Hn)"
echo "$outside"
exec /usr/sbin/sshd -D -e
"""
"""Becomes the first process of a host, which takes in orphans and reaps them as sshd does anyway."""
SSHD_CONFIG: Final = """
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
AcceptEnv LANG
MaxStartups 100
Subsystem sftp internal-sftp
"""
SWITCH: Final = "ip link add switch type bridge && ip link set switch up && echo ready && exec sleep infinity"
CONTROL_SECONDS: Final = 120


def why_not() -> str:
    """Why there can be no hosts here; "" where there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "hosts made of namespaces need Linux and root"
    for program, package in PROGRAMS.items():
        if not shutil.which(program, path=PATH):
            return f"hosts made of namespaces need {program}: apt-get install {package}"
    command = ["unshare", *NAMESPACES, "--fork", "mount", "-t", "proc", "proc", "/proc"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"no namespaces may be made here: {tried.stderr.strip()}" if tried.returncode else ""


@dataclass
class Network:
    """Hosts by name, joined by a switch."""

    home: Path
    """Of root, on each host; each sees its own there."""
    shared: Path
    switch: subprocess.Popen[str]
    hosts: dict[str, Host] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __iter__(self) -> Iterator[Host]:
        return iter(self.hosts.values())

    def ip(self, *arguments: str) -> None:
        """The `ip` command in the switch's network."""
        _control(["nsenter", "--net", "--target", str(self.switch.pid), "ip", *arguments])


@dataclass
class Host:
    name: str
    address: str
    own: Path
    """What lies on its disk: home, tmp, ssh."""
    network: Network
    first: int = 0
    """Its first process, as this machine counts; 0: it is off."""
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def boot(self) -> None:
        """Turn it on, as it was when it went off; returns when its sshd answers."""
        command = ["unshare", *NAMESPACES, "--fork", "--kill-child", "bash", "-e", "-c", BOOT]
        environment = {
            **{"PATH": PATH, "own": str(self.own), "home": str(self.network.home), "name": self.name},
            **{"disks": str(self.own.parent), "kept": " ".join(map(str, _hidden_places()))},
        }
        with (self.own / "console").open("a") as console:
            process = _end_with_us(command, environment, console)
        assert process.stdout
        said = process.stdout.readline()
        if not said:
            raise RuntimeError(f"host {self.name} does not boot: {(self.own / 'console').read_text()[-500:]}")
        self.first, self._process = int(said), process
        card = ["peer", "name", "eth0", "address", self.hardware_address, "netns", said.strip()]
        self.network.ip("link", "add", self.cable, "type", "veth", *card)
        self.network.ip("link", "set", self.cable, "up", "master", "switch")
        self.run(f"ip address add {self.address}/24 dev eth0 && ip link set eth0 up", check=True)
        self._wait_for_sshd()

    def _wait_for_sshd(self) -> None:
        for _ in range(600):
            if self.run("exec 3<>/dev/tcp/127.0.0.1/22").returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError(f"no sshd answers on {self.name}: {(self.own / 'console').read_text()[-500:]}")

    def run(self, command: str, timeout: float = 120, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command there in bash, in root's home; its output comes back as text.

        check: raise an AssertionError that shows the output when it fails.
        """
        done = subprocess.run(
            self._entered(command),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, f"{self.name}: {command}\n{done.stdout}{done.stderr}"
        return done

    def start(self, command: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a command there that goes on; its output goes to `log`. It ends with the host at the latest."""
        with log.open("ab") as said:
            process = subprocess.Popen(
                self._entered(command), env=self.environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
        self._started.append(process)
        return process

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PATH": PATH, "HOME": str(self.network.home), "USER": "root", "LANG": "C.UTF-8"}

    def _entered(self, command: str) -> list[str]:
        return ["nsenter", "--target", str(self.first), *NAMESPACES, "bash", "-c", f"cd\n{command}"]

    @property
    def cable(self) -> str:
        """Its end at the switch, where a name may have 15 letters."""
        return f"{self.name[:14]}0"

    @property
    def hardware_address(self) -> str:
        """The same after each boot: the others remember it."""
        return f"02:00:00:00:00:{int(self.address.rpartition('.')[2]):02x}"

    def cut(self) -> None:
        """Pull the cable: packets are lost, no connection is closed."""
        self.network.ip("link", "set", self.cable, "nomaster")

    def restore(self) -> None:
        """Put the cable back."""
        self.network.ip("link", "set", self.cable, "master", "switch")

    def kill(self) -> None:
        """Power failure: all its processes end at once, and its connections close at nobody's will."""
        self.cut()  # first: the kernel would close them properly
        os.kill(self.first, signal.SIGKILL)
        self._process.communicate(timeout=CONTROL_SECONDS)
        self.first = 0
        for process in self._started:
            process.wait(CONTROL_SECONDS)
        with contextlib.suppress(RuntimeError):  # it goes with its other end, sooner or later
            self.network.ip("link", "delete", self.cable)

    def mount_disk(self, folder: Path, megabytes: int) -> None:
        """A disk of its own, this small, at `folder`."""
        place = shlex.quote(str(folder))
        self.run(f"mkdir -p {place} && mount -t tmpfs -o size={megabytes}m tmpfs {place}", check=True)

    def processes(self) -> dict[int, str]:
        """The command lines of all that runs there, by process id as this machine counts."""
        return _inside({os.readlink(f"/proc/{self.first}/ns/pid")}, "pid")


@contextlib.contextmanager
def hosts(*names: str) -> Iterator[Network]:
    """So many hosts, up; nothing of them is left afterwards: raises AssertionError when something is."""
    place = Path(tempfile.mkdtemp(prefix="galaxytl-hosts-", dir="/var/tmp"))  # every host has a /tmp of its own
    switch = _end_with_us(["unshare", "--net", "bash", "-c", SWITCH], {"PATH": PATH}, None)
    network = Network(place / "home", place / "shared", switch)
    namespaces: set[str] = set()
    try:
        assert switch.stdout
        assert switch.stdout.readline() == "ready\n"
        _lay_out(network, place, names)
        for host in network:
            host.boot()
            namespaces |= {os.readlink(f"/proc/{host.first}/ns/{kind}") for kind in ("net", "mnt", "pid")}
        namespaces.add(os.readlink(f"/proc/{switch.pid}/ns/net"))
        yield network
    finally:
        for host in network:
            if host.first:
                host.kill()
        switch.kill()
        switch.communicate(timeout=CONTROL_SECONDS)
        shutil.rmtree(place)
    for _ in range(600):
        if not (left := left_over(namespaces, place)):
            return
        time.sleep(0.1)  # a program that had entered a host ends a moment after it
    raise AssertionError(f"left of the hosts: {left}")


def left_over(namespaces: set[str], place: Path) -> list[str]:
    """Processes in these namespaces, and mounts and files at `place`, that there still are."""
    found = [line for kind in ("net", "mnt", "pid") for line in _inside(namespaces, kind).values()]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(place) in line]
    return found + ([str(place)] if place.exists() else [])


def _lay_out(network: Network, place: Path, names: Sequence[str]) -> None:
    """What lies on each host's disk before it is turned on for the first time."""
    network.home.mkdir()
    network.shared.mkdir()
    key = place / "key"
    _control(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tests", "-f", str(key)])
    addresses = {name: f"{SUBNET}.{number}" for number, name in enumerate(names, 10)}
    for name, address in addresses.items():
        own = place / "disks" / name
        (own / "home/.ssh").mkdir(parents=True, mode=0o700)
        for folder in ("tmp", "ssh"):
            (own / folder).mkdir()
        (own / "tmp").chmod(0o1777)
        for start in (".profile", ".bashrc"):  # as adduser does: .bashrc is read by login shells
            shutil.copy(Path("/etc/skel") / start, own / "home")
        shutil.copy(key.with_suffix(".pub"), own / "home/.ssh/authorized_keys")
        shutil.copy(key, own / "home/.ssh/id_ed25519")
        (own / "ssh/sshd_config").write_text(SSHD_CONFIG)
        _control(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(own / "ssh/ssh_host_ed25519_key")])
        lines = ["127.0.0.1 localhost", *(f"{known} {other}" for other, known in addresses.items())]
        (own / "hosts").write_text("\n".join(lines) + "\n")
        users = [line.split(":") for line in Path("/etc/passwd").read_text().splitlines()]
        homes = [[*user[:5], str(network.home), "/bin/bash"] if user[0] == "root" else user for user in users]
        (own / "passwd").write_text("\n".join(map(":".join, homes)) + "\n")
        network.hosts[name] = Host(name, address, own, network)


def _hidden_places() -> list[Path]:
    """The project and its Python, where the host's own folders would hide them."""
    needed = {ROOT.resolve(), Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
    return sorted(path for path in needed if any(path.is_relative_to(hidden) for hidden in HIDDEN))


def _end_with_us(command: Sequence[str], environment: Mapping[str, str], errors: object) -> subprocess.Popen[str]:
    """Start a command that is killed when this process ends, however it does."""
    tied = ["setpriv", "--pdeathsig", "KILL", *command]
    return subprocess.Popen(tied, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)  # type: ignore[call-overload]


def _control(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=CONTROL_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)}: {done.stderr.strip()}")


def _inside(namespaces: set[str], kind: str) -> dict[int, str]:
    """Processes of this machine that are in one of the namespaces: their command lines."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if os.readlink(process / "ns" / kind) in namespaces:
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return found
