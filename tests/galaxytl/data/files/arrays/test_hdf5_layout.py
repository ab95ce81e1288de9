"""HDF5 files whose storage would give other numbers than their writer's."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from galaxytl.data import DataError, open_dataset
from galaxytl.data.files.arrays.hdf5_layout import inflated, never_written, stored_chunk, values
from tests.galaxies import LABELS, make_images, write_hdf5


def by_link(file: h5py.File) -> None:
    file["images"] = h5py.ExternalLink("parts.h5", "/images")


def by_soft_link(file: h5py.File) -> None:
    file["other"], file["images"] = h5py.ExternalLink("parts.h5", "/"), h5py.SoftLink("/other/images")


def by_lost_link(file: h5py.File) -> None:
    file["images"] = h5py.ExternalLink("lost.h5", "/images")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((40, 256, 256, 3), np.uint8)
    layout[:20] = h5py.VirtualSource("parts.h5", "images", (40, 256, 256, 3))[:20]
    layout[20:] = h5py.VirtualSource("lost.h5", "images", (40, 256, 256, 3))[20:]
    file.create_virtual_dataset("images", layout)


def external(file: h5py.File) -> None:
    file.create_dataset("images", (40, 256, 256, 3), np.uint8, external=[("lost.raw", 0, h5py.h5f.UNLIMITED)])


@pytest.mark.parametrize(
    ("write", "files"),
    [
        (by_link, r"parts\.h5\."),
        (by_soft_link, r"parts\.h5\."),
        (by_lost_link, r"lost\.h5 \(not found\)"),
        (virtual, r"lost\.h5 \(not found\), parts\.h5"),
        (external, r"lost\.raw \(not found\)"),
    ],
)
def test_images_in_other_files_are_refused_by_name(
    tmp_path: Path, write: Callable[[h5py.File], None], files: str
) -> None:
    write_hdf5(tmp_path / "parts.h5")
    with h5py.File(tmp_path / "g.h5", "w", libver="latest") as file:
        file["ans"] = LABELS
        write(file)
    with pytest.raises(DataError, match=rf"must lie in this file: 'images' lies in .*{files}"):
        open_dataset(str(tmp_path / "g.h5"))


def test_labels_and_positions_in_other_files_are_refused_too(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "parts.h5")
    for name in ("ans", "ra"):
        path = write_hdf5(tmp_path / f"{name}.h5", **{name: None})
        with h5py.File(path, "r+") as file:
            file[name] = h5py.ExternalLink("parts.h5", f"/{name}")
        with pytest.raises(DataError, match=f"'{name}' lies in"):
            open_dataset(str(path))


def test_links_inside_the_file_are_followed(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "g.h5", images=None)
    with h5py.File(path, "r+") as file:
        file["raw/images"], file["images"] = make_images(), h5py.SoftLink("/raw/images")
    assert open_dataset(str(path)).fingerprint == open_dataset(str(write_hdf5(tmp_path / "plain.h5"))).fingerprint


def test_a_filter_whose_memory_has_no_bound_is_named_with_a_way_out(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "g.h5", images=None)
    with h5py.File(path, "r+") as file:
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk((1, 256, 256, 3))
        how.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        space = h5py.h5s.create_simple((40, 256, 256, 3))
        h5py.h5d.create(file.id, b"images", h5py.h5t.NATIVE_UINT8, space, how)
    with pytest.raises(DataError, match=r"32015 \(Zstandard\).*rewrite it: python -c .import h5py, hdf5plugin"):
        open_dataset(str(path))


def test_rows_that_were_never_written_are_found(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "g.h5", "w") as file:
        chunked = file.create_dataset("chunked", (10, 4, 4), np.uint8, chunks=(3, 4, 2))
        chunked[0:3], chunked[6:10, :, :2] = 1, 1
        assert never_written(chunked).tolist() == [3, 4, 5, 6, 7, 8, 9]
        chunked[:] = 1
        plain = file.create_dataset("plain", (5, 2), np.uint8)
        assert (never_written(chunked).size, never_written(plain).tolist()) == (0, [0, 1, 2, 3, 4])
        plain[0] = 1
        assert not never_written(plain).size


def test_what_would_decompress_to_more_than_is_declared_is_refused() -> None:
    whole = zlib.compress(bytes(1000))
    assert inflated(whole, 1000) == bytes(1000)
    with pytest.raises(ValueError, match="more than the 999 bytes"):
        inflated(whole, 999)
    with pytest.raises(ValueError, match="cut off"):
        inflated(whole[:-5], 1000)


def test_many_chunks_are_looked_up_not_gone_through(tmp_path: Path) -> None:
    """Galaxy10_DECals.h5 has 49,152 of images: to ask HDF5 for the size of each took three minutes."""
    with h5py.File(tmp_path / "g.h5", "w") as file:
        labels = file.create_dataset("ans", (16_384,), np.uint8, chunks=(1,), compression="gzip", maxshape=(None,))
        content = zlib.compress(bytes(1))
        for row in range(16_383):  # the last is never written
            labels.id.write_direct_chunk((row,), content)
        begun = time.monotonic()
        assert not values(labels, "ans", "g.h5").any()
        assert time.monotonic() - begun < 8  # 0.5 s, or 20 s


def test_a_chunk_larger_than_was_said_is_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "g.h5", "w") as file:
        labels = file.create_dataset("ans", (4,), np.uint8, chunks=(4,), compression="gzip")
        labels.id.write_direct_chunk((0,), bytes(1000))
        with pytest.raises(ValueError, match="must take at most 260 bytes"):
            stored_chunk(labels, (0,), 260)


def test_odd_attributes_are_no_names(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "g.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["classes"], file.attrs["labels"] = h5py.Empty("S3"), np.arange(3)
        file.attrs["names"] = file["images"].ref
        file["categories"], file["class"] = h5py.Empty("f4"), h5py.SoftLink("/nowhere")
        file["target_names"] = h5py.SoftLink("/target_names")
    with pytest.raises(DataError, match="leads round in a circle"):
        open_dataset(str(path))
    with h5py.File(path, "r+") as file:
        del file["target_names"]
    assert open_dataset(str(path)).source.classes.own == ()


def test_attributes_without_end_are_not_gone_through(tmp_path: Path) -> None:
    path = tmp_path / "g.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["images"], file["ans"] = make_images(), LABELS
        for number in range(10_001):
            file.attrs.create(f"a{number}", 1, dtype=np.uint8)
    with pytest.raises(DataError, match="there may be 10,000 attributes"):
        open_dataset(str(path))
