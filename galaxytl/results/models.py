"""The weights of trained networks: models/<trial_id>.npz, beside the rows.

    store_model(out, spec, arrays)             # before the trial has a row
    arrays = read_model(path, spec)
    drop_models(out, best(results, most=3))    # whose weights a sweep keeps: the best by validation accuracy

A file holds what was trained, under the names of `galaxytl.networks.warm`, and the spec; frozen weights are those that
the spec starts from. No pickle.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.results.predictions import validation_accuracy
from galaxytl.system.arrays import DAMAGED, opened_npz
from galaxytl.system.files import FULL, write_atomically
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec

FOLDER: Final = "models"
MOST_UNRANKED: Final = 12
"""Trials without a validation part whose weights are kept: nothing but the test part could rank them."""
SPEC: Final = "spec"
"""The name, in a file, of the spec as JSON."""


class ModelError(ValueError):
    """A trial's weights are not there, or are not its own; the message says which."""


def best(results: Iterable[TrialResult], most: int | None) -> list[TrialResult]:
    """Return the `most` best COMPLETE trials by validation accuracy, the best first, and the first MOST_UNRANKED of
    those without a validation part, which have no rank. None: all."""
    complete = [result for result in results if result.status == COMPLETE]
    if most is None:
        return complete
    ranked = sorted((result for result in complete if is_ranked(result)), key=rank)
    unranked = [result for result in complete if not is_ranked(result)]
    return ranked[:most] + unranked[: MOST_UNRANKED if most else 0]


def is_ranked(result: TrialResult) -> bool:
    """Return whether a validation part says how good the trial is."""
    return validation_accuracy(result) is not None


def rank(result: TrialResult) -> tuple[float, float, bool, str]:
    """Return what sorts the better of two ranked trials first: by accuracy, then loss, on the validation part. Of a
    trial that a search has scored twice, the one with the test score comes first."""
    accuracy, loss = validation_accuracy(result), result.history[-1].get("val_loss")
    loss = loss if loss is not None and math.isfinite(loss) else math.inf
    return -(accuracy or 0.0), loss, result.spec.scored_on != "test", result.trial_id


def model_name(spec: TrialSpec) -> str:
    """Return the name of the file of a trial's weights, relative to the results folder."""
    return f"{FOLDER}/{spec.trial_id}.npz"


def store_model(out: Path, spec: TrialSpec, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a trial's weights into the results folder `out`. A disk without room for them costs the weights, not the
    trial: it can be trained again."""
    content = io.BytesIO()
    text = np.frombuffer(json.dumps(spec.to_dict()).encode(), np.uint8)
    np.savez(content, allow_pickle=False, **{SPEC: text}, **arrays)
    try:
        write_atomically(out / model_name(spec), content.getvalue())
    except OSError as error:
        if error.errno not in FULL:
            raise
        print(f"the weights of trial {spec.trial_id} could not be kept: {error}", flush=True)


def read_model(path: Path, spec: TrialSpec) -> dict[str, NDArray[Any]]:
    """Return the weights of a trial by name. Raises ModelError."""
    if not path.is_file():
        raise ModelError(f"the weights of trial {spec.trial_id} are not there ({path})")
    try:
        with opened_npz(path) as file:
            written = json.loads(file[SPEC].tobytes())
            arrays = {name: file[name] for name in file.files if name != SPEC}
        if TrialSpec.from_dict(written).trial_id != spec.trial_id:
            raise ValueError("it holds another trial's")
    except DAMAGED as error:
        raise ModelError(f"the weights of trial {spec.trial_id} cannot be read from {path}: {error}") from error
    return arrays


def drop_models(folder: Path, keep: Iterable[TrialResult]) -> list[str]:
    """Remove the weights in a results folder that are none of these trials'; return the names of the files."""
    wanted = {model_name(result.spec) for result in keep}
    names = [f"{FOLDER}/{path.name}" for path in (folder / FOLDER).glob("*.npz")]
    dropped = [name for name in names if name not in wanted]
    for name in dropped:
        with contextlib.suppress(FileNotFoundError):
            (folder / name).unlink()
    return dropped
