"""Transfer learning on galaxy images: what a trial is, how to train it, and what came out.

    from galaxytl import open_dataset, TrialSpec, train, load_results

docs/api.md describes these names; they stay as they are from version to version, whatever happens behind them.
Importing this package starts no deep-learning framework, and reads no library: a name is looked up when it is first
asked for, and `train` starts the framework when it is called.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from galaxytl.data.dataset import Dataset, open_dataset
    from galaxytl.learning.job import Group, Workplace
    from galaxytl.results.frame import ResultsError, ResultsWarning, load_curves, load_results
    from galaxytl.results.storage import StorageError
    from galaxytl.system.command import UsageError
    from galaxytl.system.locations import DataError
    from galaxytl.training import train
    from galaxytl.trial import SpecError, TrialResult, TrialSpec
    from galaxytl.trial.reading import Reading

__version__ = "0.1.0"
__all__ = [
    "DataError",
    "Dataset",
    "Group",
    "Reading",
    "ResultsError",
    "ResultsWarning",
    "SpecError",
    "StorageError",
    "TrialResult",
    "TrialSpec",
    "UsageError",
    "Workplace",
    "load_curves",
    "load_results",
    "open_dataset",
    "train",
]
_FROM: Final = {
    "galaxytl.data.dataset": ("Dataset", "open_dataset"),
    "galaxytl.learning.job": ("Group", "Workplace"),
    "galaxytl.results.frame": ("ResultsError", "ResultsWarning", "load_curves", "load_results"),
    "galaxytl.results.storage": ("StorageError",),
    "galaxytl.system.command": ("UsageError",),
    "galaxytl.system.locations": ("DataError",),
    "galaxytl.training": ("train",),
    "galaxytl.trial": ("SpecError", "TrialResult", "TrialSpec"),
    "galaxytl.trial.reading": ("Reading",),
}
"""What is imported above for types alone, for when it is asked for: `tests/test_api.py` compares the two."""


def __getattr__(name: str) -> Any:
    for module, names in _FROM.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
