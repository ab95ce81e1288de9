"""Whether the nodes of a cluster have the driver's project and packages: a trial's result may depend on them.

check_nodes()                     # at the start, on the connected cluster
refusal(versions)                 # in a worker, of a node that came later
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping
from typing import Final

from sweep.doctor import facts
from sweep.doctor.checks import SAME_PROJECT, differences
from sweep.scheduling.cluster import ClusterError  # before ray: it sets what ray reads at its import

import ray  # isort: skip
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # isort: skip

NODE_SECONDS: Final = 60
"""How long the nodes may take to answer. Of one that does not, its first worker will say (`refusal`)."""


def check_nodes() -> None:
    """Raises ClusterError where a node has another version than this process has."""
    ray.cloudpickle.register_pickle_by_value(facts)  # a node may have another version of it, or none
    try:
        ask = ray.remote(num_cpus=0, max_retries=0)(facts.versions)
        nodes = [node for node in ray.nodes() if node["Alive"]]
        pinned = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
        asked = [ask.options(scheduling_strategy=strategy).remote() for strategy in pinned]
    finally:
        ray.cloudpickle.unregister_pickle_by_value(facts)
    answered, _ = ray.wait(asked, num_returns=len(asked), timeout=NODE_SECONDS)
    for node, answer in zip(nodes, asked, strict=True):
        if answer in answered:
            _check(node["NodeManagerAddress"], answer)


def _check(where: str, answer: ray.ObjectRef) -> None:
    try:
        theirs = ray.get(answer)
    except ray.exceptions.RayError:
        return  # it dies, or its Python cannot read the question: trials there would fail, and say so
    if text := _refusal(where, own_versions(), theirs):
        raise ClusterError(text)


@functools.cache
def own_versions() -> Mapping[str, str]:
    """As this process began."""
    return facts.versions()


def refusal(driver: Mapping[str, str]) -> str:
    """Why this process must not train for a driver with these versions; "" where it may."""
    return _refusal(platform.node(), driver, own_versions())


def _refusal(where: str, driver: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    found = "; ".join(differences(driver, theirs))
    return f"every node must have what the driver has; {where} has {found}: {SAME_PROJECT}" if found else ""
