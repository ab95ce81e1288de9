"""How much memory reading a Parquet file takes, found out before anything is decompressed.

    check_layout(parquet, stream, ["label", "ra"], most_page=SMALL_PAGE)       # raises ValueError

What a file's footer tells of sizes is as little to be believed as the rest: one run stands for any number of rows, and
one entry of a dictionary for any number of long cells. What binds a reader are its batches of rows, and each page's own
header, which Arrow obeys: so the headers of all pages are read first (`parquet.thrift`, struct PageHeader).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

SMALL_PAGE: Final = 32 * 2**20
"""Bytes, decompressed, of a page of numbers: writers make them of 1 MiB."""
LARGE_PAGE: Final = 160 * 2**20
"""Of a page of pictures: 1024 of Galaxy10's as PNG; writers look at a page's size every 1024 rows."""
WINDOW: Final = 2**16  # bytes read at a time; headers have some 50
LONGEST_HEADER: Final = 2**20
UNCOMPRESSED, COMPRESSED = 2, 3
"""Fields of PageHeader: bytes of the page."""
TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
"""Types of Thrift's compact protocol; those between are whole numbers."""
UNREADABLE: Final = (OSError, KeyError, IndexError, ValueError, TypeError, RuntimeError, MemoryError)
"""What pyarrow raises for a damaged file."""
MOST_NESTED: Final = 8


def check_layout(parquet: Any, stream: Any, columns: Sequence[str], most_page: int) -> int:
    """Return the bytes of the largest page of `columns` (top-level names, or paths like image.bytes) of a ParquetFile.

    stream: the pyarrow file that it was opened from. Raises ValueError for pages larger than `most_page`, for columns
    of one name, and for parts that lie over each other.
    """
    names = [field.name for field in parquet.schema_arrow]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"columns must have different names; several are called {twice[0][:60]}")
    window, size, largest, used = _Window(stream), stream.size(), 0, 0
    for chunk in _chunks(parquet.metadata, columns):
        places = [place for place in (chunk.dictionary_page_offset, chunk.data_page_offset) if place]
        start = min(places, default=0)
        used += chunk.total_compressed_size
        if not (0 < start <= start + chunk.total_compressed_size <= size) or used > size:
            raise ValueError(f"the parts of column {chunk.path_in_schema} must lie in the file, beside each other")
        for page in _pages(window, start, start + chunk.total_compressed_size):
            largest = max(largest, page)
            if largest > most_page:
                raise ValueError(
                    f"pages of column {chunk.path_in_schema} must have at most {most_page // 2**20} MiB decompressed; "
                    f"one has {largest / 2**20:,.0f}. Write it with smaller row groups: pq.write_table(table, file, "
                    "row_group_size=100)"
                )
    return largest


def num_rows(parquet: Any) -> int:
    """Return the rows of all row groups, which need not be what the footer says of the file."""
    rows = [parquet.metadata.row_group(i).num_rows for i in range(parquet.metadata.num_row_groups)]
    if any(count < 0 for count in rows) or sum(rows) != parquet.metadata.num_rows:
        raise ValueError(f"the file must have as many rows as its row groups; got {parquet.metadata.num_rows:,}")
    return sum(rows)


def check_types(schema: Any, are_right: Mapping[str, Callable[[Any], bool]]) -> None:
    """Raise ValueError where a column is of a type that its test refuses, and KeyError where it is not there."""
    for name, is_right in are_right.items():
        if not is_right(kind := schema.field(name).type):
            raise ValueError(f"column {name} must not be of type {str(kind)[:60]}")


def first_line(error: Exception) -> str:
    """Return what pyarrow says first of an error; the rest are places in its own source."""
    return (str(error).splitlines() or ["no message"])[0]


def _chunks(metadata: Any, columns: Sequence[str]) -> Iterator[Any]:
    paths = [metadata.schema.column(j).path for j in range(metadata.num_columns)]
    wanted = [j for j, path in enumerate(paths) if any(path == c or path.startswith(f"{c}.") for c in columns)]
    for i in range(metadata.num_row_groups):
        row_group = metadata.row_group(i)
        if row_group.num_rows:
            yield from (row_group.column(j) for j in wanted)


def _pages(window: _Window, at: int, end: int) -> Iterator[int]:
    """Yield the decompressed size of each page of a column's part of the file."""
    while at < end:
        header = _Header(window, at)
        sizes = header.whole_numbers()
        if sizes.get(COMPRESSED, -1) < 0 or sizes.get(UNCOMPRESSED, -1) < 0:
            raise ValueError(f"the page at byte {at:,} must tell its size")
        yield sizes[UNCOMPRESSED]
        at = header.at + sizes[COMPRESSED]


class _Window:
    """Bytes of a file by their place, a piece of it in memory."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._start, self._piece = stream, 0, b""

    def __getitem__(self, at: int) -> int:
        if not self._start <= at < self._start + len(self._piece):
            self._start, self._piece = at, self._stream.read_at(WINDOW, at)
        if not self._piece:
            raise ValueError("a page's header must lie in the file")
        return int(self._piece[at - self._start])


class _Header:
    """One struct in Thrift's compact protocol, from byte `at` on; behind it when it was read."""

    def __init__(self, window: _Window, at: int) -> None:
        self._window, self.at, self._end = window, at, at + LONGEST_HEADER

    def whole_numbers(self) -> dict[int, int]:
        """Return field -> its value, of those fields that are whole numbers."""
        found, field = {}, 0
        while first := self._byte():
            field = field + (first >> 4) if first >> 4 else self._number()
            if BYTE < (kind := first & 15) < DOUBLE:
                found[field] = self._number()
            else:
                self._skip(kind, 0)
        return found

    def _byte(self) -> int:
        if self.at >= self._end:
            raise ValueError(f"a page's header must have at most {LONGEST_HEADER:,} bytes")
        self.at += 1
        return self._window[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128 and shift < 70:
            value, shift = value | (byte & 127) << shift, shift + 7
        return value | (byte & 127) << shift

    def _number(self) -> int:
        """Read a number in zigzag: 0, -1, 1, -2, ..."""
        value = self._varint()
        return value >> 1 ^ -(value & 1)

    def _skip(self, kind: int, depth: int, in_list: bool = False) -> None:
        if depth > MOST_NESTED:
            raise ValueError("a page's header must not be nested deeply")
        if kind in (TRUE, FALSE):
            self.at += in_list
        elif kind == BYTE:
            self.at += 1
        elif kind == DOUBLE:
            self.at += 8
        elif kind == BINARY:
            length = self._varint()
            self.at += length
        elif kind == STRUCT:
            while first := self._byte():
                if not first >> 4:
                    self._number()
                self._skip(first & 15, depth + 1)
        elif kind in (LIST, SET):
            first = self._byte()
            for _ in range(first >> 4 if first >> 4 < 15 else self._varint()):
                self._skip(first & 15, depth + 1, in_list=True)
        elif kind == MAP:
            raise ValueError("a page's header must hold no map")
        else:
            self._number()
