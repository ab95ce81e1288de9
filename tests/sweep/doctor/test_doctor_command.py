"""The doctor's command line: on this machine, with a real S3 API, and on a real Ray cluster of two nodes.

Whether a node answers for itself, with the project that it has, only Ray's workers on two nodes show.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from rich.console import Console

from galaxytl.data.convert import ConvertOptions, convert
from sweep.doctor import __main__
from sweep.doctor.checks import Finding
from sweep.doctor.nodes import surely_off
from tests.galaxies import make_bucket, s3_server
from tests.sweep.sweeps import ROOT

Line = tuple[str, str, str, str]
"""Where, check, status, and what was found."""


def lines_of(output: str) -> list[Line]:
    found = [re.split(r"\s{2,}", line.strip(), maxsplit=3) for line in output.splitlines()]
    return [(row[0], row[1], row[2], row[3]) for row in found if len(row) == 4 and row[2] in ("OK", "WARN", "FAIL")]


def ask(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, list[Line]]:
    status = __main__.main([str(argument) for argument in arguments])
    return status, lines_of(capsys.readouterr().out)


def failing(lines: list[Line]) -> dict[str, str]:
    return {check: found for _, check, status, found in lines if status == "FAIL"}


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lines are not broken; home and cache are empty."""
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path / "cache"))


@pytest.mark.parametrize("width", [80, 140])
def test_a_table_fits_its_terminal_and_all_its_columns_have_headings(width: int) -> None:
    place = "/a/long/path/of/a/cluster/file/that/is/not/there.yaml"
    found = [Finding("this machine", "disk", "OK", "200 GB free " * 20), Finding(place, "file", "FAIL", "not there")]
    file = io.StringIO()
    Console(file=file, width=width).print(__main__.findings_table(found, width))
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    assert lines[0].split() == ["where", "check", "status", "found"]
    assert place in "".join(line.split(" ")[0] for line in lines[2:])


def test_this_machine(capsys: pytest.CaptureFixture[str], galaxies_file: Path, tmp_path: Path) -> None:
    status, lines = ask(capsys, "--data", galaxies_file, "--out", tmp_path / "results")
    assert (status, failing(lines)) == (0, {})
    found = {check: text for _, check, _, text in lines}
    assert found["dataset"].startswith("40 images, ")
    assert "fingerprint known when the images have been read" in found["dataset"]
    assert not list((tmp_path / "cache").glob("fingerprints/*"))  # it read no image
    assert f"{tmp_path}/results: can be written" in found["results"]
    assert list((tmp_path / "results").iterdir()) == []  # the doctor leaves nothing behind
    assert {where for where, *_ in lines} == {"this machine"}


def test_what_is_wrong_with_this_machine(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALAXYTL_CACHE_GB", "many")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    (tmp_path / ".ray" / "auth_token").chmod(0o644)
    nowhere = [tmp_path / "no.h5", "--storage", tmp_path / "no", "--cluster", tmp_path / "no.yaml"]
    status, lines = ask(capsys, "--data", *nowhere)
    assert status == 1
    assert set(failing(lines)) == {"file", "disk", "dataset", "token", "results"}
    assert f"{tmp_path}/no: it does not exist here" in failing(lines)["results"]
    assert "GALAXYTL_CACHE_GB must be a positive number of gigabytes; got 'many'" in failing(lines)["disk"]
    assert "no.h5 does not exist" in failing(lines)["dataset"]


def test_damaged_weights(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "weights" / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    file.parent.mkdir()
    file.write_bytes(b"half of it")
    status, lines = ask(capsys, "--weights-dir", file.parent)
    assert status == 1
    assert "perhaps truncated" in failing(lines)["weights"]


def test_weights_that_are_missing_where_there_is_no_network(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, lines = ask(capsys, "--weights-dir", tmp_path, "--backbone", "Xception")
    assert (status, set(failing(lines))) == (1, {"weights"})
    assert "no ImageNet weights of Xception, no network: the sweep's command with --fetch" in failing(lines)["weights"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone", "VGG61"], "must be networks of keras.applications, like VGG16,ResNet50,MobileNet; got 'VGG61'"),
        (["--adress", "auto"], "unknown option '--adress'. Did you mean '--address'?"),
        (["--image-size", "0"], "--image-size: must be a whole number from 1 to 4096; got '0'"),
        (["--address", "here"], "must be HOST:PORT of the head node"),
        (["--address", "127.0.0.1:9"], "no Ray cluster answers at 127.0.0.1:9"),
    ],
)
def test_what_cannot_be_asked(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert __main__.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_clock_is_off_by_what_the_way_cannot_explain() -> None:
    assert [surely_off(10.0, answer, 11.0) for answer in (10.5, 15.0, 7.0)] == [0.0, 4.0, 3.0]


# S3


def test_dataset_and_results_on_s3(
    capsys: pytest.CaptureFixture[str], galaxies_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with s3_server() as url:
        own = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        for name, value in own.items():
            monkeypatch.setenv(name, value)
        bucket = make_bucket(url, "doctor-galaxies")
        sent = convert(str(galaxies_file), f"{bucket}/galaxy10/", ConvertOptions(images_per_shard=16))
        status, lines = ask(capsys, "--data", f"{bucket}/galaxy10/", "--storage", f"{bucket}/results")
    assert (status, failing(lines)) == (0, {})
    found = {check: text for _, check, _, text in lines}
    assert found["dataset"] == f"40 images, fingerprint {sent.fingerprint[:12]}"  # from its manifest, without an image
    assert found["results"].startswith("s3://doctor-galaxies/results: can be written")


# Real Ray

TWO_NODES = """
import pathlib, subprocess, sys, tempfile
from sweep.doctor import __main__ as doctor
from sweep.scheduling import cluster, ray_private
ray_private.CODE = pathlib.Path("site-packages")  # where the project is installed, each node has its own
from ray.cluster_utils import Cluster
copy, *arguments = sys.argv[1:]
nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
arguments += ["--address", nodes.address]
try:
    print("ENDS", doctor.main(arguments), flush=True)
    nodes.add_node(num_gpus=1, env_vars={"PYTHONPATH": copy})
    nodes.wait_for_nodes()
    print("ENDS", doctor.main(arguments), flush=True)
    stranger = ["env", "--unset=RAY_AUTH_MODE", "HOME=/nowhere", sys.executable, "-m", "sweep.doctor", *arguments]
    done = subprocess.run(stranger, capture_output=True, text=True)
    print(done.stdout, done.stderr, "ENDS", done.returncode)
finally:
    nodes.shutdown()
"""
"""Asks a cluster of one node, one of two of which the second has another version of the project and a GPU too few, and
that without the token."""


@pytest.mark.rest
@pytest.mark.alone
def test_two_nodes_one_of_which_is_not_fit(tmp_path: Path, galaxies_file: Path) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("a-token-for-this-test-only-0123456789abcdef")
    (tmp_path / ".ray" / "auth_token").chmod(0o600)
    for package in ("galaxytl", "sweep"):
        shutil.copytree(ROOT / package, tmp_path / "copy" / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "copy" / "galaxytl" / "training.py").open("a") as file:
        file.write("\n# of yesterday, as after a forgotten git pull\n")
    question = ["--data", galaxies_file, "--out", tmp_path / "results"]
    command = [sys.executable, "-c", TWO_NODES, str(tmp_path / "copy"), *map(str, question)]
    with tempfile.TemporaryDirectory(prefix="ray-") as temporary:  # a socket's path must be short
        own = {"RAY_AUTH_MODE": "token", "RAY_TMPDIR": temporary, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(  # not in the project's folder: Ray lets workers import from where the driver was called
            command, env=os.environ | own, cwd=tmp_path, capture_output=True, text=True, timeout=540, check=False
        )
    said = done.stdout + done.stderr
    (fit, first), (unfit, second), (refused, third) = re.findall(r"(.*?)ENDS (\d)", done.stdout, re.DOTALL)
    assert (first, second, third) == ("0", "1", "2"), said
    asked = {"versions", "GPUs", "disk", "dataset", "weights", "results", "clock", "token", "dashboard", "metrics"}
    assert {check for where, check, *_ in lines_of(fit) if where.endswith(" (head)")} == asked, said
    assert list((tmp_path / "results").iterdir()) == []
    (versions, gpus) = [line for line in lines_of(unfit) if line[2] == "FAIL"]
    assert versions[0] == gpus[0] != "driver"
    assert not gpus[0].endswith(" (head)")
    assert re.search(r"galaxytl 0\.1\.0, code \w+ \(driver: 0\.1\.0, code \w+\)", versions[3])
    assert gpus[3].startswith("Ray has 1 to give, nvidia-smi lists 0")
    assert "A cluster that asks for a token is reached with RAY_AUTH_MODE=token" in refused
