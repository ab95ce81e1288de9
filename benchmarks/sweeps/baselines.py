"""The sweeps of bench_sweep.py as people write them with Ray Tune and Keras, without this project.

    python benchmarks/sweeps/baselines.py b1 WORK.json OUT.json      # as it is first written
    python benchmarks/sweeps/baselines.py b2 WORK.json OUT.json      # the careful version

WORK.json (bench_sweep.py writes it) names the HDF5 file, the rows to train and to test on, the seed, and the axes of
the grid. Each trial trains the paper's network (backbone, Flatten, Dense(10)) with Adam in float32, watches the test
part after every epoch, as the paper's curves do, and reports its accuracy there after the last one.

Both train two trials at once on two cores, one CPU each. What differs:

                    b1                                     b2
    process         a new one a trial (Tune's default)     kept from trial to trial (reuse_actors)
    images          HDF5, resized in every trial           resized once, memory-mapped, tf.data cache and prefetch
    step            Keras's defaults: on CPU that is XLA   no XLA (faster here), many steps in one call, one thread
    frozen part     computed in every epoch                computed in every epoch
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

NUM_CLASSES = 10
STEPS_PER_EXECUTION = 16
"""Steps of b2 in one call: beyond this, Python's share of a step is not measurable."""

Work = dict[str, Any]
Config = dict[str, Any]


def main() -> None:
    system, work_path, out_path = sys.argv[1:]
    work: Work = json.loads(Path(work_path).read_text())
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        if system == "b2":
            work["resized"] = str(resize_once(work, Path(folder) / "images.npy"))
        prepare_seconds = time.perf_counter() - started
        train_trial = {"b1": first_version, "b2": careful_version}[system]
        trials = run(train_trial, work, Path(folder), reuse_actors=system == "b2")
    Path(out_path).write_text(json.dumps({"prepare_seconds": prepare_seconds, "trials": trials}, indent=1))


def run(
    train_trial: Callable[..., None], work: Work, folder: Path, reuse_actors: bool
) -> list[dict[str, str | int | float]]:
    """Run the whole grid; return the place of each trial that did not fail, and its last epoch's scores."""
    from ray import tune

    trainable = tune.with_resources(tune.with_parameters(train_trial, work=work), {"cpu": 1})
    tuner = tune.Tuner(
        trainable,
        param_space={axis: tune.grid_search(work[axis]) for axis in ("backbone", "unfrozen_blocks", "learning_rate")},
        tune_config=tune.TuneConfig(reuse_actors=reuse_actors),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    return [
        {**result.config, "accuracy": result.metrics["val_accuracy"], "loss": result.metrics["loss"]}
        for result in tuner.fit()
        if result.error is None
    ]


# b1


def first_version(config: Config, work: Work) -> None:
    """Train one trial: load, build, compile with Keras's defaults, fit."""
    import keras

    images, labels = load_images(work)
    keras.utils.set_random_seed(work["seed"])
    model = build_model(config, work)
    model.compile(
        optimizer=keras.optimizers.Adam(config["learning_rate"]),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    train, test = work["train"], work["test"]
    model.fit(
        images[train],
        labels[train],
        validation_data=(images[test], labels[test]),
        batch_size=work["batch_size"],
        epochs=work["num_epochs"],
        callbacks=[report_to_tune()],
        verbose=0,
    )


def load_images(work: Work) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return all images of the file, (N, S, S, 3) uint8, and their labels (N,)."""
    with h5py.File(work["data"], "r") as file:
        images = np.stack([resize(image, work["image_size"]) for image in file["images"]])
        return images, file["ans"][:].astype(np.int64)


def resize(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


# b2


def resize_once(work: Work, path: Path) -> Path:
    """Write the resized images where every trial can map them; the threads share the resizing."""
    with h5py.File(work["data"], "r") as file, ThreadPoolExecutor() as pool:
        size = work["image_size"]
        images = np.stack(list(pool.map(lambda image: resize(image, size), file["images"])))
        np.save(path, images)
        np.save(path.with_name("labels.npy"), file["ans"][:].astype(np.int64))
    return path


def careful_version(config: Config, work: Work) -> None:
    """Train one trial in a process that has trained others: mapped images, a tf.data pipeline, compiled multi-steps."""
    import keras
    import tensorflow as tf

    keras.utils.clear_session()  # of the trial before
    if tf.config.threading.get_intra_op_parallelism_threads() != 1:
        tf.config.threading.set_intra_op_parallelism_threads(1)  # as many as Tune gave it: two trials share two cores
    keras.utils.set_random_seed(work["seed"])
    model = build_model(config, work)
    model.compile(
        optimizer=keras.optimizers.Adam(config["learning_rate"]),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # Keras's "auto" is XLA, which is slower on CPU for these networks and slow to compile
        steps_per_execution=STEPS_PER_EXECUTION,
    )
    model.fit(
        pipeline(work, work["train"], shuffled=True),
        validation_data=pipeline(work, work["test"], shuffled=False),
        epochs=work["num_epochs"],
        callbacks=[report_to_tune()],
        shuffle=False,  # the pipeline shuffles
        verbose=0,
    )


def pipeline(work: Work, rows: list[int], shuffled: bool) -> Any:
    """Return batches of the mapped images, read in the first epoch and then in memory, as a tf.data.Dataset."""
    import tensorflow as tf

    images = np.load(work["resized"], mmap_mode="r")
    labels = np.load(Path(work["resized"]).with_name("labels.npy"))
    kinds = (tf.TensorSpec(images.shape[1:], tf.uint8), tf.TensorSpec((), tf.int64))
    examples = tf.data.Dataset.from_generator(lambda: ((images[i], labels[i]) for i in rows), output_signature=kinds)
    examples = examples.apply(tf.data.experimental.assert_cardinality(len(rows))).cache()
    if shuffled:
        examples = examples.shuffle(len(rows), seed=work["seed"])
    options = tf.data.Options()
    options.autotune.enabled = False  # with it, an epoch of a pipeline like this ends when the tuner next wakes up
    return examples.batch(work["batch_size"]).prefetch(4).with_options(options)


# Both


def build_model(config: Config, work: Work) -> Any:
    """Return a keras.Model, not compiled, from pixels, 0 to 255, to logits; it trains what follows `last_frozen`."""
    import keras

    name, unfrozen_blocks = config["backbone"], config["unfrozen_blocks"]
    shape = (work["image_size"], work["image_size"], 3)
    constructor = getattr(keras.applications, name)
    backbone = constructor(include_top=False, weights=work["weights"][name], input_shape=shape)
    freeze(backbone, work["last_frozen"][name][str(unfrozen_blocks)])
    pixels = keras.Input(shape)
    scaled = keras.layers.Rescaling(1 / 255)(pixels)
    # Frozen BatchNorm layers are in inference mode in any case; unfrozen ones train.
    features = backbone(scaled, training=False) if unfrozen_blocks == 0 else backbone(scaled)
    initializer = keras.initializers.GlorotUniform(seed=work["seed"])
    head = keras.layers.Dense(NUM_CLASSES, kernel_initializer=initializer)
    return keras.Model(pixels, head(keras.layers.Flatten()(features)))


def freeze(backbone: Any, last_frozen: str) -> None:
    """Freeze all layers up to the one of this name; Keras lists them from the input to the output."""
    names = [layer.name for layer in backbone.layers]
    for layer in backbone.layers[: names.index(last_frozen) + 1]:
        layer.trainable = False


def report_to_tune() -> Any:
    """Return a Keras callback that gives Tune every epoch's scores."""
    import keras
    from ray import tune

    class Report(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            tune.report({"epoch": epoch + 1, **(logs or {})})

    return Report()


if __name__ == "__main__":
    main()
