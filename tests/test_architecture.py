"""The directions of imports, read from the source files and, where it matters, from a fresh interpreter."""

from __future__ import annotations

import doctest
import functools
import subprocess
import sys
from typing import Final

import pytest

from tests import architecture
from tests.architecture import ROOT, Folder, circle_in, folders_of, imported_names, imports_of, source_files

ONLY_IN: Final = {  # a package -> where it may be imported
    "ray": ("sweep/scheduling/", "sweep/doctor/"),
    "optuna": ("sweep/search/", "analysis/search/"),
    "tensorflow": ("galaxytl/networks/device.py",),
    "jax": ("galaxytl/networks/device.py",),
    "keras": ("galaxytl/networks/", "galaxytl/learning/"),
    "obstore": ("galaxytl/results/conditions.py",),
    "yaml": ("sweep/grids/yaml_file.py",),
    "mlflow": ("sweep/progress/trackers/mlflow_runs.py",),
    "tensorboardX": ("sweep/progress/trackers/tensorboard_runs.py",),
    "trackio": ("sweep/progress/trackers/trackio_runs.py",),
    "wandb": ("sweep/progress/trackers/wandb_runs.py",),
    "galsim": ("galaxytl/data/simulation/",),
    "matplotlib": ("analysis/figures/", "galaxytl/data/simulation/sheet.py"),
    "sweep": ("sweep/",),
    "analysis": ("analysis/",),
}
ANALYSIS_MAY_IMPORT: Final = ("galaxytl.trial.", "galaxytl.results.", "galaxytl.system.", "galaxytl.data.galaxy10.")
MOST_FILES: Final = 15
"""In one folder, side by side: more are several questions."""
MOST_ROOMS: Final = {"galaxytl": 9, "sweep": 15, "analysis": 10}


def violations(path: str, source: str) -> list[str]:
    """Return what a file imports against the directions."""
    found = []
    for name in sorted(imported_names(source)):
        top = name.split(".")[0]
        too_low = path.startswith("analysis/") and top == "galaxytl" and not f"{name}.".startswith(ANALYSIS_MAY_IMPORT)
        if too_low or (top in ONLY_IN and not path.startswith(ONLY_IN[top])):
            found.append(f"{path} imports {name}")
    return found


@functools.cache
def folders() -> list[Folder]:
    return folders_of(imports_of(source_files()))


def test_imports_follow_the_directions() -> None:
    sources = source_files()
    assert len(sources) > 100
    assert [line for path, source in sources.items() for line in violations(path, source)] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("sweep/planning/plan.py", "import ray"),
        ("sweep/run.py", "import optuna"),
        ("galaxytl/trial.py", "from sweep import grids"),
        ("analysis/run/scope.py", "import keras"),
        ("analysis/claims/arms.py", "import optuna"),
        ("analysis/run/scope.py", "from galaxytl.training import train"),
        ("analysis/run/scope.py", "from galaxytl.data import galaxy11"),
        ("galaxytl/learning/features.py", "def later():\n    import tensorflow as tf"),
    ],
)
def test_a_violation_is_seen(path: str, source: str) -> None:
    assert violations(path, source)


def test_neither_files_nor_folders_form_a_circle() -> None:
    assert circle_in(imports_of(source_files())) == []
    assert [str(folder) for folder in folders() if folder.circle] == []


@pytest.mark.parametrize(
    "second",
    [
        "from sweep.grids import axes",
        "def later():\n    import sweep.grids.axes",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sweep.grids.axes import Axis",
    ],
    ids=["plain", "lazy", "for types"],
)
def test_a_circle_is_seen_whatever_hides_it(second: str) -> None:
    within = {"sweep/grids/axes.py": "from sweep.grids.builtin import GRIDS", "sweep/grids/builtin.py": second}
    assert sorted(set(circle_in(imports_of(within)))) == ["sweep.grids.axes", "sweep.grids.builtin"]
    assert [folder.name for folder in folders_of(imports_of(within)) if folder.circle] == ["sweep.grids"]


def test_a_circle_of_folders_is_seen_where_no_files_form_one() -> None:
    sources = {"sweep/a/x.py": "import sweep.b.x", "sweep/b/y.py": "import sweep.a.y"}
    sources |= {"sweep/b/x.py": "", "sweep/a/y.py": ""}
    assert circle_in(imports_of(sources)) == []
    assert [folder.name for folder in folders_of(imports_of(sources)) if folder.circle] == ["sweep"]


def test_folders_are_not_crowded() -> None:
    files: dict[str, int] = {}
    for path in source_files():
        files[path.rpartition("/")[0]] = files.get(path.rpartition("/")[0], 0) + (not path.endswith("__init__.py"))
    assert {folder: number for folder, number in files.items() if number > MOST_FILES} == {}
    rooms = {folder.name: len(folder.arrows) for folder in folders()}
    assert {name: rooms[name] for name, most in MOST_ROOMS.items() if rooms[name] > most} == {}


def test_levels_and_arrows_are_counted() -> None:
    """Three rooms one on the other, and the folder's own file, which is no room of it."""
    imports = imports_of({"a/__init__.py": "", "a/x.py": "import a.y.u", "a/y/u.py": "from a.z import v", "a/z.py": ""})
    (folder,) = (f for f in folders_of(imports) if f.name == "a")
    assert folder.levels == [["z"], ["y"], ["x"]]
    assert str(folder) == "a: 3 rooms, 2 arrows, 3 levels"
    assert doctest.testmod(architecture).failed == 0


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["architecture.py", "--table"])
    with pytest.raises(SystemExit, match=r"^0$"):
        architecture.main()
    printed = capsys.readouterr().out
    assert "packages: 3 rooms, 2 arrows, 2 levels" in printed
    assert "galaxytl.data: " in printed


FRAMEWORKS = {"keras", "tensorflow", "ray"}
FORBIDDEN = {  # in this order, as a module that is loaded stays so: what may load least comes first
    "galaxytl": {*FRAMEWORKS, "numpy", "galsim"},
    "sweep": {*FRAMEWORKS, "numpy", "optuna", "sweep.run"},
    "galaxytl.results.rows": {*FRAMEWORKS, "numpy"},
    "analysis.run.__main__": {*FRAMEWORKS, "galsim", "optuna"},
    "sweep.run": {*FRAMEWORKS, "optuna"},
    "sweep.api": {*FRAMEWORKS, "optuna", "pandas"},
    "sweep.doctor.__main__": {*FRAMEWORKS, "optuna"},
    "galaxytl.training": FRAMEWORKS,
    "galaxytl.classify.__main__": FRAMEWORKS,
}


def test_import_starts_no_framework() -> None:
    """In a fresh interpreter: this one has loaded what other tests need."""
    code = f"import importlib, sys\nfor name in {list(FORBIDDEN)}: importlib.import_module(name); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    lines = done.stdout.splitlines()
    assert len(lines) == len(FORBIDDEN)
    for (module, forbidden), loaded in zip(FORBIDDEN.items(), lines, strict=True):
        assert module in loaded.split()
        assert forbidden.isdisjoint(loaded.split()), module
