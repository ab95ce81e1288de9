"""How fast does `galaxytl.classify` classify, against Keras's own `predict` on images in memory?

    python benchmarks/bench_classify.py                         # MobileNet at 128 px, 1,024 images of 256 px
    python benchmarks/bench_classify.py --backbone ResNet50 --image-size 224 --images 256 --rounds 5

The baseline is `network.predict` on a NumPy array of images that have the network's size already, in batches of 64. The
same network then classifies the same images of 256 px, read from an HDF5 file and from a folder of JPEGs, and resized.
Loading the network, its first batch, which compiles it, and writing the result are not timed. Prints images/s of each
round, and the median ratio to the baseline of the same round, as other programs may take the machine at any time.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from galaxytl.classify.images import batches, open_images
from galaxytl.classify.predictions import Asked, predictions, table_of
from galaxytl.data.hot_copy import Size
from galaxytl.data.progress import TerminalProgress
from galaxytl.networks import device
from galaxytl.system.console import Console
from galaxytl.trial.reading import ImagesAlone

CLASS_NAMES = tuple(f"class {number}" for number in range(10))
SIDE, BATCH = 256, 64


def main() -> None:
    options = parse()
    device.quiet_framework()
    device.configure(None)
    network = make_network(options.backbone, options.image_size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = make_images(options.images, folder)
        size = Size(options.image_size)
        compare(network, np.stack([size.of(image) for image in images]), folder, options)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Images/s of a classification, and of Keras's predict")
    parser.add_argument("--backbone", default="MobileNet", help="of keras.applications (default: %(default)s)")
    parser.add_argument("--image-size", type=int, default=128, metavar="PIXELS")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def make_network(backbone: str, image_size: int) -> Any:
    """Return an untrained network as `sweep.export` writes it."""
    import keras
    from keras import layers, ops

    body = getattr(keras.applications, backbone)(
        include_top=False, weights=None, input_shape=(image_size, image_size, 3), name="backbone"
    )
    head = keras.Sequential([keras.Input(body.output.shape[1:]), layers.Flatten(), layers.Dense(10)], name="head")
    pixels = keras.Input((image_size, image_size, 3), dtype="uint8")
    return keras.Model(pixels, layers.Softmax()(head(body(ops.cast(pixels, "float32") / 255.0))))


def make_images(number: int, folder: Path) -> np.ndarray:
    """Return images (number, SIDE, SIDE, 3), written as HDF5 and as JPEGs too."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (number, 32, 32, 3), np.uint8)
    images = coarse.repeat(SIDE // 32, axis=1).repeat(SIDE // 32, axis=2)
    with h5py.File(folder / "images.h5", "w") as file:
        file.create_dataset("images", data=images, chunks=(1, SIDE, SIDE, 3), compression="gzip", compression_opts=1)
    (folder / "jpegs").mkdir()
    for row, image in enumerate(images):
        Image.fromarray(image).save(folder / "jpegs" / f"{row:06d}.jpg", quality=90)
    return images


def compare(network: Any, squares: np.ndarray, folder: Path, options: argparse.Namespace) -> None:
    from galaxytl.networks.classifier import Classifier

    classifier = Classifier(network, BATCH, embeddings=False)
    network.predict(squares[:BATCH], batch_size=BATCH, verbose=0)
    classifier.outputs(classifier.start(squares[:BATCH]), BATCH)
    print(f"{options.backbone}, {options.image_size} px, {device.describe()}; {len(squares):,} images, images/s:")
    ratios: dict[str, list[float]] = {"images.h5": [], "jpegs": []}
    for number in range(options.rounds):
        started = time.perf_counter()
        network.predict(squares, batch_size=BATCH, verbose=0)
        baseline = len(squares) / (time.perf_counter() - started)
        line = f"round {number + 1}: predict, in memory {baseline:8.1f}"
        for name, found in ratios.items():
            speed = len(squares) / seconds(classifier, folder / name, options.image_size, folder)
            found.append(speed / baseline)
            line += f"; classify {name} {speed:8.1f}, ratio {speed / baseline:.2f}"
        print(line, flush=True)
    print("; ".join(f"median ratio of {name}: {statistics.median(found):.2f}" for name, found in ratios.items()))


def seconds(classifier: Any, place: Path, image_size: int, folder: Path) -> float:
    """Classify what lies at a place; return the seconds that it took, from opening to the table of the last image."""
    started = time.perf_counter()
    images = open_images(str(place), ImagesAlone(), folder / "cache", TerminalProgress(Console(stderr=True)))
    asked = Asked(Size(image_size), CLASS_NAMES)
    with contextlib.closing(batches(images, asked.size, BATCH, (0, len(images)))) as found:
        rows = sum(len(table_of(images, *one, asked)) for one in predictions(found, classifier, asked))
    assert rows == len(images)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
