"""The directions of imports, read from the source files and, where it matters, from a fresh interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("galaxytl", "sweep", "analysis")

RAY = ("schedule", "schedule_feed", "schedule_worker", "cluster", "schedule_versions", "doctor_nodes")
ONLY_IN = {  # a package -> the files that may import it
    "ray": {f"sweep/{name}.py" for name in RAY},
    "optuna": {
        *(f"sweep/search{part}.py" for part in ("", "_agreement", "_mirror", "_storage", "_study", "_tpe")),
        "analysis/study.py",
    },
    "tensorflow": {"galaxytl/device.py"},
    "jax": {"galaxytl/device.py"},
    "yaml": {"sweep/yaml_file.py"},
    "galsim": {"galaxytl/data/"},
    "keras": {"galaxytl/"},
    "sweep": {"sweep/"},
    "analysis": {"analysis/"},
    "matplotlib": {"analysis/", "galaxytl/data/sheet.py"},
}

ANALYSIS_MAY_IMPORT = {
    *("galaxytl.trial", "galaxytl.results", "galaxytl.selection"),  # the contract
    *("galaxytl.storage", "galaxytl.row_segments", "galaxytl.data.cache", "galaxytl.data.locations"),  # where it lies
}


def source_files() -> list[Path]:
    return [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def imported_modules(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def violations(name: str, source: str) -> list[str]:
    """What a file called `name` imports against the directions."""
    found = []
    for module in imported_modules(source):
        top = module.split(".")[0]
        if top in ONLY_IN and not any(name.startswith(place) for place in ONLY_IN[top]):
            found.append(f"{name} imports {module}")
        if name.startswith("analysis/") and top == "galaxytl" and module not in ANALYSIS_MAY_IMPORT:
            found.append(f"{name} imports {module}")
    return found


@pytest.mark.parametrize("path", source_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_follow_the_directions(path: Path) -> None:
    assert violations(path.relative_to(ROOT).as_posix(), path.read_text()) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("sweep/plan.py", "import ray"),
        ("sweep/search_run.py", "import optuna"),
        ("galaxytl/trial.py", "from sweep import grids"),
        ("analysis/run.py", "import keras"),
        ("analysis/search.py", "import optuna"),
        ("analysis/run.py", "from galaxytl.training import train"),
        ("galaxytl/features.py", "import tensorflow as tf"),
    ],
)
def test_a_violation_is_seen(name: str, source: str) -> None:
    assert violations(name, source)


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("galaxytl", {"keras", "tensorflow", "ray", "galsim"}),
        ("galaxytl.training", {"keras", "tensorflow", "ray"}),
        ("galaxytl.results", {"numpy", "keras", "tensorflow", "ray"}),
        ("sweep.run", {"keras", "tensorflow", "ray", "optuna"}),
        ("sweep.doctor", {"keras", "tensorflow", "ray", "optuna"}),
        ("galaxytl.selection", {"numpy", "keras", "tensorflow", "ray"}),
        ("analysis.run", {"keras", "tensorflow", "ray", "galsim", "optuna"}),
    ],
)
def test_import_starts_no_framework(module: str, forbidden: set[str]) -> None:
    code = f"import {module}, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert forbidden.isdisjoint(loaded.split())
