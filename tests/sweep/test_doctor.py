"""The doctor's command line: on this machine, with a real S3 API, and on a real Ray cluster of two nodes."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from galaxytl.data.convert import ConvertOptions, convert
from sweep import doctor
from sweep.doctor_nodes import surely_off
from tests.galaxies import make_bucket, s3_server
from tests.sweep.sweeps import ROOT

Line = tuple[str, str, str, str]
"""Where, check, status, and what was found."""


def lines_of(output: str) -> list[Line]:
    found = [re.split(r"\s{2,}", line.strip(), maxsplit=3) for line in output.splitlines()]
    return [(row[0], row[1], row[2], row[3]) for row in found if len(row) == 4 and row[2] in ("OK", "WARN", "FAIL")]


def ask(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, list[Line]]:
    status = doctor.main([str(argument) for argument in arguments])
    return status, lines_of(capsys.readouterr().out)


def failing(lines: list[Line]) -> dict[str, str]:
    return {check: found for _, check, status, found in lines if status == "FAIL"}


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lines are not broken; home and cache are empty."""
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path / "cache"))


def test_this_machine(capsys: pytest.CaptureFixture[str], galaxies_file: Path, tmp_path: Path) -> None:
    status, lines = ask(capsys, "--data", galaxies_file, "--out", tmp_path / "results")
    assert (status, failing(lines)) == (0, {})
    found = {check: text for _, check, _, text in lines}
    assert found["dataset"].startswith("40 images, ")
    assert f"{tmp_path}/results: can be written" in found["results"]
    assert list((tmp_path / "results").iterdir()) == []  # the doctor leaves nothing behind
    assert {where for where, *_ in lines} == {"this machine"}


def test_opening_reads_no_image(capsys: pytest.CaptureFixture[str], galaxies_file: Path, tmp_path: Path) -> None:
    """The labels say which galaxies these are, where nobody has noted the fingerprint of the images yet."""
    _, lines = ask(capsys, "--data", galaxies_file)
    assert any("fingerprint known when the images have been read" in text for *_, text in lines)
    assert not list((tmp_path / "cache").glob("fingerprints/*"))


def test_what_is_wrong_with_this_machine(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALAXYTL_CACHE_GB", "many")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    (tmp_path / ".ray" / "auth_token").chmod(0o644)
    status, lines = ask(capsys, "--data", tmp_path / "no.h5", "--cluster", tmp_path / "no.yaml")
    assert status == 1
    assert set(failing(lines)) == {"file", "disk", "dataset", "token"}
    assert "GALAXYTL_CACHE_GB must be a positive number of gigabytes; got 'many'" in failing(lines)["disk"]
    assert "no.h5 does not exist" in failing(lines)["dataset"]


def test_damaged_weights(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "weights" / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    file.parent.mkdir()
    file.write_bytes(b"half of it")
    status, lines = ask(capsys, "--weights-dir", file.parent)
    assert status == 1
    assert "perhaps truncated" in failing(lines)["weights"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--adress", "auto"], "unknown option '--adress'. Did you mean '--address'?"),
        (["--image-size", "0"], "--image-size must be 1 to 4096 pixels; got 0"),
        (["--address", "here"], "must be HOST:PORT of the head node"),
        (["--address", "127.0.0.1:9"], "no Ray cluster answers at 127.0.0.1:9"),
    ],
)
def test_what_cannot_be_asked(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert doctor.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_clock_is_off_by_what_the_way_cannot_explain() -> None:
    assert surely_off(10.0, 10.5, 11.0) == 0.0
    assert surely_off(10.0, 15.0, 11.0) == 4.0
    assert surely_off(10.0, 7.0, 11.0) == 3.0


# S3


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    return endpoint


def test_dataset_and_results_on_s3(capsys: pytest.CaptureFixture[str], s3: str, galaxies_file: Path) -> None:
    bucket = make_bucket(s3, "doctor-galaxies")
    sent = convert(str(galaxies_file), f"{bucket}/galaxy10/", ConvertOptions(images_per_shard=16))
    status, lines = ask(capsys, "--data", f"{bucket}/galaxy10/", "--storage", f"{bucket}/results")
    assert (status, failing(lines)) == (0, {})
    found = {check: text for _, check, _, text in lines}
    assert found["dataset"] == f"40 images, fingerprint {sent.fingerprint[:12]}"  # from its manifest, without an image
    assert found["results"].startswith("s3://doctor-galaxies/results: can be written")


def test_s3_without_permission(capsys: pytest.CaptureFixture[str], s3: str) -> None:
    def ask_for_keys_after(requests: int) -> None:
        plain = {"Content-Type": "text/plain"}
        address, body = f"{s3}/moto-api/reset-auth", str(requests).encode()
        urllib.request.urlopen(urllib.request.Request(address, body, plain, method="POST")).close()

    bucket = make_bucket(s3, "doctor-refused")
    ask_for_keys_after(0)
    try:
        status, lines = ask(capsys, "--data", f"{bucket}/galaxy10/", "--storage", f"{bucket}/results")
    finally:
        ask_for_keys_after(10**9)
    assert status == 1
    for check in ("dataset", "results"):
        assert "access must be allowed; doctor-refused refuses it" in failing(lines)[check]


def test_s3_where_nobody_listens(capsys: pytest.CaptureFixture[str], s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    status, lines = ask(capsys, "--data", "s3://galaxies/galaxy10/")
    assert status == 1
    assert "the server must answer; 127.0.0.1:9 does not" in failing(lines)["dataset"]


# Real Ray


@contextlib.contextmanager
def ray_started(environment: dict[str, str], log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A node's Ray in the foreground, in a session of its own: `ray stop` would end every Ray of this machine."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *arguments]
    with log.open("wb") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said, start_new_session=True)
        try:
            yield process
        finally:
            process.terminate()  # it ends the processes that it has started
            process.wait(timeout=120)


def node_environment(folder: Path, project: Path = ROOT) -> dict[str, str]:
    home = folder / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("a-token-for-this-test-only-0123456789abcdef")
    (home / ".ray" / "auth_token").chmod(0o600)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    return kept | {
        "HOME": str(home),
        "PYTHONPATH": str(project),
        "RAY_AUTH_MODE": "token",
        "GALAXYTL_CACHE_DIR": str(folder / "cache"),
        "COLUMNS": "1000",
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def diagnose(environment: dict[str, str], *arguments: str | Path) -> tuple[int, list[Line], str]:
    """From another folder than the project's: Ray lets workers import from where the driver was called."""
    command = [sys.executable, "-m", "sweep.doctor", *map(str, arguments)]
    done = subprocess.run(
        command, env=environment, cwd=environment["HOME"], capture_output=True, text=True, timeout=400, check=False
    )
    return done.returncode, lines_of(done.stdout), done.stdout + done.stderr


def wait_for_nodes(count: int, address: str, environment: dict[str, str], process: subprocess.Popen[bytes]) -> None:
    """Until so many nodes are alive, as long as the Ray that was started last lives."""
    program = f"import ray; ray.init('{address}', logging_level='ERROR'); print(sum(n['Alive'] for n in ray.nodes()))"
    command = [sys.executable, "-c", program]
    said = ""
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
            said = done.stdout + done.stderr
            if done.returncode == 0 and done.stdout.split()[-1:] == [str(count)]:
                return
        time.sleep(1)
    raise AssertionError(f"Ray ended with {process.returncode} before there were {count} nodes; last answer: {said}")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_nodes_one_of_which_is_not_fit(tmp_path: Path, galaxies_file: Path) -> None:
    environment = node_environment(tmp_path / "head")
    port = free_port()
    address = f"127.0.0.1:{port}"
    question = ["--address", address, "--data", galaxies_file, "--out", tmp_path / "results"]
    head = ["--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false"]
    with ray_started(environment, tmp_path / "head.log", *head) as process:
        wait_for_nodes(1, address, environment, process)
        status, lines, said = diagnose(environment, *question)
        assert (status, failing(lines)) == (0, {}), said
        asked = {"versions", "GPUs", "disk", "dataset", "weights", "results", "clock", "token", "dashboard", "metrics"}
        assert {check for where, check, *_ in lines if where.endswith(" (head)")} == asked, said
        assert list((tmp_path / "results").iterdir()) == []

        other = node_environment(tmp_path / "other", copied_project(tmp_path / "copy"))
        with ray_started(other, tmp_path / "other.log", f"--address={address}", "--num-gpus=1") as second:
            wait_for_nodes(2, address, environment, second)
            status, lines, said = diagnose(environment, *question)
        assert status == 1, said
        unfit = failing([line for line in lines if line[0] != "driver" and not line[0].endswith(" (head)")])
        assert len([line for line in lines if line[2] == "FAIL"]) == len(unfit), said
        assert set(unfit) == {"versions", "GPUs"}, said
        assert re.search(r"galaxytl 0\.1\.0, code \w+ \(driver: 0\.1\.0, code \w+\)", unfit["versions"])
        assert unfit["GPUs"].startswith("Ray has 1 to give, nvidia-smi lists 0")

        stranger = {name: value for name, value in environment.items() if name != "RAY_AUTH_MODE"}
        stranger["HOME"] = str(tmp_path)  # no token there
        status, _, said = diagnose(stranger, *question)
        assert status == 2, said
        assert "A cluster that asks for a token is reached with RAY_AUTH_MODE=token" in said


def copied_project(folder: Path) -> Path:
    """The project with one file changed, as after a forgotten git pull."""
    for package in ("galaxytl", "sweep"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "galaxytl" / "metrics.py").open("a") as file:
        file.write("\n# of yesterday\n")
    return folder
