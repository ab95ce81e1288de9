"""How much of a GPU do we use, and how long would the paper's whole grid take on it? Without Ray.

    python benchmarks/bench_gpu.py                           # on a GPU: about 10 minutes. Elsewhere the same as --smoke
    KERAS_BACKEND=jax python benchmarks/bench_gpu.py --smoke # tiny sizes, to see that it runs: its shares mean nothing

For MobileNet, ResNet50 and VGG16 at 224 px in mixed bfloat16:
  - prefix: inference as the frozen part does it, from memory-mapped uint8 images to features in host memory;
  - train: from scratch by `galaxytl.learning.fit_network.fit`, from memory-mapped images, for each batch size;
  - device busy: seconds of the same step on images that are on the device already, over seconds of a step of that
    training. What is missing is waiting for input, for Python, and for the last loss.
Shares are of the largest speed of a bfloat16 matrix product in the same run: 2 operations a multiply-add
(`galaxytl.networks.blocks`), 3 forward passes a training step. Ends with the paper's grid, projected: six trials, 20
epochs, 12,415 training images, 5,321 test images that are watched after every epoch.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gpu.steps import make_step, network, seconds_a_call
from numpy.typing import NDArray

from galaxytl.data.galaxy10 import NUM_CLASSES
from galaxytl.networks import device
from galaxytl.networks.blocks import structures
from galaxytl.trial import TrialSpec

TRAIN_IMAGES, TEST_IMAGES, NUM_EPOCHS, HEAD_BATCH = 12_415, 5_321, 20, 32
"""The paper's split of 17,736 images; epochs and batch size are assumed (docs/paper.md)."""
CHAIN = 8
"""Matrix products in one call: their start is no part of the peak."""
IN_FLIGHT = 3
"""Batches that the prefix pass gives to the device before it asks for the first one's features."""
AIMS = {"VGG16": 0.40, "ResNet50": 0.20}
"""Share of the peak that training should reach."""
GRID_SECONDS, BUSY = 300, 0.95
"""Aims: seconds of the paper's grid on one H100, and the share of its time in which the device computes."""


@dataclass(frozen=True)
class Sizes:
    """What is measured, and how large."""

    backbones: tuple[str, ...] = ("MobileNet", "ResNet50", "VGG16")
    image_size: int = 224
    num_images: int = 4096
    prefix_batches: tuple[int, ...] = (64, 256, 512)
    train_batches: tuple[int, ...] = (32, 128)
    matrix: int = 8192
    seconds: float = 2.0
    """Of each timed repetition of a step or product."""


SMOKE = Sizes(image_size=32, num_images=32, prefix_batches=(16,), train_batches=(8,), matrix=512, seconds=0.1)
"""Takes seconds on a CPU."""


@dataclass(frozen=True)
class Speed:
    """The speed of one backbone: rates in images/s, by batch size."""

    backbone: str
    multiply_adds: int
    compile_seconds: float
    """For the prefix and for the training; paid once each."""
    prefix: dict[int, float]
    train: dict[int, float]
    busy: dict[int, float]
    """Share of an epoch in which the device trains."""
    head_step_seconds: float

    def grid_seconds(self, batch_size: int) -> float:
        """Return the seconds of this backbone's ON and OFF trials."""
        watch = TEST_IMAGES / max(self.prefix.values())
        on = (TRAIN_IMAGES + TEST_IMAGES) / max(self.prefix.values())
        on += NUM_EPOCHS * math.ceil(TRAIN_IMAGES / HEAD_BATCH) * self.head_step_seconds
        return self.compile_seconds + on + NUM_EPOCHS * (TRAIN_IMAGES / self.train[batch_size] + watch)


def main() -> None:
    options = vars(parse())
    wants_smoke, path = options.pop("smoke", False), options.pop("json", None)
    os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "0")  # what is compiled is timed
    device.quiet_framework()
    device.configure(None)
    import keras

    is_smoke = wants_smoke or not device.on_gpu()
    sizes = dataclasses.replace(SMOKE if is_smoke else Sizes(), **options)
    if is_smoke:
        print("SMOKE: tiny sizes; no figure below is a result" + ("" if wants_smoke else " (no GPU found)"))
    print(f"{device.describe()}; Keras {keras.version()} on {keras.backend.backend()}; {sizes.image_size} px")
    peak = {kind: matrix_peak(kind, sizes) for kind in ("bfloat16", "float32")}
    for kind, speed in peak.items():
        print(f"matrix product of {sizes.matrix} x {sizes.matrix}, {kind:8}: {speed / 1e12:8.3f} TFLOP/s", flush=True)
    networks = structures([(name, sizes.image_size) for name in sizes.backbones])
    speeds = []
    with tempfile.TemporaryDirectory() as folder:
        images = map_images(Path(folder) / "images.npy", sizes)
        for name in sizes.backbones:
            structure = networks[name, sizes.image_size]
            speeds.append(measure(name, structure.multiply_adds(len(structure.blocks), 0), images, sizes))
            report(speeds[-1], peak["bfloat16"])
    project(speeds, is_smoke)
    if path:
        rows = [dataclasses.asdict(speed) for speed in speeds]
        path.write_text(json.dumps({"peak": peak, "backbones": rows}, indent=1))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line sets, and nothing else: sizes by their names in `Sizes`, `smoke`, `json`."""
    parser = argparse.ArgumentParser(
        description="Speed on a GPU: prefix pass, training, and the paper's whole grid",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--smoke", action="store_true", help="tiny sizes; what runs where there is no GPU")
    parser.add_argument("--backbones", nargs="+", choices=Sizes.backbones, help="(default: all)")
    parser.add_argument("--image-size", type=int, metavar="PIXELS")
    parser.add_argument("--num-images", type=int, metavar="N", help="images in the memory-mapped file")
    parser.add_argument("--train-batches", type=int, nargs="+", metavar="N", help="batch sizes of the training")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    return parser.parse_args(argv)


def matrix_peak(kind: str, sizes: Sizes) -> float:
    """Return operations/s of square matrix products; of float32 as the framework has it, TensorFloat-32 on new GPUs."""
    from keras import ops

    noise = np.random.default_rng(0).standard_normal((sizes.matrix, sizes.matrix), np.float32)
    matrix = ops.cast(noise / math.sqrt(sizes.matrix), kind)  # so that products of products stay finite

    def chain(one: Any, other: Any) -> Any:
        for _ in range(CHAIN):
            one = ops.matmul(one, other)
        return one

    product = device.compiled(chain, xla=device.on_gpu())
    fastest = min(seconds_a_call(lambda: product(matrix, matrix), sizes.seconds) for _ in range(3))
    return CHAIN * 2 * sizes.matrix**3 / fastest


def map_images(path: Path, sizes: Sizes) -> NDArray[np.uint8]:
    """Return noise as images (N, S, S, 3), memory-mapped as the node's hot copy is."""
    shape = (sizes.num_images, sizes.image_size, sizes.image_size, 3)
    images = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    rng = np.random.default_rng(0)
    for row in range(len(images)):
        images[row] = rng.integers(0, 256, shape[1:], np.uint8)
    images.flush()
    return np.load(path, mmap_mode="r")


def measure(name: str, multiply_adds: int, images: NDArray[np.uint8], sizes: Sizes) -> Speed:
    """Return the speed of one backbone, each batch size with networks of its own."""
    import keras

    prefix, compiling = {}, 0.0
    for batch_size in sizes.prefix_batches:
        keras.utils.clear_session()
        forward = device.compiled_forward(network(name, sizes.image_size, with_head=False))
        started = time.perf_counter()
        run_prefix(forward, images[:batch_size], batch_size)
        compiling = time.perf_counter() - started
        prefix[batch_size] = prefix_rate(forward, images, batch_size)
    train, busy = {}, {}
    for batch_size in sizes.train_batches:
        keras.utils.clear_session()
        seconds, first_seconds = epoch_seconds(name, images, sizes.image_size, batch_size)
        resident = resident_step_seconds(name, images[:batch_size], sizes)
        train[batch_size] = len(images) / seconds
        busy[batch_size] = resident * len(images) / batch_size / seconds
    compiling += max(0.0, first_seconds - seconds)
    return Speed(name, multiply_adds, compiling, prefix, train, busy, head_step_seconds(name, sizes))


def prefix_rate(forward: Callable[[Any], Any], images: NDArray[np.uint8], batch_size: int) -> float:
    """Return images/s of a whole pass, in full batches: a shorter last one would be compiled anew."""
    num_images = len(images) // batch_size * batch_size
    started = time.perf_counter()
    run_prefix(forward, images[:num_images], batch_size)
    return num_images / (time.perf_counter() - started)


def run_prefix(forward: Callable[[Any], Any], images: NDArray[np.uint8], batch_size: int) -> None:
    """Bring features of all images to host memory; the device always has the next batches already."""
    in_flight: deque[Any] = deque()
    for start in range(0, len(images), batch_size):
        in_flight.append(forward(np.ascontiguousarray(images[start : start + batch_size])))
        if len(in_flight) > IN_FLIGHT:
            np.asarray(in_flight.popleft())
    for features in in_flight:
        np.asarray(features)


def epoch_seconds(name: str, images: NDArray[np.uint8], image_size: int, batch_size: int) -> tuple[float, float]:
    """Return the seconds of an epoch of training from scratch as trials do it, and of the first one, which compiles."""
    from galaxytl.learning.callbacks import Watcher
    from galaxytl.learning.examples import Examples
    from galaxytl.learning.fit_network import fit
    from galaxytl.networks.recipe.compiled import compile_model

    rows = np.arange(len(images))
    labels = rows % NUM_CLASSES
    few = rows[:batch_size]  # watched: what a whole test part costs is projected from the prefix pass
    described = {"dataset": "", "dataset_fingerprint": "", "weights": "random", "unfrozen_blocks": "all"}
    spec = TrialSpec(**described, precision="mixed_bfloat16", batch_size=batch_size, num_epochs=3)
    model = network(name, image_size, with_head=True)
    compile_model(model, spec)
    with tempfile.TemporaryDirectory() as folder:
        history = fit(model, spec, Examples(images, labels, rows, few, few), Path(folder) / "checkpoint", Watcher())
    return min(epoch["seconds"] for epoch in history[1:]), history[0]["seconds"]


def resident_step_seconds(name: str, images: NDArray[np.uint8], sizes: Sizes) -> float:
    """Return the seconds of the same training step on one batch that stays on the device."""
    from keras import ops

    step = make_step(network(name, sizes.image_size, with_head=True))
    batch, labels = ops.convert_to_tensor(np.array(images)), ops.convert_to_tensor(np.arange(len(images)) % NUM_CLASSES)
    return seconds_a_call(lambda: step(batch, labels), sizes.seconds)


def head_step_seconds(name: str, sizes: Sizes) -> float:
    """Return the seconds of a step of the head alone on stored bfloat16 features, copied to the device every time."""
    import keras

    shape = network(name, sizes.image_size, with_head=False).output_shape[1:]
    features = keras.Input(shape, dtype="bfloat16")
    logits = keras.layers.Dense(NUM_CLASSES, dtype="float32")(keras.layers.Flatten(dtype="float32")(features))
    step = make_step(keras.Model(features, logits))
    noise = np.random.default_rng(0).random((HEAD_BATCH, *shape), np.float32)
    stored = keras.ops.convert_to_numpy(keras.ops.cast(noise, "bfloat16"))
    labels = np.arange(HEAD_BATCH) % NUM_CLASSES
    return seconds_a_call(lambda: step(keras.ops.convert_to_tensor(stored), labels), sizes.seconds)


def report(speed: Speed, peak: float) -> None:
    """Print rates, and their shares of the peak, in operations/s."""
    operations = 2 * speed.multiply_adds
    print(f"{speed.backbone}: {speed.multiply_adds / 1e9:.3f} G multiply-adds an image")
    for batch_size, rate in speed.prefix.items():
        share = operations * rate / peak
        print(f"  prefix, batches of {batch_size:4}: {rate:9.1f} images/s, {share:6.1%} of the peak")
    for batch_size, rate in speed.train.items():
        share, busy = 3 * operations * rate / peak, speed.busy[batch_size]
        aim = f" (aim {AIMS[speed.backbone]:.0%})" if speed.backbone in AIMS else ""
        print(f"  train,  batches of {batch_size:4}: {rate:9.1f} images/s, {share:6.1%} of the peak{aim}, ", end="")
        print(f"device busy {busy:.1%} (aim {BUSY:.0%})")
    head, compiling = 1000 * speed.head_step_seconds, speed.compile_seconds
    print(f"  head step {head:.2f} ms; compiling {compiling:.1f} s", flush=True)


def project(speeds: Sequence[Speed], is_smoke: bool) -> None:
    """Print the seconds of the paper's grid, without the start of the process and of the framework, some 10 s."""
    for batch_size in speeds[0].train:
        parts = {speed.backbone: speed.grid_seconds(batch_size) for speed in speeds}
        each = ", ".join(f"{name} {seconds:.0f}" for name, seconds in parts.items())
        note = "; SMOKE: not a result" if is_smoke else f" (aim {GRID_SECONDS} s on one H100)"
        print(f"projected: the paper's grid, batches of {batch_size}: {sum(parts.values()):.0f} s ({each}){note}")


if __name__ == "__main__":
    main()
