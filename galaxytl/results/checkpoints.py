"""A trial's checkpoint: named arrays and the history of its epochs in one .npz, replaced atomically, no pickle.

Head-only trials keep the head and its optimizer's state (a few MB), not the backbone.
"""

from __future__ import annotations

import io
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxytl.system.arrays import DAMAGED, opened_npz
from galaxytl.system.files import FULL
from galaxytl.trial import TrialSpec

DIAGNOSTICS = "diagnostics"
Epoch = dict[str, Any]
"""epoch (from 1), loss, accuracy, val_loss, val_accuracy, val_top_share, seconds; and DIAGNOSTICS where there are any:
records of `galaxytl.learning.diagnostics` since the epoch before, that of the start among those of the first."""
RESUMED = {"resumed": 1.0}
"""In the first epoch after a checkpoint from which the trial went on: its process, node or driver had died."""


def split_records(history: Sequence[Epoch]) -> tuple[tuple[dict[str, float], ...], tuple[dict[str, Any], ...]]:
    """Split a history into the epochs as a row has them, and the records, which a row has beside them."""
    plain = tuple({name: value for name, value in epoch.items() if name != DIAGNOSTICS} for epoch in history)
    return plain, tuple(record for epoch in history for record in epoch.get(DIAGNOSTICS, ()))


def with_records(epoch: Epoch, records: list[dict[str, Any]]) -> Epoch:
    return {**epoch, DIAGNOSTICS: records} if records else epoch


def checkpoint_path(out: Path, spec: TrialSpec) -> Path:
    return out / "checkpoints" / f"{spec.trial_id}.npz"


def save_checkpoint(path: Path, arrays: Mapping[str, NDArray[Any]], history: list[Epoch]) -> None:
    """Write a checkpoint. On a full disk the one before stays: training goes on, and the next epoch tries again."""
    unfinished = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}")  # one may train on, cut off, elsewhere
    note = np.frombuffer(json.dumps(history).encode(), np.uint8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.unlink(missing_ok=True)  # of a process of that number before, or a link of who knows whom
        with unfinished.open("xb") as file:
            np.savez(file, allow_pickle=False, history=note, **arrays)
        os.replace(unfinished, path)
    except OSError as error:
        if error.errno not in FULL:
            raise
        print(f"{path} could not be written: {error}", flush=True)
    finally:
        unfinished.unlink(missing_ok=True)  # what a full disk left


class CheckpointWriter:
    """Writes the checkpoints of an epoch while the next is computed, no further behind. Use as a context manager."""

    def __init__(self, on_checkpoint: Callable[[], object]) -> None:
        """on_checkpoint: called, in another thread, when an epoch's are on disk; may take its time to bring them
        elsewhere."""
        self._on_checkpoint, self._thread, self._writing = on_checkpoint, ThreadPoolExecutor(1), Future[None]()
        self._writing.set_result(None)

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        self._thread.shutdown()
        if kind is None:
            self._writing.result()

    def save(self, checkpoints: Sequence[tuple[Path, Mapping[str, NDArray[Any]], list[Epoch]]]) -> None:
        """Write those of one epoch, as `save_checkpoint` takes them; nothing may change them any more. Returns when
        those of the epoch before are written and `on_checkpoint` is done; raises what went wrong with them."""
        self._writing.result()
        self._writing = self._thread.submit(self._save, checkpoints)

    def _save(self, checkpoints: Sequence[tuple[Path, Mapping[str, NDArray[Any]], list[Epoch]]]) -> None:
        for checkpoint in checkpoints:
            save_checkpoint(*checkpoint)
        self._on_checkpoint()


def num_epochs(content: bytes) -> int:
    """Return the number of epochs of a checkpoint's history; 0 of a damaged one's."""
    try:
        with opened_npz(io.BytesIO(content)) as file:
            return len(_history(file))
    except DAMAGED:
        return 0


def epochs_kept(path: Path) -> int:
    """Return the number of epochs of the history in a checkpoint; 0 where there is none, or a damaged one."""
    try:
        return num_epochs(path.read_bytes())
    except OSError:
        return 0


def _history(file: Mapping[str, NDArray[Any]]) -> list[Epoch]:
    """Read by Python's own reader of JSON: the loss of a part that is only watched may be NaN."""
    history = json.loads(file["history"].tobytes())
    if not isinstance(history, list) or not all(map(_is_epoch, history)):
        raise ValueError("its history must be a list of epochs")
    return history


def _is_epoch(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("epoch"), int | float)


def load_checkpoint(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, NDArray[Any]], list[Epoch]]:
    """Return the arrays called `shapes`, of those shapes, and the history; both empty when there is no usable
    checkpoint.

    A damaged file is no reason to lose the trial: it starts from its first epoch.
    """
    if not path.exists():
        return {}, []
    try:
        with opened_npz(path) as file:
            arrays = {name: file[name] for name in shapes}
            history = _history(file)
        if any(arrays[name].shape != shape for name, shape in shapes.items()):
            raise ValueError("its arrays have other shapes than this trial's")
    except DAMAGED as error:
        print(f"{path} is damaged, training starts anew: {error}", flush=True)
        return {}, []
    return arrays, history
