"""WebDataset's tar files, read where they lie."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from galaxytl.data import DataError, open_dataset
from galaxytl.data.files.classes import Classes
from galaxytl.data.files.fingerprint import ContentHash
from galaxytl.data.files.pictures import png
from galaxytl.trial.reading import AS_FOUND, Reading

Members = Sequence[tuple[str, bytes | str]]


def image(number: int) -> np.ndarray:
    return np.full((16, 16 + number, 3), 9 * number, np.uint8)


PNGS = [png(image(number)) for number in range(4)]


def write(path: Path, members: Members) -> Path:
    """Write a tar file; a text in the place of bytes makes a link to it."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("kind", "labels", "reading", "names"),
    [
        ("cls", [b"1", b"0", b"1\n", b"2"], AS_FOUND, ("class 0", "class 1", "class 2")),
        ("cls", [b"1", b"0", b"1", b"2"], Reading(class_names=("a", "b", "c")), ("a", "b", "c")),
        ("json", [f'{{"label": "{name}"}}'.encode() for name in "babc"], AS_FOUND, ("a", "b", "c")),
        ("txt", [b"b", b"a", b"b", b"c"], AS_FOUND, ("a", "b", "c")),
    ],
)
def test_shards_in_order_of_their_names(
    tmp_path: Path, kind: str, labels: list[bytes], reading: Reading, names: tuple[str, ...]
) -> None:
    samples = [[(f"x/{n}.png", PNGS[n]), (f"x/{n}.{kind}", labels[n]), (f"x/{n}.caption", b"?")] for n in range(4)]
    write(tmp_path / "mine-000001.tar", [*samples[2], *samples[3]])
    write(tmp_path / "mine-000000.tar", [("x/._0.png", b"of macOS"), *samples[0], *reversed(samples[1])])
    dataset = open_dataset(str(tmp_path), tmp_path / "cache", reading=reading)
    assert (dataset.labels.tolist(), dataset.class_names) == ([1, 0, 1, 2], names)
    assert dataset.columns["id"].tolist() == ["x/0", "x/1", "x/2", "x/3"]
    content = ContentHash()
    content.add(image(number) for number in range(4))
    assert dataset.fingerprint == content.hexdigest(Classes(dataset.labels, dataset.source.classes.known))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("0.png", "/etc/passwd"), ("0.cls", b"0")], "must be a plain file, as links lead elsewhere"),
        ([("0.png", PNGS[0]), ("1.png", PNGS[1]), ("1.cls", b"1")], "0 has no label"),
        ([("0.cls", b"0"), ("1.png", PNGS[1]), ("1.cls", b"1")], "0 has no picture"),
        ([("0.png", PNGS[0]), ("0.jpg", PNGS[0]), ("0.cls", b"1")], "only of its key"),
        ([("0.png", PNGS[0]), ("0.cls", bytes(2**16 + 1))], "1 to 65,536 bytes; it has 65,537"),
        ([("0.png", PNGS[0]), ("0.json", b'{"class": 1}')], 'JSON with "label"; that of 0 is not'),
        ([("0.png", PNGS[0]), ("0.txt", b"\xff")], "must be text"),
        ([("readme.md", b"Hello.")], "must hold pictures with labels; it has none"),
    ],
)
def test_what_is_no_dataset(tmp_path: Path, members: Members, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(str(write(tmp_path / "a.tar", members)), tmp_path)


@pytest.mark.parametrize(("at", "content"), [(2048, b""), (3000, b""), (1024, bytes(range(256)) * 20)])
def test_a_tar_that_was_cut_or_damaged(tmp_path: Path, at: int, content: bytes) -> None:
    path = write(tmp_path / "a.tar", [(f"{n}.{kind}", b"1") for n in range(4) for kind in ("cls", "png")])
    path.write_bytes(path.read_bytes()[:at] + content)
    with pytest.raises(DataError, match=r"a\.tar (must be a whole tar file|cannot be read as tar)"):
        open_dataset(str(path), tmp_path)
