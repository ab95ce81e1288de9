"""Do several trials of the same unfrozen blocks pay in one pass? Against the same trials one after the other. No Ray.

    python benchmarks/bench_stacked.py                          # TensorFlow
    KERAS_BACKEND=jax python benchmarks/bench_stacked.py        # JAX
    python benchmarks/bench_stacked.py --small                  # tiny sizes, to see that it runs
    python benchmarks/bench_stacked.py --image-size 224 --batch-size 32 --trials 2 4 8    # where there is a GPU

K learning rates of the last block and the head of a network, on stored activations, 50 steps of SGD with momentum. The
baseline is what a sweep does: Keras's `fit` for one trial after the other, on the compiled network that is kept warm.
Beside it:
  - vmap: one compiled step, vectorised over the trials (JAX alone: TensorFlow's vectorized_map has no convolution whose
    kernel differs between trials);
  - copies: one compiled step that holds the networks of all trials;
  - bare: each trial's own compiled step without Keras's loop. What that saves is no gain of one pass.

Prints how many times the seconds of each the baseline's are, of all cores (CPU) and by the clock (wall), without the
first step, which compiles and stands beside it. Exit status 1 where a trained weight differs from the baseline's by
more than 1e-5. It has not been run on a GPU, where matrix products in TensorFloat-32 may differ by more.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.galaxy10 import NUM_CLASSES
from galaxytl.networks import device
from galaxytl.trial import TrialSpec

WAYS = {"jax": ("vmap", "copies", "bare"), "tensorflow": ("copies", "bare")}
TOLERANCE = 1e-5
MOMENTUM = 0.9
DEPTH = 1
"""Blocks that are trained, on activations that are stored right before them."""
RATES = (1e-4, 1e-2)
"""The smallest and the largest learning rate."""

Weights = list[NDArray[Any]]
State = tuple[list[Any], list[Any], list[Any], Any]
"""Trained variables and their momenta, other variables, and the learning rate."""


@dataclass(frozen=True)
class Suffix:
    """The last block of a network and its head, to be trained for so many steps with each of the learning rates."""

    backbone: str
    image_size: int
    batch_size: int
    num_trials: int
    num_steps: int

    @property
    def specs(self) -> list[TrialSpec]:
        fixed: dict[str, Any] = {"dataset": "", "dataset_fingerprint": "", "weights": "random", "optimizer": "sgd"}
        fixed |= {"backbone": self.backbone, "image_size": self.image_size, "batch_size": self.batch_size}
        spec = TrialSpec(**fixed, momentum=MOMENTUM, unfrozen_blocks=DEPTH)
        return [spec.replace(learning_rate=float(rate)) for rate in np.geomspace(*RATES, self.num_trials)]

    def batches(self, shape: Sequence[int], num_steps: int) -> Any:
        """Return so many batches of noise as activations (B, *shape), half of which a ReLU has made 0, with labels
        (B,)."""
        from galaxytl.learning.examples import Examples
        from galaxytl.learning.fit_network import Batches  # which imports Keras

        rng, rows = np.random.default_rng(0), np.arange(num_steps * self.batch_size)
        inputs = np.maximum(rng.standard_normal((len(rows), *shape), np.float32), 0)
        labels = np.random.default_rng(1).integers(0, NUM_CLASSES, len(rows), np.int32)
        return Batches(Examples(inputs, labels, rows, rows[:0], rows[:0]), rows, self.batch_size)


@dataclass(frozen=True)
class Measured:
    """Seconds of a step of a trial: of all cores, and by the clock; those of the first, which compiles; and the weights
    that each trial came to."""

    cpu: float
    wall: float
    first: float
    weights: list[Weights]

    def largest_difference(self, other: Measured) -> float:
        pairs = zip(itertools.chain(*self.weights), itertools.chain(*other.weights), strict=True)
        return max(float(np.abs(one - two).max()) for one, two in pairs)


class Clock:
    """Sums up seconds of all cores, and by the clock."""

    def __init__(self) -> None:
        self.cpu = self.wall = 0.0

    def __enter__(self) -> Clock:
        self._started = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu += time.process_time() - self._started[0]
        self.wall += time.perf_counter() - self._started[1]

    def measured(self, suffix: Suffix, first: float, weights: list[Weights]) -> Measured:
        steps = suffix.num_trials * suffix.num_steps
        return Measured(self.cpu / steps, self.wall / steps, first, weights)


def main() -> int:
    options = parse()
    device.quiet_framework()
    device.configure(None)
    import keras

    ways = options.ways or WAYS[device.backend()]
    print(f"{device.describe()}; Keras {keras.version()} on {device.backend()}; {options.steps} steps")
    print(f"{'times the baseline':30}{'CPU':>8}{'wall':>8}{'first step':>12}{'difference':>12}")
    sizes = itertools.product(options.backbone, options.image_size, options.batch_size, options.trials)
    largest = max(compare(Suffix(*size, options.steps), ways) for size in sizes)
    print(f"largest difference {largest:.1e}, at most {TOLERANCE:g}: {'' if largest <= TOLERANCE else 'NOT '}equal")
    return 0 if largest <= TOLERANCE else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Several trials of unfrozen blocks in one pass, and one by one")
    parser.add_argument("--small", action="store_true", help="tiny sizes: a smoke test, whose ratios mean nothing")
    parser.add_argument("--backbone", nargs="+", default=["MobileNet", "ResNet50"], metavar="NAME")
    parser.add_argument("--image-size", nargs="+", type=int, default=[32, 64], metavar="PIXELS")
    parser.add_argument("--batch-size", nargs="+", type=int, default=[16, 32], metavar="N")
    parser.add_argument("--trials", nargs="+", type=int, default=[2, 4, 8], metavar="K")
    parser.add_argument("--steps", type=int, default=50, metavar="N")
    parser.add_argument("--ways", nargs="+", choices=WAYS["jax"], help="(default: all that the backend has)")
    small = {"backbone": ["MobileNet"], "image_size": [32], "batch_size": [8], "trials": [2], "steps": 5}
    parser.set_defaults(**small if "--small" in sys.argv else {})
    return parser.parse_args()


def compare(suffix: Suffix, ways: Sequence[str]) -> float:
    """Print how the ways compare with trials one after the other; return the largest difference of a weight."""
    largest, baseline = 0.0, alone(suffix)
    where = f"{suffix.backbone}, {suffix.image_size} px, batches of {suffix.batch_size}, {suffix.num_trials} trials"
    each = f"{1000 * baseline.cpu:.2f} ms CPU, {1000 * baseline.wall:.2f} ms wall a step of a trial"
    print(f"{where}: {each}; first step {baseline.first:.1f} s")
    for way in ways:
        measured = in_one_pass(suffix, way)
        difference = measured.largest_difference(baseline)
        largest = max(largest, difference)
        ratios = f"{baseline.cpu / measured.cpu:7.2f}x{baseline.wall / measured.wall:7.2f}x"
        print(f"{way:>30}{ratios}{measured.first:10.1f} s{difference:12.1e}", flush=True)
    return largest


def started(spec: TrialSpec) -> tuple[Any, Sequence[int]]:
    """Return the compiled network as a trial starts with it, and the shape of what it reads."""
    from galaxytl.networks import warm  # which imports Keras

    model, network = warm.trainable(spec, DEPTH, lambda: None)
    return model, network.structure.shape_at(DEPTH)


def alone(suffix: Suffix) -> Measured:
    """Train the trials one after the other, as a sweep does."""
    model, shape = started(suffix.specs[0])
    batches, clock, weights = suffix.batches(shape, suffix.num_steps), Clock(), []
    with Clock() as first:
        model.fit(device.for_keras(suffix.batches(shape, 1)), verbose=0, shuffle=False)
    for spec in suffix.specs:
        model, _ = started(spec)
        with clock:
            model.fit(device.for_keras(batches), verbose=0, shuffle=False)
        weights.append(arrays(model.trainable_variables))
    return clock.measured(suffix, first.wall, weights)


def in_one_pass(suffix: Suffix, way: str) -> Measured:
    """Train the trials by one of WAYS."""
    states, clock, weights = list[State](), Clock(), list[Weights]()
    for spec in suffix.specs:
        model, shape = started(spec)
        trained, others = arrays(model.trainable_variables), arrays(model.non_trainable_variables)
        states.append((trained, [np.zeros_like(array) for array in trained], others, np.float32(spec.learning_rate)))
    batches, run = suffix.batches(shape, suffix.num_steps), compiled(model, way)
    groups = [[state] for state in states] if way == "bare" else [states]
    with Clock() as first:
        train(run, packed(groups[0], way), suffix.batches(shape, 1))
    for group in groups:
        state = packed(group, way)
        with clock:
            state = train(run, state, batches)
        weights += unpacked(state, way)
    return clock.measured(suffix, first.wall, weights)


def compiled(model: Any, way: str) -> Callable[[Any, Any, Any], Any]:
    """Return a compiled step of all states."""

    def step(state: State, inputs: Any, labels: Any) -> State:
        trained, momenta, others, rate = state

        def loss_of(values: Any) -> tuple[Any, Any]:
            logits, changed = model.stateless_call(values, others, inputs, training=True)
            return model.loss(labels, logits), changed

        (_, others), gradients = device.value_and_gradients(loss_of, trained)
        # keras.optimizers.SGD (Keras 3.15); its own stateless_apply is refused on TensorFlow
        momenta = [MOMENTUM * momentum - rate * gradient for momentum, gradient in zip(momenta, gradients, strict=True)]
        return [weight + momentum for weight, momentum in zip(trained, momenta, strict=True)], momenta, others, rate

    def copies(states: Sequence[State], inputs: Any, labels: Any) -> list[State]:
        return [step(state, inputs, labels) for state in states]

    if device.backend() == "tensorflow":
        return device.compiled(copies, xla=device.on_gpu())
    import jax

    vectorised = jax.vmap(step, in_axes=(0, None, None))
    return jax.jit(vectorised if way == "vmap" else copies, donate_argnums=0)  # Keras's step gives its state away too


def packed(states: Sequence[State], way: str) -> Any:
    """Return the states as the compiled step takes them, on the device."""
    from keras import ops, tree

    together = tree.map_structure(lambda *parts: np.stack(parts), *states) if way == "vmap" else list(states)
    return tree.map_structure(ops.convert_to_tensor, together)


def unpacked(state: Any, way: str) -> list[Weights]:
    """Return the trained variables of each trial."""
    if way == "vmap":
        return [list(one) for one in zip(*arrays(state[0]), strict=True)]
    return [arrays(trained) for trained, *_ in state]


def train(run: Callable[[Any, Any, Any], Any], state: Any, batches: Any) -> Any:
    """Return the state after all batches, when the device is done: it works in order."""
    from keras import tree

    for number in range(len(batches)):
        state = run(state, *batches[number])
    np.asarray(tree.flatten(state)[0])
    return state


def arrays(variables: Sequence[Any]) -> Weights:
    """Return copies in host memory."""
    return [np.array(np.asarray(getattr(variable, "value", variable))) for variable in variables]


if __name__ == "__main__":
    sys.exit(main())
