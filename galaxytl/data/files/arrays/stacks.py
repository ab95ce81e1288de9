"""Images that lie in one array, (N, H, W, 3) or otherwise: which axis is what.

stack = stack_of((21785, 3, 69, 69), "uint8", "g.h5")     # raises DataError for what cannot be shown as it is
stack.images(block)                                       # (n, 69, 69, 3)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.files.pictures import check_shape
from galaxytl.system.locations import DataError

Axes = Literal["colours last", "colours first", "grey", "grey last", "grey first"]


@dataclass(frozen=True)
class Stack:
    """How images lie in an array (N, ...) of uint8."""

    axes: Axes
    shape: tuple[int, int, int]
    """Of an image as it is used: height, width, 3."""

    @property
    def note(self) -> str:
        return {
            "colours last": "",
            "colours first": "its images are N x 3 x H x W: the bands are taken as red, green, blue, and put last",
        }.get(self.axes, "its images have one band: it becomes three equal ones")

    def images(self, block: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return (n, H, W, 3) of what was read, (n, ...); no number is copied."""
        if self.axes == "colours last":
            return block
        if self.axes == "colours first":
            return np.moveaxis(block, 1, -1)
        return np.broadcast_to(block.reshape(len(block), *self.shape[:2], 1), (len(block), *self.shape))


def stack_of(shape: tuple[int, ...], kind: Any, where: object) -> Stack:
    """Return how images lie in an array of this shape (N, ...) and type. Raises DataError where that is no stack of
    images that can be shown as they are."""
    if not shape[0]:
        raise DataError(f"{where} must hold at least one image; it holds none")
    if str(kind) != "uint8":
        raise DataError(
            f"{where}: images must be numbers from 0 to 255 of type uint8; got {_times(shape[1:])} of type {kind}. How "
            "bright such a number is to be shown is yours to say: (255 * numpy.clip((x - low) / (high - low), 0, 1))"
            ".astype('uint8'), with one low and one high for all images"
        )
    axes = _axes(shape)
    if axes is None:
        raise DataError(
            f"{where}: images must be height x width, with one or three bands behind them (or before them); got "
            f"{_times(shape[1:])}. Choose three bands for red, green and blue: images[..., [2, 1, 0]]"
            if len(shape) == 4
            else f"{where}: images must be height x width x 3, or height x width; got {_times(shape[1:])}. "
            "Flat rows of pixels become images by images.reshape(-1, height, width)"
        )
    sides = shape[2:] if axes.endswith("first") else shape[1:3]
    found = Stack(axes, (sides[0], sides[1], 3))
    try:
        check_shape(found.shape, kind)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    return found


def _axes(shape: tuple[int, ...]) -> Axes | None:
    if len(shape) == 3:
        return "grey"
    if len(shape) != 4:
        return None
    bands: dict[int, Axes] = {3: "colours last", 1: "grey last"}
    before: dict[int, Axes] = {3: "colours first", 1: "grey first"}
    return bands.get(shape[3]) or before.get(shape[1])


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "single numbers"
