"""ImageNet weights: where the file is, whether it is whole, and which tensors it holds.

    weights = find_weights("VGG16", weights_dir)     # .path, .fingerprint

Looked for in `weights_dir`, in $GALAXYTL_WEIGHTS_DIR, and where Keras keeps its downloads; else Keras downloads it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from galaxytl.backbones import Backbone, backbone_named

PROBE_SECONDS = 10
"""How long the weights' server may take to answer before it counts as out of reach."""


class WeightsError(ValueError):
    """A weights file that is there but cannot be used."""


class WeightsNotFoundError(WeightsError):
    """No weights file, and none could be downloaded."""


@dataclass(frozen=True)
class Weights:
    path: Path
    fingerprint: str


def find_weights(backbone_name: str, weights_dir: Path | None = None, *, download: bool = True) -> Weights:
    """The ImageNet weights of a backbone, checked.

    Raises WeightsNotFoundError when there are none, WeightsError when the file is damaged or another backbone's.
    """
    backbone = backbone_named(backbone_name)
    places = weight_places(weights_dir)
    for place in places:
        if (path := place / backbone.weights_file).is_file():
            return Weights(path, fingerprint_of(path, backbone))
    if download and (path := places[-1] / backbone.weights_file) and _download(backbone) and path.is_file():
        return Weights(path, fingerprint_of(path, backbone))
    raise WeightsNotFoundError(
        f"ImageNet weights of {backbone.name} not found: put {backbone.weights_file} into --weights-dir "
        f"(looked in {', '.join(map(str, places))}; get it from {backbone.weights_url})"
    )


def weight_places(weights_dir: Path | None) -> list[Path]:
    """Folders that are looked into, in order; the last is Keras's own."""
    named = [weights_dir] if weights_dir else []
    if variable := os.environ.get("GALAXYTL_WEIGHTS_DIR"):
        named.append(Path(variable))
    return [*named, Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"]


def fingerprint_of(path: Path, backbone: Backbone) -> str:
    """SHA-256 over the sorted digests of all tensors: equal for equal tensors in whatever layout they lie.

    The MD5 that Keras pins is of the file, and so differs between layouts of the same weights. A process reads each
    file once, as long as its size and time of modification stay the same.
    """
    state = path.stat()
    return _fingerprint(path, backbone, state.st_size, state.st_mtime_ns)


@functools.cache
def _fingerprint(path: Path, backbone: Backbone, *_state: int) -> str:
    import h5py

    digests: list[bytes] = []
    count = 0

    def visit(_: str, item: Any) -> None:
        nonlocal count
        if isinstance(item, h5py.Dataset):
            tensor = np.ascontiguousarray(item[()])
            count += tensor.size
            digests.append(hashlib.sha256(f"{tensor.dtype}{tensor.shape}".encode() + tensor.tobytes()).digest())

    try:
        with h5py.File(path, "r", locking=False) as file:
            _saved_weights(file).visititems(visit)
    except (OSError, RuntimeError) as error:
        raise WeightsError(f"{path} cannot be read as HDF5, perhaps truncated: {error}. Fetch it again.") from error
    if count != backbone.num_parameters:
        raise WeightsError(
            f"{path} must hold the {backbone.num_parameters:,} weights of {backbone.name} without its top; "
            f"it holds {count:,}, so it is another network's. Get it from {backbone.weights_url}"
        )
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def _saved_weights(file: Any) -> Any:
    """The part of an open HDF5 file that Keras's `load_weights` reads: not the optimizer's state beside a model's."""
    return file["model_weights"] if "layer_names" not in file.attrs and "model_weights" in file else file


def _download(backbone: Backbone) -> bool:
    """Let Keras download and verify its file, in a process of its own so that the driver stays without Keras.

    It builds the network to do so, at 224 pixels: of MobileNet's files that is the one we want, and NASNet's does not
    fit a network of no fixed size (`galaxytl.keras_networks`).
    """
    try:
        request = urllib.request.Request(backbone.weights_url, method="HEAD")
        urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()
    except OSError:
        return False
    print(f"Downloading {backbone.weights_url}", flush=True)
    arguments = "include_top=False, input_shape=(224, 224, 3), weights='imagenet'"
    code = f"import keras; keras.applications.{backbone.name}({arguments})"
    return subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
