"""Networks and training steps that bench_gpu.py times, on Keras with TensorFlow or JAX; and the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from timeit import timeit
from typing import Any

import numpy as np

from galaxytl.data.galaxy10 import NUM_CLASSES
from galaxytl.networks import device


def network(name: str, image_size: int, with_head: bool) -> Any:
    """Return a keras.Model in mixed bfloat16 from uint8 pixels to features, or with the paper's head, in float32, to
    logits."""
    import keras

    keras.config.set_dtype_policy("mixed_bfloat16")
    shape = (image_size, image_size, 3)
    pixels = keras.Input(shape, dtype="uint8")
    backbone = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=shape)
    features = backbone(keras.layers.Rescaling(1 / 255)(pixels))
    if not with_head:
        return keras.Model(pixels, features)
    flat = keras.layers.Flatten()(features)
    return keras.Model(pixels, keras.layers.Dense(NUM_CLASSES, dtype="float32")(flat))


def make_step(model: Any) -> Callable[[Any, Any], Any]:
    """Return (inputs, labels) -> loss, which does one step of Adam; it may return before the device is done."""
    import keras

    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    kinds = {"tensorflow": _tensorflow_step, "jax": _jax_step}
    return kinds[keras.backend.backend()](model, optimizer, loss)


def _tensorflow_step(model: Any, optimizer: Any, loss: Any) -> Callable[[Any, Any], Any]:
    import tensorflow as tf

    def step(inputs: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(labels, model(inputs, training=True))
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        return value

    return device.compiled(step, xla=device.on_gpu())


def _jax_step(model: Any, optimizer: Any, loss: Any) -> Callable[[Any, Any], Any]:
    import jax

    def loss_of(trained: Any, others: Any, inputs: Any, labels: Any) -> tuple[Any, Any]:
        logits, others = model.stateless_call(trained, others, inputs, training=True)
        return loss(labels, logits), others

    @jax.jit
    def step(state: Any, inputs: Any, labels: Any) -> tuple[Any, Any]:
        trained, others, moments = state
        (value, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(trained, others, inputs, labels)
        trained, moments = optimizer.stateless_apply(moments, gradients, trained)
        return (trained, others, moments), value

    parts = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
    state = tuple([variable.value for variable in part] for part in parts)

    def call(inputs: Any, labels: Any) -> Any:
        nonlocal state
        state, value = step(state, inputs, labels)
        return value

    return call


def seconds_a_call(call: Callable[[], Any], target: float) -> float:
    """Return the mean of as many calls in a row as take about `target` seconds, after one that compiles."""
    wait_for(call())
    num_calls = max(2, min(1000, round(target / timeit(lambda: wait_for(call()), number=1))))
    started = time.perf_counter()
    for _ in range(num_calls):
        last = call()
    wait_for(last)
    return (time.perf_counter() - started) / num_calls


def wait_for(result: Any) -> None:
    """Wait until the device is done: it works in order, so with one number in host memory all before is done."""
    first = result[(0,) * len(result.shape)] if len(result.shape) else result
    float(np.asarray(first, np.float32))
