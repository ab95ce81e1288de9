"""KubeRay's, SkyPilot's and the containers' files: their fields are known, their commands are shell, and they install
what `make install` does. None of them was ever brought up: what is shown here is all that is known."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sweep.command_line import parse
from sweep.doctor.cluster_file import placeholders
from sweep.scheduling.resources import cluster_may_grow
from tests.cluster.test_files import is_shell

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((Path(__file__).parent / "kuberay_schema.json").read_text())
CODE = {"galaxytl", "sweep", "analysis", "pyproject.toml", "README.md", "LICENSE"}
LOCKS = {"requirements.lock", "requirements-gpu.lock"}


def is_accepted(job: Any) -> bool:
    try:
        jsonschema.validate(job, SCHEMA)
    except jsonschema.ValidationError:
        return False
    return True


def asked_for(command: str) -> Any:
    """Return the options that a `python -m sweep.run ...` gives."""
    *python, module = shlex.split(command)[:3]
    assert (python, module) == (["python", "-m"], "sweep.run")
    return parse(shlex.split(command)[3:], "")


# KubeRay


@pytest.fixture
def documents() -> tuple[dict[str, Any], dict[str, Any]]:
    job, workers = yaml.safe_load_all((ROOT / "cluster-kuberay.yaml").read_text())
    return job, workers


def test_the_job_has_fields_of_kuberay_alone_and_asks_for_a_token(documents: tuple[Any, Any]) -> None:
    job, _ = documents
    assert is_accepted(job)
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert f"\nray=={cluster['rayVersion']} " in (ROOT / "requirements.lock").read_text()
    assert len(list(placeholders(job))) == 3  # bucket, and the image of both kinds of pods
    asked = asked_for(job["spec"]["entrypoint"])
    assert (asked.where.address, asked.place) == ("auto", "s3://CHANGE-ME/sweeps/paper")
    cluster["enableInTreeAutoScaling"] = True
    assert not is_accepted(job)


def test_the_sweep_is_told_of_the_workers_that_may_come(documents: tuple[Any, Any], tmp_path: Path) -> None:
    job, workers = documents
    ((name, text),) = workers["data"].items()
    (tmp_path / name).write_text(text)
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    has = {
        "CPU": int(container["resources"]["limits"]["cpu"]),
        "GPU": container["resources"]["limits"]["nvidia.com/gpu"],
    }
    assert cluster_may_grow(tmp_path / name) == [has] * group["maxReplicas"]
    pod = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    mounted = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounted["workers"] == f"/home/galaxytl/{name}"
    assert pod["volumes"][-1]["configMap"]["name"] == workers["metadata"]["name"]


# SkyPilot


def test_skypilot_parses_it() -> None:
    sky = pytest.importorskip("sky", reason="no SkyPilot: pip install skypilot in an environment of its own, with this")
    content = yaml.safe_load((ROOT / "cluster-sky.yaml").read_text())
    task = sky.Task.from_yaml_config(content, [("BUCKET", "s3://b")])
    assert (task.num_nodes, task.envs["SWEEP"]) == (2, "--grid paper")
    with pytest.raises(ValueError, match="BUCKET"):
        sky.Task.from_yaml_config(content)


def said_by_node(rank: int, folder: Path) -> list[str]:
    """Return what one of two nodes does, where `ray` and `python` say what they are given."""
    tools = folder / ".venv" / "bin"
    tools.mkdir(parents=True)
    (tools / "ray").write_text(
        '#!/bin/sh\necho "$RAY_AUTH_MODE ray $*"\n[ "$1" = list ] && printf \'"node_id"\\n"node_id"\\n\'; exit 0\n'
    )
    (tools / "python").write_text('#!/bin/sh\necho "python $*"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    content = yaml.safe_load((ROOT / "cluster-sky.yaml").read_text())
    node = {"SKYPILOT_NODE_RANK": str(rank), "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NUM_NODES": "2"}
    given = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "BUCKET": "s3://b", "SWEEP": content["envs"]["SWEEP"]}
    shell = ["bash", "-c", f"ulimit() {{ :; }}; {content['run']}"]
    done = subprocess.run(shell, env=node | given, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def test_the_head_waits_for_all_and_sweeps_and_another_joins_it(tmp_path: Path) -> None:
    started, doctor, sweep = said_by_node(0, tmp_path / "head")
    assert started.startswith(
        "token ray start --head --node-ip-address=10.0.0.1 --port=6379 --dashboard-host=127.0.0.1"
    )
    assert doctor.startswith("python -m sweep.doctor --address 10.0.0.1:6379")
    assert asked_for(sweep).place == "s3://b/sweeps/paper"
    (joined,) = said_by_node(1, tmp_path / "other")
    assert joined.startswith("token ray start --address=10.0.0.1:6379")
    content = yaml.safe_load((ROOT / "cluster-sky.yaml").read_text())
    assert content["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    assert content["envs"]["BUCKET"] is None
    assert is_shell(content["setup"])


# Containers


def docker_instructions() -> Iterator[tuple[str, str]]:
    text = re.sub(r"^#.*\n|\\\n", "", (ROOT / "containers" / "Dockerfile").read_text(), flags=re.MULTILINE)
    for line in filter(None, text.splitlines()):
        name, _, value = line.partition(" ")
        yield name, value.strip()


def apptainer_sections() -> dict[str, list[str]]:
    parts = re.split(r"^%(\w+)\n", (ROOT / "containers" / "galaxytl.def").read_text(), flags=re.MULTILINE)
    return {name: text.splitlines() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_both_containers_copy_what_is_there_and_install_it_by_the_locks() -> None:
    docker, apptainer = list(docker_instructions()), apptainer_sections()
    copied = {file for name, value in docker if name == "COPY" for file in value.split()[:-1]}
    listed = {line.split()[0] for line in apptainer["files"] if line.strip()}
    assert copied == listed == CODE | LOCKS
    assert all((ROOT / file).exists() for file in copied)
    commands = [value for name, value in docker if name == "RUN"]
    post = "\n".join(apptainer["post"])
    assert [text for text in (*commands, post) if not is_shell(text)] == []
    for text in ("\n".join(commands), post):
        for lock in LOCKS:
            assert re.search(rf"--require-hashes --only-binary :all: --requirement {re.escape(lock)}", text), lock
        assert "--no-deps --no-build-isolation --editable ." in text
    assert {name for name, _ in docker} == {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "ENV", "USER"}
