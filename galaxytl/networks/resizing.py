"""Images of any size become squares inside a network, by Keras's operations alone, equal to the last bit to what
`galaxytl.data.hot_copy` does by Pillow before the training.

    image = keras.Input((None, None, 3), dtype="uint8")
    square = resized(image, 224, "resize")         # (B, 224, 224, 3) float32, whole numbers from 0 to 255

Pillow's bilinear filter with antialiasing (Resample.c of Pillow): each of S outputs along an axis of n pixels is a mean
with weights max(0, 1 - |j + 1/2 - c| / s), c = (i + 1/2) n / S being its centre and s = max(n / S, 1) its reach, which
sum to 1 and are rounded to 22 bits; first along the rows, then along the columns, each rounded to 8 bits. Multiplied by
2 S s, the weights are whole numbers, and so is all that follows: the 22 bits are computed and applied in two halves of
11, for which the 24 bits of a float32 are enough where an image is up to 16 times as large as the square; beyond, a
pixel in many thousands may be off by 1. (Of images over 100 times as high as wide Pillow shrinks the columns first:
there more pixels are.) The size of an image is known only when there is one: its positions are counted.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np

HALF: Final = 2**11
"""Of half of the bits of a weight."""
DIGITS: Final = (4, 4, 3)
"""The bits of HALF, as they are computed."""


def resized(image: Any, pixels: int, fit: Literal["resize", "crop"]) -> Any:
    """Return uint8 images (B, H, W, 3), of one size, as squares (B, pixels, pixels, 3) of float32."""
    from keras import ops

    rows, columns = image[0, :, 0, 0], image[0, 0, :, 0]
    height, width = _count(rows), _count(columns)
    side = ops.minimum(height, width) if fit == "crop" else None
    values = ops.cast(image, "float32")
    values = _mean(_weights(columns, side, pixels), values, "sw,bhwc->bhsc")
    return _mean(_weights(rows, side, pixels), values, "sh,bhwc->bswc")


def _count(line: Any) -> Any:
    """Return the length of a line of pixels, of which only the values are at hand in a graph."""
    from keras import ops

    return ops.sum(ops.cast(line, "int32") * 0 + 1)


def _weights(line: Any, side: Any, pixels: int) -> tuple[Any, Any]:
    """Return both halves (pixels, n) of the weights for a line of n pixels; of its centred `side`, if that is given."""
    from keras import ops

    number = _count(line)
    positions = ops.cumsum(ops.cast(line, "int32") * 0 + 1) - 1
    if side is not None:
        positions, number = positions - (number - side) // 2, side
    outputs = np.arange(pixels, dtype=np.int32)[:, None]
    distances = ops.abs(positions[None, :] * (2 * pixels) + pixels - number * (2 * outputs + 1))
    triangle = ops.maximum(ops.maximum(number, pixels) * 2 - distances, 0)
    triangle = triangle * ops.cast((positions >= 0) & (positions < number), "int32")[None, :]
    total = ops.sum(triangle, axis=1, keepdims=True)
    upper, rest = _divided(triangle, total)
    lower, rest = _divided(rest, total)
    lower = lower + ops.cast(rest * 2 >= total, "int32")
    return ops.cast(upper, "float32"), ops.cast(lower, "float32")


def _divided(part: Any, total: Any) -> tuple[Any, Any]:
    """Return HALF times part / total, rounded down, and what is left of the division; a few bits at a time, so that
    32 are enough for lines of 40,000 pixels."""
    quotient = part * 0
    for bits in DIGITS:
        part = part * 2**bits
        digit = part // total
        quotient, part = quotient * 2**bits + digit, part - digit * total
    return quotient, part


def _mean(weights: tuple[Any, Any], values: Any, axes: str) -> Any:
    """Return the weighted means along an axis, rounded to 8 bits."""
    from keras import ops

    upper, lower = (ops.einsum(axes, half, values) for half in weights)
    return ops.clip(ops.floor((upper + HALF / 2 + ops.floor(lower / HALF)) / HALF), 0, 255)
