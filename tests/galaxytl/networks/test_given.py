"""Features of any model in files: which are read, in which order, and which are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from galaxytl.networks.given import given_features
from galaxytl.system.locations import DataError

N, WIDTH = 6, 3
VALUES = np.arange(N * WIDTH, dtype=np.float32).reshape(N, WIDTH) / 8  # exact in float16
IDS = np.array([f"J{row}" for row in range(N)])
SHUFFLED = np.array([3, 1, 5, 0, 2, 4])


def as_npy(path: Path, values: np.ndarray, _: np.ndarray) -> Path:
    np.save(path / "f.npy", values)
    return path / "f.npy"


def as_npz(path: Path, values: np.ndarray, ids: np.ndarray) -> Path:
    np.savez(path / "f.npz", features=values, ids=ids)
    return path / "f.npz"


def as_lists(path: Path, values: np.ndarray, ids: np.ndarray) -> Path:
    pq.write_table(pa.table({"embedding": list(values), "id_str": ids, "label": VALUES[:, 0]}), path / "f.parquet")
    return path / "f.parquet"


def as_columns(path: Path, values: np.ndarray, ids: np.ndarray) -> Path:
    columns: dict[str, Any] = {f"feature_{i}": values[:, i] for i in reversed(range(WIDTH))}
    pq.write_table(pa.table({"id": ids, "label": VALUES[:, 0], **columns}), path / "f.parquet")
    return path / "f.parquet"


Write = Callable[[Path, np.ndarray, np.ndarray], Path]


@pytest.mark.parametrize("write", [as_npz, as_lists, as_columns])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_equal_features_are_the_same_in_any_file_and_any_order(tmp_path: Path, write: Write, kind: type) -> None:
    plain = given_features(as_npy(tmp_path, VALUES, IDS), IDS, N)
    assert "cannot be checked, as the file has no ids" in plain.order
    features = given_features(write(tmp_path, VALUES[SHUFFLED].astype(kind), IDS[SHUFFLED]), IDS, N)
    assert features.order == "brought into the dataset's order by their ids"
    assert features.values.dtype == np.float32
    np.testing.assert_array_equal(features.values, VALUES)
    assert features.fingerprint == plain.fingerprint
    other = given_features(as_npy(tmp_path, VALUES[SHUFFLED], IDS), None, N)
    assert other.fingerprint != plain.fingerprint


def test_ids_that_are_numbers_are_those_of_the_dataset(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", features=VALUES, id=np.arange(N))
    assert (
        given_features(tmp_path / "f.npz", np.arange(N).astype(str), N).order == "in the dataset's order, by their ids"
    )
    assert "as the dataset has no ids" in given_features(tmp_path / "f.npz", None, N).order


def changed(row: int, value: float) -> np.ndarray:
    values = VALUES.astype(np.float64)
    values[row, 1] = value
    return values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (VALUES[:-1], "must have a row for each of the dataset's 6 images; it has 5"),
        (changed(2, np.nan), "must hold finite numbers, as float32 too; those of image 2 are not"),
        (changed(4, 1e300), "must hold finite numbers, as float32 too; those of image 4 are not"),
        (VALUES[:, 0], r"must hold a row of numbers an image, \(N, D\); got the shape \(6,\)"),
        (VALUES[:, :0], r"got the shape \(6, 0\)"),
        (VALUES.astype(np.int64), "must hold float32, float16 or float64; got int64"),
        (VALUES.astype(object), "must be whole, and of the kind that its name says"),
    ],
)
def test_what_no_head_can_be_trained_on_is_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        given_features(as_npy(tmp_path, values, IDS), IDS, N)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["J0", "J1", "J2", "J3", "J4", "J9"], "a row for each id of the dataset; 1 are not in it, like J5"),
        (["J0", "J1", "J2", "J3", "J4", "J4"], "ids must differ; .* has J4 twice"),
    ],
)
def test_ids_of_another_dataset_are_refused(tmp_path: Path, ids: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        given_features(as_lists(tmp_path, VALUES, np.array(ids)), IDS, N)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    for write in (as_npy, as_npz, as_lists):
        path = write(tmp_path, VALUES, IDS)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        with pytest.raises(DataError, match="must be whole, and of the kind that its name says; it is not"):
            given_features(path, IDS, N)
    with pytest.raises(DataError, match=r"can be read here, and on each node; got .*nowhere\.npy"):
        given_features(tmp_path / "nowhere.npy", IDS, N)
    table = {"label": VALUES[:, 0], "redshift": VALUES[:, 1]}
    pq.write_table(pa.table(table), tmp_path / "f.parquet")
    with pytest.raises(DataError, match="its columns are label, redshift"):
        given_features(tmp_path / "f.parquet", IDS, N)
