"""Both cluster files: what stands in them is what was meant, and their commands are shell that runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sweep.doctor.cluster_file import placeholders
from sweep.doctor.nodes import schema_problem
from sweep.grids.yaml_file import read_yaml
from sweep.scheduling.resources import Resources, available_of, cluster_may_grow, resources_per_trial

ROOT = Path(__file__).parent.parent.parent
FILES = ("cluster.yaml", "cluster-onprem.yaml")
COMMANDS = ("setup_commands", "head_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")


def content_of(name: str) -> dict[str, Any]:
    return dict(read_yaml(ROOT / name, "a cluster file"))


def commands_of(name: str) -> list[str]:
    content = content_of(name)
    return [command for key in COMMANDS for command in content.get(key, ())]


@pytest.mark.parametrize(("name", "count"), [("cluster.yaml", 0), ("cluster-onprem.yaml", 3)])
def test_ray_accepts_it_and_little_is_to_be_filled_in(name: str, count: int) -> None:
    assert schema_problem(content_of(name)) == ""
    assert len(list(placeholders(content_of(name)))) == count


def is_shell(command: str) -> bool:
    return not subprocess.run(["bash", "-n", "-c", f"({command}\n)"], capture_output=True, check=False).returncode


def test_commands_are_shell() -> None:
    """What only bash can say."""
    assert [command for name in FILES for command in commands_of(name) if not is_shell(command)] == []
    assert not is_shell("if true; then")


@pytest.mark.parametrize("name", FILES)
def test_every_start_of_ray_asks_for_the_token_and_keeps_the_dashboard_at_home(name: str, tmp_path: Path) -> None:
    """The settings are run as on a node; then each start of Ray, with a `ray` that says what it was given."""
    (tmp_path / "galaxytl/.venv/bin").mkdir(parents=True)
    spy = tmp_path / "galaxytl/.venv/bin/ray"
    spy.write_text('#!/bin/sh\necho "$RAY_AUTH_MODE $GALAXYTL_CACHE_DIR $*"\n')
    spy.chmod(0o755)
    (settings,) = [command for command in commands_of(name) if "env.sh" in command and "printf" in command]
    starts = [command for command in commands_of(name) if "ray start" in command]
    assert len(starts) == 2
    for command in starts:
        environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "RAY_HEAD_IP": "10.0.0.1"}
        shell = ["bash", "-c", f"({settings}\n); ulimit() {{ :; }}; {command}"]
        said = subprocess.run(shell, env=environment, capture_output=True, text=True, check=True).stdout
        mode, cache, *arguments = said.split()
        assert mode == "token"
        assert cache.startswith("/")
        assert "--address=10.0.0.1:6379" in arguments or "--dashboard-host=127.0.0.1" in arguments


@pytest.mark.parametrize("name", FILES)
def test_no_token_stands_in_it_and_what_is_copied_is_there_and_enough_to_install(name: str) -> None:
    mounts = content_of(name)["file_mounts"]
    copied = [local for local in mounts.values() if not local.startswith("~")]
    assert "RAY_AUTH_TOKEN=" not in (ROOT / name).read_text()
    assert mounts["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert all((ROOT / local).exists() for local in copied)
    locks = {"requirements.lock", "requirements-gpu.lock"}
    assert {"galaxytl", "sweep", "analysis", "pyproject.toml", "README.md", "LICENSE"} | locks == set(copied)


# A cluster that starts from zero


def written(tmp_path: Path, **changes: Any) -> Path:
    """As ray up writes it on the head: JSON, which is YAML."""
    path = tmp_path / "ray_bootstrap_config.yaml"
    path.write_text(json.dumps({**content_of("cluster.yaml"), **changes}))
    return path


def test_a_trial_gets_a_gpu_of_a_cluster_that_has_none_yet(tmp_path: Path) -> None:
    workers = cluster_may_grow(written(tmp_path))
    assert workers == [{"CPU": 4, "GPU": 1}] * 4  # of eight that the two types allow, the budget allows four
    available = available_of([{"CPU": 0.0, "node:__internal_head__": 1.0}], workers)
    assert available.nodes == (Resources(0, 0), *[Resources(4, 1)] * 4)
    share = resources_per_trial(available, 6, None, None)
    assert (share.cpus, share.gpus) == (4, 1)
    assert available.room_for(share) == 4


def test_workers_that_are_there_are_not_counted_twice(tmp_path: Path) -> None:
    there = [{"node:__internal_head__": 1.0}, *[{"CPU": 4.0, "GPU": 1.0}] * 2]
    available = available_of(there, cluster_may_grow(written(tmp_path)))
    assert available.nodes == (Resources(0, 0), *[Resources(4, 1)] * 4)


def test_budget_goes_to_gpus_first(tmp_path: Path) -> None:
    types = {
        "cpu": {"resources": {"CPU": 64}, "node_config": {}, "max_workers": 3},
        "gpu": {"resources": {"CPU": 4, "GPU": 1}, "node_config": {}, "max_workers": 2},
    }
    path = written(tmp_path, available_node_types=types, max_workers=3)
    assert cluster_may_grow(path) == [{"CPU": 4, "GPU": 1}] * 2 + [{"CPU": 64}]


def test_no_growth_without_a_readable_file(tmp_path: Path) -> None:
    path = tmp_path / "ray_bootstrap_config.yaml"
    assert cluster_may_grow(path) == []
    for text in ("", "a: [", "just words", "available_node_types: 3"):
        path.write_text(text)
        assert cluster_may_grow(path) == []
