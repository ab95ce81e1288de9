"""The pages name files, folders, modules and links that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("galaxytl", "sweep", "analysis", "benchmarks", "tests", "docs")
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "pyproject.toml",
    "Makefile",
    *sorted(f"docs/{page.name}" for page in ROOT.glob("docs/*.md")),
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
