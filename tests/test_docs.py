"""The pages name what exists, and their recipes run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from analysis.claims import about_arithmetic
from analysis.claims.verdicts import CONFIRMED
from galaxytl.trial import TrialSpec
from sweep.grids import axes, builtin
from sweep.progress.trackers import addresses
from sweep.search import stopping
from tests.sweep.progress.trackers.rows import make_child, make_parent, make_result

ROOT = Path(__file__).parents[1]
FOLDERS = ("galaxytl", "sweep", "analysis", "benchmarks", "tests", "docs")
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "pyproject.toml",
    "Makefile",
    *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md")),
)
PATH = rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})/[\w./*-]*"
MODULE = r"python -m ([\w.]*\w)"
LINK = r"\]\((?!https?:)([^)#]+)"


def missing(page: str, text: str) -> Iterator[str]:
    """Yield what a page names and what is not there: paths from the root, modules that `python -m` runs, links."""
    for path in re.findall(PATH, text):
        if not any(ROOT.glob(path.rstrip("./"))):
            yield path
    for module in re.findall(MODULE, " ".join(text.split())):
        if not is_module(module):
            yield f"python -m {module}"
    for link in re.findall(LINK, text):
        if not (ROOT / page).parent.joinpath(link).exists():
            yield f"({link})"


def is_module(name: str) -> bool:
    """Return whether `python -m` can run a module of the project, or knows the package of another."""
    package, path = name.partition(".")[0], ROOT / name.replace(".", "/")
    if package not in FOLDERS:
        return find_spec(package) is not None
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    assert list(missing(page, (ROOT / page).read_text())) == []


def test_what_is_not_there_is_found() -> None:
    text = (
        "`sweep/plan.py` and `tests/*.txt`; `python -m\nsweep.cost`, `python benchmarks/none.py`. [a](b.md) [c](d.md#e)"
    )
    assert list(missing("docs/page.md", text)) == [
        "sweep/plan.py",
        "tests/*.txt",
        "benchmarks/none.py",
        "python -m sweep.cost",
        "(b.md)",
        "(d.md)",
    ]
    assert list(missing("README.md", "`sweep/planning/`, `sweep/*.py`, s3://bucket/sweeps/, `python -m venv`")) == []


def tree(page: str) -> dict[str, str]:
    """Return what the architecture page's tree says of each path; lines that go on begin with more spaces."""
    lines = re.sub(r"\n {20,}", " ", page.split("```\n")[1]).splitlines()
    return {path: text for path, _, text in (line.partition(" ") for line in lines)}


def test_the_architecture_page_has_every_folder_and_names_its_files() -> None:
    said = tree((ROOT / "docs" / "architecture.md").read_text())
    files = [path.relative_to(ROOT) for folder in FOLDERS[:3] for path in (ROOT / folder).rglob("*.py")]
    assert {f"{file.parent}/" for file in files} - said.keys() == set()
    for path, text in said.items():
        folder = ROOT / path if path.endswith("/") else (ROOT / path).parent
        assert [name for name in re.findall(r"[\w*]+\.py", text) if not any(folder.glob(name))] == [], path


def test_the_tree_is_read() -> None:
    page = f"# A\n```\nsweep/      which?\nsweep/a.py   b.py: that\n{' ' * 30}and c.py\n```\n"
    assert tree(page) == {"sweep/": "     which?", "sweep/a.py": "  b.py: that and c.py"}


SECTIONS = (ROOT / "docs" / "extending.md").read_text().split("\n## ")[1:]
RECIPES = {text.partition("\n")[0]: re.findall(r"```python\n(.*?)```", text, re.DOTALL) for text in SECTIONS}


def test_a_recipe_is_ten_lines_at_most() -> None:
    assert len(RECIPES) == 10
    lines = {title: max(sum(map(bool, block.splitlines())) for block in blocks) for title, blocks in RECIPES.items()}
    assert {title: number for title, number in lines.items() if number > 10} == {}


def names_after(title: str, module: ModuleType) -> dict[str, Any]:
    """Return what `module` holds with the first block of a recipe at its end."""
    names = dict(vars(module))
    exec(compile(RECIPES[title][0], title, "exec", flags=annotations.compiler_flag), names)
    return names


def test_recipes_of_a_grid_a_scheduler_and_a_claim_run(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = names_after("A grid", builtin)["batches"]("laptop")
    base = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", **builtin.PROFILES["laptop"])
    assert {spec.batch_size for spec in axes.expand(grid, base).specs} == {8, 16, 32, 64}
    assert f"laptop profile: {grid.size} trials a seed" in RECIPES["A grid"][0]
    rule = names_after("A scheduler", stopping)["Half"](20)
    assert rule.decide(10, {"a": 0.1, "b": 0.2, "c": 0.3}) == {"a": "half: below the median of 3 trials (0.2)"}
    monkeypatch.setattr(about_arithmetic, "CLAIMS", [])
    names_after("A claim", about_arithmetic)
    assert about_arithmetic.CLAIMS[0]().verdict == CONFIRMED


def test_the_recipe_of_a_tracker_runs(tmp_path: Path) -> None:
    tracker, child = names_after("A tracker", addresses)["CsvRuns"], make_child(make_result(0))
    tracker("", make_parent(tmp_path)).write(child)
    assert tracker("", make_parent(tmp_path)).rows() == {child.trial_id: child.row}
