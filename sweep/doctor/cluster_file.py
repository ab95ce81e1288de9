"""Is a cluster file (cluster.yaml) fit for `ray up`? Without starting anything, and without an account.

    findings = check_cluster_file(Path("cluster.yaml"))

Keys and types are compared with the schema that Ray ships, then with what this project's clusters want: a region, a
token for everyone, no port open to the world, and hosts that let you in.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from galaxytl.system.foreign_text import did_you_mean
from sweep.doctor.checks import Finding, Status
from sweep.grids.yaml_file import YamlFileError, read_yaml
from sweep.scheduling.resources import node_types

PLACEHOLDER: Final = "CHANGE-ME"
SSH_SECONDS: Final = 15
PYTHONS: Final = ((3, 11), (3, 13))
"""The oldest and the newest that pyproject.toml allows."""
ASK_PYTHON: Final = "~/galaxytl/.venv/bin/python -V 2> /dev/null || python3 -V"
"""Where the cluster files install the project; before that, what they will install it with."""
IDLE_MINUTES: Final = 30
"""Idle workers that stay longer than this are probably a mistake: a GPU costs about a dollar an hour."""
NODE_TYPE_KEYS: Final = (
    *("node_config", "resources", "min_workers", "max_workers", "idle_timeout_s", "priority", "labels"),
    *("initialization_commands", "worker_setup_commands", "docker"),
)
AUTH_KEYS: Final = ("ssh_user", "ssh_private_key", "ssh_public_key", "ssh_proxy_command", "ssh_proxy_use_node_id")
TOP_KEYS_OF_RAY: Final = ("min_workers",)
"""Read for type: local, though the schema lacks it."""
WORLD: Final = ("0.0.0.0/0", "::/0")
START: Final = ("head_start_ray_commands", "worker_start_ray_commands")
TOKEN_REMOTE: Final = "~/.ray/auth_token"


def check_cluster_file(path: Path) -> list[Finding]:
    """Return findings about each thing that is wrong or was looked at; a file that cannot be read is one FAIL."""
    try:
        content = read_yaml(path, "a cluster file")
    except FileNotFoundError:
        return [Finding(str(path), "file", "FAIL", "it does not exist: --cluster takes a file like cluster.yaml")]
    except (YamlFileError, OSError) as error:
        return [Finding(str(path), "file", "FAIL", str(error))]
    if not isinstance(content, Mapping):
        rule = "a cluster file must be a mapping, like cluster.yaml of this project"
        return [Finding(str(path), "file", "FAIL", rule)]
    found = list(_problems(content, path.parent))
    if not any(status == "FAIL" for _, status, _ in found):
        from sweep.doctor.nodes import schema_problem  # Ray takes seconds to import

        problem = schema_problem(content)
        found.append(("schema", "FAIL", problem) if problem else ("schema", "OK", "Ray accepts it"))
    return [Finding(path.name, check, status, message) for check, status, message in found]


Found = Iterator[tuple[str, Status, str]]


def _problems(content: Mapping[str, Any], folder: Path) -> Found:
    unfilled = list(placeholders(content))
    yield from _check_keys(content)
    yield from _check_required(content)
    for place in unfilled:
        yield "placeholder", "FAIL", f"{place} must be filled in; it still says {PLACEHOLDER}"
    yield from _check_token(content)
    yield from _check_files(content, folder)
    yield from _check_network(content)
    yield from _check_cost(content)
    if not unfilled:
        yield from _check_hosts(content)


def _section(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = content.get(name)
    return value if isinstance(value, Mapping) else {}


def ray_schema() -> Mapping[str, Any]:
    """Return the JSON schema of cluster files in the installed Ray, found without importing it."""
    spec = importlib.util.find_spec("ray")
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        return {}
    return dict(json.loads((Path(next(iter(folders))) / "autoscaler" / "ray-schema.json").read_text()))


def _check_keys(content: Mapping[str, Any]) -> Found:
    """Yield keys that Ray does not know: it would refuse some with a long message, and pass over others."""
    known = ray_schema().get("properties", {})
    sections: list[tuple[str, Mapping[str, Any], Sequence[str]]] = [
        ("", content, [*known, *TOP_KEYS_OF_RAY]),
        ("provider.", _section(content, "provider"), list(known.get("provider", {}).get("properties", ()))),
        ("auth.", _section(content, "auth"), AUTH_KEYS),
    ]
    types = node_types(content).items()
    sections += [(f"available_node_types.{name}.", node_type, NODE_TYPE_KEYS) for name, node_type in types]
    for prefix, section, names in sections:
        for key in section:
            if names and key not in names:
                hint = did_you_mean(str(key), names) or f" Known are {', '.join(names)}."
                yield "key", "FAIL", f"Ray knows no key '{prefix}{key}'.{hint}"


def _check_required(content: Mapping[str, Any]) -> Found:
    provider = _section(content, "provider")
    kind = provider.get("type")
    needed = ["cluster_name", "provider.type", *START]
    needed += {"aws": ["provider.region", "max_workers", "available_node_types", "head_node_type"]}.get(str(kind), [])
    needed += {"local": ["provider.head_ip", "provider.worker_ips", "auth.ssh_user"]}.get(str(kind), [])
    for name in needed:
        section, _, key = name.rpartition(".")
        if not (_section(content, section) if section else content).get(key):
            yield "key", "FAIL", f"{name} must be set; it is missing{' or empty' if key in content else ''}"
    head = content.get("head_node_type")
    if head and head not in (types := node_types(content)):
        hint = did_you_mean(str(head), types)
        yield "key", "FAIL", f"head_node_type must be one of {', '.join(types)}; got '{head}'.{hint}"
    region = provider.get("region")
    if kind == "aws" and region and not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", str(region)):
        yield "key", "FAIL", f"provider.region must be a region, like us-east-1; got '{region}'"
    workers = provider.get("worker_ips")
    if kind == "local" and isinstance(workers, list) and not content.get("min_workers"):
        rule = f"min_workers must be set, to {len(workers)} for all: without it Ray starts no worker"
        yield "key", "FAIL", f"{rule}; it is missing"


def placeholders(value: Any, place: str = "") -> Iterator[str]:
    """Return where in a file's content something is still to be filled in, like provider.worker_ips[0]."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from placeholders(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from placeholders(item, f"{place}[{number}]")
    elif PLACEHOLDER in str(value):
        lines = [line.strip() for line in str(value).splitlines() if PLACEHOLDER in line]
        yield place if str(value) == PLACEHOLDER else f"{place}, {lines[0]}"


def _commands(content: Mapping[str, Any], name: str) -> str:
    commands = content.get(name)
    return "\n".join(map(str, commands)) if isinstance(commands, list) else ""


def _check_token(content: Mapping[str, Any]) -> Found:
    """Check that all nodes ask for the token; and it is a file, for a command line and a YAML file are seen by
    others."""
    setup = _commands(content, "setup_commands")
    for name in START:
        commands = _commands(content, name)
        if commands and "RAY_AUTH_MODE=token" not in setup + commands:
            text = f"{name} must run with RAY_AUTH_MODE=token, or whoever reaches Ray's ports may use it"
            yield "token", "FAIL", text
    text = json.dumps(content, default=str)
    if re.search(r"RAY_AUTH_TOKEN\s*[=\"]", text):
        text = f"the token must not stand in this file (RAY_AUTH_TOKEN=...): copy it as a file, {TOKEN_REMOTE}"
        yield "token", "FAIL", text
    if TOKEN_REMOTE not in _section(content, "file_mounts"):
        yield "token", "FAIL", f"file_mounts must bring {TOKEN_REMOTE} to the nodes; ray up does not do so by itself"


def _check_files(content: Mapping[str, Any], folder: Path) -> Found:
    """Check that what is copied is there; relative paths are from where ray up is called, by rule the file's folder."""
    for remote, local in _section(content, "file_mounts").items():
        path = folder / Path(str(local)).expanduser()
        if not path.exists():
            make = ": (umask 077; ray get-auth-token --generate) makes it" if remote == TOKEN_REMOTE else ""
            yield "files", "FAIL", f"file_mounts: {local} does not exist{make}"
        elif remote == TOKEN_REMOTE and (mode := path.stat().st_mode & 0o777) & 0o077:
            yield "token", "FAIL", f"{local} may be read by its owner only; its mode is {mode:04o}: chmod 600 {local}"
    if key := _section(content, "auth").get("ssh_private_key"):
        path = Path(str(key)).expanduser()
        if PLACEHOLDER not in str(key) and not path.is_file():
            text = f"auth.ssh_private_key: {key} does not exist: ssh-keygen -t ed25519 -f {key} makes it"
            yield "files", "FAIL", text


def _check_network(content: Mapping[str, Any]) -> Found:
    group = _section(content, "provider").get("security_group")
    for rule in group.get("IpPermissions", []) if isinstance(group, Mapping) else []:
        if any(world in json.dumps(rule) for world in WORLD):
            ports = (
                f"{rule.get('FromPort', 'all')} to {rule.get('ToPort', 'all')}" if isinstance(rule, Mapping) else rule
            )
            yield "network", "FAIL", f"security_group: ports {ports} must not be open to the world ({WORLD[0]})"
    if re.search(r"--dashboard-host[= ](0\.0\.0\.0|::)", _commands(content, START[0])):
        advice = "use --dashboard-host=127.0.0.1 and ray dashboard"
        yield "network", "FAIL", f"the dashboard must not listen on all interfaces (--dashboard-host=0.0.0.0): {advice}"


def _check_cost(content: Mapping[str, Any]) -> Found:
    if _section(content, "provider").get("type") != "aws":
        return
    minutes = content.get("idle_timeout_minutes", 5)
    if isinstance(minutes, int | float) and minutes > IDLE_MINUTES:
        text = f"idle workers stay for {minutes} minutes: {IDLE_MINUTES} or less costs less (idle_timeout_minutes)"
        yield "cost", "WARN", text
    for name, node_type in node_types(content).items():
        if name != content.get("head_node_type") and node_type.get("min_workers"):
            text = f"{name} keeps {node_type['min_workers']} workers running, with trials or without (min_workers)"
            yield "cost", "WARN", text


def _check_hosts(content: Mapping[str, Any]) -> Found:
    """Check that each host of one's own lets us in by SSH without a password, and has the Python that the others
    have."""
    provider, auth = _section(content, "provider"), _section(content, "auth")
    workers = provider.get("worker_ips")
    if provider.get("type") != "local" or not isinstance(workers, list):
        return
    hosts = [str(host) for host in dict.fromkeys([provider.get("head_ip"), *workers]) if host]
    with ThreadPoolExecutor(8) as pool:
        refusals = dict(zip(hosts, pool.map(lambda host: ssh_refusal(host, auth), hosts), strict=True))
        reached = [host for host in hosts if not refusals[host]]
        pythons = dict(zip(reached, pool.map(lambda host: python_of(host, auth), reached), strict=True))
    for host, refusal in refusals.items():
        yield ("ssh", "FAIL", f"{host}: {refusal}") if refusal else ("ssh", "OK", f"{host} lets us in")
    yield from check_pythons(pythons)


def check_pythons(versions: Mapping[str, str]) -> Found:
    """Check that hosts have the same Python. versions: of Python by host, the head first; "" where there is none. Ray
    lets no node in that has another."""
    wanted = f"Python {PYTHONS[0][0]}.{PYTHONS[0][1]} to {PYTHONS[1][0]}.{PYTHONS[1][1]} is needed"
    head, expected = next(iter(versions.items()), ("", ""))
    for host, version in versions.items():
        minor = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
        if not version or not PYTHONS[0] <= minor <= PYTHONS[1]:
            yield "Python", "FAIL", f"{host}: {wanted}; python3 there is {version or 'missing'}"
        elif version.rpartition(".")[0] != expected.rpartition(".")[0]:
            advice = f"all must have the same: install {expected.rpartition('.')[0]} there, as python3"
            yield "Python", "FAIL", f"{host}: {version}, and {head} has {expected}: {advice}"
        else:
            yield "Python", "OK", f"{host}: {version}"


def python_of(host: str, auth: Mapping[str, Any]) -> str:
    """Return the version that a login there finds, like 3.11.7; "" without one. The project's own environment goes
    first."""
    done = _by_ssh(host, auth, f"bash --login -i -c '{ASK_PYTHON}'")
    found = re.findall(r"^Python (\d+\.\d+\.\d+)", done.stdout, re.MULTILINE) if done else []
    return str(found[-1]) if found else ""


def ssh_refusal(host: str, auth: Mapping[str, Any]) -> str:
    """Return why `host` does not let us in by SSH, and what to do; "" when it does."""
    if not shutil.which("ssh"):
        return "there is no ssh on this machine: install openssh-client"
    done = _by_ssh(host, auth, "true")
    if done is None:
        return f"no answer within {4 * SSH_SECONDS} s"
    if done.returncode == 0:
        return ""
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return f"{said[-1] if said else f'exit status {done.returncode}'}. {_ssh_advice(done.stderr)}"


def _by_ssh(host: str, auth: Mapping[str, Any], command: str) -> subprocess.CompletedProcess[str] | None:
    """Run a command on a host; None: no answer."""
    user = f"{auth['ssh_user']}@" if auth.get("ssh_user") else ""
    key = ["-i", str(Path(str(auth["ssh_private_key"])).expanduser())] if auth.get("ssh_private_key") else []
    options = ["BatchMode=yes", f"ConnectTimeout={SSH_SECONDS}", "StrictHostKeyChecking=accept-new"]
    whole = ["ssh", *(part for option in options for part in ("-o", option)), *key, f"{user}{host}", command]
    try:
        return subprocess.run(whole, capture_output=True, text=True, timeout=4 * SSH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return None


def _ssh_advice(said: str) -> str:
    if "Permission denied" in said:
        return "Let the key in there: ssh-copy-id -i KEY USER@HOST"
    if "refused" in said or "timed out" in said or "No route" in said:
        return "Is the host up, and does its sshd listen at port 22?"
    if "Could not resolve" in said:
        return "Is the name right?"
    return "Try the same by hand: ssh USER@HOST true"
