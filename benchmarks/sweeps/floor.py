"""What the work that must be done costs at plain Keras's speed: one process, all cores, everything warm.

    python benchmarks/sweeps/floor.py WORK.json OUT.json

For each backbone of the work (bench_sweep.py writes it), in seconds: `prefix`, of an image through the frozen part, in
large batches; and for each cut `step`, of one training step on the activations stored there, and `watch`, of an image
through what follows the cut. Heads (cut 0) of all learning rates are one Dense layer with that many times
ten outputs: one pass over the features is all that they need.
"""

from __future__ import annotations

import json
import os
import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

NUM_CLASSES = 10
LARGE_BATCH = 64
REPEATS = 10


def main() -> None:
    work_path, out_path = sys.argv[1:]
    work = json.loads(Path(work_path).read_text())
    measured = {name: measure_backbone(name, work) for name in work["backbone"]}
    Path(out_path).write_text(json.dumps(measured, indent=1))


def measure_backbone(name: str, work: dict[str, Any]) -> dict[str, Any]:
    import keras

    from galaxytl.networks.blocks import between, find_blocks

    shape = (work["image_size"], work["image_size"], 3)
    backbone = getattr(keras.applications, name)(include_top=False, weights=work["weights"][name], input_shape=shape)
    backbone.trainable = False
    num_blocks = len(find_blocks(backbone))
    first_cut = min(work["unfrozen_blocks"])
    prefix_seconds = seconds_an_image(between(backbone, num_blocks, first_cut))
    backbone.trainable = True
    cuts = {}
    for cut in work["unfrozen_blocks"]:
        num_heads = len(work["learning_rate"]) if cut == 0 else 1
        suffix = between(backbone, cut, 0) if cut else None
        start = suffix.input if suffix else keras.Input(backbone.output_shape[1:])
        model = with_heads(start, suffix.output if suffix else start, num_heads)
        cuts[str(cut)] = {
            "step": seconds_a_step(model, num_heads, work["batch_size"]),
            "watch": seconds_an_image(model),
        }
    return {"prefix": prefix_seconds, "cuts": cuts}


def with_heads(start: Any, features: Any, num_heads: int) -> Any:
    """Return `start` to `features`, Flatten, Dense: logits (B, num_heads, 10); compiled with Adam, without XLA."""
    import keras

    logits = keras.layers.Dense(num_heads * NUM_CLASSES)(keras.layers.Flatten()(features))
    model = keras.Model(start, keras.layers.Reshape((num_heads, NUM_CLASSES))(logits))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, jit_compile=False)
    return model


def seconds_an_image(model: Any) -> float:
    """Time `predict_on_batch`: `predict` adds 50 ms a call, which is no part of a floor."""
    import keras

    inputs = keras.ops.convert_to_tensor(noise((LARGE_BATCH, *model.input_shape[1:])))
    model.jit_compile = False
    return shortest(lambda: model.predict_on_batch(inputs), REPEATS // 2) / LARGE_BATCH


def seconds_a_step(model: Any, num_heads: int, batch_size: int) -> float:
    """Time a step on inputs that are tensors already: a floor does not wait for them."""
    import keras

    inputs = keras.ops.convert_to_tensor(noise((batch_size, *model.input_shape[1:])))
    labels = keras.ops.convert_to_tensor(np.zeros((batch_size, num_heads), np.int64))
    return shortest(lambda: model.train_on_batch(inputs, labels), REPEATS)


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


def shortest(run: Callable[[], Any], repeats: int) -> float:
    """Return the seconds of the fastest of `repeats` runs after a first one, which compiles."""
    run()
    return min(timeit.repeat(run, number=1, repeat=repeats))


if __name__ == "__main__":
    main()
