"""Is a machine fit to run a sweep? Its facts in, findings out; nothing is looked at here.

    findings = [*check_versions(node, driver), *check_data(node, driver), ...]

Each says OK, WARN or FAIL, and what was found; what is not OK also says what to do.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rich.filesize import decimal

from sweep.doctor.facts import Facts
from sweep.scheduling.slurm.job import MAX_SKEW
from sweep.scheduling.versions import SAME_PROJECT, differences

Status = Literal["OK", "WARN", "FAIL"]

SAFE_RAY: Final = (2, 52)
"""The first Ray that can ask for a token. It also mends CVE-2025-62593: a web page that one visits could run code."""
SKEW_WARN: Final = 2.0
"""Seconds between clocks; from MAX_SKEW on they are a FAIL."""
HEAD_METRICS: Final = (44217, 44227)
"""Where the head's autoscaler and dashboard give Prometheus their numbers; they ask for no token."""
FEATURES_BYTES: Final = 10 * 10**9
"""Room that stored activations want beside the images: those of ResNet50 at 224 px, the largest, take 7.1e9."""


@dataclass(frozen=True)
class Finding:
    where: str
    """Which node or file."""
    check: str
    status: Status
    message: str


@dataclass(frozen=True)
class RayNode:
    """What Ray knows of a node."""

    name: str
    gpus: float
    """That Ray may give to trials there."""
    skew: float = 0.0
    """Seconds that its clock is surely off from the driver's."""
    token_auth: bool | None = None
    """Whether its Ray asks for a token."""
    metrics_ports: Sequence[int] = ()


def check_machine(facts: Facts, image_size: int, where: str) -> list[Finding]:
    """Return what can be said of a machine alone."""
    alike = _check_alike(facts, facts, facts.gpus, image_size, where)
    return [*alike, *check_places(facts, where), *check_token_file(facts, where)]


def check_node(facts: Facts, driver: Facts, ray_node: RayNode, image_size: int) -> list[Finding]:
    """Return everything about one node of a cluster, compared with the driver's machine."""
    return [
        *_check_alike(facts, driver, ray_node.gpus, image_size, ray_node.name),
        *check_places(facts, ray_node.name, "can be written, and is the driver's"),
        *check_clock(ray_node),
        *check_token(facts, ray_node),
        *check_metrics(facts, ray_node),
    ]


def _check_alike(facts: Facts, driver: Facts, gpus: float, image_size: int, where: str) -> list[Finding]:
    return [
        *check_versions(facts, driver, where),
        *check_ray_version(facts, where),
        *check_gpus(facts, gpus, where),
        *check_disk(facts, driver, image_size, where),
        *check_cache_place(facts, where),
        *check_data(facts, driver, where),
        *check_weights(facts, driver, where),
    ]


def check_versions(facts: Facts, driver: Facts, where: str) -> list[Finding]:
    """Check that Python's minor version and all packages are the driver's."""
    mine, theirs = (text.rsplit(".", 1)[0] for text in (driver.python, facts.python))
    findings = []
    if mine != theirs:
        advice = f"run the driver with Python {theirs}, or set the node up anew with {mine}"
        findings.append(Finding(where, "Python", "FAIL", f"{facts.python}, the driver has {driver.python}: {advice}"))
    if different := differences(driver.versions, facts.versions):
        findings.append(Finding(where, "versions", "FAIL", f"{'; '.join(different)}: {SAME_PROJECT}"))
    if not findings:
        same = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
        findings.append(Finding(where, "versions", "OK", f"Python {facts.python}, {same}"))
    return findings


def check_ray_version(facts: Facts, where: str) -> list[Finding]:
    version = facts.versions.get("ray", "")
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers >= SAFE_RAY:
        return []
    safe = ".".join(map(str, SAFE_RAY))
    found = f"Ray must be {safe} or newer, which can ask for a token; got {version or 'none'}"
    return [Finding(where, "Ray", "FAIL", f"{found}: install requirements.lock")]


def check_gpus(facts: Facts, promised: float, where: str) -> list[Finding]:
    """Check that Ray was promised as many GPUs as NVIDIA's driver lists and Keras's backend sees."""
    seen = facts.gpus if facts.framework_gpus is None else min(facts.gpus, facts.framework_gpus)
    counts = f"Ray has {promised:g} to give, nvidia-smi lists {facts.gpus}"
    if facts.framework_gpus is not None:
        counts += f", Keras sees {facts.framework_gpus if facts.framework_gpus >= 0 else 'none: it cannot be imported'}"
    if promised > facts.gpus:
        advice = "start Ray there with as many --num-gpus as there are, and look at nvidia-smi"
        return [Finding(where, "GPUs", "FAIL", f"{counts}: {advice}")]
    if promised > seen or (facts.gpus > seen and promised):
        advice = "install tensorflow[and-cuda] there, or the driver that it wants"
        return [Finding(where, "GPUs", "FAIL", f"{counts}: {advice}")]
    if facts.gpus > promised:
        return [Finding(where, "GPUs", "WARN", f"{counts}: the others stand idle; start Ray with more --num-gpus")]
    return [Finding(where, "GPUs", "OK", counts)]


def check_disk(facts: Facts, driver: Facts, image_size: int, where: str) -> list[Finding]:
    """Check for room for the hot copy of the images, and for stored activations beside it."""
    if facts.cache_error:
        advice = "set GALAXYTL_CACHE_DIR to a folder that can be written"
        return [Finding(where, "disk", "FAIL", f"no cache: {facts.cache_error}: {advice}")]
    known = next((f.data for f in (driver, facts) if f.data and f.data.num_images), None)
    need = known.num_images * image_size**2 * 3 if known else 0
    found = f"{decimal(facts.cache_free)} free at {facts.cache}"
    wanted = f"the images at {image_size} px take {decimal(need)}"
    if need > facts.cache_free:
        advice = "free some, or set GALAXYTL_CACHE_DIR to a larger disk"
        return [Finding(where, "disk", "FAIL", f"{found}, and {wanted}: {advice}")]
    if need > facts.cache_limit:
        limit = f"the cache may take {decimal(facts.cache_limit)}"
        return [Finding(where, "disk", "FAIL", f"{limit}, and {wanted}: raise GALAXYTL_CACHE_GB")]
    if facts.cache_free < need + FEATURES_BYTES:
        text = f"{found}; {f'{wanted}, and ' if need else ''}stored activations may take {decimal(FEATURES_BYTES)}"
        return [Finding(where, "disk", "WARN", f"{text}: with less room, more is computed again")]
    return [Finding(where, "disk", "OK", f"{found}{f'; {wanted}' if need else ''}")]


def check_cache_place(facts: Facts, where: str) -> list[Finding]:
    """Return a warning where the cache lies on another machine."""
    return [Finding(where, "cache", "WARN", facts.cache_note)] if facts.cache_note else []


def check_data(facts: Facts, driver: Facts, where: str) -> list[Finding]:
    """Check that the node reaches the galaxies that the driver sees."""
    mine, theirs = driver.data, facts.data
    if theirs is None or mine is None:
        return []
    if theirs.error:
        advice = "put it where every node reaches it under the same name: s3://, or a shared folder"
        return [Finding(where, "dataset", "FAIL", f"{theirs.error}{'' if mine.error else f': {advice}'}")]
    prints = mine.fingerprint, theirs.fingerprint
    differ = prints[0] != prints[1] if all(prints) else mine.identity != theirs.identity
    if differ and not mine.error:
        found = f"{theirs.num_images:,} images, others than the driver's {mine.num_images:,}"
        return [Finding(where, "dataset", "FAIL", f"{found}: the same path names different files on the two")]
    known = f"fingerprint {theirs.fingerprint[:12]}" if theirs.fingerprint else "labels and files as the driver's"
    if facts is driver and not theirs.fingerprint:
        known = "fingerprint known when the images have been read once"
    return [Finding(where, "dataset", "OK", f"{theirs.num_images:,} images, {known}")]


def check_weights(facts: Facts, driver: Facts, where: str) -> list[Finding]:
    """Check that the node has the weights that the driver has, with the same numbers in them."""
    broken = [text.removeprefix("error: ") for text in facts.weights.values() if text.startswith("error: ")]
    if broken:
        return [Finding(where, "weights", "FAIL", "; ".join(broken))]
    missing = [name for name, found in facts.weights.items() if not found and driver.weights.get(name)]
    if missing:
        advice = "put the files there under the same --weights-dir, or into $GALAXYTL_WEIGHTS_DIR"
        return [Finding(where, "weights", "FAIL", f"no ImageNet weights of {', '.join(missing)}: {advice}")]
    other = [name for name, found in facts.weights.items() if found and driver.weights.get(name) not in ("", found)]
    if other:
        text = f"other ImageNet weights of {', '.join(other)} than the driver's: copy the driver's files there"
        return [Finding(where, "weights", "FAIL", text)]
    nowhere = [name for name, found in facts.weights.items() if not found]
    if nowhere and facts.online is False:
        advice = "the sweep's command with --fetch, on a machine that has one, fetches them"
        return [Finding(where, "weights", "FAIL", f"no ImageNet weights of {', '.join(nowhere)}, no network: {advice}")]
    if nowhere:
        advice = "Keras downloads them where there is internet; else put the files into --weights-dir"
        return [Finding(where, "weights", "WARN", f"no ImageNet weights of {', '.join(nowhere)}: {advice}")]
    return [Finding(where, "weights", "OK", f"of {', '.join(facts.weights)}")] if facts.weights else []


def check_places(facts: Facts, where: str, good: str = "can be written") -> list[Finding]:
    """Check each place for results. good: what to say of one that can be written."""
    findings = []
    for place, problem in facts.places.items():
        advice = "it must be a folder that all nodes share, or a URI that all may write"
        text = f"{place}: {problem}: {advice}" if problem else f"{place}: {good}"
        findings.append(Finding(where, "results", "FAIL" if problem else "OK", text))
    return findings


def check_clock(ray_node: RayNode) -> list[Finding]:
    status: Status = "FAIL" if ray_node.skew >= MAX_SKEW else "WARN" if ray_node.skew >= SKEW_WARN else "OK"
    text = f"{ray_node.skew:.1f} s off the driver's" if ray_node.skew else "as the driver's"
    advice = "" if status == "OK" else ": set it by NTP (timedatectl set-ntp true)"
    return [Finding(ray_node.name, "clock", status, f"{text}{advice}")]


def check_token(facts: Facts, ray_node: RayNode) -> list[Finding]:
    """Check that Ray asks for a token: whoever reaches one that does not runs programs on it."""
    if not ray_node.token_auth:
        advice = "start Ray there with RAY_AUTH_MODE=token, and a token in ~/.ray/auth_token"
        text = f"Ray asks for no token, so whoever reaches its ports runs programs here: {advice}"
        return [Finding(ray_node.name, "token", "FAIL", text)]
    return check_token_file(facts, ray_node.name) or [Finding(ray_node.name, "token", "OK", "Ray asks for the token")]


def check_token_file(facts: Facts, where: str) -> list[Finding]:
    """Return a problem of the file that holds the token, if there is one."""
    if facts.token_mode is None or not facts.token_mode & 0o077:
        return []
    found = f"{facts.token_file} may be read by its owner only; its mode is {facts.token_mode:04o}"
    return [Finding(where, "token", "FAIL", f"{found}: chmod 600 {facts.token_file}")]


def check_dashboard(url: str, token_auth: bool | None, where: str) -> list[Finding]:
    """Check who reaches the dashboard. url: HOST:PORT to which the dashboard is bound, or "". It starts programs for
    whoever may use it."""
    host = url.partition("://")[2] or url
    host = host.rpartition(":")[0].strip("[]")
    if not url or is_loopback(host):
        return [Finding(where, "dashboard", "OK", f"only at {url} of the head itself" if url else "not running")]
    if not token_auth:
        advice = "start Ray with --dashboard-host=127.0.0.1, and reach it by ray dashboard"
        return [Finding(where, "dashboard", "FAIL", f"open at {url} without a token: {advice}")]
    advice = "--dashboard-host=127.0.0.1 and ray dashboard keep the token off the network, where it is not encrypted"
    return [Finding(where, "dashboard", "WARN", f"open at {url}, with a token: {advice}")]


def check_metrics(facts: Facts, ray_node: RayNode) -> list[Finding]:
    """Check for ports that give numbers to whoever asks: names of jobs, load and addresses."""
    is_open = [port for port in ray_node.metrics_ports if not all(map(is_loopback, facts.listening.get(port, ())))]
    if not is_open:
        return [Finding(ray_node.name, "metrics", "OK", "no open port")]
    ports = ", ".join(map(str, is_open))
    text = f"port {ports} answers without a token: let a security group or a firewall close it to other networks"
    return [Finding(ray_node.name, "metrics", "WARN", text)]


def is_loopback(host: str) -> bool:
    """Return whether only the machine itself reaches this address."""
    try:
        return ipaddress.ip_address(host.removeprefix("::ffff:")).is_loopback
    except ValueError:
        return host == "localhost"


def verdict(findings: Sequence[Finding]) -> Status:
    """Return the worst of them."""
    found = {finding.status for finding in findings}
    return "FAIL" if "FAIL" in found else "WARN" if "WARN" in found else "OK"
