"""The node-local hot copy: every image resized once to the size that trials use, uint8, memory-mapped.

Owner: the cache folder of the node (`galaxytl.system.cache`). Key: content fingerprint, image size, Pillow's version.
Lifetime: until the cache is over its limit and no process uses it. Derivation: at 224 px a trial of 20 epochs reads
each image 20 times; decoding it each time costs 2 ms (PNG), mapping it 0.01 ms (`benchmarks/bench_data.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from galaxytl.data.files.containers import Source
from galaxytl.data.files.fingerprint import ContentChangedError, check_content
from galaxytl.data.scan import Copy, Progress, read_images
from galaxytl.system import cache as cache_of_node

KIND: Final = "images"
"""Folder of the cache."""
FORMAT = 1  # of the folder; raised when older copies must not be read


@dataclass(frozen=True)
class Size:
    """The square that every image becomes, and how: scaled to it, whatever its sides ("resize"); or its largest centred
    square is, so that nothing is distorted ("crop")."""

    pixels: int
    """A side."""
    fit: Literal["resize", "crop"] = "resize"

    def __str__(self) -> str:
        return f"{self.pixels}px" if self.fit == "resize" else f"{self.pixels}px-{self.fit}"

    def of(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return (H, W, 3) uint8 as (pixels, pixels, 3) uint8, bilinear with antialiasing (Pillow's)."""
        height, width, _ = image.shape
        if self.fit == "crop":
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            image = image[top : top + side, left : left + side]
        if image.shape[:2] == (self.pixels, self.pixels):
            return image
        found = Image.fromarray(np.ascontiguousarray(image))
        return np.asarray(found.resize((self.pixels, self.pixels), Image.Resampling.BILINEAR))


@dataclass(frozen=True)
class HotCopy:
    """A dataset at one image size. `images` (N, S, S, 3) uint8, memory-mapped read-only; `labels` (N,) int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Draft:
    """A copy that is being made of images whose fingerprint is not known yet."""

    folder: Path
    size: Size
    images: np.memmap[Any, Any]
    """(N, S, S, 3) uint8."""

    @property
    def copy(self) -> Copy:
        """What the pass over the images fills."""
        return Copy(self.images, self.size.of)

    def keep(self, cache: Path, fingerprint: str, labels: NDArray[np.int64]) -> None:
        """Make it the cache's copy of the images with this fingerprint and these labels (N,); where that cannot be, it
        is made when it is wanted."""
        with contextlib.suppress(OSError):
            _complete(self.folder, self.images, labels, fingerprint)
            cache_of_node.name_draft(self.folder, folder_of(cache, fingerprint, self.size))


@contextlib.contextmanager
def drafts(count: int, sizes: Iterable[Size], cache: Path) -> Iterator[list[Draft]]:
    """Give a draft for `count` images at each size, as far as the cache has room; those that were not kept go."""
    with contextlib.ExitStack() as stack:
        begun: list[Draft] = []
        room = cache_of_node.limit_bytes()
        for size in sizes:
            if (room := room - _bytes(count, size)) < 0:
                break
            with contextlib.suppress(OSError):  # a full disk: who wants the copy is told
                cache_of_node.make_room(cache, cache_of_node.limit_bytes() - room)
                folder = stack.enter_context(cache_of_node.draft(cache / KIND))
                begun.append(Draft(folder, size, _create(folder, count, size)))
        yield begun


def missing(sizes: Iterable[Size], fingerprint: str, cache: Path) -> list[Size]:
    """Return the sizes of which the cache has no copy of the images with this fingerprint."""
    return [size for size in sizes if not os.path.isdir(folder_of(cache, fingerprint, size))]  # False of another user's


def folder_of(cache: Path, fingerprint: str, size: Size) -> Path:
    return cache / KIND / f"{fingerprint[:32]}-{size}-pillow{version('pillow')}-v{FORMAT}"


def hot_copy(source: Source, fingerprint: str, size: Size, cache: Path, on_progress: Progress | None = None) -> HotCopy:
    """Return the copy of `source` at one size in `cache`; where that cannot be used, in the memory of this process.

    Raises ContentChangedError when the source's content no longer has `fingerprint`.
    """
    folder = folder_of(cache, fingerprint, size)
    count = len(source.labels)

    def build(unfinished: Path) -> None:
        images = _create(unfinished, count, size)
        _fill(images, source, fingerprint, size, on_progress)
        _complete(unfinished, images, source.labels, fingerprint)

    try:
        cache_of_node.built_once(folder, build, _bytes(count, size))
    except cache_of_node.CacheFull as error:
        print(f"the cache {cache} cannot be used ({error}): the images are kept in memory", flush=True)
        images = np.empty((count, size.pixels, size.pixels, 3), np.uint8)
        _fill(images, source, fingerprint, size, on_progress)
        return HotCopy(images, np.array(source.labels))
    labels = np.load(folder / "labels.npy")
    if not np.array_equal(labels, source.labels):  # a note or a manifest, by which this copy was found, is not true
        raise ContentChangedError(f"the labels are not those that were seen with the content {fingerprint[:12]}")
    return HotCopy(np.load(folder / "images.npy", mmap_mode="r"), labels)


def _bytes(count: int, size: Size) -> int:
    return count * size.pixels**2 * 3


def _create(folder: Path, count: int, size: Size) -> np.memmap[Any, Any]:
    return cache_of_node.create_array(folder / "images.npy", np.uint8, (count, size.pixels, size.pixels, 3))


def _fill(
    images: NDArray[np.uint8], source: Source, fingerprint: str, size: Size, on_progress: Progress | None
) -> None:
    """Write every image of `source` into `images` (N, S, S, 3), resized; raises DataError when they are others."""
    scan = read_images(source, [Copy(images, size.of)], on_progress, f"resizing to {size.pixels} px")
    check_content(scan.fingerprint(source.classes), fingerprint, "the dataset")


def _complete(folder: Path, images: np.memmap[Any, Any], labels: NDArray[np.int64], fingerprint: str) -> None:
    """Write what belongs beside the images (N, S, S, 3) of a copy."""
    images.flush()
    np.save(folder / "labels.npy", labels)
    manifest = {"format": FORMAT, "fingerprint": fingerprint, "image_size": images.shape[1], "num_images": len(images)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
