"""What a trained network says of each image that it is scored on: probabilities/<trial_id>.parquet, beside the rows.

Of a trial that is scored on the test part and has a validation part, <trial_id>.validation.parquet has what it says of
that one: what is fitted or chosen after the training, like a temperature or an ensemble, must not see the test part.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.results.storage import PATIENCE, Storage, persistently
from galaxytl.system.files import FULL, write_atomically
from galaxytl.trial import TrialSpec

ENDINGS: Final = {"scored": ".parquet", "validation": ".validation.parquet"}
"""Of the part that a trial is scored on, and of the validation part where that is another one."""


class ResultsFull(OSError):
    """There is no room in the results folder, which is no trial's fault: the next would end like this one."""


def names_of(spec: TrialSpec) -> tuple[str, ...]:
    """The files of a trial, relative to the results folder, whether they are there or not."""
    return tuple(name_of(spec, part) for part in ENDINGS)


def name_of(spec: TrialSpec, part: str = "scored") -> str:
    """Return the name of a trial's file for one of ENDINGS, relative to the results folder."""
    return f"probabilities/{spec.trial_id}{ENDINGS[part]}"


def store_probabilities(
    out: Path,
    storage: str,
    name: str,
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
) -> None:
    """Write the file `name` (`name_of`), one row an image: `row` of the dataset, true `label`, float32 `p0`..`p9`.

    The file is complete before the trial has a row, so that a row's files are there. Where the disk of the results
    folder `out` is full, and results are kept at a `storage`, straight there; else it raises ResultsFull.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"row": rows, "label": labels}
    columns |= {f"p{i}": p for i, p in enumerate(probabilities.T.astype(np.float32))}
    table = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), table)
    content = table.getvalue().to_pybytes()
    try:
        write_atomically(out / name, content)
    except OSError as error:
        if error.errno not in FULL:
            raise
        if not storage:
            trial_id = Path(name).name.partition(".")[0]
            what = f"{error.strerror}: the probabilities of trial {trial_id} could not be written"
            how = "make room, and the same command goes on"
            raise ResultsFull(error.errno, f"{what}; {how}", str(out / name)) from error
        persistently(lambda: Storage(storage).put(name, content), PATIENCE)
