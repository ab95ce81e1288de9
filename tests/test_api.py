"""The names that programs import, `galaxytl` and `sweep`: typed, looked up when they are asked for, and documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import galaxytl
import sweep

ROOT = Path(__file__).parents[1]


def imported_for_types(source: str) -> dict[str, tuple[str, ...]]:
    """What stands under `if TYPE_CHECKING`: module -> names."""
    blocks = [node for node in ast.parse(source).body if isinstance(node, ast.If)]
    lines = [line for block in blocks for line in block.body if isinstance(line, ast.ImportFrom)]
    return {str(line.module): tuple(alias.name for alias in line.names) for line in lines}


@pytest.mark.parametrize("package", [galaxytl, sweep], ids=lambda package: package.__name__)
def test_what_is_looked_up_is_what_types_are_checked_by(package: ModuleType) -> None:
    """And what the test of directions sees: it reads imports, and a table of names is none."""
    table = imported_for_types(inspect.getsource(package))
    assert table == package._FROM
    assert sorted(name for names in table.values() for name in names) == sorted(package.__all__)
    assert set(package.__all__) <= set(dir(package))
    for module, names in table.items():
        for name in names:
            assert getattr(package, name) is getattr(importlib.import_module(module), name)
            assert inspect.getdoc(getattr(package, name)), name


def test_another_name_is_none() -> None:
    with pytest.raises(AttributeError, match="module 'galaxytl' has no attribute 'tarin'"):
        _ = galaxytl.tarin
    with pytest.raises(ImportError, match="cannot import name 'run_gird' from 'sweep'"):
        exec("from sweep import run_gird")


def test_a_folder_has_no_name_of_the_packages_functions() -> None:
    """Once it was imported, a subpackage would take the function's place."""
    for package in (galaxytl, sweep):
        folder = Path(str(package.__file__)).parent
        assert {path.stem for path in folder.iterdir()} & set(package.__all__) == set()


@pytest.mark.parametrize("package", ["galaxytl", "sweep"])
def test_others_see_the_types(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
    assert f'{package} = ["py.typed"]' in (ROOT / "pyproject.toml").read_text()


def test_the_page_has_every_name() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    names = {*galaxytl.__all__, *sweep.__all__}
    assert {name for name in names if not re.search(rf"\b{name}\b", page)} == set()
