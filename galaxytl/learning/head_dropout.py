"""Which hidden units of each head a training step leaves out (dropout, Srivastava et al. 2014).

    multipliers = factors(settings, steps, num_examples, num_units)        # (B, H, U): 0, or 1 / (1 - rate)

What a head leaves out depends on its seed, its step, the example's place in the batch and the unit, and on nothing
else: not on the heads that train beside it, nor on whether it goes on from a checkpoint. So the random numbers come
from no generator with a state: each is a hash of these four. TensorFlow and JAX compute the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from galaxytl.trial import TrialSpec, seed_for

FIRST_FACTOR, SECOND_FACTOR = 0x85EBCA6B, 0xC2B2AE35  # of MurmurHash3's 32-bit finalizer (Appleby 2011)


def settings(specs: Sequence[TrialSpec]) -> dict[str, NDArray[Any]]:
    """Return the heads' "dropout_rate", float32, and "dropout_seed", the bits of a uint32 as int32: (1, H, 1) each."""
    rates = np.array([spec.head_dropout for spec in specs], np.float32)
    seeds = np.array([seed_for(spec, "dropout") for spec in specs], np.uint32).view(np.int32)
    return {"dropout_rate": rates.reshape(1, -1, 1), "dropout_seed": seeds.reshape(1, -1, 1)}


def is_used(scalars: Mapping[str, NDArray[Any]]) -> bool:
    """Return whether any head has dropout."""
    return bool(np.any(scalars["dropout_rate"] > 0))


def factors(scalars: Mapping[str, Any], steps: Any, num_examples: int, num_units: int) -> Any:
    """Return what a step multiplies the hidden units with, (B, H, U): 0 where one is left out, else 1 / (1 - rate), so
    that their expectation stays. `steps` (1, H, 1): steps that each head has behind it."""
    key = _with(scalars["dropout_seed"], ops.cast(steps, "int32"))
    key = _with(key, np.arange(num_examples, dtype=np.int32).reshape(-1, 1, 1))
    key = _with(key, np.arange(num_units, dtype=np.int32).reshape(1, 1, -1))
    uniform = ops.cast(_shifted(key, 8), "float32") * 2.0**-24  # in [0, 1): 24 bits are what a float32 holds
    rate = scalars["dropout_rate"]
    return ops.cast(uniform >= rate, "float32") / (1.0 - rate)


def _with(key: Any, number: Any) -> Any:
    """Return `key`, made to depend on `number` too."""
    return _mixed(ops.bitwise_xor(key, _mixed(number + 1)))  # 0 would stay 0


def _mixed(number: Any) -> Any:
    """Return MurmurHash3's finalizer: each bit of the result depends on each bit of `number`.

    Of int32, for which TensorFlow has all these operations everywhere; the bits are those of unsigned numbers.
    """
    number = ops.multiply(ops.bitwise_xor(number, _shifted(number, 16)), _signed(FIRST_FACTOR))
    number = ops.multiply(ops.bitwise_xor(number, _shifted(number, 13)), _signed(SECOND_FACTOR))
    return ops.bitwise_xor(number, _shifted(number, 16))


def _signed(number: int) -> np.int32:
    return np.int32(number - 2**32)


def _shifted(number: Any, bits: int) -> Any:
    """Shift to the right, with zeros from the left: int32's own shift repeats the sign."""
    return ops.bitwise_and(ops.right_shift(number, bits), np.int32(2 ** (32 - bits) - 1))
