"""Gradual unfreezing: the stages of a trial, in which more and more of its backbone is trained.

    stages_of(spec)             # unfreeze_stages "0,2,all" and 20 epochs: 0 in 1-6, 2 in 7-13, "all" in 14-20
    spec_of(spec, stage)        # the trial that a stage is by itself: as many unfrozen blocks, and no stages

Howard & Ruder 2018, "Universal Language Model Fine-tuning for Text Classification", 3.3: the last layers first, so that
what the first ones know is not lost to the gradients of a head that knows nothing yet.

Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Depth = int | Literal["all"]
"""Unfrozen blocks, counted from the output."""

SPELLED: Final = re.compile(r"(0|[1-9][0-9]{0,3})(,[1-9][0-9]{0,3})*(,all)?")
RULE: Final = (
    "unfreeze_stages must be at least two depths in ascending order, without spaces, of which only the last may be all"
)


@dataclass(frozen=True)
class Stage:
    """Epochs of a trial, `first` to `last` (counted from 1), in which `depth` blocks are trained with the head."""

    depth: Depth
    first: int
    last: int

    @property
    def num_epochs(self) -> int:
        return self.last - self.first + 1


def depths_of(text: str) -> tuple[Depth, ...]:
    """Return the depths that `unfreeze_stages` names, in its order; none where it is not spelled as RULE says, which
    leaves equal stages one text.

    >>> depths_of("0,2,all"), depths_of("2,0"), depths_of("0, 2")
    ((0, 2, 'all'), (), ())
    """
    if not SPELLED.fullmatch(text):
        return ()
    depths: list[Depth] = ["all" if part == "all" else int(part) for part in text.split(",")]
    numbers = [depth for depth in depths if depth != "all"]
    return tuple(depths) if len(depths) > 1 and numbers == sorted(set(numbers)) else ()


def text_of(depths: Sequence[Depth]) -> str:
    """Return depths as `unfreeze_stages` spells them."""
    return ",".join(map(str, depths))


def stages_of(spec: Any) -> tuple[Stage, ...]:
    """Return the stages of a TrialSpec, the first first; the whole trial is one where it names none.

    Each has as many epochs as the others, or one less: the earlier ones, which train the least. 20 epochs in three
    stages are 6, 7 and 7.
    """
    depths = depths_of(spec.unfreeze_stages) or (spec.unfrozen_blocks,)
    share, longer = divmod(spec.num_epochs, len(depths))
    stages: list[Stage] = []
    for number, depth in enumerate(depths):
        first = stages[-1].last + 1 if stages else 1
        stages.append(Stage(depth, first, first + share - (number < len(depths) - longer)))
    return tuple(stages)


def spec_of(spec: Any, stage: Stage) -> Any:
    """Return the TrialSpec that trains what a stage of `spec` trains, in all its epochs; `spec` where it has no
    stages."""
    if not spec.unfreeze_stages:
        return spec
    alone = {"learning_rate_decay": 1.0} if stage.depth == 0 else {}  # of blocks, and there is none
    return spec.replace(unfreeze_stages="", unfrozen_blocks=stage.depth, **alone)


def readable_cuts(stored: Sequence[int], depth: Depth) -> tuple[int, ...]:
    """Return those of the stored cuts (`galaxytl.networks.blocks`) after which all that is trained lies."""
    return tuple(cut for cut in stored if depth != "all" and cut >= depth)
