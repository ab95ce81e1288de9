"""Frozen features: a frozen backbone gives the same output in every epoch and every trial, so it runs once.

    features = frozen_features(spec, images, rows, weights_path, on_progress)     # (len(rows), h, w, channels) float32

Owner: the cache folder of the node. Key: everything that the values depend on (`features_key`). Lifetime: until the
cache is over its limit and no process uses it (`galaxytl.data.cache`). What it saves, on 2 CPU cores at 224 px: a
head's step on stored features costs 1/62 of the full frozen step for MobileNet, 1/110 for ResNet50 and 1/604 for
VGG16, in every epoch of every trial.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxytl import device
from galaxytl.backbones import build_backbone, preprocess
from galaxytl.data import cache
from galaxytl.trial import TrialSpec, seed_for

FORMAT = 1  # of the folder; raised when older features must not be read
BATCH = 64


def features_key(spec: TrialSpec, rows: NDArray[np.int64]) -> str:
    """32 hexadecimal digits: hash of all that the features of these rows of the dataset depend on."""
    facts = {
        "format": FORMAT,
        "dataset": spec.dataset_fingerprint,
        "rows": hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").tobytes()).hexdigest(),
        "image_size": spec.image_size,
        "preprocessing": spec.preprocessing,
        "backbone": spec.backbone,
        "weights": spec.weights_fingerprint if spec.weights == "imagenet" else f"random {seed_for(spec, 'init')}",
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def frozen_features(
    spec: TrialSpec,
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    weights_path: Path | None,
    on_progress: Callable[[int, int], None],
) -> NDArray[np.float32]:
    """The backbone's output for images[rows], memory-mapped (len(rows), h, w, channels); computed if not stored."""
    folder = cache.cache_dir() / "features" / features_key(spec, rows)
    cache.built_once(folder, functools.partial(_compute, spec, images, rows, weights_path, on_progress))
    return np.load(folder / "features.npy", mmap_mode="r")


def _compute(
    spec: TrialSpec,
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    weights_path: Path | None,
    on_progress: Callable[[int, int], None],
    folder: Path,
) -> None:
    backbone = build_backbone(spec, weights_path)
    backbone.trainable = False  # BatchNorm in inference mode
    shape = (len(rows), *backbone.output_shape[1:])
    cache.make_room(cache.cache_dir(), 4 * int(np.prod(shape)))  # known only now that the backbone is built
    features = cache.create_array(folder / "features.npy", np.float32, shape)
    forward = _compiled_forward(spec, backbone)
    for start in range(0, len(rows), BATCH):
        stop = min(start + BATCH, len(rows))
        features[start:stop] = forward(images[rows[start:stop]])
        on_progress(stop, len(rows))
    features.flush()
    facts = {"backbone": spec.backbone, "weights": spec.weights_label, "image_size": spec.image_size, "shape": shape}
    (folder / "manifest.json").write_text(json.dumps(facts))


def _compiled_forward(spec: TrialSpec, backbone: Any) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """uint8 images (n <= BATCH, S, S, 3) to features; the last, short batch is padded, so one shape is compiled."""
    import keras

    pixels = keras.Input((spec.image_size, spec.image_size, 3), dtype="uint8")
    model = keras.Model(pixels, backbone(preprocess(pixels, spec), training=False))
    model.compile(jit_compile="auto" if device.on_gpu() else False)

    def forward(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        padded = np.zeros((BATCH, *batch.shape[1:]), np.uint8)
        padded[: len(batch)] = batch
        return np.asarray(model.predict_on_batch(padded))[: len(batch)]

    return forward
