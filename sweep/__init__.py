"""Which trials, where, and in what order: sweeps, from the command line and from Python.

    from sweep import run_grid, run_search

docs/api.md describes these names; they stay as they are from version to version. Importing this package reads no
library: a name is looked up when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sweep.api import GridKeywords, SearchKeywords, run_grid, run_search

__all__ = ["GridKeywords", "SearchKeywords", "run_grid", "run_search"]
_FROM: Final = {"sweep.api": ("GridKeywords", "SearchKeywords", "run_grid", "run_search")}
"""What is imported above for types alone, for when it is asked for."""


def __getattr__(name: str) -> Any:
    for module, names in _FROM.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
