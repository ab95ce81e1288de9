"""How long a sweep will still take: a range, from what was planned and what has happened.

    low, high = time_left(progress)          # seconds

Two estimates, each of the seconds that are left, and each with the standard deviation of its logarithm:

- the plan's seconds, by the share of the work that is left; its deviation is the plan's own (`--dry-run` shows both);
- what the done share took since the first trial began, times what is left over what is done; its deviation is that of
  a machine's speed from run to run, and, the less is done, that of a part from the whole.

They are averaged, each by its inverse variance, and the range is one deviation of that to either side: what is likely,
no promise. A search has no plan of the whole, and the second estimate alone.
"""

from __future__ import annotations

import math
from typing import Final

from sweep.results.progress_file import Progress

NOISE: Final = 0.3
"""Of the logarithm of a time, from run to run: as `sweep.planning.speeds.NOISE`."""
UNKNOWN: Final = math.log(2.0)
"""What a small share says of the rest: trials of one sweep differ by as much."""


def time_left(progress: Progress) -> tuple[float, float] | None:
    """Return the likely seconds that are left, low and high; None where nothing is known of them."""
    estimates = [one for one in (_planned(progress), _measured(progress)) if one]
    if not estimates or progress.share >= 1:
        return (0.0, 0.0) if progress.share >= 1 else None
    weights = [deviation**-2 for _, deviation in estimates]
    log = sum(w * math.log(seconds) for w, (seconds, _) in zip(weights, estimates, strict=True)) / sum(weights)
    deviation = sum(weights) ** -0.5
    return math.exp(log - deviation), math.exp(log + deviation)


def _planned(progress: Progress) -> tuple[float, float] | None:
    """Return seconds that are left by the plan, and the deviation of their logarithm."""
    if progress.estimate is None or progress.share >= 1:
        return None
    low, middle, high = progress.estimate
    if not 0 < low <= middle <= high:
        return None
    return middle * (1 - progress.share), max(NOISE, math.log(high / low) / 2)


def _measured(progress: Progress) -> tuple[float, float] | None:
    """Return the same by what the done share took."""
    passed = progress.seconds - (progress.begun if progress.begun is not None else progress.seconds)
    if passed <= 0 or not 0 < progress.share < 1:
        return None
    return passed * (1 - progress.share) / progress.share, NOISE + UNKNOWN * (1 - progress.share)


def trials_an_hour(progress: Progress) -> float | None:
    """Return how many trials have ended in an hour since the first began; None until one has."""
    passed = progress.seconds - (progress.begun or 0.0)
    return 3600 * progress.finished / passed if progress.finished and passed > 0 else None
