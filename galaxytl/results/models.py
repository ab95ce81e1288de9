"""The weights of trained networks: models/<trial_id>.npz, beside the rows.

    store_model(out, spec, arrays)             # before the trial has a row
    arrays = read_model(path, spec)
    drop_models(out, best(results, most=3))    # of galaxytl.results.ranking: whose weights a sweep keeps

A file holds what was trained, under the names of `galaxytl.networks.warm`, and the spec; frozen weights are those that
the spec starts from. No pickle.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.system.arrays import DAMAGED, opened_npz
from galaxytl.system.files import FULL, write_atomically
from galaxytl.trial import TrialResult, TrialSpec

FOLDER: Final = "models"
SPEC: Final = "spec"
"""The name, in a file, of the spec as JSON."""


class WeightsGoneError(ValueError):
    """A trial's weights are not there, or are not its own; the message says which."""


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
    """Return the weights of a trial by name. Raises WeightsGoneError."""
    if not path.is_file():
        raise WeightsGoneError(f"the weights of trial {spec.trial_id} are not there ({path})")
    try:
        with opened_npz(path) as file:
            written = json.loads(file[SPEC].tobytes())
            arrays = {name: file[name] for name in file.files if name != SPEC}
        if TrialSpec.from_dict(written).trial_id != spec.trial_id:
            raise ValueError("it holds another trial's")
    except DAMAGED as error:
        raise WeightsGoneError(f"the weights of trial {spec.trial_id} cannot be read from {path}: {error}") from error
    return arrays


def drop_models(folder: Path, keep: Iterable[TrialResult]) -> list[str]:
    """Remove the weights in a results folder that are none of these trials', and what a killed process left half
    written; return the names of the files."""
    wanted = {model_name(result.spec) for result in keep}
    names = [f"{FOLDER}/{path.name}" for path in (folder / FOLDER).glob("*")]
    dropped = [name for name in names if name not in wanted]
    for name in dropped:
        with contextlib.suppress(FileNotFoundError):
            (folder / name).unlink()
    return dropped
