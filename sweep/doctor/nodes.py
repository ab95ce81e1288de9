"""What Ray knows of the nodes of a running cluster, and what each says of itself. The doctor's only file with ray.

    report = ask_nodes("auto", Questions(data="s3://bucket/galaxy10/"), log)
    for node in report.nodes: node.ray_node, node.facts      # or node.error

One small actor a node, pinned to it, without CPU or GPU of its own: a busy cluster can be asked too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from galaxytl.networks import gpu_memory
from galaxytl.system.credentials import without_secrets
from sweep.doctor import facts as doctor_facts
from sweep.doctor.checks import HEAD_METRICS, RayNode
from sweep.doctor.facts import Facts, Questions, facts_from_dict
from sweep.scheduling import ray_private, versions
from sweep.scheduling.cluster import by_value, cluster  # before ray: it sets what ray reads at its import
from sweep.scheduling.ray_private import asks_for_token, check_cluster_schema, dashboard_address
from sweep.scheduling.resources import HEAD, ClusterError

import ray  # isort: skip
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # isort: skip

NODE_SECONDS = 180
"""How long a node may take to answer: it may have to start a worker, read the weights, and import Keras."""
CLOCK_READINGS = 3


@dataclass(frozen=True)
class AskedNode:
    ray_node: RayNode
    facts: Facts | None
    error: str = ""
    """Why there are no facts."""


@dataclass(frozen=True)
class Report:
    nodes: Sequence[AskedNode]
    dashboard: str
    """HOST:PORT, or "" where none runs."""
    token_auth: bool
    """Of the driver's own Ray, and so of the cluster: one without a token does not connect to one with."""


def ask_nodes(address: str, questions: Questions, log: Path) -> Report:
    """Return every alive node's answers. Raises ClusterError when no cluster answers at `address`."""
    try:
        with by_value(doctor_facts, gpu_memory, versions, ray_private), cluster(address, log):
            alive = [node for node in ray.nodes() if node["Alive"]]
            asked = [(node, _Asked(node["NodeID"], questions)) for node in alive]
            nodes = [answer.collect(node) for node, answer in asked]
            return Report(nodes, dashboard_address(), asks_for_token())
    except ray.exceptions.RayError as error:
        raise ClusterError(f"the cluster at {address} did not let us in: {_first_line(error)}") from error


class _Asked:
    """A node that is at work on its answers."""

    def __init__(self, node_id: str, questions: Questions) -> None:
        pinned = NodeAffinitySchedulingStrategy(node_id, soft=False)
        self._actor = _witness().options(num_cpus=0, scheduling_strategy=pinned).remote()
        self._facts = self._actor.facts.remote(questions)

    def collect(self, node: Mapping[str, Any]) -> AskedNode:
        try:
            facts = facts_from_dict(ray.get(self._facts, timeout=NODE_SECONDS))
            skew = self._skew()
            token_auth = bool(ray.get(self._actor.asks_for_token.remote(), timeout=NODE_SECONDS))
        except ray.exceptions.GetTimeoutError:
            return AskedNode(_ray_node(node), None, f"no answer within {NODE_SECONDS} s")
        except ray.exceptions.RayError as error:
            return AskedNode(_ray_node(node), None, _first_line(error))
        return AskedNode(_ray_node(node, skew, token_auth), facts)

    def _skew(self) -> float:
        """Return seconds that the node's clock is off at least: what the way there and back cannot explain, at its
        best."""
        readings = []
        for _ in range(CLOCK_READINGS):
            before = time.time()
            there = ray.get(self._actor.clock.remote(), timeout=NODE_SECONDS)
            readings.append(surely_off(before, there, time.time()))
        return min(readings)


def surely_off(before: float, there: float, after: float) -> float:
    """Return seconds that a clock is off at least, which showed `there` at a time between `before` and `after`."""
    return max(0.0, there - after, before - there)


def _witness() -> Any:
    """Make the actor's class: here, so that it goes to the nodes by value."""

    @ray.remote
    class Witness:
        def facts(self, questions: Questions) -> dict[str, Any]:
            return doctor_facts.gather(questions).to_dict()

        def clock(self) -> float:
            return time.time()

        def asks_for_token(self) -> bool:
            return asks_for_token()

    return Witness


def _ray_node(node: Mapping[str, Any], skew: float = 0.0, token_auth: bool | None = None) -> RayNode:
    is_head = HEAD in node["Resources"]
    name = f"{node['NodeManagerAddress']}{' (head)' if is_head else ''}"
    ports = [node["MetricsExportPort"], *(HEAD_METRICS if is_head else ())]
    return RayNode(name, float(node["Resources"].get("GPU", 0.0)), skew, token_auth, [port for port in ports if port])


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return without_secrets(lines[-1])[:300] if lines else type(error).__name__


def schema_problem(config: Mapping[str, Any]) -> str:
    """Return what Ray itself finds wrong with a cluster file's content, in a line; "" where it accepts it."""
    import jsonschema  # Ray's own checks raise its errors

    try:
        check_cluster_schema(config)
    except jsonschema.ValidationError as error:
        place = ".".join(map(str, error.absolute_path))
        return f"{place or 'the file'}: {error.message[:300]}"
    except (ValueError, RuntimeError, KeyError, AssertionError, TypeError) as error:
        return _first_line(error)
    except SystemExit as error:  # so the launcher gives up
        return f"Ray's launcher gives up on it: {error}"
    return ""
