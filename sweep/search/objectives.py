"""What a search wants, and what a finished trial gives of it."""

from __future__ import annotations

import math
from typing import Final

from galaxytl.trial import TrialResult
from sweep.planning.costs import Costs

OBJECTIVES: Final = {
    "val_accuracy": "maximize",
    "val_loss": "minimize",
    "multiply_adds": "minimize",
    "parameters": "minimize",
}
"""Accuracy and loss on the validation part after the last epoch; multiply-adds of training the trial by itself, frozen
blocks once; weights of the whole network."""


def measure(result: TrialResult, name: str, costs: Costs) -> float:
    """The value of objective `name` of a COMPLETE trial whose curves are on the validation part; NaN where its row
    lacks it."""
    if name == "multiply_adds":
        return float(costs.alone_multiply_adds(result.spec))
    if name == "parameters":
        return float(result.num_parameters.get("total", math.nan))
    return result.history[-1].get(name, math.nan) if result.history else math.nan
