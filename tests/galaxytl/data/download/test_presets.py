"""Datasets by name, from servers on loopback: untried against Zenodo and Hugging Face themselves."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import h5py
import numpy as np
import pytest

from galaxytl.data import DataError, galaxy10_sdss, open_dataset
from galaxytl.data.__main__ import main
from galaxytl.data.download import presets
from galaxytl.system.console import Console
from galaxytl.trial.reading import AS_FOUND, Reading
from sweep.command_line import parse
from sweep.prepare import with_data
from tests.fileserver import FileServer, Listener


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and an empty working folder beside it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # another test's, who read it first
    monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)  # else its thread stays for ever
    return tmp_path / "cache"


def hub(server: FileServer, revisions: dict[str, dict[str, bytes]]) -> None:
    """Put a dataset o/n on the server: revision -> files."""
    for number, (revision, content) in enumerate(revisions.items()):
        sha, place = f"{number}" * 40, "/api/datasets/o/n"
        tree = [{"type": "file", "path": n, "size": len(c), "oid": "0" * 40} for n, c in content.items()]
        name = revision.replace("/", "%2F")
        server.files[f"{place}/revision/{name}"] = json.dumps({"id": "o/n", "sha": sha, "siblings": []}).encode()
        for known in (name, sha):
            server.files[f"{place}/tree/{known}?recursive=true&expand=false"] = json.dumps(tree).encode()
        for path, data in content.items():
            file = f"/datasets/o/n/resolve/{sha}/{quote(path)}"
            server.files[file] = data
            etag = hashlib.sha1(data).hexdigest()
            server.headers[file] = {"ETag": f'"{etag}"', "X-Repo-Commit": sha}


PICTURES = ("data/a/1 [x].jpg", "data/b/2.png", "data/b/notes.txt")
CATALOGUE = ("x/train/metadata.parquet", "x/train/2.png", "y/train/2.png")
NOTHING_CONVERTED: dict[str, dict[str, bytes]] = {"refs/convert/parquet": {}}


def fetched(cache: Path) -> list[str]:
    folder = cache / "datasets"
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("revisions", "name", "wanted"),
    [
        (
            {"main": {"README.md": b"#", "data/train-0.parquet": b"1", "data/test-0.parquet": b"2"}},
            "o/n",
            ["o--n/data/test-0.parquet", "o--n/data/train-0.parquet"],
        ),
        (
            {"main": {"a.jpg": b"0"}, "refs/convert/parquet": {"x/test/0.parquet": b"1", "y/test/0.parquet": b"2"}},
            "o/n:y",
            ["o--n--y/y/test/0.parquet"],
        ),
        (
            {"main": {"README.md": b"#", **dict.fromkeys(PICTURES, b"1")}, **NOTHING_CONVERTED},
            "o/n",
            ["o--n/a/1 [x].jpg", "o--n/b/2.png"],
        ),
        (
            {"main": dict.fromkeys(CATALOGUE, b"1"), **NOTHING_CONVERTED},
            "o/n:x",
            ["o--n--x/train/2.png", "o--n--x/train/metadata.parquet"],
        ),
    ],
)
def test_a_dataset_of_the_hub_is_fetched_once(
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    revisions: dict[str, dict[str, bytes]],
    name: str,
    wanted: list[str],
) -> None:
    listener = Listener()
    with FileServer({}) as server:
        hub(server, revisions)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        for _ in range(2):
            uri, reading = presets.located(name, AS_FOUND, listener)
            asked = len(server.requests)
            assert (uri, reading) == (str(cache / "datasets" / wanted[0].split("/")[0]), AS_FOUND)
    assert fetched(cache) == wanted
    assert presets.located(name, AS_FOUND, listener)[0] == uri  # without any server
    assert len(server.requests) == asked
    assert len(listener.said) == 2


def test_galaxy10_sdss_is_fetched_and_named(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "Galaxy10.h5", "w") as file:
        file["images"] = np.random.default_rng(0).integers(0, 255, (30, 69, 69, 3), np.uint8)
        file["ans"] = np.arange(30, dtype=np.uint8) % 10
    content = (tmp_path / "Galaxy10.h5").read_bytes()
    with FileServer({"/Galaxy10.h5": content}) as server:
        remote = replace(presets.SDSS, url=f"{server.url}/Galaxy10.h5", sha256=hashlib.sha256(content).hexdigest())
        preset = replace(presets.PRESETS["galaxy10-sdss"], remote=remote)
        monkeypatch.setitem(presets.PRESETS, "galaxy10-sdss", preset)
        assert main(["fetch", "galaxy10-sdss"]) == 0
        assert "Next: python -m galaxytl.data check galaxy10-sdss" in capfd.readouterr().out
        options = with_data(parse(["--data", "galaxy10-sdss"], ""), Console())
    assert options.data == str(cache / "datasets" / "Galaxy10_SDSS.h5")
    assert len(server.requests) == 1
    dataset = open_dataset(options.data, reading=options.reading)
    assert dataset.class_names == galaxy10_sdss.CLASS_NAMES
    with FileServer({"/Galaxy10.h5": content}) as server:
        remote = replace(presets.SDSS, url=f"{server.url}/Galaxy10.h5", sha256=hashlib.sha256(content).hexdigest())
        monkeypatch.setitem(presets.PRESETS, "galaxy10-sdss", replace(preset, remote=remote))
        there = str(tmp_path / "shared" / "Galaxy10_SDSS.h5")  # a path under the published name, where nothing lies yet
        for _ in range(2):
            assert presets.fetched(there, Reading(), Listener()) == (there, Reading())
        assert presets.fetched("galaxy10-sdss", Reading(), Listener())[0] == options.data
    assert len(server.requests) == 1
    own = Reading(class_names=tuple("abcdefghij"))
    assert presets.located("galaxy10-sdss", own, Listener())[1] == own
    assert main(["check", "galaxy10-sdss"]) in (0, 1)
    assert "Disk, Face-on, Loose Spiral" in capfd.readouterr().out


def test_what_is_no_name(cache: Path) -> None:
    Path("mine/galaxies").mkdir(parents=True)
    Path("galaxy10").mkdir()
    paths = (
        "galaxy10",
        "mine/galaxies",
        "mine/typo",
        "other/typo.h5",
        "simulated:30",
        "s3://a/b",
        "/a/b",
        "a/b/c",
        "a/",
    )
    assert [path for path in paths if presets.is_name(path)] == []
    assert presets.located("galaxy10", AS_FOUND, Listener()) == ("galaxy10", AS_FOUND)


@pytest.mark.parametrize(
    ("files", "config", "message"),
    [
        (["x/train/0.parquet", "y/train/0.parquet"], "", "o/n holds several datasets: name one, like o/n:x; got x, y"),
        (["x/partial-train/0.parquet"], "x", "too large for the hub to have converted all of it"),
    ],
)
def test_a_listing_of_which_one_must_be_chosen(files: Sequence[str], config: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        presets.parquet_files("o/n", files, config)
    assert presets.parquet_files("o/n", ["train/0.parquet", "test/0.parquet", "../0.parquet"], "") == [
        "train/0.parquet",
        "test/0.parquet",
    ]


@pytest.mark.parametrize(
    ("files", "config", "top"),
    [
        (["train/a/1.png", "test/b/1.png"], "", "."),
        (["train/a/1.png", "train/b/1.png", "train/metadata.csv"], "", "."),
        (["deep/down/train/a/1.png", "deep/down/train/b/1.PNG"], "", "deep/down"),
        (["a/1.png", "b/1.png", "README.md"], "", "."),
        (["a/1.png"], "", "."),  # of one class: whoever reads it says so
        (["x/a/1.png", "x/b/1.png", "y/a/1.png"], "x", "x"),
        (["logo.png", "README.md"], "", None),
        (["../a/1.png"], "", None),
        (["x/a/1.png"], "y", None),
    ],
)
def test_where_pictures_of_the_hub_lie(files: Sequence[str], config: str, top: str | None) -> None:
    found, patterns = presets.imagefolder(files, config)
    assert (found if patterns else None) == top


def test_the_hub_without_a_network_a_name_or_its_library(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with FileServer({}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert main(["check", "o/n"]) == 2
        hub(server, {"main": {"a.txt": b""}, "refs/convert/parquet": {}})
        assert main(["fetch", "o/n:b"]) == 2
    said = capfd.readouterr().err
    assert "'o/n' is no file or folder here, and cannot be had from Hugging Face: " in said
    assert "galaxytl.data fetch o/n --out FOLDER, and copy that folder here" in said
    assert "o/n:b must hold Parquet files, or pictures in a folder a class or beside a metadata.csv" in said
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(["fetch", "o/n"]) == 2
    assert main(["fetch", "galaxy11"]) == 2
    assert main(["fetch", "o/n", "--source", "zenodo"]) == 2
    said = capfd.readouterr().err
    assert "pip install 'galaxytl[hub]'" in said
    assert "fetch takes galaxy10, galaxy10-sdss, or owner/name[:config] of Hugging Face; got 'galaxy11'" in said
    assert "--url, --sha256 and --source do not go with a name" in said
    assert fetched(cache) == []
