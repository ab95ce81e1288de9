from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxytl.data import DataError
from galaxytl.data.files.arrays import chunks

GZIP = {"compression": "gzip"}
filters = st.sampled_from([{}, GZIP, GZIP | {"shuffle": True}, GZIP | {"fletcher32": True}, {"compression": "lzf"}])


@settings(max_examples=50)
@given(
    st.tuples(st.integers(1, 20), st.integers(1, 12), st.integers(1, 12), st.just(3)),
    st.tuples(st.integers(1, 24), st.integers(1, 12), st.integers(1, 12), st.integers(1, 3)) | st.none(),
    filters,
    st.sampled_from([10**6, 1500, 200]),
    st.booleans(),
)
def test_any_chunks_are_read_once_each_and_no_more_than_fit(
    shape: tuple[int, ...], chunk: tuple[int, ...] | None, filtered: dict[str, Any], slab_bytes: int, has_gap: bool
) -> None:
    """With little memory, rows of chunks go through a file, and single chunks are decompressed piece by piece."""
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    images[-1] *= not has_gap
    layout = {"chunks": chunk, "maxshape": (None,) * 4, **filtered} if chunk else {}
    goes_through_file = chunk is not None and chunk[0] * images[0].nbytes > slab_bytes
    read: list[chunks.Offset] = []
    decoded = chunks.Chunks.decoded
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        path = Path(scratch, "g.h5")
        with h5py.File(path, "w") as file:
            written = len(images) - has_gap  # the last one is perhaps never written
            file.create_dataset("images", shape, np.uint8, **layout)[:written] = images[:written]
        patch.setattr(chunks, "SLAB_BYTES", slab_bytes)
        patch.setattr(chunks, "IMAGES_AT_A_TIME", 4)
        patch.setattr(chunks, "PIECE", 100)
        patch.setattr(chunks.Chunks, "decoded", lambda self, at: (read.append(at), decoded(self, at))[1])
        with h5py.File(path, "r") as file:
            pieces = chunks.slabs(file["images"], lambda: path.open("rb"), Path(scratch))
            if goes_through_file and math.prod(chunk or ()) > slab_bytes and not chunks.Chunks(file["images"]).is_plain:
                with pytest.raises(DataError, match=r"must be plain or gzip.*Rewrite it: h5repack"):
                    list(pieces)
                return
            slabs = list(pieces)
    assert np.array_equal(np.concatenate(slabs), images)
    assert len(read) == len(set(read))
    largest = max(1, slab_bytes // 2 // images[0].nbytes) if goes_through_file else max(4, chunk[0] if chunk else 4)
    assert max(map(len, slabs)) <= largest
