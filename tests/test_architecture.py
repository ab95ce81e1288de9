"""The directions of imports, read from the source files and, where it matters, from a fresh interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("galaxytl", "sweep", "analysis")

RAY = ("schedule", "schedule_feed", "schedule_worker", "cluster", "schedule_versions", "doctor_nodes")
ONLY_IN = {  # a package -> the files that may import it
    "ray": {f"sweep/{name}.py" for name in RAY},
    "optuna": {
        *(f"sweep/search{part}.py" for part in ("", "_agreement", "_lease", "_mirror", "_storage", "_study", "_tpe")),
        "analysis/search/study.py",
    },
    "tensorflow": {"galaxytl/networks/device.py"},
    "jax": {"galaxytl/networks/device.py"},
    "obstore": {"galaxytl/results/conditions.py"},
    "yaml": {"sweep/grids/yaml_file.py"},
    "galsim": {"galaxytl/data/"},
    "keras": {"galaxytl/"},
    "sweep": {"sweep/"},
    "analysis": {"analysis/"},
    "matplotlib": {"analysis/", "galaxytl/data/simulation/sheet.py"},
}

ANALYSIS_MAY_IMPORT = {
    *("galaxytl.trial", "galaxytl.results.rows", "galaxytl.results.selection"),  # the contract
    "galaxytl.results.collapse",  # what counts as one, said once
    *(
        "galaxytl.system.command",
        "galaxytl.system.console",
        "galaxytl.system.credentials",
    ),  # how a command ends, and what it prints
    *(
        "galaxytl.system.foreign_text",
        "galaxytl.system.inside",
        "galaxytl.system.strict_json",
        "galaxytl.results.study_file",
    ),  # what strangers sent
    "galaxytl.system.parquet_layout",  # what reading a file of it takes
    *(
        "galaxytl.results.storage",
        "galaxytl.results.stored_rows",
        "galaxytl.system.cache",
        "galaxytl.system.locations",
    ),  # where it lies
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


def test_imports_follow_the_directions() -> None:
    files = source_files()
    assert len(files) > 100
    names = [path.relative_to(ROOT).as_posix() for path in files]
    assert [v for name, path in zip(names, files, strict=True) for v in violations(name, path.read_text())] == []


def test_a_violation_is_seen() -> None:
    for name, source in (
        ("sweep/planning/plan.py", "import ray"),
        ("sweep/search/run.py", "import optuna"),
        ("galaxytl/trial.py", "from sweep import grids"),
        ("analysis/run.py", "import keras"),
        ("analysis/search/choice.py", "import optuna"),
        ("analysis/run.py", "from galaxytl.training import train"),
        ("galaxytl/train/features.py", "import tensorflow as tf"),
    ):
        assert violations(name, source), (name, source)


FRAMEWORKS = {"keras", "tensorflow", "ray"}
FORBIDDEN = {  # in this order, as a module that is loaded stays so: what may load least comes first
    "galaxytl": {*FRAMEWORKS, "numpy", "galsim"},
    "galaxytl.results.selection": {*FRAMEWORKS, "numpy"},
    "galaxytl.results.rows": {*FRAMEWORKS, "numpy"},
    "analysis.run": {*FRAMEWORKS, "galsim", "optuna"},
    "sweep.run": {*FRAMEWORKS, "optuna"},
    "sweep.doctor": {*FRAMEWORKS, "optuna"},
    "galaxytl.training": FRAMEWORKS,
}


def test_import_starts_no_framework() -> None:
    """In a fresh interpreter: this one has loaded what other tests need."""
    code = f"import sys\nfor name in {list(FORBIDDEN)}: __import__(name); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    lines = done.stdout.splitlines()
    assert len(lines) == len(FORBIDDEN)
    for (module, forbidden), loaded in zip(FORBIDDEN.items(), lines, strict=True):
        assert module in loaded.split()
        assert forbidden.isdisjoint(loaded.split()), module
