"""The update rules of heads: Keras's SGD, Adam and RMSprop, each head with its own learning rate, momentum and decay.

    new = UPDATES["adam"](decayed(state, gradients, scalars), gradients, scalars)

With Keras's default constants, and weight decay decoupled as in Loshchilov & Hutter (2019). `state` holds, for each
trained array, the array itself, (n, H, m), and the optimizer's slots of it, "velocity_weights" and such; `gradients`
are called as the arrays are, and every scalar is (1, H, 1).
"""

from __future__ import annotations

from typing import Any

from keras import ops

State = dict[str, Any]

BETA_1, BETA_2, RHO, EPSILON = 0.9, 0.999, 0.9, 1e-7  # Keras's defaults of Adam and RMSprop


def decayed(state: State, gradients: State, scalars: Any) -> State:
    factor = scalars["weight_decay"] * scalars["learning_rate"]
    return {**state, **{name: state[name] - state[name] * factor for name in gradients}}


def _sgd(state: State, gradients: State, scalars: Any) -> State:
    new = dict(state)
    for name, gradient in gradients.items():
        velocity = f"velocity_{name}"
        new[velocity] = state[velocity] * scalars["momentum"] - gradient * scalars["learning_rate"]
        new[name] = state[name] + new[velocity]
    return new


def _rmsprop(state: State, gradients: State, scalars: Any) -> State:
    new = dict(state)
    for name, gradient in gradients.items():
        square, velocity = f"square_{name}", f"velocity_{name}"
        new[square] = RHO * state[square] + (1 - RHO) * ops.square(gradient)
        increment = scalars["learning_rate"] * gradient / ops.sqrt(new[square] + EPSILON)
        new[velocity] = scalars["momentum"] * state[velocity] + increment
        new[name] = state[name] - new[velocity]
    return new


def _adam(state: State, gradients: State, scalars: Any) -> State:
    new = dict(state)
    step = state["steps"] + 1
    rate = scalars["learning_rate"] * ops.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
    for name, gradient in gradients.items():
        mean, square = f"mean_{name}", f"square_{name}"
        new[mean] = state[mean] + (gradient - state[mean]) * (1 - BETA_1)
        new[square] = state[square] + (ops.square(gradient) - state[square]) * (1 - BETA_2)
        new[name] = state[name] - new[mean] * rate / (ops.sqrt(new[square]) + EPSILON)
    return new


SLOTS = {"sgd": ("velocity",), "rmsprop": ("square", "velocity"), "adam": ("mean", "square")}
UPDATES = {"sgd": _sgd, "rmsprop": _rmsprop, "adam": _adam}
