"""Every command of the pages can be typed: its options, values and fields are known. Their Python and YAML too."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import analysis.audit
import analysis.run.__main__
import galaxytl.classify.__main__
import galaxytl.data.__main__
import sweep.command_line
import sweep.doctor.__main__
import sweep.export.__main__
import sweep.status.__main__
from galaxytl.system.command import UsageError
from galaxytl.trial import SpecError
from sweep.grids import yaml_grid
from tests.test_docs import ROOT

MARKDOWN = ("README.md", "CONTRIBUTING.md", *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md")))
PARSERS: dict[str, Callable[[Sequence[str]], object]] = {
    "sweep.run": lambda words: sweep.command_line.parse(words, ""),
    "sweep.status": sweep.status.__main__.parse,
    "sweep.export": sweep.export.__main__._parse,
    "sweep.doctor": sweep.doctor.__main__.parse,
    "galaxytl.classify": lambda words: galaxytl.classify.__main__.make_parser().parse_args(words),
    "galaxytl.data": lambda words: galaxytl.data.__main__.make_parser().parse_args(words),
    "analysis.run": analysis.run.__main__.parse,
    "analysis.audit": analysis.audit.parse,
}
"""What follows `python -m`, and what reads its words."""
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
FILES = ("embeddings.npy", "embeddings.parquet")
GRIDS = ("my_grid.yaml", "report/best.yaml", "report/again/paper.yaml")
STARTS = re.compile(r"make|galaxytl|(\S*/)?python")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NO_FAULTS = ("arguments are required", "wants a package that is not installed", "must be a folder; got /home/")
"""A sentence may name a command without all of its words, and a page what can be installed, or a home."""
GENERAL = ("--help", "--help-fields", "--version")


def blocks(text: str, *languages: str) -> list[str]:
    return [block for language, block in FENCE.findall(text) if language in languages]


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command: a line of a block without a language, or what stands between backticks."""
    for block in blocks(text, "", "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            yield from words_of(line)
    for code in re.findall(r"(?<!`)`((?:python -m |python benchmarks/|make |galaxytl )[^`]+)`", FENCE.sub("", text)):
        yield from words_of(" ".join(code.split()))


def words_of(line: str) -> Iterator[list[str]]:
    """Yield what is started by a line: also of a command in quotes, as after `ray exec`, and behind variables."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # no shell: a tree, a sentence with an apostrophe
        return
    for word in words:
        if " " in word and "python -m " in word:
            yield from words_of(word)
    start = next((i for i, word in enumerate(words) if STARTS.fullmatch(word)), len(words))
    words = words[start:]
    words = words[: next((i for i, word in enumerate(words) if word in (";", "|", "&&")), len(words))]
    while words and words[-1] == "..." and not words[-2].startswith("--"):  # and so on; else a value of yours
        words.pop()
    if words:
        before = ["", *words]
        yield [
            re.sub(r"\$\{?\w+\}?", "1", word)
            for word, option in zip(words, before, strict=False)
            if not word.startswith("$") or option.startswith("--")
        ]


def wrong(words: Sequence[str]) -> str:
    """Return what is wrong with a command; "" where it can be typed."""
    match words:
        case ["make", *rest]:
            return ", ".join(f"make {word}" for word in rest if "=" not in word and word not in TARGETS)
        case [_, "-m", ("sweep.run" | "analysis.run") as name, *rest] if not rest or rest[0] in GENERAL:
            return "" if not rest or f'"{rest[0]}"' in source_of(name) or rest[0] == "--help" else rest[0]
        case [_, "-m", name, *rest] if name in PARSERS and rest and rest[0] not in GENERAL:
            try:
                PARSERS[name](rest)
            except (UsageError, SpecError, SystemExit) as error:
                return "" if any(text in str(error) for text in NO_FAULTS) else f"{name}: {error}"
        case [_, script, *rest] if script.startswith("benchmarks/"):
            text = (ROOT / script).read_text() + "".join(f.read_text() for f in (ROOT / "benchmarks").glob("*/*.py"))
            options = [word.partition("=")[0] for word in rest if word.startswith("--")]
            return ", ".join(option for option in options if f'"{option}"' not in text)
    return ""


def source_of(name: str) -> str:
    return (ROOT / "sweep" / "command_line.py").read_text() if name == "sweep.run" else ""


@pytest.fixture(autouse=True)
def a_user_s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the pages' commands want to be there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    for name in FILES:
        (tmp_path / name).touch()
    (grid,) = blocks((ROOT / "docs" / "grids.md").read_text(), "yaml")
    for name in GRIDS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(grid)


@pytest.mark.parametrize("page", MARKDOWN)
def test_every_command_of_a_page_can_be_typed(page: str) -> None:
    assert [text for words in commands((ROOT / page).read_text()) if (text := wrong(words))] == []


def test_what_cannot_be_typed_is_found() -> None:
    text = (
        "```\npython -m sweep.run --grid lr --sed 3\nray exec a.yaml 'python -m sweep.run --set depth=2'\n"
        "A=b .venv/bin/python -m analysis.run results/lr --to x | tee y\nmake pape\n"
        "python -m sweep.run --grid paper --folds 5 --set test_fraction=0.2\n```\n"
        "`python benchmarks/bench_data.py --imagse 3`, `python -m galaxytl.data chekc a.h5`"
    )
    found = [wrong(words) for words in commands(text)]
    assert len(found) == 7
    assert all(found)
    assert not wrong(["python", "-m", "sweep.run", "--grid", "lr", "--set", "optimizer=lion", "--dry-run"])


@pytest.mark.parametrize("page", MARKDOWN)
def test_python_of_a_page_compiles_and_imports_what_there_is(page: str) -> None:
    for block in blocks((ROOT / page).read_text(), "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("galaxytl", "sweep"):
                module = importlib.import_module(node.module or "")
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def test_the_yaml_grid_of_the_page_is_one(tmp_path: Path) -> None:
    assert yaml_grid.read_grid(tmp_path / "my_grid.yaml").name == "my-grid"


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
