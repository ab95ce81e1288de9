"""How many trials share a GPU, and how many run at the same time.

share_of(3)                    # 0.3333: what each of three trials asks Ray for
places(8, 0.3333)              # 24 on eight GPUs
"""

from __future__ import annotations

from typing import Final

MAX_PACKED: Final = 64
"""Trials that may share a GPU: CUDA alone takes some hundred MB in each one's process."""
STEP: Final = 10_000
"""Ray counts resources in steps of 1/10,000."""


def share_of(trials_per_gpu: int) -> float:
    """Of a GPU, for each of so many trials: rounded down, or Ray would not let the last one in."""
    return STEP // trials_per_gpu / STEP


def places(num: float, share: float) -> int:
    """Trials that run at the same time on so many GPUs. A share is of one GPU, never of two halves."""
    steps = max(1, round(share * STEP))
    if share >= 1:
        return round(num * STEP) // steps
    return int(num) * (STEP // steps) + round(num % 1 * STEP) // steps
