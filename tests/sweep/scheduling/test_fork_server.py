"""The server that Ray's workers are forked from: real processes, with a framework and a worker of the test's own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep.scheduling import cluster, fork_server
from sweep.scheduling.fork_server import SOCKET, Request, request_of

PROGRAM = str(fork_server.__file__)
WORKER = """
import json, os, sys
import framework_of_the_test
of_process = [framework_of_the_test.pid, os.getppid(), os.getpgrp() == os.getpid()]
print(json.dumps([*of_process, sys.argv, sys.path[0], os.getcwd(), os.environ.get("OWN")]), flush=True)
sys.stdin.read()
sys.exit(3)
"""
SETUP = "import sys; print(['set up', *sys.argv[1:]])"
LOADS = """
import os, sys, types
def load():
    sys.modules["framework_of_the_test"] = types.SimpleNamespace(pid=os.getpid())
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A folder with a package of `galaxytl`'s names which loads nothing, and with what Ray starts a worker by."""
    for name in (fork_server.FRAMEWORK, *fork_server.AT_WORK):
        path = (tmp_path / "code").joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        for package in path.relative_to(tmp_path / "code").parents[:-1]:
            (tmp_path / "code" / package / "__init__.py").touch()
        path.write_text(LOADS if name == fork_server.FRAMEWORK else "")
    (tmp_path / "default_worker.py").write_text(WORKER)
    (tmp_path / "setup_worker.py").write_text(SETUP)
    return tmp_path / "code"


@pytest.fixture
def variables(code: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    with fork_server.fork_server(tmp_path, code, tmp_path / "log") as found:
        yield {**os.environ, **found}


def words(folder: Path, context: object) -> list[str]:
    """Return what Ray starts a worker with."""
    told = f"{fork_server.OF_RAYS_SETUP}{json.dumps(context)}"
    return [str(folder / "default_worker.py"), "--id=7", told, "--language=PYTHON"]


def started(folder: Path, variables: dict[str, str], context: object) -> subprocess.Popen[str]:
    """Start a worker as Ray does."""
    pipe = subprocess.PIPE
    command = [sys.executable, PROGRAM, *words(folder, context)]
    return subprocess.Popen(command, cwd=folder, env=variables, stdin=pipe, stdout=pipe, text=True)


def test_a_worker_whose_raylet_has_ended_is_not_started(code: Path, tmp_path: Path) -> None:
    """Its driver was killed, and the server with it."""
    path = str(tmp_path / fork_server.SOCKET_FILE)
    raylet = ["sh", "-c", '"$@" & wait', "sh", sys.executable, PROGRAM, *words(tmp_path, {})]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        process = subprocess.Popen(raylet, env={**os.environ, SOCKET: path}, stdout=subprocess.PIPE, text=True)
        connection, _ = listener.accept()
        process.kill()
        process.wait()
        connection.close()
        assert process.communicate()[0] == ""


def test_workers_are_forks_of_one_process_that_has_loaded_the_framework(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    """Each is what it would be as a process of its own, lives as long as what Ray has started, and ends by itself."""
    workers = [started(tmp_path, variables, {"env_vars": {"OWN": own}}) for own in "ab"]
    for own, worker in zip("ab", workers, strict=True):
        assert worker.stdout
        server, parent, *rest = json.loads(worker.stdout.readline())
        assert parent == server != os.getpid()
        assert rest == [True, [str(tmp_path / "default_worker.py"), "--id=7"], str(tmp_path), str(tmp_path), own]
        assert worker.poll() is None
        worker.communicate(timeout=20)
        assert worker.returncode == 0
    assert not (tmp_path / "log").exists()


def test_what_is_no_fork_becomes_what_ray_would_have_started(tmp_path: Path, variables: dict[str, str]) -> None:
    """Where a worker wants more than a fork, and where no server is left."""
    wants_more = {"py_executable": "conda run python"}
    gone = {**variables, SOCKET: str(tmp_path / "gone")}
    for context, environment in ((wants_more, variables), ({}, gone)):
        output, _ = started(tmp_path, environment, context).communicate(timeout=20)
        assert output == f"{['set up', *words(tmp_path, context)]}\n"


def test_a_worker_ends_with_what_ray_has_started(tmp_path: Path, variables: dict[str, str]) -> None:
    """Ray kills that, where it knows of no other process yet."""
    worker = started(tmp_path, variables, {})
    assert worker.stdout
    assert worker.stdout.readline()
    worker.kill()
    assert worker.stdout.read() == ""  # the worker has the file open as long as it lives
    worker.communicate()


def test_a_framework_that_cannot_be_imported_is_in_the_log_and_workers_do_without_a_server(
    tmp_path: Path, code: Path
) -> None:
    (code / "pandas.py").write_text("import no_such_package")
    with fork_server.fork_server(tmp_path, code, tmp_path / "log") as found:
        output = started(tmp_path, {**os.environ, **found}, {}).communicate(timeout=20)[0]
    assert output.startswith("['set up'")
    assert "No module named 'no_such_package'" in (tmp_path / "log").read_text()


def test_the_server_ends_with_its_driver(tmp_path: Path, code: Path) -> None:
    """However that ends: here it is killed."""
    driver = f"""
import os, signal, subprocess, sys
from pathlib import Path
from sweep.scheduling import cluster, fork_server
start = subprocess.Popen
subprocess.Popen = lambda *given, **named: found.append(start(*given, **named)) or found[0]
found = []
with fork_server.fork_server(*map(Path, {[str(tmp_path), str(code), str(tmp_path / "log")]})):
    print(found[0].pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", driver], stdout=subprocess.PIPE, text=True, check=False)
    ends = time.monotonic() + 20
    while Path(f"/proc/{int(done.stdout)}").exists():
        assert time.monotonic() < ends
        time.sleep(0.05)


ENVIRONMENT = {"HOME": "/home/ada"}
USUAL: dict[str, Any] = {
    "command_prefix": [],
    "env_vars": {"PL_DISABLE_FORK": "1"},
    "py_executable": sys.executable,
    "override_worker_entrypoint": None,
    "java_jars": [],
}


@pytest.mark.parametrize(
    ("change", "forks"),
    [
        ({}, True),
        ({"env_vars": {}}, True),
        ({"env_vars": {"PATH": "/opt:$PATH"}}, False),
        ({"py_executable": "/usr/bin/python2"}, False),
        ({"command_prefix": ["nice"]}, False),
        ({"override_worker_entrypoint": "/w.py"}, False),
    ],
)
def test_what_ray_asks_for_with_a_worker(change: dict[str, Any], forks: bool) -> None:
    context = {**USUAL, **change}
    wanted = Request(("/default_worker.py", "--id=7"), {**ENVIRONMENT, **context["env_vars"]}, os.getcwd())
    assert request_of(words(Path("/"), context), ENVIRONMENT) == (wanted if forks else None)
    assert request_of(wanted.arguments, ENVIRONMENT) == Request(wanted.arguments, ENVIRONMENT, os.getcwd())


def test_a_worker_in_another_language_is_rays() -> None:
    assert request_of(["--ray_raylet_pid=7", "--language=CPP"], ENVIRONMENT) is None


@pytest.mark.parametrize("gpus", [0, 1])
def test_a_cluster_of_this_machine_has_a_server_where_there_is_no_gpu(
    gpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in cluster.KEEP_MEMORY:
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(cluster, "driver_gpus", lambda: gpus)
    with cluster._local(tmp_path / "log") as settings:
        assert (SOCKET in os.environ) == (gpus == 0)
        private = Path(settings["_temp_dir"]).parent
        assert [path.name for path in private.iterdir()] == ([] if gpus else ["fork"])
    assert SOCKET not in os.environ
    assert not private.exists()
