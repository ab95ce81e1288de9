from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from galaxytl.results.predictions import (
    CATALOGUE_COLUMNS,
    PredictionsError,
    Probabilities,
    columns_to_keep,
    name_of,
    read_descriptions,
    read_scored,
    store_probabilities,
)
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from galaxytl.trial.reading import MOST_ASKED

ROWS = np.array([3, 5, 9])
LABELS = np.array([0, 1, 999])
IDS = np.array(["J01", "", "x" * 99])
SKY = {"id": IDS, "ra": np.array([1.25, np.nan, 359.999991]), "dec": np.array([-0.5, np.nan, 3.0])}


def stored(folder: Path, columns: dict[str, Any], num_classes: int = 1000) -> TrialResult:
    """A trial's row, whose file says the true class of each of three images with certainty."""
    spec = TrialSpec(dataset="mine", dataset_fingerprint="0", num_classes=num_classes)
    values = np.eye(num_classes, dtype=np.float32)[LABELS % num_classes]
    found = Probabilities(ROWS, LABELS % num_classes, values, columns=columns)
    store_probabilities(folder, "", name_of(spec), found)
    return TrialResult(spec=spec, status=COMPLETE, metrics={"accuracy": 1.0, "loss": 0.0}, num_images={"test": 3})


def test_a_thousand_classes_and_twenty_columns(tmp_path: Path) -> None:
    asked = {f"c{i}": np.array(["a", "b", "c"]) if i % 2 else ROWS / 3 for i in range(MOST_ASKED)}
    result = stored(tmp_path, {**SKY, "redshift": ROWS / 7, **asked})
    found = read_scored(tmp_path, result)
    assert (found.values.shape, found.columns) == ((3, 1000), {})
    table = pq.read_table(tmp_path / name_of(result.spec))
    assert table.column_names[-20:] == [*CATALOGUE_COLUMNS, *asked]
    assert [str(table[name].type) for name in ("id", "ra", "c1")] == ["string", "double", "string"]
    assert read_descriptions(tmp_path, result, [3, 5, 9, 7]) == {
        3: "J01 (ra 1.25000, dec -0.50000)",
        9: f"{'x' * 60} (ra 359.99999, dec 3.00000)",
    }
    result = stored(tmp_path, {**SKY, **dict.fromkeys(map(str, range(1099)), ROWS)})
    with pytest.raises(PredictionsError, match="there may be 3 rows, and 268,435,456 numbers; got 3 of 2,104 columns"):
        read_scored(tmp_path, result)


def test_a_file_without_them_says_nothing(tmp_path: Path) -> None:
    result = stored(tmp_path, {}, num_classes=10)
    assert len(read_scored(tmp_path, result).rows) == 3
    assert read_descriptions(tmp_path, result, ROWS.tolist()) == {}


def test_which_columns_are_kept() -> None:
    """Those of the catalogue where anything is known, and those that were asked for; ours keep their names."""
    unknown = {"redshift": np.full(3, np.nan), "id": np.array([""] * 3), "ra": SKY["ra"], "pxscale": ROWS / 1}
    own = {"label": IDS, "p3": ROWS / 2, "pa": ROWS / 2}
    kept = columns_to_keep({**unknown, **own}, ("label", "p3", "pa", "ra"))
    assert list(kept) == ["ra", "data_label", "data_p3", "pa"]


def test_a_strangers_file_takes_no_memory(tmp_path: Path) -> None:
    """A page may say one long text a million times."""
    result = stored(tmp_path, {}, num_classes=10)
    path = tmp_path / name_of(result.spec)
    for column, message in (
        (pa.array([b"x"] * 3), "id must not be of type dictionary<values=binary"),
        (pa.array([1, 2, 3]), "column id must not be of type int64"),
    ):
        pq.write_table(pa.table({"row": ROWS, "id": column}), path)
        with pytest.raises(PredictionsError, match=message):
            read_descriptions(tmp_path, result, ROWS.tolist())
    count = 100_000
    long = pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), ["x" * 2**20])  # 100 GB, written out
    pq.write_table(pa.table({"row": np.arange(count), "id": long}), path)
    whole = TrialResult(spec=result.spec, status=COMPLETE, num_images={"test": count})
    assert read_descriptions(tmp_path, whole, [5]) == {5: "x" * 60}
