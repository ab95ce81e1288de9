"""How fast do trials get their images? Ratios within one run; each baseline is what a careful user would write.

    python benchmarks/bench_data.py                  # 2,000 galaxies, about 3 minutes on 2 cores
    python benchmarks/bench_data.py --images 17736   # the size of Galaxy10 DECaLS: needs 8 GB of disk
    python benchmarks/bench_data.py --pictures       # the last of these alone: half a minute

Prints, for shuffled batches of 32 images of 256 x 256 pixels:
  - the hot copy, through the class that feeds the training, against np.memmap fancy indexing (aim: at least 0.9),
    against h5py on gzip HDF5 with one image a chunk (aim: at least 10), and against PNG in Parquet (aim: at least 5);
  - how much private memory each of 8 concurrent readers of the hot copy takes (aim: under 50 MB);
  - images/s of building the hot copy and of converting to Parquet, from the worst container seen: h5py's automatic
    chunks with gzip, where one random image costs 150 ms (aim: at least 300 on 2 cores);
  - images/s from a folder a class of JPEG files of 424 px to the fingerprint, the scan and the hot copy at 224 px, all
    in one pass (aim: at least 300 on 2 cores), against a loop of Pillow on one core; and the CPU time of both, which
    the machine's other work changes less.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from timeit import timeit

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness.processes import megabytes
from numpy.typing import NDArray
from PIL import Image

from galaxytl.data import open_dataset
from galaxytl.data.convert import convert
from galaxytl.data.hot_copy import Size

SIZE = Size(224)
ROUNDS = 3
BATCH = 32
READERS = 8
Batch = NDArray[np.int64]
Reader = Callable[[list[Batch]], Iterable[NDArray[np.uint8]]]
"""Rows of each batch -> images of each batch."""


def main() -> None:
    """Measure in a temporary folder, with a cache of its own."""
    parser = argparse.ArgumentParser(description="Speed of reading, converting and copying galaxy images")
    parser.add_argument("--images", type=int, default=2000, help="how many galaxies (default: 2000)")
    parser.add_argument("--folder", type=Path, help="where the generated files go (default: a temporary folder)")
    parser.add_argument("--pictures", action="store_true", help="measure the folder of JPEG files alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        os.environ["GALAXYTL_CACHE_DIR"] = str(Path(name) / "cache")
        if options.pictures:
            report_pictures(Path(name) / "pictures", *make_galaxies(min(options.images, 2000)))
        else:
            run(options.images, Path(name))


def run(num_images: int, folder: Path) -> None:
    """Write the files, and print what building, converting and reading take."""
    images, labels = make_galaxies(num_images)
    worst = write_hdf5(folder / "automatic.h5", images, labels, chunks=True)
    good = write_hdf5(folder / "one-image-chunks.h5", images[:2000], labels[:2000], chunks=(1, 256, 256, 3))
    parquet = write_parquet(folder / "png.parquet", images[:2000], labels[:2000])
    building = timeit(lambda: open_dataset(str(worst), sizes=[SIZE]).resized(SIZE.pixels), number=1)
    report_building("the hot copy at 224 px", num_images / building)
    converting = timeit(lambda: convert(str(worst), str(folder / "converted")), number=1)
    report_building("Parquet shards (PNG)", num_images / converting)
    report_pictures(folder / "pictures", images[:2000], labels[:2000])
    report_reading(worst, good, parquet, num_images)
    report_memory(worst)


def report_building(what: str, rate: float) -> None:
    """Print images/s, and the seconds for 17,736 images, which are all of Galaxy10 DECaLS."""
    seconds = f"{17736 / rate:.0f} s for all 17,736"
    print(f"from gzip in automatic chunks to {what:22}: {rate:5.0f} images/s, {seconds}", flush=True)


def make_galaxies(num_images: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return simulated galaxies, turned to make more of them than were drawn: they compress as galaxies do."""
    drawn = open_dataset("simulated:256")
    source = drawn.resized(256).images
    turned = [np.rot90(source, k, axes=(1, 2)) for k in range(4)]
    images = np.concatenate([turned[(i // 256) % 4] for i in range(0, num_images + 256, 256)])[:num_images]
    return images, np.resize(drawn.labels, num_images)


def write_hdf5(path: Path, images: NDArray[np.uint8], labels: NDArray[np.int64], chunks: object) -> Path:
    """Write a file in Galaxy10's layout."""
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, chunks=chunks, compression="gzip")
        file.create_dataset("ans", data=labels.astype(np.uint8))
        size = path.stat().st_size / 1e6
        print(f"{path.name}: {len(images):,} images, chunks {file['images'].chunks}, {size:.0f} MB")
    return path


def write_parquet(path: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Path:
    cells = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG", compress_level=1)
        cells.append({"bytes": buffer.getvalue(), "path": None})
    pq.write_table(pa.table({"image": cells, "label": labels}), path, row_group_size=32)
    return path


def report_pictures(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    """Print images/s from a folder a class to the hot copy at 224 px, and of a loop of Pillow."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / f"class {label}" / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((424, 424)).save(place, quality=90)
    names = sorted(folder.rglob("*.jpg"))
    ways = {
        "from JPEG of 424 px to the hot copy at 224 px, one pass": lambda cache: first_opening(folder, cache),
        "a loop of Pillow on one core": lambda _: np.stack([plain_picture(name) for name in names]),
    }
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(ROUNDS):  # in turns, so that a change of the machine's speed meets both
        for name, way in ways.items():
            before = time.process_time()
            seconds = timeit(lambda: way(folder.with_name(f"cache-{number}")), number=1)  # noqa: B023, called at once
            spent[name].append((seconds, time.process_time() - before))
    for name, times in spent.items():
        wall, cpu = np.median(times, axis=0)
        print(f"{name:55}: {len(names) / wall:5.0f} images/s, {1000 * cpu / len(names):.1f} ms of CPU time an image")
    ratios = [plain[0] / ours[0] for ours, plain in zip(*spent.values(), strict=True)]
    print(f"one pass is {np.median(ratios):.2f} x as fast as the loop", flush=True)


def first_opening(folder: Path, cache: Path) -> None:
    """Open the pictures as a sweep at 224 px does for the first time."""
    open_dataset(str(folder), cache, sizes=[SIZE]).resized(SIZE.pixels)


def plain_picture(name: Path) -> NDArray[np.uint8]:
    """Return what anybody's first loop over JPEG files makes, (224, 224, 3)."""
    with Image.open(name) as picture:
        return np.asarray(picture.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))


def report_reading(worst: Path, good: Path, parquet: Path, num_images: int) -> None:
    """Print images/s by rounds of the same shuffled batches that take turns, so that a change of the machine's speed
    meets all alike."""
    hot = hot_reader(worst)
    raw = np.load(open_dataset(str(worst)).resized(256).images.filename, mmap_mode="r")
    readers: dict[str, tuple[Reader, int]] = {
        "hot copy": (hot, 40),
        "np.memmap": (lambda batches: (raw[rows] for rows in batches), 40),
        "gzip HDF5, h5py": (hdf5_reader(good), 4),
        "PNG Parquet": (parquet_reader(parquet), 4),
    }
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for round_number in range(9):
        for name, (read, num_batches) in readers.items():
            order = np.random.default_rng(round_number).permutation(min(num_images, 2000))
            batches = [order[i * BATCH : (i + 1) * BATCH] for i in range(num_batches)]
            rates[name].append(rate(read, batches))
    median = {name: float(np.median(values)) for name, values in rates.items()}
    for name, value in median.items():
        print(f"{name:18} {value:9.0f} images/s   hot copy is {median['hot copy'] / value:7.2f} x as fast")


def hot_reader(path: Path) -> Reader:
    """Return what a trial uses: `galaxytl.learning.fit_network.Batches` on the hot copy."""
    from galaxytl.learning.examples import Examples
    from galaxytl.learning.fit_network import Batches

    dataset = open_dataset(str(path))
    images = dataset.resized(256).images
    nothing = np.empty(0, np.int64)
    examples = Examples(images, dataset.labels, nothing, nothing, nothing)

    def read(batches: list[Batch]) -> Iterator[NDArray[np.uint8]]:
        images_of = Batches(examples, np.concatenate(batches), BATCH)
        return (images_of[i][0] for i in range(len(images_of)))

    return read


def hdf5_reader(path: Path) -> Reader:
    images = h5py.File(path, "r")["images"]
    # One by one: faster than h5py's own fancy indexing.
    return lambda batches: (np.stack([images[row] for row in rows]) for rows in batches)


def parquet_reader(path: Path) -> Reader:
    """Return a reader that has the file in memory, and decodes."""
    cells = pq.read_table(path, columns=["image"])["image"].combine_chunks().field("bytes")

    def decode(row: np.int64) -> NDArray[np.uint8]:
        return np.asarray(Image.open(io.BytesIO(cells[int(row)].as_buffer())))

    return lambda batches: (np.stack([decode(row) for row in rows]) for rows in batches)


def rate(read: Reader, batches: list[Batch]) -> float:
    """Return images/s."""
    return sum(map(len, batches)) / timeit(lambda: deque(read(batches), maxlen=0), number=1)


def report_memory(path: Path) -> None:
    """Print how much memory of their own concurrent readers of the hot copy need."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(READERS) as pool:
        growths = pool.map(private_growth, [str(path)] * READERS, chunksize=1)
    print(f"{READERS} concurrent readers: private memory grows by at most {max(growths):.0f} MB a reader")


def private_growth(path: str) -> float:
    """Return MB of private memory that reading all images once, in shuffled batches, adds to this process."""
    dataset = open_dataset(path)
    before = megabytes(os.getpid(), "RssAnon")
    images = dataset.resized(256).images
    order = np.random.default_rng(os.getpid()).permutation(len(images))
    for start in range(0, len(order), BATCH):
        images[order[start : start + BATCH]].sum()
    return megabytes(os.getpid(), "RssAnon") - before


if __name__ == "__main__":
    main()
