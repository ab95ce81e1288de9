"""Trials of VGG16 that collapse for a known reason, or for none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from galaxytl.trial import FAILED, TrialResult, TrialSpec
from tests.analysis.fakes import COUNTS, make_result, make_spec

SETTINGS: tuple[dict[str, Any], ...] = (
    {"optimizer": "adam", "learning_rate": 1e-3},
    {"optimizer": "adam", "learning_rate": 1e-4},
    {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 1e-2},
    {"optimizer": "rmsprop", "learning_rate": 1e-3},
)
Cause = Callable[[TrialSpec], bool]


def by_rate(spec: TrialSpec) -> bool:
    return spec.learning_rate >= 1e-3


def by_preprocessing(spec: TrialSpec) -> bool:
    return spec.preprocessing == "divide_by_255"


def always(spec: TrialSpec) -> bool:
    return True


def never(spec: TrialSpec) -> bool:
    return False


def one_class() -> tuple[tuple[int, ...], ...]:
    return tuple((*[0] * 7, count, 0, 0) for count in COUNTS)


def guessing(seed: int = 0) -> tuple[tuple[int, ...], ...]:
    """Predictions that have nothing to do with the truth."""
    counts = np.random.default_rng(seed).multinomial(COUNTS, [1 / len(COUNTS)] * len(COUNTS))
    return tuple(map(tuple, counts.tolist()))


def collapsing(spec: TrialSpec, cause: Cause, **changes: Any) -> TrialResult:
    """A trial that names one class where `cause` says so, and learns otherwise."""
    accuracy, given = 0.6 - 0.01 * (spec.seed % 3), {}
    if cause(spec):
        accuracy, given = 0.148, {"confusion": one_class()}
    environment = {"device": "NVIDIA H200", "galaxytl": "0.1.0", "keras": "3.15.1"}
    return make_result(
        spec, accuracy=accuracy, **{"curves_on": "validation", "environment": environment, **given, **changes}
    )


def factorial(cause: Cause, seeds: int = 6, arms: Iterable[str] = ("ON", "OFF"), **fields: Any) -> list[TrialResult]:
    """Both arms, four optimizer settings, both kinds of preprocessing."""
    return [
        collapsing(
            make_spec("VGG16", arm, **{"validation_fraction": 0.1, "preprocessing": way, "seed": seed, **s, **fields}),
            cause,
        )
        for arm in arms
        for way in ("divide_by_255", "backbone")
        for s in SETTINGS
        for seed in range(seeds)
    ]


def failed(result: TrialResult, message: str) -> TrialResult:
    return make_result(result.spec, status=FAILED, message=message, metrics={}, confusion=(), history=())
