"""What strangers write takes no memory, starts no program, and neither reads nor writes outside itself."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from galaxytl.data import DataError, open_dataset, sky
from galaxytl.data.convert import convert
from galaxytl.system.cache import built_once
from tests import bombs
from tests.galaxies import LABELS, make_images, write_hdf5, write_parquet

ROOT = Path(__file__).parents[2]
MOST_MB = 500
"""More than before, for any of the files."""

READER = """
import sys, time
from pathlib import Path
from galaxytl.results.thumbnails import read_thumbnails
from galaxytl.results.checkpoints import load_checkpoint, num_epochs
from galaxytl.system.cache import cache_dir
from galaxytl.data.dataset import open_source
from galaxytl.networks.weights import find_weights

def dataset(path):
    for batch in open_source(str(path), cache_dir()).source.batches():
        pass

def read(path):
    if path.name.endswith(".npz"):
        assert not num_epochs(path.read_bytes()) and not load_checkpoint(path, {"history": (1,)})[1]
        raise ValueError("damaged")
    if "mobilenet" in path.name:
        find_weights("MobileNet", path.parent, download=False)
    elif (path / "thumbnails.parquet").exists():
        read_thumbnails(path).pictures([0])
    else:
        dataset(path)

def megabytes(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1]) // 1024

read(Path(sys.argv[1]))
for path in map(Path, sys.argv[2:]):
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = megabytes("VmRSS")
    started = time.monotonic()
    try:
        read(path)
        end = "READ"
    except ValueError as error:
        end = f"{type(error).__name__}: {str(error)[:300]!r}"
    taken, seconds = megabytes("VmHWM") - before, time.monotonic() - started
    print(f"{path.parent.name}/{path.name}|{taken}|{seconds:.1f}|{end}", flush=True)
"""


def read_by_another(sound: Path, files: list[Path], **environment: str) -> dict[str, tuple[int, float, str]]:
    """File -> MB that a process had taken at most after it, seconds, and how reading it ended."""
    done = subprocess.run(
        [sys.executable, "-c", READER, sound, *files],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split("|", 3) for line in done.stdout.splitlines() if line.count("|") >= 3]
    assert len(lines) == len(files)
    return {name: (int(megabytes), float(seconds), end) for name, megabytes, seconds, end in lines}


@pytest.mark.rest
def test_bombs_take_no_memory(galaxies_file: Path, tmp_path: Path) -> None:
    files = [
        *bombs.hdf5_files(tmp_path),
        *bombs.parquet_files(tmp_path),
        *bombs.checkpoints(tmp_path),
        *bombs.weights_files(tmp_path),
        bombs.thumbnails(tmp_path / "results", bombs.large_png()),
    ]
    found = read_by_another(galaxies_file, files)
    for name, said in found.items():
        print(name, *said)
    assert [name for name, (megabytes, _, end) in found.items() if megabytes > MOST_MB or end == "READ"] == []


def test_no_program_is_started_for_a_picture(galaxies_file: Path, tmp_path: Path) -> None:
    """Pillow starts Ghostscript for PostScript, whatever a file is called."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\necho 10.0\n")
    (programs / "gs").chmod(0o755)
    folder = write_parquet(tmp_path / "data", make_images(10), LABELS[:10], shards=1)
    (shard,) = folder.glob("*.parquet")
    table = pq.read_table(shard)
    cells = pa.array([{"bytes": bombs.EPS, "path": "0.png"}] * 10, bombs.PICTURE)
    pq.write_table(table.set_column(0, "image", cells), shard)
    files = [bombs.thumbnails(tmp_path / "results", bombs.EPS), folder]
    found = read_by_another(galaxies_file, files, PATH=f"{programs}:{os.environ['PATH']}")
    assert all(re.search("cannot identify image|must be one of PNG", end) for _, _, end in found.values()), found
    assert not (tmp_path / "started").exists()


PRIVATE = "what nobody else is to read"


def test_no_link_of_a_dataset_is_followed_out_of_it(tmp_path: Path) -> None:
    """Not even opened: FIFOs stand for the other files, which would have the reader wait for ever."""
    os.mkfifo(tmp_path / "private.h5")
    elsewhere = h5py.ExternalLink(str(tmp_path / "private.h5"), "/x")
    for number, (name, value) in enumerate(
        (
            *((column, elsewhere) for column in ("images", "ans", "ra", "pxscale", "class_names", "Labels")),
            *((column, h5py.SoftLink("/deep/er/x")) for column in ("images", "dec", "classes")),
        )
    ):
        path = write_hdf5(tmp_path / f"{number}.h5")
        with h5py.File(path, "r+") as file:
            file["deep/er"] = elsewhere
            if name in file:
                del file[name]
            file[name] = value
        with pytest.raises(DataError, match=rf"must lie in this file: '{name}' lies in .*private\.h5"):
            open_dataset(str(path))


def test_no_content_of_another_file_becomes_names_or_columns(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(PRIVATE.ljust(40))
    for name in ("class_names", "ans", "dec"):
        path = write_hdf5(tmp_path / f"{name}.h5", **({name: None} if name != "class_names" else {}))
        with h5py.File(path, "r+") as file:
            kind = "S4" if name == "class_names" else np.uint8
            count = 10 if name == "class_names" else 40
            file.create_dataset(name, (count,), kind, external=[(str(secret), 0, 40)])
        with pytest.raises(DataError, match=rf"'{name}' lies in .*secret"):
            open_dataset(str(path))


def test_a_fingerprint_that_is_a_path_is_refused_and_nothing_is_removed(tmp_path: Path, galaxies_file: Path) -> None:
    folder, cache = tmp_path / "data", tmp_path / "cache"
    convert(str(galaxies_file), str(folder))
    manifest = json.loads((folder / "manifest.json").read_text())
    precious = tmp_path / "precious"
    for fingerprint in (
        f"../../{'x' * 58}",
        f"{precious}/".ljust(64, "."),
        "A" * 64,
        "0" * 63 + "\n",
        None,
        5,
        ["0"] * 64,
    ):
        (folder / "manifest.json").write_text(json.dumps(manifest | {"fingerprint": fingerprint}))
        with pytest.raises(DataError, match="fingerprint must have 64 hexadecimal digits"):
            open_dataset(str(folder), cache)
    with pytest.raises(ValueError, match="must lie in it"):
        built_once(cache / "images" / ".." / ".." / "precious", lambda _: None)
    dataset = open_dataset(str(galaxies_file), cache)
    with pytest.raises(DataError, match="fingerprint must have 64"):
        dataclasses.replace(dataset, fingerprint=f"../../{'x' * 58}")


def test_labels_under_a_true_fingerprint_are_proved(tmp_path: Path, galaxies_file: Path) -> None:
    """Turned labels count as many of each class as the true ones do."""
    folder = tmp_path / "data"
    true = convert(str(galaxies_file), str(folder))
    sky.groups(open_dataset(str(galaxies_file)))  # what the true images say is remembered
    assert sky.remembered_scan(open_dataset(str(folder))).digests.shape == (40, 32)
    (shard,) = folder.rglob("*.parquet")
    table = pq.read_table(shard)
    turned = np.roll(table["label"].to_numpy(), 1)
    place = table.column_names.index("label")
    pq.write_table(table.set_column(place, table.schema.field(place), [turned]), shard)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"][0]["size"] = shard.stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))

    forged = open_dataset(str(folder))
    assert forged.fingerprint == true.fingerprint
    with pytest.raises(DataError, match=r"must have the content that its manifest\.json tells"):
        sky.remembered_scan(forged)
    with pytest.raises(DataError, match=r"must have the content that its manifest\.json tells"):
        convert(str(galaxies_file), str(folder))
