"""The examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("analysis", "benchmarks", "galaxytl", "sweep")


def test_every_example_in_a_docstring_gives_what_it_says() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if ">>>" in path.read_text()]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    found = {name: doctest.testmod(importlib.import_module(name)) for name in names}
    assert {name: count for name, count in found.items() if count.failed} == {}
    assert all(count.attempted for count in found.values())
