"""What a cluster may grow to: the workers that its autoscaler may start, as `ray up` wrote them down on the head.

    for resources in may_start(): resources.get("GPU", 0)

A cluster that starts from zero has no GPU yet when a sweep begins, and gets them only when a trial asks for one: so
what a trial may take is reckoned from what can come (`sweep.scheduling.cluster`). Ray 2.60 itself does not say: its
record of node types (`get_max_resources_from_cluster_config`) is filled on Kubernetes only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sweep.grids.yaml_file import YamlFileError, read_yaml

BOOTSTRAP: Final = Path("~/ray_bootstrap_config.yaml")
"""The cluster file with all defaults filled in; `ray up` puts it there, and Ray's autoscaler reads it."""


def may_start(path: Path = BOOTSTRAP) -> list[Mapping[str, float]]:
    """Resources of each worker that there may be at the same time, those with most GPUs first; none without the file.

    Each type may come up to its own max_workers, and all together up to the file's.
    """
    try:
        content = read_yaml(path.expanduser(), "Ray's bootstrap configuration")
    except (OSError, YamlFileError):
        return []
    if not isinstance(content, Mapping):
        return []
    workers: list[Mapping[str, float]] = []
    for name, node_type in _types(content.get("available_node_types")).items():
        if name != content.get("head_node_type"):
            workers += [node_type.get("resources") or {}] * int(node_type.get("max_workers") or 0)
    workers.sort(key=lambda resources: (resources.get("GPU", 0), resources.get("CPU", 0)), reverse=True)
    return workers[: int(content.get("max_workers") or 0)]


def _types(section: Any) -> dict[str, Mapping[str, Any]]:
    types = section if isinstance(section, Mapping) else {}
    return {str(name): value for name, value in types.items() if isinstance(value, Mapping)}
