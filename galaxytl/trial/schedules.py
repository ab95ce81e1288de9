"""The learning rate of each optimizer step, from a trial's fields: a warm-up, then constant, cosine, linear or steps.

    epoch_rates(spec, 1, 388)                   # of the 388 steps of the first epoch
    learning_rate(spec, 0, 388)                 # of the very first step
    check_warmup(spec, 12_415)                  # raises SpecError where warm-up is as long as training

With s the step, counted from 0 over all epochs, S the steps an epoch, N = num_epochs * S all of them, W the warm-up in
steps (warmup_steps, or warmup_epochs * S, which need not be whole), f the floor:

    warm-up      s / W                                                          while s < W
    constant     1
    cosine       f + (1 - f) * (1 + cos(pi * (s - W) / (N - W))) / 2
    linear       1 - (1 - f) * (s - W) / (N - W)
    step         max(f, step_factor ** floor(s / (step_epochs * S)))

times `learning_rate`. The first step of a warm-up has the rate 0, and the floor is what the step after the last would
have: so do `keras.optimizers.schedules.CosineDecay(0.0, N - W, f, warmup_target=rate, warmup_steps=W)` (Keras 3.15),
`PolynomialDecay`, optax's `warmup_cosine_decay_schedule` and Transformers' `get_cosine_schedule_with_warmup`. Steps
count from the start of training, not of what follows the warm-up: as Goyal et al. (2017, "Accurate, Large Minibatch
SGD", arXiv:1706.02677) and timm have it.

Standard library only.
"""

from __future__ import annotations

import math
from typing import Any, Final

from galaxytl.trial.rules import SpecError

ROUNDING: Final = 1e-9
"""By which step_epochs * S may miss the whole number that it means: 0.14 * 50 is a little more than 7."""
MOST_FALLS: Final = 1e6
"""After which any step_factor below 1 has long come to 0."""


def is_constant(spec: Any) -> bool:
    """Return whether all steps of a TrialSpec have the same rate."""
    return spec.schedule == "constant" and not spec.warmup_epochs and not spec.warmup_steps


def warmup_length(spec: Any, num_steps: int) -> float:
    """Return the steps of the warm-up, not rounded; 0 where there is none."""
    return float(spec.warmup_steps or spec.warmup_epochs * num_steps)


def learning_rate(spec: Any, step: int, num_steps: int) -> float:
    """Return the rate of a step, which counts from 0 over all epochs, of `num_steps` each."""
    warmup = warmup_length(spec, num_steps)
    if step < warmup:
        return float(spec.learning_rate * step / warmup)
    return float(spec.learning_rate * _fall(spec, step, warmup, num_steps))


def _fall(spec: Any, step: int, warmup: float, num_steps: int) -> float:
    """Return what share of the highest rate is left at a step after the warm-up."""
    floor = spec.learning_rate_floor
    if spec.schedule == "step":
        falls = math.floor(min(step / (spec.step_epochs * num_steps) + ROUNDING, MOST_FALLS))
        return float(max(floor, spec.step_factor**falls))
    done = min(1.0, (step - warmup) / (spec.num_epochs * num_steps - warmup))
    if spec.schedule == "cosine":
        return float(floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2)
    return float(1 - (1 - floor) * done) if spec.schedule == "linear" else 1.0


def epoch_rates(spec: Any, number: int, num_steps: int) -> list[float]:
    """Return the rate of each step of an epoch, which counts from 1. They follow from the epoch: training that goes on
    from a checkpoint needs no more than its number."""
    first = (number - 1) * num_steps
    return [learning_rate(spec, step, num_steps) for step in range(first, first + num_steps)]


def steps_per_epoch(spec: Any, num_train: int) -> int:
    """Return the optimizer steps of an epoch with so many training images; the last may have a smaller batch."""
    return math.ceil(num_train / spec.batch_size)


def check_warmup(spec: Any, num_train: int) -> None:
    """Raise SpecError where the warm-up, with so many training images, is not over before training is."""
    of_epoch = steps_per_epoch(spec, num_train)
    if spec.warmup_steps and spec.warmup_steps >= spec.num_epochs * of_epoch:
        raise SpecError(
            f"warmup_steps must be below all steps of training, {spec.num_epochs * of_epoch:,} ({of_epoch:,} an epoch);"
            f" got {spec.warmup_steps}: give fewer, or warmup_epochs, which follows the number of images"
        )
