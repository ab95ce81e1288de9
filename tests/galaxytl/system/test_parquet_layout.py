"""What reading a Parquet file takes, from the headers of its pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from galaxytl.system.parquet_layout import SMALL_PAGE, check_layout

TABLE = pa.table({"ra": np.linspace(0, 1, 5000), "label": np.zeros(5000, np.int64), "name": ["a" * 90] * 5000})


def largest(path: Path, columns: list[str], most: int = SMALL_PAGE) -> int:
    with pa.OSFile(str(path)) as raw, pq.ParquetFile(raw) as file:
        return check_layout(file, raw, columns, most)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd"])
def test_the_largest_page_is_found_whatever_the_layout(tmp_path: Path, version: str, compression: str) -> None:
    how: dict[str, Any] = {"data_page_version": version, "compression": compression, "write_page_index": True}
    pq.write_table(TABLE, tmp_path / "a", use_dictionary=False, row_group_size=2000, **how)
    assert 2000 * 8 <= largest(tmp_path / "a", ["ra"]) < 2000 * 8 + 100
    assert 2000 * 94 <= largest(tmp_path / "a", ["name"]) < 2000 * 94 + 100
    pq.write_table(TABLE, tmp_path / "b", row_group_size=2000, **how)
    assert largest(tmp_path / "b", ["label", "name"]) < 200  # a dictionary, and one run
    with pytest.raises(ValueError, match=r"pages of column name must have at most .* row_group_size=100"):
        largest(tmp_path / "a", ["ra", "name"], most=100_000)


def test_columns_of_one_name_and_damaged_headers_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([[1], [2]], ["ra", "ra"]), tmp_path / "twice")
    with pytest.raises(ValueError, match="different names; several are called ra"):
        largest(tmp_path / "twice", ["ra"])
    pq.write_table(TABLE, tmp_path / "a")
    data = bytearray((tmp_path / "a").read_bytes())
    data[4:200] = bytes(196)
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ValueError, match="must tell its size"):
        largest(tmp_path / "a", ["ra"])
