"""Stored activations: below a cut where nothing is trained, a backbone gives the same in every epoch and every trial.

    inputs = stored_activations(spec, (6, 3), source)     # (N, h, w, channels), memory-mapped; computed if not there

Owner: the cache folder of the node. Key: everything that the values depend on (`activations_folder`). Lifetime: until
the cache is over its limit and no process uses it (`galaxytl.system.cache`). What it saves, on 2 CPU cores at 224 px: a
head's step on stored activations costs 1/62 of the full frozen step for MobileNet, 1/110 for ResNet50 and 1/604 for
VGG16, in every epoch of every trial.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes  # noqa: F401 (NumPy knows bfloat16 by its name from here on)
import numpy as np
from numpy.typing import NDArray

from galaxytl.learning.augmentation import views
from galaxytl.learning.job import ALONE, Neighbours
from galaxytl.networks import blocks, device
from galaxytl.system import cache
from galaxytl.system.cache import is_intact
from galaxytl.system.prefetch import ahead
from galaxytl.trial import TrialSpec

if TYPE_CHECKING:
    from galaxytl.networks.warm import Network

FORMAT = 2  # of the folder; raised when older activations must not be read
CPU_BATCH, GPU_BATCH = 32, 256  # images of 224 x 224 in a batch, more if they are smaller, so that memory stays bounded


@dataclass(frozen=True)
class Source:
    """Inputs of the computation of activations, and its callbacks."""

    images: Any
    """(N, S, S, 3) of the dataset, or what gives rows of views of them (`augmentation.views`)."""
    rows: NDArray[np.int64]
    """Rows of these whose activations are wanted, ascending."""
    network: Callable[[], Network]
    """Builds the backbone: only asked when something has to be computed."""
    on_progress: Callable[[int, int], None]
    on_computed: Callable[[float], None]
    """Told the multiply-adds that were executed."""
    neighbours: Neighbours = ALONE


def rows_digest(rows: NDArray[np.int64]) -> str:
    """Return the SHA-256 of the numbers of some rows of a dataset."""
    return hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").tobytes()).hexdigest()


def makers(spec: TrialSpec) -> list[str]:
    """Return what activations are made by: other versions may build, draw or resize otherwise."""
    drawn_by = device.backend() if spec.weights == "random" else ""  # TensorFlow and JAX draw others from one seed
    return [drawn_by, version("keras"), version("pillow"), *views.makers(spec)]


def activations_folder(spec: TrialSpec, digest: str, cut: int) -> Path:
    """Return where on this node the activations at a cut lie, if they do, of the rows with this `rows_digest`.

    Its name is a hash of all that their values depend on.
    """
    facts = [FORMAT, blocks.FORMAT, *spec.backbone_key, *makers(spec), digest, cut]
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    return cache.cache_dir() / "features" / name


def stored_activations(spec: TrialSpec, stored: tuple[int, ...], source: Source) -> NDArray[Any]:
    """Return the activations of `source.rows` at the last of the cuts `stored`, (N, h, w, channels), memory-mapped.

    If they are not on this node, another node's are copied; else those at the cuts before are stored too, each computed
    from the one before it.
    """
    *before, cut = stored
    folder = activations_folder(spec, rows_digest(source.rows), cut)
    took = math.inf

    def build(unfinished: Path) -> None:
        nonlocal took
        if source.neighbours.fetch(folder.name, unfinished) and _is_readable(unfinished) and is_intact(unfinished):
            return
        started = time.monotonic()
        compute(unfinished)
        took = time.monotonic() - started

    def compute(unfinished: Path) -> None:
        inputs, first_cut = None, None
        if before:
            inputs, first_cut = stored_activations(spec, tuple(before), source), before[-1]
        _compute(spec, (first_cut, cut), inputs, source, unfinished)

    try:
        cache.built_once(folder, build, is_complete=_is_readable)
    except BaseException:
        source.neighbours.give_up(folder.name)
        raise
    source.neighbours.announce(folder.name, folder, took)
    return _opened(folder, spec)


def _compute(
    spec: TrialSpec, cuts: tuple[int | None, int], inputs: NDArray[Any] | None, source: Source, folder: Path
) -> None:
    """Write the activations at the second cut, computed from `inputs` at the first: from images where it is None."""
    network = source.network()
    first_cut = len(network.structure.blocks) if cuts[0] is None else cuts[0]
    shape = (len(source.rows), *network.structure.shape_at(cuts[1]))
    dtype = np.dtype(spec.activations_dtype)
    cache.make_room(cache.cache_dir(), dtype.itemsize * math.prod(shape))  # known only now that the network is built
    stored = cache.create_array(folder / "activations.npy", _on_disk(dtype), shape)
    batch = batch_size(len(source.rows), spec.image_size)
    forward = network.forward(first_cut, cuts[1])
    pending: tuple[slice, Any] | None = None
    for rows, padded in ahead(_batches(source, inputs, batch)):
        computed = (rows, forward(padded))
        if pending:
            _write(stored, *pending)  # while the device computes the batch that is coming
        pending = computed
        source.on_progress(rows.start, len(source.rows))
        source.on_computed(batch * float(network.structure.multiply_adds(first_cut, cuts[1])))
    if pending:
        _write(stored, *pending)
    source.on_progress(len(source.rows), len(source.rows))
    stored.flush()
    (folder / "manifest.json").write_text(json.dumps(_manifest(spec, cuts[1], shape)))


def _write(stored: NDArray[Any], rows: slice, computed: Any) -> None:
    stored[rows] = np.asarray(computed)[: rows.stop - rows.start].view(stored.dtype)


def _batches(source: Source, inputs: NDArray[Any] | None, batch: int) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Give rows of the result, and what they are computed from, padded to `batch` rows: one shape is compiled."""
    for start in range(0, len(source.rows), batch):
        rows = slice(start, min(start + batch, len(source.rows)))
        part = source.images[source.rows[rows]] if inputs is None else np.asarray(inputs[rows])
        if len(part) < batch:
            part = np.concatenate([part, np.zeros((batch - len(part), *part.shape[1:]), part.dtype)])
        yield rows, part


def batch_size(num_rows: int, image_size: int) -> int:
    """Return how many images are computed at once: as memory allows, and so that the last batch is nearly full."""
    limit = (GPU_BATCH if device.on_gpu() else CPU_BATCH) * 224**2
    most = min(1024, max(1, limit // image_size**2))
    return math.ceil(num_rows / math.ceil(num_rows / most))


def _on_disk(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in the file, uint16 for the bits of a bfloat16: NumPy's format does not know it."""
    return np.dtype(np.uint16) if dtype.name == "bfloat16" else dtype


def _is_readable(folder: Path) -> bool:
    """Return False where nothing is, or where the file is shorter than its header says: it is rebuilt."""
    try:
        np.load(folder / "activations.npy", mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return True


def _opened(folder: Path, spec: TrialSpec) -> NDArray[Any]:
    return np.load(folder / "activations.npy", mmap_mode="r").view(spec.activations_dtype)


def _manifest(spec: TrialSpec, cut: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return what the folder holds, for people."""
    return {
        "what": f"activations of {spec.backbone}, {cut} blocks before its output",
        "weights": spec.weights_label,
        "dataset": spec.dataset,
        "dataset_fingerprint": spec.dataset_fingerprint,
        "image_size": spec.image_size,
        "preprocessing": spec.preprocessing,
        "precision": spec.precision,
        **({"views": spec.views} if spec.views else {}),
        "cut": cut,
        "shape": shape,
    }


@dataclass(frozen=True)
class LiveActivations:
    """Activations that are not stored: `live[rows]` computes them from what is. Has an array's `shape` and `dtype`."""

    inputs: Any
    """At the stored cut, or images: an array, or what gives rows of one by `inputs[rows]`."""
    forward: Callable[[Any], Any]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    batch: int
    on_rows: Callable[[int], None]

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        parts = []
        for start in range(0, len(rows), self.batch):
            part = self.inputs[rows[start : start + self.batch]]
            padded = np.zeros((self.batch, *part.shape[1:]), part.dtype)
            padded[: len(part)] = part
            parts.append(np.asarray(self.forward(padded))[: len(part)])
            self.on_rows(self.batch)
        return np.concatenate(parts)
