"""Simulated galaxies in the cache, drawn by whoever asks first.

    folder = simulated_folder(num_images=2000, seed=0, cache=Path("~/.cache/galaxytl").expanduser())
    images = np.load(folder / "images.npy", mmap_mode="r")  # (2000, 256, 256, 3) uint8

The manifest's fingerprint tells whether two machines drew the same. Whoever only reads them imports no GalSim.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.files.classes import Classes
from galaxytl.data.files.fingerprint import ContentHash
from galaxytl.data.galaxy10 import CLASS_NAMES, IMAGE_SIDE
from galaxytl.system.cache import built_once, create_array
from galaxytl.system.process import usable_cpus
from galaxytl.system.strict_json import read_json

SIMULATOR_VERSION = 2
"""Counted up whenever a pixel changes, so that no cache of an older simulator is taken for this one's."""

COLUMNS = ("redshift", "ra", "dec", "pxscale")
"""Stored beside images and labels, one float64 an image each."""
CHUNK = 16
"""Images a task: about a second of work, so that progress moves and the last worker is not waited for."""


def simulated_folder(
    num_images: int,
    seed: int,
    cache: Path,
    on_progress: Callable[[int, int], None] | None = None,
    num_workers: int | None = None,
) -> Path:
    """Return the folder under `cache` with this simulation, built by whoever asks first.

    Holds images.npy (N, 256, 256, 3) uint8, labels.npy (N,) int64, redshift, ra, dec, pxscale.npy (N,) float64 and
    manifest.json. on_progress: called with (images done, num_images). num_workers: processes; the CPUs this process
    may use if None. The folder belongs to the cache, keyed by its name (simulator version, num_images, seed), and
    lives until someone deletes it; it gets its name only when complete, so that a killed build leaves nothing used.
    """
    folder = cache / "simulated" / f"v{SIMULATOR_VERSION}-n{num_images}-s{seed}"
    return built_once(
        folder,
        lambda unfinished: build(unfinished, num_images, seed, on_progress, num_workers),
        size=num_images * IMAGE_SIDE**2 * 3,
        is_complete=lambda found: is_complete(found, num_images, seed),
    )


def is_complete(folder: Path, num_images: int, seed: int) -> bool:
    """Return whether `folder` holds a manifest of exactly this simulation and every array that it promises."""
    try:
        manifest = read_json((folder / "manifest.json").read_bytes())
        found = tuple(manifest[key] for key in ("simulator_version", "num_images", "seed", "fingerprint"))
        shapes = [np.load(folder / f"{name}.npy", mmap_mode="r").shape for name in ("images", "labels", *COLUMNS)]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    wanted = [(num_images, IMAGE_SIDE, IMAGE_SIDE, 3)] + [(num_images,)] * (1 + len(COLUMNS))
    return (
        found[:3] == (SIMULATOR_VERSION, num_images, seed)
        and re.fullmatch("[0-9a-f]{64}", str(found[3])) is not None
        and shapes == wanted
    )


def build(
    folder: Path, num_images: int, seed: int, on_progress: Callable[[int, int], None] | None, num_workers: int | None
) -> None:
    """Draw the simulation into an empty `folder`."""
    from galaxytl.data.simulation.simulate import class_labels  # GalSim and astropy take a second to import

    labels = class_labels(num_images, seed)
    shape = (num_images, IMAGE_SIDE, IMAGE_SIDE, 3)
    images = create_array(folder / "images.npy", np.uint8, shape)
    columns = np.zeros((num_images, len(COLUMNS)))
    for start, stop, values in drawn_chunks(folder, labels, seed, num_workers):
        columns[start:stop] = values
        if on_progress is not None:
            on_progress(int(np.count_nonzero(columns[:, -1])), num_images)
    np.save(folder / "labels.npy", labels)
    for name, values in zip(COLUMNS, columns.T, strict=True):
        np.save(folder / f"{name}.npy", values)
    content = ContentHash()
    content.add(images)
    manifest = {
        "simulator_version": SIMULATOR_VERSION,
        "num_images": num_images,
        "seed": seed,
        "galsim_version": version("galsim"),
        "fingerprint": content.hexdigest(Classes(labels, CLASS_NAMES)),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def drawn_chunks(
    folder: Path, labels: NDArray[np.int64], seed: int, num_workers: int | None
) -> Iterable[tuple[int, int, NDArray[np.float64]]]:
    """Draw all images into folder/images.npy; yields (start, stop, columns (stop - start, 4)) as chunks finish."""
    tasks = [(folder, labels[start : start + CHUNK], start, seed) for start in range(0, len(labels), CHUNK)]
    workers = min(num_workers or usable_cpus(), len(tasks))
    if workers == 1:
        yield from (draw_chunk(*task) for task in tasks)
        return
    # spawn: the caller may hold threads and an initialised accelerator, and neither survives a fork.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        with blank_main_module():
            drawing = [pool.submit(draw_chunk, *task) for task in tasks]
        for done in as_completed(drawing):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupted build does not draw the rest first


@contextmanager
def blank_main_module() -> Iterator[None]:
    """Start workers that do not run the caller's main module again.

    They need this module alone, while the caller's may import a deep-learning framework (13 s each) or be no file
    at all (`python -`), which breaks a spawned process.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def draw_chunk(folder: Path, labels: NDArray[np.int64], start: int, seed: int) -> tuple[int, int, NDArray[np.float64]]:
    """Draw images start, start + 1, ... of these labels into folder/images.npy; gives their other columns."""
    from galaxytl.data.simulation.simulate import simulate_galaxy

    images = np.lib.format.open_memmap(folder / "images.npy", mode="r+")
    columns = np.zeros((len(labels), len(COLUMNS)))
    for offset, label in enumerate(labels):
        galaxy = simulate_galaxy(start + offset, int(label), seed)
        images[start + offset] = galaxy.image
        columns[offset] = [getattr(galaxy, name) for name in COLUMNS]
    images.flush()
    return start, start + len(labels), columns
