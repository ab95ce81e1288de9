"""Small files of made-up galaxies, in the layouts that the project reads."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import logging
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from galaxytl.data.dataset import open_source
from galaxytl.system.cache import cache_dir

LABELS = np.arange(40) % 10


def make_images(count: int = 40, seed: int = 0) -> np.ndarray:
    """Return (count, 256, 256, 3) uint8: noise of a brightness that follows the label, for a network to learn."""
    return _noise(count, seed).copy()


@functools.cache
def _noise(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 60, (count, 256, 256, 3))
    return (noise + 18 * (np.arange(count) % 10)[:, None, None, None]).astype(np.uint8)


def write_hdf5(path: Path, **changed: Any) -> Path:
    """Write a file in Galaxy10's layout; `changed` replaces a column, or removes it when None."""
    columns: dict[str, Any] = {"images": make_images(), "ans": LABELS.astype(np.uint8)}
    columns |= {name: np.full(40, np.nan) for name in ("ra", "dec", "redshift", "pxscale")}
    with h5py.File(path, "w") as file:
        for name, values in (columns | changed).items():
            if values is not None:
                file.create_dataset(name, data=values)
    return path


def write_parquet(folder: Path, images: np.ndarray, labels: np.ndarray, shards: int = 2) -> Path:
    """Write shards in the Hugging Face layout, PNG inside."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, rows in enumerate(np.array_split(np.arange(len(images)), shards)):
        cells = [{"bytes": encode(images[i]), "path": f"{i}.png"} for i in rows]
        table = pa.table({"image": cells, "label": labels[rows].astype(np.int64)})
        pq.write_table(table, folder / f"train-{number:05d}-of-{shards:05d}.parquet")
    return folder


def read_all(path: Path) -> np.ndarray:
    """Return every image, without the hot copy."""
    return np.concatenate(list(open_source(str(path), cache_dir()).source.batches()))


def draw_quickly(patch: pytest.MonkeyPatch, cache: Path) -> list[int]:
    """Have simulated galaxies drawn in this process, at no cost, into a cache of their own; the indices of those. No
    two are alike, and none is of one colour: a sweep would refuse them."""
    from galaxytl.data.simulation import simulate, stored

    indices: list[int] = []

    def draw(index: int, label: int, seed: int) -> simulate.SimulatedGalaxy:
        indices.append(index)
        image = np.full((256, 256, 3), (10 * index + label + seed) % 256, np.uint8)
        image[0] = *divmod(index, 256), 255
        return simulate.SimulatedGalaxy(image, label, 0.1, 1.0, 2.0, 0.262)

    patch.setattr(simulate, "simulate_galaxy", draw)
    patch.setattr(stored, "usable_cpus", lambda: 1)
    patch.setenv("GALAXYTL_CACHE_DIR", str(cache))
    return indices


def killed(work: str, places: Sequence[tuple[str, object]]) -> None:
    """Run a line of code, with each of the places as `to`, in processes that kill themselves at their moments.

    A moment is a number of images that `moment`, the code's reporter, hears of, or an audit event like os.rename, which
    comes before what it names.
    """
    program = f"""
import dataclasses, os, signal, sys
from pathlib import Path
import pyarrow.parquet, sklearn.model_selection
from galaxytl.data import convert, open_dataset
from galaxytl.data.files import containers
containers.BATCH = 4
for at, to in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    def moment(*seen):
        if at in map(str, seen[:2]):
            os.kill(os.getpid(), signal.SIGKILL)
    if not os.fork():
        sys.addaudithook(lambda event, _: moment(event))
        {work}
        os._exit(0)
    print(os.wait()[1])
"""
    command = [sys.executable, "-c", program, *itertools.chain(*places)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert done.stdout.split() == [str(int(signal.SIGKILL))] * len(places), done.stderr


def killed_conversions(source: Path, places: Sequence[tuple[str, object]]) -> None:
    """Convert `source` to each of the places, in shards of 16 images; see `killed`."""
    killed(f"convert.convert({str(source)!r}, to, convert.ConvertOptions(images_per_shard=16), moment)", places)


def left_in(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def encode(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def real_sample() -> Path:
    """Return a Galaxy10 file that GALAXYTL_TEST_DATA names; the test is skipped where it names none."""
    return _path_in("GALAXYTL_TEST_DATA", Path.is_file, "no real galaxies: GALAXYTL_TEST_DATA names no file")


def real_weights() -> Path:
    """Return a folder of ImageNet weights that GALAXYTL_TEST_WEIGHTS_DIR names; the test is skipped where it names
    none."""
    reason = "no ImageNet weights: GALAXYTL_TEST_WEIGHTS_DIR names no folder"
    return _path_in("GALAXYTL_TEST_WEIGHTS_DIR", Path.is_dir, reason)


def _path_in(variable: str, is_right: Callable[[Path], bool], reason: str) -> Path:
    path = Path(os.environ.get(variable) or "/nowhere")
    if not is_right(path):
        pytest.skip(reason)
    return path


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Start a real S3 API on loopback, and give its URL; the test is skipped where moto is not installed."""
    server_module = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def make_bucket(endpoint: str, name: str) -> str:
    """Make an S3 bucket; return its URI."""
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT")).close()
    return f"s3://{name}"
