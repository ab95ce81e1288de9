"""The optimizers: one row each says all that the project knows of one.

    OPTIMIZERS["adam"].label            # "Adam", in tables and of keras.optimizers

The rules are those of Keras's classes with their default constants, of heads that train together, each with its own
learning rate and momentum; `galaxytl.learning.heads` applies weight decay. A rule's `state` holds, for each trained
array, the array itself, (n, H, m), and the optimizer's slots of it, "velocity_weights" and such, and "steps" so far.
`gradients` are called as the arrays are, and every scalar is (1, H, 1). Standard library only: a rule is given
`keras.ops`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

State = dict[str, Any]

BETA_1, BETA_2, RHO, EPSILON = 0.9, 0.999, 0.9, 1e-7  # Keras's defaults of Adam and RMSprop


@dataclass(frozen=True)
class Optimizer:
    """What there is to know of an optimizer."""

    label: str
    """Its name in tables, and its class in keras.optimizers."""
    rule: Callable[[Any, State, State, Any], State]
    """(`keras.ops`, state, gradients, scalars) to the new state."""
    slots: tuple[str, ...]
    """Arrays that it keeps of each trained one, whether or not there is momentum."""
    learning_rates: tuple[float, float]
    """The range that a search draws from."""
    has_momentum: bool = False


def sgd(ops: Any, state: State, gradients: State, scalars: Any) -> State:
    new = dict(state)
    for name, gradient in gradients.items():
        velocity = f"velocity_{name}"
        new[velocity] = state[velocity] * scalars["momentum"] - gradient * scalars["learning_rate"]
        new[name] = state[name] + new[velocity]
    return new


def rmsprop(ops: Any, state: State, gradients: State, scalars: Any) -> State:
    new = dict(state)
    for name, gradient in gradients.items():
        square, velocity = f"square_{name}", f"velocity_{name}"
        new[square] = RHO * state[square] + (1 - RHO) * ops.square(gradient)
        increment = scalars["learning_rate"] * gradient / ops.sqrt(new[square] + EPSILON)
        new[velocity] = scalars["momentum"] * state[velocity] + increment
        new[name] = state[name] - new[velocity]
    return new


def adam(ops: Any, state: State, gradients: State, scalars: Any) -> State:
    new = dict(state)
    step = state["steps"] + 1
    rate = scalars["learning_rate"] * ops.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
    for name, gradient in gradients.items():
        mean, square = f"mean_{name}", f"square_{name}"
        new[mean] = state[mean] + (gradient - state[mean]) * (1 - BETA_1)
        new[square] = state[square] + (ops.square(gradient) - state[square]) * (1 - BETA_2)
        new[name] = state[name] - new[mean] * rate / (ops.sqrt(new[square]) + EPSILON)
    return new


OPTIMIZERS: Final = {
    "adam": Optimizer("Adam", adam, ("mean", "square"), (1e-5, 1e-2)),
    "sgd": Optimizer("SGD", sgd, ("velocity",), (1e-4, 1e-1), has_momentum=True),
    "rmsprop": Optimizer("RMSprop", rmsprop, ("square", "velocity"), (1e-5, 1e-2), has_momentum=True),
}
