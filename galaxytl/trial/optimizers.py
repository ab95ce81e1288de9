"""The optimizers: one row each says all that the project knows of one.

    OPTIMIZERS["adam"].label            # "Adam", in tables and of keras.optimizers

The rules are those of Keras 3.15's classes with their default constants, of heads that train together, each with its
own learning rate and momentum; `galaxytl.learning.heads` applies weight decay, and hands over `clipped` gradients. A
rule's `state` holds, for each trained array, the array itself, (n, H, m), and the optimizer's slots of it,
"velocity_weights" and such, "steps" so far and the optimizer's own numbers, (1, H, 1). `gradients` are called as the
arrays are, and every scalar is (1, H, 1). A rule computes nothing over heads: head h reads and writes index h of axis 1
alone. Standard library only: a rule is given `keras.ops`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

State = dict[str, Any]

BETA_1, BETA_2, RHO, EPSILON = 0.9, 0.999, 0.9, 1e-7  # Keras's defaults of Adam and RMSprop
NADAM_DECAY = 0.96  # of Nadam's momentum, in Keras as in Dozat (2016), "Incorporating Nesterov momentum into Adam"
LION_BETA_1, LION_BETA_2 = 0.9, 0.99  # Keras's defaults, and those of Chen et al. (2023)
ADAFACTOR_DECAY, SMALLEST_SQUARE, SMALLEST_SCALE = -0.8, 1e-30, 1e-3  # Keras's beta_2_decay, epsilon_1 and epsilon_2


@dataclass(frozen=True)
class Optimizer:
    """What there is to know of an optimizer."""

    label: str
    """Its name in tables, and its class in keras.optimizers."""
    rule: Callable[[Any, State, State, Any], State]
    """(`keras.ops`, state, gradients, scalars) to the new state."""
    slots: tuple[str, ...]
    """Arrays that it keeps of each trained one, whether or not there is momentum: of its shape, but for `reduced`."""
    learning_rates: tuple[float, float]
    """The range that a search draws from."""
    has_momentum: bool = False
    reduced: Mapping[str, int] = field(default_factory=dict)
    """Slots that have one number along this axis of the trained array (n, H, m)."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Numbers that it keeps of each head, and what they are before the first step."""
    wants_weight_decay: bool = False
    """Whether without weight decay it is another optimizer of this table."""

    def slot_shape(self, slot: str, shape: tuple[int, int, int]) -> tuple[int, ...]:
        """Return the shape of a slot of a trained array of this shape, (n, H, m)."""
        return tuple(1 if axis == self.reduced.get(slot) else size for axis, size in enumerate(shape))


def sgd(ops: Any, state: State, gradients: State, scalars: Any) -> State:
    new = dict(state)
    for name, gradient in gradients.items():
        velocity = f"velocity_{name}"
        step = gradient * scalars["learning_rate"]
        new[velocity] = state[velocity] * scalars["momentum"] - step
        move = new[velocity]
        if "nesterov" in scalars:  # of no head otherwise: then the others' step is compiled as it always was
            move = ops.where(scalars["nesterov"] > 0, new[velocity] * scalars["momentum"] - step, move)
        new[name] = state[name] + move
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


def nadam(ops: Any, state: State, gradients: State, scalars: Any) -> State:
    new, step = dict(state), state["steps"] + 1
    now = BETA_1 * (1 - 0.5 * NADAM_DECAY**step)
    following = BETA_1 * (1 - 0.5 * NADAM_DECAY ** (step + 1))
    new["product"] = state["product"] * now
    for name, gradient in gradients.items():
        mean, square = f"mean_{name}", f"square_{name}"
        new[mean] = state[mean] + (gradient - state[mean]) * (1 - BETA_1)
        new[square] = state[square] + (ops.square(gradient) - state[square]) * (1 - BETA_2)
        ahead = following * new[mean] / (1 - new["product"] * following)
        ahead += (1 - now) * gradient / (1 - new["product"])
        size = ops.sqrt(new[square] / (1 - BETA_2**step)) + EPSILON
        new[name] = state[name] - ahead * scalars["learning_rate"] / size
    return new


def lion(ops: Any, state: State, gradients: State, scalars: Any) -> State:
    new = dict(state)
    for name, gradient in gradients.items():
        mean = state[f"mean_{name}"]
        direction = ops.sign(mean * LION_BETA_1 + gradient * (1 - LION_BETA_1))
        new[name] = state[name] - scalars["learning_rate"] * direction
        new[f"mean_{name}"] = mean * LION_BETA_2 + gradient * (1 - LION_BETA_2)
    return new


def adafactor(ops: Any, state: State, gradients: State, scalars: Any) -> State:
    """Shazeer & Stern (2018), "Adafactor: adaptive learning rates with sublinear memory cost", as Keras has it. A bias
    is a matrix of one row here: its factors give exactly the squares that Keras keeps unfactored."""
    new, step = dict(state), state["steps"] + 1
    rate = ops.minimum(scalars["learning_rate"], 1 / ops.sqrt(step))
    share = 1 - step**ADAFACTOR_DECAY
    for name, gradient in gradients.items():
        row, column = f"row_{name}", f"column_{name}"
        square = ops.square(gradient) + SMALLEST_SQUARE
        new[row] = share * state[row] + (1 - share) * ops.mean(square, axis=2, keepdims=True)
        new[column] = share * state[column] + (1 - share) * ops.mean(square, axis=0, keepdims=True)
        squares = new[row] / ops.mean(new[row], axis=0, keepdims=True) * new[column]
        direction = gradient / ops.sqrt(squares)
        direction = direction / ops.maximum(1.0, _rms(ops, direction))
        scale = ops.maximum(SMALLEST_SCALE, _rms(ops, state[name]))
        new[name] = state[name] - scale * rate * direction
    return new


def _rms(ops: Any, values: Any) -> Any:
    """Return the root mean square of each head's values (n, H, m): (1, H, 1)."""
    return ops.sqrt(ops.mean(ops.square(values), axis=(0, 2), keepdims=True))


CLIPPING: Final = ("clipnorm", "global_clipnorm", "clipvalue")
"""Fields of a TrialSpec that say how gradients are clipped: one of them, or none."""


def clipped(ops: Any, gradients: State, scalars: Any) -> State:
    """Return the gradients of heads, each clipped by its own norms as Keras's optimizers clip those of a network; of
    scalars those of CLIPPING that any head uses, 0 where it does not: then its gradients stay as they are."""
    if "clipvalue" in scalars:
        most = scalars["clipvalue"]
        cut = {name: ops.minimum(ops.maximum(g, -most), most) for name, g in gradients.items()}
        gradients = {name: ops.where(most > 0, cut[name], g) for name, g in gradients.items()}
    if "clipnorm" in scalars:
        most = scalars["clipnorm"]
        cut = {name: g * most / ops.maximum(_norm(ops, g), most) for name, g in gradients.items()}
        gradients = {name: ops.where(most > 0, cut[name], g) for name, g in gradients.items()}
    if "global_clipnorm" in scalars:
        most, norm = scalars["global_clipnorm"], _norm(ops, *gradients.values())
        factor = most * ops.minimum(1 / norm, 1 / most) + (norm - norm)  # NaN where the norm is not finite, as Keras's
        gradients = {name: ops.where(most > 0, g * factor, g) for name, g in gradients.items()}
    return gradients


def _norm(ops: Any, *gradients: Any) -> Any:
    """Return the L2 norm of each head's numbers in arrays (n, H, m): (1, H, 1)."""
    return ops.sqrt(sum(ops.sum(ops.square(gradient), axis=(0, 2), keepdims=True) for gradient in gradients))


OPTIMIZERS: Final = {
    "adam": Optimizer("Adam", adam, ("mean", "square"), (1e-5, 1e-2)),
    "sgd": Optimizer("SGD", sgd, ("velocity",), (1e-4, 1e-1), has_momentum=True),
    "rmsprop": Optimizer("RMSprop", rmsprop, ("square", "velocity"), (1e-5, 1e-2), has_momentum=True),
    "adamw": Optimizer("AdamW", adam, ("mean", "square"), (1e-5, 1e-2), wants_weight_decay=True),
    "nadam": Optimizer("Nadam", nadam, ("mean", "square"), (1e-5, 1e-2), numbers={"product": 1.0}),
    # A tenth of Adam's: "typically 3-10x smaller" (Chen et al. 2023, "Symbolic discovery of optimization algorithms")
    "lion": Optimizer("Lion", lion, ("mean",), (1e-6, 1e-3)),
    # Shares of the size of each weight array, of which Shazeer & Stern (2018) have at most 1e-2
    "adafactor": Optimizer("Adafactor", adafactor, ("row", "column"), (1e-4, 1e-1), reduced={"row": 2, "column": 0}),
}
"""The first three are those of the first versions: searches with a seed, and tables, keep their order."""
