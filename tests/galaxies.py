"""Small files of made-up galaxies, in the layouts that the project reads."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from galaxytl.data.cache import cache_dir
from galaxytl.data.dataset import open_source

LABELS = np.arange(40) % 10

SLOWLY = """
import sys, time
import pyarrow.parquet, sklearn.model_selection
from galaxytl.data import convert, sources
sources.BATCH = 4
print("ready", flush=True)
slow = lambda what, done, total: time.sleep(0.1)
convert.convert(*sys.argv[1:], convert.ConvertOptions(images_per_shard=16), slow)
"""
"""A program that converts argv[1], 40 images, to argv[2] in about a second, so that there is time to kill it."""


def make_images(count: int = 40, seed: int = 0) -> np.ndarray:
    """(count, 256, 256, 3) uint8: noise of a brightness that follows the label, so that a network can learn it."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 60, (count, 256, 256, 3))
    return (noise + 18 * (np.arange(count) % 10)[:, None, None, None]).astype(np.uint8)


def write_hdf5(path: Path, **changed: Any) -> Path:
    """A file in Galaxy10's layout; `changed` replaces a column, or removes it when None."""
    columns: dict[str, Any] = {"images": make_images(), "ans": LABELS.astype(np.uint8)}
    columns |= {name: np.full(40, np.nan) for name in ("ra", "dec", "redshift", "pxscale")}
    with h5py.File(path, "w") as file:
        for name, values in (columns | changed).items():
            if values is not None:
                file.create_dataset(name, data=values)
    return path


def write_parquet(folder: Path, images: np.ndarray, labels: np.ndarray, shards: int = 2) -> Path:
    """Shards in the Hugging Face layout, PNG inside."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, rows in enumerate(np.array_split(np.arange(len(images)), shards)):
        cells = [{"bytes": encode(images[i]), "path": f"{i}.png"} for i in rows]
        table = pa.table({"image": cells, "label": labels[rows].astype(np.int64)})
        pq.write_table(table, folder / f"train-{number:05d}-of-{shards:05d}.parquet")
    return folder


def read_all(path: Path) -> np.ndarray:
    """Every image, without the hot copy."""
    return np.concatenate(list(open_source(str(path), cache_dir()).source.batches()))


def left_in(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def encode(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def real_sample() -> Path:
    """A Galaxy10 file that GALAXYTL_TEST_DATA names; the test is skipped where it names none."""
    path = Path(os.environ.get("GALAXYTL_TEST_DATA", ""))
    if not path.is_file():
        pytest.skip("no real galaxies: GALAXYTL_TEST_DATA names no file")
    return path


def real_weights() -> Path:
    """A folder of ImageNet weights that GALAXYTL_TEST_WEIGHTS_DIR names; the test is skipped where it names none."""
    path = Path(os.environ.get("GALAXYTL_TEST_WEIGHTS_DIR", ""))
    if not os.environ.get("GALAXYTL_TEST_WEIGHTS_DIR") or not path.is_dir():
        pytest.skip("no ImageNet weights: GALAXYTL_TEST_WEIGHTS_DIR names no folder")
    return path


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """A real S3 API on loopback, its URL; the test is skipped where moto is not installed."""
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
    """Make an S3 bucket; its URI."""
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT")).close()
    return f"s3://{name}"
