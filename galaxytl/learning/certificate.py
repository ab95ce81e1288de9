"""How good any head on frozen features can be: the optimum of its training loss, with a bound on how near it was come.

    found = certificates(group, examples)        # of each head: optimal_loss, gap_bound, trial_loss, excess_loss, ...

A head without hidden units is softmax regression (Boehning 1992, "Multinomial logistic regression algorithm"): its
cross-entropy L is convex in its weights and biases w, so what an optimizer should come to can be computed. L-BFGS (Liu
and Nocedal 1989; SciPy's) minimises

    F(w) = L(w) + ridge / 2 |w|^2,      ridge = RIDGE

of standardised features (`Features`) from w = 0 to w', until the gradient is small. F is `ridge`-strongly convex, so
F(w') is at most |grad F(w')|^2 / (2 ridge) above its minimum (Boyd and Vandenberghe 2004, Convex Optimization, 9.9):
`gap_bound` is that certificate. And whatever the ridge, inf L <= L(w'), so a trial whose training loss is `excess_loss`
= L(trial) - L(w') above it is at least that far above what its own loss can come down to: if that is large, the
optimizer failed, by theorem.

Where the targets are votes, L is the mean cross-entropy against them: convex too, and all of the above holds.

A trial that is trained on another loss (smoothed targets, the focal loss, class weights), with weight decay, or on
images or targets that change from epoch to epoch, has none: its distance from L(w') would not be its optimizer's
(`galaxytl.trial.convexity`).

L(w') says what can be fitted, not what generalises: `optimal_accuracy`, on the part that the trial is scored on, is
that of w'.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.learning import heads
from galaxytl.learning.examples import Examples
from galaxytl.learning.features import makers
from galaxytl.learning.fit_heads import Head
from galaxytl.learning.metrics import softmax
from galaxytl.networks import device
from galaxytl.system import cache
from galaxytl.system.strict_json import read_json
from galaxytl.trial import TrialSpec
from galaxytl.trial.convexity import is_convex

FORMAT = 1  # of files in the cache; raised when older files must not be read
RIDGE = 1e-4
MOST_ITERATIONS = 500
WANTED_GAP = 1e-3  # nats: L-BFGS stops when the bound is below
ROWS_AT_ONCE = 1024  # of features, as float32: memory stays bounded however many images there are
IN_MEMORY_BYTES = 2**30  # of features that stay in memory: they are read in hundreds of passes
CONSTANT = 1e-6  # a feature varies if its standard deviation is above this share of its mean: float32 has 7 digits


@dataclass(frozen=True)
class Optimum:
    """Of one training set of frozen features. Losses in nats, an image."""

    optimal_loss: float
    optimal_train_accuracy: float
    optimal_accuracy: float
    ridge: float
    gradient_norm: float
    gap_bound: float
    iterations: float


MOST_WEIGHTS: Final = 2**24
"""Of an optimum that is computed: L-BFGS holds some 25 numbers of 8 bytes for each, 3.4 GB."""


def certificates(group: Sequence[Head], examples: Examples) -> list[dict[str, float]]:
    """Return one a head, of a group whose specs share their features; {} of one that diverged or whose spec is not
    convex, and of all where the optimum would have more than MOST_WEIGHTS."""
    whole = [head for head in group if not head.diverged and is_convex(head.spec)]
    if not whole or math.prod(examples.inputs.shape[1:]) * whole[0].spec.num_classes > MOST_WEIGHTS:
        return [{} for _ in group]
    optimum = asdict(known_optimum(whole[0].spec, examples))
    logits = heads.logits([head.state for head in whole], examples, examples.train, heads.WATCHED_BATCH)
    targets = examples.targets(examples.train)
    losses = {head.spec.trial_id: cross_entropy(own, targets) for head, own in zip(whole, logits, strict=True)}
    return [_distance(optimum, losses.get(head.spec.trial_id)) for head in group]


def _distance(optimum: dict[str, float], loss: float | None) -> dict[str, float]:
    return {} if loss is None else {**optimum, "trial_loss": loss, "excess_loss": loss - optimum["optimal_loss"]}


def cross_entropy(logits: NDArray[np.floating], targets: NDArray[Any]) -> float:
    """Return the mean over the images of logits (N, C) and labels (N,) or votes (N, C), in nats."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    if targets.ndim == 2:
        return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - (targets * shifted).sum(axis=1)))
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(targets)), targets]))


def known_optimum(spec: TrialSpec, examples: Examples) -> Optimum:
    """Read from this node's cache, or computed and kept there: trials that differ in their optimizer share it."""
    facts = [FORMAT, RIDGE, *spec.backbone_key, *makers(spec), *spec.split_key, spec.scored_on, device.on_gpu()]
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    path = cache.cache_dir() / "optima" / f"{name}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        return Optimum(**{name: float(value) for name, value in read_json(cache.read_own(path)).items()})
    found = solve(Features(examples.inputs, examples.train), examples, spec.num_classes)
    cache.keep(path, json.dumps(asdict(found)).encode())
    return found


class Features:
    """Features as softmax regression reads them: each is centred and divided by its standard deviation over the rows to
    train on, as a ridge wants it (Hastie, Tibshirani and Friedman 2009, The Elements of Statistical Learning, 3.4.1). A
    trial's head does the same with other weights and biases. Features that are constant there become 0."""

    def __init__(self, inputs: Any, train: NDArray[np.int64]) -> None:
        """Take `inputs` (N, ...), an array."""
        self._inputs = inputs
        self.width = math.prod(inputs.shape[1:])
        sums, squares = np.zeros(self.width), np.zeros(self.width)
        for part in self._raw(train):
            sums += part.sum(axis=0, dtype=np.float64)
        self._mean = sums / len(train)
        for part in self._raw(train):
            squares += np.square(part - self._mean).sum(axis=0)
        deviations = np.sqrt(squares / len(train))
        varies = deviations > CONSTANT * np.maximum(np.abs(self._mean), np.finfo(np.float32).tiny)
        self._factors = np.where(varies, 1 / np.where(varies, deviations, 1), 0)
        is_small = 4 * len(train) * self.width <= IN_MEMORY_BYTES
        self._train_parts = list(self.parts(train)) if is_small else None
        self._train = train

    def train_parts(self) -> Iterable[NDArray[np.float32]]:
        """Give the `parts` of the rows to train on, which stay in memory if they are few."""
        return self.parts(self._train) if self._train_parts is None else self._train_parts

    def parts(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
        """Give (n, D), some rows at a time."""
        for part in self._raw(rows):
            yield ((part - self._mean) * self._factors).astype(np.float32)

    def _raw(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = np.asarray(self._inputs[rows[start : start + ROWS_AT_ONCE]])
            yield part.reshape(len(part), -1).astype(np.float32)


def logits_of(weights: NDArray[np.float64], part: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (n, C), of weights (D + 1, C), the last row being the biases, and features (n, D)."""
    return (part @ weights[:-1].astype(np.float32)).astype(np.float64) + weights[-1]


def solve(features: Features, examples: Examples, num_classes: int) -> Optimum:
    """Compute the optimum on `features`, as the module's docstring has it."""
    from scipy.optimize import minimize

    train, scored = examples.train, examples.scored
    objective = _Objective(features, examples.targets(train), num_classes)
    options = {"maxiter": MOST_ITERATIONS, "maxfun": 2 * MOST_ITERATIONS, "ftol": 0.0, "gtol": 0.0}
    start = np.zeros(math.prod(objective.shape))
    found = minimize(objective, start, jac=True, method="L-BFGS-B", callback=objective.stop, options=options)
    weights, norm = found.x.reshape(objective.shape), objective.gradient_norm(found.x)
    logits = _logits(weights, features.train_parts())
    return Optimum(
        optimal_loss=cross_entropy(logits, examples.targets(train)),
        optimal_train_accuracy=_accuracy(logits, examples.labels[train]),
        optimal_accuracy=_accuracy(_logits(weights, features.parts(scored)), examples.labels[scored]),
        ridge=RIDGE,
        gradient_norm=norm,
        gap_bound=norm**2 / (2 * RIDGE),
        iterations=float(found.nit),
    )


class _Objective:
    """F and its gradient at weights and biases (D + 1, C), handed over flat."""

    def __init__(self, features: Features, targets: NDArray[Any], num_classes: int) -> None:
        self._features, self._targets = features, targets
        self.shape = (features.width + 1, num_classes)
        self._known: tuple[NDArray[np.float64], float] | None = None
        """Where the gradient was last computed, and its norm."""

    def __call__(self, flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(self.shape)
        loss, gradient = self._loss_and_gradient(weights)
        gradient = (gradient + RIDGE * weights).ravel()
        self._known = (flat.copy(), float(np.linalg.norm(gradient)))
        return loss + RIDGE / 2 * float(flat @ flat), gradient

    def gradient_norm(self, flat: NDArray[np.float64]) -> float:
        if self._known is None or not np.array_equal(self._known[0], flat):
            self(flat)
        assert self._known is not None
        return self._known[1]

    def stop(self, intermediate_result: Any) -> None:
        """End the search near the optimum. SciPy calls it after each iteration, by this name of its argument."""
        if self.gradient_norm(intermediate_result.x) <= math.sqrt(2 * RIDGE * WANTED_GAP):
            raise StopIteration

    def _loss_and_gradient(self, weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return L, the mean cross-entropy of the labels or votes, and its gradient."""
        loss, done, gradient = 0.0, 0, np.zeros(self.shape)
        for part in self._features.train_parts():
            targets = self._targets[done : done + len(part)]
            logits = logits_of(weights, part)
            loss += cross_entropy(logits, targets) * len(part)
            errors = softmax(logits)
            if targets.ndim == 2:
                errors -= targets
            else:
                errors[np.arange(len(targets)), targets] -= 1
            gradient[:-1] += part.T @ errors.astype(np.float32)
            gradient[-1] += errors.sum(axis=0)
            done += len(part)
        return loss / done, gradient / done


def _logits(weights: NDArray[np.float64], parts: Iterable[NDArray[np.float32]]) -> NDArray[np.float64]:
    return np.concatenate([logits_of(weights, part) for part in parts])


def _accuracy(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    return float(np.mean(logits.argmax(axis=1) == labels))
