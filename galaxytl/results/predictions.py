"""What a trained network says of each image that it is scored on: probabilities/<trial_id>.parquet, beside the rows.

Of a trial that is scored on the test part and has a validation part, <trial_id>.validation.parquet has what it says of
that one: what is fitted or chosen after the training, like a temperature or an ensemble, must not see the test part.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.results.storage import PATIENCE, Storage, persistently
from galaxytl.system.files import FULL, write_atomically
from galaxytl.training import ResultsFull, Workplace
from galaxytl.trial import TrialSpec

ENDINGS: Final = {"scored": ".parquet", "validation": ".validation.parquet"}
"""Of the part that a trial is scored on, and of the validation part where that is another one."""


def names_of(spec: TrialSpec) -> tuple[str, ...]:
    """The files of a trial, relative to the results folder, whether they are there or not."""
    return tuple(f"probabilities/{spec.trial_id}{ending}" for ending in ENDINGS.values())


def store_probabilities(
    workplace: Workplace,
    spec: TrialSpec,
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    part: str = "scored",
) -> str:
    """Write one row an image: `row` of the dataset, true `label`, float32 `p0`..`p9`. Returns the relative path.

    part: one of ENDINGS. The file is complete before the trial has a row, so that a row's files are there.
    Where this machine's disk is full, and results are kept at a storage, straight there; else it raises ResultsFull.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"row": rows, "label": labels}
    columns |= {f"p{i}": p for i, p in enumerate(probabilities.T.astype(np.float32))}
    content = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), content)
    name, found = f"probabilities/{spec.trial_id}{ENDINGS[part]}", content.getvalue().to_pybytes()
    try:
        write_atomically(workplace.out / name, found)
    except OSError as error:
        if error.errno not in FULL:
            raise
        if not workplace.storage:
            what = f"{error.strerror}: the probabilities of trial {spec.trial_id} could not be written"
            how = "make room, and the same command goes on"
            raise ResultsFull(error.errno, f"{what}; {how}", str(workplace.out / name)) from error
        persistently(lambda: Storage(workplace.storage).put(name, found), PATIENCE)
    return name
